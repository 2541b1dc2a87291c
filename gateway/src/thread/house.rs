//! Keeping house: what the disk has left, what is old enough to go.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use codecs::time::Mono;
use store::disk::Disk;
use store::retention::{Gone, Keep, remove_old};

use crate::clock::Clock;
use crate::observe::health::Health;

const LOOK: Duration = Duration::from_secs(2);
/// Looks between two at the disk, and between two rounds of removing.
const DISK: u64 = 5;
const ROUND: u64 = 1800;
const PART: &str = "disk";
/// The part that keeps records, as readiness calls it.
const CASEBOOK: &str = "casebook";
/// A thread that has not looked about for so long does not answer: it looks each second.
const SILENT: Duration = Duration::from_secs(10);

/// What is kept how long, and how little room is too little.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub keep: Keep,
    /// Octets that should be free.
    pub low_water: u64,
}

pub struct House {
    pub disk: Arc<dyn Disk>,
    pub data: PathBuf,
    pub clock: Clock,
    pub health: Health,
    pub rules: Rules,
    /// The first frame that a start or a sink still needs.
    pub needed_from: Arc<AtomicU64>,
    /// When the casebook's thread looked about last, in nanoseconds of our clock; 0: it has not begun.
    pub casebook_at: Arc<AtomicU64>,
    /// Disconnected at the end.
    pub stop: Receiver<()>,
}

impl House {
    pub fn run(self) {
        for look in 0u64.. {
            self.look_after_casebook();
            if look % DISK == 0 {
                self.look();
            }
            if look % ROUND == 0 {
                self.tidy();
            }
            match self.stop.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Calls go on without it, so that nobody would notice by them.
    fn look_after_casebook(&self) {
        let at = Mono(self.casebook_at.load(Ordering::Relaxed));
        let Some(silent) = silent_for(self.clock.mono(), at) else {
            if self.health.well(CASEBOOK) {
                tracing::warn!("the casebook answers again");
            }
            return;
        };
        let what = format!("it has not looked about for {} s", silent.as_secs());
        if self.health.worse(CASEBOOK, "GW-1010", what.clone()) {
            tracing::error!(what, "GW-1010 the casebook does not answer; calls go on, nothing is put on record");
        }
    }

    fn look(&self) {
        let space = match self.disk.space(&self.data) {
            Ok(space) => space,
            Err(error) => {
                if self.health.worse(PART, "GW-3501", error.to_string()) {
                    tracing::error!(%error, "GW-3501 the data directory cannot be looked at");
                }
                return;
            }
        };
        metrics::gauge!("gateway_disk_free_bytes").set(space.free as f64);
        metrics::gauge!("gateway_disk_bytes").set(space.total as f64);
        if space.free_files < u64::MAX {
            metrics::gauge!("gateway_disk_free_files").set(space.free_files as f64);
        }
        let low = space.free < self.rules.low_water || space.free_files < 1000;
        if low {
            let what = format!("{} MiB and {} files left", space.free / 1024 / 1024, space.free_files);
            if self.health.worse(PART, "GW-3502", what.clone()) {
                tracing::error!(what, "GW-3502 the disk is nearly full; calls go on without it once it is");
            }
        } else if self.health.well(PART) {
            tracing::info!("the disk has room again");
        }
    }

    fn tidy(&self) {
        let now_s = self.clock.wall().0 / 1_000_000_000;
        let needed_from = self.needed_from.load(Ordering::Relaxed);
        match remove_old(&*self.disk, &self.data, now_s, self.rules.keep, needed_from) {
            Ok(gone) if gone == Gone::default() => {}
            Ok(gone) => tracing::info!(?gone, "removed what is older than it is kept"),
            Err(error) => tracing::warn!(%error, "GW-3503 what is old could not be removed"),
        }
    }
}

/// For how long a thread has not looked about, where that is too long; none too: it has not begun.
fn silent_for(now: Mono, at: Mono) -> Option<Duration> {
    Some(now.since(at)).filter(|silent| at.0 != 0 && *silent >= SILENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_not_looked_about_for_ten_seconds_does_not_answer() {
        let at = |seconds: u64| Mono(seconds * 1_000_000_000);
        assert_eq!(silent_for(at(100), at(0)), None, "it has not begun");
        assert_eq!(silent_for(at(100), at(91)), None);
        assert_eq!(silent_for(at(100), at(90)), Some(Duration::from_secs(10)));
    }
}
