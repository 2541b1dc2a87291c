//! Reading a configuration: every mistake with its place and what would be right.

use std::path::Path;
use std::time::Duration;

use super::{Config, Problem, default_shards};

/// Reads a configuration.
///
/// # Errors
/// Every syntax error and unknown key with file, line and what would be right.
pub fn parse(path: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |s| line_of(text, s.start));
        vec![Problem { code: "GW-0102", at: format!("{}:{line}", path.display()), what: suggest(error.message()) }]
    })?;
    let mut problems = Vec::new();
    let mut complain = |key: &str, code, what: String| {
        let line = text.lines().position(|l| l.trim_start().starts_with(key)).map_or(1, |i| i + 1);
        problems.push(Problem { code, at: format!("{}:{line}", path.display()), what });
    };
    if config.config_version != 1 {
        complain(
            "config_version",
            "GW-0101",
            format!("config_version {} is unknown; this gateway reads 1", config.config_version),
        );
    }
    if config.city.unit.len() != 12 || !config.city.unit.bytes().all(|b| b.is_ascii_digit()) {
        complain("unit", "GW-0201", "city.unit is not 12 digits (GA/T 380)".into());
    }
    if config.node.digit > 9 {
        complain("digit", "GW-0202", "node.digit is not 0 to 9".into());
    }
    let shards_max = switchboard::route::SHARDS_MAX;
    if config.node.shards.is_some_and(|n| n == 0 || n > shards_max) {
        complain("shards", "GW-0203", format!("node.shards is not 1 to {shards_max}"));
    }
    let shards = config.node.shards.unwrap_or_else(default_shards).clamp(1, shards_max);
    let range = config.listen.rtp.ports.part(0, shards);
    if range.to <= range.from {
        complain("rtp", "GW-0204", format!("listen.rtp.ports: fewer than two ports for each of {shards} shards"));
    }
    let wildcard = config.listen.sip.ip().is_unspecified();
    if wildcard && config.listen.sip_advertise.is_none() {
        let what = "listen.sip is a wildcard: `sip_advertise` says where peers reach us".into();
        complain("sip ", "GW-0205", what);
    }
    if config.listen.sip_advertise.is_some_and(|a| a.ip().is_unspecified()) {
        complain("sip_advertise", "GW-0205", "listen.sip_advertise is a wildcard: nobody can send there".into());
    }
    if config.listen.rtp.address.is_unspecified() && config.listen.rtp.advertise.is_none() {
        let what = "listen.rtp.address is a wildcard: `advertise` says where peers send audio".into();
        complain("rtp", "GW-0206", what);
    }
    if config.listen.rtp.advertise.is_some_and(|a| a.is_unspecified()) {
        complain("rtp", "GW-0206", "listen.rtp.advertise is a wildcard: nobody can send there".into());
    }
    if config.registrar.max_expires.0 < Duration::from_secs(30) {
        complain("max_expires", "GW-0207", "registrar.max_expires is at least 30s".into());
    }
    if !(1..=100).contains(&config.limits.share) || config.limits.calls == 0 || config.limits.legs < 2 {
        complain("limits", "GW-0208", "limits: a share is 1 to 100, calls at least 1, legs at least 2".into());
    }
    if !config.storage.is_sane() {
        complain("keep_", "GW-0209", "storage: nothing is kept for less than a day (1d)".into());
    }
    for (name, trunk) in &config.trunk {
        if !config.group.contains_key(&trunk.group) {
            let known: Vec<&str> = config.group.keys().map(String::as_str).collect();
            complain(
                "group",
                "GW-0210",
                format!("trunk.{name}: group `{}` does not exist; there are: {}", trunk.group, known.join(", ")),
            );
        }
    }
    for (name, channel) in &config.channel {
        if !config.group.contains_key(&channel.group) {
            complain("group", "GW-0210", format!("channel.{name}: group `{}` does not exist", channel.group));
        }
        if let Some(trunk) = channel.trunk.as_ref().filter(|t| !config.trunk.contains_key(*t)) {
            complain("trunk", "GW-0211", format!("channel.{name}: trunk `{trunk}` does not exist"));
        }
    }
    for (name, group) in &config.group {
        if let Some(overflow) = group.overflow.as_ref().filter(|o| !config.group.contains_key(*o)) {
            complain("overflow", "GW-0210", format!("group.{name}: overflow group `{overflow}` does not exist"));
        }
    }
    for (code, unit) in &config.unit {
        if let Some(superior) = unit.superior.as_ref().filter(|s| !config.unit.contains_key(*s)) {
            complain("superior", "GW-0212", format!("unit.{code}: superior `{superior}` does not exist"));
        }
    }
    for (name, sink) in &config.sink {
        if !sink.http.url.starts_with("http://") && !sink.http.url.starts_with("https://") {
            complain("url", "GW-0230", format!("sink.{name}: an address begins with http:// or https://"));
        }
    }
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// The line of a byte offset, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// serde's "unknown field `x`, expected one of …" with the nearest of those named first.
fn suggest(message: &str) -> String {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((&wrong, known)) = words.split_first().filter(|_| message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    let best = known.iter().min_by_key(|k| edits(wrong, k)).filter(|k| edits(wrong, k) <= 3);
    match best {
        Some(best) => format!("unknown key `{wrong}`, did you mean `{best}`? Known here: {}", known.join(", ")),
        None => format!("unknown key `{wrong}`. Known here: {}", known.join(", ")),
    }
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
