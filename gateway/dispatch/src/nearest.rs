//! Where a caller is, whose grid that is, and who is nearest (items 1A.36, 1A.41).

use std::collections::BTreeMap;
use std::time::Duration;

use codecs::geo::{Point, Polygon, distance_m};
use codecs::record::Role;

use crate::escalation::Rung;
use crate::officer::Roster;
use crate::{CallKey, ResponderId};

/// A grid cell of the city.
#[derive(Clone, Debug)]
pub struct Grid {
    pub id: String,
    pub unit: String,
    pub areas: Vec<Polygon>,
    pub middle: Point,
}

impl Grid {
    pub fn new(id: String, unit: String, areas: Vec<Polygon>) -> Grid {
        let middle = areas.first().map(Polygon::middle).unwrap_or_default();
        Grid { id, unit, areas, middle }
    }
}

/// What is known of a caller's place. A grid without a point is looked at from its middle.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Place {
    pub grid: Option<String>,
    pub point: Option<Point>,
    /// The unit that is complained of: nobody of it, or below it, is sent there.
    pub avoid: Option<String>,
}

/// All grids, found by point through a coarse raster.
pub struct GridMap {
    grids: Vec<Grid>,
    by_id: BTreeMap<String, usize>,
    raster: BTreeMap<(i32, i32), Vec<usize>>,
    /// The unit above each.
    superiors: BTreeMap<String, String>,
}

/// A chain of units that goes further up goes in a circle.
const DEPTH_MAX: usize = 8;

/// Raster cells a degree: 0.01°, about a kilometre.
const CELLS: f64 = 100.0;

impl GridMap {
    pub fn new(grids: Vec<Grid>) -> GridMap {
        let by_id = grids.iter().enumerate().map(|(i, g)| (g.id.clone(), i)).collect();
        let mut raster: BTreeMap<(i32, i32), Vec<usize>> = BTreeMap::new();
        for (i, grid) in grids.iter().enumerate() {
            for ring in grid.areas.iter().filter_map(|a| a.rings.first()) {
                let cells: Vec<_> = ring.iter().map(|p| cell(*p)).collect();
                let span = |f: fn(&(i32, i32)) -> i32| (cells.iter().map(f).min(), cells.iter().map(f).max());
                let ((Some(x0), Some(x1)), (Some(y0), Some(y1))) = (span(|c| c.0), span(|c| c.1)) else { continue };
                for x in x0..=x1 {
                    for y in y0..=y1 {
                        raster.entry((x, y)).or_default().push(i);
                    }
                }
            }
        }
        GridMap { grids, by_id, raster, superiors: BTreeMap::new() }
    }

    /// Each unit with the one above it.
    #[must_use]
    pub fn with_superiors(self, superiors: BTreeMap<String, String>) -> GridMap {
        GridMap { superiors, ..self }
    }

    /// A unit and those above it, itself first.
    pub fn chain<'a>(&'a self, unit: &'a str) -> impl Iterator<Item = &'a str> {
        std::iter::successors(Some(unit), |unit| self.superiors.get(*unit).map(String::as_str)).take(DEPTH_MAX)
    }

    /// Whether nobody of this unit is to come there: it is complained of, or one above it is.
    pub fn is_avoided(&self, place: &Place, unit: &str) -> bool {
        place.avoid.as_deref().is_some_and(|avoid| self.chain(unit).any(|u| u == avoid))
    }

    pub fn get(&self, id: &str) -> Option<&Grid> {
        self.by_id.get(id).map(|&i| &self.grids[i])
    }
    pub fn at(&self, point: Point) -> Option<&Grid> {
        let near = self.raster.get(&cell(point))?;
        near.iter().map(|&i| &self.grids[i]).find(|g| g.areas.iter().any(|a| a.contains(point)))
    }
    /// The grid of a place: as named, else by its point.
    pub fn of(&self, place: &Place) -> Option<&Grid> {
        place.grid.as_deref().and_then(|g| self.get(g)).or_else(|| self.at(place.point?))
    }
    pub fn iter(&self) -> impl Iterator<Item = &Grid> {
        self.grids.iter()
    }
}

fn cell(p: Point) -> (i32, i32) {
    ((p.lon * CELLS).floor() as i32, (p.lat * CELLS).floor() as i32)
}

/// Somebody chosen, and the sentence that goes on the record.
#[derive(Clone, PartialEq, Debug)]
pub struct Pick {
    pub responder: ResponderId,
    pub reason: String,
}

/// Chooses and reserves whom to call next for a rung of the ladder.
///
/// Officers: of the caller's grid first, then all others, each by distance; somebody who is expected to answer
/// later than `share` stands behind everybody who is not. Unknown grid: no officer, so the ladder goes on to the
/// duty room of `default_unit`.
pub fn reserve(
    roster: &mut Roster,
    grids: &GridMap,
    call: CallKey,
    place: &Place,
    rung: Rung,
    share: Duration,
    default_unit: &str,
) -> Option<Pick> {
    let grid = grids.of(place);
    let unit = grid.map_or(default_unit, |g| &g.unit);
    // Those who may be asked, from the place's own up.
    let mut above = grids.chain(unit).filter(|unit| !grids.is_avoided(place, unit));
    let pick = match rung {
        Rung::Officer => {
            let from = place.point.or(grid.map(|g| g.middle))?;
            nearest_officer(roster, grids, call, grid, (place, from), share)?
        }
        Rung::Unit => {
            let unit = above.next()?;
            let responder = room(roster, unit).filter(|r| roster.is_free(*r, call))?;
            Pick { responder, reason: format!("duty room of {unit}") }
        }
        Rung::Superior => {
            // To any height: whoever is there.
            let free = above.skip(1).find_map(|up| Some((up, room(roster, up).filter(|r| roster.is_free(*r, call))?)));
            let (superior, responder) = free?;
            Pick { responder, reason: format!("superior {superior} of {unit}") }
        }
    };
    roster.take(pick.responder, call);
    Some(pick)
}

fn room(roster: &Roster, unit: &str) -> Option<ResponderId> {
    roster.find(unit).filter(|r| matches!(roster.get(*r).role, Role::Unit | Role::Superior))
}

fn nearest_officer(
    roster: &Roster,
    grids: &GridMap,
    call: CallKey,
    grid: Option<&Grid>,
    (place, from): (&Place, Point),
    share: Duration,
) -> Option<Pick> {
    let mut best: Option<((bool, bool, u64), ResponderId)> = None;
    for index in 0..roster.responders.len() {
        let id = ResponderId(index as u32);
        let officer = roster.get(id);
        if officer.role != Role::Officer || !roster.is_free(id, call) || grids.is_avoided(place, &officer.unit) {
            continue;
        }
        let own = grid.is_some_and(|g| officer.grids.contains(&g.id));
        let seen = roster.presence[index].position.map(|(p, _)| p);
        let at = seen.or_else(|| officer.grids.first().and_then(|g| grids.get(g)).map(|g| g.middle));
        let metres = at.map_or(u64::MAX, |p| distance_m(from, p) as u64);
        let slow = roster.predicted_answer(id) > share;
        let rank = (slow, !own, metres);
        if best.as_ref().is_none_or(|(b, _)| rank < *b) {
            best = Some((rank, id));
        }
    }
    let ((slow, other, metres), responder) = best?;
    let whose = if other { "nearest of other grids" } else { "nearest of the grid" };
    let distance = if metres == u64::MAX { "position unknown".into() } else { format!("{metres} m") };
    let slow = if slow { ", expected to answer late" } else { "" };
    let predicted = roster.predicted_answer(responder).as_secs_f32();
    Some(Pick { responder, reason: format!("{whose}, {distance}, answer expected in {predicted:.1} s{slow}") })
}

#[cfg(test)]
mod tests {
    use codecs::record::TryResult;
    use codecs::time::Mono;

    use super::*;
    use crate::officer::Responder;

    fn square(id: &str, lon: f64) -> Grid {
        let p = |x: f64, y: f64| Point { lon: lon + x, lat: 34.0 + y };
        let ring = vec![p(0.0, 0.0), p(0.02, 0.0), p(0.02, 0.02), p(0.0, 0.02)];
        Grid::new(id.into(), "U1".into(), vec![Polygon { rings: vec![ring] }])
    }

    fn officer(no: &str, grid: &str) -> Responder {
        Responder {
            no: no.into(),
            name: no.into(),
            role: Role::Officer,
            unit: "U1".into(),
            grids: vec![grid.into()],
            user: no.into(),
            phone: String::new(),
            on_duty: true,
            lines: 1,
        }
    }

    fn room(no: &str) -> Responder {
        Responder { role: Role::Unit, grids: vec![], phone: "sip:room@127.0.0.1".into(), ..officer(no, "") }
    }

    fn city() -> (Roster, GridMap) {
        let mut roster =
            Roster::new(vec![officer("a", "G1"), officer("b", "G1"), officer("c", "G2"), room("U1"), room("C1")]);
        for no in ["a", "b", "c"] {
            let id = roster.find(no).expect("there");
            roster.set_registered(id, true);
        }
        let superiors = [("U1", "B1"), ("B1", "C1")].map(|(unit, above)| (unit.to_owned(), above.to_owned()));
        (roster, GridMap::new(vec![square("G1", 117.0), square("G2", 117.02)]).with_superiors(superiors.into()))
    }

    fn pick(roster: &mut Roster, grids: &GridMap, call: u64, rung: Rung) -> Option<String> {
        let place = Place { avoid: None, grid: None, point: Some(Point { lon: 117.018, lat: 34.01 }) };
        let pick = reserve(roster, grids, CallKey(call), &place, rung, Duration::from_secs(6), "U1")?;
        Some(roster.get(pick.responder).no.clone())
    }

    #[test]
    fn the_grids_own_officers_come_before_a_nearer_one_of_another_grid() {
        let (mut roster, grids) = city();
        let b = roster.find("b").expect("there");
        roster.set_position(Mono(0), b, Point { lon: 117.017, lat: 34.01 });
        let c = roster.find("c").expect("there");
        roster.set_position(Mono(0), c, Point { lon: 117.0181, lat: 34.01 });
        let order: Vec<_> = (0..4).map(|_| pick(&mut roster, &grids, 1, Rung::Officer)).collect();
        assert_eq!(order, [Some("b".into()), Some("a".into()), Some("c".into()), None]);
    }

    #[test]
    fn an_officer_is_never_reserved_twice_and_comes_back_on_release() {
        let (mut roster, grids) = city();
        for call in 1..4 {
            assert!(pick(&mut roster, &grids, call, Rung::Officer).is_some());
        }
        assert_eq!(pick(&mut roster, &grids, 9, Rung::Officer), None);
        let a = roster.find("a").expect("there");
        roster.release(a, CallKey(9), TryResult::Answered, Duration::ZERO);
        assert_eq!(pick(&mut roster, &grids, 9, Rung::Officer), None, "only its own call gives it back");
        for call in 1..4 {
            roster.release(a, CallKey(call), TryResult::Superseded, Duration::ZERO);
        }
        assert_eq!(pick(&mut roster, &grids, 9, Rung::Officer).as_deref(), Some("a"));
    }

    #[test]
    fn somebody_who_tends_to_miss_stands_behind_those_who_do_not() {
        let (mut roster, grids) = city();
        let b = roster.find("b").expect("there");
        roster.set_position(Mono(0), b, Point { lon: 117.018, lat: 34.01 });
        assert_eq!(pick(&mut roster, &grids, 1, Rung::Officer).as_deref(), Some("b"));
        roster.release(b, CallKey(1), TryResult::NoAnswer, Duration::from_secs(6));
        assert_eq!(roster.predicted_answer(b), Duration::from_millis(5250));
        roster.take(b, CallKey(2));
        roster.release(b, CallKey(2), TryResult::NoAnswer, Duration::from_secs(6));
        assert_eq!(pick(&mut roster, &grids, 3, Rung::Officer).as_deref(), Some("a"));
    }

    #[test]
    fn the_ladder_ends_at_the_room_of_the_next_superior_that_has_one() {
        let (mut roster, grids) = city();
        assert_eq!(pick(&mut roster, &grids, 1, Rung::Unit).as_deref(), Some("U1"));
        assert_eq!(pick(&mut roster, &grids, 1, Rung::Superior).as_deref(), Some("C1"));
        assert_eq!(pick(&mut roster, &grids, 1, Rung::Superior), None);
    }

    #[test]
    fn nobody_of_a_unit_that_is_complained_of_or_below_it_is_called() {
        let above = |avoid: &str| {
            let (mut roster, grids) = city();
            let point = Some(Point { lon: 117.018, lat: 34.01 });
            let place = Place { avoid: Some(avoid.into()), grid: None, point };
            [Rung::Officer, Rung::Unit, Rung::Superior].map(|rung| {
                let pick = reserve(&mut roster, &grids, CallKey(1), &place, rung, Duration::from_secs(6), "U1")?;
                Some(roster.get(pick.responder).no.clone())
            })
        };
        assert_eq!(above("U1"), [None, None, Some("C1".into())], "the unit above it has no room of its own");
        assert_eq!(above("B1"), [None, Some("C1".into()), None]);
        assert_eq!(above("C1"), [None, None, None]);
        assert_eq!(above("U2"), [Some("a".into()), Some("U1".into()), Some("C1".into())]);
    }

    #[test]
    fn off_duty_or_unreachable_officers_are_not_called() {
        let (mut roster, grids) = city();
        for (no, duty) in [("a", false), ("b", true)] {
            let id = roster.find(no).expect("there");
            roster.set_duty(id, duty);
            roster.set_registered(id, false);
        }
        assert_eq!(pick(&mut roster, &grids, 1, Rung::Officer).as_deref(), Some("c"));
    }

    #[test]
    fn a_point_finds_its_grid_and_nothing_outside() {
        let (_, grids) = city();
        assert_eq!(grids.at(Point { lon: 117.03, lat: 34.01 }).map(|g| g.id.as_str()), Some("G2"));
        assert!(grids.at(Point { lon: 118.0, lat: 34.01 }).is_none());
    }
}
