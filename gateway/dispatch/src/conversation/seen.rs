//! What has been received before: the same message sent twice is one report.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use codecs::time::Wall;

/// The most names remembered; at a city's 10^5 reports a day that is days.
const SEEN_MAX: usize = 500_000;

/// Names of messages, for as long as their channel may send them again.
pub struct Seen {
    keep: Duration,
    names: HashSet<u128>,
    order: VecDeque<(Wall, u128)>,
}

impl Seen {
    pub fn new(keep: Duration) -> Seen {
        Seen { keep, names: HashSet::new(), order: VecDeque::new() }
    }

    /// 128 bits of a hash of channel and name.
    pub fn name(channel: &str, message_id: &str) -> u128 {
        let text = codecs::record::fingerprint(&[channel.as_bytes(), message_id.as_bytes()]);
        u128::from_str_radix(&text, 16).expect("a fingerprint is hexadecimal")
    }

    /// `true` the first time within the time that names are kept.
    pub fn note(&mut self, at: Wall, name: u128) -> bool {
        while let Some((first, old)) = self.order.front()
            && (*first + self.keep <= at || self.order.len() >= SEEN_MAX)
        {
            self.names.remove(old);
            self.order.pop_front();
        }
        let fresh = self.names.insert(name);
        if fresh {
            self.order.push_back((at, name));
        }
        fresh
    }

    /// A message that was not taken after all may come again.
    pub fn forget(&mut self, name: u128) {
        if self.names.remove(&name) {
            self.order.retain(|(_, n)| *n != name);
        }
    }

    /// Oldest first, with their times: for a snapshot.
    pub fn iter(&self) -> impl Iterator<Item = (Wall, u128)> {
        self.order.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_once_until_its_time_is_over() {
        let mut seen = Seen::new(Duration::from_nanos(10));
        let name = Seen::name("cmcc", "1");
        assert!(seen.note(Wall(0), name));
        assert!(!seen.note(Wall(9), name));
        assert!(seen.note(Wall(10), name));
        assert_ne!(name, Seen::name("cm", "cc1"), "channel and name do not run together");
    }
}
