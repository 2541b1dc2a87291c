//! SGIP in the common words.

use codecs::sms::Alphabet;
use codecs::sms::sgip::{self, Pdu};

use super::{Delivery, DeliveryId, Event, Message, Read, Sequence, Verdict, text};

pub(super) fn read(frame: &[u8]) -> Read {
    match sgip::read(frame) {
        Ok((s, pdu)) => (from_wire(s), Ok(event(s, pdu))),
        Err(error) => {
            let word = |at: usize| frame.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
            (Sequence { node: word(8), time: word(12), counter: word(16) }, Err(error))
        }
    }
}

fn from_wire(s: sgip::Sequence) -> Sequence {
    Sequence { node: s.node, time: s.time, counter: s.counter }
}

/// The twelve bytes that name a command for good.
fn name(s: sgip::Sequence) -> Vec<u8> {
    [s.node, s.time, s.counter].iter().flat_map(|n| n.to_be_bytes()).collect()
}

fn event(sequence: sgip::Sequence, pdu: Pdu<'_>) -> Event {
    match pdu {
        Pdu::Bind { login_type, name, password } => {
            Event::Login { login_type, name: text(name), password: text(password) }
        }
        Pdu::Unbind => Event::Bye,
        Pdu::UnbindResp => Event::ByeAnswered,
        Pdu::Deliver(d) => {
            let name = codecs::sip::auth::hex(&name(sequence));
            let alphabet = Alphabet::from_msg_fmt(d.msg_fmt);
            let delivery = Delivery::new(name, d.source, d.destination, alphabet, d.content, d.udhi);
            Event::Delivered(Box::new(delivery), DeliveryId::default())
        }
        Pdu::Report(r) => {
            let delivered = match r.state {
                0 => Some(true),
                1 => None,
                _ => Some(false),
            };
            let id = DeliveryId { is_report: true, ..DeliveryId::default() };
            Event::Reported { carrier_id: name(r.submit), delivered, stat: format!("error {}", r.error), id }
        }
        Pdu::Resp { command: 1, result } => Event::LoginAnswered { status: result.into(), proof: None },
        Pdu::Resp { command: 3, result } => {
            let verdict = match result {
                sgip::OK => Verdict::Accepted,
                sgip::BUSY => Verdict::Busy,
                other => Verdict::Refused(other.into()),
            };
            Event::Submitted { verdict, carrier_id: name(sequence), congested: false }
        }
        Pdu::Resp { .. } => Event::Nothing,
        Pdu::Submit(_) => Event::Unwanted(3),
        Pdu::UserRpt => Event::Unwanted(0x11),
    }
}

pub(super) fn write(sequence: Sequence, message: &Message<'_>, out: &mut Vec<u8>) {
    let s = sgip::Sequence { node: sequence.node, time: sequence.time, counter: sequence.counter };
    let with_86 = |number: &str| if number.starts_with("86") { number.to_owned() } else { format!("86{number}") };
    let to;
    let pdu = match message {
        Message::Login { account, secret, .. } => {
            Pdu::Bind { login_type: sgip::TO_GATEWAY, name: account.as_bytes(), password: secret.as_bytes() }
        }
        Message::LoginAnswer { accepted } => {
            Pdu::Resp { command: 1, result: if *accepted { sgip::OK } else { sgip::BAD_LOGIN } }
        }
        Message::Submit(m) => {
            to = with_86(m.to);
            Pdu::Submit(sgip::Submit {
                source: m.from.as_bytes(),
                destination: to.as_bytes(),
                destinations: 1,
                corporation: &m.account.as_bytes()[m.account.len().saturating_sub(5)..],
                service: m.service.as_bytes(),
                priority: if m.urgent { 9 } else { 0 },
                report: true,
                udhi: m.segment.is_some(),
                msg_fmt: m.alphabet.msg_fmt(),
                content: m.content,
            })
        }
        Message::Acknowledge { id, verdict } => {
            let result = match verdict {
                Verdict::Accepted => sgip::OK,
                Verdict::Busy => sgip::BUSY,
                Verdict::Refused(code) => *code as u8,
            };
            Pdu::Resp { command: if id.is_report { 5 } else { 4 }, result }
        }
        Message::Bye => Pdu::Unbind,
        Message::ByeAnswer => Pdu::UnbindResp,
        // A subscription's news is taken and means nothing here.
        Message::Refuse { command: 0x11, .. } => Pdu::Resp { command: 0x11, result: sgip::OK },
        Message::Refuse { command, .. } => Pdu::Resp { command: *command, result: sgip::BAD_COMMAND },
        Message::KeepAlive | Message::KeepAliveAnswer => return,
    };
    sgip::write(s, &pdu, out);
}
