//! Instructions and allocations of the hot functions, compared with what they were: the figure that a busy machine does
//! not change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use bench::hot;

use crate::lab::find;

/// More than this over the baseline fails.
const ALLOWED: f64 = 1.05;
const FEW: u64 = 20;
const MANY: u64 = 120;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Takes today's counts as the baseline; the commit says why
    #[arg(long)]
    update: bool,
}

fn baseline_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

/// Instructions of the whole process, as callgrind counts them.
fn instructions(name: &str, times: u64) -> anyhow::Result<u64> {
    let valgrind = find("valgrind").context("valgrind is not installed")?;
    let output = Command::new(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["hot", name, &times.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} under valgrind: {text}");
    let collected = text.lines().find_map(|l| l.split_once("Collected :")?.1.trim().parse().ok());
    collected.with_context(|| format!("valgrind said nothing of `Collected`: {text}"))
}

/// Exit 1 when a function needs more than 5 % more instructions, or one more allocation, than the baseline says.
///
/// # Errors
/// Without valgrind, or without a baseline.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut now: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for (name, make) in hot::all() {
        let each = (instructions(name, MANY)? - instructions(name, FEW)?) / (MANY - FEW);
        let mut work = make();
        // Buffers that grow once have grown by then.
        (0..MANY).for_each(|_| work());
        let allocated = allocation_counter::measure(|| (0..MANY).for_each(|_| work())).count_total;
        now.insert(name.to_owned(), [each, allocated / MANY]);
    }
    let path = baseline_path();
    if args.update {
        std::fs::write(&path, serde_json::to_string_pretty(&now)? + "\n")?;
    }
    let before: BTreeMap<String, [u64; 2]> =
        serde_json::from_slice(&std::fs::read(&path).with_context(|| path.display().to_string())?)?;
    let mut worse = 0;
    println!("{:<66} {:>12} {:>12} {:>7} {:>12}", "function", "instructions", "baseline", "", "allocations");
    for (name, [each, allocated]) in &now {
        let Some([base, base_allocated]) = before.get(name) else {
            println!("{name:<66} {each:>12} {:>12}: not in the baseline", "");
            worse += 1;
            continue;
        };
        let ratio = *each as f64 / *base as f64;
        let bad = ratio > ALLOWED || allocated > base_allocated;
        worse += u32::from(bad);
        let mark = if bad { "  WORSE" } else { "" };
        println!("{name:<66} {each:>12} {base:>12} {:>6.1}% {allocated:>12}{mark}", 100.0 * (ratio - 1.0));
    }
    if worse > 0 {
        println!("{worse} worse than bench/instructions.json, which changes only in a commit that says why");
    }
    Ok(if worse > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
