//! The recorder's thread: chunks to the log, WAVs at a call's end, live taps on the way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use codecs::record::AlertNo;
use dashmap::DashMap;
use switchboard::{recording, track_name};
use tokio::sync::broadcast;

use crate::casebook_thread;
use crate::recording_log::RecordingLog;

pub enum Input {
    /// Of one tick, at most one a call.
    Chunks(Vec<(AlertNo, recording::Chunk)>),
    Ended {
        key: u64,
        no: AlertNo,
    },
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
        let no = no.to_string();
        self.0.retain(|(tapped, _), _| *tapped != no);
    }
}

pub fn run(mut log: RecordingLog, inbox: &Receiver<Input>, casebook: &Sender<casebook_thread::Input>, taps: &Taps) {
    // Whether the last write of a call failed: one alarm a call, not ten a second.
    let mut failing: HashMap<u64, ()> = HashMap::new();
    while let Ok(input) = inbox.recv() {
        match input {
            Input::Chunks(chunks) => {
                for (no, chunk) in &chunks {
                    taps.feed(*no, &chunk.bytes);
                }
                if let Err(error) = log.write(&chunks) {
                    for (no, chunk) in &chunks {
                        metrics::counter!("gateway_recording_errors_total", "reason" => "write").increment(1);
                        if failing.insert(chunk.key, ()).is_none() {
                            tracing::error!(alert = %no, %error, "GW-3201 recording is being lost; the call goes on");
                        }
                    }
                }
            }
            Input::Ended { key, no } => {
                taps.end(no);
                failing.remove(&key);
                let media = match log.end(key, no) {
                    Ok(cut) => cut.media,
                    Err(error) => {
                        metrics::counter!("gateway_recording_errors_total", "reason" => "cut").increment(1);
                        tracing::error!(alert = %no, %error, "GW-3202 the recording could not be cut; the log keeps it");
                        Vec::new()
                    }
                };
                let _ = casebook.send(casebook_thread::Input::Recorded { no, media });
            }
            Input::Stop => return,
        }
        metrics::gauge!("gateway_recording_writers").set(log.live() as f64);
    }
}
