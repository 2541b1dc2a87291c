//! The switchboard of a small city, as the shell would hold it, with a trunk, a seat and an officer who send what they
//! like, strangers among them, and a casebook whose disk is quick.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use codecs::record::{Assessment, IncidentKind};
use codecs::sip::{Message, check_request, check_response};
use codecs::time::{Mono, Wall};
use sim::cast::PARTIES;
use sim::gateway::{Gateway, PORTS};
use sip::{Binding, Flow, Transport};
use switchboard::replay::Front;
use switchboard::{Action, CasebookOutput, DeskOutput, RequestId, ShardOutput, ToCasebook, ToDesk};

use crate::peer::Peer;
use crate::script::{number, steps};

const STEPS: usize = 64;
const TICK: Duration = Duration::from_millis(20);

pub(crate) struct City {
    pub gateway: Gateway,
    pub now: Mono,
    peers: [Peer; 3],
    ports: Vec<u16>,
    pub frames: u64,
    /// The first of them that are events.
    events: Vec<Vec<u8>>,
    pub replies: Vec<RequestId>,
}

/// Whatever comes, what we send is in order, and when everybody has gone nothing is left of them.
pub(crate) fn run(data: &[u8]) {
    let mut city = City::new();
    for (what, with) in steps(data, STEPS) {
        city.step(what, with);
        city.drain();
    }
    city.end();
}

/// The events that a script leads to, as they are journalled.
pub(crate) fn events_of(script: &[u8]) -> Vec<Vec<u8>> {
    let mut city = City::new();
    for (what, with) in steps(script, STEPS) {
        city.step(what, with);
        city.drain();
    }
    city.events
}

impl City {
    pub(crate) fn new() -> City {
        let now = Mono(1_000_000_000);
        let wall = Wall(1_700_000_000_000_000_000);
        let mut gateway = Gateway::start((now, wall), [3; 32], 1, &Front::default(), None);
        for (user, party) in [("1000", 1), ("1001", 1), ("2000", 2), ("2001", 2)] {
            let remote = PARTIES[party];
            let contact = format!("sip:{user}@{remote}").into_bytes();
            let binding = Binding { contact, flow: Flow::udp(remote), expires_at: now + Duration::from_secs(120) };
            assert!(gateway.shards[0].restore_binding(now, user, binding));
        }
        let mut city = City {
            gateway,
            now,
            peers: Default::default(),
            ports: Vec::new(),
            frames: 0,
            events: Vec::new(),
            replies: Vec::new(),
        };
        city.drain();
        city
    }

    pub(crate) fn wall(&self) -> Wall {
        Wall(1_700_000_000_000_000_000 + self.now.0 as i64)
    }

    fn step(&mut self, what: u8, with: &[u8]) {
        match what {
            b'M' => self.hear(0, Flow::udp(PARTIES[0]), with),
            b'R' => self.hear(1, Flow::udp(PARTIES[1]), with),
            b'O' => self.hear(2, Flow::udp(PARTIES[2]), with),
            b'T' => self.hear(0, Flow { transport: Transport::Tcp, remote: PARTIES[0], connection: 1 }, with),
            b'S' => self.hear(0, Flow::udp(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 66)), 5060)), with),
            b'x' => {
                let (now, wall) = (self.now, self.wall());
                self.gateway.shards[0].handle_closed(now, wall, 1);
            }
            b'v' => {
                if let [port, from, rest @ ..] = with {
                    self.media(*port, *from, rest);
                }
            }
            b't' => self.pass(Duration::from_millis(u64::from(number(with) % 40_000))),
            b'A' => self.act(with),
            _ => {}
        }
    }

    fn hear(&mut self, peer: usize, flow: Flow, script: &[u8]) {
        let bytes = Bytes::from(self.peers[peer].fill(script));
        let (now, wall) = (self.now, self.wall());
        self.gateway.shards[0].handle_sip(now, wall, flow, bytes);
    }

    /// To one of our ports that are in use, from a party or from nobody that we know.
    fn media(&mut self, port: u8, from: u8, bytes: &[u8]) {
        let Some(port) = self.ports.get(usize::from(port) % self.ports.len().max(1)).copied() else { return };
        let ip = PARTIES.get(usize::from(from)).map_or(IpAddr::V4(Ipv4Addr::new(10, 0, 0, from)), |p| p.ip());
        let (source, rtcp) = (SocketAddr::new(ip, 4000 + u16::from(from >> 7)), from >> 7 == 1);
        self.gateway.shards[0].handle_media(self.now, port, rtcp, source, bytes);
    }

    fn act(&mut self, with: &[u8]) {
        let (what, rest) = with.split_first().map_or((0, with), |(w, r)| (*w, r));
        let text = String::from_utf8_lossy(rest).into_owned();
        let action = match what {
            b'h' => Action::HangUp,
            b'r' => Action::Ready,
            b'3' => Action::ThreeWay,
            b'd' => Action::Drop { party: text },
            b't' => Action::Transfer { to: text.split(' ').map(str::to_owned).collect() },
            _ => {
                let (kind, level) = (Some(IncidentKind::Report), Some(2));
                let said = Assessment { kind, level, text: Some(text), ..Assessment::default() };
                Action::Triage { said: Box::new(said), place: None }
            }
        };
        for seat in ["1000", "1001"] {
            let request = RequestId(1);
            self.gateway.desk.handle(
                self.now,
                ToDesk::SeatAction { seat: seat.into(), action: action.clone(), by: "seat fuzz".into(), request },
            );
            self.drain();
        }
    }

    /// Time goes by, with a tick of media every 20 ms where there is any.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut tick_at = self.now + TICK;
        for _ in 0..1_000_000 {
            let has_media = self.gateway.shards[0].counts().media_legs > 0;
            let due = self.gateway.next_timeout(None).unwrap_or(until).max(self.now);
            let at = if has_media { due.min(tick_at) } else { due };
            if at >= until {
                break;
            }
            self.now = at;
            self.wake();
            if has_media && at >= tick_at {
                let (now, wall) = (self.now, self.wall());
                self.gateway.shards[0].tick(now, wall);
                tick_at = self.now + TICK;
                for (_, to, _, _) in self.gateway.shards[0].packets() {
                    assert!(codecs::address::is_unicast(to.ip()), "{to} is not one host");
                }
            }
            self.drain();
        }
        self.now = until;
        self.wake();
        self.drain();
    }

    fn wake(&mut self) {
        let (now, wall) = (self.now, self.wall());
        self.gateway.shards[0].handle_timeout(now, wall);
        self.gateway.desk.handle_timeout(now);
        self.gateway.casebook.handle_timeout(now, wall);
    }

    /// Hands everything on until nobody has anything more to say.
    pub(crate) fn drain(&mut self) {
        let (now, wall) = (self.now, self.wall());
        loop {
            if let Some(output) = self.gateway.shards[0].poll_output() {
                self.of_shard(output);
            } else if let Some(output) = self.gateway.desk.poll_output() {
                self.of_desk(output);
            } else if let Some(output) = self.gateway.casebook.poll_output() {
                match output {
                    CasebookOutput::Append { event, .. } => {
                        self.frames += 1;
                        assert!(event.sealed_len() < 2 << 20, "a record of {} octets", event.sealed_len());
                        if self.events.len() < 12 {
                            self.events.push(event.to_json());
                        }
                    }
                    CasebookOutput::Frame { payload, .. } => {
                        self.frames += 1;
                        assert!(!payload.is_empty());
                    }
                    CasebookOutput::Shard(message) => self.gateway.tell(now, wall, &message),
                    CasebookOutput::Desk(message) => self.gateway.desk.handle(now, message),
                    CasebookOutput::Reply(reply) => self.replies.push(reply.request),
                    CasebookOutput::Outbound(_)
                    | CasebookOutput::Fetch(_)
                    | CasebookOutput::Withdraw { .. }
                    | CasebookOutput::CalledTo { .. }
                    | CasebookOutput::Approach { .. }
                    | CasebookOutput::Notice(_)
                    | CasebookOutput::Standing { .. }
                    | CasebookOutput::Counted { .. } => {}
                }
                self.gateway.casebook.handle_durable(self.frames);
            } else {
                return;
            }
        }
    }

    fn of_shard(&mut self, output: ShardOutput) {
        let (now, at) = (self.now, self.wall());
        match output {
            ShardOutput::Send { flow, bytes, .. } => {
                let message = Message::frame(bytes.clone()).expect("what we send can be framed");
                let checked = if message.is_request() { check_request(&message) } else { check_response(&message) };
                assert!(
                    checked.is_ok() || message.code().is_some_and(|c| c >= 400),
                    "{}",
                    String::from_utf8_lossy(&bytes)
                );
                if let Some(party) = PARTIES.iter().position(|p| *p == flow.remote) {
                    self.peers[party].hear(&message);
                }
            }
            ShardOutput::Desk(message) => self.gateway.desk.handle(now, message),
            ShardOutput::Casebook(message) => self.gateway.casebook.handle(now, message),
            ShardOutput::PortTaken(port) => self.ports.push(port),
            ShardOutput::PortFreed(port) => {
                self.ports.retain(|p| *p != port);
                self.gateway.shards[0].grant_port(port);
            }
            ShardOutput::WantSerials => self.gateway.casebook.handle(now, ToCasebook::WantSerials { at, shard: 0 }),
            ShardOutput::RecordingEnded { no, .. } => {
                let fact = switchboard::Fact::Call(switchboard::CallFact::Recorded { media: Vec::new() });
                self.gateway.casebook.handle(now, ToCasebook::Fact { no, at, fact, request: RequestId(0) });
            }
            ShardOutput::Observed(observed) => {
                assert!(!matches!(observed, switchboard::Observed::Panicked), "a call's machine failed");
            }
            ShardOutput::Close { .. } | ShardOutput::Chunk { .. } => {}
        }
    }

    fn of_desk(&mut self, output: DeskOutput) {
        let (now, at) = (self.now, self.wall());
        match output {
            DeskOutput::Shard(message) => self.gateway.tell(now, at, &message),
            DeskOutput::Reply(reply) => self.replies.push(reply.request),
            DeskOutput::Given { alert, seat, overflow } => {
                let given = ToCasebook::ConversationGiven { at, alert, seat, overflow };
                self.gateway.casebook.handle(now, given);
            }
            DeskOutput::TakenBack { alert, seat } => {
                self.gateway.casebook.handle(now, ToCasebook::ConversationTakenBack { at, alert, seat });
            }
            DeskOutput::Approach { no, news } => {
                self.gateway.casebook.handle(now, ToCasebook::Approach { no, news });
            }
            DeskOutput::CallBackDropped { no, joined } => {
                self.gateway.casebook.handle(now, ToCasebook::CallBackDropped { at, no, joined });
            }
        }
    }

    fn end(&mut self) {
        let open: Vec<_> = self.gateway.casebook.open().map(|(no, _)| *no).collect();
        for no in open {
            self.gateway.desk.handle(self.now, ToDesk::Silence { no });
        }
        for _ in 0..3 {
            let (now, wall) = (self.now, self.wall());
            self.gateway.shards[0].hang_up_all(now, wall);
            self.drain();
            self.pass(Duration::from_secs(300));
        }
        let counts = self.gateway.shards[0].counts();
        let left = (counts.calls, counts.sessions, counts.transactions, counts.media_legs, counts.rooms);
        assert_eq!(left, (0, 0, 0, 0, 0), "calls, sessions, transactions, legs, rooms");
        assert_eq!(counts.ports_free, usize::from(PORTS), "every port is free again");
    }
}
