//! Timer values (RFC 3261 17, table 4).

use std::time::Duration;

pub(crate) const T1: Duration = Duration::from_millis(500);
pub(crate) const T2: Duration = Duration::from_secs(4);
pub(crate) const T4: Duration = Duration::from_secs(5);
/// 64·T1: timers B, D, F, H, J, L, M.
pub(crate) const T1_64: Duration = Duration::from_secs(32);
