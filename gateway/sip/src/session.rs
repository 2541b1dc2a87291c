//! One INVITE session seen from our side: invited or calling, then established, then over (RFC 3261 13, 14, 15).
//!
//! Holds what a session needs to remember; the endpoint moves it. The 2xx of a server session is repeated here
//! until its ACK comes, since RFC 3261 13.3.1.4 gives that to the transaction user.

use std::time::Duration;

use crate::dialog::{Dialog, Target};
use crate::flow::{Flow, Path};
use crate::key::Key;
use crate::timer::{T1, T1_64, T2};
use crate::wheel::Armed;
use bytes::Bytes;
use codecs::sip::{Fields, Message};
use codecs::time::Mono;

/// Names a session for as long as it lives and never another one after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Why a session is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndCause {
    /// The caller gave up before our answer.
    Cancelled,
    /// They sent BYE.
    RemoteBye,
    /// Our INVITE got this final response.
    Refused(u16),
    /// Our INVITE stayed without any response for 64·T1.
    TimedOut,
    /// Our 2xx was never acknowledged; a BYE went out.
    NoAck,
    /// What we sent could not be: no connection was to be had.
    Unreachable,
    /// Asked whether they are still there, they did not answer, or knew of no call; a BYE went out.
    Vanished,
}

#[derive(Debug)]
pub(crate) enum State {
    /// An INVITE came and has no final answer of ours yet.
    Invited { transaction: usize, invite: Box<Message>, fields: Fields, tag: String },
    /// Our INVITE is out. `cancelled`: the user wants it undone as soon as that may be said.
    Calling { transaction: usize, cancelled: bool },
    /// A 2xx went one way or the other.
    Established,
}

/// A 2xx that waits for its ACK.
#[derive(Debug)]
pub(crate) struct PendingOk {
    pub cseq: u32,
    pub bytes: Bytes,
    pub path: Path,
    repeat_at: Mono,
    interval: Duration,
    give_up_at: Mono,
}

impl PendingOk {
    pub(crate) fn new(now: Mono, cseq: u32, bytes: Bytes, path: Path) -> PendingOk {
        PendingOk { cseq, bytes, path, repeat_at: now + T1, interval: T1, give_up_at: now + T1_64 }
    }
    /// `None`: nobody acknowledged, give up. `Some(true)`: repeat now.
    pub(crate) fn handle_timeout(&mut self, now: Mono) -> Option<bool> {
        if self.give_up_at <= now {
            return None;
        }
        if self.repeat_at > now {
            return Some(false);
        }
        // Repeated over reliable transports as well: the last hop may not be one (RFC 3261 13.3.1.4).
        self.interval = (self.interval * 2).min(T2);
        self.repeat_at = now + self.interval;
        Some(true)
    }
    pub(crate) fn deadline(&self) -> Mono {
        self.repeat_at.min(self.give_up_at)
    }
}

/// A re-INVITE that waits for the user's answer.
#[derive(Debug)]
pub(crate) struct Reoffer {
    pub transaction: usize,
    pub request: Box<Message>,
    pub cseq: u32,
    /// Where it came from.
    pub flow: Flow,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub generation: u32,
    pub state: State,
    pub dialog: Option<Dialog>,
    /// Where the INVITE came from, or went to.
    pub flow: Flow,
    pub ok: Option<Box<PendingOk>>,
    pub reoffer: Option<Reoffer>,
    /// Our ACK to their 2xx, sent again whenever the 2xx comes again.
    pub ack: Option<Bytes>,
    /// The user has hung up; a BYE goes out as soon as the ACK allows it (RFC 3261 15).
    pub bye_wanted: Option<String>,
    /// The user knows that it is over: no further events.
    pub forgotten: bool,
    /// Our INVITE's CSeq, and the pieces a CANCEL or a non-2xx ACK copies.
    pub calling: Option<Box<Calling>>,
    /// It is being asked whether they are still there.
    pub probing: bool,
    /// Under which a second path of the same INVITE would be found.
    pub merged: Option<Key>,
    /// A cancelled INVITE that gets no final response is given up here (RFC 3261 9.1).
    pub give_up_at: Option<Mono>,
    pub armed: Armed,
}

#[derive(Debug)]
pub(crate) struct Calling {
    pub uri: Vec<u8>,
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    pub call_id: String,
    pub branch: String,
    pub cseq: u32,
    /// Where requests of the dialog will go.
    pub target: Target,
}

impl Session {
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let ok = self.ok.as_deref().map(PendingOk::deadline);
        match (ok, self.give_up_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}
