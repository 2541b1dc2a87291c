//! Who is told of an alert, and what is expected of them, in sentences.

use std::time::Duration;

use codecs::record::{AnswerMode, Assessment, HandlingStep, IncidentKind, SeatInfo};

use super::tests::{T0, arrival};
use super::*;
use crate::fact::HandlingFact;
use crate::fanout::{Rule, When};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn no() -> AlertNo {
    AlertNo::mint("370400000000", 20_261_130, 1, 7)
}

/// Fraud: the anti-fraud centre first, then city and station, who have to sign within 30 s; the city has a minute to
/// instruct, and whoever goes five to be there.
pub(super) fn rules() -> Rules {
    let fraud = When { categories: vec!["1009".into()], ..When::default() };
    let stages = vec![vec!["anti_fraud".to_owned()], vec!["city".to_owned(), "station".to_owned()]];
    let rule = Rule {
        signers: vec!["city".into(), "station".into()],
        sign_within: Some(SECOND * 30),
        instruct_within: Some(SECOND * 60),
        arrive_within: Some(SECOND * 300),
        ..Rule::new("fraud", fraud, stages)
    };
    let knife = When { level_at_most: Some(2), untriaged: true, ..When::default() };
    Rules::of(vec![rule, Rule::new("knife", knife, vec![vec!["special".to_owned()]])])
}

/// An alert whose call is over but for its recording.
pub(super) struct Story {
    pub(super) alerts: Alerts,
    now: Duration,
    told: Vec<String>,
}

impl Story {
    pub(super) fn new() -> Story {
        let word = crate::Keyword { word: "持刀".into(), level: 2, ..crate::Keyword::default() };
        let mut alerts = Alerts::new(
            "/gw/370400000000/1".into(),
            "1".into(),
            KeywordTable::new(vec![word], &crate::Sounds::default()).expect("builds"),
        );
        alerts.set_rules(rules());
        let mut story = Story { alerts, now: Duration::ZERO, told: Vec::new() };
        let seat = SeatInfo { no: "1101".into(), taker_name: "王".into() };
        let answered = CallFact::Answered { leg: 1, seat, mode: AnswerMode::Seat, after_ms: 900 };
        for fact in [arrival(), Fact::Call(answered), Fact::Call(CallFact::Ended)] {
            story.fact(fact);
        }
        story.told.clear();
        story
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn wall(&self) -> Wall {
        Wall(T0 + self.now.as_nanos() as i64)
    }

    pub(super) fn at(&mut self, ms: u64) -> &mut Story {
        let then = Duration::from_millis(ms);
        // As the thread does: whenever the clock is wanted.
        while let Some((due, _)) = self.alerts.poll_timeout().filter(|(due, _)| due.0 <= then.as_nanos() as u64) {
            self.now = self.now.max(Duration::from_nanos(due.0));
            self.alerts.handle_timeout(Mono(self.now.as_nanos() as u64), self.wall());
            self.listen();
        }
        self.now = then;
        self
    }

    pub(super) fn fact(&mut self, fact: Fact) -> bool {
        let taken = self.alerts.handle_fact(Mono(self.now.as_nanos() as u64), self.wall(), no(), fact);
        self.listen();
        taken
    }

    pub(super) fn listen(&mut self) {
        while let Some(output) = self.alerts.poll_output() {
            if let Output::Event(e) = output {
                assert_eq!(e.to_json(), serde_json::to_vec(&*e).expect("serialises"), "told as it was sealed");
                let what = e.kind.trim_start_matches("cn.gov.police110.alert.").trim_end_matches(".v1");
                let deadline = e.deadline.iter().map(|d| format!(" {d}"));
                let target = e.target.iter().map(|t| format!(" {t}"));
                let more: String = deadline.chain(target).collect();
                self.told.push(format!("{:.3} {what}{more}", self.now.as_secs_f64()));
            }
        }
    }

    pub(super) fn triage(&mut self, category: &str) -> bool {
        let said =
            Assessment { kind: Some(IncidentKind::Report), category: Some(category.into()), ..Assessment::default() };
        self.fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))))
    }

    pub(super) fn receipt(&mut self, target: &str) -> bool {
        self.fact(Fact::Acknowledged { target: target.into() })
    }

    pub(super) fn step(&mut self, step: HandlingStep, target: &str) -> bool {
        self.handle(step, target, "370402510000")
    }

    pub(super) fn handle(&mut self, step: HandlingStep, target: &str, to: &str) -> bool {
        let (target, text) = (target.to_owned(), "因故".to_owned());
        let nothing = String::new;
        let (officer, to, result_code) = (nothing(), to.to_owned(), nothing());
        self.fact(Fact::Handling(HandlingFact { step, target, officer, to, text, result_code, place: None }))
    }

    pub(super) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn record(&self) -> &AlertRecord {
        self.alerts.get(no()).expect("it is within reach")
    }
}

#[test]
fn the_others_are_told_at_the_first_ones_receipt_all_at_one_revision() {
    let mut s = Story::new();
    s.at(5000).triage("100901");
    assert_eq!(s.told(), ["5.000 classified", "5.000 pushed"]);
    let sent = |r: &AlertRecord| r.fanout.iter().filter(|p| p.sent.is_some()).count();
    assert_eq!(sent(s.record()), 1, "the anti-fraud centre alone");
    s.at(5100).receipt("anti_fraud");
    assert_eq!(s.told(), ["5.100 acknowledged anti_fraud", "5.100 pushed"]);
    assert_eq!(sent(s.record()), 3);
    s.at(5200).receipt("anti_fraud");
    assert_eq!(s.told(), Vec::<String>::new(), "a receipt counts once");
    s.receipt("nobody");
    assert_eq!(s.told(), Vec::<String>::new());
}

#[test]
fn without_a_receipt_the_others_wait_for_a_second_and_whose_fault_it_is_is_told() {
    let mut s = Story::new();
    s.at(5000).triage("100901");
    s.at(60_000);
    assert_eq!(
        s.told(),
        [
            "5.000 classified",
            "5.000 pushed",
            "6.000 deadline.breach T4 anti_fraud",
            "6.000 pushed",
            "9.000 deadline.breach T3 city",
            "9.000 deadline.breach T3 station",
            "36.000 deadline.breach T5 city",
            "36.000 deadline.breach T5 station",
        ]
    );
    s.receipt("anti_fraud");
    assert_eq!(s.told(), ["60.000 acknowledged anti_fraud"], "late, and on record");
    assert_eq!(s.record().fanout[0].breach, ["T4"]);
}

#[test]
fn whoever_signs_in_time_breaks_nothing_and_has_a_minute_to_instruct() {
    let mut s = Story::new();
    s.at(5000).triage("100901");
    for target in ["anti_fraud", "city", "station"] {
        s.receipt(target);
    }
    s.at(20_000).step(HandlingStep::Signed, "city");
    assert!(!s.step(HandlingStep::Signed, "city"), "once");
    assert!(!s.step(HandlingStep::Instructed, "station"), "a signature comes first");
    s.told();
    s.at(79_000).step(HandlingStep::Instructed, "city");
    let told = s.told();
    assert_eq!(told, ["35.000 deadline.breach T5 station", "79.000 instructed city"]);
    s.at(378_000).step(HandlingStep::Arrived, "");
    s.at(600_000);
    assert_eq!(s.told(), ["378.000 arrived_scene"], "within five minutes");
    assert_eq!(s.record().progress, Some(HandlingStep::Arrived));
}

#[test]
fn an_alert_is_open_until_whoever_has_to_sign_has_signed_or_somebody_says_why_not() {
    let mut s = Story::new();
    s.at(5000).triage("100901");
    for target in ["anti_fraud", "city", "station"] {
        s.receipt(target);
    }
    s.fact(Fact::Call(CallFact::Recorded { media: vec![] }));
    s.told();
    s.at(10_000).step(HandlingStep::Signed, "city");
    assert_eq!(s.told(), ["10.000 signed city"]);
    assert_eq!(s.record().state, State::Ended, "its call is over");
    s.at(12_000).step(HandlingStep::Refused, "station");
    s.at(20_000).step(HandlingStep::Closed, "");
    assert_eq!(
        s.told(),
        ["12.000 refused station", "20.000 closed", "20.000 ended"],
        "the city would have had to instruct"
    );
    assert_eq!(s.record().state, State::Closed);
    s.at(700_000);
    assert_eq!(s.told(), Vec::<String>::new(), "nothing is expected of anybody any more");
}

#[test]
fn what_is_found_out_afterwards_is_told_to_those_who_were_told_and_to_those_it_concerns_now() {
    let mut s = Story::new();
    s.fact(Fact::Call(CallFact::Recorded { media: vec![] }));
    assert_eq!(s.record().state, State::Closed);
    s.told();
    s.at(90_000).triage("200600");
    assert_eq!(s.told(), ["90.000 classified"]);
    assert_eq!(s.record().state, State::Closed, "which opens nothing by itself");
    s.at(91_000).triage("100901");
    assert_eq!(s.told(), ["91.000 classified", "91.000 pushed"]);
    assert_eq!(s.record().state, State::Ended, "somebody is to do something about it");
    assert_eq!(s.record().incident.triage.len(), 2, "both stand in the record");
}

#[test]
fn a_word_of_danger_is_told_of_before_anybody_has_triaged_it_where_a_rule_says_so() {
    let mut s = Story::new();
    s.at(4000).fact(Fact::Text(TextFact::Said { by: "caller".into(), body: "他持刀追我".into() }));
    assert_eq!(s.told(), ["4.000 transcript", "4.000 warning.keyword", "4.000 pushed"]);
    assert_eq!(s.record().fanout.iter().map(|p| p.target.as_str()).collect::<Vec<_>>(), ["special"]);
}

#[test]
fn a_test_leaves_the_house_for_nobody() {
    let mut s = Story::new();
    let said = Assessment {
        kind: Some(IncidentKind::Report),
        category: Some("100901".into()),
        validity: Some(Validity::Test),
        ..Assessment::default()
    };
    s.fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))));
    assert_eq!(s.told(), ["0.000 classified"]);
}

#[test]
fn what_was_expected_is_expected_after_a_restart_to_the_second() {
    let mut s = Story::new();
    s.at(5000).triage("100901");
    s.receipt("anti_fraud");
    s.told();
    let record = s.record().clone();
    let mut alerts = Alerts::new("/gw/370400000000/1".into(), "1".into(), KeywordTable::empty());
    alerts.set_rules(rules());
    // Twelve seconds later, by another monotonic clock.
    alerts.restore(Mono(0), Wall(T0 + 17_000_000_000), record);
    s.alerts = alerts;
    s.now = Duration::ZERO;
    let (due, _) = s.alerts.poll_timeout().expect("something is expected");
    s.alerts.handle_timeout(due, Wall(T0 + 17_000_000_000 + due.0 as i64));
    s.listen();
    let late: Vec<_> = s.told().iter().map(|t| t.split_once(' ').expect("two words").1.to_owned()).collect();
    assert_eq!(late, ["deadline.breach T3 city", "deadline.breach T3 station"], "they were due before it");
    let (due, _) = s.alerts.poll_timeout().expect("a signature is expected");
    assert_eq!(due, Mono(18_000_000_000), "30 s after the push at 5 s");
}

#[test]
fn what_a_triage_does_not_name_stays_as_it_was() {
    let mut s = Story::new();
    s.fact(Fact::Text(TextFact::Said { by: "caller".into(), body: "他持刀追我".into() }));
    assert_eq!(s.record().incident.level, Some(2));
    s.triage("100200");
    assert_eq!(s.record().incident.level, Some(2), "a keyword's level is not wiped by silence");
    let hazards =
        |weapons, suspect_present| Some(codecs::record::Hazards { weapons, suspect_present, explosives: None });
    for said in [
        Assessment { hazards: hazards(Some(true), None), name: Some("王".into()), ..Assessment::default() },
        Assessment { hazards: hazards(None, Some(false)), level: Some(1), ..Assessment::default() },
    ] {
        s.fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))));
    }
    let record = s.record();
    assert_eq!((record.incident.hazards, record.reporter.name.as_str()), (hazards(Some(true), Some(false)), "王"));
    assert_eq!((record.incident.level, record.incident.category.as_deref()), (Some(1), Some("100200")));
}

#[test]
fn an_alert_has_one_owner_at_every_moment_and_its_history() {
    let mut s = Story::new();
    s.at(5000).triage("100901");
    s.step(HandlingStep::HandedOver, "");
    assert_eq!(s.told(), ["5.000 classified", "5.000 pushed", "5.000 handed_over"]);
    let owners: Vec<_> = s.record().route.owner_history.iter().map(|o| o.owner.as_str()).collect();
    assert_eq!((s.record().route.owner.as_str(), owners), ("370402510000", vec!["370400000000", "370402510000"]));
}

#[test]
fn whoever_is_triaged_before_anybody_spoke_with_them_is_still_waited_for() {
    let mut s = Story::new();
    s.alerts = Alerts::new("/gw/370400000000/1".into(), "1".into(), KeywordTable::empty());
    s.fact(arrival());
    s.at(1000).triage("200600");
    assert_eq!(s.record().state, State::Arrived);
    s.at(5000);
    assert_eq!(s.told().last().map(String::as_str), Some("4.000 deadline.breach T1"), "a second after it was due");
    let seat = SeatInfo { no: "1101".into(), taker_name: "王".into() };
    s.fact(Fact::Call(CallFact::Answered { leg: 1, seat, mode: AnswerMode::Seat, after_ms: 5000 }));
    assert_eq!(s.record().state, State::Triaged, "which is known already");
}

/// With these rules in place of the others.
fn story_of(rules: Vec<Rule>) -> Story {
    let mut s = Story::new();
    s.alerts.set_rules(Rules::of(rules));
    s
}

fn rule_of(name: &str, category: &str, stages: &[&[&str]]) -> Rule {
    let when = When { categories: vec![category.into()], ..When::default() };
    Rule::new(name, when, stages.iter().map(|stage| stage.iter().map(|t| (*t).to_owned()).collect()).collect())
}

fn sent(s: &Story) -> Vec<String> {
    s.record().fanout.iter().filter(|p| p.sent.is_some()).map(|p| p.target.clone()).collect()
}

#[test]
fn whoever_is_late_refuses_or_is_of_a_rule_that_has_gone_keeps_no_later_stage_waiting() {
    // One stage, of which the receipt never comes; then two more by another rule.
    let mut s = story_of(vec![rule_of("one", "1000", &[&["t1"]]), rule_of("two", "2000", &[&["t2"], &["t3"]])]);
    s.at(5000).triage("100000");
    s.at(6000).triage("200000");
    s.at(6100).receipt("t2");
    s.at(9000);
    assert_eq!(sent(&s), ["t1", "t2", "t3"], "{:?}", s.told);

    let mut s = story_of(vec![rule_of("one", "1000", &[&["t1"], &["t2"]])]);
    s.at(5000).triage("100000");
    s.at(5200).step(HandlingStep::Refused, "t1");
    assert_eq!(sent(&s), ["t1", "t2"]);
    assert!(!s.step(HandlingStep::Instructed, "t1"), "it has refused");

    let mut s = story_of(vec![rule_of("one", "1000", &[&["t1"], &["t2"], &["t3"]])]);
    s.at(5000).triage("100000");
    s.alerts.set_rules(Rules::default());
    s.at(8000);
    assert_eq!(sent(&s), ["t1", "t2", "t3"], "{:?}", s.told);
}

#[test]
fn whoever_has_to_be_there_in_time_is_late_by_name_though_the_call_is_over() {
    let arrive = Rule {
        sign_within: Some(SECOND * 30),
        arrive_within: Some(SECOND * 300),
        ..rule_of("one", "1000", &[&["t1"]])
    };
    let mut s = story_of(vec![arrive]);
    s.at(5000).triage("100000");
    s.receipt("t1");
    s.step(HandlingStep::Signed, "t1");
    s.at(6000).step(HandlingStep::Instructed, "t1");
    s.fact(Fact::Call(CallFact::Recorded { media: vec![] }));
    s.told();
    s.at(400_000);
    assert_eq!(s.told(), ["306.000 deadline.breach T8 t1", "306.000 ended"]);
}

#[test]
fn a_step_that_names_no_target_signs_instructs_and_reports_for_nobody() {
    let rule = Rule {
        sign_within: Some(SECOND * 30),
        feed_back_within: Some(SECOND * 40),
        ..rule_of("one", "1000", &[&["t1"]])
    };
    let mut s = story_of(vec![rule]);
    s.at(5000).triage("100000");
    s.receipt("t1");
    assert!(!s.step(HandlingStep::Signed, "") && !s.step(HandlingStep::Instructed, ""));
    assert!(s.step(HandlingStep::FedBack, ""));
    s.told();
    s.at(60_000);
    assert_eq!(s.told(), ["35.000 deadline.breach T5 t1", "45.000 deadline.breach T10 t1"]);
}

#[test]
fn what_any_rule_expects_of_a_target_is_expected_whichever_told_it_first() {
    let plain = rule_of("plain", "1000", &[&["t1"]]);
    let signs = Rule { sign_within: Some(SECOND * 30), ..rule_of("signs", "10", &[&["t1", "t2"]]) };
    let later = Rule { sign_within: Some(SECOND * 20), ..rule_of("later", "2000", &[&["t1"]]) };
    let mut s = story_of(vec![plain, signs, later]);
    s.at(5000).triage("100000");
    let expected = |s: &Story| -> Vec<(String, i64)> {
        let timers = s.record().timers.iter().filter(|t| t.name == "T5");
        timers.map(|t| (t.of.clone(), (t.due.0.0 - T0) / 1_000_000_000)).collect()
    };
    assert_eq!(expected(&s), [("t1".to_owned(), 35), ("t2".to_owned(), 35)]);
    let mut s = story_of(vec![rule_of("plain", "1000", &[&["t1"]]), rules_later()]);
    s.at(5000).triage("100000");
    assert!(expected(&s).is_empty());
    s.at(9000).triage("200000");
    assert_eq!(expected(&s), [("t1".to_owned(), 29)], "told before, and to sign from now on");
    // After the end as well: it is open again until that is done.
    let mut s = story_of(vec![rule_of("plain", "1000", &[&["t1"]]), rules_later()]);
    s.at(5000).triage("100000");
    s.receipt("t1");
    s.fact(Fact::Call(CallFact::Recorded { media: vec![] }));
    assert_eq!(s.record().state, State::Closed);
    s.at(9000).triage("200000");
    assert_eq!((expected(&s), s.record().state), (vec![("t1".to_owned(), 29)], State::Ended));
    s.step(HandlingStep::Signed, "t1");
    assert_eq!(s.record().state, State::Closed);
}

fn rules_later() -> Rule {
    Rule { sign_within: Some(SECOND * 20), ..rule_of("later", "2000", &[&["t1"]]) }
}

#[test]
fn what_turns_out_to_be_a_test_or_is_closed_is_told_to_nobody_further() {
    let stages = || vec![rule_of("one", "1000", &[&["t1"], &["t2"]])];
    let mut s = story_of(stages());
    s.at(5000).triage("100000");
    let test = Assessment { validity: Some(Validity::Test), ..Assessment::default() };
    s.at(5500).fact(Fact::Incident(IncidentFact::Triaged(Box::new(test))));
    s.at(20_000);
    assert_eq!(sent(&s), ["t1"]);
    let mut s = story_of(stages());
    s.at(5000).triage("100000");
    s.step(HandlingStep::Closed, "");
    s.receipt("t1");
    s.at(20_000);
    assert_eq!(sent(&s), ["t1"]);
}

#[test]
fn a_receipt_that_a_crash_held_up_has_its_time_again_and_is_not_told_as_late() {
    let mut s = story_of(vec![rule_of("one", "1000", &[&["t1"], &["t2"]])]);
    s.at(5000).triage("100000");
    let record = s.record().clone();
    let mut alerts = Alerts::new("/gw/370400000000/1".into(), "1".into(), KeywordTable::empty());
    alerts.set_rules(Rules::of(vec![rule_of("one", "1000", &[&["t1"], &["t2"]])]));
    alerts.restore(Mono(0), Wall(T0 + 60_000_000_000), record);
    s.alerts = alerts;
    s.told();
    s.now = Duration::from_millis(200);
    s.receipt("t1");
    assert_eq!(s.told(), ["0.200 acknowledged t1", "0.200 pushed"]);
}

#[test]
fn a_clock_that_is_set_makes_no_target_late_whatever_is_joined_meanwhile() {
    let mut s = story_of(vec![Rule { sign_within: Some(SECOND * 30), ..rule_of("one", "1000", &[&["t1"]]) }]);
    s.at(5000).triage("100000");
    s.receipt("t1");
    let leapt = Wall(s.wall().0 + 3_600_000_000_000);
    let other = AlertNo::mint("370400000000", 20_261_130, 1, 8);
    let absorbed = Fact::Join(JoinFact::Absorbed { other, belongings: Box::default() });
    assert!(s.alerts.handle_fact(Mono(s.now.as_nanos() as u64), leapt, no(), absorbed));
    s.listen();
    s.told();
    s.at(34_000);
    assert_eq!(s.told(), Vec::<String>::new());
    s.at(36_000);
    assert_eq!(s.told(), ["35.000 deadline.breach T5 t1"]);
}

#[test]
fn nobody_pushes_anothers_triage_or_step_out_nor_makes_more_than_a_few_in_a_minute() {
    let mut s = story_of(vec![rule_of("one", "1000", &[&["t1"]])]);
    s.alerts.set_actor(Some("seat:S01".into()));
    s.at(5000).triage("100000");
    s.alerts.set_actor(Some("seat:S02".into()));
    for n in 0..200u64 {
        s.at(6000 + n * 4000).triage("100001");
        s.step(HandlingStep::Contacted, "");
    }
    let triages = &s.record().incident.triage;
    assert!(triages.len() <= 32 && triages[0].by == "seat:S01", "{}", triages.len());
    assert!(s.record().handling.len() <= 64);
    let taken = (0..100).filter(|_| s.step(HandlingStep::Contacted, "")).count();
    assert!(taken <= 20, "{taken} in one instant");
}

#[test]
fn a_record_stays_below_a_mebibyte_whoever_writes_into_it() {
    let mut s = story_of(Vec::new());
    let long = "\u{1}".repeat(1000);
    let writer = codecs::record::Writer { channel: "sms".into(), user: "13800138000".into(), ..Default::default() };
    let belongings = crate::fact::Belongings { writers: vec![(writer, None)], ..Default::default() };
    let other = AlertNo::mint("370400000000", 20_261_130, 1, 8);
    s.fact(Fact::Join(JoinFact::Absorbed { other, belongings: Box::new(belongings) }));
    for n in 0..300u64 {
        s.at(5000 + n * 60_000);
        s.fact(Fact::Text(TextFact::Said { by: "caller".into(), body: long.clone() }));
        let seat = SeatInfo { no: "1101".into(), taker_name: "王".into() };
        s.fact(Fact::Text(TextFact::Replied { seat, body: long.clone(), channel: None, answers: None }));
        let said = Assessment { text: Some(long.clone()), ..Assessment::default() };
        s.fact(Fact::Incident(IncidentFact::Triaged(Box::new(said))));
        let nothing = String::new;
        let (target, officer, to, result_code) = (nothing(), nothing(), nothing(), nothing());
        let step = HandlingStep::Contacted;
        s.fact(Fact::Handling(HandlingFact {
            step,
            target,
            officer,
            to,
            text: long.clone(),
            result_code,
            place: None,
        }));
        assert!(s.record().to_json().len() < 1 << 20, "after {n}");
    }
    let record = s.record();
    let of = (record.to_json().len(), record.text.len(), record.handling.len(), record.incident.triage.len());
    assert!(record.marks.iter().any(|m| m == "record_trimmed"), "{of:?} {:?}", record.marks);
}

#[test]
fn where_it_was_is_taken_down_after_the_end_too_and_a_place_of_no_grid_takes_nobody_s_away() {
    let mut s = Story::new();
    s.fact(Fact::Call(CallFact::Recorded { media: vec![] }));
    let place = |grid: &str, jurisdiction: &[&str]| {
        let location = codecs::record::Location {
            wgs84: None,
            original: None,
            civic: String::new(),
            grid_code: grid.into(),
            source: codecs::record::LocationSource::Spoken,
            at: Stamp(Wall(T0)),
            from: None,
        };
        let jurisdiction: Vec<String> = jurisdiction.iter().map(|j| (*j).to_owned()).collect();
        let owner = jurisdiction.get(1).unwrap_or(&jurisdiction[0]).clone();
        Fact::Incident(IncidentFact::Located(Box::new(crate::fact::Place { location, jurisdiction, owner })))
    };
    assert!(s.fact(place("370402-001", &["370400000000", "370402510000", "370402-001"])));
    assert_eq!((s.record().state, s.record().route.owner.as_str()), (State::Closed, "370402510000"));
    assert!(s.fact(place("", &["370400000000"])));
    assert_eq!((s.record().location.len(), s.record().route.owner.as_str()), (2, "370402510000"));
}
