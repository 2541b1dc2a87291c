//! Whom nothing more is told of an alert, as of now: a sink may be far behind what was decided since.

use std::sync::Arc;

use codecs::record::{AlertNo, AlertRecord};
use dashmap::DashMap;

/// The targets that are complained of, or below whoever is, by alert. Only takers' complaints come in here.
#[derive(Clone, Default)]
pub struct Withheld(Arc<DashMap<AlertNo, Vec<String>>>);

impl Withheld {
    /// An alert has a new revision.
    pub fn note(&self, record: &AlertRecord) {
        let targets: Vec<String> =
            record.fanout.iter().filter(|p| p.withheld.is_some()).map(|p| p.target.clone()).collect();
        if targets.is_empty() && self.0.is_empty() {
            return;
        }
        let Some(no) = AlertNo::parse(&record.id.alert_no) else { return };
        if targets.is_empty() {
            self.0.remove(&no);
        } else {
            self.0.insert(no, targets);
        }
    }

    /// Whether this target is told nothing more of this alert.
    pub fn has(&self, no: &str, target: &str) -> bool {
        let no = if self.0.is_empty() { None } else { AlertNo::parse(no) };
        no.and_then(|no| self.0.get(&no)).is_some_and(|targets| targets.iter().any(|t| t == target))
    }
}
