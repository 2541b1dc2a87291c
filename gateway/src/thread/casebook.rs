//! The casebook's thread: facts in, journal out, replies once the disk has them.
//!
//! Group commit without a timer: whatever has gathered while the last sync ran is the next group. Idle, a fact is
//! synced at once. It begins by reading the journal, while calls are being answered already; a journal that cannot be
//! opened is asked again until it can.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use codecs::journal::Kind;
use codecs::record::{AlertNo, CloudEvent, Media};
use codecs::time::{Mono, Wall};
use store::disk::Disk;
use store::journal::{Config as JournalConfig, Damage, Door as _, Journal, Opened, Replayed, replay, set_aside};
use switchboard::replay::{Front, Replay};
use switchboard::{CallFact, Casebook, CasebookConfig, CasebookOutput, Fact, RequestId, ToCasebook, ToDesk, ToShard};
use tokio::sync::watch;

use crate::channel::{Channels, Outbox};
use crate::clock::Clock;
use crate::inbox::casebook::{Answer, Input, RECOVERY, Reached, Waiting};
use crate::inbox::keys::Keys;
use crate::inbox::notices::{Notices, alert_text, notice_text};
use crate::inbox::withheld::Withheld;
use crate::inbox::{self, Handle};
use crate::observe::health::Health;
use crate::observe::metrics::Counters;
use crate::observe::tell::Budget;
use crate::thread::opening::Opening;

/// The most bytes of events gathered before a sync.
const GROUP: usize = 4 * 1024 * 1024;
/// Between two syncs that somebody waits for, at least, and the longest that frames wait for company.
pub const APART: Duration = Duration::from_millis(5);
const GATHER: Duration = Duration::from_millis(10);
/// How often a store that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often an idle thread looks after its files.
const LOOK: Duration = Duration::from_secs(1);
/// Octets that may wait for a store that has failed before nothing more is taken in writing.
const FULL: usize = 32 * 1024 * 1024;

/// What a start waits for the journal; without it calls are answered all the same.
const OPENED_WITHIN: Duration = Duration::from_secs(1);

pub const PART: &str = "journal";

/// What is shared with others.
pub struct Links {
    pub shards: Option<Handle>,
    pub channels: Channels,
    pub notices: Notices,
    pub waiting: Waiting,
    pub keys: Keys,
    pub withheld: Withheld,
    /// For those who follow the journal.
    pub durable: watch::Sender<Reached>,
    /// The first frame that a start needs.
    pub needed_from: Arc<AtomicU64>,
    /// When this thread looked about last; 0: it has not begun.
    pub looked_at: Arc<AtomicU64>,
    pub health: Health,
}

pub struct CasebookThread {
    clock: Clock,
    config: CasebookConfig,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub journal: Journal,
    journal_config: JournalConfig,
    /// The journal is being opened.
    opening: Option<Opening>,
    opening_since: Mono,
    casebook: Casebook,
    pub links: Links,
    inbox: Receiver<Input>,
    outbox: Outbox,
    pub shard_inbox: Vec<inbox::Input>,
    counters: Counters,
    telling: Budget,
    /// Frames of a casebook that this one follows: the journal counted them too.
    before: u64,
    /// The journal's last frame when the process began, of which the casebook knows nothing yet.
    unread: Option<u64>,
    /// Alerts whose calls a crash has ended, until their recording is cut.
    interrupted: BTreeSet<AlertNo>,
    all_recovered: bool,
    failed: bool,
    /// Since when frames wait for the next sync, and when the last one ended.
    gathering: Option<Mono>,
    synced_at: Mono,
    /// How long the next sync is kept from it.
    apart: Duration,
    looked_at: Mono,
    given_up: u64,
}

impl CasebookThread {
    /// Opens the journal as far as a start needs it at once, and reserves numbers before anything begins. Where that
    /// cannot be, calls are answered all the same: their numbers say that they were not reserved.
    pub fn open(
        clock: Clock,
        (disk, dir, journal_config): (Arc<dyn Disk>, PathBuf, JournalConfig),
        config: CasebookConfig,
        links: Links,
        inbox: Receiver<Input>,
        shards: u16,
    ) -> (CasebookThread, Front) {
        let mut thread = CasebookThread {
            clock,
            casebook: Casebook::new(config.clone()),
            config,
            journal: Journal::shut(Arc::clone(&disk), &dir, journal_config),
            journal_config,
            opening: None,
            opening_since: Mono(0),
            disk,
            dir,
            links,
            inbox,
            outbox: Outbox::default(),
            shard_inbox: Vec::new(),
            counters: Counters::default(),
            telling: Budget::default(),
            before: 0,
            unread: None,
            interrupted: BTreeSet::new(),
            all_recovered: false,
            failed: false,
            gathering: None,
            synced_at: Mono(0),
            apart: APART,
            looked_at: clock.mono(),
            given_up: 0,
        };
        let at = clock.wall();
        let front = thread.open_journal(OPENED_WITHIN);
        if let Some(front) = &front {
            thread.casebook.take_front(at, front);
        }
        (0..shards).for_each(|shard| thread.casebook.reserve(at, Some(shard)));
        thread.casebook.reserve(at, None);
        thread.drain();
        if front.is_some() {
            thread.sync();
        }
        (thread, front.unwrap_or_default())
    }

    /// Opens the journal, or looks what has come of that. Waits so long for it.
    fn open_journal(&mut self, time: Duration) -> Option<Front> {
        let now = self.clock.mono();
        let opening = self.opening.take().unwrap_or_else(|| {
            self.opening_since = now;
            Opening::begin(Arc::clone(&self.disk), &self.dir, self.journal_config)
        });
        let found = match opening.within(time) {
            Ok(found) => found?,
            Err(opening) => {
                self.opening = Some(opening);
                self.store_failed("the disk does not answer");
                return None;
            }
        };
        match found.opened {
            Ok(opened) => {
                self.journal.take_over(found.journal);
                self.tell_opened(&opened);
                let lost = found.seen > opened.head;
                self.journal.go_beyond(found.seen);
                let mut front = found.front;
                front.go_beyond(self.clock.wall(), if lost { &found.given } else { &[] });
                Some(front)
            }
            Err(error) => {
                self.store_failed(&error.to_string());
                None
            }
        }
    }

    fn tell_opened(&mut self, opened: &Opened) {
        if let Some(place) = opened.torn {
            let (segment, offset) = (place.segment, place.offset);
            let what = "the journal's last write is not whole: a crash cut it short, or its end was damaged since";
            tracing::warn!(segment, offset, "{what}");
        }
        if !opened.strays.is_empty() {
            tracing::warn!(segments = ?opened.strays, "files among the journal's segments held nothing and are set aside");
        }
        self.unread = Some(opened.head);
        if opened.head > 0 {
            let what = format!("{} frames are being taken up", opened.head);
            self.links.health.worse(RECOVERY, "GW-3107", what);
        }
        self.links.durable.send_replace(Reached { head: Some(opened.head), last: opened.head });
    }

    /// Takes up what the journal tells. Calls are answered meanwhile; what they say waits in the inbox.
    fn recover(&mut self, head: u64, after_a_crash: bool) {
        let begun = self.clock.mono();
        let (mut told, mut damage) = (Replay::default(), Vec::new());
        let result = replay(&*self.disk, &self.dir, head, false, |met| match met {
            Replayed::Frame(frame) => told.handle(frame),
            Replayed::Damage(found) => damage.push(found),
        });
        if let Err(error) = result {
            self.store_failed(&error.to_string());
        }
        let recovered = told.finish();
        let at = self.clock.wall();
        for unreadable in &recovered.unreadable {
            let (frame, what) = (unreadable.sequence, &unreadable.what);
            tracing::error!(frame, what, "GW-3105 a frame of the journal cannot be read");
            self.casebook.note_damage(at, (0, frame), 0, 1, what);
        }
        for found in &damage {
            self.tell_damage(at, found);
        }
        let faults = damage.len() + recovered.unreadable.len();
        metrics::gauge!("gateway_journal_damage").set(faults as f64);
        if faults > 0 {
            let what = format!("{faults} places are damaged; what is sound is served");
            self.links.health.worse("journal-damage", "GW-3105", what);
        }
        let (alerts, now) = (recovered.records.len(), self.clock.mono());
        let unfinished = self.casebook.take_up(now, at, recovered);
        self.casebook.remembered().for_each(|note| self.links.keys.restore(now, note));
        self.casebook.open().for_each(|(_, record)| self.links.withheld.note(record));
        self.casebook.lately().for_each(|record| self.links.withheld.note(record));
        self.drain();
        if after_a_crash {
            self.interrupted = unfinished.into_iter().collect();
            for no in self.interrupted.clone() {
                self.fact(no, Fact::Call(CallFact::Interrupted));
            }
            self.recovered_all();
        }
        let took_ms = self.clock.mono().since(begun).as_millis() as u64;
        tracing::info!(alerts, frames = head, took_ms, "the journal is taken up");
        metrics::gauge!("gateway_recovery_seconds").set(took_ms as f64 / 1000.0);
        self.links.health.well(RECOVERY);
        self.hand_over();
    }

    fn tell_damage(&mut self, at: Wall, damage: &Damage) {
        tracing::error!(%damage, "GW-3105 the journal is damaged; what follows is served");
        if let Err(error) = set_aside(&*self.disk, &self.dir, damage) {
            tracing::warn!(%error, "GW-3106 damaged octets could not be copied");
        }
        let place = (damage.at.segment, damage.at.offset);
        self.casebook.note_damage(at, place, damage.len, damage.missing, damage.what);
    }

    /// Calls whose recording was not there to be cut come to their end as well.
    fn recovered_all(&mut self) {
        if self.all_recovered {
            for no in std::mem::take(&mut self.interrupted) {
                self.recorded(no, Vec::new());
                self.drain();
            }
        }
    }

    pub fn run(mut self) {
        if let Some(head) = self.unread.take() {
            self.recover(head, true);
        }
        let mut patience = self.patience();
        loop {
            self.links.looked_at.store(self.clock.mono().0.max(1), Ordering::Relaxed);
            let first = match self.inbox.recv_timeout(patience) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Input::Stop),
            };
            let stop = self.take_all(first);
            self.guarded(|thread| thread.casebook.handle_timeout(thread.clock.mono(), thread.clock.wall()));
            // The desk looks for a taker while the disk works.
            self.hand_over();
            if let Some(left) = self.gathers_for().filter(|_| !stop) {
                patience = self.nap(left);
                continue;
            }
            self.sync();
            self.look_after_files();
            patience = self.patience();
            self.hand_over();
            if stop {
                return;
            }
        }
    }

    /// Everything that is there, up to a group. `true`: it is to end.
    fn take_all(&mut self, first: Option<Input>) -> bool {
        let mut next = first;
        while let Some(input) = next {
            match input {
                Input::Message(message) => self.message(message),
                Input::Messages(messages) => messages.into_iter().for_each(|m| self.message(m)),
                Input::Recorded(all) => all.into_iter().for_each(|(no, media)| self.recorded(no, media)),
                Input::Recovered(no, media) => {
                    self.interrupted.remove(&no);
                    self.recorded(no, media);
                }
                Input::AllRecovered => {
                    self.all_recovered = true;
                    self.recovered_all();
                }
                Input::Stop => return true,
            }
            next = if self.journal.waiting() > GROUP { None } else { self.inbox.try_recv().ok() };
        }
        false
    }

    /// A mistake of ours in the casebook costs the message that it was made with. What is known is built anew from the
    /// journal: nothing that was acknowledged is missing there.
    fn guarded(&mut self, work: impl FnOnce(&mut CasebookThread)) {
        let did = std::panic::catch_unwind(AssertUnwindSafe(|| {
            work(self);
            self.drain();
        }));
        if did.is_ok() {
            return;
        }
        metrics::counter!("gateway_thread_restarts_total", "thread" => "casebook").increment(1);
        tracing::error!("GW-1004 the casebook has failed; it is built anew from the journal");
        // Whatever it had handed over is to be there when it is read.
        while self.journal.waiting() > 0 {
            if let Err(error) = self.journal.commit() {
                tracing::error!(%error, "GW-1004 the journal cannot be written either; the process ends");
                crate::observe::log::flush();
                std::process::exit(1);
            }
        }
        self.refuse_waiting();
        self.before = self.journal.durable();
        let head = self.journal.last_sequence();
        let mut front = Front::default();
        let _ = replay(&*self.disk, &self.dir, head, false, |met| {
            if let Replayed::Frame(frame) = met {
                front.handle(frame);
            }
        });
        self.casebook = Casebook::new(self.config.clone());
        self.casebook.take_front(self.clock.wall(), &front);
        self.casebook.reserve(self.clock.wall(), None);
        self.recover(head, false);
    }

    fn message(&mut self, message: ToCasebook) {
        if let ToCasebook::LineState { line, state, why, .. } = &message {
            self.links.channels.note_state(line, *state, why);
        }
        self.guarded(|thread| thread.casebook.handle(thread.clock.mono(), message));
    }

    fn fact(&mut self, no: AlertNo, fact: Fact) {
        let at = self.clock.wall();
        self.message(ToCasebook::Fact { no, at, fact, request: RequestId::default() });
    }

    fn recorded(&mut self, no: AlertNo, media: Vec<Media>) {
        self.fact(no, Fact::Call(CallFact::Recorded { media }));
    }

    /// How long the disk can wait for more to come, if at all. Idle, what somebody waits for is synced at once; while one
    /// group follows the other they are kept a little apart; what nobody waits for takes five milliseconds at most.
    fn gathers_for(&mut self) -> Option<Duration> {
        if self.journal.waiting() == 0 || self.failed {
            return None;
        }
        let now = self.clock.mono();
        let since = *self.gathering.get_or_insert(now);
        let due = if self.casebook.is_awaited() { self.synced_at + self.apart } else { since + GATHER };
        let due = due.min(since + GATHER);
        (self.journal.waiting() <= GROUP && now < due).then(|| due.since(now))
    }

    /// Lets things come while a group is gathered, without being woken for each of them; how long the inbox is to be
    /// waited for afterwards.
    fn nap(&self, left: Duration) -> Duration {
        std::thread::park_timeout(left.min(APART));
        Duration::ZERO
    }

    /// Until the casebook wants to be woken, or a failed store is tried again.
    fn patience(&self) -> Duration {
        let longest = match (self.failed || self.journal.is_shut(), self.journal.waiting()) {
            (true, _) => RETRY,
            (false, 0) => LOOK,
            (false, _) => GATHER,
        };
        let now = self.clock.mono();
        let due = self.casebook.poll_timeout().map(|(at, _)| at.since(now));
        // Not below a millisecond: what is due at once was handled a moment ago.
        due.map_or(longest, |due| due.max(Duration::from_millis(1)).min(longest))
    }

    /// Whoever has something coming is woken once a turn.
    fn hand_over(&mut self) {
        self.links.channels.flush(&mut self.outbox);
        if let Some(shards) = &self.links.shards {
            shards.send_all(self.shard_inbox.drain(..));
        }
    }

    /// A reply finds whoever waits: a carrier's link, a SIP endpoint, an HTTP request.
    fn reply(&mut self, request: RequestId, answer: Answer) {
        let durable = matches!(&answer, Answer::Reply(r) if r.result != Err(switchboard::Failure::StoreFull));
        if let Some(page) = request.page() {
            let refused = matches!(&answer, Answer::Reply(r) if r.result.is_err());
            let status = if !durable {
                503
            } else if refused {
                404
            } else {
                200
            };
            self.shard_inbox.push(inbox::Input::Shard(ToShard::AnswerMessage { page, status }));
        } else if let Some((channel, number)) = request.delivery() {
            self.outbox.acknowledge(channel, number, durable);
        } else {
            self.links.waiting.answer(request, answer);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.casebook.poll_output() {
            match output {
                CasebookOutput::Append { at, event } => {
                    self.links.withheld.note(&event.data);
                    self.append(at, &event);
                }
                CasebookOutput::Frame { at, kind, payload } => drop(self.journal.append(at, kind, payload)),
                CasebookOutput::Reply(reply) => self.reply(reply.request, Answer::Reply(reply)),
                CasebookOutput::Shard(message) => self.shard_inbox.push(inbox::Input::Shard(message)),
                CasebookOutput::Desk(message) => self.for_desk(message),
                CasebookOutput::Outbound(outbound) => self.links.channels.send(outbound, &mut self.outbox),
                CasebookOutput::Withdraw { channel, line } => {
                    self.links.channels.withdraw(&channel, line, &mut self.outbox);
                }
                CasebookOutput::Fetch(fetch) => self.links.channels.fetch(fetch),
                CasebookOutput::Notice(notice) => {
                    let record = self.casebook.record(notice.alert);
                    self.links.notices.tell(&notice.seat, || Some(notice_text(notice.what.text(), record?)));
                }
                CasebookOutput::Standing { seat, alert } => {
                    let record = self.casebook.record(alert);
                    self.links.notices.tell(&seat, || Some(alert_text(record?)));
                }
                CasebookOutput::Approach { to, no, news } => {
                    self.links.channels.approach(to, no, news, &mut self.outbox);
                }
                CasebookOutput::CalledTo { officer, alert } => {
                    if let Some(record) = self.casebook.record(alert) {
                        self.links.notices.tell_officer(&officer, record);
                    }
                }
                CasebookOutput::Counted { channel, what } => {
                    self.counters.text(channel, what);
                }
            }
        }
        self.journal.end_batch();
    }

    fn for_desk(&mut self, message: ToDesk) {
        self.shard_inbox.push(inbox::Input::Desk(message));
    }

    fn append(&mut self, at: Wall, event: &CloudEvent) {
        self.journal.append(at, Kind::Event, event.to_json());
        crate::observe::tell::event(&mut self.telling, self.clock.mono(), event);
        self.counters.event(event);
        self.links.notices.tell_of(&event.data);
    }

    /// One sync for everything that has gathered; then, and only then, the replies.
    fn sync(&mut self) {
        if self.journal.is_shut() {
            return self.open_late();
        }
        if self.journal.waiting() == 0 && !self.failed {
            return;
        }
        self.gathering = None;
        let begun = self.clock.mono();
        match self.journal.commit() {
            Ok(()) => self.synced(begun),
            Err(trouble) => self.store_failed(&trouble.to_string()),
        }
    }

    fn synced(&mut self, begun: Mono) {
        if std::mem::take(&mut self.failed) {
            tracing::warn!("the journal is writable again");
            self.casebook.set_store_full(false);
            self.links.health.well(PART);
        }
        self.synced_at = self.clock.mono();
        metrics::histogram!("gateway_journal_commit_seconds").record(self.synced_at.since(begun).as_secs_f64());
        metrics::gauge!("gateway_store_up").set(1.0);
        // The disk is left alone for as long as it worked: under load groups grow instead of syncs.
        self.apart = self.synced_at.since(begun).clamp(APART, GATHER);
        // Whoever is answered below and reads at once reads what they wrote.
        let last = self.journal.last_sequence();
        self.links.durable.send_modify(|reached| reached.last = last);
        self.casebook.handle_durable(self.journal.durable() - self.before);
        self.drain();
        self.next_segment();
        self.casebook.go_on_with_snapshot(self.clock.wall());
        self.drain();
        self.links.needed_from.store(self.casebook.needed_from(), Ordering::Relaxed);
    }

    /// The next segment, with everything a start needs at its front.
    fn next_segment(&mut self) {
        if self.journal.waiting() > 0 {
            return;
        }
        let renewed = self.journal.take_renewed();
        if !renewed
            && self.journal.is_full()
            && let Err(trouble) = self.journal.begin_segment()
        {
            return tracing::error!(%trouble, "GW-3102 no new journal segment; the old one goes on");
        }
        // One that was begun is empty.
        if renewed || self.journal.place().offset == 0 {
            let first = self.journal.last_sequence() + 1;
            self.casebook.begin_segment(self.clock.wall(), first, renewed);
            self.drain();
        }
    }

    fn store_failed(&mut self, what: &str) {
        if !std::mem::replace(&mut self.failed, true) {
            tracing::error!(what, "GW-3101 the journal cannot be written; calls go on, nothing is acknowledged");
        }
        self.links.health.worse(PART, "GW-3101", what);
        metrics::gauge!("gateway_store_up").set(0.0);
        metrics::counter!("gateway_store_errors_total").increment(1);
        self.casebook.set_store_full(self.journal.waiting() > FULL);
        let given_up = self.journal.given_up();
        metrics::counter!("gateway_store_given_up_total").increment(given_up - self.given_up);
        self.given_up = given_up;
        self.refuse_waiting();
    }

    /// A journal that could not be opened at the start: what it holds is taken up now, behind what came meanwhile.
    fn open_late(&mut self) {
        let waited = self.clock.mono().since(self.opening_since);
        if self.opening.is_none() && waited < RETRY / 2 {
            return;
        }
        let Some(front) = self.open_journal(Duration::ZERO) else { return };
        if let Some(head) = self.unread.take() {
            for (officer, on_duty) in &front.duties {
                let (officer, request) = (officer.clone(), RequestId::default());
                self.for_desk(ToDesk::Duty { officer, on_duty: *on_duty, request });
            }
            self.casebook.take_front(self.clock.wall(), &front);
            self.recover(head, true);
        }
        self.sync();
    }

    /// Somebody may have removed the files that are being written.
    fn look_after_files(&mut self) {
        let now = self.clock.mono();
        if now.since(self.looked_at) < LOOK {
            return;
        }
        self.looked_at = now;
        self.casebook.look_ahead(self.clock.wall());
        self.drain();
        metrics::gauge!("gateway_store_waiting_bytes").set(self.journal.waiting() as f64);
        metrics::gauge!("gateway_requests_waiting").set(self.links.waiting.count() as f64);
        if !self.journal.is_in_place() {
            tracing::error!("GW-3104 the journal's file was removed; it begins anew with all that is known");
            self.links.health.worse(
                "journal-removed",
                "GW-3104",
                "the journal's file was removed while it was written",
            );
            metrics::counter!("gateway_store_errors_total").increment(1);
            self.next_segment();
        }
    }

    /// Nobody is left hanging while the disk is gone: 503 with `done: true`.
    fn refuse_waiting(&mut self) {
        for request in self.casebook.refuse_waiting() {
            self.reply(request, Answer::NotDurable);
        }
        let numbers = self.links.waiting.numbers();
        for number in numbers {
            self.links.waiting.answer(RequestId(number), Answer::NotDurable);
        }
    }
}
