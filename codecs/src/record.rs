//! The normalized alert record, its number and its envelope: the product's contract with everyone downstream.
//!
//! One record an alert, one revision a step. The JSON Schema that `gateway schema alert` prints is generated from
//! these types; a snapshot test keeps them from drifting unseen.

mod envelope;
mod handling;
mod incident;
mod message;
mod note;
mod number;

pub use envelope::{CloudEvent, SealedJson, Step};
pub use handling::{Handling, HandlingStep, Limit, Promise, Push, Signature, Timer};
pub use incident::{
    Assessment, Casualties, Flag, Fraud, Hazards, Incident, IncidentKind, KeywordHit, Major, Suggestion, Triage,
    Vehicle,
};
pub use message::{Address, Attached, Direction, LineState, Safety, TextLine, Writer};
pub use note::{Duty, Note};
pub use number::{AlertNo, alert_id};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::geo::{Datum, Point};
use crate::time::Wall;

/// An instant: RFC 3339 with microseconds, Beijing time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp(pub Wall);

/// 报警途径: how the report came in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    #[serde(rename = "voice_110")]
    Voice110,
    #[serde(rename = "voice_122")]
    Voice122,
    #[serde(rename = "voice_119_shared")]
    Voice119Shared,
    #[serde(rename = "sms_12110")]
    Sms12110,
    /// SIP MESSAGE: text of an IMS telephone.
    #[serde(rename = "sip_message")]
    SipMessage,
    #[serde(rename = "wechat")]
    Wechat,
    #[serde(rename = "weibo")]
    Weibo,
    #[serde(rename = "qq")]
    Qq,
    #[serde(rename = "app")]
    App,
    #[serde(rename = "kiosk")]
    Kiosk,
    #[serde(rename = "walk_in")]
    WalkIn,
    #[serde(rename = "camera_alarm")]
    CameraAlarm,
    #[serde(rename = "grid_officer")]
    GridOfficer,
    #[serde(rename = "agency_110")]
    Agency110,
    #[serde(rename = "agency_119")]
    Agency119,
    #[serde(rename = "agency_120")]
    Agency120,
    #[serde(rename = "agency_122")]
    Agency122,
    #[serde(rename = "hotline_12345")]
    Hotline12345,
    #[serde(rename = "discipline_hotline")]
    DisciplineHotline,
    #[serde(rename = "leader_note")]
    LeaderNote,
    #[serde(rename = "letter_visit")]
    LetterVisit,
    #[serde(rename = "director_mailbox")]
    DirectorMailbox,
    #[serde(rename = "online_petition")]
    OnlinePetition,
    #[serde(rename = "police_found")]
    PoliceFound,
    #[serde(rename = "station_direct")]
    StationDirect,
    #[serde(rename = "transferred")]
    Transferred,
    #[serde(rename = "test")]
    Test,
}

/// 报警形式.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    Voice,
    Video,
    Image,
    Text,
    Rtt,
    Location,
    Data,
}

/// 有效性.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    #[default]
    Valid,
    Silent,
    Misdial,
    Nuisance,
    Abandoned,
    Test,
}

/// Where an alert stands in its life (record.md section 4, as far as a voice call goes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Arrived,
    Offered,
    Answered,
    Triaged,
    Bridging,
    Bridged,
    Abandoned,
    Callback,
    Unreached,
    Ended,
    /// A word more came after the end.
    Reopened,
    Closed,
}

/// What a leg is in a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Reporter,
    Taker,
    Officer,
    Unit,
    Superior,
    Attendant,
    Supervisor,
    /// 119, 120, 122, 12345, a utility, an interpreters' desk: whoever is asked in and is not of the police.
    Agency,
}

impl Role {
    /// Whose voice in the call keeps the promise of an officer.
    pub fn is_police(self) -> bool {
        matches!(self, Role::Officer | Role::Unit | Role::Superior)
    }

    /// The name of the track, the tap and the metric label.
    pub fn track(self) -> &'static str {
        match self {
            Role::Reporter => "caller",
            Role::Taker => "seat",
            Role::Officer => "officer",
            Role::Unit => "unit",
            Role::Superior => "superior",
            Role::Attendant => "attendant",
            Role::Supervisor => "supervisor",
            Role::Agency => "agency",
        }
    }
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// 警情编号, 30 digits.
    #[schemars(regex(pattern = r"^[0-9]{30}$"))]
    pub alert_no: String,
    /// UUID version 7.
    pub alert_id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// 外部单号: what other agencies call it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external: Vec<External>,
}

/// A case of another agency, by that agency's own number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct External {
    /// The channel that it came by, as the configuration names it.
    pub system: String,
    pub no: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Related {
    pub alert_no: String,
    pub kind: Relation,
}

/// 关联接警单.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    Duplicate,
    FollowUp,
    SameEvent,
    SplitFrom,
    Withdrawn,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    pub channel: Channel,
    pub forms: Vec<Form>,
    pub called_number: String,
    pub trunk: String,
    pub node: String,
    /// De-duplication key on the channel; for a call the Call-ID.
    pub message_id: String,
    pub validity: Validity,
    /// Through how many agencies it came: one that brings its own event back, or hands it on for ever, is told by it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u8,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Reporter {
    pub phone: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<Subscriber>,
    /// The reporter's own channels, the one used last in front.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Writer>,
    #[serde(default, skip_serializing_if = "Safety::is_default")]
    pub safety: Safety,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// As a taker writes it: 男, 女.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sex: String,
    /// The language that they speak, where it is not the house's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub language: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dialect: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub disability: String,
    /// 重点标识.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
}

/// 机主/装机地址 (三字段).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Subscriber {
    pub name: String,
    pub address: String,
}

/// Where a location came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LocationSource {
    Spoken,
    Subscriber,
    TrunkDefault,
    Officer,
    /// Sent by the reporter in a message.
    Shared,
}

/// A position as it was given, in the datum it was given in.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Original {
    pub lon: f64,
    pub lat: f64,
    pub datum: Datum,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Location {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wgs84: Option<Point>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub civic: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub grid_code: String,
    pub source: LocationSource,
    pub at: Stamp,
    /// Who has told it of themselves; none: it is from nobody's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Address>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    pub leg_id: u32,
    pub role: Role,
    pub party: String,
    pub start: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// How the caller was answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerMode {
    Seat,
    Overflow,
    /// Declared degradation: the machine at the deadline.
    Attendant,
}

impl AnswerMode {
    pub fn text(self) -> &'static str {
        match self {
            AnswerMode::Seat => "seat",
            AnswerMode::Overflow => "overflow",
            AnswerMode::Attendant => "attendant",
        }
    }
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CallTimes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrive: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<Stamp>,
    /// Answered by a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Stamp>,
    /// Answered by the attendant, ahead of a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attendant: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_way: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge_ask: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge_ok: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Stamp>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CallInfo {
    pub t: CallTimes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AnswerMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<SeatInfo>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<Leg>,
    /// Milliseconds from arrival to a human's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_ms: Option<u64>,
    /// Milliseconds from arrival to the officer's voice in the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer_ms: Option<u64>,
    /// How often its reporter was called back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub call_backs: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SeatInfo {
    pub no: String,
    pub taker_name: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Media {
    pub uri: String,
    pub sha256: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// `caller`, `seat`, `officer`, …, or `mix`.
    pub track: String,
    /// Milliseconds from the recording's first frame to this track's.
    pub offset_ms: u64,
    pub duration_ms: u64,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// City, county, station, grid: what is known of the chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jurisdiction: Vec<String>,
    /// Exactly one at every moment.
    pub owner: String,
    /// The unit that commands, as the level has it; absent while no level is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner_history: Vec<Ownership>,
    /// 责任人: who of the owner's is responsible, by name or number; another owner names another.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub handler: String,
    /// 督办单位, as the table of categories has it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub supervising: String,
    /// How often it was refused or handed over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bounces: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ownership {
    pub owner: String,
    pub from: Stamp,
}

/// How a try to reach somebody ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TryResult {
    Answered,
    Busy,
    NoAnswer,
    Off,
    Declined,
    /// Another try was answered first.
    Superseded,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Dispatch {
    pub unit: String,
    pub officer: String,
    pub role: Role,
    /// Why this one, now: rank, distance, budget.
    pub reason: String,
    pub tried_at: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TryResult>,
    /// Their voice has been in the call, and the call's in their ear, from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridged_at: Option<Stamp>,
}

/// The whole record, one revision of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "alert")]
pub struct AlertRecord {
    pub id: Identity,
    pub rev: u32,
    /// SHA-256 of the revision before, hex; empty for the first.
    pub prev_hash: String,
    /// SHA-256 over `prev_hash` and this record's JSON with an empty `hash`.
    pub hash: String,
    pub state: State,
    pub source: Source,
    pub reporter: Reporter,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub location: Vec<Location>,
    pub incident: Incident,
    pub call: CallInfo,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<Media>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<TextLine>,
    /// How many lines of ours there have been; names the next.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lines_out: u32,
    pub route: Route,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dispatch: Vec<Dispatch>,
    /// Who else is told, in which order, and what came back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fanout: Vec<Push>,
    /// What those who act have told of what they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handling: Vec<Handling>,
    /// How far what is done about it has come; `state` tells of the conversation with its reporter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<HandlingStep>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<Timer>,
    /// Degradations declared on this alert, e.g. `recording_lost`, `number_unreserved`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<String>,
}

fn is_zero<T: Default + PartialEq>(n: &T) -> bool {
    *n == T::default()
}

impl AlertRecord {
    /// Seals the next revision: counts it, chains it to the one before, hashes it.
    ///
    /// Returns its JSON: what was hashed, with the hash in its place.
    #[expect(clippy::expect_used, reason = "the field was written two lines above")]
    pub fn seal(&mut self) -> Vec<u8> {
        self.rev += 1;
        self.prev_hash = std::mem::take(&mut self.hash);
        let mut json = self.to_json();
        self.hash = self.hash_of(&json);
        // No field before it can hold these bytes: numbers, a version 7 identifier and a hash.
        let at = memchr::memmem::find(&json, EMPTY_HASH).expect("the field is written") + EMPTY_HASH.len() - 1;
        json.splice(at..at, self.hash.bytes());
        json
    }

    /// Whether the stored hash is that of the content.
    pub fn is_sealed(&self) -> bool {
        let mut copy = self.clone();
        copy.hash = String::new();
        copy.computed_hash() == self.hash
    }

    fn computed_hash(&self) -> String {
        debug_assert!(self.hash.is_empty(), "hashed with an empty hash field");
        self.hash_of(&self.to_json())
    }

    /// # Errors
    /// What is wrong with the JSON.
    pub fn parse(json: &[u8]) -> Result<AlertRecord, String> {
        serde_json::from_slice(json).map_err(|e| e.to_string())
    }

    #[expect(clippy::expect_used, reason = "a record has nothing that JSON could not say")]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(2048);
        serde_json::to_writer(&mut json, self).expect("a record serialises");
        json
    }

    fn hash_of(&self, json: &[u8]) -> String {
        let mut digest = Sha256::new();
        digest.update(self.prev_hash.as_bytes());
        digest.update(json);
        crate::sip::auth::hex(&digest.finalize())
    }
}

/// How the field stands in a revision that has no hash yet.
const EMPTY_HASH: &[u8] = b"\"hash\":\"\"";

/// What of a unit's code those below it have too: its digits without the pairs of noughts at its end.
pub fn significant(unit: &str) -> &str {
    let mut unit = unit;
    while let Some(above) = unit.strip_suffix("00").filter(|above| above.len() % 2 == 0) {
        unit = above;
    }
    unit
}

/// A name made of what something says: 128 bits of SHA-256 over the lengths and bytes of its parts, in hex.
pub fn fingerprint(parts: &[&[u8]]) -> String {
    crate::sip::auth::hex(&fingerprint_of(parts).to_be_bytes())
}

/// The same as a number.
pub fn fingerprint_of(parts: &[&[u8]]) -> u128 {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&digest.finalize()[..16]);
    u128::from_be_bytes(first)
}

impl Stamp {
    pub fn text(self) -> String {
        String::from_utf8_lossy(&self.digits()).into_owned()
    }

    /// `2026-11-22T08:00:00.000000+08:00`, written digit by digit: a record has a dozen of them.
    fn digits(self) -> [u8; 32] {
        let c = self.0.civil(8 * 3600);
        let mut out = *b"0000-00-00T00:00:00.000000+08:00";
        let mut put = |at: usize, width: usize, value: u32| {
            let mut rest = value;
            for digit in out[at..at + width].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        };
        put(0, 4, u32::try_from(c.year).unwrap_or(0));
        for (at, value) in [(5, c.month), (8, c.day), (11, c.hour), (14, c.minute), (17, c.second)] {
            put(at, 2, value.into());
        }
        put(20, 6, c.nanos / 1000);
        out
    }

    /// Reads what `text` writes.
    pub fn parse(text: &str) -> Option<Stamp> {
        let b = text.as_bytes();
        if b.len() != 32 || text.get(26..) != Some("+08:00") {
            return None;
        }
        let n = |from: usize, to: usize| {
            let digits = text.get(from..to).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse::<i64>().ok()
        };
        let (y, m, d) = (n(0, 4)?, n(5, 7)?, n(8, 10)?);
        // Civil date to days, the inverse of `Wall::civil`.
        let y2 = if m <= 2 { y - 1 } else { y };
        let era = y2.div_euclid(400);
        let yoe = y2.rem_euclid(400);
        let doy = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + d - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        let days = era * 146_097 + doe - 719_468;
        let seconds = days * 86_400 + n(11, 13)? * 3600 + n(14, 16)? * 60 + n(17, 19)? - 8 * 3600;
        // What nanoseconds cannot count is before or after everything that happens here.
        Some(Stamp(Wall(seconds.checked_mul(1_000_000_000)?.checked_add(n(20, 26)? * 1000)?)))
    }
}

impl Stamp {
    /// Reads an instant as people and other systems write it (RFC 3339 5.6): any offset, with or without a fraction.
    pub fn from_rfc3339(text: &str) -> Option<Stamp> {
        let (date_time, rest) = text.split_at_checked(19)?;
        let zone_at = rest.find(['Z', 'z', '+', '-'])?;
        let (fraction, zone) = rest.split_at(zone_at);
        let digits = match fraction.strip_prefix('.') {
            Some(digits) if !digits.is_empty() && digits.len() <= 9 => digits,
            None if fraction.is_empty() => "0",
            _ => return None,
        };
        let whole = format!("{}T{}.{digits:0<6.6}+08:00", date_time.get(..10)?, date_time.get(11..)?);
        let here = Stamp::parse(&whole).filter(|stamp| stamp.text() == whole)?;
        let is_separated = matches!(date_time.as_bytes()[10], b'T' | b't' | b' ');
        let minutes: i64 = match zone.as_bytes() {
            _ if !is_separated => return None,
            [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let digit = |b: &u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
                let (hours, minutes) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
                let offset = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
                if *sign == b'-' { -offset } else { offset }
            }
            _ => return None,
        };
        Some(Stamp(Wall(here.0.0.checked_add((8 * 60 - minutes) * 60_000_000_000)?)))
    }
}

impl Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Stamp::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("not an RFC 3339 instant in +08:00 with microseconds"))
    }
}

impl JsonSchema for Stamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Stamp".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_text_to_the_microsecond() {
        for ns in [0, 951_782_400_123_456_000, 1_795_276_799_999_999_000] {
            let stamp = Stamp(Wall(ns));
            assert_eq!(Stamp::parse(&stamp.text()), Some(stamp), "{}", stamp.text());
        }
        assert_eq!(Stamp::parse("2026-11-22T00:00:00Z"), None);
    }

    #[test]
    fn an_instant_is_read_as_others_write_it() {
        let eight = Stamp::parse("2026-11-22T08:00:00.500000+08:00");
        for text in ["2026-11-22T00:00:00.5Z", "2026-11-22t08:00:00.500000123+08:00", "2026-11-21 19:30:00.50-04:30"] {
            assert_eq!(Stamp::from_rfc3339(text), eight, "{text}");
        }
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T00:00:00",
            "2026-02-30T00:00:00Z",
            "2026-11-22T25:00:00Z",
            "昨天下午三点钟左右吧Z",
            "2026-11-22T00:00:00.Z",
            "2026-11-22T00:00:00+8:00",
            "2026-11-22T00:00:00+99:00",
            "2026-11-22x00:00:00Z",
        ] {
            assert_eq!(Stamp::from_rfc3339(text), None, "{text}");
        }
    }
}
