//! The world from a seed: network, carrier, callers, call takers, officers, disk, downstream, crashes, in virtual time
//! around the very same switchboard.
//!
//! One seed, one history, to the byte. The checkers run all the time and once more at the end; `--break RULE` turns
//! one rule off, and the seeds must notice.

pub mod cast;
mod chance;
mod checkers;
mod clock;
mod disk;
mod downstream;
mod engine;
pub mod gateway;
mod outcome;
mod party;
pub mod phones;
mod rules;
mod strangers;
mod voice;
mod world;
pub mod writers;

pub use chance::Chance;
pub use disk::ModelDisk;
pub use outcome::Outcome;
pub use rules::Rule;
pub use world::{Shape, run};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_seeds_keep_every_promise() {
        let mut total = Outcome::default();
        for seed in 0..200 {
            let outcome = run(seed, Shape::default(), None);
            assert_eq!(outcome.violation, None, "cargo sim -- {seed}");
            total.add(&outcome);
        }
        assert!(total.unreached().is_empty(), "never reached: {:?}", total.unreached());
    }

    #[test]
    fn the_same_seed_is_the_same_history() {
        let (a, b) = (run(7, Shape::default(), None), run(7, Shape::default(), None));
        assert_eq!(a.fingerprint, b.fingerprint);
        assert_ne!(a.fingerprint, run(8, Shape::default(), None).fingerprint);
    }

    #[test]
    fn every_broken_rule_is_noticed() {
        for rule in Rule::ALL {
            let noticed = (0..200).any(|seed| run(seed, Shape::default(), Some(rule)).violation.is_some());
            assert!(noticed, "{} was not noticed", rule.name());
        }
    }
}
