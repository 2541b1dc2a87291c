//! Who else is in a call: agencies that are asked in together, and the officer at their page.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use loadtest::app::{App, device};
use loadtest::{Behaviour, Happening};
use serde_json::{Value, json};

use crate::loopback::{Gateway, World, eventually};
use crate::roles::token;

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address").port()
}

/// What comes of a stream of events until it holds what is waited for; ten seconds are a failure.
fn heard_of(stream: &mut TcpStream, world: &mut World, heard: &mut String, wanted: &str) {
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
    eventually(world, || {
        let mut buffer = [0; 65_536];
        if let Ok(len) = stream.read(&mut buffer) {
            heard.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
        heard.contains(wanted).then_some(())
    });
}

fn stream_of(http: SocketAddr, officer: &str, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(http).expect("connected");
    let ask = format!("GET /v1/officers/{officer}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(ask.as_bytes()).expect("sent");
    stream
}

fn record(api: &mut loadtest::api::Api, no: &str) -> Value {
    let (_, body) = api.request("GET", &format!("/v1/alerts/{no}"), "").expect("answered");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
fn agencies_are_asked_into_a_call_together_and_are_recorded_by_name_and_whoever_cannot_be_had_is_named() {
    let dir = Gateway::prepare("agencies", 20_500);
    let [fire, medical] = [free_udp_port(), free_udp_port()];
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("the example");
    let text = text.replace("127.0.0.1:5071", &format!("127.0.0.1:{fire}"));
    let text = text.replace("127.0.0.1:5072", &format!("127.0.0.1:{medical}"));
    std::fs::write(&path, text.replace("lines = 8 ", "lines = 1 ")).expect("written");
    let gateway = Gateway::run(dir);
    let mut world = World::new(&gateway);
    for (n, (port, after)) in (2..).zip([(fire, 0), (medical, 400)]) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let behaviour = Behaviour::Answer { after: Duration::from_millis(after) };
        world.peers.add_agent_at(address, gateway.sip, n, behaviour).expect("an agency");
    }
    let mut api = gateway.api();
    let first = world.answered_call("06325551234");
    let seat = seat_of(&world, "06325551234");
    let asked = json!({ "to": "警医消" }).to_string();
    let (status, reply) = api.request("POST", &format!("/v1/seats/{seat}/transfer"), &asked).expect("answered");
    assert_eq!(status, 200, "{reply}");
    let no = serde_json::from_str::<Value>(&reply).expect("JSON")["alert_no"].as_str().expect("a number").to_owned();
    let both = eventually(&mut world, || {
        let record = record(&mut api, &no);
        let bridged = record["dispatch"].as_array()?.iter().filter(|d| d["bridged_at"].is_string()).count();
        (bridged == 2).then_some(record)
    });
    let named: Vec<_> =
        both["dispatch"].as_array().expect("tries").iter().map(|d| (&d["officer"], &d["role"])).collect();
    assert_eq!(named, [(&json!("119"), &json!("agency")), (&json!("120"), &json!("agency"))]);
    assert_eq!((&both["call"]["officer_ms"], &both["route"]["owner"]), (&Value::Null, &json!("370402510000")));
    // The fire brigade's only line is taken: the second call has the ambulance, and its record says why not the other.
    let second = world.answered_call("06325551235");
    let seat = seat_of(&world, "06325551235");
    let (status, reply) = api.request("POST", &format!("/v1/seats/{seat}/transfer"), &asked).expect("answered");
    assert_eq!(status, 200, "{reply}");
    let other = serde_json::from_str::<Value>(&reply).expect("JSON")["alert_no"].as_str().expect("a number").to_owned();
    let other = record(&mut api, &other);
    let missed = other["dispatch"].as_array().expect("tries").iter().find(|d| d["officer"] == "119").expect("named");
    assert_eq!(missed["result"], "busy");
    for wrong in [json!({"to": "911"}), json!({"to": []}), json!({"to": ["120", "911"]}), json!({"to": 1}), json!({})] {
        let ask = api.request("POST", &format!("/v1/seats/{seat}/transfer"), &wrong.to_string()).expect("answered");
        assert!(matches!(ask.0, 404 | 422), "{wrong}: {ask:?}");
    }
    // One is let go, and whoever is not there cannot be.
    let mut drop = |party: &str| {
        let body = json!({ "party": party }).to_string();
        api.request("POST", &format!("/v1/seats/{seat}/drop"), &body).expect("answered").0
    };
    assert_eq!((drop("120"), drop("nobody")), (200, 404));
    world.serve(Duration::from_millis(500));
    world.peers.hang_up(first);
    world.peers.hang_up(second);
    let over = eventually(&mut world, || {
        let record = record(&mut api, &no);
        (record["state"] == "closed").then_some(record)
    });
    let tracks: Vec<_> = over["media"].as_array().expect("media").iter().map(|m| m["track"].clone()).collect();
    assert_eq!(tracks, ["mix", "caller", "seat", "agency", "agency-2"]);
}

#[test]
fn an_officer_hears_what_they_are_called_to_tells_their_steps_and_hears_no_more_of_a_complaint_about_their_unit() {
    let gateway = Gateway::start("officer", 21_000);
    let mut world = World::new(&gateway);
    let mut api = gateway.api();
    let data = gateway.dir.join("data");
    let mine = token(&data, &["--role", "officer", "--subject", "370402001"]);
    let mut stream = stream_of(gateway.http, "370402001", &mine);
    let party = world.answered_call("06325551234");
    let said = json!({"kind": "report", "text": "有人持刀", "hazards": {"weapons": true}}).to_string();
    let (status, reply) =
        api.request("POST", &format!("/v1/seats/{}/triage", seat_of(&world, "06325551234")), &said).expect("answered");
    assert_eq!(status, 200, "{reply}");
    let no = serde_json::from_str::<Value>(&reply).expect("JSON")["alert_no"].as_str().expect("a number").to_owned();
    // Before they pick up: what it is, and what endangers them.
    let mut heard = String::new();
    heard_of(&mut stream, &mut world, &mut heard, "event: called");
    assert!(heard.contains("\"weapons\":true") && heard.contains("有人持刀"), "{heard}");
    heard_of(&mut stream, &mut world, &mut heard, "\"result\":\"answered\"");
    let mut own = loadtest::api::Api::new(gateway.http, &mine);
    let mut step = |body: &str| own.request("POST", &format!("/v1/alerts/{no}/steps"), body).expect("answered").0;
    assert_eq!((step(r#"{"step":"accepted"}"#), step(r#"{"step":"closed","text":"x"}"#)), (200, 403));
    heard_of(&mut stream, &mut world, &mut heard, "\"step\":\"accepted\"");
    world.peers.hang_up(party);
    eventually(&mut world, || (record(&mut api, &no)["state"] == "closed").then_some(()));
    // The call is over, and they are still on the way; a page that is opened now shows it too.
    assert_eq!(step(r#"{"step":"arrived"}"#), 200);
    heard_of(&mut stream, &mut world, &mut heard, "\"step\":\"arrived\"");
    let mut anew = stream_of(gateway.http, "370402001", &mine);
    heard_of(&mut anew, &mut world, &mut String::new(), "\"step\":\"arrived\"");
    // From here on it is about their own unit.
    let about = json!({"kind": "police_complaint", "complaint_of": "370402510000"}).to_string();
    let (status, reply) = api.request("POST", &format!("/v1/alerts/{no}/triage"), &about).expect("answered");
    assert_eq!(status, 200, "{reply}");
    heard_of(&mut stream, &mut world, &mut heard, "event: withheld");
    assert_eq!(step(r#"{"step":"handled"}"#), 409, "nor do they write into it");
    let mut anew = stream_of(gateway.http, "370402001", &mine);
    let mut again = String::new();
    heard_of(&mut anew, &mut world, &mut again, "event: withheld");
    assert!(!again.contains("event: called"), "{again}");
}

/// Which seat has this caller.
fn seat_of(world: &World, caller: &str) -> &'static str {
    let seats = world.seen.iter().find_map(|h| match h {
        Happening::PickedUp { user, number, .. } if number == caller && user == "1001" => Some("S01"),
        Happening::PickedUp { user, number, .. } if number == caller && user == "1002" => Some("S02"),
        _ => None,
    });
    seats.expect("a seat picked up")
}

#[test]
fn whoever_reported_by_an_app_sees_the_officer_come_and_whoever_asked_for_silence_does_not() {
    let dir = Gateway::prepare("approach", 21_500);
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("the example");
    std::fs::write(&path, text + "\n[channel.app]\nkind = \"app\"\ngroup = \"default\"\n").expect("written");
    let gateway = Gateway::run(dir);
    let mut world = World::new(&gateway);
    let mut api = gateway.api();
    let mine = token(&gateway.dir.join("data"), &["--role", "officer", "--subject", "370402001"]);
    let mut own = loadtest::api::Api::new(gateway.http, &mine);
    for (caller, silent) in [("06325551234", false), ("06325551236", true)] {
        let device = device(gateway.http).expect("a device");
        let (mut app, _) = App::open(gateway.http, "app", &device, None).expect("connected");
        let party = world.answered_call(caller);
        let asked = json!({ "kind": "report", "grid": "370402-001", "lon": 117.5, "lat": 34.8 }).to_string();
        let triage = format!("/v1/seats/{}/triage", seat_of(&world, caller));
        let (status, reply) = api.request("POST", &triage, &asked).expect("answered");
        assert_eq!(status, 200, "{reply}");
        let no =
            serde_json::from_str::<Value>(&reply).expect("JSON")["alert_no"].as_str().expect("a number").to_owned();
        world.until(|s| {
            let is_there = |h: &Happening| matches!(h, Happening::PickedUp { user, number, .. } if user == "2001" && number == caller);
            s.iter().any(is_there)
        });
        app.report("report.create", "r1", &json!({ "text": "我在现场", "silent": silent })).expect("said");
        let created = app.expect("report.created").expect("kept");
        let join = json!({ "other": created["d"]["report_id"] }).to_string();
        assert_eq!(api.request("POST", &format!("/v1/alerts/{no}/join"), &join).expect("answered").0, 200);
        let mut own = |method: &str, path: &str, body: &str| own.request(method, path, body).expect("answered").0;
        let here = json!({ "lon": 117.5, "lat": 34.773_02 }).to_string();
        assert_eq!(own("PUT", "/v1/officers/370402001/position", &here), 204);
        let steps = format!("/v1/alerts/{no}/steps");
        assert_eq!(own("POST", &steps, r#"{"step":"enroute"}"#), 200);
        if silent {
            assert_eq!(own("POST", &steps, r#"{"step":"arrived"}"#), 200);
            while let Some(frame) = app.hear(Duration::from_millis(500)).expect("open") {
                assert_ne!(frame["t"], "case.officer", "{frame}");
            }
        } else {
            let coming = app.expect("case.officer").expect("told");
            let told = (&coming["d"]["state"], &coming["d"]["distance_m"], &coming["seq"]);
            assert_eq!(told, (&json!("en_route"), &json!(3000), &Value::Null), "{coming}");
            assert!(coming["d"]["eta_s"].as_u64().is_some_and(|s| s > 0 && s % 60 == 0), "{coming}");
            assert_eq!(own("POST", &steps, r#"{"step":"arrived"}"#), 200);
            assert_eq!(app.expect("case.officer").expect("told")["d"]["state"], "arrived");
        }
        world.peers.hang_up(party);
        world.until(|s| s.contains(&Happening::Ended { party }));
    }
    let (_, metrics) = loadtest::api::Api::new(gateway.admin, "").request("GET", "/metrics", "").expect("answered");
    assert!(metrics.contains("gateway_eta_error_seconds_count 2"), "{metrics}");
}

#[test]
fn nobody_of_a_unit_that_is_complained_of_is_asked_in_nor_sees_the_alert() {
    let gateway = Gateway::start("complained", 22_000);
    let mut world = World::new(&gateway);
    let mut api = gateway.api();
    let data = gateway.dir.join("data");
    let theirs = token(&data, &["--role", "supervisor", "--subject", "station", "--area", "370402510000"]);
    let city = token(&data, &["--role", "supervisor", "--subject", "county", "--area", "370402"]);
    let party = world.answered_call("06325551234");
    let seat = seat_of(&world, "06325551234");
    let said = json!({"kind": "consult", "grid": "370402-001"}).to_string();
    let (_, reply) = api.request("POST", &format!("/v1/seats/{seat}/triage"), &said).expect("answered");
    let no = serde_json::from_str::<Value>(&reply).expect("JSON")["alert_no"].as_str().expect("a number").to_owned();
    let sees = |token: &str| {
        let mut api = loadtest::api::Api::new(gateway.http, token);
        api.request("GET", &format!("/v1/alerts/{no}"), "").expect("answered").0
    };
    assert_eq!((sees(&theirs), sees(&city)), (200, 200));
    let said = json!({"complaint_of": "370402510000"}).to_string();
    let (status, reply) = api.request("POST", &format!("/v1/alerts/{no}/triage"), &said).expect("answered");
    assert_eq!(status, 200, "{reply}");
    assert_eq!((sees(&theirs), sees(&city)), (404, 200));
    let mut ask = |to: Value| {
        let body = json!({ "to": to }).to_string();
        api.request("POST", &format!("/v1/seats/{seat}/transfer"), &body).expect("answered").0
    };
    assert_eq!(ask(json!("370402001")), 409, "an officer of that very unit");
    assert_eq!(ask(json!(["370402001", "119"])), 200, "whoever else is asked is called");
    let record = record(&mut api, &no);
    let tried: Vec<_> =
        record["dispatch"].as_array().expect("tries").iter().map(|d| (&d["officer"], &d["result"])).collect();
    assert!(tried.contains(&(&json!("370402001"), &json!("off"))), "{tried:?}");
    world.serve(Duration::from_millis(300));
    assert!(!world.seen.iter().any(|h| matches!(h, Happening::Called { user, .. } if user == "2001")), "never rung");
    world.peers.hang_up(party);
}
