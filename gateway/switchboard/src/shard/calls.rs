//! Events in, call machines, outputs out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use casework::DispatchFact;
use codecs::record::{AlertNo, IncidentKind, Promise, TryResult};
use codecs::time::{Mono, Wall};
use dispatch::seat::CallWant;
use dispatch::{CALLER, Call, CallKey, Gone, Input, LegNo, Output as CallOutput};
use media::Event as MediaEvent;
use sip::{Binding, EndCause, Event as SipEvent, Output as SipOutput};

use super::{CallSlot, Observed, Output, Shard};
use crate::message::{Action, KeptBinding, Missed, RequestId, ToCasebook, ToDesk, ToShard};

impl Shard {
    /// Carries every consequence of an input to its end.
    pub(super) fn settle(&mut self, now: Mono) {
        loop {
            if let Some(output) = self.sip.poll_output() {
                match output {
                    SipOutput::Send { flow, reconnect, bytes } => {
                        self.outputs.push_back(Output::Send { flow, reconnect, bytes });
                    }
                    SipOutput::Close { flow } => self.outputs.push_back(Output::Close { flow }),
                    SipOutput::Event(event) => self.sip_event(now, event),
                }
            } else if let Some((key, leg)) = self.failed_at_once.pop_front() {
                self.release_leg(key, leg);
                self.input(now, key, Input::LegFailed { leg, result: TryResult::Off });
            } else if let Some(event) = self.media.poll_event() {
                self.media_event(now, event);
            } else if let Some(chunk) = self.media.poll_chunk() {
                self.pass_chunk(chunk);
            } else {
                return;
            }
        }
    }

    /// A chunk leaves with the number of the alert it belongs to, so that the log alone is enough after a crash.
    fn pass_chunk(&mut self, chunk: codecs::audio::chunk::Chunk) {
        if let Some(slot) = self.calls.get(&CallKey(chunk.key)) {
            self.outputs.push_back(Output::Chunk { no: slot.no, chunk });
        }
    }

    fn sip_event(&mut self, now: Mono, event: SipEvent) {
        match event {
            SipEvent::Invited(invitation) => self.invited(now, *invitation),
            SipEvent::Refused(refused) => self.refused_by_protocol(now, &refused),
            SipEvent::Confirmed { session, sdp } => self.confirmed(now, session, sdp),
            SipEvent::Progress { session, .. } => self.session_input(now, session, |leg| Input::LegRinging { leg }),
            SipEvent::Answered { session, sdp } => self.answered(now, session, sdp),
            SipEvent::Reoffer { session, sdp } => self.reoffered(now, session, sdp),
            SipEvent::Ended { session, cause } => self.session_ended(now, session, cause),
            SipEvent::Registered { user, binding, refreshed } => self.registered(now, user, binding, refreshed),
            SipEvent::Paged { page, flow, message } => self.paged(now, page, flow, &message),
            SipEvent::PageAnswered { page, code } => self.page_answered(page, code),
            SipEvent::Unregistered { user } => {
                let kept = ToCasebook::Binding { at: self.wall, user: user.clone(), binding: None };
                self.outputs.push_back(Output::Casebook(kept));
                self.outputs.push_back(Output::Desk(ToDesk::Unregistered { user }));
            }
        }
    }

    /// What a restart needs to know of it goes to the casebook; a mere refresh is nothing new.
    fn registered(&mut self, now: Mono, user: String, binding: Binding, refreshed: bool) {
        if !refreshed {
            let left = binding.expires_at.since(now);
            let kept = KeptBinding {
                contact: String::from_utf8_lossy(&binding.contact).into_owned(),
                transport: binding.flow.transport,
                remote: binding.flow.remote,
                until: Wall(self.wall.0 + left.as_nanos() as i64),
            };
            let kept = ToCasebook::Binding { at: self.wall, user: user.clone(), binding: Some(kept) };
            self.outputs.push_back(Output::Casebook(kept));
        }
        self.outputs.push_back(Output::Desk(ToDesk::Registered { user, binding, restored: false }));
    }

    fn media_event(&mut self, now: Mono, event: MediaEvent) {
        let of = |leg| self.by_media.get(&leg).copied();
        match event {
            MediaEvent::FirstIn { leg } => {
                if let Some((key, leg)) = of(leg) {
                    self.input(now, key, Input::LegHeard { leg });
                }
            }
            MediaEvent::Hears { leg, from } => {
                if let (Some((key, leg)), Some((_, from))) = (of(leg), of(from)) {
                    self.input(now, key, Input::LegHears { leg, from });
                }
            }
            MediaEvent::Played { leg } => {
                if let Some((key, leg)) = of(leg) {
                    self.input(now, key, Input::Played { leg });
                }
            }
            MediaEvent::Silent { leg } => {
                if let Some((key, leg)) = of(leg) {
                    self.note_strangers(key, leg);
                    if leg == CALLER {
                        self.input(now, key, Input::CallerSilent);
                    }
                }
            }
            MediaEvent::Quiet { leg } => {
                let session = of(leg).and_then(|(key, leg)| self.session_of(key, leg));
                if let Some(session) = session {
                    self.sip.probe(now, session);
                }
            }
            MediaEvent::Failed { leg } => {
                if let Some((key, _)) = of(leg) {
                    self.abandon_panicked(now, key);
                }
            }
            MediaEvent::Digit { .. } => {}
        }
    }

    fn session_input(&mut self, now: Mono, session: sip::SessionId, make: impl FnOnce(LegNo) -> Input) {
        if let Some(&(key, leg)) = self.by_session.get(&session) {
            self.input(now, key, make(leg));
        }
    }

    fn session_ended(&mut self, now: Mono, session: sip::SessionId, cause: EndCause) {
        let Some((key, leg)) = self.by_session.remove(&session) else { return };
        let Some(slot) = self.calls.get_mut(&key) else { return };
        let Some(entry) = slot.legs.get_mut(&leg) else { return };
        entry.session = None;
        let (answered, role) = (entry.answered, entry.role);
        let gone = match cause {
            EndCause::RemoteBye | EndCause::Cancelled => Gone::HungUp,
            EndCause::NoAck | EndCause::Unreachable | EndCause::Vanished => Gone::Lost,
            EndCause::Refused(_) | EndCause::TimedOut => Gone::HungUp,
        };
        if cause == EndCause::Vanished {
            self.outputs.push_back(Output::Observed(Observed::Vanished { role }));
        }
        let input = if leg == CALLER && !matches!(cause, EndCause::Refused(_) | EndCause::TimedOut) || answered {
            Input::LegEnded { leg, gone }
        } else {
            Input::LegFailed { leg, result: result_of(cause) }
        };
        self.release_leg(key, leg);
        self.input(now, key, input);
    }

    pub(super) fn begin(&mut self, now: Mono, key: CallKey, call: Call) {
        let Some(slot) = self.calls.get_mut(&key) else { return };
        slot.call = Some(call);
        self.with_call(now, key, |_| {});
    }

    pub(super) fn input(&mut self, now: Mono, key: CallKey, input: Input) {
        self.with_call(now, key, |call| call.handle_input(now, input));
    }

    /// Takes the machine out of its slot, lets it work, carries out what it wants, puts it back. A panic in there
    /// costs this call and no other.
    pub(super) fn with_call(&mut self, now: Mono, key: CallKey, work: impl FnOnce(&mut Call)) {
        let Some(slot) = self.calls.get_mut(&key) else { return };
        let Some(mut call) = slot.call.take() else { return };
        let worked = catch_unwind(AssertUnwindSafe(|| {
            work(&mut call);
            std::iter::from_fn(|| call.poll_output()).collect::<Vec<_>>()
        }));
        let Ok(outputs) = worked else {
            return self.abandon_panicked(now, key);
        };
        let over = outputs.contains(&CallOutput::Over);
        let carried = catch_unwind(AssertUnwindSafe(|| {
            for output in outputs {
                self.carry_out(now, key, output);
            }
        }));
        if carried.is_err() {
            return self.abandon_panicked(now, key);
        }
        if over {
            return self.close(now, key);
        }
        let wanted = call.poll_timeout().map(|(at, _)| at);
        if let Some(slot) = self.calls.get_mut(&key) {
            slot.call = Some(call);
            self.timers.rearm(key, &mut slot.armed, wanted);
        }
    }

    /// The call machine is gone: every leg is hung up from the leg table, seats and officers are given back. Whoever had
    /// not been answered is a report that was not answered, and is called back like any other.
    pub(super) fn abandon_panicked(&mut self, now: Mono, key: CallKey) {
        self.outputs.push_back(Output::Observed(Observed::Panicked));
        let Some(slot) = self.calls.get(&key) else { return };
        let (no, answered, is_call_back) = (slot.no, slot.result == "answered", slot.is_call_back);
        let legs: Vec<LegNo> = slot.legs.keys().copied().collect();
        for leg in legs {
            self.drop_leg(now, key, leg);
        }
        self.record(no, casework::Fact::Mark("call_machine_failed"));
        if is_call_back && !answered {
            self.record(no, casework::Fact::Call(casework::CallFact::Unreached));
        } else if !answered {
            self.breach(no, Promise::Answer);
            self.record(no, casework::Fact::Call(casework::CallFact::Abandoned { attended: false }));
        }
        self.record(no, casework::Fact::Call(casework::CallFact::Ended));
        self.outputs.push_back(Output::Desk(ToDesk::CallFailed { call: key }));
        self.close(now, key);
    }

    fn close(&mut self, now: Mono, key: CallKey) {
        // Whatever a call has not let go of by itself must not outlive it.
        let left: Vec<LegNo> = self.calls.get(&key).map(|s| s.legs.keys().copied().collect()).unwrap_or_default();
        for leg in left {
            self.drop_leg(now, key, leg);
        }
        if let Some(room) = self.calls.get_mut(&key).and_then(|s| s.room.take()) {
            self.media.remove_room(room);
        }
        while let Some(chunk) = self.media.poll_chunk() {
            self.pass_chunk(chunk);
        }
        let Some(mut slot) = self.calls.remove(&key) else { return };
        self.timers.rearm(key, &mut slot.armed, None);
        if slot.counted {
            self.shares[slot.trunk].up -= 1;
        }
        if slot.is_call_back {
            self.outputs.push_back(Output::Desk(ToDesk::CallBackOver { no: slot.no }));
        }
        let trunk = self.config.trunks[slot.trunk].name.clone();
        self.outputs.push_back(Output::Observed(Observed::CallEnded { trunk, result: slot.result }));
        // Also without any audio: the casebook closes the alert on the recorder's word.
        self.outputs.push_back(Output::RecordingEnded { key: key.0, no: slot.no });
    }

    fn carry_out(&mut self, now: Mono, key: CallKey, output: CallOutput) {
        let Some(slot) = self.calls.get(&key) else { return };
        let no = slot.no;
        match output {
            CallOutput::WantSeat { answer_by, avoid } => {
                let trunk = &self.config.trunks[slot.trunk];
                let want = CallWant { group: trunk.group, answer_by, skills: trunk.skills, avoid };
                self.outputs.push_back(Output::Desk(ToDesk::WantSeat { call: key, want }));
            }
            CallOutput::ChargeSeat { seat } => {
                self.outputs.push_back(Output::Desk(ToDesk::ChargeSeat { call: key, seat }));
            }
            CallOutput::UnwantSeat => self.outputs.push_back(Output::Desk(ToDesk::UnwantSeat { call: key })),
            CallOutput::ReleaseSeat { seat, outcome } => {
                self.outputs.push_back(Output::Desk(ToDesk::ReleaseSeat { call: key, seat, outcome }));
            }
            CallOutput::WantResponder { rung, share } => {
                let place = slot.place.clone();
                self.outputs.push_back(Output::Desk(ToDesk::WantResponder { call: key, rung, share, place }));
            }
            CallOutput::ReleaseResponder { responder, result, after } => {
                self.outputs.push_back(Output::Desk(ToDesk::ReleaseResponder { call: key, responder, result, after }));
            }
            CallOutput::Ring => self.ring_caller(now, key),
            CallOutput::AnswerCaller => self.answer_caller(now, key),
            CallOutput::StartLeg { leg, target, role } => self.start_leg(now, key, leg, target, role),
            CallOutput::DropLeg { leg } => self.drop_leg(now, key, leg),
            CallOutput::PlayTone { leg } => self.play(key, leg, self.config.tone.clone(), false),
            CallOutput::PlayAttendant { leg } => self.play(key, leg, self.config.attendant.clone(), true),
            CallOutput::StopPlaying { leg } => self.stop_playing(key, leg),
            CallOutput::Join { leg, role } => self.join(now, key, leg, role),
            CallOutput::Fact(fact) => self.fact(key, no, fact),
            CallOutput::Over => {}
        }
    }

    pub(super) fn take_message(&mut self, now: Mono, message: ToShard) {
        match message {
            ToShard::SeatReserved { call, seat, overflow, info, contact } => {
                match self.calls.get_mut(&call) {
                    Some(slot) => {
                        slot.seats.retain(|(known, ..)| *known != seat);
                        slot.seats.push((seat, info, contact));
                    }
                    None => {
                        let outcome = dispatch::seat::Outcome::Unused;
                        self.outputs.push_back(Output::Desk(ToDesk::ReleaseSeat { call, seat, outcome }));
                    }
                }
                self.input(now, call, Input::SeatReserved { seat, overflow });
            }
            ToShard::ResponderReserved(reserved) => self.responder_reserved(now, reserved),
            ToShard::NoResponder { call } => self.input(now, call, Input::NoResponder),
            ToShard::Action { call, action, by, request } => {
                self.acting = by;
                self.act(now, call, action, request);
                self.acting.clear();
            }
            ToShard::AskedIn { call, police, called, missed, by, request } => {
                self.acting = by;
                self.asked_in(now, call, (police, called), missed, request);
                self.acting.clear();
            }
            ToShard::CallBack(what) => self.call_back(now, what),
            ToShard::ForgetBinding { user } => self.sip.forget_binding(&user),
            ToShard::Silence { no } => self.silence(now, no),
            ToShard::Triaged { no, kind } => self.triaged(now, no, kind),
            ToShard::Moved { no, place } => {
                let keys: Vec<CallKey> = self.calls.iter().filter(|(_, s)| s.no == no).map(|(k, _)| k).collect();
                for key in keys {
                    if let Some(slot) = self.calls.get_mut(&key) {
                        slot.place.clone_from(&place);
                    }
                    self.let_go_of_avoided(now, key);
                }
            }
            ToShard::SendMessage(message) => self.send_page(now, &message),
            ToShard::AnswerMessage { page, status } => self.sip.answer_page(now, sip::PageId(page), status),
            ToShard::Serials { block, .. } => self.serials.grant(block),
        }
    }

    fn responder_reserved(&mut self, now: Mono, reserved: Box<crate::message::ReservedResponder>) {
        let (call, responder, role) = (reserved.call, reserved.responder, reserved.role);
        let by_name = reserved.by_name;
        match self.calls.get_mut(&call) {
            Some(slot) if self.config.grids.is_avoided(&slot.place, &reserved.unit) => {
                // Chosen, or asked for, before the complaint was known here, or in spite of it.
                let (result, after) = (TryResult::Superseded, Duration::ZERO);
                self.outputs.push_back(Output::Desk(ToDesk::ReleaseResponder { call, responder, result, after }));
                if !by_name {
                    return self.input(now, call, Input::NoResponder);
                }
                let (no, unit) = (reserved.no, reserved.unit);
                return slot.avoided.push(Missed { role, no, unit, result: TryResult::Off });
            }
            Some(slot) => {
                slot.responders.insert(responder.0, reserved);
            }
            None => {
                let result = TryResult::Superseded;
                let after = Duration::ZERO;
                self.outputs.push_back(Output::Desk(ToDesk::ReleaseResponder { call, responder, result, after }));
            }
        }
        let input =
            if by_name { Input::AskIn { responder, role } } else { Input::ResponderReserved { responder, role } };
        self.input(now, call, input);
    }

    /// Whoever still rings and is of a unit that is complained of by now is not wanted any more.
    fn let_go_of_avoided(&mut self, now: Mono, key: CallKey) {
        let Some(slot) = self.calls.get(&key) else { return };
        let Some(call) = slot.call.as_ref().filter(|_| slot.place.avoid.is_some()) else { return };
        let rings = slot.responders.keys().map(|id| dispatch::ResponderId(*id)).filter(|id| call.rings(*id));
        let is_avoided = |id: &dispatch::ResponderId| {
            slot.responders.get(&id.0).is_some_and(|r| self.config.grids.is_avoided(&slot.place, &r.unit))
        };
        let gone: Vec<_> = rings.filter(is_avoided).collect();
        for responder in gone {
            self.input(now, key, Input::Drop { responder });
        }
    }

    /// What the taker asked for is on record with the names of those who could not be called.
    fn asked_in(
        &mut self,
        now: Mono,
        key: CallKey,
        (police, called): (usize, usize),
        mut missed: Vec<Missed>,
        request: RequestId,
    ) {
        let Some(slot) = self.calls.get_mut(&key) else {
            let reply = crate::Reply { request, result: Err(crate::Failure::Conflict("the call is over")) };
            return self.outputs.push_back(Output::Desk(ToDesk::Refuse(reply)));
        };
        let no = slot.no;
        let waited = slot.call.as_ref().map_or(Duration::ZERO, |call| call.waits(now));
        let avoided = std::mem::take(&mut slot.avoided);
        if called > 0 && avoided.len() == called {
            let failure = crate::Failure::Conflict("this unit, or one above it, is complained of");
            return self
                .outputs
                .push_back(Output::Desk(ToDesk::Refuse(crate::Reply { request, result: Err(failure) })));
        }
        let police = police > avoided.iter().filter(|m| m.role.is_police()).count();
        missed.extend(avoided);
        for Missed { role, no: officer, unit, result } in missed {
            self.record(no, casework::Fact::Dispatch(DispatchFact::Missed { unit, officer, role, result }));
        }
        let fact =
            if police { DispatchFact::ResponderWanted { why: "transfer", waited } } else { DispatchFact::AskedIn };
        self.record_for(no, casework::Fact::Dispatch(fact), request);
    }

    /// Carried out at once; the reply waits for the record of it to be durable.
    fn act(&mut self, now: Mono, key: CallKey, action: Action, request: RequestId) {
        let Some(slot) = self.calls.get_mut(&key) else {
            let reply = crate::Reply { request, result: Err(crate::Failure::Conflict("the call is over")) };
            self.outputs.push_back(Output::Desk(ToDesk::Refuse(reply)));
            return;
        };
        let no = slot.no;
        let waited = slot.call.as_ref().map_or(Duration::ZERO, |call| call.waits(now));
        match action {
            Action::HangUp => {
                self.record_for(no, casework::Fact::Mark("ended_by_seat"), request);
                self.input(now, key, Input::HangUp);
            }
            Action::Drop { party } => {
                let Some(id) = slot.responders.iter().find(|(_, r)| r.no == party).map(|(id, _)| *id) else {
                    let failure = crate::Failure::NotFound("nobody of this name is in the call");
                    let reply = crate::Reply { request, result: Err(failure) };
                    return self.outputs.push_back(Output::Desk(ToDesk::Refuse(reply)));
                };
                self.record_for(no, casework::Fact::Mark("party_let_go"), request);
                self.input(now, key, Input::Drop { responder: dispatch::ResponderId(id) });
            }
            // The desk's to do.
            Action::Ready | Action::Transfer { .. } => {}
            Action::Triage { said, place } => {
                let is_unknown = |p: &dispatch::nearest::Place| p.grid.is_some() && self.config.grids.of(p).is_none();
                if place.as_ref().is_some_and(is_unknown) {
                    let reply = crate::Reply { request, result: Err(crate::Failure::NotFound("no grid of this name")) };
                    self.outputs.push_back(Output::Desk(ToDesk::Refuse(reply)));
                    return;
                }
                if let Some(unit) = &said.complaint_of {
                    slot.place.avoid = Some(unit.clone()).filter(|unit| !unit.is_empty());
                }
                if let Some(place) = place {
                    slot.place = dispatch::nearest::Place { avoid: slot.place.avoid.clone(), ..place.clone() };
                    let here = super::spoken(&self.config.unit, &self.config.grids, &place, self.wall);
                    self.record(no, casework::Fact::Incident(casework::IncidentFact::Located(Box::new(here))));
                }
                let kind = said.kind;
                self.record_for(no, casework::Fact::Incident(casework::IncidentFact::Triaged(said)), request);
                self.let_go_of_avoided(now, key);
                if let Some(kind) = kind {
                    self.input(now, key, Input::Triaged { kind });
                }
            }
            Action::ThreeWay => {
                self.record_for(
                    no,
                    casework::Fact::Dispatch(casework::DispatchFact::ResponderWanted { why: "three-way", waited }),
                    request,
                );
                self.input(now, key, Input::ThreeWay);
            }
        }
    }

    /// Whoever triaged it need not sit at the call.
    fn triaged(&mut self, now: Mono, no: AlertNo, kind: IncidentKind) {
        let keys: Vec<CallKey> = self.calls.iter().filter(|(_, s)| s.no == no).map(|(k, _)| k).collect();
        for key in keys {
            self.input(now, key, Input::Triaged { kind });
        }
    }

    /// Nothing may ring for this alert any more.
    fn silence(&mut self, now: Mono, no: AlertNo) {
        let ringing = |s: &CallSlot| s.no == no && s.call.as_ref().is_some_and(Call::is_calling_back);
        let keys: Vec<CallKey> = self.calls.iter().filter(|(_, s)| ringing(s)).map(|(k, _)| k).collect();
        for key in keys {
            self.input(now, key, Input::HangUp);
        }
    }
}

fn result_of(cause: EndCause) -> TryResult {
    match cause {
        EndCause::Refused(486 | 600) => TryResult::Busy,
        EndCause::Refused(603 | 403) => TryResult::Declined,
        EndCause::Refused(404 | 410 | 480) => TryResult::Off,
        EndCause::Unreachable => TryResult::Off,
        EndCause::Refused(_)
        | EndCause::TimedOut
        | EndCause::NoAck
        | EndCause::Cancelled
        | EndCause::RemoteBye
        | EndCause::Vanished => TryResult::NoAnswer,
    }
}
