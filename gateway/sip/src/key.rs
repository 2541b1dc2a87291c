//! What transactions and dialogs are found by, and what proves that a text is ours: hashes that nobody outside can aim at.
//!
//! Branches, Call-IDs and tags are as long as peers like, and live for half a minute after their call. Two that meet by
//! chance are expected after 2⁶⁴ of them; two that are made to meet need the secret, which follows from the seed.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use siphasher::sip128::{Hasher128 as _, SipHasher13, SipHasher24};

use crate::mint::Seed;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key(u128);

/// Tables by `Key`: its bits need no further hashing.
pub(crate) type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<Plain>>;

#[derive(Default)]
pub(crate) struct Plain(u64);

impl Hasher for Plain {
    /// A key is one number; anything else would be counted as its octets.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |all, byte| all.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    }
    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes keys; two of them made alike agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    secret: [u8; 16],
}

impl Keys {
    pub(crate) fn new(seed: &Seed) -> Keys {
        let mut secret = [0; 16];
        secret.copy_from_slice(&seed[..16]);
        Keys { secret }
    }

    /// Of these parts in this order; where one ends and the next begins matters.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> Key {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        for part in parts {
            hasher.write(part);
            hasher.write_u32(part.len() as u32);
        }
        Key(hasher.finish128().as_u128())
    }
}

/// Proves that a text was written by whoever has the same seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mac {
    secret: [u8; 16],
}

impl Mac {
    pub(crate) fn new(seed: &Seed) -> Mac {
        let mut secret = [0; 16];
        secret.copy_from_slice(&seed[16..]);
        Mac { secret }
    }

    pub(crate) fn of(&self, parts: &[&[u8]]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        for part in parts {
            hasher.write(part);
            hasher.write_u32(part.len() as u32);
        }
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_the_same_parts_only() {
        let keys = Keys::new(&[1; 32]);
        assert_eq!(keys.of(&[b"ab", b"c"]), keys.of(&[b"ab", b"c"]));
        let others = [
            keys.of(&[b"a", b"bc"]),
            keys.of(&[b"abc"]),
            keys.of(&[b"ab", b"c", b""]),
            Keys::new(&[2; 32]).of(&[b"ab", b"c"]),
        ];
        assert!(others.iter().all(|k| *k != keys.of(&[b"ab", b"c"])));
    }
}
