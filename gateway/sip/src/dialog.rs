//! Dialog state (RFC 3261 12): who, where to, which number next.

use bytes::Bytes;
use codecs::sip::{Fields, Message, Method, Name, NameAddr, Uri, Writer, split_commas};

use crate::flow::Flow;

/// What identifies a dialog on our side: Call-ID, our tag, their tag.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DialogKey {
    pub call_id: Vec<u8>,
    pub local_tag: Vec<u8>,
    pub remote_tag: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Dialog {
    pub key: DialogKey,
    /// From or To values of ours and theirs, without tags.
    pub local: Vec<u8>,
    pub remote: Vec<u8>,
    pub remote_target: Vec<u8>,
    /// Route values in the order in which they are sent.
    pub routes: Vec<Vec<u8>>,
    pub local_cseq: u32,
    pub remote_cseq: Option<u32>,
    pub flow: Flow,
}

impl Dialog {
    /// The dialog that our answer to `invite` makes (RFC 3261 12.1.1).
    pub fn as_server(invite: &Message, fields: &Fields, local_tag: &[u8], flow: Flow) -> Dialog {
        Dialog {
            key: DialogKey {
                call_id: invite.bytes(fields.call_id).to_vec(),
                local_tag: local_tag.to_vec(),
                remote_tag: invite.bytes(fields.from_tag).to_vec(),
            },
            local: without_tag(invite.get(Name::To).unwrap_or_default()),
            remote: without_tag(invite.get(Name::From).unwrap_or_default()),
            remote_target: contact_uri(invite).unwrap_or_default(),
            routes: record_routes(invite),
            local_cseq: 0,
            remote_cseq: Some(fields.cseq),
            flow,
        }
    }

    /// The dialog that `response` to our request makes (RFC 3261 12.1.2).
    pub fn as_client(response: &Message, fields: &Fields, flow: Flow) -> Dialog {
        let mut routes = record_routes(response);
        routes.reverse();
        Dialog {
            key: DialogKey {
                call_id: response.bytes(fields.call_id).to_vec(),
                local_tag: response.bytes(fields.from_tag).to_vec(),
                remote_tag: response.bytes(fields.to_tag).to_vec(),
            },
            local: without_tag(response.get(Name::From).unwrap_or_default()),
            remote: without_tag(response.get(Name::To).unwrap_or_default()),
            remote_target: contact_uri(response).unwrap_or_default(),
            routes,
            local_cseq: fields.cseq,
            remote_cseq: None,
            flow,
        }
    }

    /// The target moves with a target refresh (RFC 3261 12.2).
    pub fn refresh_target(&mut self, message: &Message) {
        if let Some(uri) = contact_uri(message) {
            self.remote_target = uri;
        }
    }

    /// A request inside the dialog; `cseq` is the INVITE's for an ACK, the next number otherwise.
    pub fn request(&self, method: Method, cseq: u32, via: &str) -> Writer {
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

    /// Accepts the number of a request in the dialog; `false` when it is out of order (RFC 3261 12.2.2).
    pub fn take_remote_cseq(&mut self, cseq: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| cseq <= last) {
            return false;
        }
        self.remote_cseq = Some(cseq);
        true
    }
}

fn record_routes(message: &Message) -> Vec<Vec<u8>> {
    message.all(Name::RecordRoute).flat_map(split_commas).map(<[u8]>::to_vec).collect()
}

fn contact_uri(message: &Message) -> Option<Vec<u8>> {
    let contact = NameAddr::parse(split_commas(message.get(Name::Contact)?).next()?)?;
    Some(contact.uri_text.to_vec())
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
