//! The threads: one a shard, the casebook's, the recorder's, the read model's, and the one that keeps house.

pub mod casebook;
pub mod house;
pub mod opening;
pub mod read_model;
pub mod recorder;
pub mod shard;

/// Breaks the gateway on purpose, so that whoever watches it has something to notice: the demo has one, `run` never.
pub trait Saboteur: Send + Sync {
    /// What a shard is about to do, perhaps changed; `false`: it is not done.
    fn lets(&self, output: &mut switchboard::ShardOutput) -> bool;
    /// Whether audio leaves this media port.
    fn lets_audio(&self, port: u16) -> bool;
    /// Whether an event is delivered before it counts as delivered.
    fn lets_event(&self, body: &[u8]) -> bool;
}
