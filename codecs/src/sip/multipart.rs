//! Body parts by their type: a plain body, or one part of multipart/mixed (RFC 2046 5.1, RFC 5621).

use bytes::Bytes;

use super::lex::{Params, trim, unquote};
use super::message::Message;
use super::name::Name;

/// Whether a Content-Type (or Accept) value is of this type, parameters aside.
pub fn is_type(value: &[u8], wanted: &str) -> bool {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    trim(&value[..end]).eq_ignore_ascii_case(wanted.as_bytes())
}

/// Whether it has parts, of whatever kind (RFC 5621 7).
fn is_multipart(value: &[u8]) -> bool {
    trim(value).get(..10).is_some_and(|t| t.eq_ignore_ascii_case(b"multipart/"))
}

/// The body, or the first part of a multipart body, with this type; `None` when there is none or it is empty.
pub fn find(message: &Message, wanted: &str) -> Option<Bytes> {
    if message.body().is_empty() {
        return None;
    }
    let kind = message.get(Name::ContentType)?;
    if is_type(kind, wanted) {
        return Some(message.body_bytes());
    }
    if !is_multipart(kind) {
        return None;
    }
    let boundary = unquote(Params(&kind[memchr::memchr(b';', kind)?..]).get("boundary")?);
    let body = message.body_bytes();
    let delimiter = [b"--", &boundary[..]].concat();
    let mut starts = memchr::memmem::find_iter(&body, &delimiter).peekable();
    while let Some(start) = starts.next() {
        let end = starts.peek().copied()?;
        let part = &body[start + delimiter.len()..end];
        let Some((head_len, blank)) = head_end(part) else { continue };
        if part_type(&part[..head_len]).is_some_and(|t| is_type(t, wanted)) {
            let content = &part[head_len + blank..];
            let content = content.strip_suffix(b"\r\n").or(content.strip_suffix(b"\n")).unwrap_or(content);
            return (!content.is_empty()).then(|| body.slice_ref(content));
        }
    }
    None
}

fn head_end(part: &[u8]) -> Option<(usize, usize)> {
    let crlf = memchr::memmem::find(part, b"\r\n\r\n").map(|i| (i, 4));
    crlf.or(memchr::memmem::find(part, b"\n\n").map(|i| (i, 2)))
}

fn part_type(head: &[u8]) -> Option<&[u8]> {
    head.split(|&b| b == b'\n').find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        trim(&line[..colon]).eq_ignore_ascii_case(b"Content-Type").then(|| trim(&line[colon + 1..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdp_of_a_multipart_body_is_found() {
        let body = "--b1\r\nContent-Type: text/plain\r\n\r\nx\r\n--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b1--\r\n";
        let text = format!(
            "INVITE sip:a SIP/2.0\r\nContent-Type: multipart/mixed;boundary=\"b1\"\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let message = Message::frame(Bytes::from(text)).expect("frames");
        assert_eq!(find(&message, "application/sdp").as_deref(), Some(&b"v=0"[..]));
        assert_eq!(find(&message, "image/png"), None);
    }
}
