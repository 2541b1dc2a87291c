//! `Idempotency-Key`: the same request asked again gets the same answer, and the work is done once; over a restart too.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use codecs::record::{Note, fingerprint};
use switchboard::{RequestId, ToCasebook};
use tokio::sync::watch;

use super::who::Principal;
use super::{Api, Problem};
use crate::inbox::casebook::{Input, RECOVERY};
use crate::inbox::keys::{Answered, Found, Keys};

/// The longest key, in octets (the draft's servers take 255).
const KEY_MAX: usize = 255;
/// The longest request under a key, and the longest answer that is remembered.
const ASKED_MAX: usize = 2 * 1024 * 1024;
const ANSWER_MAX: usize = 64 * 1024;
/// The longest answer that is kept for whoever asks again; that a longer one was given is.
const KEPT_MAX: usize = 4 * 1024;

fn response(answered: Answered) -> Response {
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::OK);
    (status, [(header::CONTENT_TYPE, answered.kind)], answered.body).into_response()
}

async fn answered_by(response: Response) -> Answered {
    let (parts, body) = response.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    match axum::body::to_bytes(body, ANSWER_MAX).await {
        Ok(bytes) => {
            Answered { status: parts.status.as_u16(), kind, body: String::from_utf8_lossy(&bytes).into_owned() }
        }
        Err(_) => Answered { status: parts.status.as_u16(), kind: String::new(), body: String::new() },
    }
}

/// A request that is carried out. Should that fail by a fault of ours, the next one under its key may do the work.
struct Unfinished {
    keys: Keys,
    name: String,
    over: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.over {
            self.keys.forget(&self.name);
        }
    }
}

fn unprocessable(what: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4423", what)
}

fn lost(what: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "GW-4424", what)
}

/// What was asked, however it was written: every field, in one order.
fn canonical(body: &[u8]) -> Vec<u8> {
    serde_json::from_slice::<serde_json::Value>(body).map_or_else(
        |_| body.to_vec(),
        |mut value| {
            value.sort_all_objects();
            value.to_string().into_bytes()
        },
    )
}

/// Whose keys they are: what a subject may see differs by token.
fn whose(who: &Principal) -> String {
    fingerprint(&[who.actor().as_bytes(), who.area.as_bytes()])
}

/// Every write under an `Idempotency-Key` is done once for its principal. It is carried out to its end whoever waits for
/// it: a client that leaves and asks again gets the answer of the first.
pub(super) async fn once(State(state): State<Api>, request: Request, next: Next) -> Response {
    let given = request.headers().get("idempotency-key");
    // A position is live state: it may be told twice, and nothing of it is kept.
    let is_kept = !request.method().is_safe() && !request.uri().path().ends_with("/position");
    let (Some(given), true) = (given, is_kept) else { return next.run(request).await };
    let key = given.to_str().ok().filter(|k| (1..=KEY_MAX).contains(&k.len())).map(str::to_owned);
    let Some(key) = key else { return unprocessable("Idempotency-Key is 1 to 255 visible characters").into_response() };
    if !is_taken_up(&state).await {
        let what = "the journal is still being taken up; what this key was used for is not known yet";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "GW-3107", what).into_response();
    }
    let Some(who) = request.extensions().get::<Principal>().map(whose) else {
        return Problem::internal(&anyhow::anyhow!("a key of nobody")).into_response();
    };
    let (parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, ASKED_MAX).await else {
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "GW-4413", "a body under a key has at most 2 MiB")
            .into_response();
    };
    let target = parts.uri.path_and_query().map_or("", |p| p.as_str());
    let asked = fingerprint(&[parts.method.as_str().as_bytes(), target.as_bytes(), &canonical(&bytes)]);
    let name = fingerprint(&[who.as_bytes(), key.as_bytes()]);
    let mut receiver = match state.keys.begin(state.clock.mono(), &who, &name, &asked) {
        Found::Done(answered) if answered.is_unknown() => {
            return lost("begun before a restart, or answered at length; what came of it is to be looked up")
                .into_response();
        }
        Found::Done(answered) => return response(answered),
        Found::Other => return unprocessable("this Idempotency-Key was used for another request").into_response(),
        Found::Running(receiver) => receiver,
        Found::New(sender) => {
            let receiver = sender.subscribe();
            let request = Request::from_parts(parts, Body::from(bytes));
            tokio::spawn(carry_out(state, who, name, asked, sender, next.run(request)));
            receiver
        }
    };
    let answered = receiver.wait_for(Option::is_some).await.ok().and_then(|a| a.clone());
    answered.map_or_else(|| lost("the request under this key came to nothing").into_response(), response)
}

/// Whether the journal has told which keys were used.
async fn is_taken_up(state: &Api) -> bool {
    tokio::time::timeout(super::PATIENCE, state.health.until_well(RECOVERY)).await.is_ok()
}

async fn carry_out(
    state: Api,
    subject: String,
    name: String,
    asked: String,
    sender: watch::Sender<Option<Answered>>,
    work: impl Future<Output = Response>,
) {
    let mut unfinished = Unfinished { keys: state.keys.clone(), name: name.clone(), over: false };
    // Ahead of the work, and mostly in one group with it: a start that finds no answer knows that there may be one.
    let begun = Answered::unknown().note(&subject, &name, &asked);
    remember(&state, begun, false).await;
    let answered = answered_by(work.await).await;
    if answered.did_nothing() {
        remember(&state, Answered::nothing().note(&subject, &name, &asked), false).await;
        // The next one under this key may do the work; whoever waits beside this one is told what it came to.
        let _ = sender.send(Some(answered));
        return;
    }
    unfinished.over = true;
    let kept = if answered.body.len() > KEPT_MAX { Answered::unknown() } else { answered.clone() };
    state.keys.finish(&name, kept.clone());
    // On disk before anybody hears of it; a store that fails does not keep the answer back.
    remember(&state, kept.note(&subject, &name, &asked), true).await;
    let _ = sender.send(Some(answered));
}

async fn remember(state: &Api, note: Note, until_durable: bool) {
    let at = state.clock.wall();
    let request = if until_durable { state.new_request() } else { RequestId::default() };
    let message = Input::Message(ToCasebook::Remember { at, note: Box::new(note), request });
    let send = || drop(state.casebook.send(message));
    if until_durable {
        let _ = state.wait_for(request, send).await;
    } else {
        send();
    }
}
