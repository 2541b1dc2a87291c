//! The call machine as stories: inputs at milliseconds, outputs as lines.

use codecs::record::IncidentKind;
use expect_test::{Expect, expect};

use super::*;
use crate::ResponderId;

pub(super) struct Story {
    call: Call,
    now: Mono,
    pub(super) text: String,
}

impl Story {
    pub(super) fn new() -> Story {
        Story::with(Policy::default())
    }
    fn with(policy: Policy) -> Story {
        let mut s = Story { call: Call::arrived(Mono(0), policy), now: Mono(0), text: String::new() };
        s.drain();
        s
    }
    fn drain(&mut self) {
        while let Some(output) = self.call.poll_output() {
            self.text.push_str(&format!("{} {}\n", self.now, line(&output)));
        }
    }
    /// Lets the clock run to `ms`, timers included.
    pub(super) fn until(&mut self, ms: u64) -> &mut Self {
        let end = Mono::from_millis(ms);
        while let Some((at, _)) = self.call.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self
    }
    pub(super) fn at(&mut self, ms: u64, input: Input) -> &mut Self {
        self.until(ms);
        self.call.handle_input(self.now, input);
        self.drain();
        self
    }
    /// Seat 7 answers and is heard, as it is on a quiet day.
    pub(super) fn answered() -> Story {
        let mut s = Story::new();
        s.picks_up(1, 7, 1);
        s.at(370, hears(0, 1)).at(380, heard(0));
        s.text.clear();
        s
    }
    /// The seat gets the call, picks up 50 ms later, is heard, and its tone is over after 300.
    pub(super) fn picks_up(&mut self, ms: u64, n: u32, leg: u32) -> &mut Self {
        let leg = LegNo(leg);
        self.at(ms, seat(n)).at(ms + 49, Input::LegAnswered { leg }).at(ms + 69, Input::LegHeard { leg });
        self.at(ms + 349, Input::Played { leg })
    }
    pub(super) fn tells(&self, expected: &Expect) {
        expected.assert_eq(&self.text);
    }
}

pub(super) fn heard(leg: u32) -> Input {
    Input::LegHeard { leg: LegNo(leg) }
}
pub(super) fn hears(leg: u32, from: u32) -> Input {
    Input::LegHears { leg: LegNo(leg), from: LegNo(from) }
}
pub(super) fn ended(leg: u32) -> Input {
    Input::LegEnded { leg: LegNo(leg), gone: Gone::HungUp }
}
fn seat(n: u32) -> Input {
    Input::SeatReserved { seat: SeatId(n), overflow: false }
}
pub(super) fn responder(n: u32, role: Role) -> Input {
    Input::ResponderReserved { responder: ResponderId(n), role }
}

pub(super) fn ask(n: u32, role: Role) -> Input {
    Input::AskIn { responder: ResponderId(n), role }
}

fn line(output: &Output) -> String {
    let text = format!("{output:?}");
    ["SeatId", "LegNo", "ResponderId", "Mono"]
        .iter()
        .fold(text, |t, name| t.replace(name, ""))
        .replace(['(', ')', '{', '}'], "")
        .replace("  ", " ")
        .trim()
        .to_owned()
}

#[test]
fn a_free_seat_answers_after_its_tone() {
    let mut s = Story::new();
    s.picks_up(1, 7, 1).at(370, hears(0, 1)).at(380, heard(0));
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000, avoid: []
        0.001 FactOffered leg: 1, seat: 7
        0.001 StartLeg leg: 1, target: Seat7, role: Taker
        0.050 PlayTone leg: 1
        0.350 Join leg: 1, role: Taker
        0.350 AnswerCaller
        0.350 Join leg: 0, role: Reporter
        0.370 FactAnswered leg: 1, seat: 7, mode: Seat, after: 370ms
        0.380 FactTwoWay
    "#]]);
}

#[test]
fn an_unattended_call_is_answered_by_the_attendant_before_three_seconds_and_keeps_its_place() {
    let mut s = Story::new();
    s.until(3500).picks_up(4000, 2, 1).at(4370, hears(0, 1));
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000, avoid: []
        2.900 AnswerCaller
        2.900 Join leg: 0, role: Reporter
        2.900 PlayAttendant leg: 0
        2.900 FactAttendantAnswered after: 2.9s
        3.000 FactBreach promise: Answer
        4.000 FactOffered leg: 1, seat: 2
        4.000 StartLeg leg: 1, target: Seat2, role: Taker
        4.049 PlayTone leg: 1
        4.349 Join leg: 1, role: Taker
        4.349 StopPlaying leg: 0
        4.370 FactAnswered leg: 1, seat: 2, mode: Seat, after: 4.37s
    "#]]);
}

#[test]
fn whoever_takes_no_audio_is_listened_to_and_is_not_answered() {
    let mut s = Story::new();
    s.at(0, Input::CallerListens { yes: false }).picks_up(1, 7, 1).at(380, heard(0)).until(13_000).at(14_000, ended(1));
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000, avoid: []
        0.000 FactDeaf
        0.001 FactOffered leg: 1, seat: 7
        0.001 StartLeg leg: 1, target: Seat7, role: Taker
        0.050 PlayTone leg: 1
        0.350 Join leg: 1, role: Taker
        0.350 AnswerCaller
        0.350 Join leg: 0, role: Reporter
        3.000 FactBreach promise: Answer
        12.000 FactResponderWanted why: Grace, waited: 12s
        12.000 WantResponder rung: Officer, share: 4.5s
        14.000 FactLegEnded leg: 1, role: Taker, gone: HungUp
        14.000 ReleaseSeat seat: 7, outcome: Talked
    "#]]);
}

#[test]
fn whoever_takes_audio_at_last_is_answered_when_they_hear_somebody() {
    let mut s = Story::new();
    s.at(0, Input::CallerListens { yes: false }).picks_up(1, 7, 1).until(2000);
    s.text.clear();
    s.at(2000, Input::CallerListens { yes: true }).at(2020, hears(0, 1));
    s.tells(&expect![[r#"
        2.020 FactAnswered leg: 1, seat: 7, mode: Seat, after: 2.02s
    "#]]);
}

#[test]
fn a_seat_that_does_not_pick_up_has_another_beside_it_after_half_a_second_and_is_passed_over_after_one() {
    let mut s = Story::new();
    s.at(1, seat(7)).until(510).at(511, seat(8)).until(1100);
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000, avoid: []
        0.001 FactOffered leg: 1, seat: 7
        0.001 StartLeg leg: 1, target: Seat7, role: Taker
        0.501 WantSeat answer_by: 3000000000, avoid: []
        0.511 FactOffered leg: 2, seat: 8
        0.511 StartLeg leg: 2, target: Seat8, role: Taker
        1.001 DropLeg leg: 1
        1.001 FactSeatFailed leg: 1, seat: 7, why: NoAnswer
        1.001 ReleaseSeat seat: 7, outcome: NotReached
        1.011 WantSeat answer_by: 3000000000, avoid: [7]
    "#]]);
}

#[test]
fn a_caller_who_gives_up_before_the_answer_is_abandoned_and_leaves_nothing_behind() {
    let mut s = Story::new();
    s.at(1, seat(7)).at(200, ended(0)).at(300, seat(9));
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000, avoid: []
        0.001 FactOffered leg: 1, seat: 7
        0.001 StartLeg leg: 1, target: Seat7, role: Taker
        0.200 FactAbandoned attended: false
        0.200 DropLeg leg: 1
        0.200 ReleaseSeat seat: 7, outcome: Unused
        0.200 FactEnded
        0.200 Over
        0.300 ReleaseSeat seat: 9, outcome: Unused
    "#]]);
    assert_eq!(s.call.poll_timeout(), None);
}

#[test]
fn triage_as_a_report_brings_the_officer_and_dropping_a_leg_lets_the_others_talk_on() {
    let mut s = Story::answered();
    s.at(3000, Input::Triaged { kind: IncidentKind::Report }).at(3001, responder(3, Role::Officer));
    s.at(5000, Input::LegAnswered { leg: LegNo(2) }).at(5020, hears(2, 0)).at(5030, heard(2));
    s.at(9000, ended(1)).at(20_000, ended(0));
    s.tells(&expect![[r#"
        3.000 FactResponderWanted why: Triage, waited: 3s
        3.000 WantResponder rung: Officer, share: 6.75s
        3.001 FactTried leg: 2, responder: 3, rung: Officer
        3.001 StartLeg leg: 2, target: Responder3, role: Officer
        5.000 FactTryEnded leg: 2, responder: 3, result: Answered
        5.000 Join leg: 2, role: Officer
        5.030 FactBridged responder: 3, role: Officer, after: 5.03s
        9.000 FactLegEnded leg: 1, role: Taker, gone: HungUp
        9.000 ReleaseSeat seat: 7, outcome: Talked
        20.000 DropLeg leg: 2
        20.000 ReleaseResponder responder: 3, result: Answered, after: 1.999s
        20.000 FactEnded
        20.000 Over
    "#]]);
}

#[test]
fn the_next_try_starts_before_the_last_has_failed_and_the_first_to_answer_wins() {
    let mut s = Story::answered();
    s.at(2000, Input::ThreeWay).at(2001, responder(1, Role::Officer));
    s.until(9002)
        .at(9003, responder(2, Role::Officer))
        .at(10_000, Input::LegFailed { leg: LegNo(2), result: TryResult::Busy });
    s.at(10_001, responder(9, Role::Unit)).at(11_000, Input::LegAnswered { leg: LegNo(4) });
    s.tells(&expect![[r#"
        2.000 FactResponderWanted why: Action, waited: 2s
        2.000 WantResponder rung: Officer, share: 7s
        2.001 FactTried leg: 2, responder: 1, rung: Officer
        2.001 StartLeg leg: 2, target: Responder1, role: Officer
        9.000 WantResponder rung: Officer, share: 6.99975s
        9.003 FactTried leg: 3, responder: 2, rung: Officer
        9.003 StartLeg leg: 3, target: Responder2, role: Officer
        10.000 FactTryEnded leg: 2, responder: 1, result: Busy
        10.000 ReleaseResponder responder: 1, result: Busy, after: 7.999s
        10.000 WantResponder rung: Unit, share: 10s
        10.001 FactTried leg: 4, responder: 9, rung: Unit
        10.001 StartLeg leg: 4, target: Responder9, role: Unit
        11.000 DropLeg leg: 3
        11.000 FactTryEnded leg: 3, responder: 2, result: Superseded
        11.000 ReleaseResponder responder: 2, result: Superseded, after: 1.997s
        11.000 FactTryEnded leg: 4, responder: 9, result: Answered
        11.000 Join leg: 4, role: Unit
    "#]]);
}

#[test]
fn without_a_triage_the_officer_is_called_after_twelve_seconds_and_nobody_in_thirty_is_a_breach() {
    let mut s = Story::answered();
    s.until(12_000);
    for _ in 0..4 {
        s.at(12_001, Input::NoResponder);
    }
    s.until(31_000);
    s.tells(&expect![[r#"
        12.000 FactResponderWanted why: Grace, waited: 12s
        12.000 WantResponder rung: Officer, share: 4.5s
        12.001 WantResponder rung: Officer, share: 5.999666666s
        12.001 WantResponder rung: Unit, share: 8.9995s
        12.001 WantResponder rung: Superior, share: 17.999s
        12.001 FactNobodyLeft
        30.000 FactBreach promise: Officer
    "#]]);
}

#[test]
fn an_officer_who_is_asked_for_while_it_rings_is_sought_once_somebody_is_on_the_line() {
    let mut s = Story::with(Policy::default());
    s.at(350, Input::Triaged { kind: IncidentKind::Report }).until(35_000);
    let sought = s.text.lines().position(|l| l.contains("FactResponderWanted why: Triage"));
    let answered = s.text.lines().position(|l| l.contains("FactAttendantAnswered"));
    assert!(sought.is_some() && sought > answered, "{}", s.text);
    assert!(s.text.contains("30.000 FactBreach promise: Officer"), "{}", s.text);
}

#[test]
fn a_consultation_calls_no_officer() {
    let mut s = Story::answered();
    s.at(2000, Input::Triaged { kind: IncidentKind::Consult }).until(31_000);
    s.tells(&expect![""]);
}

#[test]
fn the_bench_number_is_answered_by_the_attendant_at_once_and_is_no_breach() {
    let mut s = Story::with(Policy { attendant_only: true, ..Policy::default() });
    s.until(10_000).at(10_001, ended(0));
    s.tells(&expect![[r#"
        0.000 AnswerCaller
        0.000 Join leg: 0, role: Reporter
        0.000 PlayAttendant leg: 0
        0.000 FactAttendantAnswered after: 0ns
        10.001 FactEnded
        10.001 Over
    "#]]);
}

fn calling_back() -> Story {
    let mut s = Story { call: Call::calling_back(Mono(0), Policy::default()), now: Mono(0), text: String::new() };
    s.drain();
    s
}

#[test]
fn whoever_is_called_back_costs_a_seat_only_once_they_have_picked_up_and_waits_like_any_caller() {
    let mut s = calling_back();
    s.at(9000, Input::LegAnswered { leg: CALLER }).until(12_500).picks_up(12_600, 1, 1).at(12_970, hears(0, 1));
    s.tells(&expect![[r#"
        0.000 StartLeg leg: 0, target: Reporter, role: Reporter
        9.000 Join leg: 0, role: Reporter
        9.000 PlayAttendant leg: 0
        9.000 WantSeat answer_by: 12000000000, avoid: []
        12.000 FactBreach promise: Answer
        12.600 FactOffered leg: 1, seat: 1
        12.600 StartLeg leg: 1, target: Seat1, role: Taker
        12.649 PlayTone leg: 1
        12.949 Join leg: 1, role: Taker
        12.949 StopPlaying leg: 0
        12.970 FactAnswered leg: 1, seat: 1, mode: Seat, after: 3.97s
    "#]]);
}

#[test]
fn a_called_back_reporter_who_hangs_up_before_a_human_was_there_is_unreached_and_not_called_for_ever() {
    let mut s = calling_back();
    s.at(9000, Input::LegAnswered { leg: CALLER }).at(10_000, ended(0));
    s.tells(&expect![[r#"
        0.000 StartLeg leg: 0, target: Reporter, role: Reporter
        9.000 Join leg: 0, role: Reporter
        9.000 PlayAttendant leg: 0
        9.000 WantSeat answer_by: 12000000000, avoid: []
        10.000 FactUnreached
        10.000 UnwantSeat
        10.000 FactEnded
        10.000 Over
    "#]]);
}

#[test]
fn nobody_rings_for_ever() {
    let mut s = Story::answered();
    s.at(2000, Input::ThreeWay).at(2001, responder(1, Role::Officer)).until(9002);
    for _ in 0..3 {
        s.at(9003, Input::NoResponder);
    }
    s.text.clear();
    s.until(60_000);
    s.tells(&expect![[r#"
        30.000 FactBreach promise: Officer
        32.001 DropLeg leg: 2
        32.001 FactTryEnded leg: 2, responder: 1, result: NoAnswer
        32.001 ReleaseResponder responder: 1, result: NoAnswer, after: 30s
        32.001 FactNobodyLeft
    "#]]);
    let mut s = calling_back();
    s.until(60_000);
    s.tells(&expect![[r#"
        0.000 StartLeg leg: 0, target: Reporter, role: Reporter
        30.000 DropLeg leg: 0
        30.000 FactUnreached
        30.000 FactEnded
        30.000 Over
    "#]]);
}

#[test]
fn a_call_back_that_nobody_picks_up_is_unreached() {
    let mut s = calling_back();
    s.at(9000, Input::LegFailed { leg: CALLER, result: TryResult::NoAnswer });
    s.tells(&expect![[r#"
        0.000 StartLeg leg: 0, target: Reporter, role: Reporter
        9.000 FactUnreached
        9.000 FactEnded
        9.000 Over
    "#]]);
}

#[test]
fn a_seat_that_answers_and_says_nothing_has_another_beside_it_after_half_a_second() {
    let mut s = Story::new();
    s.at(1, seat(7)).at(50, Input::LegAnswered { leg: LegNo(1) }).at(350, Input::Played { leg: LegNo(1) });
    s.until(560).picks_up(561, 8, 2).at(930, hears(0, 2)).until(20_000);
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000, avoid: []
        0.001 FactOffered leg: 1, seat: 7
        0.001 StartLeg leg: 1, target: Seat7, role: Taker
        0.050 PlayTone leg: 1
        0.550 FactSeatLate seat: 7
        0.550 WantSeat answer_by: 3000000000, avoid: []
        0.561 FactOffered leg: 2, seat: 8
        0.561 StartLeg leg: 2, target: Seat8, role: Taker
        0.610 PlayTone leg: 2
        0.910 DropLeg leg: 1
        0.910 ReleaseSeat seat: 7, outcome: Unused
        0.910 Join leg: 2, role: Taker
        0.910 AnswerCaller
        0.910 Join leg: 0, role: Reporter
        0.930 FactAnswered leg: 2, seat: 8, mode: Seat, after: 930ms
        12.000 FactResponderWanted why: Grace, waited: 12s
        12.000 WantResponder rung: Officer, share: 4.5s
    "#]]);
}

#[test]
fn a_late_seat_that_is_heard_first_has_the_caller_all_the_same() {
    let mut s = Story::new();
    s.at(1, seat(7)).at(50, Input::LegAnswered { leg: LegNo(1) }).at(350, Input::Played { leg: LegNo(1) });
    s.at(560, seat(8)).at(600, heard(1)).at(620, hears(0, 1)).at(700, Input::LegAnswered { leg: LegNo(2) });
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000, avoid: []
        0.001 FactOffered leg: 1, seat: 7
        0.001 StartLeg leg: 1, target: Seat7, role: Taker
        0.050 PlayTone leg: 1
        0.550 FactSeatLate seat: 7
        0.550 WantSeat answer_by: 3000000000, avoid: []
        0.560 FactOffered leg: 2, seat: 8
        0.560 StartLeg leg: 2, target: Seat8, role: Taker
        0.600 DropLeg leg: 2
        0.600 ReleaseSeat seat: 8, outcome: Unused
        0.600 Join leg: 1, role: Taker
        0.600 AnswerCaller
        0.600 Join leg: 0, role: Reporter
        0.620 FactAnswered leg: 1, seat: 7, mode: Seat, after: 620ms
    "#]]);
}

#[test]
fn a_seat_that_is_never_heard_fails_after_two_seconds_and_the_caller_is_never_answered_by_it() {
    let mut s = Story::new();
    s.at(1, seat(7)).at(50, Input::LegAnswered { leg: LegNo(1) }).at(350, Input::Played { leg: LegNo(1) });
    s.until(3100);
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000, avoid: []
        0.001 FactOffered leg: 1, seat: 7
        0.001 StartLeg leg: 1, target: Seat7, role: Taker
        0.050 PlayTone leg: 1
        0.550 FactSeatLate seat: 7
        0.550 WantSeat answer_by: 3000000000, avoid: []
        2.050 DropLeg leg: 1
        2.050 FactSeatFailed leg: 1, seat: 7, why: NoAudio
        2.050 ReleaseSeat seat: 7, outcome: NotReached
        2.900 AnswerCaller
        2.900 Join leg: 0, role: Reporter
        2.900 PlayAttendant leg: 0
        2.900 FactAttendantAnswered after: 2.9s
        3.000 FactBreach promise: Answer
    "#]]);
}

#[test]
fn a_taker_who_drops_within_seconds_puts_the_caller_on_to_the_next_and_never_off() {
    let mut s = Story::new();
    s.picks_up(1, 7, 1).at(370, hears(0, 1)).at(380, heard(0)).at(700, ended(1));
    s.picks_up(701, 8, 2).at(1070, hears(0, 2)).until(7000);
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000, avoid: []
        0.001 FactOffered leg: 1, seat: 7
        0.001 StartLeg leg: 1, target: Seat7, role: Taker
        0.050 PlayTone leg: 1
        0.350 Join leg: 1, role: Taker
        0.350 AnswerCaller
        0.350 Join leg: 0, role: Reporter
        0.370 FactAnswered leg: 1, seat: 7, mode: Seat, after: 370ms
        0.380 FactTwoWay
        0.700 FactLegEnded leg: 1, role: Taker, gone: HungUp
        0.700 PlayAttendant leg: 0
        0.700 FactSeatFailed leg: 1, seat: 7, why: Dropped
        0.700 ReleaseSeat seat: 7, outcome: NotReached
        0.700 WantSeat answer_by: 3000000000, avoid: [7]
        0.701 FactOffered leg: 2, seat: 8
        0.701 StartLeg leg: 2, target: Seat8, role: Taker
        0.750 PlayTone leg: 2
        1.050 Join leg: 2, role: Taker
        1.050 StopPlaying leg: 0
        1.070 FactTakenOver leg: 2, seat: 8
        6.050 ChargeSeat seat: 7
    "#]]);
}

#[test]
fn a_caller_who_was_dropped_and_gives_up_is_called_back() {
    let mut s = Story::new();
    s.picks_up(1, 7, 1).at(370, hears(0, 1)).at(700, ended(1));
    s.text.clear();
    s.at(9000, ended(0));
    s.tells(&expect![[r#"
        9.000 FactAbandoned attended: true
        9.000 UnwantSeat
        9.000 FactEnded
        9.000 Over
    "#]]);
}

#[test]
fn a_taker_who_hangs_up_after_a_conversation_ends_the_call() {
    let mut s = Story::answered();
    s.at(9000, ended(1));
    s.tells(&expect![[r#"
        9.000 FactLegEnded leg: 1, role: Taker, gone: HungUp
        9.000 ReleaseSeat seat: 7, outcome: Talked
        9.000 DropLeg leg: 0
        9.000 FactEnded
        9.000 Over
    "#]]);
}

#[test]
fn a_taker_who_is_lost_at_any_time_leaves_the_caller_to_the_next() {
    let mut s = Story::answered();
    s.at(90_000, Input::LegEnded { leg: LegNo(1), gone: Gone::Lost }).at(90_001, seat(8));
    s.tells(&expect![[r#"
        12.000 FactResponderWanted why: Grace, waited: 12s
        12.000 WantResponder rung: Officer, share: 4.5s
        30.000 FactBreach promise: Officer
        90.000 FactLegEnded leg: 1, role: Taker, gone: Lost
        90.000 PlayAttendant leg: 0
        90.000 FactSeatFailed leg: 1, seat: 7, why: Dropped
        90.000 ReleaseSeat seat: 7, outcome: NotReached
        90.000 WantSeat answer_by: 3000000000, avoid: [7]
        90.001 FactOffered leg: 2, seat: 8
        90.001 StartLeg leg: 2, target: Seat8, role: Taker
    "#]]);
}

#[test]
fn what_two_seats_fail_is_the_calls_fault_and_its_tries_are_bounded() {
    let mut s = Story::new();
    let (mut ms, mut tries) = (1, 0);
    // Every seat refuses at once, for ever.
    while ms < 3_600_000 {
        s.at(ms, seat(tries % 60));
        let leg = s.text.matches("StartLeg").count() as u32;
        if leg > tries {
            tries = leg;
            s.at(ms + 5, Input::LegFailed { leg: LegNo(leg), result: TryResult::Busy });
        }
        ms += if ms < 5000 { 100 } else { 2000 };
    }
    assert_eq!(tries, 20, "{}", s.text);
    assert!(!s.text.contains("ChargeSeat"), "nobody is charged for what the call did");
    assert!(s.text.contains("2.900 AnswerCaller"), "the attendant has the caller");
    let within = s.text.lines().filter(|l| l.contains("StartLeg") && l.starts_with("0.")).count();
    assert_eq!(within, 6, "six are asked one right after the other");
}

#[test]
fn a_seat_that_alone_failed_a_call_which_another_has_kept_is_charged() {
    let mut s = Story::new();
    s.at(1, seat(7)).at(60, Input::LegFailed { leg: LegNo(1), result: TryResult::NoAnswer });
    s.picks_up(61, 8, 2).at(430, hears(0, 2)).until(5000);
    assert!(!s.text.contains("ChargeSeat"));
    s.until(6000);
    assert!(s.text.contains("ChargeSeat seat: 7"), "{}", s.text);
}

#[test]
fn a_caller_whose_officer_does_not_come_after_the_seat_has_left_gets_a_seat_again() {
    let mut s = Story::answered();
    s.at(2000, ask(5, Role::Officer));
    s.at(3000, ended(1));
    s.at(4000, Input::LegFailed { leg: LegNo(2), result: TryResult::Declined }).at(4001, seat(8));
    s.tells(&expect![[r#"
        2.000 FactTried leg: 2, responder: 5, rung: Officer
        2.000 StartLeg leg: 2, target: Responder5, role: Officer
        3.000 FactLegEnded leg: 1, role: Taker, gone: HungUp
        3.000 ReleaseSeat seat: 7, outcome: Talked
        4.000 FactTryEnded leg: 2, responder: 5, result: Declined
        4.000 ReleaseResponder responder: 5, result: Declined, after: 2s
        4.000 PlayAttendant leg: 0
        4.000 WantSeat answer_by: 7000000000, avoid: []
        4.001 FactOffered leg: 3, seat: 8
        4.001 StartLeg leg: 3, target: Seat8, role: Taker
    "#]]);
}

#[test]
fn a_human_who_answers_after_the_grace_brings_the_officer_at_once() {
    let mut s = Story::new();
    s.picks_up(14_000, 2, 1);
    s.text.clear();
    s.at(14_360, hears(0, 1)).until(14_400);
    s.tells(&expect![[r#"
        14.360 FactAnswered leg: 1, seat: 2, mode: Seat, after: 14.36s
        14.360 FactResponderWanted why: Grace, waited: 14.36s
        14.360 WantResponder rung: Officer, share: 4s
    "#]]);
}

#[test]
fn four_seats_that_say_nothing_and_three_that_do_not_pick_up_cost_a_caller_two_seconds_each_time_and_no_more() {
    for picks_up in [true, false] {
        let mut s = Story::new();
        let mute = if picks_up { 4 } else { 3 };
        // A seat is free whenever one is asked for.
        let mut given = 0;
        while given < mute + 1 {
            let asked = s.text.matches("WantSeat").count() as u32;
            if asked > given {
                given += 1;
                let at = s.now.as_millis() + 1;
                s.at(at, seat(given));
                if given > mute {
                    break;
                }
                if picks_up {
                    s.at(at + 20, Input::LegAnswered { leg: LegNo(given) });
                }
            }
            let later = s.now.as_millis() + 1;
            s.until(later);
        }
        let at = s.now.as_millis();
        let leg = LegNo(mute + 1);
        s.at(at + 49, Input::LegAnswered { leg })
            .at(at + 69, Input::LegHeard { leg })
            .at(at + 349, Input::Played { leg });
        s.at(at + 370, hears(0, mute + 1));
        let answered = s.text.lines().find(|l| l.contains("FactAnswered")).expect("a human is heard").to_owned();
        let after: f64 = answered.split(' ').next().and_then(|t| t.parse().ok()).expect("an instant");
        assert!(after < 2.6, "{answered}");
    }
}
