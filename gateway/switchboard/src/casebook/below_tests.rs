//! Whoever stands below another's silence, and whoever is silent by several numbers and channels.

use codecs::record::{LineState, State};

use super::person_tests::{Story, number};
use super::*;

const HER: &str = "13800000001";
const OTHER: &str = "13800000002";
const X: &str = "13800000003";

fn is_owed(s: &Story, no: AlertNo) -> bool {
    let record = s.record(no);
    record.state == State::Abandoned && !record.reporter.safety.silent
}

#[test]
fn whoever_asks_for_silence_showing_another_number_is_rung_at_none_of_theirs_over_a_start_too() {
    for joined in [false, true] {
        for restart in [false, true] {
            let mut s = Story::new();
            let (first, second, others) = (number(1), number(2), number(3));
            s.phone = Some(HER.into());
            let hers = s.writes("kiosk", "desk", "help");
            s.phone = None;
            if joined {
                let bob = s.writes("wechat", "bob", "bob");
                s.join(hers, bob);
            }
            for (no, phone) in [(first, HER), (second, OTHER), (others, X)] {
                s.calls_and_hangs_up(no, phone);
            }
            (s.phone, s.silent) = (Some(OTHER.into()), true);
            s.writes("kiosk", "desk", "hush");
            (s.phone, s.silent) = (None, false);
            if restart {
                s.restart();
            }
            assert!(!is_owed(&s, first) && !is_owed(&s, second), "joined {joined}, restart {restart}: {:?}", s.rung);
            assert!(is_owed(&s, others), "nobody else's number");
            for (no, phone) in [(number(4), OTHER), (number(5), HER)] {
                s.calls_and_hangs_up(no, phone);
                assert!(!is_owed(&s, no), "nor when they call again from {phone}");
            }
        }
    }
}

#[test]
fn a_caller_who_stays_when_the_silent_one_leaves_is_called_back() {
    for restart in [false, true] {
        let mut s = Story::new();
        s.silent = true;
        let alice = s.writes("wechat", "alice", "hush");
        s.silent = false;
        let bob = s.writes("wechat", "bob", "crash");
        let call = number(1);
        s.calls_and_hangs_up(call, X);
        s.join(call, alice);
        s.join(alice, bob);
        assert!(s.record(call).reporter.safety.silent);
        if restart {
            s.restart();
        }
        s.rung.clear();
        s.split(bob, "wechat", "alice");
        assert_eq!(s.book.alerts.goes_on_as(call), bob);
        assert!(is_owed(&s, call), "{:?}", s.record(call).state);
        assert!(s.rung.contains(&"1 nowhere".to_owned()), "{:?}", s.rung);
        assert!(s.record(alice).reporter.safety.silent, "hers stays hers");
        s.restart();
        assert!(is_owed(&s, call));
    }
}

#[test]
fn a_caller_whom_a_kill_cut_off_below_anothers_silence_is_called_back_when_it_leaves() {
    for restart in [false, true] {
        let mut s = Story::new();
        let bob = s.writes("wechat", "bob", "crash");
        s.silent = true;
        let alice = s.writes("wechat", "alice", "hush");
        s.silent = false;
        let call = number(1);
        s.calls(call, X);
        s.join(alice, bob);
        s.join(call, bob);
        s.restart();
        s.fact(call, casework::Fact::Call(casework::CallFact::Interrupted));
        s.fact(call, casework::Fact::Call(casework::CallFact::Recorded { media: Vec::new() }));
        if restart {
            s.restart();
        }
        assert!(!is_owed(&s, call));
        s.rung.clear();
        s.split(bob, "wechat", "alice");
        assert!(is_owed(&s, call), "{:?} {:?}", s.record(call).state, s.record(call).marks);
        assert!(s.rung.contains(&"1 nowhere".to_owned()), "{:?}", s.rung);
    }
}

/// By a terminal that had not shown her number before.
fn hush_elsewhere(s: &mut Story) {
    let elsewhere = s.writes("kiosk", "elsewhere", "elsewhere");
    (s.phone, s.silent) = (Some(HER.into()), true);
    assert_eq!(s.writes("kiosk", "elsewhere", "hush"), elsewhere);
    (s.phone, s.silent) = (None, false);
}

#[test]
fn a_taker_s_line_goes_to_nobody_who_asked_for_silence_by_another_channel() {
    for restart in [false, true] {
        let mut s = Story::new();
        s.phone = Some(HER.into());
        let old = s.writes("kiosk", "terminal", "help");
        s.answers(old, "help");
        s.done(old);
        s.phone = None;
        hush_elsewhere(&mut s);
        let bob = s.writes("wechat", "bob", "bob");
        s.join(bob, old);
        if restart {
            s.restart();
        }
        s.given(old);
        s.sent.clear();
        let said = |s: &mut Story, channel: Option<&str>, despite| {
            let (at, request) = (s.wall(), RequestId(9));
            let line = crate::message::SayRequest {
                at,
                no: old,
                seat: "1101".into(),
                body: "open the door".into(),
                channel: channel.map(str::to_owned),
                answers: None,
                done: false,
                despite_silence: despite,
                request,
            };
            s.refused.clear();
            s.tell(ToCasebook::Say(Box::new(line)));
            s.durable();
            s.refused.clone()
        };
        assert_eq!(said(&mut s, Some("kiosk"), false), [Failure::Silent]);
        assert!(s.sent.is_empty(), "{:?}", s.sent);
        assert_eq!(said(&mut s, Some("wechat"), false), [], "another is written to");
        assert_eq!(said(&mut s, Some("kiosk"), true), [], "a taker may know better");
    }
}

#[test]
fn what_an_app_did_not_have_goes_to_nobody_who_asked_for_silence_by_another_channel() {
    let mut s = Story::new();
    s.phone = Some(HER.into());
    let old = s.writes("app", "hers", "help");
    s.phone = None;
    s.answers(old, "help");
    s.says(old, "at the door", "help");
    let line = s.record(old).text.last().expect("a line").message_id.clone();
    let at = s.wall();
    s.tell(ToCasebook::LineState { at, line, state: LineState::Failed, why: "away".into() });
    s.done(old);
    hush_elsewhere(&mut s);
    s.sent.clear();
    s.restart();
    s.durable();
    assert!(s.sent.iter().all(|(to, _)| to != "hers"), "{:?}", s.sent);
}

#[test]
fn whoever_writes_again_and_asks_anew_is_silent_again_wherever_they_wrote() {
    let mut s = Story::new();
    s.phone = Some(HER.into());
    let old = s.writes("kiosk", "terminal", "help");
    s.phone = None;
    s.answers(old, "help");
    s.done(old);
    hush_elsewhere(&mut s);
    assert_eq!(s.writes("kiosk", "terminal", "he is back"), old);
    assert!(!s.record(old).reporter.safety.silent, "they write without asking");
    s.silent = true;
    s.writes("kiosk", "elsewhere", "do not answer");
    assert!(s.record(old).reporter.safety.silent);
}

#[test]
fn whoever_goes_on_from_a_full_record_is_silent_by_their_own_wish_alone() {
    let mut s = Story::new();
    let bob = s.writes("sms", X, "bob");
    s.silent = true;
    let alice = s.writes("wechat", "alice", "hush");
    s.silent = false;
    s.join(alice, bob);
    let mut on = bob;
    for n in 0..500 {
        on = s.writes("sms", X, &format!("{n} {}", "火".repeat(1900)));
        if on != bob {
            break;
        }
    }
    assert_ne!(on, bob, "it was full");
    assert!(!s.record(on).reporter.safety.silent, "the silence was hers");
    s.silent = false;
    let hers = s.writes("wechat", "alice", "still here");
    assert!(hers == bob || s.record(hers).reporter.safety.silent, "and stays hers");
}

#[test]
fn every_number_that_somebody_showed_is_theirs_over_a_start_too() {
    for restart in [false, true] {
        let mut s = Story::new();
        for (n, phone) in [HER, OTHER, X].into_iter().enumerate() {
            (s.phone, s.silent) = (Some(phone.into()), phone == X);
            s.writes("kiosk", "desk", &format!("word {n}"));
        }
        (s.phone, s.silent) = (None, false);
        if restart {
            s.restart();
        }
        for (no, phone) in [(number(1), HER), (number(2), OTHER), (number(3), X)] {
            s.calls_and_hangs_up(no, phone);
            assert!(!is_owed(&s, no), "{phone}, restart {restart}");
        }
        let others = number(4);
        s.calls_and_hangs_up(others, "13800000004");
        assert!(is_owed(&s, others));
    }
}

#[test]
fn whoever_goes_on_from_a_full_record_is_rung_at_none_of_their_numbers_once_they_ask_for_silence() {
    for restart in [false, true] {
        let mut s = Story::new();
        s.phone = Some(HER.into());
        let first = s.writes("kiosk", "desk", "help");
        s.phone = None;
        let mut on = first;
        for n in 0..500 {
            on = s.writes("kiosk", "desk", &format!("{n} {}", "火".repeat(1900)));
            if on != first {
                break;
            }
        }
        assert_ne!(on, first, "it was full");
        let call = number(1);
        s.calls_and_hangs_up(call, HER);
        s.silent = true;
        s.writes("kiosk", "desk", "hush");
        s.silent = false;
        if restart {
            s.restart();
        }
        assert!(!is_owed(&s, call), "restart {restart}");
        let later = number(2);
        s.calls_and_hangs_up(later, HER);
        assert!(!is_owed(&s, later));
    }
}

#[test]
fn an_account_that_showed_a_number_before_its_last_is_its_owner_s() {
    for restart in [false, true] {
        let mut s = Story::new();
        s.phone = Some(HER.into());
        let old = s.writes("kiosk", "terminal", "help");
        s.phone = Some(OTHER.into());
        s.writes("kiosk", "terminal", "help again");
        s.phone = None;
        s.answers(old, "help again");
        s.done(old);
        let theirs = number(1);
        s.calls_and_hangs_up(theirs, OTHER);
        let elsewhere = s.writes("app", "hers", "elsewhere");
        (s.phone, s.silent) = (Some(HER.into()), true);
        assert_eq!(s.writes("app", "hers", "hush"), elsewhere);
        (s.phone, s.silent) = (None, false);
        if restart {
            s.restart();
        }
        assert!(!is_owed(&s, theirs), "one person has both, restart {restart}");
        let (at, request) = (s.wall(), RequestId(3));
        let to = Address { channel: "kiosk".into(), user: "terminal".into() };
        s.refused.clear();
        s.tell(ToCasebook::Send { at, line: "out-1".into(), to, body: "open".into(), notice: false, request });
        s.durable();
        assert_eq!(s.refused, [Failure::Silent]);
    }
}

#[test]
fn a_number_shown_before_the_last_leads_to_its_owner_s_alert_after_a_start_too() {
    for restart in [false, true] {
        let mut s = Story::new();
        for (n, phone) in [HER, OTHER, X].into_iter().enumerate() {
            s.phone = Some(phone.into());
            s.writes("kiosk", "desk", &format!("word {n}"));
        }
        if restart {
            s.restart();
        }
        s.phone = Some(OTHER.into());
        let by = s.writes("app", "hers", "it is me");
        assert_eq!(s.writers(by), ["hers", "desk"], "restart {restart}");
    }
}

#[test]
fn a_caller_who_was_joined_below_the_silent_one_by_mistake_is_got_out_and_called_back() {
    let mut s = Story::new();
    s.silent = true;
    let alice = s.writes("wechat", "alice", "hush");
    s.silent = false;
    let call = number(1);
    s.calls_and_hangs_up(call, X);
    s.join(call, alice);
    assert!(!is_owed(&s, call));
    s.rung.clear();
    s.split(alice, "wechat", "alice");
    assert_eq!(s.refused, []);
    assert!(is_owed(&s, call), "{:?}", s.record(call).state);
    assert!(s.rung.contains(&"1 nowhere".to_owned()), "{:?}", s.rung);
    let hers = s.writes("wechat", "alice", "still here");
    assert!(hers != alice && s.record(hers).reporter.safety.silent);
    s.split(hers, "wechat", "alice");
    assert_eq!(s.refused.len(), 1, "she is alone by now");
}

#[test]
fn danger_comes_along_with_a_join() {
    let mut s = Story::new();
    let eve = s.writes("wechat", "eve", "a bomb");
    let graver = codecs::record::Assessment {
        level: Some(1),
        hazards: Some(codecs::record::Hazards { explosives: Some(true), ..Default::default() }),
        ..Default::default()
    };
    let (at, request) = (s.wall(), RequestId(11));
    s.tell(ToCasebook::Triage { at, no: eve, said: Box::new(graver), place: None, request });
    let fay = s.writes("wechat", "fay", "smoke");
    s.join(eve, fay);
    let incident = &s.record(fay).incident;
    assert_eq!((incident.level, incident.hazards.and_then(|h| h.explosives)), (Some(1), Some(true)));
}

fn with_danger(word: &str) -> Story {
    let danger = casework::Keyword { word: word.into(), level: 1, ..Default::default() };
    let keywords = KeywordTable::new(vec![danger], &casework::Sounds::default()).expect("builds");
    let mut s = Story::new();
    let mut book = super::tests::casebook_with(&[("wechat", false), ("sms", true), ("kiosk", false)], keywords);
    book.config.channels[2].proves_phone = true;
    s.book = book;
    s
}

#[test]
fn danger_leaves_with_whoever_spoke_of_it() {
    let mut s = with_danger("爆炸物");
    let [alice, bob] = ["alice", "bob"].map(|user| s.writes("wechat", user, user));
    s.join(bob, alice);
    s.writes("wechat", "bob", "他有爆炸物");
    s.split(alice, "wechat", "bob");
    assert_eq!((s.record(bob).incident.level, s.record(bob).incident.keywords.len()), (Some(1), 1));
    // Whoever began the alert leaves for a new one.
    let carol = s.writes("wechat", "carol", "carol");
    let dave = s.writes("wechat", "dave", "dave");
    s.join(dave, carol);
    s.writes("wechat", "carol", "有爆炸物");
    s.split(carol, "wechat", "carol");
    let hers = s.writes("wechat", "carol", "快来");
    assert_eq!((hers != carol, s.record(hers).incident.level), (true, Some(1)));
}

#[test]
fn a_call_that_was_joined_by_mistake_is_taken_out_by_its_number_and_called_back() {
    for restart in [false, true] {
        let mut s = Story::new();
        s.silent = true;
        let alice = s.writes("sms", HER, "hush");
        s.silent = false;
        let hers = number(1);
        s.calls_and_hangs_up(hers, HER);
        let root = s.book.alerts.goes_on_as(alice);
        let neighbour = number(2);
        s.calls_and_hangs_up(neighbour, X);
        s.join(neighbour, root);
        assert!(!is_owed(&s, neighbour));
        if restart {
            s.restart();
        }
        s.rung.clear();
        let (at, request) = (s.wall(), RequestId(8));
        s.tell(ToCasebook::SplitCall { at, no: root, call: neighbour, request });
        assert!(is_owed(&s, neighbour), "{:?} {:?}", s.record(neighbour).state, s.refused);
        assert!(s.rung.contains(&"2 nowhere".to_owned()), "{:?}", s.rung);
        assert!(!is_owed(&s, hers), "hers stays silent");
        s.restart();
        assert!(is_owed(&s, neighbour) && !is_owed(&s, hers));
        let (at, request) = (s.wall(), RequestId(8));
        s.tell(ToCasebook::SplitCall { at, no: root, call: neighbour, request });
        s.durable();
        assert!(matches!(s.refused.last(), Some(Failure::NotFound(_))), "{:?}", s.refused);
    }
}

#[test]
fn a_caller_below_an_alert_that_everybody_has_left_is_by_themselves_and_owed_an_answer() {
    let mut s = Story::new();
    let w = s.writes("wechat", "w", "w");
    let call = number(1);
    s.calls(call, X);
    s.join(call, w);
    s.split(w, "wechat", "w");
    assert_eq!(s.book.alerts.goes_on_as(call), call);
    s.hangs_up(call);
    assert!(is_owed(&s, call));
    assert_eq!(s.writes("sms", X, "are you there"), call);
    let told = s.broken(1_000_000, &[call, w]);
    assert_eq!(told, [1, 0], "which is told of whom it is");
}

#[test]
fn whoever_called_and_wrote_leaves_with_both_and_stays_apart_over_a_start() {
    for restart in [false, true] {
        let mut s = Story::new();
        let neighbour = number(1);
        s.calls_and_hangs_up(neighbour, X);
        let wrote = s.writes("sms", X, "smoke");
        s.silent = true;
        let alice = s.writes("wechat", "alice", "hush");
        s.silent = false;
        let root = s.book.alerts.goes_on_as(wrote);
        s.join(root, alice);
        assert!(!is_owed(&s, neighbour));
        let (at, request) = (s.wall(), RequestId(8));
        s.tell(ToCasebook::SplitCall { at, no: alice, call: neighbour, request });
        assert!(is_owed(&s, neighbour), "{:?} {:?}", s.record(neighbour).state, s.refused);
        assert_eq!(s.writers(alice), ["alice"]);
        if restart {
            s.restart();
        }
        let on = s.writes("sms", X, "it burns");
        assert_ne!(s.book.alerts.goes_on_as(on), alice);
        let again = number(2);
        s.calls_and_hangs_up(again, X);
        assert_ne!(s.book.alerts.goes_on_as(again), alice, "restart {restart}");
        assert!(!s.record(again).reporter.safety.silent);
    }
}
