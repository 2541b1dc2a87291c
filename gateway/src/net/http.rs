//! HTTP connections: accepted, bounded in number and in time, closed.
//!
//! A head is whole within ten seconds and 32 KiB, a body within ten seconds or, for whoever has shown who they are, as
//! fast as a kibibyte a second; a connection on which nothing is asked is closed after ten seconds. Beyond a source's
//! share, or the listener's cap, the one that has been silent for longest makes room for a new one; whoever has just
//! come has two seconds in which they are heard first.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::IntoResponse as _;
use codecs::time::Mono;
use futures_util::FutureExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::crowd::{Cap, Crowd, Full};
use crate::clock::Clock;
use crate::observe::limits::Limit;

/// For a head, for a body of somebody unknown, and between two requests.
pub const WITHIN: Duration = Duration::from_secs(10);
/// The longest head, in octets.
const HEAD_MAX: usize = 32 * 1024;
/// What an authenticated body has to keep up, in octets a second.
const BODY_RATE: u64 = 1024;
/// What is sent and not read for so long ends the connection.
const UNREAD: Duration = Duration::from_secs(30);
/// Whoever has just come has so many milliseconds to say who they are: a few round trips, those of TLS among them.
const GRACE_MS: u64 = 2000;

/// A connection, as its requests know it.
pub struct Line {
    pub source: IpAddr,
    /// When something was last asked or answered, in milliseconds of the process's clock.
    active_ms: AtomicU64,
    /// A request's head has come.
    asked: AtomicBool,
    /// Requests being answered.
    busy: AtomicUsize,
    /// Whose token came over it.
    subject: OnceLock<String>,
    close: Notify,
    /// It goes on as something else than requests.
    stays: AtomicUsize,
    left: Notify,
}

/// In the order in which they make room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rank {
    SilentStranger,
    BusyStranger,
    /// Came a moment ago and has not been heard: it may be anybody.
    Newcomer,
    SilentKnown,
    BusyKnown,
}

impl Line {
    fn new(source: IpAddr, now_ms: u64) -> Line {
        Line {
            source,
            active_ms: AtomicU64::new(now_ms),
            asked: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            subject: OnceLock::new(),
            close: Notify::new(),
            stays: AtomicUsize::new(0),
            left: Notify::new(),
        }
    }

    fn rank(&self, now_ms: u64) -> Rank {
        let since = now_ms.saturating_sub(self.active_ms.load(Ordering::Relaxed));
        let is_new = !self.asked.load(Ordering::Relaxed) && since < GRACE_MS;
        match (self.is_known(), self.busy.load(Ordering::Relaxed) > 0) {
            (true, true) => Rank::BusyKnown,
            (true, false) => Rank::SilentKnown,
            (false, _) if is_new => Rank::Newcomer,
            (false, true) => Rank::BusyStranger,
            (false, false) => Rank::SilentStranger,
        }
    }

    /// Somebody has shown who they are.
    pub fn belongs_to(&self, subject: &str) {
        let _ = self.subject.set(subject.to_owned());
    }

    /// Anybody may be a citizen: a token of theirs proves that they are the same as before, and no more.
    fn is_known(&self) -> bool {
        self.subject.get().is_some_and(|subject| !subject.starts_with("citizen:"))
    }

    /// The connection goes on as a stream of its own, and counts until the guard is gone.
    pub fn goes_on(self: &Arc<Line>) -> Stay {
        self.stays.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::Relaxed);
        Stay(Arc::clone(self))
    }
}

/// A connection that has become a stream.
pub struct Stay(Arc<Line>);

impl Stay {
    /// Resolves when it has to make room.
    pub async fn told_to_go(&self) {
        self.0.close.notified().await;
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.stays.fetch_sub(1, Ordering::Relaxed);
        self.0.left.notify_one();
    }
}

/// Everybody who is connected to one listener.
struct Lines {
    crowd: Crowd,
    all: BTreeMap<u64, Arc<Line>>,
    next: u64,
}

impl Lines {
    /// Who makes room: silent strangers, then strangers who are at something, then newcomers who were not heard yet,
    /// then silent acquaintances; of each kind the one that has been so for longest. Newcomers go first where they alone
    /// have more than half of the places. Where everybody is known and at something, whoever has most of them gives up
    /// their own oldest.
    fn victim(&self, source: IpAddr, full: Full, now_ms: u64) -> Option<u64> {
        let source = source.to_canonical();
        let meant = self.all.iter().filter(|(_, l)| full == Full::All || l.source == source);
        let ranked: Vec<(Rank, Entry<'_>)> = meant.map(|entry| (entry.1.rank(now_ms), entry)).collect();
        // In the order in which they came.
        let of = |wanted: Rank| -> Vec<Entry<'_>> {
            ranked.iter().filter(|(rank, _)| *rank == wanted).map(|(_, entry)| *entry).collect()
        };
        let new = of(Rank::Newcomer);
        if new.len() > self.crowd.places(source, full) / 2 {
            return new.first().map(|(id, _)| **id);
        }
        let others = ranked.iter().filter(|(rank, _)| *rank < Rank::BusyKnown);
        let first = others.min_by_key(|(rank, (_, l))| (*rank, l.active_ms.load(Ordering::Relaxed)));
        first.map(|(_, (id, _))| **id).or_else(|| oldest_of_most(&of(Rank::BusyKnown)))
    }

    /// One more, if there is room or somebody can make some.
    fn let_in(&mut self, source: IpAddr, now_ms: u64) -> Option<(u64, Arc<Line>)> {
        let source = source.to_canonical();
        // Its task ends when it has seen this; the cap is soft by as many as are on their way out.
        if let Some(full) = self.crowd.full(source)
            && !self.make_room(source, full, now_ms)
        {
            return None;
        }
        let (id, line) = (self.next, Arc::new(Line::new(source, now_ms)));
        self.next += 1;
        self.crowd.enter(source);
        self.all.insert(id, Arc::clone(&line));
        Some((id, line))
    }

    /// One makes room, and counts no longer from now on: the next to make room is another.
    fn make_room(&mut self, source: IpAddr, full: Full, now_ms: u64) -> bool {
        let victim = self.victim(source, full, now_ms).and_then(|id| self.leave(id));
        victim.map(|line| line.close.notify_one()).is_some()
    }

    fn leave(&mut self, id: u64) -> Option<Arc<Line>> {
        let line = self.all.remove(&id)?;
        self.crowd.leave(line.source);
        Some(line)
    }
}

type Entry<'a> = (&'a u64, &'a Arc<Line>);

/// Of the subject that has most lines, the one that was opened first.
fn oldest_of_most(lines: &[Entry<'_>]) -> Option<u64> {
    let mut of: BTreeMap<&str, Vec<Entry<'_>>> = BTreeMap::new();
    for line in lines {
        of.entry(line.1.subject.get().map_or("", String::as_str)).or_default().push(*line);
    }
    // In the order in which they came.
    let opened = |all: &Vec<Entry<'_>>| all[0].1.active_ms.load(Ordering::Relaxed);
    let most = of.into_values().max_by_key(|all| (all.len(), std::cmp::Reverse(opened(all))))?;
    most.first().map(|(id, _)| **id)
}

/// A listener and what is behind it.
pub struct Server {
    pub name: &'static str,
    pub listener: std::net::TcpListener,
    pub router: Router,
    pub cap: Cap,
    pub tls: Option<TlsAcceptor>,
    pub clock: Clock,
}

impl Server {
    /// Accepts until the process ends.
    ///
    /// # Errors
    /// When the runtime does not take the listener.
    pub fn start(self, runtime: &tokio::runtime::Handle) -> anyhow::Result<()> {
        let _guard = runtime.enter();
        let listener = TcpListener::from_std(self.listener)?;
        let limit = Limit::new(self.name, self.cap.all);
        let lines = Lines { crowd: Crowd::new(self.cap), all: BTreeMap::new(), next: 0 };
        let shared = Arc::new(Shared {
            name: self.name,
            router: self.router,
            tls: self.tls,
            clock: self.clock,
            limit,
            lines: Mutex::new(lines),
        });
        runtime.spawn(accept(listener, shared));
        Ok(())
    }
}

struct Shared {
    name: &'static str,
    router: Router,
    tls: Option<TlsAcceptor>,
    clock: Clock,
    limit: Limit,
    lines: Mutex<Lines>,
}

impl Shared {
    fn now_ms(&self) -> u64 {
        self.clock.mono().since(Mono(0)).as_millis() as u64
    }

    /// One more, if it can be.
    fn enter(&self, source: IpAddr) -> Option<(u64, Arc<Line>)> {
        let mut lines = self.lines.lock().ok()?;
        if lines.crowd.full(source).is_some() {
            metrics::counter!("gateway_http_closed_total", "listener" => self.name, "why" => "room").increment(1);
        }
        let entered = lines.let_in(source, self.now_ms())?;
        self.limit.set(lines.crowd.count());
        Some(entered)
    }

    fn leave(&self, id: u64) {
        let Ok(mut lines) = self.lines.lock() else { return };
        if lines.leave(id).is_some() {
            self.limit.set(lines.crowd.count());
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: those who are there go on, and leave.
                tracing::warn!(listener = shared.name, %error, "GW-1102 a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some((id, line)) = shared.enter(remote.ip()) else { continue };
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD));
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            match &shared.tls {
                None => serve(&shared, &line, remote, stream).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(WITHIN, tls.accept(stream)).await {
                        serve(&shared, &line, remote, stream).await;
                    }
                }
            }
            while line.stays.load(Ordering::Relaxed) > 0 {
                line.left.notified().await;
            }
            shared.leave(id);
        });
    }
}

async fn serve<S>(shared: &Shared, line: &Arc<Line>, remote: SocketAddr, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = |request: Request<Incoming>| {
        let (mut router, line, now_ms) = (shared.router.clone(), Arc::clone(line), shared.now_ms());
        line.active_ms.store(now_ms, Ordering::Relaxed);
        line.asked.store(true, Ordering::Relaxed);
        let busy = Busy::new(&line, shared.clock);
        let known = Arc::clone(&line);
        let mut request = request.map(|body| Body::new(TimedBody::new(body, known)));
        request.extensions_mut().insert(line);
        request.extensions_mut().insert(axum::extract::ConnectInfo(remote));
        async move {
            let response = match head_len(&request) {
                // The parser's own bound is only looked at when it has to read on.
                len if len > HEAD_MAX => {
                    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, [(header::CONNECTION, "close")]).into_response()
                }
                _ => {
                    let Ok(response) = tower_service::Service::call(&mut router, request).await;
                    response
                }
            };
            Ok::<_, Infallible>(response.map(|body| Body::new(Held { body, _busy: busy })))
        }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(WITHIN)
        // Whoever has said all that they had to say is answered all the same.
        .half_close(true)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .with_upgrades();
    tokio::select! {
        _ = connection => {}
        () = line.close.notified() => {}
    }
}

/// About as many octets as the head had.
fn head_len(request: &Request<Body>) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    headers.sum::<usize>() + request.uri().path_and_query().map_or(0, |p| p.as_str().len())
}

/// A request that is being answered, until its last octet.
struct Busy {
    line: Arc<Line>,
    clock: Clock,
}

impl Busy {
    fn new(line: &Arc<Line>, clock: Clock) -> Busy {
        line.busy.fetch_add(1, Ordering::Relaxed);
        Busy { line: Arc::clone(line), clock }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.line.busy.fetch_sub(1, Ordering::Relaxed);
        let now_ms = self.clock.mono().since(Mono(0)).as_millis() as u64;
        self.line.active_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// An answer's body, which keeps its connection busy.
struct Held {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's body that has to come.
struct TimedBody {
    body: Incoming,
    line: Arc<Line>,
    octets: u64,
    /// So long it has been waited for.
    waited: Duration,
    due: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// A body that does not keep up.
#[derive(Debug)]
pub struct TooSlow;

impl std::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the body does not keep up")
    }
}

impl std::error::Error for TooSlow {}

impl TimedBody {
    fn new(body: Incoming, line: Arc<Line>) -> TimedBody {
        TimedBody { body, line, octets: 0, waited: Duration::ZERO, due: None }
    }

    /// Whether so much may have taken so long.
    fn keeps_up(&self) -> bool {
        self.line.is_known() && self.octets >= BODY_RATE * self.waited.as_secs()
    }
}

impl hyper::body::Body for TimedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame {
                this.octets += frame.data_ref().map_or(0, |d| d.len() as u64);
            }
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        loop {
            let due = this.due.get_or_insert_with(|| Box::pin(tokio::time::sleep(WITHIN)));
            if due.poll_unpin(cx).is_pending() {
                return Poll::Pending;
            }
            this.waited += WITHIN;
            if !this.keeps_up() {
                return Poll::Ready(Some(Err(Box::new(TooSlow))));
            }
            this.due = None;
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(source: [u8; 4], active_ms: u64, busy: usize, subject: Option<&str>) -> Arc<Line> {
        let line = Line::new(source.into(), active_ms);
        line.asked.store(true, Ordering::Relaxed);
        line.busy.store(busy, Ordering::Relaxed);
        if let Some(subject) = subject {
            line.belongs_to(subject);
        }
        Arc::new(line)
    }

    /// A request's head has come, and with it a token.
    fn says(line: &Line, subject: &str) {
        line.asked.store(true, Ordering::Relaxed);
        line.busy.store(1, Ordering::Relaxed);
        line.belongs_to(subject);
    }

    #[test]
    fn silent_strangers_make_room_first_and_whoever_is_known_and_at_something_last() {
        let (a, b) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let cap = Cap { all: 8, share: 4, whole: Vec::new() };
        let mut lines = Lines { crowd: Crowd::new(cap), all: BTreeMap::new(), next: 0 };
        let all = [
            line(a, 10, 1, Some("seat")),
            line(a, 20, 0, Some("seat")),
            line(a, 30, 1, None),
            line(a, 40, 0, None),
            line(a, 50, 0, None),
            line(b, 5, 0, None),
        ];
        lines.all.extend((0u64..).zip(all));
        let mut gone = Vec::new();
        while let Some(victim) = lines.victim(a.into(), Full::Source, 100) {
            gone.extend(lines.all.remove(&victim).map(|l| l.active_ms.load(Ordering::Relaxed)));
        }
        assert_eq!(gone, [40, 50, 30, 20, 10]);
        assert_eq!(lines.victim(a.into(), Full::All, 100), Some(5), "with the listener full anybody makes room");
    }

    #[test]
    fn however_many_citizens_come_no_call_taker_makes_room_for_them() {
        let a = [192, 0, 2, 1];
        let cap = Cap { all: 4, share: 4, whole: Vec::new() };
        let mut lines = Lines { crowd: Crowd::new(cap), all: BTreeMap::new(), next: 0 };
        let all = [
            line(a, 5, 1, Some("seat:1101")),
            line(a, 10, 1, Some("citizen:dev-1")),
            line(a, 20, 1, Some("citizen:dev-2")),
            line(a, 30, 1, Some("citizen:dev-3")),
        ];
        lines.all.extend((0u64..).zip(all));
        let gone: Vec<u64> = std::iter::from_fn(|| {
            let victim = lines.victim(a.into(), Full::All, 100)?;
            lines.all.remove(&victim).map(|_| victim)
        })
        .collect();
        assert_eq!(gone, [1, 2, 3, 0]);
    }

    #[test]
    fn whoever_has_just_come_is_heard_however_fast_others_come_and_say_nothing() {
        let (others, taker) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let cap = Cap { all: 20, share: 20, whole: Vec::new() };
        let mut lines = Lines { crowd: Crowd::new(cap), all: BTreeMap::new(), next: 0 };
        let (stream, line) = lines.let_in(taker.into(), 0).expect("let in");
        says(&line, "seat:1101");
        for n in 0..19 {
            let (_, line) = lines.let_in(others.into(), 0).expect("let in");
            says(&line, &format!("citizen:dev-{n}"));
        }
        // A hundred a second; each tenth of a second a taker comes among them, and is heard a round trip later.
        let mut waiting: Vec<(u64, u64, Arc<Line>)> = Vec::new();
        for now_ms in (0..10_000).step_by(10) {
            lines.let_in(others.into(), now_ms).expect("let in");
            if now_ms % 100 == 0 {
                let (id, line) = lines.let_in(taker.into(), now_ms).expect("let in");
                waiting.push((now_ms + 50, id, line));
            }
            if let Some((_, id, line)) = waiting.pop_if(|(heard_at, ..)| *heard_at <= now_ms) {
                assert!(lines.all.contains_key(&id), "made room before they were heard");
                says(&line, "seat:1102");
                lines.leave(id);
            }
            let is_citizen = |l: &&Arc<Line>| l.subject.get().is_some_and(|s| s.starts_with("citizen:"));
            let citizens = lines.all.values().filter(is_citizen).count();
            assert!(lines.crowd.count() <= 20 && citizens >= 8, "newcomers have half of the places at most");
        }
        assert!(lines.all.contains_key(&stream));
        // Whoever has said nothing until then is the first to go.
        let victim = lines.victim(others.into(), Full::All, 10_000 + GRACE_MS).expect("somebody");
        assert!(!lines.all[&victim].asked.load(Ordering::Relaxed));
    }

    #[test]
    fn one_subject_s_streams_never_keep_another_out() {
        let a = [192, 0, 2, 1];
        let cap = Cap { all: 4, share: 4, whole: Vec::new() };
        let mut lines = Lines { crowd: Crowd::new(cap), all: BTreeMap::new(), next: 0 };
        let all =
            [line(a, 5, 1, Some("b")), line(a, 10, 1, Some("a")), line(a, 20, 1, Some("a")), line(a, 30, 1, Some("a"))];
        lines.all.extend((0u64..).zip(all));
        assert_eq!(lines.victim(a.into(), Full::All, 100), Some(1), "their own oldest");
    }

    #[test]
    fn however_fast_they_come_each_newcomer_costs_another_their_place() {
        let a = [192, 0, 2, 1];
        let cap = Cap { all: 4, share: 4, whole: Vec::new() };
        let mut lines = Lines { crowd: Crowd::new(cap), all: BTreeMap::new(), next: 0 };
        let first: Vec<_> = (0..4).map(|n| line(a, n, 0, None)).collect();
        for (id, line) in (0u64..).zip(&first) {
            lines.crowd.enter(line.source);
            lines.all.insert(id, Arc::clone(line));
        }
        assert!((0..3).all(|_| lines.make_room(a.into(), Full::All, 100)));
        // No task has run meanwhile: three have been told to go, and nobody twice.
        assert_eq!((lines.crowd.count(), lines.all.keys().copied().collect::<Vec<_>>()), (1, vec![3]));
        let told = first.iter().filter(|l| l.close.notified().now_or_never().is_some()).count();
        assert_eq!(told, 3);
    }
}
