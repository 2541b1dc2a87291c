//! The ear of one leg: what it was sent, and whose voice that is.

use codecs::audio::SAMPLE_RATE;
use codecs::audio::g711::Law;
use codecs::audio::tone::goertzel;

use crate::attention::Attention;
use crate::voice::{BLOCK, Code, PRESENT, power};

/// Of all the power that is heard, what each tone of a voice has at least: half of it where two speak at once.
const SHARE: f64 = 0.125;

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

#[cfg(test)]
mod tests {
    use codecs::audio::FRAME;
    use codecs::audio::wav::Wav;

    use super::*;
    use crate::attention::hears;
    use crate::voice::{SLOTS, Voice};

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
