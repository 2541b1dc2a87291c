//! placeholder
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long)]
    exit: bool,
}

pub fn demo(_: &Args) -> ExitCode {
    ExitCode::FAILURE
}
