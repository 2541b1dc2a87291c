//! What the journal keeps about messages besides revisions: small, frequent, and needed only to go on after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Address, LineState};
use crate::sms::Alphabet;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// A part of a long message whose others are missing.
    Part {
        sender: Address,
        to: String,
        reference: u16,
        total: u8,
        number: u8,
        alphabet: Alphabet,
        /// Hexadecimal.
        octets: String,
        message_id: String,
    },
    /// What became of a line of ours.
    Line { line: String, state: LineState },
    /// A line to somebody who has no open alert.
    Outbound {
        line: String,
        to: Address,
        body: String,
        notice: bool,
        /// Who asked for it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
    },
    /// Messages received before: fingerprints in hexadecimal, for a snapshot.
    Seen { names: Vec<String> },
    /// Messages of one channel received before: fingerprint, and the alert that each belongs to or nothing.
    Known { channel: String, names: Vec<(String, String)> },
    /// Where a phone has registered, until when (nanoseconds since 1970).
    Binding { user: String, contact: String, transport: String, remote: String, until: i64 },
    /// A phone is gone.
    Unbound { user: String },
    /// What a start needs before it has read anything else, at the front of a segment: the first serial that no block
    /// has reserved, officers whose duty was changed, and the segment in which the last whole snapshot begins (0: there
    /// is none). Bindings follow as notes of their own.
    Head {
        serials: u64,
        /// The same by date.
        #[serde(default)]
        dates: BTreeMap<u32, u64>,
        duties: BTreeMap<String, bool>,
        snapshot: u64,
    },
    /// The answer to a request with an `Idempotency-Key`: whose, under which name, what was asked, what was answered.
    Answered { subject: String, name: String, asked: String, status: u16, kind: String, body: String },
    /// A start found that something in the journal was not as it was written.
    Damaged { segment: u64, offset: u64, octets: u64, missing: u64, what: String },
}

impl Note {
    #[expect(clippy::expect_used, reason = "it has nothing that JSON could not say")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a note serialises")
    }

    pub fn parse(bytes: &[u8]) -> Option<Note> {
        serde_json::from_slice(bytes).ok()
    }
}

/// A change of an officer's duty, as it stands in the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Duty {
    pub officer: String,
    pub on_duty: bool,
    /// Who changed it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

impl Duty {
    #[expect(clippy::expect_used, reason = "it has nothing that JSON could not say")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a duty serialises")
    }

    pub fn parse(bytes: &[u8]) -> Option<Duty> {
        serde_json::from_slice(bytes).ok()
    }
}
