//! The call machine as stories: inputs at milliseconds, outputs as lines.

use codecs::record::IncidentKind;
use expect_test::{Expect, expect};

use super::*;

struct Story {
    call: Call,
    now: Mono,
    text: String,
}

impl Story {
    fn new() -> Story {
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
    fn until(&mut self, ms: u64) -> &mut Self {
        let end = Mono::from_millis(ms);
        while let Some((at, _)) = self.call.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self
    }
    fn at(&mut self, ms: u64, input: Input) -> &mut Self {
        self.until(ms);
        self.call.handle_input(self.now, input);
        self.drain();
        self
    }
    /// Seat 7 answers and is heard, as it is on a quiet day.
    fn answered() -> Story {
        let mut s = Story::new();
        s.at(1, seat(7)).at(50, Input::LegAnswered { leg: LegNo(1) }).at(350, Input::Played { leg: LegNo(1) });
        s.at(370, Input::LegHears { leg: CALLER }).at(380, Input::LegHeard { leg: CALLER });
        s.text.clear();
        s
    }
    fn tells(&self, expected: &Expect) {
        expected.assert_eq(&self.text);
    }
}

fn seat(n: u32) -> Input {
    Input::SeatReserved { seat: SeatId(n), overflow: false }
}
fn responder(n: u32, role: Role) -> Input {
    Input::ResponderReserved { responder: ResponderId(n), role }
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
    s.at(1, seat(7)).at(50, Input::LegAnswered { leg: LegNo(1) }).at(350, Input::Played { leg: LegNo(1) });
    s.at(370, Input::LegHears { leg: CALLER }).at(380, Input::LegHeard { leg: CALLER });
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000
        0.001 FactOffered seat: 7
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
    s.until(3500)
        .at(4000, seat(2))
        .at(4050, Input::LegAnswered { leg: LegNo(1) })
        .at(4350, Input::Played { leg: LegNo(1) });
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000
        2.900 AnswerCaller
        2.900 Join leg: 0, role: Reporter
        2.900 PlayAttendant leg: 0
        2.900 FactAttendantAnswered after: 2.9s
        3.000 FactBreach timer: "T1"
        4.000 FactOffered seat: 2
        4.000 StartLeg leg: 1, target: Seat2, role: Taker
        4.050 PlayTone leg: 1
        4.350 Join leg: 1, role: Taker
        4.350 StopPlaying leg: 0
        4.350 FactAnswered leg: 1, seat: 2, mode: Seat, after: 4.35s
    "#]]);
}

#[test]
fn a_seat_that_does_not_pick_up_is_passed_over_after_a_second() {
    let mut s = Story::new();
    s.at(1, seat(7)).until(1100).at(1101, seat(8));
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000
        0.001 FactOffered seat: 7
        0.001 StartLeg leg: 1, target: Seat7, role: Taker
        1.001 DropLeg leg: 1
        1.001 ReleaseSeat seat: 7, outcome: NoAnswer
        1.001 WantSeat answer_by: 3000000000
        1.101 FactOffered seat: 8
        1.101 StartLeg leg: 2, target: Seat8, role: Taker
    "#]]);
}

#[test]
fn a_caller_who_gives_up_before_the_answer_is_abandoned_and_leaves_nothing_behind() {
    let mut s = Story::new();
    s.at(1, seat(7)).at(200, Input::LegEnded { leg: CALLER }).at(300, seat(9));
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 3000000000
        0.001 FactOffered seat: 7
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
    s.at(5000, Input::LegAnswered { leg: LegNo(2) })
        .at(5020, Input::LegHears { leg: LegNo(2) })
        .at(5030, Input::LegHeard { leg: LegNo(2) });
    s.at(9000, Input::LegEnded { leg: LegNo(1) }).at(20_000, Input::LegEnded { leg: CALLER });
    s.tells(&expect![[r#"
        3.000 FactResponderWanted why: Triage
        3.000 WantResponder rung: Officer, share: 6.75s
        3.001 FactTried leg: 2, responder: 3, rung: Officer
        3.001 StartLeg leg: 2, target: Responder3, role: Officer
        5.000 FactTryEnded leg: 2, responder: 3, result: Answered
        5.000 Join leg: 2, role: Officer
        5.030 FactBridged responder: 3, after: 5.03s
        9.000 ReleaseSeat seat: 7, outcome: Talked
        9.000 FactLegEnded leg: 1, role: Taker
        20.000 UnwantSeat
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
        2.000 FactResponderWanted why: Action
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
        12.000 FactResponderWanted why: Grace
        12.000 WantResponder rung: Officer, share: 4.5s
        12.001 WantResponder rung: Officer, share: 5.999666666s
        12.001 WantResponder rung: Unit, share: 8.9995s
        12.001 WantResponder rung: Superior, share: 17.999s
        12.001 FactNobodyLeft
        30.000 FactBreach timer: "T2"
    "#]]);
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
    s.until(10_000).at(10_001, Input::LegEnded { leg: CALLER });
    s.tells(&expect![[r#"
        0.000 AnswerCaller
        0.000 Join leg: 0, role: Reporter
        0.000 PlayAttendant leg: 0
        0.000 FactAttendantAnswered after: 0ns
        10.001 UnwantSeat
        10.001 FactEnded
        10.001 Over
    "#]]);
}

#[test]
fn an_abandoned_report_is_called_back_seat_first() {
    let mut s = Story { call: Call::calling_back(Mono(0), Policy::default()), now: Mono(0), text: String::new() };
    s.drain();
    s.at(5, seat(1)).at(50, Input::LegAnswered { leg: LegNo(1) }).at(350, Input::Played { leg: LegNo(1) });
    s.at(2000, Input::LegAnswered { leg: CALLER }).at(2020, Input::LegHears { leg: CALLER });
    s.tells(&expect![[r#"
        0.000 WantSeat answer_by: 30000000000
        0.005 FactOffered seat: 1
        0.005 StartLeg leg: 1, target: Seat1, role: Taker
        0.050 PlayTone leg: 1
        0.350 Join leg: 1, role: Taker
        0.350 StartLeg leg: 0, target: Reporter, role: Reporter
        2.000 Join leg: 0, role: Reporter
        2.020 FactAnswered leg: 1, seat: 1, mode: Seat, after: 2.02s
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
        30.000 FactBreach timer: "T2"
        32.001 DropLeg leg: 2
        32.001 FactTryEnded leg: 2, responder: 1, result: NoAnswer
        32.001 ReleaseResponder responder: 1, result: NoAnswer, after: 30s
        32.001 FactNobodyLeft
    "#]]);
    let mut s = Story { call: Call::calling_back(Mono(0), Policy::default()), now: Mono(0), text: String::new() };
    s.drain();
    s.at(5, seat(1)).at(50, Input::LegAnswered { leg: LegNo(1) }).at(350, Input::Played { leg: LegNo(1) });
    s.text.clear();
    s.until(60_000);
    s.tells(&expect![[r#"
        30.350 DropLeg leg: 0
        30.350 FactUnreached
        30.350 DropLeg leg: 1
        30.350 ReleaseSeat seat: 1, outcome: Talked
        30.350 FactEnded
        30.350 Over
    "#]]);
}

#[test]
fn a_call_back_that_nobody_picks_up_is_unreached() {
    let mut s = Story { call: Call::calling_back(Mono(0), Policy::default()), now: Mono(0), text: String::new() };
    s.drain();
    s.at(5, seat(1)).at(50, Input::LegAnswered { leg: LegNo(1) }).at(350, Input::Played { leg: LegNo(1) });
    s.text.clear();
    s.at(9000, Input::LegFailed { leg: CALLER, result: TryResult::NoAnswer });
    s.tells(&expect![[r#"
        9.000 FactUnreached
        9.000 DropLeg leg: 1
        9.000 ReleaseSeat seat: 1, outcome: Talked
        9.000 FactEnded
        9.000 Over
    "#]]);
}

#[test]
fn a_caller_whose_officer_does_not_come_after_the_seat_has_left_gets_a_seat_again() {
    let mut s = Story::answered();
    s.at(2000, Input::TransferTo { responder: ResponderId(5), role: Role::Officer });
    s.at(3000, Input::LegEnded { leg: LegNo(1) });
    s.at(4000, Input::LegFailed { leg: LegNo(2), result: TryResult::Declined }).at(4001, seat(8));
    s.tells(&expect![[r#"
        2.000 FactTried leg: 2, responder: 5, rung: Officer
        2.000 StartLeg leg: 2, target: Responder5, role: Officer
        3.000 ReleaseSeat seat: 7, outcome: Talked
        3.000 FactLegEnded leg: 1, role: Taker
        4.000 FactTryEnded leg: 2, responder: 5, result: Declined
        4.000 ReleaseResponder responder: 5, result: Declined, after: 2s
        4.000 FactNobodyLeft
        4.000 PlayAttendant leg: 0
        4.000 WantSeat answer_by: 7000000000
        4.001 FactOffered seat: 8
        4.001 StartLeg leg: 3, target: Seat8, role: Taker
    "#]]);
}

#[test]
fn a_human_who_answers_after_the_grace_brings_the_officer_at_once() {
    let mut s = Story::new();
    s.at(14_000, seat(2)).at(14_050, Input::LegAnswered { leg: LegNo(1) }).at(14_350, Input::Played { leg: LegNo(1) });
    s.text.clear();
    s.until(14_400);
    s.tells(&expect![[r#"
        14.350 FactResponderWanted why: Grace
        14.350 WantResponder rung: Officer, share: 4s
    "#]]);
}
