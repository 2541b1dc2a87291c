//! Telephone audio as a machine: streams, jitter buffers, N−1 mixing, prompts, recording. One tick is 20 ms.
//!
//! Sans-IO: packets and `now` go in, packets, events and recording chunks come out. Knows no SIP and no police: a
//! room is a room, a track a number.

// Nothing that comes from outside may end a call: what can fail is a value, and each exception says why it cannot.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable, clippy::unwrap_used)
)]

mod engine;
mod jitter;
mod mixer;
pub mod negotiate;
mod recording;
mod source;
mod stream;

pub use engine::{Engine, Event, LegConfig, LegId, OutPacket, RoomId, Stats};
pub use source::Remote;

use std::sync::Arc;
use std::time::Duration;

/// How often `Engine::tick` is to be called.
pub const TICK: Duration = Duration::from_millis(20);

/// Companded A-law audio to be played, shared by every leg that plays it.
pub type Prompt = Arc<[u8]>;
