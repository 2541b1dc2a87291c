//! Whoever does not keep to the rules: telephones that answer twice, and third parties.

use std::time::Duration;

use bytes::Bytes;
use codecs::sip::{Message, Name};
use sip::Flow;

use super::{Coming, PATH, TROUBLE, World, is_invite};
use crate::cast::PARTIES;
use crate::party::Live;
use crate::rules::Rule;
use crate::strangers::{BURST, STRANGER, Strangers};

impl World {
    /// Some telephones say their 200 again, later than anybody waits for it or as somebody else, and some say one after
    /// they have refused.
    pub(super) fn answer_again(&mut self, party: usize, bytes: &Bytes) {
        let is = |status: &[u8]| bytes.starts_with(b"SIP/2.0 ") && bytes[8..].starts_with(status);
        let percent = if is(b"200") { 6 } else { 25 };
        if !(is(b"200") || is(b"486") || is(b"487")) || !self.chance.percent(percent) {
            return;
        }
        let Ok(message) = Message::frame(bytes.clone()) else { return };
        if !is_invite(&message) {
            return;
        }
        let again = match is(b"200") {
            true if self.chance.percent(60) => bytes.clone(),
            true => in_other_words(&message, "-fork"),
            false => in_other_words(&message, ""),
        };
        self.reach("answered twice");
        let after = if self.chance.percent(50) { self.chance.ms(5, 500) } else { self.chance.ms(500, 25_000) };
        self.plan(after, Coming::ToGateway { from: PARTIES[party], bytes: again });
    }

    /// What a third party says comes to the gateway, and moves nothing there.
    pub(super) fn hear_stranger(&mut self, bytes: Bytes) {
        let (now, wall) = (self.now, self.wall());
        // Broken, it is handed over as if one of the parties had said it.
        let broken = self.broken == Some(Rule::Strangers);
        let from = if broken { PARTIES[self.chance.below(3) as usize] } else { STRANGER };
        let Some(gateway) = &mut self.gateway else { return };
        let shard = usize::from(gateway.router.of_sip(&bytes));
        // What was due already is not their doing.
        gateway.shards[shard].handle_timeout(now, wall);
        let before = gateway.shards[shard].counts();
        gateway.shards[shard].handle_sip(now, wall, Flow::udp(from), bytes);
        let after = gateway.shards[shard].counts();
        self.strangers.may_answer = 1;
        self.reach("stranger's message");
        if before != after && !broken {
            self.blame(format!("a stranger has made {after:?} of {before:?}"));
        }
    }

    /// A third party is answered once at most, and nothing is agreed upon with it.
    pub(super) fn answered_stranger(&mut self, bytes: &Bytes) {
        let Some(left) = self.strangers.may_answer.checked_sub(1) else {
            return self.blame("a stranger was told something unasked, or twice".into());
        };
        self.strangers.may_answer = left;
        self.reach("stranger answered");
        let Ok(message) = Message::frame(bytes.clone()) else { return };
        let asked = message.get(Name::CSeq).unwrap_or_default();
        let agreed = message.code().is_none_or(|code| (101..300).contains(&code));
        if agreed && [&b"INVITE"[..], b"BYE", b"REGISTER"].iter().any(|m| asked.ends_with(m)) {
            self.blame(format!("a stranger's {} was agreed to", String::from_utf8_lossy(asked)));
        }
    }

    /// A third party's turn.
    pub(super) fn stranger(&mut self) {
        if self.is_past(TROUBLE) {
            return;
        }
        let after = self.chance.ms(50, 1000);
        self.plan(after, Coming::Stranger);
        if self.chance.percent(70) {
            let said = self.strangers.say(&mut self.chance);
            let Some(bytes) = said else { return };
            return self.carry(bytes.len(), || Coming::ToGateway { from: STRANGER, bytes: bytes.clone() });
        }
        let party = self.chance.below(3) as usize;
        if let Some(live) = self.parties[party].live(&mut self.chance) {
            for n in 0..BURST {
                self.plan(Duration::from_millis(u64::from(n) * 20), Coming::Injected { live, n });
            }
        }
    }

    /// A packet of theirs, for a stream that was up a moment ago.
    pub(super) fn inject(&mut self, live: &Live, n: u16) {
        let bytes = Strangers::speak(live, n, &mut self.chance);
        let as_report = self.chance.percent(10);
        let from = if self.broken == Some(Rule::Strangers) { live.from } else { STRANGER };
        let Some(gateway) = &mut self.gateway else { return };
        gateway.of_port(live.to).handle_media(self.now, live.to, as_report, from, &bytes);
        self.strangers_spoke = Some(self.now);
        self.reach("stranger's voice dropped");
    }

    /// What leaves the gateway: an INVITE of its own is never too long for a path.
    pub(super) fn check_length(&mut self, bytes: &Bytes) {
        // Broken, it says more than there is room for.
        let more = if self.broken == Some(Rule::ShortInvites) { 700 } else { 0 };
        if bytes.starts_with(b"INVITE ") && bytes.len() + more > PATH {
            self.blame(format!("an INVITE of {} octets", bytes.len() + more));
        }
    }
}

/// A 200 made of another answer of the same telephone; `fork`: with another tag.
fn in_other_words(answer: &Message, fork: &str) -> Bytes {
    let get = |name| String::from_utf8_lossy(answer.get(name).unwrap_or_default()).into_owned();
    let mut text = String::from("SIP/2.0 200 OK\r\n");
    for via in answer.all(Name::Via) {
        text += &format!("Via: {}\r\n", String::from_utf8_lossy(via));
    }
    let (from, to, id, cseq) = (get(Name::From), get(Name::To), get(Name::CallId), get(Name::CSeq));
    text += &format!("From: {from}\r\nTo: {to}{fork}\r\nCall-ID: {id}\r\nCSeq: {cseq}\r\n");
    text += &format!("Contact: <sip:{}>\r\nContent-Length: 0\r\n\r\n", PARTIES[1]);
    Bytes::from(text)
}
