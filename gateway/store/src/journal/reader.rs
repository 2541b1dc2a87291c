//! Following the journal: whoever reads keeps a cursor of their own.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::journal::{Frame, HEADER_LEN, Hash, Kind, MAX_PAYLOAD, Origin};
use codecs::time::Wall;

use super::segment::{self, Damage, Link, Step, Walk};
use super::{Cursor, Place};
use crate::disk::{Access, Disk, DiskFile, is_for_good, read_full};

/// Octets that are read at one time: few by whoever has caught up, more by whoever is behind.
const STRETCH: std::ops::RangeInclusive<usize> = 16 * 1024..=128 * 1024;
/// How often a durable frame is looked for before it is given up.
const MISSED_MAX: u32 = 20;

/// A frame that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    pub sequence: u64,
    pub at: Wall,
    pub kind: Kind,
    pub origin: Origin,
    pub previous: Hash,
    pub payload: Vec<u8>,
}

#[derive(PartialEq, Eq, Debug)]
pub enum Item {
    Frame(Read),
    /// Something that is not as it was written; what follows it comes next.
    Damage(Damage),
}

/// Follows the journal from a cursor.
pub struct Reader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Where the next frame is looked for.
    place: Place,
    /// The last frame that was handed out, or that the cursor says was.
    last: u64,
    origin: Origin,
    /// What the cursor says its hash was, until the next frame has been compared with it.
    hash: Option<Hash>,
    /// Where it stands.
    last_at: Place,
    /// `place` has been compared with `last`.
    located: bool,
    file: Option<Box<dyn DiskFile>>,
    /// What was read from `buffered_from` on in this segment.
    buffer: Vec<u8>,
    buffered_from: u64,
    /// Octets to be read next.
    stretch: usize,
    /// How often the next frame was looked for in vain.
    missed: u32,
    /// Behind which frame that was.
    missed_behind: u64,
    /// Found while looking behind damage.
    ahead: VecDeque<(Item, Place)>,
}

impl Reader {
    /// Goes on behind what the cursor names.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, cursor: &Cursor) -> Reader {
        Reader {
            disk,
            dir: dir.to_owned(),
            place: cursor.hint,
            last: cursor.sequence,
            origin: Origin::default(),
            hash: cursor.hash(),
            last_at: Place::default(),
            located: cursor.sequence == 0 && cursor.hint == Place::default(),
            file: None,
            buffer: Vec::new(),
            buffered_from: 0,
            stretch: *STRETCH.start(),
            missed: 0,
            missed_behind: 0,
            ahead: VecDeque::new(),
        }
    }

    /// Goes on behind the frame of a number.
    pub fn behind(disk: Arc<dyn Disk>, dir: &Path, sequence: u64) -> Reader {
        Reader::new(disk, dir, &Cursor { sequence, ..Cursor::default() })
    }

    /// Looks anew for what a cursor names, after an error; how often it was looked for in vain still counts.
    pub fn again(&mut self, cursor: &Cursor) {
        let anew = Reader::new(Arc::clone(&self.disk), &self.dir, cursor);
        *self = Reader { missed: self.missed, missed_behind: self.missed_behind, ..anew };
    }

    /// The number of the last frame that was read, or passed over.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Where it stands: behind the last frame that was handed out.
    pub fn cursor(&self) -> Cursor {
        let last = self.buffered(self.last_at).filter(|(frame, _)| frame.sequence == self.last);
        Cursor::at(self.last, last.map(|(frame, _)| frame.hash()).or(self.hash), self.place)
    }

    /// The next frame that is durable: numbered `until` or below. What is written and not synced may yet vanish.
    ///
    /// # Errors
    /// When the files cannot be read, or a durable frame is nowhere; it may be tried again. What is still nowhere, or
    /// cannot be read while a later segment is there, is told as damage at the twentieth try, and passed over.
    pub fn next(&mut self, until: u64) -> io::Result<Option<Item>> {
        let error = match self.next_readable(until) {
            Ok(item) => return Ok(item),
            Err(error) => error,
        };
        // What is no file does not become one.
        self.missed = if is_for_good(&error) { MISSED_MAX } else { self.missed + 1 };
        self.missed_behind = self.missed_behind.max(self.last);
        let later = segment::list(&*self.disk, &self.dir)?.into_iter().find(|first| *first > self.place.segment);
        match later.filter(|first| self.missed >= MISSED_MAX && *first <= until) {
            Some(later) => Ok(Some(self.pass_over(later))),
            None => Err(error),
        }
    }

    /// Goes on with a later segment, since this one cannot be read.
    fn pass_over(&mut self, later: u64) -> Item {
        let missing = (later - 1).saturating_sub(self.last);
        let damage = Damage { missing, ..Damage::unreadable(self.place.segment) };
        self.place = Place { segment: later, offset: 0 };
        (self.last, self.hash, self.missed, self.located) = (self.last.max(later - 1), None, 0, true);
        self.file = None;
        self.forget_buffer();
        self.ahead.clear();
        Item::Damage(damage)
    }

    fn next_readable(&mut self, until: u64) -> io::Result<Option<Item>> {
        if self.last >= until && self.ahead.is_empty() {
            return Ok(None);
        }
        if !self.located {
            self.locate()?;
        }
        loop {
            if let Some((item, place)) = self.ahead.pop_front() {
                self.place = place;
                if let Item::Frame(read) = &item {
                    (self.last, self.origin, self.hash) = (read.sequence, read.origin, None);
                }
                return Ok(Some(item));
            }
            if self.last >= until || (self.file.is_none() && !self.open_segment()?) {
                return Ok(None);
            }
            if let Some((read, next)) = self.read_here()?.filter(|(read, _)| self.follows(read)) {
                self.last_at = std::mem::replace(&mut self.place, next);
                (self.last, self.origin, self.hash) = (read.sequence, read.origin, None);
                // What stands ahead of the gap is read anew with each try.
                if self.last > self.missed_behind {
                    self.missed = 0;
                }
                return Ok(Some(Item::Frame(read)));
            }
            if !self.look_on(until)? {
                let what = format!("frame {} is durable and not in the journal", self.last + 1);
                if self.missed + 1 < MISSED_MAX {
                    return Err(io::Error::other(what));
                }
                // It will not come any more: whoever reads goes on with what does.
                let missing = until - self.last;
                (self.missed, self.last, self.hash) = (0, until, None);
                let what = "frames that were durable are nowhere";
                return Ok(Some(Item::Damage(Damage { at: self.place, len: 0, what, missing })));
            }
        }
    }

    fn follows(&self, read: &Read) -> bool {
        read.sequence == self.last + 1
            && !read.origin.is_older_than(self.origin)
            && self.hash.is_none_or(|hash| hash == read.previous)
    }

    /// The rest of this segment step by step, or the next one. `false`: there is no more to be read.
    fn look_on(&mut self, until: u64) -> io::Result<bool> {
        if self.go_on_with_the_next()? {
            return Ok(true);
        }
        let bytes = segment::read_used(&*self.disk, &segment::path(&self.dir, self.place.segment))?;
        let link = Link { sequence: self.last, hash: self.hash, origin: self.origin };
        let all = segment::list(&*self.disk, &self.dir)?;
        let mut walk = Walk::new(&bytes, self.place.segment, &all, Some(link)).behind(self.place.offset);
        for step in &mut walk {
            match step {
                Step::Damage(damage) => {
                    let place = Place { offset: damage.at.offset + damage.len, ..damage.at };
                    self.ahead.push_back((Item::Damage(damage), place));
                }
                Step::Frame { frame, .. } if frame.sequence > until => {
                    // The leap to it is told once it may be read.
                    let _ = self.ahead.pop_back_if(|(item, _)| matches!(item, Item::Damage(d) if d.len == 0));
                    break;
                }
                Step::Frame { offset, len, frame } => {
                    let place = Place { segment: self.place.segment, offset: offset + len };
                    self.ahead.push_back((Item::Frame(Read::of(&frame)), place));
                    break;
                }
            }
        }
        if !self.ahead.is_empty() {
            self.forget_buffer();
            return Ok(true);
        }
        let later = all.into_iter().find(|s| *s > self.place.segment);
        let Some(segment) = later else { return Ok(false) };
        // Whatever was written to this segment was written before the next one was created.
        if let Some((read, _)) = self.read_anew()?
            && read.sequence == self.last + 1
        {
            return Ok(true);
        }
        self.place = Place { segment, offset: 0 };
        self.file = None;
        self.forget_buffer();
        Ok(true)
    }

    /// The usual end of a segment: the next one begins with the next number, and nothing stands in between.
    fn go_on_with_the_next(&mut self) -> io::Result<bool> {
        let later = segment::list(&*self.disk, &self.dir)?.into_iter().find(|first| *first > self.place.segment);
        let Some((segment, file)) = later.filter(|first| *first == self.last + 1).zip(self.file.as_ref()) else {
            return Ok(false);
        };
        // Whatever was written to this segment was written before the next one was created.
        if !segment::is_zero_from(&**file, self.place.offset)? {
            return Ok(false);
        }
        self.place = Place { segment, offset: 0 };
        self.file = None;
        self.forget_buffer();
        Ok(true)
    }

    fn forget_buffer(&mut self) {
        self.buffer.clear();
        self.buffered_from = 0;
    }

    /// Compares the hint with the number, and looks for the number where the hint is none.
    fn locate(&mut self) -> io::Result<()> {
        let all = segment::list(&*self.disk, &self.dir)?;
        if self.last == 0 {
            // A cursor of 0.1.0 has a place and no number: the number of the last frame ahead of it.
            let read = |segment| segment::read_used(&*self.disk, &segment::path(&self.dir, segment));
            if let Ok(bytes) = read(self.place.segment) {
                let mut walk = Walk::new(&bytes, self.place.segment, &all, None);
                let ahead = |s: &Step<'_>| matches!(s, Step::Frame { offset, .. } if *offset < self.place.offset);
                let mut last = None;
                while let Some(step) = walk.next().filter(ahead) {
                    if let Step::Frame { frame, .. } = step {
                        last = Some(Link::of(&frame));
                    }
                }
                let before = Link { sequence: self.place.segment.saturating_sub(1), ..Link::NONE };
                let link = last.unwrap_or(Link { hash: None, ..before });
                (self.last, self.hash) = (link.sequence, link.hash);
            }
            self.located = true;
            return Ok(());
        }
        let hinted = if self.open_segment()? { self.read_here().ok().flatten() } else { None };
        let is_next = hinted.is_some_and(|(read, _)| read.sequence == self.last + 1);
        if !is_next {
            let segment = all.iter().rev().find(|s| **s <= self.last + 1).or(all.first());
            self.place = Place { segment: segment.copied().unwrap_or_default(), offset: 0 };
            self.file = None;
            self.forget_buffer();
            if let Ok(bytes) = segment::read_used(&*self.disk, &segment::path(&self.dir, self.place.segment)) {
                let steps = Walk::new(&bytes, self.place.segment, &all, None);
                let known = steps.filter_map(|s| match s {
                    Step::Frame { offset, len, frame } if frame.sequence <= self.last => Some(offset + len),
                    Step::Frame { .. } | Step::Damage(_) => None,
                });
                self.place.offset = known.last().unwrap_or(0);
            }
        }
        self.located = true;
        if let Some(expected) = self.hash
            && self.open_segment()?
            && self.read_here()?.is_some_and(|(read, _)| read.sequence == self.last + 1 && read.previous != expected)
        {
            // Whoever reads may have seen others under these numbers: all of the segment comes again.
            let what = "the cursor was made in another journal";
            let damage = Damage { at: self.place, len: 0, what, missing: 0 };
            self.place.offset = 0;
            (self.last, self.hash, self.origin) = (self.place.segment.saturating_sub(1), None, Origin::default());
            self.forget_buffer();
            self.ahead.push_back((Item::Damage(damage), self.place));
        }
        Ok(())
    }

    fn open_segment(&mut self) -> io::Result<bool> {
        let all = segment::list(&*self.disk, &self.dir)?;
        let Some(&segment) = all.iter().find(|s| **s >= self.place.segment) else { return Ok(false) };
        if segment != self.place.segment {
            self.place = Place { segment, offset: 0 };
            self.forget_buffer();
        }
        self.file = Some(self.disk.open(&segment::path(&self.dir, segment), Access::Read)?);
        Ok(true)
    }

    fn read_here(&mut self) -> io::Result<Option<(Read, Place)>> {
        if let Some(read) = self.read_buffered() {
            return Ok(Some(read));
        }
        self.read_anew()
    }

    fn read_anew(&mut self) -> io::Result<Option<(Read, Place)>> {
        self.fill()?;
        Ok(self.read_buffered())
    }

    /// The frame at the cursor, if all of it was read before.
    fn read_buffered(&self) -> Option<(Read, Place)> {
        let (frame, total) = self.buffered(self.place)?;
        let next = Place { segment: self.place.segment, offset: self.place.offset + total as u64 };
        Some((Read::of(&frame), next))
    }

    fn buffered(&self, place: Place) -> Option<(Frame<'_>, usize)> {
        let from = usize::try_from(place.offset.checked_sub(self.buffered_from)?).ok()?;
        let here = place.segment == self.place.segment;
        Frame::read(self.buffer.get(from..).filter(|_| here)?).ok()
    }

    /// Reads a stretch from the cursor on, a longer one where a single frame is longer.
    fn fill(&mut self) -> io::Result<()> {
        let file = self.file.as_ref().expect("opened by the caller");
        let used = self.place.offset.saturating_sub(self.buffered_from);
        let is_behind = used * 2 > self.buffer.len() as u64 && !self.buffer.is_empty();
        self.stretch = if is_behind { (self.stretch * 2).min(*STRETCH.end()) } else { *STRETCH.start() };
        self.buffered_from = self.place.offset;
        self.buffer.resize(self.stretch, 0);
        let mut got = read_full(&**file, &mut self.buffer, self.place.offset)?;
        if let Some(head) = self.buffer[..got].first_chunk::<4>() {
            let whole = HEADER_LEN + u32::from_le_bytes(*head) as usize;
            if whole > got && whole <= HEADER_LEN + MAX_PAYLOAD {
                self.buffer.resize(whole, 0);
                got = read_full(&**file, &mut self.buffer, self.place.offset)?;
            }
        }
        self.buffer.truncate(got);
        Ok(())
    }
}

impl Read {
    fn of(frame: &Frame<'_>) -> Read {
        Read {
            sequence: frame.sequence,
            at: frame.at,
            kind: frame.kind,
            origin: frame.origin,
            previous: frame.previous,
            payload: frame.payload.to_vec(),
        }
    }
}
