//! The engine: legs, rooms, and the tick that mixes them.
//!
//! Everything a tick sends lies in one buffer that is reused (`packets`), since a queue of owned packets would
//! allocate 50 times a second a leg. Everything else follows the house shape: `poll_event`, `poll_chunk`.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use codecs::audio::FRAME;
use codecs::audio::chunk::{Chunk, MIX};
use codecs::audio::g711::Law;
use codecs::sdp::Direction;
use codecs::time::{Mono, Wall};
use slab::Slab;

use crate::Prompt;
use crate::mixer::{Mixer, ROOM_MAX};
use crate::negotiate::Agreed;
use crate::recording::Recording;
use crate::stream::{Heard, Stream};

/// A party that sends nothing for this long after joining is reported as silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Of whom nothing came for this long it is asked whether they are still there.
const QUIET_AFTER: Duration = Duration::from_secs(25);
/// Ticks between looks for that: 1 s.
const QUIET_TICKS: u64 = 50;
/// Ticks between RTCP reports: 5 s.
const REPORT_TICKS: u64 = 250;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LegId {
    index: u32,
    generation: u32,
}

impl LegId {
    /// A small number, unique among the legs that live at one time: the shell's socket table is indexed by it.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RoomId(u32);

#[derive(Clone, Copy, Debug)]
pub struct LegConfig {
    /// SSRC, first sequence number and timestamp follow from it.
    pub seed: u64,
    /// Comes back with every packet of the leg: the shell's name for its socket.
    pub tag: u32,
    /// For a peer behind a NAT: where it signals from.
    pub near: Option<IpAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The first audio of this leg came in.
    FirstIn {
        leg: LegId,
    },
    /// The first audio of `from` has gone out to this leg, or would have, had it not asked for silence. Said again when
    /// somebody has joined or left the room.
    Hears {
        leg: LegId,
        from: LegId,
    },
    /// What was to be played has been played to its end.
    Played {
        leg: LegId,
    },
    Digit {
        leg: LegId,
        digit: char,
    },
    /// Nothing came from this leg for two seconds after it joined a room.
    Silent {
        leg: LegId,
    },
    /// Nothing has come from this leg for 25 s, and again for every 25 s more.
    Quiet {
        leg: LegId,
    },
}

/// Counters of the whole engine, published by the shell.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    pub packets_in: u64,
    pub packets_out: u64,
    pub strangers: u64,
    pub lost: u64,
    pub late: u64,
    pub concealed: u64,
    pub skipped: u64,
    pub jitter_ms_max: u32,
}

struct Playback {
    prompt: Prompt,
    at: usize,
    repeat: bool,
}

struct Leg {
    generation: u32,
    tag: u32,
    stream: Stream,
    direction: Direction,
    room: Option<(u32, u8)>,
    playback: Option<Playback>,
    /// Members of the room, by their place, whose audio this leg has been sent.
    hears: u16,
    silent_at: Option<Mono>,
    /// Since when nothing has come, as far as it was looked for.
    quiet_since: Option<Mono>,
}

struct Room {
    members: Vec<u32>,
    recording: Option<Recording>,
}

#[derive(Clone, Copy)]
struct Sent {
    leg: LegId,
    tag: u32,
    to: SocketAddr,
    at: u32,
    len: u16,
    rtcp: bool,
}

/// One packet of the last tick.
#[derive(Debug)]
pub struct OutPacket<'a> {
    pub leg: LegId,
    pub tag: u32,
    pub to: SocketAddr,
    pub rtcp: bool,
    pub bytes: &'a [u8],
}

#[derive(Default)]
pub struct Engine {
    legs: Slab<Leg>,
    rooms: Slab<Room>,
    generation: u32,
    ticks: u64,
    mixer: Mixer,
    sent: Vec<Sent>,
    bytes: Vec<u8>,
    events: VecDeque<Event>,
    chunks: VecDeque<Chunk>,
    stats: Stats,
}

impl Engine {
    pub fn add_leg(&mut self, agreed: &Agreed, config: LegConfig) -> LegId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let mut stream = Stream::new(agreed.law, agreed.payload_type, agreed.telephone_event, config.seed);
        stream.source.name(agreed.remote, config.near);
        let index = self.legs.insert(Leg {
            generation,
            tag: config.tag,
            stream,
            direction: agreed.direction,
            room: None,
            playback: None,
            hears: 0,
            silent_at: None,
            quiet_since: None,
        });
        LegId { index: index as u32, generation }
    }

    /// What a new offer/answer changed.
    pub fn renegotiate(&mut self, leg: LegId, agreed: &Agreed, near: Option<IpAddr>) {
        let Some(leg) = self.leg(leg) else { return };
        leg.stream.renegotiate(agreed.law, agreed.payload_type, agreed.telephone_event);
        leg.stream.source.name(agreed.remote, near);
        leg.direction = agreed.direction;
    }

    /// Packets of strangers at a leg's socket, if it was never heard itself.
    pub fn strangers_only(&self, id: LegId) -> u64 {
        let leg = self.legs.get(id.index as usize).filter(|l| l.generation == id.generation);
        leg.filter(|l| !l.stream.source.was_heard()).map_or(0, |l| l.stream.strangers)
    }

    /// The peer has shown that it is there: an ACK came, or a 2xx to our INVITE. Until then nothing is sent to it.
    pub fn open(&mut self, leg: LegId) {
        if let Some(leg) = self.leg(leg) {
            leg.stream.source.open();
        }
    }

    pub fn remove_leg(&mut self, id: LegId) {
        self.leave(id);
        if self.leg(id).is_some() {
            let leg = self.legs.remove(id.index as usize);
            add_stream(&mut self.stats, &leg.stream);
        }
    }

    pub fn add_room(&mut self) -> RoomId {
        RoomId(self.rooms.insert(Room { members: Vec::with_capacity(3), recording: None }) as u32)
    }

    /// Removes a room; its legs stay, outside any room. What was recorded comes out as a last chunk.
    pub fn remove_room(&mut self, id: RoomId) {
        let Some(mut room) = self.rooms.try_remove(id.0 as usize) else { return };
        self.chunks.extend(room.recording.as_mut().and_then(Recording::end));
        for member in room.members {
            self.legs[member as usize].room = None;
        }
    }

    /// Records every member's track and the mix from here on.
    pub fn record(&mut self, id: RoomId, key: u64) {
        self.rooms[id.0 as usize].recording.get_or_insert_with(|| Recording::begin(key));
    }

    /// Puts a leg into a room, recorded under `track`. `false`: there is no such leg, or no room for it.
    ///
    /// # Panics
    /// When the track is that of the mix: the caller's mistake.
    pub fn join(&mut self, now: Mono, id: LegId, room: RoomId, track: u8) -> bool {
        assert!(track != MIX, "track 0 is the mix");
        self.leave(id);
        if self.rooms[room.0 as usize].members.len() >= ROOM_MAX {
            return false;
        }
        let Some(leg) = self.leg(id) else { return false };
        leg.room = Some((room.0, track));
        leg.silent_at = Some(now + SILENT_AFTER);
        self.rooms[room.0 as usize].members.push(id.index);
        self.forget_hearing(room.0);
        true
    }

    /// Places in the room have changed.
    fn forget_hearing(&mut self, room: u32) {
        for member in &self.rooms[room as usize].members {
            self.legs[*member as usize].hears = 0;
        }
    }

    pub fn leave(&mut self, id: LegId) {
        let Some(leg) = self.leg(id) else { return };
        if let Some((room, _)) = leg.room.take() {
            self.rooms[room as usize].members.retain(|m| *m != id.index);
            self.forget_hearing(room);
        }
    }

    /// Plays a prompt to a leg, in place of its room; `Played` follows unless it repeats.
    pub fn play(&mut self, id: LegId, prompt: Prompt, repeat: bool) {
        if let Some(leg) = self.leg(id) {
            leg.playback = Some(Playback { prompt, at: 0, repeat });
        }
    }

    pub fn stop_playing(&mut self, id: LegId) {
        if let Some(leg) = self.leg(id) {
            leg.playback = None;
        }
    }

    pub fn handle_rtp(&mut self, now: Mono, id: LegId, source: SocketAddr, bytes: &[u8]) {
        if codecs::rtp::is_rtcp(bytes) {
            return self.handle_rtcp(now, id, source, bytes);
        }
        let Some(leg) = self.leg(id) else { return };
        let heard = leg.stream.handle(now, source, bytes);
        self.stats.packets_in += 1;
        match heard {
            Heard::First => self.events.push_back(Event::FirstIn { leg: id }),
            Heard::Digit(digit) => self.events.push_back(Event::Digit { leg: id, digit }),
            Heard::Nothing | Heard::Audio => {}
        }
    }

    pub fn handle_rtcp(&mut self, now: Mono, id: LegId, source: SocketAddr, bytes: &[u8]) {
        if let Some(leg) = self.leg(id) {
            leg.stream.handle_rtcp(now, source, bytes);
        }
    }

    /// Mixes and packetizes 20 ms for everybody. The packets lie in `packets` until the next tick.
    pub fn tick(&mut self, now: Mono, wall: Wall) {
        self.ticks += 1;
        self.sent.clear();
        self.bytes.clear();
        for (_, room) in &mut self.rooms {
            let mut out = Out { sent: &mut self.sent, bytes: &mut self.bytes, events: &mut self.events };
            mix(now, room, &mut self.legs, &mut self.mixer, &mut out);
            if let Some(recording) = &mut room.recording {
                self.chunks.extend(recording.end_tick());
            }
        }
        let ticks = self.ticks;
        for (index, leg) in &mut self.legs {
            let id = LegId { index: index as u32, generation: leg.generation };
            let mut out = Out { sent: &mut self.sent, bytes: &mut self.bytes, events: &mut self.events };
            if leg.room.is_none() {
                // Nobody listens yet: what came is old by the time somebody does.
                leg.stream.jitter.pull(&mut [0; FRAME]);
                match leg.next_played(id, out.events) {
                    Some(codes) => {
                        send(leg, id, &codes, &mut out);
                    }
                    None => leg.stream.advance(false),
                }
            }
            if (ticks + index as u64 * 7).is_multiple_of(QUIET_TICKS) && leg.is_quiet(now) {
                out.events.push_back(Event::Quiet { leg: id });
            }
            if (ticks + index as u64 * 7).is_multiple_of(REPORT_TICKS) {
                report(now, wall, leg, id, &mut out);
            }
        }
        self.stats.packets_out += self.sent.len() as u64;
    }

    /// What the last tick wants sent.
    pub fn packets(&self) -> impl Iterator<Item = OutPacket<'_>> {
        self.sent.iter().map(|s| OutPacket {
            leg: s.leg,
            tag: s.tag,
            to: s.to,
            rtcp: s.rtcp,
            bytes: &self.bytes[s.at as usize..s.at as usize + s.len as usize],
        })
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn poll_chunk(&mut self) -> Option<Chunk> {
        self.chunks.pop_front()
    }

    /// Counters of all legs, those gone included.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        for (_, leg) in &self.legs {
            add_stream(&mut stats, &leg.stream);
        }
        stats
    }

    /// Legs and rooms alive.
    pub fn population(&self) -> (usize, usize) {
        (self.legs.len(), self.rooms.len())
    }

    fn leg(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.get_mut(id.index as usize).filter(|l| l.generation == id.generation)
    }
}

struct Out<'a> {
    sent: &'a mut Vec<Sent>,
    bytes: &'a mut Vec<u8>,
    events: &'a mut VecDeque<Event>,
}

impl Leg {
    /// Whether nothing has come for a while; looked for from the first look on.
    fn is_quiet(&mut self, now: Mono) -> bool {
        let since = *self.quiet_since.get_or_insert(now);
        if self.stream.source.heard_since(since) {
            self.quiet_since = Some(now);
            return false;
        }
        let quiet = now.since(since) >= QUIET_AFTER;
        if quiet {
            self.quiet_since = Some(now);
        }
        quiet
    }

    /// The next 20 ms of what is being played, in this leg's law.
    fn next_played(&mut self, id: LegId, events: &mut VecDeque<Event>) -> Option<[u8; FRAME]> {
        let playback = self.playback.as_mut()?;
        let mut codes = [Law::A.silence(); FRAME];
        let mut filled = 0;
        while filled < FRAME && playback.at < playback.prompt.len() {
            let take = (FRAME - filled).min(playback.prompt.len() - playback.at);
            codes[filled..filled + take].copy_from_slice(&playback.prompt[playback.at..playback.at + take]);
            filled += take;
            playback.at += take;
            if playback.at == playback.prompt.len() && playback.repeat {
                playback.at = 0;
            }
        }
        if playback.at >= playback.prompt.len() {
            self.playback = None;
            events.push_back(Event::Played { leg: id });
        }
        if self.stream.law != Law::A {
            for code in &mut codes {
                *code = Law::A.recode(self.stream.law, *code);
            }
        }
        Some(codes)
    }
}

/// One tick of one room: pull everybody, sum, give each the sum without itself (N−1), record.
fn mix(now: Mono, room: &mut Room, legs: &mut Slab<Leg>, mixer: &mut Mixer, out: &mut Out<'_>) {
    let mut codes = [0u8; FRAME];
    // By place: whose audio is in this tick's sum.
    let mut spoke = 0u16;
    mixer.begin();
    for (slot, &member) in room.members.iter().enumerate() {
        let leg = &mut legs[member as usize];
        let heard = leg.stream.jitter.pull(mixer.codes(slot));
        mixer.add(slot, leg.stream.law);
        if let (Some(recording), Some((_, track))) = (&mut room.recording, leg.room) {
            mixer.recoded(slot, Law::A, &mut codes);
            recording.write(track, &codes);
            if heard {
                recording.hear();
            }
        }
        if heard {
            spoke |= 1 << slot;
            leg.silent_at = None;
        } else if leg.silent_at.is_some_and(|at| at <= now) {
            leg.silent_at = None;
            if !leg.stream.source.heard_since(now - SILENT_AFTER) {
                out.events.push_back(Event::Silent { leg: LegId { index: member, generation: leg.generation } });
            }
        }
    }
    mixer.sum();
    for (slot, &member) in room.members.iter().enumerate() {
        let leg = &mut legs[member as usize];
        let id = LegId { index: member, generation: leg.generation };
        if let Some(played) = leg.next_played(id, out.events) {
            send(leg, id, &played, out);
            continue;
        }
        mixer.others(slot, leg.stream.law, &mut codes);
        let sent = send(leg, id, &codes, out);
        let fresh = if sent { spoke & !(1 << slot) & !leg.hears } else { 0 };
        if fresh != 0 {
            leg.hears |= fresh;
            for from in (0..room.members.len()).filter(|place| fresh & 1 << place != 0) {
                let index = room.members[from];
                let generation = legs[index as usize].generation;
                out.events.push_back(Event::Hears { leg: id, from: LegId { index, generation } });
            }
        }
    }
    if let Some(recording) = &mut room.recording
        && !room.members.is_empty()
    {
        mixer.total(Law::A, &mut codes);
        recording.write(MIX, &codes);
    }
}

/// Whether it reached the peer, as far as that can be told: whoever wants to hear nothing hears nothing.
fn send(leg: &mut Leg, id: LegId, codes: &[u8; FRAME], out: &mut Out<'_>) -> bool {
    let wanted = matches!(leg.direction, Direction::SendRecv | Direction::SendOnly);
    let Some(to) = leg.stream.source.target() else {
        leg.stream.advance(false);
        return false;
    };
    if !wanted {
        leg.stream.advance(false);
        return false;
    }
    let at = out.bytes.len();
    out.bytes.resize(at + codecs::rtp::HEADER_LEN + FRAME, 0);
    let len = leg.stream.packetize(codes, &mut out.bytes[at..]);
    leg.stream.advance(true);
    out.sent.push(Sent { leg: id, tag: leg.tag, to, at: at as u32, len: len as u16, rtcp: false });
    true
}

fn report(now: Mono, wall: Wall, leg: &mut Leg, id: LegId, out: &mut Out<'_>) {
    let Some(to) = leg.stream.source.reports_to() else { return };
    let at = out.bytes.len();
    out.bytes.resize(at + 256, 0);
    let len = leg.stream.report(now, wall, &mut out.bytes[at..]);
    out.bytes.truncate(at + len);
    out.sent.push(Sent { leg: id, tag: leg.tag, to, at: at as u32, len: len as u16, rtcp: true });
}

fn add_stream(stats: &mut Stats, stream: &Stream) {
    stats.strangers += stream.strangers;
    stats.lost += u64::from(stream.lost());
    stats.late += stream.jitter.stats.late;
    stats.concealed += stream.jitter.stats.concealed;
    stats.skipped += stream.jitter.stats.skipped;
    stats.jitter_ms_max = stats.jitter_ms_max.max(stream.jitter_ms());
}

#[cfg(test)]
mod tests {
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
                engine.handle_rtp(
                    now,
                    legs[n],
                    SocketAddr::from(([127, 0, 0, 1], 4000 + n as u16 * 2)),
                    &buffer[..len],
                );
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
            engine.handle_rtp(
                Mono::from_millis(tick * 20),
                a,
                SocketAddr::from(([127, 0, 0, 1], 4000)),
                &buffer[..len],
            );
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
            assert!(
                tick >= 60 || engine.packets().all(|p| p.leg != caller || p.rtcp),
                "no audio for whoever wants none"
            );
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
                .filter(|p| p.rtcp && codecs::rtcp::parse(p.bytes).is_some_and(|h| h.sender.is_some()))
                .count();
        }
        assert_eq!(reports, 3);
    }
}
