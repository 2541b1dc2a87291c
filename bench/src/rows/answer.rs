//! One call answered. With audio: our own tool calls the gateway, and every call has to leave an alert, its journal
//! entries and a recording in which its caller is heard. Without: sipp calls everybody, with the same scenario at the
//! same rate.

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

pub(super) fn run(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let one = heard(lab, 1)?;
    let two = heard(lab, 2)?;
    lab.results.add("answer", OURS, one);
    lab.results.add("answer-two-shards", OURS, two / one);
    bare(lab)?;
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
pub(super) struct Drive {
    pub rate: u32,
    pub calls: u32,
}

fn full(lab: &Lab<'_>) -> Drive {
    Drive { rate: RATE, calls: calls(lab) }
}

/// Places the calls; the server's CPU a call. Every call must have been answered.
pub(super) fn drive(load: Drive, server: &Server, dir: &Path, target: &str) -> anyhow::Result<(f64, String)> {
    let mut command = Command::new(find("sipp").context("sipp is not installed")?);
    command.args(["-sn", "uac", "-s", "bench", "-i", "127.0.0.1", "-p"]).arg((city::BASE + 66).to_string());
    command.args(["-r", &load.rate.to_string(), "-m", &load.calls.to_string(), "-d", "0", "-l", "20000"]);
    command.args(["-nostdin", "-timeout", "60", target]).current_dir(dir);
    let before = server.cpu_us();
    let output = command.output()?;
    pause(Clock::start(), Duration::from_millis(700));
    let used = server.cpu_us() - before;
    all_answered(&String::from_utf8_lossy(&output.stdout), load.calls)?;
    Ok((used / f64::from(load.calls), format!("{command:?}")))
}

/// By sipp's last screen: the first call that was not answered is one too many.
fn all_answered(screen: &str, calls: u32) -> anyhow::Result<()> {
    let count = |what: &str| -> Option<u32> {
        let line = screen.lines().rev().find(|l| l.contains(what))?;
        line.rsplit('|').next().and_then(|n| n.trim().parse().ok())
    };
    let (good, bad) = (count("Successful call"), count("Failed call"));
    ensure!(good == Some(calls) && bad == Some(0), "of {calls} calls {good:?} completed, {bad:?} failed");
    Ok(())
}

/// CPU of a bare call, and of the shard's thread in it.
fn bare(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    eprintln!("    {OURS}, no audio …");
    let scratch = lab.scratch("answer")?;
    let server = city::start(&scratch.0, Variant::default())?;
    let shard = server.thread_us("shard-0");
    let (each, command) = drive(full(lab), &server, &scratch.0, &city::sip().to_string())?;
    let shard = (server.thread_us("shard-0") - shard) / f64::from(calls(lab));
    lab.results.add("answer-bare", OURS, each);
    lab.results.add("signalling", OURS, shard);
    lab.results.command(OURS, "gateway run --config city.toml".into());
    lab.results.command("driver of answer-bare", command);
    Ok(())
}

/// How long whoever records and follows may take to come behind.
const BEHIND: Duration = Duration::from_secs(120);

/// CPU of a call that is heard for a fifth of a second, with so many shards.
fn heard(lab: &mut Lab<'_>, shards: u16) -> anyhow::Result<f64> {
    eprintln!("    {OURS}, heard and recorded, {shards} shard(s) …");
    let (scratch, clock) = (lab.scratch("heard")?, Clock::start());
    let variant = Variant { shards, ..Variant::default() };
    let page = city::write(&scratch.0, variant)?;
    let server = city::start(&scratch.0, variant)?;
    let wanted = calls(lab);
    let mut command = Command::new(ours("loadtest")?);
    command.args(["calls", "--legs", "1", "--media", "probe", "--hold", "200ms", "--json"]);
    command.args(["--rate", &RATE.to_string(), "--duration", &format!("{}s", wanted / RATE), "--page"]).arg(page);
    let before = server.cpu_us();
    let output = command.output()?;
    let report = report_of(&output)?;
    ensure!(report["pass"] == true && report["answered"] == wanted, "not every call was answered: {report}");
    let (data, end) = (scratch.0.join("data"), clock.now() + BEHIND);
    while recorded(&data, wanted)? < wanted {
        ensure!(clock.now() < end, "{} of {wanted} calls are recorded and told", recorded(&data, wanted)?);
        pause(clock, Duration::from_millis(500));
    }
    let used = server.cpu_us() - before;
    lab.results.command("driver of answer", format!("{command:?}"));
    Ok(used / f64::from(wanted))
}

/// Alerts that are closed, of which the journal names the caller's track, and whose caller is heard on it.
fn recorded(data: &Path, wanted: u32) -> anyhow::Result<u32> {
    let closed = store::read_model::list(data, 0, wanted + 1, Some("closed"), "")?;
    let is_heard = |record: &str| -> Option<bool> {
        let record: serde_json::Value = serde_json::from_str(record).ok()?;
        let track = record["media"].as_array()?.iter().find(|m| m["track"] == "caller")?;
        let wav = std::fs::read(data.join(track["uri"].as_str()?)).ok()?;
        let samples = codecs::audio::wav::Wav::parse(&wav).ok()?.samples();
        // Silence in A-law is not quite none.
        Some(samples.iter().any(|s| s.unsigned_abs() > 1000))
    };
    Ok(closed.iter().filter(|(_, record)| is_heard(record) == Some(true)).count() as u32)
}

/// The object that `loadtest --json` ends with.
fn report_of(output: &std::process::Output) -> anyhow::Result<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .with_context(|| format!("loadtest: {text} {}", String::from_utf8_lossy(&output.stderr)))
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
    lab.results.add("answer-bare", "sipp uas", each);
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
    lab.results.add("answer-bare", who, each);
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
    let report = report_of(&output)?;
    ensure!(report["pass"] == true, "not every call was answered: {report}");
    lab.results.add("answer-p99", OURS, report["answer_ms"]["p99"].as_f64().context("a p99")?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_that_was_not_answered_is_one_too_many() {
        let screen = |good, bad| format!("  Successful call | 0 | {good}\n  Failed call  | 0 | {bad}\n");
        assert!(all_answered(&screen(2000, 0), 2000).is_ok());
        assert!(all_answered(&screen(1999, 1), 2000).is_err());
        assert!(all_answered(&screen(1999, 0), 2000).is_err(), "one that never ended");
        assert!(all_answered("", 0).is_err(), "no screen says nothing");
    }
}
