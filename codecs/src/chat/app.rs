//! The app protocol: what a citizen's app says and is told. One frame is one JSON object of at most 64 KiB, whatever
//! carries it; `docs/app-protocol.md` is its document.
//!
//! ```json
//! {"v":1,"t":"report.create","id":"01JD8Q9Z5F0000000000000001","seq":1,"ack":0,"d":{"text":"有人落水"}}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::SharedLocation;
use crate::geo::{Datum, Point};

/// Octets of a frame.
pub const FRAME_MAX: usize = 64 * 1024;
/// Characters of a report or of a line.
pub const TEXT_MAX: usize = 2000;
/// Octets of a frame's id, and of what names an app or a session.
pub const ID_MAX: usize = 64;
const PHONE_MAX: usize = 32;
const LABEL_MAX: usize = 512;
/// Objects and lists in one another.
const DEPTH_MAX: usize = 16;

/// What went wrong, as the app is told it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// It is not yet said who is there: `hello` comes first.
    Auth,
    Validation,
    TooLarge,
    Rate,
    /// As much was kept of this device in a day as may be.
    Quota,
    /// It could not be kept; the same frame may be sent again.
    Busy,
    Conflict,
}

impl Code {
    pub const EACH: [Code; 7] =
        [Code::Auth, Code::Validation, Code::TooLarge, Code::Rate, Code::Quota, Code::Busy, Code::Conflict];

    pub fn text(self) -> &'static str {
        match self {
            Code::Auth => "E_AUTH",
            Code::Validation => "E_VALIDATION",
            Code::TooLarge => "E_TOO_LARGE",
            Code::Rate => "E_RATE",
            Code::Quota => "E_QUOTA",
            Code::Busy => "E_BUSY",
            Code::Conflict => "E_CONFLICT",
        }
    }
}

/// A frame that is not taken: why, and which one it was, if that could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub id: String,
    pub seq: Option<u64>,
    pub code: Code,
    pub what: &'static str,
}

/// A frame of an app.
#[derive(Clone, PartialEq, Debug)]
pub struct Frame {
    /// Made by the app; the same id is the same act, however often it comes.
    pub id: String,
    /// Counts the reliable frames of a session from 1; none: this one may get lost.
    pub seq: Option<u64>,
    /// The highest number of ours that it has, with all before it.
    pub ack: Option<u64>,
    pub said: Said,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Said {
    Hello(Hello),
    Ping,
    /// Says nothing but what its `ack` says, or that it is there.
    Nothing,
    Report(Report),
    /// Where the device is.
    Position(SharedLocation),
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hello {
    pub app: String,
    pub ver: String,
    pub resume: Option<Resume>,
}

/// Where an app was when it lost its connection.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Resume {
    pub sid: String,
    /// The highest number of ours that it has.
    #[serde(default)]
    pub last_seq: u64,
}

/// A report, or a further word on it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// It begins a report: the answer names it.
    pub begins: bool,
    pub text: String,
    pub location: Option<SharedLocation>,
    /// As they say it: a claim.
    pub phone: Option<String>,
    /// An answer would endanger them.
    pub silent: bool,
}

#[derive(Deserialize)]
struct Wire {
    v: u8,
    t: String,
    #[serde(default)]
    id: String,
    seq: Option<u64>,
    ack: Option<u64>,
    #[serde(default)]
    d: Value,
}

#[derive(Deserialize)]
struct WireReport {
    #[serde(default)]
    text: String,
    location: Option<WirePlace>,
    contact: Option<WireContact>,
    #[serde(default)]
    silent: bool,
}

#[derive(Deserialize)]
struct WireContact {
    #[serde(default)]
    phone: String,
}

#[derive(Deserialize)]
struct WirePlace {
    lat: f64,
    lon: f64,
    datum: WireDatum,
    #[serde(default)]
    label: String,
}

/// As apps write it.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireDatum {
    Wgs84,
    Gcj02,
    Bd09,
}

impl Frame {
    /// # Errors
    /// Why it is not taken; the connection can go on.
    pub fn parse(text: &str) -> Result<Frame, Refused> {
        let nameless = |code, what| Refused { id: String::new(), seq: None, code, what };
        if text.len() > FRAME_MAX {
            return Err(nameless(Code::TooLarge, "a frame has at most 64 KiB"));
        }
        if depth(text) > DEPTH_MAX {
            return Err(nameless(Code::Validation, "a frame is at most 16 deep"));
        }
        let wire: Wire = serde_json::from_str(text)
            .map_err(|_| nameless(Code::Validation, "a frame is {\"v\":1,\"t\":…,\"id\":…,\"d\":{…}}"))?;
        if wire.id.len() > ID_MAX {
            return Err(nameless(Code::Validation, "an id has at most 64 octets"));
        }
        let (id, seq, ack) = (wire.id, wire.seq, wire.ack);
        let said = if wire.v == 1 { said(&wire.t, wire.d) } else { Err("v is 1") };
        match said {
            Ok(Said::Report(_)) if id.is_empty() => {
                Err(Refused { id, seq, code: Code::Validation, what: "what is to be kept has an id" })
            }
            Ok(said) => Ok(Frame { id, seq, ack, said }),
            Err(what) => Err(Refused { id, seq, code: Code::Validation, what }),
        }
    }
}

/// How deep objects and lists lie in one another.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn said(kind: &str, d: Value) -> Result<Said, &'static str> {
    match kind {
        "hello" => {
            let hello: Hello = serde_json::from_value(d).map_err(|_| "hello has app, ver and resume{sid,last_seq}")?;
            let sid = hello.resume.as_ref().map_or(0, |r| r.sid.len());
            if sid.max(hello.app.len()).max(hello.ver.len()) > ID_MAX {
                return Err("app, ver and sid have at most 64 octets");
            }
            Ok(Said::Hello(hello))
        }
        "ping" => Ok(Said::Ping),
        "ack" | "pong" => Ok(Said::Nothing),
        "report.create" => report(d, true),
        "report.append" | "chat.msg" => report(d, false),
        "loc" => {
            let place = serde_json::from_value(d).map_err(|_| "loc has lat, lon and datum (wgs84, gcj02, bd09)")?;
            Ok(Said::Position(location(place)?))
        }
        _ => Err("no such t"),
    }
}

fn report(d: Value, begins: bool) -> Result<Said, &'static str> {
    let wire: WireReport =
        serde_json::from_value(d).map_err(|_| "a report has text, location{lat,lon,datum}, contact{phone}, silent")?;
    if wire.text.chars().nth(TEXT_MAX).is_some() {
        return Err("text has at most 2000 characters");
    }
    let location = wire.location.map(location).transpose()?;
    if wire.text.trim().is_empty() && location.is_none() {
        return Err("a report has text or a location");
    }
    let phone = wire.contact.map(|c| c.phone).filter(|p| !p.is_empty());
    if phone.as_ref().is_some_and(|p| p.len() > PHONE_MAX) {
        return Err("phone has at most 32 octets");
    }
    Ok(Said::Report(Report { begins, text: wire.text, location, phone, silent: wire.silent }))
}

fn location(wire: WirePlace) -> Result<SharedLocation, &'static str> {
    let point = Point { lon: wire.lon, lat: wire.lat };
    if !point.is_sane() {
        return Err("lat and lon are degrees");
    }
    if wire.label.len() > LABEL_MAX {
        return Err("label has at most 512 octets");
    }
    let datum = match wire.datum {
        WireDatum::Wgs84 => Datum::Wgs84,
        WireDatum::Gcj02 => Datum::Gcj02,
        WireDatum::Bd09 => Datum::Bd09,
    };
    Ok(SharedLocation { point, datum, label: wire.label })
}

#[derive(Serialize)]
struct Out<'a> {
    v: u8,
    t: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    ack: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    re: &'a str,
    d: Value,
}

/// What a line of ours is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// Of a human.
    Message,
    /// The machine's own: the report is here.
    Receipt,
    Notice,
}

/// How far an officer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Approach {
    EnRoute,
    Arrived,
}

/// What an app is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told<'a> {
    Welcome {
        sid: &'a str,
        /// The session goes on: numbers do.
        resumed: bool,
        /// The highest number of the app's that is here: it goes on behind it.
        last_seq: u64,
        heartbeat_ms: u64,
    },
    Pong,
    Ack,
    Error {
        code: Code,
        what: &'a str,
    },
    /// A report is kept, under this number.
    Created {
        alert_no: &'a str,
    },
    Chat {
        alert_no: &'a str,
        text: &'a str,
        kind: LineKind,
    },
    /// An officer comes; rounded.
    Officer {
        alert_no: &'a str,
        state: Approach,
        distance_m: Option<u32>,
        eta_s: Option<u64>,
    },
}

impl Told<'_> {
    /// The frame. `seq`: its number, where it is reliable; `ack`: the highest of the app's that is durable; `re`: the
    /// frame that it answers.
    pub fn frame(&self, id: &str, seq: Option<u64>, ack: u64, re: &str) -> String {
        let (t, d) = match self {
            Told::Welcome { sid, resumed, last_seq, heartbeat_ms } => {
                ("welcome", json!({"sid": sid, "resumed": resumed, "last_seq": last_seq, "hb_ms": heartbeat_ms}))
            }
            Told::Pong => ("pong", json!({})),
            Told::Ack => ("ack", json!({})),
            Told::Error { code, what } => ("error", json!({"code": code.text(), "msg": what})),
            Told::Created { alert_no } => ("report.created", json!({"report_id": alert_no})),
            Told::Chat { alert_no, text, kind } => {
                ("chat.msg", json!({"report_id": alert_no, "text": text, "kind": kind}))
            }
            Told::Officer { alert_no, state, distance_m, eta_s } => {
                let mut d = json!({"report_id": alert_no, "state": state});
                if let (Some(distance), Some(eta)) = (distance_m, eta_s) {
                    (d["distance_m"], d["eta_s"]) = (json!(distance), json!(eta));
                }
                ("case.officer", d)
            }
        };
        serde_json::to_string(&Out { v: 1, t, id, seq, ack, re, d }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (String, Code, &'static str) {
        let refused = Frame::parse(text).expect_err(text);
        (refused.id, refused.code, refused.what)
    }

    #[test]
    fn a_report_has_words_or_a_place_and_what_they_say_of_themselves() {
        let text = r#"{"v":1,"t":"report.create","id":"01J","seq":3,"ack":2,"ts":1,"d":{"text":"有人落水","contact":
            {"phone":"13800001234","name":"x"},"silent":true,"location":{"lat":34.5,"lon":117.25,"datum":"gcj02"}}}"#;
        let frame = Frame::parse(text).expect("parses");
        assert_eq!((&*frame.id, frame.seq, frame.ack), ("01J", Some(3), Some(2)));
        let Said::Report(report) = frame.said else { panic!("a report") };
        assert!(report.begins && report.silent);
        assert_eq!((&*report.text, report.phone.as_deref()), ("有人落水", Some("13800001234")));
        let location = report.location.expect("a place");
        assert_eq!((location.datum, location.point), (Datum::Gcj02, Point { lon: 117.25, lat: 34.5 }));
    }

    #[test]
    fn what_is_no_frame_is_refused_by_name_and_by_its_id_where_that_can_be_read() {
        for (text, id, code) in [
            ("", "", Code::Validation),
            ("[]", "", Code::Validation),
            (r#"{"v":2,"t":"ping","id":"a"}"#, "a", Code::Validation),
            (r#"{"v":1,"t":"ping","t":"pong","id":"a"}"#, "", Code::Validation),
            (r#"{"v":1,"t":"report.burn","id":"a"}"#, "a", Code::Validation),
            (r#"{"v":1,"t":"report.create","id":"a","d":{"text":"  "}}"#, "a", Code::Validation),
            (r#"{"v":1,"t":"report.create","d":{"text":"no id"}}"#, "", Code::Validation),
            (r#"{"v":1,"t":"loc","id":"a","d":{"lat":91,"lon":0,"datum":"wgs84"}}"#, "a", Code::Validation),
            (r#"{"v":1,"t":"loc","id":"a","d":{"lat":1,"lon":1,"datum":"mars"}}"#, "a", Code::Validation),
            (r#"{"v":1,"t":"loc","id":"a","d":{"lat":1e999,"lon":1,"datum":"wgs84"}}"#, "", Code::Validation),
        ] {
            assert_eq!((refused(text).0.as_str(), refused(text).1), (id, code), "{text}");
        }
        let long = format!(r#"{{"v":1,"t":"chat.msg","id":"a","d":{{"text":"{}"}}}}"#, "字".repeat(TEXT_MAX + 1));
        assert_eq!(refused(&long).2, "text has at most 2000 characters");
        assert_eq!(refused(&" ".repeat(FRAME_MAX + 1)).1, Code::TooLarge);
        let deep = format!(r#"{{"v":1,"t":"ping","d":{}{}}}"#, "[".repeat(16), "]".repeat(16));
        assert_eq!(refused(&deep).2, "a frame is at most 16 deep");
        assert!(Frame::parse(r#"{"v":1,"t":"ping","d":"[[[[[[[[[[[[[[[[[[[[\"[[["}"#).is_ok(), "brackets in a text");
    }

    #[test]
    fn a_frame_of_ours_says_what_it_answers_and_how_far_the_app_s_are_kept() {
        let written = |told: Told<'_>, id, seq, ack, re| {
            serde_json::from_str::<Value>(&told.frame(id, seq, ack, re)).expect("JSON")
        };
        let told = Told::Chat { alert_no: "1", text: "民警\"已\"出发", kind: LineKind::Message };
        let d = json!({"report_id": "1", "text": "民警\"已\"出发", "kind": "message"});
        let expected = json!({"v": 1, "t": "chat.msg", "id": "1.2", "seq": 7, "ack": 3, "d": d});
        assert_eq!(written(told, "1.2", Some(7), 3, ""), expected);
        let coming =
            Told::Officer { alert_no: "1", state: Approach::EnRoute, distance_m: Some(1200), eta_s: Some(240) };
        let d = json!({"report_id": "1", "state": "en_route", "distance_m": 1200, "eta_s": 240});
        assert_eq!(written(coming, "", None, 3, ""), json!({"v": 1, "t": "case.officer", "ack": 3, "d": d}));
        let there = Told::Officer { alert_no: "1", state: Approach::Arrived, distance_m: None, eta_s: None };
        assert_eq!(written(there, "", None, 3, "")["d"], json!({"report_id": "1", "state": "arrived"}));
        let d = json!({"code": "E_RATE", "msg": "slower"});
        let told = Told::Error { code: Code::Rate, what: "slower" };
        assert_eq!(written(told, "", None, 0, "x"), json!({"v": 1, "t": "error", "ack": 0, "re": "x", "d": d}));
    }
}
