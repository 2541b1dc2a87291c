//! The media engine: a room of two, a stranger who knocks, and clocks that go as they like.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use codecs::time::{Mono, Wall};
use media::negotiate::{Agreed, Own, accept};
use media::{Engine, LegConfig};

use crate::script::{number, steps};

const STEPS: usize = 256;

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port)
}

fn agreed(last: u8, extra: &[u8]) -> Option<Agreed> {
    let sdp = [
        format!("v=0\r\no=- 1 1 IN IP4 192.0.2.{last}\r\ns=-\r\nc=IN IP4 192.0.2.{last}\r\nt=0 0\r\n").as_bytes(),
        format!("m=audio {}000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n", last).as_bytes(),
        extra,
    ]
    .concat();
    let own = Own { addresses: [at(9, 0).ip(); 2], ports: (20_000, 20_999), sip_port: 5060 };
    accept(&sdp, &own).ok()
}

/// Nothing goes to anybody but the two parties, and each of them gets at most a packet a tick.
pub(crate) fn run(data: &[u8]) {
    let mut engine = Engine::default();
    let legs = [2, 3].map(|last| {
        let config = LegConfig { seed: u64::from(last), tag: u32::from(last), near: None };
        agreed(last, b"").map(|a| engine.add_leg(&a, config))
    });
    let [Some(a), Some(b)] = legs else { return };
    let (mut now, room) = (Mono(1_000_000_000), engine.add_room());
    engine.record(room, 1);
    assert!(engine.join(now, a, room, 1) && engine.join(now, b, room, 2));
    let tick = |engine: &mut Engine, now: &mut Mono| {
        *now = *now + Duration::from_millis(20);
        engine.tick(*now, Wall(now.0 as i64));
        let mut sent = [0; 2];
        for packet in engine.packets() {
            let party = usize::from(packet.to.ip() == at(3, 0).ip());
            assert!(packet.to.ip() == at(2, 0).ip() || party == 1, "{} is nobody of ours", packet.to);
            sent[party] += usize::from(!packet.rtcp);
        }
        assert!(sent.iter().all(|n| *n <= 1), "more than a packet a tick");
        while engine.poll_event().is_some() {}
        while let Some(chunk) = engine.poll_chunk() {
            let whole: usize = codecs::audio::chunk::pieces(&chunk.bytes).map(|p| p.samples.len() + 12).sum();
            assert_eq!(whole, chunk.bytes.len(), "what is recorded can be read");
        }
    };
    for (what, with) in steps(data, STEPS) {
        match what {
            b'a' => engine.handle_rtp(now, a, at(2, 2000), with),
            b'b' => engine.handle_rtp(now, b, at(3, 3000), with),
            b's' => engine.handle_rtp(now, a, at(66, 2000), with),
            b'p' => engine.handle_rtp(now, a, at(2, 2002), with),
            b'A' => engine.handle_rtcp(now, a, at(2, 2001), with),
            b'B' => engine.handle_rtcp(now, b, at(3, 3001), with),
            b'o' => {
                engine.open(a);
                engine.open(b);
            }
            b'n' => {
                if let Some(agreed) = agreed(2, with) {
                    engine.renegotiate(a, &agreed, None);
                }
            }
            b'N' => {
                if let Some(agreed) = agreed(3, with) {
                    engine.renegotiate(b, &agreed, Some(at(3, 0).ip()));
                }
            }
            b't' => (0..number(with) % 300).for_each(|_| tick(&mut engine, &mut now)),
            // Nobody looked at the clock for a while.
            b'j' => now = now + Duration::from_millis(u64::from(number(with) % 60_000)),
            _ => {}
        }
    }
    (0..10).for_each(|_| tick(&mut engine, &mut now));
    engine.remove_leg(a);
    engine.remove_leg(b);
    engine.remove_room(room);
    assert_eq!(engine.population(), (0, 0));
}
