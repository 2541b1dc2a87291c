//! All open alerts. One fact, at most a few sealed revisions, each in its envelope.

mod text;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use codecs::record::{
    Address, AlertNo, AlertRecord, CallInfo, CallTimes, CloudEvent, Dispatch, Form, Identity, Incident, KeywordHit,
    Leg, Ownership, Related, Relation, Reporter, Role, Route, Safety, Source, Stamp, State, Step, TextLine, Timer,
    Validity, alert_id,
};
use codecs::time::Wall;

use crate::fact::{Arrival, Fact};
use crate::keyword::KeywordTable;

/// T1 and T2 as the record counts them.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const OFFICER_WITHIN: Duration = Duration::from_secs(30);
/// The longest text of a report (BJNR).
const TEXT_MAX: usize = 2000;
/// The longest name of whoever said a line, and the most lines kept on one alert.
const NAME_MAX: usize = 32;
const LINES_MAX: usize = 500;
/// What a list of a record holds at most; the oldest but the first give way.
const LOCATIONS_MAX: usize = 64;
const CHANNELS_MAX: usize = 16;
const LEGS_MAX: usize = 200;
const RELATED_MAX: usize = 200;
/// A revision beyond this is the last that takes a further word: what is written goes on in a linked alert. With what
/// a call still adds to it a record stays below a mebibyte.
const RECORD_FULL: usize = 768 * 1024;

#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// A new revision: to be journalled, then delivered.
    Event(Box<CloudEvent>),
    /// The reporter gave up before an answer and is to be called back.
    CallBack { no: AlertNo, number: String, trunk: String },
    /// A line for the reporter, to be sent once the revision that notes it is durable.
    Say(Box<Say>),
    /// From now on nothing may ring or be written unasked.
    Silenced { no: AlertNo },
    /// A file that came with a message: its platform keeps it for a few days only.
    Fetch(Fetch),
    /// The alert has come to its end and is no longer held.
    Released { no: AlertNo },
}

/// A line on its way to the reporter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Say {
    pub no: AlertNo,
    /// Names the line.
    pub line: String,
    pub address: Address,
    pub body: String,
    /// The reporter's message that it answers, where the platform wants to know.
    pub reply_to: String,
    /// When the report came.
    pub arrived: Stamp,
    /// The machine's own.
    pub is_receipt: bool,
    /// The first line of a human: the promise of three seconds is about this one.
    pub is_answer: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    pub no: AlertNo,
    pub channel: String,
    pub vendor_id: String,
}

/// Alerts that have ended and may be taken up again by a further word of their reporter.
const RECENT_MAX: usize = 5000;

pub struct Alerts {
    /// `/gw/<unit>/<node>`.
    source: String,
    node: String,
    keywords: KeywordTable,
    /// Shared with the events that tell of them; whoever changes one makes it its own.
    open: BTreeMap<AlertNo, Arc<AlertRecord>>,
    /// Calls of an alert whose recording has not come yet.
    recordings: BTreeMap<AlertNo, u32>,
    /// Alerts with a conversation that is not over.
    talks: BTreeSet<AlertNo>,
    recent: BTreeMap<AlertNo, Arc<AlertRecord>>,
    recent_order: VecDeque<AlertNo>,
    /// Alerts whose record is as large as one may be.
    full: BTreeSet<AlertNo>,
    /// Whose act the present fact is.
    actor: Option<String>,
    outputs: VecDeque<Output>,
}

impl Alerts {
    pub fn new(source: String, node: String, keywords: KeywordTable) -> Alerts {
        Alerts {
            source,
            node,
            keywords,
            open: BTreeMap::new(),
            recordings: BTreeMap::new(),
            talks: BTreeSet::new(),
            recent: BTreeMap::new(),
            recent_order: VecDeque::new(),
            full: BTreeSet::new(),
            actor: None,
            outputs: VecDeque::new(),
        }
    }

    /// Whether a further word has to go on in another alert.
    pub fn is_full(&self, no: AlertNo) -> bool {
        self.full.contains(&no)
    }

    /// Takes up an alert where its last revision left it, after a restart.
    pub fn restore(&mut self, record: AlertRecord) {
        let Some(no) = AlertNo::parse(&record.id.alert_no) else { return };
        if record.state == State::Closed {
            return self.keep_recent(no, Arc::new(record));
        }
        if is_call_unfinished(&record) {
            self.recordings.insert(no, 1);
        }
        if !record.reporter.channels.is_empty() && record.state != State::Ended {
            self.talks.insert(no);
        }
        self.open.insert(no, Arc::new(record));
    }

    fn keep_recent(&mut self, no: AlertNo, record: Arc<AlertRecord>) {
        self.recent.insert(no, record);
        self.recent_order.push_back(no);
        if self.recent_order.len() > RECENT_MAX
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
        }
    }

    /// Ended alerts that a further word would take up again, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &AlertRecord> {
        self.recent_order.iter().filter_map(|no| self.recent.get(no).map(|r| &**r))
    }

    /// Whether a word more can go to this alert: it is open, or ended a short while ago.
    pub fn is_within_reach(&self, no: AlertNo) -> bool {
        self.open.contains_key(&no) || self.recent.contains_key(&no)
    }

    /// An ended alert is open again.
    fn reopen(&mut self, no: AlertNo) {
        if let Some(mut record) = self.recent.remove(&no) {
            self.recent_order.retain(|n| *n != no);
            Arc::make_mut(&mut record).state = State::Reopened;
            self.open.insert(no, record);
        }
    }

    pub fn open(&self) -> impl Iterator<Item = (&AlertNo, &AlertRecord)> {
        self.open.iter().map(|(no, record)| (no, &**record))
    }

    pub fn get(&self, no: AlertNo) -> Option<&AlertRecord> {
        self.open.get(&no).or_else(|| self.recent.get(&no)).map(|r| &**r)
    }

    pub fn is_silent(&self, no: AlertNo) -> bool {
        self.get(no).is_some_and(|r| r.reporter.safety.silent)
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whose act the facts from now on are; none: nobody asked for them.
    pub fn set_actor(&mut self, actor: Option<String>) {
        self.actor = actor;
    }

    /// Takes one fact. `false`: the alert is not open and the fact was not taken.
    pub fn handle_fact(&mut self, at: Wall, no: AlertNo, fact: Fact) -> bool {
        debug_assert!(self.outputs.is_empty(), "drain every output before the next fact");
        let stamp = Stamp(at);
        let fact = match fact {
            Fact::Arrived(arrival) => {
                self.arrive(stamp, no, *arrival);
                return true;
            }
            Fact::Written(arrival, message) => {
                self.write(stamp, no, *arrival, *message);
                return true;
            }
            other => other,
        };
        if matches!(fact, Fact::Received(_) | Fact::Absorbed { .. } | Fact::SplitFrom { .. } | Fact::Fetched { .. }) {
            self.reopen(no);
        }
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return false };
        match fact {
            Fact::Received(message) => self.receive(stamp, no, *message),
            Fact::Held { seat } => text::hold(record, &seat),
            Fact::Replied { .. } => self.reply(stamp, no, fact),
            Fact::AnsweredInWriting { mode, after_ms } => self.answered_in_writing(stamp, no, mode, after_ms),
            Fact::CalledBackAs { other } => self.called_back_as(stamp, no, other),
            Fact::LineState { line, state, why: _ } => self.line_state(stamp, no, &line, state),
            Fact::SentAgain { line, to } => self.send_again(stamp, no, &line, to),
            Fact::Fetched { .. } => {
                self.fetched(stamp, no, fact);
                self.try_close(no, stamp);
            }
            Fact::JoinedTo { other } => self.join(stamp, no, other),
            Fact::Absorbed { other, belongings } => self.absorb(stamp, no, other, *belongings),
            Fact::SplitOff { other, address } => self.split_off(stamp, no, other, &address),
            Fact::SplitFrom { other } => self.split_from(stamp, no, other),
            Fact::ConversationEnded => self.conversation_ended(stamp, no),
            other => self.call_fact(stamp, no, other),
        }
        true
    }

    fn call_fact(&mut self, stamp: Stamp, no: AlertNo, fact: Fact) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let mut hits = Vec::new();
        let mut deadline = None;
        let step = apply(record, stamp, &fact, &mut deadline);
        if let Some((text, source)) = text_of(&fact) {
            hits = note_keywords(record, stamp, &self.keywords, text, source).0;
        }
        if let Some(step) = step {
            self.emit(no, step, stamp, deadline);
        }
        if !hits.is_empty() {
            self.emit(no, Step::KeywordWarning, stamp, None);
        }
        self.follow_up(no, stamp, &fact);
    }

    fn arrive(&mut self, at: Stamp, no: AlertNo, arrival: Arrival) {
        let record = self.new_record(at, no, arrival);
        let record = Arc::make_mut(self.open.entry(no).or_insert_with(|| Arc::new(record)));
        let reporter = leg(0, Role::Reporter, record.reporter.phone.clone(), at);
        add_leg(record, reporter);
        *self.recordings.entry(no).or_default() += 1;
        self.emit(no, Step::Arrived, at, None);
    }

    fn new_record(&self, at: Stamp, no: AlertNo, arrival: Arrival) -> AlertRecord {
        let follows = arrival.follows.map(|other| Related { alert_no: other.to_string(), kind: Relation::FollowUp });
        let related = follows.into_iter().collect();
        let call = CallInfo { t: CallTimes { arrive: Some(at), ..CallTimes::default() }, ..CallInfo::default() };
        AlertRecord {
            id: Identity { alert_no: no.to_string(), alert_id: alert_id(no, at.0), related },
            rev: 0,
            prev_hash: String::new(),
            hash: String::new(),
            state: State::Arrived,
            source: Source {
                channel: arrival.channel,
                forms: vec![Form::Voice],
                called_number: arrival.called,
                trunk: arrival.trunk,
                node: self.node.clone(),
                message_id: arrival.message_id,
                validity: Validity::Valid,
            },
            reporter: Reporter {
                phone: arrival.caller.clone(),
                callback: Some(arrival.caller).filter(|c| !c.is_empty()),
                subscriber: arrival.subscriber,
                channels: Vec::new(),
                safety: Safety::default(),
            },
            location: arrival.location.into_iter().collect(),
            incident: Incident::default(),
            call,
            media: Vec::new(),
            text: Vec::new(),
            lines_out: 0,
            route: Route {
                jurisdiction: arrival.jurisdiction,
                owner: arrival.owner.clone(),
                owner_history: vec![Ownership { owner: arrival.owner, from: at }],
            },
            dispatch: Vec::new(),
            timers: vec![Timer { name: "T1".into(), due: Stamp(at.0 + ANSWER_WITHIN), met_at: None, breach: false }],
            marks: arrival.marks,
        }
    }

    /// Seals a revision and wraps it.
    fn emit(&mut self, no: AlertNo, step: Step, at: Stamp, deadline: Option<&str>) {
        let Some(record) = self.open.get_mut(&no) else { return };
        let sealed = Arc::make_mut(record).seal();
        if sealed.len() > RECORD_FULL && self.full.insert(no) {
            mark(Arc::make_mut(record), "record_full");
        }
        assert!(!record.route.owner.is_empty(), "an alert has exactly one owner");
        let mut event = CloudEvent::new(step, &self.source, at, deadline, Arc::clone(record), sealed);
        event.actor.clone_from(&self.actor);
        self.outputs.push_back(Output::Event(Box::new(event)));
    }

    fn follow_up(&mut self, no: AlertNo, at: Stamp, fact: &Fact) {
        match fact {
            Fact::CallingBack => *self.recordings.entry(no).or_default() += 1,
            Fact::Recorded { .. } => {
                let left = self.recordings.entry(no).or_default();
                *left = left.saturating_sub(1);
            }
            _ => {}
        }
        let Some(record) = self.open.get(&no) else { return };
        match fact {
            Fact::Abandoned { .. } | Fact::Refused { .. } if may_be_called_back(record) => {
                let (number, trunk) = (record.reporter.phone.clone(), record.source.trunk.clone());
                self.outputs.push_back(Output::CallBack { no, number, trunk });
            }
            // The call-back that was owed or under way died with the process.
            Fact::Interrupted if record.state == State::Abandoned && may_be_called_back(record) => {
                let (number, trunk) = (record.reporter.phone.clone(), record.source.trunk.clone());
                self.outputs.push_back(Output::CallBack { no, number, trunk });
            }
            Fact::Recorded { .. } | Fact::Unreached => self.try_close(no, at),
            _ => {}
        }
    }

    /// Closes what has come to its end: no call, no recording to come, no conversation.
    fn try_close(&mut self, no: AlertNo, at: Stamp) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let recording = self.recordings.get(&no).is_some_and(|left| *left > 0);
        if !is_finished(record) || recording || self.talks.contains(&no) || text::owes_an_answer(record) {
            return;
        }
        record.state = State::Closed;
        self.emit(no, Step::Ended, at, None);
        let Some(record) = self.open.remove(&no) else { return };
        self.recordings.remove(&no);
        self.full.remove(&no);
        self.keep_recent(no, record);
        self.outputs.push_back(Output::Released { no });
    }
}

/// Whether the reporter who gave up may be rung: never where that could endanger them.
fn may_be_called_back(record: &AlertRecord) -> bool {
    !record.reporter.phone.is_empty() && record.source.validity != Validity::Test && !record.reporter.safety.silent
}

/// Whether a call of this alert, its recording or the call-back that it is owed was not over at its last revision.
pub fn is_call_unfinished(record: &AlertRecord) -> bool {
    // An earlier call of the alert may have been recorded when the last was not.
    let waits = matches!(record.state, State::Abandoned | State::Callback | State::Ended | State::Unreached);
    let unrecorded = record.media.iter().all(|m| m.duration_ms == 0);
    !record.call.legs.is_empty() && (record.call.t.end.is_none() || unrecorded || waits)
}

/// Nothing of the voice call is left to happen. An abandoned one waits for its call-back.
fn is_finished(record: &AlertRecord) -> bool {
    let nobody_to_call = record.state == State::Abandoned && !may_be_called_back(record);
    nobody_to_call || matches!(record.state, State::Ended | State::Unreached)
}

/// Moves the record by one fact; returns the step to publish, if the fact makes a revision of its own.
fn apply(record: &mut AlertRecord, at: Stamp, fact: &Fact, deadline: &mut Option<&'static str>) -> Option<Step> {
    let t = &mut record.call.t;
    match fact {
        Fact::Arrived(_)
        | Fact::Written(..)
        | Fact::Received(_)
        | Fact::Held { .. }
        | Fact::Replied { .. }
        | Fact::AnsweredInWriting { .. }
        | Fact::CalledBackAs { .. }
        | Fact::LineState { .. }
        | Fact::SentAgain { .. }
        | Fact::Fetched { .. }
        | Fact::JoinedTo { .. }
        | Fact::Absorbed { .. }
        | Fact::SplitOff { .. }
        | Fact::SplitFrom { .. }
        // Taken by `handle_fact`.
        | Fact::ConversationEnded => None,
        Fact::Offered { leg: number, seat } => {
            t.ring.get_or_insert(at);
            record.call.seat = Some(seat.clone());
            add_leg(record, leg(*number, Role::Taker, seat.no.clone(), at));
            advance(record, State::Offered);
            Some(Step::Offered)
        }
        Fact::SeatFailed { leg, why } => {
            end_leg(record, *leg, at, why);
            None
        }
        Fact::TakenOver { leg, seat } => {
            record.call.seat = Some(seat.clone());
            take_leg(record, *leg, at);
            Some(Step::Updated)
        }
        Fact::Refused { code, reason } => {
            mark(record, &format!("refused_{code}"));
            end_leg(record, 0, at, reason);
            record.call.t.end = Some(at);
            record.state = State::Abandoned;
            Some(Step::Abandoned)
        }
        Fact::AttendantAnswered => {
            t.attendant = Some(at);
            record.call.mode = Some(codecs::record::AnswerMode::Attendant);
            answer_leg(record, 0, at);
            Some(Step::AttendantAnswered)
        }
        Fact::Answered { leg: number, seat, mode, after_ms } => {
            t.answer = Some(at);
            record.call.mode = Some(*mode);
            record.call.seat = Some(seat.clone());
            record.call.answer_ms = Some(*after_ms);
            answer_leg(record, 0, at);
            take_leg(record, *number, at);
            meet_within(record, "T1", at, *after_ms <= ANSWER_WITHIN.as_millis() as u64);
            if record.source.validity == Validity::Abandoned {
                record.source.validity = Validity::Valid;
            }
            advance(record, State::Answered);
            Some(Step::Answered)
        }
        Fact::TwoWay => {
            t.two_way = Some(at);
            None
        }
        Fact::Silent => {
            record.source.validity = Validity::Silent;
            None
        }
        Fact::Triaged { kind, category, level, text } => {
            record.incident.kind = Some(*kind);
            record.incident.category.clone_from(category);
            record.incident.level = *level;
            record.incident.text = text.chars().take(TEXT_MAX).collect();
            advance(record, State::Triaged);
            Some(Step::Classified)
        }
        Fact::Located { location, jurisdiction, owner } => {
            add_location(record, location.clone());
            record.route.jurisdiction.clone_from(jurisdiction);
            own(record, at, owner.clone());
            Some(Step::Located)
        }
        Fact::Tracked { location } => {
            add_location(record, location.clone());
            Some(Step::Located)
        }
        Fact::ResponderWanted { .. } => {
            let again = record.state == State::Bridging;
            t.bridge_ask.get_or_insert(at);
            if let Some(arrive) = t.arrive
                && !record.timers.iter().any(|t| t.name == "T2")
            {
                let due = Stamp(arrive.0 + OFFICER_WITHIN);
                record.timers.push(Timer { name: "T2".into(), due, met_at: None, breach: false });
            }
            advance(record, State::Bridging);
            (!again).then_some(Step::Bridging)
        }
        Fact::Tried { leg: number, unit, officer, role, reason } => {
            bound(&mut record.dispatch, LEGS_MAX);
            record.dispatch.push(Dispatch {
                unit: unit.clone(),
                officer: officer.clone(),
                role: *role,
                reason: reason.clone(),
                tried_at: at,
                result: None,
            });
            add_leg(record, leg(*number, *role, officer.clone(), at));
            Some(Step::Bridging)
        }
        Fact::TryEnded { leg, officer, result } => {
            if let Some(tried) = record.dispatch.iter_mut().rev().find(|d| d.officer == *officer && d.result.is_none())
            {
                tried.result = Some(*result);
            }
            match result {
                codecs::record::TryResult::Answered => answer_leg(record, *leg, at),
                other => end_leg(record, *leg, at, &format!("{other:?}").to_lowercase()),
            }
            None
        }
        Fact::Bridged { after_ms, .. } => {
            t.bridge_ok = Some(at);
            record.call.officer_ms = Some(*after_ms);
            meet_within(record, "T2", at, *after_ms <= OFFICER_WITHIN.as_millis() as u64);
            advance(record, State::Bridged);
            Some(Step::Bridged)
        }
        Fact::NobodyLeft => {
            mark(record, "no_officer_reached");
            Some(Step::Bridging)
        }
        Fact::LegEnded { leg, cause, .. } => {
            end_leg(record, *leg, at, cause);
            Some(Step::LegEnded)
        }
        Fact::Abandoned { .. } => {
            record.source.validity = Validity::Abandoned;
            record.state = State::Abandoned;
            Some(Step::Abandoned)
        }
        Fact::CallingBack => {
            record.state = State::Callback;
            // The alert has a call again, which a crash may cut off like the first.
            record.call.t.end = None;
            Some(Step::Callback)
        }
        Fact::Unreached => {
            record.state = State::Unreached;
            Some(Step::Callback)
        }
        Fact::Breach { timer } => {
            if let Some(t) = record.timers.iter_mut().find(|t| t.name == *timer && t.met_at.is_none()) {
                t.breach = true;
            }
            *deadline = Some(timer);
            Some(Step::DeadlineBreach)
        }
        Fact::Said { by, body } => {
            let full = record.marks.iter().any(|m| m == "record_full");
            if record.text.len() >= LINES_MAX || full {
                mark(record, "transcript_full");
                return None;
            }
            let short = |text: &str, max| text.chars().take(max).collect();
            record.text.push(TextLine::said(at, short(by, NAME_MAX), short(body, TEXT_MAX)));
            Some(Step::Transcript)
        }
        Fact::Mark(text) => {
            mark(record, text);
            Some(Step::Updated)
        }
        Fact::Listened => Some(Step::Listened),
        Fact::Ended => {
            end_call(record, at);
            if !matches!(record.state, State::Abandoned | State::Unreached) {
                record.state = State::Ended;
            }
            None
        }
        Fact::Interrupted => {
            let owed = matches!(record.state, State::Abandoned | State::Callback) && !record.reporter.phone.is_empty();
            if record.state != State::Unreached {
                record.state = if owed { State::Abandoned } else { State::Ended };
            }
            // Of a call that was over only the recording, or the call-back, was missing.
            let live = record.call.t.end.is_none();
            if live {
                mark(record, "interrupted_by_restart");
                end_call(record, at);
            }
            live.then_some(Step::Updated)
        }
        Fact::Recorded { media } => {
            record.media.extend(media.iter().cloned());
            // Where there was nothing to record, nothing was.
            (!media.is_empty()).then_some(Step::Recorded)
        }
    }
}

/// The newest in front, where everybody looks for it.
fn add_location(record: &mut AlertRecord, location: codecs::record::Location) {
    record.location.insert(0, location);
    record.location.truncate(LOCATIONS_MAX);
}

/// Room for one more: the oldest but the first gives way.
fn bound<T>(list: &mut Vec<T>, most: usize) {
    if list.len() >= most {
        list.remove(1);
    }
}

fn add_leg(record: &mut AlertRecord, leg: Leg) {
    bound(&mut record.call.legs, LEGS_MAX);
    record.call.legs.push(leg);
}

/// This taker's leg has the call; whoever else was asked is not needed.
fn take_leg(record: &mut AlertRecord, number: u32, at: Stamp) {
    for leg in record.call.legs.iter_mut().filter(|l| l.role == Role::Taker && l.end.is_none()) {
        if leg.leg_id == number {
            leg.answered.get_or_insert(at);
        } else {
            leg.end = Some(at);
            leg.cause = Some("superseded".into());
        }
    }
}

/// The alert is this unit's from now on: exactly one owner at every moment.
fn own(record: &mut AlertRecord, at: Stamp, owner: String) {
    if record.route.owner != owner {
        record.route.owner.clone_from(&owner);
        bound(&mut record.route.owner_history, LEGS_MAX);
        record.route.owner_history.push(Ownership { owner, from: at });
    }
}

/// Every leg that is still up ends here.
fn end_call(record: &mut AlertRecord, at: Stamp) {
    record.call.t.end = Some(at);
    for leg in record.call.legs.iter_mut().filter(|l| l.end.is_none()) {
        leg.end = Some(at);
    }
}

/// States only go forward; what comes late does not take an alert back.
fn advance(record: &mut AlertRecord, to: State) {
    if to > record.state || matches!(record.state, State::Abandoned | State::Callback | State::Reopened) {
        record.state = to;
    }
}

fn leg(leg_id: u32, role: Role, party: String, start: Stamp) -> Leg {
    Leg { leg_id, role, party, start, answered: None, end: None, cause: None }
}

fn answer_leg(record: &mut AlertRecord, number: u32, at: Stamp) {
    if let Some(leg) = record.call.legs.iter_mut().rev().find(|l| l.leg_id == number && l.end.is_none()) {
        leg.answered.get_or_insert(at);
    }
}

fn end_leg(record: &mut AlertRecord, number: u32, at: Stamp, cause: &str) {
    if let Some(leg) = record.call.legs.iter_mut().rev().find(|l| l.leg_id == number && l.end.is_none()) {
        leg.end = Some(at);
        leg.cause = Some(cause.to_owned());
    }
}

/// A deadline was met, within its time or after it: durations are counted where they pass, and not by the wall clock,
/// which may have been set meanwhile.
fn meet_within(record: &mut AlertRecord, name: &str, at: Stamp, in_time: bool) {
    if let Some(timer) = record.timers.iter_mut().find(|t| t.name == name) {
        timer.met_at = Some(at);
        timer.breach |= !in_time;
    }
}

fn mark(record: &mut AlertRecord, text: &str) {
    if !record.marks.iter().any(|m| m == text) {
        record.marks.push(text.to_owned());
    }
}

/// The text of a fact that the keyword warning reads, and where it is from.
fn text_of(fact: &Fact) -> Option<(&str, String)> {
    match fact {
        Fact::Triaged { text, .. } => Some((text, "triage".into())),
        Fact::Said { by, body } => Some((body, format!("transcript:{by}"))),
        _ => None,
    }
}

/// Records words not seen before on this alert; a worse level raises the alert's.
fn note_keywords(
    record: &mut AlertRecord,
    at: Stamp,
    table: &KeywordTable,
    text: &str,
    source: String,
) -> (Vec<String>, bool) {
    let (mut fresh, mut silent) = (Vec::new(), false);
    for keyword in table.find(text) {
        silent |= keyword.silent;
        if record.incident.keywords.iter().any(|k| k.word == keyword.word) {
            continue;
        }
        record.incident.keywords.push(KeywordHit {
            word: keyword.word.clone(),
            level: keyword.level,
            at,
            source: source.clone(),
        });
        record.incident.sensitive |= keyword.level <= 2;
        let level = record.incident.level.map_or(keyword.level, |l| l.min(keyword.level));
        record.incident.level = Some(level);
        if record.incident.category.is_none() {
            record.incident.category.clone_from(&keyword.category);
        }
        fresh.push(keyword.word.clone());
    }
    (fresh, silent)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
