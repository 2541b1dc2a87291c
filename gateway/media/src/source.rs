//! Whose packets a leg takes, and where its own go: to what the SDP names, to a peer behind a NAT once it is known, to
//! nobody else, and to nobody at all before they have shown that they are there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use codecs::rtp::Packet;
use codecs::time::Mono;

/// Sound packets in sequence before an address is believed.
const IN_SEQUENCE: u8 = 3;
/// Ports that may turn out to be the peer's at one time.
const CANDIDATES: usize = 4;
/// One of which nothing has come for so long is none any more.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(200);
/// A peer behind a NAT that stays silent this long may have got another port.
const MOVES_AFTER: Duration = Duration::from_millis(500);

/// Where the peer's SDP says it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remote {
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
}

/// Somebody who may be the peer.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    at: SocketAddr,
    ssrc: u32,
    next: u16,
    seen: u8,
    heard: Mono,
}

#[derive(Default)]
pub(crate) struct Source {
    named: Option<Remote>,
    /// Where a peer behind a NAT signals from: its media may come from any port there.
    near: Option<IpAddr>,
    /// A port learnt there.
    learnt: Option<SocketAddr>,
    candidates: [Option<Candidate>; CANDIDATES],
    /// What the SDP names has spoken: nobody else does any more.
    named_spoke: bool,
    last_heard: Option<Mono>,
    /// They have shown that they are there: an ACK or a 2xx came, or a packet.
    is_open: bool,
}

impl Source {
    /// What a new offer/answer says. `near`: the address that signalling comes from, where media may as well.
    pub(crate) fn name(&mut self, named: Option<Remote>, near: Option<IpAddr>) {
        if (named, near) != (self.named, self.near) {
            (self.named, self.near, self.named_spoke) = (named, near, false);
            (self.learnt, self.candidates) = (None, Default::default());
        }
    }

    /// From now on packets may be sent.
    pub(crate) fn open(&mut self) {
        self.is_open = true;
    }

    pub(crate) fn heard_since(&self, then: Mono) -> bool {
        self.last_heard.is_some_and(|at| at > then)
    }

    pub(crate) fn was_heard(&self) -> bool {
        self.last_heard.is_some()
    }

    /// Where packets go.
    pub(crate) fn target(&self) -> Option<SocketAddr> {
        self.learnt.or(self.named.map(|r| r.rtp)).filter(|_| self.is_open)
    }

    /// Where reports go: to a peer behind a NAT none do, since nobody knows the port.
    pub(crate) fn reports_to(&self) -> Option<SocketAddr> {
        self.named.map(|r| r.rtcp).filter(|_| self.is_open && self.learnt.is_none())
    }

    /// Whether a packet is the peer's. Nobody is learnt from what is no sound.
    pub(crate) fn takes(&mut self, now: Mono, from: SocketAddr, packet: &Packet<'_>, is_sound: bool) -> bool {
        let theirs = if self.named.is_some_and(|r| r.rtp == from) {
            // The one that the SDP names is right, whoever was heard before.
            (self.learnt, self.candidates, self.named_spoke) = (None, Default::default(), true);
            true
        } else {
            self.learnt == Some(from) || is_sound && self.learn(now, from, packet)
        };
        if theirs {
            self.last_heard = Some(now);
            self.is_open = true;
        }
        theirs
    }

    pub(crate) fn takes_reports(&self, from: SocketAddr) -> bool {
        self.named.is_some_and(|r| r.rtcp == from || r.rtp == from)
            || self.learnt.is_some_and(|at| at.ip() == from.ip())
    }

    /// A peer behind a NAT: its address is known, its port is that of three packets in sequence.
    fn learn(&mut self, now: Mono, from: SocketAddr, packet: &Packet<'_>) -> bool {
        let silent = self.last_heard.is_none_or(|at| now.since(at) >= MOVES_AFTER);
        if self.named_spoke || !silent || self.near != Some(from.ip().to_canonical()) {
            return false;
        }
        let place = self.candidate_place(now, from);
        let goes_on = |c: &&Candidate| c.at == from && c.ssrc == packet.ssrc && c.next == packet.sequence;
        let seen = self.candidates[place].as_ref().filter(goes_on).map_or(1, |c| c.seen + 1);
        let next = packet.sequence.wrapping_add(1);
        self.candidates[place] = Some(Candidate { at: from, ssrc: packet.ssrc, next, seen, heard: now });
        if seen < IN_SEQUENCE {
            return false;
        }
        (self.learnt, self.candidates) = (Some(from), Default::default());
        true
    }

    /// Its own; else one that is free or forgotten; else that of whoever was least in sequence, and of those the last
    /// to come: whoever was there first is not crowded out.
    fn candidate_place(&self, now: Mono, from: SocketAddr) -> usize {
        let own = self.candidates.iter().position(|c| c.is_some_and(|c| c.at == from));
        let is_free = |c: &Option<Candidate>| c.is_none_or(|c| now.since(c.heard) > FORGOTTEN_AFTER);
        own.or_else(|| self.candidates.iter().position(is_free)).unwrap_or_else(|| {
            let least = |(_, c): &(usize, &Option<Candidate>)| c.map(|c| (c.seen, std::cmp::Reverse(c.heard)));
            self.candidates.iter().enumerate().min_by_key(least).map_or(0, |(place, _)| place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn packet(sequence: u16, ssrc: u32) -> Packet<'static> {
        Packet { payload_type: 8, marker: false, sequence, timestamp: 0, ssrc, payload: &[] }
    }

    fn source(named: &str, near: Option<&str>) -> Source {
        let rtp = at(named);
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        let mut s = Source::default();
        s.name(Some(Remote { rtp, rtcp }), near.map(|n| n.parse().expect("an address")));
        s
    }

    fn ms(n: u64) -> Mono {
        Mono::from_millis(n)
    }

    /// Five packets in sequence from an address, from `start` ms on; how many are taken.
    fn talk(s: &mut Source, from: &str, start: u64, first: u16) -> usize {
        (0..5).filter(|n| s.takes(ms(start + n * 20), at(from), &packet(first + *n as u16, 1), true)).count()
    }

    #[test]
    fn what_is_no_sound_is_nobodys_and_a_neighbour_out_of_sequence_hides_no_peer() {
        let near = Some("203.0.113.7");
        let mut s = source("192.168.1.5:4000", near);
        s.open();
        for n in 0..50 {
            assert!(!s.takes(ms(n * 5), at("203.0.113.7:20000"), &packet(n as u16, 9), false), "no sound");
        }
        let mut s = source("192.168.1.5:4000", near);
        let mut taken = 0;
        for n in 0..10u16 {
            for neighbour in [20_000, 20_002] {
                assert!(!s.takes(
                    ms(u64::from(n) * 20),
                    at(&format!("203.0.113.7:{neighbour}")),
                    &packet(n * 7, 9),
                    true
                ));
            }
            taken += usize::from(s.takes(ms(u64::from(n) * 20 + 1), at("203.0.113.7:30000"), &packet(n, 1), true));
        }
        assert_eq!((taken, s.target()), (8, Some(at("203.0.113.7:30000"))));
    }

    #[test]
    fn only_what_the_sdp_names_is_heard_however_long_it_is_silent() {
        let mut s = source("192.0.2.1:4000", None);
        for stranger in ["192.0.2.1:4002", "192.0.2.9:4000", "198.51.100.1:4000"] {
            assert_eq!(talk(&mut s, stranger, 0, 1), 0, "{stranger} before");
        }
        assert_eq!(talk(&mut s, "192.0.2.1:4000", 1000, 1), 5);
        for stranger in ["192.0.2.1:4002", "192.0.2.9:4000", "198.51.100.1:4000"] {
            assert_eq!(talk(&mut s, stranger, 100_000, 1), 0, "{stranger} after a long silence");
        }
        assert_eq!(s.target(), Some(at("192.0.2.1:4000")));
    }

    #[test]
    fn nothing_is_sent_before_they_have_shown_that_they_are_there() {
        let mut s = source("192.0.2.1:4000", None);
        assert_eq!((s.target(), s.reports_to()), (None, None));
        talk(&mut s, "198.51.100.1:4000", 0, 1);
        assert_eq!(s.target(), None, "a stranger's packet opens nothing");
        s.open();
        assert_eq!((s.target(), s.reports_to()), (Some(at("192.0.2.1:4000")), Some(at("192.0.2.1:4001"))));
        let mut s = source("192.0.2.1:4000", None);
        talk(&mut s, "192.0.2.1:4000", 0, 1);
        assert_eq!(s.target(), Some(at("192.0.2.1:4000")), "a packet of theirs does");
    }

    #[test]
    fn behind_a_nat_the_port_is_that_of_three_packets_in_sequence_from_where_signalling_came() {
        let mut s = source("192.168.1.5:4000", Some("203.0.113.7"));
        s.open();
        assert_eq!(talk(&mut s, "203.0.113.8:30000", 0, 1), 0, "another address");
        // One packet each from many ports, or out of sequence: nobody is believed.
        for n in 0..100u16 {
            assert!(!s.takes(ms(200), at(&format!("203.0.113.7:{}", 20_000 + n)), &packet(7, 9), true));
        }
        for n in [1, 3, 5, 2, 9] {
            assert!(!s.takes(ms(300), at("203.0.113.7:30000"), &packet(n, 1), true));
        }
        assert_eq!(talk(&mut s, "203.0.113.7:30000", 400, 20), 3, "the third opens it");
        assert_eq!(s.target(), Some(at("203.0.113.7:30000")));
        assert_eq!(s.reports_to(), None);
        assert!(s.takes_reports(at("203.0.113.7:30001")) && !s.takes_reports(at("203.0.113.8:30001")));
        assert_eq!(talk(&mut s, "203.0.113.7:40000", 500, 1), 0, "another port while the first is heard");
        assert_eq!(talk(&mut s, "203.0.113.7:40000", 1100, 1), 3, "the router has moved it after half a second");
        assert_eq!(s.target(), Some(at("203.0.113.7:40000")));
        // What the SDP names takes the leg back at once, and keeps it.
        assert_eq!(talk(&mut s, "192.168.1.5:4000", 1200, 1), 5);
        assert_eq!(s.target(), Some(at("192.168.1.5:4000")));
        assert_eq!(talk(&mut s, "203.0.113.7:40000", 9000, 9), 0);
    }

    #[test]
    fn a_new_offer_moves_the_leg_and_the_same_one_does_not() {
        let mut s = source("192.168.1.5:4000", Some("203.0.113.7"));
        assert_eq!(talk(&mut s, "203.0.113.7:30000", 0, 1), 3);
        let again = Remote { rtp: at("192.168.1.5:4000"), rtcp: at("192.168.1.5:4001") };
        s.name(Some(again), Some("203.0.113.7".parse().expect("an address")));
        assert_eq!(s.target(), Some(at("203.0.113.7:30000")));
        s.name(Some(Remote { rtp: at("192.0.2.2:5000"), ..again }), None);
        assert_eq!(s.target(), Some(at("192.0.2.2:5000")));
        assert_eq!(talk(&mut s, "203.0.113.7:30000", 100, 9), 0);
    }
}
