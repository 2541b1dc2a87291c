//! Every seed, and everything that fuzzing found worth keeping, run once more.

use std::path::{Path, PathBuf};

use fuzz::{TARGETS, Target};

/// What is kept of a target, in the order of names.
fn kept(target: &Target) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    files.into_iter().map(|f| std::fs::read(f).expect("a file of the corpus")).collect()
}

#[test]
fn every_target_takes_its_seeds_and_its_corpus() {
    assert!(TARGETS.len() >= 16, "a target a codec and a machine");
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seed", target.name);
        for seed in seeds {
            (target.run)(&seed);
        }
        for bytes in kept(target) {
            (target.run)(&bytes);
        }
    }
}

#[test]
fn every_prefix_of_every_seed_is_taken_too() {
    for target in TARGETS.iter().filter(|t| !["shard", "casebook", "record"].contains(&t.name)) {
        for seed in (target.seeds)().iter().filter(|s| s.len() < 2000) {
            for cut in (0..seed.len()).step_by(7) {
                (target.run)(&seed[..cut]);
            }
        }
    }
}
