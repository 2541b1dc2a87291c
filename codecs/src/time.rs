//! The two clocks of the cores, both parameters: a monotonic one for deadlines, a wall one for records.
//!
//! Nothing here reads a clock. The shell converts.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since an arbitrary start, never going back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Mono(pub u64);

impl Mono {
    pub const fn from_millis(ms: u64) -> Self {
        Mono(ms * 1_000_000)
    }
    /// Time passed since `earlier`; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
    pub fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, rhs: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, rhs: Duration) -> Mono {
        Mono(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Wall(pub i64);

/// A civil date and time, as calendars count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Civil {
    pub year: i64,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub nanos: u32,
}

impl Wall {
    /// Broken down in the zone `offset_s` seconds east of Greenwich.
    pub fn civil(self, offset_s: i64) -> Civil {
        let seconds = self.0.div_euclid(1_000_000_000) + offset_s;
        let days = seconds.div_euclid(86_400);
        let in_day = seconds.rem_euclid(86_400);
        // Days to civil date: eras of 400 years beginning on 1 March (H. Hinnant's derivation).
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        Civil {
            year: yoe + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (doy - (153 * mp + 2) / 5 + 1) as u8,
            hour: (in_day / 3600) as u8,
            minute: (in_day / 60 % 60) as u8,
            second: (in_day % 60) as u8,
            nanos: self.0.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// The Beijing date as `yyyymmdd`, the middle of an alert number.
    pub fn beijing_date(self) -> u32 {
        let c = self.civil(8 * 3600);
        (c.year as u32) * 10_000 + u32::from(c.month) * 100 + u32::from(c.day)
    }

    /// The hour of the day in Beijing.
    pub fn beijing_hour(self) -> u8 {
        self.civil(8 * 3600).hour
    }

    /// RFC 3339 with milliseconds in Beijing time, e.g. `2026-11-22T09:30:00.123+08:00`.
    pub fn rfc3339(self) -> String {
        let c = self.civil(8 * 3600);
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}+08:00",
            c.year,
            c.month,
            c.day,
            c.hour,
            c.minute,
            c.second,
            c.nanos / 1_000_000
        )
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;
    fn add(self, rhs: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;
    fn sub(self, rhs: Duration) -> Wall {
        Wall(self.0.saturating_sub(i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beijing_date_turns_at_sixteen_hundred_utc() {
        let before = Wall(1_795_276_799_000_000_000); // 2026-11-21T15:59:59Z
        assert_eq!(before.beijing_date(), 20_261_121);
        assert_eq!(Wall(before.0 + 1_000_000_000).beijing_date(), 20_261_122);
    }

    #[test]
    fn rfc3339_matches_a_known_instant() {
        assert_eq!(Wall(1_614_265_330_500_000_000).rfc3339(), "2021-02-25T23:02:10.500+08:00");
        assert_eq!(Wall(951_782_400_000_000_000).civil(0).day, 29); // 2000-02-29
    }
}
