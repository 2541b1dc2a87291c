//! The app channel's sessions as a machine: who is there, what they said and is not durable yet, what they were told and
//! have not acknowledged, where they go on after a connection was lost.
//!
//! One `Sessions` a channel. It knows the app protocol's frames and nothing of alerts or sockets: a report out is an
//! `Output::Report` that waits for its `stored`, a line in is kept until its app acknowledges it. Time is a parameter.
//!
//! Contract: feed one input, drain every output, feed the next.

// Nothing that comes from outside may end a call: what can fail is a value, and each exception says why it cannot.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable, clippy::unwrap_used)
)]

mod pace;
mod session;
mod sessions;

pub use session::{ConnId, Line};
pub use sessions::{Close, Config, Fate, Output, Sessions, Stored, Ticket};
