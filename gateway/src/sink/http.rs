//! The HTTP sink: CloudEvents in structured mode, signed as Standard Webhooks, in order, until acknowledged.
//!
//! It has a thread of its own, since it waits for the disk. What is wrong with the way (nobody there, a secret that does not fit, a page that is not found) is waited out, however
//! long it takes. What is wrong with one event goes to the dead letters, and later events of its alert with it.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use codecs::record::CloudEvent;
use codecs::webhook::Secret;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode};
use store::dead_letters::DeadLetters;
use store::disk::Disk;
use store::follow::{Due, Follower};
use tokio::sync::{Notify, watch};

use crate::channel::Client;
use crate::clock::Clock;
use crate::inbox::casebook::Reached;
use crate::observe::health::Health;
use crate::thread::Saboteur;

use super::excerpt::Excerpt;
use super::receipts::{ForTarget, Receipts, for_target};

/// After the last event has become durable a sink has so long to take what is left.
const LAST_WORDS: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const BODY_MAX: usize = 64 * 1024;
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Tries after which a way that does not work is an alarm.
const ALARM: u32 = 5;

pub struct HttpSink {
    pub client: Client,
    pub name: String,
    pub url: String,
    pub secret: Secret,
    pub tries: u32,
    pub disk: Arc<dyn Disk>,
    pub data: PathBuf,
    pub clock: Clock,
    pub durable: watch::Receiver<Reached>,
    pub health: Health,
    /// Rung when the dead letters are to be tried again.
    pub replay: Arc<Notify>,
    /// Of a sink that tells a target of the rules; none: it is given everything.
    pub receipts: Option<Receipts>,
    /// What it is given of each event.
    pub excerpt: Excerpt,
    pub saboteur: Option<Arc<dyn Saboteur>>,
}

/// What a delivery came to.
enum Outcome {
    Done,
    /// Something with the way: try again, not before this long.
    Later(Option<Duration>, String),
    /// The receiver failed over this event: try again, but not for ever.
    Failed(String),
    /// It will never be taken: 400, 422 and the like.
    Never(String),
}

impl HttpSink {
    /// Until the process ends; after a mistake of ours anew from its cursor.
    pub async fn run(mut self) {
        let Some(head) = Reached::head(&mut self.durable).await else { return };
        let mut durable = self.durable.clone();
        let ended = async {
            Reached::end(&mut durable).await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = self.follow_for_good(head) => {}
            // Whoever does not take the last of it now is told after the next start.
            () = ended => {}
        }
    }

    async fn follow_for_good(&mut self, head: u64) {
        while AssertUnwindSafe(self.follow(head)).catch_unwind().await.is_err() {
            metrics::counter!("gateway_thread_restarts_total", "thread" => "sink").increment(1);
            tracing::error!(sink = %self.name, "GW-1004 a sink has failed and begins anew");
            tokio::time::sleep(WAIT_FIRST).await;
        }
    }

    async fn follow(&mut self, head: u64) {
        let mut follower = Follower::open(&self.disk, &self.data, &self.name, head);
        let mut dead = DeadLetters::open(&super::dead_letters(&self.data, &self.name));
        if follower.was_ahead {
            metrics::counter!("gateway_sink_cursor_ahead_total", "sink" => self.name.clone()).increment(1);
            tracing::error!(sink = %self.name, "GW-3305 the cursor stood beyond the journal; it was set back to its end");
        }
        let mut stalled = false;
        loop {
            metrics::gauge!("gateway_sink_deadletter", "sink" => self.name.clone()).set(dead.count() as f64);
            let durable = self.durable.borrow_and_update().last;
            let missing = match follower.due(durable) {
                Ok(Some(Due::Event { sequence, body })) => {
                    if std::mem::take(&mut stalled) {
                        self.health.well("sink-journal");
                    }
                    let wanted = self.receipts.as_ref().map(|r| for_target(body, &r.target));
                    let is_taken = wanted != Some(ForTarget::Nothing) && self.deliver(body, &mut dead).await;
                    if let (Some(ForTarget::First(no)), Some(receipts), true) = (wanted, &mut self.receipts, is_taken) {
                        receipts.note(no);
                    }
                    self.settle(&mut follower, sequence).await;
                    continue;
                }
                Ok(None) if self.receipts.as_mut().is_some_and(|r| !r.are_kept()) => {
                    self.keep_receipts(&mut follower).await;
                    continue;
                }
                Ok(None) => {
                    tokio::select! {
                        changed = self.durable.changed() => if changed.is_err() { return },
                        () = self.replay.notified() => self.replay_dead(&mut dead).await,
                    }
                    continue;
                }
                Ok(Some(Due::Damage(damage))) => damage.to_string(),
                Err(error) => error.to_string(),
            };
            if !stalled {
                tracing::error!(sink = %self.name, missing, "GW-3301 events are missing in the journal, or it cannot be read");
            }
            metrics::counter!("gateway_sink_errors_total", "sink" => self.name.clone()).increment(1);
            stalled = true;
            self.health.worse("sink-journal", "GW-3301", format!("{}: {missing}", self.name));
            tokio::time::sleep(WAIT_FIRST).await;
        }
    }

    /// A receipt that is not durable yet leaves the cursor where it is.
    async fn settle(&mut self, follower: &mut Follower, sequence: u64) {
        let pending = self.durable.borrow().last.saturating_sub(sequence);
        metrics::gauge!("gateway_sink_pending", "sink" => self.name.clone()).set(pending as f64);
        let (too_many, kept) = self.receipts.as_mut().map_or((false, true), |r| (r.are_too_many(), r.are_kept()));
        match (too_many, kept) {
            (_, true) => self.store_cursor(follower),
            (true, false) => self.keep_receipts(follower).await,
            (false, false) => follower.pass(),
        }
    }

    async fn keep_receipts(&mut self, follower: &mut Follower) {
        if let Some(receipts) = &mut self.receipts {
            receipts.keep().await;
        }
        self.store_cursor(follower);
    }

    fn store_cursor(&self, follower: &mut Follower) {
        if let Err(error) = follower.settle() {
            tracing::error!(sink = %self.name, %error, "GW-3302 the cursor cannot be stored; a restart will repeat events");
        }
    }

    /// Returns when the event was taken, or lies with the dead letters. `true`: it was taken.
    async fn deliver(&self, body: &[u8], dead: &mut DeadLetters) -> bool {
        if self.saboteur.as_ref().is_some_and(|s| !s.lets_event(body)) {
            return false;
        }
        if dead.holds_back(body) && self.bury(body, dead, "an earlier one lies there") {
            return false;
        }
        let mut wait = WAIT_FIRST;
        let mut failures = 0;
        for attempt in 1u32.. {
            if self.is_withheld(body) {
                return false;
            }
            let (asked, why) = match self.attempt(body).await {
                Outcome::Done => {
                    metrics::counter!("gateway_sink_delivered_total", "sink" => self.name.clone()).increment(1);
                    if attempt > ALARM {
                        self.health.well("sink");
                    }
                    return true;
                }
                Outcome::Later(asked, why) => (asked, why),
                Outcome::Failed(why) => {
                    failures += 1;
                    if failures >= self.tries && self.bury(body, dead, &why) {
                        return false;
                    }
                    (None, why)
                }
                Outcome::Never(why) => {
                    if self.bury(body, dead, &why) {
                        return false;
                    }
                    (None, why)
                }
            };
            metrics::counter!("gateway_sink_errors_total", "sink" => self.name.clone()).increment(1);
            if attempt == 1 {
                tracing::warn!(sink = %self.name, why, "delivery failed, trying again");
            }
            if attempt == ALARM {
                tracing::error!(sink = %self.name, why, "GW-3306 a sink takes nothing; its events wait");
                self.health.worse("sink", "GW-3306", format!("{}: {why}", self.name));
            }
            let jittered = wait.mul_f64(0.5 + f64::from(crate::clock::random::<1>()[0]) / 256.0);
            tokio::time::sleep(asked.unwrap_or(jittered).min(WAIT_MAX)).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
        false
    }

    /// Whether its target is to be told nothing more of this alert, though it was when the event was made.
    fn is_withheld(&self, body: &[u8]) -> bool {
        let no = CloudEvent::parts(body).and_then(|(id, _)| Some(id.split_once(':')?.0)).unwrap_or_default();
        self.receipts.as_ref().is_some_and(|r| r.withheld.has(no, &r.target))
    }

    /// To the dead letters. `false`: the disk did not take it; the event must not be skipped then.
    fn bury(&self, body: &[u8], dead: &mut DeadLetters, why: &str) -> bool {
        let buried = dead.add(body).is_ok();
        if buried {
            let id = CloudEvent::parts(body).map(|(id, _)| id).unwrap_or_default();
            tracing::error!(sink = %self.name, id, why, "GW-3303 an event went to the dead letters");
            metrics::counter!("gateway_sink_buried_total", "sink" => self.name.clone()).increment(1);
        }
        buried
    }

    async fn attempt(&self, whole: &[u8]) -> Outcome {
        let excerpt = self.excerpt.of(whole);
        let body = excerpt.as_deref().unwrap_or(whole);
        let id = CloudEvent::parts(body).map(|(id, _)| id.to_owned()).unwrap_or_default();
        let timestamp = self.clock.wall().0 / 1_000_000_000;
        let request = Request::post(&self.url)
            .header("content-type", "application/cloudevents+json; charset=UTF-8")
            .header("user-agent", concat!("gateway/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", self.secret.sign(&id, timestamp, body))
            .body(Full::new(bytes::Bytes::copy_from_slice(body)));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Outcome::Later(None, error.to_string()),
        };
        let exchange = async {
            let response = self.client.send(request).await?;
            let (head, body) = response.into_parts();
            // Read to the end, so that the connection can be used again; nobody needs more than a few lines of it.
            let _ = Limited::new(body, BODY_MAX).collect().await;
            Ok::<_, String>(head)
        };
        let response = match tokio::time::timeout(TIMEOUT, exchange).await {
            Err(_) => return Outcome::Later(None, "no whole answer within 15 s".into()),
            Ok(Err(error)) => return Outcome::Later(None, error),
            Ok(Ok(head)) => head,
        };
        let after =
            response.headers.get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        judge(response.status, after)
    }

    async fn replay_dead(&mut self, dead: &mut DeadLetters) {
        let lines = match dead.take() {
            Ok(lines) => lines,
            Err(error) => return tracing::error!(sink = %self.name, %error, "GW-3304 the dead letters cannot be read"),
        };
        // Until all were tried, later events of their alerts wait behind them.
        for line in lines {
            match line {
                Ok(event) => self.try_again(&event, dead).await,
                Err(error) => {
                    return tracing::error!(sink = %self.name, %error, "GW-3304 the dead letters cannot be read");
                }
            }
        }
        dead.finish();
    }

    /// A dead letter: delivered, or put back.
    async fn try_again(&mut self, event: &[u8], dead: &mut DeadLetters) {
        if self.is_withheld(event) {
            return;
        }
        let why = match self.attempt(event).await {
            Outcome::Done => {
                if let Some(receipts) = &mut self.receipts
                    && let ForTarget::First(no) = for_target(event, &receipts.target)
                {
                    receipts.note(no);
                }
                return metrics::counter!("gateway_sink_delivered_total", "sink" => self.name.clone()).increment(1);
            }
            Outcome::Later(_, why) | Outcome::Failed(why) | Outcome::Never(why) => why,
        };
        while !self.bury(event, dead, &why) {
            tokio::time::sleep(WAIT_FIRST).await;
        }
    }
}

/// What a status means. Those that speak of the way and not of the event are waited out.
fn judge(status: StatusCode, after: Option<Duration>) -> Outcome {
    match status.as_u16() {
        200..300 => Outcome::Done,
        400 | 406 | 413 | 415 | 422 => Outcome::Never(status.to_string()),
        500 | 501 => Outcome::Failed(status.to_string()),
        _ => Outcome::Later(after, status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_secret_or_a_dead_proxy_costs_no_event_and_a_bad_event_keeps_nobody_waiting() {
        let kind = |code: u16| match judge(StatusCode::from_u16(code).expect("a code"), None) {
            Outcome::Done => "done",
            Outcome::Later(..) => "later",
            Outcome::Failed(_) => "failed",
            Outcome::Never(_) => "never",
        };
        for (code, wanted) in [(204, "done"), (401, "later"), (403, "later"), (404, "later"), (410, "later")] {
            assert_eq!(kind(code), wanted, "{code}");
        }
        for (code, wanted) in
            [(429, "later"), (502, "later"), (503, "later"), (500, "failed"), (422, "never"), (302, "later")]
        {
            assert_eq!(kind(code), wanted, "{code}");
        }
    }
}
