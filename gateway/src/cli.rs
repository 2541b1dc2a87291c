//! The command line: what can be asked, and the exit codes: 0 ok, 1 failed, 2 usage, 69 no running gateway,
//! 78 bad configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::who::{File, Role};
use crate::ask::{self, Asked};
use crate::{api, demo, explain, run, verify};

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
    /// Print a JSON Schema, or the tables of the alert database
    Schema {
        #[arg(value_parser = ["alert", "event", "config", "agency", "postgres"])]
        name: String,
    },
    /// What a code, a metric or a key of the configuration means, and what to do; without a name every code
    Explain {
        /// GW-3101, gateway_queue_depth, limits.calls
        name: Option<String>,
        /// Print a page of the documents instead
        #[arg(long, value_enum)]
        page: Option<explain::Page>,
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
    /// Tokens of the API: who may do what, until when
    Token {
        #[command(subcommand)]
        what: Token,
    },
    /// Those who are told of alerts: how each stands, whether it can be reached, its dead letters once more
    Sink {
        #[command(subcommand)]
        what: Sink,
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
    /// Make what alerts are listed and looked for by anew, from the journal; the gateway must not run
    Rebuild {
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
    /// Hashes and formats of one alert's recordings, or of all
    Verify {
        no: Option<String>,
        #[arg(long, default_value = "./demo-data")]
        data: PathBuf,
    },
}

#[derive(Subcommand)]
enum Token {
    /// Make one; it is printed this once
    New {
        #[arg(long, value_enum)]
        role: Role,
        /// Whose it is: a seat's or an officer's number, or a name
        #[arg(long)]
        subject: String,
        /// The beginning of the unit codes that it is good for; without it all
        #[arg(long, default_value = "")]
        area: String,
        /// Days until its end
        #[arg(long, default_value_t = 365)]
        days: u32,
        #[arg(long, default_value = "./demo-data")]
        data: PathBuf,
    },
    /// Those that there are: id, role, subject, area, end
    List {
        #[arg(long, default_value = "./demo-data")]
        data: PathBuf,
    },
    /// Take one away, by its id
    Revoke {
        id: String,
        #[arg(long, default_value = "./demo-data")]
        data: PathBuf,
    },
}

#[derive(Subcommand)]
enum Sink {
    /// Every sink of the running gateway: how far it is told, what is behind, its dead letters, why it fails
    List {
        #[arg(long)]
        config: PathBuf,
    },
    /// Whether a sink can be reached; no alert is told of
    Test {
        name: String,
        #[arg(long)]
        config: PathBuf,
    },
    /// The running gateway tries a sink's dead letters again
    Replay {
        name: String,
        #[arg(long)]
        config: PathBuf,
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
        Command::Sink { what: Sink::List { config } } => return ask::sinks(&config, &Asked::List),
        Command::Sink { what: Sink::Test { name, config } } => return ask::sinks(&config, &Asked::Test(name)),
        Command::Sink { what: Sink::Replay { name, config } } => return ask::sinks(&config, &Asked::Replay(name)),
        Command::Schema { name } if name == "postgres" => {
            print!("{}", crate::sink::postgres::SCHEMA);
            Ok(())
        }
        Command::Schema { name } => {
            let schema = match name.as_str() {
                "alert" => api::alert_schema(),
                "agency" => schemars::schema_for!(codecs::chat::agency::Case).to_value(),
                "config" => schemars::schema_for!(crate::config::Config).to_value(),
                _ => api::event_schema(),
            };
            println!("{}", serde_json::to_string_pretty(&schema).expect("a schema serialises"));
            Ok(())
        }
        Command::Explain { page: Some(page), .. } => {
            print!("{}", page.text());
            Ok(())
        }
        Command::Explain { name, page: None } => {
            name.map_or_else(|| Ok(explain::list()), |n| explain::explain(&n)).map(|text| println!("{text}"))
        }
        Command::Alert { what: Alert::List { data } } => verify::list_alerts(&data),
        Command::Alert { what: Alert::Rebuild { data } } => verify::rebuild(&data),
        Command::Alert { what: Alert::Show { no, data } } => verify::show_alert(&data, &no),
        Command::Record { what: Record::Verify { no, data } } => verify::verify_recording(&data, no.as_deref()),
        Command::Token { what } => token(what),
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

fn token(what: Token) -> anyhow::Result<()> {
    let now_s = crate::clock::Clock::start().wall().0 / 1_000_000_000;
    match what {
        Token::New { role, subject, area, days, data } => {
            anyhow::ensure!(role != Role::All, "DATA/token is the installation's own; there is no other");
            let expires = now_s + i64::from(days) * 86_400;
            let (kept, token) = File::of(&data).make(role, &subject, &area, Some(expires))?;
            println!("{token}");
            eprintln!("id {}: {} {subject}, for {days} days; it is not shown again", kept.id, role.text());
        }
        Token::List { data } => {
            for kept in File::of(&data).read()?.0 {
                let area = if kept.area.is_empty() { "-" } else { &kept.area };
                let end = kept.expires.map_or("never".to_owned(), |at| match (at - now_s) / 86_400 {
                    _ if at <= now_s => "over".to_owned(),
                    days => format!("in {days} days"),
                });
                println!("{}\t{}\t{}\t{area}\t{end}", kept.id, kept.role.text(), kept.subject);
            }
        }
        Token::Revoke { id, data } => {
            anyhow::ensure!(File::of(&data).revoke(&id)?, "no token {id} in {}", data.display());
        }
    }
    Ok(())
}
