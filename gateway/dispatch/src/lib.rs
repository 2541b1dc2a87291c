//! Real time, seconds: who answers, who comes. The 3 s and the 30 s live here.
//!
//! Machines of decisions; they know no SIP, no packets, no records. A leg is a number, a target a name.

// Nothing that comes from outside may end a call: what can fail is a value, and each exception says why it cannot.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable, clippy::unwrap_used)
)]

pub mod approach;
pub mod call;
pub mod callback;
pub mod conversation;
mod escalation;
pub mod nearest;
pub mod officer;
pub mod policy;
pub mod seat;

pub use call::{CALLER, Call, Fact, Gone, Input, Output, SeatFailure, Target, Why};
pub use escalation::Rung;
pub use policy::Policy;
pub use seat::{SeatId, SeatPool};

/// A call, in whatever numbers its owner uses; never another call's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallKey(pub u64);

/// An officer, a duty room or a superior's room: anybody on the ladder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResponderId(pub u32);

/// A leg of a call, numbered by its call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LegNo(pub u32);
