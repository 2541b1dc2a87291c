//! Puts the gateway together from a city: sockets bound, the journal's front read, threads started.
//!
//! Nothing that the disk can do keeps calls from being answered; what it cannot do is told, at /readyz and in the log.

mod bind;
mod control;
mod shards;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use codecs::webhook::Secret;
use metrics_exporter_prometheus::PrometheusHandle;
use store::disk::{Disk, Files};
use store::journal::{Config as JournalConfig, Journal};
use store::lock::{Lock, Unlocked, lock};
use switchboard::{CasebookConfig, KeywordTable};
use tokio::sync::watch;

use crate::api::talk::Notices;
use crate::api::who::Places;
use crate::channel::{Channels, Client};
use crate::city::City;
use crate::clock::{Clock, random};
use crate::config::{PortRange, Tls};
use crate::inbox::{Handle, Input};
use crate::observe::cores::{self, Plan};
use crate::observe::health::Health;
use crate::thread::Saboteur;
use crate::thread::casebook::{self, CasebookThread, Reached, Waiting};
use crate::thread::house::{self, House};
use crate::thread::read_model;
use crate::thread::recorder::{self, Recording, Taps};
use crate::thread::shard::{self, Links};

/// What is not in the city's tables.
pub struct Settings {
    pub unit: String,
    pub node: u8,
    pub realm: String,
    pub data: PathBuf,
    pub sip: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    /// Webhooks by themselves; none: beside the API.
    pub hooks: Option<SocketAddr>,
    pub tls: Option<Tls>,
    pub storage: house::Rules,
    pub rtp_address: IpAddr,
    pub rtp_advertise: IpAddr,
    /// What Via and Contact say, when it is not the bound address.
    pub sip_advertise: Option<SocketAddr>,
    pub rtp_ports: PortRange,
    pub rtp_shared: usize,
    /// At least one.
    pub shards: u16,
    /// A core for each shard, the rest for everybody else.
    pub pin: bool,
    pub sinks: Vec<SinkSettings>,
    /// Shown at /demo/peers.json.
    pub peers: Option<serde_json::Value>,
    /// The demo's alone.
    pub saboteur: Option<Arc<dyn Saboteur>>,
}

pub struct SinkSettings {
    pub name: String,
    pub url: String,
    pub secret: Secret,
    pub tries: u32,
}

/// Bound, and not answering yet.
struct Listeners {
    api: std::net::TcpListener,
    hooks: Option<std::net::TcpListener>,
    admin: std::net::TcpListener,
}

/// The running gateway.
pub struct Running {
    pub sip: SocketAddr,
    pub http: SocketAddr,
    pub hooks: Option<SocketAddr>,
    pub admin: SocketAddr,
    pub token: String,
    pub shards: Handle,
    pub runtime: tokio::runtime::Runtime,
    ready: watch::Sender<bool>,
    casebook: mpsc::Sender<casebook::Input>,
    channels: Channels,
    recorder: recorder::Inbox,
    threads: Threads,
    /// Dropped at the end: the house is left alone.
    _house: mpsc::Sender<()>,
    _lock: Option<Lock>,
}

struct Threads {
    /// In the order of their numbers.
    shards: Vec<JoinHandle<()>>,
    recorder: JoinHandle<()>,
    casebook: JoinHandle<()>,
    /// The read model and the sinks.
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// OPTIONS gets 503 and /readyz says no; calls go on.
    pub fn drain(&self) {
        self.ready.send_replace(false);
        self.shards.send(Input::Drain);
    }

    /// Hangs up what is left, writes what is to be written, ends every thread.
    pub fn stop(self) {
        self.channels.leave();
        // The first shard last: it writes what the others say over TCP.
        for (shard, thread) in self.threads.shards.into_iter().enumerate().rev() {
            self.shards.send_to(shard as u16, Input::Stop);
            let _ = thread.join();
        }
        // Then the recorder; the casebook hears of every recording.
        self.recorder.stop();
        let _ = self.threads.recorder.join();
        let _ = self.casebook.send(casebook::Input::Stop);
        let _ = self.threads.casebook.join();
        // They follow to the last frame, and wait by the runtime's clock.
        for reader in self.threads.readers {
            let _ = reader.join();
        }
        self.runtime.shutdown_timeout(Duration::from_millis(300));
    }
}

/// Takes the data directory. Where that cannot be, calls are answered all the same.
fn take_data(data: &Path, health: &Health) -> anyhow::Result<Option<Lock>> {
    match lock(data) {
        Ok(lock) => Ok(Some(lock)),
        Err(Unlocked::Held { pid }) => {
            anyhow::bail!("GW-1003 {} is held by pid {pid}: two gateways never share a data directory", data.display())
        }
        Err(Unlocked::Disk(error)) => {
            health.worse("data", "GW-1007", error.to_string());
            tracing::error!(%error, data = %data.display(), "GW-1007 the data directory cannot be used; calls are answered");
            Ok(None)
        }
    }
}

/// The installation's own token: kept in the data directory, made on the first start.
fn token(data: &Path) -> String {
    let path = data.join("token");
    // What is no file never comes to an end, or says nothing.
    let is_file = std::fs::metadata(&path).is_ok_and(|m| m.is_file());
    let kept = if is_file { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
    if !kept.trim().is_empty() {
        return kept.trim().to_owned();
    }
    let token = codecs::sip::auth::hex(&random::<16>());
    if let Err(error) = Files.replace(&path, token.as_bytes()) {
        tracing::error!(%error, "GW-1007 DATA/token cannot be written; this start has one that nobody knows");
    }
    token
}

fn casebook_config(city: &mut City, settings: &Settings) -> anyhow::Result<CasebookConfig> {
    let keywords = std::mem::take(&mut city.keywords);
    Ok(CasebookConfig {
        source: format!("/gw/{}/{}", settings.unit, settings.node),
        unit: settings.unit.clone(),
        node: settings.node,
        keywords: KeywordTable::new(keywords).map_err(|e| anyhow::anyhow!("keywords: {e}"))?,
        channels: std::mem::take(&mut city.channel_rules),
        grids: Arc::clone(&city.grids),
        subscribers: Arc::clone(&city.subscribers),
        patience: city.patience,
        stored_a_day: city.stored_a_day,
    })
}

/// # Errors
/// A taken port, a data directory that another process has: each said with its place.
pub fn start(mut city: City, mut settings: Settings, prometheus: PrometheusHandle) -> anyhow::Result<Running> {
    let clock = Clock::start();
    let health = Health::default();
    let limit = crate::observe::procfs::raise_descriptor_limit();
    tell_if_short(&city, &settings, limit as usize, &health);
    make_do(&mut city, &settings, limit as usize);
    let lock = take_data(&settings.data, &health)?;
    let (udp, tcp) = bind::sip(settings.sip)?;
    let listeners = Listeners {
        api: bind::http("HTTP", settings.http)?,
        hooks: settings.hooks.map(|address| bind::http("hooks", address)).transpose()?,
        admin: bind::http("admin", settings.admin)?,
    };
    let sip = udp.local_addr()?;
    let (http, admin) = (listeners.api.local_addr()?, listeners.admin.local_addr()?);
    let hooks = listeners.hooks.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
    let token = token(&settings.data);

    let disk = Files::shared();
    let waiting = Waiting::default();
    let (durable, durable_seen) = watch::channel(Reached::default());
    let (casebook_sender, casebook_inbox) = mpsc::channel();
    let (recorder_sender, recorder_inbox) = mpsc::channel();
    let recorder_inlet = recorder::Inbox::new(recorder_sender);
    let (notices, needed_from) = (Notices::default(), Arc::new(AtomicU64::new(0)));
    let idempotent = crate::api::idempotent::Idempotent::default();
    let config = casebook_config(&mut city, &settings)?;
    let places = Arc::new(Places {
        unit: settings.unit.clone(),
        seats: city.seats.iter().map(|s| s.id.clone()).collect(),
        officers: city.responders.iter().map(|r| (r.no.clone(), r.unit.clone())).collect(),
    });
    let dir = settings.data.join("journal");
    let journal = Journal::shut(Arc::clone(&disk), &dir, JournalConfig::of_node(settings.node));
    let casebook_links = casebook::Links {
        shards: None,
        channels: Channels::default(),
        notices: notices.clone(),
        waiting: waiting.clone(),
        idempotent: idempotent.clone(),
        durable,
        needed_from: Arc::clone(&needed_from),
        health: health.clone(),
    };
    let storage = (Arc::clone(&disk), dir, journal);
    let (mut thread, front) =
        CasebookThread::open(clock, storage, config, casebook_links, casebook_inbox, settings.shards);

    let (handle, mailboxes) = Handle::open(settings.shards, shard::WAKE)?;
    thread.links.shards = Some(handle.clone());
    // Numbers are there before the first call.
    handle.send_all(thread.shard_inbox.drain(..));
    let links = Links {
        shards: handle.clone(),
        casebook: casebook_sender.clone(),
        recorder: recorder_inlet.clone(),
        waiting: waiting.clone(),
        board: crate::observe::metrics::Board::default(),
        saboteur: settings.saboteur.clone(),
    };
    let shard_threads = shards::build(&mut city, &settings, (udp, tcp), &front, (clock, mailboxes, &links))?;

    let plan = settings.pin.then(|| Plan::new(&cores::usable(), usize::from(settings.shards))).flatten();
    if settings.pin && plan.is_none() {
        tracing::warn!(settings.shards, "GW-1005 fewer cores than shards and one more: nothing is pinned");
    }
    let runtime = runtime(plan.as_ref())?;
    let shared = control::Shared {
        clock,
        disk: Arc::clone(&disk),
        shards: handle.clone(),
        casebook: casebook_sender.clone(),
        waiting,
        durable: durable_seen.clone(),
        health: health.clone(),
        taps: Taps::default(),
        notices,
        idempotent,
        client: Client::open(),
        places,
    };
    let channels = control::channels(&mut city, &settings, &shared, &runtime)?;
    thread.links.channels = channels.clone();
    let (ready, ready_seen) = watch::channel(true);
    let replays = control::serve(
        &mut city,
        &settings,
        &shared,
        (&channels, &token),
        listeners,
        (prometheus, ready_seen),
        &runtime,
    )?;
    let mut readers = control::sinks(&mut settings, &shared, &replays, &runtime)?;

    let spawner = Spawner { ready: ready.clone() };
    let follower = read_model::Follower {
        disk: Arc::clone(&disk),
        data: settings.data.clone(),
        durable: durable_seen,
        health: health.clone(),
        runtime: runtime.handle().clone(),
    };
    readers.push(spawner.spawn("read-model", move || {
        cores::step_back();
        follower.run();
    })?);
    let (house_sender, stop) = mpsc::channel();
    let house = House {
        disk: Arc::clone(&disk),
        data: settings.data.clone(),
        clock,
        health: health.clone(),
        rules: settings.storage,
        needed_from,
        stop,
    };
    spawner.spawn("house", move || {
        cores::step_back();
        house.run();
    })?;
    let mut shard_handles = Vec::new();
    for (index, shard_thread) in shard_threads.into_iter().enumerate() {
        let core = plan.as_ref().map(|p| p.shards[index]);
        let work = move || {
            if let Some(Err(error)) = core.map(|core| cores::stay_on(&[core])) {
                tracing::warn!(index, %error, "GW-1006 the shard could not be pinned");
            }
            shard_thread.run();
        };
        shard_handles.push(spawner.spawn(&format!("shard-{index}"), work)?);
    }
    let recording = Recording {
        disk,
        data: settings.data.clone(),
        inbox: recorder_inbox,
        waiting: recorder_inlet.clone(),
        casebook: casebook_sender.clone(),
        taps: shared.taps.clone(),
        health,
        clock,
    };
    let recorder = spawner.spawn("recorder", move || {
        cores::step_back();
        recording.run();
    })?;
    let casebook = spawner.spawn("casebook", move || thread.run())?;
    Ok(Running {
        sip,
        http,
        hooks,
        admin,
        token,
        shards: handle,
        runtime,
        ready,
        casebook: casebook_sender,
        channels,
        recorder: recorder_inlet,
        threads: Threads { shards: shard_handles, recorder, casebook, readers },
        _house: house_sender,
        _lock: lock,
    })
}

/// Files, the listeners, epolls, sinks, channels.
const OTHERS: usize = 200;

/// Descriptors that the rated load needs.
fn needed(city: &City, settings: &Settings) -> usize {
    let media = if settings.rtp_shared > 0 { settings.rtp_shared * 2 } else { city.legs * 2 };
    media + LISTENERS * city.connections.all + OTHERS
}

/// With fewer descriptors than the rated load needs, media and connections have a half each of what there is, so that
/// neither takes the last one from the journal or from whoever asks how we are.
fn make_do(city: &mut City, settings: &Settings, limit: usize) {
    if limit >= needed(city, settings) {
        return;
    }
    let free = limit.saturating_sub(OTHERS.min(limit / 4));
    let pairs = (free / 4).saturating_sub(crate::net::ports::SPARE);
    city.legs = city.legs.min(pairs);
    let all = city.connections.all.min(free / 2 / LISTENERS).max(1);
    city.connections.all = all;
    city.connections.share = city.connections.share.min(all.div_ceil(2));
}

/// SIP, API, hooks, admin.
const LISTENERS: usize = 4;

/// Descriptors and ports that the rated load needs; with fewer it starts all the same.
fn tell_if_short(city: &City, settings: &Settings, limit: usize, health: &Health) {
    let needed = needed(city, settings);
    if limit < needed {
        let what = format!("{needed} descriptors are needed for the rated load, {limit} are to be had");
        tracing::warn!(what, "GW-1103 the rated load may not fit");
        health.worse("descriptors", "GW-1103", what);
    }
    let pairs = usize::from(settings.rtp_ports.to.saturating_sub(settings.rtp_ports.from)) / 2;
    if settings.rtp_shared == 0 && pairs < city.legs {
        let what = format!("{} media ports are needed for the rated load, listen.rtp.ports has {pairs}", city.legs);
        tracing::warn!(what, "GW-1104 the rated load may not fit");
        health.worse("media-ports", "GW-1104", what);
    }
}

/// Half of the cores at most: the other half is the shard's, the casebook's and the recorder's. One worker has nobody to
/// wake on another core for every message that passes between two tasks.
fn runtime(plan: Option<&Plan>) -> anyhow::Result<tokio::runtime::Runtime> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).div_euclid(2).clamp(1, 4);
    if let Some(plan) = plan {
        // Every thread that is started from here on begins there; a shard then moves to its own.
        cores::stay_on(&plan.others).context("GW-1006 node.pin")?;
    }
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .thread_name("control")
        .build()?)
}

struct Spawner {
    ready: watch::Sender<bool>,
}

impl Spawner {
    /// A thread whose end by a mistake of ours is the process's: nobody would do its work, and whoever watches the
    /// process starts it anew within a second. What was being said is in the recording log.
    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
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
