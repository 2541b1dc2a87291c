//! Conversations: who writes, to which alert their words belong, and which seat holds it.
//!
//! One thread a (channel, sender). A thread belongs to an alert; the alert's conversation is what a call taker holds.

mod assembly;
mod machine;
mod quota;
mod seen;
mod threads;
mod way;

pub use assembly::{Assembly, Joined, LongKey, Part};
pub use machine::{Conversations, FirstLine, Needs, News, NotHeld, Notice, Output, Report, Rules};
pub use quota::{Quota, QuotaRule};
pub use seen::{Known, Lately, Seen};
pub use threads::{Return, Thread, Threads};
pub use way::{Outlet, Unreached, Way};
