//! What a disk may hold after anything has happened to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::audio::chunk::Chunk;
use codecs::journal::Kind;
use codecs::record::AlertNo;
use codecs::time::Wall;
use sim::ModelDisk;
use store::disk::{Access, Disk, read_full};
use store::journal::{Config, Cursor, Door as _, Item, Journal, Reader, Replayed, replay};
use store::recording::{RecordingLog, TrackName, recover};

use crate::script::steps;

const STEPS: usize = 32;

fn number(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Somebody wrote these octets over what a file of the directory holds: which one, where, and what.
fn damage(disk: &dyn Disk, dir: &Path, with: &[u8]) {
    let ([which, high, low, bytes @ ..], Ok(names)) = (with, disk.names(dir)) else { return };
    if names.is_empty() {
        return;
    }
    let path = dir.join(&names[usize::from(*which) % names.len()]);
    let file = disk.open(&path, Access::Write).expect("a disk in memory");
    let at = number(&[*high, *low]) % file.len().expect("a disk in memory").max(1);
    file.write_at(bytes, at).expect("a disk in memory");
}

/// The disk has written something where something else was to stand: from which file and where, how much, to which one
/// and where.
fn misdirect(disk: &dyn Disk, dir: &Path, with: &[u8]) {
    let ([from, high, low, len, to, rest @ ..], Ok(names)) = (with, disk.names(dir)) else { return };
    if names.is_empty() || rest.len() < 2 {
        return;
    }
    let file = disk.open(&dir.join(&names[usize::from(*from) % names.len()]), Access::Read).expect("a disk in memory");
    let at = number(&[*high, *low]) % file.len().expect("a disk in memory").max(1);
    let mut bytes = vec![0; usize::from(*len) * 8];
    let got = read_full(&*file, &mut bytes, at).expect("a disk in memory");
    damage(disk, dir, &[&[*to, rest[0], rest[1]], &bytes[..got]].concat());
}

fn opened(disk: &Arc<dyn Disk>, dir: &Path) -> Journal {
    let config = Config { segment: 1 << 16, ..Config::of_node(1) };
    let mut journal = Journal::shut(Arc::clone(disk), dir, config);
    journal.open(|_| {}).expect("a disk in memory");
    journal
}

/// Whatever was written over the segments, a start finds its way, what is appended then is durable and read back, and
/// the numbers rise.
pub(crate) fn journal(data: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(ModelDisk::default());
    let dir = PathBuf::from("data/journal");
    let mut journal = opened(&disk, &dir);
    for (what, with) in steps(data, STEPS) {
        let (kind, rest) = with.split_first().map_or((0, with), |(k, r)| (*k, r));
        let kind = [Kind::Event, Kind::Note, Kind::SnapshotBegin, Kind::SnapshotEnd][usize::from(kind) % 4];
        match what {
            b'a' if !rest.is_empty() => {
                journal.append(Wall(1), kind, rest.to_vec());
                let _ = journal.commit();
            }
            b'n' => {
                let _ = journal.begin_segment();
            }
            b'd' => damage(&*disk, &dir, with),
            b'm' => misdirect(&*disk, &dir, with),
            b'k' => journal = opened(&disk, &dir),
            _ => {}
        }
    }
    let mut journal = opened(&disk, &dir);
    let mut before = 0;
    let whole = replay(&*disk, &dir, u64::MAX, true, |item| {
        if let Replayed::Frame(frame) = item {
            assert!(frame.sequence > before, "replay: {} behind {before}", frame.sequence);
            before = frame.sequence;
        }
    });
    whole.expect("a disk in memory");
    let head = journal.last_sequence();
    assert!(head >= before, "the head is {head}, and there is {before}");
    let ticket = journal.append(Wall(1), Kind::Event, b"{\"fuzz\":1}".to_vec());
    journal.commit().expect("a disk in memory");
    assert_eq!(journal.durable(), ticket);
    let last = journal.last_sequence();
    let mut reader = Reader::new(Arc::clone(&disk), &dir, &Cursor::default());
    let (mut seen, mut before) = (false, 0);
    for _ in 0..10_000 {
        match reader.next(last) {
            Ok(Some(Item::Frame(read))) => {
                assert!(read.sequence > before, "reader: {} behind {before}", read.sequence);
                before = read.sequence;
                seen |= read.sequence == last && read.payload == b"{\"fuzz\":1}";
            }
            Ok(Some(Item::Damage(_))) | Err(_) => {}
            Ok(None) => break,
        }
    }
    assert!(seen, "what was appended last ({last}) is read back; the reader came to {before}");
}

/// Whatever was written over the recording log, what is sound is cut, the rest is passed over, and a new call is
/// recorded beside it.
pub(crate) fn recording(data: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(ModelDisk::default());
    let (root, names): (_, TrackName) = (Path::new("data"), |track| format!("track{track}"));
    let no = |key: u8| AlertNo::mint("370400000000", 20_261_129, 1, u32::from(key));
    let (mut log, _) = RecordingLog::open(Arc::clone(&disk), root, names);
    for (what, with) in steps(data, STEPS) {
        match (what, with) {
            (b'w', [key, track, tick, samples @ ..]) => {
                let len = (samples.len() as u32).to_le_bytes();
                let head = [&[*track, 0, 0, 0, *tick, 0, 0, 0][..], &len].concat();
                let chunk = Chunk { key: u64::from(*key), bytes: [&head, samples].concat() };
                log.write(&[(no(*key), chunk)]).expect("a disk in memory");
            }
            (b'e', [key, ..]) => {
                let _ = log.end(u64::from(*key), no(*key));
            }
            (b'd', with) => damage(&*disk, &root.join("recording-log"), with),
            (b'k', _) => log = RecordingLog::open(Arc::clone(&disk), root, names).0,
            _ => {}
        }
    }
    let (mut log, left) = RecordingLog::open(Arc::clone(&disk), root, names);
    let _ = recover(&*disk, root, names, &left, |_| {});
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, 160, 0, 0, 0];
    bytes.extend_from_slice(&[0xD5; 160]);
    log.write(&[(no(255), Chunk { key: 255, bytes })]).expect("a disk in memory");
    let cut = log.end(255, no(255)).expect("a disk in memory");
    assert!(!cut.media.is_empty(), "the new call has its recording");
}
