//! `loadtest officers`: officers on duty who tell where they are, each every ten seconds, in an open loop over the API.

use std::collections::BTreeSet;
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
    /// How many of them there are. Beyond the accounts of the range several tell by one account: what is measured is
    /// positions, and the report says by how many accounts.
    pub officers: u32,
    pub duration: Duration,
    pub api: (SocketAddr, String),
    pub range: (u32, u32),
}

pub struct Report {
    pub thresholds: Vec<Threshold>,
    pub officers: u32,
    /// Accounts of which a position was taken.
    pub accounts: u32,
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
    accounts: BTreeSet<u32>,
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
    let mut whole = Part { accounts: BTreeSet::new(), sent: 0, taken: 0, latency: histogram()? };
    for thread in threads {
        let part = thread.join().map_err(|_| anyhow::anyhow!("a thread of this tool has failed"))??;
        whole.accounts.extend(part.accounts);
        whole.sent += part.sent;
        whole.taken += part.taken;
        whole.latency.add(&part.latency)?;
    }
    let p99_ms = whole.latency.value_at_quantile(0.99) as f64 / 1000.0;
    let missing = (whole.sent - whole.taken) as f64;
    let accounts = whole.accounts.len() as u32;
    // As many as told a position in this time, or as there are accounts.
    let expected = plan.officers.min(plan.range.1 - plan.range.0 + 1).min(whole.sent.try_into().unwrap_or(u32::MAX));
    let unheard = f64::from(expected.saturating_sub(accounts));
    let thresholds = vec![
        Threshold { name: "positions not taken", limit: 0.0, value: missing, pass: missing == 0.0 },
        Threshold { name: "officers never heard of", limit: 0.0, value: unheard, pass: unheard == 0.0 },
        Threshold { name: "position p99 ms", limit: 500.0, value: p99_ms, pass: p99_ms <= 500.0 },
    ];
    Ok(Report {
        thresholds,
        officers: plan.officers,
        accounts,
        sent: whole.sent,
        taken: whole.taken,
        latency: whole.latency,
    })
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 120_000_000, 3).context("histogram")
}

/// Whose position the `count`th is, from the first account on: officers take turns, and share accounts when they must.
fn account_of(plan: &Plan, count: u64) -> u32 {
    let officer = (count % u64::from(plan.officers)) as u32;
    officer % (plan.range.1 - plan.range.0 + 1)
}

/// Every position whose count leaves `n` when divided by the number of connections.
fn tell_positions(plan: &Plan, clock: Clock, begun: Duration, n: u32) -> anyhow::Result<Part> {
    let mut api = Api::new(plan.api.0, &plan.api.1);
    let mut part = Part { accounts: BTreeSet::new(), sent: 0, taken: 0, latency: histogram()? };
    let apart = EVERY.as_secs_f64() / f64::from(plan.officers);
    let total = (plan.duration.as_secs_f64() / apart).ceil() as u64;
    for count in (u64::from(n)..total).step_by(CONNECTIONS.min(plan.officers) as usize) {
        let due = begun + Duration::from_secs_f64(count as f64 * apart);
        while let Some(left) = due.checked_sub(clock.now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        let who = plan.range.0 + account_of(plan, count);
        // A patrol: round the middle of the grid, somewhere else each time.
        let (lon, lat) = (117.5 + (count % 97) as f64 * 1e-4, 34.5 + (count % 89) as f64 * 1e-4);
        part.sent += 1;
        let path = format!("/v1/officers/{who}/position");
        if let Ok((200..300, _)) = api.request("PUT", &path, &format!("{{\"lon\":{lon},\"lat\":{lat}}}")) {
            part.taken += 1;
            part.accounts.insert(who);
            part.latency.saturating_record((clock.now() - due).as_micros() as u64);
        }
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes every position on every connection, and keeps whose they were.
    fn taker() -> (SocketAddr, Arc<Mutex<BTreeSet<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        (address, seen)
    }

    fn serve(stream: TcpStream, seen: &Mutex<BTreeSet<String>>) {
        let mut stream = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line).is_ok_and(|n| n > 0) {
            if let Some(rest) = line.strip_prefix("PUT /v1/officers/") {
                seen.lock().expect("no panic").extend(rest.split('/').next().map(str::to_owned));
            } else if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a number");
            } else if line == "\r\n" {
                stream.read_exact(&mut vec![0; length]).expect("the body");
                stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("written");
            }
            line.clear();
        }
    }

    fn told(officers: u32, range: (u32, u32)) -> (Report, usize) {
        let (address, seen) = taker();
        let plan = Plan { officers, duration: EVERY / 10, api: (address, String::new()), range };
        let report = run(&plan).expect("it runs");
        let distinct = seen.lock().expect("no panic").len();
        (report, distinct)
    }

    #[test]
    fn there_are_as_many_distinct_officers_as_the_report_says() {
        // Of a tenth of the time a tenth is heard.
        for (officers, range, accounts) in [(200, (4001, 4600), 20), (200, (4001, 4005), 5)] {
            let (report, distinct) = told(officers, range);
            assert_eq!((report.accounts as usize, distinct), (accounts, accounts), "{officers} in {range:?}");
            assert!(report.thresholds.iter().find(|t| t.name == "officers never heard of").is_some_and(|t| t.pass));
        }
    }

    #[test]
    fn officers_take_turns_and_share_accounts_only_when_they_must() {
        let api = ("127.0.0.1:1".parse().expect("an address"), String::new());
        let plan = |officers| Plan { officers, duration: EVERY, api: api.clone(), range: (4001, 4600) };
        let distinct = |officers| (0..5000).map(|n| account_of(&plan(officers), n)).collect::<BTreeSet<_>>().len();
        assert_eq!([distinct(3), distinct(600), distinct(2000)], [3, 600, 600]);
    }
}
