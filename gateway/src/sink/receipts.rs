//! What a target's receipts tell the casebook: that it has taken its first revision of an alert.
//!
//! A receipt that is not durable yet keeps the sink's cursor behind: after a crash the event is told again, and its
//! receipt noted then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use codecs::record::AlertNo;
use serde::Deserialize;
use serde::de::IgnoredAny;
use switchboard::{Fact, RequestId, ToCasebook};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::inbox::casebook::{Answer, Input, Waiting};
use crate::inbox::withheld::Withheld;

/// Receipts that may wait for the disk; then the sink waits for them.
const WAITING_MAX: usize = 256;
/// Until one that nobody answers is noted again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until one that a failing store has refused is noted again.
const RETRY: Duration = Duration::from_millis(200);

pub struct Receipts {
    /// The target of the rules whose events these are.
    pub target: String,
    pub casebook: Sender<Input>,
    pub waiting: Waiting,
    pub next_request: Arc<AtomicU64>,
    pub clock: Clock,
    /// What was decided since the event that is told now.
    pub withheld: Withheld,
    noted: Vec<Noted>,
}

struct Noted {
    no: AlertNo,
    request: RequestId,
    answer: oneshot::Receiver<Answer>,
}

/// What an event has for a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForTarget {
    /// It is not told of this alert, or not yet.
    Nothing,
    /// Its first: the receipt is waited for.
    First(AlertNo),
    Further,
}

impl Receipts {
    pub fn new(
        target: String,
        casebook: Sender<Input>,
        waiting: Waiting,
        next_request: Arc<AtomicU64>,
        clock: Clock,
        withheld: Withheld,
    ) -> Receipts {
        Receipts { target, casebook, waiting, next_request, clock, withheld, noted: Vec::new() }
    }

    /// The target has taken it.
    pub fn note(&mut self, no: AlertNo) {
        let request = RequestId(self.next_request.fetch_add(1, Ordering::Relaxed));
        let answer = self.waiting.wait(request);
        self.noted.push(Noted { no, request, answer });
        let fact = Fact::Acknowledged { target: self.target.clone() };
        let message = ToCasebook::Fact { no, at: self.clock.wall(), fact, request };
        let _ = self.casebook.send(Input::Message(message));
    }

    /// Whether every receipt is durable, as far as has been heard.
    pub fn are_kept(&mut self) -> bool {
        let mut lost = Vec::new();
        self.noted.retain_mut(|noted| match noted.answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            Ok(Answer::Reply(_)) => false,
            Ok(Answer::NotDurable) | Err(oneshot::error::TryRecvError::Closed) => {
                lost.push(noted.no);
                false
            }
        });
        lost.into_iter().for_each(|no| self.note(no));
        self.noted.is_empty()
    }

    pub fn are_too_many(&self) -> bool {
        self.noted.len() >= WAITING_MAX
    }

    /// Until every receipt is durable: a store that has failed is waited for.
    pub async fn keep(&mut self) {
        while let Some(noted) = self.noted.pop() {
            match tokio::time::timeout(PATIENCE, noted.answer).await {
                // Of an alert that is over for long, too: it wants no receipt.
                Ok(Ok(Answer::Reply(_))) => {}
                Ok(_) => {
                    tokio::time::sleep(RETRY).await;
                    self.note(noted.no);
                }
                Err(_) => {
                    self.waiting.forget(noted.request);
                    self.note(noted.no);
                }
            }
        }
    }
}

/// What an event has for a target, read from its record.
pub fn for_target(event: &[u8], target: &str) -> ForTarget {
    #[derive(Deserialize)]
    struct Told<'a> {
        subject: &'a str,
        data: Record<'a>,
    }
    #[derive(Deserialize)]
    struct Record<'a> {
        #[serde(default, borrow)]
        fanout: Vec<Push<'a>>,
    }
    #[derive(Deserialize)]
    struct Push<'a> {
        #[serde(borrow)]
        target: std::borrow::Cow<'a, str>,
        sent: Option<IgnoredAny>,
        ack: Option<IgnoredAny>,
        withheld: Option<IgnoredAny>,
    }
    let Ok(told) = serde_json::from_slice::<Told<'_>>(event) else { return ForTarget::Nothing };
    let push = told.data.fanout.iter().find(|push| push.target == target);
    let push = push.filter(|push| push.sent.is_some() && push.withheld.is_none());
    match (push, AlertNo::parse(told.subject)) {
        (Some(push), Some(no)) if push.ack.is_none() => ForTarget::First(no),
        (Some(_), _) => ForTarget::Further,
        (None, _) => ForTarget::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_told_from_the_revision_on_by_which_it_was_pushed_to() {
        let no = AlertNo::mint("370400000000", 20_261_130, 1, 7);
        let event = |fanout: &str| format!("{{\"subject\":\"{no}\",\"data\":{{\"rev\":3{fanout}}}}}");
        let of = |fanout: &str| for_target(event(fanout).as_bytes(), "city");
        assert_eq!(of(""), ForTarget::Nothing);
        assert_eq!(of(r#","fanout":[{"target":"anti_fraud","sent":"x"},{"target":"city"}]"#), ForTarget::Nothing);
        assert_eq!(of(r#","fanout":[{"target":"city","sent":"x"}]"#), ForTarget::First(no));
        assert_eq!(of(r#","fanout":[{"target":"city","sent":"x","ack":"y"}]"#), ForTarget::Further);
        let withheld = r#","fanout":[{"target":"city","sent":"x","ack":"y","withheld":"z"}]"#;
        assert_eq!(of(withheld), ForTarget::Nothing, "it is complained of");
        assert_eq!(for_target(b"{}", "city"), ForTarget::Nothing);
    }
}
