//! Messages in: known or new, whole or in parts, and to which alert they belong.

use codecs::chat::SharedLocation;
use codecs::geo::to_wgs84;
use codecs::record::{
    Address, AlertNo, Assessment, Location, LocationSource, Note, Original, Stamp, Subscriber as RecordSubscriber,
};
use codecs::sms::decode;
use codecs::time::Wall;

use casework::{Arrival, Fact, IncidentFact, Message, Place as FactPlace, TextFact};
use dispatch::conversation::{Joined, Known, LongKey, Part, Seen};
use dispatch::nearest::Place;

use super::{Casebook, ChannelRule, Output};
use crate::limits::{self, Cutter};
use crate::message::{AgencyCase, Body, Failure, Incoming, RequestId};
use crate::{is_telephone, telephone};

/// Cases of agencies in one alert; a further one begins its own.
const AGENCIES_MAX: usize = 16;

impl Casebook {
    pub(super) fn incoming(&mut self, at: Wall, mut message: Incoming, request: RequestId) {
        let Some(rule) = self.channel(&message.from.channel) else {
            return self.answer(request, Err(Failure::NotFound("no such channel")));
        };
        let channel = rule.name.clone();
        let marks = bound(&mut message);
        if message.is_ping {
            self.ping(at, &message);
            return self.answer(request, Ok(None));
        }
        let name = Seen::name(&channel, &message.from.user, &message.message_id);
        let known = match message.session {
            Some(session) => self.seen_lately.note(self.now, name, session, self.durable),
            None => self.seen.note(self.now, &channel, name),
        };
        if let Known::Before(no) = known {
            self.count(&channel, "duplicate");
            return self.answer(request, Ok(no));
        }
        if self.is_spent(at, &message.from) || self.says_too_much(at, &message) {
            self.seen.forget(name);
            self.count(&channel, "quota");
            return self.answer(request, Err(Failure::Quota));
        }
        self.count(&channel, "received");
        self.talks.note_heard(self.now, &message.from);
        let (before, from, session) = (self.written, message.from.clone(), message.session);
        let no = match message.body.clone() {
            Body::Text(text) => Some(self.deliver(at, message, text, marks)),
            Body::Octets { alphabet, octets, segment: None } => {
                let text = decode(alphabet, &octets);
                Some(self.deliver(at, message, text, marks))
            }
            Body::Octets { alphabet, octets, segment: Some(segment) } => {
                let id = message.message_id.clone();
                let part = Part::new(message.from.clone(), message.to.clone(), segment, alphabet, octets, id);
                self.part(at, message, part)
            }
        };
        self.charge(at, &from, before);
        match (session, no) {
            (Some(_), no) => self.seen_lately.belongs(name, no, self.frames),
            (None, Some(no)) => self.seen.belongs(name, no),
            (None, None) => {}
        }
        self.answer(request, Ok(no));
    }

    fn part(&mut self, at: Wall, message: Incoming, part: Part) -> Option<AlertNo> {
        let note = part_note(&part);
        let joined = self.assembly.add(self.now, part);
        self.joined(at, message, joined, &note)
    }

    fn joined(&mut self, at: Wall, message: Incoming, joined: Joined, note: &Note) -> Option<AlertNo> {
        match joined {
            Joined::Kept => {
                self.note(at, note);
                None
            }
            Joined::Again => None,
            Joined::Whole { text, message_id, names } => {
                let from = message.from.clone();
                let no = self.deliver(at, Incoming { message_id, ..message }, text, Vec::new());
                self.parts_belong(at, from, &names, no);
                Some(no)
            }
            Joined::Late { text } => {
                let text = format!("[补] {text}");
                Some(self.deliver(at, message, text, Vec::new()))
            }
            Joined::Instead { before, then } => {
                self.partial(at, *before);
                self.joined(at, message, *then, note)
            }
            partial @ Joined::Partial { .. } => {
                self.partial(at, partial);
                None
            }
        }
    }

    /// Parts are in an alert now: a start does not wait for the others again.
    fn parts_belong(&mut self, at: Wall, from: Address, names: &[String], no: AlertNo) {
        let hashed = names.iter().map(|id| Seen::name(&from.channel, &from.user, id));
        let names = hashed.map(|name| (format!("{name:032x}"), no.to_string())).collect();
        self.note(at, &Note::Known { channel: from.channel, names });
    }

    /// Of a long message what there is.
    fn partial(&mut self, at: Wall, joined: Joined) {
        let Joined::Partial { key, text, message_id, names } = joined else { return };
        let sender = key.sender.clone();
        self.count(&sender.channel, "parts_missing");
        let message = Incoming {
            from: key.sender,
            message_id,
            session: None,
            to: key.to,
            body: Body::Text(String::new()),
            forms: vec![codecs::record::Form::Text],
            attachments: Vec::new(),
            location: None,
            phone: None,
            silent: false,
            is_ping: false,
            case: None,
        };
        let no = self.deliver(at, message, text, Vec::new());
        self.parts_belong(at, sender, &names, no);
    }

    pub(super) fn parts_timeouts(&mut self, at: Wall) {
        while let Some(partial) = self.assembly.expire(self.now) {
            self.partial(at, partial);
        }
    }

    /// Where somebody is who has an alert open: no report, and no line of theirs.
    fn ping(&mut self, at: Wall, message: &Incoming) {
        let alert = self.talks.threads().get(&message.from).map(|t| t.alert).filter(|no| self.talks.contains(*no));
        let (Some(no), Some(shared)) = (alert, &message.location) else { return };
        if self.is_spent(at, &message.from) {
            return self.count(&message.from.channel, "quota");
        }
        let location = Location { from: Some(message.from.clone()), ..self.place_of(at, shared).location };
        let before = self.written;
        self.fact(at, no, Fact::Incident(IncidentFact::Tracked { location }));
        self.charge(at, &message.from, before);
    }

    /// A whole message goes to its sender's alert, or begins one.
    fn deliver(&mut self, at: Wall, m: Incoming, text: String, mut marks: Vec<&'static str>) -> AlertNo {
        if let Some(no) = self.officer_answers(at, &m, &text) {
            return no;
        }
        // A channel that a configuration no longer has may have had parts waiting.
        let rule = self.channel(&m.from.channel).cloned().unwrap_or_else(|| ChannelRule::gone(&m.from.channel));
        // An empty one says that the sender is a pseudonym.
        let is_number = rule.user_is_phone && m.phone.is_none();
        let named = m.phone.as_deref().map(telephone);
        let (proven, claimed) = if rule.proves_phone { (named, None) } else { (None, named) };
        let own_number = proven.or_else(|| is_number.then(|| telephone(&m.from.user))).filter(|n| is_telephone(n));
        let claimed = claimed.filter(|n| is_telephone(n) && own_number.is_none());
        // Their own thread's alert; where that is long over, the one that their telephone is heard of in. A number that
        // is only claimed finds nobody.
        let known = self.talks.alert_of(&m.from, own_number.as_deref(), |no| self.alerts.is_within_reach(no));
        // An agency names the alert of ours that its case is about.
        let about = m.case.as_ref().and_then(|case| case.about);
        let named = about.filter(|no| self.alerts.is_within_reach(*no)).map(|no| self.alerts.goes_on_as(no));
        let has_room = |no: &AlertNo| self.alerts.get(*no).is_some_and(|r| r.id.external.len() < AGENCIES_MAX);
        let known = known.or(named.filter(has_room));
        let text = case_text(text, &m, known.is_some(), about.filter(|_| known.is_none() || known != named));
        let full = known.filter(|no| !self.alerts.has_room_for(*no, &m.from));
        let place = m.location.as_ref().map(|l| {
            let mut place = self.place_of(at, l);
            place.location.from = Some(m.from.clone());
            place
        });
        let address = m.from.clone();
        let asks = m.silent;
        if claimed.is_some() {
            marks.push("phone_unproven");
        } else if m.phone.as_deref().is_some_and(|phone| !phone.is_empty()) && own_number.is_none() {
            marks.push("phone_unreadable");
        }
        // Whoever goes on from a full record is who they were there.
        let before = full.and_then(|no| self.alerts.get(no)).and_then(|record| {
            let writer = record.reporter.channels.iter().find(|w| w.is(&address))?;
            Some(self.numbers_of_writer(record, writer))
        });
        let mut message = Message {
            // The one that they showed last comes last.
            known: before.unwrap_or_default().into_iter().rev().collect(),
            address: m.from,
            phone: String::new(),
            message_id: m.message_id,
            body: text,
            forms: m.forms,
            attachments: m.attachments,
            place,
            receipt: rule.receipt.clone().filter(|_| full.is_none()),
            // What they asked for holds where they go on; another's silence is not theirs.
            silent: m.silent || full.is_some_and(|no| self.is_silent_writer(no, &address)),
            marks,
            case: m.case.as_ref().map(|case| Box::new(case.case.clone())),
        };
        let no = match known.filter(|_| full.is_none()) {
            Some(no) => {
                self.keep_names_that_go(at, no);
                message.phone = own_number.clone().unwrap_or_default();
                self.fact(at, no, Fact::Text(TextFact::Received(Box::new(message))));
                no
            }
            None => {
                let (no, reserved) = self.mint_number(at);
                let phone = (own_number.clone(), claimed);
                let mut arrival = self.written_arrival(at, &rule, &message, m.to, phone, reserved);
                arrival.follows = full;
                self.fact(at, no, Fact::Written(Box::new(arrival), Box::new(message)));
                no
            }
        };
        self.talks.note_thread(self.now, &address, own_number.as_deref(), no);
        self.heed_silence(at, no, &address, asks);
        if let Some(case) = m.case {
            self.case_says(at, no, &address, *case);
        }
        self.heard(at, no, &rule);
        if let Some(full) = full.filter(|no| self.alerts.is_full(*no)) {
            self.end_talk(at, full);
        }
        no
    }

    /// What an agency makes of its case, unless a later word of theirs said otherwise already. What somebody of the house
    /// has said stands, and of an alert that is not the agency's alone it says only what nobody has.
    fn case_says(&mut self, at: Wall, no: AlertNo, from: &Address, case: AgencyCase) {
        let who = format!("agency:{}", from.channel);
        let Some(record) = self.alerts.get(no) else { return };
        let is_late = casework::is_late(record, from, case.case.order);
        let is_theirs = casework::is_theirs(record, from) && record.incident.triage.iter().all(|t| t.by == who);
        if is_late || case.said == Assessment::default() {
            return;
        }
        let before = self.act_as(who);
        if is_theirs {
            let _ = self.triage(at, no, Box::new(case.said), None);
        } else {
            self.told(at, no, Box::new(case.said));
        }
        self.act_as(before);
    }

    /// An agency has said as much of this case as may be said in a minute: it is told so, and says it again.
    fn says_too_much(&mut self, at: Wall, message: &Incoming) -> bool {
        let thread = || self.talks.threads().get(&message.from).map(|thread| thread.alert);
        let says = message.case.as_ref().filter(|case| case.said != Assessment::default());
        let Some(no) = says.and_then(|case| thread().or(case.about)) else { return false };
        let before = self.act_as(format!("agency:{}", message.from.channel));
        let may = self.alerts.may_triage(at, self.alerts.goes_on_as(no));
        self.act_as(before);
        !may
    }

    /// Whose act what follows is; returns whose it was.
    pub(super) fn act_as(&mut self, who: String) -> String {
        self.alerts.set_actor(Some(who.clone()).filter(|who| !who.is_empty()));
        std::mem::replace(&mut self.acting, who)
    }

    /// A record that has as many lines as it may gives its oldest up: the journal is to know its name all the same.
    fn keep_names_that_go(&mut self, at: Wall, no: AlertNo) {
        let Some(line) = self.alerts.get(no).and_then(casework::goes_next) else { return };
        let name = Seen::name(&line.channel, &line.user, &line.message_id);
        let names = vec![(format!("{name:032x}"), no.to_string())];
        let note = Note::Known { channel: line.channel.clone(), names };
        self.note(at, &note);
    }

    fn written_arrival(
        &self,
        at: Wall,
        rule: &super::ChannelRule,
        message: &Message,
        to: String,
        (proven, claimed): (Option<String>, Option<String>),
        reserved: bool,
    ) -> Arrival {
        let subscriber = proven.as_ref().and_then(|p| self.config.subscribers.get(p));
        let point = subscriber.and_then(|s| s.at);
        let place = match point {
            Some(_) => Place { point, ..Place::default() },
            None => Place { grid: rule.default_grid.clone(), ..Place::default() },
        };
        let (jurisdiction, owner) = self.jurisdiction(&place);
        let known = subscriber.is_some() || rule.default_grid.is_some();
        let location = known.then(|| Location {
            wgs84: place.point,
            original: None,
            civic: subscriber.map(|s| s.address.clone()).unwrap_or_default(),
            grid_code: self.config.grids.of(&place).map(|g| g.id.clone()).unwrap_or_default(),
            source: if point.is_some() { LocationSource::Subscriber } else { LocationSource::TrunkDefault },
            at: Stamp(at),
            from: None,
        });
        Arrival {
            channel: rule.channel,
            caller: proven.or(claimed).unwrap_or_default(),
            called: to,
            trunk: rule.name.clone(),
            message_id: message.message_id.clone(),
            subscriber: subscriber.map(|s| RecordSubscriber { name: s.name.clone(), address: s.address.clone() }),
            location,
            jurisdiction,
            owner,
            marks: if reserved { Vec::new() } else { vec!["number_unreserved".into()] },
            follows: None,
        }
    }

    fn place_of(&self, at: Wall, shared: &SharedLocation) -> FactPlace {
        let point = to_wgs84(shared.point, shared.datum);
        let place = Place { point, ..Place::default() };
        let (jurisdiction, owner) = self.jurisdiction(&place);
        let original = Original { lon: shared.point.lon, lat: shared.point.lat, datum: shared.datum };
        let location = Location {
            wgs84: point,
            original: Some(original),
            civic: shared.label.clone(),
            grid_code: self.config.grids.of(&place).map(|g| g.id.clone()).unwrap_or_default(),
            source: LocationSource::Shared,
            at: Stamp(at),
            from: None,
        };
        FactPlace { location, jurisdiction, owner }
    }

    /// The chain of units, and the one that owns: local police, the reception unit when the grid is unknown.
    pub(super) fn jurisdiction(&self, place: &Place) -> (Vec<String>, String) {
        crate::shard::jurisdiction(&self.config.unit, &self.config.grids, place)
    }

    pub(super) fn count(&mut self, channel: &str, what: &'static str) {
        self.outputs.push_back(Output::Counted { channel: channel.to_owned(), what });
    }

    /// A call: the open written alert of the same number goes on as the call's. Whoever withholds their number is
    /// nobody's acquaintance.
    pub(super) fn call_arrives(&mut self, no: AlertNo, caller: &str) -> Option<AlertNo> {
        let phone = Some(telephone(caller)).filter(|phone| is_telephone(phone))?;
        self.talks.call_arrives(self.now, &phone, no)
    }

    /// Takes up what the journal noted at `then`; before the records. `at` is now.
    pub(super) fn restore_note(&mut self, at: Wall, then: Wall, note: Note) {
        let instant = self.named_at(at, then);
        match note {
            // Once it is known which of them are in alerts: `restore_part`.
            Note::Part { .. } => {}
            Note::Seen { names } => {
                for name in names.iter().filter_map(|n| u128::from_str_radix(n, 16).ok()) {
                    self.seen.note(instant, "", name);
                }
            }
            Note::Known { channel, names } => {
                for (name, no) in names {
                    let Ok(name) = u128::from_str_radix(&name, 16) else { continue };
                    self.seen.note(instant, &channel, name);
                    if let Some(no) = AlertNo::parse(&no) {
                        self.seen.belongs(name, no);
                    }
                }
            }
            Note::Line { line, state } => {
                self.restored_lines.insert(line, state);
            }
            Note::Outbound { line, to, body, notice, .. } => {
                let plain = super::Outbound::plain(line.clone(), to, body, at);
                let outbound = super::Outbound { notice, ..plain };
                self.restored_outbound.insert(line, outbound);
            }
            answered @ Note::Answered { .. } => self.remember(instant, then, answered),
            // The front has them.
            Note::Binding { .. } | Note::Unbound { .. } | Note::Head { .. } | Note::Damaged { .. } => {}
        }
    }

    /// Takes up a part that the journal noted at `then`, unless an alert has it; after all other notes. What comes of it
    /// is handed on once the records are there.
    pub(super) fn restore_part(&mut self, at: Wall, then: Wall, note: Note) {
        let Note::Part { sender, to, reference, total, number, alphabet, octets, message_id } = note else { return };
        let key = LongKey { sender, to, reference, total };
        let name = Seen::name(&key.sender.channel, &key.sender.user, &message_id);
        let known = self.seen.note(self.named_at(at, then), &key.sender.channel, name);
        if matches!(known, Known::Before(Some(_))) {
            return;
        }
        let part = Part { key: key.clone(), number, alphabet, octets: unhex(&octets), message_id };
        let mut joined = self.assembly.add(self.instant_of(at, then), part);
        while let Joined::Instead { before, then } = joined {
            self.restored_long.push(*before);
            joined = *then;
        }
        if let Joined::Whole { text, message_id, names } = joined {
            self.restored_long.push(Joined::Partial { key, text, message_id, names });
        }
    }

    /// Long messages that became whole by what the journal noted, and that no record has.
    pub(super) fn hand_on_restored(&mut self, at: Wall) {
        for long in std::mem::take(&mut self.restored_long) {
            let Joined::Partial { key, message_id, .. } = &long else { continue };
            if self.seen.alert_of(Seen::name(&key.sender.channel, &key.sender.user, message_id)).is_none() {
                self.partial(at, long);
            }
        }
    }
}

/// An agency's words, with what of them would stand nowhere else: a number for an alert that has its own, the alert that
/// they are about where they do not come into it.
fn case_text(text: String, m: &Incoming, is_known: bool, about: Option<AlertNo>) -> String {
    if m.case.is_none() {
        return text;
    }
    let phone = m.phone.as_deref().filter(|_| is_known).map(|phone| format!(" [电话 {phone}]"));
    let about = about.map(|no| format!(" [关于警情 {no}]"));
    text + &phone.unwrap_or_default() + &about.unwrap_or_default()
}

/// Cuts what is too long; the marks of what was.
fn bound(message: &mut Incoming) -> Vec<&'static str> {
    let mut cutter = Cutter::default();
    cutter.name(limits::USER, &mut message.from.user);
    cutter.name(limits::MESSAGE_ID, &mut message.message_id);
    cutter.cut(limits::NUMBER, &mut message.to);
    if let Some(phone) = &mut message.phone {
        cutter.cut(limits::NUMBER, phone);
    }
    if let Some(location) = &mut message.location {
        cutter.cut(limits::LABEL, &mut location.label);
    }
    if let Some(case) = &mut message.case {
        cutter.name(limits::USER, &mut case.case.external.no);
    }
    for file in &mut message.attachments {
        cutter.cut(limits::FILE_NAME, &mut file.vendor_id);
    }
    if let Body::Text(text) = &mut message.body {
        // Nobody says them, and each takes six octets of a record.
        text.retain(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
        cutter.cut(limits::LINE, text);
    }
    cutter.marks
}

pub(super) fn part_note(part: &Part) -> Note {
    Note::Part {
        sender: part.key.sender.clone(),
        to: part.key.to.clone(),
        reference: part.key.reference,
        total: part.key.total,
        number: part.number,
        alphabet: part.alphabet,
        octets: codecs::sip::auth::hex(&part.octets),
        message_id: part.message_id.clone(),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |p: &[u8]| std::str::from_utf8(p).ok().and_then(|t| u8::from_str_radix(t, 16).ok());
    text.as_bytes().chunks(2).filter_map(pair).collect()
}
