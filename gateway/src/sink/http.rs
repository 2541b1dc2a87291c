//! The HTTP sink: CloudEvents in structured mode, signed as Standard Webhooks, in order, until acknowledged.

use std::path::PathBuf;
use std::time::Duration;

use codecs::journal::Kind;
use codecs::webhook::Secret;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode};
use tokio::sync::{Notify, watch};

use super::{CursorFile, DeadLetters};
use crate::channel::Client;
use crate::clock::Clock;
use crate::journal::{Read, Reader};

const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const BODY_MAX: usize = 64 * 1024;
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

pub struct HttpSink {
    pub client: Client,
    pub name: String,
    pub url: String,
    pub secret: Secret,
    pub tries: u32,
    pub data: PathBuf,
    pub journal: PathBuf,
    pub clock: Clock,
    pub durable: watch::Receiver<u64>,
    /// Rung when the dead letters are to be tried again.
    pub replay: std::sync::Arc<Notify>,
}

/// What a delivery came to.
enum Outcome {
    Done,
    /// Try again, not before this long.
    Later(Option<Duration>, String),
    /// It will never be taken: 400, 410 and the like.
    Never(String),
}

impl HttpSink {
    pub async fn run(mut self) {
        let client = self.client.clone();
        let cursor = CursorFile::new(&self.data, &self.name);
        let dead = DeadLetters::new(&self.data, &self.name);
        let mut reader = Reader::new(&self.journal, cursor.load());
        let mut delivered = 0u64;
        loop {
            metrics::gauge!("gateway_sink_deadletter", "sink" => self.name.clone()).set(dead.count() as f64);
            let durable = *self.durable.borrow_and_update();
            match reader.next_durable(durable) {
                Ok(Some(frame)) => {
                    if frame.kind == Kind::Event {
                        self.deliver(&client, &frame.payload, &dead).await;
                        delivered = frame.sequence;
                    }
                    self.advance(&cursor, &frame, delivered);
                }
                Ok(None) => {
                    tokio::select! {
                        changed = self.durable.changed() => if changed.is_err() { return },
                        () = self.replay.notified() => self.replay_dead(&client, &dead).await,
                    }
                }
                Err(error) => {
                    tracing::error!(sink = %self.name, %error, "GW-3301 the journal cannot be read");
                    tokio::time::sleep(WAIT_FIRST).await;
                }
            }
        }
    }

    fn advance(&self, cursor: &CursorFile, frame: &Read, delivered: u64) {
        if let Err(error) = cursor.store(frame.next) {
            tracing::error!(sink = %self.name, %error, "GW-3302 the cursor cannot be stored; a restart will repeat events");
        }
        let pending = self.durable.borrow().saturating_sub(delivered);
        metrics::gauge!("gateway_sink_pending", "sink" => self.name.clone()).set(pending as f64);
    }

    /// Returns when the event was taken, or lies with the dead letters.
    async fn deliver(&self, client: &Client, body: &[u8], dead: &DeadLetters) {
        let mut wait = WAIT_FIRST;
        for attempt in 1.. {
            let (asked, why) = match self.attempt(client, body).await {
                Outcome::Done => {
                    metrics::counter!("gateway_sink_delivered_total", "sink" => self.name.clone()).increment(1);
                    return;
                }
                Outcome::Later(asked, why) if attempt < self.tries => (asked, why),
                Outcome::Later(_, why) | Outcome::Never(why) => {
                    if dead.add(body).is_ok() {
                        tracing::error!(sink = %self.name, why, "GW-3303 an event went to the dead letters");
                        return;
                    }
                    (None, why)
                }
            };
            metrics::counter!("gateway_sink_errors_total", "sink" => self.name.clone()).increment(1);
            if attempt == 1 {
                tracing::warn!(sink = %self.name, why, "delivery failed, trying again");
            }
            let jittered = wait.mul_f64(0.5 + f64::from(crate::clock::random::<1>()[0]) / 256.0);
            tokio::time::sleep(asked.unwrap_or(jittered).min(WAIT_MAX)).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    async fn attempt(&self, client: &Client, body: &[u8]) -> Outcome {
        let id = event_id(body);
        let timestamp = self.clock.wall().0 / 1_000_000_000;
        let request = Request::post(&self.url)
            .header("content-type", "application/cloudevents+json; charset=UTF-8")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", self.secret.sign(&id, timestamp, body))
            .body(Full::new(bytes::Bytes::copy_from_slice(body)));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Outcome::Never(error.to_string()),
        };
        let exchange = async {
            let response = client.send(request).await?;
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
        let status = response.status;
        let after =
            response.headers.get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        match status {
            s if s.is_success() => Outcome::Done,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => {
                Outcome::Later(after, status.to_string())
            }
            s if s.is_server_error() => Outcome::Later(after, status.to_string()),
            s => Outcome::Never(s.to_string()),
        }
    }

    async fn replay_dead(&self, client: &Client, dead: &DeadLetters) {
        let (events, taken) = match dead.take() {
            Ok(taken) => taken,
            Err(error) => return tracing::error!(sink = %self.name, %error, "GW-3304 the dead letters cannot be read"),
        };
        for event in events {
            self.deliver(client, &event, dead).await;
        }
        // Only now: each has been delivered, or lies with the dead letters anew.
        let _ = std::fs::remove_file(taken);
    }
}

#[derive(serde::Deserialize)]
struct Id {
    id: String,
}

fn event_id(body: &[u8]) -> String {
    serde_json::from_slice::<Id>(body).map(|i| i.id).unwrap_or_default()
}
