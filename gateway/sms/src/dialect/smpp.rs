//! SMPP in the common words.

use codecs::sms::smpp::{self, Address, Header, Pdu};
use codecs::sms::{Alphabet, PduError};

use super::{Delivery, DeliveryId, Event, Message, Read, Sequence, Verdict, fate_of, text};

/// A centre that says this much of `congestion_state` (5.0) is nearing its limit.
const CONGESTED: u8 = 90;

pub(super) fn read(default: Alphabet, frame: &[u8]) -> Read {
    let number = |h: Header| Sequence { counter: h.sequence, ..Sequence::default() };
    match smpp::read(frame) {
        Ok((header, pdu)) => (number(header), Ok(event(default, header, pdu))),
        Err((header, error)) => (number(header), Err(error)),
    }
}

fn event(default: Alphabet, header: Header, pdu: Pdu<'_>) -> Event {
    match pdu {
        Pdu::BindResp { .. } => Event::LoginAnswered { status: header.status, proof: None },
        Pdu::SubmitResp { message_id, congestion } => {
            let verdict = match header.status {
                smpp::OK => Verdict::Accepted,
                smpp::THROTTLED | smpp::QUEUE_FULL => Verdict::Busy,
                other => Verdict::Refused(other),
            };
            let congested = congestion.is_some_and(|state| state >= CONGESTED);
            Event::Submitted { verdict, carrier_id: message_id.to_vec(), congested }
        }
        Pdu::Deliver(m) if m.is_receipt() => {
            let by_text = smpp::read_receipt(m.content);
            let carrier_id = m.receipted_id.or(by_text.map(|(id, _)| id)).unwrap_or_default().to_vec();
            let by_text = by_text.map_or(&b""[..], |(_, stat)| stat);
            let delivered = match m.message_state {
                Some(2) => Some(true),
                Some(0 | 1 | 6) => None,
                Some(_) => Some(false),
                None => fate_of(by_text),
            };
            let id = DeliveryId { is_report: true, ..DeliveryId::default() };
            Event::Reported { carrier_id, delivered, stat: text(by_text), id }
        }
        Pdu::Deliver(m) => {
            let alphabet = Alphabet::from_data_coding(m.data_coding, default);
            let udhi = m.esm_class & smpp::UDHI != 0;
            let delivery = Delivery::new(name(&m), m.source.digits, m.destination.digits, alphabet, m.content, udhi);
            let delivery = Delivery {
                is_named_by_content: true,
                // Alphanumeric senders are no telephone numbers.
                pseudonym: m.source.ton == 5,
                segment: delivery.segment.or(m.segment),
                ..delivery
            };
            Event::Delivered(Box::new(delivery), DeliveryId::default())
        }
        Pdu::EnquireLink => Event::KeepAlive,
        Pdu::EnquireLinkResp => Event::KeepAliveAnswered,
        Pdu::Unbind => Event::Bye,
        Pdu::UnbindResp => Event::ByeAnswered,
        Pdu::GenericNack => Event::Nacked,
        Pdu::Bind { command, .. } => Event::Unwanted(command),
        Pdu::Submit(_) => Event::Unwanted(4),
        Pdu::DeliverResp | Pdu::OtherResp(_) => Event::Nothing,
    }
}

/// SMPP gives a message from a handset no number: sender, receiver, part and content name it.
fn name(m: &smpp::Message<'_>) -> String {
    let part = m.segment.map_or(Vec::new(), |s| format!("{s:?}").into_bytes());
    let parts: [&[u8]; 5] = [m.source.digits, m.destination.digits, &[m.esm_class, m.data_coding], &part, m.content];
    codecs::record::fingerprint(&parts)
}

pub(super) fn write(system_type: &str, sequence: Sequence, message: &Message<'_>, out: &mut Vec<u8>) {
    let mut header = Header { status: smpp::OK, sequence: sequence.counter };
    let pdu = match message {
        Message::Login { account, secret, .. } => {
            Pdu::bind_transceiver(account.as_bytes(), secret.as_bytes(), system_type.as_bytes())
        }
        Message::Submit(s) => {
            let international = s.to.starts_with("86") && s.to.len() == 13;
            let destination = Address { ton: international.into(), npi: 1, digits: s.to.as_bytes() };
            Pdu::Submit(smpp::Message {
                service_type: b"",
                source: Address { ton: 0, npi: 0, digits: s.from.as_bytes() },
                destination,
                esm_class: if s.segment.is_some() { smpp::UDHI } else { 0 },
                registered_delivery: 1,
                data_coding: if s.alphabet == Alphabet::Ucs2 { 8 } else { 0 },
                content: s.content,
                ..smpp::Message::default()
            })
        }
        Message::Acknowledge { verdict, .. } => {
            header.status = match verdict {
                Verdict::Accepted => smpp::OK,
                Verdict::Busy => smpp::TEMPORARY,
                Verdict::Refused(code) => *code,
            };
            Pdu::DeliverResp
        }
        Message::KeepAlive => Pdu::EnquireLink,
        Message::KeepAliveAnswer => Pdu::EnquireLinkResp,
        Message::Bye => Pdu::Unbind,
        Message::ByeAnswer => Pdu::UnbindResp,
        Message::Refuse { error, .. } => {
            header.status = match error {
                PduError::Unknown(_) => smpp::INVALID_COMMAND,
                PduError::Length(_) | PduError::Truncated(_) => smpp::INVALID_LENGTH,
                PduError::Field(_) => smpp::SYSTEM_ERROR,
            };
            Pdu::GenericNack
        }
        Message::LoginAnswer { .. } => return,
    };
    smpp::write(header, &pdu, out);
}
