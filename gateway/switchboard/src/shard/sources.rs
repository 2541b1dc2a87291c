//! Which leg a packet on a shared port belongs to: by the address that the leg's SDP names, and where several legs name
//! one address (a trunk that sends all its calls from one port) by the SSRC that it names as well (RFC 5576 4.1).

use std::collections::HashMap;
use std::net::SocketAddr;

use media::{LegId, Remote};

/// What a leg's SDP says of where its packets come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    pub remote: Remote,
    pub ssrc: Option<u32>,
}

impl Origin {
    /// Whether RTCP, and from where. They are kept apart, since one leg's RTCP may come from the port below another's
    /// RTP.
    fn addresses(self) -> [(bool, SocketAddr); 2] {
        [(false, self.remote.rtp), (true, self.remote.rtcp)]
    }
}

/// Port, whether RTCP, sender.
type Place = (u16, bool, SocketAddr);

#[derive(Default)]
pub(super) struct Sources {
    /// Nearly always one leg a place; with the SSRC that it named.
    legs: HashMap<Place, Vec<(LegId, Option<u32>)>>,
}

impl Sources {
    pub(super) fn claim(&mut self, port: u16, leg: LegId, origin: Origin) {
        for (rtcp, from) in origin.addresses() {
            self.legs.entry((port, rtcp, from)).or_default().push((leg, origin.ssrc));
        }
    }

    pub(super) fn release(&mut self, port: u16, leg: LegId, origin: Origin) {
        for (rtcp, from) in origin.addresses() {
            let key = (port, rtcp, from);
            let Some(legs) = self.legs.get_mut(&key) else { continue };
            legs.retain(|(l, _)| *l != leg);
            if legs.is_empty() {
                self.legs.remove(&key);
            }
        }
    }

    /// A leg that is alone at its address gets whatever comes from there. Of several the one that named the packet's
    /// SSRC; a packet that none of them named goes to the first that named nothing: never to somebody else's call.
    pub(super) fn find(&self, port: u16, rtcp: bool, from: SocketAddr, packet: &[u8]) -> Option<LegId> {
        let legs = self.legs.get(&(port, rtcp, from))?;
        if let [(leg, _)] = legs[..] {
            return Some(leg);
        }
        let at = if rtcp { 4 } else { 8 };
        let ssrc = packet.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let named = |wanted: Option<u32>| legs.iter().find(|(_, s)| *s == wanted).map(|(leg, _)| *leg);
        ssrc.and_then(|ssrc| named(Some(ssrc))).or_else(|| named(None))
    }
}

#[cfg(test)]
mod tests {
    use codecs::audio::g711::Law;
    use codecs::sdp::Direction;
    use media::negotiate::Agreed;
    use media::{Engine, LegConfig};

    use super::*;

    fn legs<const N: usize>() -> [LegId; N] {
        let agreed = Agreed {
            law: Law::A,
            payload_type: 8,
            telephone_event: None,
            remote: None,
            ssrc: None,
            direction: Direction::SendRecv,
        };
        let mut engine = Engine::default();
        std::array::from_fn(|n| engine.add_leg(&agreed, LegConfig { seed: n as u64, tag: 0, near: None }))
    }

    fn origin(port: u16, ssrc: Option<u32>) -> Origin {
        let at = |p: u16| SocketAddr::from(([192, 0, 2, 1], p));
        Origin { remote: Remote { rtp: at(port), rtcp: at(port + 1) }, ssrc }
    }

    fn packet(ssrc: u32) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
        bytes
    }

    #[test]
    fn two_legs_of_one_address_are_told_apart_by_the_ssrc_they_named() {
        let ([a, b, c], mut sources) = (legs(), Sources::default());
        let from = origin(4000, None).remote.rtp;
        sources.claim(20_000, a, origin(4000, Some(1)));
        assert_eq!(sources.find(20_000, false, from, &packet(9)), Some(a), "alone it gets whatever comes");
        sources.claim(20_000, b, origin(4000, Some(2)));
        let find = |s: &Sources, ssrc| s.find(20_000, false, from, &packet(ssrc));
        assert_eq!([find(&sources, 1), find(&sources, 2), find(&sources, 3)], [Some(a), Some(b), None]);
        sources.claim(20_000, c, origin(4000, None));
        assert_eq!(find(&sources, 3), Some(c));
        let mut report = [0; 8];
        report[4..].copy_from_slice(&2u32.to_be_bytes());
        assert_eq!(sources.find(20_000, true, origin(4000, None).remote.rtcp, &report), Some(b));
        sources.release(20_000, a, origin(4000, Some(1)));
        sources.release(20_000, c, origin(4000, None));
        assert_eq!(find(&sources, 3), Some(b));
        sources.release(20_000, b, origin(4000, Some(2)));
        assert!(sources.legs.is_empty());
    }
}
