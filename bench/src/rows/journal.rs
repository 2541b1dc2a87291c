//! Durable records: the journal beside SQLite and a bare fdatasync, and the read model behind it.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use codecs::journal::Kind;
use codecs::time::Wall;
use loadtest::clock::Clock;
use store::disk::Files;
use store::journal::{Config, Cursor, Door as _, Journal, Reader};
use store::read_model::{self, ReadModel};

use super::Lab;
use crate::table::{OURS, median};

const RECORD: [u8; 1024] = [b'7'; 1024];
const GROUP: usize = 256;
const GROUPS: usize = 400;
const ALONE: usize = 200;
const EVENTS: u64 = 40_000;

pub(super) fn run(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    eprintln!("    {OURS} …");
    let (scratch, clock) = (lab.scratch("journal")?, Clock::start());
    let mut writer = open(&scratch.0)?;
    let begun = clock.now();
    for _ in 0..GROUPS {
        for _ in 0..GROUP {
            writer.append(Wall(0), Kind::Note, RECORD.to_vec());
        }
        commit(&mut writer)?;
    }
    let seconds = (clock.now() - begun).as_secs_f64();
    lab.results.add("journal", OURS, (GROUP * GROUPS) as f64 / seconds);
    let alone = |what: &mut dyn FnMut() -> anyhow::Result<()>| -> anyhow::Result<f64> {
        let mut times = Vec::new();
        for _ in 0..ALONE {
            let begun = clock.now();
            what()?;
            times.push((clock.now() - begun).as_secs_f64());
        }
        Ok(median(&times))
    };
    let ours = alone(&mut || {
        writer.append(Wall(0), Kind::Note, RECORD.to_vec());
        commit(&mut writer)
    })?;
    let bare = bare_file(&scratch.0)?;
    let mut at = 0;
    let floor = alone(&mut || {
        bare.write_all_at(&RECORD, at)?;
        at += RECORD.len() as u64;
        Ok(bare.sync_data()?)
    })?;
    lab.results.add("durable-alone", OURS, ours / floor);
    lab.peer("SQLite, WAL, synchronous FULL", sqlite);
    follow(lab)
}

fn open(data: &Path) -> anyhow::Result<Journal> {
    let mut writer = Journal::shut(Files::shared(), &data.join("journal"), Config::of_node(1));
    writer.open(|_| {})?;
    Ok(writer)
}

fn commit(writer: &mut Journal) -> anyhow::Result<()> {
    writer.commit().map_err(|trouble| anyhow::anyhow!("{trouble}"))
}

/// Preallocated and written before, so that a sync writes data only.
fn bare_file(dir: &Path) -> anyhow::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).open(dir.join("bare"))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 4 * 1024 * 1024)?;
    file.sync_all()?;
    Ok(file)
}

fn sqlite(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let (scratch, clock) = (lab.scratch("sqlite")?, Clock::start());
    let mut db = rusqlite::Connection::open(scratch.0.join("records.sqlite"))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute_batch("CREATE TABLE record (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")?;
    let begun = clock.now();
    for _ in 0..GROUPS / 4 {
        let transaction = db.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO record (body) VALUES (?1)")?;
            for _ in 0..GROUP {
                insert.execute([&RECORD[..]])?;
            }
        }
        transaction.commit()?;
    }
    let seconds = (clock.now() - begun).as_secs_f64();
    lab.results.add("journal", "SQLite, WAL, synchronous FULL", (GROUP * GROUPS / 4) as f64 / seconds);
    lab.results.command("SQLite, WAL, synchronous FULL", "one table, 256 inserts of 1 KiB a transaction".into());
    Ok(())
}

/// How fast the read model comes behind events of alerts that are each new.
fn follow(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let (scratch, clock) = (lab.scratch("read-model")?, Clock::start());
    let mut writer = open(&scratch.0)?;
    let filler = "7".repeat(1200);
    for n in 0..EVENTS {
        let no = codecs::record::AlertNo::mint("370400000000", 20_261_122, 1, n as u32 + 1);
        let event = format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{no}:1\",\"data\":{{\"no\":\"{no}\",\"filler\":\"{filler}\"}}}}"
        );
        writer.append(Wall(0), Kind::Event, event.into_bytes());
        if n % 256 == 255 {
            commit(&mut writer)?;
        }
    }
    commit(&mut writer)?;
    let begun = clock.now();
    let mut model = ReadModel::open(&scratch.0, 0)?;
    let mut reader = Reader::new(Files::shared(), &scratch.0.join("journal"), &Cursor::default());
    while model.apply(&mut reader, writer.last_sequence())? > 0 {}
    anyhow::ensure!(
        !read_model::list(&scratch.0, EVENTS - 2, 10, None, "")?.is_empty(),
        "the read model did not follow"
    );
    lab.results.add("read-model", OURS, EVENTS as f64 / (clock.now() - begun).as_secs_f64());
    Ok(())
}
