//! One shard on its thread: sockets, timers and the media tick around a `Shard`; the desk runs inline in the first.
//!
//! The loop reads as the architecture: wait, read signalling, wake timers, and when 20 ms are over read media, mix,
//! send. Nothing here decides anything. The first shard's thread reads the SIP sockets and hands over, in batches and
//! without a lock, what is another's by its Call-ID; every shard sends for itself.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use codecs::audio::chunk::Chunk;
use codecs::record::AlertNo;
use codecs::time::Mono;
use mio::net::UdpSocket;
use mio::{Events, Interest, Token};
use switchboard::gate::{Gate, Lane};
use switchboard::route::{Route, Router};
use switchboard::{Desk, DeskOutput, Flow, Reply, Shard, ShardOutput, TICK, ToCasebook, ToDesk, ToShard, Transport};

use super::{Saboteur, recorder};
use crate::clock::Clock;
use crate::inbox::casebook::{self, Answer, Waiting};
use crate::inbox::{Handle, Input, Mailbox};
use crate::net::crowd::Cap;
use crate::net::ports::Ports;
use crate::net::streams::{Arrived, Streams};
use crate::net::udp;
use crate::observe::limits::Limit;
use crate::observe::metrics::{self, Board, Snapshot};
use crate::observe::tell;

const UDP: Token = Token(0);
const LISTENER: Token = Token(1);
pub const WAKE: Token = Token(2);
const FIRST_CONNECTION: Token = Token(16);
/// The most datagrams read before timers and media get their turn.
const READ_BATCHES: usize = 16;
const SIP_BATCH: usize = 32;
/// Packets of a tick, each a few microseconds, after which the SIP socket is looked at.
const SENT_BETWEEN_LOOKS: usize = 64;
/// The most that is taken from the inbox in one turn; a batch of SIP counts as one.
const INBOX_TURN: usize = 64;
/// The most that is served behind the calls in one turn.
const LATER_TURN: usize = 64;
/// The largest UDP payload.
const SIP_DATAGRAM: usize = 65_535;

/// What the first shard's thread has and the others do not.
pub struct Front {
    desk: Desk,
    streams: Streams,
    receiver: udp::Receiver,
    incoming: Vec<(SocketAddr, Bytes)>,
    gate: Gate,
    /// Connections that carry a call or a registration of some shard's, as of the last second; and where those are who
    /// are in one.
    kept: BTreeSet<u32>,
    known: BTreeSet<IpAddr>,
    limit: Limit,
    router: Router,
    /// By shard: what its Call-ID says is its.
    handed: Vec<Vec<(Flow, Bytes)>>,
}

/// How a shard's thread reaches everybody else.
#[derive(Clone)]
pub struct Links {
    pub shards: Handle,
    pub casebook: Sender<casebook::Input>,
    pub recorder: recorder::Inbox,
    pub waiting: Waiting,
    pub board: Board,
    pub saboteur: Option<Arc<dyn Saboteur>>,
}

pub struct ShardThread {
    clock: Clock,
    index: u16,
    shard: Shard,
    front: Option<Front>,
    mailbox: Mailbox,
    udp: UdpSocket,
    chunks: Vec<(AlertNo, Chunk)>,
    /// Recordings of which nothing will follow, by key.
    ended: Vec<(u64, AlertNo)>,
    facts: Vec<ToCasebook>,
    /// For the other shards, and for the desk beside the first.
    abroad: Vec<Input>,
    outgoing: Vec<(SocketAddr, Bytes)>,
    ports: Ports,
    links: Links,
    next_tick: Option<Mono>,
    published_at: Mono,
    late_ticks: u64,
    /// The inbox was not read to its end: nobody will wake for what is in it.
    unread: bool,
    stopping: bool,
}

/// Sockets bound before the thread starts, so that a taken port is an error at the start.
pub struct Sockets {
    /// One socket for all shards; the first reads it.
    pub udp: std::net::UdpSocket,
    pub ports: Ports,
}

impl Front {
    pub fn new(
        desk: Desk,
        tcp: std::net::TcpListener,
        cap: Cap,
        gate: Gate,
        mailbox: &Mailbox,
        router: Router,
    ) -> io::Result<Front> {
        let limit = Limit::new("sip-tcp", cap.all);
        Ok(Front {
            desk,
            streams: Streams::new(tcp, mailbox.poll.registry(), LISTENER, FIRST_CONNECTION, cap)?,
            receiver: udp::Receiver::new(SIP_BATCH, SIP_DATAGRAM),
            incoming: Vec::new(),
            gate,
            kept: BTreeSet::new(),
            known: BTreeSet::new(),
            limit,
            handed: (0..router.shards()).map(|_| Vec::new()).collect(),
            router,
        })
    }
}

impl ShardThread {
    /// The first shard is the one with a front.
    ///
    /// # Errors
    /// When epoll does not take the SIP socket.
    pub fn new(
        clock: Clock,
        index: u16,
        shard: Shard,
        front: Option<Front>,
        sockets: Sockets,
        mailbox: Mailbox,
        links: Links,
    ) -> io::Result<ShardThread> {
        assert_eq!(front.is_some(), index == 0, "the first shard has the sockets and the desk");
        let mut udp = UdpSocket::from_std(sockets.udp);
        if front.is_some() {
            mailbox.poll.registry().register(&mut udp, UDP, Interest::READABLE)?;
        }
        let published_at = clock.mono();
        Ok(ShardThread {
            clock,
            index,
            shard,
            front,
            mailbox,
            udp,
            chunks: Vec::new(),
            ended: Vec::new(),
            facts: Vec::new(),
            abroad: Vec::new(),
            outgoing: Vec::new(),
            ports: sockets.ports,
            links,
            next_tick: None,
            published_at,
            late_ticks: 0,
            unread: false,
            stopping: false,
        })
    }

    pub fn run(mut self) {
        let mut events = Events::with_capacity(256);
        self.refill_ports();
        // Numbers, before anybody calls.
        self.read_inbox();
        while !self.stopping {
            let timeout = self.time_to_wait();
            if let Err(error) = self.mailbox.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "GW-1001 shard poll failed");
                return;
            }
            if let Some(front) = &mut self.front {
                front.streams.begin_turn();
            }
            for event in &events {
                match event.token() {
                    UDP => self.read_udp(),
                    LISTENER => self.accept(),
                    WAKE => self.mailbox.is_awake(),
                    token => self.read_stream(token),
                }
            }
            self.read_inbox();
            self.wake_timers();
            self.tick_if_due();
            self.take_arrived();
            self.serve_later();
            self.flush_udp();
            // What was said of a call comes before what the recorder says of it.
            self.hand_over_facts();
            self.hand_over_chunks();
            self.hand_over_ended();
            self.links.shards.send_all(self.abroad.drain(..));
            self.publish();
        }
    }

    fn time_to_wait(&self) -> Duration {
        if self.unread || self.front.as_ref().is_some_and(|f| f.gate.waiting() > 0) {
            return Duration::ZERO;
        }
        let now = self.clock.mono();
        let second = Some(self.published_at + Duration::from_secs(1));
        let timer = self.shard.poll_timeout().map(|t| t.0);
        let desk = self.front.as_ref().and_then(|f| f.desk.poll_timeout()).map(|t| t.0);
        [second, timer, desk, self.next_tick].into_iter().flatten().min().map_or(Duration::ZERO, |at| at.since(now))
    }

    fn read_udp(&mut self) {
        for _ in 0..READ_BATCHES {
            let Some(front) = &mut self.front else { return };
            let mut got = std::mem::take(&mut front.incoming);
            let take = |from, bytes: &[u8]| got.push((from, Bytes::copy_from_slice(bytes)));
            let result = front.receiver.receive(&self.udp, take);
            for (from, bytes) in got.drain(..) {
                self.let_in(Flow::udp(from), bytes);
            }
            if let Some(front) = &mut self.front {
                front.incoming = got;
            }
            self.hand_over_sip();
            // A batch that was not full was the end: whatever comes after it is a new edge.
            if !result.is_ok_and(|n| n == SIP_BATCH) {
                return;
            }
        }
        // More is waiting and the edge has passed: come back at once.
        let _ = self.mailbox.poll.registry().reregister(&mut self.udp, UDP, Interest::READABLE);
    }

    /// Calls at once, the rest behind them, some of it never.
    fn let_in(&mut self, flow: Flow, bytes: Bytes) {
        let now = self.clock.mono();
        if let Some(front) = &mut self.front {
            if front.gate.judge(now, flow, &bytes) != Lane::Now {
                return;
            }
            if bytes.starts_with(b"INVITE ") {
                front.streams.grace(now, flow.connection);
            }
        }
        self.take_sip(flow, bytes);
    }

    /// A turn's worth of what waits behind the calls.
    fn serve_later(&mut self) {
        for _ in 0..LATER_TURN {
            let Some((flow, bytes)) = self.front.as_mut().and_then(|f| f.gate.next_later()) else { break };
            self.take_sip(flow, bytes);
        }
        self.hand_over_sip();
    }

    /// Ours, or put aside for the shard whose it is.
    fn take_sip(&mut self, flow: Flow, bytes: Bytes) {
        if let Some(front) = &mut self.front {
            let owner = front.router.of_sip(&bytes);
            if owner != self.index {
                return front.handed[usize::from(owner)].push((flow, bytes));
            }
        }
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        tell::sip("in", flow, &bytes);
        self.shard.handle_sip(now, wall, flow, bytes);
        self.drain(now);
    }

    fn hand_over_sip(&mut self) {
        let Some(front) = &mut self.front else { return };
        for (shard, handed) in front.handed.iter_mut().enumerate().filter(|(_, h)| !h.is_empty()) {
            self.links.shards.send_to(shard as u16, Input::Sip(std::mem::take(handed)));
        }
    }

    fn accept(&mut self) {
        if let Some(front) = &mut self.front {
            let (registry, gate) = (self.mailbox.poll.registry(), &front.gate);
            front.streams.accept(registry, self.clock.mono(), |ip| gate.is_known(ip));
        }
    }

    fn read_stream(&mut self, token: Token) {
        let Some(front) = &mut self.front else { return };
        let number = front.streams.number(token);
        front.streams.read(self.mailbox.poll.registry(), self.clock.mono(), number);
        self.take_arrived();
    }

    /// What came over connections, and what became of them.
    fn take_arrived(&mut self) {
        let Some(front) = &mut self.front else { return };
        for one in front.streams.arrived() {
            let (now, wall) = (self.clock.mono(), self.clock.wall());
            match one {
                Arrived::Message(flow, bytes) => self.let_in(flow, bytes),
                Arrived::Broken(flow, bytes, what) => {
                    self.shard.handle_broken_stream(now, wall, flow, bytes, what);
                    self.drain(now);
                }
                // Every shard hears of what could not be sent: the calls that waited for it are over.
                Arrived::Unreachable { connection, remote } => {
                    self.shard.handle_unreachable(now, wall, connection, remote);
                    self.drain(now);
                    self.tell_others(&Input::Unreachable { connection, remote });
                }
                Arrived::Gone(number) => {
                    // Its last words first.
                    self.hand_over_sip();
                    self.closed(number);
                    self.tell_others(&Input::Closed(number));
                }
            }
        }
        self.hand_over_sip();
    }

    fn tell_others(&self, input: &Input) {
        (1..self.links.shards.shards()).for_each(|shard| self.links.shards.send_to(shard, input.clone()));
    }

    /// Once a second: which connections are to be kept, and the end of the others.
    fn look_after_streams(&mut self, now: Mono) {
        let (mut used, mut known) = (self.shard.connections(), self.shard.correspondents());
        let Some(front) = &mut self.front else {
            if !known.is_empty() {
                let (connections, sources) = (used.into_iter().collect(), known.into_iter().collect());
                self.abroad.push(Input::Keep { connections, sources });
            }
            return;
        };
        used.extend(std::mem::take(&mut front.kept));
        known.extend(std::mem::take(&mut front.known));
        front.gate.set_known(known);
        front.streams.keep(now, &used);
        front.streams.expire(now);
        front.limit.set(front.streams.count());
    }

    fn closed(&mut self, connection: u32) {
        let now = self.clock.mono();
        self.shard.handle_closed(now, self.clock.wall(), connection);
        self.drain(now);
    }

    fn read_inbox(&mut self) {
        self.unread = true;
        for _ in 0..INBOX_TURN {
            let Ok(input) = self.mailbox.inbox.try_recv() else {
                self.unread = false;
                return;
            };
            let (now, wall) = (self.clock.mono(), self.clock.wall());
            match input {
                Input::Shard(message) => self.shard.handle_message(now, wall, message),
                Input::Desk(message) => self.tell_desk(now, message),
                Input::Sip(messages) => {
                    for (flow, bytes) in messages {
                        tell::sip("in", flow, &bytes);
                        self.shard.handle_sip(now, wall, flow, bytes);
                        self.drain(now);
                    }
                }
                Input::Closed(connection) => self.closed(connection),
                Input::Write { flow, reconnect, bytes } => self.write_stream(flow, reconnect, bytes),
                Input::Unreachable { connection, remote } => {
                    self.shard.handle_unreachable(now, wall, connection, remote);
                }
                Input::Close { connection } => self.close_stream(connection),
                Input::Keep { connections, sources } => {
                    if let Some(front) = &mut self.front {
                        front.kept.extend(connections);
                        front.known.extend(sources);
                    }
                }
                Input::Drain => self.shard.set_draining(true),
                Input::Stop => {
                    self.shard.hang_up_all(now, wall);
                    self.stopping = true;
                }
            }
            self.drain(now);
        }
    }

    fn wake_timers(&mut self) {
        let now = self.clock.mono();
        if self.shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.shard.handle_timeout(now, self.clock.wall());
        }
        if let Some(front) = &mut self.front
            && front.desk.poll_timeout().is_some_and(|(at, _)| at <= now)
        {
            front.desk.handle_timeout(now);
        }
        self.drain(now);
    }

    /// The media tick runs while there is media, on a 20 ms raster; a tick that comes late is counted, not skipped.
    fn tick_if_due(&mut self) {
        let now = self.clock.mono();
        if self.shard.counts().media_legs == 0 {
            self.next_tick = None;
            return;
        }
        let due = *self.next_tick.get_or_insert(now);
        if due > now {
            return;
        }
        let late = now.since(due);
        if late > TICK {
            self.late_ticks += (late.as_nanos() / TICK.as_nanos()) as u64;
        }
        // After a long stall (a stopped machine) the raster starts anew instead of racing through the past.
        self.next_tick = Some(if late > Duration::from_millis(200) { now + TICK } else { due + TICK });
        let shard = &mut self.shard;
        self.ports.read(|port, rtcp, from, bytes| shard.handle_media(now, port, rtcp, from, bytes));
        shard.tick(now, self.clock.wall());
        self.send_media();
        self.drain(now);
    }

    /// A tick's packets. Whoever calls meanwhile is not kept waiting until the last of them has left.
    fn send_media(&mut self) {
        let mut sent = 0;
        loop {
            let leaves = |port| self.links.saboteur.as_ref().is_none_or(|s| s.lets_audio(port));
            let packets = self.shard.packets().filter(|packet| leaves(packet.0));
            let now_sent = self.ports.send(packets.skip(sent).take(SENT_BETWEEN_LOOKS));
            if now_sent < SENT_BETWEEN_LOOKS {
                return;
            }
            sent += now_sent;
            self.read_udp();
            self.flush_udp();
        }
    }

    /// Carries the outputs of shard and desk, and what they say to each other, until both are quiet.
    fn drain(&mut self, now: Mono) {
        loop {
            if let Some(output) = self.shard.poll_output() {
                self.carry_out(now, output);
            } else if let Some(output) = self.front.as_mut().and_then(|f| f.desk.poll_output()) {
                match output {
                    DeskOutput::Shard(message) => self.tell_shard(now, message),
                    DeskOutput::Reply(reply) => self.reply(reply),
                    DeskOutput::Given { alert, seat, overflow } => {
                        let at = self.clock.wall();
                        self.tell_casebook(ToCasebook::ConversationGiven { at, alert, seat, overflow });
                    }
                    DeskOutput::TakenBack { alert, seat } => {
                        let at = self.clock.wall();
                        self.tell_casebook(ToCasebook::ConversationTakenBack { at, alert, seat });
                    }
                    DeskOutput::Approach { no, news } => {
                        crate::observe::metrics::approach(news);
                        self.tell_casebook(ToCasebook::Approach { no, news });
                    }
                    DeskOutput::CallBackDropped { no, joined } => {
                        let at = self.clock.wall();
                        self.tell_casebook(ToCasebook::CallBackDropped { at, no, joined });
                    }
                }
            } else {
                return;
            }
        }
    }

    fn tell_shard(&mut self, now: Mono, message: ToShard) {
        if message.route(self.links.shards.shards()) == Route::To(self.index) {
            self.shard.handle_message(now, self.clock.wall(), message);
        } else {
            self.abroad.push(Input::Shard(message));
        }
    }

    fn tell_desk(&mut self, now: Mono, message: ToDesk) {
        match &mut self.front {
            Some(front) => front.desk.handle(now, message),
            None => self.abroad.push(Input::Desk(message)),
        }
    }

    fn write_stream(&mut self, flow: Flow, reconnect: Option<SocketAddr>, bytes: Bytes) {
        let Some(front) = &mut self.front else {
            return self.abroad.push(Input::Write { flow, reconnect, bytes });
        };
        // A stranger's answer goes over the connection that they made, or nowhere.
        let reconnect = reconnect.filter(|to| front.gate.is_known(to.ip().to_canonical()));
        front.streams.send(self.mailbox.poll.registry(), self.clock.mono(), flow, reconnect, &bytes);
    }

    fn close_stream(&mut self, connection: u32) {
        match &mut self.front {
            Some(front) => front.streams.close(connection),
            None => self.abroad.push(Input::Close { connection }),
        }
    }

    fn carry_out(&mut self, now: Mono, mut output: ShardOutput) {
        if self.links.saboteur.as_ref().is_some_and(|s| !s.lets(&mut output)) {
            return;
        }
        match output {
            ShardOutput::Send { flow, reconnect, bytes } => {
                tell::sip("out", flow, &bytes);
                match flow.transport {
                    Transport::Udp => self.outgoing.push((flow.remote, bytes)),
                    Transport::Tcp => self.write_stream(flow, reconnect, bytes),
                }
            }
            ShardOutput::Close { flow } => self.close_stream(flow.connection),
            ShardOutput::Desk(message) => self.tell_desk(now, message),
            ShardOutput::Casebook(message) => self.tell_casebook(message),
            ShardOutput::Chunk { no, chunk } => {
                // A call's second chunk in one tick is its last.
                if self.chunks.iter().any(|(_, c)| c.key == chunk.key) {
                    self.hand_over_chunks();
                }
                self.chunks.push((no, chunk));
            }
            ShardOutput::RecordingEnded { key, no } => self.ended.push((key, no)),
            ShardOutput::PortTaken(port) => {
                self.ports.taken(port);
                self.refill_ports();
            }
            ShardOutput::PortFreed(port) => {
                if self.ports.freed(port) {
                    self.shard.grant_port(port);
                }
            }
            ShardOutput::WantSerials => {
                let at = self.clock.wall();
                self.tell_casebook(ToCasebook::WantSerials { at, shard: self.index });
            }
            ShardOutput::Observed(observed) => metrics::observe(&observed),
        }
    }

    fn hand_over_chunks(&mut self) {
        if !self.chunks.is_empty() {
            self.links.recorder.chunks(std::mem::take(&mut self.chunks));
        }
    }

    fn hand_over_ended(&mut self) {
        if !self.ended.is_empty() {
            self.links.recorder.ended(std::mem::take(&mut self.ended));
        }
    }

    fn tell_casebook(&mut self, message: ToCasebook) {
        self.facts.push(message);
    }

    /// The casebook is woken once a turn.
    fn hand_over_facts(&mut self) {
        if !self.facts.is_empty() {
            let _ = self.links.casebook.send(casebook::Input::Messages(std::mem::take(&mut self.facts)));
        }
    }

    fn refill_ports(&mut self) {
        for port in self.ports.refill() {
            self.shard.grant_port(port);
        }
    }

    fn reply(&self, reply: Reply) {
        self.links.waiting.answer(reply.request, Answer::Reply(reply));
    }

    fn flush_udp(&mut self) {
        if self.outgoing.is_empty() {
            return;
        }
        udp::send(&self.udp, self.outgoing.iter().map(|(to, bytes)| (*to, &bytes[..])));
        self.outgoing.clear();
    }

    fn publish(&mut self) {
        let now = self.clock.mono();
        if now.since(self.published_at) < Duration::from_secs(1) {
            return;
        }
        self.published_at = now;
        self.look_after_streams(now);
        let front = self.front.as_ref();
        let snapshot = Snapshot {
            counts: self.shard.counts(),
            sip: self.shard.sip_counters(),
            media: self.shard.media_stats(),
            desk: front.map(|f| f.desk.gauges()).unwrap_or_default(),
            late_ticks: self.late_ticks,
            media_descriptors: self.ports.descriptors(),
            connections: front.map_or(0, |f| f.streams.count()),
            dropped: front.map(|f| f.gate.dropped()).unwrap_or_default(),
            later: front.map_or(0, |f| f.gate.waiting()),
        };
        self.links.board.publish(self.index, snapshot);
    }
}
