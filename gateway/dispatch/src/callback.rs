//! Whoever is to be called back: a few at a time, one a number, a little apart, and never at a caller's expense.
//!
//! A call-back rings its reporter without a seat and needs one when they pick up. So no more of them ring at one time
//! than a part of the free seats could take, and none begins while a caller waits. What is owed for half an hour is
//! given up.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use codecs::record::AlertNo;
use codecs::time::Mono;

use crate::nearest::Place;

/// Of so many free seats one may be counted on by a call-back that rings.
const SEATS_EACH: usize = 4;
/// The soonest and the latest that a call-back begins after it was owed, when nothing else keeps it.
const SOONEST: Duration = Duration::from_millis(500);
const SPREAD: Duration = Duration::from_secs(5);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(1800);
/// Owed at one time; what is beyond is given up at once.
const OWED_MAX: usize = 10_000;

#[derive(Clone, PartialEq, Debug)]
pub struct CallBack {
    pub no: AlertNo,
    pub number: String,
    pub trunk: String,
    /// Where they are, as far as it is known.
    pub place: Place,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Ring now; `over` is to be said when it has come to its end.
    Begin(CallBack),
    /// The same number is called back for another alert: the two are one.
    JoinedTo { no: AlertNo, other: AlertNo },
    /// Nobody was free for it in all the time.
    GivenUp { no: AlertNo },
}

struct Owed {
    what: CallBack,
    not_before: Mono,
    until: Mono,
}

#[derive(Default)]
pub struct CallBacks {
    owed: VecDeque<Owed>,
    ringing: BTreeMap<AlertNo, String>,
    outputs: VecDeque<Output>,
}

impl CallBacks {
    /// Somebody is to be called back. `chance` spreads those that are owed at one instant.
    pub fn owe(&mut self, now: Mono, what: CallBack, chance: u64) {
        let ringing = self.ringing.iter().find(|(_, number)| **number == what.number).map(|(no, _)| *no);
        let owed = self.owed.iter().find(|o| o.what.number == what.number).map(|o| o.what.no);
        if let Some(other) = ringing.or(owed) {
            if other != what.no {
                self.outputs.push_back(Output::JoinedTo { no: what.no, other });
            }
            return;
        }
        if self.owed.len() >= OWED_MAX {
            return self.outputs.push_back(Output::GivenUp { no: what.no });
        }
        let spread = Duration::from_nanos(chance % SPREAD.as_nanos() as u64);
        self.owed.push_back(Owed { what, not_before: now + SOONEST + spread, until: now + GIVEN_UP_AFTER });
    }

    /// The call-back has come to its end, whatever it was.
    pub fn over(&mut self, no: AlertNo) {
        self.ringing.remove(&no);
    }

    /// Whoever is owed one is known to be here now.
    pub fn moved(&mut self, no: AlertNo, place: &Place) {
        self.owed.iter_mut().filter(|o| o.what.no == no).for_each(|o| o.what.place.clone_from(place));
    }

    /// Nothing may ring for this alert any more.
    pub fn forget(&mut self, no: AlertNo) {
        self.owed.retain(|o| o.what.no != no);
    }

    /// Begins what may begin: nobody waits, and of `idle` seats enough are not counted on yet.
    pub fn advance(&mut self, now: Mono, idle: usize, somebody_waits: bool) {
        while let Some(at) = self.owed.iter().position(|o| o.until <= now) {
            if let Some(owed) = self.owed.remove(at) {
                self.outputs.push_back(Output::GivenUp { no: owed.what.no });
            }
        }
        while !somebody_waits && self.ringing.len() < idle.div_ceil(SEATS_EACH) {
            let Some(at) = self.owed.iter().position(|o| o.not_before <= now) else { return };
            let Some(owed) = self.owed.remove(at) else { return };
            self.ringing.insert(owed.what.no, owed.what.number.clone());
            self.outputs.push_back(Output::Begin(owed.what));
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next one may begin or is given up. What waits for a seat is looked at when one becomes free.
    pub fn poll_timeout(&self, now: Mono) -> Option<Mono> {
        let begins = self.owed.iter().map(|o| o.not_before).filter(|at| *at > now);
        begins.chain(self.owed.iter().map(|o| o.until)).min()
    }

    /// Owed, and ringing.
    pub fn counts(&self) -> (usize, usize) {
        (self.owed.len(), self.ringing.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(n: u32) -> AlertNo {
        AlertNo::mint("370400000000", 20_261_128, 1, n)
    }
    fn back(n: u32, number: &str) -> CallBack {
        CallBack { no: no(n), number: number.into(), trunk: "t".into(), place: Place::default() }
    }
    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }
    fn said(c: &mut CallBacks) -> Vec<Output> {
        std::iter::from_fn(|| c.poll_output()).collect()
    }

    #[test]
    fn a_number_is_rung_once_however_many_alerts_it_has() {
        let mut c = CallBacks::default();
        c.owe(at(0), back(1, "138"), 0);
        c.owe(at(1), back(2, "138"), 0);
        c.owe(at(2), back(1, "138"), 0);
        assert_eq!(said(&mut c), [Output::JoinedTo { no: no(2), other: no(1) }]);
        c.advance(at(600), 60, false);
        assert_eq!(said(&mut c), [Output::Begin(back(1, "138"))]);
        c.owe(at(700), back(3, "138"), 0);
        assert_eq!(said(&mut c), [Output::JoinedTo { no: no(3), other: no(1) }]);
        c.over(no(1));
        c.owe(at(800), back(4, "138"), 0);
        c.advance(at(1400), 60, false);
        assert_eq!(said(&mut c), [Output::Begin(back(4, "138"))]);
    }

    #[test]
    fn a_mass_of_them_never_takes_more_than_a_quarter_of_the_free_seats_nor_any_while_somebody_waits() {
        let mut c = CallBacks::default();
        for n in 0..62 {
            c.owe(at(0), back(n, &format!("138{n}")), u64::from(n) * 80_000_000);
        }
        c.advance(at(400), 60, false);
        assert_eq!(c.counts(), (62, 0), "a little apart");
        c.advance(at(10_000), 60, true);
        assert_eq!(c.counts(), (62, 0), "callers go first");
        c.advance(at(10_000), 60, false);
        assert_eq!(c.counts(), (47, 15));
        c.advance(at(10_001), 3, false);
        assert_eq!(c.counts(), (47, 15), "those ringing are more than three seats could take");
        for n in 0..15 {
            c.over(no(n));
        }
        c.advance(at(10_002), 1, false);
        c.advance(at(10_003), 0, false);
        assert_eq!(c.counts(), (46, 1));
    }

    #[test]
    fn they_begin_spread_over_seconds() {
        let mut c = CallBacks::default();
        for n in 0..4u32 {
            c.owe(at(0), back(n, &format!("{n}")), u64::from(n) * 1_500_000_000);
        }
        let begun = |c: &mut CallBacks, ms| {
            c.advance(at(ms), 60, false);
            c.counts().1
        };
        assert_eq!([500, 2000, 3500, 5000].map(|ms| begun(&mut c, ms)), [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_owed_for_half_an_hour_is_given_up_and_what_is_silenced_is_forgotten() {
        let mut c = CallBacks::default();
        c.owe(at(0), back(1, "1"), 0);
        c.owe(at(0), back(2, "2"), 0);
        c.forget(no(2));
        assert_eq!(c.poll_timeout(at(0)), Some(at(500)));
        assert_eq!(c.poll_timeout(at(500)), Some(at(1_800_000)));
        c.advance(at(1_800_000), 0, false);
        assert_eq!(said(&mut c), [Output::GivenUp { no: no(1) }]);
        assert_eq!((c.counts(), c.poll_timeout(at(1_800_000))), ((0, 0), None));
    }
}
