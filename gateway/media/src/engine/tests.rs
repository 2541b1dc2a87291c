//! Rooms and legs, tick by tick.

use codecs::audio::tone::{goertzel, sines};
use codecs::rtp::Packet;

use super::*;
use codecs::audio::chunk::pieces;

use crate::source::Remote;

fn config(seed: u64) -> LegConfig {
    LegConfig { seed, tag: 0, near: None }
}

const TONES: [f64; 3] = [500.0, 900.0, 1700.0];

fn agreed(n: usize, law: Law) -> Agreed {
    let at = |p: u16| SocketAddr::from(([127, 0, 0, 1], p));
    Agreed {
        law,
        payload_type: if law == Law::A { 8 } else { 0 },
        telephone_event: Some(101),
        remote: Some(Remote { rtp: at(4000 + n as u16 * 2), rtcp: at(4001 + n as u16 * 2) }),
        ssrc: None,
        direction: Direction::SendRecv,
    }
}

/// Three parties with a tone each; returns what each was sent, and the engine.
fn conference(ticks: u64) -> (Vec<Vec<i16>>, Engine, Vec<Event>) {
    let mut engine = Engine::default();
    let room = engine.add_room();
    engine.record(room, 77);
    let laws = [Law::A, Law::Mu, Law::A];
    let legs: Vec<LegId> = (0..3)
        .map(|n| {
            let leg = engine.add_leg(&agreed(n, laws[n]), config(n as u64));
            engine.join(Mono(0), leg, room, n as u8 + 1);
            leg
        })
        .collect();
    let (mut heard, mut events) = (vec![Vec::new(); 3], Vec::new());
    for tick in 0..ticks {
        let now = Mono::from_millis(tick * 20);
        for n in 0..3 {
            let samples = sines(&[TONES[n]], 0.2, tick * 160, 160);
            let payload: Vec<u8> = samples.iter().map(|s| laws[n].encode(*s)).collect();
            let mut buffer = [0; 200];
            let packet = Packet {
                payload_type: agreed(n, laws[n]).payload_type,
                marker: false,
                sequence: tick as u16,
                timestamp: tick as u32 * 160,
                ssrc: n as u32,
                payload: &payload,
            };
            let len = packet.write(&mut buffer);
            engine.handle_rtp(now, legs[n], SocketAddr::from(([127, 0, 0, 1], 4000 + n as u16 * 2)), &buffer[..len]);
        }
        engine.tick(now, Wall(0));
        for packet in engine.packets().filter(|p| !p.rtcp) {
            let n = legs.iter().position(|l| *l == packet.leg).expect("a leg of ours");
            let rtp = Packet::parse(packet.bytes).expect("sound RTP");
            heard[n].extend(rtp.payload.iter().map(|c| laws[n].decode(*c)));
        }
        events.extend(std::iter::from_fn(|| engine.poll_event()));
    }
    (heard, engine, events)
}

#[test]
fn each_leg_hears_exactly_the_other_two() {
    let (heard, _, _) = conference(100);
    for (n, samples) in heard.iter().enumerate() {
        for (m, tone) in TONES.iter().enumerate() {
            let level = goertzel(&samples[1600..], *tone);
            let expected = if n == m { 0.0 } else { 0.2 };
            assert!((level - expected).abs() < 0.02, "leg {n} hears tone {m} at {level}");
        }
    }
}

#[test]
fn every_track_holds_its_own_tone_and_the_mix_all_three() {
    let (_, mut engine, _) = conference(100);
    let mut tracks = vec![Vec::new(); 4];
    while let Some(chunk) = engine.poll_chunk() {
        assert_eq!(chunk.key, 77);
        for piece in pieces(&chunk.bytes) {
            tracks[piece.track as usize].extend(piece.samples.iter().map(|c| Law::A.decode(*c)));
        }
    }
    assert!(tracks.iter().all(|t| t.len() == 16_000), "100 ticks on every track");
    for (track, samples) in tracks.iter().enumerate() {
        for (m, tone) in TONES.iter().enumerate() {
            let there = track == 0 || track == m + 1;
            assert_eq!(goertzel(&samples[1600..], *tone) > 0.1, there, "track {track} tone {m}");
        }
    }
}

#[test]
fn first_packets_and_silence_are_reported_once() {
    let (_, _, events) = conference(200);
    let count = |f: fn(&Event) -> bool| events.iter().filter(|e| f(e)).count();
    assert_eq!(count(|e| matches!(e, Event::FirstIn { .. })), 3);
    assert_eq!(count(|e| matches!(e, Event::Hears { .. })), 6, "each hears both others");
    assert_eq!(count(|e| matches!(e, Event::Silent { .. })), 0);

    let mut engine = Engine::default();
    let room = engine.add_room();
    let leg = engine.add_leg(&agreed(0, Law::A), config(1));
    engine.join(Mono(0), leg, room, 1);
    for tick in 0..300 {
        engine.tick(Mono::from_millis(tick * 20), Wall(0));
    }
    let silent = std::iter::from_fn(|| engine.poll_event()).filter(|e| matches!(e, Event::Silent { .. })).count();
    assert_eq!(silent, 1);
}

#[test]
fn a_prompt_is_played_in_place_of_the_room_and_then_the_room_goes_on() {
    let mut engine = Engine::default();
    let leg = engine.add_leg(&agreed(0, Law::A), config(1));
    engine.open(leg);
    engine.play(leg, vec![0x2A; 250].into(), false);
    let mut played = Vec::new();
    for tick in 0..4 {
        engine.tick(Mono::from_millis(tick * 20), Wall(0));
        played.extend(engine.packets().flat_map(|p| p.bytes[12..].to_vec()));
    }
    assert_eq!((played.len(), played[249], played[250]), (320, 0x2A, 0xD5));
    let events: Vec<_> = std::iter::from_fn(|| engine.poll_event()).collect();
    assert_eq!(events, [Event::Played { leg }]);
}

#[test]
fn what_a_leg_said_before_it_joined_is_not_heard_afterwards() {
    let mut engine = Engine::default();
    let room = engine.add_room();
    let (a, b) = (engine.add_leg(&agreed(0, Law::A), config(1)), engine.add_leg(&agreed(1, Law::A), config(2)));
    engine.open(b);
    engine.join(Mono(0), b, room, 2);
    let mut heard = Vec::new();
    for tick in 0..30u64 {
        let mut buffer = [0; 200];
        let payload = [if tick < 15 { 0x2A } else { 0x15 }; 160];
        let packet = Packet {
            payload_type: 8,
            marker: false,
            sequence: tick as u16,
            timestamp: tick as u32 * 160,
            ssrc: 1,
            payload: &payload,
        };
        let len = packet.write(&mut buffer);
        engine.handle_rtp(Mono::from_millis(tick * 20), a, SocketAddr::from(([127, 0, 0, 1], 4000)), &buffer[..len]);
        if tick == 17 {
            engine.join(Mono::from_millis(tick * 20), a, room, 1);
        }
        engine.tick(Mono::from_millis(tick * 20), Wall(0));
        heard.extend(engine.packets().filter(|p| p.leg == b && !p.rtcp).map(|p| p.bytes[12 + 80]));
    }
    assert!(heard[17..].iter().all(|c| *c == 0x15), "{heard:02x?}");
}

#[test]
fn a_leg_that_leaves_lets_the_others_talk_on() {
    let (_, mut engine, _) = conference(10);
    let legs: Vec<LegId> =
        engine.legs.iter().map(|(i, l)| LegId { index: i as u32, generation: l.generation }).collect();
    engine.remove_leg(legs[1]);
    engine.tick(Mono::from_millis(500), Wall(0));
    assert_eq!(engine.packets().filter(|p| !p.rtcp).count(), 2);
    engine.remove_leg(legs[0]);
    engine.remove_leg(legs[2]);
    engine.remove_room(RoomId(0));
    assert_eq!(engine.population(), (0, 0));
}

/// One packet of A-law from leg n's own address.
fn speak(engine: &mut Engine, now: Mono, leg: LegId, n: u16, sequence: u16) {
    let mut buffer = [0; 200];
    let timestamp = u32::from(sequence) * 160;
    let packet = Packet { payload_type: 8, marker: false, sequence, timestamp, ssrc: 1, payload: &[0x15; 160] };
    let len = packet.write(&mut buffer);
    engine.handle_rtp(now, leg, SocketAddr::from(([127, 0, 0, 1], 4000 + n * 2)), &buffer[..len]);
}

#[test]
fn whoever_says_nothing_is_heard_by_nobody_whatever_is_sent_in_their_place() {
    let mut engine = Engine::default();
    let room = engine.add_room();
    let [caller, seat] = [0, 1].map(|n| engine.add_leg(&agreed(n, Law::A), config(n as u64)));
    for leg in [caller, seat] {
        engine.open(leg);
        engine.join(Mono(0), leg, room, 1 + leg.index as u8);
    }
    let mut events = Vec::new();
    for tick in 0..100u16 {
        let now = Mono::from_millis(u64::from(tick) * 20);
        speak(&mut engine, now, caller, 0, tick);
        if tick >= 50 {
            speak(&mut engine, now, seat, 1, tick);
        }
        engine.tick(now, Wall(0));
        assert_eq!(engine.packets().filter(|p| p.leg == caller && !p.rtcp).count(), 1, "silence is sent");
        events.extend(std::iter::from_fn(|| engine.poll_event()).map(|e| (tick, e)));
    }
    let at = |wanted: Event| events.iter().filter(|(_, e)| *e == wanted).map(|(t, _)| *t).collect::<Vec<_>>();
    assert_eq!(at(Event::FirstIn { leg: seat }), [50]);
    assert_eq!(at(Event::Hears { leg: caller, from: seat }), [52], "when their audio goes out and not before");
    assert_eq!(at(Event::Hears { leg: seat, from: caller }), [2]);
}

#[test]
fn whoever_takes_no_audio_hears_nobody_until_they_do() {
    let mut engine = Engine::default();
    let room = engine.add_room();
    let held = Agreed { direction: Direction::RecvOnly, ..agreed(0, Law::A) };
    let caller = engine.add_leg(&held, config(0));
    let seat = engine.add_leg(&agreed(1, Law::A), config(1));
    for leg in [caller, seat] {
        engine.open(leg);
        engine.join(Mono(0), leg, room, 1 + leg.index as u8);
    }
    let mut told = Vec::new();
    for tick in 0..100u16 {
        let now = Mono::from_millis(u64::from(tick) * 20);
        if tick == 60 {
            engine.renegotiate(caller, &agreed(0, Law::A), None);
        }
        speak(&mut engine, now, seat, 1, tick);
        engine.tick(now, Wall(0));
        assert!(tick >= 60 || engine.packets().all(|p| p.leg != caller || p.rtcp), "no audio for whoever wants none");
        let heard = Event::Hears { leg: caller, from: seat };
        told.extend(std::iter::from_fn(|| engine.poll_event()).filter(|e| *e == heard).map(|_| tick));
    }
    assert_eq!(told, [60]);
}

#[test]
fn nothing_goes_out_before_the_peer_has_shown_that_it_is_there() {
    let mut engine = Engine::default();
    let room = engine.add_room();
    let [caller, seat] = [0, 1].map(|n| engine.add_leg(&agreed(n, Law::A), config(n as u64)));
    engine.open(seat);
    engine.join(Mono(0), caller, room, 1);
    engine.join(Mono(0), seat, room, 2);
    let mut heard = false;
    for tick in 0..300u16 {
        let now = Mono::from_millis(u64::from(tick) * 20);
        speak(&mut engine, now, seat, 1, tick);
        engine.tick(now, Wall(0));
        assert!(tick >= 270 || engine.packets().all(|p| p.leg != caller), "neither audio nor reports");
        heard |= std::iter::from_fn(|| engine.poll_event()).any(|e| e == Event::Hears { leg: caller, from: seat });
        assert_eq!(heard, tick >= 270);
        if tick == 269 {
            engine.open(caller);
        }
    }
}

#[test]
fn a_leg_of_which_nothing_comes_is_told_after_25_seconds_and_again() {
    let mut engine = Engine::default();
    let [quiet, talking] = [0, 1].map(|n| engine.add_leg(&agreed(n, Law::A), config(n as u64)));
    let mut told = Vec::new();
    for tick in 0..3000u32 {
        let now = Mono::from_millis(u64::from(tick) * 20);
        if tick % 50 == 0 {
            speak(&mut engine, now, talking, 1, tick as u16);
        }
        engine.tick(now, Wall(0));
        told.extend(std::iter::from_fn(|| engine.poll_event()).filter_map(|e| match e {
            Event::Quiet { leg } => Some((tick / 50, leg)),
            _ => None,
        }));
    }
    assert_eq!(told, [(25, quiet), (50, quiet)]);
}

#[test]
fn reports_go_out_every_five_seconds() {
    let (_, mut engine, _) = conference(10);
    let mut reports = 0;
    for tick in 10..260 {
        engine.tick(Mono::from_millis(tick * 20), Wall(1_700_000_000_000_000_000));
        reports += engine
            .packets()
            .filter(|p| p.rtcp && codecs::rtp::rtcp::parse(p.bytes).is_some_and(|h| h.sender.is_some()))
            .count();
    }
    assert_eq!(reports, 3);
}

#[test]
fn a_fault_of_ours_costs_its_own_room_and_no_other() {
    let mut engine = Engine::default();
    let rooms = [engine.add_room(), engine.add_room()];
    let legs = [0, 1, 2, 3].map(|n| engine.add_leg(&agreed(n, Law::A), config(n as u64)));
    for (n, leg) in legs.into_iter().enumerate() {
        engine.open(leg);
        engine.join(Mono(0), leg, rooms[n / 2], 1 + (n % 2) as u8);
    }
    // A member that there is not: whoever looks at it fails.
    engine.rooms[rooms[0].0 as usize].members.push(99);
    let mut failed = Vec::new();
    for tick in 0..10u16 {
        let now = Mono::from_millis(u64::from(tick) * 20);
        for (n, leg) in legs.into_iter().enumerate() {
            speak(&mut engine, now, leg, n as u16, tick);
        }
        engine.tick(now, Wall(0));
        let whole = |leg| engine.packets().filter(|p| p.leg == leg && !p.rtcp).count() == 1;
        assert!(whole(legs[2]) && whole(legs[3]), "the other room goes on");
        let told = std::iter::from_fn(|| engine.poll_event());
        failed.extend(told.filter_map(|e| if let Event::Failed { leg } = e { Some(leg) } else { None }));
    }
    assert_eq!(failed, [legs[0], legs[1]], "each is told once");
    engine.remove_room(rooms[0]);
    legs.into_iter().for_each(|leg| engine.remove_leg(leg));
    engine.remove_room(rooms[1]);
    assert_eq!(engine.population(), (0, 0));
}
