//! The journal is opened beside everything else: a disk that does not answer keeps no call waiting.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use store::disk::Disk;
use store::journal::{Config, Journal, Opened};
use store::read_model;
use switchboard::replay::Front;

/// Does it in a thread of its own.
fn begin<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<Receiver<T>> {
    let (sender, told) = channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    let begun = thread.spawn(move || drop(sender.send(work())));
    begun.ok().map(|_| told)
}

/// A journal as far as a start needs it at once.
pub struct Found {
    pub journal: Journal,
    pub opened: std::io::Result<Opened>,
    pub front: Front,
    /// How far the read model has seen a journal, and the highest serial of each day that it knows.
    pub seen: u64,
    pub given: Vec<(u32, u32)>,
}

/// One that is being opened.
pub struct Opening(Option<Receiver<Found>>);

impl Opening {
    pub fn begin(disk: Arc<dyn Disk>, dir: &Path, config: Config) -> Opening {
        let dir: PathBuf = dir.to_owned();
        Opening(begin("opening", move || {
            let mut front = Front::default();
            let mut journal = Journal::shut(disk, &dir, config);
            let opened = journal.open(|frame| front.handle(frame));
            let data = dir.parent().unwrap_or(&dir);
            let seen = read_model::position(data).unwrap_or_default();
            let end = switchboard::serials::RESERVED;
            let given = read_model::last_serials(data, config.node, end).unwrap_or_default();
            Found { journal, opened, front, seen, given }
        }))
    }

    /// What was found, unless it is still being looked for.
    ///
    /// # Errors
    /// The opening again: it goes on.
    pub fn within(self, time: Duration) -> Result<Option<Found>, Opening> {
        let Some(told) = &self.0 else { return Ok(None) };
        match told.recv_timeout(time) {
            Ok(found) => Ok(Some(found)),
            Err(RecvTimeoutError::Timeout) => Err(self),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
        }
    }
}
