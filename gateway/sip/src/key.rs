//! What transactions and dialogs are found by: 128 bits of a hash that nobody outside can aim at.
//!
//! Branches, Call-IDs and tags are as long as peers like, and live for half a minute after their call. Two that meet by
//! chance are expected after 2⁶⁴ of them; two that are made to meet need the secret, which follows from the seed.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

use crate::mint::Mint;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key(u128);

/// Tables by `Key`: its bits need no further hashing.
pub(crate) type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<Plain>>;

#[derive(Default)]
pub(crate) struct Plain(u64);

impl Hasher for Plain {
    fn write(&mut self, bytes: &[u8]) {
        unreachable!("a key is one number, not {} bytes", bytes.len());
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
    secrets: [u64; 2],
}

impl Keys {
    pub fn new(seed: u64) -> Keys {
        let mut mint = Mint::new(seed ^ 0x006B_6579);
        Keys { secrets: [mint.next_u64(), mint.next_u64()] }
    }

    /// Of these parts in this order; where one ends and the next begins matters.
    pub fn of(&self, parts: &[&[u8]]) -> Key {
        let half = |secret: u64| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(secret);
            for part in parts {
                hasher.write(part);
                hasher.write_u32(part.len() as u32);
            }
            u128::from(hasher.finish())
        };
        Key(half(self.secrets[0]) << 64 | half(self.secrets[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_the_same_parts_only() {
        let keys = Keys::new(1);
        assert_eq!(keys.of(&[b"ab", b"c"]), keys.of(&[b"ab", b"c"]));
        let others = [
            keys.of(&[b"a", b"bc"]),
            keys.of(&[b"abc"]),
            keys.of(&[b"ab", b"c", b""]),
            Keys::new(2).of(&[b"ab", b"c"]),
        ];
        assert!(others.iter().all(|k| *k != keys.of(&[b"ab", b"c"])));
    }
}
