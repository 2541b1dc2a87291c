//! N−1 mixing of one frame: everybody hears the sum of the others (RFC 3550 2.3, 7).
//!
//! Decoding, adding and encoding are vector arithmetic (`codecs::audio::companding`). Whoever is silent is not decoded;
//! where one speaks alone the others get the code words as they are.

use codecs::audio::FRAME;
use codecs::audio::companding::Companding;
use codecs::audio::g711::Law;

/// The most parties of a room.
pub(crate) const ROOM_MAX: usize = 16;

/// Working space, made once and used for every room of every tick.
pub(crate) struct Mixer {
    codes: Box<[[u8; FRAME]; ROOM_MAX]>,
    samples: Box<[[i16; FRAME]; ROOM_MAX]>,
    laws: [Law; ROOM_MAX],
    sum: [i32; FRAME],
    /// One bit a party that is heard in this frame.
    speaking: u16,
    companding: Companding,
}

impl Default for Mixer {
    fn default() -> Mixer {
        Mixer {
            codes: Box::new([[0; FRAME]; ROOM_MAX]),
            samples: Box::new([[0; FRAME]; ROOM_MAX]),
            laws: [Law::A; ROOM_MAX],
            sum: [0; FRAME],
            speaking: 0,
            companding: Companding::default(),
        }
    }
}

impl Mixer {
    pub(crate) fn begin(&mut self) {
        self.speaking = 0;
    }

    /// Where a party's code words go before `add`.
    pub(crate) fn codes(&mut self, slot: usize) -> &mut [u8; FRAME] {
        &mut self.codes[slot]
    }

    /// Takes the code words that were put into `codes`.
    pub(crate) fn add(&mut self, slot: usize, law: Law) {
        self.laws[slot] = law;
        let silence = law.silence();
        if self.codes[slot].iter().any(|c| *c != silence) {
            self.speaking |= 1 << slot;
        }
    }

    /// After the last `add`.
    pub(crate) fn sum(&mut self) {
        if self.speaking.count_ones() < 2 {
            return;
        }
        self.sum = [0; FRAME];
        for slot in bits(self.speaking) {
            self.companding.decode(self.laws[slot], &self.codes[slot], &mut self.samples[slot]);
            self.companding.add(&self.samples[slot], &mut self.sum);
        }
    }

    /// What the party at `slot` hears.
    pub(crate) fn others(&self, slot: usize, law: Law, out: &mut [u8; FRAME]) {
        let others = self.speaking & !(1 << slot);
        if others.count_ones() < 2 {
            return self.copy(others, law, out);
        }
        if self.speaking & 1 << slot == 0 {
            return self.total(law, out);
        }
        self.companding.encode(law, &self.sum, &self.samples[slot], out);
    }

    /// Everybody together.
    pub(crate) fn total(&self, law: Law, out: &mut [u8; FRAME]) {
        if self.speaking.count_ones() < 2 {
            return self.copy(self.speaking, law, out);
        }
        self.companding.encode(law, &self.sum, &[0; FRAME], out);
    }

    /// One party alone, or nobody.
    fn copy(&self, speaking: u16, law: Law, out: &mut [u8; FRAME]) {
        match bits(speaking).next() {
            None => out.fill(law.silence()),
            Some(slot) => self.recoded(slot, law, out),
        }
    }

    /// A party's own code words, in another law.
    pub(crate) fn recoded(&self, slot: usize, law: Law, out: &mut [u8; FRAME]) {
        let from = self.laws[slot];
        if from == law {
            return out.copy_from_slice(&self.codes[slot]);
        }
        for (to, &code) in out.iter_mut().zip(&self.codes[slot]) {
            *to = from.recode(law, code);
        }
    }
}

fn bits(mut set: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (slot < ROOM_MAX).then_some(slot)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(law: Law, sum: i32) -> u8 {
        law.encode(sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16)
    }

    /// What the definition says, one sample at a time.
    fn expected(parties: &[(Law, [u8; FRAME])], without: Option<usize>, law: Law) -> [u8; FRAME] {
        std::array::from_fn(|i| {
            let others = parties.iter().enumerate().filter(|(n, _)| Some(*n) != without);
            encode(law, others.map(|(_, (law, codes))| i32::from(law.decode(codes[i]))).sum())
        })
    }

    #[test]
    fn everybody_hears_exactly_the_sum_of_the_others() {
        let noise = |seed: u32, law: Law| {
            let mut x = seed;
            let codes = std::array::from_fn(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            });
            (law, codes)
        };
        for parties in 2..6u32 {
            let law = |n: u32| if n % 3 == 1 { Law::Mu } else { Law::A };
            let all: Vec<_> = (0..parties).map(|n| noise(n + 1, law(n))).collect();
            let mut mixer = Mixer::default();
            mixer.begin();
            for (slot, (law, codes)) in all.iter().enumerate() {
                *mixer.codes(slot) = *codes;
                mixer.add(slot, *law);
            }
            mixer.sum();
            let mut out = [0; FRAME];
            for (slot, &(law, _)) in all.iter().enumerate().filter(|_| parties > 2) {
                mixer.others(slot, law, &mut out);
                assert_eq!(out, expected(&all, Some(slot), law), "party {slot} of {parties}");
            }
            mixer.total(Law::A, &mut out);
            assert_eq!(out, expected(&all, None, Law::A));
        }
    }

    #[test]
    fn one_voice_among_the_silent_passes_as_it_is() {
        let mut mixer = Mixer::default();
        let voice: [u8; FRAME] = std::array::from_fn(|i| i as u8);
        mixer.begin();
        for slot in 0..3 {
            *mixer.codes(slot) = if slot == 1 { voice } else { [Law::A.silence(); FRAME] };
            mixer.add(slot, Law::A);
        }
        mixer.sum();
        let mut out = [0; FRAME];
        let mut hear = |slot| {
            mixer.others(slot, Law::A, &mut out);
            out
        };
        assert_eq!([hear(0), hear(1), hear(2)], [voice, [Law::A.silence(); FRAME], voice]);
    }
}
