//! Events that a sink would not take: one JSON object a line, until somebody has them tried again.
//!
//! While an alert has one here, its later events come here too: whoever receives them gets them in their order.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use codecs::record::CloudEvent;

use crate::disk::FILE_MODE;

pub struct DeadLetters {
    path: PathBuf,
    count: u64,
    alerts: BTreeSet<String>,
}

fn alert_of(event: &[u8]) -> Option<String> {
    let (id, _) = CloudEvent::parts(event)?;
    id.split(':').next().map(str::to_owned)
}

/// The lines of a file, one after the other; none where there is no file.
fn lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>> + use<>> {
    let file = match File::open(path) {
        Ok(file) => Some(BufReader::new(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let lines = file.into_iter().flat_map(|f| f.split(b'\n'));
    Ok(lines.filter(|l| l.as_ref().is_ok_and(|l| !l.is_empty()) || l.is_err()))
}

/// Cuts off a last line that a crash left without its end: it was never added, and comes again.
fn end_torn(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    let (mut whole, mut line) = (0, Vec::new());
    let mut reader = BufReader::new(&mut file);
    loop {
        line.clear();
        let len = reader.read_until(b'\n', &mut line)?;
        if len == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            break;
        }
        whole += len as u64;
    }
    file.set_len(whole)
}

impl DeadLetters {
    /// Reads through what is there, once.
    pub fn open(path: &Path) -> DeadLetters {
        let mut dead = DeadLetters { path: path.to_owned(), count: 0, alerts: BTreeSet::new() };
        // A file that a replay was at when the process ended is dead letters like any other.
        let _ = dead.put_back();
        let _ = end_torn(&dead.path);
        dead.recount();
        dead
    }

    fn recount(&mut self) {
        (self.count, self.alerts) = (0, BTreeSet::new());
        for line in lines(&self.path).into_iter().flatten().flatten() {
            self.count += 1;
            self.alerts.extend(alert_of(&line));
        }
    }

    fn replaying(&self) -> PathBuf {
        self.path.with_extension("replaying")
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether an event has to wait here for an earlier one of its alert.
    pub fn holds_back(&self, event: &[u8]) -> bool {
        !self.alerts.is_empty() && alert_of(event).is_some_and(|no| self.alerts.contains(&no))
    }

    /// # Errors
    /// What the disk said; the event must not be skipped then.
    pub fn add(&mut self, event: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(&self.path)?;
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(&[event, b"\n"].concat()).and_then(|()| file.sync_data()) {
            // Half a line would run together with the next: what cannot be kept whole is not begun.
            let _ = file.set_len(before);
            return Err(error);
        }
        self.count += 1;
        self.alerts.extend(alert_of(event));
        Ok(())
    }

    /// All events, oldest first, to be tried again; each that is refused once more is to be added again. `finish` ends it.
    ///
    /// # Errors
    /// What the disk said.
    pub fn take(&mut self) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>> + use<>> {
        self.put_back()?;
        let taken = self.replaying();
        match std::fs::rename(&self.path, &taken) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.count = 0;
        lines(&taken)
    }

    /// What was taken has been delivered, or added again.
    pub fn finish(&mut self) {
        let _ = std::fs::remove_file(self.replaying());
        self.recount();
    }

    /// What an interrupted replay had taken comes ahead of what was added since.
    fn put_back(&mut self) -> io::Result<()> {
        let taken = self.replaying();
        if !taken.exists() {
            return Ok(());
        }
        end_torn(&taken)?;
        if let Ok(mut later) = File::open(&self.path) {
            let mut all = OpenOptions::new().append(true).open(&taken)?;
            io::copy(&mut later, &mut all)?;
            all.sync_data()?;
        }
        std::fs::rename(&taken, &self.path)?;
        self.recount();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(no: u32, rev: u32) -> Vec<u8> {
        format!("{{\"specversion\":\"1.0\",\"id\":\"{no}:{rev}\",\"data\":{{}}}}").into_bytes()
    }

    fn taken(dead: &mut DeadLetters) -> Vec<Vec<u8>> {
        dead.take().expect("reads").map(|l| l.expect("a line")).collect()
    }

    #[test]
    fn later_events_of_an_alert_wait_behind_the_refused_one_and_all_come_in_order() {
        let dir = std::env::temp_dir().join(format!("gw-dead-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("demo.dead.ndjson");
        let mut dead = DeadLetters::open(&path);
        assert!(!dead.holds_back(&event(1, 2)));
        dead.add(&event(1, 1)).expect("added");
        assert!(dead.holds_back(&event(1, 2)) && !dead.holds_back(&event(2, 1)));
        dead.add(&event(1, 2)).expect("added");
        let mut dead = DeadLetters::open(&path);
        assert_eq!((dead.count(), taken(&mut dead)), (2, vec![event(1, 1), event(1, 2)]));
        // The process ends in the middle of it; meanwhile another came.
        dead.add(&event(1, 3)).expect("added");
        let mut dead = DeadLetters::open(&path);
        assert_eq!(taken(&mut dead), [event(1, 1), event(1, 2), event(1, 3)]);
        dead.add(&event(1, 3)).expect("refused once more");
        dead.finish();
        assert_eq!((dead.count(), dead.holds_back(&event(1, 4))), (1, true));
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn half_a_line_runs_together_with_no_other() {
        let dir = std::env::temp_dir().join(format!("gw-dead-torn-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("demo.dead.ndjson");
        DeadLetters::open(&path).add(&event(1, 1)).expect("added");
        let half = [event(1, 1), b"\n".to_vec(), event(2, 1)[..20].to_vec()].concat();
        std::fs::write(&path, half).expect("written");
        let mut dead = DeadLetters::open(&path);
        assert_eq!(dead.count(), 1, "it was never added");
        dead.add(&event(2, 1)).expect("added");
        assert_eq!(taken(&mut dead), [event(1, 1), event(2, 1)]);
        // A device that is full takes half, or nothing: of that nothing is left.
        let full = DeadLetters { path: "/dev/full".into(), count: 0, alerts: BTreeSet::new() }.add(&event(3, 1));
        assert!(full.is_err());
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn the_file_is_read_once_and_not_for_each_event() {
        let dir = std::env::temp_dir().join(format!("gw-dead-once-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("demo.dead.ndjson");
        let mut dead = DeadLetters::open(&path);
        dead.add(&event(1, 1)).expect("added");
        let mut dead = DeadLetters::open(&path);
        // Whoever looked into the file now would find nothing, or fail.
        std::fs::remove_file(&path).expect("removed");
        assert_eq!((dead.count(), dead.holds_back(&event(1, 2)), dead.holds_back(&event(2, 1))), (1, true, false));
        dead.add(&event(2, 1)).expect("added");
        assert_eq!((dead.count(), dead.holds_back(&event(2, 2))), (2, true));
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
