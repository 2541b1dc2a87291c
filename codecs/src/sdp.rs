//! SDP (RFC 8866) as far as a telephone gateway reads it: origin, addresses, media lines, codecs, direction.
//!
//! What cannot be read is passed over: a medium of which too little is understood is one that cannot be used, and is
//! kept so that an answer can refuse it in its place. Only what is no SDP at all is an error.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::rtp::is_payload_type;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SdpError {
    /// Counted from 1.
    pub line: usize,
    pub what: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub fn text(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
    /// What the other side answers to it (RFC 3264 6.1).
    pub fn reversed(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            same => same,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RtpMap {
    pub payload_type: u8,
    pub encoding: Cow<'static, str>,
    pub clock_hz: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Media {
    /// `audio`, `video`, `text`, `application`, …
    pub kind: Cow<'static, str>,
    /// Zero: refused or disabled.
    pub port: u16,
    /// `RTP/AVP`, …
    pub protocol: Cow<'static, str>,
    /// The formats as written; payload types for RTP.
    pub formats: Vec<Cow<'static, str>>,
    /// The address of this medium, its own or the session's; `None` when it is a name.
    pub address: Option<IpAddr>,
    pub direction: Direction,
    pub rtpmap: Vec<RtpMap>,
    pub ptime_ms: Option<u32>,
    pub rtcp_port: Option<u16>,
    pub rtcp_mux: bool,
    /// The first SSRC that is named (RFC 5576 4.1).
    pub ssrc: Option<u32>,
}

impl Media {
    pub fn is_rtp_audio(&self) -> bool {
        let plain = |p: &str| ["RTP/AVP", "RTP/AVPF"].iter().any(|known| p.eq_ignore_ascii_case(known));
        self.kind.eq_ignore_ascii_case("audio") && plain(&self.protocol)
    }
    pub fn payload_types(&self) -> impl Iterator<Item = u8> {
        self.formats.iter().filter_map(|f| f.parse().ok()).filter(|pt| is_payload_type(*pt))
    }
    /// The encoding name of a payload type: its rtpmap, or the static table (RFC 3551 6).
    pub fn encoding(&self, payload_type: u8) -> Option<(&str, u32)> {
        let mapped = self.rtpmap.iter().find(|m| m.payload_type == payload_type);
        mapped.map(|m| (&*m.encoding, m.clock_hz)).or(match payload_type {
            0 => Some(("PCMU", 8000)),
            3 => Some(("GSM", 8000)),
            8 => Some(("PCMA", 8000)),
            9 => Some(("G722", 8000)),
            13 => Some(("CN", 8000)),
            18 => Some(("G729", 8000)),
            _ => None,
        })
    }
    /// The first payload type with this encoding at 8 kHz.
    pub fn find(&self, encoding: &str) -> Option<u8> {
        self.payload_types()
            .find(|&pt| self.encoding(pt).is_some_and(|(e, hz)| hz == 8000 && e.eq_ignore_ascii_case(encoding)))
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sdp {
    pub session_id: u64,
    pub version: u64,
    pub media: Vec<Media>,
}

/// Media of a session at most; every one of them has its line in the answer.
pub const MEDIA_MAX: usize = 128;

impl Sdp {
    /// # Errors
    /// A text that is no SDP, or one with too many media.
    pub fn parse(bytes: &[u8]) -> Result<Sdp, SdpError> {
        let lossy;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                lossy = String::from_utf8_lossy(bytes);
                &lossy
            }
        };
        let mut sdp = Sdp::default();
        let mut session_address = None;
        let mut session_direction = Direction::SendRecv;
        let mut seen = false;
        for (i, line) in lines(text).enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let fail = |what| SdpError { line: i + 1, what };
            let split = (line.get(..1), line.get(1..).and_then(|rest| rest.strip_prefix('=')));
            let (Some(kind), Some(value)) = split else {
                if seen {
                    continue;
                }
                return Err(fail("the first line is not v="));
            };
            if !seen && kind != "v" {
                return Err(fail("the first line is not v="));
            }
            match kind {
                "v" => {
                    seen = true;
                    if value.trim() != "0" {
                        return Err(fail("version is not 0"));
                    }
                }
                "o" => {
                    let mut parts = value.split_ascii_whitespace().skip(1);
                    let mut number = || parts.next().and_then(|n| n.parse::<u64>().ok());
                    // Some phones write numbers beyond 64 bits; only change detection uses them.
                    sdp.session_id = number().unwrap_or(0);
                    sdp.version = number().unwrap_or(0);
                }
                "c" => {
                    let address = connection(value);
                    match sdp.media.last_mut() {
                        Some(media) => media.address = address,
                        None => session_address = address,
                    }
                }
                "m" => {
                    if sdp.media.len() >= MEDIA_MAX {
                        return Err(fail("more media than anybody offers"));
                    }
                    let mut media = media_line(value);
                    media.address = session_address;
                    media.direction = session_direction;
                    sdp.media.push(media);
                }
                "a" => match sdp.media.last_mut() {
                    Some(media) => {
                        let _ = attribute(media, value);
                    }
                    None => session_direction = direction(value).unwrap_or(session_direction),
                },
                _ => {}
            }
        }
        if !seen {
            return Err(SdpError { line: 1, what: "the first line is not v=" });
        }
        Ok(sdp)
    }

    /// Writes a session of one address; media without a port are written as refused.
    pub fn write(&self, address: IpAddr) -> Vec<u8> {
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        let address = address.to_string();
        let mut out = Out(String::with_capacity(512));
        out.text("v=0\r\no=- ").number(self.session_id).text(" ").number(self.version).text(" IN ").text(family);
        out.text(" ").text(&address).text("\r\ns=-\r\nc=IN ").text(family).text(" ").text(&address);
        out.text("\r\nt=0 0\r\n");
        for m in &self.media {
            out.text("m=").text(&m.kind).text(" ").number(m.port.into()).text(" ").text(&m.protocol);
            for format in &m.formats {
                out.text(" ").text(format);
            }
            out.text("\r\n");
            if m.port == 0 {
                continue;
            }
            for map in &m.rtpmap {
                let payload_type = map.payload_type.into();
                out.text("a=rtpmap:").number(payload_type).text(" ").text(&map.encoding).text("/");
                out.number(map.clock_hz.into()).text("\r\n");
                if map.encoding == "telephone-event" {
                    out.text("a=fmtp:").number(payload_type).text(" 0-15\r\n");
                }
            }
            if let Some(ptime) = m.ptime_ms {
                out.text("a=ptime:").number(ptime.into()).text("\r\n");
            }
            if m.rtcp_mux {
                out.text("a=rtcp-mux\r\n");
            }
            if let Some(ssrc) = m.ssrc {
                out.text("a=ssrc:").number(ssrc.into()).text(" cname:gw\r\n");
            }
            out.text("a=").text(m.direction.text()).text("\r\n");
        }
        out.0.into_bytes()
    }
}

/// Lines without their ends; what follows the last end is a line too.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memchr(b'\n', text.as_bytes());
        rest = end.map(|end| &text[end + 1..]);
        Some(end.map_or(text, |end| &text[..end]))
    })
}

struct Out(String);

impl Out {
    fn text(&mut self, text: &str) -> &mut Out {
        self.0.push_str(text);
        self
    }

    fn number(&mut self, number: u64) -> &mut Out {
        self.0.push_str(itoa::Buffer::new().format(number));
        self
    }
}

/// `None`: a host name, or nothing that could be read.
fn connection(value: &str) -> Option<IpAddr> {
    let mut parts = value.split_ascii_whitespace();
    let (net, family, address) = (parts.next()?, parts.next()?, parts.next()?);
    let known = net == "IN" && matches!(family, "IP4" | "IP6");
    address.split('/').next().filter(|_| known)?.parse().ok()
}

/// Words that every telephone says are not copied.
fn known(word: &str) -> Cow<'static, str> {
    const WORDS: [&str; 10] = ["audio", "RTP/AVP", "8", "0", "101", "PCMA", "PCMU", "telephone-event", "18", "G729"];
    WORDS.iter().find(|w| **w == word).map_or_else(|| Cow::Owned(word.to_owned()), |w| Cow::Borrowed(*w))
}

/// What is missing is filled in such that the medium is refused, and its refusal is sound.
fn media_line(value: &str) -> Media {
    let mut parts = value.split_ascii_whitespace();
    let kind = parts.next().map_or("application".into(), known);
    let port = parts.next().and_then(|p| p.split('/').next()?.parse().ok());
    let protocol = parts.next().map_or("RTP/AVP".into(), known);
    let mut formats: Vec<_> = parts.map(known).collect();
    let port = port.filter(|_| !formats.is_empty()).unwrap_or(0);
    if formats.is_empty() {
        formats.push("0".into());
    }
    Media { kind, port, protocol, formats, ..Media::default() }
}

fn direction(value: &str) -> Option<Direction> {
    match value.trim() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

/// `None`: it could not be read, and says nothing.
fn attribute(media: &mut Media, value: &str) -> Option<()> {
    if let Some(d) = direction(value) {
        media.direction = d;
    } else if let Some(map) = value.strip_prefix("rtpmap:") {
        let (pt, rest) = map.trim().split_once(' ')?;
        let mut parts = rest.trim().split('/');
        let encoding = known(parts.next()?);
        let clock_hz = parts.next()?.trim().parse().ok()?;
        // One that no packet can bear cannot be used; the line is no reason to refuse the call.
        if let Some(payload_type) = pt.parse().ok().filter(|pt| is_payload_type(*pt)) {
            media.rtpmap.push(RtpMap { payload_type, encoding, clock_hz });
        }
    } else if let Some(ptime) = value.strip_prefix("ptime:") {
        media.ptime_ms = ptime.trim().parse().ok();
    } else if let Some(rtcp) = value.strip_prefix("rtcp:") {
        media.rtcp_port = rtcp.split_ascii_whitespace().next()?.parse().ok();
    } else if let Some(ssrc) = value.strip_prefix("ssrc:") {
        media.ssrc = media.ssrc.or(ssrc.split_ascii_whitespace().next()?.parse().ok());
    } else if value == "rtcp-mux" {
        media.rtcp_mux = true;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 3972291300 3972291301 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendonly\r\nm=video 0 RTP/AVP 96\r\n";

    #[test]
    fn an_offer_gives_address_codecs_and_direction() {
        let sdp = Sdp::parse(OFFER.as_bytes()).expect("parses");
        let audio = &sdp.media[0];
        assert_eq!((sdp.version, audio.port, audio.direction), (3_972_291_301, 20_000, Direction::SendOnly));
        assert_eq!(audio.address, Some("192.0.2.10".parse().expect("an address")));
        assert_eq!(
            (audio.find("PCMA"), audio.find("PCMU"), audio.find("telephone-event")),
            (Some(8), Some(0), Some(101))
        );
        assert_eq!(sdp.media[1].port, 0);
    }

    #[test]
    fn what_is_written_parses_to_the_same() {
        let sdp = Sdp::parse(OFFER.as_bytes()).expect("parses");
        let again = Sdp::parse(&sdp.write("192.0.2.10".parse().expect("an address"))).expect("parses");
        assert_eq!(again.media[0], sdp.media[0]);
    }

    #[test]
    fn what_is_no_sdp_is_an_error_with_its_line() {
        for text in ["", "hello", "o=- 1 1 IN IP4 192.0.2.1\r\n"] {
            assert_eq!(Sdp::parse(text.as_bytes()).map_err(|e| e.line), Err(1), "{text}");
        }
        let many = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 8\r\n".repeat(MEDIA_MAX + 1));
        assert_eq!(Sdp::parse(many.as_bytes()).map_err(|e| e.line), Err(MEDIA_MAX + 2));
    }

    #[test]
    fn odd_lines_cost_no_call_that_has_one_usable_stream() {
        for odd in [
            "a=rtcp:",
            "a=rtpmap:x",
            "a=rtpmap:96",
            "a=candidate",
            "a=ssrc:",
            "a=",
            "b=x",
            "what is this",
            "k=",
            "m=video x RTP/AVP 96",
            "m=",
            "m=audio",
            "m=video 5000 RTP/AVP",
        ] {
            let text = format!("{OFFER}{odd}\r\n");
            let sdp = Sdp::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{odd}: {e:?}"));
            assert_eq!((sdp.media[0].port, sdp.media[0].find("PCMA")), (20_000, Some(8)), "{odd}");
            assert!(sdp.media[1..].iter().all(|m| m.port == 0 || m.kind != "audio"), "{odd}");
            let own = format!("{}{odd}\r\n", &OFFER[..OFFER.find("m=video").expect("there")]);
            let sdp = Sdp::parse(own.as_bytes()).unwrap_or_else(|e| panic!("{odd}: {e:?}"));
            assert_eq!((sdp.media[0].port, sdp.media[0].find("PCMA")), (20_000, Some(8)), "in the stream: {odd}");
        }
        for other in ["m=audio 20000 RTP/AVPF 8", "m=audio 20000 rtp/avp 8", "m=Audio 20000 RTP/avpf 8"] {
            let text = OFFER.replace("m=audio 20000 RTP/AVP 8", other);
            assert!(Sdp::parse(text.as_bytes()).expect("parses").media[0].is_rtp_audio(), "{other}");
        }
    }

    #[test]
    fn a_host_name_as_address_is_no_error() {
        let named = OFFER.replace("c=IN IP4 192.0.2.10", "c=IN IP4 phone.example");
        assert_eq!(Sdp::parse(named.as_bytes()).expect("parses").media[0].address, None);
    }
}
