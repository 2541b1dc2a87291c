//! The HTTP API: alerts, the live stream, what seats and officers do, health and metrics.
//!
//! A 2xx to a write means durable. Errors are application/problem+json with a GW code.

pub mod agency;
mod alerts;
mod app;
pub mod hook;
pub mod idempotent;
mod officers;
pub mod pages;
mod problem;
pub mod rights;
mod seats;
pub mod signed;
pub mod talk;
pub mod who;
mod work;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use codecs::journal::Kind;
use codecs::record::{AlertRecord, CloudEvent};
use futures_util::stream;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::json;
use store::journal::{Item, Reader};
use switchboard::{CallFact, Fact, Failure, RequestId, Similar, TextFact, ToCasebook};
use tokio::sync::watch;

use crate::channel::Channels;
use crate::clock::Clock;
use crate::inbox::Handle;
use crate::inbox::casebook::{self, Answer, Reached, Waiting};
use crate::inbox::keys::Keys;
use crate::inbox::notices::Notices;
use crate::observe::health::Health;
use crate::sink::Standing;
use crate::thread::recorder::Taps;
use alerts::number;
pub use problem::Problem;
use problem::{as_problem, not_so, nowhere};
use who::Principal;

/// How long a request waits for the casebook before it is told that the store does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Api {
    pub shards: Handle,
    pub casebook: Sender<casebook::Input>,
    pub waiting: Waiting,
    pub next_request: Arc<AtomicU64>,
    pub tokens: Arc<who::Tokens>,
    pub places: Arc<rights::Places>,
    pub disk: Arc<dyn store::disk::Disk>,
    pub data: PathBuf,
    pub clock: Clock,
    pub durable: watch::Receiver<Reached>,
    /// The last frame that the read model has read.
    pub modelled: watch::Receiver<u64>,
    /// Which alerts may be about the same event.
    pub similar: Arc<Mutex<Similar>>,
    pub health: Health,
    pub taps: Taps,
    pub keys: Keys,
    /// Deliveries of platforms that were taken, by what signs them.
    pub seen: Arc<hook::Seen>,
    /// Long messages that are being read.
    pub long: Arc<hook::Long>,
    /// Rings a sink to try its dead letters again.
    pub sinks: Arc<[Arc<Standing>]>,
    pub paces: Arc<agency::Paces>,
    pub channels: Channels,
    pub notices: Notices,
    /// Texts that a call taker sends by name.
    pub templates: Arc<std::collections::BTreeMap<String, String>>,
    pub installation: signed::Installation,
    pub links: Arc<pages::Links>,
    pub newcomers: Arc<app::Newcomers>,
    pub present: pages::Present,
    /// Whoever asks comes over TLS.
    pub is_tls: bool,
}

/// A call of which nothing has come for so long is over, or is not recorded.
const STILL_TALKING: Duration = Duration::from_secs(5);

/// What a read model is given to follow the journal, after a start and after a fault.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(2);

/// What it is given for the last that was made durable, so that whoever has written reads what they wrote.
const CATCHES_UP_WITHIN: Duration = Duration::from_millis(500);

/// How often a quiet stream says that it is still there.
const STILL_HERE: Duration = Duration::from_secs(15);

impl Api {
    pub fn new_request(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a request on its way and waits for its answer; `None`: nobody answered in time.
    pub async fn wait_for(&self, request: RequestId, send: impl FnOnce()) -> Option<Answer> {
        let answer = self.waiting.wait(request);
        // Whether it is answered, is not in time, or whoever asked is gone: nothing is left waiting.
        let _forgotten = Forgotten { waiting: &self.waiting, request };
        send();
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }

    pub fn now_s(&self) -> i64 {
        self.clock.wall().0 / 1_000_000_000
    }

    /// Tells the casebook whose act a message is.
    fn tell(&self, who: &Principal, message: ToCasebook) {
        let message = ToCasebook::By { by: who.actor(), message: Box::new(message) };
        let _ = self.casebook.send(casebook::Input::Message(message));
    }
}

/// Takes a request's place away when nobody waits there any more.
struct Forgotten<'a> {
    waiting: &'a Waiting,
    request: RequestId,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.waiting.forget(self.request);
    }
}

/// The admin listener's state.
#[derive(Clone)]
pub struct Admin {
    pub prometheus: PrometheusHandle,
    pub ready: watch::Receiver<bool>,
    pub health: Health,
    /// The demo's page of ports, secrets and spare accounts.
    pub peers: Option<Arc<serde_json::Value>>,
}

pub fn api(state: Api) -> Router {
    let guarded = Router::new()
        .route("/v1/alerts", get(alerts::list))
        .route("/v1/alerts/{no}", get(alerts::show))
        .route("/v1/alerts/{no}/similar", get(alerts::similar))
        .route("/v1/alerts/{no}/transcript", post(add_transcript))
        .route("/v1/alerts/{no}/audio/{leg}", get(tap_audio))
        .route("/v1/events", get(events))
        .route("/v1/alerts/{no}/join", post(talk::join))
        .route("/v1/alerts/{no}/split", post(talk::split))
        .route("/v1/alerts/{no}/triage", post(work::triage))
        .route("/v1/alerts/{no}/steps", post(work::step))
        .route("/v1/seats/{id}/events", get(talk::seat_events))
        .route("/v1/seats/{id}/conversations/{no}/say", post(talk::say))
        .route("/v1/seats/{id}/conversations/{no}/done", post(talk::done))
        .route("/v1/agencies", get(seats::agencies))
        .route("/v1/outbound", post(talk::send))
        .route("/v1/outbound/{id}", get(talk::sent))
        .route("/v1/seats/{id}/{action}", post(seats::act))
        .route("/v1/sinks", get(list_sinks))
        .route("/v1/sinks/{name}/replay", post(replay_sink))
        .route("/v1/log", put(set_log))
        .route("/v1/app", get(app::open))
        .route("/v1/links", post(pages::make_link))
        .route("/v1/officers/{no}/events", get(officers::events))
        .route("/v1/officers/{no}/duty", put(officers::duty))
        .route("/v1/officers/{no}/position", put(officers::position))
        .layer(middleware::from_fn_with_state(state.clone(), idempotent::once))
        .layer(middleware::from_fn_with_state(state.clone(), who::authenticate));
    Router::new()
        .merge(guarded)
        .merge(pages::pages())
        .route("/v1/device", post(app::device))
        .route("/openapi.json", get(openapi))
        .route("/schemas/alert", get(schema))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(middleware::map_response(as_problem))
        .with_state(state)
}

/// What platforms post to.
pub fn hooks(state: Api) -> Router {
    Router::new()
        .route("/hook/{channel}", get(hook::check).post(hook::message))
        .layer(middleware::map_response(as_problem))
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

/// Whether calls are taken; below it, a line for each part that does not do all that it should.
async fn ready(State(state): State<Admin>) -> Response {
    let parts = state.health.text();
    if *state.ready.borrow() {
        format!("ready\n{parts}").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("draining\n{parts}")).into_response()
    }
}

async fn peers(State(state): State<Admin>) -> Response {
    match state.peers {
        Some(peers) => axum::Json((*peers).clone()).into_response(),
        None => Problem::new(StatusCode::NOT_FOUND, "GW-4404", "only in the demo").into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    by: String,
    body: String,
}

async fn add_transcript(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path(no): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let line: Transcript = parse_body(&body)?;
    if line.by.is_empty() || line.by.len() > 32 || line.body.chars().count() > 2000 {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "GW-4422",
            "by is 1 to 32 bytes, body at most 2000 characters",
        ));
    }
    let no = number(&state, &who, no).await?;
    let at = state.clock.wall();
    let fact = Fact::Text(TextFact::Said { by: line.by, body: line.body });
    let request = state.new_request();
    ask(&state, request, || state.tell(&who, ToCasebook::Fact { no, at, fact, request })).await
}

/// A-law as it is recorded, a tenth of a second at a time, until the call ends. Who listens stands in the record.
async fn tap_audio(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path((no, leg)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let no = number(&state, &who, no).await?;
    // First who listens, and whether there is a call to listen to: an alert that is over has none.
    let (at, request) = (state.clock.wall(), state.new_request());
    ask(&state, request, || {
        state.tell(&who, ToCasebook::Fact { no, at, fact: Fact::Call(CallFact::Listened), request })
    })
    .await?;
    let tap = state.taps.listen(no.as_str(), &leg);
    let standing = who::Standing::of(&state, &headers);
    let audio = stream::unfold((tap, standing), |(mut tap, mut standing)| async move {
        loop {
            if !standing.holds() {
                return None;
            }
            match tokio::time::timeout(STILL_TALKING, tap.recv()).await {
                Ok(Ok(samples)) => {
                    return Some((Ok::<_, Infallible>(Bytes::copy_from_slice(&samples)), (tap, standing)));
                }
                Ok(Err(tokio::sync::broadcast::error::RecvError::Lagged(_))) => {}
                Ok(Err(tokio::sync::broadcast::error::RecvError::Closed)) | Err(_) => return None,
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "audio/PCMA;rate=8000")], Body::from_stream(audio)).into_response())
}

/// Events that are read for a stream at one time.
const PORTION: usize = 64;

/// Somebody who reads the stream.
struct Listener {
    reader: Reader,
    durable: watch::Receiver<Reached>,
    who: Principal,
    standing: who::Standing,
    /// As they are sent.
    ready: VecDeque<Bytes>,
    /// The journal could not be read: it is tried again in a moment, and passed over one day.
    failed: bool,
}

/// Until the journal is tried again.
const TRIED_AGAIN: Duration = Duration::from_secs(1);

impl Listener {
    /// The next events that they may see, where that keeps nobody else waiting.
    async fn fill(mut self) -> Option<Listener> {
        tokio::task::spawn_blocking(move || {
            let until = self.durable.borrow_and_update().last;
            for _ in 0..PORTION {
                let item = self.reader.next(until);
                self.failed = item.is_err();
                match item {
                    Ok(Some(Item::Frame(frame))) if frame.kind == Kind::Event && self.sees(&frame.payload) => {
                        let (kind, data) = (event_type(&frame.payload), String::from_utf8_lossy(&frame.payload));
                        let text = format!("id: {}\nevent: {kind}\ndata: {data}\n\n", frame.sequence);
                        self.ready.push_back(Bytes::from(text));
                    }
                    Ok(Some(Item::Frame(_))) => {}
                    // Whoever reads is told that something is missing here.
                    Ok(Some(Item::Damage(damage))) => self.ready.push_back(Bytes::from(format!(": {damage}\n\n"))),
                    Ok(None) | Err(_) => break,
                }
            }
            Some(self)
        })
        .await
        .ok()?
    }

    fn sees(&self, payload: &[u8]) -> bool {
        let record = || CloudEvent::parts(payload).and_then(|(_, record)| AlertRecord::parse(&payload[record]).ok());
        self.who.area.is_empty() || record().is_some_and(|record| self.who.may_see(&record))
    }
}

/// Server-sent events: the journal's events from `Last-Event-ID` (or now) on, each with its sequence as id.
async fn events(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let reached = *state.durable.borrow();
    // Whoever comes with a number of another journal begins where this one ends.
    let from = last.unwrap_or(reached.last).min(reached.last);
    let reader = Reader::behind(Arc::clone(&state.disk), &state.data.join("journal"), from);
    let standing = who::Standing::of(&state, &headers);
    let listener =
        Listener { reader, durable: state.durable.clone(), who, standing, ready: VecDeque::new(), failed: false };
    let feed = stream::unfold(listener, |mut listener| async move {
        loop {
            if !listener.standing.holds() {
                return None;
            }
            if let Some(text) = listener.ready.pop_front() {
                return Some((Ok::<_, Infallible>(text), listener));
            }
            if listener.failed {
                tokio::time::sleep(TRIED_AGAIN).await;
            }
            listener = listener.fill().await?;
            if !listener.ready.is_empty() || listener.failed || listener.durable.has_changed().ok()? {
                continue;
            }
            match tokio::time::timeout(STILL_HERE, listener.durable.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((Ok(Bytes::from_static(b": still here\n\n")), listener)),
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

/// Every sink, how far it is and why it is not further.
async fn list_sinks(State(state): State<Api>) -> Response {
    let durable = state.durable.borrow().last;
    Json(state.sinks.iter().map(|sink| sink.show(durable)).collect::<Vec<_>>()).into_response()
}

/// 202: the dead letters are being tried again.
async fn replay_sink(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let Some(sink) = state.sinks.iter().find(|sink| sink.name == name) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such sink"));
    };
    tracing::info!(sink = name, by = who.actor(), "the dead letters are being tried again");
    sink.replay.notify_one();
    Ok(StatusCode::ACCEPTED.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    /// As `log.level` of the configuration.
    level: String,
}

/// 204: the log speaks at this level until the next start.
async fn set_log(Extension(who): Extension<Principal>, body: Bytes) -> Result<Response, Problem> {
    let log: Log = parse_body(&body)?;
    crate::observe::log::set_level(&log.level)
        .map_err(|what| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", format!("level: {what}")))?;
    tracing::warn!(level = log.level, by = who.actor(), "the log's level was set");
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
            Err(Failure::StoreFull) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "GW-3101",
                "the store takes nothing, and as much waits for it as may; nothing was done",
            )),
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
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "GW-3101", detail).but_done())
        }
    }
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
    use super::*;

    #[test]
    fn a_request_that_nobody_waits_for_any_more_leaves_nothing() {
        let waiting = Waiting::default();
        let _answer = waiting.wait(RequestId(7));
        assert_eq!(waiting.count(), 1);
        drop(Forgotten { waiting: &waiting, request: RequestId(7) });
        assert_eq!(waiting.count(), 0);
    }

    #[test]
    fn every_route_is_in_the_openapi_document_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).expect("JSON");
        let mut documented: Vec<&str> =
            document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
        documented.sort_unstable();
        let source = include_str!("mod.rs");
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

    #[test]
    fn the_openapi_document_has_every_field_of_a_triage() {
        let document: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).expect("JSON");
        let names = |value: &serde_json::Value| -> std::collections::BTreeSet<String> {
            value.as_object().expect("properties").keys().cloned().collect()
        };
        let documented = names(&document["components"]["schemas"]["triage"]["properties"]);
        let schema = schemars::schema_for!(codecs::record::Assessment).to_value();
        let mut known = names(&schema["properties"]);
        known.extend(["grid", "lon", "lat"].map(str::to_owned));
        assert_eq!(documented, known);
    }
}
