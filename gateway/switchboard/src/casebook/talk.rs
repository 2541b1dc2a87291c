//! Where conversations meet alerts: what each of the two says goes to the other, to the desk and to channels.

use std::collections::BTreeSet;

use codecs::record::{Address, AlertNo, AlertRecord, AnswerMode, Direction, LineState, Note, Promise, TextLine};
use codecs::time::Wall;

use casework::{Fact, NotWritten, Say, TextFact, is_written_to, unsent, untold_answer, writers};
use dispatch::conversation::{FirstLine, Needs, NotHeld, Output as Talk, Report, Seen, Unreached, Way};
use dispatch::seat::Class;

use super::{Casebook, ChannelRule, Deferred, Outbound, Output, is_final};
use crate::message::{Failure, SayRequest, ToDesk};
use crate::{is_telephone, telephone};

impl Casebook {
    /// The reporter has written: somebody is to read it.
    pub(super) fn heard(&mut self, at: Wall, no: AlertNo, rule: &ChannelRule) {
        let Some(standing) = self.alerts.standing(no) else { return };
        let class = Class::in_writing(rule.channel, standing.is_danger, standing.is_silent);
        let first_line = match standing {
            _ if standing.is_answered => FirstLine::Said,
            _ if standing.is_missed => FirstLine::Missed,
            _ => FirstLine::Owed,
        };
        let arrived = self.alerts.waits_since(self.now, at, no).unwrap_or(self.now);
        let needs = Needs { group: rule.group, skills: rule.skills, class };
        let report = Report { arrived, needs, first_line, speaks_with: standing.speaks_with };
        self.talks.heard(self.now, no, report);
        self.follow_talks(at);
    }

    /// Hands on what conversations want.
    pub(super) fn follow_talks(&mut self, at: Wall) {
        while let Some(output) = self.talks.poll_output() {
            match output {
                Talk::Want { alert, needs, within, prefer } => {
                    let Needs { group, skills, class } = needs;
                    self.desk(ToDesk::WantConversation { alert, group, class, within, prefer, skills });
                }
                Talk::Release { alert } => self.desk(ToDesk::ReleaseConversation { alert }),
                Talk::Said { alert } => self.desk(ToDesk::ConversationAnswered { alert }),
                Talk::Held { alert, seat } => drop(self.fact(at, alert, Fact::Text(TextFact::Held { seat }))),
                Talk::Answered { alert, mode, after } => {
                    let after_ms = after.as_millis() as u64;
                    self.fact(at, alert, Fact::Text(TextFact::AnsweredInWriting { mode, after_ms }));
                }
                Talk::Breach { alert } => {
                    self.fact(at, alert, Fact::Breach { promise: Promise::Answer });
                    let channel = self.alerts.get(alert).map(|r| r.source.trunk.clone()).unwrap_or_default();
                    self.count(&channel, "breach");
                }
                Talk::Ended { alert } => drop(self.fact(at, alert, Fact::Text(TextFact::ConversationEnded))),
                Talk::Notice(notice) => self.outputs.push_back(Output::Notice(notice)),
            }
        }
    }

    fn desk(&mut self, message: ToDesk) {
        self.outputs.push_back(Output::Desk(message));
    }

    pub(super) fn end_talk(&mut self, at: Wall, no: AlertNo) {
        self.talks.end(no);
        self.follow_talks(at);
    }

    pub(super) fn say(&mut self, say: SayRequest) {
        let SayRequest { at, no, seat, body, channel, answers, done, despite_silence, request } = say;
        let holder = self.talks.held_by(no, &seat).cloned().map_err(not_held);
        let allowed = holder.and_then(|seat| {
            let may = self.alerts.may_be_written_to(no, channel.as_deref(), answers.as_deref(), despite_silence);
            may.map(|()| seat).map_err(|why| match why {
                NotWritten::Silent => Failure::Silent,
                NotWritten::OtherChannel => Failure::Conflict("the reporter has not written by this channel"),
                NotWritten::Gone => Failure::Conflict("whoever wrote that line writes to this alert no more"),
            })
        });
        // Silence is a person's, wherever they asked for it.
        let reader = self.alerts.reader(no, channel.as_deref(), answers.as_deref());
        let is_silent = || reader.is_some_and(|to| self.is_silent_person(&to));
        let seat = match allowed
            .and_then(|seat| if !despite_silence && is_silent() { Err(Failure::Silent) } else { Ok(seat) })
        {
            Ok(seat) => seat,
            Err(failure) => return self.answer(request, Err(failure)),
        };
        self.talks.said(self.now, no);
        self.follow_talks(at);
        self.fact(at, no, Fact::Text(TextFact::Replied { seat, body, channel, answers }));
        if done {
            self.end_talk(at, no);
        }
        self.answer(request, Ok(Some(no)));
    }

    pub(super) fn done(&mut self, at: Wall, no: AlertNo, seat: &str) -> Result<Option<AlertNo>, Failure> {
        self.talks.held_by(no, seat).map_err(not_held)?;
        self.end_talk(at, no);
        Ok(Some(no))
    }

    /// A line of an alert goes to its channel once it is durable, if the channel still allows one.
    pub(super) fn queue_line(&mut self, at: Wall, say: Say) {
        let outbound = Outbound {
            line: say.line,
            to: say.address,
            body: say.body,
            reply_to: say.reply_to,
            urgent: self.talks.is_urgent(say.no),
            notice: false,
            templated: false,
            arrived: say.arrived.0,
            is_receipt: say.is_receipt,
            is_answer: say.is_answer,
        };
        match self.take_way(&outbound.to) {
            Some(templated) => self.defer(Deferred::Outbound(Box::new(Outbound { templated, ..outbound }))),
            None => {
                self.line_state(at, outbound.line, LineState::Failed, "the platform allows no further reply".into())
            }
        }
    }

    /// A line that waits for the disk, or for its channel, is not to go.
    pub(super) fn withdraw(&mut self, channel: String, line: String) {
        self.waiting.retain(|(_, what)| !matches!(what, Deferred::Outbound(outbound) if outbound.line == line));
        self.outputs.push_back(Output::Withdraw { channel, line });
    }

    /// Counts a line to `to`: whether it goes as a template, or not at all.
    fn take_way(&mut self, to: &Address) -> Option<bool> {
        let way = self.talks.take_way(self.now, to);
        if matches!(way, Way::Template | Way::Spent) {
            self.count(&to.channel, "quota_spent");
        }
        matches!(way, Way::Plain | Way::Template).then_some(way == Way::Template)
    }

    pub(super) fn line_state(&mut self, at: Wall, line: String, state: LineState, why: String) {
        let began = line.get(..30).and_then(AlertNo::parse);
        let mut holders = began.map(|no| self.alerts.holders(no, &line)).unwrap_or_default();
        // Whoever it was written to may stand elsewhere by now, with the line.
        let addressee = holders.last().and_then(|no| self.alerts.addressee(*no, &line));
        holders.extend(addressee.and_then(|to| self.talks.threads().get(&to)).map(|thread| thread.alert));
        self.take_line_state(at, line, state, why);
        for no in holders {
            self.alerts.settle(at, no);
            self.follow_alerts(at);
        }
    }

    fn take_line_state(&mut self, at: Wall, line: String, state: LineState, why: String) {
        self.note(at, &Note::Line { line: line.clone(), state });
        self.no_longer_passing(&line);
        // A line without an alert: its sender asks for its state by name.
        let Some(no) = line.get(..30).and_then(AlertNo::parse) else { return };
        let mut holders = self.alerts.holders(no, &line);
        // Whoever it was written to may have been taken out since, with what was said to them.
        let addressee = holders.last().and_then(|no| self.alerts.addressee(*no, &line));
        let theirs = addressee.and_then(|to| self.talks.threads().get(&to)).map(|thread| thread.alert);
        let theirs = theirs.filter(|no| !self.alerts.holders(*no, &line).is_empty());
        holders.retain(|no| Some(*no) != theirs);
        holders.extend(theirs);
        let Some(no) = holders.pop() else { return };
        for former in holders {
            self.fact(at, former, Fact::Text(TextFact::LineState { line: line.clone(), state, why: why.clone() }));
        }
        if state == LineState::Failed
            && let Some(to) = self.other_way(no, &line)
            && self.fact(at, no, Fact::Text(TextFact::SentAgain { line: line.clone(), to: to.clone() }))
        {
            return self.count(&to.channel, "sent_again");
        }
        if !self.fact(at, no, Fact::Text(TextFact::LineState { line: line.clone(), state, why })) {
            return;
        }
        if matches!(state, LineState::Sent | LineState::Delivered) && self.alerts.would_answer(no, &line) {
            let arrived = self.alerts.waits_since(self.now, at, no).unwrap_or(self.now);
            self.talks.line_taken(self.now, no, arrived);
        }
        if is_final(state) {
            self.talks.line_ended(no);
        }
        self.follow_talks(at);
    }

    fn other_way(&self, no: AlertNo, line: &str) -> Option<Address> {
        let lost = self.alerts.lost(no, line)?;
        // A number that was written to is that very person's, by whichever channel.
        let by_number = |to: &Address| self.channel(&to.channel).is_some_and(|rule| rule.user_is_phone);
        let number = lost.to.as_ref().filter(|to| by_number(to)).map(|to| telephone(&to.user));
        let (tried, writes_by, phone) = (lost.tried, lost.writes_by, lost.phone.map(telephone).or(number));
        self.talks.other_way(self.now, &Unreached { tried, writes_by, phone, is_silent: lost.is_silent })
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
        if to.user.trim().is_empty() || to.user.contains(char::is_control) {
            return Err(Failure::Conflict("this is nobody"));
        }
        let phone = rule.user_is_phone.then(|| telephone(&to.user));
        if phone.as_deref().is_some_and(|p| !is_telephone(p)) {
            return Err(Failure::Conflict("this is no telephone number"));
        }
        let alert = self.talks.threads().find(&to, phone.as_deref());
        if alert.is_some_and(|no| self.alerts.is_silent(no)) || self.is_silent_person(&to) {
            return Err(Failure::Silent);
        }
        let Some(templated) = self.take_way(&to) else {
            return Err(Failure::Conflict("the platform allows no further message to this user now"));
        };
        let by = self.acting.clone();
        self.note(at, &Note::Outbound { line: line.clone(), to: to.clone(), body: body.clone(), notice, by });
        self.silence.passes(&line, &to);
        let outbound = Outbound { notice, templated, ..Outbound::plain(line, to, body, at) };
        self.defer(Deferred::Outbound(Box::new(outbound)));
        Ok(())
    }

    /// Names, threads and numbers of a record that the journal had.
    pub(super) fn restore_talk(&mut self, at: Wall, record: &AlertRecord) {
        let Some(no) = AlertNo::parse(&record.id.alert_no) else { return };
        for line in record.text.iter().filter(|l| l.dir == Some(Direction::In)) {
            let (then, name) = (self.named_at(at, line.at.0), Seen::name(&line.channel, &line.user, &line.message_id));
            self.seen.note(then, &line.channel, name);
            self.seen.belongs(name, no);
            self.seen_lately.restore(then, name, no);
            self.assembly.forget(&line.channel, &line.message_id);
        }
    }

    pub(super) fn resume_talks(&mut self, at: Wall) {
        self.restore_threads(at);
        self.restore_silence();
        let unsent_elsewhere = std::mem::take(&mut self.restored_outbound);
        for (line, outbound) in unsent_elsewhere {
            if !self.restored_lines.contains_key(&line) && !self.is_silent_person(&outbound.to) {
                self.silence.passes(&line, &outbound.to);
                self.defer(Deferred::Outbound(Box::new(outbound)));
            }
        }
        self.restored_lines.clear();
        let out = |(line, to): (&TextLine, Address)| {
            Outbound::plain(line.message_id.clone(), to, line.body.clone(), line.at.0)
        };
        // A line stands where it was written and wherever its reader went on; it goes as where they are has it.
        let is_here = |r: &AlertRecord, to: &Address| writers(r).any(|writer| writer == *to);
        let of = |(no, r): (&AlertNo, &AlertRecord)| {
            (*no, unsent(r).filter(|(_, to)| is_here(r, to)).map(out).collect(), self.rule_of(r))
        };
        let open: Vec<(AlertNo, Vec<Outbound>, Option<ChannelRule>)> = self.alerts.open().map(of).collect();
        // A line stands in two alerts where one went on as the other; it leaves once.
        let mut left = BTreeSet::new();
        let over: Vec<AlertNo> = self.alerts.recent().filter_map(|r| AlertNo::parse(&r.id.alert_no)).collect();
        for no in over.into_iter().chain(open.iter().map(|(no, ..)| *no)) {
            self.owe_apps(at, no, &mut left);
        }
        for (no, lines, rule) in open {
            self.answered_before(at, no);
            for line in lines.into_iter().filter(|l| left.insert(l.line.clone())) {
                self.talks.note_heard(self.now, &line.to);
                self.defer(Deferred::Outbound(Box::new(line)));
            }
            // What went on as another is written on there.
            let is_here = self.alerts.goes_on_as(no) == no && self.alerts.get(no).is_some_and(is_written_to);
            if let (true, Some(rule)) = (is_here, rule) {
                self.heard(at, no, &rule);
            }
        }
    }

    /// What an app did not have in time, and was told of as not delivered, still comes when the app does.
    fn owe_apps(&mut self, at: Wall, no: AlertNo, left: &mut BTreeSet<String>) {
        let Some(record) = self.alerts.get(no) else { return };
        // Where whoever it was written to is now, and whether they are to hear of it.
        let may_hear = |to: &Address| {
            let stands = self.talks.threads().get(to).map_or(no, |thread| thread.alert);
            !self.alerts.is_silent(stands) && !self.alerts.is_silent(no) && !self.is_silent_person(to)
        };
        let is_app = |l: &&TextLine| self.channel(&l.channel).is_some_and(|rule| rule.is_fetched);
        let owed = record.text.iter().filter(|l| l.state == Some(LineState::Failed) && !l.user.is_empty());
        let lines: Vec<Outbound> = owed
            .filter(is_app)
            .map(|l| {
                let to = Address { channel: l.channel.clone(), user: l.user.clone() };
                Outbound::plain(l.message_id.clone(), to, l.body.clone(), at)
            })
            .filter(|line| may_hear(&line.to))
            .collect();
        for line in lines.into_iter().filter(|l| left.insert(l.line.clone())) {
            self.defer(Deferred::Outbound(Box::new(line)));
        }
    }

    /// A line that its channel had taken when the process died, before that could be told.
    fn answered_before(&mut self, at: Wall, no: AlertNo) {
        let Some(record) = self.alerts.get(no) else { return };
        let Some(said) = untold_answer(record) else { return };
        let arrived = self.alerts.standing(no).and_then(|s| s.waits_since).or(record.call.t.arrive).unwrap_or(said);
        let after_ms = u64::try_from((said.0.0 - arrived.0.0) / 1_000_000).unwrap_or(0);
        self.fact(at, no, Fact::Text(TextFact::AnsweredInWriting { mode: AnswerMode::Seat, after_ms }));
    }

    fn rule_of(&self, record: &AlertRecord) -> Option<ChannelRule> {
        self.channel(&writers(record).next()?.channel).cloned()
    }
}

fn not_held(why: NotHeld) -> Failure {
    Failure::Conflict(match why {
        NotHeld::NobodyWrites => "nobody writes on this alert",
        NotHeld::OtherSeat => "the conversation is not at this seat",
    })
}
