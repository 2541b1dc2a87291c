//! What parties, shards and the desk say, carried to whom it is for.

use std::time::Duration;

use sip::Output as SipOutput;
use switchboard::{DeskOutput, Observed, ShardOutput, ToCasebook, ToDesk, ToShard};

use super::{Coming, World, first_line, note_answer};
use crate::cast::PARTIES;
use crate::rules::Rule;
use crate::strangers::STRANGER;

impl World {
    pub(super) fn party_says(&mut self, party: usize, output: SipOutput) {
        match output {
            SipOutput::Send { bytes, .. } => {
                if self.conditions.rude {
                    self.answer_again(party, &bytes);
                }
                self.carry(bytes.len(), || Coming::ToGateway { from: PARTIES[party], bytes: bytes.clone() });
            }
            SipOutput::Close { .. } => {}
            SipOutput::Event(event) => {
                for (after, deed) in self.parties[party].react(self.now, event, &mut self.chance) {
                    self.plan(after, Coming::Deed { party, deed });
                }
            }
        }
    }

    pub(super) fn shard_says(&mut self, index: u16, output: ShardOutput) {
        let now = self.now;
        match output {
            ShardOutput::Send { flow, bytes, .. } => {
                if flow.remote.ip() == STRANGER.ip() {
                    return self.answered_stranger(&bytes);
                }
                self.check_length(&bytes);
                note_answer(&mut self.unanswered, now, &bytes);
                self.tell(format_args!("gateway → {} {}", flow.remote, first_line(&bytes)));
                let party = PARTIES.iter().position(|p| *p == flow.remote);
                if let Some(party) = party {
                    self.carry(bytes.len(), || Coming::ToParty { party, bytes: bytes.clone() });
                }
            }
            ShardOutput::Desk(message) => self.tell_desk(message),
            ShardOutput::Casebook(message) => {
                if let Some(gateway) = &mut self.gateway {
                    gateway.casebook.handle(now, message);
                }
                self.settle_casebook();
            }
            ShardOutput::RecordingEnded { no, .. } => {
                if self.broken != Some(Rule::RecordingEnd) {
                    self.plan(Duration::from_millis(15), Coming::Recorded { no });
                }
            }
            ShardOutput::PortFreed(port) => {
                if self.broken != Some(Rule::PortRelease)
                    && let Some(gateway) = &mut self.gateway
                {
                    gateway.of_port(port).grant_port(port);
                }
            }
            ShardOutput::WantSerials => {
                let at = self.wall();
                if let Some(gateway) = &mut self.gateway {
                    gateway.casebook.handle(now, ToCasebook::WantSerials { at, shard: index });
                }
                self.settle_casebook();
            }
            ShardOutput::Observed(observed) => match observed {
                Observed::Answered { mode, .. } => self.reach(match mode {
                    codecs::record::AnswerMode::Attendant => "answered by the attendant",
                    codecs::record::AnswerMode::Seat | codecs::record::AnswerMode::Overflow => "answered by a seat",
                }),
                Observed::Bridged { .. } => self.reach("bridged"),
                Observed::Breach { .. } => self.reach("breach"),
                Observed::Panicked => self.reach("panic"),
                Observed::SeatFailed { why } => self.reach(match why {
                    "late" => "seat that was late",
                    "no_audio" => "seat that was not heard",
                    "dropped" => "seat that dropped the call",
                    _ => "seat that did not answer",
                }),
                Observed::Vanished { .. } => self.reach("somebody vanished"),
                Observed::Refused { .. } => self.reach("refused"),
                Observed::Deaf { .. } | Observed::CallEnded { .. } => {}
            },
            ShardOutput::Chunk { .. } | ShardOutput::PortTaken(_) | ShardOutput::Close { .. } => {}
        }
    }

    pub(super) fn tell_desk(&mut self, message: ToDesk) {
        match &message {
            ToDesk::WantSeat { call, .. } if self.broken == Some(Rule::Reservation) && self.reserve_twice(*call) => {
                return;
            }
            ToDesk::WantSeat { call, .. } => {
                let count = self.want_count.entry(call.0).or_default();
                *count += 1;
                if *count > 1 {
                    self.reach("seat passed over");
                    if self.broken == Some(Rule::ReOffer) {
                        return;
                    }
                }
            }
            ToDesk::ReleaseSeat { .. } if self.broken == Some(Rule::SeatRelease) => return,
            ToDesk::ReleaseConversation { .. } if self.broken == Some(Rule::ConversationRelease) => return,
            ToDesk::ReleaseResponder { result, .. } => {
                if matches!(
                    result,
                    codecs::record::TryResult::NoAnswer
                        | codecs::record::TryResult::Busy
                        | codecs::record::TryResult::Superseded
                ) {
                    self.reach("officer not reached");
                }
                if self.broken == Some(Rule::ResponderRelease) {
                    return;
                }
            }
            _ => {}
        }
        if let Some(gateway) = &mut self.gateway {
            gateway.desk.handle(self.now, message);
        }
    }

    /// The seat that the last call got is told to this one too, as if it were free.
    pub(super) fn reserve_twice(&mut self, call: switchboard::CallKey) -> bool {
        let Some(ToShard::SeatReserved { seat, overflow, info, contact, .. }) = self.last_reserved.take() else {
            return false;
        };
        let (now, wall) = (self.now, self.wall());
        let Some(gateway) = &mut self.gateway else { return false };
        gateway.tell(now, wall, &ToShard::SeatReserved { call, seat, overflow, info, contact });
        true
    }

    pub(super) fn desk_says(&mut self, output: DeskOutput) {
        let (now, wall) = (self.now, self.wall());
        match output {
            DeskOutput::Shard(message) => {
                let Some(gateway) = &mut self.gateway else { return };
                match &message {
                    ToShard::SeatReserved { .. } => self.last_reserved = Some(message.clone()),
                    ToShard::ForgetBinding { user } => self.phones.forgotten(user),
                    _ => {}
                }
                gateway.tell(now, wall, &message);
            }
            DeskOutput::Reply(_) => {}
            DeskOutput::Given { alert, seat, overflow } => {
                if let Some(gateway) = &mut self.gateway {
                    let given = ToCasebook::ConversationGiven { at: wall, alert, seat, overflow };
                    gateway.casebook.handle(now, given);
                }
                self.settle_casebook();
            }
            DeskOutput::TakenBack { alert, seat } => {
                self.reach("conversation taken back");
                if let Some(gateway) = &mut self.gateway {
                    let taken = ToCasebook::ConversationTakenBack { at: wall, alert, seat };
                    gateway.casebook.handle(now, taken);
                }
                self.settle_casebook();
            }
            DeskOutput::Approach { no, news } => {
                if let Some(gateway) = &mut self.gateway {
                    gateway.casebook.handle(now, ToCasebook::Approach { no, news });
                }
                self.settle_casebook();
            }
            DeskOutput::CallBackDropped { no, joined } => {
                if let Some(gateway) = &mut self.gateway {
                    gateway.casebook.handle(now, ToCasebook::CallBackDropped { at: wall, no, joined });
                }
                self.settle_casebook();
            }
        }
    }
}
