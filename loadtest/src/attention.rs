//! Whether a leg hears exactly the voices that it should, window after window, as the audio comes.
//!
//! A window is half a second and begins a quarter after the one before. It is judged by its blocks of fifty
//! milliseconds, in which all our frequencies make whole turns against each other, so that none is heard in another's
//! place. A frame that was lost or repeated spoils the blocks that it lies in and no others; a voice that is missing,
//! or a stranger's, is so in most of them.

use std::collections::VecDeque;

use codecs::audio::FRAME;
use codecs::audio::g711::Law;
use codecs::audio::tone::goertzel;

use crate::voice::{BLOCK, Code, PRESENT, power};

/// Blocks of a window, and how many later the next one begins.
const WINDOW: usize = 10;
const HOP: usize = 5;
/// Power beside the voices that are expected: what a voice of ours has at half of its amplitude.
const STRANGE: f64 = 0.0036;
/// Voices that a leg is asked for at most.
const VOICES: usize = 4;
/// Frames missing in a row of which each still has its place; beyond, the stream has begun anew.
const GAP: u64 = 50;

/// What a window held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Sound,
    /// Somebody who should not be heard.
    Stranger,
    /// Somebody who should be heard was not.
    Missing,
    /// Too little of it came to say anything.
    Lost,
}

/// Windows by what they held.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    pub sound: u64,
    pub stranger: u64,
    pub missing: u64,
    pub lost: u64,
    /// Not judged, since this tool itself stood still.
    pub left_out: u64,
}

impl Tally {
    pub fn judged(&self) -> u64 {
        self.sound + self.stranger + self.missing + self.lost
    }

    /// What was wrong with what was heard; nothing judged is a fault as well.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Tally { stranger: 1.., .. } => Some("a stranger was heard"),
            Tally { missing: 1.., .. } => Some("somebody was not heard"),
            Tally { lost: 1.., .. } => Some("too much was lost to say who was heard"),
            Tally { sound: 0, .. } => Some("too short to say who was heard"),
            Tally { .. } => None,
        }
    }

    pub fn add(&mut self, other: Tally) {
        self.sound += other.sound;
        self.stranger += other.stranger;
        self.missing += other.missing;
        self.lost += other.lost;
        self.left_out += other.left_out;
    }

    fn count(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Sound => &mut self.sound,
            Verdict::Stranger => &mut self.stranger,
            Verdict::Missing => &mut self.missing,
            Verdict::Lost => &mut self.lost,
        } += 1;
    }
}

/// What fifty milliseconds held: how loud each voice was, and the power of all else.
struct Block {
    levels: [f64; VOICES],
    rest: f64,
    lost: bool,
}

/// A leg's attention to the voices that it should hear.
#[derive(Default)]
pub struct Attention {
    voices: Vec<Code>,
    /// Samples that are not judged yet.
    skip: usize,
    pending: Vec<i16>,
    pending_lost: bool,
    blocks: VecDeque<Block>,
    tally: Tally,
}

impl Attention {
    /// From now on, but for the first `skip` samples, exactly these voices are to be heard; nothing is asked for none.
    pub fn turn_to(&mut self, voices: &[Code], skip: usize) {
        self.voices = voices.iter().copied().take(VOICES).collect();
        self.skip = skip;
        self.begin_anew();
    }

    /// This tool stood still: what it sent and heard for the next samples says nothing of the gateway.
    pub fn excuse(&mut self, samples: usize) {
        if self.voices.is_empty() {
            return;
        }
        self.tally.left_out += 1;
        self.skip = self.skip.max(samples);
        self.begin_anew();
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Frames that came nowhere keep their time.
    pub(crate) fn lose(&mut self, frames: u64) {
        if frames <= GAP {
            let silence = [Law::A.silence(); FRAME];
            (0..frames).for_each(|_| self.take(&silence, true));
        }
    }

    pub(crate) fn hear(&mut self, codes: &[u8]) {
        self.take(codes, false);
    }

    fn begin_anew(&mut self) {
        self.pending.clear();
        self.pending_lost = false;
        self.blocks.clear();
    }

    fn take(&mut self, codes: &[u8], lost: bool) {
        if self.voices.is_empty() {
            return;
        }
        for code in codes {
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.pending.push(Law::A.decode(*code));
            self.pending_lost |= lost;
            if self.pending.len() == BLOCK {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        let mut block = Block { levels: [f64::INFINITY; VOICES], rest: power(&self.pending), lost: self.pending_lost };
        for (level, voice) in block.levels.iter_mut().zip(&self.voices) {
            let tones = voice.frequencies().map(|f| goertzel(&self.pending, f));
            *level = tones[0].min(tones[1]);
            block.rest -= tones.iter().map(|t| t * t / 2.0).sum::<f64>();
        }
        self.pending.clear();
        self.pending_lost = false;
        self.blocks.push_back(block);
        if self.blocks.len() == WINDOW {
            self.tally.count(self.judge());
            self.blocks.drain(..HOP);
        }
    }

    /// By most of the blocks that came whole.
    fn judge(&self) -> Verdict {
        let whole: Vec<&Block> = self.blocks.iter().filter(|b| !b.lost).collect();
        let mostly = |of: &dyn Fn(&Block) -> bool| 2 * whole.iter().filter(|b| of(b)).count() > whole.len();
        if 2 * whole.len() < WINDOW {
            Verdict::Lost
        } else if (0..VOICES).any(|n| mostly(&|b| b.levels[n] <= PRESENT)) {
            Verdict::Missing
        } else if mostly(&|b| b.rest >= STRANGE) {
            Verdict::Stranger
        } else {
            Verdict::Sound
        }
    }
}

/// Whether the samples hold exactly these voices in every window; less than a window proves nothing.
pub fn hears(samples: &[i16], voices: &[Code]) -> bool {
    let mut attention = Attention::default();
    attention.turn_to(voices, 0);
    for sample in samples {
        attention.pending.push(*sample);
        if attention.pending.len() == BLOCK {
            attention.end_block();
        }
    }
    let tally = attention.tally();
    tally.judged() > 0 && tally.judged() == tally.sound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::Voice;

    const ME: Code = Code { role: 0, call: 21 };
    const SEAT: Code = Code { role: 1, call: 21 };
    const OFFICER: Code = Code { role: 2, call: 21 };

    /// What is heard of these voices for so many frames, each from its first to its last.
    fn mixed(frames: u16, voices: &[(Code, std::ops::Range<u16>)]) -> Vec<[u8; FRAME]> {
        let mut speaking: Vec<Voice> = voices.iter().map(|(code, _)| Voice::new(*code)).collect();
        let mut frame_of = |n: u16| {
            let mut sum = [0i32; FRAME];
            for (voice, (_, when)) in speaking.iter_mut().zip(voices) {
                let frame = voice.next_frame();
                if when.contains(&n) {
                    sum.iter_mut().zip(frame).for_each(|(s, c)| *s += i32::from(Law::A.decode(c)));
                }
            }
            sum.map(|s| Law::A.encode(s.clamp(-32768, 32767) as i16))
        };
        (0..frames).map(&mut frame_of).collect()
    }

    fn listen(frames: &[[u8; FRAME]], lost: impl Fn(usize) -> bool) -> Tally {
        let mut attention = Attention::default();
        attention.turn_to(&[SEAT, OFFICER], 1600);
        for (n, frame) in frames.iter().enumerate() {
            if lost(n) { attention.lose(1) } else { attention.hear(frame) }
        }
        attention.tally()
    }

    #[test]
    fn every_window_after_the_first_200_ms_is_looked_at() {
        let frames = mixed(110, &[(SEAT, 0..110), (OFFICER, 0..110)]);
        // Two seconds: a window every quarter second, the first after half of one.
        assert_eq!(listen(&frames, |_| false), Tally { sound: 7, ..Tally::default() });
        let late = mixed(110, &[(SEAT, 9..110), (OFFICER, 9..110)]);
        assert_eq!(listen(&late, |_| false).missing, 0, "what comes within 200 ms is in time");
    }

    #[test]
    fn a_stranger_of_a_third_of_a_second_is_noticed_wherever_it_falls() {
        for from in 10..60 {
            for stranger in [ME, Code { role: 1, call: 22 }, Code { role: 2, call: 21 + 24 }, Code { role: 0, call: 7 }]
            {
                let frames = mixed(110, &[(SEAT, 0..110), (OFFICER, 0..110), (stranger, from..from + 18)]);
                let tally = listen(&frames, |_| false);
                assert!(tally.stranger > 0 && tally.missing == 0, "{stranger:?} from frame {from}: {tally:?}");
            }
        }
    }

    #[test]
    fn a_voice_that_is_silent_for_a_third_of_a_second_is_missed_wherever_it_falls() {
        for from in 10..60 {
            let frames = mixed(110, &[(SEAT, 0..110), (OFFICER, 0..from), (OFFICER, from + 18..110)]);
            assert!(listen(&frames, |_| false).missing > 0, "from frame {from}");
        }
    }

    #[test]
    fn a_lost_packet_is_no_stranger_and_a_stranger_beside_lost_packets_is_one() {
        let frames = mixed(110, &[(SEAT, 0..110), (OFFICER, 0..110)]);
        let tally = listen(&frames, |n| n % 15 == 14);
        assert_eq!(tally, Tally { sound: 7, ..Tally::default() });
        // Not said to be lost: repeated, or missing before it came to us.
        let mut repeated = frames.clone();
        for n in (14..110).step_by(15) {
            repeated[n] = repeated[n - 1];
        }
        assert_eq!(listen(&repeated, |_| false), Tally { sound: 7, ..Tally::default() });
        let strange = mixed(110, &[(SEAT, 0..110), (OFFICER, 0..110), (ME, 30..110)]);
        assert!(listen(&strange, |n| n % 15 == 14).stranger > 0);
        assert!(listen(&frames, |n| n % 3 > 0).lost > 0, "what did not come says nothing");
    }

    #[test]
    fn noise_beside_the_voices_is_a_stranger() {
        let mut frames = mixed(110, &[(SEAT, 0..110), (OFFICER, 0..110)]);
        let mut seed = 1u32;
        for frame in frames.iter_mut().skip(60) {
            *frame = std::array::from_fn(|n| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if n % 2 == 0 { (seed >> 24) as u8 } else { frame[n] }
            });
        }
        let tally = listen(&frames, |_| false);
        assert!(tally.stranger + tally.missing > 0, "{tally:?}");
    }

    #[test]
    fn while_this_tool_stands_still_nothing_is_judged_and_that_is_counted() {
        let mut attention = Attention::default();
        attention.turn_to(&[SEAT], 0);
        attention.excuse(8000);
        (0..50).for_each(|_| attention.hear(&[Law::A.silence(); FRAME]));
        assert_eq!(attention.tally(), Tally { left_out: 1, ..Tally::default() });
        (0..50).for_each(|_| attention.hear(&[Law::A.silence(); FRAME]));
        assert!(attention.tally().missing > 0, "afterwards it is judged again");
    }

    #[test]
    fn too_little_audio_proves_nothing() {
        assert!(!hears(&[0; 100], &[]));
    }
}
