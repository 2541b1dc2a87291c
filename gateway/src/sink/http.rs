//! The HTTP way: CloudEvents in structured mode, signed as Standard Webhooks, one a request.

use std::time::Duration;

use codecs::webhook::Secret;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode};

use crate::channel::Client;
use crate::clock::Clock;

use super::way::{Outcome, Told};

const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const BODY_MAX: usize = 64 * 1024;

pub struct Http {
    pub client: Client,
    pub url: String,
    pub secret: Secret,
    /// Requests at once, each of another alert.
    pub at_once: usize,
    pub clock: Clock,
}

impl Http {
    pub(super) async fn tell(&self, events: &[Told<'_>]) -> Vec<Outcome> {
        join_all(events.iter().map(|event| self.post(event))).await
    }

    /// An event of a type that is no alert's.
    pub(super) async fn test(&self) -> Result<(), String> {
        let now = self.clock.wall().0 / 1_000_000_000;
        let (id, kind) = (format!("test:{now}"), "cn.gov.police110.sink.test.v1");
        let body = serde_json::json!({"specversion": "1.0", "type": kind, "source": "/gw/test", "id": id, "data": {}});
        match self.post(&Told { sequence: 0, id: &id, step: "test", body: body.to_string().as_bytes() }).await {
            Outcome::Done => Ok(()),
            Outcome::Later(_, why) | Outcome::Failed(why) | Outcome::Never(why) => Err(why),
        }
    }

    async fn post(&self, event: &Told<'_>) -> Outcome {
        let timestamp = self.clock.wall().0 / 1_000_000_000;
        let request = Request::post(&self.url)
            .header("content-type", "application/cloudevents+json; charset=UTF-8")
            .header("user-agent", concat!("gateway/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", event.id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", self.secret.sign(event.id, timestamp, event.body))
            .body(Full::new(bytes::Bytes::copy_from_slice(event.body)));
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
