//! The `loadtest` command. Exit codes: 0 all thresholds held, 1 failed to run, 2 usage, 99 a threshold crossed.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use loadtest::calls::{self, MediaMode, Plan, Report, Threshold};
use loadtest::page::{OFFICERS, api_of, demo_page, officers_of, range_of, text_of};
use loadtest::sweep::What;
use loadtest::text::centre::{self, Protocol};
use loadtest::text::messages::{self, Channel};
use loadtest::{drill, officers};

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
    /// Written reports in an open loop, by any channel of a running demo
    Messages(Messages),
    /// Honest calls while one rude thing after another is let loose on a running demo: an honest caller notices nothing
    Drill(Drill),
    /// Officers who tell their positions in an open loop
    Officers(Officers),
    /// The highest load that is carried whole, and what a unit costs on the way there
    Sweep(Sweep),
    /// An operator's message centre by itself: `user<TAB>text` on stdin is delivered, what comes is told on stdout
    Centre(CentreArgs),
}

#[derive(clap::Args)]
struct CentreArgs {
    /// cmpp, cmpp3, sgip, smgp or smpp
    #[arg(long)]
    protocol: String,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long, default_value = "demo")]
    secret: String,
    #[arg(long, default_value = "12110")]
    number: String,
}

/// Who tells ports and secrets.
#[derive(clap::Args, Clone)]
struct Source {
    /// The admin address of a running `gateway demo`, which tells them
    #[arg(long, default_value = "127.0.0.1:9110")]
    admin: SocketAddr,
    /// A file in the form of peers.json instead, for a gateway that is no demo
    #[arg(long)]
    page: Option<std::path::PathBuf>,
}

/// Where the result goes beside the terminal.
#[derive(clap::Args, Clone, Default)]
struct ResultTo {
    /// The last line of stdout is one JSON object
    #[arg(long)]
    json: bool,
    /// The same object, into a file
    #[arg(long)]
    report: Option<std::path::PathBuf>,
}

#[derive(clap::Args)]
struct Drill {
    /// The acts to be played, in their order; all unless told
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Says which acts there are, and plays none
    #[arg(long)]
    list: bool,
    /// For how long each act places honest calls
    #[arg(long, default_value = "6s", value_parser = duration)]
    duration: Duration,
    /// Honest calls a second
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Connections that are opened on one listener after the other
    #[arg(long, default_value_t = 3000)]
    connections: usize,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    result: ResultTo,
}

#[derive(clap::Args)]
struct Officers {
    /// How many; each tells its position every ten seconds. Beyond the accounts that there are several share one, and
    /// the report says how many there were
    #[arg(long, default_value_t = 600)]
    officers: u32,
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    result: ResultTo,
}

#[derive(clap::Args)]
struct Sweep {
    #[arg(value_enum)]
    what: What,
    /// The server's process
    #[arg(long)]
    pid: u32,
    /// Where to begin; doubled until something is not served, or 99 of 100 take longer than half a second
    #[arg(long, default_value_t = 100.0)]
    from: f64,
    /// No further than this
    #[arg(long, default_value_t = 20_000.0)]
    most: f64,
    /// How long each load is held
    #[arg(long, default_value = "5s", value_parser = duration)]
    duration: Duration,
    /// By which carrier's protocol messages come
    #[arg(long, value_enum, default_value_t = Channel::Cmpp)]
    channel: Channel,
    #[command(flatten)]
    source: Source,
    /// Any SIP target instead (calls only)
    #[arg(long)]
    target: Option<SocketAddr>,
    #[command(flatten)]
    result: ResultTo,
}

#[derive(clap::Args)]
struct Messages {
    #[arg(long, value_enum)]
    channel: Channel,
    /// Messages a second
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// For how long messages are sent, e.g. 20s
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Seats that answer
    #[arg(long, default_value_t = 64)]
    seats: u32,
    /// Conversations that a taker answers at one time
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// How long a taker thinks before the first line
    #[arg(long, default_value = "100ms", value_parser = duration)]
    think: Duration,
    /// Milliseconds within which 99 of 100 receipts have to be there
    #[arg(long, default_value_t = 500.0)]
    receipt_p99: f64,
    /// Nobody answers: only the way in and the receipt are measured
    #[arg(long)]
    unanswered: bool,
    /// How long the last answers are waited for
    #[arg(long, default_value = "10s", value_parser = duration)]
    patience: Duration,
    /// The gateway's process: its CPU a message is measured too
    #[arg(long)]
    pid: Option<u32>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    result: ResultTo,
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
    #[command(flatten)]
    source: Source,
    /// Any SIP target instead, e.g. 127.0.0.1:5060; one or two legs, called user 110
    #[arg(long)]
    target: Option<SocketAddr>,
    #[command(flatten)]
    result: ResultTo,
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
    let outcome = match Cli::parse().command {
        Command::Calls(args) => plan(&args).and_then(|plan| calls::run(&plan)).map(|report| tell(&args, &report)),
        Command::Messages(args) => {
            message_plan(&args).and_then(|plan| messages::run(&plan)).map(|report| tell_messages(&args, &report))
        }
        Command::Officers(args) => run_officers(&args),
        Command::Drill(args) => run_drill(&args),
        Command::Sweep(args) => sweep(&args),
        Command::Centre(args) => {
            let protocol = Protocol::parse(&args.protocol).context("protocol: cmpp, cmpp3, sgip, smgp or smpp");
            protocol.and_then(|p| centre::alone(p, args.listen, args.secret, args.number)).map(|()| ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn message_plan(args: &Messages) -> anyhow::Result<messages::Plan> {
    let page = page(&args.source)?;
    let (http, token) = api_of(&page)?;
    Ok(messages::Plan {
        channel: args.channel,
        rate: args.rate,
        duration: args.duration,
        seats: args.seats,
        threads: args.threads,
        think: args.think,
        receipt_p99_ms: args.receipt_p99,
        unanswered: args.unanswered,
        http,
        token,
        sip: text_of(&page, "sip")?.parse()?,
        source: page["load"]["source"].as_str().context("load.source")?.parse()?,
        first_seat: page["load"]["seats"][0].as_u64().context("load.seats")? as u32,
        password: text_of(&page, "password")?.to_owned(),
        peers: messages::channels_of(&page)?,
        patience: args.patience,
        pid: args.pid,
    })
}

fn sweep(args: &Sweep) -> anyhow::Result<ExitCode> {
    let calls = Calls {
        rate: args.from,
        duration: args.duration,
        hold: args.duration,
        legs: 1,
        media: MediaMode::Probe,
        source: args.source.clone(),
        target: args.target,
        result: ResultTo::default(),
    };
    let messages = Messages {
        channel: args.channel,
        rate: args.from,
        duration: args.duration,
        seats: 0,
        threads: 1,
        think: Duration::ZERO,
        receipt_p99: f64::MAX,
        unanswered: true,
        patience: Duration::from_secs(10),
        pid: None,
        source: args.source.clone(),
        result: ResultTo::default(),
    };
    let plan = loadtest::sweep::Plan {
        what: args.what,
        from: args.from,
        most: args.most,
        pid: args.pid,
        duration: args.duration,
        calls: plan(&calls)?,
        messages: (args.what == What::Messages).then(|| message_plan(&messages)).transpose()?,
    };
    let report = loadtest::sweep::run(&plan, |s| {
        println!("{:>8.0}: p50 {:.1} ms, p99 {:.1} ms, cost {:.2} {}", s.load, s.p50_ms, s.p99_ms, s.cost, s.why);
    })?;
    print!("{}", report.draw(args.what));
    let steps: Vec<_> = report
        .steps
        .iter()
        .map(|s| serde_json::json!({"load": s.load, "p50_ms": s.p50_ms, "p99_ms": s.p99_ms, "cost": s.cost, "accounts": s.accounts}))
        .collect();
    let object = serde_json::json!({"knee": report.knee, "spread": report.spread, "steps": steps});
    Ok(hand_over(&object, &args.result, true))
}

fn run_drill(args: &Drill) -> anyhow::Result<ExitCode> {
    if args.list {
        for act in drill::ACTS {
            println!("{:<12} {}", act.name, act.says);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let page = page(&args.source)?;
    let calls = Calls {
        rate: args.rate,
        duration: args.duration,
        hold: Duration::from_secs(1),
        legs: 2,
        media: MediaMode::Full,
        source: args.source.clone(),
        target: None,
        result: ResultTo::default(),
    };
    let mut calls = plan(&calls)?;
    let last = calls.seats.1;
    calls.seats.1 = last - RUDE_SEATS;
    let stage = drill::Stage {
        http: text_of(&page, "http")?.parse()?,
        admin: text_of(&page, "admin")?.parse()?,
        pid: page["pid"].as_u64().map(|pid| pid as u32),
        rude_seats: (last - RUDE_SEATS + 1, last),
        connections: args.connections,
        strangers_call: page["strangers_call"].as_bool().unwrap_or_default(),
        calls,
    };
    let mut acts = Vec::new();
    let all = drill::run(&stage, &args.only, |p| {
        let did: Vec<String> = p.did.iter().map(|(name, n)| format!("{name} {n}")).collect();
        println!("{:<12} {} · {}", p.name, p.says, did.join(" · "));
        println!(
            "  honest calls: placed {} answered {} · answer at most {:.0} ms",
            p.placed, p.answered, p.answer_ms_max
        );
        let thresholds = tell_thresholds(&p.thresholds);
        let did: serde_json::Map<_, _> = p.did.iter().map(|(name, n)| ((*name).to_owned(), (*n).into())).collect();
        acts.push(serde_json::json!({
            "name": p.name,
            "pass": p.pass(),
            "did": did,
            "placed": p.placed,
            "answered": p.answered,
            "answer_ms_max": p.answer_ms_max,
            "thresholds": thresholds,
        }));
    })?;
    let pass = all.iter().all(drill::Played::pass);
    let noticed: Vec<&str> = all.iter().filter(|p| !p.pass()).map(|p| p.name).collect();
    println!("what an honest caller noticed: {}", if pass { "nothing".to_owned() } else { noticed.join(", ") });
    Ok(hand_over(&serde_json::json!({ "pass": pass, "acts": acts }), &args.result, pass))
}

fn run_officers(args: &Officers) -> anyhow::Result<ExitCode> {
    let page = page(&args.source)?;
    let plan = officers::Plan {
        officers: args.officers,
        duration: args.duration,
        api: api_of(&page)?,
        range: officers_of(&page),
    };
    let r = officers::run(&plan)?;
    let ms = |q: f64| r.latency.value_at_quantile(q) as f64 / 1000.0;
    println!("positions: sent {} taken {} · {} officers by {} accounts", r.sent, r.taken, r.officers, r.accounts);
    println!("position ms: p50 {:.1}  p90 {:.1}  p99 {:.1}  max {:.1}", ms(0.5), ms(0.9), ms(0.99), ms(1.0));
    let thresholds = tell_thresholds(&r.thresholds);
    let object = serde_json::json!({
        "pass": r.pass(),
        "thresholds": thresholds,
        "officers": r.officers,
        "accounts": r.accounts,
        "sent": r.sent,
        "taken": r.taken,
        "position_ms": { "p50": ms(0.5), "p99": ms(0.99), "max": ms(1.0) },
    });
    Ok(hand_over(&object, &args.result, r.pass()))
}

fn tell_messages(args: &Messages, r: &messages::Report) -> ExitCode {
    let ms = |h: &hdrhistogram::Histogram<u64>, q: f64| h.value_at_quantile(q) as f64 / 1000.0;
    println!(
        "messages by {}: sent {} acknowledged {} receipts {} answered {} · in exactly one alert {} · sent again {}",
        args.channel.text(),
        r.sent,
        r.acknowledged,
        r.receipts,
        r.answered,
        r.in_alerts,
        r.repeated
    );
    for (name, h) in [("acknowledged", &r.acknowledge), ("receipt", &r.receipt), ("first human line", &r.answer)] {
        if !h.is_empty() {
            let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| ms(h, q));
            println!("{name} ms: p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  max {max:.1}");
        }
    }
    if let Some(micros) = r.cpu_us {
        println!("CPU of the gateway: {micros:.1} µs a message");
    }
    println!("this tool sent a message at most {} ms late", r.late_ms_max);
    let thresholds = tell_thresholds(&r.thresholds);
    let times = |h| serde_json::json!({ "p50": ms(h, 0.5), "p99": ms(h, 0.99), "max": ms(h, 1.0) });
    let object = serde_json::json!({
        "pass": r.pass(),
        "thresholds": thresholds,
        "sent": r.sent,
        "acknowledged": r.acknowledged,
        "receipts": r.receipts,
        "answered": r.answered,
        "in_alerts": r.in_alerts,
        "repeated": r.repeated,
        "cpu_us": r.cpu_us,
        "acknowledge_ms": times(&r.acknowledge),
        "receipt_ms": times(&r.receipt),
        "answer_ms": times(&r.answer),
    });
    hand_over(&object, &args.result, r.pass())
}

/// What load tools need to know: a file's word, or a running demo's.
fn page(source: &Source) -> anyhow::Result<serde_json::Value> {
    match &source.page {
        Some(file) => Ok(serde_json::from_slice(&std::fs::read(file).with_context(|| file.display().to_string())?)?),
        None => demo_page(source.admin),
    }
}

/// Of the seats, those that a drill uses for rude phones.
const RUDE_SEATS: u32 = 20;

fn plan(args: &Calls) -> anyhow::Result<Plan> {
    let mut plan = Plan {
        rate: args.rate,
        duration: args.duration,
        hold: args.hold,
        legs: args.legs,
        media: args.media,
        sip: args.target.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 5060))),
        source: IpAddr::from([127, 0, 0, 3]),
        attendant: "110".into(),
        api: None,
        seats: (3001, 3600),
        officers: OFFICERS,
        password: "demo".into(),
        foreign: None,
        patience: calls::PATIENCE,
        jumping: false,
        watched: None,
    };
    if args.target.is_some() {
        return Ok(plan);
    }
    let page = page(&args.source)?;
    plan.sip = text_of(&page, "sip")?.parse()?;
    plan.attendant = page["bench_user"].as_str().unwrap_or("bench").to_owned();
    plan.api = Some(api_of(&page)?);
    plan.password = text_of(&page, "password")?.to_owned();
    plan.source = page["load"]["source"].as_str().context("load.source")?.parse()?;
    plan.officers = officers_of(&page);
    plan.seats = range_of(&page["load"]["seats"]).unwrap_or(plan.seats);
    plan.foreign = range_of(&page["rtp"]);
    Ok(plan)
}

fn tell(args: &Calls, report: &Report) -> ExitCode {
    let ms = |h: &hdrhistogram::Histogram<u64>, q: f64| h.value_at_quantile(q) as f64 / 1000.0;
    let told = match args.media {
        MediaMode::Full => "",
        MediaMode::Probe => " (five packets a leg)",
        MediaMode::None => " (one packet a leg, nobody listens)",
    };
    println!(
        "calls: placed {} with a 200 {} answered by {} {} bridged {} · up at once {} · media {:?}{told}",
        report.placed,
        report.taken,
        if args.legs == 1 { "the attendant" } else { "a human" },
        report.answered,
        report.bridged,
        report.concurrent_max,
        args.media,
    );
    for (name, h) in [("200", &report.taken_after), ("answer", &report.answer), ("officer", &report.officer)] {
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
    let w = report.windows;
    if w.judged() + w.left_out > 0 {
        println!(
            "windows of half a second: as they should be {} · a stranger {} · somebody missing {} · too much lost {} · \
             left out since this tool stood still {}",
            w.sound, w.stranger, w.missing, w.lost, w.left_out
        );
    }
    for (why, count) in &report.failed {
        println!("failed: {why} {count}");
    }
    println!(
        "rtp lost on the way to us {} · this tool placed a call at most {} ms late",
        report.rtp_lost, report.late_placed_ms_max
    );
    let thresholds = tell_thresholds(&report.thresholds);
    let object = serde_json::json!({
        "pass": report.pass(),
        "thresholds": thresholds,
        "placed": report.placed,
        "taken": report.taken,
        "answered": report.answered,
        "bridged": report.bridged,
        "audible": report.audible,
        "failed": report.failed,
        "windows": {
            "sound": w.sound, "stranger": w.stranger, "missing": w.missing, "lost": w.lost, "left_out": w.left_out,
        },
        "answer_ms": { "p50": ms(&report.answer, 0.5), "p99": ms(&report.answer, 0.99), "max": ms(&report.answer, 1.0) },
        "officer_ms": { "p50": ms(&report.officer, 0.5), "p99": ms(&report.officer, 0.99), "max": ms(&report.officer, 1.0) },
        "rtp_lost": report.rtp_lost,
        "late_placed_ms_max": report.late_placed_ms_max,
    });
    hand_over(&object, &args.result, report.pass())
}

/// Prints the thresholds for people; returns them for machines.
fn tell_thresholds(all: &[Threshold]) -> Vec<serde_json::Value> {
    for t in all {
        println!("  {} {:<24} {:>10.1}  limit {:.1}", if t.pass { '✔' } else { '✗' }, t.name, t.value, t.limit);
    }
    let object =
        |t: &Threshold| serde_json::json!({ "name": t.name, "value": t.value, "limit": t.limit, "pass": t.pass });
    all.iter().map(object).collect()
}

/// Writes the object where it is wanted; the exit code says whether every threshold held.
fn hand_over(object: &serde_json::Value, to: &ResultTo, pass: bool) -> ExitCode {
    if let Some(path) = &to.report
        && let Err(error) = std::fs::write(path, object.to_string())
    {
        eprintln!("error: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if to.json {
        println!("{object}");
    }
    if pass { ExitCode::SUCCESS } else { ExitCode::from(99) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_target_is_called_by_the_user_that_the_help_names() {
        let Command::Calls(args) =
            Cli::parse_from(["loadtest", "calls", "--target", "127.0.0.1:5060", "--legs", "1"]).command
        else {
            panic!("calls were asked for")
        };
        let user = plan(&args).expect("a target needs nothing else").attendant;
        let calls = Cli::command();
        let calls = calls.find_subcommand("calls").expect("there is one");
        let target = calls.get_arguments().find(|a| a.get_id() == "target").expect("there is one");
        let help = target.get_help().expect("it is explained").to_string();
        assert!(help.contains(&format!("called user {user}")), "{help}");
    }
}
