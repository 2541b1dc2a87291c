//! Apps over WebSockets against the binary: who gets in, what is kept, what comes back after a start.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use loadtest::app::{App, device};
use serde_json::{Value, json};

use crate::loopback::Gateway;
use crate::text::gateway;

const CHANNEL: &str = "[channel.app]\nkind = \"app\"\ngroup = \"default\"\n";
const SECOND: Duration = Duration::from_secs(1);

fn text(words: &str) -> Value {
    json!({ "text": words })
}

/// The answer's head and the first octets of what follows it.
fn raw(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(5 * SECOND)).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = vec![0; 4096];
    let got = stream.read(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..got]).into_owned();
    (answer[9..12].parse().expect("a status"), answer)
}

fn upgrade(token: &str, more: &str) -> String {
    format!(
        "GET /v1/app HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: gw1, bearer.{token}\r\n{more}\r\n"
    )
}

#[test]
fn an_app_reports_is_answered_and_after_a_kill_has_each_line_once() {
    let here = gateway("app", 12_900, CHANNEL);
    let token = device(here.http).expect("a token");
    let (mut app, _) = App::open(here.http, "", &token, None).expect("let in");
    app.report("report.create", "a1", &text("有人落水")).expect("said");
    let created = app.expect("report.created").expect("kept");
    assert_eq!((&created["re"], &created["ack"]), (&json!("a1"), &json!(1)));
    let no = created["d"]["report_id"].as_str().expect("a number").to_owned();
    app.report("chat.msg", "a2", &text("在桥下")).expect("said");
    assert_eq!(app.expect("ack").expect("kept")["ack"], 2);

    // A line for somebody who does not acknowledge it, and a kill.
    let mut api = here.api();
    let line = json!({"channel": "app", "to": "nobody", "body": "x"}).to_string();
    assert_eq!(
        api.request("POST", "/v1/outbound", &line).expect("asked").0,
        200,
        "a line to whoever is not there waits"
    );
    let dir = here.kill();
    let here = Gateway::run(dir);
    let (mut app, welcome) = App::open(here.http, "", &token, Some((&app.sid, app.heard))).expect("let in again");
    assert_eq!(welcome["d"]["resumed"], false, "another process");
    // The same frames under the same ids: nothing is reported twice.
    app.report("report.create", "a1", &text("有人落水")).expect("said");
    let receipt = app.expect("chat.msg").expect("the receipt was never acknowledged");
    assert_eq!(receipt["d"]["kind"], "message", "kept lines come as lines");
    assert_eq!(app.expect("report.created").expect("known")["d"]["report_id"], json!(no));
    app.report("chat.msg", "a2", &text("在桥下")).expect("said");
    assert_eq!(app.expect("ack").expect("known")["ack"], 2);
    let mut api = here.api();
    let record: Value =
        serde_json::from_str(&api.request("GET", &format!("/v1/alerts/{no}"), "").expect("asked").1).expect("JSON");
    let said = record["text"].as_array().expect("lines").iter().filter(|l| l["dir"] == "in").count();
    assert_eq!(said, 2, "{record}");
}

#[test]
fn an_app_that_was_away_has_all_that_it_is_owed_at_once_and_in_order() {
    let here = gateway("owed", 12_800, CHANNEL);
    let token = device(here.http).expect("a token");
    let (mut app, _) = App::open(here.http, "", &token, None).expect("let in");
    app.report("report.create", "a1", &text("有人落水")).expect("said");
    let no = app.expect("report.created").expect("kept")["d"]["report_id"].as_str().expect("a number").to_owned();
    let mut api = here.api();
    let record = api.request("GET", &format!("/v1/alerts/{no}"), "").expect("asked").1;
    let record: Value = serde_json::from_str(&record).expect("JSON");
    let user = record["reporter"]["channels"][0]["user"].as_str().expect("a user").to_owned();
    let (sid, heard) = (app.sid.clone(), app.heard);
    drop(app);
    let said: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    for line in &said {
        let line = json!({"channel": "app", "to": user, "body": line}).to_string();
        assert_eq!(api.request("POST", "/v1/outbound", &line).expect("asked").0, 200);
    }
    let (mut app, welcome) = App::open(here.http, "", &token, Some((&sid, heard))).expect("let in again");
    assert_eq!(welcome["d"]["resumed"], true);
    let told: Vec<String> = std::iter::from_fn(|| app.expect("chat.msg").ok())
        .filter_map(|frame| frame["d"]["text"].as_str().map(str::to_owned))
        .filter(|line| line.starts_with("line "))
        .take(said.len())
        .collect();
    assert_eq!(told, said);
}

#[test]
fn who_is_not_proven_is_not_let_in_and_who_is_rude_is_let_go_alone() {
    let here = gateway("app-rude", 13_300, CHANNEL);
    let token = device(here.http).expect("a token");
    let last = token.pop_bit();
    for wrong in ["", "x", &token[..token.len() - 1], &last, &format!("{token}0")] {
        assert_eq!(raw(here.http, &upgrade(wrong, "")).0, 401, "{wrong}");
    }
    let twice = format!("Sec-WebSocket-Protocol: bearer.{token}\r\n");
    assert_eq!(raw(here.http, &upgrade(&token, &twice)).0, 401, "two credentials");
    let plain = format!("GET /v1/app HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert_eq!(raw(here.http, &plain).0, 426, "no WebSocket");
    let other = plain.replace("/v1/app", "/v1/alerts");
    assert_eq!(raw(here.http, &other).0, 403, "a citizen reads no alerts");
    let elsewhere = upgrade(&token, "").replace("/v1/app", "/v1/app?channel=nothing");
    assert_eq!(raw(here.http, &elsewhere).0, 404);
    let (status, head) = raw(here.http, &upgrade(&token, ""));
    assert_eq!(status, 101);
    assert!(head.to_lowercase().contains("sec-websocket-protocol: gw1\r\n"), "the token is not told back: {head}");

    let honest = device(here.http).expect("a token");
    let (mut honest, _) = App::open(here.http, "", &honest, None).expect("let in");
    // Not masked, as a client's frames have to be; a frame beyond the limit; a frame that never ends; no text.
    let rude: [&[u8]; 4] =
        [b"\x81\x02{}", b"\x81\xff\x00\x00\x00\x00\x7f\xff\xff\xff\0\0\0\0", b"\x01\x80\0\0\0\0", b"\x82\x80\0\0\0\0"];
    for octets in rude {
        let mut stream = TcpStream::connect(here.http).expect("connected");
        stream.set_read_timeout(Some(3 * SECOND)).expect("set");
        stream.write_all(upgrade(&token, "").as_bytes()).expect("sent");
        let mut answer = [0; 1024];
        let got = stream.read(&mut answer).expect("an answer");
        assert!(answer[..got].starts_with(b"HTTP/1.1 101"));
        for _ in 0..3 {
            let _ = stream.write_all(octets);
        }
        honest.say(&json!({"v": 1, "t": "ping", "id": "p"})).expect("said");
        assert_eq!(honest.expect("pong").expect("nobody else notices")["re"], "p");
    }
    // Many who open and say nothing are closed, and whoever speaks is not.
    let (mut again, _) = App::open(here.http, "", &token, None).expect("let in after all that");
    let (_newest, _) = App::open(here.http, "", &token, None).expect("the same device by another connection");
    let closed =
        std::iter::from_fn(|| again.hear(SECOND).map(|_| ()).err().map(Err).or(Some(Ok(())))).find_map(Result::err);
    assert_eq!(closed.map(|e| e.to_string()).as_deref(), Some("closed 4009"));
    honest.report("report.create", "h1", &text("救命")).expect("said");
    honest.expect("report.created").expect("kept");
}

/// A request of a browser: its status, and the cookie that was set.
fn browser(here: &Gateway, method: &str, path: &str, more: &str, body: &str) -> (u16, String) {
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: gw.example\r\n{form}Content-Length: {length}\r\n{more}\r\n");
    let (status, answer) = raw(here.http, &format!("{head}{body}"));
    let cookie = answer.lines().find_map(|l| l.strip_prefix("set-cookie: "));
    (status, cookie.and_then(|c| c.split(';').next()).unwrap_or_default().to_owned())
}

#[test]
fn a_page_may_what_its_token_may_and_ends_with_it_or_with_its_log_out() {
    let here = gateway("pages", 13_700, CHANNEL);
    let data = here.dir.join("data");
    let own = "Origin: http://gw.example\r\n";
    let token = crate::roles::token(&data, &["--role", "seat", "--subject", "S01", "--area", "999999"]);
    let log_in = |token: &str, origin: &str| browser(&here, "POST", "/seat", origin, &format!("token={token}"));
    assert_eq!(log_in(&token, "").0, 403, "from nowhere");
    assert_eq!(log_in(&token, "Origin: http://evil.example\r\n").0, 403);
    let (status, cookie) = log_in(&token, own);
    assert!(status == 303 && cookie.starts_with("gw=gwd_"), "{status} {cookie}");
    let with = |cookie: &str| format!("Cookie: {cookie}\r\n");
    assert_eq!(browser(&here, "GET", "/seat", &with(&cookie), "").0, 200);
    // An alert elsewhere is none of theirs.
    let device = device(here.http).expect("a token");
    let (mut app, _) = App::open(here.http, "", &device, None).expect("let in");
    app.report("report.create", "a1", &text("救命")).expect("said");
    let no = app.expect("report.created").expect("kept")["d"]["report_id"].as_str().expect("a number").to_owned();
    assert_eq!(browser(&here, "GET", &format!("/v1/alerts/{no}"), &with(&cookie), "").0, 404);
    // Its own value begins no other, and a log-out from elsewhere is none.
    assert_eq!(log_in(cookie.trim_start_matches("gw="), own).0, 403);
    let leave =
        |origin: &str, cookie: &str| browser(&here, "POST", "/seat/leave", &format!("{origin}{}", with(cookie)), "").0;
    assert_eq!(leave("Origin: http://evil.example\r\n", &cookie), 403);
    assert_eq!(browser(&here, "GET", "/seat", &with(&cookie), "").0, 200, "still there");
    assert_eq!(leave(own, &cookie), 200);
    assert_eq!(browser(&here, "GET", "/seat", &with(&cookie), "").0, 401, "a cookie that was kept is worth nothing");
    // Another page of the same token ends with it.
    let (_, cookie) = log_in(&token, own);
    assert_eq!(browser(&here, "GET", "/seat", &with(&cookie), "").0, 200);
    let tokens = std::fs::read_to_string(data.join("tokens")).expect("tokens");
    let kept: Value = serde_json::from_str(tokens.lines().next().expect("one")).expect("JSON");
    let id = kept["id"].as_str().expect("an id");
    let revoke = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["token", "revoke", id, "--data"])
        .arg(&data)
        .output()
        .expect("ran");
    assert!(revoke.status.success(), "{revoke:?}");
    let ended = (0..50).any(|_| {
        std::thread::park_timeout(Duration::from_millis(100));
        browser(&here, "GET", "/seat", &with(&cookie), "").0 == 401
    });
    assert!(ended, "within five seconds");
}

#[test]
fn a_link_is_used_up_by_whoever_presses_its_button_and_by_nobody_who_only_fetches_it() {
    let here = gateway("link", 35_000, CHANNEL);
    let own = "Origin: http://gw.example\r\n";
    let (_, link) = here.api().request("POST", "/v1/links", "{\"seat\":\"S01\"}").expect("asked");
    let link: Value = serde_json::from_str(&link).expect("JSON");
    let url = link["url"].as_str().expect("a link");
    let key = url.split_once("key=").expect("a key").1;
    // A preview in a chat, a browser ahead of time, whoever looks whether it leads anywhere.
    for (method, more) in [("HEAD", ""), ("GET", ""), ("GET", "Sec-Purpose: prefetch;prerender\r\n"), ("GET", own)] {
        let (status, cookie) = browser(&here, method, url, more, "");
        assert!(status == 200 && cookie.is_empty(), "{method} {more}: {status} {cookie}");
    }
    let mut stream = TcpStream::connect(here.http).expect("connected");
    stream.set_read_timeout(Some(5 * SECOND)).expect("set");
    let look = format!("GET {url}&lang=en HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(look.as_bytes()).expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("an answer");
    for there in
        ["frame-ancestors 'none'", "no-store", "same-origin", &format!("value=\"{key}\""), "action=\"/seat?lang=en\""]
    {
        assert!(page.contains(there), "{there}: {page}");
    }
    let enter = |origin: &str| browser(&here, "POST", "/seat", origin, &format!("key={key}"));
    for foreign in ["", "Origin: null\r\n", "Origin: http://evil.example\r\n"] {
        assert_eq!(enter(foreign).0, 403, "{foreign}");
    }
    let (status, cookie) = enter(own);
    assert!(status == 303 && cookie.starts_with("gw=gwd_"), "{status} {cookie}");
    assert_eq!(browser(&here, "GET", "/seat", &format!("Cookie: {cookie}\r\n"), "").0, 200);
    assert_eq!((enter(own).0, browser(&here, "GET", url, "", "").0), (403, 403), "it is good once");
}

trait PopBit {
    fn pop_bit(&self) -> String;
}

impl PopBit for String {
    /// The same but for one bit at its end.
    fn pop_bit(&self) -> String {
        let mut bytes = self.clone().into_bytes();
        if let Some(last) = bytes.last_mut() {
            *last = if *last == b'0' { b'1' } else { b'0' };
        }
        String::from_utf8(bytes).expect("ASCII")
    }
}

#[test]
fn the_document_of_the_protocol_says_what_is_taken_and_told() {
    let document = include_str!("../../../docs/app-protocol.md");
    let frames: Vec<&str> = document.lines().filter(|l| l.starts_with("{\"v\":1")).collect();
    assert_eq!(frames.len(), 7);
    for frame in frames {
        codecs::chat::app::Frame::parse(frame).unwrap_or_else(|refused| panic!("{frame}: {refused:?}"));
    }
    for code in codecs::chat::app::Code::EACH {
        assert!(document.contains(&format!("`{}`", code.text())), "{}", code.text());
    }
    for close in [app::Close::Idle, app::Close::Replaced, app::Close::Rate] {
        assert!(document.contains(&format!("| {} |", close.code())), "{}", close.text());
    }
    let config = app::Config::default();
    let heartbeat = format!("twice `hb_ms` ({} s)", config.heartbeat.as_secs());
    let reached = format!("within {} s is told", config.reached_within.as_secs());
    assert!(document.contains(&heartbeat) && document.contains(&reached));
}
