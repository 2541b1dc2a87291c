//! The store over a modelled disk, and the sinks that read it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::journal::Kind;
use codecs::record::CloudEvent;
use codecs::time::Wall;
use store::disk::Disk;
use store::follow::{Due, Follower};
use store::journal::{Config, Damage, Door, Journal, Replayed, Ticket, Trouble, replay};
use switchboard::replay::{Front, Recovered, Replay};
use switchboard::serials::Reserve;

use crate::chance::Chance;
use crate::disk::ModelDisk;
use crate::engine::{Given, Log, Replicated};
use crate::rules::Rule;

/// Small segments, so that a world has several, and snapshots.
const CONFIG: Config = Config { node: 1, segment: 256 * 1024, waiting_max: 4 * 1024 * 1024 };

pub(crate) struct Entry {
    pub event: CloudEvent,
    pub bytes: Vec<u8>,
}

fn data() -> &'static Path {
    Path::new("/data")
}

fn dir() -> PathBuf {
    data().join("journal")
}

/// What stands behind the door.
enum Engine {
    Local(Journal),
    Replicated(Replicated),
}

impl Engine {
    fn door(&self) -> &dyn Door {
        match self {
            Engine::Local(journal) => journal,
            Engine::Replicated(replicated) => replicated,
        }
    }

    fn door_mut(&mut self) -> &mut dyn Door {
        match self {
            Engine::Local(journal) => journal,
            Engine::Replicated(replicated) => replicated,
        }
    }
}

/// What is kept: by the product's own code, or by the modelled engine.
pub(crate) struct Storage {
    pub disk: ModelDisk,
    /// Where several nodes keep it together.
    log: Option<Log>,
    engine: Option<Engine>,
    /// A sync is on its way.
    pub syncing: bool,
    /// With the order broken: a frame that lets the next one pass.
    held: Option<Given>,
    /// What is known to be wrong with the journal.
    pub faults: Vec<String>,
    /// How many frames stood in the journal at the start, how many were given to it since, and after how many of them
    /// what one input made ends.
    base: u64,
    given: u64,
    ends: BTreeSet<u64>,
}

impl Storage {
    pub(crate) fn new(replicated: bool) -> Storage {
        let disk = ModelDisk::default();
        let log = replicated.then(|| Log::new(disk.clone(), &dir(), CONFIG.segment));
        Storage {
            disk,
            log,
            engine: None,
            syncing: false,
            held: None,
            faults: Vec::new(),
            base: 0,
            given: 0,
            ends: BTreeSet::from([0]),
        }
    }

    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// What a start told as damage is a fault: a write that the crash cut in pieces is none.
    fn damaged(&mut self, all: &[Damage]) {
        self.faults.extend(all.iter().map(Damage::to_string));
    }

    /// The engine at a start, and what stands at the front of what it keeps.
    fn begin(&mut self, front: &mut Front, broken: Option<Rule>) -> Engine {
        let Some(log) = &self.log else {
            let mut journal = Journal::shut(self.shared(), &dir(), CONFIG);
            let opened = journal.open(|frame| front.handle(frame)).expect("the disk works at a start");
            self.damaged(&opened.damage);
            return Engine::Local(journal);
        };
        let replicated = Replicated::start(log, CONFIG.node, broken == Some(Rule::Fence));
        let met = |met: Replayed<'_>| {
            if let Replayed::Frame(frame) = met {
                front.handle(frame);
            }
        };
        replay(&self.disk, &dir(), log.last_sequence(), true, met).expect("the disk can be read");
        Engine::Replicated(replicated)
    }

    /// A start: what stands at the front, and everything else that the journal tells.
    pub(crate) fn open(&mut self, at: Wall, broken: Option<Rule>) -> (Front, Recovered) {
        let mut front = Front::default();
        let engine = self.begin(&mut front, broken);
        // As the shell's start does.
        front.go_beyond(at, &[]);
        let head = engine.door().last_sequence();
        if broken == Some(Rule::SerialReservation) {
            front.serials = Reserve::default();
        }
        let (mut told, mut events, mut damaged) = (Replay::default(), 0, Vec::new());
        let met = |met: Replayed<'_>| match met {
            Replayed::Frame(frame) => {
                events += u32::from(frame.kind == Kind::Event);
                // Broken, one event of three is passed over.
                if broken != Some(Rule::Replay) || frame.kind != Kind::Event || events % 3 != 0 {
                    told.handle(frame);
                }
            }
            Replayed::Damage(damage) => damaged.push(damage.clone()),
        };
        replay(&self.disk, &dir(), head, false, met).expect("the disk works at a start");
        self.damaged(&damaged);
        if damaged.is_empty() && !self.is_replicated() {
            self.ended_after(head - self.base);
        }
        (self.base, self.given, self.ends) = (head, 0, BTreeSet::from([0]));
        let recovered = told.finish();
        self.faults.extend(recovered.unreadable.iter().map(|u| format!("frame {}: {}", u.sequence, u.what)));
        self.engine = Some(engine);
        (front, recovered)
    }

    pub(crate) fn append(&mut self, given: Given, broken: Option<Rule>, chance: &mut Chance) {
        let Some(engine) = &mut self.engine else { return };
        let is_event = given.1 == Kind::Event;
        if broken == Some(Rule::JournalOrder) && is_event && self.held.is_none() && chance.percent(20) {
            self.held = Some(given);
            return;
        }
        for (at, kind, payload) in std::iter::once(given).chain(self.held.take()) {
            engine.door_mut().append(at, kind, payload);
            self.given += 1;
            if broken == Some(Rule::Together) {
                engine.door_mut().end_batch();
            }
        }
    }

    /// What was appended since the last time belongs together.
    pub(crate) fn end_batch(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.door_mut().end_batch();
            self.ends.insert(self.given);
        }
    }

    /// So many of the frames that were given to it are in the journal: what one input made is there whole or not at all.
    fn ended_after(&mut self, count: u64) {
        if !self.ends.contains(&count) {
            self.faults
                .push(format!("it has {count} frames of a process, the last in the middle of what one input made"));
        }
    }

    /// Octets that are not durable.
    pub(crate) fn waiting(&self) -> usize {
        self.engine.as_ref().map_or(0, |e| e.door().waiting())
    }

    /// Makes durable what waits, or begins to.
    pub(crate) fn commit(&mut self) -> Result<(), Trouble> {
        self.engine.as_mut().map_or(Ok(()), |e| e.door_mut().commit())
    }

    /// How far everything is durable.
    pub(crate) fn durable(&self) -> Ticket {
        self.engine.as_ref().map_or(0, |e| e.door().durable())
    }

    /// What was begun has not come to its end.
    pub(crate) fn is_on_its_way(&self) -> bool {
        matches!(&self.engine, Some(Engine::Replicated(replicated)) if replicated.is_on_its_way())
    }

    pub(crate) fn arrive(&mut self) {
        if let Some(Engine::Replicated(replicated)) = &mut self.engine {
            replicated.arrive();
        }
    }

    /// With everything durable: whether it is time for the next segment, and then its first number.
    pub(crate) fn next_segment(&mut self) -> Option<(u64, bool)> {
        let door = self.engine.as_mut().map(Engine::door_mut).filter(|door| door.waiting() == 0)?;
        let renewed = door.take_renewed();
        let begun = (door.is_full() && door.begin_segment().is_ok()) || renewed;
        begun.then(|| (door.last_sequence() + 1, renewed))
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.engine.as_ref().map_or(0, |e| e.door().last_sequence())
    }

    pub(crate) fn is_replicated(&self) -> bool {
        self.log.is_some()
    }

    /// From now on nothing is taken, or nothing after a few operations.
    pub(crate) fn fail(&self, operations: u32) {
        match &self.log {
            Some(log) => log.refuse(true),
            None => self.disk.fail_after(operations),
        }
    }

    pub(crate) fn heal(&self) {
        match &self.log {
            Some(log) => log.refuse(false),
            None => self.disk.heal(),
        }
    }

    /// Another node takes the lead.
    pub(crate) fn lose_the_lead(&mut self, at: Wall, chance: &mut Chance) {
        if let Some(Engine::Replicated(replicated)) = &mut self.engine {
            replicated.cut_off(chance);
            let taken = replicated.taken();
            self.ended_after(taken);
        }
        if let Some(log) = &self.log {
            log.lead_by_another(at, chance);
        }
    }

    /// The power is gone; perhaps while something was being written.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        if let Some(Engine::Replicated(replicated)) = &mut self.engine {
            replicated.cut_off(chance);
            let taken = replicated.taken();
            self.ended_after(taken);
        } else if self.waiting() > 0 && chance.percent(50) {
            self.disk.fail_after(chance.below(4) as u32);
            let _ = self.commit();
        }
        self.engine = None;
        self.syncing = false;
        self.held = None;
        self.disk.crash(chance);
        self.disk.heal();
    }

    /// Every durable event, as the journal has it.
    pub(crate) fn events(&self) -> Vec<Entry> {
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

pub(crate) struct Sink {
    follower: Option<Follower>,
    /// How many events, each of another alert, go out together: they arrive in any order.
    at_once: usize,
    /// Every body that was posted, repeats included: id and bytes.
    pub got: Vec<(String, Vec<u8>)>,
}

/// What a turn of a sink came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    Nothing,
    Refused,
    Told,
}

impl Sink {
    pub(crate) fn new(at_once: usize) -> Sink {
        Sink { follower: None, at_once, got: Vec::new() }
    }

    pub(crate) fn open(&mut self, storage: &Storage, name: &str) {
        self.follower = Some(Follower::open(&storage.shared(), data(), name, storage.last_sequence()));
    }

    /// Tries what is due.
    pub(crate) fn step(&mut self, storage: &Storage, broken: Option<Rule>, chance: &mut Chance) -> Turn {
        let Some(follower) = &mut self.follower else { return Turn::Nothing };
        let told: Vec<(String, Vec<u8>)> = match follower.due(storage.last_sequence(), self.at_once, true) {
            Ok(Some(Due::Events(events))) => events.iter().rev().map(|e| (id_of(&e.body), e.body.clone())).collect(),
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
        // Those that arrived before the way broke off come again with the others.
        let arrived = if told.len() > 1 && chance.percent(10) { told.len() / 2 } else { told.len() };
        let is_whole = arrived == told.len();
        self.got.extend(told.into_iter().take(arrived));
        // Taken, but the answer was lost on its way: it will come again.
        if is_whole && !chance.percent(6) {
            let _ = follower.settle();
        }
        Turn::Told
    }

    /// As a receiver sees it that drops repeated ids.
    pub(crate) fn accepted(&self, broken: Option<Rule>) -> Vec<&(String, Vec<u8>)> {
        let mut seen = std::collections::BTreeSet::new();
        let keep = |e: &&(String, Vec<u8>)| broken == Some(Rule::DeDuplication) || seen.insert(e.0.clone());
        self.got.iter().filter(keep).collect()
    }
}

fn id_of(body: &[u8]) -> String {
    CloudEvent::parts(body).map(|(id, _)| id.to_owned()).unwrap_or_default()
}
