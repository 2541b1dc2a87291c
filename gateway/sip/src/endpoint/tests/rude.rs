//! Whoever lies, replays, guesses, injects, or only does not care.

use codecs::sip::NameAddr;

use super::*;

const STRANGER: &str = "198.51.100.7:5060";
const TRUNK: &str = "127.0.0.1:5061";

fn udp(address: &str) -> Flow {
    Flow::udp(address.parse().expect("an address"))
}

/// What one message makes an endpoint send, and tell.
fn give(e: &mut Endpoint, now: Mono, flow: Flow, bytes: Bytes) -> (Vec<(Flow, Message)>, Vec<Event>) {
    e.handle_message(now, flow, bytes);
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    while let Some(output) = e.poll_output() {
        match output {
            Output::Send { flow, bytes, .. } => sent.push((flow, Message::frame(bytes).expect("sound"))),
            Output::Event(event) => events.push(event),
            Output::Close { .. } => {}
        }
    }
    (sent, events)
}

/// The one that INVITE of ours which `e` has sent.
fn invite_of(e: &mut Endpoint, flow: Flow, is_registered: bool) -> (SessionId, Bytes) {
    let out = OutgoingInvite {
        flow,
        uri: b"sip:1001@127.0.0.1:5061".to_vec(),
        from: b"<sip:13800138000@test>".to_vec(),
        to: b"<sip:1001@test>".to_vec(),
        sdp: b"v=0\r\n".to_vec(),
        is_registered,
        headers: Vec::new(),
    };
    let id = e.invite(Mono(0), out);
    let Some(Output::Send { bytes, .. }) = e.poll_output() else { panic!("an INVITE leaves") };
    (id, bytes)
}

/// An answer as the asked one would give it, after `change` has had its way with its text.
fn answer_to(invite: &Bytes, code: u16, change: impl Fn(String) -> String) -> Bytes {
    let request = Message::frame(invite.clone()).expect("sound");
    let mut w = Writer::response(&request, code, b"theirs", TRUNK.parse().expect("an address"));
    w.header(Name::Contact, format!("<sip:1001@{TRUNK}>"));
    let bytes = w.finish_with("application/sdp", b"v=0\r\n");
    change(String::from_utf8(bytes.to_vec()).expect("text")).into()
}

fn header_of(bytes: &Bytes, name: Name) -> String {
    let m = Message::frame(bytes.clone()).expect("sound");
    String::from_utf8_lossy(m.get(name).expect("the header")).into_owned()
}

#[test]
fn an_answer_counts_only_from_where_the_request_went_and_only_to_that_request() {
    let mut e = endpoint(B, 1);
    let (_, invite) = invite_of(&mut e, udp(TRUNK), true);
    let tag = header_of(&invite, Name::From).split(";tag=").nth(1).expect("a tag").to_owned();
    let call_id = header_of(&invite, Name::CallId);
    let honest = answer_to(&invite, 200, |t| t);
    let forgeries = [
        (udp(STRANGER), honest.clone()),
        (udp("127.0.0.1:5999"), honest.clone()),
        (Flow { transport: Transport::Tcp, ..udp(TRUNK) }, honest.clone()),
        (udp(TRUNK), answer_to(&invite, 200, |t| t.replace(&call_id, "another"))),
        (udp(TRUNK), answer_to(&invite, 200, |t| t.replace(&tag, "another"))),
        (udp(TRUNK), answer_to(&invite, 200, |t| t.replace("1 INVITE", "2 INVITE"))),
        (udp(STRANGER), answer_to(&invite, 486, |t| t)),
    ];
    for (n, (flow, forged)) in forgeries.into_iter().enumerate() {
        let (sent, events) = give(&mut e, Mono(n as u64 + 1), flow, forged);
        assert!(sent.is_empty() && events.is_empty(), "forgery {n}: {sent:?} {events:?}");
    }
    assert_eq!(e.counters.forged, 7);
    let (sent, events) = give(&mut e, Mono(9), udp(TRUNK), honest);
    assert!(matches!(&events[..], [Event::Answered { .. }]));
    assert_eq!(sent[0].1.method(), Some(Method::Ack));
}

#[test]
fn what_was_seen_of_our_tokens_tells_nothing_of_the_next() {
    // The tag of an answer to a stranger, and the branch of the INVITE that follows, share no generator state that
    // could be run forward: they differ from seed to seed and from each other in every digit place.
    let seen: std::collections::BTreeSet<String> = (0..50)
        .flat_map(|seed| {
            let mut e = endpoint(B, seed);
            let (_, invite) = invite_of(&mut e, udp(TRUNK), true);
            let branch = header_of(&invite, Name::Via).split("branch=z9hG4bK").nth(1).expect("a branch").to_owned();
            let tag = header_of(&invite, Name::From).split(";tag=").nth(1).expect("a tag").to_owned();
            [branch.split(';').next().expect("a token").to_owned(), tag]
        })
        .collect();
    assert_eq!(seen.len(), 100);
    assert!(seen.iter().all(|t| t.len() == 26));
}

#[test]
fn a_refusal_of_an_invite_as_long_as_a_message_can_be_is_acknowledged() {
    let mut e = endpoint(B, 1);
    let flow = Flow { connection: 3, ..Flow::tcp(TRUNK.parse().expect("an address")) };
    let from = format!("\"{0}\" <sip:{0}@test>", "9".repeat(33_000)).into_bytes();
    let out = OutgoingInvite {
        flow,
        uri: b"sip:1001@127.0.0.1:5061".to_vec(),
        from,
        to: b"<sip:1001@test>".to_vec(),
        sdp: Vec::new(),
        is_registered: true,
        headers: Vec::new(),
    };
    e.invite(Mono(0), out);
    let Some(Output::Send { bytes: invite, .. }) = e.poll_output() else { panic!("an INVITE leaves") };
    assert!(invite.len() > codecs::sip::MAX_MESSAGE);
    // The peer cuts what it cannot echo; only what its answer says again matters.
    let text = String::from_utf8_lossy(&invite).into_owned();
    let line = |name: &str| text.lines().find(|l| l.starts_with(name)).expect("the header").to_owned();
    let from_tag = line("From").split(";tag=").nth(1).expect("a tag").to_owned();
    let refusal = format!(
        "SIP/2.0 513 Message Too Large\r\n{}\r\nFrom: <sip:x@test>;tag={from_tag}\r\nTo: <sip:1001@test>;tag=t\r\n{}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
        line("Via"),
        line("Call-ID"),
    );
    e.handle_message(Mono(1), flow, refusal.into());
    let Some(Output::Send { bytes: ack, .. }) = e.poll_output() else { panic!("an ACK leaves") };
    assert!(ack.starts_with(b"ACK "));
    assert!(matches!(e.poll_output(), Some(Output::Event(Event::Ended { cause: EndCause::Refused(513), .. }))));
    assert_eq!(e.population(), (0, 0, 0));
}

fn request(method: &str, via: &str, extra: &str) -> Bytes {
    format!(
        "{method} sip:110@test SIP/2.0\r\nVia: {via}\r\nFrom: <sip:x@test>;tag=f\r\nTo: <sip:110@test>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n{extra}Content-Length: 0\r\n\r\n"
    )
    .into()
}

#[test]
fn strangers_cost_no_memory_and_get_no_more_than_they_sent() {
    let mut e = endpoint(B, 1);
    for method in ["INVITE", "OPTIONS", "BYE", "REGISTER", "MESSAGE", "SUBSCRIBE", "WHAT", "CANCEL", "INFO"] {
        for n in 0..20 {
            let contact = "Contact: <sip:x@198.51.100.7>\r\n";
            let bytes = request(method, &format!("SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK{method}{n};rport"), contact);
            let asked = bytes.len();
            let (sent, events) = give(&mut e, Mono(n), udp(STRANGER), bytes);
            assert!(events.is_empty(), "{method}: {events:?}");
            assert_eq!(sent.len(), 1, "{method}");
            let more = if method == "REGISTER" { 400 } else { STRANGER_MORE };
            assert!(sent[0].1.raw().len() <= asked + more, "{method}: {} for {asked}", sent[0].1.raw().len());
        }
    }
    assert_eq!(e.population(), (0, 0, 0));
    e.handle_timeout(Mono::from_millis(100_000));
    assert!(e.poll_output().is_none(), "and nothing is repeated");
}

#[test]
fn a_repeated_request_of_a_stranger_gets_the_same_tag() {
    let mut e = endpoint(B, 1);
    let bytes = request("OPTIONS", "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKo", "");
    let tag = |sent: &[(Flow, Message)]| sent[0].1.get(Name::To).expect("To").to_vec();
    let first = tag(&give(&mut e, Mono(0), udp(STRANGER), bytes.clone()).0);
    assert_eq!(first, tag(&give(&mut e, Mono(5), udp(STRANGER), bytes).0));
    assert!(NameAddr::parse(&first).expect("parses").tag().is_some());
}

#[test]
fn answers_go_where_the_via_says() {
    let mut e = endpoint(B, 1);
    for (via, to) in [
        ("SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bKa", "127.0.0.1:5062"),
        ("SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bKb;rport", "127.0.0.1:40000"),
        ("SIP/2.0/UDP 10.9.9.9;branch=z9hG4bKc", "127.0.0.1:5060"),
        ("SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bKd;maddr=127.0.0.8", "127.0.0.8:5062"),
        ("SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bKe;maddr=224.0.0.1", "127.0.0.1:5062"),
    ] {
        let (sent, _) = give(&mut e, Mono(0), udp("127.0.0.1:40000"), request("OPTIONS", via, ""));
        assert_eq!(sent[0].0, udp(to), "{via}");
    }
    // Over a connection: back on it, and where it is gone, on a new one to the sent-by.
    let flow = Flow { connection: 7, ..Flow::tcp("127.0.0.1:40000".parse().expect("an address")) };
    e.handle_message(Mono(0), flow, request("OPTIONS", "SIP/2.0/TCP 127.0.0.1:5070;branch=z9hG4bKf", ""));
    let Some(Output::Send { flow: over, reconnect, .. }) = e.poll_output() else { panic!("an answer") };
    assert_eq!((over, reconnect), (flow, Some("127.0.0.1:5070".parse().expect("an address"))));
}

/// An endpoint with a call of a trunk that it has answered, and its To with our tag.
fn answered(contact: &str, record_route: &str) -> (Endpoint, SessionId, String) {
    let mut e = endpoint(B, 1);
    let extra = format!("{contact}{record_route}");
    let invite = request("INVITE", "SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bKi", &extra);
    let (_, events) = give(&mut e, Mono(0), udp(TRUNK), invite);
    let [Event::Invited(invitation)] = &events[..] else { panic!("{events:?}") };
    let id = invitation.session;
    e.accept(Mono(1), id, b"v=0\r\n");
    let to = std::iter::from_fn(|| e.poll_output()).find_map(|o| match o {
        Output::Send { bytes, .. } if bytes.starts_with(b"SIP/2.0 200") => Some(header_of(&bytes, Name::To)),
        _ => None,
    });
    let to = to.expect("a 200");
    let ack = in_dialog("ACK", 1, &to, "ack", "");
    // Whoever knows it all and is elsewhere confirms nothing, answers no offer of ours, and stops no repeat.
    for elsewhere in ["203.0.113.66:6666", "127.200.0.1:5061"] {
        let (sent, events) = give(&mut e, Mono(2), udp(elsewhere), ack.clone());
        assert_eq!((sent.len(), events.len()), (0, 0), "{elsewhere}");
    }
    e.handle_timeout(Mono(600_000_000));
    let repeated = std::iter::from_fn(|| e.poll_output())
        .any(|o| matches!(o, Output::Send { bytes, .. } if bytes.starts_with(b"SIP/2.0 200")));
    assert!(repeated, "it is still waited for");
    let (_, events) = give(&mut e, Mono(2), udp(TRUNK), ack);
    assert!(matches!(&events[..], [Event::Confirmed { .. }]));
    (e, id, to)
}

fn in_dialog(method: &str, cseq: u32, to: &str, branch: &str, extra: &str) -> Bytes {
    format!(
        "{method} sip:gw@{B} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK{branch}\r\nFrom: <sip:x@test>;tag=f\r\nTo: {to}\r\nCall-ID: c\r\nCSeq: {cseq} {method}\r\n{extra}Content-Length: 0\r\n\r\n"
    )
    .into()
}

fn bye_of(e: &mut Endpoint, id: SessionId) -> (Flow, Message) {
    e.hang_up(Mono(50), id, "");
    let found = std::iter::from_fn(|| e.poll_output()).find_map(|o| match o {
        Output::Send { flow, bytes, .. } if bytes.starts_with(b"BYE") => {
            Some((flow, Message::frame(bytes).expect("sound")))
        }
        _ => None,
    });
    found.expect("a BYE")
}

#[test]
fn requests_in_a_dialog_go_to_the_route_set_else_to_the_contact_else_where_the_peer_was_seen() {
    for (contact, routes, to) in [
        ("Contact: <sip:x@127.0.0.1:5071>\r\n", "", "127.0.0.1:5071"),
        ("Contact: <sip:x@203.0.114.9>\r\n", "", "203.0.114.9:5060"),
        ("Contact: <sip:x@203.0.114.9>\r\n", "Record-Route: <sip:203.0.114.1:5080;lr>\r\n", "203.0.114.1:5080"),
        ("Contact: <sip:x@203.0.114.9>\r\n", "Record-Route: <sip:203.0.114.1:5080>\r\n", "203.0.114.1:5080"),
        // Behind a router, by a name, nowhere, to everybody, to ourselves: back to where it came from.
        ("Contact: <sip:x@192.168.1.9>\r\n", "", TRUNK),
        ("Contact: <sip:x@phone.example>\r\n", "", TRUNK),
        ("", "", TRUNK),
        ("Contact: <sip:x@224.0.0.1>\r\n", "", TRUNK),
        ("Contact: <sip:x@0.0.0.0>\r\n", "", TRUNK),
        ("Contact: <sip:x@127.0.0.1:5062>\r\n", "", TRUNK),
    ] {
        let (mut e, id, _) = answered(contact, routes);
        let (flow, bye) = bye_of(&mut e, id);
        assert_eq!(flow, udp(to), "{contact}{routes}");
        assert!(!bye.request_uri().is_empty());
    }
}

#[test]
fn a_call_whose_answer_finds_no_connection_is_over() {
    let mut e = endpoint(B, 1);
    let over = |connection| Flow { connection, ..Flow::tcp("127.0.0.1:40000".parse().expect("an address")) };
    let mut answered = Vec::new();
    for connection in [7, 8] {
        let via = format!("SIP/2.0/TCP 127.0.0.1:5070;branch=z9hG4bKt{connection}");
        let invite = String::from_utf8(request("INVITE", &via, "").to_vec()).expect("text");
        let invite = invite.replace("Call-ID: c", &format!("Call-ID: c{connection}"));
        let (_, events) = give(&mut e, Mono(0), over(connection), invite.into());
        let [Event::Invited(invitation)] = &events[..] else { panic!("{events:?}") };
        answered.push(invitation.session);
        e.accept(Mono(1), invitation.session, b"v=0\r\n");
        while e.poll_output().is_some() {}
    }
    e.handle_unreachable(Mono(2), 7, "127.0.0.1:5070".parse().expect("an address"));
    let ended = std::iter::from_fn(|| e.poll_output()).collect::<Vec<_>>();
    let [Output::Event(Event::Ended { session, cause: EndCause::Unreachable })] = &ended[..] else {
        panic!("{ended:?}")
    };
    assert_eq!(*session, answered[0], "the other's connection is there");
    let (_, _) = invite_of(&mut e, Flow::tcp(TRUNK.parse().expect("an address")), true);
    e.handle_unreachable(Mono(3), 0, TRUNK.parse().expect("an address"));
    assert!(matches!(e.poll_output(), Some(Output::Event(Event::Ended { cause: EndCause::Unreachable, .. }))));
}

#[test]
fn a_registered_phone_is_reached_over_its_flow_whatever_its_contact_says() {
    let mut e = endpoint(B, 1);
    let (id, invite) = invite_of(&mut e, udp(TRUNK), true);
    let elsewhere = answer_to(&invite, 200, |t| t.replace(&format!("<sip:1001@{TRUNK}>"), "<sip:1001@203.0.114.9>"));
    give(&mut e, Mono(1), udp(TRUNK), elsewhere);
    assert_eq!(bye_of(&mut e, id).0, udp(TRUNK));
}

#[test]
fn a_request_in_a_dialog_that_is_out_of_turn_moves_nothing() {
    let (mut e, id, to) = answered("Contact: <sip:x@127.0.0.1:5061>\r\n", "");
    let evil = udp("127.0.0.66:6666");
    // Old, repeated, and of an unknown dialog: answered by the Via, and the call stays where it is.
    for (method, cseq, code) in [("INVITE", 0, 500), ("BYE", 1, 500), ("BYE", 0, 500)] {
        let extra = "Contact: <sip:evil@127.0.0.66:6666>\r\n";
        let bytes = in_dialog(method, cseq, &to, &format!("x{method}{cseq}"), extra);
        let (sent, events) = give(&mut e, Mono(10), evil, bytes);
        assert_eq!((sent[0].1.code(), events.len()), (Some(code), 0));
    }
    let (sent, _) = give(&mut e, Mono(10), evil, in_dialog("BYE", 9, &to.replace("tag=", "tag=z"), "y", ""));
    assert_eq!(sent[0].1.code(), Some(481));
    assert_eq!(bye_of(&mut e, id).0, udp(TRUNK));
}

#[test]
fn whoever_knows_all_of_a_dialog_and_is_elsewhere_moves_nothing_in_it() {
    let (mut e, id, to) = answered("Contact: <sip:x@127.0.0.1:5061>\r\n", "");
    let evil = udp("203.0.113.66:6666");
    for (n, method) in ["BYE", "INVITE", "INFO"].into_iter().enumerate() {
        let bytes = in_dialog(method, 9, &to, &format!("e{n}"), "Contact: <sip:evil@203.0.113.66>\r\n");
        let (sent, events) = give(&mut e, Mono(10), evil, bytes);
        assert_eq!((sent[0].1.code(), events.len()), (Some(481), 0), "{method}");
    }
    // Another trunk is elsewhere too.
    let (sent, events) = give(&mut e, Mono(10), udp("127.200.0.1:5061"), in_dialog("BYE", 9, &to, "o", ""));
    assert_eq!((sent[0].1.code(), events.len()), (Some(481), 0));
    // Of a trunk that has several addresses any of them may.
    let (_, events) = give(&mut e, Mono(11), udp("127.0.0.77:5061"), in_dialog("BYE", 9, &to, "t", ""));
    assert!(matches!(&events[..], [Event::Ended { session, cause: EndCause::RemoteBye }] if *session == id));
}

#[test]
fn only_whoever_sent_an_invite_can_cancel_it() {
    let mut e = endpoint(B, 1);
    let via = "SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bKi";
    let (_, events) = give(&mut e, Mono(0), udp(TRUNK), request("INVITE", via, "Contact: <sip:x@127.0.0.1>\r\n"));
    assert!(matches!(&events[..], [Event::Invited(_)]));
    let (sent, events) = give(&mut e, Mono(1), udp("127.0.0.66:5061"), request("CANCEL", via, ""));
    assert_eq!((sent[0].1.code(), events.len()), (Some(481), 0));
    // Nor does it help to say that one is there.
    let there = via.replace(";rport", "") + ";maddr=127.0.0.1";
    let (_, events) = give(&mut e, Mono(1), udp("127.0.0.66:5061"), request("CANCEL", &there, ""));
    assert!(events.is_empty(), "{events:?}");
    let (sent, events) = give(&mut e, Mono(2), udp(TRUNK), request("CANCEL", via, ""));
    assert_eq!(sent[0].1.code(), Some(200));
    assert!(matches!(&events[..], [Event::Ended { cause: EndCause::Cancelled, .. }]));
}

#[test]
fn whatever_a_poor_phone_requires_it_is_answered_but_for_preconditions() {
    for (extra, served) in [
        ("Require: 100rel\r\n", true),
        ("Require: timer, histinfo\r\nProxy-Require: sec-agree\r\n", true),
        ("Content-Type: application/ISUP\r\nContent-Disposition: signal;handling=optional\r\n", true),
        ("Contact: <>\r\n", true),
        ("Contact: <sip:\"\r\nMax-Forwards: 70\r\nMax-Forwards: 900\r\n", true),
        ("Require: precondition\r\n", false),
    ] {
        let mut e = endpoint(B, 1);
        let bytes = request("INVITE", "SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bKi", extra);
        let (sent, events) = give(&mut e, Mono(0), udp(TRUNK), bytes.clone());
        if served {
            assert!(matches!(&events[..], [Event::Invited(_)]), "{extra}");
            continue;
        }
        assert_eq!(sent[0].1.code(), Some(420));
        assert!(matches!(&events[..], [Event::Refused(r)] if r.code == 420), "a refused call is told");
        let (sent, events) = give(&mut e, Mono(1), udp(TRUNK), bytes);
        assert_eq!((sent[0].1.code(), events.len()), (Some(420), 0), "once, however often it is repeated");
        assert_eq!(e.population(), (0, 0, 0));
    }
}

struct Credentials<'a> {
    user: &'a str,
    secret: &'a str,
    nonce: &'a str,
    nc: Option<u32>,
    uri: &'a str,
    cseq: u32,
    call_id: &'a str,
}

/// A REGISTER with these credentials.
fn register_as(c: &Credentials<'_>) -> Bytes {
    let ha1 = ha1(Algorithm::Md5, c.user, "test", c.secret);
    let nc = c.nc.map(|n| format!("{n:08x}"));
    let proof = Proof {
        algorithm: Algorithm::Md5,
        ha1: &ha1,
        nonce: c.nonce.as_bytes(),
        method: b"REGISTER",
        uri: c.uri.as_bytes(),
        qop: nc.as_ref().map(|nc| (nc.as_bytes(), &b"c"[..])),
    };
    let counted = nc.as_ref().map_or(String::new(), |nc| format!("qop=auth, nc={nc}, cnonce=\"c\", "));
    let (user, nonce, uri, cseq, call_id) = (c.user, c.nonce, c.uri, c.cseq, c.call_id);
    format!(
        "REGISTER sip:test SIP/2.0\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bKreg{cseq}{call_id}{}\r\nFrom: <sip:{user}@test>;tag=f\r\nTo: <sip:{user}@test>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{user}@{A}>\r\nAuthorization: Digest username=\"{user}\", realm=\"test\", nonce=\"{nonce}\", uri=\"{uri}\", {counted}response=\"{}\"\r\nContent-Length: 0\r\n\r\n",
        c.nc.unwrap_or(0),
        proof.response()
    )
    .into()
}

const HONEST: Credentials<'static> =
    Credentials { user: "1001", secret: "demo", nonce: "", nc: Some(1), uri: "sip:test", cseq: 2, call_id: "r" };

fn fresh_nonce(e: &mut Endpoint, now: Mono, from: Flow, user: &str) -> String {
    let asked = register_as(&Credentials { user, nonce: "none", cseq: 1, call_id: "q", ..HONEST });
    let (sent, _) = give(e, now, from, asked);
    assert_eq!(sent[0].1.code(), Some(401));
    nonce_of(&sent[0].1)
}

fn is_stale(m: &Message) -> bool {
    m.code() == Some(401)
        && String::from_utf8_lossy(m.get(Name::WwwAuthenticate).unwrap_or_default()).contains("stale=true")
}

#[test]
fn a_registration_seen_once_is_of_no_use_to_anybody_else_nor_again() {
    let mut e = endpoint(B, 1);
    let home = udp(A);
    let nonce = fresh_nonce(&mut e, Mono(0), home, "1001");
    let seen = register_as(&Credentials { nonce: &nonce, ..HONEST });
    // A thief is quicker: the nonce is another source's.
    let (sent, events) = give(&mut e, Mono(1), udp("127.0.0.66:5060"), seen.clone());
    assert!(is_stale(&sent[0].1) && events.is_empty());
    let (sent, events) = give(&mut e, Mono(2), home, seen);
    assert_eq!(sent[0].1.code(), Some(200));
    assert!(matches!(&events[..], [Event::Registered { refreshed: false, .. }]));
    // The same count under another branch, from the same address and from elsewhere.
    for from in [home, udp("127.0.0.66:5060"), udp("127.0.0.1:7777")] {
        let again = register_as(&Credentials { nonce: &nonce, cseq: 9, call_id: "thief", ..HONEST });
        let (sent, events) = give(&mut e, Mono(3), from, again);
        assert!(is_stale(&sent[0].1) && events.is_empty(), "{from:?}");
    }
    // Counts come in any order, each once; a refresh says that it is one.
    for (nc, cseq, taken) in [(3, 3, true), (2, 4, true), (3, 5, false), (2, 6, false), (300, 7, true), (4, 8, false)] {
        let next = register_as(&Credentials { nonce: &nonce, nc: Some(nc), cseq, ..HONEST });
        let (sent, events) = give(&mut e, Mono(4), home, next);
        assert_eq!(sent[0].1.code(), Some(if taken { 200 } else { 401 }), "nc {nc}");
        let refreshed = matches!(&events[..], [Event::Registered { refreshed: true, .. }]);
        assert_eq!(refreshed, taken);
    }
    assert_eq!(e.binding("1001").expect("bound").flow, home);
}

#[test]
fn without_a_count_a_nonce_is_good_for_one_request() {
    let mut e = endpoint(B, 1);
    let nonce = fresh_nonce(&mut e, Mono(0), udp(A), "1001");
    let old_form = |cseq| register_as(&Credentials { nonce: &nonce, nc: None, cseq, ..HONEST });
    assert_eq!(give(&mut e, Mono(1), udp(A), old_form(2)).0[0].1.code(), Some(200));
    assert!(is_stale(&give(&mut e, Mono(2), udp(A), old_form(3)).0[0].1));
}

#[test]
fn a_nonce_of_before_a_restart_is_stale_and_a_fresh_one_comes_with_it() {
    let mut before = endpoint(B, 1);
    let nonce = fresh_nonce(&mut before, Mono(0), udp(A), "1001");
    let mut e = endpoint(B, 2);
    let (sent, _) = give(&mut e, Mono(1), udp(A), register_as(&Credentials { nonce: &nonce, ..HONEST }));
    assert!(is_stale(&sent[0].1));
    let nonce = nonce_of(&sent[0].1);
    let (sent, _) = give(&mut e, Mono(2), udp(A), register_as(&Credentials { nonce: &nonce, cseq: 3, ..HONEST }));
    assert_eq!(sent[0].1.code(), Some(200));
}

#[test]
fn guessing_is_bounded_and_locks_nobody_else_out() {
    let mut e = endpoint(B, 1);
    let guesser = udp("127.0.0.66:5060");
    let mut codes = Vec::new();
    for n in 0..30 {
        let nonce = fresh_nonce(&mut e, Mono(n), guesser, "1001");
        let guess = Credentials { secret: "guess", nonce: &nonce, cseq: 2 + n as u32, call_id: "g", ..HONEST };
        codes.push(give(&mut e, Mono(n), guesser, register_as(&guess)).0[0].1.code().expect("a code"));
    }
    assert_eq!(codes.iter().filter(|c| **c == 403).count(), 10, "ten are judged");
    assert!(codes[10..].iter().all(|c| *c == 401), "the rest are not: {codes:?}");
    let nonce = fresh_nonce(&mut e, Mono(40), udp(A), "1001");
    let owner = register_as(&Credentials { nonce: &nonce, ..HONEST });
    assert_eq!(give(&mut e, Mono(41), udp(A), owner).0[0].1.code(), Some(200));
    let later = Mono::from_millis(61_000);
    let nonce = fresh_nonce(&mut e, later, guesser, "1001");
    let right = register_as(&Credentials { nonce: &nonce, cseq: 99, call_id: "g", ..HONEST });
    assert_eq!(give(&mut e, later, guesser, right).0[0].1.code(), Some(200), "a minute later they may try again");
}

#[test]
fn an_unknown_user_is_answered_like_a_known_one() {
    let mut config = config(B, 1);
    // One that has fewer proofs than the realm asks for.
    let ha1 = vec![(Algorithm::Md5, ha1(Algorithm::Md5, "1002", "test", "demo"))];
    config.accounts.push(Account { user: "1002".into(), ha1, networks: Vec::new() });
    let mut e = Endpoint::new(config);
    let mut seen = Vec::new();
    for user in ["1001", "1002", "9999"] {
        let asked = register_as(&Credentials { user, nonce: "none", cseq: 1, call_id: "q", ..HONEST });
        let (sent, _) = give(&mut e, Mono(0), udp(A), asked);
        let challenge = &sent[0].1;
        let shape: Vec<String> = challenge
            .all(Name::WwwAuthenticate)
            .map(|v| String::from_utf8_lossy(v).replace(&nonce_of(challenge), "N"))
            .collect();
        let nonce = nonce_of(challenge);
        let wrong = register_as(&Credentials { user, secret: "wrong", nonce: &nonce, ..HONEST });
        seen.push((shape, give(&mut e, Mono(1), udp(A), wrong).0[0].1.code()));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[test]
fn a_digest_for_another_resource_and_a_late_request_are_refused() {
    let mut e = endpoint(B, 1);
    let nonce = fresh_nonce(&mut e, Mono(0), udp(A), "1001");
    let other = register_as(&Credentials { nonce: &nonce, uri: "sip:elsewhere", ..HONEST });
    assert_eq!(give(&mut e, Mono(1), udp(A), other).0[0].1.code(), Some(400));
    let at = |nc, cseq| register_as(&Credentials { nonce: &nonce, nc: Some(nc), cseq, uri: "sip:test:5060", ..HONEST });
    assert_eq!(give(&mut e, Mono(2), udp(A), at(2, 5)).0[0].1.code(), Some(200), "a port more is the same resource");
    assert_eq!(give(&mut e, Mono(3), udp(A), at(3, 4)).0[0].1.code(), Some(500), "an earlier CSeq of the same Call-ID");
}

#[test]
fn a_contact_elsewhere_is_not_called_unless_the_account_names_its_network() {
    let mut e = endpoint(B, 1);
    for (n, (contact, reached)) in
        [("203.0.114.9:5060", A), ("192.0.2.77:5070", "192.0.2.77:5070")].into_iter().enumerate()
    {
        let nonce = fresh_nonce(&mut e, Mono(0), udp(A), "1001");
        let honest = register_as(&Credentials { nonce: &nonce, cseq: 5 + n as u32, ..HONEST });
        let text = String::from_utf8(honest.to_vec()).expect("text");
        let moved = text.replace(&format!("Contact: <sip:1001@{A}>"), &format!("Contact: <sip:1001@{contact}>"));
        let (sent, _) = give(&mut e, Mono(1), udp(A), moved.into());
        assert_eq!(sent[0].1.code(), Some(200), "never refused for that");
        assert_eq!(e.binding("1001").expect("bound").flow, udp(reached));
    }
}

#[test]
fn a_binding_that_was_refreshed_or_dropped_ends_nobody_else_s_and_the_next_ends_in_its_time() {
    let mut e = endpoint(B, 1);
    let until = |ms| Mono::from_millis(ms);
    let bound = |ms| crate::registrar::Binding {
        contact: b"sip:1001@192.0.2.7".to_vec(),
        flow: udp("192.0.2.7:5060"),
        expires_at: until(ms),
    };
    assert!(e.restore_binding("1001", bound(10_000)));
    assert_eq!(e.poll_timeout().map(|t| t.0), Some(until(10_000)));
    assert!(e.restore_binding("1001", bound(20_000)), "refreshed");
    while e.poll_output().is_some() {}
    e.handle_timeout(until(10_000));
    assert!(e.poll_output().is_none() && e.binding("1001").is_some());
    assert_eq!(e.poll_timeout().map(|t| t.0), Some(until(20_000)));
    e.handle_timeout(until(20_000));
    assert!(matches!(e.poll_output(), Some(Output::Event(Event::Unregistered { .. }))));
    assert_eq!((e.poll_timeout().is_none(), e.binding("1001").is_none()), (true, true));
}

#[test]
fn a_binding_is_granted_for_two_minutes_at_most_and_holds_over_a_restart_until_then() {
    let mut e = endpoint(B, 1);
    let nonce = fresh_nonce(&mut e, Mono(0), udp(A), "1001");
    let text = String::from_utf8(register_as(&Credentials { nonce: &nonce, ..HONEST }).to_vec()).expect("text");
    let long = text.replace("Content-Length", "Expires: 86400\r\nContent-Length");
    let (sent, _) = give(&mut e, Mono(0), udp(A), long.into());
    assert!(String::from_utf8_lossy(sent[0].1.get(Name::Contact).expect("Contact")).ends_with(";expires=120"));
    let binding = e.binding("1001").expect("bound").clone();
    let mut next = endpoint(B, 2);
    assert!(next.restore_binding("1001", binding.clone()));
    assert!(!next.restore_binding("nobody", binding));
    next.handle_timeout(Mono::from_millis(120_001));
    assert!(matches!(next.poll_output(), Some(Output::Event(Event::Unregistered { .. }))));
}

#[test]
fn whoever_vanishes_is_missed_by_an_options_in_the_dialog() {
    let mut p = Pair::new();
    p.call();
    p.run(50);
    let callee = p.invited();
    p.ends[1].accept(p.now, callee, b"v=0\r\n");
    p.run(50);
    p.ladder.clear();
    p.ends[1].probe(p.now, callee);
    p.ends[1].probe(p.now, callee);
    p.run(50);
    p.ladder(&expect![[r#"
        0.100 B → A OPTIONS
        0.110 A → B 200 (1 OPTIONS)
    "#]]);
    let events = p.events.len();
    // Now the caller is gone: 64 times T1 later they are missed, and told good-bye.
    p.lose = (0..1000).collect();
    p.ends[1].probe(p.now, callee);
    p.run(33_000);
    assert!(matches!(p.events[events..], [(1, Event::Ended { cause: EndCause::Vanished, .. })]));
    assert!(p.ladder.contains("32.150 B → A BYE"), "{}", p.ladder);
    p.run(100_000);
    assert_eq!(p.ends[1].population(), (0, 0, 0));
}

#[test]
fn whoever_knows_of_no_call_is_missed_at_once() {
    let (mut e, id, _) = answered("Contact: <sip:x@127.0.0.1:5061>\r\n", "");
    e.probe(Mono(10), id);
    let Some(Output::Send { bytes, .. }) = e.poll_output() else { panic!("an OPTIONS leaves") };
    let request = Message::frame(bytes).expect("sound");
    let gone = Writer::response(&request, 481, b"", TRUNK.parse().expect("an address")).finish();
    let (sent, events) = give(&mut e, Mono(11), udp(TRUNK), gone);
    assert!(matches!(&events[..], [Event::Ended { cause: EndCause::Vanished, .. }]));
    assert_eq!(sent[0].1.method(), Some(Method::Bye));
}

#[test]
fn an_invite_over_udp_fits_a_datagram_by_leaving_out_what_is_optional() {
    for (flow, left) in [(udp(TRUNK), 2), (Flow::tcp(TRUNK.parse().expect("an address")), 8)] {
        let mut e = endpoint(B, 1);
        let out = OutgoingInvite {
            flow,
            uri: b"sip:1001@127.0.0.1:5061".to_vec(),
            from: b"<sip:13800138000@test>".to_vec(),
            to: b"<sip:1001@test>".to_vec(),
            sdp: vec![b'x'; 400],
            is_registered: true,
            headers: (0..8).map(|n| (format!("X-{n}"), "y".repeat(100))).collect(),
        };
        e.invite(Mono(0), out);
        let Some(Output::Send { bytes, .. }) = e.poll_output() else { panic!("an INVITE leaves") };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("X-0: ") && text.contains(&format!("X-{}: ", left - 1)), "{text}");
        assert!(left == 8 || bytes.len() <= 1300, "{}", bytes.len());
    }
}

#[test]
fn a_caller_whose_connection_is_gone_before_the_answer_leaves_nothing_behind() {
    let mut e = endpoint(B, 1);
    let flow = Flow { connection: 7, ..Flow::tcp(TRUNK.parse().expect("an address")) };
    let (_, events) =
        give(&mut e, Mono(0), flow, request("INVITE", &format!("SIP/2.0/TCP {TRUNK};branch=z9hG4bKi"), ""));
    assert!(matches!(&events[..], [Event::Invited(_)]));
    e.handle_unreachable(Mono(1), 7, TRUNK.parse().expect("an address"));
    assert!(std::iter::from_fn(|| e.poll_output()).any(|o| matches!(o, Output::Event(Event::Ended { .. }))));
    assert_eq!(e.population(), (0, 0, 0));
}

#[test]
fn two_calls_that_bear_one_branch_are_two_calls() {
    let mut e = endpoint(B, 1);
    let invite = |call: &str, cseq: u32| {
        let text =
            String::from_utf8(request("INVITE", &format!("SIP/2.0/UDP {TRUNK};branch=z9hG4bKsame"), "").to_vec());
        let text = text.expect("text").replace("Call-ID: c\r\n", &format!("Call-ID: {call}\r\n"));
        Bytes::from(text.replace("CSeq: 1 ", &format!("CSeq: {cseq} ")))
    };
    for (call, cseq) in [("a", 1), ("b", 1), ("b", 2)] {
        let (_, events) = give(&mut e, Mono(0), udp(TRUNK), invite(call, cseq));
        assert!(matches!(&events[..], [Event::Invited(_)]), "{call} {cseq}");
        let (_, events) = give(&mut e, Mono(1), udp(TRUNK), invite(call, cseq));
        assert!(events.is_empty(), "sent again it is the same");
    }
}
