//! What every kind of sink has in common: it takes some events at once, and says of each what became of it.

use std::time::Duration;

use codecs::record::CloudEvent;
use codecs::webhook::Secret;

use crate::channel::Client;
use crate::clock::Clock;

use super::http::Http;
use super::nats::Nats;
use super::postgres::Postgres;
use super::spool::Spool;

/// What a delivery came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is the receiver's now.
    Done,
    /// Something with the way: try again, not before this long.
    Later(Option<Duration>, String),
    /// The receiver failed over this event: try again, but not for ever.
    Failed(String),
    /// It will never be taken.
    Never(String),
}

/// One event, as it goes out.
pub struct Told<'a> {
    pub sequence: u64,
    pub id: &'a str,
    /// `answered`, `deadline.breach`: the middle of its type.
    pub step: &'a str,
    pub body: &'a [u8],
}

/// The step that a whole event tells of, whatever of it leaves.
pub fn step_of(event: &[u8]) -> &str {
    let kind = CloudEvent::kind_of(event).unwrap_or_default();
    let step = kind.strip_prefix("cn.gov.police110.alert.").and_then(|rest| rest.strip_suffix(".v1"));
    step.unwrap_or("unknown")
}

/// How much goes out together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtOnce {
    pub events: usize,
    /// They arrive in no order of their own: no two of one alert among them.
    pub apart: bool,
}

/// A way before anybody goes it.
pub enum To {
    Http { url: String, secret: Secret, at_once: usize },
    By(Way),
}

impl To {
    /// As a list names it.
    pub fn kind(&self) -> &'static str {
        match self {
            To::Http { .. } | To::By(Way::Http(_)) => "http",
            To::By(Way::Nats(_)) => "nats",
            To::By(Way::Postgres(_)) => "postgres",
            To::By(Way::Spool(_)) => "spool",
        }
    }

    pub fn open(self, client: &Client, clock: Clock) -> Way {
        match self {
            To::Http { url, secret, at_once } => {
                Way::Http(Http { client: client.clone(), url, secret, at_once, clock })
            }
            To::By(way) => way,
        }
    }
}

pub enum Way {
    Http(Http),
    Nats(Box<Nats>),
    Postgres(Box<Postgres>),
    Spool(Spool),
}

impl Way {
    pub fn at_once(&self) -> AtOnce {
        match self {
            Way::Http(http) => AtOnce { events: http.at_once, apart: true },
            Way::Nats(_) => AtOnce { events: super::nats::AT_ONCE, apart: true },
            Way::Postgres(_) => AtOnce { events: super::postgres::AT_ONCE, apart: false },
            Way::Spool(_) => AtOnce { events: super::spool::AT_ONCE, apart: false },
        }
    }

    /// What became of each.
    pub async fn tell(&mut self, events: &[Told<'_>]) -> Vec<Outcome> {
        match self {
            Way::Http(http) => http.tell(events).await,
            Way::Nats(nats) => nats.tell(events).await,
            Way::Postgres(postgres) => postgres.tell(events).await,
            Way::Spool(spool) => spool.tell(events),
        }
    }

    /// Whether it can be gone, without telling of an alert.
    ///
    /// # Errors
    /// Why not.
    pub async fn test(&mut self) -> Result<&'static str, String> {
        match self {
            Way::Http(http) => http.test().await.map(|()| "a test event was taken"),
            Way::Nats(nats) => nats.reach().await.map(|_| "the stream is there"),
            Way::Postgres(postgres) => postgres.reach().await.map(|()| "the tables are there"),
            Way::Spool(spool) => spool.test().map(|()| "a file can be written").map_err(|e| e.to_string()),
        }
    }
}

/// The same for all of them.
pub(super) fn all(events: &[Told<'_>], outcome: &Outcome) -> Vec<Outcome> {
    events.iter().map(|_| outcome.clone()).collect()
}
