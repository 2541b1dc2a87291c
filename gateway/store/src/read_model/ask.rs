//! What is asked of the read model: one alert, the newest changes, and alerts by what they are about.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Statement, named_params, params};

use super::about::{About, Work, number, phrases};
use super::{Error, KEY_DIGITS, key_of, open_read};

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
/// `area`: only what whoever is of it may see; empty: everything.
pub fn list(data: &Path, after: u64, limit: u32, state: Option<&str>, area: &str) -> Result<Vec<(u64, String)>, Error> {
    let db = open_read(data)?;
    let after = after.min(i64::MAX as u64) as i64;
    let row = |r: &rusqlite::Row<'_>| Ok((r.get::<_, i64>(0)? as u64, r.get(1)?));
    if state.is_none() && area.is_empty() {
        let mut query =
            db.prepare("SELECT sequence, record FROM alert WHERE sequence > ?1 ORDER BY sequence LIMIT ?2")?;
        return Ok(query.query_map(params![after, limit], row)?.collect::<Result<_, _>>()?);
    }
    let mut query = db.prepare(
        "SELECT sequence, record FROM alert JOIN about USING (key)
         WHERE sequence > ?1 AND (?3 IS NULL OR about.state = ?3)
         AND (?4 = '' OR instr(units, ' ' || ?4) > 0
              AND (complaint IS NULL OR substr(?4, 1, length(complaint)) <> complaint))
         ORDER BY sequence LIMIT ?2",
    )?;
    Ok(query.query_map(params![after, limit, state, area], row)?.collect::<Result<_, _>>()?)
}

/// The newest alerts, the oldest of them first.
///
/// # Errors
/// What SQLite said.
pub fn latest(data: &Path, most: u32, mut show: impl FnMut(&About)) -> Result<(), Error> {
    let db = open_read(data)?;
    let first = "SELECT key FROM alert ORDER BY key DESC LIMIT 1 OFFSET ?1";
    let first: i64 = db.query_row(first, [most], |r| r.get(0)).optional()?.unwrap_or(0);
    let mut query = db.prepare("SELECT record FROM alert WHERE key > ?1 ORDER BY key")?;
    let mut rows = query.query([first])?;
    while let Some(row) = rows.next()? {
        show(&About::of(row.get_ref(0)?.as_str().unwrap_or_default()));
    }
    Ok(())
}

/// What alerts are looked for by; every part that is named has to hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Older than this number, by its last 18 digits.
    pub before: Option<String>,
    pub limit: u32,
    pub state: Option<String>,
    pub owner: Option<String>,
    /// The code of a grid or of a unit in whose area it is.
    pub place: Option<String>,
    pub number: Option<String>,
    /// Each of them stands in what was said and written, as it is compared (`codecs::fold`).
    pub words: Option<String>,
    /// Arrived then or later, and before then: as a record writes an instant.
    pub from: Option<String>,
    pub to: Option<String>,
    pub kind: Option<String>,
    /// How it begins.
    pub category: Option<String>,
    /// This level, or a graver one.
    pub level_at_most: Option<u8>,
    pub work: Option<Work>,
    pub overdue: bool,
    /// How the code of a unit or grid begins that it has to do with; empty: anything.
    pub area: String,
}

/// A page of what was looked for, the newest number first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    pub records: Vec<String>,
    /// Where to go on; none: there is no more. A page may hold less than was asked for, and nothing, and go on.
    pub next: Option<String>,
}

/// Alerts that are looked at for one page: what is rare is found over several.
const LOOKED_AT_MAX: usize = 5000;

/// Alerts by what they are about, the newest number first.
///
/// # Errors
/// What SQLite said.
pub fn find(data: &Path, wanted: &Wanted) -> Result<Found, Error> {
    let db = open_read(data)?;
    // One transaction: a page is of one moment.
    let db = db.unchecked_transaction()?;
    let mut record = db.prepare("SELECT record FROM alert WHERE key = ?1")?;
    let mut fits = fitting(&db)?;
    let Some((mut query, by)) = narrow(&db, wanted)? else { return Ok(Found::default()) };
    let bounds = bounds(wanted);
    let mut rows = match &by {
        Some(by) => query.query(named_params! { ":from": bounds.0, ":below": bounds.1, ":by": by })?,
        None => query.query(named_params! { ":from": bounds.0, ":below": bounds.1 })?,
    };
    let (mut found, mut looked_at) = (Found::default(), 0);
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        if looked_at == LOOKED_AT_MAX || found.records.len() as u32 >= wanted.limit {
            return Ok(found);
        }
        looked_at += 1;
        if holds(&mut fits, key, wanted)? {
            found.records.extend(record.query_row([key], |r| r.get::<_, String>(0)).optional()?);
        }
        found.next = Some(format!("{key:0KEY_DIGITS$}"));
    }
    found.next = None;
    Ok(found)
}

/// The narrowest list that holds all that is wanted, and what it is of; none: nothing can be it.
fn narrow<'a>(db: &'a Connection, wanted: &Wanted) -> Result<Option<(Statement<'a>, Option<String>)>, Error> {
    let of_about =
        |by: &str| format!("SELECT key FROM about WHERE {by} key >= :from AND key < :below ORDER BY key DESC");
    let asked = wanted.number.as_deref().map(number);
    let (sql, by) = if let Some(None) = asked {
        return Ok(None);
    } else if let Some(words) = &wanted.words {
        let Some(phrases) = phrases(words) else { return Ok(None) };
        let sql =
            "SELECT rowid FROM said WHERE said MATCH :by AND rowid >= :from AND rowid < :below ORDER BY rowid DESC";
        (sql.to_owned(), Some(phrases))
    } else if let Some(number) = asked.flatten() {
        let sql = "SELECT key FROM number WHERE number = :by AND key >= :from AND key < :below ORDER BY key DESC";
        (sql.to_owned(), Some(number))
    } else if wanted.overdue {
        (of_about("overdue = 1 AND"), None)
    } else if let Some(place) = &wanted.place {
        let sql = "SELECT key FROM place WHERE code = :by AND key >= :from AND key < :below ORDER BY key DESC";
        (sql.to_owned(), Some(place.clone()))
    } else if let Some(owner) = &wanted.owner {
        (of_about("owner = :by AND"), Some(owner.clone()))
    } else if let Some(work) = wanted.work {
        (of_about("work = :by AND"), Some(work.name().to_owned()))
    } else if let Some(state) = &wanted.state {
        (of_about("state = :by AND"), Some(state.clone()))
    } else {
        (of_about(""), None)
    };
    Ok(Some((db.prepare(&sql)?, by)))
}

/// Alert numbers of the days that are wanted: the first, and the first that is none.
fn bounds(wanted: &Wanted) -> (i64, i64) {
    const DAY: i64 = 10_000_000_000;
    let day = |instant: &str| instant.get(..10).and_then(|day| day.replace('-', "").parse::<i64>().ok());
    let from = wanted.from.as_deref().and_then(day).map_or(0, |day| day * DAY);
    let to = wanted.to.as_deref().and_then(day).map_or(i64::MAX, |day| (day + 1) * DAY);
    let last = |no: &str| no.get(no.len().saturating_sub(KEY_DIGITS)..).and_then(|tail| tail.parse().ok());
    let before = wanted.before.as_deref().and_then(last).unwrap_or(i64::MAX);
    (from, to.min(before))
}

/// Of one alert whether it is all that is wanted.
fn fitting(db: &Connection) -> Result<Statement<'_>, Error> {
    Ok(db.prepare(
        "SELECT 1 FROM about WHERE key = :key
         AND (:state IS NULL OR state = :state) AND (:owner IS NULL OR owner = :owner)
         AND (:place IS NULL OR instr(places, ' ' || :place || ' ') > 0)
         AND (:number IS NULL OR EXISTS (SELECT 1 FROM number WHERE number.number = :number AND number.key = :key))
         AND (:from IS NULL OR arrived >= :from) AND (:to IS NULL OR arrived < :to)
         AND (:kind IS NULL OR kind = :kind) AND (:category IS NULL OR substr(category, 1, length(:category)) = :category)
         AND (:level IS NULL OR level <= :level) AND (:work IS NULL OR work = :work)
         AND (NOT :overdue OR overdue = 1) AND (:area = '' OR instr(units, ' ' || :area) > 0 AND (complaint IS NULL OR substr(:area, 1, length(complaint)) <> complaint))",
    )?)
}

fn holds(fits: &mut Statement<'_>, key: i64, wanted: &Wanted) -> Result<bool, Error> {
    // Words led here, where any are wanted.
    let found = fits
        .query_row(
            named_params! {
                ":key": key,
                ":state": wanted.state,
                ":owner": wanted.owner,
                ":place": wanted.place,
                ":number": wanted.number.as_deref().and_then(number),
                ":from": wanted.from,
                ":to": wanted.to,
                ":kind": wanted.kind,
                ":category": wanted.category,
                ":level": wanted.level_at_most,
                ":work": wanted.work.map(Work::name),
                ":overdue": wanted.overdue,
                ":area": wanted.area,
            },
            |_| Ok(()),
        )
        .optional()?;
    Ok(found.is_some())
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
