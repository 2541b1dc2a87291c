//! Several people in one alert: each is written to as themselves, and leaves with what is theirs.

use codecs::record::{Direction, Form, SeatInfo};

use super::tests::{WALL, again_in, casebook_of, events};
use super::*;
use crate::message::{Body, Incoming, SayRequest};

/// The last two show their users' numbers for certain; what the very last has for its users they fetch.
const CHANNELS: [(&str, bool); 4] = [("wechat", false), ("sms", true), ("kiosk", false), ("app", false)];

fn house() -> Casebook {
    let mut book = casebook_of(&CHANNELS);
    book.config.channels[2].proves_phone = true;
    (book.config.channels[3].proves_phone, book.config.channels[3].is_fetched) = (true, true);
    book
}

pub(super) struct Story {
    pub(super) book: Casebook,
    pub(super) kept: Vec<(Kind, Vec<u8>)>,
    /// Lines that left: to whom, and what.
    pub(super) sent: Vec<(String, String)>,
    pub(super) refused: Vec<Failure>,
    /// The taker writes though silence was asked for.
    pub(super) despite: bool,
    pub(super) second: i64,
    /// Whoever writes asks for silence.
    pub(super) silent: bool,
    /// By how many seconds the clock on the wall was set.
    pub(super) leap: i64,
    /// What else whoever writes shows.
    pub(super) phone: Option<String>,
    pub(super) place: Option<(f64, f64)>,
    /// The messages that lines which left answer.
    pub(super) answered: Vec<String>,
    /// What the desk heard of those who are to be called back.
    pub(super) rung: Vec<String>,
}

impl Story {
    pub(super) fn new() -> Story {
        let (book, kept, sent, refused, rung) = (house(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let answered = Vec::new();
        Story {
            book,
            kept,
            sent,
            answered,
            refused,
            rung,
            despite: false,
            second: 0,
            silent: false,
            leap: 0,
            phone: None,
            place: None,
        }
    }

    pub(super) fn wall(&self) -> Wall {
        Wall(WALL.0 + (self.second + self.leap) * 1_000_000_000)
    }

    pub(super) fn tell(&mut self, message: ToCasebook) {
        self.book.handle(Mono(self.second as u64 * 1_000_000_000), message);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.book.poll_output() {
            match output {
                Output::Append { event, .. } => self.kept.push((Kind::Event, event.to_json())),
                Output::Frame { kind, payload, .. } => self.kept.push((kind, payload)),
                Output::Outbound(line) => {
                    self.answered.push(line.reply_to);
                    self.sent.push((line.to.user, line.body));
                }
                Output::Reply(reply) => self.refused.extend(reply.result.err()),
                Output::Withdraw { line, .. } => {
                    self.rung.push(format!("withdraw {}", line.get(30..).unwrap_or(&line)));
                }
                Output::Desk(ToDesk::CallBack(c)) => self.rung.push(format!("{} {}", end(c.no), where_is(&c.place))),
                Output::Desk(ToDesk::Moved { no, place }) => {
                    self.rung.push(format!("{} {}", end(no), where_is(&place)));
                }
                Output::Desk(ToDesk::Silence { no }) => self.rung.push(format!("{} silent", end(no))),
                _ => {}
            }
        }
    }

    pub(super) fn durable(&mut self) {
        self.book.handle_durable(1 << 40);
        self.drain();
    }

    /// Somebody writes; the alert that it belongs to.
    pub(super) fn writes(&mut self, channel: &str, user: &str, text: &str) -> AlertNo {
        self.second += 1;
        let from = Address { channel: channel.into(), user: user.into() };
        let message = Incoming {
            message_id: format!("{text}-id"),
            session: None,
            to: "110".into(),
            body: Body::Text(text.into()),
            forms: vec![Form::Text],
            attachments: Vec::new(),
            location: self.place.map(|(lon, lat)| codecs::chat::SharedLocation {
                point: codecs::geo::Point { lon, lat },
                datum: codecs::geo::Datum::Wgs84,
                label: String::new(),
            }),
            phone: self.phone.clone(),
            silent: self.silent,
            is_ping: false,
            case: None,
            from,
        };
        let (at, request) = (self.wall(), RequestId::default());
        self.tell(ToCasebook::Incoming { at, message: Box::new(message), request });
        let told = events(&self.kept);
        let has = |e: &&CloudEvent| e.data.text.iter().any(|l| l.body == text && l.user == user);
        AlertNo::parse(&told.iter().rfind(has).expect("it is on record").subject).expect("a number")
    }

    pub(super) fn join(&mut self, from: AlertNo, to: AlertNo) {
        self.second += 1;
        let (at, request) = (self.wall(), RequestId(7));
        self.tell(ToCasebook::Join { at, from, to, request });
    }

    pub(super) fn split(&mut self, no: AlertNo, channel: &str, user: &str) {
        self.second += 1;
        let sender = Address { channel: channel.into(), user: user.into() };
        let (at, request) = (self.wall(), RequestId(8));
        self.tell(ToCasebook::Split { at, no, sender, request });
    }

    pub(super) fn given(&mut self, alert: AlertNo) {
        let seat = SeatInfo { no: "1101".into(), taker_name: String::new() };
        self.tell(ToCasebook::ConversationGiven { at: self.wall(), alert, seat, overflow: false });
    }

    pub(super) fn says(&mut self, no: AlertNo, body: &str, answers: &str) {
        self.second += 1;
        let line = SayRequest {
            at: self.wall(),
            no,
            seat: "1101".into(),
            body: body.into(),
            channel: None,
            answers: Some(format!("{answers}-id")),
            done: false,
            despite_silence: self.despite,
            request: RequestId(9),
        };
        self.tell(ToCasebook::Say(Box::new(line)));
    }

    /// Its taker puts the alert down.
    pub(super) fn done(&mut self, no: AlertNo) {
        let (at, seat, request) = (self.wall(), "1101".to_owned(), RequestId(10));
        self.tell(ToCasebook::Done { at, no, seat, request });
    }

    pub(super) fn fact(&mut self, no: AlertNo, fact: casework::Fact) {
        self.tell(ToCasebook::Fact { no, at: self.wall(), fact, request: RequestId::default() });
    }

    /// A taker answers what `answers` names, and the channel takes their line.
    pub(super) fn answers(&mut self, no: AlertNo, answers: &str) {
        self.given(no);
        self.says(no, "we are here", answers);
        let line = self.record(no).text.iter().rfind(|l| l.by == "seat").expect("a line").message_id.clone();
        self.durable();
        self.tell(ToCasebook::LineState { at: self.wall(), line, state: LineState::Sent, why: String::new() });
    }

    /// How often a promise of each was told as broken, when so many milliseconds have passed.
    pub(super) fn broken(&mut self, ms: u64, of: &[AlertNo]) -> Vec<usize> {
        self.book.handle_timeout(Mono(ms * 1_000_000), self.wall());
        self.drain();
        let all = events(&self.kept);
        let told = |no: &AlertNo| all.iter().filter(|e| e.deadline.is_some() && e.subject == no.to_string()).count();
        of.iter().map(told).collect()
    }

    /// Who writes on an alert.
    pub(super) fn writers(&self, no: AlertNo) -> Vec<&str> {
        self.record(no).reporter.channels.iter().map(|w| w.user.as_str()).collect()
    }

    /// Somebody calls, and it rings.
    pub(super) fn calls(&mut self, no: AlertNo, phone: &str) {
        self.second += 1;
        let arrival = casework::Arrival {
            channel: Channel::Voice110,
            caller: phone.into(),
            called: "110".into(),
            trunk: "t".into(),
            message_id: no.to_string(),
            subscriber: None,
            location: None,
            jurisdiction: vec!["370400000000".into()],
            owner: "370400000000".into(),
            marks: Vec::new(),
            follows: None,
        };
        self.fact(no, casework::Fact::Arrived(Box::new(arrival)));
    }

    pub(super) fn hangs_up(&mut self, no: AlertNo) {
        self.fact(no, casework::Fact::Call(casework::CallFact::Abandoned { attended: false }));
        self.fact(no, casework::Fact::Call(casework::CallFact::Ended));
    }

    /// Somebody calls and hangs up before anybody was there.
    pub(super) fn calls_and_hangs_up(&mut self, no: AlertNo, phone: &str) {
        self.calls(no, phone);
        self.hangs_up(no);
    }

    pub(super) fn restart(&mut self) {
        self.book = again_in(house(), &self.kept);
        // As the thread does: what was up when the process died is over.
        let up = self.book.open().filter(|(_, record)| casework::is_call_unfinished(record)).map(|(no, _)| *no);
        for no in up.collect::<Vec<_>>() {
            self.fact(no, casework::Fact::Call(casework::CallFact::Interrupted));
        }
        self.sent.clear();
        self.drain();
        self.durable();
    }

    pub(super) fn record(&self, no: AlertNo) -> &AlertRecord {
        self.book.record(no).expect("it is within reach")
    }

    /// What this person said, as a record has it.
    pub(super) fn words(&self, no: AlertNo) -> Vec<(&str, &str)> {
        let lines = self.record(no).text.iter().filter(|l| l.dir == Some(Direction::In));
        lines.map(|l| (l.user.as_str(), l.body.as_str())).collect()
    }
}

fn end(no: AlertNo) -> u32 {
    no.serial()
}

fn where_is(place: &Place) -> String {
    place.point.map_or("nowhere".into(), |p| format!("{:.1}", p.lon))
}

pub(super) fn number(serial: u32) -> AlertNo {
    AlertNo::mint("370400000000", 20_261_122, 1, serial)
}

#[test]
fn alerts_that_are_joined_to_and_fro_are_one_and_are_walked_once() {
    let mut s = Story::new();
    let [a, b, c] = ["alice", "bob", "carol"].map(|user| s.writes("wechat", user, user));
    s.join(a, b);
    s.join(b, c);
    s.join(c, a);
    assert_eq!(s.refused.len(), 1, "it goes on as the very one that is joined: {:?}", s.refused);
    s.join(a, b);
    assert_eq!(s.refused.len(), 2, "what goes on as another is joined to nobody else: {:?}", s.refused);
    s.split(c, "wechat", "alice");
    s.join(a, b);
    assert_eq!(s.words(c).len(), 3, "and not as an alert that is over");
    // A line that stands in none of them is looked for everywhere, and for no longer.
    let line = format!("{a}-77");
    s.tell(ToCasebook::LineState { at: s.wall(), line, state: LineState::Failed, why: String::new() });
    s.restart();
    assert_eq!(s.writes("wechat", "alice", "still there"), c);
}

#[test]
fn a_line_goes_to_whom_it_was_written_to_and_to_nobody_else_over_a_start_too() {
    let mut s = Story::new();
    let bob = s.writes("wechat", "bob", "bob says");
    let alice = s.writes("wechat", "alice", "alice says");
    s.join(alice, bob);
    s.given(bob);
    s.writes("wechat", "bob", "bob again");
    s.durable();
    s.says(bob, "for alice alone", "alice says");
    s.restart();
    assert_eq!(s.sent, [("alice".to_owned(), "for alice alone".to_owned())]);
    // It does not reach her: nobody else is asked to hand it on.
    let name = s.record(bob).text.last().expect("a line").message_id.clone();
    s.sent.clear();
    s.tell(ToCasebook::LineState { at: s.wall(), line: name, state: LineState::Failed, why: "gone".into() });
    s.durable();
    assert_eq!(s.sent, Vec::new());
    assert!(s.record(bob).marks.iter().any(|m| m == "undelivered"));
}

#[test]
fn a_line_that_answers_somebody_who_was_taken_out_goes_to_nobody() {
    let mut s = Story::new();
    let bob = s.writes("wechat", "bob", "bob says");
    let alice = s.writes("wechat", "alice", "alice says");
    s.join(alice, bob);
    s.given(bob);
    s.split(bob, "wechat", "alice");
    s.durable();
    s.sent.clear();
    s.says(bob, "for alice alone", "alice says");
    s.durable();
    assert_eq!((s.sent.len(), s.refused.len()), (0, 1), "{:?} {:?}", s.sent, s.refused);
}

#[test]
fn whoever_is_taken_out_of_their_own_alert_leaves_with_their_own_words() {
    let mut s = Story::new();
    let bob = s.writes("wechat", "bob", "bob's secret");
    let alice = s.writes("wechat", "alice", "alice says");
    s.join(bob, alice);
    s.split(alice, "wechat", "alice");
    let hers = s.writes("wechat", "alice", "alice again");
    assert_ne!(hers, alice);
    assert_eq!(s.words(hers), [("alice", "alice says"), ("alice", "alice again")]);
    assert_eq!(s.record(hers).incident.text, "alice says");
}

#[test]
fn whoever_was_taken_out_writes_and_calls_alone_over_a_start_too() {
    let mut s = Story::new();
    let bob = s.writes("wechat", "bob", "bob says");
    let alice = s.writes("sms", "13800000001", "alice says");
    s.join(alice, bob);
    s.restart();
    s.split(bob, "sms", "13800000001");
    assert_eq!(s.writes("sms", "13800000001", "alice again"), alice, "her own, and no new one");
    s.restart();
    assert_eq!(s.writes("sms", "13800000001", "and again"), alice);
    assert_eq!(s.writes("wechat", "bob", "bob again"), bob);
    assert_eq!(s.book.call_arrives(AlertNo::mint("370400000000", 20_261_122, 1, 99), "13800000001"), Some(alice));
}

#[test]
fn a_clock_that_is_set_between_a_join_and_a_split_breaks_no_promise_and_puts_none_off() {
    for leap in [3600, -3600] {
        let mut s = Story::new();
        let bob = s.writes("wechat", "bob", "bob says");
        let alice = s.writes("wechat", "alice", "alice says");
        s.join(alice, bob);
        s.leap = leap;
        s.split(bob, "wechat", "alice");
        let breaches = |s: &Story| {
            let told = events(&s.kept);
            let of = |no: AlertNo| told.iter().filter(|e| e.deadline.is_some() && e.subject == no.to_string()).count();
            (of(bob), of(alice))
        };
        assert_eq!((breaches(&s), s.second), ((0, 0), 4), "two seconds after she came");
        // She came in the second second: three later it is told.
        s.second = 5;
        s.book.handle_timeout(Mono(5_100_000_000), s.wall());
        s.drain();
        assert_eq!(breaches(&s).1, 1, "{leap}");
    }
}

#[test]
fn each_waits_since_they_came_through_a_join_and_a_split_and_a_clock_that_is_set() {
    for leap in [0, 3600, -3600] {
        let mut s = Story::new();
        let bob = s.writes("wechat", "bob", "bob says");
        s.second = 2;
        let alice = s.writes("wechat", "alice", "alice says");
        s.leap = leap;
        s.second = 2;
        s.join(bob, alice);
        // Bob, who came first, leaves in the fourth second: each has what is left of their own three.
        s.second = 3;
        s.split(alice, "wechat", "bob");
        let told = |s: &mut Story, ms: u64| {
            s.book.handle_timeout(Mono(ms * 1_000_000), s.wall());
            s.drain();
            let all = events(&s.kept);
            [bob, alice].map(|no| all.iter().filter(|e| e.deadline.is_some() && e.subject == no.to_string()).count())
        };
        assert_eq!(told(&mut s, 4_100), [1, 0], "{leap}");
        assert_eq!(told(&mut s, 5_900), [1, 0], "{leap}");
        assert_eq!(told(&mut s, 6_100), [1, 1], "{leap}");
    }
}

#[test]
fn whoever_leaves_with_an_alert_of_their_own_waits_since_they_came_and_takes_all_they_said_along() {
    let mut s = Story::new();
    let alice = s.writes("wechat", "alice", "alice says");
    s.writes("wechat", "alice", "and says");
    let bob = s.writes("wechat", "bob", "bob says");
    s.join(bob, alice);
    s.second = 3;
    s.split(alice, "wechat", "alice");
    let told = events(&s.kept);
    let hers = told.iter().rfind(|e| e.data.reporter.channels.iter().any(|w| w.user == "alice")).expect("hers");
    let hers = AlertNo::parse(&hers.subject).expect("a number");
    assert_eq!(s.words(hers), [("alice", "alice says"), ("alice", "and says")]);
    s.book.handle_timeout(Mono(4_100_000_000), s.wall());
    s.drain();
    let broken = events(&s.kept).iter().filter(|e| e.deadline.is_some()).map(|e| e.subject.clone()).collect::<Vec<_>>();
    assert_eq!(broken, [hers.to_string()], "hers, since she came, and not that of whoever is left");
    // Nobody is taken out of what is theirs alone.
    s.split(hers, "wechat", "alice");
    assert_eq!(s.refused.len(), 1, "{:?}", s.refused);
}

#[test]
fn silence_and_place_follow_whoever_is_called_back_for_another_alert_of_theirs() {
    for restart in [false, true] {
        let mut s = Story::new();
        let (first, second) = (number(1), number(2));
        s.calls_and_hangs_up(first, "13800000001");
        s.calls_and_hangs_up(second, "13800000001");
        s.tell(ToCasebook::CallBackDropped { at: s.wall(), no: second, joined: Some(first) });
        if restart {
            s.restart();
        }
        s.rung.clear();
        s.place = Some((117.3, 34.8));
        assert_eq!(s.writes("sms", "13800000001", "here"), first, "the one that is called back");
        assert!(s.rung.contains(&"1 117.3".to_owned()), "{:?}", s.rung);
        s.silent = true;
        s.writes("sms", "13800000001", "hush");
        assert!(s.rung.contains(&"1 silent".to_owned()), "{:?}", s.rung);
    }
}

#[test]
fn silence_and_place_reach_the_call_of_an_alert_that_was_joined_and_leave_it_with_whoever_brought_them() {
    let mut s = Story::new();
    let call = number(1);
    s.calls_and_hangs_up(call, "13800000001");
    s.place = Some((118.4, 34.8));
    let bob = s.writes("wechat", "bob", "bob says");
    s.place = None;
    s.join(call, bob);
    assert!(s.rung.contains(&"1 118.4".to_owned()), "{:?}", s.rung);
    s.place = Some((117.3, 34.8));
    assert_eq!(s.writes("sms", "13800000001", "here"), bob);
    assert_eq!(s.rung.last().map(String::as_str), Some("1 117.3"));
    // She is taken out: what is hers goes with her, to her call.
    s.place = None;
    s.rung.clear();
    s.split(bob, "sms", "13800000001");
    let hers = s.writes("sms", "13800000001", "again");
    assert_eq!(hers, call, "whoever leaves has their call again");
    assert_eq!(s.book.call_arrives(number(77), "13800000001"), Some(hers));
    s.silent = true;
    s.writes("wechat", "bob", "hush");
    assert!(!s.rung.contains(&"1 silent".to_owned()), "his silence is none of her call's: {:?}", s.rung);
    s.writes("sms", "13800000001", "hush");
    assert!(s.rung.contains(&"1 silent".to_owned()), "{:?}", s.rung);
}

#[test]
fn whoever_asks_for_silence_after_a_join_has_it_after_the_split_over_starts_too() {
    for restart in [false, true] {
        let mut s = Story::new();
        let bob = s.writes("wechat", "bob", "bob says");
        let alice = s.writes("wechat", "alice", "alice says");
        s.join(alice, bob);
        s.silent = true;
        s.writes("wechat", "alice", "hush");
        if restart {
            s.restart();
        }
        s.split(bob, "wechat", "alice");
        let silent = [alice, bob].map(|no| s.record(no).reporter.safety.silent);
        assert_eq!(silent, [true, false]);
        assert_eq!(s.words(alice), [("alice", "alice says"), ("alice", "hush")]);
    }
}

#[test]
fn a_number_that_a_terminal_shows_goes_where_its_owner_goes_over_starts_too() {
    for own in [false, true] {
        let mut s = Story::new();
        s.phone = Some("13900000009".into());
        let at_kiosk = s.writes("kiosk", "k1", "at the terminal");
        s.phone = None;
        let bob = s.writes("wechat", "bob", "bob says");
        let (from, to) = if own { (bob, at_kiosk) } else { (at_kiosk, bob) };
        s.join(from, to);
        s.restart();
        s.split(to, "kiosk", "k1");
        s.restart();
        s.phone = Some("13900000009".into());
        let theirs = s.writes("kiosk", "k1", "again");
        assert_ne!(theirs, to, "{own}");
        assert_eq!(s.record(theirs).reporter.phone, "13900000009");
        assert_eq!(s.book.call_arrives(number(77), "13900000009"), Some(theirs));
    }
}

#[test]
fn as_many_people_as_may_are_in_one_alert_and_whoever_comes_then_is_not_lost() {
    let mut s = Story::new();
    let all = s.writes("wechat", "u0", "u0");
    for n in 1..70 {
        let user = format!("u{n}");
        let theirs = s.writes("wechat", &user, &user);
        s.join(theirs, all);
    }
    assert_eq!((s.record(all).reporter.channels.len(), s.refused.len()), (64, 6));
    // All of them are written to, and heard, where they are.
    assert_eq!(s.writes("wechat", "u63", "still here"), all);
    assert_ne!(s.writes("wechat", "u64", "not there"), all);
    s.restart();
    assert_eq!(s.writes("wechat", "u62", "here too"), all);
}

#[test]
fn what_was_said_to_somebody_who_left_answers_nobody_who_is_left_at_a_start() {
    let mut s = Story::new();
    let bob = s.writes("wechat", "bob", "bob says");
    let alice = s.writes("wechat", "alice", "alice says");
    s.join(alice, bob);
    s.given(bob);
    s.says(bob, "for alice alone", "alice says");
    let line = s.record(bob).text.last().expect("a line").message_id.clone();
    s.split(bob, "wechat", "alice");
    s.tell(ToCasebook::LineState { at: s.wall(), line, state: LineState::Sent, why: String::new() });
    s.restart();
    assert!(s.record(bob).call.t.answer.is_none());
}

#[test]
fn silence_ends_with_whoever_asked_for_it_and_stays_with_them() {
    let mut s = Story::new();
    let bob = s.writes("wechat", "bob", "bob says");
    s.silent = true;
    let alice = s.writes("wechat", "alice", "alice whispers");
    s.silent = false;
    s.join(alice, bob);
    assert!(s.record(bob).reporter.safety.silent);
    s.restart();
    s.split(bob, "wechat", "alice");
    assert!(!s.record(bob).reporter.safety.silent && s.record(alice).reporter.safety.silent);
    // Bob is taken out of what he began, by a join the other way round: his new alert is his, and not silent.
    s.join(bob, alice);
    s.split(alice, "wechat", "alice");
    let hers = s.writes("wechat", "alice", "alice again");
    let silent = [hers, alice].map(|no| s.record(no).reporter.safety.silent);
    assert_eq!((silent, hers == alice), ([true, false], false), "{:?}", s.record(hers).reporter);
}

#[test]
fn what_two_people_name_alike_is_not_the_same_message() {
    let mut s = Story::new();
    let bob = s.writes("wechat", "bob", "m1");
    let alice = s.writes("wechat", "alice", "m1");
    assert_ne!(bob, alice);
    assert_eq!(s.words(alice), [("alice", "m1")]);
    // Nor in one alert: both stand in it, and nothing goes to the one for the other.
    s.join(alice, bob);
    assert_eq!(s.words(bob), [("bob", "m1"), ("alice", "m1")]);
    s.given(bob);
    s.durable();
    s.sent.clear();
    s.says(bob, "whose?", "m1");
    s.durable();
    assert_eq!((s.sent.len(), s.refused.len()), (0, 1), "{:?}", s.sent);
}
