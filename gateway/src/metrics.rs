//! Names and buckets of every metric, and where plain counters become metrics: once a second.

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use switchboard::{Counts, Gauges, MediaStats, Observed, SipCounters};

/// Seconds; 3 and 30 are the promises and always there.
const ANSWER_BUCKETS: [f64; 13] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];
const RECEIPT_BUCKETS: [f64; 12] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0, 30.0];
const OFFICER_BUCKETS: [f64; 10] = [2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 60.0];
const COMMIT_BUCKETS: [f64; 10] = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.5, 3.0];

/// Installs the recorder of this process.
///
/// # Errors
/// When one is installed already.
pub fn install() -> anyhow::Result<PrometheusHandle> {
    let exact = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(exact("gateway_call_answer_seconds"), &ANSWER_BUCKETS)?
        .set_buckets_for_metric(exact("gateway_text_answer_seconds"), &ANSWER_BUCKETS)?
        .set_buckets_for_metric(exact("gateway_text_receipt_seconds"), &RECEIPT_BUCKETS)?
        .set_buckets_for_metric(exact("gateway_officer_talk_seconds"), &OFFICER_BUCKETS)?
        .set_buckets_for_metric(exact("gateway_journal_commit_seconds"), &COMMIT_BUCKETS)?
        .install_recorder()
        .context("metrics recorder")?;
    describe();
    Ok(handle)
}

fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};
    histogram!("gateway_call_answer_seconds", "From the arrival of an INVITE to its answer, by trunk and mode");
    histogram!("gateway_officer_talk_seconds", "From the arrival of an INVITE to an officer's two-way audio");
    histogram!("gateway_journal_commit_seconds", "One group commit of the journal, write and sync");
    histogram!("gateway_text_answer_seconds", "From a written report to a human's first line taken by its channel");
    histogram!("gateway_text_receipt_seconds", "From a written report to the machine's receipt taken by its channel");
    counter!("gateway_text_total", "Messages by channel: received, duplicate, parts_missing, quota_spent, breach");
    counter!("gateway_text_events_total", "Platform events that are no reports, by channel");
    counter!("gateway_text_odd_total", "Messages taken in spite of something odd, by channel and what");
    counter!("gateway_text_send_errors_total", "Failed attempts to hand a line to a platform, by channel");
    counter!("gateway_hook_refused_total", "Webhooks refused, by channel and code");
    counter!("gateway_token_renewals_total", "Access tokens asked for, by channel");
    gauge!("gateway_conversations", "Conversations by state: held by a seat, waiting for one");
    gauge!("gateway_sms_links", "Carrier links that are up, by channel");
    gauge!("gateway_sms_waiting", "Parts of lines that wait to be submitted, by channel");
    gauge!("gateway_sms_pdus", "Carrier PDUs since the start, by channel, protocol and what");
    counter!("gateway_calls_total", "Calls that ended, by trunk and result");
    counter!("gateway_deadline_breaches_total", "Promises missed, by timer");
    counter!("gateway_call_panics_total", "Calls ended by a failure of their own machine");
    counter!("gateway_events_total", "Events written to the journal, by type");
    counter!("gateway_store_errors_total", "Failed writes of the journal");
    counter!("gateway_recording_errors_total", "Recording chunks or files that could not be written, by reason");
    counter!("gateway_sink_delivered_total", "Events a sink has acknowledged");
    counter!("gateway_sink_errors_total", "Failed deliveries, by sink");
    gauge!("gateway_threads_failed", "Threads of the gateway that have failed; anything but 0 wants a restart");
    gauge!("gateway_calls", "Calls up now");
    gauge!("gateway_seats", "Seats by state");
    gauge!("gateway_officers", "Officers by state");
    gauge!("gateway_queue_depth", "Calls that wait for a seat");
    gauge!("gateway_store_up", "1 while the journal can be written");
    gauge!("gateway_sink_pending", "Events a sink has not acknowledged yet");
    gauge!("gateway_sink_deadletter", "Events a sink has given up on");
    gauge!("gateway_recording_writers", "Calls being recorded");
    gauge!("gateway_media_legs", "Media legs up now");
    gauge!("gateway_media_ports_free", "Bound media ports that no leg uses");
    gauge!("gateway_rtp_packets", "RTP packets since the start, by direction");
    gauge!("gateway_rtp_lost_packets", "RTP packets that never came, since the start");
    gauge!("gateway_rtp_concealed_frames", "Frames played in place of missing ones, since the start");
    gauge!("gateway_late_ticks", "Media ticks that came over 20 ms late, since the start");
    gauge!("gateway_sip_messages", "SIP messages since the start, by kind");
    gauge!("gateway_sip_transactions", "SIP transactions alive");
}

/// What one call did.
pub fn observe(observed: &Observed) {
    match observed {
        Observed::Answered { trunk, mode, after } => {
            metrics::histogram!("gateway_call_answer_seconds", "trunk" => trunk.clone(), "mode" => mode.text())
                .record(after.as_secs_f64());
        }
        Observed::Bridged { after } => metrics::histogram!("gateway_officer_talk_seconds").record(after.as_secs_f64()),
        Observed::CallEnded { trunk, result } => {
            metrics::counter!("gateway_calls_total", "trunk" => trunk.clone(), "result" => *result).increment(1);
        }
        Observed::Breach { timer } => {
            metrics::counter!("gateway_deadline_breaches_total", "timer" => *timer).increment(1);
        }
        Observed::Panicked => metrics::counter!("gateway_call_panics_total").increment(1),
    }
}

/// A shard's and the desk's plain numbers at one instant.
pub struct Snapshot {
    pub counts: Counts,
    pub sip: SipCounters,
    pub media: MediaStats,
    pub desk: Gauges,
    pub late_ticks: u64,
    pub media_descriptors: usize,
    pub connections: usize,
}

pub fn publish(s: &Snapshot) {
    let set = |name: &'static str, value: f64| metrics::gauge!(name).set(value);
    set("gateway_calls", s.counts.calls as f64);
    set("gateway_media_legs", s.counts.media_legs as f64);
    set("gateway_media_ports_free", s.counts.ports_free as f64);
    set("gateway_media_descriptors", s.media_descriptors as f64);
    set("gateway_sip_transactions", s.counts.transactions as f64);
    set("gateway_sip_connections", s.connections as f64);
    set("gateway_queue_depth", s.desk.waiting as f64);
    for (state, n) in [("held", s.desk.conversations), ("waiting", s.desk.conversations_waiting)] {
        metrics::gauge!("gateway_conversations", "state" => state).set(n as f64);
    }
    set("gateway_late_ticks", s.late_ticks as f64);
    set("gateway_rtp_lost_packets", s.media.lost as f64);
    set("gateway_rtp_concealed_frames", s.media.concealed as f64);
    for (direction, packets) in [("in", s.media.packets_in), ("out", s.media.packets_out)] {
        metrics::gauge!("gateway_rtp_packets", "direction" => direction).set(packets as f64);
    }
    let seats = [
        ("idle", s.desk.seats_idle),
        ("busy", s.desk.seats_busy),
        ("away", s.desk.seats_away),
        ("off", s.desk.seats_off),
    ];
    for (state, count) in seats {
        metrics::gauge!("gateway_seats", "state" => state).set(count as f64);
    }
    for (state, count) in [("on_duty", s.desk.officers_on_duty), ("busy", s.desk.officers_busy)] {
        metrics::gauge!("gateway_officers", "state" => state).set(count as f64);
    }
    let sip = [
        ("request", s.sip.requests),
        ("response", s.sip.responses),
        ("malformed", s.sip.malformed),
        ("rejected", s.sip.rejected),
        ("retransmission", s.sip.retransmissions),
        ("stray", s.sip.stray),
    ];
    for (kind, count) in sip {
        metrics::gauge!("gateway_sip_messages", "kind" => kind).set(count as f64);
    }
}

/// Counters of the casebook's thread, looked up once a label.
#[derive(Default)]
pub struct Counters {
    events: std::collections::HashMap<String, metrics::Counter>,
    text: std::collections::HashMap<(String, &'static str), metrics::Counter>,
}

impl Counters {
    pub fn event(&mut self, kind: &str) {
        if let Some(counter) = self.events.get(kind) {
            return counter.increment(1);
        }
        let counter = metrics::counter!("gateway_events_total", "type" => kind.to_owned());
        counter.increment(1);
        self.events.insert(kind.to_owned(), counter);
    }

    pub fn text(&mut self, channel: String, what: &'static str) {
        let new = |(channel, what): &(String, &'static str)| metrics::counter!("gateway_text_total", "channel" => channel.clone(), "what" => *what);
        let key = (channel, what);
        match self.text.get(&key) {
            Some(counter) => counter.increment(1),
            None => {
                let counter = new(&key);
                counter.increment(1);
                self.text.insert(key, counter);
            }
        }
    }
}
