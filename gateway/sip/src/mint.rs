//! Tags, branches and seeds, from ChaCha: whoever has seen a thousand of them knows nothing of the next.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// What the shell draws once from the system's randomness.
pub type Seed = [u8; 32];

/// Letters and digits that stay apart whatever a peer does to their case (RFC 3261 7.3.1).
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 130 bits.
const TOKEN_LEN: usize = 26;

#[derive(Clone, Debug)]
pub struct Mint {
    stream: ChaCha12Rng,
}

impl Mint {
    pub fn new(seed: Seed) -> Mint {
        Mint { stream: ChaCha12Rng::from_seed(seed) }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// A seed for a generator of its own: neither tells anything of the other.
    pub fn seed(&mut self) -> Seed {
        let mut seed = Seed::default();
        self.stream.fill_bytes(&mut seed);
        seed
    }

    /// A token that nobody can guess (RFC 3261 19.3: at least 32 bits; here 128).
    pub fn token(&mut self) -> String {
        let mut out = String::with_capacity(TOKEN_LEN);
        self.write_token(&mut out);
        out
    }

    /// A branch with the magic cookie (RFC 3261 8.1.1.7).
    pub fn branch(&mut self) -> String {
        let mut out = String::with_capacity(7 + TOKEN_LEN);
        out.push_str("z9hG4bK");
        self.write_token(&mut out);
        out
    }

    fn write_token(&mut self, out: &mut String) {
        let mut bytes = [0; 16];
        self.stream.fill_bytes(&mut bytes);
        write_base32(u128::from_le_bytes(bytes), TOKEN_LEN, out);
    }
}

/// The lowest `digits` digits of a number, five bits each.
pub(crate) fn write_base32(mut number: u128, digits: usize, out: &mut String) {
    for _ in 0..digits {
        out.push(char::from(ALPHABET[(number & 31) as usize]));
        number >>= 5;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tokens_differ_though_case_were_lost_and_a_forked_generator_goes_its_own_way() {
        let mut mint = Mint::new([7; 32]);
        let tokens: BTreeSet<String> = (0..1000).map(|_| mint.token().to_ascii_uppercase()).collect();
        assert_eq!(tokens.len(), 1000);
        assert!(tokens.iter().all(|t| t.len() == TOKEN_LEN));
        let mut fork = Mint::new(mint.seed());
        assert!((0..100).all(|_| fork.token() != mint.token()));
    }
}
