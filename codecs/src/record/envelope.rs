//! The envelope: CloudEvents 1.0 in JSON, one event a revision, `id` = `<alert_no>:<rev>` everywhere.

use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AlertRecord, HandlingStep, Stamp};

/// What happened; the middle of the event's `type`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    Arrived,
    Offered,
    AttendantAnswered,
    Answered,
    Classified,
    Located,
    Bridging,
    Bridged,
    /// Somebody who is not of the police is asked into the call.
    PartyCalled,
    /// They are in it.
    PartyConnected,
    Abandoned,
    Callback,
    LegEnded,
    Transcript,
    /// A message came or went.
    Message,
    /// Two alerts became one, or one became two again.
    Joined,
    Split,
    /// A message of ours did not get there.
    Undelivered,
    /// A picture or other file that came with a message is here.
    Fetched,
    KeywordWarning,
    DeadlineBreach,
    Recorded,
    /// Somebody listens to the call while it goes on.
    Listened,
    /// Targets of the fan-out are told from this revision on.
    Pushed,
    /// One of them has taken it.
    Acknowledged,
    /// A step of those who act.
    Handled(HandlingStep),
    /// It is a major alert from now on, or is none any more.
    Major,
    /// Something about the alert changed that has no step of its own.
    Updated,
    Ended,
}

impl Step {
    pub fn text(self) -> &'static str {
        match self {
            Step::Arrived => "arrived",
            Step::Offered => "offered",
            Step::AttendantAnswered => "attendant_answered",
            Step::Answered => "answered",
            Step::Classified => "classified",
            Step::Located => "located",
            Step::Bridging => "bridging",
            Step::Bridged => "bridged",
            Step::PartyCalled => "party_called",
            Step::PartyConnected => "party_connected",
            Step::Abandoned => "abandoned",
            Step::Callback => "callback",
            Step::LegEnded => "leg_ended",
            Step::Transcript => "transcript",
            Step::Message => "message",
            Step::Joined => "joined",
            Step::Split => "split",
            Step::Undelivered => "undelivered",
            Step::Fetched => "fetched",
            Step::KeywordWarning => "warning.keyword",
            Step::DeadlineBreach => "deadline.breach",
            Step::Recorded => "recorded",
            Step::Listened => "listened",
            Step::Pushed | Step::Handled(HandlingStep::Pushed) => "pushed",
            Step::Acknowledged => "acknowledged",
            Step::Handled(HandlingStep::Signed) => "signed",
            Step::Handled(HandlingStep::Instructed) => "instructed",
            Step::Handled(HandlingStep::Accepted) => "accepted",
            Step::Handled(HandlingStep::Contacted) => "contacted",
            Step::Handled(HandlingStep::Enroute) => "enroute",
            Step::Handled(HandlingStep::Arrived) => "arrived_scene",
            Step::Handled(HandlingStep::Handled) => "handled",
            Step::Handled(HandlingStep::FedBack) => "fed_back",
            Step::Handled(HandlingStep::Reviewed) => "reviewed",
            Step::Handled(HandlingStep::Closed) => "closed",
            Step::Handled(HandlingStep::Refused) => "refused",
            Step::Handled(HandlingStep::HandedOver) => "handed_over",
            Step::Handled(HandlingStep::Withdrawn) => "withdrawn",
            Step::Handled(HandlingStep::Situation) => "situation",
            Step::Handled(HandlingStep::Risk) => "risk",
            Step::Handled(HandlingStep::Measure) => "measure",
            Step::Handled(HandlingStep::Paused) => "paused",
            Step::Handled(HandlingStep::Resumed) => "resumed",
            Step::Handled(HandlingStep::Assigned) => "assigned",
            Step::Handled(HandlingStep::Endorsed) => "endorsed",
            Step::Major => "major",
            Step::Updated => "updated",
            Step::Ended => "ended",
        }
    }

    pub fn event_type(self) -> String {
        format!("cn.gov.police110.alert.{}.v1", self.text())
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "alert event")]
pub struct CloudEvent {
    pub specversion: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub source: String,
    pub id: String,
    pub subject: String,
    pub time: Stamp,
    pub partitionkey: String,
    pub datacontenttype: String,
    pub dataschema: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u8>,
    /// The timer that was missed; on `deadline.breach` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// The target of the fan-out that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whose act it tells of, as role and subject (`seat:1101`); absent where nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    pub hash: String,
    /// Shared with whoever keeps the alert, until one of the two changes.
    pub data: Arc<AlertRecord>,
    /// `data` as it was sealed, so that it is written once only.
    #[serde(skip)]
    #[schemars(skip)]
    pub sealed: SealedJson,
}

/// The JSON of a record; says nothing that the record does not.
#[derive(Clone, Debug, Default)]
pub struct SealedJson(Vec<u8>);

impl PartialEq for SealedJson {
    fn eq(&self, _: &SealedJson) -> bool {
        true
    }
}

impl CloudEvent {
    /// Octets of the record as it was sealed.
    pub fn sealed_len(&self) -> usize {
        self.sealed.0.len()
    }

    /// Wraps a sealed revision.
    pub fn new(
        step: Step,
        source: &str,
        time: Stamp,
        deadline: Option<&str>,
        data: Arc<AlertRecord>,
        sealed: Vec<u8>,
    ) -> CloudEvent {
        let number = data.id.alert_no.clone();
        CloudEvent {
            specversion: "1.0".into(),
            kind: step.event_type(),
            source: source.into(),
            id: format!("{number}:{}", data.rev),
            subject: number.clone(),
            time,
            partitionkey: number,
            datacontenttype: "application/json".into(),
            dataschema: "/schemas/alert".into(),
            level: data.incident.level,
            deadline: deadline.map(str::to_owned),
            target: None,
            actor: None,
            hash: data.hash.clone(),
            data,
            sealed: SealedJson(sealed),
        }
    }

    /// # Errors
    /// What is wrong with the JSON.
    pub fn parse(json: &[u8]) -> Result<CloudEvent, String> {
        serde_json::from_slice(json).map_err(|e| e.to_string())
    }

    /// The event's bytes: the same that `serde_json` would write, without writing the record anew.
    #[expect(clippy::expect_used, reason = "an event has nothing that JSON could not say")]
    pub fn to_json(&self) -> Vec<u8> {
        if self.sealed.0.is_empty() {
            return serde_json::to_vec(self).expect("an event serialises");
        }
        let head = Head {
            specversion: &self.specversion,
            kind: &self.kind,
            source: &self.source,
            id: &self.id,
            subject: &self.subject,
            time: self.time,
            partitionkey: &self.partitionkey,
            datacontenttype: &self.datacontenttype,
            dataschema: &self.dataschema,
            level: self.level,
            deadline: self.deadline.as_deref(),
            target: self.target.as_deref(),
            actor: self.actor.as_deref(),
            hash: &self.hash,
        };
        let mut json = Vec::with_capacity(self.sealed.0.len() + 640);
        serde_json::to_writer(&mut json, &head).expect("an envelope serialises");
        json.pop();
        json.extend_from_slice(b",\"data\":");
        json.extend_from_slice(&self.sealed.0);
        json.push(b'}');
        json
    }

    /// The type of an event as `to_json` writes it: the envelope's second field.
    pub fn kind_of(json: &[u8]) -> Option<&str> {
        let kind = json.strip_prefix(b"{\"specversion\":\"1.0\",\"type\":\"")?;
        std::str::from_utf8(&kind[..memchr::memchr(b'"', kind)?]).ok()
    }

    /// The id of an event as `to_json` writes it, and where in it the record lies: without reading the record. In the
    /// envelope every quote of a value is escaped and no value is an object, so that the first `"data":` is the field.
    pub fn parts(json: &[u8]) -> Option<(&str, Range<usize>)> {
        const ID: &[u8] = b",\"id\":\"";
        const DATA: &[u8] = b",\"data\":";
        let at = memchr::memmem::find(json, DATA)?;
        let record = at + DATA.len()..json.len() - 1;
        let head = &json[..at];
        let id = &head[memchr::memmem::find(head, ID)? + ID.len()..];
        let id = std::str::from_utf8(&id[..memchr::memchr(b'"', id)?]).ok()?;
        let whole = json.ends_with(b"}}") && json[record.clone()].starts_with(b"{");
        whole.then_some((id, record))
    }
}

/// The envelope without its content, field by field in the event's order.
#[derive(Serialize)]
struct Head<'a> {
    specversion: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    source: &'a str,
    id: &'a str,
    subject: &'a str,
    time: Stamp,
    partitionkey: &'a str,
    datacontenttype: &'a str,
    dataschema: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    hash: &'a str,
}
