//! The promises that run on an alert: T1 and T2 of the record.
//!
//! Durations are counted where they pass, and not by the wall clock, which may have been set meanwhile.

use std::time::Duration;

use codecs::record::{AlertRecord, Stamp, Step, Timer};

const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const OFFICER_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn arrived(at: Stamp) -> Vec<Timer> {
    vec![timer("T1", Stamp(at.0 + ANSWER_WITHIN))]
}

pub(super) fn answered(record: &mut AlertRecord, at: Stamp, after_ms: u64) {
    meet(record, "T1", at, after_ms <= ANSWER_WITHIN.as_millis() as u64);
}

/// The reporter has waited for an officer since they came, and not only since one was asked for.
pub(super) fn responder_wanted(record: &mut AlertRecord) {
    if let Some(arrive) = record.call.t.arrive
        && !record.timers.iter().any(|t| t.name == "T2")
    {
        record.timers.push(timer("T2", Stamp(arrive.0 + OFFICER_WITHIN)));
    }
}

pub(super) fn bridged(record: &mut AlertRecord, at: Stamp, after_ms: u64) {
    meet(record, "T2", at, after_ms <= OFFICER_WITHIN.as_millis() as u64);
}

pub(super) fn breached(record: &mut AlertRecord, name: &str) -> Option<Step> {
    if let Some(timer) = record.timers.iter_mut().find(|t| t.name == name && t.met_at.is_none()) {
        timer.breach = true;
    }
    Some(Step::DeadlineBreach)
}

/// A deadline was met, within its time or after it.
fn meet(record: &mut AlertRecord, name: &str, at: Stamp, in_time: bool) {
    if let Some(timer) = record.timers.iter_mut().find(|t| t.name == name) {
        timer.met_at = Some(at);
        timer.breach |= !in_time;
    }
}

fn timer(name: &str, due: Stamp) -> Timer {
    Timer { name: name.into(), due, met_at: None, breach: false }
}
