//! What is told of the process, and what the kernel tells of it.

pub mod codes;
pub mod cores;
pub mod health;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod procfs;
pub mod tell;
