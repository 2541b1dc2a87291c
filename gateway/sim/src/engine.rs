//! A modelled engine behind the journal's door: a log that several nodes keep together.
//!
//! What it is given is durable late and in bulk. At times it takes nothing for a while. It may come to be led by another
//! node: nothing of the old leader's is taken any more, and the next start finds what the other one wrote.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use codecs::journal::{Frame, Kind, Origin};
use codecs::time::Wall;
use store::journal::{Door, Link, Ticket, Trouble, segment_path};

use crate::chance::Chance;
use crate::disk::{ModelDisk, locked};

/// The other node.
const OTHER: u8 = 2;
/// Serials that it reserves when it leads.
const BLOCK: u32 = 10_000;

/// A frame as it was appended.
pub(crate) type Given = (Wall, Kind, Vec<u8>);

/// What the nodes have agreed on. Each keeps it in segments; this node's lie on its disk.
struct Agreed {
    disk: ModelDisk,
    dir: PathBuf,
    segment: u64,
    offset: u64,
    first: u64,
    link: Link,
    /// Rises when another node takes the lead.
    term: u64,
    /// It has no majority: nothing is taken now.
    refuses: bool,
    /// Serials below this are somebody's.
    serials: u32,
}

/// Shared with whoever appends to it.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Agreed>>);

impl Log {
    pub(crate) fn new(disk: ModelDisk, dir: &Path, segment: u64) -> Log {
        let (dir, offset, first) = (dir.to_owned(), 0, 1);
        let link = Link::NONE;
        Log(Arc::new(Mutex::new(Agreed {
            disk,
            dir,
            segment,
            offset,
            first,
            link,
            term: 0,
            refuses: false,
            serials: 1,
        })))
    }

    /// Whether it takes nothing for now.
    pub(crate) fn refuse(&self, refuses: bool) {
        locked(&self.0).refuses = refuses;
    }

    /// Another node leads from now on, and has reserved serials of its own.
    pub(crate) fn lead_by_another(&self, at: Wall, chance: &mut Chance) {
        let agreed = &mut *locked(&self.0);
        agreed.term += 1;
        let origin = Origin { node: OTHER, epoch: agreed.term as u16 };
        for _ in 0..1 + chance.below(3) {
            let grant = switchboard::serials::grant(at.beijing_date(), agreed.serials + BLOCK);
            agreed.take(origin, &(at, Kind::Grant, grant), false);
        }
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        locked(&self.0).link.sequence
    }
}

impl Agreed {
    fn take(&mut self, origin: Origin, (at, kind, payload): &Given, more: bool) {
        if *kind == Kind::Grant {
            let until = switchboard::serials::read_grant(*at, payload).and_then(|(_, until)| u32::try_from(until).ok());
            self.serials = self.serials.max(until.unwrap_or(0));
        }
        let (sequence, previous) = (self.link.sequence + 1, self.link.hash.unwrap_or_default());
        let frame = Frame { sequence, at: *at, kind: *kind, more, first: true, origin, previous, payload };
        let mut bytes = Vec::new();
        let hash = frame.write(&mut bytes);
        self.disk.put(&segment_path(&self.dir, self.first), self.offset, &bytes);
        self.offset += bytes.len() as u64;
        self.link = Link { sequence, hash: Some(hash), origin };
    }
}

/// This node's end of it, for as long as its process lives.
pub(crate) struct Replicated {
    log: Log,
    term: u64,
    origin: Origin,
    /// Each with the batch that it belongs to.
    waiting: VecDeque<(u64, Given)>,
    batch: u64,
    waiting_len: usize,
    /// So many of them are on their way to the other nodes.
    flying: usize,
    tickets: Ticket,
    durable: Ticket,
    /// So many of ours were taken, told or not.
    taken: u64,
    /// Broken, one that does not lead any more goes on as if it did.
    unfenced: bool,
}

impl Replicated {
    /// A start of this node: it leads.
    pub(crate) fn start(log: &Log, node: u8, unfenced: bool) -> Replicated {
        let term = {
            let agreed = &mut *locked(&log.0);
            agreed.term += 1;
            agreed.term
        };
        Replicated {
            log: log.clone(),
            term,
            origin: Origin { node, epoch: term as u16 },
            waiting: VecDeque::new(),
            batch: 0,
            waiting_len: 0,
            flying: 0,
            tickets: 0,
            durable: 0,
            taken: 0,
            unfenced,
        }
    }

    pub(crate) fn is_on_its_way(&self) -> bool {
        self.flying > 0
    }

    fn leads(&self) -> bool {
        locked(&self.log.0).term == self.term
    }

    /// What was on its way has come to a majority, unless another node leads meanwhile.
    pub(crate) fn arrive(&mut self) {
        let count = std::mem::take(&mut self.flying);
        let leads = self.leads();
        if !leads && !self.unfenced {
            return;
        }
        for n in 0..count {
            let more = n + 1 < count && self.belong_together(0);
            let Some((_, given)) = self.waiting.pop_front() else { return };
            self.waiting_len -= given.2.len();
            self.durable += 1;
            if leads {
                locked(&self.log.0).take(self.origin, &given, more);
                self.taken += 1;
            }
        }
    }

    /// The process ends, or another node takes the lead: some of what was on its way has been taken all the same, and
    /// nobody here hears of it.
    pub(crate) fn cut_off(&mut self, chance: &mut Chance) {
        let taken = chance.below(self.flying as u64 + 1) as usize;
        // Of what belongs together all is agreed on, or nothing.
        let taken = (0..=taken).rev().find(|n| *n == 0 || !self.belong_together(n - 1)).unwrap_or(0);
        if self.leads() {
            for (n, (_, given)) in self.waiting.iter().take(taken).enumerate() {
                locked(&self.log.0).take(self.origin, given, self.belong_together(n));
            }
            self.taken += taken as u64;
        }
    }

    /// So many of this process's frames the log has.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the one that waits at this place and the next are of one batch.
    fn belong_together(&self, n: usize) -> bool {
        matches!((self.waiting.get(n), self.waiting.get(n + 1)), (Some(a), Some(b)) if a.0 == b.0)
    }
}

impl Door for Replicated {
    fn append(&mut self, at: Wall, kind: Kind, payload: Vec<u8>) -> Ticket {
        self.tickets += 1;
        self.waiting_len += payload.len();
        self.waiting.push_back((self.batch, (at, kind, payload)));
        self.tickets
    }

    fn end_batch(&mut self) {
        self.batch += 1;
    }

    fn waiting(&self) -> usize {
        self.waiting_len
    }

    /// Begins to: one bulk at a time.
    fn commit(&mut self) -> Result<(), Trouble> {
        if !self.leads() && !self.unfenced {
            return Err(Trouble::Fenced);
        }
        if locked(&self.log.0).refuses {
            return Err(Trouble::Disk(io::Error::other("no majority")));
        }
        if self.flying == 0 {
            self.flying = self.waiting.len();
        }
        Ok(())
    }

    fn durable(&self) -> Ticket {
        self.durable
    }

    fn last_sequence(&self) -> u64 {
        self.log.last_sequence()
    }

    fn is_full(&self) -> bool {
        let agreed = locked(&self.log.0);
        agreed.offset > agreed.segment / 4 * 3
    }

    fn begin_segment(&mut self) -> Result<(), Trouble> {
        if !self.leads() {
            return Err(Trouble::Fenced);
        }
        let agreed = &mut *locked(&self.log.0);
        (agreed.first, agreed.offset) = (agreed.link.sequence + 1, 0);
        agreed.disk.put(&segment_path(&agreed.dir, agreed.first), 0, &[]);
        Ok(())
    }

    fn take_renewed(&mut self) -> bool {
        false
    }

    fn given_up(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        Log::new(ModelDisk::default(), Path::new("/journal"), 256 * 1024)
    }

    fn given(engine: &mut Replicated, count: u64) {
        for n in 0..count {
            engine.append(Wall(n as i64), Kind::Note, b"{}".to_vec());
        }
    }

    #[test]
    fn what_is_appended_is_durable_late_and_in_bulk() {
        let log = log();
        let mut engine = Replicated::start(&log, 1, false);
        given(&mut engine, 3);
        engine.commit().expect("it leads");
        given(&mut engine, 2);
        assert_eq!((engine.durable(), log.last_sequence()), (0, 0));
        engine.arrive();
        assert_eq!((engine.durable(), log.last_sequence()), (3, 3));
        log.refuse(true);
        assert!(matches!(engine.commit(), Err(Trouble::Disk(_))) && engine.waiting() == 4);
    }

    #[test]
    fn of_one_that_does_not_lead_any_more_nothing_is_taken() {
        let (log, mut chance) = (log(), Chance::new(1));
        let mut engine = Replicated::start(&log, 1, false);
        given(&mut engine, 3);
        engine.commit().expect("it leads");
        log.lead_by_another(Wall(0), &mut chance);
        let others = log.last_sequence();
        engine.arrive();
        engine.cut_off(&mut chance);
        assert!(matches!(engine.commit(), Err(Trouble::Fenced)));
        assert!(others > 0 && engine.durable() == 0 && log.last_sequence() == others);
        let mut next = Replicated::start(&log, 1, false);
        given(&mut next, 1);
        next.commit().expect("it leads");
        next.arrive();
        assert_eq!((next.durable(), log.last_sequence()), (1, others + 1));
    }
}
