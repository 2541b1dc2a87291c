//! Keys of requests (`Idempotency-Key`) and what came of each, for a day, over a restart too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codecs::record::Note;
use codecs::time::Mono;
use dashmap::DashMap;
use tokio::sync::watch;

/// How long an answer is remembered.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Keys of one subject that are remembered; the oldest give way to their own younger ones.
const SHARE: usize = 10_000;
/// What the journal says of a key whose request was begun, and of one that came to nothing.
const BEGUN: u16 = 0;
const CAME_TO_NOTHING: u16 = 1;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    pub status: u16,
    /// Its media type.
    pub kind: String,
    pub body: String,
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
pub struct Keys {
    entries: Arc<DashMap<String, Entry>>,
    /// By subject, oldest first.
    order: Arc<DashMap<String, Mutex<VecDeque<String>>>>,
}

/// What is known of a key.
pub enum Found {
    New(watch::Sender<Option<Answered>>),
    Running(watch::Receiver<Option<Answered>>),
    Done(Answered),
    /// The key was used for something else.
    Other,
}

impl Keys {
    pub fn begin(&self, now: Mono, subject: &str, name: &str, asked: &str) -> Found {
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

    pub fn finish(&self, name: &str, answered: Answered) {
        if let Some(mut entry) = self.entries.get_mut(name) {
            entry.state = Progress::Done(answered);
        }
    }

    pub fn forget(&self, name: &str) {
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
    pub fn unknown() -> Answered {
        Answered { status: BEGUN, kind: String::new(), body: String::new() }
    }

    /// Begun before a restart, and no more is known.
    pub fn is_unknown(&self) -> bool {
        self.status == BEGUN
    }

    /// As the journal keeps it.
    pub fn note(&self, subject: &str, name: &str, asked: &str) -> Note {
        Note::Answered {
            subject: subject.to_owned(),
            name: name.to_owned(),
            asked: asked.to_owned(),
            status: self.status,
            kind: self.kind.clone(),
            body: self.body.clone(),
        }
    }

    /// It came to nothing: the next one under its key may do the work.
    pub fn nothing() -> Answered {
        Answered { status: CAME_TO_NOTHING, ..Answered::unknown() }
    }

    /// Refused for want of room or a disk, before anything was done.
    pub fn did_nothing(&self) -> bool {
        self.status >= 500 && !self.body.contains("\"done\":true")
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
        let keys = Keys::default();
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
