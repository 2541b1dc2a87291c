//! Reading everything that a start needs: from the newest whole snapshot on.

use std::io;
use std::path::Path;

use codecs::journal::{Frame, Kind};
use codecs::record::Note;

use super::segment::{self, Damage, Link, Step, Walk};
use crate::disk::{Access, Disk, read_full};

/// What a replay meets, in order.
pub enum Replayed<'a> {
    Frame(&'a Frame<'a>),
    Damage(Damage),
}

/// Hands over the frames numbered `upto` or below, from the newest whole snapshot on; `whole`: from the very first. Of
/// what is damaged it tells, and goes on behind it.
///
/// # Errors
/// When the directory cannot be read.
pub fn replay(
    disk: &dyn Disk,
    dir: &Path,
    upto: u64,
    whole: bool,
    mut take: impl FnMut(Replayed<'_>),
) -> io::Result<()> {
    let all = segment::list(disk, dir)?;
    let begin = if whole { 0 } else { snapshot(disk, dir, &all) };
    let mut link: Option<Link> = None;
    for &first in all.iter().skip(begin).take_while(|first| **first <= upto) {
        let Ok(bytes) = segment::read_used(disk, &segment::path(dir, first)) else {
            take(Replayed::Damage(Damage::unreadable(first)));
            continue;
        };
        let mut walk = Walk::new(&bytes, first, &all, link);
        for step in &mut walk {
            match step {
                Step::Frame { frame, .. } if frame.sequence > upto => return Ok(()),
                Step::Frame { frame, .. } => take(Replayed::Frame(&frame)),
                Step::Damage(damage) => take(Replayed::Damage(damage)),
            }
        }
        if let Some(damage) = walk.damaged_end() {
            take(Replayed::Damage(damage));
        }
        link = walk.link();
    }
    Ok(())
}

/// Where among the segments the newest whole snapshot begins; the very first one needs none.
fn snapshot(disk: &dyn Disk, dir: &Path, all: &[u64]) -> usize {
    let mut ended = false;
    for (i, &first) in all.iter().enumerate().rev() {
        let Ok(bytes) = segment::read_used(disk, &segment::path(dir, first)) else { continue };
        if let Some(begun) = told_by_head(&bytes) {
            return all.iter().position(|s| *s == begun).unwrap_or(0);
        }
        let (mut rest, mut begun, mut ended_here) = (&bytes[..], false, false);
        while let Ok((frame, len)) = Frame::read(rest) {
            match frame.kind {
                // One that was cut short by a crash is followed by another, or by none.
                Kind::SnapshotBegin => (begun, ended_here) = (true, false),
                Kind::SnapshotEnd => ended_here = true,
                Kind::Event | Kind::Grant | Kind::Snapshot | Kind::Duty | Kind::Note => {}
            }
            rest = &rest[len..];
        }
        if begun && (ended_here || ended) {
            return i;
        }
        // An end without its beginning belongs to an older segment; a beginning without an end is of no use.
        ended = !begun && (ended || ended_here);
    }
    0
}

fn told_by_head(bytes: &[u8]) -> Option<u64> {
    let (frame, _) = Frame::read(bytes).ok()?;
    match Note::parse(frame.payload).filter(|_| frame.kind == Kind::Note)? {
        Note::Head { snapshot, .. } => Some(snapshot),
        _ => None,
    }
}

/// Keeps a copy of damaged octets beside their segment, for whoever will look into it.
///
/// # Errors
/// What the disk said.
pub fn set_aside(disk: &dyn Disk, dir: &Path, damage: &Damage) -> io::Result<()> {
    if damage.len == 0 {
        return Ok(());
    }
    let kept = dir.join(format!("{:020}-{}.damaged", damage.at.segment, damage.at.offset));
    if disk.open(&kept, Access::Read).is_ok() {
        return Ok(());
    }
    let file = disk.open(&segment::path(dir, damage.at.segment), Access::Read)?;
    let mut bytes = vec![0; usize::try_from(damage.len).map_err(io::Error::other)?];
    let got = read_full(&*file, &mut bytes, damage.at.offset)?;
    disk.replace(&kept, &bytes[..got])
}
