//! The recording log: all calls' audio in large writes to few files, cut into WAVs when a call ends.
//!
//! A record is a head (magic, length, key, alert number, back pointer) and a chunk; the back pointer leads to the
//! call's record before, so that cutting needs no index in memory. After a crash the log is read through and every
//! call in it is cut. A segment is deleted once every call that wrote to it has been cut.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use codecs::audio::FRAME;
use codecs::audio::g711::Law;
use codecs::audio::wav;
use codecs::record::{AlertNo, Media};
use codecs::sip::auth::hex;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use switchboard::{recording, track_name};

const MAGIC: &[u8; 4] = b"GWR1";
/// magic 4, length 4, key 8, alert number 30, pad 2, previous segment 4, previous offset 8, crc 4.
const HEAD: usize = 64;
/// A segment is closed beyond this size; its calls may still be live.
const SEGMENT: u64 = 256 * 1024 * 1024;
const NONE: u32 = u32::MAX;
/// Every write begins at a multiple of this and is a multiple of it long, so that none waits for the disk to be done
/// with a page that the one before has touched. What is over is zeros.
const PAGE: usize = 4096;
/// What is kept of the buffer between two writes.
const BUFFER: usize = 64 * 1024;
/// How the directory of a recording begins while it is being made.
const HIDDEN: &str = ".cutting-";

/// Where a record lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct At {
    segment: u32,
    offset: u64,
}

struct Live {
    last: At,
    first_segment: u32,
}

pub struct RecordingLog {
    log_dir: PathBuf,
    out_dir: PathBuf,
    files: BTreeMap<u32, File>,
    segment: u32,
    offset: u64,
    live: HashMap<u64, Live>,
    buffer: Vec<u8>,
}

/// A finished recording.
pub struct Cut {
    pub no: AlertNo,
    pub media: Vec<Media>,
    pub dir: PathBuf,
}

impl RecordingLog {
    /// Opens a fresh log; what a crash left is cut first and returned.
    ///
    /// # Errors
    /// When the directories cannot be made or read.
    pub fn open(data: &Path) -> io::Result<(RecordingLog, Vec<Cut>)> {
        let (log_dir, out_dir) = (data.join("recording-log"), data.join("recordings"));
        std::fs::create_dir_all(&log_dir)?;
        std::fs::create_dir_all(&out_dir)?;
        remove_hidden(&out_dir)?;
        let mut log = RecordingLog {
            log_dir,
            out_dir,
            files: BTreeMap::new(),
            segment: 0,
            offset: 0,
            live: HashMap::new(),
            buffer: Vec::new(),
        };
        let recovered = log.recover()?;
        log.segment += 1;
        log.files.insert(log.segment, log.create(log.segment)?);
        Ok((log, recovered))
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.log_dir.join(format!("{segment:010}.rec"))
    }

    fn create(&self, segment: u32) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(true).read(true).write(true).open(self.path(segment))
    }

    /// Appends the chunks of one tick, at most one a call, in one write. They survive a `kill -9` as soon as this returns.
    ///
    /// # Errors
    /// What the disk said; the chunks are lost then, and the next may succeed.
    pub fn write(&mut self, chunks: &[(AlertNo, recording::Chunk)]) -> io::Result<()> {
        if self.offset >= SEGMENT {
            let next = self.create(self.segment + 1)?;
            self.segment += 1;
            self.offset = 0;
            self.files.insert(self.segment, next);
            self.drop_finished();
        }
        self.buffer.clear();
        for (no, chunk) in chunks {
            let previous = self.live.get(&chunk.key).map(|l| l.last);
            let record = &mut self.buffer;
            record.extend_from_slice(MAGIC);
            record.extend_from_slice(&(chunk.bytes.len() as u32).to_le_bytes());
            record.extend_from_slice(&chunk.key.to_le_bytes());
            record.extend_from_slice(no.as_str().as_bytes());
            record.extend_from_slice(&[0, 0]);
            record.extend_from_slice(&previous.map_or(NONE, |p| p.segment).to_le_bytes());
            record.extend_from_slice(&previous.map_or(0, |p| p.offset).to_le_bytes());
            record.extend_from_slice(&crc32c::crc32c(&chunk.bytes).to_le_bytes());
            record.extend_from_slice(&chunk.bytes);
        }
        let end = self.buffer.len().next_multiple_of(PAGE);
        self.buffer.resize(end, 0);
        self.files[&self.segment].write_all_at(&self.buffer, self.offset)?;
        let mut offset = self.offset;
        for (_, chunk) in chunks {
            let at = At { segment: self.segment, offset };
            offset += (HEAD + chunk.bytes.len()) as u64;
            let live = Live { last: at, first_segment: at.segment };
            self.live.entry(chunk.key).and_modify(|l| l.last = at).or_insert(live);
        }
        self.offset += end as u64;
        // A burst's buffer is not kept.
        self.buffer.shrink_to(BUFFER);
        Ok(())
    }

    /// Cuts a call's tracks into WAV files with a manifest. Without audio there is nothing to cut.
    ///
    /// # Errors
    /// What the disk said; the log keeps the audio then.
    pub fn end(&mut self, key: u64, no: AlertNo) -> io::Result<Cut> {
        let Some(live) = self.live.get(&key) else {
            return Ok(Cut { no, media: Vec::new(), dir: PathBuf::new() });
        };
        let mut chunks = Vec::new();
        let mut at = Some(live.last);
        while let Some(here) = at {
            let (record, previous) = self.read(here)?;
            chunks.push(record);
            at = previous;
        }
        chunks.reverse();
        let cut = cut(&self.out_dir, no, &chunks, false)?;
        self.live.remove(&key);
        self.drop_finished();
        Ok(cut)
    }

    fn read(&self, at: At) -> io::Result<(Vec<u8>, Option<At>)> {
        let file = self.files.get(&at.segment).ok_or_else(|| io::Error::other("recording segment is gone"))?;
        let mut head = [0; HEAD];
        file.read_exact_at(&mut head, at.offset)?;
        let mut bytes = vec![0; word(&head, 4) as usize];
        file.read_exact_at(&mut bytes, at.offset + HEAD as u64)?;
        let segment = word(&head, 48);
        let offset = u64::from_le_bytes(head[52..60].try_into().expect("eight bytes"));
        Ok((bytes, (segment != NONE).then_some(At { segment, offset })))
    }

    fn drop_finished(&mut self) {
        let oldest = self.live.values().map(|l| l.first_segment).min().unwrap_or(self.segment);
        let gone: Vec<u32> = self.files.keys().copied().filter(|s| *s < oldest && *s != self.segment).collect();
        if gone.is_empty() {
            return;
        }
        // The WAVs cut from these segments reach the disk before their audio leaves the log.
        if let Ok(dir) = File::open(&self.out_dir) {
            let _ = rustix::fs::syncfs(&dir);
        }
        for segment in gone {
            self.files.remove(&segment);
            let _ = std::fs::remove_file(self.path(segment));
        }
    }

    fn recover(&mut self) -> io::Result<Vec<Cut>> {
        let mut segments: Vec<u32> = std::fs::read_dir(&self.log_dir)?
            .filter_map(|e| e.ok()?.file_name().to_str()?.strip_suffix(".rec")?.parse().ok())
            .collect();
        segments.sort_unstable();
        let mut calls: BTreeMap<u64, (AlertNo, Vec<Vec<u8>>)> = BTreeMap::new();
        for &segment in &segments {
            let bytes = std::fs::read(self.path(segment))?;
            for (key, no, chunk) in records(&bytes) {
                calls.entry(key).or_insert((no, Vec::new())).1.push(chunk.to_vec());
            }
        }
        let mut cuts = Vec::new();
        let mut all_cut = true;
        for (no, chunks) in calls.values() {
            // Calls that had ended before the crash have been cut; their records may still lie in the log.
            if !has_been_cut(&self.out_dir, *no, chunks) {
                match cut(&self.out_dir, *no, chunks, true) {
                    Ok(cut) => cuts.push(cut),
                    Err(error) => {
                        all_cut = false;
                        tracing::error!(alert = %no, %error, "GW-3202 an interrupted recording could not be cut; the log keeps it");
                    }
                }
            }
        }
        self.segment = segments.last().copied().unwrap_or(0);
        if !all_cut {
            return Ok(cuts);
        }
        rustix::fs::syncfs(File::open(&self.out_dir)?)?;
        for &segment in &segments {
            std::fs::remove_file(self.path(segment))?;
        }
        Ok(cuts)
    }

    /// Calls being recorded.
    pub fn live(&self) -> usize {
        self.live.len()
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Key, alert number, chunk, and what follows; `None` at the end or at a torn record.
fn next_record(bytes: &[u8]) -> Option<(u64, AlertNo, &[u8], &[u8])> {
    let head = bytes.get(..HEAD).filter(|h| &h[..4] == MAGIC)?;
    let len = word(head, 4) as usize;
    let chunk = bytes.get(HEAD..HEAD + len)?;
    if crc32c::crc32c(chunk) != word(head, 60) {
        return None;
    }
    let key = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes"));
    let no = AlertNo::parse(std::str::from_utf8(&head[16..46]).ok()?)?;
    Some((key, no, chunk, &bytes[HEAD + len..]))
}

/// All records of a segment up to the first that is torn; the zeros at the end of a write are passed over.
fn records(bytes: &[u8]) -> impl Iterator<Item = (u64, AlertNo, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let at = bytes.len() - rest.len();
        let padding = rest.len().min(at.next_multiple_of(PAGE) - at);
        if rest[..padding].iter().all(|b| *b == 0) {
            rest = &rest[padding..];
        }
        let (key, no, chunk, after) = next_record(rest)?;
        rest = after;
        Some((key, no, chunk))
    })
}

/// Every track, from its first tick, pauses filled with silence.
fn tracks(chunks: &[Vec<u8>]) -> BTreeMap<u8, (u32, Vec<u8>)> {
    let mut tracks: BTreeMap<u8, (u32, Vec<u8>)> = BTreeMap::new();
    for piece in chunks.iter().flat_map(|c| recording::pieces(c)) {
        let (first, samples) = tracks.entry(piece.track).or_insert((piece.first_tick, Vec::new()));
        let wanted = piece.first_tick.saturating_sub(*first) as usize * FRAME;
        if samples.len() < wanted {
            samples.resize(wanted, Law::A.silence());
        }
        samples.extend_from_slice(piece.samples);
    }
    tracks
}

/// The directory of a recording: the number, or the number and a count when the alert has one already.
fn fresh_dir(out: &Path, no: AlertNo) -> PathBuf {
    (1..)
        .map(|n| if n == 1 { out.join(no.as_str()) } else { out.join(format!("{no}-{n}")) })
        .find(|d| !d.exists())
        .expect("numbers do not run out")
}

/// Whether a manifest names exactly this mix: a call that had ended before the crash.
fn has_been_cut(out: &Path, no: AlertNo, chunks: &[Vec<u8>]) -> bool {
    let Some((_, mix)) = tracks(chunks).remove(&recording::MIX) else { return false };
    let hash = hex(&Sha256::digest(wav::write(Law::A, &mix)));
    let dirs = (1..).map(|n| if n == 1 { out.join(no.as_str()) } else { out.join(format!("{no}-{n}")) });
    dirs.take_while(|d| d.exists())
        .any(|d| std::fs::read_to_string(d.join("manifest.json")).is_ok_and(|manifest| manifest.contains(&hash)))
}

fn cut(out: &Path, no: AlertNo, chunks: &[Vec<u8>], recovered: bool) -> io::Result<Cut> {
    let dir = fresh_dir(out, no);
    let folder = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    // Files are made in a hidden directory that gets its name when all of them are there: whole or not at all.
    let hidden = out.join(format!("{HIDDEN}{folder}"));
    let _ = std::fs::remove_dir_all(&hidden);
    rustix::fs::mkdir(&hidden, Mode::from_raw_mode(0o777))?;
    let inside = rustix::fs::open(&hidden, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let tracks = tracks(chunks);
    let start = tracks.values().map(|(first, _)| *first).min().unwrap_or(0);
    let mut media = Vec::new();
    for (track, (first, samples)) in &tracks {
        let name = track_name(*track);
        let file = wav::write(Law::A, samples);
        write_in(&inside, &format!("{name}.wav"), &file)?;
        media.push(Media {
            uri: format!("recordings/{folder}/{name}.wav"),
            sha256: hex(&Sha256::digest(&file)),
            kind: "audio/wav".into(),
            track: name,
            offset_ms: u64::from(first - start) * 20,
            duration_ms: samples.len() as u64 / 8,
        });
    }
    let manifest = serde_json::json!({ "alert_no": no.as_str(), "recovered": recovered, "tracks": media });
    write_in(&inside, "manifest.json", serde_json::to_string_pretty(&manifest)?.as_bytes())?;
    std::fs::rename(&hidden, &dir)?;
    Ok(Cut { no, media, dir })
}

fn write_in(dir: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o666))?);
    file.write_all(bytes)
}

/// What a crash left half made.
fn remove_hidden(out: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(out)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|n| n.starts_with(HIDDEN)) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("gw-rec-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn no(n: u32) -> AlertNo {
        AlertNo::mint("370400000000", 20_261_122, 1, n)
    }

    /// A chunk of five ticks on the mix and one track.
    fn chunk(key: u64, first_tick: u32) -> recording::Chunk {
        let mut bytes = Vec::new();
        for track in [0u8, 1] {
            bytes.extend_from_slice(&[track, 0, 0, 0]);
            bytes.extend_from_slice(&first_tick.to_le_bytes());
            bytes.extend_from_slice(&800u32.to_le_bytes());
            bytes.extend_from_slice(&[track + 1; 800]);
        }
        recording::Chunk { key, bytes }
    }

    #[test]
    fn two_calls_in_one_log_are_cut_apart() {
        let dir = fresh("apart");
        let (mut log, recovered) = RecordingLog::open(&dir).expect("opens");
        assert!(recovered.is_empty());
        for n in 0..3 {
            log.write(&[(no(1), chunk(1, n * 5))]).expect("writes");
            log.write(&[(no(2), chunk(2, n * 5))]).expect("writes");
        }
        let cut = log.end(1, no(1)).expect("cuts");
        assert_eq!(
            cut.media.iter().map(|m| (m.track.as_str(), m.duration_ms)).collect::<Vec<_>>(),
            [("mix", 300), ("caller", 300)]
        );
        let file = std::fs::read(cut.dir.join("caller.wav")).expect("there");
        assert_eq!(hex(&Sha256::digest(&file)), cut.media[1].sha256);
        assert!(wav::Wav::parse(&file).expect("valid").data.iter().all(|b| *b == 2));
        assert_eq!(log.live(), 1);
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn after_a_crash_what_was_written_is_cut_and_what_was_torn_is_left_out() {
        let dir = fresh("crash");
        let (mut log, _) = RecordingLog::open(&dir).expect("opens");
        log.write(&[(no(1), chunk(1, 0))]).expect("writes");
        log.end(1, no(1)).expect("cuts");
        log.write(&[(no(2), chunk(2, 0))]).expect("writes");
        log.write(&[(no(2), chunk(2, 5))]).expect("writes");
        let path = log.path(log.segment);
        let end = log.offset;
        assert_eq!(end % PAGE as u64, 0);
        drop(log);
        // In the middle of the last chunk, which is shorter than a page.
        let torn = end - PAGE as u64 + 100;
        OpenOptions::new().write(true).open(&path).expect("opens").set_len(torn).expect("torn");
        let (_, recovered) = RecordingLog::open(&dir).expect("opens");
        assert_eq!(recovered.len(), 1, "the call that had ended is not cut twice");
        assert_eq!((recovered[0].no, recovered[0].media[0].duration_ms), (no(2), 100));
        assert!(!path.exists());
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_pause_in_a_track_is_silence() {
        let chunks = [chunk(1, 10).bytes, chunk(1, 20).bytes];
        let tracks = tracks(&chunks);
        let (first, samples) = &tracks[&1];
        assert_eq!(
            (*first, samples.len(), samples[799], samples[800], samples[1600]),
            (10, 15 * 160, 2, Law::A.silence(), 2)
        );
    }
}
