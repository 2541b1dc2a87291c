//! The codecs: any bytes are a value or an error, and what was written is read back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use codecs::audio::chunk::pieces;
use codecs::audio::wav::Wav;
use codecs::chat::{agency, qq, wechat, weibo};
use codecs::geo;
use codecs::record::{AlertNo, AlertRecord, CloudEvent, Duty, Note, Stamp};
use codecs::rtp::rtcp as rtcp_codec;
use codecs::rtp::{Packet, TelephoneEvent, is_rtcp};
use codecs::sip::auth::{Algorithm, DigestFields};
use codecs::sip::{
    CSeq, Framed, Message, NameAddr, StreamFramer, Uri, Via, Writer, check_request, check_response, multipart,
    peek_call_id, split_commas, token_list, unquote,
};
use codecs::sms::{Alphabet, decode, split, user_data};
use media::negotiate::{Agreed, Local, Own, Refusal, accept, answer};

const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 5060);
const THERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 5060);

/// A message that was taken can be answered, and the answer is a message.
pub(crate) fn sip_message(data: &[u8]) {
    let peeked = peek_call_id(data).map(<[u8]>::to_vec);
    let Ok(message) = Message::frame(Bytes::copy_from_slice(data)) else { return };
    for (name, _, value) in message.headers() {
        let _ = (NameAddr::parse(value), Via::parse(value), CSeq::parse(value), Uri::parse(value), unquote(value));
        let _ = (split_commas(value).count(), token_list(value).count());
        assert!(message.all(name).next().is_some(), "a header that is listed is found");
    }
    if !message.is_request() {
        let _ = check_response(&message);
        return;
    }
    let Ok(fields) = check_request(&message) else { return };
    if let Some(peeked) = peeked {
        assert_eq!(peeked, message.bytes(fields.call_id), "a glance and a look see the same Call-ID");
    }
    let answer = Writer::response(&message, 200, b"tag", THERE).finish();
    let answer = Message::frame(answer).expect("what we write can be framed");
    let seen = check_response(&answer).expect("and is in order");
    assert_eq!(message.bytes(fields.call_id), answer.bytes(seen.call_id));
    assert_eq!((fields.cseq, fields.method), (seen.cseq, seen.method));
    assert_eq!(message.bytes(fields.branch), answer.bytes(seen.branch));
}

/// However a stream is cut into pieces, the same messages come out of it.
pub(crate) fn sip_stream(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else { return };
    let frames = |piece: usize| {
        let (mut framer, mut out) = (StreamFramer::default(), Vec::new());
        for piece in stream.chunks(piece.max(1)) {
            framer.push(piece);
            loop {
                match framer.next_frame() {
                    Ok(Some(Framed::Message(bytes))) => out.push(bytes),
                    Ok(Some(Framed::Ping)) => {}
                    Ok(None) => break,
                    Err(_) => return out,
                }
            }
        }
        out
    };
    assert_eq!(frames(usize::from(*piece)), frames(stream.len()), "in pieces of {piece} octets");
}

pub(crate) fn sip_digest(data: &[u8]) {
    let Some(fields) = DigestFields::parse(data) else { return };
    for name in ["username", "realm", "nonce", "uri", "response", "nc", "cnonce", "qop", "opaque"] {
        let _ = fields.get(name);
    }
    if let Some(algorithm) = fields.algorithm() {
        assert!(matches!(algorithm, Algorithm::Md5 | Algorithm::Sha256));
    }
}

/// A part of a body is a part of it.
pub(crate) fn sip_multipart(data: &[u8]) {
    let (kind, body) = data.split_at(data.iter().position(|b| *b == b'\n').unwrap_or(0));
    let kind = String::from_utf8_lossy(kind);
    let Ok(message) = Message::frame(Writer::request("INVITE", b"sip:110@h").finish_with(&kind, body)) else { return };
    for wanted in ["application/sdp", "application/pidf+xml", "message/sipfrag"] {
        if let Some(part) = multipart::find(&message, wanted) {
            assert!(part.len() <= body.len());
        }
    }
}

const OWN: Own = Own { addresses: [HERE.ip(); 2], ports: (20_000, 20_999), sip_port: 5060 };
const LOCAL: Local = Local { address: HERE.ip(), own: OWN, rtp_port: 20_000, ssrc: Some(7), session_id: 1, version: 1 };

/// What we answer to an offer is an answer; nobody is sent where nobody may be.
pub(crate) fn sdp(data: &[u8]) {
    let address = |agreed: &Agreed| {
        if let Some(remote) = agreed.remote {
            let ip = remote.rtp.ip();
            assert!(codecs::address::is_unicast(ip), "{ip} is not one host");
            assert!(!(ip == HERE.ip() && (20_000..=20_999).contains(&remote.rtp.port())), "never to ourselves");
        }
    };
    match answer(data, LOCAL) {
        Ok((agreed, ours)) => {
            address(&agreed);
            let text = String::from_utf8_lossy(&ours).into_owned();
            let there = Own { addresses: [THERE.ip(); 2], ports: (1, 2), sip_port: 1 };
            let media = |sdp: &[u8]| codecs::sdp::Sdp::parse(sdp).map_or(Vec::new(), |s| s.media);
            assert_eq!(media(&ours).len(), media(data).len(), "a line for each of theirs: {text}");
            assert_eq!(media(&ours).iter().filter(|m| m.port != 0).count(), 1, "one of them is taken: {text}");
            if media(&ours)[0].port != 0 {
                let theirs = accept(&ours, &there).unwrap_or_else(|e| panic!("{e:?} of our own answer {text}"));
                assert_eq!(theirs.law, agreed.law);
            }
        }
        Err(Refusal::Malformed { line, what }) => assert!(line > 0 && !what.is_empty()),
        Err(_) => {}
    }
    if let Ok(agreed) = accept(data, &OWN) {
        address(&agreed);
    }
}

pub(crate) fn rtp(data: &[u8]) {
    let Some(packet) = Packet::parse(data) else { return };
    let _ = (is_rtcp(data), TelephoneEvent::parse(packet.payload).and_then(|e| e.digit()));
    let mut again = vec![0; packet.payload.len() + 12];
    let len = packet.write(&mut again);
    assert_eq!(Packet::parse(&again[..len]), Some(packet), "what was written is read back");
}

pub(crate) fn rtcp(data: &[u8]) {
    let Some(heard) = rtcp_codec::parse(data) else { return };
    let mut bytes = [0; 256];
    let sender = heard.sender.map(|(_, s)| s);
    let len = rtcp_codec::write(&mut bytes, 1, sender, heard.reports.first().copied(), "c");
    let again = rtcp_codec::parse(&bytes[..len]).expect("what was written is read back");
    assert_eq!(again.sender.map(|(_, s)| s), sender);
}

/// Any octets are a text; a text that is split into parts is whole again when they are put together.
pub(crate) fn sms_text(data: &[u8]) {
    let data = user_data(data);
    for alphabet in [Alphabet::Ascii, Alphabet::Gsm7, Alphabet::Latin1, Alphabet::Ucs2, Alphabet::Gbk, Alphabet::Binary]
    {
        let text = decode(alphabet, data.content);
        if text.chars().count() > 2000 {
            continue;
        }
        let (alphabet, parts) = split(&text, 7);
        assert!(parts.len() == 1 || parts.iter().all(|p| p.segment.is_some_and(|s| s.total as usize == parts.len())));
        let octets: Vec<u8> = parts.iter().flat_map(|p| p.octets.clone()).collect();
        assert!(parts.iter().all(|p| p.octets.len() <= 160), "a part is a message");
        assert_eq!(decode(alphabet, &octets), text);
    }
}

/// What the platform sends, in the clear and sealed.
pub(crate) fn wechat(data: &[u8]) {
    let _ = wechat::read(data);
    let key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    let crypt = wechat::Crypt::new("token", key, "wx1").expect("a key");
    if let Ok(sealed) = wechat::envelope(data) {
        let signature = crypt.signature("1", "n", &sealed);
        let _ = crypt.open("1", "n", &sealed, &signature);
    }
    let sealed = crypt.seal(data, [7; 16]);
    let signature = crypt.signature("1", "n", &sealed);
    assert_eq!(crypt.open("1", "n", &sealed, &signature).as_deref(), Ok(data), "what was sealed is opened");
}

pub(crate) fn qq(data: &[u8]) {
    if let Ok(qq::Request::Message(message)) = qq::read(data) {
        assert!(!message.user.is_empty() && !message.message_id.is_empty());
    }
    let key = qq::Key::new("secret").expect("a key");
    let text = String::from_utf8_lossy(data);
    assert!(!key.is_signed("1", b"body", &text) || key.sign("1", b"body") == text.to_ascii_lowercase());
}

pub(crate) fn weibo(data: &[u8]) {
    if let Ok(message) = weibo::read(data) {
        assert!(message.location.is_none_or(|l| l.point.is_sane()));
    }
}

/// What is read of a case can be kept.
pub(crate) fn agency(data: &[u8]) {
    if let Ok(told) = agency::read(data) {
        assert!((1..=128).contains(&told.id.len()) && (1..=128).contains(&told.case_no.len()));
        assert!(told.hops <= 8 && told.text.chars().count() <= 2000);
        assert!(told.location.is_none_or(|l| l.point.is_sane()) && told.said.fault().is_none());
    }
}

/// Only what was signed is signed.
pub(crate) fn webhook(data: &[u8]) {
    let secret = codecs::webhook::Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
    let text = String::from_utf8_lossy(data);
    let _ = codecs::webhook::Secret::parse(&text);
    let signature = secret.sign("id", 1, b"body");
    let said = secret.verify("id", 1, b"body", &text);
    assert_eq!(said, text.split(' ').any(|s| s == signature), "{text}");
}

/// Whatever a journal or a client holds.
pub(crate) fn record(data: &[u8]) {
    if let Ok(mut record) = AlertRecord::parse(data) {
        let sealed = record.seal();
        let again = AlertRecord::parse(&sealed).expect("what was sealed is read back");
        assert_eq!(again.id.alert_no, record.id.alert_no);
    }
    let _ = (CloudEvent::parse(data), CloudEvent::parts(data), Note::parse(data), Duty::parse(data));
    let text = String::from_utf8_lossy(data);
    if let Some(stamp) = Stamp::parse(&text) {
        assert_eq!(Stamp::parse(&stamp.0.rfc3339()).map(|s| s.0.0 / 1_000_000), Some(stamp.0.0 / 1_000_000));
    }
    if let Some(no) = AlertNo::parse(&text) {
        assert_eq!(no.to_string(), text);
    }
}

pub(crate) fn geojson(data: &[u8]) {
    let Ok(features) = geo::parse_geojson(&String::from_utf8_lossy(data)) else { return };
    let point = geo::Point { lon: 117.05, lat: 34.05 };
    for feature in &features {
        for polygon in &feature.areas {
            let _ = (polygon.contains(point), polygon.middle());
        }
    }
}

/// The pieces of a recording and the file that is made of them.
pub(crate) fn audio(data: &[u8]) {
    let total: usize = pieces(data).map(|p| p.samples.len() + 12).sum();
    assert!(total <= data.len());
    let _ = Wav::parse(data);
    let file = codecs::audio::wav::write(codecs::audio::g711::Law::A, data);
    let wav = Wav::parse(&file).expect("what was written is read back");
    assert_eq!(wav.data, data);
}
