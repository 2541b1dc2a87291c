//! The telephones of seats and officers: they register with their secret, refresh in their own time, and know nothing of
//! crashes.

use std::time::Duration;

use bytes::Bytes;
use codecs::sip::auth::{Algorithm, DigestFields, Proof, ha1};
use codecs::sip::{Message, Name, Writer};
use codecs::time::Mono;

use crate::cast::{OFFICERS, PARTIES, SEATS, SELF};
use crate::chance::Chance;

pub const REALM: &str = "sim";
pub const SECRET: &str = "secret";
/// What most of them ask for.
const LONG_S: u64 = 120;
/// Between two refreshes of those.
const REFRESH_MS: (u64, u64) = (45_000, 60_000);

/// Everybody who registers, and which party's telephone it is.
pub fn users() -> impl Iterator<Item = (String, usize)> {
    let seats = (0..SEATS).map(|n| (format!("1{n:03}"), 1));
    let officers = (0..OFFICERS).map(|n| (format!("2{n:03}"), 2));
    seats.chain(officers).chain([("u1".into(), 2), ("u2".into(), 2)])
}

/// When somebody's telephone registers anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Habit {
    /// Long before it has to.
    Usual,
    /// It asks for little time, and uses all of it.
    JustBefore,
    /// It comes too late each time.
    JustAfter,
}

struct Phone {
    user: String,
    party: usize,
    habit: Habit,
    /// Seconds that it asks for.
    asks: u64,
    /// What its Contact says besides where it is.
    contact_more: String,
    cseq: u32,
    nonce: String,
    count: u32,
    /// When the last REGISTER left, and for how long it asked.
    left: (Mono, u64),
    /// The last REGISTER was answered.
    answered: bool,
    registered: bool,
    /// And the disk has it.
    kept: bool,
    /// The gateway knows of it until then, at the least.
    until: Mono,
}

impl Phone {
    fn new((user, party): (String, usize), narrow: bool, chance: &mut Chance) -> Phone {
        let habit = match chance.below(100) {
            0..10 => Habit::JustBefore,
            10..18 => Habit::JustAfter,
            _ => Habit::Usual,
        };
        let asks = if habit == Habit::Usual { LONG_S } else { 30 + chance.below(20) };
        // Every INVITE to it says it twice.
        let more = if narrow && chance.percent(30) { 20 + chance.below(190) as usize } else { 0 };
        let contact_more = if more > 0 { format!(";line={}", "x".repeat(more)) } else { String::new() };
        Phone {
            user,
            party,
            habit,
            asks,
            contact_more,
            cseq: 0,
            nonce: String::new(),
            count: 0,
            left: (Mono(0), 0),
            answered: false,
            registered: false,
            kept: false,
            until: Mono(0),
        }
    }

    /// Over, as far as the gateway can have seen.
    fn expire(&mut self, now: Mono) {
        if self.until <= now {
            (self.registered, self.kept) = (false, false);
        }
    }
}

pub struct Phones(Vec<Phone>);

/// What came back to a REGISTER: whose telephone it was, and when it registers next.
pub struct Next {
    pub phone: usize,
    pub after: Duration,
    /// What the worlds together must have gone through.
    pub reached: Option<&'static str>,
}

impl Phones {
    /// `narrow`: some say much of themselves.
    pub fn idle(narrow: bool, chance: &mut Chance) -> Phones {
        Phones(users().map(|user| Phone::new(user, narrow, chance)).collect())
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Nothing waits for the disk: whoever is registered stays so over a crash.
    pub fn all_kept(&mut self, now: Mono) {
        for phone in &mut self.0 {
            phone.expire(now);
            phone.kept |= phone.registered;
        }
    }

    /// A crash: what the disk did not have is known to nobody but the telephones.
    pub fn crash(&mut self) {
        self.0.iter_mut().for_each(|p| p.registered = p.kept);
    }

    /// The gateway has given one up: nobody answered where it was before a start.
    pub fn forgotten(&mut self, user: &str) {
        for phone in self.0.iter_mut().filter(|p| p.user == user) {
            (phone.registered, phone.kept) = (false, false);
        }
    }

    /// Seats whose telephones are registered, as far as the disk knows.
    pub fn kept_seats(&mut self, now: Mono) -> usize {
        self.0.iter_mut().for_each(|p| p.expire(now));
        self.0.iter().filter(|p| p.party == 1 && p.kept).count()
    }

    /// The number of its last REGISTER.
    pub fn cseq(&self, n: usize) -> u32 {
        self.0[n].cseq
    }

    /// Whether nothing has come back to that one.
    pub fn waits(&self, n: usize, cseq: u32) -> bool {
        self.0[n].cseq == cseq && !self.0[n].answered
    }

    /// The next REGISTER of a telephone, and whose address it leaves from. `late`: the world comes to rest, and nobody is
    /// to be missing then.
    pub fn register(&mut self, now: Mono, n: usize, late: bool) -> (usize, Bytes) {
        let phone = &mut self.0[n];
        let asks = if late { LONG_S } else { phone.asks };
        phone.left = (now, asks);
        phone.cseq += 1;
        phone.count += 1;
        phone.answered = false;
        let (user, cseq) = (&phone.user, phone.cseq);
        let mut w = Writer::request("REGISTER", format!("sip:{SELF}").as_bytes());
        w.header(Name::Via, format!("SIP/2.0/UDP {};branch=z9hG4bK{user}{cseq};rport", PARTIES[phone.party]));
        w.header(Name::From, format!("<sip:{user}@{REALM}>;tag={user}"));
        w.header(Name::To, format!("<sip:{user}@{REALM}>"));
        w.header(Name::CallId, format!("phone-{user}"));
        w.header(Name::CSeq, format!("{cseq} REGISTER"));
        w.header(Name::Contact, format!("<sip:{user}@{}{}>", PARTIES[phone.party], phone.contact_more));
        w.header(Name::Expires, asks.to_string());
        if !phone.nonce.is_empty() {
            let (uri, nc) = (format!("sip:{SELF}"), format!("{:08x}", phone.count));
            let ha1 = ha1(Algorithm::Md5, user, REALM, SECRET);
            let proof = Proof {
                algorithm: Algorithm::Md5,
                ha1: &ha1,
                nonce: phone.nonce.as_bytes(),
                method: b"REGISTER",
                uri: uri.as_bytes(),
                qop: Some((nc.as_bytes(), b"c")),
            };
            let response = proof.response();
            w.header(
                Name::Authorization,
                format!(
                    "Digest username=\"{user}\", realm=\"{REALM}\", nonce=\"{}\", uri=\"{uri}\", qop=auth, nc={nc}, cnonce=\"c\", algorithm=MD5, response=\"{response}\"",
                    phone.nonce
                ),
            );
        }
        (phone.party, w.finish())
    }

    /// Takes the answer to a REGISTER. `up`: whoever sent it is still there, and knows of it.
    pub fn answered(&mut self, now: Mono, up: bool, message: &Message, chance: &mut Chance) -> Option<Next> {
        let cseq = message.get(Name::CSeq)?;
        if !cseq.ends_with(b"REGISTER") {
            return None;
        }
        let id = message.get(Name::CallId)?;
        let n = self.0.iter().position(|p| id.ends_with(format!("-{}", p.user).as_bytes()))?;
        let phone = &mut self.0[n];
        phone.answered = true;
        let (after, reached) = match message.code()? {
            401 => {
                let challenge = DigestFields::parse(message.get(Name::WwwAuthenticate)?)?;
                phone.nonce = String::from_utf8_lossy(challenge.get("nonce")?).into_owned();
                phone.count = 0;
                (Duration::from_millis(5), None)
            }
            200 if cseq.starts_with(format!("{} ", phone.cseq).as_bytes()) => {
                phone.expire(now);
                let (left, asked) = phone.left;
                if up {
                    (phone.registered, phone.until) = (true, left + Duration::from_secs(asked));
                }
                phone.next(asked, chance)
            }
            _ => (chance.ms(REFRESH_MS.0, REFRESH_MS.1), None),
        };
        Some(Next { phone: n, after, reached })
    }
}

impl Phone {
    fn next(&self, asked: u64, chance: &mut Chance) -> (Duration, Option<&'static str>) {
        match self.habit {
            Habit::JustBefore if asked < LONG_S => {
                (Duration::from_secs(asked) - chance.ms(150, 1500), Some("registered just before the end"))
            }
            Habit::JustAfter if asked < LONG_S => {
                (Duration::from_secs(asked) + chance.ms(20, 2000), Some("registered after the end"))
            }
            _ => (chance.ms(REFRESH_MS.0, REFRESH_MS.1), None),
        }
    }
}
