//! The officer's road by short message: the order goes out when they have taken the call, and a digit comes back for
//! each step (items 1A.92, 3.23).
//!
//! A digit is a step only of an officer who was called to something lately, and only alone or with a remark behind it:
//! whatever else they write is a report as anybody's.

use std::collections::BTreeMap;

use codecs::record::{Address, AlertNo, AlertRecord, HandlingStep, LineState, Note, Role, TryResult};
use codecs::time::Wall;

use casework::HandlingFact;
use dispatch::conversation::Seen;
use dispatch::nearest::Place;

use super::Casebook;
use crate::message::{Failure, Incoming};
use crate::{is_telephone, telephone};

/// How officers are written to.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    channel: String,
    /// The telephone of each officer who has one, and whose it is.
    phones: BTreeMap<String, String>,
    officers: BTreeMap<String, String>,
    /// What may have come of an alert, with its name; none: whatever is said.
    results: BTreeMap<String, String>,
}

/// For so long after they were called to it a step of an officer's may come.
const ANSWERED_WITHIN_S: i64 = 24 * 3600;
/// Characters of a remark, and of what an order says of an alert.
const REMARK_MAX: usize = 1000;
/// Digits that may have been meant for the code of a result.
const CODE_MAX: usize = 6;
const ORDER_TEXT_MAX: usize = 80;

/// The steps by their digits, as the order names them.
const STEPS: [(char, HandlingStep, &str); 6] = [
    ('1', HandlingStep::Accepted, "接受"),
    ('2', HandlingStep::Contacted, "已联系"),
    ('3', HandlingStep::Enroute, "出发"),
    ('4', HandlingStep::Arrived, "到达"),
    ('5', HandlingStep::Handled, "处置完毕"),
    ('6', HandlingStep::FedBack, "反馈"),
];

impl Orders {
    /// By this channel, to officers with their telephones. A telephone that two share is nobody's.
    pub fn new(
        channel: String,
        telephones: impl IntoIterator<Item = (String, String)>,
        results: BTreeMap<String, String>,
    ) -> Orders {
        let (mut phones, mut officers) = (BTreeMap::new(), BTreeMap::new());
        for (officer, phone) in telephones {
            let phone = telephone(&phone);
            if is_telephone(&phone) {
                officers.entry(phone.clone()).and_modify(|o: &mut String| o.clear()).or_insert(officer.clone());
                phones.insert(officer, phone);
            }
        }
        officers.retain(|_, officer| !officer.is_empty());
        phones.retain(|_, phone| officers.contains_key(phone));
        Orders { channel, phones, officers, results }
    }

    fn known_results(&self) -> String {
        let all: Vec<_> = self.results.iter().map(|(code, name)| format!("{code}{name}")).collect();
        all.join(" ")
    }
}

/// A digit alone, or with a remark behind it: `4`, `4 已到现场`, `６ 10 已调解`.
fn step_of(text: &str) -> Option<(HandlingStep, &'static str, &str)> {
    let text = text.trim();
    let first = text.chars().next()?;
    let digit = char::from_u32(u32::from(first).saturating_sub(0xFEE0)).filter(char::is_ascii_digit);
    let (_, step, name) = STEPS.into_iter().find(|(c, ..)| *c == digit.unwrap_or(first))?;
    let rest = &text[first.len_utf8()..];
    let is_apart = rest.chars().next().is_none_or(|c| c.is_whitespace() || "，,。.、:：".contains(c));
    is_apart.then(|| (step, name, rest.trim_matches(|c: char| c.is_whitespace() || "，,。.、:：".contains(c))))
}

fn short(text: &str, most: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(most).collect()
}

/// What endangers them first, then what and where, then what to answer.
fn order_text(record: &AlertRecord) -> String {
    let hazards = record.incident.hazards.as_ref();
    let is = |set: Option<bool>, what: &'static str| (set == Some(true)).then_some(what);
    let dangers = [
        is(hazards.and_then(|h| h.weapons), "凶器"),
        is(hazards.and_then(|h| h.explosives), "爆炸物"),
        is(hazards.and_then(|h| h.suspect_present), "嫌疑人在场"),
    ];
    let mut dangers: Vec<String> = dangers.into_iter().flatten().map(str::to_owned).collect();
    dangers.extend(record.incident.keywords.iter().map(|k| k.word.clone()));
    dangers.dedup();
    let mut text = format!("【110 指令】{}", &record.id.alert_no[record.id.alert_no.len().saturating_sub(9)..]);
    if !dangers.is_empty() {
        text += &format!(" 危险:{}", dangers.join("、"));
    }
    if record.reporter.safety.silent {
        text += " 不得回拨报警人";
    }
    let words = record.text.iter().find(|l| l.dir == Some(codecs::record::Direction::In)).map(|l| &*l.body);
    let said = Some(&*record.incident.text).filter(|text| !text.is_empty());
    let what = said.or(words).unwrap_or_default();
    if !what.is_empty() {
        text += &format!(" {}", short(what, ORDER_TEXT_MAX));
    }
    if let Some(at) = record.location.first() {
        let place = [&*at.civic, &*at.grid_code].join(" ");
        text += &format!(" 地点:{}", short(&place, ORDER_TEXT_MAX));
    }
    text + " 回复:" + &STEPS.map(|(digit, _, name)| format!("{digit}{name}")).join(" ")
}

impl Casebook {
    /// Somebody has taken the call: whoever is an officer with a telephone of their own has it in writing too.
    pub(super) fn order(&mut self, at: Wall, no: AlertNo, officer: &str, result: TryResult) {
        let Some(orders) = self.config.orders.clone().filter(|_| result == TryResult::Answered) else { return };
        let Some(phone) = orders.phones.get(officer) else { return };
        let Some(record) = self.alerts.get(no) else { return };
        let tries = || record.dispatch.iter().filter(|d| d.officer == officer);
        // Once an alert, however often they are called to it.
        let is_first = tries().filter(|d| d.result == Some(TryResult::Answered)).count() == 1;
        let avoid = Place { avoid: record.incident.complaint_of.clone(), ..Place::default() };
        let may_hear = tries().all(|d| d.role == Role::Officer && !self.config.grids.is_avoided(&avoid, &d.unit));
        if !is_first || !may_hear {
            return;
        }
        let (line, body) = (format!("out-{no}-{officer}"), order_text(record));
        self.write_to_officer(at, line, &orders.channel, phone, body);
    }

    fn write_to_officer(&mut self, at: Wall, line: String, channel: &str, phone: &str, body: String) {
        let to = Address { channel: channel.to_owned(), user: phone.to_owned() };
        // What cannot go, as for want of a quota, keeps nobody: they have been told by voice.
        if self.send(at, line, to, body, false).is_err() {
            self.count(channel, "order_not_sent");
        }
    }

    /// A step by short message: the alert that it is of. None: it is a report as anybody's.
    pub(super) fn officer_answers(&mut self, at: Wall, m: &Incoming, text: &str) -> Option<AlertNo> {
        let orders = self.config.orders.clone().filter(|o| o.channel == m.from.channel)?;
        let is_number = self.channel(&m.from.channel).is_some_and(|rule| rule.user_is_phone);
        let officer = orders.officers.get(&telephone(&m.from.user)).filter(|_| is_number)?.clone();
        // Whoever writes of danger is heard as anybody is, whatever digit stands in front.
        let (step, name, rest) = step_of(text).filter(|_| !self.alerts.is_warned_of(text))?;
        let no = self.called_lately(at, &officer)?;
        let taken = self.step_by_message(at, no, step, (&officer, rest), &orders);
        // Words that no step has taken, or not all of them, are heard as anybody's report.
        let is_code = |word: &str| word.len() <= CODE_MAX && word.bytes().all(|b| b.is_ascii_digit());
        let is_heard = taken.is_err() && !is_code(rest) || rest.chars().count() > REMARK_MAX;
        let answer = match taken {
            Ok(()) => format!("已记录:{name} …{}", &no.as_str()[21..]),
            Err(why) if is_heard => format!("未能记录:{why}。已转接警员"),
            Err(why) => format!("未能记录:{why}"),
        };
        // Whoever delivers it again after a start delivers what is known.
        let known = Seen::name(&m.from.channel, &m.from.user, &m.message_id);
        if !is_heard {
            let names = vec![(format!("{known:032x}"), no.to_string())];
            self.note(at, &Note::Known { channel: m.from.channel.clone(), names });
        }
        let line = format!("out-{no}-{known:032x}");
        self.write_to_officer(at, line, &orders.channel, &m.from.user, answer);
        Some(no).filter(|_| !is_heard)
    }

    /// Orders that are on their way to somebody of a unit that is complained of by now go no more.
    pub(super) fn withdraw_orders(&mut self, at: Wall, no: AlertNo) {
        let Some(orders) = self.config.orders.clone() else { return };
        let Some(record) = self.alerts.get(no).filter(|r| r.incident.complaint_of.is_some()) else { return };
        let avoid = Place { avoid: record.incident.complaint_of.clone(), ..Place::default() };
        let theirs = record.dispatch.iter().filter(|d| self.config.grids.is_avoided(&avoid, &d.unit));
        let lines: Vec<String> = theirs.map(|d| format!("out-{no}-{}", d.officer)).collect();
        for line in lines {
            if self.is_passing(&line) {
                self.no_longer_passing(&line);
                self.note(at, &Note::Line { line: line.clone(), state: LineState::Failed });
                self.withdraw(orders.channel.clone(), line);
            }
        }
    }

    fn step_by_message(
        &mut self,
        at: Wall,
        no: AlertNo,
        step: HandlingStep,
        (officer, rest): (&str, &str),
        orders: &Orders,
    ) -> Result<(), String> {
        let (mut result_code, mut text) = (String::new(), rest);
        if step == HandlingStep::FedBack && !orders.results.is_empty() {
            let (code, remark) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            if !orders.results.contains_key(code) {
                return Err(format!("请回复 6 结果代码 说明。代码:{}", orders.known_results()));
            }
            (result_code, text) = (code.to_owned(), remark);
        }
        let (officer, text) = (officer.to_owned(), short(text, REMARK_MAX));
        let before = self.act_as(format!("officer:{officer}"));
        let fact =
            HandlingFact { step, target: String::new(), officer, to: String::new(), text, result_code, place: None };
        let taken = self.handle_step(at, no, fact);
        self.act_as(before);
        taken.map(drop).map_err(|why| match why {
            Failure::NotFound(what) | Failure::Conflict(what) => what.to_owned(),
            _ => "稍后再试".to_owned(),
        })
    }

    /// What an officer was called to last, and has taken.
    fn called_lately(&self, at: Wall, officer: &str) -> Option<AlertNo> {
        let all = self.alerts.open().map(|(_, record)| record).chain(self.alerts.recent());
        let called = |record: &AlertRecord| {
            let theirs = record.dispatch.iter().filter(|d| d.officer == officer);
            let taken = theirs.filter(|d| d.result == Some(TryResult::Answered)).map(|d| d.tried_at.0).max()?;
            Some((taken, AlertNo::parse(&record.id.alert_no)?))
        };
        let (then, no) = all.filter_map(called).max()?;
        (at.0.saturating_sub(then.0) < ANSWERED_WITHIN_S * 1_000_000_000).then_some(no)
    }
}
