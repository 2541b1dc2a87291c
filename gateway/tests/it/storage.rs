//! Disks that fail, and what of it the callers notice: nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use loadtest::Happening;
use loadtest::api::Api;
use serde_json::Value;

use crate::loopback::{Gateway, World, eventually};

fn readyz(gateway: &Gateway) -> (u16, String) {
    Api::new(gateway.admin, "").request("GET", "/readyz", "").expect("answered")
}

/// Exit code and output of a command of the gateway.
fn ask(args: &[&str], data: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway")).args(args).arg("--data").arg(data).output().expect("ran");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn hang_up_all(world: &mut World, parties: Vec<loadtest::PartyKey>) {
    for party in &parties {
        world.peers.hang_up(*party);
    }
    world.until(|s| parties.iter().all(|party| s.contains(&Happening::Ended { party: *party })));
}

fn alerts(gateway: &Gateway) -> Vec<Value> {
    let (status, body) = gateway.api().request("GET", "/v1/alerts", "").expect("answered");
    if status != 200 {
        return Vec::new();
    }
    let page: Value = serde_json::from_str(&body).expect("JSON");
    page["alerts"].as_array().expect("a list").clone()
}

/// As before, on the very ports that it had: whoever knew it finds it again.
fn run_again(dir: PathBuf, sip: std::net::SocketAddr) -> Gateway {
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let fixed = text.replacen("127.0.0.1:0", &sip.to_string(), 1);
    std::fs::write(&path, fixed).expect("written");
    Gateway::run(dir)
}

fn newest_segment(dir: &Path) -> PathBuf {
    let names = std::fs::read_dir(dir.join("data/journal")).expect("a journal");
    let segments = names.map(|e| e.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "seg"));
    segments.max().expect("a segment")
}

#[test]
fn without_a_data_directory_it_starts_answers_and_says_so_and_what_was_said_is_kept_once_there_is_one() {
    let dir = Gateway::prepare("nodata", 10_000);
    std::fs::write(dir.join("data"), b"a file where the directory should be").expect("written");
    let gateway = Gateway::run(dir);
    let (status, said) = readyz(&gateway);
    assert!(status == 200 && said.starts_with("ready\n") && said.contains("degraded: journal GW-3101"), "{said}");
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000021");
    hang_up_all(&mut world, vec![party]);
    std::fs::remove_file(gateway.dir.join("data")).expect("removed");
    eventually(&mut world, || (!readyz(&gateway).1.contains("degraded: journal")).then_some(()));
    let dir = gateway.kill();
    let (code, said) = ask(&["audit", "verify"], &dir.join("data"));
    assert!(code == Some(0) && !said.contains(" 0 events"), "{said}");
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn a_flipped_bit_costs_its_own_frame_is_named_everywhere_and_nothing_else_is_lost() {
    let gateway = Gateway::start("flip", 10_500);
    let mut world = World::new(&gateway);
    for n in 0..2 {
        let party = world.answered_call(&format!("1380000003{n}"));
        hang_up_all(&mut world, vec![party]);
    }
    eventually(&mut world, || (alerts(&gateway).iter().filter(|a| a["state"] == "closed").count() == 2).then_some(()));
    let dir = gateway.kill();
    let data = dir.join("data");
    assert_eq!(ask(&["audit", "verify"], &data).0, Some(0));
    let segment = newest_segment(&dir);
    let mut bytes = std::fs::read(&segment).expect("read");
    let used = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
    bytes[used / 2] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let (code, said) = ask(&["audit", "verify"], &data);
    assert!(code == Some(1) && said.contains("1 frames are missing"), "{said}");

    let again = Gateway::run(dir);
    let mut world = World::new(&again);
    eventually(&mut world, || readyz(&again).1.contains("degraded: journal-damage GW-3105").then_some(()));
    let party = world.answered_call("13800000039");
    hang_up_all(&mut world, vec![party]);
    // All three are there, and the one of the damaged frame in another revision at worst.
    eventually(&mut world, || (alerts(&again).len() == 3).then_some(()));
    let set_aside = std::fs::read_dir(again.dir.join("data/journal")).expect("a journal");
    let damaged =
        |e: std::io::Result<std::fs::DirEntry>| e.is_ok_and(|e| e.path().extension().is_some_and(|x| x == "damaged"));
    assert_eq!(set_aside.filter_map(|e| damaged(e).then_some(())).count(), 1, "the damaged octets are set aside");
    let log = std::fs::read_to_string(again.dir.join("stderr.log")).expect("a log");
    assert!(log.contains("GW-3105"), "{log}");

    // Whoever follows from the beginning is told of the gap, and gets what came behind it.
    let token = std::fs::read_to_string(again.dir.join("data/token")).expect("a token");
    let mut stream = TcpStream::connect(again.http).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let token = token.trim();
    let head = format!("Host: x\r\nAuthorization: Bearer {token}\r\nLast-Event-ID: 0\r\n");
    stream.write_all(format!("GET /v1/events HTTP/1.1\r\n{head}\r\n").as_bytes()).expect("asked");
    let mut told = Vec::new();
    let whole = |told: &[u8]| {
        let text = String::from_utf8_lossy(told);
        text.contains("\n: ") && text.contains("13800000039") && text.matches("\"state\":\"closed\"").count() >= 3
    };
    while !whole(&told) {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).unwrap_or(0);
        assert!(count > 0, "no more than {}", String::from_utf8_lossy(&told));
        told.extend_from_slice(&piece[..count]);
    }
}

#[test]
fn a_journal_removed_while_it_runs_is_noticed_and_begun_anew_with_all_that_is_known() {
    let gateway = Gateway::start("removed", 11_000);
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000041");
    eventually(&mut world, || (alerts(&gateway).len() == 1).then_some(()));
    std::fs::remove_dir_all(gateway.dir.join("data/journal")).expect("removed");
    eventually(&mut world, || readyz(&gateway).1.contains("degraded: journal-removed GW-3104").then_some(()));
    let second = world.answered_call("13800000042");
    hang_up_all(&mut world, vec![party, second]);
    eventually(&mut world, || (alerts(&gateway).iter().filter(|a| a["state"] == "closed").count() == 2).then_some(()));
    let again = Gateway::run(gateway.kill());
    let mut world = World::new(&again);
    // The alert that was open when the file went is told by the new one as well.
    let numbers = |all: Vec<Value>| all.iter().filter(|a| a["state"] == "closed").count() == 2;
    eventually(&mut world, || numbers(alerts(&again)).then_some(()));
    let (code, said) = ask(&["audit", "verify"], &again.dir.join("data"));
    assert!(code == Some(0), "{said}");
}

#[test]
fn a_seat_that_was_registered_is_offered_calls_at_once_after_a_kill_and_officers_are_found() {
    let gateway = Gateway::start("bindings", 11_500);
    let mut world = World::new(&gateway);
    world.serve(Duration::from_millis(300));
    let sip = gateway.sip;
    let again = run_again(gateway.kill(), sip);
    // Nobody's telephone has registered since.
    assert!(world.seen.iter().filter(|h| matches!(h, Happening::Registered { .. })).count() == 3);
    let party = world.peers.call(world.trunk, "13800000051", "110", 3).expect("a call");
    world.until(|s| s.contains(&Happening::Answered { party }) && s.contains(&Happening::Heard { party }));
    assert!(world.seen.iter().any(|h| matches!(h, Happening::PickedUp { user, .. } if user.starts_with("100"))));
    assert!(world.seen.iter().filter(|h| matches!(h, Happening::Registered { .. })).count() == 3);
    hang_up_all(&mut world, vec![party]);
    let mode = eventually(&mut world, || {
        let all = alerts(&again);
        all.iter().find_map(|a| a["call"]["mode"].as_str().map(str::to_owned))
    });
    assert_eq!(mode, "seat");
}

#[test]
fn what_is_kept_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let gateway = Gateway::start("modes", 12_000);
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000061");
    hang_up_all(&mut world, vec![party]);
    let data = gateway.dir.join("data");
    eventually(&mut world, || data.join("recordings").read_dir().ok()?.next().map(|_| ()));
    let mut left = vec![data];
    while let Some(path) = left.pop() {
        let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
        if path.is_dir() {
            left.extend(path.read_dir().expect("a directory").map(|e| e.expect("an entry").path()));
        }
    }
}

#[test]
fn a_journal_that_was_emptied_is_missed_its_numbers_are_not_given_again_and_the_last_copy_is_kept() {
    let gateway = Gateway::start("emptied", 12_500);
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000061");
    hang_up_all(&mut world, vec![party]);
    eventually(&mut world, || (alerts(&gateway).iter().filter(|a| a["state"] == "closed").count() == 1).then_some(()));
    let number = |all: &[Value]| all[0]["id"]["alert_no"].as_str().expect("a number").to_owned();
    let before = number(&alerts(&gateway));
    let dir = gateway.kill();
    std::fs::File::options().write(true).open(newest_segment(&dir)).expect("open").set_len(0).expect("cut");
    let again = Gateway::run(dir);
    let mut world = World::new(&again);
    eventually(&mut world, || readyz(&again).1.contains("degraded: journal-behind GW-3402").then_some(()));
    let party = world.answered_call("13800000062");
    hang_up_all(&mut world, vec![party]);
    let after = eventually(&mut world, || Some(alerts(&again)).filter(|all| !all.is_empty()));
    assert_ne!(number(&after), before);
    assert!(again.dir.join("data/read-model.ahead").exists());
}

#[test]
fn whatever_lies_among_its_files_a_start_answers_calls_and_gives_no_number_twice() {
    let dir = Gateway::prepare("strange", 33_000);
    let journal = dir.join("data/journal");
    std::fs::create_dir_all(&journal).expect("made");
    let pipe = |path: PathBuf| assert!(Command::new("mkfifo").arg(path).status().expect("ran").success());
    let segment = |number: u64| journal.join(format!("{number:020}.seg"));
    pipe(segment(900));
    pipe(dir.join("data/read-model.sqlite"));
    let long = std::fs::File::create(segment(1000)).expect("made");
    long.set_len(20 << 30).expect("a hole of 20 GB");
    std::fs::File::create(segment(u64::MAX)).expect("made");
    std::os::unix::fs::symlink("/dev/zero", segment(1100)).expect("linked");
    let mut dir = Some(dir);
    let mut numbers = std::collections::BTreeSet::new();
    for start in 0..2 {
        let gateway = Gateway::run(dir.take().expect("one"));
        let mut world = World::new(&gateway);
        let party = world.answered_call(&format!("1380000005{start}"));
        hang_up_all(&mut world, vec![party]);
        let all = eventually(&mut world, || Some(alerts(&gateway)).filter(|all| all.len() == start + 1));
        numbers.extend(all.iter().filter_map(|a| a["id"]["alert_no"].as_str().map(str::to_owned)));
        assert_eq!(numbers.len(), start + 1);
        dir = Some(gateway.kill());
    }
    std::fs::remove_dir_all(dir.expect("one")).expect("removed");
}

#[test]
fn whatever_is_done_to_the_read_model_s_files_it_is_right_again_within_seconds() {
    let gateway = Gateway::start("model", 30_000);
    let mut world = World::new(&gateway);
    let party = world.answered_call("13800000061");
    hang_up_all(&mut world, vec![party]);
    eventually(&mut world, || (alerts(&gateway).len() == 1).then_some(()));
    let file = |suffix: &str| gateway.dir.join(format!("data/read-model.sqlite{suffix}"));
    let spoil: [(&str, &dyn Fn()); 2] = [
        ("emptied", &|| {
            std::fs::File::options().write(true).open(file("")).and_then(|f| f.set_len(0)).expect("emptied")
        }),
        ("robbed of what lies beside it", &|| {
            ["-wal", "-shm"].iter().for_each(|s| drop(std::fs::remove_file(file(s))))
        }),
    ];
    for (n, (_, spoil)) in spoil.into_iter().enumerate() {
        spoil();
        let party = world.answered_call(&format!("1380000006{}", n + 2));
        hang_up_all(&mut world, vec![party]);
        eventually(&mut world, || (alerts(&gateway).len() == n + 2).then_some(()));
    }
}

#[test]
fn what_is_acknowledged_while_the_data_directory_is_moved_away_is_there_after_a_kill() {
    let gateway = crate::text::gateway("moved", 34_000, crate::text::KIOSK);
    let mut world = World::new(&gateway);
    let report = |gateway: &Gateway, n: u32| {
        let body = format!("{{\"from\":\"u{n}\",\"text\":\"moved {n}.\"}}");
        crate::text::signed_now(gateway.http, &format!("m{n}"), &body).0
    };
    assert_eq!(report(&gateway, 0), 200);
    std::fs::rename(gateway.dir.join("data"), gateway.dir.join("away")).expect("moved");
    // Calls are answered; what is written is acknowledged where whoever starts next looks, or not at all.
    let party = world.answered_call("13800000061");
    let mut kept = Vec::new();
    for n in 1..=80 {
        kept.extend(Some(n).filter(|n| report(&gateway, *n) == 200));
        world.serve(Duration::from_millis(50));
    }
    assert!(!kept.is_empty(), "the directory is made anew, and kept in");
    hang_up_all(&mut world, vec![party]);
    let again = Gateway::run(gateway.kill());
    let mut world = World::new(&again);
    eventually(&mut world, || {
        let all = alerts(&again);
        let lines = all.iter().filter_map(|a| a["text"].as_array()).flatten();
        let told: Vec<&str> = lines.filter_map(|l| l["body"].as_str()).collect();
        kept.iter().all(|n| told.contains(&format!("moved {n}.").as_str())).then_some(())
    });
}

#[test]
fn a_call_that_a_kill_cut_off_with_no_recording_of_anybody_comes_to_its_end() {
    let gateway = Gateway::start("nothing-recorded", 24_000);
    let mut world = World::new(&gateway);
    let party = world.peers.call(world.trunk, "13800000092", "110", 9).expect("a call");
    world.until(|s| s.contains(&Happening::Ringing { party }) || s.contains(&Happening::Answered { party }));
    // It rings on: nobody moves meanwhile.
    crate::fanout::wait("it is on record", || (alerts(&gateway).len() == 1).then_some(()));
    let sip = gateway.sip;
    let again = run_again(gateway.kill(), sip);
    let mut world = World::new(&again);
    // They are owed a call, which cannot be made for want of a trunk.
    eventually(&mut world, || {
        let all = alerts(&again);
        (all.len() == 1 && all[0]["state"] == "closed").then_some(())
    });
}
