//! The other side: a carrier, six call takers and a dozen officers, each with habits drawn from the seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use codecs::record::{AlertNo, Media};
use codecs::rtp::Packet;
use codecs::sdp::Sdp;
use codecs::sip::Uri;
use codecs::time::Mono;
use sip::{Config, Endpoint, Event, OutgoingInvite, SessionId};

use switchboard::Fact;

use crate::chance::Chance;
use crate::gateway::{PARTIES, SELF};

/// What the recorder says of a call of which it has a second of audio.
pub fn recorded(no: AlertNo) -> Fact {
    let mix = Media {
        uri: format!("recordings/{no}/mix.wav"),
        sha256: String::new(),
        kind: "audio/wav".into(),
        track: "mix".into(),
        offset_ms: 0,
        duration_ms: 1000,
    };
    Fact::Recorded { media: vec![mix] }
}

/// What one of these endpoints is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    Answer(SessionId),
    Refuse(SessionId, u16),
    HangUp(SessionId),
    /// One RTP packet to the gateway's port.
    Speak {
        port: u16,
    },
}

pub struct Party {
    pub endpoint: Endpoint,
    role: usize,
    /// Where the gateway listens for this leg, and where we do.
    ports: BTreeMap<SessionId, u16>,
    /// Who of ours a session is with.
    users: BTreeMap<SessionId, String>,
}

impl Party {
    pub fn new(role: usize, seed: u64) -> Party {
        let config = Config {
            address: PARTIES[role],
            realm: "party".into(),
            accounts: Vec::new(),
            seed,
            shard: 9,
            first_page: 0,
        };
        Party { endpoint: Endpoint::new(config), role, ports: BTreeMap::new(), users: BTreeMap::new() }
    }

    fn sdp(&self, n: u64) -> Vec<u8> {
        let ip = PARTIES[self.role].ip();
        let port = 30_000 + n % 20_000;
        format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n")
            .into_bytes()
    }

    /// The telephone number of caller `n`.
    pub fn number(n: u64) -> String {
        format!("138{n:08}")
    }

    pub fn call(&mut self, now: Mono, n: u64) -> SessionId {
        let out = OutgoingInvite {
            flow: sip::Flow::udp(SELF),
            uri: format!("sip:110@{SELF}").into_bytes(),
            from: format!("<sip:{}@carrier>", Party::number(n)).into_bytes(),
            to: b"<sip:110@carrier>".to_vec(),
            sdp: self.sdp(n),
            headers: Vec::new(),
        };
        self.endpoint.invite(now, out)
    }

    pub fn act(&mut self, now: Mono, deed: Deed, chance: &mut Chance) -> Option<(u16, SocketAddr, Vec<u8>)> {
        match deed {
            Deed::Answer(session) => {
                let sdp = self.sdp(chance.below(20_000));
                self.endpoint.accept(now, session, &sdp);
            }
            Deed::Refuse(session, code) => self.endpoint.reject(now, session, code, None),
            Deed::HangUp(session) => self.endpoint.hang_up(now, session, ""),
            Deed::Speak { port } => {
                let mut buffer = [0; 200];
                let packet =
                    Packet { payload_type: 8, marker: true, sequence: 1, timestamp: 1, ssrc: 1, payload: &[0x55; 160] };
                let len = packet.write(&mut buffer);
                return Some((port, PARTIES[self.role], buffer[..len].to_vec()));
            }
        }
        None
    }

    /// What an event makes this party do, and when.
    pub fn react(&mut self, event: Event, chance: &mut Chance) -> Vec<(std::time::Duration, Deed)> {
        match event {
            Event::Invited(invitation) => {
                let session = invitation.session;
                self.note_port(session, invitation.sdp.as_deref());
                let uri = Uri::parse(invitation.message.request_uri());
                let user = String::from_utf8_lossy(uri.as_ref().map(Uri::number).unwrap_or_default()).into_owned();
                self.users.insert(session, user);
                self.pick_up(session, chance)
            }
            Event::Confirmed { session, .. } => self.talk(session, chance),
            Event::Answered { session, sdp } => {
                self.note_port(session, sdp.as_deref());
                let mut deeds = self.talk(session, chance);
                // A caller talks for a while.
                deeds.push((chance.ms(3000, 25_000), Deed::HangUp(session)));
                deeds
            }
            Event::Ended { session, .. } => {
                self.ports.remove(&session);
                self.users.remove(&session);
                Vec::new()
            }
            Event::Reoffer { .. }
            | Event::Progress { .. }
            | Event::Registered { .. }
            | Event::Unregistered { .. }
            | Event::Paged { .. }
            | Event::PageAnswered { .. } => Vec::new(),
        }
    }

    fn pick_up(&self, session: SessionId, chance: &mut Chance) -> Vec<(std::time::Duration, Deed)> {
        let (never, busy, slowest) = match self.role {
            0 => (30, 0, 3000),
            1 => (6, 4, 400),
            _ => (25, 10, 9000),
        };
        if chance.percent(never) {
            return Vec::new();
        }
        if chance.percent(busy) {
            return vec![(chance.ms(5, 50), Deed::Refuse(session, 486))];
        }
        vec![(chance.ms(10, slowest), Deed::Answer(session))]
    }

    /// Says something, three times against loss; officers and call takers leave at times before the caller.
    fn talk(&self, session: SessionId, chance: &mut Chance) -> Vec<(std::time::Duration, Deed)> {
        let Some(&port) = self.ports.get(&session) else { return Vec::new() };
        let mut deeds: Vec<_> = (0..3).map(|n| (chance.ms(30 + n * 50, 60 + n * 50), Deed::Speak { port })).collect();
        if self.role > 0 && chance.percent(25) {
            deeds.push((chance.ms(2000, 20_000), Deed::HangUp(session)));
        }
        // A caller who was called back hangs up in the end as well.
        if self.role == 0 && self.users.contains_key(&session) {
            deeds.push((chance.ms(2000, 10_000), Deed::HangUp(session)));
        }
        deeds
    }

    fn note_port(&mut self, session: SessionId, sdp: Option<&[u8]>) {
        let parsed = sdp.and_then(|s| Sdp::parse(s).ok());
        if let Some(port) = parsed.and_then(|s| s.media.first().map(|m| m.port)) {
            self.ports.insert(session, port);
        }
    }
}
