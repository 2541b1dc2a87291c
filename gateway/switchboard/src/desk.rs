//! The desk: seats, officers, and who waits for whom. One in all, so that nobody is reserved twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use codecs::geo::Point;
use codecs::record::{AlertNo, SeatInfo, TryResult};
use codecs::time::Mono;
use dispatch::approach::{Approaches, Approaching};
use dispatch::callback::{CallBacks, Output as CallBackOutput};
use dispatch::nearest::{self, GridMap};
use dispatch::officer::{Responder, Roster};
use dispatch::seat::{self, CallWant, Group, Outcome, Seat, SeatId, SeatPool, SeatState, SlotOutput};
use dispatch::{CallKey, ResponderId};
use sip::Binding;

use crate::message::{Action, Contact, Failure, Missed, Reply, RequestId, ReservedResponder, ToDesk, ToShard};

pub struct DeskConfig {
    pub groups: Vec<Group>,
    pub seats: Vec<Seat>,
    /// The SIP user of each seat, in the order of `seats`.
    pub seat_users: Vec<String>,
    pub responders: Vec<Responder>,
    pub grids: Arc<GridMap>,
    /// Whose duty room is called when the grid is unknown.
    pub default_unit: String,
}

#[derive(Debug)]
pub enum Output {
    Shard(ToShard),
    Reply(Reply),
    /// A seat has a conversation, or no longer: the casebook is to know.
    Given {
        alert: AlertNo,
        seat: SeatInfo,
        overflow: bool,
    },
    TakenBack {
        alert: AlertNo,
        seat: String,
    },
    /// An officer comes nearer to an alert, or is there.
    Approach {
        no: AlertNo,
        news: Approaching,
    },
    /// Nobody is called back for this alert: its number is called back for another, or the time was too long.
    CallBackDropped {
        no: AlertNo,
        joined: Option<AlertNo>,
    },
}

/// What the desk looks like from outside, for the metrics.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Gauges {
    pub seats_idle: usize,
    pub seats_busy: usize,
    pub seats_away: usize,
    pub seats_off: usize,
    pub waiting: usize,
    pub conversations: usize,
    pub conversations_waiting: usize,
    pub officers_on_duty: usize,
    pub officers_busy: usize,
    pub call_backs_owed: usize,
    pub call_backs_ringing: usize,
}

/// Whether a responder was asked for by name, and not by the ladder.
struct ByName(bool);

pub struct Desk {
    seats: SeatPool,
    seat_of_user: BTreeMap<String, SeatId>,
    user_of_seat: Vec<String>,
    roster: Roster,
    grids: Arc<GridMap>,
    default_unit: String,
    bindings: BTreeMap<String, Binding>,
    /// Users whose binding is from before a restart and has not been heard of since.
    unproved: BTreeSet<String>,
    call_backs: CallBacks,
    approaches: Approaches,
    /// Of the input handled last.
    now: Mono,
    outputs: VecDeque<Output>,
}

impl Desk {
    pub fn new(config: DeskConfig) -> Desk {
        assert_eq!(config.seats.len(), config.seat_users.len(), "a user for every seat");
        let seat_of_user =
            config.seat_users.iter().enumerate().map(|(i, user)| (user.clone(), SeatId(i as u32))).collect();
        Desk {
            seats: SeatPool::new(config.groups, config.seats),
            seat_of_user,
            user_of_seat: config.seat_users,
            roster: Roster::new(config.responders),
            grids: config.grids,
            default_unit: config.default_unit,
            bindings: BTreeMap::new(),
            unproved: BTreeSet::new(),
            call_backs: CallBacks::default(),
            approaches: Approaches::default(),
            now: Mono(0),
            outputs: VecDeque::new(),
        }
    }

    pub fn handle(&mut self, now: Mono, message: ToDesk) {
        self.now = now;
        match message {
            ToDesk::WantSeat { call, want } => self.seats.want(now, call, want),
            ToDesk::WantConversation { alert, group, class, within, prefer, skills } => {
                let prefer = prefer.and_then(|seat| self.seats.find(&seat));
                let want = seat::Want { group, class, by: now + within, prefer, skills };
                self.seats.want_conversation(now, alert, want);
            }
            ToDesk::ConversationAnswered { alert } => self.seats.conversation_answered(alert),
            ToDesk::ReleaseConversation { alert } => self.seats.release_conversation(now, alert),
            ToDesk::UnwantSeat { call } => self.seats.unwant(call),
            ToDesk::ReleaseSeat { call, seat, outcome } => {
                self.seats.release(now, call, seat, outcome);
                self.prove_seat(now, seat, outcome);
            }
            ToDesk::ChargeSeat { call, seat } => self.seats.charge(now, call, seat),
            ToDesk::CallBack(what) => {
                let mut chance = DefaultHasher::new();
                chance.write(what.no.as_str().as_bytes());
                self.call_backs.owe(now, what, chance.finish());
            }
            ToDesk::CallBackOver { no } => self.call_backs.over(no),
            ToDesk::Silence { no } => self.call_backs.forget(no),
            ToDesk::Moved { no, place } => {
                self.call_backs.moved(no, &place);
                if let Some(to) = place.point {
                    self.approaches.moved(no, to);
                }
            }
            ToDesk::UnderWay { officer, no, to, hour } => self.under_way(now, &officer, no, to, hour),
            ToDesk::There { officer, no } => {
                if let Some(id) = self.roster.find(&officer) {
                    self.approaches.there(now, id, no);
                }
            }
            ToDesk::WantResponder { call, rung, share, place } => {
                let pick =
                    nearest::reserve(&mut self.roster, &self.grids, call, &place, rung, share, &self.default_unit);
                match pick {
                    Some(pick) => self.tell_reserved(call, pick.responder, pick.reason, ByName(false)),
                    None => self.outputs.push_back(Output::Shard(ToShard::NoResponder { call })),
                }
            }
            ToDesk::ReleaseResponder { call, responder, result, after } => {
                self.roster.release(responder, call, result, after);
                let user = self.roster.get(responder).user.clone();
                self.prove(&user, !matches!(result, TryResult::NoAnswer | TryResult::Off), result);
            }
            ToDesk::Registered { user, binding, restored } => self.registered(now, user, binding, restored),
            ToDesk::Unregistered { user } => self.unregistered(now, &user),
            ToDesk::CallFailed { call } => {
                self.seats.unwant(call);
                self.seats.release_call(now, call);
                self.roster.release_call(call);
            }
            ToDesk::Refuse(reply) => self.outputs.push_back(Output::Reply(reply)),
            ToDesk::SeatAction { seat, action, by, request } => self.seat_action(now, &seat, action, by, request),
            ToDesk::Duty { officer, on_duty, request } => {
                let found = self.roster.find(&officer);
                if let Some(id) = found {
                    self.roster.set_duty(id, on_duty);
                }
                self.reply_found(request, found.is_some());
            }
            ToDesk::AtPage { seat, here } => {
                if let Some(seat) = self.seats.find(&seat) {
                    self.seats.set_at_page(now, seat, here);
                }
            }
            ToDesk::Position { officer, at, hour, request } => {
                let found = self.roster.find(&officer);
                if let Some(id) = found {
                    self.roster.set_position(now, id, at);
                    self.approaches.seen(now, id, at, hour);
                }
                self.reply_found(request, found.is_some());
            }
        }
        self.settle(now);
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        self.now = now;
        self.seats.handle_timeout(now);
        self.settle(now);
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let call_back = self.call_backs.poll_timeout(self.now).map(|at| (at, "call-back"));
        [self.seats.poll_timeout(), call_back].into_iter().flatten().min()
    }

    /// Whoever says where they are is followed from where they were last.
    fn under_way(&mut self, now: Mono, officer: &str, no: AlertNo, to: Point, hour: u8) {
        let Some(id) = self.roster.find(officer) else { return };
        self.approaches.set_out(now, id, no, to);
        if let Some(at) = self.roster.position(now, id) {
            self.approaches.seen(now, id, at, hour);
        }
    }

    fn registered(&mut self, now: Mono, user: String, binding: Binding, restored: bool) {
        if restored {
            self.unproved.insert(user.clone());
        } else {
            self.unproved.remove(&user);
        }
        if let Some(&seat) = self.seat_of_user.get(&user) {
            self.bindings.insert(user, binding);
            self.seats.sign_on(now, seat);
            return;
        }
        if let Some(responder) = self.roster.find_user(&user) {
            self.bindings.insert(user, binding);
            self.roster.set_registered(responder, true);
        }
    }

    /// What a call came to tells of a seat's binding from before a restart.
    fn prove_seat(&mut self, now: Mono, seat: SeatId, outcome: Outcome) {
        let user = self.user_of_seat[seat.0 as usize].clone();
        if self.unproved.contains(&user) && outcome == Outcome::NotReached {
            self.seats.sign_off(now, seat);
        }
        let result = if outcome == Outcome::Talked { TryResult::Answered } else { TryResult::NoAnswer };
        if outcome != Outcome::Unused {
            self.prove(&user, outcome == Outcome::Talked, result);
        }
    }

    /// Whoever answered is there; whoever did not is not believed any longer, until they register.
    fn prove(&mut self, user: &str, answered: bool, result: TryResult) {
        if result == TryResult::Superseded || !self.unproved.remove(user) || answered {
            return;
        }
        self.outputs.push_back(Output::Shard(ToShard::ForgetBinding { user: user.to_owned() }));
    }

    fn unregistered(&mut self, now: Mono, user: &str) {
        self.unproved.remove(user);
        self.bindings.remove(user);
        if let Some(&seat) = self.seat_of_user.get(user) {
            self.seats.sign_off(now, seat);
        } else if let Some(responder) = self.roster.find_user(user) {
            self.roster.set_registered(responder, false);
        }
    }

    /// Turns reservations into messages. A seat whose phone is gone goes back and is signed off.
    fn settle(&mut self, now: Mono) {
        while let Some(output) = self.seats.poll_output() {
            match output {
                seat::Output::Reserved { call, seat, overflow, want } => self.reserved(now, call, seat, overflow, want),
                seat::Output::Conversation(SlotOutput::Given { alert, seat, overflow }) => {
                    let seat = self.seat_info(seat);
                    self.outputs.push_back(Output::Given { alert, seat, overflow });
                }
                seat::Output::Conversation(SlotOutput::TakenBack { alert, seat }) => {
                    let seat = self.seats.seat(seat).id.clone();
                    self.outputs.push_back(Output::TakenBack { alert, seat });
                }
            }
        }
        while let Some((no, news)) = self.approaches.poll_news() {
            self.outputs.push_back(Output::Approach { no, news });
        }
        let waits = self.seats.waiting().next().is_some();
        self.call_backs.advance(now, self.seats.idle(), waits);
        while let Some(output) = self.call_backs.poll_output() {
            self.outputs.push_back(match output {
                CallBackOutput::Begin(what) => Output::Shard(ToShard::CallBack(what)),
                CallBackOutput::JoinedTo { no, other } => Output::CallBackDropped { no, joined: Some(other) },
                CallBackOutput::GivenUp { no } => Output::CallBackDropped { no, joined: None },
            });
        }
    }

    fn reserved(&mut self, now: Mono, call: CallKey, seat: SeatId, overflow: bool, want: CallWant) {
        let user = &self.user_of_seat[seat.0 as usize];
        let Some(contact) = self.bindings.get(user).map(contact_of) else {
            // Its phone is gone: the call wants what it wanted.
            self.seats.sign_off(now, seat);
            self.seats.release(now, call, seat, Outcome::Unused);
            return self.seats.want(now, call, want);
        };
        let info = self.seat_info(seat);
        self.outputs.push_back(Output::Shard(ToShard::SeatReserved { call, seat, overflow, info, contact }));
    }

    fn seat_info(&self, seat: SeatId) -> SeatInfo {
        let seat = self.seats.seat(seat);
        SeatInfo { no: seat.id.clone(), taker_name: seat.name.clone() }
    }

    fn tell_reserved(&mut self, call: CallKey, responder: ResponderId, reason: String, ByName(by_name): ByName) {
        let who = self.roster.get(responder);
        let reserved = ReservedResponder {
            call,
            responder,
            role: who.role,
            no: who.no.clone(),
            unit: who.unit.clone(),
            reason,
            contact: self.bindings.get(&who.user).map(contact_of),
            phone: who.phone.clone(),
            by_name,
        };
        self.outputs.push_back(Output::Shard(ToShard::ResponderReserved(Box::new(reserved))));
    }

    fn seat_action(&mut self, now: Mono, seat: &str, action: Action, by: String, request: RequestId) {
        let Some(id) = self.seats.find(seat) else {
            return self.fail(request, Failure::NotFound("no such seat"));
        };
        let state = self.seats.state(id);
        if action == Action::Ready {
            if let SeatState::Away { .. } = state {
                self.seats.sign_off(now, id);
                self.seats.sign_on(now, id);
            }
            return self.reply_found(request, true);
        }
        let SeatState::Taken { call, .. } = state else {
            return self.fail(request, Failure::Conflict("no call at this seat"));
        };
        if let Action::Transfer { to } = &action {
            return self.ask_in(call, to, by, request);
        }
        self.outputs.push_back(Output::Shard(ToShard::Action { call, action, by, request }));
    }

    /// Whoever can be had is called at once, all of them at the same time; of the others the record says why not. Where
    /// one is nobody's name, nothing is done: whoever mistyped it says it again.
    fn ask_in(&mut self, call: CallKey, to: &[String], by: String, request: RequestId) {
        let found: Option<BTreeSet<ResponderId>> = to.iter().map(|name| self.roster.find(name)).collect();
        let Some(found) = found.filter(|found| !found.is_empty()) else {
            return self.fail(request, Failure::NotFound("no such officer, unit or agency"));
        };
        let (had, missed): (Vec<_>, Vec<_>) = found.into_iter().partition(|id| self.roster.reserve(*id, call));
        if had.is_empty() {
            return self
                .fail(request, Failure::Conflict("none of them can be had: in a call, off duty or unreachable"));
        }
        let called = had.len();
        let police = had.iter().filter(|id| self.roster.get(**id).role.is_police()).count();
        for id in had {
            self.tell_reserved(call, id, "asked for by the call taker".into(), ByName(true));
        }
        let missed = missed.into_iter().map(|id| {
            let who = self.roster.get(id);
            Missed { role: who.role, no: who.no.clone(), unit: who.unit.clone(), result: self.roster.why_not(id) }
        });
        let missed = missed.collect();
        self.outputs.push_back(Output::Shard(ToShard::AskedIn { call, police, called, missed, by, request }));
    }

    fn reply_found(&mut self, request: RequestId, found: bool) {
        let result = if found { Ok(None) } else { Err(Failure::NotFound("no such officer")) };
        self.outputs.push_back(Output::Reply(Reply { request, result }));
    }

    fn fail(&mut self, request: RequestId, failure: Failure) {
        self.outputs.push_back(Output::Reply(Reply { request, result: Err(failure) }));
    }

    pub fn gauges(&self) -> Gauges {
        let mut g = Gauges { waiting: self.seats.waiting().count(), ..Gauges::default() };
        for (_, _, state) in self.seats.seats() {
            match state {
                SeatState::Idle { .. } => g.seats_idle += 1,
                SeatState::Taken { .. } => g.seats_busy += 1,
                SeatState::Away { .. } => g.seats_away += 1,
                SeatState::SignedOff => g.seats_off += 1,
            }
        }
        (g.officers_on_duty, g.officers_busy) = self.roster.counts();
        (g.conversations, g.conversations_waiting) = self.seats.conversations();
        (g.call_backs_owed, g.call_backs_ringing) = self.call_backs.counts();
        g
    }
}

fn contact_of(binding: &Binding) -> Contact {
    Contact { flow: binding.flow, uri: binding.contact.clone(), is_registered: true }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use codecs::record::Role;
    use dispatch::seat::GroupId;
    use sip::Flow;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn desk(seats: usize) -> Desk {
        let id = |n: usize| format!("100{n}");
        let seat = |n| Seat {
            id: id(n),
            name: String::new(),
            group: GroupId(0),
            preferred: false,
            skills: 1 << n,
            max_threads: 1,
        };
        Desk::new(DeskConfig {
            groups: vec![Group {
                name: "g".into(),
                overflow: None,
                wrap_up: Duration::ZERO,
                floors: [0; 4],
                conversation_answers_within: Duration::from_secs(4),
            }],
            seats: (0..seats).map(seat).collect(),
            seat_users: (0..seats).map(id).collect(),
            responders: ["119", "120"].map(agency).into(),
            grids: Arc::new(GridMap::new(Vec::new())),
            default_unit: "u".into(),
        })
    }

    fn agency(no: &str) -> Responder {
        Responder {
            no: no.into(),
            name: no.into(),
            role: Role::Agency,
            unit: no.into(),
            grids: Vec::new(),
            user: String::new(),
            phone: "sip:x@192.0.2.9".into(),
            on_duty: true,
            lines: 2,
        }
    }

    /// What comes of a taker's wish to have them in: who is called, who is missed, or why nobody is.
    fn asked_in(desk: &mut Desk, seat: &str, to: &[&str]) -> String {
        let action = Action::Transfer { to: to.iter().map(|t| (*t).to_owned()).collect() };
        let (by, request) = ("seat:x".to_owned(), RequestId(1));
        desk.handle(Mono(0) + MS, ToDesk::SeatAction { seat: seat.into(), action, by, request });
        let said = std::iter::from_fn(|| desk.poll_output()).map(|output| match output {
            Output::Shard(ToShard::ResponderReserved(r)) => format!("{} called to {}", r.no, r.call.0),
            Output::Shard(ToShard::AskedIn { police, missed, .. }) => {
                let missed: Vec<_> = missed.iter().map(|m| format!("{} {:?}", m.no, m.result)).collect();
                format!("police {police}, missed {missed:?}")
            }
            Output::Reply(reply) => format!("{:?}", reply.result.expect_err("refused")),
            other => format!("{other:?}"),
        });
        said.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn whoever_can_be_had_is_called_at_once_and_of_the_others_it_is_told_why_not() {
        let mut desk = desk(3);
        (0..3).for_each(|n| desk.handle(Mono(0) + MS, registered(n, false)));
        (7..10).for_each(|call| desk.handle(Mono(0) + MS, want(call, 0, Vec::new())));
        let of = reserved(&mut desk);
        assert_eq!(of, [(7, 0), (8, 1), (9, 2)]);
        let both = asked_in(&mut desk, "1000", &["119", "120", "119"]);
        assert_eq!(both, "119 called to 7; 120 called to 7; police 0, missed []");
        // A room has several calls, none of them twice, and no more than it has lines.
        assert!(asked_in(&mut desk, "1000", &["119"]).contains("none of them can be had"));
        assert_eq!(asked_in(&mut desk, "1001", &["119"]), "119 called to 8; police 0, missed []");
        let third = asked_in(&mut desk, "1002", &["119", "120"]);
        assert_eq!(third, "120 called to 9; police 0, missed [\"119 Busy\"]");
        // Where one is nobody's name nobody is called.
        assert!(asked_in(&mut desk, "1002", &["120", "911"]).contains("no such"));
        let (call, responder) = (CallKey(7), desk.roster.find("119").expect("there"));
        let (result, after) = (TryResult::Answered, Duration::ZERO);
        desk.handle(Mono(0) + MS, ToDesk::ReleaseResponder { call, responder, result, after });
        assert_eq!(asked_in(&mut desk, "1002", &["119"]), "119 called to 9; police 0, missed []");
    }

    fn registered(n: usize, restored: bool) -> ToDesk {
        let remote = ([192, 0, 2, 1], 5060).into();
        let expires_at = Mono::from_millis(120_000);
        let binding = Binding { contact: b"sip:x@192.0.2.1".to_vec(), flow: Flow::udp(remote), expires_at };
        ToDesk::Registered { user: format!("100{n}"), binding, restored }
    }

    fn want(call: u64, skills: u32, avoid: Vec<SeatId>) -> ToDesk {
        let answer_by = Mono::from_millis(3000);
        ToDesk::WantSeat { call: CallKey(call), want: CallWant { group: GroupId(0), answer_by, skills, avoid } }
    }

    fn reserved(desk: &mut Desk) -> Vec<(u64, u32)> {
        let seat = |output| match output {
            Output::Shard(ToShard::SeatReserved { call, seat, .. }) => Some((call.0, seat.0)),
            _ => None,
        };
        std::iter::from_fn(|| desk.poll_output()).filter_map(seat).collect()
    }

    #[test]
    fn a_call_whose_reserved_seat_has_no_phone_asks_again_for_what_it_wanted() {
        let mut desk = desk(3);
        let now = Mono(0) + MS;
        (0..3).for_each(|n| desk.handle(now, registered(n, false)));
        // The seat that has the skill is free and its telephone is not known any more.
        desk.bindings.remove("1002");
        desk.handle(now, want(7, 1 << 2, vec![SeatId(0)]));
        assert_eq!(reserved(&mut desk), [(7, 1)], "neither the one without a telephone nor the one to be avoided");
        // It is signed off, and offered again once it is there.
        desk.handle(now, want(8, 1 << 2, Vec::new()));
        assert_eq!(reserved(&mut desk), [(8, 0)]);
        desk.handle(now, want(9, 1 << 2, Vec::new()));
        assert_eq!(reserved(&mut desk), []);
        desk.handle(now, registered(2, false));
        assert_eq!(reserved(&mut desk), [(9, 2)]);
    }

    #[test]
    fn a_binding_of_before_a_restart_that_does_not_answer_is_dropped_until_its_phone_registers() {
        let mut desk = desk(1);
        let now = Mono(0) + MS;
        desk.handle(now, registered(0, true));
        desk.handle(now, want(7, 0, Vec::new()));
        assert_eq!(reserved(&mut desk), [(7, 0)]);
        desk.handle(now, ToDesk::ReleaseSeat { call: CallKey(7), seat: SeatId(0), outcome: Outcome::NotReached });
        let forgotten = std::iter::from_fn(|| desk.poll_output())
            .any(|output| matches!(output, Output::Shard(ToShard::ForgetBinding { user }) if user == "1000"));
        assert!(forgotten);
        desk.handle(now, want(8, 0, Vec::new()));
        assert_eq!(reserved(&mut desk), [], "nobody is believed to be there");
        desk.handle(now, registered(0, false));
        assert_eq!(reserved(&mut desk), [(8, 0)]);
    }
}
