//! Tags, branches and Call-IDs: unique by count, unguessable by seed.

/// The shard that a Call-ID of ours names; `None` when it was not made by `Mint::call_id`.
pub fn shard_of_minted(call_id: &[u8]) -> Option<u16> {
    let (token, rest) = call_id.split_at_checked(16)?;
    let rest = rest.strip_prefix(b"-s").filter(|_| token.iter().all(u8::is_ascii_hexdigit))?;
    let end = rest.iter().position(|b| *b == b'@')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// SplitMix64 over a seed that the shell draws once.
#[derive(Clone, Debug)]
pub struct Mint {
    state: u64,
}

impl Mint {
    pub fn new(seed: u64) -> Mint {
        Mint { state: seed }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Sixteen hexadecimal digits.
    pub fn token(&mut self) -> String {
        format!("{:016x}", self.next_u64())
    }

    /// A branch with the magic cookie (RFC 3261 8.1.1.7).
    pub fn branch(&mut self) -> String {
        format!("z9hG4bK{:016x}", self.next_u64())
    }

    /// A Call-ID that names the shard it belongs to.
    pub fn call_id(&mut self, shard: u16, host: &str) -> String {
        format!("{:016x}-s{shard}@{host}", self.next_u64())
    }
}
