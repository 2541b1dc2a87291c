//! What is established about an alert, and what those who act tell of it.

use codecs::record::{AlertNo, AlertRecord, Assessment};
use codecs::time::Wall;

use casework::{Fact, HandlingFact, IncidentFact, NotTaken, is_call_up};
use dispatch::nearest::Place;

use super::{Casebook, Output};
use crate::message::{Failure, ToShard};

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
        if let Some(kind) = kind {
            self.outputs.push_back(Output::Shard(ToShard::Triaged { no, kind }));
        }
        Ok(Some(no))
    }

    /// How the open alerts of a seat stand.
    pub(super) fn tell_standing(&mut self, seat: &str) {
        let is_theirs = |record: &AlertRecord| record.call.seat.as_ref().is_some_and(|s| s.no == seat);
        let alerts: Vec<AlertNo> = self.alerts.open().filter(|(_, r)| is_theirs(r)).map(|(no, _)| *no).collect();
        for alert in alerts {
            self.outputs.push_back(Output::Standing { seat: seat.to_owned(), alert });
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
        self.fact(at, no, Fact::Handling(step));
        Ok(Some(no))
    }
}
