//! One app's session: both directions' numbers, and what is owed to it.

use std::collections::{BTreeSet, HashMap, VecDeque};

use codecs::chat::app::{LineKind, Told};
use codecs::time::Mono;

/// A connection's number in this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// A line for an app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub name: String,
    pub alert_no: String,
    pub text: String,
    pub kind: LineKind,
    /// By when its app has to have it; none: somebody was told that it does not.
    pub reached_by: Option<Mono>,
}

/// Frames that wait for an app to acknowledge them; beyond, the oldest go.
const MAILBOX_MAX: usize = 1000;

/// Ids remembered a session.
const KNOWN_MAX: usize = 64;

/// A frame of ours, until it is acknowledged.
struct Kept {
    seq: u64,
    frame: String,
    /// The line that it brings, if it brings one: in what is wanted to number it anew.
    line: Option<Line>,
}

/// A frame of theirs whose content is on its way to the disk.
pub(crate) struct Pending {
    pub(crate) seq: Option<u64>,
    pub(crate) id: String,
    pub(crate) begins: bool,
}

pub(crate) struct Session {
    pub(crate) sid: String,
    pub(crate) conn: Option<ConnId>,
    /// When something came last, or the connection went.
    pub(crate) heard_at: Mono,
    /// When it is to be looked after next.
    pub(crate) due: Mono,
    /// The highest number of theirs that came, with all before it.
    pub(crate) came: u64,
    /// The highest that is durable, with all before it; and those beyond.
    pub(crate) kept: u64,
    kept_beyond: BTreeSet<u64>,
    pub(crate) pending: HashMap<u64, Pending>,
    /// Ids of what was kept last: said again they are answered at once. An older one is known to the casebook.
    known: VecDeque<String>,
    told: u64,
    /// The highest number that has gone out over a connection.
    sent: u64,
    mailbox: VecDeque<Kept>,
}

impl Session {
    pub(crate) fn new(now: Mono, sid: String) -> Session {
        Session {
            sid,
            conn: None,
            heard_at: now,
            due: now,
            came: 0,
            kept: 0,
            kept_beyond: BTreeSet::new(),
            pending: HashMap::new(),
            known: VecDeque::new(),
            told: 0,
            sent: 0,
            mailbox: VecDeque::new(),
        }
    }

    /// Under another name: their numbers begin anew, and what is owed to them is owed still.
    pub(crate) fn begin_anew(&mut self, now: Mono, sid: String) {
        let owed: Vec<Line> = self.mailbox.drain(..).filter_map(|kept| kept.line).collect();
        *self = Session { conn: self.conn, due: self.due, ..Session::new(now, sid) };
        owed.into_iter().for_each(|line| drop(self.tell_line(line)));
    }

    /// A frame of theirs is durable, or wants no keeping.
    pub(crate) fn note_kept(&mut self, seq: u64) {
        if seq <= self.kept {
            return;
        }
        self.kept_beyond.insert(seq);
        while self.kept_beyond.remove(&(self.kept + 1)) {
            self.kept += 1;
        }
    }

    pub(crate) fn know(&mut self, id: &str) {
        if self.known.len() >= KNOWN_MAX {
            self.known.pop_front();
        }
        self.known.push_back(id.to_owned());
    }

    pub(crate) fn knows(&self, id: &str) -> bool {
        self.known.iter().any(|known| known == id)
    }

    pub(crate) fn waits_for(&self, id: &str) -> bool {
        self.pending.values().any(|pending| pending.id == id)
    }

    /// Numbers a frame and keeps it; what is to be sent, if somebody is there.
    pub(crate) fn tell(&mut self, told: &Told<'_>, id: &str, re: &str) -> (Option<ConnId>, String) {
        self.keep(told, id, re, None)
    }

    pub(crate) fn tell_line(&mut self, line: Line) -> (Option<ConnId>, String) {
        let told = Told::Chat { alert_no: &line.alert_no, text: &line.text, kind: line.kind };
        let name = line.name.clone();
        self.keep(&told, &name, "", Some(line.clone()))
    }

    fn keep(&mut self, told: &Told<'_>, id: &str, re: &str, line: Option<Line>) -> (Option<ConnId>, String) {
        self.told += 1;
        if self.conn.is_some() {
            self.sent = self.told;
        }
        let frame = told.frame(id, Some(self.told), self.kept, re);
        // Beyond its bound what brings no line goes at once; lines are told of (`overflow`).
        if self.mailbox.len() >= MAILBOX_MAX
            && let Some(oldest) = self.mailbox.iter().position(|kept| kept.line.is_none())
        {
            self.mailbox.remove(oldest);
        }
        self.mailbox.push_back(Kept { seq: self.told, frame: frame.clone(), line });
        (self.conn, frame)
    }

    /// What the mailbox holds beyond its bound goes, the oldest first; a line among it that nobody was told of.
    pub(crate) fn overflow(&mut self) -> Option<String> {
        while self.mailbox.len() > MAILBOX_MAX {
            let line = self.mailbox.pop_front().and_then(|kept| kept.line).filter(|line| line.reached_by.is_some());
            if let Some(line) = line {
                return Some(line.name);
            }
        }
        None
    }

    /// They have everything up to here; the lines among it.
    pub(crate) fn acknowledged(&mut self, ack: u64) -> Vec<String> {
        let mut lines = Vec::new();
        while self.mailbox.front().is_some_and(|kept| kept.seq <= ack) {
            lines.extend(self.mailbox.pop_front().and_then(|kept| kept.line).map(|line| line.name));
        }
        lines
    }

    /// Everything that is owed goes out.
    pub(crate) fn note_sent(&mut self) {
        self.sent = self.told;
    }

    /// Whether a frame that came is neither kept nor on its way to the disk: it may come again.
    pub(crate) fn has_lost(&self, seq: u64) -> bool {
        seq > self.kept && !self.kept_beyond.contains(&seq) && !self.pending.values().any(|p| p.seq == Some(seq))
    }

    /// What they have not acknowledged, in order.
    pub(crate) fn owed(&self) -> impl Iterator<Item = &str> {
        self.mailbox.iter().map(|kept| &*kept.frame)
    }

    pub(crate) fn owes_line(&self, name: &str) -> bool {
        self.mailbox.iter().any(|kept| kept.line.as_ref().is_some_and(|line| line.name == name))
    }

    pub(crate) fn lines(&mut self) -> impl Iterator<Item = &mut Line> {
        self.mailbox.iter_mut().filter_map(|kept| kept.line.as_mut())
    }

    pub(crate) fn highest_sent(&self) -> u64 {
        self.sent
    }
}
