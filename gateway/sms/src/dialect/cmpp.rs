//! CMPP in the common words.

use codecs::sms::cmpp::{self, Deliver, Pdu, Version};
use codecs::sms::{Alphabet, PduError};

use super::{Delivery, DeliveryId, Event, Message, Read, Sequence, Verdict, fate_of, text};

pub(super) fn read(version: Version, frame: &[u8]) -> Read {
    match cmpp::read(version, frame) {
        Ok((counter, pdu)) => (number(counter), Ok(event(pdu))),
        Err(error) => {
            let counter = frame.get(8..12).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
            (number(counter), Err(error))
        }
    }
}

fn number(counter: u32) -> Sequence {
    Sequence { counter, ..Sequence::default() }
}

fn event(pdu: Pdu<'_>) -> Event {
    match pdu {
        Pdu::ConnectResp { status, authenticator, .. } => {
            Event::LoginAnswered { status, proof: Some(authenticator.to_vec()) }
        }
        Pdu::SubmitResp { msg_id, result } => {
            let verdict = match result {
                cmpp::OK => Verdict::Accepted,
                cmpp::FLOW_CONTROL => Verdict::Busy,
                other => Verdict::Refused(other),
            };
            Event::Submitted { verdict, carrier_id: msg_id.to_be_bytes().to_vec(), congested: false }
        }
        Pdu::Deliver(deliver) => delivered(&deliver),
        Pdu::Terminate => Event::Bye,
        Pdu::TerminateResp => Event::ByeAnswered,
        Pdu::ActiveTest => Event::KeepAlive,
        Pdu::ActiveTestResp => Event::KeepAliveAnswered,
        Pdu::Connect { .. } => Event::Unwanted(1),
        Pdu::Submit(_) => Event::Unwanted(4),
        Pdu::DeliverResp { .. } => Event::Nothing,
    }
}

fn delivered(d: &Deliver<'_>) -> Event {
    let mut id = DeliveryId { is_report: d.is_report, ..DeliveryId::default() };
    id.bytes[..8].copy_from_slice(&d.msg_id.to_be_bytes());
    if d.is_report {
        let report = cmpp::read_report(d.content);
        let (carrier_id, stat) = report.map_or((Vec::new(), &b""[..]), |r| (r.msg_id.to_be_bytes().to_vec(), r.stat));
        return Event::Reported { carrier_id, delivered: fate_of(stat), stat: text(stat), id };
    }
    let name = format!("{:016x}", d.msg_id);
    let alphabet = Alphabet::from_msg_fmt(d.msg_fmt);
    let delivery = Delivery::new(name, d.source, d.destination, alphabet, d.content, d.udhi);
    let delivery = Delivery { pseudonym: d.pseudonym, ..delivery };
    Event::Delivered(Box::new(delivery), id)
}

pub(super) fn write(version: Version, sequence: Sequence, message: &Message<'_>, out: &mut Vec<u8>) {
    let pdu = match message {
        Message::Login { account, secret, time } => {
            let account = cmpp::account(account);
            let authenticator = cmpp::authenticator(account, secret, *time);
            Pdu::Connect { account, authenticator, version: version.byte(), timestamp: *time }
        }
        Message::Submit(s) => Pdu::Submit(cmpp::Submit {
            total: s.segment.map_or(1, |p| p.total),
            number: s.segment.map_or(1, |p| p.number),
            report: true,
            level: if s.urgent { 9 } else { 1 },
            service: s.service.as_bytes(),
            udhi: s.segment.is_some(),
            msg_fmt: s.alphabet.msg_fmt(),
            account: s.account.as_bytes(),
            source: s.from.as_bytes(),
            destination: s.to.as_bytes(),
            destinations: 1,
            content: s.content,
        }),
        Message::Acknowledge { id, verdict } => {
            let msg_id = u64::from_be_bytes(std::array::from_fn(|i| id.bytes[i]));
            let result = match verdict {
                Verdict::Accepted => cmpp::OK,
                Verdict::Busy => cmpp::FLOW_CONTROL,
                Verdict::Refused(code) => *code,
            };
            Pdu::DeliverResp { msg_id, result }
        }
        Message::KeepAlive => Pdu::ActiveTest,
        Message::KeepAliveAnswer => Pdu::ActiveTestResp,
        Message::Bye => Pdu::Terminate,
        Message::ByeAnswer => Pdu::TerminateResp,
        // A DELIVER that cannot be read gets result 1, structure; CMPP has no way to refuse anything else.
        Message::Refuse { command: 5, error: PduError::Truncated(_) | PduError::Field(_) } => {
            Pdu::DeliverResp { msg_id: 0, result: 1 }
        }
        Message::Refuse { .. } | Message::LoginAnswer { .. } => return,
    };
    cmpp::write(version, sequence.counter, &pdu, out);
}
