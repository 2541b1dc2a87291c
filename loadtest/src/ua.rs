//! A small SIP user agent's dialog: enough to call, answer, cancel, hang up and register, retransmissions included.
//!
//! Written anew from the RFC for this side of the wire: a mistake shared with the gateway would prove nothing.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use codecs::sip::auth::{Algorithm, DigestFields, Proof, ha1};
use codecs::sip::{Message, Name, NameAddr, Writer, split_commas};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Our INVITE is out.
    Calling,
    /// Their INVITE is in, not answered yet.
    Called,
    Up,
    /// Our BYE or CANCEL is out.
    Ending,
    Gone,
}

pub(crate) struct Dialog {
    pub phase: Phase,
    pub peer: SocketAddr,
    pub call_id: Vec<u8>,
    pub local: Vec<u8>,
    pub remote: Vec<u8>,
    pub target: Vec<u8>,
    pub branch: String,
    pub cseq: u32,
    /// What is repeated until something comes, and when next.
    pub repeat: Option<(Bytes, Duration, Duration)>,
    /// Our ACK to a 2xx, for its repeats.
    pub ack: Option<Bytes>,
    /// Their INVITE, and our last answer to it.
    pub invite: Option<Message>,
    pub answer: Option<Bytes>,
    pub give_up: Duration,
}

pub(crate) const T1: Duration = Duration::from_millis(500);

pub(crate) fn via(local: SocketAddr, branch: &str) -> String {
    format!("SIP/2.0/UDP {local};branch={branch};rport")
}

/// An INVITE of ours, and the dialog it begins.
pub(crate) fn invite(
    now: Duration,
    (salt, id): (u64, u64),
    local: SocketAddr,
    peer: SocketAddr,
    number: &str,
    uri: &str,
    sdp: &[u8],
) -> (Dialog, Bytes) {
    let branch = format!("z9hG4bKc{salt:x}-{id}");
    let call_id = format!("call-{salt:x}-{id}@{}", local.ip());
    let from = format!("<sip:{number}@{}>;tag=t{id}", local.ip());
    let to = format!("<{uri}>");
    let mut w = Writer::request("INVITE", uri.as_bytes());
    w.header(Name::Via, via(local, &branch)).header(Name::MaxForwards, "70");
    w.header(Name::From, &from).header(Name::To, &to).header(Name::CallId, &call_id);
    w.header(Name::CSeq, "1 INVITE").header(Name::Contact, format!("<sip:{number}@{local}>"));
    let bytes = w.finish_with("application/sdp", sdp);
    let dialog = Dialog {
        phase: Phase::Calling,
        peer,
        call_id: call_id.into_bytes(),
        local: from.into_bytes(),
        remote: to.into_bytes(),
        target: uri.as_bytes().to_vec(),
        branch,
        cseq: 1,
        repeat: Some((bytes.clone(), now + T1, T1)),
        ack: None,
        invite: None,
        answer: None,
        give_up: now + T1 * 64,
    };
    (dialog, bytes)
}

/// The dialog of an INVITE that came to us.
pub(crate) fn invited(now: Duration, id: u64, peer: SocketAddr, invite: &Message) -> Option<Dialog> {
    let from = invite.get(Name::From)?;
    let contact = NameAddr::parse(split_commas(invite.get(Name::Contact)?).next()?)?;
    let to = [invite.get(Name::To)?, format!(";tag=a{id}").as_bytes()].concat();
    Some(Dialog {
        phase: Phase::Called,
        peer,
        call_id: invite.get(Name::CallId)?.to_vec(),
        local: to,
        remote: from.to_vec(),
        target: contact.uri_text.to_vec(),
        branch: String::new(),
        cseq: 100,
        repeat: None,
        ack: None,
        invite: Some(invite.clone()),
        answer: None,
        give_up: now + T1 * 640,
    })
}

impl Dialog {
    /// A request in the dialog.
    pub(crate) fn request(&self, method: &str, cseq: u32, local: SocketAddr, branch: &str) -> Bytes {
        let mut w = Writer::request(method, &self.target);
        w.header(Name::Via, via(local, branch)).header(Name::MaxForwards, "70");
        w.header(Name::From, &self.local).header(Name::To, &self.remote).header(Name::CallId, &self.call_id);
        w.header(Name::CSeq, format!("{cseq} {method}"));
        w.finish()
    }

    /// Our answer to their INVITE.
    pub(crate) fn respond(&mut self, code: u16, local: SocketAddr, id: u64, sdp: &[u8]) -> Option<Bytes> {
        let invite = self.invite.as_ref()?;
        let tag = format!("a{id}");
        let mut w = Writer::response(invite, code, tag.as_bytes(), self.peer);
        w.copy(invite, Name::RecordRoute);
        w.header(Name::Contact, format!("<sip:peer@{local}>"));
        let bytes = w.finish_with("application/sdp", sdp);
        self.answer = Some(bytes.clone());
        Some(bytes)
    }

    /// CANCEL of our INVITE: same branch, same number.
    pub(crate) fn cancel(&self, local: SocketAddr) -> Bytes {
        self.request("CANCEL", 1, local, &self.branch)
    }

    /// ACK of a refusal belongs to the INVITE's transaction.
    pub(crate) fn ack_refusal(&self, response: &Message, local: SocketAddr) -> Bytes {
        let mut w = Writer::request("ACK", &self.target);
        w.header(Name::Via, via(local, &self.branch)).header(Name::MaxForwards, "70");
        w.header(Name::From, &self.local).copy(response, Name::To).header(Name::CallId, &self.call_id);
        w.header(Name::CSeq, "1 ACK");
        w.finish()
    }

    /// Takes To and Contact of a 2xx, and answers it.
    pub(crate) fn acknowledge(&mut self, response: &Message, local: SocketAddr, branch: &str) -> Bytes {
        if let Some(to) = response.get(Name::To) {
            self.remote = to.to_vec();
        }
        let contact = response
            .get(Name::Contact)
            .and_then(|c| NameAddr::parse(split_commas(c).next()?).map(|n| n.uri_text.to_vec()));
        if let Some(contact) = contact {
            self.target = contact;
        }
        let ack = self.request("ACK", 1, local, branch);
        self.ack = Some(ack.clone());
        ack
    }
}

/// A phone that registers.
pub(crate) struct Registering<'a> {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub user: &'a str,
    pub secret: &'a str,
    pub cseq: u32,
    pub expires_s: u32,
    pub salt: u64,
}

impl Registering<'_> {
    /// A REGISTER, with credentials when there is a challenge to answer; `None`: it is one that we cannot.
    pub(crate) fn request(&self, challenge: Option<&Message>) -> Option<Bytes> {
        let Registering { local, peer, user, cseq, salt, .. } = self;
        let host = peer.ip();
        let uri = format!("sip:{host}");
        let mut w = Writer::request("REGISTER", uri.as_bytes());
        w.header(Name::Via, via(*local, &format!("z9hG4bKr{salt:x}{user}{cseq}"))).header(Name::MaxForwards, "70");
        w.header(Name::From, format!("<sip:{user}@{host}>;tag=r{user}"));
        w.header(Name::To, format!("<sip:{user}@{host}>"));
        w.header(Name::CallId, format!("reg-{salt:x}-{user}-{}", local.port()));
        w.header(Name::CSeq, format!("{cseq} REGISTER"));
        w.header(Name::Contact, format!("<sip:{user}@{local}>")).header(Name::Expires, self.expires_s.to_string());
        if let Some(challenge) = challenge {
            w.header(Name::Authorization, self.credentials(challenge, &uri)?);
        }
        Some(w.finish())
    }

    /// By SHA-256 where it is offered, else by MD5 (RFC 8760 2.4).
    fn credentials(&self, challenge: &Message, uri: &str) -> Option<String> {
        let offered: Vec<_> = challenge.all(Name::WwwAuthenticate).filter_map(DigestFields::parse).collect();
        let by = |algorithm| offered.iter().find(|f| f.algorithm() == Some(algorithm)).map(|f| (algorithm, f));
        let (algorithm, fields) = by(Algorithm::Sha256).or_else(|| by(Algorithm::Md5))?;
        let text = |name| String::from_utf8_lossy(fields.get(name).unwrap_or_default()).into_owned();
        let (user, realm, nonce) = (self.user, text("realm"), text("nonce"));
        let proof = Proof {
            algorithm,
            ha1: &ha1(algorithm, user, &realm, self.secret),
            nonce: nonce.as_bytes(),
            method: b"REGISTER",
            uri: uri.as_bytes(),
            qop: Some((b"00000001", b"c0ffee")),
        };
        let (algorithm, response) = (algorithm.text(), proof.response());
        Some(format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             algorithm={algorithm}, qop=auth, nc=00000001, cnonce=\"c0ffee\", response=\"{response}\""
        ))
    }
}

/// One A-law stream with telephone-event, as peers offer and answer it.
pub(crate) fn sdp(local: SocketAddr) -> Vec<u8> {
    format!(
        "v=0\r\no=peer {0} 1 IN IP4 {1}\r\ns=-\r\nc=IN IP4 {1}\r\nt=0 0\r\nm=audio {0} RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n",
        local.port(),
        local.ip()
    )
    .into_bytes()
}

/// Where their SDP wants audio.
pub(crate) fn media_target(message: &Message) -> Option<SocketAddr> {
    let sdp = codecs::sdp::Sdp::parse(message.body()).ok()?;
    let audio = sdp.media.iter().find(|m| m.is_rtp_audio() && m.port > 0)?;
    Some(SocketAddr::new(audio.address?, audio.port))
}
