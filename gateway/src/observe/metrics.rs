//! Names and buckets of every metric, and where plain counters become metrics: once a second.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use codecs::record::CloudEvent;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use switchboard::gate::Dropped;
use switchboard::{Approaching, Counts, Gauges, MediaStats, Observed, SipCounters};

/// Seconds; 3 and 30 are the promises and always there.
const ANSWER_BUCKETS: [f64; 13] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];
const RECEIPT_BUCKETS: [f64; 12] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0, 30.0];
const OFFICER_BUCKETS: [f64; 10] = [2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 60.0];
/// T3 to T8 and T10: a receipt takes milliseconds, an arrival minutes.
const TARGET_BUCKETS: [f64; 12] = [0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0];
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
        .set_buckets_for_metric(exact("gateway_target_seconds"), &TARGET_BUCKETS)?
        .set_buckets_for_metric(exact("gateway_eta_error_seconds"), &TARGET_BUCKETS)?
        .set_buckets_for_metric(exact("gateway_journal_commit_seconds"), &COMMIT_BUCKETS)?
        .install_recorder()
        .context("metrics recorder")?;
    describe();
    Ok(handle)
}

/// How a metric is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only rises; begins at 0 with the process.
    Counter,
    Gauge,
    Histogram,
}

/// One row of the table of metrics.
pub struct Metric {
    pub kind: Kind,
    pub name: &'static str,
    pub says: &'static str,
}

macro_rules! metrics {
    ($($kind:ident $name:literal: $says:literal;)*) => {
        /// Every metric of the gateway. `gateway explain` prints a row, `docs/metrics.md` all of them.
        pub const METRICS: &[Metric] = &[$(Metric { kind: metrics!(@ $kind), name: $name, says: $says }),*];
    };
    (@ counter) => { Kind::Counter };
    (@ gauge) => { Kind::Gauge };
    (@ histogram) => { Kind::Histogram };
}

metrics! {
    histogram "gateway_call_answer_seconds": "From the arrival of an INVITE to its answer, by trunk and mode";
    histogram "gateway_officer_talk_seconds": "From the arrival of an INVITE to an officer's two-way audio";
    histogram "gateway_journal_commit_seconds": "One group commit of the journal, write and sync";
    histogram "gateway_text_answer_seconds": "From a written report to a human's first line taken by its channel";
    histogram "gateway_text_receipt_seconds": "From a written report to the machine's receipt taken by its channel";
    counter "gateway_text_total": "Messages by channel: received, duplicate, parts_missing, quota_spent, breach";
    counter "gateway_text_events_total": "Platform events that are no reports, by channel";
    counter "gateway_text_odd_total": "Messages taken in spite of something odd, by channel and what";
    counter "gateway_text_send_errors_total": "Failed attempts to hand a line to a platform, by channel";
    counter "gateway_hook_refused_total": "Webhooks refused, by channel and code";
    counter "gateway_token_renewals_total": "Access tokens asked for, by channel";
    gauge "gateway_conversations": "Conversations by state: held by a seat, waiting for one";
    gauge "gateway_sms_links": "Carrier links that are up, by channel";
    gauge "gateway_sms_waiting": "Parts of lines that wait to be submitted, by channel";
    gauge "gateway_sms_pdus": "Carrier PDUs since the start, by channel, protocol and what";
    counter "gateway_calls_total": "Calls that ended, by trunk and result";
    counter "gateway_deadline_breaches_total": "Promises missed, by timer: T1 and T2 of calls, T3 to T8 and T10 of targets";
    histogram "gateway_eta_error_seconds": "How far an officer's arrival was from when they were expected as they set out";
    histogram "gateway_target_seconds": "How long targets of the rules took, by timer: receipt T3 T4, signature T5, instruction T6, response T7, arrival T8, feedback T10";
    counter "gateway_call_panics_total": "Calls ended by a failure of their own machine";
    counter "gateway_events_total": "Events written to the journal, by type";
    counter "gateway_store_errors_total": "Failed writes of the journal";
    counter "gateway_recording_errors_total": "Recording chunks or files that could not be written, by reason";
    counter "gateway_sink_delivered_total": "Events a sink has acknowledged";
    counter "gateway_sink_errors_total": "Failed deliveries, by sink";
    gauge "gateway_calls": "Calls up now";
    gauge "gateway_shard_calls": "Calls up now, by shard";
    gauge "gateway_call_backs": "Reporters to be called back: owed, ringing";
    gauge "gateway_seats": "Seats by state";
    gauge "gateway_officers": "Officers by state";
    gauge "gateway_queue_depth": "Calls that wait for a seat";
    gauge "gateway_store_up": "1 while the journal can be written";
    gauge "gateway_sink_pending": "Events a sink has not acknowledged yet";
    gauge "gateway_sink_deadletter": "Events a sink has given up on";
    gauge "gateway_recording_writers": "Calls being recorded";
    gauge "gateway_media_legs": "Media legs up now";
    gauge "gateway_media_ports_free": "Bound media ports that no leg uses";
    gauge "gateway_rtp_packets": "RTP packets since the start, by direction";
    gauge "gateway_rtp_strangers_total": "RTP packets from elsewhere than their leg's, dropped, since the start";
    counter "gateway_calls_refused_total": "Calls refused, by trunk and SIP status; each has an alert of its own";
    counter "gateway_seat_failures_total": "Seats passed over: late, no_answer, no_audio, dropped";
    counter "gateway_legs_vanished_total": "Legs missed: no packets for 25 s and no answer to OPTIONS";
    counter "gateway_legs_deaf_total": "Legs never heard while packets came from elsewhere than their SDP says";
    gauge "gateway_rtp_lost_packets": "RTP packets that never came, since the start";
    gauge "gateway_rtp_concealed_frames": "Frames played in place of missing ones, since the start";
    gauge "gateway_late_ticks": "Media ticks that came over 20 ms late, since the start";
    gauge "gateway_sip_messages": "SIP messages since the start, by kind";
    gauge "gateway_sip_transactions": "SIP transactions alive";
    gauge "gateway_sip_connections": "SIP connections over TCP";
    gauge "gateway_sip_waiting": "SIP messages that wait behind the calls";
    gauge "gateway_sip_dropped_total": "SIP messages that were not served, by why, since the start";
    gauge "gateway_media_descriptors": "Descriptors that media sockets hold";
    gauge "gateway_degraded": "1 for each part that does not do all that it should; /readyz says what";
    gauge "gateway_limit_used": "How much of a cap is used";
    gauge "gateway_limit_max": "A cap";
    counter "gateway_limit_half_total": "Times that half of a cap was reached";
    counter "gateway_thread_restarts_total": "Threads and tasks that failed and began anew";
    counter "gateway_http_closed_total": "HTTP connections closed to make room";
    gauge "gateway_app_connections": "Apps that are connected";
    counter "gateway_app_dropped_total": "Apps whose connection was given up because they took nothing";
    counter "gateway_api_refused_total": "API requests refused: no credential that counts, or a role that may not";
    counter "gateway_store_given_up_total": "Frames given up because too much waited for the journal";
    gauge "gateway_store_waiting_bytes": "Octets that wait for the journal";
    counter "gateway_journal_behind_total": "Times that the journal was behind what the read model had";
    counter "gateway_log_dropped_total": "Lines of the log that were dropped because nobody read them";
    gauge "gateway_journal_damage": "Places of the journal that were damaged when it was read";
    gauge "gateway_recovery_seconds": "How long the journal took to be taken up at the start";
    gauge "gateway_disk_free_bytes": "Octets that the data directory's file system has left";
    gauge "gateway_disk_bytes": "Octets that the data directory's file system has";
    gauge "gateway_disk_free_files": "Files that it has left";
    gauge "gateway_requests_waiting": "API requests that wait for their answer";
    gauge "gateway_inbox_bytes": "Octets that wait in an inbox";
    counter "gateway_sink_cursor_ahead_total": "Cursors that stood beyond the journal and were set back";
    counter "gateway_sink_buried_total": "Events that went to the dead letters";
    gauge "gateway_hook_clock_apart_seconds": "How far a platform's clock and ours are apart";
    counter "gateway_read_model_errors_total": "Times that the read model stopped and was tried again";
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.says),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.says),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.says),
        }
    }
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
        Observed::Breach { promise } => {
            metrics::counter!("gateway_deadline_breaches_total", "timer" => promise.timer()).increment(1);
        }
        Observed::Refused { trunk, code, .. } => {
            let code = code.to_string();
            metrics::counter!("gateway_calls_refused_total", "trunk" => trunk.clone(), "code" => code).increment(1);
        }
        Observed::SeatFailed { why } => {
            metrics::counter!("gateway_seat_failures_total", "why" => *why).increment(1);
        }
        Observed::Vanished { role } => {
            metrics::counter!("gateway_legs_vanished_total", "leg" => role.track()).increment(1);
        }
        Observed::Deaf { role } => {
            tracing::warn!(
                leg = role.track(),
                "GW-2301 a leg's audio comes from elsewhere than its SDP says, and is not heard"
            );
            metrics::counter!("gateway_legs_deaf_total", "leg" => role.track()).increment(1);
        }
        Observed::Panicked => metrics::counter!("gateway_call_panics_total").increment(1),
    }
}

/// A shard's and the desk's plain numbers at one instant.
#[derive(Clone, Copy, Default)]
pub struct Snapshot {
    pub counts: Counts,
    pub sip: SipCounters,
    pub media: MediaStats,
    pub desk: Gauges,
    pub late_ticks: u64,
    pub media_descriptors: usize,
    pub connections: usize,
    pub dropped: Dropped,
    /// Messages that wait behind the calls.
    pub later: usize,
}

/// Where every shard puts its numbers; the first one makes metrics of all of them.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Vec<Snapshot>>>);

impl Board {
    pub fn publish(&self, shard: u16, snapshot: Snapshot) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::from(shard);
        let len = all.len().max(place + 1);
        all.resize(len, Snapshot::default());
        all[place] = snapshot;
        if shard == 0 {
            publish(&all);
        }
    }
}

fn publish(shards: &[Snapshot]) {
    let set = |name: &'static str, value: f64| metrics::gauge!(name).set(value);
    let sum = |of: fn(&Snapshot) -> u64| shards.iter().map(of).sum::<u64>() as f64;
    set("gateway_calls", sum(|s| s.counts.calls as u64));
    set("gateway_media_legs", sum(|s| s.counts.media_legs as u64));
    set("gateway_media_ports_free", sum(|s| s.counts.ports_free as u64));
    set("gateway_media_descriptors", sum(|s| s.media_descriptors as u64));
    set("gateway_sip_transactions", sum(|s| s.counts.transactions as u64));
    set("gateway_sip_connections", sum(|s| s.connections as u64));
    set("gateway_sip_waiting", sum(|s| s.later as u64));
    let dropped = [
        ("stranger", sum(|s| s.dropped.strangers)),
        ("no_room", sum(|s| s.dropped.waiting)),
        ("rate", sum(|s| s.dropped.rate)),
    ];
    for (why, count) in dropped {
        metrics::gauge!("gateway_sip_dropped_total", "why" => why).set(count);
    }
    set("gateway_rtp_strangers_total", sum(|s| s.media.strangers));
    set("gateway_late_ticks", sum(|s| s.late_ticks));
    set("gateway_rtp_lost_packets", sum(|s| s.media.lost));
    set("gateway_rtp_concealed_frames", sum(|s| s.media.concealed));
    for (direction, packets) in [("in", sum(|s| s.media.packets_in)), ("out", sum(|s| s.media.packets_out))] {
        metrics::gauge!("gateway_rtp_packets", "direction" => direction).set(packets);
    }
    for (shard, s) in shards.iter().enumerate() {
        metrics::gauge!("gateway_shard_calls", "shard" => shard.to_string()).set(s.counts.calls as f64);
    }
    let sip = [
        ("request", sum(|s| s.sip.requests)),
        ("response", sum(|s| s.sip.responses)),
        ("malformed", sum(|s| s.sip.malformed)),
        ("rejected", sum(|s| s.sip.rejected)),
        ("retransmission", sum(|s| s.sip.retransmissions)),
        ("stray", sum(|s| s.sip.stray)),
        ("forged", sum(|s| s.sip.forged)),
        ("stranger", sum(|s| s.sip.strangers)),
    ];
    for (kind, count) in sip {
        metrics::gauge!("gateway_sip_messages", "kind" => kind).set(count);
    }
    if let Some(first) = shards.first() {
        publish_desk(&first.desk);
    }
}

fn publish_desk(desk: &Gauges) {
    metrics::gauge!("gateway_queue_depth").set(desk.waiting as f64);
    for (state, n) in [("owed", desk.call_backs_owed), ("ringing", desk.call_backs_ringing)] {
        metrics::gauge!("gateway_call_backs", "state" => state).set(n as f64);
    }
    for (state, n) in [("held", desk.conversations), ("waiting", desk.conversations_waiting)] {
        metrics::gauge!("gateway_conversations", "state" => state).set(n as f64);
    }
    let seats =
        [("idle", desk.seats_idle), ("busy", desk.seats_busy), ("away", desk.seats_away), ("off", desk.seats_off)];
    for (state, count) in seats {
        metrics::gauge!("gateway_seats", "state" => state).set(count as f64);
    }
    for (state, count) in [("on_duty", desk.officers_on_duty), ("busy", desk.officers_busy)] {
        metrics::gauge!("gateway_officers", "state" => state).set(count as f64);
    }
}

/// How well it was known when an officer would arrive.
pub fn approach(news: Approaching) {
    if let Approaching::There { missed_by: Some(by) } = news {
        metrics::histogram!("gateway_eta_error_seconds").record(by.as_secs_f64());
    }
}

/// Counters of the casebook's thread, looked up once a label.
#[derive(Default)]
pub struct Counters {
    events: std::collections::HashMap<String, metrics::Counter>,
    text: std::collections::HashMap<(String, &'static str), metrics::Counter>,
}

impl Counters {
    /// Counts an event, and how long targets took or that they are late.
    pub fn event(&mut self, event: &CloudEvent) {
        if let (Some(timer), Some(_)) = (&event.deadline, &event.target) {
            metrics::counter!("gateway_deadline_breaches_total", "timer" => timer.clone()).increment(1);
        }
        for (limit, took) in event.data.timers.iter().filter_map(|timer| timer.took(event.time)) {
            metrics::histogram!("gateway_target_seconds", "timer" => limit.timer()).record(took.as_secs_f64());
        }
        self.kind(&event.kind);
    }

    fn kind(&mut self, kind: &str) {
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
