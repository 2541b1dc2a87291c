//! Serials of alert numbers: reserved on disk in blocks before they are used, minted by whoever was granted them.
//!
//! Of the eight digits the lower nine tenths are reserved; the rest is cut into one slice a holder (each shard, the
//! casebook), from which they go on when the disk is gone: no two ever mint the same. A slice is entered where the day
//! stands, so that a start anew in the same day, which knows of none of them, goes on behind those of the one before.

use std::collections::VecDeque;

use codecs::time::Wall;

use crate::message::SerialBlock;
use crate::route::SHARDS_MAX;

/// Below this many more are asked for.
const LOW: u32 = 5000;
/// Reserved serials are below this, unreserved ones are not.
pub const RESERVED: u32 = 90_000_000;
const SLICE: u32 = 10_000_000 / (SHARDS_MAX as u32 + 1);

/// Who mints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    Shard(u16),
    Casebook,
}

pub(crate) struct Serials {
    holder: Holder,
    blocks: VecDeque<SerialBlock>,
    /// The next of the slice, once it has been entered.
    unreserved: Option<u32>,
    wanted: bool,
}

impl Serials {
    pub fn new(holder: Holder, first: SerialBlock) -> Serials {
        let blocks = Some(first).filter(|b| b.from < b.until).into_iter().collect();
        Serials { holder, blocks, unreserved: None, wanted: false }
    }

    pub fn grant(&mut self, block: SerialBlock) {
        self.wanted = false;
        self.blocks.extend(Some(block).filter(|b| b.from < b.until));
    }

    /// The next serial, and whether it was reserved: with the disk gone numbers go on from memory.
    pub fn next(&mut self, at: Wall) -> (u32, bool) {
        let Some(block) = self.blocks.front_mut() else {
            let slice = match self.holder {
                Holder::Shard(shard) => u32::from(shard),
                Holder::Casebook => u32::from(SHARDS_MAX),
            };
            let next = self.unreserved.unwrap_or_else(|| entered(at));
            self.unreserved = Some((next + 1) % SLICE);
            return (RESERVED + slice * SLICE + next, false);
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

/// As far into a slice as the Beijing day is old.
fn entered(at: Wall) -> u32 {
    (second_of_day(at) * u64::from(SLICE) / 86_400) as u32
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
        let mut serials = Serials::new(Holder::Shard(0), SerialBlock { from: 1, until: 3 });
        assert!(serials.wants_more() && !serials.wants_more());
        let mut three = || [(); 3].map(|()| serials.next(MIDNIGHT));
        assert_eq!(three(), [(1, true), (2, true), (RESERVED, false)]);
        serials.grant(SerialBlock { from: 3, until: 5 });
        let mut three = || [(); 3].map(|()| serials.next(MIDNIGHT));
        assert_eq!(three(), [(3, true), (4, true), (RESERVED + 1, false)]);
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
        let first = |holder, second| Serials::new(holder, empty).next(at(second)).0;
        let holders = || (0..SHARDS_MAX).map(Holder::Shard).chain([Holder::Casebook]);
        let all: Vec<u32> = [0, 40_000, 86_399].iter().flat_map(|s| holders().map(|h| first(h, *s))).collect();
        let different: std::collections::BTreeSet<u32> = all.iter().copied().collect();
        assert_eq!(different.len(), all.len());
        assert!(all.iter().all(|serial| (RESERVED..100_000_000).contains(serial)));
    }
}
