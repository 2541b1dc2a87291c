//! The shell: one file a device, no decisions. Everything that decides lies below, in `switchboard` and under it.

pub mod assembly;
pub mod casebook_thread;
pub mod channel;
pub mod city;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cores;
pub mod demo;
pub mod http;
pub mod journal;
pub mod log;
pub mod metrics;
pub mod ports;
pub mod procfs;
pub mod prompts;
pub mod read_model;
pub mod recorder_thread;
pub mod recording_log;
pub mod run;
pub mod shard_thread;
pub mod shards;
pub mod sink;
pub mod streams;
pub mod udp;
pub mod verify;
