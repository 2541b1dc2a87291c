//! Serials of alert numbers: reserved on disk in blocks before they are used, minted by whoever was granted them.
//!
//! A block is of one date and good on that date alone: what the clock says before and after is other dates' business.
//!
//! Of the eight digits the lower nine tenths are reserved; from the rest holders (each shard, the casebook) go on when the
//! disk is gone, each with numbers that leave a rest of its own when they are divided by how many holders there are: no
//! two of a process ever mint the same. They begin anywhere, by chance: a start that knows of no others, with whatever
//! clock, meets a hundred of those with one chance in tens of thousands.

use std::collections::BTreeMap;

use codecs::time::Wall;

use crate::message::SerialBlock;

/// Below this many more are asked for.
const LOW: u32 = 5000;
/// Reserved serials are below this, unreserved ones are not.
pub const RESERVED: u32 = 90_000_000;
const UNRESERVED: u32 = 10_000_000;

/// What a day is spread over.
const SPREAD: u64 = 80_000_000;
/// Serials a grant.
const BLOCK: u32 = 10_000;

/// Dates of which is known how far their serials are reserved.
const DATES: usize = 64;
/// Blocks that a holder keeps; of what it was granted for dates far ahead the farthest goes.
const BLOCKS: usize = 16;

const DAY_SECONDS: u64 = 86_400;
/// So long before midnight the numbers of the next day are handed out.
const AHEAD_SECONDS: u64 = 2 * 3600;

/// How far serials are reserved, by Beijing date. Today's begin at least as far in as the day is old: what an older copy
/// of the journal knows nothing of is behind, up to 925 numbers a second.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reserve {
    /// The first serial of each date that nobody has. The earliest stands for all dates before it as well.
    dates: BTreeMap<u32, u32>,
}

impl Reserve {
    /// On that date everything below is somebody's.
    pub fn known(&mut self, date: u32, below: u64) {
        let below = u32::try_from(below).unwrap_or(RESERVED).min(RESERVED).max(self.on(date));
        self.dates.insert(date, below);
        while self.dates.len() > DATES
            && let Some((_, before)) = self.dates.pop_first()
            && let Some(mut first) = self.dates.first_entry()
        {
            *first.get_mut() = before.max(*first.get());
        }
    }

    /// This one was given, whatever is known of grants.
    pub fn given(&mut self, date: u32, serial: u32) {
        if serial < RESERVED {
            self.known(date, u64::from(serial) + 1);
        }
    }

    /// The first of that date that nobody has, as far as that is known.
    pub fn on(&self, date: u32) -> u32 {
        let of_earlier = self.dates.first_key_value().filter(|(first, _)| date < **first).map(|(_, next)| *next);
        self.dates.get(&date).copied().or(of_earlier).unwrap_or_default()
    }

    /// What is known of each date.
    pub fn dates(&self) -> BTreeMap<u32, u64> {
        self.dates.iter().map(|(date, next)| (*date, u64::from(*next))).collect()
    }

    /// The next block of today, up to where everything of that date is somebody's with it. It is empty when all are.
    pub fn take(&mut self, at: Wall) -> SerialBlock {
        self.take_of(at.beijing_date(), first_of_day(at))
    }

    /// The next block of tomorrow, where that is near.
    pub fn take_ahead(&mut self, at: Wall) -> Option<SerialBlock> {
        Some(self.take_of(tomorrow_if_near(at)?, 1))
    }

    fn take_of(&mut self, date: u32, least: u32) -> SerialBlock {
        let from = self.on(date).max(least);
        let until = (from + BLOCK).min(RESERVED);
        self.known(date, u64::from(until));
        SerialBlock { from, until, date }
    }
}

/// What a frame says of a grant: the date, and the first of its serials that is nobody's. As 0.1.0 wrote it, the latter
/// alone, of the frame's date.
pub fn grant(date: u32, until: u32) -> Vec<u8> {
    format!("{date} {until}").into_bytes()
}

/// The date and the end of a grant that was written at `at`.
pub fn read_grant(at: Wall, payload: &[u8]) -> Option<(u32, u64)> {
    let text = std::str::from_utf8(payload).ok()?;
    match text.split_once(' ') {
        Some((date, until)) => Some((date.parse().ok()?, until.parse().ok()?)),
        None => Some((at.beijing_date(), text.parse().ok()?)),
    }
}

/// The next Beijing date, when it is near.
pub(crate) fn tomorrow_if_near(at: Wall) -> Option<u32> {
    let left = DAY_SECONDS - second_of_day(at);
    let next = Wall(at.0 + (left * 1_000_000_000) as i64);
    (left <= AHEAD_SECONDS).then(|| next.beijing_date())
}

/// Who mints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
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
    /// By date, those of one date in the order in which they came.
    blocks: Vec<SerialBlock>,
    /// The next unreserved one.
    unreserved: u32,
    wanted: bool,
}

impl Serials {
    /// `luck`: where unreserved ones begin.
    pub(crate) fn new(holder: Holder, shards: u16, first: SerialBlock, luck: u32) -> Serials {
        let blocks = Some(first).filter(|b| b.from < b.until).into_iter().collect();
        let place = holder.place(shards);
        Serials { place, blocks, unreserved: luck % (UNRESERVED / place.1), wanted: false }
    }

    pub(crate) fn grant(&mut self, block: SerialBlock) {
        self.wanted = false;
        if block.from < block.until {
            let at = self.blocks.partition_point(|b| b.date <= block.date);
            self.blocks.insert(at, block);
            self.blocks.truncate(BLOCKS);
        }
    }

    /// The next serial, and whether it was reserved: with the disk gone numbers go on from memory.
    pub(crate) fn next(&mut self, at: Wall) -> (u32, bool) {
        let today = at.beijing_date();
        self.blocks.retain(|b| b.date >= today && b.from < b.until);
        let Some(block) = self.blocks.first_mut().filter(|b| b.date == today) else {
            let (place, all) = self.place;
            let next = self.unreserved;
            self.unreserved = (next + 1) % (UNRESERVED / all);
            return (RESERVED + next * all + place, false);
        };
        block.from += 1;
        (block.from - 1, true)
    }

    /// Whether more are to be asked for: once, until they come.
    pub(crate) fn wants_more(&mut self, at: Wall) -> bool {
        let today = at.beijing_date();
        let left: u32 = self.blocks.iter().filter(|b| b.date == today).map(|b| b.until - b.from).sum();
        left < LOW && !std::mem::replace(&mut self.wanted, true)
    }
}

fn second_of_day(at: Wall) -> u64 {
    let c = at.civil(8 * 3600);
    (u64::from(c.hour) * 60 + u64::from(c.minute)) * 60 + u64::from(c.second)
}

/// Where an installation begins that knows of no serial: as far in as the day is old, so that numbers which were given
/// earlier that day, and of which a lost journal tells nothing, are not given again. 925 a second would catch up. Whoever
/// starts in the last second of the day has some left.
pub(crate) fn first_of_day(at: Wall) -> u32 {
    1 + (second_of_day(at) * SPREAD / DAY_SECONDS) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight in Beijing, 2026-11-22.
    const MIDNIGHT: Wall = Wall(1_795_276_800_000_000_000);

    fn after(seconds: u64) -> Wall {
        Wall(MIDNIGHT.0 + seconds as i64 * 1_000_000_000)
    }

    /// A process: what it reserves with, and who holds blocks in it.
    struct Process {
        reserve: Reserve,
        holders: [Serials; 3],
    }

    impl Process {
        fn start(reserve: Reserve, at: Wall) -> Process {
            let none = SerialBlock { from: 0, until: 0, date: 0 };
            let holders = [Holder::Shard(0), Holder::Shard(1), Holder::Casebook].map(|h| Serials::new(h, 2, none, 5));
            let mut process = Process { reserve, holders };
            process.reserve.known(at.beijing_date(), u64::from(first_of_day(at)));
            (0..3).for_each(|holder| process.serve(holder, at));
            process
        }

        fn serve(&mut self, holder: usize, at: Wall) {
            let today = self.reserve.take(at);
            for block in std::iter::once(today).chain(self.reserve.take_ahead(at)) {
                self.holders[holder].grant(block);
            }
        }
    }

    /// Numbers of processes one after the other, each of which knows what the journal of those before it tells: all
    /// grants, and of what was given the last.
    #[test]
    fn whatever_the_clock_is_set_to_and_whoever_starts_anew_no_number_is_given_twice() {
        let mut given = std::collections::BTreeSet::new();
        let (mut random, mut reserved_ones) = (1u64, 0);
        let mut below = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        let mut process = Process::start(Reserve::default(), after(0));
        let mut unreserved_of = std::collections::BTreeSet::new();
        for round in 0..1_500 {
            // Any time of three days, some seconds around a midnight, and now and then a year with a hundred dates.
            let second = match below(10) {
                0..4 => below(3 * DAY_SECONDS),
                4..9 => DAY_SECONDS - 5 + below(10),
                _ => (365 + below(100)) * DAY_SECONDS + below(DAY_SECONDS),
            };
            let at = after(second);
            if below(10) == 0 {
                process = Process::start(process.reserve.clone(), at);
            }
            let holder = below(3) as usize;
            for _ in 0..below(4_000) {
                let (serial, is_reserved) = process.holders[holder].next(at);
                let date = at.beijing_date();
                if is_reserved {
                    assert!(given.insert((date, serial)), "{serial} of {date}, round {round}");
                    process.reserve.given(date, serial);
                    reserved_ones += 1;
                } else {
                    unreserved_of.insert(date);
                }
                if process.holders[holder].wants_more(at) {
                    process.serve(holder, at);
                }
            }
        }
        assert!(reserved_ones > 500_000 && given.len() == reserved_ones);
    }

    #[test]
    fn over_midnight_numbers_go_on_reserved_where_the_clock_is_left_alone() {
        let mut process = Process::start(Reserve::default(), after(DAY_SECONDS - 3600));
        let first = process.holders[0].next(after(DAY_SECONDS - 1));
        let next = process.holders[0].next(after(DAY_SECONDS));
        assert!(first.1 && next.1 && first.0 > 76_000_000 && next.0 < 100, "{first:?} {next:?}");
        assert!(process.holders[0].wants_more(after(DAY_SECONDS)) || process.holders[0].next(after(DAY_SECONDS)).1);
        assert_eq!(tomorrow_if_near(after(3600)), None);
    }

    #[test]
    fn of_more_dates_than_are_kept_the_earliest_is_not_forgotten_but_stands_for_all_before_it() {
        let mut reserve = Reserve::default();
        for day in 100..180 {
            assert!(reserve.take(after(day * DAY_SECONDS)).from < BLOCK * 2);
        }
        // The clock is set far back: each start takes other numbers than the one before.
        let mut before = 0;
        for _ in 0..5 {
            let mut anew = Reserve::default();
            reserve.dates().iter().for_each(|(date, next)| anew.known(*date, *next));
            reserve = anew;
            let block = reserve.take(after(0));
            assert!(block.from >= before, "{block:?}");
            before = block.until;
        }
        assert!(reserve.dates().len() <= DATES);
    }

    #[test]
    fn a_date_that_is_full_grants_nothing_and_its_holders_ask_again_on_the_next() {
        let mut reserve = Reserve::default();
        reserve.known(after(0).beijing_date(), u64::from(RESERVED) - 3);
        assert_eq!(reserve.take(after(0)).until, RESERVED);
        let none = reserve.take(after(0));
        assert_eq!(none.from, none.until);
        let mut serials = Serials::new(Holder::Shard(0), 1, none, 0);
        assert!(serials.wants_more(after(0)));
        serials.grant(none);
        assert!(!serials.next(after(0)).1 && serials.wants_more(after(DAY_SECONDS)));
    }

    #[test]
    fn a_grant_names_its_date_and_one_of_an_older_version_is_of_its_frame_s() {
        let at = after(DAY_SECONDS - 60);
        assert_eq!(read_grant(at, &grant(20_261_123, 10_001)), Some((20_261_123, 10_001)));
        assert_eq!(read_grant(at, b"10001"), Some((20_261_122, 10_001)));
        assert_eq!(read_grant(at, b"{}"), None);
    }

    #[test]
    fn an_older_copy_of_the_count_goes_on_behind_what_was_given_since_and_yesterday_holds_up_nobody() {
        let mut reserve = Reserve::default();
        let mut copy = reserve.clone();
        let first = reserve.take(after(43_200));
        assert!(copy.take(after(43_260)).from >= first.until);
        // Late today many were given; a start tomorrow morning begins where the day stands.
        reserve.known(after(0).beijing_date(), u64::from(RESERVED) - 10);
        assert_eq!(reserve.take(after(DAY_SECONDS + 60)).from, first_of_day(after(60)));
    }

    #[test]
    fn no_serial_is_given_twice_whether_reserved_or_not() {
        let mut serials = Serials::new(Holder::Shard(0), 1, SerialBlock { from: 1, until: 3, date: 20_261_122 }, 0);
        assert!(serials.wants_more(MIDNIGHT) && !serials.wants_more(MIDNIGHT));
        let mut three = || [(); 3].map(|()| serials.next(MIDNIGHT));
        assert_eq!(three(), [(1, true), (2, true), (RESERVED, false)]);
        serials.grant(SerialBlock { from: 3, until: 5, date: 20_261_122 });
        let mut three = || [(); 3].map(|()| serials.next(MIDNIGHT));
        assert_eq!(three(), [(3, true), (4, true), (RESERVED + 2, false)]);
    }

    #[test]
    fn whoever_knows_of_no_serial_begins_behind_those_of_an_earlier_start_that_day() {
        let at = |second: i64| first_of_day(Wall(MIDNIGHT.0 + second * 1_000_000_000));
        assert_eq!(at(0), 1);
        assert!((1..86_400).all(|s| at(s) > at(s - 1) + 900));
        assert!(at(86_399) < RESERVED - 1_000 * BLOCK);
    }

    #[test]
    fn without_a_disk_no_two_mint_the_same_and_starts_of_one_second_hardly_ever_do() {
        let empty = SerialBlock { from: 7, until: 7, date: 0 };
        let mut all = std::collections::BTreeSet::new();
        let mut count = 0;
        // A thousand calls each, spread over two shards and whatever is written, of starts at the same instant.
        for luck in [17u32, 2_654_435_769, 1_013_904_223, 3_735_928_559] {
            let mut holders =
                [Holder::Shard(0), Holder::Shard(1), Holder::Casebook].map(|h| Serials::new(h, 2, empty, luck));
            for n in 0..1000 {
                let (serial, reserved) = holders[n % 3].next(after(0));
                assert!(!reserved && (RESERVED..100_000_000).contains(&serial));
                all.insert(serial);
                count += 1;
            }
        }
        assert_eq!(all.len(), count);
        let mut last = Serials::new(Holder::Casebook, 2, empty, UNRESERVED / 3 - 1);
        assert_eq!([(); 2].map(|()| last.next(after(0)).0), [99_999_998, 90_000_002], "it comes round");
    }
}
