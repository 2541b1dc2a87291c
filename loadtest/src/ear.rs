//! Voices made of two tones, and the ear that tells whose they are.
//!
//! Forty-eight frequencies, 60 Hz apart: eight for each role's lower tone, eight for its upper one. A call's index
//! picks one of each, so that both the role and the call can be heard, and so can cross-talk.

use codecs::audio::g711::Law;
use codecs::audio::tone::goertzel;
use codecs::audio::{FRAME, SAMPLE_RATE};

const LOWEST_HZ: f64 = 350.0;
const STEP_HZ: f64 = 60.0;
/// Of full scale, each of the two tones.
const LEVEL: f64 = 0.12;
/// Heard at all, and certainly not heard.
const PRESENT: f64 = LEVEL * 0.5;
const ABSENT: f64 = LEVEL * 0.12;
/// Power beside the voices that are expected: a fifth of what loud noise brings.
const STRANGE: f64 = 0.02;

/// Who speaks: 0 caller, 1 seat, 2 officer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Code {
    pub role: u8,
    pub call: u32,
}

impl Code {
    pub fn frequencies(self) -> [f64; 2] {
        let slot = |n: u32| LOWEST_HZ + STEP_HZ * f64::from(n);
        let role = u32::from(self.role % 3) * 8;
        [slot(role + self.call % 8), slot(24 + role + self.call / 8 % 8)]
    }
}

/// A leg's own sound, phase kept from packet to packet.
#[derive(Clone, Debug)]
pub struct Voice {
    phase: [f64; 2],
    step: [f64; 2],
}

impl Voice {
    pub fn new(code: Code) -> Voice {
        let step = code.frequencies().map(|f| f * std::f64::consts::TAU / f64::from(SAMPLE_RATE));
        Voice { phase: [0.0; 2], step }
    }

    pub fn next_frame(&mut self) -> [u8; FRAME] {
        let mut out = [0; FRAME];
        for code in &mut out {
            let sample = (self.phase[0].sin() + self.phase[1].sin()) * LEVEL * 32767.0;
            *code = Law::A.encode(sample as i16);
            for (phase, step) in self.phase.iter_mut().zip(self.step) {
                *phase = (*phase + step) % std::f64::consts::TAU;
            }
        }
        out
    }
}

/// What one leg was sent: the last two seconds of it.
#[derive(Clone, Default, Debug)]
pub struct Ear {
    heard: Vec<u8>,
    pub packets: u64,
    pub lost: u64,
    last_sequence: Option<u16>,
}

const KEEP: usize = 2 * SAMPLE_RATE as usize;

impl Ear {
    pub fn hear(&mut self, sequence: u16, codes: &[u8]) {
        if let Some(last) = self.last_sequence {
            let gap = sequence.wrapping_sub(last);
            if (2..1000).contains(&gap) {
                self.lost += u64::from(gap) - 1;
            }
        }
        self.last_sequence = Some(sequence);
        self.packets += 1;
        self.heard.extend_from_slice(codes);
        if self.heard.len() > 2 * KEEP {
            self.heard.drain(..self.heard.len() - KEEP);
        }
    }

    /// The samples that are kept.
    pub fn samples(&self) -> Vec<i16> {
        let from = self.heard.len().saturating_sub(KEEP);
        self.heard[from..].iter().map(|c| Law::A.decode(*c)).collect()
    }

    /// Forgets what was heard, so that a later question is about later audio only.
    pub fn forget(&mut self) {
        self.heard.clear();
    }
}

/// The weaker of a code's two tones in the samples.
pub fn level(samples: &[i16], code: Code) -> f64 {
    code.frequencies().map(|f| goertzel(samples, f)).into_iter().fold(f64::INFINITY, f64::min)
}

/// The louder of a code's two tones.
fn trace(samples: &[i16], code: Code) -> f64 {
    code.frequencies().map(|f| goertzel(samples, f)).into_iter().fold(0.0, f64::max)
}

/// Whether the samples hold all of `present` and nothing of `absent`.
pub fn hears_exactly(samples: &[i16], present: &[Code], absent: &[Code]) -> bool {
    samples.len() >= SAMPLE_RATE as usize / 5
        && present.iter().all(|c| level(samples, *c) > PRESENT)
        && absent.iter().all(|c| trace(samples, *c) < ABSENT)
        && rest(samples, present) < STRANGE
}

/// The power that is not of these voices.
fn rest(samples: &[i16], voices: &[Code]) -> f64 {
    let all = samples.iter().map(|s| (f64::from(*s) / 32768.0).powi(2)).sum::<f64>() / samples.len() as f64;
    let tones = voices.iter().flat_map(|c| c.frequencies()).map(|f| goertzel(samples, f).powi(2) / 2.0);
    all - tones.sum::<f64>()
}

/// Half a second, and how far one window begins after the one before.
const WINDOW: usize = SAMPLE_RATE as usize / 2;
const HOP: usize = WINDOW / 2;

/// As `hears_exactly` in most windows of half a second. A frame that is lost or repeated, because a thread of either
/// side was kept from its processor, smears every frequency of the window that it lies in; whoever is not heard, or is
/// heard and should not be, is so in all of them.
pub fn hears_mostly(samples: &[i16], present: &[Code], absent: &[Code]) -> bool {
    let starts = (0..=samples.len().saturating_sub(WINDOW)).step_by(HOP);
    let verdicts: Vec<bool> =
        starts.map(|from| hears_exactly(&samples[from..samples.len().min(from + WINDOW)], present, absent)).collect();
    2 * verdicts.iter().filter(|sound| **sound).count() > verdicts.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_is_heard_as_its_own_role_and_call_and_as_no_other() {
        let code = Code { role: 1, call: 21 };
        let mut voice = Voice::new(code);
        let mut ear = Ear::default();
        for n in 0..50 {
            ear.hear(n, &voice.next_frame());
        }
        let samples = ear.samples();
        for role in 0..3 {
            for call in 0..64 {
                let other = Code { role, call };
                assert_eq!(hears_exactly(&samples, &[other], &[]), other == code, "{other:?}");
            }
        }
        assert!(hears_exactly(&samples, &[], &[Code { role: 0, call: 21 }, Code { role: 2, call: 5 }]));
    }

    #[test]
    fn a_frame_lost_is_no_wrong_audio_and_a_missing_or_strange_voice_is() {
        let [mine, other] = [Code { role: 1, call: 21 }, Code { role: 2, call: 21 }];
        let listen = |code: Code, frames: std::ops::Range<u16>, lost: &[u16]| {
            let (mut voice, mut ear) = (Voice::new(code), Ear::default());
            for n in frames {
                let frame = voice.next_frame();
                if !lost.contains(&n) {
                    ear.hear(n, &frame);
                }
            }
            ear.samples()
        };
        let disturbed = listen(other, 0..51, &[45]);
        assert!(hears_mostly(&disturbed, &[other], &[mine]));
        assert!(!hears_mostly(&disturbed, &[other, mine], &[]));
        assert!(!hears_mostly(&disturbed, &[], &[other]));
        // A voice that falls silent for the last half of the second is missed.
        let mut half = listen(other, 0..25, &[]);
        half.resize(8000, 0);
        assert!(!hears_mostly(&half, &[other], &[]));
    }

    #[test]
    fn noise_beside_a_voice_is_a_stranger() {
        let code = Code { role: 1, call: 21 };
        let (mut voice, mut ear, mut seed) = (Voice::new(code), Ear::default(), 1u32);
        for n in 0..50 {
            let noise = std::array::from_fn::<u8, FRAME, _>(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            });
            ear.hear(n, &if n % 2 == 0 { voice.next_frame() } else { noise });
        }
        let samples = ear.samples();
        assert!(rest(&samples, &[code]) > STRANGE, "{}", rest(&samples, &[code]));
        assert!(!hears_mostly(&samples, &[code], &[]));
    }

    #[test]
    fn too_little_audio_proves_nothing() {
        assert!(!hears_exactly(&[0; 100], &[], &[]));
    }
}
