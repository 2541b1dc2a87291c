use std::time::Duration;

use codecs::record::{AnswerMode, Assessment, Channel, IncidentKind, Media, SeatInfo, TryResult};

use super::*;
use crate::fact::DispatchFact;
use crate::keyword::{Keyword, Sounds};

/// As long as a reporter has been on the line when an officer is asked for.
const WAITED: Duration = Duration::from_secs(2);
pub(super) const T0: i64 = 1_795_276_800_000_000_000;

fn alerts() -> Alerts {
    let knife = Keyword { word: "持刀".into(), level: 2, category: Some("100200".into()), ..Keyword::default() };
    Alerts::new(
        "/gw/370400000000/1".into(),
        "1".into(),
        KeywordTable::new(vec![knife], &Sounds::default()).expect("builds"),
    )
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
    Fact::Call(CallFact::Recorded { media: vec![mix] })
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
        let seconds = i as i64 * 1_000_000_000;
        assert!(a.handle_fact(Mono(seconds as u64), Wall(T0 + seconds), no, fact));
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
                Output::Moved { .. } => {}
                Output::Say(say) => types.push(format!("say {} {}", say.address.user, say.body)),
                Output::Silenced { .. } => types.push("silenced".into()),
                Output::Withdraw { line, .. } => types.push(format!("withdraw {}", &line[30..])),
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
        Fact::Call(CallFact::Offered { leg: 1, seat: seat() }),
        Fact::Call(CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms: 370 }),
        Fact::Incident(IncidentFact::Triaged(Box::new(Assessment {
            kind: Some(IncidentKind::Report),
            text: Some("有人持刀".into()),
            ..Assessment::default()
        }))),
        Fact::Dispatch(DispatchFact::ResponderWanted { why: "triage", waited: WAITED }),
        Fact::Dispatch(DispatchFact::Tried {
            leg: 2,
            unit: "U".into(),
            officer: "2001".into(),
            role: Role::Officer,
            reason: "nearest".into(),
        }),
        Fact::Dispatch(DispatchFact::TryEnded { leg: 2, officer: "2001".into(), result: TryResult::Answered }),
        Fact::Dispatch(DispatchFact::Bridged { officer: "2001".into(), after_ms: 7000 }),
        Fact::Call(CallFact::Ended),
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
    let (types, _) = feed(
        &mut a,
        vec![arrival(), Fact::Call(CallFact::Abandoned { attended: false }), Fact::Call(CallFact::Ended), recorded()],
    );
    assert_eq!(types, ["arrived", "abandoned", "call back 13800138000", "recorded"]);
    let offered = Fact::Call(CallFact::Offered { leg: 1, seat: seat() });
    let (types, _) = feed(&mut a, vec![Fact::Call(CallFact::CallingBack), offered]);
    assert_eq!((types, due(&mut a, 4)), (vec!["callback".to_owned(), "offered".into()], vec![]), "nobody waits");
    let later = vec![
        Fact::Call(CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms: 9000 }),
        Fact::Call(CallFact::Ended),
        recorded(),
    ];
    let (types, revisions) = feed(&mut a, later);
    assert_eq!(types, ["answered", "recorded", "ended", "released"]);
    assert!(revisions.last().is_some_and(|r| !r.timers[0].breach && r.timers[0].met_at.is_some()));
    assert_eq!(revisions.last().map(|r| r.source.validity), Some(Validity::Valid));
}

#[test]
fn a_call_that_left_no_audio_ends_without_saying_that_it_was_recorded() {
    let mut a = alerts();
    let (types, revisions) = feed(
        &mut a,
        vec![
            arrival(),
            Fact::Call(CallFact::AttendantAnswered),
            Fact::Call(CallFact::Ended),
            Fact::Call(CallFact::Recorded { media: vec![] }),
        ],
    );
    assert_eq!(types, ["arrived", "attendant_answered", "ended", "released"]);
    let last = revisions.last().expect("some");
    assert!(last.call.t.end.is_some() && last.media.is_empty());
}

#[test]
fn a_missed_deadline_is_an_event_and_stays_on_the_record() {
    let mut a = alerts();
    let late = Fact::Call(CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Overflow, after_ms: 4000 });
    let (types, revisions) = feed(
        &mut a,
        vec![
            arrival(),
            Fact::Call(CallFact::AttendantAnswered),
            Fact::Breach { promise: Promise::Answer },
            Fact::Call(CallFact::TwoWay),
            late,
        ],
    );
    assert_eq!(types, ["arrived", "attendant_answered", "deadline.breach", "answered"]);
    assert!(revisions.last().expect("some").timers[0].breach);
}

#[test]
fn a_word_warns_once_however_often_it_is_said() {
    let mut a = alerts();
    let said = || Fact::Text(TextFact::Said { by: "caller".into(), body: "他持刀!".into() });
    let (types, revisions) = feed(&mut a, vec![arrival(), said(), said()]);
    assert_eq!(types, ["arrived", "transcript", "warning.keyword", "transcript"]);
    assert_eq!(revisions.last().expect("some").incident.keywords[0].source, "transcript:caller");
}

#[test]
fn facts_of_an_alert_that_is_not_open_are_refused() {
    assert!(!alerts().handle_fact(Mono(0), Wall(T0), no(), Fact::Call(CallFact::TwoWay)));
}

#[test]
fn a_record_survives_json_and_goes_on_after_a_restart() {
    let mut a = alerts();
    let (_, revisions) = feed(&mut a, vec![arrival(), Fact::Call(CallFact::Offered { leg: 1, seat: seat() })]);
    let json = serde_json::to_string(revisions.last().expect("some")).expect("serialises");
    let back: AlertRecord = serde_json::from_str(&json).expect("parses");
    assert_eq!(Some(&back), revisions.last());
    let mut b = alerts();
    b.restore(Mono(0), Wall(T0), back);
    assert!(b.handle_fact(Mono(9), Wall(T0 + 9_000_000_000), no(), Fact::Call(CallFact::Ended)));
    let next = recorded();
    assert!(b.handle_fact(Mono(9), Wall(T0 + 9_000_000_000), no(), next));
    let Some(Output::Event(event)) = b.poll_output() else { panic!("an event") };
    assert_eq!((event.data.rev, event.data.prev_hash.as_str()), (3, revisions[1].hash.as_str()));
}

#[test]
fn a_call_back_that_died_with_the_process_is_owed_again() {
    let mut a = alerts();
    feed(
        &mut a,
        vec![
            arrival(),
            Fact::Call(CallFact::Abandoned { attended: false }),
            Fact::Call(CallFact::Ended),
            Fact::Call(CallFact::CallingBack),
        ],
    );
    let (types, _) = feed(&mut a, vec![Fact::Call(CallFact::Interrupted), recorded()]);
    assert_eq!(types, ["updated", "call back 13800138000", "recorded"]);
    let mut b = alerts();
    feed(&mut b, vec![arrival(), Fact::Call(CallFact::Offered { leg: 1, seat: seat() })]);
    let (types, revisions) = feed(&mut b, vec![Fact::Call(CallFact::Interrupted), recorded()]);
    assert_eq!(types, ["deadline.breach", "updated", "call back 13800138000", "recorded"], "nobody had spoken to them");
    assert_eq!(revisions[1].marks, ["interrupted_by_restart"]);
    // Whoever answers there may be what ends the process: not without end, before they are spoken to neither.
    for end in 1..=3 {
        let facts = [CallFact::CallingBack, CallFact::Offered { leg: 1, seat: seat() }, CallFact::Interrupted];
        let (types, _) = feed(&mut b, facts.map(Fact::Call).into());
        assert_eq!(types.iter().any(|t| t.starts_with("call back")), end < 3, "{end}: {types:?}");
    }
    let answered = Fact::Call(CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms: 900 });
    let mut c = alerts();
    feed(&mut c, vec![arrival(), answered]);
    let (types, _) = feed(&mut c, vec![Fact::Call(CallFact::Interrupted), recorded()]);
    assert_eq!(types, ["updated", "recorded", "ended", "released"]);
}

#[test]
fn a_seat_that_was_passed_over_stays_on_the_record_beside_the_one_that_took_the_call() {
    let mut a = alerts();
    let other = || SeatInfo { no: "1102".into(), taker_name: "李".into() };
    let facts = vec![
        arrival(),
        Fact::Call(CallFact::Offered { leg: 1, seat: seat() }),
        Fact::Call(CallFact::SeatFailed { leg: 1, why: "no_audio" }),
        Fact::Call(CallFact::Offered { leg: 2, seat: other() }),
        Fact::Call(CallFact::Answered { leg: 2, seat: other(), mode: AnswerMode::Seat, after_ms: 900 }),
        Fact::Call(CallFact::LegEnded { leg: 2, role: Role::Taker, cause: "vanished" }),
        Fact::Call(CallFact::Offered { leg: 3, seat: seat() }),
        Fact::Call(CallFact::TakenOver { leg: 3, seat: seat() }),
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
    let refused = Fact::Call(CallFact::Refused { code: 488, reason: "no_common_codec" });
    let facts = vec![
        arrival(),
        Fact::Breach { promise: Promise::Answer },
        refused,
        Fact::Call(CallFact::Recorded { media: vec![] }),
    ];
    let (types, revisions) = feed(&mut a, facts);
    assert_eq!(types, ["arrived", "deadline.breach", "abandoned", "call back 13800138000"]);
    let last = revisions.last().expect("some");
    assert_eq!((last.marks.as_slice(), last.timers[0].breach), (&["refused_488".to_owned()][..], true));
    assert_eq!(last.call.legs[0].cause.as_deref(), Some("no_common_codec"));
    let (types, _) = feed(&mut a, vec![Fact::Join(JoinFact::CalledBackAs { other: AlertNo::LOWEST })]);
    assert_eq!(types, ["joined", "ended", "released"]);
}

#[test]
fn a_clock_that_was_set_meanwhile_neither_breaks_a_promise_nor_keeps_one() {
    for (days, after_ms, breach) in [(400i64, 900, false), (-400, 900, false), (0, 3001, true)] {
        let mut a = alerts();
        feed(&mut a, vec![arrival()]);
        let at = Wall(T0 + days * 86_400_000_000_000 + 1);
        a.handle_fact(
            Mono(1),
            at,
            no(),
            Fact::Call(CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms }),
        );
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
            Fact::Text(TextFact::Said { by: "caller".into(), body: line.clone() }),
            Fact::Dispatch(DispatchFact::Tried {
                leg: n + 10,
                unit: officer.clone(),
                officer,
                role: Role::Officer,
                reason: line[..600].into(),
            }),
        ];
        for fact in facts {
            a.handle_fact(Mono(0), Wall(T0), no(), fact);
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
    feed(&mut a, vec![arrival(), Fact::Call(CallFact::Abandoned { attended: false }), Fact::Call(CallFact::Ended)]);
    for (nth, owed) in [(1, true), (2, true), (3, false)] {
        feed(&mut a, vec![Fact::Call(CallFact::CallingBack)]);
        let (types, revisions) = feed(&mut a, vec![Fact::Call(CallFact::Interrupted), recorded()]);
        assert_eq!(types.contains(&"call back 13800138000".to_owned()), owed, "start {nth}: {types:?}");
        if !owed {
            assert!(revisions[0].marks.iter().any(|m| m == "call_back_given_up"), "{:?}", revisions[0].marks);
        }
    }
}

const SECOND: u64 = 1_000_000_000;

/// What is told when the clock comes to so many seconds after the first byte.
fn due(a: &mut Alerts, seconds: u64) -> Vec<String> {
    a.handle_timeout(Mono(seconds * SECOND), Wall(T0 + (seconds * SECOND) as i64));
    std::iter::from_fn(|| a.poll_output())
        .map(|output| match output {
            Output::Event(e) => format!("{} {}", e.kind, e.deadline.unwrap_or_default()),
            other => format!("{other:?}"),
        })
        .collect()
}

const BREACH: &str = "cn.gov.police110.alert.deadline.breach.v1";

#[test]
fn a_promise_whose_machine_is_no_more_is_told_as_broken_once() {
    let mut a = alerts();
    feed(&mut a, vec![arrival()]);
    assert_eq!(a.poll_timeout(), Some((Mono(4 * SECOND), "a promise is due")), "its machine has the first word");
    assert!(due(&mut a, 3).is_empty());
    assert_eq!(due(&mut a, 4), [format!("{BREACH} T1")]);
    assert!(due(&mut a, 60).is_empty() && a.poll_timeout().is_none());
    let (types, _) = feed(&mut a, vec![Fact::Breach { promise: Promise::Answer }]);
    assert!(types.is_empty(), "{types:?}");
}

#[test]
fn what_was_kept_was_told_or_is_awaited_by_nobody_is_not_told_as_broken() {
    let answered = |after_ms| Fact::Call(CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms });
    for facts in [
        vec![arrival(), answered(900)],
        vec![arrival(), Fact::Breach { promise: Promise::Answer }],
        vec![arrival(), Fact::Call(CallFact::Abandoned { attended: false })],
        vec![arrival(), answered(3001)],
    ] {
        let mut a = alerts();
        feed(&mut a, facts);
        assert!(due(&mut a, 60).is_empty());
    }
    let mut a = alerts();
    let (types, _) = feed(&mut a, vec![arrival(), answered(3001), Fact::Breach { promise: Promise::Answer }]);
    assert_eq!(types.iter().filter(|t| *t == "deadline.breach").count(), 1, "{types:?}");
}

#[test]
fn deadlines_are_data_they_go_on_after_a_start_and_those_that_passed_meanwhile_are_told() {
    let wanted = Fact::Dispatch(DispatchFact::ResponderWanted { why: "three-way", waited: WAITED });
    let answered = Fact::Call(CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms: 1000 });
    let mut a = alerts();
    let (_, revisions) = feed(&mut a, vec![arrival(), answered, wanted]);
    let record = revisions.last().expect("some");
    // Ten seconds later by both clocks of another process, whose own began anew.
    let mut b = alerts();
    b.restore(Mono(0), Wall(T0 + 10 * SECOND as i64), record.clone());
    assert_eq!(b.poll_timeout().map(|(at, _)| at), Some(Mono(21 * SECOND)));
    // An hour later: it is due at once.
    let mut c = alerts();
    c.restore(Mono(0), Wall(T0 + 3600 * SECOND as i64), record.clone());
    assert_eq!(due(&mut c, 1), [format!("{BREACH} T2")]);
    // And one whose call is given up at the start tells it before it ends.
    let mut d = alerts();
    d.restore(Mono(0), Wall(T0 + 3600 * SECOND as i64), record.clone());
    d.handle_fact(Mono(0), Wall(T0 + 3600 * SECOND as i64), no(), Fact::Call(CallFact::Interrupted));
    let told: Vec<_> = std::iter::from_fn(|| d.poll_output())
        .filter_map(|o| if let Output::Event(e) = o { e.deadline } else { None })
        .collect();
    assert_eq!(told, ["T2"]);
}

#[test]
fn a_clock_that_is_set_during_a_call_moves_no_promise() {
    let wanted = || Fact::Dispatch(DispatchFact::ResponderWanted { why: "three-way", waited: WAITED });
    for set_by in [-60, 60, 86_400] {
        let mut a = alerts();
        a.handle_fact(Mono(SECOND), Wall(T0), no(), arrival());
        let set = Wall(T0 + (2 + set_by) * SECOND as i64);
        let answered = CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms: 2000 };
        while a.poll_output().is_some() {}
        a.handle_fact(Mono(3 * SECOND), set, no(), Fact::Call(answered));
        while a.poll_output().is_some() {}
        a.handle_fact(Mono(3 * SECOND), set, no(), wanted());
        while a.poll_output().is_some() {}
        a.handle_timeout(Mono(6 * SECOND), set);
        assert_eq!(a.poll_timeout().map(|(at, _)| at), Some(Mono(32 * SECOND)), "{set_by}");
        assert!(a.poll_output().is_none());
    }
}

#[test]
fn whoever_is_called_back_waits_for_an_officer_since_they_picked_up() {
    let mut a = alerts();
    let answered = CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms: 1000 };
    let mut facts = vec![arrival(), Fact::Call(CallFact::Abandoned { attended: false })];
    facts.extend((0..40).map(|_| Fact::Call(CallFact::TwoWay)));
    facts.extend([CallFact::CallingBack, answered].map(Fact::Call));
    facts.push(Fact::Dispatch(DispatchFact::ResponderWanted { why: "three-way", waited: WAITED }));
    let (_, revisions) = feed(&mut a, facts);
    let record = revisions.last().expect("some");
    let due = record.timers.iter().find(|t| t.promise() == Some(Promise::Officer)).expect("owed").due;
    let answered_at = record.call.t.answer.expect("answered");
    assert_eq!(due.0.0 - answered_at.0.0, 29 * SECOND as i64);
}

#[test]
fn of_many_promises_those_that_were_kept_are_left_out() {
    let mut a = alerts();
    for serial in 0..10_000 {
        let no = AlertNo::mint("370400000000", 20_261_122, 1, serial);
        a.handle_fact(Mono(0), Wall(T0), no, arrival());
        while a.poll_output().is_some() {}
        if serial % 2 == 0 {
            let fact = Fact::Call(CallFact::Answered { leg: 1, seat: seat(), mode: AnswerMode::Seat, after_ms: 1 });
            a.handle_fact(Mono(1), Wall(T0 + 1), no, fact);
            while a.poll_output().is_some() {}
        }
    }
    assert_eq!(due(&mut a, 4).len(), 5_000);
    assert!(a.poll_timeout().is_none());
}

#[test]
fn two_reports_under_one_number_are_marked() {
    let mut a = alerts();
    let (_, revisions) = feed(&mut a, vec![arrival(), arrival()]);
    let marked = |record: &AlertRecord| record.marks.iter().any(|m| m == "number_given_twice");
    assert_eq!(revisions.iter().map(marked).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn agencies_in_a_call_are_on_record_by_name_and_only_the_first_of_the_police_keeps_the_promise() {
    let tried = |leg, officer: &str, role| {
        let (unit, officer, reason) = (officer.to_owned(), officer.to_owned(), "asked".to_owned());
        Fact::Dispatch(DispatchFact::Tried { leg, unit, officer, role, reason })
    };
    let bridged = |officer: &str, after_ms| Fact::Dispatch(DispatchFact::Bridged { officer: officer.into(), after_ms });
    let missed = |officer: &str| {
        let (unit, officer, role) = ("煤气".to_owned(), officer.to_owned(), Role::Agency);
        Fact::Dispatch(DispatchFact::Missed { unit, officer, role, result: TryResult::Busy })
    };
    let mut a = alerts();
    let (types, revisions) = feed(
        &mut a,
        vec![
            arrival(),
            tried(2, "119", Role::Agency),
            tried(3, "120", Role::Agency),
            missed("gas"),
            Fact::Dispatch(DispatchFact::AskedIn),
            bridged("120", 4000),
            Fact::Dispatch(DispatchFact::ResponderWanted { why: "transfer", waited: WAITED }),
            tried(4, "2001", Role::Officer),
            bridged("2001", 9000),
            tried(5, "U", Role::Superior),
            bridged("U", 12_000),
        ],
    );
    assert_eq!(
        types,
        ["arrived", "party_called", "party_connected", "bridging", "bridging", "bridged", "bridging", "bridged"]
    );
    let called = &revisions[1];
    let of = |r: &AlertRecord| -> Vec<_> {
        r.dispatch.iter().map(|d| (d.officer.clone(), d.result, d.bridged_at.is_some())).collect()
    };
    assert_eq!(
        of(called),
        [("119".into(), None, false), ("120".into(), None, false), ("gas".into(), Some(TryResult::Busy), false)]
    );
    assert_eq!((called.state, revisions[2].call.officer_ms), (State::Arrived, None), "no officer has come");
    assert!(of(&revisions[2])[1].2);
    let last = revisions.last().expect("some");
    assert_eq!((last.call.officer_ms, last.state), (Some(9000), State::Bridged), "the first one keeps it");
    let timer = last.timers.iter().find(|t| t.promise() == Some(Promise::Officer)).expect("a timer");
    assert_eq!((timer.breach, timer.met_at.is_some()), (false, true));
}
