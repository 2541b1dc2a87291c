//! The one place that reads the clocks; everything below is given `now`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use codecs::time::{Mono, Wall};

/// Turns the machine's clocks into those of the cores. Copies agree with each other.
#[derive(Clone, Copy)]
pub struct Clock {
    start: Instant,
}

#[expect(clippy::disallowed_methods, reason = "this module is where the clocks are read")]
impl Clock {
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Never zero: a day ahead of the start, so that subtractions stay above it.
    pub fn mono(&self) -> Mono {
        Mono(86_400_000_000_000 + self.start.elapsed().as_nanos() as u64)
    }

    pub fn wall(&self) -> Wall {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Wall(since.as_nanos() as i64)
    }
}

/// Bytes nobody can guess, from the kernel.
///
/// # Panics
/// When the kernel has no random numbers: nothing that authenticates may start then.
pub fn random<const N: usize>() -> [u8; N] {
    let (mut bytes, mut got) = ([0; N], 0);
    // No file: there may be no descriptor left for one.
    while got < N {
        match rustix::rand::getrandom(&mut bytes[got..], rustix::rand::GetRandomFlags::empty()) {
            Ok(more) => got += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the kernel has no random numbers: {error}"),
        }
    }
    bytes
}
