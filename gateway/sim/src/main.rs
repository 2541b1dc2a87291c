//! `cargo sim [-- SEED | --reports N | --break RULE]`: exit 0 when every promise held.

use std::process::ExitCode;

use sim::{Outcome, Rule, Shape, run};

fn main() -> ExitCode {
    // The alias ends in `--` already, so that one of the user's own comes through.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--").collect();
    let mut seeds = 0..200;
    let mut shape = Shape::default();
    let mut broken = None;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let parsed = match word.as_str() {
            "--reports" => words.next().and_then(|n| n.parse::<u64>().ok()).map(|n| {
                seeds = 0..n.div_ceil(u64::from(shape.reports));
            }),
            "--break" => words.next().and_then(|n| Rule::parse(n)).map(|r| broken = Some(r)),
            seed => seed.parse::<u64>().ok().map(|s| {
                seeds = s..s + 1;
                shape.tell = true;
            }),
        };
        if parsed.is_none() {
            let rules: Vec<&str> = Rule::ALL.iter().map(|r| r.name()).collect();
            eprintln!("usage: cargo sim [-- SEED | --reports N | --break RULE]\nrules: {}", rules.join(" "));
            return ExitCode::from(2);
        }
    }
    let mut total = Outcome::default();
    for seed in seeds {
        let outcome = run(seed, shape, broken);
        if let Some(violation) = &outcome.violation {
            println!("seed {seed}: {violation}");
            println!("replay: cargo sim -- {seed}");
            return ExitCode::FAILURE;
        }
        total.add(&outcome);
    }
    println!("{total}");
    if total.unreached().is_empty() || shape.tell {
        ExitCode::SUCCESS
    } else {
        println!("never reached: {:?}", total.unreached());
        ExitCode::FAILURE
    }
}
