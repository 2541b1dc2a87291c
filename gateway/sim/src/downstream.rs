//! The disk and what hangs on it: a journal of which a prefix is durable, and sinks that read that prefix.

use codecs::record::{AlertRecord, CloudEvent, Note};
use codecs::time::Wall;

use crate::chance::Chance;
use crate::rules::Rule;

#[derive(Clone)]
pub struct Entry {
    pub event: CloudEvent,
    pub bytes: Vec<u8>,
}

/// A frame; only events concern sinks.
pub enum Line {
    Event(Box<Entry>),
    Note(Wall, Note),
    /// A grant of serials.
    Grant,
}

impl Line {
    fn event(&self) -> Option<&Entry> {
        match self {
            Line::Event(entry) => Some(entry),
            Line::Note(..) | Line::Grant => None,
        }
    }
}

#[derive(Default)]
pub struct Journal {
    pub entries: Vec<Line>,
    pub durable: usize,
    /// What the running sync will have made durable.
    pub syncing: Option<usize>,
    pub next_serial: u32,
    granted: u32,
}

impl Journal {
    pub fn append(&mut self, event: CloudEvent, broken: Option<Rule>, chance: &mut Chance) {
        let mut event = event;
        if broken == Some(Rule::Seal) && chance.percent(5) {
            std::sync::Arc::make_mut(&mut event.data).incident.text.push('!');
        }
        let bytes = bytes_of(&event);
        self.entries.push(Line::Event(Box::new(Entry { event, bytes })));
        let n = self.entries.len();
        if broken == Some(Rule::JournalOrder) && n - self.durable >= 2 && self.syncing.is_none() && chance.percent(20) {
            self.entries.swap(n - 1, n - 2);
        }
    }

    /// Reserves serials durably, as the shell does before it hands them out.
    pub fn grant(&mut self, broken: Option<Rule>) -> switchboard::SerialBlock {
        const BLOCK: u32 = 30_000;
        let from = self.next_serial.max(1);
        if broken != Some(Rule::SerialReservation) {
            self.next_serial = from + BLOCK;
        }
        self.granted += 1;
        self.entries.push(Line::Grant);
        switchboard::SerialBlock { from, until: from + BLOCK }
    }

    /// The power is gone: what was not synced is not there.
    pub fn crash(&mut self) {
        self.entries.truncate(self.durable);
        self.syncing = None;
    }

    pub fn events(&self) -> impl Iterator<Item = &Entry> {
        self.entries[..self.durable].iter().filter_map(Line::event)
    }

    pub fn note(&mut self, at: Wall, note: Note) {
        self.entries.push(Line::Note(at, note));
    }

    pub fn notes(&self) -> impl Iterator<Item = (Wall, Note)> {
        self.entries[..self.durable].iter().filter_map(|l| match l {
            Line::Note(at, note) => Some((*at, note.clone())),
            Line::Event(_) | Line::Grant => None,
        })
    }

    /// Alerts as the journal tells them, ended ones too.
    pub fn open(&self) -> Vec<AlertRecord> {
        let mut open = std::collections::BTreeMap::new();
        for entry in self.events() {
            let data = &entry.event.data;
            open.insert(data.id.alert_no.clone(), data.clone());
        }
        open.into_values().map(std::sync::Arc::unwrap_or_clone).collect()
    }
}

/// The bytes that go out: any form that differs when the event does.
fn bytes_of(event: &CloudEvent) -> Vec<u8> {
    format!("{event:?}").into_bytes()
}

#[derive(Default)]
pub struct Sink {
    pub cursor: usize,
    /// Every body that was posted, repeats included: id and bytes.
    pub got: Vec<(String, Vec<u8>)>,
}

impl Sink {
    /// Tries the next event; returns whether anything was there to try.
    pub fn step(&mut self, journal: &Journal, broken: Option<Rule>, chance: &mut Chance) -> bool {
        if self.cursor >= journal.durable {
            return false;
        }
        let Some(entry) = journal.entries[self.cursor].event() else {
            self.cursor += 1;
            return true;
        };
        if chance.percent(8) {
            // Refused or unreachable.
            if broken == Some(Rule::CursorAfterDelivery) {
                self.cursor += 1;
            }
            return true;
        }
        self.got.push((entry.event.id.clone(), entry.bytes.clone()));
        // Taken, but the answer was lost on its way: it will come again.
        if !chance.percent(6) {
            self.cursor += 1;
        }
        true
    }

    /// As a receiver sees it that drops repeated ids.
    pub fn accepted(&self, broken: Option<Rule>) -> Vec<&(String, Vec<u8>)> {
        let mut seen = std::collections::BTreeSet::new();
        let keep = |e: &&(String, Vec<u8>)| broken == Some(Rule::DeDuplication) || seen.insert(e.0.clone());
        self.got.iter().filter(keep).collect()
    }
}
