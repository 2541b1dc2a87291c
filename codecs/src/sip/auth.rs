//! Digest access authentication (RFC 3261 22, RFC 7616, RFC 8760): MD5 and SHA-256, qop=auth.
//!
//! Computes and parses; who may do what is the registrar's business.

use md5::Md5;
use sha2::Sha256;

use super::lex::{is_token, unquote};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    pub fn text(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// Lower-case hex of the hash of `parts` joined by colons.
    pub fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Algorithm::Md5 => hex(&joined::<Md5>(parts)),
            Algorithm::Sha256 => hex(&joined::<Sha256>(parts)),
        }
    }
}

fn joined<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = D::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    digest.finalize().to_vec()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
    out
}

/// H(user:realm:password), the only form in which a secret needs to be kept.
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> String {
    algorithm.hash(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()])
}

/// What both sides put into the response hash.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    pub algorithm: Algorithm,
    pub ha1: &'a str,
    pub nonce: &'a [u8],
    pub method: &'a [u8],
    pub uri: &'a [u8],
    /// `(nc, cnonce)` with qop=auth; `None` for the RFC 2069 form.
    pub qop: Option<(&'a [u8], &'a [u8])>,
}

impl Proof<'_> {
    pub fn response(&self) -> String {
        let ha2 = self.algorithm.hash(&[self.method, self.uri]);
        match self.qop {
            Some((nc, cnonce)) => {
                self.algorithm.hash(&[self.ha1.as_bytes(), self.nonce, nc, cnonce, b"auth", ha2.as_bytes()])
            }
            None => self.algorithm.hash(&[self.ha1.as_bytes(), self.nonce, ha2.as_bytes()]),
        }
    }
}

/// A parsed `Digest …` value, of a challenge or of credentials.
#[derive(Clone, Debug, Default)]
pub struct DigestFields {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl DigestFields {
    /// `None` when the scheme is not Digest or the list is malformed.
    pub fn parse(value: &[u8]) -> Option<DigestFields> {
        let value = super::lex::trim(value);
        if value.len() < 7 || !value[..6].eq_ignore_ascii_case(b"Digest") || !value[6].is_ascii_whitespace() {
            return None;
        }
        let mut pairs = Vec::new();
        for part in super::lex::split_commas(&value[7..]) {
            let eq = memchr::memchr(b'=', part)?;
            let name = super::lex::trim(&part[..eq]);
            if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
                return None;
            }
            pairs.push((name.to_ascii_lowercase(), unquote(super::lex::trim(&part[eq + 1..]))));
        }
        Some(DigestFields { pairs })
    }

    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.pairs.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, v)| v.as_slice())
    }

    /// MD5 when not named; `None` for one that we do not compute.
    pub fn algorithm(&self) -> Option<Algorithm> {
        match self.get("algorithm") {
            None => Some(Algorithm::Md5),
            Some(a) if a.eq_ignore_ascii_case(b"MD5") => Some(Algorithm::Md5),
            Some(a) if a.eq_ignore_ascii_case(b"SHA-256") => Some(Algorithm::Sha256),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(algorithm: Algorithm, qop: Option<(&[u8], &[u8])>, expected: &str) {
        let ha1 = ha1(algorithm, "trunk110", "psap.example", "s3cret");
        let proof =
            Proof { algorithm, ha1: &ha1, nonce: b"4f7a0c", method: b"REGISTER", uri: b"sip:psap.example", qop };
        assert_eq!(proof.response(), expected);
    }

    #[test]
    fn digest_matches_the_published_vectors() {
        let qop = Some((&b"00000001"[..], &b"0a4f113b"[..]));
        check(Algorithm::Md5, qop, "3c7a00d5a6bf16f80a08c1df3ab2dede");
        check(Algorithm::Sha256, qop, "42611bbd23e2d2edffc7956730317ee2e44bbccb8b443f58e1e755cff263dba4");
        check(Algorithm::Md5, None, "fafb4bb89d8b1ff9d34e243d6aeb41f5");
    }

    #[test]
    fn fields_are_found_whatever_their_case_and_quotes() {
        let f = DigestFields::parse(b"Digest Realm=\"a, b\", NONCE=xyz,algorithm=sha-256").expect("parses");
        assert_eq!((f.get("realm"), f.get("nonce")), (Some(&b"a, b"[..]), Some(&b"xyz"[..])));
        assert_eq!(f.algorithm(), Some(Algorithm::Sha256));
        assert!(DigestFields::parse(b"NoOneKnowsThisScheme opaque=x").is_none());
    }
}
