//! People in alerts: two alerts that become one, one of several who is taken out, and who writes and calls where after a
//! start.

use std::collections::BTreeMap;

use codecs::record::{Address, AlertNo, AlertRecord, Stamp, TextLine, Writer};
use codecs::time::Wall;

use casework::{Apart, Fact, JoinFact, proven_phone};
use dispatch::conversation::Return;
use dispatch::nearest::Place;

use super::{Casebook, ChannelRule};
use crate::message::Failure;
use crate::{is_telephone, telephone};

/// Somebody who writes, as a record has them.
struct Written {
    /// When they wrote last.
    last: Wall,
    sender: Address,
    phone: Option<String>,
    /// Numbers that they showed before it.
    also: Vec<String>,
    alert: AlertNo,
    /// What their first word began.
    began: AlertNo,
}

impl Casebook {
    /// `from` goes on as `to`: its lines, its senders and its taker.
    pub(super) fn join(&mut self, at: Wall, from: AlertNo, to: AlertNo) -> Result<(), Failure> {
        // Two that were joined before are one: whoever joins the first joins what it goes on as.
        let to = self.alerts.goes_on_as(to);
        if from == to {
            return Err(Failure::Conflict("an alert is not joined to itself, nor to one that goes on as it"));
        }
        if self.alerts.goes_on_as(from) != from {
            return Err(Failure::Conflict("this alert goes on as another already"));
        }
        if !self.alerts.is_within_reach(to) {
            return Err(Failure::NotFound("no open alert with this number"));
        }
        let belongings = self.alerts.belongings(from).ok_or(Failure::NotFound("no open alert to be joined"))?;
        if !self.alerts.has_room_for_alert(to, from) {
            return Err(Failure::Conflict("as many people or alerts as may are in this one"));
        }
        let spoken = self.alerts.get(to).map(|r| (r.call.t.answer.is_some(), r.call.seat.clone()));
        let (is_answered, seat) = spoken.unwrap_or_default();
        // A complaint reaches both before either tells of the other.
        let complaint_of = |no| self.alerts.get(no).and_then(|r| r.incident.complaint_of.clone());
        if let Some(complaint) = complaint_of(to).or_else(|| complaint_of(from)) {
            for one in [from, to] {
                self.complain(at, one, &complaint);
                self.spread_complaint(at, one, &complaint);
            }
        }
        // First the conversation: with the join its alert ends.
        self.talks.join(self.now, from, to, is_answered, seat.map(|seat| seat.no));
        self.fact(at, from, Fact::Join(JoinFact::JoinedTo { other: to }));
        self.fact(at, to, Fact::Join(JoinFact::Absorbed { other: from, belongings: Box::new(belongings) }));
        self.wait_anew(at, to);
        self.follow_talks(at);
        Ok(())
    }

    /// A number is called back once: whoever was to be called back for `no` is called back for `other`.
    pub(super) fn called_back_as(&mut self, at: Wall, no: AlertNo, other: AlertNo) {
        let root = self.alerts.goes_on_as(other);
        if root != no && self.alerts.goes_on_as(no) == no {
            // Where there is no room the two stay two; the reporter is called back all the same.
            let _ = self.join(at, no, root);
        }
        self.fact(at, no, Fact::Join(JoinFact::CalledBackAs { other }));
    }

    /// A conversation waits for its first line as its alert does.
    fn wait_anew(&mut self, at: Wall, no: AlertNo) {
        if let Some(since) = self.alerts.waits_since(self.now, at, no) {
            self.talks.waits_since(self.now, no, since);
        }
    }

    /// A sender's messages leave `no` for the alert that they began, or a new one. Returns its number.
    pub(super) fn split(&mut self, at: Wall, no: AlertNo, sender: &Address) -> Result<AlertNo, Failure> {
        let leaves = self.talks.leaves_for(no, sender, |own| self.alerts.is_within_reach(own));
        let leaves = leaves.ok_or(Failure::NotFound("no such sender here"))?;
        let rule = self.channel(&sender.channel).ok_or(Failure::NotFound("no such channel"))?.clone();
        let belongings = self.alerts.belongings_of(no, sender).ok_or(Failure::NotFound("no such sender here"))?;
        let known = belongings.writers.first().map(|(w, _)| std::iter::once(&w.phone).chain(&w.also));
        let known = known.into_iter().flatten().map(|known| self.number_of(&rule, sender, known));
        // The one that they showed last stands in front.
        let numbers: Vec<String> = known.filter(|number| !number.is_empty()).collect();
        self.may_leave(no, leaves, &numbers)?;
        let to = match leaves {
            Return::Own(own) => self.theirs_above(own, no, &numbers),
            Return::New => match self.call_in(no, &numbers) {
                Some(call) => call,
                None => self.new_from(at, no, sender, (&rule, numbers.first().cloned().unwrap_or_default()))?,
            },
        };
        let stay = self.not_theirs(to, leaves, &numbers);
        self.talks.split(sender, to);
        self.fact(at, no, Fact::Join(JoinFact::SplitOff { other: to, address: sender.clone() }));
        self.fact(at, to, Fact::Join(JoinFact::SplitFrom { other: no, belongings: Box::new(belongings) }));
        // Those that went on as theirs and are others' go on where they were.
        for other in stay {
            self.fact(at, other, Fact::Join(JoinFact::JoinedTo { other: no }));
            self.fact(at, no, Fact::Join(JoinFact::Absorbed { other, belongings: Box::default() }));
        }
        self.heed_silence(at, to, sender, false);
        let is_empty = |r: &AlertRecord| r.reporter.channels.is_empty() && r.call.legs.is_empty();
        if self.alerts.get(no).is_some_and(is_empty) {
            // Nobody is left but calls that were joined: each stands by itself again.
            for call in self.calls_below(no) {
                self.free(at, no, call);
            }
        }
        if self.alerts.get(no).is_some_and(|r| r.reporter.channels.is_empty()) {
            // Everybody has left.
            self.end_talk(at, no);
        }
        self.wait_anew(at, no);
        self.heard(at, to, &rule);
        self.wait_anew(at, to);
        self.follow_talks(at);
        Ok(to)
    }

    /// The telephone number that is this writer's for certain.
    pub(super) fn number_of(&self, rule: &ChannelRule, sender: &Address, known: &str) -> String {
        let number = if rule.user_is_phone { telephone(&sender.user) } else { telephone(known) };
        Some(number).filter(|n| is_telephone(n)).unwrap_or_default()
    }

    /// A call that goes on as another alert stands by itself again.
    pub(super) fn split_call(&mut self, at: Wall, no: AlertNo, call: AlertNo) -> Result<AlertNo, Failure> {
        if !self.calls_below(no).contains(&call) {
            return Err(Failure::NotFound("no call of this number goes on as this alert"));
        }
        // Whoever called and has written as well leaves with their words.
        let phone = self.alerts.get(call).and_then(proven_phone).map(telephone).unwrap_or_default();
        let record = self.alerts.get(no);
        let writers = record.into_iter().flat_map(|r| r.reporter.channels.iter().map(move |w| (r, w)));
        let theirs = writers.filter(|(record, writer)| self.numbers_of_writer(record, writer).contains(&phone));
        let theirs: Vec<Address> = theirs.map(|(_, writer)| writer.address()).collect();
        for sender in theirs {
            // One who is alone there, or whose alert it is, stays.
            let _ = self.split(at, no, &sender);
        }
        if self.calls_below(no).contains(&call) {
            self.free(at, no, call);
        }
        Ok(call)
    }

    fn calls_below(&self, no: AlertNo) -> Vec<AlertNo> {
        let is_call = |no: &AlertNo| self.alerts.get(*no).is_some_and(|record| !record.call.legs.is_empty());
        self.alerts.joined_at_once(no).into_iter().filter(is_call).collect()
    }

    fn free(&mut self, at: Wall, no: AlertNo, call: AlertNo) {
        self.fact(at, no, Fact::Join(JoinFact::Freed { other: call }));
        self.fact(at, call, Fact::Join(JoinFact::Freed { other: no }));
        let phone = self.alerts.get(call).and_then(proven_phone).map(telephone).filter(|phone| is_telephone(phone));
        if let Some(phone) = phone {
            self.talks.note_call(self.now, &phone, call);
        }
    }

    /// Nobody is taken out of what is theirs alone.
    fn may_leave(&self, no: AlertNo, leaves: Return, numbers: &[String]) -> Result<(), Failure> {
        let Some(record) = self.alerts.get(no) else { return Ok(()) };
        let calls = !record.call.legs.is_empty();
        if calls && is_one_of(record, numbers) {
            return Err(Failure::Conflict("the call of this alert is theirs: take the others out"));
        }
        // A call that goes on as theirs and is another's stays where they leave.
        let is_others = |no: &AlertNo| {
            let other = self.alerts.get(*no).filter(|r| !r.call.legs.is_empty());
            other.is_some_and(|record| !is_one_of(record, numbers))
        };
        let is_alone = record.reporter.channels.len() == 1 && !self.alerts.members(no).iter().any(is_others);
        if !calls && leaves == Return::New && is_alone {
            return Err(Failure::Conflict("nobody else is in this alert"));
        }
        Ok(())
    }

    /// Of what the alert that they began went on as, below `no`, the last that is theirs: a call of their number.
    fn theirs_above(&self, own: AlertNo, no: AlertNo, numbers: &[String]) -> AlertNo {
        let is_theirs = |other: &AlertNo| self.alerts.get(*other).is_some_and(|record| is_one_of(record, numbers));
        let between = self.alerts.joined(own).into_iter().skip(1).take_while(|other| *other != no);
        between.take_while(is_theirs).last().unwrap_or(own)
    }

    /// The call of these numbers that goes on as `no`: whoever leaves has it again.
    fn call_in(&self, no: AlertNo, numbers: &[String]) -> Option<AlertNo> {
        let is_theirs = |other: &AlertNo| {
            let record = self.alerts.get(*other).filter(|r| !r.call.legs.is_empty());
            *other != no && record.is_some_and(|record| is_one_of(record, numbers))
        };
        self.alerts.members(no).into_iter().find(is_theirs)
    }

    /// What goes on as an alert that somebody leaves for, and is not theirs: what others began.
    fn not_theirs(&self, to: AlertNo, leaves: Return, numbers: &[String]) -> Vec<AlertNo> {
        let is_theirs = |other: AlertNo| {
            leaves == Return::Own(other) || self.alerts.get(other).is_some_and(|record| is_one_of(record, numbers))
        };
        self.alerts.joined_at_once(to).into_iter().filter(|other| !is_theirs(*other)).collect()
    }

    /// An alert that begins with one sender's first line of another.
    fn new_from(
        &mut self,
        at: Wall,
        no: AlertNo,
        sender: &Address,
        (rule, caller): (&ChannelRule, String),
    ) -> Result<AlertNo, Failure> {
        let apart = Apart { sender, channel: rule.channel, by: &rule.name, caller };
        let report = self.alerts.taken_apart(no, apart);
        let (mut arrival, message) = report.ok_or(Failure::Conflict("this sender has not written here"))?;
        if let Some(location) = &arrival.location {
            let grid = Some(location.grid_code.clone()).filter(|g| !g.is_empty());
            let (jurisdiction, owner) = self.jurisdiction(&Place { grid, point: location.wgs84, avoid: None });
            (arrival.jurisdiction, arrival.owner) = (jurisdiction, owner);
        }
        let (to, reserved) = self.mint_number(at);
        if !reserved {
            arrival.marks.push("number_unreserved".into());
        }
        self.fact(at, to, Fact::Written(Box::new(arrival), Box::new(message)));
        Ok(to)
    }

    /// Who writes to which alert, and who calls from which number: once all records are there.
    pub(super) fn restore_threads(&mut self, at: Wall) {
        let mut threads: Vec<Written> = Vec::new();
        let mut calls: Vec<(Wall, String, AlertNo)> = Vec::new();
        for record in self.alerts.recent().chain(self.alerts.open().map(|(_, record)| record)) {
            let Some(no) = AlertNo::parse(&record.id.alert_no) else { continue };
            let goes_on_as = self.alerts.goes_on_as(no);
            let came = record.call.t.arrive.unwrap_or(Stamp(Wall(0))).0;
            let last = record.text.last().map_or(came, |l| l.at.0);
            if let Some(phone) = proven_phone(record).map(telephone).filter(|p| is_telephone(p)) {
                calls.push((last, phone, goes_on_as));
            }
            // Whoever writes on what went on as another stands in that one, or was taken out of it.
            if goes_on_as == no {
                threads.extend(self.writers_of(no, record, came));
            }
        }
        // The newest word says where they are.
        threads.sort_by_key(|written| written.last);
        let mut with_sender: BTreeMap<String, AlertNo> = BTreeMap::new();
        for Written { last, sender, phone, also, alert, began } in threads {
            with_sender.extend(also.iter().chain(&phone).map(|phone| (phone.clone(), alert)));
            calls.extend(also.into_iter().map(|phone| (last, phone, alert)));
            self.talks.restore_thread(self.instant_of(at, last), &sender, phone.as_deref(), (alert, began));
        }
        calls.sort_by_key(|(last, ..)| *last);
        for (last, phone, alert) in calls {
            // A number goes where its sender is.
            let alert = with_sender.get(&phone).copied().unwrap_or(alert);
            self.talks.note_call(self.instant_of(at, last), &phone, alert);
        }
    }

    /// Those who write on an alert.
    fn writers_of(&self, alert: AlertNo, record: &AlertRecord, came: Wall) -> Vec<Written> {
        let written = |writer: &Writer| {
            let (sender, began) = (writer.address(), AlertNo::parse(&writer.began));
            // Their own last word, and not another's: it says where they are.
            let theirs_too = |l: &&TextLine| l.channel == writer.channel && l.user == writer.user;
            let last = record.text.iter().rev().find(theirs_too).map_or(came, |l| l.at.0);
            let mut also = self.numbers_of_writer(record, writer);
            let phone = (!also.is_empty()).then(|| also.remove(0));
            Written { last, sender, phone, also, alert, began: began.unwrap_or(alert) }
        };
        record.reporter.channels.iter().map(written).collect()
    }
}

/// Whether an alert's telephone number is for certain one of these.
fn is_one_of(record: &AlertRecord, numbers: &[String]) -> bool {
    proven_phone(record).map(telephone).is_some_and(|phone| numbers.contains(&phone))
}
