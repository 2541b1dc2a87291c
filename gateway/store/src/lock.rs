//! One process a data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::disk::{DIR_MODE, Disk as _, FILE_MODE, Files};

/// The directory is this process's for as long as this lives.
pub struct Lock {
    _file: File,
}

#[derive(Debug)]
pub enum Unlocked {
    /// Somebody else has it; their process, as far as they said.
    Held { pid: String },
    /// It could not be asked for: read-only, full, gone.
    Disk(io::Error),
}

/// Makes the data directory its owner's alone, and takes it.
///
/// # Errors
/// When another process has it, or the disk does not let itself be asked.
pub fn lock(data: &Path) -> Result<Lock, Unlocked> {
    let made = Files.make_dir(data);
    // As 0.1.0 left it, everybody on the machine may read it.
    let _ = std::fs::set_permissions(data, std::fs::Permissions::from_mode(DIR_MODE));
    let path = data.join("lock");
    let writable = OpenOptions::new().read(true).write(true).create(true).mode(FILE_MODE).open(&path);
    let (mut file, writable) = match writable {
        Ok(file) => (file, true),
        Err(error) => match File::open(&path) {
            Ok(file) => (file, false),
            Err(_) => return Err(Unlocked::Disk(made.err().unwrap_or(error))),
        },
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(Unlocked::Held { pid: pid.trim().to_owned() });
        }
        Err(error) => return Err(Unlocked::Disk(error.into())),
    }
    if writable {
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    }
    Ok(Lock { _file: file })
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
}
