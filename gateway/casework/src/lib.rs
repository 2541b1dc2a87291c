//! Minutes to days: the alert, its number's record, its revisions, its warnings.
//!
//! Facts come in with the wall time at which they happened; sealed revisions in their envelopes come out. Knows
//! no leg and no socket: a seat is a name, an officer a number.

// Nothing that comes from outside may end a call: what can fail is a value, and each exception says why it cannot.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable, clippy::unwrap_used)
)]

mod alert;
mod calendar;
mod deadline;
mod fact;
mod fanout;
mod keyword;
mod similar;
mod suggest;

pub use alert::{
    Alerts, Apart, Fetch, Lost, NotTaken, NotWritten, Output, Say, Standing, goes_next, is_call_unfinished, is_late,
    is_theirs, is_written_to, proven_phone, unsent, untold_answer, writers,
};
pub use calendar::Calendar;
pub use deadline::is_call_up;
pub use fact::{
    Answer, Arrival, Belongings, CallFact, Case, DispatchFact, Fact, HandlingFact, IncidentFact, JoinFact, Message,
    Place, TextFact,
};
pub use fanout::{Matter, Planned, Rule, Rules, When};
pub use keyword::{Keyword, KeywordTable, Sounds, is_word};
pub use similar::{Candidate, Features, Reason, Similar};
pub use suggest::{Category, Clue, Suggestions, UnitFor};
