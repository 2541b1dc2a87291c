//! The binary on real sockets: a call answered, recorded, reported; bad input; drain. Ports are the kernel's choice.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use loadtest::api::Api;
use loadtest::clock::Clock;
use loadtest::{AgentId, Behaviour, Happening, PartyKey, Peers};

pub(crate) struct Gateway {
    child: Child,
    pub sip: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    /// Where hooks are served apart from the API.
    pub hooks: Option<SocketAddr>,
    pub dir: PathBuf,
}

impl Gateway {
    /// A gateway of the example configuration, on ports of the kernel's choice, in a directory of its own.
    pub(crate) fn start(name: &str, rtp: u16) -> Gateway {
        Gateway::run(Gateway::prepare(name, rtp))
    }

    /// The directory with the configuration and its tables.
    pub(crate) fn prepare(name: &str, rtp: u16) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("gw-it-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/example");
        let tables = std::fs::read_dir(&example).expect("the example").map(|file| file.expect("a file").file_name());
        for table in tables.filter(|name| !name.to_string_lossy().ends_with(".toml")) {
            std::fs::copy(example.join(&table), dir.join(&table)).expect("a table");
        }
        let text = std::fs::read_to_string(example.join("city.toml")).expect("the example");
        let text = text
            .replace("127.0.0.1:5060", "127.0.0.1:0")
            .replace("127.0.0.1:8110", "127.0.0.1:0")
            .replace("127.0.0.1:9110", "127.0.0.1:0")
            // More than most machines of these tests would have by themselves.
            .replace("[node]\n", "[node]\nshards = 3\n")
            .replace("20000-31999", &format!("{rtp}-{}", rtp + 400));
        std::fs::write(dir.join("city.toml"), text).expect("a configuration");
        dir
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn run(dir: PathBuf) -> Gateway {
        Gateway::run_as(dir, None)
    }

    /// As another user, where one is named.
    pub(crate) fn run_as(dir: PathBuf, user: Option<u32>) -> Gateway {
        // A file that may not grow raises SIGXFSZ; ignored, as the shell hands it on, it is an error like any other.
        let mut command = Command::new("sh");
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut child = command
            .args(["-c", "trap '' XFSZ; exec \"$0\" run --config \"$1\"", env!("CARGO_BIN_EXE_gateway")])
            .arg(dir.join("city.toml"))
            .env("UNIT_SECRET", "unit")
            .env("CHANNEL_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .env("WECHAT_TOKEN", "police110token")
            .env("WECHAT_KEY", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
            .env("COMMAND_SINK_SECRET", "whsec_cG9saWNlLTExMC1kZW1vLXNlY3JldC0zMi1ieXRlcyE=")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().create(true).append(true).open(dir.join("stderr.log")).expect("a log"))
            .spawn()
            .expect("the gateway starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a first line");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the ready line");
        let address = |what: &str| ready["ready"][what].as_str().expect("an address").parse().expect("an address");
        let hooks = ready["ready"]["hooks"].as_str().map(|text| text.parse().expect("an address"));
        Gateway { sip: address("sip"), http: address("http"), admin: address("admin"), hooks, child, dir }
    }

    pub(crate) fn api(&self) -> Api {
        let token = std::fs::read_to_string(self.dir.join("data/token")).expect("a token");
        Api::new(self.http, token.trim())
    }

    pub(crate) fn kill(mut self) -> PathBuf {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited");
        std::mem::take(&mut self.dir)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.dir.exists() && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

pub(crate) struct World {
    pub peers: Peers,
    pub trunk: AgentId,
    pub seen: Vec<Happening>,
}

impl World {
    pub(crate) fn new(gateway: &Gateway) -> World {
        let mut peers = Peers::new(Clock::start()).expect("peers");
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let quick = Behaviour::Answer { after: Duration::ZERO };
        let trunk = peers.add_agent(local, gateway.sip, 0, quick).expect("a trunk");
        let seats = peers.add_agent(local, gateway.sip, 1, quick).expect("seats");
        let officers = peers.add_agent(local, gateway.sip, 2, quick).expect("officers");
        let mut world = World { peers, trunk, seen: Vec::new() };
        world.peers.register(seats, "1001", "change-me");
        world.peers.register(seats, "1002", "change-me");
        world.peers.register(officers, "2001", "change-me");
        world.until(|s| s.iter().filter(|h| matches!(h, Happening::Registered { .. })).count() == 3);
        world
    }

    /// Serves the peers until `held` holds; ten seconds are a failure.
    pub(crate) fn until(&mut self, held: impl Fn(&[Happening]) -> bool) {
        let end = self.peers.clock.now() + Duration::from_secs(10);
        while !held(&self.seen) {
            assert!(self.peers.clock.now() < end, "within ten seconds; seen: {:?}", self.seen);
            self.peers.step(Duration::from_millis(5));
            while let Some((_, happening)) = self.peers.poll_happening() {
                self.seen.push(happening);
            }
        }
    }

    pub(crate) fn serve(&mut self, time: Duration) {
        let end = self.peers.clock.now() + time;
        while self.peers.clock.now() < end {
            self.peers.step(Duration::from_millis(5));
            while let Some((_, happening)) = self.peers.poll_happening() {
                self.seen.push(happening);
            }
        }
    }

    pub(crate) fn answered_call(&mut self, number: &str) -> PartyKey {
        let party = self.peers.call(self.trunk, number, "110", 3).expect("a call");
        self.until(|s| s.contains(&Happening::Answered { party }) && s.contains(&Happening::Heard { party }));
        party
    }
}

/// Asks until the answer satisfies; ten seconds are a failure.
pub(crate) fn eventually<T>(world: &mut World, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(value) = ask() {
            return value;
        }
        world.serve(Duration::from_millis(50));
    }
    panic!("within ten seconds");
}

#[test]
fn a_call_is_answered_triaged_bridged_recorded_and_on_record() {
    let gateway = Gateway::start("call", 12_000);
    let mut world = World::new(&gateway);
    let mut api = gateway.api();
    let party = world.answered_call("06325551234");
    let seat = world.seen.iter().find_map(|h| match h {
        Happening::PickedUp { user, .. } => Some(if user == "1001" { "S01" } else { "S02" }),
        _ => None,
    });
    let seat = seat.expect("a seat picked up");
    let body = r#"{"kind":"report","text":"有人持刀"}"#;
    let (status, reply) = api.request("POST", &format!("/v1/seats/{seat}/triage"), body).expect("answered");
    assert_eq!(status, 200, "{reply}");
    let reply: serde_json::Value = serde_json::from_str(&reply).expect("JSON");
    let no = reply["alert_no"].as_str().expect("a number").to_owned();
    world.until(|s| s.iter().any(|h| matches!(h, Happening::PickedUp { user, .. } if user == "2001")));
    let (status, _) = api
        .request("POST", &format!("/v1/alerts/{no}/transcript"), r#"{"by":"caller","body":"要爆炸了"}"#)
        .expect("answered");
    assert_eq!(status, 200);
    let mut tap = TcpStream::connect(gateway.http).expect("connected");
    let token = std::fs::read_to_string(gateway.dir.join("data/token")).expect("a token");
    let ask = format!(
        "GET /v1/alerts/{no}/audio/caller HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.trim()
    );
    tap.write_all(ask.as_bytes()).expect("sent");
    world.serve(Duration::from_millis(800));
    world.peers.hang_up(party);
    let mut heard = Vec::new();
    tap.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    world.until(|s| s.contains(&Happening::Ended { party }));
    tap.read_to_end(&mut heard).expect("the tap ends with the call");
    assert!(heard.len() > 3000, "{} bytes tapped", heard.len());
    let record = eventually(&mut world, || {
        let (status, body) = api.request("GET", &format!("/v1/alerts/{no}"), "").expect("answered");
        let record: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        (status == 200 && record["state"] == "closed").then_some(record)
    });
    assert_eq!(record["incident"]["level"], 1);
    assert_eq!(record["incident"]["keywords"].as_array().map(Vec::len), Some(2));
    assert_eq!(record["reporter"]["subscriber"]["name"], "赵敏");
    assert_eq!(record["dispatch"][0]["officer"], "370402001");
    let tracks: Vec<&str> =
        record["media"].as_array().expect("media").iter().filter_map(|m| m["track"].as_str()).collect();
    assert_eq!(tracks, ["mix", "caller", "seat", "officer"]);
    for media in record["media"].as_array().expect("media") {
        let file =
            std::fs::read(gateway.dir.join("data").join(media["uri"].as_str().expect("a path"))).expect("a file");
        assert!(codecs::audio::wav::Wav::parse(&file).is_ok());
    }
    let log = std::fs::read_to_string(gateway.dir.join("stderr.log")).expect("a log");
    assert!(log.contains("\"level\":\"INFO\""), "JSON, not being a terminal: {log}");
    assert!(!log.contains("06325551234") && !log.contains("持刀"), "no number and no text of a caller in the log");
    let (_, metrics) = Api::new(gateway.admin, "").request("GET", "/metrics", "").expect("answered");
    assert!(
        metrics.contains("gateway_call_answer_seconds_bucket{trunk=\"telecom\",mode=\"seat\",le=\"3\"} 1"),
        "{metrics}"
    );
}

#[test]
fn after_a_kill_the_recording_and_the_record_are_there_and_numbers_go_on() {
    let gateway = Gateway::start("kill", 12_500);
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000001");
    world.serve(Duration::from_millis(1500));
    let _ = party;
    let dir = gateway.kill();
    let again = Gateway::run(dir);
    let mut api = again.api();
    let mut world = World::new(&again);
    let record = eventually(&mut world, || {
        let (_, body) = api.request("GET", "/v1/alerts", "").expect("answered");
        let page: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let alert = page["alerts"].as_array()?.iter().find(|a| a["state"] == "closed")?.clone();
        Some(alert)
    });
    assert!(record["marks"].as_array().is_some_and(|m| m.iter().any(|m| m == "interrupted_by_restart")));
    let mix = record["media"].as_array().expect("media").iter().find(|m| m["track"] == "mix").expect("a mix");
    // 1.5 s were served after the answer; at most 200 ms may be missing.
    assert!(mix["duration_ms"].as_u64().expect("a number") >= 1300, "{mix}");
    world.answered_call("13800000002");
    let numbers = eventually(&mut world, || {
        let (_, body) = api.request("GET", "/v1/alerts", "").expect("answered");
        let page: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let numbers: Vec<String> =
            page["alerts"].as_array()?.iter().filter_map(|a| a["id"]["alert_no"].as_str().map(str::to_owned)).collect();
        (numbers.len() == 2).then_some(numbers)
    });
    assert_ne!(numbers[0], numbers[1]);
}

#[test]
fn one_connection_reaches_every_shard_and_hears_from_each() {
    let gateway = Gateway::start("stream", 14_000);
    let mut stream = TcpStream::connect(gateway.sip).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut text = String::new();
    for n in 0..40 {
        let request = format!(
            "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:{0}>\r\nCall-ID: call-{n}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            gateway.sip
        );
        stream.write_all(request.as_bytes()).expect("written");
    }
    let mut buffer = [0; 4096];
    while text.matches("SIP/2.0 200").count() < 40 {
        let len = stream.read(&mut buffer).expect("an answer to each");
        assert!(len > 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
    assert!((0..40).all(|n| text.contains(&format!("Call-ID: call-{n}\r\n"))), "{text}");
}

#[test]
fn bad_input_is_refused_and_the_next_call_is_answered() {
    let gateway = Gateway::start("bad", 13_000);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../codecs/corpus");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for folder in ["rfc4475", "rfc5118"] {
        for entry in std::fs::read_dir(corpus.join(folder)).expect("the corpus") {
            let path = entry.expect("an entry").path();
            let bytes = std::fs::read(&path).expect("a file");
            let _ = socket.send_to(&bytes, gateway.sip);
            let mut stream = TcpStream::connect(gateway.sip).expect("connected");
            let _ = stream.write_all(&bytes);
        }
    }
    let mut api = gateway.api();
    for (method, path, body, status) in [
        ("POST", "/v1/seats/S01/triage", "{}", 422),
        ("POST", "/v1/seats/S01/triage", r#"{"kind":"report","level":9}"#, 422),
        ("POST", "/v1/seats/S01/three-way", "", 409),
        ("POST", "/v1/seats/nobody/three-way", "", 404),
        ("PUT", "/v1/officers/nobody/duty", r#"{"on_duty":true}"#, 404),
        ("PUT", "/v1/officers/370402001/position", r#"{"lon":200,"lat":1}"#, 422),
        ("PUT", "/v1/officers/370402001/position", r#"{"lon":117.5,"lat":34.8}"#, 204),
        ("PUT", "/v1/officers/370402001/duty", r#"{"on_duty":true}"#, 200),
        // No end of a number: numbers are drawn by chance, and one of those above may end in any few digits.
        ("GET", "/v1/alerts/111111111111111111111111111111", "", 404),
        ("GET", "/nowhere", "", 404),
    ] {
        let (got, body) = api.request(method, path, body).expect("answered");
        assert_eq!(got, status, "{method} {path}: {body}");
        assert!(status < 300 || body.contains("\"code\":\"GW-4"), "{body}");
    }
    let (status, _) = Api::new(gateway.http, "wrong").request("GET", "/v1/alerts", "").expect("answered");
    assert_eq!(status, 401);
    let mut world = World::new(&gateway);
    world.answered_call("13800000003");
}

#[test]
fn a_taken_port_is_named_with_its_holder() {
    let gateway = Gateway::start("port", 13_500);
    let text = std::fs::read_to_string(gateway.dir.join("city.toml")).expect("a configuration");
    let holder = format!("pid {}", gateway.child.id());
    let start = |text: String| {
        let path = gateway.dir.join("taken.toml");
        std::fs::write(&path, text).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(["run", "--config"])
            .arg(&path)
            .env("UNIT_SECRET", "unit")
            .env("COMMAND_SINK_SECRET", "whsec_cG9saWNlLTExMC1kZW1vLXNlY3JldC0zMi1ieXRlcyE=")
            .output()
            .expect("ran");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let same_port = text.replacen("127.0.0.1:0", &gateway.sip.to_string(), 1);
    let said = start(same_port.replace("data_dir = \"data\"", "data_dir = \"elsewhere\""));
    assert!(said.contains(&gateway.sip.port().to_string()) && said.contains(&holder), "{said}");
    // Its data directory is nobody else's either.
    let said = start(text);
    assert!(said.contains("GW-1003") && said.contains(&holder), "{said}");
}

#[test]
fn sigterm_drains_and_then_ends() {
    // At once, as a supervisor does that changed its mind: whoever says that it is ready listens.
    let mut gateway = Gateway::start("drain", 14_000);
    let pid = gateway.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("ran").success());
    let status = gateway.child.wait().expect("ended");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_end_in_the_middle_of_calls_is_no_failure_of_anybody() {
    let mut gateway = Gateway::start("end", 19_500);
    let mut world = World::new(&gateway);
    let _up = ["13800000095", "13800000096"].map(|number| world.answered_call(number));
    for _ in 0..2 {
        assert!(Command::new("kill").args(["-TERM", &gateway.pid().to_string()]).status().expect("ran").success());
        world.serve(Duration::from_millis(300));
    }
    // At once, though the sink that the example names is nowhere.
    eventually(&mut world, || {
        gateway.child.try_wait().expect("asked").map(|status| assert_eq!(status.code(), Some(0)))
    });
    let log = std::fs::read_to_string(gateway.dir.join("stderr.log")).expect("a log");
    assert!(!log.contains("panicked") && !log.contains("GW-1004"), "{log}");
}

#[test]
fn a_broken_configuration_names_file_line_and_key() {
    let dir = std::env::temp_dir().join(format!("gw-it-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("city.toml");
    std::fs::write(&path, "config_version = 1\n[city]\nnmae = \"x\"\n").expect("written");
    let output =
        Command::new(env!("CARGO_BIN_EXE_gateway")).args(["check", "--config"]).arg(&path).output().expect("ran");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78));
    assert!(said.contains("city.toml:3") && said.contains("did you mean `name`"), "{said}");
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn the_live_stream_gives_every_event_from_the_last_id_on() {
    let gateway = Gateway::start("sse", 14_500);
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000004");
    world.peers.hang_up(party);
    world.until(|s| s.contains(&Happening::Ended { party }));
    let token = std::fs::read_to_string(gateway.dir.join("data/token")).expect("a token");
    let mut stream = TcpStream::connect(gateway.http).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nLast-Event-ID: 0\r\n\r\n",
        token.trim()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("alert.ended.v1") {
        let len = stream.read(&mut buffer).expect("the stream goes on until the end of the alert");
        text.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
    let order: Vec<usize> = ["alert.arrived.v1", "alert.offered.v1", "alert.answered.v1", "alert.recorded.v1"]
        .iter()
        .map(|k| text.find(k).expect("there"))
        .collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn with_the_disk_gone_calls_are_answered_and_the_loss_is_an_alarm_and_a_metric() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let gateway = Gateway::start("disk", 17_000);
    let mut world = World::new(&gateway);
    let pid = Pid::from_raw(gateway.child.id() as i32);
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(pid, Resource::Fsize, nothing).expect("limited");
    let party = world.answered_call("13800000009");
    let seat = world.seen.iter().find_map(|h| match h {
        Happening::PickedUp { user, .. } => Some(if user == "1001" { "S01" } else { "S02" }),
        _ => None,
    });
    let body = r#"{"kind":"report"}"#;
    let path = format!("/v1/seats/{}/triage", seat.expect("a seat picked up"));
    let (status, said) = gateway.api().request("POST", &path, body).expect("answered");
    assert!(status == 503 && said.contains("GW-3101") && said.contains("\"done\":true"), "{status} {said}");
    // Carried out all the same: the officer is called.
    world.until(|s| s.iter().any(|h| matches!(h, Happening::PickedUp { user, .. } if user == "2001")));
    let mut admin = Api::new(gateway.admin, "");
    assert_eq!(admin.request("GET", "/readyz", "").expect("answered").0, 200, "still ready for calls");
    eventually(&mut world, || {
        let metrics = admin.request("GET", "/metrics", "").expect("answered").1;
        let told = ["gateway_store_up 0", "gateway_recording_errors_total{reason=\"write\"}"];
        told.iter().all(|t| metrics.contains(t)).then_some(())
    });
    world.peers.hang_up(party);
    world.until(|s| s.contains(&Happening::Ended { party }));
}

/// A downstream that answers every delivery with the status it is told to; counts them.
pub(crate) struct Downstream {
    pub address: SocketAddr,
    status: std::sync::Arc<std::sync::atomic::AtomicU16>,
    pub ids: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Downstream {
    pub(crate) fn start(status: u16) -> Downstream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let status = std::sync::Arc::new(std::sync::atomic::AtomicU16::new(status));
        let ids = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let (says, seen) = (status.clone(), ids.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (says, seen) = (says.clone(), seen.clone());
                std::thread::spawn(move || Downstream::serve(stream, &says, &seen));
            }
        });
        Downstream { address, status, ids }
    }

    fn serve(stream: TcpStream, says: &std::sync::atomic::AtomicU16, seen: &std::sync::Mutex<Vec<String>>) {
        let mut reader = BufReader::new(stream);
        while let Some((id, length)) = Downstream::head(&mut reader) {
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                break;
            }
            let says = says.load(std::sync::atomic::Ordering::SeqCst);
            // 600: a first revision is refused, and nothing else.
            let status = match (says, id.ends_with(":1")) {
                (600, true) => 422,
                (600, false) => 200,
                (says, _) => says,
            };
            if status == 200 {
                seen.lock().expect("whole").push(id);
            }
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    }

    /// The id and the length of the next request, when there is one.
    fn head(reader: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
        let (mut id, mut length, mut line) = (String::new(), 0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("webhook-id", value)) => id = value.to_owned(),
                Some(("content-length", value)) => length = value.parse().ok()?,
                Some(_) => {}
                None if line.trim_end().is_empty() => return Some((id, length)),
                None => {}
            }
        }
    }
}

#[test]
fn what_a_downstream_refuses_goes_to_the_dead_letters_and_is_delivered_on_replay() {
    let downstream = Downstream::start(422);
    let dir = Gateway::prepare("replay", 16_000);
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let url = format!("http://{}/", downstream.address);
    std::fs::write(&path, text.replace("http://127.0.0.1:8080/alerts", &url)).expect("written");
    let gateway = Gateway::run(dir);
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000010");
    world.peers.hang_up(party);
    let dead = gateway.dir.join("data/sinks/command.dead.ndjson");
    let count = |path: &Path| std::fs::read_to_string(path).map_or(0, |t| t.lines().count());
    eventually(&mut world, || (count(&dead) >= 5).then_some(()));
    world.serve(Duration::from_millis(300));
    let refused = count(&dead);
    // Refused again, the first keeps the others of its alert behind it.
    downstream.status.store(600, std::sync::atomic::Ordering::SeqCst);
    let replay = || gateway.api().request("POST", "/v1/sinks/command/replay", "").expect("answered").0;
    assert_eq!(replay(), 202);
    let buried = || {
        let metrics = Api::new(gateway.admin, "").request("GET", "/metrics", "").expect("metrics").1;
        metrics.contains(&format!("gateway_sink_buried_total{{sink=\"command\"}} {}", refused * 2)).then_some(())
    };
    eventually(&mut world, buried);
    assert_eq!((count(&dead), downstream.ids.lock().expect("whole").len()), (refused, 0));
    downstream.status.store(200, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(replay(), 202);
    eventually(&mut world, || (downstream.ids.lock().expect("whole").len() == refused).then_some(()));
    let ids = downstream.ids.lock().expect("whole").clone();
    let revisions: Vec<u32> = ids.iter().filter_map(|id| id.split_once(':')?.1.parse().ok()).collect();
    assert_eq!(revisions, (1..=refused as u32).collect::<Vec<_>>(), "in order, each once");
    assert!(!dead.exists());
}
