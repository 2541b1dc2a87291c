//! `gateway demo`: a synthetic city, its people simulated over real loopback sockets, and a script whose every ✔
//! is computed from what those sockets received.

mod channels;
mod checks;
mod city;
mod fraud;
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
use store::lock::{Lock, Unlocked, lock};

use crate::assembly::{self, Settings, SinkSettings};
use crate::config::PortRange;
use crate::observe::{log, metrics};
use crate::sink::excerpt::Excerpt;
use crate::sink::way::To;
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
    if let Err(error) = is_a_demos(&args.data) {
        eprintln!("error: {error:#}");
        return ExitCode::from(2);
    }
    match empty(&args.data).and_then(|taken| run(args, taken)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the directory is a demo's, or nothing is lost in it.
///
/// # Errors
/// It holds something else.
fn is_a_demos(data: &Path) -> anyhow::Result<()> {
    if data.exists() && !data.join(MARKER).exists() {
        let is_empty = std::fs::read_dir(data).with_context(|| data.display().to_string())?.next().is_none();
        if !is_empty {
            bail!("{} exists and is not a demo's; choose another --data", data.display());
        }
    }
    Ok(())
}

/// Takes the directory, and removes what a demo before has left there: nothing is removed that somebody still uses.
///
/// # Errors
/// Another process has it, or the disk does not let itself be asked.
fn empty(data: &Path) -> anyhow::Result<Lock> {
    let at = || data.display().to_string();
    let held = match lock(data) {
        Ok(held) => held,
        Err(Unlocked::Held { pid }) => {
            bail!("GW-1003 {} is in use: pid {pid} holds it; end that one, or choose another --data", at())
        }
        Err(Unlocked::Disk(error)) => return Err(anyhow::Error::new(error).context(at())),
    };
    // First of all, so that one that was cut short is a demo's as well.
    std::fs::write(data.join(MARKER), b"").with_context(at)?;
    for entry in std::fs::read_dir(data).with_context(at)? {
        let entry = entry.with_context(at)?;
        let path = entry.path();
        if path == data.join(MARKER) || path == data.join("lock") {
            continue;
        }
        let is_dir = entry.file_type().with_context(at)?.is_dir();
        let removed = if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.with_context(|| path.display().to_string())?;
    }
    Ok(held)
}

fn port(base: u16, offset: u16) -> anyhow::Result<u16> {
    base.checked_add(offset).context("--port-offset goes beyond port 65535")
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn settings(
    args: &Args,
    sinks: Vec<SinkSettings>,
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
        sinks,
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

/// `taken`: the data directory, until the gateway takes it itself.
fn run(args: &Args, taken: Lock) -> anyhow::Result<bool> {
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
    let mut agencies = Vec::new();
    for (n, (no, _)) in (0..).zip(city::AGENCIES) {
        let agent = peers.add_agent(local(0).ip(), sip, 2 + n, quick(300 + 250 * u64::from(n)))?;
        agencies.push((agent, format!("a{no}")));
    }
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
    let (targets, mut sinks) = fraud::Targets::open(&args.data, &secret)?;
    let url = format!("http://{sink_address}/");
    let to = To::Http { url, secret, at_once: 8 };
    sinks.push(SinkSettings { name: "demo".into(), to, tries: 20, target: None, excerpt: Excerpt::default() });
    let settings = settings(args, sinks, load, args.sabotage.map(spoiler))?;
    drop(taken);
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
    agencies.iter().for_each(|(agent, user)| peers.register(*agent, user, city::PASSWORD));
    for user in &ringing {
        peers.behave(officers, user, Behaviour::RingOn);
    }
    let remote = peers.remote();
    let thread = std::thread::Builder::new().name("peers".into()).spawn(move || peers.run())?;
    let registered = 66 + 290 + rooms.len() + agencies.len();
    let mut stage = script::Stage::new(trunk, remote.clone(), clock, running.http, &running.token);
    stage.wait_registered(registered)?;

    let mut writers = text::Writers::open(text, running.http, &running.token, clock)?;
    let mut held = true;
    if !args.no_script {
        held = script::play(&mut stage, &out, &args.data, (&received, &targets), &mut writers, clock)?;
    }
    if !args.exit && signals.load(Ordering::Relaxed) == 0 {
        invite(&out, args, &running);
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

/// Tells people where they can take part.
fn invite(out: &Out, args: &Args, running: &assembly::Running) {
    let pages = pages(running.http, &running.token);
    out.line(
        &format!(
            "── 网页：接警席 1061（链接一次有效，十分钟内）{}\n         处警民警 2291（同上）{}\n         网上报警 {}",
            pages.seat, pages.officer, pages.report
        ),
        serde_json::json!({ "pages": { "seat": pages.seat, "officer": pages.officer, "report": pages.report } }),
    );
    out.line(
        &format!(
            "── 继续运行,等待你的电话 (Ctrl-C 结束)\n   录音 {0}/recordings/   警情 gateway alert list --data {0}\n   softphone: sip:110@{1}   座席 1061–1064 / 民警 2291–2300, password demo",
            args.data.display(),
            running.sip
        ),
        serde_json::json!({ "waiting": running.sip.to_string() }),
    );
}

struct Pages {
    seat: String,
    officer: String,
    report: String,
}

/// Where a person can sit down at a seat or be an officer, and where one can report.
fn pages(http: SocketAddr, token: &str) -> Pages {
    let link = |of: serde_json::Value, otherwise: &str| {
        let asked = loadtest::api::Api::new(http, token).request("POST", "/v1/links", &of.to_string());
        let made = asked.ok().and_then(|(_, body)| serde_json::from_str::<serde_json::Value>(&body).ok());
        let url = made.as_ref().and_then(|v| v["url"].as_str()).unwrap_or(otherwise);
        format!("http://{http}{url}")
    };
    Pages {
        seat: link(serde_json::json!({ "seat": "1061" }), "/seat"),
        officer: link(serde_json::json!({ "officer": "2291" }), "/officer"),
        report: format!("http://{http}/report"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_demo_left_goes_unless_somebody_uses_it_and_what_is_none_of_a_demo_s_stays() {
        let data = std::env::temp_dir().join(format!("gw-demo-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        is_a_demos(&data).expect("nothing is there");
        let held = empty(&data).expect("made");
        std::fs::create_dir(data.join("journal")).expect("made");
        std::fs::write(data.join("journal/1.seg"), b"1").expect("written");
        std::fs::write(data.join("token"), b"1").expect("written");
        let names = || {
            let entries = std::fs::read_dir(&data).expect("there").map(|e| e.expect("an entry").file_name());
            let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        is_a_demos(&data).expect("a demo's");
        let Err(refused) = empty(&data) else { panic!("it is in use") };
        assert!(refused.to_string().contains("GW-1003"), "{refused}");
        assert_eq!(names(), [MARKER, "journal", "lock", "token"]);
        drop(held);
        drop(empty(&data).expect("free"));
        assert_eq!(names(), [MARKER, "lock"]);
        std::fs::remove_file(data.join(MARKER)).expect("removed");
        assert!(is_a_demos(&data).is_err());
        std::fs::remove_dir_all(&data).expect("removed");
    }
}
