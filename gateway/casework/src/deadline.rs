//! What is promised about an alert, by when. The promises stand in its record, so that a start finds them; here they
//! are in the order in which they are due.
//!
//! A promise that a call or a conversation keeps is watched over by its own machine, which tells of a breach at once.
//! What is due here some time later is for one whose machine is no more.

use std::collections::BTreeSet;
use std::time::Duration;

use codecs::record::{AlertNo, AlertRecord, Promise, Stamp, State, Timer, Validity};
use codecs::time::{Mono, Wall};

/// How long after it was due a breach is told here, where nobody else has.
const GRACE: Duration = Duration::from_secs(1);

/// The first promise of every report.
pub(crate) fn arrived(at: Stamp) -> Vec<Timer> {
    vec![timer(Promise::Answer, at)]
}

/// A word of somebody whom nobody had spoken to, and who had not been waiting: they have hung up, or their alert was
/// over (`was_over`). The promise begins anew with it. `false`: they were waiting all along.
pub(crate) fn waits_anew(record: &mut AlertRecord, at: Stamp, was_over: bool) -> bool {
    let has_hung_up = !is_waited_for(record) || matches!(record.state, State::Unreached | State::Ended);
    let is_unspoken = |t: &&mut Timer| t.promise() == Some(Promise::Answer) && t.met_at.is_none() && !t.breach;
    match record.timers.iter_mut().find(is_unspoken).filter(|_| was_over || has_hung_up) {
        Some(timer) => {
            timer.due = Stamp(at.0 + Promise::Answer.within());
            // They are there again.
            if record.source.validity == Validity::Abandoned {
                record.source.validity = Validity::Valid;
            }
            true
        }
        None => false,
    }
}

/// Whoever has hung up waits for nobody, while they are called back neither.
fn is_waited_for(record: &AlertRecord) -> bool {
    record.source.validity != Validity::Abandoned
}

/// Since when the answer is waited for.
pub(crate) fn waits_since(record: &AlertRecord) -> Option<Stamp> {
    let timer = record.timers.iter().find(|t| t.promise() == Some(Promise::Answer))?;
    Some(Stamp(timer.due.0 - Promise::Answer.within()))
}

pub(crate) fn answered(record: &mut AlertRecord, at: Stamp, after_ms: u64) {
    meet(record, Promise::Answer, at, after_ms);
}

/// The reporter has waited for an officer since they came, and not only since one was asked for.
pub(crate) fn responder_wanted(record: &mut AlertRecord) {
    if let Some(arrive) = record.call.t.arrive
        && !record.timers.iter().any(|t| t.promise() == Some(Promise::Officer))
    {
        record.timers.push(timer(Promise::Officer, arrive));
    }
}

pub(crate) fn bridged(record: &mut AlertRecord, at: Stamp, after_ms: u64) {
    meet(record, Promise::Officer, at, after_ms);
}

/// The answer is owed on the alert that this one goes on as.
pub(crate) fn answered_elsewhere(record: &mut AlertRecord, at: Stamp) {
    if let Some(timer) = record.timers.iter_mut().find(|t| t.promise() == Some(Promise::Answer) && t.met_at.is_none()) {
        timer.met_at = Some(at);
    }
}

/// `false`: that is known already, or it was kept.
pub(crate) fn breach(record: &mut AlertRecord, promise: Promise) -> bool {
    match record.timers.iter_mut().find(|t| t.promise() == Some(promise)) {
        Some(timer) if timer.breach || timer.met_at.is_some() => false,
        Some(timer) => {
            timer.breach = true;
            true
        }
        None => true,
    }
}

/// The promises that are broken, a bit each.
pub(crate) fn breaches(record: &AlertRecord) -> u32 {
    let bits = record.timers.iter().take(32).enumerate().map(|(i, timer)| u32::from(timer.breach) << i);
    bits.fold(0, |all, bit| all | bit)
}

/// The promises that are broken now and were not `before`.
pub(crate) fn newly_broken(record: &AlertRecord, before: u32) -> Vec<Promise> {
    let timers = record.timers.iter().take(32).enumerate();
    let fresh = timers.filter(|(i, timer)| timer.breach && before >> i & 1 == 0);
    fresh.filter_map(|(_, timer)| timer.promise()).collect()
}

/// A deadline was met, within its time or after it. Durations are counted where they pass, and not by the wall clock,
/// which may have been set meanwhile. Whoever had hung up before, and is called back, was not kept waiting.
fn meet(record: &mut AlertRecord, promise: Promise, at: Stamp, after_ms: u64) {
    let is_awaited = is_waited_for(record);
    if let Some(timer) = record.timers.iter_mut().find(|t| t.promise() == Some(promise)) {
        timer.met_at = Some(at);
        timer.breach |= is_awaited && u128::from(after_ms) > promise.within().as_millis();
    }
}

fn timer(promise: Promise, from: Stamp) -> Timer {
    Timer { name: promise.timer().into(), due: Stamp(from.0 + promise.within()), met_at: None, breach: false }
}

/// The promise of a timer that is still running.
fn running(record: &AlertRecord, timer: &Timer) -> Option<Promise> {
    let promise = timer.promise()?;
    let is_awaited = match record.state {
        State::Arrived | State::Offered | State::Reopened => promise == Promise::Answer,
        State::Bridging => promise == Promise::Officer,
        _ => false,
    };
    (is_awaited && is_waited_for(record) && timer.met_at.is_none() && !timer.breach).then_some(promise)
}

/// Promises that are broken at `at` though nobody has said so.
pub(crate) fn overdue(record: &AlertRecord, at: Stamp) -> Vec<Promise> {
    let due = record.timers.iter().filter(|timer| timer.due <= at);
    due.filter_map(|timer| running(record, timer)).collect()
}

/// All that run, the next first. What was kept meanwhile is left out when its time comes.
#[derive(Default)]
pub(crate) struct Deadlines(BTreeSet<(Mono, Deadline)>);

/// A timer by its alert and its place in the record; another is meant once it is due at another time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Deadline {
    pub no: AlertNo,
    index: u8,
    due: Stamp,
}

impl Deadlines {
    /// Watches over the record's timers from the one at `first` on.
    pub(crate) fn watch(&mut self, now: Mono, at: Wall, no: AlertNo, record: &AlertRecord, first: usize) {
        for (index, timer) in record.timers.iter().enumerate().skip(first) {
            if running(record, timer).is_none() {
                continue;
            }
            let left = u64::try_from(timer.due.0.0 - at.0).unwrap_or(0);
            let deadline = Deadline { no, index: index as u8, due: timer.due };
            self.0.insert((now + Duration::from_nanos(left) + GRACE, deadline));
        }
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.0.first().map(|(due, ..)| *due)
    }

    /// The next one that is due.
    pub(crate) fn pop_due(&mut self, now: Mono) -> Option<Deadline> {
        self.next().filter(|due| *due <= now)?;
        self.0.pop_first().map(|(_, deadline)| deadline)
    }
}

/// The promise whose timer is due, unless it was kept or moved, or nobody waits any more.
pub(crate) fn broken(record: &AlertRecord, deadline: Deadline) -> Option<Promise> {
    let timer = record.timers.get(usize::from(deadline.index)).filter(|timer| timer.due == deadline.due)?;
    running(record, timer)
}
