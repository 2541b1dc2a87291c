//! What seats are told of their conversations.

use std::collections::BTreeSet;
use std::sync::Arc;

use codecs::record::{AlertRecord, Role, Writer};
use dashmap::DashMap;
use serde_json::json;
use tokio::sync::broadcast;

/// Lines of a conversation that a seat is told at once; the whole is at `/v1/alerts/{no}`.
const LINES: usize = 50;

/// News for seats, to whoever listens there.
#[derive(Clone, Default)]
pub struct Notices(Arc<DashMap<String, broadcast::Sender<Arc<str>>>>);

impl Notices {
    pub fn listen(&self, seat: &str) -> broadcast::Receiver<Arc<str>> {
        self.0.entry(seat.to_owned()).or_insert_with(|| broadcast::channel(1024).0).subscribe()
    }

    /// Tells a seat, if anybody listens there; the text is made only then.
    pub fn tell(&self, seat: &str, make: impl FnOnce() -> Option<String>) {
        let Some(sender) = self.0.get(seat).filter(|s| s.receiver_count() > 0) else { return };
        if let Some(text) = make() {
            let _ = sender.send(text.into());
        }
    }
}

/// The seats that an alert concerns: whoever has it, and every taker who has had its call.
fn seats(record: &AlertRecord) -> BTreeSet<&str> {
    let taken = record.call.legs.iter().filter(|leg| leg.role == Role::Taker).map(|leg| &*leg.party);
    record.call.seat.iter().map(|seat| &*seat.no).chain(taken).collect()
}

impl Notices {
    /// Tells the seats that it concerns how an alert stands.
    pub fn tell_of(&self, record: &AlertRecord) {
        if self.0.is_empty() {
            return;
        }
        for seat in seats(record) {
            self.tell(seat, || Some(alert_text(record)));
        }
    }
}

/// Legs of a call that a seat is told; the whole is at `/v1/alerts/{no}`.
const LEGS: usize = 20;

/// How an alert stands, for a seat's page.
pub fn alert_text(record: &AlertRecord) -> String {
    let legs = &record.call.legs[record.call.legs.len().saturating_sub(LEGS)..];
    let incident = &record.incident;
    let body = json!({
        "alert_no": record.id.alert_no,
        "rev": record.rev,
        "state": record.state,
        "progress": record.progress,
        "channel": record.source.channel,
        "called": record.source.called_number,
        "validity": record.source.validity,
        "phone": record.reporter.phone,
        "name": record.reporter.name,
        "subscriber": record.reporter.subscriber,
        "flags": record.reporter.flags,
        "silent": record.reporter.safety.silent,
        "location": record.location.first(),
        "owner": record.route.owner,
        "command": record.route.command,
        "complaint_of": incident.complaint_of,
        "seat": record.call.seat.as_ref().map(|seat| &seat.no),
        "kind": incident.kind,
        "category": incident.category,
        "level": incident.level,
        "keywords": incident.keywords.iter().map(|k| &k.word).collect::<Vec<_>>(),
        "description": incident.text,
        "casualties": incident.casualties,
        "hazards": incident.hazards,
        "t": record.call.t,
        "legs": legs,
        "fanout": record.fanout,
        "timers": record.timers,
    });
    format!("event: alert\ndata: {body}\n\n")
}

/// What a seat is told about a conversation.
pub fn notice_text(what: &str, record: &AlertRecord) -> String {
    let lines = &record.text[record.text.len().saturating_sub(LINES)..];
    let due = record.timers.iter().find(|t| t.promise() == Some(codecs::record::Promise::Answer)).map(|t| t.due);
    let body = json!({
        "what": what,
        "alert_no": record.id.alert_no,
        "channel": record.source.channel,
        "from": record.reporter.channels.first().map(Writer::address),
        "writers": record.reporter.channels.iter().map(Writer::address).collect::<Vec<_>>(),
        "phone": record.reporter.phone,
        "silent": record.reporter.safety.silent,
        "level": record.incident.level,
        "keywords": record.incident.keywords.iter().map(|k| &k.word).collect::<Vec<_>>(),
        "location": record.location.first(),
        "answered": record.call.t.answer.is_some(),
        "due": due,
        "text": lines,
    });
    format!("event: conversation\ndata: {body}\n\n")
}
