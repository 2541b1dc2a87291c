//! How much of each cap is used, and an alarm once it is half of it.

use std::sync::atomic::{AtomicBool, Ordering};

/// One cap.
pub struct Limit {
    name: &'static str,
    most: usize,
    half: AtomicBool,
}

impl Limit {
    pub fn new(name: &'static str, most: usize) -> Limit {
        metrics::gauge!("gateway_limit_max", "limit" => name).set(most as f64);
        Limit { name, most, half: AtomicBool::new(false) }
    }

    /// So much is used now. Told once when half is reached, and again only after it has been well below.
    pub fn set(&self, used: usize) {
        metrics::gauge!("gateway_limit_used", "limit" => self.name).set(used as f64);
        if used * 2 >= self.most && !self.half.swap(true, Ordering::Relaxed) {
            tracing::warn!(limit = self.name, used, most = self.most, "GW-1101 half of a limit is used");
            metrics::counter!("gateway_limit_half_total", "limit" => self.name).increment(1);
        } else if used * 3 < self.most {
            self.half.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_comes_at_half_and_again_only_after_there_was_room() {
        let limit = Limit::new("test", 100);
        let rang = |used| {
            let before = limit.half.load(Ordering::Relaxed);
            limit.set(used);
            !before && limit.half.load(Ordering::Relaxed)
        };
        assert_eq!([49, 50, 60, 40, 55, 20, 50].map(rang), [false, true, false, false, false, false, true]);
    }
}
