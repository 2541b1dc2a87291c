//! What is established about an alert, and what those who act tell of it.

use std::collections::BTreeMap;

use codecs::geo::Point;
use codecs::record::{Address, AlertNo, AlertRecord, Assessment, HandlingStep, Writer};
use codecs::time::Wall;

use casework::{Fact, HandlingFact, IncidentFact, NotTaken, is_call_up};
use dispatch::approach::Approaching;
use dispatch::nearest::Place;

use super::{Casebook, Output};
use crate::message::{Failure, ToDesk, ToShard};

/// Of the alerts that are over an officer is told the last few that they were called to.
const OVER_MAX: usize = 20;

impl Casebook {
    /// The alert's own triage, whoever makes it. A call that is up hears of it, since an officer may be wanted.
    pub(super) fn triage(
        &mut self,
        at: Wall,
        no: AlertNo,
        said: Box<Assessment>,
        place: Option<Place>,
    ) -> Result<Option<AlertNo>, Failure> {
        let record = self.alerts.get(no).ok_or(Failure::NotFound("no open alert with this number"))?;
        let kind = said.kind.filter(|_| is_call_up(record));
        let complaint = said.complaint_of.clone();
        if !self.alerts.may_triage(at, no) {
            return Err(Failure::Quota);
        }
        if let Some(place) = place {
            if place.grid.is_some() && self.config.grids.of(&place).is_none() {
                return Err(Failure::NotFound("no grid of this name"));
            }
            let here = crate::shard::spoken(&self.config.unit, &self.config.grids, &place, at);
            self.fact(at, no, Fact::Incident(IncidentFact::Located(Box::new(here))));
        }
        self.fact(at, no, Fact::Incident(IncidentFact::Triaged(said)));
        if let Some(complaint) = complaint {
            self.spread_complaint(at, no, &complaint);
        }
        if let Some(kind) = kind {
            self.outputs.push_back(Output::Shard(ToShard::Triaged { no, kind }));
        }
        Ok(Some(no))
    }

    /// What somebody says of an alert who overrules nobody.
    pub(super) fn told(&mut self, at: Wall, no: AlertNo, said: Box<Assessment>) {
        if !self.alerts.may_triage(at, no) {
            return;
        }
        let before = self.alerts.get(no).and_then(|record| record.incident.kind);
        self.fact(at, no, Fact::Incident(IncidentFact::Told(said)));
        let record = self.alerts.get(no).filter(|record| is_call_up(record));
        if let Some(kind) = record.and_then(|record| record.incident.kind).filter(|_| before.is_none()) {
            self.outputs.push_back(Output::Shard(ToShard::Triaged { no, kind }));
        }
    }

    /// A complaint is about the matter: every alert that is one with this one hears of it, and of its being taken back.
    pub(super) fn spread_complaint(&mut self, at: Wall, no: AlertNo, unit: &str) {
        // What it is one with, what goes on from there, and what that is one with.
        let mut all = vec![no];
        let mut looked_at = 0;
        while let Some(next) = all.get(looked_at).copied() {
            looked_at += 1;
            let one = self.alerts.members(self.alerts.goes_on_as(next));
            let following = self.alerts.that_follow(&one);
            for other in one.into_iter().chain(following) {
                if !all.contains(&other) {
                    all.push(other);
                }
            }
        }
        for other in all {
            if other != no {
                self.complain(at, other, unit);
            }
            self.withdraw_orders(at, other);
        }
    }

    /// This alert complains of this unit, of which it may know already; empty: of nobody.
    pub(super) fn complain(&mut self, at: Wall, no: AlertNo, unit: &str) {
        let known = self.alerts.get(no).and_then(|r| r.incident.complaint_of.clone()).unwrap_or_default();
        if known != unit {
            let said = Assessment { complaint_of: Some(unit.to_owned()), ..Assessment::default() };
            self.fact(at, no, Fact::Incident(IncidentFact::Triaged(Box::new(said))));
        }
    }

    /// How the open alerts of a seat stand.
    pub(super) fn tell_standing(&mut self, seat: &str) {
        let is_theirs = |record: &AlertRecord| record.call.seat.as_ref().is_some_and(|s| s.no == seat);
        let alerts: Vec<AlertNo> = self.alerts.open().filter(|(_, r)| is_theirs(r)).map(|(no, _)| *no).collect();
        for alert in alerts {
            self.outputs.push_back(Output::Standing { seat: seat.to_owned(), alert });
        }
    }

    /// How the alerts stand that an officer was called to lately, the newest last. Those that are over are among them:
    /// whoever is on the way is so after the call too.
    pub(super) fn tell_officer(&mut self, officer: &str) {
        let is_theirs = |record: &AlertRecord| record.dispatch.iter().any(|d| d.officer == officer);
        let over = self.alerts.recent().filter(|r| is_theirs(r)).filter_map(|r| AlertNo::parse(&r.id.alert_no));
        let mut alerts: Vec<AlertNo> = over.collect();
        alerts.sort_unstable();
        alerts.drain(..alerts.len().saturating_sub(OVER_MAX));
        alerts.extend(self.alerts.open().filter(|(_, r)| is_theirs(r)).map(|(no, _)| *no));
        for alert in alerts {
            self.outputs.push_back(Output::CalledTo { officer: officer.to_owned(), alert });
        }
    }

    pub(super) fn handle_step(
        &mut self,
        at: Wall,
        no: AlertNo,
        step: HandlingFact,
    ) -> Result<Option<AlertNo>, Failure> {
        self.alerts.may_take(at, no, &step).map_err(|why| match why {
            NotTaken::NoAlert => Failure::NotFound(why.text()),
            NotTaken::TooMany => Failure::Quota,
            _ => Failure::Conflict(why.text()),
        })?;
        let (what, officer) = (step.step, step.officer.clone());
        self.fact(at, no, Fact::Handling(step));
        self.follow_officer(at, no, what, officer);
        Ok(Some(no))
    }

    /// Whoever sets out is followed until they are there.
    fn follow_officer(&mut self, at: Wall, no: AlertNo, step: HandlingStep, officer: String) {
        if officer.is_empty() {
            return;
        }
        let message = match step {
            HandlingStep::Enroute => {
                let Some(to) = self.where_it_is(no) else { return };
                ToDesk::UnderWay { officer, no, to, hour: at.beijing_hour() }
            }
            HandlingStep::Arrived | HandlingStep::Handled | HandlingStep::FedBack => ToDesk::There { officer, no },
            _ => return,
        };
        self.outputs.push_back(Output::Desk(message));
    }

    fn where_it_is(&self, no: AlertNo) -> Option<Point> {
        let place = self.known_place(no);
        place.point.or_else(|| self.config.grids.of(&place).map(|grid| grid.middle))
    }

    /// After a start: those who were on the way still are.
    pub(super) fn follow_all_officers(&mut self, at: Wall) {
        let on_the_way = |record: &AlertRecord| {
            let steps = record.handling.iter().filter_map(|h| Some((h.by.strip_prefix("officer:")?, h.step)));
            let last: BTreeMap<&str, HandlingStep> = steps.collect();
            let no = AlertNo::parse(&record.id.alert_no);
            let gone = last.into_iter().filter(|(_, step)| *step == HandlingStep::Enroute);
            gone.filter_map(|(who, step)| Some((no?, who.to_owned(), step))).collect::<Vec<_>>()
        };
        let all = self.alerts.open().map(|(_, record)| record).chain(self.alerts.recent());
        let all: Vec<_> = all.flat_map(on_the_way).collect();
        for (no, officer, step) in all {
            self.follow_officer(at, no, step, officer);
        }
    }

    /// Whoever reported by an app sees the officer come, unless that could be seen by somebody else.
    pub(super) fn approach(&mut self, no: AlertNo, news: Approaching) {
        let Some(record) = self.alerts.get(self.alerts.goes_on_as(no)).filter(|r| !r.reporter.safety.silent) else {
            return;
        };
        let is_app = |to: &Address| self.config.channels.iter().any(|c| c.name == to.channel && c.is_fetched);
        let apps = record.reporter.channels.iter().filter(|w| !w.asked_silence).map(Writer::address).filter(is_app);
        let apps: Vec<Address> = apps.collect();
        self.outputs.extend(apps.into_iter().map(|to| Output::Approach { to, no, news }));
    }
}
