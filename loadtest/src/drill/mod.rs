//! `loadtest drill`: honest calls run while one rude thing after another is let loose, and an honest caller notices
//! nothing.
//!
//! Every act has the same honest load: each call answered by a human within three seconds, each leg hearing exactly the
//! others. An act adds what its own rudeness may not come to: an answer to a stranger, an octet more than was sent, a
//! connection that stays, memory that stays.

mod connections;
mod media;
mod phones;
mod sip;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::calls::{self, MediaMode, Plan, Threshold};
use crate::clock::Clock;
use crate::peers::Watched;

/// Where the gateway is, and how long each act lasts.
#[derive(Clone)]
pub struct Stage {
    pub calls: Plan,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    /// Its process, whose memory is looked at.
    pub pid: Option<u32>,
    /// Accounts for rude phones, none of them among the honest ones.
    pub rude_seats: (u32, u32),
    pub connections: usize,
    /// Strangers' addresses are no trunk's: what they call with is to be refused.
    pub strangers_call: bool,
}

/// What one act came to.
pub struct Played {
    pub name: &'static str,
    pub says: &'static str,
    /// What was let loose, and what came of it, as counts.
    pub did: Vec<(&'static str, u64)>,
    pub placed: u64,
    pub answered: u64,
    pub answer_ms_max: f64,
    pub thresholds: Vec<Threshold>,
}

impl Played {
    pub fn pass(&self) -> bool {
        self.thresholds.iter().all(|t| t.pass)
    }
}

/// A rude thing that can be let loose.
pub struct Act {
    pub name: &'static str,
    pub says: &'static str,
    play: fn(&Scene) -> anyhow::Result<Deeds>,
    /// Seconds for which honest calls have to come, whatever is asked for: as long as what is rude takes.
    least: u64,
}

/// What an act counted, and what it may not come to.
#[derive(Default)]
struct Deeds {
    did: Vec<(&'static str, u64)>,
    thresholds: Vec<Threshold>,
}

impl Deeds {
    fn count(&mut self, name: &'static str, value: u64) {
        self.did.push((name, value));
    }

    fn at_most(&mut self, name: &'static str, value: f64, limit: f64) {
        self.thresholds.push(Threshold { name, limit, value, pass: value <= limit });
    }
}

/// What an act sees while the honest calls run.
struct Scene {
    stage: Stage,
    clock: Clock,
    end: Arc<End>,
    /// Where honest audio goes: this stranger knows every port.
    watched: Watched,
}

/// The honest calls are over.
#[derive(Default)]
struct End {
    reached: Mutex<bool>,
    told: Condvar,
}

impl Scene {
    fn over(&self) -> bool {
        self.pause(Duration::ZERO)
    }

    /// Waits so long, or until the honest calls are over; `true`: they are.
    fn pause(&self, patience: Duration) -> bool {
        let Ok(reached) = self.end.reached.lock() else { return true };
        self.end.told.wait_timeout_while(reached, patience, |r| !*r).map_or(true, |(r, _)| *r)
    }

    fn targets(&self) -> Vec<SocketAddr> {
        self.watched.lock().map(|w| w.clone()).unwrap_or_default()
    }
}

pub const ACTS: &[Act] = &[
    Act { name: "nothing", says: "nobody is rude", play: phones::nothing, least: 0 },
    Act {
        name: "jumps",
        says: "callers' and seats' streams restart every half second",
        play: phones::nothing,
        least: 0,
    },
    Act {
        name: "media",
        says: "strangers send RTP, RTCP and STUN to every live port",
        play: media::foreign,
        least: 26,
    },
    Act { name: "forged", says: "strangers forge answers and requests of dialogs", play: sip::forged, least: 0 },
    Act { name: "replay", says: "a registration is sent again by somebody else", play: sip::replay, least: 0 },
    Act {
        name: "flood",
        says: "requests of every kind from everywhere, as fast as they go",
        play: sip::flood,
        least: 0,
    },
    Act { name: "idle-sip", says: "connections for SIP that say nothing", play: connections::idle_sip, least: 18 },
    Act { name: "idle-http", says: "connections for HTTP that say nothing", play: connections::idle_http, least: 18 },
    Act {
        name: "idle-admin",
        says: "connections for the NOC that say nothing",
        play: connections::idle_admin,
        least: 18,
    },
    Act {
        name: "pings",
        says: "connections for SIP that ping as fast as they can and read nothing",
        play: connections::pings,
        least: 0,
    },
    Act { name: "drips", says: "requests that come an octet at a time", play: connections::drips, least: 18 },
    Act { name: "seats", says: "seats that are busy, ring on, are silent or hang up", play: phones::seats, least: 0 },
    Act {
        name: "callers",
        says: "callers that lie in their offers and never acknowledge",
        play: sip::callers,
        least: 0,
    },
];

/// Plays the acts of these names, or all; tells each as it ends.
///
/// # Errors
/// When the honest peers cannot register or have no sockets.
pub fn run(stage: &Stage, only: &[String], mut tell: impl FnMut(&Played)) -> anyhow::Result<Vec<Played>> {
    for name in only {
        anyhow::ensure!(ACTS.iter().any(|a| a.name == name), "there is no act {name}");
    }
    let mut all = Vec::new();
    for act in ACTS.iter().filter(|a| only.is_empty() || only.iter().any(|o| o == a.name)) {
        let played = play(stage, act)?;
        tell(&played);
        all.push(played);
    }
    Ok(all)
}

fn play(stage: &Stage, act: &Act) -> anyhow::Result<Played> {
    let watched: Watched = Arc::new(Mutex::new(Vec::new()));
    let end = Arc::new(End::default());
    let scene =
        Scene { stage: stage.clone(), clock: Clock::start(), end: Arc::clone(&end), watched: Arc::clone(&watched) };
    let plan = Plan {
        media: MediaMode::Full,
        duration: stage.calls.duration.max(Duration::from_secs(act.least)),
        watched: Some(watched),
        jumping: act.name == "jumps",
        ..stage.calls.clone()
    };
    let (report, deeds) = std::thread::scope(|scope| {
        let rude = scope.spawn(|| (act.play)(&scene));
        let report = calls::run(&plan);
        if let Ok(mut reached) = end.reached.lock() {
            *reached = true;
        }
        end.told.notify_all();
        (report, rude.join())
    });
    let report = report?;
    let deeds = deeds.map_err(|_| anyhow::anyhow!("the act {} broke off", act.name))??;
    let answer_ms_max = report.answer.max() as f64 / 1000.0;
    Ok(Played {
        name: act.name,
        says: act.says,
        did: deeds.did,
        placed: report.placed,
        answered: report.answered,
        answer_ms_max,
        thresholds: report.thresholds.into_iter().chain(deeds.thresholds).collect(),
    })
}

/// Sockets of strangers, each at an address of its own.
fn strangers(network: u8, count: u8) -> std::io::Result<Vec<UdpSocket>> {
    let mut all = Vec::new();
    for n in 1..=count {
        let socket = UdpSocket::bind(SocketAddr::new(IpAddr::from([127, network, n, n]), 0))?;
        socket.set_nonblocking(true)?;
        all.push(socket);
    }
    Ok(all)
}

/// Datagrams and octets that have come to these sockets.
fn received(sockets: &[UdpSocket]) -> (u64, u64) {
    let (mut buffer, mut datagrams, mut octets) = ([0u8; 65_536], 0, 0);
    for socket in sockets {
        while let Ok((len, _)) = socket.recv_from(&mut buffer) {
            datagrams += 1;
            octets += len as u64;
        }
    }
    (datagrams, octets)
}

/// Megabytes that a process has in memory.
fn resident_mb(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// Numbers that differ from call to call; nothing here has to be unguessable.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }
}

const BREATH: Duration = Duration::from_millis(1);
