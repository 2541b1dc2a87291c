//! One call, from its arrival until every leg is gone: answered within 3 s, an officer within 30.
//!
//! Asks for seats and responders by output, hears of them by input; starts, joins and drops legs by number. What it
//! decides is told as facts, in order, for the record.

mod message;

use std::collections::VecDeque;
use std::time::Duration;

use codecs::record::{AnswerMode, Role, TryResult};
use codecs::time::Mono;

use crate::{LegNo, ResponderId};

pub use message::{Fact, Input, Output, Target, Why};

/// The reporter's leg.
pub const CALLER: LegNo = LegNo(0);

use crate::escalation::{Ladder, RING_AT_MOST, Step, Try};
use crate::policy::{ANSWER_WITHIN, OFFICER_WITHIN, Policy};
use crate::seat::{Outcome, SeatId};

/// Responders in one conversation at most; with caller and seat it stays below what a room mixes.
const BRIDGED_MAX: usize = 12;

/// Where the reporter's own leg stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Caller {
    /// Their INVITE waits for our answer.
    Calling,
    /// Answered by us: the machine's words or a human's.
    Connected,
    /// A call-back: to be called once a seat is there.
    ToBeCalled,
    BeingCalled,
    Gone,
}

#[derive(Debug)]
enum Phase {
    Inviting { give_up_at: Mono },
    Tone,
    Connected,
}

#[derive(Debug)]
struct SeatLeg {
    leg: LegNo,
    seat: SeatId,
    overflow: bool,
    phase: Phase,
}

pub struct Call {
    arrived: Mono,
    policy: Policy,
    caller: Caller,
    seat: Option<SeatLeg>,
    /// The attendant has answered; a human still has not.
    attended: bool,
    /// When a human answered, by the contract's meaning.
    answered_at: Option<Mono>,
    /// By when a seat is wanted; a re-offer keeps it.
    answer_by: Mono,
    attendant_at: Option<Mono>,
    breach_at: Option<Mono>,
    triage_at: Option<Mono>,
    officer_breach_at: Option<Mono>,
    /// A call-back rings this long.
    ring_until: Option<Mono>,
    ladder: Option<Ladder>,
    /// Responders in the conversation, and whether they are heard and hear.
    bridged: Vec<Bridged>,
    caller_heard: bool,
    next_leg: u32,
    over: bool,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Bridged {
    leg: LegNo,
    responder: ResponderId,
    role: Role,
    /// How long they took to pick up: what the roster learns from.
    after: Duration,
    heard: bool,
    hears: bool,
    told: bool,
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
            call.outputs.push_back(Output::WantSeat { answer_by });
        }
        call
    }

    /// An abandoned report is to be called back: a seat first, then the reporter.
    pub fn calling_back(now: Mono, policy: Policy) -> Call {
        let mut call = Call::blank(now, policy, Caller::ToBeCalled);
        // Behind every report that arrives in the next half minute, never before one.
        call.answer_by = now + OFFICER_WITHIN;
        call.outputs.push_back(Output::WantSeat { answer_by: call.answer_by });
        call
    }

    fn blank(now: Mono, policy: Policy, caller: Caller) -> Call {
        Call {
            arrived: now,
            policy,
            caller,
            seat: None,
            attended: false,
            answered_at: None,
            answer_by: now + ANSWER_WITHIN,
            attendant_at: None,
            breach_at: None,
            triage_at: None,
            officer_breach_at: None,
            ring_until: None,
            ladder: None,
            bridged: Vec::new(),
            caller_heard: false,
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
            Input::LegEnded { leg } => self.leg_ended(now, leg),
            Input::Played { leg } => self.played(now, leg),
            Input::LegHeard { leg } => self.leg_heard(now, leg),
            Input::LegHears { leg } => self.leg_hears(now, leg),
            Input::CallerSilent => self.caller_silent(),
            Input::Triaged { kind } => {
                self.triage_at = None;
                if kind.wants_officer() {
                    self.want_officer(now, Why::Triage);
                }
            }
            Input::ThreeWay => {
                self.triage_at = None;
                self.want_officer(now, Why::Action);
            }
            Input::TransferTo { responder, role } => self.transfer_to(now, responder, role),
            Input::HangUp => self.end(now),
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        if due(&mut self.attendant_at, now) {
            self.attend(now);
        }
        if due(&mut self.breach_at, now) {
            self.fact(Fact::Breach { timer: "T1" });
        }
        if self.answered_at.is_some() && due(&mut self.triage_at, now) {
            self.want_officer(now, Why::Grace);
        }
        if due(&mut self.officer_breach_at, now) {
            self.fact(Fact::Breach { timer: "T2" });
        }
        if self.seat.as_ref().is_some_and(|s| matches!(s.phase, Phase::Inviting { give_up_at } if give_up_at <= now)) {
            self.next_seat();
        }
        while let Some(leg) = self.ladder.as_ref().and_then(|l| l.expired(now)) {
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
        let seat = self.seat.as_ref().and_then(|s| match s.phase {
            Phase::Inviting { give_up_at } => Some(give_up_at),
            Phase::Tone | Phase::Connected => None,
        });
        [
            (self.attendant_at, "attendant"),
            (self.breach_at, "T1 answer guarantee"),
            // Before a human has answered there is nobody to have triaged: the grace waits for them.
            (self.triage_at.filter(|_| self.answered_at.is_some()), "triage grace"),
            (self.officer_breach_at, "T2 officer guarantee"),
            (self.ring_until, "call-back rings out"),
            (seat, "seat no answer"),
            (self.ladder.as_ref().and_then(Ladder::due), "next on the ladder"),
        ]
        .into_iter()
        .filter_map(|(at, why)| at.map(|at| (at, why)))
        .min()
    }

    /// The seat that talks, or is being asked, in this call.
    /// The reporter is being rung, or is about to be.
    pub fn is_calling_back(&self) -> bool {
        matches!(self.caller, Caller::ToBeCalled | Caller::BeingCalled)
    }

    pub fn seat(&self) -> Option<SeatId> {
        self.seat.as_ref().map(|s| s.seat)
    }

    fn fact(&mut self, fact: Fact) {
        self.outputs.push_back(Output::Fact(fact));
    }

    fn new_leg(&mut self) -> LegNo {
        let leg = LegNo(self.next_leg);
        self.next_leg += 1;
        leg
    }

    fn seat_reserved(&mut self, now: Mono, seat: SeatId, overflow: bool) {
        let wanted =
            self.seat.is_none() && matches!(self.caller, Caller::Calling | Caller::Connected | Caller::ToBeCalled);
        if !wanted || self.over {
            self.outputs.push_back(Output::ReleaseSeat { seat, outcome: Outcome::Unused });
            return;
        }
        let leg = self.new_leg();
        let phase = Phase::Inviting { give_up_at: now + self.policy.seat_answers_within };
        self.seat = Some(SeatLeg { leg, seat, overflow, phase });
        self.fact(Fact::Offered { seat });
        self.outputs.push_back(Output::StartLeg { leg, target: Target::Seat(seat), role: Role::Taker });
    }

    fn leg_ringing(&mut self, leg: LegNo) {
        let is_seat = self.seat.as_ref().is_some_and(|s| s.leg == leg);
        if is_seat && self.caller == Caller::Calling {
            self.outputs.push_back(Output::Ring);
        }
    }

    fn leg_answered(&mut self, now: Mono, leg: LegNo) {
        if let Some(seat) = self.seat.as_mut().filter(|s| s.leg == leg) {
            if self.policy.tone {
                seat.phase = Phase::Tone;
                self.outputs.push_back(Output::PlayTone { leg });
            } else {
                self.connect_seat(now);
            }
            return;
        }
        if leg == CALLER && self.caller == Caller::BeingCalled {
            self.caller = Caller::Connected;
            self.ring_until = None;
            self.outputs.push_back(Output::Join { leg: CALLER, role: Role::Reporter });
            return;
        }
        self.responder_answered(now, leg);
    }

    fn played(&mut self, now: Mono, leg: LegNo) {
        if self.seat.as_ref().is_some_and(|s| s.leg == leg && matches!(s.phase, Phase::Tone)) {
            self.connect_seat(now);
        }
    }

    /// The seat is on the line: now the reporter is answered and both are put together.
    fn connect_seat(&mut self, now: Mono) {
        let seat = self.seat.as_mut().expect("called with a seat");
        seat.phase = Phase::Connected;
        let leg = seat.leg;
        self.attendant_at = None;
        self.outputs.push_back(Output::Join { leg, role: Role::Taker });
        match self.caller {
            Caller::Calling => {
                self.caller = Caller::Connected;
                self.outputs.push_back(Output::AnswerCaller);
                self.outputs.push_back(Output::Join { leg: CALLER, role: Role::Reporter });
            }
            Caller::Connected => {
                self.outputs.push_back(Output::StopPlaying { leg: CALLER });
                // The attendant's audio has gone out long ago: the next packet carries the human.
                self.human_answered(now);
            }
            Caller::ToBeCalled => {
                self.caller = Caller::BeingCalled;
                self.ring_until = Some(now + RING_AT_MOST);
                self.outputs.push_back(Output::StartLeg {
                    leg: CALLER,
                    target: Target::Reporter,
                    role: Role::Reporter,
                });
            }
            Caller::BeingCalled | Caller::Gone => {}
        }
    }

    fn human_answered(&mut self, now: Mono) {
        let Some(seat) = &self.seat else { return };
        if self.answered_at.is_some() {
            return;
        }
        let mode = if seat.overflow { AnswerMode::Overflow } else { AnswerMode::Seat };
        let (leg, seat) = (seat.leg, seat.seat);
        self.answered_at = Some(now);
        self.breach_at = None;
        let after = now.since(self.arrived);
        self.fact(Fact::Answered { leg, seat, mode, after });
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
    }

    /// The seat did not pick up: it is let go, another is asked for, with the deadline there was.
    fn next_seat(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.outputs.push_back(Output::DropLeg { leg: seat.leg });
            self.outputs.push_back(Output::ReleaseSeat { seat: seat.seat, outcome: Outcome::NoAnswer });
        }
        self.outputs.push_back(Output::WantSeat { answer_by: self.answer_by });
    }

    fn leg_failed(&mut self, now: Mono, leg: LegNo, result: TryResult) {
        if self.seat.as_ref().is_some_and(|s| s.leg == leg) {
            return self.next_seat();
        }
        if leg == CALLER {
            if self.caller == Caller::BeingCalled {
                self.caller = Caller::Gone;
                self.fact(Fact::Unreached);
            }
            return self.caller_gone(now);
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

    fn leg_ended(&mut self, now: Mono, leg: LegNo) {
        if leg == CALLER {
            return self.caller_gone(now);
        }
        if let Some(seat) = self.seat.take_if(|s| s.leg == leg) {
            match seat.phase {
                // Hung up during the tone: as if it had not picked up.
                Phase::Inviting { .. } | Phase::Tone => {
                    self.outputs.push_back(Output::ReleaseSeat { seat: seat.seat, outcome: Outcome::NoAnswer });
                    self.outputs.push_back(Output::WantSeat { answer_by: self.answer_by });
                }
                Phase::Connected => {
                    self.outputs.push_back(Output::ReleaseSeat { seat: seat.seat, outcome: Outcome::Talked });
                    self.fact(Fact::LegEnded { leg, role: Role::Taker });
                    self.end_if_nobody_is_left(now);
                }
            }
            return;
        }
        if let Some(at) = self.bridged.iter().position(|b| b.leg == leg) {
            let gone = self.bridged.remove(at);
            self.fact(Fact::LegEnded { leg, role: gone.role });
            self.outputs.push_back(Output::ReleaseResponder {
                responder: gone.responder,
                result: TryResult::Answered,
                after: gone.after,
            });
            self.end_if_nobody_is_left(now);
        }
    }

    /// The others talk on as long as the reporter has somebody to talk to, or somebody is on the way.
    fn end_if_nobody_is_left(&mut self, now: Mono) {
        let somebody = self.seat.is_some() || !self.bridged.is_empty();
        let coming = self.ladder.as_ref().is_some_and(Ladder::is_trying);
        if !somebody && !coming {
            self.end(now);
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
        self.mark_bridged(now, leg, |b| b.heard = true);
    }

    fn leg_hears(&mut self, now: Mono, leg: LegNo) {
        let connected = self.seat.as_ref().is_some_and(|s| matches!(s.phase, Phase::Connected));
        if leg == CALLER && connected && self.answered_at.is_none() {
            self.human_answered(now);
            if self.caller_heard {
                self.fact(Fact::TwoWay);
            }
        }
        self.mark_bridged(now, leg, |b| b.hears = true);
    }

    /// An officer is in when both directions have carried audio.
    fn mark_bridged(&mut self, now: Mono, leg: LegNo, mark: fn(&mut Bridged)) {
        let after = now.since(self.arrived);
        let Some(b) = self.bridged.iter_mut().find(|b| b.leg == leg) else { return };
        mark(b);
        if b.heard && b.hears && !std::mem::replace(&mut b.told, true) {
            let responder = b.responder;
            self.officer_breach_at = None;
            self.fact(Fact::Bridged { responder, after });
        }
    }

    fn want_officer(&mut self, now: Mono, why: Why) {
        let trying = self.ladder.as_ref().is_some_and(Ladder::is_trying);
        if trying || self.over || self.caller != Caller::Connected {
            return;
        }
        // A second wish, after the first has brought somebody or nobody, gets 30 s of its own.
        let deadline = if self.ladder.is_none() { self.arrived + OFFICER_WITHIN } else { now + OFFICER_WITHIN };
        if self.ladder.is_none() {
            self.officer_breach_at = Some(deadline);
        }
        self.fact(Fact::ResponderWanted { why });
        let mut ladder = Ladder::new(deadline, self.policy.try_at_least);
        let step = ladder.climb(now);
        self.ladder = Some(ladder);
        self.take_step(step);
    }

    fn take_step(&mut self, step: Option<Step>) {
        match step {
            Some(Step::Reserve { rung, share }) => self.outputs.push_back(Output::WantResponder { rung, share }),
            Some(Step::Exhausted) => self.fact(Fact::NobodyLeft),
            None => {}
        }
    }

    fn responder_reserved(&mut self, now: Mono, responder: ResponderId, role: Role) {
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
    fn transfer_to(&mut self, now: Mono, responder: ResponderId, role: Role) {
        self.triage_at = None;
        let trying = self.ladder.as_ref().is_some_and(Ladder::is_trying);
        if !trying && !self.over && self.caller == Caller::Connected {
            self.ladder = Some(Ladder::of_one(now + OFFICER_WITHIN, self.policy.try_at_least));
        }
        self.responder_reserved(now, responder, role);
    }

    fn no_responder(&mut self, now: Mono) {
        let Some(ladder) = &mut self.ladder else { return };
        let step = ladder.nobody(now);
        self.take_step(step);
        self.hold_for_a_seat(now);
    }

    /// The seat has left in trust of an officer who did not come: the caller is told to hold, and gets a seat again.
    fn hold_for_a_seat(&mut self, now: Mono) {
        let somebody = self.seat.is_some() || !self.bridged.is_empty();
        let coming = self.ladder.as_ref().is_none_or(Ladder::is_trying);
        if self.over || somebody || coming || self.caller != Caller::Connected || self.answered_at.is_none() {
            return;
        }
        self.ladder = None;
        self.answer_by = now + ANSWER_WITHIN;
        self.outputs.push_back(Output::PlayAttendant { leg: CALLER });
        self.outputs.push_back(Output::WantSeat { answer_by: self.answer_by });
    }

    fn responder_answered(&mut self, now: Mono, leg: LegNo) {
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

    fn caller_gone(&mut self, now: Mono) {
        if self.over {
            return;
        }
        let reached = self.answered_at.is_some();
        if !reached && matches!(self.caller, Caller::Calling | Caller::Connected) && !self.policy.attendant_only {
            self.fact(Fact::Abandoned { attended: self.attended });
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
        self.ring_until = None;
        match self.seat.take() {
            Some(seat) => {
                let talked = matches!(seat.phase, Phase::Connected);
                self.outputs.push_back(Output::DropLeg { leg: seat.leg });
                let outcome = if talked { Outcome::Talked } else { Outcome::Unused };
                self.outputs.push_back(Output::ReleaseSeat { seat: seat.seat, outcome });
            }
            None => self.outputs.push_back(Output::UnwantSeat),
        }
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
mod tests;
