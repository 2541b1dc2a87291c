//! What can happen to an alert, in the words of the record.

use std::time::Duration;

use codecs::geo::Point;
use codecs::record::{
    Address, AlertNo, AnswerMode, Assessment, Attached, Channel, External, Form, HandlingStep, Incident, LineState,
    Location, Media, Promise, Push, Role, SeatInfo, Subscriber, TextLine, TryResult, Writer,
};
use codecs::time::Mono;

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
    /// The telephone number that is theirs for certain; empty: none is known.
    pub phone: String,
    /// Others that were theirs for certain where they go on from.
    pub known: Vec<String>,
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
    /// It is an agency's, of a case of theirs.
    pub case: Option<Box<Case>>,
}

/// What an agency says of its own case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    pub external: External,
    /// Which of their words about it this is; they may come in any order.
    pub order: Option<u64>,
    /// Through how many agencies it came.
    pub hops: u8,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    pub location: Location,
    pub jurisdiction: Vec<String>,
    pub owner: String,
}

/// What goes along with people from one alert to another: with all of its writers when they become one, with one of them
/// when they are taken apart.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Belongings {
    /// What they said, and what was said to them.
    pub lines: Vec<TextLine>,
    /// Somebody is to read them: a conversation goes along.
    pub talks: bool,
    /// Nothing of them follows from the alert any more; the monotonic instant at which each is owed an answer.
    pub writers: Vec<(Writer, Option<Mono>)>,
    pub locations: Vec<Location>,
    pub forms: Vec<Form>,
    pub silent: bool,
    /// The unit that they complain of.
    pub complaint_of: Option<String>,
    /// What is known of the matter where they come from: a whole alert's, and nobody's who leaves one.
    pub matter: Option<Box<Incident>>,
    /// What agencies call it.
    pub external: Vec<External>,
    /// Who was told of it there.
    pub told: Vec<Push>,
    /// The answer that they are owed.
    pub answer: Answer,
}

/// How the promise of an answer stands of whoever goes from one alert to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Answer {
    /// A human has spoken to them.
    #[default]
    Had,
    /// It was told as broken.
    Broken,
    Owed,
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
    /// A target of the fan-out has taken its first revision.
    Acknowledged {
        target: String,
    },
    Handling(HandlingFact),
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
    /// Whoever called, or writes by these, asks for silence elsewhere: nothing rings for them, and they are not written to.
    Silenced { readers: Vec<Address> },
    /// A line of what was said, from a transcriber or by hand.
    Said { by: String, body: String },
}

/// What is established about the event, and where it is.
#[derive(Clone, PartialEq, Debug)]
pub enum IncidentFact {
    /// Where the reporter is now, as their device says by itself: nobody's words.
    Tracked { location: Location },
    /// What it does not name stays as it was.
    Triaged(Box<Assessment>),
    /// Said by somebody who overrules nobody: all of it stands on record, and of it what nobody has said yet holds.
    Told(Box<Assessment>),
    /// The reporter is here, as somebody established.
    Located(Box<Place>),
}

/// Who is sought for the reporter, and who came.
#[derive(Clone, PartialEq, Debug)]
pub enum DispatchFact {
    /// `waited`: so long they have been on the line.
    ResponderWanted {
        why: &'static str,
        waited: Duration,
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
    /// Their voice is in the call, and the call's in their ear.
    Bridged {
        officer: String,
        after_ms: u64,
    },
    /// A taker has asked in who is not of the police.
    AskedIn,
    /// Somebody who was asked for by name cannot be called.
    Missed {
        unit: String,
        officer: String,
        role: Role,
        result: TryResult,
    },
    NobodyLeft,
}

/// A step of those who act.
#[derive(Clone, PartialEq, Debug)]
pub struct HandlingFact {
    pub step: HandlingStep,
    /// The target whose step it is; empty: none.
    pub target: String,
    /// The officer whose step it is; empty: none.
    pub officer: String,
    /// The unit that owns the alert from here on.
    pub to: String,
    pub text: String,
    pub result_code: String,
    pub place: Option<Point>,
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
        belongings: Box<Belongings>,
    },
    /// A call that went on as this one, or this call that went on as another, is by itself again.
    Freed {
        other: AlertNo,
    },
    /// Its reporter is called back for another alert of the same number.
    CalledBackAs {
        other: AlertNo,
    },
}
