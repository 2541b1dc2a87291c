//! What a downstream is told: event after event, each until it is settled, over a restart too.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::journal::Kind;
use codecs::record::{AlertNo, CloudEvent};

use crate::disk::Disk;
use crate::journal::{Cursor, CursorFile, Damage, Item, Reader};

/// Octets of events that are due together, about: a first one may be longer.
const TOGETHER_MAX: usize = 4 * 1024 * 1024;

/// One downstream's way through the journal.
pub struct Follower {
    reader: Reader,
    cursor: CursorFile,
    /// Told and not settled.
    due: Vec<Event>,
    /// Read and told with the next: of an alert that is among them already.
    ahead: Option<Event>,
    /// Found behind them, and told with the next.
    damaged: Option<Damage>,
    /// Where a restart goes on once these are settled; none: where the reader is.
    behind: Option<Cursor>,
    /// The cursor stood beyond the journal's head and was set back.
    pub was_ahead: bool,
}

/// An event, and its number in the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub sequence: u64,
    /// Of which alert; none: it cannot be told.
    pub no: Option<AlertNo>,
    pub body: Vec<u8>,
}

impl Event {
    pub fn new(sequence: u64, body: Vec<u8>) -> Event {
        let no = CloudEvent::parts(&body).and_then(|(id, _)| AlertNo::parse(id.split(':').next()?));
        Event { sequence, no, body }
    }
}

#[derive(PartialEq, Eq, Debug)]
pub enum Due<'a> {
    /// One at least, in their order.
    Events(&'a [Event]),
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
        let (due, ahead, damaged, behind) = (Vec::new(), None, None, None);
        Follower { reader, cursor: file, due, ahead, damaged, behind, was_ahead }
    }

    /// The events that are due, the same until they are settled; durable ones only: numbered `until` or below. As many
    /// as are there, `at_most`; `apart`: no two of one alert.
    ///
    /// # Errors
    /// When the journal cannot be read; it may be tried again.
    pub fn due(&mut self, until: u64, at_most: usize, apart: bool) -> io::Result<Option<Due<'_>>> {
        if self.due.is_empty()
            && let Err(error) = self.gather(until, at_most, apart)
            && self.due.is_empty()
        {
            // What stands ahead of it is told first; then it is met again.
            return Err(error);
        }
        if self.due.is_empty() {
            return Ok(self.damaged.take().map(Due::Damage));
        }
        Ok(Some(Due::Events(&self.due)))
    }

    fn gather(&mut self, until: u64, at_most: usize, apart: bool) -> io::Result<()> {
        if let Some(event) = self.ahead.take() {
            self.add(event, apart);
        }
        let mut octets = self.due.iter().map(|e| e.body.len()).sum::<usize>();
        while self.damaged.is_none() && self.due.len() < at_most && octets < TOGETHER_MAX {
            match self.reader.next(until)? {
                None => break,
                Some(Item::Damage(damage)) => self.damaged = Some(damage),
                Some(Item::Frame(read)) if read.kind == Kind::Event => {
                    let event = Event::new(read.sequence, read.payload);
                    if apart && self.due.iter().any(|e| e.no == event.no) {
                        self.ahead = Some(event);
                        break;
                    }
                    octets += event.body.len();
                    self.add(event, apart);
                }
                Some(Item::Frame(_)) => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, event: Event, apart: bool) {
        self.behind = apart.then(|| self.reader.cursor());
        self.due.push(event);
    }

    /// The number of the last frame that was settled before, or read since.
    pub fn told(&self) -> u64 {
        self.reader.last()
    }

    /// They were taken, but a restart is still to repeat them: what they brought is not durable yet.
    pub fn pass(&mut self) {
        self.due.clear();
    }

    /// They were taken, or lie somewhere else from now on. A power cut may take the last ones back: told again, with the
    /// same id.
    ///
    /// # Errors
    /// What the disk said: a restart would repeat events.
    pub fn settle(&mut self) -> io::Result<()> {
        self.due.clear();
        self.cursor.store(&self.behind.take().unwrap_or_else(|| self.reader.cursor()))
    }
}

#[cfg(test)]
mod tests {
    use codecs::time::Wall;

    use super::*;
    use crate::disk::Files;
    use crate::journal::{Config, Door as _, Journal};

    fn event(serial: u32, rev: u32) -> Vec<u8> {
        let no = AlertNo::mint("370400000000", 20_261_130, 1, serial);
        format!("{{\"specversion\":\"1.0\",\"id\":\"{no}:{rev}\",\"data\":{{}}}}").into_bytes()
    }

    /// A journal of these events on a disk of its own.
    fn journal(name: &str, events: &[(u32, u32)]) -> (Arc<dyn Disk>, PathBuf, u64) {
        let data = std::env::temp_dir().join(format!("gw-follow-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        let disk: Arc<dyn Disk> = Arc::new(Files);
        let mut journal = Journal::shut(Arc::clone(&disk), &data.join("journal"), Config::of_node(1));
        journal.open(|_| {}).expect("opens");
        for (serial, rev) in events {
            journal.append(Wall(1), Kind::Event, event(*serial, *rev));
        }
        journal.commit().expect("durable");
        (disk, data, events.len() as u64)
    }

    fn due(follower: &mut Follower, until: u64, at_most: usize, apart: bool) -> Vec<Vec<u8>> {
        match follower.due(until, at_most, apart).expect("reads") {
            Some(Due::Events(events)) => events.iter().map(|e| e.body.clone()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_due_together_has_no_two_of_one_alert_where_order_is_not_kept() {
        let (disk, data, last) = journal("apart", &[(1, 1), (2, 1), (1, 2), (3, 1), (1, 3)]);
        let mut follower = Follower::open(&disk, &data, "apart", last);
        assert_eq!(due(&mut follower, last, 8, true), [event(1, 1), event(2, 1)]);
        assert_eq!(due(&mut follower, last, 8, true).len(), 2, "the same until they are settled");
        follower.settle().expect("stored");
        // A restart goes on with the one that was read ahead.
        let mut follower = Follower::open(&disk, &data, "apart", last);
        assert_eq!(due(&mut follower, last, 8, true), [event(1, 2), event(3, 1)]);
        follower.pass();
        assert_eq!(due(&mut follower, last, 8, true), [event(1, 3)]);
        let mut follower = Follower::open(&disk, &data, "apart", last);
        assert_eq!(due(&mut follower, last, 8, true), [event(1, 2), event(3, 1)], "passed by is not settled");
        std::fs::remove_dir_all(data).expect("removed");
    }

    #[test]
    fn where_order_is_kept_as_many_as_fit_are_due_and_none_beyond_what_is_durable() {
        let (disk, data, last) = journal("order", &[(1, 1), (1, 2), (1, 3), (1, 4)]);
        let mut follower = Follower::open(&disk, &data, "order", last);
        assert_eq!(due(&mut follower, 3, 2, false), [event(1, 1), event(1, 2)]);
        follower.settle().expect("stored");
        assert_eq!(due(&mut follower, 3, 2, false), [event(1, 3)], "the fourth is not durable yet");
        follower.settle().expect("stored");
        assert_eq!(follower.due(3, 2, false).expect("reads"), None);
        let mut follower = Follower::open(&disk, &data, "order", last);
        assert_eq!(due(&mut follower, last, 2, false), [event(1, 4)]);
        std::fs::remove_dir_all(data).expect("removed");
    }
}
