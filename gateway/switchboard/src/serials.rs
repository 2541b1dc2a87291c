//! Serials of alert numbers: reserved on disk in blocks before they are used, minted by whoever was granted them.
//!
//! Of the eight digits the lower nine tenths are reserved; from the rest holders (each shard, the casebook) go on when the
//! disk is gone, each with numbers that leave a rest of its own when they are divided by how many holders there are: no
//! two ever mint the same. They begin where the day stands, so that a start anew in the same day, which knows of none of
//! them, goes on behind those of the one before: 115 a second of all holders together would catch up with it.

use std::collections::VecDeque;

use codecs::time::Wall;

use crate::message::SerialBlock;

/// Below this many more are asked for.
const LOW: u32 = 5000;
/// Reserved serials are below this, unreserved ones are not.
pub const RESERVED: u32 = 90_000_000;
const UNRESERVED: u32 = 10_000_000;

/// Who mints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    Shard(u16),
    Casebook,
}

impl Holder {
    /// Its place among those of so many shards and the casebook.
    fn place(self, shards: u16) -> (u32, u32) {
        let all = u32::from(shards) + 1;
        match self {
            Holder::Shard(shard) => (u32::from(shard) % all, all),
            Holder::Casebook => (u32::from(shards), all),
        }
    }
}

pub(crate) struct Serials {
    /// Its place among all holders, and how many they are.
    place: (u32, u32),
    blocks: VecDeque<SerialBlock>,
    /// The next unreserved one, once there was one.
    unreserved: Option<u32>,
    wanted: bool,
}

impl Serials {
    pub fn new(holder: Holder, shards: u16, first: SerialBlock) -> Serials {
        let blocks = Some(first).filter(|b| b.from < b.until).into_iter().collect();
        Serials { place: holder.place(shards), blocks, unreserved: None, wanted: false }
    }

    pub fn grant(&mut self, block: SerialBlock) {
        self.wanted = false;
        self.blocks.extend(Some(block).filter(|b| b.from < b.until));
    }

    /// The next serial, and whether it was reserved: with the disk gone numbers go on from memory.
    pub fn next(&mut self, at: Wall) -> (u32, bool) {
        let Some(block) = self.blocks.front_mut() else {
            let (place, all) = self.place;
            let own = UNRESERVED / all;
            // Never behind the clock: whoever starts anew later today begins there.
            let next = self.unreserved.unwrap_or(0).max(entered(at, own));
            self.unreserved = Some((next + 1) % own);
            return (RESERVED + next * all + place, false);
        };
        let serial = block.from;
        block.from += 1;
        if block.from >= block.until {
            self.blocks.pop_front();
        }
        (serial % RESERVED, true)
    }

    /// Whether more are to be asked for: once, until they come.
    pub fn wants_more(&mut self) -> bool {
        let left: u32 = self.blocks.iter().map(|b| b.until - b.from).sum();
        left < LOW && !std::mem::replace(&mut self.wanted, true)
    }
}

/// As far into so many as the Beijing day is old.
fn entered(at: Wall, own: u32) -> u32 {
    (second_of_day(at) * u64::from(own) / 86_400) as u32
}

fn second_of_day(at: Wall) -> u64 {
    let c = at.civil(8 * 3600);
    (u64::from(c.hour) * 60 + u64::from(c.minute)) * 60 + u64::from(c.second)
}

/// Where an installation begins that knows of no serial: as far in as the day is old, so that numbers which were given
/// earlier that day, and of which a lost journal tells nothing, are not given again. 1,041 a second would catch up.
pub(crate) fn first_of_day(at: Wall) -> u32 {
    1 + (second_of_day(at) * u64::from(RESERVED) / 86_400) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight in Beijing, 2026-11-22.
    const MIDNIGHT: Wall = Wall(1_795_276_800_000_000_000);

    #[test]
    fn no_serial_is_given_twice_whether_reserved_or_not() {
        let mut serials = Serials::new(Holder::Shard(0), 1, SerialBlock { from: 1, until: 3 });
        assert!(serials.wants_more() && !serials.wants_more());
        let mut three = || [(); 3].map(|()| serials.next(MIDNIGHT));
        assert_eq!(three(), [(1, true), (2, true), (RESERVED, false)]);
        serials.grant(SerialBlock { from: 3, until: 5 });
        let mut three = || [(); 3].map(|()| serials.next(MIDNIGHT));
        assert_eq!(three(), [(3, true), (4, true), (RESERVED + 2, false)]);
    }

    #[test]
    fn whoever_knows_of_no_serial_begins_behind_those_of_an_earlier_start_that_day() {
        let at = |second: i64| first_of_day(Wall(MIDNIGHT.0 + second * 1_000_000_000));
        assert_eq!(at(0), 1);
        assert!((1..86_400).all(|s| at(s) > at(s - 1) + 1_000));
        assert!(at(86_399) < RESERVED - 1_000);
    }

    #[test]
    fn without_a_disk_no_two_mint_the_same_nor_does_a_start_later_that_day() {
        let empty = SerialBlock { from: 7, until: 7 };
        let at = |second: i64| Wall(MIDNIGHT.0 + second * 1_000_000_000);
        let mut all = std::collections::BTreeSet::new();
        let mut count = 0;
        // A hundred calls a second for ten minutes, spread over two shards, and whatever is written; then a start anew.
        for start in [0, 601, 40_000, 85_700] {
            let mut holders = [Holder::Shard(0), Holder::Shard(1), Holder::Casebook].map(|h| Serials::new(h, 2, empty));
            for second in 0..600 {
                for n in 0..100 {
                    let (serial, reserved) = holders[n % 3].next(at(start + second));
                    assert!(!reserved && (RESERVED..100_000_000).contains(&serial));
                    all.insert(serial);
                    count += 1;
                }
            }
        }
        assert_eq!(all.len(), count);
    }
}
