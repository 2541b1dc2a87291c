//! Where a reader has come to: a number, the hash that proves which frame had it, and a place as a hint.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::journal::Hash;
use codecs::sip::auth::hex;

use super::Place;
use crate::disk::Disk;

/// The last frame that was read; 0 for none.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// A cursor of 0.1.0 has none: it is found by the place.
    #[serde(default)]
    pub sequence: u64,
    /// Of that frame, in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
    #[serde(flatten)]
    pub hint: Place,
}

impl Cursor {
    pub fn at(sequence: u64, hash: Option<Hash>, hint: Place) -> Cursor {
        Cursor { sequence, hash: hash.map(|h| hex(&h)).unwrap_or_default(), hint }
    }

    /// A cursor beyond the journal's head, as it stood at the start, is set back to it: what comes next is new to
    /// whoever reads, whatever its number. `true`: it was.
    pub fn set_back(&mut self, head: u64) -> bool {
        let ahead = self.sequence > head;
        if ahead {
            *self = Cursor { sequence: head, ..Cursor::default() };
        }
        ahead
    }

    pub fn hash(&self) -> Option<Hash> {
        let mut hash = [0; 32];
        if self.hash.len() != 64 {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(self.hash.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(hash)
    }
}

/// A cursor in a file of its own.
pub struct CursorFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl CursorFile {
    pub fn new(disk: Arc<dyn Disk>, path: &Path) -> CursorFile {
        CursorFile { disk, path: path.to_owned() }
    }

    /// The start of the journal when there is none, or none that can be read.
    pub fn load(&self) -> Cursor {
        self.disk.read(&self.path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
    }

    /// Whole or not at all. A power cut may take the last ones back: delivered again, with the same id.
    ///
    /// # Errors
    /// What the disk said.
    pub fn store(&self, cursor: &Cursor) -> io::Result<()> {
        self.disk.replace(&self.path, &serde_json::to_vec(cursor)?)
    }
}
