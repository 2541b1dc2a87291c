//! People who write, the carrier that hands their messages over until they are acknowledged, and takers who answer.

use std::collections::BTreeMap;

use codecs::record::{Address, AlertNo, AlertRecord, Direction, Form, Relation};
use codecs::sms::{Alphabet, Segment};
use switchboard::{Body, Incoming, RequestId};

use crate::chance::Chance;
use crate::rules::Rule;

/// Request numbers of messages begin here, so that they are told from those of the API.
const FIRST_REQUEST: u64 = 1 << 40;
pub const CHANNELS: [&str; 2] = ["sms", "chat"];
pub const SILENT_WORD: &str = "绑架";

/// A message on its way, as its carrier keeps it.
pub struct Sent {
    pub user: Address,
    pub text: String,
    pub part: Option<Segment>,
    pub acknowledged: bool,
    pub times: u32,
}

#[derive(Default)]
pub struct Writers {
    pub sent: Vec<Sent>,
}

impl Writers {
    /// A writer's messages: one, or one in three parts. Returns their numbers.
    pub fn write(&mut self, who: u64, caller: Option<String>, chance: &mut Chance) -> std::ops::Range<usize> {
        let channel = CHANNELS[usize::from(caller.is_none() && chance.percent(50))];
        let user = Address { channel: channel.into(), user: caller.unwrap_or_else(|| format!("user{who}")) };
        let from = self.sent.len();
        let silent = chance.percent(15);
        let long = channel == "sms" && chance.percent(30);
        let reference = (who * 7 % 256) as u16;
        for number in 1..=if long { 3 } else { 1 } {
            let word = if silent && number == 1 { SILENT_WORD } else { "打架" };
            let part = long.then_some(Segment { reference, total: 3, number });
            let text = format!("m{}-{word}", self.sent.len());
            self.sent.push(Sent { user: user.clone(), text, part, acknowledged: false, times: 0 });
        }
        from..self.sent.len()
    }

    /// The message as the gateway gets it; sent again it has the same name, unless that rule is broken.
    pub fn incoming(&mut self, n: usize, broken: Option<Rule>) -> (Incoming, RequestId) {
        let sent = &mut self.sent[n];
        sent.times += 1;
        let again = broken == Some(Rule::MessageDeDuplication) && sent.times > 1;
        let octets = sent.text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let incoming = Incoming {
            from: sent.user.clone(),
            message_id: if again { format!("{n}-{}", sent.times) } else { n.to_string() },
            session: None,
            to: "12110".into(),
            body: Body::Octets { alphabet: Alphabet::Ucs2, octets, segment: sent.part },
            forms: vec![Form::Text],
            attachments: Vec::new(),
            location: None,
            phone: None,
            silent: false,
            is_ping: false,
            case: None,
        };
        (incoming, RequestId(FIRST_REQUEST + n as u64))
    }

    /// The message that a reply acknowledges.
    pub fn of(request: RequestId) -> Option<usize> {
        request.0.checked_sub(FIRST_REQUEST).filter(|n| *n < FIRST_REQUEST).map(|n| n as usize)
    }

    /// Every acknowledged message is in exactly one alert, once; whoever must not be heard has no receipt.
    pub fn check(&self, alerts: &BTreeMap<String, AlertRecord>) -> Result<(), String> {
        let current = || alerts.values().filter(|a| !a.id.related.iter().any(|r| r.kind == Relation::Duplicate));
        for sent in self.sent.iter().filter(|s| s.acknowledged) {
            let lines = current().flat_map(|a| &a.text).filter(|l| l.dir == Some(Direction::In));
            let count: usize = lines.map(|l| l.body.matches(&format!("{}{}", sent.text, "")).count()).sum();
            if count != 1 {
                return Err(format!("the acknowledged message `{}` is in the alerts {count} times", sent.text));
            }
        }
        for alert in current() {
            let first = alert.text.iter().find(|l| l.dir == Some(Direction::In));
            let silent = first.is_some_and(|l| l.body.contains(SILENT_WORD));
            if silent && alert.text.iter().any(|l| l.dir == Some(Direction::Out)) {
                return Err(format!("{}: somebody who must not be heard was written to", alert.id.alert_no));
            }
        }
        Ok(())
    }
}

/// What a taker does with a conversation that they were given.
pub struct Say {
    pub seat: String,
    pub alert: AlertNo,
    pub done: bool,
}
