//! The other side: a carrier, six call takers and a dozen officers, each with habits drawn from the seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use codecs::record::{AlertNo, Media};
use codecs::sdp::Sdp;
use codecs::time::Mono;
use sip::{CallIds, Config, Endpoint, Event, OutgoingInvite, Rules, Seed, SessionId};

use switchboard::{CallFact, Fact};

use crate::cast::{PARTIES, SELF};
use crate::chance::Chance;
use crate::voice::{self, Lie, Line, Manner, Spoken, Voice};

/// Of a hundred telephones so many stand behind a router.
const BEHIND_ROUTERS: u64 = 15;
/// What a router needs to forget a port of one that is silent.
const ROUTER_FORGETS: Duration = Duration::from_millis(700);

/// What the recorder says of a call of which it has a second of audio.
pub(crate) fn recorded(no: AlertNo) -> Fact {
    let mix = Media {
        uri: format!("recordings/{no}/mix.wav"),
        sha256: String::new(),
        kind: "audio/wav".into(),
        track: "mix".into(),
        offset_ms: 0,
        duration_ms: 1000,
    };
    Fact::Call(CallFact::Recorded { media: vec![mix] })
}

/// What one of these endpoints is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    Answer(SessionId),
    Refuse(SessionId, u16),
    HangUp(SessionId),
    /// One RTP packet, and the next after a while.
    Speak(SessionId),
}

/// What came of a deed.
#[derive(Default)]
pub(crate) struct Done {
    pub spoken: Option<Spoken>,
    pub next: Option<(Duration, Deed)>,
    /// What the worlds together must have gone through.
    pub reached: Option<&'static str>,
    pub fault: Option<String>,
}

/// A stream that somebody else could speak into.
#[derive(Clone, Copy)]
pub(crate) struct Live {
    pub to: u16,
    pub from: SocketAddr,
    pub ssrc: u32,
    pub sequence: u16,
}

pub(crate) struct Party {
    pub endpoint: Endpoint,
    role: usize,
    voices: BTreeMap<SessionId, Voice>,
    next_port: u16,
    /// Of a hundred SDPs so many say what is not so.
    pub lies: u64,
    /// Nobody can talk to anybody before.
    down_until: Mono,
}

impl Party {
    pub(crate) fn new(role: usize, seed: Seed) -> Party {
        let config = Config {
            address: PARTIES[role],
            realm: "party".into(),
            accounts: Vec::new(),
            registrar: Rules::default(),
            peers: vec![SELF.ip().into()],
            trunks: Vec::new(),
            seed,
            shard: 9,
            call_ids: CallIds::new(&seed, 9),
            first_page: 0,
        };
        let (endpoint, voices) = (Endpoint::new(config), BTreeMap::new());
        Party { endpoint, role, voices, next_port: 30_000, lies: 0, down_until: Mono(0) }
    }

    fn port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port > 60_000 { 30_000 } else { port + 2 };
        port
    }

    /// A telephone's line, at times behind a router.
    fn line(&mut self, chance: &mut Chance) -> Line {
        let named = SocketAddr::new(PARTIES[self.role].ip(), self.port());
        if !chance.percent(BEHIND_ROUTERS) {
            return Line { named, seen: named };
        }
        Line { named: SocketAddr::new(voice::behind_a_router(chance), named.port()), seen: self.open_port() }
    }

    /// One that a router opens.
    fn open_port(&mut self) -> SocketAddr {
        SocketAddr::new(PARTIES[self.role].ip(), self.port())
    }

    fn lie(&self, chance: &mut Chance) -> Option<Lie> {
        chance.percent(self.lies).then(|| Lie::any(chance))
    }

    /// The telephone number of caller `n`.
    pub(crate) fn number(n: u64) -> String {
        format!("138{n:08}")
    }

    /// Somebody calls, as who they say. `true`: their SDP lies.
    pub(crate) fn call(&mut self, now: Mono, from: &str, chance: &mut Chance) -> (SessionId, bool) {
        let (line, lie) = (self.line(chance), self.lie(chance));
        let out = OutgoingInvite {
            flow: sip::Flow::udp(SELF),
            uri: format!("sip:110@{SELF}").into_bytes(),
            from: from.as_bytes().to_vec(),
            to: b"<sip:110@carrier>".to_vec(),
            sdp: voice::sdp(&line, lie),
            is_registered: false,
            headers: Vec::new(),
        };
        let session = self.endpoint.invite(now, out);
        self.voices.insert(session, Voice::new(line, Manner::Talks, false, chance));
        (session, lie.is_some())
    }

    pub(crate) fn act(&mut self, now: Mono, deed: Deed, chance: &mut Chance) -> Done {
        let mut done = Done::default();
        match deed {
            Deed::Answer(session) => {
                let (line, lie) = (self.line(chance), self.lie(chance));
                if let Some(voice) = self.voices.get_mut(&session) {
                    voice.move_to(line);
                }
                done.reached = lie.map(|_| "lying SDP");
                self.endpoint.accept(now, session, &voice::sdp(&line, lie));
            }
            Deed::Refuse(session, code) => {
                self.voices.remove(&session);
                self.endpoint.reject(now, session, code, None);
            }
            Deed::HangUp(session) => {
                self.voices.remove(&session);
                self.endpoint.hang_up(now, session, "");
            }
            Deed::Speak(session) => return self.speak(now, session, chance),
        }
        done
    }

    fn speak(&mut self, now: Mono, session: SessionId, chance: &mut Chance) -> Done {
        let other = self.next_port;
        let Some(voice) = self.voices.get_mut(&session) else { return Done::default() };
        let Some(spoken) = voice.speak(now) else { return Done::default() };
        let fault = voice.is_forsaken().then(|| format!("nothing comes to {} behind its router", spoken.from));
        let (mut pause, mut reached) = (voice.pause(chance), None);
        if voice.was_set() {
            reached = Some("media clock set");
        }
        if voice.is_moved(chance) {
            (pause, reached) = (ROUTER_FORGETS, Some("router that moved"));
            voice.move_router(other);
            self.port();
        }
        Done { spoken: Some(spoken), next: Some((pause, Deed::Speak(session))), reached, fault }
    }

    /// A packet has come to a port of ours. `true`: the first that comes to it behind a router.
    pub(crate) fn hears(&mut self, port: u16, voice: bool) -> bool {
        self.voices.values_mut().find(|v| v.line.seen.port() == port).is_some_and(|v| v.hears(voice))
    }

    /// One of the streams that are up.
    pub(crate) fn live(&self, chance: &mut Chance) -> Option<Live> {
        let live: Vec<&Voice> = self.voices.values().filter(|v| v.to.is_some()).collect();
        let voice = live.get(chance.below(live.len() as u64) as usize)?;
        Some(Live { to: voice.to?, from: voice.line.seen, ssrc: voice.ssrc(), sequence: voice.next_sequence() })
    }

    /// The gateway is gone, and with it whatever was said; what it had sent still comes.
    pub(crate) fn forget(&mut self, until: Mono) {
        self.down_until = until;
        self.voices.values_mut().for_each(|v| v.answered = None);
    }

    /// When whoever waits longest for a voice was answered.
    pub(crate) fn unheard_since(&self) -> Option<Mono> {
        self.voices.values().filter(|v| !v.heard).filter_map(|v| v.answered).min()
    }

    /// What an event makes this party do, and when.
    pub(crate) fn react(&mut self, now: Mono, event: Event, chance: &mut Chance) -> Vec<(Duration, Deed)> {
        match event {
            Event::Invited(invitation) => {
                let session = invitation.session;
                let manner = self.manner(chance);
                let nowhere = SocketAddr::new(PARTIES[self.role].ip(), 0);
                let line = Line { named: nowhere, seen: nowhere };
                self.voices.insert(session, Voice::new(line, manner, true, chance));
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
