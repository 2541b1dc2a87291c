//! What an alert is looked for by: read from its newest revision, whatever version wrote it.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use codecs::fold::{END, fold_into};
use codecs::geo::Point;
use codecs::record::significant;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Digits of a telephone number that tell it from others.
const NUMBER_DIGITS: usize = 11;
/// Characters of an alert's texts that are looked through.
const SAID_MAX: usize = 40_000;

type Text<'a> = Cow<'a, str>;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    id: Id<'a>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    reporter: Reporter<'a>,
    #[serde(borrow)]
    location: Vec<Location<'a>>,
    #[serde(borrow)]
    incident: Incident<'a>,
    #[serde(borrow)]
    call: Call<'a>,
    #[serde(borrow)]
    text: Vec<Line<'a>>,
    #[serde(borrow)]
    route: Route<'a>,
    fanout: Vec<Push>,
    #[serde(borrow)]
    handling: Vec<Handling<'a>>,
    #[serde(borrow)]
    progress: Option<Text<'a>>,
    #[serde(borrow)]
    timers: Vec<Timer<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Id<'a> {
    #[serde(borrow)]
    alert_no: Text<'a>,
    #[serde(borrow)]
    external: Vec<External<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct External<'a> {
    #[serde(borrow)]
    no: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reporter<'a> {
    #[serde(borrow)]
    phone: Text<'a>,
    #[serde(borrow)]
    callback: Option<Text<'a>>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    subscriber: Option<Subscriber<'a>>,
    #[serde(borrow)]
    channels: Vec<Writer<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subscriber<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    address: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Writer<'a> {
    #[serde(borrow)]
    user: Text<'a>,
    #[serde(borrow)]
    phone: Text<'a>,
    #[serde(borrow)]
    also: Vec<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Location<'a> {
    wgs84: Option<Point>,
    #[serde(borrow)]
    civic: Text<'a>,
    #[serde(borrow)]
    grid_code: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Incident<'a> {
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    category: Option<Text<'a>>,
    level: Option<u8>,
    #[serde(borrow)]
    complaint_of: Option<Text<'a>>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    supplement: Vec<Text<'a>>,
    #[serde(borrow)]
    vehicles: Vec<Vehicle<'a>>,
    #[serde(borrow)]
    fraud: Option<Fraud<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Vehicle<'a> {
    #[serde(borrow)]
    plate: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fraud<'a> {
    #[serde(borrow)]
    account: Option<Text<'a>>,
    #[serde(borrow)]
    counter_account: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Call<'a> {
    #[serde(borrow)]
    t: Times<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Times<'a> {
    #[serde(borrow)]
    arrive: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow)]
    body: Text<'a>,
    #[serde(borrow)]
    dir: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Route<'a> {
    #[serde(borrow)]
    owner: Text<'a>,
    #[serde(borrow)]
    jurisdiction: Vec<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Push {
    sent: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Handling<'a> {
    #[serde(borrow)]
    text: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Timer<'a> {
    #[serde(borrow)]
    of: Text<'a>,
    met_at: Option<IgnoredAny>,
    breach: bool,
}

/// How far those who are to act have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// 尚未开始办理: told, and signed for by nobody.
    NotBegun,
    /// 正在办理.
    InHand,
    /// Reported back.
    Done,
}

impl Work {
    pub fn named(name: &str) -> Option<Work> {
        [Work::NotBegun, Work::InHand, Work::Done].into_iter().find(|work| work.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Work::NotBegun => "not_begun",
            Work::InHand => "in_hand",
            Work::Done => "done",
        }
    }
}

/// What an alert is looked for, and compared, by.
#[derive(PartialEq, Debug, Default)]
pub struct About {
    pub alert_no: String,
    /// Where it is, as it is known by now.
    pub point: Option<Point>,
    pub grid: String,
    pub state: String,
    pub owner: String,
    pub kind: Option<String>,
    pub category: Option<String>,
    pub level: Option<u8>,
    /// As the record writes it: Beijing time, to be compared as text.
    pub arrived: String,
    pub work: Option<Work>,
    /// Something that is expected of a target is late.
    pub overdue: bool,
    /// The owner, the chain and the grids, each once.
    pub places: Vec<String>,
    /// The owner and the chain: where it lies.
    pub units: Vec<String>,
    /// Of the unit that is complained of what those below it have too.
    pub complaint: Option<String>,
    pub numbers: Vec<String>,
    /// Of all that was said: another means that it is to be looked through anew.
    pub digest: i64,
    /// As an index of pairs of characters has it.
    pub said: String,
}

impl About {
    /// What cannot be read is looked for by its number alone.
    pub(super) fn of(record: &str) -> About {
        let record: Record<'_> = serde_json::from_str(record).unwrap_or_default();
        let mut texts = String::new();
        said(&record, &mut texts);
        let mut hasher = DefaultHasher::new();
        texts.hash(&mut hasher);
        let work = work(&record);
        let late = |t: &Timer<'_>| t.breach && t.met_at.is_none() && !t.of.is_empty();
        let overdue = work.is_some_and(|work| work != Work::Done) && record.timers.iter().any(late);
        let complaint = record.incident.complaint_of.as_deref().map(|unit| significant(unit).to_owned());
        let place = record.location.first();
        About {
            point: place.and_then(|place| place.wgs84),
            grid: place.map(|place| place.grid_code.clone().into_owned()).unwrap_or_default(),
            alert_no: record.id.alert_no.clone().into_owned(),
            places: places(&record),
            units: units(&record),
            complaint: complaint.filter(|unit| !unit.is_empty()),
            numbers: numbers(&record),
            work,
            overdue,
            state: record.state.into_owned(),
            owner: record.route.owner.into_owned(),
            kind: record.incident.kind.map(Cow::into_owned),
            category: record.incident.category.map(Cow::into_owned),
            level: record.incident.level,
            arrived: record.call.t.arrive.into_owned(),
            digest: hasher.finish().cast_signed(),
            said: texts,
        }
    }
}

fn work(record: &Record<'_>) -> Option<Work> {
    match record.progress.as_deref() {
        Some("fed_back" | "reviewed" | "closed") => Some(Work::Done),
        Some("signed" | "instructed" | "accepted" | "contacted" | "enroute" | "arrived" | "handled") => {
            Some(Work::InHand)
        }
        _ => record.fanout.iter().any(|p| p.sent.is_some()).then_some(Work::NotBegun),
    }
}

fn units(record: &Record<'_>) -> Vec<String> {
    let all = record.route.jurisdiction.iter().chain([&record.route.owner]);
    all.filter(|code| !code.is_empty()).map(|code| code.clone().into_owned()).collect()
}

fn places(record: &Record<'_>) -> Vec<String> {
    let chain = record.route.jurisdiction.iter().chain([&record.route.owner]);
    let mut all: Vec<String> = Vec::new();
    for code in chain.chain(record.location.iter().map(|l| &l.grid_code)).filter(|code| !code.is_empty()) {
        if !all.iter().any(|known| *known == **code) {
            all.push(code.clone().into_owned());
        }
    }
    all
}

fn numbers(record: &Record<'_>) -> Vec<String> {
    let reporter = &record.reporter;
    let writers = reporter.channels.iter().flat_map(|w| [&w.user, &w.phone].into_iter().chain(&w.also));
    let mut all: Vec<String> = Vec::new();
    for number in writers.chain([&reporter.phone]).chain(&reporter.callback).filter_map(|n| number(n)) {
        if !all.contains(&number) {
            all.push(number);
        }
    }
    all
}

/// A telephone number as it is looked for: its last digits. None: it is no number.
pub(super) fn number(text: &str) -> Option<String> {
    let folded: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '(' | ')' | '*' | '#');
    if !folded.chars().all(is_number) {
        return None;
    }
    let digits: Vec<char> = folded.chars().filter(char::is_ascii_digit).collect();
    (digits.len() >= 3).then(|| digits[digits.len().saturating_sub(NUMBER_DIGITS)..].iter().collect())
}

/// All that was said and written, in pairs of characters, a text after the other.
fn said(record: &Record<'_>, to: &mut String) {
    let (reporter, incident) = (&record.reporter, &record.incident);
    let subscriber = reporter.subscriber.iter().flat_map(|s| [&s.name, &s.address]);
    let fraud = incident.fraud.iter().flat_map(|f| f.account.iter().chain(&f.counter_account));
    let texts = [&incident.text, &reporter.name].into_iter().chain(&incident.supplement).chain(subscriber).chain(fraud);
    let texts = texts.chain(incident.vehicles.iter().map(|v| &v.plate));
    let texts = texts.chain(record.location.iter().map(|l| &l.civic)).chain(record.handling.iter().map(|h| &h.text));
    // What they said, and not what was written to them: a receipt says the same to everybody.
    let theirs = record.text.iter().filter(|l| l.dir.as_deref() != Some("out")).map(|l| &l.body);
    let texts = texts.chain(record.id.external.iter().map(|e| &e.no)).chain(theirs);
    let (mut left, mut folded) = (SAID_MAX, String::new());
    for text in texts.filter(|text| !text.is_empty()) {
        folded.clear();
        fold_into(text, &mut folded);
        pairs(&folded, &mut left, to);
    }
}

/// The characters of each sentence in pairs, and the last by itself: every part of it is found as a phrase.
fn pairs(folded: &str, left: &mut usize, to: &mut String) {
    for sentence in folded.split(END) {
        let mut characters = sentence.chars().filter(|c| c.is_alphanumeric()).peekable();
        while let Some(first) = characters.next() {
            if *left == 0 {
                return;
            }
            *left -= 1;
            to.push(first);
            to.extend(characters.peek());
            to.push(' ');
        }
    }
}

/// What is asked for words: each has to be there. None: nothing of them can be looked for.
pub(super) fn phrases(words: &str) -> Option<String> {
    let mut all = String::new();
    for word in words.split_whitespace() {
        let mut folded = String::new();
        fold_into(word, &mut folded);
        let characters: Vec<char> = folded.chars().filter(|c| c.is_alphanumeric()).collect();
        let pairs: Vec<String> = characters.windows(2).map(|pair| pair.iter().collect()).collect();
        match (&pairs[..], &characters[..]) {
            ([], []) => {}
            ([], [one, ..]) => all += &format!("\"{one}\" "),
            (pairs, _) => all += &format!("\"{}\" ", pairs.join(" ")),
        }
    }
    Some(all).filter(|all| !all.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_known_by_what_its_record_says_whatever_version_wrote_it() {
        let record = r#"{"state":"closed","reporter":{"phone":"13800000021","callback":"+86 138 0000 0022","name":"赵敏",
            "channels":[{"channel":"sms","user":"8613800000021"},{"channel":"wechat","user":"oAb1","also":["13800000023"]}]},
            "location":[{"grid_code":"370402-001","civic":"城东路 8 号"}],"incident":{"kind":"report","category":"100700",
            "level":2,"text":"持刀。抢 劫","sensitive":true},"call":{"t":{"arrive":"2026-11-30T08:00:00.000000+08:00"}},
            "route":{"owner":"370402510000","jurisdiction":["370400000000","370402510000"]},"fanout":[{"target":"city",
            "sent":"x"}],"timers":[{"name":"T5","of":"city","due":"x","breach":true}],"later":{"version":1}}"#;
        let about = About::of(record);
        assert_eq!(about.numbers, ["13800000021", "13800000023", "13800000022"]);
        assert_eq!(about.places, ["370400000000", "370402510000", "370402-001"]);
        assert_eq!((about.work, about.overdue, about.level), (Some(Work::NotBegun), true, Some(2)));
        assert!(about.said.contains("持刀 刀 抢劫 劫 "), "{}", about.said);
        assert_eq!(About::of("{}"), About { digest: About::of("no record").digest, ..About::default() });
    }

    #[test]
    fn words_are_phrases_of_pairs_of_characters() {
        assert_eq!(phrases("搶劫 城东路").as_deref(), Some("\"抢劫\" \"城东 东路\" "));
        assert_eq!(phrases("刀 \"*; AND").as_deref(), Some("\"刀\" \"an nd\" "));
        assert_eq!(phrases(" 。\" "), None);
    }
}
