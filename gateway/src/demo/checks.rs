//! What the bytes say: WAVs and sink bodies.

use std::collections::BTreeMap;
use std::path::Path;

use codecs::audio::wav::Wav;
use codecs::record::{AlertNo, CloudEvent};
use loadtest::Code;
use loadtest::attention::hears;

/// The second half of a track, where every party of a bridged call speaks.
fn samples(path: &Path) -> Result<Vec<i16>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let wav = Wav::parse(&bytes).map_err(|e| format!("{}: {} at {}", path.display(), e.what, e.at))?;
    Ok(wav.samples())
}

/// Each leg's tone on its own track only, all three in the mix.
pub(super) fn recording(dir: &Path, call: u32) -> Result<(), String> {
    let code = |role| Code { role, call };
    let all = [code(0), code(1), code(2)];
    for (role, track) in ["caller", "seat", "officer"].into_iter().enumerate() {
        let samples = samples(&dir.join(format!("{track}.wav")))?;
        // Half a second before the end all three were there.
        let late = &samples[samples.len().saturating_sub(12_000)..samples.len().saturating_sub(4000)];
        if !hears(late, &[all[role]]) {
            return Err(format!("{track}.wav does not hold exactly its own tone"));
        }
    }
    let mix = samples(&dir.join("mix.wav"))?;
    let late = &mix[mix.len().saturating_sub(12_000)..mix.len().saturating_sub(4000)];
    if !hears(late, &all) {
        return Err("mix.wav does not hold all three tones".into());
    }
    Ok(())
}

/// The script's events by alert, repeats dropped. Calls from outside come over other trunks and are their callers'.
pub(super) fn by_alert(bodies: &[(String, axum::body::Bytes)]) -> Result<BTreeMap<String, Vec<CloudEvent>>, String> {
    let mut alerts: BTreeMap<String, Vec<CloudEvent>> = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for (id, body) in bodies {
        if let Some(before) = seen.insert(id.clone(), body.clone()) {
            if before != *body {
                return Err(format!("{id} came twice with different bytes"));
            }
            continue;
        }
        let event: CloudEvent = serde_json::from_slice(body).map_err(|e| format!("{id}: {e}"))?;
        if event.id != *id {
            return Err(format!("webhook-id {id} is not the event's id {}", event.id));
        }
        if event.data.source.trunk == "demo" || event.data.source.trunk.starts_with("script-") {
            alerts.entry(event.subject.clone()).or_default().push(event);
        }
    }
    Ok(alerts)
}

/// Every revision once, in order, sealed, chained, under a sound number.
pub(super) fn chain(events: &[CloudEvent]) -> Result<(), String> {
    let mut previous = String::new();
    for (i, event) in events.iter().enumerate() {
        AlertNo::parse(&event.subject).ok_or_else(|| format!("{} is no alert number", event.subject))?;
        if event.data.rev as usize != i + 1 {
            return Err(format!("{}: revision {} where {} was due", event.subject, event.data.rev, i + 1));
        }
        if !event.data.is_sealed() || event.data.prev_hash != previous {
            return Err(format!("{}: the hash chain is broken", event.id));
        }
        previous = event.hash.clone();
    }
    Ok(())
}

/// Whether an alert has a step of this name.
pub(super) fn has(events: &[CloudEvent], step: &str) -> bool {
    events.iter().any(|e| e.kind == format!("cn.gov.police110.alert.{step}.v1"))
}
