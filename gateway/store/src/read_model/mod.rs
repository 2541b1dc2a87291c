//! The read model: the newest revision of every alert in SQLite, with what it is looked for by; rebuilt from the journal
//! whenever it is missing.

mod about;
mod ask;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use codecs::journal::Kind;
use codecs::record::CloudEvent;
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use crate::journal::{Cursor, Item, Place, Reader};
pub use about::{About, Work};
pub use ask::{Found, Wanted, find, get, last_serials, latest, list, position};

/// Of the tables; a file with another is made anew from the journal.
const VERSION: i64 = 5;
/// `alert` is asked for whole records, `about` for what alerts are looked for by; `number`, `place` and `said` lead to
/// them, and `said` holds no text, only where pairs of characters stand.
const TABLES: &str = "
    DROP TABLE IF EXISTS alert; DROP TABLE IF EXISTS cursor; DROP TABLE IF EXISTS about; DROP TABLE IF EXISTS number;
    DROP TABLE IF EXISTS place; DROP TABLE IF EXISTS said;
    CREATE TABLE alert (key INTEGER PRIMARY KEY, rev INTEGER NOT NULL, sequence INTEGER NOT NULL, record TEXT NOT NULL);
    CREATE INDEX alert_sequence ON alert (sequence);
    CREATE TABLE about (key INTEGER PRIMARY KEY, state TEXT NOT NULL, owner TEXT NOT NULL, kind TEXT, category TEXT,
                        level INTEGER, arrived TEXT NOT NULL, work TEXT, overdue INTEGER NOT NULL, digest INTEGER NOT NULL,
                        places TEXT NOT NULL, numbers TEXT NOT NULL, units TEXT NOT NULL, complaint TEXT);
    CREATE INDEX about_state ON about (state, key);
    CREATE INDEX about_owner ON about (owner, key);
    CREATE INDEX about_work ON about (work, key) WHERE work IS NOT NULL;
    CREATE INDEX about_overdue ON about (key) WHERE overdue = 1;
    CREATE TABLE number (number TEXT NOT NULL, key INTEGER NOT NULL, PRIMARY KEY (number, key)) WITHOUT ROWID;
    CREATE TABLE place (code TEXT NOT NULL, key INTEGER NOT NULL, PRIMARY KEY (code, key)) WITHOUT ROWID;
    CREATE VIRTUAL TABLE said USING fts5 (pairs, content = '', contentless_delete = 1, tokenize = 'unicode61');
    CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL, hash TEXT NOT NULL,
                         segment INTEGER NOT NULL, offset INTEGER NOT NULL);";
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
        db.execute_batch(TABLES)?;
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

    /// Takes the file away, with those beside it.
    ///
    /// # Errors
    /// What the disk said.
    pub fn remove(data: &Path) -> io::Result<()> {
        let path = path(data);
        for suffix in ["", "-wal", "-shm"] {
            match std::fs::remove_file(format!("{}{suffix}", path.display())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// How many it knows.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn alerts(&self) -> Result<u64, Error> {
        Ok(self.db.query_row("SELECT count(*) FROM about", [], |r| r.get::<_, i64>(0))? as u64)
    }

    fn clear(&mut self) -> Result<(), Error> {
        self.db.execute_batch(
            "BEGIN IMMEDIATE; DELETE FROM alert; DELETE FROM about; DELETE FROM number; DELETE FROM place;
             INSERT INTO said (said) VALUES ('delete-all'); DELETE FROM cursor; COMMIT",
        )?;
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
        self.apply_and_show(reader, until, |_| {})
    }

    /// The same; whoever else follows is shown each alert as it is by now.
    ///
    /// # Errors
    /// When SQLite or the journal cannot be used; nothing has happened then.
    pub fn apply_and_show(
        &mut self,
        reader: &mut Reader,
        until: u64,
        mut show: impl FnMut(&About),
    ) -> Result<usize, Error> {
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
            let mut index = Index::of(&transaction)?;
            for (key, newest) in in_order {
                if upsert.execute(params![key, newest.rev, newest.sequence as i64, newest.record()])? > 0 {
                    let about = About::of(newest.record());
                    index.put(*key, &about)?;
                    show(&about);
                }
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
        let transaction = self.db.transaction()?;
        transaction.execute("DELETE FROM said WHERE rowid < ?1", [first])?;
        for table in ["about", "number", "place"] {
            transaction.execute(&format!("DELETE FROM {table} WHERE key < ?1"), [first])?;
        }
        let forgotten = transaction.execute("DELETE FROM alert WHERE key < ?1", [first])?;
        transaction.commit()?;
        Ok(forgotten)
    }
}

/// What alerts are looked for by, while it is written.
struct Index<'a> {
    known: CachedStatement<'a>,
    about: CachedStatement<'a>,
    /// Into, and out of, the tables of numbers, places and words.
    lists: [(CachedStatement<'a>, CachedStatement<'a>); 2],
    said: CachedStatement<'a>,
    unsaid: CachedStatement<'a>,
}

impl Index<'_> {
    fn of<'a>(db: &'a Connection) -> Result<Index<'a>, Error> {
        Ok(Index {
            known: db.prepare_cached("SELECT digest, numbers, places FROM about WHERE key = ?1")?,
            about: db.prepare_cached(
                "INSERT OR REPLACE INTO about (key, state, owner, kind, category, level, arrived, work, overdue, digest,
                 places, numbers, units, complaint)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            )?,
            lists: [
                (
                    db.prepare_cached("INSERT OR IGNORE INTO number (number, key) VALUES (?1, ?2)")?,
                    db.prepare_cached("DELETE FROM number WHERE number = ?1 AND key = ?2")?,
                ),
                (
                    db.prepare_cached("INSERT OR IGNORE INTO place (code, key) VALUES (?1, ?2)")?,
                    db.prepare_cached("DELETE FROM place WHERE code = ?1 AND key = ?2")?,
                ),
            ],
            said: db.prepare_cached("INSERT INTO said (rowid, pairs) VALUES (?1, ?2)")?,
            unsaid: db.prepare_cached("DELETE FROM said WHERE rowid = ?1")?,
        })
    }

    /// What is as it was is not written anew: most revisions say nothing that is looked for.
    fn put(&mut self, key: i64, about: &About) -> Result<(), Error> {
        let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, [r.get::<_, String>(1)?, r.get::<_, String>(2)?]));
        let known: Option<(i64, [String; 2])> = self.known.query_row([key], row).optional()?;
        let (digest, before) = known.map_or((None, Default::default()), |(digest, lists)| (Some(digest), lists));
        let now = [&about.numbers, &about.places];
        for (((into, out), before), now) in self.lists.iter_mut().zip(&before).zip(now) {
            for gone in before.split(' ').filter(|one| !one.is_empty() && !now.iter().any(|n| n == one)) {
                out.execute(params![gone, key])?;
            }
            for new in now.iter().filter(|one| !before.split(' ').any(|b| b == **one)) {
                into.execute(params![new, key])?;
            }
        }
        if digest != Some(about.digest) {
            if digest.is_some() {
                self.unsaid.execute([key])?;
            }
            self.said.execute(params![key, about.said])?;
        }
        let listed = |all: &[String]| format!(" {} ", all.join(" "));
        self.about.execute(params![
            key,
            about.state,
            about.owner,
            about.kind,
            about.category,
            about.level,
            about.arrived,
            about.work.map(Work::name),
            about.overdue,
            about.digest,
            listed(&about.places),
            listed(&about.numbers),
            listed(&about.units),
            about.complaint,
        ])?;
        Ok(())
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

    /// A model of these alerts, each by its serial of 30 November and its record.
    fn model(name: &str, alerts: &[(u32, &str)]) -> PathBuf {
        let data = std::env::temp_dir().join(format!("gw-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir_all(&data).expect("made");
        put(&data, alerts);
        data
    }

    fn put(data: &Path, alerts: &[(u32, &str)]) {
        let db = open(data).expect("opens");
        let mut index = Index::of(&db).expect("tables");
        for (serial, record) in alerts {
            let key = (20_261_130 * 10 + 1) * 1_000_000_000i64 + i64::from(*serial) * 10 + 4;
            let upsert = "INSERT OR REPLACE INTO alert VALUES (?1, 1, ?2, ?3)";
            db.execute(upsert, params![key, serial, record]).expect("inserted");
            index.put(key, &About::of(record)).expect("indexed");
        }
    }

    /// The serials that are found, over all pages.
    fn serials(data: &Path, wanted: &Wanted) -> Vec<u32> {
        let (mut all, mut wanted) = (Vec::new(), Wanted { limit: wanted.limit.max(1), ..wanted.clone() });
        loop {
            let found = find(data, &wanted).expect("asked");
            let serial = |record: &String| {
                serde_json::from_str::<serde_json::Value>(record).expect("JSON")["serial"].as_u64().expect("one") as u32
            };
            all.extend(found.records.iter().map(serial));
            let Some(next) = found.next else { return all };
            wanted.before = Some(next);
        }
    }

    #[test]
    fn alerts_are_found_by_all_that_is_asked_of_them_the_newest_first() {
        let data = model(
            "find",
            &[
                (
                    1,
                    r#"{"serial":1,"state":"closed","reporter":{"phone":"13800000021"},"incident":{"text":"有人持刀抢劫","category":"100200","level":2},
                    "route":{"owner":"370402510000","jurisdiction":["370400000000","370402510000"]},"call":{"t":{"arrive":"2026-11-30T08:00:00.000000+08:00"}}}"#,
                ),
                (
                    2,
                    r#"{"serial":2,"state":"answered","reporter":{"phone":"+8613800000021"},"incident":{"text":"水管爆","category":"500500","level":4},
                    "route":{"owner":"370403510000","jurisdiction":["370400000000","370403510000"]},"fanout":[{"sent":1}],
                    "timers":[{"of":"city","breach":true}],"call":{"t":{"arrive":"2026-11-30T09:00:00.000000+08:00"}}}"#,
                ),
                (
                    3,
                    r#"{"serial":3,"state":"closed","text":[{"body":"搶劫犯往东跑了"}],"progress":"signed",
                    "route":{"owner":"370402510000","jurisdiction":["370400000000","370402510000"]},"call":{"t":{"arrive":"2026-11-30T10:00:00.000000+08:00"}}}"#,
                ),
            ],
        );
        let none = Wanted::default;
        let some = |text: &str| Some(text.to_owned());
        let cases: Vec<(Wanted, Vec<u32>)> = vec![
            (none(), vec![3, 2, 1]),
            (Wanted { state: some("closed"), ..none() }, vec![3, 1]),
            (Wanted { owner: some("370402510000"), ..none() }, vec![3, 1]),
            (Wanted { place: some("370400000000"), ..none() }, vec![3, 2, 1]),
            (Wanted { number: some("138-0000-0021"), ..none() }, vec![2, 1]),
            (Wanted { number: some("138-0000-0021"), words: some("水管"), ..none() }, vec![2]),
            (Wanted { words: some("抢劫"), ..none() }, vec![3, 1]),
            (Wanted { words: some("抢劫 持刀"), ..none() }, vec![1]),
            (Wanted { words: some("刀抢"), ..none() }, vec![1]),
            (Wanted { words: some("跑了"), ..none() }, vec![3]),
            (Wanted { words: some("劫持"), ..none() }, vec![]),
            (Wanted { words: some("\" OR *"), ..none() }, vec![]),
            (Wanted { category: some("1002"), ..none() }, vec![1]),
            (Wanted { level_at_most: Some(2), ..none() }, vec![1]),
            (Wanted { overdue: true, ..none() }, vec![2]),
            (Wanted { work: Some(Work::InHand), ..none() }, vec![3]),
            (Wanted { work: Some(Work::NotBegun), state: some("closed"), ..none() }, vec![]),
            (Wanted { from: some("2026-11-30T08:30:00.000000+08:00"), ..none() }, vec![3, 2]),
            (Wanted { to: some("2026-11-30T09:00:00.000000+08:00"), ..none() }, vec![1]),
            (Wanted { from: some("2026-12-01T00:00:00.000000+08:00"), ..none() }, vec![]),
            (Wanted { area: "370403".into(), ..none() }, vec![2]),
        ];
        for (wanted, serials_of) in cases {
            assert_eq!(serials(&data, &wanted), serials_of, "{wanted:?}");
            assert_eq!(serials(&data, &Wanted { limit: 50, ..wanted.clone() }), serials_of, "{wanted:?}");
        }
        // What an alert is no longer, it is not found by.
        put(
            &data,
            &[(1, r#"{"serial":1,"state":"reopened","reporter":{"phone":"13800000099"},"incident":{"text":"误会"}}"#)],
        );
        assert!(serials(&data, &Wanted { words: some("持刀"), ..none() }).is_empty());
        assert_eq!(serials(&data, &Wanted { number: some("13800000021"), ..none() }), [2]);
        assert_eq!(serials(&data, &Wanted { number: some("13800000099"), words: some("误会"), ..none() }), [1]);
        std::fs::remove_dir_all(&data).expect("removed");
    }

    #[test]
    fn what_is_forgotten_is_found_by_nothing() {
        let data = model("forget", &[(1, r#"{"serial":1,"state":"closed","incident":{"text":"持刀"}}"#)]);
        let mut model = ReadModel::open(&data, 0).expect("opens");
        assert_eq!(model.forget_before(20_261_201).expect("forgotten"), 1);
        for wanted in [Wanted::default(), Wanted { words: Some("持刀".into()), ..Wanted::default() }] {
            assert!(serials(&data, &wanted).is_empty());
        }
        std::fs::remove_dir_all(&data).expect("removed");
    }

    #[test]
    fn of_a_complaint_about_them_nobody_sees_that_there_is_one() {
        let hidden = r#"{"serial":3,"state":"closed","incident":{"kind":"police_complaint","complaint_of":"370402510000"},
            "route":{"owner":"370402510000","jurisdiction":["370400000000","370402510000"]}}"#;
        let shown = r#"{"serial":1,"state":"closed","route":{"owner":"370402510000"}}"#;
        let data = model("complaint", &[(3, hidden), (1, shown)]);
        let station = |limit| Wanted { area: "370402510000".into(), limit, ..Wanted::default() };
        for limit in [1, 50] {
            assert_eq!(serials(&data, &station(limit)), [1]);
        }
        let about_them = Wanted { kind: Some("police_complaint".into()), ..station(1) };
        assert_eq!(find(&data, &about_them).expect("asked"), Found::default(), "neither it nor where it stands");
        assert_eq!(list(&data, 0, 10, None, "370402510000").expect("asked").len(), 1);
        assert_eq!(list(&data, 0, 1, Some("closed"), "370402").expect("asked").len(), 1, "the county sees both");
        assert_eq!(serials(&data, &Wanted { area: "370403".into(), limit: 1, ..Wanted::default() }), Vec::<u32>::new());
        std::fs::remove_dir_all(&data).expect("removed");
    }

    #[test]
    fn what_was_written_to_somebody_is_not_what_they_said() {
        let line = |dir: &str, body: &str| format!(r#"{{"dir":"{dir}","body":"{body}"}}"#);
        let told = format!(r#"{{"serial":1,"text":[{},{}]}}"#, line("in", "水管爆了"), line("out", "民警马上到"));
        let data = model("receipt", &[(1, &told)]);
        let by = |words: &str| serials(&data, &Wanted { words: Some(words.into()), ..Wanted::default() });
        assert_eq!((by("水管"), by("民警")), (vec![1], Vec::new()));
        std::fs::remove_dir_all(&data).expect("removed");
    }
}
