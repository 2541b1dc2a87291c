//! Timer values (RFC 3261 17, table 4).

use std::time::Duration;

pub const T1: Duration = Duration::from_millis(500);
pub const T2: Duration = Duration::from_secs(4);
pub const T4: Duration = Duration::from_secs(5);
/// 64·T1: timers B, D, F, H, J, L, M.
pub const T1_64: Duration = Duration::from_secs(32);
