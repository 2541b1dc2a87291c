//! Alerts that become one, and those that are taken apart again. People go from the one to the other with all that is
//! theirs: what they said and were told, where they are, their silence, and the answer that they are owed.

use std::sync::Arc;

use codecs::record::{
    Address, AlertNo, AlertRecord, Direction, Form, LineState, Location, LocationSource, Promise, Related, Relation,
    Safety, Stamp, State, Step, TextLine, Validity, Writer,
};
use codecs::time::Mono;

use super::lines::{is_shared, is_taken, proven_phone, unsent};
use super::text::{add_line, know_external};
use super::{
    Alerts, LOCATIONS_MAX, Output, RECORD_FULL, RELATED_MAX, bound, fanout, incident, mark, may_be_called_back, trim,
};
use crate::deadline::{self, is_call_up};
use crate::fact::{Answer, Belongings, JoinFact};

/// Marks a call whose reporter hung up unanswered and is not rung: somebody asks for silence.
const CALL_BACK_WITHHELD: &str = "call_back_withheld";

impl Alerts {
    /// `was_over`: the alert that others go on as had ended.
    pub(super) fn join(&mut self, at: Stamp, no: AlertNo, fact: JoinFact, was_over: bool) {
        match fact {
            JoinFact::JoinedTo { other } => self.join_to(at, no, other),
            JoinFact::Absorbed { other, belongings } => self.absorb(at, no, other, *belongings, was_over),
            JoinFact::SplitOff { other, address } => self.split_off(at, no, other, &address),
            JoinFact::SplitFrom { other, belongings } => self.split_from(at, no, other, *belongings),
            JoinFact::Freed { other } => self.freed(at, no, other),
            JoinFact::CalledBackAs { other } => self.called_back_as(at, no, other),
        }
    }

    /// A call stands by itself again: nobody's silence but its own caller's is about it, and what it was owed it is owed.
    fn freed(&mut self, at: Stamp, no: AlertNo, other: AlertNo) {
        let Some(record) = self.record_mut(no) else { return };
        relate(record, other, Relation::SplitFrom);
        mark(record, "split");
        if !record.call.legs.is_empty() {
            deadline::owed_again(record);
        }
        self.emit(no, Step::Split, at, None);
        if self.goes_on_as(no) == no {
            let asks = |w: &Writer| w.asked_silence;
            if !self.get(no).is_some_and(|record| record.reporter.channels.iter().any(asks)) {
                self.speak_again(at, no);
            }
        }
        self.try_close(no, at);
    }

    /// One number is called back once: this alert's call is over, the other's is made. The two are one by then, but where
    /// there was no room.
    fn called_back_as(&mut self, at: Stamp, no: AlertNo, other: AlertNo) {
        let is_written_on = self.talks.contains(&no);
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        // People may write here still, where the other goes on as this one.
        record.state = if is_written_on { State::Reopened } else { State::Ended };
        mark(record, &format!("called_back_as_{other}"));
        self.emit(no, Step::Joined, at, None);
        self.try_close(no, at);
    }

    /// What this alert gives away when it goes on as another.
    pub fn belongings(&self, no: AlertNo) -> Option<Belongings> {
        let record = self.get(no)?;
        Some(Belongings {
            lines: record.text.clone(),
            talks: self.talks.contains(&no),
            writers: record.reporter.channels.iter().map(|w| self.in_full(no, record, w)).collect(),
            locations: record.location.clone(),
            forms: record.source.forms.clone(),
            silent: record.reporter.safety.silent,
            complaint_of: record.incident.complaint_of.clone(),
            matter: Some(Box::new(record.incident.clone())),
            external: record.id.external.clone(),
            told: record.fanout.iter().filter(|p| p.sent.is_some()).cloned().collect(),
            answer: answer_of(record),
        })
    }

    /// What one of those who write on this alert takes along when they leave it; none: they do not write here.
    pub fn belongings_of(&self, no: AlertNo, sender: &Address) -> Option<Belongings> {
        let record = self.get(no)?;
        let (mut writer, mut due) = self.in_full(no, record, record.reporter.channels.iter().find(|w| w.is(sender))?);
        let is_theirs = |l: &&TextLine| l.channel == sender.channel && l.user == sender.user;
        // Among several one may have been answered, and nobody have spoken to this one.
        if answer_of(record) == Answer::Had && is_shared(record) && !was_spoken_to(record, &writer) {
            let first = record.text.iter().filter(is_theirs).find(|l| l.dir == Some(Direction::In)).map(|l| l.at);
            writer.since = writer.since.or(first);
            due = due.or(first.and_then(|s| self.deadlines.instant(no, Stamp(s.0 + Promise::Answer.within()))));
        }
        // Whoever waits still came after the answer, or after it was told that there was none.
        let answer = match answer_of(record) {
            _ if writer.since.is_some() => Answer::Owed,
            Answer::Owed => Answer::Had,
            other => other,
        };
        let lines: Vec<TextLine> = record.text.iter().filter(is_theirs).cloned().collect();
        let has_files = lines.iter().any(|l| !l.attachments.is_empty());
        let forms =
            record.source.forms.iter().filter(|form| **form == Form::Text || has_files && **form != Form::Voice);
        Some(Belongings {
            locations: record.location.iter().filter(|l| l.from.as_ref() == Some(sender)).cloned().collect(),
            forms: forms.copied().collect(),
            silent: writer.asked_silence,
            complaint_of: record.incident.complaint_of.clone(),
            matter: None,
            external: Vec::new(),
            told: Vec::new(),
            writers: vec![(writer, due)],
            lines,
            talks: true,
            answer,
        })
    }

    /// One who writes on an alert, with what follows from it: which it is, its number, since when it waits.
    fn in_full(&self, no: AlertNo, record: &AlertRecord, writer: &Writer) -> (Writer, Option<Mono>) {
        let mut writer = writer.clone();
        if writer.began.is_empty() {
            writer.began = no.to_string();
            if writer.phone.is_empty() {
                writer.phone = proven_phone(record).unwrap_or_default().to_owned();
            }
            let waits = deadline::waits_since(record).filter(|_| answer_of(record) == Answer::Owed);
            writer.since = writer.since.or(waits);
        }
        let due = writer.since.and_then(|s| self.deadlines.instant(no, Stamp(s.0 + Promise::Answer.within())));
        (writer, due)
    }

    /// Those that go on as this alert, itself first.
    pub fn members(&self, no: AlertNo) -> Vec<AlertNo> {
        let mut all = vec![no];
        let mut next = 0;
        while let Some(record) = all.get(next).map(|no| self.get(*no)) {
            let absorbed = record.into_iter().flat_map(|r| &r.id.related).filter(|r| r.kind == Relation::SameEvent);
            for other in absorbed.filter_map(|r| AlertNo::parse(&r.alert_no)) {
                if !all.contains(&other) && self.goes_on_next_as(other) == all.get(next).copied() {
                    all.push(other);
                }
            }
            next += 1;
        }
        all
    }

    /// Those that these go on in where their records were full, and that go on in those.
    pub fn that_follow(&self, all: &[AlertNo]) -> Vec<AlertNo> {
        let mut found: Vec<AlertNo> = Vec::new();
        loop {
            let follows = |record: &AlertRecord| {
                let before = record.id.related.iter().filter(|r| r.kind == Relation::FollowUp);
                before.filter_map(|r| AlertNo::parse(&r.alert_no)).any(|no| all.contains(&no) || found.contains(&no))
            };
            let held = self.open.values().chain(self.recent.values());
            let numbers = held.filter(|r| follows(r)).filter_map(|r| AlertNo::parse(&r.id.alert_no));
            let new: Vec<AlertNo> = numbers.filter(|no| !found.contains(no) && !all.contains(no)).collect();
            if new.is_empty() {
                return found;
            }
            found.extend(new);
        }
    }

    /// Those that go on as this alert, and as nothing in between.
    pub fn joined_at_once(&self, no: AlertNo) -> Vec<AlertNo> {
        let is_next = |other: &AlertNo| self.goes_on_next_as(*other) == Some(no);
        self.members(no).into_iter().skip(1).filter(is_next).collect()
    }

    /// Nothing rings for this alert from now on, nor for the calls of those that go on as it.
    pub(super) fn fall_silent(&mut self, at: Stamp, no: AlertNo) {
        for member in self.members(no) {
            self.be_silent(at, member, true, member != no);
            self.outputs.push_back(Output::Silenced { no: member });
            if member != no {
                self.try_close(member, at);
            }
        }
    }

    /// What was said to these before they asked for silence, and has not gone out: their channels and names.
    fn unsent_to(&self, no: AlertNo, readers: &[Address]) -> Vec<(String, String)> {
        let queued = self.open.get(&no).into_iter().flat_map(|record| unsent(record));
        let theirs = queued.filter(|(_, to)| readers.contains(to));
        theirs.map(|(line, _)| (line.channel.clone(), line.message_id.clone())).collect()
    }

    /// What was said to somebody before they asked for silence, and has not gone out, goes out no more.
    pub(super) fn withdraw_from(&mut self, at: Stamp, no: AlertNo, reader: &Address) {
        let lines = self.unsent_to(no, std::slice::from_ref(reader));
        self.withdraw(at, no, lines);
    }

    /// Lines of ours that are not to go, in whichever alerts they stand. One despite the silence is said after it.
    fn withdraw(&mut self, at: Stamp, no: AlertNo, lines: Vec<(String, String)>) {
        if lines.is_empty() {
            return;
        }
        let is_it =
            |l: &TextLine| l.state == Some(LineState::Queued) && lines.iter().any(|(_, name)| *name == l.message_id);
        for kin in self.kin(no) {
            if !self.open.get(&kin).is_some_and(|record| record.text.iter().any(is_it)) {
                continue;
            }
            if let Some(record) = self.record_mut(kin) {
                record.text.iter_mut().filter(|l| is_it(l)).for_each(|l| l.state = Some(LineState::Failed));
                mark(record, "withdrawn");
            }
            self.emit(kin, Step::Undelivered, at, None);
            self.came_to_nothing(at, kin);
        }
        self.outputs.extend(lines.into_iter().map(|(channel, line)| Output::Withdraw { channel, line }));
    }

    /// This alert and those that it was joined with, or taken out of, whichever way.
    fn kin(&self, no: AlertNo) -> Vec<AlertNo> {
        let mut all = vec![no];
        let mut next = 0;
        while let Some(record) = all.get(next).map(|no| self.get(*no)).filter(|_| all.len() < RELATED_MAX) {
            for other in record.into_iter().flat_map(|r| &r.id.related).filter_map(|r| AlertNo::parse(&r.alert_no)) {
                if !all.contains(&other) {
                    all.push(other);
                }
            }
            next += 1;
        }
        all
    }

    /// Its caller asks for silence elsewhere.
    pub(super) fn silenced(&mut self, at: Stamp, no: AlertNo, readers: &[Address]) {
        let lines = self.unsent_to(no, readers);
        let Some(record) = self.record_mut(no) else { return };
        let theirs = record.reporter.channels.iter_mut().filter(|w| readers.iter().any(|reader| w.is(reader)));
        theirs.for_each(|writer| writer.asked_silence = true);
        if record.reporter.safety.silent && !readers.is_empty() {
            self.emit(no, Step::Updated, at, None);
        }
        self.be_silent(at, no, true, true);
        self.withdraw(at, no, lines);
        if readers.is_empty() {
            self.outputs.push_back(Output::Silenced { no });
        } else {
            self.fall_silent(at, no);
        }
        self.try_close(no, at);
    }

    /// Whoever asked for silence has left: it is over for this alert and for those that go on as it.
    fn speak_again(&mut self, at: Stamp, no: AlertNo) {
        for member in self.members(no) {
            self.be_silent(at, member, false, member != no);
        }
    }

    /// The same for an alert that goes on as one that is not silent.
    fn speak_again_below(&mut self, at: Stamp, no: AlertNo) {
        let is_silent = |no: &AlertNo| self.get(*no).is_some_and(|record| record.reporter.safety.silent);
        for member in self.members(no).into_iter().filter(is_silent).collect::<Vec<_>>() {
            self.be_silent(at, member, false, true);
        }
    }

    /// `tells`: it is a revision of its own, so that a start knows of it.
    fn be_silent(&mut self, at: Stamp, no: AlertNo, silent: bool, tells: bool) {
        let is_withheld = silent && self.withhold_call_back(no);
        let is_owed = !silent && self.owe_call_back(no);
        let changes = self.open.get(&no).is_some_and(|record| record.reporter.safety.silent != silent);
        if changes && let Some(record) = self.record_mut(no) {
            record.reporter.safety = Safety { silent, no_reply_sms: silent };
        }
        if tells && changes || is_withheld || is_owed {
            self.emit(no, Step::Updated, at, None);
        }
        let Some(record) = self.open.get(&no).filter(|_| !silent && (changes || is_owed)) else { return };
        if record.state == State::Abandoned && may_be_called_back(record) {
            // Silence took the call-back away: it is owed again.
            let (number, trunk) = (record.reporter.phone.clone(), record.source.trunk.clone());
            self.outputs.push_back(Output::CallBack { no, number, trunk });
        }
    }

    /// Nobody rings whoever hung up unanswered, or is being called back; should that be over, they are owed it again.
    /// `true`: that is new.
    pub(super) fn withhold_call_back(&mut self, no: AlertNo) -> bool {
        let Some(record) = self.record_mut(no) else { return false };
        let is_owed = matches!(record.state, State::Abandoned | State::Callback | State::Unreached)
            && record.call.t.answer.is_none()
            && !record.reporter.phone.is_empty()
            && record.source.validity != Validity::Test;
        let is_new = is_owed && !record.marks.iter().any(|m| m == CALL_BACK_WITHHELD);
        if is_new {
            mark(record, CALL_BACK_WITHHELD);
        }
        is_new
    }

    /// Whoever asked for silence has left. `true`: a call-back that it took away is owed again, unless somebody has spoken
    /// to that number since.
    fn owe_call_back(&mut self, no: AlertNo) -> bool {
        let is_withheld = |record: &AlertRecord| record.marks.iter().any(|m| m == CALL_BACK_WITHHELD);
        let Some(record) = self.get(no).filter(|record| is_withheld(record)) else { return false };
        let (phone, arrived) = (record.reporter.phone.as_str(), record.call.t.arrive);
        let later = |other: &AlertRecord| {
            other.call.t.answer > arrived && proven_phone(other) == Some(phone) && other.call.t.answer.is_some()
        };
        let held = self.open.values().chain(self.recent.values());
        let is_owed = !held.into_iter().any(|other| later(other));
        self.take_up(no);
        let Some(record) = self.record_mut(no) else { return false };
        record.marks.retain(|m| m != CALL_BACK_WITHHELD);
        let is_over = matches!(record.state, State::Abandoned | State::Unreached | State::Ended | State::Closed);
        if is_owed && is_over {
            record.state = State::Abandoned;
        }
        self.lay_by(no);
        is_owed && is_over
    }

    /// A human has spoken to this writer: what was promised to them where they came from is kept.
    pub(super) fn spoken_to(&mut self, at: Stamp, no: AlertNo, writer: &Address) {
        let began =
            self.get(no).and_then(|r| AlertNo::parse(&r.reporter.channels.iter().find(|w| w.is(writer))?.began));
        let Some(began) = began else { return };
        let is_owed = |r: &AlertRecord| goes_on(r) && answer_of(r) == Answer::Owed && !is_call_up(r);
        let from: Vec<AlertNo> = self.members(no).into_iter().skip(1).collect();
        for member in from {
            if self.open.get(&member).is_some_and(|r| is_owed(r)) && self.members(member).contains(&began) {
                if let Some(record) = self.record_mut(member) {
                    deadline::answered_elsewhere(record, at);
                }
                self.owed_no_more(at, member);
            }
        }
    }

    /// What went on as another and was owed an answer itself is over, kept or told.
    pub(super) fn owed_no_more(&mut self, at: Stamp, no: AlertNo) {
        let ends = |r: &&mut AlertRecord| {
            let is_called_back = matches!(r.state, State::Abandoned | State::Callback | State::Unreached);
            goes_on(r) && !is_call_up(r) && !is_called_back && r.state != State::Closed
        };
        let Some(record) = self.record_mut(no).filter(ends) else { return };
        record.state = State::Ended;
        self.emit(no, Step::Updated, at, None);
        self.try_close(no, at);
    }

    /// Where this alert is believed to be has changed: its calls, and those of the alerts that go on as it, hear of it.
    pub(super) fn moved(&mut self, no: AlertNo) {
        for no in self.members(no) {
            if self.get(no).is_some_and(|record| !record.call.legs.is_empty()) {
                self.outputs.push_back(Output::Moved { no });
            }
        }
    }

    fn join_to(&mut self, at: Stamp, no: AlertNo, other: AlertNo) {
        let is_answered = self.get(other).is_some_and(|root| answer_of(root) != Answer::Owed);
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        // It goes on as one other alone.
        record.id.related.retain(|r| r.kind != Relation::Duplicate);
        relate(record, other, Relation::Duplicate);
        self.talks.remove(&no);
        // Those who wrote here write there from now on; what they said here stays to be read.
        let gone: Vec<Address> = record.reporter.channels.drain(..).map(|w| w.address()).collect();
        record.location.retain(|l| l.from.as_ref().is_none_or(|from| !gone.contains(from)));
        let is_up = is_call_up(record);
        // The others were answered before these came: nobody has spoken to them, and that stays promised here.
        let is_owed_here = is_answered && answer_of(record) == Answer::Owed && !gone.is_empty();
        if !is_up && !is_owed_here {
            // The promise is kept, or broken, on the alert that it goes on as.
            deadline::answered_elsewhere(record, at);
        }
        let is_called_back = matches!(record.state, State::Abandoned | State::Callback | State::Unreached);
        if !is_up && !is_called_back && !is_owed_here && record.state != State::Closed {
            record.state = State::Ended;
        }
        self.emit(no, Step::Joined, at, None);
        self.try_close(no, at);
    }

    fn absorb(&mut self, at: Stamp, no: AlertNo, other: AlertNo, belongings: Belongings, was_over: bool) {
        if belongings.talks {
            self.talks.insert(no);
        }
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        relate(record, other, Relation::SameEvent);
        each_waits(record);
        let was_silent = record.reporter.safety.silent;
        let falls_silent = belongings.silent || was_silent;
        // Whoever brings silence along asked for it before they came here: what was said to them here was said before.
        let asked = belongings.writers.iter().filter(|(w, _)| w.asked_silence && !was_silent);
        let askers: Vec<Address> = asked.map(|(writer, _)| writer.address()).collect();
        let complains = take_complaint(record, &belongings);
        let is_graver = belongings
            .matter
            .as_ref()
            .is_some_and(|matter| incident::take_matter(record, matter, &belongings.external));
        fanout::told_elsewhere(record, &belongings.told);
        for case in &belongings.external {
            know_external(record, case.clone());
        }
        let withdrawn = self.unsent_to(no, &askers);
        self.take_over(no, belongings);
        if let Some(record) = self.record_mut(no) {
            deadline::waits_since_the_first(record);
        }
        if complains {
            self.past_the_complained(at, no);
        }
        // Of a complaint that stood here before whoever came along and is complained of is told nothing either.
        self.withhold(at, no);
        self.emit(no, Step::Joined, at, None);
        if complains {
            self.push_on(at, no);
        }
        if is_graver {
            // Whoever is told of such a matter is told of it here.
            self.plan(at, no);
            self.lead(at, no, None);
        }
        self.withdraw(at, no, withdrawn);
        if falls_silent {
            self.fall_silent(at, no);
        } else {
            // What comes from under somebody's silence is silent no more.
            self.speak_again_below(at, other);
        }
        self.moved(no);
        if was_over && !self.talks.contains(&no) {
            self.close_again(no, at);
        }
    }

    /// What comes along with people is this alert's as well.
    fn take_over(&mut self, no: AlertNo, belongings: Belongings) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        for line in belongings.lines {
            let is_it =
                |l: &TextLine| l.message_id == line.message_id && l.channel == line.channel && l.user == line.user;
            let is_same =
                |l: &TextLine| is_it(l) && (!l.message_id.is_empty() || l.at == line.at && l.body == line.body);
            match record.text.iter_mut().find(|l| is_same(l)) {
                // An alert of their own began with it.
                Some(known) => {
                    known.at = known.at.min(line.at);
                    // What became of it is known where it stood last.
                    known.state = line.state.or(known.state);
                }
                None => add_line(record, line),
            }
        }
        record.text.sort_by_key(|l| l.at);
        for (writer, due) in belongings.writers {
            if let (Some(since), Some(due)) = (writer.since, due) {
                self.deadlines.is_due(no, Stamp(since.0 + Promise::Answer.within()), due);
            }
            match record.reporter.channels.iter_mut().find(|w| w.is(&writer.address())) {
                Some(known) => {
                    known.asked_silence |= writer.asked_silence;
                    let last = known.phone.clone();
                    writer.also.iter().chain([&writer.phone, &last]).for_each(|number| known.shows(number));
                    known.since = [known.since, writer.since].into_iter().flatten().min();
                }
                None => record.reporter.channels.push(writer),
            }
        }
        take_locations(record, belongings.locations);
        for form in belongings.forms {
            if !record.source.forms.contains(&form) {
                record.source.forms.push(form);
            }
        }
        record.reporter.safety.silent |= belongings.silent;
        record.reporter.safety.no_reply_sms |= belongings.silent;
    }

    fn split_off(&mut self, at: Stamp, no: AlertNo, other: AlertNo, address: &Address) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        record.id.related.retain(|r| r.alert_no != other.to_string());
        each_waits(record);
        let leaves = record.reporter.channels.iter().position(|w| w.is(address));
        let Some(left) = leaves.map(|at| record.reporter.channels.remove(at)) else { return };
        record.location.retain(|l| l.from.as_ref() != Some(address));
        let is_silent = !left.asked_silence || record.reporter.channels.iter().any(|w| w.asked_silence);
        if left.began.is_empty() && record.call.legs.is_empty() {
            // The number goes with whose it is.
            let phone = record.reporter.channels.first().map(|w| w.phone.clone()).unwrap_or_default();
            record.reporter.callback = Some(phone.clone()).filter(|phone| !phone.is_empty());
            record.reporter.phone = phone;
            record.reporter.subscriber = None;
        }
        deadline::waits_since_the_first(record);
        mark(record, "split");
        if record.reporter.channels.is_empty() {
            self.talks.remove(&no);
            if record.call.legs.is_empty() {
                // Nobody is left who waits.
                deadline::answered_elsewhere(record, at);
            }
        }
        if !is_silent {
            self.speak_again(at, no);
        }
        self.emit(no, Step::Split, at, None);
        self.try_close(no, at);
        self.moved(no);
    }

    fn split_from(&mut self, at: Stamp, no: AlertNo, other: AlertNo, belongings: Belongings) {
        let (answer, silent) = (belongings.answer, belongings.silent);
        let complains = self.record_mut(no).is_some_and(|record| take_complaint(record, &belongings));
        self.take_over(no, belongings);
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        // It goes on as nothing else any more, by whatever way it came there.
        record.id.related.retain(|r| r.alert_no != other.to_string() && r.kind != Relation::Duplicate);
        relate(record, other, Relation::SplitFrom);
        // A call that is up, or that is to be made, stands where it stands.
        if !is_call_up(record) && !matches!(record.state, State::Abandoned | State::Callback) {
            record.state = State::Reopened;
        }
        let number = no.to_string();
        // They began this one, or it begins with them.
        record.reporter.channels.iter_mut().filter(|w| w.began == number).for_each(|w| w.began.clear());
        while record.text.len() > 1 && record.to_json().len() > RECORD_FULL {
            trim(record);
        }
        // Their own words are read anew: danger stays with whoever spoke of it.
        let theirs = record.text.iter().filter(|l| l.dir == Some(Direction::In));
        let theirs: Vec<(String, String)> = theirs.map(|l| (l.body.clone(), l.channel.clone())).collect();
        let mut hits = Vec::new();
        for (body, channel) in theirs {
            incident::note_clues(record, &self.suggestions, &body);
            hits.extend(
                incident::note_keywords(record, at, &self.keywords, &body, (format!("message:{channel}"), true)).0,
            );
        }
        match answer {
            Answer::Had => deadline::answered_elsewhere(record, at),
            Answer::Broken => deadline::was_broken(record),
            Answer::Owed => {
                deadline::owed_again(record);
                deadline::waits_since_the_first(record);
            }
        }
        self.talks.insert(no);
        if complains {
            self.past_the_complained(at, no);
        }
        if !silent {
            self.speak_again(at, no);
        }
        self.emit(no, Step::Split, at, None);
        self.warn(no, at, &hits);
        if complains {
            self.push_on(at, no);
        }
        if silent {
            self.fall_silent(at, no);
        }
        self.moved(no);
    }
}

/// Whether it goes on as another alert.
fn goes_on(record: &AlertRecord) -> bool {
    record.id.related.iter().any(|r| r.kind == Relation::Duplicate)
}

/// Whether a human's line has got to this writer, or a human has talked with them.
fn was_spoken_to(record: &AlertRecord, writer: &Writer) -> bool {
    let is_theirs = |l: &TextLine| l.by == "seat" && l.channel == writer.channel && l.user == writer.user;
    let calls = !record.call.legs.is_empty() && proven_phone(record).is_some_and(|phone| phone == writer.phone);
    calls || record.text.iter().any(|l| is_theirs(l) && (is_taken(l) || l.state == Some(LineState::Queued)))
}

/// A complaint comes along with whoever makes it.
fn take_complaint(record: &mut AlertRecord, belongings: &Belongings) -> bool {
    let is_new = record.incident.complaint_of.is_none() && belongings.complaint_of.is_some();
    if is_new {
        record.incident.complaint_of.clone_from(&belongings.complaint_of);
    }
    is_new
}

/// Whoever began an alert waits as it does: said of them by name, now that others wait in it.
pub(super) fn each_waits(record: &mut AlertRecord) {
    if answer_of(record) == Answer::Owed {
        let since = deadline::waits_since(record);
        let began = record.reporter.channels.iter_mut().filter(|w| w.began.is_empty());
        began.for_each(|w| w.since = w.since.or(since));
    }
}

/// How the promise of an answer stands that was given to whoever is in this alert.
pub(super) fn answer_of(record: &AlertRecord) -> Answer {
    let promise = record.timers.iter().find(|t| t.promise() == Some(Promise::Answer));
    match promise {
        _ if record.call.t.answer.is_some() => Answer::Had,
        Some(timer) if timer.breach => Answer::Broken,
        Some(timer) if timer.met_at.is_none() => Answer::Owed,
        _ => Answer::Had,
    }
}

fn take_locations(record: &mut AlertRecord, locations: Vec<Location>) {
    for location in locations {
        if !record.location.contains(&location) && record.location.len() < LOCATIONS_MAX {
            record.location.push(location);
        }
    }
    // The newest in front, and what a trunk takes for granted behind everything that was said.
    record.location.sort_by_key(|l| (l.source == LocationSource::TrunkDefault, std::cmp::Reverse(l.at)));
}

fn relate(record: &mut AlertRecord, other: AlertNo, kind: Relation) {
    let related = Related { alert_no: other.to_string(), kind };
    // What two alerts are to each other now is what counts.
    record.id.related.retain(|r| r.alert_no != related.alert_no);
    bound(&mut record.id.related, RELATED_MAX);
    record.id.related.push(related);
}
