//! The recording log: all calls' audio in large writes to few files.
//!
//! A record is a head and a chunk; the head's back pointer leads to the call's record before, so that cutting needs no
//! index in memory. A segment is deleted once every call that wrote to it has been cut; a call that lasts long is cut in
//! parts, so that it keeps no segment for ever.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::audio::chunk::Chunk;
use codecs::record::{AlertNo, Media};

use super::cut::{Source, cut};
use super::recover::Left;
use super::{Call, Cut, TrackName};
use crate::disk::{Access, Disk, DiskFile, read_full};

/// Of 0.1.0, whose checksum covers the chunk alone; and ours, whose covers the head too.
const MAGIC_1: &[u8; 4] = b"GWR1";
const MAGIC_2: &[u8; 4] = b"GWR2";
/// magic 4, length 4, key 8, alert number 30, run 2, previous segment 4, previous offset 8, crc 4.
pub(super) const HEAD: usize = 64;
/// A segment is closed beyond this size; its calls may still be live.
const SEGMENT: u64 = 256 * 1024 * 1024;
const NONE: u32 = u32::MAX;
/// Every write begins at a multiple of this and is a multiple of it long, so that none waits for the disk to be done
/// with a page that the one before has touched. What is over is zeros.
pub(super) const PAGE: usize = 4096;
/// What is kept of the buffer between two writes.
const BUFFER: usize = 64 * 1024;
/// A call is cut when it has so many octets in the log: an hour of four tracks.
const PART: u64 = 128 * 1024 * 1024;
/// The longest chunk that can be one: a tenth of a second of 64 tracks.
const CHUNK_MAX: usize = 256 * 1024;

/// Where a record lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct At {
    pub segment: u32,
    pub offset: u64,
}

/// A record's head.
pub(super) struct Head {
    pub call: Call,
    pub len: usize,
    previous: Option<At>,
    crc: u32,
    covers_head: bool,
}

impl Head {
    pub(super) fn read(bytes: &[u8]) -> Option<Head> {
        let head = bytes.get(..HEAD)?;
        let covers_head = &head[..4] == MAGIC_2;
        if !covers_head && &head[..4] != MAGIC_1 {
            return None;
        }
        let len = word(head, 4) as usize;
        let key = u64::from_le_bytes(head[8..16].try_into().ok()?);
        let no = AlertNo::parse(std::str::from_utf8(&head[16..46]).ok()?)?;
        let run = u16::from_le_bytes([head[46], head[47]]);
        let segment = word(head, 48);
        let offset = u64::from_le_bytes(head[52..60].try_into().ok()?);
        let previous = (segment != NONE).then_some(At { segment, offset });
        let head = Head { call: Call { run, key, no }, len, previous, crc: word(head, 60), covers_head };
        (len <= CHUNK_MAX).then_some(head)
    }

    /// Whether the chunk is the one that was written with this head.
    pub(super) fn fits(&self, head: &[u8], chunk: &[u8]) -> bool {
        let begun = if self.covers_head { crc32c::crc32c(&head[..60]) } else { 0 };
        crc32c::crc32c_append(begun, chunk) == self.crc
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn segment_path(log_dir: &Path, segment: u32) -> PathBuf {
    log_dir.join(format!("{segment:010}.rec"))
}

struct Live {
    last: At,
    first_segment: u32,
    /// Octets since the last part.
    octets: u64,
    /// The first tick of all, once a part was cut.
    start: Option<u32>,
    parts: Vec<Media>,
}

pub struct RecordingLog {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    log_dir: PathBuf,
    run: u16,
    names: TrackName,
    files: BTreeMap<u32, Box<dyn DiskFile>>,
    segment: u32,
    offset: u64,
    live: HashMap<u64, Live>,
    buffer: Vec<u8>,
    part: u64,
}

impl RecordingLog {
    /// A log that begins behind whatever the directory holds; what a process before has left there is `recover`'s.
    /// Where the directory cannot be used, the first write tries anew.
    pub fn open(disk: Arc<dyn Disk>, data: &Path, names: TrackName) -> (RecordingLog, Left) {
        let left = Left::find(&*disk, data);
        let log = RecordingLog {
            disk,
            data: data.to_owned(),
            log_dir: log_dir(data),
            run: left.next_run,
            names,
            files: BTreeMap::new(),
            segment: left.segments.last().copied().unwrap_or(0),
            offset: SEGMENT,
            live: HashMap::new(),
            buffer: Vec::new(),
            part: PART,
        };
        (log, left)
    }

    /// Cuts parts of another length.
    #[cfg(test)]
    pub(super) fn with_parts_of(mut self, octets: u64) -> RecordingLog {
        self.part = octets;
        self
    }

    fn next_segment(&mut self) -> io::Result<()> {
        self.disk.make_dir(&self.log_dir)?;
        let next = self.segment + 1;
        let file = self.disk.open(&segment_path(&self.log_dir, next), Access::Fresh)?;
        self.segment = next;
        self.offset = 0;
        self.files.insert(next, file);
        self.drop_finished();
        Ok(())
    }

    /// Appends the chunks of one tick, at most one a call, in one write. They survive a `kill -9` as soon as this
    /// returns.
    ///
    /// # Errors
    /// What the disk said; the chunks are lost then, and the next may succeed.
    pub fn write(&mut self, chunks: &[(AlertNo, Chunk)]) -> io::Result<()> {
        let in_place = |log: &RecordingLog| {
            let path = segment_path(&log.log_dir, log.segment);
            log.files.get(&log.segment).is_some_and(|file| file.is_at(&path))
        };
        // Later on `is_in_place` looks after it.
        if self.offset >= SEGMENT || (self.offset == 0 && !in_place(self)) {
            self.next_segment()?;
        }
        self.buffer.clear();
        for (no, chunk) in chunks {
            let previous = self.live.get(&chunk.key).map(|l| l.last);
            let begin = self.buffer.len();
            let record = &mut self.buffer;
            record.extend_from_slice(MAGIC_2);
            record.extend_from_slice(&(chunk.bytes.len() as u32).to_le_bytes());
            record.extend_from_slice(&chunk.key.to_le_bytes());
            record.extend_from_slice(no.as_str().as_bytes());
            record.extend_from_slice(&self.run.to_le_bytes());
            record.extend_from_slice(&previous.map_or(NONE, |p| p.segment).to_le_bytes());
            record.extend_from_slice(&previous.map_or(0, |p| p.offset).to_le_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&record[begin..]), &chunk.bytes);
            record.extend_from_slice(&crc.to_le_bytes());
            record.extend_from_slice(&chunk.bytes);
        }
        let end = self.buffer.len().next_multiple_of(PAGE);
        self.buffer.resize(end, 0);
        let file = self.files.get(&self.segment).ok_or_else(|| io::Error::other("no recording segment"))?;
        file.write_at(&self.buffer, self.offset)?;
        let mut offset = self.offset;
        for (_, chunk) in chunks {
            let at = At { segment: self.segment, offset };
            let len = (HEAD + chunk.bytes.len()) as u64;
            offset += len;
            let fresh = || Live { last: at, first_segment: at.segment, octets: 0, start: None, parts: Vec::new() };
            let live = self.live.entry(chunk.key).or_insert_with(fresh);
            (live.last, live.octets) = (at, live.octets + len);
        }
        self.offset += end as u64;
        // A burst's buffer is not kept.
        self.buffer.shrink_to(BUFFER);
        Ok(())
    }

    /// Cuts what long calls have in the log so far.
    ///
    /// # Errors
    /// What the disk said; the log keeps the audio, and the next time is as good.
    pub fn cut_parts(&mut self, of: &[(AlertNo, u64)]) -> io::Result<()> {
        for &(no, key) in of {
            if self.live.get(&key).is_some_and(|l| l.octets >= self.part) {
                let last = self.cut(key, no)?;
                if let Some(live) = self.live.get_mut(&key) {
                    live.first_segment = last.segment;
                }
                self.drop_finished();
            }
        }
        Ok(())
    }

    /// Cuts a call's tracks into WAV files with a manifest. Without audio there is nothing to cut.
    ///
    /// # Errors
    /// What the disk said; the log keeps the audio then.
    pub fn end(&mut self, key: u64, no: AlertNo) -> io::Result<Cut> {
        if !self.live.contains_key(&key) {
            return Ok(Cut { no, media: Vec::new() });
        }
        self.cut(key, no)?;
        let media = self.live.remove(&key).map(|l| l.parts).unwrap_or_default();
        self.drop_finished();
        Ok(Cut { no, media })
    }

    /// Everything since the last part; what follows begins anew. Returns where the last record lies.
    fn cut(&mut self, key: u64, no: AlertNo) -> io::Result<At> {
        let Some(live) = self.live.get(&key) else { return Err(io::Error::other("no such call")) };
        let (last, octets, start) = (live.last, live.octets, live.start);
        let mut chunks = Vec::new();
        let mut at = Some(last).filter(|_| octets > 0);
        let mut got = 0;
        while let Some(here) = at.filter(|_| got < octets) {
            let (chunk, previous) = self.read(here)?;
            got += (HEAD + chunk.len()) as u64;
            chunks.push(chunk);
            at = previous;
        }
        chunks.reverse();
        let source = Source { call: Call { run: self.run, key, no }, recovered: false, start, from_tick: 0 };
        let (media, start) = cut(&*self.disk, &self.data, self.names, &source, &chunks)?;
        if let Some(live) = self.live.get_mut(&key) {
            live.parts.extend(media);
            (live.octets, live.start) = (0, Some(start));
        }
        Ok(last)
    }

    fn read(&self, at: At) -> io::Result<(Vec<u8>, Option<At>)> {
        let file = self.files.get(&at.segment).ok_or_else(|| io::Error::other("a recording segment is gone"))?;
        let mut bytes = [0; HEAD];
        read_full(&**file, &mut bytes, at.offset)?;
        let head = Head::read(&bytes).ok_or_else(|| io::Error::other("a record of the recording log is damaged"))?;
        let mut chunk = vec![0; head.len];
        read_full(&**file, &mut chunk, at.offset + HEAD as u64)?;
        // What is damaged is a pause; the rest of the call is there.
        let chunk = if head.fits(&bytes, &chunk) { chunk } else { Vec::new() };
        Ok((chunk, head.previous))
    }

    fn drop_finished(&mut self) {
        let oldest = self.live.values().map(|l| l.first_segment).min().unwrap_or(self.segment);
        let gone: Vec<u32> = self.files.keys().copied().filter(|s| *s < oldest && *s != self.segment).collect();
        if gone.is_empty() {
            return;
        }
        // The WAVs cut from these segments reach the disk before their audio leaves the log.
        let _ = self.disk.sync_all(&self.data);
        for segment in gone {
            self.files.remove(&segment);
            let _ = self.disk.remove(&segment_path(&self.log_dir, segment));
        }
    }

    /// Whether the segment is still where it was made; where not, the next write begins another.
    pub fn is_in_place(&mut self) -> bool {
        let path = segment_path(&self.log_dir, self.segment);
        let there = self.files.get(&self.segment).is_none_or(|file| file.is_at(&path));
        if !there {
            self.offset = SEGMENT;
        }
        there
    }

    /// Calls being recorded.
    pub fn live(&self) -> usize {
        self.live.len()
    }
}

pub(super) fn log_dir(data: &Path) -> PathBuf {
    data.join("recording-log")
}
