//! What a downstream is told: event after event, each until it is settled, over a restart too.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::journal::Kind;

use crate::disk::Disk;
use crate::journal::{CursorFile, Damage, Item, Read, Reader};

/// One downstream's way through the journal.
pub struct Follower {
    reader: Reader,
    cursor: CursorFile,
    /// Told and not settled.
    due: Option<Read>,
    /// The cursor stood beyond the journal's head and was set back.
    pub was_ahead: bool,
}

#[derive(PartialEq, Eq, Debug)]
pub enum Due<'a> {
    Event {
        sequence: u64,
        body: &'a [u8],
    },
    /// Events are missing here.
    Damage(Damage),
}

pub fn cursor_path(data: &Path, name: &str) -> PathBuf {
    data.join("sinks").join(format!("{name}.cursor"))
}

impl Follower {
    /// Goes on where it was; `head` is the number of the last frame when the process began.
    pub fn open(disk: &Arc<dyn Disk>, data: &Path, name: &str, head: u64) -> Follower {
        let _ = disk.make_dir(&data.join("sinks"));
        let file = CursorFile::new(Arc::clone(disk), &cursor_path(data, name));
        let mut cursor = file.load();
        let was_ahead = cursor.set_back(head);
        let reader = Reader::new(Arc::clone(disk), &data.join("journal"), &cursor);
        Follower { reader, cursor: file, due: None, was_ahead }
    }

    /// The event that is due, the same until it is settled; durable ones only: numbered `until` or below.
    ///
    /// # Errors
    /// When the journal cannot be read; it may be tried again.
    pub fn due(&mut self, until: u64) -> io::Result<Option<Due<'_>>> {
        while self.due.is_none() {
            match self.reader.next(until)? {
                None => return Ok(None),
                Some(Item::Damage(damage)) => return Ok(Some(Due::Damage(damage))),
                Some(Item::Frame(read)) => self.due = Some(read).filter(|r| r.kind == Kind::Event),
            }
        }
        Ok(self.due.as_ref().map(|read| Due::Event { sequence: read.sequence, body: &read.payload }))
    }

    /// It was taken, but a restart is still to repeat it: what it brought is not durable yet.
    pub fn pass(&mut self) {
        self.due = None;
    }

    /// It was taken, or lies somewhere else from now on. A power cut may take the last ones back: told again, with the
    /// same id.
    ///
    /// # Errors
    /// What the disk said: a restart would repeat events.
    pub fn settle(&mut self) -> io::Result<()> {
        self.due = None;
        self.cursor.store(&self.reader.cursor())
    }
}
