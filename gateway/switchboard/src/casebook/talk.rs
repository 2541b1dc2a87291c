//! Conversations: their taker, the first line that is owed, lines out, and two that become one.

use std::collections::BTreeSet;

use codecs::record::{
    Address, AlertNo, AlertRecord, AnswerMode, Direction, LineState, Note, Relation, SeatInfo, Stamp, State, TextLine,
};
use codecs::time::{Mono, Wall};

use casework::{Fact, Say, is_call_unfinished};
use dispatch::conversation::{QuotaRule, Seen};
use dispatch::policy::ANSWER_WITHIN;
use dispatch::seat::{Class, GroupId};

use super::intake::{class_of, senders};
use super::{Casebook, ChannelRule, Deferred, Outbound, Output, is_final};
use crate::message::{Failure, SayRequest, ToDesk};
use crate::{is_telephone, telephone};

/// Alerts that went on as one another, at most.
const JOINED_MAX: usize = 8;

/// An alert in which people write.
pub(super) struct Talk {
    arrived: Mono,
    last: Mono,
    group: GroupId,
    skills: u32,
    class: Class,
    seat: Option<SeatInfo>,
    overflow: bool,
    answered: bool,
}

/// News for a seat; what it says is read from the record when it is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    pub seat: String,
    pub alert: AlertNo,
    pub what: News,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The conversation is this seat's.
    Given,
    /// The reporter has written.
    Line,
    /// A line of ours has got somewhere, or nowhere.
    State,
    TakenBack,
    Ended,
}

impl News {
    pub fn text(self) -> &'static str {
        match self {
            News::Given => "given",
            News::Line => "line",
            News::State => "state",
            News::TakenBack => "taken_back",
            News::Ended => "ended",
        }
    }
}

impl Casebook {
    /// The reporter has written: somebody is to read it.
    pub(super) fn heard(&mut self, at: Wall, no: AlertNo, rule: &ChannelRule) {
        let now = self.now;
        let Some(record) = self.alerts.get(no) else { return };
        let class = class_under_overload(record, rule);
        if let Some(talk) = self.talks.get_mut(&no) {
            self.idle.remove(&(talk.last, no));
            talk.last = now;
            talk.class = talk.class.min(class);
            self.idle.insert((now, no));
            if let Some(seat) = talk.seat.clone() {
                self.notice(&seat.no, no, News::Line);
            }
            return;
        }
        let answered = record.call.t.answer.is_some();
        let missed = record.timers.iter().any(|t| t.name == "T1" && (t.breach || t.met_at.is_some()));
        let live = is_call_unfinished(record) && record.call.t.end.is_none();
        let prefer = record.call.seat.as_ref().filter(|_| live).map(|s| s.no.clone());
        let talk = Talk {
            arrived: record.call.t.arrive.map_or(now, |s| self.instant_of(at, s.0)),
            last: now,
            group: rule.group,
            skills: rule.skills,
            class,
            seat: None,
            overflow: false,
            answered,
        };
        // A promise that was missed before is told once.
        if !answered && !missed {
            self.owed.insert((talk.arrived + ANSWER_WITHIN, no));
        }
        self.idle.insert((now, no));
        self.want(no, &talk, prefer);
        self.talks.insert(no, talk);
    }

    fn want(&mut self, alert: AlertNo, talk: &Talk, prefer: Option<String>) {
        let within = (talk.arrived + ANSWER_WITHIN).since(self.now);
        let (group, class, skills) = (talk.group, talk.class, talk.skills);
        self.outputs.push_back(Output::Desk(ToDesk::WantConversation { alert, group, class, within, prefer, skills }));
    }

    pub(super) fn given(&mut self, at: Wall, no: AlertNo, seat: SeatInfo, overflow: bool) {
        let Some(talk) = self.talks.get_mut(&no) else {
            // It ended while the desk looked for a seat.
            return self.outputs.push_back(Output::Desk(ToDesk::ReleaseConversation { alert: no }));
        };
        (talk.seat, talk.overflow) = (Some(seat.clone()), overflow);
        let number = seat.no.clone();
        self.fact(at, no, Fact::Held { seat });
        self.notice(&number, no, News::Given);
    }

    pub(super) fn taken_back(&mut self, no: AlertNo, seat: String) {
        if let Some(talk) = self.talks.get_mut(&no)
            && talk.seat.as_ref().is_some_and(|s| s.no == seat)
        {
            talk.seat = None;
        }
        self.notice(&seat, no, News::TakenBack);
    }

    pub(super) fn notice(&mut self, seat: &str, alert: AlertNo, what: News) {
        self.outputs.push_back(Output::Notice(Notice { seat: seat.to_owned(), alert, what }));
    }

    pub(super) fn tell(&mut self, seat: &str) {
        let held: Vec<AlertNo> = self
            .talks
            .iter()
            .filter(|(_, t)| t.seat.as_ref().is_some_and(|s| s.no == seat))
            .map(|(no, _)| *no)
            .collect();
        for no in held {
            self.notice(seat, no, News::Given);
        }
    }

    pub(super) fn holds(&self, no: AlertNo, seat: &str) -> Result<(), Failure> {
        let talk = self.talks.get(&no).ok_or(Failure::Conflict("nobody writes on this alert"))?;
        if talk.seat.as_ref().is_some_and(|s| s.no == seat) {
            Ok(())
        } else {
            Err(Failure::Conflict("the conversation is not at this seat"))
        }
    }

    pub(super) fn say(&mut self, say: SayRequest) {
        let SayRequest { at, no, seat, body, channel, answers, done, despite_silence, request } = say;
        let allowed = self.holds(no, &seat).and_then(|()| {
            if self.alerts.is_silent(no) && !despite_silence {
                return Err(Failure::Silent);
            }
            match (&channel, self.alerts.get(no)) {
                (Some(c), Some(r)) if !senders(r).any(|a| a.channel == *c) => {
                    Err(Failure::Conflict("the reporter has not written by this channel"))
                }
                _ => Ok(()),
            }
        });
        if let Err(failure) = allowed {
            return self.answer(request, Err(failure));
        }
        let now = self.now;
        let Some(talk) = self.talks.get_mut(&no) else { return };
        let Some(seat) = talk.seat.clone() else { return };
        self.idle.remove(&(talk.last, no));
        talk.last = now;
        self.idle.insert((now, no));
        self.outputs.push_back(Output::Desk(ToDesk::ConversationAnswered { alert: no }));
        self.fact(at, no, Fact::Replied { seat, body, channel, answers });
        if done {
            self.end_talk(at, no);
        }
        self.answer(request, Ok(Some(no)));
    }

    /// A human's line has been taken by its channel: the first one is the answer.
    fn taken_by_channel(&mut self, at: Wall, no: AlertNo, line: &str) {
        let Some(record) = self.alerts.get(no) else { return };
        let human = record.text.iter().rev().any(|l| l.message_id == line && l.by == "seat");
        if !human || record.call.t.answer.is_some() {
            return;
        }
        let arrived = record.call.t.arrive.map_or(at, |s| s.0);
        let talk = self.talks.get_mut(&no);
        let overflow = talk.as_ref().is_some_and(|t| t.overflow);
        let since = match talk {
            Some(talk) => {
                talk.answered = true;
                talk.arrived
            }
            None => self.instant_of(at, arrived),
        };
        self.owed.remove(&(since + ANSWER_WITHIN, no));
        let after_ms = self.now.since(since).as_millis() as u64;
        let mode = if overflow { AnswerMode::Overflow } else { AnswerMode::Seat };
        self.fact(at, no, Fact::AnsweredInWriting { mode, after_ms });
    }

    /// A line of an alert goes to its channel once it is durable, if the channel still allows one.
    pub(super) fn queue_line(&mut self, at: Wall, say: Say) {
        let urgent = self.talks.get(&say.no).is_some_and(|t| t.class <= Class::Silent);
        let outbound = Outbound {
            line: say.line,
            to: say.address,
            body: say.body,
            reply_to: say.reply_to,
            urgent,
            notice: false,
            templated: false,
            arrived: say.arrived.0,
            is_receipt: say.is_receipt,
            is_answer: say.is_answer,
        };
        match self.take_quota(&outbound.to) {
            Some(templated) => self.defer(Deferred::Outbound(Box::new(Outbound { templated, ..outbound }))),
            None => {
                self.line_state(at, outbound.line, LineState::Failed, "the platform allows no further reply".into())
            }
        }
    }

    /// A channel without a quota needs no count.
    pub(super) fn note_heard(&mut self, from: &Address) {
        if self.channel(&from.channel).is_some_and(|c| c.quota != QuotaRule::default()) {
            self.quota.heard(self.now, from);
        }
    }

    /// Counts a line to `to`: whether it goes as a template, or not at all.
    fn take_quota(&mut self, to: &Address) -> Option<bool> {
        let rule = self.channel(&to.channel)?;
        let (quota, has_template) = (rule.quota, rule.has_template);
        if self.quota.take(self.now, to, quota).is_ok() {
            return Some(false);
        }
        self.count(&to.channel.clone(), "quota_spent");
        has_template.then_some(true)
    }

    /// Where else the reporter can be written to: by a channel they wrote by, or by SMS to their mobile telephone. Not
    /// by one that failed for these words before, and never unasked to whoever must not be heard.
    fn other_way(&self, record: &AlertRecord, line: &str) -> Option<Address> {
        let failed_before = |l: &TextLine| l.message_id == line && l.state == Some(LineState::Failed);
        if record.reporter.safety.silent || record.text.iter().any(failed_before) {
            return None;
        }
        let mut tried = Vec::new();
        let mut name = line;
        while let Some(found) = record.text.iter().rev().find(|l| !name.is_empty() && l.message_id == name) {
            tried.push(found.channel.as_str());
            name = &found.instead_of;
        }
        let mobile = telephone(&record.reporter.phone);
        // A number that is only claimed may be anybody's.
        let proven = !record.marks.iter().any(|m| m == "phone_unproven");
        let is_mobile = proven && mobile.len() == 11 && mobile.starts_with('1');
        let sms = self.config.channels.iter().filter(|c| is_mobile && c.channel == codecs::record::Channel::Sms12110);
        let by_sms = sms.map(|c| Address { channel: c.name.clone(), user: mobile.clone() });
        let mut ways = senders(record).cloned().chain(by_sms).filter(|a| !tried.contains(&a.channel.as_str()));
        ways.find(|a| {
            self.channel(&a.channel).is_some_and(|c| c.has_template || self.quota.allows(self.now, a, c.quota).is_ok())
        })
    }

    pub(super) fn line_state(&mut self, at: Wall, line: String, state: LineState, why: String) {
        let Some(no) = line.get(..30).and_then(AlertNo::parse) else {
            // A line without an alert: its sender asks for its state by name.
            return self.note(at, &Note::Line { line, state });
        };
        self.note(at, &Note::Line { line: line.clone(), state });
        let mut holders = self.holders(no, &line);
        let Some(no) = holders.pop() else { return };
        for former in holders {
            self.fact(at, former, Fact::LineState { line: line.clone(), state, why: why.clone() });
        }
        if state == LineState::Failed
            && let Some(to) = self.alerts.get(no).and_then(|record| self.other_way(record, &line))
            && self.fact(at, no, Fact::SentAgain { line: line.clone(), to: to.clone() })
        {
            return self.count(&to.channel, "sent_again");
        }
        if !self.fact(at, no, Fact::LineState { line: line.clone(), state, why }) {
            return;
        }
        if matches!(state, LineState::Sent | LineState::Delivered) {
            self.taken_by_channel(at, no, &line);
        }
        if let (true, Some(seat)) = (is_final(state), self.talks.get(&no).and_then(|t| t.seat.clone())) {
            self.notice(&seat.no, no, News::State);
        }
    }

    /// The alerts in which a line stands: the one that it was written in, and those that this went on as.
    fn holders(&self, mut no: AlertNo, line: &str) -> Vec<AlertNo> {
        let mut holders = Vec::new();
        while let Some(record) = self.alerts.get(no).filter(|_| holders.len() < JOINED_MAX && !holders.contains(&no)) {
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

    /// A line to anybody. What must not be heard is not written to unasked.
    pub(super) fn send(
        &mut self,
        at: Wall,
        line: String,
        to: Address,
        body: String,
        notice: bool,
    ) -> Result<(), Failure> {
        let rule = self.channel(&to.channel).ok_or(Failure::NotFound("no such channel"))?;
        let phone = rule.user_is_phone.then(|| telephone(&to.user));
        if phone.as_deref().is_some_and(|p| !is_telephone(p)) {
            return Err(Failure::Conflict("this is no telephone number"));
        }
        let alert = self.threads.find(&to, phone.as_deref());
        if alert.is_some_and(|no| self.alerts.is_silent(no)) {
            return Err(Failure::Silent);
        }
        let Some(templated) = self.take_quota(&to) else {
            return Err(Failure::Conflict("the platform allows no further message to this user now"));
        };
        let by = self.acting.clone();
        self.note(at, &Note::Outbound { line: line.clone(), to: to.clone(), body: body.clone(), notice, by });
        let outbound = Outbound { notice, templated, ..Outbound::plain(line, to, body, at) };
        self.defer(Deferred::Outbound(Box::new(outbound)));
        Ok(())
    }

    pub(super) fn end_talk(&mut self, at: Wall, no: AlertNo) {
        let seat = self.talks.get(&no).and_then(|t| t.seat.clone());
        self.forget_talk(no);
        self.fact(at, no, Fact::ConversationEnded);
        if let Some(seat) = seat {
            self.notice(&seat.no, no, News::Ended);
        }
    }

    pub(super) fn forget_talk(&mut self, no: AlertNo) {
        if let Some(talk) = self.talks.remove(&no) {
            self.owed.remove(&(talk.arrived + ANSWER_WITHIN, no));
            self.idle.remove(&(talk.last, no));
            self.outputs.push_back(Output::Desk(ToDesk::ReleaseConversation { alert: no }));
        }
    }

    /// `from` goes on as `to`: its lines, its senders and its taker.
    pub(super) fn join(&mut self, at: Wall, from: AlertNo, to: AlertNo) -> Result<(), Failure> {
        if from == to {
            return Err(Failure::Conflict("an alert is not joined to itself"));
        }
        let reach = |no| self.alerts.is_within_reach(no);
        if !reach(to) {
            return Err(Failure::NotFound("no open alert with this number"));
        }
        let belongings = self.alerts.belongings(from).ok_or(Failure::NotFound("no open alert to be joined"))?;
        // Taken out first: with the join its alert ends.
        let moved = self.talks.remove(&from);
        let seat = moved.as_ref().and_then(|t| t.seat.clone());
        self.fact(at, from, Fact::JoinedTo { other: to });
        if let Some(talk) = &moved {
            self.owed.remove(&(talk.arrived + ANSWER_WITHIN, from));
            self.idle.remove(&(talk.last, from));
            self.outputs.push_back(Output::Desk(ToDesk::ReleaseConversation { alert: from }));
        }
        self.fact(at, to, Fact::Absorbed { other: from, belongings: Box::new(belongings) });
        self.threads.join(from, to);
        if let Some(seat) = &seat {
            self.notice(&seat.no, from, News::Ended);
        }
        match (moved, self.talks.contains_key(&to)) {
            (Some(talk), false) => {
                // The promise counts from the first of the two; a call that was answered has kept it.
                let answered = talk.answered || self.alerts.get(to).is_some_and(|r| r.call.t.answer.is_some());
                let prefer = self.alerts.get(to).and_then(|r| r.call.seat.clone()).or(seat).map(|s| s.no);
                let talk = Talk { seat: None, answered, ..talk };
                if !answered {
                    self.owed.insert((talk.arrived + ANSWER_WITHIN, to));
                }
                self.idle.insert((talk.last, to));
                self.want(to, &talk, prefer);
                self.talks.insert(to, talk);
            }
            (_, true) => {
                if let Some(seat) = self.talks[&to].seat.clone() {
                    self.notice(&seat.no, to, News::Line);
                }
            }
            (None, false) => {}
        }
        Ok(())
    }

    /// A sender's messages leave `no` for the alert that they began, or a new one. Returns its number.
    pub(super) fn split(&mut self, at: Wall, no: AlertNo, sender: &Address) -> Result<AlertNo, Failure> {
        let thread =
            *self.threads.get(sender).filter(|t| t.alert == no).ok_or(Failure::NotFound("no such sender here"))?;
        let rule = self.channel(&sender.channel).ok_or(Failure::NotFound("no such channel"))?.clone();
        let returns = thread.own != no && self.alerts.is_within_reach(thread.own);
        let to = if returns { thread.own } else { self.new_from(at, no, sender, &rule)? };
        self.threads.split(sender, to);
        self.fact(at, no, Fact::SplitOff { other: to, address: sender.clone() });
        self.fact(at, to, Fact::SplitFrom { other: no });
        self.heard(at, to, &rule);
        Ok(to)
    }

    /// An alert made of one sender's lines of another.
    fn new_from(&mut self, at: Wall, no: AlertNo, sender: &Address, rule: &ChannelRule) -> Result<AlertNo, Failure> {
        let record = self.alerts.get(no).ok_or(Failure::NotFound("no open alert with this number"))?;
        let theirs: Vec<_> = record
            .text
            .iter()
            .filter(|l| l.channel == sender.channel && l.dir == Some(Direction::In))
            .cloned()
            .collect();
        let first = theirs.first().cloned().ok_or(Failure::Conflict("this sender has not written here"))?;
        let arrival = casework::Arrival {
            channel: rule.channel,
            caller: if rule.user_is_phone { telephone(&sender.user) } else { String::new() },
            called: record.source.called_number.clone(),
            trunk: rule.name.clone(),
            message_id: first.message_id.clone(),
            subscriber: None,
            location: record.location.first().cloned(),
            jurisdiction: record.route.jurisdiction.clone(),
            owner: record.route.owner.clone(),
            marks: Vec::new(),
            follows: None,
        };
        let message = casework::Message {
            address: sender.clone(),
            message_id: first.message_id,
            body: first.body,
            forms: vec![codecs::record::Form::Text],
            attachments: first.attachments,
            place: None,
            receipt: None,
            silent: record.reporter.safety.silent,
            marks: Vec::new(),
        };
        let (to, _) = self.mint_number(at);
        self.fact(at, to, Fact::Written(Box::new(arrival), Box::new(message)));
        Ok(to)
    }

    pub(super) fn talk_timeouts(&mut self, at: Wall) {
        while let Some(&(due, no)) = self.owed.first()
            && due <= self.now
        {
            self.owed.pop_first();
            self.fact(at, no, Fact::Breach { timer: "T1" });
            let channel = self.alerts.get(no).map(|r| r.source.trunk.clone()).unwrap_or_default();
            self.count(&channel, "breach");
        }
        while let Some(&(last, no)) = self.idle.first()
            && last + self.config.patience.idle <= self.now
        {
            self.idle.pop_first();
            self.end_talk(at, no);
        }
    }

    /// Names, threads and numbers of a record that the journal had.
    pub(super) fn restore_talk(&mut self, at: Wall, record: &AlertRecord) {
        let Some(no) = AlertNo::parse(&record.id.alert_no) else { return };
        for line in record.text.iter().filter(|l| l.dir == Some(Direction::In)) {
            let (then, name) = (self.named_at(at, line.at.0), Seen::name(&line.channel, &line.message_id));
            self.seen.note(then, &line.channel, name);
            self.seen.belongs(name, no);
            self.seen_lately.restore(then, name, no);
            self.assembly.forget(&line.channel, &line.message_id);
        }
        let last = record.text.last().map(|l| l.at).or(record.call.t.arrive).unwrap_or(Stamp(Wall(0))).0;
        let last = self.instant_of(at, last);
        let joined = record.id.related.iter().find(|r| r.kind == codecs::record::Relation::Duplicate);
        let alert = joined.and_then(|r| AlertNo::parse(&r.alert_no)).unwrap_or(no);
        let proven = !record.marks.iter().any(|m| m == "phone_unproven");
        let phone = Some(telephone(&record.reporter.phone)).filter(|p| proven && is_telephone(p));
        for sender in senders(record) {
            self.threads.note(last, sender, phone.as_deref(), alert);
        }
        if let Some(phone) = phone {
            self.threads.note_phone(last, &phone, alert);
        }
    }

    pub(super) fn resume_talks(&mut self, at: Wall) {
        let unsent_elsewhere = std::mem::take(&mut self.restored_outbound);
        for (line, outbound) in unsent_elsewhere {
            if !self.restored_lines.contains_key(&line) {
                self.defer(Deferred::Outbound(Box::new(outbound)));
            }
        }
        self.restored_lines.clear();
        let open: Vec<(AlertNo, Vec<Outbound>, Option<ChannelRule>)> =
            self.alerts.open().map(|(no, r)| (*no, unsent(r), self.rule_of(r))).collect();
        // A line stands in two alerts where one went on as the other; it leaves once.
        let mut left = BTreeSet::new();
        for (no, lines, rule) in open {
            self.answered_before(at, no);
            for line in lines.into_iter().filter(|l| left.insert(l.line.clone())) {
                self.note_heard(&line.to);
                self.defer(Deferred::Outbound(Box::new(line)));
            }
            let writes =
                self.alerts.get(no).is_some_and(|r| !r.reporter.channels.is_empty() && r.state != State::Ended);
            if let (true, Some(rule)) = (writes, rule) {
                self.heard(at, no, &rule);
            }
        }
    }

    /// A line that its channel had taken when the process died, before that could be told.
    fn answered_before(&mut self, at: Wall, no: AlertNo) {
        let Some(record) = self.alerts.get(no).filter(|r| r.call.t.answer.is_none()) else { return };
        let taken = |l: &&TextLine| l.by == "seat" && l.state.is_some_and(|s| s >= LineState::Sent) && !failed(l);
        let Some(line) = record.text.iter().find(taken) else { return };
        let arrived = record.call.t.arrive.map_or(line.at.0, |s| s.0);
        let after_ms = u64::try_from((line.at.0.0 - arrived.0) / 1_000_000).unwrap_or(0);
        self.fact(at, no, Fact::AnsweredInWriting { mode: AnswerMode::Seat, after_ms });
    }

    fn rule_of(&self, record: &AlertRecord) -> Option<ChannelRule> {
        self.channel(&senders(record).next()?.channel).cloned()
    }
}

fn failed(line: &TextLine) -> bool {
    line.state == Some(LineState::Failed)
}

/// Lines of ours that no channel had taken when the process died.
fn unsent(record: &AlertRecord) -> Vec<Outbound> {
    let queued = record.text.iter().filter(|l| l.state == Some(LineState::Queued));
    let lines = queued.filter_map(|l| {
        let to = record.reporter.channels.iter().find(|a| a.channel == l.channel)?.clone();
        Some(Outbound::plain(l.message_id.clone(), to, l.body.clone(), l.at.0))
    });
    lines.collect()
}

/// The order under overload (decision 2): danger to life, those who must not be heard, SMS, everything else.
fn class_under_overload(record: &AlertRecord, rule: &ChannelRule) -> Class {
    let danger = record.incident.keywords.iter().any(|k| k.level == 1);
    match (danger, record.reporter.safety.silent) {
        (true, _) => Class::LifeThreat,
        (_, true) => Class::Silent,
        _ => class_of(rule.channel),
    }
}
