//! Every route with every role and every wrong credential.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::loopback::Gateway;

/// Everything that needs a token: what is asked, and who may; every other role is refused.
const ROUTES: [(&str, &str, &str, &[&str]); 25] = [
    ("GET", "/v1/alerts", "", &["seat", "supervisor", "downstream", "auditor"]),
    ("GET", "/v1/alerts/1", "", &["seat", "supervisor", "downstream", "auditor"]),
    ("GET", "/v1/alerts/1/similar", "", &["seat", "supervisor", "downstream", "auditor"]),
    ("POST", "/v1/alerts/1/transcript", "{}", &["downstream", "supervisor"]),
    ("GET", "/v1/alerts/1/audio/caller", "", &["supervisor"]),
    ("GET", "/v1/events", "", &["downstream", "supervisor", "auditor"]),
    ("POST", "/v1/alerts/1/join", "{}", &["seat", "supervisor"]),
    ("POST", "/v1/alerts/1/split", "{}", &["seat", "supervisor"]),
    ("POST", "/v1/alerts/1/triage", "{}", &["seat", "supervisor"]),
    ("POST", "/v1/alerts/1/steps", r#"{"step":"accepted"}"#, &["seat", "officer", "supervisor", "downstream"]),
    ("GET", "/v1/seats/S01/events", "", &["seat", "supervisor"]),
    ("POST", "/v1/seats/S01/conversations/1/say", "{}", &["seat", "supervisor"]),
    ("POST", "/v1/seats/S01/conversations/1/done", "", &["seat", "supervisor"]),
    ("POST", "/v1/seats/S01/three-way", "", &["seat", "supervisor"]),
    ("POST", "/v1/outbound", "{}", &["supervisor"]),
    ("GET", "/v1/outbound/x", "", &["supervisor"]),
    ("GET", "/v1/sinks", "", &["operator", "supervisor"]),
    ("POST", "/v1/sinks/nobody/replay", "", &["operator"]),
    ("GET", "/v1/agencies", "", &["seat", "supervisor"]),
    ("GET", "/v1/officers/370402001/events", "", &["officer", "supervisor"]),
    ("PUT", "/v1/officers/370402001/duty", "{}", &["officer", "supervisor"]),
    ("PUT", "/v1/officers/370402001/position", "{}", &["officer", "supervisor"]),
    ("PUT", "/v1/log", "{}", &["operator"]),
    ("GET", "/v1/app", "", &["citizen"]),
    ("POST", "/v1/links", "{}", &["supervisor"]),
];

/// The status of a request with these header lines.
fn status(address: SocketAddr, method: &str, path: &str, body: &str, headers: &str) -> u16 {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    // A head that is too long may be refused before all of it was sent.
    let _ = stream.write_all(request.as_bytes());
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("an answer");
    std::str::from_utf8(&head[9..]).expect("digits").parse().expect("a status")
}

pub(crate) fn token(data: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["token", "new"])
        .args(args)
        .arg("--data")
        .arg(data)
        .output()
        .expect("ran");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn every_route_takes_the_roles_that_its_row_names_and_no_other_credential() {
    let gateway = Gateway::start("roles", 12_500);
    let data = gateway.dir.join("data");
    let subjects: BTreeMap<&str, &str> = BTreeMap::from([
        ("seat", "S01"),
        ("officer", "370402001"),
        ("citizen", "c1"),
        ("supervisor", "chief"),
        ("downstream", "command"),
        ("operator", "noc"),
        ("auditor", "audit"),
    ]);
    let tokens: BTreeMap<&str, String> =
        subjects.iter().map(|(role, subject)| (*role, token(&data, &["--role", role, "--subject", subject]))).collect();
    let all = std::fs::read_to_string(data.join("token")).expect("a token").trim().to_owned();
    let seat = &tokens["seat"];
    let cut = &all[..all.len() - 1];
    let mut flipped = all.clone().into_bytes();
    flipped[3] ^= 1;
    let flipped = String::from_utf8(flipped).expect("ASCII");
    let over = token(&data, &["--role", "supervisor", "--subject", "late", "--days", "0"]);
    let revoked = token(&data, &["--role", "supervisor", "--subject", "gone"]);
    let listed = Command::new(env!("CARGO_BIN_EXE_gateway")).args(["token", "list", "--data"]).arg(&data).output();
    let listed = String::from_utf8(listed.expect("ran").stdout).expect("text");
    assert!(!listed.contains(&revoked) && listed.lines().count() == 9, "{listed}");
    let id = listed.lines().find(|l| l.contains("gone")).and_then(|l| l.split('\t').next()).expect("an id");
    let done = Command::new(env!("CARGO_BIN_EXE_gateway")).args(["token", "revoke", id, "--data"]).arg(&data).status();
    assert!(done.expect("ran").success());
    // A change of the file is seen within a second.
    std::thread::park_timeout(Duration::from_millis(1100));

    let wrong: Vec<(&str, String)> = vec![
        ("none", String::new()),
        ("empty", "Authorization: Bearer \r\n".into()),
        ("no value", "Authorization:\r\n".into()),
        ("another scheme", format!("Authorization: Basic {all}\r\n")),
        ("no scheme", format!("Authorization: {all}\r\n")),
        ("cut", bearer(cut)),
        ("one bit changed", bearer(&flipped)),
        ("at its end", bearer(&over)),
        ("revoked", bearer(&revoked)),
        ("twice", format!("{0}{0}", bearer(&all))),
        ("two in one", format!("Authorization: Bearer {all}, Bearer {all}\r\n")),
        ("control characters", format!("Authorization: Bearer {all}\x01\r\n")),
        ("64 KB", bearer(&"x".repeat(64 * 1024))),
    ];
    for (method, path, body, roles) in ROUTES {
        for (role, token) in &tokens {
            let got = status(gateway.http, method, path, body, &bearer(token));
            if roles.contains(role) {
                assert!(![401, 403, 405].contains(&got), "{role} may {method} {path}: {got}");
            } else {
                assert_eq!(got, 403, "{role} may not {method} {path}");
            }
        }
        assert!(![401, 403].contains(&status(gateway.http, method, path, body, &bearer(&all))), "{method} {path}");
        for (what, headers) in &wrong {
            let got = status(gateway.http, method, path, body, headers);
            assert!([400, 401, 431].contains(&got), "{what} at {method} {path}: {got}");
        }
        let in_query = format!("{path}?token={all}&access_token={all}");
        assert_eq!(status(gateway.http, method, &in_query, body, ""), 401, "a token in the query is none");
    }
    // Another's seat, another's duty.
    for (method, path, token) in [
        ("GET", "/v1/seats/S02/events", seat),
        ("POST", "/v1/seats/S02/three-way", seat),
        ("POST", "/v1/seats/S02/conversations/1/say", seat),
        ("PUT", "/v1/officers/370402002/duty", &tokens["officer"]),
        ("PUT", "/v1/officers/370402002/position", &tokens["officer"]),
    ] {
        assert_eq!(status(gateway.http, method, path, "{}", &bearer(token)), 403, "{method} {path}");
    }
    // Every documented path is walked here, or is open to everybody.
    let (code, document) = gateway.api().request("GET", "/openapi.json", "").expect("answered");
    assert_eq!(code, 200);
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let open = ["/openapi.json", "/schemas/alert", "/hook/{channel}", "/v1/device"];
    let documented = document["paths"].as_object().expect("paths").keys();
    let guarded: Vec<&String> = documented.filter(|p| !open.contains(&p.as_str())).collect();
    assert_eq!(guarded.len(), ROUTES.len(), "{guarded:?}");
}

#[test]
fn an_area_bounds_what_is_seen_and_every_act_bears_its_actor() {
    let gateway = Gateway::start("area", 13_000);
    let data = gateway.dir.join("data");
    let mut world = crate::loopback::World::new(&gateway);
    let party = world.answered_call("06325551234");
    let mut api = gateway.api();
    let no = crate::loopback::eventually(&mut world, || {
        let (_, body) = api.request("GET", "/v1/alerts", "").expect("answered");
        let page: Value = serde_json::from_str(&body).expect("JSON");
        page["alerts"][0]["id"]["alert_no"].as_str().map(str::to_owned)
    });
    let ask = |area: &str, path: &str| {
        let token = token(&data, &["--role", "supervisor", "--subject", "chief", "--area", area]);
        std::thread::park_timeout(Duration::from_millis(1100));
        loadtest::api::Api::new(gateway.http, &token).request("GET", path, "").expect("answered")
    };
    let alert = format!("/v1/alerts/{no}");
    assert_eq!(ask("3704", &alert).0, 200);
    assert_eq!(ask("3705", &alert).0, 404, "elsewhere there is no such alert");
    let (_, list) = ask("3705", "/v1/alerts");
    assert!(list.contains("\"alerts\":[]"), "{list}");

    // An answer that is kept under a key is no way around the area.
    let said_under_a_key = |area: &str| {
        let token = token(&data, &["--role", "supervisor", "--subject", "chief", "--area", area]);
        std::thread::park_timeout(Duration::from_millis(1100));
        let body = r#"{"by":"caller","body":"x"}"#;
        crate::rude::keyed_as(&gateway, &token, &format!("{alert}/transcript"), "k", body, true).0
    };
    assert_eq!(["3704", "3705", "3704"].map(said_under_a_key), [200, 404, 200]);

    let seat = world.seen.iter().find_map(|h| match h {
        loadtest::Happening::PickedUp { user, .. } => Some(if user == "1001" { "S01" } else { "S02" }),
        _ => None,
    });
    let seat = seat.expect("a seat picked up");
    let mine = token(&data, &["--role", "seat", "--subject", seat]);
    std::thread::park_timeout(Duration::from_millis(1100));
    let path = format!("/v1/seats/{seat}/triage");
    let triage = r#"{"kind":"report","text":"x"}"#;
    let (code, said) = loadtest::api::Api::new(gateway.http, &mine).request("POST", &path, triage).expect("answered");
    assert_eq!(code, 200, "{said}");
    world.peers.hang_up(party);
    world.until(|s| s.contains(&loadtest::Happening::Ended { party }));
    let dir = gateway.kill();
    let mut journal = Vec::new();
    for entry in std::fs::read_dir(dir.join("data/journal")).expect("a journal") {
        journal.extend(std::fs::read(entry.expect("an entry").path()).expect("read"));
    }
    let text = String::from_utf8_lossy(&journal);
    let classified = text.split("{\"specversion\"").find(|e| e.contains("alert.classified.v1")).expect("an event");
    assert!(classified.contains(&format!("\"actor\":\"seat:{seat}\"")), "{classified}");
    let answered = text.split("{\"specversion\"").find(|e| e.contains("alert.answered.v1")).expect("an event");
    assert!(!answered.contains("\"actor\""), "nobody asked for it: {answered}");
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn a_stream_ends_with_the_token_that_it_was_opened_under() {
    let gateway = Gateway::start("stream", 17_500);
    let data = gateway.dir.join("data");
    let supervisor = token(&data, &["--role", "supervisor", "--subject", "gone"]);
    std::thread::park_timeout(Duration::from_millis(1100));
    let mut stream = TcpStream::connect(gateway.http).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {supervisor}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut head = [0; 15];
    stream.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let listed = Command::new(env!("CARGO_BIN_EXE_gateway")).args(["token", "list", "--data"]).arg(&data).output();
    let listed = String::from_utf8(listed.expect("ran").stdout).expect("text");
    let id = listed.lines().find(|l| l.contains("gone")).and_then(|l| l.split_whitespace().next()).expect("its id");
    let done = Command::new(env!("CARGO_BIN_EXE_gateway")).args(["token", "revoke", id, "--data"]).arg(&data).status();
    assert!(done.expect("ran").success());
    std::thread::park_timeout(Duration::from_millis(2200));
    let mut world = crate::loopback::World::new(&gateway);
    let party = world.answered_call("13800000081");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the stream ends");
    let rest = String::from_utf8_lossy(&rest);
    assert!(!rest.contains("alert."), "nothing that came later: {rest}");
    world.peers.hang_up(party);
    world.until(|s| s.contains(&loadtest::Happening::Ended { party }));
}
