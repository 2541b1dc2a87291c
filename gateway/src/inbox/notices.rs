//! What seats are told of their conversations and calls, and officers of what they are called to.

use std::collections::BTreeSet;
use std::sync::Arc;

use codecs::record::{AlertRecord, Dispatch, Role, TryResult, Writer};
use dashmap::DashMap;
use serde_json::json;
use switchboard::GridMap;
use tokio::sync::broadcast;

/// Lines of a conversation that a seat is told at once; the whole is at `/v1/alerts/{no}`.
const LINES: usize = 50;

/// News for seats and officers, to whoever listens there.
#[derive(Clone)]
pub struct Notices {
    listeners: Arc<DashMap<String, broadcast::Sender<Arc<str>>>>,
    /// Which unit is above which.
    grids: Arc<GridMap>,
}

/// No seat is called so.
fn of_officer(no: &str) -> String {
    format!("officer/{no}")
}

impl Notices {
    pub fn new(grids: Arc<GridMap>) -> Notices {
        Notices { listeners: Arc::default(), grids }
    }

    pub fn listen(&self, seat: &str) -> broadcast::Receiver<Arc<str>> {
        self.listeners.entry(seat.to_owned()).or_insert_with(|| broadcast::channel(1024).0).subscribe()
    }

    pub fn listen_officer(&self, no: &str) -> broadcast::Receiver<Arc<str>> {
        self.listen(&of_officer(no))
    }

    /// Tells an officer how an alert stands that they were called to. Of a complaint about their unit, or one above it,
    /// they hear nothing.
    pub fn tell_officer(&self, no: &str, record: &AlertRecord) {
        let tried = || record.dispatch.iter().rev().filter(|d| d.officer == no);
        // Called once more, and in vain, they still go.
        let goes = tried().find(|d| matches!(d.result, None | Some(TryResult::Answered)));
        let Some(mine) = goes.or_else(|| tried().next()) else { return };
        let complained = record.incident.complaint_of.as_deref().unwrap_or_default();
        // Whoever did not pick up is not the one who goes.
        let is_called = matches!(mine.result, None | Some(TryResult::Answered));
        let is_withheld =
            !is_called || !complained.is_empty() && self.grids.chain(&mine.unit).any(|unit| unit == complained);
        self.tell(&of_officer(no), || {
            Some(if is_withheld { withheld_text(record) } else { called_text(mine, record) })
        });
    }

    /// Tells a seat, if anybody listens there; the text is made only then.
    pub fn tell(&self, seat: &str, make: impl FnOnce() -> Option<String>) {
        let Some(sender) = self.listeners.get(seat).filter(|s| s.receiver_count() > 0) else { return };
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
    /// Tells the seats and officers that it concerns how an alert stands.
    pub fn tell_of(&self, record: &AlertRecord) {
        if self.listeners.is_empty() {
            return;
        }
        let called: BTreeSet<&str> = record.dispatch.iter().map(|d| &*d.officer).collect();
        called.into_iter().for_each(|officer| self.tell_officer(officer, record));
        for seat in seats(record) {
            self.tell(seat, || Some(alert_text(record)));
        }
    }
}

/// Legs of a call, and tries to reach somebody, that a seat is told; the whole is at `/v1/alerts/{no}`.
const LEGS: usize = 20;

/// How an alert stands, for a seat's page.
pub fn alert_text(record: &AlertRecord) -> String {
    let legs = &record.call.legs[record.call.legs.len().saturating_sub(LEGS)..];
    let tried = &record.dispatch[record.dispatch.len().saturating_sub(LEGS)..];
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
        "suggested": incident.suggested,
        "keywords": incident.keywords.iter().map(|k| &k.word).collect::<Vec<_>>(),
        "description": incident.text,
        "casualties": incident.casualties,
        "hazards": incident.hazards,
        "t": record.call.t,
        "legs": legs,
        "dispatch": tried,
        "fanout": record.fanout,
        "timers": record.timers,
    });
    format!("event: alert\ndata: {body}\n\n")
}

/// An officer is to see it no longer.
fn withheld_text(record: &AlertRecord) -> String {
    format!("event: withheld\ndata: {}\n\n", json!({ "alert_no": record.id.alert_no, "rev": record.rev }))
}

/// What an officer is told of an alert that they are called to: what endangers them first, then what, where and who.
fn called_text(mine: &Dispatch, record: &AlertRecord) -> String {
    let lines = &record.text[record.text.len().saturating_sub(LINES)..];
    let own = |by: &str| by.strip_prefix("officer:") == Some(&*mine.officer);
    let steps: Vec<_> = record.handling.iter().filter(|h| own(&h.by)).collect();
    let incident = &record.incident;
    let body = json!({
        "alert_no": record.id.alert_no,
        "rev": record.rev,
        "state": record.state,
        "mine": mine,
        "arrived": record.call.t.arrive,
        "level": incident.level,
        "category": incident.category,
        "hazards": incident.hazards,
        "casualties": incident.casualties,
        "keywords": incident.keywords.iter().map(|k| &k.word).collect::<Vec<_>>(),
        "flags": record.reporter.flags,
        "silent": record.reporter.safety.silent,
        "description": incident.text,
        "location": record.location.first(),
        "phone": record.reporter.phone,
        "name": record.reporter.name,
        "text": lines,
        "steps": steps,
        "timers": record.timers,
    });
    format!("event: called\ndata: {body}\n\n")
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
