//! `loadtest calls`: an open loop of calls with seats and officers of its own.
//!
//! Latency counts from the instant at which a call was due, not from when this tool got round to it, so that a slow
//! gateway cannot hide behind a waiting caller.

mod judge;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;

use crate::api::Api;
use crate::attention::Tally;
use crate::clock::Clock;
use crate::line::PartyKey;
use crate::peers::{AgentId, Behaviour, Happening, Peers, Watched};
use crate::voice::Code;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum MediaMode {
    /// 50 packets a second each way on every leg; every leg must hear exactly the others, in every window.
    Full,
    /// Five packets a leg at the answer, and five when the officer has come: everybody must have heard everybody.
    Probe,
    /// One packet a leg, without which nobody would count as heard; nobody listens.
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
    /// Who is called where one leg is all.
    pub attendant: String,
    /// API address and token; three legs need them.
    pub api: Option<(SocketAddr, String)>,
    pub seats: (u32, u32),
    pub officers: (u32, u32),
    pub password: String,
    /// The gateway's media ports, where they are known.
    pub foreign: Option<(u16, u16)>,
    /// How long after its time a call that was answered is waited for to become whole.
    pub patience: Duration,
    /// Our streams restart every half second.
    pub jumping: bool,
    /// Where our media goes is told to others meanwhile.
    pub watched: Option<Watched>,
}

/// A little beyond the 30 seconds in which an officer has to come.
pub const PATIENCE: Duration = Duration::from_secs(31);
/// Whoever has just been connected may still hear what was on its way.
const SETTLES: usize = 1600;
/// Whoever has answered and is alone with the caller says something within this.
const SPEAKS_WITHIN: Duration = Duration::from_secs(1);
/// Packets of a probe, and how long after them others are sent to whoever was not heard.
const PROBE: u32 = 5;
const AGAIN: Duration = Duration::from_millis(400);

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
    /// Calls that got a 200, whoever gave it.
    pub taken: u64,
    /// Calls in which a human was heard; with one leg those that the attendant took.
    pub answered: u64,
    pub bridged: u64,
    pub failed: BTreeMap<&'static str, u64>,
    pub taken_after: Histogram<u64>,
    pub answer: Histogram<u64>,
    pub officer: Histogram<u64>,
    /// Calls whose every leg heard exactly the others.
    pub audible: u64,
    pub windows: Tally,
    pub rtp_lost: u64,
    pub concurrent_max: usize,
    pub late_placed_ms_max: u64,
}

impl Report {
    fn new() -> anyhow::Result<Report> {
        let histogram = || Histogram::new_with_bounds(1, 120_000_000, 3).context("histogram");
        Ok(Report {
            thresholds: Vec::new(),
            placed: 0,
            taken: 0,
            answered: 0,
            bridged: 0,
            failed: BTreeMap::new(),
            taken_after: histogram()?,
            answer: histogram()?,
            officer: histogram()?,
            audible: 0,
            windows: Tally::default(),
            rtp_lost: 0,
            concurrent_max: 0,
            late_placed_ms_max: 0,
        })
    }

    pub fn pass(&self) -> bool {
        self.thresholds.iter().all(|t| t.pass)
    }

    fn fail(&mut self, why: &'static str, calls: u64) {
        *self.failed.entry(why).or_default() += calls;
    }
}

struct Call {
    due: Duration,
    number: String,
    party: PartyKey,
    index: u32,
    taken_at: Option<Duration>,
    /// Answered as the report counts it.
    is_answered: bool,
    /// Seats that have picked up and not left; two for as long as it is open who was heard first.
    seats: Vec<(PartyKey, String)>,
    officers: Vec<PartyKey>,
    /// Whether anything came to a leg.
    sound: [bool; 3],
    /// Whose voices each leg has heard.
    heard: [[bool; 3]; 3],
    /// Legs that are held to hear exactly the others.
    attentive: usize,
    asked: bool,
    probed_at: Option<Duration>,
    connected_at: Option<Duration>,
    hung_up: bool,
}

impl Call {
    fn legs(&self) -> [Option<PartyKey>; 3] {
        [Some(self.party), self.seats.last().map(|s| s.0), self.officers.last().copied()]
    }

    /// Each of the first `count` legs has heard each other.
    fn all_heard(&self, count: usize) -> bool {
        (0..count).all(|n| (0..count).all(|m| n == m || self.heard[n][m]))
    }
}

struct Run<'a> {
    plan: &'a Plan,
    peers: Peers,
    trunk: AgentId,
    calls: HashMap<String, Call>,
    by_party: HashMap<PartyKey, (String, u8)>,
    ask: Sender<String>,
    report: Report,
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
        MediaMode::Probe if plan.legs == 1 => Some(PROBE),
        MediaMode::Probe | MediaMode::None => Some(1),
    };
    // With one leg there is nobody whose voice would be known.
    peers.roles = if plan.media == MediaMode::None || plan.legs == 1 { 0 } else { plan.legs };
    peers.foreign = plan.foreign;
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
    let (calls, by_party, report) = (HashMap::new(), HashMap::new(), Report::new()?);
    let mut run = Run { plan, peers, trunk, calls, by_party, ask, report };
    run.place_and_serve(clock)?;
    run.peers.unregister_all(Duration::from_secs(3));
    let mut report = run.report;
    report.thresholds = judge::thresholds(plan.legs, plan.media, &report);
    Ok(report)
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
        let last = begun + self.plan.duration + self.plan.hold + self.plan.patience + Duration::from_secs(4);
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
            self.probe(clock.now());
            self.end_held(clock.now());
            self.report.concurrent_max = self.report.concurrent_max.max(self.calls.len());
            if clock.now() > last {
                self.report.fail("unfinished", self.calls.len() as u64);
                break;
            }
        }
        Ok(())
    }

    fn place(&mut self, n: u32, due: Duration, now: Duration) -> anyhow::Result<()> {
        let number = format!("139{n:08}");
        let to = if self.plan.legs == 1 { &self.plan.attendant } else { "110" };
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
            taken_at: None,
            is_answered: false,
            seats: Vec::new(),
            officers: Vec::new(),
            sound: [false; 3],
            heard: [[false; 3]; 3],
            attentive: 0,
            asked: false,
            probed_at: None,
            connected_at: None,
            hung_up: false,
        };
        self.calls.insert(number, call);
        Ok(())
    }

    fn take(&mut self, at: Duration, happening: Happening) {
        match happening {
            Happening::Answered { party } => self.note(at, party, |call, _| {
                call.taken_at = Some(at);
                call.probed_at = None;
            }),
            Happening::PickedUp { party, user, number } => self.picked_up(at, party, user, &number),
            Happening::Heard { party } => self.note(at, party, |call, role| call.sound[role] = true),
            Happening::Voice { party, role } => {
                self.note(at, party, |call, of| call.heard[of][usize::from(role)] = true);
            }
            Happening::Refused { party, code } => {
                if let Some((number, 0)) = self.by_party.get(&party).cloned() {
                    self.report.fail(if code == 408 { "timed out" } else { "refused" }, 1);
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

    /// What came to pass on one leg, with its role.
    fn note(&mut self, at: Duration, party: PartyKey, change: impl FnOnce(&mut Call, usize)) {
        let Some((number, role)) = self.by_party.get(&party).cloned() else { return };
        let Some(call) = self.calls.get_mut(&number) else { return };
        let was_taken = call.taken_at.is_some();
        change(call, usize::from(role));
        if !was_taken && call.taken_at.is_some() {
            self.report.taken += 1;
            let _ = self.report.taken_after.record(at.saturating_sub(call.due).as_micros() as u64);
        }
        self.progress(at, &number);
    }

    fn picked_up(&mut self, at: Duration, party: PartyKey, user: String, number: &str) {
        let is_seat = user.starts_with('3');
        self.by_party.insert(party, (number.to_owned(), if is_seat { 1 } else { 2 }));
        let Some(call) = self.calls.get_mut(number) else { return };
        call.probed_at = None;
        if is_seat {
            call.seats.push((party, user));
        } else {
            call.officers.push(party);
        }
        // Who is heard changes from now on, until everybody has heard everybody.
        self.attend(number, 0);
        self.progress(at, number);
    }

    /// Notes who was heard and asks for the officer once the seat talks.
    fn progress(&mut self, at: Duration, number: &str) {
        let (legs, media) = (usize::from(self.plan.legs), self.plan.media);
        let Some(call) = self.calls.get_mut(number).filter(|c| c.taken_at.is_some()) else { return };
        if legs == 3
            && !call.asked
            && let Some((_, user)) = call.seats.last()
        {
            call.asked = true;
            let _ = self.ask.send(user.clone());
        }
        let after = at.saturating_sub(call.due).as_micros() as u64;
        let is_answered = match media {
            _ if legs == 1 => true,
            MediaMode::None => !call.seats.is_empty(),
            MediaMode::Full | MediaMode::Probe => call.heard[0][1],
        };
        if is_answered && !call.is_answered {
            call.is_answered = true;
            self.report.answered += 1;
            let _ = self.report.answer.record(after);
        }
        let is_whole = |count: usize| match media {
            // Alone with the attendant no voice is known: hearing anything is all.
            _ if count == 1 => media == MediaMode::None || call.sound[0],
            MediaMode::None => call.legs()[..count].iter().all(Option::is_some),
            MediaMode::Full | MediaMode::Probe => call.all_heard(count),
        };
        let attentive = if is_whole(legs) {
            legs
        } else if call.officers.is_empty() && is_whole(2) {
            2
        } else {
            0
        };
        if is_whole(legs) && call.connected_at.is_none() {
            call.connected_at = Some(at);
            if legs == 3 {
                self.report.bridged += 1;
                let _ = self.report.officer.record(after);
            }
        }
        if attentive > call.attentive {
            self.attend(number, attentive);
        }
    }

    /// Of a call of which everything is listened to, the first `count` legs are to hear exactly each other.
    fn attend(&mut self, number: &str, count: usize) {
        if self.plan.media != MediaMode::Full || self.plan.legs == 1 {
            return;
        }
        let Some(call) = self.calls.get_mut(number) else { return };
        call.attentive = count;
        let (legs, index) = (call.legs(), call.index);
        for (n, party) in legs.into_iter().enumerate() {
            let others = (0..count).filter(|m| *m != n && n < count);
            let voices: Vec<Code> = others.map(|m| Code { role: m as u8, call: index }).collect();
            if let Some((_, ear)) = party.and_then(|p| self.peers.ear(p)) {
                ear.attention.turn_to(&voices, SETTLES);
            }
        }
    }

    /// Five packets on every leg when somebody has come, and again for whoever was not heard.
    fn probe(&mut self, now: Duration) {
        if self.plan.media != MediaMode::Probe || self.plan.legs == 1 {
            return;
        }
        let waiting =
            |c: &&mut Call| c.taken_at.is_some() && !c.seats.is_empty() && c.connected_at.is_none() && !c.hung_up;
        for call in self.calls.values_mut().filter(waiting) {
            if call.probed_at.is_none_or(|at| at + AGAIN <= now) {
                call.probed_at = Some(now);
                call.legs().into_iter().flatten().for_each(|party| self.peers.say(party, PROBE));
            }
        }
    }

    /// Hangs up what has been held long enough, after listening to it, and what will not become whole any more.
    fn end_held(&mut self, now: Duration) {
        let Plan { hold, patience, legs, .. } = *self.plan;
        let is_held = |c: &Call| c.connected_at.is_some_and(|at| at + hold <= now);
        let is_lost = |c: &Call| match (c.connected_at, c.taken_at) {
            // Whoever sends no audio is not waited for longer than the call would have lasted, or a second.
            (None, Some(taken)) if legs == 1 => taken + hold.max(SPEAKS_WITHIN) <= now,
            (None, Some(_)) => c.due + patience <= now,
            _ => false,
        };
        let up = |which: &dyn Fn(&Call) -> bool| -> Vec<String> {
            self.calls.values().filter(|c| !c.hung_up && which(c)).map(|c| c.number.clone()).collect()
        };
        let (held, lost) = (up(&is_held), up(&is_lost));
        for number in lost {
            self.report.fail(if legs == 1 { "no audio" } else { "not connected" }, 1);
            self.hang_up(&number);
        }
        for number in held {
            if self.plan.media == MediaMode::Full {
                self.listen_back(&number);
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

    /// Whether every leg has heard exactly the others in every window.
    fn listen_back(&mut self, number: &str) {
        let Some(call) = self.calls.get(number) else { return };
        let mut fault = None;
        if self.plan.legs > 1 {
            for party in call.legs().into_iter().take(self.plan.legs.into()) {
                let tally = party.and_then(|p| self.peers.ear(p)).map(|(_, ear)| ear.attention.tally());
                let tally = tally.unwrap_or_default();
                self.report.windows.add(tally);
                fault = fault.or(tally.fault());
            }
        }
        match fault {
            None => self.report.audible += 1,
            Some(why) => self.report.fail(why, 1),
        }
    }

    fn ended(&mut self, party: PartyKey) {
        if let Some((_, ear)) = self.peers.past.remove(&party) {
            self.report.rtp_lost += ear.lost;
        }
        let Some((number, role)) = self.by_party.remove(&party) else { return };
        if role != 0 {
            if let Some(call) = self.calls.get_mut(&number) {
                call.seats.retain(|s| s.0 != party);
                call.officers.retain(|o| *o != party);
            }
            return;
        }
        if let Some(call) = self.calls.remove(&number)
            && !call.hung_up
        {
            self.report.fail("cut off", 1);
        }
    }
}
