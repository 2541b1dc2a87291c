//! What the casebook is told, what it answers to whom, and how far the journal is durable.

use std::sync::Arc;

use codecs::record::{AlertNo, Media};
use dashmap::DashMap;
use switchboard::{Reply, RequestId, ToCasebook};
use tokio::sync::{oneshot, watch};

/// The journal is being taken up, as readiness calls it.
pub const RECOVERY: &str = "recovery";

pub enum Input {
    Message(ToCasebook),
    /// What came of one read.
    Messages(Vec<ToCasebook>),
    Recorded(Vec<(AlertNo, Vec<Media>)>),
    /// What a crash had left in the recording log, call by call; and the end of it.
    Recovered(AlertNo, Vec<Media>),
    AllRecovered,
    /// Sync and end.
    Stop,
}

/// How an API request ended: the desk's or casebook's word, or the store's failure.
#[derive(Clone, Debug)]
pub enum Answer {
    Reply(Reply),
    /// Carried out on the call, but not on disk.
    NotDurable,
}

/// Requests that wait, by number. Shared by HTTP, the shard's thread and this one.
#[derive(Clone, Default)]
pub struct Waiting(Arc<DashMap<u64, oneshot::Sender<Answer>>>);

impl Waiting {
    pub fn wait(&self, request: RequestId) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.0.insert(request.0, sender);
        receiver
    }
    pub fn answer(&self, request: RequestId, answer: Answer) {
        if let Some((_, sender)) = self.0.remove(&request.0) {
            let _ = sender.send(answer);
        }
    }
    pub fn forget(&self, request: RequestId) {
        self.0.remove(&request.0);
    }
    /// Of everything that waits now.
    pub fn numbers(&self) -> Vec<u64> {
        self.0.iter().map(|waits| *waits.key()).collect()
    }
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// How far the journal is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// The last frame that was there when it was opened; none: it could not be opened yet.
    pub head: Option<u64>,
    /// The last durable frame.
    pub last: u64,
}

impl Reached {
    /// Resolves when nothing will ever become durable any more.
    pub async fn end(durable: &mut watch::Receiver<Reached>) {
        while durable.changed().await.is_ok() {}
    }

    /// Waits for the journal to be opened; none when it never will be.
    pub async fn head(reached: &mut watch::Receiver<Reached>) -> Option<u64> {
        reached.wait_for(|r| r.head.is_some()).await.ok()?.head
    }
}
