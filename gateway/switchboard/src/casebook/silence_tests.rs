//! Silence is a person's, whichever alert they ask for it in and whichever of their calls is owed.

use codecs::record::{Address, Assessment, LineState};

use super::person_tests::{Story, number};
use super::*;

const HER: &str = "13800000001";

fn rings(s: &Story, no: AlertNo) -> bool {
    let record = s.record(no);
    record.state == codecs::record::State::Abandoned && !record.reporter.safety.silent
}

#[test]
fn whoever_asks_for_silence_where_they_wrote_before_is_not_rung_for_a_call_that_came_later() {
    for restart in [false, true] {
        let mut s = Story::new();
        let old = s.writes("sms", HER, "before");
        s.answers(old, "before");
        s.done(old);
        let call = number(1);
        s.calls_and_hangs_up(call, HER);
        assert!(rings(&s, call));
        s.silent = true;
        s.writes("sms", HER, "hush");
        if restart {
            s.restart();
        }
        assert!(!rings(&s, call), "{:?}", s.record(call).state);
        assert!(restart || s.rung.contains(&"1 silent".to_owned()), "{:?}", s.rung);
    }
}

#[test]
fn whoever_asks_for_silence_during_a_second_call_is_not_rung_for_the_first_nor_for_a_third() {
    let mut s = Story::new();
    let [first, second, third] = [1, 2, 3].map(number);
    s.calls_and_hangs_up(first, HER);
    s.calls(second, HER);
    s.silent = true;
    s.writes("sms", HER, "hush");
    s.hangs_up(second);
    assert!(!rings(&s, first) && !rings(&s, second), "{:?}", s.rung);
    s.calls_and_hangs_up(third, &format!("+86{HER}"));
    assert!(!rings(&s, third));
    // After a start too; and another's number is nobody else's.
    s.restart();
    let [fourth, others] = [4, 5].map(number);
    s.calls_and_hangs_up(fourth, HER);
    s.calls_and_hangs_up(others, "13800000002");
    assert!(!rings(&s, fourth) && rings(&s, others));
}

#[test]
fn whoever_was_put_down_in_silence_and_calls_is_not_rung() {
    let mut s = Story::new();
    s.silent = true;
    let no = s.writes("sms", HER, "hush");
    s.given(no);
    s.done(no);
    let call = number(1);
    s.calls_and_hangs_up(call, HER);
    assert!(!rings(&s, call));
}

#[test]
fn of_three_that_were_joined_the_middle_one_leaves_alone_and_the_others_stay_together() {
    for restart in [false, true] {
        let mut s = Story::new();
        let call = number(1);
        s.calls_and_hangs_up(call, HER);
        let [bob, carol] = ["bob", "carol"].map(|user| s.writes("wechat", user, user));
        s.join(call, bob);
        s.join(bob, carol);
        s.writes("sms", HER, "here");
        s.split(carol, "wechat", "bob");
        if restart {
            s.restart();
        }
        assert_eq!(s.book.alerts.goes_on_as(call), carol);
        assert_eq!(s.book.alerts.goes_on_as(bob), bob);
        // His silence is none of hers, and hers is none of his.
        s.silent = true;
        s.writes("wechat", "bob", "hush");
        assert!(rings(&s, call));
        assert_eq!(s.writes("sms", HER, "quiet"), carol);
        assert!(!rings(&s, call));
        s.silent = false;
        assert_eq!(s.writers(bob), ["bob"]);
        // Whoever is joined to hers comes to where she is.
        let dave = s.writes("wechat", "dave", "dave");
        s.join(dave, call);
        assert_eq!(s.book.alerts.goes_on_as(dave), carol);
    }
}

#[test]
fn what_is_on_its_way_to_somebody_without_an_alert_goes_no_more_once_they_ask_for_silence() {
    for restart in [false, true] {
        let mut s = Story::new();
        let no = s.writes("sms", HER, "here");
        let (at, to) = (s.wall(), Address { channel: "sms".into(), user: HER.into() });
        let request = RequestId(3);
        s.tell(ToCasebook::Send { at, line: "out-1".into(), to, body: "a notice".into(), notice: false, request });
        s.durable();
        assert_eq!(s.sent.len(), 1);
        s.silent = true;
        s.writes("sms", HER, "hush");
        assert!(s.rung.iter().any(|r| r == "withdraw out-1"), "{:?}", s.rung);
        if restart {
            s.restart();
            assert_eq!(s.sent, []);
        }
        assert!(s.record(no).reporter.safety.silent);
    }
}

#[test]
fn a_last_line_is_told_of_and_sent_again_though_its_taker_has_put_the_alert_down() {
    let mut s = Story::new();
    let no = s.writes("wechat", "alice", "help");
    s.answers(no, "help");
    s.says(no, "goodbye", "help");
    s.done(no);
    assert!(s.book.open().any(|(open, _)| *open == no), "what becomes of it is still to be told");
    s.restart();
    assert_eq!(s.sent, [("alice".to_owned(), "goodbye".to_owned())], "no channel had taken it");
    let line = s.record(no).text.last().expect("a line").message_id.clone();
    let failed = |s: &Story| ToCasebook::LineState {
        at: s.wall(),
        line: line.clone(),
        state: LineState::Failed,
        why: String::new(),
    };
    let state = failed(&s);
    s.tell(state);
    assert!(s.record(no).marks.iter().any(|m| m == "undelivered"));
    assert!(s.book.open().all(|(open, _)| *open != no), "and it is over: {:?}", s.record(no).state);
}

#[test]
fn whoever_is_put_down_without_a_word_was_not_answered_and_that_is_told_once() {
    let mut s = Story::new();
    let [told, silent, answered] = ["alice", "bob", "carol"].map(|user| {
        s.silent = user == "bob";
        s.writes("wechat", user, user)
    });
    s.answers(answered, "carol");
    for no in [told, silent, answered] {
        s.given(no);
        s.done(no);
    }
    assert_eq!(s.broken(60_000, &[told, silent, answered]), [1, 0, 0]);
}

#[test]
fn of_a_complaint_every_alert_that_is_one_with_it_hears_whichever_it_was_made_on() {
    for on_the_first in [false, true] {
        let mut s = Story::new();
        let call = number(1);
        s.calls_and_hangs_up(call, HER);
        let bob = s.writes("wechat", "bob", "bob");
        s.join(call, bob);
        let said = Assessment { complaint_of: Some("370402510000".into()), ..Assessment::default() };
        let (no, at) = (if on_the_first { call } else { bob }, s.wall());
        let said = Box::new(said);
        s.tell(ToCasebook::Triage { at, no, said, place: None, request: RequestId(4) });
        let both = [call, bob].map(|no| s.record(no).incident.complaint_of.clone());
        assert_eq!(both, [Some("370402510000".to_owned()), Some("370402510000".to_owned())]);
        let said = Box::new(Assessment { complaint_of: Some(String::new()), ..Assessment::default() });
        s.tell(ToCasebook::Triage { at, no, said, place: None, request: RequestId(5) });
        assert!([call, bob].iter().all(|no| s.record(*no).incident.complaint_of.is_none()));
    }
}

#[test]
fn after_a_start_somebody_s_next_word_goes_where_their_own_last_one_went() {
    let mut s = Story::new();
    let first = s.writes("wechat", "alice", "one");
    s.answers(first, "one");
    s.done(first);
    s.second += 3600;
    s.broken(s.second as u64 * 1000, &[]);
    let second = s.writes("wechat", "alice", "two");
    assert_ne!(first, second);
    s.second += 60;
    let said = casework::TextFact::Said { by: "seat".into(), body: "a note on the first".into() };
    s.fact(first, casework::Fact::Text(said));
    s.restart();
    assert_eq!(s.writes("wechat", "alice", "three"), second);
}

#[test]
fn whoever_is_joined_to_what_was_answered_before_is_owed_a_word_of_their_own() {
    for (spoken_to, restart) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut s = Story::new();
        let first = s.writes("wechat", "alice", "one");
        s.answers(first, "one");
        let second = s.writes("wechat", "bob", "two");
        s.join(second, first);
        if restart {
            s.restart();
        }
        if spoken_to {
            s.answers(first, "two");
        }
        let told = usize::from(!spoken_to);
        assert_eq!(s.broken(60_000, &[first, second]), [0, told], "{spoken_to} {restart}");
        assert_eq!(s.broken(120_000, &[first, second]), [0, told], "once");
        assert!(s.book.open().all(|(open, _)| *open != second), "{:?}", s.record(second).state);
        // Apart again nothing is told twice.
        s.split(first, "wechat", "bob");
        assert_eq!(s.broken(180_000, &[first, second]), [0, told], "{spoken_to} {restart}");
    }
}

#[test]
fn whoever_was_joined_by_mistake_and_never_spoken_to_is_owed_their_answer_when_they_leave() {
    let mut s = Story::new();
    let [alice, bob] = ["alice", "bob"].map(|user| s.writes("wechat", user, user));
    s.join(bob, alice);
    s.answers(alice, "alice");
    s.split(alice, "wechat", "bob");
    assert_eq!(s.broken(60_000, &[alice, bob]), [0, 1], "nobody has ever written to him");
}

#[test]
fn silence_takes_back_the_asker_s_lines_alone_and_none_that_was_said_despite_it() {
    let mut s = Story::new();
    let [alice, bob] = ["alice", "bob"].map(|user| s.writes("wechat", user, user));
    s.join(bob, alice);
    s.given(alice);
    s.says(alice, "to alice", "alice");
    s.says(alice, "to bob", "bob");
    s.silent = true;
    s.writes("wechat", "bob", "hush");
    let withdrawn = |s: &Story| s.rung.iter().filter(|r| r.starts_with("withdraw")).count();
    assert_eq!(withdrawn(&s), 1, "{:?}", s.rung);
    let state = |s: &Story, body: &str| s.record(alice).text.iter().find(|l| l.body == body).expect("there").state;
    assert_eq!((state(&s, "to alice"), state(&s, "to bob")), (Some(LineState::Queued), Some(LineState::Failed)));
    // What is said to him all the same goes, whoever is joined meanwhile.
    s.despite = true;
    s.says(alice, "despite", "bob");
    s.silent = false;
    let carol = s.writes("wechat", "carol", "carol");
    s.join(alice, carol);
    assert_eq!(withdrawn(&s), 1, "{:?}", s.rung);
}

#[test]
fn what_was_withdrawn_where_somebody_was_joined_to_is_withdrawn_where_they_go_back_to_over_a_start_too() {
    let mut s = Story::new();
    let [alice, bob] = ["alice", "bob"].map(|user| s.writes("wechat", user, user));
    s.given(alice);
    s.says(alice, "to alice", "alice");
    s.join(alice, bob);
    s.silent = true;
    s.writes("wechat", "alice", "hush");
    s.split(bob, "wechat", "alice");
    s.durable();
    s.restart();
    assert!(s.sent.iter().all(|(_, body)| body != "to alice"), "{:?}", s.sent);
}

#[test]
fn whoever_shows_their_number_in_a_later_word_is_silent_by_it_from_then_on() {
    for restart in [false, true] {
        let mut s = Story::new();
        let call = number(1);
        s.writes("kiosk", "k1", "hello");
        s.calls_and_hangs_up(call, HER);
        s.phone = Some(HER.into());
        s.silent = true;
        s.writes("kiosk", "k1", "hush");
        assert!(!rings(&s, call));
        if restart {
            s.restart();
        }
        let again = number(2);
        s.calls_and_hangs_up(again, HER);
        assert!(!rings(&s, again));
    }
}

/// What comes of a line to anybody.
fn sends(s: &mut Story, line: &str, channel: &str, user: &str) -> bool {
    s.refused.clear();
    let (at, to) = (s.wall(), Address { channel: channel.into(), user: user.into() });
    let (line, request) = (line.to_owned(), RequestId(3));
    s.tell(ToCasebook::Send { at, line, to, body: "a notice".into(), notice: false, request });
    s.durable();
    s.refused.is_empty()
}

#[test]
fn silence_holds_long_after_the_conversation_as_long_as_its_alert_is_within_reach() {
    for restart in [false, true] {
        let mut s = Story::new();
        s.silent = true;
        let no = s.writes("sms", HER, "hush");
        s.given(no);
        s.done(no);
        s.second += 7200;
        s.broken(s.second as u64 * 1000, &[]);
        if restart {
            s.restart();
        }
        assert!(!sends(&mut s, "out-1", "sms", HER));
        assert!(!sends(&mut s, "out-2", "sms", &format!("0086{HER}")));
        assert!(sends(&mut s, "out-3", "sms", "13800000009"));
        let call = number(1);
        s.calls_and_hangs_up(call, &format!("0086{HER}"));
        assert!(!rings(&s, call));
    }
}

#[test]
fn silence_asked_for_by_one_channel_holds_for_every_other_of_the_same_person() {
    for restart in [false, true] {
        let mut s = Story::new();
        let texts = s.writes("sms", HER, "texts");
        s.given(texts);
        s.says(texts, "a line", "texts");
        assert!(sends(&mut s, "out-1", "sms", HER));
        s.sent.clear();
        s.phone = Some(HER.into());
        s.silent = true;
        let kiosk = s.writes("kiosk", "k1", "he reads my texts");
        assert_eq!(texts, kiosk, "one person's number");
        let taken_back = s.rung.iter().filter(|r| r.starts_with("withdraw")).count();
        assert_eq!(taken_back, 2, "{:?}", s.rung);
        if restart {
            s.restart();
            assert_eq!(s.sent, []);
        }
        assert!(!sends(&mut s, "out-2", "sms", HER) && !sends(&mut s, "out-3", "kiosk", "k1"));
        // Apart, each is silent still.
        s.split(texts, "kiosk", "k1");
        assert!(!sends(&mut s, "out-4", "sms", HER));
    }
}

#[test]
fn whoever_is_joined_to_what_was_broken_before_is_owed_a_word_of_their_own_too() {
    let mut s = Story::new();
    let first = s.writes("wechat", "alice", "one");
    assert_eq!(s.broken(10_000, &[first]), [1]);
    s.second = 20;
    let second = s.writes("wechat", "bob", "two");
    s.join(second, first);
    assert_eq!(s.broken(60_000, &[first, second]), [1, 1]);
}

#[test]
fn a_call_back_that_another_s_silence_took_away_is_owed_again_when_they_leave() {
    let mut s = Story::new();
    let call = number(1);
    s.calls_and_hangs_up(call, HER);
    s.silent = true;
    let bob = s.writes("wechat", "bob", "hush");
    s.join(bob, call);
    assert!(!rings(&s, call));
    s.rung.clear();
    s.split(call, "wechat", "bob");
    assert!(rings(&s, call) && s.rung.contains(&"1 nowhere".to_owned()), "{:?}", s.rung);
}

#[test]
fn a_call_of_whoever_asks_for_silence_elsewhere_stays_silent_when_another_s_silence_leaves_it() {
    let mut s = Story::new();
    s.silent = true;
    let hers = s.writes("sms", HER, "hush");
    s.given(hers);
    s.done(hers);
    let call = number(1);
    s.calls(call, HER);
    let carol = s.writes("wechat", "carol", "hush too");
    s.join(carol, call);
    s.split(call, "wechat", "carol");
    s.rung.clear();
    s.hangs_up(call);
    assert!(!rings(&s, call) && s.rung.iter().all(|r| r != "1 nowhere"), "{:?}", s.rung);
}

#[test]
fn a_complaint_reaches_what_is_joined_to_it_and_what_went_on_before() {
    let mut s = Story::new();
    let [first, root, last] = ["a", "b", "c"].map(|user| s.writes("wechat", user, user));
    s.join(first, root);
    let said = Box::new(Assessment { complaint_of: Some("370402510000".into()), ..Assessment::default() });
    s.tell(ToCasebook::Triage { at: s.wall(), no: last, said, place: None, request: RequestId(4) });
    s.join(last, root);
    let all = [first, root, last].map(|no| s.record(no).incident.complaint_of.is_some());
    assert_eq!(all, [true; 3]);
}

#[test]
fn what_was_said_where_somebody_was_ends_where_they_are_when_it_is_there() {
    let mut s = Story::new();
    let bob = s.writes("wechat", "bob", "bob");
    s.answers(bob, "bob");
    let carol = s.writes("wechat", "carol", "carol");
    s.join(bob, carol);
    s.given(carol);
    s.says(carol, "to bob", "bob");
    let line = s.record(carol).text.last().expect("a line").message_id.clone();
    s.split(carol, "wechat", "bob");
    s.given(bob);
    s.done(bob);
    let state = ToCasebook::LineState { at: s.wall(), line, state: LineState::Sent, why: String::new() };
    s.tell(state);
    assert!(s.book.open().all(|(open, _)| *open != bob), "{:?}", s.record(bob).state);
}
