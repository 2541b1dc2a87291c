//! A disk in memory: what is written is seen at once and safe once it is synced; it fails when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use store::disk::{Access, Disk, DiskFile, Space};

use crate::chance::Chance;

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    /// What unsynced writes have replaced, oldest first: where, and what stood there.
    undo: Vec<(usize, Vec<u8>)>,
}

type File = Arc<Mutex<Content>>;

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, File>,
    /// Operations that still work; none: all of them.
    works_for: Option<u32>,
}

/// Shared with whoever has a file of it open.
#[derive(Clone, Default)]
pub struct ModelDisk(Arc<Mutex<State>>);

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("one thread uses it")
}

impl ModelDisk {
    /// From now on so many operations work, and none after them.
    pub fn fail_after(&self, operations: u32) {
        locked(&self.0).works_for = Some(operations);
    }

    pub fn heal(&self) {
        locked(&self.0).works_for = None;
    }

    /// Octets that are there at once and for good, in a file that is made where there is none: somebody else sees to it.
    pub fn put(&self, path: &Path, offset: u64, bytes: &[u8]) {
        let file = Arc::clone(locked(&self.0).files.entry(path.to_owned()).or_default());
        let mut content = locked(&file);
        content.bytes.truncate(offset as usize);
        content.bytes.extend_from_slice(bytes);
    }

    fn operate(&self) -> io::Result<()> {
        match &mut locked(&self.0).works_for {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the disk does not work")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// The power is gone: of what was not synced any sector may be missing, or all from one on.
    pub fn crash(&self, chance: &mut Chance) {
        for file in locked(&self.0).files.values() {
            let mut content = locked(file);
            let kept = chance.below(content.undo.len() as u64 + 1) as usize;
            let missing = if chance.percent(50) { 100 } else { 30 };
            let mut undo = std::mem::take(&mut content.undo);
            for (at, before) in undo.drain(kept..).rev() {
                let mut from = 0;
                while from < before.len() {
                    let to = ((at + from) / SECTOR * SECTOR + SECTOR - at).min(before.len());
                    if chance.percent(missing) {
                        content.bytes[at + from..at + to].copy_from_slice(&before[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

struct ModelFile {
    disk: ModelDisk,
    content: File,
}

impl Disk for ModelDisk {
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = locked(&self.0);
        let here = state.files.keys().filter_map(|p| p.strip_prefix(dir).ok()?.components().next());
        let names: BTreeSet<String> = here.map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        Ok(names.into_iter().collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        if access != Access::Read {
            self.operate()?;
        }
        let mut state = locked(&self.0);
        let there = state.files.get(path).cloned();
        let content = match (access, there) {
            (Access::Read | Access::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Access::New, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Access::Read | Access::Write, Some(content)) => content,
            (Access::New | Access::Fresh, _) => {
                let content = File::default();
                state.files.insert(path.to_owned(), Arc::clone(&content));
                content
            }
        };
        Ok(Box::new(ModelFile { disk: self.clone(), content }))
    }

    fn make_dir(&self, _: &Path) -> io::Result<()> {
        self.operate()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate()?;
        let mut state = locked(&self.0);
        let moved: Vec<PathBuf> = state.files.keys().filter(|p| p.starts_with(from)).cloned().collect();
        if moved.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        // A file takes the place of another; a directory only where there is none.
        if !state.files.contains_key(from) && state.files.keys().any(|p| p.starts_with(to)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        for path in moved {
            let rest = path.strip_prefix(from).unwrap_or(&path);
            let target = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            if let Some(content) = state.files.remove(&path) {
                state.files.insert(target, content);
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate()?;
        locked(&self.0).files.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.operate()?;
        locked(&self.0).files.retain(|p, _| !p.starts_with(dir));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.operate()
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        self.operate()?;
        locked(&self.0).files.values().for_each(|f| locked(f).undo.clear());
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { free: u64::MAX, total: u64::MAX, free_files: u64::MAX })
    }

    fn written_s(&self, _: &Path) -> io::Result<i64> {
        Ok(0)
    }
}

impl DiskFile for ModelFile {
    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.content).bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = locked(&self.content);
        let rest = content.bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    /// One that fails has written half.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let result = self.disk.operate();
        let bytes = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let mut content = locked(&self.content);
        let (begin, end) = (offset as usize, offset as usize + bytes.len());
        let len = content.bytes.len().max(end);
        content.bytes.resize(len, 0);
        let before = content.bytes[begin..end].to_vec();
        content.undo.push((begin, before));
        content.bytes[begin..end].copy_from_slice(bytes);
        result
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        self.disk.operate()
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.operate()?;
        locked(&self.content).undo.clear();
        Ok(())
    }

    fn is_at(&self, path: &Path) -> bool {
        locked(&self.disk.0).files.get(path).is_some_and(|f| Arc::ptr_eq(f, &self.content))
    }
}
