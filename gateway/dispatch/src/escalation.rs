//! The ladder to an officer: officer, next nearest, duty room, superior, inside what is left of 30 s (T2a).
//!
//! Each rung gets an even share of what is left; when its share is over the next rung starts while the one before
//! rings on. The first to answer wins. A rung that fails early hands its time to those after it.

use std::time::Duration;

use codecs::record::{Role, TryResult};
use codecs::time::Mono;

use crate::{LegNo, ResponderId};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rung {
    Officer,
    Unit,
    Superior,
}

/// Nobody's telephone rings longer than this: whoever has it is free for other calls then.
pub(crate) const RING_AT_MOST: Duration = Duration::from_secs(30);

/// Nearest, next nearest, duty room, superior.
const RUNGS: [Rung; 4] = [Rung::Officer, Rung::Officer, Rung::Unit, Rung::Superior];

#[derive(Debug)]
pub(crate) struct Try {
    pub leg: LegNo,
    pub responder: ResponderId,
    pub role: Role,
    pub started: Mono,
    pub answered: bool,
}

/// What the ladder asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Reserve somebody for this rung; he is expected to answer within the share.
    Reserve { rung: Rung, share: Duration },
    /// Nobody is left to try.
    Exhausted,
}

#[derive(Debug)]
pub(crate) struct Ladder {
    deadline: Mono,
    at_least: Duration,
    /// The rung to be tried next.
    next: usize,
    /// A reservation is on its way.
    asking: bool,
    next_at: Option<Mono>,
    pub tries: Vec<Try>,
    pub won: bool,
    exhausted: bool,
}

impl Ladder {
    pub(crate) fn new(deadline: Mono, at_least: Duration) -> Ladder {
        Ladder {
            deadline,
            at_least,
            next: 0,
            asking: false,
            next_at: None,
            tries: Vec::new(),
            won: false,
            exhausted: false,
        }
    }

    /// The share of each rung still to come, at least what a phone needs to ring.
    fn share(&self, now: Mono) -> Duration {
        let rungs = (RUNGS.len() - self.next).max(1) as u32;
        (self.deadline.since(now) / rungs).max(self.at_least)
    }

    /// Starts the next rung, if there is one.
    pub(crate) fn climb(&mut self, now: Mono) -> Option<Step> {
        if self.won || self.asking || self.exhausted {
            return None;
        }
        self.next_at = None;
        let Some(&rung) = RUNGS.get(self.next) else {
            if self.tries.is_empty() {
                self.exhausted = true;
                return Some(Step::Exhausted);
            }
            return None;
        };
        let share = self.share(now);
        self.next += 1;
        self.asking = true;
        Some(Step::Reserve { rung, share })
    }

    /// Somebody was reserved and is being called on `leg`.
    pub(crate) fn reserved(&mut self, now: Mono, leg: LegNo, responder: ResponderId, role: Role) {
        self.asking = false;
        // The share was computed with this rung still to come.
        let rungs_left = (RUNGS.len() - self.next + 1).max(1) as u32;
        let share = (self.deadline.since(now) / rungs_left).max(self.at_least);
        self.next_at = (self.next < RUNGS.len()).then(|| now + share);
        self.tries.push(Try { leg, responder, role, started: now, answered: false });
    }

    /// Nobody could be reserved for the rung asked for.
    pub(crate) fn nobody(&mut self, now: Mono) -> Option<Step> {
        self.asking = false;
        self.climb(now)
    }

    /// A try ended without an answer.
    pub(crate) fn failed(&mut self, now: Mono, leg: LegNo) -> (Option<Try>, Option<Step>) {
        let ended = self.tries.iter().position(|t| t.leg == leg).map(|i| self.tries.remove(i));
        let step = if ended.is_some() { self.climb(now) } else { None };
        (ended, step)
    }

    /// Somebody answered: everybody else is let go.
    pub(crate) fn answered(&mut self, leg: LegNo) -> Vec<Try> {
        self.won = true;
        self.next_at = None;
        let (mine, others) = std::mem::take(&mut self.tries).into_iter().partition(|t| t.leg == leg);
        self.tries = mine;
        for t in &mut self.tries {
            t.answered = true;
        }
        others
    }

    pub(crate) fn is_trying(&self) -> bool {
        !self.won && !self.exhausted
    }

    pub(crate) fn due(&self) -> Option<Mono> {
        let expiry = self.tries.iter().filter(|t| !t.answered).map(|t| t.started + RING_AT_MOST).min();
        [self.next_at, expiry].into_iter().flatten().min()
    }

    /// A try that has rung long enough.
    pub(crate) fn expired(&self, now: Mono) -> Option<LegNo> {
        self.tries.iter().find(|t| !t.answered && t.started + RING_AT_MOST <= now).map(|t| t.leg)
    }

    /// Whether it is time for the next rung.
    pub(crate) fn is_due(&self, now: Mono) -> bool {
        self.next_at.is_some_and(|at| at <= now)
    }

    /// How a try that is cut off is to be counted.
    pub(crate) fn cut_off(answered: bool) -> TryResult {
        if answered { TryResult::Answered } else { TryResult::Superseded }
    }
}
