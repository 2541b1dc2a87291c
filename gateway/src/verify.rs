//! Looking at a data directory: alerts, recordings, the journal's chain.

use std::path::Path;

use anyhow::{Context as _, bail};
use codecs::audio::wav::Wav;
use codecs::journal::Kind;
use codecs::record::{CloudEvent, Media};
use codecs::sip::auth::hex;
use sha2::{Digest as _, Sha256};

use crate::journal::Reader;
use crate::{journal, read_model};

/// # Errors
/// When the read model cannot be read.
pub fn list_alerts(data: &Path) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let page = read_model::list(data, after, 1000)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        for (_, record) in page {
            println!("{record}");
        }
    }
}

/// # Errors
/// When there is no such alert, or more than one.
pub fn show_alert(data: &Path, no: &str) -> anyhow::Result<()> {
    let found = read_model::get(data, no)?;
    match &found[..] {
        [one] => {
            let value: serde_json::Value = serde_json::from_str(one)?;
            println!("{}", serde_json::to_string_pretty(&value)?);
            Ok(())
        }
        [] => bail!("no alert {no} in {}", data.display()),
        _ => bail!("several alerts end in {no}; give more digits"),
    }
}

#[derive(serde::Deserialize)]
struct Manifest {
    recovered: bool,
    tracks: Vec<Media>,
}

/// # Errors
/// The first file that is missing, changed or no WAV.
pub fn verify_recording(data: &Path, no: &str) -> anyhow::Result<()> {
    let recordings = data.join("recordings");
    let mut seen = 0;
    for entry in std::fs::read_dir(&recordings).with_context(|| recordings.display().to_string())? {
        let dir = entry?.path();
        let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        let number = name.get(..30).unwrap_or_default();
        // A tail of the number, or of the number without its check digit.
        if !(number.ends_with(no) || number.get(..29).unwrap_or_default().ends_with(no)) {
            continue;
        }
        seen += 1;
        let manifest = std::fs::read(dir.join("manifest.json")).with_context(|| dir.display().to_string())?;
        let manifest: Manifest = serde_json::from_slice(&manifest)?;
        for track in &manifest.tracks {
            let file = std::fs::read(data.join(&track.uri)).with_context(|| track.uri.clone())?;
            if hex(&Sha256::digest(&file)) != track.sha256 {
                bail!("{}: the hash differs from the manifest's", track.uri);
            }
            let wav = Wav::parse(&file).map_err(|e| anyhow::anyhow!("{}: {} at byte {}", track.uri, e.what, e.at))?;
            println!(
                "✔ {} {:.2} s from {:.2} s",
                track.uri,
                wav.data.len() as f64 / 8000.0,
                track.offset_ms as f64 / 1000.0
            );
        }
        if manifest.recovered {
            println!("  recovered after a crash");
        }
    }
    if seen == 0 {
        bail!("no recording of {no} in {}", recordings.display());
    }
    Ok(())
}

/// # Errors
/// The first frame that breaks the chain, or an event whose record is not sealed.
pub fn verify_journal(data: &Path) -> anyhow::Result<()> {
    let dir = data.join("journal");
    let mut reader = Reader::new(&dir, journal::Cursor::default());
    let (mut previous, mut frames, mut events) = ([0; 32], 0u64, 0u64);
    while let Some(frame) = reader.next_frame()? {
        let rebuilt = codecs::journal::Frame {
            sequence: frame.sequence,
            at: frame.at,
            kind: frame.kind,
            previous,
            payload: &frame.payload,
        };
        frames += 1;
        if frame.sequence != frames || frame.previous != previous {
            bail!("frame {} does not follow the one before", frame.sequence);
        }
        previous = rebuilt.hash();
        if frame.kind == Kind::Event {
            events += 1;
            let event: CloudEvent =
                serde_json::from_slice(&frame.payload).with_context(|| format!("frame {}", frame.sequence))?;
            if !event.data.is_sealed() {
                bail!("frame {}: revision {} is not what its hash says", frame.sequence, event.id);
            }
        }
    }
    println!("✔ {frames} frames, {events} events, chain unbroken, head {}", hex(&previous));
    Ok(())
}
