//! What a message must have before any machine sees it (RFC 3261 8.1.1, 8.2, 18.3; RFC 4475).
//!
//! A pass yields the fields every layer needs, parsed once. A failure yields the status to answer with.

use super::lex::split_commas;
use super::message::{Fault, Message, Method, Span, Start};
use super::name::Name;
use super::uri::{Scheme, Uri};
use super::value::{CSeq, NameAddr, ReplyTo, Via};

/// The fields that transactions and dialogs match on, as spans of the message.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Empty when the top Via carries no RFC 3261 branch.
    pub branch: Span,
    /// `host:port` of the top Via as written.
    pub sent_by: Span,
    /// Where the answer is wanted.
    pub reply: ReplyTo,
    pub from_tag: Span,
    pub to_tag: Span,
    pub call_id: Span,
    pub cseq: u32,
    pub method: Method,
}

/// Why a request is refused. Its `code` is the final response it earns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rejection {
    pub code: u16,
    pub at: u16,
    pub what: &'static str,
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        Rejection { code: fault.code, at: fault.at, what: fault.what }
    }
}

/// Checks a request.
///
/// # Errors
/// 400 for a broken or missing field, 505 for another version, 416 for a Request-URI scheme we do not serve.
pub fn check_request(message: &Message) -> Result<Fields, Rejection> {
    let Start::Request { method, .. } = message.start() else {
        return Err(Rejection { code: 400, at: 0, what: "not a request" });
    };
    if let Some(fault) = message.fault() {
        return Err(fault.into());
    }
    let (fields, cseq) = common_fields(message)?;
    if fields.method != method || cseq.method_text != message.method_text() {
        return Err(bad(message, Name::CSeq, "CSeq method differs from the request's"));
    }
    // A call is worth more than its Contact or hop count: it is answered towards where it came from.
    if method != Method::Invite {
        check_contact(message)?;
        check_hops(message)?;
    }
    for name in [Name::RecordRoute, Name::Route] {
        for value in message.all(name) {
            if split_commas(value).any(|one| NameAddr::parse(one).is_none()) {
                return Err(bad(message, name, "route is not a name-addr"));
            }
        }
    }
    match Uri::parse(message.request_uri()).map(|u| u.scheme) {
        None => Err(Rejection { code: 400, at: message.offset(message.request_uri()) as u16, what: "Request-URI" }),
        Some(Scheme::Other) => Err(Rejection { code: 416, at: 0, what: "Request-URI scheme" }),
        Some(Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Urn) => Ok(fields),
    }
}

/// Checks a response; the caller drops it when this fails (RFC 3261 18.1.2).
///
/// # Errors
/// Says what is wrong, for the log and the counter only.
pub fn check_response(message: &Message) -> Result<Fields, Rejection> {
    if let Some(fault) = message.fault() {
        return Err(fault.into());
    }
    Ok(common_fields(message)?.0)
}

fn common_fields(message: &Message) -> Result<(Fields, CSeq<'_>), Rejection> {
    let mut top = None;
    for one in message.all(Name::Via).flat_map(split_commas) {
        let via = Via::parse(one).ok_or_else(|| bad(message, Name::Via, "Via is malformed"))?;
        top.get_or_insert(via);
    }
    let via = top.ok_or_else(|| bad(message, Name::Via, "no Via"))?;
    let from = single(message, Name::From, "From")?;
    let to = single(message, Name::To, "To")?;
    let call_id = single(message, Name::CallId, "Call-ID")?;
    let cseq_text = single(message, Name::CSeq, "CSeq")?;
    let from = NameAddr::parse(from).ok_or_else(|| bad(message, Name::From, "From is malformed"))?;
    let to = NameAddr::parse(to).ok_or_else(|| bad(message, Name::To, "To is malformed"))?;
    if from.uri().is_none() || to.uri().is_none() {
        return Err(bad(message, Name::From, "From or To holds no URI"));
    }
    if call_id.is_empty() || call_id.iter().any(u8::is_ascii_whitespace) {
        return Err(bad(message, Name::CallId, "Call-ID is malformed"));
    }
    let cseq = CSeq::parse(cseq_text).ok_or_else(|| bad(message, Name::CSeq, "CSeq is malformed"))?;
    let raw: &[u8] = message.raw();
    let span = |part: &[u8]| if part.is_empty() { Span::default() } else { Span::of(raw, part) };
    let fields = Fields {
        branch: span(via.branch().unwrap_or_default()),
        sent_by: span(via.sent_by),
        reply: via.reply_to(),
        from_tag: span(from.tag().unwrap_or_default()),
        to_tag: span(to.tag().unwrap_or_default()),
        call_id: span(call_id),
        cseq: cseq.number,
        method: cseq.method,
    };
    Ok((fields, cseq))
}

fn check_contact(message: &Message) -> Result<(), Rejection> {
    for value in message.all(Name::Contact) {
        let star = super::lex::trim(value) == b"*";
        if !star && split_commas(value).any(|one| NameAddr::parse(one).is_none()) {
            return Err(bad(message, Name::Contact, "Contact is not a name-addr"));
        }
    }
    Ok(())
}

fn check_hops(message: &Message) -> Result<(), Rejection> {
    if message.is_repeated(Name::MaxForwards) {
        return Err(bad(message, Name::MaxForwards, "several Max-Forwards"));
    }
    if message.get(Name::MaxForwards).is_some_and(|v| super::lex::decimal(v).is_none_or(|n| n > 255)) {
        return Err(bad(message, Name::MaxForwards, "Max-Forwards is not 0 to 255"));
    }
    Ok(())
}

/// A header that must be there exactly once.
fn single<'a>(message: &'a Message, name: Name, what: &'static str) -> Result<&'a [u8], Rejection> {
    message.get(name).filter(|_| !message.is_repeated(name)).ok_or_else(|| bad(message, name, what))
}

fn bad(message: &Message, name: Name, what: &'static str) -> Rejection {
    let at = message.get(name).map_or(0, |v| message.offset(v));
    Rejection { code: 400, at: at as u16, what }
}
