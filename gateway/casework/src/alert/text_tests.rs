//! Messages on an alert, in sentences.

use codecs::record::{Address, Attached, Channel, Direction, LineState, SeatInfo};

use super::tests::{arrival, feed_to};
use super::*;
use crate::fact::{Belongings, Message};
use crate::keyword::{Keyword, Sounds};

fn alerts() -> Alerts {
    let word = |w: &str, silent| Keyword { word: w.into(), level: 1, silent, ..Keyword::default() };
    let table = KeywordTable::new(vec![word("着火", false), word("绑架", true)], &Sounds::default()).expect("builds");
    Alerts::new("/gw/370400000000/1".into(), "1".into(), table)
}

fn number(serial: u32) -> AlertNo {
    AlertNo::mint("370400000000", 20_261_122, 1, serial)
}

fn message(body: &str, id: &str) -> Message {
    Message {
        known: Vec::new(),
        address: Address { channel: "cmcc".into(), user: "13800138000".into() },
        phone: "13800138000".into(),
        message_id: id.into(),
        body: body.into(),
        forms: vec![Form::Text],
        attachments: vec![],
        place: None,
        receipt: Some("收到 {no}".into()),
        silent: false,
        marks: vec![],
        case: None,
    }
}

fn written(body: &str) -> Fact {
    let Fact::Arrived(mut arrival) = arrival() else { panic!("an arrival") };
    (arrival.channel, arrival.trunk) = (Channel::Sms12110, "cmcc".into());
    Fact::Written(arrival, Box::new(message(body, "m1")))
}

fn replied(body: &str) -> Fact {
    let seat = SeatInfo { no: "1101".into(), taker_name: "王".into() };
    Fact::Text(TextFact::Replied { seat, body: body.into(), channel: None, answers: None })
}

/// The channel has taken the line that was said `n`th of this alert.
fn taken(n: u32) -> [Fact; 2] {
    let line = format!("{}-{n}", number(7));
    let state = Fact::Text(TextFact::LineState { line, state: LineState::Sent, why: String::new() });
    [state, Fact::Text(TextFact::AnsweredInWriting { mode: codecs::record::AnswerMode::Seat, after_ms: 900 })]
}

#[test]
fn a_message_is_received_answered_and_closed_with_three_revisions() {
    let mut a = alerts();
    let [sent, answered] = taken(2);
    let facts = vec![written("有人打架"), replied("在哪里?"), sent, answered, Fact::Text(TextFact::ConversationEnded)];
    let (types, revisions) = feed_to(&mut a, number(7), facts);
    let short = &number(7).to_string()[21..];
    assert_eq!(
        types,
        [
            "arrived",
            &format!("say 13800138000 收到 {short}"),
            "message",
            "say 13800138000 在哪里?",
            "answered",
            "ended",
            "released"
        ]
    );
    let last = revisions.last().expect("some");
    assert_eq!(last.call.answer_ms, Some(900));
    assert!(last.timers.iter().all(|t| t.met_at.is_some()), "T1 is met by the human's line, not by the receipt");
    assert!(revisions[1].timers.iter().all(|t| t.met_at.is_none()), "nor by what was only said");
    let dirs: Vec<_> = last.text.iter().map(|l| (l.dir, l.by.as_str())).collect();
    assert_eq!(
        dirs,
        [(Some(Direction::In), "caller"), (Some(Direction::Out), "gateway"), (Some(Direction::Out), "seat")]
    );
}

#[test]
fn a_word_that_asks_for_silence_takes_even_the_receipt_away() {
    let mut a = alerts();
    let (types, revisions) = feed_to(&mut a, number(7), vec![written("我被绑架了")]);
    assert_eq!(types, ["arrived", "warning.keyword", "silenced"]);
    assert!(revisions[0].reporter.safety.silent && revisions[0].source.validity == Validity::Silent);
    let asked = Message { silent: true, ..message("x", "m1") };
    let Fact::Written(arrival, _) = written("") else { panic!("written") };
    let (types, _) = feed_to(&mut a, number(8), vec![Fact::Written(arrival, Box::new(asked))]);
    assert_eq!(types, ["arrived", "silenced"]);
}

#[test]
fn a_silent_reporter_who_hung_up_is_not_rung() {
    let mut a = alerts();
    let facts = vec![
        arrival(),
        Fact::Text(TextFact::Received(Box::new(message("别打电话 绑架", "m1")))),
        Fact::Call(CallFact::Abandoned { attended: false }),
        Fact::Call(CallFact::Ended),
        Fact::Call(CallFact::Recorded { media: vec![] }),
        Fact::Text(TextFact::ConversationEnded),
    ];
    let (types, _) = feed_to(&mut a, number(7), facts);
    assert!(!types.iter().any(|t| t.starts_with("call back") || t.starts_with("say")), "{types:?}");
    assert_eq!(types.last().map(String::as_str), Some("released"));
}

#[test]
fn a_word_after_the_end_opens_the_alert_again() {
    let mut a = alerts();
    let [sent, answered] = taken(2);
    let facts = vec![written("有人打架"), replied("好"), Fact::Text(TextFact::ConversationEnded), sent, answered];
    let (types, _) = feed_to(&mut a, number(7), facts);
    assert_eq!(types[4..], ["updated", "answered", "ended", "released"], "it waits for what becomes of the answer");
    assert!(a.is_within_reach(number(7)) && a.open().count() == 0);
    let (types, revisions) =
        feed_to(&mut a, number(7), vec![Fact::Text(TextFact::Received(Box::new(message("又来了", "m2"))))]);
    assert_eq!(types, ["message"], "no second receipt");
    assert_eq!(revisions[0].state, State::Reopened);
    assert_eq!(revisions[0].rev, 6);
}

#[test]
fn what_became_of_a_line_is_told_at_once_only_when_it_failed() {
    let mut a = alerts();
    feed_to(&mut a, number(7), vec![written("有人打架")]);
    let line = format!("{}-1", number(7));
    let state = |state| Fact::Text(TextFact::LineState { line: line.clone(), state, why: String::new() });
    let (types, _) =
        feed_to(&mut a, number(7), vec![state(LineState::Sent), state(LineState::Delivered), state(LineState::Sent)]);
    assert_eq!(types, [""; 0]);
    assert_eq!(a.get(number(7)).expect("open").text[1].state, Some(LineState::Delivered));
    let (types, _) = feed_to(&mut a, number(7), vec![state(LineState::Failed)]);
    assert_eq!(types, ["undelivered"]);
}

#[test]
fn a_line_that_failed_is_said_again_by_another_channel_as_a_line_of_its_own() {
    let mut a = alerts();
    feed_to(&mut a, number(7), vec![written("有人打架")]);
    let (first, to) = (format!("{}-1", number(7)), Address { channel: "sms".into(), user: "13800138000".into() });
    let (types, _) = feed_to(&mut a, number(7), vec![Fact::Text(TextFact::SentAgain { line: first.clone(), to })]);
    assert_eq!(types, ["message", "say 13800138000 收到 000000070"]);
    let text = &a.get(number(7)).expect("open").text;
    assert_eq!((text[1].state, text[2].state), (Some(LineState::Failed), Some(LineState::Queued)));
    assert_eq!((&text[2].body, &text[2].instead_of, text[2].channel.as_str()), (&text[1].body, &first, "sms"));
}

#[test]
fn a_picture_is_asked_for_and_kept_by_its_hash() {
    let mut a = alerts();
    let picture = Attached {
        kind: Form::Image,
        vendor_id: "media-1".into(),
        uri: String::new(),
        sha256: String::new(),
        lost: String::new(),
    };
    let with_picture = Message { attachments: vec![picture], ..message("", "m2") };
    let (types, _) =
        feed_to(&mut a, number(7), vec![written("看"), Fact::Text(TextFact::Received(Box::new(with_picture)))]);
    assert_eq!(types.last().map(String::as_str), Some("fetch media-1"));
    let fetched = Fact::Text(TextFact::Fetched {
        vendor_id: "media-1".into(),
        uri: "media/x.jpg".into(),
        sha256: "ab".into(),
        kind: "image/jpeg".into(),
        lost: String::new(),
        stored: 9,
    });
    let (types, revisions) = feed_to(&mut a, number(7), vec![fetched]);
    assert_eq!(types, ["fetched"]);
    assert_eq!(
        (revisions[0].media[0].sha256.as_str(), revisions[0].text[2].attachments[0].sha256.as_str()),
        ("ab", "ab")
    );
}

#[test]
fn two_alerts_become_one_and_two_again() {
    let mut a = alerts();
    feed_to(&mut a, number(7), vec![written("有人打架")]);
    feed_to(&mut a, number(8), vec![arrival()]);
    let belongings = Box::new(a.belongings(number(7)).expect("there"));
    assert_eq!(belongings.lines.len(), 2);
    let (types, _) = feed_to(&mut a, number(7), vec![Fact::Join(JoinFact::JoinedTo { other: number(8) })]);
    assert_eq!(types, ["joined", "ended", "released"]);
    let (types, revisions) =
        feed_to(&mut a, number(8), vec![Fact::Join(JoinFact::Absorbed { other: number(7), belongings })]);
    assert_eq!(types, ["joined"]);
    assert_eq!(revisions[0].text.len(), 2);
    assert_eq!(revisions[0].id.related[0].alert_no, number(7).to_string());
    let address = Address { channel: "cmcc".into(), user: "13800138000".into() };
    let theirs = Box::new(a.belongings_of(number(8), &address).expect("they write there"));
    let (types, revisions) =
        feed_to(&mut a, number(8), vec![Fact::Join(JoinFact::SplitOff { other: number(7), address })]);
    assert_eq!(types, ["split"]);
    assert!(revisions[0].id.related.is_empty());
    let split = JoinFact::SplitFrom { other: number(8), belongings: theirs };
    let (types, revisions) = feed_to(&mut a, number(7), vec![Fact::Join(split)]);
    assert_eq!((types, revisions[0].state), (vec!["split".to_owned()], State::Reopened));
    let _: Belongings = a.belongings(number(7)).expect("open again");
}

#[test]
fn a_line_that_got_nowhere_is_no_answer_and_a_broken_promise_when_it_was_the_last() {
    let mut a = alerts();
    let facts = vec![written("有人打架"), replied("好"), Fact::Text(TextFact::ConversationEnded)];
    let (types, _) = feed_to(&mut a, number(7), facts);
    assert_eq!(types[types.len() - 2..], ["say 13800138000 好", "updated"]);
    let line = format!("{}-2", number(7));
    let failed = Fact::Text(TextFact::LineState { line, state: LineState::Failed, why: "down".into() });
    let (types, revisions) = feed_to(&mut a, number(7), vec![failed]);
    assert_eq!(types, ["undelivered", "deadline.breach", "ended", "released"]);
    let last = revisions.last().expect("some");
    assert!(last.call.answer_ms.is_none() && last.timers[0].breach && last.timers[0].met_at.is_none());
}

#[test]
fn a_line_goes_to_whoever_wrote_what_it_answers() {
    let mut a = alerts();
    let other =
        Message { address: Address { channel: "wechat".into(), user: "o2".into() }, ..message("我也在", "m2") };
    feed_to(&mut a, number(7), vec![written("有人打架"), Fact::Text(TextFact::Received(Box::new(other)))]);
    let seat = || SeatInfo { no: "1101".into(), taker_name: "王".into() };
    let say = |answers: Option<&str>| {
        Fact::Text(TextFact::Replied {
            seat: seat(),
            body: "好".into(),
            channel: None,
            answers: answers.map(Into::into),
        })
    };
    let (types, _) = feed_to(&mut a, number(7), vec![say(None), say(Some("m1")), say(Some("no such line"))]);
    let said: Vec<_> = types.iter().filter(|t| t.starts_with("say")).cloned().collect();
    assert_eq!(said, ["say o2 好", "say 13800138000 好", "say o2 好"]);
}

#[test]
fn an_answer_that_comes_too_late_is_told_as_broken_by_whoever_hears_of_it_first() {
    let mut a = alerts();
    let mode = codecs::record::AnswerMode::Seat;
    let late = Fact::Text(TextFact::AnsweredInWriting { mode, after_ms: 7600 });
    let (types, _) = feed_to(&mut a, number(7), vec![written("救命"), replied("好"), late]);
    assert!(types.ends_with(&["answered".to_owned(), "deadline.breach".to_owned()]), "{types:?}");
}

#[test]
fn whoever_is_taken_out_again_before_anybody_spoke_is_owed_an_answer_as_before() {
    for spoken in [false, true] {
        let mut a = alerts();
        let own = |id: &str| {
            let Fact::Arrived(arrival) = arrival() else { panic!("it is one") };
            Fact::Written(arrival, Box::new(message("救命", id)))
        };
        feed_to(&mut a, number(1), vec![own("m1")]);
        feed_to(&mut a, number(2), vec![own("m2")]);
        let belongings = a.belongings(number(1)).expect("there");
        assert!(belongings.writers.iter().all(|(writer, due)| writer.since.is_some() && due.is_some()));
        feed_to(&mut a, number(1), vec![Fact::Join(JoinFact::JoinedTo { other: number(2) })]);
        let absorbed = JoinFact::Absorbed { other: number(1), belongings: Box::new(belongings) };
        feed_to(&mut a, number(2), vec![Fact::Join(absorbed)]);
        if spoken {
            let mode = codecs::record::AnswerMode::Seat;
            let answered = Fact::Text(TextFact::AnsweredInWriting { mode, after_ms: 65 });
            feed_to(&mut a, number(2), vec![replied("好"), answered]);
        }
        let theirs = a.belongings_of(number(2), &message("", "").address).expect("they write there");
        let split = JoinFact::SplitFrom { other: number(2), belongings: Box::new(theirs) };
        feed_to(&mut a, number(1), vec![Fact::Join(split)]);
        a.handle_timeout(Mono(60_000_000_000), Wall(super::tests::T0 + 60_000_000_000));
        let told: Vec<AlertNo> = std::iter::from_fn(|| a.poll_output())
            .filter_map(|o| if let Output::Event(e) = o { AlertNo::parse(&e.subject) } else { None })
            .collect();
        assert_eq!(told.contains(&number(1)), !spoken, "{told:?}");
    }
}

/// Since when the reporter waits, in seconds after the first byte.
fn waits_since(a: &Alerts, no: AlertNo) -> Option<i64> {
    a.standing(no)?.waits_since.map(|since| (since.0.0 - super::tests::T0) / 1_000_000_000)
}

#[test]
fn whoever_has_hung_up_and_writes_waits_from_then_on_and_whoever_waits_goes_on_waiting() {
    use crate::fact::CallFact;
    let no = number(9);
    let at = |seconds: u64| (Mono(seconds * 1_000_000_000), Wall(super::tests::T0 + (seconds * 1_000_000_000) as i64));
    let tell = |a: &mut Alerts, seconds, fact| {
        let (now, wall) = at(seconds);
        a.handle_fact(now, wall, no, fact);
        while a.poll_output().is_some() {}
    };
    let written = |id: &str| Fact::Text(TextFact::Received(Box::new(message("快来", id))));
    for over in [CallFact::Abandoned { attended: false }, CallFact::Unreached] {
        let mut a = alerts();
        tell(&mut a, 0, arrival());
        tell(&mut a, 1, Fact::Call(over));
        assert_eq!(waits_since(&a, no), Some(0));
        tell(&mut a, 100, written("m1"));
        assert_eq!(waits_since(&a, no), Some(100), "their own three seconds");
        tell(&mut a, 102, written("m2"));
        assert!(a.standing(no).is_some_and(|s| !s.is_missed && !s.is_answered));
    }
    // What is due is the new one: a second after it, and not when the first would have been.
    let mut a = alerts();
    tell(&mut a, 0, arrival());
    tell(&mut a, 1, Fact::Call(CallFact::Unreached));
    tell(&mut a, 1, Fact::Call(CallFact::Recorded { media: Vec::new() }));
    tell(&mut a, 2, written("m1"));
    let breaches = |a: &mut Alerts, seconds| {
        let (now, wall) = at(seconds);
        a.handle_timeout(now, wall);
        std::iter::from_fn(|| a.poll_output()).count()
    };
    assert_eq!([4, 5, 6, 7].map(|seconds| breaches(&mut a, seconds)), [0, 0, 1, 0]);
    // Who has been waiting does not wait anew with each word.
    let mut a = alerts();
    let first = message("快来", "m0");
    tell(&mut a, 0, {
        let Fact::Arrived(arrival) = arrival() else { panic!("it is one") };
        Fact::Written(arrival, Box::new(first))
    });
    tell(&mut a, 2, written("m1"));
    tell(&mut a, 50, written("m2"));
    assert_eq!(waits_since(&a, no), Some(0));
}
