use codecs::chat::app::LineKind;
use serde_json::{Value, json};

use super::*;

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

fn at(ms: u64) -> Mono {
    Mono(1_000_000_000) + Duration::from_millis(ms)
}

/// Sessions, and what came out of them, as lines.
struct Story {
    sessions: Sessions,
    tickets: Vec<Ticket>,
    ids: u64,
}

impl Story {
    fn new() -> Story {
        Story::with(Config::default())
    }

    fn with(config: Config) -> Story {
        Story { sessions: Sessions::new(config), tickets: Vec::new(), ids: 0 }
    }

    /// Everything that came out since, shortly.
    fn out(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(output) = self.sessions.poll_output() {
            lines.push(match output {
                Output::Send { conn, frame } => {
                    let frame: Value = serde_json::from_str(&frame).expect("JSON");
                    let mut line = format!("{}< {}", conn.0, frame["t"].as_str().expect("a type"));
                    for key in ["seq", "ack", "re", "id"] {
                        match &frame[key] {
                            Value::Null => {}
                            value => line += &format!(" {key}={}", value.to_string().trim_matches('"')),
                        }
                    }
                    for key in ["sid", "resumed", "last_seq", "code", "text", "report_id"] {
                        match &frame["d"][key] {
                            Value::Null => {}
                            value => line += &format!(" {key}={}", value.to_string().trim_matches('"')),
                        }
                    }
                    line
                }
                Output::Close { conn, why } => format!("{}< close {}", conn.0, why.code()),
                Output::Report { ticket, user, id, report, .. } => {
                    self.tickets.push(ticket);
                    format!("{user} reports {id}: {}", report.text)
                }
                Output::Position { user, location } => format!("{user} is at {:?}", location.point),
                Output::Line { name, fate } => format!("{name} {fate:?}"),
            });
        }
        lines
    }

    fn open(&mut self, ms: u64, conn: ConnId, user: &str) {
        self.ids += 1;
        self.sessions.handle_open(at(ms), conn, user.to_owned(), format!("s{}", self.ids));
    }

    fn hears(&mut self, ms: u64, conn: ConnId, frame: &Value) -> Vec<String> {
        self.sessions.handle_frame(at(ms), conn, &frame.to_string());
        self.out()
    }

    fn hello(&mut self, ms: u64, conn: ConnId, user: &str, resume: Option<(&str, u64)>) -> Vec<String> {
        self.open(ms, conn, user);
        let resume = resume.map(|(sid, last_seq)| json!({"sid": sid, "last_seq": last_seq}));
        self.hears(ms, conn, &json!({"v": 1, "t": "hello", "d": {"resume": resume}}))
    }

    fn stored(&mut self, nth: usize, stored: Stored) -> Vec<String> {
        self.sessions.handle_stored(self.tickets[nth], &stored);
        self.out()
    }

    fn line(&mut self, ms: u64, user: &str, name: &str) -> Vec<String> {
        let line = Line {
            name: name.into(),
            alert_no: "7".into(),
            text: format!("says {name}"),
            kind: LineKind::Message,
            reached_by: None,
        };
        self.sessions.handle_line(at(ms), user, line);
        self.out()
    }

    fn passes(&mut self, ms: u64) -> Vec<String> {
        self.sessions.handle_timeout(at(ms));
        self.out()
    }
}

fn report(id: &str, seq: u64, begins: bool) -> Value {
    let t = if begins { "report.create" } else { "chat.msg" };
    json!({"v": 1, "t": t, "id": id, "seq": seq, "d": {"text": format!("words {id}")}})
}

fn kept(no: &str) -> Stored {
    Stored::Kept(Some(no.to_owned()))
}

#[test]
fn a_report_is_acknowledged_when_it_is_durable_and_named_by_its_alert() {
    let mut s = Story::new();
    assert_eq!(s.hello(0, A, "ann", None), ["1< welcome ack=0 sid=s1 resumed=false last_seq=0"]);
    assert_eq!(s.hears(10, A, &report("a", 1, true)), ["ann reports a: words a"]);
    assert_eq!(s.hears(11, A, &report("b", 2, false)), ["ann reports b: words b"]);
    assert!(
        s.stored(1, kept("7")).ends_with(&["1< ack ack=0 re=b".to_owned()]),
        "the one before it is not durable yet"
    );
    assert_eq!(s.stored(0, kept("7")), ["1< report.created seq=1 ack=2 re=a report_id=7"]);
    assert_eq!(s.hears(20, A, &report("a", 1, true)), ["1< ack ack=2 re=a"], "said again: it is not reported twice");
}

#[test]
fn a_line_is_kept_until_its_app_has_it_over_a_lost_connection_too() {
    let mut s = Story::new();
    s.hello(0, A, "ann", None);
    assert_eq!(s.line(10, "ann", "l1"), ["1< chat.msg seq=1 ack=0 id=l1 text=says l1 report_id=7"]);
    assert_eq!(s.line(11, "ann", "l1"), Vec::<String>::new(), "handed over twice: it is one line");
    s.sessions.handle_gone(at(20), A);
    assert_eq!(s.line(30, "ann", "l2"), Vec::<String>::new());
    let back = s.hello(40, B, "ann", Some(("s1", 1)));
    assert_eq!(
        back,
        [
            "l1 Delivered",
            "2< welcome ack=0 sid=s1 resumed=true last_seq=0",
            "2< chat.msg seq=2 ack=0 id=l2 text=says l2 report_id=7"
        ]
    );
    assert_eq!(s.hears(50, B, &json!({"v": 1, "t": "ack", "ack": 9})), ["l2 Delivered"], "no more than was sent");
}

#[test]
fn whoever_does_not_know_the_session_begins_anew_and_is_owed_what_was_owed() {
    let mut s = Story::new();
    assert_eq!(s.line(0, "ann", "l1"), Vec::<String>::new(), "after a start: nobody is there yet");
    let first = s.hello(10, A, "ann", Some(("of another start", 17)));
    assert_eq!(
        first,
        ["1< welcome ack=0 sid=s1 resumed=false last_seq=0", "1< chat.msg seq=1 ack=0 id=l1 text=says l1 report_id=7"]
    );
    s.hears(20, A, &report("a", 1, true));
    // Its state was lost, and what it said comes again; the answer to the old session is not the new one's.
    let anew = s.hello(30, B, "ann", None);
    assert_eq!(
        anew,
        [
            "1< close 4009",
            "2< welcome ack=0 sid=s2 resumed=false last_seq=0",
            "2< chat.msg seq=1 ack=0 id=l1 text=says l1 report_id=7"
        ]
    );
    assert_eq!(s.stored(0, kept("7")), Vec::<String>::new());
    assert_eq!(s.hears(40, B, &report("a", 1, true)), ["ann reports a: words a"]);
}

#[test]
fn a_line_that_does_not_get_there_is_told_and_still_comes_when_its_app_does() {
    let mut s = Story::new();
    s.hello(0, A, "ann", None);
    s.sessions.handle_gone(at(1000), A);
    s.line(2000, "ann", "l1");
    assert_eq!(s.passes(31_999), Vec::<String>::new());
    assert_eq!(s.passes(32_000), ["l1 Unreached"]);
    assert_eq!(s.passes(200_000), Vec::<String>::new(), "told once");
    let back = s.hello(300_000, B, "ann", Some(("s1", 0)));
    assert!(back.contains(&"2< chat.msg seq=1 ack=0 id=l1 text=says l1 report_id=7".to_owned()), "{back:?}");
}

#[test]
fn frames_come_in_order_and_what_could_not_be_kept_may_come_again() {
    let mut s = Story::with(Config { pending_max: 2, ..Config::default() });
    s.hello(0, A, "ann", None);
    assert_eq!(s.hears(1, A, &report("b", 2, false)), ["1< error ack=0 re=b code=E_CONFLICT"]);
    s.hears(2, A, &report("a", 1, true));
    s.hears(3, A, &report("b", 2, false));
    assert_eq!(s.hears(4, A, &report("c", 3, false)), ["1< error ack=0 re=c code=E_BUSY"]);
    let busy = Stored::Refused(Code::Busy, "the store is full");
    assert_eq!(s.stored(0, busy), ["1< error ack=0 re=a code=E_BUSY"]);
    s.stored(1, kept("7"));
    assert_eq!(s.hears(5, A, &report("a", 1, true)), ["ann reports a: words a"]);
    assert_eq!(s.stored(2, kept("7")), ["1< report.created seq=1 ack=2 re=a report_id=7"]);
    let refused = json!({"v": 1, "t": "chat.msg", "id": "d", "seq": 2, "d": {"text": ""}});
    s.hears(6, A, &report("b", 2, false));
    assert_eq!(s.hears(7, A, &refused), ["1< error ack=2 re=d code=E_VALIDATION"]);
    let unknown = json!({"v": 1, "t": "dance", "id": "e", "seq": 3});
    assert_eq!(s.hears(8, A, &unknown), ["1< error seq=2 ack=3 re=e code=E_VALIDATION"], "answered is done with");
    // Whoever has lost their connection meanwhile is told again: the number alone says that it was handled.
    s.sessions.handle_gone(at(9), A);
    let back = s.hello(10, B, "ann", Some(("s1", 1)));
    assert!(back.iter().any(|frame| frame == "2< error seq=2 ack=3 re=e code=E_VALIDATION"), "{back:?}");
}

#[test]
fn what_is_new_is_reported_whatever_its_number_says() {
    let mut s = Story::new();
    s.hello(0, A, "ann", None);
    s.hears(1, A, &report("a", 1, true));
    s.stored(0, kept("7"));
    assert_eq!(s.hears(2, A, &report("b", 1, false)), ["ann reports b: words b"], "another window's number");
    assert_eq!(s.stored(1, kept("7")), ["1< ack ack=1 re=b"]);
    assert_eq!(s.hears(3, A, &report("z", 0, false)), ["ann reports z: words z"]);
    assert_eq!(s.stored(2, kept("7")), ["1< ack ack=1 re=z"]);
    assert_eq!(s.hears(4, A, &report("b", 1, false)), ["1< ack ack=1 re=b"], "said again");
    assert_eq!(s.hears(5, A, &report("c", 2, false)), ["ann reports c: words c"], "and the numbers go on");
}

#[test]
fn whoever_does_not_greet_falls_silent_or_floods_is_let_go_and_nobody_else() {
    let mut s = Story::new();
    s.open(0, A, "mute");
    assert_eq!(s.hears(1, A, &report("a", 1, true)), ["1< error ack=0 re=a code=E_AUTH"]);
    s.hello(0, B, "ann", None);
    assert_eq!(s.passes(5000), ["1< close 4008"]);
    let ping = json!({"v": 1, "t": "ping", "id": "p"});
    assert_eq!(s.hears(39_000, B, &ping), ["2< pong ack=0 re=p"]);
    assert_eq!(s.passes(40_000), Vec::<String>::new());
    s.sessions.handle_sign_of_life(at(70_000), B);
    assert_eq!(s.passes(80_000), Vec::<String>::new());
    let told: Vec<String> = (0..300).flat_map(|_| s.hears(80_001, B, &ping)).collect();
    let count = |what: &str| told.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("pong"), count("E_RATE"), count("close 4029")), (50, 200, 1));
    assert_eq!(s.sessions.connections(), 0);
    assert_eq!(s.hello(81_000, A, "ann", Some(("s2", 0)))[0], "1< welcome ack=0 sid=s2 resumed=true last_seq=0");
    assert_eq!(s.passes(121_000), ["1< close 4008"]);
}

#[test]
fn sessions_are_bounded_and_end_when_nobody_comes_back() {
    let mut s = Story::with(Config { sessions_max: 2, ..Config::default() });
    for (n, user) in ["a", "b", "c"].iter().enumerate() {
        s.hello(n as u64 * 10, ConnId(10 + n as u64), user, None);
        s.sessions.handle_gone(at(n as u64 * 10 + 5), ConnId(10 + n as u64));
    }
    assert_eq!(s.sessions.by_user.len(), 2, "the one that was away longest went");
    assert!(!s.sessions.by_user.contains_key("a"));
    s.line(100, "b", "l1");
    assert_eq!(s.hello(200, ConnId(20), "d", None)[0], "l1 Unreached", "forgotten before its time");
    s.sessions.handle_gone(at(301), ConnId(20));
    s.passes(900_400);
    assert_eq!((s.sessions.by_user.len(), s.sessions.due.len(), s.sessions.conns.len()), (0, 0, 0));
    assert_eq!(s.sessions.poll_timeout(), None);
}

#[test]
fn a_report_that_was_lost_on_its_way_may_come_again() {
    let mut s = Story::new();
    s.hello(0, A, "ann", None);
    s.hears(1, A, &report("a", 1, true));
    s.hears(2, A, &report("b", 2, false));
    // The first could not be handed on, and nobody was told.
    s.sessions.by_user.get_mut("ann").expect("there").pending.remove(&s.tickets[0].0);
    assert_eq!(s.hears(3, A, &report("b", 2, false)), Vec::<String>::new(), "on its way");
    assert_eq!(s.hears(4, A, &report("a", 1, true)), ["ann reports a: words a"]);
    s.stored(1, kept("7"));
    assert_eq!(s.stored(2, kept("7")), ["1< report.created seq=1 ack=2 re=a report_id=7"]);
}

#[test]
fn nobody_has_what_was_never_sent_whatever_they_say() {
    let mut s = Story::new();
    s.line(0, "ann", "l1");
    assert!(!s.hello(1, A, "ann", Some(("", 99))).contains(&"l1 Delivered".to_owned()), "a session has a name");
    s.sessions.handle_gone(at(2), A);
    s.line(3, "ann", "l2");
    let back = s.hello(4, B, "ann", Some(("s1", 99)));
    assert_eq!(back[0], "l1 Delivered");
    assert!(!back.contains(&"l2 Delivered".to_owned()), "{back:?}");
    assert_eq!(s.hears(5, B, &json!({"v": 1, "t": "ack", "ack": 99})), ["l2 Delivered"]);
}

#[test]
fn what_was_refused_for_want_of_room_wedges_nothing_behind_it() {
    let mut s = Story::new();
    s.hello(0, A, "ann", None);
    s.hears(1, A, &report("a", 1, true));
    s.hears(2, A, &report("b", 2, false));
    let busy = || Stored::Refused(Code::Busy, "full");
    s.stored(0, busy());
    // Both come again; the second is on its way already.
    assert_eq!(s.hears(3, A, &report("a", 1, true)), ["ann reports a: words a"]);
    assert_eq!(s.hears(4, A, &report("b", 2, false)), Vec::<String>::new());
    s.stored(2, kept("7"));
    s.stored(1, kept("7"));
    assert_eq!(s.hears(5, A, &report("c", 3, false)), ["ann reports c: words c"]);
    assert_eq!(s.stored(3, kept("7")), ["1< ack ack=3 re=c"]);
}

#[test]
fn what_an_app_is_owed_is_bounded_and_what_goes_is_told() {
    let mut s = Story::new();
    let told: Vec<String> = (0..1002).flat_map(|n| s.line(n, "ann", &format!("l{n}"))).collect();
    assert_eq!(told, ["l0 Unreached", "l1 Unreached"]);
}
