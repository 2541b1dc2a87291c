//! Whether everything kept is as it was written.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use codecs::audio::wav::Wav;
use codecs::journal::{Frame, Hash, Kind};
use codecs::record::{CloudEvent, Note};
use codecs::sip::auth::hex;
use sha2::{Digest as _, Sha256};

use crate::disk::Disk;
use crate::journal::{Cursor, Replayed, replay, segments};
use crate::read_model;
use crate::recording::{MANIFEST, Manifest};

/// What a look through the journal came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Journal {
    pub frames: u64,
    pub events: u64,
    pub head: u64,
    pub head_hash: Hash,
    /// Everything that is not as it should be.
    pub faults: Vec<String>,
}

/// Follows the whole chain, every seal, every alert's own chain, and compares with whoever has read the journal: a cut
/// end shows in nobody but them.
///
/// # Errors
/// When the directory cannot be read.
pub fn journal(disk: &dyn Disk, data: &Path) -> io::Result<Journal> {
    let dir = data.join("journal");
    let from_the_first = segments(disk, &dir)?.first().is_none_or(|first| *first == 1);
    let mut seen = Journal::default();
    let mut alerts: BTreeMap<String, (u32, String)> = BTreeMap::new();
    // Asked first: a gateway may be running, and both go on while the journal is read.
    let readers = Readers::ask(disk, data);
    let folders = disk.names(&data.join("recordings")).unwrap_or_default();
    replay(disk, &dir, u64::MAX, true, |met| match met {
        Replayed::Damage(damage) => seen.faults.push(damage.to_string()),
        Replayed::Frame(frame) => seen.take(frame, &mut alerts),
    })?;
    seen.compare(&readers);
    if from_the_first {
        seen.compare_recordings(&folders, &alerts);
    }
    Ok(seen)
}

/// The number of the last frame of a journal that nobody writes, and how many parts of it are damaged.
///
/// # Errors
/// When the journal cannot be read.
pub fn head(disk: &dyn Disk, data: &Path) -> io::Result<(u64, usize)> {
    let (mut head, mut damaged) = (0, 0);
    replay(disk, &data.join("journal"), u64::MAX, true, |met| match met {
        Replayed::Frame(frame) => head = frame.sequence,
        Replayed::Damage(_) => damaged += 1,
    })?;
    Ok((head, damaged))
}

/// How far those have come who read the journal.
struct Readers {
    read_model: Option<u64>,
    sinks: Vec<(String, u64)>,
}

impl Readers {
    fn ask(disk: &dyn Disk, data: &Path) -> Readers {
        let dir = data.join("sinks");
        let position = |name: &String| {
            let sink = name.strip_suffix(".cursor")?;
            let cursor: Cursor = serde_json::from_slice(&disk.read(&dir.join(name)).ok()?).ok()?;
            Some((sink.to_owned(), cursor.sequence))
        };
        let sinks = disk.names(&dir).unwrap_or_default().iter().filter_map(position).collect();
        Readers { read_model: read_model::position(data).ok(), sinks }
    }
}

impl Journal {
    fn fault(&mut self, frame: &Frame<'_>, what: &str) {
        self.faults.push(format!("frame {}: {what}", frame.sequence));
    }

    fn take(&mut self, frame: &Frame<'_>, alerts: &mut BTreeMap<String, (u32, String)>) {
        self.frames += 1;
        (self.head, self.head_hash) = (frame.sequence, frame.hash());
        if frame.kind == Kind::Note {
            // One of a later version is no fault; one that says that there is damage was told already.
            let _: Option<Note> = Note::parse(frame.payload);
        }
        if frame.kind != Kind::Event {
            return;
        }
        self.events += 1;
        let event = match serde_json::from_slice::<CloudEvent>(frame.payload) {
            Ok(event) => event,
            Err(error) => return self.fault(frame, &format!("is no event: {error}")),
        };
        if !event.data.is_sealed() {
            self.fault(frame, &format!("revision {} is not what its hash says", event.id));
        }
        let before = alerts.insert(event.subject.clone(), (event.data.rev, event.data.hash.clone()));
        let (rev, hash) = before.unwrap_or_default();
        if event.data.rev <= rev {
            self.fault(frame, &format!("{} comes after revision {rev}", event.id));
        } else if event.data.rev == rev + 1 && rev > 0 && event.data.prev_hash != hash {
            self.fault(frame, &format!("{} does not follow revision {rev}", event.id));
        }
    }

    /// Those who read the journal cannot have read more than there is.
    fn compare(&mut self, readers: &Readers) {
        let head = self.head;
        if let Some(at) = readers.read_model.filter(|at| *at > head) {
            self.faults.push(format!("the read model has seen frame {at}, the journal ends at {head}"));
        }
        for (sink, at) in readers.sinks.iter().filter(|(_, at)| *at > head) {
            self.faults.push(format!("sink {sink} has been told frame {at}, the journal ends at {head}"));
        }
    }

    /// Each recording is of an alert that the journal knows.
    fn compare_recordings(&mut self, folders: &[String], alerts: &BTreeMap<String, (u32, String)>) {
        let of: BTreeSet<&str> = folders.iter().filter_map(|n| n.get(..30)).collect();
        for no in of.into_iter().filter(|no| no.bytes().all(|b| b.is_ascii_digit()) && !alerts.contains_key(*no)) {
            self.faults.push(format!("alert {no} has a recording and stands nowhere in the journal"));
        }
    }
}

/// A track, or what is wrong with it.
#[derive(Clone, PartialEq, Debug)]
pub struct Track {
    pub uri: String,
    pub seconds: f64,
    pub offset_s: f64,
    pub fault: Option<String>,
}

/// A recording's directory.
#[derive(Clone, PartialEq, Debug)]
pub struct Recording {
    pub folder: String,
    pub recovered: bool,
    pub tracks: Vec<Track>,
    /// Its manifest cannot be read.
    pub fault: Option<String>,
}

impl Recording {
    pub fn is_whole(&self) -> bool {
        self.fault.is_none() && self.tracks.iter().all(|t| t.fault.is_none())
    }
}

/// Every recording of the alert whose number ends so, with its check digit or without; of all where none is named.
///
/// # Errors
/// When the directory of recordings cannot be read.
pub fn recordings(disk: &dyn Disk, data: &Path, no: Option<&str>) -> io::Result<Vec<Recording>> {
    let out = data.join("recordings");
    let mut folders = disk.names(&out)?;
    folders.sort_unstable();
    let is_meant = |folder: &String| {
        let number = folder.get(..30).unwrap_or_default();
        let ends = |no: &str| number.ends_with(no) || number.get(..29).unwrap_or_default().ends_with(no);
        number.bytes().all(|b| b.is_ascii_digit()) && no.is_none_or(ends)
    };
    let meant = folders.into_iter().filter(is_meant);
    Ok(meant.map(|folder| recording(disk, data, &out, folder)).collect())
}

fn recording(disk: &dyn Disk, data: &Path, out: &Path, folder: String) -> Recording {
    let manifest = disk.read(&out.join(&folder).join(MANIFEST));
    let manifest = manifest.map_err(|e| e.to_string());
    let manifest = manifest.and_then(|m| serde_json::from_slice::<Manifest>(&m).map_err(|e| e.to_string()));
    match manifest {
        Err(error) => Recording { folder, recovered: false, tracks: Vec::new(), fault: Some(error) },
        Ok(manifest) => Recording {
            folder,
            recovered: manifest.recovered,
            tracks: manifest.tracks.iter().map(|t| track(disk, data, t)).collect(),
            fault: None,
        },
    }
}

fn track(disk: &dyn Disk, data: &Path, media: &codecs::record::Media) -> Track {
    let judge = || {
        let file = disk.read(&data.join(&media.uri)).map_err(|e| e.to_string())?;
        if hex(&Sha256::digest(&file)) != media.sha256 {
            return Err("the hash differs from the manifest's".to_owned());
        }
        let wav = Wav::parse(&file).map_err(|e| format!("{} at byte {}", e.what, e.at))?;
        Ok(wav.data.len() as f64 / 8000.0)
    };
    let (seconds, fault) = match judge() {
        Ok(seconds) => (seconds, None),
        Err(fault) => (0.0, Some(fault)),
    };
    Track { uri: media.uri.clone(), seconds, offset_s: media.offset_ms as f64 / 1000.0, fault }
}
