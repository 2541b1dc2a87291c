//! One leg's RTP on this side: a voice that speaks every 20 ms and an ear that keeps what comes.

use std::net::SocketAddr;

use codecs::audio::FRAME;
use codecs::rtp::{HEADER_LEN, Packet};
use mio::net::UdpSocket;

use crate::ear::Ear;
use crate::voice::{Code, Voice};

/// Packets between one restart and the next.
const JUMP: u32 = 25;

/// A leg of ours, for as long as these peers live.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartyKey(pub u64);

pub(crate) struct Line {
    pub socket: UdpSocket,
    pub target: Option<SocketAddr>,
    pub ear: Ear,
    pub party: PartyKey,
    pub speaking: bool,
    /// Every half second the stream begins anew.
    pub jumping: bool,
    ssrc: u32,
    voice: Voice,
    sequence: u16,
    timestamp: u32,
    spoken: u32,
    /// Packets still to be sent; `None`: as long as the call lasts.
    left: Option<u32>,
    /// Nothing was said in the tick before: the next packet begins a talkspurt (RFC 3551 4.1).
    paused: bool,
    heard: bool,
}

impl Line {
    pub(crate) fn new(socket: UdpSocket, party: PartyKey, code: Code, seed: u32, left: Option<u32>) -> Line {
        Line {
            socket,
            target: None,
            ear: Ear::default(),
            party,
            speaking: false,
            jumping: false,
            ssrc: party.0 as u32,
            voice: Voice::new(code),
            sequence: seed as u16,
            timestamp: seed.wrapping_mul(7919),
            spoken: 0,
            left,
            paused: true,
            heard: false,
        }
    }

    /// Reads what has come; `true` when it is the first audio of this leg, and the voices that are heard first.
    pub(crate) fn listen(&mut self) -> (bool, Vec<Code>) {
        let mut buffer = [0u8; 2048];
        let (before, mut voices) = (self.heard, Vec::new());
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            // A port that another leg had a moment ago may still get that leg's audio.
            if self.target != Some(from) {
                continue;
            }
            if let Some(packet) = Packet::parse(&buffer[..len]).filter(|p| p.payload_type == 8) {
                self.ear.hear(packet.sequence, packet.payload);
                self.heard = true;
                voices.extend(self.ear.recognise());
            }
        }
        (self.heard && !before, voices)
    }

    /// So many packets more, where they are counted and all that were to be sent have been.
    pub(crate) fn say(&mut self, packets: u32) {
        if self.left == Some(0) {
            self.left = Some(packets);
        }
    }

    /// The next 20 ms, if this leg has somewhere to say them and something left to say.
    pub(crate) fn speak(&mut self) {
        let Some(target) = self.target.filter(|_| self.speaking) else { return };
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(FRAME as u32);
        if self.left == Some(0) {
            self.paused = true;
            return;
        }
        let mut buffer = [0u8; HEADER_LEN + FRAME];
        let payload = self.voice.next_frame();
        let packet = Packet {
            payload_type: 8,
            marker: self.paused,
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            payload: &payload,
        };
        self.paused = false;
        let len = packet.write(&mut buffer);
        let _ = self.socket.send_to(&buffer[..len], target);
        self.sequence = self.sequence.wrapping_add(1);
        self.left = self.left.map(|l| l - 1);
        self.spoken += 1;
        if self.jumping && self.spoken.is_multiple_of(JUMP) {
            self.jump();
        }
    }

    /// As phones do that re-offer, hold, or were rebooted: one of the three restarts, or all.
    fn jump(&mut self) {
        let what = self.spoken / JUMP % 4;
        if what == 0 || what == 3 {
            self.timestamp = self.timestamp.wrapping_sub(900_000_000);
        }
        if what == 1 || what == 3 {
            self.sequence = self.sequence.wrapping_add(20_011);
        }
        if what == 2 || what == 3 {
            self.ssrc = self.ssrc.wrapping_mul(2_654_435_761).wrapping_add(1);
        }
    }
}
