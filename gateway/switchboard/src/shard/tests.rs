//! One shard, and a trunk that calls: what the casebook, the desk and the metrics are told.

use std::net::Ipv4Addr;

use codecs::sip::{Message, Name};
use media::negotiate;
use sip::Mint;

use super::*;

const SELF: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 5060);
const TRUNK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 5060);
const SEAT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)), 5060);
const PORT: u16 = 20_000;
const WALL: Wall = Wall(1_795_276_800_000_000_000);

fn shard(ports: u16, calls_max: usize) -> Shard {
    let mut mint = Mint::new([1; 32]);
    let trunk = Trunk {
        name: "t".into(),
        sources: vec![TRUNK.ip().into()],
        nat: false,
        calls_max,
        new_calls_max: 100,
        group: GroupId(0),
        channel: Channel::Voice110,
        default_grid: None,
        outbound: Some(TRUNK),
        attendant_user: None,
        skills: 0,
        message_channel: Some("ims".into()),
    };
    let mut shard = Shard::new(ShardConfig {
        shard: 0,
        shards: 1,
        sip_address: SELF,
        rtp_address: SELF.ip(),
        own: Own { addresses: [SELF.ip(); 2], ports: (PORT, PORT + 99), sip_port: SELF.port() },
        phones_nat: false,
        shared_media: false,
        realm: "test".into(),
        accounts: Vec::new(),
        registrar: sip::Rules::default(),
        seed: mint.seed(),
        call_ids: CallIds::new(&mint.seed(), 1),
        trunks: vec![trunk],
        subscribers: Arc::default(),
        grids: Arc::new(GridMap::new(Vec::new())),
        policy: Policy::default(),
        unit: "370400000000".into(),
        node: 1,
        tone: vec![0xD5; 2400].into(),
        attendant: vec![0xD5; 8000].into(),
        serials: SerialBlock { from: 1, until: 10_000, date: 0 },
        luck: 0,
    });
    (0..ports).for_each(|n| shard.grant_port(PORT + 2 * n));
    shard
}

fn sdp(lines: &str) -> String {
    let ip = TRUNK.ip();
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{lines}")
}

fn audio() -> String {
    sdp("m=audio 4000 RTP/AVP 8\r\n")
}

fn invite(call_id: &str, sdp: &str) -> Bytes {
    let len = sdp.len();
    format!(
        "INVITE sip:110@test SIP/2.0\r\nVia: SIP/2.0/UDP {TRUNK};branch=z9hG4bK{call_id}\r\nFrom: <sip:13800000001@t>;tag=f\r\nTo: <sip:110@test>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:t@{TRUNK}>\r\nContent-Type: application/sdp\r\nContent-Length: {len}\r\n\r\n{sdp}"
    )
    .into()
}

/// What it tells, as short words: status codes sent to the trunk, facts, observations, and words to the desk.
fn told(shard: &mut Shard) -> Vec<String> {
    let word = |output| match output {
        Output::Send { flow, bytes, .. } if flow.remote == TRUNK => {
            let message = Message::frame(bytes).expect("sound");
            let method = String::from_utf8_lossy(message.method_text()).into_owned();
            Some(message.code().map_or(method, |code| code.to_string()))
        }
        Output::Casebook(ToCasebook::Fact { fact, .. }) => Some(match fact {
            casework::Fact::Arrived(_) => "arrived".into(),
            other => format!("{other:?}"),
        }),
        Output::Desk(ToDesk::CallFailed { .. }) => Some("call failed".into()),
        Output::Observed(observed) => Some(format!("{observed:?}")),
        Output::PortFreed(port) => Some(format!("port {port} is free")),
        _ => None,
    };
    std::iter::from_fn(|| shard.poll_output()).filter_map(word).collect()
}

fn call(shard: &mut Shard, at_ms: u64, call_id: &str, sdp: &str) -> Vec<String> {
    shard.handle_sip(Mono::from_millis(at_ms), WALL, Flow::udp(TRUNK), invite(call_id, sdp));
    told(shard)
}

fn has(told: &[String], wanted: &[&str]) {
    for word in wanted {
        assert!(told.iter().any(|t| t.contains(word)), "{word} is not among {told:#?}");
    }
}

#[test]
fn whoever_is_refused_is_an_alert_a_breach_and_a_count_with_its_reason() {
    let lying = sdp("m=audio 4000 RTP/AVP 8\r\nc=IN IP4 224.0.0.1\r\n");
    let cases: [(u16, usize, String, u16, &str); 4] = [
        (0, 600, audio(), 503, "no_media_port"),
        (4, 0, audio(), 503, "trunk_share"),
        (4, 600, sdp("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 AMR-WB/16000\r\n"), 488, "no_common_codec"),
        (4, 600, lying, 488, "no_usable_address"),
    ];
    for (ports, calls_max, sdp, code, reason) in cases {
        let mut shard = shard(ports, calls_max);
        let told = call(&mut shard, 0, "a", &sdp);
        let refused = format!("Refused {{ code: {code}, reason: \"{reason}\" }}");
        let counted = format!("Refused {{ trunk: \"t\", code: {code}, reason: \"{reason}\" }}");
        has(&told, &[&code.to_string(), "arrived", "Breach { promise: Answer }", &refused, &counted]);
        assert_eq!(shard.counts().calls, 0);
    }
}

#[test]
fn a_trunk_has_its_share_of_new_calls_and_more_a_second_later() {
    let mut shard = shard(10, 600);
    shard.config.trunks[0].new_calls_max = 2;
    let refused = |told: Vec<String>| told.iter().any(|t| t == "503");
    let one = |shard: &mut Shard, at, id: &str| refused(call(shard, at, id, &audio()));
    assert_eq!([one(&mut shard, 0, "a"), one(&mut shard, 10, "b"), one(&mut shard, 20, "c")], [false, false, true]);
    assert!(!one(&mut shard, 1000, "d"));
}

#[test]
fn a_call_whose_machine_fails_is_a_breach_and_is_called_back_and_costs_no_other() {
    let mut shard = shard(4, 600);
    call(&mut shard, 0, "a", &audio());
    call(&mut shard, 1, "b", &audio());
    let key = shard.calls.iter().map(|(key, _)| key).min().expect("a call");
    shard.with_call(Mono::from_millis(5), key, |_| panic!("a fault of ours, as the test wants it"));
    shard.settle(Mono::from_millis(5));
    let told = told(&mut shard);
    has(&told, &["Panicked", "Mark(\"call_machine_failed\")", "Breach { promise: Answer }", "call failed", "Ended"]);
    has(&told, &["Abandoned { attended: false }"]);
    // Whoever calls hears that it is over; the other call goes on.
    assert!(told.iter().any(|t| t.parse::<u16>().is_ok_and(|code| code >= 400)), "{told:#?}");
    has(&told, &[&format!("port {PORT} is free")]);
    assert_eq!(shard.counts().calls, 1);
}

/// Who is said to write, and what the message is called.
fn writes(shard: &mut Shard, branch: u32, from: &str, call_id: &str) -> (String, String) {
    let text = format!(
        "MESSAGE sip:110@test SIP/2.0\r\nVia: SIP/2.0/UDP {TRUNK};branch=z9hG4bK{branch}\r\nFrom: {from};tag=f\r\nTo: <sip:110@test>\r\nCall-ID: {call_id}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nhelp"
    );
    shard.handle_sip(Mono(0), WALL, Flow::udp(TRUNK), text.into());
    let outputs = std::iter::from_fn(|| shard.poll_output());
    let message = outputs.filter_map(|o| match o {
        Output::Casebook(ToCasebook::Incoming { message, .. }) => Some((message.from.user, message.message_id)),
        _ => None,
    });
    message.last().expect("a report")
}

#[test]
fn whoever_writes_without_a_number_is_nobody_else_and_no_message_is_another_s() {
    let mut shard = shard(4, 600);
    let anonymous = "<sip:anonymous@anonymous.invalid>";
    let (a, name) = writes(&mut shard, 1, anonymous, "a");
    let (b, _) = writes(&mut shard, 2, anonymous, "b");
    assert!(a.starts_with("anonymous-") && a != b, "{a} {b}");
    let (_, other) = writes(&mut shard, 3, "<sip:13800000001@t>", "a");
    assert_ne!(name, other, "the same Call-ID and CSeq of somebody else");
    let again = [4, 5].map(|branch| writes(&mut shard, branch, "<sip:13800000001@t>", "c"));
    assert_eq!(again[0], again[1], "sent again in another transaction");
}

#[test]
fn a_caller_whose_telephone_takes_no_audio_is_marked_so() {
    for line in ["a=inactive", "a=sendonly"] {
        let mut shard = shard(4, 600);
        let told = call(&mut shard, 0, "a", &sdp(&format!("m=audio 4000 RTP/AVP 8\r\n{line}\r\n")));
        has(&told, &["arrived", "Mark(\"caller_takes_no_audio\")"]);
    }
}

/// A seat is reserved for the call that is up: the INVITE that it gets.
fn invited_seat(shard: &mut Shard) -> Bytes {
    let now = Mono::from_millis(1);
    let key = shard.calls.iter().map(|(key, _)| key).next().expect("a call");
    let contact = Contact { flow: Flow::udp(SEAT), uri: format!("sip:1001@{SEAT}").into_bytes(), is_registered: true };
    let info = SeatInfo::default();
    shard.take_message(now, ToShard::SeatReserved { call: key, seat: SeatId(1), overflow: false, info, contact });
    shard.settle(now);
    let invite = std::iter::from_fn(|| shard.poll_output()).find_map(|output| match output {
        Output::Send { flow, bytes, .. } if flow.remote == SEAT => Some(bytes),
        _ => None,
    });
    invite.expect("the seat is invited")
}

/// The seat's phone answers with this SDP.
fn with_a_seat(answer: &str) -> Shard {
    let mut shard = shard(4, 600);
    call(&mut shard, 0, "a", &audio());
    let invite = Message::frame(invited_seat(&mut shard)).expect("sound");
    let mut w = codecs::sip::Writer::response(&invite, 200, b"s", SEAT);
    w.header(Name::Contact, format!("<sip:1001@{SEAT}>"));
    let ok = w.finish_with("application/sdp", answer.as_bytes());
    shard.handle_sip(Mono::from_millis(50), WALL, Flow::udp(SEAT), ok);
    told(&mut shard);
    shard
}

fn speak(shard: &mut Shard, n: u16, from: SocketAddr) {
    let timestamp = u32::from(n) * 160;
    let mut buffer = [0; 200];
    let packet =
        codecs::rtp::Packet { payload_type: 8, marker: false, sequence: n, timestamp, ssrc: 7, payload: &[0x15; 160] };
    let len = packet.write(&mut buffer);
    let at = Mono::from_millis(60 + u64::from(n) * 20);
    // The second leg of the call has the second port.
    shard.handle_media(at, PORT + 2, false, from, &buffer[..len]);
    shard.tick(at, WALL);
}

#[test]
fn a_leg_that_is_heard_by_nobody_while_strangers_knock_is_told_and_marked() {
    let answer = sdp("m=audio 4000 RTP/AVP 8\r\n").replace(&TRUNK.ip().to_string(), "8.8.8.8");
    let mut shard = with_a_seat(&answer);
    let mut all = Vec::new();
    for n in 0..150 {
        speak(&mut shard, n, SocketAddr::new(SEAT.ip(), 4000));
        let now = Mono::from_millis(60 + u64::from(n) * 20);
        shard.handle_timeout(now, WALL);
        all.extend(told(&mut shard));
    }
    has(&all, &["Deaf { role: Taker }", "Mark(\"media_from_elsewhere\")"]);
}

#[test]
fn whoever_may_stand_behind_a_nat_or_names_what_means_nothing_here_is_heard_where_they_signal_from() {
    let agreed = |address: &str| {
        let offer = sdp(&format!("m=audio 4000 RTP/AVP 8\r\nc=IN IP4 {address}\r\n"));
        let own = Own { addresses: [SELF.ip(); 2], ports: (PORT, PORT + 99), sip_port: 5060 };
        negotiate::accept(offer.as_bytes(), &own).expect("agreed")
    };
    let from = SEAT.ip();
    for (address, nat, learns) in [
        ("203.0.113.2", false, false),
        ("203.0.113.2", true, true),
        // Of the public Internet, elsewhere than it signals from: believed.
        ("8.8.8.8", false, false),
        ("192.168.1.5", false, true),
        ("100.64.0.9", false, true),
        ("127.0.0.1", false, true),
        ("169.254.3.4", false, true),
        ("198.51.100.4", false, true),
        ("0.0.0.0", false, true),
        ("phone.example", false, true),
    ] {
        let leg = Leg { signals_from: Some(from), nat, ..Leg::blank(Role::Taker) };
        let near = legs::near(&leg, &agreed(address));
        assert_eq!(near, learns.then_some(from), "{address}, nat = {nat}");
    }
    let leg = Leg { signals_from: Some("192.168.1.5".parse().expect("an address")), ..Leg::blank(Role::Taker) };
    assert_eq!(legs::near(&leg, &agreed("192.168.1.5")), None, "in one private network nobody has to be learned");
}

#[test]
fn a_number_as_long_as_a_message_may_be_is_cut_and_its_seat_is_invited_within_a_datagram() {
    let mut shard = shard(4, 600);
    let long = "9".repeat(30_000);
    let text = String::from_utf8(invite("a", &audio()).to_vec()).expect("text").replace("13800000001", &long);
    shard.handle_sip(Mono(0), WALL, Flow::udp(TRUNK), text.into());
    let marks = std::iter::from_fn(|| shard.poll_output()).find_map(|output| match output {
        Output::Casebook(ToCasebook::Fact { fact: casework::Fact::Arrived(arrival), .. }) => Some(arrival.marks),
        _ => None,
    });
    assert!(marks.expect("it arrived").contains(&"cut_NUMBER".to_owned()));
    assert!(invited_seat(&mut shard).len() <= 1300);
}

#[test]
fn whoever_withholds_their_number_calls_as_anonymous() {
    assert_eq!(legs::identity("", "r"), b"\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    assert_eq!(legs::identity("+86#1", "r"), b"\"+86#1\" <sip:+86%231@r>");
}

#[test]
fn whoever_the_protocol_refuses_is_told_twenty_times_a_second_and_again_in_the_next() {
    let mut shard = shard(4, 600);
    let mut alerts = 0;
    let mut refuse = |shard: &mut Shard, at_ms, n: u32| {
        let encoded = "Content-Encoding: gzip\r\n";
        let text = String::from_utf8(invite(&format!("c{n}"), &audio()).to_vec()).expect("text");
        let text = text.replacen("Contact:", &format!("{encoded}Contact:"), 1);
        shard.handle_sip(Mono::from_millis(at_ms), WALL, Flow::udp(TRUNK), text.into());
        let told = told(shard);
        has(&told, &["415", "Breach { promise: Answer }"]);
        alerts += told.iter().filter(|t| *t == "arrived").count();
        alerts
    };
    let told = (0..30).map(|n| refuse(&mut shard, 0, n)).last();
    assert_eq!(told, Some(20));
    // No call of this trunk has come through meanwhile.
    let told = (30..60).map(|n| refuse(&mut shard, 1000 + u64::from(n), n)).last();
    assert_eq!(told, Some(40));
}
