//! What is written and said on an alert: theirs, ours, and what became of ours.

use std::sync::Arc;

use codecs::record::{
    Address, AlertNo, Direction, External, LineState, Promise, Relation, Role, SeatInfo, Stamp, State, Step, TextLine,
    Validity, Writer,
};

use super::lines::{proven_phone, reader};
use super::{Alerts, Fetch, LINES_MAX, NAME_MAX, Output, Say, TEXT_MAX, WRITERS_MAX, advance, incident, join, mark};
use crate::deadline::{self, is_call_up};
use crate::fact::{Answer, Arrival, Case, Message, TextFact};

/// Cases of other agencies that an alert names at most.
const EXTERNAL_MAX: usize = 32;

impl Alerts {
    /// `was_over`: what is added to the alert begins nothing.
    pub(super) fn text(&mut self, at: Stamp, no: AlertNo, fact: TextFact, was_over: bool) {
        match fact {
            TextFact::Received(message) => self.receive(at, no, *message),
            TextFact::Held { seat } => {
                self.step(at, no, |record| {
                    hold(record, &seat);
                    None
                });
            }
            TextFact::Replied { seat, body, channel, answers } => self.reply(at, no, seat, body, channel, answers),
            TextFact::AnsweredInWriting { mode, after_ms } => self.answered_in_writing(at, no, mode, after_ms),
            TextFact::LineState { line, state, why: _ } => self.line_state(at, no, &line, state),
            TextFact::SentAgain { line, to } => self.send_again(at, no, &line, to),
            fetched @ TextFact::Fetched { .. } => {
                self.fetched(at, no, fetched);
                if was_over {
                    self.close_again(no, at);
                } else {
                    self.try_close(no, at);
                }
            }
            TextFact::Said { by, body } => {
                self.said(at, no, &by, &body);
                if was_over {
                    self.close_again(no, at);
                }
            }
            TextFact::ConversationEnded => self.conversation_ended(at, no),
            TextFact::Silenced { readers } => self.silenced(at, no, &readers),
        }
    }

    /// A line of what was said, as it was written down.
    fn said(&mut self, at: Stamp, no: AlertNo, by: &str, body: &str) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let full = record.marks.iter().any(|m| m == "record_full");
        let is_kept = record.text.len() < LINES_MAX && !full;
        if is_kept {
            let short = |text: &str, max| text.chars().take(max).collect();
            record.text.push(TextLine::said(at, short(by, NAME_MAX), short(body, TEXT_MAX)));
        } else {
            mark(record, "transcript_full");
        }
        incident::note_clues(record, &self.suggestions, body);
        let hits = incident::note_keywords(record, at, &self.keywords, body, (format!("transcript:{by}"), true)).0;
        if is_kept {
            self.emit(no, Step::Transcript, at, None);
        }
        self.warn(no, at, &hits);
    }

    /// A report by message. Its words are read before anything is sent back: the receipt itself can endanger.
    pub(super) fn write(&mut self, at: Stamp, no: AlertNo, arrival: Arrival, message: Message) {
        let mut record = self.new_record(at, no, arrival);
        record.source.forms = message.forms.clone();
        let mut writer = Writer::from(message.address.clone());
        message.known.iter().for_each(|number| writer.shows(number));
        record.reporter.channels = vec![writer];
        self.open.insert(no, Arc::new(record));
        self.talks.insert(no);
        self.take_message(at, no, message, Step::Arrived);
    }

    fn receive(&mut self, at: Stamp, no: AlertNo, message: Message) {
        self.talks.insert(no);
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        for form in &message.forms {
            if !record.source.forms.contains(form) {
                record.source.forms.push(*form);
            }
        }
        let proven = proven_phone(record).filter(|phone| !phone.is_empty()).map(str::to_owned);
        let writers = &mut record.reporter.channels;
        match writers.iter().position(|w| w.is(&message.address)) {
            // Whoever is in need is written to first, and not who helps.
            Some(_) if message.case.is_some() && writers.len() > 1 => {}
            Some(at) => {
                writers[..=at].rotate_right(1);
                // What they prove later is theirs from then on, and what they proved before stays so.
                let first = proven.filter(|_| writers[0].began.is_empty() && writers[0].phone.is_empty());
                if !message.phone.is_empty() && first.as_deref() != Some(&message.phone) {
                    first.iter().for_each(|number| writers[0].shows(number));
                    writers[0].shows(&message.phone);
                }
            }
            None => {
                join::each_waits(record);
                let since = Some(at).filter(|_| join::answer_of(record) == Answer::Owed);
                if let Some(since) = since {
                    let within = Promise::Answer.within();
                    self.deadlines.is_due(no, Stamp(since.0 + within), self.now + within);
                }
                let Address { channel, user } = message.address.clone();
                let (phone, began) = (message.phone.clone(), no.to_string());
                let mut writer = Writer { channel, user, began, since, ..Writer::default() };
                message.known.iter().chain([&phone]).for_each(|number| writer.shows(number));
                let place = if message.case.is_some() { record.reporter.channels.len() } else { 0 };
                record.reporter.channels.insert(place, writer);
            }
        }
        let writers = &record.reporter.channels;
        debug_assert!(writers.len() <= WRITERS_MAX, "whoever finds no room begins an alert of their own");
        self.take_message(at, no, message, Step::Message);
    }

    fn take_message(&mut self, at: Stamp, no: AlertNo, message: Message, step: Step) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let source = format!("message:{}", message.address.channel);
        incident::note_clues(record, &self.suggestions, &message.body);
        // An agency's words raise what nobody has judged, or what is its own.
        let overrules = message.case.is_none() || is_theirs(record, &message.address);
        let said_by = (source, overrules);
        let (hits, wants_silence) = incident::note_keywords(record, at, &self.keywords, &message.body, said_by);
        let was_silent = record.reporter.safety.silent;
        // An agency asks for whom it speaks of, and for nobody who speaks for themselves.
        let may_ask = message.case.is_none() || is_agencies(record, &message.address);
        let asks = (message.silent || wants_silence) && may_ask;
        let is_asker = |w: &Writer| w.asked_silence && w.is(&message.address);
        let asker = asks.then(|| message.address.clone()).filter(|_| !record.reporter.channels.iter().any(is_asker));
        if asks {
            record.reporter.safety.silent = true;
            record.reporter.safety.no_reply_sms = true;
            record.source.validity = Validity::Silent;
            let writers = &mut record.reporter.channels;
            writers.iter_mut().filter(|w| w.is(&message.address)).for_each(|w| w.asked_silence = true);
        }
        let silent = record.reporter.safety.silent;
        // Whose number is only claimed says so of the alert that they began, and of nobody else's.
        let is_said = |m: &&&str| step == Step::Arrived || **m != "phone_unproven";
        message.marks.iter().filter(is_said).for_each(|m| mark(record, m));
        let order = message.case.as_ref().and_then(|case| case.order);
        let is_late = is_late(record, &message.address, order);
        let is_case = message.case.is_some();
        if let Some(case) = message.case {
            know_case(record, &message.address, *case);
        }
        // Where they said that it is later than this stands; where somebody else is they do not say.
        let may_place = !is_late && (!is_case || is_theirs(record, &message.address));
        if let Some(place) = message.place.filter(|_| may_place) {
            incident::place_at(record, at, &place);
            incident::place_suggestions(record, &self.suggestions);
        }
        let fetches: Vec<_> = message.attachments.iter().map(|a| a.vendor_id.clone()).collect();
        let body: String = message.body.chars().take(TEXT_MAX).collect();
        if record.incident.text.is_empty() && step == Step::Arrived {
            record.incident.text.clone_from(&body);
        }
        add_line(
            record,
            TextLine {
                at,
                by: Role::Reporter.track().into(),
                body,
                dir: Some(Direction::In),
                channel: message.address.channel.clone(),
                user: message.address.user.clone(),
                message_id: message.message_id,
                state: None,
                instead_of: String::new(),
                attachments: message.attachments,
            },
        );
        let receipt = message.receipt.filter(|_| step == Step::Arrived && !silent);
        let receipt =
            receipt.map(|text| queue_line(record, at, no, "gateway", fill(&text, no), message.address.clone()));
        self.emit(no, step, at, None);
        self.warn(no, at, &hits);
        if is_case {
            // What an agency knows is handed on at once, before anybody here has looked at it.
            self.plan(at, no);
        }
        if let Some(asker) = asker {
            self.withdraw_from(at, no, &asker);
        }
        if silent && !was_silent {
            self.fall_silent(at, no);
        }
        if let Some(say) = receipt {
            self.outputs.push_back(Output::Say(Box::new(Say { is_receipt: true, ..say })));
        }
        for vendor_id in fetches {
            let channel = message.address.channel.clone();
            self.outputs.push_back(Output::Fetch(Fetch { no, channel, vendor_id }));
        }
    }

    /// A human's line: to whoever wrote the line that it answers, else by the channel named, else to whoever wrote last.
    fn reply(
        &mut self,
        at: Stamp,
        no: AlertNo,
        seat: SeatInfo,
        body: String,
        channel: Option<String>,
        answers: Option<String>,
    ) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let Some(address) = reader(record, channel.as_deref(), answers.as_deref()) else { return };
        let first = record.call.t.answer.is_none();
        record.call.seat = Some(seat);
        let say = queue_line(record, at, no, "seat", body, address);
        self.emit(no, Step::Message, at, None);
        self.outputs.push_back(Output::Say(Box::new(Say { is_answer: first, ..say })));
    }

    /// The promise of three seconds is about this: a human's words have been taken by their channel.
    fn answered_in_writing(&mut self, at: Stamp, no: AlertNo, mode: codecs::record::AnswerMode, after_ms: u64) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        if record.call.t.answer.is_some() {
            return;
        }
        let is_called = !record.call.legs.is_empty();
        let rings = is_call_up(record) && matches!(record.state, State::Arrived | State::Offered);
        if rings || is_called && matches!(record.state, State::Abandoned | State::Callback) {
            // A line answers those who write, and no caller who hears it ring or is to be called back.
            let owed = !rings && join::answer_of(record) == Answer::Owed;
            let waited = owed || record.reporter.channels.iter().any(|w| w.since.is_some());
            let before = deadline::breaches(record);
            if rings {
                deadline::answered_in_writing_alone(record);
            } else {
                deadline::answered(record, at, after_ms);
            }
            let late = deadline::newly_broken(record, before);
            if waited {
                self.emit(no, Step::Updated, at, None);
            }
            return late.into_iter().for_each(|promise| self.emit(no, Step::DeadlineBreach, at, Some(promise)));
        }
        record.call.t.answer = Some(at);
        record.call.mode = Some(mode);
        record.call.answer_ms = Some(after_ms);
        let before = deadline::breaches(record);
        deadline::answered(record, at, after_ms);
        advance(record, State::Answered);
        incident::triaged_state(record);
        let late = deadline::newly_broken(record, before);
        self.emit(no, Step::Answered, at, None);
        late.into_iter().for_each(|promise| self.emit(no, Step::DeadlineBreach, at, Some(promise)));
        self.try_close(no, at);
    }

    /// What became of a line. Only what has to be told at once makes a revision; the rest goes with the next.
    fn line_state(&mut self, at: Stamp, no: AlertNo, line: &str, state: LineState) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let is_withdrawn = record.marks.iter().any(|m| m == "withdrawn");
        let Some(found) = record.text.iter_mut().rev().find(|l| l.message_id == line) else { return };
        // What was withdrawn may have been on its way already: that it got there is what counts.
        let got_there =
            found.state == Some(LineState::Failed) && matches!(state, LineState::Sent | LineState::Delivered);
        if found.state.is_some_and(|old| old >= state) && !(got_there && is_withdrawn) {
            return;
        }
        found.state = Some(state);
        if found.by == "seat" && matches!(state, LineState::Sent | LineState::Delivered) {
            let to = Address { channel: found.channel.clone(), user: found.user.clone() };
            record.reporter.channels.iter_mut().filter(|w| w.is(&to)).for_each(|w| w.since = None);
            self.spoken_to(at, no, &to);
        }
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        if state == LineState::Failed {
            mark(record, "undelivered");
            self.emit(no, Step::Undelivered, at, None);
            self.came_to_nothing(at, no);
        }
    }

    /// A line has failed: where its taker has put the alert down, and nothing of theirs has got there, a promise is broken.
    pub(super) fn came_to_nothing(&mut self, at: Stamp, no: AlertNo) {
        let is_broken = |record: &codecs::record::AlertRecord| {
            record.state == State::Ended && record.call.t.answer.is_none() && !owes_an_answer(record)
        };
        if self.open.get(&no).is_some_and(|record| is_broken(record)) {
            self.breach(at, no, Promise::Answer);
        }
        self.try_close(no, at);
    }

    /// The same words by another channel, as a line of their own: the record shows both attempts.
    fn send_again(&mut self, at: Stamp, no: AlertNo, line: &str, to: Address) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let Some(found) = record.text.iter_mut().rev().find(|l| l.message_id == line) else { return };
        found.state = Some(LineState::Failed);
        let (by, body) = (found.by.clone(), found.body.clone());
        let say = queue_line(record, at, no, &by, body, to);
        if let Some(again) = record.text.last_mut() {
            again.instead_of = line.to_owned();
        }
        self.emit(no, Step::Message, at, None);
        self.outputs.push_back(Output::Say(Box::new(say)));
    }

    fn fetched(&mut self, at: Stamp, no: AlertNo, fact: TextFact) {
        let TextFact::Fetched { vendor_id, uri, sha256, kind, lost, .. } = fact else { return };
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let all = record.text.iter_mut().flat_map(|l| l.attachments.iter_mut());
        for file in all.filter(|a| a.vendor_id == vendor_id && a.sha256.is_empty()) {
            (file.uri, file.sha256, file.lost) = (uri.clone(), sha256.clone(), lost.clone());
        }
        if lost.is_empty() {
            let media = codecs::record::Media {
                uri,
                sha256,
                kind,
                track: Role::Reporter.track().into(),
                offset_ms: 0,
                duration_ms: 0,
            };
            record.media.push(media);
        }
        self.emit(no, Step::Fetched, at, None);
    }

    fn conversation_ended(&mut self, at: Stamp, no: AlertNo) {
        self.talks.remove(&no);
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let calls_live = record.call.legs.iter().any(|l| l.end.is_none());
        let ends = !calls_live && !matches!(record.state, State::Abandoned | State::Callback);
        if ends {
            record.state = State::Ended;
            record.call.t.end.get_or_insert(at);
        }
        // Put down without a word to whoever waited: that is told.
        if self.open.get(&no).is_some_and(|record| record.source.validity == Validity::Valid) {
            self.came_to_nothing(at, no);
        }
        self.try_close(no, at);
        // Something is on its way still, or expected of somebody: a start knows that nobody is wanted to read it.
        if ends && self.open.contains_key(&no) {
            self.emit(no, Step::Updated, at, None);
        }
    }
}

/// Whether a later word of the same sender is on record already.
pub fn is_late(record: &codecs::record::AlertRecord, sender: &Address, order: Option<u64>) -> bool {
    let latest = record.reporter.channels.iter().find(|w| w.is(sender)).and_then(|w| w.order);
    order.zip(latest).is_some_and(|(order, latest)| order < latest)
}

/// Whether nobody but this sender has written on it, or called.
pub fn is_theirs(record: &codecs::record::AlertRecord, sender: &Address) -> bool {
    record.call.legs.is_empty() && record.reporter.channels.iter().all(|w| w.is(sender))
}

/// Whether nobody but this agency and others has written on it, or called.
fn is_agencies(record: &codecs::record::AlertRecord, sender: &Address) -> bool {
    let is_agency = |w: &Writer| w.order.is_some() || record.id.external.iter().any(|case| case.system == w.channel);
    record.call.legs.is_empty() && record.reporter.channels.iter().all(|w| w.is(sender) || is_agency(w))
}

/// What an agency calls this, and through how many it came where it is the agency's own.
fn know_case(record: &mut codecs::record::AlertRecord, sender: &Address, case: Case) {
    if is_theirs(record, sender) {
        record.source.hops = record.source.hops.max(case.hops);
    }
    if let Some(writer) = record.reporter.channels.iter_mut().find(|w| w.is(sender)) {
        writer.order = writer.order.max(case.order);
    }
    know_external(record, case.external);
}

/// What an agency calls it.
pub(super) fn know_external(record: &mut codecs::record::AlertRecord, case: External) {
    if !record.id.external.contains(&case) && record.id.external.len() < EXTERNAL_MAX {
        record.id.external.push(case);
    }
}

/// A human's line that may yet be the answer is on its way.
pub(super) fn owes_an_answer(record: &codecs::record::AlertRecord) -> bool {
    // Joined, the other alert owes it.
    let goes_on = record.id.related.iter().any(|r| r.kind == Relation::Duplicate);
    let on_its_way = |l: &TextLine| l.by == "seat" && l.state == Some(LineState::Queued);
    record.call.t.answer.is_none() && !goes_on && record.text.iter().any(on_its_way)
}

/// A human's line is on its way: what becomes of it is still to be told.
pub(super) fn owes_a_line(record: &codecs::record::AlertRecord) -> bool {
    let goes_on = record.id.related.iter().any(|r| r.kind == Relation::Duplicate);
    let is_on_its_way = |l: &TextLine| l.by == "seat" && l.state == Some(LineState::Queued);
    !goes_on && record.text.iter().any(is_on_its_way)
}

/// The channel's text with the alert's number: its last nine digits, which a person can repeat.
fn fill(template: &str, no: AlertNo) -> String {
    let number = no.as_str();
    template.replace("{no}", &number[number.len() - 9..])
}

/// The line of a reporter that a record gives up for its next, if it has as many as it may.
pub fn goes_next(record: &codecs::record::AlertRecord) -> Option<&TextLine> {
    let oldest = record.text.first().filter(|_| record.text.len() >= LINES_MAX)?;
    Some(oldest).filter(|l| l.dir == Some(Direction::In) && !l.message_id.is_empty())
}

pub(super) fn add_line(record: &mut codecs::record::AlertRecord, line: TextLine) {
    if record.text.len() >= LINES_MAX {
        mark(record, "transcript_full");
        // The oldest line gives way: it is in the revisions before; what is said now is what matters.
        record.text.remove(0);
    }
    record.text.push(line);
}

/// Notes a line of ours as queued; the channel gets it once it is durable.
fn queue_line(
    record: &mut codecs::record::AlertRecord,
    at: Stamp,
    no: AlertNo,
    by: &str,
    body: String,
    address: Address,
) -> Say {
    record.lines_out += 1;
    let line = format!("{no}-{}", record.lines_out);
    let body: String = body.chars().take(TEXT_MAX).collect();
    let is_theirs = |l: &&TextLine| l.channel == address.channel && l.user == address.user;
    let reply_to = record.text.iter().rev().filter(is_theirs).find(|l| l.dir == Some(Direction::In));
    let reply_to = reply_to.map(|l| l.message_id.clone()).unwrap_or_default();
    add_line(
        record,
        TextLine {
            at,
            by: by.into(),
            body: body.clone(),
            dir: Some(Direction::Out),
            channel: address.channel.clone(),
            user: address.user.clone(),
            message_id: line.clone(),
            state: Some(LineState::Queued),
            instead_of: String::new(),
            attachments: Vec::new(),
        },
    );
    let arrived = record.call.t.arrive.unwrap_or(at);
    Say { no, line, address, body, reply_to, arrived, is_receipt: false, is_answer: false }
}

fn hold(record: &mut codecs::record::AlertRecord, seat: &SeatInfo) {
    record.call.seat = Some(seat.clone());
    // Whoever hung up is still to be called back, whoever reads their words.
    if record.call.legs.is_empty() || !matches!(record.state, State::Abandoned | State::Callback) {
        advance(record, State::Offered);
    }
}
