//! What the four protocols have in common, and who speaks which.

mod cmpp;
mod sgip;
mod smgp;
mod smpp;

use codecs::sms::cmpp::Version;
use codecs::sms::{Alphabet, PduError, Segment, user_data};
use codecs::time::Wall;

/// The protocol of a carrier and what only that one needs.
#[derive(Clone, Debug)]
pub enum Protocol {
    Cmpp(Version),
    /// Our node number: 3, area code, enterprise code.
    Sgip {
        node: u32,
    },
    Smgp,
    Smpp {
        system_type: String,
        /// What this centre means by `data_coding` 0.
        default_alphabet: Alphabet,
    },
}

impl Protocol {
    /// For records, metrics and configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Protocol::Cmpp(_) => "cmpp",
            Protocol::Sgip { .. } => "sgip",
            Protocol::Smgp => "smgp",
            Protocol::Smpp { .. } => "smpp",
        }
    }

    /// Whether a link is opened only when there is something to send: SGIP knows no keep-alive.
    pub fn is_lazy(&self) -> bool {
        matches!(self, Protocol::Sgip { .. })
    }

    /// Shortest and longest frame.
    pub fn frame_limits(&self) -> (usize, usize) {
        match self {
            Protocol::Cmpp(_) => codecs::sms::cmpp::FRAME,
            Protocol::Sgip { .. } => codecs::sms::sgip::FRAME,
            Protocol::Smgp => codecs::sms::smgp::FRAME,
            Protocol::Smpp { .. } => codecs::sms::smpp::FRAME,
        }
    }

    pub(crate) fn read(&self, frame: &[u8]) -> Read {
        match self {
            Protocol::Cmpp(version) => cmpp::read(*version, frame),
            Protocol::Sgip { .. } => sgip::read(frame),
            Protocol::Smgp => smgp::read(frame),
            Protocol::Smpp { default_alphabet, .. } => smpp::read(*default_alphabet, frame),
        }
    }

    pub(crate) fn write(&self, sequence: Sequence, message: &Message<'_>, out: &mut Vec<u8>) {
        match self {
            Protocol::Cmpp(version) => cmpp::write(*version, sequence, message, out),
            Protocol::Sgip { .. } => sgip::write(sequence, message, out),
            Protocol::Smgp => smgp::write(sequence, message, out),
            Protocol::Smpp { system_type, .. } => smpp::write(system_type, sequence, message, out),
        }
    }

    /// The number of our next request.
    pub(crate) fn sequence(&self, counter: u32, wall: Wall) -> Sequence {
        match self {
            Protocol::Sgip { node } => Sequence { node: *node, time: decimal_time(wall), counter },
            // SMPP counts from 1 to 0x7FFFFFFF; the others take any number.
            Protocol::Smpp { .. } => Sequence { node: 0, time: 0, counter: counter % 0x7FFF_FFFF + 1 },
            Protocol::Cmpp(_) | Protocol::Smgp => Sequence { node: 0, time: 0, counter },
        }
    }
}

/// `MMDDHHMMSS` in Beijing, as the decimal number that logins carry.
pub(crate) fn decimal_time(wall: Wall) -> u32 {
    let c = wall.civil(8 * 3600);
    [c.month, c.day, c.hour, c.minute, c.second].iter().fold(0, |n, part| n * 100 + *part as u32)
}

/// Pairs an answer with its request; only SGIP uses the first two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Sequence {
    pub node: u32,
    pub time: u32,
    pub counter: u32,
}

/// How the carrier took a message of ours, or we one of its.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Accepted,
    /// Later: flow control, full queues, a store that cannot be written.
    Busy,
    /// Never, with the carrier's code.
    Refused(u32),
}

/// A message from a handset, or one part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Names it for good among this carrier's messages.
    pub message_id: String,
    /// The carrier's own number for it, or (SMPP knows none) one made of what it says.
    pub is_named_by_content: bool,
    pub from: String,
    pub to: String,
    /// `from` is a pseudonym, not a telephone number.
    pub pseudonym: bool,
    pub alphabet: Alphabet,
    pub octets: Vec<u8>,
    pub segment: Option<Segment>,
    /// Its header claimed more than there was.
    pub lying_header: bool,
}

impl Delivery {
    /// A message of `from` to `to`, its content behind its header where one is announced.
    fn new(message_id: String, from: &[u8], to: &[u8], alphabet: Alphabet, content: &[u8], udhi: bool) -> Delivery {
        let mut delivery = Delivery {
            message_id,
            is_named_by_content: false,
            from: text(from),
            to: text(to),
            pseudonym: false,
            alphabet,
            octets: Vec::new(),
            segment: None,
            lying_header: false,
        };
        delivery.set_content(content, udhi);
        delivery
    }

    /// Takes the header off the content where one is announced.
    fn set_content(&mut self, content: &[u8], udhi: bool) {
        if udhi {
            let data = user_data(content);
            (self.segment, self.lying_header) = (data.segment, data.lying);
            self.octets = data.content.to_vec();
        } else {
            self.octets = content.to_vec();
        }
    }
}

/// What a PDU says, in the same words for every protocol.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// The carrier's word on our login; whether its proof of the secret is ours is told apart (many send none).
    LoginAnswered {
        status: u32,
        proof: Option<Vec<u8>>,
    },
    /// A carrier that connects to us (SGIP).
    Login {
        login_type: u8,
        name: String,
        password: String,
    },
    Submitted {
        verdict: Verdict,
        carrier_id: Vec<u8>,
        congested: bool,
    },
    Delivered(Box<Delivery>, DeliveryId),
    Reported {
        carrier_id: Vec<u8>,
        delivered: Option<bool>,
        stat: String,
        id: DeliveryId,
    },
    KeepAlive,
    KeepAliveAnswered,
    Bye,
    ByeAnswered,
    /// An answer that nothing hangs on, or a request of no concern that was answered in `write`.
    Nothing,
    /// A request that this side does not take.
    Unwanted(u32),
    /// The answer to one of our requests was a refusal of the whole PDU.
    Nacked,
}

/// What the acknowledgement of a delivery has to repeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DeliveryId {
    pub bytes: [u8; 10],
    pub is_report: bool,
}

/// A frame, read: its number, and what it says or what is wrong with it.
pub(crate) type Read = (Sequence, Result<Event, PduError>);

/// What we say.
pub(crate) enum Message<'a> {
    Login {
        account: &'a str,
        secret: &'a str,
        time: u32,
    },
    LoginAnswer {
        accepted: bool,
    },
    Submit(Submit<'a>),
    Acknowledge {
        id: DeliveryId,
        verdict: Verdict,
    },
    KeepAlive,
    KeepAliveAnswer,
    Bye,
    ByeAnswer,
    /// Not understood, or not ours to answer.
    Refuse {
        command: u32,
        error: PduError,
    },
}

/// One part of a line on its way out.
pub(crate) struct Submit<'a> {
    pub account: &'a str,
    pub service: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub alphabet: Alphabet,
    pub segment: Option<Segment>,
    /// With its header in front when there is a segment.
    pub content: &'a [u8],
    pub urgent: bool,
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `DELIVRD` is delivered, states on the way are nothing yet, whatever else is final has failed.
pub(crate) fn fate_of(stat: &[u8]) -> Option<bool> {
    match stat.to_ascii_uppercase().as_slice() {
        b"DELIVRD" => Some(true),
        b"ACCEPTD" | b"ENROUTE" | b"" => None,
        _ => Some(false),
    }
}

/// The proof that the carrier knows the secret too, as each protocol computes it. Gateways disagree on the width of
/// the status inside: either is right.
pub(crate) fn proves(protocol: &Protocol, proof: &[u8], account: &str, secret: &str, time: u32) -> bool {
    match protocol {
        Protocol::Cmpp(_) => {
            use codecs::sms::cmpp as c;
            let client = c::authenticator(c::account(account), secret, time);
            [&[0][..], &[0; 4]].iter().any(|status| c::server_authenticator(status, &client, secret) == proof)
        }
        Protocol::Smgp => {
            use codecs::sms::smgp as c;
            let client = c::authenticator(c::client(account), secret, time);
            c::server_authenticator(0, &client, secret) == proof
        }
        Protocol::Sgip { .. } | Protocol::Smpp { .. } => true,
    }
}
