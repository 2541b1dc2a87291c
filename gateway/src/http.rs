//! The HTTP API: alerts, the live stream, what seats and officers do, health and metrics.
//!
//! A 2xx to a write means durable. Errors are application/problem+json with a GW code.

pub mod talk;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use codecs::geo::Point;
use codecs::journal::Kind;
use codecs::record::{AlertNo, AlertRecord, IncidentKind};
use dashmap::DashMap;
use futures_util::stream;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::json;
use switchboard::{Action, Fact, Failure, Place, RequestId, ToCasebook, ToDesk};
use tokio::sync::watch;

use crate::casebook_thread::{self, Answer, Waiting};
use crate::channel::{Channels, hook};
use crate::clock::Clock;
use crate::journal::{Cursor, Reader, segments};
use crate::read_model;
use crate::recorder_thread::Taps;
use crate::shards::{Handle, Input};

/// How long a request waits for the casebook before it is told that the store does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Remembered answers to idempotent writes.
const IDEMPOTENT_MAX: usize = 10_000;

#[derive(Clone)]
pub struct Api {
    pub shards: Handle,
    pub casebook: Sender<casebook_thread::Input>,
    pub waiting: Waiting,
    pub next_request: Arc<AtomicU64>,
    pub token: Arc<str>,
    pub data: PathBuf,
    pub journal: PathBuf,
    pub clock: Clock,
    pub durable: watch::Receiver<u64>,
    pub taps: Taps,
    pub idempotent: Arc<DashMap<String, (u16, String)>>,
    /// Rings a sink to try its dead letters again.
    pub replays: Arc<std::collections::BTreeMap<String, Arc<tokio::sync::Notify>>>,
    pub channels: Channels,
    pub notices: talk::Notices,
    /// Texts that a call taker sends by name.
    pub templates: Arc<std::collections::BTreeMap<String, String>>,
}

/// How often a quiet stream says that it is still there.
const STILL_HERE: Duration = Duration::from_secs(15);

impl Api {
    pub fn new_request(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a request on its way and waits for its answer; `None`: nobody answered in time.
    pub async fn wait_for(&self, request: RequestId, send: impl FnOnce()) -> Option<Answer> {
        let answer = self.waiting.wait(request);
        send();
        let answer = tokio::time::timeout(PATIENCE, answer).await.ok()?.ok();
        if answer.is_none() {
            self.waiting.forget(request);
        }
        answer
    }
}

/// The admin listener's state.
#[derive(Clone)]
pub struct Admin {
    pub prometheus: PrometheusHandle,
    pub ready: watch::Receiver<bool>,
    /// The demo's page of ports, secrets and spare accounts.
    pub peers: Option<Arc<serde_json::Value>>,
}

/// An error as the client gets it.
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    done: bool,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), done: false }
    }
    fn internal(error: &anyhow::Error) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "GW-4500", format!("{error:#}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:gateway:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if self.done {
            body["done"] = json!(true);
        }
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

pub fn api(state: Api) -> Router {
    let guarded = Router::new()
        .route("/v1/alerts", get(list_alerts))
        .route("/v1/alerts/{no}", get(show_alert))
        .route("/v1/alerts/{no}/transcript", post(add_transcript))
        .route("/v1/alerts/{no}/audio/{leg}", get(tap_audio))
        .route("/v1/events", get(events))
        .route("/v1/alerts/{no}/join", post(talk::join))
        .route("/v1/alerts/{no}/split", post(talk::split))
        .route("/v1/seats/{id}/events", get(talk::seat_events))
        .route("/v1/seats/{id}/conversations/{no}/say", post(talk::say))
        .route("/v1/seats/{id}/conversations/{no}/done", post(talk::done))
        .route("/v1/outbound", post(talk::send))
        .route("/v1/outbound/{id}", get(talk::sent))
        .route("/v1/seats/{id}/{action}", post(seat_action))
        .route("/v1/sinks/{name}/replay", post(replay_sink))
        .route("/v1/officers/{no}/duty", put(officer_duty))
        .route("/v1/officers/{no}/position", put(officer_position))
        .layer(middleware::from_fn_with_state(state.clone(), authenticate));
    Router::new()
        .merge(guarded)
        .route("/openapi.json", get(openapi))
        .route("/schemas/alert", get(schema))
        .route("/hook/{channel}", get(hook::check).post(hook::message))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such path"))
        .with_state(state)
}

pub fn admin(state: Admin) -> Router {
    Router::new()
        .route("/metrics", get(async |State(s): State<Admin>| s.prometheus.render()))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/demo/peers.json", get(peers))
        .with_state(state)
}

async fn ready(State(state): State<Admin>) -> Response {
    if *state.ready.borrow() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    }
}

async fn peers(State(state): State<Admin>) -> Response {
    match state.peers {
        Some(peers) => axum::Json((*peers).clone()).into_response(),
        None => Problem::new(StatusCode::NOT_FOUND, "GW-4404", "only in the demo").into_response(),
    }
}

async fn authenticate(State(state): State<Api>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    let right = given.is_some_and(|g| {
        g.len() == state.token.len() && g.bytes().zip(state.token.bytes()).fold(0, |d, (a, b)| d | (a ^ b)) == 0
    });
    if right {
        next.run(request).await
    } else {
        let problem =
            Problem::new(StatusCode::UNAUTHORIZED, "GW-4401", "Authorization: Bearer <DATA/token> is missing or wrong");
        ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

async fn list_alerts(State(state): State<Api>, Query(page): Query<Page>) -> Result<Response, Problem> {
    let limit = page.limit.unwrap_or(100).min(1000);
    let rows = tokio::task::spawn_blocking(move || read_model::list(&state.data, page.after, limit)).await;
    let rows = rows.map_err(|e| Problem::internal(&e.into()))?.map_err(|e| Problem::internal(&e))?;
    let next = rows.last().map_or(page.after, |(sequence, _)| *sequence);
    let alerts: Vec<&str> = rows.iter().map(|(_, record)| record.as_str()).collect();
    let body = format!("{{\"next\":{next},\"alerts\":[{}]}}", alerts.join(","));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn find_alert(state: &Api, no: String) -> Result<String, Problem> {
    let data = state.data.clone();
    let found = tokio::task::spawn_blocking(move || read_model::get(&data, &no)).await;
    let mut found = found.map_err(|e| Problem::internal(&e.into()))?.map_err(|e| Problem::internal(&e))?;
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such alert")),
        _ => Err(Problem::new(StatusCode::CONFLICT, "GW-4409", "several alerts end like this; give more digits")),
    }
}

async fn show_alert(State(state): State<Api>, Path(no): Path<String>) -> Result<Response, Problem> {
    let record = find_alert(&state, no).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], record).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    by: String,
    body: String,
}

async fn add_transcript(State(state): State<Api>, Path(no): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let line: Transcript = parse_body(&body)?;
    if line.by.is_empty() || line.by.len() > 32 || line.body.chars().count() > 2000 {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "GW-4422",
            "by is 1 to 32 bytes, body at most 2000 characters",
        ));
    }
    let no = match AlertNo::parse(&no) {
        Some(no) => no,
        None => {
            let record = find_alert(&state, no).await?;
            let record: AlertRecord = serde_json::from_str(&record).map_err(|e| Problem::internal(&e.into()))?;
            AlertNo::parse(&record.id.alert_no)
                .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such alert"))?
        }
    };
    let at = state.clock.wall();
    let fact = Fact::Said { by: line.by, body: line.body };
    let request = state.new_request();
    let message = ToCasebook::Fact { no, at, fact, request };
    ask(&state, request, || {
        let _ = state.casebook.send(casebook_thread::Input::Message(message));
    })
    .await
}

/// A-law as it is recorded, a tenth of a second at a time, until the call ends.
async fn tap_audio(State(state): State<Api>, Path((no, leg)): Path<(String, String)>) -> Result<Response, Problem> {
    let record = find_alert(&state, no).await?;
    let record: AlertRecord = serde_json::from_str(&record).map_err(|e| Problem::internal(&e.into()))?;
    let tap = state.taps.listen(&record.id.alert_no, &leg);
    let audio = stream::unfold(tap, |mut tap| async move {
        loop {
            match tap.recv().await {
                Ok(samples) => return Some((Ok::<_, Infallible>(Bytes::copy_from_slice(&samples)), tap)),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "audio/PCMA;rate=8000")], Body::from_stream(audio)).into_response())
}

/// Server-sent events: the journal's events from `Last-Event-ID` (or now) on, each with its sequence as id.
async fn events(State(state): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let from = last.unwrap_or_else(|| *state.durable.borrow());
    let all = segments(&state.journal).map_err(|e| Problem::internal(&e.into()))?;
    let segment = all.into_iter().rfind(|first| *first <= from + 1).unwrap_or_default();
    let reader = Reader::new(&state.journal, Cursor { segment, offset: 0 });
    let feed = stream::unfold((reader, state.durable.clone(), from), |(mut reader, mut durable, from)| async move {
        loop {
            let until = *durable.borrow_and_update();
            match reader.next_durable(until) {
                Ok(Some(frame)) if frame.kind == Kind::Event && frame.sequence > from => {
                    let kind = event_type(&frame.payload);
                    let data = String::from_utf8_lossy(&frame.payload);
                    let text = format!("id: {}\nevent: {kind}\ndata: {data}\n\n", frame.sequence);
                    return Some((Ok::<_, Infallible>(Bytes::from(text)), (reader, durable, from)));
                }
                Ok(Some(_)) => {}
                Ok(None) => match tokio::time::timeout(STILL_HERE, durable.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None,
                    Err(_) => return Some((Ok(Bytes::from_static(b": still here\n\n")), (reader, durable, from))),
                },
                Err(_) => return None,
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], Body::from_stream(feed))
        .into_response())
}

fn event_type(payload: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Type {
        #[serde(rename = "type")]
        kind: String,
    }
    serde_json::from_slice::<Type>(payload).map(|t| t.kind).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Triage {
    kind: IncidentKind,
    category: Option<String>,
    level: Option<u8>,
    #[serde(default)]
    text: String,
    grid: Option<String>,
    lon: Option<f64>,
    lat: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    to: String,
}

async fn seat_action(
    State(state): State<Api>,
    Path((seat, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let action = match action.as_str() {
        "hangup" => Action::HangUp,
        "answer" => Action::Ready,
        "three-way" => Action::ThreeWay,
        "triage" => triage(parse_body(&body)?)?,
        "transfer" => Action::Transfer { to: parse_body::<Transfer>(&body)?.to },
        _ => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "GW-4404",
                "actions: answer, hangup, triage, three-way, transfer",
            ));
        }
    };
    let scope = format!("{seat} {action:?}");
    once(&state, &headers, &scope, async {
        let request = state.new_request();
        ask(&state, request, || state.shards.send(Input::Desk(ToDesk::SeatAction { seat, action, request }))).await
    })
    .await
}

fn triage(t: Triage) -> Result<Action, Problem> {
    let unprocessable = |what: &str| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", what));
    if t.category.as_ref().is_some_and(|c| c.len() != 6 || !c.bytes().all(|b| b.is_ascii_digit())) {
        return unprocessable("category is six digits");
    }
    if t.level.is_some_and(|l| !(1..=4).contains(&l)) {
        return unprocessable("level is 1 to 4");
    }
    let point = match (t.lon, t.lat) {
        (Some(lon), Some(lat)) if (Point { lon, lat }).is_sane() => Some(Point { lon, lat }),
        (None, None) => None,
        _ => return unprocessable("lon and lat are degrees, both or neither"),
    };
    let place = (t.grid.is_some() || point.is_some()).then_some(Place { grid: t.grid, point });
    Ok(Action::Triage { kind: t.kind, category: t.category, level: t.level, text: t.text, place })
}

/// 202: the dead letters are being tried again.
async fn replay_sink(State(state): State<Api>, Path(name): Path<String>) -> Result<Response, Problem> {
    let Some(replay) = state.replays.get(&name) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such sink"));
    };
    replay.notify_one();
    Ok(StatusCode::ACCEPTED.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Duty {
    on_duty: bool,
}

async fn officer_duty(State(state): State<Api>, Path(officer): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let on_duty = parse_body::<Duty>(&body)?.on_duty;
    let request = state.new_request();
    let told = ToDesk::Duty { officer: officer.clone(), on_duty, request };
    ask(&state, request, || state.shards.send(Input::Desk(told))).await?;
    let request = state.new_request();
    ask(&state, request, || {
        let _ = state.casebook.send(casebook_thread::Input::Duty { officer, on_duty, request });
    })
    .await
}

/// Live state, not journalled: 204.
async fn officer_position(
    State(state): State<Api>,
    Path(officer): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let at: Point = parse_body(&body)?;
    if !at.is_sane() {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", "lon and lat are degrees"));
    }
    let request = state.new_request();
    ask(&state, request, || state.shards.send(Input::Desk(ToDesk::Position { officer, at, request }))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn parse_body<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|e| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", format!("body: {e}")))
}

/// Sends a request on its way and waits for its answer.
async fn ask(state: &Api, request: RequestId, send: impl FnOnce()) -> Result<Response, Problem> {
    match state.wait_for(request, send).await {
        Some(Answer::Reply(reply)) => match reply.result {
            Ok(Some(no)) => Ok(axum::Json(json!({ "alert_no": no.as_str() })).into_response()),
            Ok(None) => Ok(axum::Json(json!({})).into_response()),
            Err(Failure::NotFound(what)) => Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", what)),
            Err(Failure::Conflict(what)) => Err(Problem::new(StatusCode::CONFLICT, "GW-4409", what)),
            Err(Failure::Quota) => Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "GW-4429",
                "this sender has had stored what one may in a day",
            )),
            Err(Failure::Silent) => Err(Problem::new(
                StatusCode::CONFLICT,
                "GW-4410",
                "the reporter must not be heard: say it with despite_silence, or leave it",
            )),
        },
        Some(Answer::NotDurable) | None => {
            let detail = "carried out, but the journal cannot be written; it is not on record yet";
            Err(Problem { done: true, ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "GW-3101", detail) })
        }
    }
}

/// The same `Idempotency-Key` on the same request gets the same answer, and the work is done once.
async fn once(
    state: &Api,
    headers: &HeaderMap,
    scope: &str,
    work: impl Future<Output = Result<Response, Problem>>,
) -> Result<Response, Problem> {
    let Some(key) = headers.get("idempotency-key").and_then(|v| v.to_str().ok()).map(|k| format!("{k} {scope}")) else {
        return work.await;
    };
    if let Some(known) = state.idempotent.get(&key) {
        let status = StatusCode::from_u16(known.0).unwrap_or(StatusCode::OK);
        return Ok((status, [(header::CONTENT_TYPE, "application/json")], known.1.clone()).into_response());
    }
    let response = work.await?;
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 64 * 1024).await.map_err(|e| Problem::internal(&e.into()))?;
    if state.idempotent.len() >= IDEMPOTENT_MAX {
        state.idempotent.clear();
    }
    state.idempotent.insert(key, (parts.status.as_u16(), String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

/// The JSON Schema of one alert record.
pub fn alert_schema() -> serde_json::Value {
    schemars::schema_for!(AlertRecord).to_value()
}

/// The JSON Schema of one event: the envelope around a record.
pub fn event_schema() -> serde_json::Value {
    schemars::schema_for!(codecs::record::CloudEvent).to_value()
}

async fn schema() -> Response {
    axum::Json(alert_schema()).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_route_is_in_the_openapi_document_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).expect("JSON");
        let mut documented: Vec<&str> =
            document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
        documented.sort_unstable();
        let source = include_str!("http.rs");
        let mut routed: Vec<&str> = source
            .split(".route(\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .filter(|path| {
                path.starts_with("/v1")
                    || path.starts_with("/hook")
                    || path.starts_with("/openapi")
                    || path.starts_with("/schemas")
            })
            .collect();
        routed.sort_unstable();
        assert_eq!(documented, routed);
    }
}
