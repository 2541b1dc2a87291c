//! The other side: a carrier, six call takers and a dozen officers, each with habits drawn from the seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use codecs::record::{AlertNo, Media};
use codecs::rtp::Packet;
use codecs::sdp::Sdp;
use codecs::time::Mono;
use sip::{CallIds, Config, Endpoint, Event, OutgoingInvite, Rules, Seed, SessionId};

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
    /// One RTP packet, and the next after a while.
    Speak(SessionId),
}

/// How somebody behaves who has picked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Talks,
    /// Says nothing at all.
    Silent,
    /// Says nothing for a second.
    Slow,
    /// Hangs up at once.
    Drops,
}

/// A voice in one session.
struct Voice {
    /// Where the gateway listens for it.
    to: Option<u16>,
    /// The port that its SDP names.
    from: u16,
    began: Option<Mono>,
    sent: u16,
    manner: Manner,
    is_callee: bool,
    /// Since when it is answered, and whether it has heard anybody.
    answered: Option<Mono>,
    heard: bool,
}

/// A packet for the gateway: its port, and where it came from.
pub type Spoken = (u16, SocketAddr, Vec<u8>);

pub struct Party {
    pub endpoint: Endpoint,
    role: usize,
    voices: BTreeMap<SessionId, Voice>,
    next_port: u16,
    /// Nobody can talk to anybody before.
    down_until: Mono,
}

impl Party {
    pub fn new(role: usize, seed: Seed) -> Party {
        let config = Config {
            address: PARTIES[role],
            realm: "party".into(),
            accounts: Vec::new(),
            registrar: Rules::default(),
            peers: vec![SELF.ip().into()],
            seed,
            shard: 9,
            call_ids: CallIds::new(&seed, 9),
            first_page: 0,
        };
        Party { endpoint: Endpoint::new(config), role, voices: BTreeMap::new(), next_port: 30_000, down_until: Mono(0) }
    }

    fn sdp(&mut self) -> (u16, Vec<u8>) {
        let (ip, port) = (PARTIES[self.role].ip(), self.next_port);
        self.next_port = if port > 60_000 { 30_000 } else { port + 2 };
        let text =
            format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n");
        (port, text.into_bytes())
    }

    /// The telephone number of caller `n`.
    pub fn number(n: u64) -> String {
        format!("138{n:08}")
    }

    pub fn call(&mut self, now: Mono, n: u64) -> SessionId {
        let (port, sdp) = self.sdp();
        let out = OutgoingInvite {
            flow: sip::Flow::udp(SELF),
            uri: format!("sip:110@{SELF}").into_bytes(),
            from: format!("<sip:{}@carrier>", Party::number(n)).into_bytes(),
            to: b"<sip:110@carrier>".to_vec(),
            sdp,
            is_registered: false,
            headers: Vec::new(),
        };
        let session = self.endpoint.invite(now, out);
        self.voices.insert(session, Voice::new(port, Manner::Talks, false));
        session
    }

    pub fn act(&mut self, now: Mono, deed: Deed, chance: &mut Chance) -> (Option<Spoken>, Option<(Duration, Deed)>) {
        match deed {
            Deed::Answer(session) => {
                let (port, sdp) = self.sdp();
                if let Some(voice) = self.voices.get_mut(&session) {
                    voice.from = port;
                }
                self.endpoint.accept(now, session, &sdp);
            }
            Deed::Refuse(session, code) => {
                self.voices.remove(&session);
                self.endpoint.reject(now, session, code, None);
            }
            Deed::HangUp(session) => {
                self.voices.remove(&session);
                self.endpoint.hang_up(now, session, "");
            }
            Deed::Speak(session) => {
                let role = self.role;
                let Some(voice) = self.voices.get_mut(&session) else { return (None, None) };
                let Some(to) = voice.to else { return (None, None) };
                let began = *voice.began.get_or_insert(now);
                voice.sent = voice.sent.wrapping_add(1);
                let mut buffer = [0; 200];
                let timestamp = (now.since(began).as_micros() / 125) as u32;
                let (sequence, ssrc) = (voice.sent, u32::from(voice.from));
                let packet =
                    Packet { payload_type: 8, marker: false, sequence, timestamp, ssrc, payload: &[0x55; 160] };
                let len = packet.write(&mut buffer);
                let from = SocketAddr::new(PARTIES[role].ip(), voice.from);
                // Dense while it matters who is heard, then enough to be there.
                let next = if voice.sent < 12 { chance.ms(60, 140) } else { chance.ms(4000, 8000) };
                return (Some((to, from, buffer[..len].to_vec())), Some((next, deed)));
            }
        }
        (None, None)
    }

    /// Somebody's voice has come to a port of ours.
    pub fn hears(&mut self, port: u16) {
        if let Some(voice) = self.voices.values_mut().find(|v| v.from == port) {
            voice.heard = true;
        }
    }

    /// The gateway is gone, and with it whatever was said; what it had sent still comes.
    pub fn forget(&mut self, until: Mono) {
        self.down_until = until;
        self.voices.values_mut().for_each(|v| v.answered = None);
    }

    /// When whoever waits longest for a voice was answered.
    pub fn unheard_since(&self) -> Option<Mono> {
        self.voices.values().filter(|v| !v.heard).filter_map(|v| v.answered).min()
    }

    /// What an event makes this party do, and when.
    pub fn react(&mut self, now: Mono, event: Event, chance: &mut Chance) -> Vec<(Duration, Deed)> {
        match event {
            Event::Invited(invitation) => {
                let session = invitation.session;
                let manner = self.manner(chance);
                self.voices.insert(session, Voice::new(0, manner, true));
                self.note_port(session, invitation.sdp.as_deref());
                self.pick_up(session, chance)
            }
            Event::Confirmed { session, .. } => self.talk(session, chance),
            Event::Answered { session, sdp } => {
                self.note_port(session, sdp.as_deref());
                if let Some(voice) = self.voices.get_mut(&session) {
                    voice.answered = Some(now).filter(|now| *now >= self.down_until);
                }
                let mut deeds = self.talk(session, chance);
                // A caller talks for a while.
                deeds.push((chance.ms(3000, 25_000), Deed::HangUp(session)));
                deeds
            }
            Event::Ended { session, .. } => {
                self.voices.remove(&session);
                Vec::new()
            }
            Event::Reoffer { .. }
            | Event::Refused(_)
            | Event::Progress { .. }
            | Event::Registered { .. }
            | Event::Unregistered { .. }
            | Event::Paged { .. }
            | Event::PageAnswered { .. } => Vec::new(),
        }
    }

    /// Some seats' phones answer and are not heard, or not at once, or hang up.
    fn manner(&self, chance: &mut Chance) -> Manner {
        match (self.role, chance.below(100)) {
            (1, 0..4) => Manner::Silent,
            (1, 4..8) => Manner::Slow,
            (1, 8..11) => Manner::Drops,
            _ => Manner::Talks,
        }
    }

    fn pick_up(&self, session: SessionId, chance: &mut Chance) -> Vec<(Duration, Deed)> {
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

    /// Says something from now on; officers and call takers leave at times before the caller.
    fn talk(&self, session: SessionId, chance: &mut Chance) -> Vec<(Duration, Deed)> {
        let Some(voice) = self.voices.get(&session) else { return Vec::new() };
        let mut deeds = match voice.manner {
            Manner::Talks => vec![(chance.ms(5, 60), Deed::Speak(session))],
            Manner::Slow => vec![(chance.ms(700, 1500), Deed::Speak(session))],
            Manner::Silent => Vec::new(),
            Manner::Drops => {
                return vec![(chance.ms(5, 60), Deed::Speak(session)), (chance.ms(400, 1500), Deed::HangUp(session))];
            }
        };
        if self.role > 0 && chance.percent(25) {
            deeds.push((chance.ms(2000, 20_000), Deed::HangUp(session)));
        }
        // A caller who was called back hangs up in the end as well.
        if self.role == 0 && voice.is_callee {
            deeds.push((chance.ms(2000, 10_000), Deed::HangUp(session)));
        }
        deeds
    }

    fn note_port(&mut self, session: SessionId, sdp: Option<&[u8]>) {
        let parsed = sdp.and_then(|s| Sdp::parse(s).ok());
        let port = parsed.and_then(|s| s.media.first().map(|m| m.port));
        if let (Some(port), Some(voice)) = (port, self.voices.get_mut(&session)) {
            voice.to = Some(port);
        }
    }
}

impl Voice {
    fn new(from: u16, manner: Manner, is_callee: bool) -> Voice {
        Voice { to: None, from, began: None, sent: 0, manner, is_callee, answered: None, heard: false }
    }
}
