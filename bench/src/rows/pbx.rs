//! Asterisk and FreeSWITCH, where they are on PATH: no distribution's package is asked for. One call answered, the time
//! from start to first answer, and what lies there idle; each with a configuration that loads nothing it can do without.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use loadtest::clock::Clock;

use super::Lab;
use super::answer::{Drive, drive};
use crate::city;
use crate::lab::{Server, find, pause, until_it_answers};

const PORT: u16 = city::BASE + 64;
/// Both are late or failing above 300 calls/s on two cores.
const RATE: u32 = 100;

struct Pbx {
    name: &'static str,
    program: &'static str,
    /// Writes its files into the directory; the arguments to start it with.
    configure: fn(&Path, &Path) -> anyhow::Result<Vec<String>>,
}

const ALL: [Pbx; 2] = [
    Pbx { name: "Asterisk", program: "asterisk", configure: asterisk },
    Pbx { name: "FreeSWITCH", program: "freeswitch", configure: freeswitch },
];

fn start(lab: &Lab<'_>, pbx: &Pbx) -> anyhow::Result<(crate::lab::Scratch, Server, f64)> {
    let program = find(pbx.program).with_context(|| format!("{} is not on PATH", pbx.program))?;
    let scratch = lab.scratch(pbx.program)?;
    let arguments = (pbx.configure)(&program, &scratch.0)?;
    let clock = Clock::start();
    let mut server = Server::start(Command::new(&program).args(arguments), &scratch.0)?;
    until_it_answers(&mut server, SocketAddr::from(([127, 0, 0, 1], PORT)))?;
    Ok((scratch, server, clock.now().as_secs_f64() * 1000.0))
}

/// One call answered.
pub(super) fn answer(lab: &mut Lab<'_>) {
    for pbx in &ALL {
        lab.peer(pbx.name, |lab| {
            let (scratch, mut server, _) = start(lab, pbx)?;
            pause(Clock::start(), Duration::from_secs(1));
            let load = Drive { rate: RATE, calls: if lab.quick { 5 * RATE } else { 10 * RATE } };
            let (each, command) = drive(load, &server, &scratch.0, &format!("127.0.0.1:{PORT}"))?;
            ensure!(server.is_up(), "it has ended: see its log");
            lab.results.add("answer-bare", pbx.name, each);
            lab.results.command(pbx.name, command);
            Ok(())
        });
    }
}

/// Start to first answer, and idle.
pub(super) fn start_and_idle(lab: &mut Lab<'_>) {
    for pbx in &ALL {
        lab.peer(pbx.name, |lab| {
            let (_scratch, server, ms) = start(lab, pbx)?;
            lab.results.add("start", pbx.name, ms);
            pause(Clock::start(), Duration::from_secs(2));
            lab.results.add("idle", pbx.name, server.resident_kib() / 1024.0);
            Ok(())
        });
    }
}

/// The first directory there is, seen from where the program lies (`PREFIX/sbin/asterisk`).
fn beside(program: &Path, below: &[&str], always: &str) -> PathBuf {
    let prefix = program.canonicalize().ok().and_then(|p| Some(p.parent()?.parent()?.to_owned()));
    let of_prefix = below.iter().filter_map(|b| Some(prefix.as_ref()?.join(b)));
    of_prefix.into_iter().find(|p| p.is_dir()).unwrap_or_else(|| always.into())
}

fn asterisk(program: &Path, dir: &Path) -> anyhow::Result<Vec<String>> {
    let modules = beside(
        program,
        &["lib/asterisk/modules", "lib64/asterisk/modules", "lib/x86_64-linux-gnu/asterisk/modules"],
        "/usr/lib/asterisk/modules",
    );
    let data = beside(program, &["share/asterisk", "var/lib/asterisk"], "/usr/share/asterisk");
    let own =
        ["astetcdir", "astvarlibdir", "astdbdir", "astkeydir", "astagidir", "astspooldir", "astrundir", "astlogdir"];
    let own: String = own.iter().map(|name| format!("{name} => {}\n", dir.display())).collect();
    let files = [
        (
            "asterisk.conf",
            format!("[directories]\nastmoddir => {}\nastdatadir => {}\n{own}", modules.display(), data.display()),
        ),
        ("modules.conf", "[modules]\nautoload=yes\nnoload => chan_iax2.so\nnoload => pbx_dundi.so\n".into()),
        ("logger.conf", "[general]\n[logfiles]\n".into()),
        (
            "pjsip.conf",
            format!(
                "[udp]\ntype=transport\nprotocol=udp\nbind=127.0.0.1:{PORT}\n\
                 [anonymous]\ntype=endpoint\ncontext=bench\ndisallow=all\nallow=alaw,ulaw\ntransport=udp\n"
            ),
        ),
        ("extensions.conf", "[bench]\nexten => bench,1,Answer()\n same => n,Wait(3600)\n".into()),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text)?;
    }
    Ok(vec!["-f".into(), "-C".into(), dir.join("asterisk.conf").display().to_string()])
}

fn freeswitch(_: &Path, dir: &Path) -> anyhow::Result<Vec<String>> {
    let modules: String = ["mod_sofia", "mod_dptools", "mod_dialplan_xml", "mod_commands"]
        .iter()
        .map(|m| format!("<load module=\"{m}\"/>"))
        .collect();
    let parameters: String = [
        ("sip-ip", "127.0.0.1".to_owned()),
        ("rtp-ip", "127.0.0.1".to_owned()),
        ("sip-port", PORT.to_string()),
        ("context", "bench".to_owned()),
        ("dialplan", "XML".to_owned()),
        ("auth-calls", "false".to_owned()),
        ("inbound-codec-prefs", "PCMA,PCMU".to_owned()),
    ]
    .iter()
    .map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>"))
    .collect();
    let text = format!(
        "<document type=\"freeswitch/xml\">\
         <section name=\"configuration\">\
         <configuration name=\"modules.conf\"><modules>{modules}</modules></configuration>\
         <configuration name=\"switch.conf\"><settings>\
         <param name=\"max-sessions\" value=\"10000\"/><param name=\"sessions-per-second\" value=\"5000\"/>\
         <param name=\"loglevel\" value=\"err\"/></settings></configuration>\
         <configuration name=\"sofia.conf\"><profiles><profile name=\"bench\"><settings>{parameters}</settings></profile>\
         </profiles></configuration></section>\
         <section name=\"dialplan\"><context name=\"bench\"><extension name=\"bench\">\
         <condition field=\"destination_number\" expression=\"^bench$\"><action application=\"answer\"/>\
         <action application=\"park\"/></condition></extension></context></section></document>"
    );
    std::fs::write(dir.join("freeswitch.xml"), text)?;
    let dir = dir.display().to_string();
    // -np: its default of real-time threads takes the processor from whoever measures it.
    let arguments = ["-nf", "-nonat", "-np", "-conf", &dir, "-log", &dir, "-db", &dir, "-run", &dir];
    Ok(arguments.map(str::to_owned).to_vec())
}
