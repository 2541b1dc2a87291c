//! Conversations over the API: what a seat holds, what it says, alerts joined and taken apart, lines to anybody.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use codecs::record::{Address, LineState};
use serde::Deserialize;
use serde_json::json;
use switchboard::{SayRequest, ToCasebook};
use tokio::sync::broadcast;

use super::pages::Here;
use super::who::{Principal, Standing};
use super::work::is_forbidden;
use super::{Api, Problem, ask, number, parse_body};
use crate::inbox::casebook::Input;

/// How often a page is asked whether it is open.
const STILL_THERE: std::time::Duration = std::time::Duration::from_secs(1);

/// The longest line a taker writes.
const BODY_MAX: usize = 1000;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Listens {
    /// A person is there: the seat is given conversations, with no telephone registered too.
    here: bool,
}

/// Server-sent events of one seat: everything it holds, then whatever happens to it.
pub(super) async fn seat_events(
    State(state): State<Api>,
    Path(seat): Path<String>,
    Query(listens): Query<Listens>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !state.places.seats.contains(&seat) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such seat"));
    }
    let listener = state.notices.listen(&seat);
    let here = listens.here.then(|| state.present.enter(&seat, &state.shards));
    let _ = state.casebook.send(Input::Message(ToCasebook::Tell { at: state.clock.wall(), seat }));
    Ok(stream(listener, Standing::of(&state, &headers), here))
}

/// What is told to a listener, as long as their token counts.
pub(super) fn stream(listener: broadcast::Receiver<Arc<str>>, standing: Standing, here: Option<Here>) -> Response {
    let feed =
        futures_util::stream::unfold((listener, standing, here), |(mut listener, mut standing, here)| async move {
            if !standing.holds() {
                return None;
            }
            // Whoever closes a page is noticed when something is said to them.
            let still = if here.is_some() { STILL_THERE } else { super::STILL_HERE };
            match tokio::time::timeout(still, listener.recv()).await {
                Ok(Ok(_)) if !standing.holds() => None,
                Ok(Ok(text)) => {
                    Some((Ok::<_, Infallible>(Bytes::copy_from_slice(text.as_bytes())), (listener, standing, here)))
                }
                // Too slow for what comes: the list is read anew on the next connection.
                Ok(Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed)) => None,
                Err(_) => Some((Ok(Bytes::from_static(b": still here\n\n")), (listener, standing, here))),
            }
        });
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (head, Body::from_stream(feed)).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    body: Option<String>,
    /// One of the configured templates instead.
    template: Option<String>,
    channel: Option<String>,
    /// The reporter's line that it answers, by its `ref`: it goes to whoever wrote that.
    answers: Option<String>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    despite_silence: bool,
}

pub(super) async fn say(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path((seat, no)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    let say: Say = parse_body(&body)?;
    let text = text_of(&state, say.body, say.template)?;
    let no = number(&state, &who, no).await?;
    let request = state.new_request();
    let at = state.clock.wall();
    let line = SayRequest {
        at,
        no,
        seat,
        body: text,
        channel: say.channel,
        answers: say.answers,
        done: say.done,
        despite_silence: say.despite_silence,
        request,
    };
    ask(&state, request, || state.tell(&who, ToCasebook::Say(Box::new(line)))).await
}

fn text_of(state: &Api, body: Option<String>, template: Option<String>) -> Result<String, Problem> {
    let unprocessable = |what: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", what);
    match (body, template) {
        (Some(body), None) if body.contains(is_forbidden) => {
            Err(unprocessable("control characters are no text".into()))
        }
        (Some(body), None) if !body.trim().is_empty() && body.chars().count() <= BODY_MAX => Ok(body),
        (None, Some(name)) => state.templates.get(&name).cloned().ok_or_else(|| {
            let known: Vec<&str> = state.templates.keys().map(String::as_str).collect();
            unprocessable(format!("no template `{name}`; there are: {}", known.join(", ")))
        }),
        _ => Err(unprocessable(format!("either `body`, 1 to {BODY_MAX} characters, or `template`"))),
    }
}

pub(super) async fn done(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path((seat, no)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let no = number(&state, &who, no).await?;
    let request = state.new_request();
    let message = ToCasebook::Done { at: state.clock.wall(), no, seat, request };
    ask(&state, request, || state.tell(&who, message)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    /// The alert that goes on as the one of the path.
    other: String,
}

pub(super) async fn join(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path(no): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let join: Join = parse_body(&body)?;
    let (to, from) = (number(&state, &who, no).await?, number(&state, &who, join.other).await?);
    let request = state.new_request();
    let message = ToCasebook::Join { at: state.clock.wall(), from, to, request };
    ask(&state, request, || state.tell(&who, message)).await
}

/// Who is taken out.
#[derive(Deserialize)]
#[serde(untagged)]
enum Out {
    Sender(Address),
    /// A call that was joined, by its alert.
    Call {
        call: String,
    },
}

pub(super) async fn split(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path(no): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let out: Out = parse_body(&body)?;
    let no = number(&state, &who, no).await?;
    let (at, request) = (state.clock.wall(), state.new_request());
    let message = match out {
        Out::Sender(sender) => ToCasebook::Split { at, no, sender, request },
        Out::Call { call } => {
            let call = number(&state, &who, call).await?;
            ToCasebook::SplitCall { at, no, call, request }
        }
    };
    ask(&state, request, || state.tell(&who, message)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outbound {
    channel: String,
    to: String,
    body: Option<String>,
    template: Option<String>,
    /// `message`, or `notice`: goes when nothing else waits.
    #[serde(default)]
    class: Class,
}

#[derive(Deserialize, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Class {
    #[default]
    Message,
    Notice,
}

/// A line to anybody, alert or not: 200 with its name when it is durable.
pub(super) async fn send(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    body: Bytes,
) -> Result<Response, Problem> {
    let out: Outbound = parse_body(&body)?;
    let text = text_of(&state, out.body, out.template)?;
    if out.to.is_empty() || out.to.len() > 128 {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", "to is 1 to 128 bytes"));
    }
    let request = state.new_request();
    let line = state.channels.line_name();
    state.channels.note_state(&line, LineState::Queued, "");
    let to = Address { channel: out.channel, user: out.to };
    let notice = out.class == Class::Notice;
    let (at, name) = (state.clock.wall(), line.clone());
    let message = ToCasebook::Send { at, line, to, body: text, notice, request };
    ask(&state, request, || state.tell(&who, message)).await?;
    Ok(axum::Json(json!({ "id": name })).into_response())
}

pub(super) async fn sent(State(state): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    match state.channels.states.get(&id) {
        Some(known) => Ok(axum::Json(json!({"id": id, "state": known.0, "why": known.1})).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such line, or it is long gone")),
    }
}
