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

#[cfg(test)]
mod tests {
    use super::*;

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
