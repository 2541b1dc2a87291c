//! One shard on its thread: sockets, timers and the media tick around a `Shard`; the desk runs inline.
//!
//! The loop reads as the architecture: wait, read signalling, wake timers, and when 20 ms are over read media, mix,
//! send. Nothing here decides anything.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use bytes::Bytes;
use codecs::record::AlertNo;
use codecs::sip::{Framed, StreamFramer};
use codecs::time::Mono;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token, Waker};
use switchboard::{
    Desk, DeskOutput, Flow, Reply, Shard, ShardOutput, TICK, ToCasebook, ToDesk, ToShard, Transport, recording,
};

use crate::casebook_thread::{self, Answer, Waiting};
use crate::clock::Clock;
use crate::metrics::{self, Snapshot};
use crate::ports::Ports;
use crate::recorder_thread;
use crate::udp;

const UDP: Token = Token(0);
const LISTENER: Token = Token(1);
const WAKE: Token = Token(2);
const FIRST_CONNECTION: usize = 16;
/// Bytes kept for a TCP peer that does not read.
const BACKLOG_MAX: usize = 1024 * 1024;
/// The most datagrams read before timers and media get their turn.
const READ_BATCHES: usize = 16;
const SIP_BATCH: usize = 32;
/// The largest UDP payload.
const SIP_DATAGRAM: usize = 65_535;
/// TCP peers at one time; further ones are closed at once.
const CONNECTIONS_MAX: usize = 2000;

/// What other threads ask of the shard or the desk beside it.
pub enum Input {
    Shard(ToShard),
    Desk(ToDesk),
    Drain,
    /// Hang everything up, send what that needs, and end.
    Stop,
}

/// The other end of a shard thread's inbox.
#[derive(Clone)]
pub struct Handle {
    sender: Sender<Input>,
    waker: Arc<Waker>,
    /// Somebody has woken the shard and it has not looked yet.
    woken: Arc<AtomicBool>,
}

impl Handle {
    pub fn send(&self, input: Input) {
        self.send_all(std::iter::once(input));
    }

    /// All of them before the shard is woken.
    pub fn send_all(&self, inputs: impl Iterator<Item = Input>) {
        let mut any = false;
        for input in inputs {
            any |= self.sender.send(input).is_ok();
        }
        if any && !self.woken.swap(true, Ordering::AcqRel) {
            let _ = self.waker.wake();
        }
    }
}

struct Connection {
    stream: TcpStream,
    framer: StreamFramer,
    flow: Flow,
    unsent: Vec<u8>,
}

pub struct ShardThread {
    clock: Clock,
    shard: Shard,
    desk: Desk,
    poll: Poll,
    udp: UdpSocket,
    listener: Option<TcpListener>,
    connections: HashMap<u32, Connection>,
    next_connection: u32,
    receiver: udp::Receiver,
    incoming: Vec<(SocketAddr, Bytes)>,
    chunks: Vec<(AlertNo, recording::Chunk)>,
    facts: Vec<ToCasebook>,
    outgoing: Vec<(SocketAddr, Bytes)>,
    ports: Ports,
    inbox: Receiver<Input>,
    woken: Arc<AtomicBool>,
    casebook: Sender<casebook_thread::Input>,
    recorder: Sender<recorder_thread::Input>,
    waiting: Waiting,
    next_tick: Option<Mono>,
    published_at: Mono,
    late_ticks: u64,
    stopping: bool,
}

/// Sockets bound before the thread starts, so that a taken port is an error at the start.
pub struct Sockets {
    pub udp: std::net::UdpSocket,
    pub tcp: Option<std::net::TcpListener>,
    pub ports: Ports,
}

impl ShardThread {
    /// # Errors
    /// When the kernel gives no epoll or eventfd.
    pub fn new(
        clock: Clock,
        shard: Shard,
        desk: Desk,
        sockets: Sockets,
        casebook: Sender<casebook_thread::Input>,
        recorder: Sender<recorder_thread::Input>,
        waiting: Waiting,
    ) -> io::Result<(ShardThread, Handle)> {
        let poll = Poll::new()?;
        let mut udp = UdpSocket::from_std(sockets.udp);
        poll.registry().register(&mut udp, UDP, Interest::READABLE)?;
        let mut listener = sockets.tcp.map(TcpListener::from_std);
        if let Some(listener) = &mut listener {
            poll.registry().register(listener, LISTENER, Interest::READABLE)?;
        }
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let woken = Arc::new(AtomicBool::new(false));
        let (sender, inbox) = std::sync::mpsc::channel();
        let published_at = clock.mono();
        let thread = ShardThread {
            clock,
            shard,
            desk,
            poll,
            udp,
            listener,
            connections: HashMap::new(),
            next_connection: 1,
            receiver: udp::Receiver::new(SIP_BATCH, SIP_DATAGRAM),
            incoming: Vec::new(),
            chunks: Vec::new(),
            facts: Vec::new(),
            outgoing: Vec::new(),
            ports: sockets.ports,
            inbox,
            woken: Arc::clone(&woken),
            casebook,
            recorder,
            waiting,
            next_tick: None,
            published_at,
            late_ticks: 0,
            stopping: false,
        };
        Ok((thread, Handle { sender, waker, woken }))
    }

    pub fn run(mut self) {
        let mut events = Events::with_capacity(256);
        self.refill_ports();
        while !self.stopping {
            let timeout = self.time_to_wait();
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "GW-1001 shard poll failed");
                return;
            }
            for event in &events {
                match event.token() {
                    UDP => self.read_udp(),
                    LISTENER => self.accept(),
                    // Before the inbox is read: whatever comes after this wakes again.
                    WAKE => self.woken.store(false, Ordering::Release),
                    Token(n) => self.read_connection((n - FIRST_CONNECTION) as u32),
                }
            }
            self.read_inbox();
            self.wake_timers();
            self.tick_if_due();
            self.hand_over_chunks();
            self.hand_over_facts();
            self.flush_udp();
            self.publish();
        }
        let _ = self.recorder.send(recorder_thread::Input::Stop);
    }

    fn time_to_wait(&self) -> Duration {
        let now = self.clock.mono();
        let second = Some(self.published_at + Duration::from_secs(1));
        let timer = self.shard.poll_timeout().map(|t| t.0);
        let desk = self.desk.poll_timeout().map(|t| t.0);
        [second, timer, desk, self.next_tick].into_iter().flatten().min().map_or(Duration::ZERO, |at| at.since(now))
    }

    fn read_udp(&mut self) {
        for _ in 0..READ_BATCHES {
            let mut got = std::mem::take(&mut self.incoming);
            let take = |from, bytes: &[u8]| got.push((from, Bytes::copy_from_slice(bytes)));
            let result = self.receiver.receive(&self.udp, take);
            for (from, bytes) in got.drain(..) {
                let (now, wall) = (self.clock.mono(), self.clock.wall());
                self.shard.handle_sip(now, wall, Flow::udp(from), bytes);
                self.drain(now);
            }
            self.incoming = got;
            // A batch that was not full was the end: whatever comes after it is a new edge.
            if !result.is_ok_and(|n| n == SIP_BATCH) {
                return;
            }
        }
        // More is waiting and the edge has passed: come back at once.
        let _ = self.poll.registry().reregister(&mut self.udp, UDP, Interest::READABLE);
    }

    fn accept(&mut self) {
        while let Some(Ok((mut stream, remote))) = self.listener.as_ref().map(TcpListener::accept) {
            if self.connections.len() >= CONNECTIONS_MAX {
                continue;
            }
            let number = self.next_connection;
            self.next_connection += 1;
            let token = Token(FIRST_CONNECTION + number as usize);
            if self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_err() {
                continue;
            }
            let flow = Flow { transport: Transport::Tcp, remote, connection: number };
            self.connections
                .insert(number, Connection { stream, framer: StreamFramer::default(), flow, unsent: Vec::new() });
        }
    }

    fn read_connection(&mut self, number: u32) {
        let mut buffer = [0u8; 16 * 1024];
        for _ in 0..READ_BATCHES {
            let Some(connection) = self.connections.get_mut(&number) else { return };
            flush(connection);
            match connection.stream.read(&mut buffer) {
                Ok(0) => return self.drop_connection(number),
                Ok(len) => {
                    connection.framer.push(&buffer[..len]);
                    self.handle_frames(number);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.drop_connection(number),
            }
        }
        // One peer that never stops talking waits for its next turn; the edge has passed, so it is asked for again.
        if let Some(connection) = self.connections.get_mut(&number) {
            let token = Token(FIRST_CONNECTION + number as usize);
            let _ =
                self.poll.registry().reregister(&mut connection.stream, token, Interest::READABLE | Interest::WRITABLE);
        }
    }

    fn drop_connection(&mut self, number: u32) {
        if self.connections.remove(&number).is_some() {
            let now = self.clock.mono();
            self.shard.handle_closed(now, self.clock.wall(), number);
            self.drain(now);
        }
    }

    fn handle_frames(&mut self, number: u32) {
        loop {
            let Some(connection) = self.connections.get_mut(&number) else { return };
            let flow = connection.flow;
            let (now, wall) = (self.clock.mono(), self.clock.wall());
            match connection.framer.next_frame() {
                Ok(None) => return,
                Ok(Some(Framed::Ping)) => self.write_connection(number, b"\r\n"),
                Ok(Some(Framed::Message(bytes))) => self.shard.handle_sip(now, wall, flow, bytes),
                Err(error) => self.shard.handle_broken_stream(now, wall, flow, error.message, error.what),
            }
            self.drain(now);
        }
    }

    fn write_connection(&mut self, number: u32, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.unsent.extend_from_slice(bytes);
        flush(connection);
        if connection.unsent.len() > BACKLOG_MAX {
            self.connections.remove(&number);
        }
    }

    fn read_inbox(&mut self) {
        while let Ok(input) = self.inbox.try_recv() {
            let (now, wall) = (self.clock.mono(), self.clock.wall());
            match input {
                Input::Shard(message) => self.shard.handle_message(now, wall, message),
                Input::Desk(message) => self.desk.handle(now, message),
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
        if self.desk.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.desk.handle_timeout(now);
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
        self.ports.send(self.shard.packets());
        self.drain(now);
    }

    /// Carries the outputs of shard and desk, and what they say to each other, until both are quiet.
    fn drain(&mut self, now: Mono) {
        loop {
            if let Some(output) = self.shard.poll_output() {
                self.carry_out(now, output);
            } else if let Some(output) = self.desk.poll_output() {
                match output {
                    DeskOutput::Shard(message) => self.shard.handle_message(now, self.clock.wall(), message),
                    DeskOutput::Reply(reply) => self.reply(reply),
                    DeskOutput::Given { alert, seat, overflow } => {
                        let at = self.clock.wall();
                        self.tell_casebook(ToCasebook::ConversationGiven { at, alert, seat, overflow });
                    }
                    DeskOutput::TakenBack { alert, seat } => {
                        self.tell_casebook(ToCasebook::ConversationTakenBack { alert, seat });
                    }
                }
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, now: Mono, output: ShardOutput) {
        match output {
            ShardOutput::Send { flow, bytes } => match flow.transport {
                Transport::Udp => self.outgoing.push((flow.remote, bytes)),
                Transport::Tcp => self.write_connection(flow.connection, &bytes),
            },
            ShardOutput::Close { flow } => {
                self.connections.remove(&flow.connection);
            }
            ShardOutput::Desk(message) => self.desk.handle(now, message),
            ShardOutput::Casebook(message) => self.tell_casebook(message),
            ShardOutput::Chunk { no, chunk } => {
                // A call's second chunk in one tick is its last.
                if self.chunks.iter().any(|(_, c)| c.key == chunk.key) {
                    self.hand_over_chunks();
                }
                self.chunks.push((no, chunk));
            }
            ShardOutput::RecordingEnded { key, no } => {
                self.hand_over_chunks();
                // What was said of the call comes before what the recorder says of it.
                self.hand_over_facts();
                let _ = self.recorder.send(recorder_thread::Input::Ended { key, no });
            }
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
                let _ = self.casebook.send(casebook_thread::Input::WantSerials);
            }
            ShardOutput::Observed(observed) => metrics::observe(&observed),
        }
    }

    fn hand_over_chunks(&mut self) {
        if !self.chunks.is_empty() {
            let _ = self.recorder.send(recorder_thread::Input::Chunks(std::mem::take(&mut self.chunks)));
        }
    }

    fn tell_casebook(&mut self, message: ToCasebook) {
        self.facts.push(message);
    }

    /// The casebook is woken once a turn.
    fn hand_over_facts(&mut self) {
        if !self.facts.is_empty() {
            let _ = self.casebook.send(casebook_thread::Input::Messages(std::mem::take(&mut self.facts)));
        }
    }

    fn refill_ports(&mut self) {
        for port in self.ports.refill() {
            self.shard.grant_port(port);
        }
    }

    fn reply(&self, reply: Reply) {
        self.waiting.answer(reply.request, Answer::Reply(reply));
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
        metrics::publish(&Snapshot {
            counts: self.shard.counts(),
            sip: self.shard.sip_counters(),
            media: self.shard.media_stats(),
            desk: self.desk.gauges(),
            late_ticks: self.late_ticks,
            media_descriptors: self.ports.descriptors(),
            connections: self.connections.len(),
        });
    }
}

fn flush(connection: &mut Connection) {
    while !connection.unsent.is_empty() {
        match connection.stream.write(&connection.unsent) {
            Ok(0) | Err(_) => return,
            Ok(len) => {
                connection.unsent.drain(..len);
            }
        }
    }
}
