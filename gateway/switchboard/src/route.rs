//! Which shard a message belongs to: a call lives where its Call-ID leads, and everything about it follows.

use std::hash::{DefaultHasher, Hasher as _};

use codecs::record::AlertNo;
use codecs::sip::peek_call_id;
use dispatch::CallKey;
use sip::{CallIds, Seed};

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

/// Says whose a SIP message is. Nobody outside can aim: what leads by its hash does so under a secret, and a Call-ID of
/// ours proves itself.
#[derive(Clone, Copy, Debug)]
pub struct Router {
    ids: CallIds,
    secret: u64,
    shards: u16,
}

impl Router {
    pub fn new(ids: CallIds, seed: &Seed, shards: u16) -> Router {
        let secret = seed[..8].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        Router { ids, secret, shards }
    }

    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard that owns what this SIP message is about: registrations are the first one's; a Call-ID that we minted
    /// carries its shard; any other leads where its hash says.
    pub fn of_sip(&self, bytes: &[u8]) -> u16 {
        let text = &bytes[bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()..];
        if self.shards < 2 || text.starts_with(b"REGISTER ") {
            return 0;
        }
        let Some(id) = peek_call_id(text) else { return 0 };
        let number = self.ids.shard_of(id).map_or_else(|| self.hash(id), u64::from);
        (number % u64::from(self.shards)) as u16
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.secret);
        hasher.write(bytes);
        hasher.finish()
    }
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
            ToShard::SeatReserved { call, .. }
            | ToShard::NoResponder { call }
            | ToShard::Action { call, .. }
            | ToShard::AskedIn { call, .. } => of_call(*call),
            ToShard::ResponderReserved(reserved) => of_call(reserved.call),
            ToShard::CallBack(what) => Route::To(of_alert(what.no, shards)),
            // Registrations are the first one's.
            ToShard::ForgetBinding { .. } => Route::To(0),
            ToShard::Serials { shard, .. } => of_number(u64::from(*shard), 0),
            ToShard::Silence { .. } | ToShard::Triaged { .. } | ToShard::Moved { .. } => Route::All,
            ToShard::SendMessage(_) => Route::To(0),
            ToShard::AnswerMessage { page, .. } => of_number(*page, PAGE_BITS),
        }
    }
}

/// The most shards: more cores than that on one node have other limits.
pub const SHARDS_MAX: u16 = 64;

// Pages are told apart from other requests by high bits, which a shard's number must not touch.
const _: () = assert!((SHARDS_MAX as u64) << PAGE_BITS <= RequestId::PAGE_LIMIT);
// A key and a leg's number make the session id of an SDP, which some peers read as a signed number.
const _: () = assert!((SHARDS_MAX as u64) << KEY_BITS <= 1 << 54);

#[cfg(test)]
mod tests {
    use super::*;

    fn router(shards: u16) -> Router {
        Router::new(CallIds::new(&[3; 32], 1), &[4; 32], shards)
    }

    #[test]
    fn a_call_and_everything_said_in_it_lead_to_one_shard() {
        let invite = b"INVITE sip:110@x SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nCall-ID: 77@host\r\n\r\n";
        let ack = b"ACK sip:gw@x SIP/2.0\r\ni:77@host\r\nVia: SIP/2.0/UDP b\r\n\r\n";
        assert_eq!(router(7).of_sip(invite), router(7).of_sip(ack));
        let one = |n| format!("BYE sip:x SIP/2.0\r\nCall-ID: {n}\r\n\r\n");
        let spread: std::collections::BTreeSet<u16> = (0..100).map(|n| router(4).of_sip(one(n).as_bytes())).collect();
        assert_eq!(spread.len(), 4);
    }

    #[test]
    fn what_we_began_comes_back_to_whoever_began_it_and_nobody_can_pretend_it() {
        let id = CallIds::new(&[3; 32], 1).mint(&mut sip::Mint::new([9; 32]), 3, "110.example");
        let answer = |id: &str| format!("SIP/2.0 200 OK\r\nCall-ID: {id}\r\n\r\n");
        assert_eq!(router(4).of_sip(answer(&id).as_bytes()), 3);
        assert_eq!(router(1).of_sip(answer(&id).as_bytes()), 0);
        let forged: std::collections::BTreeSet<u16> =
            (0..50).map(|n| router(4).of_sip(answer(&format!("{n:028}-n1s2@110.example")).as_bytes())).collect();
        assert_eq!(forged.len(), 4, "a Call-ID of that form alone leads nowhere in particular");
    }

    #[test]
    fn registrations_are_the_first_shards_and_so_is_what_has_no_call_id() {
        for text in
            ["REGISTER sip:x SIP/2.0\r\nCall-ID: 5\r\n\r\n", "\r\n\r\nREGISTER sip:x SIP/2.0\r\nCall-ID: 6\r\n\r\n"]
        {
            assert_eq!(router(4).of_sip(text.as_bytes()), 0);
        }
        assert_eq!(router(4).of_sip(b"\r\n\r\n"), 0);
    }
}
