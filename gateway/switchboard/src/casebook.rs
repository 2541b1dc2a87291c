//! The casebook: all alerts and conversations, the events that come of facts, and what waits for the disk.
//!
//! Frames leave in the order of the journal. A `Reply` and an `Outbound` leave only after `handle_durable` has
//! covered every frame of their request: acknowledging, and telling the reporter, always wait for the disk.

#[cfg(test)]
mod agency_tests;
#[cfg(test)]
mod below_tests;
mod intake;
#[cfg(test)]
mod joined_tests;
mod keeping;
mod orders;
#[cfg(test)]
mod orders_tests;
mod people;
#[cfg(test)]
mod person_tests;
#[cfg(test)]
mod reopened_tests;
mod silence;
#[cfg(test)]
mod silence_tests;
mod stored;
mod talk;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use codecs::journal::Kind;
use codecs::record::{Address, AlertNo, AlertRecord, Channel, CloudEvent, LineState, Location, LocationSource, Note};
use codecs::time::{Mono, Wall};

use casework::{Alerts, DispatchFact, Fetch, KeywordTable, Output as AlertOutput, Suggestions};
use dispatch::approach::Approaching;
use dispatch::callback::CallBack;
use dispatch::conversation::{Assembly, Conversations, Lately, Outlet, QuotaRule, Rules, Seen};
pub use dispatch::conversation::{News, Notice};
use dispatch::nearest::{GridMap, Place};
use dispatch::seat::GroupId;
pub use orders::Orders;

use crate::message::{Failure, KeptBinding, Reply, RequestId, SerialBlock, ToCasebook, ToDesk, ToShard};
use crate::serials::{Holder, Serials};
use crate::shard::Subscriber;

/// A channel by which people write, as the casebook needs to know it.
#[derive(Clone, Debug)]
pub struct ChannelRule {
    pub name: String,
    /// On the record.
    pub channel: Channel,
    pub group: GroupId,
    pub skills: u32,
    /// The machine's receipt, `{no}` standing for the alert's number; none: the channel sends none.
    pub receipt: Option<String>,
    pub default_grid: Option<String>,
    /// Its users are telephone numbers.
    pub user_is_phone: bool,
    /// The telephone number that comes with a message is the sender's, as the channel has made sure of; otherwise it is
    /// only claimed.
    pub proves_phone: bool,
    pub quota: QuotaRule,
    /// Once the quota is spent a line still goes, as the platform's template message.
    pub has_template: bool,
    /// Its users' apps fetch what they missed: a line that was not fetched in time is kept for them.
    pub is_fetched: bool,
}

impl ChannelRule {
    fn outlet(&self) -> Outlet {
        Outlet {
            name: self.name.clone(),
            quota: self.quota,
            has_template: self.has_template,
            is_sms: self.channel == Channel::Sms12110,
        }
    }

    /// Of a channel that the configuration no longer has, and of which something was still to come.
    fn gone(name: &str) -> ChannelRule {
        ChannelRule {
            name: name.to_owned(),
            channel: Channel::Transferred,
            group: GroupId(0),
            skills: 0,
            receipt: None,
            default_grid: None,
            user_is_phone: false,
            proves_phone: false,
            quota: QuotaRule::default(),
            has_template: false,
            is_fetched: false,
        }
    }
}

/// How long things are remembered and waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A further word within this time of the last belongs to the same alert.
    pub join_within: Duration,
    /// Missing parts of a long message.
    pub parts_within: Duration,
    /// A conversation in which nobody says anything is over.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            join_within: Duration::from_secs(30 * 60),
            parts_within: Duration::from_secs(60),
            idle: Duration::from_secs(30 * 60),
        }
    }
}

#[derive(Clone)]
pub struct CasebookConfig {
    /// `/gw/<unit>/<node>`.
    pub source: String,
    pub unit: String,
    pub node: u8,
    /// How many mint numbers beside it.
    pub shards: u16,
    /// Where unreserved numbers begin: chance.
    pub luck: u32,
    pub keywords: KeywordTable,
    pub suggestions: Suggestions,
    /// Who is told of an alert.
    pub rules: casework::Rules,
    pub channels: Vec<ChannelRule>,
    pub grids: Arc<GridMap>,
    pub subscribers: Arc<BTreeMap<String, Subscriber>>,
    pub patience: Patience,
    /// Octets of revisions and files that one sender may have stored in a day; none: without a bound.
    pub stored_a_day: Option<u64>,
    /// Officers have their orders in writing too, and answer by a digit.
    pub orders: Option<Arc<Orders>>,
}

/// How long names of messages are kept.
const NAMES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Names of messages in one frame of a snapshot.
const NAMES_A_NOTE: usize = 10_000;

/// A line for a channel to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outbound {
    pub line: String,
    pub to: Address,
    pub body: String,
    /// The message that it answers.
    pub reply_to: String,
    pub urgent: bool,
    pub notice: bool,
    /// The quota is spent: as the platform's template message.
    pub templated: bool,
    /// When the report came, for the receipt's and the answer's time.
    pub arrived: Wall,
    pub is_receipt: bool,
    pub is_answer: bool,
}

impl Outbound {
    /// A line that is neither receipt nor answer.
    fn plain(line: String, to: Address, body: String, at: Wall) -> Outbound {
        Outbound {
            line,
            to,
            body,
            reply_to: String::new(),
            urgent: false,
            notice: false,
            templated: false,
            arrived: at,
            is_receipt: false,
            is_answer: false,
        }
    }
}

#[derive(Debug)]
pub enum Output {
    /// The next frame of the journal: an event.
    Append {
        at: Wall,
        event: Box<CloudEvent>,
    },
    /// The next frame of the journal: anything else.
    Frame {
        at: Wall,
        kind: Kind,
        payload: Vec<u8>,
    },
    Reply(Reply),
    Shard(ToShard),
    Desk(ToDesk),
    Outbound(Box<Outbound>),
    /// A line that its channel may not have sent yet is not to go.
    Withdraw {
        channel: String,
        line: String,
    },
    Fetch(Fetch),
    /// News for whoever sits at a seat.
    Notice(Notice),
    /// How an alert of this seat's stands, for whoever sits down there.
    Standing {
        seat: String,
        alert: AlertNo,
    },
    /// How an alert stands that an officer is called to, for whoever looks at their page.
    CalledTo {
        officer: String,
        alert: AlertNo,
    },
    /// An app is shown how an officer comes nearer; nothing of it is kept.
    Approach {
        to: Address,
        no: AlertNo,
        news: Approaching,
    },
    /// A message was received before, or was not taken; for the metrics.
    Counted {
        channel: String,
        what: &'static str,
    },
}

/// What waits until a frame is on disk.
enum Deferred {
    Reply(Reply),
    Outbound(Box<Outbound>),
    Fetch(Fetch),
}

pub struct Casebook {
    config: CasebookConfig,
    alerts: Alerts,
    talks: Conversations,
    seen: Seen,
    /// Names made of the content: held for minutes.
    seen_lately: Lately,
    assembly: Assembly,
    /// The monotonic instant of the input being handled.
    now: Mono,
    /// Octets of revisions so far, and of each sender today.
    written: u64,
    stored: stored::Stored,
    /// Files that are not fetched; told after the present fact.
    refused_files: VecDeque<(AlertNo, casework::Fact)>,
    /// Where phones have registered.
    bindings: BTreeMap<String, KeptBinding>,
    silence: silence::Silence,
    serials: Serials,
    keeping: keeping::Keeping,
    /// Frames that left since the casebook began, and those of them that are durable.
    frames: u64,
    durable: u64,
    store_full: bool,
    /// Whose act the present message is.
    acting: String,
    waiting: VecDeque<(u64, Deferred)>,
    /// What the journal noted about lines; used up at the start.
    /// Long messages that became whole by what the journal noted.
    restored_long: Vec<dispatch::conversation::Joined>,
    restored_lines: BTreeMap<String, LineState>,
    restored_outbound: BTreeMap<String, Outbound>,
    outputs: VecDeque<Output>,
}

impl Casebook {
    /// What the journal tells at once comes with `take_front`, the rest with `take_up`.
    pub fn new(mut config: CasebookConfig) -> Casebook {
        let keywords = std::mem::replace(&mut config.keywords, KeywordTable::empty());
        let mut alerts = Alerts::new(config.source.clone(), config.node.to_string(), keywords);
        alerts.set_rules(std::mem::take(&mut config.rules));
        alerts.set_suggestions(std::mem::replace(&mut config.suggestions, Suggestions::none()));
        Casebook {
            alerts,
            talks: Conversations::new(Rules {
                idle: config.patience.idle,
                join_within: config.patience.join_within,
                outlets: config.channels.iter().map(ChannelRule::outlet).collect(),
            }),
            seen: Seen::new(NAMES_KEPT),
            seen_lately: Lately::new(Duration::from_secs(10 * 60)),
            assembly: Assembly::new(config.patience.parts_within, Duration::from_secs(600)),
            now: Mono(0),
            written: 0,
            stored: stored::Stored::default(),
            refused_files: VecDeque::new(),
            bindings: BTreeMap::new(),
            serials: Serials::new(
                Holder::Casebook,
                config.shards,
                SerialBlock { from: 0, until: 0, date: 0 },
                config.luck,
            ),
            silence: silence::Silence::default(),
            keeping: keeping::Keeping::new(),
            frames: 0,
            durable: 0,
            store_full: false,
            acting: String::new(),
            waiting: VecDeque::new(),
            restored_long: Vec::new(),
            restored_lines: BTreeMap::new(),
            restored_outbound: BTreeMap::new(),
            outputs: VecDeque::new(),
            config,
        }
    }

    pub fn handle(&mut self, now: Mono, message: ToCasebook) {
        self.now = now;
        match message {
            ToCasebook::By { by, message } => {
                self.alerts.set_actor(Some(by.clone()));
                self.acting = by;
                self.handle(now, *message);
                self.acting.clear();
                self.alerts.set_actor(None);
                return;
            }
            ToCasebook::Fact { no, at, fact, request } => self.take_fact(at, no, fact, request),
            ToCasebook::Triage { at, no, said, place, request } => {
                let result = self.triage(at, no, said, place);
                self.answer(request, result);
            }
            ToCasebook::Handle { at, no, step, request } => {
                let result = self.handle_step(at, no, *step);
                self.answer(request, result);
            }
            ToCasebook::Incoming { at, message, request } => match self.is_store_full() {
                Some(full) => self.answer(request, Err(full)),
                None => self.incoming(at, *message, request),
            },
            ToCasebook::ConversationGiven { at, alert, seat, overflow } => {
                self.talks.given(alert, seat, overflow);
                self.follow_talks(at);
            }
            ToCasebook::ConversationTakenBack { at, alert, seat } => {
                self.talks.taken_back(alert, seat);
                self.follow_talks(at);
            }
            ToCasebook::Say(say) => self.say(*say),
            ToCasebook::Done { at, no, seat, request } => {
                let result = self.done(at, no, &seat);
                self.answer(request, result);
            }
            ToCasebook::Join { at, from, to, request } => {
                let result = self.join(at, from, to).map(|()| Some(to));
                self.answer(request, result);
            }
            ToCasebook::Split { at, no, sender, request } => {
                let result = self.split(at, no, &sender).map(Some);
                self.answer(request, result);
            }
            ToCasebook::SplitCall { at, no, call, request } => {
                let result = self.split_call(at, no, call).map(Some);
                self.answer(request, result);
            }
            ToCasebook::LineState { at, line, state, why } => self.line_state(at, line, state, why),
            ToCasebook::Send { at, line, to, body, notice, request } => {
                let result = self.send(at, line, to, body, notice).map(|()| None);
                self.answer(request, result);
            }
            ToCasebook::Binding { at, user, binding } => self.note_binding(at, user, binding),
            ToCasebook::CallBackDropped { at, no, joined: Some(other) } => self.called_back_as(at, no, other),
            ToCasebook::CallBackDropped { at, no, joined: None } => {
                self.fact(at, no, casework::Fact::Mark("call_back_given_up"));
                self.fact(at, no, casework::Fact::Call(casework::CallFact::Unreached));
            }
            ToCasebook::Tell { at, seat } => {
                self.talks.tell_all(&seat);
                self.follow_talks(at);
                self.tell_standing(&seat);
            }
            ToCasebook::Approach { no, news } => self.approach(no, news),
            ToCasebook::TellOfficer { officer } => self.tell_officer(&officer),
            ToCasebook::Duty { at, officer, on_duty, request } => self.change_duty(at, officer, on_duty, request),
            ToCasebook::Remember { at, note, request } => {
                self.note(at, &note);
                self.remember(self.now, at, *note);
                self.answer(request, Ok(None));
            }
            ToCasebook::WantSerials { at, shard } => self.reserve(at, Some(shard)),
        }
        self.release();
    }

    fn take_fact(&mut self, at: Wall, no: AlertNo, fact: casework::Fact, request: RequestId) {
        if let casework::Fact::Text(casework::TextFact::Fetched { vendor_id, stored, .. }) = &fact {
            self.charge_file(at, no, vendor_id, *stored);
        }
        let caller = match &fact {
            casework::Fact::Arrived(arrival) => Some(arrival.caller.clone()),
            _ => None,
        };
        let joins = caller.as_ref().and_then(|caller| self.call_arrives(no, caller));
        let complaint = match &fact {
            casework::Fact::Incident(casework::IncidentFact::Triaged(said)) => said.complaint_of.clone(),
            _ => None,
        };
        let ended = match &fact {
            casework::Fact::Dispatch(DispatchFact::TryEnded { officer, result, .. }) => {
                Some((officer.clone(), *result))
            }
            _ => None,
        };
        let taken = self.fact(at, no, fact);
        if let Some((officer, result)) = ended {
            self.order(at, no, &officer, result);
        }
        if let Some(caller) = caller {
            self.heed_silence_of_caller(at, no, &caller);
        }
        if let Some(complaint) = complaint {
            self.spread_complaint(at, no, &complaint);
        }
        if let Some(from) = joins {
            // Both are open, as was just seen.
            let _ = self.join(at, from, no);
        }
        self.answer(request, if taken { Ok(Some(no)) } else { Err(Failure::Conflict("the alert is not open")) });
    }

    /// Where a phone is registered, kept for a restart.
    fn note_binding(&mut self, at: Wall, user: String, binding: Option<KeptBinding>) {
        let note = match binding {
            Some(binding) => {
                let note = binding.note(&user);
                self.bindings.insert(user, binding);
                note
            }
            None if self.bindings.remove(&user).is_some() => Note::Unbound { user },
            None => return,
        };
        self.note(at, &note);
    }

    /// Feeds one fact.
    fn fact(&mut self, at: Wall, no: AlertNo, fact: casework::Fact) -> bool {
        self.keeping.given(no);
        let taken = self.alerts.handle_fact(self.now, at, no, fact);
        self.follow_alerts(at);
        taken
    }

    /// Hands on what alerts want; what comes of it is queued in the journal's order.
    fn follow_alerts(&mut self, at: Wall) {
        let mut silent = Vec::new();
        while let Some(output) = self.alerts.poll_output() {
            match output {
                AlertOutput::Event(event) => {
                    self.written += event.sealed_len() as u64;
                    self.frames += 1;
                    self.keeping.grow(event.sealed_len());
                    self.outputs.push_back(Output::Append { at, event });
                }
                // Whoever asks for silence elsewhere is not rung, whatever their alert says.
                AlertOutput::CallBack { no, number, .. } if self.is_silent_number(&crate::telephone(&number)) => {
                    silent.push(no);
                }
                AlertOutput::CallBack { no, number, trunk } => {
                    let place = self.known_place(no);
                    self.outputs.push_back(Output::Desk(ToDesk::CallBack(CallBack { no, number, trunk, place })));
                }
                AlertOutput::Moved { no } => {
                    let place = self.known_place(no);
                    self.outputs.push_back(Output::Desk(ToDesk::Moved { no, place: place.clone() }));
                    self.outputs.push_back(Output::Shard(ToShard::Moved { no, place }));
                }
                AlertOutput::Withdraw { channel, line } => self.withdraw(channel, line),
                AlertOutput::Silenced { no } => {
                    self.outputs.push_back(Output::Desk(ToDesk::Silence { no }));
                    self.outputs.push_back(Output::Shard(ToShard::Silence { no }));
                }
                AlertOutput::Say(say) => self.queue_line(at, *say),
                AlertOutput::Fetch(fetch) => self.fetch(at, fetch),
                AlertOutput::Released { no } => self.talks.forget(no),
            }
        }
        for no in silent {
            self.fact(at, no, casework::Fact::Text(casework::TextFact::Silenced { readers: Vec::new() }));
        }
        while let Some((no, fact)) = self.refused_files.pop_front() {
            self.fact(at, no, fact);
        }
    }

    /// Answers a request once everything queued so far is on disk. A refusal needs no disk.
    fn answer(&mut self, request: RequestId, result: Result<Option<AlertNo>, Failure>) {
        if request == RequestId::default() {
            return;
        }
        let reply = Reply { request, result };
        if reply.result.is_err() {
            self.outputs.push_back(Output::Reply(reply));
        } else {
            self.defer(Deferred::Reply(reply));
        }
    }

    fn defer(&mut self, what: Deferred) {
        self.waiting.push_back((self.frames, what));
    }

    /// Whether anybody waits for the disk: an acknowledgement, or a line that may not leave before.
    pub fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// So many of the frames that left are durable.
    pub fn handle_durable(&mut self, frames: u64) {
        self.durable = self.durable.max(frames);
        self.release();
    }

    fn release(&mut self) {
        self.hand_out_reserved();
        while let Some((_, what)) = self.waiting.pop_front_if(|(frame, _)| *frame <= self.durable) {
            self.outputs.push_back(match what {
                Deferred::Reply(reply) => Output::Reply(reply),
                Deferred::Outbound(outbound) => Output::Outbound(outbound),
                Deferred::Fetch(fetch) => Output::Fetch(fetch),
            });
        }
    }

    /// The disk does not take it: whoever waits for an acknowledgement gets none, now. What is queued is still written
    /// once the disk is back.
    pub fn refuse_waiting(&mut self) -> Vec<RequestId> {
        let mut refused = Vec::new();
        self.waiting.retain(|(_, what)| match what {
            Deferred::Reply(reply) => {
                refused.push(reply.request);
                false
            }
            Deferred::Outbound(_) | Deferred::Fetch(_) => true,
        });
        refused
    }

    /// A number for a report that comes in writing, and whether it was reserved.
    fn mint_number(&mut self, at: Wall) -> (AlertNo, bool) {
        let (serial, reserved) = self.serials.next(at);
        if self.serials.wants_more(at) {
            self.reserve(at, None);
        }
        (AlertNo::mint(&self.config.unit, at.beijing_date(), self.config.node, serial), reserved)
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn handle_timeout(&mut self, now: Mono, at: Wall) {
        self.now = now;
        self.talks.handle_timeout(now);
        self.follow_talks(at);
        self.alerts.handle_timeout(now, at);
        self.follow_alerts(at);
        self.parts_timeouts(at);
        self.release();
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let parts = self.assembly.next_due().map(|at| (at, "missing parts"));
        [self.talks.poll_timeout(), self.alerts.poll_timeout(), parts].into_iter().flatten().min()
    }

    /// The instant of something of which only the wall time is known: as long ago as the clocks say, and never ahead.
    fn instant_of(&self, at: Wall, then: Wall) -> Mono {
        self.now - Duration::from_nanos(u64::try_from(at.0 - then.0).unwrap_or(0))
    }

    /// When a name was noted, for forgetting it: it is kept for an hour at least, since the clock may have leapt.
    fn named_at(&self, at: Wall, then: Wall) -> Mono {
        let latest = NAMES_KEPT - Duration::from_secs(3600);
        self.instant_of(at, then).max(self.now - latest)
    }

    /// Those that ended a short while ago.
    pub fn lately(&self) -> impl Iterator<Item = &AlertRecord> {
        self.alerts.recent()
    }

    pub fn open(&self) -> impl Iterator<Item = (&AlertNo, &AlertRecord)> {
        self.alerts.open()
    }

    /// The record, open or ended a short while ago.
    pub fn record(&self, no: AlertNo) -> Option<&AlertRecord> {
        self.alerts.get(no)
    }

    /// Everything a start needs besides alerts: parts, and names of messages.
    fn lasting_notes(&self) -> Vec<Note> {
        let mut notes: Vec<Note> = self.assembly.parts().map(|(_, part)| intake::part_note(&part)).collect();
        let mut known: Vec<(&str, Vec<(String, String)>)> = Vec::new();
        for (channel, name, no) in self.seen.iter() {
            let name = (format!("{name:032x}"), no.map(|n| n.to_string()).unwrap_or_default());
            match known.last_mut().filter(|(last, names)| *last == channel && names.len() < NAMES_A_NOTE) {
                Some((_, names)) => names.push(name),
                None => known.push((channel, vec![name])),
            }
        }
        notes.extend(known.into_iter().map(|(channel, names)| Note::Known { channel: channel.to_owned(), names }));
        notes
    }

    /// Conversations open, and messages of which parts are missing.
    pub fn counts(&self) -> (usize, usize) {
        (self.talks.len(), self.assembly.len())
    }

    /// Where an alert's reporter is, as whoever looks for an officer wants it: the newest that is known of it, or of what
    /// it goes on as.
    fn known_place(&self, no: AlertNo) -> Place {
        let all = [no, self.alerts.goes_on_as(no)].into_iter().filter_map(|no| self.alerts.get(no));
        let known = |l: &&Location| l.wgs84.is_some() || !l.grid_code.is_empty();
        // What a trunk takes for granted counts where nothing else is known.
        let worth = |l: &&Location| (l.source != LocationSource::TrunkDefault, l.at);
        let newest = all.flat_map(|record| &record.location).filter(known).max_by_key(worth);
        let grid = |l: &Location| Some(l.grid_code.clone()).filter(|g| !g.is_empty());
        let both = [self.alerts.goes_on_as(no), no].map(|no| self.alerts.get(no)?.incident.complaint_of.clone());
        let avoid = both.into_iter().flatten().next();
        let place = newest.map_or_else(Place::default, |l| Place { grid: grid(l), point: l.wgs84, avoid: None });
        Place { avoid, ..place }
    }

    fn channel(&self, name: &str) -> Option<&ChannelRule> {
        self.config.channels.iter().find(|c| c.name == name)
    }
}

/// The states that a line can still leave.
fn is_final(state: LineState) -> bool {
    matches!(state, LineState::Delivered | LineState::Failed)
}
