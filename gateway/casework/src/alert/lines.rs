//! What an alert's record says about writing to its reporter: what they are owed, who may write, and where a line goes
//! that did not reach them.

use std::time::Duration;

use codecs::record::{
    Address, AlertNo, AlertRecord, Channel, Direction, Form, LineState, Location, LocationSource, Promise, Relation,
    Stamp, State, TextLine, Writer,
};

use codecs::time::{Mono, Wall};

use super::{ABSORBED_MAX, Alerts, RECORD_FULL, WRITERS_MAX};
use crate::deadline;
use crate::fact::{Arrival, Message};

/// Where an alert stands whose reporter writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Since when they wait for a human.
    pub waits_since: Option<Stamp>,
    /// A human has spoken to them.
    pub is_answered: bool,
    /// The three seconds have passed without one, or were kept and lost again; it has been told.
    pub is_missed: bool,
    /// The seat that speaks with them by telephone.
    pub speaks_with: Option<String>,
    pub is_danger: bool,
    pub is_silent: bool,
}

/// Why nothing is written to a reporter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotWritten {
    Silent,
    OtherChannel,
    /// Whoever wrote the line that it answers.
    Gone,
}

/// A line that did not reach its reporter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost<'a> {
    /// The channels that its words were tried by.
    pub tried: Vec<&'a str>,
    pub writes_by: Vec<Address>,
    /// The telephone number that is theirs for certain.
    pub phone: Option<&'a str>,
    /// Whom it was written to.
    pub to: Option<Address>,
    pub is_silent: bool,
}

/// As what the lines of one sender go on.
#[derive(Clone, PartialEq, Debug)]
pub struct Apart<'a> {
    pub sender: &'a Address,
    pub channel: Channel,
    /// The channel by its name.
    pub by: &'a str,
    /// Their telephone number, where the channel tells it.
    pub caller: String,
}

impl Alerts {
    pub fn standing(&self, no: AlertNo) -> Option<Standing> {
        let record = self.get(no)?;
        let missed =
            |t: &codecs::record::Timer| t.promise() == Some(Promise::Answer) && (t.breach || t.met_at.is_some());
        Some(Standing {
            waits_since: deadline::waits_since(record),
            is_answered: record.call.t.answer.is_some(),
            is_missed: record.timers.iter().any(missed),
            speaks_with: record.call.seat.as_ref().filter(|_| deadline::is_call_up(record)).map(|seat| seat.no.clone()),
            is_danger: record.incident.keywords.iter().any(|k| k.level == 1),
            is_silent: record.reporter.safety.silent,
        })
    }

    /// Since when its reporter waits for a human, or waited: by the monotonic clock, where that is known, whatever was done
    /// to the other meanwhile.
    pub fn waits_since(&self, now: Mono, at: Wall, no: AlertNo) -> Option<Mono> {
        let since = deadline::waits_since(self.get(no)?)?;
        let due = self.deadlines.instant(no, Stamp(since.0 + Promise::Answer.within()));
        let reckoned = || now - Duration::from_nanos(u64::try_from(at.0 - since.0.0).unwrap_or(0));
        Some(due.map_or_else(reckoned, |due| due - Promise::Answer.within()))
    }

    /// Whether a further word of this sender can go to this alert: it has room for it, and for them.
    pub fn has_room_for(&self, no: AlertNo, sender: &Address) -> bool {
        let Some(record) = self.get(no) else { return false };
        !self.full.contains(&no) && (record.reporter.channels.len() < WRITERS_MAX || is_writer(record, sender))
    }

    /// Whether two can become one: as many write on an alert, and go on as one, as may, and its record holds both.
    pub fn has_room_for_alert(&self, no: AlertNo, from: AlertNo) -> bool {
        let (Some(record), Some(other)) = (self.get(no), self.get(from)) else { return false };
        let absorbed = self.members(no).len() + self.members(from).len();
        let octets = record.to_json().len() + other.to_json().len();
        let come = other.reporter.channels.iter().filter(|w| !is_writer(record, &w.address())).count();
        absorbed <= ABSORBED_MAX && octets <= RECORD_FULL && record.reporter.channels.len() + come <= WRITERS_MAX
    }

    /// Whether a taker may write to the reporter, by this channel if one is named.
    ///
    /// # Errors
    /// Why not.
    pub fn may_be_written_to(
        &self,
        no: AlertNo,
        channel: Option<&str>,
        answers: Option<&str>,
        despite_silence: bool,
    ) -> Result<(), NotWritten> {
        let is_here = |line: &str| self.get(no).is_some_and(|r| wrote(r, line).is_some());
        if !answers.is_none_or(is_here) || self.get(no).is_some_and(|r| r.reporter.channels.is_empty()) {
            return Err(NotWritten::Gone);
        }
        if self.is_silent(no) && !despite_silence {
            return Err(NotWritten::Silent);
        }
        let writes_by =
            |channel: &str| self.get(no).is_none_or(|r| r.reporter.channels.iter().any(|a| a.channel == channel));
        if channel.is_none_or(writes_by) { Ok(()) } else { Err(NotWritten::OtherChannel) }
    }

    /// Whom a line that a taker writes would go to.
    pub fn reader(&self, no: AlertNo, channel: Option<&str>, answers: Option<&str>) -> Option<Address> {
        reader(self.get(no)?, channel, answers)
    }

    /// The alerts in which a line stands: the one that it was written in, and those that this went on as.
    pub fn holders(&self, no: AlertNo, line: &str) -> Vec<AlertNo> {
        let has = |no: &AlertNo| self.get(*no).is_some_and(|r| r.text.iter().any(|l| l.message_id == line));
        self.joined(no).into_iter().filter(has).collect()
    }

    /// Whom a line of ours was written to.
    pub fn addressee(&self, no: AlertNo, line: &str) -> Option<Address> {
        let record = self.get(no)?;
        addressee(record, record.text.iter().rev().find(|l| l.message_id == line)?)
    }

    /// This alert, what it goes on as, what that goes on as, and so on to the last that is within reach.
    pub fn joined(&self, no: AlertNo) -> Vec<AlertNo> {
        let mut all = vec![no];
        let mut last = no;
        // Alerts of before joins were looked through may point at each other.
        while let Some(other) = self.goes_on_next_as(last).filter(|other| !all.contains(other)) {
            all.push(other);
            last = other;
        }
        all
    }

    /// The alert that this one goes on as, next.
    pub(super) fn goes_on_next_as(&self, no: AlertNo) -> Option<AlertNo> {
        let duplicate = self.get(no)?.id.related.iter().rev().find(|r| r.kind == Relation::Duplicate)?;
        AlertNo::parse(&duplicate.alert_no)
    }

    /// The alert that this one goes on as, by whatever joins; itself where it was joined to none.
    pub fn goes_on_as(&self, no: AlertNo) -> AlertNo {
        self.joined(no).last().copied().unwrap_or(no)
    }

    /// What is to be known of a line that has just failed; none: it had failed before.
    pub fn lost(&self, no: AlertNo, line: &str) -> Option<Lost<'_>> {
        let record = self.get(no)?;
        if record.text.iter().any(|l| l.message_id == line && is_failed(l)) {
            return None;
        }
        let to = record.text.iter().rev().find(|l| l.message_id == line).and_then(|l| addressee(record, l));
        let (mut tried, mut name) = (Vec::new(), line);
        while let Some(found) = record.text.iter().rev().find(|l| !name.is_empty() && l.message_id == name) {
            tried.push(found.channel.as_str());
            name = &found.instead_of;
        }
        Some(Lost {
            tried,
            // Who else is whom it was written to is known only where there is one reporter.
            writes_by: if is_shared(record) { Vec::new() } else { writers(record).collect() },
            phone: proven_phone(record).filter(|_| !is_shared(record)),
            to,
            is_silent: record.reporter.safety.silent,
        })
    }

    /// Whether a human wrote this line, and nobody has spoken to the reporter before.
    pub fn would_answer(&self, no: AlertNo, line: &str) -> bool {
        self.get(no).is_some_and(|record| {
            let is_human = record.text.iter().rev().any(|l| l.message_id == line && l.by == "seat");
            is_human && record.call.t.answer.is_none()
        })
    }

    /// The report that the lines of one sender are by themselves; none: they have not written here.
    pub fn taken_apart(&self, no: AlertNo, apart: Apart<'_>) -> Option<(Arrival, Message)> {
        let record = self.get(no)?;
        let is_theirs = |l: &TextLine| l.channel == apart.sender.channel && l.user == apart.sender.user;
        let theirs = |l: &&TextLine| is_theirs(l) && l.dir == Some(Direction::In);
        let first = record.text.iter().find(theirs)?.clone();
        let arrival = Arrival {
            channel: apart.channel,
            caller: apart.caller,
            called: record.source.called_number.clone(),
            trunk: apart.by.to_owned(),
            message_id: first.message_id.clone(),
            subscriber: None,
            // Where they said that they are, and not where another of that alert is.
            location: theirs_or_only(record, apart.sender),
            jurisdiction: record.route.jurisdiction.clone(),
            owner: record.route.owner.clone(),
            marks: Vec::new(),
            follows: None,
        };
        let message = Message {
            known: Vec::new(),
            address: apart.sender.clone(),
            phone: arrival.caller.clone(),
            message_id: first.message_id,
            body: first.body,
            forms: vec![Form::Text],
            attachments: first.attachments,
            place: None,
            receipt: None,
            silent: record.reporter.channels.iter().any(|w| w.is(apart.sender) && w.asked_silence),
            marks: Vec::new(),
            case: None,
        };
        Some((arrival, message))
    }
}

/// Who wrote a line of this record, if they write to it still.
pub(super) fn wrote(record: &AlertRecord, line: &str) -> Option<Address> {
    let mut named = record.text.iter().filter(|l| l.message_id == line && l.dir == Some(Direction::In));
    let line = named.next()?;
    // Two who name theirs alike: nobody can tell whose is meant.
    let is_theirs = |l: &TextLine| l.channel == line.channel && l.user == line.user;
    let address = Address { channel: line.channel.clone(), user: line.user.clone() };
    Some(address).filter(|_| named.all(is_theirs)).filter(|a| is_writer(record, a))
}

/// Where a record's reporter has written from.
pub fn writers(record: &AlertRecord) -> impl Iterator<Item = Address> + '_ {
    record.reporter.channels.iter().map(Writer::address)
}

fn is_writer(record: &AlertRecord, address: &Address) -> bool {
    record.reporter.channels.iter().any(|w| w.is(address))
}

/// To whoever wrote the line that it answers, else to whoever writes by the channel named, else to whoever wrote last.
pub(super) fn reader(record: &AlertRecord, channel: Option<&str>, answers: Option<&str>) -> Option<Address> {
    let writers = &record.reporter.channels;
    let named = || writers.iter().find(|w| Some(w.channel.as_str()) == channel);
    let wrote = answers.and_then(|line| wrote(record, line));
    wrote.or_else(|| named().or(writers.first()).map(Writer::address))
}

/// The reporter's telephone number, unless it was only claimed: then it may be anybody's.
pub fn proven_phone(record: &AlertRecord) -> Option<&str> {
    let is_proven = !record.marks.iter().any(|m| m == "phone_unproven");
    Some(record.reporter.phone.as_str()).filter(|_| is_proven)
}

/// Whether people write on it, and it has not ended.
pub fn is_written_to(record: &AlertRecord) -> bool {
    !record.reporter.channels.is_empty() && record.state != State::Ended
}

/// Lines of ours that no channel had taken, and to whom each goes: to nobody but whom it was written to.
pub fn unsent(record: &AlertRecord) -> impl Iterator<Item = (&TextLine, Address)> {
    let queued = record.text.iter().filter(|l| l.state == Some(LineState::Queued));
    queued.filter_map(|l| Some((l, addressee(record, l)?)))
}

/// Whom a line of ours was written to. One of before lines named their users goes where there is but one.
fn addressee(record: &AlertRecord, line: &TextLine) -> Option<Address> {
    if !line.user.is_empty() {
        return Some(Address { channel: line.channel.clone(), user: line.user.clone() });
    }
    let mut theirs = writers(record).filter(|a| a.channel == line.channel);
    theirs.next().filter(|_| theirs.next().is_none())
}

fn theirs_or_only(record: &AlertRecord, sender: &Address) -> Option<Location> {
    let said = record.location.iter().find(|l| l.from.as_ref() == Some(sender));
    let taken_for_granted = || record.location.iter().find(|l| l.source == LocationSource::TrunkDefault);
    said.or_else(taken_for_granted).cloned()
}

/// Whether the words of more than one reporter may stand in a record: another alert went on as this one.
pub(super) fn is_shared(record: &AlertRecord) -> bool {
    record.id.related.iter().any(|r| r.kind == Relation::SameEvent) || record.marks.iter().any(|m| m == "split")
}

/// The human's first line that its channel has taken, of an alert whose answer has not been told: when it was written. A
/// line to somebody who was taken out answers nobody who is left, and one that was written before they came here, on another
/// alert, none of those who were here.
pub fn untold_answer(record: &AlertRecord) -> Option<Stamp> {
    let is_here = |l: &TextLine| addressee(record, l).is_some_and(|a| is_writer(record, &a));
    let was_written_here = |l: &TextLine| l.message_id.starts_with(&record.id.alert_no);
    let taken = |l: &&TextLine| l.by == "seat" && is_taken(l) && is_here(l) && was_written_here(l);
    record.text.iter().find(taken).map(|l| l.at).filter(|_| record.call.t.answer.is_none())
}

/// Whether its channel has taken a line.
pub(super) fn is_taken(line: &TextLine) -> bool {
    line.state.is_some_and(|s| s >= LineState::Sent) && !is_failed(line)
}

fn is_failed(line: &TextLine) -> bool {
    line.state == Some(LineState::Failed)
}
