//! The torture messages of RFC 4475 and RFC 5118, as their index says, at the level of a parser.
//!
//! What an endpoint answers to each is tested in `sip`; here: no panic, the sound accepted, the broken refused.

use bytes::Bytes;
use codecs::sip::{Message, check_request, check_response};

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

fn check(name: &str) {
    for (entry, bytes) in corpus(name) {
        let file = entry["file"].as_str().expect("a name");
        let got = verdict_of(&bytes);
        match entry["verdict"].as_str().expect("a verdict") {
            "valid" => assert_eq!(got, Ok(()), "{file} is well formed"),
            "invalid" => {
                let codes: Vec<u64> =
                    entry["codes"].as_array().expect("codes").iter().filter_map(|c| c.as_u64()).collect();
                let code = got.expect_err(&format!("{file} is broken"));
                assert!(codes.contains(&u64::from(code)), "{file}: {code} is not among {codes:?}");
            }
            "drop" | "either" | "app" => {}
            other => panic!("{file}: verdict {other} is unknown to this test"),
        }
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
