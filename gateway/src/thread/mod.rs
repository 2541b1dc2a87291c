//! The threads: one a shard, the casebook's, the recorder's, the read model's, and the one that keeps house.

pub mod casebook;
pub mod house;
pub mod read_model;
pub mod recorder;
pub mod shard;
