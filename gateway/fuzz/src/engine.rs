//! libFuzzer around the target that the environment names: `FUZZ_TARGET=sdp fuzz CORPUS…`.
#![no_main]

use std::sync::OnceLock;

static RUN: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let Some(target) = fuzz::TARGETS.iter().find(|t| t.name == name) else {
            let names: Vec<&str> = fuzz::TARGETS.iter().map(|t| t.name).collect();
            eprintln!("FUZZ_TARGET is one of {}", names.join(" "));
            std::process::exit(2);
        };
        // A first argument `seeds` writes the target's seeds into the directory that follows.
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if let [word, dir] = &arguments[..]
            && word == "seeds"
        {
            for (n, seed) in (target.seeds)().iter().enumerate() {
                if let Err(error) = std::fs::write(format!("{dir}/seed-{n:03}"), seed) {
                    eprintln!("{dir}: {error}");
                    std::process::exit(1);
                }
            }
            std::process::exit(0);
        }
        let _ = RUN.set(target.run);
    },
    |data: &[u8]| {
        if let Some(run) = RUN.get() {
            run(data);
        }
    }
);
