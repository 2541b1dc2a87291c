//! The data directory is one process's: nothing is read or written there before it is known to be ours, and nobody waits
//! for a disk that does not answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use store::disk::{Access, Disk, DiskFile, Files, Space};
use store::lock::{Unlocked, lock};

use crate::clock::random;
use crate::observe::health::Health;

/// What a start waits for each thing that it wants of the data directory; without it calls are answered all the same.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// As readiness calls it.
const PART: &str = "data";

/// The machine's files, once the directory is ours.
#[derive(Clone, Default)]
struct Owned(Arc<AtomicBool>);

impl Owned {
    fn files(&self) -> io::Result<Files> {
        if self.0.load(Ordering::Acquire) {
            Ok(Files)
        } else {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "the data directory is not known to be ours yet"))
        }
    }
}

impl Disk for Owned {
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.files()?.names(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.files()?.open(path, access)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.files()?.make_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files()?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files()?.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.files()?.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.files()?.sync_dir(dir)
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.files()?.sync_all(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.files()?.space(dir)
    }

    fn written_s(&self, path: &Path) -> io::Result<i64> {
        self.files()?.written_s(path)
    }
}

/// Keeps the directory for as long as it lives.
pub(super) struct Keeper(#[expect(dead_code, reason = "its end is what it is for")] Sender<()>);

/// Takes the data directory: its files, and what keeps them ours.
///
/// # Errors
/// When another process has it.
pub(super) fn take(data: &Path, health: &Health) -> anyhow::Result<(Arc<dyn Disk>, Keeper)> {
    let owned = Owned::default();
    let (keeper, ends) = channel();
    let (tell, told) = channel();
    let holder = Holder { data: data.to_owned(), owned: owned.clone(), health: health.clone(), tell, ends };
    std::thread::Builder::new().name("lock".into()).spawn(move || holder.run())?;
    match told.recv_timeout(ANSWERS_WITHIN) {
        Ok(None) => {}
        Ok(Some(held)) => anyhow::bail!(held),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            health.worse(PART, "GW-1007", "the disk does not answer");
            tracing::error!(data = %data.display(), "GW-1007 the disk does not answer; calls are answered");
        }
    }
    Ok((Arc::new(owned), Keeper(keeper)))
}

/// The thread that holds the lock.
struct Holder {
    data: PathBuf,
    owned: Owned,
    health: Health,
    /// That another process has it, or nothing.
    tell: Sender<Option<String>>,
    ends: Receiver<()>,
}

impl Holder {
    fn run(self) {
        let mut is_anothers = false;
        loop {
            match lock(&self.data) {
                Ok(lock) => {
                    self.owned.0.store(true, Ordering::Release);
                    self.health.well(PART);
                    let _ = self.tell.send(None);
                    // Until whoever keeps it is gone.
                    let _ = self.ends.recv();
                    return drop(lock);
                }
                Err(Unlocked::Held { pid }) => {
                    let what = format!(
                        "GW-1003 {} is held by pid {pid}: two gateways never share a data directory",
                        self.data.display()
                    );
                    self.owned.0.store(false, Ordering::Release);
                    self.health.worse(PART, "GW-1003", &what);
                    if !std::mem::replace(&mut is_anothers, true) {
                        tracing::error!("{what}");
                    }
                    let _ = self.tell.send(Some(what));
                }
                Err(Unlocked::Disk(error)) => {
                    // What can be kept is kept once it can, unless another process was seen to have it.
                    self.owned.0.store(!is_anothers, Ordering::Release);
                    if self.health.worse(PART, "GW-1007", error.to_string()) {
                        let data = self.data.display();
                        tracing::error!(%error, %data, "GW-1007 the data directory cannot be used; calls are answered");
                    }
                    let _ = self.tell.send(None);
                }
            }
            if self.ends.recv_timeout(RETRY) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

/// The installation's own token: kept in the data directory, made on the first start. `known` hears of it, late perhaps;
/// empty: it is not known yet.
pub(super) fn token(
    data: &Path,
    disk: &Arc<dyn Disk>,
    health: &Health,
    known: impl Fn(&str) + Send + 'static,
) -> String {
    let (path, disk, health) = (data.join("token"), Arc::clone(disk), health.clone());
    let (tell, told) = channel();
    let search = move || loop {
        match read_or_make(&path, &*disk) {
            Ok(token) => {
                health.well("token");
                known(&token);
                let _ = tell.send(token);
                return;
            }
            Err(error) => drop(health.worse("token", "GW-1007", error.to_string())),
        }
        std::thread::park_timeout(RETRY);
    };
    let begun = std::thread::Builder::new().name("token".into()).spawn(search);
    begun.ok().and_then(|_| told.recv_timeout(ANSWERS_WITHIN).ok()).unwrap_or_default()
}

fn read_or_make(path: &Path, disk: &dyn Disk) -> io::Result<String> {
    let kept = match disk.read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        // None there, or something that is no file.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => String::new(),
        Err(error) => return Err(error),
    };
    if !kept.is_empty() {
        return Ok(kept);
    }
    let token = codecs::sip::auth::hex(&random::<16>());
    if let Err(error) = disk.replace(path, token.as_bytes()) {
        tracing::error!(%error, "GW-1007 DATA/token cannot be written; this start has one that nobody knows");
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_or_written_before_the_directory_is_known_to_be_ours() {
        let owned = Owned::default();
        let dir = std::env::temp_dir().join(format!("gw-owned-{}", std::process::id()));
        assert!(owned.make_dir(&dir).is_err() && owned.replace(&dir.join("x"), b"1").is_err() && !dir.exists());
        owned.0.store(true, Ordering::Release);
        owned.make_dir(&dir).expect("made");
        owned.replace(&dir.join("x"), b"1").expect("written");
        owned.0.store(false, Ordering::Release);
        assert!(owned.read(&dir.join("x")).is_err());
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn whoever_hears_late_that_another_has_the_directory_leaves_it_alone_until_it_is_free() {
        let dir = std::env::temp_dir().join(format!("gw-late-{}", std::process::id()));
        let health = Health::default();
        let (_, keeper) = take(&dir, &Health::default()).expect("free");
        // As behind a disk that did not answer in time: nobody listens any more.
        let (owned, (tell, _), (ends_when_dropped, ends)) = (Owned::default(), channel(), channel());
        let holder = Holder { data: dir.clone(), owned: owned.clone(), health: health.clone(), tell, ends };
        let thread = std::thread::spawn(move || holder.run());
        let until = |done: &dyn Fn() -> bool| {
            (0..500).any(|_| {
                std::thread::park_timeout(Duration::from_millis(10));
                done()
            })
        };
        assert!(until(&|| health.of(PART).is_some_and(|complaint| complaint.code == "GW-1003")));
        assert!(owned.names(&dir).is_err());
        drop(keeper);
        assert!(until(&|| owned.names(&dir).is_ok()), "it is free");
        drop(ends_when_dropped);
        thread.join().expect("ended");
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn a_second_process_is_refused_and_the_directory_is_free_when_the_first_has_ended() {
        let dir = std::env::temp_dir().join(format!("gw-taken-{}", std::process::id()));
        let health = Health::default();
        let (disk, keeper) = take(&dir, &health).expect("free");
        let own = || token(&dir, &disk, &health, |_| {});
        assert!(!own().is_empty() && own() == own());
        let Err(error) = take(&dir, &health) else { panic!("it is held") };
        assert!(error.to_string().contains("GW-1003"), "{error}");
        drop(keeper);
        let free = (0..500).any(|_| {
            std::thread::park_timeout(Duration::from_millis(10));
            take(&dir, &health).is_ok()
        });
        assert!(free, "five seconds later");
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
