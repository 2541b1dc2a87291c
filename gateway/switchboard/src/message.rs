//! What passes between shard, desk and casebook, and what the outside may ask of them.

use std::net::SocketAddr;
use std::time::Duration;

use codecs::chat::SharedLocation;
use codecs::geo::Point;
use codecs::record::{
    Address, AlertNo, Assessment, Attached, Form, IncidentKind, LineState, Note, Role, SeatInfo, TryResult,
};
use codecs::sms::{Alphabet, Segment};
use codecs::time::Wall;
use dispatch::approach::Approaching;
use dispatch::callback::CallBack;
use dispatch::nearest::Place;
use dispatch::seat::{CallWant, Class, GroupId, Outcome, SeatId};
use dispatch::{CallKey, ResponderId, Rung};
use sip::{Binding, Flow, Transport};

/// An API request that waits for its answer; 0 when nobody waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RequestId(pub u64);

impl RequestId {
    const SHARD: u64 = 1 << 63;
    const CHANNEL: u64 = 1 << 62;
    /// Numbers of pages stay below this.
    pub(crate) const PAGE_LIMIT: u64 = RequestId::CHANNEL;

    /// A MESSAGE that a shard's endpoint waits to answer.
    pub fn of_page(page: u64) -> RequestId {
        RequestId(RequestId::SHARD | page)
    }

    /// A delivery that a carrier's link waits to acknowledge: which channel, and its own number for it.
    pub fn of_delivery(channel: u16, number: u64) -> RequestId {
        RequestId(RequestId::CHANNEL | u64::from(channel) << 46 | (number & ((1 << 46) - 1)))
    }

    /// The shard's page, if that is what waits.
    pub fn page(self) -> Option<u64> {
        (self.0 & RequestId::SHARD != 0).then_some(self.0 & !RequestId::SHARD)
    }

    /// The channel's delivery, if that is what waits.
    pub fn delivery(self) -> Option<(u16, u64)> {
        let is = self.0 & RequestId::CHANNEL != 0 && self.0 & RequestId::SHARD == 0;
        is.then_some(((self.0 >> 46) as u16, self.0 & ((1 << 46) - 1)))
    }
}

/// Why a request could not be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No such seat, officer or alert.
    NotFound(&'static str),
    /// It exists, and there is nothing to do it to: no call at this seat, an alert that is closed.
    Conflict(&'static str),
    /// The reporter must not be heard: nothing is written to them unasked.
    Silent,
    /// This sender has had stored what one may in a day.
    Quota,
    /// The store takes nothing, and as much waits for it as may.
    StoreFull,
}

/// Done and durable, with the alert's number where there is one; or not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub request: RequestId,
    pub result: Result<Option<AlertNo>, Failure>,
}

/// What a call taker can do to the call at their seat.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    HangUp,
    /// Free at once, wrap-up or not.
    Ready,
    Triage {
        said: Box<Assessment>,
        place: Option<Place>,
    },
    ThreeWay,
    /// Those named, all at once and each by itself: police numbers, unit codes, agencies.
    Transfer {
        to: Vec<String>,
    },
    /// One of those who ring for the call, or are in it, is let go.
    Drop {
        party: String,
    },
}

/// Serials reserved on disk, `from` included, `until` not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SerialBlock {
    pub from: u32,
    pub until: u32,
    /// The Beijing date that they are good on.
    pub date: u32,
}

/// Where a leg is to be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contact {
    pub flow: Flow,
    pub uri: Vec<u8>,
    /// A phone that has registered; else somebody's trunk.
    pub is_registered: bool,
}

#[derive(Clone, Debug)]
pub enum ToDesk {
    WantSeat {
        call: CallKey,
        want: CallWant,
    },
    UnwantSeat {
        call: CallKey,
    },
    ReleaseSeat {
        call: CallKey,
        seat: SeatId,
        outcome: Outcome,
    },
    /// Another seat has taken the call that this one failed.
    ChargeSeat {
        call: CallKey,
        seat: SeatId,
    },
    /// An abandoned report: its reporter is to be called back when there is room for it.
    CallBack(CallBack),
    /// A call-back has come to its end.
    CallBackOver {
        no: AlertNo,
    },
    /// From now on nothing may ring for this alert.
    Silence {
        no: AlertNo,
    },
    /// Where its reporter is known to be has changed: a call-back that is owed looks for the officer there.
    Moved {
        no: AlertNo,
        place: Place,
    },
    WantResponder {
        call: CallKey,
        rung: Rung,
        share: Duration,
        place: Place,
    },
    ReleaseResponder {
        call: CallKey,
        responder: ResponderId,
        result: TryResult,
        after: Duration,
    },
    Registered {
        user: String,
        binding: Binding,
        /// From before a restart: tried, and dropped when nobody answers there.
        restored: bool,
    },
    Unregistered {
        user: String,
    },
    /// A conversation wants a taker within this time; the seat of the same person's call first.
    WantConversation {
        alert: AlertNo,
        group: GroupId,
        class: Class,
        within: Duration,
        prefer: Option<String>,
        skills: u32,
    },
    /// A human has given it its first line.
    ConversationAnswered {
        alert: AlertNo,
    },
    ReleaseConversation {
        alert: AlertNo,
    },
    /// A call's machine failed: give back whatever it held.
    CallFailed {
        call: CallKey,
    },
    /// The shard could not do what was asked; the desk passes it on.
    Refuse(Reply),
    SeatAction {
        seat: String,
        action: Action,
        /// Who asks, as role and subject.
        by: String,
        request: RequestId,
    },
    Duty {
        officer: String,
        on_duty: bool,
        request: RequestId,
    },
    /// Whether somebody has a seat's page open.
    AtPage {
        seat: String,
        here: bool,
    },
    Position {
        officer: String,
        at: Point,
        /// Of the day, in Beijing: roads are slower in some.
        hour: u8,
        request: RequestId,
    },
    /// An officer has set out for an alert that is there.
    UnderWay {
        officer: String,
        no: AlertNo,
        to: Point,
        hour: u8,
    },
    /// They have arrived, or are not on the way any more.
    There {
        officer: String,
        no: AlertNo,
    },
}

#[derive(Clone, Debug)]
pub enum ToShard {
    SeatReserved {
        call: CallKey,
        seat: SeatId,
        overflow: bool,
        info: SeatInfo,
        contact: Contact,
    },
    ResponderReserved(Box<ReservedResponder>),
    NoResponder {
        call: CallKey,
    },
    Action {
        call: CallKey,
        action: Action,
        by: String,
        request: RequestId,
    },
    /// A taker has asked somebody in: those who can be had are reserved, and told of before this.
    AskedIn {
        call: CallKey,
        /// How many they are, and how many of them are of the police.
        called: usize,
        police: usize,
        missed: Vec<Missed>,
        by: String,
        request: RequestId,
    },
    /// Call the reporter back now.
    CallBack(CallBack),
    /// Nobody answers at a binding from before a restart.
    ForgetBinding {
        user: String,
    },
    /// For the shard that asked.
    Serials {
        shard: u16,
        block: SerialBlock,
    },
    /// From now on nothing may ring for this alert: a call-back under way is given up.
    Silence {
        no: AlertNo,
    },
    /// Where its reporter is known to be has changed.
    Moved {
        no: AlertNo,
        place: Place,
    },
    /// The alert was triaged by somebody who need not sit at its call.
    Triaged {
        no: AlertNo,
        kind: IncidentKind,
    },
    /// A SIP MESSAGE of ours.
    SendMessage(Box<OutgoingMessage>),
    /// What to answer to a MESSAGE, by the number it was handed over with.
    AnswerMessage {
        page: u64,
        status: u16,
    },
}

/// Text for an IMS telephone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutgoingMessage {
    /// Names the line.
    pub line: String,
    pub trunk: String,
    pub to: String,
    pub body: String,
}

#[derive(Clone, Debug)]
pub struct ReservedResponder {
    pub call: CallKey,
    pub responder: ResponderId,
    pub role: Role,
    pub no: String,
    pub unit: String,
    pub reason: String,
    /// Registered: their flow and Contact. Otherwise what to dial.
    pub contact: Option<Contact>,
    pub phone: String,
    /// Asked for by name, not by the ladder.
    pub by_name: bool,
}

/// Somebody who was asked for by name and cannot be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missed {
    pub role: Role,
    pub no: String,
    pub unit: String,
    /// Every line of theirs is taken, or they are off duty or unreachable.
    pub result: TryResult,
}

/// A message as a channel hands it over.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Which of our channels, and who on it.
    pub from: Address,
    pub message_id: String,
    /// The channel gives messages no number: the name is made of the content, and which connection it came by tells
    /// whether it was said again.
    pub session: Option<u64>,
    pub to: String,
    pub body: Body,
    pub forms: Vec<Form>,
    pub attachments: Vec<Attached>,
    pub location: Option<SharedLocation>,
    /// Their telephone number, as they or their client say it: a hint, until a taker confirms it. What a carrier
    /// delivers comes from its number, and needs no saying.
    pub phone: Option<String>,
    /// They say that an answer would endanger them.
    pub silent: bool,
    /// Told by their device by itself, and no word of theirs: where they are.
    pub is_ping: bool,
    /// It is an agency's; its sender is the case, by the agency's number.
    pub case: Option<Box<AgencyCase>>,
}

/// What an agency says of its case besides words.
#[derive(Clone, Debug)]
pub struct AgencyCase {
    pub case: casework::Case,
    /// The alert of ours that it is about.
    pub about: Option<AlertNo>,
    pub said: Assessment,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    Text(String),
    Octets { alphabet: Alphabet, octets: Vec<u8>, segment: Option<Segment> },
}

/// Where a phone was registered, as it is kept over a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptBinding {
    pub contact: String,
    pub transport: Transport,
    pub remote: SocketAddr,
    /// When it would have ended had it not been refreshed; a refresh is not written down.
    pub until: Wall,
}

#[derive(Clone, Debug)]
pub enum ToCasebook {
    /// The message is somebody's act.
    By {
        /// Role and subject.
        by: String,
        message: Box<ToCasebook>,
    },
    Fact {
        no: AlertNo,
        at: Wall,
        fact: casework::Fact,
        request: RequestId,
    },
    /// A triage of an alert, live or over, from wherever it is made.
    Triage {
        at: Wall,
        no: AlertNo,
        said: Box<Assessment>,
        place: Option<Place>,
        request: RequestId,
    },
    /// A step of those who act.
    Handle {
        at: Wall,
        no: AlertNo,
        step: Box<casework::HandlingFact>,
        request: RequestId,
    },
    Incoming {
        at: Wall,
        message: Box<Incoming>,
        request: RequestId,
    },
    /// The desk's word: this seat has the conversation.
    ConversationGiven {
        at: Wall,
        alert: AlertNo,
        seat: SeatInfo,
        overflow: bool,
    },
    /// It was taken back from a seat; another has it, or none yet.
    ConversationTakenBack {
        at: Wall,
        alert: AlertNo,
        seat: String,
    },
    /// A call taker's line.
    Say(Box<SayRequest>),
    /// A call taker puts the conversation down.
    Done {
        at: Wall,
        no: AlertNo,
        seat: String,
        request: RequestId,
    },
    /// `from` goes on as `to`.
    Join {
        at: Wall,
        from: AlertNo,
        to: AlertNo,
        request: RequestId,
    },
    /// A sender's messages become an alert of their own (again).
    Split {
        at: Wall,
        no: AlertNo,
        sender: Address,
        request: RequestId,
    },
    /// A call that was joined stands by itself again.
    SplitCall {
        at: Wall,
        no: AlertNo,
        call: AlertNo,
        request: RequestId,
    },
    /// What became of a line.
    LineState {
        at: Wall,
        line: String,
        state: LineState,
        why: String,
    },
    /// A line to anybody, alert or not.
    Send {
        at: Wall,
        line: String,
        to: Address,
        body: String,
        notice: bool,
        request: RequestId,
    },
    /// A phone has registered, or is gone: kept over a restart.
    Binding {
        at: Wall,
        user: String,
        binding: Option<KeptBinding>,
    },
    /// The desk's word: nobody is called back for this alert by itself.
    CallBackDropped {
        at: Wall,
        no: AlertNo,
        /// Its number is called back for this one.
        joined: Option<AlertNo>,
    },
    /// Tell a seat what it holds, once more.
    Tell {
        at: Wall,
        seat: String,
    },
    /// Tell an officer what they are called to, once more.
    TellOfficer {
        officer: String,
    },
    /// An officer comes nearer, or is there: whoever reported by an app is shown it.
    Approach {
        no: AlertNo,
        news: Approaching,
    },
    /// A change of duty, to be kept over a restart; answered when it is durable.
    Duty {
        at: Wall,
        officer: String,
        on_duty: bool,
        request: RequestId,
    },
    /// A note to be kept for a day, over a restart too; answered when it is durable.
    Remember {
        at: Wall,
        note: Box<Note>,
        request: RequestId,
    },
    /// A shard has few numbers left.
    WantSerials {
        at: Wall,
        shard: u16,
    },
}

#[derive(Clone, Debug)]
pub struct SayRequest {
    pub at: Wall,
    pub no: AlertNo,
    pub seat: String,
    pub body: String,
    /// Another of the reporter's channels than the one used last.
    pub channel: Option<String>,
    /// The reporter's line that it answers, by its name: it goes to whoever wrote that.
    pub answers: Option<String>,
    /// The conversation is over with this line.
    pub done: bool,
    /// The taker knows that the reporter must not be heard, and writes all the same.
    pub despite_silence: bool,
    pub request: RequestId,
}
