//! The shell: one file a device, no decisions. Everything that decides lies below, in `switchboard` and under it.

pub mod api;
pub mod ask;
pub mod assembly;
pub mod channel;
pub mod city;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod explain;
pub mod inbox;
pub mod net;
pub mod observe;
pub mod prompts;
pub mod run;
pub mod sink;
pub mod thread;
pub mod verify;
