//! The jitter buffer: companded samples by timestamp in a ring of 400 ms, read out 20 ms at a time.
//!
//! Takes any packet length, order and repetition. The delay starts at 40 ms and follows what the network does:
//! late packets push it up by a frame, a buffer that stays fuller than needed gives one back. It never goes deaf: what
//! comes late to an empty buffer is what there is to be played, and begins it anew.

use codecs::audio::FRAME;
use codecs::audio::g711::Law;

const BLOCK: usize = 80;
const BLOCKS: usize = 40;
const RING: usize = BLOCK * BLOCKS;
/// A packet longer than this is taken in pieces.
const PIECE: usize = RING / 4;
/// The blocks of the frame at the ring's beginning.
const FRAME_BITS: u64 = (1 << (FRAME / BLOCK)) - 1;
/// Samples of delay at the start, and at most.
const DELAY_MIN: i64 = 2 * FRAME as i64;
const DELAY_MAX: i64 = 10 * FRAME as i64;
/// And at most where it was the sender's clock that drained the buffer.
const DELAY_DRAINED: i64 = 4 * FRAME as i64;
/// Ticks with more buffered than needed before a frame is skipped.
const PATIENCE: u32 = 100;
/// Packets in a row that came too late, while others were there to be played, before the buffer follows them.
const LATE_IN_A_ROW: u32 = 4;

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct JitterStats {
    pub late: u64,
    pub concealed: u64,
    pub skipped: u64,
}

pub(crate) struct Jitter {
    law: Law,
    /// Nothing until something is heard: many legs are over before.
    ring: Box<[u8]>,
    /// One bit a block of 10 ms.
    present: u64,
    base: Option<u32>,
    /// Next sample to read, and one past the newest, counted from `base`.
    play: i64,
    newest: i64,
    delay: i64,
    roomy_ticks: u32,
    late_run: u32,
    /// Where in the ring the last whole frame lies.
    last: usize,
    missing_run: u32,
    pub stats: JitterStats,
}

impl Jitter {
    pub(crate) fn new(law: Law) -> Jitter {
        Jitter {
            law,
            ring: Box::default(),
            present: 0,
            base: None,
            play: 0,
            newest: 0,
            delay: DELAY_MIN,
            roomy_ticks: 0,
            late_run: 0,
            last: 0,
            missing_run: u32::MAX,
            stats: JitterStats::default(),
        }
    }

    /// Forgets the stream: its source, SSRC or clock has changed.
    pub(crate) fn reset(&mut self) {
        let stats = self.stats;
        *self = Jitter::new(self.law);
        self.stats = stats;
    }

    /// Takes the samples of one packet, in this buffer's law.
    pub(crate) fn push(&mut self, timestamp: u32, samples: &[u8]) {
        for (n, piece) in (0u32..).zip(samples.chunks(PIECE)) {
            self.push_piece(timestamp.wrapping_add(n * PIECE as u32), piece);
        }
    }

    fn push_piece(&mut self, timestamp: u32, samples: &[u8]) {
        let base = *self.base.get_or_insert_with(|| {
            self.ring = vec![self.law.silence(); RING].into();
            self.play = -self.delay;
            self.newest = 0;
            timestamp
        });
        let mut at = i64::from(timestamp.wrapping_sub(base) as i32);
        let ahead = at + samples.len() as i64 - self.play;
        if ahead > RING as i64 - BLOCK as i64 || ahead < -(RING as i64) {
            // A new clock, or silence suppression over a long pause: begin again at this packet.
            self.restart(timestamp);
            at = 0;
        } else if ahead <= 0 {
            self.stats.late += 1;
            self.late_run += 1;
            if self.newest <= self.play || self.late_run >= LATE_IN_A_ROW {
                // A sender that pauses without its timestamps noticing, a clock that is slower than ours.
                self.delay = (self.delay + FRAME as i64).min(DELAY_DRAINED.max(self.delay));
                self.restart(timestamp);
                at = 0;
            } else {
                // One that lost its way: the others are where they should be, and are played a frame later from here.
                if self.delay < DELAY_MAX {
                    self.delay += FRAME as i64;
                    self.play -= FRAME as i64;
                }
                if at + (samples.len() as i64) <= self.play {
                    return;
                }
            }
        } else {
            self.late_run = 0;
        }
        // What has been played already is cut off.
        let from = at.max(self.play);
        self.store(from, &samples[(from - at) as usize..]);
        self.newest = self.newest.max(at + samples.len() as i64);
    }

    /// At most two stretches, and a bit for each block that they touch.
    fn store(&mut self, from: i64, samples: &[u8]) {
        let start = from.rem_euclid(RING as i64) as usize;
        let end = start + samples.len();
        for edge in [start, end].into_iter().filter(|edge| edge % BLOCK != 0) {
            self.clear_unless_present(edge / BLOCK % BLOCKS);
        }
        let (before, after) = samples.split_at(samples.len().min(RING - start));
        self.ring[start..start + before.len()].copy_from_slice(before);
        self.ring[..after.len()].copy_from_slice(after);
        for block in start / BLOCK..end.div_ceil(BLOCK) {
            self.present |= 1 << (block % BLOCKS);
        }
    }

    /// What lies in a block from the last time round is not played again.
    fn clear_unless_present(&mut self, block: usize) {
        if self.present & 1 << block == 0 {
            self.ring[block * BLOCK..(block + 1) * BLOCK].fill(self.law.silence());
        }
    }

    fn restart(&mut self, timestamp: u32) {
        self.ring.fill(self.law.silence());
        self.present = 0;
        self.base = Some(timestamp);
        self.play = -self.delay;
        self.newest = 0;
        self.late_run = 0;
    }

    /// The next 20 ms. `false`: nothing was there and it is concealment or silence.
    pub(crate) fn pull(&mut self, out: &mut [u8; FRAME]) -> bool {
        if self.base.is_none() {
            out.fill(self.law.silence());
            return false;
        }
        self.drain_excess();
        // What is played counts in frames from a multiple of a frame, and the ring is whole frames: no frame wraps.
        let start = self.play.rem_euclid(RING as i64) as usize;
        let bits = FRAME_BITS << (start / BLOCK);
        let whole = self.present & bits == bits;
        if !whole {
            (start / BLOCK..(start + FRAME) / BLOCK).for_each(|block| self.clear_unless_present(block));
        }
        self.present &= !bits;
        out.copy_from_slice(&self.ring[start..start + FRAME]);
        self.play += FRAME as i64;
        if whole {
            // Kept until the ring comes round: a lost frame after it is concealed with it.
            self.last = start;
            self.missing_run = 0;
        } else {
            self.conceal(out);
        }
        whole
    }

    /// The last frame again at half its level, once; then silence. Leading silence is not counted as loss.
    fn conceal(&mut self, out: &mut [u8; FRAME]) {
        if self.missing_run == u32::MAX {
            return;
        }
        self.missing_run += 1;
        if self.play <= self.newest + FRAME as i64 {
            self.stats.concealed += 1;
        }
        if self.missing_run == 1 {
            let last = &self.ring[self.last..self.last + FRAME];
            for (sample, &last) in out.iter_mut().zip(last) {
                *sample = self.law.encode(self.law.decode(last) / 2);
            }
        }
    }

    fn drain_excess(&mut self) {
        let buffered = self.newest - self.play;
        if buffered <= self.delay + FRAME as i64 {
            self.roomy_ticks = 0;
            return;
        }
        self.roomy_ticks += 1;
        let far_behind = buffered > 2 * DELAY_MAX;
        if self.roomy_ticks >= PATIENCE || far_behind {
            self.roomy_ticks = 0;
            self.stats.skipped += 1;
            self.play += FRAME as i64;
            self.delay = (self.delay - FRAME as i64).max(DELAY_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u8) -> [u8; FRAME] {
        [n; FRAME]
    }

    fn play(jitter: &mut Jitter, ticks: usize) -> Vec<u8> {
        let mut out = frame(0);
        (0..ticks)
            .map(|_| {
                jitter.pull(&mut out);
                out[0]
            })
            .collect()
    }

    #[test]
    fn reordered_and_repeated_packets_come_out_in_order() {
        let mut j = Jitter::new(Law::A);
        for n in [0u32, 2, 1, 1, 3] {
            j.push(1000 + n * 160, &frame(n as u8 + 1));
        }
        assert_eq!(play(&mut j, 6), [0xD5, 0xD5, 1, 2, 3, 4]);
    }

    #[test]
    fn a_lost_packet_is_concealed_once_and_then_silent() {
        let mut j = Jitter::new(Law::A);
        j.push(0, &frame(0x2A));
        j.push(3 * 160, &frame(7));
        let played = play(&mut j, 6);
        assert_eq!((played[2], played[4], played[5]), (0x2A, 0xD5, 7));
        assert_eq!(Law::A.decode(played[3]), Law::A.decode(Law::A.encode(Law::A.decode(0x2A) / 2)));
        assert_eq!(j.stats.concealed, 2);
    }

    #[test]
    fn packets_of_30_milliseconds_come_out_as_frames_of_20() {
        let mut j = Jitter::new(Law::Mu);
        for n in 0..4u32 {
            j.push(n * 240, &[n as u8 + 1; 240]);
        }
        let mut out = frame(0);
        let mut all = Vec::new();
        for _ in 0..8 {
            j.pull(&mut out);
            all.extend_from_slice(&out);
        }
        assert_eq!((all[320], all[320 + 239], all[320 + 240], all[320 + 959]), (1, 1, 2, 4));
    }

    #[test]
    fn a_missing_half_frame_is_silence_and_never_what_was_there_a_round_ago() {
        let mut j = Jitter::new(Law::A);
        let mut out = frame(0);
        // Two rounds of the ring, then packets of 5 ms of which every other pair is missing.
        for n in 0..66u32 {
            j.push(n * 160, &frame(9));
            j.pull(&mut out);
        }
        let mut heard = std::collections::BTreeSet::new();
        for n in 66..90u32 {
            for quarter in [0, 1].map(|q| n * 160 + q * 40) {
                j.push(quarter, &[7; 40]);
            }
            j.pull(&mut out);
            if n > 70 {
                heard.extend(out);
            }
        }
        assert_eq!(heard.into_iter().collect::<Vec<_>>(), [7, 0xD5]);
    }

    #[test]
    fn a_clock_that_jumps_begins_again() {
        let mut j = Jitter::new(Law::A);
        j.push(0, &frame(1));
        play(&mut j, 3);
        j.push(4_000_000_000, &frame(9));
        assert_eq!(play(&mut j, 3)[2], 9);
    }

    #[test]
    fn timestamps_may_wrap() {
        let mut j = Jitter::new(Law::A);
        for n in 0..4u32 {
            j.push((u32::MAX - 159).wrapping_add(n * 160), &frame(n as u8 + 1));
        }
        assert_eq!(play(&mut j, 6)[2..], [1, 2, 3, 4]);
    }

    #[test]
    fn late_packets_raise_the_delay_and_a_full_buffer_lowers_it() {
        let mut j = Jitter::new(Law::A);
        j.push(0, &frame(1));
        play(&mut j, 4);
        j.push(160, &frame(2));
        assert_eq!((j.stats.late, j.delay), (1, DELAY_MIN + FRAME as i64));
        for n in 2..8u32 {
            j.push(n * 160, &frame(3));
        }
        for n in 8..300u32 {
            j.push(n * 160, &frame(3));
            play(&mut j, 1);
        }
        assert!(j.stats.skipped > 0);
        assert_eq!(j.delay, DELAY_MIN);
    }

    /// Plays what a sender says whose 20 ms take `us` microseconds; the longest stretch of ticks in which nothing came.
    fn longest_gap(seconds: u64, us: u64, timestamp: impl Fn(u64) -> u32) -> u64 {
        let mut j = Jitter::new(Law::A);
        let (mut sent, mut gap, mut longest) = (0u64, 0, 0);
        for tick in 0..seconds * 50 {
            while sent * us <= tick * 20_000 {
                j.push(timestamp(sent), &frame(7));
                sent += 1;
            }
            let heard = j.pull(&mut frame(0));
            gap = if heard { 0 } else { gap + 1 };
            longest = longest.max(gap);
        }
        longest
    }

    #[test]
    fn a_clock_that_is_off_by_500_ppm_for_an_hour_or_by_five_percent_never_makes_a_leg_deaf() {
        for us in [20_010, 19_990, 21_000, 19_000, 22_000] {
            let gap = longest_gap(if us % 1000 == 0 { 60 } else { 3600 }, us, |n| n as u32 * 160);
            assert!(gap <= 5, "{us} us a frame: nothing for {gap} ticks");
        }
    }

    #[test]
    fn timestamps_that_stand_still_jump_or_begin_anew_never_make_a_leg_deaf() {
        for (what, timestamp) in [
            (
                "stand for 0.32 s",
                (|n| {
                    (if n < 100 {
                        n
                    } else if n < 116 {
                        100
                    } else {
                        n - 16
                    }) as u32
                        * 160
                }) as fn(u64) -> u32,
            ),
            ("stand for 0.1 s", |n| {
                (if n < 100 {
                    n
                } else if n < 105 {
                    100
                } else {
                    n - 5
                }) as u32
                    * 160
            }),
            ("jump ahead by 0.3 s", |n| (if n < 100 { n } else { n + 15 }) as u32 * 160),
            ("jump back by 0.3 s", |n| (if n < 100 { n } else { n - 15 }) as u32 * 160),
            ("jump back by an hour", |n| {
                (if n < 100 { n as u32 } else { (n as u32).wrapping_sub(180_000) }).wrapping_mul(160)
            }),
            ("begin anew", |n| (n % 100) as u32 * 160),
            ("never move", |_| 4711),
            ("run backwards", |n| (n as u32).wrapping_neg().wrapping_mul(160)),
        ] {
            let gap = longest_gap(20, 20_000, timestamp);
            assert!(gap <= 21, "{what}: nothing for {gap} ticks");
        }
    }
}
