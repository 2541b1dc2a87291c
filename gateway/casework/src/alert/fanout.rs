//! The fan-out section of the record: who is told, whose receipt is waited for, what is expected of them.

use codecs::record::{
    AlertNo, AlertRecord, Handling, HandlingStep, Limit, Push, Signature, Stamp, State, Step, Timer, Validity,
};
use codecs::time::Wall;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Alerts, incident, mark};
use crate::fact::HandlingFact;
use crate::fanout::{Matter, Rules};

/// Targets of one alert, at most.
const TARGETS_MAX: usize = 32;
/// Steps of those who act, kept on one alert.
const HANDLING_MAX: usize = 64;

/// Steps, and triages, of one person on one alert in a minute.
const ACTS_A_MINUTE: usize = 20;

/// Why a step is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// No open alert, and none that ended a short while ago.
    NoAlert,
    /// The alert has not been pushed to this target.
    NotATarget,
    /// It was signed by somebody before.
    SignedBefore,
    /// A signature comes first.
    NotSigned,
    /// This officer was not called to it.
    NotCalled,
    /// It has refused, or the alert was closed: nothing is expected of it any more.
    Released,
    /// As many as may be of one person in a minute.
    TooMany,
    /// It is to be said why.
    NoReason,
    /// It is to be said to whom.
    NoUnit,
    NoName,
    /// The unit, or one above it, is complained of.
    ComplainedOf,
    /// It waits already, or it does not.
    NotPaused(bool),
    /// There is a log of the situation only of what is led as a major alert.
    NotMajor,
}

impl NotTaken {
    pub fn text(self) -> &'static str {
        match self {
            NotTaken::NoAlert => "the alert is not open",
            NotTaken::NotATarget => "the alert was not pushed to this target",
            NotTaken::SignedBefore => "it was signed before",
            NotTaken::NotSigned => "it has to be signed first",
            NotTaken::NotCalled => "this officer was not called to the alert",
            NotTaken::Released => "nothing is expected of this target any more",
            NotTaken::TooMany => "at most 20 steps a minute of one person",
            NotTaken::NoReason => "say in `text` why",
            NotTaken::NoName => "say in `to` who is responsible",
            NotTaken::NoUnit => "say in `to` which unit owns it now",
            NotTaken::NotPaused(false) => "nothing that is expected of this target can wait",
            NotTaken::NotPaused(true) => "nothing that is expected of this target waits",
            NotTaken::NotMajor => "the alert is not led as a major one",
            NotTaken::ComplainedOf => "this unit, or one above it, is complained of",
        }
    }
}

impl Alerts {
    /// Whether this step can be taken now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_take(&self, at: Wall, no: AlertNo, fact: &HandlingFact) -> Result<(), NotTaken> {
        let record = self.get(no).ok_or(NotTaken::NoAlert)?;
        if self.is_busy(at, record.handling.iter().map(|h| (h.at, &h.by))) {
            return Err(NotTaken::TooMany);
        }
        let push = record.fanout.iter().find(|p| p.target == fact.target && p.sent.is_some());
        if !fact.target.is_empty() && push.is_none() {
            return Err(NotTaken::NotATarget);
        }
        if !fact.officer.is_empty() && !record.dispatch.iter().any(|d| d.officer == fact.officer) {
            return Err(NotTaken::NotCalled);
        }
        let theirs = record.dispatch.iter().find(|d| !fact.officer.is_empty() && d.officer == fact.officer);
        if theirs.is_some_and(|d| incident::is_complained_of(record, &d.unit)) {
            // In the same words as to anybody: they do not learn of it.
            return Err(NotTaken::NotCalled);
        }
        match fact.step {
            HandlingStep::Pushed => Err(NotTaken::NotATarget),
            HandlingStep::Signed | HandlingStep::Instructed if push.is_none() => Err(NotTaken::NotATarget),
            _ if push.is_some_and(|p| p.released.is_some()) => Err(NotTaken::Released),
            HandlingStep::Signed if push.is_some_and(|p| p.signed.is_some()) => Err(NotTaken::SignedBefore),
            HandlingStep::Instructed if push.is_some_and(|p| p.signed.is_none()) => Err(NotTaken::NotSigned),
            HandlingStep::Refused | HandlingStep::Closed | HandlingStep::Endorsed if fact.text.trim().is_empty() => {
                Err(NotTaken::NoReason)
            }
            HandlingStep::Assigned if fact.to.trim().is_empty() => Err(NotTaken::NoName),
            HandlingStep::Situation | HandlingStep::Risk | HandlingStep::Measure => match &record.incident.major {
                _ if fact.text.trim().is_empty() => Err(NotTaken::NoReason),
                None => Err(NotTaken::NotMajor),
                Some(_) => Ok(()),
            },
            HandlingStep::Paused | HandlingStep::Resumed => match push {
                None => Err(NotTaken::NotATarget),
                Some(_) if fact.text.trim().is_empty() => Err(NotTaken::NoReason),
                Some(push) => {
                    let resumes = fact.step == HandlingStep::Resumed;
                    let is_it = |t: &&Timer| waits(t, &push.target) && t.paused.is_some() == resumes;
                    let any = record.timers.iter().any(|t| is_it(&t));
                    any.then_some(()).ok_or(NotTaken::NotPaused(resumes))
                }
            },
            HandlingStep::HandedOver if fact.to.trim().is_empty() => Err(NotTaken::NoUnit),
            HandlingStep::HandedOver if incident::is_complained_of(record, &fact.to) => Err(NotTaken::ComplainedOf),
            _ => Ok(()),
        }
    }

    /// Whether whoever acts has made as many entries as may be in a minute.
    fn is_busy<'a>(&self, at: Wall, entries: impl Iterator<Item = (Stamp, &'a String)>) -> bool {
        let lately = |then: Stamp| at.0.saturating_sub(then.0.0) < 60_000_000_000 && then.0 <= at;
        let by = self.actor.as_deref().unwrap_or_default();
        entries.filter(|(then, who)| who.as_str() == by && lately(*then)).count() >= ACTS_A_MINUTE
    }

    /// Whether whoever acts may triage this alert once more.
    pub fn may_triage(&self, at: Wall, no: AlertNo) -> bool {
        self.get(no).is_none_or(|r| !self.is_busy(at, r.incident.triage.iter().map(|t| (t.at, &t.by))))
    }

    /// Whoever the rules name now is told in their turn. Whom they named before stays: a correction follows the same way,
    /// and what a further rule expects of them is expected from now on.
    pub(super) fn plan(&mut self, at: Stamp, no: AlertNo) {
        let Some(record) = self.open.get(&no) else { return };
        let plan: Vec<(String, u8, Vec<String>)> = self
            .rules
            .plan(&Matter::of(record))
            .into_iter()
            .map(|p| (p.target.to_owned(), p.order, p.rules.into_iter().map(str::to_owned).collect()))
            .collect();
        if plan.is_empty() {
            return;
        }
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let (mut fresh, mut timers) = (false, Vec::new());
        for (target, order, mut rules) in plan {
            let has_room = record.fanout.len() < TARGETS_MAX;
            match record.fanout.iter_mut().find(|known| known.target == target) {
                Some(known) => {
                    let before = known.rules();
                    let says_more = rules.iter().any(|rule| !before.contains(rule));
                    known.more_rules.extend(rules.into_iter().filter(|rule| !before.contains(rule)));
                    let is_told = known.sent.is_some() && known.released.is_none();
                    let has = |limit: Limit| record.timers.iter().any(|t| t.of == target && t.limit() == Some(limit));
                    let (signed, fed_back) = (known.signed.is_some(), known.fed_back.is_some());
                    for (limit, is_done) in [(Limit::SignOff, signed), (Limit::Feedback, fed_back)] {
                        if says_more && is_told && !is_done && !has(limit) {
                            timers.extend(begun(&self.rules, known, limit, at));
                        }
                    }
                }
                None if has_room => {
                    let rule = rules.remove(0);
                    record.fanout.push(Push { target, order, rule, more_rules: rules, ..Push::default() });
                    fresh = true;
                }
                None => mark(record, "targets_full"),
            }
        }
        let is_expected = fresh || !timers.is_empty();
        record.timers.extend(timers);
        // It was over, and somebody is to do something about it.
        if is_expected && record.state == State::Closed {
            record.state = State::Ended;
        }
        if fresh {
            self.push_on(at, no);
        }
    }

    /// Of a complaint nothing further is told to whoever is complained of, from the revision on that says so.
    pub(super) fn withhold(&mut self, at: Stamp, no: AlertNo) {
        let by = self.actor.clone().unwrap_or_else(|| "gateway".into());
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let matter = Matter::of(record);
        let theirs: Vec<bool> = record.fanout.iter().map(|p| self.rules.is_complained_of(&matter, &p.target)).collect();
        for (push, is_theirs) in record.fanout.iter_mut().zip(theirs) {
            match (is_theirs, push.withheld) {
                (true, None) => {
                    push.withheld = Some(at);
                    push.released.get_or_insert_with(|| Signature { at, by: by.clone() });
                }
                (false, Some(then)) => {
                    push.withheld = None;
                    push.released.take_if(|released| released.at == then);
                    // What was expected of it is expected from now on.
                    let theirs = record.timers.iter_mut().filter(|t| t.of == push.target);
                    for timer in theirs.filter(|t| t.met_at.is_none() && !t.breach) {
                        let due = timer.limit().and_then(|l| self.rules.due(&push.rules(), l, &push.target, at));
                        timer.due = due.unwrap_or(timer.due);
                        timer.paused = timer.paused.map(|_| at);
                    }
                }
                _ => {}
            }
        }
    }

    /// Somebody is complained of, or is not any more: owner, commander and whoever is told follow.
    pub(super) fn past_the_complained(&mut self, at: Stamp, no: AlertNo) {
        if let Some(record) = self.record_mut(no) {
            incident::own_again(record, at);
        }
        self.withhold(at, no);
    }

    /// It is led as a major alert from now on, or is none any more: that is told, and further targets are.
    pub(super) fn lead(&mut self, at: Stamp, no: AlertNo, said: Option<bool>) {
        let (by, most) = (self.actor.as_deref().unwrap_or("gateway"), self.rules.major_at);
        let Some(major) = self.open.get(&no).and_then(|record| incident::led(record, at, by, said, most)) else {
            return;
        };
        if let Some(record) = self.record_mut(no) {
            record.incident.major = Some(major);
        }
        self.emit(no, Step::Major, at, None);
        self.plan(at, no);
        if self.shorten(at, no) {
            self.emit(no, Step::Updated, at, None);
        }
    }

    /// What the rules expect sooner by now than when it was first expected is expected by then.
    fn shorten(&mut self, at: Stamp, no: AlertNo) -> bool {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return false };
        let mut is_sooner = false;
        let AlertRecord { timers, fanout, .. } = record;
        for timer in timers.iter_mut().filter(|t| t.met_at.is_none() && !t.breach) {
            let Some((limit, push)) = timer.limit().zip(fanout.iter().find(|p| p.target == timer.of)) else { continue };
            // What waits goes on with no more than that.
            let from = timer.paused.unwrap_or(at);
            if let Some(due) = self.rules.due(&push.rules(), limit, &push.target, from) {
                is_sooner |= due < timer.due;
                timer.due = timer.due.min(due);
            }
        }
        is_sooner
    }

    /// Tells the next stage, if nobody ahead of it keeps it waiting any more. Of a test nobody is told further.
    pub(super) fn push_on(&mut self, at: Stamp, no: AlertNo) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        if record.source.validity == Validity::Test {
            return;
        }
        let is_next = |p: &Push| p.sent.is_none() && p.released.is_none();
        let Some(order) = record.fanout.iter().filter(|p| is_next(p)).map(|p| p.order).min() else { return };
        // Whose receipt is still expected, and in time.
        let waits = |p: &Push| {
            let runs = |t: &Timer| t.of == p.target && t.met_at.is_none() && !t.breach && is_receipt(t);
            p.sent.is_some() && p.ack.is_none() && p.released.is_none() && record.timers.iter().any(runs)
        };
        if record.fanout.iter().any(|p| p.order < order && waits(p)) {
            return;
        }
        let is_last = record.fanout.iter().filter(|p| is_next(p)).all(|p| p.order == order);
        let receipt = if is_last { Limit::Receipt } else { Limit::FirstReceipt };
        let mut timers = Vec::new();
        for push in record.fanout.iter_mut().filter(|p| p.order == order && is_next(p)) {
            push.sent = Some(at);
            for limit in [receipt, Limit::SignOff, Limit::Feedback] {
                timers.extend(begun(&self.rules, push, limit, at));
            }
        }
        record.timers.extend(timers);
        record.progress = record.progress.max(Some(HandlingStep::Pushed));
        self.emit(no, Step::Pushed, at, None);
    }

    /// A target has taken its first revision.
    pub(super) fn acknowledged(&mut self, at: Stamp, no: AlertNo, target: &str) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let is_it = |p: &&mut Push| p.target == target && p.sent.is_some() && p.ack.is_none();
        let Some(push) = record.fanout.iter_mut().find(is_it) else { return };
        push.ack = Some(at);
        meet(record, target, &[Limit::Receipt, Limit::FirstReceipt], at);
        self.tell(no, Step::Acknowledged, at, target);
        self.push_on(at, no);
        self.try_close(no, at);
    }

    /// A step of those who act, which `may_take` has let through.
    pub(super) fn handling(&mut self, at: Stamp, no: AlertNo, fact: HandlingFact) {
        let by = self.actor.clone().unwrap_or_else(|| "gateway".into());
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let HandlingFact { step, target, to, text, result_code, place, .. } = fact;
        let signature = Signature { by: by.clone(), at };
        let concerns = |p: &&mut Push| p.target == target && !target.is_empty();
        if let Some(push) = record.fanout.iter_mut().find(concerns) {
            let begins = match step {
                HandlingStep::Signed => &[Limit::Instruction][..],
                HandlingStep::Instructed if push.instructed.is_none() => &[Limit::Response, Limit::Arrival],
                _ => &[],
            };
            match step {
                HandlingStep::Signed => push.signed = Some(signature.clone()),
                HandlingStep::Instructed => drop(push.instructed.get_or_insert(signature.clone())),
                HandlingStep::FedBack => drop(push.fed_back.get_or_insert(signature.clone())),
                HandlingStep::Refused => push.released = Some(signature.clone()),
                _ => {}
            }
            let mut timers: Vec<Timer> =
                begins.iter().filter_map(|limit| begun(&self.rules, push, *limit, at)).collect();
            if record.timers.iter().any(|t| waits(t, &target) && t.paused.is_some()) {
                timers.iter_mut().filter(|t| waits(t, &target)).for_each(|t| t.paused = Some(at));
            }
            record.timers.extend(timers);
        }
        meet(record, &target, kept_by(step), at);
        match step {
            HandlingStep::Paused => pause(record, &target, at),
            HandlingStep::Resumed => resume(record, &target, at, &self.rules),
            HandlingStep::HandedOver => {
                record.route.bounces += 1;
                incident::own(record, at, &to);
            }
            HandlingStep::Refused => {
                record.route.bounces += 1;
                let units = self.rules.units.get(&target).map(Vec::as_slice).unwrap_or_default();
                // Who refuses what is theirs leaves it to the unit above: somebody owns it at every moment.
                if let [own, above, ..] = units
                    && *own == record.route.owner
                {
                    incident::own(record, at, above);
                }
            }
            HandlingStep::Assigned => record.route.handler.clone_from(&to),
            // Nothing is expected of anybody any more.
            HandlingStep::Closed => {
                for push in record.fanout.iter_mut().filter(|p| p.released.is_none()) {
                    push.released = Some(signature.clone());
                }
            }
            _ => {}
        }
        if step.is_progress() {
            record.progress = record.progress.max(Some(step));
        }
        make_room(&mut record.handling, HANDLING_MAX, |h| &h.by);
        record.handling.push(Handling { step, at, by, target: target.clone(), to, text, result_code, place });
        self.tell(no, Step::Handled(step), at, &target);
        if step == HandlingStep::Refused {
            self.push_on(at, no);
        }
        self.try_close(no, at);
    }

    /// A target's time is over.
    pub(super) fn late(&mut self, at: Stamp, no: AlertNo, index: usize) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let Some(timer) = record.timers.get_mut(index) else { return };
        timer.breach = true;
        let (name, of) = (timer.name.clone(), timer.of.clone());
        if let Some(push) = record.fanout.iter_mut().find(|p| p.target == of) {
            push.breach.push(name.clone());
        }
        self.emit_of(no, Step::DeadlineBreach, at, Some(&name), &of);
        // It keeps nobody waiting any longer.
        self.push_on(at, no);
        self.try_close(no, at);
    }

    fn tell(&mut self, no: AlertNo, step: Step, at: Stamp, target: &str) {
        self.emit_of(no, step, at, None, target);
    }
}

fn is_receipt(timer: &Timer) -> bool {
    matches!(timer.limit(), Some(Limit::Receipt | Limit::FirstReceipt))
}

/// Room for one more: whoever has most gives up their oldest, so that nobody pushes another's out.
pub(super) fn make_room<T>(list: &mut Vec<T>, most: usize, by: impl Fn(&T) -> &String) {
    if list.len() < most {
        return;
    }
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    list.iter().for_each(|entry| *counts.entry(by(entry)).or_default() += 1);
    let busiest = counts.iter().max_by_key(|(_, n)| **n).map(|(who, _)| (*who).clone());
    if let Some(at) = busiest.and_then(|who| list.iter().position(|entry| *by(entry) == who)) {
        list.remove(at);
    }
}

/// Whoever was told of a matter where it comes from is told of it here, and nothing is expected of them twice.
pub(super) fn told_elsewhere(record: &mut AlertRecord, told: &[Push]) {
    for push in told {
        let is_known = record.fanout.iter().any(|p| p.target == push.target);
        if !is_known && record.fanout.len() < TARGETS_MAX {
            record.fanout.push(push.clone());
        }
    }
}

/// Whether this timer of a target runs, or would, and can wait.
fn waits(timer: &Timer, target: &str) -> bool {
    timer.of == target && timer.met_at.is_none() && !timer.breach && timer.limit().is_some_and(Limit::can_wait)
}

fn pause(record: &mut AlertRecord, target: &str, at: Stamp) {
    for timer in record.timers.iter_mut().filter(|t| waits(t, target)) {
        timer.paused.get_or_insert(at);
    }
}

/// It goes on with what was left when it stopped, whatever was done to the clock meanwhile.
fn resume(record: &mut AlertRecord, target: &str, at: Stamp, rules: &Rules) {
    let named = record.fanout.iter().find(|p| p.target == target).map(Push::rules).unwrap_or_default();
    for timer in record.timers.iter_mut().filter(|t| waits(t, target)) {
        if let Some(since) = timer.paused.take() {
            let left = u64::try_from(timer.due.0.0 - since.0.0).unwrap_or(0);
            timer.due = rules.on_a_day(&named, Stamp(at.0 + Duration::from_nanos(left)));
        }
    }
}

/// The timers that a step keeps.
fn kept_by(step: HandlingStep) -> &'static [Limit] {
    match step {
        HandlingStep::Signed => &[Limit::SignOff],
        HandlingStep::Instructed => &[Limit::SignOff, Limit::Instruction],
        HandlingStep::Accepted | HandlingStep::Contacted | HandlingStep::Enroute => &[Limit::Response],
        HandlingStep::Arrived => &[Limit::Response, Limit::Arrival],
        HandlingStep::FedBack => &[Limit::Feedback],
        _ => &[],
    }
}

/// The timer of what is expected of a target from now on, if its rule expects it.
fn begun(rules: &Rules, push: &Push, limit: Limit, at: Stamp) -> Option<Timer> {
    let due = rules.due(&push.rules(), limit, &push.target, at)?;
    let (name, of) = (limit.timer().to_owned(), push.target.clone());
    Some(Timer { name, of, since: Some(at), due, met_at: None, paused: None, breach: false })
}

/// What was expected has come, in time or late. Whoever is on the way or there without saying for whom is there for all;
/// a signature, an instruction and a report are their target's own.
fn meet(record: &mut AlertRecord, target: &str, limits: &[Limit], at: Stamp) {
    let is_anybodys = |limit: Limit| matches!(limit, Limit::Response | Limit::Arrival);
    let is_it = |t: &&mut Timer| {
        let kept = t.limit().filter(|limit| limits.contains(limit));
        t.met_at.is_none() && kept.is_some_and(|l| t.of == target || target.is_empty() && is_anybodys(l))
    };
    record.timers.iter_mut().filter(is_it).for_each(|timer| timer.met_at = Some(at));
}

/// Whether somebody is still to do something about the alert.
pub(super) fn is_awaited(record: &AlertRecord) -> bool {
    let is_waited_for = |t: &Timer| match t.limit() {
        Some(Limit::SignOff | Limit::Instruction | Limit::Feedback) => true,
        // Late they are told as such, and waited for no longer.
        Some(Limit::Response | Limit::Arrival) => !t.breach,
        _ => false,
    };
    let waits_for = |p: &Push| record.timers.iter().any(|t| t.of == p.target && t.met_at.is_none() && is_waited_for(t));
    let is_test = record.source.validity == Validity::Test;
    let is_open = |p: &Push| {
        let untold = p.sent.is_none() && !is_test;
        p.released.is_none() && (untold || p.sent.is_some() && p.ack.is_none() || waits_for(p))
    };
    record.fanout.iter().any(is_open)
}
