//! Clocks that are not right: the gateway's wall clock, which somebody sets while it runs, and what its stamps are
//! worth then.

use std::collections::BTreeMap;
use std::time::Duration;

use codecs::record::{AlertNo, AlertRecord, Stamp};
use codecs::time::{Mono, Wall};

use crate::chance::Chance;

/// Midnight in Beijing.
const EPOCH: i64 = 1_795_276_800_000_000_000;
const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 24 * 3600 * SECOND;

/// When the Beijing day began.
pub(crate) fn midnight(at: Wall) -> Wall {
    Wall(at.0 - (at.0 - EPOCH).rem_euclid(DAY))
}

/// What the gateway takes for the time of day.
pub(crate) struct WallClock {
    /// Nanoseconds ahead of midnight at the world's beginning.
    ahead: i64,
}

impl WallClock {
    /// For a world that begins so many seconds after midnight.
    pub(crate) fn new(second_of_day: u64) -> WallClock {
        WallClock { ahead: second_of_day as i64 * SECOND }
    }

    /// So long after the world's beginning.
    pub(crate) fn after(&self, since: Duration) -> Wall {
        Wall(EPOCH + since.as_nanos() as i64 + self.ahead)
    }

    /// Somebody sets it: forward or back, by seconds, by minutes or by more than a day. Returns by how many seconds.
    pub(crate) fn set(&mut self, chance: &mut Chance) -> i64 {
        let most = [60, 30 * 60, 36 * 3600][chance.below(3) as usize];
        let by = 1 + chance.below(most) as i64;
        let by = if chance.percent(50) { by } else { -by };
        self.ahead += by * SECOND;
        by
    }
}

/// When a leg's stamps were first written, by the world's own time: the gateway's clock may have come by twice.
#[derive(Default)]
pub(crate) struct Written(BTreeMap<(AlertNo, u32, i64), Mono>);

impl Written {
    pub(crate) fn note(&mut self, now: Mono, record: &AlertRecord) {
        let Some(no) = AlertNo::parse(&record.id.alert_no) else { return };
        for leg in &record.call.legs {
            for stamp in [leg.answered, leg.end].into_iter().flatten() {
                self.0.entry((no, leg.leg_id, micros(stamp))).or_insert(now);
            }
        }
    }

    pub(crate) fn when(&self, no: &str, leg: u32, stamp: Stamp) -> Option<Mono> {
        self.0.get(&(AlertNo::parse(no)?, leg, micros(stamp))).copied()
    }
}

/// As precise as a record says it.
fn micros(stamp: Stamp) -> i64 {
    stamp.0.0.div_euclid(1000)
}
