//! Cases of other agencies: what they repeat, correct, reorder or hand round does no harm.

use codecs::record::{Assessment, External, Form};

use super::person_tests::{Story, number};
use super::tests::events;
use super::*;
use crate::message::{AgencyCase, Body, Incoming};

/// One event of an agency.
struct Event {
    id: &'static str,
    case: &'static str,
    order: u64,
    text: &'static str,
    level: Option<u8>,
    lon: Option<f64>,
    about: Option<AlertNo>,
    silent: bool,
    phone: Option<&'static str>,
    /// What else it makes of it.
    said: Assessment,
}

fn event(id: &'static str, case: &'static str, order: u64, text: &'static str) -> Event {
    Event {
        id,
        case,
        order,
        text,
        level: None,
        lon: None,
        about: None,
        silent: false,
        phone: None,
        said: Assessment::default(),
    }
}

fn tell(s: &mut Story, e: &Event) {
    s.second += 1;
    let external = External { system: "kiosk".into(), no: e.case.into() };
    let said = Assessment { level: e.level, ..e.said.clone() };
    let case = casework::Case { external, order: Some(e.order), hops: 2 };
    let location = e.lon.map(|lon| codecs::chat::SharedLocation {
        point: codecs::geo::Point { lon, lat: 34.8 },
        datum: codecs::geo::Datum::Wgs84,
        label: String::new(),
    });
    let message = Incoming {
        from: Address { channel: "kiosk".into(), user: e.case.into() },
        message_id: e.id.into(),
        session: None,
        to: "kiosk".into(),
        body: Body::Text(e.text.into()),
        forms: vec![Form::Text],
        attachments: Vec::new(),
        location,
        phone: e.phone.map(str::to_owned),
        silent: e.silent,
        is_ping: false,
        case: Some(Box::new(AgencyCase { case, about: e.about, said })),
    };
    let (at, request) = (s.wall(), RequestId(12));
    s.tell(ToCasebook::Incoming { at, message: Box::new(message), request });
}

/// The alerts that there are, in their order.
fn alerts(s: &Story) -> Vec<AlertNo> {
    let mut all: Vec<AlertNo> = Vec::new();
    for no in events(&s.kept).iter().filter_map(|e| AlertNo::parse(&e.subject)) {
        if !all.contains(&no) {
            all.push(no);
        }
    }
    all
}

#[test]
fn a_case_is_one_alert_with_their_number_and_a_repeated_event_adds_nothing_over_a_start_too() {
    let mut s = Story::new();
    tell(&mut s, &Event { level: Some(2), ..event("e1", "F1", 1, "仓库起火") });
    let no = alerts(&s)[0];
    let record = s.record(no);
    assert_eq!(record.id.external, [External { system: "kiosk".into(), no: "F1".into() }]);
    assert_eq!((record.source.hops, record.incident.level), (2, Some(2)));
    assert_eq!(record.incident.triage[0].by, "agency:kiosk");
    tell(&mut s, &event("e2", "F1", 2, "三楼有人"));
    for restart in [false, true] {
        if restart {
            s.restart();
        }
        let rev = s.record(no).rev;
        tell(&mut s, &Event { level: Some(4), ..event("e1", "F1", 1, "仓库起火") });
        assert_eq!((alerts(&s), s.record(no).rev, s.record(no).incident.level), (vec![no], rev, Some(2)));
    }
    assert_eq!(s.words(no), [("F1", "仓库起火"), ("F1", "三楼有人")]);
}

#[test]
fn what_comes_late_is_read_and_sets_nothing_back_over_a_start_too() {
    let mut s = Story::new();
    tell(&mut s, &Event { level: Some(3), lon: Some(117.1), ..event("e1", "F1", 1, "one") });
    tell(&mut s, &Event { level: Some(1), lon: Some(117.3), ..event("e3", "F1", 3, "three") });
    let no = alerts(&s)[0];
    s.restart();
    tell(&mut s, &Event { level: Some(4), lon: Some(117.2), ..event("e2", "F1", 2, "two") });
    let record = s.record(no);
    assert_eq!(record.incident.level, Some(1));
    assert!(record.location.iter().any(|l| l.original.is_some_and(|o| (o.lon - 117.3).abs() < 1e-9)));
    assert!(record.location.iter().all(|l| l.original.is_none_or(|o| (o.lon - 117.2).abs() > 1e-9)));
    assert_eq!(s.words(no).len(), 3, "their words are read all the same");
    tell(&mut s, &Event { level: Some(2), ..event("e4", "F1", 4, "four") });
    assert_eq!(s.record(no).incident.level, Some(2), "a correction is one");
}

#[test]
fn a_case_that_is_about_an_alert_of_ours_comes_into_it_and_one_of_nobody_s_begins_its_own() {
    let mut s = Story::new();
    let ours = s.writes("wechat", "alice", "着火了");
    tell(&mut s, &Event { about: Some(ours), ..event("e1", "F1", 1, "已出动") });
    assert_eq!(alerts(&s), [ours]);
    assert_eq!(s.writers(ours), ["alice", "F1"]);
    tell(&mut s, &Event { about: Some(number(99)), ..event("e2", "F2", 1, "另一起") });
    assert_eq!(alerts(&s).len(), 2);
    // What was joined goes on as what it was joined to.
    let other = s.writes("wechat", "bob", "bob");
    s.join(ours, other);
    tell(&mut s, &Event { about: Some(ours), ..event("e3", "F3", 1, "还有伤员") });
    assert!(s.writers(other).contains(&"F3"));
}

#[test]
fn an_agency_takes_nothing_from_whoever_speaks_for_themselves() {
    let mut s = Story::new();
    let call = number(1);
    s.calls_and_hangs_up(call, "13800000001");
    tell(&mut s, &Event { about: Some(call), silent: true, ..event("e1", "F1", 1, "已派车") });
    let record = s.record(call);
    assert!(!record.reporter.safety.silent && record.state == codecs::record::State::Abandoned, "they are rung");
    // A citizen's own alert: its answers, its place and what the desk made of it stay theirs.
    s.place = Some((117.1, 34.8));
    let alice = s.writes("wechat", "alice", "着火了");
    s.place = None;
    let said = Assessment { level: Some(1), ..Assessment::default() };
    let (at, place, request) = (s.wall(), None, RequestId(11));
    s.tell(ToCasebook::Triage { at, no: alice, said: Box::new(said), place, request });
    let told = Event { about: Some(alice), level: Some(4), lon: Some(117.9), ..event("e2", "F2", 1, "已派车") };
    tell(&mut s, &Event { silent: true, phone: Some("13900000119"), ..told });
    let record = s.record(alice);
    assert_eq!((record.incident.level, record.reporter.safety.silent), (Some(1), false));
    assert!(record.location.iter().all(|l| l.original.is_none_or(|o| o.lon < 117.5)));
    assert_eq!(record.source.hops, 0, "it came to us first");
    assert!(s.words(alice).contains(&("F2", "已派车 [电话 13900000119]")), "{:?}", s.words(alice));
    s.given(alice);
    let (at, request) = (s.wall(), RequestId(9));
    let line = crate::message::SayRequest {
        at,
        no: alice,
        seat: "1101".into(),
        body: "你安全吗".into(),
        channel: None,
        answers: None,
        done: false,
        despite_silence: false,
        request,
    };
    s.sent.clear();
    s.tell(ToCasebook::Say(Box::new(line)));
    s.durable();
    assert!(s.sent.iter().any(|(to, body)| to == "alice" && body == "你安全吗"), "{:?} {:?}", s.sent, s.refused);
    assert!(s.sent.iter().all(|(to, _)| to != "F2"), "{:?}", s.sent);
}

#[test]
fn more_agencies_than_may_begin_alerts_of_their_own_that_name_ours() {
    let mut s = Story::new();
    let alice = s.writes("wechat", "alice", "着火了");
    let cases: Vec<(&'static str, &'static str)> = (0..20)
        .map(|n| (&*format!("e{n}").leak(), &*format!("F{n}").leak()))
        .map(|(id, case): (&'static str, &'static str)| (id, case))
        .collect();
    for (id, case) in cases {
        tell(&mut s, &Event { about: Some(alice), ..event(id, case, 1, "已派车") });
    }
    assert_eq!((s.writers(alice).len(), alerts(&s).len()), (17, 5));
    let last = *alerts(&s).last().expect("one");
    assert!(s.words(last)[0].1.contains(&alice.to_string()), "{:?}", s.words(last));
}

#[test]
fn an_agency_that_has_said_as_much_as_it_may_is_told_so_and_says_it_again() {
    let mut s = Story::new();
    let names: Vec<&'static str> = (0..30).map(|n| &*format!("e{n}").leak()).collect();
    for (n, name) in (0..).zip(&names) {
        s.second = 1;
        tell(&mut s, &Event { level: Some(1 + (n % 4) as u8), ..event(name, "F1", n, "x") });
    }
    s.durable();
    let no = alerts(&s)[0];
    let kept = s.record(no).incident.triage.len();
    assert!(s.refused.len() >= 5 && s.refused.iter().all(|f| *f == Failure::Quota), "{:?}", s.refused);
    assert_eq!(kept + s.refused.len(), 30, "what was not kept was not taken");
    s.second += 120;
    let n = 29;
    tell(&mut s, &Event { level: Some(3), ..event(names[29], "F1", n, "x") });
    assert_eq!(s.record(no).incident.level, Some(3), "it comes again");
}

#[test]
fn what_an_agency_says_of_a_citizens_alert_stands_on_record_and_fills_what_nobody_has_said() {
    let mut s = Story::new();
    let alice = s.writes("wechat", "alice", "着火了");
    let counted = codecs::record::Casualties { injured: Some(1), ..Default::default() };
    let seen = codecs::record::Hazards { suspect_present: Some(true), ..Default::default() };
    let said = Assessment { casualties: Some(counted), hazards: Some(seen), ..Assessment::default() };
    let (at, request) = (s.wall(), RequestId(11));
    s.tell(ToCasebook::Triage { at, no: alice, said: Box::new(said), place: None, request });
    let told = Assessment {
        casualties: Some(codecs::record::Casualties { trapped: Some(3), injured: Some(9), dead: Some(2) }),
        hazards: Some(codecs::record::Hazards { explosives: Some(true), ..Default::default() }),
        name: Some("周强".into()),
        ..Assessment::default()
    };
    tell(&mut s, &Event { about: Some(alice), said: told.clone(), ..event("e1", "F1", 1, "仓库") });
    for restart in [false, true] {
        if restart {
            s.restart();
        }
        let incident = &s.record(alice).incident;
        let counted = incident.casualties.expect("counted");
        assert_eq!((counted.trapped, counted.injured, counted.dead), (Some(3), Some(1), Some(2)));
        let seen = incident.hazards.expect("seen");
        assert_eq!((seen.explosives, seen.suspect_present), (Some(true), Some(true)));
        assert!(s.record(alice).reporter.name.is_empty(), "who reports is not theirs to say");
        let last = incident.triage.last().expect("a triage");
        assert_eq!((last.by.as_str(), &last.said), ("agency:kiosk", &told), "all of it stands by its author");
    }
}

#[test]
fn an_agency_asks_for_silence_for_its_case_beside_another_agencys() {
    let mut s = Story::new();
    tell(&mut s, &Event { phone: Some("13900000007"), ..event("e1", "M1", 1, "有人受伤") });
    let no = alerts(&s)[0];
    tell(&mut s, &Event { about: Some(no), ..event("e2", "F1", 1, "已派车") });
    assert_eq!(s.writers(no), ["M1", "F1"]);
    tell(&mut s, &Event { silent: true, ..event("e3", "M1", 2, "歹徒还在屋内") });
    assert!(s.record(no).reporter.safety.silent);
}

#[test]
fn an_agency_asks_for_silence_for_its_case_that_a_taker_joined_to_another_agency_s() {
    let mut s = Story::new();
    tell(&mut s, &event("e1", "M1", 1, "有人受伤"));
    tell(&mut s, &event("e2", "F1", 1, "已派车"));
    let [medical, fire] = alerts(&s)[..] else { panic!("two") };
    s.join(fire, medical);
    assert_eq!(s.record(medical).id.external.len(), 2, "what the other calls it comes along");
    tell(&mut s, &Event { silent: true, ..event("e3", "M1", 2, "歹徒还在屋内") });
    assert!(s.record(medical).reporter.safety.silent);
}

/// Explosions are warned of; a taker has set the level of alice's smoke to 4.
fn judged() -> (Story, AlertNo) {
    let danger = casework::Keyword { word: "爆炸".into(), level: 1, ..Default::default() };
    let keywords = KeywordTable::new(vec![danger], &casework::Sounds::default()).expect("builds");
    let mut s = Story::new();
    s.book = super::tests::casebook_with(&[("wechat", false), ("sms", true), ("kiosk", false)], keywords);
    let alice = s.writes("wechat", "alice", "有烟");
    let said = Assessment { level: Some(4), ..Assessment::default() };
    let (at, request) = (s.wall(), RequestId(11));
    s.tell(ToCasebook::Triage { at, no: alice, said: Box::new(said), place: None, request });
    (s, alice)
}

#[test]
fn a_word_of_danger_in_an_agency_s_line_overrules_no_taker_and_begins_no_triage() {
    let (mut s, alice) = judged();
    let state = s.record(alice).state;
    tell(&mut s, &Event { about: Some(alice), level: Some(2), ..event("e1", "F1", 1, "现场无爆炸危险") });
    let record = s.record(alice);
    assert_eq!((record.incident.level, record.state), (Some(4), state));
    assert_eq!(record.incident.keywords[0].word, "爆炸", "it is warned of all the same");
    s.writes("wechat", "alice", "要爆炸了");
    assert_eq!(s.record(alice).incident.level, Some(1), "from her it is news");
    // Of what nobody has judged it is believed.
    let bob = s.writes("wechat", "bob", "有烟");
    tell(&mut s, &Event { about: Some(bob), ..event("e2", "F2", 1, "有爆炸声") });
    assert_eq!(s.record(bob).incident.level, Some(1));
}

#[test]
fn an_agency_s_word_overrules_no_taker_by_way_of_a_join_either() {
    let (mut s, alice) = judged();
    tell(&mut s, &event("e1", "F1", 1, "现场无爆炸危险"));
    let fire = *alerts(&s).last().expect("one");
    s.join(fire, alice);
    assert_eq!(s.record(alice).incident.level, Some(4));
    let bob = s.writes("wechat", "bob", "要爆炸了");
    s.join(bob, alice);
    assert_eq!(s.record(alice).incident.level, Some(1), "a citizen's is news");
}
