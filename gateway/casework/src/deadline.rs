//! What is promised about an alert, by when. The promises stand in its record, so that a start finds them; here they
//! are in the order in which they are due.
//!
//! A promise that a call or a conversation keeps is watched over by its own machine, which tells of a breach at once.
//! What is due here some time later is for one whose machine is no more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codecs::record::{AlertNo, AlertRecord, Limit, Promise, Push, Stamp, State, Timer, Validity};
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
    match unspoken(record).filter(|_| was_over || has_hung_up) {
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

/// Whether its call is up: it rings, or is talked on.
pub fn is_call_up(record: &AlertRecord) -> bool {
    !record.call.legs.is_empty() && record.call.t.end.is_none()
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
    nobody_waits(record);
    meet(record, Promise::Answer, at, after_ms);
}

/// The reporter has waited for an officer since they came on the line, and not only since one was asked for: for how long
/// their call counted, whatever was done to the clock on the wall meanwhile.
pub(crate) fn responder_wanted(record: &mut AlertRecord, at: Stamp, waited: Duration) {
    if !record.timers.iter().any(|t| t.promise() == Some(Promise::Officer)) {
        let left = Promise::Officer.within().saturating_sub(waited);
        record.timers.push(Timer { due: Stamp(at.0 + left), ..timer(Promise::Officer, at) });
    }
}

/// Whoever was there when somebody spoke, or when it was told that nobody had, is owed nothing more.
fn nobody_waits(record: &mut AlertRecord) {
    record.reporter.channels.iter_mut().for_each(|writer| writer.since = None);
}

/// A human has spoken to those who write, while a caller still rings: they wait no more, and the caller does.
pub(crate) fn answered_in_writing_alone(record: &mut AlertRecord) {
    nobody_waits(record);
    waits_since_the_first(record);
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

/// They are apart again: what had been kept by nobody is owed.
pub(crate) fn owed_again(record: &mut AlertRecord) {
    if record.call.t.answer.is_none()
        && let Some(timer) = record.timers.iter_mut().find(|t| t.promise() == Some(Promise::Answer))
    {
        timer.met_at = None;
    }
}

/// It was told as broken where they were until now.
pub(crate) fn was_broken(record: &mut AlertRecord) {
    owed_again(record);
    if let Some(timer) = unspoken(record) {
        timer.breach = true;
    }
}

/// An answer is owed since the first came of those who wait for it: a caller, or whoever writes.
pub(crate) fn waits_since_the_first(record: &mut AlertRecord) {
    let is_on_the_line = is_call_up(record) && is_waited_for(record);
    let called = record.call.t.arrive.filter(|_| is_on_the_line);
    let first = record.reporter.channels.iter().filter_map(|w| w.since).chain(called).min();
    if let (Some(first), Some(timer)) = (first, unspoken(record)) {
        timer.due = Stamp(first.0 + Promise::Answer.within());
    }
}

/// The promise of an answer, while it can be kept.
fn unspoken(record: &mut AlertRecord) -> Option<&mut Timer> {
    record.timers.iter_mut().find(|t| t.promise() == Some(Promise::Answer) && t.met_at.is_none() && !t.breach)
}

/// `false`: that is known already, or it was kept.
pub(crate) fn breach(record: &mut AlertRecord, promise: Promise) -> bool {
    match record.timers.iter_mut().find(|t| t.promise() == Some(promise)) {
        Some(timer) if timer.breach || timer.met_at.is_some() => false,
        Some(timer) => {
            timer.breach = true;
            if promise == Promise::Answer {
                nobody_waits(record);
            }
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
    let is_open = |t: &&mut Timer| t.promise() == Some(promise) && t.met_at.is_none();
    if let Some(timer) = record.timers.iter_mut().find(is_open) {
        timer.met_at = Some(at);
        timer.breach |= is_awaited && u128::from(after_ms) > promise.within().as_millis();
    }
}

fn timer(promise: Promise, from: Stamp) -> Timer {
    let due = Stamp(from.0 + promise.within());
    Timer {
        name: promise.timer().into(),
        of: String::new(),
        since: None,
        due,
        met_at: None,
        paused: None,
        breach: false,
    }
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

/// What is owed at a moment at which whoever could have kept it is no more.
pub(crate) fn owed(record: &AlertRecord) -> Vec<Promise> {
    record.timers.iter().filter_map(|timer| running(record, timer)).collect()
}

/// Whether a timer of a target runs.
fn runs_for_target(record: &AlertRecord, timer: &Timer) -> bool {
    let is_released = |p: &Push| p.target == timer.of && p.released.is_some();
    timer.limit().is_some()
        && timer.met_at.is_none()
        && timer.paused.is_none()
        && !timer.breach
        && record.state != State::Closed
        && !record.fanout.iter().any(is_released)
}

/// All that run, the next first. What was kept meanwhile is left out when its time comes.
#[derive(Default)]
pub(crate) struct Deadlines {
    promises: BTreeSet<(Mono, Deadline)>,
    targets: BTreeSet<(Mono, Deadline)>,
    /// When what stands in an alert as due then is due by the monotonic clock, as it was reckoned first: the other may
    /// have been set since.
    instants: BTreeMap<(AlertNo, Stamp), Mono>,
}

/// A timer by its alert and its place in the record; another is meant once it is due at another time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Deadline {
    pub no: AlertNo,
    index: u8,
    due: Stamp,
}

impl Deadlines {
    /// Watches over the record's timers: promises from the one at `promises` on, what is expected of targets from the one
    /// at `targets` on. One that is watched stays as it was reckoned when it began, whatever is done to the clock.
    pub(crate) fn watch(
        &mut self,
        now: Mono,
        at: Wall,
        no: AlertNo,
        record: &AlertRecord,
        (promises, targets): (usize, usize),
    ) {
        for (index, timer) in record.timers.iter().enumerate() {
            let left = Duration::from_nanos(u64::try_from(timer.due.0.0 - at.0).unwrap_or(0));
            let deadline = Deadline { no, index: index as u8, due: timer.due };
            if index >= targets && runs_for_target(record, timer) {
                let due = *self.instants.entry((no, timer.due)).or_insert(now + left);
                self.targets.insert((due, deadline));
            } else if index >= promises && running(record, timer).is_some() {
                let due = *self.instants.entry((no, timer.due)).or_insert(now + left);
                self.promises.insert((due + GRACE, deadline));
            }
        }
    }

    /// The instant at which this alert owes an answer that stands in it as due then.
    pub(crate) fn instant(&self, no: AlertNo, due: Stamp) -> Option<Mono> {
        self.instants.get(&(no, due)).copied()
    }

    /// The same as another alert reckoned it.
    pub(crate) fn is_due(&mut self, no: AlertNo, due: Stamp, instant: Mono) {
        self.instants.entry((no, due)).or_insert(instant);
    }

    /// Nobody asks about this alert any more.
    pub(crate) fn forget(&mut self, no: AlertNo) {
        let all = self.instants.range((no, Stamp(Wall(i64::MIN)))..=(no, Stamp(Wall(i64::MAX))));
        for key in all.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.instants.remove(&key);
        }
    }

    /// After a start. A receipt that was due while nobody was there to tell or to hear has its whole time once more: the
    /// target is told again, or has been.
    pub(crate) fn watch_again(&mut self, now: Mono, at: Wall, no: AlertNo, record: &AlertRecord) {
        self.watch(now, at, no, record, (0, record.timers.len()));
        for (index, timer) in record.timers.iter().enumerate().filter(|(_, timer)| runs_for_target(record, timer)) {
            let mut left = Duration::from_nanos(u64::try_from(timer.due.0.0 - at.0).unwrap_or(0));
            if let (Some(Limit::Receipt | Limit::FirstReceipt), Some(since)) = (timer.limit(), timer.since) {
                left = left.max(Duration::from_nanos(u64::try_from(timer.due.0.0 - since.0.0).unwrap_or(0)));
            }
            let due = *self.instants.entry((no, timer.due)).or_insert(now + left);
            self.targets.insert((due, Deadline { no, index: index as u8, due: timer.due }));
        }
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        [&self.promises, &self.targets].into_iter().filter_map(|all| all.first().map(|(due, _)| *due)).min()
    }

    /// The next promise that is due.
    pub(crate) fn pop_due(&mut self, now: Mono) -> Option<Deadline> {
        self.promises.first().filter(|(due, _)| *due <= now)?;
        self.promises.pop_first().map(|(_, deadline)| deadline)
    }

    /// The next that is due of what is expected of a target.
    pub(crate) fn pop_due_of_target(&mut self, now: Mono) -> Option<Deadline> {
        self.targets.first().filter(|(due, _)| *due <= now)?;
        self.targets.pop_first().map(|(_, deadline)| deadline)
    }
}

/// The promise whose timer is due, unless it was kept or moved, or nobody waits any more.
pub(crate) fn broken(record: &AlertRecord, deadline: Deadline) -> Option<Promise> {
    let timer = record.timers.get(usize::from(deadline.index)).filter(|timer| timer.due == deadline.due)?;
    running(record, timer)
}

/// The place of the target's timer that is due, unless what it expects has come.
pub(crate) fn late(record: &AlertRecord, deadline: Deadline) -> Option<usize> {
    let index = usize::from(deadline.index);
    let timer = record.timers.get(index).filter(|timer| timer.due == deadline.due)?;
    runs_for_target(record, timer).then_some(index)
}
