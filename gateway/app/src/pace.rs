//! How fast one app may speak.

use std::time::Duration;

use codecs::time::Mono;

/// Frames that may come at once.
const BURST: u32 = 50;
/// After which there is room for one more: 20 a second.
const EACH: Duration = Duration::from_millis(50);
/// Frames beyond what may come, after which whoever sends them is let go.
const PATIENCE: u32 = 200;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    Kept,
    Exceeded,
    /// They do not hear it.
    Deaf,
}

/// A bucket that empties with time.
pub(crate) struct Bucket {
    full: u32,
    since: Mono,
    beyond: u32,
}

impl Bucket {
    pub(crate) fn new(now: Mono) -> Bucket {
        Bucket { full: 0, since: now, beyond: 0 }
    }

    pub(crate) fn take(&mut self, now: Mono) -> Pace {
        let left = now.since(self.since).as_millis() / EACH.as_millis();
        if left > 0 {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            self.full = self.full.saturating_sub(left);
            self.since = if self.full == 0 { now } else { self.since + EACH * left };
        }
        if self.full < BURST {
            self.full += 1;
            self.beyond = 0;
            return Pace::Kept;
        }
        self.beyond += 1;
        if self.beyond > PATIENCE { Pace::Deaf } else { Pace::Exceeded }
    }
}
