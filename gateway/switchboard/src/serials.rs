//! Serials of alert numbers: reserved on disk in blocks before they are used, minted by whoever was granted them.
//!
//! Of the eight digits the lower nine tenths are reserved; the rest is cut into one slice a holder (each shard, the
//! casebook), from which they go on when the disk is gone: no two ever mint the same.

use std::collections::VecDeque;

use crate::message::SerialBlock;
use crate::route::SHARDS_MAX;

/// Below this many more are asked for.
const LOW: u32 = 5000;
/// Reserved serials are below this, unreserved ones are not.
const RESERVED: u32 = 90_000_000;
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
    /// Minted from the slice so far.
    unreserved: u32,
    wanted: bool,
}

impl Serials {
    pub fn new(holder: Holder, first: SerialBlock) -> Serials {
        let blocks = Some(first).filter(|b| b.from < b.until).into_iter().collect();
        Serials { holder, blocks, unreserved: 0, wanted: false }
    }

    pub fn grant(&mut self, block: SerialBlock) {
        self.wanted = false;
        self.blocks.extend(Some(block).filter(|b| b.from < b.until));
    }

    /// The next serial, and whether it was reserved: with the disk gone numbers go on from memory.
    pub fn next(&mut self) -> (u32, bool) {
        let Some(block) = self.blocks.front_mut() else {
            let slice = match self.holder {
                Holder::Shard(shard) => u32::from(shard),
                Holder::Casebook => u32::from(SHARDS_MAX),
            };
            self.unreserved += 1;
            return (RESERVED + slice * SLICE + (self.unreserved - 1) % SLICE, false);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_serial_is_given_twice_whether_reserved_or_not() {
        let mut serials = Serials::new(Holder::Shard(0), SerialBlock { from: 1, until: 3 });
        assert!(serials.wants_more() && !serials.wants_more());
        assert_eq!([serials.next(), serials.next(), serials.next()], [(1, true), (2, true), (RESERVED, false)]);
        serials.grant(SerialBlock { from: 3, until: 5 });
        assert_eq!([serials.next(), serials.next(), serials.next()], [(3, true), (4, true), (RESERVED + 1, false)]);
    }

    #[test]
    fn without_a_disk_no_two_mint_the_same() {
        let empty = SerialBlock { from: 7, until: 7 };
        let first = |holder| Serials::new(holder, empty).next().0;
        let all: std::collections::BTreeSet<u32> =
            (0..SHARDS_MAX).map(Holder::Shard).chain([Holder::Casebook]).map(first).collect();
        assert_eq!(all.len(), usize::from(SHARDS_MAX) + 1);
        assert!(all.iter().all(|serial| (RESERVED..100_000_000).contains(&(serial + SLICE - 1))));
    }
}
