//! The black box's other side: callers, seats, officers and a receiver, on the wire alone.
//!
//! Knows the formats of `codecs` and nothing of the gateway's machines, so that what it says of the gateway is
//! what any peer would say.

pub mod api;
pub mod app;
pub mod attention;
pub mod calls;
pub mod clock;
pub mod drill;
pub mod ear;
pub mod http;
mod line;
pub mod officers;
pub mod page;
pub mod peers;
pub mod receiver;
pub mod sweep;
pub mod text;
mod ua;
pub mod voice;

pub use ear::Ear;
pub use line::PartyKey;
pub use peers::{AgentId, Behaviour, Happening, Peers, Remote};
pub use voice::{Code, Voice};
