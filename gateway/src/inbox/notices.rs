//! What seats are told of their conversations.

use std::sync::Arc;

use codecs::record::AlertRecord;
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

/// What a seat is told about a conversation.
pub fn notice_text(what: &str, record: &AlertRecord) -> String {
    let lines = &record.text[record.text.len().saturating_sub(LINES)..];
    let due = record.timers.iter().find(|t| t.promise() == Some(codecs::record::Promise::Answer)).map(|t| t.due);
    let body = json!({
        "what": what,
        "alert_no": record.id.alert_no,
        "channel": record.source.channel,
        "from": record.reporter.channels.first(),
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
