//! The other side of written reports: operators' message centres, chat platforms, takers who answer, and their load.

pub mod apps;
pub mod centre;
pub mod messages;
pub mod platform;
pub mod takers;
mod wire;

use std::time::Duration;

/// What the gateway did, seen from its peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happening {
    /// It acknowledged a message of ours.
    Acknowledged { id: u64, at: Duration },
    /// It wants the message again: a negative answer.
    Refused { id: u64, at: Duration },
    /// It sent a line to one of our users.
    Line { to: String, text: String, at: Duration },
}

/// A message of one of our users.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    pub id: u64,
    pub from: String,
    pub text: String,
    /// Part `number` of `total` of a long one.
    pub part: Option<(u8, u8, u8)>,
}
