//! All sessions of the channel.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use codecs::chat::SharedLocation;
use codecs::chat::app::{Code, Frame, Hello, Refused, Report, Said, Told};
use codecs::time::Mono;

use crate::pace::{Bucket, Pace};
use crate::session::{ConnId, Line, Pending, Session};

/// A report on its way to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u64);

#[derive(Clone, Debug)]
pub struct Config {
    /// Sessions that are kept; beyond, the one that has been away longest goes.
    pub sessions_max: usize,
    /// How often an app says that it is there. Two of them in silence, and its connection is closed.
    pub heartbeat: Duration,
    /// How long a session waits for its app to come back.
    pub kept: Duration,
    /// How long a line waits for its app before somebody is told that it does not get there.
    pub reached_within: Duration,
    /// Reports of one app that are on their way to the disk.
    pub pending_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sessions_max: 50_000,
            heartbeat: Duration::from_secs(20),
            kept: Duration::from_secs(900),
            reached_within: Duration::from_secs(30),
            pending_max: 32,
        }
    }
}

/// After which whoever has not said `hello` is let go.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// Why a connection is closed, as its code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Nothing came for too long.
    Idle,
    /// The same app is here by another connection.
    Replaced,
    /// Frames came faster than they may for a long time.
    Rate,
}

impl Close {
    pub fn code(self) -> u16 {
        match self {
            Close::Idle => 4008,
            Close::Replaced => 4009,
            Close::Rate => 4029,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Close::Idle => "nothing came for too long",
            Close::Replaced => "the same app is here by another connection",
            Close::Rate => "too many frames",
        }
    }
}

/// What became of a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stored {
    /// Durable, and in this alert; none: it belongs to one that is not told, or to none.
    Kept(Option<String>),
    Refused(Code, &'static str),
}

/// What became of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The app has it.
    Delivered,
    /// The app is not there.
    Unreached,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    Send {
        conn: ConnId,
        frame: String,
    },
    Close {
        conn: ConnId,
        why: Close,
    },
    /// To be kept; answered by `stored`.
    Report {
        ticket: Ticket,
        conn: ConnId,
        user: String,
        id: String,
        report: Report,
    },
    /// Where somebody's device is. Nobody waits for it.
    Position {
        user: String,
        location: SharedLocation,
    },
    Line {
        name: String,
        fate: Fate,
    },
}

struct Conn {
    user: String,
    opened: Mono,
    /// `hello` was said.
    greeted: bool,
    bucket: Bucket,
    /// The name of a session, if it begins one.
    sid: String,
}

pub struct Sessions {
    config: Config,
    by_user: HashMap<String, Session>,
    conns: HashMap<ConnId, Conn>,
    tickets: HashMap<u64, String>,
    next_ticket: u64,
    /// Sessions by when they are to be looked after, and connections that have not greeted.
    due: BTreeSet<(Mono, String)>,
    ungreeted: BTreeSet<(Mono, ConnId)>,
    outputs: VecDeque<Output>,
}

impl Sessions {
    pub fn new(config: Config) -> Sessions {
        Sessions {
            config,
            by_user: HashMap::new(),
            conns: HashMap::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            due: BTreeSet::new(),
            ungreeted: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next frame, where it is this connection's turn.
    pub fn poll_frame_to(&mut self, wanted: ConnId) -> Option<String> {
        match self.outputs.pop_front()? {
            Output::Send { conn, frame } if conn == wanted => Some(frame),
            other => {
                self.outputs.push_front(other);
                None
            }
        }
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Somebody who has proven to be `user` is there. `sid`: what a session of theirs is called if one begins; nobody
    /// guesses it.
    pub fn handle_open(&mut self, now: Mono, conn: ConnId, user: String, sid: String) {
        let opened = Conn { user, opened: now, greeted: false, bucket: Bucket::new(now), sid };
        self.conns.insert(conn, opened);
        self.ungreeted.insert((now + HELLO_WITHIN, conn));
    }

    /// A connection is gone.
    pub fn handle_gone(&mut self, now: Mono, conn: ConnId) {
        let Some(gone) = self.conns.remove(&conn) else { return };
        self.ungreeted.remove(&(gone.opened + HELLO_WITHIN, conn));
        if let Some(session) = self.by_user.get_mut(&gone.user).filter(|s| s.conn == Some(conn)) {
            session.conn = None;
            session.heard_at = now;
            self.look_after(&gone.user, now + self.config.kept);
        }
    }

    /// Something came that is no frame, but shows that they are there.
    pub fn handle_sign_of_life(&mut self, now: Mono, conn: ConnId) {
        let user = self.conns.get(&conn).map(|c| c.user.clone());
        if let Some(session) = user.and_then(|user| self.by_user.get_mut(&user)).filter(|s| s.conn == Some(conn)) {
            session.heard_at = now;
        }
    }

    pub fn handle_frame(&mut self, now: Mono, conn: ConnId, text: &str) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let pace = known.bucket.take(now);
        let (user, greeted) = (known.user.clone(), known.greeted);
        self.handle_sign_of_life(now, conn);
        let frame = match (pace, Frame::parse(text)) {
            (Pace::Deaf, _) => return self.close(now, conn, Close::Rate),
            (Pace::Exceeded, frame) => {
                let id = frame.map_or_else(|refused| refused.id, |frame| frame.id);
                return self.refuse(conn, &user, &id, Code::Rate, "at most 20 frames a second");
            }
            (Pace::Kept, Ok(frame)) => frame,
            (Pace::Kept, Err(refused)) => return self.refused(conn, &user, greeted, &refused),
        };
        if let Said::Hello(hello) = frame.said {
            return self.hello(now, conn, &user, &hello);
        }
        if !greeted {
            return self.refuse(conn, &user, &frame.id, Code::Auth, "hello comes first");
        }
        if let Some(ack) = frame.ack {
            self.acknowledged(&user, ack);
        }
        if let Some(frame) = self.in_turn(conn, &user, frame) {
            self.said(conn, user, frame);
        }
    }

    /// A frame that is not taken has been answered, and is not to come again.
    fn refused(&mut self, conn: ConnId, user: &str, greeted: bool, refused: &Refused) {
        if let (true, Some(seq), Some(session)) = (greeted, refused.seq, self.by_user.get_mut(user))
            && seq == session.came + 1
        {
            session.came = seq;
            session.note_kept(seq);
            let sent = session.tell(&Told::Error { code: refused.code, what: refused.what }, "", &refused.id);
            return self.send(sent);
        }
        self.refuse(conn, user, &refused.id, refused.code, refused.what);
    }

    fn refuse(&mut self, conn: ConnId, user: &str, id: &str, code: Code, what: &str) {
        let kept = self.by_user.get(user).map_or(0, |s| s.kept);
        let frame = Told::Error { code, what }.frame("", None, kept, id);
        self.outputs.push_back(Output::Send { conn, frame });
    }

    /// Where they go on: in their session, if they know its name, or in a new one to which is owed what was owed.
    fn hello(&mut self, now: Mono, conn: ConnId, user: &str, hello: &Hello) {
        let Some(known) = self.conns.get_mut(&conn).filter(|c| !c.greeted) else {
            return self.refuse(conn, user, "", Code::Conflict, "hello was said");
        };
        known.greeted = true;
        self.ungreeted.remove(&(known.opened + HELLO_WITHIN, conn));
        let sid = known.sid.clone();
        let before = self.by_user.get(user).and_then(|s| s.conn).filter(|other| *other != conn);
        if let Some(before) = before {
            self.close(now, before, Close::Replaced);
        }
        if !self.by_user.contains_key(user) {
            self.make_room();
            self.by_user.insert(user.to_owned(), Session::new(now, sid.clone()));
        }
        let Some(session) = self.by_user.get_mut(user) else { return };
        let resumed = hello.resume.as_ref().filter(|resume| !resume.sid.is_empty() && resume.sid == session.sid);
        let last = resumed.map(|resume| resume.last_seq);
        if last.is_none() && session.sid != sid {
            session.begin_anew(now, sid);
        }
        (session.conn, session.heard_at) = (Some(conn), now);
        if let Some(last) = last {
            self.acknowledged(user, last);
        }
        let Some(session) = self.by_user.get_mut(user) else { return };
        session.note_sent();
        let told = Told::Welcome {
            sid: &session.sid,
            resumed: last.is_some(),
            last_seq: session.came,
            heartbeat_ms: self.config.heartbeat.as_millis() as u64,
        };
        let welcome = told.frame("", None, session.kept, "");
        let owed = session.owed().map(str::to_owned);
        self.outputs.extend([welcome].into_iter().chain(owed).map(|frame| Output::Send { conn, frame }));
        self.look_after(user, now + self.config.heartbeat * 2);
    }

    /// A new session comes where one that has been away longest was.
    fn make_room(&mut self) {
        if self.by_user.len() < self.config.sessions_max {
            return;
        }
        let away = self.by_user.iter().filter(|(_, s)| s.conn.is_none());
        if let Some(user) = away.min_by_key(|(_, s)| s.heard_at).map(|(user, _)| user.clone()) {
            self.forget(&user);
        }
    }

    fn forget(&mut self, user: &str) {
        if let Some(mut session) = self.by_user.remove(user) {
            self.due.remove(&(session.due, user.to_owned()));
            // Nobody comes for what it was owed: that is told, if nobody has.
            let lost = session.lines().filter(|line| line.reached_by.is_some());
            let told = lost.map(|line| Output::Line { name: line.name.clone(), fate: Fate::Unreached });
            self.outputs.extend(told);
        }
    }

    fn acknowledged(&mut self, user: &str, ack: u64) {
        let Some(session) = self.by_user.get_mut(user) else { return };
        // Nobody has what was not sent.
        let ack = ack.min(session.highest_sent());
        let lines = session.acknowledged(ack);
        self.outputs.extend(lines.into_iter().map(|name| Output::Line { name, fate: Fate::Delivered }));
    }

    /// A frame in its turn. One whose number has been before goes by its id: what is known under it is answered as it was,
    /// and what is not is new, whatever its number says.
    fn in_turn(&mut self, conn: ConnId, user: &str, frame: Frame) -> Option<Frame> {
        let (Some(seq), Some(session)) = (frame.seq, self.by_user.get_mut(user)) else { return Some(frame) };
        if seq > session.came + 1 {
            self.refuse(conn, user, &frame.id, Code::Conflict, "a frame before this one is missing");
            return None;
        }
        session.came = session.came.max(seq);
        if session.has_lost(seq) {
            return Some(frame);
        }
        let kept = session.kept;
        let is_known = session.knows(&frame.id);
        if matches!(frame.said, Said::Report(_)) && !is_known {
            // On its way it is answered when it is there.
            return (!session.waits_for(&frame.id)).then_some(Frame { seq: None, ..frame });
        }
        if seq <= kept || is_known {
            let ack = Told::Ack.frame("", None, kept, &frame.id);
            self.outputs.push_back(Output::Send { conn, frame: ack });
        }
        None
    }

    fn said(&mut self, conn: ConnId, user: String, frame: Frame) {
        let Some(session) = self.by_user.get_mut(&user) else { return };
        let Frame { id, seq, said, .. } = frame;
        match said {
            Said::Report(report) => return self.report(conn, user, id, seq, report),
            Said::Position(location) => self.outputs.push_back(Output::Position { user: user.clone(), location }),
            Said::Ping => {
                let frame = Told::Pong.frame("", None, session.kept, &id);
                self.outputs.push_back(Output::Send { conn, frame });
            }
            Said::Nothing | Said::Hello(_) => {}
        }
        if let (Some(seq), Some(session)) = (seq, self.by_user.get_mut(&user)) {
            session.note_kept(seq);
        }
    }

    fn report(&mut self, conn: ConnId, user: String, id: String, seq: Option<u64>, report: Report) {
        let Some(session) = self.by_user.get_mut(&user) else { return };
        if session.pending.len() >= self.config.pending_max {
            if seq == Some(session.came) {
                session.came -= 1;
            }
            return self.refuse(conn, &user, &id, Code::Busy, "what you said before is not kept yet");
        }
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        session.pending.insert(ticket, Pending { seq, id: id.clone(), begins: report.begins });
        self.tickets.insert(ticket, user.clone());
        self.outputs.push_back(Output::Report { ticket: Ticket(ticket), conn, user, id, report });
    }

    /// What became of a report; nobody asks twice.
    pub fn handle_stored(&mut self, ticket: Ticket, stored: &Stored) {
        let Some(user) = self.tickets.remove(&ticket.0) else { return };
        let Some(session) = self.by_user.get_mut(&user) else { return };
        // Not of this session any more: it comes again, under the same id.
        let Some(pending) = session.pending.remove(&ticket.0) else { return };
        let Pending { seq, id, begins } = pending;
        match stored {
            Stored::Kept(alert) => {
                if let Some(seq) = seq {
                    session.note_kept(seq);
                }
                session.know(&id);
                let sent = match alert.as_deref().filter(|_| begins) {
                    Some(alert_no) => session.tell(&Told::Created { alert_no }, "", &id),
                    None => (session.conn, Told::Ack.frame("", None, session.kept, &id)),
                };
                self.send(sent);
            }
            Stored::Refused(code, what) => {
                // It may come again, and those behind it with it.
                if let Some(seq) = seq.filter(|_| *code == Code::Busy) {
                    session.came = session.came.min(seq.saturating_sub(1)).max(session.kept);
                } else if let Some(seq) = seq {
                    session.note_kept(seq);
                }
                let told = Told::Error { code: *code, what };
                // What will not be taken is told until they have heard it: the number alone says that it was handled.
                let sent = match code {
                    Code::Busy => (session.conn, told.frame("", None, session.kept, &id)),
                    _ => session.tell(&told, "", &id),
                };
                self.send(sent);
            }
        }
    }

    fn send(&mut self, (conn, frame): (Option<ConnId>, String)) {
        if let Some(conn) = conn {
            self.outputs.push_back(Output::Send { conn, frame });
        }
    }

    /// A line for an app, kept until that has it. The same line twice is one.
    pub fn handle_line(&mut self, now: Mono, user: &str, line: Line) {
        if !self.by_user.contains_key(user) {
            // After a start their app has not come back yet.
            self.make_room();
            self.by_user.insert(user.to_owned(), Session::new(now, String::new()));
        }
        let Some(session) = self.by_user.get_mut(user).filter(|s| !s.owes_line(&line.name)) else { return };
        let due = now + self.config.reached_within;
        let sent = session.tell_line(Line { reached_by: Some(due), ..line });
        let lost = std::iter::from_fn(|| session.overflow());
        self.outputs.extend(lost.map(|name| Output::Line { name, fate: Fate::Unreached }));
        self.send(sent);
        self.look_after(user, due);
    }

    /// What an app is told if it is there, and nobody misses who is not.
    pub fn handle_passing(&mut self, user: &str, told: &Told<'_>) {
        let there = self.by_user.get(user).and_then(|session| Some((session.conn?, session.kept)));
        if let Some((conn, kept)) = there {
            self.outputs.push_back(Output::Send { conn, frame: told.frame("", None, kept, "") });
        }
    }

    /// Makes sure that a session is looked after at `at` or earlier.
    fn look_after(&mut self, user: &str, at: Mono) {
        let Some(session) = self.by_user.get_mut(user) else { return };
        let key = (session.due, user.to_owned());
        if self.due.contains(&key) && session.due <= at {
            return;
        }
        self.due.remove(&key);
        session.due = at;
        self.due.insert((at, key.1));
    }

    fn close(&mut self, now: Mono, conn: ConnId, why: Close) {
        self.outputs.push_back(Output::Close { conn, why });
        self.handle_gone(now, conn);
    }

    /// Why and when the clock is wanted next.
    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let session = self.due.first().map(|(at, _)| (*at, "a session is to be looked after"));
        let silent = self.ungreeted.first().map(|(at, _)| (*at, "hello is due"));
        session.into_iter().chain(silent).min()
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        while let Some((_, conn)) = self.ungreeted.first().copied().filter(|(at, _)| *at <= now) {
            self.close(now, conn, Close::Idle);
        }
        while let Some(first) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.due.remove(&first);
            self.attend(now, &first.1);
        }
    }

    /// Everything of a session that is due; and when it is to be looked after again.
    fn attend(&mut self, now: Mono, user: &str) {
        let Some(session) = self.by_user.get_mut(user) else { return };
        let mut next = None::<Mono>;
        for line in session.lines() {
            let Some(due) = line.reached_by else { continue };
            if due <= now {
                line.reached_by = None;
                self.outputs.push_back(Output::Line { name: line.name.clone(), fate: Fate::Unreached });
            } else {
                next = Some(next.map_or(due, |n| n.min(due)));
            }
        }
        let (conn, heard) = (session.conn, session.heard_at);
        let end = heard + if conn.is_some() { self.config.heartbeat * 2 } else { self.config.kept };
        match conn {
            Some(conn) if end <= now => return self.close(now, conn, Close::Idle),
            None if end <= now => return self.forget(user),
            _ => {}
        }
        self.look_after(user, next.map_or(end, |n| n.min(end)));
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
