//! The rows of the table, and the runs that fill them: every contestant in turn, then all of them again.

mod answer;
mod floor;
mod journal;
mod messages;
mod pbx;
mod rooms;
mod start;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::judge::Written;
use crate::lab::Scratch;
use crate::table::{self, Goal, Results, RowKind};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs a contestant; the table shows their medians
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// One run a row and no wall clocks: at most five minutes
    #[arg(long)]
    quick: bool,
    /// Only these groups, by commas: floor, answer, rooms, messages, start, journal
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// A page whose lines `missed: ROW` name the goals that are known to be missed; with it, and the object of the run
    /// that the page tells of (`--table`), a run fails when page and table disagree, or when a row falls back
    #[arg(long, requires = "table")]
    known: Option<std::path::PathBuf>,
    /// What an earlier run has written with `--out`
    #[arg(long, requires = "known")]
    table: Option<std::path::PathBuf>,
    /// The last line of stdout is one JSON object
    #[arg(long)]
    json: bool,
    /// The same object, into a file
    #[arg(long)]
    out: Option<std::path::PathBuf>,
}

const fn cpu(name: &'static str, what: &'static str, unit: &'static str, goal: Option<Goal>) -> RowKind {
    RowKind { name, what, unit, goal, is_cpu: true, is_wall: false }
}

const fn wall(name: &'static str, what: &'static str, unit: &'static str, goal: Option<Goal>) -> RowKind {
    RowKind { name, what, unit, goal, is_cpu: false, is_wall: true }
}

const fn size(name: &'static str, what: &'static str, unit: &'static str, goal: Option<Goal>) -> RowKind {
    RowKind { name, what, unit, goal, is_cpu: false, is_wall: false }
}

const fn ratio(name: &'static str, what: &'static str, goal: Option<Goal>) -> RowKind {
    RowKind { name, what, unit: "× CPU", goal, is_cpu: false, is_wall: false }
}

const fn most(limit: f64) -> Option<Goal> {
    Some(Goal::AtMost(limit))
}

const fn least(limit: f64) -> Option<Goal> {
    Some(Goal::AtLeast(limit))
}

pub(crate) const ROWS: &[RowKind] = &[
    cpu("floor-datagram", "one datagram of 172 octets sent and one received, 1,200 sockets", "µs CPU", None),
    cpu("floor-wake", "one thread asleep woken by another: both sides", "µs CPU", None),
    cpu("floor-sync", "3 KiB into a preallocated file and fdatasync, 200 times a second", "µs CPU", None),
    cpu(
        "answer",
        "answer one call at 2,000/s: a leg that is heard, its alert, its journal entries, its recording",
        "µs CPU a call",
        most(60.0),
    ),
    cpu(
        "answer-bare",
        "answer one call at 2,000/s that sends no audio: its alert and journal entries, no recording",
        "µs CPU a call",
        None,
    ),
    cpu("signalling", "of the bare call the shard's thread alone: SIP and dispatch", "µs CPU a call", most(35.0)),
    ratio("answer-two-shards", "answer one call with two shards instead of one", most(1.1)),
    cpu("three-way", "three-way call, mixed and recorded, a port a leg", "ms CPU a second", most(0.75)),
    cpu("three-way-shared", "three-way call, mixed and recorded, shared ports", "ms CPU a second", most(0.55)),
    cpu("recording", "of a three-way call the recorder's thread", "ms CPU a second", most(0.20)),
    ratio("three-way-two-shards", "a three-way call with two shards instead of one", most(1.1)),
    size("three-way-a-core", "three-way calls a core, a port a leg", "calls", least(1300.0)),
    size("three-way-shared-a-core", "three-way calls a core, shared ports", "calls", least(1800.0)),
    size("memory", "memory of a three-way call", "KiB", most(48.0)),
    wall("answer-p99", "INVITE to 200 at 200 calls/s, 99 of 100", "ms", most(5.0)),
    wall("start", "start to first answer", "ms", most(150.0)),
    size("idle", "resident while idle", "MiB", most(20.0)),
    cpu("messages-5000", "a message in, its receipt out, durable, at 5,000/s", "µs CPU", most(20.0)),
    cpu("messages-500", "a message in, its receipt out, durable, at 500/s", "µs CPU", most(120.0)),
    wall("journal", "records of 1 KiB into the journal, groups of 256, each synced", "records/s", least(100_000.0)),
    wall("read-model", "events that the read model follows", "events/s", least(30_000.0)),
    wall("durable-alone", "one record alone, in times of a bare fdatasync", "×", most(2.0)),
];

/// What one run of a contestant needs.
pub(crate) struct Lab<'a> {
    pub results: &'a mut Results,
    pub quick: bool,
}

impl Lab<'_> {
    pub(crate) fn scratch(&self, name: &str) -> anyhow::Result<Scratch> {
        Scratch::new(name)
    }

    /// A peer that cannot be measured leaves its cell empty and says why; ours fails the run.
    pub(crate) fn peer(&mut self, who: &str, run: impl FnOnce(&mut Self) -> anyhow::Result<()>) {
        eprintln!("    {who} …");
        if let Err(error) = run(self) {
            eprintln!("    {who}: {error:#}");
            self.results.miss(who, format!("{error:#}"));
        }
    }
}

type Group = fn(&mut Lab<'_>) -> anyhow::Result<()>;

fn answered(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    answer::run(lab)?;
    pbx::answer(lab);
    Ok(())
}

fn started(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    start::run(lab)?;
    if !lab.quick {
        pbx::start_and_idle(lab);
    }
    Ok(())
}

const GROUPS: &[(&str, Group)] = &[
    ("floor", floor::run),
    ("answer", answered),
    ("rooms", rooms::run),
    ("messages", messages::run),
    ("start", started),
    ("journal", journal::run),
];

/// What is known by the files that were named, if any were.
fn written(args: &Args) -> anyhow::Result<Option<Written>> {
    let (Some(known), Some(table)) = (&args.known, &args.table) else { return Ok(None) };
    let text = |path: &std::path::Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    Ok(Some(Written::read(&text(known)?, &serde_json::from_str(&text(table)?)?)?))
}

/// Runs of a group in all when a row of it seems to have fallen back: one run of a busy machine is no proof.
const RUNS_OF_THE_SUSPECT: usize = 3;

/// One run of a group. A machine that stalls spoils it; twice in a row it is not the machine.
fn run_group(group: Group, results: &mut Results, quick: bool) -> anyhow::Result<()> {
    let mut lab = Lab { results, quick };
    let outcome = group(&mut lab).or_else(|error| {
        eprintln!("    again, since: {error:#}");
        group(&mut lab)
    });
    if outcome.is_err() {
        Scratch::remove_all();
    }
    outcome
}

/// How many times slower this machine is than the one that the goals were set on.
fn slowness(results: &Results) -> f64 {
    results.median("floor-datagram", "bare sockets").map_or(1.0, |us| us / floor::GOALS_MACHINE_US)
}

/// The rows that a run measures and has to fill.
fn rows_of(args: &Args, results: &Results) -> Vec<&'static RowKind> {
    ROWS.iter()
        .filter(|row| !(args.quick && row.is_wall))
        .filter(|row| args.only.is_empty() || results.has(row.name))
        .collect()
}

/// Measures each group that a suspect row is of so often that the median of its rows counts, be it worse or better.
fn again(args: &Args, written: &Written, results: &mut Results, runs: usize) -> anyhow::Result<()> {
    let suspects = written.against(&rows_of(args, results), results, slowness(results));
    let mut done: Vec<&str> = Vec::new();
    for suspect in &suspects {
        let Some((name, group)) = GROUPS.iter().find(|(name, _)| Some(*name) == results.group(suspect.row)) else {
            continue;
        };
        if done.contains(name) {
            continue;
        }
        done.push(name);
        for number in runs + 1..=RUNS_OF_THE_SUSPECT {
            eprintln!("run {number} of {RUNS_OF_THE_SUSPECT}: {name}, since {}", suspect.text);
            // The floor beside it, since what it is divided by has to be of the same minutes.
            results.enter("floor");
            run_group(floor::run, results, args.quick)?;
            results.enter(name);
            run_group(*group, results, args.quick)?;
        }
    }
    Ok(())
}

/// Exit 0 when every goal that was measured is met, 99 when one is missed. Where it is known which ones are: 99 when
/// what is written down is wrong, or a row has fallen back, by the median of three runs.
///
/// # Errors
/// When the gateway itself could not be measured.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let written = written(args)?;
    let runs = if args.quick { 1 } else { args.runs.max(1) };
    let mut results = Results::default();
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|o| o == name) || name == "floor";
    for number in 1..=runs {
        for (name, group) in GROUPS.iter().filter(|(name, _)| wanted(name)) {
            if args.quick && *name == "journal" {
                continue;
            }
            eprintln!("run {number} of {runs}: {name}");
            results.enter(name);
            run_group(*group, &mut results, args.quick)?;
        }
    }
    if let Some(written) = &written {
        again(args, written, &mut results, runs)?;
    }
    Scratch::remove_all();
    let (rows, slowness) = (rows_of(args, &results), slowness(&results));
    let (missed, empty) = table::print(&rows, &results, slowness);
    let object = table::to_json(&rows, &results, slowness);
    if let Some(path) = &args.out {
        std::fs::write(path, serde_json::to_string_pretty(&object)?)?;
    }
    if args.json {
        println!("{object}");
    }
    anyhow::ensure!(empty.is_empty(), "rows of ours without a value: {}", empty.join(", "));
    let pass = match written {
        None => missed.is_empty(),
        Some(written) => {
            let mut faults = written.disagreements(ROWS);
            faults.extend(written.against(&rows, &results, slowness).into_iter().map(|fault| fault.text));
            faults.iter().for_each(|fault| println!("✗ {fault}"));
            faults.is_empty()
        }
    };
    Ok(if pass { ExitCode::SUCCESS } else { ExitCode::from(99) })
}
