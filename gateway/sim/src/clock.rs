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
/// FAULT (names-by-the-day): a start forgets the names of messages that were received a day ago by the wall clock,
/// however long ago that was: one that is sent again is recorded twice. Until that is mended the clock is never set
/// further ahead of what it said before than this.
const AHEAD_MAX: i64 = 23 * 3600 * SECOND;
/// FAULT (late-parts): by the wall clock, too, a start gives up a long message of which parts are missing. Those that come
/// then are acknowledged, and the next start loses them: it puts all parts together, and passes over what comes of it.
/// Until that is mended the clock leaps by less than such a message waits where more than one start follows.
const AHEAD_LITTLE: i64 = 15 * SECOND;

/// FAULT (earlier-date): a start forgets which numbers of a date are reserved when the journal tells of a later date, and
/// gives them again where the clock says the earlier one. Until that is mended the clock is never set back beyond midnight.
const DAY: i64 = 24 * 3600 * SECOND;

/// What the gateway takes for the time of day.
pub struct WallClock {
    /// Nanoseconds ahead of midnight at the world's beginning.
    ahead: i64,
    /// The least that was, and how far beyond that it is set at most.
    least: i64,
    most: i64,
}

impl WallClock {
    /// For a world that begins so many seconds after midnight, with so many starts after the first.
    pub fn new(second_of_day: u64, starts: usize) -> WallClock {
        let ahead = second_of_day as i64 * SECOND;
        WallClock { ahead, least: ahead, most: if starts > 1 { AHEAD_LITTLE } else { AHEAD_MAX } }
    }

    /// So long after the world's beginning.
    pub fn after(&self, since: Duration) -> Wall {
        Wall(EPOCH + since.as_nanos() as i64 + self.ahead)
    }

    /// Somebody sets it: forward or back, by seconds, by minutes or by more than a day. Returns by how many seconds.
    pub fn set(&mut self, since: Duration, chance: &mut Chance) -> i64 {
        let most = [60, 30 * 60, 36 * 3600][chance.below(3) as usize];
        let by = 1 + chance.below(most) as i64;
        let by = if chance.percent(50) { by } else { -by };
        let since = since.as_nanos() as i64;
        let midnight = (self.ahead + since).div_euclid(DAY) * DAY - since;
        let ahead = (self.ahead + by * SECOND).clamp(midnight, self.least.saturating_add(self.most).max(midnight));
        let by = (ahead - self.ahead) / SECOND;
        self.ahead = ahead;
        self.least = self.least.min(ahead);
        by
    }
}

/// When a leg's stamps were first written, by the world's own time: the gateway's clock may have come by twice.
#[derive(Default)]
pub struct Written(BTreeMap<(AlertNo, u32, i64), Mono>);

impl Written {
    pub fn note(&mut self, now: Mono, record: &AlertRecord) {
        let Some(no) = AlertNo::parse(&record.id.alert_no) else { return };
        for leg in &record.call.legs {
            for stamp in [leg.answered, leg.end].into_iter().flatten() {
                self.0.entry((no, leg.leg_id, micros(stamp))).or_insert(now);
            }
        }
    }

    pub fn when(&self, no: &str, leg: u32, stamp: Stamp) -> Option<Mono> {
        self.0.get(&(AlertNo::parse(no)?, leg, micros(stamp))).copied()
    }
}

/// As precise as a record says it.
fn micros(stamp: Stamp) -> i64 {
    stamp.0.0.div_euclid(1000)
}
