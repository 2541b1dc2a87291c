//! A carrier: its links, what waits to be sent, and what became of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use codecs::sms::split;
use codecs::time::{Mono, Wall};

use crate::dialect::{Delivery, DeliveryId, Event, Message, Protocol, Sequence, Submit, Verdict, decimal_time, proves};
use crate::link::{Frame, Link, Part, State};

/// Carrier's numbers of what we sent, kept for its state reports (48 h on CMPP; bounded in any case).
const REPORTS_AWAITED: usize = 200_000;
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
const DIAL_FIRST: Duration = Duration::from_millis(250);
/// A peer that connects has this long to log in.
const LOGIN_WITHIN: Duration = Duration::from_secs(10);
/// Connections to us that have not logged in; the oldest gives way to one more.
const STRANGERS_MAX: usize = 64;

#[derive(Clone, Debug)]
pub struct CarrierConfig {
    pub protocol: Protocol,
    pub account: String,
    pub secret: String,
    /// What a carrier that connects to us has to say (SGIP).
    pub peer: (String, String),
    /// Shown as the sender.
    pub number: String,
    pub service: String,
    /// Connections that we open.
    pub links: usize,
    /// Unanswered requests a link.
    pub window: usize,
    /// Silence before a link test.
    pub keep_alive: Duration,
    /// How long an answer may take.
    pub answer_within: Duration,
    /// How often a request is sent before it is given up.
    pub tries: u32,
    /// Messages a second at most; 0: no limit.
    pub rate: u32,
    /// Whether a carrier has to prove that it knows the secret, where its protocol has it do so (CMPP, SMGP).
    pub require_proof: bool,
    /// The longest wait between two attempts to connect.
    pub dial_max: Duration,
    pub seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u32);

/// A text to one telephone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub id: u64,
    pub to: String,
    pub text: String,
    pub urgent: bool,
    /// Goes only when no other line waits.
    pub notice: bool,
}

/// Names a delivery until it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    link: LinkId,
    epoch: u32,
    sequence: Sequence,
    id: DeliveryId,
}

impl Token {
    /// The connection that the message came by: another after each time that the link went down.
    pub fn session(&self) -> u64 {
        u64::from(self.link.0) << 32 | u64::from(self.epoch)
    }
}

/// What a state report says in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    Delivered,
    Failed(String),
}

#[derive(Debug)]
pub enum Output {
    Connect(LinkId),
    /// Send these last bytes, then close.
    Close(LinkId, &'static str, Vec<u8>),
    /// To be acknowledged once it is durable.
    Deliver(Token, Box<Delivery>),
    /// The carrier has taken the whole line, or never will.
    Verdict {
        line: u64,
        verdict: Verdict,
    },
    Fate {
        line: u64,
        fate: Fate,
    },
    /// A link is up or no longer.
    Up(LinkId, bool),
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    pub delivered: u64,
    pub submitted: u64,
    pub reports: u64,
    pub malformed: u64,
    pub unknown: u64,
    pub resent: u64,
    pub throttled: u64,
    pub login_refused: u64,
    /// The carrier's proof of the secret was not one we know.
    pub unproven: u64,
}

/// Of a line: how many there are, and how many of them the carrier has not taken yet.
struct Parts {
    all: usize,
    untaken: usize,
    is_withdrawn: bool,
}

pub struct Carrier {
    config: CarrierConfig,
    links: BTreeMap<u32, Link>,
    next_link: u32,
    urgent: VecDeque<Part>,
    notices: VecDeque<Part>,
    lines: BTreeMap<u64, Parts>,
    reports: BTreeMap<Vec<u8>, u64>,
    report_order: VecDeque<Vec<u8>>,
    /// Parts of a line of which no report has come, once the carrier has named one.
    unreported: BTreeMap<u64, usize>,
    /// No submit before that: the carrier said that it is busy.
    hold_until: Mono,
    backoff: Duration,
    /// By the rate.
    next_send: Mono,
    reference: u8,
    chance: u64,
    pub counters: Counters,
    outputs: VecDeque<Output>,
}

impl Carrier {
    /// Begins with every link to be dialled at `now` (a lazy protocol's when there is something to send).
    pub fn new(config: CarrierConfig, now: Mono) -> Carrier {
        assert!(config.links > 0 && config.window > 0 && config.tries > 0, "a carrier has a link, a window and a try");
        let dial_at = (!config.protocol.is_lazy()).then_some(now);
        let links = (0..config.links as u32).map(|i| (i, Link::new(State::Down { dial_at }, None, now))).collect();
        Carrier {
            next_link: config.links as u32,
            chance: config.seed | 1,
            config,
            links,
            urgent: VecDeque::new(),
            notices: VecDeque::new(),
            lines: BTreeMap::new(),
            reports: BTreeMap::new(),
            report_order: VecDeque::new(),
            unreported: BTreeMap::new(),
            hold_until: now,
            backoff: BACKOFF_FIRST,
            next_send: now,
            reference: 0,
            counters: Counters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Somebody has connected to us who may be the carrier. Of too many that have not logged in, the oldest of the
    /// address that has most of them gives way; of those that have as many, the oldest of all.
    pub fn accept(&mut self, now: Mono, from: IpAddr) -> LinkId {
        let mut strangers: BTreeMap<IpAddr, Vec<u32>> = BTreeMap::new();
        for (id, link) in self.links.iter().filter(|(_, l)| !l.is_up()) {
            if let Some(from) = link.accepted {
                strangers.entry(from).or_default().push(*id);
            }
        }
        if strangers.values().map(Vec::len).sum::<usize>() >= STRANGERS_MAX
            && let Some(oldest) =
                strangers.values().max_by_key(|all| (all.len(), Reverse(all[0]))).and_then(|all| all.first())
        {
            self.close(now, LinkId(*oldest), "more connections than a carrier needs");
        }
        let id = self.next_link;
        self.next_link += 1;
        let mut link = Link::new(State::Dialling, Some(from), now);
        link.connected(now);
        self.links.insert(id, link);
        LinkId(id)
    }

    pub fn handle_connected(&mut self, now: Mono, wall: Wall, link: LinkId) {
        let Some(l) = self.links.get_mut(&link.0) else { return };
        l.connected(now);
        l.login_time = decimal_time(wall);
        let CarrierConfig { protocol, account, secret, .. } = &self.config;
        l.ask(protocol, wall, &Message::Login { account, secret, time: l.login_time });
    }

    /// The connection failed, or is gone.
    pub fn handle_closed(&mut self, now: Mono, link: LinkId) {
        let Some(l) = self.links.get_mut(&link.0) else { return };
        if l.is_up() {
            self.outputs.push_back(Output::Up(link, false));
        }
        let returned = l.disconnected();
        if l.accepted.is_some() {
            self.links.remove(&link.0);
        } else {
            l.attempts += 1;
            let wait = (DIAL_FIRST * 2u32.pow(l.attempts.min(12) - 1)).min(self.config.dial_max);
            l.state = State::Down { dial_at: None };
            let wait = wait / 2 + self.jitter(wait / 2);
            if !self.config.protocol.is_lazy() || !self.is_idle() || !returned.is_empty() {
                self.set_state(link, State::Down { dial_at: Some(now + wait) });
            }
        }
        for part in returned.into_iter().rev() {
            self.counters.resent += 1;
            self.send_again(part);
        }
    }

    pub fn handle_bytes(&mut self, now: Mono, wall: Wall, link: LinkId, bytes: &[u8]) {
        let Some(l) = self.links.get_mut(&link.0) else { return };
        l.push(bytes);
        let (frames, broken) = l.frames(&self.config.protocol);
        for Frame { sequence, command, event } in frames {
            match event {
                Ok(event) => self.handle_event(now, link, sequence, command, event),
                Err(error) => {
                    self.counters.malformed += 1;
                    self.counters.unknown += u64::from(matches!(error, codecs::sms::PduError::Unknown(_)));
                    if self.links.get(&link.0).is_none_or(|l| !l.is_up()) {
                        // Whoever has not logged in is owed no answer.
                        self.close_if_open(now, link, "no command, before the login");
                        break;
                    }
                    self.refuse(link, sequence, command, error);
                }
            }
        }
        if let Some(error) = broken {
            self.counters.malformed += 1;
            if self.links.get(&link.0).is_some_and(Link::is_up) {
                self.refuse(link, Sequence::default(), 0, error);
            }
            self.close_if_open(now, link, "a length that cannot be");
        }
        self.pump(now, wall);
    }

    /// What a `Deliver` waited for: it is durable, or it cannot be taken now. CMPP has no answer for the latter that
    /// every gateway understands as "later": it gets none, and sends the message again.
    pub fn acknowledge(&mut self, token: Token, verdict: Verdict) {
        let Some(l) = self.links.get_mut(&token.link.0).filter(|l| l.epoch == token.epoch) else { return };
        l.owed = l.owed.saturating_sub(1);
        if !matches!((&self.config.protocol, verdict), (Protocol::Cmpp(_), Verdict::Busy)) {
            l.answer(&self.config.protocol, token.sequence, &Message::Acknowledge { id: token.id, verdict });
        }
    }

    /// Queues a line. Its verdict comes when the carrier has taken or refused all of it.
    pub fn submit(&mut self, now: Mono, wall: Wall, line: &Line) {
        self.reference = self.reference.wrapping_add(1);
        let (alphabet, parts) = split(&line.text, self.reference);
        self.lines.insert(line.id, Parts { all: parts.len(), untaken: parts.len(), is_withdrawn: false });
        for part in parts {
            let mut content = part.segment.map_or(Vec::new(), |s| s.header().to_vec());
            content.extend_from_slice(&part.octets);
            let part = Part {
                line: line.id,
                to: line.to.clone(),
                alphabet,
                segment: part.segment,
                content,
                urgent: line.urgent,
                notice: line.notice,
                sends: 0,
            };
            self.queue(&part).push_back(part);
        }
        for link in self.links.values_mut() {
            if link.state == (State::Down { dial_at: None }) && link.accepted.is_none() {
                link.state = State::Down { dial_at: Some(now) };
            }
        }
        self.pump(now, wall);
    }

    /// Takes back what of a line no link has been given yet. `true`: that was all of it, and no verdict comes.
    pub fn withdraw(&mut self, line: u64) -> bool {
        let queued = |queue: &VecDeque<Part>| queue.iter().filter(|part| part.line == line).count();
        let left = queued(&self.urgent) + queued(&self.notices);
        self.urgent.retain(|part| part.line != line);
        self.notices.retain(|part| part.line != line);
        let Some(parts) = self.lines.get_mut(&line) else { return false };
        parts.untaken -= left;
        // Of what a link was given nothing goes again.
        parts.is_withdrawn = true;
        let is_all = parts.all == left;
        if parts.untaken == 0 {
            self.lines.remove(&line);
        }
        is_all
    }

    /// A part goes out once more, in front of the others; one of a line that was withdrawn does not.
    fn send_again(&mut self, part: Part) {
        match self.lines.get_mut(&part.line) {
            Some(parts) if parts.is_withdrawn => {
                parts.untaken -= 1;
                if parts.untaken == 0 {
                    self.lines.remove(&part.line);
                }
            }
            _ => self.queue(&part).push_front(part),
        }
    }

    pub fn handle_timeout(&mut self, now: Mono, wall: Wall) {
        let ids: Vec<u32> = self.links.keys().copied().collect();
        for id in ids {
            self.link_timeout(now, wall, LinkId(id));
        }
        self.pump(now, wall);
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let links = self.links.values().flat_map(|l| match l.state {
            State::Down { dial_at } => [dial_at.map(|at| (at, "dial")), None],
            State::Dialling => [None, None],
            State::LoggingIn { since } => [Some((since + LOGIN_WITHIN, "login")), None],
            State::Leaving { since } => [Some((since + LOGIN_WITHIN, "leave")), None],
            State::Up => [
                Some((self.keep_alive_at(l), "keep-alive")),
                l.oldest().map(|(at, _)| (at + self.config.answer_within, "answer")),
            ],
        });
        let room = self.links.values().any(|l| self.has_room(l));
        let send = (!self.is_idle() && room).then(|| (self.hold_until.max(self.next_send), "send"));
        links.flatten().chain(send).min()
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Bytes for a link's socket.
    pub fn poll_transmit(&mut self) -> Option<(LinkId, Vec<u8>)> {
        self.links.iter_mut().find_map(|(id, l)| l.take_outgoing().map(|bytes| (LinkId(*id), bytes)))
    }

    /// Whether the link's socket may be read: its unacknowledged deliveries are below the bound.
    pub fn wants_bytes(&self, link: LinkId) -> bool {
        self.links.get(&link.0).is_some_and(Link::wants_bytes)
    }

    pub fn links_up(&self) -> usize {
        self.links.values().filter(|l| l.is_up()).count()
    }

    /// Lines' parts that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.urgent.len() + self.notices.len()
    }

    /// Says bye on every link; the shell closes them when their bytes are out.
    pub fn leave(&mut self, now: Mono, wall: Wall) {
        for link in self.links.values_mut().filter(|l| l.is_up()) {
            link.ask(&self.config.protocol, wall, &Message::Bye);
            link.state = State::Leaving { since: now };
        }
    }

    fn is_idle(&self) -> bool {
        self.urgent.is_empty() && self.notices.is_empty()
    }

    fn queue(&mut self, part: &Part) -> &mut VecDeque<Part> {
        if part.notice { &mut self.notices } else { &mut self.urgent }
    }

    fn keep_alive_at(&self, l: &Link) -> Mono {
        if self.config.protocol.is_lazy() {
            return l.heard + Duration::from_secs(86_400);
        }
        if l.tests == 0 { l.heard + self.config.keep_alive } else { l.tested + self.config.answer_within }
    }

    fn link_timeout(&mut self, now: Mono, wall: Wall, link: LinkId) {
        let l = &self.links[&link.0];
        match l.state {
            State::Down { dial_at: Some(at) } if at <= now => {
                self.set_state(link, State::Dialling);
                self.outputs.push_back(Output::Connect(link));
            }
            State::LoggingIn { since } if since + LOGIN_WITHIN <= now => self.close(now, link, "no login"),
            State::Leaving { since } if since + LOGIN_WITHIN <= now => self.close(now, link, "left"),
            State::Up => self.up_timeout(now, wall, link),
            State::Down { .. } | State::Dialling | State::LoggingIn { .. } | State::Leaving { .. } => {}
        }
    }

    fn set_state(&mut self, link: LinkId, state: State) {
        if let Some(l) = self.links.get_mut(&link.0) {
            l.state = state;
        }
    }

    fn up_timeout(&mut self, now: Mono, wall: Wall, link: LinkId) {
        while let Some(l) = self.links.get_mut(&link.0)
            && let Some((at, sequence)) = l.oldest()
            && at + self.config.answer_within <= now
        {
            let Some(part) = l.answered(sequence) else { continue };
            if part.sends >= self.config.tries {
                self.finish_part(part.line, Verdict::Refused(u32::MAX));
            } else {
                self.counters.resent += 1;
                self.send_again(part);
            }
        }
        let l = &self.links[&link.0];
        if self.keep_alive_at(l) > now {
            return;
        }
        if l.tests >= self.config.tries {
            return self.close(now, link, "link tests unanswered");
        }
        let Some(l) = self.links.get_mut(&link.0) else { return };
        (l.tests, l.tested) = (l.tests + 1, now);
        l.ask(&self.config.protocol, wall, &Message::KeepAlive);
    }

    fn close_if_open(&mut self, now: Mono, link: LinkId, why: &'static str) {
        if self.links.get(&link.0).is_some_and(|l| !matches!(l.state, State::Down { .. })) {
            self.close(now, link, why);
        }
    }

    fn close(&mut self, now: Mono, link: LinkId, why: &'static str) {
        let last = self.links.get_mut(&link.0).and_then(Link::take_outgoing).unwrap_or_default();
        self.outputs.push_back(Output::Close(link, why, last));
        self.handle_closed(now, link);
    }

    fn refuse(&mut self, link: LinkId, sequence: Sequence, command: u32, error: codecs::sms::PduError) {
        // Answers are not answered, whatever is wrong with them.
        if command & 0x8000_0000 == 0
            && let Some(l) = self.links.get_mut(&link.0)
        {
            l.answer(&self.config.protocol, sequence, &Message::Refuse { command, error });
        }
    }

    fn handle_event(&mut self, now: Mono, link: LinkId, sequence: Sequence, command: u32, event: Event) {
        let protocol = self.config.protocol.clone();
        let Some(l) = self.links.get_mut(&link.0) else { return };
        (l.heard, l.tests) = (now, 0);
        match event {
            Event::LoginAnswered { status, proof } => self.login_answered(now, link, status, proof),
            Event::Login { login_type, name, password } => {
                let (their_name, their_password) = &self.config.peer;
                let known = same(name.as_bytes(), their_name.as_bytes());
                let right = l.accepted.is_some()
                    && login_type == 2
                    && known & same(password.as_bytes(), their_password.as_bytes());
                l.answer(&protocol, sequence, &Message::LoginAnswer { accepted: right });
                if right {
                    l.state = State::Up;
                    self.outputs.push_back(Output::Up(link, true));
                } else {
                    self.counters.login_refused += 1;
                    self.close(now, link, "login refused");
                }
            }
            // What came behind the frame that ended the link.
            _ if matches!(l.state, State::Down { .. }) => {}
            // Before the login nothing else is taken.
            _ if matches!(l.state, State::LoggingIn { .. }) => {
                self.counters.malformed += 1;
                self.close(now, link, "a command before the login");
            }
            Event::Submitted { verdict, carrier_id, congested } => {
                if let Some(part) = l.answered(sequence) {
                    self.submitted(now, part, verdict, carrier_id, congested);
                }
            }
            Event::Nacked => {
                if let Some(part) = l.answered(sequence) {
                    self.finish_part(part.line, Verdict::Refused(0));
                }
            }
            Event::Delivered(delivery, id) => {
                l.owed += 1;
                self.counters.delivered += 1;
                let token = Token { link, epoch: l.epoch, sequence, id };
                self.outputs.push_back(Output::Deliver(token, delivery));
            }
            Event::Reported { carrier_id, delivered, stat, id } => {
                l.answer(&protocol, sequence, &Message::Acknowledge { id, verdict: Verdict::Accepted });
                self.reported(&carrier_id, delivered, stat);
            }
            Event::KeepAlive => l.answer(&protocol, sequence, &Message::KeepAliveAnswer),
            Event::Bye => {
                l.answer(&protocol, sequence, &Message::ByeAnswer);
                self.close(now, link, "the carrier said bye");
            }
            Event::ByeAnswered => self.close(now, link, "left"),
            Event::KeepAliveAnswered | Event::Nothing => {}
            Event::Unwanted(_) => {
                let error = codecs::sms::PduError::Unknown(command);
                l.answer(&protocol, sequence, &Message::Refuse { command, error });
            }
        }
    }

    fn login_answered(&mut self, now: Mono, link: LinkId, status: u32, proof: Option<Vec<u8>>) {
        let Some(l) = self.links.get_mut(&link.0) else { return };
        if !matches!(l.state, State::LoggingIn { .. }) || l.accepted.is_some() {
            return;
        }
        if status != 0 {
            self.counters.login_refused += 1;
            // Told again at the slowest pace: an account is locked sooner than mended by insisting.
            l.attempts = l.attempts.max(8);
            return self.close(now, link, "login refused");
        }
        let CarrierConfig { protocol, account, secret, .. } = &self.config;
        if proof.is_some_and(|p| !proves(protocol, &p, account, secret, l.login_time)) {
            self.counters.unproven += 1;
            if self.config.require_proof {
                l.attempts = l.attempts.max(8);
                return self.close(now, link, "the carrier did not prove that it knows the secret");
            }
        }
        (l.state, l.attempts) = (State::Up, 0);
        self.outputs.push_back(Output::Up(link, true));
    }

    fn submitted(&mut self, now: Mono, part: Part, verdict: Verdict, carrier_id: Vec<u8>, congested: bool) {
        match verdict {
            Verdict::Accepted => {
                self.backoff = BACKOFF_FIRST;
                if !carrier_id.is_empty() {
                    self.note_report_due(carrier_id, part.line);
                }
                self.finish_part(part.line, Verdict::Accepted);
                if congested {
                    self.hold_until = self.hold_until.max(now + BACKOFF_FIRST);
                }
            }
            Verdict::Busy => {
                self.counters.throttled += 1;
                // One answer of a window full of them doubles the wait, not all.
                if self.hold_until <= now {
                    let wait = self.backoff / 2 + self.jitter(self.backoff / 2);
                    self.hold_until = now + wait;
                    self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                }
                self.send_again(Part { sends: 0, ..part });
            }
            Verdict::Refused(_) => self.finish_part(part.line, verdict),
        }
    }

    fn finish_part(&mut self, line: u64, verdict: Verdict) {
        let Some(parts) = self.lines.get_mut(&line) else { return };
        parts.untaken -= 1;
        if parts.untaken == 0 || matches!(verdict, Verdict::Refused(_)) {
            self.lines.remove(&line);
            self.urgent.retain(|p| p.line != line);
            self.notices.retain(|p| p.line != line);
            self.outputs.push_back(Output::Verdict { line, verdict });
        }
    }

    fn note_report_due(&mut self, carrier_id: Vec<u8>, line: u64) {
        if let Some(parts) = self.lines.get(&line) {
            self.unreported.entry(line).or_insert(parts.all);
        }
        self.report_order.push_back(carrier_id.clone());
        self.reports.insert(carrier_id, line);
        if self.report_order.len() > REPORTS_AWAITED
            && let Some(oldest) = self.report_order.pop_front()
        {
            let line = self.reports.remove(&oldest);
            line.map(|line| self.unreported.remove(&line));
        }
    }

    /// Numbers are matched as bytes, then as hexadecimal against decimal: SMPP centres mix the two.
    fn reported(&mut self, carrier_id: &[u8], delivered: Option<bool>, stat: String) {
        self.counters.reports += 1;
        let Some(delivered) = delivered else { return };
        let other = std::str::from_utf8(carrier_id).ok().and_then(|text| {
            let decimal = text.parse::<u64>().ok().map(|n| format!("{n:X}"));
            let hexadecimal = u64::from_str_radix(text, 16).ok().map(|n| n.to_string());
            [decimal, hexadecimal].into_iter().flatten().find(|id| self.reports.contains_key(id.as_bytes()))
        });
        let line = self.reports.remove(carrier_id).or_else(|| self.reports.remove(other?.as_bytes()));
        let Some(line) = line else { return };
        // Half of a text is none: it is delivered with its last part, and has failed with any.
        let Some(left) = self.unreported.get_mut(&line) else { return };
        *left -= 1;
        if *left == 0 || !delivered {
            self.unreported.remove(&line);
            let fate = if delivered { Fate::Delivered } else { Fate::Failed(stat) };
            self.outputs.push_back(Output::Fate { line, fate });
        }
    }

    fn has_room(&self, l: &Link) -> bool {
        l.is_up() && l.accepted.is_none() && l.asked.len() < self.config.window
    }

    /// Sends what may be sent now: urgent lines before notices, over the link with the most room.
    fn pump(&mut self, now: Mono, wall: Wall) {
        while now >= self.hold_until && now >= self.next_send {
            let room = self.links.iter().filter(|(_, l)| self.has_room(l)).min_by_key(|(_, l)| l.asked.len());
            let Some(link) = room.map(|(id, _)| *id) else { return };
            let Some(l) = self.links.get_mut(&link) else { return };
            let Some(mut part) = self.urgent.pop_front().or_else(|| self.notices.pop_front()) else { return };
            part.sends += 1;
            self.counters.submitted += 1;
            let c = &self.config;
            let submit = Submit {
                account: &c.account,
                service: &c.service,
                from: &c.number,
                to: &part.to,
                alphabet: part.alphabet,
                segment: part.segment,
                content: &part.content,
                urgent: part.urgent,
            };
            let sequence = l.ask(&c.protocol, wall, &Message::Submit(submit));
            l.expect_answer(now, sequence, part);
            if c.rate > 0 {
                self.next_send = self.next_send.max(now) + Duration::from_secs(1) / c.rate;
            }
        }
    }

    /// A share of `most`, from a generator of our own (xorshift64): links do not come back in step.
    fn jitter(&mut self, most: Duration) -> Duration {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        most.mul_f64((self.chance >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// Whether two texts are equal, in time that depends on their lengths only.
fn same(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}

#[cfg(test)]
mod tests;
