//! Written reports on real sockets: what is forged, replayed, malformed or a bomb is refused and counted, the link comes
//! back, and the next report is taken.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use codecs::chat::wechat::Crypt;
use codecs::sms::cmpp::{self, Pdu, Version};
use codecs::webhook::Secret;
use loadtest::api::Api;
use serde_json::Value;

use crate::loopback::Gateway;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) fn gateway(name: &str, rtp: u16, channels: &str) -> Gateway {
    let dir = Gateway::prepare(name, rtp);
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("the example");
    std::fs::write(&path, format!("{text}\n{channels}")).expect("written");
    Gateway::run(dir)
}

fn now() -> i64 {
    loadtest::clock::Clock::start().wall_s()
}

/// Sends a request by hand: the API's client signs nothing.
fn post(gateway: &Gateway, path: &str, headers: &[(&str, String)], body: &str) -> (u16, String) {
    post_to(gateway.http, path, headers, body)
}

fn post_to(address: SocketAddr, path: &str, headers: &[(&str, String)], body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).expect("writes");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map_or("", |(_, b)| b).to_owned())
}

fn signed(gateway: &Gateway, id: &str, at: i64, body: &str) -> (u16, Value) {
    signed_to(gateway.http, id, at, body)
}

/// A message of the kiosk's that is signed now.
pub(crate) fn signed_now(address: SocketAddr, id: &str, body: &str) -> (u16, Value) {
    signed_to(address, id, now(), body)
}

/// What signs a message of the kiosk's now.
pub(crate) fn signature_now(id: &str, body: &str) -> [(&'static str, String); 3] {
    let at = now();
    let signature = Secret::parse(SECRET).expect("a secret").sign(id, at, body.as_bytes());
    [("webhook-id", id.to_owned()), ("webhook-timestamp", at.to_string()), ("webhook-signature", signature)]
}

fn signed_to(address: SocketAddr, id: &str, at: i64, body: &str) -> (u16, Value) {
    signed_by(address, "kiosk", id, at, body)
}

/// A message of a channel that has the kiosk's secret.
pub(crate) fn signed_as(address: SocketAddr, channel: &str, id: &str, body: &str) -> (u16, Value) {
    signed_by(address, channel, id, now(), body)
}

fn signed_by(address: SocketAddr, channel: &str, id: &str, at: i64, body: &str) -> (u16, Value) {
    let signature = Secret::parse(SECRET).expect("a secret").sign(id, at, body.as_bytes());
    let headers =
        [("webhook-id", id.to_owned()), ("webhook-timestamp", at.to_string()), ("webhook-signature", signature)];
    let (status, body) = post_to(address, &format!("/hook/{channel}"), &headers, body);
    (status, serde_json::from_str(&body).unwrap_or_default())
}

fn alerts(api: &mut Api) -> Vec<Value> {
    let (_, body) = api.request("GET", "/v1/alerts", "").expect("an answer");
    let page: Value = serde_json::from_str(&body).expect("JSON");
    page["alerts"].as_array().cloned().unwrap_or_default()
}

/// Asks until the read model has come so far.
fn wait_for(api: &mut Api, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    for _ in 0..200 {
        let all = alerts(api);
        if wanted(&all) {
            return all;
        }
        std::thread::park_timeout(Duration::from_millis(25));
    }
    panic!("the alerts did not come: {:?}", alerts(api))
}

pub(crate) const KIOSK: &str = "[channel.kiosk]\nkind = \"http\"\ngroup = \"default\"\nrecord = \"kiosk\"\nsecret = { env = \"CHANNEL_SECRET\" }\n";

#[test]
fn a_channel_nobody_thought_of_is_a_configuration_entry_and_its_messages_count_once() {
    let gateway = gateway("kiosk", 12_000, KIOSK);
    let body = r#"{"from":"k1","text":"有人打架","location":{"lon":117.5,"lat":34.8}}"#;
    let (status, first) = signed(&gateway, "m1", now(), body);
    assert_eq!((status, first["alert_no"].as_str().map(str::len)), (200, Some(30)));
    let (status, again) = signed(&gateway, "m1", now(), body);
    assert_eq!((status, &again["alert_no"]), (200, &first["alert_no"]), "no second report, and the first one's answer");
    let (_, more) = signed(&gateway, "m2", now(), r#"{"from":"k1","text":"快来"}"#);
    assert_eq!(more["alert_no"], first["alert_no"], "a further word of the same sender");
    let (status, problem) = signed(&gateway, "m3", now(), r#"{"from":"k1"}"#);
    assert_eq!((status, problem["code"].as_str()), (422, Some("GW-4422")));
    let (status, _) = signed(&gateway, "m4", now() - 90_000, r#"{"from":"k1","text":"x"}"#);
    assert_eq!(status, 403, "replayed too late");
    let (status, late) = signed(&gateway, "m6", now() - 80_000, r#"{"from":"k6","text":"x"}"#);
    assert_eq!(status, 200, "a clock that is a day wrong loses nothing: {late}");
    // A number that two senders only claim makes them one person no more than the name of somebody else would.
    let claimed = |id: &str, from: &str| {
        let (status, body) =
            signed(&gateway, id, now(), &format!(r#"{{"from":"{from}","text":"x","phone":"13800138000"}}"#));
        assert_eq!(status, 200);
        body["alert_no"].clone()
    };
    assert_ne!(claimed("m7", "k7"), claimed("m8", "k8"));
    let headers = [
        ("webhook-id", "m5".to_owned()),
        ("webhook-timestamp", now().to_string()),
        ("webhook-signature", "v1,AAAA".to_owned()),
    ];
    let (status, forged) = post(&gateway, "/hook/kiosk", &headers, r#"{"from":"k1","text":"x"}"#);
    assert!(status == 403 && forged.contains("GW-4403"), "{status} {forged}");
    assert_eq!(post(&gateway, "/hook/nobody", &[], "").0, 404);
    assert_eq!(post(&gateway, "/hook/kiosk", &[], &"x".repeat(256 * 1024 + 1)).0, 413);
    let (_, more) =
        (post(&gateway, "/hook/kiosk", &[], "{}"), signed(&gateway, "m9", now(), r#"{"from":"k1","text":"快"}"#));
    assert_eq!(more.0, 200);
    let mut api = gateway.api();
    let written = |alert: &Value| alert["text"].as_array().map_or(0, |t| t.iter().filter(|l| l["dir"] == "in").count());
    let mut all = wait_for(&mut api, |all| all.len() == 4 && written(&all[0]) == 3);
    all.truncate(1);
    let ours: Vec<&str> = all[0]["text"]
        .as_array()
        .expect("lines")
        .iter()
        .filter(|l| l["dir"] == "in")
        .filter_map(|l| l["body"].as_str())
        .collect();
    assert_eq!(ours, ["有人打架", "快来", "快"]);
    assert_eq!(all[0]["source"]["channel"], "kiosk");
    let (_, metrics) = Api::new(gateway.admin, "").request("GET", "/metrics", "").expect("metrics");
    assert!(
        metrics.contains("gateway_hook_refused_total{channel=\"kiosk\",code=\"GW-4403\"} 3"),
        "refusals are counted"
    );
    assert!(metrics.contains("gateway_text_total{channel=\"kiosk\",what=\"duplicate\"} 1"));
}

#[test]
fn a_platform_message_is_taken_encrypted_only_and_a_bomb_is_refused() {
    let wechat = "[channel.wechat]\nkind = \"wechat\"\ngroup = \"default\"\naccount = \"wx1\"\nsecret = { env = \"CHANNEL_SECRET\" }\ntoken = { env = \"WECHAT_TOKEN\" }\naes_key = { env = \"WECHAT_KEY\" }\napi = \"http://127.0.0.1:9\"\n";
    let gateway = gateway("wechat", 12_500, wechat);
    let token = "police110token";
    let crypt = Crypt::new(token, "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "wx1").expect("a key");
    let send = |message: &str, at: i64| {
        let sealed = crypt.seal(message.as_bytes(), *b"0123456789abcdef");
        let signature = crypt.signature(&at.to_string(), "n", &sealed);
        let path = format!("/hook/wechat?timestamp={at}&nonce=n&encrypt_type=aes&msg_signature={signature}");
        post(&gateway, &path, &[], &format!("<xml><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>"))
    };
    let text =
        "<xml><FromUserName>o1</FromUserName><MsgType>text</MsgType><Content>救命</Content><MsgId>1</MsgId></xml>";
    assert_eq!(send(text, now()), (200, "success".into()));
    assert_eq!(send(text, now() - 90_000).0, 403);
    // A position that the platform tells by itself, of somebody who reports nothing.
    let ping = "<xml><FromUserName>o2</FromUserName><MsgType>event</MsgType><Event>LOCATION</Event><CreateTime>1</CreateTime><Latitude>34.8</Latitude><Longitude>117.5</Longitude><Precision>10</Precision></xml>";
    assert_eq!(send(ping, now()), (200, "success".into()));
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><xml><FromUserName>&a;</FromUserName><MsgType>text</MsgType></xml>";
    assert_eq!(send(bomb, now()).0, 400);
    // Who knows the address and the token's signature of a plain message cannot go round the encryption.
    let plain = codecs::chat::wechat::signature(token, &now().to_string(), "n");
    let path = format!("/hook/wechat?timestamp={}&nonce=n&signature={plain}", now());
    assert_eq!(post(&gateway, &path, &[], text).0, 403);
    let mut api = gateway.api();
    wait_for(&mut api, |all| all.len() == 1);
    // The ping came before this one, which is on record.
    assert_eq!(send(&text.replace("o1", "o3").replace("<MsgId>1", "<MsgId>3"), now()).0, 200);
    let all = wait_for(&mut api, |all| all.len() >= 2);
    assert_eq!(all.len(), 2, "{all:?}");
}

fn read_pdu(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).expect("a PDU");
    let mut rest = vec![0; u32::from_be_bytes(head) as usize - 4];
    stream.read_exact(&mut rest).expect("a whole PDU");
    [&head[..], &rest].concat()
}

fn log_in(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("the gateway dials");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let frame = read_pdu(&mut stream);
    let Ok((sequence, Pdu::Connect { authenticator, .. })) = cmpp::read(Version::V2, &frame) else { panic!("CONNECT") };
    let proof = cmpp::server_authenticator(&[0], &authenticator, "unit");
    let mut out = Vec::new();
    let resp = Pdu::ConnectResp { status: 0, authenticator: proof, version: 0x20 };
    cmpp::write(Version::V2, sequence, &resp, &mut out);
    stream.write_all(&out).expect("writes");
    stream
}

#[test]
fn a_carrier_that_sends_nonsense_is_hung_up_on_dialled_again_and_loses_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let channel = format!(
        "[channel.cmcc]\nkind = \"cmpp\"\ngroup = \"default\"\nconnect = \"{address}\"\naccount = \"901234\"\nsecret = {{ env = \"UNIT_SECRET\" }}\nnumber = \"12110\"\nredial_max = \"1s\"\nreceipt = \"\"\n"
    );
    let gateway = gateway("cmpp", 13_000, &channel);
    let mut stream = log_in(&listener);
    let deliver = |content, udhi, msg_id| {
        let deliver = cmpp::Deliver {
            msg_id,
            destination: b"12110",
            source: b"13800138000",
            udhi,
            content,
            ..Default::default()
        };
        let mut out = Vec::new();
        cmpp::write(Version::V2, 7, &Pdu::Deliver(deliver), &mut out);
        out
    };
    // A header that claims more than there is: taken as text. An unknown command: ignored. A torn DELIVER: result 1.
    stream.write_all(&deliver(b"\xC8help", true, 1)).expect("writes");
    let taken = read_pdu(&mut stream);
    assert_eq!(cmpp::read(Version::V2, &taken), Ok((7, Pdu::DeliverResp { msg_id: 1, result: 0 })));
    stream.write_all(&[0, 0, 0, 12, 0, 0, 0, 0x66, 0, 0, 0, 1]).expect("writes");
    stream.write_all(&[0, 0, 0, 20, 0, 0, 0, 5, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]).expect("writes");
    let refused = read_pdu(&mut stream);
    assert_eq!(cmpp::read(Version::V2, &refused), Ok((9, Pdu::DeliverResp { msg_id: 0, result: 1 })));
    stream.write_all(&[0xFF; 64]).expect("writes");
    assert_eq!(stream.read(&mut [0; 1]).expect("an end"), 0, "a length that cannot be ends the link");
    let mut stream = log_in(&listener);
    // Sent again on the new link, as a carrier does that saw no answer: acknowledged, one report.
    for bytes in [deliver(b"\xC8help", true, 1), deliver(b"next", false, 2)] {
        stream.write_all(&bytes).expect("writes");
        assert!(matches!(cmpp::read(Version::V2, &read_pdu(&mut stream)), Ok((7, Pdu::DeliverResp { result: 0, .. }))));
    }
    let mut api = gateway.api();
    let all = wait_for(&mut api, |all| all.len() == 1 && all[0]["text"].as_array().is_some_and(|t| t.len() == 2));
    assert_eq!(all[0]["text"][1]["body"], "next");
}

/// Takes one request, answers 200, returns its body.
fn receive(listener: &TcpListener) -> Value {
    serve(listener, "{}").1
}

#[test]
fn a_line_to_anybody_is_durable_sent_and_asked_for_by_name_and_silence_is_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let send = format!("send = \"http://{}/\"\nreceipt = \"\"\n", listener.local_addr().expect("bound"));
    let templates = "[template]\nwhere = \"您在哪里?\"\n";
    let gateway = gateway("outbound", 13_500, &format!("{KIOSK}{send}{templates}"));
    let mut api = gateway.api();
    let notice = r#"{"channel":"kiosk","to":"k9","template":"where","class":"notice"}"#;
    let (status, body) = api.request("POST", "/v1/outbound", notice).expect("an answer");
    let id = serde_json::from_str::<Value>(&body).expect("JSON")["id"].as_str().expect("a name").to_owned();
    assert_eq!(status, 200);
    let line = receive(&listener);
    assert_eq!((&line["to"], &line["type"], &line["text"]), (&"k9".into(), &"notice".into(), &"您在哪里?".into()));
    let mut state = Value::Null;
    for _ in 0..100 {
        let (_, body) = api.request("GET", &format!("/v1/outbound/{id}"), "").expect("an answer");
        state = serde_json::from_str::<Value>(&body).expect("JSON")["state"].clone();
        if state == "sent" {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(state, "sent");
    for (wrong, status) in [
        (r#"{"channel":"fax","to":"1","body":"x"}"#, 404),
        (r#"{"channel":"kiosk","to":"1"}"#, 422),
        (r#"{"channel":"kiosk","to":"1","template":"nowhere"}"#, 422),
        (r#"{"channel":"kiosk","to":"","body":"x"}"#, 422),
    ] {
        assert_eq!(api.request("POST", "/v1/outbound", wrong).expect("an answer").0, status, "{wrong}");
    }
    // Whoever says that an answer would endanger them is not written to, whoever asks.
    assert_eq!(signed(&gateway, "s1", now(), r#"{"from":"k2","text":"别回","silent":true}"#).0, 200);
    let (status, body) =
        api.request("POST", "/v1/outbound", r#"{"channel":"kiosk","to":"k2","body":"x"}"#).expect("an answer");
    assert!(status == 409 && body.contains("GW-4410"), "{status} {body}");
}

#[test]
fn a_line_that_its_channel_no_longer_allows_reaches_the_reporter_by_sms() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let cmcc = format!(
        "[channel.cmcc]\nkind = \"cmpp\"\ngroup = \"default\"\nconnect = \"{address}\"\naccount = \"901234\"\nsecret = {{ env = \"UNIT_SECRET\" }}\nnumber = \"12110\"\nredial_max = \"1s\"\n"
    );
    let gateway = gateway("fallback", 14_000, &format!("{KIOSK}replies = 0\nproves_phone = true\n{cmcc}"));
    let mut stream = log_in(&listener);
    let to_a_word = r#"{"channel":"cmcc","to":"前台","body":"x"}"#;
    assert_eq!(gateway.api().request("POST", "/v1/outbound", to_a_word).expect("an answer").0, 409, "no telephone");
    let body = r#"{"from":"k7","text":"车库着火","phone":"13800138007"}"#;
    assert_eq!(signed(&gateway, "f1", now(), body).0, 200);
    let submitted = read_pdu(&mut stream);
    let Ok((sequence, Pdu::Submit(submit))) = cmpp::read(Version::V2, &submitted) else { panic!("a SUBMIT") };
    assert_eq!((submit.destinations, submit.destination), (1, &b"13800138007"[..]));
    let mut out = Vec::new();
    cmpp::write(Version::V2, sequence, &Pdu::SubmitResp { msg_id: 1, result: 0 }, &mut out);
    stream.write_all(&out).expect("writes");
    let mut api = gateway.api();
    let all = wait_for(&mut api, |all| {
        all.len() == 1 && all[0]["text"].as_array().is_some_and(|t| t.iter().filter(|l| l["dir"] == "out").count() == 2)
    });
    let lines = all[0]["text"].as_array().expect("lines");
    assert_eq!((&lines[1]["channel"], &lines[1]["state"]), (&"kiosk".into(), &"failed".into()), "both attempts stand");
    assert_eq!((&lines[2]["channel"], &lines[2]["instead_of"]), (&"cmcc".into(), &lines[1]["ref"]));
    assert_eq!(lines[1]["body"], lines[2]["body"]);
    // Whoever must not be heard gets nothing by any channel.
    let silent = r#"{"from":"k8","text":"别出声","phone":"13800138008","silent":true}"#;
    assert_eq!(signed(&gateway, "f2", now(), silent).0, 200);
    let all = wait_for(&mut api, |all| all.len() == 2);
    let theirs = all.iter().find(|a| a["reporter"]["phone"] == "13800138008").expect("theirs");
    assert!(theirs["text"].as_array().expect("lines").iter().all(|l| l["dir"] == "in"));
}

/// Takes one request, answers with `json`; its request line and body.
fn serve(listener: &TcpListener, json: &str) -> (String, Value) {
    let (mut stream, _) = listener.accept().expect("the gateway asks");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0usize) {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{json}",
                    json.len()
                );
                stream.write_all(answer.as_bytes()).expect("writes");
                let line = head.lines().next().unwrap_or_default().to_owned();
                return (line, serde_json::from_str(body).unwrap_or_default());
            }
        }
        let len = stream.read(&mut buffer).expect("a request");
        assert!(len > 0, "the request is whole");
        bytes.extend_from_slice(&buffer[..len]);
    }
}

const WECHAT_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

#[test]
fn wecom_checks_our_address_encrypted_and_takes_lines_from_our_application() {
    let platform = TcpListener::bind("127.0.0.1:0").expect("a port");
    let api = platform.local_addr().expect("bound");
    let wecom = format!(
        "[channel.wecom]\nkind = \"wecom\"\ngroup = \"default\"\naccount = \"ww1\"\nagent = 110\nsecret = {{ env = \"CHANNEL_SECRET\" }}\ntoken = {{ env = \"WECHAT_TOKEN\" }}\naes_key = {{ env = \"WECHAT_KEY\" }}\napi = \"http://{api}\"\n"
    );
    let gateway = gateway("wecom", 14_500, &wecom);
    let crypt = Crypt::new("police110token", WECHAT_KEY, "ww1").expect("a key");
    let at = now();
    let echo = crypt.seal(b"1616140317555161061", *b"0123456789abcdef");
    let signature = crypt.signature(&at.to_string(), "n", &echo);
    let query = echo.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let check = |signature: &str| {
        let path = format!("/hook/wecom?msg_signature={signature}&timestamp={at}&nonce=n&echostr={query}");
        Api::new(gateway.http, "").request("GET", &path, "").expect("an answer")
    };
    assert_eq!(check(&signature), (200, "1616140317555161061".into()));
    assert_eq!(check(&"0".repeat(40)).0, 403);
    let message = "<xml><ToUserName>ww1</ToUserName><FromUserName>zhang</FromUserName><CreateTime>1</CreateTime><MsgType>text</MsgType><Content>巡逻遇袭</Content><MsgId>7</MsgId><AgentID>110</AgentID></xml>";
    let sealed = crypt.seal(message.as_bytes(), *b"0123456789abcdef");
    let signature = crypt.signature(&at.to_string(), "n", &sealed);
    let path = format!("/hook/wecom?msg_signature={signature}&timestamp={at}&nonce=n");
    let envelope =
        format!("<xml><ToUserName>ww1</ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt><AgentID>110</AgentID></xml>");
    assert_eq!(post(&gateway, &path, &[], &envelope).0, 200);
    let (asked, _) = serve(&platform, r#"{"errcode":0,"access_token":"T","expires_in":7200}"#);
    assert!(asked.starts_with("GET /cgi-bin/gettoken?corpid=ww1&corpsecret="), "{asked}");
    let (line, sent) = serve(&platform, r#"{"errcode":0}"#);
    assert!(line.starts_with("POST /cgi-bin/message/send?access_token=T"), "{line}");
    assert_eq!((&sent["touser"], &sent["agentid"]), (&"zhang".into(), &110.into()));
    let mut api = gateway.api();
    let sent = |all: &[Value]| all.len() == 1 && all[0]["text"][0]["body"] == "巡逻遇袭";
    wait_for(&mut api, sent);
}

#[test]
fn whoever_wrote_too_long_ago_gets_the_platforms_template_message() {
    let platform = TcpListener::bind("127.0.0.1:0").expect("a port");
    let api = platform.local_addr().expect("bound");
    let wechat = format!(
        "[channel.wechat]\nkind = \"wechat\"\ngroup = \"default\"\naccount = \"wx1\"\nsecret = {{ env = \"CHANNEL_SECRET\" }}\ntoken = {{ env = \"WECHAT_TOKEN\" }}\naes_key = {{ env = \"WECHAT_KEY\" }}\napi = \"http://{api}\"\nreceipt = \"\"\ntemplate = \"T-1\"\ntemplate_field = \"thing1\"\n"
    );
    let gateway = gateway("template", 17_000, &wechat);
    let mut api = gateway.api();
    let notice = r#"{"channel":"wechat","to":"oLongAgo","body":"您的证件已办好","class":"notice"}"#;
    assert_eq!(api.request("POST", "/v1/outbound", notice).expect("an answer").0, 200);
    serve(&platform, r#"{"errcode":0,"access_token":"T","expires_in":7200}"#);
    let (line, sent) = serve(&platform, r#"{"errcode":0}"#);
    assert!(line.starts_with("POST /cgi-bin/message/template/send?access_token=T"), "{line}");
    assert_eq!((&sent["template_id"], &sent["data"]["thing1"]["value"]), (&"T-1".into(), &"您的证件已办好".into()));
}

#[test]
fn one_sender_fills_no_disk_and_keeps_nobody_else_out() {
    let dir = Gateway::prepare("quota", 18_500);
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("the example");
    let text = text.replace("stored_a_day_mb = 256", "stored_a_day_mb = 1");
    std::fs::write(&path, format!("{text}\n{KIOSK}")).expect("written");
    let gateway = Gateway::run(dir);
    let long = "长".repeat(1500);
    let mut taken = 0;
    let refusal = (0..400).find_map(|n| {
        let body = format!(r#"{{"from":"k1","text":"{long}{n}"}}"#);
        let (status, said) = signed(&gateway, &format!("q{n}"), now(), &body);
        taken += u32::from(status == 200);
        (status != 200).then_some((status, said["code"].clone()))
    });
    assert_eq!(refusal, Some((429, "GW-4429".into())), "after {taken} were taken");
    assert!(taken > 5, "{taken}");
    assert_eq!(signed(&gateway, "other", now(), r#"{"from":"k2","text":"救命"}"#).0, 200);
}
