//! Which days are worked on: what is slow is expected in working days (工作日), by the city's own calendar.

use std::collections::BTreeSet;
use std::time::Duration;

use codecs::time::Wall;

const DAY: Duration = Duration::from_secs(24 * 3600);
const OFFSET_S: i64 = 8 * 3600;
/// Days that are looked ahead at most: a calendar without working days ends nothing.
const DAYS_MAX: u32 = 400;

/// Days by Beijing's date, as `yyyymmdd`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Calendar {
    /// Days of the week without work: 1 Monday … 7 Sunday.
    pub weekend: BTreeSet<u8>,
    pub holidays: BTreeSet<u32>,
    /// Worked on though they fall on a weekend (调休).
    pub working: BTreeSet<u32>,
}

impl Default for Calendar {
    fn default() -> Calendar {
        Calendar { weekend: BTreeSet::from([6, 7]), holidays: BTreeSet::new(), working: BTreeSet::new() }
    }
}

impl Calendar {
    fn is_working(&self, at: Wall) -> bool {
        let date = at.beijing_date();
        let day = (at.0.div_euclid(1_000_000_000) + OFFSET_S).div_euclid(86_400);
        // The first of January 1970 was a Thursday.
        let weekday = (day + 3).rem_euclid(7) as u8 + 1;
        self.working.contains(&date) || !self.holidays.contains(&date) && !self.weekend.contains(&weekday)
    }

    /// When so much time has passed whose whole days are working days. What begins on another day begins with the next
    /// working one.
    pub fn after(&self, at: Wall, within: Duration) -> Wall {
        let (days, rest) = (within.as_secs() / DAY.as_secs(), within.as_secs() % DAY.as_secs());
        let mut due = at;
        if !self.is_working(due) {
            due = midnight(self.next(due));
        }
        for _ in 0..days {
            due = self.next(due);
        }
        self.or_next(due + Duration::new(rest, within.subsec_nanos()))
    }

    /// This moment, or the same time of the next working day.
    pub fn or_next(&self, at: Wall) -> Wall {
        if self.is_working(at) { at } else { self.next(at) }
    }

    /// The same time of the next working day.
    fn next(&self, at: Wall) -> Wall {
        let mut next = at + DAY;
        for _ in 0..DAYS_MAX {
            if self.is_working(next) {
                break;
            }
            next = next + DAY;
        }
        next
    }
}

/// The beginning of its day in Beijing.
fn midnight(at: Wall) -> Wall {
    let into = (at.0 + OFFSET_S * 1_000_000_000).rem_euclid(DAY.as_nanos() as i64);
    Wall(at.0 - into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Friday, 27 November 2026, 16:00 in Beijing.
    const FRIDAY: Wall = Wall(1_795_766_400_000_000_000);

    fn after(calendar: &Calendar, from: Wall, days: u64, hours: u64) -> String {
        calendar.after(from, DAY * days as u32 + Duration::from_secs(hours * 3600)).rfc3339()[..16].to_owned()
    }

    #[test]
    fn whole_days_are_working_days_and_weekends_and_holidays_are_none() {
        let mut city = Calendar::default();
        assert_eq!(FRIDAY.rfc3339(), "2026-11-27T16:00:00.000+08:00");
        assert_eq!(after(&city, FRIDAY, 1, 0), "2026-11-30T16:00", "over the weekend");
        assert_eq!(after(&city, FRIDAY, 5, 0), "2026-12-04T16:00");
        assert_eq!(after(&city, FRIDAY, 0, 4), "2026-11-27T20:00");
        assert_eq!(after(&city, FRIDAY, 0, 10), "2026-11-30T02:00", "what is due on a Saturday is due on Monday");
        city.holidays.insert(20_261_130);
        assert_eq!(after(&city, FRIDAY, 1, 0), "2026-12-01T16:00");
        city.working.insert(20_261_128);
        assert_eq!(after(&city, FRIDAY, 1, 0), "2026-11-28T16:00", "a Saturday that is worked on");
        let saturday = FRIDAY + DAY + DAY;
        assert_eq!(after(&city, saturday, 1, 0), "2026-12-02T00:00", "what begins on Sunday begins on Tuesday");
    }

    #[test]
    fn a_calendar_without_working_days_ends_all_the_same() {
        let none = Calendar { weekend: (1..=7).collect(), ..Calendar::default() };
        assert!(none.after(FRIDAY, DAY * 3) > FRIDAY);
    }
}
