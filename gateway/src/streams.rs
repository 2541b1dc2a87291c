//! TCP connections that carry SIP: accepted, framed, written. The first shard's thread has them all.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};

use bytes::Bytes;
use codecs::sip::{Framed, StreamFramer};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use switchboard::{Flow, Transport};

/// Bytes kept for a peer that does not read.
const BACKLOG_MAX: usize = 1024 * 1024;
/// Peers at one time; further ones are closed at once.
const CONNECTIONS_MAX: usize = 2000;
/// The most reads from one peer before the others get their turn.
const READS: usize = 16;

/// What a connection brought.
pub enum Arrived {
    Message(Flow, Bytes),
    /// Nothing more can be framed.
    Broken(Flow, Bytes, &'static str),
    Gone(u32),
}

struct Connection {
    stream: TcpStream,
    framer: StreamFramer,
    flow: Flow,
    unsent: Vec<u8>,
}

pub struct Streams {
    listener: TcpListener,
    connections: HashMap<u32, Connection>,
    next: u32,
    /// Connection n has this token and n more.
    first: Token,
}

impl Streams {
    /// # Errors
    /// When epoll does not take the listener.
    pub fn new(
        listener: std::net::TcpListener,
        registry: &Registry,
        token: Token,
        first: Token,
    ) -> io::Result<Streams> {
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Streams { listener, connections: HashMap::new(), next: 1, first })
    }

    pub fn count(&self) -> usize {
        self.connections.len()
    }

    fn token(&self, number: u32) -> Token {
        Token(self.first.0 + number as usize)
    }

    /// Whose token this is.
    pub fn number(&self, token: Token) -> u32 {
        (token.0 - self.first.0) as u32
    }

    pub fn accept(&mut self, registry: &Registry) {
        while let Ok((mut stream, remote)) = self.listener.accept() {
            if self.connections.len() >= CONNECTIONS_MAX {
                continue;
            }
            let number = self.next;
            self.next += 1;
            if registry.register(&mut stream, self.token(number), Interest::READABLE | Interest::WRITABLE).is_err() {
                continue;
            }
            let flow = Flow { transport: Transport::Tcp, remote, connection: number };
            self.connections
                .insert(number, Connection { stream, framer: StreamFramer::default(), flow, unsent: Vec::new() });
        }
    }

    /// Reads what is there, a bounded part of it at a time; pings are answered on the way.
    pub fn read(&mut self, registry: &Registry, number: u32, arrived: &mut Vec<Arrived>) {
        let token = self.token(number);
        let mut buffer = [0u8; 16 * 1024];
        for _ in 0..READS {
            let Some(connection) = self.connections.get_mut(&number) else { return };
            flush(connection);
            match connection.stream.read(&mut buffer) {
                Ok(0) => return self.drop_connection(number, arrived),
                Ok(len) => {
                    connection.framer.push(&buffer[..len]);
                    if !self.frames(number, arrived) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.drop_connection(number, arrived),
            }
        }
        // One peer that never stops talking waits for its next turn; the edge has passed, so it is asked for again.
        if let Some(connection) = self.connections.get_mut(&number) {
            let _ = registry.reregister(&mut connection.stream, token, Interest::READABLE | Interest::WRITABLE);
        }
    }

    /// `false`: nothing more is to be read from this one.
    fn frames(&mut self, number: u32, arrived: &mut Vec<Arrived>) -> bool {
        loop {
            let Some(connection) = self.connections.get_mut(&number) else { return false };
            let flow = connection.flow;
            match connection.framer.next_frame() {
                Ok(None) => return true,
                Ok(Some(Framed::Ping)) => self.write(number, b"\r\n"),
                Ok(Some(Framed::Message(bytes))) => arrived.push(Arrived::Message(flow, bytes)),
                Err(error) => {
                    arrived.push(Arrived::Broken(flow, error.message, error.what));
                    return false;
                }
            }
        }
    }

    fn drop_connection(&mut self, number: u32, arrived: &mut Vec<Arrived>) {
        if self.connections.remove(&number).is_some() {
            arrived.push(Arrived::Gone(number));
        }
    }

    pub fn write(&mut self, number: u32, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.unsent.extend_from_slice(bytes);
        flush(connection);
        if connection.unsent.len() > BACKLOG_MAX {
            self.connections.remove(&number);
        }
    }

    pub fn close(&mut self, number: u32) {
        self.connections.remove(&number);
    }
}

fn flush(connection: &mut Connection) {
    while !connection.unsent.is_empty() {
        match connection.stream.write(&connection.unsent) {
            Ok(0) | Err(_) => return,
            Ok(len) => {
                connection.unsent.drain(..len);
            }
        }
    }
}
