//! Whoever is asked in by name, as stories.

use codecs::record::IncidentKind;
use expect_test::expect;

use super::tests::{Story, ask, ended, heard, hears, responder};
use super::*;
use crate::ResponderId;

const AGENCY: Role = Role::Agency;

fn answered(leg: u32) -> Input {
    Input::LegAnswered { leg: LegNo(leg) }
}
fn failed(leg: u32, result: TryResult) -> Input {
    Input::LegFailed { leg: LegNo(leg), result }
}

#[test]
fn agencies_ring_at_the_same_time_and_whoever_picks_up_ends_nobody_s_ringing() {
    let mut s = Story::answered();
    s.at(2000, ask(1, AGENCY)).at(2000, ask(2, AGENCY)).at(2000, ask(3, AGENCY));
    s.at(3000, answered(3)).at(3100, heard(3)).at(3100, hears(3, 0));
    s.at(4000, failed(2, TryResult::Busy)).at(5000, answered(4));
    s.tells(&expect![[r#"
        2.000 FactTried leg: 2, responder: 1, rung: Agency
        2.000 StartLeg leg: 2, target: Responder1, role: Agency
        2.000 FactTried leg: 3, responder: 2, rung: Agency
        2.000 StartLeg leg: 3, target: Responder2, role: Agency
        2.000 FactTried leg: 4, responder: 3, rung: Agency
        2.000 StartLeg leg: 4, target: Responder3, role: Agency
        3.000 FactTryEnded leg: 3, responder: 2, result: Answered
        3.000 Join leg: 3, role: Agency
        3.100 FactBridged responder: 2, role: Agency, after: 3.1s
        4.000 FactTryEnded leg: 2, responder: 1, result: Busy
        4.000 ReleaseResponder responder: 1, result: Busy, after: 2s
        5.000 FactTryEnded leg: 4, responder: 3, result: Answered
        5.000 Join leg: 4, role: Agency
    "#]]);
}

#[test]
fn an_agency_keeps_no_promise_of_an_officer_and_keeps_nobody_from_seeking_one() {
    let mut s = Story::answered();
    s.at(2000, ask(1, AGENCY)).at(2500, answered(2)).at(2600, heard(2)).at(2600, hears(2, 0));
    s.text.clear();
    // Nobody has triaged it: the officer is sought after twelve seconds as ever, and missed after thirty.
    s.until(12_500);
    assert!(s.text.contains("FactResponderWanted why: Grace"), "{}", s.text);
    s.at(12_501, Input::NoResponder).until(30_500);
    assert!(s.text.contains("FactBreach promise: Officer"), "{}", s.text);
}

#[test]
fn while_somebody_of_the_police_is_asked_in_by_name_nobody_else_is_sought_and_is_when_they_do_not_come() {
    let mut s = Story::answered();
    s.at(2000, ask(5, Role::Superior)).at(3000, Input::Triaged { kind: IncidentKind::Report }).until(14_000);
    assert!(!s.text.contains("WantResponder"), "{}", s.text);
    s.at(14_001, failed(2, TryResult::Declined));
    assert!(s.text.contains("14.001 WantResponder rung: Officer"), "{}", s.text);
    // They do come: nobody else is wanted.
    let mut s = Story::answered();
    s.at(2000, ask(5, Role::Superior)).at(3000, Input::Triaged { kind: IncidentKind::Report }).at(4000, answered(2));
    s.at(4100, heard(2)).at(4100, hears(2, 0)).until(40_000);
    assert!(!s.text.contains("WantResponder") && !s.text.contains("Breach"), "{}", s.text);
    assert!(s.text.contains("FactBridged responder: 5, role: Superior"), "{}", s.text);
}

#[test]
fn a_triage_brings_nobody_besides_an_officer_who_is_in_the_call_already_and_a_key_does() {
    let mut s = Story::answered();
    s.at(1000, Input::ThreeWay).at(1001, responder(1, Role::Officer)).at(2000, answered(2)).at(2100, heard(2));
    s.at(2100, hears(2, 0)).at(3000, Input::Triaged { kind: IncidentKind::Report }).until(20_000);
    assert_eq!(s.text.matches("WantResponder").count(), 1, "{}", s.text);
    s.at(21_000, Input::ThreeWay);
    assert_eq!(s.text.matches("WantResponder").count(), 2, "{}", s.text);
}

#[test]
fn whoever_is_named_and_does_not_come_in_time_breaks_the_promise_once() {
    let mut s = Story::answered();
    s.at(25_000, Input::Triaged { kind: IncidentKind::NonPolice }).at(26_000, ask(5, Role::Officer)).until(90_000);
    assert_eq!(s.text.matches("FactBreach promise: Officer").count(), 1, "{}", s.text);
    assert!(s.text.contains("56.000 FactTryEnded leg: 2, responder: 5, result: NoAnswer"), "{}", s.text);
}

#[test]
fn a_second_officer_who_is_asked_in_cancels_nothing_of_the_first_whoever_picks_up() {
    let mut s = Story::answered();
    s.at(1000, Input::ThreeWay).at(1001, responder(1, Role::Officer)).at(2000, ask(5, Role::Officer));
    s.at(3000, answered(3)).at(4000, answered(2));
    assert!(!s.text.contains("Superseded"), "{}", s.text);
    assert_eq!(s.text.matches("Join leg: ").count(), 2, "{}", s.text);
}

#[test]
fn whoever_is_asked_in_while_the_caller_still_rings_is_rung_when_somebody_is_on_the_line() {
    let mut s = Story::new();
    s.at(100, ask(1, AGENCY));
    assert!(!s.text.contains("StartLeg"), "{}", s.text);
    s.picks_up(200, 7, 1).at(700, hears(0, 1));
    assert!(s.text.contains("StartLeg leg: 2, target: Responder1, role: Agency"), "{}", s.text);
    // The caller gives up first: whoever was not rung yet is given back.
    let mut s = Story::new();
    s.at(100, ask(1, AGENCY)).at(200, Input::LegEnded { leg: CALLER, gone: Gone::HungUp });
    assert!(s.text.contains("ReleaseResponder responder: 1, result: Superseded"), "{}", s.text);
}

#[test]
fn a_taker_who_leaves_in_trust_of_an_agency_leaves_the_caller_with_it_or_with_the_next_seat() {
    let mut s = Story::answered();
    s.at(5000, Input::Triaged { kind: IncidentKind::NonPolice });
    s.at(6000, ask(1, AGENCY)).at(7000, ended(1)).at(8000, answered(2));
    assert!(!s.text.contains("Over") && !s.text.contains("WantSeat"), "{}", s.text);
    s.at(14_000, ended(2));
    assert!(s.text.contains("14.000 Over"), "{}", s.text);
    let mut s = Story::answered();
    s.at(5000, Input::Triaged { kind: IncidentKind::NonPolice });
    s.at(6000, ask(1, AGENCY)).at(7000, ended(1)).until(36_001);
    assert!(s.text.contains("22.000 WantSeat"), "whoever rings on costs the caller a quarter of a minute: {}", s.text);
    assert_eq!(s.text.matches("WantSeat").count(), 1, "{}", s.text);
    assert!(s.text.contains("36.000 DropLeg"), "and may come until then: {}", s.text);
    // Officers who begin to ring meanwhile count for no more.
    let mut s = Story::answered();
    s.at(2000, ask(1, AGENCY)).at(3000, ended(1)).at(12_000, responder(3, Role::Officer)).until(18_001);
    assert!(s.text.contains("18.000 WantSeat"), "{}", s.text);
    // Nor does anybody ring for nothing: whoever has come in time is enough.
    let mut s = Story::answered();
    s.at(2000, ask(1, AGENCY)).at(3000, ended(1)).at(9000, answered(2)).until(30_000);
    assert!(!s.text.contains("WantSeat"), "{}", s.text);
}

#[test]
fn an_agency_that_hangs_up_at_once_leaves_the_caller_to_the_next_seat() {
    let mut s = Story::answered();
    s.at(5000, Input::Triaged { kind: IncidentKind::NonPolice });
    s.at(6000, ask(1, AGENCY)).at(7000, ended(1)).at(8000, answered(2)).at(8300, ended(2));
    assert!(s.text.contains("8.300 WantSeat") && !s.text.contains("Over"), "{}", s.text);
}

#[test]
fn the_taker_lets_go_of_whoever_rings_or_talks_and_the_others_stay() {
    let let_go = |n| Input::Drop { responder: ResponderId(n) };
    let mut s = Story::answered();
    s.at(2000, ask(1, AGENCY)).at(2000, ask(2, AGENCY)).at(3000, answered(2));
    s.text.clear();
    s.at(4000, let_go(1)).at(4000, let_go(2)).at(4000, let_go(9)).at(5000, Input::HangUp);
    s.tells(&expect![[r#"
        4.000 DropLeg leg: 2
        4.000 FactLegEnded leg: 2, role: Agency, gone: Dropped
        4.000 ReleaseResponder responder: 1, result: Answered, after: 1s
        4.000 DropLeg leg: 3
        4.000 FactTryEnded leg: 3, responder: 2, result: Superseded
        4.000 ReleaseResponder responder: 2, result: Superseded, after: 2s
        5.000 DropLeg leg: 1
        5.000 ReleaseSeat seat: 7, outcome: Talked
        5.000 DropLeg leg: 0
        5.000 FactEnded
        5.000 Over
    "#]]);
    // Whoever has left already is not let go once more.
    let mut s = Story::answered();
    s.at(2000, Input::ThreeWay).at(2001, responder(1, Role::Officer)).at(3000, answered(2)).at(9000, ended(2));
    s.text.clear();
    s.at(9500, let_go(1));
    assert_eq!(s.text, "");
    // A try of the ladder that is let go makes room for the next one.
    let mut s = Story::answered();
    s.at(2000, Input::ThreeWay).at(2001, responder(1, Role::Officer)).at(3000, let_go(1));
    assert_eq!(s.text.matches("WantResponder rung: Officer").count(), 2, "{}", s.text);
}

#[test]
fn more_than_a_room_holds_are_not_called_and_the_record_says_so() {
    let mut s = Story::answered();
    for n in 0..13 {
        s.at(2000, ask(n, AGENCY));
    }
    assert_eq!(s.text.matches("StartLeg").count(), 12);
    assert!(s.text.contains("FactTryEnded leg: 14, responder: 12, result: Superseded"), "{}", s.text);
    s.at(3000, Input::HangUp);
    assert_eq!(s.text.matches("ReleaseResponder").count(), 13, "each is given back once: {}", s.text);
}

#[test]
fn a_caller_whom_nothing_can_be_said_to_is_left_to_nobody_when_an_agency_does_not_come() {
    let mut s = Story::new();
    s.at(1, Input::CallerListens { yes: false });
    s.picks_up(2, 7, 1).at(5000, Input::Triaged { kind: IncidentKind::NonPolice });
    s.at(20_000, ask(1, AGENCY)).at(30_000, ended(1));
    s.text.clear();
    s.at(31_000, failed(2, TryResult::Busy));
    assert!(s.text.contains("WantSeat"), "{}", s.text);
}
