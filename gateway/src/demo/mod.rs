//! `gateway demo`: a synthetic city, its people simulated over real loopback sockets, and a script whose every ✔
//! is computed from what those sockets received.

mod channels;
mod checks;
mod city;
mod sabotage;
mod script;
mod text;
mod written;

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use codecs::webhook::Secret;
use loadtest::clock::Clock;
use loadtest::{AgentId, Behaviour, Peers};

use crate::assembly::{self, Settings, SinkSettings};
use crate::config::PortRange;
use crate::observe::{log, metrics};
use crate::thread::Saboteur;

const MARKER: &str = ".gateway-demo";
const SINK_SECRET: &str = "whsec_cG9saWNlLTExMC1kZW1vLXNlY3JldC0zMi1ieXRlcyE=";

#[derive(clap::Args)]
pub struct Args {
    /// End after the script: 0 only if every ✔ held
    #[arg(long)]
    exit: bool,
    /// Makes a run repeatable
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where recordings, journal and sink bodies go
    #[arg(long, default_value = "./demo-data")]
    data: PathBuf,
    /// Added to every port
    #[arg(long, default_value_t = 0)]
    port_offset: u16,
    /// Break one thing of the gateway, so that exactly the ✔ of that name must fail
    #[arg(long, value_enum)]
    sabotage: Option<sabotage::Rule>,
    /// No script: be there for softphones and load tools
    #[arg(long, conflicts_with = "exit")]
    no_script: bool,
    /// RTP ports that all legs share; 0: a port a leg.
    #[arg(long, default_value_t = 0)]
    rtp_shared: usize,
    /// Threads that calls are spread over; all cores but one when absent.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(switchboard::route::SHARDS_MAX)))]
    shards: Option<u16>,
}

/// Lines for people on a terminal, NDJSON elsewhere.
pub(crate) struct Out {
    human: bool,
}

impl Out {
    fn line(&self, text: &str, json: serde_json::Value) {
        let mut out = std::io::stdout().lock();
        let _ = if self.human { writeln!(out, "{text}") } else { writeln!(out, "{json}") };
        let _ = out.flush();
    }
}

pub fn demo(args: &Args) -> ExitCode {
    log::init("auto", "warn");
    if let Err(error) = prepare(&args.data) {
        eprintln!("error: {error:#}");
        return ExitCode::from(2);
    }
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Empties the data directory, if it is ours or new.
fn prepare(data: &Path) -> anyhow::Result<()> {
    if data.exists() {
        let empty = std::fs::read_dir(data).with_context(|| data.display().to_string())?.next().is_none();
        if !data.join(MARKER).exists() && !empty {
            bail!("{} exists and is not a demo's; choose another --data", data.display());
        }
        std::fs::remove_dir_all(data).with_context(|| data.display().to_string())?;
    }
    std::fs::create_dir_all(data).with_context(|| data.display().to_string())?;
    std::fs::write(data.join(MARKER), b"").with_context(|| data.display().to_string())?;
    Ok(())
}

fn port(base: u16, offset: u16) -> anyhow::Result<u16> {
    base.checked_add(offset).context("--port-offset goes beyond port 65535")
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn settings(
    args: &Args,
    sink: SinkSettings,
    load: channels::Platforms,
    saboteur: Option<Arc<dyn Saboteur>>,
) -> anyhow::Result<Settings> {
    let offset = args.port_offset;
    Ok(Settings {
        unit: city::UNIT.into(),
        node: 1,
        realm: city::REALM.into(),
        data: args.data.clone(),
        sip: local(port(15060, offset)?),
        http: local(port(8110, offset)?),
        hooks: None,
        tls: None,
        storage: crate::config::Storage::default().rules(),
        admin: local(port(9110, offset)?),
        rtp_address: local(0).ip(),
        sip_advertise: None,
        rtp_advertise: local(0).ip(),
        rtp_shared: args.rtp_shared,
        shards: args.shards.unwrap_or_else(crate::config::default_shards),
        pin: false,
        rtp_ports: PortRange { from: port(20000, offset)?, to: port(31999, offset)? },
        sinks: vec![sink],
        peers: Some(peers_page(&args.data, offset, load)),
        saboteur,
    })
}

/// Registers every simulated seat, officer and room.
fn register_all(peers: &mut Peers, seats: AgentId, officers: AgentId, rooms: &[String]) {
    for user in (1001..=1060).chain(1101..=1104).chain(1201..=1202) {
        peers.register(seats, &user.to_string(), city::PASSWORD);
    }
    for user in 2001..=2290 {
        peers.register(officers, &user.to_string(), city::PASSWORD);
    }
    for user in rooms {
        peers.register(officers, user, city::PASSWORD);
    }
}

fn run(args: &Args) -> anyhow::Result<bool> {
    crate::run::keep_to_ourselves();
    let clock = Clock::start();
    let out = Out { human: std::io::stdout().is_terminal() };
    let offset = args.port_offset;
    let signals = Arc::new(AtomicUsize::new(0));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register_usize(signal, Arc::clone(&signals), 1)?;
    }

    let sip = local(port(15060, offset)?);
    let mut peers = Peers::new(clock)?;
    peers.foreign = Some((port(20000, offset)?, port(31999, offset)?));
    let trunk_ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10));
    let quick = |ms| Behaviour::Answer { after: Duration::from_millis(ms) };
    let trunk = peers.add_agent(trunk_ip, sip, 0, Behaviour::Busy)?;
    // The script's caller can be called back; whoever called from outside is not at home here.
    peers.behave(trunk, script::ABANDONING_CALLER, quick(500));
    let seats = peers.add_agent(local(0).ip(), sip, 1, quick(20))?;
    let officers = peers.add_agent(local(0).ip(), sip, 2, quick(1200 + args.seed % 7 * 100))?;
    let secret = Secret::parse(SINK_SECRET).map_err(anyhow::Error::msg)?;
    let sink_file = args.data.join("sink").join("demo.ndjson");
    let (sink_address, received) = loadtest::receiver::start(local(0), secret.clone(), &sink_file)?;

    let load = channels::Platforms::of_load(offset);
    let text = text::Listeners::bind()?;
    let script = channels::Platforms::of_script(text.cmpp.local_addr()?, text.web.local_addr()?);
    let city = city::city(peers.local(trunk), script, load);
    let ringing = city::officers_of(&city.responders, city::RINGING_GRID);
    let rooms: Vec<String> =
        city.responders.iter().filter(|r| r.user.starts_with('u')).map(|r| r.user.clone()).collect();
    let (at_trunk, at_officers) = (peers.local(trunk), peers.local(officers));
    let spoiler = |rule| -> Arc<dyn Saboteur> { Arc::new(sabotage::Spoiler::new(rule, at_officers, at_trunk)) };
    let sink = SinkSettings { name: "demo".into(), url: format!("http://{sink_address}/"), secret, tries: 20 };
    let settings = settings(args, sink, load, args.sabotage.map(spoiler))?;
    let running = assembly::start(city, settings, metrics::install()?)?;
    let ready = serde_json::json!({ "ready": { "sip": running.sip.port(), "http": running.http.port(), "admin": running.admin.port() } });
    out.line(
        &format!(
            "110 网关 {} · 示例市 12 区 / 432 网格 · 数据 {}\n  SIP udp+tcp {}   API http://{}   指标 http://{}/metrics",
            env!("CARGO_PKG_VERSION"),
            args.data.display(),
            running.sip,
            running.http,
            running.admin
        ),
        ready,
    );

    register_all(&mut peers, seats, officers, &rooms);
    for user in &ringing {
        peers.behave(officers, user, Behaviour::RingOn);
    }
    let remote = peers.remote();
    let thread = std::thread::Builder::new().name("peers".into()).spawn(move || peers.run())?;
    let registered = 66 + 290 + rooms.len();
    let mut stage = script::Stage::new(trunk, remote.clone(), clock, running.http, &running.token);
    stage.wait_registered(registered)?;

    let mut writers = text::Writers::open(text, running.http, &running.token, clock)?;
    let mut held = true;
    if !args.no_script {
        held = script::play(&mut stage, &out, &args.data, &received, &mut writers, clock)?;
    }
    if !args.exit && signals.load(Ordering::Relaxed) == 0 {
        out.line(
            &format!(
                "── 继续运行,等待你的电话 (Ctrl-C 结束)\n   录音 {0}/recordings/   警情 gateway alert list --data {0}\n   softphone: sip:110@{1}   座席 1061–1064 / 民警 2291–2300, password demo",
                args.data.display(),
                running.sip
            ),
            serde_json::json!({ "waiting": running.sip.to_string() }),
        );
        while signals.load(Ordering::Relaxed) == 0 {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
    writers.close();
    running.stop();
    remote.ask(Peers::finish);
    let _ = thread.join();
    Ok(held)
}

/// What load tools need to know.
fn peers_page(data: &Path, offset: u16, load: channels::Platforms) -> serde_json::Value {
    serde_json::json!({
        "sip": format!("127.0.0.1:{}", 15060 + offset),
        "http": format!("127.0.0.1:{}", 8110 + offset),
        "pid": std::process::id(),
        "admin": format!("127.0.0.1:{}", 9110 + offset),
        "rtp": [20000 + offset, 31999 + offset],
        "realm": city::REALM,
        "password": city::PASSWORD,
        "token_file": std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned()).join("token"),
        "load": { "source": "127.0.0.3", "seats": [3001, 3600], "officers": [4001, 4600] },
        "spare": { "seats": [1061, 1064], "officers": [2291, 2300] },
        "bench_user": "bench",
        "channels": channels::peers(load),
    })
}
