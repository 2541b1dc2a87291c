//! Long messages from their parts, whatever order they come in, twice or never.

use std::collections::BTreeMap;
use std::time::Duration;

use codecs::record::Address;
use codecs::sms::{Alphabet, Segment, decode};
use codecs::time::Mono;

/// What makes parts belong together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LongKey {
    pub sender: Address,
    pub to: String,
    pub reference: u16,
    pub total: u8,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub key: LongKey,
    pub number: u8,
    pub alphabet: Alphabet,
    pub octets: Vec<u8>,
    pub message_id: String,
}

impl Part {
    pub fn new(sender: Address, to: String, segment: Segment, alphabet: Alphabet, octets: Vec<u8>, id: String) -> Part {
        let key = LongKey { sender, to, reference: segment.reference, total: segment.total };
        Part { key, number: segment.number, alphabet, octets, message_id: id }
    }
}

/// What a part, or the passing of time, made of a long message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Joined {
    /// Others are missing.
    Kept,
    /// Word for word what another part with this number said.
    Again,
    /// All of it, with the name of its first part and those of all.
    Whole { text: String, message_id: String, names: Vec<String> },
    /// Another text under the same reference: what there was of the one before, gaps marked, and what this part made.
    Instead { before: Box<Joined>, then: Box<Joined> },
    /// What there is after the time that one waits, gaps marked.
    Partial { key: LongKey, text: String, message_id: String, names: Vec<String> },
    /// A part that came after the rest was given up.
    Late { text: String },
}

struct Slot {
    parts: BTreeMap<u8, (Alphabet, Vec<u8>)>,
    names: BTreeMap<u8, String>,
    /// The name of the first that came.
    message_id: String,
    begun: Mono,
    /// What there was has been handed on; late parts follow singly.
    given_up: bool,
}

/// Long messages of which parts are missing.
pub struct Assembly {
    /// How long the missing parts are waited for.
    wait: Duration,
    /// How long the place of a message that was given up is kept for late parts.
    keep: Duration,
    slots: BTreeMap<LongKey, Slot>,
    due: std::collections::BTreeSet<(Mono, LongKey)>,
}

impl Assembly {
    pub fn new(wait: Duration, keep: Duration) -> Assembly {
        Assembly { wait, keep, slots: BTreeMap::new(), due: std::collections::BTreeSet::new() }
    }

    pub fn add(&mut self, at: Mono, part: Part) -> Joined {
        let Part { key, number, alphabet, octets, message_id } = part;
        if let Some(slot) = self.slots.get_mut(&key) {
            match slot.parts.get(&number) {
                Some((_, old)) if *old == octets => return Joined::Again,
                // References wrap, and some senders have only one: another text under the same number begins another
                // message, and what was acknowledged of the one before is handed on as it is.
                Some(_) if slot.given_up => self.remove(&key),
                Some(_) => {
                    let before = Box::new(slot.partial(key.clone()));
                    self.remove(&key);
                    let part = Part { key, number, alphabet, octets, message_id };
                    return Joined::Instead { before, then: Box::new(self.add(at, part)) };
                }
                None if slot.given_up => {
                    let text = decode(alphabet, &octets);
                    slot.parts.insert(number, (alphabet, octets));
                    return Joined::Late { text };
                }
                None => {}
            }
        }
        let due = at + self.wait;
        let slot = self.slots.entry(key.clone()).or_insert_with(|| {
            self.due.insert((due, key.clone()));
            let (parts, names) = (BTreeMap::new(), BTreeMap::new());
            Slot { parts, names, message_id: message_id.clone(), begun: at, given_up: false }
        });
        slot.names.insert(number, message_id);
        slot.parts.insert(number, (alphabet, octets));
        if slot.parts.len() < key.total as usize {
            return Joined::Kept;
        }
        let (text, message_id) = (slot.text(key.total), std::mem::take(&mut slot.message_id));
        let names = std::mem::take(&mut slot.names).into_values().collect();
        self.remove(&key);
        Joined::Whole { text, message_id, names }
    }

    fn remove(&mut self, key: &LongKey) {
        if let Some(slot) = self.slots.remove(key) {
            self.due.remove(&(slot.begun + self.wait, key.clone()));
            self.due.remove(&(slot.begun + self.wait + self.keep, key.clone()));
        }
    }

    /// Gives up the next message whose parts did not come in time.
    pub fn expire(&mut self, at: Mono) -> Option<Joined> {
        while let Some((due, key)) = self.due.first().cloned()
            && due <= at
        {
            self.due.pop_first();
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if slot.given_up {
                self.slots.remove(&key);
                continue;
            }
            slot.given_up = true;
            self.due.insert((due + self.keep, key.clone()));
            return Some(slot.partial(key));
        }
        None
    }

    /// The message that this one named is whole after all.
    pub fn forget(&mut self, channel: &str, message_id: &str) {
        let of = |(key, slot): (&LongKey, &Slot)| {
            (key.sender.channel == channel && slot.message_id == message_id).then(|| key.clone())
        };
        if let Some(key) = self.slots.iter().find_map(of) {
            self.remove(&key);
        }
    }

    pub fn next_due(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every part that is waiting, for a snapshot.
    pub fn parts(&self) -> impl Iterator<Item = (Mono, Part)> {
        self.slots.iter().filter(|(_, s)| !s.given_up).flat_map(|(key, slot)| {
            slot.parts.iter().map(|(number, (alphabet, octets))| {
                let part = Part {
                    key: key.clone(),
                    number: *number,
                    alphabet: *alphabet,
                    octets: octets.clone(),
                    message_id: slot.names.get(number).unwrap_or(&slot.message_id).clone(),
                };
                (slot.begun, part)
            })
        })
    }
}

impl Slot {
    fn partial(&self, key: LongKey) -> Joined {
        let (text, names) = (self.text(key.total), self.names.values().cloned().collect());
        Joined::Partial { key, text, message_id: self.message_id.clone(), names }
    }

    /// Neighbours in one alphabet are joined before they are decoded: senders cut characters in two.
    fn text(&self, total: u8) -> String {
        let mut text = String::new();
        let mut run: Option<(Alphabet, Vec<u8>)> = None;
        let flush = |run: &mut Option<(Alphabet, Vec<u8>)>, text: &mut String| {
            if let Some((alphabet, octets)) = run.take() {
                text.push_str(&decode(alphabet, &octets));
            }
        };
        for number in 1..=total {
            match (self.parts.get(&number), &mut run) {
                (Some((alphabet, octets)), Some((of, run))) if of == alphabet => run.extend_from_slice(octets),
                (Some(part), _) => {
                    flush(&mut run, &mut text);
                    run = Some(part.clone());
                }
                (None, _) => {
                    flush(&mut run, &mut text);
                    text.push_str(&format!("[缺第{number}段]"));
                }
            }
        }
        flush(&mut run, &mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u8, text: &str) -> Part {
        let sender = Address { channel: "cmcc".into(), user: "138".into() };
        let segment = Segment { reference: 7, total: 3, number };
        let octets = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        Part::new(sender, "12110".into(), segment, Alphabet::Ucs2, octets, format!("m{number}"))
    }

    fn assembly() -> Assembly {
        Assembly::new(Duration::from_nanos(60), Duration::from_nanos(600))
    }

    #[test]
    fn parts_in_any_order_and_twice_make_the_message_once() {
        for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
            let mut a = assembly();
            assert_eq!(a.add(Mono(0), part(order[0], "甲")), Joined::Kept);
            assert_eq!(a.add(Mono(0), part(order[0], "甲")), Joined::Again);
            assert_eq!(a.add(Mono(1), part(order[1], "乙")), Joined::Kept);
            let Joined::Whole { text, message_id, names } = a.add(Mono(2), part(order[2], "丙")) else {
                panic!("whole")
            };
            assert_eq!(text.chars().count(), 3);
            assert_eq!(message_id, format!("m{}", order[0]));
            assert_eq!(names, ["m1", "m2", "m3"]);
            assert!(a.is_empty() && a.next_due().is_none());
        }
    }

    #[test]
    fn a_character_cut_in_two_is_read_whole() {
        let mut a = assembly();
        let mut high = part(1, "x");
        high.octets.extend_from_slice(&[0xD8, 0x3D]);
        let mut low = part(2, "");
        low.octets = vec![0xDE, 0x00];
        a.add(Mono(0), high);
        a.add(Mono(0), low);
        let Joined::Whole { text, .. } = a.add(Mono(0), part(3, "y")) else { panic!("whole") };
        assert_eq!(text, "x😀y");
    }

    #[test]
    fn what_is_missing_is_marked_after_a_while_and_may_still_come() {
        let mut a = assembly();
        a.add(Mono(0), part(1, "甲"));
        a.add(Mono(5), part(3, "丙"));
        assert_eq!(a.next_due(), Some(Mono(60)));
        assert_eq!(a.expire(Mono(59)), None);
        let Some(Joined::Partial { text, .. }) = a.expire(Mono(60)) else { panic!("given up") };
        assert_eq!(text, "甲[缺第2段]丙");
        assert_eq!(a.add(Mono(100), part(2, "乙")), Joined::Late { text: "乙".into() });
        assert_eq!(a.expire(Mono(660)), None);
        assert!(a.is_empty());
    }

    #[test]
    fn another_text_under_the_same_number_begins_another_message_and_loses_nothing_of_the_one_before() {
        let mut a = assembly();
        a.add(Mono(0), part(1, "甲"));
        let Joined::Instead { before, then } = a.add(Mono(1), part(1, "丁")) else { panic!("two messages") };
        assert!(
            matches!(*before, Joined::Partial { text, message_id, .. } if text.starts_with('甲') && message_id == "m1")
        );
        assert_eq!(*then, Joined::Kept);
        a.add(Mono(2), part(2, "乙"));
        let Joined::Whole { text, .. } = a.add(Mono(3), part(3, "丙")) else { panic!("whole") };
        assert_eq!(text, "丁乙丙");
    }
}
