//! What is set aside before anybody calls, and files that keep whoever reads them waiting.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use codecs::record::AlertNo;
use loadtest::Happening;
use loadtest::api::Api;

use crate::loopback::{Downstream, Gateway, World, eventually};
use crate::text::{KIOSK, signature_now, signed_now};

fn configure(name: &str, rtp: u16, change: impl Fn(String) -> String) -> std::path::PathBuf {
    let dir = Gateway::prepare(name, rtp);
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    std::fs::write(&path, change(text)).expect("written");
    dir
}

fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    Api::new(address, "").request("GET", path, "").expect("answered")
}

/// Once it is told.
fn gauge(gateway: &Gateway, name: &str) -> Option<f64> {
    let (_, text) = ask(gateway.admin, "/metrics");
    text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok())
}

/// A file that is opened and never comes to an end.
fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success(), "{}", path.display());
}

#[test]
fn the_media_ports_of_the_rated_load_are_bound_before_the_first_call() {
    let rated = |text: String| text.replace("shards = 3", "shards = 1").replace("calls           = 600", "calls = 60");
    let gateway = Gateway::run(configure("stock", 28_000, rated));
    let mut world = World::new(&gateway);
    // Far more than are kept bound for whoever comes next.
    let bound = || gauge(&gateway, "gateway_media_ports_free").filter(|free| *free >= 180.0);
    eventually(&mut world, bound);
    let (status, said) = ask(gateway.admin, "/readyz");
    assert!(status == 200 && !said.contains("media-ports"), "{said}");
}

#[test]
fn with_fewer_media_ports_than_the_rated_load_needs_it_starts_says_so_and_answers() {
    let gateway = Gateway::start("fewports", 28_500);
    let (status, said) = ask(gateway.admin, "/readyz");
    assert!(status == 200 && said.contains("degraded: media-ports GW-1104"), "{said}");
    World::new(&gateway).answered_call("13800000091");
}

#[test]
fn hooks_are_served_where_they_have_a_listener_and_nowhere_else() {
    let apart = |text: String| {
        let text = text.replace("# hooks = \"0.0.0.0:8111\"", "hooks = \"127.0.0.1:0\"");
        format!("{text}\n{KIOSK}")
    };
    let gateway = Gateway::run(configure("apart", 29_000, apart));
    let hooks = gateway.hooks.expect("the ready line names it");
    let body = "{\"from\":\"u1\",\"text\":\"救命\"}";
    assert_eq!(signed_now(gateway.http, "m1", body).0, 404);
    assert_eq!(signed_now(hooks, "m1", body).0, 200);
    for path in ["/v1/alerts", "/openapi.json", "/metrics"] {
        assert_eq!(ask(hooks, path).0, 404, "{path} is none of theirs");
    }
    assert_eq!(gateway.api().request("GET", "/v1/alerts", "").expect("answered").0, 200);
}

#[test]
fn on_a_directory_that_it_may_not_write_it_starts_answers_and_keeps_what_was_said_once_it_may() {
    let dir = configure("readonly", 29_500, |text| text);
    let data = dir.join("data");
    std::fs::create_dir(&data).expect("made");
    let allow = |mode| std::fs::set_permissions(&data, std::fs::Permissions::from_mode(mode)).expect("set");
    allow(0o555);
    // Nothing is forbidden to the superuser; nobody is anybody else.
    let user = (std::fs::metadata("/proc/self").expect("there").uid() == 0).then_some(65_534);
    let gateway = Gateway::run_as(dir, user);
    let readyz = || ask(gateway.admin, "/readyz");
    let (status, said) = readyz();
    assert!(status == 200 && said.contains("degraded: journal GW-3101"), "{said}");
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000092");
    world.peers.hang_up(party);
    allow(0o777);
    eventually(&mut world, || (!readyz().1.contains("degraded: journal")).then_some(()));
    let data = data.clone();
    let said = eventually(&mut world, || {
        let told = Command::new(env!("CARGO_BIN_EXE_gateway")).args(["audit", "verify", "--data"]).arg(&data).output();
        let said = String::from_utf8_lossy(&told.expect("ran").stdout).into_owned();
        (!said.is_empty() && !said.contains(" 0 events")).then_some(said)
    });
    assert!(said.contains("events"), "{said}");
}

#[test]
fn what_is_older_than_it_is_kept_goes_and_what_is_younger_stays() {
    let keep = |text: String| {
        text.replace("# keep_recordings = \"2160h\"", "keep_recordings = \"48h\"")
            .replace("low_water_mb    = 2048", "low_water_mb = 9000000000")
    };
    let dir = configure("retention", 30_000, keep);
    let no = |n| AlertNo::mint("370400000000", 20_261_101, 1, n).to_string();
    let (old, young) = (dir.join("data/recordings").join(no(1)), dir.join("data/recordings").join(no(2)));
    let now = loadtest::clock::Clock::start().wall_s() as u64;
    for (path, hours) in [(&old, 49), (&young, 47)] {
        std::fs::create_dir_all(path).expect("made");
        std::fs::write(path.join("mix.wav"), b"RIFF").expect("written");
        let at = std::time::UNIX_EPOCH + Duration::from_secs(now - hours * 3600);
        std::fs::File::open(path).and_then(|d| d.set_modified(at)).expect("set");
    }
    let gateway = Gateway::run(dir);
    let mut world = World::new(&gateway);
    eventually(&mut world, || (!old.exists()).then_some(()));
    assert!(young.join("mix.wav").exists());
    let (status, said) = ask(gateway.admin, "/readyz");
    assert!(status == 200 && said.contains("degraded: disk GW-3502"), "no disk has so much room: {said}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is measured is how long a real request waits")]
fn whoever_waits_for_a_file_keeps_no_call_hook_or_probe_waiting() {
    let dir = configure("waits", 30_500, |text| format!("{text}\n{KIOSK}"));
    // The sink's own file does not come to an end, however long it is read.
    std::fs::create_dir_all(dir.join("data/sinks")).expect("made");
    make_fifo(&dir.join("data/sinks/command.dead.ndjson"));
    let gateway = Gateway::run(dir);
    let mut world = World::new(&gateway);
    let body = |n: u32| format!("{{\"from\":\"u{n}\",\"text\":\"救命\"}}");
    let hook = |n: u32| signed_now(gateway.http, &format!("m{n}"), &body(n)).0;
    assert_eq!(hook(0), 200);
    // Nor does the journal, for whoever begins to read it now.
    let journal = gateway.dir.join("data/journal");
    let entries = std::fs::read_dir(&journal).expect("a journal").flatten().map(|e| e.path());
    let first = entries.filter(|p| p.extension().is_some_and(|e| e == "seg")).min().expect("a segment");
    std::fs::rename(&first, gateway.dir.join("aside")).expect("moved");
    make_fifo(&first);
    let token = std::fs::read_to_string(gateway.dir.join("data/token")).expect("a token");
    let streams: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.http).expect("connected");
            let head = format!(
                "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nLast-Event-ID: 0\r\n\r\n",
                token.trim()
            );
            stream.write_all(head.as_bytes()).expect("written");
            stream
        })
        .collect();
    world.serve(Duration::from_millis(300));
    for n in 1..20 {
        let begun = Instant::now();
        assert_eq!((hook(n), ask(gateway.admin, "/healthz").0), (200, 200));
        assert!(begun.elapsed() < Duration::from_secs(2), "{n} waited for {:?}", begun.elapsed());
    }
    let party = world.answered_call("13800000093");
    world.peers.hang_up(party);
    world.until(|s| s.contains(&Happening::Ended { party }));
    // They do wait, all this time: nobody of them has been told an event.
    for mut stream in streams {
        stream.set_nonblocking(true).expect("set");
        let mut said = [0; 4096];
        let len = stream.read(&mut said).unwrap_or(0);
        assert!(!String::from_utf8_lossy(&said[..len]).contains("data:"), "{}", String::from_utf8_lossy(&said[..len]));
    }
}

/// A keyed request by hand, whose answer is read or left.
fn keyed(gateway: &Gateway, path: &str, key: &str, body: &str, read: bool) -> (u16, serde_json::Value) {
    let token = std::fs::read_to_string(gateway.dir.join("data/token")).expect("a token");
    keyed_as(gateway, token.trim(), path, key, body, read)
}

/// The same under another token. `read`: the answer is waited for.
pub(crate) fn keyed_as(
    gateway: &Gateway,
    token: &str,
    path: &str,
    key: &str,
    body: &str,
    read: bool,
) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(gateway.http).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nIdempotency-Key: {key}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        token,
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("written");
    if !read {
        return (0, serde_json::Value::Null);
    }
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    let status = said.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, said.split_once("\r\n\r\n").and_then(|(_, b)| serde_json::from_str(b).ok()).unwrap_or_default())
}

#[test]
fn whoever_leaves_and_asks_again_under_the_same_key_is_served_once_over_a_restart_too() {
    let downstream = Downstream::start(200);
    let url = format!("http://{}/", downstream.address);
    let dir = configure("keys", 31_000, |text| format!("{text}\n{KIOSK}send = \"{url}\"\n"));
    let gateway = Gateway::run(dir);
    let line = |n: u32| format!("{{\"channel\":\"kiosk\",\"to\":\"u{n}\",\"body\":\"请说明位置\"}}");
    let ask = |gateway: &Gateway, n: u32, read| keyed(gateway, "/v1/outbound", &format!("key-{n}"), &line(n), read);
    for n in 0..20 {
        ask(&gateway, n, false);
    }
    let ids: Vec<String> = (0..20)
        .map(|n| {
            let (status, body) = ask(&gateway, n, true);
            assert_eq!(status, 200, "{body}");
            body["id"].as_str().expect("a name").to_owned()
        })
        .collect();
    let (status, _) = keyed(&gateway, "/v1/outbound", "key-1", &line(2), true);
    assert_eq!(status, 422, "the key was used for something else");
    let again = Gateway::run(gateway.kill());
    for (n, id) in (0..20).zip(&ids) {
        let (status, body) = ask(&again, n, true);
        assert_eq!((status, body["id"].as_str()), (200, Some(id.as_str())), "{body}");
    }
    let mut world = World::new(&again);
    let told = || downstream.ids.lock().expect("whole").clone();
    eventually(&mut world, || (told().len() >= 20).then_some(()));
    world.serve(Duration::from_millis(300));
    let different: std::collections::BTreeSet<String> = told().into_iter().collect();
    assert_eq!(different.len(), 20, "each line went out under one name");
}

#[test]
fn a_key_is_honoured_on_every_write() {
    let gateway = Gateway::start("everykey", 31_500);
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000094");
    let no = eventually(&mut world, || {
        let (_, body) = gateway.api().request("GET", "/v1/alerts", "").expect("answered");
        let page: serde_json::Value = serde_json::from_str(&body).ok()?;
        Some(page["alerts"].get(0)?["id"]["alert_no"].as_str()?.to_owned())
    });
    let path = format!("/v1/alerts/{no}/transcript");
    for _ in 0..2 {
        assert_eq!(keyed(&gateway, &path, "t1", "{\"by\":\"caller\",\"body\":\"有人打架\"}", true).0, 200);
    }
    assert_eq!(keyed(&gateway, &path, "t2", "{\"by\":\"caller\",\"body\":\"有人受伤\"}", true).0, 200);
    let lines = eventually(&mut world, || {
        let (_, body) = gateway.api().request("GET", &format!("/v1/alerts/{no}"), "").expect("answered");
        let record: serde_json::Value = serde_json::from_str(&body).ok()?;
        let lines: Vec<String> =
            record["text"].as_array()?.iter().filter_map(|l| Some(l["body"].as_str()?.to_owned())).collect();
        lines.contains(&"有人受伤".to_owned()).then_some(lines)
    });
    assert_eq!(lines.iter().filter(|l| *l == "有人打架").count(), 1, "{lines:?}");
    world.peers.hang_up(party);
}

#[test]
fn long_messages_of_strangers_keep_no_other_source_out_and_no_short_one() {
    let gateway = Gateway::run(configure("long", 32_000, |text| format!("{text}\n{KIOSK}")));
    let from = |source: [u8; 4], headers: &[(&str, String)], length: usize, sent: &str| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("bound");
        socket.connect(&gateway.http.into()).expect("connected");
        let mut stream: TcpStream = socket.into();
        let mut head =
            format!("POST /hook/kiosk HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{head}\r\n{sent}").as_bytes()).expect("written");
        stream
    };
    let status = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(9))).expect("set");
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        said.split(' ').nth(1).and_then(|s| s.parse::<u16>().ok())
    };
    let honest = |source, id: &str| {
        let body = format!("{{\"from\":\"u1\",\"text\":\"救命\"}}{}", " ".repeat(20_000));
        status(from(source, &signature_now(id, &body), body.len(), &body))
    };
    let (crowd, other) = ([127, 0, 0, 7], [127, 0, 0, 8]);
    // Whoever only says that much will come takes nothing.
    let heads: Vec<TcpStream> = (0..70).map(|_| from(crowd, &[], 200_000, "x")).collect();
    assert_eq!(honest(crowd, "l1"), Some(200));
    drop(heads);
    let half = "x".repeat(40_000);
    let sitting: Vec<TcpStream> = (0..70).map(|_| from(crowd, &[], 200_000, &half)).collect();
    assert_eq!(honest(other, "l2"), Some(200), "another source has places of its own");
    assert_eq!(signed_now(gateway.http, "l3", "{\"from\":\"u1\",\"text\":\"快\"}").0, 200, "short ones always");
    assert_eq!(honest(crowd, "l4"), Some(200), "the oldest that does not go on gives way");
    drop(sitting);
    assert_eq!(honest(crowd, "l5"), Some(200));
}

#[test]
fn whatever_is_refused_is_a_problem_with_a_code_and_whoever_has_hung_up_half_is_answered() {
    let gateway = Gateway::start("problems", 32_500);
    let token = std::fs::read_to_string(gateway.dir.join("data/token")).expect("a token");
    let ask = |line: &str, more: &str, half: bool| {
        let mut stream = TcpStream::connect(gateway.http).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        let head =
            format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n", token.trim());
        let _ = stream.write_all(format!("{head}{more}").as_bytes());
        if half {
            stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        }
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    };
    let long = format!("Content-Length: 3000000\r\n\r\n{}", " ".repeat(3_000_000));
    for (line, more, status) in [
        ("GET /v1/alerts?limit=x", "\r\n", "400"),
        ("GET /v1/alerts?limit=1&limit=2", "\r\n", "400"),
        ("GET /v1/alerts/%ff", "\r\n", "400"),
        ("POST /v1/outbound", long.as_str(), "413"),
        ("DELETE /v1/alerts", "\r\n", "405"),
        ("GET /nowhere", "\r\n", "404"),
    ] {
        let said = ask(line, more, false);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {said}");
        assert!(said.contains("application/problem+json") && said.contains("\"code\":\"GW-"), "{line}: {said}");
    }
    let said = ask("HEAD /v1/alerts", "\r\n", false);
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    let said = ask("GET /v1/alerts", "\r\n", true);
    assert!(said.contains("\"alerts\":[]"), "{said}");
}
