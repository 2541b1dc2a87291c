//! All chance of a world comes from here, and here from its seed.

use std::time::Duration;

use sip::{Mint, Seed};

pub struct Chance(Mint);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        let mut bytes = Seed::default();
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Chance(Mint::new(bytes))
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n.max(1)
    }
    pub fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
    pub fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }
    pub fn seed(&mut self) -> Seed {
        self.0.seed()
    }
}
