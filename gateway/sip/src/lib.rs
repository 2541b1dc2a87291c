//! RFC 3261 as machines: transactions, sessions, registrar, and the endpoint that wires them.
//!
//! Sans-IO: bytes and `now` go in, bytes and events come out. Never police here: a session is a session,
//! whoever calls.

// Nothing that comes from outside may end a call: what can fail is a value, and each exception says why it cannot.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable, clippy::unwrap_used)
)]

mod call_id;
mod dialog;
mod endpoint;
mod flow;
mod key;
mod mint;
mod registrar;
mod session;
mod timer;
pub mod transaction;
mod wheel;

pub use call_id::CallIds;
pub use endpoint::{
    Config, Counters, Endpoint, Event, Invitation, OutgoingInvite, OutgoingPage, Output, PageId, Refused,
};
pub use flow::{Flow, Path, Transport};
pub use mint::{Mint, Seed};
pub use registrar::{Account, Binding, Rules};
pub use session::{EndCause, SessionId};
pub use wheel::{Armed, TimerQueue};
