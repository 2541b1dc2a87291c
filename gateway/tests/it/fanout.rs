//! Who is told of an alert, on real sockets: the first one first, over a kill too, and who does not sign by name.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use codecs::record::CloudEvent;
use codecs::webhook::Secret;
use loadtest::api::Api;
use loadtest::receiver::{self, Received};
use serde_json::{Value, json};

use crate::loopback::Gateway;
use crate::roles::token;
use crate::text::{KIOSK, signed_now};

const SECRET: &str = "whsec_cG9saWNlLTExMC1kZW1vLXNlY3JldC0zMi1ieXRlcyE=";
const RULES: &str = "[[rule]]\nname = \"fraud\"\ncategory = [\"1007\"]\ntell = [[\"anti_fraud\"], [\"city\"]]\n\
                     signers = [\"city\"]\nsign_within = \"2s\"\n";

pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

pub(crate) fn receiver(dir: &std::path::Path, name: &str, address: SocketAddr) -> Received {
    let secret = Secret::parse(SECRET).expect("a secret");
    receiver::start(address, secret, &dir.join(format!("{name}.ndjson"))).expect("it listens").1
}

pub(crate) fn events(received: &Received, no: &str) -> Vec<CloudEvent> {
    let all = received.all();
    let read = all.iter().map(|(_, body)| CloudEvent::parse(body).expect("an event"));
    read.filter(|e| e.subject == no).collect()
}

pub(crate) fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..400 {
        if let Some(found) = ask() {
            return found;
        }
        std::thread::park_timeout(Duration::from_millis(25));
    }
    panic!("it never came: {what}")
}

fn prepare(name: &str, rtp: u16, sinks: &[(&str, SocketAddr)]) -> Gateway {
    let all: Vec<_> = sinks.iter().map(|(target, address)| (*target, *address, "")).collect();
    prepare_each(name, rtp, &all)
}

/// With further keys of each sink.
fn prepare_each(name: &str, rtp: u16, sinks: &[(&str, SocketAddr, &str)]) -> Gateway {
    prepare_with(name, rtp, sinks, KIOSK, RULES)
}

/// With this channel, and these rules.
pub(crate) fn prepare_with(
    name: &str,
    rtp: u16,
    sinks: &[(&str, SocketAddr, &str)],
    channel: &str,
    rules: &str,
) -> Gateway {
    let dir = Gateway::prepare(name, rtp);
    let path = dir.join("city.toml");
    let mut text = std::fs::read_to_string(&path).expect("the example");
    text = text.replacen("[tables]\n", "[tables]\nrules = \"rules.toml\"\n", 1) + "\n" + channel;
    for (target, address, further) in sinks {
        text += &format!(
            "[sink.{target}]\ntarget = \"{target}\"\n{further}\
             http = {{ url = \"http://{address}/\", secret = {{ env = \"COMMAND_SINK_SECRET\" }} }}\n"
        );
    }
    std::fs::write(&path, text).expect("written");
    std::fs::write(dir.join("rules.toml"), rules).expect("written");
    Gateway::run(dir)
}

#[test]
fn a_target_is_given_what_its_sink_says_and_no_more_and_its_receipt_counts() {
    let (fraud, city) = (free_port(), free_port());
    let sinks = [
        ("anti_fraud", fraud, "fields = [\"incident\", \"source.channel\"]\n"),
        ("city", city, "gives = \"masked\"\n"),
    ];
    let gateway = prepare_each("excerpt", 14_300, &sinks);
    let [at_centre, at_city] =
        [("anti_fraud", fraud), ("city", city)].map(|(name, address)| receiver(&gateway.dir, name, address));
    let body = r#"{"from":"k1","phone":"13900000009","text":"刚给骗子转了钱，我的电话13900000009"}"#;
    let (status, taken) = signed_now(gateway.http, "m1", body);
    assert_eq!(status, 200, "{taken}");
    let no = taken["alert_no"].as_str().expect("a number").to_owned();
    let said = json!({"kind": "report", "category": "100700"}).to_string();
    let mut api = gateway.api();
    assert_eq!(api.request("POST", &format!("/v1/alerts/{no}/triage"), &said).expect("answered").0, 200);
    let first = |received: &Received| {
        wait("its first", || {
            let all = received.all().into_iter().map(|(_, body)| body);
            all.map(|body| serde_json::from_slice::<Value>(&body).expect("JSON")).find(|e| e["subject"] == no)
        })
    };
    let (centre, city) = (first(&at_centre), first(&at_city));
    for received in [&at_centre, &at_city] {
        let ids =
            received.all().into_iter().map(|(id, body)| (id, serde_json::from_slice::<Value>(&body).expect("JSON")));
        assert!(ids.into_iter().all(|(id, event)| event["id"] == id), "each delivery is named as its event is");
    }
    let parts: Vec<&String> = centre["data"].as_object().expect("an object").keys().collect();
    assert_eq!(parts, ["id", "rev", "incident", "source"], "{centre}");
    assert_eq!((&city["excerpt"], &city["data"]["reporter"]["phone"]), (&json!("masked"), &json!("139****0009")));
    assert!(!city.to_string().contains("13900000009") && city.to_string().contains("刚给骗子转了钱"), "{city}");
    for n in 0..2 {
        wait("its receipt", || record(&mut api, &no)["fanout"][n]["ack"].as_str().map(drop));
    }
    assert!(record(&mut api, &no).to_string().contains("13900000009"), "the house has the whole");
}

fn record(api: &mut Api, no: &str) -> Value {
    let (_, body) = api.request("GET", &format!("/v1/alerts/{no}"), "").expect("answered");
    serde_json::from_str(&body).expect("JSON")
}

fn breaches(record: &Value) -> Vec<(String, String)> {
    let timers = record["timers"].as_array().expect("timers").iter().filter(|t| t["breach"] == true);
    let text = |t: &Value, field: &str| t[field].as_str().unwrap_or_default().to_owned();
    timers.map(|t| (text(t, "name"), text(t, "of"))).filter(|(_, of)| !of.is_empty()).collect()
}

#[test]
fn fraud_is_told_to_its_centre_first_and_to_the_others_without_its_receipt_over_a_kill_too() {
    let (fraud, city) = (free_port(), free_port());
    let gateway = prepare("fraud", 14_000, &[("anti_fraud", fraud), ("city", city)]);
    let at_city = receiver(&gateway.dir, "city", city);
    let (status, taken) = signed_now(gateway.http, "m1", r#"{"from":"k1","text":"刚给骗子转了钱"}"#);
    assert_eq!(status, 200, "{taken}");
    let no = taken["alert_no"].as_str().expect("a number").to_owned();
    let said = json!({"kind": "report", "category": "100700", "fraud": {"account": "6222", "amount": "12500.00"}});
    let mut api = gateway.api();
    let (status, body) = api.request("POST", &format!("/v1/alerts/{no}/triage"), &said.to_string()).expect("answered");
    assert_eq!(status, 200, "{body}");
    // The centre takes nothing: the city is told after a second, and that it was kept waiting is told by name.
    let first = wait("the city's first", || events(&at_city, &no).first().cloned());
    assert_eq!(first.data.fanout[0].breach, ["T4"]);
    assert_eq!(first.data.incident.fraud.as_ref().and_then(|f| f.account.as_deref()), Some("6222"));
    wait("the city's receipt", || (record(&mut api, &no)["fanout"][1]["ack"].is_string()).then_some(()));

    let gateway = Gateway::run(gateway.kill());
    let mut api = gateway.api();
    // What was expected of the city before the kill is expected of it afterwards.
    wait("T5", || breaches(&record(&mut api, &no)).contains(&("T5".into(), "city".into())).then_some(()));
    let at_centre = receiver(&gateway.dir, "anti_fraud", fraud);
    let told = wait("the centre's first", || events(&at_centre, &no).first().cloned());
    assert!(
        told.data.rev < first.data.rev,
        "it is told from its own revision on: {} {}",
        told.data.rev,
        first.data.rev
    );
    wait("its receipt", || record(&mut api, &no)["fanout"][0]["ack"].as_str().map(drop));
    let all = events(&at_city, &no);
    let revisions: Vec<u32> = all.iter().map(|e| e.data.rev).collect();
    assert!(revisions.is_sorted() && revisions[0] == first.data.rev, "nothing of before it was told: {revisions:?}");

    // Whoever signs signs for themselves, once.
    let data = gateway.dir.join("data");
    let tokens: Vec<(&str, String)> = ["governance", "anti_fraud", "city"]
        .map(|subject| (subject, token(&data, &["--role", "downstream", "--subject", subject])))
        .into();
    // A change of the file is seen within a second.
    std::thread::park_timeout(Duration::from_millis(1100));
    let of = |subject: &str| {
        let (_, token) = tokens.iter().find(|(of, _)| *of == subject).expect("a token");
        Api::new(gateway.http, token)
    };
    let path = format!("/v1/alerts/{no}/steps");
    let ask = |mut api: Api, body: &str| api.request("POST", &path, body).expect("answered").0;
    assert_eq!(ask(of("governance"), r#"{"step":"signed"}"#), 409, "whom nobody told");
    assert_eq!(ask(of("anti_fraud"), r#"{"step":"signed","target":"city"}"#), 403, "another's");
    assert_eq!(ask(of("city"), r#"{"step":"closed","text":"x"}"#), 403);
    assert_eq!(ask(of("city"), r#"{"step":"signed"}"#), 200);
    assert_eq!(ask(of("city"), r#"{"step":"signed"}"#), 409, "it was signed before");
    for refused in [r#"{"step":"fed_back"}"#, r#"{"step":"fed_back","result_code":"99"}"#] {
        assert_eq!(ask(of("city"), refused), 422, "whoever reports back says what came of it: {refused}");
    }
    assert_eq!(ask(of("city"), r#"{"step":"fed_back","result_code":"10"}"#), 200);
    let signed = wait("the signature", || {
        let record = record(&mut api, &no);
        record["fanout"][1]["signed"]["by"].as_str().map(str::to_owned)
    });
    assert_eq!(signed, "downstream:city");
    let (_, metrics) = Api::new(gateway.admin, "").request("GET", "/metrics", "").expect("answered");
    for line in ["gateway_target_seconds_count{timer=\"T5\"} 1", "gateway_target_seconds_count{timer=\"T4\"} 1"] {
        assert!(metrics.lines().any(|l| l == line), "{line}: {metrics}");
    }
    assert!(metrics.contains("gateway_deadline_breaches_total{timer=\"T5\"} 1"), "{metrics}");
    assert_eq!(breaches(&record(&mut api, &no)), [("T4".into(), "anti_fraud".into()), ("T5".into(), "city".into())]);
}

#[test]
fn a_complaint_goes_past_the_unit_that_it_is_about() {
    let (above, theirs) = (free_port(), free_port());
    let sinks = [("anti_fraud", above, ""), ("city", theirs, "unit = \"370402510000\"\n")];
    let gateway = prepare_each("complaint", 14_600, &sinks);
    let [at_above, at_theirs] =
        [("above", above), ("theirs", theirs)].map(|(name, address)| receiver(&gateway.dir, name, address));
    let mut api = gateway.api();
    let (_, taken) = signed_now(gateway.http, "m1", r#"{"from":"k1","text":"民警收了钱不办事"}"#);
    let no = taken["alert_no"].as_str().expect("a number").to_owned();
    let path = format!("/v1/alerts/{no}/triage");
    let mut triage = |said: Value| api.request("POST", &path, &said.to_string()).expect("answered");
    assert_eq!(triage(json!({"complaint_of": "370499999999"})).0, 422, "no unit of this city");
    let said = json!({"kind": "police_complaint", "category": "100700", "level": 4, "grid": "370402-001"});
    assert_eq!(triage(said).0, 200);
    wait("the unit's own first", || events(&at_theirs, &no).first().cloned());
    assert_eq!(triage(json!({"complaint_of": "370402510000"})).0, 200);
    let told =
        wait("the complaint", || events(&at_above, &no).into_iter().find(|e| e.data.incident.complaint_of.is_some()));
    let route = &told.data.route;
    assert_eq!(route.jurisdiction, ["370400000000", "370402510000", "370402-001"]);
    assert_eq!((route.owner.as_str(), route.command.as_str()), ("370400000000", "370400000000"));
    assert_eq!(route.owner_history.len(), 3, "who had it before stays on record");
    let back = json!({"step": "handed_over", "to": "370402510000", "text": "x"}).to_string();
    let (status, why) = api.request("POST", &format!("/v1/alerts/{no}/steps"), &back).expect("answered");
    assert!(status == 409 && why.contains("complained of"), "{status} {why}");
    // One that both are told of proves that nothing of this one was on its way to the unit.
    let (_, taken) = signed_now(gateway.http, "m2", r#"{"from":"k2","text":"骗"}"#);
    let other = taken["alert_no"].as_str().expect("a number").to_owned();
    let said = json!({"kind": "report", "category": "100700"}).to_string();
    api.request("POST", &format!("/v1/alerts/{other}/triage"), &said).expect("answered");
    wait("the other's first", || events(&at_theirs, &other).first().cloned());
    assert!(events(&at_theirs, &no).iter().all(|e| e.data.incident.complaint_of.is_none()));
}

#[test]
fn a_unit_that_could_not_be_reached_is_not_told_afterwards_of_a_complaint_about_it() {
    let theirs = free_port();
    let sinks = [("anti_fraud", free_port(), ""), ("city", theirs, "unit = \"370402510000\"\n")];
    let gateway = prepare_each("lagging", 14_700, &sinks);
    let mut api = gateway.api();
    let (_, taken) = signed_now(gateway.http, "m1", r#"{"from":"k1","text":"民警收了钱不办事"}"#);
    let no = taken["alert_no"].as_str().expect("a number").to_owned();
    let path = format!("/v1/alerts/{no}/triage");
    let mut triage = |said: Value| api.request("POST", &path, &said.to_string()).expect("answered").0;
    assert_eq!(triage(json!({"kind": "report", "category": "100700", "grid": "370402-001"})), 200);
    let mut asked = gateway.api();
    wait("the second stage", || record(&mut asked, &no)["fanout"][1]["sent"].as_str().map(drop));
    assert_eq!(triage(json!({"kind": "police_complaint", "complaint_of": "370402510000"})), 200);
    // It is there again, and is told of what comes after.
    let at_theirs = receiver(&gateway.dir, "theirs", theirs);
    let (_, taken) = signed_now(gateway.http, "m2", r#"{"from":"k2","text":"骗"}"#);
    let other = taken["alert_no"].as_str().expect("a number").to_owned();
    let said = json!({"kind": "report", "category": "100700"}).to_string();
    asked.request("POST", &format!("/v1/alerts/{other}/triage"), &said).expect("answered");
    wait("the other's first", || events(&at_theirs, &other).first().cloned());
    assert_eq!(events(&at_theirs, &no).len(), 0);
}

#[test]
fn a_test_and_what_no_rule_names_leave_the_house_for_no_target() {
    let city = free_port();
    let gateway = prepare("nobody", 14_500, &[("anti_fraud", free_port()), ("city", city)]);
    let at_city = receiver(&gateway.dir, "city", city);
    let mut api = gateway.api();
    for (id, said) in [
        ("m1", json!({"kind": "report", "category": "200600"})),
        ("m2", json!({"kind": "report", "category": "100700", "validity": "test"})),
    ] {
        let (_, taken) = signed_now(gateway.http, id, &format!("{{\"from\":\"{id}\",\"text\":\"喂\"}}"));
        let no = taken["alert_no"].as_str().expect("a number").to_owned();
        let (status, _) = api.request("POST", &format!("/v1/alerts/{no}/triage"), &said.to_string()).expect("answered");
        assert_eq!(status, 200);
        // Whoever has written reads what they wrote.
        let told = record(&mut api, &no);
        assert_eq!((told["incident"]["kind"].as_str(), &told["fanout"]), (Some("report"), &Value::Null), "{told}");
        let (status, _) =
            api.request("POST", &format!("/v1/alerts/{no}/triage"), r#"{"colour":"red"}"#).expect("answered");
        assert_eq!(status, 422);
    }
    let (status, _) =
        api.request("POST", &format!("/v1/alerts/{}/triage", "0".repeat(30)), r#"{"level":1}"#).expect("answered");
    assert_eq!(status, 404);
    // One that is told at last proves that nothing was on its way before it.
    let (_, taken) = signed_now(gateway.http, "m3", r#"{"from":"k3","text":"骗"}"#);
    let no = taken["alert_no"].as_str().expect("a number").to_owned();
    let said = json!({"kind": "report", "category": "100700"}).to_string();
    api.request("POST", &format!("/v1/alerts/{no}/triage"), &said).expect("answered");
    wait("the city's first", || events(&at_city, &no).first().cloned());
    assert!(at_city.all().iter().all(|(id, _)| id.starts_with(&no)), "{:?}", at_city.all());
}

#[test]
fn the_examples_rules_are_sound_and_its_cases_hold() {
    let dir = Gateway::prepare("rules", 14_900);
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/example");
    std::fs::copy(example.join("rules.toml"), dir.join("rules.toml")).expect("copied");
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("the example");
    // As whoever follows its comments would write it.
    let (head, sinks) = text.split_once("# [sink.anti_fraud]").expect("the example names its targets");
    let (sinks, rest) = sinks.split_once("\n\n").expect("they end");
    let sinks = format!("[sink.anti_fraud]{}", sinks.replace("\n# ", "\n"));
    let text = format!("{head}{sinks}\n\n{rest}").replacen("[tables]\n", "[tables]\nrules = \"rules.toml\"\n", 1);
    std::fs::write(&path, &text).expect("written");
    let check = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"));
        let output = command
            .args(["check", "--config"])
            .arg(&path)
            .env("COMMAND_SINK_SECRET", SECRET)
            .env("UNIT_SECRET", "unit")
            .output();
        let output = output.expect("ran");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (good, said) = check();
    assert!(good, "{said}");
    let broken = std::fs::read_to_string(dir.join("rules.toml")).expect("rules").replacen("\"1007\"", "\"1008\"", 1);
    std::fs::write(dir.join("rules.toml"), broken).expect("written");
    let (good, said) = check();
    let named = said.contains("GW-0251") && said.contains("anti-fraud centre's first");
    assert!(!good && named && said.contains("rules.toml:"), "{said}");
    std::fs::remove_dir_all(dir).expect("removed");
}
