//! Every thread that is not the runtime's: what it is given, and what its end means.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::sync::watch;

use super::Base;
use switchboard::Similar;

use crate::inbox::casebook::{self, Reached};
use crate::observe::cores::{self, Plan};
use crate::thread::house::{self, House};
use crate::thread::recorder::{self, Recording, Taps};
use crate::thread::{read_model, shard};

pub(super) struct Spawner {
    pub ready: watch::Sender<bool>,
}

impl Spawner {
    pub(super) fn read_model(
        &self,
        base: &Base,
        (durable, reached): (watch::Receiver<Reached>, watch::Sender<u64>),
        similar: &Arc<Mutex<Similar>>,
        runtime: &tokio::runtime::Runtime,
    ) -> anyhow::Result<JoinHandle<()>> {
        base.health.worse(read_model::START, "GW-3401", "it has not read the journal yet");
        let follower = read_model::Follower {
            disk: Arc::clone(&base.disk),
            data: base.data.clone(),
            durable,
            reached,
            similar: Arc::clone(similar),
            health: base.health.clone(),
            runtime: runtime.handle().clone(),
        };
        self.spawn("read-model", move || {
            cores::step_back();
            follower.run();
        })
    }

    /// Dropping what it returns leaves the house alone.
    pub(super) fn house(
        &self,
        base: &Base,
        rules: house::Rules,
        (needed_from, casebook_at): (Arc<AtomicU64>, Arc<AtomicU64>),
    ) -> anyhow::Result<mpsc::Sender<()>> {
        let (sender, stop) = mpsc::channel();
        let house = House {
            disk: Arc::clone(&base.disk),
            data: base.data.clone(),
            clock: base.clock,
            health: base.health.clone(),
            rules,
            needed_from,
            casebook_at,
            stop,
        };
        self.spawn("house", move || {
            cores::step_back();
            house.run();
        })?;
        Ok(sender)
    }

    pub(super) fn shards(
        &self,
        threads: Vec<shard::ShardThread>,
        plan: Option<&Plan>,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let spawn = |(index, thread): (usize, shard::ShardThread)| {
            let core = plan.map(|p| p.shards[index]);
            self.spawn(&format!("shard-{index}"), move || {
                if let Some(Err(error)) = core.map(|core| cores::stay_on(&[core])) {
                    tracing::warn!(index, %error, "GW-1006 the shard could not be pinned");
                }
                thread.run();
            })
        };
        threads.into_iter().enumerate().map(spawn).collect()
    }

    pub(super) fn recorder(
        &self,
        base: &Base,
        inbox: mpsc::Receiver<recorder::Input>,
        inlet: &recorder::Inbox,
        casebook: &mpsc::Sender<casebook::Input>,
        taps: Taps,
    ) -> anyhow::Result<JoinHandle<()>> {
        let recording = Recording {
            disk: Arc::clone(&base.disk),
            data: base.data.clone(),
            inbox,
            waiting: inlet.clone(),
            casebook: casebook.clone(),
            taps,
            health: base.health.clone(),
            clock: base.clock,
        };
        self.spawn("recorder", move || {
            cores::step_back();
            recording.run();
        })
    }

    /// A thread whose end by a mistake of ours is the process's: nobody would do its work, and whoever watches the
    /// process starts it anew within a second. What was being said is in the recording log.
    pub(super) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
        let (ready, thread) = (self.ready.clone(), name.to_owned());
        let guarded = move || {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok() {
                return;
            }
            tracing::error!(thread, "GW-1004 a thread has failed; the process ends");
            ready.send_replace(false);
            crate::observe::log::flush();
            std::process::exit(1);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(guarded).with_context(|| format!("thread {name}"))
    }
}
