//! Sinks: readers of the journal with a durable cursor each. A slow or dead one loses nothing and delays nobody.

pub mod delivery;
pub mod excerpt;
pub mod http;
pub mod nats;
pub mod postgres;
pub mod receipts;
mod spelling;
pub mod spool;
pub mod way;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Where a sink keeps what it could not deliver.
pub fn dead_letters(data: &Path, sink: &str) -> PathBuf {
    data.join("sinks").join(format!("{sink}.dead.ndjson"))
}

/// How a sink stands while it runs, for whoever asks; and where it is asked to try its dead letters again.
#[derive(Debug)]
pub struct Standing {
    pub name: String,
    pub way: &'static str,
    pub target: Option<String>,
    pub replay: Notify,
    told: AtomicU64,
    dead: AtomicU64,
    failing: Mutex<Option<String>>,
}

/// A sink as the API shows it.
#[derive(Serialize, Deserialize, Debug)]
pub struct Shown {
    pub name: String,
    /// `http`, `nats`, `postgres`, `spool`.
    pub way: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Up to which number of the journal.
    pub told: u64,
    /// Numbers of the journal behind that, which are durable.
    pub behind: u64,
    pub dead: u64,
    /// Why the last delivery failed; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

impl Standing {
    pub fn new(name: &str, way: &'static str, target: Option<String>) -> Standing {
        let (told, dead) = (AtomicU64::default(), AtomicU64::default());
        Standing { name: name.into(), way, target, replay: Notify::new(), told, dead, failing: Mutex::default() }
    }

    pub fn show(&self, durable: u64) -> Shown {
        let told = self.told.load(Ordering::Relaxed);
        Shown {
            name: self.name.clone(),
            way: self.way.into(),
            target: self.target.clone(),
            told,
            behind: durable.saturating_sub(told),
            dead: self.dead.load(Ordering::Relaxed),
            failing: self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn has_told(&self, sequence: u64) {
        self.told.store(sequence, Ordering::Relaxed);
    }

    fn has_dead(&self, count: u64) {
        self.dead.store(count, Ordering::Relaxed);
    }

    fn fails(&self, why: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}
