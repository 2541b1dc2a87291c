//! `Idempotency-Key`: the same request asked again gets the same answer, and the work is done once; over a restart too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use codecs::record::{Note, fingerprint};
use codecs::time::Mono;
use dashmap::DashMap;
use switchboard::{RequestId, ToCasebook};
use tokio::sync::watch;

use super::who::Principal;
use super::{Api, Problem};
use crate::thread::casebook::{Input, RECOVERY};

/// How long an answer is remembered.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Keys of one subject that are remembered; the oldest give way to their own younger ones.
const SHARE: usize = 10_000;
/// The longest key, in octets (the draft's servers take 255).
const KEY_MAX: usize = 255;
/// The longest request under a key, and the longest answer that is remembered.
const ASKED_MAX: usize = 2 * 1024 * 1024;
const ANSWER_MAX: usize = 64 * 1024;

/// What the journal says of a key whose request was begun, and of one that came to nothing.
const BEGUN: u16 = 0;
const CAME_TO_NOTHING: u16 = 1;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    status: u16,
    kind: String,
    body: String,
}

enum Progress {
    /// Somebody is at it.
    Running(watch::Receiver<Option<Answered>>),
    Done(Answered),
}

struct Entry {
    /// Of what was asked under the key.
    asked: String,
    state: Progress,
    at: Mono,
}

/// Keys and their answers.
#[derive(Clone, Default)]
pub struct Idempotent {
    entries: Arc<DashMap<String, Entry>>,
    /// By subject, oldest first.
    order: Arc<DashMap<String, Mutex<VecDeque<String>>>>,
}

enum Found {
    New(watch::Sender<Option<Answered>>),
    Running(watch::Receiver<Option<Answered>>),
    Done(Answered),
    /// The key was used for something else.
    Other,
}

impl Idempotent {
    fn begin(&self, now: Mono, subject: &str, name: &str, asked: &str) -> Found {
        let (sender, receiver) = watch::channel(None);
        let fresh = || Entry { asked: asked.to_owned(), state: Progress::Running(receiver), at: now };
        let entry = match self.entries.entry(name.to_owned()) {
            dashmap::Entry::Occupied(entry) if now.since(entry.get().at) < KEPT => entry,
            dashmap::Entry::Occupied(mut entry) => {
                entry.insert(fresh());
                return Found::New(sender);
            }
            dashmap::Entry::Vacant(place) => {
                place.insert(fresh());
                self.note(subject, name);
                return Found::New(sender);
            }
        };
        match &entry.get().state {
            _ if entry.get().asked != asked => Found::Other,
            Progress::Running(receiver) => Found::Running(receiver.clone()),
            Progress::Done(answered) => Found::Done(answered.clone()),
        }
    }

    /// A subject's oldest keys give way to its own.
    fn note(&self, subject: &str, name: &str) {
        let gone = {
            let order = self.order.entry(subject.to_owned()).or_default();
            let Ok(mut order) = order.lock() else { return };
            order.push_back(name.to_owned());
            if order.len() > SHARE { order.pop_front() } else { None }
        };
        if let Some(gone) = gone {
            self.entries.remove(&gone);
        }
    }

    fn finish(&self, name: &str, answered: Answered) {
        if let Some(mut entry) = self.entries.get_mut(name) {
            entry.state = Progress::Done(answered);
        }
    }

    fn forget(&self, name: &str) {
        self.entries.remove(name);
    }

    /// Takes up what the journal remembers.
    pub fn restore(&self, now: Mono, note: &Note) {
        let Note::Answered { subject, name, asked, status, kind, body } = note else { return };
        if *status == CAME_TO_NOTHING {
            return self.forget(name);
        }
        let answered = Answered { status: *status, kind: kind.clone(), body: body.clone() };
        let entry = Entry { asked: asked.clone(), state: Progress::Done(answered), at: now };
        if self.entries.insert(name.clone(), entry).is_none() {
            self.note(subject, name);
        }
    }
}

impl Answered {
    /// It was begun, and nobody knows what came of it.
    fn unknown() -> Answered {
        Answered { status: BEGUN, kind: String::new(), body: String::new() }
    }

    fn is_unknown(&self) -> bool {
        self.status == BEGUN
    }

    fn note(&self, subject: &str, name: &str, asked: &str) -> Note {
        Note::Answered {
            subject: subject.to_owned(),
            name: name.to_owned(),
            asked: asked.to_owned(),
            status: self.status,
            kind: self.kind.clone(),
            body: self.body.clone(),
        }
    }

    /// Refused for want of room or a disk, before anything was done.
    fn did_nothing(&self) -> bool {
        self.status >= 500 && !self.body.contains("\"done\":true")
    }

    fn response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        (status, [(header::CONTENT_TYPE, self.kind)], self.body).into_response()
    }

    async fn of(response: Response) -> Answered {
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        match axum::body::to_bytes(body, ANSWER_MAX).await {
            Ok(bytes) => {
                Answered { status: parts.status.as_u16(), kind, body: String::from_utf8_lossy(&bytes).into_owned() }
            }
            Err(_) => Answered { status: parts.status.as_u16(), kind: String::new(), body: String::new() },
        }
    }
}

/// A request that is carried out. Should that fail by a fault of ours, the next one under its key may do the work.
struct Unfinished {
    idempotent: Idempotent,
    name: String,
    over: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.over {
            self.idempotent.forget(&self.name);
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
    serde_json::from_slice::<serde_json::Value>(body).map_or_else(|_| body.to_vec(), |v| v.to_string().into_bytes())
}

/// Every write under an `Idempotency-Key` is done once for its principal. It is carried out to its end whoever waits for
/// it: a client that leaves and asks again gets the answer of the first.
pub(super) async fn once(State(state): State<Api>, request: Request, next: Next) -> Response {
    let given = request.headers().get("idempotency-key");
    let (Some(given), false) = (given, request.method().is_safe()) else { return next.run(request).await };
    let key = given.to_str().ok().filter(|k| (1..=KEY_MAX).contains(&k.len())).map(str::to_owned);
    let Some(key) = key else { return unprocessable("Idempotency-Key is 1 to 255 visible characters").into_response() };
    if !is_taken_up(&state).await {
        let what = "the journal is still being taken up; what this key was used for is not known yet";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "GW-3107", what).into_response();
    }
    let Some(who) = request.extensions().get::<Principal>().map(Principal::actor) else {
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
    let mut receiver = match state.idempotent.begin(state.clock.mono(), &who, &name, &asked) {
        Found::Done(answered) if answered.is_unknown() => {
            return lost("begun before a restart; whether it was done is to be looked up").into_response();
        }
        Found::Done(answered) => return answered.response(),
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
    answered.map_or_else(|| lost("the request under this key came to nothing").into_response(), Answered::response)
}

/// Whether the journal has told which keys were used.
async fn is_taken_up(state: &Api) -> bool {
    let waited = async {
        while state.health.of(RECOVERY).is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, waited).await.is_ok()
}

async fn carry_out(
    state: Api,
    subject: String,
    name: String,
    asked: String,
    sender: watch::Sender<Option<Answered>>,
    work: impl Future<Output = Response>,
) {
    let mut unfinished = Unfinished { idempotent: state.idempotent.clone(), name: name.clone(), over: false };
    // Ahead of the work, and mostly in one group with it: a start that finds no answer knows that there may be one.
    let begun = Answered::unknown().note(&subject, &name, &asked);
    remember(&state, begun, false).await;
    let answered = Answered::of(work.await).await;
    if answered.did_nothing() {
        let nothing = Answered { status: CAME_TO_NOTHING, ..Answered::unknown() };
        remember(&state, nothing.note(&subject, &name, &asked), false).await;
        // The next one under this key may do the work; whoever waits beside this one is told what it came to.
        let _ = sender.send(Some(answered));
        return;
    }
    unfinished.over = true;
    state.idempotent.finish(&name, answered.clone());
    // On disk before anybody hears of it; a store that fails does not keep the answer back.
    remember(&state, answered.note(&subject, &name, &asked), true).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_before_anything_was_done_is_no_answer_to_keep() {
        let of = |status, body: &str| Answered { status, kind: String::new(), body: body.into() }.did_nothing();
        assert!(of(503, r#"{"code":"GW-3101"}"#) && of(500, "{}"));
        assert!(!of(503, r#"{"code":"GW-3101","done":true}"#) && !of(409, "{}") && !of(200, "{}"));
    }

    #[test]
    fn a_key_is_one_request_s_for_a_day_and_nobody_elses_keys_push_it_out() {
        let keys = Idempotent::default();
        let second = |n: u64| Mono::from_millis(n * 1000 + 1);
        let Found::New(_) = keys.begin(second(0), "seat:1", "a", "x") else { panic!("new") };
        assert!(matches!(keys.begin(second(1), "seat:1", "a", "x"), Found::Running(_)));
        assert!(matches!(keys.begin(second(1), "seat:1", "a", "y"), Found::Other));
        let answered = Answered { status: 409, kind: "application/problem+json".into(), body: "{}".into() };
        keys.finish("a", answered.clone());
        for n in 0..SHARE + 5 {
            let _ = keys.begin(second(2), "seat:2", &format!("b{n}"), "x");
        }
        let Found::Done(found) = keys.begin(second(86_000), "seat:1", "a", "x") else { panic!("known") };
        assert_eq!(found, answered, "an answer that was an error is one");
        assert!(matches!(keys.begin(second(2), "seat:2", "b0", "x"), Found::New(_)), "its own younger ones did");
        assert!(matches!(keys.begin(second(86_500), "seat:1", "a", "x"), Found::New(_)), "after a day");
    }
}
