//! A run against what is written down: the list of missed goals, and the figures of the last table.
//!
//! What is written down has to agree with itself: a row is on the list when the table misses its goal, and only then. A
//! run then fails by ratio: whatever costs so much more than in the table has fallen back, whether its goal was met or
//! missed. Only a row that the table does not have is judged by its goal alone.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde_json::Value;

use crate::table::{Goal, OURS, Results, RowKind, median};

/// How many times dearer a row may be in one run on a busy machine before it has fallen back.
const FALLEN_BACK: f64 = 1.5;

/// A row that is worse than what is written down.
pub(crate) struct Fault {
    pub row: &'static str,
    pub text: String,
}

/// What docs and committed results say.
pub(crate) struct Written {
    listed: BTreeSet<String>,
    figures: BTreeMap<String, f64>,
    slowness: f64,
}

impl Written {
    /// From a page with lines `missed: ROW`, and from the object that an earlier run has written.
    ///
    /// # Errors
    /// When the object is none of ours.
    pub(crate) fn read(page: &str, table: &Value) -> anyhow::Result<Written> {
        let listed = page.lines().filter_map(|l| l.strip_prefix("missed: ")).map(|l| l.trim().to_owned()).collect();
        let slowness = table["slowness"].as_f64().context("the table says no slowness")?;
        let mut figures = BTreeMap::new();
        for row in table["rows"].as_array().context("the table has no rows")? {
            let runs: Vec<f64> = row["runs"][OURS].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            if let (Some(name), false) = (row["row"].as_str(), runs.is_empty()) {
                figures.insert(name.to_owned(), median(&runs));
            }
        }
        Ok(Written { listed, figures, slowness })
    }

    /// Where the list and the table of all these rows disagree; empty: nowhere.
    pub(crate) fn disagreements(&self, all: &[RowKind]) -> Vec<String> {
        let mut faults = Vec::new();
        for row in all {
            let Some(&then) = self.figures.get(row.name) else { continue };
            match (self.listed.contains(row.name), row.goal.is_none_or(|goal| goal.is_met(then))) {
                (true, true) => faults.push(format!("{}: on the list, and the table meets its goal", row.name)),
                (false, false) => faults.push(format!("{}: the table misses its goal, and it is not listed", row.name)),
                _ => {}
            }
        }
        let is_unknown = |listed: &&String| all.iter().all(|row| row.name != listed.as_str());
        faults.extend(self.listed.iter().filter(is_unknown).map(|l| format!("{l}: on the list, and no row")));
        faults
    }

    /// What is wrong with the rows of a run; empty: nothing.
    pub(crate) fn against(&self, rows: &[&RowKind], results: &Results, slowness: f64) -> Vec<Fault> {
        let fault = |row: &&RowKind| self.fault(row, results, slowness).map(|text| Fault { row: row.name, text });
        rows.iter().filter_map(fault).collect()
    }

    fn fault(&self, row: &RowKind, results: &Results, slowness: f64) -> Option<String> {
        let now = results.median(row.name, OURS)?;
        if let Some(&then) = self.figures.get(row.name) {
            let ratio = times_worse(row, (now, slowness), (then, self.slowness));
            return (ratio > FALLEN_BACK).then(|| format!("{}: fell back, {ratio:.2} times the table's", row.name));
        }
        match (self.listed.contains(row.name), row.goal.is_none_or(|goal| goal.is_met(now))) {
            (true, true) => Some(format!("{}: on the list and met; the table has no figure", row.name)),
            (false, false) => Some(format!("{}: missed and not on the list; the table has no figure", row.name)),
            _ => None,
        }
    }
}

/// As it is, or as on one machine where that is less: what is made of processor time is divided by how slow a datagram
/// was, which says nothing of disks and wake-ups.
fn times_worse(row: &RowKind, now: (f64, f64), then: (f64, f64)) -> f64 {
    let is_better_high = matches!(row.goal, Some(Goal::AtLeast(_)));
    let alike = |(value, slowness): (f64, f64)| match row.goal {
        _ if row.is_cpu => value / slowness,
        // So many on a core are so much processor time each.
        Some(Goal::AtLeast(_)) if row.name.ends_with("-a-core") => value * slowness,
        _ => value,
    };
    let ratio = |now: f64, then: f64| if is_better_high { then / now } else { now / then };
    ratio(now.0, then.0).min(ratio(alike(now), alike(then)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(name: &'static str, goal: Goal) -> RowKind {
        RowKind { name, what: "", unit: "", goal: Some(goal), is_cpu: true, is_wall: false }
    }

    /// The faults of a run in which `memory` (goal 48) and `answer` (goal 60) are these, against a table of those.
    fn faults(listed: &str, then: (f64, f64), now: (f64, f64), slowness: f64) -> Vec<String> {
        let table = json!({"slowness": 2.0, "rows": [
            {"row": "memory", "runs": {"gateway": [then.0]}},
            {"row": "answer", "runs": {"gateway": [then.1, then.1 * 3.0, then.1 / 2.0]}},
        ]});
        let mut results = Results::default();
        results.add("memory", OURS, now.0);
        results.add("answer", OURS, now.1);
        let rows = [row("memory", Goal::AtMost(48.0)), row("answer", Goal::AtMost(60.0))];
        let written = Written::read(listed, &table).expect("a table");
        let mut faults = written.disagreements(&rows);
        faults
            .extend(written.against(&rows.iter().collect::<Vec<_>>(), &results, slowness).into_iter().map(|f| f.text));
        faults
    }

    #[test]
    fn a_run_in_which_nothing_is_missed_passes_with_nothing_on_the_list() {
        assert!(faults("# Goals missed\n\nNone.\n", (44.0, 50.0), (44.0, 50.0), 2.0).is_empty());
    }

    #[test]
    fn a_missed_row_is_on_the_list_and_no_met_row_is() {
        assert!(faults("missed: answer\n", (44.0, 100.0), (44.0, 100.0), 2.0).is_empty());
        assert_eq!(faults("", (44.0, 100.0), (44.0, 100.0), 2.0).len(), 1, "missed and not on the list");
        let met = faults("missed: answer\nmissed: memory\n", (44.0, 100.0), (44.0, 100.0), 2.0);
        assert_eq!(met, ["memory: on the list, and the table meets its goal"]);
        assert_eq!(
            faults("missed: nonsense\n", (44.0, 50.0), (44.0, 50.0), 2.0),
            ["nonsense: on the list, and no row"]
        );
    }

    #[test]
    fn a_row_that_falls_back_fails_by_ratio_whether_it_was_met_or_missed() {
        assert!(faults("", (30.0, 50.0), (40.0, 55.0), 2.0).is_empty(), "noise is no fall");
        assert_eq!(faults("", (20.0, 50.0), (31.0, 50.0), 2.0).len(), 1, "though its goal is still met");
        assert_eq!(
            faults("missed: answer\n", (44.0, 100.0), (44.0, 160.0), 2.0).len(),
            1,
            "though it was missed before"
        );
        assert!(faults("", (20.0, 25.0), (40.0, 50.0), 4.0).is_empty(), "a machine twice as slow is no fall");
        assert!(
            faults("", (20.0, 25.0), (20.0, 25.0), 1.0).is_empty(),
            "nor is what a quicker machine does not speed up"
        );
    }

    #[test]
    fn what_the_table_does_not_have_is_judged_by_its_goal() {
        let rows = [row("start", Goal::AtMost(1.0))];
        let rows: Vec<&RowKind> = rows.iter().collect();
        let written = |listed| Written::read(listed, &json!({"slowness": 1.0, "rows": []})).expect("a table");
        let mut results = Results::default();
        results.add("start", OURS, 2.0);
        assert_eq!(written("").against(&rows, &results, 1.0).len(), 1);
        assert!(written("missed: start\n").against(&rows, &results, 1.0).is_empty());
    }

    #[test]
    fn more_on_a_core_is_better() {
        let kind = RowKind { is_cpu: false, ..row("three-way-a-core", Goal::AtLeast(1300.0)) };
        assert!(times_worse(&kind, (300.0, 2.0), (600.0, 2.0)) > FALLEN_BACK);
        assert!(times_worse(&kind, (300.0, 4.0), (600.0, 2.0)) < 1.01, "on a machine twice as slow");
        assert!(times_worse(&kind, (900.0, 2.0), (600.0, 2.0)) < 1.0);
    }
}
