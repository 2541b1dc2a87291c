use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::audio::chunk::Chunk;
use codecs::audio::g711::Law;
use codecs::audio::wav::Wav;
use codecs::record::AlertNo;
use codecs::sip::auth::hex;
use sha2::{Digest as _, Sha256};

use super::cut::{manifest, tracks};
use super::log::{PAGE, log_dir, segment_path};
use super::*;
use crate::disk::{Disk, Files};

fn fresh(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("gw-rec-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn no(n: u32) -> AlertNo {
    AlertNo::mint("370400000000", 20_261_122, 1, n)
}

fn name(track: u8) -> String {
    ["mix", "caller"][usize::from(track)].into()
}

fn open(dir: &Path) -> (RecordingLog, Left) {
    RecordingLog::open(Files::shared(), dir, name)
}

fn recovered(dir: &Path, left: &Left) -> Vec<Cut> {
    let mut cuts = Vec::new();
    recover(&Files, dir, name, left, |cut| cuts.push(cut)).expect("recovers");
    cuts
}

/// A chunk of five ticks on the mix and one track.
fn chunk(key: u64, first_tick: u32) -> Chunk {
    let mut bytes = Vec::new();
    for track in [0u8, 1] {
        bytes.extend_from_slice(&[track, 0, 0, 0]);
        bytes.extend_from_slice(&first_tick.to_le_bytes());
        bytes.extend_from_slice(&800u32.to_le_bytes());
        bytes.extend_from_slice(&[track + key as u8; 800]);
    }
    Chunk { key, bytes }
}

fn shape(cut: &Cut) -> Vec<(&str, u64, u64)> {
    cut.media.iter().map(|m| (m.track.as_str(), m.offset_ms, m.duration_ms)).collect()
}

/// All that a track's files hold.
fn samples(dir: &Path, cut: &Cut, track: &str) -> Vec<u8> {
    let files = cut.media.iter().filter(|m| m.track == track).map(|m| {
        let file = std::fs::read(dir.join(&m.uri)).expect("there");
        assert_eq!(hex(&Sha256::digest(&file)), m.sha256);
        Wav::parse(&file).expect("a WAV").data.to_vec()
    });
    files.flatten().collect()
}

#[test]
fn two_calls_in_one_log_are_cut_apart() {
    let dir = fresh("apart");
    let (mut log, left) = open(&dir);
    assert!(left.is_empty());
    for n in 0..3 {
        log.write(&[(no(1), chunk(1, n * 5))]).expect("writes");
        log.write(&[(no(2), chunk(2, n * 5))]).expect("writes");
    }
    let cut = log.end(1, no(1)).expect("cuts");
    assert_eq!(shape(&cut), [("mix", 0, 300), ("caller", 0, 300)]);
    assert!(samples(&dir, &cut, "caller").iter().all(|b| *b == 2));
    assert_eq!((log.live(), log.end(7, no(7)).expect("nothing").media.len()), (1, 0));
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn after_a_crash_what_was_written_is_cut_and_what_was_torn_is_left_out() {
    let dir = fresh("crash");
    let (mut log, _) = open(&dir);
    log.write(&[(no(1), chunk(1, 0))]).expect("writes");
    log.end(1, no(1)).expect("cuts");
    log.write(&[(no(2), chunk(2, 0))]).expect("writes");
    log.write(&[(no(2), chunk(2, 5))]).expect("writes");
    drop(log);
    let path = segment_path(&log_dir(&dir), 1);
    let end = std::fs::metadata(&path).expect("there").len();
    assert_eq!(end % PAGE as u64, 0);
    // In the middle of the last chunk, which is shorter than a page.
    let torn = end - PAGE as u64 + 100;
    OpenOptions::new().write(true).open(&path).expect("opens").set_len(torn).expect("torn");
    let (_, left) = open(&dir);
    let cuts = recovered(&dir, &left);
    assert_eq!(cuts.len(), 1, "the call that had ended is not cut twice");
    assert_eq!((cuts[0].no, shape(&cuts[0])), (no(2), vec![("mix", 0, 100), ("caller", 0, 100)]));
    assert!(!path.exists());
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn damage_in_the_log_costs_the_damaged_tenth_of_a_second_alone() {
    let dir = fresh("damage");
    let (mut log, _) = open(&dir);
    for n in 0..4 {
        log.write(&[(no(1), chunk(1, n * 5))]).expect("writes");
    }
    drop(log);
    let path = segment_path(&log_dir(&dir), 1);
    let mut bytes = std::fs::read(&path).expect("there");
    // A sample of the second chunk, and the head of the third.
    bytes[PAGE + 500] ^= 1;
    bytes[2 * PAGE + 1] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let (_, left) = open(&dir);
    let cuts = recovered(&dir, &left);
    assert_eq!(shape(&cuts[0]), [("mix", 0, 400), ("caller", 0, 400)]);
    let caller = samples(&dir, &cuts[0], "caller");
    assert!(caller[800..2400].iter().all(|b| *b == Law::A.silence()), "the two tenths between are silence");
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn the_keys_of_two_runs_are_two_calls_even_where_a_cut_failed() {
    let dir = fresh("runs");
    let (mut log, _) = open(&dir);
    log.write(&[(no(1), chunk(1, 0))]).expect("writes");
    drop(log);
    // Its recovery comes to nothing: the directory of recordings is a file.
    std::fs::write(dir.join("recordings"), b"").expect("written");
    let (mut log, left) = open(&dir);
    assert!(recover(&Files, &dir, name, &left, |_| panic!("nothing is cut")).is_err());
    log.write(&[(no(2), chunk(1, 0))]).expect("writes");
    drop(log);
    std::fs::remove_file(dir.join("recordings")).expect("removed");
    let (_, left) = open(&dir);
    let cuts = recovered(&dir, &left);
    assert_eq!(cuts.iter().map(|c| (c.no, c.media.len())).collect::<Vec<_>>(), [(no(1), 2), (no(2), 2)]);
    let durations: Vec<u64> = cuts.iter().flat_map(|c| c.media.iter().map(|m| m.duration_ms)).collect();
    assert_eq!(durations, [100; 4], "neither has the other's audio");
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn a_long_call_is_cut_in_parts_that_go_together_over_a_crash_too() {
    let dir = fresh("parts");
    let (log, _) = open(&dir);
    let mut log = log.with_parts_of(6000);
    let say = |log: &mut RecordingLog, no: AlertNo, n: u32| {
        log.write(&[(no, chunk(no.serial().into(), n * 5))]).expect("writes");
        log.cut_parts(&[(no, no.serial().into())]).expect("cuts");
    };
    for n in 0..10 {
        say(&mut log, no(1), n);
        say(&mut log, no(2), n);
    }
    let cut = log.end(1, no(1)).expect("cuts");
    let parts: Vec<(u64, u64)> = shape(&cut).iter().filter(|t| t.0 == "mix").map(|t| (t.1, t.2)).collect();
    assert_eq!(parts, [(0, 400), (400, 400), (800, 200)]);
    assert_eq!(samples(&dir, &cut, "caller"), [2; 8000]);
    drop(log);
    let (_, left) = open(&dir);
    let cuts = recovered(&dir, &left);
    assert_eq!(cuts.len(), 1);
    assert_eq!((cuts[0].no, samples(&dir, &cuts[0], "mix")), (no(2), vec![2; 8000]));
    let last = manifest(&Files, &dir.join(format!("recordings/{}-3", no(2)))).expect("a manifest");
    assert!(last.recovered && last.until_tick == 50);
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn two_recordings_of_one_alert_lie_beside_each_other() {
    let dir = fresh("twice");
    let (mut log, _) = open(&dir);
    for key in [1, 2] {
        log.write(&[(no(1), chunk(key, 0))]).expect("writes");
    }
    let uris = [1, 2].map(|key| log.end(key, no(1)).expect("cuts").media[0].uri.clone());
    assert_eq!(uris, [format!("recordings/{}/mix.wav", no(1)), format!("recordings/{}-2/mix.wav", no(1))]);
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn a_log_whose_directory_is_gone_goes_on_in_a_new_one() {
    let dir = fresh("gone");
    let (mut log, _) = open(&dir);
    log.write(&[(no(1), chunk(1, 0))]).expect("writes");
    assert!(log.is_in_place());
    Arc::new(Files).remove_dir(&dir).expect("removed");
    assert!(!log.is_in_place());
    log.write(&[(no(2), chunk(2, 0))]).expect("writes");
    assert_eq!(log.end(2, no(2)).expect("cuts").media.len(), 2);
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn a_pause_in_a_track_is_silence() {
    let chunks = [chunk(1, 10).bytes, chunk(1, 20).bytes];
    let tracks = tracks(&chunks, 0);
    let (first, samples) = &tracks[&1];
    assert_eq!(
        (*first, samples.len(), samples[799], samples[800], samples[1600]),
        (10, 15 * 160, 2, Law::A.silence(), 2)
    );
}
