//! What a call hears, asks for and tells.

use std::time::Duration;

use codecs::record::{AnswerMode, IncidentKind, Promise, Role, TryResult};
use codecs::time::Mono;

use crate::escalation::Rung;
use crate::seat::{Outcome, SeatId};
use crate::{LegNo, ResponderId};

/// Whom to call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Seat(SeatId),
    Responder(ResponderId),
    /// The reporter's own number, to call back.
    Reporter,
}

/// What sets the officer's leg off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    Triage,
    Action,
    /// Twelve seconds without a triage.
    Grace,
}

/// How an answered leg came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// They hung up.
    HungUp,
    /// They are not there any more: no packets, no answer, no connection.
    Lost,
    /// The taker has let them go.
    Dropped,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// The desk chose a seat for this call.
    SeatReserved {
        seat: SeatId,
        overflow: bool,
    },
    /// The desk reserved a responder for the rung asked for, or found nobody.
    ResponderReserved {
        responder: ResponderId,
        role: Role,
    },
    NoResponder,
    LegRinging {
        leg: LegNo,
    },
    LegAnswered {
        leg: LegNo,
    },
    /// The leg ended without having been answered.
    LegFailed {
        leg: LegNo,
        result: TryResult,
    },
    /// An answered leg is gone.
    LegEnded {
        leg: LegNo,
        gone: Gone,
    },
    /// What was played to the leg is over.
    Played {
        leg: LegNo,
    },
    /// First audio from the leg.
    LegHeard {
        leg: LegNo,
    },
    /// First audio of `from` has gone out to the leg.
    LegHears {
        leg: LegNo,
        from: LegNo,
    },
    /// Whether the reporter's telephone takes our audio, when it does not as telephones do.
    CallerListens {
        yes: bool,
    },
    /// The reporter says nothing: silent, perhaps unable to.
    CallerSilent,
    Triaged {
        kind: IncidentKind,
    },
    ThreeWay,
    /// The seat wants this one in the call, beside whoever else comes; the desk has reserved them already.
    AskIn {
        responder: ResponderId,
        role: Role,
    },
    /// The seat lets this one go, who rings for the call or is in it.
    Drop {
        responder: ResponderId,
    },
    /// The seat ends the call for everybody.
    HangUp,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    WantSeat {
        answer_by: Mono,
        /// Those that have failed this call.
        avoid: Vec<SeatId>,
    },
    UnwantSeat,
    ReleaseSeat {
        seat: SeatId,
        outcome: Outcome,
    },
    /// Another seat has taken the call that this one failed.
    ChargeSeat {
        seat: SeatId,
    },
    WantResponder {
        rung: Rung,
        share: Duration,
    },
    ReleaseResponder {
        responder: ResponderId,
        result: TryResult,
        after: Duration,
    },
    /// 180 to the reporter.
    Ring,
    /// 200 to the reporter.
    AnswerCaller,
    StartLeg {
        leg: LegNo,
        target: Target,
        role: Role,
    },
    DropLeg {
        leg: LegNo,
    },
    /// The 300 ms tone; `Played` follows.
    PlayTone {
        leg: LegNo,
    },
    /// The attendant's words, again and again.
    PlayAttendant {
        leg: LegNo,
    },
    StopPlaying {
        leg: LegNo,
    },
    Join {
        leg: LegNo,
        role: Role,
    },
    Fact(Fact),
    /// Nothing of the call is left; the machine may be dropped.
    Over,
}

/// Why a seat was passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeatFailure {
    /// It refused, or did not answer in time.
    NoAnswer,
    /// It answered and was not heard.
    NoAudio,
    /// It dropped the call within seconds of having it, or is not there any more.
    Dropped,
}

/// What goes on the record.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    Offered {
        leg: LegNo,
        seat: SeatId,
    },
    /// It has picked up and is not heard yet: another is asked beside it.
    SeatLate {
        seat: SeatId,
    },
    /// A seat that was offered the call, or had it, and is passed over.
    SeatFailed {
        leg: LegNo,
        seat: SeatId,
        why: SeatFailure,
    },
    AttendantAnswered {
        after: Duration,
    },
    Answered {
        leg: LegNo,
        seat: SeatId,
        mode: AnswerMode,
        after: Duration,
    },
    /// After a taker who dropped the call another has it.
    TakenOver {
        leg: LegNo,
        seat: SeatId,
    },
    TwoWay,
    Silent,
    /// Nothing can be said to the reporter: their telephone takes no audio.
    Deaf,
    ResponderWanted {
        why: Why,
        /// So long the reporter has been on the line.
        waited: Duration,
    },
    Tried {
        leg: LegNo,
        responder: ResponderId,
        rung: Role,
    },
    TryEnded {
        leg: LegNo,
        responder: ResponderId,
        result: TryResult,
    },
    Bridged {
        responder: ResponderId,
        role: Role,
        after: Duration,
    },
    NobodyLeft,
    LegEnded {
        leg: LegNo,
        role: Role,
        gone: Gone,
    },
    /// The reporter gave up before a human answered.
    Abandoned {
        attended: bool,
    },
    /// A call-back did not reach the reporter.
    Unreached,
    Breach {
        promise: Promise,
    },
    Ended,
}
