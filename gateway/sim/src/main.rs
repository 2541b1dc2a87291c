//! `cargo sim [-- SEED | --reports N | --break RULE]`: exit 0 when every promise held.

use std::process::ExitCode;

use clap::Parser;
use sim::{Outcome, Rule, Shape, run};

/// Worlds from seeds: callers, writers, phones, disks and clocks that fail, and every promise checked.
#[derive(Parser)]
struct Arguments {
    /// Replay this world, one line an event.
    #[arg(conflicts_with = "reports")]
    seed: Option<u64>,
    /// So many reports in as many worlds as that takes; 200 worlds when absent.
    #[arg(long)]
    reports: Option<u64>,
    /// Break a rule of the product: a world that does not notice it is a fault of the simulator.
    #[arg(long = "break", value_name = "RULE", value_parser = rule())]
    broken: Option<Rule>,
}

fn rule() -> impl clap::builder::TypedValueParser<Value = Rule> {
    use clap::builder::TypedValueParser as _;
    let names = clap::builder::PossibleValuesParser::new(Rule::ALL.iter().map(|rule| rule.name()));
    names.try_map(|name| Rule::parse(&name).ok_or("no such rule"))
}

fn main() -> ExitCode {
    let Arguments { seed, reports, broken } = Arguments::parse();
    let shape = Shape { tell: seed.is_some(), ..Shape::default() };
    let seeds = match (seed, reports) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(reports)) => 0..reports.div_ceil(u64::from(shape.reports)),
        (None, None) => 0..200,
    };
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
