//! The NATS sink: each event into a JetStream stream, whose receipt says that the server keeps it.
//!
//! Its subject is `alert.v1.<district>.<step>` and its `Nats-Msg-Id` the event's id: within its window of duplicates the
//! stream keeps what is told again once. The stream is made where there is none. A server keeps through a power cut what
//! it has acknowledged only with `sync_interval: always`, which is its own configuration.

use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode, stream};
use async_nats::{ConnectOptions, HeaderMap, ServerAddr};
use futures_util::future::join_all;

use super::way::{Outcome, Told, all};

/// Receipts that are awaited at once.
pub(super) const AT_ONCE: usize = 64;
/// Until a receipt that does not come is asked for again.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is told again within this long is kept once.
const DUPLICATES: Duration = Duration::from_secs(3600);

pub struct Nats {
    pub servers: Vec<ServerAddr>,
    pub stream: String,
    pub replicas: usize,
    pub login: Option<(String, String)>,
    pub ca: Option<std::path::PathBuf>,
    pub jetstream: Option<jetstream::Context>,
}

impl Nats {
    pub(super) async fn tell(&mut self, events: &[Told<'_>]) -> Vec<Outcome> {
        let jetstream = match self.reach().await {
            Ok(jetstream) => jetstream,
            Err(why) => return all(events, &Outcome::Later(None, why)),
        };
        let receipts = join_all(events.iter().map(|event| publish(&jetstream, &self.stream, event))).await;
        if receipts.iter().any(|r| r.as_ref().is_err_and(|e| e.kind() == PublishErrorKind::StreamNotFound)) {
            // Somebody has deleted it: it is made anew.
            self.jetstream = None;
        }
        receipts.into_iter().map(judge).collect()
    }

    /// Connected once; from then on the client finds its server again by itself.
    pub(super) async fn reach(&mut self) -> Result<jetstream::Context, String> {
        if let Some(jetstream) = &self.jetstream {
            return Ok(jetstream.clone());
        }
        let mut options = ConnectOptions::new()
            .name(concat!("gateway/", env!("CARGO_PKG_VERSION")))
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE));
        if let Some((user, password)) = &self.login {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        let client = options.connect(&self.servers[..]).await.map_err(|e| e.to_string())?;
        let jetstream = jetstream::ContextBuilder::new().timeout(PATIENCE).build(client);
        let wanted = stream::Config {
            name: self.stream.clone(),
            subjects: vec!["alert.v1.>".into()],
            storage: stream::StorageType::File,
            num_replicas: self.replicas,
            duplicate_window: DUPLICATES,
            ..stream::Config::default()
        };
        let stream =
            jetstream.get_or_create_stream(wanted).await.map_err(|e| format!("stream {}: {e}", self.stream))?;
        let takes = |subject: &String| ["alert.v1.>", "alert.>", ">"].contains(&subject.as_str());
        if !stream.cached_info().config.subjects.iter().any(takes) {
            return Err(format!("stream {} is there, and takes no alert.v1.>", self.stream));
        }
        self.jetstream = Some(jetstream.clone());
        Ok(jetstream)
    }
}

async fn publish(jetstream: &jetstream::Context, stream: &str, event: &Told<'_>) -> Result<(), PublishError> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", event.id);
    // None of another name that happens to take these subjects.
    headers.insert("Nats-Expected-Stream", stream);
    headers.insert("Content-Type", "application/cloudevents+json; charset=UTF-8");
    let body = bytes::Bytes::copy_from_slice(event.body);
    jetstream.publish_with_headers(subject(event), headers, body).await?.await.map(|_| ())
}

fn judge(receipt: Result<(), PublishError>) -> Outcome {
    match receipt {
        Ok(()) => Outcome::Done,
        Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded || is_too_large(&error) => {
            Outcome::Never(error.to_string())
        }
        Err(error) => Outcome::Later(None, error.to_string()),
    }
}

/// More than the stream takes in one message.
fn is_too_large(error: &PublishError) -> bool {
    let why = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    let too_large = [ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM];
    why.is_some_and(|why| too_large.contains(&why.error_code()))
}

/// The district is that of the unit whose number it bears.
fn subject(event: &Told<'_>) -> String {
    format!("alert.v1.{}.{}", event.id.get(..6).unwrap_or("000000"), event.step)
}

#[cfg(test)]
mod tests {
    use super::super::way::step_of;
    use super::*;

    #[test]
    fn an_event_is_found_by_its_district_and_its_step() {
        let body = br#"{"specversion":"1.0","type":"cn.gov.police110.alert.deadline.breach.v1","source":"/gw","id":"x:1","data":{}}"#;
        let told = Told { sequence: 1, id: "370400000000202611301000000078:2", step: step_of(body), body };
        assert_eq!(subject(&told), "alert.v1.370400.deadline.breach");
        assert_eq!(
            subject(&Told { sequence: 1, id: "", step: step_of(b"{}"), body: b"{}" }),
            "alert.v1.000000.unknown"
        );
    }
}
