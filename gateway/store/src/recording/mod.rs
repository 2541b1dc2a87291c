//! Recordings: while a call lives its audio goes into a log that all calls share; at its end, or when a crash ended it,
//! WAV files are cut from the log.

mod cut;
mod log;
mod recover;
#[cfg(test)]
mod tests;

use codecs::record::{AlertNo, Media};

pub use cut::{MANIFEST, Manifest};
pub use log::RecordingLog;
pub use recover::{Left, recover};

/// The name of a track's file without its suffix.
pub type TrackName = fn(u8) -> String;

/// Files that were cut.
#[derive(Clone, PartialEq, Debug)]
pub struct Cut {
    pub no: AlertNo,
    pub media: Vec<Media>,
}

/// A call of one run of the process: keys begin anew with each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Call {
    run: u16,
    key: u64,
    no: AlertNo,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.run, self.key)
    }
}
