//! Seats and those who wait for one: signed in, reserved once, wrapped up, given to the earliest deadline.

mod slots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use codecs::record::AlertNo;
use codecs::time::Mono;

pub use slots::{Class, Presence, SlotOutput, SlotRule, Slots, Want};

use crate::CallKey;

/// A seat that let a call ring out rests this long, so that the next call does not try it first.
/// With every further miss in a row the rest doubles, up to five minutes: its phone is probably gone.
const REST_AFTER_NO_ANSWER: Duration = Duration::from_secs(5);
const REST_MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeatId(pub u32);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(pub u32);

#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    /// Whose seats are taken when none of ours is free.
    pub overflow: Option<GroupId>,
    pub wrap_up: Duration,
    /// Conversations of each class (in the order of `Class`) that have a place whatever waits above them.
    pub floors: [u32; 4],
    /// A conversation without a first line after this goes to another seat.
    pub conversation_answers_within: Duration,
}

#[derive(Clone, Debug)]
pub struct Seat {
    pub id: String,
    pub name: String,
    pub group: GroupId,
    /// Taken before any seat without it.
    pub preferred: bool,
    /// One bit a skill: dialect, sign language, … .
    pub skills: u32,
    /// Conversations at one time, beside one call.
    pub max_threads: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeatState {
    SignedOff,
    Idle {
        since: Mono,
    },
    /// Chosen for a call, or talking.
    Taken {
        call: CallKey,
        signed_on: bool,
    },
    /// Wrapping up, or resting after a call that it did not pick up.
    Away {
        until: Mono,
    },
}

/// How a seat's part in a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Talked,
    NoAnswer,
    /// The call was over before the seat could be asked.
    Unused,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    Reserved { call: CallKey, seat: SeatId, overflow: bool },
    Conversation(SlotOutput),
}

/// Idle seats in the order in which they are taken: preferred first, then longest idle.
type Idle = BTreeSet<(bool, Mono, SeatId)>;

pub struct SeatPool {
    groups: Vec<Group>,
    seats: Vec<Seat>,
    states: Vec<SeatState>,
    /// Calls not picked up in a row.
    misses: Vec<u32>,
    idle: Vec<Idle>,
    away: BTreeSet<(Mono, SeatId)>,
    /// Earliest deadline first; the second part keeps arrivals of one instant in order.
    waiting: BTreeMap<(Mono, CallKey), (GroupId, u32)>,
    slots: Slots,
    outputs: VecDeque<Output>,
}

impl SeatPool {
    pub fn new(groups: Vec<Group>, seats: Vec<Seat>) -> SeatPool {
        assert!(seats.iter().all(|s| (s.group.0 as usize) < groups.len()), "every seat's group exists");
        let rules = groups.iter().map(|g| SlotRule {
            overflow: g.overflow,
            floors: g.floors,
            answers_within: g.conversation_answers_within,
        });
        SeatPool {
            slots: Slots::new(rules.collect(), seats.iter().map(|s| (s.group, s.skills, s.max_threads))),
            idle: vec![Idle::new(); groups.len()],
            misses: vec![0; seats.len()],
            states: vec![SeatState::SignedOff; seats.len()],
            groups,
            seats,
            away: BTreeSet::new(),
            waiting: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    pub fn sign_on(&mut self, now: Mono, seat: SeatId) {
        match &mut self.states[seat.0 as usize] {
            SeatState::SignedOff => {
                self.misses[seat.0 as usize] = 0;
                self.free(now, seat);
            }
            SeatState::Taken { signed_on, .. } => {
                *signed_on = true;
                self.slots.set_presence(now, seat, Presence::InCall);
            }
            // A phone that registers anew after calls it did not pick up is there again; wrap-up is not cut short.
            SeatState::Away { until } if self.misses[seat.0 as usize] > 0 => {
                let until = *until;
                self.away.remove(&(until, seat));
                self.free(now, seat);
            }
            SeatState::Idle { .. } | SeatState::Away { .. } => {}
        }
    }

    /// The seat's phone is gone. A call it is in goes on until its leg ends, and the seat is that call's until then.
    pub fn sign_off(&mut self, now: Mono, seat: SeatId) {
        self.slots.set_presence(now, seat, Presence::Off);
        match self.states[seat.0 as usize] {
            SeatState::Idle { since } => {
                let rank = !self.seats[seat.0 as usize].preferred;
                self.idle_of(seat).remove(&(rank, since, seat));
            }
            SeatState::Away { until } => {
                self.away.remove(&(until, seat));
            }
            SeatState::Taken { call, .. } => {
                self.states[seat.0 as usize] = SeatState::Taken { call, signed_on: false };
            }
            SeatState::SignedOff => {}
        }
        if !matches!(self.states[seat.0 as usize], SeatState::Taken { .. }) {
            self.states[seat.0 as usize] = SeatState::SignedOff;
        }
    }

    /// A call wants a seat of `group` by `answer_by`. `Reserved` follows, at once or when one is free.
    /// One that has all of `skills` is taken before one that has not; nobody waits for a skill.
    pub fn want(&mut self, now: Mono, call: CallKey, group: GroupId, answer_by: Mono, skills: u32) {
        self.waiting.insert((answer_by, call), (group, skills));
        self.match_waiting(now);
    }

    /// The call wants no seat any more.
    pub fn unwant(&mut self, call: CallKey) {
        self.waiting.retain(|(_, c), _| *c != call);
    }

    /// Gives a seat back; only the call that has it can.
    pub fn release(&mut self, now: Mono, call: CallKey, seat: SeatId, outcome: Outcome) {
        let state = &mut self.states[seat.0 as usize];
        let SeatState::Taken { call: holder, signed_on } = *state else { return };
        if holder != call {
            return;
        }
        if !signed_on {
            *state = SeatState::SignedOff;
            return;
        }
        let wrap_up = self.groups[self.seats[seat.0 as usize].group.0 as usize].wrap_up;
        let away = match outcome {
            Outcome::Talked => wrap_up,
            Outcome::NoAnswer => (REST_AFTER_NO_ANSWER * (1 << self.misses[seat.0 as usize].min(6))).min(REST_MAX),
            Outcome::Unused => Duration::ZERO,
        };
        match outcome {
            Outcome::Talked => self.misses[seat.0 as usize] = 0,
            Outcome::NoAnswer => self.misses[seat.0 as usize] += 1,
            Outcome::Unused => {}
        }
        if away.is_zero() {
            self.free(now, seat);
        } else {
            *state = SeatState::Away { until: now + away };
            self.away.insert((now + away, seat));
            // Who let a call ring out is probably not there; who writes up a call is.
            let presence = if outcome == Outcome::NoAnswer { Presence::Off } else { Presence::Away };
            self.slots.set_presence(now, seat, presence);
        }
    }

    /// Gives back every seat that a failed call held.
    pub fn release_call(&mut self, now: Mono, call: CallKey) {
        let held = |s: &SeatState| matches!(s, SeatState::Taken { call: holder, .. } if *holder == call);
        while let Some(seat) = self.states.iter().position(held) {
            self.release(now, call, SeatId(seat as u32), Outcome::Unused);
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        while let Some(&(until, seat)) = self.away.first()
            && until <= now
        {
            self.away.pop_first();
            self.free(now, seat);
        }
        self.slots.handle_timeout(now);
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let wrap_up = self.away.first().map(|&(until, _)| (until, "seat wrap-up"));
        let overdue = self.slots.poll_timeout().map(|at| (at, "conversation unanswered"));
        [wrap_up, overdue].into_iter().flatten().min()
    }

    /// A conversation wants a taker; `Conversation(Given)` follows, at once or when there is a place.
    pub fn want_conversation(&mut self, now: Mono, alert: AlertNo, want: Want) {
        self.slots.want(now, alert, want);
    }

    /// A human has given the conversation its first line.
    pub fn conversation_answered(&mut self, alert: AlertNo) {
        self.slots.answered(alert);
    }

    pub fn release_conversation(&mut self, now: Mono, alert: AlertNo) {
        self.slots.release(now, alert);
    }

    /// Conversations held, and those that wait for a place.
    pub fn conversations(&self) -> (usize, usize) {
        self.slots.counts()
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| self.slots.poll_output().map(Output::Conversation))
    }

    fn free(&mut self, now: Mono, seat: SeatId) {
        self.states[seat.0 as usize] = SeatState::Idle { since: now };
        let rank = !self.seats[seat.0 as usize].preferred;
        self.idle_of(seat).insert((rank, now, seat));
        self.match_waiting(now);
        if matches!(self.states[seat.0 as usize], SeatState::Idle { .. }) {
            self.slots.set_presence(now, seat, Presence::Idle);
        }
    }

    /// Takes the best idle seat of a group: with the skills, with nothing unread, preferred, longest idle.
    fn pop_idle(&mut self, group: GroupId, skills: u32) -> Option<(bool, Mono, SeatId)> {
        let rank = |(_, _, s): &&(bool, Mono, SeatId)| {
            (self.seats[s.0 as usize].skills & skills != skills, self.slots.is_reading(*s))
        };
        let best = *self.idle[group.0 as usize].iter().min_by_key(rank)?;
        self.idle[group.0 as usize].remove(&best);
        Some(best)
    }

    fn idle_of(&mut self, seat: SeatId) -> &mut Idle {
        &mut self.idle[self.seats[seat.0 as usize].group.0 as usize]
    }

    /// Gives free seats to waiting calls, earliest deadline first; a group's own calls before those overflowing.
    fn match_waiting(&mut self, now: Mono) {
        let mut matched = Vec::new();
        let waiting: Vec<_> = self.waiting.iter().map(|(k, v)| (*k, *v)).collect();
        for (key, (group, skills)) in waiting {
            if self.idle.iter().all(BTreeSet::is_empty) {
                break;
            }
            let overflow = self.groups[group.0 as usize].overflow;
            let (found, over) = match self.pop_idle(group, skills) {
                Some(seat) => (Some(seat), false),
                None => (overflow.and_then(|g| self.pop_idle(g, skills)), true),
            };
            let Some((_, _, seat)) = found else { continue };
            assert!(matches!(self.states[seat.0 as usize], SeatState::Idle { .. }), "an idle list holds idle seats");
            self.states[seat.0 as usize] = SeatState::Taken { call: key.1, signed_on: true };
            self.outputs.push_back(Output::Reserved { call: key.1, seat, overflow: over });
            self.slots.set_presence(now, seat, Presence::InCall);
            matched.push(key);
        }
        for key in matched {
            self.waiting.remove(&key);
        }
    }

    pub fn seat(&self, seat: SeatId) -> &Seat {
        &self.seats[seat.0 as usize]
    }
    pub fn state(&self, seat: SeatId) -> SeatState {
        self.states[seat.0 as usize]
    }
    pub fn find(&self, id: &str) -> Option<SeatId> {
        self.seats.iter().position(|s| s.id == id).map(|i| SeatId(i as u32))
    }
    pub fn find_group(&self, name: &str) -> Option<GroupId> {
        self.groups.iter().position(|g| g.name == name).map(|i| GroupId(i as u32))
    }
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
    pub fn seats(&self) -> impl Iterator<Item = (SeatId, &Seat, SeatState)> {
        self.seats.iter().zip(&self.states).enumerate().map(|(i, (s, st))| (SeatId(i as u32), s, *st))
    }
    /// How many wait for each group, and the earliest deadline among them.
    pub fn waiting(&self) -> impl Iterator<Item = (CallKey, GroupId, Mono)> {
        self.waiting.iter().map(|(&(by, call), &(group, _))| (call, group, by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> SeatPool {
        let group = |name: &str, overflow| Group {
            name: name.into(),
            overflow,
            wrap_up: Duration::from_secs(10),
            floors: [0; 4],
            conversation_answers_within: Duration::from_secs(8),
        };
        let seat = |id: &str, group, preferred| Seat {
            id: id.into(),
            name: String::new(),
            group: GroupId(group),
            preferred,
            skills: 0,
            max_threads: 2,
        };
        SeatPool::new(
            vec![group("main", Some(GroupId(1))), group("reserve", None)],
            vec![seat("a", 0, false), seat("b", 0, false), seat("p", 0, true), seat("r", 1, false)],
        )
    }
    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }
    fn reserved(p: &mut SeatPool) -> Vec<(u64, u32, bool)> {
        std::iter::from_fn(|| p.poll_output())
            .filter_map(|o| match o {
                Output::Reserved { call, seat, overflow } => Some((call.0, seat.0, overflow)),
                Output::Conversation(_) => None,
            })
            .collect()
    }

    #[test]
    fn the_preferred_seat_then_the_longest_idle_then_the_overflow_group_is_taken() {
        let mut p = pool();
        for (ms, seat) in [(2, 0), (1, 1), (3, 2), (4, 3)] {
            p.sign_on(at(ms), SeatId(seat));
        }
        for call in 0..4 {
            p.want(at(0), CallKey(call), GroupId(0), at(3000), 0);
        }
        assert_eq!(reserved(&mut p), [(0, 2, false), (1, 1, false), (2, 0, false), (3, 3, true)]);
    }

    #[test]
    fn the_earliest_deadline_gets_the_next_free_seat() {
        let mut p = pool();
        p.want(at(0), CallKey(1), GroupId(0), at(5000), 0);
        p.want(at(0), CallKey(2), GroupId(0), at(4000), 0);
        p.sign_on(at(10), SeatId(0));
        assert_eq!(reserved(&mut p), [(2, 0, false)]);
        p.release(at(20), CallKey(2), SeatId(0), Outcome::Talked);
        assert_eq!(p.poll_timeout(), Some((at(10_020), "seat wrap-up")));
        p.handle_timeout(at(10_020));
        assert_eq!(reserved(&mut p), [(1, 0, false)]);
    }

    #[test]
    fn a_call_is_given_to_a_seat_that_is_reading_only_when_no_other_is_free() {
        let mut p = pool();
        p.sign_on(at(0), SeatId(0));
        p.sign_on(at(1), SeatId(1));
        let want = Want { group: GroupId(0), class: Class::Sms, by: at(3000), prefer: None, skills: 0 };
        p.want_conversation(at(2), AlertNo::LOWEST, want);
        let Some(Output::Conversation(SlotOutput::Given { seat, .. })) = p.poll_output() else { panic!("given") };
        assert_eq!(seat, SeatId(0));
        p.want(at(3), CallKey(1), GroupId(0), at(3000), 0);
        assert_eq!(reserved(&mut p), [(1, 1, false)]);
        p.want(at(4), CallKey(2), GroupId(0), at(3000), 0);
        assert_eq!(reserved(&mut p), [(2, 0, false)], "a message never makes a call wait");
    }

    #[test]
    fn a_seat_is_never_reserved_twice() {
        let mut p = pool();
        p.sign_on(at(0), SeatId(0));
        for call in 0..5 {
            p.want(at(0), CallKey(call), GroupId(0), at(3000), 0);
        }
        p.sign_on(at(1), SeatId(0));
        assert_eq!(reserved(&mut p).len(), 1);
    }

    #[test]
    fn a_seat_that_does_not_answer_rests_and_one_signed_off_is_not_chosen() {
        let mut p = pool();
        p.sign_on(at(0), SeatId(0));
        p.want(at(0), CallKey(1), GroupId(0), at(3000), 0);
        reserved(&mut p);
        p.release(at(1000), CallKey(1), SeatId(0), Outcome::NoAnswer);
        p.want(at(0), CallKey(1), GroupId(0), at(3000), 0);
        assert_eq!(reserved(&mut p), []);
        p.sign_off(at(0), SeatId(0));
        p.handle_timeout(at(60_000));
        assert_eq!(reserved(&mut p), []);
        p.unwant(CallKey(1));
        p.sign_on(at(60_001), SeatId(0));
        assert_eq!(reserved(&mut p), []);
    }

    #[test]
    fn a_phone_that_registers_anew_in_a_call_is_not_offered_another() {
        let mut p = pool();
        p.sign_on(at(0), SeatId(0));
        p.want(at(0), CallKey(1), GroupId(0), at(3000), 0);
        reserved(&mut p);
        p.sign_off(at(0), SeatId(0));
        p.sign_on(at(5), SeatId(0));
        p.want(at(0), CallKey(2), GroupId(0), at(3000), 0);
        assert_eq!(reserved(&mut p), []);
        p.release(at(6), CallKey(9), SeatId(0), Outcome::Unused);
        assert_eq!(reserved(&mut p), [], "only its own call gives it back");
        p.release(at(7), CallKey(1), SeatId(0), Outcome::Unused);
        assert_eq!(reserved(&mut p), [(2, 0, false)]);
        p.sign_off(at(0), SeatId(0));
        p.release(at(8), CallKey(2), SeatId(0), Outcome::Talked);
        assert_eq!(p.state(SeatId(0)), SeatState::SignedOff);
    }
}
