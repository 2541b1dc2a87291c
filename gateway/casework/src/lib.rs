//! Minutes to days: the alert, its number's record, its revisions, its warnings.
//!
//! Facts come in with the wall time at which they happened; sealed revisions in their envelopes come out. Knows
//! no leg and no socket: a seat is a name, an officer a number.

mod alert;
mod fact;
mod keyword;

pub use alert::{Alerts, Output};
pub use fact::{Arrival, Fact};
pub use keyword::{Keyword, KeywordTable};
