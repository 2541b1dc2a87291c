//! What phones do, and what comes of it.

use std::time::Duration;

use crate::line::PartyKey;

/// What a phone does when it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    Answer {
        after: Duration,
    },
    /// Rings and rings.
    RingOn,
    Busy,
    /// Answers at once and never says anything.
    Silent,
    /// Answers at once and hangs up a tenth of a second later.
    Quits,
}

/// What came to pass, as our sockets saw it.
#[derive(Clone, PartialEq, Debug)]
pub enum Happening {
    Registered {
        user: String,
    },
    /// A call of ours was answered.
    Answered {
        party: PartyKey,
    },
    Ringing {
        party: PartyKey,
    },
    /// A call of ours was refused, or timed out (408).
    Refused {
        party: PartyKey,
        code: u16,
    },
    /// A phone of ours is called; `number` is who calls.
    Called {
        party: PartyKey,
        user: String,
        number: String,
        alert_no: String,
    },
    /// ... and has answered.
    PickedUp {
        party: PartyKey,
        user: String,
        number: String,
    },
    /// The caller gave up before the phone answered.
    Cancelled {
        party: PartyKey,
    },
    /// The first audio came.
    Heard {
        party: PartyKey,
    },
    /// The voice of the call's caller (0), seat (1) or officer (2) was heard for the first time.
    Voice {
        party: PartyKey,
        role: u8,
    },
    Ended {
        party: PartyKey,
    },
}
