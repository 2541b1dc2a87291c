//! The PostgreSQL sink: the alert database that others read. Events come in their order, as many as are due in one
//! transaction; what is told again changes nothing.
//!
//! Its tables and views are made where the role may make them; `gateway schema postgres` prints them for whoever makes
//! them by hand.

use std::borrow::Cow;
use std::time::Duration;

use tokio_postgres::{Client, Config, Error, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::channel::believing;

use super::way::{Outcome, Told, all};

/// Events in a transaction, at most.
pub(super) const AT_ONCE: usize = 256;
/// Until a transaction that does not end is given up: the connection with it.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is acknowledged is on the disk. Whatever keeps a transaction waiting ends it there before it is given up here.
const SESSION: &str = "SET synchronous_commit = on; SET statement_timeout = '12s'; SET lock_timeout = '10s'";
/// The tables and views.
pub const SCHEMA: &str = include_str!("postgres.sql");
const VERSION: i32 = 1;

const TELL: &str = "\
WITH given AS (
    SELECT id, split_part(id, ':', 1) AS alert_no, split_part(id, ':', 2)::integer AS rev, step, event::jsonb AS event
    FROM unnest($1::text[], $2::text[], $3::text[]) AS g(id, step, event)
), kept AS (
    INSERT INTO gateway.event (id, alert_no, rev, step, at, event)
    SELECT id, alert_no, rev, step, (event ->> 'time')::timestamptz, event FROM given
    ON CONFLICT (id) DO NOTHING
), last AS (
    SELECT DISTINCT ON (alert_no) alert_no, rev, (event ->> 'time')::timestamptz AS at, event -> 'data' AS r
    FROM given ORDER BY alert_no, rev DESC
)
INSERT INTO gateway.alert AS a (alert_no, rev, state, progress, channel, validity, kind, category, level, grid, owner,
    mode, arrived_at, answer_ms, officer_ms, updated_at, record)
SELECT alert_no, rev, r ->> 'state', r ->> 'progress', r #>> '{source,channel}', r #>> '{source,validity}',
    r #>> '{incident,kind}', r #>> '{incident,category}', (r #>> '{incident,level}')::smallint,
    r #>> '{location,-1,grid_code}', r #>> '{route,owner}', r #>> '{call,mode}',
    (r #>> '{call,t,arrived}')::timestamptz, (r #>> '{call,answer_ms}')::bigint, (r #>> '{call,officer_ms}')::bigint,
    at, r
FROM last
ON CONFLICT (alert_no) DO UPDATE SET rev = excluded.rev, state = excluded.state, progress = excluded.progress,
    channel = excluded.channel, validity = excluded.validity, kind = excluded.kind, category = excluded.category,
    level = excluded.level, grid = excluded.grid, owner = excluded.owner, mode = excluded.mode,
    arrived_at = excluded.arrived_at, answer_ms = excluded.answer_ms, officer_ms = excluded.officer_ms,
    updated_at = excluded.updated_at, record = excluded.record
WHERE a.rev < excluded.rev";

const MAY_TELL: &str = "\
SELECT current_setting('transaction_read_only') = 'off' AND has_table_privilege('gateway.event', 'INSERT')
    AND has_table_privilege('gateway.alert', 'INSERT') AND has_table_privilege('gateway.alert', 'UPDATE')";

pub struct Postgres {
    pub config: Config,
    /// Whom to believe; none: whoever the public authorities name.
    pub ca: Option<std::path::PathBuf>,
    pub connected: Option<Connected>,
}

pub struct Connected {
    client: Client,
    tell: Statement,
}

impl Postgres {
    pub(super) async fn tell(&mut self, events: &[Told<'_>]) -> Vec<Outcome> {
        let told = match tokio::time::timeout(PATIENCE, self.told(events)).await {
            Ok(told) => told,
            Err(_) => Err(Outcome::Later(None, "no answer within 15 s".into())),
        };
        match told {
            Ok(()) => all(events, &Outcome::Done),
            Err(outcome) => {
                // Whatever is left of it would be in the way of the next.
                if matches!(outcome, Outcome::Later(..)) {
                    self.connected = None;
                }
                all(events, &outcome)
            }
        }
    }

    async fn told(&mut self, events: &[Told<'_>]) -> Result<(), Outcome> {
        let connected = match self.connected.take().filter(|c| !c.client.is_closed()) {
            Some(connected) => connected,
            None => self.connect().await.map_err(|why| Outcome::Later(None, why))?,
        };
        let Connected { client, tell } = self.connected.insert(connected);
        let ids: Vec<&str> = events.iter().map(|e| e.id).collect();
        let steps: Vec<&str> = events.iter().map(|e| e.step).collect();
        let bodies: Vec<Cow<'_, str>> = events.iter().map(|e| text(e.body)).collect();
        client.execute(&*tell, &[&ids, &steps, &bodies]).await.map_err(|e| judge(&e))?;
        Ok(())
    }

    pub(super) async fn reach(&mut self) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, self.connect()).await {
            Err(_) => Err("no answer within 15 s".into()),
            Ok(Ok(connected)) => {
                let may = connected.client.query_one(MAY_TELL, &[]).await.map_err(|e| said(&e))?.get::<_, bool>(0);
                self.connected = Some(connected);
                may.then_some(()).ok_or_else(|| "the tables are there, and cannot be written".into())
            }
            Ok(Err(why)) => Err(why),
        }
    }

    async fn connect(&self) -> Result<Connected, String> {
        let tls = MakeRustlsConnect::new(believing(self.ca.as_deref())?);
        let (client, connection) = self.config.connect(tls).await.map_err(|e| said(&e))?;
        tokio::spawn(connection);
        client.batch_execute(SESSION).await.map_err(|e| said(&e))?;
        match version(&client).await.map_err(|e| said(&e))? {
            Some(VERSION) => {}
            Some(other) if other > VERSION => {
                return Err(format!("its tables are of version {other}, and this gateway knows {VERSION}"));
            }
            _ => client.batch_execute(SCHEMA).await.map_err(|e| format!("no tables, none made: {}", said(&e)))?,
        }
        let tell = client.prepare(TELL).await.map_err(|e| said(&e))?;
        Ok(Connected { client, tell })
    }
}

/// Of the tables that are there.
async fn version(client: &Client) -> Result<Option<i32>, Error> {
    let is_there = client.query_one("SELECT to_regclass('gateway.version') IS NOT NULL", &[]).await?;
    if !is_there.get::<_, bool>(0) {
        return Ok(None);
    }
    Ok(client.query_one("SELECT max(version) FROM gateway.version", &[]).await?.get(0))
}

/// A character that no text of this database can hold becomes the one that stands for what cannot be read.
fn text(body: &[u8]) -> Cow<'_, str> {
    const NUL: &[u8] = b"\\u0000";
    if memchr::memmem::find(body, NUL).is_none() {
        return String::from_utf8_lossy(body);
    }
    let mut out = String::with_capacity(body.len());
    let body = String::from_utf8_lossy(body);
    let mut rest = &*body;
    while let Some(at) = rest.find('\\') {
        let len = if rest[at..].starts_with("\\u") { 6 } else { 2 };
        let end = (at + len).min(rest.len());
        out.push_str(&rest[..at]);
        out.push_str(if &rest[at..end] == "\\u0000" { "\\ufffd" } else { &rest[at..end] });
        rest = &rest[end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The server's own words, where it has said any.
fn said(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => std::error::Error::source(error).map_or(error.to_string(), |why| format!("{error}: {why}")),
    }
}

/// What speaks of the data is the event's fault; everything else is waited out.
fn judge(error: &Error) -> Outcome {
    let class = error.code().map(|code| &code.code()[..2]);
    match class {
        // Data exceptions, and constraints that somebody has added.
        Some("22" | "23") => Outcome::Never(said(error)),
        // Limits of the server that an event is beyond; what a trigger or a policy of theirs says against it.
        Some("54" | "P0") => Outcome::Never(said(error)),
        Some("42") if said(error).contains("row-level security") => Outcome::Never(said(error)),
        _ => Outcome::Later(None, said(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_octet_that_no_text_can_hold_is_replaced_and_a_written_out_one_stays() {
        assert_eq!(text(br#"{"a":"x\u0000y"}"#), r#"{"a":"x\ufffdy"}"#);
        assert_eq!(text(br#"{"a":"x\\u0000y\"\u0000"}"#), r#"{"a":"x\\u0000y\"\ufffd"}"#);
        assert_eq!(text("{\"a\":\"\\u4e00\\u0000\\".as_bytes()), "{\"a\":\"\\u4e00\\ufffd\\");
        assert!(matches!(text("{\"a\":\"警\"}".as_bytes()), Cow::Borrowed(_)));
    }
}
