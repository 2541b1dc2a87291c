use codecs::record::{AnswerMode, Channel, IncidentKind, Media, SeatInfo, TryResult};

use super::*;
use crate::keyword::Keyword;

pub(super) const T0: i64 = 1_795_276_800_000_000_000;

fn alerts() -> Alerts {
    let knife = Keyword { word: "持刀".into(), level: 2, category: Some("100200".into()), silent: false };
    Alerts::new("/gw/370400000000/1".into(), "1".into(), KeywordTable::new(vec![knife]).expect("builds"))
}

fn no() -> AlertNo {
    AlertNo::mint("370400000000", 20_261_122, 1, 7)
}

pub(super) fn arrival() -> Fact {
    Fact::Arrived(Box::new(Arrival {
        channel: Channel::Voice110,
        caller: "13800138000".into(),
        called: "110".into(),
        trunk: "demo".into(),
        message_id: "call-1".into(),
        subscriber: None,
        location: None,
        jurisdiction: vec!["370400000000".into()],
        owner: "370400000000".into(),
        marks: vec![],
        follows: None,
    }))
}

fn recorded() -> Fact {
    let mix = Media {
        uri: "recordings/1/mix.wav".into(),
        sha256: String::new(),
        kind: "audio/wav".into(),
        track: "mix".into(),
        offset_ms: 0,
        duration_ms: 4000,
    };
    Fact::Recorded { media: vec![mix] }
}

fn seat() -> SeatInfo {
    SeatInfo { no: "1101".into(), taker_name: "王".into() }
}

/// Feeds facts a second apart; returns the types of the events, and whether all are sealed and chained.
fn feed(a: &mut Alerts, facts: Vec<Fact>) -> (Vec<String>, Vec<AlertRecord>) {
    feed_to(a, no(), facts)
}

pub(super) fn feed_to(a: &mut Alerts, no: AlertNo, facts: Vec<Fact>) -> (Vec<String>, Vec<AlertRecord>) {
    let (mut types, mut revisions) = (Vec::new(), Vec::new());
    for (i, fact) in facts.into_iter().enumerate() {
        assert!(a.handle_fact(Wall(T0 + i as i64 * 1_000_000_000), no, fact));
        while let Some(output) = a.poll_output() {
            match output {
                Output::Event(e) => {
                    types.push(e.kind.clone());
                    assert_eq!(e.id, format!("{}:{}", no, e.data.rev));
                    assert_eq!(e.to_json(), serde_json::to_vec(&*e).expect("serialises"), "spliced or serialised");
                    let json = e.to_json();
                    let (id, record) = CloudEvent::parts(&json).expect("an event of ours");
                    assert_eq!(
                        (id, &json[record]),
                        (e.id.as_str(), &serde_json::to_vec(&*e.data).expect("serialises")[..])
                    );
                    revisions.push(AlertRecord::clone(&e.data));
                }
                Output::CallBack { number, .. } => types.push(format!("call back {number}")),
                Output::Released { .. } => types.push("released".into()),
                Output::Say(say) => types.push(format!("say {} {}", say.address.user, say.body)),
                Output::Silenced { .. } => types.push("silenced".into()),
                Output::Fetch(fetch) => types.push(format!("fetch {}", fetch.vendor_id)),
            }
        }
    }
    (types.iter().map(|t| t.replace("cn.gov.police110.alert.", "").replace(".v1", "")).collect(), revisions)
}

#[test]
fn a_call_with_an_officer_goes_through_its_steps_in_a_sealed_chain() {
    let facts = vec![
        arrival(),
        Fact::Offered { leg: 1, seat: seat() },
        Fact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms: 370 },
        Fact::Triaged { kind: IncidentKind::Report, category: None, level: None, text: "有人持刀".into() },
        Fact::ResponderWanted { why: "triage" },
        Fact::Tried { leg: 2, unit: "U".into(), officer: "2001".into(), role: Role::Officer, reason: "nearest".into() },
        Fact::TryEnded { leg: 2, officer: "2001".into(), result: TryResult::Answered },
        Fact::Bridged { officer: "2001".into(), after_ms: 7000 },
        Fact::Ended,
        recorded(),
    ];
    let mut a = alerts();
    let (types, revisions) = feed(&mut a, facts);
    assert_eq!(
        types,
        [
            "arrived",
            "offered",
            "answered",
            "classified",
            "warning.keyword",
            "bridging",
            "bridging",
            "bridged",
            "recorded",
            "ended",
            "released"
        ]
    );
    for (i, r) in revisions.iter().enumerate() {
        assert_eq!(r.rev as usize, i + 1);
        assert!(r.is_sealed(), "revision {} is sealed", r.rev);
        assert_eq!(r.prev_hash, if i == 0 { String::new() } else { revisions[i - 1].hash.clone() });
    }
    let last = revisions.last().expect("some");
    assert_eq!((last.state, last.incident.level, last.incident.sensitive), (State::Closed, Some(2), true));
    assert_eq!(last.incident.category.as_deref(), Some("100200"));
    assert_eq!(last.dispatch[0].result, Some(TryResult::Answered));
    assert!(last.timers.iter().all(|t| t.met_at.is_some() && !t.breach));
    assert_eq!(a.open().count(), 0);
}

#[test]
fn an_abandoned_call_keeps_its_number_and_is_called_back() {
    let mut a = alerts();
    let (types, _) = feed(&mut a, vec![arrival(), Fact::Abandoned { attended: false }, Fact::Ended, recorded()]);
    assert_eq!(types, ["arrived", "abandoned", "call back 13800138000", "recorded"]);
    let later = vec![
        Fact::CallingBack,
        Fact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms: 9000 },
        Fact::Ended,
        recorded(),
    ];
    let (types, revisions) = feed(&mut a, later);
    assert_eq!(types, ["callback", "answered", "recorded", "ended", "released"]);
    assert_eq!(revisions.last().map(|r| r.source.validity), Some(Validity::Valid));
}

#[test]
fn a_call_that_left_no_audio_ends_without_saying_that_it_was_recorded() {
    let mut a = alerts();
    let (types, revisions) =
        feed(&mut a, vec![arrival(), Fact::AttendantAnswered, Fact::Ended, Fact::Recorded { media: vec![] }]);
    assert_eq!(types, ["arrived", "attendant_answered", "ended", "released"]);
    let last = revisions.last().expect("some");
    assert!(last.call.t.end.is_some() && last.media.is_empty());
}

#[test]
fn a_missed_deadline_is_an_event_and_stays_on_the_record() {
    let mut a = alerts();
    let late = Fact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Overflow, after_ms: 4000 };
    let (types, revisions) =
        feed(&mut a, vec![arrival(), Fact::AttendantAnswered, Fact::Breach { timer: "T1" }, Fact::TwoWay, late]);
    assert_eq!(types, ["arrived", "attendant_answered", "deadline.breach", "answered"]);
    assert!(revisions.last().expect("some").timers[0].breach);
}

#[test]
fn a_word_warns_once_however_often_it_is_said() {
    let mut a = alerts();
    let said = || Fact::Said { by: "caller".into(), body: "他持刀!".into() };
    let (types, revisions) = feed(&mut a, vec![arrival(), said(), said()]);
    assert_eq!(types, ["arrived", "transcript", "warning.keyword", "transcript"]);
    assert_eq!(revisions.last().expect("some").incident.keywords[0].source, "transcript:caller");
}

#[test]
fn facts_of_an_alert_that_is_not_open_are_refused() {
    assert!(!alerts().handle_fact(Wall(T0), no(), Fact::TwoWay));
}

#[test]
fn a_record_survives_json_and_goes_on_after_a_restart() {
    let mut a = alerts();
    let (_, revisions) = feed(&mut a, vec![arrival(), Fact::Offered { leg: 1, seat: seat() }]);
    let json = serde_json::to_string(revisions.last().expect("some")).expect("serialises");
    let back: AlertRecord = serde_json::from_str(&json).expect("parses");
    assert_eq!(Some(&back), revisions.last());
    let mut b = alerts();
    b.restore(back);
    assert!(b.handle_fact(Wall(T0 + 9_000_000_000), no(), Fact::Ended));
    let next = recorded();
    assert!(b.handle_fact(Wall(T0 + 9_000_000_000), no(), next));
    let Some(Output::Event(event)) = b.poll_output() else { panic!("an event") };
    assert_eq!((event.data.rev, event.data.prev_hash.as_str()), (3, revisions[1].hash.as_str()));
}

#[test]
fn a_call_back_that_died_with_the_process_is_owed_again() {
    let mut a = alerts();
    feed(&mut a, vec![arrival(), Fact::Abandoned { attended: false }, Fact::Ended, Fact::CallingBack]);
    let (types, _) = feed(&mut a, vec![Fact::Interrupted, recorded()]);
    assert_eq!(types, ["updated", "call back 13800138000", "recorded"]);
    let mut b = alerts();
    feed(&mut b, vec![arrival(), Fact::Offered { leg: 1, seat: seat() }]);
    let (types, revisions) = feed(&mut b, vec![Fact::Interrupted, recorded()]);
    assert_eq!(types, ["updated", "recorded", "ended", "released"]);
    assert_eq!(revisions[0].marks, ["interrupted_by_restart"]);
}

#[test]
fn a_seat_that_was_passed_over_stays_on_the_record_beside_the_one_that_took_the_call() {
    let mut a = alerts();
    let other = || SeatInfo { no: "1102".into(), taker_name: "李".into() };
    let facts = vec![
        arrival(),
        Fact::Offered { leg: 1, seat: seat() },
        Fact::SeatFailed { leg: 1, why: "no_audio" },
        Fact::Offered { leg: 2, seat: other() },
        Fact::Answered { leg: 2, seat: other(), mode: AnswerMode::Seat, after_ms: 900 },
        Fact::LegEnded { leg: 2, role: Role::Taker, cause: "vanished" },
        Fact::Offered { leg: 3, seat: seat() },
        Fact::TakenOver { leg: 3, seat: seat() },
    ];
    let (_, revisions) = feed(&mut a, facts);
    let last = revisions.last().expect("some");
    let legs: Vec<_> =
        last.call.legs.iter().map(|l| (l.party.as_str(), l.answered.is_some(), l.cause.as_deref())).collect();
    assert_eq!(
        legs,
        [
            ("13800138000", true, None),
            ("1101", false, Some("no_audio")),
            ("1102", true, Some("vanished")),
            ("1101", true, None)
        ]
    );
    assert_eq!(last.call.seat.as_ref().map(|s| s.no.as_str()), Some("1101"));
}

#[test]
fn a_refused_call_is_an_alert_with_its_reason_and_is_called_back() {
    let mut a = alerts();
    let refused = Fact::Refused { code: 488, reason: "no_common_codec" };
    let facts = vec![arrival(), Fact::Breach { timer: "T1" }, refused, Fact::Recorded { media: vec![] }];
    let (types, revisions) = feed(&mut a, facts);
    assert_eq!(types, ["arrived", "deadline.breach", "abandoned", "call back 13800138000"]);
    let last = revisions.last().expect("some");
    assert_eq!((last.marks.as_slice(), last.timers[0].breach), (&["refused_488".to_owned()][..], true));
    assert_eq!(last.call.legs[0].cause.as_deref(), Some("no_common_codec"));
    let (types, _) = feed(&mut a, vec![Fact::CalledBackAs { other: AlertNo::LOWEST }]);
    assert_eq!(types, ["joined", "ended", "released"]);
}

#[test]
fn a_clock_that_was_set_meanwhile_neither_breaks_a_promise_nor_keeps_one() {
    for (days, after_ms, breach) in [(400i64, 900, false), (-400, 900, false), (0, 3001, true)] {
        let mut a = alerts();
        feed(&mut a, vec![arrival()]);
        let at = Wall(T0 + days * 86_400_000_000_000 + 1);
        a.handle_fact(at, no(), Fact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms });
        let Some(Output::Event(event)) = a.poll_output() else { panic!("an event") };
        assert_eq!(event.data.timers[0].breach, breach, "{days} days, {after_ms} ms");
    }
}

#[test]
fn a_record_stays_below_a_mebibyte_whatever_is_said_and_tried() {
    let mut a = alerts();
    feed(&mut a, vec![arrival()]);
    let line = "报".repeat(3000);
    let mut last = Vec::new();
    for n in 0..1200u32 {
        let officer = format!("{n:064}");
        let facts = [
            Fact::Said { by: "caller".into(), body: line.clone() },
            Fact::Tried {
                leg: n + 10,
                unit: officer.clone(),
                officer,
                role: Role::Officer,
                reason: line[..600].into(),
            },
        ];
        for fact in facts {
            a.handle_fact(Wall(T0), no(), fact);
            while let Some(output) = a.poll_output() {
                if let Output::Event(event) = output {
                    last = event.to_json();
                }
            }
        }
    }
    assert!(a.is_full(no()));
    assert!(last.len() < 1024 * 1024, "{} octets", last.len());
}

#[test]
fn a_call_back_that_saw_three_ends_of_the_process_is_not_made_again() {
    let mut a = alerts();
    feed(&mut a, vec![arrival(), Fact::Abandoned { attended: false }, Fact::Ended]);
    for (nth, owed) in [(1, true), (2, true), (3, false)] {
        feed(&mut a, vec![Fact::CallingBack]);
        let (types, revisions) = feed(&mut a, vec![Fact::Interrupted, recorded()]);
        assert_eq!(types.contains(&"call back 13800138000".to_owned()), owed, "start {nth}: {types:?}");
        if !owed {
            assert!(revisions[0].marks.iter().any(|m| m == "call_back_given_up"), "{:?}", revisions[0].marks);
        }
    }
}
