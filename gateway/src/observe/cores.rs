//! Which threads run on which cores, and who steps back when there are not enough: with `node.pin` a shard has a core of
//! its own and everybody else the rest.

use std::io;

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Cores that the calling thread may use, in order.
pub fn usable() -> Vec<usize> {
    sched_getaffinity(None).map_or(Vec::new(), |set| (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Keeps the calling thread, and whatever threads it starts later, on these cores.
///
/// # Errors
/// What the kernel says when it refuses.
pub fn stay_on(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().filter(|core| **core < CpuSet::MAX_CPU).for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}

/// How much nicer than the others threads are whose work can wait, and the nicest that there is.
const NICER: i32 = 10;
const NICEST: i32 = 19;

/// From here on whoever answers goes before the calling thread, as far as they want the same core. What it does comes
/// later under overload, not less.
pub fn step_back() {
    // On Linux nobody but the calling thread is meant, and stepping back is always allowed.
    let nicer = getpriority_process(None).map(|nice| (nice + NICER).min(NICEST));
    if let Err(error) = nicer.and_then(|nice| setpriority_process(None, nice)) {
        tracing::warn!(%error, "GW-1009 a thread could not step back behind the shards");
    }
}

/// The cores of each shard, and of everybody else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    pub shards: Vec<usize>,
    pub others: Vec<usize>,
}

impl Plan {
    /// The last cores are the shards', since the first serve most interrupts. `None` when not one would be left over.
    pub fn new(cores: &[usize], shards: usize) -> Option<Plan> {
        let (others, own) = cores.split_at_checked(cores.len().checked_sub(shards)?)?;
        (!others.is_empty()).then(|| Plan { shards: own.to_vec(), others: others.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_a_core_and_the_others_keep_at_least_one() {
        let plan = |shards| Plan::new(&[0, 1, 4, 5], shards);
        assert_eq!(plan(3), Some(Plan { shards: vec![1, 4, 5], others: vec![0] }));
        assert_eq!((plan(4), plan(9)), (None, None));
    }

    #[test]
    fn only_the_thread_that_steps_back_is_nicer() {
        let nice = || getpriority_process(None).expect("readable");
        let before = nice();
        let seen = std::thread::spawn(move || {
            step_back();
            nice()
        });
        assert_eq!((seen.join().expect("ends"), nice()), ((before + NICER).min(NICEST), before));
    }

    #[test]
    fn a_thread_stays_where_it_was_told_to() {
        let core = *usable().first().expect("a core");
        let seen = std::thread::spawn(move || {
            stay_on(&[core]).expect("allowed");
            usable()
        });
        assert_eq!(seen.join().expect("ends"), [core]);
    }
}
