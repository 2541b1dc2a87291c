//! The hot functions, for the benches and for the instruction counts.

pub mod hot;
