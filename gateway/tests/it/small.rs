//! Small things that a user meets: signals, flags, what is asked of alerts that are over, files that are spoilt.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use loadtest::Happening;

use crate::loopback::{Gateway, World, eventually};

fn alerts(gateway: &Gateway) -> Vec<serde_json::Value> {
    let (status, body) = gateway.api().request("GET", "/v1/alerts", "").expect("answered");
    let page: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    if status == 200 { page["alerts"].as_array().cloned().unwrap_or_default() } else { Vec::new() }
}

fn closed_call(world: &mut World, gateway: &Gateway, number: &str) -> String {
    let party = world.answered_call(number);
    world.peers.hang_up(party);
    world.until(|s| s.contains(&Happening::Ended { party }));
    let closed = |a: &serde_json::Value| a["state"] == "closed" && a["reporter"]["phone"] == number;
    let no = |a: &serde_json::Value| a["id"]["alert_no"].as_str().map(str::to_owned);
    eventually(world, || alerts(gateway).iter().find(|a| closed(a)).and_then(no))
}

#[test]
fn a_flag_that_is_no_flag_and_too_many_skills_are_mistakes_with_their_place() {
    let dir = Gateway::prepare("flags", 15_000);
    std::fs::write(dir.join("keywords.csv"), "word,level,category,silent\n持刀,2,100200,yes\n").expect("written");
    let skills: Vec<String> = (0..33).map(|n| format!("s{n}")).collect();
    let row = format!("1001,甲,default,{},sip,1001,demo,4\n", skills.join(" "));
    std::fs::write(dir.join("seats.csv"), format!("id,name,group,skills,kind,user,secret,max_threads\n{row}"))
        .expect("written");
    let mut check = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let done =
        check.args(["check", "--config"]).arg(dir.join("city.toml")).env("UNIT_SECRET", "unit").output().expect("ran");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert_eq!(done.status.code(), Some(78), "{said}");
    assert!(said.contains("keywords.csv:2") && said.contains("GW-0237") && said.contains("`yes`"), "{said}");
    assert!(said.contains("GW-0238") && said.contains("33 names of skills"), "{said}");
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn what_a_table_or_an_environment_cannot_mean_is_refused_with_its_place() {
    let dir = Gateway::prepare("meant", 16_500);
    let head = "id,name,group,skills,kind,user,secret,max_threads\n";
    let rows = "1001,甲,default,,sip,1001,,4\n1001,乙,default,,sip,1002,x,0\na/b,丙,default,,sip,1003,x,4\n";
    std::fs::write(dir.join("seats.csv"), format!("{head}{rows}")).expect("written");
    let city = std::fs::read_to_string(dir.join("city.toml")).expect("a configuration");
    let twin = "[trunk.twin]\nsources = ['127.0.0.0/8']\ngroup = 'default'\nskill = 'sgining'\n";
    std::fs::write(dir.join("city.toml"), format!("{city}\n{twin}[log]\nlevel = 'inof'\n")).expect("written");
    let bow = "{\"type\":\"FeatureCollection\",\"features\":[{\"type\":\"Feature\",\"properties\":{\"grid_id\":\"370402-001\",\
        \"unit\":\"370402510000\"},\"geometry\":{\"type\":\"Polygon\",\"coordinates\":[[[117,34],[118,35],[118,34],[117,35]]]}}]}";
    std::fs::write(dir.join("grids.geojson"), bow).expect("written");
    std::fs::remove_file(dir.join("keywords.csv")).expect("removed");
    assert!(Command::new("mkfifo").arg(dir.join("keywords.csv")).status().expect("ran").success());
    let mut check = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let done =
        check.args(["check", "--config"]).arg(dir.join("city.toml")).env("UNIT_SECRET", " ").output().expect("ran");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert_eq!(done.status.code(), Some(78), "{said}");
    for wrong in [
        "user `1001` has no secret",
        "id `1001` stands in line 2 already",
        "max_threads `0` is not 1 to 1000",
        "id \"a/b\" is no name",
        "GW-0240",
        "trunk.twin: calls from 127.0.0.0/8 are trunk.telecom's",
        "no seat has the skill `sgining`",
        "grid_id `370402-001`: its line crosses itself near",
        "is no regular file",
        "environment variable UNIT_SECRET is empty",
    ] {
        assert!(said.contains(wrong), "{wrong}: {said}");
    }
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn a_hangup_of_the_terminal_ends_no_call() {
    let gateway = Gateway::start("hangup", 15_500);
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000071");
    for signal in ["-HUP", "-USR1", "-USR2"] {
        assert!(Command::new("kill").args([signal, &gateway.pid().to_string()]).status().expect("ran").success());
    }
    let second = world.answered_call("13800000072");
    assert!(!world.seen.contains(&Happening::Ended { party }));
    let log = || std::fs::read_to_string(gateway.dir.join("stderr.log")).unwrap_or_default();
    eventually(&mut world, || log().contains("GW-1008").then_some(()));
    for party in [party, second] {
        world.peers.hang_up(party);
        world.until(|s| s.contains(&Happening::Ended { party }));
    }
}

#[test]
fn of_an_alert_that_is_over_there_is_nothing_to_hear_and_what_was_said_is_still_written_down() {
    let gateway = Gateway::start("over", 16_000);
    let mut world = World::new(&gateway);
    let no = closed_call(&mut world, &gateway, "13800000073");
    let mut api = gateway.api();
    let (status, body) = api.request("GET", &format!("/v1/alerts/{no}/audio/0"), "").expect("answered");
    assert_eq!(status, 409, "{body}");
    let line = r#"{"by":"caller","body":"他说有人持刀"}"#;
    let (status, body) = api.request("POST", &format!("/v1/alerts/{no}/transcript"), line).expect("answered");
    assert_eq!(status, 200, "{body}");
    let warned = |a: &serde_json::Value| a["incident"]["keywords"].as_array().is_some_and(|k| !k.is_empty());
    eventually(&mut world, || alerts(&gateway).iter().any(|a| warned(a) && a["state"] == "closed").then_some(()));
}

#[test]
fn two_who_withhold_their_numbers_are_two_and_alerts_are_asked_for_by_state() {
    let gateway = Gateway::start("withheld", 17_000);
    let mut world = World::new(&gateway);
    let parties = ["anonymous", "anonymous"].map(|number| world.answered_call(number));
    let of = |state: &str| {
        let (status, body) = gateway.api().request("GET", &format!("/v1/alerts?state={state}"), "").expect("answered");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<serde_json::Value>(&body).expect("JSON")["alerts"].as_array().map_or(0, Vec::len)
    };
    eventually(&mut world, || (alerts(&gateway).len() == 2).then_some(()));
    for party in parties {
        world.peers.hang_up(party);
        world.until(|s| s.contains(&Happening::Ended { party }));
    }
    eventually(&mut world, || (of("closed") == 2).then_some(()));
    assert_eq!(of("answered"), 0);
    let (status, body) = gateway.api().request("GET", "/v1/alerts?state=nowhere", "").expect("answered");
    assert!(status == 422 && body.contains("closed"), "{status} {body}");
}

#[test]
fn whoever_cannot_be_called_back_for_want_of_a_trunk_is_told_apart() {
    let gateway = Gateway::start("outward", 18_000);
    let mut world = World::new(&gateway);
    let party = world.peers.call(world.trunk, "13800000091", "110", 9).expect("a call");
    world.until(|s| s.contains(&Happening::Ringing { party }) || s.contains(&Happening::Answered { party }));
    world.peers.hang_up(party);
    let unreached = |a: &serde_json::Value| {
        let marks = a["marks"].as_array().cloned().unwrap_or_default();
        a["call"]["t"]["end"].is_string() && marks.iter().any(|m| m == "no_outbound_trunk")
    };
    eventually(&mut world, || alerts(&gateway).iter().any(unreached).then_some(()));
    let (_, metrics) = loadtest::api::Api::new(gateway.admin, "").request("GET", "/metrics", "").expect("metrics");
    let told = "gateway_events_total{type=\"cn.gov.police110.alert.callback.v1\"} 1";
    assert!(metrics.contains(told), "that they are unreached, and not before it that they are being called");
}

#[test]
fn a_spoilt_read_model_is_kept_beside_and_made_anew() {
    let gateway = Gateway::start("spoilt", 16_500);
    let mut world = World::new(&gateway);
    let no = closed_call(&mut world, &gateway, "13800000074");
    let dir = gateway.kill();
    let file = dir.join("data/read-model.sqlite");
    for beside in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.join(format!("data/read-model.sqlite{beside}")));
    }
    std::fs::write(&file, b"this is no database ".repeat(500)).expect("written");
    let again = Gateway::run(dir);
    let mut world = World::new(&again);
    eventually(&mut world, || (!alerts(&again).is_empty()).then_some(()));
    assert_eq!(alerts(&again)[0]["id"]["alert_no"], no.as_str());
    assert!(again.dir.join("data/read-model.damaged").exists());
    let (status, said) = loadtest::api::Api::new(again.admin, "").request("GET", "/readyz", "").expect("answered");
    assert!(status == 200 && !said.contains("read-model"), "{said}");
    // Removed while it runs, it is made anew as well.
    for part in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(again.dir.join(format!("data/read-model.sqlite{part}")));
    }
    let mut api = again.api();
    let mut list = || api.request("GET", "/v1/alerts", "").ok().filter(|(status, _)| *status == 200);
    eventually(&mut world, || list().filter(|(_, said)| said.contains(&no)).map(drop));
}

#[test]
fn a_call_leaves_a_line_a_state_and_the_ladder_once_the_level_is_debug_and_never_a_number() {
    let gateway = Gateway::start("telling", 33_000);
    let mut world = World::new(&gateway);
    let log = || std::fs::read_to_string(gateway.dir.join("stderr.log")).expect("a log");
    let no = closed_call(&mut world, &gateway, "13800000097");
    let lines: Vec<serde_json::Value> = eventually(&mut world, || {
        let lines = log().lines().filter_map(|l| serde_json::from_str(l).ok()).collect::<Vec<serde_json::Value>>();
        lines.iter().any(|l| l["fields"]["step"] == "ended").then_some(lines)
    });
    let steps: Vec<&str> = lines
        .iter()
        .filter(|l| l["fields"]["alert"] == no.as_str())
        .filter_map(|l| l["fields"]["step"].as_str())
        .collect();
    assert_eq!(steps, ["arrived", "answered", "ended"]);
    assert!(!log().contains("\"message\":\"SIP\""), "the ladder is told at DEBUG");
    let mut api = gateway.api();
    let mut set =
        |level: &str| api.request("PUT", "/v1/log", &format!("{{\"level\":\"{level}\"}}")).expect("answered").0;
    assert_eq!((set("loud=="), set("debug")), (422, 204));
    closed_call(&mut world, &gateway, "13800000098");
    let ladder = eventually(&mut world, || {
        let what = |l: &str| {
            let line: serde_json::Value = serde_json::from_str(l).ok()?;
            let of = |key: &str| line["fields"][key].as_str().unwrap_or_default().to_owned();
            (of("message") == "SIP").then(|| (of("direction"), of("what")))
        };
        let ladder: Vec<_> = log().lines().filter_map(what).collect();
        ladder.iter().any(|(_, what)| what == "BYE").then_some(ladder)
    });
    for (direction, what) in [("in", "INVITE"), ("out", "INVITE"), ("in", "200"), ("out", "200"), ("in", "ACK")] {
        assert!(ladder.contains(&(direction.to_owned(), what.to_owned())), "{direction} {what}: {ladder:?}");
    }
    assert_eq!(set("error"), 204);
    assert!(!log().contains("1380000009"), "no number of a reporter's is told");
}

/// A demo without a script, which ends with its test.
struct Demo(Child);

impl Demo {
    fn start(data: &Path, offset: &str) -> Demo {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["demo", "--no-script", "--rtp-shared", "2", "--shards", "1", "--port-offset", offset, "--data"]);
        command.arg(data).stdout(Stdio::null()).stderr(Stdio::piped());
        Demo(command.spawn().expect("it runs"))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("asked")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_second_demo_on_the_same_directory_is_refused_and_changes_nothing_there() {
    /// Half a minute is a failure.
    fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let found = (0..600).find_map(|_| {
            std::thread::park_timeout(Duration::from_millis(50));
            ask()
        });
        found.unwrap_or_else(|| panic!("not within half a minute: {what}"))
    }
    let dir = std::env::temp_dir().join(format!("gw-it-demo-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let data = dir.join("demo");
    let mut first = Demo::start(&data, "6000");
    let token = data.join("token");
    let before = wait("the first one's token", || {
        assert_eq!(first.ended(), None, "the first one runs");
        std::fs::read(&token).ok().filter(|token| !token.is_empty())
    });
    let mut second = Demo::start(&data, "6100");
    let status = wait("the second one's end", || second.ended());
    let mut said = String::new();
    second.0.stderr.take().expect("piped").read_to_string(&mut said).expect("read");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("GW-1003") && said.contains(&format!("pid {}", first.0.id())), "{said}");
    assert_eq!(std::fs::read(&token).expect("still there"), before);
    wait("the first one's journal", || data.join("journal").is_dir().then_some(()));
    assert_eq!(first.ended(), None, "the first one goes on");
    drop(first);
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn whoever_reads_at_once_what_they_wrote_reads_it() {
    let dir = Gateway::prepare("at-once", 22_500);
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("the example");
    std::fs::write(&path, text + "\n" + crate::text::KIOSK).expect("written");
    let gateway = Gateway::run(dir);
    let mut api = gateway.api();
    for n in 0..150 {
        let body = format!(r#"{{"from":"k{n}","text":"第{n}件"}}"#);
        let (status, taken) = crate::text::signed_now(gateway.http, &format!("m{n}"), &body);
        assert_eq!(status, 200, "{taken}");
        let no = taken["alert_no"].as_str().expect("a number");
        let (status, body) = api.request("GET", &format!("/v1/alerts/{no}"), "").expect("answered");
        assert!(status == 200 && body.contains(&format!("第{n}件")), "{n}: {status} {body}");
    }
}

#[test]
fn an_agency_or_linkage_that_cannot_be_and_orders_by_no_telephones_channel_are_mistakes_with_their_line() {
    let dir = Gateway::prepare("agencies-wrong", 23_000);
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("the example");
    let wrong = "[agency.370402001]\nname = \"x\"\nphone = \"1\"\n[agency.nobody]\nname = \"x\"\nlines = 0\n\
                 [linkage.119]\nto = [\"119\"]\n[linkage.all]\nto = [\"119\", \"911\"]\n[orders]\nchannel = \"telex\"\n";
    std::fs::write(&path, text.replace("[tables]\n", &format!("{wrong}[tables]\n"))).expect("written");
    let mut check = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let done = check.args(["check", "--config"]).arg(&path).env("UNIT_SECRET", "unit").output().expect("ran");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert_eq!(done.status.code(), Some(78), "{said}");
    for what in ["agency.nobody: neither a user nor a phone", "agency.nobody: lines are 1 to 1000", "`telex`"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    // What the tables tell is told once the file itself can be read.
    let tables = "[agency.370402001]\nname = \"x\"\nphone = \"1\"\n[linkage.119]\nto = [\"119\"]\n\
                  [linkage.all]\nto = [\"119\", \"911\"]\n";
    let text = std::fs::read_to_string(&path).expect("there").replace(wrong, tables);
    std::fs::write(&path, text).expect("written");
    let mut check = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let done = check.args(["check", "--config"]).arg(&path).env("UNIT_SECRET", "unit").output().expect("ran");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    for what in ["an officer has this number", "linkage.119: nobody is in it", "`911` is no agency", "city.toml:"] {
        assert!(said.contains(what), "{what}: {said}");
    }
}
