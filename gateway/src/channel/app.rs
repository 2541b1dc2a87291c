//! The app channel's device: the task in which all sessions live, between the sockets of apps and the casebook.

use std::collections::HashMap;
use std::time::Duration;

use app::{Close, Config, ConnId, Fate, Line, Output, Sessions, Stored, Ticket};
use codecs::chat::SharedLocation;
use codecs::chat::app::{Approach, LineKind, Report, Told};
use codecs::record::{Address, AlertNo, Form, LineState};
use codecs::sip::auth::hex;
use codecs::time::Mono;
use switchboard::{Approaching, Body, Incoming, Outbound, RequestId, ToCasebook};
use tokio::sync::mpsc;

use super::{Shared, ToChannel};
use crate::clock::random;

/// Frames of all apps that wait for the sessions' task; whoever brings one more waits.
const INLET: usize = 1024;
/// What may wait for one app's socket; one that takes nothing for so long has lost its connection, and goes on later.
const DOOR: usize = 64;

/// What the sessions' task hears of sockets.
pub enum FromApp {
    Open {
        conn: ConnId,
        user: String,
        door: mpsc::Sender<ToApp>,
    },
    Frame {
        conn: ConnId,
        text: String,
    },
    /// A ping of the socket's own.
    Alive {
        conn: ConnId,
    },
    Gone {
        conn: ConnId,
    },
    Stored {
        ticket: Ticket,
        stored: Stored,
    },
}

/// What a socket's task hears.
pub enum ToApp {
    /// Frames, in their order: all that it is owed may come at once.
    Texts(Vec<String>),
    Close(Close),
    /// Into the casebook with it; what becomes of it is told as `Stored`.
    Report {
        ticket: Ticket,
        incoming: Box<Incoming>,
    },
}

/// Where apps come in.
#[derive(Clone)]
pub struct Door {
    inlet: mpsc::Sender<FromApp>,
}

impl Door {
    /// Somebody who has proven to be `user` has opened a socket.
    pub async fn enter(&self, user: String) -> (ConnId, mpsc::Receiver<ToApp>) {
        let conn = ConnId(u64::from_le_bytes(random()));
        let (door, told) = mpsc::channel(DOOR);
        self.tell(FromApp::Open { conn, user, door }).await;
        (conn, told)
    }

    pub async fn tell(&self, what: FromApp) {
        let _ = self.inlet.send(what).await;
    }
}

pub(super) fn open(
    name: &str,
    shared: Shared,
    inbox: mpsc::UnboundedReceiver<ToChannel>,
    runtime: &tokio::runtime::Runtime,
) -> Door {
    let (inlet, apps) = mpsc::channel(INLET);
    let task = Task {
        name: name.to_owned(),
        shared,
        sessions: Sessions::new(Config::default()),
        doors: HashMap::new(),
        waiting: HashMap::new(),
        left: false,
    };
    runtime.spawn(task.run(inbox, apps));
    Door { inlet }
}

struct Task {
    name: String,
    shared: Shared,
    sessions: Sessions,
    doors: HashMap<ConnId, mpsc::Sender<ToApp>>,
    /// Lines that no app has yet.
    waiting: HashMap<String, Box<Outbound>>,
    left: bool,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<ToChannel>, mut apps: mpsc::Receiver<FromApp>) {
        let open = metrics::gauge!("gateway_app_connections");
        while !self.left {
            let now = self.now();
            let patience = self.sessions.poll_timeout().map_or(Duration::from_secs(60), |(at, _)| at.since(now));
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.hears(message),
                    None => return,
                },
                Some(from) = apps.recv() => self.comes(from),
                () = tokio::time::sleep(patience) => self.sessions.handle_timeout(self.now()),
            }
            self.drain();
            open.set(self.sessions.connections() as f64);
        }
    }

    fn now(&self) -> Mono {
        self.shared.clock.mono()
    }

    fn hears(&mut self, message: ToChannel) {
        match message {
            ToChannel::Outbound(outbound) => self.line(outbound),
            ToChannel::Approach { user, no, news } => {
                let (state, distance_m, eta_s) = match news {
                    Approaching::Coming { metres, eta } => (Approach::EnRoute, Some(metres), Some(eta.as_secs())),
                    Approaching::There { .. } => (Approach::Arrived, None, None),
                };
                let told = Told::Officer { alert_no: no.as_str(), state, distance_m, eta_s };
                self.sessions.handle_passing(&user, &told);
            }
            ToChannel::Acknowledge { .. } | ToChannel::Fetch(_) | ToChannel::Withdraw(_) => {}
            ToChannel::Leave => self.left = true,
        }
    }

    fn line(&mut self, outbound: Box<Outbound>) {
        let kind = match (outbound.is_receipt, outbound.notice) {
            (true, _) => LineKind::Receipt,
            (_, true) => LineKind::Notice,
            _ => LineKind::Message,
        };
        let alert_no = outbound.line.get(..30).filter(|no| AlertNo::parse(no).is_some()).unwrap_or_default();
        let line = Line {
            name: outbound.line.clone(),
            alert_no: alert_no.to_owned(),
            text: outbound.body.clone(),
            kind,
            reached_by: None,
        };
        self.sessions.handle_line(self.now(), &outbound.to.user, line);
        self.waiting.insert(outbound.line.clone(), outbound);
    }

    fn comes(&mut self, from: FromApp) {
        let now = self.now();
        match from {
            FromApp::Open { conn, user, door } => {
                self.doors.insert(conn, door);
                self.sessions.handle_open(now, conn, user, hex(&random::<16>()));
            }
            FromApp::Frame { conn, text } => self.sessions.handle_frame(now, conn, &text),
            FromApp::Alive { conn } => self.sessions.handle_sign_of_life(now, conn),
            FromApp::Gone { conn } => self.gone(conn),
            FromApp::Stored { ticket, stored } => self.sessions.handle_stored(ticket, &stored),
        }
    }

    fn gone(&mut self, conn: ConnId) {
        self.doors.remove(&conn);
        self.sessions.handle_gone(self.now(), conn);
    }

    fn drain(&mut self) {
        while let Some(output) = self.sessions.poll_output() {
            match output {
                Output::Send { conn, frame } => {
                    let mut frames = vec![frame];
                    frames.extend(std::iter::from_fn(|| self.sessions.poll_frame_to(conn)));
                    self.hand(conn, ToApp::Texts(frames));
                }
                Output::Close { conn, why } => {
                    self.hand(conn, ToApp::Close(why));
                    self.doors.remove(&conn);
                }
                Output::Report { ticket, conn, user, id, report } => {
                    let incoming = Box::new(incoming(&self.name, user, id, report));
                    self.hand(conn, ToApp::Report { ticket, incoming });
                }
                Output::Position { user, location } => self.position(user, location),
                Output::Line { name, fate } => {
                    let (state, why) = match fate {
                        Fate::Delivered => (LineState::Delivered, ""),
                        Fate::Unreached => (LineState::Failed, "the app is not connected"),
                    };
                    if let Some(outbound) = self.waiting.remove(&name).filter(|_| state == LineState::Delivered) {
                        self.shared.taken(&outbound);
                    }
                    self.shared.line_state(&name, state, why);
                }
            }
        }
    }

    /// To a socket's task, which is not waited for.
    fn hand(&mut self, conn: ConnId, what: ToApp) {
        let ticket = if let ToApp::Report { ticket, .. } = &what { Some(*ticket) } else { None };
        if self.doors.get(&conn).is_some_and(|door| door.try_send(what).is_ok()) {
            return;
        }
        metrics::counter!("gateway_app_dropped_total", "why" => "slow").increment(1);
        if let Some(ticket) = ticket {
            let busy = Stored::Refused(codecs::chat::app::Code::Busy, "the connection was lost");
            self.sessions.handle_stored(ticket, &busy);
        }
        self.gone(conn);
    }

    fn position(&self, user: String, location: SharedLocation) {
        let message = Incoming { location: Some(location), is_ping: true, ..empty(&self.name, user) };
        let (at, request) = (self.shared.clock.wall(), RequestId::default());
        self.shared.tell(ToCasebook::Incoming { at, message: Box::new(message), request });
    }
}

fn empty(channel: &str, user: String) -> Incoming {
    Incoming {
        from: Address { channel: channel.to_owned(), user },
        message_id: String::new(),
        session: None,
        to: channel.to_owned(),
        body: Body::Text(String::new()),
        forms: Vec::new(),
        attachments: Vec::new(),
        location: None,
        phone: None,
        silent: false,
        is_ping: false,
        case: None,
    }
}

/// The same id of the same app is the same message, over starts too.
fn incoming(channel: &str, user: String, id: String, report: Report) -> Incoming {
    let mut forms = Vec::new();
    if !report.text.is_empty() {
        forms.push(Form::Text);
    }
    if report.location.is_some() {
        forms.push(Form::Location);
    }
    let message_id = format!("{user}/{id}");
    Incoming {
        message_id,
        body: Body::Text(report.text),
        forms,
        location: report.location,
        phone: report.phone,
        silent: report.silent,
        ..empty(channel, user)
    }
}
