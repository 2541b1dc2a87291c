//! Sinks: readers of the journal with a durable cursor each. A slow or dead one loses nothing and delays nobody.

pub mod excerpt;
pub mod http;
pub mod receipts;

use std::path::{Path, PathBuf};

/// Where a sink keeps what it could not deliver.
pub fn dead_letters(data: &Path, sink: &str) -> PathBuf {
    data.join("sinks").join(format!("{sink}.dead.ndjson"))
}
