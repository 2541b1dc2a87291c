//! G.711 a frame at a time: arithmetic without branches or tables, compiled for several instruction sets and chosen at
//! run time (SSE2, AVX2, AVX-512 on x86-64; whatever else `pulp` knows).
//!
//! The tables of `g711` say the same one sample at a time; a test compares all of them.

use pulp::Arch;

use super::FRAME;
use super::g711::Law;

/// What this processor can do, found out once.
#[derive(Clone, Copy, Debug)]
pub struct Companding {
    arch: Arch,
}

impl Default for Companding {
    fn default() -> Companding {
        Companding { arch: Arch::new() }
    }
}

impl Companding {
    /// Linear samples of one frame.
    pub fn decode(&self, law: Law, codes: &[u8; FRAME], samples: &mut [i16; FRAME]) {
        match law {
            Law::A => self.arch.dispatch(
                #[inline(always)]
                || each(codes, samples, decode_a),
            ),
            Law::Mu => self.arch.dispatch(
                #[inline(always)]
                || each(codes, samples, decode_mu),
            ),
        }
    }

    /// Adds a frame to a sum.
    pub fn add(&self, samples: &[i16; FRAME], sum: &mut [i32; FRAME]) {
        self.arch.dispatch(
            #[inline(always)]
            || {
                for (total, sample) in sum.iter_mut().zip(samples) {
                    *total += i32::from(*sample);
                }
            },
        );
    }

    /// Code words of `sum` less `mine`, cut off at what 16 bits hold.
    pub fn encode(&self, law: Law, sum: &[i32; FRAME], mine: &[i16; FRAME], codes: &mut [u8; FRAME]) {
        match law {
            Law::A => self.arch.dispatch(
                #[inline(always)]
                || each_difference(sum, mine, codes, encode_a),
            ),
            Law::Mu => self.arch.dispatch(
                #[inline(always)]
                || each_difference(sum, mine, codes, encode_mu),
            ),
        }
    }
}

#[inline(always)]
fn each(codes: &[u8; FRAME], samples: &mut [i16; FRAME], decode: impl Fn(i32) -> i32) {
    for (sample, code) in samples.iter_mut().zip(codes) {
        *sample = decode(i32::from(*code)) as i16;
    }
}

#[inline(always)]
fn each_difference(sum: &[i32; FRAME], mine: &[i16; FRAME], codes: &mut [u8; FRAME], encode: impl Fn(i32) -> i32) {
    for ((code, total), mine) in codes.iter_mut().zip(sum).zip(mine) {
        let linear = (*total - i32::from(*mine)).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        *code = encode(linear) as u8;
    }
}

/// The number of the highest bit of a positive number below 2²⁴, as the exponent of a float tells it: integer to float
/// is one vector instruction everywhere, counting zeros is not.
#[inline(always)]
fn highest_bit(value: i32) -> i32 {
    ((value as f32).to_bits() >> 23) as i32 - 127
}

#[inline(always)]
fn encode_a(linear: i32) -> i32 {
    let value = linear >> 3;
    let sign = value >> 31;
    let magnitude = value ^ sign;
    let segment = (highest_bit(magnitude | 1) - 4).max(0);
    let code = segment << 4 | (magnitude >> segment.max(1) & 0x0F);
    code ^ (0xD5 ^ (sign & 0x80))
}

#[inline(always)]
fn encode_mu(linear: i32) -> i32 {
    let value = linear >> 2;
    let sign = value >> 31;
    let biased = ((value ^ sign) - sign + 0x21).min(0x1FFF);
    let segment = highest_bit(biased) - 5;
    let code = segment << 4 | (biased >> (segment + 1) & 0x0F);
    code ^ (0xFF ^ (sign & 0x80))
}

#[inline(always)]
fn decode_a(code: i32) -> i32 {
    let code = code ^ 0x55;
    let segment = code >> 4 & 7;
    let magnitude = ((code & 0x0F) << 4 | 8 | segment.min(1) << 8) << (segment.max(1) - 1);
    let sign = (code >> 7) - 1;
    (magnitude ^ sign) - sign
}

#[inline(always)]
fn decode_mu(code: i32) -> i32 {
    let code = !code & 0xFF;
    let magnitude = (((code & 0x0F) << 3 | 0x84) << (code >> 4 & 7)) - 0x84;
    let sign = -(code >> 7);
    (magnitude ^ sign) - sign
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way that this machine and the compiler's baseline have.
    fn ways() -> [Companding; 2] {
        [Companding::default(), Companding { arch: Arch::Scalar }]
    }

    #[test]
    fn every_code_word_is_decoded_as_the_table_says() {
        for (way, law) in ways().into_iter().flat_map(|w| [Law::A, Law::Mu].map(|l| (w, l))) {
            for first in [0u8, 96] {
                let codes: [u8; FRAME] = std::array::from_fn(|i| first + i as u8);
                let mut samples = [0; FRAME];
                way.decode(law, &codes, &mut samples);
                assert_eq!(samples, codes.map(|c| law.decode(c)), "{law:?}");
            }
        }
    }

    #[test]
    fn every_sample_is_encoded_as_the_table_says_and_cut_off_beyond_16_bits() {
        for (way, law) in ways().into_iter().flat_map(|w| [Law::A, Law::Mu].map(|l| (w, l))) {
            for first in (-40_000i32..40_000).step_by(FRAME) {
                let mine = [(first % 1000) as i16; FRAME];
                let sum: [i32; FRAME] = std::array::from_fn(|i| first + i as i32 + i32::from(mine[i]));
                let mut codes = [0; FRAME];
                way.encode(law, &sum, &mine, &mut codes);
                let linear = |i: usize| (first + i as i32).clamp(-32_768, 32_767) as i16;
                assert_eq!(codes, std::array::from_fn(|i| law.encode(linear(i))), "{law:?} from {first}");
            }
        }
    }
}
