//! Third parties: they see what comes to the gateway, say it again from elsewhere, guess at what they cannot see, and
//! speak into whatever port is open.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use codecs::rtp::Packet;
use codecs::sip::{Message, Method, Name, Writer};

use crate::cast::{SEATS, SELF};
use crate::chance::Chance;
use crate::party::Live;
use crate::phones::REALM;

/// Where they are: no trunk and no telephone of the city.
pub(crate) const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 66, 6, 6)), 5060);
/// What they say: louder than anything that a party says.
pub(crate) const VOICE: u8 = 0x35;
/// Packets that they speak at one time.
pub(crate) const BURST: u16 = 5;
/// Messages that they remember.
const KEPT: usize = 40;

#[derive(Default)]
pub(crate) struct Strangers {
    kept: Vec<Bytes>,
    guesses: u64,
    /// Answers that the message being handled may still get.
    pub may_answer: u32,
}

impl Strangers {
    /// Something has come to the gateway. What was lost on its way is not said again by them: FAULT (tokens-alone), a
    /// request in a dialog is the peer's for whoever knows its Call-ID and tags, from wherever it comes, and a BYE that
    /// they alone bring to the gateway ends the call.
    pub(crate) fn overhear(&mut self, bytes: &Bytes, chance: &mut Chance) {
        if self.kept.len() < KEPT {
            self.kept.push(bytes.clone());
        } else if chance.percent(20) {
            self.kept[chance.below(KEPT as u64) as usize] = bytes.clone();
        }
    }

    /// The next message for the gateway: said before by somebody else, or made of that.
    pub(crate) fn say(&mut self, chance: &mut Chance) -> Option<Bytes> {
        let heard = self.kept.get(chance.below(self.kept.len() as u64) as usize)?.clone();
        if chance.percent(40) {
            return Some(heard);
        }
        self.guesses += 1;
        let message = Message::frame(heard).ok()?;
        Some(match message.method() {
            None => answer(&message, chance),
            Some(Method::Invite) if chance.percent(40) => cancel(&message),
            Some(Method::Register) => self.register(chance),
            Some(_) => match chance.below(4) {
                0 => self.in_dialog("BYE", &message),
                1 => self.in_dialog("INVITE", &message),
                2 => self.call(),
                _ => self.answer_guessed(&message, chance),
            },
        })
    }

    fn via(&self) -> String {
        format!("SIP/2.0/UDP {STRANGER};branch=z9hG4bKguess{};rport", self.guesses)
    }

    /// In somebody's dialog, of which the Call-ID alone is known.
    fn in_dialog(&self, method: &str, known: &Message) -> Bytes {
        let mut w = Writer::request(method, format!("sip:gw@{SELF}").as_bytes());
        w.header(Name::Via, self.via());
        w.header(Name::From, format!("<sip:110@carrier>;tag=a{}", self.guesses));
        w.header(Name::To, format!("<sip:gw@{SELF}>;tag=b{}", self.guesses));
        w.copy(known, Name::CallId);
        w.header_fmt(Name::CSeq, format_args!("{} {method}", 2 + self.guesses));
        w.header(Name::Contact, format!("<sip:{STRANGER}>"));
        w.finish_with("application/sdp", &towards_me())
    }

    fn call(&self) -> Bytes {
        let mut w = Writer::request("INVITE", format!("sip:110@{SELF}").as_bytes());
        w.header(Name::Via, self.via());
        w.header(Name::From, format!("<sip:13800000000@carrier>;tag=c{}", self.guesses));
        w.header(Name::To, "<sip:110@carrier>");
        w.header(Name::CallId, format!("stranger-{}", self.guesses));
        w.header(Name::CSeq, "1 INVITE");
        w.header(Name::Contact, format!("<sip:{STRANGER}>"));
        w.finish_with("application/sdp", &towards_me())
    }

    /// As a seat's telephone, whose secret is guessed.
    fn register(&self, chance: &mut Chance) -> Bytes {
        let user = format!("1{:03}", chance.below(u64::from(SEATS)));
        let mut w = Writer::request("REGISTER", format!("sip:{SELF}").as_bytes());
        w.header(Name::Via, self.via());
        w.header(Name::From, format!("<sip:{user}@{REALM}>;tag=r{}", self.guesses));
        w.header(Name::To, format!("<sip:{user}@{REALM}>"));
        w.header(Name::CallId, format!("phone-{user}"));
        w.header_fmt(Name::CSeq, format_args!("{} REGISTER", 1000 + self.guesses));
        w.header(Name::Contact, format!("<sip:{user}@{STRANGER}>"));
        w.header_fmt(
            Name::Authorization,
            format_args!("Digest username=\"{user}\", realm=\"{REALM}\", nonce=\"{0}\", uri=\"sip:{SELF}\", qop=auth, nc=00000001, cnonce=\"c\", algorithm=MD5, response=\"{0:032x}\"", self.guesses),
        );
        w.finish()
    }

    /// An answer to a request of the gateway's of which the branch is guessed.
    fn answer_guessed(&self, known: &Message, chance: &mut Chance) -> Bytes {
        let (status, method) =
            [("200 OK", "INVITE"), ("486 Busy Here", "INVITE"), ("180 Ringing", "INVITE"), ("200 OK", "BYE")]
                [chance.below(4) as usize];
        let id = String::from_utf8_lossy(known.get(Name::CallId).unwrap_or_default()).into_owned();
        let n = self.guesses;
        Bytes::from(format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP {SELF};branch=z9hG4bKguess{n};rport\r\nFrom: <sip:gw@{SELF}>;tag=a{n}\r\nTo: <sip:x@{STRANGER}>;tag=b{n}\r\nCall-ID: {id}\r\nCSeq: 1 {method}\r\nContact: <sip:{STRANGER}>\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    /// Packets of a voice of theirs, as if they went on with a stream that is up.
    pub(crate) fn speak(live: &Live, n: u16, chance: &mut Chance) -> Vec<u8> {
        let ssrc = if chance.percent(50) { live.ssrc } else { 0x0BAD_0BAD };
        let packet = Packet {
            payload_type: 8,
            marker: false,
            sequence: live.sequence.wrapping_add(n),
            timestamp: u32::from(n) * 160,
            ssrc,
            payload: &[VOICE; 160],
        };
        let mut buffer = [0; 200];
        let len = packet.write(&mut buffer);
        buffer[..len].to_vec()
    }
}

/// Somebody's own answer with another word, which only whoever was asked may say.
fn answer(known: &Message, chance: &mut Chance) -> Bytes {
    let text = String::from_utf8_lossy(known.raw()).into_owned();
    let status = ["200 OK", "486 Busy Here", "404 Not Found", "180 Ringing"][chance.below(4) as usize];
    let rest = text.split_once("\r\n").map_or("", |(_, rest)| rest);
    Bytes::from(format!("SIP/2.0 {status}\r\n{rest}"))
}

/// Takes somebody's INVITE back, in all its words.
fn cancel(invite: &Message) -> Bytes {
    let mut w = Writer::request("CANCEL", invite.request_uri());
    for name in [Name::Via, Name::From, Name::To, Name::CallId] {
        w.copy(invite, name);
    }
    let number = invite.get(Name::CSeq).and_then(|c| c.split(|b| *b == b' ').next()).unwrap_or(b"1");
    w.header(Name::CSeq, [number, b" CANCEL"].concat());
    w.finish()
}

fn towards_me() -> Vec<u8> {
    let ip = STRANGER.ip();
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\n").into_bytes()
}
