//! Dialog state (RFC 3261 12): who, where to, which number next.

use std::net::SocketAddr;

use bytes::Bytes;
use codecs::address::{is_special_purpose, is_unicast};
use codecs::sip::{Fields, Host, Message, Method, Name, NameAddr, Scheme, Uri, Writer, split_commas};

use crate::flow::{Flow, Path, Transport};

/// Where a dialog's requests may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// To the route set, else to the remote target (RFC 3261 12.2.1.1).
    Named,
    /// Back over the flow that it began on, whatever is named: a registered phone.
    Flow,
}

/// What identifies a dialog on our side: Call-ID, our tag, their tag.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct DialogKey {
    pub call_id: Vec<u8>,
    pub local_tag: Vec<u8>,
    pub remote_tag: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub key: DialogKey,
    /// From or To values of ours and theirs, without tags.
    pub local: Vec<u8>,
    pub remote: Vec<u8>,
    pub remote_target: Vec<u8>,
    /// Route values in the order in which they are sent.
    pub routes: Vec<Vec<u8>>,
    pub local_cseq: u32,
    pub remote_cseq: Option<u32>,
    target: Target,
    /// Where the peer was when the dialog began, or was last refreshed.
    seen_at: Flow,
}

/// What a request in the dialog is to the numbers before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    Next,
    /// The last one again.
    Again,
    /// Older than the last: 500 (RFC 3261 12.2.2).
    Late,
}

impl Dialog {
    /// The dialog that our answer to `invite` makes (RFC 3261 12.1.1).
    pub(crate) fn as_server(invite: &Message, fields: &Fields, local_tag: &[u8], flow: Flow) -> Dialog {
        let remote = without_tag(invite.get(Name::From).unwrap_or_default());
        Dialog {
            key: DialogKey {
                call_id: invite.bytes(fields.call_id).to_vec(),
                local_tag: local_tag.to_vec(),
                remote_tag: invite.bytes(fields.from_tag).to_vec(),
            },
            local: without_tag(invite.get(Name::To).unwrap_or_default()),
            remote_target: contact_uri(invite).unwrap_or_else(|| peer_uri(&remote, flow)),
            remote,
            routes: record_routes(invite),
            local_cseq: 0,
            remote_cseq: Some(fields.cseq),
            target: Target::Named,
            seen_at: flow,
        }
    }

    /// The dialog that `response` to our request makes (RFC 3261 12.1.2).
    pub(crate) fn as_client(response: &Message, fields: &Fields, flow: Flow, target: Target) -> Dialog {
        let mut routes = record_routes(response);
        routes.reverse();
        let remote = without_tag(response.get(Name::To).unwrap_or_default());
        Dialog {
            key: DialogKey {
                call_id: response.bytes(fields.call_id).to_vec(),
                local_tag: response.bytes(fields.from_tag).to_vec(),
                remote_tag: response.bytes(fields.to_tag).to_vec(),
            },
            local: without_tag(response.get(Name::From).unwrap_or_default()),
            remote_target: contact_uri(response).unwrap_or_else(|| peer_uri(&remote, flow)),
            remote,
            routes,
            local_cseq: fields.cseq,
            remote_cseq: None,
            target,
            seen_at: flow,
        }
    }

    /// The target moves with a target refresh (RFC 3261 12.2), and with nothing else.
    pub(crate) fn refresh_target(&mut self, message: &Message, flow: Flow) {
        if let Some(uri) = contact_uri(message) {
            self.remote_target = uri;
        }
        self.seen_at = flow;
    }

    /// The way of a request in the dialog. An address that means something behind its own router only, a name that
    /// would have to be asked for, and one that is no single host are not gone to: the peer is where it was seen.
    pub(crate) fn path(&self, own: SocketAddr) -> Path {
        let seen = self.seen_at;
        let named = match self.target {
            Target::Flow => None,
            Target::Named => self.next_hop().filter(|(_, at)| {
                let elsewhere = is_special_purpose(at.ip()) && at.ip() != seen.remote.ip().to_canonical();
                is_unicast(at.ip()) && *at != own && !elsewhere
            }),
        };
        match (named, seen.transport) {
            (None, _) => Path::over(seen),
            // Whoever called over a connection and did not say so in their Contact means that connection.
            (Some((_, at)), Transport::Tcp) if at.ip() == seen.remote.ip().to_canonical() => {
                Path { flow: seen, reconnect: Some(at) }
            }
            (Some((Transport::Tcp, at)), _) => Path::over(Flow::tcp(at)),
            (Some((Transport::Udp, at)), _) => Path::over(Flow::udp(at)),
        }
    }

    fn next_hop(&self) -> Option<(Transport, SocketAddr)> {
        let uri = Uri::parse(self.routes.first().map_or(&self.remote_target[..], |r| bare_uri(r)))?;
        let Host::Ip(ip) = uri.host else { return None };
        if uri.scheme != Scheme::Sip {
            return None;
        }
        let transport = match uri.params.get("transport") {
            None => Transport::Udp,
            Some(t) if t.eq_ignore_ascii_case(b"udp") => Transport::Udp,
            Some(t) if t.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
            Some(_) => return None,
        };
        let port = uri.port.filter(|p| *p > 0).unwrap_or(5060);
        Some((transport, SocketAddr::new(ip.to_canonical(), port)))
    }

    /// A request inside the dialog; `cseq` is the INVITE's for an ACK, the next number otherwise.
    pub(crate) fn request(&self, method: Method, cseq: u32, via: &str) -> Writer {
        let strict = self.routes.first().filter(|r| !is_loose(r));
        let uri = strict.map_or(&self.remote_target[..], |r| bare_uri(r));
        let mut w = Writer::request(method.text(), uri);
        w.header(Name::Via, via);
        w.header(Name::MaxForwards, "70");
        let skip = usize::from(strict.is_some());
        for route in &self.routes[skip..] {
            w.header(Name::Route, route);
        }
        if strict.is_some() {
            w.header(Name::Route, [b"<", &self.remote_target[..], b">"].concat());
        }
        w.header(Name::From, with_tag(&self.local, &self.key.local_tag));
        w.header(Name::To, with_tag(&self.remote, &self.key.remote_tag));
        w.header(Name::CallId, &self.key.call_id);
        w.header_fmt(Name::CSeq, format_args!("{cseq} {}", method.text()));
        w
    }

    /// Judges the number of a request in the dialog, and takes the next one (RFC 3261 12.2.2).
    pub(crate) fn take_remote_cseq(&mut self, cseq: u32) -> Turn {
        match self.remote_cseq {
            Some(last) if cseq < last => Turn::Late,
            Some(last) if cseq == last => Turn::Again,
            Some(_) | None => {
                self.remote_cseq = Some(cseq);
                Turn::Next
            }
        }
    }
}

fn record_routes(message: &Message) -> Vec<Vec<u8>> {
    message.all(Name::RecordRoute).flat_map(split_commas).map(<[u8]>::to_vec).collect()
}

fn contact_uri(message: &Message) -> Option<Vec<u8>> {
    let contact = NameAddr::parse(split_commas(message.get(Name::Contact)?).next()?)?;
    contact.uri().filter(is_sip).map(|_| contact.uri_text.to_vec())
}

fn is_sip(uri: &Uri<'_>) -> bool {
    matches!(uri.scheme, Scheme::Sip | Scheme::Sips)
}

/// Without a Contact that could be asked (RFC 3261 12.1.1: one SIP or SIPS URI): whom it is from, or the bare address.
fn peer_uri(remote: &[u8], flow: Flow) -> Vec<u8> {
    let uri = bare_uri(remote);
    if Uri::parse(uri).as_ref().is_some_and(is_sip) {
        uri.to_vec()
    } else {
        format!("sip:{}", flow.remote).into_bytes()
    }
}

fn is_loose(route: &[u8]) -> bool {
    Uri::parse(bare_uri(route)).is_some_and(|u| u.params.get("lr").is_some())
}

fn bare_uri(route: &[u8]) -> &[u8] {
    NameAddr::parse(route).map_or(route, |n| n.uri_text)
}

fn without_tag(value: &[u8]) -> Vec<u8> {
    let Some(parsed) = NameAddr::parse(value) else { return value.to_vec() };
    let mut out = Vec::with_capacity(value.len());
    if !parsed.display.is_empty() {
        out.extend_from_slice(parsed.display);
        out.push(b' ');
    }
    out.push(b'<');
    out.extend_from_slice(parsed.uri_text);
    out.push(b'>');
    out
}

fn with_tag(value: &[u8], tag: &[u8]) -> Bytes {
    if tag.is_empty() { Bytes::copy_from_slice(value) } else { [value, b";tag=", tag].concat().into() }
}
