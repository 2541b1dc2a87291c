//! `Idempotency-Key`: the same request asked again gets the same answer, and the work is done once; over a restart too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use codecs::record::{Note, fingerprint};
use codecs::time::Mono;
use dashmap::DashMap;
use switchboard::ToCasebook;
use tokio::sync::watch;

use super::who::Principal;
use super::{Api, Problem};
use crate::thread::casebook::Input;

/// How long an answer is remembered.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Keys of one subject that are remembered; the oldest give way to their own younger ones.
const SHARE: usize = 10_000;
/// The longest key, in octets (the draft's servers take 255).
const KEY_MAX: usize = 255;
/// The longest answer that is remembered.
const ANSWER_MAX: usize = 64 * 1024;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    status: u16,
    kind: String,
    body: String,
}

enum State {
    /// Somebody is at it.
    Running(watch::Receiver<Option<Answered>>),
    Done(Answered),
}

struct Entry {
    /// Of what was asked under the key.
    asked: String,
    state: State,
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
        let fresh = || Entry { asked: asked.to_owned(), state: State::Running(receiver), at: now };
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
            State::Running(receiver) => Found::Running(receiver.clone()),
            State::Done(answered) => Found::Done(answered.clone()),
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
            entry.state = State::Done(answered);
        }
    }

    fn forget(&self, name: &str) {
        self.entries.remove(name);
    }

    /// Takes up what the journal remembers.
    pub fn restore(&self, now: Mono, note: &Note) {
        let Note::Answered { subject, name, asked, status, kind, body } = note else { return };
        let answered = Answered { status: *status, kind: kind.clone(), body: body.clone() };
        let entry = Entry { asked: asked.clone(), state: State::Done(answered), at: now };
        if self.entries.insert(name.clone(), entry).is_none() {
            self.note(subject, name);
        }
    }
}

impl Answered {
    /// Refused for want of room or a disk, before anything was done.
    fn did_nothing(&self) -> bool {
        self.status >= 500 && !self.body.contains("\"done\":true")
    }

    fn response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        (status, [(header::CONTENT_TYPE, self.kind)], self.body).into_response()
    }

    async fn of(response: Response) -> Result<(Answered, Response), Problem> {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, ANSWER_MAX).await.map_err(|e| Problem::internal(&e.into()))?;
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        let answered = Answered { status: parts.status.as_u16(), kind: kind.to_owned(), body };
        Ok((answered, Response::from_parts(parts, Body::from(bytes))))
    }
}

/// Ends a key whose request was dropped on the way, so that the next one may do the work.
struct Unfinished<'a> {
    idempotent: &'a Idempotent,
    name: &'a str,
    over: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.idempotent.forget(self.name);
        }
    }
}

/// Does `work` once for a key of this principal; `asked` is the fingerprint of all that was asked.
pub(super) async fn once(
    state: &Api,
    who: &Principal,
    headers: &HeaderMap,
    asked: String,
    work: impl Future<Output = Result<Response, Problem>>,
) -> Result<Response, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return work.await };
    let unprocessable = |what: &str| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4423", what);
    let key = key.to_str().ok().filter(|k| (1..=KEY_MAX).contains(&k.len()));
    let key = key.ok_or_else(|| unprocessable("Idempotency-Key is 1 to 255 visible characters"))?;
    let subject = who.actor();
    let name = fingerprint(&[subject.as_bytes(), key.as_bytes()]);
    let sender = match state.idempotent.begin(state.clock.mono(), &subject, &name, &asked) {
        Found::New(sender) => sender,
        Found::Done(answered) => return Ok(answered.response()),
        Found::Other => return Err(unprocessable("this Idempotency-Key was used for another request")),
        Found::Running(mut receiver) => {
            let answered = receiver.wait_for(Option::is_some).await.ok().and_then(|a| a.clone());
            let lost = || Problem::new(StatusCode::CONFLICT, "GW-4424", "the request under this key came to nothing");
            return answered.map(Answered::response).ok_or_else(lost);
        }
    };
    let mut unfinished = Unfinished { idempotent: &state.idempotent, name: &name, over: false };
    let response = work.await.unwrap_or_else(axum::response::IntoResponse::into_response);
    let (answered, response) = Answered::of(response).await?;
    if answered.did_nothing() {
        // The next one under this key may do the work; whoever waits beside this one is told what it came to.
        let _ = sender.send(Some(answered));
        return Ok(response);
    }
    unfinished.over = true;
    state.idempotent.finish(&name, answered.clone());
    // On disk before anybody hears of it; a store that fails does not keep the answer back.
    let Answered { status, kind, body } = answered.clone();
    let note = Note::Answered { subject, name: name.clone(), asked, status, kind, body };
    let (request, at) = (state.new_request(), state.clock.wall());
    let remember = Input::Message(ToCasebook::Remember { at, note: Box::new(note), request });
    let _ = state.wait_for(request, || drop(state.casebook.send(remember))).await;
    let _ = sender.send(Some(answered));
    Ok(response)
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
