//! TCP connections that carry SIP: accepted, made, framed, written. The first shard's thread has them all.
//!
//! A connection is kept while something is on it: a call, a registration, a message of the last seconds. One on which
//! nothing is, that never finishes what it began, or that does not read, is closed; where there are too many, the one
//! that has been silent for longest makes room, so that nobody is kept out by those who only sit.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use codecs::sip::{Framed, StreamFramer};
use codecs::time::Mono;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use switchboard::{Flow, Transport};

use crate::net::crowd::{Cap, Crowd, Full};

/// Bytes kept for a peer that does not read.
const BACKLOG_MAX: usize = 256 * 1024;
/// Octets that are read of one peer before the others get their turn.
const READ: usize = 4096;
/// Octets that are read in one turn of all peers of whom something is known, and of strangers: then calls by UDP and
/// the media have theirs.
const TURN: usize = 64 * 1024;
const TURN_OF_STRANGERS: usize = 16 * 1024;
/// Pings a second that are answered; RFC 5626 4.4.1 wants one in 95 s and more. Whoever pings oftener is left.
const PINGS: u32 = 8;
/// More than the time between one `keep` and the next.
const STILL: Duration = Duration::from_secs(3);
/// How long a connection on which a call has just begun keeps its place before `keep` has seen it.
const GRACE: Duration = Duration::from_secs(2);
/// Connections taken up in one turn.
const ACCEPTS: usize = 64;
/// Nothing on it for so long: closed. Also the time in which what was begun is to be finished: a message of theirs, the
/// reading of ours, a connection that we make.
const IDLE: Duration = Duration::from_secs(10);

/// What a connection brought, or came to.
pub enum Arrived {
    Message(Flow, Bytes),
    /// Nothing more can be framed.
    Broken(Flow, Bytes, &'static str),
    Gone(u32),
    /// What was to go over a connection could not, nor over a new one to there.
    Unreachable {
        connection: u32,
        remote: SocketAddr,
    },
}

struct Connection {
    stream: TcpStream,
    framer: StreamFramer,
    flow: Flow,
    unsent: Vec<u8>,
    /// Bytes that they have not read lie here since then.
    unread_since: Option<Mono>,
    /// Of a message of which the rest is missing.
    partial_since: Option<Mono>,
    /// A whole message came or went, a call or a registration was on it, or it began.
    active_at: Mono,
    /// A call or a registration was on it.
    proved: bool,
    /// Until then it keeps its place: a call begins on it, or we made it.
    graced: Mono,
    /// From a source of whom something is known: a trunk, somebody in a call or registered.
    known: bool,
    /// Pings since then, within a second.
    pings: (Mono, u32),
    /// We made it.
    made: bool,
    stands: bool,
    /// Until it stands: the connections that it replaces.
    waiting: Vec<u32>,
}

impl Connection {
    /// Whether a connection that we make stands by now.
    fn made_it(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_over(&self, now: Mono) -> bool {
        let over = |since: Mono| now.since(since) >= IDLE;
        over(self.active_at) || self.unread_since.is_some_and(over) || self.partial_since.is_some_and(over)
    }
}

pub struct Streams {
    listener: TcpListener,
    connections: HashMap<u32, Connection>,
    /// Those that we made, by where to.
    made: HashMap<SocketAddr, u32>,
    crowd: Crowd,
    next: u32,
    /// Connection n has this token and n more.
    first: Token,
    listener_token: Token,
    /// What may yet be read in this turn.
    left: usize,
    left_to_strangers: usize,
    arrived: Vec<Arrived>,
    /// Connections closed to make room, or because of nothing on them.
    pub closed: u64,
}

impl Streams {
    /// # Errors
    /// When epoll does not take the listener.
    pub fn new(
        listener: std::net::TcpListener,
        registry: &Registry,
        token: Token,
        first: Token,
        cap: Cap,
    ) -> io::Result<Streams> {
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Streams {
            listener,
            connections: HashMap::new(),
            made: HashMap::new(),
            crowd: Crowd::new(cap),
            next: 1,
            first,
            listener_token: token,
            left: TURN,
            left_to_strangers: TURN_OF_STRANGERS,
            arrived: Vec::new(),
            closed: 0,
        })
    }

    pub fn count(&self) -> usize {
        self.crowd.count()
    }

    pub fn cap(&self) -> usize {
        self.crowd.cap()
    }

    fn token(&self, number: u32) -> Token {
        Token(self.first.0 + number as usize)
    }

    /// Whose token this is.
    pub fn number(&self, token: Token) -> u32 {
        (token.0 - self.first.0) as u32
    }

    /// What has come of the calls since the last time.
    pub fn arrived(&mut self) -> Vec<Arrived> {
        std::mem::take(&mut self.arrived)
    }

    pub fn accept(&mut self, registry: &Registry, now: Mono, is_known: impl Fn(IpAddr) -> bool) {
        for _ in 0..ACCEPTS {
            let Ok((stream, remote)) = self.listener.accept() else { return };
            self.make_room(now, remote);
            if self.crowd.full(remote.ip()).is_none() {
                let _ = self.add(registry, now, stream, remote, (false, is_known(remote.ip())));
            }
        }
        let _ = registry.reregister(&mut self.listener, self.listener_token, Interest::READABLE);
    }

    /// Where one more would be too many, one of the same source, or of anybody, goes: the longest silent of those that
    /// have never carried a call or a registration, else of those that carry none now.
    fn make_room(&mut self, now: Mono, remote: SocketAddr) {
        let Some(full) = self.crowd.full(remote.ip()) else { return };
        let same = |c: &Connection| c.flow.remote.ip().to_canonical() == remote.ip().to_canonical();
        let meant = self.connections.iter().filter(|(_, c)| full == Full::All || same(c));
        // Whatever carried something within the last seconds carries it still.
        let meant = meant.filter(|(_, c)| now >= c.graced && (!c.proved || now.since(c.active_at) >= STILL));
        if let Some((&number, _)) = meant.min_by_key(|(_, c)| (c.proved, c.active_at)) {
            self.closed += 1;
            self.remove(number);
        }
    }

    fn add(
        &mut self,
        registry: &Registry,
        now: Mono,
        mut stream: TcpStream,
        remote: SocketAddr,
        (made, known): (bool, bool),
    ) -> io::Result<u32> {
        let number = self.next;
        registry.register(&mut stream, self.token(number), Interest::READABLE | Interest::WRITABLE)?;
        self.next += 1;
        self.crowd.enter(remote.ip());
        let connection = Connection {
            stream,
            framer: StreamFramer::default(),
            flow: Flow { transport: Transport::Tcp, remote, connection: number },
            unsent: Vec::new(),
            unread_since: None,
            partial_since: None,
            active_at: now,
            proved: false,
            graced: if made { now + GRACE } else { Mono(0) },
            known: made || known,
            pings: (now, 0),
            waiting: Vec::new(),
            made,
            stands: !made,
        };
        self.connections.insert(number, connection);
        Ok(number)
    }

    /// A new turn: as much may be read as in the one before.
    pub fn begin_turn(&mut self) {
        (self.left, self.left_to_strangers) = (TURN, TURN_OF_STRANGERS);
    }

    /// Reads what is there, a bounded part of it at a time; pings are answered on the way.
    pub fn read(&mut self, registry: &Registry, now: Mono, number: u32) {
        let token = self.token(number);
        let (mut buffer, mut of_this) = ([0u8; READ], 0);
        loop {
            let Some(connection) = self.connections.get_mut(&number) else { return };
            let left = if connection.known { &mut self.left } else { &mut self.left_to_strangers };
            if *left == 0 || of_this >= READ {
                break;
            }
            if !connection.stands {
                match connection.made_it() {
                    Ok(true) => {
                        connection.stands = true;
                        connection.waiting.clear();
                    }
                    Ok(false) => return,
                    Err(_) => return self.remove(number),
                }
            }
            flush(connection, now);
            match connection.stream.read(&mut buffer) {
                Ok(0) => return self.remove(number),
                Ok(len) => {
                    *left = left.saturating_sub(len);
                    of_this += len;
                    connection.framer.push(&buffer[..len]);
                    if !self.frames(now, number) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.remove(number),
            }
        }
        // One peer that never stops talking waits for its next turn; the edge has passed, so it is asked for again.
        if let Some(connection) = self.connections.get_mut(&number) {
            let _ = registry.reregister(&mut connection.stream, token, Interest::READABLE | Interest::WRITABLE);
        }
    }

    /// `false`: nothing more is to be read from this one.
    fn frames(&mut self, now: Mono, number: u32) -> bool {
        loop {
            let Some(connection) = self.connections.get_mut(&number) else { return false };
            let flow = connection.flow;
            match connection.framer.next_frame() {
                Ok(None) => {
                    let partial = connection.framer.has_partial();
                    connection.partial_since = partial.then(|| connection.partial_since.unwrap_or(now));
                    return true;
                }
                // Whoever pings wants it kept for a while (RFC 5626 3.5.1), but a ping alone keeps nothing for ever.
                Ok(Some(Framed::Ping)) => {
                    let (since, pings) = connection.pings;
                    let recent = now.since(since) < Duration::from_secs(1);
                    connection.pings = if recent { (since, pings + 1) } else { (now, 1) };
                    if connection.pings.1 > PINGS {
                        self.closed += 1;
                        self.remove(number);
                        return false;
                    }
                    self.write(now, number, b"\r\n");
                }
                Ok(Some(Framed::Message(bytes))) => {
                    connection.active_at = now;
                    connection.partial_since = None;
                    self.arrived.push(Arrived::Message(flow, bytes));
                }
                Err(error) => {
                    self.arrived.push(Arrived::Broken(flow, error.message, error.what));
                    return false;
                }
            }
        }
    }

    /// Sends over the flow's connection; where it is gone, over a new one to `reconnect`. A flow without a connection
    /// is one still to be made.
    pub fn send(&mut self, registry: &Registry, now: Mono, flow: Flow, reconnect: Option<SocketAddr>, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&flow.connection) {
            connection.active_at = now;
            return self.write(now, flow.connection, bytes);
        }
        let remote = if flow.connection == 0 { Some(flow.remote) } else { reconnect };
        let unreachable = Arrived::Unreachable { connection: flow.connection, remote: remote.unwrap_or(flow.remote) };
        let Some(remote) = remote else { return self.arrived.push(unreachable) };
        let number = match self.made.get(&remote).copied() {
            Some(number) => number,
            // An answer alone is no reason to have more connections than there may be.
            None if flow.connection != 0 && !self.has_room(now, remote) => return self.arrived.push(unreachable),
            None => match self.connect(registry, now, remote) {
                Ok(number) => number,
                Err(_) => return self.arrived.push(unreachable),
            },
        };
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.active_at = now;
            if !connection.stands {
                connection.waiting.push(flow.connection);
            }
        }
        self.write(now, number, bytes);
    }

    fn has_room(&mut self, now: Mono, remote: SocketAddr) -> bool {
        self.make_room(now, remote);
        self.crowd.full(remote.ip()).is_none()
    }

    fn connect(&mut self, registry: &Registry, now: Mono, remote: SocketAddr) -> io::Result<u32> {
        let stream = TcpStream::connect(remote)?;
        let number = self.add(registry, now, stream, remote, (true, true))?;
        self.made.insert(remote, number);
        Ok(number)
    }

    fn write(&mut self, now: Mono, number: u32, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.unsent.len() + bytes.len() > BACKLOG_MAX {
            return self.remove(number);
        }
        connection.unsent.extend_from_slice(bytes);
        if connection.stands {
            flush(connection, now);
        }
    }

    /// The connection ends, and everybody who relied on it hears so.
    fn remove(&mut self, number: u32) {
        let Some(connection) = self.connections.remove(&number) else { return };
        let remote = connection.flow.remote;
        self.crowd.leave(remote.ip());
        if connection.made && self.made.get(&remote) == Some(&number) {
            self.made.remove(&remote);
        }
        for waiting in connection.waiting {
            self.arrived.push(Arrived::Unreachable { connection: waiting, remote });
        }
        self.arrived.push(Arrived::Gone(number));
    }

    pub fn close(&mut self, number: u32) {
        self.remove(number);
    }

    /// A call of somebody who is known begins on this one.
    pub fn grace(&mut self, now: Mono, number: u32) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.graced = now + GRACE;
        }
    }

    /// These carry a call or a registration.
    pub fn keep(&mut self, now: Mono, numbers: &BTreeSet<u32>) {
        for number in numbers {
            if let Some(connection) = self.connections.get_mut(number) {
                (connection.active_at, connection.proved, connection.known) = (now, true, true);
            }
        }
    }

    /// Closes what is idle, half said or not read.
    pub fn expire(&mut self, now: Mono) {
        let over: Vec<u32> = self.connections.iter().filter(|(_, c)| c.is_over(now)).map(|(&n, _)| n).collect();
        for number in over {
            self.closed += 1;
            self.remove(number);
        }
    }
}

fn flush(connection: &mut Connection, now: Mono) {
    while !connection.unsent.is_empty() {
        match connection.stream.write(&connection.unsent) {
            Ok(0) | Err(_) => {
                connection.unread_since = connection.unread_since.or(Some(now));
                return;
            }
            Ok(len) => {
                connection.unsent.drain(..len);
                connection.unread_since = None;
            }
        }
    }
    connection.unread_since = None;
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Client;

    use mio::{Events, Poll};

    use super::*;

    struct World {
        poll: Poll,
        streams: Streams,
        at: SocketAddr,
    }

    impl World {
        fn new(most: usize) -> World {
            let poll = Poll::new().expect("epoll");
            let listener = std::net::TcpListener::bind((IpAddr::from([127, 0, 0, 1]), 0)).expect("a port");
            listener.set_nonblocking(true).expect("set");
            let at = listener.local_addr().expect("bound");
            let cap = Cap { all: most, share: most, whole: Vec::new() };
            let streams = Streams::new(listener, poll.registry(), Token(0), Token(10), cap).expect("registered");
            World { poll, streams, at }
        }

        /// One more connection, and its number here.
        fn connect(&mut self, now: Mono) -> (Client, u32) {
            let client = Client::connect(self.at).expect("connected");
            let mut events = Events::with_capacity(8);
            let number = self.streams.next;
            while self.streams.next == number {
                self.poll.poll(&mut events, Some(Duration::from_secs(1))).expect("polled");
                self.streams.accept(self.poll.registry(), now, |_| true);
            }
            (client, number)
        }

        /// Reads until so much has come of a connection, or it has ended.
        fn read(&mut self, now: Mono, number: u32, done: impl Fn(&Streams) -> bool) {
            let mut events = Events::with_capacity(8);
            for _ in 0..100 {
                self.streams.begin_turn();
                self.streams.read(self.poll.registry(), now, number);
                if done(&self.streams) {
                    return;
                }
                self.poll.poll(&mut events, Some(Duration::from_millis(20))).expect("polled");
            }
            panic!("nothing came");
        }

        fn gone(&mut self) -> Vec<u32> {
            let number = |a| if let Arrived::Gone(number) = a { Some(number) } else { None };
            self.streams.arrived().into_iter().filter_map(number).collect()
        }
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn whoever_relied_on_a_connection_hears_of_its_end_whoever_ended_it() {
        let mut w = World::new(10);
        let (_a, closed) = w.connect(at(0));
        let (_b, idle) = w.connect(at(0));
        let (_c, used) = w.connect(at(0));
        w.streams.close(closed);
        assert_eq!(w.gone(), [closed]);
        w.streams.keep(at(9_000), &BTreeSet::from([used]));
        w.streams.expire(at(10_000));
        assert_eq!(w.gone(), [idle]);
        assert_eq!(w.streams.count(), 1);
    }

    #[test]
    fn places_are_held_by_calls_and_not_by_being_busy() {
        let mut w = World::new(2);
        let (_caller, call) = w.connect(at(0));
        w.streams.grace(at(0), call);
        let (mut busy, other) = w.connect(at(0));
        busy.write_all(b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n").expect("sent");
        w.read(at(100), other, |s| !s.arrived.is_empty());
        let _ = w.streams.arrived();
        let (_new, _) = w.connect(at(101));
        assert_eq!(w.gone(), [other]);
        assert_eq!(w.streams.count(), 2);
    }

    #[test]
    fn an_answer_makes_no_connection_beyond_those_that_there_may_be() {
        let mut w = World::new(2);
        let callers = [w.connect(at(0)).1, w.connect(at(0)).1];
        callers.iter().for_each(|c| w.streams.grace(at(0), *c));
        let gone = Flow { transport: Transport::Tcp, remote: w.at, connection: 99 };
        let registry = w.poll.registry().try_clone().expect("cloned");
        w.streams.send(&registry, at(1), gone, Some(w.at), b"SIP/2.0 200 OK\r\n\r\n");
        assert!(matches!(&w.streams.arrived()[..], [Arrived::Unreachable { connection: 99, .. }]));
        assert_eq!(w.streams.count(), 2);
    }

    #[test]
    fn whoever_only_pings_is_answered_a_few_times_and_left() {
        let mut w = World::new(2);
        let (mut client, number) = w.connect(at(0));
        client.write_all(&b"\r\n\r\n".repeat(1000)).expect("sent");
        w.read(at(1), number, |s| s.count() == 0);
        assert_eq!(w.gone(), [number]);
    }

    #[test]
    fn no_more_is_read_of_one_in_a_turn_than_leaves_the_others_theirs() {
        let mut w = World::new(2);
        let (mut client, number) = w.connect(at(0));
        client.set_nonblocking(true).expect("set");
        let head = format!("OPTIONS sip:a SIP/2.0\r\nl: 65000\r\n\r\n{}", "x".repeat(65_000));
        let _ = client.write(head.repeat(8).as_bytes());
        w.read(at(1), number, |s| s.left < TURN);
        assert_eq!(w.streams.left, TURN - READ, "whatever it has sent");
    }
}
