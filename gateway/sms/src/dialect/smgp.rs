//! SMGP in the common words.

use codecs::sip::auth::hex;
use codecs::sms::smgp::{self, Pdu};
use codecs::sms::{Alphabet, PduError};

use super::{Delivery, DeliveryId, Event, Message, Read, Sequence, Verdict, fate_of, text};

pub(super) fn read(frame: &[u8]) -> Read {
    match smgp::read(frame) {
        Ok((counter, pdu)) => (Sequence { counter, ..Sequence::default() }, Ok(event(pdu))),
        Err(error) => {
            let counter = frame.get(8..12).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
            (Sequence { counter, ..Sequence::default() }, Err(error))
        }
    }
}

fn event(pdu: Pdu<'_>) -> Event {
    match pdu {
        Pdu::LoginResp { status, authenticator, .. } => {
            Event::LoginAnswered { status, proof: Some(authenticator.to_vec()) }
        }
        Pdu::SubmitResp { msg_id, status } => {
            let verdict = match status {
                smgp::OK => Verdict::Accepted,
                smgp::BUSY | 75 => Verdict::Busy,
                other => Verdict::Refused(other),
            };
            Event::Submitted { verdict, carrier_id: msg_id.to_vec(), congested: false }
        }
        Pdu::Deliver(d) => {
            let id = DeliveryId { bytes: d.msg_id, is_report: d.is_report };
            if d.is_report {
                let report = smgp::read_report(d.content);
                let (carrier_id, stat) = report.map_or((Vec::new(), &b""[..]), |r| (r.msg_id.to_vec(), r.stat));
                return Event::Reported { carrier_id, delivered: fate_of(stat), stat: text(stat), id };
            }
            let alphabet = Alphabet::from_msg_fmt(d.msg_fmt);
            let delivery = Delivery::new(hex(&d.msg_id), d.source, d.destination, alphabet, d.content, d.udhi);
            Event::Delivered(Box::new(delivery), id)
        }
        Pdu::ActiveTest => Event::KeepAlive,
        Pdu::ActiveTestResp => Event::KeepAliveAnswered,
        Pdu::Exit => Event::Bye,
        Pdu::ExitResp => Event::ByeAnswered,
        Pdu::Login { .. } => Event::Unwanted(1),
        Pdu::Submit(_) => Event::Unwanted(2),
        Pdu::DeliverResp { .. } => Event::Nothing,
    }
}

pub(super) fn write(sequence: Sequence, message: &Message<'_>, out: &mut Vec<u8>) {
    let pdu = match message {
        Message::Login { account, secret, time } => {
            let client = smgp::client(account);
            let authenticator = smgp::authenticator(client, secret, *time);
            Pdu::Login { client, authenticator, mode: smgp::TRANSCEIVE, timestamp: *time, version: smgp::VERSION }
        }
        Message::Submit(s) => Pdu::Submit(smgp::Submit {
            report: true,
            priority: if s.urgent { 3 } else { 0 },
            service: s.service.as_bytes(),
            msg_fmt: s.alphabet.msg_fmt(),
            source: s.from.as_bytes(),
            destination: s.to.as_bytes(),
            destinations: 1,
            content: s.content,
            udhi: s.segment.is_some(),
            part: s.segment.map_or((1, 1), |p| (p.total, p.number)),
        }),
        Message::Acknowledge { id, verdict } => {
            let status = match verdict {
                Verdict::Accepted => smgp::OK,
                Verdict::Busy => smgp::BUSY,
                Verdict::Refused(code) => *code,
            };
            Pdu::DeliverResp { msg_id: id.bytes, status }
        }
        Message::KeepAlive => Pdu::ActiveTest,
        Message::KeepAliveAnswer => Pdu::ActiveTestResp,
        Message::Bye => Pdu::Exit,
        Message::ByeAnswer => Pdu::ExitResp,
        Message::Refuse { command: 3, error: PduError::Truncated(_) | PduError::Field(_) } => {
            Pdu::DeliverResp { msg_id: [0; 10], status: smgp::BAD_STRUCTURE }
        }
        Message::Refuse { .. } | Message::LoginAnswer { .. } => return,
    };
    smgp::write(sequence.counter, &pdu, out);
}
