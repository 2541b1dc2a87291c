//! Lexical pieces: white space, tokens, numbers, comma lists, parameters (RFC 3261 25.1).

use memchr::memchr2;

use super::class::{self, PLAIN_VALUE, TOKEN};

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
    // Most values have not one comma.
    let single = memchr::memchr(b',', text).is_none();
    std::iter::from_fn(move || {
        let text = rest?;
        match if single { None } else { find_outside(text, b',') } {
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
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        at = match b {
            b if b == wanted => return Some(at),
            b'"' => after_quotes(text, at)?,
            b'<' => after_brackets(text, at)?,
            _ => at + 1,
        };
    }
    None
}

/// Where a string that opens at `at` has been closed; `None` when it never is.
fn after_quotes(text: &[u8], at: usize) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let next = from + memchr2(b'"', b'\\', text.get(from..)?)?;
        if text[next] == b'"' {
            return Some(next + 1);
        }
        from = next + 2;
    }
}

/// Where a `<` at `at` has found its `>`, quotes between them respected.
fn after_brackets(text: &[u8], at: usize) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let next = from + memchr2(b'>', b'"', text.get(from..)?)?;
        if text[next] == b'>' {
            return Some(next + 1);
        }
        from = after_quotes(text, next)?;
    }
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
        let mut rest = self.0;
        while let Some((one, value, after)) = plain(rest) {
            if one.eq_ignore_ascii_case(name.as_bytes()) {
                return Some(value.unwrap_or_default());
            }
            rest = after;
        }
        Params(rest).iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v.unwrap_or_default())
    }

    /// Every name a token, every value a token, host or quoted string; nothing left over.
    pub(super) fn are_valid(self) -> bool {
        let mut rest = self.0;
        while let Some((_, value, after)) = plain(rest).filter(|(_, value, _)| *value != Some(b"")) {
            debug_assert!(value.is_none_or(valid_param_value));
            rest = after;
        }
        rest.is_empty() || Params(rest).are_valid_however_written()
    }

    fn are_valid_however_written(self) -> bool {
        let rest = trim(self.0);
        (rest.is_empty() || rest[0] == b';')
            && self.iter().all(|(name, value)| {
                !name.is_empty() && name.iter().all(|&b| is_token(b)) && value.is_none_or(valid_param_value)
            })
    }
}

/// Name, value, what follows.
pub(super) type Plain<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// The first parameter when it is written as nearly all are, without white space, quotes or brackets: name, value, and
/// what follows, which is nothing or the next parameter.
pub(super) fn plain(text: &[u8]) -> Option<Plain<'_>> {
    let text = text.strip_prefix(b";")?;
    let end = class::run(text, TOKEN);
    let (name, rest) = text.split_at(end);
    let (value, rest) = match rest {
        [b'=', rest @ ..] => {
            let (value, rest) = rest.split_at(class::run(rest, PLAIN_VALUE));
            (Some(value), rest)
        }
        rest => (None, rest),
    };
    (end > 0 && matches!(rest, [] | [b';', ..])).then_some((name, value, rest))
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
        // A bracket that nobody closes would swallow whatever is written behind it.
        [b'<', inner @ .., b'>'] => class::all(inner, PLAIN_VALUE),
        _ => class::all(value, PLAIN_VALUE),
    }
}

/// RFC 3261 25.1 `token`.
pub(super) fn is_token(b: u8) -> bool {
    class::is(b, TOKEN)
}

/// An unsigned decimal number and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
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
    fn what_is_never_closed_hides_the_rest() {
        let parts = |text: &'static [u8]| split_commas(text).count();
        assert_eq!([parts(b"\"a,b"), parts(b"<a,b"), parts(b"<\">,\",b>,c"), parts(b"\"\\\",\",d")], [1, 1, 2, 2]);
        assert_eq!(parts(b"a>,b"), 2);
    }

    #[test]
    fn parameters_are_the_same_however_they_are_looked_at() {
        let pieces: [&[u8]; 14] =
            [b";", b"=", b"a", b"tag", b" ", b"\"", b"<", b">", b",", b"\\", b"1.2:3", b"\r\n ", b"rport", b"TAG"];
        let mut seed = 1u64;
        for _ in 0..200_000 {
            let mut text = Vec::new();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for n in 0..(seed >> 60) {
                text.extend_from_slice(pieces[(seed >> (n * 3 + 5)) as usize % pieces.len()]);
            }
            let params = Params(&text);
            assert_eq!(params.are_valid(), params.are_valid_however_written(), "{:?}", text.escape_ascii().to_string());
            for name in ["tag", "a", "rport"] {
                let slow = params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
                assert_eq!(params.get(name), slow.map(|(_, v)| v.unwrap_or_default()), "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn unquoting_undoes_the_escapes() {
        assert_eq!(unquote(br#""J \"X\" \\ Y""#), br#"J "X" \ Y"#);
    }
}
