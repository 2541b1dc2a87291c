//! This tool's clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the tool began.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

#[expect(clippy::disallowed_methods, reason = "the one place of this tool that reads the clock")]
impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }
    pub fn now(self) -> Duration {
        self.0.elapsed()
    }
    /// What this run's names differ by from those of every other.
    pub fn salt(self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
    }
    /// Seconds since 1970, for what has to be signed with the time.
    pub fn wall_s(self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
    }
}
