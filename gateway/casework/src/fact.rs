//! What can happen to an alert, in the words of the record.

use codecs::record::{
    Address, AlertNo, AnswerMode, Attached, Channel, Form, IncidentKind, LineState, Location, Media, Promise, Role,
    SeatInfo, Subscriber, TextLine, TryResult,
};

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
    /// The alert that it goes on from: that one's record is full.
    pub follows: Option<AlertNo>,
}

/// A message of the reporter.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    pub address: Address,
    pub message_id: String,
    pub body: String,
    pub forms: Vec<Form>,
    pub attachments: Vec<Attached>,
    /// The reporter's position, when the message says it, with the units that follow from it.
    pub place: Option<Place>,
    /// The machine's receipt, `{no}` standing for the number; none: the channel sends none.
    pub receipt: Option<String>,
    /// The reporter says that an answer would endanger them.
    pub silent: bool,
    /// Of texts that were too long.
    pub marks: Vec<&'static str>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    pub location: Location,
    pub jurisdiction: Vec<String>,
    pub owner: String,
}

/// What one alert gives to another when they become one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Belongings {
    pub lines: Vec<TextLine>,
    pub channels: Vec<Address>,
    pub locations: Vec<Location>,
    pub forms: Vec<Form>,
    pub silent: bool,
}

/// What can happen to an alert, by the section of its record.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    Arrived(Box<Arrival>),
    /// A report by message: its first.
    Written(Box<Arrival>, Box<Message>),
    Call(CallFact),
    Text(TextFact),
    Incident(IncidentFact),
    Dispatch(DispatchFact),
    Join(JoinFact),
    /// A promise was not kept; told once.
    Breach {
        promise: Promise,
    },
    Mark(&'static str),
}

/// What happens in the call of an alert, and to its recording.
#[derive(Clone, PartialEq, Debug)]
pub enum CallFact {
    /// Somebody listens to the call while it goes on.
    Listened,
    Offered {
        leg: u32,
        seat: SeatInfo,
    },
    /// The seat that was offered it on this leg, or had it there, was passed over: `no_answer`, `no_audio`, `dropped`.
    SeatFailed {
        leg: u32,
        why: &'static str,
    },
    /// After a taker who dropped it another has the call.
    TakenOver {
        leg: u32,
        seat: SeatInfo,
    },
    /// The call was refused with this status: nobody was ever connected.
    Refused {
        code: u16,
        reason: &'static str,
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
    LegEnded {
        leg: u32,
        role: Role,
        /// `hung_up`, or `vanished`.
        cause: &'static str,
    },
    Abandoned {
        attended: bool,
    },
    /// A call-back is on its way to the reporter.
    CallingBack,
    Unreached,
    Ended,
    /// The process died with this alert open; whatever was up is over.
    Interrupted,
    Recorded {
        media: Vec<Media>,
    },
}

/// What is written and said, and what becomes of it.
#[derive(Clone, PartialEq, Debug)]
pub enum TextFact {
    /// A further message of somebody who has an alert.
    Received(Box<Message>),
    /// A seat has the conversation.
    Held { seat: SeatInfo },
    /// A human's line to the reporter, by the channel used last or the one named. It is an answer once its channel has
    /// taken it.
    Replied {
        seat: SeatInfo,
        body: String,
        channel: Option<String>,
        /// The line that it answers: it goes to whoever wrote that.
        answers: Option<String>,
    },
    /// The first human line has been taken by its channel.
    AnsweredInWriting { mode: AnswerMode, after_ms: u64 },
    /// What became of a line of ours.
    LineState { line: String, state: LineState, why: String },
    /// A line of ours that its channel does not take goes by another of the reporter's.
    SentAgain { line: String, to: Address },
    /// A file that came with a message has been fetched, or never will be.
    Fetched {
        vendor_id: String,
        uri: String,
        sha256: String,
        kind: String,
        lost: String,
        /// Octets that it takes here.
        stored: u64,
    },
    /// The conversation is over.
    ConversationEnded,
    /// A line of what was said, from a transcriber or by hand.
    Said { by: String, body: String },
}

/// What is established about the event, and where it is.
#[derive(Clone, PartialEq, Debug)]
pub enum IncidentFact {
    /// Where the reporter is now, as their device says by itself: nobody's words.
    Tracked {
        location: Location,
    },
    Triaged {
        kind: IncidentKind,
        category: Option<String>,
        level: Option<u8>,
        text: String,
    },
    /// The reporter is here, as somebody established.
    Located(Box<Place>),
}

/// Who is sought for the reporter, and who came.
#[derive(Clone, PartialEq, Debug)]
pub enum DispatchFact {
    ResponderWanted { why: &'static str },
    Tried { leg: u32, unit: String, officer: String, role: Role, reason: String },
    TryEnded { leg: u32, officer: String, result: TryResult },
    Bridged { officer: String, after_ms: u64 },
    NobodyLeft,
}

/// Alerts that become one, or two again.
#[derive(Clone, PartialEq, Debug)]
pub enum JoinFact {
    /// This alert goes on as another: the first one keeps the reporter (首问负责).
    JoinedTo {
        other: AlertNo,
    },
    /// Another alert goes on as this one.
    Absorbed {
        other: AlertNo,
        belongings: Box<Belongings>,
    },
    /// A sender's messages are an alert of their own (again).
    SplitOff {
        other: AlertNo,
        address: Address,
    },
    SplitFrom {
        other: AlertNo,
    },
    /// Its reporter is called back for another alert of the same number.
    CalledBackAs {
        other: AlertNo,
    },
}
