//! Who commands, who is complained of, and what is led as a major alert, in sentences.

use codecs::record::{Assessment, HandlingStep, IncidentKind};

use super::fanout_tests::{SECOND, Story, rules};
use super::tests::T0;
use super::*;
use crate::fact::HandlingFact;
use crate::fanout::{Rule, When};

#[test]
fn a_complaint_that_comes_by_a_join_keeps_no_later_stage_waiting() {
    let mut s = Story::new();
    let mut rules = rules();
    rules.units.insert("anti_fraud".into(), vec![STATION.into()]);
    s.alerts.set_rules(rules);
    s.fact(here(&CHAIN));
    s.at(5000).triage("100901");
    let sent = |s: &Story, target: &str| s.record().fanout.iter().any(|p| p.target == target && p.sent.is_some());
    assert!(sent(&s, "anti_fraud") && !sent(&s, "city"));
    let belongings = crate::fact::Belongings { complaint_of: Some(STATION.into()), ..Default::default() };
    let other = AlertNo::mint("370400000000", 20_261_130, 1, 8);
    s.fact(Fact::Join(JoinFact::Absorbed { other, belongings: Box::new(belongings) }));
    assert!(sent(&s, "city"), "{:?}", s.record().fanout);
}

/// City, county, station, grid.
fn here(chain: &[&str]) -> Fact {
    let location = codecs::record::Location {
        wgs84: None,
        original: None,
        civic: String::new(),
        grid_code: chain[chain.len() - 1].into(),
        source: codecs::record::LocationSource::Spoken,
        at: Stamp(Wall(T0)),
        from: None,
    };
    let jurisdiction: Vec<String> = chain.iter().map(|j| (*j).to_owned()).collect();
    let owner = chain[chain.len().saturating_sub(2)].to_owned();
    Fact::Incident(IncidentFact::Located(Box::new(crate::fact::Place { location, jurisdiction, owner })))
}

const CITY: &str = "370400000000";
const COUNTY: &str = "370402000000";
const STATION: &str = "370402510000";
const CHAIN: [&str; 4] = [CITY, COUNTY, STATION, "370402-001"];

#[test]
fn the_level_decides_who_commands() {
    let mut s = Story::new();
    s.fact(here(&CHAIN));
    assert_eq!((s.record().route.owner.as_str(), s.record().route.command.as_str()), (STATION, ""));
    for (level, unit) in [(4, STATION), (3, STATION), (2, COUNTY), (1, CITY)] {
        let said = Assessment { level: Some(level), ..Assessment::default() };
        s.fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))));
        assert_eq!(s.record().route.command, unit, "level {level}");
    }
    // A word that is warned of raises it too.
    let mut s = Story::new();
    s.fact(here(&CHAIN));
    s.fact(Fact::Text(TextFact::Said { by: "caller".into(), body: "他持刀".into() }));
    assert_eq!(s.record().route.command, COUNTY);
}

#[test]
fn what_is_grave_enough_is_led_as_a_major_alert_by_four_with_shorter_times_and_one_log() {
    let mut s = Story::new();
    let mut rules = rules();
    rules.major_at = Some(1);
    let four = ["intelligence", "command", "duty", "public_opinion"].map(str::to_owned).to_vec();
    let widened = vec![four.clone(), vec!["city".to_owned()]];
    let when = When { major: true, ..When::default() };
    rules.all.push(Rule { sign_within: Some(SECOND * 10), ..Rule::new("major", when, widened) });
    s.alerts.set_rules(rules);
    s.fact(here(&CHAIN));
    s.at(5000).triage("100901");
    s.receipt("anti_fraud");
    s.told();
    let log = |s: &mut Story, text: &str| {
        let nothing = String::new;
        let (target, officer, to, result_code) = (nothing(), nothing(), nothing(), nothing());
        let step = HandlingStep::Risk;
        s.fact(Fact::Handling(HandlingFact { step, target, officer, to, text: text.into(), result_code, place: None }))
    };
    assert!(!log(&mut s, "there is no log yet"));
    // The city had thirty seconds to sign; by the major rule it has ten, from now on.
    let said = |level, major| {
        let said = Assessment { level, major, ..Assessment::default() };
        Fact::Incident(IncidentFact::Triaged(Box::new(said)))
    };
    s.at(8000).fact(said(Some(1), None));
    let told = s.told();
    let at = |what: &str| told.iter().filter(|t| t.starts_with(&format!("8.000 {what}"))).count();
    assert_eq!((at("major"), at("pushed")), (1, 2), "by its level, and as a major alert: {told:?}");
    for target in &four {
        let push = s.record().fanout.iter().find(|p| p.target == *target).expect("planned");
        assert!(push.sent.is_some(), "{target}");
    }
    assert_eq!(s.record().incident.major.as_ref().map(|m| m.why.as_str()), Some("level 1"));
    assert!(log(&mut s, "the bridge may give way"));
    s.at(18_000);
    let late: Vec<String> = s.told().into_iter().filter(|t| t.contains("deadline.breach T5")).collect();
    assert_eq!(late.iter().filter(|t| t.ends_with(" city")).count(), 1, "{late:?}");
    // A hand ends it, and only a hand begins it again.
    s.fact(said(None, Some(false)));
    s.fact(said(Some(1), None));
    assert!(!s.record().incident.is_major());
    s.fact(said(None, Some(true)));
    assert_eq!(s.record().incident.major.as_ref().map(|m| m.why.as_str()), Some("by hand"));
}

#[test]
fn a_unit_that_is_complained_of_and_those_below_it_own_command_and_hear_nothing_of_it() {
    let complaint = |of: &str| {
        let said = Assessment {
            kind: Some(IncidentKind::PoliceComplaint),
            category: Some("100900".into()),
            level: Some(4),
            complaint_of: Some(of.into()),
            ..Assessment::default()
        };
        Fact::Incident(IncidentFact::Triaged(Box::new(said)))
    };
    for (of, above) in [(STATION, COUNTY), (COUNTY, CITY), (CITY, CITY)] {
        let mut s = Story::new();
        let mut rules = rules();
        rules.units.insert("station".into(), vec![STATION.into(), COUNTY.into(), CITY.into()]);
        s.alerts.set_rules(rules);
        s.fact(here(&CHAIN));
        s.fact(complaint(of));
        let route = &s.record().route;
        assert_eq!((route.owner.as_str(), route.command.as_str()), (above, above), "{of}");
        // Wherever it turns out to have been, and whoever hands it over.
        s.fact(here(&CHAIN));
        assert_eq!(s.record().route.owner, above);
        let taken = s.step(HandlingStep::HandedOver, "");
        assert_eq!((taken, s.record().route.owner.as_str()), (false, above), "{of}");
        let told: Vec<&str> = s.record().fanout.iter().map(|p| p.target.as_str()).collect();
        assert!(!told.contains(&"station"), "{told:?}");
    }
}

#[test]
fn whoever_turns_out_to_be_complained_of_is_told_nothing_from_that_revision_on_and_is_late_with_nothing() {
    let mut s = Story::new();
    let mut rules = rules();
    rules.units.insert("station".into(), vec![STATION.into()]);
    s.alerts.set_rules(rules);
    s.fact(here(&CHAIN));
    s.at(5000).triage("100901");
    s.receipt("anti_fraud");
    s.at(6000);
    let station = |s: &Story| s.record().fanout.iter().find(|p| p.target == "station").cloned().expect("planned");
    assert!(station(&s).sent.is_some() && station(&s).withheld.is_none());
    let said = Assessment { complaint_of: Some(STATION.into()), ..Assessment::default() };
    s.fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))));
    assert!(station(&s).withheld.is_some());
    s.at(90_000);
    let late = s.told().into_iter().filter(|t| t.contains("deadline") && t.contains("station")).collect::<Vec<_>>();
    assert_eq!(late, Vec::<String>::new());
    assert_eq!(s.record().route.owner, COUNTY);
    // It was a mistake: it is theirs again, they are told again, and what was expected of them is from now on.
    let mistake = |s: &mut Story| {
        let said = Assessment { complaint_of: Some(String::new()), ..Assessment::default() };
        s.fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))));
    };
    mistake(&mut s);
    assert!(station(&s).withheld.is_none() && s.record().incident.complaint_of.is_none());
    assert_eq!(s.record().route.owner, STATION);
    s.at(119_000);
    let late = |s: &mut Story| s.told().into_iter().filter(|t| t.contains("T5 station")).count();
    assert_eq!(late(&mut s), 0);
    s.at(121_000);
    assert_eq!(late(&mut s), 1, "thirty seconds from then on");
    // Who had not been told when it was noted is told once it is taken back.
    let mut s = Story::new();
    let mut rules = super::fanout_tests::rules();
    rules.units.insert("station".into(), vec![STATION.into()]);
    s.alerts.set_rules(rules);
    s.fact(here(&CHAIN));
    s.at(5000).triage("100901");
    let said = Assessment { complaint_of: Some(STATION.into()), ..Assessment::default() };
    s.fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))));
    s.receipt("anti_fraud");
    assert!(station(&s).sent.is_none());
    mistake(&mut s);
    assert!(station(&s).sent.is_some(), "{:?}", station(&s));
}

#[test]
fn a_suggestion_names_units_of_the_place_and_never_one_that_is_complained_of() {
    let mut s = Story::new();
    let clue = crate::Clue { word: "转账".into(), category: "100700".into(), percent: 60, by_sound: false };
    let whose = crate::Category {
        name: "诈骗".into(),
        handled_by: crate::UnitFor::Station,
        supervised_by: crate::UnitFor::County,
    };
    let categories = [("100700".to_owned(), whose)].into();
    let table = crate::Suggestions::new(vec![clue], categories, &crate::Sounds::default());
    s.alerts.set_suggestions(table.expect("builds"));
    let said = |text: &str| Assessment { text: Some(text.into()), ..Assessment::default() };
    s.fact(Fact::Incident(IncidentFact::Triaged(Box::new(said("让我转账")))));
    let of = |s: &Story| {
        let one = s.record().incident.suggested[0].clone();
        (one.handling, one.supervising)
    };
    assert_eq!(of(&s), (CITY.into(), CITY.into()), "before a place is known there is the city");
    s.fact(here(&CHAIN));
    assert_eq!(of(&s), (STATION.into(), COUNTY.into()));
    let complaint = Assessment { complaint_of: Some(STATION.into()), ..Assessment::default() };
    s.fact(Fact::Incident(IncidentFact::Triaged(Box::new(complaint))));
    assert_eq!(of(&s), (COUNTY.into(), COUNTY.into()));
    assert_eq!(s.record().incident.category, None);
    assert_eq!(s.record().incident.clues, ["转账"]);
}

#[test]
fn what_is_paused_with_a_reason_is_late_by_nobodys_fault_and_goes_on_with_what_was_left_over_a_start_too() {
    for restart in [false, true] {
        let mut s = Story::new();
        s.at(5000).triage("100901");
        s.at(5100).receipt("anti_fraud");
        for target in ["city", "station"] {
            s.at(5200).receipt(target);
            s.at(6000).step(HandlingStep::Signed, target);
        }
        s.told();
        assert!(s.at(16_000).step(HandlingStep::Paused, "city"), "ten of sixty seconds are over");
        assert!(!s.step(HandlingStep::Paused, "city"), "it waits already");
        assert!(!s.step(HandlingStep::Resumed, "station"), "it never waited");
        if restart {
            let record = s.record().clone();
            s.alerts = Alerts::new("/gw/370400000000/1".into(), "1".into(), KeywordTable::empty());
            s.alerts.set_rules(rules());
            let (now, wall) = (Mono(s.now().as_nanos() as u64), s.wall());
            s.alerts.restore(now, wall, record);
        }
        s.at(66_100);
        assert_eq!(s.told(), ["16.000 paused city", "66.000 deadline.breach T6 station"]);
        assert!(s.at(100_000).step(HandlingStep::Resumed, "city"));
        s.at(149_900);
        assert_eq!(s.told(), ["100.000 resumed city"]);
        s.at(151_000);
        assert_eq!(s.told(), ["150.000 deadline.breach T6 city"], "fifty seconds were left");
    }
}

#[test]
fn what_can_wait_is_expected_in_working_days_and_a_signature_at_once() {
    let mut s = Story::new();
    let mut rules = rules();
    rules.all[0].working_days = true;
    rules.all[0].feed_back_within = Some(SECOND * 24 * 3600);
    s.alerts.set_rules(rules);
    s.at(5000).triage("100901");
    s.at(5100).receipt("anti_fraud");
    let due = |s: &Story, name: &str| {
        let timer = s.record().timers.iter().find(|t| t.name == name && t.of == "city").expect("it runs");
        timer.due.0.0 - s.wall().0
    };
    // The story is told on a Sunday: a day of work from then on is over at Tuesday's beginning.
    let midnight = Wall(s.wall().0 + due(&s, "T10")).rfc3339();
    assert!(midnight.ends_with("T00:00:00.000+08:00"), "{midnight}");
    assert_eq!(due(&s, "T5"), 30_000_000_000);
}

#[test]
fn who_refuses_what_is_theirs_leaves_it_to_the_unit_above_and_every_bounce_counts() {
    let mut s = Story::new();
    let mut rules = rules();
    rules.units.insert("station".into(), vec![STATION.into(), COUNTY.into(), CITY.into()]);
    rules.units.insert("city".into(), vec![CITY.into()]);
    s.alerts.set_rules(rules);
    s.fact(here(&CHAIN));
    s.at(5000).triage("100901");
    s.at(5100).receipt("anti_fraud");
    let route = |s: &Story| {
        let route = &s.record().route;
        (route.owner.clone(), route.handler.clone(), route.bounces)
    };
    s.at(6000).handle(HandlingStep::Assigned, "station", "李警官");
    assert_eq!(route(&s), (STATION.into(), "李警官".into(), 0));
    assert!(!s.handle(HandlingStep::Assigned, "station", " "), "it is somebody by name");
    s.at(7000).handle(HandlingStep::Refused, "station", "");
    assert_eq!(route(&s), (COUNTY.into(), String::new(), 1), "another owner names another");
    s.at(8000).handle(HandlingStep::HandedOver, "", STATION);
    assert_eq!(route(&s), (STATION.into(), String::new(), 2));
    s.at(9000).handle(HandlingStep::Refused, "city", "");
    assert_eq!(route(&s), (STATION.into(), String::new(), 3), "what is another's is not moved");
    let owners: Vec<&str> = s.record().route.owner_history.iter().map(|o| o.owner.as_str()).collect();
    assert_eq!(owners[owners.len() - 3..], [STATION, COUNTY, STATION]);
}

#[test]
fn whoever_supervises_is_named_by_the_category_and_endorses_with_words() {
    let mut s = Story::new();
    let whose = crate::Category {
        name: "电信网络诈骗".into(),
        handled_by: crate::UnitFor::Station,
        supervised_by: crate::UnitFor::City,
    };
    let categories = [("100901".to_owned(), whose)].into();
    let table = crate::Suggestions::new(Vec::new(), categories, &crate::Sounds::default());
    s.alerts.set_suggestions(table.expect("builds"));
    s.fact(here(&CHAIN));
    assert_eq!(s.record().route.supervising, "");
    s.at(5000).triage("100901");
    assert_eq!(s.record().route.supervising, CITY);
    s.told();
    assert!(s.at(6000).step(HandlingStep::Endorsed, ""));
    assert_eq!(s.told().last().map(String::as_str), Some("6.000 endorsed"));
    assert_eq!(s.record().handling.last().map(|h| h.text.as_str()), Some("因故"));
}

#[test]
fn whoever_was_told_of_a_matter_before_a_join_is_not_told_and_expected_anew() {
    let mut s = Story::new();
    s.at(5000).triage("100901");
    s.at(5100).receipt("anti_fraud");
    s.at(5200).receipt("city");
    s.told();
    let told = s.record().fanout.clone();
    let mut other = Story::new();
    let matter = codecs::record::Incident {
        category: Some("100901".into()),
        kind: Some(IncidentKind::Report),
        ..Default::default()
    };
    let belongings =
        crate::fact::Belongings { matter: Some(Box::new(matter)), told: told.clone(), ..Default::default() };
    let from = AlertNo::mint("370400000000", 20_261_130, 1, 8);
    other.at(9000).fact(Fact::Join(JoinFact::Absorbed { other: from, belongings: Box::new(belongings) }));
    assert_eq!(other.told(), ["9.000 joined"], "nobody is told twice");
    assert_eq!(other.record().fanout, told);
    assert!(other.record().timers.iter().all(|t| t.of.is_empty()), "{:?}", other.record().timers);
}

#[test]
fn what_is_paused_waits_no_longer_for_a_complaint_and_no_longer_than_a_major_alert_allows() {
    let mut s = Story::new();
    let mut rules = rules();
    rules.units.insert("city".into(), vec![CITY.into()]);
    let faster = Rule {
        signers: vec!["city".into()],
        instruct_within: Some(SECOND * 5),
        ..Rule::new("major", When { major: true, ..When::default() }, vec![vec!["city".to_owned()]])
    };
    rules.all.push(faster);
    s.alerts.set_rules(rules);
    s.at(5000).triage("100901");
    s.at(5100).receipt("anti_fraud");
    s.at(5200).receipt("city");
    s.at(6000).step(HandlingStep::Signed, "city");
    s.at(16_000).step(HandlingStep::Paused, "city");
    let said = Assessment { major: Some(true), ..Assessment::default() };
    s.at(20_000).fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))));
    s.at(30_000).step(HandlingStep::Resumed, "city");
    s.told();
    s.at(36_000);
    assert!(s.told().contains(&"35.000 deadline.breach T6 city".to_owned()));
}

#[test]
fn whoever_was_told_of_what_is_joined_to_a_complaint_about_them_is_told_nothing_of_it() {
    let mut s = Story::new();
    let mut rules = rules();
    rules.units.insert("station".into(), vec![STATION.into()]);
    s.alerts.set_rules(rules);
    s.fact(here(&CHAIN));
    let said = Assessment { complaint_of: Some(STATION.into()), ..Assessment::default() };
    s.at(5000).fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))));
    let told = |target: &str| codecs::record::Push {
        target: target.into(),
        order: 1,
        rule: "knife".into(),
        sent: Some(Stamp(s.wall())),
        ..Default::default()
    };
    let told = vec![told("station"), told("special")];
    let belongings = crate::fact::Belongings { told, ..Default::default() };
    let other = AlertNo::mint("370400000000", 20_261_130, 1, 8);
    s.at(9000).fact(Fact::Join(JoinFact::Absorbed { other, belongings: Box::new(belongings) }));
    let of = |target: &str| s.record().fanout.iter().find(|p| p.target == target).expect("it comes along");
    assert!(of("station").withheld.is_some() && of("station").released.is_some());
    assert!(of("special").withheld.is_none());
}
