//! Lines out over the platforms' HTTP APIs, tokens, and files in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codecs::record::{AlertNo, LineState};
use codecs::time::Mono;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use quick_cache::unsync::Cache;
use serde_json::{Value, json};
use store::files;
use switchboard::{Fact, Fetch, Outbound, RequestId, TextFact, ToCasebook};
use tokio::sync::{Mutex, mpsc};

use super::{HttpDevice, Kind, QqDevice, Shared, Template, ToChannel, WechatApp, WechatDevice, WeiboDevice};

/// Messages of which QQ wants the replies counted; the rarest give way.
const REPLIES_MAX: usize = 100_000;

/// Lines to different people at one time; one person's lines keep their order.
const WORKERS: usize = 8;
const TRIES: u32 = 6;
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A token is renewed this long before it ends.
const TOKEN_SPARE: Duration = Duration::from_secs(300);

/// How an attempt ended.
enum Sent {
    Taken,
    /// Again, after a while.
    Later(String),
    /// Again at once, with another token.
    Token,
    Never(String),
}

pub(super) struct Web {
    name: String,
    kind: Arc<Kind>,
    rate: u32,
    media_hosts: Vec<String>,
    shared: Shared,
    token: Mutex<Option<(String, Mono)>>,
    /// `msg_seq` of QQ: counts the replies to one message.
    replies: std::sync::Mutex<Cache<String, u32>>,
}

impl Web {
    pub(super) fn new(name: &str, kind: Arc<Kind>, rate: u32, media_hosts: Vec<String>, shared: Shared) -> Web {
        Web {
            name: name.to_owned(),
            kind,
            rate,
            media_hosts,
            shared,
            token: Mutex::new(None),
            replies: std::sync::Mutex::new(Cache::new(REPLIES_MAX)),
        }
    }

    pub(super) async fn run(self, mut inbox: mpsc::UnboundedReceiver<ToChannel>) {
        let web = Arc::new(self);
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            let (sender, mut lines) = mpsc::unbounded_channel::<ToChannel>();
            let web = Arc::clone(&web);
            tokio::spawn(async move {
                while let Some(work) = lines.recv().await {
                    match work {
                        ToChannel::Outbound(outbound) => web.deliver(&outbound).await,
                        ToChannel::Fetch(fetch) => web.fetch(&fetch).await,
                        ToChannel::Acknowledge { .. }
                        | ToChannel::Approach { .. }
                        | ToChannel::Withdraw(_)
                        | ToChannel::Leave => {}
                    }
                }
            });
            workers.push(sender);
        }
        let mut pace = (web.rate > 0).then(|| tokio::time::interval(Duration::from_secs(1) / web.rate));
        while let Some(message) = inbox.recv().await {
            let key = match &message {
                ToChannel::Outbound(outbound) => outbound.to.user.as_bytes().to_vec(),
                ToChannel::Fetch(fetch) => fetch.vendor_id.as_bytes().to_vec(),
                ToChannel::Acknowledge { .. } | ToChannel::Approach { .. } | ToChannel::Withdraw(_) => continue,
                ToChannel::Leave => return,
            };
            if let (Some(pace), ToChannel::Outbound(_)) = (&mut pace, &message) {
                pace.tick().await;
            }
            let worker = crc32c::crc32c(&key) as usize % WORKERS;
            let _ = workers[worker].send(message);
        }
    }

    async fn deliver(&self, outbound: &Outbound) {
        let mut wait = WAIT_FIRST;
        for attempt in 1..=TRIES {
            if self.shared.withdrawn.has(&outbound.line) {
                return;
            }
            let why = match self.attempt(outbound).await {
                Sent::Taken => {
                    self.shared.taken(outbound);
                    return self.shared.line_state(&outbound.line, LineState::Sent, "");
                }
                Sent::Never(why) => {
                    tracing::warn!(channel = %self.name, why, "GW-2203 a line was refused by its platform");
                    return self.shared.line_state(&outbound.line, LineState::Failed, &why);
                }
                Sent::Token if attempt == 1 => {
                    *self.token.lock().await = None;
                    continue;
                }
                Sent::Token => "the platform refuses our token".to_owned(),
                Sent::Later(why) => why,
            };
            metrics::counter!("gateway_text_send_errors_total", "channel" => self.name.clone()).increment(1);
            if attempt == TRIES {
                return self.shared.line_state(&outbound.line, LineState::Failed, &why);
            }
            tokio::time::sleep(wait.mul_f64(0.5 + f64::from(crate::clock::random::<1>()[0]) / 512.0)).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    async fn attempt(&self, outbound: &Outbound) -> Sent {
        let result = match &*self.kind {
            Kind::Wechat(device) => self.to_wechat(device, outbound).await,
            Kind::Qq(device) => self.to_qq(device, outbound).await,
            Kind::Weibo(device) => self.to_weibo(device, outbound).await,
            Kind::Http(device) => self.to_http(device, outbound).await,
            Kind::Agency(device) => self.to_http(&device.http, outbound).await,
            Kind::Carrier(_) | Kind::Sip { .. } | Kind::App => Ok(Sent::Never("not a web channel".into())),
        };
        result.unwrap_or_else(Sent::Later)
    }

    /// One token for all workers: whoever finds none asks for it, the others wait for that one answer.
    async fn token(&self) -> Result<String, String> {
        let mut held = self.token.lock().await;
        let now = self.shared.clock.mono();
        if let Some((token, until)) = &*held
            && *until > now
        {
            return Ok(token.clone());
        }
        let answer = match &*self.kind {
            Kind::Wechat(d) if matches!(d.app, WechatApp::WeCom { .. }) => {
                let url = format!("{}/cgi-bin/gettoken?corpid={}&corpsecret={}", d.api, d.app_id, d.secret);
                self.shared.client.get_json(&url).await?
            }
            Kind::Wechat(d) => {
                let body = json!({"grant_type": "client_credential", "appid": d.app_id, "secret": d.secret});
                self.shared.client.post_json(&format!("{}/cgi-bin/stable_token", d.api), body.to_string()).await?.1
            }
            Kind::Qq(d) => {
                let body = json!({"appId": d.app_id, "clientSecret": d.secret});
                self.shared
                    .client
                    .post_json(&format!("{}/app/getAppAccessToken", d.token_api), body.to_string())
                    .await?
                    .1
            }
            _ => return Err("no tokens on this channel".into()),
        };
        let token = answer["access_token"].as_str().filter(|t| !t.is_empty());
        let token = token.ok_or_else(|| format!("no access_token (errcode {})", answer["errcode"]))?.to_owned();
        // QQ writes the number as text.
        let seconds = answer["expires_in"].as_u64().or_else(|| answer["expires_in"].as_str()?.parse().ok());
        let life =
            Duration::from_secs(seconds.unwrap_or(7200)).saturating_sub(TOKEN_SPARE).max(Duration::from_secs(30));
        metrics::counter!("gateway_token_renewals_total", "channel" => self.name.clone()).increment(1);
        *held = Some((token.clone(), now + life));
        Ok(token)
    }

    async fn to_wechat(&self, device: &WechatDevice, outbound: &Outbound) -> Result<Sent, String> {
        let token = self.token().await?;
        let text = json!({"content": outbound.body});
        let template = match &device.app {
            WechatApp::Account { template } => template.as_ref(),
            WechatApp::WeCom { .. } => None,
        };
        let custom = json!({"touser": outbound.to.user, "msgtype": "text", "text": text});
        let (path, body) = match (&device.app, template) {
            (WechatApp::WeCom { agent }, _) => {
                let to = &outbound.to.user;
                ("message/send", json!({"touser": to, "msgtype": "text", "agentid": agent, "text": text}))
            }
            (_, Some(template)) if outbound.templated => by_template(template, outbound),
            _ => ("message/custom/send", custom),
        };
        let ask = async |path: &str, body: Value| {
            let url = format!("{}/cgi-bin/{path}?access_token={token}", device.api);
            let (_, answer) = self.shared.client.post_json(&url, body.to_string()).await?;
            Ok::<Option<i64>, String>(answer["errcode"].as_i64())
        };
        let mut code = ask(path, body).await?;
        // The platform counts better than we do: what it did not see, or what other systems sent.
        if let (Some(REPLY_WINDOW | REPLY_COUNT), Some(template), false) = (code, template, outbound.templated) {
            let (path, body) = by_template(template, outbound);
            code = ask(path, body).await?;
        }
        Ok(match code {
            Some(0) => Sent::Taken,
            Some(40001 | 42001 | 40014) => Sent::Token,
            Some(-1) => Sent::Later("the platform is busy".into()),
            Some(code) => Sent::Never(format!("errcode {code}")),
            None => Sent::Later("not the platform's answer".into()),
        })
    }

    async fn to_qq(&self, device: &QqDevice, outbound: &Outbound) -> Result<Sent, String> {
        let token = self.token().await?;
        let sequence = {
            let mut replies = self.replies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let count = replies.get(&outbound.reply_to).copied().unwrap_or_default() + 1;
            replies.insert(outbound.reply_to.clone(), count);
            count
        };
        let path = match outbound.to.user.split_once('/') {
            Some((group, _)) => format!("/v2/groups/{group}/messages"),
            None => format!("/v2/users/{}/messages", outbound.to.user),
        };
        let body = json!({"content": outbound.body, "msg_type": 0, "msg_id": outbound.reply_to, "msg_seq": sequence})
            .to_string();
        let request = Request::post(format!("{}{path}", device.api))
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("QQBot {token}"))
            .body(Full::from(body))
            .map_err(|e| e.to_string())?;
        let (status, _) = self.shared.client.ask(request).await?;
        Ok(by_status(status))
    }

    async fn to_weibo(&self, device: &WeiboDevice, outbound: &Outbound) -> Result<Sent, String> {
        let data = json!({"text": outbound.body}).to_string();
        let body = format!(
            "access_token={}&type=text&data={}&receiver_id={}&save_sender_box=1",
            url_encode(&device.access_token),
            url_encode(&data),
            url_encode(&outbound.to.user)
        );
        let request = Request::post(format!("{}/2/messages/reply.json", device.api))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(body))
            .map_err(|e| e.to_string())?;
        let (status, _) = self.shared.client.ask(request).await?;
        Ok(by_status(status))
    }

    /// The generic channel: a Standard Webhook a line, named by the line.
    async fn to_http(&self, device: &HttpDevice, outbound: &Outbound) -> Result<Sent, String> {
        let Some(url) = &device.send else {
            return Ok(Sent::Never("the channel has no `send`".into()));
        };
        let body = json!({
            "type": if outbound.is_receipt { "receipt" } else if outbound.notice { "notice" } else { "message" },
            "id": outbound.line,
            "to": outbound.to.user,
            "text": outbound.body,
            "reply_to": outbound.reply_to,
            "alert_no": outbound.line.get(..30).filter(|no| AlertNo::parse(no).is_some()),
        })
        .to_string();
        let timestamp = self.shared.clock.wall().0 / 1_000_000_000;
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &outbound.line)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", device.secret.sign(&outbound.line, timestamp, body.as_bytes()))
            .body(Full::from(body))
            .map_err(|e| e.to_string())?;
        let (status, _) = self.shared.client.ask(request).await?;
        Ok(by_status(status))
    }

    async fn fetch(&self, wanted: &Fetch) {
        let mut last = String::new();
        for attempt in 0..3 {
            match self.file(wanted).await {
                Ok((bytes, kind)) => return self.fetched(wanted, bytes, kind).await,
                Err(why) => last = why,
            }
            tokio::time::sleep(WAIT_FIRST * 4u32.pow(attempt)).await;
        }
        tracing::warn!(channel = %self.name, why = last, "GW-2204 a file that came with a message could not be fetched");
        self.tell_fetched(wanted, files::Stored::default(), "", last);
    }

    async fn file(&self, wanted: &Fetch) -> Result<(Bytes, String), String> {
        let url = match &*self.kind {
            Kind::Wechat(d) => {
                let token = self.token().await?;
                format!("{}/cgi-bin/media/get?access_token={token}&media_id={}", d.api, url_encode(&wanted.vendor_id))
            }
            Kind::Weibo(d) => {
                let (token, fid) = (url_encode(&d.access_token), url_encode(&wanted.vendor_id));
                format!("{}/2/mss/msget?access_token={token}&fid={fid}", d.api)
            }
            // Their files are named by address: only from hosts that the configuration allows.
            Kind::Qq(_) | Kind::Http(_) | Kind::Agency(_) => self.allowed(&wanted.vendor_id)?,
            Kind::Carrier(_) | Kind::Sip { .. } | Kind::App => return Err("this channel carries no files".into()),
        };
        let (bytes, kind) = self.shared.client.get_file(&url).await?;
        if kind.starts_with("application/json") || kind.starts_with("text/") {
            let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            return Err(format!("the platform answered with errcode {}", answer["errcode"]));
        }
        Ok((bytes, kind))
    }

    fn allowed(&self, url: &str) -> Result<String, String> {
        let uri: hyper::Uri = url.parse().map_err(|_| "not an address".to_owned())?;
        let authority = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
        let known = self.media_hosts.contains(&authority);
        if known { Ok(url.to_owned()) } else { Err(format!("host {authority} is not in media_hosts")) }
    }

    /// The disk is waited for where it keeps nobody waiting.
    async fn fetched(&self, wanted: &Fetch, bytes: Bytes, kind: String) {
        let (disk, data, no) = (Arc::clone(&self.shared.disk), self.shared.data.clone(), wanted.no);
        let of = kind.clone();
        let stored = tokio::task::spawn_blocking(move || files::store(&*disk, &data, no, &bytes, &of)).await;
        match stored.map_err(std::io::Error::other).flatten() {
            Ok(stored) => self.tell_fetched(wanted, stored, &kind, String::new()),
            Err(error) => {
                tracing::error!(%error, "GW-3205 a fetched file cannot be stored");
                self.tell_fetched(wanted, files::Stored::default(), "", error.to_string());
            }
        }
    }

    fn tell_fetched(&self, wanted: &Fetch, stored: files::Stored, kind: &str, lost: String) {
        let files::Stored { uri, sha256, len } = stored;
        let vendor_id = wanted.vendor_id.clone();
        let fact = Fact::Text(TextFact::Fetched { vendor_id, uri, sha256, kind: kind.to_owned(), lost, stored: len });
        let at = self.shared.clock.wall();
        self.shared.tell(ToCasebook::Fact { no: wanted.no, at, fact, request: RequestId::default() });
    }
}

/// errcodes: more than 48 h since the user's last action; too many replies to it.
const REPLY_WINDOW: i64 = 45015;
const REPLY_COUNT: i64 = 45047;

fn by_template(template: &Template, outbound: &Outbound) -> (&'static str, Value) {
    let data = json!({&template.field: {"value": outbound.body}});
    ("message/template/send", json!({"touser": outbound.to.user, "template_id": template.id, "data": data}))
}

fn by_status(status: hyper::StatusCode) -> Sent {
    match status.as_u16() {
        200..300 => Sent::Taken,
        401 => Sent::Token,
        408 | 425 | 429 | 500.. => Sent::Later(format!("HTTP {}", status.as_u16())),
        other => Sent::Never(format!("HTTP {other}")),
    }
}

/// As in a form: a space is a plus.
fn url_encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_reserved_is_encoded() {
        assert_eq!(super::url_encode("a-b 中&"), "a-b+%E4%B8%AD%26");
    }
}
