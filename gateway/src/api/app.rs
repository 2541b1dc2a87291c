//! `/v1/app`: apps over WebSocket, and a token for an app whose user has no log-in.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::app::{Close, ConnId, Stored, Ticket};
use axum::body::Bytes;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use codecs::chat::app::{Code, FRAME_MAX};
use codecs::sip::auth::hex;
use codecs::time::Mono;
use quick_cache::unsync::Cache;
use serde_json::json;
use switchboard::Incoming;
use tokio::sync::mpsc;

use super::signed::{self, Holder};
use super::who::{Principal, Role, Standing};
use super::{Api, Problem, hook};
use crate::channel::app::{Door, FromApp, ToApp};
use crate::clock::random;
use crate::net::http::{Line, Stay};

/// How long an app's token lasts; its app asks for another one then, and is somebody else.
const TOKEN_S: i64 = 30 * 24 * 3600;
/// New tokens of one source: at once, and one more each.
const TOKENS_AT_ONCE: u64 = 60;
const TOKEN_EACH: Duration = Duration::from_secs(1);
const SOURCES_MAX: usize = 10_000;
/// What a browser takes as protocol.
const PROTOCOL: &str = "gw1";
/// A socket that takes nothing for so long is lost.
const TAKES_WITHIN: Duration = Duration::from_secs(10);
/// How often a token is looked at again: one that was revoked or is at its end closes its socket.
const STANDS: Duration = Duration::from_secs(5);

/// Sources that asked for tokens: how many, as a bucket that empties with time.
pub struct Newcomers(Mutex<Cache<IpAddr, (u64, Mono)>>);

impl Default for Newcomers {
    fn default() -> Newcomers {
        Newcomers(Mutex::new(Cache::new(SOURCES_MAX)))
    }
}

impl Newcomers {
    /// Whether one more of this source may come.
    fn take(&self, source: IpAddr, now: Mono) -> bool {
        let Ok(mut sources) = self.0.lock() else { return false };
        let (full, since) = sources.get(&source).copied().unwrap_or((0, now));
        let left = now.since(since).as_secs() / TOKEN_EACH.as_secs();
        let (full, since) = if left > 0 { (full.saturating_sub(left), now) } else { (full, since) };
        let is_room = full < TOKENS_AT_ONCE;
        sources.insert(source, (full + u64::from(is_room), since));
        is_room
    }
}

/// A token for a device of somebody who has no log-in.
pub(super) async fn device(State(api): State<Api>, line: Option<Extension<Arc<Line>>>) -> Result<Response, Problem> {
    let source = line.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(line)| line.source.to_canonical());
    if !source.is_loopback() && !api.newcomers.take(source, api.clock.mono()) {
        metrics::counter!("gateway_api_refused_total", "why" => "rate").increment(1);
        let problem =
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "GW-4429", "many new devices from here; call 110, or wait");
        return Ok(([(header::RETRY_AFTER, "1")], problem).into_response());
    }
    let (device, expires) = (format!("dev-{}", hex(&random::<16>())), api.now_s() + TOKEN_S);
    let Some(token) = signed::make(&api.installation, &Holder::of(Role::Citizen.text(), &device), expires) else {
        let what = "the disk has not said yet what this installation signs with; try again";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "GW-3101", what));
    };
    let body = json!({"token": token, "device": device, "expires": expires});
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}

#[derive(serde::Deserialize)]
pub(super) struct Asked {
    /// The channel, where there are several of kind `app`.
    channel: Option<String>,
}

/// The socket of an app. Who it is was proven before the upgrade.
pub(super) async fn open(
    State(api): State<Api>,
    Extension(who): Extension<Principal>,
    line: Option<Extension<Arc<Line>>>,
    Query(asked): Query<Asked>,
    headers: axum::http::HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let Some(door) = api.channels.app(asked.channel.as_deref()).cloned() else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such channel of kind app"));
    };
    let upgrade =
        upgrade.map_err(|why| Problem::new(StatusCode::UPGRADE_REQUIRED, "GW-4400", format!("a WebSocket: {why}")))?;
    let stay = line.map(|Extension(line)| line.goes_on());
    let standing = Standing::of(&api, &headers);
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * FRAME_MAX)
        .max_message_size(FRAME_MAX)
        .max_frame_size(FRAME_MAX);
    Ok(upgrade.on_upgrade(async move |socket| {
        let (conn, told) = door.enter(who.subject).await;
        Talk { conn, socket, door, api, standing, stay }.run(told).await;
    }))
}

/// One app's socket.
struct Talk {
    conn: ConnId,
    socket: WebSocket,
    door: Door,
    api: Api,
    standing: Standing,
    stay: Option<Stay>,
}

impl Talk {
    async fn run(mut self, mut told: mpsc::Receiver<ToApp>) {
        while self.turn(&mut told).await {}
        // What it was handed and had not seen to is kept all the same.
        told.close();
        while let Some(what) = told.recv().await {
            if let ToApp::Report { ticket, incoming } = what {
                self.keep(ticket, incoming);
            }
        }
        self.door.tell(FromApp::Gone { conn: self.conn }).await;
    }

    /// `false`: it is over.
    async fn turn(&mut self, told: &mut mpsc::Receiver<ToApp>) -> bool {
        let conn = self.conn;
        let make_room = async {
            match &self.stay {
                Some(stay) => stay.told_to_go().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            said = self.socket.recv() => match said {
                Some(Ok(Message::Text(text))) => {
                    self.door.tell(FromApp::Frame { conn, text: text.as_str().to_owned() }).await;
                    self.stands().await
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                    self.door.tell(FromApp::Alive { conn }).await;
                    self.stands().await
                }
                Some(Ok(Message::Binary(_))) => self.close(1003, "frames are text").await,
                Some(Ok(Message::Close(_))) | None => false,
                Some(Err(error)) => {
                    let is_long = error.to_string().contains("too long");
                    let (code, why) = if is_long { (1009, "a frame has at most 64 KiB") } else { (1002, "no WebSocket") };
                    self.close(code, why).await
                }
            },
            what = told.recv() => self.hears(what).await && self.stands().await,
            () = make_room => self.close(4013, "others need the room; come back").await,
            // A page in the background says nothing by itself for a minute; its browser answers this.
            () = tokio::time::sleep(STANDS) => self.stands().await && self.send(Message::Ping(Bytes::new())).await,
        }
    }

    /// Whether the token still counts.
    async fn stands(&mut self) -> bool {
        self.standing.holds() || self.close(4001, "the token is at its end").await
    }

    /// It is kept whether or not the socket lives as long.
    fn keep(&self, ticket: Ticket, incoming: Box<Incoming>) {
        let (api, door) = (self.api.clone(), self.door.clone());
        tokio::spawn(async move {
            let stored = match hook::report(&api, *incoming).await {
                Ok(no) => Stored::Kept(no),
                Err(problem) if problem.status == StatusCode::TOO_MANY_REQUESTS => {
                    Stored::Refused(Code::Quota, "as much was kept of you today as may be; call 110")
                }
                Err(_) => Stored::Refused(Code::Busy, "it cannot be kept now; say it again"),
            };
            door.tell(FromApp::Stored { ticket, stored }).await;
        });
    }

    async fn hears(&mut self, what: Option<ToApp>) -> bool {
        match what {
            Some(ToApp::Texts(frames)) => {
                for frame in frames {
                    if !self.send(Message::Text(frame.into())).await {
                        return false;
                    }
                }
                true
            }
            Some(ToApp::Close(why)) => self.close(Close::code(why), Close::text(why)).await,
            Some(ToApp::Report { ticket, incoming }) => {
                self.keep(ticket, incoming);
                true
            }
            // It was slow, and comes back where it was.
            None => self.close(4013, "too slow; come back").await,
        }
    }

    async fn send(&mut self, message: Message) -> bool {
        matches!(tokio::time::timeout(TAKES_WITHIN, self.socket.send(message)).await, Ok(Ok(())))
    }

    /// Says why, and that it is over.
    async fn close(&mut self, code: u16, why: &'static str) -> bool {
        self.send(Message::Close(Some(CloseFrame { code, reason: why.into() }))).await;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_devices_of_one_source_are_counted_and_nobody_elses_with_them() {
        let newcomers = Newcomers::default();
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let at = |s: u64| Mono(0) + Duration::from_secs(s);
        assert_eq!((0..100).filter(|_| newcomers.take(a, at(1))).count(), 60);
        assert!(newcomers.take(b, at(1)));
        assert_eq!((0..100).filter(|_| newcomers.take(a, at(6))).count(), 5);
        assert_eq!((0..100).filter(|_| newcomers.take(a, at(1000))).count(), 60);
    }
}
