//! The house rules that no compiler checks: floors, absences, cycles, sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// What each crate may depend on; nothing else. Below `gateway` there is no I/O crate and no runtime.
const ALLOWED: [(&str, &[&str]); 11] = [
    (
        "codecs",
        &[
            "aes",
            "cbc",
            "ed25519-dalek",
            "encoding_rs",
            "quick-xml",
            "sha1",
            "base64",
            "bytes",
            "crc32c",
            "hmac",
            "md-5",
            "itoa",
            "memchr",
            "pulp",
            "rtcp-types",
            "rtp-rs",
            "schemars",
            "serde",
            "serde_json",
            "sha2",
            "smallvec",
            "subtle",
        ],
    ),
    ("gateway/sip", &["bytes", "codecs", "ipnet", "rand_chacha", "siphasher", "slab"]),
    ("gateway/media", &["codecs", "slab"]),
    ("gateway/sms", &["codecs", "subtle"]),
    ("gateway/app", &["codecs"]),
    ("gateway/dispatch", &["codecs"]),
    ("gateway/casework", &["aho-corasick", "codecs"]),
    ("gateway/switchboard", &["bytes", "casework", "codecs", "dispatch", "ipnet", "media", "sip", "slab"]),
    ("gateway/store", &["codecs", "crc32c", "rusqlite", "rustix", "serde", "serde_json", "sha2"]),
    ("gateway/sim", &["bytes", "clap", "codecs", "sip", "store", "switchboard"]),
    (
        "gateway/fuzz",
        &[
            "app",
            "bytes",
            "casework",
            "codecs",
            "libfuzzer-sys",
            "media",
            "serde_json",
            "sim",
            "sip",
            "sms",
            "store",
            "switchboard",
        ],
    ),
];

/// The crates in which no clock, no runtime and no device may appear.
const PURE: [&str; 8] = [
    "codecs",
    "gateway/sip",
    "gateway/media",
    "gateway/sms",
    "gateway/app",
    "gateway/dispatch",
    "gateway/casework",
    "gateway/switchboard",
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The file without its tests.
fn production(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a source file");
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

#[test]
fn every_crate_depends_on_what_it_may_and_on_nothing_else() {
    for (krate, allowed) in ALLOWED {
        let manifest = std::fs::read_to_string(root().join(krate).join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        let used: Vec<&String> = manifest["dependencies"].as_table().expect("a table").keys().collect();
        for dependency in used {
            assert!(allowed.contains(&dependency.as_str()), "{krate} may not depend on {dependency}");
        }
    }
}

#[test]
fn below_the_shell_nothing_reads_a_clock_a_socket_a_file_or_chance() {
    let banned = [
        "Instant::now",
        "SystemTime",
        "std::net::Udp",
        "std::net::Tcp",
        "std::fs",
        "std::thread",
        "async fn",
        ".await",
        "tokio",
        "Mutex",
        "RwLock",
        "rand::",
        "println!",
        "unsafe ",
    ];
    for krate in PURE {
        for file in sources(&root().join(krate).join("src")) {
            let text = production(&file);
            if file.ends_with("tests.rs") {
                continue;
            }
            for word in banned {
                let code = text.lines().filter(|l| !l.trim_start().starts_with("//")).any(|l| l.contains(word));
                assert!(!code, "{} uses {word}", file.display());
            }
        }
    }
}

#[test]
fn unsafe_code_stands_in_one_file_only() {
    for krate in ["gateway/src", "loadtest/src", "bench/src", "gateway/sim/src"] {
        for file in sources(&root().join(krate)) {
            let text = std::fs::read_to_string(&file).expect("a source file");
            assert!(file.ends_with("src/net/udp.rs") || !text.contains("unsafe {"), "{}", file.display());
        }
    }
}

#[test]
fn the_top_level_is_the_users() {
    let allowed: BTreeSet<&str> = [
        "Cargo.toml",
        "Cargo.lock",
        "gateway",
        "codecs",
        "loadtest",
        "bench",
        "deploy",
        "README.md",
        "README.zh-CN.md",
        "docs",
        "SECURITY.md",
        "LICENSE",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "clippy.toml",
        "rustfmt.toml",
        "deny.toml",
        ".cargo",
        ".ci",
        ".git",
        ".gitignore",
        "target",
        "demo-data",
    ]
    .into();
    for entry in std::fs::read_dir(root()).expect("the workspace") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        assert!(allowed.contains(name.as_str()), "{name} at the top level");
    }
}

/// Top modules of a crate and whom each names by `crate::`.
fn module_graph(src: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources(src) {
        let inside = file.strip_prefix(src).expect("inside");
        let top = inside.components().next().expect("a component").as_os_str().to_str().expect("a name");
        let top = top.strip_suffix(".rs").unwrap_or(top).to_owned();
        if top == "lib" || top == "main" {
            continue;
        }
        let named = production(&file);
        let uses = named.lines().filter(|l| !l.trim_start().starts_with("//")).flat_map(|l| {
            l.split("crate::")
                .skip(1)
                .map(|rest| {
                    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
                })
                .collect::<Vec<_>>()
        });
        graph.entry(top.clone()).or_default().extend(uses.filter(|u| *u != top));
        // `use crate::{a, b}` on one line.
        for line in named.lines().filter(|l| l.trim_start().starts_with("use crate::{")) {
            let list = line.trim_start().trim_start_matches("use crate::{").trim_end_matches("};");
            graph
                .entry(top.clone())
                .or_default()
                .extend(list.split(',').map(|m| m.trim().split("::").next().unwrap_or_default().to_owned()));
        }
    }
    let tops: BTreeSet<String> = graph.keys().cloned().collect();
    for uses in graph.values_mut() {
        uses.retain(|u| tops.contains(u));
    }
    graph
}

#[test]
fn no_crate_has_a_module_cycle() {
    let others = ["gateway", "gateway/sim", "gateway/store", "loadtest", "bench"];
    for krate in PURE.into_iter().chain(others) {
        let graph = module_graph(&root().join(krate).join("src"));
        let mut left = graph.clone();
        while let Some(leaf) =
            left.iter().find(|(_, uses)| uses.iter().all(|u| !left.contains_key(u))).map(|(m, _)| m.clone())
        {
            left.remove(&leaf);
        }
        assert!(left.is_empty(), "{krate}: modules in a cycle: {:?}", left.keys().collect::<Vec<_>>());
        assert!(others.contains(&krate) || graph.len() <= 13, "{krate} has {} top modules", graph.len());
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_readable() {
    let mut folders: Vec<PathBuf> = PURE.iter().map(|k| root().join(k).join("src")).collect();
    folders.extend(["gateway/src", "gateway/sim/src", "gateway/fuzz/src", "loadtest/src"].map(|k| root().join(k)));
    for file in folders.iter().flat_map(|f| sources(f)) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let is_tests = file.ends_with("tests.rs");
        assert!(is_tests || text.starts_with("//!"), "{} has no header", file.display());
        let lines = production(&file).lines().count();
        assert!(is_tests || lines <= 700, "{} has {lines} lines", file.display());
    }
}

#[test]
fn the_readme_and_ci_run_the_same_two_commands() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    for command in ["cargo run --release -- demo", "cargo test --workspace"] {
        assert!(readme.contains(command), "README.md says `{command}`");
        assert!(ci.contains(command), ".ci/run runs `{command}`");
    }
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let folders = ["codecs", "gateway", "loadtest", "bench"].map(|k| root().join(k));
    let code: String =
        folders.iter().flat_map(|f| sources(f)).map(|f| std::fs::read_to_string(f).expect("a source file")).collect();
    let mut named = 0;
    for page in ["docs/findings.md", "docs/items.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect("a page");
        for name in text.split('`').skip(1).step_by(2).filter(|n| n.contains("::") && !n.contains([' ', '/'])) {
            let last = name.rsplit("::").next().unwrap_or_default();
            // A sentence, not a type.
            if last.matches('_').count() >= 3 {
                named += 1;
                assert!(code.contains(&format!("fn {last}(")), "{page}: there is no test {name}");
            }
        }
    }
    assert!(named > 100, "{named}");
}

/// Every page that a reader of the project opens.
fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).expect("docs");
    let docs = docs.map(|e| e.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "md"));
    let top = ["README.md", "README.zh-CN.md", "CHANGELOG.md", "ARCHITECTURE.md", "bench/README.md"];
    top.iter().map(|p| root().join(p)).chain(docs).collect()
}

#[test]
fn every_command_that_the_documents_name_exists() {
    let loadtest = std::fs::read_to_string(root().join("loadtest/src/main.rs")).expect("a source file");
    let mut named = BTreeSet::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        for quoted in text.split('`').skip(1).step_by(2) {
            let mut words = quoted.split_whitespace();
            let (tool, command) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let tool = tool.trim_start_matches("target/release/");
            let is_word = !command.is_empty() && command.bytes().all(|b| b.is_ascii_lowercase());
            if is_word && ["gateway", "loadtest"].contains(&tool) && command != "it" {
                named.insert((tool.to_owned(), command.to_owned(), page.display().to_string()));
            }
        }
    }
    assert!(named.len() > 15, "{named:?}");
    for (tool, command, page) in named {
        let is_there = match tool.as_str() {
            "gateway" => {
                let help =
                    std::process::Command::new(env!("CARGO_BIN_EXE_gateway")).args([&command, "--help"]).output();
                help.expect("it runs").status.success()
            }
            _ => loadtest.to_lowercase().contains(&format!("    {command}(")),
        };
        assert!(is_there, "{page}: there is no {tool} {command}");
    }
}

#[test]
fn every_word_of_the_glossary_stands_in_the_code_and_once_in_the_glossary() {
    let code: Vec<String> = PURE
        .iter()
        .flat_map(|k| sources(&root().join(k).join("src")))
        .chain(sources(&root().join("gateway/src")))
        .map(|f| std::fs::read_to_string(f).expect("a source file").to_lowercase())
        .collect();
    let text = std::fs::read_to_string(root().join("docs/glossary.md")).expect("the glossary");
    let mut seen = BTreeSet::new();
    for row in text.lines().filter(|l| l.starts_with("| `")) {
        let word = row.split('`').nth(1).expect("a word");
        assert!(seen.insert(word), "{word} twice");
        let written = [word.to_owned(), word.replace('_', ""), word.replace('_', " ")];
        assert!(code.iter().any(|c| written.iter().any(|w| c.contains(w))), "nobody says {word}");
    }
    assert!(seen.len() >= 30, "{}", seen.len());
}

/// Words of the gateway's sources that `is` one, tests and tables aside.
fn words(is: impl Fn(&str) -> bool, of: impl Fn(char) -> bool) -> BTreeSet<String> {
    let shell = sources(&root().join("gateway/src"));
    let below = PURE.iter().flat_map(|krate| sources(&root().join(krate).join("src")));
    let tables = ["codes.rs", "metrics.rs"];
    let told = shell
        .into_iter()
        .chain(below)
        .filter(|p| !tables.contains(&p.file_name().and_then(|n| n.to_str()).unwrap_or("")));
    let texts: Vec<String> = told.map(|path| production(&path)).collect();
    let found = texts.iter().flat_map(|text| text.split(|c| !of(c))).filter(|word| is(word));
    found.map(str::to_owned).collect()
}

#[test]
fn every_code_and_every_metric_stands_in_its_table_and_none_for_nothing() {
    let code = |word: &str| word.len() == 7 && word.starts_with("GW-") && word[3..].bytes().all(|b| b.is_ascii_digit());
    let mut codes = words(code, |c| c.is_ascii_alphanumeric() || c == '-');
    // SIP's Reason bears the bare number, by which a call's refusal is told.
    let number = |word: &str| word.len() == 6 && word.starts_with("\"21") && word.ends_with('"');
    codes.extend(
        words(number, |c| c.is_ascii_digit() || c == '"').iter().map(|w| format!("GW-{}", w.trim_matches('"'))),
    );
    let metrics_rs = production(&root().join("gateway/src/observe/metrics.rs"));
    codes.extend(
        metrics_rs.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|w| code(w)).map(str::to_owned),
    );
    let table: BTreeSet<String> = gateway::observe::codes::CODES.iter().map(|row| row.code.to_owned()).collect();
    assert_eq!(codes, table);

    let metric = |word: &str| word.starts_with("\"gateway_") && word.ends_with('"');
    let of = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '"';
    let mut used: BTreeSet<String> = words(metric, of).iter().map(|w| w.trim_matches('"').to_owned()).collect();
    let told = metrics_rs.split("fn describe()").nth(1).expect("what follows the table").to_owned();
    used.extend(told.split(|c| !of(c)).filter(|w| metric(w)).map(|w| w.trim_matches('"').to_owned()));
    let table: BTreeSet<String> = gateway::observe::metrics::METRICS.iter().map(|m| m.name.to_owned()).collect();
    assert_eq!(used, table);
}

#[test]
fn the_picture_of_the_house_shows_its_arrows_and_none_leads_up() {
    let picture = std::fs::read_to_string(root().join("docs/architecture.svg")).expect("a picture");
    let between = |text: &str, from: &str| text.split(from).nth(1).and_then(|t| t.split('"').next()).map(str::to_owned);
    let drawn: BTreeSet<(String, String)> =
        picture.lines().filter_map(|l| Some((between(l, "data-from=\"")?, between(l, "data-to=\"")?))).collect();
    // By floor, from the ground up; what stands beside each other there may know each other in this order only.
    let floors =
        ["codecs", "sip media sms app dispatch casework loadtest", "store switchboard", "sim gateway fuzz bench"];
    let rank = |name: &str| {
        let floor = floors.iter().position(|f| f.split(' ').any(|n| n == name)).expect("it has a floor");
        (floor, floors[floor].split(' ').position(|n| n == name).expect("there"))
    };
    let dir = |name: &str| match name {
        "codecs" | "gateway" | "loadtest" | "bench" => root().join(name),
        other => root().join("gateway").join(other),
    };
    let mut real = BTreeSet::new();
    for name in floors.iter().flat_map(|f| f.split(' ')) {
        let manifest = std::fs::read_to_string(dir(name).join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        let used = manifest.get("dependencies").and_then(|d| d.as_table()).into_iter().flat_map(|t| t.keys());
        for other in used.filter(|d| floors.iter().any(|f| f.split(' ').any(|n| n == *d))) {
            assert!(rank(other) < rank(name), "{name} → {other} leads up or beside");
            real.insert((name.to_owned(), other.clone()));
        }
    }
    assert_eq!(drawn, real, "docs/architecture.svg is old");
}
