//! The command line: what can be asked, and the exit codes: 0 ok, 1 failed, 2 usage, 69 no running gateway,
//! 78 bad configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{demo, http, run, verify};

#[derive(Parser)]
#[command(
    name = "gateway",
    version,
    about = "The front door of a city's 110: answers calls, bridges officers, records, reports"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run with a configuration file
    Run {
        #[arg(long)]
        config: PathBuf,
    },
    /// A synthetic city with simulated callers, seats and officers on the loopback
    Demo(demo::Args),
    /// Read a configuration and its tables, and say everything that is wrong
    Check {
        #[arg(long)]
        config: PathBuf,
    },
    /// Print a JSON Schema
    Schema {
        #[arg(value_parser = ["alert", "event"])]
        name: String,
    },
    /// Look at alerts of a data directory
    Alert {
        #[command(subcommand)]
        what: Alert,
    },
    /// Check recordings
    Record {
        #[command(subcommand)]
        what: Record,
    },
    /// Check the journal
    Audit {
        #[command(subcommand)]
        what: Audit,
    },
}

#[derive(Subcommand)]
enum Alert {
    /// All alerts, newest change last
    List {
        #[arg(long, default_value = "./demo-data")]
        data: PathBuf,
    },
    /// One alert, by its number or an unambiguous tail of it
    Show {
        no: String,
        #[arg(long, default_value = "./demo-data")]
        data: PathBuf,
    },
}

#[derive(Subcommand)]
enum Record {
    /// Hashes and formats of one alert's recordings
    Verify {
        no: String,
        #[arg(long, default_value = "./demo-data")]
        data: PathBuf,
    },
}

#[derive(Subcommand)]
enum Audit {
    /// The hash chain of the whole journal
    Verify {
        #[arg(long, default_value = "./demo-data")]
        data: PathBuf,
    },
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run { config } => return run::run(&config),
        Command::Check { config } => return run::check(&config),
        Command::Demo(args) => return demo::demo(&args),
        Command::Schema { name } => {
            let schema = if name == "alert" { http::alert_schema() } else { http::event_schema() };
            println!("{}", serde_json::to_string_pretty(&schema).expect("a schema serialises"));
            Ok(())
        }
        Command::Alert { what: Alert::List { data } } => verify::list_alerts(&data),
        Command::Alert { what: Alert::Show { no, data } } => verify::show_alert(&data, &no),
        Command::Record { what: Record::Verify { no, data } } => verify::verify_recording(&data, &no),
        Command::Audit { what: Audit::Verify { data } } => verify::verify_journal(&data),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
