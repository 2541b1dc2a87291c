//! Alerts that become one, and those that are taken apart again.

use std::sync::Arc;

use codecs::record::{Address, AlertNo, AlertRecord, Direction, Related, Relation, Stamp, State, Step};

use super::text::add_line;
use super::{Alerts, CHANNELS_MAX, LOCATIONS_MAX, RELATED_MAX, bound, mark};
use crate::deadline;
use crate::fact::{Belongings, JoinFact};

impl Alerts {
    pub(super) fn join(&mut self, at: Stamp, no: AlertNo, fact: JoinFact) {
        match fact {
            JoinFact::JoinedTo { other } => self.join_to(at, no, other),
            JoinFact::Absorbed { other, belongings } => self.absorb(at, no, other, *belongings),
            JoinFact::SplitOff { other, address } => self.split_off(at, no, other, &address),
            JoinFact::SplitFrom { other } => self.split_from(at, no, other),
            JoinFact::CalledBackAs { other } => self.called_back_as(at, no, other),
        }
    }

    /// One number is called back once: this alert goes on as the other.
    fn called_back_as(&mut self, at: Stamp, no: AlertNo, other: AlertNo) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        relate(record, other, Relation::Duplicate);
        record.state = State::Ended;
        self.emit(no, Step::Joined, at, None);
        self.try_close(no, at);
    }

    /// What this alert gives away when it goes on as another.
    pub fn belongings(&self, no: AlertNo) -> Option<Belongings> {
        let record = self.get(no)?;
        Some(Belongings {
            lines: record.text.clone(),
            channels: record.reporter.channels.clone(),
            locations: record.location.clone(),
            forms: record.source.forms.clone(),
            silent: record.reporter.safety.silent,
        })
    }

    fn join_to(&mut self, at: Stamp, no: AlertNo, other: AlertNo) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        relate(record, other, Relation::Duplicate);
        self.talks.remove(&no);
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        if record.call.legs.is_empty() {
            record.state = State::Ended;
            // The promise is kept, or broken, on the alert that it goes on as.
            deadline::answered_elsewhere(record, at);
        }
        self.emit(no, Step::Joined, at, None);
        self.try_close(no, at);
    }

    fn absorb(&mut self, at: Stamp, no: AlertNo, other: AlertNo, belongings: Belongings) {
        let talks = belongings.lines.iter().any(|l| l.dir == Some(Direction::In));
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        relate(record, other, Relation::SameEvent);
        for line in belongings.lines {
            if !record.text.iter().any(|l| !l.message_id.is_empty() && l.message_id == line.message_id) {
                add_line(record, line);
            }
        }
        record.text.sort_by_key(|l| l.at);
        for address in belongings.channels {
            if !record.reporter.channels.contains(&address) && record.reporter.channels.len() < CHANNELS_MAX {
                record.reporter.channels.push(address);
            }
        }
        for location in belongings.locations {
            if !record.location.contains(&location) && record.location.len() < LOCATIONS_MAX {
                record.location.push(location);
            }
        }
        for form in belongings.forms {
            if !record.source.forms.contains(&form) {
                record.source.forms.push(form);
            }
        }
        record.reporter.safety.silent |= belongings.silent;
        record.reporter.safety.no_reply_sms |= belongings.silent;
        if talks {
            self.talks.insert(no);
        }
        self.emit(no, Step::Joined, at, None);
    }

    fn split_off(&mut self, at: Stamp, no: AlertNo, other: AlertNo, address: &Address) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        record.id.related.retain(|r| r.alert_no != other.to_string());
        record.reporter.channels.retain(|a| a != address);
        let only_text = record.reporter.channels.is_empty();
        mark(record, "split");
        if only_text {
            self.talks.remove(&no);
        }
        self.emit(no, Step::Split, at, None);
        self.try_close(no, at);
    }

    fn split_from(&mut self, at: Stamp, no: AlertNo, other: AlertNo) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        record.id.related.retain(|r| r.alert_no != other.to_string());
        relate(record, other, Relation::SplitFrom);
        record.state = State::Reopened;
        self.talks.insert(no);
        self.emit(no, Step::Split, at, None);
    }
}

fn relate(record: &mut AlertRecord, other: AlertNo, kind: Relation) {
    let related = Related { alert_no: other.to_string(), kind };
    if !record.id.related.iter().any(|r| r.alert_no == related.alert_no) {
        bound(&mut record.id.related, RELATED_MAX);
        record.id.related.push(related);
    }
}
