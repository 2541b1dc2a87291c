//! Alerts that are asked for: by number, words, place, state and work, within one's rights, page by page; and the read
//! model made anew by one command.

use std::process::Command;

use loadtest::api::Api;
use serde_json::Value;

use crate::fanout::wait;
use crate::loopback::Gateway;
use crate::roles::token;
use crate::text::{KIOSK, gateway, signed_now};

fn ask(api: &mut Api, query: &str) -> (u16, Value) {
    let (status, body) = api.request("GET", &format!("/v1/alerts?order=newest&{query}"), "").expect("answered");
    (status, serde_json::from_str(&body).unwrap_or_default())
}

fn numbers(found: &Value) -> Vec<String> {
    let all = found["alerts"].as_array().expect("alerts").iter();
    all.map(|alert| alert["id"]["alert_no"].as_str().expect("a number").to_owned()).collect()
}

/// As it stands in an address.
fn escaped(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

#[test]
fn an_alert_is_found_by_what_was_said_where_and_by_whom_and_by_nobody_who_may_not_see_it() {
    let gateway = gateway("asked", 26_500, KIOSK);
    let mut told = Vec::new();
    for (n, text, phone, lon) in [
        (1, "有人持刀搶劫", "13900000001", "117.55"),
        (2, "水管爆了", "+86 139-0000-0002", "117.55"),
        (3, "丢了一只猫", "13900000003", "117.55"),
    ] {
        let body =
            format!(r#"{{"from":"k{n}","phone":"{phone}","text":"{text}","location":{{"lon":{lon},"lat":34.81}}}}"#);
        let (status, taken) = signed_now(gateway.http, &format!("m{n}"), &body);
        assert_eq!(status, 200, "{taken}");
        told.push(taken["alert_no"].as_str().expect("a number").to_owned());
    }
    let mut api = gateway.api();
    for (query, found) in [
        ("", vec![2, 1, 0]),
        (&*format!("words={}", escaped("抢劫")), vec![0]),
        (&*format!("words={}", escaped("水管")), vec![1]),
        ("number=13900000002", vec![1]),
        ("number=%2B86%20139%200000%200002", vec![1]),
        ("state=arrived&level_at_most=2", vec![0]),
        ("place=370400000000", vec![2, 1, 0]),
        ("place=370499000000", vec![]),
        ("from=2099-01-01T00:00:00Z", vec![]),
        ("overdue=true", vec![]),
    ] {
        let (status, page) = ask(&mut api, query);
        assert_eq!(status, 200, "{query}: {page}");
        let wanted: Vec<String> = found.into_iter().map(|n: usize| told[n].clone()).collect();
        assert_eq!(numbers(&page), wanted, "{query}");
    }
    // Page by page, whatever comes meanwhile.
    let (_, first) = ask(&mut api, "limit=2");
    let (_, newer) = signed_now(gateway.http, "m4", r#"{"from":"k4","text":"又一个"}"#);
    let (_, second) = ask(&mut api, &format!("limit=2&before={}", first["next"].as_str().expect("it goes on")));
    assert_eq!((numbers(&second), &second["next"]), (vec![told[0].clone()], &Value::Null), "{newer}");
    for (query, what) in
        [("wrods=x", "wrods"), ("after=3", "order=changed"), ("kind=murder", "kind"), ("level_at_most=9", "1 to 4")]
    {
        let (status, body) = api.request("GET", &format!("/v1/alerts?order=newest&{query}"), "").expect("answered");
        assert!((400..500).contains(&status) && body.contains(what), "{query}: {status} {body}");
    }
    let (status, body) = api.request("GET", "/v1/alerts?number=110", "").expect("answered");
    assert!(status == 422 && body.contains("order=newest"), "{body}");
    // Whoever may look elsewhere alone finds nothing here.
    for (area, seen) in [("3704", 4), ("3705", 0)] {
        let token = token(&gateway.dir.join("data"), &["--role", "auditor", "--subject", "a", "--area", area]);
        let mut api = Api::new(gateway.http, &token);
        let found = wait("the token", || Some(ask(&mut api, "")).filter(|(status, _)| *status == 200));
        assert_eq!(numbers(&found.1).len(), seen, "{area}");
    }
}

#[test]
fn what_alerts_are_found_by_is_made_anew_from_the_journal_by_one_command() {
    let gateway = gateway("rebuilt", 27_000, KIOSK);
    let (status, taken) = signed_now(gateway.http, "m1", r#"{"from":"k1","text":"有人持刀"}"#);
    assert_eq!(status, 200, "{taken}");
    let data = gateway.dir.join("data");
    let rebuild = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        let done = command.args(["alert", "rebuild", "--data"]).arg(&data).output().expect("ran");
        (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    let (done, said) = rebuild();
    assert!(!done && said.contains("holds"), "{said}");
    let dir = gateway.kill();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::write(data.join(format!("read-model.sqlite{suffix}")), "spoilt");
    }
    let (done, said) = rebuild();
    assert!(done && said.contains("1 alerts"), "{said}");
    // A journal with a bit turned is told, and the model that is there stays.
    let segment = std::fs::read_dir(data.join("journal")).expect("segments").next().expect("one").expect("read").path();
    let sound = std::fs::read(&segment).expect("read");
    let mut turned = sound.clone();
    let at = turned.windows(6).position(|w| w == "持刀".as_bytes()).expect("it is there");
    turned[at] ^= 1;
    std::fs::write(&segment, &turned).expect("written");
    let model = std::fs::metadata(data.join("read-model.sqlite")).expect("it is there").len();
    let (done, said) = rebuild();
    assert!(!done && said.contains("damaged in"), "{said}");
    assert_eq!(std::fs::metadata(data.join("read-model.sqlite")).expect("still there").len(), model);
    std::fs::write(&segment, &sound).expect("written");
    let gateway = Gateway::run(dir);
    let (_, found) = ask(&mut gateway.api(), &format!("words={}", escaped("持刀")));
    assert_eq!(numbers(&found), [taken["alert_no"].as_str().expect("a number")]);
}

#[test]
fn reports_of_one_event_are_shown_as_such_with_the_reasons_and_joined_by_nobody() {
    let gateway = gateway("similar", 27_500, KIOSK);
    let mut told = Vec::new();
    for (n, text, lon) in [
        (1, "城东路口两车追尾有人受伤", "117.5500"),
        (2, "城东路追尾了，两车相撞有人受伤", "117.5503"),
        (3, "家里水管爆了", "117.6900"),
    ] {
        let body = format!(
            r#"{{"from":"k{n}","phone":"1390000000{n}","text":"{text}","location":{{"lon":{lon},"lat":34.81}}}}"#
        );
        let (status, taken) = signed_now(gateway.http, &format!("m{n}"), &body);
        assert_eq!(status, 200, "{taken}");
        told.push(taken["alert_no"].as_str().expect("a number").to_owned());
    }
    let mut api = gateway.api();
    let mut like = |n: usize| {
        let (status, body) = api.request("GET", &format!("/v1/alerts/{}/similar", told[n]), "").expect("answered");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).expect("JSON")["similar"].as_array().expect("a list").clone()
    };
    let found = like(0);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["alert_no"], told[1]);
    assert!(found[0]["percent"].as_u64() >= Some(60), "{found:?}");
    let why: Vec<&str> =
        found[0]["reasons"].as_array().expect("some").iter().filter_map(|r| r["of"].as_str()).collect();
    assert_eq!(why, ["place", "words"]);
    assert_eq!(like(2), Vec::<Value>::new());
    let mut api = gateway.api();
    let join = format!("/v1/alerts/{}/join", told[0]);
    let said = format!(r#"{{"other":"{}"}}"#, told[1]);
    assert_eq!(api.request("POST", &join, &said).expect("answered").0, 200);
    let (_, body) = api.request("GET", &format!("/v1/alerts/{}/similar", told[0]), "").expect("answered");
    assert_eq!(body, r#"{"similar":[]}"#, "they are one by now");
}
