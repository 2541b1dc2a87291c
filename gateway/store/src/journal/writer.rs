//! Writing: frames wait until a group of them is numbered, chained, written and synced.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::journal::{Frame, HEADER_LEN, Hash, Kind, MAX_PAYLOAD, Origin};
use codecs::record::CloudEvent;
use codecs::time::Wall;

use super::segment::{self, Damage, Link, Step, Walk};
use super::{Door, Place, Ticket, Trouble};
use crate::disk::{Access, Disk, DiskFile};

/// Zeros written at one time.
const AHEAD: u64 = 256 * 1024;
static ZEROS: [u8; AHEAD as usize] = [0; AHEAD as usize];
/// The most octets of a group.
const GROUP: usize = 4 * 1024 * 1024;
/// The most octets of what belongs together; beyond, a crash may leave a part of it.
const TOGETHER: usize = 16 * 1024 * 1024;
/// Starts that may have written what cannot be read.
const STARTS_UNREAD: u16 = 1024;
/// What a segment is given where there is no room for all of it.
const LITTLE: u64 = 1024 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The node's digit.
    pub node: u8,
    /// Octets of a segment.
    pub segment: u64,
    /// Octets that may wait for a disk that does not take them.
    pub waiting_max: usize,
}

impl Config {
    pub fn of_node(node: u8) -> Config {
        Config { node, segment: 64 * 1024 * 1024, waiting_max: 64 * 1024 * 1024 }
    }
}

struct Waiting {
    ticket: Ticket,
    batch: u64,
    at: Wall,
    kind: Kind,
    payload: Vec<u8>,
}

/// The segment that is being written.
struct Segment {
    file: Box<dyn DiskFile>,
    first: u64,
    offset: u64,
    /// Zeros have been written up to here: a sync of what replaces them changes no metadata.
    zeroed: u64,
    /// What an attempt that failed may have left reaches to here.
    dirty: u64,
}

enum State {
    /// Nothing is known of what the directory holds.
    Shut,
    Open(Segment),
    /// The segment is gone, or full: the next group begins a new one.
    Between,
}

/// What opening found.
#[derive(Default)]
pub struct Opened {
    /// Its last frame's number; 0 when there is none.
    pub head: u64,
    pub head_hash: Hash,
    /// In the part that was read; `replay` tells of the rest.
    pub damage: Vec<Damage>,
    /// Where a write was torn.
    pub torn: Option<Place>,
    /// Files that were called like segments and held nothing, by their numbers; they are set aside.
    pub strays: Vec<u64>,
}

pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    config: Config,
    origin: Origin,
    state: State,
    link: Link,
    waiting: VecDeque<Waiting>,
    waiting_len: usize,
    tickets: Ticket,
    batch: u64,
    durable: Ticket,
    renewed: bool,
    given_up: u64,
    group: Vec<u8>,
}

impl Journal {
    /// A journal of which nothing is known yet: what is appended waits for `open`.
    pub fn shut(disk: Arc<dyn Disk>, dir: &Path, config: Config) -> Journal {
        Journal {
            disk,
            dir: dir.to_owned(),
            config,
            origin: Origin { node: config.node, epoch: 0 },
            state: State::Shut,
            link: Link::NONE,
            waiting: VecDeque::new(),
            waiting_len: 0,
            tickets: 0,
            batch: 0,
            durable: 0,
            renewed: false,
            given_up: 0,
            group: Vec::new(),
        }
    }

    pub fn is_shut(&self) -> bool {
        matches!(self.state, State::Shut)
    }

    /// Finds the end of what is there, and hands the frames from the newest segment's head on to `take`: what a start
    /// needs at once. Everything else is `replay`'s.
    ///
    /// # Errors
    /// When the directory can be neither read nor made: nothing is known, the journal stays shut.
    pub fn open(&mut self, mut take: impl FnMut(&Frame<'_>)) -> io::Result<Opened> {
        assert!(self.is_shut(), "a journal is opened once");
        let disk = Arc::clone(&self.disk);
        match self.disk.make_dir(&self.dir) {
            // Read-only, perhaps, with a journal in it.
            Err(error) if self.disk.names(&self.dir).is_err() => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut opened = Opened::default();
        let all = self.without_strays(segment::list(&*disk, &self.dir)?, &mut opened.strays);
        let (begin, mut read) = self.newest_head(&all, &mut opened);
        let (mut link, mut last, mut highest) = (None, None, 0);
        for &first in &all[begin..] {
            let Some(bytes) = read.pop().flatten() else { continue };
            let mut walk = Walk::new(&bytes, first, &all, link);
            for step in &mut walk {
                match step {
                    Step::Frame { frame, .. } => take(&frame),
                    Step::Damage(damage) => opened.damage.push(damage),
                }
            }
            opened.damage.extend(walk.damaged_end());
            link = walk.link();
            highest = walk.highest().max(highest);
            last = Some((first, walk.end(), bytes.len()));
        }
        let mut link = link.unwrap_or(Link::NONE);
        // What a segment is called after was durable up to there, whatever has become of it.
        if let Some(before) = all.last().map(|first| first.saturating_sub(1)).filter(|before| *before > link.sequence) {
            link = Link { sequence: before, hash: None, ..link };
        }
        // Frames that were passed over have their numbers too.
        if highest > link.sequence {
            link = Link { sequence: highest, hash: None, ..link };
        }
        // What could not be read now may be readable one day: younger starts than are known may have written it.
        let starts = if opened.damage.iter().any(Damage::is_unreadable) { STARTS_UNREAD } else { 1 };
        self.origin.epoch = link.origin.epoch.wrapping_add(starts);
        // A newest segment that cannot be read may hold any numbers up to as many as fit.
        let unread = all.last().filter(|first| last.as_ref().is_none_or(|(f, ..)| f < first));
        let leap = unread.map(|first| first + self.config.segment / HEADER_LEN as u64);
        self.link = Link { sequence: leap.map_or(link.sequence, |l| l.max(link.sequence)), ..link };
        (opened.head, opened.head_hash) = (self.link.sequence, self.link.hash.unwrap_or_default());
        self.state = State::Between;
        if let (None, Some((first, end, len))) = (leap, last) {
            opened.torn = end.torn.map(|_| Place { segment: first, offset: end.offset });
            if let Ok(segment) = self.take_up(first, end.offset, len as u64) {
                self.state = State::Open(segment);
            }
        }
        Ok(opened)
    }

    /// A file without anything in it that others follow is no segment: the next one is begun when one is full. It is set
    /// aside, so that nobody looks for frames in it.
    fn without_strays(&self, mut all: Vec<u64>, strays: &mut Vec<u64>) -> Vec<u64> {
        let Some(last) = all.last().copied() else { return all };
        all.retain(|first| {
            let path = segment::path(&self.dir, *first);
            let mut head = [0; HEADER_LEN];
            let read = |file: Box<dyn DiskFile>| crate::disk::read_full(&*file, &mut head, 0);
            let is_empty = self.disk.open(&path, Access::Read).and_then(read).is_ok() && head == [0; HEADER_LEN];
            let is_stray = is_empty && *first != last && self.disk.rename(&path, &path.with_extension("stray")).is_ok();
            strays.extend(Some(*first).filter(|_| is_stray));
            !is_stray
        });
        all
    }

    /// The newest segment that begins with a head, or the oldest there is; and the bytes of those from it on, the last
    /// first. What cannot be read is told.
    fn newest_head(&self, all: &[u64], opened: &mut Opened) -> (usize, Vec<Option<Vec<u8>>>) {
        let mut read = Vec::new();
        for (i, &first) in all.iter().enumerate().rev() {
            let bytes = segment::read_used(&*self.disk, &segment::path(&self.dir, first)).ok();
            if bytes.is_none() {
                opened.damage.push(Damage::unreadable(first));
            }
            let is_head = bytes.as_deref().is_some_and(|bytes| segment::begins_with_head(bytes, first));
            read.push(bytes);
            if is_head {
                return (i, read);
            }
        }
        (0, read)
    }

    /// Goes on writing behind a segment's last sound frame. What a torn write left there becomes zeros, so that it is
    /// never taken for something later.
    fn take_up(&self, first: u64, end: u64, used: u64) -> io::Result<Segment> {
        let path = segment::path(&self.dir, first);
        let file = self.disk.open(&path, Access::Write)?;
        if used > end {
            let mut rest = vec![0; (used - end) as usize];
            let got = crate::disk::read_full(&*file, &mut rest, end)?;
            if rest[..got].iter().any(|b| *b != 0) {
                let kept = self.dir.join(format!("{first:020}-{end}.torn"));
                // For whoever wonders. A disk without room for it is no reason to leave the octets where they would be
                // taken for damage one day: nobody was told of them.
                let _ = self.disk.replace(&kept, &rest[..got]);
                file.write_at(&vec![0; got], end)?;
                file.sync()?;
            }
        }
        Ok(Segment { file, first, offset: end, zeroed: end, dirty: end })
    }

    /// Numbers go on behind `sequence`, which somebody knows of a journal that was lost or cut: nothing that was told by
    /// a number is followed by something else under it.
    pub fn go_beyond(&mut self, sequence: u64) {
        if sequence > self.link.sequence && sequence < segment::NUMBERS_END {
            self.link = Link { sequence, hash: None, ..self.link };
            self.state = State::Between;
        }
    }

    /// Takes the place of one of which nothing was known, with all that waits there.
    pub fn take_over(&mut self, opened: Journal) {
        assert!(
            self.is_shut() && opened.waiting.is_empty(),
            "of the two one was opened, and nothing was written to it"
        );
        (self.state, self.link, self.origin) = (opened.state, opened.link, opened.origin);
    }

    /// Looks whether the segment is still where it was made: somebody may have removed it. `false`: it is not.
    pub fn is_in_place(&mut self) -> bool {
        let State::Open(segment) = &self.state else { return true };
        let there = segment.file.is_at(&segment::path(&self.dir, segment.first));
        if !there {
            self.state = State::Between;
            self.renewed = true;
        }
        there
    }

    fn create(&mut self, first: u64) -> io::Result<Segment> {
        self.disk.make_dir(&self.dir)?;
        let path = segment::path(&self.dir, first);
        // Under another name until it is whole, so that no reader waits in one that came to nothing.
        let making = path.with_extension("making");
        let file = self.disk.open(&making, Access::Fresh)?;
        // Blocks ahead of need: a sync then writes data only, half the time of one that grows the file.
        if let Err(error) = file.allocate(self.config.segment).or_else(|_| file.allocate(LITTLE)) {
            let _ = self.disk.remove(&making);
            return Err(error);
        }
        file.sync()?;
        if self.disk.open(&path, Access::Read).is_ok() {
            // Never over something that is there, whatever it is.
            self.disk.rename(&path, &path.with_extension("damaged"))?;
        }
        self.disk.rename(&making, &path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(Segment { file, first, offset: 0, zeroed: 0, dirty: 0 })
    }

    /// The next group, numbered and chained; how many frames it has, and the last one.
    fn gather(&mut self) -> (usize, Link) {
        self.group.clear();
        let (mut count, mut link, mut before) = (0, self.link, None);
        let mut waiting = self.waiting.iter().peekable();
        while let Some(one) = waiting.next() {
            let most = if before == Some(one.batch) { TOGETHER } else { GROUP };
            let len = self.group.len() + HEADER_LEN + one.payload.len();
            if count > 0 && len > most {
                break;
            }
            before = Some(one.batch);
            let next = waiting.peek().filter(|next| next.batch == one.batch);
            let frame = Frame {
                sequence: link.sequence + 1,
                at: one.at,
                kind: one.kind,
                more: next.is_some_and(|next| len + HEADER_LEN + next.payload.len() <= TOGETHER),
                first: count == 0,
                origin: self.origin,
                previous: link.hash.unwrap_or_default(),
                payload: &one.payload,
            };
            let hash = frame.write(&mut self.group);
            link = Link { sequence: frame.sequence, hash: Some(hash), origin: self.origin };
            count += 1;
        }
        (count, link)
    }

    fn write_group(&mut self) -> io::Result<()> {
        let len = self.group.len() as u64;
        if let State::Open(segment) = &mut self.state
            && segment.offset > 0
            && segment.offset + len > self.config.segment
        {
            // An attempt that failed may have left whole frames, which are about to stand in the next one.
            segment.wipe()?;
            self.state = State::Between;
        }
        if let State::Between = self.state {
            self.state = State::Open(self.create(self.link.sequence + 1)?);
        }
        let State::Open(segment) = &mut self.state else { return Err(io::Error::other("the journal is not open")) };
        let end = segment.offset + len;
        let left_over = segment.dirty.saturating_sub(end);
        segment.dirty = segment.dirty.max(end);
        segment.file.write_at(&self.group, segment.offset)?;
        if left_over > 0 {
            // Of an attempt that failed and was longer.
            segment.file.write_at(&vec![0; left_over as usize], end)?;
        }
        segment.file.sync()?;
        (segment.offset, segment.dirty) = (end, end);
        segment.write_ahead(self.config.segment);
        Ok(())
    }

    /// Too much waits: of every alert the newest revision alone is kept, then the oldest frames go.
    fn make_room(&mut self) {
        let mut newest: HashMap<Vec<u8>, Ticket> = HashMap::new();
        for one in self.waiting.iter().filter(|w| w.kind == Kind::Event) {
            if let Some(no) = alert_of(&one.payload) {
                newest.insert(no.to_vec(), one.ticket);
            }
        }
        let before = self.waiting.len();
        let kept = |w: &Waiting| {
            w.kind != Kind::Event || alert_of(&w.payload).is_none_or(|no| newest.get(no) == Some(&w.ticket))
        };
        self.waiting.retain(kept);
        self.waiting_len = self.waiting.iter().map(|w| w.payload.len()).sum();
        while self.waiting_len > self.config.waiting_max / 4 * 3
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.waiting_len -= oldest.payload.len();
        }
        self.given_up += (before - self.waiting.len()) as u64;
    }

    /// Where the next frame will be written.
    pub fn place(&self) -> Place {
        match &self.state {
            State::Open(segment) => Place { segment: segment.first, offset: segment.offset },
            State::Shut | State::Between => Place { segment: self.link.sequence + 1, offset: 0 },
        }
    }

    /// The hash of the last durable frame: the head of the chain.
    pub fn head(&self) -> Hash {
        self.link.hash.unwrap_or_default()
    }
}

impl Segment {
    /// Nothing is left behind what is durable.
    fn wipe(&mut self) -> io::Result<()> {
        if self.dirty > self.offset {
            self.file.write_at(&vec![0; (self.dirty - self.offset) as usize], self.offset)?;
            self.file.sync()?;
            self.dirty = self.offset;
        }
        Ok(())
    }

    /// Keeps a stretch of zeros ahead. They reach the disk with the next group, which nobody waits for because of them.
    fn write_ahead(&mut self, until: u64) {
        self.zeroed = self.zeroed.max(self.offset);
        if self.zeroed - self.offset < AHEAD / 2 && self.zeroed < until {
            let len = AHEAD.min(until - self.zeroed);
            // Without it the next sync takes a little longer.
            if self.file.write_at(&ZEROS[..len as usize], self.zeroed).is_ok() {
                self.zeroed += len;
            }
        }
    }
}

fn alert_of(payload: &[u8]) -> Option<&[u8]> {
    let (id, _) = CloudEvent::parts(payload)?;
    id.split(':').next().map(str::as_bytes)
}

impl Door for Journal {
    /// # Panics
    /// On an empty payload or one over 8 MiB: records have limits far below.
    fn append(&mut self, at: Wall, kind: Kind, payload: Vec<u8>) -> Ticket {
        assert!((1..=MAX_PAYLOAD).contains(&payload.len()), "a payload of 1 octet to 8 MiB");
        self.tickets += 1;
        self.waiting_len += payload.len();
        self.waiting.push_back(Waiting { ticket: self.tickets, batch: self.batch, at, kind, payload });
        if self.waiting_len > self.config.waiting_max {
            self.make_room();
        }
        self.tickets
    }

    fn end_batch(&mut self) {
        self.batch += 1;
    }

    fn waiting(&self) -> usize {
        self.waiting_len
    }

    fn commit(&mut self) -> Result<(), Trouble> {
        if self.waiting.is_empty() {
            self.durable = self.tickets;
            return Ok(());
        }
        let (count, link) = self.gather();
        self.write_group().map_err(Trouble::Disk)?;
        self.link = link;
        for one in self.waiting.drain(..count) {
            self.waiting_len -= one.payload.len();
            self.durable = one.ticket;
        }
        if self.waiting.is_empty() {
            self.durable = self.tickets;
        }
        Ok(())
    }

    fn durable(&self) -> Ticket {
        self.durable
    }

    fn last_sequence(&self) -> u64 {
        self.link.sequence
    }

    fn is_full(&self) -> bool {
        matches!(&self.state, State::Open(segment) if segment.offset > self.config.segment / 4 * 3)
    }

    fn begin_segment(&mut self) -> Result<(), Trouble> {
        let first = self.link.sequence + 1;
        match self.create(first) {
            Ok(next) => {
                self.state = State::Open(next);
                Ok(())
            }
            Err(error) => {
                // Where it has its name already the old one may hold no number of its: the next group makes it anew.
                let path = segment::path(&self.dir, first);
                if self.disk.open(&path, Access::Read).is_ok() && self.disk.remove(&path).is_err() {
                    self.state = State::Between;
                }
                Err(Trouble::Disk(error))
            }
        }
    }

    fn take_renewed(&mut self) -> bool {
        std::mem::take(&mut self.renewed)
    }

    fn given_up(&self) -> u64 {
        self.given_up
    }
}
