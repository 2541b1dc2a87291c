//! The hot functions, each as something that can be done any number of times: for instruction and allocation counts.

use std::hint::black_box;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use codecs::audio::FRAME;
use codecs::audio::companding::Companding;
use codecs::audio::g711::Law;
use codecs::geo::{Point, Polygon};
use codecs::journal::{Frame, Kind, Origin};
use codecs::record::{Address, AlertNo, Assessment, Channel, Form};
use codecs::rtp::Packet;
use codecs::sdp::Direction;
use codecs::sip::{Message, Name, Writer, check_request};
use codecs::sms::cmpp::Version;
use codecs::sms::{cmpp, sgip, smgp, smpp};
use codecs::time::{Mono, Wall};
use media::negotiate::{self, Agreed, Local, Own};
use media::{Engine, LegConfig, LegId, Remote};
use switchboard::replay::Front;
use switchboard::{
    Body, Casebook, CasebookConfig, CasebookOutput, ChannelRule, Grid, GridMap, GroupId, Incoming, KeywordTable,
    Patience, QuotaRule, RequestId, ToCasebook,
};

const INVITE: &str = "INVITE sip:110@127.0.0.1:15060;user=phone SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport\r\nMax-Forwards: 68\r\nRecord-Route: <sip:192.0.2.1;lr>\r\nFrom: \"+8613800138000\" <sip:+8613800138000@ims.example;user=phone>;tag=1928301774\r\nTo: <sip:110@psap.example;user=phone>\r\nCall-ID: a84b4c76e66710@192.0.2.1\r\nCSeq: 314159 INVITE\r\nContact: <sip:sbc1@192.0.2.1:5060;transport=udp>\r\nP-Asserted-Identity: <tel:+8613800138000>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\nSupported: timer\r\nContent-Type: application/sdp\r\nContent-Length: 222\r\n\r\nv=0\r\no=- 3972291300 3972291300 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n";

const TEXT: &[u8] = &[0x67, 0x09, 0x4e, 0xba, 0x62, 0x53, 0x67, 0xb6];
const WALL: Wall = Wall(1_795_302_900_000_000_000);
/// Three-way calls of one tick.
const ROOMS: u16 = 10;

type Work = Box<dyn FnMut()>;
type Hot = (&'static str, fn() -> Work);

/// All of them; whatever they need is made before the first time.
pub fn all() -> Vec<Hot> {
    vec![
        ("SIP: frame an INVITE", frame_invite),
        ("SIP: frame and check an INVITE", check_invite),
        ("SIP: write a 200 with SDP", write_200),
        ("SDP: answer an offer", answer_offer),
        ("RTP: read a packet", read_rtp),
        ("media: a tick of 10 recorded three-way calls, 30 packets in", media_tick),
        ("G.711: three parties decoded, four mixes encoded", mix_frame),
        ("journal: write a frame of 2.5 kB", journal_frame),
        ("casework: a message of a new reporter, its revision and receipt", message),
        ("casework: an alert from intake to closed, three targets told and signed", whole_alert),
        ("dispatch: the grid of a point among 2,000 polygons of 100 corners", grid_of_a_point),
        ("CMPP: read a DELIVER", read_cmpp),
        ("CMPP: write a SUBMIT", write_cmpp),
        ("SGIP: read a Deliver", read_sgip),
        ("SMGP: read a Deliver", read_smgp),
        ("SMPP: read a deliver_sm", read_smpp),
        ("SMPP: write a submit_sm", write_smpp),
    ]
}

/// # Errors
/// When there is no such function.
pub fn run(name: &str, times: u64) -> anyhow::Result<ExitCode> {
    let make = all().into_iter().find(|(n, _)| *n == name).context("no such function")?.1;
    let mut work = make();
    for _ in 0..times {
        work();
    }
    Ok(ExitCode::SUCCESS)
}

fn frame_invite() -> Work {
    let raw = Bytes::from_static(INVITE.as_bytes());
    Box::new(move || drop(black_box(Message::frame(black_box(raw.clone())).expect("frames"))))
}

fn check_invite() -> Work {
    let raw = Bytes::from_static(INVITE.as_bytes());
    Box::new(move || {
        let message = Message::frame(black_box(raw.clone())).expect("frames");
        black_box(check_request(&message).is_ok());
    })
}

fn write_200() -> Work {
    let message = Message::frame(Bytes::from_static(INVITE.as_bytes())).expect("frames");
    let source: SocketAddr = "192.0.2.1:5060".parse().expect("an address");
    Box::new(move || {
        let mut w = Writer::response(black_box(&message), 200, b"0123456789abcdef", source);
        w.copy(&message, Name::RecordRoute);
        w.header(Name::Contact, "<sip:gw@127.0.0.1:15060>");
        black_box(w.finish_with("application/sdp", message.body()));
    })
}

fn answer_offer() -> Work {
    let message = Message::frame(Bytes::from_static(INVITE.as_bytes())).expect("frames");
    let address = "192.0.2.9".parse().expect("an address");
    let own = Own { addresses: [address; 2], ports: (20_000, 31_999), sip_port: 5060 };
    Box::new(move || {
        let local = Local { address, rtp_port: 20_000, ssrc: None, session_id: 1, version: 1, own };
        black_box(negotiate::answer(black_box(message.body()), local).is_ok());
    })
}

fn rtp(sequence: u16, ssrc: u32, buffer: &mut [u8; 172]) -> usize {
    let timestamp = u32::from(sequence) * 160;
    Packet { payload_type: 8, marker: false, sequence, timestamp, ssrc, payload: &[0x2A; 160] }.write(buffer)
}

fn read_rtp() -> Work {
    let mut buffer = [0; 172];
    rtp(1, 7, &mut buffer);
    Box::new(move || {
        black_box(Packet::parse(black_box(&buffer)));
    })
}

fn media_tick() -> Work {
    let mut engine = Engine::default();
    let mut legs: Vec<(LegId, SocketAddr)> = Vec::new();
    for room in 0..ROOMS {
        let id = engine.add_room();
        engine.record(id, u64::from(room) + 1);
        for n in 0..3u16 {
            let at = |p: u16| SocketAddr::from(([127, 0, 0, 1], 20_000 + room * 8 + n * 2 + p));
            let agreed = Agreed {
                law: Law::A,
                payload_type: 8,
                telephone_event: None,
                remote: Some(Remote { rtp: at(0), rtcp: at(1) }),
                ssrc: None,
                direction: Direction::SendRecv,
            };
            let leg = engine.add_leg(&agreed, LegConfig { seed: u64::from(n), tag: 0, near: None });
            engine.open(leg);
            engine.join(Mono(0), leg, id, n as u8 + 1);
            legs.push((leg, at(0)));
        }
    }
    let mut tick = 0u16;
    Box::new(move || {
        let now = Mono::from_millis(u64::from(tick) * 20);
        let mut buffer = [0; 172];
        for (n, (leg, from)) in legs.iter().enumerate() {
            let len = rtp(tick, n as u32, &mut buffer);
            engine.handle_rtp(now, *leg, *from, &buffer[..len]);
        }
        engine.tick(now, WALL);
        while engine.poll_event().is_some() {}
        while engine.poll_chunk().is_some() {}
        black_box(engine.packets().count());
        tick = tick.wrapping_add(1);
    })
}

/// The arithmetic of one frame of a recorded three-way call in which all speak.
fn mix_frame() -> Work {
    let companding = Companding::default();
    let codes: [[u8; FRAME]; 3] = std::array::from_fn(|n| std::array::from_fn(|i| (i * 7 + n * 31) as u8));
    let (mut samples, mut out) = ([[0i16; FRAME]; 3], [[0u8; FRAME]; 4]);
    Box::new(move || {
        let mut sum = [0i32; FRAME];
        for (codes, samples) in codes.iter().zip(&mut samples) {
            companding.decode(Law::A, black_box(codes), samples);
            companding.add(samples, &mut sum);
        }
        let nobody = [0; FRAME];
        for (mine, out) in samples.iter().chain([&nobody]).zip(&mut out) {
            companding.encode(Law::A, black_box(&sum), mine, out);
        }
        black_box(&out);
    })
}

fn journal_frame() -> Work {
    let (payload, mut out) = (vec![b'x'; 2500], Vec::with_capacity(4096));
    let origin = Origin { node: 1, epoch: 1 };
    Box::new(move || {
        out.clear();
        let frame = Frame {
            sequence: 1,
            at: Wall(1),
            kind: Kind::Event,
            more: false,
            first: true,
            origin,
            previous: [7; 32],
            payload: black_box(&payload),
        };
        black_box(frame.write(&mut out));
    })
}

/// A casebook with one channel, `sms`, whose reporters get a receipt; it begins at `at`.
pub fn casebook(at: Wall) -> Casebook {
    casebook_telling(at, switchboard::Rules::default())
}

/// The same, with rules of who is told.
fn casebook_telling(at: Wall, rules: switchboard::Rules) -> Casebook {
    let rule = ChannelRule {
        name: "sms".into(),
        channel: Channel::Sms12110,
        group: GroupId(1),
        skills: 0,
        receipt: Some("【110】已收到，编号{no}，请保持联系".into()),
        default_grid: None,
        user_is_phone: true,
        proves_phone: false,
        quota: QuotaRule::default(),
        has_template: false,
        is_fetched: false,
    };
    let config = CasebookConfig {
        rules,
        source: "/gw/370400000000/1".into(),
        unit: "370400000000".into(),
        node: 1,
        shards: 1,
        luck: 0,
        keywords: KeywordTable::empty(),
        suggestions: switchboard::Suggestions::none(),
        channels: vec![rule],
        grids: Arc::new(GridMap::new(Vec::new())),
        subscribers: Arc::default(),
        patience: Patience::default(),
        stored_a_day: None,
        orders: None,
    };
    let mut casebook = Casebook::new(config);
    casebook.take_front(at, &Front::default());
    casebook
}

/// The first message of a reporter of their own.
pub fn report(n: u64) -> Incoming {
    Incoming {
        from: Address { channel: "sms".into(), user: format!("139{n:08}") },
        message_id: n.to_string(),
        session: None,
        is_ping: false,
        case: None,
        to: "12110".into(),
        body: Body::Octets { alphabet: codecs::sms::Alphabet::Ucs2, octets: TEXT.to_vec(), segment: None },
        forms: vec![Form::Text],
        attachments: Vec::new(),
        location: None,
        phone: None,
        silent: false,
    }
}

fn message() -> Work {
    let (mut casebook, mut n) = (casebook(WALL), 0u64);
    Box::new(move || {
        n += 1;
        let request = RequestId::of_delivery(0, n);
        casebook.handle(Mono(n), ToCasebook::Incoming { at: WALL, message: Box::new(report(n)), request });
        casebook.handle_durable(u64::MAX);
        while let Some(output) = casebook.poll_output() {
            if let CasebookOutput::Append { event, .. } = output {
                black_box(event.to_json());
            }
        }
    })
}

/// Grids as a city has them: none a square, each as long a line as a river or a street makes it.
fn grid_of_a_point() -> Work {
    const ACROSS: u32 = 50;
    const DOWN: u32 = 40;
    let grid = |n: u32| {
        let (x, y) = (117.0 + f64::from(n % ACROSS) * 0.02, 34.0 + f64::from(n / ACROSS) * 0.02);
        let corner = |k: u32| {
            let turn = f64::from(k) * std::f64::consts::TAU / 100.0;
            let reach = 0.008 + 0.002 * (turn * 7.0).sin();
            Point { lon: x + reach * turn.cos(), lat: y + reach * turn.sin() }
        };
        Grid::new(n.to_string(), "370402510000".into(), vec![Polygon { rings: vec![(0..100).map(corner).collect()] }])
    };
    let grids = GridMap::new((0..ACROSS * DOWN).map(grid).collect());
    let mut n = 0u32;
    Box::new(move || {
        n = (n + 37) % (ACROSS * DOWN);
        let point = Point { lon: 117.003 + f64::from(n % ACROSS) * 0.02, lat: 34.002 + f64::from(n / ACROSS) * 0.02 };
        assert!(black_box(grids.at(black_box(point))).is_some());
    })
}

/// A written report of fraud that is triaged, told to one target and then to two, taken and signed, and closed.
fn whole_alert() -> Work {
    let stages = vec![vec!["anti_fraud".to_owned()], vec!["city".to_owned(), "station".to_owned()]];
    let when = switchboard::When { categories: vec!["1007".into()], ..switchboard::When::default() };
    let rule = switchboard::Rule::new("fraud", when, stages);
    let rule = switchboard::Rule { sign_within: Some(std::time::Duration::from_secs(30)), ..rule };
    let (mut casebook, mut n) = (casebook_telling(WALL, switchboard::Rules::of(vec![rule])), 0u64);
    let said = Assessment {
        kind: Some(codecs::record::IncidentKind::Report),
        category: Some("100700".into()),
        level: Some(3),
        ..Assessment::default()
    };
    Box::new(move || {
        n += 1;
        let mut number = None;
        let request = RequestId::default();
        let tell = |casebook: &mut Casebook, message: ToCasebook, number: &mut Option<AlertNo>| {
            casebook.handle(Mono(n), message);
            casebook.handle_durable(u64::MAX);
            while let Some(output) = casebook.poll_output() {
                if let CasebookOutput::Append { event, .. } = output {
                    *number = AlertNo::parse(&event.subject);
                    black_box(event.to_json());
                }
            }
        };
        tell(&mut casebook, ToCasebook::Incoming { at: WALL, message: Box::new(report(n)), request }, &mut number);
        let Some(no) = number else { return };
        let triage = ToCasebook::Triage { at: WALL, no, said: Box::new(said.clone()), place: None, request };
        tell(&mut casebook, triage, &mut number);
        for target in ["anti_fraud", "city", "station"] {
            let fact = switchboard::Fact::Acknowledged { target: target.into() };
            tell(&mut casebook, ToCasebook::Fact { no, at: WALL, fact, request }, &mut number);
        }
        for target in ["anti_fraud", "city", "station"] {
            let step = switchboard::HandlingFact {
                step: codecs::record::HandlingStep::Signed,
                target: target.into(),
                officer: String::new(),
                to: String::new(),
                text: String::new(),
                result_code: String::new(),
                place: None,
            };
            tell(&mut casebook, ToCasebook::Handle { at: WALL, no, step: Box::new(step), request }, &mut number);
        }
        let ended = switchboard::Fact::Text(switchboard::TextFact::ConversationEnded);
        tell(&mut casebook, ToCasebook::Fact { no, at: WALL, fact: ended, request }, &mut number);
    })
}

fn read_cmpp() -> Work {
    let mut frame = Vec::new();
    let deliver = cmpp::Deliver {
        msg_id: 7,
        destination: b"12110",
        msg_fmt: 8,
        source: b"13800138000",
        content: TEXT,
        ..Default::default()
    };
    cmpp::write(Version::V2, 1, &cmpp::Pdu::Deliver(deliver), &mut frame);
    Box::new(move || {
        black_box(cmpp::read(Version::V2, black_box(&frame)).is_ok());
    })
}

fn write_cmpp() -> Work {
    let mut out = Vec::with_capacity(4096);
    let submit = cmpp::Submit { content: TEXT, destination: b"13800138000", source: b"12110", ..Default::default() };
    Box::new(move || {
        out.clear();
        cmpp::write(Version::V2, 1, &cmpp::Pdu::Submit(black_box(submit)), &mut out);
        black_box(&out);
    })
}

fn read_sgip() -> Work {
    let mut frame = Vec::new();
    let sequence = sgip::Sequence { node: 1, time: 2, counter: 3 };
    let mo = sgip::Deliver { source: b"8613001125453", destination: b"12110", msg_fmt: 8, content: TEXT, udhi: false };
    sgip::write(sequence, &sgip::Pdu::Deliver(mo), &mut frame);
    Box::new(move || {
        black_box(sgip::read(black_box(&frame)).is_ok());
    })
}

fn read_smgp() -> Work {
    let mut frame = Vec::new();
    let mo = smgp::Deliver {
        msg_fmt: 8,
        source: b"13301234567",
        destination: b"12110",
        content: TEXT,
        ..Default::default()
    };
    smgp::write(1, &smgp::Pdu::Deliver(mo), &mut frame);
    Box::new(move || {
        black_box(smgp::read(black_box(&frame)).is_ok());
    })
}

fn deliver_sm() -> smpp::Message<'static> {
    smpp::Message { data_coding: 8, content: TEXT, ..Default::default() }
}

fn read_smpp() -> Work {
    let mut frame = Vec::new();
    smpp::write(smpp::Header { status: 0, sequence: 1 }, &smpp::Pdu::Deliver(deliver_sm()), &mut frame);
    Box::new(move || {
        black_box(smpp::read(black_box(&frame)).is_ok());
    })
}

fn write_smpp() -> Work {
    let mut out = Vec::with_capacity(4096);
    Box::new(move || {
        out.clear();
        smpp::write(smpp::Header { status: 0, sequence: 1 }, &smpp::Pdu::Submit(black_box(deliver_sm())), &mut out);
        black_box(&out);
    })
}
