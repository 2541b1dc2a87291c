//! The engine: legs, rooms, and the tick that mixes them.
//!
//! Everything a tick sends lies in one buffer that is reused (`packets`), since a queue of owned packets would
//! allocate 50 times a second a leg. Everything else follows the house shape: `poll_event`, `poll_chunk`.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    /// The first audio of `from` has gone out to this leg. Said again when somebody has joined or left the room.
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
    /// A fault of ours has befallen this leg, or its room: nothing more is done for it.
    Failed {
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
    has_failed: bool,
}

struct Room {
    members: Vec<u32>,
    recording: Option<Recording>,
    /// It has failed by a fault of ours, and is left alone until it is removed.
    has_failed: bool,
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
            has_failed: false,
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
        RoomId(self.rooms.insert(Room { members: Vec::with_capacity(3), recording: None, has_failed: false }) as u32)
    }

    /// Removes a room; its legs stay, outside any room. What was recorded comes out as a last chunk.
    pub fn remove_room(&mut self, id: RoomId) {
        let Some(mut room) = self.rooms.try_remove(id.0 as usize) else { return };
        self.chunks.extend(room.recording.as_mut().and_then(Recording::end));
        for member in room.members {
            if let Some(leg) = self.legs.get_mut(member as usize) {
                leg.room = None;
            }
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
            if let Some(leg) = self.legs.get_mut(*member as usize) {
                leg.hears = 0;
            }
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
            if room.has_failed {
                continue;
            }
            let (legs, mixer) = (&mut self.legs, &mut self.mixer);
            // A fault of ours in one room costs that room: its call ends, the others hear nothing of it.
            if catch_unwind(AssertUnwindSafe(|| mix(now, room, legs, mixer, &mut out))).is_err() {
                room.has_failed = true;
                let failed = room.members.iter().filter_map(|m| Some((*m, self.legs.get(*m as usize)?.generation)));
                let failed = failed.map(|(index, generation)| LegId { index, generation });
                self.events.extend(failed.map(|leg| Event::Failed { leg }));
                continue;
            }
            if let Some(recording) = &mut room.recording {
                self.chunks.extend(recording.end_tick());
            }
        }
        let ticks = self.ticks;
        for (index, leg) in &mut self.legs {
            let id = LegId { index: index as u32, generation: leg.generation };
            let mut out = Out { sent: &mut self.sent, bytes: &mut self.bytes, events: &mut self.events };
            let beat = ticks + index as u64 * 7;
            let served =
                leg.has_failed || catch_unwind(AssertUnwindSafe(|| serve(now, wall, beat, leg, id, &mut out))).is_ok();
            if !served {
                leg.has_failed = true;
                self.events.push_back(Event::Failed { leg: id });
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

/// One tick of one leg beside its room: what is played to whoever is in none yet, silence that is missed, reports.
fn serve(now: Mono, wall: Wall, beat: u64, leg: &mut Leg, id: LegId, out: &mut Out<'_>) {
    if leg.room.is_none() {
        // Nobody listens yet: what came is old by the time somebody does.
        leg.stream.jitter.pull(&mut [0; FRAME]);
        match leg.next_played(id, out.events) {
            Some(codes) => {
                send(leg, id, &codes, out);
            }
            None => leg.stream.advance(false),
        }
    }
    if beat.is_multiple_of(QUIET_TICKS) && leg.is_quiet(now) {
        out.events.push_back(Event::Quiet { leg: id });
    }
    if beat.is_multiple_of(REPORT_TICKS) {
        report(now, wall, leg, id, out);
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
mod tests;
