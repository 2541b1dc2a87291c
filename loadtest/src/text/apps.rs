//! Apps as a way in: each reports once and waits for its lines.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::Happening;
use crate::app::request;
use crate::clock::Clock;
use crate::http::Connection;

/// How long an app that waits for a line stays.
const STAYS: Duration = Duration::from_secs(60);

/// Many apps, each of which reports once and waits for its lines.
pub struct Apps {
    pub gateway: SocketAddr,
    pub clock: Clock,
    pub tell: mpsc::UnboundedSender<Happening>,
}

impl Apps {
    pub fn report(&self, id: u64, user: String, text: String) {
        let (gateway, clock, tell) = (self.gateway, self.clock, self.tell.clone());
        tokio::spawn(async move {
            for _ in 0..20 {
                if one(gateway, clock, &tell, (id, &user, &text)).await.is_ok() {
                    return;
                }
                let _ = tell.send(Happening::Refused { id, at: clock.now() });
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
    }
}

/// From the token to the last line.
async fn one(
    gateway: SocketAddr,
    clock: Clock,
    tell: &mpsc::UnboundedSender<Happening>,
    (id, user, text): (u64, &str, &str),
) -> anyhow::Result<()> {
    let (status, body) = Connection::open(gateway).await?.request("POST", "/v1/device", &[], b"").await?;
    ensure!(status == 200, "{status}");
    let token = serde_json::from_slice::<Value>(&body)?["token"].as_str().context("a token")?.to_owned();
    let stream = tokio::net::TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = tokio_tungstenite::client_async(request(gateway, "load-app", &token)?, stream).await?;
    let d = json!({"text": text});
    for frame in [
        json!({"v": 1, "t": "hello", "d": {"app": "loadtest", "ver": "1"}}),
        json!({"v": 1, "t": "report.create", "id": format!("m{id}"), "seq": 1, "d": d}),
    ] {
        socket.send(Message::text(frame.to_string())).await?;
    }
    let mut lines = 0;
    while let Ok(Some(message)) = tokio::time::timeout(STAYS, socket.next()).await {
        let Message::Text(frame) = message? else { continue };
        let frame: Value = serde_json::from_str(frame.as_str())?;
        let at = clock.now();
        match frame["t"].as_str().unwrap_or_default() {
            "report.created" => drop(tell.send(Happening::Acknowledged { id, at })),
            "chat.msg" => {
                let text = frame["d"]["text"].as_str().unwrap_or_default().to_owned();
                lines += 1;
                let _ = tell.send(Happening::Line { to: user.to_owned(), text, at });
            }
            "error" => bail!("{frame}"),
            _ => {}
        }
        if let Some(seq) = frame["seq"].as_u64() {
            socket.send(Message::text(json!({"v": 1, "t": "ack", "ack": seq}).to_string())).await?;
        }
    }
    ensure!(lines > 0, "no line");
    Ok(())
}
