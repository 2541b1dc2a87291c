//! `loadtest calls`: an open loop of calls with seats and officers of its own.
//!
//! Latency counts from the instant at which a call was due, not from when this tool got round to it, so that a slow
//! gateway cannot hide behind a waiting caller.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;

use crate::api::Api;
use crate::clock::Clock;
use crate::ear::{Code, hears_mostly};
use crate::line::PartyKey;
use crate::peers::{AgentId, Behaviour, Happening, Peers, Watched};

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum MediaMode {
    /// 50 packets a second each way on every leg; every leg must hear exactly the others.
    Full,
    /// Five packets a leg; the first that comes back counts.
    Probe,
    /// One packet a leg, without which nobody would count as heard.
    None,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub rate: f64,
    pub duration: Duration,
    pub hold: Duration,
    pub legs: u8,
    pub media: MediaMode,
    pub sip: SocketAddr,
    pub source: IpAddr,
    /// API address and token; three legs need them.
    pub api: Option<(SocketAddr, String)>,
    pub seats: (u32, u32),
    pub officers: (u32, u32),
    pub password: String,
    /// Our streams restart every half second.
    pub jumping: bool,
    /// Where our media goes is told to others meanwhile.
    pub watched: Option<Watched>,
}

#[derive(Clone, Debug)]
pub struct Threshold {
    pub name: &'static str,
    pub limit: f64,
    pub value: f64,
    pub pass: bool,
}

pub struct Report {
    pub thresholds: Vec<Threshold>,
    pub placed: u64,
    pub answered: u64,
    pub bridged: u64,
    pub failed: BTreeMap<&'static str, u64>,
    pub answer: Histogram<u64>,
    pub officer: Histogram<u64>,
    pub rtp_lost: u64,
    pub concurrent_max: usize,
    pub late_placed_ms_max: u64,
}

impl Report {
    pub fn pass(&self) -> bool {
        self.thresholds.iter().all(|t| t.pass)
    }
}

struct Call {
    due: Duration,
    number: String,
    party: PartyKey,
    index: u32,
    answered: bool,
    seat: Option<(PartyKey, String)>,
    officer: Option<PartyKey>,
    heard: [bool; 3],
    asked: bool,
    connected_at: Option<Duration>,
    hung_up: bool,
}

struct Run<'a> {
    plan: &'a Plan,
    peers: Peers,
    trunk: AgentId,
    calls: HashMap<String, Call>,
    by_party: HashMap<PartyKey, (String, u8)>,
    ask: Sender<String>,
    report: Report,
    audible: u64,
}

/// Runs the plan.
///
/// # Errors
/// When the sockets cannot be had, or the seats and officers do not register.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    if !(1..=3).contains(&plan.legs) {
        bail!("--legs is 1, 2 or 3");
    }
    let clock = Clock::start();
    let mut peers = Peers::new(clock)?;
    peers.probe = match plan.media {
        MediaMode::Full => None,
        MediaMode::Probe => Some(5),
        MediaMode::None => Some(1),
    };
    (peers.jumping, peers.watched) = (plan.jumping, plan.watched.clone());
    let at_once = Behaviour::Answer { after: Duration::ZERO };
    let trunk = peers.add_agent(plan.source, plan.sip, 0, at_once)?;
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let seats = peers.add_agent(local, plan.sip, 1, at_once)?;
    let officers = peers.add_agent(local, plan.sip, 2, Behaviour::Answer { after: Duration::from_millis(100) })?;
    let needed = (plan.rate * (plan.hold.as_secs_f64() + 2.0)).ceil() as u32 + 8;
    if plan.legs >= 2 {
        register(&mut peers, seats, plan.seats, needed, &plan.password)?;
    }
    if plan.legs >= 3 {
        register(&mut peers, officers, plan.officers, needed, &plan.password)?;
    }
    let (ask, questions) = channel();
    if let Some((address, token)) = &plan.api {
        start_askers(*address, token, questions)?;
    } else if plan.legs == 3 {
        bail!("three legs need the gateway's API; only a demo tells where it is");
    }
    let histogram = || Histogram::new_with_bounds(1, 120_000_000, 3).context("histogram");
    let report = Report {
        thresholds: Vec::new(),
        placed: 0,
        answered: 0,
        bridged: 0,
        failed: BTreeMap::new(),
        answer: histogram()?,
        officer: histogram()?,
        rtp_lost: 0,
        concurrent_max: 0,
        late_placed_ms_max: 0,
    };
    let mut run = Run { plan, peers, trunk, calls: HashMap::new(), by_party: HashMap::new(), ask, report, audible: 0 };
    run.place_and_serve(clock)?;
    run.peers.unregister_all(Duration::from_secs(3));
    Ok(run.judge())
}

/// Registers the first `needed` accounts of a range.
///
/// # Errors
/// When they are not registered within ten seconds.
pub fn register(
    peers: &mut Peers,
    agent: AgentId,
    range: (u32, u32),
    needed: u32,
    password: &str,
) -> anyhow::Result<()> {
    let count = needed.min(range.1 - range.0 + 1);
    for user in range.0..range.0 + count {
        peers.register(agent, &user.to_string(), password);
        // In portions, so that no socket's buffer overflows on either side.
        if user % 32 == 0 {
            peers.step(Duration::from_millis(2));
        }
    }
    let mut registered = 0;
    let end = peers.clock.now() + Duration::from_secs(10);
    while registered < count {
        if peers.clock.now() > end {
            bail!("{registered} of {count} accounts from {} on registered within 10 s", range.0);
        }
        peers.step(Duration::from_millis(5));
        while let Some((_, happening)) = peers.poll_happening() {
            registered += u32::from(matches!(happening, Happening::Registered { .. }));
        }
    }
    Ok(())
}

/// Four connections that press "three-way" at the seats named.
fn start_askers(address: SocketAddr, token: &str, questions: Receiver<String>) -> io::Result<()> {
    let questions = Arc::new(Mutex::new(questions));
    for n in 0..4 {
        let (questions, mut api) = (Arc::clone(&questions), Api::new(address, token));
        std::thread::Builder::new().name(format!("api-{n}")).spawn(move || {
            loop {
                let next = questions.lock().map(|q| q.recv());
                let Ok(Ok(seat)) = next else { return };
                match api.request("POST", &format!("/v1/seats/{seat}/three-way"), "") {
                    Ok((200, _)) => {}
                    Ok((status, body)) => eprintln!("three-way at seat {seat}: {status} {body}"),
                    Err(error) => eprintln!("three-way at seat {seat}: {error}"),
                }
            }
        })?;
    }
    Ok(())
}

impl Run<'_> {
    fn place_and_serve(&mut self, clock: Clock) -> anyhow::Result<()> {
        let total = (self.plan.rate * self.plan.duration.as_secs_f64()).round() as u64;
        let begun = clock.now() + Duration::from_millis(50);
        let due_of = |n: u64| begun + Duration::from_secs_f64(n as f64 / self.plan.rate);
        let last = begun + self.plan.duration + self.plan.hold + Duration::from_secs(35);
        let mut next = 0;
        while next < total || !self.calls.is_empty() {
            let now = clock.now();
            while next < total && due_of(next) <= now {
                self.place(next as u32, due_of(next), now)?;
                next += 1;
            }
            let patience =
                if next < total { due_of(next).saturating_sub(clock.now()) } else { Duration::from_millis(20) };
            self.peers.step(patience.min(Duration::from_millis(20)));
            while let Some((at, happening)) = self.peers.poll_happening() {
                self.take(at, happening);
            }
            self.end_held(clock.now());
            self.report.concurrent_max = self.report.concurrent_max.max(self.calls.len());
            if clock.now() > last {
                let left = self.calls.len() as u64;
                *self.report.failed.entry("unfinished").or_default() += left;
                break;
            }
        }
        Ok(())
    }

    fn place(&mut self, n: u32, due: Duration, now: Duration) -> anyhow::Result<()> {
        let number = format!("139{n:08}");
        let to = if self.plan.legs == 1 { "bench" } else { "110" };
        let party = self.peers.call(self.trunk, &number, to, n).context("placing a call")?;
        self.report.placed += 1;
        let late = (now.saturating_sub(due)).as_millis() as u64;
        self.report.late_placed_ms_max = self.report.late_placed_ms_max.max(late);
        self.by_party.insert(party, (number.clone(), 0));
        let call = Call {
            due,
            number: number.clone(),
            party,
            index: n,
            answered: false,
            seat: None,
            officer: None,
            heard: [false; 3],
            asked: false,
            connected_at: None,
            hung_up: false,
        };
        self.calls.insert(number, call);
        Ok(())
    }

    fn take(&mut self, at: Duration, happening: Happening) {
        match happening {
            Happening::Answered { party } => self.answered(at, party),
            Happening::PickedUp { party, user, number } => {
                let role = if user.starts_with('3') { 1 } else { 2 };
                self.by_party.insert(party, (number.clone(), role));
                if let Some(call) = self.calls.get_mut(&number) {
                    match role {
                        1 => call.seat = Some((party, user)),
                        _ => call.officer = Some(party),
                    }
                    self.progress(at, &number);
                }
            }
            Happening::Heard { party } => {
                if let Some((number, role)) = self.by_party.get(&party).cloned() {
                    if let Some(call) = self.calls.get_mut(&number) {
                        call.heard[role as usize] = true;
                    }
                    self.progress(at, &number);
                }
            }
            Happening::Refused { party, code } => {
                if let Some((number, 0)) = self.by_party.get(&party).cloned() {
                    let why = if code == 408 { "timed out" } else { "refused" };
                    *self.report.failed.entry(why).or_default() += 1;
                    self.calls.remove(&number);
                }
            }
            Happening::Ended { party } => self.ended(party),
            Happening::Registered { .. }
            | Happening::Ringing { .. }
            | Happening::Called { .. }
            | Happening::Cancelled { .. } => {}
        }
    }

    fn answered(&mut self, at: Duration, party: PartyKey) {
        let Some((number, _)) = self.by_party.get(&party).cloned() else { return };
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.answered = true;
        self.report.answered += 1;
        let _ = self.report.answer.record(at.saturating_sub(call.due).as_micros() as u64);
        self.progress(at, &number);
    }

    /// Asks for the officer once the seat talks; notes when everybody is connected.
    fn progress(&mut self, at: Duration, number: &str) {
        let Some(call) = self.calls.get_mut(number) else { return };
        if !call.answered {
            return;
        }
        if self.plan.legs == 3
            && !call.asked
            && let Some((_, user)) = &call.seat
        {
            call.asked = true;
            let _ = self.ask.send(user.clone());
        }
        let silent = self.plan.media == MediaMode::None;
        let there = match self.plan.legs {
            1 => silent || call.heard[0],
            2 => call.seat.is_some() && (silent || (call.heard[0] && call.heard[1])),
            _ => call.officer.is_some() && (silent || call.heard.iter().all(|h| *h)),
        };
        if there && call.connected_at.is_none() {
            call.connected_at = Some(at);
            if self.plan.legs == 3 {
                self.report.bridged += 1;
                let _ = self.report.officer.record(at.saturating_sub(call.due).as_micros() as u64);
            }
        }
    }

    /// Hangs up what has been held long enough, after listening to it.
    fn end_held(&mut self, now: Duration) {
        let held = |c: &Call| !c.hung_up && c.connected_at.is_some_and(|at| at + self.plan.hold <= now);
        let due: Vec<String> = self.calls.values().filter(|c| held(c)).map(|c| c.number.clone()).collect();
        // A call that was answered but never connected is given up when its officer can no longer come in time.
        let lost =
            |c: &Call| !c.hung_up && c.connected_at.is_none() && c.answered && c.due + Duration::from_secs(31) <= now;
        let missing: Vec<String> = self.calls.values().filter(|c| lost(c)).map(|c| c.number.clone()).collect();
        for number in missing {
            *self.report.failed.entry("not connected").or_default() += 1;
            self.hang_up(&number);
        }
        for number in due {
            if self.plan.media == MediaMode::Full {
                let sound = self.is_sound(&number);
                self.audible += u64::from(sound);
                if !sound {
                    *self.report.failed.entry("audio").or_default() += 1;
                }
            }
            self.hang_up(&number);
        }
    }

    fn hang_up(&mut self, number: &str) {
        if let Some(call) = self.calls.get_mut(number) {
            call.hung_up = true;
            let party = call.party;
            self.peers.hang_up(party);
        }
    }

    /// Every leg hears exactly the others of its call.
    fn is_sound(&mut self, number: &str) -> bool {
        let Some(call) = self.calls.get(number) else { return false };
        let legs = [Some(call.party), call.seat.as_ref().map(|s| s.0), call.officer];
        let code = |role: usize| Code { role: role as u8, call: call.index };
        let there: Vec<usize> = (0..usize::from(self.plan.legs)).collect();
        // Alone with the attendant there is no tone to be told apart: hearing anything is all.
        if self.plan.legs == 1 {
            return call.heard[0];
        }
        there.iter().all(|&n| {
            let Some(party) = legs[n] else { return false };
            let Some((_, ear)) = self.peers.ear(party) else { return false };
            let samples = ear.samples();
            let late = &samples[samples.len().saturating_sub(8000)..];
            let others: Vec<Code> = there.iter().filter(|m| **m != n).map(|m| code(*m)).collect();
            let stranger = Code { role: n as u8, call: call.index + 1 };
            hears_mostly(late, &others, &[code(n), stranger])
        })
    }

    fn ended(&mut self, party: PartyKey) {
        if let Some((_, ear)) = self.peers.past.remove(&party) {
            self.report.rtp_lost += ear.lost;
        }
        let Some((number, role)) = self.by_party.remove(&party) else { return };
        if role != 0 {
            return;
        }
        if let Some(call) = self.calls.remove(&number)
            && !call.hung_up
        {
            *self.report.failed.entry("cut off").or_default() += 1;
        }
    }

    fn judge(mut self) -> Report {
        let r = &mut self.report;
        let failed: u64 = r.failed.values().sum();
        let ms = |h: &Histogram<u64>, q: f64| h.value_at_quantile(q) as f64 / 1000.0;
        let below = |name, value: f64, limit: f64| Threshold { name, limit, value, pass: value <= limit };
        r.thresholds.push(below("answer p100 ms", ms(&r.answer, 1.0), 3000.0));
        r.thresholds.push(below("failed calls", failed as f64, 0.0));
        r.thresholds.push(below("not answered", (r.placed - r.answered) as f64, 0.0));
        if self.plan.legs == 3 {
            r.thresholds.push(below("officer p100 ms", ms(&r.officer, 1.0), 30_000.0));
            r.thresholds.push(below("not bridged", (r.placed - r.bridged) as f64, 0.0));
        }
        if self.plan.media == MediaMode::Full {
            r.thresholds.push(below("calls with wrong audio", (r.placed - self.audible) as f64, 0.0));
        }
        self.report
    }
}
