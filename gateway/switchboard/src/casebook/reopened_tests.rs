//! What was acknowledged is read after a start too: words after a call, after the end, after a join; and what is owed to
//! somebody stays theirs, whoever was joined to them meanwhile.

use codecs::record::{Assessment, SeatInfo, State};

use super::person_tests::{Story, number};
use super::*;

const HER: &str = "13800000001";

/// A call that a seat took is over.
fn call_is_over(s: &mut Story, no: AlertNo) {
    let seat = SeatInfo { no: "1101".into(), taker_name: String::new() };
    let answered = casework::CallFact::Answered { leg: 1, seat, mode: codecs::record::AnswerMode::Seat, after_ms: 900 };
    s.fact(no, casework::Fact::Call(answered));
}

/// A taker can write on it after a start, and what they write goes out.
fn can_be_answered(s: &mut Story, no: AlertNo, words: &str) -> bool {
    s.restart();
    s.given(no);
    s.says(no, "coming", words);
    s.durable();
    s.refused.is_empty() && s.sent.iter().any(|(_, body)| body == "coming")
}

#[test]
fn whoever_writes_during_a_call_and_after_it_is_written_with_after_a_start() {
    for writes_again in [false, true] {
        let mut s = Story::new();
        let call = number(1);
        s.calls(call, HER);
        call_is_over(&mut s, call);
        assert_eq!(s.writes("sms", HER, "south gate"), call);
        s.given(call);
        s.fact(call, casework::Fact::Call(casework::CallFact::Ended));
        s.fact(call, casework::Fact::Call(casework::CallFact::Recorded { media: Vec::new() }));
        if writes_again {
            assert_eq!(s.writes("sms", HER, "he is back"), call);
        }
        let words = if writes_again { "he is back" } else { "south gate" };
        assert!(can_be_answered(&mut s, call, words), "{:?} {:?}", s.record(call).state, s.refused);
    }
}

#[test]
fn a_word_to_what_was_put_down_and_is_not_over_is_read_after_a_start() {
    let mut s = Story::new();
    let no = s.writes("wechat", "alice", "help");
    s.answers(no, "help");
    // A last line is on its way: the alert stays.
    s.says(no, "goodbye", "help");
    s.done(no);
    assert_eq!(s.record(no).state, State::Ended);
    assert_eq!(s.writes("wechat", "alice", "he is back"), no);
    assert_eq!(s.record(no).state, State::Reopened);
    assert!(can_be_answered(&mut s, no, "he is back"), "{:?} {:?}", s.record(no).state, s.refused);
}

#[test]
fn whoever_is_joined_to_what_was_put_down_and_is_not_over_is_read_after_a_start() {
    let mut s = Story::new();
    let no = s.writes("wechat", "alice", "help");
    s.answers(no, "help");
    s.says(no, "goodbye", "help");
    s.done(no);
    let bob = s.writes("wechat", "bob", "they cut me");
    s.join(bob, no);
    assert!(can_be_answered(&mut s, no, "they cut me"), "{:?} {:?}", s.record(no).state, s.refused);
}

#[test]
fn a_call_back_that_another_s_silence_took_away_is_owed_again_though_its_call_was_joined_and_closed() {
    for restart in [false, true] {
        let mut s = Story::new();
        let call = number(1);
        s.calls_and_hangs_up(call, HER);
        s.fact(call, casework::Fact::Call(casework::CallFact::Recorded { media: Vec::new() }));
        let other = s.writes("wechat", "carol", "carol");
        s.join(call, other);
        s.silent = true;
        let silent = s.writes("wechat", "bob", "hush");
        s.silent = false;
        s.join(silent, other);
        assert!(s.record(call).reporter.safety.silent, "nobody is rung meanwhile");
        if restart {
            s.restart();
        }
        s.rung.clear();
        s.split(other, "wechat", "bob");
        assert_eq!((s.record(call).state, s.record(call).reporter.safety.silent), (State::Abandoned, false));
        assert!(s.rung.contains(&"1 nowhere".to_owned()), "{:?}", s.rung);
        assert!(s.record(call).marks.iter().all(|m| m != "call_back_withheld"));
    }
}

#[test]
fn a_line_to_somebody_that_was_written_before_they_came_answers_nobody_who_waits_here_over_a_start_either() {
    for restart in [false, true] {
        let mut s = Story::new();
        let alice = s.writes("wechat", "alice", "alice");
        s.answers(alice, "alice");
        let bob = s.writes("wechat", "bob", "help");
        s.join(alice, bob);
        if restart {
            s.restart();
        }
        assert_eq!(s.record(bob).call.t.answer, None, "nobody has spoken to bob");
        let told = s.broken(1_000_000, &[bob]);
        assert_eq!(told, [1], "which is told");
    }
}

#[test]
fn what_goes_on_from_a_full_record_complains_of_whom_that_did_made_before_or_after() {
    for before in [false, true] {
        let mut s = Story::new();
        let complaint = |s: &mut Story, no| {
            let said = Box::new(Assessment { complaint_of: Some("370402510000".into()), ..Assessment::default() });
            let (at, place, request) = (s.wall(), None, RequestId(11));
            s.tell(ToCasebook::Triage { at, no, said, place, request });
        };
        let first = s.writes("wechat", "alice", "alice");
        if before {
            complaint(&mut s, first);
        }
        let long = "城东所打人".repeat(380);
        let next = (0..300).map(|n| s.writes("wechat", "alice", &format!("{n} {long}"))).find(|no| *no != first);
        let next = next.expect("the record is full at some time");
        if !before {
            complaint(&mut s, first);
        }
        assert_eq!(s.record(next).incident.complaint_of.as_deref(), Some("370402510000"), "before: {before}");
    }
}

#[test]
fn a_complaint_reaches_what_is_joined_to_it_before_that_tells_whose_it_is() {
    for complains in [false, true] {
        let mut s = Story::new();
        let [alice, bob] = ["alice", "bob"].map(|user| s.writes("wechat", user, user));
        let said = Box::new(Assessment { complaint_of: Some("370402510000".into()), ..Assessment::default() });
        let (at, no, place, request) = (s.wall(), if complains { alice } else { bob }, None, RequestId(11));
        s.tell(ToCasebook::Triage { at, no, said, place, request });
        s.join(alice, bob);
        let told = super::tests::events(&s.kept);
        let names = |e: &CloudEvent| e.data.id.related.iter().any(|r| r.alert_no == no.to_string());
        let mut others = told.iter().filter(|e| e.subject != no.to_string());
        assert!(others.all(|e| !names(e) || e.data.incident.complaint_of.is_some()), "complains: {complains}");
    }
}

#[test]
fn nobody_is_written_to_by_a_name_that_is_none() {
    let mut s = Story::new();
    for user in ["", " ", "\0", "a\nb"] {
        let (at, to) = (s.wall(), Address { channel: "wechat".into(), user: user.into() });
        let request = RequestId(3);
        s.tell(ToCasebook::Send { at, line: "out-1".into(), to, body: "a notice".into(), notice: false, request });
    }
    s.durable();
    assert_eq!((s.refused.len(), s.sent.len()), (4, 0));
}

#[test]
fn a_call_back_that_silence_takes_away_is_owed_again_whenever_it_came_unless_somebody_spoke_since() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum When {
        WhileItRang,
        WhileCalledBack,
        IntoTheCall,
        SpokenSince,
    }
    for when in [When::WhileItRang, When::WhileCalledBack, When::IntoTheCall, When::SpokenSince] {
        let mut s = Story::new();
        let call = number(1);
        s.calls(call, HER);
        if when != When::WhileItRang {
            s.hangs_up(call);
        }
        if when == When::WhileCalledBack {
            s.fact(call, casework::Fact::Call(casework::CallFact::CallingBack));
        }
        s.silent = true;
        let silent = s.writes("wechat", "bob", "hush");
        s.silent = false;
        s.join(silent, call);
        if when == When::WhileItRang {
            s.hangs_up(call);
        }
        if when == When::WhileCalledBack {
            s.fact(call, casework::Fact::Call(casework::CallFact::Unreached));
        }
        s.given(call);
        s.done(call);
        for _ in 0..2 {
            s.fact(call, casework::Fact::Call(casework::CallFact::Recorded { media: Vec::new() }));
        }
        if when == When::SpokenSince {
            let again = number(2);
            s.calls(again, HER);
            call_is_over(&mut s, again);
            s.fact(again, casework::Fact::Call(casework::CallFact::Ended));
        }
        s.restart();
        s.rung.clear();
        s.split(call, "wechat", "bob");
        let is_rung = s.record(call).state == State::Abandoned && s.rung.contains(&"1 nowhere".to_owned());
        assert_eq!(is_rung, when != When::SpokenSince, "{when:?}: {:?} {:?}", s.rung, s.record(call).state);
    }
}

#[test]
fn a_complaint_reaches_what_a_follow_up_went_on_as() {
    let mut s = Story::new();
    let first = s.writes("wechat", "alice", "alice");
    let long = "城东所打人".repeat(380);
    let next = (0..300).map(|n| s.writes("wechat", "alice", &format!("{n} {long}"))).find(|no| *no != first);
    let next = next.expect("the record is full at some time");
    let other = s.writes("sms", HER, "here");
    s.join(next, other);
    let said = Box::new(Assessment { complaint_of: Some("370402510000".into()), ..Assessment::default() });
    let (at, place, request) = (s.wall(), None, RequestId(11));
    s.tell(ToCasebook::Triage { at, no: first, said, place, request });
    assert!([first, next, other].iter().all(|no| s.record(*no).incident.complaint_of.is_some()));
}

#[test]
fn a_start_breaks_no_promise_that_whoever_is_written_with_can_keep() {
    let mut s = Story::new();
    let call = number(1);
    s.calls(call, HER);
    s.hangs_up(call);
    s.fact(call, casework::Fact::Call(casework::CallFact::CallingBack));
    s.fact(call, casework::Fact::Call(casework::CallFact::Unreached));
    for _ in 0..2 {
        s.fact(call, casework::Fact::Call(casework::CallFact::Recorded { media: Vec::new() }));
    }
    assert_eq!(s.record(call).state, State::Closed);
    let before = events_broken(&s);
    assert_eq!(s.writes("sms", HER, "help"), call);
    s.restart();
    assert_eq!(events_broken(&s), before, "there is time yet");
}

fn events_broken(s: &Story) -> usize {
    super::tests::events(&s.kept).iter().filter(|e| e.deadline.is_some()).count()
}
