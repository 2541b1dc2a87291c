//! The spool: events as files in a directory, for whoever collects files: a gate between networks, a nightly job.
//!
//! A file appears whole, with what was due at once: one CloudEvent a line, in the journal's order. Its name begins with
//! the journal's number of its first event, so that names in their order are events in theirs. After a crash the last
//! file may come once more, with the same name or with more behind it; ids tell.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use store::disk::FILE_MODE;

use super::way::{Outcome, Told, all};

/// Events in a file, at most.
pub(super) const AT_ONCE: usize = 256;

pub struct Spool {
    pub dir: PathBuf,
    /// Files that may lie there uncollected; then events wait in the journal.
    pub most: usize,
}

impl Spool {
    pub(super) fn tell(&self, events: &[Told<'_>]) -> Vec<Outcome> {
        match self.write(events) {
            Ok(()) => all(events, &Outcome::Done),
            Err(error) => all(events, &Outcome::Later(None, format!("{}: {error}", self.dir.display()))),
        }
    }

    pub(super) fn test(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let part = self.dir.join(".test.part");
        let _ = std::fs::remove_file(&part);
        fresh(&part)?.sync_all()?;
        std::fs::remove_file(part)
    }

    fn write(&self, events: &[Told<'_>]) -> io::Result<()> {
        let Some(first) = events.first() else { return Ok(()) };
        std::fs::create_dir_all(&self.dir)?;
        let lying = std::fs::read_dir(&self.dir)?.take(self.most).count();
        if lying >= self.most {
            return Err(io::Error::other(format!("{lying} files lie there, and nobody collects them")));
        }
        let name = format!("{:020}-{}-{}.ndjson", first.sequence, first.id.replace(':', "-"), events.len());
        let part = self.dir.join(format!(".{name}.part"));
        // Of a try before, or of somebody else's: nothing of ours goes through a link.
        let _ = std::fs::remove_file(&part);
        let mut file = fresh(&part)?;
        let mut lines = Vec::with_capacity(events.iter().map(|e| e.body.len() + 1).sum());
        for event in events {
            lines.extend_from_slice(event.body);
            lines.push(b'\n');
        }
        let written = file.write_all(&lines).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| std::fs::rename(&part, self.dir.join(&name))) {
            let _ = std::fs::remove_file(&part);
            return Err(error);
        }
        File::open(&self.dir)?.sync_all()
    }
}

fn fresh(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).write(true).mode(FILE_MODE).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("gw-spool-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn told(sequence: u64, body: &str) -> Told<'_> {
        Told { sequence, id: "1:1", step: "arrived", body: body.as_bytes() }
    }

    #[test]
    fn a_file_appears_whole_named_by_its_first_event_and_no_other_lies_beside_it() {
        let spool = Spool { dir: scratch("whole"), most: 10 };
        assert_eq!(spool.tell(&[told(7, "{\"a\":1}"), told(9, "{\"b\":2}")]), [Outcome::Done, Outcome::Done]);
        let names: Vec<_> =
            std::fs::read_dir(&spool.dir).expect("reads").map(|e| e.expect("an entry").path()).collect();
        assert_eq!(names, [spool.dir.join("00000000000000000007-1-1-2.ndjson")]);
        assert_eq!(std::fs::read_to_string(&names[0]).expect("reads"), "{\"a\":1}\n{\"b\":2}\n");
        std::fs::remove_dir_all(&spool.dir).expect("removed");
    }

    #[test]
    fn where_nobody_collects_or_nothing_can_be_written_events_wait() {
        let spool = Spool { dir: scratch("full"), most: 1 };
        assert_eq!(spool.tell(&[told(1, "{}")]), [Outcome::Done]);
        let waits = |spool: &Spool| matches!(spool.tell(&[told(2, "{}")])[..], [Outcome::Later(None, _)]);
        assert!(waits(&spool), "one lies there uncollected");
        std::fs::remove_file(spool.dir.join("00000000000000000001-1-1-1.ndjson")).expect("collected");
        assert_eq!(spool.tell(&[told(2, "{}")]), [Outcome::Done]);
        assert!(waits(&Spool { dir: "/dev/null/spool".into(), most: 10 }));
        std::fs::remove_dir_all(&spool.dir).expect("removed");
    }
}
