//! What was said and written on an alert, and how its reporter can be written to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Form, Stamp};

/// Where somebody can be written to: one of our channels, and who they are on it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// As the configuration names it.
    pub channel: String,
    /// Telephone number, openid, … .
    pub user: String,
}

/// Somebody who writes on an alert. What is not said of them follows from the alert that they write on: they began it,
/// its number is theirs, they wait since it began.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Writer {
    /// As the configuration names it.
    pub channel: String,
    /// Telephone number, openid, … .
    pub user: String,
    /// The telephone number that is theirs for certain, where it is not the alert's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phone: String,
    /// Others that were theirs for certain before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The alert that their first word began, where it went on as this one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub began: String,
    /// Since when they wait for an answer, where others wait as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Stamp>,
    /// Their words asked for silence: it ends when the last of them is taken out of the alert.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked_silence: bool,
    /// An agency's: which of its words about its case was its latest, as it counts them; they may come in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
}

/// Numbers of one writer that are kept beside the last.
const NUMBERS_MAX: usize = 8;

impl Writer {
    pub fn address(&self) -> Address {
        Address { channel: self.channel.clone(), user: self.user.clone() }
    }

    pub fn is(&self, address: &Address) -> bool {
        self.channel == address.channel && self.user == address.user
    }

    /// This number is theirs too, and the one that they showed last.
    pub fn shows(&mut self, number: &str) {
        if number.is_empty() || number == self.phone {
            return;
        }
        self.also.retain(|other| other != number);
        let before = std::mem::replace(&mut self.phone, number.to_owned());
        if !before.is_empty() {
            self.also.push(before);
        }
        if self.also.len() > NUMBERS_MAX {
            self.also.remove(0);
        }
    }
}

impl From<Address> for Writer {
    fn from(address: Address) -> Writer {
        Writer { channel: address.channel, user: address.user, ..Writer::default() }
    }
}

/// What would endanger the reporter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Safety {
    /// Never ring, never write unasked.
    pub silent: bool,
    /// Not even a receipt.
    pub no_reply_sms: bool,
}

impl Safety {
    pub(super) fn is_default(&self) -> bool {
        *self == Safety::default()
    }
}

/// One line of what was said or written: a transcript's, or a message in either direction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TextLine {
    pub at: Stamp,
    /// `caller`, `seat`, `officer`, …; `gateway` for the machine's receipt.
    pub by: String,
    pub body: String,
    /// A message's direction; a transcript has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<Direction>,
    /// The channel it came or went by, as the configuration names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// Who of that channel wrote it, or was written to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Names the message on its channel; ours are named by the alert.
    #[serde(default, rename = "ref", skip_serializing_if = "String::is_empty")]
    pub message_id: String,
    /// What became of a message of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<LineState>,
    /// The line of ours that its channel did not take: this one says the same by another.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instead_of: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attached>,
}

impl TextLine {
    /// A line of a transcript.
    pub fn said(at: Stamp, by: String, body: String) -> TextLine {
        TextLine {
            at,
            by,
            body,
            dir: None,
            channel: String::new(),
            user: String::new(),
            message_id: String::new(),
            state: None,
            instead_of: String::new(),
            attachments: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    In,
    Out,
}

/// The way of a message of ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineState {
    /// Durable, not yet taken by the channel.
    Queued,
    /// The channel has taken it.
    Sent,
    /// The other side's device has it.
    Delivered,
    Failed,
}

/// What came with a message: known to the platform by its id, to us by its hash once it is fetched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Attached {
    pub kind: Form,
    pub vendor_id: String,
    /// Where the file lies; empty until it is fetched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// Why it could not be fetched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lost: String,
}
