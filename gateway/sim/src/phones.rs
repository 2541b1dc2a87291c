//! The telephones of seats and officers: they register with their secret, refresh in their own time, and know nothing of
//! crashes.

use std::time::Duration;

use bytes::Bytes;
use codecs::sip::auth::{Algorithm, DigestFields, Proof, ha1};
use codecs::sip::{Message, Name, Writer};

use crate::chance::Chance;
use crate::gateway::{OFFICERS, PARTIES, SEATS, SELF};

pub const REALM: &str = "sim";
pub const SECRET: &str = "secret";
/// Between two refreshes.
const REFRESH_MS: (u64, u64) = (45_000, 60_000);

/// Everybody who registers, and which party's telephone it is.
pub fn users() -> impl Iterator<Item = (String, usize)> {
    let seats = (0..SEATS).map(|n| (format!("1{n:03}"), 1));
    let officers = (0..OFFICERS).map(|n| (format!("2{n:03}"), 2));
    seats.chain(officers).chain([("u1".into(), 2), ("u2".into(), 2)])
}

struct Phone {
    user: String,
    party: usize,
    cseq: u32,
    nonce: String,
    count: u32,
    /// The last REGISTER was answered.
    answered: bool,
    registered: bool,
    /// And the disk has it.
    kept: bool,
}

pub struct Phones(Vec<Phone>);

impl Phones {
    pub fn idle() -> Phones {
        let phone = |(user, party)| Phone {
            user,
            party,
            cseq: 0,
            nonce: String::new(),
            count: 0,
            answered: false,
            registered: false,
            kept: false,
        };
        Phones(users().map(phone).collect())
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Nothing waits for the disk: whoever is registered stays so over a crash.
    pub fn all_kept(&mut self) {
        self.0.iter_mut().for_each(|p| p.kept |= p.registered);
    }

    /// A crash: what the disk did not have is known to nobody but the telephones.
    pub fn crash(&mut self) {
        self.0.iter_mut().for_each(|p| p.registered = p.kept);
    }

    /// Seats whose telephones are registered, as far as the disk knows.
    pub fn kept_seats(&self) -> usize {
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

    /// The next REGISTER of a telephone, and whose address it leaves from.
    pub fn register(&mut self, n: usize) -> (usize, Bytes) {
        let phone = &mut self.0[n];
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
        w.header(Name::Contact, format!("<sip:{user}@{}>", PARTIES[phone.party]));
        w.header(Name::Expires, "120");
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

    /// Takes the answer to a REGISTER; whose telephone it was, and when it registers next.
    pub fn answered(&mut self, message: &Message, chance: &mut Chance) -> Option<(usize, Duration)> {
        if !message.get(Name::CSeq)?.ends_with(b"REGISTER") {
            return None;
        }
        let id = message.get(Name::CallId)?;
        let n = self.0.iter().position(|p| id.ends_with(format!("-{}", p.user).as_bytes()))?;
        self.0[n].answered = true;
        match message.code()? {
            401 => {
                let challenge = DigestFields::parse(message.get(Name::WwwAuthenticate)?)?;
                self.0[n].nonce = String::from_utf8_lossy(challenge.get("nonce")?).into_owned();
                self.0[n].count = 0;
                Some((n, Duration::from_millis(5)))
            }
            code => {
                self.0[n].registered |= code == 200;
                Some((n, chance.ms(REFRESH_MS.0, REFRESH_MS.1)))
            }
        }
    }
}
