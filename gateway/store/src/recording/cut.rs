//! WAV files and their manifest out of chunks: whole or not at all.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use codecs::audio::FRAME;
use codecs::audio::chunk::pieces;
use codecs::audio::g711::Law;
use codecs::audio::wav;
use codecs::record::{AlertNo, Media};
use codecs::sip::auth::hex;
use sha2::{Digest as _, Sha256};

use super::{Call, TrackName};
use crate::disk::{Access, Disk};

pub const MANIFEST: &str = "manifest.json";
/// How the directory of a recording begins while it is being made.
const HIDDEN: &str = ".cutting-";
/// The longest pause that is filled with silence, in ticks: a day.
const PAUSE_MAX: u32 = 86_400 * 50;

/// What stands beside the files of a recording.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    pub alert_no: String,
    /// Cut after a crash.
    pub recovered: bool,
    /// Which call of which run of the process, and how far this part of it goes.
    #[serde(default)]
    pub call: String,
    #[serde(default)]
    pub until_tick: u32,
    pub tracks: Vec<Media>,
}

/// What is being cut.
pub(super) struct Source {
    pub call: Call,
    pub recovered: bool,
    /// The recording's first tick, where an earlier part had it.
    pub start: Option<u32>,
    /// What an earlier part has already.
    pub from_tick: u32,
}

/// Every track, from its first tick, pauses filled with silence.
pub(super) fn tracks(chunks: &[Vec<u8>], from_tick: u32) -> BTreeMap<u8, (u32, Vec<u8>)> {
    let mut tracks: BTreeMap<u8, (u32, Vec<u8>)> = BTreeMap::new();
    for piece in chunks.iter().flat_map(|c| pieces(c)).filter(|p| p.first_tick >= from_tick) {
        let (first, samples) = tracks.entry(piece.track).or_insert((piece.first_tick, Vec::new()));
        let ticks = piece.first_tick.saturating_sub(*first);
        let wanted = ticks as usize * FRAME;
        if wanted > samples.len() + PAUSE_MAX as usize * FRAME {
            continue;
        }
        if samples.len() < wanted {
            samples.resize(wanted, Law::A.silence());
        }
        samples.extend_from_slice(piece.samples);
    }
    tracks
}

pub(super) fn recordings(data: &Path) -> PathBuf {
    data.join("recordings")
}

/// The directories of an alert's recordings, in order: the number, then the number and a count.
pub(super) fn dirs(no: AlertNo) -> impl Iterator<Item = String> {
    (1..).map(move |n| if n == 1 { no.to_string() } else { format!("{no}-{n}") })
}

pub(super) fn manifest(disk: &dyn Disk, dir: &Path) -> io::Result<Manifest> {
    Ok(serde_json::from_slice(&disk.read(&dir.join(MANIFEST))?)?)
}

/// Cuts chunks; the files, and the recording's first tick.
pub(super) fn cut(
    disk: &dyn Disk,
    data: &Path,
    names: TrackName,
    source: &Source,
    chunks: &[Vec<u8>],
) -> io::Result<(Vec<Media>, u32)> {
    let out = recordings(data);
    let tracks = tracks(chunks, source.from_tick);
    let first = tracks.values().map(|(first, _)| *first).min().unwrap_or(0);
    let start = source.start.unwrap_or(first);
    if tracks.is_empty() {
        return Ok((Vec::new(), start));
    }
    let until_tick = tracks.values().map(|(first, s)| first + (s.len() / FRAME) as u32).max().unwrap_or(0);
    // Files are made in a hidden directory that gets its name when all of them are there.
    let hidden = out.join(format!("{HIDDEN}{}-{}", source.call.no, source.call));
    let _ = disk.remove_dir(&hidden);
    disk.make_dir(&hidden)?;
    let mut files = Vec::new();
    for (track, (first, samples)) in &tracks {
        let name = names(*track);
        let file = wav::write(Law::A, samples);
        disk.open(&hidden.join(format!("{name}.wav")), Access::New)?.write_at(&file, 0)?;
        files.push(Media {
            uri: format!("{name}.wav"),
            sha256: hex(&Sha256::digest(&file)),
            kind: "audio/wav".into(),
            track: name,
            offset_ms: u64::from(first.saturating_sub(start)) * 20,
            duration_ms: samples.len() as u64 / 8,
        });
    }
    // Whether a name is taken is asked of that name alone: a year's recordings are not read for each of them.
    for folder in dirs(source.call.no) {
        let media: Vec<Media> =
            files.iter().map(|m| Media { uri: format!("recordings/{folder}/{}", m.uri), ..m.clone() }).collect();
        let manifest = Manifest {
            alert_no: source.call.no.to_string(),
            recovered: source.recovered,
            call: source.call.to_string(),
            until_tick,
            tracks: media.clone(),
        };
        let text = serde_json::to_vec_pretty(&manifest)?;
        disk.open(&hidden.join(MANIFEST), Access::Fresh)?.write_at(&text, 0)?;
        match disk.rename(&hidden, &out.join(&folder)) {
            Ok(()) => return Ok((media, start)),
            // The name is taken.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("numbers do not run out")
}

/// What a crash left half made.
pub(super) fn remove_hidden(disk: &dyn Disk, data: &Path) {
    let out = recordings(data);
    for name in disk.names(&out).unwrap_or_default() {
        if name.starts_with(HIDDEN) {
            let _ = disk.remove_dir(&out.join(name));
        }
    }
}
