//! Puts the gateway together from a city: sockets bound, journal read, threads started.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use codecs::time::{Mono, Wall};
use codecs::webhook::Secret;
use metrics_exporter_prometheus::PrometheusHandle;
use switchboard::route::Router;
use switchboard::{
    Binding, CallIds, Casebook, CasebookConfig, Desk, DeskConfig, Fact, Flow, KeptBinding, KeywordTable, Mint, Own,
    RequestId, Shard, ShardConfig, ToCasebook, Transport, is_call_unfinished,
};
use tokio::sync::{Notify, watch};

use crate::casebook_thread::{self, CasebookThread, Waiting};
use crate::channel::{self, Channels, Client};
use crate::city::City;
use crate::clock::{Clock, random};
use crate::config::PortRange;
use crate::cores::{self, Plan};
use crate::http::talk::Notices;
use crate::http::{self, Admin, Api};
use crate::ports::Ports;
use crate::procfs::port_taken;
use crate::recorder_thread::{self, Taps};
use crate::recording_log::RecordingLog;
use crate::shard_thread::{self, Front, Links, ShardThread, Sockets};
use crate::shards::{Handle, Input};
use crate::sink::http::HttpSink;
use crate::{prompts, read_model};

/// What is not in the city's tables.
pub struct Settings {
    pub unit: String,
    pub node: u8,
    pub realm: String,
    pub data: PathBuf,
    pub sip: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
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
}

pub struct SinkSettings {
    pub name: String,
    pub url: String,
    pub secret: Secret,
    pub tries: u32,
}

/// The running gateway.
pub struct Running {
    pub sip: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub token: String,
    pub shards: Handle,
    pub runtime: tokio::runtime::Runtime,
    ready: watch::Sender<bool>,
    casebook: mpsc::Sender<casebook_thread::Input>,
    channels: Channels,
    recorder: mpsc::Sender<recorder_thread::Input>,
    threads: Threads,
}

struct Threads {
    /// In the order of their numbers.
    shards: Vec<JoinHandle<()>>,
    recorder: JoinHandle<()>,
    casebook: JoinHandle<()>,
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
        let _ = self.recorder.send(recorder_thread::Input::Stop);
        let _ = self.threads.recorder.join();
        let _ = self.casebook.send(casebook_thread::Input::Stop);
        let _ = self.threads.casebook.join();
        self.runtime.shutdown_timeout(Duration::from_millis(300));
    }
}

/// Whoever was registered when the process ended is tried at once; their phones know nothing of it.
fn restore_bindings(shard: &mut Shard, bindings: &[(String, KeptBinding)], now: Mono, wall: Wall) {
    for (user, kept) in bindings {
        let left = Duration::from_nanos(u64::try_from(kept.until.0 - wall.0).unwrap_or(0));
        let flow = match kept.transport {
            Transport::Udp => Flow::udp(kept.remote),
            Transport::Tcp => Flow::tcp(kept.remote),
        };
        let binding = Binding { contact: kept.contact.clone().into_bytes(), flow, expires_at: now + left };
        shard.restore_binding(now, user, binding);
    }
}

fn bind_sip(address: SocketAddr) -> anyhow::Result<(std::net::UdpSocket, std::net::TcpListener)> {
    let socket = |kind| socket2::Socket::new(socket2::Domain::for_address(address), kind, None);
    // With port 0 the UDP port decides, and the TCP one has to be free as well.
    for _ in 0..16 {
        let udp = socket(socket2::Type::DGRAM)?;
        let _ = udp.set_recv_buffer_size(4 * 1024 * 1024);
        let _ = udp.set_send_buffer_size(4 * 1024 * 1024);
        udp.bind(&address.into()).map_err(|e| port_taken("SIP udp", address, &e))?;
        udp.set_nonblocking(true)?;
        let udp: std::net::UdpSocket = udp.into();
        let bound = udp.local_addr()?;
        let tcp = socket(socket2::Type::STREAM)?;
        tcp.set_reuse_address(true)?;
        match tcp.bind(&bound.into()).and_then(|()| tcp.listen(1024)) {
            Ok(()) => {
                tcp.set_nonblocking(true)?;
                return Ok((udp, tcp.into()));
            }
            Err(_) if address.port() == 0 => {}
            Err(e) => return Err(port_taken("SIP tcp", bound, &e)),
        }
    }
    anyhow::bail!("GW-1002 no port that is free for UDP and TCP")
}

fn listen(what: &str, address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).map_err(|e| port_taken(what, address, &e))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The API's bearer token: kept in the data directory, made on the first start.
fn token(data: &std::path::Path) -> anyhow::Result<String> {
    let path = data.join("token");
    if let Ok(token) = std::fs::read_to_string(&path) {
        return Ok(token.trim().to_owned());
    }
    let token = codecs::sip::auth::hex(&random::<16>());
    std::fs::write(&path, &token).with_context(|| path.display().to_string())?;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(token)
}

/// # Errors
/// A taken port, an unusable data directory, a broken journal: each said with its place.
pub fn start(mut city: City, settings: Settings, prometheus: PrometheusHandle) -> anyhow::Result<Running> {
    let clock = Clock::start();
    crate::procfs::raise_descriptor_limit();
    std::fs::create_dir_all(&settings.data).with_context(|| settings.data.display().to_string())?;
    let (udp, tcp) = bind_sip(settings.sip)?;
    let sip = udp.local_addr()?;
    let api_listener = listen("HTTP", settings.http)?;
    let admin_listener = listen("admin", settings.admin)?;
    let token = token(&settings.data)?;
    let journal = settings.data.join("journal");

    let restored = casebook_thread::restore(&journal)?;
    let (log, recovered) = RecordingLog::open(&settings.data).context("recording log")?;
    let waiting = Waiting::default();
    let (durable, durable_seen) = watch::channel(restored.writer.next_sequence() - 1);
    let (casebook_sender, casebook_inbox) = mpsc::channel();
    let (recorder_sender, recorder_inbox) = mpsc::channel();
    let source = format!("/gw/{}/{}", settings.unit, settings.node);
    let keywords = KeywordTable::new(city.keywords).map_err(|e| anyhow::anyhow!("keywords: {e}"))?;
    let (rules, devices): (Vec<_>, Vec<_>) = city.channels.into_iter().unzip();
    let mut casebook = Casebook::new(
        CasebookConfig {
            source,
            unit: settings.unit.clone(),
            node: settings.node,
            keywords,
            channels: rules,
            grids: Arc::clone(&city.grids),
            subscribers: Arc::clone(&city.subscribers),
            patience: city.patience,
            stored_a_day: city.stored_a_day,
            serials: switchboard::SerialBlock { from: 0, until: 0 },
        },
        restored.writer.next_sequence(),
    );
    let unfinished = restored.open.iter().filter(|r| is_call_unfinished(r) && r.state != codecs::record::State::Closed);
    let interrupted: Vec<_> = unfinished.filter_map(|r| codecs::record::AlertNo::parse(&r.id.alert_no)).collect();
    let (now, wall) = (clock.mono(), clock.wall());
    for (then, note) in restored.notes {
        casebook.restore_note(now, wall, then, note);
    }
    for record in restored.open {
        casebook.restore(now, wall, record);
    }
    let bindings: Vec<_> = casebook.bindings(wall).map(|(user, kept)| (user.to_owned(), kept.clone())).collect();
    let mut thread = CasebookThread {
        clock,
        casebook,
        writer: restored.writer,
        inbox: casebook_inbox,
        shards: None,
        channels: Channels::default(),
        outbox: channel::Outbox::default(),
        shard_inbox: Vec::new(),
        counters: crate::metrics::Counters::default(),
        notices: Notices::default(),
        waiting: waiting.clone(),
        durable,
        next_serial: restored.next_serial,
        failed: false,
        gathering: None,
        to_snapshot: std::collections::VecDeque::new(),
        synced_at: codecs::time::Mono(0),
        apart: crate::casebook_thread::APART,
        snapshot: 0,
        since_snapshot: 0,
        duties: restored.duty.clone(),
    };
    let shards = settings.shards;
    let serials = thread.reserve(shards).unwrap_or_else(|error| {
        // Calls are answered all the same; each number says that it was not reserved.
        tracing::error!(%error, "GW-3101 no alert numbers could be reserved");
        vec![switchboard::SerialBlock { from: 0, until: 0 }; usize::from(shards)]
    });

    let mut responders = city.responders;
    for responder in &mut responders {
        if let Some(on_duty) = restored.duty.get(&responder.no) {
            responder.on_duty = *on_duty;
        }
    }
    let desk = Desk::new(DeskConfig {
        groups: city.groups,
        seats: city.seats,
        seat_users: city.seat_users,
        responders,
        grids: Arc::clone(&city.grids),
        default_unit: city.default_unit,
    });
    let plan = settings.pin.then(|| Plan::new(&cores::usable(), usize::from(shards))).flatten();
    if settings.pin && plan.is_none() {
        tracing::warn!(shards, "GW-1005 fewer cores than shards and one more: nothing is pinned");
    }
    let mut mint = Mint::new(random());
    let call_ids = CallIds::new(&mint.seed(), settings.node);
    let router = Router::new(call_ids, &mint.seed(), shards);
    let own = Own {
        addresses: [settings.rtp_address, settings.rtp_advertise],
        ports: (settings.rtp_ports.from, settings.rtp_ports.to),
        sip_port: sip.port(),
    };
    let (handle, mailboxes) = Handle::open(shards, shard_thread::WAKE)?;
    let links = Links {
        shards: handle.clone(),
        casebook: casebook_sender.clone(),
        recorder: recorder_sender.clone(),
        waiting: waiting.clone(),
        board: crate::metrics::Board::default(),
    };
    let (tone, attendant) = (prompts::tone(city.tone), prompts::attendant());
    let mut desk = Some((desk, tcp));
    let mut shard_threads = Vec::new();
    for (index, (mailbox, serials)) in (0u16..).zip(mailboxes.into_iter().zip(serials)) {
        let mut shard = Shard::new(ShardConfig {
            shard: index,
            sip_address: settings.sip_advertise.unwrap_or(sip),
            rtp_address: settings.rtp_advertise,
            own,
            phones_nat: city.phones_nat,
            registrar: city.registrar.clone(),
            call_ids,
            shared_media: settings.rtp_shared > 0,
            realm: settings.realm.clone(),
            // Registrations are the first shard's.
            accounts: if index == 0 { std::mem::take(&mut city.accounts) } else { Vec::new() },
            seed: mint.seed(),
            trunks: city.trunks.clone(),
            subscribers: Arc::clone(&city.subscribers),
            grids: Arc::clone(&city.grids),
            policy: city.policy.clone(),
            unit: settings.unit.clone(),
            node: settings.node,
            tone: tone.clone(),
            attendant: attendant.clone(),
            serials,
        });
        if index == 0 {
            restore_bindings(&mut shard, &bindings, now, wall);
        }
        let range = settings.rtp_ports.part(index, shards);
        let ports =
            Ports::new(settings.rtp_address, range.from, range.to, settings.rtp_shared.div_ceil(usize::from(shards)))?;
        let front = desk
            .take()
            .map(|(desk, tcp)| Front::new(desk, tcp, city.connections.clone(), &mailbox, router))
            .transpose()?;
        let sockets = Sockets { udp: udp.try_clone()?, ports };
        shard_threads.push(ShardThread::new(clock, index, shard, front, sockets, mailbox, links.clone())?);
    }
    thread.shards = Some(handle.clone());

    // What was up when the process died is over; its recording has been cut, its record is closed.
    for no in interrupted {
        let at = clock.wall();
        let fact =
            |fact| casebook_thread::Input::Message(ToCasebook::Fact { no, at, fact, request: RequestId::default() });
        let _ = casebook_sender.send(fact(Fact::Interrupted));
        let media: Vec<_> = recovered.iter().filter(|c| c.no == no).flat_map(|c| c.media.clone()).collect();
        let _ = casebook_sender.send(casebook_thread::Input::Recorded(vec![(no, media)]));
    }

    // Half of the cores at most: the other half is the shard's, the casebook's and the recorder's. One worker has nobody
    // to wake on another core for every message that passes between two tasks.
    let workers = std::thread::available_parallelism().map_or(1, usize::from).div_euclid(2).clamp(1, 4);
    if let Some(plan) = &plan {
        // Every thread that is started from here on begins there; a shard then moves to its own.
        cores::stay_on(&plan.others).context("GW-1006 node.pin")?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .thread_name("control")
        .build()?;
    let taps = Taps::default();
    let client = Client::open();
    let shared = channel::Shared {
        started: u64::from_le_bytes(random()),
        clock,
        casebook: casebook_sender.clone(),
        data: settings.data.clone(),
        client: client.clone(),
    };
    let channels = Channels::open(devices, &shared, handle.clone(), &runtime)?;
    thread.channels = channels.clone();
    thread.resume();
    let api = Api {
        shards: handle.clone(),
        casebook: casebook_sender.clone(),
        waiting,
        next_request: Arc::new(AtomicU64::new(1)),
        token: token.as_str().into(),
        data: settings.data.clone(),
        journal: journal.clone(),
        clock,
        durable: durable_seen.clone(),
        taps: taps.clone(),
        idempotent: Arc::default(),
        channels: channels.clone(),
        notices: thread.notices.clone(),
        templates: Arc::new(city.templates),
        replays: Arc::new(settings.sinks.iter().map(|s| (s.name.clone(), Arc::new(Notify::new()))).collect()),
    };
    let replays = Arc::clone(&api.replays);
    let (ready, ready_seen) = watch::channel(true);
    let admin = Admin { prometheus, ready: ready_seen, peers: settings.peers.map(Arc::new) };
    let (http_address, admin_address) = (api_listener.local_addr()?, admin_listener.local_addr()?);
    serve(&runtime, api_listener, http::api(api))?;
    serve(&runtime, admin_listener, http::admin(admin))?;
    for sink in settings.sinks {
        let replay = Arc::clone(&replays[&sink.name]);
        let sink = HttpSink {
            client: client.clone(),
            name: sink.name,
            url: sink.url,
            secret: sink.secret,
            tries: sink.tries,
            data: settings.data.clone(),
            journal: journal.clone(),
            clock,
            durable: durable_seen.clone(),
            replay,
        };
        runtime.spawn(sink.run());
    }

    let ready_seen_by = ready.clone();
    let spawn = |name: String, work: Box<dyn FnOnce() + Send>| {
        let ready = ready_seen_by.clone();
        let thread_name = name.clone();
        let guarded = move || {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok() {
                return;
            }
            tracing::error!(thread = name, "GW-1004 a thread has failed");
            ready.send_replace(false);
            metrics::gauge!("gateway_threads_failed").increment(1.0);
            // Without its shard the process answers nobody: the supervisor starts it anew within a second, and what
            // was being said is in the recording log.
            if name.starts_with("shard-") {
                std::process::exit(1);
            }
        };
        std::thread::Builder::new()
            .name(thread_name.clone())
            .spawn(guarded)
            .with_context(|| format!("thread {thread_name}"))
    };
    let to_casebook = casebook_sender.clone();
    let (data, follower, runtime_handle) = (settings.data.clone(), durable_seen, runtime.handle().clone());
    spawn(
        "read-model".into(),
        Box::new(move || {
            cores::step_back();
            if let Err(error) = read_model::follow(&data, &journal, follower, &runtime_handle) {
                tracing::error!(error = %format!("{error:#}"), "GW-3401 the read model has stopped; calls and sinks go on");
            }
        }),
    )?;
    let mut shard_handles = Vec::new();
    for (index, shard_thread) in shard_threads.into_iter().enumerate() {
        let core = plan.as_ref().map(|p| p.shards[index]);
        let work = move || {
            if let Some(Err(error)) = core.map(|core| cores::stay_on(&[core])) {
                tracing::warn!(index, %error, "GW-1006 the shard could not be pinned");
            }
            shard_thread.run();
        };
        shard_handles.push(spawn(format!("shard-{index}"), Box::new(work))?);
    }
    let threads = Threads {
        shards: shard_handles,
        recorder: spawn(
            "recorder".into(),
            Box::new(move || {
                cores::step_back();
                recorder_thread::run(log, &recorder_inbox, &to_casebook, &taps);
            }),
        )?,
        casebook: spawn("casebook".into(), Box::new(move || thread.run()))?,
    };
    Ok(Running {
        sip,
        http: http_address,
        admin: admin_address,
        token,
        shards: handle,
        runtime,
        ready,
        casebook: casebook_sender,
        channels,
        recorder: recorder_sender,
        threads,
    })
}

fn serve(
    runtime: &tokio::runtime::Runtime,
    listener: std::net::TcpListener,
    router: axum::Router,
) -> anyhow::Result<()> {
    let _guard = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "GW-1003 an HTTP listener has stopped");
        }
    });
    Ok(())
}
