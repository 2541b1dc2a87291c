//! `loadtest officers`: officers on duty who tell where they are, each every ten seconds, in an open loop over the API.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;

use crate::api::Api;
use crate::calls::Threshold;
use crate::clock::Clock;

/// How often an officer's terminal tells its position.
pub const EVERY: Duration = Duration::from_secs(10);
/// Kept connections, each with a thread: more positions wait at one time on no machine's loopback.
const CONNECTIONS: u32 = 8;

#[derive(Clone, Debug)]
pub struct Plan {
    /// How many of them there are. Beyond the accounts of the range numbers come again: what is measured is positions.
    pub officers: u32,
    pub duration: Duration,
    pub api: (SocketAddr, String),
    pub range: (u32, u32),
}

pub struct Report {
    pub thresholds: Vec<Threshold>,
    pub sent: u64,
    pub taken: u64,
    /// From the instant at which a position was due to its 204.
    pub latency: Histogram<u64>,
}

impl Report {
    pub fn pass(&self) -> bool {
        self.thresholds.iter().all(|t| t.pass)
    }
}

struct Part {
    sent: u64,
    taken: u64,
    latency: Histogram<u64>,
}

/// Runs the plan.
///
/// # Errors
/// When the API cannot be reached.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    if plan.officers == 0 {
        bail!("--officers is at least 1");
    }
    let clock = Clock::start();
    let begun = clock.now() + Duration::from_millis(50);
    let threads = (0..CONNECTIONS.min(plan.officers)).map(|n| {
        let plan = plan.clone();
        let work = move || tell_positions(&plan, clock, begun, n);
        std::thread::Builder::new().name(format!("officers-{n}")).spawn(work)
    });
    let threads = threads.collect::<Result<Vec<_>, _>>()?;
    let mut whole = Part { sent: 0, taken: 0, latency: histogram()? };
    for thread in threads {
        let part = thread.join().map_err(|_| anyhow::anyhow!("a thread of this tool has failed"))??;
        whole.sent += part.sent;
        whole.taken += part.taken;
        whole.latency.add(&part.latency)?;
    }
    let p99_ms = whole.latency.value_at_quantile(0.99) as f64 / 1000.0;
    let missing = (whole.sent - whole.taken) as f64;
    let thresholds = vec![
        Threshold { name: "positions not taken", limit: 0.0, value: missing, pass: missing == 0.0 },
        Threshold { name: "position p99 ms", limit: 500.0, value: p99_ms, pass: p99_ms <= 500.0 },
    ];
    Ok(Report { thresholds, sent: whole.sent, taken: whole.taken, latency: whole.latency })
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 120_000_000, 3).context("histogram")
}

/// Every position whose count leaves `n` when divided by the number of connections.
fn tell_positions(plan: &Plan, clock: Clock, begun: Duration, n: u32) -> anyhow::Result<Part> {
    let mut api = Api::new(plan.api.0, &plan.api.1);
    let mut part = Part { sent: 0, taken: 0, latency: histogram()? };
    let apart = EVERY.as_secs_f64() / f64::from(plan.officers);
    let total = (plan.duration.as_secs_f64() / apart).ceil() as u64;
    let accounts = u64::from(plan.range.1 - plan.range.0 + 1);
    for count in (u64::from(n)..total).step_by(CONNECTIONS.min(plan.officers) as usize) {
        let due = begun + Duration::from_secs_f64(count as f64 * apart);
        while let Some(left) = due.checked_sub(clock.now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        let who = u64::from(plan.range.0) + count % accounts;
        // A patrol: round the middle of the grid, somewhere else each time.
        let (lon, lat) = (117.5 + (count % 97) as f64 * 1e-4, 34.5 + (count % 89) as f64 * 1e-4);
        part.sent += 1;
        let path = format!("/v1/officers/{who}/position");
        if let Ok((200..300, _)) = api.request("PUT", &path, &format!("{{\"lon\":{lon},\"lat\":{lat}}}")) {
            part.taken += 1;
            part.latency.saturating_record((clock.now() - due).as_micros() as u64);
        }
    }
    Ok(part)
}
