//! Silence is a person's: whoever asked for it, by whichever channel, is not rung on any of their calls, nor sent what
//! was written to them before.

use std::collections::{BTreeMap, BTreeSet};

use codecs::record::{Address, AlertNo, AlertRecord, LineState, Note, TextLine, Writer};
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
    /// Who asked for silence: in which alert, and which telephone numbers are theirs.
    askers: BTreeMap<Address, (AlertNo, Vec<String>)>,
    by_number: BTreeMap<String, BTreeSet<Address>>,
    /// Lines to anybody that no channel has taken: to whom.
    passing: BTreeMap<String, Address>,
}

impl Silence {
    /// `false`: that was known.
    fn note(&mut self, who: &Address, no: AlertNo, numbers: &[String], is_silent: impl Fn(&Address) -> bool) -> bool {
        if self.askers.len() >= ASKERS_MAX && !self.askers.contains_key(who) {
            self.askers.retain(|who, _| is_silent(who));
            let Silence { askers, by_number, .. } = self;
            by_number.values_mut().for_each(|all| all.retain(|who| askers.contains_key(who)));
            by_number.retain(|_, all| !all.is_empty());
        }
        if self.askers.len() >= ASKERS_MAX && !self.askers.contains_key(who) {
            return true;
        }
        for number in numbers {
            self.by_number.entry(number.clone()).or_default().insert(who.clone());
        }
        let place = (no, numbers.to_vec());
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

    pub(super) fn is_silent_writer(&self, no: AlertNo, who: &Address) -> bool {
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
        self.asks_for_silence(who) || self.numbers_behind(who).iter().any(|number| self.is_silent_number(number))
    }

    /// The telephone numbers that are known of an address.
    fn numbers_behind(&self, who: &Address) -> Vec<String> {
        let known = self.talks.threads().get(who).and_then(|thread| thread.phone.clone());
        let noted = self.silence.askers.get(who).map(|(_, numbers)| numbers.as_slice()).unwrap_or_default();
        let known: Vec<String> = known.into_iter().chain(noted.iter().cloned()).filter(|n| !n.is_empty()).collect();
        // A channel whose users prove their numbers names them by numbers too.
        let named = telephone(&who.user);
        match self.channel(&who.channel) {
            Some(rule) if known.is_empty() && rule.proves_phone && is_telephone(&named) => vec![named],
            Some(rule) if rule.user_is_phone => vec![self.number_of(rule, who, "")],
            _ => known,
        }
    }

    /// The telephone numbers that are a writer's for certain.
    pub(super) fn numbers_of_writer(&self, record: &AlertRecord, writer: &Writer) -> Vec<String> {
        let Some(rule) = self.channel(&writer.channel) else { return Vec::new() };
        let began_it = writer.phone.is_empty() && writer.began.is_empty();
        let last = if began_it { proven_phone(record).unwrap_or_default() } else { &writer.phone };
        let all = std::iter::once(last).chain(writer.also.iter().map(String::as_str));
        let mut numbers: Vec<String> = Vec::new();
        for number in all.map(|known| self.number_of(rule, &writer.address(), known)) {
            if !number.is_empty() && !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        numbers
    }

    /// Numbers that one account showed are one person's: with these, those that other accounts showed along with them.
    fn all_of_theirs(numbers: Vec<String>, shown_together: &[Vec<String>]) -> Vec<String> {
        let mut all = numbers;
        loop {
            let is_theirs = |together: &&Vec<String>| together.iter().any(|number| all.contains(number));
            let more = shown_together.iter().filter(is_theirs).flatten();
            let more: BTreeSet<String> = more.filter(|number| !all.contains(number)).cloned().collect();
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    /// The numbers of each account that showed several.
    fn shown_together(&self) -> Vec<Vec<String>> {
        let records = self.alerts.recent().chain(self.alerts.open().map(|(_, record)| record));
        let writers = records.flat_map(|r| r.reporter.channels.iter().map(move |w| (r, w)));
        let several = writers.filter(|(_, writer)| !writer.also.is_empty());
        several.map(|(record, writer)| self.numbers_of_writer(record, writer)).collect()
    }

    /// After a word of somebody: where they ask for silence their own calls fall silent, and so does whatever else of
    /// theirs they are written to by; what was sent to them before and has not gone goes no more.
    /// `asks`: this very word does; whoever has written elsewhere since is silent there again.
    pub(super) fn heed_silence(&mut self, at: Wall, no: AlertNo, who: &Address, asks: bool) {
        if !self.is_silent_writer(no, who) {
            return;
        }
        let Some(record) = self.alerts.get(no) else { return };
        let writer = record.reporter.channels.iter().find(|w| w.address() == *who);
        let numbers = writer.map(|writer| self.numbers_of_writer(record, writer)).unwrap_or_default();
        let is_last = |l: &&TextLine| l.channel == who.channel && l.user == who.user;
        let asks = asks || record.text.last().filter(is_last).is_some_and(|l| self.alerts.asks_for_silence(&l.body));
        let numbers = Casebook::all_of_theirs(numbers, &self.shown_together());
        let mut silence = std::mem::take(&mut self.silence);
        let is_new = silence.note(who, no, &numbers, |other| self.asks_for_silence(other));
        self.silence = silence;
        if !is_new && !asks {
            return;
        }
        let is_theirs = |to: &Address| to == who || self.numbers_behind(to).iter().any(|n| numbers.contains(n));
        let passing = self.silence.passing.iter().filter(|(_, to)| is_theirs(to));
        let passing: Vec<(String, Address)> = passing.map(|(line, to)| (line.clone(), to.clone())).collect();
        for (line, to) in passing {
            self.silence.passing.remove(&line);
            self.note(at, &Note::Line { line: line.clone(), state: LineState::Failed });
            self.withdraw(to.channel, line);
        }
        if numbers.is_empty() {
            return;
        }
        for (other, readers) in self.others_of(&numbers, no, who) {
            self.fact(at, other, Fact::Text(TextFact::Silenced { readers }));
        }
    }

    /// The calls of these numbers, and by what else its owner writes, wherever they are not silent yet.
    fn others_of(&self, numbers: &[String], no: AlertNo, who: &Address) -> Vec<(AlertNo, Vec<Address>)> {
        let theirs = |record: &AlertRecord| {
            let others = record.reporter.channels.iter().filter(|w| !w.asked_silence);
            let same = others.filter(|w| self.numbers_of_writer(record, w).iter().any(|n| numbers.contains(n)));
            same.map(Writer::address).filter(|other| other != who).collect::<Vec<_>>()
        };
        let calls = |record: &AlertRecord| {
            let is_call = !record.call.legs.is_empty() && !record.reporter.safety.silent;
            is_call && proven_phone(record).is_some_and(|phone| numbers.contains(&telephone(phone)))
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
        let (mut all, together) = (Vec::new(), self.shown_together());
        for record in self.alerts.recent().chain(self.alerts.open().map(|(_, record)| record)) {
            let Some(no) = AlertNo::parse(&record.id.alert_no) else { continue };
            for writer in record.reporter.channels.iter().filter(|w| w.asked_silence) {
                let numbers = Casebook::all_of_theirs(self.numbers_of_writer(record, writer), &together);
                all.push((writer.address(), no, numbers));
            }
        }
        for (who, no, numbers) in all {
            self.silence.note(&who, no, &numbers, |_| true);
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
