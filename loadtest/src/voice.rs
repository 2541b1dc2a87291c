//! Voices made of two tones.
//!
//! A hundred and forty-four frequencies, 20 Hz apart: twenty-four for each role's lower tone, twenty-four for its upper
//! one. A call's index picks one of each, so that both the role and the call can be heard, and so can cross-talk among
//! 576 calls that are up at once.

use codecs::audio::g711::Law;
use codecs::audio::{FRAME, SAMPLE_RATE};

/// Samples of a block: fifty milliseconds, in which all frequencies make whole turns against each other.
pub(crate) const BLOCK: usize = SAMPLE_RATE as usize / 20;
const LOWEST_HZ: f64 = 350.0;
const STEP_HZ: f64 = 20.0;
/// Slots of one role's lower or upper tone.
pub(crate) const SLOTS: u32 = 24;
/// Of full scale, each of the two tones.
const LEVEL: f64 = 0.12;
/// Heard at all.
pub(crate) const PRESENT: f64 = LEVEL * 0.5;

/// Who speaks: 0 caller, 1 seat, 2 officer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Code {
    pub role: u8,
    pub call: u32,
}

impl Code {
    pub fn frequencies(self) -> [f64; 2] {
        let slot = |n: u32| LOWEST_HZ + STEP_HZ * f64::from(n);
        // A fourth party sounds as the first of another call would.
        let call = self.call + u32::from(self.role / 3) * (SLOTS + 1);
        let role = u32::from(self.role % 3) * SLOTS;
        [slot(role + call % SLOTS), slot(3 * SLOTS + role + call / SLOTS % SLOTS)]
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

pub(crate) fn power(samples: &[i16]) -> f64 {
    samples.iter().map(|s| (f64::from(*s) / 32768.0).powi(2)).sum::<f64>() / samples.len() as f64
}
