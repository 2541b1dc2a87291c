//! The calls of a shard in a slab, and a call's few legs in a row.

use dispatch::{CallKey, LegNo};
use slab::Slab;

use super::{CallSlot, Leg};
use crate::route::first_key;

/// Calls at one time, by the bits of a key that are a place in the slab; the bits between it and the shard's count, so
/// that a key comes again after 2²⁸ calls at the soonest.
const PLACE_BITS: u32 = 20;
const COUNT_BITS: u32 = 28;

pub(super) struct Calls {
    slots: Slab<(CallKey, CallSlot)>,
    shard: u16,
    count: u64,
}

fn place(key: CallKey) -> usize {
    (key.0 & ((1 << PLACE_BITS) - 1)) as usize
}

impl Calls {
    pub(super) fn new(shard: u16) -> Calls {
        Calls { slots: Slab::new(), shard, count: 0 }
    }

    pub(super) fn insert(&mut self, slot: CallSlot) -> CallKey {
        self.count += 1;
        let entry = self.slots.vacant_entry();
        assert!(entry.key() < 1 << PLACE_BITS, "a million calls at one time are more than any machine's ports");
        let count = self.count & ((1 << COUNT_BITS) - 1);
        let key = CallKey(first_key(self.shard) | count << PLACE_BITS | entry.key() as u64);
        entry.insert((key, slot));
        key
    }

    pub(super) fn get(&self, key: &CallKey) -> Option<&CallSlot> {
        self.slots.get(place(*key)).filter(|(k, _)| k == key).map(|(_, slot)| slot)
    }

    pub(super) fn get_mut(&mut self, key: &CallKey) -> Option<&mut CallSlot> {
        self.slots.get_mut(place(*key)).filter(|(k, _)| k == key).map(|(_, slot)| slot)
    }

    pub(super) fn remove(&mut self, key: &CallKey) -> Option<CallSlot> {
        self.get(key)?;
        Some(self.slots.remove(place(*key)).1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (CallKey, &CallSlot)> {
        self.slots.iter().map(|(_, (key, slot))| (*key, slot))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// By number; seldom more than four.
#[derive(Default)]
pub(super) struct Legs(Vec<(LegNo, Leg)>);

impl Legs {
    pub(super) fn insert(&mut self, no: LegNo, leg: Leg) {
        match self.get_mut(&no) {
            Some(old) => *old = leg,
            None => {
                self.0.reserve_exact(1);
                self.0.push((no, leg));
            }
        }
    }

    pub(super) fn get(&self, no: &LegNo) -> Option<&Leg> {
        self.0.iter().find(|(n, _)| n == no).map(|(_, leg)| leg)
    }

    pub(super) fn get_mut(&mut self, no: &LegNo) -> Option<&mut Leg> {
        self.0.iter_mut().find(|(n, _)| n == no).map(|(_, leg)| leg)
    }

    pub(super) fn remove(&mut self, no: &LegNo) -> Option<Leg> {
        let at = self.0.iter().position(|(n, _)| n == no)?;
        Some(self.0.remove(at).1)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &LegNo> {
        self.0.iter().map(|(no, _)| no)
    }
}
