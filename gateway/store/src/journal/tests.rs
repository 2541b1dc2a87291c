use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use codecs::journal::{Frame, HEADER_LEN, Kind, Origin};
use codecs::time::Wall;

use super::*;
use crate::disk::{Access, Disk, DiskFile, Space};

type Store = Arc<Mutex<BTreeMap<PathBuf, Arc<Mutex<Vec<u8>>>>>>;

/// Files in memory, of which the operation with a given number fails, or all from it on.
#[derive(Clone, Default)]
struct Memory {
    files: Store,
    operations: Arc<AtomicU64>,
    /// Octets.
    read: Arc<AtomicU64>,
    fails: Arc<Mutex<Option<(u64, bool)>>>,
    /// A file that cannot be read.
    unreadable: Arc<Mutex<Option<PathBuf>>>,
}

struct MemoryFile {
    disk: Memory,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Memory {
    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    fn fail(&self, at: u64, for_good: bool) {
        *self.fails.lock().expect("unpoisoned") = Some((at, for_good));
    }

    fn heal(&self) {
        *self.fails.lock().expect("unpoisoned") = None;
    }

    fn operate(&self) -> io::Result<()> {
        let n = self.operations.fetch_add(1, Ordering::Relaxed);
        match *self.fails.lock().expect("unpoisoned") {
            Some((at, for_good)) if n == at || (for_good && n > at) => Err(io::Error::other("no space left")),
            _ => Ok(()),
        }
    }

    fn bytes(&self, path: &Path) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.files.lock().expect("unpoisoned")[path])
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.bytes(path).lock().expect("unpoisoned"));
    }

    fn names_of(&self) -> Vec<String> {
        let files = self.files.lock().expect("unpoisoned");
        files.keys().map(|p| p.file_name().expect("a name").to_string_lossy().into_owned()).collect()
    }
}

impl Disk for Memory {
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock().expect("unpoisoned");
        let here = files.keys().filter(|p| p.parent() == Some(dir));
        Ok(here.map(|p| p.file_name().expect("a name").to_string_lossy().into_owned()).collect())
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files.lock().expect("unpoisoned");
        let there = files.contains_key(path);
        match access {
            Access::Read | Access::Write if !there => return Err(io::ErrorKind::NotFound.into()),
            Access::Read if self.unreadable.lock().expect("unpoisoned").as_deref() == Some(path) => {
                return Err(io::Error::other("input/output error"));
            }
            Access::Read => {}
            Access::Write => self.operate()?,
            Access::New if there => return Err(io::ErrorKind::AlreadyExists.into()),
            Access::New | Access::Fresh => {
                self.operate()?;
                files.insert(path.to_owned(), Arc::default());
            }
        }
        Ok(Box::new(MemoryFile { disk: self.clone(), bytes: Arc::clone(&files[path]) }))
    }
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        self.operate()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate()?;
        let mut files = self.files.lock().expect("unpoisoned");
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let gone = self.files.lock().expect("unpoisoned").remove(path);
        gone.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.lock().expect("unpoisoned").retain(|p, _| !p.starts_with(dir));
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.operate()
    }
    fn sync_all(&self, _: &Path) -> io::Result<()> {
        self.operate()
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { free: 1, total: 1, free_files: 1 })
    }
    fn written_s(&self, _: &Path) -> io::Result<i64> {
        Ok(0)
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().expect("unpoisoned").len() as u64)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock().expect("unpoisoned");
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.disk.read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
    /// One that fails has written half.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let result = self.disk.operate();
        let bytes = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let mut all = self.bytes.lock().expect("unpoisoned");
        let end = offset as usize + bytes.len();
        let len = all.len().max(end);
        all.resize(len, 0);
        all[offset as usize..end].copy_from_slice(bytes);
        result
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.operate()?;
        self.bytes.lock().expect("unpoisoned").resize(len as usize, 0);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.operate()
    }
    fn is_at(&self, path: &Path) -> bool {
        self.disk.files.lock().expect("unpoisoned").get(path).is_some_and(|b| Arc::ptr_eq(b, &self.bytes))
    }
}

const SMALL: Config = Config { node: 1, segment: 64 * 1024, waiting_max: 32 * 1024 };

fn dir() -> PathBuf {
    PathBuf::from("/journal")
}

fn open(disk: &Memory) -> Journal {
    open_with(disk).0
}

/// The journal, what opening told, and the payloads that it handed over.
fn open_with(disk: &Memory) -> (Journal, Opened, Vec<Vec<u8>>) {
    let mut journal = Journal::shut(disk.shared(), &dir(), SMALL);
    let mut seen = Vec::new();
    let opened = journal.open(|frame| seen.push(frame.payload.to_vec())).expect("opens");
    (journal, opened, seen)
}

fn write(journal: &mut Journal, payloads: &[&[u8]]) {
    for payload in payloads {
        journal.append(Wall(1), Kind::Event, payload.to_vec());
        journal.commit().expect("commits");
    }
}

fn segment_of(first: u64) -> PathBuf {
    segment_path(&dir(), first)
}

/// Payloads and damage, as a reader from the very beginning meets them.
fn read_all(disk: &Memory, until: u64) -> (Vec<Vec<u8>>, Vec<Damage>) {
    read_from(disk, &Cursor::default(), until)
}

fn read_from(disk: &Memory, cursor: &Cursor, until: u64) -> (Vec<Vec<u8>>, Vec<Damage>) {
    let mut reader = Reader::new(disk.shared(), &dir(), cursor);
    let (mut payloads, mut damage) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next(until).expect("reads") {
        match item {
            Item::Frame(read) => payloads.push(read.payload),
            Item::Damage(d) => damage.push(d),
        }
    }
    (payloads, damage)
}

fn replayed(disk: &Memory, upto: u64) -> (Vec<Vec<u8>>, Vec<Damage>) {
    let (mut payloads, mut damage) = (Vec::new(), Vec::new());
    replay(disk, &dir(), upto, false, |met| match met {
        Replayed::Frame(frame) => payloads.push(frame.payload.to_vec()),
        Replayed::Damage(d) => damage.push(d),
    })
    .expect("replays");
    (payloads, damage)
}

fn texts(payloads: &[Vec<u8>]) -> Vec<&str> {
    payloads.iter().map(|p| std::str::from_utf8(p).expect("text")).collect()
}

#[test]
fn what_was_committed_is_there_after_reopening_and_the_chain_goes_on_in_a_new_epoch() {
    let disk = Memory::default();
    write(&mut open(&disk), &[b"one", b"two"]);
    let (mut journal, opened, seen) = open_with(&disk);
    assert_eq!((opened.head, texts(&seen)), (2, vec!["one", "two"]));
    write(&mut journal, &[b"three"]);
    assert_eq!((journal.last_sequence(), journal.durable()), (3, 1));
    let mut reader = Reader::new(disk.shared(), &dir(), &Cursor::default());
    let epochs: Vec<u16> = std::iter::from_fn(|| reader.next(3).expect("reads"))
        .map(|item| match item {
            Item::Frame(read) => read.origin.epoch,
            Item::Damage(damage) => panic!("{damage}"),
        })
        .collect();
    assert_eq!(epochs, [1, 1, 2]);
}

#[test]
fn a_torn_end_is_cut_off_at_every_length_kept_and_no_damage() {
    let mut torn = Vec::new();
    let frame = Frame {
        sequence: 2,
        at: Wall(1),
        kind: Kind::Event,
        more: false,
        first: true,
        origin: Origin::default(),
        previous: [1; 32],
        payload: b"half written",
    };
    frame.write(&mut torn);
    for len in [1, 5, HEADER_LEN, torn.len() - 1] {
        let disk = Memory::default();
        let mut journal = open(&disk);
        write(&mut journal, &[b"kept"]);
        let end = journal.place().offset as usize;
        disk.change(&segment_of(1), |bytes| bytes[end..end + len].copy_from_slice(&torn[..len]));
        let (mut journal, opened, seen) = open_with(&disk);
        assert_eq!((texts(&seen), opened.damage), (vec!["kept"], vec![]), "torn after {len} octets");
        assert_eq!(opened.torn, Some(Place { segment: 1, offset: end as u64 }));
        assert!(disk.names_of().iter().any(|n| n.ends_with(".torn")));
        write(&mut journal, &[b"next"]);
        assert_eq!(read_all(&disk, 2), (vec![b"kept".to_vec(), b"next".to_vec()], vec![]));
    }
}

#[test]
fn damage_costs_the_damaged_frame_alone_whatever_is_damaged_in_it() {
    let payloads: [&[u8]; 4] = [b"one", b"two", b"three", b"four"];
    let spoilt = HEADER_LEN + 3;
    // Any bit of the second frame: its length, its checksum, its number, its text.
    for at in (spoilt..spoilt + HEADER_LEN + 3).step_by(5) {
        let disk = Memory::default();
        write(&mut open(&disk), &payloads);
        disk.change(&segment_of(1), |bytes| bytes[at] ^= 0x10);
        let (mut journal, opened, seen) = open_with(&disk);
        assert_eq!(texts(&seen), ["one", "three", "four"], "octet {at}");
        let [damage] = &opened.damage[..] else { panic!("octet {at}: {:?}", opened.damage) };
        assert_eq!((damage.at.offset, damage.missing, opened.torn), (spoilt as u64, 1, None));
        write(&mut journal, &[b"five"]);
        let (read, found) = read_all(&disk, 5);
        assert_eq!((texts(&read), found.len()), (vec!["one", "three", "four", "five"], 1));
        let (read, found) = replayed(&disk, 5);
        assert_eq!((texts(&read), &found[0]), (vec!["one", "three", "four", "five"], damage));
        set_aside(&disk, &dir(), damage).expect("set aside");
        assert!(disk.names_of().iter().any(|n| n.ends_with(".damaged")));
    }
}

#[test]
fn zeros_in_the_middle_and_a_frame_taken_out_are_told() {
    let disk = Memory::default();
    write(&mut open(&disk), &[b"one", b"two", b"three"]);
    let frame = HEADER_LEN + 3;
    disk.change(&segment_of(1), |bytes| bytes[frame..2 * frame].fill(0));
    let (read, damage) = read_all(&disk, 3);
    assert_eq!((texts(&read), damage[0].what, damage[0].missing), (vec!["one", "three"], "zeros where frames were", 1));
    disk.change(&segment_of(1), |bytes| {
        bytes.drain(frame..2 * frame);
    });
    let (read, damage) = read_all(&disk, 3);
    assert_eq!((texts(&read), damage[0].what, damage[0].missing), (vec!["one", "three"], "frames are missing", 1));
}

#[test]
fn a_frame_put_in_again_or_by_an_older_start_is_passed_over() {
    let disk = Memory::default();
    write(&mut open(&disk), &[b"one"]);
    let mut journal = open(&disk);
    write(&mut journal, &[b"two"]);
    let first = disk.bytes(&segment_of(1)).lock().expect("unpoisoned")[..HEADER_LEN + 3].to_vec();
    let end = journal.place().offset as usize;
    let mut stale = Vec::new();
    let origin = Origin { node: 1, epoch: 1 };
    Frame {
        sequence: 3,
        at: Wall(1),
        kind: Kind::Event,
        more: false,
        first: true,
        origin,
        previous: journal.head(),
        payload: b"late",
    }
    .write(&mut stale);
    for (foreign, what) in [(first, "a frame that stood before"), (stale, "an older start of this node")] {
        disk.change(&segment_of(1), |bytes| bytes[end..end + foreign.len()].copy_from_slice(&foreign));
        let (_, opened, seen) = open_with(&disk);
        assert_eq!(texts(&seen), ["one", "two"]);
        assert!(opened.damage[0].what.starts_with(what), "{:?}", opened.damage);
    }
}

#[test]
fn whatever_operation_fails_nothing_acknowledged_is_lost_and_the_journal_stays_whole() {
    let payload = |n: u64| format!("{n:05}{}", "x".repeat(3000)).into_bytes();
    for failing in 0..150 {
        for for_good in [false, true] {
            let disk = Memory::default();
            let mut journal = Journal::shut(disk.shared(), &dir(), SMALL);
            disk.fail(failing, for_good);
            let _ = journal.open(|_| {});
            let mut appended = 0;
            for n in 1..=40u64 {
                journal.append(Wall(1), Kind::Note, payload(n));
                appended = n;
                let _ = journal.commit();
                if journal.is_full() {
                    let _ = journal.begin_segment();
                }
                if for_good && journal.waiting() > 20_000 {
                    break;
                }
            }
            let durable = journal.durable();
            drop(journal);
            disk.heal();
            let (mut journal, opened, _) = open_with(&disk);
            assert!(opened.damage.is_empty(), "operation {failing}: {:?}", opened.damage);
            let (read, damage) = read_all(&disk, opened.head);
            assert_eq!(damage, vec![], "operation {failing}");
            assert!(read.len() as u64 >= durable, "operation {failing}: {} of {durable}", read.len());
            assert!(read.len() as u64 <= appended);
            for (n, bytes) in (1..).zip(&read) {
                assert_eq!(bytes, &payload(n), "operation {failing}");
            }
            write(&mut journal, &[b"goes on"]);
        }
    }
}

#[test]
fn after_an_attempt_that_failed_nothing_of_it_is_left_behind_a_shorter_one() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    write(&mut journal, &[b"one"]);
    let event = |no: u32, rev: u32| {
        let filling = "x".repeat(900);
        format!("{{\"specversion\":\"1.0\",\"id\":\"{no}:{rev}\",\"data\":{{\"text\":\"{filling}\"}}}}").into_bytes()
    };
    disk.fail(disk.operations.load(Ordering::Relaxed) + 1, true);
    for rev in 1..=60 {
        journal.append(Wall(1), Kind::Event, event(7, rev));
        let _ = journal.commit();
    }
    assert!(journal.waiting() <= SMALL.waiting_max && journal.given_up() > 0, "what waits is bounded");
    disk.heal();
    journal.commit().expect("commits");
    assert_eq!((journal.waiting(), journal.durable()), (0, 61));
    let (read, damage) = read_all(&disk, journal.last_sequence());
    assert_eq!(damage, vec![]);
    assert_eq!(read.last(), Some(&event(7, 60)), "the newest revision is the one that was kept");
    drop(journal);
    let (_, opened, _) = open_with(&disk);
    assert_eq!((opened.torn, opened.damage), (None, vec![]));
}

#[test]
fn an_attempt_that_failed_leaves_nothing_in_a_segment_that_is_left_for_the_next() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    let payload = |n: u8| vec![b'a' + n; 6000];
    for n in 0..10 {
        journal.append(Wall(1), Kind::Note, payload(n));
        journal.commit().expect("commits");
    }
    // Written, and the sync failed; with the next frame it no longer fits.
    journal.append(Wall(1), Kind::Note, vec![b'x'; 4000]);
    disk.fail(disk.operations.load(Ordering::Relaxed) + 1, false);
    assert!(journal.commit().is_err());
    journal.append(Wall(1), Kind::Note, payload(11));
    journal.commit().expect("commits");
    assert_eq!(segments(&disk, &dir()).expect("lists"), [1, 11]);
    let (read, damage) = read_all(&disk, 12);
    assert_eq!((read.len(), damage), (12, vec![]));
}

#[test]
fn whoever_keeps_up_reads_little_beyond_what_is_new_over_the_end_of_a_segment_too() {
    let disk = Memory::default();
    let config = Config { segment: 1024 * 1024, ..SMALL };
    let mut journal = Journal::shut(disk.shared(), &dir(), config);
    journal.open(|_| {}).expect("opens");
    let mut reader = Reader::new(disk.shared(), &dir(), &Cursor::default());
    disk.read.store(0, Ordering::Relaxed);
    for n in 1..=600u64 {
        write(&mut journal, &[&[b'x'; 4000]]);
        assert!(matches!(reader.next(n), Ok(Some(Item::Frame(_)))), "{n}");
    }
    assert_eq!(segments(&disk, &dir()).expect("lists").len(), 3);
    let read = disk.read.load(Ordering::Relaxed);
    assert!(read < 610 * 16 * 1024, "{read} octets for 600 frames of 4,060");
}

#[test]
fn a_reader_follows_into_the_next_segment_and_a_cursor_is_found_without_its_hint() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    let mut reader = Reader::new(disk.shared(), &dir(), &Cursor::default());
    for n in 1..=40u64 {
        write(&mut journal, &[format!("{n:04}{}", "x".repeat(4000)).as_bytes()]);
        let Some(Item::Frame(read)) = reader.next(n).expect("reads") else { panic!("a frame") };
        assert_eq!(read.sequence, n);
        assert_eq!(reader.next(n).expect("reads"), None);
        assert_eq!(reader.cursor().hash(), Some(journal.head()));
    }
    assert!(segments(&disk, &dir()).expect("lists").len() > 2);
    for sequence in [0, 1, 15, 16, 17, 39, 40] {
        for hint in [Place::default(), Place { segment: 1, offset: 77 }, Place { segment: 99, offset: 5 }] {
            let (read, damage) = read_from(&disk, &Cursor { sequence, hint, ..Cursor::default() }, 40);
            // A cursor without a number and with a place is one of 0.1.0: its place is what it has.
            if sequence > 0 {
                assert_eq!((read.len() as u64, damage), (40 - sequence, vec![]), "behind {sequence} by {hint:?}");
            }
        }
    }
    let old = Cursor { hint: Place { segment: 1, offset: 2 * (HEADER_LEN as u64 + 4004) }, ..Cursor::default() };
    assert_eq!(read_from(&disk, &old, 40).0.len(), 38);
}

#[test]
fn a_cursor_ahead_of_the_journal_or_of_another_one_misses_nothing() {
    let (disk, other) = (Memory::default(), Memory::default());
    write(&mut open(&disk), &[b"one", b"two", b"three"]);
    write(&mut open(&other), &[b"uno", b"dos"]);
    let mut reader = Reader::new(other.shared(), &dir(), &Cursor::default());
    while reader.next(2).expect("reads").is_some() {}
    let (read, damage) = read_from(&disk, &reader.cursor(), 3);
    assert_eq!((texts(&read), damage[0].what), (vec!["one", "two", "three"], "the cursor was made in another journal"));
    let mut cursor = Cursor { sequence: 9, ..reader.cursor() };
    assert!(cursor.set_back(3) && !cursor.set_back(3));
    write(&mut open(&disk), &[b"four"]);
    assert_eq!(texts(&read_from(&disk, &cursor, 4).0), ["four"]);
}

#[test]
fn a_directory_that_vanishes_is_noticed_and_made_anew() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    write(&mut journal, &[b"one"]);
    assert!(journal.is_in_place());
    disk.remove_dir(&dir()).expect("removed");
    assert!(!journal.is_in_place());
    write(&mut journal, &[b"two"]);
    assert!(journal.take_renewed() && journal.is_in_place());
    let (_, opened, seen) = open_with(&disk);
    assert_eq!((opened.head, texts(&seen)), (2, vec!["two"]));
}

#[test]
fn a_start_begins_at_the_newest_whole_snapshot() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    let add = |journal: &mut Journal, kind, payload: &[u8]| {
        journal.append(Wall(1), kind, payload.to_vec());
        journal.commit().expect("commits");
    };
    add(&mut journal, Kind::Event, b"old");
    journal.begin_segment().expect("begins");
    add(&mut journal, Kind::SnapshotBegin, b"begin");
    add(&mut journal, Kind::Snapshot, b"state");
    add(&mut journal, Kind::Event, b"meanwhile");
    journal.begin_segment().expect("begins");
    add(&mut journal, Kind::SnapshotEnd, b"end");
    add(&mut journal, Kind::Event, b"new");
    journal.begin_segment().expect("begins");
    add(&mut journal, Kind::SnapshotBegin, b"begin");
    add(&mut journal, Kind::Snapshot, b"a crash came before its end");
    let wanted = ["begin", "state", "meanwhile", "end", "new", "begin", "a crash came before its end"];
    assert_eq!(texts(&replayed(&disk, 8).0), wanted);
    assert_eq!(read_all(&disk, 8).0.len(), 8, "readers have it all");
    // A head says by itself where the snapshot begins, and is all that opening reads.
    journal.begin_segment().expect("begins");
    let head = codecs::record::Note::Head { serials: 5, dates: BTreeMap::new(), duties: BTreeMap::new(), snapshot: 2 };
    add(&mut journal, Kind::Note, &head.to_json());
    add(&mut journal, Kind::Event, b"newest");
    assert_eq!(open_with(&disk).2.len(), 2);
    assert_eq!(replayed(&disk, 10).0.len(), 9);
}

#[test]
fn a_segment_that_finds_no_room_leaves_no_file() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    write(&mut journal, &[b"one"]);
    let now = disk.operations.load(Ordering::Relaxed);
    // The directory, the file, and both allocations.
    disk.fail(now + 2, true);
    assert!(journal.begin_segment().is_err());
    disk.heal();
    assert_eq!(disk.names_of().iter().filter(|n| n.ends_with(".seg")).count(), 1);
    write(&mut journal, &[b"two"]);
    assert_eq!(texts(&read_all(&disk, 2).0), ["one", "two"]);
}

#[test]
fn the_machines_own_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = std::env::temp_dir().join(format!("gw-store-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let disk = crate::disk::Files::shared();
    let mut journal = Journal::shut(Arc::clone(&disk), &dir.join("journal"), SMALL);
    journal.open(|_| {}).expect("opens");
    write(&mut journal, &[b"one"]);
    let cursors = CursorFile::new(disk, &dir.join("journal/sink.cursor"));
    let cursor = Cursor::at(1, Some(journal.head()), journal.place());
    cursors.store(&cursor).expect("stores");
    assert_eq!(cursors.load(), cursor);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir.join("journal")), 0o700);
    for name in ["00000000000000000001.seg", "sink.cursor"] {
        assert_eq!(mode(&dir.join("journal").join(name)), 0o600, "{name}");
    }
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn a_segment_that_cannot_be_read_is_tried_twenty_times_and_passed_over_where_there_is_a_later_one() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    write(&mut journal, &[b"one", b"two"]);
    *disk.unreadable.lock().expect("unpoisoned") = Some(segment_of(1));
    let mut reader = Reader::new(disk.shared(), &dir(), &Cursor::default());
    let mut until = 2;
    // Nothing comes behind it yet: it may heal.
    assert!((0..50).all(|_| reader.next(until).is_err()));
    journal.begin_segment().expect("begun");
    write(&mut journal, &[b"three"]);
    until = 3;
    let mut reader = Reader::new(disk.shared(), &dir(), &Cursor::default());
    let tries =
        (1..100).find(|_| reader.next(until).is_ok_and(|item| matches!(item, Some(Item::Damage(d)) if d.missing == 2)));
    assert_eq!(tries, Some(20));
    let Ok(Some(Item::Frame(read))) = reader.next(until) else { panic!("what can be read comes next") };
    assert_eq!((read.sequence, read.payload.as_slice()), (3, &b"three"[..]));
    *disk.unreadable.lock().expect("unpoisoned") = None;
    assert_eq!(texts(&read_all(&disk, 3).0), ["one", "two", "three"]);
}

#[test]
fn of_what_belongs_together_a_crash_leaves_all_or_nothing() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    write(&mut journal, &[b"before"]);
    let begins = journal.place().offset as usize;
    for payload in [&b"first half"[..], b"second half", b"third"] {
        journal.append(Wall(1), Kind::Note, payload.to_vec());
    }
    journal.end_batch();
    journal.append(Wall(1), Kind::Note, b"by itself".to_vec());
    journal.end_batch();
    journal.commit().expect("writes");
    let ends = journal.place().offset as usize;
    let alone = ends - HEADER_LEN - b"by itself".len();
    drop(journal);
    let whole = disk.bytes(&segment_of(1)).lock().expect("unpoisoned").clone();
    for cut in begins..=ends {
        disk.change(&segment_of(1), |bytes| {
            bytes.clone_from(&whole);
            bytes[cut..].fill(0);
        });
        let (mut journal, opened, told) = open_with(&disk);
        assert_eq!((opened.damage.len(), told.len() as u64), (0, opened.head), "cut at {cut}");
        let expected = if cut < alone {
            1
        } else if cut < ends {
            4
        } else {
            5
        };
        assert_eq!(told.len(), expected, "cut at {cut}");
        // What was left of it is gone: the next one stands in its place.
        journal.append(Wall(2), Kind::Note, b"next".to_vec());
        journal.commit().expect("writes");
        let (after, damage) = read_all(&disk, journal.last_sequence());
        assert!(damage.is_empty(), "cut at {cut}");
        assert_eq!((after.len(), after.last().map(Vec::as_slice)), (expected + 1, Some(&b"next"[..])), "cut at {cut}");
    }
}

/// A power cut leaves of a write any of its sectors.
#[test]
fn of_the_last_write_a_sector_that_never_came_takes_what_it_belongs_to_with_it_and_of_an_earlier_one_it_is_damage() {
    let long = |letter: u8| vec![letter; 3000];
    // Sectors within, or what of the first one the write before had not filled.
    for (hole, later) in [(1024..2048, false), (66..512, false), (1024..2048, true)] {
        let disk = Memory::default();
        let mut journal = open(&disk);
        write(&mut journal, &[b"before"]);
        for payload in [long(b'a'), long(b'b'), long(b'c')] {
            journal.append(Wall(1), Kind::Note, payload);
        }
        journal.end_batch();
        journal.append(Wall(1), Kind::Note, b"alone".to_vec());
        journal.end_batch();
        journal.commit().expect("writes");
        if later {
            write(&mut journal, &[b"later"]);
        }
        drop(journal);
        // In the first of the three; the two others, and what came with them, are sound.
        disk.change(&segment_of(1), |bytes| bytes[hole.clone()].fill(0));
        let (mut journal, opened, told) = open_with(&disk);
        let lengths: Vec<usize> = told.iter().map(Vec::len).collect();
        if later {
            assert_eq!((opened.damage.len(), lengths), (1, vec![6, 3000, 3000, 5, 5]));
        } else {
            assert_eq!((opened.damage.len(), lengths, opened.head), (0, vec![6], 1));
            write(&mut journal, &[b"next"]);
            assert_eq!(read_all(&disk, 2).0.len(), 2);
        }
    }
}

#[test]
fn numbers_go_on_behind_what_somebody_knows_of_a_journal_that_was_cut() {
    let disk = Memory::default();
    write(&mut open(&disk), &[b"one", b"two"]);
    let mut journal = open(&disk);
    journal.go_beyond(1);
    write(&mut journal, &[b"three"]);
    journal.go_beyond(90);
    write(&mut journal, &[b"ninety-one"]);
    assert_eq!(journal.last_sequence(), 91);
    drop(journal);
    let (mut journal, opened, _) = open_with(&disk);
    assert_eq!(opened.head, 91);
    write(&mut journal, &[b"ninety-two"]);
    let (told, damage) = read_all(&disk, 92);
    assert_eq!(texts(&told), ["one", "two", "three", "ninety-one", "ninety-two"]);
    assert_eq!(damage.iter().map(|d| d.missing).collect::<Vec<_>>(), [87]);
}

#[test]
fn a_file_of_any_name_hides_no_frame_and_one_with_nothing_in_it_is_set_aside() {
    let disk = Memory::default();
    write(&mut open(&disk), &[b"one", b"two", b"three", b"four"]);
    drop(disk.open(&segment_of(3), Access::New).expect("made"));
    drop(disk.open(&dir().join("2.seg"), Access::New).expect("made"));
    // Nobody has looked yet: whoever reads is not misled.
    let (told, damage) = replayed(&disk, 4);
    assert_eq!((texts(&told), damage), (vec!["one", "two", "three", "four"], vec![]));
    // It is the last one by its name, and is written to; then others follow.
    let (mut journal, opened, told) = open_with(&disk);
    assert_eq!((texts(&told), opened.damage), (vec!["one", "two", "three", "four"], vec![]));
    write(&mut journal, &[b"five"]);
    journal.begin_segment().expect("begins");
    write(&mut journal, &[b"six"]);
    drop((journal, disk.open(&segment_of(2), Access::New).expect("made")));
    let (_, opened, _) = open_with(&disk);
    assert_eq!((opened.head, opened.damage, opened.strays), (6, vec![], vec![2]));
    assert!(disk.names_of().iter().any(|name| name.ends_with("2.stray")), "{:?}", disk.names_of());
    assert_eq!(texts(&read_all(&disk, 6).0), ["one", "two", "three", "four", "five", "six"]);
}

#[test]
fn what_is_called_after_a_number_that_no_frame_can_have_is_no_segment() {
    let disk = Memory::default();
    write(&mut open(&disk), &[b"one"]);
    for stray in [1 << 62, u64::MAX / 2, u64::MAX] {
        drop(disk.open(&segment_of(stray), Access::New).expect("made"));
        let (mut journal, opened, told) = open_with(&disk);
        assert_eq!((opened.damage.len(), told.len() as u64), (0, opened.head));
        write(&mut journal, &[b"more"]);
    }
    assert_eq!(read_all(&disk, 4).0.len(), 4);
}

#[test]
fn damage_within_what_belongs_together_is_told_and_the_rest_is_served() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    for payload in [&b"first half"[..], b"second half", b"third"] {
        journal.append(Wall(1), Kind::Note, payload.to_vec());
    }
    journal.end_batch();
    write(&mut journal, &[b"later"]);
    drop(journal);
    disk.change(&segment_of(1), |bytes| bytes[HEADER_LEN + 12 + HEADER_LEN] ^= 1);
    let (_, opened, told) = open_with(&disk);
    assert_eq!(opened.damage.iter().map(|d| d.missing).collect::<Vec<_>>(), [1]);
    assert_eq!(told, [&b"first half"[..], b"third", b"later"]);
}

#[test]
fn what_was_unreadable_at_one_start_and_is_readable_at_the_next_is_served_whatever_was_written_meanwhile() {
    let disk = Memory::default();
    // Several starts, each with a segment of its own.
    for n in 0..3u8 {
        let mut journal = open(&disk);
        write(&mut journal, &[&[b'a' + n]]);
        journal.begin_segment().expect("begins");
        write(&mut journal, &[&[b'A' + n]]);
    }
    // The newest has frames of more starts than anything before it tells of.
    for payload in [&b"d"[..], b"e", b"f"] {
        write(&mut open(&disk), &[payload]);
    }
    let newest = *segments(&disk, &dir()).expect("lists").last().expect("some");
    *disk.unreadable.lock().expect("unpoisoned") = Some(segment_of(newest));
    let mut journal = open(&disk);
    write(&mut journal, &[b"meanwhile"]);
    let head = journal.last_sequence();
    drop(journal);
    *disk.unreadable.lock().expect("unpoisoned") = None;
    let mut journal = open(&disk);
    write(&mut journal, &[b"after"]);
    assert!(journal.last_sequence() > head, "no number is given twice");
    let (told, _) = read_all(&disk, journal.last_sequence());
    for payload in [&b"a"[..], b"A", b"b", b"B", b"c", b"C", b"d", b"e", b"f", b"meanwhile", b"after"] {
        assert!(told.iter().any(|t| t == payload), "{:?} is missing in {told:?}", String::from_utf8_lossy(payload));
    }
}

#[test]
fn a_gap_that_cannot_be_read_is_passed_over_though_whoever_reads_begins_anew_ahead_of_it_each_time() {
    let disk = Memory::default();
    let mut journal = open(&disk);
    write(&mut journal, &[b"one", b"two"]);
    for payload in [&b"lost"[..], b"later"] {
        journal.begin_segment().expect("begins");
        write(&mut journal, &[payload]);
    }
    let unreadable = segments(&disk, &dir()).expect("lists")[1];
    *disk.unreadable.lock().expect("unpoisoned") = Some(segment_of(unreadable));
    let until = journal.last_sequence();
    let start = Cursor::default();
    let mut reader = Reader::new(disk.shared(), &dir(), &start);
    let mut tries = 0;
    let last = loop {
        match reader.next(until) {
            Ok(Some(Item::Frame(read))) if read.payload == b"later" => break read.sequence,
            Ok(Some(_)) => {}
            Ok(None) => panic!("it is durable"),
            Err(_) => {
                tries += 1;
                assert!(tries < 50, "never passed over");
                reader.again(&start);
            }
        }
    };
    assert_eq!(last, until);
}

#[test]
fn a_head_of_which_a_crash_left_a_part_is_none_and_the_one_before_counts() {
    let head = |serials: u64| {
        let head = codecs::record::Note::Head { serials, dates: BTreeMap::new(), duties: BTreeMap::new(), snapshot: 0 };
        head.to_json()
    };
    let disk = Memory::default();
    let mut journal = open(&disk);
    for payload in [head(5), b"{\"binding\":1}".to_vec()] {
        journal.append(Wall(1), Kind::Note, payload);
    }
    journal.end_batch();
    journal.commit().expect("writes");
    journal.begin_segment().expect("begins");
    let second = journal.place().segment;
    let first_len = HEADER_LEN + head(6).len();
    for payload in [head(6), b"{\"binding\":2}".to_vec()] {
        journal.append(Wall(1), Kind::Note, payload);
    }
    journal.end_batch();
    journal.commit().expect("writes");
    drop(journal);
    disk.change(&segment_of(second), |bytes| bytes[first_len..].fill(0));
    let (_, opened, told) = open_with(&disk);
    assert_eq!((opened.head, opened.damage.len()), (2, 0));
    assert_eq!(told, [head(5), b"{\"binding\":1}".to_vec()]);
}
