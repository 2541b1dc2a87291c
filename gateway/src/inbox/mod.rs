//! Between threads: the shards' inboxes and who of them gets what, what the casebook hears and answers, who waits.
//!
//! Every other thread speaks to the shards through a `Handle`.

pub mod casebook;
pub mod keys;
pub mod notices;
pub mod withheld;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use bytes::Bytes;
use mio::{Poll, Token, Waker};
use switchboard::route::{Route, SHARDS_MAX};
use switchboard::{Flow, ToDesk, ToShard};

/// What other threads ask of a shard, or of the desk and the sockets beside the first.
#[derive(Clone)]
pub enum Input {
    Shard(ToShard),
    Desk(ToDesk),
    /// SIP that the first shard's sockets read, in order.
    Sip(Vec<(Flow, Bytes)>),
    /// A TCP connection is gone.
    Closed(u32),
    /// For a TCP connection, all of which are the first shard's.
    Write {
        flow: Flow,
        reconnect: Option<SocketAddr>,
        bytes: Bytes,
    },
    /// What was to be sent over a connection could not be, nor over a new one.
    Unreachable {
        connection: u32,
        remote: SocketAddr,
    },
    /// Connections that carry a call or a registration of a shard's, and where those are who are in one.
    Keep {
        connections: Vec<u32>,
        sources: Vec<IpAddr>,
    },
    Close {
        connection: u32,
    },
    Drain,
    /// Hang everything up, send what that needs, and end.
    Stop,
}

struct Inbox {
    sender: Sender<Input>,
    waker: Waker,
    /// Somebody has woken the shard and it has not looked yet.
    woken: Arc<AtomicBool>,
}

impl Inbox {
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            let _ = self.waker.wake();
        }
    }
}

/// The reading end of a shard's inbox, and the epoll that it wakes.
pub struct Mailbox {
    pub poll: Poll,
    pub inbox: Receiver<Input>,
    woken: Arc<AtomicBool>,
}

impl Mailbox {
    /// To be said before the inbox is read: whatever comes after this wakes again.
    pub fn is_awake(&self) {
        self.woken.store(false, Ordering::Release);
    }
}

/// The writing ends of all inboxes.
#[derive(Clone)]
pub struct Handle {
    inboxes: Arc<[Inbox]>,
}

impl Handle {
    /// One inbox a shard; each is woken by `token`.
    ///
    /// # Errors
    /// When the kernel gives no epoll or eventfd.
    pub fn open(shards: u16, token: Token) -> io::Result<(Handle, Vec<Mailbox>)> {
        let mut mailboxes = Vec::new();
        let mut inboxes = Vec::new();
        for _ in 0..shards {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), token)?;
            let woken = Arc::new(AtomicBool::new(false));
            let (sender, inbox) = std::sync::mpsc::channel();
            inboxes.push(Inbox { sender, waker, woken: Arc::clone(&woken) });
            mailboxes.push(Mailbox { poll, inbox, woken });
        }
        Ok((Handle { inboxes: inboxes.into() }, mailboxes))
    }

    pub fn shards(&self) -> u16 {
        self.inboxes.len() as u16
    }

    pub fn send(&self, input: Input) {
        self.send_all(std::iter::once(input));
    }

    /// All of them, each to whom it is for, before anybody is woken.
    pub fn send_all(&self, inputs: impl Iterator<Item = Input>) {
        let mut touched = [false; SHARDS_MAX as usize];
        for input in inputs {
            match self.route(&input) {
                Route::To(shard) => touched[usize::from(shard)] |= self.put(shard, input),
                Route::All => {
                    for shard in 0..self.shards() {
                        touched[usize::from(shard)] |= self.put(shard, input.clone());
                    }
                }
            }
        }
        for (inbox, touched) in self.inboxes.iter().zip(touched) {
            if touched {
                inbox.wake();
            }
        }
    }

    /// To this one, whatever it is.
    pub fn send_to(&self, shard: u16, input: Input) {
        if self.put(shard, input) {
            self.inboxes[usize::from(shard)].wake();
        }
    }

    fn put(&self, shard: u16, input: Input) -> bool {
        self.inboxes.get(usize::from(shard)).is_some_and(|inbox| inbox.sender.send(input).is_ok())
    }

    fn route(&self, input: &Input) -> Route {
        match input {
            Input::Shard(message) => message.route(self.shards()),
            Input::Desk(_) | Input::Sip(_) | Input::Write { .. } | Input::Keep { .. } | Input::Close { .. } => {
                Route::To(0)
            }
            Input::Closed(_) | Input::Unreachable { .. } | Input::Drain | Input::Stop => Route::All,
        }
    }
}
