//! One world: everything that is on its way, in the order in which it comes, until nothing is.

mod comes;
mod durable;
mod rude;
mod says;
mod written;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use codecs::record::{AlertNo, AlertRecord, LineState};
use codecs::sip::{Message, Name};
use codecs::time::{Mono, Wall};
use switchboard::{TICK, ToShard};

use crate::chance::Chance;
use crate::checkers::{self, Unanswered, Unheard};
use crate::clock::{WallClock, Written};
use crate::downstream::{Sink, Storage};
use crate::gateway::Gateway;
use crate::outcome::Outcome;
use crate::party::{Deed, Live, Party};
use crate::phones::Phones;
use crate::rules::Rule;
use crate::strangers::Strangers;
use crate::writers::{Say, Writers};

/// As the shell's clock begins.
const BEGIN: Mono = Mono(86_400_000_000_000);
/// Request numbers of takers' lines begin here.
const FIRST_SAY: u64 = 1 << 41;
/// After the last report everything must have come to rest within this.
const REST: Duration = Duration::from_secs(400);
/// After the last report nobody makes trouble any more, but for what is under way.
const TROUBLE: Duration = Duration::from_secs(60);
/// Serials from here on are given without the disk.
const RESERVED: u32 = 90_000_000;
/// What a narrow path takes.
const PATH: usize = 1500;

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub reports: u32,
    /// Over how long they arrive.
    pub spread: Duration,
    /// One readable line an event.
    pub tell: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { reports: 24, spread: Duration::from_secs(40), tell: false }
    }
}

/// What kind of world it is.
#[derive(Clone, Copy, Debug)]
struct Conditions {
    /// Of a hundred datagrams so many are lost.
    loss: u64,
    /// Paths drop what is longer than 1,500 octets, and some say much of themselves.
    narrow: bool,
    strangers: bool,
    /// Telephones that answer twice.
    rude: bool,
}

enum Coming {
    ToGateway {
        from: SocketAddr,
        bytes: Bytes,
    },
    ToParty {
        party: usize,
        bytes: Bytes,
    },
    Deed {
        party: usize,
        deed: Deed,
    },
    Report {
        n: u64,
    },
    Tick,
    Synced,
    /// What several nodes keep has come to most of them.
    Arrived,
    SinkTurn {
        sink: usize,
    },
    Recorded {
        no: AlertNo,
    },
    /// Somebody writes.
    Writes {
        who: u64,
    },
    /// The carrier hands a message over, until it is acknowledged.
    Message {
        n: usize,
    },
    Say(Say),
    /// What a channel made of a line.
    LineFate {
        line: String,
        state: LineState,
    },
    /// A telephone's time to register.
    Register {
        phone: usize,
    },
    /// And again, when nothing has come of that one.
    RegisterAgain {
        phone: usize,
        cseq: u32,
    },
    Crash,
    Restart,
    DiskFails,
    DiskHeals,
    /// Another node takes the lead.
    LeadLost,
    /// Somebody sets the wall clock.
    ClockSet,
    /// Third parties say something, or speak into a stream that is up.
    Stranger,
    Injected {
        live: Live,
        n: u16,
    },
    /// A call taker looks at what they have.
    Desk,
}

struct World {
    now: Mono,
    wall_clock: WallClock,
    chance: Chance,
    shape: Shape,
    conditions: Conditions,
    broken: Option<Rule>,
    gateway: Option<Gateway>,
    shards: u16,
    parties: [Party; 3],
    phones: Phones,
    storage: Storage,
    sinks: [Sink; 2],
    queue: BTreeMap<(Mono, u64), Coming>,
    count: u64,
    ticking: bool,
    outcome: Outcome,
    unanswered: Unanswered,
    unheard: Unheard,
    written: Written,
    strangers: Strangers,
    /// Their voice may still be on its way through the gateway.
    strangers_spoke: Option<Mono>,
    /// A promise that was seen not to hold.
    fault: Option<String>,
    next_request: u64,
    /// Requests out, and those acknowledged with their alert.
    acknowledged: Vec<AlertNo>,
    want_count: BTreeMap<u64, u32>,
    writers: Writers,
    /// Alerts of takers' lines that were acknowledged.
    said: Vec<AlertNo>,
    last_reserved: Option<ToShard>,
}

/// Runs one seed to its end, or to the first promise that did not hold.
pub fn run(seed: u64, shape: Shape, broken: Option<Rule>) -> Outcome {
    let mut world = World::new(seed, shape, broken);
    let result = world.live();
    world.outcome.violation = result.err();
    world.outcome.worst_answer = world.unanswered.worst;
    world.outcome
}

impl World {
    fn new(seed: u64, shape: Shape, broken: Option<Rule>) -> World {
        let mut chance = Chance::new(seed);
        let mut parties = [0, 1, 2].map(|role| Party::new(role, chance.seed()));
        let conditions = Conditions {
            loss: [0, 1, 3][chance.below(3) as usize],
            narrow: chance.percent(30),
            strangers: chance.percent(50),
            rude: chance.percent(40),
        };
        if chance.percent(30) {
            parties.iter_mut().for_each(|p| p.lies = 6);
        }
        let second_of_day = chance.below(86_400);
        World {
            now: BEGIN,
            wall_clock: WallClock::new(second_of_day),
            shape,
            conditions,
            broken,
            gateway: None,
            shards: 1 + (seed % 3) as u16,
            parties,
            phones: Phones::idle(conditions.narrow, &mut chance),
            storage: Storage::new(chance.percent(25)),
            sinks: [Sink::new(1), Sink::new(8)],
            queue: BTreeMap::new(),
            count: 0,
            ticking: false,
            outcome: Outcome::default(),
            unanswered: Unanswered::default(),
            unheard: Unheard::default(),
            written: Written::default(),
            strangers: Strangers::default(),
            strangers_spoke: None,
            fault: None,
            next_request: 1,
            acknowledged: Vec::new(),
            want_count: BTreeMap::new(),
            writers: Writers::default(),
            said: Vec::new(),
            last_reserved: None,
            chance,
        }
    }

    fn live(&mut self) -> Result<(), String> {
        self.start();
        self.plan_people();
        self.plan_trouble();
        self.plan(Duration::from_millis(100), Coming::Desk);
        let end = BEGIN + self.shape.spread + REST;
        while let Some(next) = self.next_instant().filter(|at| *at <= end) {
            self.now = self.now.max(next);
            self.unanswered.check(self.now)?;
            if self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= self.now) {
                let (_, coming) = self.queue.pop_first().expect("seen above");
                self.come(coming);
            } else {
                self.wake();
            }
            self.settle()?;
        }
        self.at_rest()
    }

    /// Who registers, calls and writes.
    fn plan_people(&mut self) {
        let spread = self.shape.spread.as_millis() as u64;
        for phone in 0..self.phones.count() {
            let at = self.chance.ms(0, 200);
            self.plan(at, Coming::Register { phone });
        }
        for n in 0..u64::from(self.shape.reports) {
            let at = self.chance.ms(1500, spread);
            self.plan(at, Coming::Report { n });
        }
        for who in 0..u64::from(self.shape.reports) / 3 {
            let at = self.chance.ms(10, spread);
            self.plan(at, Coming::Writes { who });
        }
    }

    /// What goes wrong.
    fn plan_trouble(&mut self) {
        self.plan_at_times(30, Coming::Crash);
        if self.storage.is_replicated() {
            self.plan_at_times(60, Coming::LeadLost);
        }
        self.plan_at_times(20, Coming::DiskFails);
        self.plan_at_times(30, Coming::ClockSet);
        self.plan_at_times(15, Coming::ClockSet);
        if self.conditions.strangers {
            self.plan(Duration::from_millis(500), Coming::Stranger);
        }
    }

    /// In so many worlds of a hundred, once while people call.
    fn plan_at_times(&mut self, percent: u64, coming: Coming) {
        if self.chance.percent(percent) {
            let at = self.chance.ms(1000, 45_000);
            self.plan(at, coming);
        }
    }

    fn at_rest(&mut self) -> Result<(), String> {
        let gateway = self.gateway.as_ref().ok_or("the gateway is down at the end")?;
        checkers::nothing_left_behind(gateway)?;
        if let Some(fault) = self.storage.faults.first() {
            return Err(format!("the journal is not whole: {fault}"));
        }
        let events = self.storage.events();
        let alerts = checkers::chained(&events)?;
        checkers::ended(&alerts)?;
        self.writers.check(&alerts)?;
        checkers::one_at_a_time(&alerts, &self.written)?;
        for sink in &self.sinks {
            checkers::delivered(&events, sink, self.broken)?;
        }
        let of = |no: &AlertNo, is: &dyn Fn(&AlertRecord) -> bool| {
            events.iter().any(|e| e.event.subject == no.as_str() && is(&e.event.data))
        };
        for no in &self.acknowledged {
            if !of(no, &|data| data.incident.kind.is_some()) {
                return Err(format!("the triage of {no} was acknowledged and is not in the journal"));
            }
        }
        for no in &self.said {
            // Said or put down: either way the alert's revisions tell.
            if !of(no, &|data| data.state >= codecs::record::State::Answered) {
                return Err(format!("a taker's line on {no} was acknowledged and is not in the journal"));
            }
        }
        let abandoned = events.iter().filter(|e| e.event.kind.contains(".abandoned.")).count() as u64;
        self.reach_n("abandoned", abandoned);
        let unreserved = alerts.keys().filter_map(|no| AlertNo::parse(no)).filter(|no| no.serial() >= RESERVED).count();
        self.reach_n("unreserved number", unreserved as u64);
        for entry in &events {
            for byte in entry.event.hash.bytes() {
                self.outcome.fingerprint = self.outcome.fingerprint.rotate_left(5) ^ u64::from(byte);
            }
        }
        Ok(())
    }

    fn reach(&mut self, what: &'static str) {
        self.reach_n(what, 1);
    }

    fn reach_n(&mut self, what: &'static str, n: u64) {
        if n > 0 {
            *self.outcome.reached.entry(what).or_default() += n;
        }
    }

    fn tell(&self, text: std::fmt::Arguments<'_>) {
        if self.shape.tell {
            println!("{:>9.3} {text}", self.now.since(BEGIN).as_secs_f64());
        }
    }

    fn wall(&self) -> Wall {
        self.wall_clock.after(self.now.since(BEGIN))
    }

    /// So long after the last report, or longer.
    fn is_past(&self, rest: Duration) -> bool {
        self.now > BEGIN + self.shape.spread + rest
    }

    /// The first promise that does not hold is told.
    fn blame(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    fn plan(&mut self, after: Duration, coming: Coming) {
        self.count += 1;
        self.queue.insert((self.now + after, self.count), coming);
    }

    fn next_instant(&self) -> Option<Mono> {
        let queued = self.queue.keys().next().map(|k| k.0);
        let parties = self.parties.iter().filter_map(|p| p.endpoint.poll_timeout().map(|t| t.0)).min();
        // Broken, the gateway's timers are looked at only when somebody happens to come by.
        let served = self.broken != Some(Rule::CallTimers);
        let gateway = self.gateway.as_ref().filter(|_| served).and_then(|g| g.next_timeout(self.broken));
        [queued, parties, gateway].into_iter().flatten().min()
    }

    fn wake(&mut self) {
        let (now, wall) = (self.now, self.wall());
        for party in &mut self.parties {
            party.endpoint.handle_timeout(now);
        }
        if let Some(gateway) = &mut self.gateway {
            gateway.desk.handle_timeout(now);
            gateway.shards.iter_mut().for_each(|s| s.handle_timeout(now, wall));
            if self.broken != Some(Rule::CasebookTimers) {
                gateway.casebook.handle_timeout(now, wall);
            }
        }
    }

    /// Drains everybody until nobody has anything left to say at this instant.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            let mut quiet = true;
            for party in 0..3 {
                while let Some(output) = self.parties[party].endpoint.poll_output() {
                    quiet = false;
                    self.party_says(party, output);
                }
            }
            for index in 0..self.shards {
                let of = |g: &mut Gateway| g.shards[usize::from(index)].poll_output();
                while let Some(output) = self.gateway.as_mut().and_then(of) {
                    quiet = false;
                    self.shard_says(index, output);
                }
            }
            while let Some(output) = self.gateway.as_mut().and_then(|g| g.desk.poll_output()) {
                quiet = false;
                self.desk_says(output);
            }
            if quiet {
                break;
            }
        }
        self.settle_casebook();
        self.strangers.may_answer = 0;
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if let Some(gateway) = &self.gateway {
            checkers::nobody_waits_beside_a_free_seat(gateway)?;
            let idle = gateway.desk.gauges().seats_idle;
            self.unheard.check(self.now, idle, self.parties[0].unheard_since())?;
            if gateway.shards.iter().any(|s| s.counts().media_legs > 0) && !self.ticking {
                self.ticking = true;
                self.plan(TICK, Coming::Tick);
            }
        }
        Ok(())
    }

    /// Over the wire: late, twice, or never.
    fn carry(&mut self, octets: usize, make: impl Fn() -> Coming) {
        if self.chance.percent(self.conditions.loss) {
            return self.reach("lost packet");
        }
        if self.conditions.narrow && octets > PATH {
            return self.reach("datagram too long for the path");
        }
        let latency = self.chance.ms(1, 20);
        self.plan(latency, make());
        if self.chance.percent(2) {
            self.reach("doubled packet");
            let latency = self.chance.ms(1, 60);
            self.plan(latency, make());
        }
    }
}

fn call_id_of(bytes: &Bytes) -> Option<(Message, Vec<u8>)> {
    let message = Message::frame(bytes.clone()).ok()?;
    let id = message.get(Name::CallId)?.to_vec();
    Some((message, id))
}

fn is_invite(message: &Message) -> bool {
    message.get(Name::CSeq).is_some_and(|c| c.ends_with(b"INVITE"))
}

/// The first INVITE of a call outside any dialog starts the clock.
fn note_arrival(unanswered: &mut Unanswered, now: Mono, bytes: &Bytes) {
    if let Some((message, id)) = call_id_of(bytes)
        && message.method() == Some(codecs::sip::Method::Invite)
    {
        unanswered.arrived(now, &id);
    }
}

/// Any final answer to it stops it: 200, or 487 for one that gave up.
fn note_answer(unanswered: &mut Unanswered, now: Mono, bytes: &Bytes) {
    if let Some((message, id)) = call_id_of(bytes)
        && message.code().is_some_and(|c| c >= 200)
        && is_invite(&message)
    {
        unanswered.finished(now, &id);
    }
}

fn first_line(bytes: &Bytes) -> String {
    let end = bytes.iter().position(|b| *b == b'\r').unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
