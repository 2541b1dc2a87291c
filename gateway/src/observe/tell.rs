//! What is told of alerts and of SIP: a line a state at INFO, the ladder at DEBUG, never more than somebody can read.

use codecs::record::CloudEvent;
use codecs::sip::{Message, Name};
use codecs::time::Mono;
use switchboard::Flow;

/// Lines of alerts in a second; what is beyond is counted and told as one.
const LINES_MAX: u32 = 200;

/// The steps that are states of an alert, or that somebody is waited for in. The rest stands in the record.
const STATES: [&str; 11] = [
    "arrived",
    "attendant_answered",
    "answered",
    "bridging",
    "bridged",
    "abandoned",
    "callback",
    "undelivered",
    "keyword_warning",
    "deadline.breach",
    "ended",
];

/// Repeated lines have an end.
#[derive(Default)]
pub struct Budget {
    second: u64,
    told: u32,
    untold: u64,
}

impl Budget {
    /// Whether one more line may be told; how many were not, when a second of them is over.
    fn take(&mut self, now: Mono) -> (bool, u64) {
        let second = now.as_millis() / 1000;
        let mut over = 0;
        if second != self.second {
            over = std::mem::take(&mut self.untold);
            (self.second, self.told) = (second, 0);
        }
        self.told += 1;
        let may = self.told <= LINES_MAX;
        self.untold += u64::from(!may);
        (may, over)
    }
}

/// An alert has come into another state. No number, name or word of a reporter's is told.
pub fn event(budget: &mut Budget, now: Mono, event: &CloudEvent) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let step = event.kind.strip_prefix("cn.gov.police110.alert.").and_then(|k| k.strip_suffix(".v1"));
    let Some(step) = step.filter(|step| STATES.contains(step)) else { return };
    let (may, untold) = budget.take(now);
    if untold > 0 {
        tracing::info!(untold, "more alerts came into another state than are told");
    }
    if may {
        let data = &event.data;
        let seat = data.call.seat.as_ref().map_or("", |seat| seat.no.as_str());
        let (state, rev, trunk) = (data.state, data.rev, data.source.trunk.as_str());
        tracing::info!(alert = event.subject, step, ?state, rev, trunk, seat, "alert");
    }
}

/// A rung of the ladder.
pub fn sip(direction: &'static str, flow: Flow, bytes: &bytes::Bytes) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let Ok(message) = Message::frame(bytes.clone()) else {
        return tracing::debug!(direction, peer = %flow.remote, "SIP that cannot be framed");
    };
    let text = |name| String::from_utf8_lossy(message.get(name).unwrap_or_default()).into_owned();
    let what = match message.code() {
        Some(code) => code.to_string(),
        None => String::from_utf8_lossy(message.method_text()).into_owned(),
    };
    let (call_id, cseq) = (text(Name::CallId), text(Name::CSeq));
    tracing::debug!(direction, peer = %flow.remote, what, cseq, call_id, "SIP");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_has_an_end_and_is_counted() {
        let mut budget = Budget::default();
        let ms = Mono::from_millis;
        let told = (0..1000).filter(|n| budget.take(ms(5000 + n / 2)).0).count();
        assert_eq!(told, LINES_MAX as usize);
        assert_eq!(budget.take(ms(6000)), (true, 800));
        assert_eq!(budget.take(ms(7000)), (true, 0));
    }
}
