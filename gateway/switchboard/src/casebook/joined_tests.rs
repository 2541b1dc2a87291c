//! Alerts that were joined: what their calls, their people and their promises come to, by whatever order of joins, splits
//! and starts.

use codecs::record::State;

use super::person_tests::{Story, number};
use super::*;

const P: &str = "13800000001";

#[test]
fn whoever_asked_for_silence_is_not_rung_after_a_start_though_their_call_was_joined() {
    let mut s = Story::new();
    let call = number(1);
    s.calls_and_hangs_up(call, P);
    assert_eq!(s.writes("sms", P, "it was me"), call);
    let carol = s.writes("wechat", "carol", "carol says");
    s.join(call, carol);
    s.silent = true;
    assert_eq!(s.writes("sms", P, "hush"), carol);
    s.rung.clear();
    s.restart();
    assert!(s.record(call).reporter.safety.silent);
    assert_eq!(s.rung, Vec::<String>::new(), "nobody is to be called back");
}

#[test]
fn what_went_on_as_another_has_nobody_of_its_own_until_they_come_back() {
    for restart in [false, true] {
        let mut s = Story::new();
        s.place = Some((118.4, 34.8));
        let bob = s.writes("wechat", "bob", "bob says");
        s.place = None;
        let [alice, carol] = ["alice", "carol"].map(|user| s.writes("wechat", user, user));
        s.join(bob, alice);
        s.join(alice, carol);
        s.split(carol, "wechat", "alice");
        assert_eq!((s.writers(alice), s.writers(carol).len()), (vec!["alice"], 2));
        assert!(s.record(alice).location.is_empty(), "where Bob is is Bob's");
        s.given(alice);
        s.durable();
        s.sent.clear();
        s.says(alice, "for alice alone", "alice");
        s.durable();
        assert_eq!(s.sent, [("alice".to_owned(), "for alice alone".to_owned())]);
        s.writes("wechat", "alice", "alice again");
        if restart {
            s.restart();
        }
        assert_eq!(s.writes("wechat", "bob", "bob again"), carol);
        assert_eq!(s.writes("wechat", "alice", "and again"), alice);
    }
}

#[test]
fn a_line_in_writing_answers_no_caller_who_hears_it_ring() {
    let mut s = Story::new();
    let words = s.writes("sms", P, "help");
    s.answers(words, "help");
    s.second = 10;
    let call = number(5);
    s.calls(call, P);
    assert_eq!(s.writers(call), [P], "one conversation");
    s.answers(call, "help");
    assert!(s.record(call).call.t.answer.is_none());
    assert_eq!(s.broken(15_200, &[call]), [1], "nobody has spoken to the caller");
    s.rung.clear();
    s.restart();
    assert_eq!(s.rung, ["5 nowhere"], "they are called back");
}

#[test]
fn a_line_to_somebody_else_takes_no_callers_call_back_away() {
    for (rings, starts) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
        let mut s = Story::new();
        let call = number(1);
        s.calls(call, P);
        if !rings {
            s.hangs_up(call);
        }
        let carol = s.writes("wechat", "carol", "carol");
        s.join(carol, call);
        s.answers(call, "carol");
        for _ in 0..starts {
            s.rung.clear();
            s.restart();
        }
        assert_eq!((s.record(call).state, s.rung.clone()), (State::Abandoned, vec!["1 nowhere".to_owned()]), "{rings}");
    }
}

#[test]
fn whoever_writes_on_a_call_that_a_kill_cut_off_is_written_with_after_every_start() {
    let mut s = Story::new();
    let call = number(1);
    s.calls(call, "");
    let carol = s.writes("wechat", "carol", "carol");
    s.join(carol, call);
    s.restart();
    s.restart();
    assert_eq!(s.writers(call), ["carol"]);
    s.given(call);
    s.says(call, "we are here", "carol");
    assert_eq!(s.refused.len(), 0, "{:?}", s.refused);
}

#[test]
fn whoever_calls_twice_and_writes_is_written_with_over_a_start_and_called_back_once() {
    let mut s = Story::new();
    let (first, second) = (number(1), number(2));
    s.calls_and_hangs_up(first, P);
    s.writes("sms", P, "help");
    s.calls_and_hangs_up(second, P);
    s.tell(ToCasebook::CallBackDropped { at: s.wall(), no: second, joined: Some(first) });
    s.restart();
    assert_eq!((s.writers(second), s.writers(first).len()), (vec![P], 0));
    s.given(second);
    s.says(second, "where are you?", "help");
    assert_eq!(s.refused.len(), 0, "{:?}", s.refused);
    s.given(first);
    s.says(first, "anybody?", "help");
    assert_eq!(s.refused.len(), 1, "nobody writes there");
}

#[test]
fn nobody_is_given_anothers_number_when_they_leave() {
    let mut s = Story::new();
    let (call, mine, theirs) = (number(1), "13900000009", "13700000007");
    s.calls_and_hangs_up(call, mine);
    let carol = s.writes("sms", theirs, "carol says");
    s.join(call, carol);
    s.phone = Some(mine.into());
    assert_eq!(s.writes("kiosk", "k1", "at the terminal"), carol);
    s.phone = None;
    s.split(carol, "kiosk", "k1");
    s.restart();
    s.phone = Some(mine.into());
    let own = s.writes("kiosk", "k1", "again");
    assert_ne!(own, carol);
    assert_eq!(s.record(own).reporter.phone, mine);
    let next = number(7);
    s.calls(next, theirs);
    assert!(!s.writers(next).contains(&"k1"), "{:?}", s.writers(next));
}

#[test]
fn whoever_redials_without_an_end_joins_a_hundred_calls_and_costs_no_more() {
    let mut s = Story::new();
    let words = s.writes("sms", P, "help");
    for n in 1..300 {
        s.calls_and_hangs_up(number(n), P);
    }
    let joined = s.book.alerts.joined(words).len();
    assert!(joined <= 101, "{joined} alerts are one");
    assert_eq!(s.record(number(299)).call.legs.len(), 1, "each call is on record");
    // They are heard all the same, and so is whoever else writes.
    let heard = s.writes("sms", P, "still here");
    assert!(s.words(heard).contains(&(P, "still here")));
}

#[test]
fn two_records_that_are_too_large_for_one_stay_two() {
    let mut s = Story::new();
    let long = "急".repeat(1990);
    let mut large = |user: &str| (0..90).map(|n| s.writes("wechat", user, &format!("{user}{n}{long}"))).last();
    let [a, b] = ["a", "b"].map(|user| large(user).expect("written"));
    s.join(a, b);
    assert_eq!(s.refused.len(), 1, "{:?}", s.refused);
    assert_eq!((s.writers(a), s.writers(b)), (vec!["a"], vec!["b"]));
}

#[test]
fn whoever_was_answered_and_leaves_is_owed_nothing_and_whoever_was_not_is_told_of_once() {
    // Carol was answered where she began, and leaves with an alert of her own.
    let mut s = Story::new();
    let carol = s.writes("wechat", "carol", "carol");
    let bob = s.writes("wechat", "bob", "bob");
    s.join(bob, carol);
    s.answers(carol, "carol");
    s.split(carol, "wechat", "carol");
    let hers = s.writes("wechat", "carol", "carol again");
    assert_ne!(hers, carol);
    assert_eq!(s.broken(20_000, &[hers, carol, bob]), [0, 0, 0]);
    // Bob was answered, is joined with that alert into one that waits, and leaves again; whatever is done to the clock.
    let mut s = Story::new();
    let bob = s.writes("wechat", "bob", "bob");
    s.answers(bob, "bob");
    s.leap = -3600;
    let carol = s.writes("wechat", "carol", "carol");
    s.join(bob, carol);
    s.split(carol, "wechat", "bob");
    assert_eq!(s.broken(20_000, &[bob, carol]), [0, 1]);
    // Together they were told of as broken: apart it is not told again.
    let mut s = Story::new();
    let [a, b] = ["a", "b"].map(|user| s.writes("wechat", user, user));
    s.join(b, a);
    assert_eq!(s.broken(9_000, &[a, b]), [1, 0]);
    s.second = 9;
    s.split(a, "wechat", "b");
    assert_eq!(s.broken(20_000, &[a, b]), [1, 0]);
    let timer = &s.record(b).timers[0];
    assert!(timer.breach && timer.met_at.is_none(), "nobody kept it: {timer:?}");
}

#[test]
fn an_answer_where_a_call_went_on_is_an_answer_to_its_writer() {
    let mut s = Story::new();
    let call = number(1);
    s.calls_and_hangs_up(call, P);
    s.writes("sms", P, "help");
    let carol = s.writes("wechat", "carol", "carol");
    s.join(call, carol);
    s.answers(carol, "help");
    assert_eq!(s.broken(30_000, &[call, carol]), [0, 0]);
    s.restart();
    s.second = 40;
    assert_eq!(s.broken(50_000, &[call, carol]), [0, 0]);
}

#[test]
fn silence_that_has_left_takes_nobodys_call_back_away() {
    for restart in [false, true] {
        let mut s = Story::new();
        let call = number(1);
        s.calls(call, P);
        let carol = s.writes("wechat", "carol", "carol");
        s.join(call, carol);
        s.silent = true;
        s.writes("wechat", "carol", "hush");
        s.silent = false;
        assert!(s.record(call).reporter.safety.silent);
        let other = s.writes("wechat", "dora", "dora");
        s.join(other, carol);
        s.split(carol, "wechat", "carol");
        assert!(!s.record(call).reporter.safety.silent);
        if restart {
            s.restart();
        } else {
            s.hangs_up(call);
        }
        assert!(s.rung.contains(&"1 nowhere".to_owned()), "{:?}", s.rung);
    }
}

#[test]
fn what_was_said_before_silence_was_asked_for_goes_out_no_more_over_a_start_too() {
    for restart in [false, true] {
        let mut s = Story::new();
        let alice = s.writes("wechat", "alice", "alice");
        s.given(alice);
        s.says(alice, "we are at your door", "alice");
        s.silent = true;
        s.writes("wechat", "alice", "hush");
        let line = s.record(alice).text.iter().find(|l| l.by == "seat").expect("a line").clone();
        assert_eq!(line.state, Some(LineState::Failed));
        assert!(s.rung.contains(&format!("withdraw {}", &line.message_id[30..])), "{:?}", s.rung);
        if restart {
            s.restart();
        }
        s.durable();
        assert_eq!(s.sent, Vec::new());
    }
}

#[test]
fn silence_takes_back_what_was_said_to_whoever_asked_for_it_wherever_it_stands_and_nobody_elses() {
    let queued_for_alice = || {
        let mut s = Story::new();
        let [alice, carol] = ["alice", "carol"].map(|user| s.writes("wechat", user, user));
        s.join(alice, carol);
        s.given(carol);
        s.says(carol, "for alice", "alice");
        s.split(carol, "wechat", "alice");
        (s, alice, carol)
    };
    // Carol asks for it: the line to Alice goes.
    let (mut s, alice, carol) = queued_for_alice();
    s.silent = true;
    assert_eq!(s.writes("wechat", "carol", "hush"), carol);
    s.durable();
    assert_eq!(s.sent, [("alice".to_owned(), "for alice".to_owned())]);
    let state = |s: &Story, no| s.record(no).text.iter().find(|l| l.by == "seat").and_then(|l| l.state);
    assert_eq!(state(&s, alice), Some(LineState::Queued));
    // Alice does: it does not, by neither of its copies, after a start either.
    for restart in [false, true] {
        let (mut s, alice, carol) = queued_for_alice();
        s.silent = true;
        assert_eq!(s.writes("wechat", "alice", "hush"), alice);
        assert_eq!([alice, carol].map(|no| state(&s, no)), [Some(LineState::Failed); 2]);
        if restart {
            s.restart();
        }
        s.durable();
        assert_eq!(s.sent, Vec::new());
    }
    // What is said despite the silence is not taken back by who else comes.
    let mut s = Story::new();
    s.silent = true;
    let alice = s.writes("wechat", "alice", "hush");
    s.silent = false;
    s.given(alice);
    s.despite = true;
    s.says(alice, "stay hidden", "hush");
    let bob = s.writes("wechat", "bob", "bob");
    s.join(bob, alice);
    assert_eq!(state(&s, alice), Some(LineState::Queued));
}

#[test]
fn what_went_on_as_another_and_what_is_joined_after_its_end_comes_to_an_end() {
    use casework::{CallFact, Fact};
    // Somebody is answered, writes later and calls again: the first alert is over with that.
    let mut s = Story::new();
    let (first, second) = (number(1), number(2));
    let talk = |s: &mut Story, no| {
        let seat = codecs::record::SeatInfo { no: "1101".into(), taker_name: String::new() };
        let answered = CallFact::Answered { leg: 1, seat, mode: codecs::record::AnswerMode::Seat, after_ms: 900 };
        for fact in [answered, CallFact::Ended, CallFact::Recorded { media: Vec::new() }] {
            s.fact(no, Fact::Call(fact));
        }
    };
    s.calls(first, P);
    talk(&mut s, first);
    assert_eq!(s.record(first).state, State::Closed);
    assert_eq!(s.writes("sms", P, "and another thing"), first);
    s.given(first);
    s.calls(second, P);
    assert_eq!((s.writers(second), s.record(first).state), (vec![P], State::Closed));
    // Two calls that are over are one: nothing is left to happen.
    let mut s = Story::new();
    for no in [first, second] {
        s.calls(no, if no == first { P } else { "13800000002" });
        talk(&mut s, no);
    }
    s.join(first, second);
    assert_eq!([first, second].map(|no| s.record(no).state), [State::Closed; 2]);
    assert_eq!(s.refused.len(), 0);
}

#[test]
fn a_complaint_goes_with_whoever_makes_it() {
    let station = "370402510000";
    let complains = |s: &mut Story, no| {
        let said = codecs::record::Assessment { complaint_of: Some(station.into()), ..Default::default() };
        let (at, request) = (s.wall(), RequestId(4));
        s.tell(ToCasebook::Triage { at, no, said: Box::new(said), place: None, request });
    };
    let mut s = Story::new();
    let [dora, carol] = ["dora", "carol"].map(|user| s.writes("wechat", user, user));
    complains(&mut s, dora);
    s.join(dora, carol);
    assert_eq!(s.record(carol).incident.complaint_of.as_deref(), Some(station));
    let bob = s.writes("wechat", "bob", "bob");
    s.join(bob, carol);
    s.split(carol, "wechat", "carol");
    let hers = s.writes("wechat", "carol", "carol again");
    assert_ne!(hers, carol);
    assert_eq!(s.record(hers).incident.complaint_of.as_deref(), Some(station));
    assert_eq!(s.book.known_place(hers).avoid.as_deref(), Some(station));
}

#[test]
fn an_alert_that_everybody_has_left_is_over() {
    let mut s = Story::new();
    let [alice, carol] = ["alice", "carol"].map(|user| s.writes("wechat", user, user));
    s.join(alice, carol);
    s.given(carol);
    s.split(carol, "wechat", "carol");
    s.split(carol, "wechat", "alice");
    assert_eq!(s.writers(carol), Vec::<&str>::new());
    s.says(carol, "anybody?", "carol");
    assert_eq!(s.refused.len(), 1, "{:?}", s.refused);
    assert_eq!((s.record(carol).state, s.broken(20_000, &[carol])), (State::Closed, vec![0]));
}

#[test]
fn what_is_closed_is_joined_and_taken_apart_as_what_is_open_is() {
    let mut s = Story::new();
    let [alice, carol, dora] = ["alice", "carol", "dora"].map(|user| s.writes("wechat", user, user));
    s.join(alice, carol);
    for no in [carol, dora] {
        s.answers(no, if no == carol { "carol" } else { "dora" });
        s.tell(ToCasebook::Done { at: s.wall(), no, seat: "1101".into(), request: RequestId(3) });
        assert_eq!(s.record(no).state, State::Closed);
    }
    s.split(carol, "wechat", "alice");
    assert_eq!((s.writers(carol), s.writers(alice)), (vec!["carol"], vec!["alice"]));
    s.join(dora, alice);
    s.join(dora, carol);
    assert_eq!(s.refused.len(), 1, "it went on as another: {:?}", s.refused);
    assert_eq!(s.writers(alice), ["alice", "dora"]);
    s.restart();
    assert_eq!((s.writes("wechat", "dora", "dora again"), s.writes("wechat", "alice", "alice again")), (alice, alice));
}

#[test]
fn a_line_names_the_message_of_whoever_it_goes_to() {
    let mut s = Story::new();
    let [alice, carol] = ["alice", "carol"].map(|user| s.writes("wechat", user, user));
    s.join(alice, carol);
    s.writes("wechat", "carol", "carol again");
    s.given(carol);
    s.durable();
    s.answered.clear();
    s.says(carol, "for alice", "alice");
    s.durable();
    assert_eq!(s.answered, ["alice-id"]);
}

#[test]
fn a_number_leaves_with_whose_it_is_and_one_that_is_only_claimed_spoils_nobody_elses() {
    let mut s = Story::new();
    let alice = s.writes("sms", P, "alice");
    let bob = s.writes("wechat", "bob", "bob");
    s.join(bob, alice);
    s.phone = Some("13600000006".into());
    s.writes("wechat", "bob", "bob claims a number");
    s.phone = None;
    assert!(!s.record(alice).marks.iter().any(|m| m == "phone_unproven"));
    s.split(alice, "sms", P);
    assert_eq!(s.record(alice).reporter.phone, "");
    let hers = s.writes("sms", P, "alice again");
    assert_ne!(hers, alice);
    s.restart();
    assert_eq!(s.book.call_arrives(number(77), P), Some(hers));
}
