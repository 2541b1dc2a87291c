//! The torture messages of RFC 4475 and RFC 5118, as their index says, at the level of a parser.
//!
//! What an endpoint answers to each is tested in `sip`; here: our verdict on each, and no panic.

use bytes::Bytes;
use codecs::sip::{Framed, Message, StreamFramer, check_request, check_response};

fn corpus(name: &str) -> Vec<(serde_json::Value, Bytes)> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let index = std::fs::read_to_string(dir.join("index.json")).expect("index of the corpus");
    let index: serde_json::Value = serde_json::from_str(&index).expect("index is JSON");
    index["messages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| {
            let file = dir.join(m["file"].as_str().expect("a name"));
            (m.clone(), Bytes::from(std::fs::read(file).expect("corpus file")))
        })
        .collect()
}

fn verdict_of(bytes: &Bytes) -> Result<(), u16> {
    let message = Message::frame(bytes.clone()).map_err(|f| f.code)?;
    let checked = if message.is_request() { check_request(&message) } else { check_response(&message) };
    checked.map(|_| ()).map_err(|r| r.code)
}

/// What a connection makes of the octets: as many messages, and whether it is then done, waits for more or is closed.
fn cut(bytes: &Bytes) -> String {
    let mut framer = StreamFramer::default();
    framer.push(bytes);
    let mut messages = 0;
    loop {
        match framer.next_frame() {
            Ok(Some(Framed::Message(_))) => messages += 1,
            Ok(Some(Framed::Ping)) => {}
            Ok(None) if framer.has_partial() => return format!("{messages}, waits"),
            Ok(None) => return format!("{messages}"),
            Err(_) => return format!("{messages}, closes"),
        }
    }
}

/// Every message has our verdict beside what the RFC leaves open: what the parser says (200: taken) and how a stream is
/// cut. What an endpoint answers is asked in `sip`.
fn check(name: &str) {
    for (entry, bytes) in corpus(name) {
        let file = entry["file"].as_str().expect("a name");
        let got = verdict_of(&bytes).err().unwrap_or(200);
        assert_eq!(Some(u64::from(got)), entry["parser"].as_u64(), "{file} at the parser");
        assert_eq!(Some(cut(&bytes).as_str()), entry["stream"].as_str(), "{file} on a connection");
        let allowed = entry["codes"].as_array().expect("codes").iter().any(|c| c.as_u64() == Some(u64::from(got)));
        let by_rfc = match entry["verdict"].as_str().expect("a verdict") {
            "valid" => got == 200,
            "invalid" => allowed,
            "either" | "app" => got == 200 || allowed,
            // A response that is dropped is answered by nobody, whether or not it was understood.
            "drop" => bytes.starts_with(b"SIP/2.0 "),
            other => panic!("{file}: verdict {other} is unknown to this test"),
        };
        assert!(by_rfc, "{file}: {got} is not what the RFC allows");
    }
}

#[test]
fn rfc_4475_messages_are_judged_as_the_index_says() {
    check("rfc4475");
}

#[test]
fn rfc_5118_messages_are_judged_as_the_index_says() {
    check("rfc5118");
}

#[test]
fn every_prefix_of_every_message_is_parsed_without_panic() {
    for (_, bytes) in corpus("rfc4475").into_iter().chain(corpus("rfc5118")) {
        for cut in 0..bytes.len() {
            let _ = verdict_of(&bytes.slice(..cut));
        }
    }
}

#[test]
fn every_single_byte_mutation_is_parsed_without_panic() {
    for (_, bytes) in corpus("rfc4475") {
        for at in 0..bytes.len() {
            for with in [0u8, b'\n', b'"', b'<', b';', 0xFF] {
                let mut changed = bytes.to_vec();
                changed[at] = with;
                let _ = verdict_of(&Bytes::from(changed));
            }
        }
    }
}
