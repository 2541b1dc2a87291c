//! Who writes to which alert, and who calls from which number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codecs::record::{Address, AlertNo};
use codecs::time::Mono;

/// A sender's thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    /// Where their words go now.
    pub alert: AlertNo,
    /// The alert that their first word began; another after a join.
    pub own: AlertNo,
    pub last: Mono,
    /// The telephone number that is theirs for certain.
    pub phone: Option<String>,
}

/// A telephone number's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Called {
    alert: AlertNo,
    last: Mono,
}

/// Where the words of a sender go who leaves an alert.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Return {
    /// To the alert that their first word began.
    Own(AlertNo),
    /// They began this one, or their own is over.
    New,
}

/// Who writes to which alert, and who calls from which number.
#[derive(Default)]
pub struct Threads {
    threads: BTreeMap<Address, Thread>,
    by_alert: BTreeMap<AlertNo, BTreeSet<Address>>,
    by_phone: BTreeMap<String, Called>,
    phone_order: BTreeSet<(Mono, String)>,
    thread_order: BTreeSet<(Mono, Address)>,
}

impl Threads {
    /// The alert that a word of this sender belongs to: their thread's, else that of their telephone number.
    /// The caller knows whether that alert can still take it.
    pub fn find(&self, sender: &Address, phone: Option<&str>) -> Option<AlertNo> {
        let by_thread = self.threads.get(sender).map(|t| t.alert);
        by_thread.or_else(|| self.by_phone.get(phone?).map(|t| t.alert))
    }

    /// The alert of a telephone number.
    pub fn of_phone(&self, phone: &str) -> Option<AlertNo> {
        self.by_phone.get(phone).map(|t| t.alert)
    }

    pub fn get(&self, sender: &Address) -> Option<&Thread> {
        self.threads.get(sender)
    }

    /// A word of this sender went to `alert`.
    pub fn note(&mut self, at: Mono, sender: &Address, phone: Option<&str>, alert: AlertNo) {
        let own = self.threads.get(sender).filter(|t| t.alert == alert).map_or(alert, |t| t.own);
        self.restore(at, sender, phone, (alert, own));
    }

    /// The same, where it is known which alert their first word began.
    pub fn restore(&mut self, at: Mono, sender: &Address, phone: Option<&str>, (alert, own): (AlertNo, AlertNo)) {
        match self.threads.get_mut(sender) {
            Some(thread) => {
                let (last, from) = (thread.last, thread.alert);
                (thread.alert, thread.own, thread.last) = (alert, own, at);
                if phone.is_some() && thread.phone.as_deref() != phone {
                    thread.phone = phone.map(str::to_owned);
                }
                self.thread_order.remove(&(last, sender.clone()));
                if from != alert {
                    self.leave(from, sender);
                }
            }
            None => {
                let phone = phone.map(str::to_owned);
                self.threads.insert(sender.clone(), Thread { alert, own, last: at, phone });
            }
        }
        self.thread_order.insert((at, sender.clone()));
        self.by_alert.entry(alert).or_default().insert(sender.clone());
        if let Some(phone) = phone {
            self.note_phone(at, phone, alert);
        }
    }

    /// A call from this number is `alert`.
    pub fn note_phone(&mut self, at: Mono, phone: &str, alert: AlertNo) {
        if phone.is_empty() {
            return;
        }
        if let Some(old) = self.by_phone.insert(phone.to_owned(), Called { alert, last: at }) {
            self.phone_order.remove(&(old.last, phone.to_owned()));
        }
        self.phone_order.insert((at, phone.to_owned()));
    }

    /// Everybody who writes to `from` writes to `to` from now on.
    pub fn join(&mut self, from: AlertNo, to: AlertNo) {
        for sender in self.by_alert.remove(&from).unwrap_or_default() {
            if let Some(thread) = self.threads.get_mut(&sender) {
                thread.alert = to;
            }
            self.by_alert.entry(to).or_default().insert(sender);
        }
        for phone in self.by_phone.values_mut().filter(|t| t.alert == from) {
            phone.alert = to;
        }
    }

    /// Where this sender's words go when they leave `alert`; none: they do not write there.
    pub fn leaves_for(&self, alert: AlertNo, sender: &Address, reach: impl Fn(AlertNo) -> bool) -> Option<Return> {
        let thread = self.threads.get(sender).filter(|t| t.alert == alert)?;
        Some(if thread.own != alert && reach(thread.own) { Return::Own(thread.own) } else { Return::New })
    }

    /// This sender's words go to `to` alone, which is theirs, and so do the calls of the number that they came with.
    pub fn split(&mut self, sender: &Address, to: AlertNo) -> Option<AlertNo> {
        let thread = self.threads.get_mut(sender)?;
        let from = std::mem::replace(&mut thread.alert, to);
        thread.own = to;
        let phone = thread.phone.as_ref().and_then(|phone| self.by_phone.get_mut(phone));
        if let Some(phone) = phone.filter(|p| p.alert == from) {
            phone.alert = to;
        }
        self.leave(from, sender);
        self.by_alert.entry(to).or_default().insert(sender.clone());
        Some(from)
    }

    fn leave(&mut self, alert: AlertNo, sender: &Address) {
        if let Some(senders) = self.by_alert.get_mut(&alert) {
            senders.remove(sender);
            if senders.is_empty() {
                self.by_alert.remove(&alert);
            }
        }
    }

    /// Forgets whoever has not been heard of for longer than `keep`. Those whose alert is `open` are looked at again
    /// after as long.
    pub fn forget(&mut self, now: Mono, keep: Duration, open: impl Fn(AlertNo) -> bool) {
        let before = now - keep;
        while self.phone_order.first().is_some_and(|(at, _)| *at <= before)
            && let Some((at, phone)) = self.phone_order.pop_first()
        {
            match self.by_phone.get(&phone) {
                // Looked at again after another while.
                Some(thread) if open(thread.alert) => self.keep_phone(now, phone),
                Some(thread) if thread.last == at => drop(self.by_phone.remove(&phone)),
                _ => {}
            }
        }
        while self.thread_order.first().is_some_and(|(at, _)| *at <= before)
            && let Some((_, sender)) = self.thread_order.pop_first()
        {
            let Some(thread) = self.threads.get_mut(&sender) else { continue };
            if open(thread.alert) {
                thread.last = now;
                self.thread_order.insert((now, sender));
            } else {
                let alert = thread.alert;
                self.threads.remove(&sender);
                self.leave(alert, &sender);
            }
        }
    }

    fn keep_phone(&mut self, at: Mono, phone: String) {
        if let Some(thread) = self.by_phone.get_mut(&phone) {
            thread.last = at;
            self.phone_order.insert((at, phone));
        }
    }

    /// When the next one may be forgotten, if `keep` is how long they are remembered.
    pub fn next_forgotten(&self, keep: Duration) -> Option<Mono> {
        let phone = self.phone_order.first().map(|(at, _)| *at);
        let thread = self.thread_order.first().map(|(at, _)| *at);
        [phone, thread].into_iter().flatten().min().map(|at| at + keep)
    }

    pub fn len(&self) -> usize {
        self.threads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(serial: u32) -> AlertNo {
        AlertNo::mint("370400000000", 20_261_122, 1, serial)
    }

    fn sender(channel: &str, user: &str) -> Address {
        Address { channel: channel.into(), user: user.into() }
    }

    #[test]
    fn a_call_and_a_text_of_one_number_find_the_same_alert() {
        let mut t = Threads::default();
        t.note_phone(Mono(1), "13800138000", no(1));
        let sms = sender("cmcc", "13800138000");
        assert_eq!(t.find(&sms, Some("13800138000")), Some(no(1)));
        t.note(Mono(2), &sms, Some("13800138000"), no(1));
        assert_eq!(t.find(&sms, None), Some(no(1)));
        assert_eq!(t.find(&sender("wechat", "o1"), None), None);
    }

    #[test]
    fn what_was_joined_can_be_taken_apart_and_goes_back_to_its_own() {
        let mut t = Threads::default();
        let (sms, wechat) = (sender("cmcc", "13800138000"), sender("wechat", "o1"));
        t.note(Mono(1), &sms, Some("13800138000"), no(1));
        t.note(Mono(2), &wechat, None, no(2));
        t.join(no(2), no(1));
        assert_eq!(t.find(&wechat, None), Some(no(1)));
        t.note(Mono(3), &wechat, None, no(1));
        assert_eq!(t.get(&wechat).map(|t| t.own), Some(no(2)), "a join does not make one forget");
        let own = t.get(&wechat).expect("there").own;
        assert_eq!(t.split(&wechat, own), Some(no(1)));
        assert_eq!((t.find(&wechat, None), t.find(&sms, None)), (Some(no(2)), Some(no(1))));
        // A number goes where its sender goes: nobody calls into the conversation that they were taken out of.
        let other = sender("cmcc", "13900139000");
        t.note(Mono(4), &other, Some("13900139000"), no(3));
        t.join(no(3), no(1));
        assert_eq!(t.of_phone("13900139000"), Some(no(1)));
        t.split(&other, no(3));
        assert_eq!((t.of_phone("13900139000"), t.of_phone("13800138000")), (Some(no(3)), Some(no(1))));
    }

    #[test]
    fn whoever_writes_calls_and_is_taken_out_takes_the_number_of_the_call_along() {
        let mut t = Threads::default();
        let (alice, bob) = (sender("cmcc", "13800138000"), sender("wechat", "bob"));
        t.note(Mono(1), &alice, Some("13800138000"), no(1));
        t.note(Mono(2), &bob, None, no(2));
        // Her call begins an alert of its own, as which her words go on; then that goes on as Bob's.
        t.note_phone(Mono(3), "13800138000", no(3));
        t.join(no(1), no(3));
        t.join(no(3), no(2));
        assert_eq!(t.split(&alice, no(1)), Some(no(2)));
        assert_eq!(t.of_phone("13800138000"), Some(no(1)), "her next call is hers alone");
        assert_eq!(t.find(&bob, None), Some(no(2)));
    }

    #[test]
    fn whoever_was_not_heard_of_is_forgotten_unless_the_alert_is_open() {
        let mut t = Threads::default();
        t.note(Mono(1), &sender("cmcc", "1"), Some("1"), no(1));
        t.note(Mono(2), &sender("cmcc", "2"), Some("2"), no(2));
        let keep = Duration::from_nanos(5);
        t.forget(Mono(10), keep, |n| n == no(2));
        assert_eq!((t.of_phone("1"), t.of_phone("2"), t.len()), (None, Some(no(2)), 1));
        assert_eq!(t.next_forgotten(keep), Some(Mono(15)), "looked at again, and not at once");
        t.forget(Mono(15), keep, |_| false);
        assert!(t.is_empty() && t.next_forgotten(Duration::ZERO).is_none());
    }
}
