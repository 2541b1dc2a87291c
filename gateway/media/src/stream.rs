//! One leg's RTP: where it comes from and goes to, numbers and clocks, RTCP (RFC 3550).

use std::net::SocketAddr;

use codecs::audio::FRAME;
use codecs::audio::g711::Law;
use codecs::rtp::rtcp::{Report, Sender};
use codecs::rtp::{Packet, TelephoneEvent};
use codecs::time::{Mono, Wall};

use crate::jitter::Jitter;
use crate::source::Source;

/// Comfort noise (RFC 3389): somebody is there, and says nothing.
const COMFORT_NOISE: u8 = 13;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// The first audio of the stream.
    First,
    Audio,
    Digit(char),
}

pub(crate) struct Stream {
    pub law: Law,
    pub payload_type: u8,
    pub telephone_event: Option<u8>,
    pub source: Source,
    heard_audio: bool,
    pub jitter: Jitter,
    // Receiving (RFC 3550 6.4.1, A.3, A.8).
    ssrc_in: Option<u32>,
    sequence_base: u32,
    sequence_max: u32,
    pub received: u32,
    received_before: u32,
    expected_before: u32,
    transit: i64,
    jitter_q4: i64,
    last_sr: u32,
    last_sr_at: Option<Mono>,
    last_event_timestamp: Option<u32>,
    // Sending.
    pub ssrc: u32,
    sequence: u16,
    timestamp: u32,
    pub packets_out: u32,
    marker: bool,
    pub strangers: u64,
    /// What the peer says it loses, of 256.
    pub remote_loss: u8,
}

impl Stream {
    pub(crate) fn new(law: Law, payload_type: u8, telephone_event: Option<u8>, seed: u64) -> Stream {
        Stream {
            law,
            payload_type,
            telephone_event,
            source: Source::default(),
            heard_audio: false,
            jitter: Jitter::new(law),
            ssrc_in: None,
            sequence_base: 0,
            sequence_max: 0,
            received: 0,
            received_before: 0,
            expected_before: 0,
            transit: 0,
            jitter_q4: 0,
            last_sr: 0,
            last_sr_at: None,
            last_event_timestamp: None,
            ssrc: seed as u32,
            sequence: (seed >> 32) as u16 & 0x7FFF,
            timestamp: (seed >> 20) as u32,
            packets_out: 0,
            marker: true,
            strangers: 0,
            remote_loss: 0,
        }
    }

    /// Changes what is sent, after a new offer/answer; the stream goes on.
    pub(crate) fn renegotiate(&mut self, law: Law, payload_type: u8, telephone_event: Option<u8>) {
        if law != self.law {
            self.jitter = Jitter::new(law);
        }
        (self.law, self.payload_type, self.telephone_event) = (law, payload_type, telephone_event);
    }

    /// Takes one RTP datagram.
    pub(crate) fn handle(&mut self, now: Mono, from: SocketAddr, bytes: &[u8]) -> Heard {
        let Some(packet) = Packet::parse(bytes) else { return Heard::Nothing };
        let is_sound = self.plays(packet.payload_type) && !packet.payload.is_empty();
        if !self.source.takes(now, from, &packet, is_sound) {
            self.strangers += 1;
            return Heard::Nothing;
        }
        self.count(now, &packet);
        if Some(packet.payload_type) == self.telephone_event {
            return self.handle_event(&packet);
        }
        if !self.buffer(&packet) {
            return Heard::Nothing;
        }
        if std::mem::replace(&mut self.heard_audio, true) { Heard::Audio } else { Heard::First }
    }

    /// Whether packets of this type are audio or keys of this leg.
    fn plays(&self, payload_type: u8) -> bool {
        let own = [Some(self.payload_type), self.telephone_event, Some(COMFORT_NOISE), Some(8), Some(0)];
        own.contains(&Some(payload_type))
    }

    /// `false`: it is nothing that could be played.
    fn buffer(&mut self, packet: &Packet<'_>) -> bool {
        let law = match packet.payload_type {
            pt if pt == self.payload_type => self.law,
            8 => Law::A,
            0 => Law::Mu,
            COMFORT_NOISE => {
                self.jitter.push(packet.timestamp, &[self.law.silence(); FRAME]);
                return true;
            }
            _ => return false,
        };
        if packet.payload.is_empty() {
            return false;
        }
        if law == self.law {
            self.jitter.push(packet.timestamp, packet.payload);
        } else {
            // A peer may switch among what it offered without a word (RFC 3264 5.1).
            let mut recoded = [0; FRAME];
            for (n, piece) in (0u32..).zip(packet.payload.chunks(FRAME)) {
                for (to, &from) in recoded.iter_mut().zip(piece) {
                    *to = law.recode(self.law, from);
                }
                let timestamp = packet.timestamp.wrapping_add(n * FRAME as u32);
                self.jitter.push(timestamp, &recoded[..piece.len()]);
            }
        }
        true
    }

    fn count(&mut self, now: Mono, packet: &Packet<'_>) {
        let sequence = u32::from(packet.sequence);
        if self.ssrc_in != Some(packet.ssrc) {
            if self.ssrc_in.is_some() {
                self.jitter.reset();
            }
            self.ssrc_in = Some(packet.ssrc);
            (self.sequence_base, self.sequence_max) = (sequence, sequence);
            (self.received, self.received_before, self.expected_before) = (0, 0, 0);
            self.jitter_q4 = 0;
            self.transit = 0;
        }
        self.received += 1;
        let step = packet.sequence.wrapping_sub(self.sequence_max as u16);
        if step < 0x8000 {
            self.sequence_max = self.sequence_max.wrapping_add(u32::from(step));
        }
        let arrival = (now.0 / 125_000) as i64;
        let transit = arrival - i64::from(packet.timestamp);
        if self.received > 1 {
            let d = (transit - self.transit).abs().min(8000);
            self.jitter_q4 += d - ((self.jitter_q4 + 8) >> 4);
        }
        self.transit = transit;
    }

    /// One digit an event, whatever number of packets carry it (RFC 4733 2.5).
    fn handle_event(&mut self, packet: &Packet<'_>) -> Heard {
        let Some(event) = TelephoneEvent::parse(packet.payload) else { return Heard::Nothing };
        if self.last_event_timestamp == Some(packet.timestamp) {
            return Heard::Nothing;
        }
        self.last_event_timestamp = Some(packet.timestamp);
        event.digit().map_or(Heard::Nothing, Heard::Digit)
    }

    /// Writes the next packet with 20 ms of code words; returns its length.
    pub(crate) fn packetize(&mut self, codes: &[u8; FRAME], target: &mut [u8]) -> usize {
        let packet = Packet {
            payload_type: self.payload_type,
            marker: std::mem::take(&mut self.marker),
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload: codes,
        };
        let len = packet.write(target);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets_out += 1;
        len
    }

    /// Lets the media clock run, whether a packet was sent or not.
    pub(crate) fn advance(&mut self, sent: bool) {
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        self.marker |= !sent;
    }

    pub(crate) fn handle_rtcp(&mut self, now: Mono, from: SocketAddr, bytes: &[u8]) {
        if !self.source.takes_reports(from) {
            self.strangers += 1;
            return;
        }
        let Some(heard) = codecs::rtp::rtcp::parse(bytes) else { return };
        if let Some((ssrc, sender)) = heard.sender
            && Some(ssrc) == self.ssrc_in
        {
            self.last_sr = (sender.ntp >> 16) as u32;
            self.last_sr_at = Some(now);
        }
        for report in heard.reports.iter().filter(|r| r.ssrc == self.ssrc) {
            self.remote_loss = report.fraction_lost;
        }
    }

    /// Writes SR or RR; returns its length.
    pub(crate) fn report(&mut self, now: Mono, wall: Wall, target: &mut [u8]) -> usize {
        let seconds_1900 = (wall.0 / 1_000_000_000 + 2_208_988_800) as u64;
        let fraction = ((wall.0 % 1_000_000_000) as u64) * (1 << 32) / 1_000_000_000;
        let sender = (self.packets_out > 0).then(|| Sender {
            ntp: seconds_1900 << 32 | fraction,
            rtp_timestamp: self.timestamp,
            packets: self.packets_out,
            octets: self.packets_out * FRAME as u32,
        });
        let report = self.ssrc_in.map(|ssrc| self.reception(now, ssrc));
        codecs::rtp::rtcp::write(target, self.ssrc, sender, report, "gw@110")
    }

    fn reception(&mut self, now: Mono, ssrc: u32) -> Report {
        let expected = self.sequence_max.wrapping_sub(self.sequence_base) + 1;
        let lost_in_interval =
            (expected - self.expected_before) as i64 - i64::from(self.received - self.received_before);
        let interval = i64::from(expected - self.expected_before);
        let fraction =
            if interval > 0 && lost_in_interval > 0 { (lost_in_interval * 256 / interval).min(255) } else { 0 };
        (self.expected_before, self.received_before) = (expected, self.received);
        Report {
            ssrc,
            fraction_lost: fraction as u8,
            cumulative_lost: expected.saturating_sub(self.received),
            highest_sequence: self.sequence_max,
            jitter: (self.jitter_q4 >> 4) as u32,
            last_sr: self.last_sr,
            delay_since_last_sr: self
                .last_sr_at
                .map_or(0, |at| (now.since(at).as_nanos() * 65_536 / 1_000_000_000) as u32),
        }
    }

    /// Packets that should have come and did not.
    pub(crate) fn lost(&self) -> u32 {
        match self.ssrc_in {
            Some(_) => (self.sequence_max.wrapping_sub(self.sequence_base) + 1).saturating_sub(self.received),
            None => 0,
        }
    }

    /// Interarrival jitter in milliseconds.
    pub(crate) fn jitter_ms(&self) -> u32 {
        (self.jitter_q4 >> 4) as u32 / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Remote;

    fn rtp(pt: u8, sequence: u16, ssrc: u32) -> Vec<u8> {
        let mut buffer = [0; 256];
        let packet = Packet {
            payload_type: pt,
            marker: false,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc,
            payload: &[1; 160],
        };
        let len = packet.write(&mut buffer);
        buffer[..len].to_vec()
    }

    fn stream() -> Stream {
        let mut s = Stream::new(Law::A, 8, Some(101), 7);
        let rtp = "10.0.0.1:4000".parse().expect("an address");
        s.source.name(Some(Remote { rtp, rtcp: "10.0.0.1:4001".parse().expect("an address") }), None);
        s
    }

    #[test]
    fn the_first_audio_is_told_whatever_came_before_it() {
        let mut s = stream();
        let from = "10.0.0.1:4000".parse().expect("an address");
        let key = TelephoneEvent { event: 5, end: true, volume: 10, duration: 160 }.write();
        let mut event = [0; 64];
        let len = Packet { payload_type: 101, marker: true, sequence: 1, timestamp: 9, ssrc: 1, payload: &key }
            .write(&mut event);
        assert_eq!(s.handle(Mono(0), from, &event[..len]), Heard::Digit('5'), "a key first");
        assert_eq!(s.handle(Mono(1), from, &rtp(96, 2, 1)), Heard::Nothing, "then something unknown");
        assert_eq!(s.handle(Mono(2), from, &rtp(8, 3, 1)), Heard::First);
        assert_eq!(s.handle(Mono(3), from, &rtp(8, 4, 1)), Heard::Audio);
        let mut quiet = stream();
        assert_eq!(quiet.handle(Mono(0), from, &rtp(13, 1, 1)), Heard::First, "comfort noise is somebody");
    }

    #[test]
    fn loss_is_counted_as_rfc_3550_says() {
        let mut s = stream();
        let from = "10.0.0.1:4000".parse().expect("an address");
        for n in (0..100).filter(|n| n % 4 != 3) {
            s.handle(Mono::from_millis(n * 20), from, &rtp(8, 65_500u16.wrapping_add(n as u16), 5));
        }
        let report = s.reception(Mono::from_millis(2000), 5);
        assert_eq!((report.cumulative_lost, report.fraction_lost), (24, (24 * 256 / 99) as u8));
        assert_eq!(report.highest_sequence, 65_500 + 98);
    }

    #[test]
    fn a_digit_is_reported_once() {
        let mut s = stream();
        let from = "10.0.0.1:4000".parse().expect("an address");
        let mut event = [0; 64];
        let payload = TelephoneEvent { event: 5, end: false, volume: 10, duration: 160 }.write();
        let len = Packet { payload_type: 101, marker: true, sequence: 1, timestamp: 9, ssrc: 1, payload: &payload }
            .write(&mut event);
        assert_eq!(s.handle(Mono(0), from, &event[..len]), Heard::Digit('5'));
        assert_eq!(s.handle(Mono(1), from, &event[..len]), Heard::Nothing);
    }
}
