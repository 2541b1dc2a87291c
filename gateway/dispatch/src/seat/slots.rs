//! Conversations at seats: who holds which, who waits, and who goes first when there are too many.
//!
//! A conversation never makes a seat unavailable for a call, so no call can miss because of a message: a call takes
//! the seat, and conversations there whose first line is still owed move to a seat that is not in a call, if there is
//! one. Among conversations, whoever finds a free place gets it at once; when none is free, the order is that of
//! `Class`, then the earliest deadline, except that a class below its floor goes before all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use codecs::record::{AlertNo, Channel};
use codecs::time::Mono;

use super::{GroupId, SeatId};

/// The order under overload; voice is above all but danger to life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// A word of danger to life.
    LifeThreat,
    /// Somebody who must not be heard.
    Silent,
    Sms,
    Other,
}

impl Class {
    pub const ALL: [Class; 4] = [Class::LifeThreat, Class::Silent, Class::Sms, Class::Other];

    /// Of a report in writing (decision 2): danger to life, those who must not be heard, SMS, everything else.
    pub fn in_writing(channel: Channel, is_danger: bool, is_silent: bool) -> Class {
        match (is_danger, is_silent, channel) {
            (true, ..) => Class::LifeThreat,
            (_, true, _) => Class::Silent,
            (.., Channel::Sms12110 | Channel::SipMessage) => Class::Sms,
            _ => Class::Other,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Class::LifeThreat => "life_threat",
            Class::Silent => "silent",
            Class::Sms => "sms",
            Class::Other => "other",
        }
    }
}

/// What a conversation asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    pub group: GroupId,
    pub class: Class,
    pub by: Mono,
    /// The seat that has the same person's call, or had the conversation before.
    pub prefer: Option<SeatId>,
    /// A skill that the taker should have; bits as in `Seat::skills`.
    pub skills: u32,
}

/// What a seat is doing besides conversations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Presence {
    Idle,
    Away,
    InCall,
    /// Nobody there.
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotOutput {
    Given {
        alert: AlertNo,
        seat: SeatId,
        overflow: bool,
    },
    /// Taken back from a seat: its taker left, is in a call, or did not answer.
    TakenBack {
        alert: AlertNo,
        seat: SeatId,
    },
}

/// What the slots need to know of a group.
#[derive(Clone, Debug)]
pub struct SlotRule {
    pub overflow: Option<GroupId>,
    /// Conversations of each class that have a place whatever waits above them.
    pub floors: [u32; 4],
    /// A conversation without a first line after this goes to another seat.
    pub answers_within: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    seat: SeatId,
    want: Want,
    given: Mono,
    answered: bool,
}

struct Place {
    group: GroupId,
    skills: u32,
    max: usize,
    /// What its telephone says.
    phone: Presence,
    /// Somebody has the seat's page open: they hold conversations with no telephone too.
    at_page: bool,
    held: BTreeSet<AlertNo>,
    /// Conversations here whose first line is owed.
    unread: usize,
}

impl Place {
    /// Whoever is at the page is there, telephone or not.
    fn presence(&self) -> Presence {
        if self.at_page && self.phone == Presence::Off { Presence::Away } else { self.phone }
    }
}

type Queue = BTreeMap<(Class, Mono, AlertNo), Want>;

pub struct Slots {
    rules: Vec<SlotRule>,
    places: Vec<Place>,
    held: BTreeMap<AlertNo, Held>,
    waiting: Vec<Queue>,
    waits: BTreeMap<AlertNo, Want>,
    /// Conversations to be given to another seat at that time.
    overdue: BTreeSet<(Mono, AlertNo)>,
    held_by_class: Vec<[u32; 4]>,
    outputs: VecDeque<SlotOutput>,
}

impl Slots {
    pub fn new(rules: Vec<SlotRule>, seats: impl Iterator<Item = (GroupId, u32, usize)>) -> Slots {
        let place = |(group, skills, max)| Place {
            group,
            skills,
            max,
            phone: Presence::Off,
            at_page: false,
            held: BTreeSet::new(),
            unread: 0,
        };
        Slots {
            waiting: vec![Queue::new(); rules.len()],
            held_by_class: vec![[0; 4]; rules.len()],
            rules,
            places: seats.map(place).collect(),
            held: BTreeMap::new(),
            waits: BTreeMap::new(),
            overdue: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    pub fn poll_output(&mut self) -> Option<SlotOutput> {
        self.outputs.pop_front()
    }

    /// A conversation wants a taker. Asked again, it is no second one: what is known of it is renewed.
    pub fn want(&mut self, now: Mono, alert: AlertNo, want: Want) {
        if self.held.contains_key(&alert) {
            return;
        }
        self.unwait(alert);
        match self.choose(&want, None) {
            Some((seat, overflow)) => self.give(now, alert, want, seat, overflow),
            None => self.wait(alert, want),
        }
    }

    /// The first line has been given.
    pub fn answered(&mut self, alert: AlertNo) {
        let Some(held) = self.held.get_mut(&alert).filter(|h| !h.answered) else { return };
        held.answered = true;
        let (seat, due) = (held.seat, held.given + self.rules[held.want.group.0 as usize].answers_within);
        self.overdue.remove(&(due, alert));
        self.places[seat.0 as usize].unread -= 1;
    }

    /// The conversation is over, or its taker has put it down.
    pub fn release(&mut self, now: Mono, alert: AlertNo) {
        self.unwait(alert);
        if let Some(seat) = self.drop_held(alert) {
            self.fill(now, seat);
        }
    }

    pub fn holder(&self, alert: AlertNo) -> Option<SeatId> {
        self.held.get(&alert).map(|h| h.seat)
    }

    pub fn held(&self, seat: SeatId) -> impl Iterator<Item = AlertNo> {
        self.places[seat.0 as usize].held.iter().copied()
    }

    /// Whether a taker there has a report to read that nobody has answered.
    pub fn is_reading(&self, seat: SeatId) -> bool {
        self.places[seat.0 as usize].unread > 0
    }

    pub fn counts(&self) -> (usize, usize) {
        (self.held.len(), self.waits.len())
    }

    /// The seat's own state has changed.
    pub fn set_presence(&mut self, now: Mono, seat: SeatId, presence: Presence) {
        self.change(now, seat, |place| place.phone = presence);
    }

    /// Whether somebody has the seat's page open.
    pub fn set_at_page(&mut self, now: Mono, seat: SeatId, here: bool) {
        self.change(now, seat, |place| place.at_page = here);
    }

    fn change(&mut self, now: Mono, seat: SeatId, change: impl FnOnce(&mut Place)) {
        let place = &mut self.places[seat.0 as usize];
        let before = place.presence();
        change(place);
        let presence = place.presence();
        match presence {
            _ if presence == before => {}
            Presence::Off => {
                let all: Vec<AlertNo> = self.held(seat).collect();
                for alert in all {
                    self.take_back(now, alert, |_| true);
                }
            }
            // Their taker has somebody on the line now; a line that is owed can be given by another.
            Presence::InCall => {
                let owed: Vec<AlertNo> = self.held(seat).filter(|a| !self.held[a].answered).collect();
                for alert in owed {
                    self.take_back(now, alert, |p| p.presence() < Presence::InCall);
                }
            }
            Presence::Idle | Presence::Away => self.fill(now, seat),
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        while let Some(&(due, alert)) = self.overdue.first()
            && due <= now
        {
            self.overdue.pop_first();
            let again = self.held.get_mut(&alert).map(|h| {
                h.given = now;
                h.want.group
            });
            let Some(group) = again else { continue };
            self.overdue.insert((now + self.rules[group.0 as usize].answers_within, alert));
            self.take_back(now, alert, |_| true);
        }
    }

    pub fn poll_timeout(&self) -> Option<Mono> {
        self.overdue.first().map(|(due, _)| *due)
    }

    /// Gives a conversation to another seat that `fits`; stays where it is when there is none, unless nobody is there.
    fn take_back(&mut self, now: Mono, alert: AlertNo, fits: impl Fn(&Place) -> bool) {
        let Held { seat, want, answered, .. } = self.held[&alert];
        let want = Want { prefer: None, ..want };
        let to = self.choose_fitting(&want, Some(seat), &fits);
        let gone = self.places[seat.0 as usize].presence() == Presence::Off;
        if to.is_none() && !gone {
            return;
        }
        self.drop_held(alert);
        self.outputs.push_back(SlotOutput::TakenBack { alert, seat });
        match to {
            Some((seat, overflow)) => {
                self.give(now, alert, want, seat, overflow);
                if answered {
                    self.answered(alert);
                }
            }
            None => self.wait(alert, want),
        }
    }

    fn choose(&self, want: &Want, except: Option<SeatId>) -> Option<(SeatId, bool)> {
        if let Some(seat) = want.prefer.filter(|s| self.places[s.0 as usize].presence() != Presence::Off) {
            return Some((seat, false));
        }
        self.choose_fitting(want, except, &|_| true)
    }

    /// The seat for a conversation: own group, then overflow; with the skill first, not in a call first, then whoever
    /// has the least to read and to hold. Danger to life finds a place beyond every limit.
    fn choose_fitting(
        &self,
        want: &Want,
        except: Option<SeatId>,
        fits: &impl Fn(&Place) -> bool,
    ) -> Option<(SeatId, bool)> {
        let overflow = self.rules[want.group.0 as usize].overflow;
        for beyond in [0, usize::from(want.class == Class::LifeThreat)] {
            for (group, over) in [(Some(want.group), false), (overflow, true)] {
                let candidates = self.places.iter().enumerate().filter(|(i, p)| {
                    Some(p.group) == group
                        && p.presence() != Presence::Off
                        && p.held.len() < p.max + beyond
                        && p.max > 0
                        && except != Some(SeatId(*i as u32))
                        && fits(p)
                });
                let rank = |p: &Place| {
                    let (unskilled, presence) = (p.skills & want.skills != want.skills, p.presence());
                    // Whoever sits at a page first: conversations are what they are there for.
                    (unskilled, presence == Presence::InCall, !p.at_page, presence, p.unread, p.held.len())
                };
                if let Some((i, _)) = candidates.min_by_key(|(_, p)| rank(p)) {
                    return Some((SeatId(i as u32), over));
                }
            }
        }
        None
    }

    fn give(&mut self, now: Mono, alert: AlertNo, want: Want, seat: SeatId, overflow: bool) {
        self.held.insert(alert, Held { seat, want, given: now, answered: false });
        let place = &mut self.places[seat.0 as usize];
        place.held.insert(alert);
        place.unread += 1;
        self.held_by_class[want.group.0 as usize][want.class as usize] += 1;
        self.overdue.insert((now + self.rules[want.group.0 as usize].answers_within, alert));
        self.outputs.push_back(SlotOutput::Given { alert, seat, overflow });
    }

    fn drop_held(&mut self, alert: AlertNo) -> Option<SeatId> {
        let held = self.held.remove(&alert)?;
        let rule = &self.rules[held.want.group.0 as usize];
        self.overdue.remove(&(held.given + rule.answers_within, alert));
        let place = &mut self.places[held.seat.0 as usize];
        place.held.remove(&alert);
        place.unread -= usize::from(!held.answered);
        self.held_by_class[held.want.group.0 as usize][held.want.class as usize] -= 1;
        Some(held.seat)
    }

    fn unwait(&mut self, alert: AlertNo) {
        if let Some(want) = self.waits.remove(&alert) {
            self.waiting[want.group.0 as usize].remove(&(want.class, want.by, alert));
        }
    }

    fn wait(&mut self, alert: AlertNo, want: Want) {
        self.waiting[want.group.0 as usize].insert((want.class, want.by, alert), want);
        self.waits.insert(alert, want);
    }

    /// Fills the free places of a seat from those who wait for its group, then from groups that overflow to it.
    fn fill(&mut self, now: Mono, seat: SeatId) {
        loop {
            let place = &self.places[seat.0 as usize];
            if place.presence() == Presence::Off || place.held.len() >= place.max {
                return;
            }
            let own = place.group;
            let others = (0..self.rules.len()).filter(|g| self.rules[*g].overflow == Some(own));
            let next = std::iter::once(own.0 as usize).chain(others).find_map(|g| self.next_waiting(g).map(|k| (g, k)));
            let Some((group, key)) = next else { return };
            let want = self.waiting[group][&key];
            self.unwait(key.2);
            self.give(now, key.2, want, seat, group != own.0 as usize);
        }
    }

    /// A class below its floor first, the lowest of them; else the order of classes, earliest deadline first.
    fn next_waiting(&self, group: usize) -> Option<(Class, Mono, AlertNo)> {
        let queue = &self.waiting[group];
        let first = *queue.keys().next()?;
        let starving = Class::ALL.iter().rev().find_map(|class| {
            let below = self.held_by_class[group][*class as usize] < self.rules[group].floors[*class as usize];
            let from = (*class, Mono(0), AlertNo::LOWEST);
            below.then(|| queue.range(from..).next().map(|(k, _)| *k)).flatten().filter(|k| k.0 == *class)
        });
        Some(starving.unwrap_or(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(serial: u32) -> AlertNo {
        AlertNo::mint("370400000000", 20_261_122, 1, serial)
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn slots(seats: usize, max: usize, floors: [u32; 4]) -> Slots {
        let rule = SlotRule { overflow: None, floors, answers_within: Duration::from_secs(8) };
        let mut s = Slots::new(vec![rule], (0..seats).map(|_| (GroupId(0), 0, max)));
        for seat in 0..seats {
            s.set_presence(at(0), SeatId(seat as u32), Presence::Idle);
        }
        s
    }

    fn want(class: Class, by: u64) -> Want {
        Want { group: GroupId(0), class, by: at(by), prefer: None, skills: 0 }
    }

    fn log(s: &mut Slots) -> Vec<String> {
        std::iter::from_fn(|| s.poll_output())
            .map(|o| match o {
                SlotOutput::Given { alert, seat, .. } => format!("{} to {}", alert.serial(), seat.0),
                SlotOutput::TakenBack { alert, seat } => format!("{} from {}", alert.serial(), seat.0),
            })
            .collect()
    }

    #[test]
    fn conversations_go_to_whoever_has_the_least_to_read() {
        let mut s = slots(2, 2, [0; 4]);
        for n in 1..=5 {
            s.want(at(n.into()), no(n), want(Class::Sms, 3000));
        }
        assert_eq!(log(&mut s), ["1 to 0", "2 to 1", "3 to 0", "4 to 1"]);
        s.answered(no(3));
        s.release(at(10), no(3));
        assert_eq!(log(&mut s), ["5 to 0"]);
    }

    #[test]
    fn when_no_place_is_free_danger_comes_first_then_the_classes_in_order() {
        let mut s = slots(1, 1, [0; 4]);
        s.want(at(0), no(1), want(Class::Other, 3000));
        s.want(at(1), no(2), want(Class::Other, 3001));
        s.want(at(2), no(3), want(Class::Sms, 3002));
        s.want(at(3), no(4), want(Class::Silent, 3003));
        s.want(at(4), no(6), want(Class::Sms, 2000));
        s.want(at(5), no(5), want(Class::LifeThreat, 3004));
        assert_eq!(log(&mut s), ["1 to 0", "5 to 0"], "beyond the limit");
        for n in [1, 5, 4, 6, 3] {
            s.release(at(9), no(n));
        }
        assert_eq!(log(&mut s), ["4 to 0", "6 to 0", "3 to 0", "2 to 0"]);
    }

    #[test]
    fn whoever_is_at_their_page_holds_conversations_without_a_telephone_and_before_others() {
        let mut s = slots(3, 1, [0; 4]);
        s.set_presence(at(0), SeatId(2), Presence::Off);
        s.set_at_page(at(0), SeatId(2), true);
        s.want(at(1), no(1), want(Class::Sms, 3000));
        s.want(at(2), no(2), want(Class::Sms, 3000));
        assert_eq!(log(&mut s), ["1 to 2", "2 to 0"]);
        s.set_at_page(at(3), SeatId(2), false);
        assert_eq!(log(&mut s), ["1 from 2", "1 to 1"], "the page is closed");
        s.set_at_page(at(4), SeatId(0), true);
        s.set_presence(at(5), SeatId(0), Presence::Off);
        assert_eq!(log(&mut s), Vec::<String>::new(), "its telephone is gone, its taker is not");
    }

    #[test]
    fn a_class_below_its_floor_does_not_starve() {
        let mut s = slots(1, 2, [0, 0, 0, 1]);
        for n in 1..=4 {
            s.want(at(0), no(n), want(Class::Sms, 3000));
        }
        s.want(at(0), no(9), want(Class::Other, 9000));
        assert_eq!(log(&mut s), ["1 to 0", "2 to 0"]);
        s.release(at(1), no(1));
        s.release(at(2), no(2));
        assert_eq!(log(&mut s), ["9 to 0", "3 to 0"]);
    }

    #[test]
    fn a_call_takes_the_seat_and_what_is_owed_there_moves_to_another() {
        let mut s = slots(2, 2, [0; 4]);
        s.want(at(0), no(1), want(Class::Sms, 3000));
        s.want(at(0), no(2), want(Class::Sms, 3000));
        s.answered(no(2));
        log(&mut s);
        s.set_presence(at(1), SeatId(0), Presence::InCall);
        assert_eq!(log(&mut s), ["1 from 0", "1 to 1"]);
        s.set_presence(at(2), SeatId(1), Presence::InCall);
        assert_eq!(log(&mut s), [""; 0], "nobody else is free: it stays beside the call");
        s.want(at(3), no(3), want(Class::Sms, 3000));
        assert_eq!(log(&mut s), ["3 to 0"], "beside a call when all are in one");
    }

    #[test]
    fn what_is_not_answered_goes_to_another_seat() {
        let mut s = slots(2, 1, [0; 4]);
        s.want(at(0), no(1), want(Class::Sms, 3000));
        log(&mut s);
        assert_eq!(s.poll_timeout(), Some(at(8000)));
        s.handle_timeout(at(8000));
        assert_eq!(log(&mut s), ["1 from 0", "1 to 1"]);
        s.answered(no(1));
        assert_eq!(s.poll_timeout(), None);
    }

    #[test]
    fn whoever_leaves_leaves_nothing_behind() {
        let mut s = slots(1, 2, [0; 4]);
        s.want(at(0), no(1), want(Class::Sms, 3000));
        s.answered(no(1));
        log(&mut s);
        s.set_presence(at(1), SeatId(0), Presence::Off);
        assert_eq!(log(&mut s), ["1 from 0"]);
        assert_eq!(s.counts(), (0, 1));
        s.set_presence(at(2), SeatId(0), Presence::Idle);
        assert_eq!(log(&mut s), ["1 to 0"]);
    }

    #[test]
    fn a_skill_is_preferred_and_never_waited_for() {
        let rule = SlotRule { overflow: None, floors: [0; 4], answers_within: Duration::from_secs(8) };
        let mut s = Slots::new(vec![rule], [(GroupId(0), 0, 9), (GroupId(0), 2, 9)].into_iter());
        s.set_presence(at(0), SeatId(0), Presence::Idle);
        s.set_presence(at(0), SeatId(1), Presence::InCall);
        s.want(at(0), no(1), Want { skills: 2, ..want(Class::Sms, 3000) });
        s.set_presence(at(1), SeatId(1), Presence::Off);
        s.want(at(1), no(2), Want { skills: 2, ..want(Class::Sms, 3000) });
        assert_eq!(log(&mut s), ["1 to 1", "1 from 1", "1 to 0", "2 to 0"]);
    }
}
