//! What is not as it should be, by part: for /readyz, for the alarms, for whoever asks whether an answer can be trusted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// A part that has a complaint, and which.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Complaint>>>, Arc<Notify>);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    pub code: &'static str,
    pub what: String,
}

impl Health {
    /// The part does not do all that it should; calls go on. `true`: it did until now.
    pub fn worse(&self, part: &'static str, code: &'static str, what: impl Into<String>) -> bool {
        metrics::gauge!("gateway_degraded", "part" => part).set(1.0);
        let complaint = Complaint { code, what: what.into() };
        self.0.lock().is_ok_and(|mut all| all.insert(part, complaint).is_none())
    }

    /// All is well with it. `true`: it was not until now.
    pub fn well(&self, part: &'static str) -> bool {
        metrics::gauge!("gateway_degraded", "part" => part).set(0.0);
        let was = self.0.lock().is_ok_and(|mut all| all.remove(part).is_some());
        self.1.notify_waiters();
        was
    }

    /// Waits until the part has no complaint.
    pub async fn until_well(&self, part: &str) {
        loop {
            let changed = self.1.notified();
            if self.of(part).is_none() {
                return;
            }
            changed.await;
        }
    }

    pub fn of(&self, part: &str) -> Option<Complaint> {
        self.0.lock().ok()?.get(part).cloned()
    }

    /// A line each.
    pub fn text(&self) -> String {
        let line = |(part, c): (&&'static str, &Complaint)| format!("degraded: {part} {} {}\n", c.code, c.what);
        self.0.lock().map(|all| all.iter().map(line).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_a_part_goes_on_when_it_is_well_and_not_when_another_is() {
        let health = Health::default();
        health.until_well("recovery").await;
        health.worse("recovery", "GW-3107", "under way");
        let waiting = health.until_well("recovery");
        tokio::pin!(waiting);
        health.worse("journal", "GW-3101", "no space left");
        tokio::select! {
            biased;
            () = &mut waiting => panic!("it is not well"),
            () = async { health.well("journal"); } => {}
        }
        tokio::select! {
            biased;
            () = &mut waiting => panic!("it is not well"),
            () = async { health.well("recovery"); } => {}
        }
        waiting.await;
    }

    #[test]
    fn a_complaint_stands_until_its_part_is_well_again() {
        let health = Health::default();
        assert!(health.worse("journal", "GW-3101", "no space left"));
        assert!(!health.worse("journal", "GW-3101", "still none"), "told once");
        assert_eq!(health.text(), "degraded: journal GW-3101 still none\n");
        assert!(health.well("journal") && !health.well("journal"));
        assert_eq!((health.text(), health.of("journal")), (String::new(), None));
    }
}
