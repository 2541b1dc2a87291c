//! The read model's thread: behind the journal, whatever happens to its file.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codecs::record::{AlertNo, Stamp};
use codecs::time::Wall;
use store::disk::Disk;
use store::journal::Reader;
use store::read_model::{self, About, BATCH, Error, ReadModel};
use switchboard::{Features, Similar};
use tokio::sync::watch;

use crate::inbox::casebook::Reached;
use crate::observe::health::Health;

/// The least time between two transactions: what has come meanwhile goes into one, and of an alert that changed several
/// times only the last revision.
const APART: Duration = Duration::from_millis(25);
/// Transactions after which it is looked at as others see it, or when nothing happens for a while.
const TURNS: u32 = 40;
/// Before a model that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Alerts of before a start that new ones are compared with.
const COMPARED: u32 = 20_000;

pub const PART: &str = "read-model";
/// Its first reading after a start.
pub const START: &str = "read-model-start";

pub struct Follower {
    pub disk: Arc<dyn Disk>,
    pub data: PathBuf,
    pub durable: watch::Receiver<Reached>,
    /// The last frame that it has read.
    pub reached: watch::Sender<u64>,
    /// Which alerts may be about the same event.
    pub similar: Arc<Mutex<Similar>>,
    pub health: Health,
    pub runtime: tokio::runtime::Handle,
}

impl Follower {
    /// Until the sender of `durable` is gone.
    pub fn run(mut self) {
        let Some(head) = self.runtime.block_on(Reached::head(&mut self.durable)) else { return };
        let mut is_own = false;
        loop {
            // What was made durable since counts as well, once the model is one of this journal.
            let head = if is_own { head.max(self.durable.borrow().last) } else { head };
            match self.follow(head, &mut is_own) {
                Ok(()) => return,
                Err(error) => {
                    self.tell(&error);
                    self.make_way(&error);
                    if self.has_ended_within(RETRY) {
                        return;
                    }
                }
            }
        }
    }

    fn tell(&self, error: &Error) {
        if self.health.worse(PART, "GW-3401", error.to_string()) {
            tracing::error!(%error, "GW-3401 the read model has stopped and is tried again; calls and sinks go on");
        }
        metrics::counter!("gateway_read_model_errors_total").increment(1);
    }

    /// Waits so long, or until nothing will become durable any more.
    fn has_ended_within(&mut self, time: Duration) -> bool {
        let ended = async {
            tokio::select! {
                () = tokio::time::sleep(time) => false,
                () = Reached::end(&mut self.durable) => true,
            }
        };
        self.runtime.block_on(ended)
    }

    /// A model that cannot be used, or that knows what the journal has lost, is kept beside and a new one is made.
    fn make_way(&self, error: &Error) {
        let name = match error {
            Error::Ahead { .. } => "ahead",
            _ if error.is_damage() => "damaged",
            _ => return,
        };
        let Ok(kept) = ReadModel::set_aside(&self.data, name) else { return };
        if matches!(error, Error::Ahead { .. }) {
            let what = format!("{error}: alerts are missing from it; what was seen of them is {}", kept.display());
            tracing::error!("GW-3402 {what}");
            metrics::counter!("gateway_journal_behind_total").increment(1);
            self.health.worse("journal-behind", "GW-3402", what);
        }
    }

    fn follow(&mut self, head: u64, is_own: &mut bool) -> Result<(), Error> {
        let mut model = ReadModel::open(&self.data, head)?;
        *is_own = true;
        self.reached.send_replace(model.cursor().sequence);
        if self.similar.lock().is_ok_and(|similar| similar.is_empty()) {
            read_model::latest(&self.data, COMPARED, |about| compare(&self.similar, about))?;
        }
        let mut turns = 0;
        let mut reader = Reader::new(Arc::clone(&self.disk), &self.data.join("journal"), model.cursor());
        loop {
            loop {
                let until = self.durable.borrow_and_update().last;
                let similar = &self.similar;
                let applied = match model.apply_and_show(&mut reader, until, |about| compare(similar, about)) {
                    // The reader counts its tries, and goes on behind what stays unreadable.
                    Err(error @ Error::Journal(_)) => {
                        self.tell(&error);
                        if self.has_ended_within(RETRY) {
                            return Ok(());
                        }
                        reader.again(model.cursor());
                        continue;
                    }
                    other => other?,
                };
                if applied > 0 {
                    self.reached.send_replace(model.cursor().sequence);
                }
                match applied {
                    0 => break,
                    BATCH => {}
                    _ => self.runtime.block_on(async { tokio::time::sleep(APART).await }),
                }
            }
            self.health.well(START);
            if self.health.well(PART) {
                tracing::info!("the read model follows the journal again");
            }
            // Looked after by itself as well: somebody may remove the file while nothing happens.
            let changed = async { tokio::time::timeout(RETRY, self.durable.changed()).await };
            match self.runtime.block_on(changed) {
                Ok(Err(_)) => return Ok(()),
                Ok(Ok(())) => turns += 1,
                Err(_) => turns = TURNS,
            }
            model.look()?;
            if turns >= TURNS {
                model.look_as_others_do()?;
                turns = 0;
            }
        }
    }
}

/// An alert as it is by now, for whoever looks for its like.
fn compare(similar: &Mutex<Similar>, about: &About) {
    let (Some(no), Ok(mut similar)) = (AlertNo::parse(&about.alert_no), similar.lock()) else { return };
    let features = Features {
        numbers: about.numbers.clone(),
        point: about.point,
        grid: about.grid.clone(),
        arrived: Stamp::from_rfc3339(&about.arrived).map_or(Wall(0), |stamp| stamp.0),
        category: about.category.clone(),
        pairs: Vec::new(),
    };
    similar.note(no, features.with_pairs(&about.said));
}
