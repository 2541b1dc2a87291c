//! What a call machine tells, in the words of the record and of the metrics.

use casework::{CallFact, DispatchFact};
use codecs::record::{AlertNo, AnswerMode, Promise, Role, SeatInfo};
use dispatch::seat::SeatId;
use dispatch::{CallKey, Fact, Gone, LegNo, ResponderId, SeatFailure, Why};

use super::{CallSlot, Observed, Output, Shard};
use crate::message::{RequestId, ToCasebook};

impl Shard {
    pub(super) fn record(&mut self, no: AlertNo, fact: casework::Fact) {
        self.record_for(no, fact, RequestId::default());
    }

    pub(super) fn record_for(&mut self, no: AlertNo, fact: casework::Fact, request: RequestId) {
        let fact = ToCasebook::Fact { no, at: self.wall, fact, request };
        self.outputs.push_back(Output::Casebook(if self.acting.is_empty() {
            fact
        } else {
            ToCasebook::By { by: self.acting.clone(), message: Box::new(fact) }
        }));
    }

    pub(super) fn observe(&mut self, observed: Observed) {
        self.outputs.push_back(Output::Observed(observed));
    }

    pub(super) fn breach(&mut self, no: AlertNo, promise: Promise) {
        self.observe(Observed::Breach { promise });
        self.record(no, casework::Fact::Breach { promise });
    }

    /// A leg that was never heard, while strangers knocked at its socket: its packets come from elsewhere than its SDP
    /// says.
    pub(super) fn note_strangers(&mut self, key: CallKey, leg: LegNo) {
        let Some(slot) = self.calls.get(&key) else { return };
        let Some(entry) = slot.legs.get(&leg) else { return };
        let (no, role) = (slot.no, entry.role);
        if entry.media.is_some_and(|media| self.media.strangers_only(media) > 0) {
            self.observe(Observed::Deaf { role });
            self.record(no, casework::Fact::Mark("media_from_elsewhere"));
        }
    }

    /// The call machine's numbers become the record's names.
    pub(super) fn fact(&mut self, key: CallKey, no: AlertNo, fact: Fact) {
        let Some(slot) = self.calls.get_mut(&key) else { return };
        let name =
            |slot: &CallSlot, id: ResponderId| slot.responders.get(&id.0).map_or_else(String::new, |r| r.no.clone());
        let told = match fact {
            Fact::Offered { leg, seat } => {
                casework::Fact::Call(CallFact::Offered { leg: leg.0, seat: seat_info(slot, seat) })
            }
            Fact::SeatLate { .. } => {
                self.observe(Observed::SeatFailed { why: "late" });
                casework::Fact::Mark("seat_late")
            }
            Fact::SeatFailed { leg, why, .. } => {
                let why = seat_failure(why);
                self.observe(Observed::SeatFailed { why });
                casework::Fact::Call(CallFact::SeatFailed { leg: leg.0, why })
            }
            Fact::TakenOver { leg, seat } => {
                casework::Fact::Call(CallFact::TakenOver { leg: leg.0, seat: seat_info(slot, seat) })
            }
            Fact::AttendantAnswered { after } => {
                slot.result = "attendant";
                let trunk = self.config.trunks[slot.trunk].name.clone();
                self.observe(Observed::Answered { trunk, mode: AnswerMode::Attendant, after });
                casework::Fact::Call(CallFact::AttendantAnswered)
            }
            Fact::Answered { leg, mode, after, seat } => {
                let seat = seat_info(slot, seat);
                slot.result = "answered";
                let trunk = self.config.trunks[slot.trunk].name.clone();
                self.observe(Observed::Answered { trunk, mode, after });
                casework::Fact::Call(CallFact::Answered { leg: leg.0, seat, mode, after_ms: after.as_millis() as u64 })
            }
            Fact::TwoWay => casework::Fact::Call(CallFact::TwoWay),
            Fact::Silent => casework::Fact::Call(CallFact::Silent),
            Fact::Deaf => casework::Fact::Mark("caller_takes_no_audio"),
            Fact::ResponderWanted { why, waited } => casework::Fact::Dispatch(DispatchFact::ResponderWanted {
                waited,
                why: match why {
                    Why::Triage => "triage",
                    Why::Action => "three-way",
                    Why::Grace => "no triage in time",
                },
            }),
            Fact::Tried { leg, responder, rung } => {
                let Some(r) = slot.responders.get(&responder.0) else { return };
                casework::Fact::Dispatch(DispatchFact::Tried {
                    leg: leg.0,
                    unit: r.unit.clone(),
                    officer: r.no.clone(),
                    role: rung,
                    reason: r.reason.clone(),
                })
            }
            Fact::TryEnded { leg, responder, result } => {
                casework::Fact::Dispatch(DispatchFact::TryEnded { leg: leg.0, officer: name(slot, responder), result })
            }
            Fact::Bridged { responder, role, after } => {
                let officer = name(slot, responder);
                if role.is_police() {
                    self.observe(Observed::Bridged { after });
                }
                casework::Fact::Dispatch(DispatchFact::Bridged { officer, after_ms: after.as_millis() as u64 })
            }
            Fact::NobodyLeft => casework::Fact::Dispatch(DispatchFact::NobodyLeft),
            Fact::LegEnded { leg, role, gone } => {
                casework::Fact::Call(CallFact::LegEnded { leg: leg.0, role, cause: leg_end(role, gone) })
            }
            Fact::Abandoned { attended } => {
                slot.result = "abandoned";
                casework::Fact::Call(CallFact::Abandoned { attended })
            }
            Fact::Unreached => {
                slot.result = "unreached";
                casework::Fact::Call(CallFact::Unreached)
            }
            Fact::Breach { promise } => return self.breach(no, promise),
            Fact::Ended => casework::Fact::Call(CallFact::Ended),
        };
        self.record(no, told);
    }
}

fn seat_info(slot: &CallSlot, seat: SeatId) -> SeatInfo {
    slot.seats.iter().find(|(known, ..)| *known == seat).map(|(_, info, _)| info.clone()).unwrap_or_default()
}

fn seat_failure(why: SeatFailure) -> &'static str {
    match why {
        SeatFailure::NoAnswer => "no_answer",
        SeatFailure::NoAudio => "no_audio",
        SeatFailure::Dropped => "dropped",
    }
}

fn leg_end(role: Role, gone: Gone) -> &'static str {
    match (role, gone) {
        (_, Gone::HungUp) => "hung_up",
        (_, Gone::Lost) => "vanished",
        (_, Gone::Dropped) => "dropped",
    }
}
