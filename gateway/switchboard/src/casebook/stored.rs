//! What senders have had stored today: revisions of their words, and files. One sender cannot fill a disk.

use std::collections::{BTreeMap, VecDeque};

use casework::{Fact, Fetch, TextFact};
use codecs::record::{Address, AlertNo, Note};
use codecs::time::Wall;

use super::{Casebook, Deferred};
use crate::message::KeptBinding;

/// Senders of a day that are remembered; the oldest give way.
const SENDERS_MAX: usize = 100_000;

#[derive(Default)]
pub(super) struct Stored {
    day: u32,
    octets: BTreeMap<Address, u64>,
    order: VecDeque<Address>,
}

impl Stored {
    fn of(&mut self, at: Wall, sender: &Address) -> u64 {
        let day = at.beijing_date();
        if day != self.day {
            *self = Stored { day, ..Stored::default() };
        }
        self.octets.get(sender).copied().unwrap_or(0)
    }

    fn add(&mut self, at: Wall, sender: &Address, octets: u64) {
        let before = self.of(at, sender);
        if self.octets.insert(sender.clone(), before + octets).is_none() {
            self.order.push_back(sender.clone());
        }
        if self.order.len() > SENDERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.octets.remove(&oldest);
        }
    }
}

impl Casebook {
    /// Whether this sender has had stored what one may in a day.
    pub(super) fn is_spent(&mut self, at: Wall, sender: &Address) -> bool {
        self.config.stored_a_day.is_some_and(|most| self.stored.of(at, sender) >= most)
    }

    /// What was written since `before` was this sender's doing.
    pub(super) fn charge(&mut self, at: Wall, sender: &Address, before: u64) {
        let octets = self.written - before;
        if self.config.stored_a_day.is_some() {
            self.stored.add(at, sender, octets);
        }
    }

    /// A file is whoever's message it came with.
    pub(super) fn charge_file(&mut self, at: Wall, no: AlertNo, vendor_id: &str, octets: u64) {
        let sender = self.sender_of_file(no, vendor_id);
        if let (Some(sender), Some(_)) = (sender, self.config.stored_a_day) {
            self.stored.add(at, &sender, octets);
        }
    }

    fn sender_of_file(&self, no: AlertNo, vendor_id: &str) -> Option<Address> {
        let mut lines = self.alerts.get(no)?.text.iter().rev();
        let line = lines.find(|l| l.attachments.iter().any(|a| a.vendor_id == vendor_id))?;
        Some(Address { channel: line.channel.clone(), user: line.user.clone() })
    }

    /// A file is fetched once its message is durable, unless its sender has spent their day.
    pub(super) fn fetch(&mut self, at: Wall, fetch: Fetch) {
        let sender = self.sender_of_file(fetch.no, &fetch.vendor_id);
        if sender.is_some_and(|sender| self.is_spent(at, &sender)) {
            let Fetch { no, vendor_id, .. } = fetch;
            let lost = "the sender's quota of the day is spent".to_owned();
            let (uri, sha256, kind) = (String::new(), String::new(), String::new());
            self.refused_files
                .push_back((no, Fact::Text(TextFact::Fetched { vendor_id, uri, sha256, kind, lost, stored: 0 })));
            return;
        }
        self.defer(Deferred::Fetch(fetch));
    }
}

impl KeptBinding {
    pub(crate) fn of(note: &Note) -> Option<KeptBinding> {
        let Note::Binding { contact, transport, remote, until, .. } = note else { return None };
        let transport = if transport == "TCP" { sip::Transport::Tcp } else { sip::Transport::Udp };
        Some(KeptBinding { contact: contact.clone(), transport, remote: remote.parse().ok()?, until: Wall(*until) })
    }

    pub(super) fn note(&self, user: &str) -> Note {
        Note::Binding {
            user: user.to_owned(),
            contact: self.contact.clone(),
            transport: self.transport.text().to_owned(),
            remote: self.remote.to_string(),
            until: self.until.0,
        }
    }
}
