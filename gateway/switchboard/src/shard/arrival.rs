//! Calls as they come: whose they are, what is known of them, whether there is room; and those that are called back.

use codecs::record::{AlertNo, Location, LocationSource, Promise, Role, Stamp, Subscriber as RecordSubscriber};
use codecs::sip::{Message, Name, NameAddr, Scheme, Uri, split_commas};
use codecs::time::Mono;
use dispatch::callback::CallBack;
use dispatch::nearest::Place;
use dispatch::{CALLER, Call, Policy};
use sip::{Invitation, Refused};

use super::{CallSlot, Leg, LocalSdp, Observed, Output, Shard};
use crate::limits::{self, Cutter};
use crate::message::ToDesk;
use crate::{is_telephone, telephone};

/// Refused calls of a trunk that are told in a second, each with an alert of its own; what is beyond is counted.
const REFUSALS_TOLD: u32 = 20;

/// What a trunk has of the shard.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Share {
    /// Calls that are up.
    pub up: usize,
    /// The second that the next two are of.
    second: u64,
    begun: u32,
    told: u32,
}

impl Share {
    fn at(&mut self, now: Mono) -> &mut Share {
        let second = now.as_millis() / 1000;
        if second != self.second {
            (self.second, self.begun, self.told) = (second, 0, 0);
        }
        self
    }
}

/// Who calls whom, as the first message says.
struct Caller {
    number: String,
    called: String,
    call_id: String,
    marks: Vec<String>,
}

impl Caller {
    fn of(message: &Message) -> Caller {
        let mut cutter = Cutter::default();
        let word = String::from_utf8_lossy(message.get(Name::CallId).unwrap_or_default()).into_owned();
        let number = calling_number(message, &mut cutter);
        let called = dialled(message, &mut cutter);
        let call_id = cutter.kept(limits::MESSAGE_ID, word);
        let mut marks: Vec<String> = cutter.marks.into_iter().map(Into::into).collect();
        if number.is_empty() {
            marks.push("number_withheld".into());
        }
        Caller { number, called, call_id, marks }
    }
}

impl Shard {
    pub(super) fn invited(&mut self, now: Mono, invitation: Invitation) {
        let Some(trunk) = self.trunk_of(invitation.flow.remote.ip()) else {
            return self.sip.reject(now, invitation.session, 403, None);
        };
        let (calls_max, new_calls_max) = (self.config.trunks[trunk].calls_max, self.config.trunks[trunk].new_calls_max);
        let share = self.shares[trunk].at(now);
        share.begun += 1;
        if share.up >= calls_max || share.begun > new_calls_max {
            return self.refuse(now, trunk, &invitation, 503, "trunk_share", "2103", "the trunk's share is used up");
        }
        let caller = Caller::of(&invitation.message);
        let attendant_only = self.config.trunks[trunk].attendant_user.as_deref() == Some(caller.called.as_str());
        let policy = Policy { attendant_only, ..self.config.policy.clone() };
        let (no, reserved) = self.mint_number();
        let slot = self.new_slot(no, trunk, caller.number.clone());
        let key = self.calls.insert(slot);
        let listens = match self.take_caller_leg(key, &invitation) {
            Ok(listens) => listens,
            Err((code, reason, number, text)) => {
                self.calls.remove(&key);
                return self.refuse(now, trunk, &invitation, code, reason, number, &text);
            }
        };
        let (arrival, place) = self.arrival(trunk, caller, !reserved);
        if let Some(slot) = self.calls.get_mut(&key) {
            (slot.place, slot.counted) = (place, true);
        }
        self.shares[trunk].up += 1;
        self.record(no, casework::Fact::Arrived(Box::new(arrival)));
        self.begin(now, key, Call::arrived(now, policy));
        if !listens {
            self.input(now, key, dispatch::Input::CallerListens { yes: false });
        }
    }

    /// Nobody is refused unseen: an alert with its number and reason, a breach, a count, and a call-back.
    #[expect(
        clippy::too_many_arguments,
        reason = "one refusal, in the words of SIP, of the record and of the operator"
    )]
    fn refuse(
        &mut self,
        now: Mono,
        trunk: usize,
        invitation: &Invitation,
        code: u16,
        reason: &'static str,
        number: &str,
        text: &str,
    ) {
        let said = format!("X.local;cause={number};text=\"GW-{number} {text}\"");
        self.sip.reject(now, invitation.session, code, Some(&said));
        self.tell_refused(now, trunk, &invitation.message, code, reason);
    }

    /// An INVITE that the protocol alone could not serve.
    pub(super) fn refused_by_protocol(&mut self, now: Mono, refused: &Refused) {
        if let Some(trunk) = self.trunk_of(refused.flow.remote.ip()) {
            self.tell_refused(now, trunk, &refused.message, refused.code, refused.what);
        }
    }

    fn tell_refused(&mut self, now: Mono, trunk: usize, message: &Message, code: u16, reason: &'static str) {
        let name = self.config.trunks[trunk].name.clone();
        self.observe(Observed::Refused { trunk: name, code, reason });
        let share = self.shares[trunk].at(now);
        share.told += 1;
        if share.told > REFUSALS_TOLD {
            return self.observe(Observed::Breach { promise: Promise::Answer });
        }
        let (no, reserved) = self.mint_number();
        let (arrival, _) = self.arrival(trunk, Caller::of(message), !reserved);
        self.record(no, casework::Fact::Arrived(Box::new(arrival)));
        self.breach(no, Promise::Answer);
        self.record(no, casework::Fact::Call(casework::CallFact::Refused { code, reason }));
        self.outputs.push_back(Output::RecordingEnded { key: 0, no });
    }

    /// Everything known of the report at its first byte, and the place that follows from it.
    fn arrival(&self, trunk: usize, caller: Caller, unreserved: bool) -> (casework::Arrival, Place) {
        let trunk = &self.config.trunks[trunk];
        let subscriber = self.config.subscribers.get(&caller.number);
        let point = subscriber.and_then(|s| s.at);
        let (place, source) = match point {
            Some(_) => (Place { point, ..Place::default() }, LocationSource::Subscriber),
            None => (Place { grid: trunk.default_grid.clone(), ..Place::default() }, LocationSource::TrunkDefault),
        };
        let (jurisdiction, owner) = super::jurisdiction(&self.config.unit, &self.config.grids, &place);
        let location = Location {
            wgs84: place.point,
            original: None,
            civic: subscriber.map(|s| s.address.clone()).unwrap_or_default(),
            grid_code: self.config.grids.of(&place).map(|g| g.id.clone()).unwrap_or_default(),
            source,
            at: Stamp(self.wall),
            from: None,
        };
        let mut marks = caller.marks;
        if unreserved {
            marks.push("number_unreserved".into());
        }
        let arrival = casework::Arrival {
            channel: trunk.channel,
            caller: caller.number,
            called: caller.called,
            trunk: trunk.name.clone(),
            message_id: caller.call_id,
            subscriber: subscriber.map(|s| RecordSubscriber { name: s.name.clone(), address: s.address.clone() }),
            location: Some(location),
            jurisdiction,
            owner,
            marks,
            follows: None,
        };
        (arrival, place)
    }

    fn new_slot(&self, no: AlertNo, trunk: usize, number: String) -> CallSlot {
        CallSlot {
            call: None,
            no,
            trunk,
            number,
            place: Place::default(),
            legs: super::table::Legs::default(),
            room: None,
            recorded: false,
            tracks: std::collections::BTreeMap::new(),
            seats: Vec::new(),
            avoided: Vec::new(),
            responders: std::collections::BTreeMap::new(),
            result: "abandoned",
            counted: false,
            is_call_back: false,
            armed: sip::Armed::default(),
        }
    }

    /// The next number, and whether its serial was reserved on disk.
    fn mint_number(&mut self) -> (AlertNo, bool) {
        let (serial, reserved) = self.serials.next(self.wall);
        if self.serials.wants_more(self.wall) {
            self.outputs.push_back(Output::WantSerials);
        }
        let date = self.wall.beijing_date();
        (AlertNo::mint(&self.config.unit, date, self.config.node, serial), reserved)
    }

    /// By the seats of the trunk it came from, out over whichever trunk takes outgoing calls.
    pub(super) fn call_back(&mut self, now: Mono, what: CallBack) {
        let CallBack { no, number, trunk, place } = what;
        let trunk = self.config.trunks.iter().position(|t| t.name == trunk).unwrap_or(0);
        if self.dial_out(trunk, &number).is_none() {
            // Nowhere to call: said at once.
            self.record(no, casework::Fact::Mark("no_outbound_trunk"));
            self.record(no, casework::Fact::Call(casework::CallFact::Unreached));
            self.outputs.push_back(Output::Desk(ToDesk::CallBackOver { no }));
            return;
        }
        let mut slot = self.new_slot(no, trunk, number);
        (slot.result, slot.is_call_back, slot.place) = ("callback", true, place);
        slot.legs.insert(CALLER, Leg::blank(Role::Reporter));
        let key = self.calls.insert(slot);
        self.record(no, casework::Fact::Call(casework::CallFact::CallingBack));
        self.begin(now, key, Call::calling_back(now, self.config.policy.clone()));
    }

    /// The trunk of a source address: the longest prefix wins.
    pub(super) fn trunk_of(&self, source: std::net::IpAddr) -> Option<usize> {
        let source = source.to_canonical();
        let matching = self.config.trunks.iter().enumerate().flat_map(|(i, t)| {
            t.sources.iter().filter(move |net| net.contains(&source)).map(move |net| (net.prefix_len(), i))
        });
        matching.max_by_key(|(len, i)| (*len, usize::MAX - *i)).map(|(_, i)| i)
    }
}

impl Leg {
    /// A leg of which nothing has been said yet.
    pub(super) fn blank(role: Role) -> Leg {
        Leg {
            role,
            session: None,
            media: None,
            port: None,
            answered: false,
            sdp: LocalSdp::default(),
            playing: None,
            origin: None,
            signals_from: None,
            nat: false,
            seed: 0,
            track: None,
        }
    }
}

pub(super) fn dialled(message: &Message, cutter: &mut Cutter) -> String {
    let uri = Uri::parse(message.request_uri());
    cutter.kept(limits::NUMBER, uri.as_ref().map(Uri::number_text).unwrap_or_default())
}

/// P-Asserted-Identity from the trunk, then From; nothing where neither is a telephone number. Never refused for being
/// odd.
pub(super) fn calling_number(message: &Message, cutter: &mut Cutter) -> String {
    let asserted = message.all(Name::PAssertedIdentity).flat_map(split_commas);
    let from = message.get(Name::From).into_iter();
    let found = asserted.chain(from).find_map(|value| {
        let uri = NameAddr::parse(value)?.uri()?;
        let wanted = matches!(uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel);
        (wanted && !uri.number().is_empty()).then(|| uri.number_text())
    });
    let number = telephone(&cutter.kept(limits::NUMBER, found.unwrap_or_default()));
    Some(number).filter(|n| is_telephone(n)).unwrap_or_default()
}
