//! What passes between shard, desk and casebook, and what the outside may ask of them.

use std::time::Duration;

use codecs::geo::Point;
use codecs::record::{AlertNo, IncidentKind, Role, SeatInfo, TryResult};
use codecs::time::{Mono, Wall};
use dispatch::nearest::Place;
use dispatch::seat::{GroupId, Outcome, SeatId};
use dispatch::{CallKey, ResponderId, Rung};
use sip::{Binding, Flow};

/// An API request that waits for its answer; 0 when nobody waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RequestId(pub u64);

/// Why a request could not be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No such seat, officer or alert.
    NotFound(&'static str),
    /// It exists, and there is nothing to do it to: no call at this seat, an alert that is closed.
    Conflict(&'static str),
}

/// Done and durable, with the alert's number where there is one; or not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub request: RequestId,
    pub result: Result<Option<AlertNo>, Failure>,
}

/// What a call taker can do to the call at their seat.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    HangUp,
    /// Free at once, wrap-up or not.
    Ready,
    Triage {
        kind: IncidentKind,
        category: Option<String>,
        level: Option<u8>,
        text: String,
        place: Option<Place>,
    },
    ThreeWay,
    /// A named responder: police number or unit code.
    Transfer {
        to: String,
    },
}

/// Serials reserved on disk, `from` included, `until` not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SerialBlock {
    pub from: u32,
    pub until: u32,
}

/// Where a leg is to be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contact {
    pub flow: Flow,
    pub uri: Vec<u8>,
}

#[derive(Clone, Debug)]
pub enum ToDesk {
    WantSeat {
        call: CallKey,
        group: GroupId,
        answer_by: Mono,
    },
    UnwantSeat {
        call: CallKey,
    },
    ReleaseSeat {
        call: CallKey,
        seat: SeatId,
        outcome: Outcome,
    },
    WantResponder {
        call: CallKey,
        rung: Rung,
        share: Duration,
        place: Place,
    },
    ReleaseResponder {
        call: CallKey,
        responder: ResponderId,
        result: TryResult,
        after: Duration,
    },
    Registered {
        user: String,
        binding: Binding,
    },
    Unregistered {
        user: String,
    },
    /// A call's machine failed: give back whatever it held.
    CallFailed {
        call: CallKey,
    },
    /// The shard could not do what was asked; the desk passes it on.
    Refuse(Reply),
    SeatAction {
        seat: String,
        action: Action,
        request: RequestId,
    },
    Duty {
        officer: String,
        on_duty: bool,
        request: RequestId,
    },
    Position {
        officer: String,
        at: Point,
        request: RequestId,
    },
}

#[derive(Clone, Debug)]
pub enum ToShard {
    SeatReserved {
        call: CallKey,
        seat: SeatId,
        overflow: bool,
        info: SeatInfo,
        contact: Contact,
    },
    ResponderReserved(Box<ReservedResponder>),
    NoResponder {
        call: CallKey,
    },
    Action {
        call: CallKey,
        action: Action,
        request: RequestId,
    },
    /// An abandoned report: call its reporter back.
    CallBack {
        no: AlertNo,
        number: String,
        trunk: String,
    },
    Serials(SerialBlock),
}

#[derive(Clone, Debug)]
pub struct ReservedResponder {
    pub call: CallKey,
    pub responder: ResponderId,
    pub role: Role,
    pub no: String,
    pub unit: String,
    pub reason: String,
    /// Registered: their flow and Contact. Otherwise what to dial.
    pub contact: Option<Contact>,
    pub phone: String,
    /// Asked for by name, not by the ladder.
    pub transfer: bool,
}

#[derive(Clone, Debug)]
pub enum ToCasebook {
    Fact { no: AlertNo, at: Wall, fact: casework::Fact, request: RequestId },
}
