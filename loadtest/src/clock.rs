//! This tool's clock.

use std::time::{Duration, Instant};

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
}
