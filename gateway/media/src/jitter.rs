//! The jitter buffer: companded samples by timestamp in a ring of 640 ms, read out 20 ms at a time.
//!
//! Takes any packet length, order and repetition. The delay starts at 40 ms and follows what the network does:
//! late packets push it up by a frame, a buffer that stays fuller than needed gives one back.

use codecs::audio::FRAME;
use codecs::audio::g711::Law;

const BLOCK: usize = 80;
const BLOCKS: usize = 64;
const RING: usize = BLOCK * BLOCKS;
/// Samples of delay at the start, and at most.
const DELAY_MIN: i64 = 2 * FRAME as i64;
const DELAY_MAX: i64 = 10 * FRAME as i64;
/// Ticks with more buffered than needed before a frame is skipped.
const PATIENCE: u32 = 100;

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct JitterStats {
    pub late: u64,
    pub concealed: u64,
    pub skipped: u64,
}

pub(crate) struct Jitter {
    law: Law,
    ring: Box<[u8; RING]>,
    /// One bit a block of 10 ms.
    present: u64,
    base: Option<u32>,
    /// Next sample to read, and one past the newest, counted from `base`.
    play: i64,
    newest: i64,
    delay: i64,
    roomy_ticks: u32,
    last: [u8; FRAME],
    missing_run: u32,
    pub stats: JitterStats,
}

impl Jitter {
    pub fn new(law: Law) -> Jitter {
        Jitter {
            law,
            ring: Box::new([law.silence(); RING]),
            present: 0,
            base: None,
            play: 0,
            newest: 0,
            delay: DELAY_MIN,
            roomy_ticks: 0,
            last: [law.silence(); FRAME],
            missing_run: u32::MAX,
            stats: JitterStats::default(),
        }
    }

    /// Forgets the stream: its source, SSRC or clock has changed.
    pub fn reset(&mut self) {
        let stats = self.stats;
        *self = Jitter::new(self.law);
        self.stats = stats;
    }

    /// Takes the samples of one packet, in this buffer's law.
    pub fn push(&mut self, timestamp: u32, samples: &[u8]) {
        if samples.is_empty() || samples.len() > RING / 4 {
            return;
        }
        let base = *self.base.get_or_insert_with(|| {
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
            if self.delay < DELAY_MAX {
                self.delay += FRAME as i64;
                self.play -= FRAME as i64;
            }
            if at + (samples.len() as i64) <= self.play {
                return;
            }
        }
        for (i, &code) in samples.iter().enumerate() {
            let position = at + i as i64;
            if position >= self.play {
                self.ring[position.rem_euclid(RING as i64) as usize] = code;
                self.present |= 1 << (position.div_euclid(BLOCK as i64).rem_euclid(BLOCKS as i64));
            }
        }
        self.newest = self.newest.max(at + samples.len() as i64);
    }

    fn restart(&mut self, timestamp: u32) {
        self.ring.fill(self.law.silence());
        self.present = 0;
        self.base = Some(timestamp);
        self.play = -self.delay;
        self.newest = 0;
    }

    /// The next 20 ms. `false`: nothing was there and it is concealment or silence.
    pub fn pull(&mut self, out: &mut [u8; FRAME]) -> bool {
        if self.base.is_none() {
            out.fill(self.law.silence());
            return false;
        }
        self.drain_excess();
        let mut whole = true;
        for half in 0..FRAME / BLOCK {
            let from = self.play + (half * BLOCK) as i64;
            let target = &mut out[half * BLOCK..(half + 1) * BLOCK];
            for (i, sample) in target.iter_mut().enumerate() {
                let slot = &mut self.ring[(from + i as i64).rem_euclid(RING as i64) as usize];
                *sample = std::mem::replace(slot, self.law.silence());
            }
            let bit = 1u64 << (from.div_euclid(BLOCK as i64).rem_euclid(BLOCKS as i64));
            whole &= self.present & bit != 0;
            self.present &= !bit;
        }
        self.play += FRAME as i64;
        if whole {
            self.last = *out;
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
            for (sample, &last) in out.iter_mut().zip(&self.last) {
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
}
