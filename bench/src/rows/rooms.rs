//! Three-way calls that talk, and rtpengine relaying as many packets.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use loadtest::clock::Clock;

use super::Lab;
use crate::city::{self, Variant};
use crate::lab::{Server, find, ours, pause};
use crate::table::OURS;

/// Packets a second that a three-way call forwards: three legs of G.711 at 20 ms.
const PACKETS: f64 = 150.0;
const RELAYED: usize = 200;
/// In quick runs too: of what the recorder's thread does each flush is shared by all calls, so that fewer cost more each.
const CALLS: u32 = 200;

pub(super) fn run(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let one = gateway(lab, 0, 1)?;
    let two = gateway(lab, 0, 2)?;
    lab.results.add("three-way-two-shards", OURS, two / one);
    gateway(lab, 2, 1)?;
    lab.peer("rtpengine, relaying only", rtpengine);
    Ok(())
}

/// All calls up after a quarter of them a second; every leg hears exactly the others, or the run does not count.
fn start_calls(page: &std::path::Path, seconds: u64) -> anyhow::Result<Child> {
    let mut command = Command::new(ours("loadtest")?);
    command.args(["calls", "--legs", "3", "--media", "full", "--duration", "4s", "--json"]);
    command.args(["--rate", &(CALLS / 4).to_string(), "--hold", &format!("{seconds}s"), "--page"]).arg(page);
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
}

/// All seats and officers log in, and a few calls pass: what that takes is not the calls' that are measured.
fn register_everybody(page: &std::path::Path) -> anyhow::Result<()> {
    let mut command = Command::new(ours("loadtest")?);
    command.args([
        "calls",
        "--legs",
        "3",
        "--media",
        "probe",
        "--rate",
        "300",
        "--duration",
        "20ms",
        "--hold",
        "100ms",
    ]);
    let output = command.arg("--page").arg(page).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Milliseconds of CPU a call and second; with one shard it fills our rows.
fn gateway(lab: &mut Lab<'_>, shared_ports: usize, shards: u16) -> anyhow::Result<f64> {
    let ports = if shared_ports == 0 { "a port a leg" } else { "shared ports" };
    eprintln!("    {OURS}, {ports}, {shards} shard(s) …");
    let (scratch, clock) = (lab.scratch("rooms")?, Clock::start());
    let variant = Variant { shared_ports, shards };
    let page = city::write(&scratch.0, variant)?;
    let server = city::start(&scratch.0, variant)?;
    register_everybody(&page)?;
    let idle = server.memory_kib();
    let window = Duration::from_secs(if lab.quick { 6 } else { 10 });
    let load = start_calls(&page, window.as_secs() + 6)?;
    pause(clock, Duration::from_secs(7));
    let (cpu, recorder, from) = (server.cpu_us(), server.thread_us("recorder"), clock.now());
    pause(clock, window);
    let seconds = (clock.now() - from).as_secs_f64();
    let (cpu, recorder) = (server.cpu_us() - cpu, server.thread_us("recorder") - recorder);
    let memory = server.memory_kib() - idle;
    let output = load.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: serde_json::Value =
        serde_json::from_str(text.lines().last().unwrap_or_default()).with_context(|| text.to_string())?;
    let n = f64::from(CALLS);
    ensure!(report["bridged"].as_f64() == Some(n), "not every call was bridged: {report}");
    let wrong = report["thresholds"].as_array().into_iter().flatten().find(|t| t["name"] == "calls with wrong audio");
    ensure!(wrong.is_some_and(|t| t["value"] == 0.0), "wrong audio: {report}");
    let each = cpu / seconds / n / 1000.0;
    if shards > 1 {
        return Ok(each);
    }
    if shared_ports == 0 {
        lab.results.add("three-way", OURS, each);
        lab.results.add("three-way-a-core", OURS, 1000.0 / each);
        lab.results.add("recording", OURS, recorder / seconds / n / 1000.0);
        lab.results.add("memory", OURS, memory / n);
    } else {
        lab.results.add("three-way-shared", OURS, each);
        lab.results.add("three-way-shared-a-core", OURS, 1000.0 / each);
    }
    Ok(each)
}

/// One relayed call: two sockets of ours, and where each of them sends.
struct Relayed {
    sockets: [UdpSocket; 2],
    to: [SocketAddr; 2],
}

fn rtpengine(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let program = find("rtpengine").context("rtpengine is not installed")?;
    let (scratch, clock) = (lab.scratch("rtpengine")?, Clock::start());
    let ng = city::at(70);
    let mut command = Command::new(program);
    command.args(["--table=-1", "--interface=127.0.0.1", "--foreground", "--num-threads=1", "--log-level=3"]);
    command.args(["--log-stderr", "--port-min=20000", "--port-max=26999", &format!("--listen-ng={ng}")]);
    command.arg(format!("--pidfile={}", scratch.0.join("pid").display()));
    let mut server = Server::start(&mut command, &scratch.0)?;
    pause(clock, Duration::from_millis(1500));
    ensure!(server.is_up(), "rtpengine ended: see its log");
    let idle = server.memory_kib();
    let calls: Vec<Relayed> = (0..RELAYED).map(|n| set_up(n, ng)).collect::<anyhow::Result<_>>()?;
    speak(&calls, clock, Duration::from_secs(1))?;
    let before = server.cpu_us();
    let heard = speak(&calls, clock, Duration::from_secs(if lab.quick { 5 } else { 8 }))?;
    let used = server.cpu_us() - before;
    ensure!(heard > 0, "nothing was relayed");
    lab.results.add("three-way", "rtpengine, relaying only", used / heard as f64 * PACKETS / 1000.0);
    lab.results.add("memory", "rtpengine, relaying only", (server.memory_kib() - idle) / RELAYED as f64);
    lab.results.command(
        "rtpengine, relaying only",
        "rtpengine --table=-1 --interface=127.0.0.1 --num-threads=1; 200 calls of two legs, CPU of 150 packets".into(),
    );
    Ok(())
}

/// Everybody speaks every 20 ms; how many packets came back.
fn speak(calls: &[Relayed], clock: Clock, how_long: Duration) -> anyhow::Result<u64> {
    let mut packet = [0u8; 172];
    (packet[0], packet[1]) = (0x80, 8);
    let mut heard = 0;
    let (begun, mut tick) = (clock.now(), 0u32);
    let mut buffer = [0u8; 2048];
    while clock.now() - begun < how_long {
        tick += 1;
        packet[2..4].copy_from_slice(&(tick as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(tick * 160).to_be_bytes());
        for call in calls {
            for (socket, to) in call.sockets.iter().zip(&call.to) {
                packet[8..12].copy_from_slice(&u32::from(to.port()).to_be_bytes());
                let _ = socket.send_to(&packet, to);
                while socket.recv_from(&mut buffer).is_ok() {
                    heard += 1;
                }
            }
        }
        let due = begun + Duration::from_millis(20) * tick;
        pause(clock, due.saturating_sub(clock.now()));
    }
    Ok(heard)
}

/// Offer and answer by rtpengine's ng protocol: a cookie, then a bencoded dictionary.
fn set_up(n: usize, ng: SocketAddr) -> anyhow::Result<Relayed> {
    let bind = || -> anyhow::Result<UdpSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let sockets = [bind()?, bind()?];
    let control = UdpSocket::bind("127.0.0.1:0")?;
    control.set_read_timeout(Some(Duration::from_secs(2)))?;
    let string = |s: &str| format!("{}:{s}", s.len());
    let ask = |command: &str, port: u16, tags: &[(&str, &str)]| -> anyhow::Result<u16> {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"
        );
        let mut pairs = vec![("call-id", format!("bench-{n}")), ("command", command.to_owned()), ("sdp", sdp)];
        pairs.extend(tags.iter().map(|(k, v)| (*k, (*v).to_owned())));
        pairs.sort();
        let body: String = pairs.iter().map(|(k, v)| string(k) + &string(v)).collect();
        control.send_to(format!("{n}{command} d{body}e").as_bytes(), ng)?;
        let mut buffer = [0u8; 4096];
        let (len, _) = control.recv_from(&mut buffer).context("rtpengine's answer")?;
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        let port = text.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        port.with_context(|| text)
    };
    let to_b = ask("offer", sockets[0].local_addr()?.port(), &[("from-tag", "a")])?;
    let to_a = ask("answer", sockets[1].local_addr()?.port(), &[("from-tag", "a"), ("to-tag", "b")])?;
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Ok(Relayed { sockets, to: [at(to_a), at(to_b)] })
}
