//! What came of a world, and what all worlds together must have gone through.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What came of a world, or of many.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Outcome {
    pub violation: Option<String>,
    pub reached: BTreeMap<&'static str, u64>,
    pub worst_answer: Duration,
    pub fingerprint: u64,
}

/// Everything that the worlds together must have gone through.
const WANTED: [&str; 42] = [
    "report",
    "lost packet",
    "doubled packet",
    "crash",
    "sink refused",
    "answered by a seat",
    "answered by the attendant",
    "bridged",
    "abandoned",
    "breach",
    "triage",
    "acknowledged",
    "seat passed over",
    "written report",
    "message acknowledged",
    "message sent twice",
    "acknowledgement lost",
    "line to a writer",
    "conversation taken back",
    "officer not reached",
    "seat that was not heard",
    "seat that was late",
    "seat that dropped the call",
    "line that got nowhere",
    "disk that failed",
    "segment begun",
    "learned behind a router",
    "router that moved",
    "media clock set",
    "wall clock set",
    "stranger's message",
    "stranger answered",
    "stranger's voice dropped",
    "answered twice",
    "lying SDP",
    "registered just before the end",
    "registered after the end",
    "datagram too long for the path",
    "start on several nodes",
    "durable late",
    "engine fenced",
    "unreserved number",
];

impl Outcome {
    pub fn add(&mut self, other: &Outcome) {
        for (what, n) in &other.reached {
            *self.reached.entry(what).or_default() += n;
        }
        self.worst_answer = self.worst_answer.max(other.worst_answer);
    }
    pub fn unreached(&self) -> Vec<&'static str> {
        WANTED.into_iter().filter(|w| !self.reached.contains_key(w)).collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, n) in &self.reached {
            writeln!(f, "{n:>8}  {what}")?;
        }
        write!(f, "worst answer {:.3} s; every promise held", self.worst_answer.as_secs_f64())
    }
}
