//! The recorder's thread: chunks to the log, WAVs at a call's end, live taps on the way.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use codecs::record::{AlertNo, Media};
use dashmap::DashMap;
use switchboard::{recording, track_name};
use tokio::sync::broadcast;

use crate::casebook_thread;
use crate::recording_log::RecordingLog;

pub enum Input {
    /// Of one tick, at most one a call.
    Chunks(Vec<(AlertNo, recording::Chunk)>),
    /// Nothing of these will follow.
    Ended(Vec<(u64, AlertNo)>),
    Stop,
}

type Tap = broadcast::Sender<Arc<[u8]>>;

/// Live audio by alert and track: A-law, a tenth of a second at a time.
#[derive(Clone, Default)]
pub struct Taps(Arc<DashMap<(String, String), Tap>>);

impl Taps {
    pub fn listen(&self, no: &str, track: &str) -> broadcast::Receiver<Arc<[u8]>> {
        self.0.entry((no.to_owned(), track.to_owned())).or_insert_with(|| broadcast::channel(50).0).subscribe()
    }

    fn feed(&self, no: AlertNo, chunk: &[u8]) {
        if self.0.is_empty() {
            return;
        }
        for piece in recording::pieces(chunk) {
            let key = (no.to_string(), track_name(piece.track));
            if let Some(tap) = self.0.get(&key) {
                let _ = tap.send(piece.samples.into());
            }
        }
        self.0.retain(|_, tap| tap.receiver_count() > 0);
    }

    fn end(&self, no: AlertNo) {
        if self.0.is_empty() {
            return;
        }
        let no = no.to_string();
        self.0.retain(|(tapped, _), _| *tapped != no);
    }
}

/// Between two looks into the inbox while there is work: whoever hands something over has nobody to wake then. A
/// fortieth of what a `kill -9` may cost a recording.
const NAP: Duration = Duration::from_millis(5);

pub fn run(log: RecordingLog, inbox: &Receiver<Input>, casebook: &Sender<casebook_thread::Input>, taps: &Taps) {
    let mut recorder = Recorder { log, taps, failing: HashSet::new(), finished: Vec::new() };
    while let Ok(first) = inbox.recv() {
        let mut next = Some(first);
        while let Some(input) = next.take() {
            if !recorder.take(input) {
                return recorder.tell(casebook);
            }
            next = inbox.try_recv().ok();
            if next.is_none() {
                recorder.tell(casebook);
                std::thread::park_timeout(NAP);
                next = inbox.try_recv().ok();
            }
        }
    }
}

struct Recorder<'a> {
    log: RecordingLog,
    taps: &'a Taps,
    /// Calls whose last write failed: one alarm a call, not ten a second.
    failing: HashSet<u64>,
    /// What the casebook has not been told yet.
    finished: Vec<(AlertNo, Vec<Media>)>,
}

impl Recorder<'_> {
    /// `false`: that was the last.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Chunks(chunks) => self.write(&chunks),
            Input::Ended(ended) => ended.into_iter().for_each(|(key, no)| self.end(key, no)),
            Input::Stop => return false,
        }
        true
    }

    fn write(&mut self, chunks: &[(AlertNo, recording::Chunk)]) {
        for (no, chunk) in chunks {
            self.taps.feed(*no, &chunk.bytes);
        }
        if let Err(error) = self.log.write(chunks) {
            for (no, chunk) in chunks {
                metrics::counter!("gateway_recording_errors_total", "reason" => "write").increment(1);
                if self.failing.insert(chunk.key) {
                    tracing::error!(alert = %no, %error, "GW-3201 recording is being lost; the call goes on");
                }
            }
        }
    }

    fn end(&mut self, key: u64, no: AlertNo) {
        self.taps.end(no);
        self.failing.remove(&key);
        let media = match self.log.end(key, no) {
            Ok(cut) => cut.media,
            Err(error) => {
                metrics::counter!("gateway_recording_errors_total", "reason" => "cut").increment(1);
                tracing::error!(alert = %no, %error, "GW-3202 the recording could not be cut; the log keeps it");
                Vec::new()
            }
        };
        self.finished.push((no, media));
    }

    fn tell(&mut self, casebook: &Sender<casebook_thread::Input>) {
        if !self.finished.is_empty() {
            let _ = casebook.send(casebook_thread::Input::Recorded(std::mem::take(&mut self.finished)));
        }
        metrics::gauge!("gateway_recording_writers").set(self.log.live() as f64);
    }
}
