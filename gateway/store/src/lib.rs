//! What is kept: the journal, the recording log, the read model, cursors, dead letters, files. It owns files and nothing
//! else: no socket, no clock, no thread; whoever calls it does so from a thread of their own.

pub mod dead_letters;
pub mod disk;
pub mod files;
pub mod follow;
pub mod journal;
pub mod lock;
pub mod read_model;
pub mod recording;
pub mod retention;
pub mod verify;
