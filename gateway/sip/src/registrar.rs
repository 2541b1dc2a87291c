//! The registrar (RFC 3261 10.3) with digest by MD5 and SHA-256 (RFC 8760): who may register, and where they are.
//!
//! One binding a user, the latest wins: a seat or an officer is one phone. The nonce is a time and its MAC, so
//! that nothing is stored for a challenge.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use codecs::sip::auth::{Algorithm, DigestFields, Proof, hex};
use codecs::sip::{Fields, Message, Name, NameAddr, Scheme, Writer, split_commas};
use codecs::time::Mono;

use crate::flow::Flow;
use crate::mint::Mint;

const NONCE_LIFE: Duration = Duration::from_secs(300);
const EXPIRES_DEFAULT_S: u64 = 3600;
const EXPIRES_MIN_S: u64 = 30;
const EXPIRES_MAX_S: u64 = 86_400;

/// What is kept of a phone's secret: its hash under each algorithm offered, preferred first.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: String,
    pub ha1: Vec<(Algorithm, String)>,
}

/// Where a registered user is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The Contact URI as registered.
    pub contact: Vec<u8>,
    /// The flow the REGISTER came by; requests go back that way, through any NAT.
    pub flow: Flow,
    pub expires_at: Mono,
}

pub(crate) enum Change {
    None,
    Registered(String, Binding),
    Unregistered(String),
}

pub(crate) struct Registrar {
    realm: String,
    nonce_key: u64,
    accounts: BTreeMap<String, Account>,
    bindings: BTreeMap<String, Binding>,
}

impl Registrar {
    pub fn new(realm: String, accounts: Vec<Account>, mint: &mut Mint) -> Registrar {
        let accounts = accounts.into_iter().map(|a| (a.user.clone(), a)).collect();
        Registrar { realm, nonce_key: mint.next_u64(), accounts, bindings: BTreeMap::new() }
    }

    pub fn binding(&self, user: &str) -> Option<&Binding> {
        self.bindings.get(user)
    }

    /// The soonest expiry.
    pub fn deadline(&self) -> Option<Mono> {
        self.bindings.values().map(|b| b.expires_at).min()
    }

    pub fn expire(&mut self, now: Mono) -> Vec<String> {
        let gone: Vec<String> =
            self.bindings.iter().filter(|(_, b)| b.expires_at <= now).map(|(u, _)| u.clone()).collect();
        for user in &gone {
            self.bindings.remove(user);
        }
        gone
    }

    /// The connection is gone, and with it whoever was reached over it.
    pub fn drop_connection(&mut self, connection: u32) -> Vec<String> {
        let over = |b: &Binding| connection != 0 && b.flow.connection == connection;
        let gone: Vec<String> = self.bindings.iter().filter(|(_, b)| over(b)).map(|(u, _)| u.clone()).collect();
        for user in &gone {
            self.bindings.remove(user);
        }
        gone
    }

    /// Answers a REGISTER.
    pub fn register(&mut self, now: Mono, flow: Flow, request: &Message, _: &Fields, tag: &str) -> (Bytes, Change) {
        let reply = |code| Writer::response(request, code, tag.as_bytes(), flow.remote);
        let to = request.get(Name::To).and_then(NameAddr::parse);
        let uri = to.as_ref().and_then(NameAddr::uri).filter(|u| matches!(u.scheme, Scheme::Sip | Scheme::Sips));
        let Some(uri) = uri else {
            return (reply(400).finish(), Change::None);
        };
        let user = String::from_utf8_lossy(uri.number()).into_owned();
        match self.authenticate(now, request, &user) {
            Ok(()) => {}
            Err(Denied::Challenge { stale }) => {
                let mut w = reply(401);
                self.challenge(now, &user, stale, &mut w);
                return (w.finish(), Change::None);
            }
            Err(Denied::Forbidden) => return (reply(403).finish(), Change::None),
        }
        let expires_header = request.get(Name::Expires).and_then(number);
        let contacts: Vec<&[u8]> = request.all(Name::Contact).flat_map(split_commas).collect();
        let mut change = Change::None;
        if contacts.iter().any(|c| *c == b"*") {
            if contacts.len() > 1 || expires_header != Some(0) {
                return (reply(400).finish(), Change::None);
            }
            if self.bindings.remove(&user).is_some() {
                change = Change::Unregistered(user.clone());
            }
        }
        for contact in contacts.iter().filter(|c| **c != b"*") {
            let Some(parsed) = NameAddr::parse(contact) else {
                return (reply(400).finish(), Change::None);
            };
            if !parsed.uri().is_some_and(|u| matches!(u.scheme, Scheme::Sip | Scheme::Sips)) {
                return (reply(400).finish(), Change::None);
            }
            let wanted = parsed.params.get("expires").and_then(number).or(expires_header);
            let expires = wanted.unwrap_or(EXPIRES_DEFAULT_S).min(EXPIRES_MAX_S);
            if expires == 0 {
                let same = self.bindings.get(&user).is_some_and(|b| b.contact == parsed.uri_text);
                if same {
                    self.bindings.remove(&user);
                    change = Change::Unregistered(user.clone());
                }
                continue;
            }
            if expires < EXPIRES_MIN_S {
                let mut w = reply(423);
                w.header_fmt(Name::MinExpires, format_args!("{EXPIRES_MIN_S}"));
                return (w.finish(), Change::None);
            }
            let binding =
                Binding { contact: parsed.uri_text.to_vec(), flow, expires_at: now + Duration::from_secs(expires) };
            self.bindings.insert(user.clone(), binding.clone());
            change = Change::Registered(user.clone(), binding);
        }
        let mut w = reply(200);
        if let Some(b) = self.bindings.get(&user) {
            let left = b.expires_at.since(now).as_secs();
            let value = [b"<", &b.contact[..], b">;expires=", left.to_string().as_bytes()].concat();
            w.header(Name::Contact, value);
        }
        (w.finish(), change)
    }

    fn challenge(&self, now: Mono, user: &str, stale: bool, w: &mut Writer) {
        // An unknown user is challenged like a known one, so that names cannot be tried out.
        let both = [Algorithm::Md5, Algorithm::Sha256];
        let offered: Vec<Algorithm> =
            self.accounts.get(user).map_or(both.to_vec(), |a| a.ha1.iter().map(|(alg, _)| *alg).collect());
        let nonce = self.nonce(now);
        let stale = if stale { ", stale=true" } else { "" };
        for algorithm in offered {
            w.header_fmt(
                Name::WwwAuthenticate,
                format_args!(
                    "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
                    self.realm,
                    algorithm.text()
                ),
            );
        }
    }

    fn nonce(&self, now: Mono) -> String {
        let seconds = now.0 / 1_000_000_000;
        let mac =
            Algorithm::Sha256.hash(&[&self.nonce_key.to_be_bytes(), &seconds.to_be_bytes(), self.realm.as_bytes()]);
        format!("{}{}", hex(&seconds.to_be_bytes()), &mac[..32])
    }

    /// `Ok(fresh)` when the nonce is ours.
    fn nonce_is_fresh(&self, now: Mono, nonce: &[u8]) -> Option<bool> {
        let text = std::str::from_utf8(nonce).ok().filter(|t| t.len() == 48 && t.is_ascii())?;
        let seconds = u64::from_str_radix(&text[..16], 16).ok()?;
        let issued = Mono(seconds.checked_mul(1_000_000_000)?);
        (self.nonce(issued) == text && issued <= now).then(|| now.since(issued) <= NONCE_LIFE)
    }

    fn authenticate(&self, now: Mono, request: &Message, user: &str) -> Result<(), Denied> {
        let challenge = Denied::Challenge { stale: false };
        for value in request.all(Name::Authorization) {
            let Some(fields) = DigestFields::parse(value) else { continue };
            if fields.get("realm") != Some(self.realm.as_bytes()) {
                continue;
            }
            let get = |name| fields.get(name).unwrap_or_default();
            let Some(fresh) = self.nonce_is_fresh(now, get("nonce")) else { return Err(challenge) };
            let ha1 = fields.algorithm().and_then(|alg| {
                let account = self.accounts.get(user)?;
                account.ha1.iter().find(|(a, _)| *a == alg).map(|(a, h)| (*a, h))
            });
            let Some((algorithm, ha1)) = ha1 else { return Err(Denied::Forbidden) };
            let proof = Proof {
                algorithm,
                ha1,
                nonce: get("nonce"),
                method: request.method_text(),
                uri: get("uri"),
                qop: fields.get("qop").map(|_| (get("nc"), get("cnonce"))),
            };
            let right = get("username") == user.as_bytes() && constant_eq(proof.response().as_bytes(), get("response"));
            return match (right, fresh) {
                (true, true) => Ok(()),
                (true, false) => Err(Denied::Challenge { stale: true }),
                (false, _) => Err(Denied::Forbidden),
            };
        }
        Err(challenge)
    }
}

enum Denied {
    Challenge { stale: bool },
    Forbidden,
}

fn constant_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}
