//! Points and polygons on the WGS-84 globe, and the GeoJSON they come in (RFC 7946).

use serde::{Deserialize, Serialize};

/// Degrees; longitude first, as GeoJSON writes it.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Point {
    pub lon: f64,
    pub lat: f64,
}

impl Point {
    /// Whether it lies on the globe at all.
    pub fn is_sane(self) -> bool {
        self.lon.abs() <= 180.0 && self.lat.abs() <= 90.0
    }
}

/// The datum that coordinates are in: a wrong one sends the car to the wrong street.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Datum {
    #[serde(rename = "WGS84")]
    Wgs84,
    /// Within a decimetre of WGS-84.
    #[serde(rename = "CGCS2000")]
    Cgcs2000,
    /// What map services in China use, WeChat among them.
    #[serde(rename = "GCJ02")]
    Gcj02,
    /// Baidu's.
    #[serde(rename = "BD09")]
    Bd09,
    #[serde(rename = "unknown")]
    Unknown,
}

/// The WGS-84 copy of a point; `None` when nobody knows its datum, or where it is what a device says that knows none.
pub fn to_wgs84(p: Point, datum: Datum) -> Option<Point> {
    match datum {
        _ if p.lon == 0.0 && p.lat == 0.0 => None,
        Datum::Wgs84 | Datum::Cgcs2000 => Some(p),
        Datum::Gcj02 => Some(from_gcj02(p)),
        Datum::Bd09 => Some(from_gcj02(from_bd09(p))),
        Datum::Unknown => None,
    }
}

/// The shift's rectangle; outside it GCJ-02 is WGS-84.
fn is_shifted(p: Point) -> bool {
    p.lon > 73.66 && p.lon < 135.05 && p.lat > 3.86 && p.lat < 53.55
}

fn to_gcj02(p: Point) -> Point {
    use std::f64::consts::PI;
    const A: f64 = 6_378_245.0;
    const E2: f64 = 0.006_693_421_622_965_943;
    if !is_shifted(p) {
        return p;
    }
    let (x, y) = (p.lon - 105.0, p.lat - 35.0);
    let third = |a: f64, b: f64| 2.0 / 3.0 * (a + b);
    let both = third(20.0 * (6.0 * PI * x).sin(), 20.0 * (2.0 * PI * x).sin());
    let root = x.abs().sqrt();
    let dlat = -100.0
        + 2.0 * x
        + 3.0 * y
        + 0.2 * y * y
        + 0.1 * x * y
        + 0.2 * root
        + both
        + third(20.0 * (PI * y).sin(), 40.0 * (PI * y / 3.0).sin())
        + third(160.0 * (PI * y / 12.0).sin(), 320.0 * (PI * y / 30.0).sin());
    let dlon = 300.0
        + x
        + 2.0 * y
        + 0.1 * x * x
        + 0.1 * x * y
        + 0.1 * root
        + both
        + third(20.0 * (PI * x).sin(), 40.0 * (PI * x / 3.0).sin())
        + third(150.0 * (PI * x / 12.0).sin(), 300.0 * (PI * x / 30.0).sin());
    let phi = p.lat.to_radians();
    let m = 1.0 - E2 * phi.sin() * phi.sin();
    let s = m.sqrt();
    Point {
        lat: p.lat + dlat * 180.0 / (A * (1.0 - E2) / (m * s) * PI),
        lon: p.lon + dlon * 180.0 / (A / s * phi.cos() * PI),
    }
}

/// The inverse by iteration: within a millimetre after a few rounds.
fn from_gcj02(g: Point) -> Point {
    let mut p = g;
    for _ in 0..6 {
        let f = to_gcj02(p);
        let (dlat, dlon) = (f.lat - g.lat, f.lon - g.lon);
        p = Point { lat: p.lat - dlat, lon: p.lon - dlon };
        if dlat.abs() < 1e-10 && dlon.abs() < 1e-10 {
            break;
        }
    }
    p
}

fn from_bd09(b: Point) -> Point {
    const K: f64 = 3000.0 * std::f64::consts::PI / 180.0;
    let (x, y) = (b.lon - 0.0065, b.lat - 0.006);
    let z = x.hypot(y) - 0.00002 * (y * K).sin();
    let theta = y.atan2(x) - 0.000_003 * (x * K).cos();
    Point { lon: z * theta.cos(), lat: z * theta.sin() }
}

/// Great-circle distance in metres (haversine on the mean sphere; within 0.6 % of the ellipsoid).
pub fn distance_m(a: Point, b: Point) -> f64 {
    let (lat1, lat2) = (a.lat.to_radians(), b.lat.to_radians());
    let half_dlat = (lat2 - lat1) / 2.0;
    let half_dlon = (b.lon - a.lon).to_radians() / 2.0;
    let h = half_dlat.sin().powi(2) + lat1.cos() * lat2.cos() * half_dlon.sin().powi(2);
    2.0 * 6_371_008.8 * h.sqrt().min(1.0).asin()
}

/// An area: outer ring and holes, each closed or not.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Polygon {
    pub rings: Vec<Vec<Point>>,
}

impl Polygon {
    /// Even-odd rule over all rings, so that holes are outside.
    pub fn contains(&self, p: Point) -> bool {
        let mut inside = false;
        for ring in &self.rings {
            let Some(&last) = ring.last() else { continue };
            let mut from = last;
            for &to in ring {
                let crosses = (from.lat > p.lat) != (to.lat > p.lat);
                if crosses && p.lon < (to.lon - from.lon) * (p.lat - from.lat) / (to.lat - from.lat) + from.lon {
                    inside = !inside;
                }
                from = to;
            }
        }
        inside
    }

    /// The mean of the outer ring's corners: good enough to stand in the middle of a grid.
    pub fn middle(&self) -> Point {
        let Some(ring) = self.rings.first().filter(|r| !r.is_empty()) else {
            return Point::default();
        };
        let corners = if ring.len() > 1 && ring.first() == ring.last() { &ring[1..] } else { &ring[..] };
        let n = corners.len() as f64;
        Point {
            lon: corners.iter().map(|p| p.lon).sum::<f64>() / n,
            lat: corners.iter().map(|p| p.lat).sum::<f64>() / n,
        }
    }
}

/// One GeoJSON feature with its properties.
#[derive(Clone, Debug)]
pub struct Feature {
    pub properties: serde_json::Map<String, serde_json::Value>,
    pub areas: Vec<Polygon>,
}

#[derive(Deserialize)]
struct RawCollection {
    features: Vec<RawFeature>,
}
#[derive(Deserialize)]
struct RawFeature {
    #[serde(default)]
    properties: serde_json::Map<String, serde_json::Value>,
    geometry: RawGeometry,
}
#[derive(Deserialize)]
#[serde(tag = "type", content = "coordinates")]
enum RawGeometry {
    Polygon(Vec<Vec<Vec<f64>>>),
    MultiPolygon(Vec<Vec<Vec<Vec<f64>>>>),
}

/// Reads a FeatureCollection of Polygon and MultiPolygon features.
///
/// # Errors
/// The message names line and column, or the feature whose coordinates are off.
pub fn parse_geojson(text: &str) -> Result<Vec<Feature>, String> {
    let raw: RawCollection = serde_json::from_str(text).map_err(|e| e.to_string())?;
    raw.features
        .into_iter()
        .enumerate()
        .map(|(i, f)| {
            let polygons = match f.geometry {
                RawGeometry::Polygon(p) => vec![p],
                RawGeometry::MultiPolygon(m) => m,
            };
            let areas = polygons.into_iter().map(polygon).collect::<Option<Vec<_>>>();
            let areas = areas.ok_or_else(|| format!("feature {i}: a position is not [lon, lat] on the globe"))?;
            Ok(Feature { properties: f.properties, areas })
        })
        .collect()
}

fn polygon(rings: Vec<Vec<Vec<f64>>>) -> Option<Polygon> {
    let point = |c: &Vec<f64>| match c[..] {
        [lon, lat, ..] => Some(Point { lon, lat }).filter(|p| p.is_sane()),
        _ => None,
    };
    let rings = rings.iter().map(|r| r.iter().map(point).collect::<Option<Vec<_>>>()).collect::<Option<_>>()?;
    Some(Polygon { rings })
}

/// Where a ring crosses itself; its last point may repeat the first.
pub fn crossing(ring: &[Point]) -> Option<Point> {
    let mut corners: Vec<Point> = ring.to_vec();
    corners.dedup();
    if corners.len() > 1 && corners.first() == corners.last() {
        corners.pop();
    }
    let sides = corners.len();
    let side = |i: usize| (corners[i], corners[(i + 1) % sides]);
    let mut from_west: Vec<usize> = (0..sides).collect();
    let west = |i: usize| side(i).0.lon.min(side(i).1.lon);
    from_west.sort_by(|a, b| west(*a).total_cmp(&west(*b)));
    for (n, &i) in from_west.iter().enumerate() {
        let (a, b) = side(i);
        for &j in from_west[n + 1..].iter().take_while(|j| west(**j) <= a.lon.max(b.lon)) {
            let are_neighbours = (i + 1) % sides == j || (j + 1) % sides == i;
            let (c, d) = side(j);
            if !are_neighbours && do_cross(a, b, c, d) {
                return Some(c);
            }
        }
    }
    None
}

/// Whether two lines have a point inside both.
fn do_cross(a: Point, b: Point, c: Point, d: Point) -> bool {
    let turn = |a: Point, b: Point, c: Point| (b.lon - a.lon) * (c.lat - a.lat) - (b.lat - a.lat) * (c.lon - a.lon);
    turn(a, b, c) * turn(a, b, d) < 0.0 && turn(c, d, a) * turn(c, d, b) < 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_crosses_itself_is_found_and_one_that_touches_or_repeats_itself_does_not() {
        let ring = |corners: &[(f64, f64)]| corners.iter().map(|&(lon, lat)| Point { lon, lat }).collect::<Vec<_>>();
        assert!(crossing(&ring(&[(0.0, 0.0), (2.0, 2.0), (2.0, 0.0), (0.0, 2.0)])).is_some());
        for simple in [
            &[(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0), (0.0, 0.0)][..],
            &[(0.0, 0.0), (2.0, 0.0), (2.0, 0.0), (1.0, 0.5), (2.0, 2.0), (0.0, 2.0)],
            &[(0.0, 0.0), (2.0, 0.0), (1.0, 0.0), (1.0, 1.0)],
            &[(0.0, 0.0)],
            &[],
        ] {
            assert_eq!(crossing(&ring(simple)), None, "{simple:?}");
        }
    }

    #[test]
    fn the_datums_of_the_maps_agree_with_the_published_vectors() {
        let point = |lat, lon| Point { lat, lon };
        let off = |a: Point, b: Point| distance_m(a, b);
        for (wgs, gcj, bd) in [
            ((34.7472, 113.6249), (34.746_017_50, 113.630_946_31), (34.752_318_99, 113.637_347_64)),
            ((22.543_096, 114.057_865), (22.540_378_75, 114.062_978_96), (22.546_037_40, 114.069_529_6)),
            ((43.825_592, 87.616_848), (43.826_797_44, 87.619_698), (43.832_941_27, 87.626_148_10)),
        ] {
            let (wgs, gcj, bd) = (point(wgs.0, wgs.1), point(gcj.0, gcj.1), point(bd.0, bd.1));
            assert!(off(to_gcj02(wgs), gcj) < 0.01);
            assert!(off(to_wgs84(gcj, Datum::Gcj02).expect("known"), wgs) < 0.01);
            assert!(off(to_wgs84(bd, Datum::Bd09).expect("known"), wgs) < 0.2, "{}", off(from_bd09(bd), gcj));
        }
        let london = point(51.5, -0.12);
        assert_eq!(to_wgs84(london, Datum::Gcj02), Some(london));
        assert_eq!(to_wgs84(london, Datum::Unknown), None);
        assert_eq!(to_wgs84(Point { lon: 0.0, lat: 0.0 }, Datum::Wgs84), None, "what a device says that knows none");
    }

    #[test]
    fn one_degree_of_latitude_is_111_kilometres() {
        let d = distance_m(Point { lon: 117.0, lat: 34.0 }, Point { lon: 117.0, lat: 35.0 });
        assert!((d - 111_195.0).abs() < 10.0, "{d}");
    }

    #[test]
    fn a_hole_is_outside() {
        let square = |a: f64, b: f64| {
            vec![Point { lon: a, lat: a }, Point { lon: b, lat: a }, Point { lon: b, lat: b }, Point { lon: a, lat: b }]
        };
        let area = Polygon { rings: vec![square(0.0, 10.0), square(4.0, 6.0)] };
        assert!(area.contains(Point { lon: 1.0, lat: 1.0 }));
        assert!(!area.contains(Point { lon: 5.0, lat: 5.0 }));
        assert!(!area.contains(Point { lon: 11.0, lat: 5.0 }));
        assert_eq!(area.middle(), Point { lon: 5.0, lat: 5.0 });
    }

    #[test]
    fn geojson_errors_say_where() {
        let error = parse_geojson("{\"features\":[\n{\"geometry\":{\"type\":\"Point\"}}]}").expect_err("refused");
        assert!(error.contains("line 2"), "{error}");
        let off = "{\"features\":[{\"geometry\":{\"type\":\"Polygon\",\"coordinates\":[[[200,1]]]}}]}";
        assert!(parse_geojson(off).expect_err("refused").contains("feature 0"));
    }
}
