//! What can happen to an alert, in the words of the record.

use codecs::record::{AnswerMode, Channel, IncidentKind, Location, Media, Role, SeatInfo, Subscriber, TryResult};

/// What is known at the first byte of a report.
#[derive(Clone, PartialEq, Debug)]
pub struct Arrival {
    pub channel: Channel,
    pub caller: String,
    pub called: String,
    pub trunk: String,
    pub message_id: String,
    pub subscriber: Option<Subscriber>,
    pub location: Option<Location>,
    /// City, county, station, grid.
    pub jurisdiction: Vec<String>,
    /// The unit that owns the alert from its first moment.
    pub owner: String,
    /// Degradations known already, e.g. `number_unreserved`.
    pub marks: Vec<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    Arrived(Box<Arrival>),
    Offered {
        seat: SeatInfo,
    },
    AttendantAnswered,
    Answered {
        leg: u32,
        seat: SeatInfo,
        mode: AnswerMode,
        after_ms: u64,
    },
    TwoWay,
    Silent,
    Triaged {
        kind: IncidentKind,
        category: Option<String>,
        level: Option<u8>,
        text: String,
    },
    Located {
        location: Location,
        jurisdiction: Vec<String>,
        owner: String,
    },
    ResponderWanted {
        why: &'static str,
    },
    Tried {
        leg: u32,
        unit: String,
        officer: String,
        role: Role,
        reason: String,
    },
    TryEnded {
        leg: u32,
        officer: String,
        result: TryResult,
    },
    Bridged {
        officer: String,
        after_ms: u64,
    },
    NobodyLeft,
    LegEnded {
        leg: u32,
        role: Role,
    },
    Abandoned {
        attended: bool,
    },
    /// A call-back is on its way to the reporter.
    CallingBack,
    Unreached,
    Breach {
        timer: &'static str,
    },
    /// A line of what was said, from a transcriber or by hand.
    Said {
        by: String,
        body: String,
    },
    Mark(&'static str),
    Ended,
    /// The process died with this alert open; whatever was up is over.
    Interrupted,
    Recorded {
        media: Vec<Media>,
    },
}
