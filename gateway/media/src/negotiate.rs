//! Offer and answer for telephone audio (RFC 3264): PCMA, PCMU, telephone-event; anything else is refused by port 0.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use codecs::address::is_unicast;
use codecs::audio::g711::Law;
use codecs::sdp::{Direction, Media, RtpMap, Sdp};

use crate::source::Remote;

/// What both sides agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    pub law: Law,
    pub payload_type: u8,
    pub telephone_event: Option<u8>,
    /// `None` when the peer named no usable address: wait for its first packet.
    pub remote: Option<Remote>,
    /// The SSRC that the peer says it will send (RFC 5576).
    pub ssrc: Option<u32>,
    /// Ours, seen from us.
    pub direction: Direction,
}

impl Agreed {
    /// The peer takes our audio: no hold, nothing that it only sends.
    pub fn is_listening(&self) -> bool {
        matches!(self.direction, Direction::SendRecv | Direction::SendOnly)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The SDP cannot be read; the line is counted from 1.
    Malformed { line: usize, what: &'static str },
    /// No audio medium that we could take: 488.
    NoCommonCodec,
    /// Audio that we could take, but to nowhere that we send to: a group, everybody, ourselves. 488.
    NoUsableAddress,
}

/// Where we are ourselves: never a peer of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Own {
    /// Bound, and announced.
    pub addresses: [IpAddr; 2],
    /// First and last of our media ports.
    pub ports: (u16, u16),
    pub sip_port: u16,
}

impl Own {
    fn reaches(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.is_ipv4() == ip.is_ipv4())
    }

    fn is(&self, at: SocketAddr) -> bool {
        let ip = at.ip().to_canonical();
        // Bound to everything we are every address of this host, of which only loopback is known here.
        let everywhere = self.addresses.iter().any(IpAddr::is_unspecified) && ip.is_loopback();
        let here = self.addresses.contains(&ip) || everywhere;
        here && ((self.ports.0..=self.ports.1).contains(&at.port()) || at.port() == self.sip_port)
    }
}

/// Our side of the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    pub address: IpAddr,
    pub own: Own,
    pub rtp_port: u16,
    /// Named in our SDP, so that a peer can tell our streams apart; the stream's own if at all.
    pub ssrc: Option<u32>,
    /// Of the `o=` line: constant for the session, and one higher with every change.
    pub session_id: u64,
    pub version: u64,
}

/// Reads an offer and writes the answer to it.
///
/// # Errors
/// Nothing to answer with: the SDP is malformed, or holds no G.711 audio that could be sent to.
pub fn answer(offer: &[u8], local: Local) -> Result<(Agreed, Vec<u8>), Refusal> {
    let offer = Sdp::parse(offer).map_err(|e| Refusal::Malformed { line: e.line, what: e.what })?;
    // The first that is fit in every way; with several, one that cannot be sent to is no reason to refuse the rest.
    let (mut refusal, mut found) = (Refusal::NoCommonCodec, None);
    for (i, medium) in offer.media.iter().enumerate() {
        match agreed(medium, &local.own) {
            Ok(agreed) => {
                found = Some((i, agreed));
                break;
            }
            Err(Refusal::NoUsableAddress) => refusal = Refusal::NoUsableAddress,
            Err(_) => {}
        }
    }
    let (chosen, agreed) = found.ok_or(refusal)?;
    let media = offer.media.iter().enumerate().map(|(i, m)| {
        if i == chosen {
            let mut ours = audio(local.rtp_port, agreed.law, agreed.payload_type, agreed.telephone_event);
            ours.protocol = m.protocol.clone();
            ours.direction = agreed.direction;
            ours.ssrc = local.ssrc;
            ours
        } else {
            Media {
                kind: m.kind.clone(),
                port: 0,
                protocol: m.protocol.clone(),
                formats: m.formats.clone(),
                ..Media::default()
            }
        }
    });
    let sdp = Sdp { session_id: local.session_id, version: local.version, media: media.collect() };
    Ok((agreed, sdp.write(local.address)))
}

/// An offer of A-law, µ-law and telephone-event 101.
pub fn offer(local: Local) -> Vec<u8> {
    let mut media = audio(local.rtp_port, Law::A, 8, Some(101));
    media.formats.insert(1, "0".into());
    media.rtpmap.insert(1, map(0, "PCMU"));
    media.ssrc = local.ssrc;
    Sdp { session_id: local.session_id, version: local.version, media: vec![media] }.write(local.address)
}

/// Reads the answer to an offer of ours.
///
/// # Errors
/// As `answer`.
pub fn accept(answer: &[u8], own: &Own) -> Result<Agreed, Refusal> {
    let answer = Sdp::parse(answer).map_err(|e| Refusal::Malformed { line: e.line, what: e.what })?;
    agreed(answer.media.first().ok_or(Refusal::NoCommonCodec)?, own)
}

fn usable(media: &Media) -> Option<(Law, u8)> {
    if !media.is_rtp_audio() || media.port == 0 {
        return None;
    }
    // The offerer's order decides among the two.
    media.payload_types().find_map(|pt| match media.encoding(pt)? {
        (name, 8000) if name.eq_ignore_ascii_case("PCMA") => Some((Law::A, pt)),
        (name, 8000) if name.eq_ignore_ascii_case("PCMU") => Some((Law::Mu, pt)),
        _ => None,
    })
}

fn agreed(media: &Media, own: &Own) -> Result<Agreed, Refusal> {
    let (law, payload_type) = usable(media).ok_or(Refusal::NoCommonCodec)?;
    // Of a family that we have no socket of: as good as none, audio is learned from where it comes.
    let named = media.address.map(|ip| ip.to_canonical()).filter(|ip| !ip.is_unspecified() && own.reaches(*ip));
    let remote = named.map(|ip| Remote {
        rtp: SocketAddr::new(ip, media.port),
        rtcp: SocketAddr::new(ip, media.rtcp_port.unwrap_or(media.port.wrapping_add(1))),
    });
    let sendable = |at: SocketAddr| is_unicast(at.ip()) && !own.is(at) && at.port() > 0;
    if remote.is_some_and(|r| !sendable(r.rtp) || own.is(r.rtcp)) {
        return Err(Refusal::NoUsableAddress);
    }
    // c=0.0.0.0 is the old way to say hold (RFC 3264 8.4).
    let held = media.address.is_some_and(|a| a.is_unspecified()) && media.direction == Direction::SendRecv;
    Ok(Agreed {
        law,
        payload_type,
        telephone_event: media.find("telephone-event"),
        remote,
        ssrc: media.ssrc,
        direction: if held { Direction::RecvOnly } else { media.direction.reversed() },
    })
}

fn audio(port: u16, law: Law, payload_type: u8, telephone_event: Option<u8>) -> Media {
    let name = match law {
        Law::A => "PCMA",
        Law::Mu => "PCMU",
    };
    let mut formats = vec![number(payload_type)];
    let mut rtpmap = vec![map(payload_type, name)];
    if let Some(pt) = telephone_event {
        formats.push(number(pt));
        rtpmap.push(map(pt, "telephone-event"));
    }
    Media {
        kind: "audio".into(),
        port,
        protocol: "RTP/AVP".into(),
        formats,
        rtpmap,
        ptime_ms: Some(20),
        ..Media::default()
    }
}

fn number(payload_type: u8) -> Cow<'static, str> {
    match payload_type {
        0 => "0".into(),
        8 => "8".into(),
        101 => "101".into(),
        other => other.to_string().into(),
    }
}

fn map(payload_type: u8, encoding: &'static str) -> RtpMap {
    RtpMap { payload_type, encoding: encoding.into(), clock_hz: 8000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Own = Own {
        addresses: [IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 5))],
        ports: (20_000, 31_999),
        sip_port: 5060,
    };
    const LOCAL: Local = Local {
        address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        own: OWN,
        rtp_port: 20_000,
        ssrc: None,
        session_id: 1,
        version: 1,
    };

    fn offered(lines: &str) -> String {
        format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{lines}")
    }

    #[test]
    fn the_first_g711_codec_of_the_offer_is_taken_and_video_refused_in_place() {
        let offer = offered(
            "m=video 5000 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 18 0 8 97\r\na=rtpmap:97 telephone-event/8000\r\n",
        );
        let (agreed, sdp) = answer(offer.as_bytes(), LOCAL).expect("answered");
        assert_eq!((agreed.law, agreed.payload_type, agreed.telephone_event), (Law::Mu, 0, Some(97)));
        assert_eq!(agreed.remote.map(|r| (r.rtp.port(), r.rtcp.port())), Some((4000, 4001)));
        let back = Sdp::parse(&sdp).expect("we write sound SDP");
        assert_eq!(
            back.media.iter().map(|m| (&*m.kind, m.port)).collect::<Vec<_>>(),
            [("video", 0), ("audio", 20_000)]
        );
        assert_eq!(accept(&sdp, &OWN), Err(Refusal::NoCommonCodec), "the first medium of the answer decides");
    }

    #[test]
    fn an_offer_without_g711_is_refused() {
        let offer = offered("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 AMR-WB/16000\r\n");
        assert_eq!(answer(offer.as_bytes(), LOCAL), Err(Refusal::NoCommonCodec));
        assert!(matches!(answer(b"x", LOCAL), Err(Refusal::Malformed { line: 1, .. })));
    }

    #[test]
    fn a_payload_type_that_no_packet_can_bear_is_passed_over() {
        for odd in [64, 72, 95, 128, 200, 255] {
            let offer = offered(&format!(
                "m=audio 4000 RTP/AVP {odd} 8\r\na=rtpmap:{odd} PCMA/8000\r\na=rtpmap:{odd} telephone-event/8000\r\n"
            ));
            let (agreed, _) = answer(offer.as_bytes(), LOCAL).expect("answered");
            assert_eq!((agreed.payload_type, agreed.telephone_event), (8, None), "{odd}");
            let alone = offered(&format!("m=audio 4000 RTP/AVP {odd}\r\na=rtpmap:{odd} PCMA/8000\r\n"));
            assert_eq!(answer(alone.as_bytes(), LOCAL), Err(Refusal::NoCommonCodec), "{odd}");
            assert_eq!(accept(alone.as_bytes(), &OWN), Err(Refusal::NoCommonCodec), "{odd}");
        }
    }

    #[test]
    fn hold_is_answered_with_the_reverse() {
        for (line, ours) in [
            ("a=sendonly", Direction::RecvOnly),
            ("a=inactive", Direction::Inactive),
            ("a=sendrecv", Direction::SendRecv),
        ] {
            let offer = offered(&format!("m=audio 4000 RTP/AVP 8\r\n{line}\r\n"));
            assert_eq!(answer(offer.as_bytes(), LOCAL).expect("answered").0.direction, ours);
        }
    }

    #[test]
    fn an_address_that_no_socket_of_ours_reaches_is_learned_from_packets_instead() {
        let remote = |address: &str| {
            let offer = offered(&format!("m=audio 4000 RTP/AVP 8\r\nc=IN {address}\r\n"));
            answer(offer.as_bytes(), LOCAL).map(|(agreed, _)| agreed.remote.map(|r| r.rtp.to_string()))
        };
        assert_eq!(remote("IP6 2400:cb00::1"), Ok(None));
        assert_eq!(remote("IP4 media.example"), Ok(None));
        assert_eq!(remote("IP6 ::ffff:203.0.113.5"), Ok(Some("203.0.113.5:4000".into())));
    }

    #[test]
    fn media_goes_to_one_host_only_and_never_to_ourselves() {
        for (address, port) in [
            ("224.0.0.5", 4000),
            ("255.255.255.255", 4000),
            ("0.1.2.3", 4000),
            ("203.0.113.5", 20_000),
            ("203.0.113.5", 31_999),
            ("203.0.113.5", 5060),
            ("127.0.0.1", 20_004),
            // Its RTCP would come to the first of our ports.
            ("127.0.0.1", 19_999),
        ] {
            let offer = offered(&format!("m=audio {port} RTP/AVP 8\r\nc=IN IP4 {address}\r\n"));
            assert_eq!(answer(offer.as_bytes(), LOCAL), Err(Refusal::NoUsableAddress), "{address}:{port}");
            assert_eq!(accept(offer.as_bytes(), &OWN), Err(Refusal::NoUsableAddress), "{address}:{port}");
        }
        // Written as IPv6 they are the same addresses.
        let mapped = offered("m=audio 20004 RTP/AVP 8\r\nc=IN IP6 ::ffff:127.0.0.1\r\n");
        assert_eq!(answer(mapped.as_bytes(), LOCAL), Err(Refusal::NoUsableAddress));
        for (address, port) in [("203.0.113.5", 40_000), ("127.0.0.1", 40_000), ("198.51.100.1", 20_000)] {
            let offer = offered(&format!("m=audio {port} RTP/AVP 8\r\nc=IN IP4 {address}\r\n"));
            assert!(answer(offer.as_bytes(), LOCAL).is_ok(), "{address}:{port}");
        }
        let second = offered(
            "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 224.0.0.5\r\nm=audio 4002 RTP/AVPF 0\r\nc=IN IP4 192.0.2.1\r\n",
        );
        let (agreed, sdp) = answer(second.as_bytes(), LOCAL).expect("the second can be had");
        assert_eq!(agreed.remote.map(|r| r.rtp.port()), Some(4002));
        let back = Sdp::parse(&sdp).expect("we write sound SDP");
        assert_eq!((back.media[0].port, &*back.media[1].protocol), (0, "RTP/AVPF"));
    }

    #[test]
    fn our_offer_is_accepted_by_our_answerer() {
        let peer = Local { own: Own { ports: (1, 2), ..OWN }, ..LOCAL };
        let (agreed, sdp) = answer(&offer(LOCAL), peer).expect("answered");
        assert_eq!((agreed.law, agreed.telephone_event), (Law::A, Some(101)));
        assert_eq!(accept(&sdp, &peer.own).expect("accepted").payload_type, 8);
    }
}
