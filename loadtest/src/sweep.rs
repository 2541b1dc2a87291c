//! Load against cost: the highest load that is carried whole, and what a unit costs on the way there.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::calls::{self, MediaMode};
use crate::officers;
use crate::text::messages;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum What {
    /// Calls a second to the attendant, 200 ms each
    Calls,
    /// Three-way calls at one time, all talking
    Rooms,
    /// Messages a second, answered by the machine's receipt
    Messages,
    /// Officers on duty, each of whom tells its position every ten seconds
    Officers,
}

impl What {
    fn unit(self) -> &'static str {
        match self {
            What::Calls => "calls/s",
            What::Rooms => "three-way calls",
            What::Messages => "messages/s",
            What::Officers => "officers",
        }
    }

    fn cost(self) -> &'static str {
        match self {
            What::Calls | What::Messages => "µs CPU each",
            What::Rooms => "ms CPU a second each",
            What::Officers => "µs CPU a position",
        }
    }
}

/// Milliseconds within which 99 of 100 have to be served.
const LIMIT_MS: f64 = 500.0;
/// How many times the interval around the knee is halved.
const HALVINGS: usize = 3;
/// Parts of the knee at which the cost is measured.
const PARTS: [f64; 5] = [0.1, 0.2, 0.4, 0.6, 0.8];

pub struct Plan {
    pub what: What,
    pub from: f64,
    pub most: f64,
    /// The server's process.
    pub pid: u32,
    pub duration: Duration,
    pub calls: calls::Plan,
    pub messages: Option<messages::Plan>,
}

/// One load, and what came of it.
#[derive(Clone, Debug)]
pub struct Step {
    pub load: f64,
    pub whole: bool,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cost: f64,
    /// What was not served as promised.
    pub why: String,
    /// Accounts that officers shared.
    pub accounts: Option<u32>,
}

pub struct Report {
    pub knee: f64,
    pub steps: Vec<Step>,
    /// The dearest unit from a tenth to four fifths of the knee, over the cheapest.
    pub spread: f64,
}

/// # Errors
/// When a load cannot be applied at all, or already the first is not carried.
pub fn run(plan: &Plan, mut told: impl FnMut(&Step)) -> anyhow::Result<Report> {
    let mut apply = |load: f64| -> anyhow::Result<Step> {
        // What this tool cannot apply is an end as well, and says whose.
        let step = step(plan, load).unwrap_or_else(|error| Step {
            load,
            whole: false,
            p50_ms: f64::NAN,
            p99_ms: f64::NAN,
            cost: f64::NAN,
            why: format!("this tool: {error:#}"),
            accounts: None,
        });
        told(&step);
        Ok(step)
    };
    let (mut good, mut bad) = (0.0, None);
    let mut load = plan.from;
    while load <= plan.most {
        if apply(load)?.whole {
            good = load;
            load *= 2.0;
        } else {
            bad = Some(load);
            break;
        }
    }
    ensure!(good > 0.0, "{} {} are not carried", plan.from, plan.what.unit());
    if let Some(mut bad) = bad {
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(good, bad).round();
            if apply(middle)?.whole { good = middle } else { bad = middle }
        }
    }
    let steps = PARTS.iter().map(|part| apply((good * part).round().max(1.0))).collect::<anyhow::Result<Vec<_>>>()?;
    let costs = || steps.iter().map(|s| s.cost);
    let spread = costs().fold(0.0, f64::max) / costs().fold(f64::INFINITY, f64::min);
    Ok(Report { knee: good, steps, spread })
}

/// What the load before has left to be done (recordings to cut, tables to follow) is not the next one's.
fn settle(pid: u32) {
    for _ in 0..60 {
        let before = crate::clock::cpu_seconds(pid).unwrap_or(0.0);
        std::thread::park_timeout(Duration::from_millis(500));
        if crate::clock::cpu_seconds(pid).unwrap_or(0.0) - before < 0.02 {
            return;
        }
    }
}

fn step(plan: &Plan, load: f64) -> anyhow::Result<Step> {
    settle(plan.pid);
    let before = crate::clock::cpu_seconds(plan.pid).unwrap_or(0.0);
    let used = |plan: &Plan| {
        settle(plan.pid);
        crate::clock::cpu_seconds(plan.pid).unwrap_or(0.0) - before
    };
    let ms = |h: &hdrhistogram::Histogram<u64>, q: f64| h.value_at_quantile(q) as f64 / 1000.0;
    Ok(match (plan.what, &plan.messages) {
        (What::Messages, Some(messages)) => {
            let wanted = messages::Plan { rate: load, duration: plan.duration, ..messages.clone() };
            let r = messages::run(&wanted)?;
            let missing = r.sent - r.receipts.min(r.acknowledged);
            let p99_ms = ms(&r.receipt, 0.99);
            let cost = used(plan) * 1e6 / r.sent.max(1) as f64;
            let why = verdict(missing, p99_ms);
            Step { load, whole: why.is_empty(), p50_ms: ms(&r.receipt, 0.5), p99_ms, cost, why, accounts: None }
        }
        (What::Officers, _) => {
            let (api, range) = (plan.calls.api.clone().context("officers need the API")?, plan.calls.officers);
            let wanted = officers::Plan { officers: load as u32, duration: plan.duration, api, range };
            let r = officers::run(&wanted)?;
            let p99_ms = ms(&r.latency, 0.99);
            let why = verdict(r.sent - r.taken, p99_ms);
            let cost = used(plan) * 1e6 / r.sent.max(1) as f64;
            let (p50_ms, accounts) = (ms(&r.latency, 0.5), Some(r.accounts));
            Step { load, whole: why.is_empty(), p50_ms, p99_ms, cost, why, accounts }
        }
        (What::Rooms, _) => {
            let (ramp, hold) = (Duration::from_secs(4), plan.duration);
            let calls = calls::Plan {
                rate: load / ramp.as_secs_f64(),
                duration: ramp,
                hold,
                legs: 3,
                media: MediaMode::Full,
                ..plan.calls.clone()
            };
            let r = calls::run(&calls)?;
            let wrong = r.thresholds.iter().find(|t| t.name == "calls with wrong audio").map_or(0.0, |t| t.value);
            let missing = r.placed - r.bridged + wrong as u64;
            let p99_ms = ms(&r.answer, 0.99);
            let seconds = r.placed.max(1) as f64 * hold.as_secs_f64();
            let why = verdict(missing, 0.0);
            Step {
                load,
                whole: why.is_empty(),
                p50_ms: ms(&r.answer, 0.5),
                p99_ms,
                cost: used(plan) * 1e3 / seconds,
                why,
                accounts: None,
            }
        }
        _ => {
            let calls = calls::Plan {
                rate: load,
                duration: plan.duration,
                hold: Duration::from_millis(200),
                legs: 1,
                media: MediaMode::Probe,
                ..plan.calls.clone()
            };
            let r = calls::run(&calls)?;
            let p99_ms = ms(&r.answer, 0.99);
            let why = verdict(r.placed - r.answered + r.failed.values().sum::<u64>(), p99_ms);
            let cost = used(plan) * 1e6 / r.placed.max(1) as f64;
            Step { load, whole: why.is_empty(), p50_ms: ms(&r.answer, 0.5), p99_ms, cost, why, accounts: None }
        }
    })
}

fn verdict(missing: u64, p99_ms: f64) -> String {
    match (missing, p99_ms > LIMIT_MS) {
        (0, false) => String::new(),
        (0, true) => format!("99 of 100 within {p99_ms:.0} ms only"),
        (n, _) => format!("{n} not served"),
    }
}

impl Report {
    /// For people: the knee, and the cost as bars.
    pub fn draw(&self, what: What) -> String {
        let most = self.steps.iter().map(|s| s.cost).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let mut out = format!("knee: {:.0} {}\n", self.knee, what.unit());
        for step in &self.steps {
            let bar = "█".repeat((step.cost / most * 40.0).round() as usize);
            let by = step.accounts.map(|n| format!(" by {n} accounts")).unwrap_or_default();
            out += &format!("{:>8.0} {}{by} {bar} {:.2} {}\n", step.load, what.unit(), step.cost, what.cost());
        }
        out + &format!("dearest over cheapest from 10 % to 80 % of the knee: {:.2}\n", self.spread)
    }
}
