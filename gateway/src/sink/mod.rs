//! Sinks: readers of the journal with a durable cursor each. A slow or dead one loses nothing and delays nobody.

pub mod http;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::journal::Cursor;

/// Where a sink has come to, in a file of its own.
pub struct CursorFile {
    path: PathBuf,
}

impl CursorFile {
    pub fn new(data: &Path, sink: &str) -> CursorFile {
        CursorFile { path: data.join("sinks").join(format!("{sink}.cursor")) }
    }

    /// The start of the journal when there is none.
    pub fn load(&self) -> Cursor {
        std::fs::read(&self.path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
    }

    /// Whole or not at all. A power cut may take the last ones back: delivered again, with the same id.
    ///
    /// # Errors
    /// What the disk said.
    pub fn store(&self, cursor: Cursor) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let temporary = self.path.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(&cursor)?)?;
        std::fs::rename(&temporary, &self.path)
    }
}

/// Events that a sink has given up on: one JSON object a line, replayed by `gateway sink replay`.
pub struct DeadLetters {
    path: PathBuf,
}

impl DeadLetters {
    pub fn new(data: &Path, sink: &str) -> DeadLetters {
        DeadLetters { path: data.join("sinks").join(format!("{sink}.dead.ndjson")) }
    }

    /// # Errors
    /// What the disk said; the event must not be skipped then.
    pub fn add(&self, event: &[u8]) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(&[event, b"\n"].concat())?;
        file.sync_data()
    }

    pub fn count(&self) -> usize {
        std::fs::read(&self.path).map_or(0, |b| b.iter().filter(|c| **c == b'\n').count())
    }

    /// All events, to be tried again, and the file they lie in until that is done: a replay that was cut short is
    /// taken up by the next.
    ///
    /// # Errors
    /// What the disk said.
    pub fn take(&self) -> io::Result<(Vec<Vec<u8>>, PathBuf)> {
        let taken = self.path.with_extension("replaying");
        if !taken.exists() && self.path.exists() {
            std::fs::rename(&self.path, &taken)?;
        }
        let bytes = if taken.exists() { std::fs::read(&taken)? } else { Vec::new() };
        Ok((bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect(), taken))
    }
}
