//! Writes requests and responses into one buffer, Content-Length last and always right.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::lex::{plain, split_commas};
use super::message::Message;
use super::name::Name;
use super::value::Via;

/// The default phrase of a status code (RFC 3261 21).
pub fn reason_phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        _ => "Unknown",
    }
}

/// Builds one message. Header values must not contain line ends; what could is passed through `clean`.
pub struct Writer {
    out: Vec<u8>,
}

/// Most messages fit; an allocator has blocks of this size at hand, and what is sent is copied out as large as it is.
const USUAL: usize = 1024;

impl Writer {
    pub fn request(method: &str, uri: &[u8]) -> Writer {
        let mut w = Writer { out: Vec::with_capacity(USUAL) };
        w.raw(method.as_bytes()).raw(b" ").raw(uri).raw(b" SIP/2.0\r\n");
        w
    }

    /// Begins a response to `request`: status line, Via (with received and rport as RFC 3581 asks), From, To
    /// with `to_tag` when it has none yet, Call-ID, CSeq.
    pub fn response(request: &Message, code: u16, to_tag: &[u8], source: SocketAddr) -> Writer {
        let mut w = Writer { out: Vec::with_capacity(USUAL) };
        debug_assert!((100..700).contains(&code));
        let [hundreds, tens, ones] = [code / 100, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8);
        w.raw(b"SIP/2.0 ").raw(&[hundreds, tens, ones, b' ']).raw(reason_phrase(code).as_bytes()).raw(b"\r\n");
        let mut top = true;
        for value in request.all(Name::Via) {
            for one in split_commas(value) {
                w.raw(b"Via: ");
                if top {
                    w.top_via(one, source);
                } else {
                    w.clean(one);
                }
                w.raw(b"\r\n");
                top = false;
            }
        }
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
            let Some((line, value)) = request.lines(name).next() else { continue };
            w.line(name, line, value);
            if name == Name::To && !to_tag.is_empty() && !has_tag(value) {
                w.out.truncate(w.out.len() - 2);
                w.raw(b";tag=").raw(to_tag).raw(b"\r\n");
            }
        }
        w
    }

    /// A header as it came, or written anew where its line cannot be sent on as it is.
    fn line(&mut self, name: Name, line: Option<&[u8]>, value: &[u8]) -> &mut Self {
        match line {
            Some(line) => self.raw(line),
            None => self.header(name, value),
        }
    }

    fn top_via(&mut self, value: &[u8], source: SocketAddr) {
        if let Some(before) = usual_rport(value) {
            // As nearly everybody writes it: what stands ahead is copied as it is.
            self.clean(before).raw(b";rport=").decimal(source.port().into());
            self.raw(b";received=").address(source.ip());
            return;
        }
        let Some(via) = Via::parse(value) else {
            self.clean(value);
            return;
        };
        let (rport, ip) = (via.params.get("rport"), source.ip());
        let differs = via.host != super::uri::Host::Ip(ip);
        let base = memchr::memchr(b';', value).unwrap_or(value.len());
        self.clean(&value[..base]);
        for (name, v) in via.params.iter() {
            if name.eq_ignore_ascii_case(b"rport") || name.eq_ignore_ascii_case(b"received") {
                continue;
            }
            self.raw(b";").clean(name);
            if let Some(v) = v {
                self.raw(b"=").clean(v);
            }
        }
        if rport.is_some() {
            self.raw(b";rport=").decimal(source.port().into());
        }
        if rport.is_some() || differs {
            self.raw(b";received=").address(ip);
        }
    }

    fn address(&mut self, ip: IpAddr) {
        let IpAddr::V4(v4) = ip else { return self.fmt(format_args!("{ip}")) };
        for (n, octet) in v4.octets().into_iter().enumerate() {
            if n > 0 {
                self.raw(b".");
            }
            self.decimal(octet.into());
        }
    }

    /// One header with a text value.
    pub fn header(&mut self, name: Name, value: impl AsRef<[u8]>) -> &mut Self {
        debug_assert!(name != Name::Other, "a name outside the table goes through `field`");
        self.field(name.text(), value)
    }

    /// One header by the text of its name.
    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.raw(name.as_bytes()).raw(b": ").clean(value.as_ref()).raw(b"\r\n")
    }

    /// One header with a formatted value.
    pub fn header_fmt(&mut self, name: Name, value: std::fmt::Arguments<'_>) -> &mut Self {
        self.raw(name.text().as_bytes()).raw(b": ");
        self.fmt(value);
        self.raw(b"\r\n")
    }

    /// Copies every field of this name from another message.
    pub fn copy(&mut self, from: &Message, name: Name) -> &mut Self {
        for (line, value) in from.lines(name) {
            self.line(name, line, value);
        }
        self
    }

    /// Ends the message without a body.
    pub fn finish(self) -> Bytes {
        self.finish_with("", b"")
    }

    /// Ends the message; an empty body gets no Content-Type.
    pub fn finish_with(mut self, content_type: &str, body: &[u8]) -> Bytes {
        if !body.is_empty() {
            self.header(Name::ContentType, content_type);
        }
        self.raw(b"Content-Length: ").decimal(body.len() as u64).raw(b"\r\n\r\n").raw(body);
        // Many are kept for a while after they were sent: no larger than they are.
        Bytes::copy_from_slice(&self.out)
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    fn decimal(&mut self, number: u64) -> &mut Self {
        self.raw(itoa::Buffer::new().format(number).as_bytes())
    }

    /// Unfolds: line ends become blanks, so that no value can smuggle a header in.
    fn clean(&mut self, bytes: &[u8]) -> &mut Self {
        if memchr::memchr2(b'\r', b'\n', bytes).is_none() {
            return self.raw(bytes);
        }
        for &b in bytes {
            self.out.extend_from_slice(&[if matches!(b, b'\r' | b'\n') { b' ' } else { b }]);
        }
        self
    }

    fn fmt(&mut self, args: std::fmt::Arguments<'_>) {
        // Into memory: there is nothing that could fail.
        let _ = std::fmt::Write::write_fmt(self, args);
    }
}

impl std::fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.raw(text.as_bytes());
        Ok(())
    }
}

/// What stands ahead of a last `;rport` when the other parameters are plain and neither `rport` nor `received`.
fn usual_rport(value: &[u8]) -> Option<&[u8]> {
    let before = value.strip_suffix(b";rport")?;
    let mut rest = &before[memchr::memchr(b';', before).unwrap_or(before.len())..];
    while !rest.is_empty() {
        let (name, _, after) = plain(rest)?;
        if name.eq_ignore_ascii_case(b"rport") || name.eq_ignore_ascii_case(b"received") {
            return None;
        }
        rest = after;
    }
    Some(before)
}

fn has_tag(value: &[u8]) -> bool {
    // Nothing follows the URI: the usual To of a first request.
    if memchr::memchr(b'>', value).is_some_and(|end| end + 1 == value.len()) {
        return false;
    }
    super::value::NameAddr::parse(value).is_some_and(|n| n.tag().is_some())
}
