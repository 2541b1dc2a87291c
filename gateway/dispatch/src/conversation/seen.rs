//! What has been received before: the same message sent twice is one report, and whoever asks again gets the number that
//! it has.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use codecs::record::AlertNo;
use codecs::time::Mono;

/// The most names remembered of one channel; at a city's 10^5 reports a day that is days. One channel's flood does not
/// make another's names be forgotten.
const SEEN_MAX: usize = 300_000;
/// The most names made of their content that are remembered; the oldest give way.
const LATELY_MAX: usize = 100_000;

/// Names of messages, for as long as their channel may send them again.
pub struct Seen {
    keep: Duration,
    names: HashMap<u128, Option<AlertNo>>,
    /// By channel, oldest first.
    order: HashMap<String, VecDeque<(Mono, u128)>>,
}

/// What is known of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    New,
    /// It came before, and went to this alert, if to any.
    Before(Option<AlertNo>),
}

impl Seen {
    pub fn new(keep: Duration) -> Seen {
        Seen { keep, names: HashMap::new(), order: HashMap::new() }
    }

    /// 128 bits of a hash of channel, sender and name: what two of them name alike is not the same.
    pub fn name(channel: &str, user: &str, message_id: &str) -> u128 {
        let parts = [channel, user, message_id].map(str::as_bytes);
        codecs::record::fingerprint_of(&parts)
    }

    /// New the first time within the time that names are kept.
    pub fn note(&mut self, at: Mono, channel: &str, name: u128) -> Known {
        if !self.order.contains_key(channel) {
            self.order.insert(channel.to_owned(), VecDeque::new());
        }
        let Some(order) = self.order.get_mut(channel) else { return Known::New };
        while let Some((first, old)) = order.front()
            && (*first + self.keep <= at || order.len() >= SEEN_MAX)
        {
            self.names.remove(old);
            order.pop_front();
        }
        if let Some(no) = self.names.get(&name) {
            return Known::Before(*no);
        }
        self.names.insert(name, None);
        order.push_back((at, name));
        Known::New
    }

    /// The message went to this alert.
    pub fn belongs(&mut self, name: u128, no: AlertNo) {
        if let Some(known) = self.names.get_mut(&name) {
            *known = Some(no);
        }
    }

    /// The alert that it went to, if it came and went to any.
    pub fn alert_of(&self, name: u128) -> Option<AlertNo> {
        self.names.get(&name).copied().flatten()
    }

    /// A message that was not taken after all may come again.
    pub fn forget(&mut self, name: u128) {
        self.names.remove(&name);
    }

    /// By channel, oldest first, with the alert that each belongs to: for a snapshot.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u128, Option<AlertNo>)> {
        let mut channels: Vec<_> = self.order.iter().collect();
        channels.sort_by_key(|(channel, _)| channel.as_str());
        channels.into_iter().flat_map(|(channel, order)| {
            order.iter().filter_map(|(_, name)| Some((channel.as_str(), *name, *self.names.get(name)?)))
        })
    }
}

/// A delivery that waits for its acknowledgement is not repeated by its carrier sooner than this.
const REPEATED_AFTER: Duration = Duration::from_secs(5);

/// Names made of what the messages say, where their channel gives them none: the same words may be a repeated delivery
/// or said again. A delivery is repeated when it was not acknowledged for some seconds, or when the connection that it
/// came by was lost and the acknowledgement may have been; whatever else comes again on a connection was said again.
pub struct Lately {
    keep: Duration,
    names: HashMap<u128, Delivered>,
    order: VecDeque<(Mono, u128)>,
}

#[derive(Clone, Copy)]
struct Delivered {
    at: Mono,
    session: u64,
    /// The frame of the journal whose durability acknowledges it.
    frame: u64,
    no: Option<AlertNo>,
}

impl Lately {
    pub fn new(keep: Duration) -> Lately {
        Lately { keep, names: HashMap::new(), order: VecDeque::new() }
    }

    /// A message that came by `session`; what is durable up to frame `durable` has been acknowledged.
    pub fn note(&mut self, at: Mono, name: u128, session: u64, durable: u64) -> Known {
        while let Some((first, old)) = self.order.front()
            && (*first + self.keep <= at || self.order.len() >= LATELY_MAX)
        {
            if self.names.get(old).is_some_and(|known| known.at == *first) {
                self.names.remove(old);
            }
            self.order.pop_front();
        }
        if let Some(known) = self.names.get_mut(&name) {
            let same = std::mem::replace(&mut known.session, session) == session;
            let waits = known.frame > durable && at.since(known.at) >= REPEATED_AFTER;
            if waits || !same {
                return Known::Before(known.no);
            }
        }
        self.names.insert(name, Delivered { at, session, frame: u64::MAX, no: None });
        self.order.push_back((at, name));
        Known::New
    }

    /// It went to this alert, and is acknowledged with this frame.
    pub fn belongs(&mut self, name: u128, no: Option<AlertNo>, frame: u64) {
        if let Some(known) = self.names.get_mut(&name) {
            (known.no, known.frame) = (no, frame);
        }
    }

    /// From before a restart: by a session that is over, acknowledged or not.
    pub fn restore(&mut self, at: Mono, name: u128, no: AlertNo) {
        self.names.insert(name, Delivered { at, session: 0, frame: 0, no: Some(no) });
        self.order.push_back((at, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(n: u32) -> AlertNo {
        AlertNo::mint("370400000000", 20_261_128, 1, n)
    }

    #[test]
    fn a_name_counts_once_until_its_time_is_over_and_keeps_its_number() {
        let mut seen = Seen::new(Duration::from_nanos(10));
        let name = Seen::name("cmcc", "u", "1");
        assert_eq!(seen.note(Mono(0), "cmcc", name), Known::New);
        seen.belongs(name, no(7));
        assert_eq!(seen.note(Mono(9), "cmcc", name), Known::Before(Some(no(7))));
        assert_eq!(seen.iter().collect::<Vec<_>>(), [("cmcc", name, Some(no(7)))]);
        assert_eq!(seen.note(Mono(10), "cmcc", name), Known::New);
        assert_ne!(name, Seen::name("cm", "ccu", "1"), "channel and sender do not run together");
        assert_ne!(name, Seen::name("cmcc", "v", "1"), "another's first is not this one's");
    }

    #[test]
    fn one_channels_flood_does_not_make_anothers_names_be_forgotten() {
        let mut seen = Seen::new(Duration::from_secs(86_400));
        seen.note(Mono(0), "cmcc", 1);
        for n in 0..SEEN_MAX as u128 + 10 {
            seen.note(Mono(1), "flood", 1000 + n);
        }
        assert_eq!(seen.note(Mono(2), "cmcc", 1), Known::Before(None));
        assert_eq!(seen.note(Mono(2), "flood", 1000), Known::New, "its own were");
    }

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn words_said_again_are_told_from_a_delivery_that_is_repeated() {
        let mut lately = Lately::new(Duration::from_secs(600));
        assert_eq!(lately.note(at(0), 1, 11, 0), Known::New);
        lately.belongs(1, Some(no(1)), 5);
        assert_eq!(lately.note(at(1), 1, 11, 4), Known::New, "no carrier is that impatient");
        lately.belongs(1, Some(no(1)), 5);
        assert_eq!(lately.note(at(7), 1, 11, 4), Known::Before(Some(no(1))), "still not acknowledged: repeated");
        assert_eq!(lately.note(at(8), 1, 11, 5), Known::New, "acknowledged, and said again");
        lately.belongs(1, Some(no(1)), 6);
        assert_eq!(lately.note(at(9), 1, 12, 9), Known::Before(Some(no(1))), "the acknowledgement may have been lost");
        assert_eq!(lately.note(at(10), 1, 12, 9), Known::New, "and after it, on the new connection, said again");
        lately.belongs(1, Some(no(1)), 7);
        assert_eq!(lately.note(at(700), 1, 13, 9), Known::New, "ten minutes are enough for any carrier");
    }

    #[test]
    fn a_delivery_from_before_a_restart_is_known_once() {
        let mut lately = Lately::new(Duration::from_secs(600));
        lately.restore(at(0), 1, no(1));
        assert_eq!(lately.note(at(1), 1, 11, 0), Known::Before(Some(no(1))));
        assert_eq!(lately.note(at(2), 1, 11, 0), Known::New);
    }
}
