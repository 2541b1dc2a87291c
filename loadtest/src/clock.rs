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

/// User and system time of a process so far, all its threads together.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    // A tick is a hundredth of a second on every Linux of today.
    Some(ticks / 100.0)
}
