//! What a target is given of an event: all of it, without what tells who reports, or some parts of the record (item 2.8).
//!
//! The journal has the whole; an excerpt is made on the way out, for each delivery anew, and is signed as it leaves.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::spelling;

/// What a sink gives of who reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gives {
    #[default]
    Whole,
    /// Names, numbers and accounts of the reporter are made unreadable but for a few characters.
    Masked,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Excerpt {
    pub gives: Gives,
    /// Parts of the record by their names, `incident` or `incident.text`; none: all.
    pub fields: Vec<String>,
}

/// Parts that every excerpt has: which alert it is, and which revision.
const ALWAYS: [&str; 2] = ["id", "rev"];
/// Who reports, by where it stands in the record.
const PERSONAL: [&str; 14] = [
    "reporter.phone",
    "reporter.callback",
    "reporter.name",
    "reporter.subscriber.name",
    "reporter.subscriber.address",
    "reporter.channels.user",
    "reporter.channels.phone",
    "reporter.channels.also",
    "text.user",
    "location.from.user",
    "incident.triage.name",
    "incident.fraud.account",
    "incident.triage.fraud.account",
    "incident.fraud.bank",
];
/// Where who reports may stand beside who does not: whole, as one of the above.
const PARTIES: [&str; 1] = ["call.legs.party"];
/// Where people write what they like, and what their devices name: numbers of anybody's stand there, and who reports,
/// however they are spelt. Codes, times and names of ours stand nowhere among them: whoever calls themselves `offered`
/// changes no state.
const FREE: [&str; 8] = [
    "text.body",
    "text.by",
    "text.attachments.vendor_id",
    "incident.text",
    "incident.supplement",
    "incident.triage.text",
    "handling.text",
    "location.civic",
];
/// What is shorter is nobody's in particular: replaced in every text, it would spoil it. A name of two characters is one.
const TELLING: usize = 5;
const NAME: usize = 2;

/// An event that is no event of ours, or is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

impl Excerpt {
    /// What leaves for the target.
    ///
    /// # Errors
    /// It cannot be read: nobody knows what is in it, and nothing of it leaves.
    pub fn of<'a>(&self, event: &'a [u8]) -> Result<Cow<'a, [u8]>, Unreadable> {
        if *self == Excerpt::default() {
            return Ok(Cow::Borrowed(event));
        }
        let mut event: Value = serde_json::from_slice(event).map_err(|_| Unreadable)?;
        let record = event.get_mut("data").filter(|data| data.is_object()).ok_or(Unreadable)?;
        if self.gives == Gives::Masked {
            mask(record);
        }
        if !self.fields.is_empty() {
            *record = self.parts(record);
        }
        event["excerpt"] = match (self.gives, self.fields.is_empty()) {
            (Gives::Masked, true) => "masked".into(),
            (Gives::Masked, false) => "masked_parts".into(),
            (Gives::Whole, _) => "parts".into(),
        };
        serde_json::to_vec(&event).map(Cow::Owned).map_err(|_| Unreadable)
    }

    fn parts(&self, record: &Value) -> Value {
        let mut kept = Value::Object(Map::new());
        for field in ALWAYS.into_iter().chain(self.fields.iter().map(String::as_str)) {
            copy(record, &mut kept, field);
        }
        kept
    }
}

/// Copies what stands under a name with dots, of each entry where it is a list.
fn copy(from: &Value, to: &mut Value, field: &str) {
    let (first, rest) = field.split_once('.').map_or((field, None), |(first, rest)| (first, Some(rest)));
    let (Some(found), Some(into)) = (from.get(first), to.as_object_mut()) else { return };
    let Some(rest) = rest else {
        into.insert(first.to_owned(), found.clone());
        return;
    };
    match found {
        Value::Array(items) => {
            let empty = || Value::Array(vec![Value::Object(Map::new()); items.len()]);
            let list = into.entry(first).or_insert_with(empty);
            for (item, kept) in items.iter().zip(list.as_array_mut().into_iter().flatten()) {
                copy(item, kept, rest);
            }
        }
        other => copy(other, into.entry(first).or_insert_with(|| Value::Object(Map::new())), rest),
    }
}

/// Makes unreadable who reports, wherever in the record it stands: in a text too.
fn mask(record: &mut Value) {
    let mut known: Vec<String> = Vec::new();
    for place in PERSONAL {
        visit(record, place, &mut |text| {
            let least = if place.ends_with("name") { NAME } else { TELLING };
            if text.chars().count() >= least && !known.contains(text) {
                known.push(text.clone());
            }
            *text = masked(text);
        });
    }
    for place in PARTIES {
        visit(record, place, &mut |text| {
            if known.contains(text) {
                *text = masked(text);
            }
        });
    }
    // The longest first, so that none is cut by one that it contains.
    known.sort_by_key(|text| std::cmp::Reverse(text.len()));
    let known: Vec<Vec<char>> = known.iter().map(|text| spelling::bare(text)).collect();
    for place in FREE {
        // Whose words they are is told by a word of ours, or by a name of theirs.
        let is_ours = |text: &str| place == "text.by" && matches!(text, "caller" | "seat" | "officer" | "gateway");
        visit(record, place, &mut |text| {
            if !is_ours(text) {
                *text = spelling::masked(text, &known);
            }
        });
    }
}

fn visit(value: &mut Value, place: &str, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, place, change)),
        Value::String(text) if place.is_empty() => change(text),
        Value::Object(all) => {
            let (first, rest) = place.split_once('.').unwrap_or((place, ""));
            if let Some(found) = all.get_mut(first) {
                visit(found, rest, change);
            }
        }
        _ => {}
    }
}

/// `138****8000`; of what is short the first character alone.
fn masked(text: &str) -> String {
    let all: Vec<char> = text.chars().collect();
    let (front, back) = match all.len() {
        0 => return String::new(),
        1..=6 => (1, 0),
        7..=10 => (2, 2),
        _ => (3, 4),
    };
    let hidden = all.len() - front - back;
    let (front, back) = (&all[..front], &all[all.len() - back..]);
    front.iter().chain(std::iter::repeat_n(&'*', hidden)).chain(back).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Vec<u8> {
        let data = json!({
            "id": {"alert_no": "370400000000202611301000000017", "alert_id": "x"},
            "rev": 4,
            "hash": "h",
            "reporter": {
                "phone": "13800138000", "callback": "13800138000", "name": "张小伟",
                "subscriber": {"name": "赵敏", "address": "城东路 8 号"},
                "channels": [{"channel": "sms", "user": "13800138000"}, {"channel": "wechat", "user": "oABCDEFGHIJKLMNOP",
                    "phone": "13912345670", "also": ["13912345671"]}],
            },
            "incident": {"text": "我的电话13800138000，张小伟", "level": 2,
                "fraud": {"account": "6222021234567890"},
                "triage": [{"by": "seat:1", "name": "张小伟", "fraud": {"account": "6222021234567890"}}]},
            "call": {"legs": [{"leg_id": 0, "party": "13800138000"}, {"leg_id": 1, "party": "S01"}]},
            "text": [{"by": "caller", "user": "oABCDEFGHIJKLMNOP", "body": "快来"}],
            "location": [{"civic": "城东路 8 号", "source": "spoken"}],
        });
        serde_json::to_vec(&json!({"id": "n:4", "hash": "h", "data": data})).expect("JSON")
    }

    fn excerpt(gives: Gives, fields: &[&str]) -> Value {
        let fields = fields.iter().map(|f| (*f).to_owned()).collect();
        let event = event();
        let body = Excerpt { gives, fields }.of(&event).expect("an excerpt");
        serde_json::from_slice(&body).expect("JSON")
    }

    #[test]
    fn who_reports_is_unreadable_wherever_it_stands_and_what_happened_is_not() {
        let told = excerpt(Gives::Masked, &[]);
        let text = told.to_string();
        for personal in [
            "13800138000",
            "13912345670",
            "13912345671",
            "小伟",
            "赵敏",
            "oABCDEFGHIJKLMNOP",
            "城东路",
            "6222021234567890",
        ] {
            assert!(!text.contains(personal), "{personal}: {text}");
        }
        assert_eq!(told["data"]["reporter"]["phone"], "138****8000");
        assert_eq!(told["data"]["call"]["legs"][0]["party"], "138****8000");
        assert_eq!(told["data"]["incident"]["text"], "我的电话138****8000，张**");
        assert_eq!((&told["data"]["reporter"]["name"], &told["excerpt"]), (&json!("张**"), &json!("masked")));
        assert_eq!((&told["data"]["rev"], &told["hash"]), (&json!(4), &json!("h")), "which revision of which alert");
    }

    #[test]
    fn whoever_calls_themselves_by_a_word_of_ours_spoils_no_record() {
        let mut event: Value = serde_json::from_slice(&event()).expect("JSON");
        event["data"]["state"] = "offered".into();
        event["data"]["reporter"]["phone"] = "370400000000".into();
        event["data"]["reporter"]["channels"][1]["user"] = "offered".into();
        let body = serde_json::to_vec(&event).expect("JSON");
        let told = Excerpt { gives: Gives::Masked, fields: Vec::new() }.of(&body).expect("an excerpt");
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        assert_eq!(told["data"]["state"], "offered");
        assert_eq!(told["data"]["id"], event["data"]["id"], "which alert it is stays to be read");
        assert_eq!(told["data"]["text"][0]["by"], "caller");
    }

    #[test]
    fn of_a_record_only_the_parts_leave_that_are_named_and_which_it_is() {
        let told = excerpt(Gives::Whole, &["incident.level", "text.body", "location"]);
        assert_eq!(
            told["data"],
            json!({
                "id": {"alert_no": "370400000000202611301000000017", "alert_id": "x"},
                "rev": 4,
                "incident": {"level": 2},
                "text": [{"body": "快来"}],
                "location": [{"civic": "城东路 8 号", "source": "spoken"}],
            })
        );
        assert_eq!(told["excerpt"], "parts");
        assert_eq!(
            Excerpt::default().of(&event()).as_deref(),
            Ok(&event()[..]),
            "whoever is given all is given the very octets"
        );
        // Half an event, and two that ran together.
        let (half, two) = (&event()[..200], [event(), event()].concat());
        for damaged in [half, &two] {
            let masked = Excerpt { gives: Gives::Masked, fields: Vec::new() };
            assert_eq!(masked.of(damaged), Err(Unreadable), "nobody knows what is in it");
        }
    }
}
