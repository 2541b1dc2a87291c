//! Call-IDs of ours name the node and the shard that they belong to, and prove that they are ours: nobody outside can
//! choose the shard that a call of theirs goes to.

use crate::key::Mac;
use crate::mint::{Mint, Seed, write_base32};

/// Random digits, 80 bits, and digits of proof, 60 bits.
const RANDOM: usize = 16;
const PROOF: usize = 12;

/// Makes and recognises Call-IDs; those of a process agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct CallIds {
    mac: Mac,
    node: u8,
}

impl CallIds {
    pub fn new(seed: &Seed, node: u8) -> CallIds {
        CallIds { mac: Mac::new(seed), node }
    }

    /// `<random><proof>-n<node>s<shard>@<host>`.
    pub fn mint(&self, mint: &mut Mint, shard: u16, host: &str) -> String {
        let mut id = mint.token();
        id.truncate(RANDOM);
        let proof = self.proof(id.as_bytes(), shard);
        id.push_str(&proof);
        id.push_str(&format!("-n{}s{shard}@{host}", self.node));
        id
    }

    /// The shard that a Call-ID of ours belongs to; `None` when it was not made by this process.
    pub fn shard_of(&self, call_id: &[u8]) -> Option<u16> {
        let (random, rest) = call_id.split_at_checked(RANDOM)?;
        let (proof, rest) = rest.split_at_checked(PROOF)?;
        let rest = rest.strip_prefix(b"-n")?;
        let rest = &rest[rest.iter().position(|b| *b == b's')? + 1..];
        let end = rest.iter().position(|b| *b == b'@')?;
        let shard = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        (self.proof(random, shard).as_bytes() == proof).then_some(shard)
    }

    fn proof(&self, random: &[u8], shard: u16) -> String {
        let mut out = String::with_capacity(PROOF);
        write_base32(self.mac.of(&[random, &[self.node], &shard.to_be_bytes()]), PROOF, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_of_ours_names_its_shard_and_nobody_else_can_make_one() {
        let ids = CallIds::new(&[3; 32], 1);
        let mut mint = Mint::new([4; 32]);
        let id = ids.mint(&mut mint, 5, "110.example");
        assert!(id.ends_with("-n1s5@110.example"), "{id}");
        assert_eq!(ids.shard_of(id.as_bytes()), Some(5));
        let moved = id.replace("-n1s5@", "-n1s6@");
        assert_eq!(ids.shard_of(moved.as_bytes()), None, "another shard's number does not fit the proof");
        assert_eq!(CallIds::new(&[5; 32], 1).shard_of(id.as_bytes()), None, "another process");
        assert_eq!(ids.shard_of(b"-n1s5@"), None);
        assert_eq!(ids.shard_of(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa-n1s"), None);
    }
}
