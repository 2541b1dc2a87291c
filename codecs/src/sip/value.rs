//! Header values: Via, name-addr, CSeq, parameters (RFC 3261 20, 25.1).

use super::message::{Method, decimal, is_token};
use super::uri::{Host, Uri};

/// Cuts white space and line folding from both ends.
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

/// Splits a header value at its top-level commas, quotes and angle brackets respected.
pub fn split_commas(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        match find_outside(text, b',') {
            Some(at) => {
                rest = Some(&text[at + 1..]);
                Some(trim(&text[..at]))
            }
            None => {
                rest = None;
                Some(trim(text))
            }
        }
    })
}

/// The tokens of a comma-separated list such as Require or Allow.
pub fn token_list(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_commas(text).filter(|t| !t.is_empty())
}

/// The first `wanted` that is in neither quotes nor angle brackets.
fn find_outside(text: &[u8], wanted: u8) -> Option<usize> {
    let mut quoted = false;
    let mut angle = false;
    let mut i = 0;
    while i < text.len() {
        match text[i] {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b if b == wanted && !quoted && !angle => return Some(i),
            _ => {}
        }
        i += 1;
    }
    None
}

/// Removes the quotes and escapes of a quoted string; other text comes back as it is.
pub fn unquote(text: &[u8]) -> Vec<u8> {
    let [b'"', inner @ .., b'"'] = text else {
        return text.to_vec();
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for &b in inner {
        if b == b'\\' && !escaped {
            escaped = true;
        } else {
            out.push(b);
            escaped = false;
        }
    }
    out
}

/// A `;name=value` list. Values keep their quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Params<'a>(pub &'a [u8]);

impl<'a> Params<'a> {
    /// `None` in the second place means that the parameter had no `=`.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            rest = trim(rest);
            rest = rest.strip_prefix(b";")?;
            let end = find_outside(rest, b';').unwrap_or(rest.len());
            let one = trim(&rest[..end]);
            rest = &rest[end..];
            Some(match memchr::memchr(b'=', one) {
                Some(eq) => (trim(&one[..eq]), Some(trim(&one[eq + 1..]))),
                None => (one, None),
            })
        })
    }

    /// The value of a parameter; an empty slice when it stands without one.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v.unwrap_or_default())
    }

    /// Every name a token, every value a token, host or quoted string; nothing left over.
    pub(super) fn are_valid(self) -> bool {
        let rest = trim(self.0);
        (rest.is_empty() || rest[0] == b';')
            && self.iter().all(|(name, value)| {
                !name.is_empty() && name.iter().all(|&b| is_token(b)) && value.is_none_or(valid_param_value)
            })
    }
}

fn valid_param_value(value: &[u8]) -> bool {
    match value {
        [] => false,
        [b'"', inner @ .., b'"'] => {
            let mut escaped = false;
            inner.iter().all(|&b| {
                let ok = escaped || b != b'"';
                escaped = b == b'\\' && !escaped;
                ok
            }) && !escaped
        }
        _ => value.iter().all(|&b| {
            is_token(b)
                || matches!(b, b'[' | b']' | b':' | b'/' | b'<' | b'>' | b'@' | b'=' | b'$' | b'&' | b'?' | b',')
        }),
    }
}

/// One Via value (RFC 3261 20.42).
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS`, … as written.
    pub transport: &'a [u8],
    pub host: Host<'a>,
    pub port: Option<u16>,
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    pub fn parse(text: &'a [u8]) -> Option<Via<'a>> {
        let (protocol, rest) = token_then(text, b'/')?;
        let (version, rest) = token_then(rest, b'/')?;
        if !protocol.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
            return None;
        }
        let rest = trim(rest);
        let end = rest.iter().position(|&b| !is_token(b))?;
        let transport = &rest[..end];
        let after = &rest[end..];
        if transport.is_empty() || !matches!(after[0], b' ' | b'\t' | b'\r' | b'\n') {
            return None;
        }
        let sent_by = trim(after);
        let semicolon = memchr::memchr(b';', sent_by).unwrap_or(sent_by.len());
        let (host, port) = Host::parse_with_port(trim(&sent_by[..semicolon]))?;
        let params = Params(&sent_by[semicolon..]);
        params.are_valid().then_some(Via { transport, host, port, params })
    }

    /// The branch, if it carries the magic cookie and something after it (RFC 3261 8.1.1.7).
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.get("branch").filter(|b| b.len() > 7 && b[..7].eq_ignore_ascii_case(b"z9hG4bK"))
    }
}

fn token_then(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let text = trim(text);
    let at = memchr::memchr(separator, text)?;
    let token = trim(&text[..at]);
    (!token.is_empty() && token.iter().all(|&b| is_token(b))).then_some((token, &text[at + 1..]))
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
        let (display, after) = if text.first() == Some(&b'"') {
            let close = closing_quote(text)?;
            (&text[..=close], trim(&text[close + 1..]))
        } else {
            match memchr::memchr(b'<', text) {
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
        let close = memchr::memchr(b'>', inner)?;
        let uri_text = &inner[..close];
        let params = Params(trim(&inner[close + 1..]));
        let sound = !uri_text.is_empty() && !uri_text.iter().any(u8::is_ascii_whitespace);
        (sound && params.are_valid()).then_some(NameAddr { display, uri_text, params })
    }

    /// Without angle brackets every parameter belongs to the header (RFC 3261 20), and `?` or `,` may not occur.
    fn addr_spec(text: &'a [u8]) -> Option<NameAddr<'a>> {
        let end = memchr::memchr(b';', text).unwrap_or(text.len());
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
    fn a_comma_in_quotes_or_brackets_does_not_split() {
        let all: Vec<_> = split_commas(b"\"A, B\" <sip:a,b@x>;p=1 , <sip:c@y>").collect();
        assert_eq!(all, [&b"\"A, B\" <sip:a,b@x>;p=1"[..], b"<sip:c@y>"]);
    }

    #[test]
    fn parameters_of_a_bare_uri_belong_to_the_header() {
        let one = NameAddr::parse(b"sip:a@b;tag=x").expect("parses");
        assert_eq!((one.uri_text, one.tag()), (&b"sip:a@b"[..], Some(&b"x"[..])));
        let two = NameAddr::parse(b"<sip:a@b;lr>;tag=y").expect("parses");
        assert_eq!(two.uri_text, b"sip:a@b;lr");
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

    #[test]
    fn unquoting_undoes_the_escapes() {
        assert_eq!(unquote(br#""J \"X\" \\ Y""#), br#"J "X" \ Y"#);
    }
}
