//! One call, from its arrival until every leg is gone: answered within 3 s, an officer within 30.
//!
//! Asks for seats and responders by output, hears of them by input; starts, joins and drops legs by number. What it
//! decides is told as facts, in order, for the record.

mod asked;
mod message;
mod officers;
mod takers;

use std::collections::VecDeque;

use std::time::Duration;

use codecs::record::{Promise, Role, TryResult};
use codecs::time::Mono;

use crate::{LegNo, ResponderId};

pub use message::{Fact, Gone, Input, Output, SeatFailure, Target, Why};

/// The reporter's leg.
pub const CALLER: LegNo = LegNo(0);

use crate::escalation::{Ladder, RING_AT_MOST};
use crate::policy::{ANSWER_WITHIN, Policy, TRUST};
use crate::seat::{Outcome, SeatId};
use asked::Asked;
use officers::Bridged;
use takers::Takers;

/// Where the reporter's own leg stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Caller {
    /// Their INVITE waits for our answer.
    Calling,
    /// Answered by us: the machine's words or a human's.
    Connected,
    /// A call-back that rings.
    BeingCalled,
    Gone,
}

pub struct Call {
    arrived: Mono,
    policy: Policy,
    caller: Caller,
    /// We called the reporter back.
    is_call_back: bool,
    takers: Takers,
    /// The attendant has answered; a human still has not.
    attended: bool,
    /// The taker who had the caller has dropped them, and nobody has them yet.
    dropped: bool,
    /// When a human answered, by the contract's meaning.
    answered_at: Option<Mono>,
    /// By when a seat is wanted; a re-offer keeps it.
    answer_by: Mono,
    /// The caller has been left to whoever rings; if nobody is with them by then, they get a seat again.
    trust_until: Option<Mono>,
    attendant_at: Option<Mono>,
    breach_at: Option<Mono>,
    triage_at: Option<Mono>,
    /// An officer was asked for before there was anybody on the line.
    wish: Option<Why>,
    officer_breach_at: Option<Mono>,
    /// The promise of an officer was set once.
    officer_owed: bool,
    /// A call-back rings this long.
    ring_until: Option<Mono>,
    ladder: Option<Ladder>,
    /// Those who are asked in by name.
    asked: Asked,
    /// Responders in the conversation, and whether they are heard and hear.
    bridged: Vec<Bridged>,
    caller_heard: bool,
    /// Their telephone takes our audio. Where it does not nobody has answered them, however long a taker listens.
    caller_listens: bool,
    next_leg: u32,
    over: bool,
    outputs: VecDeque<Output>,
}

impl Call {
    /// An INVITE has arrived.
    pub fn arrived(now: Mono, policy: Policy) -> Call {
        let answer_by = now + ANSWER_WITHIN;
        let mut call = Call::blank(now, policy, Caller::Calling);
        call.attendant_at = Some(answer_by - call.policy.attendant_lead);
        call.breach_at = Some(answer_by);
        if call.policy.attendant_only {
            call.breach_at = None;
            call.attendant_at = None;
            call.attend(now);
        } else {
            call.triage_at = Some(now + call.policy.triage_grace);
            call.want_seat();
        }
        call
    }

    /// An abandoned report is called back. No seat is spent on it before the reporter has picked up.
    pub fn calling_back(now: Mono, policy: Policy) -> Call {
        let mut call = Call::blank(now, policy, Caller::BeingCalled);
        call.is_call_back = true;
        call.ring_until = Some(now + RING_AT_MOST);
        call.outputs.push_back(Output::StartLeg { leg: CALLER, target: Target::Reporter, role: Role::Reporter });
        call
    }

    /// How long the reporter has been on the line.
    pub fn waits(&self, now: Mono) -> Duration {
        now.since(self.arrived)
    }

    fn blank(now: Mono, policy: Policy, caller: Caller) -> Call {
        Call {
            arrived: now,
            policy,
            caller,
            is_call_back: false,
            takers: Takers::default(),
            attended: false,
            dropped: false,
            answered_at: None,
            answer_by: now + ANSWER_WITHIN,
            attendant_at: None,
            breach_at: None,
            triage_at: None,
            wish: None,
            officer_breach_at: None,
            officer_owed: false,
            ring_until: None,
            trust_until: None,
            ladder: None,
            asked: Asked::default(),
            bridged: Vec::new(),
            caller_heard: false,
            caller_listens: true,
            next_leg: 1,
            over: false,
            outputs: VecDeque::new(),
        }
    }

    pub fn handle_input(&mut self, now: Mono, input: Input) {
        debug_assert!(self.outputs.is_empty(), "drain every output before the next input");
        match input {
            Input::SeatReserved { seat, overflow } => self.seat_reserved(now, seat, overflow),
            Input::ResponderReserved { responder, role } => self.responder_reserved(now, responder, role),
            Input::NoResponder => self.no_responder(now),
            Input::LegRinging { leg } => self.leg_ringing(leg),
            Input::LegAnswered { leg } => self.leg_answered(now, leg),
            Input::LegFailed { leg, result } => self.leg_failed(now, leg, result),
            Input::LegEnded { leg, gone } => self.leg_ended(now, leg, gone),
            Input::Played { leg } => self.played(now, leg),
            Input::LegHeard { leg } => self.leg_heard(now, leg),
            Input::LegHears { leg, from } => self.leg_hears(now, leg, from),
            Input::CallerListens { yes } => self.caller_listens(yes),
            Input::CallerSilent => self.caller_silent(),
            Input::Triaged { kind } => {
                self.triage_at = None;
                self.wish = None;
                if kind.wants_officer() {
                    self.want_officer(now, Why::Triage);
                }
            }
            Input::ThreeWay => {
                self.triage_at = None;
                self.want_officer(now, Why::Action);
            }
            Input::AskIn { responder, role } => self.ask_in(now, responder, role),
            Input::Drop { responder } => self.drop_responder(now, responder),
            Input::HangUp => self.end(now),
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        if due(&mut self.attendant_at, now) {
            self.attend(now);
        }
        if due(&mut self.breach_at, now) {
            self.fact(Fact::Breach { promise: Promise::Answer });
        }
        if self.is_to_have_triaged() && due(&mut self.triage_at, now) {
            self.want_officer(now, Why::Grace);
        }
        if due(&mut self.officer_breach_at, now) {
            self.fact(Fact::Breach { promise: Promise::Officer });
        }
        self.wake_takers(now);
        if due(&mut self.trust_until, now) {
            self.seat_for_whoever_is_alone(now);
        }
        let expired = |call: &Call| call.ladder.as_ref().and_then(|l| l.expired(now)).or(call.asked.expired(now));
        while let Some(leg) = expired(self) {
            self.outputs.push_back(Output::DropLeg { leg });
            self.leg_failed(now, leg, TryResult::NoAnswer);
        }
        if due(&mut self.ring_until, now) && self.caller == Caller::BeingCalled {
            self.outputs.push_back(Output::DropLeg { leg: CALLER });
            self.leg_failed(now, CALLER, TryResult::NoAnswer);
        }
        if let Some(ladder) = self.ladder.as_mut().filter(|l| l.is_due(now)) {
            let step = ladder.climb(now);
            self.take_step(step);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        [
            (self.attendant_at, "attendant"),
            (self.breach_at, "T1 answer guarantee"),
            (self.triage_at.filter(|_| self.is_to_have_triaged()), "triage grace"),
            (self.officer_breach_at, "T2 officer guarantee"),
            (self.ring_until, "call-back rings out"),
            (self.takers.due(), "seat no answer"),
            (self.ladder.as_ref().and_then(Ladder::due), "next on the ladder"),
            (self.asked.due(), "whoever was asked in rings out"),
            (self.trust_until, "nobody has come"),
        ]
        .into_iter()
        .filter_map(|(at, why)| at.map(|at| (at, why)))
        .min()
    }

    /// The reporter is being rung.
    pub fn is_calling_back(&self) -> bool {
        self.caller == Caller::BeingCalled
    }

    /// The seats that talk, or are being asked, in this call.
    pub fn seats(&self) -> impl Iterator<Item = SeatId> {
        self.takers.seats()
    }

    /// Whether a human has been heard by the reporter.
    pub fn is_answered(&self) -> bool {
        self.answered_at.is_some()
    }

    /// Whether this one is being rung for the call, and is not in it.
    pub fn rings(&self, responder: ResponderId) -> bool {
        let tried = |l: &Ladder| l.tries.iter().any(|t| t.responder == responder && !t.answered);
        self.asked.has(responder) || self.ladder.as_ref().is_some_and(tried)
    }

    fn fact(&mut self, fact: Fact) {
        self.outputs.push_back(Output::Fact(fact));
    }

    fn new_leg(&mut self) -> LegNo {
        let leg = LegNo(self.next_leg);
        self.next_leg += 1;
        leg
    }

    fn leg_ringing(&mut self, leg: LegNo) {
        if self.takers.has(leg) && self.caller == Caller::Calling {
            self.outputs.push_back(Output::Ring);
        }
    }

    fn leg_answered(&mut self, now: Mono, leg: LegNo) {
        if self.takers.has(leg) {
            self.taker_answered(now, leg);
        } else if leg == CALLER {
            self.reporter_answered(now);
        } else {
            self.responder_answered(now, leg);
        }
    }

    /// The reporter who is called back has picked up, and waits from now on no longer than any caller.
    fn reporter_answered(&mut self, now: Mono) {
        if self.caller != Caller::BeingCalled {
            return;
        }
        self.caller = Caller::Connected;
        self.ring_until = None;
        self.arrived = now;
        self.answer_by = now + ANSWER_WITHIN;
        self.breach_at = Some(self.answer_by);
        self.triage_at = Some(now + self.policy.triage_grace);
        self.outputs.push_back(Output::Join { leg: CALLER, role: Role::Reporter });
        self.outputs.push_back(Output::PlayAttendant { leg: CALLER });
        self.want_seat();
        self.grant_wish(now);
    }

    /// Declared degradation: the machine answers, asks where and what, and the place in line is kept.
    fn attend(&mut self, now: Mono) {
        if self.caller != Caller::Calling {
            return;
        }
        self.caller = Caller::Connected;
        self.attended = true;
        self.outputs.push_back(Output::AnswerCaller);
        self.outputs.push_back(Output::Join { leg: CALLER, role: Role::Reporter });
        self.outputs.push_back(Output::PlayAttendant { leg: CALLER });
        self.fact(Fact::AttendantAnswered { after: now.since(self.arrived) });
        self.grant_wish(now);
    }

    fn leg_failed(&mut self, now: Mono, leg: LegNo, result: TryResult) {
        if self.takers.has(leg) {
            self.taker_failed(now, leg, SeatFailure::NoAnswer);
        } else if leg == CALLER {
            self.caller_gone(now);
        } else {
            self.responder_failed(now, leg, result);
        }
    }

    fn leg_ended(&mut self, now: Mono, leg: LegNo, gone: Gone) {
        if leg == CALLER {
            if gone == Gone::Lost {
                self.fact(Fact::LegEnded { leg, role: Role::Reporter, gone });
            }
            self.caller_gone(now);
        } else if self.takers.has(leg) {
            self.taker_ended(now, leg, gone);
        } else {
            self.responder_ended(now, leg, gone);
        }
    }

    /// The others talk on as long as the reporter has somebody to talk to, or somebody is on the way.
    fn end_if_nobody_is_left(&mut self, now: Mono) {
        let somebody = !self.takers.is_empty() || !self.bridged.is_empty();
        match (somebody, self.somebody_comes()) {
            (true, _) => {}
            (false, true) => _ = self.trust_until.get_or_insert(now + TRUST),
            (false, false) => self.end(now),
        }
    }

    /// Somebody is there to have triaged: heard by the reporter, or listening to one who cannot hear them.
    fn has_a_taker(&self) -> bool {
        self.answered_at.is_some() || !self.caller_listens && self.takers.holder().is_some()
    }

    /// Before a human has answered there is nobody to have triaged: the grace waits for them, and for whom of the police
    /// they have asked in.
    fn is_to_have_triaged(&self) -> bool {
        self.has_a_taker() && !self.asked.police()
    }

    fn caller_listens(&mut self, yes: bool) {
        if std::mem::replace(&mut self.caller_listens, yes) && !yes && self.answered_at.is_none() {
            self.fact(Fact::Deaf);
        }
    }

    fn caller_silent(&mut self) {
        if !self.caller_heard {
            self.fact(Fact::Silent);
        }
    }

    fn leg_heard(&mut self, now: Mono, leg: LegNo) {
        if leg == CALLER && !std::mem::replace(&mut self.caller_heard, true) && self.answered_at.is_some() {
            self.fact(Fact::TwoWay);
        }
        self.taker_heard(now, leg);
        self.mark_bridged(now, leg, |b| b.heard = true);
    }

    fn leg_hears(&mut self, now: Mono, leg: LegNo, from: LegNo) {
        let unanswered = self.answered_at.is_none() || self.dropped;
        if leg == CALLER && self.takers.holder() == Some(from) && unanswered {
            let first = self.answered_at.is_none();
            self.human_answered(now);
            if first && self.caller_heard {
                self.fact(Fact::TwoWay);
            }
        }
        self.mark_bridged(now, leg, |b| b.hears = true);
    }

    fn caller_gone(&mut self, now: Mono) {
        if self.over {
            return;
        }
        let has_talked = self.answered_at.is_some() && !self.dropped;
        if !has_talked && !self.policy.attendant_only {
            // Whoever was called back is called once: hanging up again is an end.
            let attended = self.attended || self.dropped;
            self.fact(if self.is_call_back { Fact::Unreached } else { Fact::Abandoned { attended } });
        }
        self.caller = Caller::Gone;
        self.end(now);
    }

    /// Lets go of everything.
    fn end(&mut self, now: Mono) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        (self.attendant_at, self.breach_at, self.triage_at, self.officer_breach_at) = (None, None, None, None);
        (self.ring_until, self.trust_until) = (None, None);
        self.end_takers();
        self.end_responders(now);
        self.end_asked(now);
        if self.caller != Caller::Gone {
            self.outputs.push_back(Output::DropLeg { leg: CALLER });
        }
        self.fact(Fact::Ended);
        self.outputs.push_back(Output::Over);
    }
}

/// Takes a deadline that has come.
fn due(at: &mut Option<Mono>, now: Mono) -> bool {
    at.take_if(|at| *at <= now).is_some()
}

#[cfg(test)]
mod asked_tests;
#[cfg(test)]
mod tests;
