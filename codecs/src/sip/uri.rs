//! SIP, SIPS and tel URIs (RFC 3261 19.1, RFC 3966), and hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::class::{self, END_OF_USER, HOST, NOT_URI, SCHEME};
use super::lex::{Params, decimal, trim};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// `urn:service:sos…` (RFC 5031).
    Urn,
    Other,
}

/// A host as written: an address or a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host<'a> {
    Ip(IpAddr),
    Name(&'a [u8]),
}

/// A host, its port, what follows.
type HostThen<'a> = (Host<'a>, Option<u16>, &'a [u8]);

impl<'a> Host<'a> {
    /// A name or an IPv4 address with or without a port at the beginning of `text`, up to its end, a `;` or a `?`.
    /// `None` says that it is written otherwise, not that it is wrong.
    pub(super) fn begin(text: &'a [u8]) -> Option<HostThen<'a>> {
        let (host, rest) = text.split_at(class::run(text, HOST));
        let (port, rest) = match rest {
            [b':', rest @ ..] => {
                let digits = rest.iter().take(6).take_while(|b| b.is_ascii_digit()).count();
                (Some(u16::try_from(decimal(&rest[..digits])?).ok()?), &rest[digits..])
            }
            rest => (None, rest),
        };
        let ends = matches!(rest, [] | [b';' | b'?', ..]);
        (ends && !host.is_empty()).then(|| (Host::of(host), port, rest))
    }

    fn of(host: &'a [u8]) -> Host<'a> {
        parse_v4(host).map_or(Host::Name(host), |ip| Host::Ip(IpAddr::V4(ip)))
    }

    /// `host`, `host:port`, `[v6]`, `[v6]:port`.
    pub fn parse_with_port(text: &'a [u8]) -> Option<(Host<'a>, Option<u16>)> {
        if let Some(inner) = text.strip_prefix(b"[") {
            let close = memchr::memchr(b']', inner)?;
            let address: Ipv6Addr = std::str::from_utf8(&inner[..close]).ok()?.parse().ok()?;
            let port = match trim(&inner[close + 1..]) {
                [] => None,
                [b':', port @ ..] => Some(parse_port(port)?),
                _ => return None,
            };
            return Some((Host::Ip(IpAddr::V6(address)), port));
        }
        let (host, port) = match class::position(text, b':') {
            Some(colon) => (trim(&text[..colon]), Some(parse_port(&text[colon + 1..])?)),
            None => (text, None),
        };
        if host.is_empty() || !class::all(host, HOST) {
            return None;
        }
        Some((Host::of(host), port))
    }
}

/// Four numbers of at most three digits without leading zeros, as `Ipv4Addr` reads them.
fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    if !(7..=15).contains(&text.len()) || !text[0].is_ascii_digit() {
        return None;
    }
    let (mut address, mut octet, mut digits, mut dots) = (0u32, 0u32, 0, 0);
    for b in text {
        match b {
            b'0'..=b'9' if digits == 0 || octet != 0 => {
                octet = octet * 10 + u32::from(b - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && dots < 3 => {
                address = address << 8 | octet;
                (octet, digits, dots) = (0, 0, dots + 1);
            }
            _ => return None,
        }
        if octet > 255 {
            return None;
        }
    }
    (dots == 3 && digits > 0).then(|| Ipv4Addr::from(address << 8 | octet))
}

fn parse_port(text: &[u8]) -> Option<u16> {
    decimal(trim(text)).and_then(|n| u16::try_from(n).ok())
}

#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    pub scheme: Scheme,
    /// The user part, escapes kept; for `tel:` the number; for others everything after the scheme.
    pub user: &'a [u8],
    pub host: Host<'a>,
    pub port: Option<u16>,
    pub params: Params<'a>,
    /// What follows `?`, never turned into headers.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    pub fn parse(text: &'a [u8]) -> Option<Uri<'a>> {
        Uri::usual(text).or_else(|| Uri::however_written(text))
    }

    /// A `sip:` URI whose host is a name or an IPv4 address, in one pass; `None` says nothing.
    fn usual(text: &'a [u8]) -> Option<Uri<'a>> {
        let rest = text.strip_prefix(b"sip:")?;
        let (user, host) = match class::find(rest, END_OF_USER) {
            Some(at) if rest[at] == b'@' => (&rest[..at], &rest[at + 1..]),
            Some(_) => return None,
            None => (&b""[..], rest),
        };
        let (host, port, rest) = Host::begin(host)?;
        let (params, headers) = match class::position(rest, b'?') {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &b""[..]),
        };
        let sound = class::find(rest, NOT_URI).is_none();
        sound.then_some(Uri { scheme: Scheme::Sip, user, host, port, params: Params(params), headers })
    }

    fn however_written(text: &'a [u8]) -> Option<Uri<'a>> {
        let colon = class::position(text, b':')?;
        let scheme_text = &text[..colon];
        let rest = &text[colon + 1..];
        if !scheme_text.first()?.is_ascii_alphabetic()
            || !class::all(scheme_text, SCHEME)
            || class::find(rest, NOT_URI).is_some()
        {
            return None;
        }
        let scheme = match () {
            () if scheme_text.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            () if scheme_text.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            () if scheme_text.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
            () if scheme_text.eq_ignore_ascii_case(b"urn") => Scheme::Urn,
            () => Scheme::Other,
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => Uri::sip(scheme, rest),
            Scheme::Tel => {
                let end = class::position(rest, b';').unwrap_or(rest.len());
                let digit =
                    |b: &u8| b.is_ascii_hexdigit() || matches!(b, b'+' | b'-' | b'.' | b'(' | b')' | b'*' | b'#');
                (end > 0 && rest[..end].iter().all(digit)).then_some(Uri {
                    scheme,
                    user: &rest[..end],
                    host: Host::Name(b""),
                    port: None,
                    params: Params(&rest[end..]),
                    headers: b"",
                })
            }
            Scheme::Urn | Scheme::Other => {
                Some(Uri { scheme, user: rest, host: Host::Name(b""), port: None, params: Params(b""), headers: b"" })
            }
        }
    }

    fn sip(scheme: Scheme, rest: &'a [u8]) -> Option<Uri<'a>> {
        // The user part may hold ';' and '?', so the last '@' ahead of any host character decides.
        let (user, after) = match class::position(rest, b'@') {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (&b""[..], rest),
        };
        let question = class::position(after, b'?').unwrap_or(after.len());
        let (front, headers) = (&after[..question], after.get(question + 1..).unwrap_or_default());
        let semicolon = class::position(front, b';').unwrap_or(front.len());
        let (host, port) = Host::parse_with_port(&front[..semicolon])?;
        Some(Uri { scheme, user, host, port, params: Params(&front[semicolon..]), headers })
    }

    /// The dialled or calling number: the user part without password or parameters.
    pub fn number(&self) -> &'a [u8] {
        let end = self.user.iter().position(|b| matches!(b, b':' | b';')).unwrap_or(self.user.len());
        &self.user[..end]
    }

    /// The same with its %-escapes undone (RFC 3261 19.1.2): some border controllers escape the plus. What is no UTF-8 is
    /// marked.
    pub fn number_text(&self) -> String {
        let number = self.number();
        let (mut octets, mut at) = (Vec::with_capacity(number.len()), 0);
        while let Some(&octet) = number.get(at) {
            let hex = number.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
            let hex = hex.filter(|hex| octet == b'%' && hex.bytes().all(|b| b.is_ascii_hexdigit()));
            let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
            octets.push(escaped.unwrap_or(octet));
            at += if escaped.is_some() { 3 } else { 1 };
        }
        String::from_utf8_lossy(&octets).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_semicolon_and_parameters_parses() {
        let uri = Uri::parse(b"sip:user;par=u%40example.net@example.com:5070;transport=tcp?x=y").expect("parses");
        assert_eq!(uri.user, b"user;par=u%40example.net");
        assert_eq!((uri.host, uri.port), (Host::Name(b"example.com"), Some(5070)));
        assert_eq!((uri.params.get("transport"), uri.headers), (Some(&b"tcp"[..]), &b"x=y"[..]));
    }

    #[test]
    fn an_escaped_number_is_the_number() {
        for (uri, number) in [
            (&b"sip:%2B8613900000001@h"[..], "+8613900000001"),
            (b"sip:138%2000000021@h", "138 00000021"),
            (b"sip:138%2@h", "138%2"),
            (b"sip:138%zz;a=b@h", "138%zz"),
            (b"sip:138%+f@h", "138%+f"),
            (b"sip:%ff1@h", "\u{fffd}1"),
        ] {
            assert_eq!(Uri::parse(uri).expect("parses").number_text(), number);
        }
    }

    #[test]
    fn a_uri_is_the_same_however_it_is_looked_at() {
        let pieces: [&[u8]; 16] = [
            b"sip:", b"@", b"a", b"110", b":", b"5060", b";", b"?", b"=", b"1.2.3.4", b"[::1]", b" ", b"<", b"SIP:",
            b"b.c", b"70000",
        ];
        let mut seed = 5u64;
        for _ in 0..200_000 {
            let mut text = b"sip:".to_vec();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for n in 0..(seed >> 61) {
                text.extend_from_slice(pieces[(seed >> (n * 4 + 5)) as usize % pieces.len()]);
            }
            if let Some(usual) = Uri::usual(&text) {
                let slow = Uri::however_written(&text);
                assert_eq!(slow.map(|u| format!("{u:?}")), Some(format!("{usual:?}")), "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn an_address_is_one_exactly_when_the_standard_library_reads_it() {
        for text in [
            "1.2.3.4",
            "255.255.255.255",
            "256.1.1.1",
            "01.2.3.4",
            "0.0.0.0",
            "1.2.3",
            "1.2.3.4.5",
            "1..2.3",
            "1.2.3.4a",
            "1234.1.1.1",
            "",
            "a",
            "1.2.3.",
        ] {
            assert_eq!(parse_v4(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn an_ipv6_host_needs_its_brackets() {
        assert!(Uri::parse(b"sip:2001:db8::10").is_none());
        let uri = Uri::parse(b"sip:[2001:db8::10:5070]").expect("parses");
        assert_eq!(uri.port, None);
        assert_eq!(Uri::parse(b"sip:[2001:db8::10]:5070").expect("parses").port, Some(5070));
    }

    #[test]
    fn a_tel_uri_gives_its_number() {
        let uri = Uri::parse(b"tel:110;phone-context=+86").expect("parses");
        assert_eq!((uri.scheme, uri.number()), (Scheme::Tel, &b"110"[..]));
    }
}
