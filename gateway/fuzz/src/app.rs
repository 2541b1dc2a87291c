//! Apps that say anything in any order: frames, connections that come and go, a disk that takes some and not others.

use std::time::Duration;

use app::{Config, ConnId, Line, Output, Sessions, Stored};
use codecs::chat::app::{Code, FRAME_MAX, Frame, LineKind};
use codecs::time::Mono;

/// What is taken has a name of bounded length; what is refused says why in words of ours.
pub(crate) fn frame(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Frame::parse(&text) {
        Ok(frame) => assert!(frame.id.len() <= 64 && text.len() <= FRAME_MAX),
        Err(refused) => assert!(refused.id.len() <= 64 && !refused.what.is_empty()),
    }
}

/// Lines of input, the first octet of each says what it is. Whatever comes, connections are
/// bounded, frames are whole, and when nobody comes any more nothing is left and nothing is due.
pub(crate) fn sessions(bytes: &[u8]) {
    let mut sessions = Sessions::new(Config { sessions_max: 4, ..Config::default() });
    let mut now = Mono(1_000_000_000);
    for line in bytes.split(|b| *b == b'\n').take(400) {
        let Some((what, rest)) = line.split_first() else { continue };
        let conn = ConnId(u64::from(*what & 3));
        match what >> 2 & 7 {
            0 => {
                sessions.handle_gone(now, conn);
                let user = format!("u{}", what >> 5);
                sessions.handle_open(now, conn, user, format!("s{}", rest.len()));
            }
            1 => sessions.handle_gone(now, conn),
            2 => sessions.handle_line(now, &format!("u{}", what >> 5), line_of(rest)),
            3 => now = now + Duration::from_millis(rest.len() as u64 * 997),
            _ => sessions.handle_frame(now, conn, &String::from_utf8_lossy(rest)),
        }
        sessions.handle_timeout(now);
        drain(&mut sessions, *what);
        assert!(sessions.connections() <= 4);
    }
    for _ in 0..100 {
        now = now + Duration::from_secs(100);
        sessions.handle_timeout(now);
        drain(&mut sessions, 0);
    }
    assert_eq!((sessions.connections(), sessions.poll_timeout()), (0, None), "nobody is left, and nothing is due");
}

fn line_of(text: &[u8]) -> Line {
    let text = String::from_utf8_lossy(text).into_owned();
    Line { name: format!("l{}", text.len()), alert_no: "7".into(), text, kind: LineKind::Message, reached_by: None }
}

fn drain(sessions: &mut Sessions, what: u8) {
    while let Some(output) = sessions.poll_output() {
        match output {
            Output::Report { ticket, .. } if what & 64 == 0 => {
                sessions.handle_stored(ticket, &Stored::Kept(Some("7".into())));
            }
            Output::Report { ticket, .. } => sessions.handle_stored(ticket, &Stored::Refused(Code::Busy, "full")),
            Output::Send { frame, .. } => assert!(frame.starts_with('{') && frame.ends_with('}')),
            Output::Close { .. } | Output::Position { .. } | Output::Line { .. } => {}
        }
    }
}
