//! The carriers' short message links as machines: log in, keep alive, deliver, submit, report, come back.
//!
//! One `Carrier` an operator, with as many links as it allows. It knows CMPP, SGIP, SMGP and SMPP by their dialect and
//! nothing of alerts: a message in is a `Delivery` that waits to be acknowledged, a message out is a `Line` that gets a
//! verdict and a fate. Time is a parameter, sockets belong to the shell.
//!
//! Contract: feed one input, drain every output and every link's outgoing bytes, then feed the next.

// Nothing that comes from outside may end a call: what can fail is a value, and each exception says why it cannot.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable, clippy::unwrap_used)
)]

mod carrier;
mod dialect;
mod link;

pub use carrier::{Carrier, CarrierConfig, Counters, Fate, Line, LinkId, Output, Token};
pub use dialect::{Delivery, Protocol, Verdict};
