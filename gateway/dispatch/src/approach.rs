//! Officers on their way: how far they are from where they go, and how long it takes them (item 1A.28).
//!
//! What is told is rounded and not often: whoever waits sees somebody come, and nobody is followed by it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use codecs::geo::{Point, distance_m};
use codecs::record::AlertNo;
use codecs::time::Mono;

use crate::ResponderId;

/// How long a way takes, by the hour of the day in Beijing.
pub trait Travel {
    fn takes(&self, metres: f64, hour: u8) -> Duration;
}

/// Straight lines are shorter than roads, and roads slower when everybody is on them.
#[derive(Clone, Debug)]
pub struct Roads {
    /// Metres of road for one of the straight line.
    pub detour: f64,
    /// Metres a second, by the hour.
    pub pace: [f64; 24],
}

impl Default for Roads {
    fn default() -> Roads {
        let kmh = |hour: usize| match hour {
            7..=8 | 17..=18 => 22.0,
            22..=23 | 0..=5 => 45.0,
            _ => 32.0,
        };
        Roads { detour: 1.35, pace: std::array::from_fn(|hour| kmh(hour) / 3.6) }
    }
}

impl Travel for Roads {
    fn takes(&self, metres: f64, hour: u8) -> Duration {
        Duration::from_secs_f64(metres * self.detour / self.pace[usize::from(hour) % 24])
    }
}

/// Not told more often than this.
const TOLD_EVERY: Duration = Duration::from_secs(3);
/// Whoever has not arrived by then has forgotten to say so.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * 3600);
/// Alerts that one officer is on the way to.
const WAYS_MAX: usize = 4;

/// What is known of a way.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Approaching {
    /// So far, so long; rounded.
    Coming { metres: u32, eta: Duration },
    /// They are there; how far the first guess was from what it took.
    There { missed_by: Option<Duration> },
}

struct Way {
    no: AlertNo,
    to: Point,
    begun: Mono,
    /// What was told last, and when.
    told: Option<(Mono, u32, Duration)>,
    /// When they were first expected to be there.
    expected: Option<Mono>,
}

pub struct Approaches<T = Roads> {
    travel: T,
    ways: BTreeMap<ResponderId, VecDeque<Way>>,
    news: VecDeque<(AlertNo, Approaching)>,
}

impl Default for Approaches {
    fn default() -> Approaches {
        Approaches::new(Roads::default())
    }
}

impl<T: Travel> Approaches<T> {
    pub fn new(travel: T) -> Approaches<T> {
        Approaches { travel, ways: BTreeMap::new(), news: VecDeque::new() }
    }

    /// Somebody has set out for an alert.
    pub fn set_out(&mut self, now: Mono, officer: ResponderId, no: AlertNo, to: Point) {
        let ways = self.ways.entry(officer).or_default();
        ways.retain(|way| way.no != no && now.since(way.begun) < FORGOTTEN_AFTER);
        if ways.len() >= WAYS_MAX {
            ways.pop_front();
        }
        ways.push_back(Way { no, to, begun: now, told: None, expected: None });
    }

    /// The alert is somewhere else than was thought.
    pub fn moved(&mut self, no: AlertNo, to: Point) {
        self.ways.values_mut().flatten().filter(|way| way.no == no).for_each(|way| way.to = to);
    }

    /// Where an officer is by now.
    pub fn seen(&mut self, now: Mono, officer: ResponderId, at: Point, hour: u8) {
        let Some(ways) = self.ways.get_mut(&officer) else { return };
        for way in ways.iter_mut() {
            let metres = distance_m(at, way.to);
            let takes = self.travel.takes(metres, hour);
            way.expected.get_or_insert(now + takes);
            let (metres, eta) = (rounded(metres), whole_minutes(takes));
            let is_news = way.told.is_none_or(|(then, m, e)| now.since(then) >= TOLD_EVERY && (m, e) != (metres, eta));
            if is_news {
                way.told = Some((now, metres, eta));
                self.news.push_back((way.no, Approaching::Coming { metres, eta }));
            }
        }
    }

    /// They have arrived, or are not on the way any more.
    pub fn there(&mut self, now: Mono, officer: ResponderId, no: AlertNo) {
        let Some(ways) = self.ways.get_mut(&officer) else { return };
        if let Some(way) = ways.iter().position(|way| way.no == no).and_then(|at| ways.remove(at)) {
            let missed_by = way.expected.map(|by| now.since(by).max(by.since(now)));
            self.news.push_back((no, Approaching::There { missed_by }));
        }
        if ways.is_empty() {
            self.ways.remove(&officer);
        }
    }

    pub fn poll_news(&mut self) -> Option<(AlertNo, Approaching)> {
        self.news.pop_front()
    }
}

/// To fifty metres, from a kilometre on to a hundred.
fn rounded(metres: f64) -> u32 {
    let step = if metres < 1000.0 { 50.0 } else { 100.0 };
    ((metres / step).round() * step) as u32
}

fn whole_minutes(takes: Duration) -> Duration {
    Duration::from_secs(takes.as_secs_f64().max(1.0).div_euclid(60.0) as u64 * 60 + 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(n: u64) -> Mono {
        Mono(0) + Duration::from_secs(n)
    }
    fn no(n: u32) -> AlertNo {
        AlertNo::mint("370400000000", 20_261_122, 1, n)
    }
    const HOME: Point = Point { lon: 117.0, lat: 34.0 };

    /// So many metres south of it.
    fn away(metres: f64) -> Point {
        Point { lat: HOME.lat - metres / 111_195.0, ..HOME }
    }

    fn news(a: &mut Approaches) -> Vec<String> {
        std::iter::from_fn(|| a.poll_news())
            .map(|(no, news)| match news {
                Approaching::Coming { metres, eta } => {
                    format!("{}: {metres} m, {} min", no.serial(), eta.as_secs() / 60)
                }
                Approaching::There { missed_by } => {
                    format!("{}: there, {:?}", no.serial(), missed_by.map(|d| d.as_secs()))
                }
            })
            .collect()
    }

    #[test]
    fn whoever_comes_is_told_of_rounded_and_not_often_until_they_are_there() {
        let (mut a, officer) = (Approaches::default(), ResponderId(1));
        a.seen(s(0), officer, away(3000.0), 12);
        assert_eq!(news(&mut a), [""; 0], "they have not set out");
        a.set_out(s(0), officer, no(1), HOME);
        a.seen(s(1), officer, away(3000.0), 12);
        a.seen(s(2), officer, away(2700.0), 12);
        a.seen(s(4), officer, away(2680.0), 12);
        a.seen(s(8), officer, away(2679.0), 12);
        a.seen(s(60), officer, away(420.0), 12);
        // 3 km of straight line take 456 s at noon: expected at 457.
        a.there(s(400), officer, no(1));
        a.seen(s(401), officer, away(0.0), 12);
        assert_eq!(news(&mut a), ["1: 3000 m, 8 min", "1: 2700 m, 7 min", "1: 400 m, 2 min", "1: there, Some(56)"]);
    }

    #[test]
    fn a_way_takes_longer_when_everybody_is_on_the_roads() {
        let roads = Roads::default();
        let [night, noon, evening] = [2, 12, 18].map(|hour| roads.takes(3000.0, hour));
        assert!(night < noon && noon < evening, "{night:?} {noon:?} {evening:?}");
    }

    #[test]
    fn an_officer_goes_to_several_alerts_and_one_that_moves_is_where_it_is_by_now() {
        let (mut a, officer) = (Approaches::default(), ResponderId(1));
        (1..=5).for_each(|n| a.set_out(s(0), officer, no(n), HOME));
        a.moved(no(5), away(-1000.0));
        a.seen(s(1), officer, away(1000.0), 3);
        let told = news(&mut a);
        assert_eq!((told.len(), told[3].as_str()), (4, "5: 2000 m, 4 min"), "{told:?}");
        // Who forgot to say that they arrived is not followed for ever.
        a.set_out(s(3 * 3600), officer, no(9), HOME);
        a.seen(s(3 * 3600), officer, away(100.0), 3);
        assert_eq!(news(&mut a), ["9: 100 m, 1 min"]);
    }
}
