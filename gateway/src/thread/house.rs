//! Keeping house: what the disk has left, what is old enough to go.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use store::disk::Disk;
use store::retention::{Gone, Keep, remove_old};

use crate::clock::Clock;
use crate::observe::health::Health;

const LOOK: Duration = Duration::from_secs(10);
/// Looks between two rounds of removing.
const ROUND: u64 = 360;
const PART: &str = "disk";

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
    /// Disconnected at the end.
    pub stop: Receiver<()>,
}

impl House {
    pub fn run(self) {
        for look in 0u64.. {
            self.look();
            if look % ROUND == 0 {
                self.tidy();
            }
            match self.stop.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
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
