//! Whoever comes to the reporter: wanted by triage, by key or by time, climbed for on the ladder, heard in the call.

use std::time::Duration;

use codecs::record::{Role, TryResult};
use codecs::time::Mono;

use super::takers::DROPPED_WITHIN;
use super::{CALLER, Call, Caller, Fact, Gone, Output, Target, Why};
use crate::escalation::{Ladder, Step, Try};
use crate::policy::{ANSWER_WITHIN, OFFICER_WITHIN, TRUST};
use crate::{LegNo, ResponderId};

/// Responders in one conversation, and asked into it, at most; with caller and seat it stays below what a room mixes.
pub(super) const PARTIES_MAX: usize = 12;

#[derive(Debug)]
pub(super) struct Bridged {
    leg: LegNo,
    responder: ResponderId,
    role: Role,
    /// How long they took to pick up: what the roster learns from.
    after: Duration,
    since: Mono,
    pub heard: bool,
    pub hears: bool,
    told: bool,
}

impl Bridged {
    pub(super) fn new(now: Mono, leg: LegNo, responder: ResponderId, role: Role, after: Duration) -> Bridged {
        Bridged { leg, responder, role, after, since: now, heard: false, hears: false, told: false }
    }
}

impl Call {
    /// Somebody is in when both directions have carried audio.
    pub(super) fn mark_bridged(&mut self, now: Mono, leg: LegNo, mark: fn(&mut Bridged)) {
        let after = now.since(self.arrived);
        let Some(b) = self.bridged.iter_mut().find(|b| b.leg == leg) else { return };
        mark(b);
        if b.heard && b.hears && !std::mem::replace(&mut b.told, true) {
            let (responder, role) = (b.responder, b.role);
            if role.is_police() {
                self.officer_breach_at = None;
            }
            self.fact(Fact::Bridged { responder, role, after });
        }
    }

    pub(super) fn want_officer(&mut self, now: Mono, why: Why) {
        let trying = self.ladder.as_ref().is_some_and(Ladder::is_trying);
        // A report brings an officer, and one who is there already is one.
        let is_there = why != Why::Action && self.bridged.iter().any(|b| b.role.is_police());
        if trying || is_there || self.over {
            return;
        }
        // Whoever triages need not sit at the call: it may still be ringing. And whom the taker has named comes first.
        if self.caller != Caller::Connected || why != Why::Action && self.asked.police() {
            self.wish = Some(why);
            return;
        }
        let deadline = self.owe_officer(now);
        self.fact(Fact::ResponderWanted { why, waited: now.since(self.arrived) });
        let mut ladder = Ladder::new(deadline, self.policy.try_at_least);
        let step = ladder.climb(now);
        self.ladder = Some(ladder);
        self.take_step(step);
    }

    /// By when an officer is to be in the call. A second wish, after the first has brought somebody or nobody, gets 30 s
    /// of its own.
    pub(super) fn owe_officer(&mut self, now: Mono) -> Mono {
        if std::mem::replace(&mut self.officer_owed, true) {
            return now + OFFICER_WITHIN;
        }
        let deadline = self.arrived + OFFICER_WITHIN;
        self.officer_breach_at = Some(deadline);
        deadline
    }

    /// Somebody is on the line: whoever was asked for before is sought now.
    pub(super) fn grant_wish(&mut self, now: Mono) {
        self.ring_the_early(now);
        if let Some(why) = self.wish.take() {
            self.want_officer(now, why);
        }
    }

    pub(super) fn take_step(&mut self, step: Option<Step>) {
        match step {
            Some(Step::Reserve { rung, share }) => self.outputs.push_back(Output::WantResponder { rung, share }),
            Some(Step::Exhausted) => self.fact(Fact::NobodyLeft),
            None => {}
        }
    }

    pub(super) fn responder_reserved(&mut self, now: Mono, responder: ResponderId, role: Role) {
        let leg = self.new_leg();
        let wanted = !self.over && self.parties() < PARTIES_MAX;
        match self.ladder.as_mut().filter(|l| wanted && l.is_trying()) {
            Some(ladder) => {
                ladder.reserved(now, leg, responder, role);
                self.fact(Fact::Tried { leg, responder, rung: role });
                self.outputs.push_back(Output::StartLeg { leg, target: Target::Responder(responder), role });
            }
            None => {
                let result = TryResult::Superseded;
                self.outputs.push_back(Output::ReleaseResponder { responder, result, after: Duration::ZERO });
            }
        }
    }

    pub(super) fn no_responder(&mut self, now: Mono) {
        let Some(ladder) = &mut self.ladder else { return };
        let step = ladder.nobody(now);
        self.take_step(step);
        self.hold_for_a_seat(now);
    }

    /// The seat has left in trust of somebody who did not come: the caller is told to hold, and gets a seat again.
    pub(super) fn hold_for_a_seat(&mut self, now: Mono) {
        if self.somebody_comes() {
            if self.takers.is_empty() && self.bridged.is_empty() {
                self.trust_until.get_or_insert(now + TRUST);
            }
            return;
        }
        if self.seat_for_whoever_is_alone(now) {
            self.ladder = None;
        }
    }

    /// `true`: a seat is wanted, since nobody is with the caller, whoever rings.
    pub(super) fn seat_for_whoever_is_alone(&mut self, now: Mono) -> bool {
        let somebody = !self.takers.is_empty() || !self.bridged.is_empty();
        if self.over
            || somebody
            || self.caller != Caller::Connected
            // Before the first answer a seat is wanted already, but of one whom nothing can be said to.
            || self.answered_at.is_none() && self.caller_listens
        {
            return false;
        }
        self.answer_by = now + ANSWER_WITHIN;
        self.outputs.push_back(Output::PlayAttendant { leg: CALLER });
        self.want_seat();
        true
    }

    pub(super) fn responder_answered(&mut self, now: Mono, leg: LegNo) {
        if self.asked_answered(now, leg) {
            return;
        }
        let Some(ladder) = &mut self.ladder else { return };
        let Some(mine) = ladder.tries.iter().find(|t| t.leg == leg && !t.answered) else { return };
        let (responder, role, after) = (mine.responder, mine.role, now.since(mine.started));
        for other in ladder.answered(leg) {
            self.outputs.push_back(Output::DropLeg { leg: other.leg });
            self.close_try(now, &other, Ladder::cut_off(other.answered));
        }
        self.fact(Fact::TryEnded { leg, responder, result: TryResult::Answered });
        self.bridged.push(Bridged::new(now, leg, responder, role, after));
        self.outputs.push_back(Output::Join { leg, role });
    }

    pub(super) fn responder_failed(&mut self, now: Mono, leg: LegNo, result: TryResult) {
        if self.asked_failed(now, leg, result) {
            return;
        }
        let Some(ladder) = &mut self.ladder else { return };
        let (ended, step) = ladder.failed(now, leg);
        if let Some(ended) = ended {
            self.close_try(now, &ended, result);
        }
        self.take_step(step);
        self.hold_for_a_seat(now);
    }

    fn close_try(&mut self, now: Mono, ended: &Try, result: TryResult) {
        let responder = ended.responder;
        self.fact(Fact::TryEnded { leg: ended.leg, responder, result });
        self.outputs.push_back(Output::ReleaseResponder { responder, result, after: now.since(ended.started) });
    }

    pub(super) fn responder_ended(&mut self, now: Mono, leg: LegNo, gone: Gone) {
        let Some(at) = self.bridged.iter().position(|b| b.leg == leg) else { return };
        let left = self.bridged.remove(at);
        self.fact(Fact::LegEnded { leg, role: left.role, gone });
        self.outputs.push_back(Output::ReleaseResponder {
            responder: left.responder,
            result: TryResult::Answered,
            after: left.after,
        });
        // Whoever is not there any more, or has hung up within seconds, has not ended the call for the reporter.
        let is_unfinished = gone == Gone::Lost || gone == Gone::HungUp && now.since(left.since) < DROPPED_WITHIN;
        if is_unfinished && self.takers.is_empty() && self.bridged.is_empty() {
            return self.hold_for_a_seat(now);
        }
        self.end_if_nobody_is_left(now);
    }

    /// The taker lets somebody go. Where that was a try of the ladder, the next one is sought.
    pub(super) fn drop_responder(&mut self, now: Mono, responder: ResponderId) {
        if let Some(leg) = self.bridged.iter().find(|b| b.responder == responder).map(|b| b.leg) {
            self.outputs.push_back(Output::DropLeg { leg });
            return self.responder_ended(now, leg, Gone::Dropped);
        }
        let rings = |t: &&Try| t.responder == responder && !t.answered;
        let tried = |l: &Ladder| l.tries.iter().find(rings).map(|t| t.leg);
        let ringing = self.asked.leg_of(responder).or_else(|| self.ladder.as_ref().and_then(tried));
        match ringing {
            Some(leg) => {
                self.outputs.push_back(Output::DropLeg { leg });
                self.responder_failed(now, leg, TryResult::Superseded);
            }
            None => self.drop_early(responder),
        }
    }

    pub(super) fn end_responders(&mut self, now: Mono) {
        for b in std::mem::take(&mut self.bridged) {
            self.outputs.push_back(Output::DropLeg { leg: b.leg });
            self.outputs.push_back(Output::ReleaseResponder {
                responder: b.responder,
                result: TryResult::Answered,
                after: b.after,
            });
        }
        for t in self.ladder.take().map(|l| l.tries).unwrap_or_default() {
            if !t.answered {
                self.outputs.push_back(Output::DropLeg { leg: t.leg });
                self.close_try(now, &t, TryResult::Superseded);
            }
        }
    }
}
