//! What the gateway costs, beside what its peers cost on the same machine in the same minutes.
//!
//! `cargo run -p bench --release -- peers` prints the table; `-- instructions` compares instruction counts of the hot
//! functions with `bench/instructions.json`; `cargo bench -p bench` gives their times.

mod asked;
mod city;
mod instructions;
mod judge;
mod lab;
mod open;
mod rows;
mod table;

use std::process::ExitCode;

use bench::hot;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures the gateway beside its peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The gateway beside sipp, Kamailio, rtpengine and Kannel, interleaved; exit 99 when a goal is missed
    Peers(rows::Args),
    /// Instructions of each hot function under valgrind; exit 1 when one costs more than 5 % more than before
    Instructions(instructions::Args),
    /// A start with many alerts open, after a crash; exit 99 when they take longer than they may
    Open(open::Args),
    /// Alerts found by what is asked of them; exit 99 when a question takes longer than it may
    Asked(asked::Args),
    /// One hot function many times, for `instructions`
    #[command(hide = true)]
    Hot { name: String, times: u64 },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Peers(args) => rows::run(&args),
        Command::Instructions(args) => instructions::run(&args),
        Command::Open(args) => open::run(&args),
        Command::Asked(args) => asked::run(&args),
        Command::Hot { name, times } => hot::run(&name, times),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
