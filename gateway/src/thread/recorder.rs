//! The recorder's thread: chunks to the log, WAVs at a call's end, live taps on the way.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use codecs::audio::chunk::{Chunk, pieces};
use codecs::record::{AlertNo, Media};
use codecs::time::Mono;
use dashmap::DashMap;
use store::disk::Disk;
use store::recording::{Left, RecordingLog, recover};
use switchboard::track_name;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::inbox::casebook;
use crate::observe::health::Health;

pub enum Input {
    /// Of one tick, at most one a call.
    Chunks(Vec<(AlertNo, Chunk)>),
    /// Nothing of these will follow.
    Ended(Vec<(u64, AlertNo)>),
    Stop,
}

/// Octets of audio that may wait for a disk that is slow.
const WAITING_MAX: usize = 64 * 1024 * 1024;
pub const PART: &str = "recorder";

/// The recorder's inbox: bounded, so that a disk that hangs costs audio and never memory.
#[derive(Clone)]
pub struct Inbox {
    sender: Sender<Input>,
    waiting: Arc<AtomicUsize>,
}

impl Inbox {
    pub fn new(sender: Sender<Input>) -> Inbox {
        Inbox { sender, waiting: Arc::default() }
    }

    pub fn chunks(&self, chunks: Vec<(AlertNo, Chunk)>) {
        let octets: usize = chunks.iter().map(|(_, c)| c.bytes.len()).sum();
        if self.waiting.load(Ordering::Relaxed) + octets > WAITING_MAX {
            let lost = chunks.len() as u64;
            return metrics::counter!("gateway_recording_errors_total", "reason" => "slow").increment(lost);
        }
        self.waiting.fetch_add(octets, Ordering::Relaxed);
        let _ = self.sender.send(Input::Chunks(chunks));
    }

    pub fn ended(&self, ended: Vec<(u64, AlertNo)>) {
        let _ = self.sender.send(Input::Ended(ended));
    }

    pub fn stop(&self) {
        let _ = self.sender.send(Input::Stop);
    }
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
        for piece in pieces(chunk) {
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

/// What the thread works with.
pub struct Recording {
    pub disk: Arc<dyn Disk>,
    pub data: PathBuf,
    pub inbox: Receiver<Input>,
    pub waiting: Inbox,
    pub casebook: Sender<casebook::Input>,
    pub taps: Taps,
    pub health: Health,
    pub clock: Clock,
}

impl Recording {
    /// Until it is stopped. After a mistake of ours it begins with a fresh log; what the one before holds is cut as if
    /// the process had died.
    pub fn run(&self) {
        loop {
            let (log, left) = RecordingLog::open(Arc::clone(&self.disk), &self.data, track_name);
            self.recover(left);
            let serve = || serve(log, self);
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(serve)).is_ok() {
                return;
            }
            metrics::counter!("gateway_thread_restarts_total", "thread" => "recorder").increment(1);
            tracing::error!("GW-1004 the recorder has failed and begins anew");
        }
    }

    /// What a crash has left is cut beside the calls that are going on: by a thread of its own, for it may be much.
    fn recover(&self, left: Left) {
        if left.is_empty() {
            // What was interrupted without a recording is over all the same.
            let _ = self.casebook.send(casebook::Input::AllRecovered);
            return;
        }
        let (disk, data) = (Arc::clone(&self.disk), self.data.clone());
        let (casebook, health) = (self.casebook.clone(), self.health.clone());
        let work = move || {
            crate::observe::cores::step_back();
            let tell = |cut: store::recording::Cut| {
                let _ = casebook.send(casebook::Input::Recovered(cut.no, cut.media));
            };
            if let Err(error) = recover(&*disk, &data, track_name, &left, tell) {
                health.worse("recordings", "GW-3203", error.to_string());
                tracing::error!(%error, "GW-3203 interrupted recordings could not all be cut; the log keeps them");
            }
            let _ = casebook.send(casebook::Input::AllRecovered);
        };
        if std::thread::Builder::new().name("recovery".into()).spawn(work).is_err() {
            tracing::error!("GW-3203 no thread for interrupted recordings; the log keeps them");
        }
    }
}

fn serve(log: RecordingLog, with: &Recording) {
    let mut recorder = Recorder { log, with, failing: HashSet::new(), finished: Vec::new(), uncut: VecDeque::new() };
    loop {
        let first = match with.inbox.recv_timeout(AGAIN) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        recorder.cut_again();
        recorder.tell();
        let mut next = first;
        while let Some(input) = next.take() {
            if !recorder.take(input) {
                return recorder.tell();
            }
            next = with.inbox.try_recv().ok();
            if next.is_none() {
                recorder.tell();
                std::thread::park_timeout(NAP);
                next = with.inbox.try_recv().ok();
            }
        }
    }
}

struct Recorder<'a> {
    log: RecordingLog,
    with: &'a Recording,
    /// Calls whose last write failed: one alarm a call, not ten a second.
    failing: HashSet<u64>,
    /// What the casebook has not been told yet.
    finished: Vec<(AlertNo, Vec<Media>)>,
    uncut: VecDeque<Uncut>,
}

/// A call that has ended and whose audio lies in the log.
struct Uncut {
    key: u64,
    no: AlertNo,
    next: Mono,
    until: Mono,
}

/// Before a recording that could not be cut is tried again, and until when.
const AGAIN: Duration = Duration::from_secs(5);
const GIVEN_UP: Duration = Duration::from_secs(600);

impl Recorder<'_> {
    /// `false`: that was the last.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Chunks(chunks) => {
                let octets: usize = chunks.iter().map(|(_, c)| c.bytes.len()).sum();
                self.with.waiting.waiting.fetch_sub(octets, Ordering::Relaxed);
                self.write(&chunks);
            }
            Input::Ended(ended) => ended.into_iter().for_each(|(key, no)| self.end(key, no)),
            Input::Stop => return false,
        }
        true
    }

    fn write(&mut self, chunks: &[(AlertNo, Chunk)]) {
        for (no, chunk) in chunks {
            self.with.taps.feed(*no, &chunk.bytes);
        }
        match self.log.write(chunks) {
            Ok(()) => {
                if self.with.health.well(PART) {
                    self.failing.clear();
                    tracing::warn!("calls are being recorded again");
                }
                let keys: Vec<(AlertNo, u64)> = chunks.iter().map(|(no, c)| (*no, c.key)).collect();
                if let Err(error) = self.log.cut_parts(&keys) {
                    tracing::warn!(%error, "GW-3202 a long call could not be cut in parts yet; the log keeps it");
                }
            }
            Err(error) => {
                self.with.health.worse(PART, "GW-3201", error.to_string());
                for (no, chunk) in chunks {
                    metrics::counter!("gateway_recording_errors_total", "reason" => "write").increment(1);
                    if self.failing.insert(chunk.key) {
                        tracing::error!(alert = %no, %error, "GW-3201 recording is being lost; the call goes on");
                    }
                }
            }
        }
    }

    fn end(&mut self, key: u64, no: AlertNo) {
        self.with.taps.end(no);
        self.failing.remove(&key);
        match self.log.end(key, no) {
            Ok(cut) => self.finished.push((no, cut.media)),
            Err(error) => {
                metrics::counter!("gateway_recording_errors_total", "reason" => "cut").increment(1);
                tracing::error!(alert = %no, %error, "GW-3202 a recording could not be cut; the log keeps it, it is tried again");
                self.with.health.worse("recordings", "GW-3202", error.to_string());
                let now = self.with.clock.mono();
                self.uncut.push_back(Uncut { key, no, next: now + AGAIN, until: now + GIVEN_UP });
            }
        }
    }

    /// Recordings that could not be cut, once more.
    fn cut_again(&mut self) {
        let now = self.with.clock.mono();
        while let Some(first) = self.uncut.pop_front_if(|u| u.next <= now) {
            match self.log.end(first.key, first.no) {
                Ok(cut) => {
                    self.finished.push((first.no, cut.media));
                    if self.uncut.is_empty() {
                        self.with.health.well("recordings");
                    }
                }
                Err(_) if now < first.until => self.uncut.push_back(Uncut { next: now + AGAIN, ..first }),
                // The next start cuts it; the alert does not wait for that.
                Err(_) => self.finished.push((first.no, Vec::new())),
            }
        }
    }

    fn tell(&mut self) {
        if !self.log.is_in_place() {
            self.with.health.worse(PART, "GW-3204", "the recording log's file was removed");
            tracing::error!("GW-3204 the recording log's file was removed; it begins anew");
        }
        if !self.finished.is_empty() {
            let _ = self.with.casebook.send(casebook::Input::Recorded(std::mem::take(&mut self.finished)));
        }
        metrics::gauge!("gateway_recording_writers").set(self.log.live() as f64);
        metrics::gauge!("gateway_inbox_bytes", "inbox" => "recorder")
            .set(self.with.waiting.waiting.load(Ordering::Relaxed) as f64);
    }
}
