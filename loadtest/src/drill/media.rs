//! Strangers on the media ports.

use codecs::rtp::{HEADER_LEN, Packet};

use super::{BREATH, Deeds, Dice, Scene, received, strangers};

/// Loud noise as RTP, a farewell as RTCP, a question as STUN.
fn packet(dice: &mut Dice, n: u64) -> Vec<u8> {
    match n % 3 {
        0 => {
            let payload = dice.octets(160);
            let mut out = vec![0; HEADER_LEN + payload.len()];
            let (sequence, timestamp, ssrc) = (dice.roll() as u16, dice.roll() as u32, dice.roll() as u32);
            let packet = Packet { payload_type: 8, marker: false, sequence, timestamp, ssrc, payload: &payload };
            packet.write(&mut out);
            out
        }
        // A receiver report of nothing and a BYE (RFC 3550 6.4.2, 6.6).
        1 => {
            let ssrc = (dice.roll() as u32).to_be_bytes();
            [&[0x80, 201, 0, 1][..], &ssrc, &[0x81, 203, 0, 1], &ssrc].concat()
        }
        // A binding request (RFC 8489 5).
        _ => [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &dice.octets(12)].concat(),
    }
}

pub(super) fn foreign(scene: &Scene) -> anyhow::Result<Deeds> {
    let sockets = strangers(66, 60)?;
    let (mut dice, mut sent, mut answered) = (Dice(0x5eed), 0u64, 0);
    while !scene.over() {
        let targets = scene.targets();
        if targets.is_empty() {
            scene.pause(BREATH);
            continue;
        }
        // 50,000 a second, as a thousand legs say: what a port cannot queue is the kernel's loss and no stranger's voice.
        scene.pause(BREATH * 10);
        for _ in 0..500 {
            let socket = &sockets[(dice.roll() % sockets.len() as u64) as usize];
            let mut target = targets[(dice.roll() % targets.len() as u64) as usize];
            // RTCP is at the port behind.
            target.set_port(target.port() + u16::from(sent % 3 == 1));
            let what = packet(&mut dice, sent);
            sent += u64::from(socket.send_to(&what, target).is_ok());
        }
        answered += received(&sockets).0;
    }
    let mut deeds = Deeds::default();
    deeds.count("packets", sent);
    deeds.at_most("strangers answered", (answered + received(&sockets).0) as f64, 0.0);
    Ok(deeds)
}
