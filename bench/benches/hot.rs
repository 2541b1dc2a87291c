//! The hot paths, one function each. Wall clocks of a shared machine are noise; ratios within one run are not.

use std::hint::black_box;
use std::net::SocketAddr;

use bytes::Bytes;
use codecs::audio::g711::Law;
use codecs::journal::{Frame, Kind};
use codecs::rtp::Packet;
use codecs::sdp::Direction;
use codecs::sip::{Message, Name, Writer, check_request};
use codecs::time::{Mono, Wall};
use criterion::{Criterion, criterion_group, criterion_main};
use media::negotiate::Agreed;
use media::{Engine, LegConfig, LegId, Remote};

const INVITE: &str = "INVITE sip:110@127.0.0.1:15060;user=phone SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport\r\nMax-Forwards: 68\r\nRecord-Route: <sip:192.0.2.1;lr>\r\nFrom: \"+8613800138000\" <sip:+8613800138000@ims.example;user=phone>;tag=1928301774\r\nTo: <sip:110@psap.example;user=phone>\r\nCall-ID: a84b4c76e66710@192.0.2.1\r\nCSeq: 314159 INVITE\r\nContact: <sip:sbc1@192.0.2.1:5060;transport=udp>\r\nP-Asserted-Identity: <tel:+8613800138000>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\nSupported: timer\r\nContent-Type: application/sdp\r\nContent-Length: 222\r\n\r\nv=0\r\no=- 3972291300 3972291300 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n";

fn signalling(c: &mut Criterion) {
    let raw = Bytes::from_static(INVITE.as_bytes());
    c.bench_function("frame an INVITE", |b| b.iter(|| Message::frame(black_box(raw.clone())).expect("frames")));
    c.bench_function("frame and check an INVITE", |b| {
        b.iter(|| {
            let message = Message::frame(black_box(raw.clone())).expect("frames");
            check_request(&message).expect("sound")
        });
    });
    let message = Message::frame(raw).expect("frames");
    let source: SocketAddr = "192.0.2.1:5060".parse().expect("an address");
    c.bench_function("write a 200 with SDP", |b| {
        b.iter(|| {
            let mut w = Writer::response(black_box(&message), 200, b"0123456789abcdef", source);
            w.copy(&message, Name::RecordRoute);
            w.header(Name::Contact, "<sip:gw@127.0.0.1:15060>");
            w.finish_with("application/sdp", message.body())
        });
    });
}

/// `rooms` three-party rooms, recorded, everybody speaking.
fn conferences(rooms: u16) -> (Engine, Vec<LegId>) {
    let mut engine = Engine::default();
    let mut legs = Vec::new();
    for room in 0..rooms {
        let id = engine.add_room();
        engine.record(id, u64::from(room) + 1);
        for n in 0..3u16 {
            let at = |p: u16| SocketAddr::from(([127, 0, 0, 1], 20_000 + room * 8 + n * 2 + p));
            let agreed = Agreed {
                law: Law::A,
                payload_type: 8,
                telephone_event: None,
                remote: Some(Remote { rtp: at(0), rtcp: at(1) }),
                direction: Direction::SendRecv,
            };
            let leg = engine.add_leg(&agreed, LegConfig { seed: u64::from(n), tag: 0 });
            engine.join(Mono(0), leg, id, n as u8 + 1);
            legs.push(leg);
        }
    }
    (engine, legs)
}

fn media_tick(c: &mut Criterion) {
    let (mut engine, legs) = conferences(200);
    let mut tick = 0u64;
    c.bench_function("one tick of 200 three-way calls, recorded, packets in included", |b| {
        b.iter(|| {
            let now = Mono::from_millis(tick * 20);
            let mut buffer = [0; 172];
            for (n, leg) in legs.iter().enumerate() {
                let packet = Packet {
                    payload_type: 8,
                    marker: false,
                    sequence: tick as u16,
                    timestamp: tick as u32 * 160,
                    ssrc: n as u32,
                    payload: &[0x2A; 160],
                };
                let len = packet.write(&mut buffer);
                let (room, party) = (n as u16 / 3, n as u16 % 3);
                engine.handle_rtp(
                    now,
                    *leg,
                    SocketAddr::from(([127, 0, 0, 1], 20_000 + room * 8 + party * 2)),
                    &buffer[..len],
                );
            }
            engine.tick(now, Wall(0));
            while engine.poll_event().is_some() {}
            while engine.poll_chunk().is_some() {}
            tick += 1;
            engine.packets().count()
        });
    });
}

fn journal(c: &mut Criterion) {
    let payload = vec![b'x'; 2500];
    let mut out = Vec::with_capacity(4096);
    c.bench_function("write a journal frame of 2.5 kB", |b| {
        b.iter(|| {
            out.clear();
            Frame { sequence: 1, at: Wall(1), kind: Kind::Event, previous: [7; 32], payload: black_box(&payload) }
                .write(&mut out)
        });
    });
}

criterion_group!(benches, signalling, media_tick, journal);
criterion_main!(benches);
