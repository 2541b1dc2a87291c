//! The casebook under messages, takers and the passing of time.

use std::time::Duration;

use codecs::record::{Address, AlertNo, Attached, Form, LineState};
use codecs::sms::{Alphabet, Segment};
use sim::writers::CHANNELS;
use switchboard::{Body, Incoming, RequestId, SayRequest, ToCasebook};

use crate::script::{number, steps};
use crate::shard::City;

const STEPS: usize = 128;

/// Every request is answered once; a record stays within its bounds.
pub(crate) fn run(data: &[u8]) {
    let mut city = City::new();
    let mut asked = 0;
    for (what, with) in steps(data, STEPS) {
        asked += 1;
        let request = RequestId(1 << 40 | asked);
        let at = city.wall();
        let open: Vec<AlertNo> = city.gateway.casebook.open().map(|(no, _)| *no).collect();
        let pick = |n: u8| open.get(usize::from(n) % open.len().max(1)).copied();
        let (first, rest) = with.split_first().map_or((0, with), |(f, r)| (*f, r));
        let text = String::from_utf8_lossy(rest).into_owned();
        let message = match (what, pick(first)) {
            (b'm' | b'p' | b'l' | b'b', _) => {
                let message = Box::new(incoming(what, first, rest, text));
                Some(ToCasebook::Incoming { at, message, request })
            }
            (b's', Some(no)) => Some(ToCasebook::Say(Box::new(SayRequest {
                at,
                no,
                seat: "1000".into(),
                body: text,
                channel: None,
                answers: None,
                done: first & 1 == 1,
                despite_silence: first & 2 == 2,
                request,
            }))),
            (b'd', Some(no)) => Some(ToCasebook::Done { at, no, seat: "1000".into(), request }),
            (b'j', Some(from)) => {
                let to = rest.first().and_then(|n| pick(*n)).unwrap_or(from);
                Some(ToCasebook::Join { at, from, to, request })
            }
            (b'x', Some(no)) => {
                let sender = Address { channel: CHANNELS[0].into(), user: text };
                Some(ToCasebook::Split { at, no, sender, request })
            }
            (b'f', _) => {
                let state = [LineState::Sent, LineState::Delivered, LineState::Failed][usize::from(first) % 3];
                city.gateway
                    .casebook
                    .handle(city.now, ToCasebook::LineState { at, line: text, state, why: String::new() });
                None
            }
            (b't', _) => {
                city.pass(Duration::from_millis(u64::from(number(with) % 900_000)));
                None
            }
            _ => None,
        };
        if let Some(message) = message {
            city.gateway.casebook.handle(city.now, message);
            city.drain();
            let answers = city.replies.iter().filter(|r| **r == request).count();
            assert_eq!(answers, 1, "{what} was answered {answers} times");
        }
        city.drain();
    }
    city.pass(Duration::from_secs(3600));
    for (no, record) in city.gateway.casebook.open() {
        assert!(record.text.len() <= 1000 && record.location.len() <= 64, "{no} grows");
    }
}

/// A message in words, a part of one, a position, or octets that may be no text.
fn incoming(what: u8, first: u8, octets: &[u8], text: String) -> Incoming {
    let channel = CHANNELS[usize::from(first & 1)].to_owned();
    let user = if first & 1 == 0 { format!("138000000{:02}", first >> 4) } else { format!("user{}", first >> 4) };
    let segment = Segment::new(u16::from(first), octets.first().copied().unwrap_or(0) % 5, first % 5);
    let alphabet = [Alphabet::Ascii, Alphabet::Ucs2, Alphabet::Gbk, Alphabet::Binary][usize::from(first) % 4];
    let body = match what {
        b'p' => Body::Octets { alphabet: Alphabet::Ucs2, octets: octets.to_vec(), segment },
        b'b' => Body::Octets { alphabet, octets: octets.to_vec(), segment: None },
        _ => Body::Text(text.clone()),
    };
    let location = (what == b'l').then(|| codecs::chat::SharedLocation {
        point: codecs::geo::Point { lon: 117.0 + f64::from(first) / 1000.0, lat: 34.05 },
        datum: codecs::geo::Datum::Gcj02,
        label: text.clone(),
    });
    Incoming {
        from: Address { channel, user },
        message_id: format!("{first}-{text}"),
        session: (first & 8 == 8).then_some(u64::from(first)),
        to: "12110".into(),
        body,
        forms: vec![Form::Text],
        attachments: (first & 4 == 4)
            .then(|| Attached {
                kind: Form::Image,
                vendor_id: text.clone(),
                uri: String::new(),
                sha256: String::new(),
                lost: String::new(),
            })
            .into_iter()
            .collect(),
        location,
        phone: (first & 2 == 2).then_some(text),
        silent: first & 32 == 32,
        is_ping: what == b'l' && first & 16 == 16,
        case: None,
    }
}
