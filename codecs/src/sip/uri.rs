//! SIP, SIPS and tel URIs (RFC 3261 19.1, RFC 3966), and hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::class::{self, HOST, NOT_URI, SCHEME};
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

impl<'a> Host<'a> {
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
        Some((parse_v4(host).map_or(Host::Name(host), |ip| Host::Ip(IpAddr::V4(ip))), port))
    }
}

/// Four numbers of at most three digits without leading zeros, as `Ipv4Addr` reads them.
fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut rest = text;
    for (n, octet) in octets.iter_mut().enumerate() {
        if n > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let digits = rest.iter().take(4).take_while(|b| b.is_ascii_digit()).count();
        let value = rest[..digits].iter().fold(0u32, |v, b| v * 10 + u32::from(b - b'0'));
        if digits == 0 || digits > 3 || (digits > 1 && rest[0] == b'0') {
            return None;
        }
        *octet = u8::try_from(value).ok()?;
        rest = &rest[digits..];
    }
    rest.is_empty().then(|| Ipv4Addr::from(octets))
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
