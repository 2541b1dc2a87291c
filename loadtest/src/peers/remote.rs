//! Another thread's way to the peers.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use super::Peers;

pub(super) type Command = Box<dyn FnOnce(&mut Peers) + Send>;

/// Runs work on the peers' thread.
#[derive(Clone)]
pub struct Remote {
    pub(super) commands: Sender<Command>,
    pub(super) waker: Arc<mio::Waker>,
}

impl Remote {
    /// Runs `work` on the peers' thread and waits for what it returns; `None` when they are gone.
    pub fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut Peers) -> T + Send + 'static) -> Option<T> {
        let (reply, answer) = channel();
        let command = Box::new(move |peers: &mut Peers| {
            let _ = reply.send(work(peers));
        });
        self.commands.send(command).ok()?;
        self.waker.wake().ok()?;
        answer.recv().ok()
    }
}
