//! Cuts SIP messages out of a byte stream (RFC 3261 18.3): Content-Length decides, CRLF pings are answered.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::lex::decimal;
use super::lex::trim;
use super::message::MAX_MESSAGE;
use super::name::Name;

/// The stream cannot go on; `message` is what can still be answered with 400 before closing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamError {
    pub what: &'static str,
    pub message: Bytes,
}

/// What came out of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Framed {
    Message(Bytes),
    /// A double CRLF: answer with one (RFC 5626 4.4.1).
    Ping,
}

/// Holds what arrived and was not yet a whole message; at most one message's worth.
#[derive(Default)]
pub struct StreamFramer {
    buffer: BytesMut,
    /// No head ends before here, so that what comes an octet at a time is not searched again for each.
    searched: usize,
    /// How long the message is whose head is whole.
    whole: Option<usize>,
}

impl StreamFramer {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether something has begun of which the rest is missing.
    pub fn has_partial(&self) -> bool {
        self.buffer.iter().any(|b| !matches!(b, b'\r' | b'\n'))
    }

    /// The next whole message, if it is there.
    ///
    /// # Errors
    /// A head without a usable Content-Length, or one over 64 KiB: nothing after it can be framed.
    pub fn next_frame(&mut self) -> Result<Option<Framed>, StreamError> {
        if self.searched == 0 && self.buffer.starts_with(b"\r\n\r\n") {
            let _ = self.buffer.split_to(4);
            return Ok(Some(Framed::Ping));
        }
        if self.searched == 0 {
            let blank = self.buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            if blank == self.buffer.len() {
                // Of nothing but line ends a ping may yet come.
                let _ = self.buffer.split_to(blank.saturating_sub(3));
                return Ok(None);
            }
            let _ = self.buffer.split_to(blank);
        }
        let whole = match self.whole {
            Some(whole) => whole,
            None => match self.look_for_head() {
                Ok(Some(whole)) => *self.whole.insert(whole),
                Ok(None) => return Ok(None),
                Err(what) => return Err(self.fail(what)),
            },
        };
        if self.buffer.len() < whole {
            return Ok(None);
        }
        (self.searched, self.whole) = (0, None);
        Ok(Some(Framed::Message(self.buffer.split_to(whole).freeze())))
    }

    /// How long the message is, once its head is there.
    fn look_for_head(&mut self) -> Result<Option<usize>, &'static str> {
        // An end may have begun in what was searched.
        let from = self.searched.saturating_sub(3);
        let Some(head) = head_len(&self.buffer[from..]).map(|len| from + len) else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > MAX_MESSAGE { Err("head over 65535 bytes") } else { Ok(None) };
        };
        let length = content_length(&self.buffer[..head])?;
        if head as u64 + length > MAX_MESSAGE as u64 {
            return Err("message over 65535 bytes");
        }
        Ok(Some(head + length as usize))
    }

    fn fail(&mut self, what: &'static str) -> StreamError {
        (self.searched, self.whole) = (0, None);
        let take = self.buffer.len().min(MAX_MESSAGE);
        StreamError { what, message: self.buffer.split_to(take).freeze() }
    }
}

fn head_len(bytes: &[u8]) -> Option<usize> {
    let crlf = memmem::find(bytes, b"\r\n\r\n").map(|i| i + 4);
    let lf = memmem::find(bytes, b"\n\n").map(|i| i + 2);
    match (crlf, lf) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn content_length(head: &[u8]) -> Result<u64, &'static str> {
    let mut length = None;
    for line in head.split(|&b| b == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        if Name::parse(trim(&line[..colon])) != Name::ContentLength {
            continue;
        }
        match decimal(trim(&line[colon + 1..])) {
            Some(n) if length.is_none_or(|l| l == n) => length = Some(n),
            Some(_) => return Err("conflicting Content-Length"),
            None => return Err("Content-Length is not a number"),
        }
    }
    length.ok_or("no Content-Length on a stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_messages_in_three_pieces_come_out_whole() {
        let mut framer = StreamFramer::default();
        let a = b"OPTIONS sip:a SIP/2.0\r\nl: 3\r\n\r\nabc";
        let b = b"OPTIONS sip:b SIP/2.0\r\nContent-Length: 0\r\n\r\n";
        let all = [&a[..], b"\r\n", &b[..]].concat();
        let mut out = Vec::new();
        for piece in [&all[..10], &all[10..40], &all[40..]] {
            framer.push(piece);
            while let Some(frame) = framer.next_frame().expect("sound stream") {
                out.push(frame);
            }
        }
        assert_eq!(out, [Framed::Message(Bytes::from_static(a)), Framed::Message(Bytes::from_static(b))]);
    }

    #[test]
    fn what_comes_an_octet_at_a_time_is_the_same_and_is_searched_once() {
        let head = format!("OPTIONS sip:a SIP/2.0\r\n{}l: 6000\r\n\r\n", "a:\n".repeat(18_000));
        let all = [head.as_bytes(), &[b'x'; 6000], b"\r\n\r\n"].concat();
        let (mut framer, mut out) = (StreamFramer::default(), Vec::new());
        for octet in all.chunks(1) {
            framer.push(octet);
            while let Some(frame) = framer.next_frame().expect("sound stream") {
                out.push(frame);
            }
            assert!(framer.searched == 0 || framer.searched == framer.buffer.len() || framer.whole.is_some());
        }
        let message = Bytes::copy_from_slice(&all[..all.len() - 4]);
        assert_eq!(out, [Framed::Message(message), Framed::Ping]);
    }

    #[test]
    fn a_head_without_content_length_ends_the_stream() {
        let mut framer = StreamFramer::default();
        framer.push(b"OPTIONS sip:a SIP/2.0\r\n\r\n");
        assert!(framer.next_frame().is_err());
    }

    #[test]
    fn a_double_crlf_is_a_ping() {
        let mut framer = StreamFramer::default();
        framer.push(b"\r\n\r\n");
        assert_eq!(framer.next_frame(), Ok(Some(Framed::Ping)));
    }
}
