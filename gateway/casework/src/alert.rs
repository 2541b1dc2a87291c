//! All open alerts. One fact, at most a few sealed revisions, each in its envelope.

mod call;
mod dispatch;
mod fanout;
mod incident;
mod join;
mod lines;
mod text;

pub use fanout::NotTaken;
pub use lines::{Apart, Lost, NotWritten, Standing, is_written_to, proven_phone, unsent, untold_answer, writers};
pub use text::{goes_next, is_late, is_theirs};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use codecs::record::{
    Address, AlertNo, AlertRecord, CallInfo, CallTimes, CloudEvent, Form, HandlingStep, Identity, Incident, Ownership,
    Promise, Related, Relation, Reporter, Role, Route, Source, Stamp, State, Step, Validity, alert_id,
};
use codecs::time::{Mono, Wall};

use crate::deadline::{self, Deadlines};
use crate::fact::{Arrival, CallFact, Fact, IncidentFact, JoinFact, TextFact};
use crate::fanout::Rules;
use crate::keyword::KeywordTable;
use crate::suggest::Suggestions;

/// The longest text of a report (BJNR).
const TEXT_MAX: usize = 2000;
/// The longest name of whoever said a line, and the most lines kept on one alert.
const NAME_MAX: usize = 32;
const LINES_MAX: usize = 500;
/// What a list of a record holds at most; the oldest but the first give way.
const LOCATIONS_MAX: usize = 64;
/// Who writes on one alert at most, and how many others go on as it.
const WRITERS_MAX: usize = 64;
const ABSORBED_MAX: usize = 100;
const LEGS_MAX: usize = 200;
const RELATED_MAX: usize = 200;
/// A revision beyond this is the last that takes a further word: what is written goes on in a linked alert. With what
/// a call still adds to it a record stays below a mebibyte.
const RECORD_FULL: usize = 768 * 1024;
/// A revision beyond this gives up what is oldest in it, whoever wrote it: one more is at most so much larger that it
/// stays below a mebibyte.
const RECORD_TRIMMED: usize = 960 * 1024;

#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// A new revision: to be journalled, then delivered.
    Event(Box<CloudEvent>),
    /// The reporter gave up before an answer and is to be called back.
    CallBack { no: AlertNo, number: String, trunk: String },
    /// A line for the reporter, to be sent once the revision that notes it is durable.
    Say(Box<Say>),
    /// A line that was said before silence was asked for, and that its channel may not have sent yet: it is not to go.
    Withdraw { channel: String, line: String },
    /// From now on nothing may ring or be written unasked.
    Silenced { no: AlertNo },
    /// A file that came with a message: its platform keeps it for a few days only.
    Fetch(Fetch),
    /// Where its reporter is believed to be has changed, and they have a call, or had one.
    Moved { no: AlertNo },
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
    suggestions: Suggestions,
    rules: Rules,
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
    deadlines: Deadlines,
    /// The monotonic instant of the fact being taken.
    now: Mono,
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
            suggestions: Suggestions::none(),
            rules: Rules::default(),
            open: BTreeMap::new(),
            recordings: BTreeMap::new(),
            talks: BTreeSet::new(),
            recent: BTreeMap::new(),
            recent_order: VecDeque::new(),
            full: BTreeSet::new(),
            deadlines: Deadlines::default(),
            now: Mono(0),
            actor: None,
            outputs: VecDeque::new(),
        }
    }

    /// What is suggested from now on is suggested by these.
    pub fn set_suggestions(&mut self, suggestions: Suggestions) {
        self.suggestions = suggestions;
    }

    /// Whoever is told of an alert from now on is told by these.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Whether a further word has to go on in another alert.
    pub fn is_full(&self, no: AlertNo) -> bool {
        self.full.contains(&no)
    }

    /// Takes up an alert where its last revision left it, after a restart.
    pub fn restore(&mut self, now: Mono, at: Wall, record: AlertRecord) {
        let Some(no) = AlertNo::parse(&record.id.alert_no) else { return };
        if record.state == State::Closed {
            return self.keep_recent(no, Arc::new(record));
        }
        if is_call_unfinished(&record) {
            self.recordings.insert(no, 1);
        }
        if is_written_to(&record) {
            self.talks.insert(no);
        }
        self.deadlines.watch_again(now, at, no, &record);
        self.open.insert(no, Arc::new(record));
    }

    fn keep_recent(&mut self, no: AlertNo, record: Arc<AlertRecord>) {
        self.recent.insert(no, record);
        self.recent_order.push_back(no);
        if self.recent_order.len() > RECENT_MAX
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
            self.deadlines.forget(oldest);
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

    /// Whether a text has a word that is warned of.
    pub fn is_warned_of(&self, text: &str) -> bool {
        !self.keywords.find(text).is_empty()
    }

    /// Whether a text has a word that asks for silence.
    pub fn asks_for_silence(&self, text: &str) -> bool {
        self.keywords.find(text).iter().any(|word| word.silent)
    }

    pub fn is_silent(&self, no: AlertNo) -> bool {
        self.get(no).is_some_and(|r| r.reporter.safety.silent)
    }

    /// Everything that a line's state brings has been told: what waited for nothing else is over.
    pub fn settle(&mut self, at: Wall, no: AlertNo) {
        self.try_close(no, Stamp(at));
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whose act the facts from now on are; none: nobody asked for them.
    pub fn set_actor(&mut self, actor: Option<String>) {
        self.actor = actor;
    }

    /// Takes one fact. `false`: the alert is not open and the fact was not taken.
    pub fn handle_fact(&mut self, now: Mono, at: Wall, no: AlertNo, fact: Fact) -> bool {
        debug_assert!(self.outputs.is_empty(), "drain every output before the next fact");
        self.now = now;
        if let Fact::Handling(step) = &fact
            && self.may_take(at, no, step).is_err()
        {
            return false;
        }
        // What comes now is late, however long the clock has not been looked at.
        self.tell_late_targets(now, at);
        let was_open = self.open.contains_key(&no);
        if reopens(&fact) {
            self.reopen(no);
        } else if adds(&fact) {
            self.take_up(no);
        }
        let begins = matches!(fact, Fact::Arrived(_) | Fact::Written(..));
        let known = self.open.get(&no).map(|r| (r.timers.len(), sought(r)));
        let Some((mut timers, before)) = known.or(begins.then_some((0, (None, None)))) else { return false };
        let (targets, stamp) = (timers, Stamp(at));
        let goes_on = matches!(&fact, Fact::Handling(step) if step.step == HandlingStep::Resumed);
        let was_major = self.open.get(&no).is_some_and(|record| record.incident.is_major());
        match fact {
            Fact::Arrived(arrival) => self.arrive(stamp, no, *arrival),
            Fact::Written(arrival, message) => self.write(stamp, no, *arrival, *message),
            Fact::Call(fact) => self.call(stamp, no, &fact),
            Fact::Text(fact) => {
                let waits = |r: &mut AlertRecord| deadline::waits_anew(r, stamp, !was_open);
                if matches!(fact, TextFact::Received(_)) && self.record_mut(no).is_some_and(waits)
                    || matches!(fact, TextFact::AnsweredInWriting { .. })
                {
                    timers = 0;
                }
                self.text(stamp, no, fact, !was_open);
            }
            Fact::Incident(fact) => self.incident(stamp, no, &fact),
            Fact::Acknowledged { target } => self.acknowledged(stamp, no, &target),
            Fact::Handling(fact) => self.handling(stamp, no, fact),
            Fact::Dispatch(fact) => self.timed_step(stamp, no, |record| dispatch::apply(record, stamp, fact)),
            Fact::Join(fact) => {
                timers = 0;
                self.join(stamp, no, fact, !was_open);
            }
            Fact::Breach { promise } => self.breach(stamp, no, promise),
            Fact::Mark(text) => self.step(stamp, no, |record| {
                mark(record, text);
                Some(Step::Updated)
            }),
        }
        if let Some(record) = self.open.get_mut(&no) {
            if record.state == State::Ended && self.talks.contains(&no) {
                Arc::make_mut(record).state = State::Reopened;
            }
            let is_as_before = record.incident.is_major() == was_major && sought(record).1 == before.1 && !goes_on;
            let targets = if is_as_before { targets } else { 0 };
            self.deadlines.watch(now, at, no, record, (timers, targets));
            if !begins && sought(record) != before {
                self.moved(no);
            }
        }
        self.lay_by(no);
        true
    }

    /// An ended alert takes what is added to it, and stays ended.
    fn take_up(&mut self, no: AlertNo) {
        if let Some(record) = self.recent.remove(&no) {
            self.recent_order.retain(|n| *n != no);
            self.open.insert(no, record);
        }
    }

    fn lay_by(&mut self, no: AlertNo) {
        if self.open.get(&no).is_some_and(|record| record.state == State::Closed)
            && let Some(record) = self.open.remove(&no)
        {
            self.keep_recent(no, record);
        }
    }

    /// Why and when the clock is wanted next.
    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        self.deadlines.next().map(|due| (due, "a promise is due"))
    }

    pub fn handle_timeout(&mut self, now: Mono, at: Wall) {
        while let Some(due) = self.deadlines.pop_due(now) {
            if let Some(promise) = self.open.get(&due.no).and_then(|record| deadline::broken(record, due)) {
                self.breach(Stamp(at), due.no, promise);
            }
        }
        self.tell_late_targets(now, at);
    }

    fn tell_late_targets(&mut self, now: Mono, at: Wall) {
        while let Some(due) = self.deadlines.pop_due_of_target(now) {
            let Some(record) = self.open.get(&due.no) else { continue };
            let timers = record.timers.len();
            if let Some(index) = deadline::late(record, due) {
                self.late(Stamp(at), due.no, index);
            }
            if let Some(record) = self.open.get(&due.no) {
                self.deadlines.watch(now, at, due.no, record, (timers, timers));
            }
        }
    }

    fn record_mut(&mut self, no: AlertNo) -> Option<&mut AlertRecord> {
        self.open.get_mut(&no).map(Arc::make_mut)
    }

    /// Moves the record, and tells of it if that makes a revision of its own.
    fn step(&mut self, at: Stamp, no: AlertNo, apply: impl FnOnce(&mut AlertRecord) -> Option<Step>) {
        if let Some(step) = self.record_mut(no).and_then(apply) {
            self.emit(no, step, at, None);
        }
    }

    /// A step that may keep a promise: one that comes too late is told as broken, if nobody has.
    fn timed_step(&mut self, at: Stamp, no: AlertNo, apply: impl FnOnce(&mut AlertRecord) -> Option<Step>) {
        let before = self.open.get(&no).map_or(0, |record| deadline::breaches(record));
        self.step(at, no, apply);
        let late = self.open.get(&no).map(|record| deadline::newly_broken(record, before));
        late.into_iter().flatten().for_each(|promise| self.emit(no, Step::DeadlineBreach, at, Some(promise)));
    }

    fn breach(&mut self, at: Stamp, no: AlertNo, promise: Promise) {
        if self.record_mut(no).is_some_and(|record| deadline::breach(record, promise)) {
            self.emit(no, Step::DeadlineBreach, at, Some(promise));
            if promise == Promise::Answer {
                self.owed_no_more(at, no);
            }
        }
    }

    fn call(&mut self, at: Stamp, no: AlertNo, fact: &CallFact) {
        if *fact == CallFact::Interrupted {
            // What the call owed it can keep no more.
            // Whoever is written with has somebody who can keep it yet.
            let is_over = |record: &&Arc<AlertRecord>| record.state != State::Reopened || !self.talks.contains(&no);
            let owed = self.open.get(&no).filter(is_over).map(|record| deadline::owed(record));
            owed.into_iter().flatten().for_each(|promise| self.breach(at, no, promise));
        }
        self.timed_step(at, no, |record| call::apply(record, at, fact));
        self.follow_up(no, at, fact);
    }

    fn incident(&mut self, at: Stamp, no: AlertNo, fact: &IncidentFact) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let step = incident::apply(record, at, fact);
        let hits = match fact {
            IncidentFact::Triaged(said) | IncidentFact::Told(said) => {
                let by = self.actor.as_deref().unwrap_or("gateway");
                incident::note_triage(record, at, by, said);
                if matches!(fact, IncidentFact::Triaged(_)) {
                    incident::triaged_state(record);
                }
                let text = said.text.as_deref().unwrap_or_default();
                incident::note_clues(record, &self.suggestions, text);
                incident::note_keywords(record, at, &self.keywords, text, ("triage".into(), true)).0
            }
            IncidentFact::Located(_) | IncidentFact::Tracked { .. } => Vec::new(),
        };
        incident::place_suggestions(record, &self.suggestions);
        let complaint = matches!(fact, IncidentFact::Triaged(said) if said.complaint_of.is_some());
        if complaint {
            self.past_the_complained(at, no);
        }
        if let Some(step) = step {
            self.emit(no, step, at, None);
        }
        self.warn(no, at, &hits);
        if let IncidentFact::Told(_) = fact {
            self.plan(at, no);
            self.lead(at, no, None);
        }
        if let IncidentFact::Triaged(said) = fact {
            if hits.is_empty() {
                self.plan(at, no);
            }
            if complaint {
                self.push_on(at, no);
            }
            self.lead(at, no, said.major);
        }
    }

    /// Words that are warned of were found.
    fn warn(&mut self, no: AlertNo, at: Stamp, hits: &[String]) {
        if !hits.is_empty() {
            self.emit(no, Step::KeywordWarning, at, None);
            self.plan(at, no);
            self.lead(at, no, None);
        }
    }

    fn arrive(&mut self, at: Stamp, no: AlertNo, arrival: Arrival) {
        let is_twice = self.is_within_reach(no);
        let record = self.new_record(at, no, arrival);
        let record = Arc::make_mut(self.open.entry(no).or_insert_with(|| Arc::new(record)));
        if is_twice {
            // Two reports under one number: never, but where a journal and all that knew of it was lost.
            mark(record, "number_given_twice");
        }
        let reporter = call::leg(0, Role::Reporter, record.reporter.phone.clone(), at);
        call::add_leg(record, reporter);
        *self.recordings.entry(no).or_default() += 1;
        self.emit(no, Step::Arrived, at, None);
    }

    fn new_record(&self, at: Stamp, no: AlertNo, arrival: Arrival) -> AlertRecord {
        let follows = arrival.follows.map(|other| Related { alert_no: other.to_string(), kind: Relation::FollowUp });
        let related = follows.into_iter().collect();
        // Whom the matter complains of has nothing to do with what follows of it either.
        let complaint_of = arrival.follows.and_then(|other| self.get(other)?.incident.complaint_of.clone());
        let call = CallInfo { t: CallTimes { arrive: Some(at), ..CallTimes::default() }, ..CallInfo::default() };
        let mut record = AlertRecord {
            id: Identity { alert_no: no.to_string(), alert_id: alert_id(no, at.0), related, external: Vec::new() },
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
                hops: 0,
            },
            reporter: Reporter {
                phone: arrival.caller.clone(),
                callback: Some(arrival.caller).filter(|c| !c.is_empty()),
                subscriber: arrival.subscriber,
                ..Reporter::default()
            },
            location: arrival.location.into_iter().collect(),
            incident: Incident { complaint_of, ..Incident::default() },
            call,
            media: Vec::new(),
            text: Vec::new(),
            lines_out: 0,
            route: Route {
                jurisdiction: arrival.jurisdiction,
                owner: arrival.owner.clone(),
                owner_history: vec![Ownership { owner: arrival.owner, from: at }],
                ..Route::default()
            },
            dispatch: Vec::new(),
            fanout: Vec::new(),
            handling: Vec::new(),
            progress: None,
            timers: deadline::arrived(at),
            marks: arrival.marks,
        };
        if record.incident.complaint_of.is_some() {
            incident::own_again(&mut record, at);
        }
        record
    }

    /// Seals a revision and wraps it.
    fn emit(&mut self, no: AlertNo, step: Step, at: Stamp, deadline: Option<Promise>) {
        self.emit_of(no, step, at, deadline.map(Promise::timer), "");
    }

    /// The same, of a target of the fan-out.
    fn emit_of(&mut self, no: AlertNo, step: Step, at: Stamp, deadline: Option<&str>, target: &str) {
        let Some(record) = self.open.get_mut(&no) else { return };
        let record_now = Arc::make_mut(record);
        // Whoever writes on it, though its call is over, has it open: a start goes by what the record says.
        if record_now.state == State::Ended && self.talks.contains(&no) {
            record_now.state = State::Reopened;
        }
        let sealed = record_now.seal();
        // As it was sealed: what is marked or given up below is the next revision's.
        let data = Arc::clone(record);
        if sealed.len() > RECORD_FULL && self.full.insert(no) {
            mark(Arc::make_mut(record), "record_full");
        }
        if sealed.len() > RECORD_TRIMMED {
            trim(Arc::make_mut(record));
        }
        assert!(!data.route.owner.is_empty(), "an alert has exactly one owner");
        let mut event = CloudEvent::new(step, &self.source, at, deadline, data, sealed);
        event.target = Some(target.to_owned()).filter(|t| !t.is_empty());
        event.actor.clone_from(&self.actor);
        self.outputs.push_back(Output::Event(Box::new(event)));
    }

    /// What a call's fact begins or brings to its end.
    fn follow_up(&mut self, no: AlertNo, at: Stamp, fact: &CallFact) {
        match fact {
            CallFact::CallingBack => *self.recordings.entry(no).or_default() += 1,
            CallFact::Recorded { .. } => {
                let left = self.recordings.entry(no).or_default();
                *left = left.saturating_sub(1);
            }
            _ => {}
        }
        let Some(record) = self.open.get(&no) else { return };
        let call_back = match fact {
            CallFact::Abandoned { .. } | CallFact::Refused { .. } => may_be_called_back(record),
            // The call-back that was owed or under way died with the process.
            CallFact::Interrupted => record.state == State::Abandoned && may_be_called_back(record),
            _ => false,
        };
        let is_silent = record.reporter.safety.silent;
        // A kill ends a call as its caller does: what was owed is owed again once the silence leaves.
        let gave_up = matches!(
            fact,
            CallFact::Abandoned { .. } | CallFact::Refused { .. } | CallFact::Unreached | CallFact::Interrupted
        );
        if is_silent && gave_up && self.withhold_call_back(no) && matches!(fact, CallFact::Interrupted) {
            self.emit(no, Step::Updated, at, None);
        }
        let Some(record) = self.open.get(&no) else { return };
        if call_back {
            let (number, trunk) = (record.reporter.phone.clone(), record.source.trunk.clone());
            self.outputs.push_back(Output::CallBack { no, number, trunk });
        }
        if matches!(fact, CallFact::Recorded { .. } | CallFact::Unreached) {
            self.try_close(no, at);
        }
    }

    /// What was added to an alert that was over began nothing.
    fn close_again(&mut self, no: AlertNo, at: Stamp) {
        if let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) {
            record.state = State::Ended;
            self.try_close(no, at);
        }
    }

    /// Closes what has come to its end: no call, no recording to come, no conversation.
    fn try_close(&mut self, no: AlertNo, at: Stamp) {
        let Some(record) = self.open.get_mut(&no).map(Arc::make_mut) else { return };
        let recording = self.recordings.get(&no).is_some_and(|left| *left > 0);
        let is_open = recording || self.talks.contains(&no) || text::owes_a_line(record);
        if !is_finished(record) || is_open || fanout::is_awaited(record) {
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
    let waits =
        matches!(record.state, State::Abandoned | State::Callback | State::Reopened | State::Ended | State::Unreached);
    let unrecorded = record.media.iter().all(|m| m.duration_ms == 0);
    !record.call.legs.is_empty() && (record.call.t.end.is_none() || unrecorded || waits)
}

/// Nothing of the voice call is left to happen. An abandoned one waits for its call-back.
fn is_finished(record: &AlertRecord) -> bool {
    let nobody_to_call = record.state == State::Abandoned && !may_be_called_back(record);
    nobody_to_call || matches!(record.state, State::Ended | State::Unreached)
}

/// Whether a fact takes up again an alert that was over: what was said is often written down after the call, what was
/// sent often comes later.
fn reopens(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Text(TextFact::Said { .. } | TextFact::Fetched { .. } | TextFact::Received(_))
            | Fact::Join(JoinFact::Absorbed { .. } | JoinFact::SplitFrom { .. })
    )
}

/// What whoever looks for an officer goes by: when and where its reporter was known to be last, and who is not to come.
fn sought(record: &AlertRecord) -> (Option<(Stamp, Option<codecs::geo::Point>)>, Option<String>) {
    (record.location.first().map(|l| (l.at, l.wgs84)), record.incident.complaint_of.clone())
}

/// Whether a fact adds to an alert that is over without opening it: what is established afterwards, and what those who
/// act tell.
fn adds(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Incident(IncidentFact::Triaged(_) | IncidentFact::Told(_) | IncidentFact::Located(_))
            | Fact::Handling(_)
            | Fact::Acknowledged { .. }
            | Fact::Join(
                JoinFact::JoinedTo { .. }
                    | JoinFact::SplitOff { .. }
                    | JoinFact::Freed { .. }
                    | JoinFact::CalledBackAs { .. }
            )
    )
}

/// What is oldest goes, a quarter of it: it stands in the revisions before.
fn trim(record: &mut AlertRecord) {
    mark(record, "record_trimmed");
    let lines = record.text.len() / 4;
    record.text.drain(..lines);
    record.handling.drain(..record.handling.len() / 4);
    record.incident.triage.drain(..record.incident.triage.len() / 4);
}

/// Room for one more: the oldest but the first gives way.
fn bound<T>(list: &mut Vec<T>, most: usize) {
    if list.len() >= most {
        list.remove(1);
    }
}

/// States only go forward; what comes late does not take an alert back.
fn advance(record: &mut AlertRecord, to: State) {
    if to > record.state || matches!(record.state, State::Abandoned | State::Callback | State::Reopened) {
        record.state = to;
    }
}

fn mark(record: &mut AlertRecord, text: &str) {
    if !record.marks.iter().any(|m| m == text) {
        record.marks.push(text.to_owned());
    }
}

#[cfg(test)]
mod command_tests;
#[cfg(test)]
mod fanout_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
