//! Call takers who answer in writing: each listens to its seat's events, thinks, and says a line.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::http::Connection;

#[derive(Clone)]
pub struct Settings {
    pub http: SocketAddr,
    pub token: String,
    pub seats: Vec<String>,
    /// Conversations that a taker answers at one time.
    pub threads: usize,
    pub think: Duration,
    /// What they say; `{text}` stands for the reporter's last line.
    pub say: String,
    /// The conversation is over with the first line.
    pub done: bool,
}

/// Counts of all takers together.
#[derive(Clone, Default)]
pub struct Counts {
    pub given: Arc<AtomicU64>,
    pub said: Arc<AtomicU64>,
    pub refused: Arc<AtomicU64>,
}

/// Puts the takers to work on the current runtime.
pub fn start(settings: &Settings) -> Counts {
    let counts = Counts::default();
    for seat in &settings.seats {
        tokio::spawn(sit(seat.clone(), settings.clone(), counts.clone()));
    }
    counts
}

fn authorization(token: &str) -> Vec<(&'static str, String)> {
    vec![("Authorization", format!("Bearer {token}"))]
}

/// One taker: reads events, hands conversations to as many pens as it has hands.
async fn sit(seat: String, settings: Settings, counts: Counts) {
    let (sender, work) = mpsc::unbounded_channel::<(String, String)>();
    tokio::spawn(write(seat.clone(), settings.clone(), counts.clone(), work));
    loop {
        let _ = listen(&seat, &settings, &counts, &sender).await;
        // The gateway was away: what is still held is told anew.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn listen(
    seat: &str,
    settings: &Settings,
    counts: &Counts,
    work: &mpsc::UnboundedSender<(String, String)>,
) -> std::io::Result<()> {
    let mut connection = Connection::open(settings.http).await?;
    connection.stream(&format!("/v1/seats/{seat}/events"), &authorization(&settings.token)).await?;
    let mut begun = HashSet::new();
    let mut text = Vec::new();
    while let Some(chunk) = connection.chunk().await? {
        text.extend(chunk);
        while let Some(end) = text.windows(2).position(|w| w == b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            let Some(data) = event.split(|b| *b == b'\n').find_map(|l| l.strip_prefix(b"data: ")) else { continue };
            let Ok(news) = serde_json::from_slice::<Value>(data) else { continue };
            let no = news["alert_no"].as_str().unwrap_or_default().to_owned();
            match news["what"].as_str() {
                Some("given") if news["answered"] != true && begun.insert(no.clone()) => {
                    counts.given.fetch_add(1, Ordering::Relaxed);
                    let lines = news["text"].as_array().map(Vec::as_slice).unwrap_or_default();
                    let last = lines.iter().rev().find(|l| l["dir"] == "in").map(|l| l["body"].to_string());
                    let _ = work.send((no, last.unwrap_or_default().trim_matches('"').to_owned()));
                }
                Some("taken_back" | "ended") => {
                    begun.remove(&no);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

async fn write(seat: String, settings: Settings, counts: Counts, mut work: mpsc::UnboundedReceiver<(String, String)>) {
    let hands = Arc::new(Semaphore::new(settings.threads));
    let (idle, mut kept) = mpsc::unbounded_channel::<Connection>();
    while let Some((no, text)) = work.recv().await {
        let Ok(hand) = Arc::clone(&hands).acquire_owned().await else { return };
        let connection = kept.try_recv().ok();
        let (seat, settings, counts, idle) = (seat.clone(), settings.clone(), counts.clone(), idle.clone());
        tokio::spawn(async move {
            tokio::time::sleep(settings.think).await;
            let path = format!("/v1/seats/{seat}/conversations/{no}/say");
            let body = json!({"body": settings.say.replace("{text}", &text), "done": settings.done}).to_string();
            let mut connection = connection;
            for _ in 0..3 {
                let open = match connection.take() {
                    Some(open) => Ok(open),
                    None => Connection::open(settings.http).await,
                };
                let Ok(mut open) = open else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                // A line that was taken and not answered is not said twice.
                let mut headers = authorization(&settings.token);
                headers.push(("Idempotency-Key", no.clone()));
                let answer = open.request("POST", &path, &headers, body.as_bytes()).await;
                if let Ok((status, _)) = answer {
                    let counter = if status == 200 { &counts.said } else { &counts.refused };
                    counter.fetch_add(1, Ordering::Relaxed);
                    let _ = idle.send(open);
                    break;
                }
            }
            drop(hand);
        });
    }
}
