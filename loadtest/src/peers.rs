//! All simulated parties on one thread: their sockets, dialogs, voices and ears.

mod happening;
mod media;
mod phones;
mod remote;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use codecs::sip::{CSeq, Message, Method, Name, NameAddr};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

pub use happening::{Behaviour, Happening};
use phones::Phone;
use remote::Command;
pub use remote::Remote;

use crate::clock::Clock;
use crate::ear::Ear;
use crate::line::{Line, PartyKey};
use crate::ua::{self, Dialog, Phase, T1};
use crate::voice::Code;

const TICK: Duration = Duration::from_millis(20);
const QUITS_AFTER: Duration = Duration::from_millis(100);
/// Tokens from here on are media sockets.
const MEDIA: usize = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AgentId(usize);

struct Agent {
    socket: UdpSocket,
    local: SocketAddr,
    gateway: SocketAddr,
    secrets: HashMap<String, String>,
    behaviour: BTreeMap<String, Behaviour>,
    default: Behaviour,
    role: u8,
}

struct Party {
    agent: usize,
    dialog: Dialog,
    user: String,
    number: String,
    answer_at: Option<Duration>,
    quit_at: Option<Duration>,
    mute: bool,
    media: Option<usize>,
    code: Code,
}

/// Addresses that live audio goes to.
pub type Watched = std::sync::Arc<std::sync::Mutex<Vec<SocketAddr>>>;

pub struct Peers {
    pub clock: Clock,
    poll: Poll,
    agents: Vec<Agent>,
    parties: BTreeMap<PartyKey, Party>,
    by_call: HashMap<(usize, Vec<u8>), PartyKey>,
    media: BTreeMap<usize, Line>,
    /// What REGISTER asks for: 0 while taking leave.
    expires_s: u32,
    next_id: u64,
    next_media: usize,
    next_tick: Duration,
    /// Sent for a leg before it is told to `say` more; `None`: 50 packets a second.
    pub probe: Option<u32>,
    /// Of the roles, how many are listened for until they are heard: 2 leaves officers out, 0 everybody.
    pub roles: u8,
    /// Media ports of the gateway, from and to: it sends nothing to them, whoever has one.
    pub foreign: Option<(u16, u16)>,
    /// Streams begin anew again and again: another SSRC, another number, another time.
    pub jumping: bool,
    /// Where our media goes just now, for whoever wants to disturb it.
    pub watched: Option<Watched>,
    happenings: VecDeque<(Duration, Happening)>,
    phones: BTreeMap<(usize, String), Phone>,
    /// Tells our Call-IDs from those of another run.
    salt: u64,
    code_of: HashMap<String, u32>,
    commands: Receiver<Command>,
    remote: Remote,
    ended: bool,
    /// Ears of legs that are over, for the questions that come after.
    pub past: BTreeMap<PartyKey, (Code, Ear)>,
}

impl Peers {
    /// # Errors
    /// When the kernel gives no epoll.
    pub fn new(clock: Clock) -> io::Result<Peers> {
        let poll = Poll::new()?;
        let waker = std::sync::Arc::new(mio::Waker::new(poll.registry(), Token(usize::MAX))?);
        let (sender, commands) = channel();
        Ok(Peers {
            clock,
            poll,
            agents: Vec::new(),
            parties: BTreeMap::new(),
            by_call: HashMap::new(),
            media: BTreeMap::new(),
            expires_s: 3600,
            next_id: 1,
            next_media: MEDIA,
            next_tick: Duration::ZERO,
            probe: None,
            roles: 3,
            foreign: None,
            jumping: false,
            watched: None,
            happenings: VecDeque::new(),
            phones: BTreeMap::new(),
            salt: clock.salt(),
            code_of: HashMap::new(),
            commands,
            remote: Remote { commands: sender, waker },
            ended: false,
            past: BTreeMap::new(),
        })
    }

    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// A socket on `address` whose phones speak as `role` (0 caller, 1 seat, 2 officer).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn add_agent(
        &mut self,
        address: IpAddr,
        gateway: SocketAddr,
        role: u8,
        default: Behaviour,
    ) -> io::Result<AgentId> {
        self.add_agent_at(SocketAddr::new(address, 0), gateway, role, default)
    }

    /// As `add_agent`, on a given port.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn add_agent_at(
        &mut self,
        address: SocketAddr,
        gateway: SocketAddr,
        role: u8,
        default: Behaviour,
    ) -> io::Result<AgentId> {
        let std = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
        let _ = std.set_recv_buffer_size(4 * 1024 * 1024);
        std.bind(&address.into())?;
        std.set_nonblocking(true)?;
        let mut socket = UdpSocket::from_std(std.into());
        let local = socket.local_addr()?;
        let id = self.agents.len();
        self.poll.registry().register(&mut socket, Token(id), Interest::READABLE)?;
        self.agents.push(Agent {
            socket,
            local,
            gateway,
            secrets: HashMap::new(),
            behaviour: BTreeMap::new(),
            default,
            role,
        });
        Ok(AgentId(id))
    }

    pub fn local(&self, agent: AgentId) -> SocketAddr {
        self.agents[agent.0].local
    }

    /// Where an agent's requests go from now on.
    pub fn set_gateway(&mut self, agent: AgentId, gateway: SocketAddr) {
        self.agents[agent.0].gateway = gateway;
    }

    pub fn behave(&mut self, agent: AgentId, user: &str, behaviour: Behaviour) {
        self.agents[agent.0].behaviour.insert(user.to_owned(), behaviour);
    }

    /// Places a call; every leg that belongs to it speaks with the call's index.
    pub fn call(&mut self, agent: AgentId, number: &str, to: &str, index: u32) -> io::Result<PartyKey> {
        let now = self.clock.now();
        let id = self.new_id();
        let (local, gateway, role) = {
            let a = &self.agents[agent.0];
            (a.local, a.gateway, a.role)
        };
        self.code_of.insert(number.to_owned(), index);
        let key = PartyKey(id);
        let code = Code { role, call: index };
        let (media, address) = self.open_media(local.ip(), key, code)?;
        let uri = format!("sip:{to}@{gateway}");
        let (dialog, bytes) = ua::invite(now, (self.salt, id), local, gateway, number, &uri, &ua::sdp(address));
        self.by_call.insert((agent.0, dialog.call_id.clone()), key);
        let party = Party {
            agent: agent.0,
            dialog,
            user: number.into(),
            number: number.into(),
            answer_at: None,
            quit_at: None,
            mute: false,
            media: Some(media),
            code,
        };
        self.parties.insert(key, party);
        self.send(agent.0, gateway, &bytes);
        Ok(key)
    }

    /// BYE, CANCEL or 486: whatever ends this leg from our side.
    pub fn hang_up(&mut self, key: PartyKey) {
        let now = self.clock.now();
        let id = self.new_id();
        let Some(party) = self.parties.get_mut(&key) else { return };
        let (agent, peer) = (party.agent, party.dialog.peer);
        let local = self.agents[agent].local;
        let bytes = match party.dialog.phase {
            Phase::Calling => {
                party.dialog.phase = Phase::Ending;
                party.dialog.cancel(local)
            }
            Phase::Up => {
                party.dialog.phase = Phase::Ending;
                party.dialog.cseq += 1;
                party.dialog.request("BYE", party.dialog.cseq, local, &format!("z9hG4bKb{id}"))
            }
            Phase::Called => {
                let Some(bytes) = party.dialog.respond(486, local, key.0, b"") else { return };
                self.send(agent, peer, &bytes);
                return self.end(key);
            }
            Phase::Ending | Phase::Gone => return,
        };
        party.dialog.repeat = Some((bytes.clone(), now + T1, T1));
        party.dialog.give_up = now + T1 * 8;
        self.silence(key);
        self.send(agent, peer, &bytes);
    }

    pub fn poll_happening(&mut self) -> Option<(Duration, Happening)> {
        self.happenings.pop_front()
    }

    /// Legs of one agent, up or coming.
    pub fn legs_of(&self, agent: AgentId) -> usize {
        self.parties.values().filter(|p| p.agent == agent.0).count()
    }

    /// Legs of calls from or to one of these numbers, on every socket, by role.
    pub fn legs_with(&self, numbers: &[String]) -> [usize; 3] {
        let mut legs = [0; 3];
        for party in self.parties.values().filter(|p| numbers.contains(&p.number) || numbers.contains(&p.user)) {
            legs[usize::from(self.agents[party.agent].role) % 3] += 1;
        }
        legs
    }

    /// Ends the loop of `run`.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Serves the parties until `finish`.
    pub fn run(&mut self) {
        while !self.ended {
            self.step(TICK);
        }
    }

    /// One round: waits at most `patience` for something to do, and does it.
    pub fn step(&mut self, patience: Duration) {
        let mut events = Events::with_capacity(1024);
        let now = self.clock.now();
        let tick = self.next_tick.saturating_sub(now);
        let _ = self.poll.poll(&mut events, Some(tick.min(patience)));
        for event in &events {
            match event.token().0 {
                usize::MAX => {}
                token if token >= MEDIA => self.read_media(token),
                agent => self.read_agent(agent),
            }
        }
        while let Ok(command) = self.commands.try_recv() {
            command(self);
        }
        let now = self.clock.now();
        if now >= self.next_tick {
            if now > self.next_tick + TICK * 5 {
                self.stood_still();
                self.next_tick = now + TICK;
            } else {
                self.next_tick += TICK;
            }
            self.speak();
            self.wake(now);
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn happen(&mut self, happening: Happening) {
        self.happenings.push_back((self.clock.now(), happening));
    }

    fn send(&self, agent: usize, to: SocketAddr, bytes: &[u8]) {
        let _ = self.agents[agent].socket.send_to(bytes, to);
    }

    fn read_agent(&mut self, agent: usize) {
        let mut buffer = [0u8; 65_536];
        while let Ok((len, from)) = self.agents[agent].socket.recv_from(&mut buffer) {
            let Ok(message) = Message::frame(Bytes::copy_from_slice(&buffer[..len])) else { continue };
            match message.code() {
                Some(code) => self.handle_response(agent, &message, code),
                None => self.handle_request(agent, from, message),
            }
        }
    }

    fn handle_response(&mut self, agent: usize, message: &Message, code: u16) {
        let Some(cseq) = message.get(Name::CSeq).and_then(CSeq::parse) else { return };
        if cseq.method == Method::Register {
            return self.handle_registered(agent, message, code, cseq.number);
        }
        let call_id = message.get(Name::CallId).unwrap_or_default().to_vec();
        let Some(&key) = self.by_call.get(&(agent, call_id)) else { return };
        match (cseq.method, code) {
            (Method::Invite, 100..200) => {
                if let Some(party) = self.parties.get_mut(&key)
                    && party.dialog.phase == Phase::Calling
                {
                    party.dialog.repeat = None;
                    party.dialog.give_up = self.clock.now() + T1 * 240;
                }
                if code == 180 {
                    self.happen(Happening::Ringing { party: key });
                }
            }
            (Method::Invite, 200..300) => self.handle_answer(key, message),
            (Method::Invite, _) => self.handle_refusal(key, message, code),
            (Method::Bye, 200..) => self.end(key),
            (Method::Cancel, _) => {
                if let Some(party) = self.parties.get_mut(&key) {
                    party.dialog.repeat = None;
                }
            }
            _ => {}
        }
    }

    fn handle_answer(&mut self, key: PartyKey, message: &Message) {
        let id = self.new_id();
        let Some(party) = self.parties.get_mut(&key) else { return };
        let (agent, peer) = (party.agent, party.dialog.peer);
        let local = self.agents[agent].local;
        if let Some(ack) = party.dialog.ack.clone() {
            return self.send(agent, peer, &ack);
        }
        let ack = party.dialog.acknowledge(message, local, &format!("z9hG4bKk{id}"));
        party.dialog.repeat = None;
        let cancelled = party.dialog.phase == Phase::Ending;
        party.dialog.phase = Phase::Up;
        party.dialog.give_up = Duration::MAX;
        let media = party.media;
        self.send(agent, peer, &ack);
        if cancelled {
            return self.hang_up(key);
        }
        if let Some(media) = media.and_then(|m| self.media.get_mut(&m)) {
            media.target = ua::media_target(message);
            media.speaking = true;
        }
        self.happen(Happening::Answered { party: key });
    }

    fn handle_refusal(&mut self, key: PartyKey, message: &Message, code: u16) {
        let Some(party) = self.parties.get(&key) else { return };
        let (agent, peer) = (party.agent, party.dialog.peer);
        let ack = party.dialog.ack_refusal(message, self.agents[agent].local);
        self.send(agent, peer, &ack);
        self.happen(Happening::Refused { party: key, code });
        self.end(key);
    }

    fn handle_request(&mut self, agent: usize, from: SocketAddr, message: Message) {
        let call_id = message.get(Name::CallId).unwrap_or_default().to_vec();
        let known = self.by_call.get(&(agent, call_id)).copied();
        match (message.method(), known) {
            (Some(Method::Invite), None) => self.take_invite(agent, from, &message),
            (Some(Method::Invite), Some(key)) => {
                if let Some(answer) = self.parties.get(&key).and_then(|p| p.dialog.answer.clone()) {
                    self.send(agent, from, &answer);
                }
            }
            (Some(Method::Ack), Some(key)) => {
                if let Some(party) = self.parties.get_mut(&key) {
                    party.dialog.repeat = None;
                }
            }
            (Some(Method::Cancel), Some(key)) => {
                self.reply(agent, from, &message, 200);
                let Some(party) = self.parties.get_mut(&key).filter(|p| p.dialog.phase == Phase::Called) else {
                    return;
                };
                let local = self.agents[agent].local;
                if let Some(bytes) = party.dialog.respond(487, local, key.0, b"") {
                    self.send(agent, from, &bytes);
                }
                self.happen(Happening::Cancelled { party: key });
                self.end(key);
            }
            (Some(Method::Bye), Some(key)) => {
                self.reply(agent, from, &message, 200);
                self.end(key);
            }
            (Some(Method::Ack), None) => {}
            (Some(Method::Bye | Method::Cancel), None) => self.reply(agent, from, &message, 481),
            _ => self.reply(agent, from, &message, 200),
        }
    }

    fn reply(&self, agent: usize, to: SocketAddr, request: &Message, code: u16) {
        let bytes = codecs::sip::Writer::response(request, code, b"p", to).finish();
        self.send(agent, to, &bytes);
    }

    fn take_invite(&mut self, agent: usize, from: SocketAddr, message: &Message) {
        let now = self.clock.now();
        let id = self.new_id();
        let uri = codecs::sip::Uri::parse(message.request_uri());
        let user = String::from_utf8_lossy(uri.as_ref().map(codecs::sip::Uri::number).unwrap_or_default()).into_owned();
        let number =
            message.get(Name::From).and_then(NameAddr::parse).and_then(|n| n.uri().map(|u| u.number().to_vec()));
        let number = String::from_utf8_lossy(&number.unwrap_or_default()).into_owned();
        let alert_no = String::from_utf8_lossy(message.get_text("X-Alert-No").unwrap_or_default()).into_owned();
        let Some(mut dialog) = ua::invited(now, id, from, message) else { return };
        let (local, role, default) = {
            let a = &self.agents[agent];
            (a.local, a.role, a.behaviour.get(&user).copied().unwrap_or(a.default))
        };
        let key = PartyKey(id);
        let code = Code { role, call: self.code_of.get(&number).copied().unwrap_or_default() };
        let first = if default == Behaviour::Busy { 486 } else { 180 };
        let Some(bytes) = dialog.respond(first, local, id, b"") else { return };
        self.send(agent, from, &bytes);
        self.happen(Happening::Called { party: key, user: user.clone(), number: number.clone(), alert_no });
        if default == Behaviour::Busy {
            return;
        }
        let Ok((media, _)) = self.open_media(local.ip(), key, code) else { return };
        if let Some(m) = self.media.get_mut(&media) {
            m.target = ua::media_target(message);
        }
        self.by_call.insert((agent, dialog.call_id.clone()), key);
        let answer_at = match default {
            Behaviour::Answer { after } => Some(now + after),
            Behaviour::Silent | Behaviour::Quits => Some(now),
            Behaviour::RingOn | Behaviour::Busy => None,
        };
        let quit_at = (default == Behaviour::Quits).then_some(now + QUITS_AFTER);
        let mute = default == Behaviour::Silent;
        let media = Some(media);
        self.parties.insert(key, Party { agent, dialog, user, number, answer_at, quit_at, mute, media, code });
        if answer_at.is_some_and(|at| at <= now) {
            self.pick_up(key);
        }
    }

    fn pick_up(&mut self, key: PartyKey) {
        let now = self.clock.now();
        let Some(party) = self.parties.get_mut(&key) else { return };
        party.answer_at = None;
        let (agent, peer) = (party.agent, party.dialog.peer);
        let local = self.agents[agent].local;
        let Some(media) = party.media.and_then(|m| self.media.get_mut(&m)) else { return };
        let Ok(address) = media.socket.local_addr() else { return };
        media.speaking = !party.mute;
        let Some(bytes) = party.dialog.respond(200, local, key.0, &ua::sdp(address)) else { return };
        party.dialog.phase = Phase::Up;
        party.dialog.repeat = Some((bytes.clone(), now + T1, T1));
        party.dialog.give_up = now + T1 * 64;
        let (user, number) = (party.user.clone(), party.number.clone());
        self.send(agent, peer, &bytes);
        self.happen(Happening::PickedUp { party: key, user, number });
    }

    fn end(&mut self, key: PartyKey) {
        let Some(mut party) = self.parties.remove(&key) else { return };
        party.dialog.phase = Phase::Gone;
        self.by_call.remove(&(party.agent, party.dialog.call_id));
        if let Some(mut media) = party.media.and_then(|m| self.media.remove(&m)) {
            let _ = self.poll.registry().deregister(&mut media.socket);
            self.past.insert(key, (party.code, media.ear));
        }
        self.happen(Happening::Ended { party: key });
    }

    /// Retransmissions, answers that are due, calls that are given up.
    fn wake(&mut self, now: Duration) {
        let (mut due, mut over, mut quit) = (Vec::new(), Vec::new(), Vec::new());
        for (key, party) in &mut self.parties {
            if party.quit_at.is_some_and(|at| at <= now) {
                party.quit_at = None;
                quit.push(*key);
            }
            if party.answer_at.is_some_and(|at| at <= now) {
                due.push(*key);
            }
            if let Some((bytes, at, interval)) = &mut party.dialog.repeat
                && *at <= now
            {
                *interval *= 2;
                *at = now + *interval;
                let _ = self.agents[party.agent].socket.send_to(bytes, party.dialog.peer);
            }
            if party.dialog.give_up <= now {
                over.push((*key, party.dialog.phase));
            }
        }
        for key in due {
            self.pick_up(key);
        }
        for key in quit {
            self.hang_up(key);
        }
        for (key, phase) in over {
            if phase == Phase::Calling {
                self.happen(Happening::Refused { party: key, code: 408 });
            }
            self.end(key);
        }
        self.wake_phones(now);
    }
}
