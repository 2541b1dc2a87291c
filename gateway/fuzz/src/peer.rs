//! What a peer remembers of a SIP conversation, and how a script says it: `%T` our tag, `%t` the tag of our From, `%B`
//! our branch, `%C` our Call-ID, `%Q` our CSeq number, `%N` the nonce, `%D` credentials for the last nonce.

use codecs::sip::auth::{Algorithm, DigestFields, Proof, ha1};
use codecs::sip::{Message, Name, NameAddr, Via};

pub(crate) const REALM: &str = "sim";
pub(crate) const SECRET: &str = "secret";

#[derive(Default)]
pub(crate) struct Peer {
    tag: Vec<u8>,
    from_tag: Vec<u8>,
    branch: Vec<u8>,
    call_id: Vec<u8>,
    cseq: Vec<u8>,
    nonce: Vec<u8>,
    count: u32,
}

impl Peer {
    /// A message of ours has reached it.
    pub(crate) fn hear(&mut self, message: &Message) {
        let tag = |name| message.get(name).and_then(NameAddr::parse).and_then(|n| n.tag().map(<[u8]>::to_vec));
        if message.is_request() {
            self.from_tag = tag(Name::From).unwrap_or_default();
            self.call_id = message.get(Name::CallId).unwrap_or_default().to_vec();
            self.branch =
                message.get(Name::Via).and_then(Via::parse).and_then(|v| v.branch()).unwrap_or_default().to_vec();
            let cseq = message.get(Name::CSeq).unwrap_or_default();
            self.cseq = cseq.split(|b| *b == b' ').next().unwrap_or_default().to_vec();
        } else if let Some(tag) = tag(Name::To) {
            self.tag = tag;
        }
        if let Some(challenge) = message.get(Name::WwwAuthenticate).and_then(DigestFields::parse) {
            self.nonce = challenge.get("nonce").unwrap_or_default().to_vec();
            self.count = 0;
        }
    }

    /// Puts in what the script leaves open.
    pub(crate) fn fill(&mut self, script: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::with_capacity(script.len() + 256), script);
        while let [first, behind @ ..] = rest {
            let (own, len): (Option<Vec<u8>>, usize) = match (first, behind.first()) {
                (b'%', Some(b'T')) => (Some(self.tag.clone()), 2),
                (b'%', Some(b't')) => (Some(self.from_tag.clone()), 2),
                (b'%', Some(b'B')) => (Some(self.branch.clone()), 2),
                (b'%', Some(b'C')) => (Some(self.call_id.clone()), 2),
                (b'%', Some(b'Q')) => (Some(self.cseq.clone()), 2),
                (b'%', Some(b'N')) => (Some(self.nonce.clone()), 2),
                (b'%', Some(b'D')) => (Some(self.credentials()), 2),
                _ => (None, 1),
            };
            match own {
                Some(own) => out.extend_from_slice(&own),
                None => out.push(*first),
            }
            rest = &rest[len..];
        }
        out
    }

    /// Of user 1001, for a REGISTER.
    fn credentials(&mut self) -> Vec<u8> {
        self.count += 1;
        let (nc, uri) = (format!("{:08x}", self.count), b"sip:sim");
        let ha1 = ha1(Algorithm::Md5, "1001", REALM, SECRET);
        let proof = Proof {
            algorithm: Algorithm::Md5,
            ha1: &ha1,
            nonce: &self.nonce,
            method: b"REGISTER",
            uri,
            qop: Some((nc.as_bytes(), b"c")),
        };
        let nonce = String::from_utf8_lossy(&self.nonce);
        format!(
            "Digest username=\"1001\",realm=\"{REALM}\",nonce=\"{nonce}\",uri=\"sip:sim\",qop=auth,nc={nc},\
             cnonce=\"c\",response=\"{}\"",
            proof.response()
        )
        .into_bytes()
    }
}
