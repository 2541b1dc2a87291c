//! The shard: SIP, media and the calls of one thread.
//!
//! It owns no state transitions: an event of `sip` or `media` becomes one input of the call machine, an output of the
//! call machine becomes one call into `sip` or `media`, or one message.

mod arrival;
mod calls;
mod facts;
mod legs;
mod pages;
mod sources;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codecs::audio::chunk::Chunk;
use codecs::geo::Point;
use codecs::record::{AlertNo, AnswerMode, Channel, Location, LocationSource, Promise, Role, SeatInfo, Stamp};
use codecs::time::{Mono, Wall};
use dispatch::nearest::{GridMap, Place};
use dispatch::seat::{GroupId, SeatId};
use dispatch::{Call, CallKey, LegNo, Policy};
use ipnet::IpNet;
use media::negotiate::Own;
use media::{Engine, LegId, Prompt, RoomId};
use sip::{Account, Armed, CallIds, Counters, Endpoint, Flow, Mint, Seed, SessionId, TimerQueue};

use self::sources::{Origin, Sources};
use self::table::{Calls, Legs};
use crate::message::{Contact, Missed, ReservedResponder, SerialBlock, ToCasebook, ToDesk, ToShard};
use crate::serials::{Holder, Serials};

/// Where calls come from, and what is taken for granted about them.
#[derive(Clone, Debug)]
pub struct Trunk {
    pub name: String,
    pub sources: Vec<IpNet>,
    /// Its peers stand behind a NAT: their media comes from where their signalling does, from a port still to be learnt.
    pub nat: bool,
    /// Calls of it that may be up at one time, and that may begin within a second.
    pub calls_max: usize,
    pub new_calls_max: u32,
    pub group: GroupId,
    pub channel: Channel,
    /// Where the caller is believed to be when nothing better is known.
    pub default_grid: Option<String>,
    /// Where outgoing calls (call-backs, officers' phones) are sent.
    pub outbound: Option<SocketAddr>,
    /// A called user answered by the attendant at once, for measuring.
    pub attendant_user: Option<String>,
    /// What its callers need of a taker, bits as in `Seat::skills`.
    pub skills: u32,
    /// The channel that a MESSAGE from here belongs to; none: it is refused.
    pub message_channel: Option<String>,
}

impl Trunk {
    /// Where its calls come from and go to.
    fn addresses(&self) -> Vec<IpNet> {
        let outbound = self.outbound.map(|to| IpNet::from(to.ip().to_canonical()));
        self.sources.iter().copied().chain(outbound).collect()
    }

    /// What one of so many shards has of it. Calls are spread by chance: each has a quarter more than its part.
    pub fn part(&self, shards: u16) -> Trunk {
        let of = |all: u64| match shards {
            0 | 1 => all,
            n => (all * 5).div_ceil(u64::from(n) * 4),
        };
        let (calls_max, new_calls_max) = (of(self.calls_max as u64) as usize, of(self.new_calls_max.into()) as u32);
        Trunk { calls_max, new_calls_max, ..self.clone() }
    }
}

/// The subscriber table's row: 三字段 and a position.
#[derive(Clone, PartialEq, Debug)]
pub struct Subscriber {
    pub name: String,
    pub address: String,
    pub at: Option<Point>,
}

pub struct ShardConfig {
    pub shard: u16,
    /// How many there are.
    pub shards: u16,
    /// Where peers reach us, as Via and Contact say.
    pub sip_address: SocketAddr,
    /// Announced in SDP.
    pub rtp_address: IpAddr,
    /// Where our own media sockets are, of all shards: nobody is sent there.
    pub own: Own,
    /// Phones that register may stand behind a NAT.
    pub phones_nat: bool,
    /// Every leg uses one of a few ports; peers send from the address that their SDP names.
    pub shared_media: bool,
    pub realm: String,
    pub accounts: Vec<Account>,
    pub registrar: sip::Rules,
    pub seed: Seed,
    /// Of the whole process.
    pub call_ids: CallIds,
    pub trunks: Vec<Trunk>,
    pub subscribers: Arc<BTreeMap<String, Subscriber>>,
    pub grids: Arc<GridMap>,
    pub policy: Policy,
    /// The 12-digit reception unit, and the node's digit.
    pub unit: String,
    pub node: u8,
    pub tone: Prompt,
    pub attendant: Prompt,
    pub serials: SerialBlock,
    /// Where unreserved numbers begin: chance.
    pub luck: u32,
}

/// What leaves the shard.
#[derive(Debug)]
pub enum Output {
    Send {
        flow: Flow,
        /// Where a new connection is to be made when the flow's is gone.
        reconnect: Option<SocketAddr>,
        bytes: Bytes,
    },
    Close {
        flow: Flow,
    },
    Desk(ToDesk),
    Casebook(ToCasebook),
    /// Part of a recording, for the log.
    Chunk {
        no: AlertNo,
        chunk: Chunk,
    },
    /// Nothing of this recording will follow; cut it into files. The key is that of its chunks.
    RecordingEnded {
        key: u64,
        no: AlertNo,
    },
    /// A socket pair is in use, or free again.
    PortTaken(u16),
    PortFreed(u16),
    /// Fewer than half of the serials are left.
    WantSerials,
    /// For the metrics.
    Observed(Observed),
}

/// Durations and counts that the metrics are made of.
#[derive(Clone, PartialEq, Debug)]
pub enum Observed {
    Answered {
        trunk: String,
        mode: AnswerMode,
        after: Duration,
    },
    Bridged {
        after: Duration,
    },
    CallEnded {
        trunk: String,
        result: &'static str,
    },
    Breach {
        promise: Promise,
    },
    /// A call was refused: the status, and whose call it was.
    Refused {
        trunk: String,
        code: u16,
        reason: &'static str,
    },
    /// A seat was passed over, or late.
    SeatFailed {
        why: &'static str,
    },
    /// A leg was missed: nothing came of it, and it did not answer.
    Vanished {
        role: Role,
    },
    /// A leg was up for two seconds, never heard, and strangers knocked.
    Deaf {
        role: Role,
    },
    /// A call machine panicked; its call was ended, the others go on.
    Panicked,
}

/// Sizes, for the metrics and for the checkers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub calls: usize,
    pub sessions: usize,
    pub transactions: usize,
    pub media_legs: usize,
    pub rooms: usize,
    pub ports_free: usize,
}

struct Leg {
    role: Role,
    session: Option<SessionId>,
    media: Option<LegId>,
    port: Option<u16>,
    answered: bool,
    sdp: LocalSdp,
    /// What is to be played as soon as there is media.
    playing: Option<(Prompt, bool)>,
    /// Where its media comes from, on a shared port.
    origin: Option<Origin>,
    /// For a peer behind a NAT: where its signalling comes from.
    signals_from: Option<IpAddr>,
    /// It may stand behind a NAT, as its account or trunk says.
    nat: bool,
    /// What its stream's SSRC and numbers follow from.
    seed: u64,
    track: Option<u8>,
}

/// Our side of a leg's SDP: written once, versioned with each change.
#[derive(Clone, Debug, Default)]
struct LocalSdp {
    version: u64,
    /// What our 200 will say; nothing once it has gone out.
    text: Vec<u8>,
    /// We offered, and their answer has not come.
    offered: bool,
}

struct CallSlot {
    call: Option<Call>,
    no: AlertNo,
    trunk: usize,
    number: String,
    place: Place,
    legs: Legs,
    room: Option<RoomId>,
    recorded: bool,
    /// How many legs of each role have had a track: none is given twice.
    tracks: BTreeMap<Role, u8>,
    /// The desk's word about the seats that are asked, or have the call.
    seats: Vec<(SeatId, SeatInfo, Contact)>,
    /// Whoever was asked in by name and is of a unit that is complained of.
    avoided: Vec<Missed>,
    /// The desk's word about each responder that was reserved for it.
    responders: BTreeMap<u32, Box<ReservedResponder>>,
    result: &'static str,
    /// It counts among its trunk's calls.
    counted: bool,
    is_call_back: bool,
    armed: Armed,
}

pub struct Shard {
    config: ShardConfig,
    sip: Endpoint,
    media: Engine,
    mint: Mint,
    calls: Calls,
    /// By trunk: calls up, and those that began in the present second.
    shares: Vec<arrival::Share>,
    by_session: HashMap<SessionId, (CallKey, LegNo)>,
    by_media: HashMap<LegId, (CallKey, LegNo)>,
    /// By half the port's number.
    by_port: Vec<Option<LegId>>,
    /// Shared ports: streams are told apart by where they come from.
    sources: Sources,
    ports: VecDeque<u16>,
    serials: Serials,
    timers: TimerQueue<CallKey>,
    /// Legs that could not even be started; told to their calls after the present output.
    failed_at_once: VecDeque<(CallKey, LegNo)>,
    /// Lines of ours that wait for the answer to their MESSAGE.
    paging: BTreeMap<sip::PageId, String>,
    /// The wall clock at the input being handled.
    wall: Wall,
    /// Whose act is being carried out.
    acting: String,
    outputs: VecDeque<Output>,
}

impl Shard {
    pub fn new(mut config: ShardConfig) -> Shard {
        let mut mint = Mint::new(config.seed);
        let sip = Endpoint::new(sip::Config {
            address: config.sip_address,
            realm: config.realm.clone(),
            accounts: std::mem::take(&mut config.accounts),
            registrar: config.registrar.clone(),
            peers: config.trunks.iter().flat_map(|t| t.sources.clone()).collect(),
            trunks: config.trunks.iter().map(Trunk::addresses).collect(),
            seed: mint.seed(),
            shard: config.shard,
            call_ids: config.call_ids,
            first_page: crate::route::first_page(config.shard),
        });
        Shard {
            sip,
            media: Engine::default(),
            mint,
            calls: Calls::new(config.shard),
            shares: vec![arrival::Share::default(); config.trunks.len()],
            by_session: HashMap::new(),
            by_media: HashMap::new(),
            by_port: Vec::new(),
            sources: Sources::default(),
            ports: VecDeque::new(),
            serials: Serials::new(Holder::Shard(config.shard), config.shards, config.serials, config.luck),
            timers: TimerQueue::default(),
            failed_at_once: VecDeque::new(),
            paging: BTreeMap::new(),
            wall: Wall(0),
            acting: String::new(),
            outputs: VecDeque::new(),
            config,
        }
    }

    /// One SIP datagram or framed message.
    pub fn handle_sip(&mut self, now: Mono, wall: Wall, flow: Flow, bytes: Bytes) {
        self.wall = wall;
        self.sip.handle_message(now, flow, bytes);
        self.settle(now);
    }

    pub fn handle_broken_stream(&mut self, now: Mono, wall: Wall, flow: Flow, bytes: Bytes, what: &'static str) {
        self.wall = wall;
        self.sip.handle_broken_stream(flow, bytes, what);
        self.settle(now);
    }

    /// What was to be sent over a TCP connection could not be, nor over a new one to `remote`.
    pub fn handle_unreachable(&mut self, now: Mono, wall: Wall, connection: u32, remote: SocketAddr) {
        self.wall = wall;
        self.sip.handle_unreachable(now, connection, remote);
        self.settle(now);
    }

    /// Takes up where a phone was registered before a restart. `false`: there is no such account.
    pub fn restore_binding(&mut self, now: Mono, user: &str, binding: sip::Binding) -> bool {
        let known = self.sip.restore_binding(user, binding.clone());
        if known {
            let user = user.to_owned();
            self.outputs.push_back(Output::Desk(ToDesk::Registered { user, binding, restored: true }));
        }
        self.settle(now);
        known
    }

    /// Where those are who are in a call or registered.
    pub fn correspondents(&self) -> BTreeSet<IpAddr> {
        self.sip.correspondents().collect()
    }

    /// TCP connections that carry a call or a registration.
    pub fn connections(&self) -> BTreeSet<u32> {
        self.sip.connections()
    }

    /// A TCP connection is gone.
    pub fn handle_closed(&mut self, now: Mono, wall: Wall, connection: u32) {
        self.wall = wall;
        self.sip.handle_closed(connection);
        self.settle(now);
    }

    /// One datagram from the RTP (or RTCP) socket of `port`; the events come with the next tick.
    pub fn handle_media(&mut self, now: Mono, port: u16, rtcp: bool, source: SocketAddr, bytes: &[u8]) {
        let leg = if self.config.shared_media {
            self.sources.find(port, rtcp, source, bytes)
        } else {
            self.by_port.get(usize::from(port / 2)).copied().flatten()
        };
        let Some(leg) = leg else { return };
        let media = &mut self.media;
        let taken = catch_unwind(AssertUnwindSafe(|| match rtcp {
            true => media.handle_rtcp(now, leg, source, bytes),
            false => media.handle_rtp(now, leg, source, bytes),
        }));
        if taken.is_err()
            && let Some(&(key, _)) = self.by_media.get(&leg)
        {
            self.abandon_panicked(now, key);
        }
    }

    pub fn handle_message(&mut self, now: Mono, wall: Wall, message: ToShard) {
        self.wall = wall;
        self.take_message(now, message);
        self.settle(now);
    }

    /// A bound socket pair that may be used: RTP on `port`, which is even, RTCP on the one after.
    pub fn grant_port(&mut self, port: u16) {
        let place = usize::from(port / 2);
        if self.by_port.len() <= place {
            self.by_port.resize(place + 1, None);
        }
        self.ports.push_back(port);
    }

    pub fn handle_timeout(&mut self, now: Mono, wall: Wall) {
        self.wall = wall;
        self.sip.handle_timeout(now);
        self.settle(now);
        while let Some(key) = self.timers.pop_due(now) {
            self.with_call(now, key, |call| call.handle_timeout(now));
        }
        self.settle(now);
    }

    /// 20 ms of media for everybody; send `packets` afterwards.
    pub fn tick(&mut self, now: Mono, wall: Wall) {
        self.wall = wall;
        self.media.tick(now, wall);
        self.settle(now);
    }

    /// What the last tick wants sent: port, destination, whether RTCP, bytes.
    pub fn packets(&self) -> impl Iterator<Item = (u16, SocketAddr, bool, &[u8])> {
        self.media.packets().map(|p| (p.tag as u16, p.to, p.rtcp, p.bytes))
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let call = self.timers.next_deadline().map(|at| (at, "call timer"));
        [self.sip.poll_timeout(), call].into_iter().flatten().min()
    }

    pub fn set_draining(&mut self, draining: bool) {
        self.sip.set_draining(draining);
    }

    /// Ends every call: the process is going.
    pub fn hang_up_all(&mut self, now: Mono, wall: Wall) {
        self.wall = wall;
        let keys: Vec<CallKey> = self.calls.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.input(now, key, dispatch::Input::HangUp);
        }
        self.settle(now);
    }

    pub fn counts(&self) -> Counts {
        let (sessions, transactions, _) = self.sip.population();
        let (media_legs, rooms) = self.media.population();
        Counts { calls: self.calls.len(), sessions, transactions, media_legs, rooms, ports_free: self.ports.len() }
    }

    pub fn sip_counters(&self) -> Counters {
        self.sip.counters
    }

    pub fn media_stats(&self) -> media::Stats {
        self.media.stats()
    }
}

/// The chain of units, and the one that owns: local police, the reception unit when the grid is unknown.
pub(crate) fn jurisdiction(unit: &str, grids: &GridMap, place: &Place) -> (Vec<String>, String) {
    let mut chain = vec![unit.to_owned()];
    let mut owner = unit;
    if let Some(grid) = grids.of(place) {
        let mut above: Vec<String> = grids.chain(&grid.unit).filter(|u| *u != unit).map(str::to_owned).collect();
        above.reverse();
        chain.extend(above);
        chain.push(grid.id.clone());
        owner = &grid.unit;
    }
    (chain, owner.to_owned())
}

/// Where a reporter is, as somebody was told.
pub(crate) fn spoken(unit: &str, grids: &GridMap, place: &Place, at: Wall) -> casework::Place {
    let (jurisdiction, owner) = jurisdiction(unit, grids, place);
    let grid_code = grids.of(place).map(|g| g.id.clone()).unwrap_or_default();
    let location = Location {
        wgs84: place.point,
        original: None,
        civic: String::new(),
        grid_code,
        source: LocationSource::Spoken,
        at: Stamp(at),
        from: None,
    };
    casework::Place { location, jurisdiction, owner }
}

/// The file name of a track without its suffix; the inverse of how `legs` numbers them.
pub fn track_name(track: u8) -> String {
    const ROLES: [Role; 8] = [
        Role::Reporter,
        Role::Taker,
        Role::Officer,
        Role::Unit,
        Role::Superior,
        Role::Attendant,
        Role::Supervisor,
        Role::Agency,
    ];
    if track == codecs::audio::chunk::MIX {
        return "mix".into();
    }
    let role = ROLES[(track as usize - 1) % 8 % ROLES.len()].track();
    match (track - 1) / 8 {
        0 => role.into(),
        n => format!("{role}-{}", n + 1),
    }
}
