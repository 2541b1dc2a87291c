//! Serials of alert numbers: reserved on disk in blocks before they are used, minted by whoever was granted them.
//!
//! Of the eight digits the lower nine tenths are reserved; from the rest holders (each shard, the casebook) go on when the
//! disk is gone, each with numbers that leave a rest of its own when they are divided by how many holders there are: no
//! two ever mint the same. They begin where the day stands, so that a start anew in the same day, which knows of none of
//! them, goes on behind those of the one before: 115 a second of all holders together would catch up with it.

use std::collections::{BTreeMap, VecDeque};

use codecs::time::Wall;

use crate::message::SerialBlock;

/// Below this many more are asked for.
const LOW: u32 = 5000;
/// Reserved serials are below this, unreserved ones are not.
pub const RESERVED: u32 = 90_000_000;
const UNRESERVED: u32 = 10_000_000;

/// Serials a grant.
const BLOCK: u32 = 10_000;

/// Dates of which is known how far their serials are reserved.
const DATES: usize = 64;

/// How far serials are reserved, by Beijing date: what is minted is the rest by `RESERVED`. Within a process the count
/// never falls, since whoever holds a block may use it on another date than it was granted on; and on each date it is at
/// least as far in as the day is old. So what an older copy of the journal knows nothing of is behind, up to 1,041
/// numbers a second.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reserve {
    dates: BTreeMap<u32, u64>,
    /// The end of the last block; none before the first.
    out: Option<u64>,
}

impl Reserve {
    /// On that date everything below is somebody's.
    pub fn known(&mut self, date: u32, below: u64) {
        let next = self.dates.entry(date).or_default();
        *next = below.max(*next);
        if self.dates.len() > DATES {
            self.dates.pop_first();
        }
    }

    /// This one was given, whatever is known of grants.
    pub fn given(&mut self, date: u32, serial: u32) {
        let (next, round) = (self.on(date), u64::from(RESERVED));
        let behind = next - next % round + u64::from(serial) + 1;
        // What is far ahead is of the round before, by a block that somebody has held for long.
        let is_of_before = next >= round && behind > next + round / 2;
        if serial < RESERVED && !is_of_before {
            self.known(date, behind);
        }
    }

    /// The first of that date that nobody has, as far as that is known.
    pub fn on(&self, date: u32) -> u64 {
        self.dates.get(&date).copied().unwrap_or_default()
    }

    /// What is known of each date.
    pub fn dates(&self) -> &BTreeMap<u32, u64> {
        &self.dates
    }

    /// The next block, and up to where everything is somebody's with it.
    pub fn take(&mut self, at: Wall) -> (SerialBlock, u64) {
        let date = at.beijing_date();
        // The clock has been on later dates: what is taken now may be used on one of them.
        let later = self.dates.range(date..).map(|(_, next)| *next).max();
        let out = self.out.or(later).unwrap_or_default();
        let next = self.on(date).max(u64::from(first_of_day(at))).max(out);
        let until = next + u64::from(BLOCK);
        self.out = Some(until);
        self.known(date, until);
        let from = (next % u64::from(RESERVED)) as u32;
        (SerialBlock { from, until: from + BLOCK, date }, until)
    }
}

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
        let today = at.beijing_date();
        // The clock was set back: others may have been given on this date.
        self.blocks.retain(|block| block.date <= today);
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

    /// A process: what it reserves with and the blocks that are held in it.
    struct Process {
        reserve: Reserve,
        held: Vec<SerialBlock>,
    }

    #[test]
    fn whatever_the_clock_is_set_to_and_whoever_starts_anew_no_number_is_given_twice() {
        let mut given = std::collections::BTreeSet::new();
        let (mut process, mut random) = (Process { reserve: Reserve::default(), held: Vec::new() }, 1u64);
        let mut below = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        for _ in 0..3_000 {
            // Any time of three days; half of the time some seconds of the last one around midnight.
            let second = if below(2) == 0 { below(3 * 86_400) } else { 86_395 + below(10) };
            let at = Wall(MIDNIGHT.0 + second as i64 * 1_000_000_000);
            let Process { reserve, held } = &mut process;
            match below(10) {
                // A start knows what was granted and what was given.
                0 => process = Process { reserve: Reserve { out: None, ..reserve.clone() }, held: Vec::new() },
                1..4 => held.push(reserve.take(at).0),
                _ => {
                    let today = at.beijing_date();
                    let Some(block) = held.iter_mut().find(|b| b.from < b.until && b.date <= today) else { continue };
                    let count = (1 + below(4_000) as u32).min(block.until - block.from);
                    for serial in block.from..block.from + count {
                        assert!(given.insert((at.beijing_date(), serial % RESERVED)), "{serial} at {second}");
                    }
                    block.from += count;
                    reserve.given(at.beijing_date(), (block.from - 1) % RESERVED);
                }
            }
        }
        assert!(given.len() > 500_000);
    }

    #[test]
    fn an_older_copy_of_the_count_goes_on_behind_what_was_given_since_and_yesterday_holds_up_nobody() {
        let at = |second: i64| Wall(MIDNIGHT.0 + second * 1_000_000_000);
        let mut reserve = Reserve::default();
        let mut copy = reserve.clone();
        let (first, _) = reserve.take(at(43_200));
        assert!(copy.take(at(43_260)).0.from >= first.until);
        // Late today many were given; a start tomorrow morning begins where the day stands.
        reserve.known(at(0).beijing_date(), u64::from(RESERVED) - 10);
        let mut anew = Reserve { out: None, ..reserve };
        assert_eq!(anew.take(at(86_400 + 60)).0.from, first_of_day(at(60)));
    }

    #[test]
    fn no_serial_is_given_twice_whether_reserved_or_not() {
        let mut serials = Serials::new(Holder::Shard(0), 1, SerialBlock { from: 1, until: 3, date: 0 });
        assert!(serials.wants_more() && !serials.wants_more());
        let mut three = || [(); 3].map(|()| serials.next(MIDNIGHT));
        assert_eq!(three(), [(1, true), (2, true), (RESERVED, false)]);
        serials.grant(SerialBlock { from: 3, until: 5, date: 0 });
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
        let empty = SerialBlock { from: 7, until: 7, date: 0 };
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
