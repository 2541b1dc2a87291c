//! The registrar (RFC 3261 10.3) with digest by MD5 and SHA-256 (RFC 8760): who may register, and where they are.
//!
//! One binding a user, the latest wins: a seat or an officer is one phone. A nonce is a time, chance, and a proof over
//! them, the source and the user: nothing is stored for a challenge, and it is of no use to anybody elsewhere. What is
//! stored belongs to those who have proved themselves, and, bounded, to those who guess.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use codecs::sip::auth::{Algorithm, DigestFields, Proof, hex};
use codecs::sip::{Fields, Host, Message, Name, NameAddr, Scheme, Uri, Writer, split_commas};
use codecs::time::Mono;
use ipnet::IpNet;

use crate::flow::{Flow, Transport};
use crate::key::{Key, Keys, Mac};
use crate::mint::{Mint, Seed};

const NONCE_LIFE: Duration = Duration::from_secs(300);
const EXPIRES_MIN_S: u64 = 30;
/// A Contact longer than this is refused: every INVITE to it says it twice.
const CONTACT_MAX: usize = 256;
/// Nonces of a user whose counts are remembered, and how far behind the highest a count may come.
const NONCES: usize = 4;
const WINDOW: u32 = 128;
/// Wrong secrets that are judged a minute, of one source for one user.
const GUESSES: u32 = 10;
const GUESS_SPAN: Duration = Duration::from_secs(60);
/// Guessers remembered.
const GUESSERS_MAX: usize = 10_000;

/// What holds for everybody who registers.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Offered in this order, to known and unknown users alike.
    pub digest: Vec<Algorithm>,
    /// The longest expiry granted, in whole seconds; at least 30.
    pub max_expires: Duration,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { digest: vec![Algorithm::Md5, Algorithm::Sha256], max_expires: Duration::from_secs(120) }
    }
}

/// What is kept of a phone's secret: its hash under each algorithm offered.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: String,
    pub ha1: Vec<(Algorithm, String)>,
    /// Where its Contact may lead besides to where its packets come from.
    pub networks: Vec<IpNet>,
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
    Registered { user: String, binding: Binding, refreshed: bool },
    Unregistered(String),
}

/// An answer, whether its request was proved to be its user's, and what came of it.
pub(crate) struct Judged {
    pub response: Bytes,
    pub proved: bool,
    pub change: Change,
}

struct Bound {
    binding: Binding,
    /// Of the REGISTER that made it, for the order of those that follow (RFC 3261 10.3 step 7).
    call_id: Key,
    cseq: u32,
}

/// Counts of one nonce that were used.
struct Spent {
    nonce: Key,
    drawn: u64,
    highest: u32,
    /// Bit n: the count n below the highest.
    window: u128,
}

/// What a user's phones have used.
#[derive(Default)]
struct Counts {
    known: Vec<Spent>,
    /// Nonces drawn up to here may have been forgotten: none of them counts any more.
    forgotten: Option<u64>,
}

#[derive(Clone, Copy)]
struct Guesser {
    since: Mono,
    wrong: u32,
}

pub(crate) struct Registrar {
    realm: String,
    rules: Rules,
    mint: Mint,
    mac: Mac,
    keys: Keys,
    accounts: BTreeMap<String, Account>,
    bindings: BTreeMap<String, Bound>,
    /// No binding ends before this; one that was refreshed or removed since may have been the one that would.
    soonest: Mono,
    spent: BTreeMap<String, Counts>,
    guessers: HashMap<(IpAddr, Key), Guesser>,
    guessers_order: VecDeque<(IpAddr, Key)>,
}

impl Registrar {
    pub(crate) fn new(realm: String, rules: Rules, accounts: Vec<Account>, seed: Seed) -> Registrar {
        let accounts = accounts.into_iter().map(|a| (a.user.clone(), a)).collect();
        let mut mint = Mint::new(seed);
        Registrar {
            realm,
            rules,
            mac: Mac::new(&mint.seed()),
            keys: Keys::new(&mint.seed()),
            mint,
            accounts,
            bindings: BTreeMap::new(),
            soonest: Mono(u64::MAX),
            spent: BTreeMap::new(),
            guessers: HashMap::new(),
            guessers_order: VecDeque::new(),
        }
    }

    pub(crate) fn binding(&self, user: &str) -> Option<&Binding> {
        self.bindings.get(user).map(|b| &b.binding)
    }

    /// Takes up what held before a restart. `false`: there is no such user.
    pub(crate) fn restore(&mut self, user: &str, binding: Binding) -> bool {
        let known = self.accounts.contains_key(user);
        if known {
            let bound = Bound { binding, call_id: self.keys.of(&[]), cseq: 0 };
            self.insert(user, bound);
        }
        known
    }

    /// Whoever does not answer where they were before a restart is not there any more.
    pub(crate) fn forget(&mut self, user: &str) -> bool {
        self.bindings.remove(user).is_some()
    }

    fn insert(&mut self, user: &str, bound: Bound) {
        self.soonest = self.soonest.min(bound.binding.expires_at);
        self.bindings.insert(user.to_owned(), bound);
    }

    /// The soonest expiry, or earlier: looked for among all of them only when that has come, and not with each refresh.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        (!self.bindings.is_empty()).then_some(self.soonest)
    }

    pub(crate) fn expire(&mut self, now: Mono) -> Vec<String> {
        let gone = self.drop_bound(|b| b.expires_at <= now);
        self.soonest = self.bindings.values().map(|b| b.binding.expires_at).min().unwrap_or(Mono(u64::MAX));
        gone
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = u32> {
        self.bindings.values().map(|b| b.binding.flow.connection)
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = IpAddr> {
        self.bindings.values().map(|b| b.binding.flow.remote.ip())
    }

    /// The connection is gone, and with it whoever was reached over it.
    pub(crate) fn drop_connection(&mut self, connection: u32) -> Vec<String> {
        self.drop_bound(|b| connection != 0 && b.flow.connection == connection)
    }

    fn drop_bound(&mut self, over: impl Fn(&Binding) -> bool) -> Vec<String> {
        let gone: Vec<String> =
            self.bindings.iter().filter(|(_, b)| over(&b.binding)).map(|(u, _)| u.clone()).collect();
        for user in &gone {
            self.bindings.remove(user);
        }
        gone
    }

    /// Answers a REGISTER.
    pub(crate) fn register(&mut self, now: Mono, flow: Flow, request: &Message, fields: &Fields, tag: &str) -> Judged {
        let reply = |code| Writer::response(request, code, tag.as_bytes(), flow.remote);
        let refused = |code| Judged { response: reply(code).finish(), proved: false, change: Change::None };
        let to = request.get(Name::To).and_then(NameAddr::parse);
        let uri = to.as_ref().and_then(NameAddr::uri).filter(|u| matches!(u.scheme, Scheme::Sip | Scheme::Sips));
        let Some(uri) = uri else { return refused(400) };
        let user = String::from_utf8_lossy(uri.number()).into_owned();
        match self.authenticate(now, flow.remote.ip(), request, &user) {
            Ok(()) => {}
            Err(Denied::Challenge { stale }) => {
                let mut w = reply(401);
                self.challenge(now, flow.remote.ip(), &user, stale, &mut w);
                return Judged { response: w.finish(), proved: false, change: Change::None };
            }
            Err(Denied::Code(code)) => return refused(code),
        }
        let call_id = self.keys.of(&[request.bytes(fields.call_id)]);
        let late = self.bindings.get(&user).is_some_and(|b| b.call_id == call_id && fields.cseq <= b.cseq);
        let outcome = if late { Err((500, None)) } else { self.bind(now, flow, request, fields, &user, call_id) };
        let (response, change) = match outcome {
            Ok(change) => {
                let mut w = reply(200);
                if let Some(b) = self.binding(&user) {
                    let left = b.expires_at.since(now).as_secs();
                    let value = [b"<", &b.contact[..], b">;expires=", left.to_string().as_bytes()].concat();
                    w.header(Name::Contact, value);
                }
                (w.finish(), change)
            }
            Err((code, min_expires)) => {
                let mut w = reply(code);
                if let Some(min) = min_expires {
                    w.header_fmt(Name::MinExpires, format_args!("{min}"));
                }
                (w.finish(), Change::None)
            }
        };
        Judged { response, proved: true, change }
    }

    /// Takes the Contacts of a request that its user has sent. An error is a status, with a Min-Expires for 423.
    fn bind(
        &mut self,
        now: Mono,
        flow: Flow,
        request: &Message,
        fields: &Fields,
        user: &str,
        call_id: Key,
    ) -> Result<Change, (u16, Option<u64>)> {
        let expires_header = request.get(Name::Expires).and_then(number);
        let contacts: Vec<&[u8]> = request.all(Name::Contact).flat_map(split_commas).collect();
        let longest = self.rules.max_expires.as_secs().max(EXPIRES_MIN_S);
        let mut change = Change::None;
        if contacts.iter().any(|c| *c == b"*") {
            if contacts.len() > 1 || expires_header != Some(0) {
                return Err((400, None));
            }
            if self.bindings.remove(user).is_some() {
                change = Change::Unregistered(user.to_owned());
            }
            return Ok(change);
        }
        // All of them or none (RFC 3261 10.3 step 7).
        let mut judged = Vec::new();
        for contact in contacts {
            let parsed = NameAddr::parse(contact).ok_or((400, None))?;
            let uri = parsed.uri().filter(|u| matches!(u.scheme, Scheme::Sip | Scheme::Sips)).ok_or((400, None))?;
            if parsed.uri_text.len() > CONTACT_MAX {
                return Err((400, None));
            }
            let wanted = parsed.params.get("expires").and_then(number).or(expires_header);
            let expires = wanted.unwrap_or(longest).min(longest);
            if (1..EXPIRES_MIN_S).contains(&expires) {
                return Err((423, Some(EXPIRES_MIN_S)));
            }
            judged.push((parsed.uri_text, self.reached_at(user, &uri, flow), expires));
        }
        for (contact, flow, expires) in judged {
            if expires == 0 {
                if self.binding(user).is_some_and(|b| b.contact == contact) {
                    self.bindings.remove(user);
                    change = Change::Unregistered(user.to_owned());
                }
                continue;
            }
            let expires_at = now + Duration::from_secs(expires);
            let binding = Binding { contact: contact.to_vec(), flow, expires_at };
            let refreshed = self.binding(user).is_some_and(|b| b.contact == binding.contact && b.flow == binding.flow);
            let bound = Bound { binding: binding.clone(), call_id, cseq: fields.cseq };
            self.insert(user, bound);
            change = Change::Registered { user: user.to_owned(), binding, refreshed };
        }
        Ok(change)
    }

    /// Where a user is called: to where their packet came from, unless their Contact lies in a network of theirs.
    fn reached_at(&self, user: &str, contact: &Uri<'_>, flow: Flow) -> Flow {
        let networks = self.accounts.get(user).map(|a| &a.networks[..]).unwrap_or_default();
        match contact.host {
            Host::Ip(ip) if flow.transport == Transport::Udp && networks.iter().any(|n| n.contains(&ip)) => {
                Flow::udp(SocketAddr::new(ip, contact.port.unwrap_or(5060)))
            }
            _ => flow,
        }
    }

    fn challenge(&mut self, now: Mono, source: IpAddr, user: &str, stale: bool, w: &mut Writer) {
        let chance = self.mint.next_u64();
        let nonce = self.nonce(now, chance, source, user);
        let stale = if stale { ", stale=true" } else { "" };
        for algorithm in &self.rules.digest {
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

    /// Sixteen digits of time, sixteen of chance, thirty-two of proof.
    fn nonce(&self, at: Mono, chance: u64, source: IpAddr, user: &str) -> String {
        let (time, chance) = (at.0.to_be_bytes(), chance.to_be_bytes());
        let source = source.to_canonical().to_string();
        let proof = self.mac.of(&[&time, &chance, source.as_bytes(), user.as_bytes()]);
        [hex(&time), hex(&chance), hex(&proof.to_be_bytes())].concat()
    }

    /// Whether this source was given the nonce for this user, not too long ago.
    fn is_fresh(&self, now: Mono, nonce: &[u8], source: IpAddr, user: &str) -> bool {
        if nonce.len() != 64 {
            return false;
        }
        let (Some(at), Some(chance)) = (drawn_at(nonce), nonce.get(16..32).and_then(hexadecimal_u64)) else {
            return false;
        };
        let ours = constant_eq(self.nonce(Mono(at), chance, source, user).as_bytes(), nonce);
        ours && at <= now.0 && now.since(Mono(at)) <= NONCE_LIFE
    }

    fn authenticate(&mut self, now: Mono, source: IpAddr, request: &Message, user: &str) -> Result<(), Denied> {
        let given = request.all(Name::Authorization).filter_map(DigestFields::parse);
        let mut given = given.filter(|f| f.get("realm") == Some(self.realm.as_bytes()));
        let Some(fields) = given.next() else { return Err(Denied::Challenge { stale: false }) };
        let get = |name| fields.get(name).unwrap_or_default();
        if !self.is_fresh(now, get("nonce"), source, user) || self.guesses_too_much(now, source, user) {
            return Err(Denied::Challenge { stale: true });
        }
        if !is_same_resource(get("uri"), request.request_uri()) {
            return Err(Denied::Code(400));
        }
        // Without a `qop` there is no count: one request a nonce.
        let count = match fields.get("qop") {
            None => 0,
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => hexadecimal(get("nc")).ok_or(Denied::Code(400))?,
            Some(_) => return Err(Denied::Code(400)),
        };
        // An unknown user is judged like a known one, against a secret that nobody has.
        let algorithm = fields.algorithm().filter(|a| self.rules.digest.contains(a)).ok_or(Denied::Code(403))?;
        let known = self.accounts.get(user).and_then(|a| a.ha1.iter().find(|(a, _)| *a == algorithm));
        let proof = Proof {
            algorithm,
            ha1: known.map_or("-", |(_, ha1)| ha1),
            nonce: get("nonce"),
            method: request.method_text(),
            uri: get("uri"),
            qop: fields.get("qop").map(|_| (get("nc"), get("cnonce"))),
        };
        let proved = constant_eq(proof.response().as_bytes(), get("response"));
        if !(proved && known.is_some() && get("username") == user.as_bytes()) {
            self.note_guess(now, source, user);
            return Err(Denied::Code(403));
        }
        if self.spend(user, get("nonce"), count) { Ok(()) } else { Err(Denied::Challenge { stale: true }) }
    }

    /// Takes a count of a nonce: each once, in whatever order. `false`: it was taken before, or may have been.
    fn spend(&mut self, user: &str, nonce: &[u8], count: u32) -> bool {
        let drawn = drawn_at(nonce).unwrap_or_default();
        let nonce = self.keys.of(&[nonce]);
        let counts = self.spent.entry(user.to_owned()).or_default();
        let Some(known) = counts.known.iter_mut().find(|s| s.nonce == nonce) else {
            if counts.forgotten.is_some_and(|forgotten| drawn <= forgotten) {
                return false;
            }
            counts.known.push(Spent { nonce, drawn, highest: count, window: 1 });
            if counts.known.len() > NONCES
                && let Some(oldest) = (0..counts.known.len()).min_by_key(|&i| counts.known[i].drawn)
            {
                counts.forgotten = Some(counts.known.swap_remove(oldest).drawn);
            }
            return true;
        };
        if count > known.highest {
            let by = count - known.highest;
            known.window = if by < WINDOW { known.window << by } else { 0 } | 1;
            known.highest = count;
            return true;
        }
        let bit = known.highest - count;
        let free = bit < WINDOW && known.window & 1 << bit == 0;
        if free {
            known.window |= 1 << bit;
        }
        free
    }

    fn guesses_too_much(&self, now: Mono, source: IpAddr, user: &str) -> bool {
        let key = (source, self.keys.of(&[user.as_bytes()]));
        self.guessers.get(&key).is_some_and(|g| g.wrong >= GUESSES && now.since(g.since) < GUESS_SPAN)
    }

    fn note_guess(&mut self, now: Mono, source: IpAddr, user: &str) {
        let key = (source, self.keys.of(&[user.as_bytes()]));
        if let Some(known) = self.guessers.get_mut(&key) {
            if now.since(known.since) >= GUESS_SPAN {
                *known = Guesser { since: now, wrong: 0 };
            }
            known.wrong += 1;
            return;
        }
        self.guessers.insert(key, Guesser { since: now, wrong: 1 });
        self.guessers_order.push_back(key);
        if self.guessers_order.len() > GUESSERS_MAX
            && let Some(oldest) = self.guessers_order.pop_front()
        {
            self.guessers.remove(&oldest);
        }
    }
}

enum Denied {
    Challenge { stale: bool },
    Code(u16),
}

/// Whether a digest's `uri` is the request's, whatever port or parameter either leaves out (RFC 7616 3.4.6).
fn is_same_resource(claimed: &[u8], asked: &[u8]) -> bool {
    if claimed == asked {
        return true;
    }
    let (Some(a), Some(b)) = (Uri::parse(claimed), Uri::parse(asked)) else { return false };
    let host = match (a.host, b.host) {
        (Host::Ip(a), Host::Ip(b)) => a == b,
        (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
        _ => false,
    };
    host && a.scheme == b.scheme && a.user == b.user && a.port.unwrap_or(5060) == b.port.unwrap_or(5060)
}

fn constant_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// When a nonce was drawn.
fn drawn_at(nonce: &[u8]) -> Option<u64> {
    hexadecimal_u64(nonce.get(..16)?)
}

fn hexadecimal_u64(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok()
}

/// `nc`: eight hexadecimal digits (RFC 7616 3.4), of which few write fewer.
fn hexadecimal(text: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}
