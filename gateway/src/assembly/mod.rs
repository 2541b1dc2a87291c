//! Puts the gateway together from a city: sockets bound, the journal's front read, threads started.
//!
//! Nothing that the disk can do keeps calls from being answered; what it cannot do is told, at /readyz and in the log.

mod bind;
mod control;
mod data;
mod shards;
mod spawner;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use store::disk::Disk;
use store::journal::Config as JournalConfig;
use switchboard::replay::Front;
use switchboard::{CasebookConfig, KeywordTable, Suggestions};
use tokio::sync::watch;

use crate::api::rights::Places;
use crate::api::signed::Installation;
use crate::channel::{Channels, Client};
use crate::city::City;
use crate::clock::{Clock, random};
use crate::config::{PortRange, Tls};
use crate::inbox::{Handle, Input};
use data::Keeper;
use spawner::Spawner;

use crate::inbox::casebook::{self, Reached, Waiting};
use crate::inbox::keys::Keys;
use crate::inbox::notices::Notices;
use crate::inbox::withheld::Withheld;
use crate::observe::cores::{self, Plan};
use crate::observe::health::Health;
use crate::sink::excerpt::Excerpt;
use crate::sink::way::To;
use crate::thread::Saboteur;
use crate::thread::casebook::{CasebookThread, Links as CasebookLinks};
use crate::thread::house;
use crate::thread::recorder::{self, Taps};
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
    pub to: To,
    pub tries: u32,
    /// The target of the rules that it tells.
    pub target: Option<String>,
    pub excerpt: Excerpt,
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
    /// Dropped at the end: the data directory is free.
    _keeper: Keeper,
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

fn casebook_config(city: &mut City, settings: &Settings) -> anyhow::Result<CasebookConfig> {
    let keywords = std::mem::take(&mut city.keywords);
    Ok(CasebookConfig {
        source: format!("/gw/{}/{}", settings.unit, settings.node),
        unit: settings.unit.clone(),
        node: settings.node,
        shards: settings.shards,
        luck: u32::from_le_bytes(random()),
        keywords: KeywordTable::new(keywords, &city.sounds).map_err(|e| anyhow::anyhow!("keywords: {e}"))?,
        suggestions: std::mem::replace(&mut city.suggestions, Suggestions::none()),
        rules: std::mem::take(&mut city.rules),
        channels: std::mem::take(&mut city.channel_rules),
        grids: Arc::clone(&city.grids),
        subscribers: Arc::clone(&city.subscribers),
        patience: city.patience,
        stored_a_day: city.stored_a_day,
        orders: city.orders.take().map(Arc::new),
    })
}

/// What every part of the process is given.
#[derive(Clone)]
struct Base {
    clock: Clock,
    health: Health,
    disk: Arc<dyn Disk>,
    data: PathBuf,
}

/// Sockets, bound before anything starts.
struct Bound {
    sip: (std::net::UdpSocket, std::net::TcpListener),
    listeners: Listeners,
}

impl Bound {
    fn open(settings: &Settings) -> anyhow::Result<Bound> {
        let sip = bind::sip(settings.sip)?;
        let listeners = Listeners {
            api: bind::http("HTTP", settings.http)?,
            hooks: settings.hooks.map(|address| bind::http("hooks", address)).transpose()?,
            admin: bind::http("admin", settings.admin)?,
        };
        Ok(Bound { sip, listeners })
    }
}

/// The casebook over its journal, not running yet, and what others hear of it by.
struct Kept {
    thread: CasebookThread,
    front: Front,
    sender: mpsc::Sender<casebook::Input>,
    waiting: Waiting,
    notices: Notices,
    keys: Keys,
    withheld: Withheld,
    durable: watch::Receiver<Reached>,
    needed_from: Arc<AtomicU64>,
    casebook_at: Arc<AtomicU64>,
    /// The last frame that the read model has read.
    modelled: watch::Sender<u64>,
}

impl Kept {
    fn open(city: &mut City, settings: &Settings, base: &Base) -> anyhow::Result<Kept> {
        let (durable_sender, durable) = watch::channel(Reached::default());
        let (sender, inbox) = mpsc::channel();
        let (waiting, notices, keys) = (Waiting::default(), Notices::new(Arc::clone(&city.grids)), Keys::default());
        let withheld = Withheld::default();
        let needed_from = Arc::new(AtomicU64::new(0));
        let casebook_at = Arc::new(AtomicU64::new(0));
        let dir = base.data.join("journal");
        let links = CasebookLinks {
            shards: None,
            channels: Channels::default(),
            notices: notices.clone(),
            waiting: waiting.clone(),
            keys: keys.clone(),
            withheld: withheld.clone(),
            durable: durable_sender,
            needed_from: Arc::clone(&needed_from),
            looked_at: Arc::clone(&casebook_at),
            health: base.health.clone(),
        };
        let storage = (Arc::clone(&base.disk), dir, JournalConfig::of_node(settings.node));
        let config = casebook_config(city, settings)?;
        let (thread, front) = CasebookThread::open(base.clock, storage, config, links, inbox, settings.shards);
        Ok(Kept {
            thread,
            front,
            sender,
            waiting,
            notices,
            keys,
            withheld,
            durable,
            needed_from,
            casebook_at,
            modelled: watch::Sender::new(0),
        })
    }
}

fn places(city: &City, unit: &str) -> Places {
    let police = city.responders.iter().filter(|r| r.role.is_police());
    let agency = |r: &&switchboard::Responder| r.role == codecs::record::Role::Agency;
    Places {
        unit: unit.to_owned(),
        seats: city.seats.iter().map(|s| s.id.clone()).collect(),
        officers: police.map(|r| (r.no.clone(), r.unit.clone())).collect(),
        agencies: city.responders.iter().filter(agency).map(|r| (r.no.clone(), r.name.clone())).collect(),
        linkages: city.linkages.clone(),
        result_codes: city.result_codes.clone(),
        categories: city.categories.iter().map(|(code, c)| (code.clone(), c.name.clone())).collect(),
    }
}

/// # Errors
/// A taken port, a data directory that another process has: each said with its place.
pub fn start(mut city: City, mut settings: Settings, prometheus: PrometheusHandle) -> anyhow::Result<Running> {
    let health = Health::default();
    let (disk, keeper) = data::take(&settings.data, &health)?;
    let base = Base { clock: Clock::start(), health, disk, data: settings.data.clone() };
    let limit = crate::observe::procfs::raise_descriptor_limit();
    tell_if_short(&city, &settings, limit as usize, &base.health);
    make_do(&mut city, &settings, limit as usize);
    let Bound { sip, listeners } = Bound::open(&settings)?;
    let (at_sip, at_http, at_admin) = (sip.0.local_addr()?, listeners.api.local_addr()?, listeners.admin.local_addr()?);
    let at_hooks = listeners.hooks.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
    let installation = Installation::default();
    let own = installation.clone();
    let token = data::token(&settings.data, &base.disk, &base.health, move |token| own.set(token));
    let places = Arc::new(places(&city, &settings.unit));
    let mut kept = Kept::open(&mut city, &settings, &base)?;

    let (handle, mailboxes) = Handle::open(settings.shards, shard::WAKE)?;
    kept.thread.links.shards = Some(handle.clone());
    // Numbers are there before the first call.
    handle.send_all(kept.thread.shard_inbox.drain(..));
    let (recorder_sender, recorder_inbox) = mpsc::channel();
    let recorder_inlet = recorder::Inbox::new(recorder_sender);
    let links = Links {
        shards: handle.clone(),
        casebook: kept.sender.clone(),
        recorder: recorder_inlet.clone(),
        waiting: kept.waiting.clone(),
        board: crate::observe::metrics::Board::default(),
        saboteur: settings.saboteur.clone(),
    };
    let shard_threads = shards::build(&mut city, &settings, sip, &kept.front, (base.clock, mailboxes, &links))?;

    let plan = plan(&settings);
    let runtime = runtime(plan.as_ref())?;
    let shared = control::Shared {
        clock: base.clock,
        disk: Arc::clone(&base.disk),
        shards: handle.clone(),
        casebook: kept.sender.clone(),
        waiting: kept.waiting.clone(),
        durable: kept.durable.clone(),
        health: base.health.clone(),
        taps: Taps::default(),
        notices: kept.notices.clone(),
        keys: kept.keys.clone(),
        withheld: kept.withheld.clone(),
        client: Client::open(),
        places,
        next_request: Arc::new(AtomicU64::new(1)),
        modelled: kept.modelled.subscribe(),
        similar: Arc::default(),
    };
    let channels = control::channels(&mut city, &settings, &shared, &runtime)?;
    kept.thread.links.channels = channels.clone();
    let (ready, ready_seen) = watch::channel(true);
    let faces = (prometheus, ready_seen);
    let sinks = control::serve(&mut city, &settings, &shared, (&channels, &installation), listeners, faces, &runtime)?;
    let mut readers = control::sinks(&mut settings, &shared, sinks, &runtime)?;

    let spawner = Spawner { ready: ready.clone() };
    readers.push(spawner.read_model(&base, (kept.durable, kept.modelled), &shared.similar, &runtime)?);
    let house = spawner.house(&base, settings.storage, (kept.needed_from, kept.casebook_at))?;
    let shards = spawner.shards(shard_threads, plan.as_ref())?;
    let recorder = spawner.recorder(&base, recorder_inbox, &recorder_inlet, &kept.sender, shared.taps)?;
    let thread = kept.thread;
    let casebook = spawner.spawn("casebook", move || thread.run())?;
    Ok(Running {
        sip: at_sip,
        http: at_http,
        hooks: at_hooks,
        admin: at_admin,
        token,
        shards: handle,
        runtime,
        ready,
        casebook: kept.sender,
        channels,
        recorder: recorder_inlet,
        threads: Threads { shards, recorder, casebook, readers },
        _house: house,
        _keeper: keeper,
    })
}

/// A core for each shard, where that is asked for and there are enough.
fn plan(settings: &Settings) -> Option<Plan> {
    let plan = settings.pin.then(|| Plan::new(&cores::usable(), usize::from(settings.shards))).flatten();
    if settings.pin && plan.is_none() {
        tracing::warn!(settings.shards, "GW-1005 fewer cores than shards and one more: nothing is pinned");
    }
    plan
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
