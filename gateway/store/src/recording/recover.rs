//! After a crash: what the log still holds is cut, call by call, beside the calls that are going on by then.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use codecs::audio::chunk::MIX;
use codecs::audio::g711::Law;
use codecs::audio::wav;
use codecs::record::AlertNo;
use codecs::sip::auth::hex;
use sha2::{Digest as _, Sha256};

use super::cut::{Source, cut, dirs, manifest, recordings, remove_hidden, tracks};
use super::log::{At, HEAD, Head, PAGE, log_dir, segment_path};
use super::{Call, Cut, TrackName};
use crate::disk::{Access, Disk, DiskFile, read_full};

/// Octets that are read at one time.
const STRETCH: usize = 4 * 1024 * 1024;

/// Segments that an earlier process has left.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Left {
    pub(super) segments: Vec<u32>,
    /// Of the run that begins now.
    pub(super) next_run: u16,
}

impl Left {
    pub(super) fn find(disk: &dyn Disk, data: &Path) -> Left {
        let dir = log_dir(data);
        let names = disk.names(&dir).unwrap_or_default();
        let mut segments: Vec<u32> = names.iter().filter_map(|n| n.strip_suffix(".rec")?.parse().ok()).collect();
        segments.sort_unstable();
        let run = |segment: &u32| {
            let file = disk.open(&segment_path(&dir, *segment), Access::Read).ok()?;
            let mut head = [0; HEAD];
            read_full(&*file, &mut head, 0).ok()?;
            Head::read(&head).map(|h| h.call.run)
        };
        let next_run = segments.iter().filter_map(run).max().map_or(1, |r| r.wrapping_add(1));
        Left { segments, next_run }
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// Cuts every call that the segments hold and that was not cut before, one after the other, and tells of each; then the
/// segments go. What cannot be cut stays in the log.
///
/// # Errors
/// What the disk said of a call's audio; the others were cut all the same.
pub fn recover(
    disk: &dyn Disk,
    data: &Path,
    names: TrackName,
    left: &Left,
    mut tell: impl FnMut(Cut),
) -> io::Result<()> {
    remove_hidden(disk, data);
    let dir = log_dir(data);
    let mut calls: BTreeMap<Call, Vec<At>> = BTreeMap::new();
    let mut failed = None;
    for &segment in &left.segments {
        if let Err(error) = index(disk, &dir, segment, &mut calls) {
            failed = Some(error);
        }
    }
    let mut reading = Reading { disk, dir, open: None };
    for (call, places) in &calls {
        match recover_call(disk, data, names, *call, places, &mut reading) {
            Ok(Some(cut)) => tell(cut),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    disk.sync_all(data)?;
    for &segment in &left.segments {
        disk.remove(&segment_path(&reading.dir, segment))?;
    }
    Ok(())
}

/// Where each call's records lie in a segment. What is no record is passed over to the next page.
fn index(disk: &dyn Disk, dir: &Path, segment: u32, calls: &mut BTreeMap<Call, Vec<At>>) -> io::Result<()> {
    let file = disk.open(&segment_path(dir, segment), Access::Read)?;
    let len = file.len()?;
    let (mut buffer, mut from, mut offset) = (Vec::new(), 0u64, 0u64);
    while offset + (HEAD as u64) <= len {
        let begin = (offset - from) as usize;
        if begin + HEAD > buffer.len() {
            from = offset;
            buffer.resize(STRETCH, 0);
            let got = read_full(&*file, &mut buffer, from)?;
            buffer.truncate(got);
            if got < HEAD {
                return Ok(());
            }
            continue;
        }
        match Head::read(&buffer[begin..]) {
            Some(head) => {
                calls.entry(head.call).or_default().push(At { segment, offset });
                offset += (HEAD + head.len) as u64;
            }
            None => offset = (offset + 1).next_multiple_of(PAGE as u64),
        }
    }
    Ok(())
}

/// The segment that was read last, kept open.
struct Reading<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    open: Option<(u32, Box<dyn DiskFile>)>,
}

impl Reading<'_> {
    /// A chunk, if it is as it was written.
    fn chunk(&mut self, at: At) -> io::Result<Option<Vec<u8>>> {
        if self.open.as_ref().is_none_or(|(segment, _)| *segment != at.segment) {
            let file = self.disk.open(&segment_path(&self.dir, at.segment), Access::Read)?;
            self.open = Some((at.segment, file));
        }
        let Some((_, file)) = &self.open else { return Ok(None) };
        let mut bytes = [0; HEAD];
        read_full(&**file, &mut bytes, at.offset)?;
        let Some(head) = Head::read(&bytes) else { return Ok(None) };
        let mut chunk = vec![0; head.len];
        let got = read_full(&**file, &mut chunk, at.offset + HEAD as u64)?;
        Ok((got == chunk.len() && head.fits(&bytes, &chunk)).then_some(chunk))
    }
}

fn recover_call(
    disk: &dyn Disk,
    data: &Path,
    names: TrackName,
    call: Call,
    places: &[At],
    reading: &mut Reading<'_>,
) -> io::Result<Option<Cut>> {
    let before = cut_before(disk, data, call.no);
    let ours: Vec<_> = before.iter().filter(|m| m.call == call.to_string()).collect();
    let from_tick = ours.iter().map(|m| m.until_tick).max().unwrap_or(0);
    let mut chunks = Vec::new();
    for &at in places {
        chunks.extend(reading.chunk(at)?);
    }
    if call.run == 0 && was_cut_by_0_1_0(&before, &chunks) {
        return Ok(None);
    }
    let start = ours.first().map(|_| 0);
    let source = Source { call, recovered: true, start, from_tick };
    let (media, _) = cut(disk, data, names, &source, &chunks)?;
    if media.is_empty() {
        return Ok(None);
    }
    let parts = ours.iter().flat_map(|m| m.tracks.clone());
    Ok(Some(Cut { no: call.no, media: parts.chain(media).collect() }))
}

/// The recordings that an alert has.
fn cut_before(disk: &dyn Disk, data: &Path, no: AlertNo) -> Vec<super::Manifest> {
    let out = recordings(data);
    let names: BTreeSet<String> = disk.names(&out).unwrap_or_default().into_iter().collect();
    let there = dirs(no).take_while(|d| names.contains(d));
    there.filter_map(|d| manifest(disk, &out.join(d)).ok()).collect()
}

/// Its manifests do not say which call they are of: one of them names exactly this mix.
fn was_cut_by_0_1_0(before: &[super::Manifest], chunks: &[Vec<u8>]) -> bool {
    let Some((_, mix)) = tracks(chunks, 0).remove(&MIX) else { return false };
    let hash = hex(&Sha256::digest(wav::write(Law::A, &mix)));
    before.iter().any(|m| m.tracks.iter().any(|t| t.sha256 == hash))
}
