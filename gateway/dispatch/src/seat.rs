//! Seats and those who wait for one: signed in, reserved once, wrapped up, given to the earliest deadline.

mod slots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use codecs::record::AlertNo;
use codecs::time::Mono;

pub use slots::{Class, Presence, SlotOutput, SlotRule, Slots, Want};

use crate::CallKey;

/// How long a seat that was not reached stands behind the others.
const DOUBT: Duration = Duration::from_secs(10);
/// A seat that was at fault in two calls in a row rests this long, and longer with each further one: its phone is
/// probably gone, and every call that tries it first loses a second. Whatever failed it in one call may be the call's.
const REST: Duration = Duration::from_secs(5);
const REST_MAX: Duration = Duration::from_secs(20);
const FAULTS_BEFORE_REST: usize = 2;

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
    /// It was asked and nobody was heard there, or it dropped the call. Whose fault it was is not known yet.
    NotReached,
    /// The call was over, or another seat was quicker.
    Unused,
}

/// What a call wants of a seat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallWant {
    pub group: GroupId,
    pub answer_by: Mono,
    /// One that has all of these is taken before one that has not; nobody waits for a skill.
    pub skills: u32,
    /// Seats that failed this call: taken again only when no other is free.
    pub avoid: Vec<SeatId>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// With what the call wanted, should the seat turn out not to be there.
    Reserved {
        call: CallKey,
        seat: SeatId,
        overflow: bool,
        want: CallWant,
    },
    Conversation(SlotOutput),
}

/// Idle seats in the order in which they are taken: preferred first, then longest idle.
type Idle = BTreeSet<(bool, Mono, SeatId)>;

pub struct SeatPool {
    groups: Vec<Group>,
    seats: Vec<Seat>,
    states: Vec<SeatState>,
    /// Calls in a row in which a seat was at fault.
    faults: Vec<Vec<CallKey>>,
    /// Until when seats that were just not reached, by whosever fault, are asked after those that were.
    doubted: Vec<Mono>,
    idle: Vec<Idle>,
    away: BTreeSet<(Mono, SeatId)>,
    /// Earliest deadline first; the second part keeps arrivals of one instant in order.
    waiting: BTreeMap<(Mono, CallKey), CallWant>,
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
            faults: vec![Vec::new(); seats.len()],
            doubted: vec![Mono(0); seats.len()],
            states: vec![SeatState::SignedOff; seats.len()],
            groups,
            seats,
            away: BTreeSet::new(),
            waiting: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    pub fn sign_on(&mut self, now: Mono, seat: SeatId) {
        self.doubted[seat.0 as usize] = Mono(0);
        match &mut self.states[seat.0 as usize] {
            SeatState::SignedOff => {
                self.faults[seat.0 as usize].clear();
                self.free(now, seat);
            }
            SeatState::Taken { signed_on, .. } => {
                *signed_on = true;
                self.slots.set_presence(now, seat, Presence::InCall);
            }
            // A phone that registers anew while it rests is there again; wrap-up is not cut short.
            SeatState::Away { until } if !self.faults[seat.0 as usize].is_empty() => {
                let until = *until;
                self.away.remove(&(until, seat));
                self.faults[seat.0 as usize].clear();
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

    /// Whether somebody has the seat's page open: they hold conversations, with no telephone too.
    pub fn set_at_page(&mut self, now: Mono, seat: SeatId, here: bool) {
        self.slots.set_at_page(now, seat, here);
    }

    /// A call wants a seat. `Reserved` follows, at once or when one is free. Asked again, it is no second wish.
    pub fn want(&mut self, now: Mono, call: CallKey, want: CallWant) {
        self.unwant(call);
        self.waiting.insert((want.answer_by, call), want);
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
        match outcome {
            Outcome::Talked => self.doubted[seat.0 as usize] = Mono(0),
            Outcome::NotReached => self.doubted[seat.0 as usize] = now + DOUBT,
            Outcome::Unused => {}
        }
        if !signed_on {
            *state = SeatState::SignedOff;
            return;
        }
        let wrap_up = self.groups[self.seats[seat.0 as usize].group.0 as usize].wrap_up;
        if outcome == Outcome::Talked {
            self.faults[seat.0 as usize].clear();
        }
        if outcome == Outcome::Talked && !wrap_up.is_zero() {
            self.leave(now, seat, wrap_up, Presence::Away);
        } else {
            self.free(now, seat);
        }
    }

    /// Another seat has taken the call that this one failed: it was at fault. Twice, in different calls and with none
    /// between that it took, and it rests.
    pub fn charge(&mut self, now: Mono, call: CallKey, seat: SeatId) {
        let faults = &mut self.faults[seat.0 as usize];
        if faults.contains(&call) {
            return;
        }
        faults.push(call);
        let beyond = faults.len().saturating_sub(FAULTS_BEFORE_REST);
        if faults.len() < FAULTS_BEFORE_REST {
            return;
        }
        if let SeatState::Idle { since } = self.states[seat.0 as usize] {
            let rank = !self.seats[seat.0 as usize].preferred;
            self.idle_of(seat).remove(&(rank, since, seat));
            // Who fails call after call is probably not there for messages either.
            self.leave(now, seat, (REST * (1 << beyond.min(4))).min(REST_MAX), Presence::Off);
        }
    }

    fn leave(&mut self, now: Mono, seat: SeatId, away: Duration, presence: Presence) {
        self.states[seat.0 as usize] = SeatState::Away { until: now + away };
        self.away.insert((now + away, seat));
        self.slots.set_presence(now, seat, presence);
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

    /// Takes the best idle seat of a group: one that has not failed this call, nor another one just now, with the
    /// skills, with nothing unread, preferred, longest idle.
    fn pop_idle(&mut self, now: Mono, group: GroupId, want: &CallWant) -> Option<(bool, Mono, SeatId)> {
        let rank = |(_, _, s): &&(bool, Mono, SeatId)| {
            let unskilled = self.seats[s.0 as usize].skills & want.skills != want.skills;
            (want.avoid.contains(s), self.doubted[s.0 as usize] > now, unskilled, self.slots.is_reading(*s))
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
        let mut left = BTreeMap::new();
        while let Some((key, want)) = self.waiting.pop_first() {
            if self.idle.iter().all(BTreeSet::is_empty) {
                left.insert(key, want);
                break;
            }
            let overflow = self.groups[want.group.0 as usize].overflow;
            let (found, over) = match self.pop_idle(now, want.group, &want) {
                Some(seat) => (Some(seat), false),
                None => (overflow.and_then(|g| self.pop_idle(now, g, &want)), true),
            };
            let Some((_, _, seat)) = found else {
                left.insert(key, want);
                continue;
            };
            assert!(matches!(self.states[seat.0 as usize], SeatState::Idle { .. }), "an idle list holds idle seats");
            self.states[seat.0 as usize] = SeatState::Taken { call: key.1, signed_on: true };
            self.outputs.push_back(Output::Reserved { call: key.1, seat, overflow: over, want });
            self.slots.set_presence(now, seat, Presence::InCall);
        }
        self.waiting.append(&mut left);
    }

    /// Free seats of all groups.
    pub fn idle(&self) -> usize {
        self.idle.iter().map(BTreeSet::len).sum()
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
        self.waiting.iter().map(|(&(by, call), want)| (call, want.group, by))
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
    fn want(by: u64, avoid: &[u32]) -> CallWant {
        let avoid = avoid.iter().map(|s| SeatId(*s)).collect();
        CallWant { group: GroupId(0), answer_by: at(by), skills: 0, avoid }
    }
    fn reserved(p: &mut SeatPool) -> Vec<(u64, u32, bool)> {
        std::iter::from_fn(|| p.poll_output())
            .filter_map(|o| match o {
                Output::Reserved { call, seat, overflow, .. } => Some((call.0, seat.0, overflow)),
                Output::Conversation(_) => None,
            })
            .collect()
    }

    #[test]
    fn a_seat_that_was_just_not_reached_is_asked_after_those_that_were() {
        let mut p = pool();
        (0..3).for_each(|seat| p.sign_on(at(0), SeatId(seat)));
        p.want(at(1), CallKey(1), want(3000, &[]));
        assert_eq!(reserved(&mut p), [(1, 2, false)], "the preferred one");
        p.release(at(1000), CallKey(1), SeatId(2), Outcome::NotReached);
        (2..5).for_each(|call| p.want(at(1001), CallKey(call), want(4000, &[])));
        assert_eq!(
            reserved(&mut p),
            [(2, 0, false), (3, 1, false), (4, 2, false)],
            "nobody waits for it to be trusted"
        );
        p.release(at(2000), CallKey(4), SeatId(2), Outcome::Unused);
        p.release(at(2001), CallKey(3), SeatId(1), Outcome::Unused);
        p.want(at(10_999), CallKey(6), want(14_000, &[]));
        assert_eq!(reserved(&mut p), [(6, 1, false)]);
        p.want(at(11_000), CallKey(7), want(14_000, &[]));
        assert_eq!(reserved(&mut p), [(7, 2, false)]);
    }

    #[test]
    fn the_preferred_seat_then_the_longest_idle_then_the_overflow_group_is_taken() {
        let mut p = pool();
        for (ms, seat) in [(2, 0), (1, 1), (3, 2), (4, 3)] {
            p.sign_on(at(ms), SeatId(seat));
        }
        for call in 0..4 {
            p.want(at(0), CallKey(call), want(3000, &[]));
        }
        assert_eq!(reserved(&mut p), [(0, 2, false), (1, 1, false), (2, 0, false), (3, 3, true)]);
    }

    #[test]
    fn the_earliest_deadline_gets_the_next_free_seat() {
        let mut p = pool();
        p.want(at(0), CallKey(1), want(5000, &[]));
        p.want(at(0), CallKey(2), want(4000, &[]));
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
        let wish = Want { group: GroupId(0), class: Class::Sms, by: at(3000), prefer: None, skills: 0 };
        p.want_conversation(at(2), AlertNo::LOWEST, wish);
        let Some(Output::Conversation(SlotOutput::Given { seat, .. })) = p.poll_output() else { panic!("given") };
        assert_eq!(seat, SeatId(0));
        p.want(at(3), CallKey(1), want(3000, &[]));
        assert_eq!(reserved(&mut p), [(1, 1, false)]);
        p.want(at(4), CallKey(2), want(3000, &[]));
        assert_eq!(reserved(&mut p), [(2, 0, false)], "a message never makes a call wait");
    }

    #[test]
    fn a_seat_is_never_reserved_twice() {
        let mut p = pool();
        p.sign_on(at(0), SeatId(0));
        for call in 0..5 {
            p.want(at(0), CallKey(call), want(3000, &[]));
        }
        p.sign_on(at(1), SeatId(0));
        assert_eq!(reserved(&mut p).len(), 1);
    }

    #[test]
    fn a_seat_signed_off_is_not_chosen() {
        let mut p = pool();
        p.sign_on(at(0), SeatId(0));
        p.sign_off(at(0), SeatId(0));
        p.want(at(0), CallKey(1), want(3000, &[]));
        assert_eq!(reserved(&mut p), []);
        p.unwant(CallKey(1));
        p.sign_on(at(60_001), SeatId(0));
        assert_eq!(reserved(&mut p), []);
    }

    #[test]
    fn a_seat_that_failed_a_call_is_free_for_others_and_gets_that_call_again_only_when_no_other_is() {
        let mut p = pool();
        p.sign_on(at(0), SeatId(0));
        p.sign_on(at(1), SeatId(1));
        p.want(at(2), CallKey(1), want(3000, &[]));
        assert_eq!(reserved(&mut p), [(1, 0, false)]);
        p.release(at(1000), CallKey(1), SeatId(0), Outcome::NotReached);
        p.want(at(1000), CallKey(1), want(3000, &[0]));
        assert_eq!(reserved(&mut p), [(1, 1, false)]);
        p.release(at(2000), CallKey(1), SeatId(1), Outcome::NotReached);
        p.want(at(2000), CallKey(1), want(3000, &[0, 1]));
        assert_eq!(reserved(&mut p), [(1, 0, false)], "nobody else is there");
        p.want(at(2001), CallKey(2), want(5000, &[]));
        assert_eq!(reserved(&mut p), [(2, 1, false)], "nobody rests for what one call did");
    }

    #[test]
    fn a_seat_rests_after_faults_in_two_calls_shortly_and_until_it_registers_anew() {
        let mut p = pool();
        p.sign_on(at(0), SeatId(0));
        let fail = |p: &mut SeatPool, call, ms| {
            p.want(at(ms), CallKey(call), want(ms, &[]));
            reserved(p);
            p.release(at(ms), CallKey(call), SeatId(0), Outcome::NotReached);
            p.charge(at(ms), CallKey(call), SeatId(0));
            p.charge(at(ms), CallKey(call), SeatId(0));
        };
        fail(&mut p, 1, 10);
        assert!(matches!(p.state(SeatId(0)), SeatState::Idle { .. }), "once may have been the call's fault");
        fail(&mut p, 2, 20);
        assert_eq!(p.state(SeatId(0)), SeatState::Away { until: at(5020) });
        for call in 3..9 {
            p.handle_timeout(at(call * 100_000));
            fail(&mut p, call, call * 100_000);
        }
        assert_eq!(p.state(SeatId(0)), SeatState::Away { until: at(820_000) }, "twenty seconds at the most");
        p.sign_on(at(800_001), SeatId(0));
        assert_eq!(p.state(SeatId(0)), SeatState::Idle { since: at(800_001) });
        fail(&mut p, 10, 800_002);
        assert!(matches!(p.state(SeatId(0)), SeatState::Idle { .. }), "what was before is forgotten");
    }

    #[test]
    fn a_phone_that_registers_anew_in_a_call_is_not_offered_another() {
        let mut p = pool();
        p.sign_on(at(0), SeatId(0));
        p.want(at(0), CallKey(1), want(3000, &[]));
        reserved(&mut p);
        p.sign_off(at(0), SeatId(0));
        p.sign_on(at(5), SeatId(0));
        p.want(at(0), CallKey(2), want(3000, &[]));
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
