//! RTP packets by the crate rtp-rs (RFC 3550), and telephone-event payloads (RFC 4733).

pub mod rtcp;

use rtp_rs::{RtpPacketBuilder, RtpReader, Seq};

/// Whether a payload type may stand in a packet: seven bits, and none that with its marker reads as RTCP (RFC 5761 4).
pub fn is_payload_type(payload_type: u8) -> bool {
    payload_type < 128 && !(64..96).contains(&payload_type)
}

/// Bytes of an RTP header without CSRC or extension.
pub const HEADER_LEN: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `None` for anything that is not a sound RTP packet of version 2.
    pub fn parse(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let reader = RtpReader::new(bytes).ok()?;
        Some(Packet {
            payload_type: reader.payload_type(),
            marker: reader.mark(),
            sequence: reader.sequence_number().into(),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
            payload: reader.payload(),
        })
    }

    /// Writes header and payload into `target`; returns the length.
    ///
    /// # Panics
    /// When `target` is shorter than 12 bytes and the payload: the caller sizes it.
    #[expect(clippy::expect_used, reason = "the caller sizes the target; nothing of it comes from outside")]
    pub fn write(&self, target: &mut [u8]) -> usize {
        RtpPacketBuilder::new()
            .payload_type(self.payload_type & 0x7F)
            .marked(self.marker)
            .sequence(Seq::from(self.sequence))
            .timestamp(self.timestamp)
            .ssrc(self.ssrc)
            .payload(self.payload)
            .build_into(target)
            .expect("the target holds header and payload")
    }
}

/// RTCP shares the port under RFC 5761: payload types 192 to 223 in the second byte.
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [first, 192..=223, ..] if first >> 6 == 2)
}

/// One telephone-event payload (RFC 4733 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    /// 0–9, 10 `*`, 11 `#`, 12–15 A–D.
    pub event: u8,
    pub end: bool,
    /// Power below 0 dBm0, in dB (0 to 63).
    pub volume: u8,
    /// In timestamp units since the event's timestamp.
    pub duration: u16,
}

impl TelephoneEvent {
    pub fn parse(payload: &[u8]) -> Option<TelephoneEvent> {
        let [event, flags, high, low] = *payload.get(..4)? else { return None };
        Some(TelephoneEvent {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3F,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    pub fn write(&self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, (u8::from(self.end) << 7) | (self.volume & 0x3F), high, low]
    }

    /// The key on a telephone, for events 0 to 15.
    pub fn digit(&self) -> Option<char> {
        b"0123456789*#ABCD".get(usize::from(self.event)).map(|&b| char::from(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_survives_write_and_parse() {
        let packet = Packet {
            payload_type: 101,
            marker: true,
            sequence: 1000,
            timestamp: 160_000,
            ssrc: 0x1122_3344,
            payload: &[5, 0x0a, 0, 0xa0],
        };
        let mut buffer = [0; 64];
        let len = packet.write(&mut buffer);
        assert_eq!(&buffer[..12], b"\x80\xe5\x03\xe8\x00\x02\x71\x00\x11\x22\x33\x44");
        assert_eq!(Packet::parse(&buffer[..len]), Some(packet));
    }

    #[test]
    fn a_payload_type_that_no_packet_can_bear_is_told_and_never_a_panic() {
        for payload_type in 0..=255 {
            let packet = Packet { payload_type, marker: true, sequence: 1, timestamp: 1, ssrc: 1, payload: &[0] };
            let mut buffer = [0; 64];
            let len = packet.write(&mut buffer);
            let survives = Packet::parse(&buffer[..len]) == Some(packet) && !is_rtcp(&buffer[..len]);
            assert_eq!(survives, is_payload_type(payload_type), "{payload_type}");
        }
    }

    #[test]
    fn a_telephone_event_is_the_published_vector() {
        let event = TelephoneEvent { event: 5, end: true, volume: 10, duration: 0x320 };
        assert_eq!(event.write(), [0x05, 0x8a, 0x03, 0x20]);
        assert_eq!(TelephoneEvent::parse(&event.write()), Some(event));
        assert_eq!(event.digit(), Some('5'));
        assert_eq!(TelephoneEvent::parse(&[5, 0x8a]), None);
    }

    #[test]
    fn garbage_is_no_packet() {
        assert_eq!(Packet::parse(&[]), None);
        assert_eq!(Packet::parse(&[0x80; 11]), None);
        assert_eq!(Packet::parse(&[0x9f; 20]), None, "extension or CSRC beyond the end");
        assert!(is_rtcp(&[0x80, 200, 0, 0]) && !is_rtcp(&[0x80, 8, 0, 0]));
    }
}
