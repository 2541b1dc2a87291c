//! Whoever takes the call: asked one after the other, a second beside a first that is slow, until one is heard.
//!
//! A seat that has not picked up in half of its time, or that picks up and sends nothing for half a second, is no answer:
//! the next is asked beside it, and whoever is heard first has the caller. What a seat fails in one call may be the call's fault; it is charged to the seat when
//! another takes the same call.

use std::time::Duration;

use codecs::record::{AnswerMode, Role};
use codecs::time::Mono;

use super::{CALLER, Call, Caller, Fact, Gone, Outcome, Output, SeatFailure, Target};
use crate::LegNo;
use crate::seat::SeatId;

/// After its 200 a seat is expected to be heard within this; another is asked beside it then.
const HEARD_WITHIN: Duration = Duration::from_millis(500);
/// A seat that has had this long and was never heard has failed.
const SILENT_FAILS: Duration = Duration::from_secs(2);
/// Seats asked at one time.
const BESIDE: usize = 5;
/// A taker who is gone within this long has not taken the call: the caller goes to the next.
pub(super) const DROPPED_WITHIN: Duration = Duration::from_secs(5);
/// Seats asked one right after the other; beyond it a call waits longer from try to try, and at last asks no more.
const QUICK_TRIES: u32 = 6;
const TRIES_MAX: u32 = 20;
const NEXT_TRY_AFTER: Duration = Duration::from_secs(5);
const NEXT_TRY_AFTER_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum Phase {
    Inviting {
        beside_at: Mono,
        give_up_at: Mono,
    },
    /// It has picked up: its tone plays, or is over, and it is listened for.
    Answered {
        at: Mono,
        tone_over: bool,
        heard: bool,
    },
    /// It has the caller; settled once it has kept them for a while.
    Connected {
        since: Mono,
        settled: bool,
    },
}

#[derive(Debug)]
struct Taker {
    leg: LegNo,
    seat: SeatId,
    overflow: bool,
    /// It is slow, and another was asked beside it.
    late: bool,
    phase: Phase,
}

impl Taker {
    fn due(&self) -> Option<Mono> {
        match self.phase {
            Phase::Inviting { give_up_at, .. } if self.late => Some(give_up_at),
            Phase::Inviting { beside_at, give_up_at } => Some(beside_at.min(give_up_at)),
            Phase::Answered { heard: true, .. } | Phase::Connected { settled: true, .. } => None,
            Phase::Connected { since, settled: false } => Some(since + DROPPED_WITHIN),
            Phase::Answered { at, .. } if self.late => Some(at + SILENT_FAILS),
            Phase::Answered { at, .. } => Some(at + HEARD_WITHIN),
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected { .. })
    }
}

#[derive(Debug, Default)]
pub(super) struct Takers {
    asked: Vec<Taker>,
    /// The desk has been asked for one and has not said whom.
    wanted: bool,
    /// Different seats that failed this call.
    failed: Vec<SeatId>,
    tries: u32,
    /// When the next is asked for, once several have failed.
    next_at: Option<Mono>,
}

impl Takers {
    pub(super) fn has(&self, leg: LegNo) -> bool {
        self.asked.iter().any(|t| t.leg == leg)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    pub(super) fn seats(&self) -> impl Iterator<Item = SeatId> {
        self.asked.iter().map(|t| t.seat)
    }

    /// The leg that has the caller.
    pub(super) fn holder(&self) -> Option<LegNo> {
        self.asked.iter().find(|t| t.is_connected()).map(|t| t.leg)
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.asked.iter().filter_map(Taker::due).chain(self.next_at).min()
    }

    fn of(&mut self, leg: LegNo) -> Option<&mut Taker> {
        self.asked.iter_mut().find(|t| t.leg == leg)
    }

    fn take(&mut self, leg: LegNo) -> Option<Taker> {
        let at = self.asked.iter().position(|t| t.leg == leg)?;
        Some(self.asked.remove(at))
    }
}

impl Call {
    /// Asks the desk for a seat, once.
    pub(super) fn want_seat(&mut self) {
        if std::mem::replace(&mut self.takers.wanted, true) {
            return;
        }
        self.outputs.push_back(Output::WantSeat { answer_by: self.answer_by, avoid: self.takers.failed.clone() });
    }

    /// After a failure: at once while few have failed, later when many have.
    fn want_next_seat(&mut self, now: Mono) {
        let beyond = self.takers.tries.saturating_sub(QUICK_TRIES);
        if self.takers.tries >= TRIES_MAX {
            return;
        }
        if beyond == 0 && self.takers.tries < QUICK_TRIES {
            return self.want_seat();
        }
        let after = (NEXT_TRY_AFTER * (1 << beyond.min(4))).min(NEXT_TRY_AFTER_MAX);
        self.takers.next_at.get_or_insert(now + after);
    }

    pub(super) fn seat_reserved(&mut self, now: Mono, seat: SeatId, overflow: bool) {
        let asked_for = std::mem::take(&mut self.takers.wanted);
        let waits = matches!(self.caller, Caller::Calling | Caller::Connected) && self.takers.holder().is_none();
        if !asked_for || !waits || self.over || self.takers.asked.len() >= BESIDE {
            self.outputs.push_back(Output::ReleaseSeat { seat, outcome: Outcome::Unused });
            return;
        }
        let leg = self.new_leg();
        let within = self.policy.seat_answers_within;
        let phase = Phase::Inviting { beside_at: now + within / 2, give_up_at: now + within };
        self.takers.tries += 1;
        self.takers.asked.push(Taker { leg, seat, overflow, late: false, phase });
        self.fact(Fact::Offered { leg, seat });
        self.outputs.push_back(Output::StartLeg { leg, target: Target::Seat(seat), role: Role::Taker });
    }

    pub(super) fn taker_answered(&mut self, now: Mono, leg: LegNo) {
        let tone = self.policy.tone;
        let Some(taker) = self.takers.of(leg) else { return };
        taker.phase = Phase::Answered { at: now, tone_over: !tone, heard: false };
        if tone {
            self.outputs.push_back(Output::PlayTone { leg });
        }
    }

    pub(super) fn played(&mut self, now: Mono, leg: LegNo) {
        if let Some(Taker { phase: Phase::Answered { tone_over, .. }, .. }) = self.takers.of(leg) {
            *tone_over = true;
            self.connect_if_ready(now, leg);
        }
    }

    pub(super) fn taker_heard(&mut self, now: Mono, leg: LegNo) {
        if let Some(Taker { phase: Phase::Answered { heard, .. }, .. }) = self.takers.of(leg) {
            *heard = true;
            self.connect_if_ready(now, leg);
        }
    }

    /// The first that was heard has the caller; whoever else was asked is let go.
    fn connect_if_ready(&mut self, now: Mono, leg: LegNo) {
        let nobody_failed = self.takers.failed.is_empty();
        let Some(taker) = self.takers.of(leg) else { return };
        if !matches!(taker.phase, Phase::Answered { tone_over: true, heard: true, .. }) {
            return;
        }
        taker.phase = Phase::Connected { since: now, settled: nobody_failed };
        let mine = self.takers.take(leg);
        self.let_go_of_asked();
        self.takers.asked.extend(mine);
        self.attendant_at = None;
        self.outputs.push_back(Output::Join { leg, role: Role::Taker });
        match self.caller {
            Caller::Calling => {
                self.caller = Caller::Connected;
                self.outputs.push_back(Output::AnswerCaller);
                self.outputs.push_back(Output::Join { leg: CALLER, role: Role::Reporter });
                self.grant_wish(now);
            }
            Caller::Connected => self.outputs.push_back(Output::StopPlaying { leg: CALLER }),
            Caller::BeingCalled | Caller::Gone => {}
        }
    }

    /// Nobody who is being asked is needed any more.
    fn let_go_of_asked(&mut self) {
        self.takers.next_at = None;
        if std::mem::take(&mut self.takers.wanted) {
            self.outputs.push_back(Output::UnwantSeat);
        }
        for other in std::mem::take(&mut self.takers.asked) {
            self.outputs.push_back(Output::DropLeg { leg: other.leg });
            self.outputs.push_back(Output::ReleaseSeat { seat: other.seat, outcome: Outcome::Unused });
        }
    }

    /// The taker's voice has gone out to the reporter.
    pub(super) fn human_answered(&mut self, now: Mono) {
        let Some(taker) = self.takers.asked.iter().find(|t| t.is_connected()) else { return };
        let mode = if taker.overflow { AnswerMode::Overflow } else { AnswerMode::Seat };
        let (leg, seat) = (taker.leg, taker.seat);
        if std::mem::take(&mut self.dropped) && self.answered_at.is_some() {
            return self.fact(Fact::TakenOver { leg, seat });
        }
        self.answered_at = Some(now);
        self.breach_at = None;
        let after = now.since(self.arrived);
        self.fact(Fact::Answered { leg, seat, mode, after });
    }

    pub(super) fn wake_takers(&mut self, now: Mono) {
        if super::due(&mut self.takers.next_at, now) {
            self.want_seat();
        }
        while let Some(taker) = self.takers.asked.iter_mut().find(|t| t.due().is_some_and(|at| at <= now)) {
            let (leg, seat) = (taker.leg, taker.seat);
            match &mut taker.phase {
                Phase::Connected { settled, .. } => {
                    *settled = true;
                    self.settle_taker();
                }
                Phase::Inviting { give_up_at, .. } if *give_up_at <= now => {
                    self.give_up_taker(now, leg, SeatFailure::NoAnswer);
                }
                Phase::Answered { .. } if taker.late => self.give_up_taker(now, leg, SeatFailure::NoAudio),
                phase => {
                    let has_answered = matches!(phase, Phase::Answered { .. });
                    taker.late = true;
                    self.ask_beside(seat, has_answered);
                }
            }
        }
    }

    /// One that is slow has another beside it.
    fn ask_beside(&mut self, seat: SeatId, has_answered: bool) {
        if has_answered {
            self.fact(Fact::SeatLate { seat });
        }
        if self.takers.asked.len() < BESIDE && self.takers.tries < QUICK_TRIES {
            self.want_seat();
        }
    }

    /// Seats failed a call that another has kept: it was the seats, however many. Of a call that nobody kept nobody is
    /// charged.
    fn settle_taker(&mut self) {
        for &seat in &self.takers.failed {
            self.outputs.push_back(Output::ChargeSeat { seat });
        }
        self.takers.tries = 0;
    }

    fn give_up_taker(&mut self, now: Mono, leg: LegNo, why: SeatFailure) {
        self.outputs.push_back(Output::DropLeg { leg });
        self.taker_failed(now, leg, why);
    }

    /// The seat did not take the call: another is asked for, with the deadline there was.
    pub(super) fn taker_failed(&mut self, now: Mono, leg: LegNo, why: SeatFailure) {
        let Some(taker) = self.takers.take(leg) else { return };
        let seat = taker.seat;
        self.fact(Fact::SeatFailed { leg, seat, why });
        self.outputs.push_back(Output::ReleaseSeat { seat, outcome: Outcome::NotReached });
        if !self.takers.failed.contains(&seat) {
            self.takers.failed.push(seat);
        }
        // Whoever was asked beside it stands in its place already.
        let stands_in = taker.late && !self.takers.asked.is_empty();
        if self.takers.holder().is_none() && !stands_in {
            self.want_next_seat(now);
        }
    }

    pub(super) fn taker_ended(&mut self, now: Mono, leg: LegNo, gone: Gone) {
        let since = match self.takers.of(leg).map(|t| &t.phase) {
            Some(Phase::Connected { since, .. }) => *since,
            // Hung up before it had the caller: as if it had not picked up.
            Some(Phase::Inviting { .. } | Phase::Answered { .. }) => {
                return self.taker_failed(now, leg, SeatFailure::Dropped);
            }
            None => return,
        };
        self.fact(Fact::LegEnded { leg, role: Role::Taker, gone });
        let alone = self.bridged.is_empty() && (gone == Gone::Lost || !self.somebody_comes());
        // Whoever listened to a reporter that nothing can be said to has done what can be done.
        let unheard = self.answered_at.is_none() && self.caller_listens;
        let unfinished = gone == Gone::Lost || now.since(since) < DROPPED_WITHIN || unheard;
        if alone && unfinished && self.caller == Caller::Connected {
            // Never off: on to the next seat, ahead of whoever came later, with the machine's words meanwhile.
            self.dropped = true;
            self.outputs.push_back(Output::PlayAttendant { leg: CALLER });
            return self.taker_failed(now, leg, SeatFailure::Dropped);
        }
        if let Some(taker) = self.takers.take(leg) {
            self.outputs.push_back(Output::ReleaseSeat { seat: taker.seat, outcome: Outcome::Talked });
        }
        self.end_if_nobody_is_left(now);
    }

    /// Lets go of every seat, and of the wish for one.
    pub(super) fn end_takers(&mut self) {
        let holder = self.takers.holder().and_then(|leg| self.takers.take(leg));
        if let Some(taker) = holder {
            self.outputs.push_back(Output::DropLeg { leg: taker.leg });
            self.outputs.push_back(Output::ReleaseSeat { seat: taker.seat, outcome: Outcome::Talked });
        }
        self.let_go_of_asked();
    }
}
