//! The data directory is one process's: nothing is read or written there before it is known to be ours, and nobody waits
//! for a disk that does not answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use store::disk::{Access, Disk, DiskFile, Files, Space};
use store::lock::{Identity, Lock, Unlocked, lock};

use crate::clock::random;
use crate::observe::health::Health;

/// What a start waits for each thing that it wants of the data directory; without it calls are answered all the same.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// As readiness calls it.
const PART: &str = "data";

/// The machine's files, once the directory is ours, and as long as its path leads to the one that was taken.
#[derive(Clone)]
struct Owned {
    data: PathBuf,
    is_ours: Arc<AtomicBool>,
    /// The directory that was taken; none: there has been none yet.
    taken: Arc<Mutex<Option<Identity>>>,
}

/// What may be different in a moment.
fn not_now(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, what)
}

impl Owned {
    fn new(data: &Path) -> Owned {
        Owned { data: data.to_owned(), is_ours: Arc::default(), taken: Arc::default() }
    }

    /// The directory that the path leads to, if it is ours; none: none was taken yet, and none lies there.
    fn place(&self) -> io::Result<Option<Identity>> {
        if !self.is_ours.load(Ordering::Acquire) {
            return Err(not_now("the data directory is not known to be ours yet"));
        }
        let taken = self.taken.lock().map_or(None, |taken| *taken);
        let there = Identity::of(&self.data);
        match there {
            there if taken.is_none() || there == taken => Ok(there),
            // Moved or removed: whoever starts next looks here, and finds nothing of what was written there.
            None => Err(not_now("the data directory is gone from where it was")),
            Some(_) => Err(not_now("another directory lies where the data directory was")),
        }
    }

    fn files(&self) -> io::Result<Files> {
        self.place().map(|_| Files)
    }

    /// What was taken and has gone since is missed until it is back, or something else is taken.
    fn set(&self, is_ours: bool) {
        if is_ours && let Ok(mut taken) = self.taken.lock() {
            *taken = Identity::of(&self.data).or(*taken);
        }
        self.is_ours.store(is_ours, Ordering::Release);
    }
}

impl Disk for Owned {
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.files()?.names(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let place = self.place()?;
        let file = Files.open(path, access)?;
        Ok(Box::new(OwnedFile { file, owned: self.clone(), within: place.or_else(|| Identity::of(&self.data)) }))
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

/// A file that was opened while the directory was ours: nothing more is written to it once it is not, or is elsewhere.
struct OwnedFile {
    file: Box<dyn DiskFile>,
    owned: Owned,
    /// The directory in which it was opened.
    within: Option<Identity>,
}

impl OwnedFile {
    /// Whether whoever starts next finds it.
    fn is_to_be_found(&self) -> io::Result<()> {
        if self.owned.place()? == self.within {
            return Ok(());
        }
        Err(not_now("the file lies in the data directory that was here before"))
    }
}

impl DiskFile for OwnedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.is_to_be_found()?;
        self.file.write_at(bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.is_to_be_found()?;
        self.file.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        // Nothing is acknowledged that lies where nobody looks.
        self.is_to_be_found()
    }

    fn is_at(&self, path: &Path) -> bool {
        self.file.is_at(path)
    }
}

/// Keeps the directory for as long as it lives.
pub(super) struct Keeper(#[expect(dead_code, reason = "its end is what it is for")] Sender<()>);

/// Takes the data directory: its files, and what keeps them ours.
///
/// # Errors
/// When another process has it.
pub(super) fn take(data: &Path, health: &Health) -> anyhow::Result<(Arc<dyn Disk>, Keeper)> {
    let owned = Owned::new(data);
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
        let (mut is_anothers, mut is_taken, mut held) = (false, false, None::<Lock>);
        loop {
            let in_place = is_taken && held.as_ref().is_some_and(|lock| lock.is_in_place(&self.data));
            if !in_place {
                let taken = match held.take() {
                    // Somebody has put something else in its place: what lies there now is asked for.
                    Some(mut before) => {
                        let again = before.again(&self.data);
                        held = Some(before);
                        again
                    }
                    None => lock(&self.data).map(|first| held = Some(first)),
                };
                is_taken = taken.is_ok();
                match taken {
                    Ok(()) => {
                        is_anothers = false;
                        self.is_held(held.as_ref().and_then(Lock::complaint));
                    }
                    Err(why) => self.is_not_held(why, &mut is_anothers),
                }
            }
            // Until whoever keeps it is gone.
            if self.ends.recv_timeout(RETRY) != Err(RecvTimeoutError::Timeout) {
                return drop(held);
            }
        }
    }

    fn is_held(&self, complaint: Option<&io::Error>) {
        self.owned.set(true);
        self.health.well(PART);
        if let Some(error) = complaint {
            tracing::warn!(%error, "GW-1007 the lock's file cannot be used; the directory itself is held");
        }
        let _ = self.tell.send(None);
    }

    fn is_not_held(&self, why: Unlocked, is_anothers: &mut bool) {
        match why {
            Unlocked::Held { pid } => {
                let data = self.data.display();
                let what = format!("GW-1003 {data} is held by pid {pid}: two gateways never share a data directory");
                self.owned.set(false);
                self.health.worse(PART, "GW-1003", &what);
                if !std::mem::replace(is_anothers, true) {
                    tracing::error!("{what}");
                }
                let _ = self.tell.send(Some(what));
            }
            Unlocked::Disk(error) => {
                // What can be kept is kept once it can, unless another process was seen to have it.
                self.owned.set(!*is_anothers);
                if self.health.worse(PART, "GW-1007", error.to_string()) {
                    let data = self.data.display();
                    tracing::error!(%error, %data, "GW-1007 the data directory cannot be used; calls are answered");
                }
                let _ = self.tell.send(None);
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
        let dir = std::env::temp_dir().join(format!("gw-owned-{}", std::process::id()));
        let owned = Owned::new(&dir);
        assert!(owned.make_dir(&dir).is_err() && owned.replace(&dir.join("x"), b"1").is_err() && !dir.exists());
        owned.set(true);
        owned.make_dir(&dir).expect("made");
        owned.replace(&dir.join("x"), b"1").expect("written");
        let file = owned.open(&dir.join("x"), Access::Fresh).expect("opened");
        file.write_at(b"1", 0).and_then(|()| file.sync()).expect("written");
        owned.set(false);
        assert!(owned.read(&dir.join("x")).is_err());
        assert!(file.write_at(b"2", 0).is_err() && file.sync().is_err(), "opened while it was ours");
        // Nothing where it was is not ours, whoever has not noticed yet, nor is what somebody makes there.
        owned.set(true);
        let moved = dir.with_extension("moved");
        let writes = || file.write_at(b"3", 0).and_then(|()| file.sync());
        std::fs::rename(&dir, &moved).expect("moved");
        assert!(owned.make_dir(&dir).is_err() && owned.replace(&dir.join("x"), b"1").is_err() && writes().is_err());
        // That it cannot be asked for makes it no other.
        owned.set(true);
        assert!(writes().is_err());
        std::fs::rename(&moved, &dir).expect("moved back");
        writes().expect("it is back");
        std::fs::rename(&dir, &moved).expect("moved");
        std::fs::create_dir(&dir).expect("made");
        assert!(owned.replace(&dir.join("x"), b"1").is_err() && writes().is_err());
        // Once the other one is taken, what was opened in the one before is written to no more.
        owned.set(true);
        owned.replace(&dir.join("x"), b"1").expect("written");
        assert!(writes().is_err());
        std::fs::remove_dir_all(&moved).expect("removed");
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn whoever_hears_late_that_another_has_the_directory_leaves_it_alone_until_it_is_free() {
        let dir = std::env::temp_dir().join(format!("gw-late-{}", std::process::id()));
        let health = Health::default();
        let (_, keeper) = take(&dir, &Health::default()).expect("free");
        // As behind a disk that did not answer in time: nobody listens any more.
        let (owned, (tell, _), (ends_when_dropped, ends)) = (Owned::new(&dir), channel(), channel());
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
    fn a_directory_that_is_moved_away_is_made_anew_and_what_lies_in_the_one_before_is_never_taken_for_kept() {
        let dir = std::env::temp_dir().join(format!("gw-moved-{}", std::process::id()));
        let moved = dir.with_extension("away");
        let (disk, keeper) = take(&dir, &Health::default()).expect("free");
        let file = disk.open(&dir.join("x"), Access::Fresh).expect("opened");
        let writes = || file.write_at(b"1", 0).and_then(|()| file.sync());
        writes().expect("written");
        std::fs::rename(&dir, &moved).expect("moved");
        let anew = (0..500).any(|_| {
            assert!(writes().is_err(), "nothing is acknowledged that lies where nobody looks");
            std::thread::park_timeout(Duration::from_millis(10));
            disk.replace(&dir.join("y"), b"1").is_ok()
        });
        assert!(anew && writes().is_err(), "five seconds later");
        drop(keeper);
        std::fs::remove_dir_all(&moved).expect("removed");
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
