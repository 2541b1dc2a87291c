//! Files that came with messages, under their hash.

use std::io;
use std::path::Path;

use codecs::record::AlertNo;
use codecs::sip::auth::hex;
use sha2::{Digest as _, Sha256};

use crate::disk::{Access, Disk};

/// A stored file: path below the data directory, its hash and its octets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    pub uri: String,
    pub sha256: String,
    pub len: u64,
}

/// Writes a file under its hash, and syncs it: the record will name it.
///
/// # Errors
/// What the disk said.
pub fn store(disk: &dyn Disk, data: &Path, no: AlertNo, bytes: &[u8], kind: &str) -> io::Result<Stored> {
    let sha256 = hex(&Sha256::digest(bytes));
    let suffix = match kind.split(';').next().unwrap_or_default().trim() {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "video/mp4" => "mp4",
        "audio/amr" => "amr",
        "audio/speex" => "speex",
        "audio/silk" => "silk",
        _ => "bin",
    };
    let dir = data.join(format!("media/{no}"));
    let name = format!("{sha256}.{suffix}");
    disk.make_dir(&dir)?;
    let file = disk.open(&dir.join(&name), Access::Fresh)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.sync_dir(&dir)?;
    Ok(Stored { uri: format!("media/{no}/{name}"), sha256, len: bytes.len() as u64 })
}
