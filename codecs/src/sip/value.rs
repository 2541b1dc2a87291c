//! Header values: Via, name-addr, CSeq (RFC 3261 20).

use std::net::IpAddr;

use super::class::{self, END_OF_URI, TOKEN};
use super::lex::{Params, decimal, is_token, trim};
use super::message::Method;
use super::uri::{Host, Uri};
use crate::address::is_unicast;

/// One Via value (RFC 3261 20.42).
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS`, … as written.
    pub transport: &'a [u8],
    /// Host and port as written.
    pub sent_by: &'a [u8],
    pub host: Host<'a>,
    pub port: Option<u16>,
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    pub fn parse(text: &'a [u8]) -> Option<Via<'a>> {
        Via::usual(text).or_else(|| Via::however_written(text))
    }

    /// Without white space but for one blank, to a name or an IPv4 address; `None` says nothing.
    fn usual(text: &'a [u8]) -> Option<Via<'a>> {
        let text = text.strip_prefix(b"SIP/2.0/")?;
        let (transport, rest) = text.split_at(class::run(text, TOKEN));
        let rest = rest.strip_prefix(b" ")?;
        let (host, port, params) = Host::begin(rest)?;
        let (sent_by, params) = (&rest[..rest.len() - params.len()], Params(params));
        let sound = !transport.is_empty() && params.are_valid();
        sound.then_some(Via { transport, sent_by, host, port, params })
    }

    fn however_written(text: &'a [u8]) -> Option<Via<'a>> {
        let (protocol, rest) = token_then(text, b'/')?;
        let (version, rest) = token_then(rest, b'/')?;
        if !protocol.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
            return None;
        }
        let rest = trim(rest);
        let end = class::run(rest, TOKEN);
        let transport = &rest[..end];
        let after = &rest[end..];
        if transport.is_empty() || !matches!(after, [b' ' | b'\t' | b'\r' | b'\n', ..]) {
            return None;
        }
        let after = trim(after);
        let (sent_by, params) = after.split_at(class::position(after, b';').unwrap_or(after.len()));
        let (sent_by, params) = (trim(sent_by), Params(params));
        let (host, port) = Host::parse_with_port(sent_by)?;
        params.are_valid().then_some(Via { transport, sent_by, host, port, params })
    }

    /// Where its sender wants the answer.
    pub fn reply_to(&self) -> ReplyTo {
        let maddr = self.params.get("maddr").and_then(|text| match Host::parse_with_port(text)? {
            (Host::Ip(ip), None) => Some(ip),
            _ => None,
        });
        let secure = self.transport.eq_ignore_ascii_case(b"TLS");
        let port = self.port.filter(|p| *p > 0).unwrap_or(if secure { 5061 } else { 5060 });
        ReplyTo { maddr: maddr.filter(|ip| is_unicast(*ip)), port, rport: self.params.get("rport").is_some() }
    }

    /// The branch, if it carries the magic cookie and something after it (RFC 3261 8.1.1.7).
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.get("branch").filter(|b| b.len() > 7 && b[..7].eq_ignore_ascii_case(b"z9hG4bK"))
    }
}

/// What the top Via of a request says of the answer's way (RFC 3261 18.2.2, RFC 3581 4). A multicast `maddr` is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyTo {
    pub maddr: Option<IpAddr>,
    /// Of the sent-by, or the transport's default.
    pub port: u16,
    /// The answer is to go to the port that the request came from.
    pub rport: bool,
}

fn token_then(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let text = trim(text);
    let at = class::position(text, separator)?;
    let token = trim(&text[..at]);
    (!token.is_empty() && class::all(token, TOKEN)).then_some((token, &text[at + 1..]))
}

/// From, To, Contact, Route, P-Asserted-Identity: display name, URI, header parameters.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// As written, quotes included.
    pub display: &'a [u8],
    /// The URI as written, without the angle brackets.
    pub uri_text: &'a [u8],
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    pub fn parse(text: &'a [u8]) -> Option<NameAddr<'a>> {
        let text = trim(text);
        let (display, after) = if text.first() == Some(&b'<') {
            (&text[..0], text)
        } else if text.first() == Some(&b'"') {
            let close = closing_quote(text)?;
            (&text[..=close], trim(&text[close + 1..]))
        } else {
            match class::position(text, b'<') {
                // An unquoted display name is tokens and white space (RFC 3261 25.1).
                Some(open) => {
                    let display = trim(&text[..open]);
                    let plain = |b: &u8| is_token(*b) || b.is_ascii_whitespace() || *b >= 0x80;
                    if !display.iter().all(plain) {
                        return None;
                    }
                    (display, &text[open..])
                }
                None => return NameAddr::addr_spec(text),
            }
        };
        let inner = after.strip_prefix(b"<")?;
        let close = class::find(inner, END_OF_URI).filter(|end| inner[*end] == b'>')?;
        let uri_text = &inner[..close];
        let params = Params(trim(&inner[close + 1..]));
        (!uri_text.is_empty() && params.are_valid()).then_some(NameAddr { display, uri_text, params })
    }

    /// Without angle brackets every parameter belongs to the header (RFC 3261 20), and `?` or `,` may not occur.
    fn addr_spec(text: &'a [u8]) -> Option<NameAddr<'a>> {
        let end = class::position(text, b';').unwrap_or(text.len());
        let uri_text = trim(&text[..end]);
        if uri_text.is_empty() || uri_text.iter().any(|b| b.is_ascii_whitespace() || matches!(b, b'?' | b',')) {
            return None;
        }
        let params = Params(&text[end..]);
        params.are_valid().then_some(NameAddr { display: b"", uri_text, params })
    }

    pub fn uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.uri_text)
    }

    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.get("tag").filter(|t| !t.is_empty())
    }
}

fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut i = 1;
    while i < text.len() {
        match text[i] {
            b'\\' => i += 1,
            b'"' => return Some(i),
            _ => {}
        }
        i += 1;
    }
    None
}

/// CSeq (RFC 3261 20.16): the number is below 2^31.
#[derive(Clone, Copy, Debug)]
pub struct CSeq<'a> {
    pub number: u32,
    pub method: Method,
    pub method_text: &'a [u8],
}

impl<'a> CSeq<'a> {
    pub fn parse(text: &'a [u8]) -> Option<CSeq<'a>> {
        let text = trim(text);
        let end = text.iter().position(|b| !b.is_ascii_digit())?;
        let mut digits = &text[..end];
        while let [b'0', rest @ ..] = digits
            && !rest.is_empty()
        {
            digits = rest;
        }
        let number = decimal(digits).filter(|&n| n < 1 << 31)? as u32;
        let method_text = trim(&text[end..]);
        let separated = matches!(text[end], b' ' | b'\t' | b'\r' | b'\n');
        let sound = separated && !method_text.is_empty() && method_text.iter().all(|&b| is_token(b));
        sound.then(|| CSeq { number, method: Method::parse(method_text), method_text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracket_left_open_in_a_parameter_is_malformed_and_hides_nothing_behind_it() {
        assert!(Via::parse(b"SIP/2.0/TCP h.example;branch=z9hG4bK209<").is_none());
        assert!(Via::parse(b"SIP/2.0/TCP h.example;branch=z9hG4bK209>;rport").is_none());
        assert!(NameAddr::parse(b"<sip:a@h>;x=<sip:b@h>;tag=1").is_some());
    }

    #[test]
    fn parameters_of_a_bare_uri_belong_to_the_header() {
        let one = NameAddr::parse(b"sip:a@b;tag=x").expect("parses");
        assert_eq!((one.uri_text, one.tag()), (&b"sip:a@b"[..], Some(&b"x"[..])));
        let two = NameAddr::parse(b"<sip:a@b;lr>;tag=y").expect("parses");
        assert_eq!(two.uri_text, b"sip:a@b;lr");
    }

    #[test]
    fn a_via_is_the_same_however_it_is_looked_at() {
        let pieces: [&[u8]; 16] = [
            b"UDP",
            b" ",
            b"a",
            b"110",
            b":",
            b"5060",
            b";",
            b"?",
            b"=",
            b"1.2.3.4",
            b"[::1]",
            b";rport",
            b"<",
            b"/",
            b"b.c",
            b";branch=z9hG4bKx",
        ];
        let mut seed = 5u64;
        for _ in 0..200_000 {
            let mut text = b"SIP/2.0/UDP ".to_vec();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for n in 0..(seed >> 61) {
                text.extend_from_slice(pieces[(seed >> (n * 4 + 5)) as usize % pieces.len()]);
            }
            let text = trim(&text);
            if let Some(usual) = Via::usual(text) {
                let slow = Via::however_written(text);
                assert_eq!(slow.map(|v| format!("{v:?}")), Some(format!("{usual:?}")), "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn via_keeps_branch_rport_and_odd_spacing() {
        let via = Via::parse(b"SIP  / 2.0\r\n /UDP\r\n    192.0.2.2:5060 ;branch=z9hG4bKx;rport").expect("parses");
        assert_eq!((via.transport, via.port, via.branch()), (&b"UDP"[..], Some(5060), Some(&b"z9hG4bKx"[..])));
        assert_eq!(via.params.get("rport"), Some(&b""[..]));
        assert!(Via::parse(b"SIP/2.0/UDP 192.0.2.15;;,;,,").is_none());
    }

    #[test]
    fn cseq_takes_leading_zeros_and_refuses_two_to_the_thirty_one() {
        assert_eq!(CSeq::parse(b"0009\r\n  INVITE").map(|c| c.number), Some(9));
        assert!(CSeq::parse(b"2147483648 INVITE").is_none());
        assert!(CSeq::parse(b"1INVITE").is_none());
    }
}
