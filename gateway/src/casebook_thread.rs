//! The casebook's thread: facts in, journal out, replies once the disk has them.
//!
//! Group commit without a timer: whatever has gathered while the last sync ran is the next group. Idle, a fact is
//! synced at once.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use codecs::journal::Kind;
use codecs::record::{AlertNo, AlertRecord, CloudEvent, Media, Note};
use codecs::time::{Mono, Wall};
use dashmap::DashMap;
use switchboard::{Casebook, CasebookOutput, Reply, RequestId, SerialBlock, ToCasebook, ToDesk, ToShard};
use tokio::sync::{oneshot, watch};

use crate::channel::{Channels, Outbox};
use crate::clock::Clock;
use crate::http::talk::{Notices, notice_text};
use crate::journal::Writer;
use crate::metrics::Counters;
use crate::shards::{self, Handle};

/// Serials a grant.
const BLOCK: u32 = 10_000;
/// The most bytes of events gathered before a sync.
const GROUP: usize = 4 * 1024 * 1024;
/// Records of a snapshot that are written with one group.
const PORTION: usize = 200;
/// A snapshot is written when the journal has grown by this many of the last one.
const SNAPSHOT_EVERY: u64 = 4;
/// Ended alerts that a start keeps within reach.
const CLOSED_KEPT: usize = 5000;
/// Between two syncs that somebody waits for, at least, and the longest that frames wait for company.
pub const APART: Duration = Duration::from_millis(5);
const GATHER: Duration = Duration::from_millis(10);
/// How often a store that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

pub enum Input {
    Message(ToCasebook),
    /// What came of one read.
    Messages(Vec<ToCasebook>),
    WantSerials {
        shard: u16,
    },
    Recorded(Vec<(AlertNo, Vec<Media>)>),
    /// A change of duty, to be kept over a restart; answered when it is durable.
    Duty {
        officer: String,
        on_duty: bool,
        request: RequestId,
    },
    /// Sync and end.
    Stop,
}

/// How an API request ended: the desk's or casebook's word, or the store's failure.
#[derive(Clone, Debug)]
pub enum Answer {
    Reply(Reply),
    /// Carried out on the call, but not on disk.
    NotDurable,
}

/// Requests that wait, by number. Shared by HTTP, the shard's thread and this one.
#[derive(Clone, Default)]
pub struct Waiting(Arc<DashMap<u64, oneshot::Sender<Answer>>>);

impl Waiting {
    pub fn wait(&self, request: RequestId) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.0.insert(request.0, sender);
        receiver
    }
    pub fn answer(&self, request: RequestId, answer: Answer) {
        if let Some((_, sender)) = self.0.remove(&request.0) {
            let _ = sender.send(answer);
        }
    }
    pub fn forget(&self, request: RequestId) {
        self.0.remove(&request.0);
    }
}

/// What the journal told at the start.
pub struct Restored {
    pub writer: Writer,
    pub open: Vec<AlertRecord>,
    pub next_serial: u32,
    pub duty: std::collections::BTreeMap<String, bool>,
    pub notes: Vec<(Wall, Note)>,
}

/// A change of duty as it stands in the journal.
#[derive(serde::Serialize, serde::Deserialize)]
struct DutyFrame {
    officer: String,
    on_duty: bool,
}

/// Reads the journal through: open alerts, and the first serial that no block has reserved.
///
/// # Errors
/// As `Writer::open`.
pub fn restore(dir: &Path) -> anyhow::Result<Restored> {
    let mut open = std::collections::BTreeMap::new();
    let mut next_serial = 1;
    let mut duty = std::collections::BTreeMap::new();
    let mut notes = Vec::new();
    let mut closed = VecDeque::new();
    let writer = Writer::open(dir, |frame| match frame.kind {
        Kind::Event => {
            if let Ok(event) = serde_json::from_slice::<CloudEvent>(frame.payload) {
                // Numbers minted without a reservation are taken as well.
                let minted = AlertNo::parse(&event.subject).map_or(0, |no| no.serial());
                next_serial = next_serial.max(minted + 1);
                // Closed ones too: a further word may take them up again.
                if event.data.state == codecs::record::State::Closed {
                    closed.retain(|no| *no != event.subject);
                    closed.push_back(event.subject.clone());
                }
                open.insert(event.subject, event.data);
                if closed.len() > CLOSED_KEPT
                    && let Some(oldest) = closed.pop_front()
                    && open.get(&oldest).is_some_and(|r| r.state == codecs::record::State::Closed)
                {
                    open.remove(&oldest);
                }
            }
        }
        Kind::Snapshot => {
            if let Ok(record) = serde_json::from_slice::<AlertRecord>(frame.payload) {
                open.insert(record.id.alert_no.clone(), Arc::new(record));
            }
        }
        Kind::SnapshotBegin | Kind::SnapshotEnd => {}
        Kind::Note => notes.extend(Note::parse(frame.payload).map(|note| (frame.at, note))),
        Kind::Duty => {
            if let Ok(frame) = serde_json::from_slice::<DutyFrame>(frame.payload) {
                duty.insert(frame.officer, frame.on_duty);
            }
        }
        Kind::Grant => {
            if let Ok(until) = std::str::from_utf8(frame.payload).unwrap_or_default().parse::<u32>() {
                next_serial = next_serial.max(until);
            }
        }
    })?;
    let open = open.into_values().map(Arc::unwrap_or_clone).collect();
    Ok(Restored { writer, open, next_serial, duty, notes })
}

pub struct CasebookThread {
    pub clock: Clock,
    pub casebook: Casebook,
    pub writer: Writer,
    pub inbox: Receiver<Input>,
    pub shards: Option<Handle>,
    pub channels: Channels,
    pub outbox: Outbox,
    pub shard_inbox: Vec<shards::Input>,
    pub counters: Counters,
    pub notices: Notices,
    pub waiting: Waiting,
    /// The last durable sequence number, for those who follow the journal.
    pub durable: watch::Sender<u64>,
    pub next_serial: u32,
    pub failed: bool,
    /// Since when frames wait for the next sync, and when the last one ended.
    pub gathering: Option<Mono>,
    pub synced_at: Mono,
    /// How long the next sync is kept from it.
    pub apart: Duration,
    /// Alerts that the present snapshot has still to name.
    pub to_snapshot: VecDeque<AlertNo>,
    /// Bytes of the last snapshot, and of the frames since.
    pub snapshot: u64,
    pub since_snapshot: u64,
    /// Duties as changed through the API, for the snapshot.
    pub duties: std::collections::BTreeMap<String, bool>,
}

impl CasebookThread {
    /// Reserves the first block before anything starts.
    ///
    /// # Errors
    /// What the disk said.
    pub fn reserve(&mut self, shards: u16) -> std::io::Result<Vec<SerialBlock>> {
        let blocks = (0..shards).map(|_| self.grant()).collect();
        let own = self.grant();
        self.casebook.grant(own);
        self.writer.commit()?;
        Ok(blocks)
    }

    /// Takes up what the journal told; lines that were not sent leave as soon as there are channels.
    pub fn resume(&mut self) {
        self.casebook.resume(self.clock.mono(), self.clock.wall());
        self.drain();
        self.hand_over();
    }

    fn grant(&mut self) -> SerialBlock {
        let block = SerialBlock { from: self.next_serial, until: self.next_serial + BLOCK };
        self.next_serial = block.until;
        let at = self.clock.wall();
        let sequence = self.casebook.take_sequence();
        let written = self.writer.append(at, Kind::Grant, block.until.to_string().as_bytes());
        assert_eq!(sequence, written, "casebook and journal count alike");
        block
    }

    pub fn run(mut self) {
        let mut grants = VecDeque::new();
        let mut patience = self.patience();
        loop {
            let first = match self.inbox.recv_timeout(patience) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Input::Stop),
            };
            let mut stop = false;
            let mut next = first;
            while let Some(input) = next {
                match input {
                    Input::Message(message) => self.message(message),
                    Input::Messages(messages) => {
                        for message in messages {
                            self.message(message);
                            self.drain();
                        }
                    }
                    Input::Recorded(all) => {
                        for (no, media) in all {
                            self.recorded(no, media);
                            self.drain();
                        }
                    }
                    Input::Duty { officer, on_duty, request } => self.duty(officer, on_duty, request),
                    Input::WantSerials { shard } => grants.push_back((shard, self.grant())),
                    Input::Stop => stop = true,
                }
                self.drain();
                next = if stop || self.writer.pending() > GROUP { None } else { self.inbox.try_recv().ok() };
            }
            self.casebook.handle_timeout(self.clock.mono(), self.clock.wall());
            self.drain();
            // The desk looks for a taker while the disk works.
            self.hand_over();
            if let Some(left) = self.gathers_for().filter(|_| !stop) {
                patience = self.nap(left);
                continue;
            }
            self.sync();
            patience = self.patience();
            if !self.failed {
                while let Some((shard, block)) = grants.pop_front() {
                    self.for_shard(ToShard::Serials { shard, block });
                }
            }
            self.hand_over();
            if stop {
                return;
            }
        }
    }

    /// How long the disk can wait for more to come, if at all. Idle, what somebody waits for is synced at once; while one
    /// group follows the other they are kept a little apart; what nobody waits for takes five milliseconds at most.
    fn gathers_for(&mut self) -> Option<Duration> {
        if self.writer.pending() == 0 {
            return None;
        }
        let now = self.clock.mono();
        let since = *self.gathering.get_or_insert(now);
        let due = if self.casebook.is_awaited() { self.synced_at + self.apart } else { since + GATHER };
        let due = due.min(since + GATHER);
        (self.writer.pending() <= GROUP && now < due).then(|| due.since(now))
    }

    /// Lets things come while a group is gathered, without being woken for each of them; how long the inbox is to be
    /// waited for afterwards. A store that has failed is tried again in its own time.
    fn nap(&self, left: Duration) -> Duration {
        if self.failed {
            return self.patience();
        }
        std::thread::park_timeout(left.min(APART));
        Duration::ZERO
    }

    /// Until the casebook wants to be woken, or a failed store is tried again.
    fn patience(&self) -> Duration {
        let longest = match (self.failed, self.writer.pending()) {
            (true, _) => RETRY,
            (false, 0) => Duration::from_secs(3600),
            (false, _) => GATHER,
        };
        let now = self.clock.mono();
        let due = self.casebook.poll_timeout().map(|(at, _)| at.since(now));
        // Not below a millisecond: what is due at once was handled a moment ago.
        due.map_or(longest, |due| due.max(Duration::from_millis(1)).min(longest))
    }

    fn message(&mut self, message: ToCasebook) {
        if let ToCasebook::LineState { line, state, why, .. } = &message {
            self.channels.note_state(line, *state, why);
        }
        self.casebook.handle(self.clock.mono(), message);
    }

    fn for_shard(&mut self, message: ToShard) {
        self.shard_inbox.push(shards::Input::Shard(message));
    }

    fn for_desk(&mut self, message: ToDesk) {
        self.shard_inbox.push(shards::Input::Desk(message));
    }

    /// Whoever has something coming is woken once a turn.
    fn hand_over(&mut self) {
        self.channels.flush(&mut self.outbox);
        if let Some(shards) = &self.shards {
            shards.send_all(self.shard_inbox.drain(..));
        }
    }

    /// A reply finds whoever waits: a carrier's link, a SIP endpoint, an HTTP request.
    fn reply(&mut self, request: RequestId, answer: Answer) {
        let durable = matches!(answer, Answer::Reply(_));
        if let Some(page) = request.page() {
            let refused = matches!(&answer, Answer::Reply(r) if r.result.is_err());
            let status = if refused { 404 } else { if durable { 200 } else { 503 } };
            self.for_shard(ToShard::AnswerMessage { page, status });
        } else if let Some((channel, number)) = request.delivery() {
            self.outbox.acknowledge(channel, number, durable);
        } else {
            self.waiting.answer(request, answer);
        }
    }

    fn recorded(&mut self, no: AlertNo, media: Vec<Media>) {
        let (at, fact) = (self.clock.wall(), switchboard::Fact::Recorded { media });
        self.casebook.handle(self.clock.mono(), ToCasebook::Fact { no, at, fact, request: RequestId::default() });
    }

    fn duty(&mut self, officer: String, on_duty: bool, request: RequestId) {
        self.duties.insert(officer.clone(), on_duty);
        let payload = serde_json::to_vec(&DutyFrame { officer, on_duty }).expect("a duty frame serialises");
        let sequence = self.casebook.take_sequence();
        let written = self.writer.append(self.clock.wall(), Kind::Duty, &payload);
        assert_eq!(sequence, written, "casebook and journal count alike");
        self.casebook.reply_when_durable(request);
    }

    fn drain(&mut self) {
        let mut wants_serials = false;
        while let Some(output) = self.casebook.poll_output() {
            match output {
                CasebookOutput::Append { sequence, at, event } => self.append(sequence, at, &event),
                CasebookOutput::Frame { sequence, at, kind, payload } => {
                    let written = self.writer.append(at, kind, &payload);
                    assert_eq!(sequence, written, "casebook and journal count alike");
                }
                CasebookOutput::Reply(reply) => self.reply(reply.request, Answer::Reply(reply)),
                CasebookOutput::Shard(message) => self.for_shard(message),
                CasebookOutput::Desk(message) => self.for_desk(message),
                CasebookOutput::Outbound(outbound) => self.channels.send(outbound, &mut self.outbox),
                CasebookOutput::Fetch(fetch) => self.channels.fetch(fetch),
                CasebookOutput::Notice(notice) => {
                    let record = self.casebook.record(notice.alert);
                    self.notices.tell(&notice.seat, || Some(notice_text(notice.what.text(), record?)));
                }
                CasebookOutput::WantSerials => wants_serials = true,
                CasebookOutput::Counted { channel, what } => {
                    self.counters.text(channel, what);
                }
            }
        }
        // Its frame follows those that have their numbers already.
        if wants_serials {
            let block = self.grant();
            self.casebook.grant(block);
        }
    }

    fn append(&mut self, sequence: u64, at: Wall, event: &CloudEvent) {
        let bytes = event.to_json();
        let written = self.writer.append(at, Kind::Event, &bytes);
        assert_eq!(sequence, written, "casebook and journal count alike");
        self.counters.event(&event.kind);
    }

    /// One sync for everything that has gathered; then, and only then, the replies.
    fn sync(&mut self) {
        if self.writer.pending() == 0 && !self.failed {
            return;
        }
        self.gathering = None;
        let begun = self.clock.mono();
        let written = self.writer.pending() as u64;
        match self.writer.commit() {
            Ok(()) => {
                self.since_snapshot += written;
                if std::mem::take(&mut self.failed) {
                    tracing::warn!("the journal is writable again");
                }
                metrics::histogram!("gateway_journal_commit_seconds")
                    .record(self.clock.mono().since(begun).as_secs_f64());
                metrics::gauge!("gateway_store_up").set(1.0);
                self.synced_at = self.clock.mono();
                // The disk is left alone for as long as it worked: under load groups grow instead of syncs.
                self.apart = self.synced_at.since(begun).clamp(APART, GATHER);
                let durable = self.writer.next_sequence() - 1;
                self.casebook.handle_durable(durable);
                self.drain();
                self.durable.send_replace(durable);
                if self.writer.is_full() {
                    self.begin_segment();
                }
                self.go_on_with_snapshot();
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::error!(%error, "GW-3101 the journal cannot be written; calls go on, nothing is acknowledged");
                }
                metrics::gauge!("gateway_store_up").set(0.0);
                metrics::counter!("gateway_store_errors_total").increment(1);
                self.refuse_waiting();
            }
        }
    }

    /// The next segment, with everything a start needs at its front if it is time for that.
    fn begin_segment(&mut self) {
        if let Err(error) = self.writer.begin_segment() {
            tracing::error!(error = %format!("{error:#}"), "GW-3102 no new journal segment; the old one goes on");
            return;
        }
        // With many alerts open a snapshot is long: it is not written anew before the journal has grown by several of
        // them, or nothing else would be written. Until then a start begins at the one before.
        if !self.to_snapshot.is_empty() || self.since_snapshot < SNAPSHOT_EVERY * self.snapshot {
            return;
        }
        (self.snapshot, self.since_snapshot) = (0, 0);
        let mut frames =
            vec![(Kind::SnapshotBegin, b"begin".to_vec()), (Kind::Grant, self.next_serial.to_string().into_bytes())];
        for (officer, on_duty) in &self.duties {
            let frame = DutyFrame { officer: officer.clone(), on_duty: *on_duty };
            frames.push((Kind::Duty, serde_json::to_vec(&frame).expect("a duty frame serialises")));
        }
        let (recent, notes) = self.casebook.snapshot();
        frames.extend(notes.iter().map(|note| (Kind::Note, note.to_json())));
        let numbers = self.casebook.open().map(|(_, r)| r).chain(recent);
        self.to_snapshot = numbers.filter_map(|r| AlertNo::parse(&r.id.alert_no)).collect();
        self.append_frames(frames);
    }

    /// The next portion of a snapshot, so that nobody waits for the whole of it.
    fn go_on_with_snapshot(&mut self) {
        if self.to_snapshot.is_empty() {
            return;
        }
        let mut frames = Vec::with_capacity(PORTION + 1);
        for no in self.to_snapshot.drain(..PORTION.min(self.to_snapshot.len())) {
            // What has been forgotten meanwhile is of no concern to a start either.
            if let Some(record) = self.casebook.record(no) {
                frames.push((Kind::Snapshot, serde_json::to_vec(record).expect("a record serialises")));
            }
        }
        if self.to_snapshot.is_empty() {
            frames.push((Kind::SnapshotEnd, b"end".to_vec()));
        }
        self.append_frames(frames);
    }

    fn append_frames(&mut self, frames: Vec<(Kind, Vec<u8>)>) {
        let at = self.clock.wall();
        for (kind, payload) in frames {
            let sequence = self.casebook.take_sequence();
            let written = self.writer.append(at, kind, &payload);
            assert_eq!(sequence, written, "casebook and journal count alike");
            self.snapshot += payload.len() as u64;
        }
        // Synced with the next group; until its end a start uses the snapshot before.
    }

    /// Nobody is left hanging while the disk is gone: 503 with `done: true`.
    fn refuse_waiting(&mut self) {
        for request in self.casebook.refuse_waiting() {
            self.reply(request, Answer::NotDurable);
        }
        let numbers: Vec<u64> = self.waiting.0.iter().map(|e| *e.key()).collect();
        for number in numbers {
            self.waiting.answer(RequestId(number), Answer::NotDurable);
        }
    }
}
