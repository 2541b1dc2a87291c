//! What stands beside the shards: channels, API, sinks, and the listeners that people and systems come by.

use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use store::disk::Disk;
use switchboard::Similar;
use tokio::sync::watch;

use super::{Listeners, Settings};
use crate::api::rights::Places;
use crate::api::signed::Installation;
use crate::api::who::Tokens;
use crate::api::{self, Admin, Api};
use crate::channel::{self, Channels, Client};
use crate::city::City;
use crate::clock::{Clock, random};
use crate::inbox::Handle;
use crate::inbox::casebook::{self, Reached, Waiting};
use crate::inbox::keys::Keys;
use crate::inbox::notices::Notices;
use crate::inbox::withheld::Withheld;
use crate::net::crowd::Cap;
use crate::net::http::Server;
use crate::observe::health::Health;
use crate::sink::Standing;
use crate::sink::delivery::Sink;
use crate::sink::receipts::Receipts;
use crate::thread::recorder::Taps;

/// Connections that a scrape and a probe need, with room for a person or two.
const ADMIN_CONNECTIONS: usize = 256;

/// What is shared with everybody here.
pub(super) struct Shared {
    pub clock: Clock,
    pub disk: Arc<dyn Disk>,
    pub shards: Handle,
    pub casebook: Sender<casebook::Input>,
    pub waiting: Waiting,
    pub durable: watch::Receiver<Reached>,
    pub health: Health,
    pub taps: Taps,
    pub notices: Notices,
    pub keys: Keys,
    pub withheld: Withheld,
    pub client: Client,
    pub places: Arc<Places>,
    /// The last frame that the read model has read.
    pub modelled: watch::Receiver<u64>,
    /// Which alerts may be about the same event.
    pub similar: Arc<Mutex<Similar>>,
    /// The number of the next request that waits for an answer.
    pub next_request: Arc<AtomicU64>,
}

pub(super) fn channels(
    city: &mut City,
    settings: &Settings,
    shared: &Shared,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<Channels> {
    let with = channel::Shared {
        started: u64::from_le_bytes(random()),
        clock: shared.clock,
        casebook: shared.casebook.clone(),
        disk: Arc::clone(&shared.disk),
        data: settings.data.clone(),
        client: shared.client.clone(),
        withdrawn: channel::Withdrawn::default(),
    };
    Channels::open(std::mem::take(&mut city.devices), &with, shared.shards.clone(), runtime)
}

/// The listeners begin to answer.
pub(super) fn serve(
    city: &mut City,
    settings: &Settings,
    shared: &Shared,
    (channels, installation): (&Channels, &Installation),
    listeners: Listeners,
    (prometheus, ready): (PrometheusHandle, watch::Receiver<bool>),
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<Vec<Arc<Standing>>> {
    let standing = |s: &super::SinkSettings| Arc::new(Standing::new(&s.name, s.to.kind(), s.target.clone()));
    let sinks: Vec<Arc<Standing>> = settings.sinks.iter().map(standing).collect();
    let api = Api {
        shards: shared.shards.clone(),
        casebook: shared.casebook.clone(),
        waiting: shared.waiting.clone(),
        next_request: Arc::clone(&shared.next_request),
        tokens: Arc::new(Tokens::new(&settings.data, installation.clone(), shared.health.clone())),
        places: Arc::clone(&shared.places),
        disk: Arc::clone(&shared.disk),
        data: settings.data.clone(),
        clock: shared.clock,
        durable: shared.durable.clone(),
        modelled: shared.modelled.clone(),
        similar: Arc::clone(&shared.similar),
        health: shared.health.clone(),
        taps: shared.taps.clone(),
        keys: shared.keys.clone(),
        channels: channels.clone(),
        notices: shared.notices.clone(),
        templates: Arc::new(std::mem::take(&mut city.templates)),
        sinks: sinks.clone().into(),
        paces: Arc::default(),
        seen: Arc::default(),
        long: Arc::default(),
        installation: installation.clone(),
        links: Arc::default(),
        newcomers: Arc::default(),
        present: api::pages::Present::default(),
        is_tls: settings.tls.is_some(),
    };
    let admin = Admin { prometheus, ready, health: shared.health.clone(), peers: settings.peers.clone().map(Arc::new) };
    let tls = settings.tls.as_ref().map(|t| t.acceptor()).transpose().context("tls")?;
    let server = |name, listener, router, tls| {
        let cap = city.connections.clone();
        Server { name, listener, router, cap, tls, clock: shared.clock }.start(runtime.handle())
    };
    match listeners.hooks {
        Some(hooks) => {
            server("hooks", hooks, api::hooks(api.clone()), tls.clone())?;
            server("api", listeners.api, api::api(api), tls)?;
        }
        None => server("api", listeners.api, api::api(api.clone()).merge(api::hooks(api)), tls)?,
    }
    let all = ADMIN_CONNECTIONS.min(city.connections.all);
    let cap = Cap { all, share: all, whole: Vec::new() };
    let (name, listener, router) = ("admin", listeners.admin, api::admin(admin));
    Server { name, listener, router, cap, tls: None, clock: shared.clock }.start(runtime.handle())?;
    Ok(sinks)
}

/// How long a sink may be at its last delivery once nothing more will come.
const LAST_DELIVERY: Duration = Duration::from_millis(300);

pub(super) fn sinks(
    settings: &mut Settings,
    shared: &Shared,
    standings: Vec<Arc<Standing>>,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for (sink, standing) in settings.sinks.drain(..).zip(standings) {
        let receipts = sink.target.map(|target| {
            let next_request = Arc::clone(&shared.next_request);
            let (casebook, waiting, withheld) =
                (shared.casebook.clone(), shared.waiting.clone(), shared.withheld.clone());
            Receipts::new(target, casebook, waiting, next_request, shared.clock, withheld)
        });
        let sink = Sink {
            way: sink.to.open(&shared.client, shared.clock),
            name: sink.name,
            tries: sink.tries,
            disk: Arc::clone(&shared.disk),
            data: settings.data.clone(),
            durable: shared.durable.clone(),
            health: shared.health.clone(),
            standing,
            receipts,
            excerpt: sink.excerpt,
            saboteur: settings.saboteur.clone(),
        };
        let handle = runtime.handle().clone();
        let name = format!("sink-{}", sink.name);
        let mut durable = shared.durable.clone();
        // Its waits are the runtime's, so it ends before that does; what it is at has a moment more.
        let ended = async move {
            Reached::end(&mut durable).await;
            tokio::time::sleep(LAST_DELIVERY).await;
        };
        threads.push(std::thread::Builder::new().name(name).spawn(move || {
            crate::observe::cores::step_back();
            handle.block_on(async {
                tokio::select! {
                    () = sink.run() => {}
                    () = ended => {}
                }
            });
        })?);
    }
    Ok(threads)
}
