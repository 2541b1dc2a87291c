//! The `loadtest` command. Exit codes: 0 all thresholds held, 1 failed to run, 2 usage, 99 a threshold crossed.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use loadtest::api::Api;
use loadtest::calls::{self, MediaMode, Plan, Report};

#[derive(Parser)]
#[command(name = "loadtest", version, about = "Load on a gateway, seen from outside")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Telephone calls in an open loop
    Calls(Calls),
}

#[derive(clap::Args)]
struct Calls {
    /// Calls a second
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// For how long calls are placed, e.g. 20s
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long a connected call is held
    #[arg(long, default_value = "3s", value_parser = duration)]
    hold: Duration,
    /// 1: the attendant (user bench); 2: a seat; 3: a seat and an officer
    #[arg(long, default_value_t = 2)]
    legs: u8,
    #[arg(long, value_enum, default_value_t = MediaMode::Probe)]
    media: MediaMode,
    /// The admin address of a running `gateway demo`, which tells ports and accounts
    #[arg(long, default_value = "127.0.0.1:9110")]
    admin: SocketAddr,
    /// Any SIP target instead, e.g. 127.0.0.1:5060; one or two legs, called user 110
    #[arg(long)]
    target: Option<SocketAddr>,
    /// The last line of stdout is one JSON object
    #[arg(long)]
    json: bool,
    /// The same object, into a file
    #[arg(long)]
    report: Option<std::path::PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration such as 500ms, 20s or 2m");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
    let number: f64 = text[..split].parse().map_err(|_| bad())?;
    let unit = match &text[split..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(bad()),
    };
    Ok(Duration::from_secs_f64(number * unit))
}

/// Two descriptors a leg add up: as many as the machine allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn main() -> ExitCode {
    raise_descriptor_limit();
    let Command::Calls(args) = Cli::parse().command;
    match plan(&args).and_then(|plan| calls::run(&plan)) {
        Ok(report) => tell(&args, &report),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(args: &Calls) -> anyhow::Result<Plan> {
    let mut plan = Plan {
        rate: args.rate,
        duration: args.duration,
        hold: args.hold,
        legs: args.legs,
        media: args.media,
        sip: args.target.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 5060))),
        source: IpAddr::from([127, 0, 0, 3]),
        api: None,
        seats: (3001, 3600),
        officers: (4001, 4600),
        password: "demo".into(),
    };
    if args.target.is_some() {
        return Ok(plan);
    }
    let (status, body) =
        Api::new(args.admin, "").request("GET", "/demo/peers.json", "").context("no demo answers at --admin")?;
    anyhow::ensure!(status == 200, "{}: {status} {body}", args.admin);
    let page: serde_json::Value = serde_json::from_str(&body)?;
    let text = |key: &str| page[key].as_str().with_context(|| format!("peers.json has no {key}"));
    plan.sip = text("sip")?.parse()?;
    let token_file = std::path::Path::new(text("token_file")?);
    let token = std::fs::read_to_string(token_file).with_context(|| token_file.display().to_string())?;
    plan.api = Some((text("http")?.parse()?, token.trim().to_owned()));
    plan.password = text("password")?.to_owned();
    plan.source = page["load"]["source"].as_str().context("load.source")?.parse()?;
    Ok(plan)
}

fn tell(args: &Calls, report: &Report) -> ExitCode {
    let ms = |h: &hdrhistogram::Histogram<u64>, q: f64| h.value_at_quantile(q) as f64 / 1000.0;
    println!(
        "calls: placed {} answered {} bridged {} · up at once {} · media {:?}{}",
        report.placed,
        report.answered,
        report.bridged,
        report.concurrent_max,
        args.media,
        if args.media == MediaMode::None { " (signalling only)" } else { "" }
    );
    for (name, h) in [("answer", &report.answer), ("officer", &report.officer)] {
        if !h.is_empty() {
            println!(
                "{name} ms: p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}",
                ms(h, 0.5),
                ms(h, 0.9),
                ms(h, 0.99),
                ms(h, 0.999),
                ms(h, 1.0)
            );
        }
    }
    for (why, count) in &report.failed {
        println!("failed: {why} {count}");
    }
    println!(
        "rtp lost on the way to us {} · this tool placed a call at most {} ms late",
        report.rtp_lost, report.late_placed_ms_max
    );
    for t in &report.thresholds {
        println!("  {} {:<24} {:>10.1}  limit {:.1}", if t.pass { '✔' } else { '✗' }, t.name, t.value, t.limit);
    }
    let object = serde_json::json!({
        "pass": report.pass(),
        "thresholds": report.thresholds.iter().map(|t| serde_json::json!({ "name": t.name, "value": t.value, "limit": t.limit, "pass": t.pass })).collect::<Vec<_>>(),
        "placed": report.placed,
        "answered": report.answered,
        "bridged": report.bridged,
        "answer_ms": { "p50": ms(&report.answer, 0.5), "p99": ms(&report.answer, 0.99), "max": ms(&report.answer, 1.0) },
        "officer_ms": { "p50": ms(&report.officer, 0.5), "p99": ms(&report.officer, 0.99), "max": ms(&report.officer, 1.0) },
        "rtp_lost": report.rtp_lost,
    });
    if let Some(path) = &args.report
        && let Err(error) = std::fs::write(path, object.to_string())
    {
        eprintln!("error: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if args.json {
        println!("{object}");
    }
    if report.pass() { ExitCode::SUCCESS } else { ExitCode::from(99) }
}
