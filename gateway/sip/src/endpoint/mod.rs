//! The endpoint: takes messages from flows, keeps transactions and sessions, yields messages and events.
//!
//! Contract: feed one input, drain every output, feed the next. Nothing here decides what a call means.

mod client;
mod pager;
mod register;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use codecs::sip::{Fields, Message, Method, Name, Via, Writer, check_request, check_response, split_commas};
use codecs::time::Mono;
use ipnet::IpNet;
use slab::Slab;

use crate::call_id::CallIds;
use crate::dialog::DialogKey;
use crate::flow::{Flow, Path, Transport};
use crate::key::{Key, KeyMap, Keys, Mac};
use crate::mint::{Mint, Seed, write_base32};
use crate::registrar::{Account, Binding, Registrar, Rules};
use crate::session::{EndCause, Session, SessionId};
use crate::transaction::{Client, InviteClient, InviteServer, Server, Wake};
use crate::wheel::{Armed, TimerQueue};

pub use client::OutgoingInvite;
use pager::Page;
pub use pager::{OutgoingPage, PageId};

/// Methods with a meaning here, as the Allow header says.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, INFO";

/// What a stranger's answer may be longer than their request: the tag, and where they were seen.
const STRANGER_MORE: usize = 96;
/// Digits of a tag that is made of the request alone.
const STATELESS_TAG: usize = 16;
/// Refused calls remembered, so that a repeat of an INVITE is not told twice.
const REFUSED_MAX: usize = 1024;

pub struct Config {
    /// Where peers reach us, by Via and Contact: never a wildcard.
    pub address: SocketAddr,
    /// The digest realm, and the host part of our identity.
    pub realm: String,
    pub accounts: Vec<Account>,
    pub registrar: Rules,
    /// Whose INVITE and MESSAGE is served: nobody else's costs memory.
    pub peers: Vec<IpNet>,
    /// The addresses of each trunk, where calls of ours go out to among them: what is asked in a call of one may come
    /// from any of these.
    pub trunks: Vec<Vec<IpNet>>,
    /// Drawn by the shell; tags, branches and nonces follow from it.
    pub seed: Seed,
    /// Ends the local part of every Call-ID that we mint, so that a receiver can find the shard.
    pub shard: u16,
    pub call_ids: CallIds,
    /// Pages are numbered from here on.
    pub first_page: u64,
}

/// What leaves the endpoint.
#[derive(Debug)]
pub enum Output {
    Send {
        flow: Flow,
        /// Where a new connection is to be made when the flow's is gone.
        reconnect: Option<SocketAddr>,
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

/// An INVITE that could not be served.
#[derive(Debug)]
pub struct Refused {
    pub flow: Flow,
    pub message: Message,
    pub code: u16,
    pub what: &'static str,
}

#[derive(Debug)]
pub enum Event {
    Invited(Box<Invitation>),
    /// A peer's first INVITE of a call was refused by the protocol alone; nothing more will come of it.
    Refused(Box<Refused>),
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
        /// It was there before with the same Contact and flow: only its expiry moved.
        refreshed: bool,
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
    /// Responses that came from elsewhere than their request went to, or to another request.
    pub forged: u64,
    /// Requests of strangers that were refused without being remembered.
    pub strangers: u64,
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
    path: Path,
    /// Of a request of ours: what its answer says again (Call-ID, From tag, CSeq).
    expects: Option<Key>,
    session: Option<SessionId>,
    /// OPTIONS in the session's dialog: without an answer nobody is there any more.
    is_probe: bool,
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
    /// Makes the tags of answers that nobody remembers.
    mac: Mac,
    by_key: KeyMap<usize>,
    sessions: Slab<Session>,
    next_generation: u32,
    by_dialog: KeyMap<SessionId>,
    /// Call-ID, From tag and CSeq of INVITEs being served: a second one by another path is merged (8.2.2.2).
    invited: KeyMap<SessionId>,
    /// INVITEs refused lately, and the order in which they are forgotten.
    refused: KeyMap<()>,
    refused_order: VecDeque<Key>,
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
        assert!(!config.address.ip().is_unspecified(), "peers cannot send to a wildcard address");
        let mut mint = Mint::new(config.seed);
        let (keys, mac) = (Keys::new(&mint.seed()), Mac::new(&mint.seed()));
        let accounts = std::mem::take(&mut config.accounts);
        let registrar = Registrar::new(config.realm.clone(), config.registrar.clone(), accounts, mint.seed());
        Endpoint {
            next_page: config.first_page,
            config,
            mint,
            transactions: Slab::new(),
            keys,
            mac,
            by_key: KeyMap::default(),
            sessions: Slab::new(),
            next_generation: 1,
            by_dialog: KeyMap::default(),
            invited: KeyMap::default(),
            refused: KeyMap::default(),
            refused_order: VecDeque::new(),
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
                    self.reject_malformed(flow, message, rejection.code, rejection.what);
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
            self.reject_malformed(flow, message, 400, what);
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

    fn send(&mut self, path: Path, bytes: Bytes) {
        self.outputs.push_back(Output::Send { flow: path.flow, reconnect: path.reconnect, bytes });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Whether a source is a peer of ours, whose requests may be remembered.
    fn is_peer(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.config.peers.iter().any(|net| net.contains(&source))
    }

    /// The tag of an answer that is not remembered: the same for every repeat of its request (RFC 3261 8.2.7).
    fn stateless_tag(&self, request: &Message) -> String {
        let parts = [Name::Via, Name::CallId, Name::From, Name::CSeq].map(|n| request.get(n).unwrap_or_default());
        let mut tag = String::with_capacity(STATELESS_TAG);
        write_base32(self.mac.of(&parts), STATELESS_TAG, &mut tag);
        tag
    }

    /// Answers once for once and remembers nothing. What a stranger gets is hardly longer than what they sent, so that
    /// nobody else can be flooded by way of us.
    fn answer_statelessly(&mut self, path: Path, source: Flow, request: &Message, bytes: Bytes) {
        let stranger = source.transport == Transport::Udp && !self.is_peer(source.remote.ip());
        if stranger && bytes.len() > request.raw().len() + STRANGER_MORE {
            return;
        }
        self.send(path, bytes);
    }

    /// The answer to what is too broken for anything to be spent on.
    fn reject_malformed(&mut self, flow: Flow, request: Message, code: u16, what: &'static str) {
        let top = request.get(Name::Via).and_then(|v| split_commas(v).next());
        // An ACK is never answered (RFC 3261 17), and without a Via there is nowhere to answer to.
        let Some(top) = top.filter(|_| request.method() != Some(Method::Ack)) else { return };
        self.counters.rejected += 1;
        let path = Via::parse(top).map_or(Path::over(flow), |via| Path::of_answer(via.reply_to(), flow));
        let tag = self.stateless_tag(&request);
        let mut w = Writer::response(&request, code, tag.as_bytes(), flow.remote);
        if code == 400 && self.is_peer(flow.remote.ip()) {
            w.header_fmt(Name::Warning, format_args!("399 {} \"{what}\"", self.config.realm));
        }
        let bytes = w.finish();
        self.answer_statelessly(path, flow, &request, bytes);
        if request.method() == Some(Method::Invite) {
            self.tell_refused(flow, request, code, what);
        }
    }

    /// A peer's call that is not served is told once, however often its INVITE is repeated.
    fn tell_refused(&mut self, flow: Flow, message: Message, code: u16, what: &'static str) {
        if !self.is_peer(flow.remote.ip()) {
            self.counters.strangers += 1;
            return;
        }
        let parts = [Name::CallId, Name::From, Name::CSeq].map(|n| message.get(n).unwrap_or_default());
        let key = self.keys.of(&parts);
        if self.refused.insert(key, ()).is_some() {
            return;
        }
        self.refused_order.push_back(key);
        if self.refused_order.len() > REFUSED_MAX
            && let Some(oldest) = self.refused_order.pop_front()
        {
            self.refused.remove(&oldest);
        }
        self.event(Event::Refused(Box::new(Refused { flow, message, code, what })));
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

    fn add_transaction(&mut self, machine: Machine, key: Key, path: Path, session: Option<SessionId>) -> usize {
        let armed = Armed::default();
        let transaction = Transaction { machine, key, path, expects: None, session, is_probe: false, armed };
        let index = self.transactions.insert(transaction);
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
        let (path, session) = (transaction.path, transaction.session);
        let is_invite_client = matches!(transaction.machine, Machine::InviteClient(_));
        let is_probe = transaction.is_probe;
        let wake = transaction.handle_timeout(now);
        if transaction.is_over() {
            self.page_answered(index, 408);
        }
        self.settle_transaction(index);
        match wake {
            Wake::Nothing => {}
            Wake::Send(bytes) => {
                self.counters.retransmissions += 1;
                self.send(path, bytes);
            }
            Wake::TimedOut => {
                if let Some(id) = session.filter(|_| is_probe) {
                    self.lose_session(id);
                }
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
        // Whatever still waits for its user is answered all the same (15.1.2).
        if let Some(reoffer) = session.reoffer.take() {
            let bytes = self.refusal(&reoffer.request, reoffer.flow, 487, "", None);
            self.respond(self.clock, reoffer.transaction, 487, bytes);
        }
        Some(session)
    }
}

/// The key of the transaction a request belongs to: branch, sent-by and method; ACK and CANCEL look for their INVITE's
/// with `method`. Call-ID and CSeq are the same in all that belongs together: a peer that gives two calls one branch has
/// two calls all the same.
fn request_key(keys: &Keys, message: &Message, fields: &Fields, method: Method) -> Key {
    let method = [method as u8];
    if fields.branch.is_empty() {
        // RFC 3261 17.2.3, for peers without the cookie.
        let (from_tag, call_id) = (message.bytes(fields.from_tag), message.bytes(fields.call_id));
        let via = message.get(Name::Via).unwrap_or_default();
        return keys.of(&[message.request_uri(), from_tag, call_id, &fields.cseq.to_be_bytes(), via, &method]);
    }
    let (sent_by, call_id) = (message.bytes(fields.sent_by), message.bytes(fields.call_id));
    keys.of(&[message.bytes(fields.branch), sent_by, call_id, &fields.cseq.to_be_bytes(), &method])
}

/// The key of a client transaction: our branch and the method (RFC 3261 17.1.3).
fn client_key(keys: &Keys, branch: &[u8], method: Method) -> Key {
    keys.of(&[branch, b"client", &[method as u8]])
}

/// What an answer to a request of ours says again.
fn expected(keys: &Keys, call_id: &[u8], from_tag: &[u8], cseq: u32) -> Key {
    keys.of(&[call_id, from_tag, &cseq.to_be_bytes()])
}

fn dialog_key(keys: &Keys, dialog: &DialogKey) -> Key {
    keys.of(&[&dialog.call_id, &dialog.local_tag, &dialog.remote_tag])
}
