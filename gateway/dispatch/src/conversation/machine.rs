//! Conversations: alerts in which people write, the seat that holds each, the first line that is owed, and the end.
//!
//! What a record says is told with the input; what is to be done about it comes out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use codecs::record::{Address, AlertNo, AnswerMode, SeatInfo};
use codecs::time::Mono;

use super::threads::{Return, Threads};
use super::way::{Outlet, Outlets, Unreached, Way};
use crate::policy::ANSWER_WITHIN;
use crate::seat::{Class, GroupId};

/// What conversations go by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// One in which nobody says anything for so long is over.
    pub idle: Duration,
    /// A further word within this time of the last belongs to the same alert.
    pub join_within: Duration,
    pub outlets: Vec<Outlet>,
}

/// The seat that a conversation needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    pub group: GroupId,
    pub skills: u32,
    pub class: Class,
}

/// What an alert's reporter is owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstLine {
    /// A human's line within three seconds of the first word.
    Owed,
    /// It did not come in time, which has been told.
    Missed,
    Said,
}

/// What is known of an alert whose reporter writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// When its first word came: the promise counts from here.
    pub arrived: Mono,
    pub needs: Needs,
    pub first_line: FirstLine,
    /// The seat that speaks with them by telephone.
    pub speaks_with: Option<String>,
}

/// News for a seat; what it says is read from the record when it is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    pub seat: String,
    pub alert: AlertNo,
    pub what: News,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The conversation is this seat's.
    Given,
    /// The reporter has written.
    Line,
    /// A line of ours has got somewhere, or nowhere.
    State,
    TakenBack,
    Ended,
}

impl News {
    pub fn text(self) -> &'static str {
        match self {
            News::Given => "given",
            News::Line => "line",
            News::State => "state",
            News::TakenBack => "taken_back",
            News::Ended => "ended",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A seat is wanted, with what is left of the promise.
    Want {
        alert: AlertNo,
        needs: Needs,
        within: Duration,
        prefer: Option<String>,
    },
    /// No seat is wanted any more, and the one that held it is free of it.
    Release {
        alert: AlertNo,
    },
    /// It is with this seat now: for the record.
    Held {
        alert: AlertNo,
        seat: SeatInfo,
    },
    /// Its taker has written: the seat is no longer waited for.
    Said {
        alert: AlertNo,
    },
    /// A human's first line has been taken by its channel.
    Answered {
        alert: AlertNo,
        mode: AnswerMode,
        after: Duration,
    },
    /// No human's line has left within three seconds.
    Breach {
        alert: AlertNo,
    },
    /// It is over: for the record.
    Ended {
        alert: AlertNo,
    },
    Notice(Notice),
}

/// Why a seat may not speak in a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotHeld {
    NobodyWrites,
    OtherSeat,
}

struct Conversation {
    arrived: Mono,
    last: Mono,
    needs: Needs,
    holder: Option<SeatInfo>,
    /// As whose a line counts.
    mode: AnswerMode,
    first_line: FirstLine,
}

impl Conversation {
    fn is_owed(&self) -> bool {
        self.first_line == FirstLine::Owed
    }

    fn is_with(&self, seat: &str) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.no == seat)
    }
}

pub struct Conversations {
    rules: Rules,
    threads: Threads,
    outlets: Outlets,
    all: BTreeMap<AlertNo, Conversation>,
    /// First lines that are owed, by their deadline.
    owed: BTreeSet<(Mono, AlertNo)>,
    /// By the time of their last word.
    idle: BTreeSet<(Mono, AlertNo)>,
    outputs: VecDeque<Output>,
}

impl Conversations {
    pub fn new(mut rules: Rules) -> Conversations {
        let outlets = Outlets::new(std::mem::take(&mut rules.outlets));
        Conversations {
            rules,
            threads: Threads::default(),
            outlets,
            all: BTreeMap::new(),
            owed: BTreeSet::new(),
            idle: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let owed = self.owed.first().map(|(at, _)| (*at, "first line"));
        let idle = self.idle.first().map(|(at, _)| (*at + self.rules.idle, "conversation idle"));
        let forgotten = self.threads.next_forgotten(self.rules.join_within).map(|at| (at, "thread forgotten"));
        [owed, idle, forgotten].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        while let Some(&(due, alert)) = self.owed.first()
            && due <= now
        {
            self.owed.pop_first();
            if let Some(conversation) = self.all.get_mut(&alert) {
                conversation.first_line = FirstLine::Missed;
            }
            self.outputs.push_back(Output::Breach { alert });
        }
        while let Some(&(last, alert)) = self.idle.first()
            && last + self.rules.idle <= now
        {
            self.end(alert);
        }
        self.threads.forget(now, self.rules.join_within, |no| self.all.contains_key(&no));
    }

    /// Who writes to which alert.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    pub fn contains(&self, alert: AlertNo) -> bool {
        self.all.contains_key(&alert)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether what is written to its reporter goes before other lines.
    pub fn is_urgent(&self, alert: AlertNo) -> bool {
        self.all.get(&alert).is_some_and(|c| c.needs.class <= Class::Silent)
    }

    /// The alert that a word belongs to: that of its sender's thread, else the one that their telephone number is heard
    /// of in, whichever is within `reach`.
    pub fn alert_of(&self, sender: &Address, phone: Option<&str>, reach: impl Fn(AlertNo) -> bool) -> Option<AlertNo> {
        let by_thread = self.threads.get(sender).map(|t| t.alert);
        let by_phone = phone.and_then(|p| self.threads.of_phone(p));
        [by_thread, by_phone].into_iter().flatten().find(|alert| reach(*alert))
    }

    /// A word of this sender went to `alert`.
    /// A sender's thread as the journal tells it: where it is, and which alert it began.
    pub fn restore_thread(&mut self, at: Mono, sender: &Address, phone: Option<&str>, place: (AlertNo, AlertNo)) {
        self.threads.restore(at, sender, phone, place);
    }

    pub fn note_thread(&mut self, at: Mono, sender: &Address, phone: Option<&str>, alert: AlertNo) {
        self.threads.note(at, sender, phone, alert);
    }

    /// A call from this number was `alert`.
    pub fn note_call(&mut self, at: Mono, phone: &str, alert: AlertNo) {
        self.threads.note_phone(at, phone, alert);
    }

    /// A call comes in from this number: the conversation that its caller has going goes on as the call's.
    pub fn call_arrives(&mut self, now: Mono, phone: &str, alert: AlertNo) -> Option<AlertNo> {
        let earlier = self.threads.of_phone(phone).filter(|no| *no != alert && self.all.contains_key(no));
        self.threads.note_phone(now, phone, alert);
        earlier
    }

    /// They have written, by this channel: what may be sent to them counts anew.
    pub fn note_heard(&mut self, now: Mono, from: &Address) {
        self.outlets.heard(now, from);
    }

    /// Counts a line to `to`.
    pub fn take_way(&mut self, now: Mono, to: &Address) -> Way {
        self.outlets.take(now, to)
    }

    /// Where else somebody can be written to, whom a line did not reach.
    pub fn other_way(&self, now: Mono, unreached: &Unreached<'_>) -> Option<Address> {
        self.outlets.other_way(now, unreached)
    }

    /// The reporter has written: somebody is to read it.
    pub fn heard(&mut self, now: Mono, alert: AlertNo, report: Report) {
        if let Some(conversation) = self.all.get_mut(&alert) {
            conversation.needs.class = conversation.needs.class.min(report.needs.class);
            self.touch(now, alert);
            return self.tell_holder(alert, News::Line);
        }
        let Report { arrived, needs, first_line, speaks_with } = report;
        let conversation = Conversation { arrived, last: now, needs, holder: None, mode: AnswerMode::Seat, first_line };
        self.begin(now, alert, conversation, speaks_with);
    }

    fn begin(&mut self, now: Mono, alert: AlertNo, conversation: Conversation, prefer: Option<String>) {
        let by = conversation.arrived + ANSWER_WITHIN;
        if conversation.is_owed() {
            self.owed.insert((by, alert));
        }
        self.idle.insert((conversation.last, alert));
        self.outputs.push_back(Output::Want { alert, needs: conversation.needs, within: by.since(now), prefer });
        self.all.insert(alert, conversation);
    }

    /// The first line is owed since then: somebody who came earlier waits for the same, or has left.
    pub fn waits_since(&mut self, now: Mono, alert: AlertNo, arrived: Mono) {
        let is_other = |c: &&mut Conversation| c.is_owed() && arrived != c.arrived;
        let Some(conversation) = self.all.get_mut(&alert).filter(is_other) else { return };
        self.owed.remove(&(conversation.arrived + ANSWER_WITHIN, alert));
        conversation.arrived = arrived;
        let by = arrived + ANSWER_WITHIN;
        self.owed.insert((by, alert));
        if conversation.holder.is_none() {
            let needs = conversation.needs;
            self.outputs.push_back(Output::Want { alert, needs, within: by.since(now), prefer: None });
        }
    }

    /// Something was said.
    fn touch(&mut self, now: Mono, alert: AlertNo) {
        let Some(conversation) = self.all.get_mut(&alert) else { return };
        self.idle.remove(&(conversation.last, alert));
        conversation.last = now;
        self.idle.insert((now, alert));
    }

    /// A seat has been found for it.
    pub fn given(&mut self, alert: AlertNo, seat: SeatInfo, overflow: bool) {
        let Some(conversation) = self.all.get_mut(&alert) else {
            // It ended while the desk looked for a seat.
            return self.outputs.push_back(Output::Release { alert });
        };
        conversation.mode = if overflow { AnswerMode::Overflow } else { AnswerMode::Seat };
        // It was offered twice: whoever had it first hears that it is gone.
        let before = conversation.holder.replace(seat.clone()).filter(|before| before.no != seat.no);
        if let Some(before) = before {
            self.tell(before.no, alert, News::TakenBack);
        }
        self.outputs.push_back(Output::Held { alert, seat });
        self.tell_holder(alert, News::Given);
    }

    /// The seat no longer has it; another is being looked for.
    pub fn taken_back(&mut self, alert: AlertNo, seat: String) {
        if let Some(conversation) = self.all.get_mut(&alert).filter(|c| c.is_with(&seat)) {
            conversation.holder = None;
        }
        self.tell(seat, alert, News::TakenBack);
    }

    /// What this seat holds is told it anew.
    pub fn tell_all(&mut self, seat: &str) {
        let held = self.all.iter().filter(|(_, c)| c.is_with(seat)).map(|(alert, _)| *alert);
        for alert in held.collect::<Vec<_>>() {
            self.tell(seat.to_owned(), alert, News::Given);
        }
    }

    /// What became of a line of ours is news for whoever holds it.
    pub fn line_ended(&mut self, alert: AlertNo) {
        self.tell_holder(alert, News::State);
    }

    fn tell_holder(&mut self, alert: AlertNo, what: News) {
        if let Some(seat) = self.holder(alert).map(|seat| seat.no.clone()) {
            self.tell(seat, alert, what);
        }
    }

    fn tell(&mut self, seat: String, alert: AlertNo, what: News) {
        self.outputs.push_back(Output::Notice(Notice { seat, alert, what }));
    }

    fn holder(&self, alert: AlertNo) -> Option<&SeatInfo> {
        self.all.get(&alert)?.holder.as_ref()
    }

    /// The seat's particulars, if the conversation is with it.
    ///
    /// # Errors
    /// Why it may not speak there.
    pub fn held_by(&self, alert: AlertNo, seat: &str) -> Result<&SeatInfo, NotHeld> {
        let conversation = self.all.get(&alert).ok_or(NotHeld::NobodyWrites)?;
        conversation.holder.as_ref().filter(|holder| holder.no == seat).ok_or(NotHeld::OtherSeat)
    }

    /// Its taker has written.
    pub fn said(&mut self, now: Mono, alert: AlertNo) {
        self.touch(now, alert);
        self.outputs.push_back(Output::Said { alert });
        self.tell_holder(alert, News::State);
    }

    /// A human's first line has been taken by its channel, of an alert that arrived at `arrived`.
    pub fn line_taken(&mut self, now: Mono, alert: AlertNo, arrived: Mono) {
        let conversation = self.all.get_mut(&alert);
        let (since, mode) = conversation.as_ref().map_or((arrived, AnswerMode::Seat), |c| (c.arrived, c.mode));
        if let Some(conversation) = conversation {
            conversation.first_line = FirstLine::Said;
        }
        self.owed.remove(&(since + ANSWER_WITHIN, alert));
        self.outputs.push_back(Output::Answered { alert, mode, after: now.since(since) });
    }

    /// Somebody has said that it is over, or nobody has said anything for long.
    pub fn end(&mut self, alert: AlertNo) {
        let seat = self.holder(alert).map(|seat| seat.no.clone());
        self.forget(alert);
        self.outputs.push_back(Output::Ended { alert });
        if let Some(seat) = seat {
            self.tell(seat, alert, News::Ended);
        }
    }

    /// Its alert is over: nobody holds it any more.
    pub fn forget(&mut self, alert: AlertNo) {
        self.take_out(alert);
    }

    fn take_out(&mut self, alert: AlertNo) -> Option<Conversation> {
        let conversation = self.all.remove(&alert)?;
        self.owed.remove(&(conversation.arrived + ANSWER_WITHIN, alert));
        self.idle.remove(&(conversation.last, alert));
        self.outputs.push_back(Output::Release { alert });
        Some(conversation)
    }

    /// `from` goes on as `to`: its senders, its promise and its taker. `is_answered`: a human has spoken in `to`;
    /// `speaks_with`: the seat that does by telephone.
    pub fn join(&mut self, now: Mono, from: AlertNo, to: AlertNo, is_answered: bool, speaks_with: Option<String>) {
        self.threads.join(from, to);
        let moved = self.take_out(from);
        let seat = moved.as_ref().and_then(|c| c.holder.as_ref()).map(|seat| seat.no.clone());
        if let Some(seat) = seat.clone() {
            self.tell(seat, from, News::Ended);
        }
        match moved {
            // It then owes its first line as their alert does: `waits_since`.
            _ if self.all.contains_key(&to) => self.tell_holder(to, News::Line),
            Some(moved) => {
                let first_line = if is_answered { FirstLine::Said } else { moved.first_line };
                let conversation = Conversation { holder: None, first_line, ..moved };
                self.begin(now, to, conversation, speaks_with.or(seat));
            }
            None => {}
        }
    }

    /// Where a sender's words go when they leave `alert`; none: they do not write there.
    pub fn leaves_for(&self, alert: AlertNo, sender: &Address, reach: impl Fn(AlertNo) -> bool) -> Option<Return> {
        self.threads.leaves_for(alert, sender, reach)
    }

    /// A sender's words leave for `to`; whoever holds what they leave hears that they have.
    pub fn split(&mut self, sender: &Address, to: AlertNo) {
        if let Some(from) = self.threads.split(sender, to) {
            self.tell_holder(from, News::State);
        }
    }
}

#[cfg(test)]
mod tests;
