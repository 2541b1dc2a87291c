//! The read model: the newest revision of every alert in SQLite, rebuilt from the journal whenever it is missing.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use codecs::journal::Kind;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::watch;

use crate::journal::{Cursor, Reader};

pub fn path(data: &Path) -> PathBuf {
    data.join("read-model.sqlite")
}

fn open(data: &Path) -> anyhow::Result<Connection> {
    let db = Connection::open(path(data)).context("read model")?;
    // It can always be rebuilt: speed matters more than a power cut.
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS alert (no TEXT PRIMARY KEY, rev INTEGER NOT NULL, sequence INTEGER NOT NULL, record TEXT NOT NULL);
         CREATE INDEX IF NOT EXISTS alert_sequence ON alert (sequence);
         CREATE TABLE IF NOT EXISTS cursor (id INTEGER PRIMARY KEY CHECK (id = 1), segment INTEGER NOT NULL, offset INTEGER NOT NULL);",
    )?;
    Ok(db)
}

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
            if apply_some(&mut db, &mut reader, until)? == 0 {
                break;
            }
        }
        if runtime.block_on(durable.changed()).is_err() {
            return Ok(());
        }
    }
}

/// One transaction's worth.
fn apply_some(db: &mut Connection, reader: &mut Reader, until: u64) -> anyhow::Result<usize> {
    let transaction = db.transaction()?;
    let mut applied = 0;
    let mut last = None;
    {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO alert (no, rev, sequence, record) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (no) DO UPDATE SET rev = ?2, sequence = ?3, record = ?4 WHERE ?2 > rev",
        )?;
        while applied < 1000
            && let Some(frame) = reader.next_durable(until)?
        {
            applied += 1;
            last = Some(frame.next);
            if frame.kind != Kind::Event {
                continue;
            }
            let event: Event<'_> = serde_json::from_slice(&frame.payload).context("an event of the journal")?;
            let (no, rev) = event.id.split_once(':').context("an event id")?;
            upsert.execute(params![no, rev.parse::<i64>()?, frame.sequence as i64, event.data.get()])?;
        }
        if let Some(next) = last {
            transaction.execute(
                "INSERT OR REPLACE INTO cursor (id, segment, offset) VALUES (1, ?1, ?2)",
                params![next.segment as i64, next.offset as i64],
            )?;
        }
    }
    transaction.commit()?;
    Ok(applied)
}

#[derive(serde::Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}

/// The newest revision of the alert with this number, or with this unambiguous tail of it.
///
/// # Errors
/// What SQLite said.
pub fn get(data: &Path, no: &str) -> anyhow::Result<Vec<String>> {
    let db = open(data)?;
    let mut query = db.prepare("SELECT record FROM alert WHERE no = ?1 OR substr(no, -length(?1)) = ?1 OR substr(no, -length(?1) - 1, length(?1)) = ?1 LIMIT 2")?;
    let rows = query.query_map([no], |r| r.get(0))?;
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
