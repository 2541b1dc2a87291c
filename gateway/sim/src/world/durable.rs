//! What becomes durable and when, what a start finds of it, and whom it is told.

use std::time::Duration;

use codecs::record::AlertNo;
use store::journal::Trouble;
use switchboard::{CallFact, Fact, RequestId, ToCasebook};

use super::{Coming, World};
use crate::checkers;
use crate::downstream::Turn;
use crate::gateway::Gateway;
use crate::party;

impl World {
    pub(super) fn start(&mut self) {
        let times = (self.now, self.wall());
        let (front, recovered) = self.storage.open(times.1, self.broken);
        self.reach(match self.shards {
            1 => "start with one shard",
            _ => "start with several shards",
        });
        if self.storage.is_replicated() {
            self.reach("start on several nodes");
        }
        let seed = self.chance.seed();
        self.gateway = Some(Gateway::start(times, seed, self.shards, &front, self.broken));
        for (sink, name) in self.sinks.iter_mut().zip(["first", "second"]) {
            sink.open(&self.storage, name);
        }
        // Where one disk keeps them, numbers are reserved before anybody calls.
        self.settle_casebook();
        self.synced();
        let taken_up = self.gateway.as_mut().map(|g| g.casebook.take_up(times.0, times.1, recovered));
        let interrupted = taken_up.unwrap_or_default();
        self.settle_casebook();
        self.settle_desk();
        let kept = self.phones.kept_seats(self.now);
        let there = self.gateway.as_ref().map(|g| checkers::registered_are_there(g, kept));
        if let Some(Err(fault)) = there {
            self.blame(fault);
        }
        for no in interrupted {
            self.fact(no, Fact::Call(CallFact::Interrupted));
            self.fact(no, party::recorded(no));
        }
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

    pub(super) fn fact(&mut self, no: AlertNo, fact: Fact) {
        let at = self.wall();
        if let Some(gateway) = &mut self.gateway {
            gateway.casebook.handle(self.now, ToCasebook::Fact { no, at, fact, request: RequestId::default() });
        }
        self.settle_casebook();
    }

    pub(super) fn trouble_the_disk(&mut self, trouble: &Coming) {
        match trouble {
            Coming::DiskFails => {
                self.tell(format_args!("the disk fails"));
                let operations = self.chance.below(12) as u32;
                self.storage.fail(operations);
                let after = self.chance.ms(200, 6000);
                self.plan(after, Coming::DiskHeals);
            }
            Coming::LeadLost => {
                self.tell(format_args!("another node takes the lead"));
                let at = self.wall();
                self.storage.lose_the_lead(at, &mut self.chance);
            }
            _ => self.storage.heal(),
        }
    }

    /// The disk has done what it was asked for, or has not; several nodes have only heard of it.
    pub(super) fn synced(&mut self) {
        self.storage.syncing = false;
        let Some(gateway) = &mut self.gateway else { return };
        match self.storage.commit() {
            Ok(()) if self.storage.is_on_its_way() => {
                self.storage.syncing = true;
                let after = self.chance.ms(50, 800);
                self.plan(after, Coming::Arrived);
            }
            Ok(()) => self.durable(),
            Err(Trouble::Disk(_)) => {
                // Whoever waits is told so.
                gateway.casebook.refuse_waiting();
                self.reach("disk that failed");
                self.storage.syncing = true;
                self.plan(Duration::from_millis(500), Coming::Synced);
            }
            Err(Trouble::Fenced) => {
                self.reach("engine fenced");
                self.crash();
            }
        }
    }

    /// What was begun has come to most nodes, or never will.
    pub(super) fn arrived(&mut self) {
        let before = self.storage.durable();
        self.storage.arrive();
        if self.storage.durable() > before {
            self.reach("durable late");
        }
        self.storage.syncing = false;
        self.durable();
    }

    fn durable(&mut self) {
        let at = self.wall();
        let Some(gateway) = &mut self.gateway else { return };
        gateway.casebook.handle_durable(self.storage.durable());
        if let Some((first, whole)) = self.storage.next_segment() {
            gateway.casebook.begin_segment(at, first, whole);
            *self.outcome.reached.entry("segment begun").or_default() += 1;
        }
        gateway.casebook.go_on_with_snapshot(at);
        self.settle_casebook();
        for sink in 0..self.sinks.len() {
            self.plan(Duration::from_millis(1), Coming::SinkTurn { sink });
        }
        if self.storage.waiting() == 0 {
            self.phones.all_kept(self.now);
        }
    }

    pub(super) fn sink_turn(&mut self, sink: usize) {
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
