//! Tokens that say themselves whose they are, and are kept nowhere: of apps without a log-in, and of pages. This
//! installation alone can make them, and they end by themselves; they outlive a start.

use std::sync::{Arc, RwLock};

use codecs::sip::auth::hex;
use codecs::webhook::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::random;

/// How they begin.
pub(super) const PREFIX: &str = "gwd_";

/// The longest subject, in octets.
const SUBJECT_MAX: usize = 64;

/// A token as it is kept.
pub(super) fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// The hash of the installation's own token, once it is known.
#[derive(Clone, Default)]
pub struct Installation(Arc<RwLock<String>>);

impl Installation {
    pub(crate) fn set(&self, token: &str) {
        if let Ok(mut own) = self.0.write() {
            *own = hash(token);
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.0.read().is_ok_and(|own| !own.is_empty())
    }

    pub(super) fn is(&self, hash: &str) -> bool {
        self.0.read().is_ok_and(|own| *own == hash)
    }

    /// What only this installation can make of a text; none: its own token is not known yet.
    fn tag(&self, text: &str) -> Option<String> {
        let own = self.0.read().ok().filter(|own| !own.is_empty())?;
        Some(hex(&Secret::of(format!("signed by {own}").as_bytes()).tag(text.as_bytes())))
    }
}

/// Whose token it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    pub role: String,
    pub subject: String,
    pub area: String,
    /// The id of the token by which it was had, and with which it ends; empty: it stands by itself.
    pub by: String,
}

impl Holder {
    /// Of everywhere, by nobody's leave.
    pub(super) fn of(role: &str, subject: &str) -> Holder {
        Holder { role: role.into(), subject: subject.into(), area: String::new(), by: String::new() }
    }
}

/// A token until `expires` (seconds since 1970); none: the installation's own secret is not known yet.
pub(super) fn make(own: &Installation, holder: &Holder, expires: i64) -> Option<String> {
    let Holder { role, subject, area, by } = holder;
    let named = [subject, area, by].map(|text| hex(text.as_bytes())).join("_");
    // No two are the same: whoever logs out and in again within a second is another.
    let text = format!("{PREFIX}{role}_{named}_{}_{expires:x}", hex(&random::<8>()));
    let tag = own.tag(&text)?;
    Some(format!("{text}_{tag}"))
}

/// Whose it is, if we made it and its time is not over.
pub(super) fn read(own: &Installation, token: &str, now_s: i64) -> Option<Holder> {
    let (text, tag) = token.rsplit_once('_')?;
    let expected = own.tag(text)?;
    if !bool::from(expected.as_bytes().ct_eq(tag.as_bytes())) {
        return None;
    }
    let parts: Vec<&str> = text.strip_prefix(PREFIX)?.split('_').collect();
    let [role, subject, area, by, _, expires] = parts[..] else { return None };
    let expires = i64::from_str_radix(expires, 16).ok()?;
    let text = |hex: &str| String::from_utf8(unhex(hex)?).ok().filter(|s| s.len() <= SUBJECT_MAX);
    let holder = Holder { role: role.to_owned(), subject: text(subject)?, area: text(area)?, by: text(by)? };
    (now_s < expires).then_some(holder)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_token_is_good_for_whom_it_names_until_its_end_and_no_bit_of_it_may_change() {
        let (own, other) = (Installation::default(), Installation::default());
        assert_eq!(make(&own, &Holder::of("seat", "1101"), 100), None, "without a secret nothing is signed");
        own.set("the installation's own");
        other.set("another's");
        let token = make(&own, &Holder::of("seat", "1101"), 100).expect("made");
        assert_ne!(make(&own, &Holder::of("seat", "1101"), 100), Some(token.clone()), "each is another");
        let who_is = |token: &str, now| read(&own, token, now).map(|h| format!("{}:{}", h.role, h.subject));
        assert_eq!(who_is(&token, 99).as_deref(), Some("seat:1101"));
        assert_eq!(who_is(&token, 100), None, "its time is over");
        assert_eq!(read(&other, &token, 99), None);
        for at in 0..token.len() {
            for bit in 0..7 {
                let mut bytes = token.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let changed = String::from_utf8(bytes).expect("ASCII");
                assert_eq!(who_is(&changed, 99), None, "{at} {bit}");
            }
            assert_eq!(who_is(&token[..at], 99), None, "cut at {at}");
        }
        assert_eq!(who_is("gwd____", 0), None);
    }
}
