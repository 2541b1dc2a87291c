//! A telephone's media: a clock of its own, and at times a router between it and everybody else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use codecs::rtp::Packet;
use codecs::time::Mono;

use crate::cast::SELF;
use crate::chance::Chance;

/// Packets that come close upon each other, at the beginning and after a router has moved.
const DENSE: u16 = 12;
/// How far a telephone's clock may be off, in millionths.
const OFF_BY: u64 = 500;

/// How somebody behaves who has picked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    Talks,
    /// Says nothing at all.
    Silent,
    /// Says nothing for a second.
    Slow,
    /// Hangs up at once.
    Drops,
}

/// Where a telephone's media is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    /// As its SDP says.
    pub named: SocketAddr,
    /// Where everybody else sees it: the same, or what its router makes of it.
    pub seen: SocketAddr,
}

impl Line {
    pub(crate) fn is_behind_a_router(&self) -> bool {
        self.named != self.seen
    }
}

/// What an SDP may say that is not so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    /// The gateway itself.
    Yourself,
    /// A group of hosts.
    Everybody,
    NoPort,
    NoAudio,
}

impl Lie {
    pub(crate) fn any(chance: &mut Chance) -> Lie {
        [Lie::Yourself, Lie::Everybody, Lie::NoPort, Lie::NoAudio][chance.below(4) as usize]
    }
}

/// The SDP of a telephone.
pub(crate) fn sdp(line: &Line, lie: Option<Lie>) -> Vec<u8> {
    let (ip, port, kind) = match lie {
        None => (line.named.ip(), line.named.port(), "audio"),
        Some(Lie::Yourself) => (SELF.ip(), 20_000 + line.named.port() % 500 * 2, "audio"),
        Some(Lie::Everybody) => (Ipv4Addr::new(224, 0, 1, 5).into(), line.named.port(), "audio"),
        Some(Lie::NoPort) => (line.named.ip(), 0, "audio"),
        Some(Lie::NoAudio) => (line.named.ip(), line.named.port(), "video"),
    };
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm={kind} {port} RTP/AVP 8\r\n").into_bytes()
}

/// A packet for the gateway: its port, and where it came from.
pub(crate) struct Spoken {
    pub to: u16,
    pub from: SocketAddr,
    pub bytes: Vec<u8>,
    pub is_behind_a_router: bool,
}

/// A voice in one session.
pub(crate) struct Voice {
    /// Where the gateway listens for it.
    pub to: Option<u16>,
    pub line: Line,
    pub manner: Manner,
    pub is_callee: bool,
    /// Since when it is answered, and whether it has heard anybody.
    pub answered: Option<Mono>,
    pub heard: bool,
    /// Something has come to where it is seen.
    reached: bool,
    began: Option<Mono>,
    sent: u16,
    /// Packets up to this number come close upon each other.
    dense: u16,
    /// Millionths that its clock is fast.
    fast: i64,
    /// What its clock was set by while it spoke, in samples; and the packet at which that is.
    set_by: u32,
    set_at: u16,
}

impl Voice {
    pub(crate) fn new(line: Line, manner: Manner, is_callee: bool, chance: &mut Chance) -> Voice {
        Voice {
            to: None,
            line,
            manner,
            is_callee,
            answered: None,
            heard: false,
            reached: false,
            began: None,
            sent: 0,
            dense: DENSE,
            fast: chance.below(2 * OFF_BY + 1) as i64 - OFF_BY as i64,
            set_by: chance.below(1 << 32) as u32,
            set_at: if chance.percent(5) { 6 } else { 0 },
        }
    }

    /// A call that is answered has another line than when it rang.
    pub(crate) fn move_to(&mut self, line: Line) {
        self.line = line;
    }

    pub(crate) fn ssrc(&self) -> u32 {
        u32::from(self.line.named.port())
    }

    pub(crate) fn next_sequence(&self) -> u16 {
        self.sent.wrapping_add(1)
    }

    /// Whether its clock was set with the packet sent last.
    pub(crate) fn was_set(&self) -> bool {
        self.sent > 0 && self.sent == self.set_at
    }

    /// The next packet, by its own clock.
    pub(crate) fn speak(&mut self, now: Mono) -> Option<Spoken> {
        let to = self.to?;
        let began = *self.began.get_or_insert(now);
        self.sent = self.sent.wrapping_add(1);
        let passed = now.since(began).as_nanos() as i64;
        let samples = (passed + passed / 1_000_000 * self.fast) / 125_000;
        let set_by = if self.set_at > 0 && self.sent >= self.set_at { self.set_by } else { 0 };
        let packet = Packet {
            payload_type: 8,
            marker: false,
            sequence: self.sent,
            timestamp: (samples as u32).wrapping_add(set_by),
            ssrc: self.ssrc(),
            payload: &[0x55; 160],
        };
        let mut buffer = [0; 200];
        let len = packet.write(&mut buffer);
        let is_behind_a_router = self.line.is_behind_a_router();
        Some(Spoken { to, from: self.line.seen, bytes: buffer[..len].to_vec(), is_behind_a_router })
    }

    /// Until the next one: dense while it matters who is heard, then enough to be there.
    pub(crate) fn pause(&self, chance: &mut Chance) -> Duration {
        let pause = if self.sent < self.dense { chance.ms(60, 140) } else { chance.ms(4000, 8000) };
        let nanos = pause.as_nanos() as i64;
        Duration::from_nanos((nanos - nanos / 1_000_000 * self.fast) as u64)
    }

    /// Whether its router gives it another port now.
    pub(crate) fn is_moved(&self, chance: &mut Chance) -> bool {
        self.line.is_behind_a_router() && self.sent == DENSE - 4 && chance.percent(40)
    }

    /// The router has forgotten the port, and gives another to whatever comes after a while.
    pub(crate) fn move_router(&mut self, port: u16) {
        self.line.seen.set_port(port);
        self.reached = false;
        self.dense = self.sent + DENSE;
    }

    /// Something has come to where it is seen: somebody's voice, or silence. `true`: the first behind a router.
    pub(crate) fn hears(&mut self, voice: bool) -> bool {
        self.heard |= voice;
        !std::mem::replace(&mut self.reached, true) && self.line.is_behind_a_router()
    }

    /// Behind a router, answered, and it has spoken for long; nothing has come to where it was heard from.
    pub(crate) fn is_forsaken(&self) -> bool {
        self.line.is_behind_a_router() && self.answered.is_some() && self.sent > self.dense && !self.reached
    }
}

/// An address that means something behind its own router only.
pub(crate) fn behind_a_router(chance: &mut Chance) -> IpAddr {
    Ipv4Addr::new(192, 168, chance.below(250) as u8, 2 + chance.below(250) as u8).into()
}
