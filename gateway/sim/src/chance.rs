//! All chance of a world comes from here, and here from its seed.

use sip::Mint;
use std::time::Duration;

pub struct Chance(Mint);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(Mint::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x1234_5678))
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
    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}
