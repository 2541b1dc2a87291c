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

/// Parts within parts that are looked into; nobody nests a report deeper.
const DEPTH_MAX: usize = 4;

/// The body, or the first part of a multipart body, however nested, with this type; `None` when there is none or it is
/// empty. The last part ends with the body where its delimiter is missing.
pub fn find(message: &Message, wanted: &str) -> Option<Bytes> {
    let kind = message.get(Name::ContentType)?;
    let body = message.body_bytes();
    find_in(&body, kind, wanted, DEPTH_MAX).map(|content| body.slice_ref(content))
}

fn find_in<'a>(body: &'a [u8], kind: &[u8], wanted: &str, depth: usize) -> Option<&'a [u8]> {
    if is_type(kind, wanted) {
        return Some(body).filter(|b| !b.is_empty());
    }
    let depth = depth.checked_sub(1).filter(|_| is_multipart(kind))?;
    let boundary = unquote(Params(&kind[memchr::memchr(b';', kind)?..]).get("boundary")?);
    let delimiter = [b"--", &boundary[..]].concat();
    let mut starts = memchr::memmem::find_iter(body, &delimiter).peekable();
    while let Some(start) = starts.next() {
        let part = &body[start + delimiter.len()..starts.peek().copied().unwrap_or(body.len())];
        let Some((head_len, blank)) = head_end(part) else { continue };
        let content = &part[head_len + blank..];
        let content = content.strip_suffix(b"\r\n").or(content.strip_suffix(b"\n")).unwrap_or(content);
        let found = part_type(&part[..head_len]).and_then(|kind| find_in(content, kind, wanted, depth));
        if found.is_some() {
            return found;
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

    fn sdp_of(kind: &str, body: &str) -> Option<String> {
        let len = body.len();
        let text = format!("INVITE sip:a SIP/2.0\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\r\n{body}");
        let message = Message::frame(Bytes::from(text)).expect("frames");
        find(&message, "application/sdp").map(|sdp| String::from_utf8_lossy(&sdp).into_owned())
    }

    #[test]
    fn parts_within_parts_and_an_end_that_is_missing_hide_no_sdp() {
        let inner = "--in\r\nContent-Type: text/plain\r\n\r\nx\r\n--in\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n";
        let nested = format!("--out\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n{inner}");
        for end in ["--in--\r\n--out--\r\n", "--in--\r\n", ""] {
            let body = format!("{nested}{end}");
            assert_eq!(sdp_of("multipart/mixed; boundary=out", &body).as_deref(), Some("v=0"), "{end:?}");
        }
        let mut deep = ("application/sdp".to_owned(), "v=0".to_owned());
        for level in 0..40 {
            let body = format!("--b{level}x\r\nContent-Type: {}\r\n\r\n{}\r\n--b{level}x--", deep.0, deep.1);
            deep = (format!("multipart/mixed; boundary=b{level}x"), body);
        }
        assert_eq!(sdp_of(&deep.0, &deep.1), None, "beyond every use");
    }
}
