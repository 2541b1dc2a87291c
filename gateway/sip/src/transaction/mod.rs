//! The four transaction machines of RFC 3261 17, with the Accepted states of RFC 6026.
//!
//! Each knows its state and its timers, nothing of dialogs or sockets. An input yields at most one effect, which
//! is why they return it instead of queueing: 100,000 of them linger 32 s after a busy second.

mod client;
mod invite_client;
mod invite_server;
mod server;

pub use client::Client;
pub use invite_client::InviteClient;
pub use invite_server::InviteServer;
pub use server::Server;

use bytes::Bytes;

/// What a timer of a transaction asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wake {
    Nothing,
    Send(Bytes),
    /// Nobody answered, or nobody acknowledged, for 64·T1.
    TimedOut,
}

/// What to do with a response that matched a client transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Hand it to the transaction user.
    Pass,
    /// The first final response other than 2xx to an INVITE: acknowledge it, then hand it on.
    PassAndAck,
    /// A repeat of such a response: acknowledge it again.
    Ack,
    Absorb,
}
