//! The script's written reports: a long SMS, a WeChat picture and location that become one alert with it, QQ, Weibo,
//! and somebody who must not be heard.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use codecs::geo::{Point, distance_m};
use codecs::record::{CloudEvent, Direction};
use loadtest::app::{App, device};
use loadtest::receiver::Received;
use loadtest::text::platform::PICTURE;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::checks;
use super::script::{Ledger, Stage};
use super::text::Writers;

const SECOND: Duration = Duration::from_secs(1);
const RECEIPT: &str = "【110】";
const HUMAN: &str = "座席:";
const WRITER: &str = "13800008888";
const SILENT: &str = "13700007777";
const WECHAT: &str = "oDemoWriter";
const QQ: &str = "QQDEMO01";
const WEIBO: &str = "2489518277";
/// Three parts of seventy characters at most.
const PARTS: [&str; 3] = ["城东路八号二楼有人打架，", "至少五个人，其中一个受伤流血，", "请快派人来。"];
/// GCJ-02, as WeChat says it, and the same place as satellites do.
const SHARED: Point = Point { lon: 117.566_159, lat: 34.814_475 };
const TRUE: Point = Point { lon: 117.560_5, lat: 34.815_5 };

/// Plays the scene; returns the numbers of its alerts.
pub(super) fn play(
    stage: &mut Stage,
    ledger: &mut Ledger<'_>,
    received: &Received,
    w: &mut Writers,
) -> anyhow::Result<Vec<String>> {
    let sms = long_message(ledger, received, w)?;
    let wechat = picture_and_place(stage, ledger, received, w, &sms)?;
    let mut all = vec![sms, wechat];
    all.extend(qq_and_weibo(ledger, received, w));
    all.extend(app(ledger, w));
    all.push(silent(ledger, received, w));
    for number in &all {
        end(stage, received, number);
    }
    Ok(all)
}

/// The latest event of the alert that this user wrote to, once `wanted` holds.
fn find(
    received: &Received,
    user: &str,
    patience: Duration,
    wanted: impl Fn(&CloudEvent) -> bool,
) -> Option<CloudEvent> {
    let mut left = patience;
    loop {
        let all = checks::by_alert(&received.all()).unwrap_or_default();
        let latest = all.values().filter_map(|events| events.last());
        let mine = |e: &&CloudEvent| e.data.reporter.channels.iter().any(|a| a.user == user) && wanted(e);
        if let Some(event) = latest.filter(|e| !e.data.id.related.iter().any(is_duplicate)).find(mine) {
            return Some(event.clone());
        }
        if left.is_zero() {
            return None;
        }
        let step = Duration::from_millis(20);
        std::thread::park_timeout(step);
        left = left.saturating_sub(step);
    }
}

fn is_duplicate(related: &codecs::record::Related) -> bool {
    related.kind == codecs::record::Relation::Duplicate
}

fn long_message(ledger: &mut Ledger<'_>, received: &Received, w: &mut Writers) -> anyhow::Result<String> {
    ledger.say("✉ 短信 13800008888 → 12110，三段，乱序，一段重复 (CMPP)");
    let begun = w.now();
    w.sms(WRITER, &PARTS, &[2, 3, 2, 1]);
    let receipt = w.line(WRITER, RECEIPT, SECOND * 2);
    let after = receipt.as_ref().map(|(_, at)| *at - begun);
    let event = find(received, WRITER, SECOND * 2, |e| e.data.text.iter().any(|l| l.body == PARTS.concat()));
    let number = event.as_ref().map(|e| e.subject.clone()).unwrap_or_default();
    let named = receipt.as_ref().is_some_and(|(text, _)| !number.is_empty() && text.contains(&number[21..]));
    let once = event.as_ref().is_some_and(|e| e.data.text.iter().filter(|l| l.dir == Some(Direction::In)).count() == 1);
    ledger.check("sms", &format!("三段合为一条，编号 …{}", number.get(21..).unwrap_or("-")), once);
    let quick = after.is_some_and(|a| a <= SECOND / 2);
    ledger.check("receipt", &format!("回执短信含编号，{}", super::script::seconds(after)), named && quick);
    let human = w.line(WRITER, HUMAN, SECOND * 3).map(|(_, at)| at - begun);
    let text = format!("接警员首条回复 {}", super::script::seconds(human));
    ledger.check("text-answer", &text, human.is_some_and(|a| a <= SECOND * 3));
    Ok(number)
}

/// The same person, elsewhere: the call taker joins the two.
fn picture_and_place(
    stage: &mut Stage,
    ledger: &mut Ledger<'_>,
    received: &Received,
    w: &mut Writers,
    sms: &str,
) -> anyhow::Result<String> {
    ledger.say("✉ 微信 同一群众：图片、位置 (AES 模式)");
    let picture = "<MsgType><![CDATA[image]]></MsgType><PicUrl><![CDATA[http://mmbiz/1]]></PicUrl><MediaId><![CDATA[media-1]]></MediaId>";
    let place = format!(
        "<MsgType><![CDATA[location]]></MsgType><Location_X>{}</Location_X><Location_Y>{}</Location_Y><Scale>20</Scale><Label><![CDATA[城东路8号]]></Label>",
        SHARED.lat, SHARED.lon
    );
    let answers = [w.wechat(WECHAT, picture), w.wechat(WECHAT, &place)];
    let taken = answers.iter().all(|(status, body)| *status == 200 && body == "success");
    let event = find(received, WECHAT, SECOND * 3, |e| e.data.media.iter().any(|m| !m.sha256.is_empty()));
    let own = event.map(|e| e.subject).unwrap_or_default();
    let answered = w.line(WECHAT, HUMAN, SECOND * 3).is_some();
    ledger.check("wechat", "微信 2 条即时 success，接警员已回复", taken && answered);
    let body = serde_json::json!({ "other": own }).to_string();
    let (status, _) = stage.request("POST", &format!("/v1/alerts/{sms}/join"), &body)?;
    let joined = find(received, WRITER, SECOND * 3, |e| e.data.reporter.channels.iter().any(|a| a.user == WECHAT));
    let hash = codecs::sip::auth::hex(&Sha256::digest(PICTURE));
    let whole = joined.as_ref().is_some_and(|e| {
        let files = e.data.text.iter().flat_map(|l| &l.attachments);
        let near = |l: &codecs::record::Location| l.wgs84.is_some_and(|p| distance_m(p, TRUE) < 1.0);
        files.into_iter().any(|a| a.sha256 == hash) && e.data.location.iter().any(near)
    });
    ledger.check("joined", &format!("座席并案 → {status}：短信、图片(按哈希)、位置(GCJ-02→WGS-84)在同一警情"), whole);
    Ok(own)
}

fn qq_and_weibo(ledger: &mut Ledger<'_>, received: &Received, w: &mut Writers) -> Vec<String> {
    ledger.say("✉ QQ 机器人 (ed25519)、微博粉丝服务");
    let begun = w.now();
    let (qq, _) = w.qq(QQ, "楼下有人砸车");
    let (weibo, body) = w.weibo(WEIBO, "高速路口追尾");
    let mut numbers = Vec::new();
    for (name, user, taken) in [("qq", QQ, qq == 200), ("weibo", WEIBO, weibo == 200 && body.is_empty())] {
        let receipt = w.line(user, RECEIPT, SECOND * 2).is_some();
        let human = w.line(user, HUMAN, SECOND * 3).map(|(_, at)| at - begun);
        let held = taken && receipt && human.is_some_and(|a| a <= SECOND * 3);
        ledger.check(name, &format!("{name}：回执与接警员首条回复 {}", super::script::seconds(human)), held);
        numbers.extend(find(received, user, SECOND * 2, |_| true).map(|e| e.subject));
    }
    numbers
}

/// An app without a log-in, which loses its connection before it has its answer.
fn app(ledger: &mut Ledger<'_>, w: &Writers) -> Option<String> {
    ledger.say("✉ 市民 App（WebSocket，免登录）：报警后断网，重连续传");
    let begun = w.now();
    let told = from_app(w.gateway());
    let human = told.as_ref().ok().map(|_| w.now() - begun);
    let held = told.is_ok() && human.is_some_and(|a| a <= SECOND * 3);
    let why = told.as_ref().err().map(|e| format!("：{e:#}")).unwrap_or_default();
    ledger.check("app", &format!("app：回执、断线后接警员首条回复 {}{why}", super::script::seconds(human)), held);
    told.ok()
}

/// The alert's number, once the receipt and a human's line were heard, the latter over a connection of its own.
fn from_app(gateway: SocketAddr) -> anyhow::Result<String> {
    let token = device(gateway)?;
    let (mut app, _) = App::open(gateway, "script-app", &token, None)?;
    app.report("report.create", "demo-1", &json!({"text": "有人落水，人民公园东门"}))?;
    let (mut number, mut receipt) = (None, false);
    while number.is_none() || !receipt {
        let frame = app.hear(SECOND * 2)?.context("neither receipt nor number within 2 s")?;
        match frame["t"].as_str() {
            Some("report.created") => number = frame["d"]["report_id"].as_str().map(str::to_owned),
            Some("chat.msg") => receipt = frame["d"]["kind"] == "receipt",
            _ => {}
        }
    }
    let (sid, heard) = (app.sid.clone(), app.heard);
    drop(app);
    let (mut app, welcome) = App::open(gateway, "script-app", &token, Some((&sid, heard)))?;
    ensure!(welcome["d"]["resumed"] == true, "not resumed: {welcome}");
    let line = app.expect("chat.msg")?;
    let text = line["d"]["text"].as_str().unwrap_or_default();
    ensure!(text.starts_with(HUMAN), "{line}");
    app.acknowledge()?;
    number.context("a number")
}

/// A word that asks for silence: no receipt, no line, and the alert says why.
fn silent(ledger: &mut Ledger<'_>, received: &Received, w: &mut Writers) -> String {
    ledger.say("✉ 短信 13700007777：「我被绑架了」");
    w.sms(SILENT, &["我被绑架了，别回"], &[1]);
    let written_to = w.is_written_to(SILENT, Duration::from_millis(1200));
    let event = find(received, SILENT, SECOND * 2, |e| e.data.reporter.safety.silent);
    ledger.check("silent", "静默：不回执、不回拨，警情标明不宜回复", !written_to && event.is_some());
    event.map(|e| e.subject).unwrap_or_default()
}

/// The taker puts the conversation down.
pub(super) fn end(stage: &mut Stage, received: &Received, number: &str) {
    let all = checks::by_alert(&received.all()).unwrap_or_default();
    let seat = all.get(number).and_then(|events| events.iter().rev().find_map(|e| e.data.call.seat.clone()));
    let seats: Vec<String> = match seat {
        Some(seat) => vec![seat.no],
        None => (1101..=1104).chain(1201..=1202).map(|s| s.to_string()).collect(),
    };
    for seat in seats {
        let _ = stage.request("POST", &format!("/v1/seats/{seat}/conversations/{number}/done"), "");
    }
}
