//! The disk as the store sees it: a handful of operations, so that a modelled one can fail at each of them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// Files are the owner's alone, and so are directories.
pub const FILE_MODE: u32 = 0o600;
pub const DIR_MODE: u32 = 0o700;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    /// One that is there, for reading and writing.
    Write,
    /// One that must not be there yet.
    New,
    /// One that is made, or emptied.
    Fresh,
}

/// What a file system has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Octets that may still be written, and all that there are.
    pub free: u64,
    pub total: u64,
    /// Files that may still be made; `u64::MAX` where the file system sets no limit.
    pub free_files: u64,
}

/// A place for files.
pub trait Disk: Send + Sync {
    /// The names in a directory.
    ///
    /// # Errors
    /// What the disk said; so below.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;
    /// With all above it; no error when it is there.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// With all that is in it.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// What was made, renamed or removed in it survives a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Everything written anywhere on this file system survives a power cut.
    fn sync_all(&self, dir: &Path) -> io::Result<()>;
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// When it was last written, in seconds since 1970.
    fn written_s(&self, path: &Path) -> io::Result<i64>;

    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Access::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        let got = read_full(&*file, &mut bytes, 0)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// A file with these bytes in place of whatever it had: whole or not at all.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        let written = self.open(&temporary, Access::Fresh).and_then(|file| file.write_at(bytes, 0));
        let done = written.and_then(|()| self.rename(&temporary, path));
        if done.is_err() {
            let _ = self.remove(&temporary);
        }
        done
    }
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// # Errors
    /// What the disk said; so below.
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// What there is, up to the buffer's length.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Room for so many octets, as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Whether `path` still leads to this file.
    fn is_at(&self, path: &Path) -> bool;
}

/// Reads until the buffer is full or the file ends.
///
/// # Errors
/// What the disk said.
pub fn read_full(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// What is no file never comes to an end, or says nothing.
pub(crate) fn not_regular(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no regular file", path.display()))
}

/// Whether trying again is of no use: what lies there is no file.
pub(crate) fn is_for_good(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// The machine's own files.
pub struct Files;

impl Files {
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Files)
    }
}

impl Disk for Files {
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        // Opening what is no file must not wait for whoever is at its other end.
        options.read(true).mode(FILE_MODE).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        match access {
            Access::Read => {}
            Access::Write => drop(options.write(true)),
            Access::New => drop(options.write(true).create_new(true)),
            Access::Fresh => drop(options.write(true).create(true).truncate(true)),
        }
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(not_regular(path));
        }
        Ok(Box::new(file))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(dir)?)?)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let s = rustix::fs::statvfs(dir)?;
        let free_files = if s.f_files == 0 { u64::MAX } else { s.f_favail };
        Ok(Space { free: s.f_bavail * s.f_frsize, total: s.f_blocks * s.f_frsize, free_files })
    }

    fn written_s(&self, path: &Path) -> io::Result<i64> {
        Ok(std::fs::metadata(path)?.mtime())
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, len) {
            // A file system that cannot: the file grows as it is written.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn is_at(&self, path: &Path) -> bool {
        let (Ok(ours), Ok(theirs)) = (self.metadata(), std::fs::metadata(path)) else { return false };
        (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
    }
}
