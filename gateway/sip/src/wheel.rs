//! Who wakes when: a hierarchical timing wheel (Varghese and Lauck 1987), so that arming and disarming cost the same
//! however many timers are armed.
//!
//! Eight levels of 64 slots; a slot of the lowest is a tick of 2²⁰ ns (1.05 ms), of the next 64 ticks, and so on. A timer lies on the level of the highest digit in which its tick differs from the present one; when that
//! digit comes round the slot is dealt out to the levels below. Deadlines stay exact: within a tick the soonest is
//! looked for.

use codecs::time::Mono;

const TICK_BITS: u32 = 20;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Enough for every tick of 64 bits of nanoseconds.
const LEVELS: usize = 8;
const NIL: u32 = u32::MAX;

/// A timer as its holder keeps it. Once it has come, or was disarmed, it names nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct Armed(Option<(u32, u32)>);

#[derive(Clone, Debug)]
struct Entry<K> {
    at: Mono,
    key: K,
    generation: u32,
    /// Level × 64 + slot; `FREE` when nobody has it.
    place: u16,
    next: u32,
    previous: u32,
}

const FREE: u16 = u16::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    first: u32,
    last: u32,
    /// No entry is due before this; exact until an entry is disarmed.
    soonest: Mono,
}

const EMPTY: Slot = Slot { first: NIL, last: NIL, soonest: Mono(u64::MAX) };

/// Deadlines by holder.
#[derive(Debug)]
pub struct TimerQueue<K> {
    entries: Vec<Entry<K>>,
    free: u32,
    armed: usize,
    slots: Box<[Slot; SLOTS * LEVELS]>,
    /// By level: which slots hold anything.
    occupied: [u64; LEVELS],
    /// The present tick: no entry lies before it.
    tick: u64,
}

impl<K: Copy> Default for TimerQueue<K> {
    fn default() -> Self {
        TimerQueue {
            entries: Vec::new(),
            free: NIL,
            armed: 0,
            slots: Box::new([EMPTY; SLOTS * LEVELS]),
            occupied: [0; LEVELS],
            tick: 0,
        }
    }
}

impl<K: Copy> TimerQueue<K> {
    /// Moves `key` from the deadline it had to the one it wants.
    pub fn rearm(&mut self, key: K, armed: &mut Armed, wanted: Option<Mono>) {
        let old = armed.0.filter(|(index, generation)| {
            self.entries.get(*index as usize).is_some_and(|e| e.generation == *generation && e.place != FREE)
        });
        if let Some((index, _)) = old {
            if wanted == Some(self.entries[index as usize].at) {
                return;
            }
            self.unlink(index);
            self.release(index);
        }
        armed.0 = wanted.map(|at| self.insert(at, key));
    }

    /// When somebody may be due: exact for what is near, never late for what is far.
    pub fn next_deadline(&self) -> Option<Mono> {
        let (level, place) = self.first_slot()?;
        if level > 0 {
            return Some(self.slots[place].soonest);
        }
        self.soonest_in(place).map(|(at, _)| at)
    }

    /// Takes one key whose deadline has come, the soonest first.
    pub fn pop_due(&mut self, now: Mono) -> Option<K> {
        let until = now.0 >> TICK_BITS;
        while let Some((level, place)) = self.first_slot() {
            let begins = self.begins(level, place);
            if begins > until {
                break;
            }
            if level == 0 {
                self.tick = self.tick.max(begins);
                // Its slot is occupied.
                let (at, index) = self.soonest_in(place)?;
                if at > now {
                    return None;
                }
                let key = self.entries[index as usize].key;
                self.unlink(index);
                self.release(index);
                return Some(key);
            }
            self.tick = begins;
            self.deal_out(place);
        }
        self.tick = self.tick.max(until);
        None
    }

    /// Timers armed.
    pub fn armed(&self) -> usize {
        self.armed
    }

    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|o| *o != 0)?;
        Some((level, level * SLOTS + self.occupied[level].trailing_zeros() as usize))
    }

    /// The first tick of a slot of the present round.
    fn begins(&self, level: usize, place: usize) -> u64 {
        let shift = level as u32 * DIGIT_BITS;
        let round = self.tick >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
        round | ((place % SLOTS) as u64) << shift
    }

    fn place_of(&self, at: Mono) -> usize {
        let tick = (at.0 >> TICK_BITS).max(self.tick);
        let digit = (63 - ((tick ^ self.tick) | 1).leading_zeros()) / DIGIT_BITS;
        digit as usize * SLOTS + (tick >> (digit * DIGIT_BITS)) as usize % SLOTS
    }

    fn insert(&mut self, at: Mono, key: K) -> (u32, u32) {
        let index = if self.free == NIL {
            self.entries.push(Entry { at, key, generation: 0, place: FREE, next: NIL, previous: NIL });
            (self.entries.len() - 1) as u32
        } else {
            let index = self.free;
            let entry = &mut self.entries[index as usize];
            self.free = entry.next;
            (entry.at, entry.key) = (at, key);
            index
        };
        self.armed += 1;
        self.link(index);
        (index, self.entries[index as usize].generation)
    }

    /// To the end of its slot, so that of two at one instant the first armed comes first.
    fn link(&mut self, index: u32) {
        let at = self.entries[index as usize].at;
        let place = self.place_of(at);
        let slot = &mut self.slots[place];
        let last = std::mem::replace(&mut slot.last, index);
        slot.soonest = slot.soonest.min(at);
        if last == NIL {
            slot.first = index;
        } else {
            self.entries[last as usize].next = index;
        }
        let entry = &mut self.entries[index as usize];
        (entry.place, entry.previous, entry.next) = (place as u16, last, NIL);
        self.occupied[place / SLOTS] |= 1 << (place % SLOTS);
    }

    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (place, previous, next) = (usize::from(entry.place), entry.previous, entry.next);
        let slot = &mut self.slots[place];
        if previous == NIL {
            slot.first = next;
        }
        if next == NIL {
            slot.last = previous;
        }
        if slot.first == NIL {
            *slot = EMPTY;
            self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
        }
        if previous != NIL {
            self.entries[previous as usize].next = next;
        }
        if next != NIL {
            self.entries[next as usize].previous = previous;
        }
    }

    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.place = FREE;
        entry.next = self.free;
        self.free = index;
        self.armed -= 1;
    }

    /// The soonest entry of a slot, of equal ones the first armed.
    fn soonest_in(&self, place: usize) -> Option<(Mono, u32)> {
        let mut found: Option<(Mono, u32)> = None;
        let mut index = self.slots[place].first;
        while index != NIL {
            let entry = &self.entries[index as usize];
            if found.is_none_or(|(at, _)| entry.at < at) {
                found = Some((entry.at, index));
            }
            index = entry.next;
        }
        found
    }

    /// A slot whose time has begun goes to the levels below, in the order of its arming.
    fn deal_out(&mut self, place: usize) {
        let mut index = std::mem::replace(&mut self.slots[place], EMPTY).first;
        self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
        while index != NIL {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::mint::Mint;

    #[test]
    fn every_timer_comes_once_in_order_and_never_early_or_late() {
        let mut mint = Mint::new([7; 32]);
        let (mut queue, mut model) = (TimerQueue::default(), BTreeSet::new());
        let mut held: Vec<(Armed, Option<Mono>)> = vec![(Armed::default(), None); 200];
        let mut now = Mono::from_millis(86_400_000);
        for _ in 0..50_000 {
            let holder = (mint.next_u64() % 200) as usize;
            match mint.next_u64() % 4 {
                0 | 1 => {
                    let spans = [1_000, 400_000, 20_000_000, 500_000_000, 32_000_000_000, 90_000_000_000_000];
                    let span = spans[(mint.next_u64() % 6) as usize];
                    let at = now + Duration::from_nanos(mint.next_u64() % span);
                    model.remove(&(held[holder].1, holder));
                    queue.rearm(holder, &mut held[holder].0, Some(at));
                    held[holder].1 = Some(at);
                    model.insert((Some(at), holder));
                }
                2 => {
                    queue.rearm(holder, &mut held[holder].0, None);
                    model.remove(&(held[holder].1.take(), holder));
                }
                _ => {
                    now = now + Duration::from_nanos((mint.next_u64() % 40_000_000_000) >> (mint.next_u64() % 36));
                    while let Some(key) = queue.pop_due(now) {
                        let at = held[key].1.take();
                        assert!(at <= Some(now) && at == model.first().expect("armed").0);
                        assert!(model.remove(&(at, key)));
                    }
                    assert!(model.first().is_none_or(|(at, _)| *at > Some(now)), "nothing due is left");
                }
            }
            assert_eq!(queue.armed(), model.len());
            let soonest = model.first().and_then(|(at, _)| *at);
            assert!(queue.next_deadline() <= soonest && queue.next_deadline().is_some() == soonest.is_some());
        }
    }

    #[test]
    fn who_only_follows_the_deadline_gets_to_each_timer_within_a_wake_a_level() {
        let mut queue = TimerQueue::default();
        let (mut a, mut b) = (Armed::default(), Armed::default());
        queue.rearm('a', &mut a, Some(Mono::from_millis(32_000)));
        queue.rearm('b', &mut b, Some(Mono::from_millis(31_999)));
        queue.rearm('b', &mut b, None);
        let (mut wakes, mut now) = (0, Mono(0));
        while queue.armed() > 0 {
            now = queue.next_deadline().expect("armed").max(now);
            queue.pop_due(now);
            wakes += 1;
        }
        assert!(now == Mono::from_millis(32_000) && wakes <= LEVELS, "{wakes} wakes");
    }

    #[test]
    fn a_timer_that_has_come_names_nobody_elses() {
        let mut queue = TimerQueue::default();
        let (mut a, mut b) = (Armed::default(), Armed::default());
        queue.rearm('a', &mut a, Some(Mono(1)));
        assert_eq!(queue.pop_due(Mono(5)), Some('a'));
        queue.rearm('b', &mut b, Some(Mono(9)));
        queue.rearm('a', &mut a, None);
        assert_eq!((queue.armed(), queue.pop_due(Mono(9))), (1, Some('b')));
    }
}
