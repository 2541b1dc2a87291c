//! What is established about an alert, and the steps of those who act on it.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use codecs::geo::Point;
use codecs::record::{Assessment, HandlingStep, Stamp};
use serde::Deserialize;
use serde_json::Value;
use switchboard::{HandlingFact, Place, ToCasebook};

use super::rights::Places;
use super::who::{Principal, Role};
use super::{Api, Problem, ask, number, parse_body};

/// The longest words of a step, in characters, and of a name or code in it.
const TEXT_MAX: usize = 1000;
const WORD_MAX: usize = 64;

fn unprocessable(what: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", what.into())
}

fn point(lon: Option<f64>, lat: Option<f64>) -> Result<Option<Point>, Problem> {
    match (lon, lat) {
        (Some(lon), Some(lat)) if (Point { lon, lat }).is_sane() => Ok(Some(Point { lon, lat })),
        (None, None) => Ok(None),
        _ => Err(unprocessable("lon and lat are degrees, both or neither")),
    }
}

/// Where it is, beside what it is.
#[derive(Deserialize)]
struct Where {
    grid: Option<String>,
    lon: Option<f64>,
    lat: Option<f64>,
}

/// What a triage says. A field that no triage has is refused: whoever wrote it believes that it was taken.
pub(super) fn assessment(body: &Bytes, places: &Places) -> Result<(Assessment, Option<Place>), Problem> {
    let mut whole: Value = parse_body(body)?;
    let at: Where = parse_body(body)?;
    let fields = whole.as_object_mut().ok_or_else(|| unprocessable("a triage is an object"))?;
    ["grid", "lon", "lat"].iter().for_each(|key| drop(fields.remove(*key)));
    for instant in ["/occurred_at", "/fraud/paid_at"] {
        if let Some(Value::String(text)) = whole.pointer_mut(instant) {
            let read = Stamp::from_rfc3339(text);
            *text = read.ok_or_else(|| unprocessable(format!("{}: no RFC 3339 instant", &instant[1..])))?.text();
        }
    }
    let said: Assessment = serde_json::from_value(whole.clone()).map_err(|e| unprocessable(format!("body: {e}")))?;
    let taken = serde_json::to_value(&said).map_err(|e| Problem::internal(&e.into()))?;
    if let Some(unknown) = not_in(&whole, &taken) {
        return Err(unprocessable(format!("body: unknown field `{unknown}`")));
    }
    if said.words().chain(&said.text).any(|t| t.contains(is_forbidden)) {
        return Err(unprocessable("control characters are no text"));
    }
    if let Some(fault) = said.fault() {
        return Err(unprocessable(fault));
    }
    let known = &places.categories;
    if said.category.as_ref().is_some_and(|code| !known.is_empty() && !known.contains_key(code)) {
        let all = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(unprocessable(format!("category: there are {all}")));
    }
    if said.complaint_of.as_ref().is_some_and(|unit| !unit.is_empty() && !places.is_unit(unit)) {
        return Err(unprocessable("complaint_of is the code of a unit, or empty"));
    }
    if at.grid.as_ref().is_some_and(|grid| grid.trim().is_empty() || grid.len() > WORD_MAX) {
        return Err(unprocessable("grid is 1 to 64 octets"));
    }
    if !whole.is_object() {
        return Err(unprocessable("a triage is an object"));
    }
    let point = point(at.lon, at.lat)?;
    let place = (at.grid.is_some() || point.is_some()).then_some(Place { grid: at.grid, point, avoid: None });
    if said == Assessment::default() && place.is_none() {
        return Err(unprocessable("it names nothing"));
    }
    Ok((said, place))
}

/// The first field that was given and is not in what was understood.
fn not_in(given: &Value, taken: &Value) -> Option<String> {
    match (given, taken) {
        (Value::Object(given), taken) => {
            given.iter().filter(|(_, v)| !v.is_null()).find_map(|(key, value)| match taken.get(key) {
                // A list is no object, though it could be read as one.
                Some(taken) if value.is_array() == taken.is_array() => not_in(value, taken),
                _ => Some(key.clone()),
            })
        }
        (Value::Array(given), Value::Array(taken)) => given.iter().zip(taken).find_map(|(g, t)| not_in(g, t)),
        _ => None,
    }
}

/// A triage of an alert, live or over.
pub(super) async fn triage(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path(no): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let (said, place) = assessment(&body, &state.places)?;
    let no = number(&state, &who, no).await?;
    let (at, request, said) = (state.clock.wall(), state.new_request(), Box::new(said));
    ask(&state, request, || state.tell(&who, ToCasebook::Triage { at, no, said, place, request })).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepBody {
    step: HandlingStep,
    /// The target whose step it is; a downstream system's own where nothing is said.
    target: Option<String>,
    #[serde(default)]
    to: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    result_code: String,
    lon: Option<f64>,
    lat: Option<f64>,
}

/// A step of those who act. A downstream system signs for itself, an officer tells of their own doing.
pub(super) async fn step(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path(no): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let step: StepBody = parse_body(&body)?;
    let place = point(step.lon, step.lat)?;
    if step.text.chars().count() > TEXT_MAX {
        return Err(unprocessable("text is at most 1000 characters"));
    }
    let words = [step.target.as_ref(), Some(&step.to), Some(&step.result_code)];
    if words.into_iter().flatten().any(|w| w.chars().count() > WORD_MAX) {
        return Err(unprocessable("target, to and result_code are at most 64 characters"));
    }
    if step.step == HandlingStep::HandedOver && !state.places.is_unit(&step.to) {
        return Err(unprocessable("to is the code of a unit"));
    }
    if let Some(fault) = result_fault(&state.places.result_codes, step.step, &step.result_code) {
        return Err(unprocessable(fault));
    }
    let texts = [Some(&step.text), Some(&step.to), Some(&step.result_code), step.target.as_ref()];
    if texts.into_iter().flatten().any(|t| t.contains(is_forbidden)) {
        return Err(unprocessable("control characters are no text"));
    }
    let for_target = who.role == Role::Downstream || step.target.is_some();
    if !may_take(who.role, step.step, for_target) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "GW-4403", "this step is not yours to take"));
    }
    let target = match who.role {
        Role::Downstream if step.target.as_ref().is_some_and(|target| *target != who.subject) => {
            return Err(Problem::new(StatusCode::FORBIDDEN, "GW-4403", "another target's step"));
        }
        Role::Downstream => who.subject.clone(),
        // What an officer does is their own, and no target's signature.
        Role::Officer => String::new(),
        _ => step.target.unwrap_or_default(),
    };
    let officer = if who.role == Role::Officer { who.subject.clone() } else { String::new() };
    let no = number(&state, &who, no).await?;
    let StepBody { step, to, text, result_code, .. } = step;
    let step = Box::new(HandlingFact { step, target, officer, to, text, result_code, place });
    let (at, request) = (state.clock.wall(), state.new_request());
    ask(&state, request, || state.tell(&who, ToCasebook::Handle { at, no, step, request })).await
}

/// Whoever reports back says what came of it, by a code that the city knows.
fn result_fault(known: &BTreeMap<String, String>, step: HandlingStep, code: &str) -> Option<String> {
    let is_wanted = step == HandlingStep::FedBack || !code.is_empty();
    let is_fine = known.is_empty() || !is_wanted || known.contains_key(code);
    let all = || known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!is_fine).then(|| format!("result_code `{code}`: there are {}", all()))
}

/// What JSON writes as six octets each, and nobody as text.
pub(super) fn is_forbidden(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

/// Ending an alert, approving what was done and giving it to another unit is for whoever leads or owns it; nobody at a
/// seat acts for a target.
fn may_take(role: Role, step: HandlingStep, for_target: bool) -> bool {
    let leads = matches!(role, Role::Supervisor | Role::All);
    if role == Role::Seat && for_target {
        return false;
    }
    match step {
        HandlingStep::Pushed => false,
        // Who waits for somebody does not let themselves wait.
        HandlingStep::Closed
        | HandlingStep::Reviewed
        | HandlingStep::Paused
        | HandlingStep::Resumed
        | HandlingStep::Endorsed => leads,
        HandlingStep::Assigned => leads || role == Role::Downstream,
        HandlingStep::HandedOver => leads || role == Role::Downstream,
        HandlingStep::Signed | HandlingStep::Instructed | HandlingStep::Refused => leads || role == Role::Downstream,
        HandlingStep::Accepted
        | HandlingStep::Contacted
        | HandlingStep::Enroute
        | HandlingStep::Arrived
        | HandlingStep::Handled
        | HandlingStep::FedBack
        | HandlingStep::Withdrawn
        | HandlingStep::Situation
        | HandlingStep::Risk
        | HandlingStep::Measure => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> Result<(Assessment, Option<Place>), String> {
        let categories = BTreeMap::from([("100200".to_owned(), "抢劫".to_owned())]);
        let places = Places { unit: "370402510000".into(), categories, ..Places::default() };
        assessment(&Bytes::from(json.to_owned()), &places).map_err(|p| format!("{p:?}"))
    }

    #[test]
    fn a_triage_that_names_what_no_triage_has_is_refused_by_that_name() {
        assert!(said(r#"{"kind":"report","fraud":{"account":"6222"},"lon":117.5,"lat":34.8}"#).is_ok());
        assert!(said(r#"{"kind":"report","category":null}"#).is_ok(), "null says nothing");
        assert!(
            said(r#"{"occurred_at":"2026-11-22T00:00:00Z","fraud":{"paid_at":"2026-11-22T08:00:00+08:00"}}"#).is_ok()
        );
        for (json, what) in [
            (r#"{"kindd":"report"}"#, "unknown field `kindd`"),
            (r#"{"fraud":{"acount":"6222"}}"#, "unknown field `acount`"),
            (r#"{"vehicles":[{"plate":"A","colour":"red"}]}"#, "unknown field `colour`"),
            (r#"{"kind":"murder"}"#, "murder"),
            (r#"{"category":"12"}"#, "six digits"),
            (r#"{"category":"100201"}"#, "there are 100200"),
            (r#"{"fraud":{"paid_at":"yesterday"}}"#, "fraud/paid_at: no RFC 3339"),
            (r#"{"lon":117.5}"#, "both or neither"),
            (r#"{}"#, "names nothing"),
            (r#"{"grid":""}"#, "1 to 64"),
            (r#"{"text":"a\u0000b"}"#, "control characters"),
            (r#"{"casualties":[1,2,3]}"#, "casualties"),
            (r#"[]"#, "invalid length"),
            (r#"7"#, "invalid type"),
        ] {
            let error = said(json).expect_err(json);
            assert!(error.contains(what), "{json}: {error}");
        }
    }
}
