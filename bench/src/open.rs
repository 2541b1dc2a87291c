//! A start with many alerts open: how long until calls are answered, and until every alert is there again.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use bench::hot::{casebook, report};
use codecs::time::Mono;
use loadtest::api::Api;
use loadtest::clock::Clock;
use store::disk::Files;
use store::journal::{Config, Door as _, Journal};
use switchboard::{Casebook, CasebookOutput, RequestId, ToCasebook};

use crate::city::{self, Variant};
use crate::lab::{Scratch, Server, pause, until_it_answers};

/// Messages between two syncs.
const GROUP: u32 = 2_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Alerts that are open when the process begins.
    #[arg(long, default_value_t = 50_000)]
    alerts: u32,
    /// The longest that they may take to be there again, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    within_ms: u64,
}

/// # Errors
/// When the gateway does not start, or the alerts do not come.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let scratch = Scratch::new("open")?;
    city::write(&scratch.0, Variant::default())?;
    let written = Clock::start();
    fill(scratch.0.join("data/journal"), args.alerts)?;
    println!("{} open alerts written in {:.1} s", args.alerts, written.now().as_secs_f64());
    // The first start makes the read model; what is measured is a start after a crash.
    let first = start(&scratch, args.alerts)?;
    println!("without a read model: first call answered after {} ms, all alerts after {} ms", first.0, first.1);
    let (answered, all) = start(&scratch, args.alerts)?;
    println!("after a kill: first call answered after {answered} ms, all alerts after {all} ms");
    let held = answered <= 1_000 && all <= args.within_ms;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::from(99) })
}

/// Milliseconds from the process's start to its first answer, and until the newest alert is served and nothing is being
/// taken up any more.
fn start(scratch: &Scratch, alerts: u32) -> anyhow::Result<(u64, u64)> {
    let clock = Clock::start();
    let millis = || clock.now().as_millis() as u64;
    let mut server = Server::start(&mut city::command(&scratch.0)?, &scratch.0)?;
    until_it_answers(&mut server, city::sip())?;
    let answered = millis();
    let token = std::fs::read_to_string(scratch.0.join("data/token"))?;
    let mut api = Api::new(city::at(1), token.trim());
    let mut admin = Api::new(city::at(2), "");
    loop {
        let ready = admin.request("GET", "/readyz", "").map(|(_, text)| text).unwrap_or_default();
        let is_taken_up = ready.starts_with("ready") && !ready.contains("GW-3107") && !ready.contains("read-model");
        let path = format!("/v1/alerts?after={}&limit=1", alerts.saturating_sub(1));
        let listed = api.request("GET", &path, "").is_ok_and(|(code, body)| code == 200 && body.contains("alert_no"));
        if is_taken_up && listed {
            return Ok((answered, millis()));
        }
        ensure!(clock.now() < Duration::from_secs(300) && server.is_up(), "not all alerts come: {ready}");
        pause(clock, Duration::from_millis(5));
    }
}

/// A journal as the casebook writes it, of so many people who have each written once.
fn fill(dir: PathBuf, alerts: u32) -> anyhow::Result<()> {
    let mut journal = Journal::shut(Files::shared(), &dir, Config::of_node(1));
    journal.open(|_| {})?;
    let at = gateway::clock::Clock::start().wall();
    let mut casebook = casebook(at);
    casebook.reserve(at, None);
    for n in 0..alerts {
        let request = RequestId(u64::from(n) + 1);
        casebook
            .handle(Mono(u64::from(n)), ToCasebook::Incoming { at, message: Box::new(report(u64::from(n))), request });
        drain(&mut casebook, &mut journal);
        if n % GROUP == GROUP - 1 || n + 1 == alerts {
            journal.commit().map_err(|trouble| anyhow::anyhow!("{trouble}"))?;
            casebook.handle_durable(journal.durable());
            if journal.is_full() {
                journal.begin_segment().map_err(|trouble| anyhow::anyhow!("{trouble}"))?;
                casebook.begin_segment(at, journal.last_sequence() + 1, false);
            }
            casebook.go_on_with_snapshot(at);
            drain(&mut casebook, &mut journal);
        }
    }
    journal.commit().map_err(|trouble| anyhow::anyhow!("{trouble}"))
}

fn drain(casebook: &mut Casebook, journal: &mut Journal) {
    while let Some(output) = casebook.poll_output() {
        match output {
            CasebookOutput::Append { at, event } => {
                journal.append(at, codecs::journal::Kind::Event, event.to_json());
            }
            CasebookOutput::Frame { at, kind, payload } => {
                journal.append(at, kind, payload);
            }
            _ => {}
        }
    }
    journal.end_batch();
}
