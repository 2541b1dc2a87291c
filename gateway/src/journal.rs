//! The journal on disk: segments of 64 MiB, appended, synced in groups, read by cursors.
//!
//! A segment is named by its first sequence number. Writing is the casebook thread's; readers open the files for
//! themselves and follow.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use codecs::journal::{Frame, HEADER_LEN, Hash, Kind, MAX_PAYLOAD, ReadError};
use codecs::time::Wall;

/// Bytes preallocated a segment.
pub const SEGMENT: u64 = 64 * 1024 * 1024;
/// Zeros written at one time.
const AHEAD: u64 = 256 * 1024;
static ZEROS: [u8; AHEAD as usize] = [0; AHEAD as usize];
/// Beyond this a segment is left for the next, which begins with a snapshot.
const FULL: u64 = SEGMENT / 4 * 3;

/// Bytes that a reader takes at one time.
const STRETCH: usize = 128 * 1024;

/// Where a reader stands: which segment, and how far in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    pub segment: u64,
    pub offset: u64,
}

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The first sequence number of every segment, in order.
///
/// # Errors
/// When the directory cannot be read.
pub fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found: Vec<u64> = std::fs::read_dir(dir)?
        .filter_map(|e| e.ok()?.file_name().to_str()?.strip_suffix(".seg")?.parse().ok())
        .collect();
    found.sort_unstable();
    Ok(found)
}

pub struct Writer {
    dir: PathBuf,
    file: File,
    first: u64,
    offset: u64,
    next_sequence: u64,
    previous: Hash,
    pending: Vec<u8>,
    /// Zeros have been written up to here: a sync of what replaces them changes no metadata.
    zeroed: u64,
}

impl Writer {
    /// Opens the journal for writing behind its last sound frame, handing the frames from the newest whole snapshot
    /// on to `replay`. What a crash left half-written at the end is cut off.
    ///
    /// # Errors
    /// When the files cannot be read or written, or the chain is broken anywhere but at the very end.
    pub fn open(dir: &Path, mut replay: impl FnMut(&Frame<'_>)) -> anyhow::Result<Writer> {
        std::fs::create_dir_all(dir).with_context(|| format!("journal directory {}", dir.display()))?;
        let all = segments(dir).with_context(|| format!("journal directory {}", dir.display()))?;
        let (mut next, mut previous, mut end) = (1, [0; 32], 0);
        let begin = snapshot_segment(dir, &all)?;
        for (i, &first) in all.iter().enumerate().skip(begin) {
            let path = segment_path(dir, first);
            let bytes = read_used(&path).with_context(|| format!("journal segment {}", path.display()))?;
            if i == begin && begin > 0 {
                // `audit verify` follows the chain from its very first frame; a start takes it up here.
                let (frame, _) = Frame::read(&bytes).map_err(|e| anyhow::anyhow!("{}: {e:?}", path.display()))?;
                (next, previous) = (frame.sequence, frame.previous);
            }
            end = 0;
            loop {
                match Frame::read(&bytes[end as usize..]) {
                    Ok((frame, len)) => {
                        if frame.sequence != next || frame.previous != previous {
                            bail!("{} at {end}: the hash chain is broken (frame {})", path.display(), frame.sequence);
                        }
                        replay(&frame);
                        previous = frame.hash();
                        next += 1;
                        end += len as u64;
                    }
                    Err(ReadError::End) => break,
                    Err(ReadError::Torn(what)) if i + 1 == all.len() => {
                        tracing::warn!(segment = %path.display(), at = end, what, "journal: a torn last write is cut off");
                        break;
                    }
                    Err(ReadError::Torn(what)) => bail!("{} at {end}: {what}", path.display()),
                }
            }
        }
        let first = all.last().copied().unwrap_or(next);
        let file = if all.is_empty() { create(dir, first)? } else { reopen(dir, first, end)? };
        Ok(Writer {
            dir: dir.to_owned(),
            file,
            first,
            offset: end,
            next_sequence: next,
            previous,
            pending: Vec::new(),
            zeroed: end,
        })
    }

    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The hash of the last frame: the head of the chain.
    pub fn head(&self) -> Hash {
        self.previous
    }

    /// Adds a frame to the group that the next `commit` writes.
    pub fn append(&mut self, at: Wall, kind: Kind, payload: &[u8]) -> u64 {
        let sequence = self.next_sequence;
        let frame = Frame { sequence, at, kind, previous: self.previous, payload };
        self.previous = frame.write(&mut self.pending);
        self.next_sequence += 1;
        sequence
    }

    /// Bytes waiting for the next `commit`.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Writes and syncs what was appended. After an error everything is still pending and may be tried again.
    ///
    /// # Errors
    /// What the disk said.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.offset > 0 && self.offset + self.pending.len() as u64 > SEGMENT {
            let first = first_sequence(&self.pending);
            self.file = create(&self.dir, first).map_err(io::Error::other)?;
            (self.first, self.offset, self.zeroed) = (first, 0, 0);
        }
        self.file.write_all_at(&self.pending, self.offset)?;
        self.file.sync_data()?;
        self.offset += self.pending.len() as u64;
        self.pending.clear();
        self.write_ahead()
    }

    /// Keeps a stretch of zeros ahead. They reach the disk with the next group, which nobody waits for because of them.
    fn write_ahead(&mut self) -> io::Result<()> {
        self.zeroed = self.zeroed.max(self.offset);
        if self.zeroed - self.offset < AHEAD / 2 && self.zeroed < SEGMENT {
            let len = AHEAD.min(SEGMENT - self.zeroed) as usize;
            self.file.write_all_at(&ZEROS[..len], self.zeroed)?;
            self.zeroed += len as u64;
        }
        Ok(())
    }

    /// Whether it is time for the next segment.
    pub fn is_full(&self) -> bool {
        self.offset > FULL
    }

    /// Begins the next segment; what is appended now, up to a `SnapshotEnd`, is its snapshot.
    ///
    /// # Errors
    /// What the disk said; the old segment goes on being used.
    pub fn begin_segment(&mut self) -> anyhow::Result<()> {
        assert!(self.pending.is_empty(), "a segment begins between two groups");
        self.file = create(&self.dir, self.next_sequence)?;
        (self.first, self.offset, self.zeroed) = (self.next_sequence, 0, 0);
        Ok(())
    }

    /// Where the next frame will be written.
    pub fn cursor(&self) -> Cursor {
        Cursor { segment: self.first, offset: self.offset }
    }
}

/// What has been written to a segment: up to a whole mebibyte of zeros, of which no frame can consist, since
/// payloads are JSON. Saves reading what is only preallocated.
fn read_used(path: &Path) -> io::Result<Vec<u8>> {
    const STEP: usize = 1024 * 1024;
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    loop {
        let from = bytes.len();
        bytes.resize(from + STEP, 0);
        let mut got = 0;
        while got < STEP {
            match file.read_at(&mut bytes[from + got..], (from + got) as u64)? {
                0 => break,
                n => got += n,
            }
        }
        bytes.truncate(from + got);
        if got < STEP || bytes[from..].iter().all(|b| *b == 0) {
            return Ok(bytes);
        }
    }
}

/// The index of the newest segment in which a snapshot begins that was brought to its end, in it or in a later one;
/// the first one of all needs none.
fn snapshot_segment(dir: &Path, all: &[u64]) -> anyhow::Result<usize> {
    let mut ended = false;
    for (i, &first) in all.iter().enumerate().rev() {
        let path = segment_path(dir, first);
        let bytes = read_used(&path).with_context(|| format!("journal segment {}", path.display()))?;
        let (mut rest, mut begun, mut ended_here) = (&bytes[..], false, false);
        while let Ok((frame, len)) = Frame::read(rest) {
            match frame.kind {
                // One that was cut short by a crash is followed by another, or by none.
                Kind::SnapshotBegin => (begun, ended_here) = (true, false),
                Kind::SnapshotEnd => ended_here = true,
                Kind::Event | Kind::Grant | Kind::Snapshot | Kind::Duty | Kind::Note => {}
            }
            rest = &rest[len..];
        }
        if begun && (ended_here || ended) {
            return Ok(i);
        }
        // An end without its beginning belongs to an older segment; a beginning without an end is of no use.
        ended = !begun && (ended || ended_here);
    }
    Ok(0)
}

fn first_sequence(pending: &[u8]) -> u64 {
    Frame::read(pending).expect("we wrote these frames").0.sequence
}

fn create(dir: &Path, first: u64) -> anyhow::Result<File> {
    let path = segment_path(dir, first);
    let file = OpenOptions::new().create(true).truncate(true).write(true).read(true).open(&path)?;
    // Blocks ahead of need: a sync then writes data only, half the time of one that grows the file.
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SEGMENT)
        .with_context(|| format!("64 MiB for {}", path.display()))?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// Opens the last segment and zeroes whatever follows its last sound frame.
fn reopen(dir: &Path, first: u64, end: u64) -> anyhow::Result<File> {
    let file = OpenOptions::new().write(true).read(true).open(segment_path(dir, first))?;
    let len = file.metadata()?.len();
    let tail = (len.max(SEGMENT) - end).min(MAX_PAYLOAD as u64 + HEADER_LEN as u64) as usize;
    let mut rest = vec![0; tail];
    let got = file.read_at(&mut rest, end)?;
    if rest[..got].iter().any(|b| *b != 0) {
        // Usually a torn last write. Should it be damage instead, the bytes are still there for an investigator.
        let path = segment_path(dir, first);
        std::fs::copy(&path, path.with_extension("damaged"))?;
        file.write_all_at(&vec![0; got], end)?;
        file.sync_data()?;
    }
    Ok(file)
}

/// Follows the journal from a cursor.
pub struct Reader {
    dir: PathBuf,
    cursor: Cursor,
    file: Option<File>,
    /// What was read from `buffered_from` on in this segment.
    buffer: Vec<u8>,
    buffered_from: u64,
    /// The number of the last frame that was handed out.
    last: u64,
}

/// A frame that was read, and where the next one begins.
pub struct Read {
    pub sequence: u64,
    pub at: Wall,
    pub kind: Kind,
    pub previous: Hash,
    pub payload: Vec<u8>,
    pub next: Cursor,
}

impl Reader {
    pub fn new(dir: &Path, cursor: Cursor) -> Reader {
        Reader { dir: dir.to_owned(), cursor, file: None, buffer: Vec::new(), buffered_from: 0, last: 0 }
    }

    /// The next frame that is durable: numbered `until` or below. What is written and not synced may yet vanish.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn next_durable(&mut self, until: u64) -> io::Result<Option<Read>> {
        if self.last >= until {
            return Ok(None);
        }
        let before = self.cursor;
        let segment_before = self.file.is_some();
        match self.next_frame()? {
            Some(read) if read.sequence > until => {
                if self.cursor.segment != before.segment || !segment_before {
                    self.file = None;
                    self.buffer.clear();
                }
                self.cursor = before;
                Ok(None)
            }
            other => {
                self.last = other.as_ref().map_or(self.last, |read| read.sequence);
                Ok(other)
            }
        }
    }

    /// The next frame; `None` when the writer has come no further.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn next_frame(&mut self) -> io::Result<Option<Read>> {
        loop {
            if self.file.is_none() && !self.open_segment()? {
                return Ok(None);
            }
            match self.read_here()? {
                Some(read) => {
                    self.cursor = read.next;
                    return Ok(Some(read));
                }
                None => {
                    let later = segments(&self.dir)?.into_iter().find(|s| *s > self.cursor.segment);
                    let Some(segment) = later else { return Ok(None) };
                    // Whatever was written to this segment was written before the next one was created.
                    if let Some(read) = self.read_here()? {
                        self.cursor = read.next;
                        return Ok(Some(read));
                    }
                    self.cursor = Cursor { segment, offset: 0 };
                    self.file = None;
                    self.buffer.clear();
                }
            }
        }
    }

    fn open_segment(&mut self) -> io::Result<bool> {
        let all = segments(&self.dir)?;
        let Some(&segment) = all.iter().find(|s| **s >= self.cursor.segment) else { return Ok(false) };
        if segment != self.cursor.segment {
            self.cursor = Cursor { segment, offset: 0 };
        }
        self.file = Some(File::open(segment_path(&self.dir, segment))?);
        Ok(true)
    }

    fn read_here(&mut self) -> io::Result<Option<Read>> {
        if let Some(read) = self.read_buffered() {
            return Ok(Some(read));
        }
        self.fill()?;
        Ok(self.read_buffered())
    }

    /// The frame at the cursor, if all of it was read before.
    fn read_buffered(&self) -> Option<Read> {
        let from = usize::try_from(self.cursor.offset.checked_sub(self.buffered_from)?).ok()?;
        let (frame, total) = Frame::read(self.buffer.get(from..)?).ok()?;
        Some(Read {
            sequence: frame.sequence,
            at: frame.at,
            kind: frame.kind,
            previous: frame.previous,
            payload: frame.payload.to_vec(),
            next: Cursor { segment: self.cursor.segment, offset: self.cursor.offset + total as u64 },
        })
    }

    /// Reads a stretch from the cursor on, a longer one where a single frame is longer.
    fn fill(&mut self) -> io::Result<()> {
        let file = self.file.as_ref().expect("opened by the caller");
        self.buffered_from = self.cursor.offset;
        self.buffer.resize(STRETCH, 0);
        let mut got = file.read_at(&mut self.buffer, self.cursor.offset)?;
        if let Some(head) = self.buffer[..got].first_chunk::<4>() {
            let whole = HEADER_LEN + u32::from_le_bytes(*head) as usize;
            if whole > got && whole <= HEADER_LEN + MAX_PAYLOAD {
                self.buffer.resize(whole, 0);
                got = file.read_at(&mut self.buffer, self.cursor.offset)?;
            }
        }
        self.buffer.truncate(got);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("gw-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn write(dir: &Path, payloads: &[&[u8]]) -> Writer {
        let mut w = Writer::open(dir, |_| {}).expect("opens");
        for p in payloads {
            w.append(Wall(1), Kind::Event, p);
        }
        w.commit().expect("commits");
        w
    }

    fn read_all(dir: &Path) -> Vec<Vec<u8>> {
        let mut r = Reader::new(dir, Cursor::default());
        std::iter::from_fn(|| r.next_frame().expect("reads").map(|f| f.payload)).collect()
    }

    #[test]
    fn what_was_committed_is_there_after_reopening_and_the_chain_goes_on() {
        let dir = fresh("reopen");
        drop(write(&dir, &[b"one", b"two"]));
        let w = write(&dir, &[b"three"]);
        assert_eq!(w.next_sequence(), 4);
        assert_eq!(read_all(&dir), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        let mut seen = 0;
        Writer::open(&dir, |_| seen += 1).expect("the chain holds");
        assert_eq!(seen, 3);
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_torn_tail_is_cut_off_at_every_length() {
        let dir = fresh("torn");
        let end = write(&dir, &[b"kept"]).cursor().offset;
        let mut torn = Vec::new();
        Frame { sequence: 2, at: Wall(1), kind: Kind::Event, previous: [1; 32], payload: b"half written" }
            .write(&mut torn);
        let path = segment_path(&dir, 1);
        for len in [1, 5, HEADER_LEN, torn.len() - 1] {
            let file = OpenOptions::new().write(true).open(&path).expect("opens");
            file.write_all_at(&torn[..len], end).expect("writes");
            let mut seen = 0;
            Writer::open(&dir, |_| seen += 1).expect("opens");
            assert_eq!(seen, 1, "torn after {len} bytes");
        }
        assert_eq!(write(&dir, &[b"next"]).next_sequence(), 3);
        assert_eq!(read_all(&dir).len(), 2);
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn what_is_cut_off_is_kept_beside_the_segment() {
        let dir = fresh("changed");
        drop(write(&dir, &[b"one", b"two"]));
        let file = OpenOptions::new().write(true).open(segment_path(&dir, 1)).expect("opens");
        file.write_all_at(b"X", HEADER_LEN as u64).expect("writes");
        let mut seen = 0;
        Writer::open(&dir, |_| seen += 1).expect("opens");
        assert_eq!(seen, 0);
        assert!(dir.join(format!("{:020}.damaged", 1)).exists());
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_reader_follows_into_the_next_segment() {
        let dir = fresh("follow");
        let mut w = Writer::open(&dir, |_| {}).expect("opens");
        let mut r = Reader::new(&dir, Cursor::default());
        let big = vec![7; 7 * 1024 * 1024];
        for n in 0..12 {
            w.append(Wall(n), Kind::Event, &big);
            w.commit().expect("commits");
            let frame = r.next_frame().expect("reads").expect("there");
            assert_eq!(frame.sequence, n as u64 + 1);
            assert!(r.next_frame().expect("reads").is_none());
        }
        assert!(segments(&dir).expect("lists").len() > 1);
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_start_begins_at_the_newest_whole_snapshot() {
        let dir = fresh("snapshot");
        let mut w = Writer::open(&dir, |_| {}).expect("opens");
        let add = |w: &mut Writer, kind, payload: &[u8]| {
            w.append(Wall(1), kind, payload);
            w.commit().expect("commits");
        };
        add(&mut w, Kind::Event, b"old");
        w.begin_segment().expect("begins");
        add(&mut w, Kind::SnapshotBegin, b"begin");
        add(&mut w, Kind::Snapshot, b"state");
        add(&mut w, Kind::Event, b"meanwhile");
        w.begin_segment().expect("begins");
        add(&mut w, Kind::SnapshotEnd, b"end");
        add(&mut w, Kind::Event, b"new");
        w.begin_segment().expect("begins");
        add(&mut w, Kind::SnapshotBegin, b"begin");
        add(&mut w, Kind::Snapshot, b"a crash came before its end");
        drop(w);
        let mut seen = Vec::new();
        let w = Writer::open(&dir, |f| seen.push(f.payload.to_vec())).expect("opens");
        let wanted: [&[u8]; 7] =
            [b"begin", b"state", b"meanwhile", b"end", b"new", b"begin", b"a crash came before its end"];
        assert_eq!(seen, wanted);
        assert_eq!(w.next_sequence(), 9);
        assert_eq!(read_all(&dir).len(), 8, "readers have it all");
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
