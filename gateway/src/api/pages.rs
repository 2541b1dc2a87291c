//! Pages for people: the call taker's, the officer's, the reporter's. They are part of the program, ask for nothing from elsewhere,
//! and do nothing that the API does not do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Extension, Form, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use codecs::sip::auth::hex;
use codecs::time::Mono;
use dashmap::DashMap;
use serde::Deserialize;
use serde_json::{Value, json};
use switchboard::ToDesk;

use super::signed::{self, Holder};
use super::who::{self, Principal, Role};
use super::{Api, Problem};
use crate::clock::random;
use crate::inbox::{Handle, Input};
use crate::net::http::Line;

/// A link is good once, and for so long.
const LINK_FOR: Duration = Duration::from_secs(600);
const LINKS_MAX: usize = 1000;
/// A shift.
const COOKIE_S: i64 = 12 * 3600;
/// A page that is loaded anew is not gone.
const GONE_AFTER: Duration = Duration::from_secs(3);
/// Nothing from elsewhere, nothing written into the page, and the page in nobody's frame.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// What pages are made of.
const FILES: [(&str, &str, &str); 6] = [
    ("page.css", "text/css; charset=utf-8", include_str!("../../web/page.css")),
    ("seat.js", "text/javascript; charset=utf-8", include_str!("../../web/seat.js")),
    ("similar.js", "text/javascript; charset=utf-8", include_str!("../../web/similar.js")),
    ("triage.js", "text/javascript; charset=utf-8", include_str!("../../web/triage.js")),
    ("officer.js", "text/javascript; charset=utf-8", include_str!("../../web/officer.js")),
    ("report.js", "text/javascript; charset=utf-8", include_str!("../../web/report.js")),
];
const SEAT: &str = include_str!("../../web/seat.html");
const OFFICER: &str = include_str!("../../web/officer.html");
const LOGIN: &str = include_str!("../../web/login.html");
const REPORT: &str = include_str!("../../web/report.html");
const WORDS: &str = include_str!("../../web/words.json");

/// Links that were handed out and not used.
#[derive(Default)]
pub struct Links(Mutex<HashMap<String, (Holder, Mono)>>);

impl Links {
    /// One for whoever uses it first; none: too many wait.
    fn make(&self, who: Holder, now: Mono) -> Option<String> {
        let mut links = self.0.lock().ok()?;
        links.retain(|_, (_, until)| *until > now);
        if links.len() >= LINKS_MAX {
            return None;
        }
        let key = hex(&random::<16>());
        links.insert(key.clone(), (who, now + LINK_FOR));
        Some(key)
    }

    /// Whether it can still be used. Looking uses nothing up.
    fn is_good(&self, key: &str, now: Mono) -> bool {
        self.0.lock().is_ok_and(|links| links.get(key).is_some_and(|(_, until)| *until > now))
    }

    fn take(&self, key: &str, now: Mono) -> Option<Holder> {
        let (who, until) = self.0.lock().ok()?.remove(key)?;
        (until > now).then_some(who)
    }
}

/// Seats whose page somebody has open, and how often.
#[derive(Clone, Default)]
pub struct Present(Arc<DashMap<String, usize>>);

/// Somebody is there as long as this is.
pub(super) struct Here {
    seat: String,
    present: Present,
    shards: Handle,
}

impl Present {
    pub(super) fn enter(&self, seat: &str, shards: &Handle) -> Here {
        *self.0.entry(seat.to_owned()).or_default() += 1;
        shards.send(Input::Desk(ToDesk::AtPage { seat: seat.to_owned(), here: true }));
        Here { seat: seat.to_owned(), present: self.clone(), shards: shards.clone() }
    }

    /// One less; whether nobody is left.
    fn leave(&self, seat: &str) -> bool {
        let Some(mut count) = self.0.get_mut(seat) else { return false };
        *count = count.saturating_sub(1);
        *count == 0
    }

    fn is_empty(&self, seat: &str) -> bool {
        self.0.get(seat).is_none_or(|count| *count == 0)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if !self.present.leave(&self.seat) {
            return;
        }
        let (seat, present, shards) = (std::mem::take(&mut self.seat), self.present.clone(), self.shards.clone());
        let gone = async move {
            tokio::time::sleep(GONE_AFTER).await;
            if present.is_empty(&seat) {
                shards.send(Input::Desk(ToDesk::AtPage { seat, here: false }));
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(gone);
        }
    }
}

pub(super) fn pages() -> Router<Api> {
    Router::new()
        .route("/seat", get(seat).post(log_in))
        .route("/seat/leave", axum::routing::post(log_out))
        .route("/officer", get(officer).post(log_in_officer))
        .route("/officer/leave", axum::routing::post(log_out_officer))
        .route("/report", get(report))
        .route("/assets/{file}", get(asset))
        .layer(middleware::map_response(guarded))
}

/// What every answer of a page says, refusals too.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed = |text: &'static str| HeaderValue::from_static(text);
    headers.insert(header::CONTENT_SECURITY_POLICY, fixed(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    // Nothing to others; a form of ours has to say that it is ours.
    headers.insert(header::REFERRER_POLICY, fixed("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(fixed("no-store"));
    response
}

async fn asset(Path(file): Path<String>) -> Response {
    match FILES.iter().find(|(name, ..)| *name == file) {
        Some((_, kind, text)) => {
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *text).into_response()
        }
        None => Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such file").into_response(),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    lang: String,
    key: String,
}

/// A page in the language that is asked for, by the address or by the browser; Chinese otherwise.
fn page(template: &str, asked: &str, headers: &HeaderMap, more: &[(&str, &str)]) -> Response {
    let accepts = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let lang = match asked {
        "zh" | "en" => asked,
        _ if accepts.starts_with("en") => "en",
        _ => "zh",
    };
    let all: Value = serde_json::from_str(WORDS).unwrap_or_default();
    let words = all[lang].as_object().cloned().unwrap_or_default();
    let mut text = template.replace("{{words}}", &Value::Object(words.clone()).to_string().replace('<', "\\u003c"));
    text = text.replace("{{lang}}", if lang == "zh" { "zh-CN" } else { "en" });
    for (name, word) in &words {
        text = text.replace(&format!("{{{{{name}}}}}"), &escaped(word.as_str().unwrap_or_default()));
    }
    for (name, value) in more {
        text = text.replace(&format!("{{{{{name}}}}}"), &escaped(value));
    }
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

/// As text between tags and in quotes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A page that somebody logs in to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Desk {
    Seat,
    Officer,
}

impl Desk {
    fn path(self) -> &'static str {
        match self {
            Desk::Seat => "/seat",
            Desk::Officer => "/officer",
        }
    }

    /// Whether the page is this principal's.
    fn admits(self, api: &Api, role: Role, subject: &str) -> bool {
        match self {
            Desk::Seat => role == Role::Seat && api.places.seats.contains(subject),
            Desk::Officer => role == Role::Officer && api.places.officers.contains_key(subject),
        }
    }

    /// Who has the page's cookie, if the page is theirs.
    fn who(self, api: &Api, headers: &HeaderMap) -> Option<Principal> {
        let who = api.tokens.who(who::cookie(headers)?, api.clock.mono(), api.now_s())?;
        self.admits(api, who.role, &who.subject).then_some(who)
    }
}

/// The page on which somebody logs in: by the link of this key, or with a token where there is none. `class`: what was
/// wrong the last time.
fn login(desk: Desk, lang: &str, headers: &HeaderMap, class: &str, key: &str) -> Response {
    let (by_link, by_token) = if key.is_empty() { ("hidden", "") } else { ("", "hidden") };
    let action = format!("{}{}", desk.path(), query(lang));
    let more = [("class", class), ("action", &*action), ("by_link", by_link), ("by_token", by_token), ("key", key)];
    page(LOGIN, lang, headers, &more)
}

/// The language that was asked for by the address stays in it.
fn query(lang: &str) -> &'static str {
    match lang {
        "zh" => "?lang=zh",
        "en" => "?lang=en",
        _ => "",
    }
}

/// Whose page it is, or what they are shown first. Of a link it is the button that uses it up: whatever only fetches
/// addresses, as the preview of a chat or a browser ahead of time does, presses none.
fn admitted(
    desk: Desk,
    api: &Api,
    asked: &Asked,
    line: Option<Extension<Arc<Line>>>,
    headers: &HeaderMap,
) -> Result<Principal, Box<Response>> {
    if !asked.key.is_empty() {
        return Err(Box::new(if api.links.is_good(&asked.key, api.clock.mono()) {
            login(desk, &asked.lang, headers, "", &asked.key)
        } else {
            (StatusCode::FORBIDDEN, login(desk, &asked.lang, headers, "used", "")).into_response()
        }));
    }
    let who = desk.who(api, headers).ok_or_else(|| {
        Box::new((StatusCode::UNAUTHORIZED, login(desk, &asked.lang, headers, "", "")).into_response())
    })?;
    if let Some(Extension(line)) = line {
        line.belongs_to(&who.actor());
    }
    Ok(who)
}

/// The call taker's page.
async fn seat(
    State(api): State<Api>,
    Query(asked): Query<Asked>,
    line: Option<Extension<Arc<Line>>>,
    headers: HeaderMap,
) -> Response {
    match admitted(Desk::Seat, &api, &asked, line, &headers) {
        Ok(who) => page(SEAT, &asked.lang, &headers, &[("seat", &who.subject)]),
        Err(first) => *first,
    }
}

/// The officer's page, made for a phone: what they are called to, and what they tell of it.
async fn officer(
    State(api): State<Api>,
    Query(asked): Query<Asked>,
    line: Option<Extension<Arc<Line>>>,
    headers: HeaderMap,
) -> Response {
    match admitted(Desk::Officer, &api, &asked, line, &headers) {
        Ok(who) => {
            let results = serde_json::to_string(&api.places.result_codes).unwrap_or_default();
            page(OFFICER, &asked.lang, &headers, &[("officer", &who.subject), ("results", &results)])
        }
        Err(first) => *first,
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Login {
    token: String,
    /// Of a link.
    key: String,
}

async fn log_in(
    State(api): State<Api>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    Form(given): Form<Login>,
) -> Response {
    let_in(Desk::Seat, &api, &asked, &headers, &given)
}

async fn log_in_officer(
    State(api): State<Api>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    Form(given): Form<Login>,
) -> Response {
    let_in(Desk::Officer, &api, &asked, &headers, &given)
}

/// With a token of their own, or by a link, which is used up by it.
fn let_in(desk: Desk, api: &Api, asked: &Asked, headers: &HeaderMap, given: &Login) -> Response {
    if !who::is_from_here(headers) {
        return elsewhere();
    }
    if !api.installation.is_known() {
        // No link is used up for nothing.
        return not_yet();
    }
    let (who, otherwise) = if given.key.is_empty() {
        (by_token(desk, api, given.token.trim()), "wrong")
    } else {
        (api.links.take(&given.key, api.clock.mono()), "used")
    };
    // A link of another page lets nobody in here; it is used up all the same.
    let who =
        who.filter(|who| Role::EACH.into_iter().any(|r| r.text() == who.role && desk.admits(api, r, &who.subject)));
    match who {
        Some(who) => enter(desk, api, &who, &asked.lang),
        None => {
            metrics::counter!("gateway_api_refused_total", "why" => "credential").increment(1);
            (StatusCode::FORBIDDEN, login(desk, &asked.lang, headers, otherwise, "")).into_response()
        }
    }
}

/// Whom a token of their own lets in. A page's own begins no other: it ends when it ends.
fn by_token(desk: Desk, api: &Api, token: &str) -> Option<Holder> {
    let Principal { role, subject, area } = api.tokens.who(token, api.clock.mono(), api.now_s())?;
    let by = api.tokens.id_of(token).filter(|_| desk.admits(api, role, &subject))?;
    Some(Holder { role: role.text().to_owned(), subject, area, by })
}

/// The cookie, and on to the page: no key and no token stays in the address, and a page that is loaded anew logs nobody
/// in again.
fn enter(desk: Desk, api: &Api, who: &Holder, lang: &str) -> Response {
    let Some(token) = signed::make(&api.installation, who, api.now_s() + COOKIE_S) else { return not_yet() };
    let secure = if api.is_tls { "; Secure" } else { "" };
    let cookie = format!("{}{token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={COOKIE_S}{secure}", who::COOKIE);
    let mut response = Redirect::to(&format!("{}{}", desk.path(), query(lang))).into_response();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    tracing::info!(role = who.role, subject = who.subject, "logged in at a page");
    response
}

fn not_yet() -> Response {
    let what = "the disk has not said yet what this installation signs with; try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "GW-3101", what).into_response()
}

fn elsewhere() -> Response {
    metrics::counter!("gateway_api_refused_total", "why" => "origin").increment(1);
    Problem::new(StatusCode::FORBIDDEN, "GW-4407", "a page's writes come from our own origin").into_response()
}

async fn log_out(State(api): State<Api>, headers: HeaderMap) -> Response {
    let_out(Desk::Seat, &api, &headers)
}

async fn log_out_officer(State(api): State<Api>, headers: HeaderMap) -> Response {
    let_out(Desk::Officer, &api, &headers)
}

fn let_out(desk: Desk, api: &Api, headers: &HeaderMap) -> Response {
    if !who::is_from_here(headers) {
        return elsewhere();
    }
    if let Some(token) = who::cookie(headers) {
        if !api.installation.is_known() {
            // It could not be told yet whose it is, and would count later.
            return not_yet();
        }
        api.tokens.leave(token, api.clock.mono(), api.now_s());
    }
    let cookie = format!("{}; HttpOnly; SameSite=Strict; Path=/; Max-Age=0", who::COOKIE);
    let mut response = login(desk, "", headers, "", "");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// Where anybody reports in writing.
async fn report(Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    page(REPORT, &asked.lang, &headers, &[])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct For {
    seat: Option<String>,
    officer: Option<String>,
}

/// A link that logs in whoever uses it first.
pub(super) async fn make_link(
    State(api): State<Api>,
    Extension(by): Extension<Principal>,
    headers: HeaderMap,
    Json(wanted): Json<For>,
) -> Result<Response, Problem> {
    let (desk, role, subject) = match (wanted.seat, wanted.officer) {
        (Some(seat), None) => (Desk::Seat, Role::Seat, seat),
        (None, Some(officer)) => (Desk::Officer, Role::Officer, officer),
        _ => return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", "either `seat` or `officer`")),
    };
    let is_theirs = desk == Desk::Seat || api.places.officers.get(&subject).is_some_and(|u| u.starts_with(&by.area));
    if !desk.admits(&api, role, &subject) || !is_theirs {
        return Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such seat or officer"));
    }
    let leave = who::credential(&headers).and_then(|token| api.tokens.id_of(token)).unwrap_or_default();
    let holder = Holder::of(role.text(), &subject);
    let who = Holder { area: by.area.clone(), by: leave, ..holder };
    let actor = format!("{}:{}", who.role, who.subject);
    let Some(key) = api.links.make(who, api.clock.mono()) else {
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "GW-4429", "a thousand links wait to be used"));
    };
    tracing::info!(who = actor, by = by.actor(), "a link to a page was made");
    let body = json!({"url": format!("{}?key={key}", desk.path()), "expires_s": LINK_FOR.as_secs()});
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(s: u64) -> Mono {
        Mono(0) + Duration::from_secs(s)
    }

    #[test]
    fn a_link_is_good_once_and_for_ten_minutes_and_there_are_not_more_than_a_thousand() {
        let links = Links::default();
        let who = Holder::of("seat", "1101");
        let key = links.make(who.clone(), now(0)).expect("made");
        assert!(links.is_good(&key, now(1)) && links.is_good(&key, now(1)), "looking uses nothing up");
        assert_eq!(links.take(&key, now(1)), Some(who.clone()));
        assert!(!links.is_good(&key, now(1)));
        assert_eq!(links.take(&key, now(1)), None);
        let key = links.make(who.clone(), now(0)).expect("made");
        assert!(links.is_good(&key, now(599)) && !links.is_good(&key, now(600)));
        assert_eq!(links.take(&key, now(600)), None);
        assert_eq!((0..2000).filter_map(|_| links.make(who.clone(), now(0))).count(), 1000);
        assert!(links.make(who, now(601)).is_some(), "those that nobody followed make room");
    }

    #[test]
    fn both_languages_have_the_same_words_and_pages_use_no_others() {
        let all: Value = serde_json::from_str(WORDS).expect("JSON");
        let keys = |lang: &str| all[lang].as_object().expect("words").keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys("zh"), keys("en"));
        for template in [SEAT, OFFICER, LOGIN, REPORT] {
            let names = template.split("{{").skip(1).map(|rest| rest.split("}}").next().expect("closed"));
            let given =
                ["words", "lang", "seat", "officer", "results", "class", "action", "key", "by_link", "by_token"];
            for name in names.filter(|n| !given.contains(n)) {
                assert!(keys("zh").contains(&name.to_owned()), "{name}");
            }
        }
        for (name, _, text) in FILES.iter().filter(|(name, ..)| name.ends_with(".js")) {
            assert!(text.is_ascii(), "{name} says something in a language");
            for key in
                text.split("words.").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
            {
                let key = key.unwrap_or_default().to_owned();
                assert!(keys("zh").contains(&key), "{name}: {key}");
            }
        }
    }

    #[test]
    fn what_is_put_into_a_page_cannot_leave_its_place() {
        let headers = HeaderMap::new();
        let response = page("<b title=\"{{seat}}\">{{words}}</b>", "zh", &headers, &[("seat", "\"><script>'&")]);
        let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(response.into_body(), 100_000));
        let text = String::from_utf8(body.expect("ready").expect("read").to_vec()).expect("text");
        assert!(text.starts_with("<b title=\"&quot;&gt;&lt;script&gt;&#39;&amp;\">{"), "{text}");
        assert_eq!(text.matches('<').count(), 2, "{text}");
    }
}
