//! Whoever comes to the reporter: wanted by triage, by key or by time, climbed for on the ladder, heard in the call.

use std::time::Duration;

use codecs::record::{Role, TryResult};
use codecs::time::Mono;

use super::{CALLER, Call, Caller, Fact, Gone, Output, Target, Why};
use crate::escalation::{Ladder, Step, Try};
use crate::policy::{ANSWER_WITHIN, OFFICER_WITHIN};
use crate::{LegNo, ResponderId};

/// Responders in one conversation at most; with caller and seat it stays below what a room mixes.
const BRIDGED_MAX: usize = 12;

#[derive(Debug)]
pub(super) struct Bridged {
    leg: LegNo,
    responder: ResponderId,
    role: Role,
    /// How long they took to pick up: what the roster learns from.
    after: Duration,
    pub heard: bool,
    pub hears: bool,
    told: bool,
}

impl Call {
    /// An officer is in when both directions have carried audio.
    pub(super) fn mark_bridged(&mut self, now: Mono, leg: LegNo, mark: fn(&mut Bridged)) {
        let after = now.since(self.arrived);
        let Some(b) = self.bridged.iter_mut().find(|b| b.leg == leg) else { return };
        mark(b);
        if b.heard && b.hears && !std::mem::replace(&mut b.told, true) {
            let responder = b.responder;
            self.officer_breach_at = None;
            self.fact(Fact::Bridged { responder, after });
        }
    }

    pub(super) fn want_officer(&mut self, now: Mono, why: Why) {
        let trying = self.ladder.as_ref().is_some_and(Ladder::is_trying);
        if trying || self.over {
            return;
        }
        if self.caller != Caller::Connected {
            // Whoever triages need not sit at the call: it may still be ringing.
            self.wish = Some(why);
            return;
        }
        // A second wish, after the first has brought somebody or nobody, gets 30 s of its own.
        let deadline = if self.ladder.is_none() { self.arrived + OFFICER_WITHIN } else { now + OFFICER_WITHIN };
        if self.ladder.is_none() {
            self.officer_breach_at = Some(deadline);
        }
        self.fact(Fact::ResponderWanted { why, waited: now.since(self.arrived) });
        let mut ladder = Ladder::new(deadline, self.policy.try_at_least);
        let step = ladder.climb(now);
        self.ladder = Some(ladder);
        self.take_step(step);
    }

    /// Somebody is on the line: an officer who was asked for before is sought now.
    pub(super) fn grant_wish(&mut self, now: Mono) {
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
        let wanted = !self.over && self.bridged.len() < BRIDGED_MAX;
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

    /// One named responder instead of the ladder; the seat may hang up once they talk.
    pub(super) fn transfer_to(&mut self, now: Mono, responder: ResponderId, role: Role) {
        self.triage_at = None;
        let trying = self.ladder.as_ref().is_some_and(Ladder::is_trying);
        if !trying && !self.over && self.caller == Caller::Connected {
            self.ladder = Some(Ladder::of_one(now + OFFICER_WITHIN, self.policy.try_at_least));
        }
        self.responder_reserved(now, responder, role);
    }

    pub(super) fn no_responder(&mut self, now: Mono) {
        let Some(ladder) = &mut self.ladder else { return };
        let step = ladder.nobody(now);
        self.take_step(step);
        self.hold_for_a_seat(now);
    }

    /// The seat has left in trust of an officer who did not come: the caller is told to hold, and gets a seat again.
    fn hold_for_a_seat(&mut self, now: Mono) {
        let somebody = !self.takers.is_empty() || !self.bridged.is_empty();
        let coming = self.ladder.as_ref().is_none_or(Ladder::is_trying);
        if self.over || somebody || coming || self.caller != Caller::Connected || self.answered_at.is_none() {
            return;
        }
        self.ladder = None;
        self.answer_by = now + ANSWER_WITHIN;
        self.outputs.push_back(Output::PlayAttendant { leg: CALLER });
        self.want_seat();
    }

    pub(super) fn responder_answered(&mut self, now: Mono, leg: LegNo) {
        let Some(ladder) = &mut self.ladder else { return };
        let Some(mine) = ladder.tries.iter().find(|t| t.leg == leg && !t.answered) else { return };
        let (responder, role, after) = (mine.responder, mine.role, now.since(mine.started));
        for other in ladder.answered(leg) {
            self.outputs.push_back(Output::DropLeg { leg: other.leg });
            self.close_try(now, &other, Ladder::cut_off(other.answered));
        }
        self.fact(Fact::TryEnded { leg, responder, result: TryResult::Answered });
        self.bridged.push(Bridged { leg, responder, role, after, heard: false, hears: false, told: false });
        self.outputs.push_back(Output::Join { leg, role });
    }

    pub(super) fn responder_failed(&mut self, now: Mono, leg: LegNo, result: TryResult) {
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
        // Whoever is not there any more has not ended the call for the reporter.
        if gone == Gone::Lost && self.takers.is_empty() && self.bridged.is_empty() {
            return self.hold_for_a_seat(now);
        }
        self.end_if_nobody_is_left(now);
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
