//! Timer values (RFC 3261 17, table 4) and the queue of who wakes when.

use std::collections::BTreeSet;
use std::time::Duration;

use codecs::time::Mono;

pub const T1: Duration = Duration::from_millis(500);
pub const T2: Duration = Duration::from_secs(4);
pub const T4: Duration = Duration::from_secs(5);
/// 64·T1: timers B, D, F, H, J, L, M.
pub const T1_64: Duration = Duration::from_secs(32);

/// Deadlines in order. Each holder keeps the one deadline it armed, so re-arming is exact.
#[derive(Debug)]
pub struct TimerQueue<K: Ord + Copy> {
    queue: BTreeSet<(Mono, K)>,
}

impl<K: Ord + Copy> Default for TimerQueue<K> {
    fn default() -> Self {
        TimerQueue { queue: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> TimerQueue<K> {
    /// Moves `key` from the deadline it had to the one it wants.
    pub fn rearm(&mut self, key: K, armed: &mut Option<Mono>, wanted: Option<Mono>) {
        if *armed == wanted {
            return;
        }
        if let Some(old) = armed.take() {
            self.queue.remove(&(old, key));
        }
        if let Some(new) = wanted {
            self.queue.insert((new, key));
        }
        *armed = wanted;
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        self.queue.first().map(|&(at, _)| at)
    }

    /// Takes one key whose deadline has come.
    pub fn pop_due(&mut self, now: Mono) -> Option<K> {
        let &(at, key) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        Some(key)
    }

    /// Timers armed.
    pub fn armed(&self) -> usize {
        self.queue.len()
    }
}
