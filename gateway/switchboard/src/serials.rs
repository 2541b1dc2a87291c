//! Serials of alert numbers: reserved on disk in blocks before they are used, minted by whoever was granted them.

use std::collections::VecDeque;

use crate::message::SerialBlock;

/// Below this many more are asked for.
const LOW: u32 = 5000;
/// Eight digits.
const SERIALS: u32 = 100_000_000;

pub(crate) struct Serials {
    blocks: VecDeque<SerialBlock>,
    /// The serial to mint next once every block is used up.
    unreserved: u32,
    wanted: bool,
}

impl Serials {
    pub fn new(first: SerialBlock) -> Serials {
        let blocks = Some(first).filter(|b| b.from < b.until).into_iter().collect();
        Serials { blocks, unreserved: first.until, wanted: false }
    }

    /// What was minted without a reservation meanwhile is not minted again.
    pub fn grant(&mut self, block: SerialBlock) {
        self.wanted = false;
        let from = block.from.max(self.unreserved);
        self.unreserved = self.unreserved.max(block.until);
        if from < block.until {
            self.blocks.push_back(SerialBlock { from, until: block.until });
        }
    }

    /// The next serial, and whether it was reserved: with the disk gone numbers go on from memory.
    pub fn next(&mut self) -> (u32, bool) {
        let Some(block) = self.blocks.front_mut() else {
            self.unreserved += 1;
            return ((self.unreserved - 1) % SERIALS, false);
        };
        let serial = block.from;
        block.from += 1;
        if block.from >= block.until {
            self.blocks.pop_front();
        }
        (serial % SERIALS, true)
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
        let mut serials = Serials::new(SerialBlock { from: 1, until: 3 });
        assert!(serials.wants_more() && !serials.wants_more());
        assert_eq!([serials.next(), serials.next(), serials.next()], [(1, true), (2, true), (3, false)]);
        serials.grant(SerialBlock { from: 3, until: 6 });
        assert_eq!([serials.next(), serials.next(), serials.next()], [(4, true), (5, true), (6, false)]);
    }
}
