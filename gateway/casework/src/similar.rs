//! Which alerts may be about the same event: by number, place, time, category and words, across channels, each with the
//! reasons (items 3.50, 4.43). A candidate is shown; only a person joins two.

use std::collections::{HashMap, VecDeque};

use codecs::geo::{Point, distance_m};
use codecs::record::AlertNo;
use codecs::time::Wall;

/// What alerts are compared by.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Features {
    pub numbers: Vec<String>,
    pub point: Option<Point>,
    pub grid: String,
    pub arrived: Wall,
    pub category: Option<String>,
    /// Of each pair of characters of what was said its hash, in their order, each once.
    pub pairs: Vec<u32>,
}

impl Features {
    /// The pairs of a text that has them between blanks.
    pub fn with_pairs(mut self, text: &str) -> Features {
        let pairs = text.split(' ').filter(|pair| pair.chars().nth(1).is_some());
        self.pairs = pairs.map(|pair| hash(pair.as_bytes())).collect();
        self.pairs.sort_unstable();
        self.pairs.dedup();
        self.pairs.truncate(PAIRS_MAX);
        self
    }
}

/// Why two may be one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Reason {
    /// The same telephone number.
    Number,
    /// So many metres apart.
    Place(u32),
    /// In the same grid, where one of them is known no nearer.
    Grid,
    /// The same category.
    Category,
    /// So much of their words is the same, in percent.
    Words(u8),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    pub no: AlertNo,
    /// How likely it is the same event: 30 to 99.
    pub percent: u8,
    pub reasons: Vec<Reason>,
    /// Seconds between the two reports.
    pub apart_s: u64,
}

/// Alerts that are compared with; beyond, the one that came first is forgotten.
const KNOWN_MAX: usize = 120_000;
/// Pairs of one alert that are compared.
const PAIRS_MAX: usize = 256;
/// Of each list the newest alerts that are looked at.
const LOOKED_AT_MAX: usize = 16;
/// Signs of a text under which it is found again.
const SIGNS: u32 = 8;
/// Two reports of one event come within a day.
const APART_MAX_S: u64 = 24 * 3600;
/// Degrees of a cell's side: a kilometre, or somewhat less.
const CELL: f64 = 0.01;
const CANDIDATES_MAX: usize = 8;
const PERCENT_MIN: u32 = 30;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    Number(String),
    Cell(i32, i32),
    Grid(String),
    /// Which of a text's signs, and the sign.
    Sign(u32, u32),
}

/// Alerts that are open, or were lately.
#[derive(Default)]
pub struct Similar {
    /// Where each is kept.
    places: HashMap<AlertNo, u32>,
    kept: Vec<(AlertNo, Features)>,
    /// Places in `kept`, the newest last.
    lists: HashMap<Key, Vec<u32>>,
    order: VecDeque<AlertNo>,
}

impl Similar {
    /// An alert as it is by now.
    pub fn note(&mut self, no: AlertNo, features: Features) {
        let place = match self.places.get(&no).copied() {
            Some(place) if self.at(place).is_some_and(|(_, known)| *known == features) => return,
            Some(place) => {
                self.take_out(place);
                place
            }
            None => self.room(no),
        };
        for key in keys(&features) {
            self.lists.entry(key).or_default().push(place);
        }
        if let Some(kept) = self.kept.get_mut(place as usize) {
            *kept = (no, features);
        }
    }

    /// A place for one more: the one of whoever came first, where there are as many as may be.
    fn room(&mut self, no: AlertNo) -> u32 {
        let oldest = if self.order.len() < KNOWN_MAX { None } else { self.order.pop_front() };
        let place = match oldest.and_then(|oldest| self.places.remove(&oldest)) {
            Some(place) => {
                self.take_out(place);
                place
            }
            None => {
                self.kept.push((no, Features::default()));
                self.kept.len() as u32 - 1
            }
        };
        self.order.push_back(no);
        self.places.insert(no, place);
        place
    }

    fn at(&self, place: u32) -> Option<&(AlertNo, Features)> {
        self.kept.get(place as usize)
    }

    fn take_out(&mut self, place: u32) {
        let Some((_, features)) = self.kept.get_mut(place as usize) else { return };
        for key in keys(&std::mem::take(features)) {
            if let Some(list) = self.lists.get_mut(&key) {
                list.retain(|other| *other != place);
                if list.is_empty() {
                    self.lists.remove(&key);
                }
            }
        }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What may be the same event as this alert, the likeliest first.
    pub fn like(&self, no: AlertNo) -> Vec<Candidate> {
        let Some((_, own)) = self.places.get(&no).and_then(|place| self.at(*place)) else { return Vec::new() };
        let mut others: Vec<u32> = Vec::new();
        for key in near(own) {
            others.extend(self.lists.get(&key).into_iter().flat_map(|list| list.iter().rev().take(LOOKED_AT_MAX)));
        }
        others.sort_unstable();
        others.dedup();
        let compared = others.into_iter().filter_map(|place| self.at(place).filter(|(other, _)| *other != no));
        let compared = compared.filter_map(|(other, features)| compare(own, *other, features));
        let mut all: Vec<Candidate> = compared.collect();
        all.sort_by_key(|c| (std::cmp::Reverse(c.percent), c.apart_s));
        all.truncate(CANDIDATES_MAX);
        all
    }
}

/// Under which lists an alert stands.
fn keys(features: &Features) -> Vec<Key> {
    let mut all: Vec<Key> = features.numbers.iter().cloned().map(Key::Number).collect();
    all.extend(features.point.map(|p| cell(p, 0, 0)));
    all.extend(Some(&features.grid).filter(|g| !g.is_empty()).cloned().map(Key::Grid));
    all.extend(signs(&features.pairs));
    all
}

/// In which lists its like stands.
fn near(features: &Features) -> Vec<Key> {
    let mut all = keys(features);
    if let Some(point) = features.point {
        all.retain(|key| !matches!(key, Key::Cell(..)));
        all.extend((-1..=1).flat_map(|x| (-1..=1).map(move |y| cell(point, x, y))));
    }
    all
}

fn cell(point: Point, x: i32, y: i32) -> Key {
    let at = |degrees: f64| (degrees / CELL).floor() as i32;
    Key::Cell(at(point.lon) + x, at(point.lat) + y)
}

/// The least of the pairs' hashes, in several orders: texts that have half of their pairs in common share one of eight
/// nearly always. One pair is no text.
fn signs(pairs: &[u32]) -> impl Iterator<Item = Key> {
    let pairs = if pairs.len() < 2 { &[] } else { pairs };
    let least = |n: u32| pairs.iter().map(|pair| mixed(pair ^ n.wrapping_mul(0x9E37_79B9))).min();
    (0..SIGNS).filter_map(move |n| Some(Key::Sign(n, least(n)?))).collect::<Vec<_>>().into_iter()
}

fn hash(bytes: &[u8]) -> u32 {
    mixed(bytes.iter().fold(0x811C_9DC5, |h: u32, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)))
}

/// Spreads what is near: MurmurHash3's last step.
fn mixed(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85EB_CA6B);
    h ^= h >> 13;
    h = h.wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

/// How likely two are one event; none: not likely enough to be shown.
fn compare(own: &Features, no: AlertNo, other: &Features) -> Option<Candidate> {
    let apart_s = own.arrived.0.abs_diff(other.arrived.0) / 1_000_000_000;
    if apart_s > APART_MAX_S {
        return None;
    }
    let mut why: Vec<(Reason, u32)> = Vec::new();
    if own.numbers.iter().any(|number| other.numbers.contains(number)) {
        why.push((Reason::Number, 60));
    }
    match (own.point, other.point) {
        (Some(here), Some(there)) => match distance_m(here, there) {
            m @ ..=100.0 => why.push((Reason::Place(m as u32), 45)),
            m @ ..=300.0 => why.push((Reason::Place(m as u32), 35)),
            m @ ..=1000.0 => why.push((Reason::Place(m as u32), 15)),
            _ => {}
        },
        _ if !own.grid.is_empty() && own.grid == other.grid => why.push((Reason::Grid, 15)),
        _ => {}
    }
    let is_placed = !why.is_empty();
    let same = common(&own.pairs, &other.pairs);
    if same >= 20 {
        why.push((Reason::Words(same as u8), same * 6 / 10));
    }
    if is_placed && own.category.is_some() && own.category == other.category {
        why.push((Reason::Category, 15));
    }
    // What happened an hour ago is told of anew more often than it is told of late.
    let lately = match apart_s {
        ..=600 => 100,
        601..=3600 => 80,
        3601..=14_400 => 60,
        _ => 45,
    };
    let weight: u32 = why.iter().map(|(_, counts)| counts).sum();
    let percent = (weight * lately / 100).min(99);
    let reasons = why.into_iter().map(|(reason, _)| reason).collect();
    (percent >= PERCENT_MIN).then_some(Candidate { no, percent: percent as u8, reasons, apart_s })
}

/// How much of both together is in both, in percent.
fn common(own: &[u32], other: &[u32]) -> u32 {
    let (mut a, mut b, mut both) = (0, 0, 0u32);
    while let (Some(x), Some(y)) = (own.get(a), other.get(b)) {
        both += u32::from(x == y);
        a += usize::from(x <= y);
        b += usize::from(y <= x);
    }
    let all = (own.len() + other.len()) as u32 - both;
    (both * 100).checked_div(all).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn number(serial: u32) -> AlertNo {
        AlertNo::mint("370400000000", 20_261_130, 1, serial)
    }

    fn report(minute: i64, phone: &str, at: Option<(f64, f64)>, words: &str) -> Features {
        let characters: Vec<char> = words.chars().collect();
        let pairs: Vec<String> = characters.windows(2).map(|pair| pair.iter().collect()).collect();
        let features = Features {
            numbers: vec![phone.to_owned()],
            point: at.map(|(lon, lat)| Point { lon, lat }),
            arrived: Wall(minute * MINUTE),
            ..Features::default()
        };
        features.with_pairs(&pairs.join(" "))
    }

    fn like(all: &Similar, serial: u32) -> Vec<(AlertNo, u8, Vec<Reason>)> {
        all.like(number(serial)).into_iter().map(|c| (c.no, c.percent, c.reasons)).collect()
    }

    #[test]
    fn reports_of_one_event_are_found_by_place_words_and_number_and_say_why() {
        let mut all = Similar::default();
        let gate = Some((117.5500, 34.8100));
        all.note(number(1), report(0, "1", gate, "城东路口两车追尾有人受伤"));
        all.note(number(2), report(3, "2", Some((117.5504, 34.8101)), "城东路追尾了两车相撞"));
        all.note(number(3), report(4, "3", None, "城东路口两车追尾有人受伤流血"));
        all.note(number(4), report(5, "1", None, "怎么还没来"));
        all.note(number(5), report(5, "5", Some((117.9, 34.9)), "水管爆了"));
        all.note(number(6), report(7, "6", gate, "家里猫丢了"));
        let found = like(&all, 1);
        let of = |serial: u32| found.iter().find(|(no, ..)| *no == number(serial));
        assert!(matches!(of(2), Some((_, 45.., why)) if matches!(why[..], [Reason::Place(30..=50), ..])), "{found:?}");
        assert!(matches!(of(3), Some((_, 40.., why)) if matches!(why[..], [Reason::Words(60..)])), "{found:?}");
        assert_eq!(of(4), Some(&(number(4), 60, vec![Reason::Number])));
        assert_eq!(of(5), None);
        assert_eq!(of(6).map(|(_, percent, _)| *percent), Some(45), "the same place alone is shown, and no more");
        assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1), "the likeliest first");
        assert_eq!(like(&all, 9), []);
    }

    #[test]
    fn what_is_long_past_is_another_event_and_what_was_corrected_is_found_no_more() {
        let mut all = Similar::default();
        all.note(number(1), report(0, "1", None, "城东路口两车追尾"));
        all.note(number(2), report(25 * 60, "1", None, "城东路口两车追尾"));
        assert_eq!(like(&all, 1), []);
        all.note(number(3), report(1, "9", None, "城东路口两车追尾"));
        assert_eq!(like(&all, 1).len(), 1);
        all.note(number(3), report(1, "9", None, "水管爆了没水"));
        assert_eq!(like(&all, 1), []);
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_flood_of_reports_of_one_event_is_answered_by_the_newest_of_them() {
        let mut all = Similar::default();
        let same = |n: u32| report(i64::from(n) / 1000, &n.to_string(), Some((117.55, 34.81)), "滨河路大火浓烟");
        (1..=5000).for_each(|n| all.note(number(n), same(n)));
        let found = all.like(number(5000));
        assert_eq!(found.len(), CANDIDATES_MAX);
        assert!(found.iter().all(|c| c.percent == 99), "{found:?}");
    }

    #[test]
    fn whoever_came_first_gives_way_and_is_found_no_more() {
        let mut all = Similar::default();
        let of = |n: u32| report(0, &n.to_string(), None, "");
        let no = |n: u32| AlertNo::mint("370400000000", 20_261_130, 1, n);
        (1..=KNOWN_MAX as u32).for_each(|n| all.note(no(n), of(n)));
        all.note(no(KNOWN_MAX as u32 + 1), of(1));
        assert_eq!((all.len(), all.kept.len()), (KNOWN_MAX, KNOWN_MAX));
        assert_eq!(all.like(no(KNOWN_MAX as u32 + 1)), [], "the one with its number is forgotten");
        all.note(no(2), of(3));
        assert_eq!(all.like(no(2)).len(), 1);
    }
}
