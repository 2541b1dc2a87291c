//! Two endpoints in virtual time, their conversation as ladders.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use codecs::sip::auth::{Algorithm, DigestFields, Proof, ha1};
use codecs::sip::{Message, Name, Start, Writer};
use codecs::time::Mono;
use expect_test::{Expect, expect};

use super::*;

mod rude;

const A: &str = "127.0.0.1:5061";
const B: &str = "127.0.0.1:5062";

fn endpoint(address: &str, seed: u8) -> Endpoint {
    Endpoint::new(config(address, seed))
}

fn config(address: &str, seed: u8) -> Config {
    Config {
        address: address.parse().expect("an address"),
        realm: "test".into(),
        accounts: vec![Account {
            user: "1001".into(),
            ha1: vec![
                (Algorithm::Md5, ha1(Algorithm::Md5, "1001", "test", "demo")),
                (Algorithm::Sha256, ha1(Algorithm::Sha256, "1001", "test", "demo")),
            ],
            networks: vec!["192.0.2.0/24".parse().expect("a network")],
        }],
        registrar: Rules::default(),
        peers: vec!["127.0.0.0/8".parse().expect("a network")],
        trunks: vec![
            vec!["127.0.0.0/8".parse().expect("a network")],
            vec!["127.128.0.0/9".parse().expect("a network")],
        ],
        seed: [seed; 32],
        shard: 0,
        call_ids: CallIds::new(&[seed; 32], 1),
        first_page: 0,
    }
}

/// Two endpoints, 10 ms apart, and what they said.
struct Pair {
    now: Mono,
    ends: [Endpoint; 2],
    wire: BTreeMap<(Mono, u64), (usize, Bytes)>,
    sent: u64,
    /// Which messages (counted from 0) the network loses.
    lose: Vec<u64>,
    ladder: String,
    events: Vec<(usize, Event)>,
}

impl Pair {
    fn new() -> Pair {
        Pair {
            now: Mono(0),
            ends: [endpoint(A, 1), endpoint(B, 2)],
            wire: BTreeMap::new(),
            sent: 0,
            lose: Vec::new(),
            ladder: String::new(),
            events: Vec::new(),
        }
    }

    fn flow(to: usize) -> Flow {
        Flow::udp([A, B][to].parse().expect("an address"))
    }

    fn drain(&mut self) {
        for end in 0..2 {
            while let Some(output) = self.ends[end].poll_output() {
                match output {
                    Output::Send { bytes, .. } => {
                        let lost = self.lose.contains(&self.sent);
                        let arrow = if end == 0 { "A → B" } else { "B → A" };
                        let mark = if lost { "  (lost)" } else { "" };
                        self.ladder.push_str(&format!("{} {arrow} {}{mark}\n", self.now, title(&bytes)));
                        if !lost {
                            self.wire.insert((self.now + Duration::from_millis(10), self.sent), (1 - end, bytes));
                        }
                        self.sent += 1;
                    }
                    Output::Close { .. } => {}
                    Output::Event(event) => self.events.push((end, event)),
                }
            }
        }
    }

    /// Runs for `ms` milliseconds.
    fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        self.drain();
        loop {
            let wire = self.wire.keys().next().map(|k| k.0);
            let timer = self.ends.iter().filter_map(|e| e.poll_timeout().map(|t| t.0)).min();
            let Some(next) = [wire, timer].into_iter().flatten().min().filter(|n| *n <= end) else { break };
            self.now = self.now.max(next);
            if wire == Some(next) {
                let (_, (to, bytes)) = self.wire.pop_first().expect("seen above");
                self.ends[to].handle_message(self.now, Pair::flow(1 - to), bytes);
            } else {
                for e in &mut self.ends {
                    e.handle_timeout(self.now);
                }
            }
            self.drain();
        }
        self.now = end;
    }

    fn call(&mut self) -> SessionId {
        let out = OutgoingInvite {
            flow: Pair::flow(1),
            uri: b"sip:110@127.0.0.1:5062".to_vec(),
            from: b"<sip:13800138000@test>".to_vec(),
            to: b"<sip:110@test>".to_vec(),
            sdp: b"v=0\r\n".to_vec(),
            is_registered: false,
            headers: Vec::new(),
        };
        self.ends[0].invite(self.now, out)
    }

    fn invited(&self) -> SessionId {
        let found = self.events.iter().find_map(|(_, e)| match e {
            Event::Invited(i) => Some(i.session),
            _ => None,
        });
        found.expect("an INVITE arrived")
    }

    fn ladder(&self, expected: &Expect) {
        expected.assert_eq(&self.ladder);
    }

    fn nothing_left_after(&mut self, ms: u64) {
        self.run(ms);
        assert_eq!(self.ends.each_ref().map(Endpoint::population), [(0, 0, 0), (0, 0, 0)]);
    }
}

fn title(bytes: &Bytes) -> String {
    let m = Message::frame(bytes.clone()).expect("we write sound messages");
    let cseq = String::from_utf8_lossy(m.get(Name::CSeq).unwrap_or_default()).into_owned();
    match m.start() {
        Start::Request { .. } => String::from_utf8_lossy(m.method_text()).into_owned(),
        Start::Response { code, .. } => format!("{code} ({cseq})"),
    }
}

#[test]
fn a_call_is_answered_and_ended_by_the_callee() {
    let mut p = Pair::new();
    p.call();
    p.run(50);
    let callee = p.invited();
    p.ends[1].ring(p.now, callee, 180);
    p.run(50);
    p.ends[1].accept(p.now, callee, b"v=0\r\n");
    p.run(50);
    p.ends[1].hang_up(p.now, callee, "");
    p.run(50);
    p.ladder(&expect![[r#"
        0.000 A → B INVITE
        0.010 B → A 100 (1 INVITE)
        0.050 B → A 180 (1 INVITE)
        0.100 B → A 200 (1 INVITE)
        0.110 A → B ACK
        0.150 B → A BYE
        0.160 A → B 200 (1 BYE)
    "#]]);
    assert!(matches!(p.events.last(), Some((0, Event::Ended { cause: EndCause::RemoteBye, .. }))));
    p.nothing_left_after(40_000);
}

#[test]
fn an_invite_that_is_answered_at_once_gets_no_100() {
    let mut p = Pair::new();
    p.call();
    p.now = Mono::from_millis(10);
    let Some(Output::Send { bytes, .. }) = p.ends[0].poll_output() else { panic!("an INVITE leaves") };
    p.ends[1].handle_message(p.now, Pair::flow(0), bytes);
    let Some(Output::Event(Event::Invited(invitation))) = p.ends[1].poll_output() else { panic!("it is told") };
    p.ends[1].accept(p.now, invitation.session, b"v=0\r\n");
    p.run(50);
    p.ends[1].hang_up(p.now, invitation.session, "");
    p.run(50);
    p.ladder(&expect![[r#"
        0.010 B → A 200 (1 INVITE)
        0.020 A → B ACK
        0.060 B → A BYE
        0.070 A → B 200 (1 BYE)
    "#]]);
    p.nothing_left_after(40_000);
}

#[test]
fn lost_messages_are_repeated_until_the_call_stands() {
    let mut p = Pair::new();
    p.lose = vec![0, 3, 5]; // the INVITE, the 200, the ACK
    p.call();
    p.run(600);
    let callee = p.invited();
    p.ends[1].accept(p.now, callee, b"v=0\r\n");
    p.run(3000);
    p.ladder(&expect![[r#"
        0.000 A → B INVITE  (lost)
        0.500 A → B INVITE
        0.510 B → A 100 (1 INVITE)
        0.600 B → A 200 (1 INVITE)  (lost)
        1.100 B → A 200 (1 INVITE)
        1.110 A → B ACK  (lost)
        2.100 B → A 200 (1 INVITE)
        2.110 A → B ACK
    "#]]);
    let answered = p.events.iter().filter(|(_, e)| matches!(e, Event::Answered { .. })).count();
    let confirmed = p.events.iter().filter(|(_, e)| matches!(e, Event::Confirmed { .. })).count();
    assert_eq!((answered, confirmed), (1, 1));
}

#[test]
fn a_cancelled_call_gets_487_and_the_callee_hears_of_it() {
    let mut p = Pair::new();
    let caller = p.call();
    p.run(50);
    p.ends[0].hang_up(p.now, caller, "");
    p.run(50);
    p.ladder(&expect![[r#"
        0.000 A → B INVITE
        0.010 B → A 100 (1 INVITE)
        0.050 A → B CANCEL
        0.060 B → A 200 (1 CANCEL)
        0.060 B → A 487 (1 INVITE)
        0.070 A → B ACK
    "#]]);
    assert!(matches!(p.events.last(), Some((1, Event::Ended { cause: EndCause::Cancelled, .. }))));
    p.nothing_left_after(40_000);
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut p = Pair::new();
    let caller = p.call();
    p.run(50);
    let callee = p.invited();
    p.ends[0].hang_up(p.now, caller, "");
    p.ends[1].accept(p.now, callee, b"v=0\r\n");
    p.run(100);
    p.ladder(&expect![[r#"
        0.000 A → B INVITE
        0.010 B → A 100 (1 INVITE)
        0.050 A → B CANCEL
        0.050 B → A 200 (1 INVITE)
        0.060 B → A 200 (1 CANCEL)
        0.060 A → B ACK
        0.060 A → B BYE
        0.070 B → A 200 (2 BYE)
    "#]]);
    p.nothing_left_after(40_000);
}

#[test]
fn a_bye_waits_for_the_ack() {
    let mut p = Pair::new();
    p.lose = vec![3]; // the first ACK
    p.call();
    p.run(50);
    let callee = p.invited();
    p.ends[1].accept(p.now, callee, b"v=0\r\n");
    p.ends[1].hang_up(p.now, callee, "");
    p.run(1000);
    p.ladder(&expect![[r#"
        0.000 A → B INVITE
        0.010 B → A 100 (1 INVITE)
        0.050 B → A 200 (1 INVITE)
        0.060 A → B ACK  (lost)
        0.550 B → A 200 (1 INVITE)
        0.560 A → B ACK
        0.570 B → A BYE
        0.580 A → B 200 (1 BYE)
    "#]]);
    p.nothing_left_after(40_000);
}

#[test]
fn an_answer_nobody_acknowledges_ends_with_a_bye_after_32_seconds() {
    let mut p = Pair::new();
    p.call();
    p.run(50);
    let callee = p.invited();
    p.lose = (0..1000).collect();
    p.ends[1].accept(p.now, callee, b"v=0\r\n");
    p.run(33_000);
    assert!(matches!(p.events.last(), Some((1, Event::Ended { cause: EndCause::NoAck, .. }))));
    assert!(p.ladder.contains("32.050 B → A BYE"), "{}", p.ladder);
    p.run(100_000);
    assert_eq!(p.ends[1].population(), (0, 0, 0));
}

#[test]
fn a_callee_that_never_answers_times_out_after_32_seconds() {
    let mut p = Pair::new();
    p.lose = (0..1000).collect();
    p.call();
    p.run(33_000);
    assert!(matches!(p.events.last(), Some((0, Event::Ended { cause: EndCause::TimedOut, .. }))));
    p.nothing_left_after(1);
}

#[test]
fn a_refusal_is_acknowledged_and_reported_with_its_code() {
    let mut p = Pair::new();
    p.call();
    p.run(50);
    let callee = p.invited();
    p.ends[1].reject(p.now, callee, 486, Some("X.local;cause=2107"));
    p.run(50);
    assert!(matches!(p.events.last(), Some((0, Event::Ended { cause: EndCause::Refused(486), .. }))));
    p.nothing_left_after(40_000);
}

#[test]
fn a_bye_in_the_early_dialog_ends_the_call_like_a_cancel() {
    let mut p = Pair::new();
    p.call();
    p.run(50);
    let callee = p.invited();
    p.ends[1].ring(p.now, callee, 180);
    let ringing = std::iter::from_fn(|| p.ends[1].poll_output()).find_map(|o| match o {
        Output::Send { bytes, .. } => Message::frame(bytes).ok(),
        Output::Close { .. } | Output::Event(_) => None,
    });
    let ringing = ringing.expect("a 180");
    let mut w = Writer::request("BYE", b"sip:gw@127.0.0.1:5062");
    w.header(Name::Via, format!("SIP/2.0/UDP {A};branch=z9hG4bKearly"));
    w.copy(&ringing, Name::From).copy(&ringing, Name::To).copy(&ringing, Name::CallId);
    w.header(Name::CSeq, "2 BYE");
    p.ends[1].handle_message(p.now, Pair::flow(0), w.finish());
    p.ladder.clear();
    p.drain();
    p.ladder(&expect![[r#"
        0.050 B → A 200 (2 BYE)
        0.050 B → A 487 (1 INVITE)
    "#]]);
    assert!(matches!(p.events.last(), Some((1, Event::Ended { cause: EndCause::Cancelled, .. }))));
}

fn register(nonce: Option<(&str, Algorithm)>, expires: u32, cseq: u32) -> Bytes {
    let mut w = Writer::request("REGISTER", b"sip:test");
    w.header(Name::Via, format!("SIP/2.0/UDP {A};branch=z9hG4bKr{cseq}"));
    w.header(Name::From, "<sip:1001@test>;tag=f");
    w.header(Name::To, "<sip:1001@test>");
    w.header(Name::CallId, "reg");
    w.header(Name::CSeq, format!("{cseq} REGISTER"));
    w.header(Name::Contact, format!("<sip:1001@{A}>"));
    w.header(Name::Expires, expires.to_string());
    if let Some((nonce, algorithm)) = nonce {
        let ha1 = ha1(algorithm, "1001", "test", "demo");
        let proof = Proof {
            algorithm,
            ha1: &ha1,
            nonce: nonce.as_bytes(),
            method: b"REGISTER",
            uri: b"sip:test",
            qop: Some((b"00000001", b"c")),
        };
        let response = proof.response();
        w.header(
            Name::Authorization,
            format!(
                "Digest username=\"1001\", realm=\"test\", nonce=\"{nonce}\", uri=\"sip:test\", qop=auth, nc=00000001, cnonce=\"c\", algorithm={}, response=\"{response}\"",
                algorithm.text()
            ),
        );
    }
    w.finish()
}

fn ask(e: &mut Endpoint, now: Mono, bytes: Bytes) -> (Message, Vec<Event>) {
    e.handle_message(now, Pair::flow(0), bytes);
    let (mut reply, mut events) = (None, Vec::new());
    while let Some(output) = e.poll_output() {
        match output {
            Output::Send { bytes, .. } => reply = Some(Message::frame(bytes).expect("sound")),
            Output::Event(event) => events.push(event),
            Output::Close { .. } => {}
        }
    }
    (reply.expect("a reply"), events)
}

fn nonce_of(m: &Message) -> String {
    let fields = DigestFields::parse(m.get(Name::WwwAuthenticate).expect("a challenge")).expect("digest");
    String::from_utf8(fields.get("nonce").expect("a nonce").to_vec()).expect("text")
}

#[test]
fn a_phone_registers_by_either_algorithm_and_expires() {
    let mut e = endpoint(B, 3);
    let (challenge, events) = ask(&mut e, Mono(0), register(None, 60, 1));
    assert_eq!((challenge.code(), events.len()), (Some(401), 0));
    let offered: Vec<_> = challenge.all(Name::WwwAuthenticate).filter_map(DigestFields::parse).collect();
    assert_eq!(
        offered.iter().filter_map(DigestFields::algorithm).collect::<Vec<_>>(),
        [Algorithm::Md5, Algorithm::Sha256]
    );
    for (i, algorithm) in [Algorithm::Md5, Algorithm::Sha256].into_iter().enumerate() {
        let nonce = nonce_of(&ask(&mut e, Mono(0), register(None, 60, 10 + i as u32)).0);
        let (ok, events) = ask(&mut e, Mono(1), register(Some((&nonce, algorithm)), 60, 2 + i as u32));
        assert_eq!(ok.code(), Some(200));
        assert!(matches!(&events[..], [Event::Registered { user, .. }] if user == "1001"));
    }
    e.handle_timeout(Mono::from_millis(60_001));
    assert!(matches!(e.poll_output(), Some(Output::Event(Event::Unregistered { .. }))));
}

#[test]
fn a_wrong_secret_is_forbidden_and_an_old_nonce_is_stale() {
    let mut e = endpoint(B, 3);
    let nonce = nonce_of(&ask(&mut e, Mono(0), register(None, 60, 1)).0);
    let (refused, _) = ask(
        &mut e,
        Mono(0),
        register(Some(("00000000000000000000000000000000ffffffffffffffff", Algorithm::Md5)), 60, 2),
    );
    assert_eq!(refused.code(), Some(401), "a nonce that is not ours is challenged anew");
    let (stale, _) = ask(&mut e, Mono::from_millis(301_000), register(Some((&nonce, Algorithm::Md5)), 60, 3));
    let value = String::from_utf8_lossy(stale.get(Name::WwwAuthenticate).expect("a challenge")).into_owned();
    assert!(value.contains("stale=true"), "{value}");
    let mut wrong = String::from_utf8(register(Some((&nonce, Algorithm::Md5)), 60, 4).to_vec()).expect("text");
    let at = wrong.find("response=\"").expect("there") + 10;
    let flipped = if &wrong[at..=at] == "0" { "1" } else { "0" };
    wrong.replace_range(at..=at, flipped);
    let (forbidden, _) = ask(&mut e, Mono(0), Bytes::from(wrong));
    assert_eq!(forbidden.code(), Some(403));
}

fn corpus(name: &str) -> Vec<(serde_json_lite::Entry, Bytes)> {
    serde_json_lite::read(name)
}

/// Reads the corpus index without a JSON crate: the file is ours, one key a line.
mod serde_json_lite {
    use super::Bytes;

    pub(super) struct Entry {
        pub file: String,
        /// What the RFC lets one answer.
        pub codes: Vec<u16>,
        /// What we answer.
        pub ours: Vec<u16>,
        pub handed_up: String,
        pub verdict: String,
        pub never_2xx: bool,
    }

    pub(super) fn read(name: &str) -> Vec<(Entry, Bytes)> {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../codecs/corpus").join(name);
        let text = std::fs::read_to_string(dir.join("index.json")).expect("index of the corpus");
        let text_of = |block: &str, key: &str| {
            let at = block.find(&format!("\"{key}\": \""))? + key.len() + 5;
            Some(block[at..at + block[at..].find('"')?].to_owned())
        };
        text.split("\"file\"")
            .skip(1)
            .map(|rest| {
                let block = format!("\"file\"{rest}");
                let file = text_of(&block, "file").expect("a name");
                let codes_of = |key: &str| -> Vec<u16> {
                    let list = &block[block.find(&format!("\"{key}\": [")).expect(key) + key.len() + 5..];
                    let list = &list[..list.find(']').expect("an end")];
                    list.split(',').filter_map(|c| c.trim().parse().ok()).collect()
                };
                let bytes = Bytes::from(std::fs::read(dir.join(&file)).expect("corpus file"));
                let entry = Entry {
                    codes: codes_of("codes"),
                    ours: codes_of("ours"),
                    handed_up: text_of(&block, "handed_up").expect("what is handed up"),
                    verdict: text_of(&block, "verdict").expect("a verdict"),
                    never_2xx: block.contains("\"never_2xx\": true"),
                    file,
                };
                (entry, bytes)
            })
            .collect()
    }
}

/// What an endpoint makes of one message: the final codes that it answers, and what it hands up.
fn answers(bytes: Bytes, flow: Flow) -> (Vec<u16>, &'static str) {
    let mut e = endpoint(B, 9);
    e.handle_message(Mono(0), flow, bytes);
    let (mut codes, mut handed_up) = (Vec::new(), "nothing");
    while let Some(output) = e.poll_output() {
        match output {
            Output::Send { bytes, .. } => {
                let m = Message::frame(bytes).expect("sound");
                codes.extend(m.code().filter(|c| *c >= 200));
            }
            Output::Event(Event::Invited(_)) => handed_up = "a call",
            Output::Event(Event::Paged { .. }) => handed_up = "a text",
            Output::Event(_) | Output::Close { .. } => {}
        }
    }
    (codes, handed_up)
}

#[test]
fn every_torture_message_gets_its_answer_over_udp_and_tcp() {
    for (entry, bytes) in corpus("rfc4475").into_iter().chain(corpus("rfc5118")) {
        let file = &entry.file;
        for transport in [Transport::Udp, Transport::Tcp] {
            let (codes, handed_up) = answers(bytes.clone(), Flow { transport, ..Pair::flow(0) });
            assert_eq!((&codes, handed_up), (&entry.ours, entry.handed_up.as_str()), "{file} over {transport:?}");
        }
        // What we chose stays within what the RFC leaves open.
        let ours = &entry.ours;
        assert!(ours.len() <= 1, "{file}: one answer at most");
        let allowed = ours.iter().all(|c| entry.codes.contains(c));
        let taken =
            entry.handed_up != "nothing" || ours.iter().all(|c| [200, 401, 481].contains(c)) && !ours.is_empty();
        // Without anything like a request line, silence is right as well.
        let silent = ours.is_empty() && file == "test.dat";
        let by_rfc = match entry.verdict.as_str() {
            "drop" => ours.is_empty() && entry.handed_up == "nothing",
            "invalid" | "app" => allowed && (!ours.is_empty() || silent) && entry.handed_up == "nothing",
            _ => taken || allowed && !ours.is_empty(),
        };
        assert!(by_rfc, "{file}: {ours:?} and {} are not what the RFC allows", entry.handed_up);
        let accepted = entry.handed_up == "a call" || ours.iter().any(|c| (200..300).contains(c));
        assert!(!(entry.never_2xx && accepted), "{file} is never accepted");
    }
}

#[test]
fn an_invite_over_two_paths_is_merged_with_482() {
    let mut p = Pair::new();
    p.call();
    p.run(5);
    let (_, bytes) = p.wire.values().next().expect("the INVITE").clone();
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let other = text.replacen("branch=z9hG4bK", "branch=z9hG4bKother", 1);
    p.run(20);
    p.ends[1].handle_message(p.now, Pair::flow(0), Bytes::from(other));
    p.run(1);
    assert!(p.ladder.contains("482 (1 INVITE)"), "{}", p.ladder);
}

#[test]
fn while_draining_options_gets_503() {
    let mut e = endpoint(B, 3);
    let options = |n: u32| {
        let mut w = Writer::request("OPTIONS", b"sip:test");
        w.header(Name::Via, format!("SIP/2.0/UDP {A};branch=z9hG4bKo{n}"));
        w.header(Name::From, "<sip:x@test>;tag=f").header(Name::To, "<sip:test>");
        w.header(Name::CallId, "o").header(Name::CSeq, "1 OPTIONS");
        w.finish()
    };
    assert_eq!(ask(&mut e, Mono(0), options(1)).0.code(), Some(200));
    e.set_draining(true);
    assert_eq!(ask(&mut e, Mono(0), options(2)).0.code(), Some(503));
}
