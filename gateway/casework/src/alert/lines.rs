//! What an alert's record says about writing to its reporter: what they are owed, who may write, and where a line goes
//! that did not reach them.

use codecs::record::{
    Address, AlertNo, AlertRecord, Channel, Direction, Form, LineState, Promise, Relation, Stamp, State, TextLine,
};

use super::{Alerts, is_call_unfinished};
use crate::deadline;
use crate::fact::{Arrival, Message};

/// Alerts that went on as one another, at most.
const JOINED_MAX: usize = 8;

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
}

/// A line that did not reach its reporter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost<'a> {
    /// The channels that its words were tried by.
    pub tried: Vec<&'a str>,
    pub writes_by: Vec<&'a Address>,
    /// The telephone number that is theirs for certain.
    pub phone: Option<&'a str>,
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
        let is_live = is_call_unfinished(record) && record.call.t.end.is_none();
        Some(Standing {
            waits_since: deadline::waits_since(record),
            is_answered: record.call.t.answer.is_some(),
            is_missed: record.timers.iter().any(missed),
            speaks_with: record.call.seat.as_ref().filter(|_| is_live).map(|seat| seat.no.clone()),
            is_danger: record.incident.keywords.iter().any(|k| k.level == 1),
            is_silent: record.reporter.safety.silent,
        })
    }

    /// Whether a taker may write to the reporter, by this channel if one is named.
    ///
    /// # Errors
    /// Why not.
    pub fn may_be_written_to(
        &self,
        no: AlertNo,
        channel: Option<&str>,
        despite_silence: bool,
    ) -> Result<(), NotWritten> {
        if self.is_silent(no) && !despite_silence {
            return Err(NotWritten::Silent);
        }
        let writes_by = |channel: &str| self.get(no).is_none_or(|r| writers(r).any(|a| a.channel == channel));
        if channel.is_none_or(writes_by) { Ok(()) } else { Err(NotWritten::OtherChannel) }
    }

    /// The alerts in which a line stands: the one that it was written in, and those that this went on as.
    pub fn holders(&self, mut no: AlertNo, line: &str) -> Vec<AlertNo> {
        let mut holders = Vec::new();
        while let Some(record) = self.get(no).filter(|_| holders.len() < JOINED_MAX && !holders.contains(&no)) {
            if record.text.iter().any(|l| l.message_id == line) {
                holders.push(no);
            }
            let joined = record.id.related.iter().rev().find(|r| r.kind == Relation::Duplicate);
            match joined.and_then(|r| AlertNo::parse(&r.alert_no)) {
                Some(other) => no = other,
                None => break,
            }
        }
        holders
    }

    /// What is to be known of a line that has just failed; none: it had failed before.
    pub fn lost(&self, no: AlertNo, line: &str) -> Option<Lost<'_>> {
        let record = self.get(no)?;
        if record.text.iter().any(|l| l.message_id == line && is_failed(l)) {
            return None;
        }
        let (mut tried, mut name) = (Vec::new(), line);
        while let Some(found) = record.text.iter().rev().find(|l| !name.is_empty() && l.message_id == name) {
            tried.push(found.channel.as_str());
            name = &found.instead_of;
        }
        Some(Lost {
            tried,
            writes_by: writers(record).collect(),
            phone: proven_phone(record),
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
        let theirs = |l: &&TextLine| l.channel == apart.sender.channel && l.dir == Some(Direction::In);
        let first = record.text.iter().find(theirs)?.clone();
        let arrival = Arrival {
            channel: apart.channel,
            caller: apart.caller,
            called: record.source.called_number.clone(),
            trunk: apart.by.to_owned(),
            message_id: first.message_id.clone(),
            subscriber: None,
            location: record.location.first().cloned(),
            jurisdiction: record.route.jurisdiction.clone(),
            owner: record.route.owner.clone(),
            marks: Vec::new(),
            follows: None,
        };
        let message = Message {
            address: apart.sender.clone(),
            message_id: first.message_id,
            body: first.body,
            forms: vec![Form::Text],
            attachments: first.attachments,
            place: None,
            receipt: None,
            silent: record.reporter.safety.silent,
            marks: Vec::new(),
        };
        Some((arrival, message))
    }
}

/// Where a record's reporter has written from.
pub fn writers(record: &AlertRecord) -> impl Iterator<Item = &Address> {
    record.reporter.channels.iter()
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

/// Lines of ours that no channel had taken, and to whom each goes.
pub fn unsent(record: &AlertRecord) -> impl Iterator<Item = (&TextLine, &Address)> {
    let queued = record.text.iter().filter(|l| l.state == Some(LineState::Queued));
    queued.filter_map(|l| Some((l, writers(record).find(|a| a.channel == l.channel)?)))
}

/// The human's first line that its channel has taken, of an alert whose answer has not been told: when it was written.
pub fn untold_answer(record: &AlertRecord) -> Option<Stamp> {
    let taken = |l: &&TextLine| l.by == "seat" && l.state.is_some_and(|s| s >= LineState::Sent) && !is_failed(l);
    record.text.iter().find(taken).map(|l| l.at).filter(|_| record.call.t.answer.is_none())
}

fn is_failed(line: &TextLine) -> bool {
    line.state == Some(LineState::Failed)
}
