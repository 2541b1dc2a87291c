//! One process a data directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::disk::{DIR_MODE, Disk as _, FILE_MODE, Files, not_regular};

/// The most octets of a lock's file: the number of a process and the end of its line.
const PID_MAX: usize = 16;

/// The directory is this process's for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    /// The directory itself, which nobody removes from beneath us; none: this file system locks no directories.
    dir: Option<File>,
    /// The file by which versions before found each other, and which says who it is; or why it cannot.
    file: io::Result<File>,
}

#[derive(Debug)]
pub enum Unlocked {
    /// Somebody else has it; their process, as far as they said.
    Held { pid: String },
    /// It could not be asked for: read-only, full, gone.
    Disk(io::Error),
}

/// Which directory lies at a path: it may be another one a moment later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity(u64, u64);

impl Identity {
    /// None: nothing lies there.
    pub fn of(data: &Path) -> Option<Identity> {
        std::fs::metadata(data).ok().map(|m| Identity(m.dev(), m.ino()))
    }

    fn of_file(file: &File) -> Option<Identity> {
        file.metadata().ok().map(|m| Identity(m.dev(), m.ino()))
    }
}

/// Makes the data directory its owner's alone, and takes it.
///
/// # Errors
/// When another process has it, or the disk does not let itself be asked.
pub fn lock(data: &Path) -> Result<Lock, Unlocked> {
    let made = Files.make_dir(data);
    // As 0.1.0 left it, everybody on the machine may read it.
    let _ = std::fs::set_permissions(data, std::fs::Permissions::from_mode(DIR_MODE));
    let dir = File::open(data).map_err(|error| Unlocked::Disk(made.err().unwrap_or(error)))?;
    let dir = match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Some(dir),
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(Unlocked::Held { pid: holder(data) }),
        Err(_) => None,
    };
    match lock_file(data) {
        Ok(file) => Ok(Lock { dir, file: Ok(file) }),
        Err(Unlocked::Disk(error)) if dir.is_some() => Ok(Lock { dir, file: Err(error) }),
        Err(unlocked) => Err(unlocked),
    }
}

impl Lock {
    /// Why the lock's file says nothing of us, where it does not: the directory is ours all the same.
    pub fn complaint(&self) -> Option<&io::Error> {
        self.file.as_ref().err()
    }

    /// Whether what lies there is still what was taken.
    pub fn is_in_place(&self, data: &Path) -> bool {
        let is = |held: Option<&File>, path: &Path| {
            held.is_none_or(|file| Identity::of_file(file).is_some_and(|id| Identity::of(path) == Some(id)))
        };
        is(self.dir.as_ref(), data) && is(self.file.as_ref().ok(), &data.join("lock"))
    }

    /// Takes what lies there now, after somebody has put something else in its place. A directory that was taken stays
    /// taken until there is another, wherever it has been moved.
    ///
    /// # Errors
    /// When another process has that, or the disk does not let itself be asked.
    pub fn again(&mut self, data: &Path) -> Result<(), Unlocked> {
        if self.dir.is_none() {
            if !self.is_in_place(data) {
                *self = lock(data)?;
            }
            return Ok(());
        }
        let is_same = self.dir.as_ref().and_then(Identity::of_file).is_some_and(|id| Identity::of(data) == Some(id));
        // What we hold of the file ourselves is in nobody's way.
        self.file = Err(io::ErrorKind::NotFound.into());
        if !is_same {
            *self = lock(data)?;
            return Ok(());
        }
        match lock_file(data) {
            Ok(file) => self.file = Ok(file),
            Err(Unlocked::Disk(error)) => self.file = Err(error),
            Err(held) => return Err(held),
        }
        Ok(())
    }
}

/// The lock's file itself, and no other that a link leads to: what is written there would be lost to that one.
fn open_file(path: &Path, writable: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Opening what is no file must not wait for whoever is at its other end.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).custom_flags(flags.bits().cast_signed());
    if writable {
        options.write(true).create(true).truncate(false).mode(FILE_MODE);
    }
    let file = options.open(path).map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP) => not_regular(path),
        _ => error,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular(path)) }
}

fn lock_file(data: &Path) -> Result<File, Unlocked> {
    let path = data.join("lock");
    let file = match open_file(&path, true) {
        Ok(file) => file,
        // One that may only be read can be held as well.
        Err(error) => open_file(&path, false).map_err(|_| Unlocked::Disk(error))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(Unlocked::Held { pid: holder(data) }),
        Err(error) => return Err(Unlocked::Disk(error.into())),
    }
    if is_a_locks(&file) {
        let text = format!("{}\n", std::process::id());
        let _ = file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0));
    }
    Ok(file)
}

/// Whether it holds nothing but the number of a process, under no other name: whatever else it is, it is kept.
fn is_a_locks(file: &File) -> bool {
    let mut text = [0; PID_MAX];
    let Ok(meta) = file.metadata() else { return false };
    let Ok(got) = file.read_at(&mut text, 0) else { return false };
    // Zeros are what a power cut may leave of it.
    let is_number = text[..got].iter().all(|b| b.is_ascii_digit() || b.is_ascii_whitespace() || *b == 0);
    meta.nlink() == 1 && meta.len() <= PID_MAX as u64 && is_number
}

/// Who has it, as far as they said.
fn holder(data: &Path) -> String {
    let mut text = [0; PID_MAX];
    let got = open_file(&data.join("lock"), false).and_then(|file| file.read_at(&mut text, 0)).unwrap_or(0);
    let pid = String::from_utf8_lossy(&text[..got]).trim().to_owned();
    let is_number = !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit());
    if is_number { pid } else { "unknown".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_one_process_s_until_it_ends() {
        let dir = std::env::temp_dir().join(format!("gw-lock-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let first = lock(&dir).expect("is free");
        let Err(Unlocked::Held { pid }) = lock(&dir) else { panic!("it is taken") };
        assert_eq!(pid, std::process::id().to_string());
        drop(first);
        lock(&dir).expect("is free again");
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn whatever_becomes_of_the_lock_s_file_the_directory_stays_one_process_s() {
        let dir = std::env::temp_dir().join(format!("gw-lock-gone-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("made");
        std::os::unix::fs::symlink("/nonexistent/x", dir.join("lock")).expect("a link to nowhere");
        let mut first = lock(&dir).expect("is free");
        assert!(
            first.complaint().is_some() && matches!(lock(&dir), Err(Unlocked::Held { .. })),
            "held without its file"
        );
        std::fs::remove_file(dir.join("lock")).expect("removed");
        first.again(&dir).expect("still ours");
        assert!(first.is_in_place(&dir) && first.complaint().is_none());
        first.again(&dir).expect("ours, though nothing has changed");
        std::fs::remove_file(dir.join("lock")).expect("removed");
        assert!(!first.is_in_place(&dir) && matches!(lock(&dir), Err(Unlocked::Held { .. })));
        first.again(&dir).expect("still ours");
        // Another directory in its place: what lies there is whoever's takes it first.
        let moved = dir.with_extension("moved");
        std::fs::rename(&dir, &moved).expect("moved");
        let second = lock(&dir).expect("another directory");
        assert!(!first.is_in_place(&dir) && matches!(first.again(&dir), Err(Unlocked::Held { .. })));
        assert!(matches!(lock(&moved), Err(Unlocked::Held { .. })), "ours until there is another");
        drop(second);
        first.again(&dir).expect("it is free");
        lock(&moved).expect("given up for the other one");
        // Nothing lies there any more: it is made anew.
        std::fs::remove_dir_all(&dir).expect("removed");
        assert!(!first.is_in_place(&dir));
        first.again(&dir).expect("made anew");
        assert!(first.is_in_place(&dir));
        std::fs::remove_dir_all(dir).expect("removed");
        std::fs::remove_dir_all(moved).expect("removed");
    }

    #[test]
    fn no_other_file_is_written_to_because_it_bears_the_lock_s_name_or_a_link_of_that_name_leads_to_it() {
        let dir = std::env::temp_dir().join(format!("gw-lock-link-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("made");
        let (file, kept) = (dir.join("lock"), dir.join("kept"));
        let text = "of ours ".repeat(100);
        std::fs::write(&kept, &text).expect("written");
        let is_whole = || std::fs::read_to_string(&kept).expect("there") == text;
        // Nor is anything of it told to whoever comes second.
        let is_held = || matches!(lock(&dir), Err(Unlocked::Held { pid }) if pid == "unknown");
        std::os::unix::fs::symlink("kept", &file).expect("linked");
        let held = lock(&dir).expect("is free");
        let complaint = held.complaint().expect("it says so").to_string();
        assert!(complaint.contains("lock is no regular file") && is_whole() && is_held(), "{complaint}");
        drop(held);
        std::fs::remove_file(&file).expect("removed");
        std::fs::hard_link(&kept, &file).expect("linked");
        let held = lock(&dir).expect("is free");
        assert!(is_whole() && is_held());
        drop(held);
        std::fs::remove_file(&file).expect("removed");
        assert!(std::process::Command::new("mkfifo").arg(&file).status().expect("ran").success());
        let held = lock(&dir).expect("is free");
        assert!(held.complaint().is_some() && is_held(), "a pipe, and nobody is waited for");
        drop(held);
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, "4711\n").expect("written");
        let _held = lock(&dir).expect("is free");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), format!("{}\n", std::process::id()));
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
