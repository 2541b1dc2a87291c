//! Minutes to days: the alert, its number's record, its revisions, its warnings.
//!
//! Facts come in with the wall time at which they happened; sealed revisions in their envelopes come out. Knows
//! no leg and no socket: a seat is a name, an officer a number.

mod alert;
mod fact;
mod keyword;

pub use alert::{Alerts, Fetch, Output, Say, is_call_unfinished};
pub use fact::{Arrival, Belongings, Fact, Message, Place};
pub use keyword::{Keyword, KeywordTable};
