//! How texts are read, by the real binary with the example's tables: words of danger however they are spelt, suggestions
//! with the words that caused them, and tables that cannot be meant.

use std::process::Command;

use serde_json::json;

use crate::fanout::wait;
use crate::loopback::Gateway;
use crate::text::{KIOSK, gateway, signed_now};

#[test]
fn a_category_is_suggested_with_its_units_and_words_and_nothing_is_decided_by_it() {
    let gateway = gateway("suggested", 25_000, KIOSK);
    let body = r#"{"from":"k1","text":"對方說是客服，让我把钱转 账到安全帐户，还要厌证马","location":{"lon":117.55,"lat":34.81}}"#;
    let (status, taken) = signed_now(gateway.http, "m1", body);
    assert_eq!(status, 200, "{taken}");
    let no = taken["alert_no"].as_str().expect("a number").to_owned();
    let mut api = gateway.api();
    let record = wait("the alert", || {
        let (status, record) = api.request("GET", &format!("/v1/alerts/{no}"), "").ok()?;
        (status == 200).then(|| serde_json::from_str::<serde_json::Value>(&record).expect("JSON"))
    });
    let incident = &record["incident"];
    assert_eq!(incident["suggested"][0]["category"], "100901", "{incident}");
    assert_eq!(incident["suggested"][0]["name"], "电信网络诈骗");
    assert_eq!(incident["suggested"][0]["percent"], 87, "of 30, 55 and 60");
    assert_eq!(incident["suggested"][0]["words"], json!(["客服", "转账", "验证码"]));
    let route = &record["route"];
    assert_eq!(incident["suggested"][0]["handling"], route["owner"], "{route}");
    assert_eq!(incident["suggested"][0]["supervising"], route["jurisdiction"][0], "{route}");
    assert!(incident.get("category").is_none() && incident.get("level").is_none(), "{incident}");
    let triage = format!("/v1/alerts/{no}/triage");
    let (status, said) = api.request("POST", &triage, r#"{"category":"123456"}"#).expect("answered");
    assert!(status == 422 && said.contains("there are 100200"), "{said}");
    assert_eq!(api.request("POST", &triage, r#"{"category":"100901"}"#).expect("answered").0, 200);
}

#[test]
fn a_word_of_danger_is_found_however_it_is_spelt() {
    let gateway = gateway("spelt", 25_500, KIOSK);
    for (n, text) in ["有人搶-劫", "有人戗 截", "有人ｑ抢\u{200b}劫"].iter().enumerate() {
        let body = json!({ "from": format!("k{n}"), "text": text }).to_string();
        let (status, taken) = signed_now(gateway.http, &format!("m{n}"), &body);
        assert_eq!(status, 200, "{taken}");
        let no = taken["alert_no"].as_str().expect("a number").to_owned();
        let mut api = gateway.api();
        let word = wait("the alert", || {
            let (status, record) = api.request("GET", &format!("/v1/alerts/{no}"), "").ok()?;
            let record = serde_json::from_str::<serde_json::Value>(&record).ok().filter(|_| status == 200)?;
            Some(record["incident"]["keywords"][0]["word"].clone())
        });
        assert_eq!(word, "抢劫", "{text}");
    }
}

#[test]
fn a_row_of_words_that_cannot_be_meant_is_told_with_its_line() {
    let dir = Gateway::prepare("words", 26_000);
    for (table, text) in [
        (
            "keywords.csv",
            "word,level,category,silent,by_sound\n持刀,2,999999,,\n***,1,,,\n绑架,1,,true,true\n持枪,5,,,\n",
        ),
        ("clues.csv", "word,category,percent\n转账,100700,100\n转账,999999,50\n"),
        (
            "categories.csv",
            "code,name,handled_by,supervised_by\n100700,诈骗,station,county\n1007,骗,station,city\n100800,爆炸,desk,city\n",
        ),
        ("sounds.csv", "sound,characters\nsha,杀\n"),
    ] {
        std::fs::write(dir.join(table), text).expect("written");
    }
    let mut check = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let done =
        check.args(["check", "--config"]).arg(dir.join("city.toml")).env("UNIT_SECRET", "unit").output().expect("ran");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert_eq!(done.status.code(), Some(78), "{said}");
    for wrong in [
        "keywords.csv:2",
        "keywords.csv:3",
        "keywords.csv:4",
        "keywords.csv:5",
        "clues.csv:2",
        "clues.csv:3",
        "categories.csv:3",
        "categories.csv:4",
        "sounds.csv:2",
        "nobody is silent by a mere sound",
    ] {
        assert!(said.contains(wrong), "{wrong}: {said}");
    }
    std::fs::remove_dir_all(dir).expect("removed");
}
