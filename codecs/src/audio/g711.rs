//! G.711 A-law and µ-law by table (ITU-T G.711), and the byte-to-byte conversion between them.
//!
//! Encoding looks up 13 (A) or 14 (µ) bit values: 8 and 16 KiB tables, branch-free, built at compile time.

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Law {
    A,
    Mu,
}

impl Law {
    /// The code word of silence.
    pub const fn silence(self) -> u8 {
        match self {
            Law::A => 0xD5,
            Law::Mu => 0xFF,
        }
    }
    pub fn decode(self, code: u8) -> i16 {
        self.decode_table()[code as usize]
    }
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Law::A => A_ENCODE[(sample as u16 >> 3) as usize],
            Law::Mu => MU_ENCODE[(sample as u16 >> 2) as usize],
        }
    }
    fn decode_table(self) -> &'static [i16; 256] {
        match self {
            Law::A => &A_DECODE,
            Law::Mu => &MU_DECODE,
        }
    }
    /// Re-codes one code word of `self` in `other`.
    pub fn recode(self, other: Law, code: u8) -> u8 {
        match (self, other) {
            (Law::A, Law::A) | (Law::Mu, Law::Mu) => code,
            (Law::A, Law::Mu) => A_TO_MU[code as usize],
            (Law::Mu, Law::A) => MU_TO_A[code as usize],
        }
    }
}

/// Position of the segment that holds `value`: the first of eight doubling ends not below it.
const fn segment(value: i32, first_end: i32) -> i32 {
    let mut seg = 0;
    let mut end = first_end;
    while seg < 8 && value > end {
        end = end * 2 + 1;
        seg += 1;
    }
    seg
}

const fn a_encode(value13: i32) -> u8 {
    let (mask, magnitude) = if value13 >= 0 { (0xD5, value13) } else { (0x55, -value13 - 1) };
    let seg = segment(magnitude, 0x1F);
    let shift = if seg < 2 { 1 } else { seg };
    let code = if seg >= 8 { 0x7F } else { (seg << 4) | ((magnitude >> shift) & 0x0F) };
    (code ^ mask) as u8
}

const fn a_decode(code: u8) -> i16 {
    let c = (code ^ 0x55) as i32;
    let seg = (c & 0x70) >> 4;
    let base = ((c & 0x0F) << 4) + if seg == 0 { 8 } else { 0x108 };
    let magnitude = if seg > 1 { base << (seg - 1) } else { base };
    (if c & 0x80 != 0 { magnitude } else { -magnitude }) as i16
}

const fn mu_encode(value14: i32) -> u8 {
    let (mask, magnitude) = if value14 < 0 { (0x7F, -value14) } else { (0xFF, value14) };
    let clipped = if magnitude > 8159 { 8159 } else { magnitude };
    let biased = clipped + 0x21;
    let seg = segment(biased, 0x3F);
    let code = if seg >= 8 { 0x7F } else { (seg << 4) | ((biased >> (seg + 1)) & 0x0F) };
    (code ^ mask) as u8
}

const fn mu_decode(code: u8) -> i16 {
    let c = !code as i32;
    let magnitude = (((c & 0x0F) << 3) + 0x84) << ((c & 0x70) >> 4);
    (if c & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }) as i16
}

static A_DECODE: [i16; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = a_decode(i as u8);
        i += 1;
    }
    t
};
static MU_DECODE: [i16; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = mu_decode(i as u8);
        i += 1;
    }
    t
};
static A_ENCODE: [u8; 8192] = {
    let mut t = [0; 8192];
    let mut i = 0;
    while i < 8192 {
        t[i] = a_encode(if i < 4096 { i as i32 } else { i as i32 - 8192 });
        i += 1;
    }
    t
};
static MU_ENCODE: [u8; 16384] = {
    let mut t = [0; 16384];
    let mut i = 0;
    while i < 16384 {
        t[i] = mu_encode(if i < 8192 { i as i32 } else { i as i32 - 16384 });
        i += 1;
    }
    t
};
static A_TO_MU: [u8; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = mu_encode((a_decode(i as u8) >> 2) as i32);
        i += 1;
    }
    t
};
static MU_TO_A: [u8; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = a_encode((mu_decode(i as u8) >> 3) as i32);
        i += 1;
    }
    t
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_word_survives_decode_and_encode() {
        for code in 0..=255u8 {
            assert_eq!(Law::A.encode(Law::A.decode(code)), code, "A-law {code:#x}");
            // µ-law has two zeros; 0x7F (minus zero) comes back as 0xFF.
            let back = Law::Mu.encode(Law::Mu.decode(code));
            assert!(back == code || (code == 0x7F && back == 0xFF), "µ-law {code:#x} became {back:#x}");
        }
    }

    #[test]
    fn the_quantising_error_stays_within_half_a_step_for_every_sample() {
        for law in [Law::A, Law::Mu] {
            for sample in i16::MIN..=i16::MAX {
                let back = i32::from(law.decode(law.encode(sample)));
                let error = (i32::from(sample) - back).abs();
                let allowed = (i32::from(sample).abs() / 16).max(16)
                    + if law == Law::Mu { 644 * i32::from(sample.unsigned_abs() > 32_000) } else { 0 };
                assert!(error <= allowed, "{law:?} {sample} came back as {back}");
            }
        }
    }

    #[test]
    fn the_values_of_the_recommendation_hold() {
        assert_eq!((Law::A.decode(0xD5), Law::A.decode(0x55), Law::A.decode(0xAA)), (8, -8, 32256));
        assert_eq!((Law::Mu.decode(0xFF), Law::Mu.decode(0x80), Law::Mu.decode(0x00)), (0, 32124, -32124));
        assert_eq!(Law::A.encode(0), Law::A.silence());
        assert_eq!(Law::Mu.encode(0), Law::Mu.silence());
    }
}
