//! What lies in a segment: sound frames in their order, what is damaged between them, and how it ends.

use std::io;
use std::path::{Path, PathBuf};

use codecs::journal::{Frame, Hash, Origin, ReadError, may_begin};
use codecs::record::Note;

use super::Place;
use crate::disk::{Access, Disk, DiskFile, read_full};

/// Segments are read in steps of this; a whole one of zeros is the end of what was written.
const STEP: usize = 1024 * 1024;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// To compare a step with.
static ZEROS: [u8; STEP] = [0; STEP];
/// How far a number may leap: beyond, bytes that look like a frame are none.
const LEAP: u64 = 1 << 40;

pub fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The first sequence number of every segment, in order.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u64>> {
    let names = disk.names(dir)?;
    let number = |name: &String| name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?.parse().ok();
    // What is called after a number that no journal comes to is no segment.
    let mut found: Vec<u64> = names.iter().filter_map(number).filter(|first| *first < NUMBERS_END / 2).collect();
    found.sort_unstable();
    Ok(found)
}

/// No segment is longer, with the last group that goes into it: what lies beyond was not written by a journal.
const LONGEST: u64 = 256 * 1024 * 1024;

/// What has been written to a segment: up to a whole step of zeros, of which no frame can consist, since payloads are
/// JSON. Saves reading what is only preallocated.
///
/// # Errors
/// What the disk said.
pub fn read_used(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    let mut bytes = Vec::new();
    loop {
        let from = bytes.len();
        bytes.resize(from + STEP, 0);
        let got = read_full(&*file, &mut bytes[from..], from as u64)?;
        bytes.truncate(from + got);
        if got < STEP || bytes.len() as u64 >= LONGEST {
            return Ok(bytes);
        }
        if bytes[from..] == ZEROS[..] && is_zero_from(&*file, (from + STEP) as u64)? {
            return Ok(bytes);
        }
    }
}

/// Whether nothing was written from here on. Damage may have made zeros of a long stretch.
pub(super) fn is_zero_from(file: &dyn DiskFile, mut at: u64) -> io::Result<bool> {
    let mut buffer = vec![0; STEP];
    loop {
        let got = read_full(file, &mut buffer, at)?;
        if buffer[..got] != ZEROS[..got] {
            return Ok(false);
        }
        at += got as u64;
        if got < STEP || at >= LONGEST {
            return Ok(true);
        }
    }
}

/// Whether a segment tells by itself what every start needs at once: all of it, not only its first frame.
pub(super) fn begins_with_head(bytes: &[u8], segment: u64) -> bool {
    let Some(Step::Frame { frame, .. }) = Walk::new(bytes, segment, &[], None).next() else { return false };
    match frame.kind {
        codecs::journal::Kind::Note => matches!(Note::parse(frame.payload), Some(Note::Head { .. })),
        // As 0.1.0 wrote them: a snapshot's beginning, a grant, the duties.
        codecs::journal::Kind::SnapshotBegin => true,
        _ => false,
    }
}

/// The last frame that was read: what the next has to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    pub sequence: u64,
    /// None where only the number is known.
    pub hash: Option<Hash>,
    pub origin: Origin,
}

impl Link {
    /// Ahead of the very first.
    pub const NONE: Link = Link { sequence: 0, hash: Some([0; 32]), origin: Origin { node: 0, epoch: 0 } };

    pub fn of(frame: &Frame<'_>) -> Link {
        Link { sequence: frame.sequence, hash: Some(frame.hash()), origin: frame.origin }
    }
}

/// Something that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    pub at: Place,
    /// Octets that no frame could be made of.
    pub len: u64,
    pub what: &'static str,
    /// Frames that should be there, as far as the numbers tell.
    pub missing: u64,
}

impl Damage {
    /// A segment of which nothing can be read.
    pub fn unreadable(first: u64) -> Damage {
        Damage { at: Place { segment: first, offset: 0 }, len: 0, what: UNREADABLE, missing: 0 }
    }

    /// Nothing of its segment can be read now.
    pub fn is_unreadable(&self) -> bool {
        self.what == UNREADABLE
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "segment {} at {}: {}; {} frames are missing",
            self.at.segment, self.at.offset, self.what, self.missing
        )
    }
}

/// A step of a walk.
#[derive(PartialEq, Eq, Debug)]
pub enum Step<'a> {
    Frame { offset: u64, len: u64, frame: Frame<'a> },
    Damage(Damage),
}

/// What is wrong with a sound frame. One that is not passed over is served once its fault was told.
struct Fault {
    what: &'static str,
    missing: u64,
    passed_over: bool,
}

/// How a segment ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// Behind the last sound frame.
    pub offset: u64,
    /// Bytes that are no frame lie behind it: a write that was torn.
    pub torn: Option<&'static str>,
}

const UNREADABLE: &str = "the segment cannot be read";
/// No journal comes to a number like this.
pub(super) const NUMBERS_END: u64 = 1 << 62;

/// Goes through the used bytes of a segment.
pub struct Walk<'a> {
    bytes: &'a [u8],
    segment: u64,
    at: usize,
    link: Option<Link>,
    /// The first number that it does not hold: that of the next segment.
    numbers_end: u64,
    /// The leap to the next frame has been told already.
    told: bool,
    /// The highest number of a sound frame that was passed over.
    highest: u64,
    /// Up to here frames that belong together are known to be whole.
    whole: usize,
    /// As versions wrote it whose frames do not say where a write begins.
    is_old: bool,
    end: Option<End>,
}

impl<'a> Walk<'a> {
    /// The bytes of a segment among `all`. `link`: the last frame of the one before; none where that is not known.
    pub fn new(bytes: &'a [u8], segment: u64, all: &[u64], link: Option<Link>) -> Walk<'a> {
        let numbers_end = all.iter().copied().find(|s| *s > segment).unwrap_or(NUMBERS_END);
        let is_old = Frame::read(bytes).is_ok_and(|(frame, _)| !frame.first);
        Walk { bytes, segment, at: 0, link, numbers_end, told: false, highest: 0, whole: 0, is_old, end: None }
    }

    /// From an offset on at which a frame is known to end.
    pub fn behind(self, offset: u64) -> Walk<'a> {
        Walk { at: (offset as usize).min(self.bytes.len()), ..self }
    }

    /// The highest number of what was passed over: it is not to be given again.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The last sound frame so far.
    pub fn link(&self) -> Option<Link> {
        self.link
    }

    /// Once all steps were taken.
    pub fn end(&self) -> End {
        self.end.unwrap_or(End { offset: self.at as u64, torn: None })
    }

    /// A write that was torn, in a segment that others follow: they were begun when all of it was durable.
    pub fn damaged_end(&self) -> Option<Damage> {
        let End { offset, torn } = self.end();
        let what = torn.filter(|_| self.numbers_end != NUMBERS_END)?;
        let at = Place { segment: self.segment, offset };
        Some(Damage { at, len: self.bytes.len() as u64 - offset, what, missing: 0 })
    }

    fn damage(&self, len: usize, what: &'static str, missing: u64) -> Step<'a> {
        let at = Place { segment: self.segment, offset: self.at as u64 };
        Step::Damage(Damage { at, len: len as u64, what, missing })
    }

    /// What a sound frame is to the ones before it; `None`: the next.
    fn fault(&self, frame: &Frame<'_>) -> Option<Fault> {
        let passed_over = |what| Some(Fault { what, missing: 0, passed_over: true });
        // A later file may be called after a number that stands here, and be none of the journal's: the chain tells.
        let goes_on = |link: Link| link.sequence + 1 == frame.sequence && link.hash == Some(frame.previous);
        let is_before_the_next = frame.sequence < self.numbers_end || self.link.is_some_and(goes_on);
        if frame.sequence < self.segment.max(1) || frame.sequence >= NUMBERS_END || !is_before_the_next {
            return passed_over("a number that this segment cannot hold");
        }
        let link = self.link?;
        let told_first = |what, missing| Some(Fault { what, missing, passed_over: false }).filter(|_| !self.told);
        if frame.sequence <= link.sequence {
            passed_over("a frame that stood before stands here again")
        } else if frame.origin.is_older_than(link.origin) {
            passed_over("an older start of this node wrote this")
        } else if frame.sequence > link.sequence + 1 {
            told_first("frames are missing", frame.sequence - link.sequence - 1)
        } else if link.hash.is_some_and(|hash| hash != frame.previous) {
            told_first("the hash chain does not go on here", 0)
        } else {
            None
        }
    }

    /// Whether the frame at `self.at`, with so many octets, counts: what belongs to it is there as well, or was on the
    /// disk one day.
    fn is_whole(&mut self, frame: &Frame<'_>, len: usize) -> bool {
        if !frame.more || self.at < self.whole {
            return true;
        }
        let (mut at, mut last) = (self.at + len, frame.sequence);
        loop {
            match Frame::read(&self.bytes[at..]) {
                Ok((next, len)) => {
                    at += len;
                    last = next.sequence;
                    if !next.more {
                        break;
                    }
                }
                Err(_) if self.was_durable(at, last) => break,
                Err(_) => return false,
            }
        }
        self.whole = at;
        true
    }

    /// Whether what stands at `from`, and cannot be read, was on the disk one day, so that it is damage and no torn write.
    /// A sound frame behind it does not say so, since the parts of one write come to the disk in any order; a later write
    /// or segment does. Of the last write a sector that never came is told by its zeros, of which no frame has as many.
    fn was_durable(&self, from: usize, last: u64) -> bool {
        if self.is_old || self.numbers_end != NUMBERS_END {
            return true;
        }
        let Some((behind, _)) = self.next_sound(from, last) else { return false };
        if !self.has_hole(from, behind) {
            return true;
        }
        let (mut at, mut last) = (behind, last);
        loop {
            while let Ok((frame, len)) = Frame::read(&self.bytes[at..]) {
                if frame.first {
                    return true;
                }
                (at, last) = (at + len, frame.sequence.max(last));
            }
            match self.next_sound(at, last) {
                Some((found, _)) => at = found,
                None => return false,
            }
        }
    }

    /// Whether a sector of zeros lies in between, or the rest of one in which something older ends.
    fn has_hole(&self, from: usize, to: usize) -> bool {
        let begins = |n: usize| (n * SECTOR).max(from);
        let mut sectors = (from / SECTOR..to / SECTOR).map(|n| &self.bytes[begins(n)..(n + 1) * SECTOR]);
        sectors.any(|sector| !sector.is_empty() && sector.iter().all(|b| *b == 0))
    }

    /// Where the next sound frame begins that may follow the one with number `last`, behind `from`.
    fn next_sound(&self, from: usize, last: u64) -> Option<(usize, u64)> {
        let sound = |at: &usize| {
            let bytes = &self.bytes[*at..];
            let sequence = || u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
            let may_follow = last + 1..self.numbers_end.min(last + LEAP);
            may_begin(bytes) && may_follow.contains(&sequence()) && Frame::read(bytes).is_ok()
        };
        let at = (from + 1..self.bytes.len()).find(sound)?;
        let (frame, _) = Frame::read(&self.bytes[at..]).ok()?;
        Some((at, frame.sequence))
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        if self.end.is_some() {
            return None;
        }
        let rest = &self.bytes[self.at..];
        let what = match Frame::read(rest) {
            Ok((frame, len)) => {
                if let Some(fault) = self.fault(&frame) {
                    let may_be = self.segment..self.numbers_end.min(self.segment + LEAP);
                    if fault.passed_over && may_be.contains(&frame.sequence) {
                        self.highest = self.highest.max(frame.sequence);
                    }
                    let at = self.at;
                    let step = self.damage(if fault.passed_over { len } else { 0 }, fault.what, fault.missing);
                    self.at = if fault.passed_over { at + len } else { at };
                    self.told = !fault.passed_over;
                    return Some(step);
                }
                if !self.is_whole(&frame, len) {
                    self.end =
                        Some(End { offset: self.at as u64, torn: Some("what belongs together is not all there") });
                    return None;
                }
                self.told = false;
                let offset = self.at as u64;
                self.at += len;
                self.link = Some(Link::of(&frame));
                return Some(Step::Frame { offset, len: len as u64, frame });
            }
            Err(ReadError::End) if rest.iter().all(|b| *b == 0) => {
                self.end = Some(End { offset: self.at as u64, torn: None });
                return None;
            }
            Err(ReadError::End) => "zeros where frames were",
            Err(ReadError::Torn(what)) => what,
        };
        let last = self.link.map_or(self.segment.max(1) - 1, |l| l.sequence);
        match self.next_sound(self.at, last) {
            Some((at, sequence)) if self.was_durable(self.at, last) => {
                let missing = self.link.map_or(0, |l| sequence - l.sequence - 1);
                let step = self.damage(at - self.at, what, missing);
                self.at = at;
                self.told = true;
                Some(step)
            }
            Some(_) | None => {
                self.end = Some(End { offset: self.at as u64, torn: Some(what) });
                None
            }
        }
    }
}
