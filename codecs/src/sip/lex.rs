//! Lexical pieces: white space, tokens, numbers, comma lists, parameters (RFC 3261 25.1).

use memchr::{memchr2, memchr3};

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
    let mut from = 0;
    loop {
        let at = from + memchr3(wanted, b'"', b'<', text.get(from..)?)?;
        from = match text[at] {
            b'"' => after_quotes(text, at)?,
            b'<' => after_brackets(text, at)?,
            _ => return Some(at),
        };
    }
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

/// RFC 3261 25.1 `token`.
pub(super) fn is_token(b: u8) -> bool {
    TOKEN[b as usize]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        table[b] = c.is_ascii_alphanumeric()
            || matches!(c, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        b += 1;
    }
    table
};

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
    fn unquoting_undoes_the_escapes() {
        assert_eq!(unquote(br#""J \"X\" \\ Y""#), br#"J "X" \ Y"#);
    }
}
