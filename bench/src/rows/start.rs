//! From start to first answer, and what lies there while nothing happens.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::ensure;
use loadtest::clock::Clock;

use super::{Lab, pbx};
use crate::city::{self, Variant};
use crate::lab::{Server, pause};
use crate::table::OURS;

/// Sends OPTIONS until one is answered.
///
/// # Errors
/// When ten seconds pass without.
pub fn until_it_answers(server: &mut Server, sip: SocketAddr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let from = socket.local_addr()?;
    socket.set_read_timeout(Some(Duration::from_millis(2)))?;
    let clock = Clock::start();
    let mut buffer = [0u8; 2048];
    for n in 0.. {
        let request = format!(
            "OPTIONS sip:{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKstart{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:bench@{from}>;tag=b\r\nTo: <sip:{sip}>\r\nCall-ID: start-{n}@{from}\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let _ = socket.send_to(request.as_bytes(), sip);
        if socket.recv(&mut buffer).is_ok_and(|len| buffer[..len].starts_with(b"SIP/2.0 ")) {
            return Ok(());
        }
        ensure!(clock.now() < Duration::from_secs(10) && server.is_up(), "{} does not answer", server.name);
    }
    Ok(())
}

pub fn run(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    eprintln!("    {OURS} …");
    let scratch = lab.scratch("start")?;
    city::write(&scratch.0, Variant::default())?;
    let clock = Clock::start();
    let mut server = Server::start(&mut city::command(&scratch.0)?, &scratch.0)?;
    until_it_answers(&mut server, city::sip())?;
    lab.results.add("start", OURS, clock.now().as_secs_f64() * 1000.0);
    pause(clock, Duration::from_secs(2));
    lab.results.add("idle", OURS, server.resident_kib() / 1024.0);
    if !lab.quick {
        pbx::start_and_idle(lab);
    }
    Ok(())
}
