//! Looking at a data directory: alerts, recordings, the journal's chain.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use codecs::sip::auth::hex;
use store::disk::Files;
use store::journal::Reader;
use store::lock::Unlocked;
use store::read_model::ReadModel;
use store::{read_model, verify};

/// Writes a line; a reader who has seen enough is no failure.
fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// # Errors
/// When the read model cannot be read.
pub fn list_alerts(data: &Path) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let page = read_model::list(data, after, 1000, None, "").with_context(|| data.display().to_string())?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        for (_, record) in page {
            say(&record)?;
        }
    }
}

/// # Errors
/// When there is no such alert, or more than one.
pub fn show_alert(data: &Path, no: &str) -> anyhow::Result<()> {
    let found = read_model::get(data, no).with_context(|| data.display().to_string())?;
    match &found[..] {
        [one] => {
            let value: serde_json::Value = serde_json::from_str(one)?;
            say(&serde_json::to_string_pretty(&value)?)
        }
        [] => bail!("no alert {no} in {}", data.display()),
        _ => bail!("several alerts end in {no}; give more digits"),
    }
}

/// # Errors
/// When a gateway holds the directory, it has no journal, or a part of that cannot be read.
pub fn rebuild(data: &Path) -> anyhow::Result<()> {
    let journal = data.join("journal");
    anyhow::ensure!(journal.is_dir(), "no journal in {}", data.display());
    let _ours = match store::lock::lock(data) {
        Ok(lock) => lock,
        Err(Unlocked::Held { pid }) => {
            bail!("process {pid} holds {}: a gateway that runs follows the journal by itself", data.display())
        }
        Err(Unlocked::Disk(error)) => return Err(error).with_context(|| data.display().to_string()),
    };
    let (head, damaged) = verify::head(&Files, data)?;
    if damaged > 0 {
        bail!("the journal is damaged in {damaged} places, which `audit verify` names: the model that is there stays")
    }
    ReadModel::remove(data).with_context(|| read_model::path(data).display().to_string())?;
    let mut model = ReadModel::open(data, u64::MAX)?;
    let mut reader = Reader::new(Files::shared(), &journal, model.cursor());
    let mut frames = 0;
    loop {
        match model.apply(&mut reader, head)? {
            0 => break,
            read => frames += read,
        }
    }
    say(&format!("✔ {frames} frames, {} alerts", model.alerts()?))
}

/// # Errors
/// Every file that is missing, changed or no WAV, after all of them were looked at.
pub fn verify_recording(data: &Path, no: Option<&str>) -> anyhow::Result<()> {
    let place = data.join("recordings");
    let all = verify::recordings(&Files, data, no).with_context(|| place.display().to_string())?;
    for recording in &all {
        if let Some(fault) = &recording.fault {
            say(&format!("✗ {}: the manifest cannot be read: {fault}", recording.folder))?;
        }
        for track in &recording.tracks {
            match &track.fault {
                None => say(&format!("✔ {} {:.2} s from {:.2} s", track.uri, track.seconds, track.offset_s))?,
                Some(fault) => say(&format!("✗ {}: {fault}", track.uri))?,
            }
        }
        if recording.recovered {
            say("  recovered after a crash")?;
        }
    }
    let bad = all.iter().filter(|r| !r.is_whole()).count();
    match (all.len(), no) {
        (0, Some(no)) => bail!("no recording of {no} in {}", place.display()),
        (n, _) if bad > 0 => bail!("{bad} of {n} recordings are not as they were written"),
        _ => Ok(()),
    }
}

/// # Errors
/// Everything that is not as it was written.
pub fn verify_journal(data: &Path) -> anyhow::Result<()> {
    let place = data.join("journal");
    let seen = verify::journal(&Files, data).with_context(|| place.display().to_string())?;
    for fault in &seen.faults {
        say(&format!("✗ {fault}"))?;
    }
    let (frames, events, head) = (seen.frames, seen.events, hex(&seen.head_hash));
    match seen.faults.len() {
        0 => say(&format!("✔ {frames} frames, {events} events, chain unbroken, head {head}")),
        n => bail!("{n} faults; {frames} sound frames, {events} events"),
    }
}
