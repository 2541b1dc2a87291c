//! What the casebook writes besides alerts: serials that it reserves, duties, what each segment of the journal begins
//! with, and snapshots in portions.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use codecs::journal::Kind;
use codecs::record::{AlertNo, AlertRecord, Duty, Note};
use codecs::time::{Mono, Wall};

use super::{Casebook, Output};
use crate::message::{Failure, RequestId, SerialBlock, ToShard};
use crate::replay::{Front, Recovered};
use crate::serials::{Holder, Reserve, grant, tomorrow_if_near};

/// Records of a snapshot that are written at one time.
const PORTION: usize = 200;
/// A snapshot is written when the journal has grown by this many of the last one.
const EVERY: u64 = 4;

pub(super) struct Keeping {
    /// How far serials are reserved; none while nothing is known of the journal.
    serials: Option<Reserve>,
    /// Who wants a block and waits for that.
    wanting: Vec<Holder>,
    /// Officers whose duty was changed.
    duties: BTreeMap<String, bool>,
    /// Blocks that nobody may use before their frames are durable.
    reserved: VecDeque<(u64, Holder, SerialBlock)>,
    /// Whom the next day's were handed out to, and which day that is.
    ahead: BTreeMap<Holder, u32>,
    /// The segment in which the last whole snapshot begins, and the one that is being written.
    whole: u64,
    begun: u64,
    /// Alerts that the present snapshot has still to name.
    to_snapshot: VecDeque<AlertNo>,
    /// Octets of the last snapshot, and of the frames since.
    octets: u64,
    since: u64,
    /// Notes that are kept for a day, of each subject the oldest first.
    remembered: BTreeMap<String, VecDeque<Remembered>>,
}

/// Requests under a key that may be under way at one time.
const RECENT: usize = 256;

/// A note that is kept: since when, and the time that it was written at.
struct Remembered {
    since: Mono,
    then: Wall,
    note: Note,
}

/// How long a note is remembered, and how many of one subject are.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
const REMEMBERED_MAX: usize = 10_000;
/// Subjects whose notes are.
const SUBJECTS_MAX: usize = 4096;

impl Keeping {
    /// Before anything is known of the journal.
    pub(super) fn new() -> Keeping {
        Keeping {
            serials: None,
            wanting: Vec::new(),
            duties: BTreeMap::new(),
            reserved: VecDeque::new(),
            ahead: BTreeMap::new(),
            whole: 0,
            begun: 0,
            to_snapshot: VecDeque::new(),
            octets: 0,
            since: 0,
            remembered: BTreeMap::new(),
        }
    }
}

impl Keeping {
    /// A number was given.
    pub(super) fn given(&mut self, no: AlertNo) {
        if let Some(serials) = &mut self.serials {
            serials.given(no.date(), no.serial());
        }
    }

    /// So much more stands in the journal.
    pub(super) fn grow(&mut self, octets: usize) {
        self.since += octets as u64;
    }
}

impl Casebook {
    /// The next frame of the journal.
    pub(super) fn frame(&mut self, at: Wall, kind: Kind, payload: Vec<u8>) {
        self.frames += 1;
        self.keeping.grow(payload.len());
        self.outputs.push_back(Output::Frame { at, kind, payload });
    }

    pub(super) fn note(&mut self, at: Wall, note: &Note) {
        self.frame(at, Kind::Note, note.to_json());
    }

    /// What the journal tells at once. Whoever waits for numbers gets them.
    pub fn take_front(&mut self, at: Wall, front: &Front) {
        self.keeping.serials = Some(front.serials.clone());
        self.keeping.whole = front.snapshot;
        for (officer, on_duty) in &front.duties {
            self.keeping.duties.entry(officer.clone()).or_insert(*on_duty);
        }
        for (user, binding) in &front.bindings {
            self.bindings.entry(user.clone()).or_insert_with(|| binding.clone());
        }
        for holder in std::mem::take(&mut self.keeping.wanting) {
            self.reserve_for(at, holder);
        }
    }

    /// A block for a shard, or for the casebook itself. It goes there once it is durable.
    pub fn reserve(&mut self, at: Wall, shard: Option<u16>) {
        self.reserve_for(at, shard.map_or(Holder::Casebook, Holder::Shard));
    }

    fn reserve_for(&mut self, at: Wall, holder: Holder) {
        let Some(serials) = &mut self.keeping.serials else { return self.keeping.wanting.push(holder) };
        let block = serials.take(at);
        self.hand_out(at, holder, block);
        self.reserve_ahead(at, holder);
    }

    /// Shortly before midnight every holder gets numbers of the next day, so that its first report has one.
    pub fn look_ahead(&mut self, at: Wall) {
        let shards = (0..self.config.shards).map(Holder::Shard);
        shards.chain([Holder::Casebook]).for_each(|holder| self.reserve_ahead(at, holder));
    }

    fn reserve_ahead(&mut self, at: Wall, holder: Holder) {
        let Some(tomorrow) = tomorrow_if_near(at) else { return };
        if self.keeping.ahead.get(&holder) == Some(&tomorrow) {
            return;
        }
        let Some(block) = self.keeping.serials.as_mut().and_then(|serials| serials.take_ahead(at)) else { return };
        self.keeping.ahead.insert(holder, tomorrow);
        self.hand_out(at, holder, block);
    }

    /// It goes to its holder once it is durable.
    fn hand_out(&mut self, at: Wall, holder: Holder, block: SerialBlock) {
        self.frame(at, Kind::Grant, grant(block.date, block.until));
        self.keeping.reserved.push_back((self.frames, holder, block));
    }

    pub(super) fn hand_out_reserved(&mut self) {
        while let Some((_, holder, block)) = self.keeping.reserved.pop_front_if(|(frame, ..)| *frame <= self.durable) {
            match holder {
                Holder::Casebook => self.serials.grant(block),
                Holder::Shard(shard) => self.outputs.push_back(Output::Shard(ToShard::Serials { shard, block })),
            }
        }
    }

    pub(super) fn change_duty(&mut self, at: Wall, officer: String, on_duty: bool, request: RequestId) {
        self.frame(at, Kind::Duty, Duty { officer: officer.clone(), on_duty, by: self.acting.clone() }.to_json());
        self.keeping.duties.insert(officer, on_duty);
        self.answer(request, Ok(None));
    }

    /// Keeps a note, written at `then`, for a day from `since`. A subject's oldest give way to its own younger ones.
    pub(super) fn remember(&mut self, since: Mono, then: Wall, note: Note) {
        let Note::Answered { subject, name, .. } = &note else { return };
        let (now, all) = (self.now, &mut self.keeping.remembered);
        if !all.contains_key(subject) && all.len() >= SUBJECTS_MAX {
            all.retain(|_, kept| kept.back().is_some_and(|kept| now <= kept.since + REMEMBERED));
        }
        let kept = all.entry(subject.clone()).or_default();
        // What came of a request takes the place of its beginning, which is not long ago.
        let same = |kept: &Remembered| matches!(&kept.note, Note::Answered { name: other, .. } if other == name);
        if let Some(back) = kept.iter().rev().take(RECENT).position(same) {
            kept.remove(kept.len() - 1 - back);
        }
        kept.push_back(Remembered { since, then, note });
        while kept.len() > REMEMBERED_MAX || kept.front().is_some_and(|kept| now > kept.since + REMEMBERED) {
            kept.pop_front();
        }
    }

    /// Notes that are kept for a day.
    pub fn remembered(&self) -> impl Iterator<Item = &Note> {
        self.keeping.remembered.values().flatten().map(|kept| &kept.note)
    }

    /// A start found damage: it stands in the journal from now on.
    pub fn note_damage(&mut self, at: Wall, (segment, offset): (u64, u64), octets: u64, missing: u64, what: &str) {
        self.note(at, &Note::Damaged { segment, offset, octets, missing, what: what.to_owned() });
    }

    /// The journal's next segment begins, with what a start needs at once; `first` is the number of its first frame.
    /// With many alerts open a snapshot is long: it is not written anew before the journal has grown by several of them,
    /// or nothing else would be written; until then a start begins at the one before. `whole`: the older segments are
    /// gone, it is written now.
    pub fn begin_segment(&mut self, at: Wall, first: u64, whole: bool) {
        if whole {
            (self.keeping.whole, self.keeping.begun) = (0, 0);
            self.keeping.to_snapshot.clear();
        }
        let known = self.keeping.serials.clone().unwrap_or_default();
        let (serials, dates) = (u64::from(known.on(at.beijing_date()).max(1)), known.dates());
        let (duties, snapshot) = (self.keeping.duties.clone(), self.keeping.whole);
        self.note(at, &Note::Head { serials, dates, duties, snapshot });
        let bindings: Vec<Note> = self.bindings.iter().map(|(user, b)| b.note(user)).collect();
        for binding in bindings {
            self.note(at, &binding);
        }
        let due = self.keeping.to_snapshot.is_empty() && self.keeping.since >= EVERY * self.keeping.octets;
        if !(due || whole) {
            return;
        }
        (self.keeping.octets, self.keeping.since, self.keeping.begun) = (0, 0, first);
        self.frame(at, Kind::SnapshotBegin, b"begin".to_vec());
        let begun = self.keeping.since;
        for note in self.lasting_notes() {
            self.note(at, &note);
        }
        // Each with the time that it was written at.
        let remembered = self.keeping.remembered.values().flatten().map(|kept| (kept.then, kept.note.clone()));
        for (then, note) in remembered.collect::<Vec<_>>() {
            self.note(then, &note);
        }
        self.keeping.octets = self.keeping.since - begun;
        let numbers = self.alerts.open().map(|(_, r)| r).chain(self.alerts.recent());
        self.keeping.to_snapshot = numbers.filter_map(|r| AlertNo::parse(&r.id.alert_no)).collect();
        self.end_snapshot(at);
    }

    /// The next portion of a snapshot, so that nobody waits for the whole of it.
    pub fn go_on_with_snapshot(&mut self, at: Wall) {
        if self.keeping.begun == 0 {
            return;
        }
        let count = PORTION.min(self.keeping.to_snapshot.len());
        let portion: Vec<AlertNo> = self.keeping.to_snapshot.drain(..count).collect();
        for no in portion {
            // What has been forgotten meanwhile is of no concern to a start either.
            if let Some(record) = self.alerts.get(no) {
                let payload = record.to_json();
                self.keeping.octets += payload.len() as u64;
                self.frame(at, Kind::Snapshot, payload);
            }
        }
        self.end_snapshot(at);
    }

    fn end_snapshot(&mut self, at: Wall) {
        if self.keeping.to_snapshot.is_empty() {
            self.frame(at, Kind::SnapshotEnd, b"end".to_vec());
            self.keeping.whole = std::mem::take(&mut self.keeping.begun);
            self.keeping.since = 0;
        }
    }

    /// The first segment that a start needs.
    pub fn needed_from(&self) -> u64 {
        self.keeping.whole
    }

    /// Takes up what the journal told: notes, records, and what a start owes. Returns the alerts whose calls were up.
    pub fn take_up(&mut self, now: Mono, at: Wall, recovered: Recovered) -> Vec<AlertNo> {
        self.now = now;
        let (parts, notes): (Vec<_>, Vec<_>) =
            recovered.notes.into_iter().partition(|(_, note)| matches!(note, Note::Part { .. }));
        for (then, note) in notes {
            self.restore_note(at, then, note);
        }
        for (then, part) in parts {
            self.restore_part(at, then, part);
        }
        let mut unfinished = Vec::new();
        for record in recovered.records {
            if casework::is_call_unfinished(&record) && record.state != codecs::record::State::Closed {
                unfinished.extend(AlertNo::parse(&record.id.alert_no));
            }
            self.restore(at, record);
        }
        self.hand_on_restored(at);
        self.resume_talks(at);
        self.follow_all_officers(at);
        self.release();
        unfinished
    }

    fn restore(&mut self, at: Wall, mut record: AlertRecord) {
        for line in record.text.iter_mut().filter(|l| l.state.is_some()) {
            if let Some(state) = self.restored_lines.get(&line.message_id) {
                line.state = line.state.max(Some(*state));
            }
        }
        self.restore_talk(at, &record);
        self.alerts.restore(self.now, at, record);
    }

    /// Refuses what is not durable yet and could wait for long: the store has failed, and what waits for it is as much
    /// as may.
    pub fn set_store_full(&mut self, full: bool) {
        self.store_full = full;
    }

    pub(super) fn is_store_full(&self) -> Option<Failure> {
        self.store_full.then_some(Failure::StoreFull)
    }
}
