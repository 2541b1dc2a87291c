//! The store over a modelled disk, and the sinks that read it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::journal::Kind;
use codecs::record::CloudEvent;
use codecs::time::Wall;
use store::disk::Disk;
use store::follow::{Due, Follower};
use store::journal::{Config, Door as _, Journal, Replayed, Ticket, replay};
use switchboard::replay::{Front, Recovered, Replay};

use crate::chance::Chance;
use crate::disk::ModelDisk;
use crate::rules::Rule;

/// Small segments, so that a world has several, and snapshots.
const CONFIG: Config = Config { node: 1, segment: 256 * 1024, waiting_max: 4 * 1024 * 1024 };

/// A frame as it was appended.
pub type Frame = (Wall, Kind, Vec<u8>);

pub struct Entry {
    pub event: CloudEvent,
    pub bytes: Vec<u8>,
}

fn data() -> &'static Path {
    Path::new("/data")
}

fn dir() -> PathBuf {
    data().join("journal")
}

/// What is kept, by the product's own code.
#[derive(Default)]
pub struct Storage {
    pub disk: ModelDisk,
    journal: Option<Journal>,
    /// A sync is on its way.
    pub syncing: bool,
    /// With the order broken: a frame that lets the next one pass.
    held: Option<Frame>,
    /// What is known to be wrong with the journal.
    pub faults: Vec<String>,
}

impl Storage {
    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// A start: what stands at the front, and everything else that the journal tells.
    pub fn open(&mut self, broken: Option<Rule>) -> (Front, Recovered) {
        let mut journal = Journal::shut(self.shared(), &dir(), CONFIG);
        let mut front = Front::default();
        let opened = journal.open(|frame| front.handle(frame)).expect("the disk works at a start");
        self.faults.extend(opened.damage.iter().map(ToString::to_string));
        if broken == Some(Rule::SerialReservation) {
            front.next_serial = 1;
        }
        let (mut told, mut events) = (Replay::default(), 0);
        let met = |met: Replayed<'_>| match met {
            Replayed::Frame(frame) => {
                events += u32::from(frame.kind == Kind::Event);
                // Broken, one event of three is passed over.
                if broken != Some(Rule::Replay) || frame.kind != Kind::Event || events % 3 != 0 {
                    told.handle(frame);
                }
            }
            Replayed::Damage(damage) => self.faults.push(damage.to_string()),
        };
        replay(&self.disk, &dir(), opened.head, false, met).expect("the disk works at a start");
        let recovered = told.finish();
        self.faults.extend(recovered.unreadable.iter().map(|u| format!("frame {}: {}", u.sequence, u.what)));
        self.journal = Some(journal);
        (front, recovered)
    }

    pub fn append(&mut self, frame: Frame, broken: Option<Rule>, chance: &mut Chance) {
        let Some(journal) = &mut self.journal else { return };
        let is_event = frame.1 == Kind::Event;
        if broken == Some(Rule::JournalOrder) && is_event && self.held.is_none() && chance.percent(20) {
            self.held = Some(frame);
            return;
        }
        for (at, kind, payload) in std::iter::once(frame).chain(self.held.take()) {
            journal.append(at, kind, payload);
        }
    }

    /// Octets that are not durable.
    pub fn waiting(&self) -> usize {
        self.journal.as_ref().map_or(0, Journal::waiting)
    }

    /// Whether the disk took it, and how far everything is durable.
    pub fn commit(&mut self) -> Result<Ticket, ()> {
        let Some(journal) = &mut self.journal else { return Err(()) };
        journal.commit().map_err(|_| ())?;
        Ok(journal.durable())
    }

    /// With everything durable: whether it is time for the next segment, and then its first number.
    pub fn next_segment(&mut self) -> Option<(u64, bool)> {
        let journal = self.journal.as_mut().filter(|j| j.waiting() == 0)?;
        let renewed = journal.take_renewed();
        let begun = (journal.is_full() && journal.begin_segment().is_ok()) || renewed;
        begun.then(|| (journal.last_sequence() + 1, renewed))
    }

    pub fn last_sequence(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::last_sequence)
    }

    /// The power is gone; perhaps while something was being written.
    pub fn crash(&mut self, chance: &mut Chance) {
        if self.waiting() > 0 && chance.percent(50) {
            self.disk.fail_after(chance.below(4) as u32);
            let _ = self.commit();
        }
        self.journal = None;
        self.syncing = false;
        self.held = None;
        self.disk.crash(chance);
        self.disk.heal();
    }

    /// Every durable event, as the journal has it.
    pub fn events(&self) -> Vec<Entry> {
        let mut events = Vec::new();
        let take = |met: Replayed<'_>| {
            if let Replayed::Frame(frame) = met
                && frame.kind == Kind::Event
            {
                let event = CloudEvent::parse(frame.payload).expect("the casebook wrote it");
                events.push(Entry { event, bytes: frame.payload.to_vec() });
            }
        };
        replay(&self.disk, &dir(), self.last_sequence(), true, take).expect("the disk works");
        events
    }
}

#[derive(Default)]
pub struct Sink {
    follower: Option<Follower>,
    /// Every body that was posted, repeats included: id and bytes.
    pub got: Vec<(String, Vec<u8>)>,
}

/// What a turn of a sink came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    Nothing,
    Refused,
    Told,
}

impl Sink {
    pub fn open(&mut self, storage: &Storage, name: &str) {
        self.follower = Some(Follower::open(&storage.shared(), data(), name, storage.last_sequence()));
    }

    /// Tries the next event.
    pub fn step(&mut self, storage: &Storage, broken: Option<Rule>, chance: &mut Chance) -> Turn {
        let Some(follower) = &mut self.follower else { return Turn::Nothing };
        let (id, bytes) = match follower.due(storage.last_sequence()) {
            Ok(Some(Due::Event { body, .. })) => {
                let id = CloudEvent::parts(body).map(|(id, _)| id.to_owned()).unwrap_or_default();
                (id, body.to_vec())
            }
            Ok(Some(Due::Damage(_))) => return Turn::Told,
            Ok(None) | Err(_) => return Turn::Nothing,
        };
        if chance.percent(8) {
            // Refused or unreachable.
            if broken == Some(Rule::CursorAfterDelivery) {
                let _ = follower.settle();
            }
            return Turn::Refused;
        }
        self.got.push((id, bytes));
        // Taken, but the answer was lost on its way: it will come again.
        if !chance.percent(6) {
            let _ = follower.settle();
        }
        Turn::Told
    }

    /// As a receiver sees it that drops repeated ids.
    pub fn accepted(&self, broken: Option<Rule>) -> Vec<&(String, Vec<u8>)> {
        let mut seen = std::collections::BTreeSet::new();
        let keep = |e: &&(String, Vec<u8>)| broken == Some(Rule::DeDuplication) || seen.insert(e.0.clone());
        self.got.iter().filter(keep).collect()
    }
}
