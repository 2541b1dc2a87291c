//! What the chat platforms send us: verified, decrypted, read into one form.
//!
//! The signature comes first and is compared in constant time; nothing is parsed that nobody signed.

pub mod agency;
pub mod app;
pub mod qq;
pub mod wechat;
pub mod weibo;

use crate::geo::{Datum, Point};
use crate::record::Form;

/// A message or event of a user, whatever the platform.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Incoming {
    /// Who wrote: an identifier of the platform, valid for one account of ours.
    pub user: String,
    /// Names the message for good; the same one again is the same message.
    pub message_id: String,
    pub text: String,
    pub attachments: Vec<Attachment>,
    pub location: Option<SharedLocation>,
    /// Not a message: `subscribe`, `unsubscribe`, `enter`, … .
    pub event: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    pub kind: Form,
    /// By which the platform knows it.
    pub vendor_id: String,
    /// Where it can be fetched without asking the platform; empty when it has to be asked.
    pub url: String,
}

#[derive(Clone, PartialEq, Debug)]
pub struct SharedLocation {
    pub point: Point,
    pub datum: Datum,
    pub label: String,
}

/// Why a request is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Forged, replayed too late, or not decryptable: all answered alike.
    Signature,
    /// Signed, and not what the platform documents.
    Malformed(&'static str),
}

/// Whether two texts are equal, in time that depends on the length only.
fn same(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}

/// SHA-1, in hex, of the sorted texts one after another: the signature of WeChat, WeCom and Weibo.
fn sorted_sha1(parts: &mut [&str]) -> String {
    use sha1::{Digest as _, Sha1};
    parts.sort_unstable();
    let mut sha1 = Sha1::new();
    for part in parts {
        sha1.update(part.as_bytes());
    }
    crate::sip::auth::hex(&sha1.finalize())
}
