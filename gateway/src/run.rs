//! `gateway run` and `gateway check`: the same reading of the same files, so neither passes what the other refuses.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::assembly::{self, Settings, SinkSettings};
use crate::city::{self, City};
use crate::config::{self, At, Config, Problem, Source};
use crate::observe::{log, metrics};
use crate::sink::excerpt::Excerpt;

const BAD_CONFIGURATION: u8 = 78;
/// How long a drain waits for calls to end before it hangs them up.
const DRAIN: Duration = Duration::from_secs(3600);

/// Reads a configuration and everything it names.
fn load(path: &Path) -> Result<(Config, City), Vec<Problem>> {
    let text = config::read_text(path)
        .map_err(|what| vec![Problem { code: "GW-0103", at: At::File(path.to_owned()), what }])?;
    let source = Source { path, text: &text };
    let (config, mut problems) = config::read(source);
    let Some(config) = config else { return Err(problems) };
    let base = path.parent().unwrap_or(Path::new("."));
    match city::load(&config, base) {
        Ok(city) if problems.is_empty() => Ok((config, city)),
        // Whatever is wrong with the file hides nothing of its tables.
        city => {
            problems.extend(city.err().unwrap_or_default().into_iter().map(|p| p.placed(source)));
            Err(problems)
        }
    }
}

fn tell(problems: &[Problem]) -> ExitCode {
    config::tell(problems);
    eprintln!("✗ {} problem(s) · exit code {BAD_CONFIGURATION}", problems.len());
    ExitCode::from(BAD_CONFIGURATION)
}

pub fn check(path: &Path) -> ExitCode {
    match load(path) {
        Err(problems) => tell(&problems),
        Ok((config, city)) => {
            println!(
                "✔ {}: {} seats in {} groups, {} officers and duty rooms, {} grids, {} trunks, {} channels, {} sinks",
                config.city.name,
                city.seats.len(),
                city.groups.len(),
                city.responders.len(),
                city.grids.iter().count(),
                city.trunks.len(),
                city.devices.len(),
                config.sink.len()
            );
            ExitCode::SUCCESS
        }
    }
}

/// What this process writes is its owner's alone, whoever makes the file.
pub fn keep_to_ourselves() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

pub fn run(path: &Path) -> ExitCode {
    keep_to_ourselves();
    let (config, city) = match load(path) {
        Ok(loaded) => loaded,
        Err(problems) => return tell(&problems),
    };
    log::init(&config.log.format, &config.log.level);
    let ended = serve(&config, city, path.parent().unwrap_or(Path::new(".")));
    log::flush();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config, city: City, base: &Path) -> anyhow::Result<()> {
    let mut sinks = Vec::new();
    for (name, sink) in &config.sink {
        let to = sink.way(base).map_err(|e| anyhow::anyhow!("sink.{name}: {e}"))?;
        let excerpt = Excerpt { gives: sink.gives, fields: sink.fields.clone() };
        sinks.push(SinkSettings { name: name.clone(), to, tries: sink.tries(), target: sink.target.clone(), excerpt });
    }
    let settings = Settings {
        unit: config.city.unit.clone(),
        node: config.node.digit,
        realm: config.city.realm.clone(),
        data: base.join(&config.node.data_dir),
        sip: config.listen.sip,
        sip_advertise: config.listen.sip_advertise,
        http: config.listen.http,
        hooks: config.listen.hooks,
        tls: config.tls.as_ref().map(|t| t.below(base)),
        storage: config.storage.rules(),
        admin: config.listen.admin,
        rtp_address: config.listen.rtp.address,
        rtp_shared: config.listen.rtp.shared,
        shards: config.node.shards.unwrap_or_else(config::default_shards),
        pin: config.node.pin,
        rtp_advertise: config.listen.rtp.advertise.unwrap_or(config.listen.rtp.address),
        rtp_ports: config.listen.rtp.ports,
        sinks,
        peers: None,
        saboteur: None,
    };
    let prometheus = metrics::install()?;
    let admin = prometheus.clone();
    // Before anybody can know that we are there, so that no signal finds us without a word for it.
    let (signals, hangups) = listen_for_signals()?;
    let running = assembly::start(city, settings, prometheus)?;
    // Whoever started us may have closed the pipe, or its disk may be full: that is no reason to answer no calls.
    let _ = writeln!(std::io::stdout(), "{}", ready_line(&running));
    tracing::info!(city = %config.city.name, sip = %running.sip, http = %running.http, admin = %running.admin, version = env!("CARGO_PKG_VERSION"), "ready");
    wait_and_drain(&running, (&signals, &hangups), &admin);
    running.stop();
    Ok(())
}

/// How many asked us to end (SIGTERM, SIGINT), and how many for what does nothing here (SIGHUP, SIGUSR1, SIGUSR2).
fn listen_for_signals() -> std::io::Result<(Arc<AtomicUsize>, Arc<AtomicUsize>)> {
    let signals = Arc::new(AtomicUsize::new(0));
    // A terminal that closes, or whoever thinks of a reload: nobody's call ends by it.
    let hangups = Arc::new(AtomicUsize::new(0));
    for signal in [signal_hook::consts::SIGHUP, signal_hook::consts::SIGUSR1, signal_hook::consts::SIGUSR2] {
        signal_hook::flag::register_usize(signal, Arc::clone(&hangups), 1)?;
    }
    // Each one counts, however close behind the other it comes.
    let mut ends = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])?;
    let counted = Arc::clone(&signals);
    let count = move || {
        for _ in ends.forever() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(count)?;
    Ok((signals, hangups))
}

/// What a supervisor or a test reads first: where everything listens.
fn ready_line(running: &assembly::Running) -> serde_json::Value {
    let mut ready = serde_json::json!({
        "sip": running.sip.to_string(),
        "http": running.http.to_string(),
        "admin": running.admin.to_string(),
    });
    if let Some(hooks) = running.hooks {
        ready["hooks"] = hooks.to_string().into();
    }
    serde_json::json!({ "ready": ready })
}

/// The first signal drains; the process ends when no call is left, or at the second signal.
fn wait_and_drain(
    running: &assembly::Running,
    (signals, hangups): (&AtomicUsize, &AtomicUsize),
    prometheus: &metrics_exporter_prometheus::PrometheusHandle,
) {
    while signals.load(Ordering::Relaxed) == 0 {
        if hangups.swap(0, Ordering::Relaxed) > 0 {
            tracing::warn!(
                "GW-1008 this signal does nothing here: a configuration is read at the start; SIGTERM drains"
            );
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    tracing::info!("draining: OPTIONS and /readyz say so, calls go on");
    running.drain();
    let mut waited = Duration::ZERO;
    while signals.load(Ordering::Relaxed) < 2 && waited < DRAIN {
        let step = Duration::from_millis(200);
        std::thread::park_timeout(step);
        waited += step;
        let idle = prometheus.render().lines().any(|l| l == "gateway_calls 0");
        if idle && waited > Duration::from_millis(1200) {
            return;
        }
    }
}
