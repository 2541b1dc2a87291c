//! Officers by short message: what they are told, what their digits do, and what stays a report.

use codecs::record::{Assessment, Channel, HandlingStep, Hazards, Role, TryResult};

use super::tests::{WALL, again_in, casebook_with, events};
use super::*;
use crate::message::{Body, Incoming};

const OFFICER: &str = "13700002001";

struct Story {
    book: Casebook,
    kept: Vec<(Kind, Vec<u8>)>,
    sent: Vec<(String, String)>,
    withdrawn: Vec<String>,
    second: i64,
    names: u32,
}

fn orders() -> Orders {
    let phones = [("2001", OFFICER), ("2002", "13700002002"), ("2003", "13700002003"), ("2004", "13700002003")];
    let results = [("10", "到场处置完毕"), ("30", "误报")].map(|(code, name)| (code.to_owned(), name.to_owned()));
    Orders::new("sms".into(), phones.map(|(no, phone)| (no.to_owned(), phone.to_owned())), results.into())
}

fn house() -> Casebook {
    let danger = casework::Keyword { word: "杀人".into(), level: 1, ..Default::default() };
    let keywords = KeywordTable::new(vec![danger], &casework::Sounds::default()).expect("builds");
    let mut book = casebook_with(&[("sms", true), ("wechat", false)], keywords);
    book.config.orders = Some(Arc::new(orders()));
    book
}

impl Story {
    fn new() -> Story {
        Story { book: house(), kept: Vec::new(), sent: Vec::new(), withdrawn: Vec::new(), second: 0, names: 0 }
    }

    fn tell(&mut self, message: ToCasebook) {
        self.book.handle(Mono(self.second as u64 * 1_000_000_000), message);
        self.drain();
        self.book.handle_durable(1 << 40);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.book.poll_output() {
            match output {
                Output::Append { event, .. } => self.kept.push((Kind::Event, event.to_json())),
                Output::Frame { kind, payload, .. } => self.kept.push((kind, payload)),
                Output::Outbound(line) => self.sent.push((line.to.user, line.body)),
                Output::Withdraw { line, .. } => self.withdrawn.push(line),
                _ => {}
            }
        }
    }

    fn at(&self) -> Wall {
        Wall(WALL.0 + self.second * 1_000_000_000)
    }

    fn fact(&mut self, no: AlertNo, fact: casework::Fact) {
        self.second += 1;
        let (at, request) = (self.at(), RequestId::default());
        self.tell(ToCasebook::Fact { no, at, fact, request });
    }

    /// A call that this officer takes.
    fn called(&mut self, serial: u32, officer: &str) -> AlertNo {
        let no = AlertNo::mint("370400000000", 20_261_122, 1, serial);
        let arrival = casework::Arrival {
            channel: Channel::Voice110,
            caller: "13800138000".into(),
            called: "110".into(),
            trunk: "t".into(),
            message_id: format!("c{serial}"),
            subscriber: None,
            location: None,
            jurisdiction: vec!["370400000000".into()],
            owner: "370400000000".into(),
            marks: vec![],
            follows: None,
        };
        self.fact(no, casework::Fact::Arrived(Box::new(arrival)));
        let said = Assessment {
            text: Some("有人持刀\n在\t楼下".into()),
            hazards: Some(Hazards { weapons: Some(true), ..Hazards::default() }),
            ..Assessment::default()
        };
        self.fact(no, casework::Fact::Incident(casework::IncidentFact::Triaged(Box::new(said))));
        self.takes(no, 2, officer, TryResult::Answered);
        no
    }

    fn takes(&mut self, no: AlertNo, leg: u32, officer: &str, result: TryResult) {
        let (unit, reason, role) = ("U".to_owned(), String::new(), Role::Officer);
        let tried = DispatchFact::Tried { leg, unit, officer: officer.into(), role, reason };
        self.fact(no, casework::Fact::Dispatch(tried));
        self.fact(no, casework::Fact::Dispatch(DispatchFact::TryEnded { leg, officer: officer.into(), result }));
    }

    /// Somebody writes; what is written back to them.
    fn writes(&mut self, channel: &str, user: &str, text: &str) -> Vec<String> {
        self.names += 1;
        self.writes_as(channel, user, text, &format!("m{}", self.names))
    }

    fn writes_as(&mut self, channel: &str, user: &str, text: &str, name: &str) -> Vec<String> {
        self.second += 1;
        let message = Incoming {
            from: Address { channel: channel.into(), user: user.into() },
            message_id: name.into(),
            session: None,
            to: "12110".into(),
            body: Body::Text(text.into()),
            forms: Vec::new(),
            attachments: Vec::new(),
            location: None,
            phone: None,
            silent: false,
            is_ping: false,
            case: None,
        };
        self.sent.clear();
        let (at, request) = (self.at(), RequestId::default());
        self.tell(ToCasebook::Incoming { at, message: Box::new(message), request });
        self.sent.iter().filter(|(to, _)| to == user).map(|(_, body)| body.clone()).collect()
    }

    fn steps(&self, no: AlertNo) -> Vec<(String, HandlingStep, String, String)> {
        let last = events(&self.kept).into_iter().rfind(|e| e.subject == no.as_str()).expect("on record");
        let of = |h: &codecs::record::Handling| (h.by.clone(), h.step, h.result_code.clone(), h.text.clone());
        last.data.handling.iter().map(of).collect()
    }

    fn alerts(&self) -> usize {
        events(&self.kept).iter().map(|e| e.subject.clone()).collect::<std::collections::BTreeSet<_>>().len()
    }
}

#[test]
fn whoever_takes_the_call_has_the_order_in_writing_what_endangers_them_first_and_once() {
    let mut s = Story::new();
    let no = s.called(1, "2001");
    let expected = format!(
        "【110 指令】{} 危险:凶器 有人持刀 在 楼下 回复:1接受 2已联系 3出发 4到达 5处置完毕 6反馈",
        &no.as_str()[21..]
    );
    assert_eq!(s.sent, [(OFFICER.to_owned(), expected)]);
    s.sent.clear();
    s.takes(no, 3, "2001", TryResult::Answered);
    s.takes(no, 4, "2002", TryResult::NoAnswer);
    // A telephone that two officers have is nobody's, and 2009 has none.
    s.takes(no, 5, "2003", TryResult::Answered);
    s.takes(no, 6, "2009", TryResult::Answered);
    assert_eq!(s.sent, []);
}

#[test]
fn a_digit_is_a_step_of_the_officer_s_own_and_is_answered_and_a_wrong_code_is_told_what_there_is() {
    let mut s = Story::new();
    let no = s.called(1, "2001");
    assert_eq!(s.writes("sms", OFFICER, "1"), [format!("已记录:接受 …{}", &no.as_str()[21..])]);
    assert!(s.writes("sms", OFFICER, "＋86").is_empty() || s.alerts() == 2);
    s.writes("sms", &format!("+86{OFFICER}"), "４，已到现场");
    let wrong = s.writes("sms", OFFICER, "6 99 完了");
    assert!(wrong[0].starts_with("未能记录") && wrong[0].contains("10到场处置完毕"), "{wrong:?}");
    s.writes("sms", OFFICER, "6 10 已调解");
    let by = || "officer:2001".to_owned();
    let wanted = [
        (by(), HandlingStep::Accepted, String::new(), String::new()),
        (by(), HandlingStep::Arrived, String::new(), "已到现场".to_owned()),
        (by(), HandlingStep::FedBack, "10".to_owned(), "已调解".to_owned()),
    ];
    assert_eq!(s.steps(no), wanted);
}

#[test]
fn what_is_no_step_is_a_report_as_anybody_s() {
    let mut s = Story::new();
    let no = s.called(1, "2001");
    // A citizen's digit, an officer's words, a number that begins with a digit, another channel, a digit of nobody who
    // was called to anything.
    let others = [
        ("sms", "13800000009", "1"),
        ("sms", OFFICER, "救命"),
        ("sms", OFFICER, "110"),
        ("sms", OFFICER, "3楼着火"),
        ("sms", OFFICER, "7"),
        ("sms", OFFICER, "1. 有人杀人 快来"),
        ("wechat", OFFICER, "1"),
        ("sms", "13700002002", "1"),
    ];
    for (channel, user, text) in others {
        let before = events(&s.kept).len();
        s.writes(channel, user, text);
        let told = events(&s.kept).split_off(before);
        assert!(told.iter().any(|e| e.data.text.iter().any(|l| l.body == text)), "{channel} {user} {text}");
    }
    assert_eq!(s.steps(no), []);
    // A day later nobody means that alert.
    s.second += 25 * 3600;
    s.writes("sms", OFFICER, "1");
    assert_eq!(s.steps(no), []);
}

#[test]
fn a_step_is_of_the_alert_that_they_took_last_and_one_that_is_delivered_again_after_a_start_is_known() {
    let mut s = Story::new();
    let first = s.called(1, "2001");
    s.second += 600;
    let second = s.called(2, "2001");
    s.writes_as("sms", OFFICER, "3", "m-3");
    assert_eq!((s.steps(first).len(), s.steps(second).len()), (0, 1));
    s.writes_as("sms", OFFICER, "3", "m-3");
    assert_eq!(s.steps(second).len(), 1);
    s.book = again_in(house(), &s.kept);
    s.drain();
    s.writes_as("sms", OFFICER, "3", "m-3");
    assert_eq!(s.steps(second).len(), 1, "delivered again");
    s.writes("sms", OFFICER, "4");
    assert_eq!(s.steps(second).len(), 2);
}

#[test]
fn words_that_no_step_takes_are_heard_as_anybody_s_report() {
    let mut s = Story::new();
    let no = s.called(1, "2001");
    let is_heard = |s: &Story, text: &str| {
        let told = events(&s.kept);
        told.iter().any(|e| e.subject != no.as_str() && e.data.text.iter().any(|l| l.body == text))
    };
    // No code of a result; then more words than a step holds.
    let wrong = "6 嫌疑人跑了,我腿断了,在东门河边";
    let told = s.writes("sms", OFFICER, wrong);
    assert!(told.iter().any(|t| t.contains("已转接警员")) && is_heard(&s, wrong), "{told:?}");
    let long = format!("4 {}", "到现场了".repeat(300));
    s.writes("sms", OFFICER, &long);
    assert!(is_heard(&s, &long) && s.steps(no).iter().any(|(_, step, ..)| *step == HandlingStep::Arrived));
    // Their unit is complained of: no step of theirs is taken, and no word lost.
    let said = Box::new(Assessment { complaint_of: Some("U".into()), ..Assessment::default() });
    let (at, place, request) = (s.at(), None, RequestId::default());
    s.tell(ToCasebook::Triage { at, no, said, place, request });
    s.writes("sms", OFFICER, "4 我受伤了,请求支援");
    assert!(is_heard(&s, "4 我受伤了,请求支援"));
    s.writes("sms", OFFICER, "6 🆘");
    assert!(is_heard(&s, "6 🆘"));
    // A wrong code alone is told, and is no report.
    let before = s.alerts();
    s.writes("sms", OFFICER, "6 99");
    assert_eq!(s.alerts(), before);
}

#[test]
fn an_order_that_is_on_its_way_goes_no_more_to_a_unit_that_is_complained_of_over_a_start_either() {
    let mut s = Story::new();
    let no = s.called(1, "2001");
    assert_eq!(s.sent.len(), 1, "it has left, and nobody has said that it arrived");
    let said = Box::new(Assessment { complaint_of: Some("U".into()), ..Assessment::default() });
    let (at, place, request) = (s.at(), None, RequestId::default());
    s.tell(ToCasebook::Triage { at, no, said, place, request });
    assert_eq!(s.withdrawn, [format!("out-{no}-2001")]);
    s.sent.clear();
    s.book = again_in(house(), &s.kept);
    s.drain();
    s.book.handle_durable(1 << 40);
    s.drain();
    assert_eq!(s.sent, []);
}
