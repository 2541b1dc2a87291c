//! What happened: the incident section of the record, and what a triage says of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Stamp, Validity};

/// 性质.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    Report,
    UrgentHelp,
    PoliceComplaint,
    NonPolice,
    Consult,
}

impl IncidentKind {
    /// Whether this kind needs an officer in the call at once (record: report and urgent help).
    pub fn wants_officer(self) -> bool {
        matches!(self, IncidentKind::Report | IncidentKind::UrgentHelp)
    }
}

/// A keyword found in what somebody said or wrote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeywordHit {
    pub word: String,
    /// 1 特别重大 … 4 一般.
    pub level: u8,
    pub at: Stamp,
    /// `triage`, or `transcript:` and the leg.
    pub source: String,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<IncidentKind>,
    /// Two-level six-digit code, e.g. 100200 抢劫.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{6}$"))]
    pub category: Option<String>,
    /// 1 特别重大 … 4 一般.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4))]
    pub level: Option<u8>,
    pub sensitive: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<KeywordHit>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supplement: Vec<String>,
    /// 案发时间, as it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub casualties: Option<Casualties>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hazards: Option<Hazards>,
    /// 涉外.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vehicles: Vec<Vehicle>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraud: Option<Fraud>,
    /// 被投诉单位: neither it nor a unit below it has anything to do with the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complaint_of: Option<String>,
    /// 情指勤舆: it is led as a major alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<Major>,
    /// Words of the dictionary that were found in what was said and written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clues: Vec<String>,
    /// What they speak for, the surest first; nothing is decided by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggested: Vec<Suggestion>,
    /// Every triage with its author, oldest first: what two of them say against each other stays to be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triage: Vec<Triage>,
}

/// A category that the words of a report speak for, and whose it would be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Suggestion {
    #[schemars(regex(pattern = r"^[0-9]{6}$"))]
    pub category: String,
    /// As the city calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// How sure the words make it: 20 to 99.
    pub percent: u8,
    pub words: Vec<String>,
    /// 办理单位.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub handling: String,
    /// 督办单位.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub supervising: String,
}

/// Since when an alert is led as a major one, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Major {
    pub at: Stamp,
    /// Role and subject; `gateway`: by its rules.
    pub by: String,
    /// `level 1`, or `by hand`.
    pub why: String,
    /// Somebody has ended it; nothing but a hand begins it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Stamp>,
}

impl Incident {
    /// Whether it is led as a major alert.
    pub fn is_major(&self) -> bool {
        self.major.as_ref().is_some_and(|major| major.ended.is_none())
    }
}

/// 重点标识: what the reporter or the matter needs to be watched for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// 频繁报警: guidance for the taker, never a barrier.
    Frequent,
    /// 涉青少年.
    Minor,
    /// 涉黄赌毒.
    Vice,
    /// 涉众.
    Mass,
    /// 家暴.
    DomesticViolence,
    /// 民转刑.
    MayTurnViolent,
    /// 个人极端.
    Extreme,
}

/// 被困/受伤/死亡; what was not said is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Casualties {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trapped: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injured: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<u32>,
}

/// 危险; what was not said is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Hazards {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weapons: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explosives: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect_present: Option<bool>,
}

/// 号牌.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Vehicle {
    /// 号牌种类.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// 号牌号码.
    pub plate: String,
}

/// 电诈要素: what stops a payment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Fraud {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bank: Option<String>,
    /// Yuan, with at most two decimals: `12500.00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter_account: Option<String>,
}

/// What a triage names; what it does not name stays as it was.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Assessment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<IncidentKind>,
    /// Two-level six-digit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{6}$"))]
    pub category: Option<String>,
    /// 1 特别重大 … 4 一般.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4))]
    pub level: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity: Option<Validity>,
    /// All of them: a flag that is not named any more is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<Flag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub casualties: Option<Casualties>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hazards: Option<Hazards>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<bool>,
    /// All of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vehicles: Option<Vec<Vehicle>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraud: Option<Fraud>,
    /// Begins, or ends, that it is led as a major alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<bool>,
    /// The unit that is complained of, by its code; empty: none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complaint_of: Option<String>,
    /// The reporter's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disability: Option<String>,
}

/// A triage as it was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Triage {
    pub at: Stamp,
    /// Role and subject (`seat:1101`).
    pub by: String,
    #[serde(flatten)]
    pub said: Assessment,
}

/// The longest text of a report (BJNR).
const TEXT_MAX: usize = 2000;
/// The longest short answer: a name, an account, a plate.
const WORD_MAX: usize = 64;
const VEHICLES_MAX: usize = 16;

impl Assessment {
    /// What is wrong with it; none: nothing.
    pub fn fault(&self) -> Option<&'static str> {
        let is_code = |c: &String| c.len() == 6 && c.bytes().all(|b| b.is_ascii_digit());
        if !self.category.iter().all(is_code) {
            return Some("category is six digits");
        }
        if self.level.is_some_and(|l| !(1..=4).contains(&l)) {
            return Some("level is 1 to 4");
        }
        if self.text.as_ref().is_some_and(|t| t.chars().count() > TEXT_MAX) {
            return Some("text is at most 2000 characters");
        }
        if self.vehicles.as_ref().is_some_and(|v| v.len() > VEHICLES_MAX) {
            return Some("at most 16 vehicles");
        }
        if self.flags.as_ref().is_some_and(|f| f.len() > VEHICLES_MAX) {
            return Some("a flag is named once");
        }
        if self.words().any(|w| w.chars().count() > WORD_MAX) {
            return Some("names, accounts and plates are at most 64 characters");
        }
        let amount = self.fraud.as_ref().and_then(|f| f.amount.as_deref());
        (!amount.is_none_or(is_yuan)).then_some("amount is yuan, with at most two decimals")
    }

    /// Its short texts.
    pub fn words(&self) -> impl Iterator<Item = &String> {
        let fraud = self.fraud.iter().flat_map(|f| [&f.account, &f.bank, &f.amount, &f.counter_account]);
        let vehicles = self.vehicles.iter().flatten();
        let plates = vehicles.flat_map(|v| v.kind.iter().chain([&v.plate]));
        let reporter = [&self.name, &self.sex, &self.language, &self.dialect, &self.disability, &self.complaint_of];
        fraud.chain(reporter).flatten().chain(plates)
    }
}

fn is_yuan(text: &str) -> bool {
    let (whole, cents) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |t: &str, most: usize| (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    digits(whole, 15) && digits(cents, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_triage_may_not_say_is_named() {
        let of = |json: &str| serde_json::from_str::<Assessment>(json).expect("an assessment").fault();
        assert_eq!(of("{}"), None, "nothing named, nothing wrong");
        assert_eq!(of(r#"{"category":"100100","level":4,"fraud":{"amount":"12500.5"}}"#), None);
        assert_eq!(of(r#"{"category":"1001"}"#), Some("category is six digits"));
        assert_eq!(of(r#"{"level":0}"#), Some("level is 1 to 4"));
        for amount in ["", ".5", "1.", "1.234", "-1", "1e3", "１"] {
            let json = format!(r#"{{"fraud":{{"amount":"{amount}"}}}}"#);
            assert_eq!(of(&json), Some("amount is yuan, with at most two decimals"), "{amount}");
        }
        let long = "刀".repeat(65);
        assert!(of(&format!(r#"{{"vehicles":[{{"plate":"{long}"}}]}}"#)).is_some());
        assert!(of(&format!(r#"{{"name":"{long}"}}"#)).is_some());
    }
}
