//! Officers, duty rooms and superiors: duty, position, presence, and how fast each tends to answer.

use std::collections::BTreeMap;
use std::time::Duration;

use codecs::geo::Point;
use codecs::record::{Role, TryResult};
use codecs::time::Mono;

use crate::{CallKey, ResponderId};

/// Before anything is known of somebody, an answer is expected after this.
const ANSWER_EXPECTED: Duration = Duration::from_millis(3500);

/// For so long somebody is where they said they were.
const POSITION_HOLDS: Duration = Duration::from_secs(60);

/// Somebody who can be called to a report.
#[derive(Clone, Debug)]
pub struct Responder {
    /// Police number, or the unit's code.
    pub no: String,
    pub name: String,
    pub role: Role,
    pub unit: String,
    /// Grids that are theirs; empty for a duty room.
    pub grids: Vec<String>,
    /// The SIP user they register as; empty when they never do.
    pub user: String,
    /// Called when not registered: a `sip:` URI or digits.
    pub phone: String,
    pub on_duty: bool,
    /// Calls that they can be in at one time; an officer has one.
    pub lines: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Presence {
    pub registered: bool,
    pub position: Option<(Point, Mono)>,
    /// The calls that they are in, or are being called to.
    pub taken: Vec<CallKey>,
    /// Moving average of answer times, weight 1/4.
    pub answers_after: Duration,
    pub misses: u32,
}

/// Everybody on the ladder, in one list; only officers are chosen by distance.
pub struct Roster {
    pub(crate) responders: Vec<Responder>,
    pub(crate) presence: Vec<Presence>,
    by_no: BTreeMap<String, ResponderId>,
    by_user: BTreeMap<String, ResponderId>,
}

impl Roster {
    pub fn new(responders: Vec<Responder>) -> Roster {
        let id = |i: usize| ResponderId(i as u32);
        let by_no = responders.iter().enumerate().map(|(i, r)| (r.no.clone(), id(i))).collect();
        let users = responders.iter().enumerate().filter(|(_, r)| !r.user.is_empty());
        let by_user = users.map(|(i, r)| (r.user.clone(), id(i))).collect();
        let unknown = Presence {
            registered: false,
            position: None,
            taken: Vec::new(),
            answers_after: ANSWER_EXPECTED,
            misses: 0,
        };
        Roster { presence: vec![unknown; responders.len()], responders, by_no, by_user }
    }

    pub fn find(&self, no: &str) -> Option<ResponderId> {
        self.by_no.get(no).copied()
    }
    pub fn find_user(&self, user: &str) -> Option<ResponderId> {
        self.by_user.get(user).copied()
    }
    pub fn get(&self, id: ResponderId) -> &Responder {
        &self.responders[id.0 as usize]
    }

    pub fn set_registered(&mut self, id: ResponderId, registered: bool) {
        self.presence[id.0 as usize].registered = registered;
    }
    pub fn set_duty(&mut self, id: ResponderId, on_duty: bool) {
        self.responders[id.0 as usize].on_duty = on_duty;
    }
    pub fn set_position(&mut self, now: Mono, id: ResponderId, position: Point) {
        self.presence[id.0 as usize].position = Some((position, now));
    }

    /// Whether they may be called now: reachable, with a line free, and not in this call already.
    pub(crate) fn is_free(&self, id: ResponderId, call: CallKey) -> bool {
        let p = &self.presence[id.0 as usize];
        let r = self.get(id);
        p.taken.len() < r.lines && !p.taken.contains(&call) && r.on_duty && (p.registered || !r.phone.is_empty())
    }

    /// Where they are, if they have said so lately.
    pub fn position(&self, now: Mono, id: ResponderId) -> Option<Point> {
        let known = self.presence[id.0 as usize].position;
        known.filter(|(_, then)| now.since(*then) < POSITION_HOLDS).map(|(at, _)| at)
    }

    /// Why somebody who is known cannot be called.
    pub fn why_not(&self, id: ResponderId) -> TryResult {
        let (p, r) = (&self.presence[id.0 as usize], self.get(id));
        if r.on_duty && (p.registered || !r.phone.is_empty()) { TryResult::Busy } else { TryResult::Off }
    }

    /// Takes somebody for a call. Nobody is in more than they have lines for.
    pub(crate) fn take(&mut self, id: ResponderId, call: CallKey) {
        assert!(self.is_free(id, call), "a responder is reserved for a line that is free");
        self.presence[id.0 as usize].taken.push(call);
    }

    /// Takes somebody by name; `false` when they are not free.
    pub fn reserve(&mut self, id: ResponderId, call: CallKey) -> bool {
        let free = self.is_free(id, call);
        if free {
            self.take(id, call);
        }
        free
    }

    /// Gives somebody back and learns from how it went.
    pub fn release(&mut self, id: ResponderId, call: CallKey, result: TryResult, after: Duration) {
        let presence = &mut self.presence[id.0 as usize];
        let Some(at) = presence.taken.iter().position(|c| *c == call) else { return };
        presence.taken.swap_remove(at);
        match result {
            TryResult::Answered => {
                presence.answers_after = (presence.answers_after * 3 + after) / 4;
                presence.misses = 0;
            }
            TryResult::NoAnswer | TryResult::Busy | TryResult::Declined | TryResult::Off => presence.misses += 1,
            TryResult::Superseded => {}
        }
    }

    /// Gives back everybody that a failed call held.
    pub fn release_call(&mut self, call: CallKey) {
        self.presence.iter_mut().for_each(|p| p.taken.retain(|c| *c != call));
    }

    /// When an answer is to be expected: the average, and a half more for every miss in a row.
    pub fn predicted_answer(&self, id: ResponderId) -> Duration {
        let p = &self.presence[id.0 as usize];
        p.answers_after + p.answers_after / 2 * p.misses.min(8)
    }

    /// On duty, and free or taken, for the gauges.
    pub fn counts(&self) -> (usize, usize) {
        let duty = self.responders.iter().filter(|r| r.on_duty && r.role == Role::Officer).count();
        (duty, self.presence.iter().filter(|p| !p.taken.is_empty()).count())
    }
}
