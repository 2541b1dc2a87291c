//! A message in, a line of the machine back: the gateway, and Kannel with its own service.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use loadtest::clock::Clock;
use loadtest::text::centre::{Centre, Protocol, Settings};
use loadtest::text::{Happening, Outgoing};
use tokio::sync::mpsc;

use super::Lab;
use crate::city::{self, Variant};
use crate::lab::{Server, find, pause};
use crate::table::OURS;

const KANNEL: u16 = city::BASE + 80;

pub(super) fn run(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    for (row, rate) in [("messages-5000", 5000), ("messages-500", 500)] {
        gateway(lab, row, rate)?;
    }
    lab.peer("Kannel (not durable)", kannel);
    Ok(())
}

/// Sends at `rate`; microseconds of the server's CPU for a message and the line that answered it.
fn drive(lab: &Lab<'_>, server: &Server, listen: SocketAddr, rate: u32) -> anyhow::Result<f64> {
    let seconds = if lab.quick { 4 } else { 6 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::start();
        let (tell, mut happenings) = mpsc::unbounded_channel();
        let settings = Settings {
            protocol: Protocol::Smpp,
            listen: TcpListener::bind(listen)?,
            secret: city::SECRET.into(),
            number: "12110".into(),
            dial: None,
        };
        let centre = Centre::open(settings, clock, tell)?;
        let linked = async {
            while centre.links() == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), linked).await.context("nobody logged in")?;
        let total = rate * seconds;
        let mut waiting: HashMap<String, ()> = HashMap::new();
        let (mut acknowledged, mut answered) = (0, 0);
        let before = server.cpu_us();
        let begun = clock.now();
        let mut sent = 0;
        while (acknowledged < total || answered < total)
            && clock.now() - begun < Duration::from_secs(u64::from(seconds) + 15)
        {
            let due = ((clock.now() - begun).as_secs_f64() * f64::from(rate)) as u32;
            while sent < due.min(total) {
                let from = format!("139{sent:08}");
                waiting.insert(from.clone(), ());
                centre.deliver(Outgoing {
                    id: u64::from(sent) + 1, from, text: "有人打架，快来".into(), part: None
                });
                sent += 1;
            }
            let wait = tokio::time::timeout(Duration::from_millis(1), happenings.recv()).await;
            let mut next = wait.ok().flatten();
            while let Some(happening) = next {
                match happening {
                    Happening::Acknowledged { .. } => acknowledged += 1,
                    Happening::Line { to, .. } => answered += u32::from(waiting.remove(&to).is_some()),
                    Happening::Refused { .. } => {}
                }
                next = happenings.try_recv().ok();
            }
        }
        // What the last ones still cause (state reports, the read model) belongs to them.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let used = server.cpu_us() - before;
        ensure!(answered == total, "{answered} of {total} were answered, {acknowledged} acknowledged");
        Ok(used / f64::from(total))
    })
}

fn gateway(lab: &mut Lab<'_>, row: &str, rate: u32) -> anyhow::Result<()> {
    eprintln!("    {OURS} at {rate}/s …");
    let scratch = lab.scratch("messages")?;
    let server = city::start(&scratch.0, Variant::default())?;
    let each = drive(lab, &server, city::smpp(), rate)?;
    lab.results.add(row, OURS, each);
    Ok(())
}

fn kannel(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let (bearerbox, smsbox) =
        (find("bearerbox").context("kannel is not installed")?, find("smsbox").context("smsbox")?);
    let scratch = lab.scratch("kannel")?;
    let config = format!(
        "group = core\nadmin-port = {}\nadmin-password = x\nsmsbox-port = {}\nbox-allow-ip = 127.0.0.1\nlog-level = 4\n\
         \ngroup = smsc\nsmsc = smpp\nhost = 127.0.0.1\nport = {KANNEL}\nsmsc-username = 901234\n\
         smsc-password = {}\nsystem-type = \"\"\ntransceiver-mode = true\nmax-pending-submits = 64\n\
         \ngroup = smsbox\nbearerbox-host = 127.0.0.1\nbearerbox-port = {}\nlog-level = 4\n\
         \ngroup = sms-service\nkeyword = default\ncatch-all = true\ntext = \"received\"\nmax-messages = 1\n",
        KANNEL + 1,
        KANNEL + 2,
        city::SECRET,
        KANNEL + 2,
    );
    std::fs::write(scratch.0.join("kannel.conf"), config)?;
    // One shell around both, so that they are measured as one server.
    let script =
        format!("{} -v 4 kannel.conf & sleep 1; {} -v 4 kannel.conf & wait", bearerbox.display(), smsbox.display());
    let mut server = Server::start(Command::new("sh").args(["-c", &script]), &scratch.0)?;
    pause(Clock::start(), Duration::from_millis(2500));
    ensure!(server.is_up(), "kannel ended: see its log");
    let each = drive(lab, &server, SocketAddr::from(([127, 0, 0, 1], KANNEL)), 500)?;
    lab.results.add("messages-500", "Kannel (not durable)", each);
    lab.results.command("Kannel (not durable)", "bearerbox and smsbox -v 4, one SMPP link, a text service".into());
    Ok(())
}
