//! One look at a message before it is framed: whose it is.

use memchr::memchr;

use super::lex::trim;

/// The first Call-ID of a message, in long or compact form (RFC 3261 20.8). It judges nothing else.
pub fn peek_call_id(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = &bytes[bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()..];
    loop {
        let line = &rest[memchr(b'\n', rest)? + 1..];
        let name = match line {
            [b'C' | b'c', b'a' | b'A', ..] if line.get(..7)?.eq_ignore_ascii_case(b"Call-ID") => 7,
            [b'i' | b'I', b':' | b' ' | b'\t', ..] => 1,
            // The empty line: a body follows.
            [b'\r' | b'\n', ..] => return None,
            _ => 0,
        };
        if name > 0
            && let Some(value) = trim_start(&line[name..]).strip_prefix(b":")
        {
            return Some(trim(&value[..end_of_value(value)]));
        }
        rest = line;
    }
}

fn trim_start(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()..]
}

/// Where the value ends: at a line end that no white space follows (RFC 3261 7.3.1).
fn end_of_value(value: &[u8]) -> usize {
    let mut from = 0;
    while let Some(lf) = memchr(b'\n', &value[from..]) {
        from += lf + 1;
        if !matches!(value.get(from), Some(b' ' | b'\t')) {
            return from - 1;
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Message, Name};
    use super::*;

    #[test]
    fn it_is_the_call_id_that_framing_finds() {
        for text in [
            "INVITE a SIP/2.0\r\nVia: x\r\nCall-ID: 1@h\r\nTo: b\r\n\r\n",
            "\r\n\r\n\r\nINVITE a SIP/2.0\r\nI :\t2@h \r\n\r\nCall-ID: 9\r\n",
            "SIP/2.0 200 OK\nVia: x\n y\nCALL-id:\n 3@h\nTo: b\n\n",
            "BYE a SIP/2.0\r\nCall-IDx: 4\r\nCall-Info: 5\r\ncall-id: 6\r\n\r\n",
            "BYE a SIP/2.0\r\nVia: x\r\n\r\nCall-ID: 7\r\n",
            "BYE a SIP/2.0\r\nCall-ID: 8",
        ] {
            let message = Message::frame(Bytes::copy_from_slice(text.as_bytes())).expect("frames");
            assert_eq!(peek_call_id(text.as_bytes()), message.get(Name::CallId), "{text:?}");
        }
    }
}
