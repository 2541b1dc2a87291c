//! Webhooks: a platform's message, verified before it is read, acknowledged when it is durable.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::BytesMut;
use codecs::chat::{self, Refusal, qq, wechat, weibo};
use codecs::geo::{Datum, Point};
use codecs::record::{Address, Attached, Form, fingerprint};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use switchboard::{Body as Words, Failure, Incoming, ToCasebook};
use tokio::sync::Notify;

use super::{Api, Problem};
use crate::channel::{Kind, WechatApp, WechatDevice};
use crate::inbox::casebook::{Answer, Input};
use crate::net::http::Line;

/// A request older or newer than this was replayed, whatever clock is wrong.
const WINDOW_S: u64 = 24 * 3600;
/// Clocks so far apart are told of: ours, most likely.
const APART_S: u64 = 300;
/// Signatures of deliveries that are remembered.
const SEEN_MAX: usize = 200_000;

/// Deliveries that were taken: what signs each is good for one body. Platforms whose signature does not cover the body
/// would else let whoever has seen one post anything.
#[derive(Default)]
pub struct Seen(Mutex<Signatures>);

#[derive(Default)]
struct Signatures {
    /// The body's fingerprint, by the signature's.
    bodies: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Seen {
    /// `false`: the same signature came before with another body.
    fn take(&self, channel: &str, signature: &[&str], body: &[u8]) -> bool {
        let mut parts = vec![channel.as_bytes()];
        parts.extend(signature.iter().map(|s| s.as_bytes()));
        let (name, body) = (fingerprint(&parts), fingerprint(&[body]));
        let Ok(mut seen) = self.0.lock() else { return false };
        if let Some(known) = seen.bodies.get(&name) {
            return *known == body;
        }
        seen.bodies.insert(name.clone(), body);
        seen.order.push_back(name);
        if seen.order.len() > SEEN_MAX
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.bodies.remove(&oldest);
        }
        true
    }
}

/// Whether a time is near enough to ours; clocks that are apart lose nothing, and are told of.
fn is_fresh(channel: &str, seconds: i64, now: i64) -> bool {
    let apart = now.abs_diff(seconds);
    metrics::gauge!("gateway_hook_clock_apart_seconds", "channel" => channel.to_owned()).set(apart as f64);
    if (APART_S..=WINDOW_S).contains(&apart) {
        tracing::warn!(
            channel,
            apart_s = apart,
            "GW-2205 a platform's clock and ours are apart; its messages are taken"
        );
    }
    apart <= WINDOW_S
}
const BODY_MAX: usize = 256 * 1024;
/// What nearly every message has, and less.
const SHORT: usize = 16 * 1024;
/// Longer ones that are read at one time, of one source too: what nobody has proved yet takes no memory to speak of. The
/// oldest gives way to a newcomer, so that nobody keeps another's out by not going on.
const LONG_MAX: usize = 64;
const LONG_OF_ONE: usize = 16;

/// Long messages that are being read.
#[derive(Default)]
pub struct Long(Mutex<Reading>);

#[derive(Default)]
struct Reading {
    /// The oldest first.
    all: VecDeque<(u64, IpAddr, Arc<Notify>)>,
    begun: u64,
}

/// A place among them.
struct Place<'a> {
    long: &'a Long,
    number: u64,
    /// Somebody younger has it.
    lost: Arc<Notify>,
}

impl Long {
    fn take(&self, source: IpAddr) -> Option<Place<'_>> {
        let source = network(source);
        let mut reading = self.0.lock().ok()?;
        let of_one = |(_, other, _): &&(u64, IpAddr, Arc<Notify>)| *other == source;
        let oldest = if reading.all.iter().filter(of_one).count() >= LONG_OF_ONE {
            reading.all.iter().position(|one| of_one(&one))
        } else {
            (reading.all.len() >= LONG_MAX).then_some(0)
        };
        if let Some((.., lost)) = oldest.and_then(|at| reading.all.remove(at)) {
            lost.notify_one();
        }
        reading.begun += 1;
        let (number, lost) = (reading.begun, Arc::new(Notify::new()));
        reading.all.push_back((number, source, Arc::clone(&lost)));
        Some(Place { long: self, number, lost })
    }
}

/// Whose address it is: a host of IPv6 has as many as it likes.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Ok(mut reading) = self.long.0.lock() {
            reading.all.retain(|(number, ..)| *number != self.number);
        }
    }
}

/// Why a body is not had.
enum Unread {
    TooLong,
    Crowded,
    /// It broke off, or did not keep up.
    Broken,
}

/// The whole body. What goes beyond a short message needs a place.
async fn read(body: Body, source: IpAddr, long: &Long) -> Result<Bytes, Unread> {
    let (mut stream, mut got, mut place) = (body.into_data_stream(), BytesMut::new(), None::<Place<'_>>);
    loop {
        let part = match &place {
            None => stream.next().await,
            Some(place) => tokio::select! {
                part = stream.next() => part,
                () = place.lost.notified() => return Err(Unread::Crowded),
            },
        };
        let Some(part) = part else { return Ok(got.freeze()) };
        let part = part.map_err(|_| Unread::Broken)?;
        if got.len() + part.len() > BODY_MAX {
            return Err(Unread::TooLong);
        }
        if got.len() + part.len() > SHORT && place.is_none() {
            place = Some(long.take(source).ok_or(Unread::Crowded)?);
        }
        got.extend_from_slice(&part);
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Signed {
    signature: String,
    msg_signature: String,
    timestamp: String,
    nonce: String,
    echostr: String,
}

pub(super) fn refuse(status: StatusCode, code: &'static str, what: &str, channel: &str) -> Response {
    metrics::counter!("gateway_hook_refused_total", "channel" => channel.to_owned(), "code" => code).increment(1);
    Problem::new(status, code, what).into_response()
}

/// All alike: who tries signatures learns nothing.
pub(super) fn forged(channel: &str) -> Response {
    refuse(StatusCode::FORBIDDEN, "GW-4403", "the signature is missing, wrong or too old", channel)
}

fn refused(refusal: Refusal, channel: &str) -> Response {
    match refusal {
        Refusal::Signature => forged(channel),
        Refusal::Malformed(what) => refuse(StatusCode::BAD_REQUEST, "GW-4400", what, channel),
    }
}

/// The platform's URL check.
pub async fn check(State(api): State<Api>, Path(name): Path<String>, Query(q): Query<Signed>) -> Response {
    let Some(kind) = api.channels.kind(&name).cloned() else { return unknown() };
    let echo = match &*kind {
        Kind::Wechat(device) if matches!(device.app, WechatApp::WeCom { .. }) => device
            .crypt
            .as_ref()
            .and_then(|c| c.open(&q.timestamp, &q.nonce, &q.echostr, &q.msg_signature).ok())
            .and_then(|plain| String::from_utf8(plain).ok()),
        Kind::Wechat(device) => {
            let signed = wechat::is_signed(&device.token, &q.timestamp, &q.nonce, &q.signature)
                && api.seen.take(&name, &[&q.timestamp, &q.nonce, &q.signature], b"");
            signed.then(|| q.echostr.clone())
        }
        Kind::Weibo(device) => {
            let signed = weibo::is_signed(&device.secret, &q.timestamp, &q.nonce, &q.signature)
                && api.seen.take(&name, &[&q.timestamp, &q.nonce, &q.signature], b"");
            signed.then(|| q.echostr.clone())
        }
        _ => return unknown(),
    };
    echo.map_or_else(|| forged(&name), axum::response::IntoResponse::into_response)
}

fn unknown() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such channel takes webhooks").into_response()
}

/// A message.
pub async fn message(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(q): Query<Signed>,
    line: Option<Extension<Arc<Line>>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(kind) = api.channels.kind(&name).cloned() else { return unknown() };
    let source = line.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(line)| line.source.to_canonical());
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let too_long = || refuse(StatusCode::PAYLOAD_TOO_LARGE, "GW-4413", "a message has at most 256 KiB", &name);
    if length.is_some_and(|length| length > BODY_MAX) {
        return too_long();
    }
    let body = match read(body, source, &api.long).await {
        Ok(body) => body,
        Err(Unread::TooLong) => return too_long(),
        Err(Unread::Crowded) => {
            let what = "many long messages at once; send it again";
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "GW-4503", what, &name);
        }
        Err(Unread::Broken) => {
            return refuse(StatusCode::REQUEST_TIMEOUT, "GW-4408", "the body never came whole", &name);
        }
    };
    let now = api.clock.wall().0 / 1_000_000_000;
    match &*kind {
        Kind::Wechat(device) => match from_wechat(&api, &name, device, &q, &body, now) {
            Ok(message) => chat_message(&api, &name, message, "success".into_response()).await,
            Err(refusal) => refused(refusal, &name),
        },
        Kind::Weibo(device) => {
            let seconds = q.timestamp.parse::<i64>().map(|ms| ms / 1000);
            // Nobody's word on the time counts before their signature does.
            if !weibo::is_signed(&device.secret, &q.timestamp, &q.nonce, &q.signature)
                || !seconds.is_ok_and(|s| is_fresh(&name, s, now))
                || !api.seen.take(&name, &[&q.timestamp, &q.nonce, &q.signature], &body)
            {
                return forged(&name);
            }
            match weibo::read(&body) {
                Ok(message) => chat_message(&api, &name, message, "".into_response()).await,
                Err(refusal) => refused(refusal, &name),
            }
        }
        Kind::Qq(device) => from_qq(&api, &name, device, &headers, &body, now).await,
        Kind::Http(device) => from_anybody(&api, &name, device, &headers, &body, now).await,
        Kind::Agency(device) => super::agency::message(&api, &name, device, &headers, &body, now).await,
        Kind::Carrier(_) | Kind::Sip { .. } | Kind::App => unknown(),
    }
}

/// The signature first; with a key configured nothing unencrypted is taken.
fn from_wechat(
    api: &Api,
    name: &str,
    device: &WechatDevice,
    q: &Signed,
    body: &[u8],
    now: i64,
) -> Result<chat::Incoming, Refusal> {
    let fresh = || q.timestamp.parse::<i64>().is_ok_and(|s| is_fresh(name, s, now));
    match &device.crypt {
        None if wechat::is_signed(&device.token, &q.timestamp, &q.nonce, &q.signature)
            && fresh()
            && api.seen.take(name, &[&q.timestamp, &q.nonce, &q.signature], body) =>
        {
            wechat::read(body)
        }
        None => Err(Refusal::Signature),
        Some(crypt) => {
            let encrypted = wechat::envelope(body).map_err(|_| Refusal::Signature)?;
            let opened = crypt.open(&q.timestamp, &q.nonce, &encrypted, &q.msg_signature)?;
            if !fresh() {
                return Err(Refusal::Signature);
            }
            wechat::read(&opened)
        }
    }
}

async fn from_qq(
    api: &Api,
    name: &str,
    device: &crate::channel::QqDevice,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Response {
    let header = |key: &str| headers.get(key).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let timestamp = header("x-signature-timestamp");
    let fresh = || timestamp.parse::<i64>().is_ok_and(|s| is_fresh(name, s, now));
    if !device.key.is_signed(timestamp, body, header("x-signature-ed25519")) || !fresh() {
        return forged(name);
    }
    match qq::read(body) {
        Ok(qq::Request::Validate { plain_token, event_ts }) => {
            let signature = device.key.sign(&event_ts, plain_token.as_bytes());
            axum::Json(json!({"plain_token": plain_token, "signature": signature})).into_response()
        }
        Ok(qq::Request::Message(mut message)) => {
            // QQ names files by address.
            for file in message.attachments.iter_mut().filter(|a| !a.url.is_empty()) {
                file.vendor_id = file.url.clone();
            }
            chat_message(api, name, message, axum::Json(json!({"op": 12})).into_response()).await
        }
        Ok(qq::Request::Other(event)) => {
            tracing::info!(channel = name, event, "an event that is no report");
            axum::Json(json!({"op": 12})).into_response()
        }
        Err(refusal) => refused(refusal, name),
    }
}

/// A message of a platform: into the casebook, and acknowledged when it is durable.
async fn chat_message(api: &Api, name: &str, message: chat::Incoming, accepted: Response) -> Response {
    // A position that their device tells by itself is no report of theirs.
    let is_ping = message.event.as_deref() == Some("LOCATION");
    if let Some(event) = &message.event
        && message.location.is_none()
    {
        tracing::info!(channel = name, event, "an event that is no report");
        metrics::counter!("gateway_text_events_total", "channel" => name.to_owned()).increment(1);
        return accepted;
    }
    let mut forms: Vec<Form> = message.attachments.iter().map(|a| a.kind).collect();
    if !message.text.is_empty() {
        forms.insert(0, Form::Text);
    }
    if message.location.is_some() {
        forms.push(Form::Location);
    }
    forms.dedup();
    let attached = |a: chat::Attachment| Attached {
        kind: a.kind,
        vendor_id: a.vendor_id,
        uri: String::new(),
        sha256: String::new(),
        lost: String::new(),
    };
    let incoming = Incoming {
        from: Address { channel: name.to_owned(), user: message.user },
        message_id: message.message_id,
        session: None,
        to: name.to_owned(),
        body: Words::Text(message.text),
        forms,
        attachments: message.attachments.into_iter().map(attached).collect(),
        location: message.location,
        phone: None,
        silent: false,
        is_ping,
        case: None,
    };
    match report(api, incoming).await {
        Ok(_) => accepted,
        Err(problem) => problem.into_response(),
    }
}

/// Hands a report over and waits for the disk; the alert's number, unless it was known before.
pub(super) async fn report(api: &Api, incoming: Incoming) -> Result<Option<String>, Problem> {
    let request = api.new_request();
    let message = ToCasebook::Incoming { at: api.clock.wall(), message: Box::new(incoming), request };
    match api.wait_for(request, || drop(api.casebook.send(Input::Message(message)))).await {
        Some(Answer::Reply(reply)) => match reply.result {
            Ok(no) => Ok(no.map(|n| n.to_string())),
            Err(Failure::StoreFull) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "GW-3101",
                "the journal cannot be written; send it again",
            )),
            Err(Failure::Quota) => Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "GW-4429",
                "this sender has had stored what one may in a day",
            )),
            Err(_) => Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such channel")),
        },
        // Not durable: the platform sends it again.
        Some(Answer::NotDurable) | None => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "GW-3101",
            "the journal cannot be written; send it again",
        )),
    }
}

/// The generic channel's message, as its clients write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generic {
    from: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    to: String,
    phone: Option<String>,
    #[serde(default)]
    silent: bool,
    location: Option<GenericLocation>,
    #[serde(default)]
    attachments: Vec<GenericFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenericLocation {
    lon: f64,
    lat: f64,
    #[serde(default = "wgs84")]
    datum: Datum,
    #[serde(default)]
    label: String,
}

fn wgs84() -> Datum {
    Datum::Wgs84
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenericFile {
    kind: Form,
    url: String,
}

async fn from_anybody(
    api: &Api,
    name: &str,
    device: &crate::channel::HttpDevice,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Response {
    let Some(id) = signed_id(name, device, headers, body, now) else { return forged(name) };
    let generic: Generic = match serde_json::from_slice(body) {
        Ok(generic) => generic,
        Err(error) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", &error.to_string(), name),
    };
    match generic_message(name, id, generic) {
        Ok(incoming) => match report(api, incoming).await {
            Ok(no) => axum::Json(json!({"id": id, "alert_no": no})).into_response(),
            Err(problem) => problem.into_response(),
        },
        Err(what) => refuse(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", what, name),
    }
}

/// The name of a delivery that is signed as Standard Webhooks, and fresh.
pub(super) fn signed_id<'a>(
    name: &str,
    device: &crate::channel::HttpDevice,
    headers: &'a HeaderMap,
    body: &[u8],
    now: i64,
) -> Option<&'a str> {
    let header = |key: &str| headers.get(key).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp").parse::<i64>().ok()?);
    let signed =
        (1..=128).contains(&id.len()) && device.secret.verify(id, timestamp, body, header("webhook-signature"));
    (signed && is_fresh(name, timestamp, now)).then_some(id)
}

fn generic_message(name: &str, id: &str, m: Generic) -> Result<Incoming, &'static str> {
    if m.from.is_empty() || m.from.len() > 128 {
        return Err("from is 1 to 128 bytes");
    }
    if m.text.is_empty() && m.location.is_none() && m.attachments.is_empty() {
        return Err("a message has text, a location or an attachment");
    }
    if m.attachments.len() > 16 || m.text.chars().count() > 2000 {
        return Err("at most 2000 characters and 16 attachments");
    }
    let location = match m.location {
        Some(l) if !(Point { lon: l.lon, lat: l.lat }).is_sane() => return Err("lon and lat are degrees"),
        Some(l) => {
            Some(chat::SharedLocation { point: Point { lon: l.lon, lat: l.lat }, datum: l.datum, label: l.label })
        }
        None => None,
    };
    let mut forms: Vec<Form> = m.attachments.iter().map(|a| a.kind).collect();
    if !m.text.is_empty() {
        forms.insert(0, Form::Text);
    }
    if location.is_some() {
        forms.push(Form::Location);
    }
    forms.dedup();
    let attached = |a: GenericFile| Attached {
        kind: a.kind,
        vendor_id: a.url,
        uri: String::new(),
        sha256: String::new(),
        lost: String::new(),
    };
    Ok(Incoming {
        from: Address { channel: name.to_owned(), user: m.from },
        message_id: id.to_owned(),
        session: None,
        to: if m.to.is_empty() { name.to_owned() } else { m.to },
        body: Words::Text(m.text),
        forms,
        attachments: m.attachments.into_iter().map(attached).collect(),
        location,
        phone: m.phone,
        silent: m.silent,
        is_ping: false,
        case: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_does_not_cover_the_body_is_good_for_one_body() {
        let seen = Seen::default();
        assert!(seen.take("weibo", &["sig", "1", "n"], b"help"));
        assert!(seen.take("weibo", &["sig", "1", "n"], b"help"), "the platform repeats itself");
        assert!(!seen.take("weibo", &["sig", "1", "n"], b"forged"));
        assert!(seen.take("weibo", &["another", "1", "n"], b"forged"), "signed by itself");
        assert!(seen.take("wechat", &["sig", "1", "n"], b"forged"), "another channel's secret");
    }

    #[test]
    fn what_is_a_day_and_more_old_was_replayed_and_what_is_younger_is_not_lost_to_a_clock() {
        for (apart, fresh) in
            [(0, true), (301, true), (86_400, true), (86_401, false), (-86_400, true), (-86_401, false)]
        {
            assert_eq!(is_fresh("x", 1_000_000 + apart, 1_000_000), fresh, "{apart}");
        }
        assert!(!is_fresh("x", i64::MIN, i64::MAX));
    }

    #[tokio::test]
    async fn however_many_long_bodies_stand_still_the_next_one_is_read() {
        let long = Long::default();
        // Eight hosts with more than their share each, all of them silent.
        let silent: Vec<Place<'_>> = (0..128u8).filter_map(|n| long.take(IpAddr::from([192, 0, 2, n % 8]))).collect();
        assert_eq!((silent.len(), long.0.lock().expect("unpoisoned").all.len()), (128, LONG_MAX));
        let source = IpAddr::from([192, 0, 2, 99]);
        let body = Body::from(vec![b'x'; 200_000]);
        assert_eq!(read(body, source, &long).await.map(|b| b.len()).ok(), Some(200_000));
        // The same behind one proxy that everybody comes through.
        let _proxied: Vec<Place<'_>> = (0..40).filter_map(|_| long.take(source)).collect();
        let body = Body::from(vec![b'x'; 200_000]);
        assert_eq!(read(body, source, &long).await.map(|b| b.len()).ok(), Some(200_000));
        // One host's addresses of IPv6 are one source.
        let of = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        assert_eq!(network(of(1)), network(of(2)));
    }

    #[tokio::test]
    async fn whoever_is_slow_loses_their_place_to_a_newcomer() {
        let long = Long::default();
        let stalled = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; SHORT + 1]))])
            .chain(futures_util::stream::pending());
        let source = IpAddr::from([192, 0, 2, 1]);
        let reading = read(Body::from_stream(stalled), source, &long);
        tokio::pin!(reading);
        let mut others = Vec::new();
        let lost = tokio::select! {
            biased;
            read = &mut reading => read,
            () = async { others.extend((0..LONG_OF_ONE).filter_map(|_| long.take(source))) } => reading.await,
        };
        assert!(matches!(lost, Err(Unread::Crowded)));
    }
}
