//! The dictionary of the house: bytes to types and back, no state across calls, no clock, no I/O.
//!
//! Every parser takes any bytes without panic and says what is wrong and where.

// Nothing that comes from outside may end a call: what can fail is a value, and each exception says why it cannot.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable, clippy::unwrap_used)
)]

pub mod address;
pub mod audio;
pub mod chat;
pub mod fold;
pub mod geo;
pub mod journal;
pub mod record;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod sms;
pub mod time;
pub mod webhook;
