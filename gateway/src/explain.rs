//! What codes, metrics and keys of the configuration mean: by name, and as the pages of `docs`, which are printed from
//! the same tables and types that the gateway runs by.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::Config;
use crate::observe::codes::{self, CODES};
use crate::observe::metrics::{Kind, METRICS};

/// A page of `docs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Page {
    Codes,
    Metrics,
    Configuration,
}

impl Page {
    pub fn text(self) -> String {
        match self {
            Page::Codes => codes_page(),
            Page::Metrics => metrics_page(),
            Page::Configuration => configuration_page(),
        }
    }
}

/// A code, a metric or a key, in a line or two.
///
/// # Errors
/// Nothing is called so.
pub fn explain(name: &str) -> anyhow::Result<String> {
    if let Some(row) = codes::find(name) {
        return Ok(format!("{}: {}\n{}", row.code, row.says, row.then));
    }
    if let Some(metric) = METRICS.iter().find(|m| m.name == name) {
        return Ok(format!("{} ({}): {}", metric.name, kind(metric.kind), metric.says));
    }
    let keys = keys();
    let found: Vec<String> =
        keys.iter().filter(|k| k.path == name || k.path.ends_with(&format!(".{name}"))).map(Key::line).collect();
    anyhow::ensure!(!found.is_empty(), "there is no code, metric or key `{name}`; `gateway explain` lists the codes");
    Ok(found.join("\n"))
}

/// Every code with its sentence.
pub fn list() -> String {
    CODES.iter().map(|row| format!("{}  {}", row.code, row.says)).collect::<Vec<_>>().join("\n")
}

fn codes_page() -> String {
    let mut page = "# Codes\n\nPrinted by `gateway explain --page codes`; `gateway explain GW-3101` prints a row.\n\n| code | what it says | what to do |\n|---|---|---|\n".to_owned();
    for row in CODES {
        let _ = writeln!(page, "| {} | {} | {} |", row.code, row.says, row.then);
    }
    page
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn metrics_page() -> String {
    let mut page = "# Metrics\n\nPrinted by `gateway explain --page metrics`. Histograms are in seconds and have `le=\"3\"` and `le=\"30\"` where those are promises.\n\n| name | kind | what it says |\n|---|---|---|\n".to_owned();
    for metric in METRICS {
        let _ = writeln!(page, "| `{}` | {} | {} |", metric.name, kind(metric.kind), metric.says);
    }
    page
}

/// A key of the configuration.
struct Key {
    /// `limits.calls`, `trunk.NAME.sources`.
    path: String,
    kind: String,
    /// What holds without it; empty where it has to be there, or nothing holds.
    default: String,
    required: bool,
    says: String,
}

impl Key {
    fn line(&self) -> String {
        let default =
            if self.required { "it has to be there".to_owned() } else { format!("without it {}", self.default) };
        format!("{} ({}, {default}): {}", self.path, self.kind, self.says)
    }
}

/// All keys, in the order of the schema.
fn keys() -> Vec<Key> {
    let schema = schemars::schema_for!(Config).to_value();
    let mut keys = Vec::new();
    walk(&schema, &schema, "", &Value::Null, &mut keys);
    keys
}

/// What a `$ref`, or the one of several that is not null, stands for.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        return &root["$defs"][name];
    }
    let any = schema["anyOf"].as_array().into_iter().flatten().find(|s| s["type"] != "null");
    any.map_or(schema, |one| resolve(root, one))
}

fn walk(root: &Value, schema: &Value, path: &str, defaults: &Value, keys: &mut Vec<Key>) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let inner = resolve(root, property);
        let default = property.get("default").or(defaults.get(name)).unwrap_or(&Value::Null);
        if let Some(each) = inner.get("additionalProperties").filter(|each| each.is_object()) {
            let each = resolve(root, each);
            if each["properties"].is_object() {
                walk(root, each, &format!("{at}.NAME"), &Value::Null, keys);
                continue;
            }
        }
        if inner["properties"].is_object() && inner["oneOf"].is_null() {
            walk(root, inner, &at, default, keys);
            continue;
        }
        let says = property["description"].as_str().or(inner["description"].as_str()).unwrap_or_default();
        let default = match default {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let says = says.split_whitespace().collect::<Vec<_>>().join(" ");
        keys.push(Key { path: at, kind: kind_of(inner), default, required: required.contains(&name.as_str()), says });
    }
}

/// What is written there.
fn kind_of(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    }
    if let Some(several) = schema["oneOf"].as_array() {
        let word = |s: &Value| s["const"].as_str().or(s["required"][0].as_str()).map(str::to_owned);
        let words = several.iter().map(|s| word(s).unwrap_or_else(|| kind_of(s)));
        return words.collect::<Vec<_>>().join(", ");
    }
    let of = |kind: &str| match (kind, schema["format"].as_str()) {
        ("string", Some(format @ ("duration" | "ports" | "network"))) => format.to_owned(),
        ("integer", _) => "number".to_owned(),
        ("boolean", _) => "flag".to_owned(),
        ("string", _) => "text".to_owned(),
        ("array", _) => "list".to_owned(),
        (other, _) => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(kind) => of(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|k| *k != "null").map_or(String::new(), of),
        _ => "table".to_owned(),
    }
}

fn configuration_page() -> String {
    let mut page = "# Configuration\n\nPrinted by `gateway explain --page configuration`; `gateway explain limits.calls` prints a row, `gateway schema config` the JSON Schema for editors. `NAME` is yours to choose. A duration is `300ms`, `20s`, `5m`, `2h` or `90d`; a secret is `{ env = \"NAME\" }` or `{ file = \"path\" }`.\n\n| key | what is written | without it | what it says |\n|---|---|---|---|\n".to_owned();
    for key in keys() {
        let default = if key.required { "has to be there".to_owned() } else { key.default };
        let _ = writeln!(page, "| `{}` | {} | {default} | {} |", key.path, key.kind, key.says);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_the_documents_are_what_the_tables_and_types_say() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        for (page, file) in
            [(Page::Codes, "codes.md"), (Page::Metrics, "metrics.md"), (Page::Configuration, "configuration.md")]
        {
            let kept = std::fs::read_to_string(docs.join(file)).unwrap_or_default();
            assert!(kept == page.text(), "docs/{file} is old: gateway explain --page … > docs/{file}");
        }
    }

    #[test]
    fn every_key_says_what_it_is() {
        let silent: Vec<String> = keys().into_iter().filter(|k| k.says.is_empty()).map(|k| k.path).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn a_code_a_metric_and_a_key_are_explained_by_their_names() {
        for (name, says) in [
            ("GW-3101", "the journal cannot be written"),
            ("gw-2107", "no G.711"),
            ("4401", "no credential"),
            ("gateway_queue_depth", "gauge"),
            ("limits.calls", "600"),
            ("trunk.NAME.sources", "has to be there"),
        ] {
            let told = explain(name).expect("it is known");
            assert!(told.contains(says), "{name}: {told}");
        }
        assert!(explain("GW-9999").is_err() && explain("").is_err());
    }
}
