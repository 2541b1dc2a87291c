//! One connection: what was read and not yet understood, what is to be written, who owes whom an answer.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use codecs::sms::Segment;
use codecs::sms::{Alphabet, PduError, frame};
use codecs::time::{Mono, Wall};

use crate::dialect::{Event, Message, Protocol, Sequence};

/// Deliveries unacknowledged at one time; a peer that sends more is not read until some are.
const OWED_MAX: usize = 4096;

/// Where a link stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Not connected; dialled at that time, or never by itself.
    Down {
        dial_at: Option<Mono>,
    },
    Dialling,
    /// Connected, the login sent (or awaited, where the carrier connects to us).
    LoggingIn {
        since: Mono,
    },
    Up,
    /// Bye was said.
    Leaving {
        since: Mono,
    },
}

/// One part on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub line: u64,
    pub to: String,
    pub alphabet: Alphabet,
    pub segment: Option<Segment>,
    pub content: Vec<u8>,
    pub urgent: bool,
    pub notice: bool,
    pub sends: u32,
}

/// A frame as it was read: its command is known even where the rest is not.
pub(crate) struct Frame {
    pub sequence: Sequence,
    pub command: u32,
    pub event: Result<Event, PduError>,
}

pub(crate) struct Link {
    pub state: State,
    /// Counts connections: what was owed on an earlier one is owed no more.
    pub epoch: u32,
    /// Somebody who connected to us, and from where.
    pub accepted: Option<IpAddr>,
    pub attempts: u32,
    pub login_time: u32,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    counter: u32,
    pub asked: BTreeMap<Sequence, Part>,
    asked_at: VecDeque<(Mono, Sequence)>,
    pub heard: Mono,
    /// Link tests without an answer, and when the last one left.
    pub tests: u32,
    pub tested: Mono,
    pub owed: usize,
}

impl Link {
    pub(crate) fn new(state: State, accepted: Option<IpAddr>, now: Mono) -> Link {
        Link {
            state,
            epoch: 0,
            accepted,
            attempts: 0,
            login_time: 0,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            counter: 0,
            asked: BTreeMap::new(),
            asked_at: VecDeque::new(),
            heard: now,
            tests: 0,
            tested: now,
            owed: 0,
        }
    }

    pub(crate) fn connected(&mut self, now: Mono) {
        self.state = State::LoggingIn { since: now };
        self.epoch += 1;
        (self.heard, self.tested, self.tests, self.owed) = (now, now, 0, 0);
        self.incoming.clear();
        self.outgoing.clear();
    }

    /// Takes back what was not answered, in the order in which it was sent.
    pub(crate) fn disconnected(&mut self) -> Vec<Part> {
        self.incoming = Vec::new();
        self.outgoing.clear();
        let order: Vec<Sequence> = self.asked_at.drain(..).map(|(_, s)| s).collect();
        order.into_iter().filter_map(|s| self.asked.remove(&s)).collect()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(crate) fn wants_bytes(&self) -> bool {
        self.owed < OWED_MAX
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// Reads every whole frame; the error that ends the stream comes last.
    pub(crate) fn frames(&mut self, protocol: &Protocol) -> (Vec<Frame>, Option<PduError>) {
        let (least, most) = protocol.frame_limits();
        let (mut at, mut found, mut broken) = (0, Vec::new(), None);
        loop {
            match frame(&self.incoming[at..], least, most) {
                Ok(Some(len)) => {
                    let bytes = &self.incoming[at..at + len];
                    let command = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                    let (sequence, event) = protocol.read(bytes);
                    found.push(Frame { sequence, command, event });
                    at += len;
                }
                Ok(None) => break,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        self.incoming.drain(..at);
        if self.incoming.is_empty() && self.incoming.capacity() > 64 * 1024 {
            self.incoming = Vec::new();
        }
        (found, broken)
    }

    pub(crate) fn answer(&mut self, protocol: &Protocol, sequence: Sequence, message: &Message<'_>) {
        protocol.write(sequence, message, &mut self.outgoing);
    }

    /// Sends a request of ours; returns the number its answer will carry.
    pub(crate) fn ask(&mut self, protocol: &Protocol, wall: Wall, message: &Message<'_>) -> Sequence {
        self.counter = self.counter.wrapping_add(1);
        let sequence = protocol.sequence(self.counter, wall);
        protocol.write(sequence, message, &mut self.outgoing);
        sequence
    }

    pub(crate) fn expect_answer(&mut self, now: Mono, sequence: Sequence, part: Part) {
        self.asked.insert(sequence, part);
        self.asked_at.push_back((now, sequence));
    }

    pub(crate) fn answered(&mut self, sequence: Sequence) -> Option<Part> {
        let part = self.asked.remove(&sequence);
        while self.asked_at.front().is_some_and(|(_, s)| !self.asked.contains_key(s)) {
            self.asked_at.pop_front();
        }
        part
    }

    /// When the oldest unanswered request was sent.
    pub(crate) fn oldest(&self) -> Option<(Mono, Sequence)> {
        self.asked_at.front().copied()
    }

    pub(crate) fn take_outgoing(&mut self) -> Option<Vec<u8>> {
        (!self.outgoing.is_empty()).then(|| std::mem::take(&mut self.outgoing))
    }
}
