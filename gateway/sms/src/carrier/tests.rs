//! A carrier's links against a scripted peer that writes and reads real PDUs.

use std::net::Ipv4Addr;

use codecs::sms::cmpp::{self, Pdu, Version};
use codecs::sms::{sgip, smpp};

use super::*;

fn at(ms: u64) -> Mono {
    Mono::from_millis(ms)
}

const WALL: Wall = Wall(1_795_302_900_000_000_000);

fn config(protocol: Protocol) -> CarrierConfig {
    CarrierConfig {
        protocol,
        account: "901234".into(),
        secret: "secret".into(),
        peer: ("unicom".into(), "pw".into()),
        number: "12110".into(),
        service: "POLICE".into(),
        links: 1,
        window: 2,
        keep_alive: Duration::from_secs(180),
        answer_within: Duration::from_secs(60),
        tries: 3,
        rate: 0,
        dial_max: Duration::from_secs(30),
        require_proof: false,
        seed: 7,
    }
}

const V2: Protocol = Protocol::Cmpp(Version::V2);

/// Everything that has come out, in short words.
fn outputs(c: &mut Carrier) -> Vec<String> {
    std::iter::from_fn(|| c.poll_output())
        .map(|o| match o {
            Output::Connect(l) => format!("connect {}", l.0),
            Output::Close(l, why, _) => format!("close {}: {why}", l.0),
            Output::Deliver(_, d) => {
                format!("deliver {} {}>{} {:?}", d.message_id, d.from, d.to, codecs::sms::decode(d.alphabet, &d.octets))
            }
            Output::Verdict { line, verdict } => format!("line {line} {verdict:?}"),
            Output::Fate { line, fate } => format!("line {line} {fate:?}"),
            Output::Up(l, up) => format!("link {} {}", l.0, if up { "up" } else { "down" }),
        })
        .collect()
}

fn sent(c: &mut Carrier) -> Vec<u8> {
    std::iter::from_fn(|| c.poll_transmit()).flat_map(|(_, bytes)| bytes).collect()
}

fn pdus(bytes: &[u8]) -> Vec<(u32, String)> {
    let (mut at, mut all) = (0, Vec::new());
    while let Ok(Some(len)) = cmpp::frame(&bytes[at..], 12, 4096) {
        let (sequence, pdu) = cmpp::read(Version::V2, &bytes[at..at + len]).expect("we write what can be read");
        all.push((sequence, format!("{pdu:?}").split([' ', '(']).next().expect("a name").to_owned()));
        at += len;
    }
    assert_eq!(at, bytes.len(), "whole frames");
    all
}

fn wire(sequence: u32, pdu: &Pdu<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    cmpp::write(Version::V2, sequence, pdu, &mut out);
    out
}

const LINK: LinkId = LinkId(0);

fn up(protocol: Protocol, now: Mono) -> Carrier {
    let mut c = Carrier::new(config(protocol), now);
    c.handle_timeout(now, WALL);
    assert_eq!(outputs(&mut c), ["connect 0"]);
    c.handle_connected(now, WALL, LINK);
    let login = sent(&mut c);
    assert_eq!(pdus(&login), [(1, "Connect".into())]);
    let resp = Pdu::ConnectResp { status: 0, authenticator: [0; 16], version: 0x20 };
    c.handle_bytes(now, WALL, LINK, &wire(1, &resp));
    assert_eq!(outputs(&mut c), ["link 0 up"]);
    c
}

fn deliver(msg_id: u64) -> Pdu<'static> {
    Pdu::Deliver(cmpp::Deliver {
        msg_id,
        destination: b"12110",
        source: b"13800138000",
        content: b"help",
        ..Default::default()
    })
}

fn line(id: u64, text: &str) -> Line {
    Line { id, to: "13800138000".into(), text: text.into(), urgent: true, notice: false }
}

#[test]
fn a_delivery_is_answered_when_it_is_durable_and_not_before() {
    let mut c = up(V2, at(0));
    c.handle_bytes(at(1), WALL, LINK, &wire(9, &deliver(0xAB)));
    let Some(Output::Deliver(token, d)) = c.poll_output() else { panic!("a delivery") };
    assert_eq!(d.message_id, "00000000000000ab");
    assert!(sent(&mut c).is_empty());
    c.acknowledge(token, Verdict::Accepted);
    assert_eq!(sent(&mut c), wire(9, &Pdu::DeliverResp { msg_id: 0xAB, result: 0 }));
    // What cannot be stored now is left without an answer, and comes again.
    c.handle_bytes(at(1), WALL, LINK, &wire(11, &deliver(0xAD)));
    let Some(Output::Deliver(token, _)) = c.poll_output() else { panic!("a delivery") };
    c.acknowledge(token, Verdict::Busy);
    assert!(sent(&mut c).is_empty());
    // A connection later nobody is owed anything.
    c.handle_bytes(at(2), WALL, LINK, &wire(10, &deliver(0xAC)));
    let Some(Output::Deliver(token, _)) = c.poll_output() else { panic!("a delivery") };
    c.handle_closed(at(3), LINK);
    c.handle_connected(at(4), WALL, LINK);
    sent(&mut c);
    c.acknowledge(token, Verdict::Accepted);
    assert!(sent(&mut c).is_empty());
}

#[test]
fn frames_split_at_any_byte_are_read_alike() {
    let bytes = [wire(9, &deliver(1)), wire(10, &Pdu::ActiveTest)].concat();
    for cut in 0..bytes.len() {
        let mut c = up(V2, at(0));
        c.handle_bytes(at(1), WALL, LINK, &bytes[..cut]);
        c.handle_bytes(at(1), WALL, LINK, &bytes[cut..]);
        assert_eq!(outputs(&mut c), ["deliver 0000000000000001 13800138000>12110 \"help\""]);
        assert_eq!(pdus(&sent(&mut c)), [(10, "ActiveTestResp".into())]);
    }
}

#[test]
fn a_line_is_accepted_when_every_part_is_and_the_window_holds() {
    let mut c = up(V2, at(0));
    c.submit(at(1), WALL, &line(5, &"长".repeat(150)));
    let first = pdus(&sent(&mut c));
    assert_eq!(first.len(), 2, "a window of two");
    for (sequence, _) in first {
        let resp = Pdu::SubmitResp { msg_id: u64::from(sequence), result: 0 };
        c.handle_bytes(at(2), WALL, LINK, &wire(sequence, &resp));
    }
    assert_eq!(outputs(&mut c), [""; 0]);
    let (sequence, _) = pdus(&sent(&mut c))[0];
    c.handle_bytes(at(3), WALL, LINK, &wire(sequence, &Pdu::SubmitResp { msg_id: 77, result: 0 }));
    assert_eq!(outputs(&mut c), ["line 5 Accepted"]);
    let report = cmpp::write_report(
        Version::V2,
        &cmpp::Report { msg_id: 77, stat: b"UNDELIV", destination: b"1" },
        b"2611212315",
    );
    let report = Pdu::Deliver(cmpp::Deliver { msg_id: 8, is_report: true, content: &report, ..Default::default() });
    c.handle_bytes(at(4), WALL, LINK, &wire(3, &report));
    assert_eq!(outputs(&mut c), ["line 5 Failed(\"UNDELIV\")"]);
    assert_eq!(pdus(&sent(&mut c)), [(3, "DeliverResp".into())]);
}

#[test]
fn flow_control_is_obeyed_with_a_growing_wait_and_the_line_is_kept() {
    let mut c = up(V2, at(0));
    c.submit(at(1), WALL, &line(5, "ok"));
    let mut waits = Vec::new();
    let mut now = at(1);
    for _ in 0..4 {
        let (sequence, _) = pdus(&sent(&mut c))[0];
        c.handle_bytes(now, WALL, LINK, &wire(sequence, &Pdu::SubmitResp { msg_id: 0, result: 8 }));
        assert!(sent(&mut c).is_empty());
        let (next, why) = c.poll_timeout().expect("a timer");
        assert_eq!(why, "send");
        waits.push(next.since(now).as_millis() as u64);
        now = next;
        c.handle_timeout(now, WALL);
    }
    assert!(waits.windows(2).all(|w| w[1] > w[0]), "{waits:?}");
    assert!((500..=1000).contains(&waits[0]) && (4000..=8000).contains(&waits[3]), "{waits:?}");
    assert_eq!(c.counters.throttled, 4);
    let (sequence, _) = pdus(&sent(&mut c))[0];
    c.handle_bytes(now, WALL, LINK, &wire(sequence, &Pdu::SubmitResp { msg_id: 1, result: 13 }));
    assert_eq!(outputs(&mut c), ["line 5 Refused(13)"]);
}

#[test]
fn a_silent_link_is_tested_and_in_the_end_dialled_again_with_its_unanswered_lines() {
    let mut c = up(V2, at(0));
    c.submit(at(1), WALL, &line(5, "ok"));
    assert_eq!(pdus(&sent(&mut c)).len(), 1);
    let mut log = Vec::new();
    for _ in 0..20 {
        let (now, _) = c.poll_timeout().expect("a timer");
        c.handle_timeout(now, WALL);
        log.extend(pdus(&sent(&mut c)).into_iter().map(|(_, what)| what));
        log.extend(outputs(&mut c));
        if log.last().is_some_and(|l| l.starts_with("connect")) {
            break;
        }
    }
    let log = log.join(" · ");
    assert_eq!(
        log,
        "Submit · Submit · ActiveTest · line 5 Refused(4294967295) · ActiveTest · ActiveTest · \
         close 0: link tests unanswered · link 0 down · connect 0"
    );
}

#[test]
fn lines_in_flight_when_a_link_breaks_go_out_again() {
    let mut c = up(V2, at(0));
    c.submit(at(1), WALL, &line(5, "one"));
    c.submit(at(1), WALL, &line(6, "two"));
    assert_eq!(pdus(&sent(&mut c)).len(), 2);
    c.handle_closed(at(2), LINK);
    assert_eq!(outputs(&mut c), ["link 0 down"]);
    c.handle_connected(at(3), WALL, LINK);
    sent(&mut c);
    c.handle_bytes(at(3), WALL, LINK, &wire(1, &Pdu::ConnectResp { status: 0, authenticator: [0; 16], version: 0x20 }));
    assert_eq!(pdus(&sent(&mut c)).len(), 2);
    assert_eq!(c.counters.resent, 2);
}

#[test]
fn what_no_link_has_been_given_yet_can_be_taken_back() {
    let mut c = up(V2, at(0));
    for id in 1..=3 {
        c.submit(at(1), WALL, &line(id, "here"));
    }
    // The window holds two.
    assert_eq!(pdus(&sent(&mut c)).len(), 2);
    assert_eq!([c.withdraw(1), c.withdraw(3), c.withdraw(9)], [false, true, false]);
    // The link breaks: of what was in its window only the second goes again.
    c.handle_closed(at(2), LINK);
    outputs(&mut c);
    assert_eq!(c.urgent.iter().map(|part| part.line).collect::<Vec<_>>(), [2]);
    c.submit(at(3), WALL, &line(4, "while it is down"));
    assert!(c.withdraw(4));
}

#[test]
fn notices_wait_for_every_other_line() {
    let mut c = up(V2, at(0));
    c.hold_until = at(10);
    c.submit(at(1), WALL, &Line { notice: true, ..line(1, "n") });
    c.submit(at(1), WALL, &line(2, "reply"));
    c.handle_timeout(at(10), WALL);
    let sequences: Vec<u32> = pdus(&sent(&mut c)).iter().map(|(s, _)| *s).collect();
    for (i, sequence) in sequences.iter().enumerate() {
        c.handle_bytes(at(11), WALL, LINK, &wire(*sequence, &Pdu::SubmitResp { msg_id: i as u64, result: 0 }));
    }
    assert_eq!(outputs(&mut c), ["line 2 Accepted", "line 1 Accepted"]);
}

#[test]
fn bad_frames_are_refused_as_each_protocol_says_and_the_link_comes_back() {
    let mut c = up(V2, at(0));
    c.handle_bytes(at(1), WALL, LINK, &[0, 0, 0, 12, 0, 0, 0, 0x77, 0, 0, 0, 5]);
    assert_eq!((outputs(&mut c), sent(&mut c)), (vec![], vec![]), "CMPP ignores what it does not know");
    let mut torn = wire(6, &deliver(1));
    torn.truncate(40);
    torn[3] = 40;
    c.handle_bytes(at(1), WALL, LINK, &torn);
    assert_eq!(sent(&mut c), wire(6, &Pdu::DeliverResp { msg_id: 0, result: 1 }));
    c.handle_bytes(at(1), WALL, LINK, &[0xFF; 64]);
    assert_eq!(outputs(&mut c), ["close 0: a length that cannot be", "link 0 down"]);
    assert_eq!(c.counters.malformed, 3);
    let (next, why) = c.poll_timeout().expect("a timer");
    assert!(why == "dial" && next.since(at(1)) <= Duration::from_millis(250));

    let smpp = Protocol::Smpp { system_type: String::new(), default_alphabet: codecs::sms::Alphabet::Gsm7 };
    let mut c = Carrier::new(config(smpp), at(0));
    c.handle_timeout(at(0), WALL);
    c.handle_connected(at(0), WALL, LINK);
    sent(&mut c);
    let ok = |sequence| smpp::Header { status: 0, sequence };
    let mut bytes = Vec::new();
    smpp::write(ok(1), &smpp::Pdu::BindResp { command: 9, system_id: b"x" }, &mut bytes);
    bytes.extend_from_slice(&[0, 0, 0, 16, 0, 0, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 5]);
    c.handle_bytes(at(1), WALL, LINK, &bytes);
    let mut nack = Vec::new();
    smpp::write(smpp::Header { status: smpp::INVALID_COMMAND, sequence: 5 }, &smpp::Pdu::GenericNack, &mut nack);
    assert_eq!(sent(&mut c), nack);
}

#[test]
fn a_login_that_is_refused_is_not_hammered() {
    let mut c = Carrier::new(config(V2), at(0));
    c.handle_timeout(at(0), WALL);
    c.handle_connected(at(0), WALL, LINK);
    sent(&mut c);
    c.handle_bytes(at(0), WALL, LINK, &wire(1, &Pdu::ConnectResp { status: 3, authenticator: [0; 16], version: 0x20 }));
    assert_eq!(outputs(&mut c), ["connect 0", "close 0: login refused"]);
    let (next, _) = c.poll_timeout().expect("a timer");
    assert!(next.since(at(0)) >= Duration::from_secs(15), "half of the longest wait at least");
}

#[test]
fn sgip_delivers_over_the_link_that_the_carrier_opens_and_reports_find_their_submit() {
    let protocol = Protocol::Sgip { node: 3_075_500_001 };
    let mut c = Carrier::new(config(protocol), at(0));
    c.handle_timeout(at(0), WALL);
    assert_eq!(outputs(&mut c), [""; 0], "dialled when there is something to send");
    let wrong = c.accept(at(0), HERE);
    let theirs = |counter| sgip::Sequence { node: 107_551, time: 1, counter };
    let bind = |password: &'static [u8]| sgip::Pdu::Bind { login_type: 2, name: b"unicom", password };
    let write = |sequence, pdu: &sgip::Pdu<'_>| {
        let mut out = Vec::new();
        sgip::write(sequence, pdu, &mut out);
        out
    };
    c.handle_bytes(at(0), WALL, wrong, &write(theirs(1), &bind(b"guess")));
    let Some(Output::Close(_, "login refused", last)) = c.poll_output() else { panic!("closed") };
    assert_eq!(last, write(theirs(1), &sgip::Pdu::Resp { command: 1, result: sgip::BAD_LOGIN }));
    let link = c.accept(at(0), HERE);
    c.handle_bytes(at(0), WALL, link, &write(theirs(1), &bind(b"pw")));
    assert_eq!(outputs(&mut c), ["link 2 up"]);
    sent(&mut c);
    let mo = sgip::Deliver { source: b"8613001125453", destination: b"12110", content: b"hi", ..Default::default() };
    c.handle_bytes(at(1), WALL, link, &write(theirs(2), &sgip::Pdu::Deliver(mo)));
    let Some(Output::Deliver(token, d)) = c.poll_output() else { panic!("a delivery") };
    assert_eq!((d.from.as_str(), d.message_id.len()), ("8613001125453", 24));
    c.acknowledge(token, Verdict::Accepted);
    assert_eq!(sent(&mut c), write(theirs(2), &sgip::Pdu::Resp { command: 4, result: 0 }));

    c.submit(at(2), WALL, &line(5, "ok"));
    c.handle_timeout(at(2), WALL);
    assert_eq!(outputs(&mut c), ["connect 0"]);
    c.handle_connected(at(2), WALL, LINK);
    let login = sent(&mut c);
    let (sequence, _) = sgip::read(&login).expect("a bind");
    c.handle_bytes(at(2), WALL, LINK, &write(sequence, &sgip::Pdu::Resp { command: 1, result: 0 }));
    let submit = sent(&mut c);
    let (sequence, _) = sgip::read(&submit).expect("a submit");
    c.handle_bytes(at(2), WALL, LINK, &write(sequence, &sgip::Pdu::Resp { command: 3, result: 0 }));
    let report = sgip::Report { submit: sequence, destination: b"8613800138000", state: 0, error: 0 };
    c.handle_bytes(at(3), WALL, link, &write(theirs(3), &sgip::Pdu::Report(report)));
    assert_eq!(outputs(&mut c), ["link 0 up", "line 5 Accepted", "line 5 Delivered"]);
}

/// A CMPP link whose carrier proves what it should, or something else.
fn logged_in(config: CarrierConfig, right: bool) -> (Carrier, Vec<String>) {
    let mut c = Carrier::new(config, at(0));
    c.handle_timeout(at(0), WALL);
    outputs(&mut c);
    c.handle_connected(at(0), WALL, LINK);
    sent(&mut c);
    let client = cmpp::authenticator(cmpp::account("901234"), "secret", decimal_time(WALL));
    let authenticator = if right { cmpp::server_authenticator(&[0], &client, "secret") } else { [7; 16] };
    let resp = Pdu::ConnectResp { status: 0, authenticator, version: 0x20 };
    c.handle_bytes(at(1), WALL, LINK, &wire(1, &resp));
    let told = outputs(&mut c);
    (c, told)
}

#[test]
fn a_carrier_that_does_not_know_the_secret_is_left_again() {
    let demanding = || CarrierConfig { require_proof: true, ..config(V2) };
    assert_eq!(logged_in(demanding(), true).1, ["link 0 up"]);
    let (c, told) = logged_in(demanding(), false);
    assert_eq!(told, ["close 0: the carrier did not prove that it knows the secret"]);
    assert_eq!((c.links_up(), c.counters.unproven), (0, 1));
}

#[test]
fn a_long_line_is_delivered_with_its_last_part_and_has_failed_with_any() {
    let report = |number: u64, stat: &'static [u8]| {
        let report = cmpp::Report { msg_id: number, stat, destination: b"13800138000" };
        let content = cmpp::write_report(Version::V2, &report, b"2611290001");
        let deliver = cmpp::Deliver {
            msg_id: 0xF0 + number,
            destination: b"12110",
            source: b"13800138000",
            is_report: true,
            content: &content,
            ..Default::default()
        };
        wire(100 + number as u32, &Pdu::Deliver(deliver))
    };
    for (second, expected) in [(&b"DELIVRD"[..], "line 5 Delivered"), (b"UNDELIV", "line 5 Failed(\"UNDELIV\")")] {
        let mut c = up(V2, at(0));
        c.submit(at(1), WALL, &line(5, &"长".repeat(100)));
        assert_eq!(pdus(&sent(&mut c)).len(), 2);
        for (sequence, msg_id) in [(2, 21), (3, 22)] {
            c.handle_bytes(at(2), WALL, LINK, &wire(sequence, &Pdu::SubmitResp { msg_id, result: 0 }));
        }
        assert_eq!(outputs(&mut c), ["line 5 Accepted"]);
        c.handle_bytes(at(3), WALL, LINK, &report(21, b"DELIVRD"));
        assert_eq!(outputs(&mut c), [""; 0], "half of it is not delivered");
        c.handle_bytes(at(4), WALL, LINK, &report(22, second));
        assert_eq!(outputs(&mut c), [expected]);
    }
}

/// Where a carrier, or whoever says so, connects from.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

#[test]
fn strangers_at_the_door_give_way_to_one_more_and_never_to_silence() {
    let mut c = Carrier::new(config(Protocol::Sgip { node: 1 }), at(0));
    for _ in 0..STRANGERS_MAX {
        c.accept(at(0), HERE);
    }
    assert_eq!(outputs(&mut c), [""; 0]);
    c.accept(at(1), HERE);
    assert_eq!(outputs(&mut c), ["close 1: more connections than a carrier needs"]);
}

#[test]
fn whoever_crowds_the_door_does_not_push_the_carrier_out() {
    let mut c = Carrier::new(config(Protocol::Sgip { node: 1 }), at(0));
    let carrier = c.accept(at(0), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));
    for _ in 0..10 * STRANGERS_MAX {
        c.accept(at(0), HERE);
    }
    let closed = outputs(&mut c);
    assert_eq!(closed.len(), 9 * STRANGERS_MAX + 1);
    assert!(!closed.iter().any(|o| o.starts_with(&format!("close {}:", carrier.0))), "{closed:?}");
}

#[test]
fn of_many_addresses_with_one_each_the_oldest_gives_way_wherever_it_is() {
    let mut c = Carrier::new(config(Protocol::Sgip { node: 1 }), at(0));
    let from = |n: usize| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n as u8));
    for n in 0..STRANGERS_MAX {
        c.accept(at(0), from(STRANGERS_MAX - n));
    }
    let carrier = c.accept(at(1), from(255));
    for n in 0..STRANGERS_MAX - 1 {
        c.accept(at(2), from(100 + n));
    }
    let closed = outputs(&mut c);
    assert_eq!(closed.len(), STRANGERS_MAX);
    assert!(
        closed[0].starts_with("close 1:") && !closed.iter().any(|o| o.starts_with(&format!("close {}:", carrier.0)))
    );
}

#[test]
fn a_stranger_who_sends_no_command_is_answered_nothing_and_closed() {
    let mut c = Carrier::new(config(Protocol::Sgip { node: 1 }), at(0));
    let link = c.accept(at(0), HERE);
    let unknown = [0u32, 0x77, 1, 2, 3].map(|n| if n == 0 { 20 } else { n }).map(u32::to_be_bytes).concat();
    c.handle_bytes(at(1), WALL, link, &unknown.repeat(1000));
    assert_eq!(outputs(&mut c), [format!("close {}: no command, before the login", link.0)]);
    assert!(c.poll_transmit().is_none());
}
