//! One conversation's story a test.

use super::*;

const IDLE: Duration = Duration::from_secs(1800);

fn at(seconds: f64) -> Mono {
    Mono(1_000_000_000) + Duration::from_secs_f64(seconds)
}

fn no(serial: u32) -> AlertNo {
    AlertNo::mint("370400000000", 20_261_129, 1, serial)
}

fn seat(number: &str) -> SeatInfo {
    SeatInfo { no: number.into(), ..SeatInfo::default() }
}

fn sender(channel: &str) -> Address {
    Address { channel: channel.into(), user: "u".into() }
}

fn conversations() -> Conversations {
    Conversations::new(Rules { idle: IDLE, join_within: IDLE, outlets: Vec::new() })
}

fn report(arrived: f64) -> Report {
    Report {
        arrived: at(arrived),
        needs: Needs { group: GroupId(0), skills: 0, class: Class::Other },
        first_line: FirstLine::Owed,
        speaks_with: None,
    }
}

/// What came out, a word each.
fn outputs(conversations: &mut Conversations) -> Vec<String> {
    let end = |alert: AlertNo| alert.to_string().trim_start_matches("3704000000002026112910").to_owned();
    let word = |output| match output {
        Output::Want { alert, within, prefer, .. } => {
            format!(
                "want {} in {}{}",
                end(alert),
                within.as_millis(),
                prefer.map(|p| format!(" of {p}")).unwrap_or_default()
            )
        }
        Output::Release { alert } => format!("release {}", end(alert)),
        Output::Held { alert, seat } => format!("held {} by {}", end(alert), seat.no),
        Output::Said { alert } => format!("said {}", end(alert)),
        Output::Answered { alert, mode, after } => format!("answered {} {mode:?} {}", end(alert), after.as_millis()),
        Output::Breach { alert } => format!("breach {}", end(alert)),
        Output::Ended { alert } => format!("ended {}", end(alert)),
        Output::Notice(n) => format!("{} hears {} of {}", n.seat, n.what.text(), end(n.alert)),
    };
    std::iter::from_fn(|| conversations.poll_output()).map(word).collect()
}

fn told(conversations: &mut Conversations, expected: &[&str]) {
    let found = outputs(conversations);
    let found: Vec<String> = found.iter().map(|o| o.replace(&end_of(1), "1").replace(&end_of(2), "2")).collect();
    assert_eq!(found, expected);
}

fn end_of(serial: u32) -> String {
    no(serial).to_string().trim_start_matches("3704000000002026112910").to_owned()
}

#[test]
fn a_report_is_wanted_held_and_answered_once_its_channel_has_taken_a_human_s_line() {
    let mut c = conversations();
    c.heard(at(1.0), no(1), report(0.5));
    told(&mut c, &["want 1 in 2500"]);
    c.given(no(1), seat("S01"), false);
    told(&mut c, &["held 1 by S01", "S01 hears given of 1"]);
    assert_eq!(c.held_by(no(1), "S02"), Err(NotHeld::OtherSeat));
    assert_eq!(c.held_by(no(2), "S01"), Err(NotHeld::NobodyWrites));
    c.said(at(1.2), no(1));
    told(&mut c, &["said 1", "S01 hears state of 1"]);
    assert_eq!(c.poll_timeout(), Some((at(3.5), "first line")), "what is said is not yet heard");
    c.line_taken(at(1.3), no(1), at(0.5));
    told(&mut c, &["answered 1 Seat 800"]);
    assert_eq!(c.poll_timeout(), Some((at(1.2) + IDLE, "conversation idle")));
    c.heard(at(9.0), no(1), report(0.5));
    told(&mut c, &["S01 hears line of 1"]);
    c.end(no(1));
    told(&mut c, &["release 1", "ended 1", "S01 hears ended of 1"]);
    assert!(c.is_empty() && c.poll_timeout().is_none());
}

#[test]
fn a_promise_that_is_broken_is_told_once_and_the_answer_counts_from_the_first_word() {
    let mut c = conversations();
    c.heard(at(0.0), no(1), report(0.0));
    outputs(&mut c);
    c.handle_timeout(at(3.0));
    told(&mut c, &["breach 1"]);
    c.heard(at(4.0), no(1), report(0.0));
    c.handle_timeout(at(60.0));
    told(&mut c, &[]);
    c.given(no(1), seat("S09"), true);
    c.line_taken(at(61.0), no(1), at(0.0));
    told(&mut c, &["held 1 by S09", "S09 hears given of 1", "answered 1 Overflow 61000"]);
}

#[test]
fn of_what_was_missed_or_answered_before_a_start_nothing_is_owed() {
    for first_line in [FirstLine::Missed, FirstLine::Said] {
        let mut c = conversations();
        c.heard(at(9.0), no(1), Report { first_line, speaks_with: Some("S03".into()), ..report(0.0) });
        told(&mut c, &["want 1 in 0 of S03"]);
        assert_eq!(c.poll_timeout().map(|(_, why)| why), Some("conversation idle"));
    }
}

#[test]
fn a_conversation_in_which_nobody_says_anything_is_over_and_one_that_was_taken_back_has_no_holder() {
    let mut c = conversations();
    c.heard(at(0.0), no(1), Report { first_line: FirstLine::Said, ..report(0.0) });
    c.given(no(1), seat("S01"), false);
    outputs(&mut c);
    c.taken_back(no(1), "S02".into());
    told(&mut c, &["S02 hears taken_back of 1"]);
    assert!(c.held_by(no(1), "S01").is_ok(), "another's was taken back");
    c.taken_back(no(1), "S01".into());
    told(&mut c, &["S01 hears taken_back of 1"]);
    assert_eq!(c.held_by(no(1), "S01"), Err(NotHeld::OtherSeat));
    c.said(at(100.0), no(1));
    c.handle_timeout(at(99.0) + IDLE);
    told(&mut c, &["said 1"]);
    c.handle_timeout(at(100.0) + IDLE);
    told(&mut c, &["release 1", "ended 1"]);
}

#[test]
fn whoever_had_it_hears_that_another_has() {
    let mut c = conversations();
    c.heard(at(0.0), no(1), report(0.0));
    c.given(no(1), seat("S01"), false);
    outputs(&mut c);
    c.given(no(1), seat("S02"), false);
    told(&mut c, &["S01 hears taken_back of 1", "held 1 by S02", "S02 hears given of 1"]);
}

#[test]
fn a_seat_that_is_found_too_late_is_given_back() {
    let mut c = conversations();
    c.given(no(1), seat("S01"), false);
    told(&mut c, &["release 1"]);
    c.heard(at(0.0), no(1), report(0.0));
    outputs(&mut c);
    c.forget(no(1));
    c.forget(no(1));
    told(&mut c, &["release 1"]);
    c.handle_timeout(at(9.0) + IDLE);
    told(&mut c, &[]);
}

#[test]
fn two_that_become_one_keep_the_earlier_promise_and_the_taker() {
    let mut c = conversations();
    c.note_thread(at(0.0), &sender("wechat"), None, no(1));
    c.heard(at(0.0), no(1), report(0.0));
    c.given(no(1), seat("S01"), false);
    outputs(&mut c);
    c.join(at(1.0), no(1), no(2), false, None);
    told(&mut c, &["release 1", "S01 hears ended of 1", "want 2 in 2000 of S01"]);
    assert_eq!(c.threads().find(&sender("wechat"), None), Some(no(2)));
    assert_eq!(c.poll_timeout(), Some((at(3.0), "first line")));
    // A call in which somebody has spoken has kept it, and who speaks goes on writing.
    c.join(at(1.5), no(2), no(1), true, Some("S07".into()));
    told(&mut c, &["release 2", "want 1 in 1500 of S07"]);
    c.handle_timeout(at(5.0));
    told(&mut c, &[]);
}

#[test]
fn a_conversation_waits_since_the_first_of_those_in_it_came_and_no_longer_once_they_have_left() {
    let mut c = conversations();
    c.heard(at(0.0), no(1), report(0.0));
    c.heard(at(2.0), no(2), report(2.0));
    outputs(&mut c);
    c.join(at(2.5), no(1), no(2), false, None);
    c.waits_since(at(2.5), no(2), at(0.0));
    told(&mut c, &["release 1", "want 2 in 500"]);
    c.waits_since(at(2.6), no(2), at(2.0));
    told(&mut c, &["want 2 in 2400"]);
    c.handle_timeout(at(3.0));
    told(&mut c, &[]);
    c.waits_since(at(3.0), no(2), at(0.5));
    told(&mut c, &["want 2 in 500"]);
    c.handle_timeout(at(3.5));
    told(&mut c, &["breach 2"]);
    c.line_taken(at(4.0), no(2), at(2.0));
    told(&mut c, &["answered 2 Seat 3500"]);
}

#[test]
fn a_broken_promise_is_not_broken_again_by_a_join_and_the_one_that_goes_on_keeps_its_holder() {
    let mut c = conversations();
    c.heard(at(0.0), no(1), report(0.0));
    c.handle_timeout(at(3.0));
    outputs(&mut c);
    c.join(at(4.0), no(1), no(2), false, None);
    c.handle_timeout(at(5.0));
    told(&mut c, &["release 1", "want 2 in 0"]);
    c.given(no(2), seat("S01"), false);
    c.heard(at(6.0), no(1), report(6.0));
    outputs(&mut c);
    c.join(at(7.0), no(1), no(2), false, None);
    told(&mut c, &["release 1", "S01 hears line of 2"]);
    c.handle_timeout(at(20.0));
    told(&mut c, &[]);
}

#[test]
fn a_caller_who_writes_goes_on_as_their_call_and_nobody_else_does() {
    let mut c = conversations();
    c.note_thread(at(0.0), &sender("cmcc"), Some("13800138000"), no(1));
    assert_eq!(c.call_arrives(at(1.0), "13800138000", no(2)), None, "their conversation is over");
    c.note_thread(at(2.0), &sender("cmcc"), Some("13800138000"), no(1));
    c.heard(at(2.0), no(1), report(2.0));
    assert_eq!(c.call_arrives(at(3.0), "13800138001", no(2)), None);
    assert_eq!(c.call_arrives(at(3.0), "13800138000", no(2)), Some(no(1)));
    assert_eq!(c.call_arrives(at(4.0), "13800138000", no(2)), None, "an alert is not joined to itself");
}

#[test]
fn a_sender_leaves_for_the_alert_that_they_began_while_it_is_within_reach() {
    let mut c = conversations();
    c.note_thread(at(0.0), &sender("wechat"), None, no(1));
    c.join(at(1.0), no(1), no(2), false, None);
    assert_eq!(c.leaves_for(no(2), &sender("wechat"), |_| true), Some(Return::Own(no(1))));
    assert_eq!(c.leaves_for(no(2), &sender("wechat"), |_| false), Some(Return::New));
    assert_eq!(c.leaves_for(no(1), &sender("wechat"), |_| true), None, "they write in the other");
    c.split(&sender("wechat"), no(1));
    assert_eq!(c.leaves_for(no(1), &sender("wechat"), |_| true), Some(Return::New), "it is their own");
    assert_eq!(c.alert_of(&sender("wechat"), None, |_| true), Some(no(1)));
}
