//! A downstream system: takes signed CloudEvents over HTTP, checks them, writes their bodies down.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use codecs::webhook::Secret;

/// What has come, in order: id and body.
#[derive(Clone, Default)]
pub struct Received(Arc<Mutex<Vec<(String, Bytes)>>>);

impl Received {
    /// Every body so far, repeats included.
    pub fn all(&self) -> Vec<(String, Bytes)> {
        self.0.lock().map(|all| all.clone()).unwrap_or_default()
    }
}

#[derive(Clone)]
struct Receiver {
    received: Received,
    secret: Secret,
    file: Arc<Mutex<std::fs::File>>,
}

/// A receiver on its own thread; bodies go to `file` as well.
///
/// # Errors
/// When the address or the file cannot be had.
pub fn start(address: SocketAddr, secret: Secret, file: &Path) -> anyhow::Result<(SocketAddr, Received)> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let received = Received::default();
    let state = Receiver { received: received.clone(), secret, file: Arc::new(Mutex::new(file)) };
    let router = Router::new().route("/", post(take)).with_state(state);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("receiver".into()).spawn(move || {
        runtime.block_on(async move {
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                let _ = axum::serve(listener, router).await;
            }
        });
    })?;
    Ok((bound, received))
}

async fn take(State(state): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (id, signature) = (text("webhook-id").to_owned(), text("webhook-signature"));
    let timestamp = text("webhook-timestamp").parse().unwrap_or_default();
    if !state.secret.verify(&id, timestamp, &body, signature) {
        return StatusCode::UNAUTHORIZED;
    }
    let written = state.file.lock().is_ok_and(|mut f| f.write_all(&[&body[..], b"\n"].concat()).is_ok());
    if !written {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    if let Ok(mut all) = state.received.0.lock() {
        all.push((id, body));
    }
    StatusCode::OK
}
