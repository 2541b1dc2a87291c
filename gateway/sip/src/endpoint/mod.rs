//! The endpoint: takes messages from flows, keeps transactions and sessions, yields messages and events.
//!
//! Contract: feed one input, drain every output, feed the next. Nothing here decides what a call means.

mod client;
mod pager;
mod register;
mod server;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use codecs::sip::{Fields, Message, Method, Name, Writer, check_request, check_response};
use codecs::time::Mono;
use slab::Slab;
use std::collections::VecDeque;

use crate::dialog::DialogKey;
use crate::flow::{Flow, Transport};
use crate::key::{Key, KeyMap, Keys};
use crate::mint::Mint;
use crate::registrar::{Account, Binding, Registrar};
use crate::session::{EndCause, Session, SessionId};
use crate::transaction::{Client, InviteClient, InviteServer, Server, Wake};
use crate::wheel::{Armed, TimerQueue};

pub use client::OutgoingInvite;
use pager::Page;
pub use pager::{OutgoingPage, PageId};

/// Methods with a meaning here, as the Allow header says.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, INFO";

pub struct Config {
    /// Where peers reach us, by Via and Contact.
    pub address: SocketAddr,
    /// The digest realm, and the host part of our identity.
    pub realm: String,
    pub accounts: Vec<Account>,
    /// Drawn by the shell; tags, branches and nonces follow from it.
    pub seed: u64,
    /// Ends the local part of every Call-ID that we mint, so that a receiver can find the shard.
    pub shard: u16,
    /// Pages are numbered from here on.
    pub first_page: u64,
}

/// What leaves the endpoint.
#[derive(Debug)]
pub enum Output {
    Send {
        flow: Flow,
        bytes: Bytes,
    },
    /// The stream is beyond repair: close it.
    Close {
        flow: Flow,
    },
    Event(Event),
}

/// An INVITE outside a dialog.
#[derive(Debug)]
pub struct Invitation {
    pub session: SessionId,
    pub flow: Flow,
    pub message: Message,
    /// The SDP offer, out of multipart if need be; `None` for a delayed offer.
    pub sdp: Option<Bytes>,
}

#[derive(Debug)]
pub enum Event {
    Invited(Box<Invitation>),
    /// Our 2xx was acknowledged; the answer to an offer of ours, if the ACK carried one.
    Confirmed {
        session: SessionId,
        sdp: Option<Bytes>,
    },
    /// A provisional response to our INVITE, 100 left out.
    Progress {
        session: SessionId,
        code: u16,
        sdp: Option<Bytes>,
    },
    Answered {
        session: SessionId,
        sdp: Option<Bytes>,
    },
    /// A new offer inside the session; answer with `answer_reoffer` or `refuse_reoffer`.
    Reoffer {
        session: SessionId,
        sdp: Option<Bytes>,
    },
    /// The last event of a session.
    Ended {
        session: SessionId,
        cause: EndCause,
    },
    Registered {
        user: String,
        binding: Binding,
    },
    Unregistered {
        user: String,
    },
    /// A MESSAGE; answer with `answer_page`.
    Paged {
        page: PageId,
        flow: Flow,
        message: Box<Message>,
    },
    /// The final answer to a MESSAGE of ours; 408 when none came.
    PageAnswered {
        page: PageId,
        code: u16,
    },
}

/// Plain counters, published by the shell once a second.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    pub requests: u64,
    pub responses: u64,
    pub malformed: u64,
    pub rejected: u64,
    pub retransmissions: u64,
    pub stray: u64,
}

enum Machine {
    InviteServer(InviteServer),
    InviteClient(InviteClient),
    Server(Server),
    Client(Client),
}

struct Transaction {
    machine: Machine,
    key: Key,
    flow: Flow,
    session: Option<SessionId>,
    armed: Armed,
}

impl Transaction {
    fn deadline(&self) -> Option<Mono> {
        match &self.machine {
            Machine::InviteServer(m) => m.poll_timeout(),
            Machine::InviteClient(m) => m.poll_timeout(),
            Machine::Server(m) => m.poll_timeout(),
            Machine::Client(m) => m.poll_timeout(),
        }
        .map(|(at, _)| at)
    }
    fn is_over(&self) -> bool {
        match &self.machine {
            Machine::InviteServer(m) => m.is_over(),
            Machine::InviteClient(m) => m.is_over(),
            Machine::Server(m) => m.is_over(),
            Machine::Client(m) => m.is_over(),
        }
    }
    fn handle_timeout(&mut self, now: Mono) -> Wake {
        match &mut self.machine {
            Machine::InviteServer(m) => m.handle_timeout(now),
            Machine::InviteClient(m) => m.handle_timeout(now),
            Machine::Server(m) => m.handle_timeout(now),
            Machine::Client(m) => m.handle_timeout(now),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Transaction(usize),
    Session(SessionId),
    Registrar,
}

pub struct Endpoint {
    config: Config,
    mint: Mint,
    transactions: Slab<Transaction>,
    keys: Keys,
    by_key: KeyMap<usize>,
    sessions: Slab<Session>,
    next_generation: u32,
    by_dialog: KeyMap<SessionId>,
    /// Call-ID, From tag and CSeq of INVITEs being served: a second one by another path is merged (8.2.2.2).
    invited: KeyMap<SessionId>,
    /// MESSAGEs that wait for our answer, and transactions of those that wait for theirs.
    pages: HashMap<PageId, Page>,
    paging: HashMap<usize, PageId>,
    next_page: u64,
    registrar: Registrar,
    registrar_armed: Armed,
    timers: TimerQueue<Timer>,
    outputs: VecDeque<Output>,
    /// INVITEs that came since all outputs were taken.
    unanswered: VecDeque<SessionId>,
    draining: bool,
    /// The `now` of the input being handled.
    clock: Mono,
    pub counters: Counters,
}

impl Endpoint {
    pub fn new(mut config: Config) -> Endpoint {
        let mut mint = Mint::new(config.seed);
        let keys = Keys::new(config.seed);
        let registrar = Registrar::new(config.realm.clone(), std::mem::take(&mut config.accounts), &mut mint);
        Endpoint {
            next_page: config.first_page,
            config,
            mint,
            transactions: Slab::new(),
            keys,
            by_key: KeyMap::default(),
            sessions: Slab::new(),
            next_generation: 1,
            by_dialog: KeyMap::default(),
            invited: KeyMap::default(),
            pages: HashMap::new(),
            paging: HashMap::new(),
            registrar,
            registrar_armed: Armed::default(),
            timers: TimerQueue::default(),
            outputs: VecDeque::new(),
            unanswered: VecDeque::new(),
            draining: false,
            clock: Mono(0),
            counters: Counters::default(),
        }
    }

    /// One datagram, or one message cut from a stream.
    pub fn handle_message(&mut self, now: Mono, flow: Flow, bytes: Bytes) {
        self.clock = now;
        let Ok(message) = Message::frame(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        if message.is_request() {
            self.counters.requests += 1;
            match check_request(&message) {
                Ok(fields) => self.handle_request(now, flow, message, fields),
                Err(rejection) => {
                    self.counters.malformed += 1;
                    self.reject_statelessly(flow, &message, rejection.code, rejection.what);
                }
            }
        } else {
            self.counters.responses += 1;
            match check_response(&message) {
                Ok(fields) => self.handle_response(now, flow, &message, &fields),
                Err(_) => self.counters.malformed += 1,
            }
        }
    }

    /// A stream that can no longer be framed: answers what can be answered, and asks for its end.
    pub fn handle_broken_stream(&mut self, flow: Flow, bytes: Bytes, what: &'static str) {
        self.counters.malformed += 1;
        if let Ok(message) = Message::frame(bytes)
            && message.is_request()
        {
            self.reject_statelessly(flow, &message, 400, what);
        }
        self.outputs.push_back(Output::Close { flow });
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        self.clock = now;
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Transaction(index) => self.wake_transaction(now, index),
                Timer::Session(id) => self.wake_session(now, id),
                Timer::Registrar => self.wake_registrar(now),
            }
        }
    }

    /// What is to be done. An INVITE whose user has not answered it by the time that it has heard of everything gets its
    /// 100 then; one that is answered at once needs none (RFC 3261 17.2.1).
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let id = self.unanswered.pop_front()?;
            self.say_trying(id);
        }
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        self.timers.next_deadline().map(|at| (at, "SIP timer"))
    }

    /// While draining OPTIONS gets 503, so that proxies ahead choose another node; calls are still taken.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Sessions, transactions and armed timers alive: all zero means nothing was left behind.
    pub fn population(&self) -> (usize, usize, usize) {
        (self.sessions.len(), self.transactions.len(), self.timers.armed())
    }

    /// The binding of a registered user.
    pub fn binding(&self, user: &str) -> Option<&Binding> {
        self.registrar.binding(user)
    }

    fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.outputs.push_back(Output::Send { flow, bytes });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// The answer to what no transaction should be spent on.
    fn reject_statelessly(&mut self, flow: Flow, request: &Message, code: u16, what: &'static str) {
        // An ACK is never answered (RFC 3261 17), and without a Via there is nowhere to answer to.
        if request.method() == Some(Method::Ack) || request.get(Name::Via).is_none() {
            return;
        }
        self.counters.rejected += 1;
        let tag = self.mint.token();
        let mut w = Writer::response(request, code, tag.as_bytes(), flow.remote);
        if code == 400 {
            w.header_fmt(Name::Warning, format_args!("399 {} \"{what}\"", self.config.realm));
        }
        let bytes = w.finish();
        self.send(flow, bytes);
    }

    fn via(&self, transport: Transport, branch: &str) -> String {
        format!("SIP/2.0/{} {};branch={branch};rport", transport.text(), self.config.address)
    }

    fn contact(&self, transport: Transport) -> String {
        match transport {
            Transport::Udp => format!("<sip:gw@{}>", self.config.address),
            Transport::Tcp => format!("<sip:gw@{};transport=tcp>", self.config.address),
        }
    }

    fn add_transaction(&mut self, machine: Machine, key: Key, flow: Flow, session: Option<SessionId>) -> usize {
        let index = self.transactions.insert(Transaction { machine, key, flow, session, armed: Armed::default() });
        self.by_key.insert(key, index);
        self.settle_transaction(index);
        index
    }

    /// Arms the timer that the transaction wants, or removes it when it is over.
    fn settle_transaction(&mut self, index: usize) {
        let transaction = &mut self.transactions[index];
        let over = transaction.is_over();
        let wanted = if over { None } else { transaction.deadline() };
        self.timers.rearm(Timer::Transaction(index), &mut transaction.armed, wanted);
        if over {
            let gone = self.transactions.remove(index);
            if self.by_key.get(&gone.key) == Some(&index) {
                self.by_key.remove(&gone.key);
            }
        }
    }

    fn wake_transaction(&mut self, now: Mono, index: usize) {
        let transaction = &mut self.transactions[index];
        let (flow, session) = (transaction.flow, transaction.session);
        let is_invite_client = matches!(transaction.machine, Machine::InviteClient(_));
        let wake = transaction.handle_timeout(now);
        if transaction.is_over() {
            self.page_answered(index, 408);
        }
        self.settle_transaction(index);
        match wake {
            Wake::Nothing => {}
            Wake::Send(bytes) => {
                self.counters.retransmissions += 1;
                self.send(flow, bytes);
            }
            Wake::TimedOut => {
                if let Some(id) = session.filter(|_| is_invite_client) {
                    self.end_session(id, EndCause::TimedOut);
                }
            }
        }
    }

    fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.index as usize).filter(|s| s.generation == id.generation)
    }

    fn add_session(&mut self, make: impl FnOnce(u32) -> Session) -> SessionId {
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        let index = self.sessions.insert(make(generation)) as u32;
        SessionId { index, generation }
    }

    fn settle_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id.index as usize).filter(|s| s.generation == id.generation) else {
            return;
        };
        let wanted = session.deadline();
        self.timers.rearm(Timer::Session(id), &mut session.armed, wanted);
    }

    /// Removes a session and everything that names it; tells the user unless they know.
    fn end_session(&mut self, id: SessionId, cause: EndCause) {
        if let Some(session) = self.remove_session(id)
            && !session.forgotten
        {
            self.event(Event::Ended { session: id, cause });
        }
    }

    fn remove_session(&mut self, id: SessionId) -> Option<Session> {
        self.session(id)?;
        let mut session = self.sessions.remove(id.index as usize);
        self.timers.rearm(Timer::Session(id), &mut session.armed, None);
        if let Some(dialog) = &session.dialog {
            self.by_dialog.remove(&dialog_key(&self.keys, &dialog.key));
        }
        if let Some(key) = &session.merged {
            self.invited.remove(key);
        }
        Some(session)
    }
}

/// The key of the transaction a request belongs to: branch, sent-by and method; ACK and CANCEL look for their INVITE's
/// with `method`.
fn request_key(keys: &Keys, message: &Message, fields: &Fields, method: Method) -> Key {
    let method = [method as u8];
    if fields.branch.is_empty() {
        // RFC 3261 17.2.3, for peers without the cookie.
        let (from_tag, call_id) = (message.bytes(fields.from_tag), message.bytes(fields.call_id));
        let via = message.get(Name::Via).unwrap_or_default();
        return keys.of(&[message.request_uri(), from_tag, call_id, &fields.cseq.to_be_bytes(), via, &method]);
    }
    keys.of(&[message.bytes(fields.branch), message.bytes(fields.sent_by), &method])
}

/// The key of a client transaction: our branch and the method (RFC 3261 17.1.3).
fn client_key(keys: &Keys, branch: &[u8], method: Method) -> Key {
    keys.of(&[branch, b"client", &[method as u8]])
}

fn dialog_key(keys: &Keys, dialog: &DialogKey) -> Key {
    keys.of(&[&dialog.call_id, &dialog.local_tag, &dialog.remote_tag])
}
