//! Reading a configuration: every mistake with its place and what would be right.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::source::Source;
use super::{Config, Problem, channel, default_shards};

/// Reads as much of a configuration as makes sense, and everything that is wrong with it, each with file and line and
/// what would be right.
pub fn read(source: Source<'_>) -> (Option<Config>, Vec<Problem>) {
    let (config, mut problems) = source.read();
    if let Some(config) = &config {
        let found = wrong(config).into_iter();
        problems.extend(found.map(|(key, code, what)| Problem { code, at: source.place(&key), what }));
    }
    (config, problems)
}

/// Reads a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(path: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    match read(Source { path, text }) {
        (Some(config), problems) if problems.is_empty() => Ok(config),
        (_, problems) => Err(problems),
    }
}

type Wrong = (String, &'static str, String);

/// What can be read and cannot be meant: the key, the code, and what is wrong.
fn wrong(config: &Config) -> Vec<Wrong> {
    let mut all = Vec::new();
    node_wrong(config, &mut all);
    listen_wrong(config, &mut all);
    names_wrong(config, &mut all);
    police_wrong(config, &mut all);
    all
}

fn node_wrong(config: &Config, all: &mut Vec<Wrong>) {
    let mut complain = |key: &str, code, what: String| all.push((key.to_owned(), code, what));
    if config.config_version != 1 {
        let what = format!("config_version {} is unknown; this gateway reads 1", config.config_version);
        complain("config_version", "GW-0101", what);
    }
    if !crate::observe::log::is_level(&config.log.level) {
        complain("log.level", "GW-0240", format!("`{}` is no level", config.log.level));
    }
    if config.city.unit.len() != 12 || !config.city.unit.bytes().all(|b| b.is_ascii_digit()) {
        complain("city.unit", "GW-0201", "city.unit is not 12 digits (GA/T 380)".into());
    }
    if config.node.digit > 9 {
        complain("node.digit", "GW-0202", "node.digit is not 0 to 9".into());
    }
    let shards_max = switchboard::route::SHARDS_MAX;
    if config.node.shards.is_some_and(|n| n == 0 || n > shards_max) {
        complain("node.shards", "GW-0203", format!("node.shards is not 1 to {shards_max}"));
    }
    if config.registrar.max_expires.0 < Duration::from_secs(30) {
        complain("registrar.max_expires", "GW-0207", "registrar.max_expires is at least 30s".into());
    }
    if !(1..=100).contains(&config.limits.share) || config.limits.calls == 0 || config.limits.legs < 2 {
        let what = "limits: a share is 1 to 100, calls at least 1, legs at least 2";
        complain("limits", "GW-0208", what.into());
    }
    if config.answer.tone.0 > TONE_MAX {
        complain("answer.tone", "GW-0245", "answer.tone is at most 2s: the caller waits for its end".into());
    }
    if !config.storage.is_sane() {
        complain("storage", "GW-0209", "storage: nothing is kept for less than a day (1d)".into());
    }
}

fn listen_wrong(config: &Config, all: &mut Vec<Wrong>) {
    let mut complain = |key: &str, code, what: &str| all.push((key.to_owned(), code, what.to_owned()));
    let listen = &config.listen;
    let shards = config.node.shards.unwrap_or_else(default_shards).clamp(1, switchboard::route::SHARDS_MAX);
    let range_all = &listen.rtp.ports;
    let range = range_all.part(0, shards);
    if range.to <= range.from {
        let what = format!("listen.rtp.ports: fewer than two ports for each of {shards} shards");
        complain("listen.rtp", "GW-0204", &what);
    }
    let tcp = [("listen.sip", Some(listen.sip)), ("listen.http", Some(listen.http)), ("listen.hooks", listen.hooks)];
    let tcp: Vec<_> = tcp.into_iter().chain([("listen.admin", Some(listen.admin))]).collect();
    for (n, (key, address)) in tcp.iter().enumerate() {
        let Some(address) = address.filter(|a| a.port() != 0) else { continue };
        let is_same = |a: &SocketAddr| a.port() == address.port() && overlap(a.ip(), address.ip());
        if let Some((other, _)) = tcp[..n].iter().find(|(_, a)| a.is_some_and(|a| is_same(&a))) {
            complain(key, "GW-0241", &format!("{key} is the address of {other}"));
        }
    }
    let in_range = (range_all.from..=range_all.to).contains(&listen.sip.port());
    if in_range && overlap(listen.sip.ip(), listen.rtp.address) {
        complain("listen.rtp", "GW-0241", "listen.rtp.ports hold the port of listen.sip");
    }
    if listen.sip.ip().is_unspecified() && listen.sip_advertise.is_none() {
        let what = "listen.sip is a wildcard: `sip_advertise` says where peers reach us";
        complain("listen.sip", "GW-0205", what);
    }
    if listen.sip_advertise.is_some_and(|a| a.ip().is_unspecified()) {
        complain("listen.sip_advertise", "GW-0205", "listen.sip_advertise is a wildcard: nobody can send there");
    }
    if listen.rtp.address.is_unspecified() && listen.rtp.advertise.is_none() {
        let what = "listen.rtp.address is a wildcard: `advertise` says where peers send audio";
        complain("listen.rtp", "GW-0206", what);
    }
    if listen.rtp.advertise.is_some_and(|a| a.is_unspecified()) {
        complain("listen.rtp", "GW-0206", "listen.rtp.advertise is a wildcard: nobody can send there");
    }
}

/// Whether a port of the one cannot be bound beside the same of the other.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let takes_all = |one: IpAddr, other: IpAddr| one.is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    a.to_canonical() == b.to_canonical() || takes_all(a, b) || takes_all(b, a)
}

/// A longer tone takes too much of the three seconds.
const TONE_MAX: Duration = Duration::from_secs(2);

/// A room with no line is never called, and one with too many is a mistake.
fn lines_wrong(key: &str, lines: usize, complain: &mut impl FnMut(String, &'static str, String)) {
    if !(1..=1000).contains(&lines) {
        complain(format!("{key}.lines"), "GW-0254", format!("{key}: lines are 1 to 1000, and not {lines}"));
    }
}

/// Units, agencies, and how officers are written to.
fn police_wrong(config: &Config, all: &mut Vec<Wrong>) {
    let mut complain = |key: String, code, what: String| all.push((key, code, what));
    for (code, unit) in &config.unit {
        if let Some(superior) = unit.superior.as_ref().filter(|s| !config.unit.contains_key(*s)) {
            let what = format!("unit.{code}: superior `{superior}` does not exist");
            complain(format!("unit.{code}.superior"), "GW-0212", what);
        }
        lines_wrong(&format!("unit.{code}"), unit.lines, &mut complain);
    }
    for (no, agency) in &config.agency {
        if config.unit.contains_key(no) || no.is_empty() || no.contains(|c: char| c == '/' || c.is_whitespace()) {
            let what = format!("agency.{no}: no name, or the code of a unit");
            complain(format!("agency.{no}"), "GW-0254", what);
        }
        if agency.user.is_empty() && agency.phone.is_empty() {
            let what = format!("agency.{no}: neither a user nor a phone");
            complain(format!("agency.{no}"), "GW-0254", what);
        }
        lines_wrong(&format!("agency.{no}"), agency.lines, &mut complain);
    }
    let is_telephone = |name: &String| config.channel.get(name).is_some_and(channel::Channel::user_is_phone);
    if let Some(orders) = config.orders.as_ref().filter(|o| !is_telephone(&o.channel)) {
        let what = format!("orders: `{}` is no channel of short messages", orders.channel);
        complain("orders.channel".into(), "GW-0255", what);
    }
}

/// Names that lead nowhere.
fn names_wrong(config: &Config, all: &mut Vec<Wrong>) {
    let mut complain = |key: String, code, what: String| all.push((key, code, what));
    let known: Vec<&str> = config.group.keys().map(String::as_str).collect();
    let known = known.join(", ");
    for (name, trunk) in config.trunk.iter().filter(|(_, t)| !config.group.contains_key(&t.group)) {
        let what = format!("trunk.{name}: group `{}` does not exist; there are: {known}", trunk.group);
        complain(format!("trunk.{name}.group"), "GW-0210", what);
    }
    let mut taken = BTreeMap::new();
    for (name, trunk) in &config.trunk {
        if trunk.sources.is_empty() {
            let what = format!("trunk.{name}: without `sources` no call is of this trunk");
            complain(format!("trunk.{name}.sources"), "GW-0242", what);
        }
        for source in trunk.sources.iter().map(|source| source.0) {
            if let Some(other) = taken.insert(source, name).filter(|other| *other != name) {
                let what = format!("trunk.{name}: calls from {source} are trunk.{other}'s");
                complain(format!("trunk.{name}.sources"), "GW-0242", what);
            }
        }
    }
    for (name, channel) in &config.channel {
        if !config.group.contains_key(&channel.group) {
            let what = format!("channel.{name}: group `{}` does not exist; there are: {known}", channel.group);
            complain(format!("channel.{name}.group"), "GW-0210", what);
        }
        if let Some(trunk) = channel.trunk.as_ref().filter(|t| !config.trunk.contains_key(*t)) {
            let what = format!("channel.{name}: trunk `{trunk}` does not exist");
            complain(format!("channel.{name}.trunk"), "GW-0211", what);
        }
    }
    for (name, group) in &config.group {
        if let Some(overflow) = group.overflow.as_ref().filter(|o| !config.group.contains_key(*o)) {
            let what = format!("group.{name}: overflow group `{overflow}` does not exist");
            complain(format!("group.{name}.overflow"), "GW-0210", what);
        }
    }
    let (mut told, mut dirs) = (BTreeMap::new(), BTreeMap::new());
    for (name, sink) in &config.sink {
        let odd = |c: char| !(c.is_alphanumeric() || c == '_' || c == '-');
        if name.is_empty() || name.len() > 64 || name.contains(odd) {
            let what = format!("sink.{name}: a sink is named by letters, digits, - and _: files bear its name");
            complain(format!("sink.{name}"), "GW-0256", what);
        }
        if let Some(target) = &sink.target {
            if target.trim().is_empty() || target.chars().count() > 64 {
                let what = format!("sink.{name}: a target is 1 to 64 characters");
                complain(format!("sink.{name}.target"), "GW-0252", what);
            }
            if let Some(other) = told.insert(target, name) {
                let what = format!("sink.{name}: its target is sink.{other}'s: one of the two receipts would count");
                complain(format!("sink.{name}.target"), "GW-0252", what);
            }
        }
        if sink.unit.is_some() && sink.target.is_none() {
            let what = format!("sink.{name}: a unit is its target's, and it has none: it is given every event");
            complain(format!("sink.{name}.unit"), "GW-0252", what);
        }
        if let Some(unit) = sink.unit.as_ref().filter(|unit| !config.unit.contains_key(*unit)) {
            let what = format!("sink.{name}: unit `{unit}` does not exist");
            complain(format!("sink.{name}.unit"), "GW-0212", what);
        }
        for field in super::gives::unknown_parts(&sink.fields) {
            let what = format!("sink.{name}: no record has a part `{field}`");
            complain(format!("sink.{name}.fields"), "GW-0253", what);
        }
        if let Some(spool) = &sink.spool
            && let Some(other) = dirs.insert(&spool.dir, name)
        {
            let what = format!("sink.{name}.spool.dir: it is sink.{other}'s too");
            complain(format!("sink.{name}.spool.dir"), "GW-0256", what);
        }
        for (key, code, why) in sink.mistakes() {
            let key = if key.is_empty() { format!("sink.{name}") } else { format!("sink.{name}.{key}") };
            complain(key.clone(), code, format!("{key}: {why}"));
        }
    }
}
