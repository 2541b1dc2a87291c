//! Voices made of two tones, and the ear that tells whose they are.
//!
//! A hundred and forty-four frequencies, 20 Hz apart: twenty-four for each role's lower tone, twenty-four for its upper
//! one. A call's index picks one of each, so that both the role and the call can be heard, and so can cross-talk among
//! 576 calls that are up at once.

use codecs::audio::g711::Law;
use codecs::audio::tone::goertzel;
use codecs::audio::{FRAME, SAMPLE_RATE};

use crate::attention::{Attention, BLOCK};

const LOWEST_HZ: f64 = 350.0;
const STEP_HZ: f64 = 20.0;
/// Slots of one role's lower or upper tone.
const SLOTS: u32 = 24;
/// Of full scale, each of the two tones.
const LEVEL: f64 = 0.12;
/// Heard at all.
pub(crate) const PRESENT: f64 = LEVEL * 0.5;
/// Of all the power that is heard, what each tone of a voice has at least: half of it where two speak at once.
const SHARE: f64 = 0.125;

/// Who speaks: 0 caller, 1 seat, 2 officer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Code {
    pub role: u8,
    pub call: u32,
}

impl Code {
    pub fn frequencies(self) -> [f64; 2] {
        let slot = |n: u32| LOWEST_HZ + STEP_HZ * f64::from(n);
        let role = u32::from(self.role % 3) * SLOTS;
        [slot(role + self.call % SLOTS), slot(3 * SLOTS + role + self.call / SLOTS % SLOTS)]
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

/// What one leg was sent: the last two seconds of it, and what was made of all.
#[derive(Default)]
pub struct Ear {
    heard: Vec<u8>,
    pub packets: u64,
    pub lost: u64,
    last_sequence: Option<u16>,
    /// Voices that are listened for until they are heard for the first time.
    awaited: Vec<Code>,
    /// The voices that are to be heard all the time.
    pub attention: Attention,
}

const KEEP: usize = 2 * SAMPLE_RATE as usize;

impl Ear {
    /// An ear that waits for these voices.
    pub fn awaiting(awaited: Vec<Code>) -> Ear {
        Ear { awaited, ..Ear::default() }
    }

    pub fn hear(&mut self, sequence: u16, codes: &[u8]) {
        if let Some(last) = self.last_sequence {
            let gap = sequence.wrapping_sub(last);
            if (2..1000).contains(&gap) {
                self.lost += u64::from(gap) - 1;
                self.attention.lose(u64::from(gap) - 1);
            }
        }
        self.last_sequence = Some(sequence);
        self.packets += 1;
        self.attention.hear(codes);
        self.heard.extend_from_slice(codes);
        if self.heard.len() > 2 * KEEP {
            self.heard.drain(..self.heard.len() - KEEP);
        }
    }

    /// A voice that was waited for, when the last fifty milliseconds are the first that hold it.
    pub fn recognise(&mut self) -> Option<Code> {
        let from = self.heard.len().checked_sub(BLOCK).filter(|_| !self.awaited.is_empty())?;
        let samples: Vec<i16> = self.heard[from..].iter().map(|c| Law::A.decode(*c)).collect();
        let all = power(&samples);
        let carries = |code: &Code| {
            code.frequencies().map(|f| goertzel(&samples, f)).iter().all(|t| *t > PRESENT && t * t / 2.0 > SHARE * all)
        };
        let at = self.awaited.iter().position(carries)?;
        Some(self.awaited.remove(at))
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

pub(crate) fn power(samples: &[i16]) -> f64 {
    samples.iter().map(|s| (f64::from(*s) / 32768.0).powi(2)).sum::<f64>() / samples.len() as f64
}

#[cfg(test)]
mod tests {
    use codecs::audio::wav::Wav;

    use super::*;
    use crate::attention::hears;

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
            for call in 0..SLOTS * SLOTS {
                let other = Code { role, call };
                assert_eq!(hears(&samples, &[other]), other == code, "{other:?}");
            }
        }
    }

    #[test]
    fn a_voice_is_recognised_once_when_it_is_heard_first() {
        let (seat, officer) = (Code { role: 1, call: 77 }, Code { role: 2, call: 77 });
        let mut ear = Ear::awaiting(vec![seat, officer]);
        let [mut first, mut other] = [Voice::new(seat), Voice::new(Code { role: 2, call: 78 })];
        let mut recognised = Vec::new();
        for n in 0..30u16 {
            ear.hear(n, &if n < 10 { other.next_frame() } else { first.next_frame() });
            recognised.extend(ear.recognise().map(|code| (n, code)));
        }
        assert!(matches!(recognised[..], [(10..=12, code)] if code == seat), "{recognised:?}");
    }

    #[test]
    fn what_the_attendant_says_is_no_voice_of_ours() {
        let wav = Wav::parse(include_bytes!("../../deploy/prompts/attendant.wav")).expect("the committed prompt");
        let all = |call| [1, 2].map(|role| Code { role, call });
        let mut ear = Ear::awaiting((0..SLOTS * SLOTS).step_by(7).flat_map(all).collect());
        for (n, codes) in (0u16..).zip(wav.data.chunks(FRAME)) {
            ear.hear(n, codes);
            assert_eq!(ear.recognise(), None, "in frame {n}");
        }
    }
}
