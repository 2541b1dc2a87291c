//! One world: everything that is on its way, in the order in which it comes, until nothing is.

mod says;
mod written;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use codecs::record::{AlertNo, AlertRecord, IncidentKind, LineState};
use codecs::sip::{Message, Name};
use codecs::time::{Mono, Wall};
use sip::Flow;
use switchboard::{Action, Fact, RequestId, TICK, ToCasebook, ToDesk, ToShard};

use crate::chance::Chance;
use crate::checkers::{self, Unanswered, Unheard};
use crate::downstream::{Sink, Storage, Turn};
use crate::gateway::{Gateway, PARTIES, SEATS, SELF};
use crate::outcome::Outcome;
use crate::party::{self, Deed, Party};
use crate::phones::Phones;
use crate::rules::Rule;
use crate::writers::{Say, Writers};

const BEGIN: Mono = Mono(1_000_000_000_000);
/// Request numbers of takers' lines begin here.
const FIRST_SAY: u64 = 1 << 41;
const EPOCH: i64 = 1_795_276_800_000_000_000;

/// From a crash to the start.
const DOWN: Duration = Duration::from_millis(500);

/// After the last report everything must have come to rest within this.
const REST: Duration = Duration::from_secs(400);

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
    /// A call taker looks at what they have.
    Desk,
}

struct World {
    now: Mono,
    chance: Chance,
    shape: Shape,
    broken: Option<Rule>,
    gateway: Option<Gateway>,
    shards: u16,
    parties: [Party; 3],
    phones: Phones,
    storage: Storage,
    sinks: [Sink; 2],
    queue: BTreeMap<(Mono, u64), Coming>,
    count: u64,
    loss: u64,
    ticking: bool,
    outcome: Outcome,
    unanswered: Unanswered,
    unheard: Unheard,
    /// A start that did not keep its promise.
    broken_start: Option<String>,
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
    let mut chance = Chance::new(seed);
    let parties = [0, 1, 2].map(|role| Party::new(role, chance.seed()));
    let loss = [0, 1, 3][chance.below(3) as usize];
    let shards = 1 + (seed % 3) as u16;
    let mut world = World {
        now: BEGIN,
        shape,
        broken,
        gateway: None,
        shards,
        parties,
        phones: Phones::idle(),
        storage: Storage::default(),
        sinks: [Sink::default(), Sink::default()],
        queue: BTreeMap::new(),
        count: 0,
        loss,
        ticking: false,
        outcome: Outcome::default(),
        unanswered: Unanswered::default(),
        unheard: Unheard::default(),
        broken_start: None,
        next_request: 1,
        acknowledged: Vec::new(),
        want_count: BTreeMap::new(),
        writers: Writers::default(),
        said: Vec::new(),
        last_reserved: None,
        chance,
    };
    let result = world.live();
    world.outcome.violation = result.err();
    world.outcome.worst_answer = world.unanswered.worst;
    world.outcome
}

impl World {
    fn live(&mut self) -> Result<(), String> {
        self.start();
        for phone in 0..self.phones.count() {
            let at = self.chance.ms(0, 200);
            self.plan(at, Coming::Register { phone });
        }
        for n in 0..u64::from(self.shape.reports) {
            let at = self.chance.ms(1500, self.shape.spread.as_millis() as u64);
            self.plan(at, Coming::Report { n });
        }
        for who in 0..u64::from(self.shape.reports) / 3 {
            let at = self.chance.ms(10, self.shape.spread.as_millis() as u64);
            self.plan(at, Coming::Writes { who });
        }
        if self.chance.percent(30) {
            let at = self.chance.ms(1000, 45_000);
            self.plan(at, Coming::Crash);
        }
        if self.chance.percent(20) {
            let at = self.chance.ms(1000, 45_000);
            self.plan(at, Coming::DiskFails);
        }
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
        checkers::one_at_a_time(&alerts)?;
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
        Wall(EPOCH + self.now.since(BEGIN).as_nanos() as i64)
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

    fn start(&mut self) {
        let (front, recovered) = self.storage.open(self.broken);
        self.reach(match self.shards {
            1 => "start with one shard",
            _ => "start with several shards",
        });
        let times = (self.now, self.wall());
        let seed = self.chance.seed();
        self.gateway = Some(Gateway::start(times, seed, self.shards, &front, self.broken));
        for (sink, name) in self.sinks.iter_mut().zip(["first", "second"]) {
            sink.open(&self.storage, name);
        }
        // Numbers are reserved before anybody calls.
        self.settle_casebook();
        self.synced();
        let taken_up = self.gateway.as_mut().map(|g| g.casebook.take_up(times.0, times.1, recovered));
        let interrupted = taken_up.unwrap_or_default();
        self.settle_casebook();
        self.settle_desk();
        let there = self.gateway.as_ref().map(|g| checkers::registered_are_there(g, self.phones.kept_seats()));
        self.broken_start = there.and_then(Result::err);
        for no in interrupted {
            self.fact(no, Fact::Interrupted);
            self.fact(no, party::recorded(no));
        }
    }

    fn fact(&mut self, no: AlertNo, fact: Fact) {
        let at = self.wall();
        if let Some(gateway) = &mut self.gateway {
            gateway.casebook.handle(self.now, ToCasebook::Fact { no, at, fact, request: RequestId::default() });
        }
        self.settle_casebook();
    }

    fn come(&mut self, coming: Coming) {
        let (now, wall) = (self.now, self.wall());
        match coming {
            Coming::ToGateway { from, bytes } => {
                let Some(gateway) = &mut self.gateway else { return };
                note_arrival(&mut self.unanswered, now, &bytes);
                let owner = gateway.router.of_sip(&bytes);
                gateway.shards[usize::from(owner)].handle_sip(now, wall, Flow::udp(from), bytes);
            }
            Coming::ToParty { party, bytes } => {
                let to_phone = Message::frame(bytes.clone()).ok();
                match to_phone.and_then(|m| self.phones.answered(&m, &mut self.chance)) {
                    Some((phone, after)) => self.plan(after, Coming::Register { phone }),
                    None => self.parties[party].endpoint.handle_message(now, Flow::udp(SELF), bytes),
                }
            }
            Coming::Register { phone } => {
                // Nobody's telephone refreshes in the last forty seconds, so that the world can come to rest.
                if now > BEGIN + self.shape.spread + REST - Duration::from_secs(40) {
                    return;
                }
                let (party, bytes) = self.phones.register(phone);
                self.carry(|| Coming::ToGateway { from: PARTIES[party], bytes: bytes.clone() });
                // Should nothing come back, again after a while; what comes back plans anew.
                let again = self.chance.ms(2000, 4000);
                self.plan(again, Coming::RegisterAgain { phone, cseq: self.phones.cseq(phone) });
            }
            Coming::RegisterAgain { phone, cseq } => {
                if self.phones.waits(phone, cseq) {
                    self.plan(Duration::ZERO, Coming::Register { phone });
                }
            }
            Coming::LineFate { line, state } => {
                let why = String::new();
                if let Some(gateway) = &mut self.gateway {
                    gateway.casebook.handle(now, ToCasebook::LineState { at: wall, line, state, why });
                }
                self.settle_casebook();
            }
            Coming::Deed { party, deed } => {
                let (spoken, next) = self.parties[party].act(now, deed, &mut self.chance);
                if let (Some((port, from, bytes)), Some(gateway)) = (spoken, &mut self.gateway) {
                    gateway.of_port(port).handle_media(now, port, false, from, &bytes);
                }
                if let Some((after, deed)) = next {
                    self.plan(after, Coming::Deed { party, deed });
                }
            }
            Coming::Report { n } => {
                self.reach("report");
                self.tell(format_args!("☎ report {n}"));
                let session = self.parties[0].call(now, n);
                if self.chance.percent(15) {
                    let after = self.chance.ms(100, 2800);
                    self.plan(after, Coming::Deed { party: 0, deed: Deed::HangUp(session) });
                }
            }
            Coming::Tick => {
                self.ticking = false;
                let Some(gateway) = &mut self.gateway else { return };
                for shard in &mut gateway.shards {
                    shard.tick(now, wall);
                    for (_, to, rtcp, bytes) in shard.packets() {
                        let voice = bytes.get(12..).is_some_and(|payload| payload.iter().any(|code| *code != 0xD5));
                        if voice && !rtcp && to.ip() == PARTIES[0].ip() {
                            self.parties[0].hears(to.port());
                        }
                    }
                }
            }
            Coming::Synced => {
                self.synced();
                if self.storage.waiting() == 0 {
                    self.phones.all_kept();
                }
            }
            Coming::SinkTurn { sink } => self.sink_turn(sink),
            Coming::Recorded { no } => self.fact(no, party::recorded(no)),
            Coming::Writes { who } => {
                self.reach("written report");
                // Some of those who write have called as well.
                let caller = self.chance.percent(40).then(|| Party::number(who));
                for n in self.writers.write(who, caller, &mut self.chance) {
                    let after = self.chance.ms(1, 800);
                    self.plan(after, Coming::Message { n });
                    if self.chance.percent(10) {
                        self.reach("message sent twice");
                        self.plan(after + Duration::from_millis(3), Coming::Message { n });
                    }
                }
            }
            Coming::Message { n } => self.hand_over(n),
            Coming::Say(say) => self.say(say),
            Coming::Crash => {
                self.reach("crash");
                self.tell(format_args!("✂ kill -9"));
                self.gateway = None;
                self.storage.crash(&mut self.chance);
                self.phones.crash();
                self.unanswered.forget();
                self.parties[0].forget(now + DOWN);
                self.queue
                    .retain(|_, c| !matches!(c, Coming::Synced | Coming::Recorded { .. } | Coming::LineFate { .. }));
                self.plan(DOWN, Coming::Restart);
            }
            Coming::Restart => self.start(),
            Coming::DiskFails => {
                self.tell(format_args!("the disk fails"));
                let operations = self.chance.below(12) as u32;
                self.storage.disk.fail_after(operations);
                let after = self.chance.ms(200, 6000);
                self.plan(after, Coming::DiskHeals);
            }
            Coming::DiskHeals => self.storage.disk.heal(),
            Coming::Desk => {
                self.wake();
                self.press_triage();
                if now < BEGIN + self.shape.spread + Duration::from_secs(60) {
                    let after = self.chance.ms(300, 2000);
                    self.plan(after, Coming::Desk);
                }
            }
        }
    }

    /// Some seat that has a call presses what its call taker has heard.
    fn press_triage(&mut self) {
        let seat = format!("1{:03}", self.chance.below(u64::from(SEATS)));
        let kind =
            [IncidentKind::Report, IncidentKind::UrgentHelp, IncidentKind::Consult][self.chance.below(3) as usize];
        let Some(gateway) = &mut self.gateway else { return };
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let text = "有人持刀".to_owned();
        let action = Action::Triage { kind, category: None, level: None, text, place: None };
        gateway.desk.handle(self.now, ToDesk::SeatAction { seat, action, by: "seat:sim".into(), request });
        self.reach("triage");
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
        if let Some(broken) = self.broken_start.take() {
            return Err(broken);
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

    /// What a start has to tell the desk.
    fn settle_desk(&mut self) {
        for index in 0..self.shards {
            let of = |g: &mut Gateway| g.shards[usize::from(index)].poll_output();
            while let Some(output) = self.gateway.as_mut().and_then(of) {
                self.shard_says(index, output);
            }
        }
    }

    /// Over the wire: late, twice, or never.
    fn carry(&mut self, make: impl Fn() -> Coming) {
        if self.chance.percent(self.loss) {
            return self.reach("lost packet");
        }
        let latency = self.chance.ms(1, 20);
        self.plan(latency, make());
        if self.chance.percent(2) {
            self.reach("doubled packet");
            let latency = self.chance.ms(1, 60);
            self.plan(latency, make());
        }
    }

    /// The disk has done what it was asked for, or has not.
    fn synced(&mut self) {
        self.storage.syncing = false;
        let Some(gateway) = &mut self.gateway else { return };
        match self.storage.commit() {
            Ok(durable) => gateway.casebook.handle_durable(durable),
            Err(()) => {
                // Whoever waits is told so.
                gateway.casebook.refuse_waiting();
                self.reach("disk that failed");
                self.storage.syncing = true;
                return self.plan(Duration::from_millis(500), Coming::Synced);
            }
        }
        let at = Wall(EPOCH + self.now.since(BEGIN).as_nanos() as i64);
        if let Some((first, whole)) = self.storage.next_segment() {
            gateway.casebook.begin_segment(at, first, whole);
            *self.outcome.reached.entry("segment begun").or_default() += 1;
        }
        gateway.casebook.go_on_with_snapshot(at);
        self.settle_casebook();
        for sink in 0..self.sinks.len() {
            self.plan(Duration::from_millis(1), Coming::SinkTurn { sink });
        }
    }

    fn sink_turn(&mut self, sink: usize) {
        let turn = self.sinks[sink].step(&self.storage, self.broken, &mut self.chance);
        if turn == Turn::Refused {
            self.reach("sink refused");
        }
        if turn != Turn::Nothing {
            let after = self.chance.ms(1, 15);
            self.plan(after, Coming::SinkTurn { sink });
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
