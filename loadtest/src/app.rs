//! Apps: clients of the app protocol over WebSockets.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::api::Api;

/// What opens a socket, to a channel by its name.
pub(crate) fn request(gateway: SocketAddr, channel: &str, token: &str) -> anyhow::Result<Request> {
    let query = if channel.is_empty() { String::new() } else { format!("?channel={channel}") };
    let mut request = format!("ws://{gateway}/v1/app{query}").into_client_request()?;
    let protocols = HeaderValue::from_str(&format!("gw1, bearer.{token}"))?;
    request.headers_mut().insert("sec-websocket-protocol", protocols);
    Ok(request)
}

/// A token for a device without a log-in.
///
/// # Errors
/// When the gateway gives none.
pub fn device(gateway: SocketAddr) -> anyhow::Result<String> {
    let (status, body) = Api::new(gateway, "").request("POST", "/v1/device", "")?;
    ensure!(status == 200, "{status} {body}");
    let answer: Value = serde_json::from_str(&body)?;
    answer["token"].as_str().map(str::to_owned).context("a token")
}

/// One app, blocking.
pub struct App {
    socket: WebSocket<TcpStream>,
    said: u64,
    /// What the session is called, and the highest number of the gateway's.
    pub sid: String,
    pub heard: u64,
}

impl App {
    /// Connects and says hello; what the gateway answers is in `sid`. `resume`: a session, and how far it was heard.
    ///
    /// # Errors
    /// When the gateway does not take it.
    pub fn open(
        gateway: SocketAddr,
        channel: &str,
        token: &str,
        resume: Option<(&str, u64)>,
    ) -> anyhow::Result<(App, Value)> {
        let stream = TcpStream::connect(gateway)?;
        stream.set_nodelay(true)?;
        let request = request(gateway, channel, token)?;
        let (socket, _) = tungstenite::client(request, stream).map_err(|e| anyhow::anyhow!("{e}"))?;
        let mut app = App { socket, said: 0, sid: String::new(), heard: 0 };
        let resume = resume.map(|(sid, last_seq)| json!({"sid": sid, "last_seq": last_seq}));
        app.say(&json!({"v": 1, "t": "hello", "d": {"app": "loadtest", "ver": "1", "resume": resume}}))?;
        let welcome = app.hear(Duration::from_secs(5))?.context("a welcome")?;
        ensure!(welcome["t"] == "welcome", "{welcome}");
        app.sid = welcome["d"]["sid"].as_str().unwrap_or_default().to_owned();
        app.said = welcome["d"]["last_seq"].as_u64().unwrap_or_default();
        app.heard = resume
            .as_ref()
            .filter(|_| welcome["d"]["resumed"] == true)
            .map_or(0, |r| r["last_seq"].as_u64().unwrap_or_default());
        Ok((app, welcome))
    }

    /// # Errors
    /// What the socket said.
    pub fn say(&mut self, frame: &Value) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(frame.to_string()))?)
    }

    /// The next reliable frame of ours.
    ///
    /// # Errors
    /// What the socket said.
    pub fn report(&mut self, t: &str, id: &str, d: &Value) -> anyhow::Result<()> {
        self.said += 1;
        let seq = self.said;
        self.say(&json!({"v": 1, "t": t, "id": id, "seq": seq, "d": d}))
    }

    /// The next frame of the gateway's; none: nothing came.
    ///
    /// # Errors
    /// When the socket was closed: its code is in the text.
    pub fn hear(&mut self, within: Duration) -> anyhow::Result<Option<Value>> {
        self.socket.get_mut().set_read_timeout(Some(within.max(Duration::from_millis(1))))?;
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(text.as_str())?;
                    self.heard = self.heard.max(frame["seq"].as_u64().unwrap_or_default());
                    return Ok(Some(frame));
                }
                Ok(Message::Close(frame)) => bail!("closed {}", frame.map_or(0, |f| u16::from(f.code))),
                Ok(_) => {}
                Err(tungstenite::Error::Io(e))
                    if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) => bail!("{error}"),
            }
        }
    }

    /// The next frame of this type, for two seconds.
    ///
    /// # Errors
    /// When it does not come.
    pub fn expect(&mut self, t: &str) -> anyhow::Result<Value> {
        for _ in 0..100 {
            let frame = self.hear(Duration::from_secs(2))?.with_context(|| format!("no {t} within 2 s"))?;
            if frame["t"] == t {
                return Ok(frame);
            }
        }
        bail!("no {t} among a hundred frames")
    }

    /// Everything so far is here.
    ///
    /// # Errors
    /// What the socket said.
    pub fn acknowledge(&mut self) -> anyhow::Result<()> {
        let ack = self.heard;
        self.say(&json!({"v": 1, "t": "ack", "ack": ack}))
    }
}
