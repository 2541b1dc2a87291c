//! A city for `gateway run`: a trunk, seats and officers for load tools, two operators, no sink.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Server, ours, until_it_answers};

/// Ports are counted from here; media lies below.
pub(crate) const BASE: u16 = 27_000;

pub(crate) fn at(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], BASE + n))
}

pub(crate) fn sip() -> SocketAddr {
    at(0)
}

pub(crate) fn cmpp() -> SocketAddr {
    at(10)
}

pub(crate) fn smpp() -> SocketAddr {
    at(14)
}

pub(crate) const SECRET: &str = "demo";

/// What differs between the gateway's runs.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    /// RTP ports that all legs share; 0: a port a leg, the default.
    pub shared_ports: usize,
    /// One, so that the figures of machines with more cores can be compared; two to see what handing over costs.
    pub shards: u16,
}

impl Default for Variant {
    fn default() -> Self {
        Variant { shared_ports: 0, shards: 1 }
    }
}

/// Writes configuration, tables and the page that load tools read; returns the page's path.
///
/// # Errors
/// What the disk said.
pub(crate) fn write(dir: &Path, variant: Variant) -> anyhow::Result<PathBuf> {
    let carrier = |kind: &str, address: SocketAddr| {
        format!(
            "[channel.{kind}]\nkind = \"{kind}\"\ngroup = \"load\"\ndefault_grid = \"LOAD\"\nconnect = \"{address}\"\n\
             account = \"901234\"\nsecret = {{ env = \"CARRIER\" }}\nnumber = \"12110\"\nlinks = 1\nwindow = 64\n\
             redial_max = \"1s\"\n"
        )
    };
    let toml = format!(
        "config_version = 1\n[city]\nname = \"bench\"\nunit = \"370400000000\"\nrealm = \"110.bench\"\n\
         [node]\ndigit = 1\ndata_dir = \"data\"\nshards = {}\n\
         [listen]\nsip = \"{}\"\nrtp = {{ address = \"127.0.0.1\", ports = \"20000-26999\", shared = {} }}\n\
         http = \"{}\"\nadmin = \"{}\"\n\
         [trunk.load]\nsources = [\"127.0.0.0/8\"]\ngroup = \"load\"\ndefault_grid = \"LOAD\"\nattendant_user = \"bench\"\n\
         calls = 6000\nnew_calls = 20000\n[limits]\nmessages = 100000\nshare = 100\n\
         [group.load]\n\
         [unit.370400510000]\nname = \"station\"\nuser = \"u1\"\nsecret = {{ env = \"CARRIER\" }}\n\
         [tables]\nseats = \"seats.csv\"\nofficers = \"officers.csv\"\ngrids = \"grids.geojson\"\n\
         [log]\nlevel = \"error\"\n{}{}",
        variant.shards,
        sip(),
        variant.shared_ports,
        at(1),
        at(2),
        carrier("cmpp", cmpp()),
        carrier("smpp", smpp()),
    );
    let seats: String = (3001..=3600).map(|n| format!("{n},taker {n},load,,sip,{n},{SECRET},4\n")).collect();
    let officers: String =
        (4001..=4600).map(|n| format!("{n},officer {n},,{n},{SECRET},LOAD,370400510000,true\n")).collect();
    let ring = "[[117.0,34.0],[118.0,34.0],[118.0,35.0],[117.0,35.0],[117.0,34.0]]";
    let grids = format!(
        "{{\"type\":\"FeatureCollection\",\"features\":[{{\"type\":\"Feature\",\"properties\":{{\"grid_id\":\"LOAD\",\
         \"unit\":\"370400510000\",\"kind\":\"town\"}},\"geometry\":{{\"type\":\"Polygon\",\"coordinates\":[{ring}]}}}}]}}"
    );
    std::fs::write(dir.join("city.toml"), toml)?;
    std::fs::write(dir.join("seats.csv"), format!("id,name,group,skills,kind,user,secret,max_threads\n{seats}"))?;
    std::fs::write(
        dir.join("officers.csv"),
        format!("police_no,name,phone,user,secret,grid_ids,unit,on_duty\n{officers}"),
    )?;
    std::fs::write(dir.join("grids.geojson"), grids)?;
    let page = dir.join("page.json");
    let content = serde_json::json!({
        "sip": sip(), "http": at(1), "admin": at(2), "password": SECRET,
        "token_file": dir.join("data/token"),
        "load": {"source": "127.0.0.3", "seats": [3001, 3600]},
        "channels": {"account": "901234", "secret": SECRET, "number": "12110", "cmpp": cmpp(), "smpp": smpp()},
    });
    std::fs::write(&page, content.to_string())?;
    Ok(page)
}

pub(crate) fn command(dir: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(ours("gateway")?);
    command.args(["run", "--config"]).arg(dir.join("city.toml")).env("CARRIER", SECRET);
    Ok(command)
}

/// The gateway in `dir`, answering.
///
/// # Errors
/// When it does not answer within ten seconds.
pub(crate) fn start(dir: &Path, variant: Variant) -> anyhow::Result<Server> {
    write(dir, variant)?;
    let mut server = Server::start(&mut command(dir)?, dir)?;
    until_it_answers(&mut server, sip())?;
    Ok(server)
}
