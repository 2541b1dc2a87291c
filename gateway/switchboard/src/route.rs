//! Which shard a message belongs to: a call lives where its Call-ID leads, and everything about it follows.

use std::hash::{DefaultHasher, Hasher as _};

use codecs::record::AlertNo;
use codecs::sip::peek_call_id;
use dispatch::CallKey;

use crate::message::{RequestId, ToShard};

/// Where a message for the shards goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    To(u16),
    /// Whoever it concerns will know.
    All,
}

/// The bits of a call's key, and of a page's number, that name their shard.
const KEY_BITS: u32 = 48;
const PAGE_BITS: u32 = 44;

pub(crate) fn first_key(shard: u16) -> u64 {
    u64::from(shard) << KEY_BITS
}

pub(crate) fn first_page(shard: u16) -> u64 {
    u64::from(shard) << PAGE_BITS
}

/// The shard that owns what this SIP message is about: registrations are the first one's; a Call-ID that we minted
/// carries its shard; any other leads where its hash says.
pub fn of_sip(bytes: &[u8], shards: u16) -> u16 {
    if shards < 2 || bytes.starts_with(b"REGISTER ") {
        return 0;
    }
    let Some(id) = peek_call_id(bytes) else { return 0 };
    (sip::shard_of_minted(id).map_or_else(|| hash(id), u64::from) % u64::from(shards)) as u16
}

/// The shard that takes a new call which no SIP message began.
fn of_alert(no: AlertNo, shards: u16) -> u16 {
    (hash(no.as_str().as_bytes()) % u64::from(shards.max(1))) as u16
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

impl ToShard {
    /// Always to a shard that there is.
    pub fn route(&self, shards: u16) -> Route {
        let of_number = |number: u64, bits: u32| Route::To(((number >> bits) % u64::from(shards.max(1))) as u16);
        let of_call = |call: CallKey| of_number(call.0, KEY_BITS);
        match self {
            ToShard::SeatReserved { call, .. } | ToShard::NoResponder { call } | ToShard::Action { call, .. } => {
                of_call(*call)
            }
            ToShard::ResponderReserved(reserved) => of_call(reserved.call),
            ToShard::CallBack { no, .. } => Route::To(of_alert(*no, shards)),
            ToShard::Serials { shard, .. } => of_number(u64::from(*shard), 0),
            ToShard::Silence { .. } => Route::All,
            ToShard::SendMessage(_) => Route::To(0),
            ToShard::AnswerMessage { page, .. } => of_number(*page, PAGE_BITS),
        }
    }
}

/// The most shards: more cores than that on one node have other limits, and each has a slice of the serials.
pub const SHARDS_MAX: u16 = 64;

// Pages are told apart from other requests by high bits, which a shard's number must not touch.
const _: () = assert!((SHARDS_MAX as u64) << PAGE_BITS <= RequestId::PAGE_LIMIT);
// A key and a leg's number make the session id of an SDP, which some peers read as a signed number.
const _: () = assert!((SHARDS_MAX as u64) << KEY_BITS <= 1 << 54);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_and_everything_said_in_it_lead_to_one_shard() {
        let invite = b"INVITE sip:110@x SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nCall-ID: 77@host\r\n\r\n";
        let ack = b"ACK sip:gw@x SIP/2.0\r\ni:77@host\r\nVia: SIP/2.0/UDP b\r\n\r\n";
        assert_eq!(of_sip(invite, 7), of_sip(ack, 7));
        let spread: std::collections::BTreeSet<u16> =
            (0..100).map(|n| of_sip(format!("BYE sip:x SIP/2.0\r\nCall-ID: {n}\r\n\r\n").as_bytes(), 4)).collect();
        assert_eq!(spread.len(), 4);
    }

    #[test]
    fn what_we_began_comes_back_to_whoever_began_it() {
        let answer = b"SIP/2.0 200 OK\r\nCall-ID: 0123456789abcdef-s3@110.example\r\n\r\n";
        assert_eq!((of_sip(answer, 4), of_sip(answer, 1)), (3, 0));
        // A shard that is not there any more since the last start: still one, always the same.
        let old = b"SIP/2.0 200 OK\r\nCall-ID: 0123456789abcdef-s9@110.example\r\n\r\n";
        assert_eq!(of_sip(old, 4), 1);
    }

    #[test]
    fn registrations_are_the_first_shards_and_so_is_what_has_no_call_id() {
        assert_eq!(of_sip(b"REGISTER sip:x SIP/2.0\r\nCall-ID: 5\r\n\r\n", 4), 0);
        assert_eq!(of_sip(b"\r\n\r\n", 4), 0);
    }
}
