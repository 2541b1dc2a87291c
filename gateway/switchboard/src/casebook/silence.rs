//! Silence is a person's: whoever asked for it, by whichever channel, is not rung on any of their calls, nor sent what
//! was written to them before.

use std::collections::{BTreeMap, BTreeSet};

use codecs::record::{Address, AlertNo, AlertRecord, LineState, Note, Writer};
use codecs::time::Wall;

use casework::{Fact, TextFact, proven_phone};

use super::Casebook;
use crate::{is_telephone, telephone};

/// Those who asked that are remembered; beyond, those who are silent no more give way first.
const ASKERS_MAX: usize = 50_000;
/// Lines without an alert that are on their way.
const PASSING_MAX: usize = 50_000;

#[derive(Default)]
pub(super) struct Silence {
    /// Who asked for silence: in which alert, and from which telephone number.
    askers: BTreeMap<Address, (AlertNo, String)>,
    by_number: BTreeMap<String, BTreeSet<Address>>,
    /// Lines to anybody that no channel has taken: to whom.
    passing: BTreeMap<String, Address>,
}

impl Silence {
    /// `false`: that was known.
    fn note(&mut self, who: &Address, no: AlertNo, number: &str, is_silent: impl Fn(&Address) -> bool) -> bool {
        if self.askers.len() >= ASKERS_MAX && !self.askers.contains_key(who) {
            self.askers.retain(|who, _| is_silent(who));
            let Silence { askers, by_number, .. } = self;
            by_number.values_mut().for_each(|all| all.retain(|who| askers.contains_key(who)));
            by_number.retain(|_, all| !all.is_empty());
        }
        if self.askers.len() >= ASKERS_MAX && !self.askers.contains_key(who) {
            return true;
        }
        if !number.is_empty() {
            self.by_number.entry(number.to_owned()).or_default().insert(who.clone());
        }
        let place = (no, number.to_owned());
        self.askers.insert(who.clone(), place.clone()) != Some(place)
    }

    pub(super) fn passes(&mut self, line: &str, to: &Address) {
        if self.passing.len() < PASSING_MAX {
            self.passing.insert(line.to_owned(), to.clone());
        }
    }
}

impl Casebook {
    /// Whether this person asks for silence where they write now, or wrote last.
    fn asks_for_silence(&self, who: &Address) -> bool {
        let thread = self.talks.threads().get(who).map(|thread| thread.alert);
        let noted = || self.silence.askers.get(who).map(|(no, _)| self.alerts.goes_on_as(*no));
        thread.or_else(noted).is_some_and(|no| self.is_silent_writer(no, who))
    }

    fn is_silent_writer(&self, no: AlertNo, who: &Address) -> bool {
        let record = self.alerts.get(no);
        record.is_some_and(|r| r.reporter.channels.iter().any(|w| w.asked_silence && w.address() == *who))
    }

    /// Whether the person of this telephone number asks for silence, by whichever channel.
    pub(super) fn is_silent_number(&self, number: &str) -> bool {
        let askers = self.silence.by_number.get(number);
        askers.is_some_and(|askers| askers.iter().any(|who| self.asks_for_silence(who)))
    }

    /// Whether whoever is behind this address asks for silence, by it or by another channel of theirs.
    pub(super) fn is_silent_person(&self, who: &Address) -> bool {
        self.asks_for_silence(who) || self.is_silent_number(&self.number_behind(who))
    }

    /// The telephone number that is known of an address; empty: none.
    fn number_behind(&self, who: &Address) -> String {
        let known = self.talks.threads().get(who).and_then(|thread| thread.phone.clone());
        let noted = || self.silence.askers.get(who).map(|(_, number)| number.clone());
        let known = known.or_else(noted).unwrap_or_default();
        // A channel whose users prove their numbers names them by numbers too.
        let named = telephone(&who.user);
        match self.channel(&who.channel) {
            Some(rule) if known.is_empty() && rule.proves_phone && is_telephone(&named) => named,
            Some(rule) => self.number_of(rule, who, &known),
            None => known,
        }
    }

    /// The telephone number that is a writer's for certain.
    fn number_of_writer(&self, record: &AlertRecord, writer: &Writer) -> Option<String> {
        let began_it = writer.phone.is_empty() && writer.began.is_empty();
        let known = if began_it { proven_phone(record).unwrap_or_default() } else { &writer.phone };
        let rule = self.channel(&writer.channel)?;
        Some(self.number_of(rule, &writer.address(), known)).filter(|number| !number.is_empty())
    }

    /// After a word of somebody: where they ask for silence their own calls fall silent, and so does whatever else of
    /// theirs they are written to by; what was sent to them before and has not gone goes no more.
    pub(super) fn heed_silence(&mut self, at: Wall, no: AlertNo, who: &Address) {
        if !self.is_silent_writer(no, who) {
            return;
        }
        let Some(record) = self.alerts.get(no) else { return };
        let writer = record.reporter.channels.iter().find(|w| w.address() == *who);
        let number = writer.and_then(|writer| self.number_of_writer(record, writer)).unwrap_or_default();
        let mut silence = std::mem::take(&mut self.silence);
        let is_new = silence.note(who, no, &number, |other| self.asks_for_silence(other));
        self.silence = silence;
        if !is_new {
            return;
        }
        let is_theirs = |to: &Address| to == who || !number.is_empty() && self.number_behind(to) == number;
        let passing = self.silence.passing.iter().filter(|(_, to)| is_theirs(to));
        let passing: Vec<(String, Address)> = passing.map(|(line, to)| (line.clone(), to.clone())).collect();
        for (line, to) in passing {
            self.silence.passing.remove(&line);
            self.note(at, &Note::Line { line: line.clone(), state: LineState::Failed });
            self.withdraw(to.channel, line);
        }
        if number.is_empty() {
            return;
        }
        for (other, readers) in self.others_of(&number, no, who) {
            self.fact(at, other, Fact::Text(TextFact::Silenced { readers }));
        }
    }

    /// The calls of a number, and by what else its owner writes, wherever they are not silent yet.
    fn others_of(&self, number: &str, no: AlertNo, who: &Address) -> Vec<(AlertNo, Vec<Address>)> {
        let theirs = |record: &AlertRecord| {
            let others = record.reporter.channels.iter().filter(|w| !w.asked_silence);
            let same = others.filter(|w| self.number_of_writer(record, w).as_deref() == Some(number));
            same.map(Writer::address).filter(|other| other != who).collect::<Vec<_>>()
        };
        let calls = |record: &AlertRecord| {
            let is_call = !record.call.legs.is_empty() && !record.reporter.safety.silent;
            is_call && proven_phone(record).is_some_and(|phone| telephone(phone) == number)
        };
        let all = self.alerts.open().map(|(other, record)| (*other, theirs(record), calls(record)));
        all.filter(|(other, readers, calls)| !readers.is_empty() || *calls && *other != no)
            .map(|(other, readers, _)| (other, readers))
            .collect()
    }

    /// A call has come: of whoever asks for silence it is not called back either.
    pub(super) fn heed_silence_of_caller(&mut self, at: Wall, no: AlertNo, caller: &str) {
        let number = telephone(caller);
        if is_telephone(&number) && self.is_silent_number(&number) {
            self.fact(at, no, Fact::Text(TextFact::Silenced { readers: Vec::new() }));
        }
    }

    /// After a start, once everybody stands where they stand.
    pub(super) fn restore_silence(&mut self) {
        let mut all = Vec::new();
        for record in self.alerts.recent().chain(self.alerts.open().map(|(_, record)| record)) {
            let Some(no) = AlertNo::parse(&record.id.alert_no) else { continue };
            for writer in record.reporter.channels.iter().filter(|w| w.asked_silence) {
                all.push((writer.address(), no, self.number_of_writer(record, writer).unwrap_or_default()));
            }
        }
        for (who, no, number) in all {
            self.silence.note(&who, no, &number, |_| true);
        }
    }

    /// Whether a line to anybody is on its way.
    pub(super) fn is_passing(&self, line: &str) -> bool {
        self.silence.passing.contains_key(line)
    }

    /// A line to anybody that a channel has, or never will.
    pub(super) fn no_longer_passing(&mut self, line: &str) {
        self.silence.passing.remove(line);
    }
}
