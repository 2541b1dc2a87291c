//! One call answered: sipp calls everybody, with the same scenario at the same rate.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use loadtest::clock::Clock;

use super::Lab;
use crate::city::{self, Variant};
use crate::lab::{Server, find, ours, pause};
use crate::table::OURS;

const RATE: u32 = 2000;
const UAS: u16 = city::BASE + 60;
const PROXY: u16 = city::BASE + 62;

pub fn run(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let one = gateway(lab, 1)?;
    let two = gateway(lab, 2)?;
    lab.results.add("answer-two-shards", OURS, two / one);
    lab.peer("sipp uas", sipp_uas);
    lab.peer("Kamailio, stateless 200", |lab| kamailio(lab, "Kamailio, stateless 200", STATELESS, false));
    lab.peer("Kamailio, transaction proxy", |lab| kamailio(lab, "Kamailio, transaction proxy", &relay(), true));
    if !lab.quick {
        latency(lab)?;
    }
    Ok(())
}

fn calls(lab: &Lab<'_>) -> u32 {
    if lab.quick { 4 * RATE } else { 8 * RATE }
}

/// How fast, and how many.
#[derive(Clone, Copy)]
pub struct Drive {
    pub rate: u32,
    pub calls: u32,
}

fn full(lab: &Lab<'_>) -> Drive {
    Drive { rate: RATE, calls: calls(lab) }
}

/// Places the calls; the server's CPU a call. Every call must have been answered.
pub fn drive(load: Drive, server: &Server, dir: &Path, target: &str) -> anyhow::Result<(f64, String)> {
    let mut command = Command::new(find("sipp").context("sipp is not installed")?);
    command.args(["-sn", "uac", "-s", "bench", "-i", "127.0.0.1", "-p"]).arg((city::BASE + 66).to_string());
    command.args(["-r", &load.rate.to_string(), "-m", &load.calls.to_string(), "-d", "0", "-l", "20000"]);
    command.args(["-nostdin", "-timeout", "60", target]).current_dir(dir);
    let before = server.cpu_us();
    let output = command.output()?;
    pause(Clock::start(), Duration::from_millis(700));
    let used = server.cpu_us() - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let count = |what: &str| -> u32 {
        let line = text.lines().rev().find(|l| l.contains(what)).unwrap_or_default();
        line.rsplit('|').next().and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    };
    let (good, bad) = (count("Successful call"), count("Failed call"));
    // A machine that is short of time loses one now and then; more is a result that says nothing.
    ensure!(good > 0 && bad * 200 <= good, "{good} calls completed, {bad} failed");
    Ok((used / f64::from(good), format!("{command:?}")))
}

/// CPU a call with so many shards; with one it fills our rows.
fn gateway(lab: &mut Lab<'_>, shards: u16) -> anyhow::Result<f64> {
    eprintln!("    {OURS}, {shards} shard(s) …");
    let scratch = lab.scratch("answer")?;
    let server = city::start(&scratch.0, Variant { shards, ..Variant::default() })?;
    let shard = server.thread_us("shard-0");
    let (each, command) = drive(full(lab), &server, &scratch.0, &city::sip().to_string())?;
    if shards > 1 {
        return Ok(each);
    }
    let shard = (server.thread_us("shard-0") - shard) / f64::from(calls(lab));
    lab.results.add("answer", OURS, each);
    lab.results.add("signalling", OURS, shard);
    lab.results.command(OURS, "gateway run --config city.toml".into());
    lab.results.command("driver of answer", command);
    Ok(each)
}

/// sipp as the called side, on our uas port.
fn start_uas(dir: &Path) -> anyhow::Result<Server> {
    let mut command = Command::new(find("sipp").context("sipp is not installed")?);
    command.args(["-sn", "uas", "-i", "127.0.0.1", "-p", &UAS.to_string(), "-nostdin"]);
    let server = Server::start(&mut command, dir)?;
    pause(Clock::start(), Duration::from_millis(500));
    Ok(server)
}

fn sipp_uas(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let scratch = lab.scratch("uas")?;
    let server = start_uas(&scratch.0)?;
    let (each, _) = drive(full(lab), &server, &scratch.0, &format!("127.0.0.1:{UAS}"))?;
    lab.results.add("answer", "sipp uas", each);
    lab.results.command("sipp uas", format!("sipp -sn uas -i 127.0.0.1 -p {UAS} -nostdin"));
    Ok(())
}

const STATELESS: &str =
    "request_route {\n    if (method == \"ACK\") { drop; }\n    sl_send_reply(\"200\", \"OK\");\n}\n";

fn relay() -> String {
    format!("request_route {{\n    t_relay_to_udp(\"127.0.0.1\", \"{UAS}\");\n}}\n")
}

fn kamailio(lab: &mut Lab<'_>, who: &str, route: &str, needs_uas: bool) -> anyhow::Result<()> {
    let program = find("kamailio").context("kamailio is not installed")?;
    let scratch = lab.scratch("kamailio")?;
    let config = format!(
        "debug=-1\nlog_stderror=yes\nfork=yes\nchildren=1\ndisable_tcp=yes\nlisten=udp:127.0.0.1:{PROXY}\n\
         loadmodule \"sl.so\"\nloadmodule \"tm.so\"\nloadmodule \"pv.so\"\n{route}"
    );
    let path = scratch.0.join("kamailio.cfg");
    std::fs::write(&path, config)?;
    let mut command = Command::new(&program);
    command.args(["-DD", "-E", "-x", "fm", "-X", "fm", "-m", "1024", "-M", "32", "-f"]).arg(&path);
    command.args(["-Y", &scratch.0.to_string_lossy()]);
    let uas = needs_uas.then(|| start_uas(&scratch.0)).transpose()?;
    let mut server = Server::start(&mut command, &scratch.0)?;
    pause(Clock::start(), Duration::from_millis(1500));
    ensure!(server.is_up(), "kamailio ended: see its log");
    let (each, _) = drive(full(lab), &server, &scratch.0, &format!("127.0.0.1:{PROXY}"))?;
    drop(uas);
    lab.results.add("answer", who, each);
    lab.results.command(who, format!("kamailio -x fm -X fm, children=1, {}", route.replace('\n', " ")));
    Ok(())
}

/// By our own tool, which counts from the scheduled instant.
fn latency(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let scratch = lab.scratch("latency")?;
    let page = city::write(&scratch.0, Variant::default())?;
    let _server = city::start(&scratch.0, Variant::default())?;
    let mut command = Command::new(ours("loadtest")?);
    command.args(["calls", "--rate", "200", "--duration", "10s", "--legs", "1", "--hold", "1s", "--media", "probe"]);
    let output = command.args(["--json", "--page"]).arg(page).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default())
        .with_context(|| format!("loadtest: {text} {}", String::from_utf8_lossy(&output.stderr)))?;
    ensure!(report["placed"] == report["answered"], "calls were not answered: {report}");
    lab.results.add("answer-p99", OURS, report["answer_ms"]["p99"].as_f64().context("a p99")?);
    Ok(())
}
