//! A casebook, people who write to it, and a start that knows what the journal tells.

use std::collections::BTreeSet;

use codecs::journal::Frame;
use codecs::record::{Form, Step};
use codecs::sms::{Alphabet, Segment};

use super::*;
use crate::message::{Body, Incoming};
use crate::replay::Replay;
use crate::replay::{Front, Recovered};

pub(super) const WALL: Wall = Wall(1_795_276_800_000_000_000);

fn casebook(channels: &[&str]) -> Casebook {
    let channels: Vec<(&str, bool)> = channels.iter().map(|name| (*name, true)).collect();
    casebook_of(&channels)
}

/// With these channels, and whether their users are telephone numbers.
pub(super) fn casebook_of(channels: &[(&str, bool)]) -> Casebook {
    casebook_with(channels, KeywordTable::empty())
}

pub(super) fn casebook_with(channels: &[(&str, bool)], keywords: KeywordTable) -> Casebook {
    // Each start mints unreserved numbers of its own.
    static STARTS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let luck = STARTS.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
    let channel =
        |(name, user_is_phone): &(&str, bool)| ChannelRule { user_is_phone: *user_is_phone, ..ChannelRule::gone(name) };
    Casebook::new(CasebookConfig {
        rules: casework::Rules::default(),
        source: "/gw/t/1".into(),
        unit: "370400000000".into(),
        node: 1,
        shards: 1,
        luck,
        keywords,
        suggestions: casework::Suggestions::none(),
        channels: channels.iter().map(channel).collect(),
        grids: Arc::new(GridMap::new(Vec::new())),
        subscribers: Arc::default(),
        patience: Patience::default(),
        stored_a_day: None,
        orders: None,
    })
}

fn says(id: &str, body: Body) -> ToCasebook {
    let message = Incoming {
        from: Address { channel: "sms".into(), user: "13800000001".into() },
        message_id: id.into(),
        session: None,
        to: "12110".into(),
        body,
        forms: vec![Form::Text],
        attachments: Vec::new(),
        location: None,
        phone: None,
        silent: false,
        is_ping: false,
        case: None,
    };
    ToCasebook::Incoming { at: WALL, message: Box::new(message), request: RequestId::default() }
}

fn part(number: u8, text: &str) -> Body {
    let octets = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    Body::Octets { alphabet: Alphabet::Ucs2, octets, segment: Some(Segment { reference: 9, total: 2, number }) }
}

/// What it wants in the journal.
fn frames(casebook: &mut Casebook) -> Vec<(Kind, Vec<u8>)> {
    let frame = |output| match output {
        Output::Append { event, .. } => Some((Kind::Event, event.to_json())),
        Output::Frame { kind, payload, .. } => Some((kind, payload)),
        _ => None,
    };
    std::iter::from_fn(|| casebook.poll_output()).filter_map(frame).collect()
}

pub(super) fn events(frames: &[(Kind, Vec<u8>)]) -> Vec<CloudEvent> {
    let events = frames.iter().filter(|(kind, _)| *kind == Kind::Event);
    events.map(|(_, bytes)| CloudEvent::parse(bytes).expect("an event")).collect()
}

/// Starts anew on what the journal has.
fn again(channels: &[&str], frames: &[(Kind, Vec<u8>)]) -> Casebook {
    again_in(casebook(channels), frames)
}

pub(super) fn again_in(mut casebook: Casebook, frames: &[(Kind, Vec<u8>)]) -> Casebook {
    let mut replay = Replay::default();
    for (sequence, (kind, payload)) in (1..).zip(frames) {
        let (origin, previous) = (codecs::journal::Origin::default(), [0; 32]);
        replay.handle(&Frame { sequence, at: WALL, kind: *kind, more: false, first: true, origin, previous, payload });
    }
    let recovered = replay.finish();
    casebook.take_front(WALL, &recovered.front);
    casebook.take_up(Mono(0), WALL, recovered);
    casebook
}

#[test]
fn a_part_that_waits_for_a_channel_which_is_no_longer_there_is_shown_all_the_same() {
    let mut first = casebook(&["sms"]);
    first.handle(Mono(0), says("1", part(1, "有人持刀，在")));
    let kept = frames(&mut first);
    assert!(events(&kept).is_empty(), "half a text is no report yet");
    let mut second = again(&[], &kept);
    frames(&mut second);
    let later = Mono(0) + Patience::default().parts_within;
    second.handle_timeout(later, WALL);
    let told = frames(&mut second);
    let told = events(&told);
    let first = told.first().expect("an alert");
    assert!(first.data.text[0].body.starts_with("有人持刀，在"), "{:?}", first.data.text);
    assert!(first.kind.contains(&format!("{:?}", Step::Arrived).to_lowercase()));
}

#[test]
fn what_is_too_long_is_cut_and_marked_and_a_record_that_is_full_goes_on_in_a_linked_one() {
    let mut book = casebook(&["sms"]);
    let long = "字".repeat(20_000);
    let mut all = Vec::new();
    for n in 0..140 {
        book.handle(Mono(n), says(&n.to_string(), Body::Text(long.clone())));
        all.extend(frames(&mut book));
    }
    assert!(all.iter().all(|(_, bytes)| bytes.len() <= 1 << 20), "no frame is beyond a mebibyte");
    let events = events(&all);
    let first = &events[0].data;
    assert!(first.text[0].body.len() <= 8192 && first.marks.iter().any(|m| m == "cut_LINE"), "{:?}", first.marks);
    let subjects: BTreeSet<&str> = events.iter().map(|e| &*e.subject).collect();
    assert!(subjects.len() > 1, "one alert after the other");
    for pair in subjects.iter().collect::<Vec<_>>().windows(2) {
        let next = events.iter().find(|e| &*e.subject == *pair[1]).expect("it was told");
        assert!(next.data.id.related.iter().any(|r| r.alert_no == *pair[0]), "{:?}", next.data.id.related);
    }
    let lines: usize = subjects
        .iter()
        .filter_map(|no| events.iter().rfind(|e| &*e.subject == *no))
        .map(|e| e.data.text.iter().filter(|l| l.body.starts_with('字')).count())
        .sum();
    assert_eq!(lines, 140, "every line stands in one of them");
}

#[test]
fn a_position_that_a_platform_tells_by_itself_moves_the_open_alert_and_begins_none() {
    let mut book = casebook(&["sms"]);
    let ping = |book: &mut Casebook, id: &str, lon: f64| {
        let ToCasebook::Incoming { at, mut message, request } = says(id, Body::Text(String::new())) else { return 0 };
        let (point, label) = (codecs::geo::Point { lon, lat: 34.0 }, String::new());
        message.location = Some(codecs::chat::SharedLocation { point, datum: codecs::geo::Datum::Wgs84, label });
        message.is_ping = true;
        book.handle(Mono(0), ToCasebook::Incoming { at, message, request });
        events(&frames(book)).len()
    };
    assert_eq!(ping(&mut book, "1", 117.0), 0, "nobody has reported anything");
    book.handle(Mono(0), says("2", Body::Text("有人打架".into())));
    frames(&mut book);
    assert_eq!(ping(&mut book, "3", 117.0), 1);
    assert_eq!(ping(&mut book, "4", 117.000_01), 0, "a metre is no move");
    assert_eq!(ping(&mut book, "5", 117.001), 1);
}

#[test]
fn whoever_is_called_back_is_looked_for_where_they_are_known_to_be() {
    let mut book = casebook(&["sms"]);
    let no = AlertNo::mint("370400000000", 20_261_122, 1, 77);
    let at = |seconds: i64| (Mono(seconds as u64 * 1_000_000_000), Wall(WALL.0 + seconds * 1_000_000_000));
    let tell = |book: &mut Casebook, seconds, fact| {
        let (now, at) = at(seconds);
        book.handle(now, ToCasebook::Fact { no, at, fact, request: RequestId::default() });
        std::iter::from_fn(|| book.poll_output()).collect::<Vec<_>>()
    };
    let location = Location {
        wgs84: None,
        original: None,
        civic: String::new(),
        grid_code: "G7".into(),
        source: codecs::record::LocationSource::Subscriber,
        at: codecs::record::Stamp(WALL),
        from: None,
    };
    let arrival = casework::Arrival {
        channel: Channel::Voice110,
        caller: "13800000001".into(),
        called: "110".into(),
        trunk: "t".into(),
        message_id: "c".into(),
        subscriber: None,
        location: Some(location),
        jurisdiction: Vec::new(),
        owner: "370400000000".into(),
        marks: Vec::new(),
        follows: None,
    };
    tell(&mut book, 0, casework::Fact::Arrived(Box::new(arrival)));
    let gone = casework::Fact::Call(casework::CallFact::Abandoned { attended: false });
    let place = tell(&mut book, 1, gone).into_iter().find_map(|output| match output {
        Output::Desk(ToDesk::CallBack(CallBack { place, .. })) => Some(place),
        _ => None,
    });
    assert_eq!(place, Some(Place { grid: Some("G7".into()), ..Place::default() }));
}

/// What a casebook wrote since the last time, in octets of notes, and how many of them are answers.
fn notes(casebook: &mut Casebook) -> (usize, usize) {
    let (mut octets, mut answers) = (0, 0);
    while let Some(output) = casebook.poll_output() {
        if let Output::Frame { kind: Kind::Note, payload, .. } = output {
            octets += payload.len();
            answers += usize::from(payload.starts_with(b"{\"answered\""));
        }
    }
    (octets, answers)
}

fn remember(casebook: &mut Casebook, subject: &str, name: String) {
    remember_at(casebook, WALL, subject, name);
}

fn remember_at(casebook: &mut Casebook, at: Wall, subject: &str, name: String) {
    let note = Note::Answered {
        subject: subject.into(),
        name,
        asked: "a".repeat(32),
        status: 200,
        kind: "application/json".into(),
        body: "x".repeat(400),
    };
    casebook.handle(Mono(0), ToCasebook::Remember { at, note: Box::new(note), request: RequestId::default() });
}

#[test]
fn one_subject_s_keys_push_nobody_elses_out_and_are_not_written_anew_with_each_segment() {
    let mut casebook = casebook(&[]);
    casebook.take_front(WALL, &Front::default());
    remember(&mut casebook, "supervisor", "mine".into());
    (0..30_000).for_each(|n| remember(&mut casebook, "officer", format!("k{n}")));
    let kept = |name: &str| casebook.remembered().any(|n| matches!(n, Note::Answered { name: of, .. } if of == name));
    assert!(kept("mine") && kept("k29999") && !kept("k0"));
    assert_eq!(casebook.remembered().count(), 10_001);
    notes(&mut casebook);
    casebook.begin_segment(WALL, 1, false);
    assert_eq!(notes(&mut casebook).1, 10_001, "the first snapshot has them all");
    casebook.begin_segment(WALL, 2, false);
    let (octets, answers) = notes(&mut casebook);
    assert!(answers == 0 && octets < 1000, "{octets} octets, {answers} answers");
}

#[test]
fn a_clock_that_leaps_by_days_forgets_no_key_neither_at_once_nor_at_the_next_start() {
    let day = 24 * 3_600_000_000_000;
    let leapt = Wall(WALL.0 + 3 * day);
    let mut casebook = casebook(&[]);
    casebook.take_front(WALL, &Front::default());
    remember_at(&mut casebook, WALL, "seat:1", "before".into());
    remember_at(&mut casebook, leapt, "seat:1", "behind".into());
    remember_at(&mut casebook, Wall(WALL.0 - 3 * day), "seat:1", "back".into());
    let written: Vec<(Wall, Note)> = std::iter::from_fn(|| casebook.poll_output())
        .filter_map(|output| match output {
            Output::Frame { at, kind: Kind::Note, payload } => Some((at, Note::parse(&payload)?)),
            _ => None,
        })
        .collect();
    let names = |casebook: &Casebook| {
        let name =
            |n: &Note| matches!(n, Note::Answered { name, .. } if ["before", "behind", "back"].contains(&&**name));
        casebook.remembered().filter(|n| name(n)).count()
    };
    assert_eq!(names(&casebook), 3);
    let mut started = self::casebook(&[]);
    let recovered = Recovered { notes: written, ..Recovered::default() };
    started.take_up(Mono(0) + Duration::from_secs(90_000), leapt, recovered);
    assert_eq!(names(&started), 3);
}
