//! Rules that can be turned off, one at a time, to see that the checkers notice.

/// Each is a promise of the product, broken where the world touches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// A call whose seat did not pick up asks for another.
    ReOffer,
    /// A seat is reserved for one call.
    Reservation,
    /// A receiver drops what it has.
    DeDuplication,
    /// Nothing is acknowledged before the disk has it.
    SyncBeforeAcknowledgement,
    /// A seat comes back after its call.
    SeatRelease,
    /// An officer comes back after a try.
    ResponderRelease,
    /// A media port comes back after its leg.
    PortRelease,
    /// The journal keeps the order.
    JournalOrder,
    /// A cursor moves only past what was delivered.
    CursorAfterDelivery,
    /// Serials are reserved before they are used.
    SerialReservation,
    /// Every recording ends.
    RecordingEnd,
    /// An abandoned report is called back.
    CallBack,
    /// A revision is sealed and stays as it was sealed.
    Seal,
    /// The call's timers are served.
    CallTimers,
    /// A message sent twice is one report.
    MessageDeDuplication,
    /// A conversation that is over gives its place back.
    ConversationRelease,
    /// Whoever must not be heard is not written to.
    Silence,
    /// Missing parts and idle conversations are given up in time.
    CasebookTimers,
    /// Whoever was registered before a restart is offered calls after it.
    BindingsKept,
    /// A start knows everything that the journal tells.
    Replay,
    /// What third parties say and speak is nobody's of the parties.
    Strangers,
    /// An engine that does not lead any more takes nothing.
    Fence,
    /// An INVITE is left without what it has no room for.
    ShortInvites,
    /// Behind a router media is found by where it comes from.
    RouterKeepsPort,
    /// Nobody's media is sent to the gateway itself.
    OwnAddress,
    /// Of what one input makes a crash leaves all or nothing.
    Together,
}

impl Rule {
    pub const ALL: [Rule; 26] = [
        Rule::ReOffer,
        Rule::Reservation,
        Rule::DeDuplication,
        Rule::SyncBeforeAcknowledgement,
        Rule::SeatRelease,
        Rule::ResponderRelease,
        Rule::PortRelease,
        Rule::JournalOrder,
        Rule::CursorAfterDelivery,
        Rule::SerialReservation,
        Rule::RecordingEnd,
        Rule::CallBack,
        Rule::Seal,
        Rule::CallTimers,
        Rule::MessageDeDuplication,
        Rule::ConversationRelease,
        Rule::Silence,
        Rule::CasebookTimers,
        Rule::BindingsKept,
        Rule::Replay,
        Rule::Strangers,
        Rule::Fence,
        Rule::ShortInvites,
        Rule::RouterKeepsPort,
        Rule::OwnAddress,
        Rule::Together,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Rule::ReOffer => "re-offer",
            Rule::Reservation => "reservation",
            Rule::DeDuplication => "de-duplication",
            Rule::SyncBeforeAcknowledgement => "fsync-before-acknowledgement",
            Rule::SeatRelease => "seat-release",
            Rule::ResponderRelease => "responder-release",
            Rule::PortRelease => "port-release",
            Rule::JournalOrder => "journal-order",
            Rule::CursorAfterDelivery => "cursor-after-delivery",
            Rule::SerialReservation => "serial-reservation",
            Rule::RecordingEnd => "recording-end",
            Rule::CallBack => "call-back",
            Rule::Seal => "seal",
            Rule::CallTimers => "call-timers",
            Rule::MessageDeDuplication => "message-de-duplication",
            Rule::ConversationRelease => "conversation-release",
            Rule::Silence => "silence",
            Rule::CasebookTimers => "casebook-timers",
            Rule::BindingsKept => "bindings-kept",
            Rule::Replay => "replay",
            Rule::Strangers => "strangers",
            Rule::Fence => "fence",
            Rule::ShortInvites => "short-invites",
            Rule::RouterKeepsPort => "router-keeps-port",
            Rule::OwnAddress => "own-address",
            Rule::Together => "together",
        }
    }

    pub fn parse(name: &str) -> Option<Rule> {
        Rule::ALL.into_iter().find(|r| r.name() == name)
    }
}
