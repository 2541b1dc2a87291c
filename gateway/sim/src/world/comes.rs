//! What comes, and whom it comes to.

use std::time::Duration;

use bytes::Bytes;
use codecs::record::{Assessment, IncidentKind};
use codecs::sip::Message;
use sip::Flow;
use switchboard::{Action, RequestId, ToCasebook, ToDesk};

use super::{Coming, REST, TROUBLE, World, note_arrival};
use crate::cast::{PARTIES, SEATS, SELF};
use crate::party::{self, Deed, Party};
use crate::rules::Rule;
use crate::strangers::{STRANGER, VOICE};

/// From a crash to the start.
const DOWN: Duration = Duration::from_millis(500);
/// What nobody says.
const SILENCE: [u8; 160] = [0xD5; 160];
/// What a stranger has said has gone through the gateway after this long, if it does at all.
const THROUGH: Duration = Duration::from_secs(2);

impl World {
    pub(super) fn come(&mut self, coming: Coming) {
        match coming {
            Coming::ToGateway { from, bytes } if from == STRANGER => self.hear_stranger(bytes),
            Coming::ToGateway { from, bytes } => {
                let (now, wall) = (self.now, self.wall());
                if self.conditions.strangers {
                    self.strangers.overhear(&bytes, &mut self.chance);
                }
                let Some(gateway) = &mut self.gateway else { return };
                note_arrival(&mut self.unanswered, now, &bytes);
                let owner = gateway.router.of_sip(&bytes);
                gateway.shards[usize::from(owner)].handle_sip(now, wall, Flow::udp(from), bytes);
            }
            Coming::ToParty { party, bytes } => self.come_to_party(party, bytes),
            Coming::Register { phone } => self.register(phone),
            Coming::RegisterAgain { phone, cseq } => {
                if self.phones.waits(phone, cseq) {
                    self.plan(Duration::ZERO, Coming::Register { phone });
                }
            }
            Coming::LineFate { line, state } => {
                let (at, why) = (self.wall(), String::new());
                if let Some(gateway) = &mut self.gateway {
                    gateway.casebook.handle(self.now, ToCasebook::LineState { at, line, state, why });
                }
                self.settle_casebook();
            }
            Coming::Deed { party, deed } => self.deed(party, deed),
            Coming::Report { n } => self.report(n),
            Coming::Tick => self.tick(),
            Coming::Synced => self.synced(),
            Coming::Arrived => self.arrived(),
            Coming::SinkTurn { sink } => self.sink_turn(sink),
            Coming::Recorded { no } => self.fact(no, party::recorded(no)),
            Coming::Writes { who } => self.writes(who),
            Coming::Message { n } => self.hand_over(n),
            Coming::Say(say) => self.say(say),
            Coming::Crash => self.crash(),
            Coming::Restart => self.start(),
            Coming::DiskFails | Coming::DiskHeals | Coming::LeadLost => self.trouble_the_disk(&coming),
            Coming::ClockSet => self.set_clock(),
            Coming::Stranger => self.stranger(),
            Coming::Injected { live, n } => self.inject(&live, n),
            Coming::Desk => {
                self.wake();
                self.press_triage();
                if !self.is_past(TROUBLE) {
                    let after = self.chance.ms(300, 2000);
                    self.plan(after, Coming::Desk);
                }
            }
        }
    }

    fn set_clock(&mut self) {
        let by = self.wall_clock.set(&mut self.chance);
        self.reach("wall clock set");
        self.tell(format_args!("the wall clock is set by {by} seconds"));
    }

    fn come_to_party(&mut self, party: usize, bytes: Bytes) {
        let (up, to_phone) = (self.gateway.is_some(), Message::frame(bytes.clone()).ok());
        match to_phone.and_then(|m| self.phones.answered(self.now, up, &m, &mut self.chance)) {
            Some(next) => {
                if let Some(reached) = next.reached {
                    self.reach(reached);
                }
                self.plan(next.after, Coming::Register { phone: next.phone });
            }
            None => self.parties[party].endpoint.handle_message(self.now, Flow::udp(SELF), bytes),
        }
    }

    fn register(&mut self, phone: usize) {
        // Nobody's telephone refreshes in the last forty seconds, so that the world can come to rest.
        if self.is_past(REST - Duration::from_secs(40)) {
            return;
        }
        let late = self.is_past(TROUBLE);
        let (party, bytes) = self.phones.register(self.now, phone, late);
        self.carry(bytes.len(), || Coming::ToGateway { from: PARTIES[party], bytes: bytes.clone() });
        // Should nothing come back, again after a while; what comes back plans anew.
        let again = self.chance.ms(2000, 4000);
        self.plan(again, Coming::RegisterAgain { phone, cseq: self.phones.cseq(phone) });
    }

    fn deed(&mut self, party: usize, deed: Deed) {
        let done = self.parties[party].act(self.now, deed, &mut self.chance);
        if let Some(reached) = done.reached {
            self.reach(reached);
        }
        if let Some(fault) = done.fault {
            self.blame(fault);
        }
        if let (Some(mut spoken), Some(gateway)) = (done.spoken, &mut self.gateway) {
            // Broken, a router gives every packet another port: nobody can learn it.
            if spoken.is_behind_a_router && self.broken == Some(Rule::RouterKeepsPort) {
                spoken.from.set_port(10_000 + self.chance.below(10_000) as u16);
            }
            gateway.of_port(spoken.to).handle_media(self.now, spoken.to, false, spoken.from, &spoken.bytes);
        }
        if let Some((after, deed)) = done.next {
            self.plan(after, Coming::Deed { party, deed });
        }
    }

    fn report(&mut self, n: u64) {
        self.reach("report");
        self.tell(format_args!("☎ report {n}"));
        let from = self.caller(n);
        let (session, lies) = self.parties[0].call(self.now, &from, &mut self.chance);
        if lies {
            self.reach("lying SDP");
        }
        if self.chance.percent(15) {
            let after = self.chance.ms(100, 2800);
            self.plan(after, Coming::Deed { party: 0, deed: Deed::HangUp(session) });
        }
    }

    /// Who somebody says they are: on a narrow path some say much, and a few so much that it never arrives.
    fn caller(&mut self, n: u64) -> String {
        let number = Party::number(n);
        if !self.conditions.narrow {
            return format!("<sip:{number}@carrier>");
        }
        let name = match self.chance.below(100) {
            0..3 => 1400,
            3..30 => 50 + self.chance.below(350) as usize,
            _ => 0,
        };
        let digits = if self.chance.percent(10) { self.chance.below(200) as usize } else { 0 };
        format!("\"{}\" <sip:{number}{}@carrier>", "张".repeat(name / 3), "7".repeat(digits))
    }

    fn tick(&mut self) {
        self.ticking = false;
        let (now, wall) = (self.now, self.wall());
        let listens_for_strangers = self.strangers_spoke.is_some_and(|at| now.since(at) < THROUGH);
        let (mut learned, mut fault) = (0, None);
        let Some(gateway) = &mut self.gateway else { return };
        for shard in &mut gateway.shards {
            shard.tick(now, wall);
            for (_, to, rtcp, bytes) in shard.packets() {
                // What is meant for an address behind a router comes nowhere.
                let is_partys = PARTIES.iter().any(|p| p.ip() == to.ip());
                if !is_partys && !to.ip().to_string().starts_with("192.168.") {
                    fault = Some(format!("media was sent to {to}"));
                }
                if rtcp {
                    continue;
                }
                let payload = bytes.get(12..).unwrap_or_default();
                if listens_for_strangers && payload.contains(&VOICE) {
                    fault = Some(format!("{to} hears a stranger"));
                }
                if to.ip() == PARTIES[0].ip() {
                    learned += u64::from(self.parties[0].hears(to.port(), payload != SILENCE));
                }
            }
        }
        self.reach_n("learned behind a router", learned);
        if let Some(fault) = fault {
            self.blame(fault);
        }
    }

    fn writes(&mut self, who: u64) {
        self.reach("written report");
        // Some of those who write have called as well.
        let caller = self.chance.percent(40).then(|| Party::number(who));
        for n in self.writers.write(who, caller, &mut self.chance) {
            let after = self.chance.ms(1, 800);
            self.plan(after, Coming::Message { n });
            if self.chance.percent(10) {
                self.reach("message sent twice");
                self.plan(after + Duration::from_millis(3), Coming::Message { n });
            }
        }
    }

    pub(super) fn crash(&mut self) {
        self.reach("crash");
        self.tell(format_args!("✂ kill -9"));
        self.gateway = None;
        self.storage.crash(&mut self.chance);
        self.phones.crash();
        self.unanswered.forget();
        self.parties[0].forget(self.now + DOWN);
        self.strangers_spoke = None;
        let goes_on = |c: &Coming| {
            !matches!(
                c,
                Coming::Synced | Coming::Arrived | Coming::Recorded { .. } | Coming::LineFate { .. } | Coming::Restart
            )
        };
        self.queue.retain(|_, c| goes_on(c));
        // The machine may come back with another idea of the day.
        if self.chance.percent(20) {
            self.set_clock();
        }
        self.plan(DOWN, Coming::Restart);
    }

    /// Some seat that has a call presses what its call taker has heard.
    fn press_triage(&mut self) {
        let seat = format!("1{:03}", self.chance.below(u64::from(SEATS)));
        let kind =
            [IncidentKind::Report, IncidentKind::UrgentHelp, IncidentKind::Consult][self.chance.below(3) as usize];
        let Some(gateway) = &mut self.gateway else { return };
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let said = Assessment { kind: Some(kind), text: Some("有人持刀".to_owned()), ..Assessment::default() };
        let action = Action::Triage { said: Box::new(said), place: None };
        gateway.desk.handle(self.now, ToDesk::SeatAction { seat, action, by: "seat:sim".into(), request });
        self.reach("triage");
    }
}
