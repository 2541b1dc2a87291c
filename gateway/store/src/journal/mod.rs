//! The journal: frames in segments of 64 MiB, appended, synced in groups, read by cursors.
//!
//! A segment is named by its first sequence number. Damage is told from a torn end by what lies behind it: sound frames
//! that go on with the numbers mean damage, which is told and passed over; nothing sound means a write that a crash cut
//! short, which nobody was told of.

mod cursor;
mod reader;
mod replay;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use cursor::{Cursor, CursorFile};
pub use reader::{Item, Read, Reader};
pub use replay::{Replayed, replay, set_aside};
pub use segment::{Damage, End, Link, Step, Walk, list as segments, path as segment_path, read_used};
pub use writer::{Config, Journal, Opened};

use std::io;

use codecs::journal::Kind;
use codecs::time::Wall;

/// Where in the files something stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Place {
    pub segment: u64,
    pub offset: u64,
}

/// What was appended since the process began: the first is 1.
pub type Ticket = u64;

/// Why nothing became durable.
#[derive(Debug)]
pub enum Trouble {
    /// The disk said so; it may be tried again.
    Disk(io::Error),
    /// Another node owns the numbers now: nothing more of this one's will ever be taken.
    Fenced,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Disk(error) => error.fmt(f),
            Trouble::Fenced => f.write_str("another node owns the numbers"),
        }
    }
}

/// The one door to what is durable. Frames go in, in their order; how far they are safe comes out, at once, late or in
/// bulk. Whoever stands behind it gives the numbers.
pub trait Door {
    /// Takes a frame. It is not durable before `durable` says so.
    fn append(&mut self, at: Wall, kind: Kind, payload: Vec<u8>) -> Ticket;

    /// What was appended since the last time belongs together: after a crash all of it is there or nothing.
    fn end_batch(&mut self);

    /// Octets that are not durable yet.
    fn waiting(&self) -> usize;

    /// Makes what waits durable, or begins to: some of it, or all.
    ///
    /// # Errors
    /// Nothing is lost by it: what waits goes on waiting, within bounds.
    fn commit(&mut self) -> Result<(), Trouble>;

    /// Everything up to here is durable.
    fn durable(&self) -> Ticket;

    /// The number of the last durable frame.
    fn last_sequence(&self) -> u64;

    /// Whether it is time for the next segment, and with it for a head and perhaps a snapshot.
    fn is_full(&self) -> bool;

    /// Begins the next segment.
    ///
    /// # Errors
    /// The old one goes on being used.
    fn begin_segment(&mut self) -> Result<(), Trouble>;

    /// Whether what was there before is gone, so that a start would find less than is known: a whole snapshot is wanted.
    fn take_renewed(&mut self) -> bool;

    /// Frames that were given up because too much waited.
    fn given_up(&self) -> u64;
}
