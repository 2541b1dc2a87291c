//! A carrier's links on their sockets. Every decision is `sms::Carrier`'s.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use codecs::record::{Address, Form, LineState};
use codecs::time::Mono;
use sms::{Carrier, Fate, Line, LinkId, Output, Token, Verdict};
use switchboard::{Body, Incoming, Outbound, RequestId, ToCasebook};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::{CarrierDevice, Shared, ToChannel};

const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// Bytes read at one time, and reads that wait for the task.
const READ: usize = 64 * 1024;
const READS: usize = 32;
/// Inputs taken before what came of them is written.
const BATCH: usize = 512;

/// What a socket says. The number tells connections of one link apart.
enum News {
    Connected(LinkId, u64, TcpStream),
    Accepted(TcpStream, IpAddr),
    Bytes(LinkId, u64, Vec<u8>),
    Closed(LinkId, u64),
}

/// What a peer may leave unread: whoever does not read is left.
const BACKLOG_MAX: usize = 256 * 1024;

struct Socket {
    half: OwnedWriteHalf,
    /// What the peer has not read yet.
    backlog: Vec<u8>,
    reader: tokio::task::AbortHandle,
}

impl Drop for Socket {
    /// The reader holds the connection too; a peer that is left would keep it open for as long as it likes.
    fn drop(&mut self) {
        self.reader.abort();
    }
}

pub(super) struct Task {
    number: u16,
    name: String,
    carrier: Carrier,
    connect: SocketAddr,
    protocol: &'static str,
    shared: Shared,
    inbox: mpsc::UnboundedReceiver<ToChannel>,
    sockets: BTreeMap<u32, Socket>,
    /// The connection that a link is on, or tries for.
    connections: BTreeMap<u32, u64>,
    next_connection: u64,
    tokens: HashMap<u64, Token>,
    next_token: u64,
    lines: HashMap<u64, Outbound>,
    next_line: u64,
    news: mpsc::Receiver<News>,
    reporter: mpsc::Sender<News>,
    published: Mono,
    /// When the end of a link was last told, and how many were not since.
    told_closed: Mono,
    untold: u64,
    /// For the casebook, after this turn.
    outbox: Vec<ToCasebook>,
}

impl Task {
    pub(super) fn new(
        number: u16,
        name: &str,
        device: &CarrierDevice,
        shared: Shared,
        inbox: mpsc::UnboundedReceiver<ToChannel>,
    ) -> Task {
        let (reporter, news) = mpsc::channel(READS);
        let now = shared.clock.mono();
        Task {
            number,
            name: name.to_owned(),
            protocol: device.config.protocol.name(),
            carrier: Carrier::new(device.config.clone(), now),
            connect: device.connect,
            shared,
            inbox,
            sockets: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            tokens: HashMap::new(),
            next_token: 0,
            lines: HashMap::new(),
            next_line: 0,
            news,
            reporter,
            published: now,
            told_closed: Mono(0),
            untold: 0,
            outbox: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, listen: Option<std::net::TcpListener>) {
        if let Some(listener) = listen {
            tokio::spawn(accept(listener, self.reporter.clone()));
        }
        loop {
            self.carry_out();
            let now = self.shared.clock.mono();
            let wake = self.carrier.poll_timeout().map_or(Duration::from_secs(3600), |(at, _)| at.since(now));
            // While a link has too much unacknowledged, nothing more is read from any: the disk comes first.
            let may_read = self.sockets.keys().all(|l| self.carrier.wants_bytes(LinkId(*l)));
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(ToChannel::Leave) | None => return self.leave().await,
                    Some(message) => self.hear(message),
                },
                Some(news) = self.news.recv(), if may_read => self.learn(news),
                () = tokio::time::sleep(wake) => {
                    let (now, wall) = (self.shared.clock.mono(), self.shared.clock.wall());
                    self.carrier.handle_timeout(now, wall);
                }
                link = writable(&self.sockets) => self.flush_backlog(link),
            }
            // Whatever has gathered meanwhile is taken before anything is written.
            for _ in 0..BATCH {
                if let Ok(message) = self.inbox.try_recv() {
                    if matches!(message, ToChannel::Leave) {
                        return self.leave().await;
                    }
                    self.hear(message);
                } else {
                    break;
                }
            }
            self.publish();
        }
    }

    async fn leave(&mut self) {
        let (now, wall) = (self.shared.clock.mono(), self.shared.clock.wall());
        self.carrier.leave(now, wall);
        self.carry_out();
        for socket in self.sockets.values_mut() {
            let _ = tokio::time::timeout(Duration::from_millis(100), socket.half.writable()).await;
        }
    }

    fn hear(&mut self, message: ToChannel) {
        let (now, wall) = (self.shared.clock.mono(), self.shared.clock.wall());
        match message {
            ToChannel::Outbound(outbound) if self.shared.withdrawn.has(&outbound.line) => {}
            ToChannel::Outbound(outbound) => {
                self.next_line += 1;
                let line = Line {
                    id: self.next_line,
                    to: outbound.to.user.clone(),
                    text: outbound.body.clone(),
                    urgent: outbound.urgent,
                    notice: outbound.notice,
                };
                self.lines.insert(line.id, *outbound);
                self.carrier.submit(now, wall, &line);
            }
            ToChannel::Acknowledge { number, durable } => {
                let Some(token) = self.tokens.remove(&number) else { return };
                self.carrier.acknowledge(token, if durable { Verdict::Accepted } else { Verdict::Busy });
            }
            ToChannel::Withdraw(name) => {
                let named = self.lines.iter().find(|(_, line)| line.line == name).map(|(id, _)| *id);
                if named.is_some_and(|id| self.carrier.withdraw(id)) {
                    named.map(|id| self.lines.remove(&id));
                }
            }
            ToChannel::Approach { .. } | ToChannel::Fetch(_) | ToChannel::Leave => {}
        }
    }

    fn learn(&mut self, news: News) {
        let (now, wall) = (self.shared.clock.mono(), self.shared.clock.wall());
        match news {
            News::Connected(link, connection, stream) => {
                if self.connections.get(&link.0) == Some(&connection) {
                    self.adopt(link, connection, stream);
                    self.carrier.handle_connected(now, wall, link);
                }
            }
            News::Accepted(stream, from) => {
                let link = self.carrier.accept(now, from);
                self.next_connection += 1;
                self.connections.insert(link.0, self.next_connection);
                self.adopt(link, self.next_connection, stream);
            }
            News::Bytes(link, connection, bytes) => {
                if self.connections.get(&link.0) == Some(&connection) {
                    self.carrier.handle_bytes(now, wall, link, &bytes);
                }
            }
            News::Closed(link, connection) => {
                if self.connections.get(&link.0) == Some(&connection) {
                    self.connections.remove(&link.0);
                    self.sockets.remove(&link.0);
                    self.carrier.handle_closed(now, link);
                }
            }
        }
    }

    fn adopt(&mut self, link: LinkId, connection: u64, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (read, half) = stream.into_split();
        let reader = tokio::spawn(read_from(link, connection, read, self.reporter.clone())).abort_handle();
        self.sockets.insert(link.0, Socket { half, backlog: Vec::new(), reader });
    }

    fn carry_out(&mut self) {
        loop {
            if let Some(output) = self.carrier.poll_output() {
                self.output(output);
            } else if let Some((link, bytes)) = self.carrier.poll_transmit() {
                self.write(link, &bytes);
            } else {
                if !self.outbox.is_empty() {
                    self.shared.tell_all(std::mem::take(&mut self.outbox));
                }
                return;
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Connect(link) => {
                self.next_connection += 1;
                self.connections.insert(link.0, self.next_connection);
                tokio::spawn(dial(link, self.next_connection, self.connect, self.reporter.clone()));
            }
            Output::Close(link, why, last) => {
                self.tell_closed(link, why);
                self.write(link, &last);
                self.sockets.remove(&link.0);
                self.connections.remove(&link.0);
            }
            Output::Deliver(token, delivery) => self.deliver(token, *delivery),
            Output::Verdict { line, verdict } => {
                let Some(outbound) = self.lines.get(&line) else { return };
                match verdict {
                    Verdict::Accepted => {
                        self.shared.taken(outbound);
                        self.outbox.push(self.shared.state_of(&outbound.line, LineState::Sent, ""));
                    }
                    Verdict::Refused(code) => {
                        let why = if code == u32::MAX { "no answer".into() } else { format!("carrier result {code}") };
                        self.outbox.push(self.shared.state_of(&outbound.line, LineState::Failed, &why));
                        self.lines.remove(&line);
                    }
                    Verdict::Busy => {}
                }
                // Kept for its state report, within bounds: two days of a city.
                if self.lines.len() > 200_000 {
                    self.lines.retain(|id, _| *id + 100_000 > self.next_line);
                }
            }
            Output::Fate { line, fate } => {
                if let Some(outbound) = self.lines.remove(&line) {
                    let message = match fate {
                        Fate::Delivered => self.shared.state_of(&outbound.line, LineState::Delivered, ""),
                        Fate::Failed(why) => self.shared.state_of(&outbound.line, LineState::Failed, &why),
                    };
                    self.outbox.push(message);
                }
            }
            Output::Up(link, up) => {
                tracing::info!(channel = %self.name, link = link.0, up, "a carrier's link changed");
                let links = self.carrier.links_up() as f64;
                metrics::gauge!("gateway_sms_links", "channel" => self.name.clone()).set(links);
            }
        }
    }

    fn deliver(&mut self, token: Token, d: sms::Delivery) {
        let session = d.is_named_by_content.then(|| self.shared.started ^ token.session());
        self.next_token += 1;
        self.tokens.insert(self.next_token, token);
        if d.lying_header {
            metrics::counter!("gateway_text_odd_total", "channel" => self.name.clone(), "what" => "user_data_header")
                .increment(1);
        }
        let message = Incoming {
            from: Address { channel: self.name.clone(), user: d.from },
            message_id: d.message_id,
            session,
            to: d.to,
            body: Body::Octets { alphabet: d.alphabet, octets: d.octets, segment: d.segment },
            forms: vec![Form::Text],
            attachments: Vec::new(),
            location: None,
            // A pseudonym is answered like a number and is none.
            phone: d.pseudonym.then(String::new),
            silent: false,
            is_ping: false,
            case: None,
        };
        let request = RequestId::of_delivery(self.number, self.next_token);
        let at = self.shared.clock.wall();
        self.outbox.push(ToCasebook::Incoming { at, message: Box::new(message), request });
    }

    fn write(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(socket) = self.sockets.get_mut(&link.0) else { return };
        if socket.backlog.is_empty() {
            match socket.half.try_write(bytes) {
                Ok(written) if written == bytes.len() => {}
                Ok(written) => socket.backlog.extend_from_slice(&bytes[written..]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    socket.backlog.extend_from_slice(bytes);
                }
                // The reader sees the end too, and tells.
                Err(_) => {}
            }
        } else {
            socket.backlog.extend_from_slice(bytes);
        }
        if socket.backlog.len() > BACKLOG_MAX {
            self.tell_closed(link, "its peer does not read");
            self.sockets.remove(&link.0);
            self.connections.remove(&link.0);
            self.carrier.handle_closed(self.shared.clock.mono(), link);
        }
    }

    /// Once a second: whoever connects and is closed as fast as they can fills no log.
    fn tell_closed(&mut self, link: LinkId, why: &str) {
        let now = self.shared.clock.mono();
        if now.since(self.told_closed) < Duration::from_secs(1) && self.told_closed != Mono(0) {
            return self.untold += 1;
        }
        let others = std::mem::take(&mut self.untold);
        self.told_closed = now;
        tracing::warn!(channel = %self.name, link = link.0, why, others, "GW-2201 a carrier's link is closed");
    }

    fn flush_backlog(&mut self, link: u32) {
        let Some(socket) = self.sockets.get_mut(&link) else { return };
        match socket.half.try_write(&socket.backlog) {
            Ok(written) => {
                socket.backlog.drain(..written);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => socket.backlog.clear(),
        }
    }

    fn publish(&mut self) {
        let now = self.shared.clock.mono();
        if now.since(self.published) < Duration::from_secs(1) {
            return;
        }
        self.published = now;
        let c = self.carrier.counters;
        for (what, value) in [
            ("delivered", c.delivered),
            ("submitted", c.submitted),
            ("reports", c.reports),
            ("malformed", c.malformed),
            ("unknown", c.unknown),
            ("resent", c.resent),
            ("throttled", c.throttled),
            ("login_refused", c.login_refused),
            ("unproven", c.unproven),
        ] {
            let channel = self.name.clone();
            metrics::gauge!("gateway_sms_pdus", "channel" => channel, "protocol" => self.protocol, "what" => what)
                .set(value as f64);
        }
        metrics::gauge!("gateway_sms_waiting", "channel" => self.name.clone()).set(self.carrier.waiting() as f64);
    }
}

/// The next link that has something left and takes it: one whose peer does not read keeps no other waiting.
async fn writable(sockets: &BTreeMap<u32, Socket>) -> u32 {
    let blocked = sockets.iter().filter(|(_, socket)| !socket.backlog.is_empty());
    let ready: Vec<_> = blocked
        .map(|(link, socket)| {
            Box::pin(async move {
                let _ = socket.half.writable().await;
                *link
            })
        })
        .collect();
    if ready.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(ready).await.0
}

async fn dial(link: LinkId, connection: u64, to: SocketAddr, reporter: mpsc::Sender<News>) {
    let news = match tokio::time::timeout(DIAL_WITHIN, TcpStream::connect(to)).await {
        Ok(Ok(stream)) => News::Connected(link, connection, stream),
        _ => News::Closed(link, connection),
    };
    let _ = reporter.send(news).await;
}

async fn accept(listener: std::net::TcpListener, reporter: mpsc::Sender<News>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if reporter.send(News::Accepted(stream, from.ip().to_canonical())).await.is_err() {
                    return;
                }
            }
            // Out of descriptors: they come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn read_from(link: LinkId, connection: u64, mut half: OwnedReadHalf, reporter: mpsc::Sender<News>) {
    let mut buffer = vec![0; READ];
    loop {
        match half.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(len) => {
                if reporter.send(News::Bytes(link, connection, buffer[..len].to_vec())).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = reporter.send(News::Closed(link, connection)).await;
}
