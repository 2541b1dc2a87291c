//! What another agency tells us of a case of theirs: a CloudEvent with the case in it. An alert of a front door is none: it
//! would come round for ever, each time with all of its words.
//!
//! `subject` names their case unless the data does; `sequence` counts what they say about it, in whatever order it comes;
//! `hops` counts the agencies that it came through.

use schemars::JsonSchema;
use serde::Deserialize;

use super::SharedLocation;
use crate::geo::{Datum, Point};
use crate::record::{AlertNo, Assessment, Casualties, Hazards, IncidentKind, Stamp};

/// Beyond, nobody hands it on in good faith.
const HOPS_MAX: u8 = 8;
/// The longest name of an event, a source or a case, in octets.
const NAME_MAX: usize = 128;
const TEXT_MAX: usize = 2000;

/// What an agency says of a case.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// Names the event: the same one again is the same.
    pub id: String,
    pub source: String,
    /// Their number of the case.
    pub case_no: String,
    pub order: Option<u64>,
    pub hops: u8,
    /// The alert of ours that it is about.
    pub about: Option<AlertNo>,
    pub text: String,
    pub phone: Option<String>,
    pub silent: bool,
    pub location: Option<SharedLocation>,
    pub said: Assessment,
}

/// An event's envelope, as far as it is looked at.
#[derive(Deserialize)]
struct Envelope {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    subject: String,
    #[serde(default, deserialize_with = "count")]
    sequence: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    hops: Option<u64>,
    data: serde_json::Value,
}

/// The data of an agency's event; fields that are not here are not looked at.
#[derive(Deserialize, JsonSchema, Clone, PartialEq, Debug)]
#[schemars(title = "agency report")]
pub struct Case {
    /// Their number of the case; the event's `subject` where it is absent.
    pub case_no: Option<String>,
    /// The alert of ours that it is about, 30 digits: their words come into it.
    pub alert_no: Option<String>,
    /// The reporter's telephone number, as they have it.
    pub phone: Option<String>,
    /// The reporter's name.
    pub name: Option<String>,
    /// The reporter is not to be called or written to.
    #[serde(default)]
    pub silent: bool,
    #[serde(default)]
    pub text: String,
    pub location: Option<Place>,
    /// Two-level six-digit code.
    pub category: Option<String>,
    pub kind: Option<IncidentKind>,
    /// 1 特别重大 … 4 一般.
    pub level: Option<u8>,
    pub occurred_at: Option<Stamp>,
    pub casualties: Option<Casualties>,
    pub hazards: Option<Hazards>,
}

#[derive(Deserialize, JsonSchema, Clone, PartialEq, Debug)]
pub struct Place {
    pub lon: f64,
    pub lat: f64,
    #[serde(default = "wgs84")]
    pub datum: Datum,
    /// The address, in words.
    #[serde(default)]
    pub label: String,
}

fn wgs84() -> Datum {
    Datum::Wgs84
}

/// A count, as a number or as digits: extensions of CloudEvents are often texts.
fn count<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count {
        Number(u64),
        Text(String),
    }
    match Option::<Count>::deserialize(from)? {
        None => Ok(None),
        Some(Count::Number(n)) => Ok(Some(n)),
        Some(Count::Text(text)) => text.parse().map(Some).map_err(|_| serde::de::Error::custom("a count is digits")),
    }
}

/// Reads a signed body.
///
/// # Errors
/// What is wrong with it, for whoever wrote it.
pub fn read(body: &[u8]) -> Result<Told, String> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if envelope.specversion != "1.0" {
        return Err("specversion is 1.0".into());
    }
    for (name, text) in [("id", &envelope.id), ("source", &envelope.source), ("type", &envelope.kind)] {
        if text.is_empty() || text.len() > NAME_MAX {
            return Err(format!("{name} is 1 to {NAME_MAX} octets"));
        }
        if text.contains(char::is_whitespace) {
            return Err(format!("{name} has no blanks"));
        }
    }
    let hops = u8::try_from(envelope.hops.unwrap_or(0)).unwrap_or(u8::MAX).saturating_add(1);
    if envelope.data.pointer("/id/alert_no").is_some() {
        return Err("data is an alert of a front door, and no case".into());
    }
    let told = from_case(envelope, hops)?;
    if told.hops > HOPS_MAX {
        return Err(format!("it came through more than {HOPS_MAX} agencies"));
    }
    if told.case_no.is_empty() || told.case_no.len() > NAME_MAX {
        return Err(format!("the case has a number of 1 to {NAME_MAX} octets, in case_no or subject"));
    }
    if told.text.chars().count() > TEXT_MAX {
        return Err(format!("text is at most {TEXT_MAX} characters"));
    }
    if told.location.as_ref().is_some_and(|l| !l.point.is_sane()) {
        return Err("lon and lat are degrees".into());
    }
    if let Some(fault) = told.said.fault() {
        return Err(fault.into());
    }
    if told.text.is_empty() && told.location.is_none() && told.said == Assessment::default() {
        return Err("it says nothing: text, location, category, kind, level, casualties or hazards".into());
    }
    Ok(told)
}

fn from_case(envelope: Envelope, hops: u8) -> Result<Told, String> {
    let case: Case = serde_json::from_value(envelope.data).map_err(|e| format!("data: {e}"))?;
    let about = match case.alert_no {
        Some(no) => Some(AlertNo::parse(&no).ok_or("alert_no is 30 digits, the last of them a check")?),
        None => None,
    };
    let said = Assessment {
        kind: case.kind,
        category: case.category,
        level: case.level,
        occurred_at: case.occurred_at,
        casualties: case.casualties,
        hazards: case.hazards,
        name: case.name,
        ..Assessment::default()
    };
    Ok(Told {
        about,
        case_no: case.case_no.filter(|no| !no.is_empty()).unwrap_or(envelope.subject),
        id: envelope.id,
        source: envelope.source,
        order: envelope.sequence,
        hops,
        text: case.text,
        phone: case.phone.filter(|phone| !phone.is_empty()),
        silent: case.silent,
        location: case.location.map(|place| SharedLocation {
            point: Point { lon: place.lon, lat: place.lat },
            datum: place.datum,
            label: place.label,
        }),
        said,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(data: serde_json::Value) -> serde_json::Value {
        json!({"specversion": "1.0", "id": "e1", "source": "/119", "type": "case.created", "subject": "F1", "data": data})
    }

    fn told(event: &serde_json::Value) -> Result<Told, String> {
        read(event.to_string().as_bytes())
    }

    #[test]
    fn a_case_is_read_with_its_number_its_order_and_what_it_says() {
        let data = json!({"text": "仓库起火", "phone": "13800138000", "level": 2, "category": "400100",
            "location": {"lon": 117.5, "lat": 34.8, "datum": "GCJ02", "label": "城东路"}, "theirs": {"a": 1}});
        let mut event = event(data);
        event["sequence"] = "3".into();
        event["hops"] = 1.into();
        let told = told(&event).expect("read");
        assert_eq!((told.case_no.as_str(), told.order, told.hops), ("F1", Some(3), 2));
        assert_eq!((told.said.level, told.said.category.as_deref()), (Some(2), Some("400100")));
        assert_eq!(told.location.expect("a place").datum, Datum::Gcj02);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for (change, what) in [
            (json!({"specversion": "0.3"}), "specversion"),
            (json!({"id": ""}), "id is"),
            (json!({"hops": 8}), "agencies"),
            (json!({"hops": "x"}), "digits"),
            (json!({"subject": ""}), "number"),
            (json!({"data": {}}), "nothing"),
            (json!({"data": {"text": "x", "level": 9}}), "level"),
            (json!({"data": {"text": "x", "alert_no": "123"}}), "30 digits"),
            (json!({"data": {"text": "x", "location": {"lon": 999, "lat": 0}}}), "degrees"),
            (json!({"data": {"text": "x".repeat(2001)}}), "2000"),
            (json!({"data": "text"}), "data"),
            (json!({"source": "a b"}), "blanks"),
            (json!({"data": {"id": {"alert_no": "1"}, "text": "x"}}), "front door"),
        ] {
            let mut event = event(json!({"text": "x"}));
            for (key, value) in change.as_object().expect("an object") {
                event[key] = value.clone();
            }
            let said = told(&event).expect_err("refused");
            assert!(said.contains(what), "{change}: {said}");
        }
    }
}
