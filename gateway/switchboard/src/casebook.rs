//! The casebook: all alerts, the events that come of facts, and the replies that wait for the disk.
//!
//! `Append` leaves in the order of the journal; a `Reply` leaves only after `handle_durable` has covered every
//! event of its request. Acknowledging always waits for the disk.

use std::collections::VecDeque;

use codecs::record::{AlertNo, AlertRecord, CloudEvent};
use codecs::time::Wall;

use casework::{Alerts, KeywordTable, Output as AlertOutput};

use crate::message::{Failure, Reply, RequestId, ToCasebook, ToShard};

#[derive(Debug)]
pub enum Output {
    /// The next frame of the journal.
    Append {
        sequence: u64,
        at: Wall,
        event: Box<CloudEvent>,
    },
    Reply(Reply),
    Shard(ToShard),
}

pub struct Casebook {
    alerts: Alerts,
    next_sequence: u64,
    durable: u64,
    waiting: VecDeque<(u64, Reply)>,
    outputs: VecDeque<Output>,
}

impl Casebook {
    /// `next_sequence` follows the journal's last frame.
    pub fn new(source: String, node: String, keywords: KeywordTable, next_sequence: u64) -> Casebook {
        Casebook {
            alerts: Alerts::new(source, node, keywords),
            next_sequence,
            durable: next_sequence.saturating_sub(1),
            waiting: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    pub fn restore(&mut self, record: AlertRecord) {
        self.alerts.restore(record);
    }

    pub fn handle(&mut self, message: ToCasebook) {
        let ToCasebook::Fact { no, at, fact, request } = message;
        let taken = self.alerts.handle_fact(at, no, fact);
        while let Some(output) = self.alerts.poll_output() {
            match output {
                AlertOutput::Event(event) => {
                    self.outputs.push_back(Output::Append { sequence: self.next_sequence, at, event });
                    self.next_sequence += 1;
                }
                AlertOutput::CallBack { no, number, trunk } => {
                    self.outputs.push_back(Output::Shard(ToShard::CallBack { no, number, trunk }));
                }
                AlertOutput::Released { .. } => {}
            }
        }
        if request != RequestId::default() {
            let result = if taken { Ok(Some(no)) } else { Err(Failure::Conflict("the alert is not open")) };
            self.waiting.push_back((self.next_sequence - 1, Reply { request, result }));
            self.release_replies();
        }
    }

    /// Answers `request` once the frame numbered last is on disk.
    pub fn reply_when_durable(&mut self, request: RequestId) {
        self.waiting.push_back((self.next_sequence - 1, Reply { request, result: Ok(None) }));
    }

    /// Everything up to and including `sequence` is on disk.
    pub fn handle_durable(&mut self, sequence: u64) {
        self.durable = self.durable.max(sequence);
        self.release_replies();
    }

    fn release_replies(&mut self) {
        while let Some((_, reply)) = self.waiting.pop_front_if(|(sequence, _)| *sequence <= self.durable) {
            self.outputs.push_back(Output::Reply(reply));
        }
    }

    /// A frame that is no event takes the next number (a grant of serials, a snapshot).
    pub fn take_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn open(&self) -> impl Iterator<Item = (&AlertNo, &AlertRecord)> {
        self.alerts.open()
    }
}
