//! RFC 3261 as machines: transactions, sessions, registrar, and the endpoint that wires them.
//!
//! Sans-IO: bytes and `now` go in, bytes and events come out. Never police here: a session is a session,
//! whoever calls.

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

pub use endpoint::{Config, Counters, Endpoint, Event, Invitation, OutgoingInvite, OutgoingPage, Output, PageId};
pub use flow::{Flow, Transport};
pub use mint::{Mint, shard_of_minted};
pub use registrar::{Account, Binding};
pub use session::{EndCause, SessionId};
pub use wheel::{Armed, TimerQueue};
