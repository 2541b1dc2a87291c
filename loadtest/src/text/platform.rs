//! WeChat, QQ, Weibo and a generic channel's client: their APIs as the gateway uses them, and webhooks as they send
//! them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use codecs::chat::{qq, wechat, weibo};
use codecs::webhook::Secret;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Happening;
use crate::clock::Clock;

/// A picture that every `media_id` stands for: a JPEG's first bytes are enough to be one.
pub const PICTURE: &[u8] = b"\xFF\xD8\xFF\xE0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xFF\xD9";
const TOKEN: &str = "platform-token";

#[derive(Clone)]
pub struct Platform {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    tell: mpsc::UnboundedSender<Happening>,
    tokens: AtomicU64,
}

impl Platform {
    /// Opens the platforms' APIs on the current runtime.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn open(
        listen: std::net::TcpListener,
        clock: Clock,
        tell: mpsc::UnboundedSender<Happening>,
    ) -> std::io::Result<Platform> {
        listen.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listen)?;
        let platform = Platform { shared: Arc::new(Shared { clock, tell, tokens: AtomicU64::new(0) }) };
        let router = Router::new()
            .route("/cgi-bin/stable_token", post(token))
            .route("/app/getAppAccessToken", post(token))
            .route("/cgi-bin/message/custom/send", post(wechat_send))
            .route("/cgi-bin/gettoken", get(wecom_token))
            .route("/cgi-bin/message/send", post(wecom_send))
            .route("/cgi-bin/media/get", get(picture))
            .route("/v2/users/{user}/messages", post(qq_send))
            .route("/v2/groups/{group}/messages", post(qq_send))
            .route("/qq/file.jpg", get(picture))
            .route("/2/messages/reply.json", post(weibo_send))
            .route("/2/mss/msget", get(picture))
            .route("/kiosk", post(kiosk_send))
            .with_state(platform.clone());
        tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(platform)
    }

    /// Tokens handed out: one is enough for everybody.
    pub fn tokens(&self) -> u64 {
        self.shared.tokens.load(Ordering::Relaxed)
    }

    fn line(&self, to: &str, text: &str) {
        let (to, text, at) = (to.to_owned(), text.to_owned(), self.shared.clock.now());
        let _ = self.shared.tell.send(Happening::Line { to, text, at });
    }
}

async fn token(State(p): State<Platform>) -> Response {
    p.shared.tokens.fetch_add(1, Ordering::Relaxed);
    axum::Json(json!({"access_token": TOKEN, "expires_in": 7200})).into_response()
}

async fn wechat_send(State(p): State<Platform>, Query(q): Query<HashMap<String, String>>, body: Bytes) -> Response {
    if q.get("access_token").is_none_or(|t| t != TOKEN) {
        return axum::Json(json!({"errcode": 40001})).into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    p.line(body["touser"].as_str().unwrap_or_default(), body["text"]["content"].as_str().unwrap_or_default());
    axum::Json(json!({"errcode": 0, "errmsg": "ok"})).into_response()
}

async fn wecom_token(state: State<Platform>, Query(q): Query<HashMap<String, String>>) -> Response {
    let named = ["corpid", "corpsecret"].iter().all(|k| q.get(*k).is_some_and(|v| !v.is_empty()));
    if named { token(state).await } else { axum::Json(json!({"errcode": 41004})).into_response() }
}

/// WeCom takes a line from one of its applications only.
async fn wecom_send(state: State<Platform>, query: Query<HashMap<String, String>>, body: Bytes) -> Response {
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    if sent["agentid"].as_u64().is_none() || sent["msgtype"] != "text" {
        return axum::Json(json!({"errcode": 40056})).into_response();
    }
    wechat_send(state, query, body).await
}

async fn qq_send(State(p): State<Platform>, Path(user): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let authorized = headers.get(header::AUTHORIZATION).is_some_and(|v| v.as_bytes().ends_with(TOKEN.as_bytes()));
    if !authorized {
        return axum::http::StatusCode::UNAUTHORIZED.into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    p.line(&user, body["content"].as_str().unwrap_or_default());
    axum::Json(json!({"id": "sent"})).into_response()
}

async fn weibo_send(State(p): State<Platform>, axum::Form(form): axum::Form<HashMap<String, String>>) -> Response {
    let data: Value = form.get("data").and_then(|d| serde_json::from_str(d).ok()).unwrap_or_default();
    p.line(form.get("receiver_id").map_or("", String::as_str), data["text"].as_str().unwrap_or_default());
    axum::Json(json!({"result": true})).into_response()
}

async fn kiosk_send(State(p): State<Platform>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    p.line(body["to"].as_str().unwrap_or_default(), body["text"].as_str().unwrap_or_default());
    axum::http::StatusCode::OK.into_response()
}

async fn picture() -> Response {
    ([(header::CONTENT_TYPE, "image/jpeg")], PICTURE).into_response()
}

/// A webhook as its platform sends it: path, headers, body.
pub struct Hook {
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// What a platform shares with the gateway.
pub struct Keys {
    pub wechat: wechat::Crypt,
    pub qq: qq::Key,
    pub weibo: String,
    pub generic: Secret,
}

impl Keys {
    /// A WeChat message in AES mode; `content` is the document's elements after `CreateTime`.
    pub fn wechat(&self, channel: &str, user: &str, id: u64, content: &str, wall_s: i64) -> Hook {
        let message = format!(
            "<xml><ToUserName><![CDATA[gh_110]]></ToUserName><FromUserName><![CDATA[{user}]]></FromUserName>\
             <CreateTime>{wall_s}</CreateTime>{content}<MsgId>{id}</MsgId></xml>"
        );
        let mut random = [b'0'; 16];
        random[..8].copy_from_slice(&id.to_be_bytes());
        let sealed = self.wechat.seal(message.as_bytes(), random);
        let (timestamp, nonce) = (wall_s.to_string(), id.to_string());
        let signature = self.wechat.signature(&timestamp, &nonce, &sealed);
        Hook {
            path: format!(
                "/hook/{channel}?timestamp={timestamp}&nonce={nonce}&encrypt_type=aes&msg_signature={signature}"
            ),
            headers: Vec::new(),
            body: format!(
                "<xml><ToUserName><![CDATA[gh_110]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>"
            ),
        }
    }

    pub fn wechat_text(&self, channel: &str, user: &str, id: u64, text: &str, wall_s: i64) -> Hook {
        let content = format!("<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{text}]]></Content>");
        self.wechat(channel, user, id, &content, wall_s)
    }

    pub fn qq(&self, channel: &str, user: &str, id: u64, text: &str, wall_s: i64) -> Hook {
        let d = json!({"id": format!("qq-{id}"), "author": {"user_openid": user}, "content": text});
        let body = json!({"id": format!("e{id}"), "op": 0, "t": "C2C_MESSAGE_CREATE", "d": d}).to_string();
        let timestamp = wall_s.to_string();
        let signature = self.qq.sign(&timestamp, body.as_bytes());
        Hook {
            path: format!("/hook/{channel}"),
            headers: vec![("X-Signature-Ed25519", signature), ("X-Signature-Timestamp", timestamp)],
            body,
        }
    }

    pub fn weibo(&self, channel: &str, user: &str, id: u64, text: &str, wall_s: i64) -> Hook {
        let (timestamp, nonce) = ((wall_s * 1000).to_string(), id.to_string());
        let signature = weibo::signature(&self.weibo, &timestamp, &nonce);
        let body = json!({
            "type": "text", "receiver_id": 110, "sender_id": user, "created_at": format!("{id}"), "text": text, "data": {}
        });
        Hook {
            path: format!("/hook/{channel}?timestamp={timestamp}&nonce={nonce}&signature={signature}"),
            headers: Vec::new(),
            body: body.to_string(),
        }
    }

    pub fn generic(&self, channel: &str, user: &str, id: u64, text: &str, wall_s: i64) -> Hook {
        let body = json!({"from": user, "text": text}).to_string();
        let name = format!("msg-{id}");
        let signature = self.generic.sign(&name, wall_s, body.as_bytes());
        Hook {
            path: format!("/hook/{channel}"),
            headers: vec![
                ("webhook-id", name),
                ("webhook-timestamp", wall_s.to_string()),
                ("webhook-signature", signature),
            ],
            body,
        }
    }
}

/// How long a platform waits before it sends a webhook again.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends webhooks over a kept connection.
pub struct Sender {
    gateway: SocketAddr,
    connection: Option<crate::http::Connection>,
}

impl Sender {
    pub fn new(gateway: SocketAddr) -> Sender {
        Sender { gateway, connection: None }
    }

    /// Status and body; an error when the gateway is not there.
    ///
    /// # Errors
    /// What the network said.
    pub async fn send(&mut self, hook: &Hook) -> std::io::Result<(u16, Vec<u8>)> {
        let exchange = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => crate::http::Connection::open(self.gateway).await?,
            };
            let answer = connection.request("POST", &hook.path, &hook.headers, hook.body.as_bytes()).await?;
            self.connection = Some(connection);
            Ok(answer)
        };
        tokio::time::timeout(HOOK_TIMEOUT, exchange).await.unwrap_or(Err(std::io::ErrorKind::TimedOut.into()))
    }
}
