//! From the journal's frames to what a casebook knows: the one way, for a start, for the simulator's crashes and for
//! whoever looks into a journal.
//!
//! Of every alert the newest revision counts; it is read once, at the end. A frame that cannot be read is told, never
//! passed over in silence.

use std::collections::{BTreeMap, HashMap, VecDeque};

use codecs::journal::{Frame, Kind};
use codecs::record::{AlertNo, AlertRecord, CloudEvent, Direction, Duty, Note};
use codecs::time::Wall;

use dispatch::conversation::Seen;

use crate::message::KeptBinding;
use crate::serials::{Reserve, first_of_day, read_grant};

/// Ended alerts that a start keeps within reach.
const CLOSED_KEPT: usize = 5000;
/// As a record's JSON says it; no field ahead of it can hold these bytes.
const STATE: &[u8] = b"\"state\":\"";

/// What a start needs before it has read anything else.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Front {
    pub serials: Reserve,
    /// Officers whose duty was changed.
    pub duties: BTreeMap<String, bool>,
    /// Where phones have registered.
    pub bindings: BTreeMap<String, KeptBinding>,
    /// The segment in which the last whole snapshot begins; 0: there is none.
    pub snapshot: u64,
}

impl Front {
    /// Numbers that were given are not given again by a journal that has lost what it told of them, nor by an older
    /// copy of it: they go on behind the highest that is known to be `given` on each day, and today at least as far in as
    /// the day is old.
    pub fn go_beyond(&mut self, at: Wall, given: &[(u32, u32)]) {
        self.serials.known(at.beijing_date(), u64::from(first_of_day(at)));
        given.iter().for_each(|(day, last)| self.serials.given(*day, *last));
    }

    /// Takes what a frame says of it.
    pub fn handle(&mut self, frame: &Frame<'_>) {
        match frame.kind {
            Kind::Grant => {
                if let Some((date, until)) = read_grant(frame.at, frame.payload) {
                    self.serials.known(date, until);
                }
            }
            Kind::Duty => {
                if let Some(Duty { officer, on_duty, .. }) = Duty::parse(frame.payload) {
                    self.duties.insert(officer, on_duty);
                }
            }
            Kind::Event => {
                if let Some((no, ..)) = alert_of(frame.payload) {
                    self.serials.given(no.date(), no.serial());
                }
            }
            Kind::Note => {
                if let Some(note) = Note::parse(frame.payload) {
                    self.note(frame.at, &note);
                }
            }
            Kind::Snapshot | Kind::SnapshotBegin | Kind::SnapshotEnd => {}
        }
    }

    fn note(&mut self, at: Wall, note: &Note) {
        match note {
            Note::Head { serials, dates, duties, snapshot } => {
                self.serials.known(at.beijing_date(), *serials);
                dates.iter().for_each(|(date, below)| self.serials.known(*date, *below));
                self.duties.clone_from(duties);
                self.snapshot = *snapshot;
                // They follow, those that still hold.
                self.bindings.clear();
            }
            Note::Binding { user, .. } => {
                if let Some(binding) = KeptBinding::of(note) {
                    self.bindings.insert(user.clone(), binding);
                }
            }
            Note::Unbound { user } => drop(self.bindings.remove(user)),
            Note::Part { .. }
            | Note::Line { .. }
            | Note::Outbound { .. }
            | Note::Seen { .. }
            | Note::Known { .. }
            | Note::Answered { .. }
            | Note::Damaged { .. } => {}
        }
    }
}

/// The number and revision of an event's alert, and where in its bytes the record lies.
fn alert_of(payload: &[u8]) -> Option<(AlertNo, u32, std::ops::Range<usize>)> {
    let (id, record) = CloudEvent::parts(payload)?;
    let (no, rev) = id.split_once(':')?;
    Some((AlertNo::parse(no)?, rev.parse().ok()?, record))
}

/// A revision as it stands in the journal.
struct Revision {
    sequence: u64,
    rev: u32,
    record: Vec<u8>,
}

/// A frame that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    pub sequence: u64,
    pub what: String,
}

/// Takes frames in their order.
#[derive(Default)]
pub struct Replay {
    front: Front,
    newest: HashMap<AlertNo, Revision>,
    /// And by which frame.
    closed: VecDeque<(AlertNo, u64)>,
    notes: Vec<(Wall, Note)>,
    unreadable: Vec<Unreadable>,
}

/// Everything that a casebook goes on with.
#[derive(Default)]
pub struct Recovered {
    pub front: Front,
    /// Open alerts, and ended ones within reach.
    pub records: Vec<AlertRecord>,
    pub notes: Vec<(Wall, Note)>,
    pub unreadable: Vec<Unreadable>,
}

impl Replay {
    pub fn handle(&mut self, frame: &Frame<'_>) {
        self.front.handle(frame);
        match frame.kind {
            Kind::Event => match alert_of(frame.payload) {
                Some((no, rev, record)) => self.revision(frame.sequence, no, rev, &frame.payload[record]),
                None => self.cannot_read(frame, "is no event"),
            },
            Kind::Snapshot => match AlertRecord::parse(frame.payload) {
                Ok(record) => match AlertNo::parse(&record.id.alert_no) {
                    Some(no) => self.revision(frame.sequence, no, record.rev, frame.payload),
                    None => self.cannot_read(frame, "a snapshot of no alert"),
                },
                Err(error) => self.cannot_read(frame, &format!("is no record: {error}")),
            },
            Kind::Note => match Note::parse(frame.payload) {
                Some(note) => self.notes.push((frame.at, note)),
                None => self.cannot_read(frame, "is no note that this version knows"),
            },
            Kind::Grant | Kind::Duty | Kind::SnapshotBegin | Kind::SnapshotEnd => {}
        }
    }

    fn cannot_read(&mut self, frame: &Frame<'_>, what: &str) {
        self.unreadable.push(Unreadable { sequence: frame.sequence, what: what.to_owned() });
    }

    fn revision(&mut self, sequence: u64, no: AlertNo, rev: u32, record: &[u8]) {
        if self.newest.get(&no).is_some_and(|known| known.rev > rev) {
            return;
        }
        // Closed ones too: a further word may take them up again.
        if is_closed(record) {
            self.closed.push_back((no, sequence));
        }
        self.newest.insert(no, Revision { sequence, rev, record: record.to_vec() });
        if self.closed.len() > CLOSED_KEPT
            && let Some((oldest, closed_by)) = self.closed.pop_front()
            && self.newest.get(&oldest).is_some_and(|r| r.sequence == closed_by)
            && let Some(gone) = self.newest.remove(&oldest)
        {
            self.keep_names(oldest, &gone.record);
        }
    }

    /// Of an alert that is out of reach the names of its messages are known for a day all the same.
    fn keep_names(&mut self, no: AlertNo, record: &[u8]) {
        let Ok(record) = AlertRecord::parse(record) else { return };
        for line in record.text.iter().filter(|l| l.dir == Some(Direction::In) && !l.message_id.is_empty()) {
            let name = Seen::name(&line.channel, &line.user, &line.message_id);
            let names = vec![(format!("{name:032x}"), no.to_string())];
            self.notes.push((line.at.0, Note::Known { channel: line.channel.clone(), names }));
        }
    }

    /// Reads what counts.
    pub fn finish(mut self) -> Recovered {
        let mut newest: Vec<Revision> = std::mem::take(&mut self.newest).into_values().collect();
        newest.sort_unstable_by_key(|r| r.sequence);
        let mut records = Vec::with_capacity(newest.len());
        for one in newest {
            match AlertRecord::parse(&one.record) {
                Ok(record) => records.push(record),
                Err(error) => {
                    let what = format!("is no record: {error}");
                    self.unreadable.push(Unreadable { sequence: one.sequence, what });
                }
            }
        }
        Recovered { front: self.front, records, notes: self.notes, unreadable: self.unreadable }
    }
}

fn is_closed(record: &[u8]) -> bool {
    let at = record.windows(STATE.len()).position(|w| w == STATE);
    at.is_some_and(|at| record[at + STATE.len()..].starts_with(b"closed\""))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use codecs::record::{Stamp, State, Step};

    use super::*;
    use crate::serials::RESERVED;

    fn no(n: u32) -> AlertNo {
        AlertNo::mint("370400000000", 20_261_122, 1, n)
    }

    /// A record as it begins.
    fn arrived(n: u32) -> AlertRecord {
        let mut alerts = casework::Alerts::new("/gw/t/1".into(), "1".into(), casework::KeywordTable::empty());
        let arrival = casework::Arrival {
            channel: codecs::record::Channel::Voice110,
            caller: "13900000001".into(),
            called: "110".into(),
            trunk: "t".into(),
            message_id: "c".into(),
            subscriber: None,
            location: None,
            jurisdiction: Vec::new(),
            owner: "u".into(),
            marks: Vec::new(),
            follows: None,
        };
        alerts.handle_fact(codecs::time::Mono(0), Wall(1), no(n), casework::Fact::Arrived(Box::new(arrival)));
        alerts.get(no(n)).expect("it is open").clone()
    }

    fn event(n: u32, rev: u32, state: State) -> Vec<u8> {
        let mut record = AlertRecord { state, rev: rev - 1, ..arrived(n) };
        let sealed = record.seal();
        CloudEvent::new(Step::Updated, "/gw/t/1", Stamp(Wall(1)), None, Arc::new(record), sealed).to_json()
    }

    fn frame(sequence: u64, kind: Kind, payload: &[u8]) -> Frame<'_> {
        let (origin, previous) = (codecs::journal::Origin::default(), [0; 32]);
        Frame { sequence, at: Wall(7), kind, more: false, first: true, origin, previous, payload }
    }

    fn replay(frames: &[(Kind, Vec<u8>)]) -> Recovered {
        let mut replay = Replay::default();
        for (sequence, (kind, payload)) in (1..).zip(frames) {
            replay.handle(&frame(sequence, *kind, payload));
        }
        replay.finish()
    }

    #[test]
    fn the_newest_revision_of_every_alert_counts_and_what_cannot_be_read_is_told() {
        let unknown = br#"{"of_a_later_version":{}}"#.to_vec();
        let recovered = replay(&[
            (Kind::Event, event(1, 1, State::Arrived)),
            (Kind::Event, event(2, 1, State::Arrived)),
            (Kind::Event, event(1, 2, State::Answered)),
            (Kind::Event, event(1, 1, State::Arrived)),
            (Kind::Event, b"{}".to_vec()),
            (Kind::Note, unknown),
            (Kind::Note, Note::Unbound { user: "1001".into() }.to_json()),
        ]);
        let revisions: Vec<_> = recovered.records.iter().map(|r| (r.id.alert_no.clone(), r.rev)).collect();
        assert_eq!(revisions, [(no(2).to_string(), 1), (no(1).to_string(), 2)]);
        assert_eq!(recovered.unreadable.iter().map(|u| u.sequence).collect::<Vec<_>>(), [5, 6]);
        assert_eq!((recovered.notes.len(), recovered.front.serials.on(20_261_122)), (1, 3));
    }

    #[test]
    fn ended_alerts_are_kept_as_long_as_there_are_not_too_many() {
        let closed: Vec<_> = (1..=CLOSED_KEPT as u32 + 10).map(|n| (Kind::Event, event(n, 1, State::Closed))).collect();
        let open = (Kind::Event, event(9_000, 1, State::Answered));
        let recovered = replay(&[vec![open], closed].concat());
        assert_eq!(recovered.records.len(), CLOSED_KEPT + 1);
        assert_eq!(recovered.records[0].id.alert_no, no(9_000).to_string(), "an open one is never forgotten");
    }

    #[test]
    fn a_head_says_what_a_start_needs_and_later_frames_say_it_better() {
        let binding = |user: &str| {
            let (contact, remote) = ("sip:a@192.0.2.1".to_owned(), "192.0.2.1:5060".to_owned());
            Note::Binding { user: user.into(), contact, transport: "UDP".into(), remote, until: 9 }
        };
        let duties = BTreeMap::from([("2001".to_owned(), false)]);
        let head = Note::Head { serials: 40_000, dates: BTreeMap::new(), duties, snapshot: 17 };
        let duty = Duty { officer: "2002".into(), on_duty: true, by: String::new() }.to_json();
        let mut front = Front::default();
        let unreserved = event(RESERVED + 5, 1, State::Arrived);
        let frames = [
            (Kind::Note, binding("1000").to_json()),
            (Kind::Note, head.to_json()),
            (Kind::Note, binding("1001").to_json()),
            (Kind::Note, binding("1002").to_json()),
            (Kind::Note, Note::Unbound { user: "1001".into() }.to_json()),
            (Kind::Grant, b"50000".to_vec()),
            (Kind::Duty, duty),
            (Kind::Event, unreserved),
        ];
        for (kind, payload) in &frames {
            front.handle(&frame(1, *kind, payload));
        }
        assert_eq!(
            (front.serials.on(Wall(7).beijing_date()), front.snapshot),
            (50_000, 17),
            "an unreserved number reserves nothing"
        );
        assert_eq!(front.bindings.keys().collect::<Vec<_>>(), ["1002"]);
        assert_eq!(front.duties, BTreeMap::from([("2001".into(), false), ("2002".into(), true)]));
    }
}
