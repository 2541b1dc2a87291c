//! Events in, call machines, outputs out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use codecs::record::{AlertNo, Location, LocationSource, Role, Stamp, Subscriber as RecordSubscriber, TryResult};
use codecs::sip::{Name, NameAddr, Scheme, Uri, split_commas};
use codecs::time::Mono;
use dispatch::nearest::Place;
use dispatch::{CALLER, Call, CallKey, Fact, Input, LegNo, Output as CallOutput, Policy, Why};
use media::Event as MediaEvent;
use sip::{EndCause, Event as SipEvent, Invitation, Output as SipOutput};

use super::{CallSlot, Observed, Output, Shard};
use crate::message::{Action, RequestId, ToCasebook, ToDesk, ToShard};
use crate::telephone;

impl Shard {
    /// Carries every consequence of an input to its end.
    pub(super) fn settle(&mut self, now: Mono) {
        loop {
            if let Some(output) = self.sip.poll_output() {
                match output {
                    SipOutput::Send { flow, bytes } => self.outputs.push_back(Output::Send { flow, bytes }),
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
    fn pass_chunk(&mut self, chunk: media::recording::Chunk) {
        if let Some(slot) = self.calls.get(&CallKey(chunk.key)) {
            self.outputs.push_back(Output::Chunk { no: slot.no, chunk });
        }
    }

    fn sip_event(&mut self, now: Mono, event: SipEvent) {
        match event {
            SipEvent::Invited(invitation) => self.invited(now, *invitation),
            SipEvent::Confirmed { session, sdp } => self.confirmed(now, session, sdp),
            SipEvent::Progress { session, .. } => self.session_input(now, session, |leg| Input::LegRinging { leg }),
            SipEvent::Answered { session, sdp } => self.answered(now, session, sdp),
            SipEvent::Reoffer { session, sdp } => self.reoffered(now, session, sdp),
            SipEvent::Ended { session, cause } => self.session_ended(now, session, cause),
            SipEvent::Registered { user, binding } => {
                self.outputs.push_back(Output::Desk(ToDesk::Registered { user, binding }));
            }
            SipEvent::Paged { page, flow, message } => self.paged(now, page, flow, &message),
            SipEvent::PageAnswered { page, code } => self.page_answered(page, code),
            SipEvent::Unregistered { user } => self.outputs.push_back(Output::Desk(ToDesk::Unregistered { user })),
        }
    }

    fn media_event(&mut self, now: Mono, event: MediaEvent) {
        let leg = match event {
            MediaEvent::FirstIn { leg }
            | MediaEvent::FirstOut { leg }
            | MediaEvent::Played { leg }
            | MediaEvent::Digit { leg, .. }
            | MediaEvent::Silent { leg } => leg,
        };
        let Some(&(key, leg)) = self.by_media.get(&leg) else { return };
        let input = match event {
            MediaEvent::FirstIn { .. } => Input::LegHeard { leg },
            MediaEvent::FirstOut { .. } => Input::LegHears { leg },
            MediaEvent::Played { .. } => Input::Played { leg },
            MediaEvent::Silent { .. } if leg == CALLER => Input::CallerSilent,
            MediaEvent::Silent { .. } | MediaEvent::Digit { .. } => return,
        };
        self.input(now, key, input);
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
        let answered = entry.answered;
        let input = if leg == CALLER && !matches!(cause, EndCause::Refused(_) | EndCause::TimedOut) || answered {
            Input::LegEnded { leg }
        } else {
            Input::LegFailed { leg, result: result_of(cause) }
        };
        self.release_leg(key, leg);
        self.input(now, key, input);
    }

    fn invited(&mut self, now: Mono, invitation: Invitation) {
        let source = invitation.flow.remote.ip();
        let Some(trunk) = self.trunk_of(source) else {
            self.sip.reject(now, invitation.session, 403, Some("X.local;cause=2101;text=\"GW-2101 unknown trunk\""));
            return;
        };
        let called = dialled(&invitation.message);
        let caller = calling_number(&invitation.message);
        let attendant_only = self.config.trunks[trunk].attendant_user.as_deref() == Some(called.as_str());
        let policy = Policy { attendant_only, ..self.config.policy.clone() };
        let (no, reserved) = self.mint_number();
        let call_id = String::from_utf8_lossy(invitation.message.get(Name::CallId).unwrap_or_default()).into_owned();
        let slot = self.new_slot(no, trunk, caller.clone());
        let key = self.calls.insert(slot);
        if !self.take_caller_leg(now, key, &invitation) {
            return;
        }
        let arrival = self.arrival(trunk, caller, called, call_id, !reserved);
        self.calls.get_mut(&key).expect("inserted above").place = arrival.1;
        self.record(no, casework::Fact::Arrived(Box::new(arrival.0)));
        self.begin(now, key, Call::arrived(now, policy));
    }

    /// Everything known of the report at its first byte, and the place that follows from it.
    fn arrival(
        &self,
        trunk: usize,
        caller: String,
        called: String,
        message_id: String,
        unreserved: bool,
    ) -> (casework::Arrival, Place) {
        let trunk = &self.config.trunks[trunk];
        let subscriber = self.config.subscribers.get(&caller);
        let point = subscriber.and_then(|s| s.at);
        let (place, source) = match point {
            Some(_) => (Place { grid: None, point }, LocationSource::Subscriber),
            None => (Place { grid: trunk.default_grid.clone(), point: None }, LocationSource::TrunkDefault),
        };
        let (jurisdiction, owner) = super::jurisdiction(&self.config.unit, &self.config.grids, &place);
        let location = Location {
            wgs84: place.point,
            original: None,
            civic: subscriber.map(|s| s.address.clone()).unwrap_or_default(),
            grid_code: self.config.grids.of(&place).map(|g| g.id.clone()).unwrap_or_default(),
            source,
            at: Stamp(self.wall),
        };
        let arrival = casework::Arrival {
            channel: trunk.channel,
            caller,
            called,
            trunk: trunk.name.clone(),
            message_id,
            subscriber: subscriber.map(|s| RecordSubscriber { name: s.name.clone(), address: s.address.clone() }),
            location: Some(location),
            jurisdiction,
            owner,
            marks: if unreserved { vec!["number_unreserved".into()] } else { Vec::new() },
        };
        (arrival, place)
    }

    fn new_slot(&self, no: AlertNo, trunk: usize, number: String) -> CallSlot {
        CallSlot {
            call: None,
            no,
            trunk,
            number,
            place: Place::default(),
            legs: super::table::Legs::default(),
            room: None,
            recorded: false,
            tracks: std::collections::BTreeMap::new(),
            seat: None,
            responder: None,
            responders: std::collections::BTreeMap::new(),
            result: "abandoned",
            armed: sip::Armed::default(),
        }
    }

    /// The next number, and whether its serial was reserved on disk.
    fn mint_number(&mut self) -> (AlertNo, bool) {
        let (serial, reserved) = self.serials.next(self.wall);
        if self.serials.wants_more() {
            self.outputs.push_back(Output::WantSerials);
        }
        let date = self.wall.beijing_date();
        (AlertNo::mint(&self.config.unit, date, self.config.node, serial), reserved)
    }

    fn begin(&mut self, now: Mono, key: CallKey, call: Call) {
        self.calls.get_mut(&key).expect("its slot is there").call = Some(call);
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

    /// The call machine is gone: every leg is hung up from the leg table, seats and officers are given back.
    fn abandon_panicked(&mut self, now: Mono, key: CallKey) {
        self.outputs.push_back(Output::Observed(Observed::Panicked));
        let Some(slot) = self.calls.get(&key) else { return };
        let no = slot.no;
        let legs: Vec<LegNo> = slot.legs.keys().copied().collect();
        for leg in legs {
            self.drop_leg(now, key, leg);
        }
        self.record(no, casework::Fact::Mark("call_machine_failed"));
        self.record(no, casework::Fact::Ended);
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
        let trunk = self.config.trunks[slot.trunk].name.clone();
        self.outputs.push_back(Output::Observed(Observed::CallEnded { trunk, result: slot.result }));
        // Also without any audio: the casebook closes the alert on the recorder's word.
        self.outputs.push_back(Output::RecordingEnded { key: key.0, no: slot.no });
    }

    fn carry_out(&mut self, now: Mono, key: CallKey, output: CallOutput) {
        let Some(slot) = self.calls.get(&key) else { return };
        let no = slot.no;
        match output {
            CallOutput::WantSeat { answer_by } => {
                let (group, skills) = (self.config.trunks[slot.trunk].group, self.config.trunks[slot.trunk].skills);
                self.outputs.push_back(Output::Desk(ToDesk::WantSeat { call: key, group, answer_by, skills }));
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

    pub(super) fn record(&mut self, no: AlertNo, fact: casework::Fact) {
        self.record_for(no, fact, RequestId::default());
    }

    fn record_for(&mut self, no: AlertNo, fact: casework::Fact, request: RequestId) {
        self.outputs.push_back(Output::Casebook(ToCasebook::Fact { no, at: self.wall, fact, request }));
    }

    /// The call machine's numbers become the record's names.
    fn fact(&mut self, key: CallKey, no: AlertNo, fact: Fact) {
        let slot = self.calls.get_mut(&key).expect("a fact of a living call");
        let name = |slot: &CallSlot, id: dispatch::ResponderId| slot.responders.get(&id.0).cloned().unwrap_or_default();
        let seat = || slot.seat.as_ref().map(|(info, _)| info.clone()).unwrap_or_default();
        let told = match fact {
            Fact::Offered { .. } => casework::Fact::Offered { seat: seat() },
            Fact::AttendantAnswered { after } => {
                slot.result = "attendant";
                let trunk = self.config.trunks[slot.trunk].name.clone();
                let mode = codecs::record::AnswerMode::Attendant;
                self.outputs.push_back(Output::Observed(Observed::Answered { trunk, mode, after }));
                casework::Fact::AttendantAnswered
            }
            Fact::Answered { leg, mode, after, .. } => {
                let seat = seat();
                slot.result = "answered";
                let trunk = self.config.trunks[slot.trunk].name.clone();
                self.outputs.push_back(Output::Observed(Observed::Answered { trunk, mode, after }));
                casework::Fact::Answered { leg: leg.0, seat, mode, after_ms: after.as_millis() as u64 }
            }
            Fact::TwoWay => casework::Fact::TwoWay,
            Fact::Silent => casework::Fact::Silent,
            Fact::ResponderWanted { why } => casework::Fact::ResponderWanted {
                why: match why {
                    Why::Triage => "triage",
                    Why::Action => "three-way",
                    Why::Grace => "no triage in time",
                },
            },
            Fact::Tried { leg, responder, rung } => {
                let Some(r) = slot.responder.as_deref() else { return };
                slot.responders.insert(responder.0, r.no.clone());
                casework::Fact::Tried {
                    leg: leg.0,
                    unit: r.unit.clone(),
                    officer: r.no.clone(),
                    role: rung,
                    reason: r.reason.clone(),
                }
            }
            Fact::TryEnded { leg, responder, result } => {
                casework::Fact::TryEnded { leg: leg.0, officer: name(slot, responder), result }
            }
            Fact::Bridged { responder, after } => {
                self.outputs.push_back(Output::Observed(Observed::Bridged { after }));
                casework::Fact::Bridged { officer: name(slot, responder), after_ms: after.as_millis() as u64 }
            }
            Fact::NobodyLeft => casework::Fact::NobodyLeft,
            Fact::LegEnded { leg, role } => casework::Fact::LegEnded { leg: leg.0, role },
            Fact::Abandoned { attended } => {
                slot.result = "abandoned";
                casework::Fact::Abandoned { attended }
            }
            Fact::Unreached => {
                slot.result = "unreached";
                casework::Fact::Unreached
            }
            Fact::Breach { timer } => {
                self.outputs.push_back(Output::Observed(Observed::Breach { timer }));
                casework::Fact::Breach { timer }
            }
            Fact::Ended => casework::Fact::Ended,
        };
        self.record(no, told);
    }

    pub(super) fn take_message(&mut self, now: Mono, message: ToShard) {
        match message {
            ToShard::SeatReserved { call, seat, overflow, info, contact } => {
                match self.calls.get_mut(&call) {
                    Some(slot) => slot.seat = Some((info, contact)),
                    None => {
                        let outcome = dispatch::seat::Outcome::Unused;
                        self.outputs.push_back(Output::Desk(ToDesk::ReleaseSeat { call, seat, outcome }));
                    }
                }
                self.input(now, call, Input::SeatReserved { seat, overflow });
            }
            ToShard::ResponderReserved(reserved) => self.responder_reserved(now, reserved),
            ToShard::NoResponder { call } => self.input(now, call, Input::NoResponder),
            ToShard::Action { call, action, request } => self.act(now, call, action, request),
            ToShard::CallBack { no, number, trunk } => self.call_back(now, no, number, &trunk),
            ToShard::Silence { no } => self.silence(now, no),
            ToShard::SendMessage(message) => self.send_page(now, &message),
            ToShard::AnswerMessage { page, status } => self.sip.answer_page(now, sip::PageId(page), status),
            ToShard::Serials { block, .. } => self.serials.grant(block),
        }
    }

    fn responder_reserved(&mut self, now: Mono, reserved: Box<crate::message::ReservedResponder>) {
        let (call, responder, role) = (reserved.call, reserved.responder, reserved.role);
        let transfer = reserved.transfer;
        match self.calls.get_mut(&call) {
            Some(slot) => slot.responder = Some(reserved),
            None => {
                let result = TryResult::Superseded;
                let after = Duration::ZERO;
                self.outputs.push_back(Output::Desk(ToDesk::ReleaseResponder { call, responder, result, after }));
            }
        }
        let input =
            if transfer { Input::TransferTo { responder, role } } else { Input::ResponderReserved { responder, role } };
        self.input(now, call, input);
    }

    /// Carried out at once; the reply waits for the record of it to be durable.
    fn act(&mut self, now: Mono, key: CallKey, action: Action, request: RequestId) {
        let Some(slot) = self.calls.get_mut(&key) else {
            let reply = crate::Reply { request, result: Err(crate::Failure::Conflict("the call is over")) };
            self.outputs.push_back(Output::Desk(ToDesk::Refuse(reply)));
            return;
        };
        let no = slot.no;
        match action {
            Action::HangUp => {
                self.record_for(no, casework::Fact::Mark("ended_by_seat"), request);
                self.input(now, key, Input::HangUp);
            }
            Action::Ready => {}
            Action::Triage { kind, category, level, text, place } => {
                if let Some(place) = place {
                    slot.place = place.clone();
                    let (jurisdiction, owner) = super::jurisdiction(&self.config.unit, &self.config.grids, &place);
                    let grid_code = self.config.grids.of(&place).map(|g| g.id.clone()).unwrap_or_default();
                    let at = Stamp(self.wall);
                    let location = Location {
                        wgs84: place.point,
                        original: None,
                        civic: String::new(),
                        grid_code,
                        source: LocationSource::Spoken,
                        at,
                    };
                    self.record(no, casework::Fact::Located { location, jurisdiction, owner });
                }
                self.record_for(no, casework::Fact::Triaged { kind, category, level, text }, request);
                self.input(now, key, Input::Triaged { kind });
            }
            Action::ThreeWay => {
                self.record_for(no, casework::Fact::ResponderWanted { why: "three-way" }, request);
                self.input(now, key, Input::ThreeWay);
            }
            Action::Transfer { .. } => {
                self.record_for(no, casework::Fact::ResponderWanted { why: "transfer" }, request);
            }
        }
    }

    /// By the seats of the trunk it came from, out over whichever trunk takes outgoing calls.
    /// Nothing may ring for this alert any more.
    fn silence(&mut self, now: Mono, no: AlertNo) {
        let ringing = |s: &CallSlot| s.no == no && s.call.as_ref().is_some_and(Call::is_calling_back);
        let keys: Vec<CallKey> = self.calls.iter().filter(|(_, s)| ringing(s)).map(|(k, _)| k).collect();
        for key in keys {
            self.input(now, key, Input::HangUp);
        }
    }

    fn call_back(&mut self, now: Mono, no: AlertNo, number: String, trunk: &str) {
        let trunk = self.config.trunks.iter().position(|t| t.name == trunk).unwrap_or(0);
        if self.dial_out(trunk, &number).is_none() {
            // Nowhere to call: said at once, no seat is spent on it.
            self.record(no, casework::Fact::CallingBack);
            self.record(no, casework::Fact::Unreached);
            self.outputs.push_back(Output::RecordingEnded { key: 0, no });
            return;
        }
        let mut slot = self.new_slot(no, trunk, number);
        slot.result = "callback";
        slot.legs.insert(
            CALLER,
            super::Leg {
                role: Role::Reporter,
                session: None,
                media: None,
                port: None,
                answered: false,
                sdp: super::LocalSdp::default(),
                playing: None,
                origin: None,
                seed: 0,
                track: None,
            },
        );
        let key = self.calls.insert(slot);
        self.record(no, casework::Fact::CallingBack);
        self.begin(now, key, Call::calling_back(now, self.config.policy.clone()));
    }

    /// The trunk of a source address: the longest prefix wins.
    pub(super) fn trunk_of(&self, source: std::net::IpAddr) -> Option<usize> {
        let source = source.to_canonical();
        let matching = self.config.trunks.iter().enumerate().flat_map(|(i, t)| {
            t.sources.iter().filter(move |(net, len)| in_network(source, *net, *len)).map(move |(_, len)| (*len, i))
        });
        matching.max_by_key(|(len, i)| (*len, usize::MAX - *i)).map(|(_, i)| i)
    }
}

fn in_network(address: std::net::IpAddr, network: std::net::IpAddr, prefix: u8) -> bool {
    let bits = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        std::net::IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let ((a, width), (n, other)) = (bits(address), bits(network));
    let prefix = u32::from(prefix).min(width);
    width == other && (prefix == 0 || (a ^ n) >> (128 - prefix) == 0)
}

fn result_of(cause: EndCause) -> TryResult {
    match cause {
        EndCause::Refused(486 | 600) => TryResult::Busy,
        EndCause::Refused(603 | 403) => TryResult::Declined,
        EndCause::Refused(404 | 410 | 480) => TryResult::Off,
        EndCause::Refused(_) | EndCause::TimedOut | EndCause::NoAck | EndCause::Cancelled | EndCause::RemoteBye => {
            TryResult::NoAnswer
        }
    }
}

pub(super) fn dialled(message: &codecs::sip::Message) -> String {
    let uri = Uri::parse(message.request_uri());
    let number = uri.as_ref().map(Uri::number).unwrap_or_default();
    String::from_utf8_lossy(number).into_owned()
}

/// P-Asserted-Identity from the trunk, then From. Never refused for being odd.
pub(super) fn calling_number(message: &codecs::sip::Message) -> String {
    let asserted = message.all(Name::PAssertedIdentity).flat_map(split_commas);
    let from = message.get(Name::From).into_iter();
    let found = asserted.chain(from).find_map(|value| {
        let uri = NameAddr::parse(value)?.uri()?;
        let wanted = matches!(uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel);
        (wanted && !uri.number().is_empty()).then(|| String::from_utf8_lossy(uri.number()).into_owned())
    });
    telephone(&found.unwrap_or_default())
}
