//! MESSAGE: text of IMS telephones, in and out.

use codecs::record::{Address, Form, LineState, fingerprint};
use codecs::sip::{Message, Name, multipart};
use codecs::time::Mono;
use sip::{Flow, OutgoingPage, PageId};

use super::arrival::{calling_number, dialled};
use super::{Output, Shard};
use crate::limits::Cutter;
use crate::message::{Body, Incoming, OutgoingMessage, RequestId, ToCasebook};

/// What somebody is called who writes without a number.
const ANONYMOUS: &str = "anonymous-";
/// The longest text taken (RFC 3428 8 wants 1,300 bytes; trunks over TCP carry more).
const TEXT_MAX: usize = 16 * 1024;

impl Shard {
    /// A report in writing. Its 200 waits for the disk.
    pub(super) fn paged(&mut self, now: Mono, page: PageId, flow: Flow, message: &Message) {
        let Some(trunk) = self.trunk_of(flow.remote.ip()) else { return self.sip.answer_page(now, page, 403) };
        let Some(channel) = self.config.trunks[trunk].message_channel.clone() else {
            return self.sip.answer_page(now, page, 405);
        };
        let plain = |m: &Message| {
            let kind = m.get(Name::ContentType).unwrap_or(b"text/plain");
            if multipart::is_type(kind, "text/plain") { Some(m.body_bytes()) } else { multipart::find(m, "text/plain") }
        };
        let Some(text) = plain(message) else { return self.sip.answer_page(now, page, 415) };
        if text.len() > TEXT_MAX {
            return self.sip.answer_page(now, page, 413);
        }
        let word = |name| String::from_utf8_lossy(message.get(name).unwrap_or_default()).into_owned();
        let mut cutter = Cutter::default();
        let number = calling_number(message, &mut cutter);
        // A Call-ID and a count are the sender's own: another's are not theirs.
        let word_of_theirs = [Name::CallId, Name::CSeq, Name::From].map(word);
        let parts = word_of_theirs.each_ref().map(|w| w.as_bytes());
        // Whoever has no number is nobody else, and can be answered by nobody.
        let user = if number.is_empty() { format!("{ANONYMOUS}{}", fingerprint(&parts)) } else { number };
        let [call, count, from] = &word_of_theirs;
        let message_id = format!("{call} {count} {}", &fingerprint(&[from.as_bytes()])[..8]);
        let to = dialled(message, &mut cutter);
        let incoming = Incoming {
            from: Address { channel, user },
            message_id,
            session: None,
            to,
            body: Body::Text(String::from_utf8_lossy(&text).into_owned()),
            forms: vec![Form::Text],
            attachments: Vec::new(),
            location: None,
            phone: None,
            silent: false,
            is_ping: false,
            case: None,
        };
        let request = RequestId::of_page(page.0);
        let message = ToCasebook::Incoming { at: self.wall, message: Box::new(incoming), request };
        self.outputs.push_back(Output::Casebook(message));
    }

    pub(super) fn send_page(&mut self, now: Mono, message: &OutgoingMessage) {
        if message.to.starts_with(ANONYMOUS) {
            return self.line_state(message.line.clone(), LineState::Failed, "they wrote without a number");
        }
        let trunk = self.config.trunks.iter().position(|t| t.name == message.trunk).unwrap_or(0);
        let Some(crate::message::Contact { flow, uri, .. }) = self.dial_out(trunk, &message.to) else {
            return self.line_state(message.line.clone(), LineState::Failed, "the trunk has no outbound address");
        };
        let host = &self.config.realm;
        let out = OutgoingPage {
            flow,
            to: [b"<", &uri[..], b">"].concat(),
            uri,
            from: format!("<sip:110@{host}>").into_bytes(),
            body: message.body.clone().into_bytes(),
        };
        let page = self.sip.page(now, &out);
        self.paging.insert(page, message.line.clone());
    }

    pub(super) fn page_answered(&mut self, page: PageId, code: u16) {
        let Some(line) = self.paging.remove(&page) else { return };
        match code {
            // The far end has it (RFC 3428 7); 202: it is kept for them.
            200 => self.line_state(line, LineState::Delivered, ""),
            201..300 => self.line_state(line, LineState::Sent, ""),
            _ => self.line_state(line, LineState::Failed, &format!("SIP {code}")),
        }
    }

    fn line_state(&mut self, line: String, state: LineState, why: &str) {
        let message = ToCasebook::LineState { at: self.wall, line, state, why: why.to_owned() };
        self.outputs.push_back(Output::Casebook(message));
    }
}
