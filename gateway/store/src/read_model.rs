//! The read model: the newest revision of every alert in SQLite, rebuilt from the journal whenever it is missing.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use codecs::journal::Kind;
use codecs::record::CloudEvent;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use crate::journal::{Cursor, Item, Place, Reader};

/// Of the tables; a file with another is made anew from the journal.
const VERSION: i64 = 3;
/// Frames a transaction at most.
pub const BATCH: usize = 2000;

#[derive(Debug)]
pub enum Error {
    Sqlite(rusqlite::Error),
    Journal(io::Error),
    /// It has seen frames that the journal no longer has.
    Ahead {
        seen: u64,
        head: u64,
    },
    /// Somebody has removed its file, or one of those beside it.
    Removed,
    /// What lies in its place is no file.
    NoFile,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Sqlite(error) => error.fmt(f),
            Error::Journal(error) => error.fmt(f),
            Error::Removed => f.write_str("a file of the read model was removed or changed"),
            Error::NoFile => f.write_str("what lies in the read model's place is no regular file"),
            Error::Ahead { seen, head } => {
                write!(f, "the read model has seen frame {seen}, the journal ends at {head}")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        Error::Sqlite(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Journal(error)
    }
}

impl Error {
    /// The file itself is spoilt: it is made anew.
    pub fn is_damage(&self) -> bool {
        let error = match self {
            Error::Sqlite(error) => error,
            Error::NoFile => return true,
            Error::Journal(_) | Error::Ahead { .. } | Error::Removed => return false,
        };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

pub fn path(data: &Path) -> PathBuf {
    data.join("read-model.sqlite")
}

/// Alerts are kept by their number without its unit, as an integer: new ones are added at the table's end.
fn open(data: &Path) -> Result<Connection, Error> {
    check_file(data)?;
    let db = Connection::open(path(data))?;
    // It can always be rebuilt: speed matters more than a power cut.
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    let is_current =
        || Ok::<bool, rusqlite::Error>(db.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0))? == VERSION);
    if is_current()? {
        return Ok(db);
    }
    // Whoever comes second finds it made.
    db.execute_batch("BEGIN IMMEDIATE")?;
    if !is_current()? {
        db.execute_batch(
            "DROP TABLE IF EXISTS alert; DROP TABLE IF EXISTS cursor;
             CREATE TABLE alert (key INTEGER PRIMARY KEY, rev INTEGER NOT NULL, sequence INTEGER NOT NULL, record TEXT NOT NULL);
             CREATE INDEX alert_sequence ON alert (sequence);
             CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL, hash TEXT NOT NULL,
                                  segment INTEGER NOT NULL, offset INTEGER NOT NULL);",
        )?;
        db.pragma_update(None, "user_version", VERSION)?;
    }
    db.execute_batch("COMMIT")?;
    Ok(db)
}

/// Opening a pipe would wait for whoever is at its other end.
fn check_file(data: &Path) -> Result<(), Error> {
    if std::fs::metadata(path(data)).is_ok_and(|about| !about.is_file()) { Err(Error::NoFile) } else { Ok(()) }
}

/// For asking only: makes nothing.
fn open_read(data: &Path) -> Result<Connection, Error> {
    check_file(data)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path(data), flags)?;
    db.busy_timeout(std::time::Duration::from_secs(2))?;
    Ok(db)
}

/// Day, node, serial and check digit: 18 digits.
fn key_of(no: &str) -> Option<i64> {
    no.get(UNIT_DIGITS..).filter(|rest| rest.len() == KEY_DIGITS)?.parse().ok()
}

const UNIT_DIGITS: usize = 12;
const KEY_DIGITS: usize = 18;

fn file_at(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

/// The one that writes.
pub struct ReadModel {
    db: Connection,
    path: PathBuf,
    /// Which file it is, by device and inode.
    file: Option<(u64, u64)>,
    cursor: Cursor,
}

impl ReadModel {
    /// # Errors
    /// When SQLite cannot be used, or the model is ahead of a journal that ends at `head`: it then holds what the
    /// journal has lost, and is to be set aside.
    pub fn open(data: &Path, head: u64) -> Result<ReadModel, Error> {
        let db = open(data)?;
        let stored = db.query_row("SELECT sequence, hash, segment, offset FROM cursor", [], |r| {
            let hint = Place { segment: r.get::<_, i64>(2)? as u64, offset: r.get::<_, i64>(3)? as u64 };
            Ok(Cursor { sequence: r.get::<_, i64>(0)? as u64, hash: r.get(1)?, hint })
        });
        let cursor: Cursor = stored.optional()?.unwrap_or_default();
        if cursor.sequence > head {
            return Err(Error::Ahead { seen: cursor.sequence, head });
        }
        let path = path(data);
        Ok(ReadModel { cursor, db, file: file_at(&path), path })
    }

    /// Moves the file out of the way, as `read-model.NAME`; one that stands there already is left as it is.
    ///
    /// # Errors
    /// When it stays where it was.
    pub fn set_aside(data: &Path, name: &str) -> io::Result<PathBuf> {
        let free = |n: u32| if n == 0 { format!("read-model.{name}") } else { format!("read-model.{name}-{n}") };
        let kept = (0..100).map(|n| data.join(free(n))).find(|p| !p.exists());
        let kept = kept.ok_or_else(|| io::Error::other("a hundred read models were set aside already"))?;
        std::fs::rename(path(data), &kept)?;
        for suffix in ["-wal", "-shm"] {
            let beside = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            // SQLite finds them by the file's name.
            let _ = std::fs::rename(beside(&path(data)), beside(&kept));
        }
        Ok(kept)
    }

    fn clear(&mut self) -> Result<(), Error> {
        self.db.execute_batch("BEGIN IMMEDIATE; DELETE FROM alert; DELETE FROM cursor; COMMIT")?;
        self.cursor = Cursor::default();
        Ok(())
    }

    /// Whether its file is still where it was: what is written to one that was removed nobody reads.
    ///
    /// # Errors
    /// `Removed`.
    pub fn look(&self) -> Result<(), Error> {
        if file_at(&self.path) == self.file { Ok(()) } else { Err(Error::Removed) }
    }

    /// Whether somebody else, who opens it now, finds what was written to it.
    ///
    /// # Errors
    /// `Removed`: of its files one is not what it was.
    pub fn look_as_others_do(&self) -> Result<(), Error> {
        let seen = self.path.parent().and_then(|data| position(data).ok());
        if seen == Some(self.cursor.sequence) { Ok(()) } else { Err(Error::Removed) }
    }

    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// One transaction's worth of frames numbered `until` or below; how many there were.
    ///
    /// # Errors
    /// When SQLite or the journal cannot be used; nothing has happened then.
    pub fn apply(&mut self, reader: &mut Reader, until: u64) -> Result<usize, Error> {
        let mut newest: HashMap<i64, Newest> = HashMap::new();
        let mut read = 0;
        let mut is_another = false;
        while read < BATCH {
            let item = match reader.next(until) {
                Ok(Some(item)) => item,
                Ok(None) => break,
                // What was read ahead of it counts; the next time tells.
                Err(_) if read > 0 => break,
                Err(error) => return Err(error.into()),
            };
            read += 1;
            match item {
                Item::Frame(frame) if frame.kind == Kind::Event => {
                    if let Some((key, one)) = Newest::of(frame.sequence, frame.payload) {
                        newest.insert(key, one);
                    }
                }
                Item::Frame(_) => {}
                Item::Damage(damage) => is_another |= damage.what == "the cursor was made in another journal",
            }
        }
        if read == 0 {
            return Ok(0);
        }
        if is_another {
            self.clear()?;
        }
        let cursor = reader.cursor();
        let transaction = self.db.transaction()?;
        {
            let mut upsert = transaction.prepare_cached(
                "INSERT INTO alert (key, rev, sequence, record) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET rev = ?2, sequence = ?3, record = ?4 WHERE ?2 > rev",
            )?;
            let mut in_order: Vec<_> = newest.iter().collect();
            in_order.sort_unstable_by_key(|(_, newest)| newest.sequence);
            for (key, newest) in in_order {
                upsert.execute(params![key, newest.rev, newest.sequence as i64, newest.record()])?;
            }
        }
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO cursor (id, sequence, hash, segment, offset) VALUES (1, ?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                cursor.sequence as i64,
                cursor.hash,
                cursor.hint.segment as i64,
                cursor.hint.offset as i64
            ])?;
        transaction.commit()?;
        self.cursor = cursor;
        Ok(read)
    }

    /// Forgets alerts whose day is before this one (as `yyyymmdd`): their recordings and revisions are gone too.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn forget_before(&mut self, day: u32) -> Result<usize, Error> {
        let first = i64::from(day) * 10i64.pow(KEY_DIGITS as u32 - 8);
        Ok(self.db.execute("DELETE FROM alert WHERE key < ?1", [first])?)
    }
}

/// The last revision of an alert in a batch.
struct Newest {
    rev: i64,
    sequence: u64,
    payload: Vec<u8>,
    record: std::ops::Range<usize>,
}

impl Newest {
    /// None for what is no alert's revision: nobody will ask for it here.
    fn of(sequence: u64, payload: Vec<u8>) -> Option<(i64, Newest)> {
        let (id, record) = CloudEvent::parts(&payload)?;
        let (no, rev) = id.split_once(':')?;
        let (key, rev) = (key_of(no)?, rev.parse().ok()?);
        std::str::from_utf8(&payload[record.clone()]).ok()?;
        Some((key, Newest { rev, sequence, payload, record }))
    }

    fn record(&self) -> &str {
        std::str::from_utf8(&self.payload[self.record.clone()]).unwrap_or_default()
    }
}

/// The newest revision of the alert with this number, or with this unambiguous tail of it: at most 18 digits, with its
/// check digit or without.
///
/// # Errors
/// What SQLite said.
pub fn get(data: &Path, no: &str) -> Result<Vec<String>, Error> {
    let db = open_read(data)?;
    let digits = no.bytes().all(|b| b.is_ascii_digit());
    if let Some(key) = key_of(no).filter(|_| digits) {
        let mut query = db.prepare("SELECT record FROM alert WHERE key = ?1")?;
        let found: Vec<String> = query.query_map([key], |r| r.get(0))?.collect::<Result<_, _>>()?;
        // The unit is part of the number.
        return Ok(found.into_iter().filter(|record| record.contains(no)).collect());
    }
    let Some(tail) = no.parse::<i64>().ok().filter(|_| digits && no.len() <= KEY_DIGITS) else { return Ok(Vec::new()) };
    let modulus = 10i64.pow(no.len() as u32);
    let mut query = db.prepare("SELECT record FROM alert WHERE key % ?1 = ?2 OR (key / 10) % ?1 = ?2 LIMIT 2")?;
    let rows = query.query_map([modulus, tail], |r| r.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Alerts whose newest revision is younger than `after`, oldest first: (sequence, record).
///
/// # Errors
/// What SQLite said.
pub fn list(data: &Path, after: u64, limit: u32, state: Option<&str>) -> Result<Vec<(u64, String)>, Error> {
    let db = open_read(data)?;
    let after = after.min(i64::MAX as u64);
    let mut query = db.prepare(
        "SELECT sequence, record FROM alert WHERE sequence > ?1 AND (?3 IS NULL OR record ->> '$.state' = ?3)
         ORDER BY sequence LIMIT ?2",
    )?;
    let rows = query.query_map(params![after as i64, limit, state], |r| Ok((r.get::<_, i64>(0)? as u64, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Days of which the highest serial is looked for, the youngest first.
const DAYS: usize = 64;

/// The highest serial below `end` of each day (20261129) that it knows of this node.
///
/// # Errors
/// What SQLite said.
pub fn last_serials(data: &Path, node: u8, end: u32) -> Result<Vec<(u32, u32)>, Error> {
    const DAY: i64 = 10_000_000_000;
    let db = open_read(data)?;
    let highest = |from: i64, below: i64| -> Result<Option<i64>, Error> {
        let asked = "SELECT MAX(key) FROM alert WHERE key >= ?1 AND key < ?2";
        Ok(db.query_row(asked, [from, below], |r| r.get(0))?)
    };
    let (mut found, mut below) = (Vec::new(), i64::MAX);
    for _ in 0..DAYS {
        let Some(key) = highest(0, below)? else { break };
        let day = key / DAY;
        let first = day * DAY + i64::from(node) * 1_000_000_000;
        if let Some(key) = highest(first, first + i64::from(end) * 10)? {
            found.push((day as u32, ((key - first) / 10) as u32));
        }
        below = day * DAY;
    }
    Ok(found)
}

/// How far the model has come, for whoever compares it with the journal.
///
/// # Errors
/// What SQLite said.
pub fn position(data: &Path) -> Result<u64, Error> {
    let db = open_read(data)?;
    let at = db.query_row("SELECT sequence FROM cursor", [], |r| r.get::<_, i64>(0)).optional()?;
    Ok(at.unwrap_or(0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_serial_of_each_day_is_known_of_this_node_and_of_the_reserved_ones() {
        let data = std::env::temp_dir().join(format!("gw-serials-{}", std::process::id()));
        std::fs::create_dir_all(&data).expect("made");
        let db = open(&data).expect("opens");
        for (day, node, serial) in [
            (20_261_129, 1, 7),
            (20_261_129, 1, 5),
            (20_261_129, 2, 9),
            (20_261_130, 1, 95_000_000),
            (20_261_128, 1, 3),
        ] {
            let key = (day * 10 + node) * 1_000_000_000i64 + serial * 10 + 4;
            db.execute("INSERT INTO alert VALUES (?1, 1, 1, '{}')", [key]).expect("inserted");
        }
        let found = last_serials(&data, 1, 90_000_000).expect("asked");
        assert_eq!(found, [(20_261_129, 7), (20_261_128, 3)]);
        std::fs::remove_dir_all(&data).expect("removed");
    }
}
