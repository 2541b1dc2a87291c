//! From start to first answer, and what lies there while nothing happens.

use std::time::Duration;

use loadtest::clock::Clock;

use super::Lab;
use crate::city::{self, Variant};
use crate::lab::{Server, pause, until_it_answers};
use crate::table::OURS;

pub(super) fn run(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    eprintln!("    {OURS} …");
    let scratch = lab.scratch("start")?;
    city::write(&scratch.0, Variant::default())?;
    let clock = Clock::start();
    let mut server = Server::start(&mut city::command(&scratch.0)?, &scratch.0)?;
    until_it_answers(&mut server, city::sip())?;
    lab.results.add("start", OURS, clock.now().as_secs_f64() * 1000.0);
    pause(clock, Duration::from_secs(2));
    lab.results.add("idle", OURS, server.resident_kib() / 1024.0);
    Ok(())
}
