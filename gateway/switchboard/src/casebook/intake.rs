//! Messages in: known or new, whole or in parts, and to which alert they belong.

use codecs::chat::SharedLocation;
use codecs::geo::to_wgs84;
use codecs::record::{
    Address, AlertNo, Channel, Location, LocationSource, Note, Original, Stamp, Subscriber as RecordSubscriber,
};
use codecs::sms::decode;
use codecs::time::Wall;

use casework::{Arrival, Fact, Message, Place as FactPlace};
use dispatch::conversation::{Joined, Part, Seen};
use dispatch::nearest::Place;

use super::{Casebook, Output};
use crate::message::{Body, Failure, Incoming, RequestId};
use crate::telephone;

impl Casebook {
    pub(super) fn incoming(&mut self, at: Wall, message: Incoming, request: RequestId) {
        let Some(rule) = self.channel(&message.from.channel) else {
            return self.answer(request, Err(Failure::NotFound("no such channel")));
        };
        let channel = rule.name.clone();
        let name = Seen::name(&channel, &message.message_id);
        let fresh =
            if message.is_named_by_content { self.seen_lately.note(at, name) } else { self.seen.note(at, name) };
        if !fresh {
            self.count(&channel, "duplicate");
            return self.answer(request, Ok(None));
        }
        self.count(&channel, "received");
        self.note_heard(at, &message.from);
        let no = match message.body.clone() {
            Body::Text(text) => Some(self.deliver(at, message, text)),
            Body::Octets { alphabet, octets, segment: None } => {
                let text = decode(alphabet, &octets);
                Some(self.deliver(at, message, text))
            }
            Body::Octets { alphabet, octets, segment: Some(segment) } => {
                let id = message.message_id.clone();
                let part = Part::new(message.from.clone(), message.to.clone(), segment, alphabet, octets, id);
                self.part(at, message, part)
            }
        };
        self.answer(request, Ok(no));
    }

    fn part(&mut self, at: Wall, message: Incoming, part: Part) -> Option<AlertNo> {
        let note = part_note(&part);
        match self.assembly.add(at, part) {
            Joined::Kept => {
                self.note(at, &note);
                None
            }
            Joined::Again => None,
            // The revision names the message, so that a restart does not wait for its parts again.
            Joined::Whole { text, message_id } => {
                let last = Seen::name(&message.from.channel, &message.message_id);
                let no = self.deliver(at, Incoming { message_id, ..message }, text);
                self.note(at, &Note::Seen { names: vec![format!("{last:032x}")] });
                Some(no)
            }
            Joined::Late { text } => {
                let text = format!("[补] {text}");
                Some(self.deliver(at, message, text))
            }
            Joined::Partial { .. } => unreachable!("only time makes a message partial"),
        }
    }

    pub(super) fn parts_timeouts(&mut self, at: Wall) {
        while let Some(Joined::Partial { key, text, message_id }) = self.assembly.expire(at) {
            self.count(&key.sender.channel.clone(), "parts_missing");
            let message = Incoming {
                from: key.sender,
                message_id,
                is_named_by_content: false,
                to: key.to,
                body: Body::Text(String::new()),
                forms: vec![codecs::record::Form::Text],
                attachments: Vec::new(),
                location: None,
                phone: None,
                silent: false,
            };
            self.deliver(at, message, text);
        }
    }

    /// A whole message goes to its sender's alert, or begins one.
    fn deliver(&mut self, at: Wall, m: Incoming, text: String) -> AlertNo {
        let rule = self.channel(&m.from.channel).expect("a message comes by a channel that there is").clone();
        let own_number = rule.user_is_phone.then(|| telephone(&m.from.user));
        let phone = m.phone.as_deref().map(telephone).or(own_number);
        // Their own thread's alert; where that is long over, the one that their telephone is heard of in.
        let by_thread = self.threads.get(&m.from).map(|t| t.alert);
        let by_phone = phone.as_deref().and_then(|p| self.threads.of_phone(p));
        let known = [by_thread, by_phone].into_iter().flatten().find(|no| self.alerts.is_within_reach(*no));
        let place = m.location.as_ref().map(|l| self.place_of(at, l));
        let address = m.from.clone();
        let message = Message {
            address: m.from,
            message_id: m.message_id,
            body: text,
            forms: m.forms,
            attachments: m.attachments,
            place,
            receipt: rule.receipt.clone(),
            silent: m.silent,
        };
        let no = match known {
            Some(no) => {
                self.fact(at, no, Fact::Received(Box::new(message)));
                no
            }
            None => {
                let (no, reserved) = self.mint_number(at);
                let arrival = self.written_arrival(at, &rule, &message, m.to, phone.clone(), reserved);
                self.fact(at, no, Fact::Written(Box::new(arrival), Box::new(message)));
                no
            }
        };
        self.threads.note(at, &address, phone.as_deref(), no);
        self.heard(at, no, &rule);
        no
    }

    fn written_arrival(
        &self,
        at: Wall,
        rule: &super::ChannelRule,
        message: &Message,
        to: String,
        phone: Option<String>,
        reserved: bool,
    ) -> Arrival {
        let subscriber = phone.as_ref().and_then(|p| self.config.subscribers.get(p));
        let point = subscriber.and_then(|s| s.at);
        let place = match point {
            Some(_) => Place { grid: None, point },
            None => Place { grid: rule.default_grid.clone(), point: None },
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
        });
        Arrival {
            channel: rule.channel,
            caller: phone.unwrap_or_default(),
            called: to,
            trunk: rule.name.clone(),
            message_id: message.message_id.clone(),
            subscriber: subscriber.map(|s| RecordSubscriber { name: s.name.clone(), address: s.address.clone() }),
            location,
            jurisdiction,
            owner,
            marks: if reserved { Vec::new() } else { vec!["number_unreserved".into()] },
        }
    }

    fn place_of(&self, at: Wall, shared: &SharedLocation) -> FactPlace {
        let point = to_wgs84(shared.point, shared.datum);
        let place = Place { grid: None, point };
        let (jurisdiction, owner) = self.jurisdiction(&place);
        let original = Original { lon: shared.point.lon, lat: shared.point.lat, datum: shared.datum };
        let location = Location {
            wgs84: point,
            original: Some(original),
            civic: shared.label.clone(),
            grid_code: self.config.grids.of(&place).map(|g| g.id.clone()).unwrap_or_default(),
            source: LocationSource::Shared,
            at: Stamp(at),
        };
        FactPlace { location, jurisdiction, owner }
    }

    /// The chain of units, and the one that owns: local police, the reception unit when the grid is unknown.
    fn jurisdiction(&self, place: &Place) -> (Vec<String>, String) {
        crate::shard::jurisdiction(&self.config.unit, &self.config.grids, place)
    }

    pub(super) fn count(&mut self, channel: &str, what: &'static str) {
        self.outputs.push_back(Output::Counted { channel: channel.to_owned(), what });
    }

    /// A call: texts of the same number belong to it.
    pub(super) fn call_arrives(&mut self, at: Wall, no: AlertNo, caller: &str) {
        let phone = telephone(caller);
        let earlier = self.threads.of_phone(&phone).filter(|n| self.talks.contains_key(n));
        if earlier.is_none() {
            self.threads.note_phone(at, &phone, no);
        }
    }

    /// The open written alert of whoever calls; it goes on as the call's.
    pub(super) fn joined_by_call(&mut self, at: Wall, no: AlertNo, fact: &Fact) -> Option<AlertNo> {
        let Fact::Arrived(arrival) = fact else { return None };
        let phone = telephone(&arrival.caller);
        let earlier = self.threads.of_phone(&phone).filter(|n| *n != no && self.talks.contains_key(n))?;
        self.threads.note_phone(at, &phone, no);
        Some(earlier)
    }

    /// Takes up what the journal noted; before the records.
    pub fn restore_note(&mut self, at: Wall, note: Note) {
        match note {
            Note::Part { sender, to, reference, total, number, alphabet, octets, message_id } => {
                let key = dispatch::conversation::LongKey { sender, to, reference, total };
                let name = Seen::name(&key.sender.channel, &message_id);
                self.seen.note(at, name);
                let octets = unhex(&octets);
                let _ = self.assembly.add(at, Part { key, number, alphabet, octets, message_id });
            }
            Note::Seen { names } => {
                for name in names.iter().filter_map(|n| u128::from_str_radix(n, 16).ok()) {
                    self.seen.note(at, name);
                }
            }
            Note::Line { line, state } => {
                self.restored_lines.insert(line, state);
            }
            Note::Outbound { line, to, body, notice } => {
                let plain = super::Outbound::plain(line.clone(), to, body, at);
                let outbound = super::Outbound { notice, ..plain };
                self.restored_outbound.insert(line, outbound);
            }
        }
    }
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

/// The class under overload of a channel that nothing more is known about.
pub(super) fn class_of(channel: Channel) -> dispatch::seat::Class {
    match channel {
        Channel::Sms12110 | Channel::SipMessage => dispatch::seat::Class::Sms,
        _ => dispatch::seat::Class::Other,
    }
}

/// Whoever wrote a line of theirs, for a restart.
pub(super) fn senders(record: &codecs::record::AlertRecord) -> impl Iterator<Item = &Address> {
    record.reporter.channels.iter()
}
