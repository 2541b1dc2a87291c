//! Who asks, and what they may: a token has a role, a subject, an area and an end; what no row allows is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use codecs::record::AlertRecord;
use codecs::sip::auth::hex;
use codecs::time::Mono;
use serde::{Deserialize, Serialize};

use super::rights::may;
use super::signed::{self, Installation, hash};
use super::{Api, Problem};
use crate::clock::random;
use crate::net::http::Line;
use crate::observe::health::Health;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A call taker's place: what lies at that seat, and no other.
    Seat,
    /// One officer: their duty, their position.
    Officer,
    /// Somebody who reports.
    Citizen,
    /// Whoever leads the shift: every seat and officer of their area, live audio, lines to anybody.
    Supervisor,
    /// A system that acts on alerts: reads them, and adds what it has found out.
    Downstream,
    /// Whoever keeps the machine running: sinks, channels; no alerts.
    Operator,
    /// Reads everything, changes nothing.
    Auditor,
    /// The installation's own: everything.
    All,
}

impl Role {
    pub const EACH: [Role; 7] =
        [Role::Seat, Role::Officer, Role::Citizen, Role::Supervisor, Role::Downstream, Role::Operator, Role::Auditor];

    pub fn text(self) -> &'static str {
        match self {
            Role::Seat => "seat",
            Role::Officer => "officer",
            Role::Citizen => "citizen",
            Role::Supervisor => "supervisor",
            Role::Downstream => "downstream",
            Role::Operator => "operator",
            Role::Auditor => "auditor",
            Role::All => "all",
        }
    }
}

/// Whoever asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    pub role: Role,
    pub subject: String,
    /// The beginning of the unit codes that concern them; empty: all.
    pub area: String,
}

impl Principal {
    /// As it stands in events: `seat:1101`.
    pub fn actor(&self) -> String {
        format!("{}:{}", self.role.text(), self.subject)
    }

    /// Whether an alert lies where they may look: of a complaint about a unit nobody of it sees anything, whoever owned
    /// the alert before.
    pub fn may_see(&self, record: &AlertRecord) -> bool {
        let here = |unit: &String| unit.starts_with(&self.area);
        let complained =
            record.incident.complaint_of.as_deref().map(codecs::record::significant).filter(|unit| !unit.is_empty());
        if !self.area.is_empty() && complained.is_some_and(|unit| self.area.starts_with(unit)) {
            return false;
        }
        self.area.is_empty() || here(&record.route.owner) || record.route.jurisdiction.iter().any(here)
    }
}

/// The one token that a request carries, if it carries one as it should: as a bearer; as a subprotocol, since a
/// browser's WebSocket sets no other header; as a page's cookie.
pub(super) fn credential(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(first) = given.next() {
        let token = first.to_str().ok()?.strip_prefix("Bearer ")?;
        return given.next().is_none().then_some(token);
    }
    only(headers, &header::SEC_WEBSOCKET_PROTOCOL, ',', "bearer.").or_else(|| cookie(headers))
}

/// The page's cookie.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    only(headers, &header::COOKIE, ';', COOKIE)
}

/// As it is set.
pub(super) const COOKIE: &str = "gw=";

/// The one part of a header's lists that begins so.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName, between: char, begin: &str) -> Option<&'a str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut found = lines.flat_map(|line| line.split(between)).filter_map(|part| part.trim().strip_prefix(begin));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// Whether a page of somebody else's makes a browser of ours act: only then is a cookie no proof of who acts.
fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    let by_cookie = !headers.contains_key(header::AUTHORIZATION) && cookie(headers).is_some();
    by_cookie && !method.is_safe() && !is_from_here(headers)
}

/// Whether a page of ours says it.
pub(super) fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let origin = text(header::ORIGIN);
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    !host.is_empty() && host == text(header::HOST)
}

pub(super) async fn authenticate(State(state): State<Api>, request: Request, next: Next) -> Response {
    let is_signed = credential(request.headers()).is_some_and(|token| token.starts_with(signed::PREFIX));
    if is_signed && !state.installation.is_known() {
        let what = "the disk has not said yet what this installation signs with; try again";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "GW-3101", what).into_response();
    }
    let Some(who) =
        credential(request.headers()).and_then(|token| state.tokens.who(token, state.clock.mono(), state.now_s()))
    else {
        metrics::counter!("gateway_api_refused_total", "why" => "credential").increment(1);
        let what = "Authorization: Bearer TOKEN is missing, wrong or at its end";
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "GW-4401", what);
        return ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response();
    };
    if is_foreign(request.method(), request.headers()) {
        metrics::counter!("gateway_api_refused_total", "why" => "origin").increment(1);
        return Problem::new(StatusCode::FORBIDDEN, "GW-4407", "a page's writes come from our own origin")
            .into_response();
    }
    let (mut parts, body) = request.into_parts();
    let path = parts.extensions.get::<MatchedPath>().map(|p| p.as_str().to_owned()).unwrap_or_default();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
    let of = |name: &str| {
        let params = params.as_ref()?;
        params.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_owned())
    };
    // Whoever may read may ask whether there is something to be read.
    let method = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
    if !may(&who, &state.places, &method, &path, of) {
        metrics::counter!("gateway_api_refused_total", "why" => "role").increment(1);
        let what = format!("{} may not do this", who.actor());
        return Problem::new(StatusCode::FORBIDDEN, "GW-4407", what).into_response();
    }
    if let Some(line) = parts.extensions.get::<std::sync::Arc<Line>>() {
        line.belongs_to(&who.actor());
    }
    parts.extensions.insert(who);
    next.run(Request::from_parts(parts, body)).await
}

/// The token under which a stream was opened: it ends with it.
pub(super) struct Standing {
    state: Api,
    token: String,
    looked: Mono,
}

impl Standing {
    pub(super) fn of(state: &Api, headers: &HeaderMap) -> Standing {
        let token = credential(headers).unwrap_or_default().to_owned();
        Standing { state: state.clone(), token, looked: state.clock.mono() }
    }

    /// Whether the token still counts; looked up once a second at most.
    pub(super) fn holds(&mut self) -> bool {
        let now = self.state.clock.mono();
        if now.since(self.looked) < LOOK {
            return true;
        }
        self.looked = now;
        self.state.tokens.who(&self.token, now, self.state.now_s()).is_some()
    }
}

/// A token as it is kept: its hash, never itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Names it to people.
    pub id: String,
    /// SHA-256, in hexadecimal.
    pub hash: String,
    pub role: Role,
    pub subject: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub area: String,
    /// Seconds since 1970; none: it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
}

impl Kept {
    fn is_good(&self, now_s: i64) -> bool {
        self.expires.is_none_or(|at| now_s < at)
    }
}

/// The tokens of a data directory: one a line, in `DATA/tokens`.
pub struct File(PathBuf);

impl File {
    pub fn of(data: &Path) -> File {
        File(data.join("tokens"))
    }

    /// Everything that can be read, and which lines cannot: one that is torn takes no other's token.
    ///
    /// # Errors
    /// What the disk said.
    pub fn read(&self) -> io::Result<(Vec<Kept>, Vec<usize>)> {
        let (mut all, mut torn) = (Vec::new(), Vec::new());
        for (n, line) in self.text()?.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(kept) => all.push(kept),
                Err(_) => torn.push(n + 1),
            }
        }
        Ok((all, torn))
    }

    fn text(&self) -> io::Result<String> {
        match std::fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// Held while the file is changed: two who change it at once do so one after the other.
    fn lock(&self) -> io::Result<std::fs::File> {
        let mut options = std::fs::OpenOptions::new();
        let lock = options.create(true).write(true).truncate(false).mode(0o600).open(self.0.with_extension("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let temporary = self.0.with_extension("tmp");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&temporary, &self.0)
    }

    /// Makes a token and keeps its hash; what is returned is seen this once.
    ///
    /// # Errors
    /// What the disk said.
    pub fn make(&self, role: Role, subject: &str, area: &str, expires: Option<i64>) -> io::Result<(Kept, String)> {
        let token = format!("gwt_{}", hex(&random::<20>()));
        let (id, hash) = (hex(&random::<4>()), hash(&token));
        let kept = Kept { id, hash, role, subject: subject.to_owned(), area: area.to_owned(), expires };
        let _held = self.lock()?;
        let mut text = self.text()?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        self.replace(&format!("{text}{}\n", serde_json::to_string(&kept)?))?;
        Ok((kept, token))
    }

    /// Takes one away, by its id. `false`: there is none of that name.
    ///
    /// # Errors
    /// What the disk said.
    pub fn revoke(&self, id: &str) -> io::Result<bool> {
        let _held = self.lock()?;
        let text = self.text()?;
        let is_it = |line: &&str| serde_json::from_str::<Kept>(line).is_ok_and(|k| k.id == id);
        let left: Vec<&str> = text.lines().filter(|line| !is_it(line)).collect();
        let found = left.len() < text.lines().count();
        if found {
            self.replace(&left.iter().map(|line| format!("{line}\n")).collect::<String>())?;
        }
        Ok(found)
    }
}

/// How long a change of the file may stay unseen.
const LOOK: Duration = Duration::from_secs(1);

/// Every token that counts now.
pub struct Tokens {
    file: File,
    all: Installation,
    known: Mutex<Known>,
    health: Health,
}

/// As readiness calls them.
const PART: &str = "tokens";

#[derive(Default)]
struct Known {
    looked_at: Option<Mono>,
    /// Of the file as it was read: when it was changed, its length, which file it was.
    stamp: (i64, i64, u64, u64),
    by_hash: HashMap<String, Kept>,
    /// Pages whose people have logged out, by seat.
    left: BTreeMap<String, Left>,
}

/// Log-outs of a seat that are kept one by one.
const LEFT_MAX: usize = 1000;

/// The tokens of a seat's pages whose people have logged out: none is forgotten before it has ended by itself.
#[derive(Default)]
struct Left {
    /// When they end, and their hashes.
    each: BTreeSet<(i64, String)>,
    /// Whatever ends no later is out as a whole: of more than are kept, those that end first.
    up_to: i64,
    /// When somebody logged out last.
    last: Mono,
}

/// So long after the last of them a seat's log-outs are forgotten: no page's token lives half of it, and no clock that is
/// set ahead and back brings one to life meanwhile.
const LEFT_FOR: Duration = Duration::from_secs(24 * 3600);

impl Left {
    fn note(&mut self, now: Mono, end: i64, hash: String) {
        self.last = now;
        self.each.insert((end, hash));
        while self.each.len() > LEFT_MAX
            && let Some((end, _)) = self.each.pop_first()
        {
            self.up_to = self.up_to.max(end);
        }
    }

    fn has(&self, end: i64, hash: &str) -> bool {
        end <= self.up_to || self.each.contains(&(end, hash.to_owned()))
    }
}

/// When a signed token ends by itself, in seconds since 1970.
fn end_of(token: &str) -> Option<i64> {
    i64::from_str_radix(token.rsplit('_').nth(1)?, 16).ok()
}

impl Tokens {
    pub fn new(data: &Path, all: Installation, health: Health) -> Tokens {
        let tokens = Tokens { file: File::of(data), all, known: Mutex::default(), health };
        // What is wrong with the file is said before somebody is refused.
        if let Ok(mut known) = tokens.known.lock() {
            tokens.refresh(&mut known, Mono(0));
        }
        tokens
    }

    /// Whose token this is, if it is anybody's and its time is not over.
    pub fn who(&self, token: &str, now: Mono, now_s: i64) -> Option<Principal> {
        let hash = hash(token);
        if self.all.is(&hash) && !token.is_empty() {
            return Some(Principal { role: Role::All, subject: "installation".into(), area: String::new() });
        }
        if token.starts_with(signed::PREFIX) {
            let holder = signed::read(&self.all, token, now_s)?;
            let role = Role::EACH.into_iter().find(|r| r.text() == holder.role)?;
            let mut known = self.known.lock().ok()?;
            self.refresh(&mut known, now);
            let stands = holder.by.is_empty() || known.by_hash.values().any(|k| k.id == holder.by && k.is_good(now_s));
            let who = Principal { role, subject: holder.subject, area: holder.area };
            let (end, left) = (end_of(token)?, known.left.get(&who.actor()));
            let is_out = left.is_some_and(|left| left.has(end, &hash));
            return (stands && !is_out).then_some(who);
        }
        let mut known = self.known.lock().ok()?;
        self.refresh(&mut known, now);
        let kept = known.by_hash.get(&hash).filter(|k| k.is_good(now_s))?;
        Some(Principal { role: kept.role, subject: kept.subject.clone(), area: kept.area.clone() })
    }

    /// The id of a token that is kept here, under which tokens of pages are made; none: it is the installation's own,
    /// or a page's.
    pub(super) fn id_of(&self, token: &str) -> Option<String> {
        Some(self.known.lock().ok()?.by_hash.get(&hash(token))?.id.clone())
    }

    /// Whoever has a page's token has left: it counts no more. Only one that counts until now is noted, so that nobody
    /// without one can bring another's log-out to be forgotten.
    pub(super) fn leave(&self, token: &str, now: Mono, now_s: i64) {
        let is_signed = token.starts_with(signed::PREFIX);
        let has_page = |who: &Principal| matches!(who.role, Role::Seat | Role::Officer);
        let who = self.who(token, now, now_s).filter(|who| is_signed && has_page(who));
        let Some((who, end)) = who.zip(end_of(token)) else { return };
        let Ok(mut known) = self.known.lock() else { return };
        known.left.retain(|_, left| now.since(left.last) < LEFT_FOR);
        known.left.entry(who.actor()).or_default().note(now, end, hash(token));
    }

    fn refresh(&self, known: &mut Known, now: Mono) {
        if known.looked_at.is_some_and(|at| now.since(at) < LOOK) {
            return;
        }
        known.looked_at = Some(now);
        let meta = std::fs::metadata(&self.file.0);
        let stamp = meta.map_or((0, 0, 0, 0), |m| (m.mtime(), m.mtime_nsec(), m.len(), m.ino()));
        if stamp == known.stamp {
            return;
        }
        match self.file.read() {
            Ok((all, torn)) => {
                if !torn.is_empty() {
                    tracing::error!(lines = ?torn, "GW-4406 lines of the tokens cannot be read; the others count");
                }
                self.tell(&torn);
                known.by_hash = all.into_iter().map(|k| (k.hash.clone(), k)).collect();
                known.stamp = stamp;
            }
            Err(error) => {
                tracing::error!(%error, "GW-4406 the tokens cannot be read; those that were known count");
                self.health.worse(PART, "GW-4406", error.to_string());
            }
        }
    }

    fn tell(&self, torn: &[usize]) {
        match torn {
            [] => drop(self.health.well(PART)),
            lines => drop(self.health.worse(PART, "GW-4406", format!("lines {lines:?} of the tokens cannot be read"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(token: &str) -> Installation {
        let own = Installation::default();
        own.set(token);
        own
    }

    fn fresh(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("gw-who-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    #[test]
    fn a_token_counts_until_its_end_or_until_it_is_revoked_and_only_whole() {
        let dir = fresh("tokens");
        let (tokens, file) = (Tokens::new(&dir, installation("master"), Health::default()), File::of(&dir));
        let (kept, token) = file.make(Role::Seat, "1101", "3704", Some(100)).expect("made");
        let second = |n: u64| Mono::from_millis(n * 1000 + 5000);
        let who = tokens.who(&token, second(0), 99).expect("it counts");
        assert_eq!((who.actor().as_str(), who.area.as_str()), ("seat:1101", "3704"));
        assert_eq!(tokens.who(&token, second(2), 100), None, "at its end");
        for wrong in [&token[1..], &token[..token.len() - 1], "", "gwt_", &token.to_uppercase(), &format!("{token} ")] {
            assert_eq!(tokens.who(wrong, second(4), 0), None, "{wrong}");
        }
        assert!(!std::fs::read_to_string(dir.join("tokens")).expect("there").contains(&token), "only its hash is kept");
        assert!(file.revoke(&kept.id).expect("revoked") && !file.revoke(&kept.id).expect("none"));
        assert_eq!(tokens.who(&token, second(6), 0), None, "revoked");
        assert_eq!(tokens.who("master", second(6), 0).map(|w| w.role), Some(Role::All));
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_log_out_holds_until_its_token_ends_by_itself_whoever_else_logs_out() {
        let dir = fresh("left");
        let own = installation("master");
        let tokens = Tokens::new(&dir, own.clone(), Health::default());
        let make = |role: &str, subject: &str, end: i64| {
            signed::make(&own, &signed::Holder::of(role, subject), end).expect("made")
        };
        let counts = |token: &str, now_s: i64| tokens.who(token, Mono(0), now_s).is_some();
        let leave = |token: &str, now_s: i64| tokens.leave(token, Mono(0), now_s);
        let seats = || tokens.known.lock().expect("whole").left.keys().cloned().collect::<Vec<_>>();
        let (out, beside) = (make("seat", "1101", 1000), make("seat", "1101", 1000));
        leave(&out, 10);
        assert!(!counts(&out, 10) && counts(&beside, 10), "this page's and no other's");
        // What nobody has signed, what is over and what is no page's is nothing that anybody could log out of.
        let (over, device) = (make("seat", "1103", 10), make("citizen", "dev-1", 1000));
        (0..11_000).for_each(|n| leave(&format!("gwd_junk{n}"), 10));
        ["", "master", &over, &device, &out].into_iter().for_each(|token| leave(token, 10));
        assert!(counts(&device, 10) && counts("master", 10));
        assert_eq!(seats(), ["seat:1101"]);
        // An officer who is called as a seat is somebody else.
        let officer = make("officer", "1101", 1000);
        leave(&make("officer", "1101", 1000), 10);
        assert!(counts(&officer, 10));
        leave(&officer, 10);
        assert!(!counts(&officer, 10) && counts(&beside, 10));
        // Whoever logs in and out without an end costs nobody but their own seat.
        (0..LEFT_MAX + 5).for_each(|_| leave(&make("seat", "1102", 2000), 10));
        let (before, after) = (make("seat", "1102", 1999), make("seat", "1102", 2001));
        assert!(!counts(&before, 10) && counts(&after, 10), "those that end first are out as a whole");
        assert!(!counts(&out, 999) && counts(&beside, 999));
        // A clock that is set ahead, while somebody logs out, and back again.
        leave(&make("seat", "1104", 90_000), 80_000);
        assert!(!counts(&out, 999) && counts(&beside, 999));
        let day = Mono(0) + LEFT_FOR;
        tokens.leave(&after, day, 1000);
        assert_eq!(seats(), ["seat:1102"], "what is a day old is forgotten");
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn two_who_change_the_tokens_at_once_do_so_one_after_the_other_and_a_torn_line_takes_no_others() {
        let dir = fresh("together");
        let file = File::of(&dir);
        let made: Vec<_> = (0..8).map(|n| file.make(Role::Seat, &n.to_string(), "", None).expect("made")).collect();
        let path = dir.join("tokens");
        let mut text = std::fs::read_to_string(&path).expect("there");
        text.push_str("{\"id\":\"half");
        std::fs::write(&path, text).expect("written");
        std::thread::scope(|scope| {
            for (kept, _) in &made[..6] {
                scope.spawn(|| assert!(File::of(&dir).revoke(&kept.id).expect("revoked")));
                scope.spawn(|| File::of(&dir).make(Role::Auditor, "a", "", None).expect("made"));
            }
        });
        let health = Health::default();
        let tokens = Tokens::new(&dir, installation("master"), health.clone());
        let count = |n: usize| tokens.who(&made[n].1, Mono(0), 0).is_some();
        assert!((0..6).all(|n| !count(n)) && count(6) && count(7));
        assert_eq!(file.read().expect("read").0.len(), 8, "two that were left and six that were made");
        assert!(health.text().contains("tokens GW-4406"), "{}", health.text());
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn one_token_as_it_should_be_and_nothing_else_is_a_credential() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("a header"));
            }
            credential(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["Bearer abc"]), Some("abc".into()));
        for wrong in
            [&[][..], &["abc"], &["Basic abc"], &["bearer abc"], &["Bearer abc", "Bearer abc"], &["Bearer\tabc"]]
        {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
