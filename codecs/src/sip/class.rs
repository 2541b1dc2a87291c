//! Classes of octets, so that one look at a table answers what several comparisons would (RFC 3261 25.1).

/// `token`.
pub(super) const TOKEN: u8 = 1;
/// What a parameter's value may hold beside a quoted string, angle brackets left out.
pub(super) const PLAIN_VALUE: u8 = 2;
/// Letters, digits, `-`, `.`, `_`.
pub(super) const HOST: u8 = 4;
/// What no URI holds: white space, angle brackets, double quotes.
pub(super) const NOT_URI: u8 = 8;
/// `is_ascii_whitespace`, and `>`: where a URI in brackets ends.
pub(super) const END_OF_URI: u8 = 16;
/// Letters, digits, `+`, `-`, `.`.
pub(super) const SCHEME: u8 = 32;
/// White space: blank, tab, carriage return, line feed.
pub(super) const BLANK: u8 = 64;
/// What no URI holds, and `@`: where its user part ends.
pub(super) const END_OF_USER: u8 = 128;

static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        let alphanumeric = c.is_ascii_alphanumeric();
        let token = alphanumeric || matches!(c, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        let value = token || matches!(c, b'[' | b']' | b':' | b'/' | b'@' | b'=' | b'$' | b'&' | b'?' | b',');
        table[b] = (token as u8 * TOKEN)
            | (value as u8 * PLAIN_VALUE)
            | ((alphanumeric || matches!(c, b'-' | b'.' | b'_')) as u8 * HOST)
            | ((c.is_ascii_whitespace() || matches!(c, b'<' | b'>' | b'"')) as u8 * NOT_URI)
            | ((c.is_ascii_whitespace() || c == b'>') as u8 * END_OF_URI)
            | ((alphanumeric || matches!(c, b'+' | b'-' | b'.')) as u8 * SCHEME)
            | (matches!(c, b' ' | b'\t' | b'\r' | b'\n') as u8 * BLANK)
            | ((c.is_ascii_whitespace() || matches!(c, b'<' | b'>' | b'"' | b'@')) as u8 * END_OF_USER);
        b += 1;
    }
    table
};

pub(super) fn is(b: u8, class: u8) -> bool {
    CLASS[b as usize] & class != 0
}

/// How many octets from the beginning are of this class.
pub(super) fn run(text: &[u8], class: u8) -> usize {
    text.iter().position(|b| !is(*b, class)).unwrap_or(text.len())
}

/// Whether all are.
pub(super) fn all(text: &[u8], class: u8) -> bool {
    run(text, class) == text.len()
}

/// The first of a class.
pub(super) fn find(text: &[u8], class: u8) -> Option<usize> {
    text.iter().position(|b| is(*b, class))
}

/// For texts of a few dozen octets, where `memchr` takes longer to begin than to search.
pub(super) fn position(text: &[u8], wanted: u8) -> Option<usize> {
    text.iter().position(|b| *b == wanted)
}
