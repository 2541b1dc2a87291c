//! MESSAGE outside a dialog (RFC 3428): text in, answered when the user says so, and text out.

use bytes::Bytes;
use codecs::sip::{Fields, Message, Method, Name, Writer};
use codecs::time::Mono;

use super::{Endpoint, Event, Machine, client_key, expected};
use crate::flow::{Flow, Path};
use crate::key::Key;
use crate::transaction::{Client, Server};

/// A MESSAGE that waits for its answer, or one of ours that does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageId(pub u64);

pub(super) struct Page {
    request: Message,
    key: Key,
    path: Path,
    flow: Flow,
}

/// Text for one user.
#[derive(Clone, Debug)]
pub struct OutgoingPage {
    pub flow: Flow,
    pub uri: Vec<u8>,
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    pub body: Vec<u8>,
}

/// Pages awaited at one time; beyond it the sender is asked to come again (RFC 3428 7: 503).
const PAGES_MAX: usize = 10_000;

impl Endpoint {
    pub(super) fn handle_page(&mut self, now: Mono, flow: Flow, request: Message, fields: &Fields, key: Key) {
        if self.pages.len() >= PAGES_MAX {
            return self.answer_code(flow, &request, fields, 503);
        }
        self.next_page += 1;
        let id = PageId(self.next_page);
        let machine = Server::trying(now, flow.transport.is_reliable());
        let path = Path::of_answer(fields.reply, flow);
        self.add_transaction(Machine::Server(machine), key, path, None);
        self.pages.insert(id, Page { request: request.clone(), key, path, flow });
        self.event(Event::Paged { page: id, flow, message: Box::new(request) });
    }

    /// The final answer to a `Paged`.
    pub fn answer_page(&mut self, now: Mono, id: PageId, code: u16) {
        let Some(page) = self.pages.remove(&id) else { return };
        // Its transaction may be over: the sender has given up.
        let Some(&index) = self.by_key.get(&page.key) else { return };
        let tag = self.mint.token();
        let bytes = self.refusal(&page.request, page.flow, code, &tag, None);
        if let Machine::Server(machine) = &mut self.transactions[index].machine {
            machine.complete(now, bytes.clone());
        }
        self.settle_transaction(index);
        self.send(page.path, bytes);
    }

    /// Sends a MESSAGE; `PageAnswered` follows.
    pub fn page(&mut self, now: Mono, out: &OutgoingPage) -> PageId {
        let (branch, tag) = (self.mint.branch(), self.mint.token());
        let call_id = self.config.call_ids.mint(&mut self.mint, self.config.shard, &self.config.realm);
        let mut w = Writer::request("MESSAGE", &out.uri);
        w.header(Name::Via, self.via(out.flow.transport, &branch));
        w.header(Name::MaxForwards, "70");
        w.header(Name::From, [&out.from[..], b";tag=", tag.as_bytes()].concat());
        w.header(Name::To, &out.to);
        w.header(Name::CallId, &call_id);
        w.header(Name::CSeq, "1 MESSAGE");
        let bytes: Bytes = w.finish_with("text/plain;charset=UTF-8", &out.body);
        let machine = Client::trying(now, bytes.clone(), out.flow.transport.is_reliable());
        let key = client_key(&self.keys, branch.as_bytes(), Method::Message);
        let path = Path::over(out.flow);
        let index = self.add_transaction(Machine::Client(machine), key, path, None);
        self.transactions[index].expects = Some(expected(&self.keys, call_id.as_bytes(), tag.as_bytes(), 1));
        self.next_page += 1;
        self.paging.insert(index, PageId(self.next_page));
        self.send(path, bytes);
        PageId(self.next_page)
    }

    pub(super) fn page_answered(&mut self, index: usize, code: u16) {
        if code >= 200
            && let Some(page) = self.paging.remove(&index)
        {
            self.event(Event::PageAnswered { page, code });
        }
    }
}
