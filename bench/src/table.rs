//! The table: rows, goals, what each contestant needed, ratios; as text and as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Which way a goal points.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Goal::AtMost(limit) => value <= limit,
            Goal::AtLeast(limit) => value >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Goal::AtMost(limit) => format!("≤ {}", number(limit)),
            Goal::AtLeast(limit) => format!("≥ {}", number(limit)),
        }
    }
}

pub(crate) struct RowKind {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    pub goal: Option<Goal>,
    /// Processor time: grows with the machine's slowness, so that it is also shown as on the goals' machine.
    pub is_cpu: bool,
    /// By the clock on the wall: left out by `--quick`.
    pub is_wall: bool,
}

pub(crate) const OURS: &str = "gateway";

/// All that was measured: values by row and contestant, in the order of the runs.
#[derive(Default)]
pub(crate) struct Results {
    values: BTreeMap<(String, String), Vec<f64>>,
    commands: BTreeMap<String, String>,
    missing: BTreeMap<String, String>,
    group: &'static str,
    groups: BTreeMap<String, &'static str>,
}

impl Results {
    /// What is added from here on is of this group.
    pub(crate) fn enter(&mut self, group: &'static str) {
        self.group = group;
    }

    /// The group that has filled a row.
    pub(crate) fn group(&self, row: &str) -> Option<&'static str> {
        self.groups.get(row).copied()
    }

    pub(crate) fn add(&mut self, row: &str, who: &str, value: f64) {
        self.groups.entry(row.into()).or_insert(self.group);
        self.values.entry((row.into(), who.into())).or_default().push(value);
    }

    pub(crate) fn command(&mut self, who: &str, command: String) {
        self.commands.insert(who.into(), command);
    }

    /// Why a contestant has no value.
    pub(crate) fn miss(&mut self, who: &str, why: String) {
        self.missing.insert(who.into(), why);
    }

    pub(crate) fn median(&self, row: &str, who: &str) -> Option<f64> {
        self.values.get(&(row.to_owned(), who.to_owned())).map(|v| median(v))
    }

    pub(crate) fn has(&self, row: &str) -> bool {
        self.of_row(row).next().is_some()
    }

    fn of_row<'a>(&'a self, row: &'a str) -> impl Iterator<Item = (&'a str, &'a [f64])> {
        self.values.iter().filter(move |((r, _), _)| r == row).map(|((_, who), v)| (who.as_str(), v.as_slice()))
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() == 1 {
        number(low)
    } else {
        format!("{} [{}–{}] n={}", number(median(values)), number(low), number(high), values.len())
    }
}

/// What no gateway goes below: rows of the same run.
const FLOORS: [(&str, &str); 3] =
    [("floor-datagram", "a datagram"), ("floor-wake", "a wake"), ("floor-sync", "a sync")];

/// A row of processor time of ours as a multiple of each floor that was measured.
fn in_floors(row: &RowKind, results: &Results) -> Vec<(&'static str, f64)> {
    let us = if row.unit.starts_with("ms") { 1000.0 } else { 1.0 };
    let ours = results.median(row.name, OURS).filter(|_| row.is_cpu);
    let of = |(floor, name): (&str, &'static str)| {
        let (_, values) = results.of_row(floor).next()?;
        let floor = Some(median(values)).filter(|floor| *floor > 0.0)?;
        Some((name, ours? * us / floor))
    };
    FLOORS.into_iter().filter_map(of).collect()
}

/// Prints the table; returns the names of goals that were missed, and rows of ours that are empty.
pub(crate) fn print(rows: &[&RowKind], results: &Results, slowness: f64) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut missed, mut empty) = (Vec::new(), Vec::new());
    println!(
        "\nThis machine takes {slowness:.2} times as long for a datagram as the one that the goals were set on.\n"
    );
    for row in rows {
        println!("{} ({})", row.what, row.unit);
        let ours = results.median(row.name, OURS);
        if ours.is_none() && row.goal.is_some() {
            empty.push(row.name);
        }
        for (who, values) in results.of_row(row.name) {
            let mut line = format!("    {who:<28} {}", spread(values));
            if who == OURS {
                if let Some(goal) = row.goal {
                    let met = goal.is_met(median(values));
                    line += &format!("   goal {}: {}", goal.text(), if met { "met" } else { "MISSED" });
                    if !met {
                        missed.push(row.name);
                    }
                }
                if row.is_cpu {
                    line += &format!("   (÷ {slowness:.2} = {})", number(median(values) / slowness));
                    for (floor, times) in in_floors(row, results) {
                        line += &format!("   {} × {floor}", number(times));
                    }
                }
            } else if let Some(ours) = ours.filter(|o| *o > 0.0) {
                line += &format!("   {} × the gateway's", number(median(values) / ours));
            }
            println!("{line}");
        }
    }
    for (who, why) in &results.missing {
        println!("    {who}: no value ({why})");
    }
    println!("\nCommands:");
    for (who, command) in &results.commands {
        println!("    {who}: {command}");
    }
    println!();
    for name in &missed {
        println!("missed: {name}");
    }
    (missed, empty)
}

pub(crate) fn to_json(rows: &[&RowKind], results: &Results, slowness: f64) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let values: BTreeMap<&str, &[f64]> = results.of_row(row.name).collect();
            let goal = row.goal.map(Goal::text);
            let floors: BTreeMap<&str, f64> = in_floors(row, results).into_iter().collect();
            json!({"row": row.name, "what": row.what, "unit": row.unit, "goal": goal, "runs": values, "floors": floors})
        })
        .collect();
    json!({"slowness": slowness, "rows": rows, "commands": results.commands, "missing": results.missing})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn processor_time_is_told_in_floors_of_the_same_run() {
        let cpu = |name, unit| RowKind { name, what: "", unit, goal: None, is_cpu: true, is_wall: false };
        let mut results = Results::default();
        results.add("floor-datagram", "bare sockets", 4.0);
        results.add("floor-sync", "bare file", 0.0);
        results.add("call", OURS, 100.0);
        results.add("talk", OURS, 1.0);
        assert_eq!(in_floors(&cpu("call", "µs CPU a call"), &results), [("a datagram", 25.0)]);
        assert_eq!(in_floors(&cpu("talk", "ms CPU a second"), &results), [("a datagram", 250.0)]);
        let size = RowKind { is_cpu: false, ..cpu("call", "KiB") };
        assert!(in_floors(&size, &results).is_empty());
    }

    #[test]
    fn a_goal_missed_or_without_a_value_is_named() {
        let row = |name, goal| RowKind { name, what: "", unit: "", goal: Some(goal), is_cpu: false, is_wall: false };
        let (a, b, c) = (row("a", Goal::AtMost(1.0)), row("b", Goal::AtLeast(1.0)), row("c", Goal::AtMost(1.0)));
        let mut results = Results::default();
        results.add("a", OURS, 2.0);
        results.add("b", OURS, 2.0);
        results.add("c", "somebody else", 2.0);
        assert_eq!(print(&[&a, &b, &c], &results, 1.0), (vec!["a"], vec!["c"]));
    }
}
