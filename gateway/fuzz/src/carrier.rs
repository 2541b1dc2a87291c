//! The carriers' links: a carrier that says what it likes, and loses its connections.

use std::time::Duration;

use codecs::sms::Alphabet;
use codecs::sms::cmpp::Version;
use codecs::time::{Mono, Wall};
use sms::{Carrier, CarrierConfig, Line, LinkId, Output, Protocol, Verdict};

use crate::script::{number, steps};

const STEPS: usize = 64;

pub(crate) fn cmpp(data: &[u8]) {
    run(Protocol::Cmpp(Version::V3), data);
    run(Protocol::Cmpp(Version::V2), data);
}

pub(crate) fn sgip(data: &[u8]) {
    run(Protocol::Sgip { node: 3_010_012_345 }, data);
}

pub(crate) fn smgp(data: &[u8]) {
    run(Protocol::Smgp, data);
}

pub(crate) fn smpp(data: &[u8]) {
    run(Protocol::Smpp { system_type: String::new(), default_alphabet: Alphabet::Gsm7 }, data);
}

/// A line has one verdict, a delivery is acknowledged once, and what waits is bounded by what came in.
fn run(protocol: Protocol, data: &[u8]) {
    let mut now = Mono(1_000_000_000);
    let wall = Wall(1_700_000_000_000_000_000);
    let mut carrier = Carrier::new(
        CarrierConfig {
            protocol,
            account: "901234".into(),
            secret: "shared secret".into(),
            peer: ("peer".into(), "secret".into()),
            number: "12110".into(),
            service: "110".into(),
            links: 1,
            window: 4,
            keep_alive: Duration::from_secs(30),
            answer_within: Duration::from_secs(10),
            tries: 2,
            rate: 0,
            dial_max: Duration::from_secs(1),
            require_proof: false,
            seed: 7,
        },
        now,
    );
    let mut link = LinkId(0);
    let (mut lines, mut verdicts) = (0, Vec::new());
    carrier.handle_connected(now, wall, link);
    for (what, with) in steps(data, STEPS) {
        match what {
            b'r' => carrier.handle_bytes(now, wall, link, with),
            b'c' => carrier.handle_connected(now, wall, link),
            b'x' => carrier.handle_closed(now, link),
            b'a' => link = carrier.accept(now, std::net::Ipv4Addr::LOCALHOST.into()),
            b's' => {
                lines += 1;
                let text = String::from_utf8_lossy(with).chars().take(500).collect();
                let line = Line { id: lines, to: "13800000000".into(), text, urgent: lines % 2 == 0, notice: false };
                carrier.submit(now, wall, &line);
            }
            b't' => {
                now = now + Duration::from_millis(u64::from(number(with) % 100_000));
                carrier.handle_timeout(now, wall);
            }
            _ => {}
        }
        for _ in 0..10_000 {
            let sent = carrier.poll_transmit().is_some();
            let Some(output) = carrier.poll_output() else {
                if sent {
                    continue;
                }
                break;
            };
            match output {
                Output::Deliver(token, delivery) => {
                    assert!(!delivery.message_id.is_empty(), "a delivery has a name");
                    carrier
                        .acknowledge(token, if delivery.from.is_empty() { Verdict::Busy } else { Verdict::Accepted });
                }
                Output::Verdict { line, .. } => {
                    assert!(!verdicts.contains(&line), "line {line} had its verdict");
                    verdicts.push(line);
                }
                _ => {}
            }
        }
    }
    assert!(carrier.waiting() <= 500 * lines as usize, "what waits is what was said");
}
