//! What is old enough to go, by kind.

use std::io;
use std::path::Path;
use std::time::Duration;

use codecs::record::AlertNo;

use crate::disk::Disk;
use crate::journal::{segment_path, segments};

/// How long each kind is kept; none: for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keep {
    pub journal: Option<Duration>,
    pub recordings: Option<Duration>,
    pub files: Option<Duration>,
}

/// What went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gone {
    pub segments: u64,
    pub recordings: u64,
    pub files: u64,
}

fn is_older(disk: &dyn Disk, path: &Path, now_s: i64, keep: Duration) -> bool {
    disk.written_s(path).is_ok_and(|at| now_s.saturating_sub(at) > keep.as_secs() as i64)
}

/// Removes what is older than its kind is kept. Of the journal only whole segments that nobody needs any more go: all
/// of whose frames are numbered below `needed_from`.
///
/// # Errors
/// What the disk said; what went is gone all the same.
pub fn remove_old(disk: &dyn Disk, data: &Path, now_s: i64, keep: Keep, needed_from: u64) -> io::Result<Gone> {
    let mut gone = Gone::default();
    if let Some(keep) = keep.journal {
        let dir = data.join("journal");
        let all = segments(disk, &dir)?;
        for pair in all.windows(2) {
            let path = segment_path(&dir, pair[0]);
            if pair[1] > needed_from || !is_older(disk, &path, now_s, keep) {
                break;
            }
            disk.remove(&path)?;
            gone.segments += 1;
        }
    }
    if let Some(keep) = keep.recordings {
        gone.recordings = remove_dirs(disk, &data.join("recordings"), now_s, keep)?;
    }
    if let Some(keep) = keep.files {
        gone.files = remove_dirs(disk, &data.join("media"), now_s, keep)?;
    }
    Ok(gone)
}

/// Directories named by an alert's number.
fn remove_dirs(disk: &dyn Disk, dir: &Path, now_s: i64, keep: Duration) -> io::Result<u64> {
    let names = match disk.names(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut gone = 0;
    for name in names.iter().filter(|n| n.get(..30).and_then(AlertNo::parse).is_some()) {
        let path = dir.join(name);
        if is_older(disk, &path, now_s, keep) {
            disk.remove_dir(&path)?;
            gone += 1;
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Files;

    #[test]
    fn what_is_old_goes_and_what_is_needed_or_young_or_nobodys_stays() {
        let data = std::env::temp_dir().join(format!("gw-retention-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        let no = AlertNo::mint("370400000000", 20_261_122, 1, 7);
        for dir in ["journal", &format!("recordings/{no}"), "recordings/notes", &format!("media/{no}")] {
            Files.make_dir(&data.join(dir)).expect("made");
        }
        for first in [1, 100, 200] {
            std::fs::write(segment_path(&data.join("journal"), first), b"x").expect("written");
        }
        let now_s = Files.written_s(&data).expect("there") + 1000;
        let hour = Some(Duration::from_secs(3600));
        let keep = Keep { journal: hour, recordings: hour, files: hour };
        assert_eq!(remove_old(&Files, &data, now_s, keep, 250).expect("removes"), Gone::default());
        let later = now_s + 3600;
        let gone = remove_old(&Files, &data, later, keep, 150).expect("removes");
        assert_eq!(gone, Gone { segments: 1, recordings: 1, files: 1 });
        assert_eq!(segments(&Files, &data.join("journal")).expect("lists"), [100, 200]);
        assert!(data.join("recordings/notes").exists());
        let gone = remove_old(&Files, &data, later, keep, 10_000).expect("removes");
        assert_eq!(gone.segments, 1, "the newest segment is being written");
        std::fs::remove_dir_all(data).expect("removed");
    }
}
