//! Framing and index of one SIP message (RFC 3261 7).
//!
//! `Message::frame` finds the start line, every header and the body, and keeps offsets into the bytes it was
//! given: no copy and, up to 32 headers, no allocation. It judges nothing but shape; the first thing wrong is
//! kept as a `Fault`, so that a request that is broken but addressed can still be answered (see `check`).

use bytes::Bytes;
use memchr::{memchr, memchr2};
use smallvec::SmallVec;

use super::class::{self, BLANK, TOKEN};
use super::lex::{decimal, is_token, trim};
use super::name::Name;
use super::scan::{self, LineEnds};

/// The largest message taken, in bytes; offsets are 16 bit.
pub const MAX_MESSAGE: usize = 65_535;
/// The most header fields taken.
pub const MAX_HEADERS: usize = 128;

/// A stretch of the message's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Span {
    pub at: u16,
    pub len: u16,
}

impl Span {
    fn new(at: usize, end: usize) -> Span {
        debug_assert!(at <= end && end <= MAX_MESSAGE);
        Span { at: at as u16, len: (end - at) as u16 }
    }
    /// The span of `part`, which must be a subslice of `whole`.
    pub(super) fn of(whole: &[u8], part: &[u8]) -> Span {
        let at = part.as_ptr() as usize - whole.as_ptr() as usize;
        assert!(at + part.len() <= whole.len(), "part lies inside whole");
        Span::new(at, at + part.len())
    }
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// Request methods; case matters (RFC 3261 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Prack,
    Update,
    Info,
    Message,
    Refer,
    Subscribe,
    Notify,
    Publish,
    Other,
}

impl Method {
    pub fn parse(text: &[u8]) -> Method {
        match text {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"OPTIONS" => Method::Options,
            b"REGISTER" => Method::Register,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"INFO" => Method::Info,
            b"MESSAGE" => Method::Message,
            b"REFER" => Method::Refer,
            b"SUBSCRIBE" => Method::Subscribe,
            b"NOTIFY" => Method::Notify,
            b"PUBLISH" => Method::Publish,
            _ => Method::Other,
        }
    }
    /// The word on the wire; empty for `Other`, whose text only the message knows.
    pub fn text(self) -> &'static str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Register => "REGISTER",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Message => "MESSAGE",
            Method::Refer => "REFER",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Publish => "PUBLISH",
            Method::Other => "",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    Request { method: Method, word: Span, uri: Span },
    Response { code: u16, reason: Span },
}

/// The first thing found wrong with a message: what, at which byte, and the status code it earns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub code: u16,
    pub at: u16,
    pub what: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    name: Name,
    word: Span,
    value: Span,
}

/// One message: its bytes and where its parts lie. Cloning copies the index and shares the bytes.
#[derive(Clone, Debug)]
pub struct Message {
    raw: Bytes,
    start: Start,
    headers: SmallVec<[Header; 32]>,
    index: Index,
    /// No value holds a carriage return or a line feed.
    one_line_each: bool,
    body: Span,
    fault: Option<Fault>,
}

/// Where the first header of each name stands, and whether more follow.
#[derive(Clone, Debug)]
struct Index {
    /// One more than its place; 0 for none.
    first: [u8; Name::COUNT],
    /// Bit by name.
    repeated: u64,
}

const _: () = assert!(Name::COUNT <= 64 && MAX_HEADERS < 255);

impl Index {
    fn note(&mut self, name: Name, place: usize) {
        let first = &mut self.first[name as usize];
        if *first == 0 {
            *first = place as u8 + 1;
        } else {
            self.repeated |= 1 << name as u64;
        }
    }
}

impl Message {
    /// Frames one message that fills `raw` (a datagram, or what the stream framer cut out).
    ///
    /// # Errors
    /// Only when nothing can be made of it: empty, over 65,535 bytes, or no line that starts a message.
    pub fn frame(raw: Bytes) -> Result<Message, Fault> {
        if raw.len() > MAX_MESSAGE {
            return Err(Fault { code: 513, at: 0, what: "message over 65535 bytes" });
        }
        let bytes: &[u8] = &raw;
        let at = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let mut lines = Lines { bytes, at, ends: LineEnds::new(bytes, at) };
        let line = lines.next().ok_or(Fault { code: 400, at: 0, what: "no start line" })?;
        let mut fault = None;
        let start = start_line(bytes, line, &mut fault)?;

        let mut headers: SmallVec<[Header; 32]> = SmallVec::new();
        let mut index = Index { first: [0; Name::COUNT], repeated: 0 };
        let (mut ended, mut folded) = (false, false);
        while let Some(line) = lines.next() {
            if line.is_empty() {
                ended = true;
                break;
            }
            let at = line.at as usize;
            let mut end = at + line.len as usize;
            // A line that begins with white space continues the one before (RFC 3261 7.3.1).
            while matches!(bytes.get(lines.at), Some(b' ' | b'\t')) {
                let Some(fold) = lines.next() else { break };
                end = fold.at as usize + fold.len as usize;
                folded = true;
            }
            match usual_line(bytes, at, end).or_else(|| header_line(bytes, at, end)) {
                Some(header) if headers.len() < MAX_HEADERS => {
                    index.note(header.name, headers.len());
                    headers.push(header);
                }
                Some(_) => note(&mut fault, 400, at, "more than 128 header fields"),
                None => note(&mut fault, 400, at, "header line without a name and colon"),
            }
        }
        if !ended {
            note(&mut fault, 400, bytes.len(), "no empty line after the headers");
        }
        let (at, end) = (if ended { lines.at } else { bytes.len() }, bytes.len());
        let one_line_each = !folded && !lines.ends.lone_return;
        let mut message = Message { raw, start, headers, index, one_line_each, body: Span::new(at, end), fault };
        message.apply_content_length(at);
        Ok(message)
    }

    /// Octets beyond Content-Length in a datagram are noise; too few are a fault (RFC 3261 18.3).
    fn apply_content_length(&mut self, at: usize) {
        let mut length = None;
        let mut fault = self.fault;
        for value in self.all(Name::ContentLength) {
            let here = self.offset(value);
            match decimal(value) {
                Some(n) if length.is_none_or(|l| l == n) => length = Some(n),
                Some(_) => note(&mut fault, 400, here, "conflicting Content-Length"),
                None => note(&mut fault, 400, here, "Content-Length is not a number"),
            }
        }
        let have = self.raw.len() - at;
        if let Some(length) = length {
            if length > have as u64 {
                note(&mut fault, 400, at, "body shorter than Content-Length");
            } else {
                self.body.len = length as u16;
            }
        }
        self.fault = fault;
    }

    pub fn start(&self) -> Start {
        self.start
    }
    /// The bytes of the whole message.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }
    /// The request method; `None` for a response.
    pub fn method(&self) -> Option<Method> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }
    /// The status code; `None` for a request.
    pub fn code(&self) -> Option<u16> {
        match self.start {
            Start::Response { code, .. } => Some(code),
            Start::Request { .. } => None,
        }
    }
    /// The method's text as it came (matters for methods outside the table).
    pub fn method_text(&self) -> &[u8] {
        match self.start {
            Start::Request { word, .. } => self.bytes(word),
            Start::Response { .. } => b"",
        }
    }
    pub fn request_uri(&self) -> &[u8] {
        match self.start {
            Start::Request { uri, .. } => self.bytes(uri),
            Start::Response { .. } => b"",
        }
    }
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.raw[span.at as usize..span.at as usize + span.len as usize]
    }
    pub fn body(&self) -> &[u8] {
        self.bytes(self.body)
    }
    /// The body, sharing the message's buffer.
    pub fn body_bytes(&self) -> Bytes {
        let at = self.body.at as usize;
        self.raw.slice(at..at + self.body.len as usize)
    }
    /// The first value of a header, folding included, outer white space trimmed.
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        let place = usize::from(self.index.first[name as usize]).checked_sub(1)?;
        Some(self.bytes(self.headers[place].value))
    }
    /// Whether a header stands there more than once.
    pub fn is_repeated(&self, name: Name) -> bool {
        self.index.repeated & 1 << name as u64 != 0
    }
    /// Every field with this name, in order; values are not split at commas.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.of(name).iter().filter(move |h| h.name == name).map(|h| self.bytes(h.value))
    }
    /// None, one, or from the first of them on.
    fn of(&self, name: Name) -> &[Header] {
        let first = usize::from(self.index.first[name as usize]);
        match first.checked_sub(1) {
            None => &[],
            Some(from) if self.is_repeated(name) => &self.headers[from..],
            Some(from) => &self.headers[from..first],
        }
    }
    /// What `all` gives, each with its whole line when that can be sent on as it is: the long form, one blank, CRLF, no
    /// line end within.
    pub(super) fn lines(&self, name: Name) -> impl Iterator<Item = (Option<&[u8]>, &[u8])> {
        self.of(name).iter().filter(move |h| h.name == name).map(|h| {
            let (at, end) = (h.word.at as usize, h.value.at as usize + h.value.len as usize);
            let usual = self.one_line_each && h.word.len > 1 && h.value.at == h.word.at + h.word.len + 2;
            let line = self.raw.get(at..end + 2).filter(|line| usual && line.ends_with(b"\r\n"));
            (line, &self.raw[h.value.at as usize..end])
        })
    }
    /// The first value of a header outside the table, by its text, any case.
    pub fn get_text(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|h| self.bytes(h.word).eq_ignore_ascii_case(name.as_bytes()))
            .map(|h| self.bytes(h.value))
    }
    /// All headers in order: name, the text of the name, value.
    pub fn headers(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.headers.iter().map(|h| (h.name, self.bytes(h.word), self.bytes(h.value)))
    }
    /// Where in the message a value of this message begins, in bytes.
    pub fn offset(&self, value: &[u8]) -> usize {
        (value.as_ptr() as usize).saturating_sub(self.raw.as_ptr() as usize).min(self.raw.len())
    }
}

fn note(fault: &mut Option<Fault>, code: u16, at: usize, what: &'static str) {
    fault.get_or_insert(Fault { code, at: at.min(MAX_MESSAGE) as u16, what });
}

/// The lines of a message without their ends. The last may lack its end.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next one begins.
    at: usize,
    ends: LineEnds<'a>,
}

impl Lines<'_> {
    #[inline]
    fn next(&mut self) -> Option<Span> {
        let at = self.at;
        let Some((end, next)) = self.ends.next() else {
            self.at = self.bytes.len();
            return (at < self.bytes.len()).then(|| Span::new(at, self.bytes.len()));
        };
        self.at = next;
        Some(Span::new(at, end))
    }
}

fn start_line(bytes: &[u8], line: Span, fault: &mut Option<Fault>) -> Result<Start, Fault> {
    let base = line.at as usize;
    let text = &bytes[base..base + line.len as usize];
    if text.len() >= 4 && text[..4].eq_ignore_ascii_case(b"SIP/") {
        return Ok(status_line(base, text, fault));
    }
    let Some(space) = memchr(b' ', text).filter(|&s| s > 0) else {
        return Err(Fault { code: 400, at: line.at, what: "start line has no method" });
    };
    let word = &text[..space];
    let method = Method::parse(word);
    if method == Method::Other && !word.iter().all(|&b| is_token(b)) {
        return Err(Fault { code: 400, at: line.at, what: "method is not a token" });
    }
    let rest = &text[space + 1..];
    let word = Span::new(base, base + space);
    if let Some(end) = memchr2(b' ', b'\t', rest)
        && end > 0
        && rest[end..] == *b" SIP/2.0"
    {
        return Ok(Start::Request { method, word, uri: Span::new(base + space + 1, base + space + 1 + end) });
    }
    let (uri_len, version) = match memchr::memrchr(b' ', rest) {
        Some(last) => (last, &rest[last + 1..]),
        None => (rest.len(), &b""[..]),
    };
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        let known = version.len() > 4 && version[..4].eq_ignore_ascii_case(b"SIP/");
        let (code, what) =
            if known { (505, "SIP version is not 2.0") } else { (400, "request line has no SIP version") };
        note(fault, code, base + space + 1 + uri_len, what);
    }
    let uri = Span::new(base + space + 1, base + space + 1 + uri_len);
    if rest[..uri_len].iter().any(|b| matches!(b, b' ' | b'\t')) || uri_len == 0 {
        note(fault, 400, base + space + 1, "white space in the Request-URI");
    }
    Ok(Start::Request { method, word, uri })
}

fn status_line(base: usize, text: &[u8], fault: &mut Option<Fault>) -> Start {
    if text.len() < 8 || !text[..8].eq_ignore_ascii_case(b"SIP/2.0 ") {
        note(fault, 505, base, "SIP version is not 2.0");
    }
    let after = memchr(b' ', text).map_or(text.len(), |s| s + 1);
    let digits = text[after..].iter().take_while(|b| b.is_ascii_digit()).count();
    let code = if digits == 3 { decimal(&text[after..after + 3]).unwrap_or(0) as u16 } else { 0 };
    let code = if (100..700).contains(&code) {
        code
    } else {
        note(fault, 400, base + after, "status code outside 100 to 699");
        699
    };
    let reason = (after + digits + 1).min(text.len());
    Start::Response { code, reason: Span::new(base + reason, base + text.len()) }
}

/// A header as nearly everybody writes it: a name of the table, a colon within sixteen octets, one blank, a value
/// without white space around it. Says what `header_line` says, or nothing.
#[inline]
fn usual_line(bytes: &[u8], at: usize, end: usize) -> Option<Header> {
    let octets = *bytes[at..].first_chunk()?;
    let colon = scan::equal(octets, b':').trailing_zeros() as usize;
    let name = Name::usual(octets, colon)?;
    let value = at + colon + 2;
    if value >= end || bytes[value - 1] != b' ' || is_blank(bytes[value]) || is_blank(bytes[end - 1]) {
        return None;
    }
    Some(Header { name, word: Span::new(at, at + colon), value: Span::new(value, end) })
}

fn is_blank(b: u8) -> bool {
    class::is(b, BLANK)
}

fn header_line(bytes: &[u8], at: usize, end: usize) -> Option<Header> {
    let text = &bytes[at..end];
    let token = class::run(text, TOKEN);
    let colon = if text.get(token) == Some(&b':') { token } else { memchr(b':', text)? };
    let mut name_end = colon;
    while name_end > 0 && matches!(text[name_end - 1], b' ' | b'\t') {
        name_end -= 1;
    }
    let name = Name::parse(&text[..name_end]);
    // The names of the table are tokens.
    if name == Name::Other && (name_end == 0 || token < name_end) {
        return None;
    }
    let value = trim(&text[colon + 1..]);
    let value_span = if value.is_empty() { Span::new(end, end) } else { Span::of(bytes, value) };
    Some(Header { name, word: Span::new(at, at + name_end), value: value_span })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_line_is_the_same_however_it_is_looked_at() {
        let pieces: [&[u8]; 16] = [
            b"Via",
            b"CSeq",
            b"\0",
            b":",
            b": ",
            b" ",
            b"\t",
            b"a",
            b"Max-Forwards",
            b"P-Asserted-Identity",
            b"v",
            b"call-id",
            b"\0\0",
            b"Authentication-Info",
            b"x:y",
            b"@",
        ];
        let mut seed = 3u64;
        for _ in 0..300_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let count = 1 + (seed >> 61) as usize;
            let mut text: Vec<u8> =
                (0..count).flat_map(|n| pieces[(seed >> (n * 4 + 5)) as usize % 16]).copied().collect();
            let end = text.len();
            text.extend_from_slice(b"\r\nFrom: <sip:a@b>\r\n\r\n");
            if let Some(usual) = usual_line(&text, 0, end) {
                let slow = header_line(&text, 0, end);
                assert_eq!(slow.map(|h| format!("{h:?}")), Some(format!("{usual:?}")), "{}", text.escape_ascii());
            }
        }
    }
}
