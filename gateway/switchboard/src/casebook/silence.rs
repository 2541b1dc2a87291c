//! Silence is a person's: whoever asked for it, by whichever channel, is not rung on any of their calls, nor sent what
//! was written to them before.

use std::collections::BTreeMap;

use codecs::record::{Address, AlertNo, AlertRecord, LineState, Note, Writer};
use codecs::time::Wall;

use casework::{Fact, TextFact, proven_phone};

use super::Casebook;
use crate::{is_telephone, telephone};

/// Numbers that are remembered; beyond, those whose owners are silent no more give way first.
const NUMBERS_MAX: usize = 50_000;
/// Lines without an alert that are on their way.
const PASSING_MAX: usize = 50_000;

#[derive(Default)]
pub(super) struct Silence {
    /// Who asked for silence, by their telephone number, and in which alert.
    askers: BTreeMap<String, BTreeMap<Address, AlertNo>>,
    /// Lines to anybody that no channel has taken: to whom.
    passing: BTreeMap<String, Address>,
}

impl Silence {
    /// `false`: that was known.
    fn note(&mut self, number: &str, who: &Address, no: AlertNo, is_silent: impl Fn(&Address) -> bool) -> bool {
        if self.askers.len() >= NUMBERS_MAX && !self.askers.contains_key(number) {
            self.askers.retain(|_, askers| askers.keys().any(&is_silent));
        }
        if self.askers.len() >= NUMBERS_MAX && !self.askers.contains_key(number) {
            return true;
        }
        self.askers.entry(number.to_owned()).or_default().insert(who.clone(), no) != Some(no)
    }

    pub(super) fn passes(&mut self, line: &str, to: &Address) {
        if self.passing.len() < PASSING_MAX {
            self.passing.insert(line.to_owned(), to.clone());
        }
    }

    pub(super) fn has_passed(&mut self, line: &str) {
        self.passing.remove(line);
    }

    fn take_those_to(&mut self, who: &Address) -> Vec<String> {
        let lines: Vec<String> =
            self.passing.iter().filter(|(_, to)| *to == who).map(|(line, _)| line.clone()).collect();
        lines.iter().for_each(|line| drop(self.passing.remove(line)));
        lines
    }
}

impl Casebook {
    /// Whether this person asks for silence where they write now.
    pub(super) fn asks_for_silence(&self, who: &Address) -> bool {
        let stands = self.talks.threads().get(who).map(|thread| thread.alert);
        stands.is_some_and(|no| self.is_silent_writer(no, who))
    }

    fn is_silent_writer(&self, no: AlertNo, who: &Address) -> bool {
        let record = self.alerts.get(no);
        record.is_some_and(|r| r.reporter.channels.iter().any(|w| w.asked_silence && w.address() == *who))
    }

    /// Whether the person of this telephone number asks for silence.
    pub(super) fn is_silent_number(&self, number: &str) -> bool {
        let askers = self.silence.askers.get(&telephone(number));
        askers.is_some_and(|askers| askers.keys().any(|who| self.asks_for_silence(who)))
    }

    /// The telephone number that is a writer's for certain.
    fn number_of_writer(&self, record: &AlertRecord, writer: &Writer) -> Option<String> {
        let began_it = writer.phone.is_empty() && writer.began.is_empty();
        let known = if began_it { proven_phone(record).unwrap_or_default() } else { &writer.phone };
        let rule = self.channel(&writer.channel)?;
        Some(self.number_of(rule, &writer.address(), known)).filter(|number| !number.is_empty())
    }

    /// After a word of somebody: where they ask for silence their own calls fall silent, and what was sent to them before
    /// and has not gone goes no more.
    pub(super) fn heed_silence(&mut self, at: Wall, no: AlertNo, who: &Address) {
        if !self.is_silent_writer(no, who) {
            return;
        }
        for line in self.silence.take_those_to(who) {
            self.note(at, &Note::Line { line: line.clone(), state: LineState::Failed });
            self.withdraw(who.channel.clone(), line);
        }
        let Some(record) = self.alerts.get(no) else { return };
        let writer = record.reporter.channels.iter().find(|w| w.address() == *who);
        let Some(number) = writer.and_then(|writer| self.number_of_writer(record, writer)) else { return };
        let mut silence = std::mem::take(&mut self.silence);
        let is_new = silence.note(&number, who, no, |other| self.asks_for_silence(other));
        self.silence = silence;
        if !is_new {
            return;
        }
        let is_theirs = |r: &AlertRecord| {
            let calls = !r.call.legs.is_empty() && !r.reporter.safety.silent;
            calls && proven_phone(r).is_some_and(|phone| telephone(phone) == number)
        };
        let calls: Vec<AlertNo> = self.alerts.open().filter(|(_, r)| is_theirs(r)).map(|(no, _)| *no).collect();
        for call in calls {
            self.fact(at, call, Fact::Text(TextFact::Silenced));
        }
    }

    /// A call has come: of whoever asks for silence it is not called back either.
    pub(super) fn heed_silence_of_caller(&mut self, at: Wall, no: AlertNo, caller: &str) {
        if is_telephone(&telephone(caller)) && self.is_silent_number(caller) {
            self.fact(at, no, Fact::Text(TextFact::Silenced));
        }
    }

    /// After a start, once everybody stands where they stand.
    pub(super) fn restore_silence(&mut self) {
        let mut all = Vec::new();
        for record in self.alerts.recent().chain(self.alerts.open().map(|(_, record)| record)) {
            let Some(no) = AlertNo::parse(&record.id.alert_no) else { continue };
            for writer in record.reporter.channels.iter().filter(|w| w.asked_silence) {
                all.extend(self.number_of_writer(record, writer).map(|number| (number, writer.address(), no)));
            }
        }
        for (number, who, no) in all {
            self.silence.note(&number, &who, no, |_| true);
        }
    }

    /// A line to anybody that a channel has, or never will.
    pub(super) fn no_longer_passing(&mut self, line: &str) {
        self.silence.has_passed(line);
    }

    /// A line that was to go before a start does not where its reader has asked for silence.
    pub(super) fn goes_after_a_start(&self, to: &Address) -> bool {
        !self.asks_for_silence(to)
    }
}
