//! The read model: the newest revision of every alert in SQLite, rebuilt from the journal whenever it is missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use codecs::journal::Kind;
use codecs::record::CloudEvent;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::watch;

use crate::journal::{Cursor, Reader};

pub fn path(data: &Path) -> PathBuf {
    data.join("read-model.sqlite")
}

/// Of the tables; a file with another is made anew from the journal.
const VERSION: i64 = 2;
/// The least time between two transactions: what has come meanwhile goes into one, and of an alert that changed several
/// times only the last revision.
const APART: Duration = Duration::from_millis(25);

/// Alerts are kept by their number without its unit, as an integer: new ones are added at the table's end.
fn open(data: &Path) -> anyhow::Result<Connection> {
    let db = Connection::open(path(data)).context("read model")?;
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
             CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 1), segment INTEGER NOT NULL, offset INTEGER NOT NULL);",
        )?;
        db.pragma_update(None, "user_version", VERSION)?;
    }
    db.execute_batch("COMMIT")?;
    Ok(db)
}

/// Day, node, serial and check digit: 18 digits.
fn key_of(no: &str) -> Option<i64> {
    no.get(UNIT_DIGITS..).filter(|rest| rest.len() == KEY_DIGITS)?.parse().ok()
}

const UNIT_DIGITS: usize = 12;
const KEY_DIGITS: usize = 18;

/// Follows the journal until the sender of `durable` is gone.
///
/// # Errors
/// When SQLite or the journal cannot be used; the gateway goes on without.
pub fn follow(
    data: &Path,
    journal: &Path,
    mut durable: watch::Receiver<u64>,
    runtime: &tokio::runtime::Handle,
) -> anyhow::Result<()> {
    let mut db = open(data)?;
    let cursor = db
        .query_row("SELECT segment, offset FROM cursor", [], |r| {
            Ok(Cursor { segment: r.get::<_, i64>(0)? as u64, offset: r.get::<_, i64>(1)? as u64 })
        })
        .optional()?;
    let mut reader = Reader::new(journal, cursor.unwrap_or_default());
    loop {
        loop {
            let until = *durable.borrow_and_update();
            match apply_some(&mut db, &mut reader, until)? {
                0 => break,
                BATCH => {}
                _ => runtime.block_on(async { tokio::time::sleep(APART).await }),
            }
        }
        if runtime.block_on(durable.changed()).is_err() {
            return Ok(());
        }
    }
}

/// One transaction's worth.
fn apply_some(db: &mut Connection, reader: &mut Reader, until: u64) -> anyhow::Result<usize> {
    let mut newest: HashMap<i64, Newest> = HashMap::new();
    let (mut read, mut last) = (0, None);
    while read < BATCH
        && let Some(frame) = reader.next_durable(until)?
    {
        read += 1;
        last = Some(frame.next);
        if frame.kind == Kind::Event {
            let (id, record) = CloudEvent::parts(&frame.payload).context("an event of the journal")?;
            let (no, rev) = id.split_once(':').context("an event id")?;
            let (key, rev) = (key_of(no).context("an alert number")?, rev.parse()?);
            newest.insert(key, Newest { rev, sequence: frame.sequence, payload: frame.payload, record });
        }
    }
    let Some(next) = last else { return Ok(0) };
    let transaction = db.transaction()?;
    {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO alert (key, rev, sequence, record) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (key) DO UPDATE SET rev = ?2, sequence = ?3, record = ?4 WHERE ?2 > rev",
        )?;
        let mut in_order: Vec<_> = newest.iter().collect();
        in_order.sort_unstable_by_key(|(_, newest)| newest.sequence);
        for (key, newest) in in_order {
            let record = std::str::from_utf8(&newest.payload[newest.record.clone()]).context("a record is text")?;
            upsert.execute(params![key, newest.rev, newest.sequence as i64, record])?;
        }
    }
    transaction
        .prepare_cached("INSERT OR REPLACE INTO cursor (id, segment, offset) VALUES (1, ?1, ?2)")?
        .execute(params![next.segment as i64, next.offset as i64])?;
    transaction.commit()?;
    Ok(read)
}

/// The last revision of an alert in a batch.
struct Newest {
    rev: i64,
    sequence: u64,
    payload: Vec<u8>,
    record: std::ops::Range<usize>,
}

/// Frames a transaction at most.
const BATCH: usize = 2000;

/// The newest revision of the alert with this number, or with this unambiguous tail of it: at most 18 digits, with its check digit or without.
///
/// # Errors
/// What SQLite said.
pub fn get(data: &Path, no: &str) -> anyhow::Result<Vec<String>> {
    let db = open(data)?;
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
pub fn list(data: &Path, after: u64, limit: u32) -> anyhow::Result<Vec<(u64, String)>> {
    let db = open(data)?;
    let mut query = db.prepare("SELECT sequence, record FROM alert WHERE sequence > ?1 ORDER BY sequence LIMIT ?2")?;
    let rows = query.query_map(params![after as i64, limit], |r| Ok((r.get::<_, i64>(0)? as u64, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
