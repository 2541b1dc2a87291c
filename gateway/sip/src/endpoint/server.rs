//! The server side: requests in, INVITE sessions answered, requests inside a dialog.

use bytes::Bytes;
use codecs::sip::{Fields, Message, Method, Name, Writer, multipart, token_list};
use codecs::time::Mono;

use super::{ALLOW, Endpoint, Event, Invitation, Machine, dialog_key, request_key};
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::key::{Key, Keys};
use crate::session::{EndCause, PendingOk, Reoffer, Session, SessionId, State};
use crate::transaction::{InviteServer, Server};
use crate::wheel::Armed;

impl Endpoint {
    pub(super) fn handle_request(&mut self, now: Mono, flow: Flow, message: Message, fields: Fields) {
        let lookup = if fields.method == Method::Ack { Method::Invite } else { fields.method };
        let key = request_key(&self.keys, &message, &fields, lookup);
        if let Some(&index) = self.by_key.get(&key) {
            return self.handle_repeat(now, index, flow, fields.method, &message, &fields);
        }
        match fields.method {
            Method::Ack => self.handle_dialog_ack(&message, &fields),
            Method::Cancel => self.handle_cancel(now, flow, &message, &fields),
            _ if !fields.to_tag.is_empty() => self.handle_in_dialog(now, flow, message, fields, key),
            Method::Invite => self.handle_invite(now, flow, message, fields, key),
            Method::Options => self.handle_options(now, flow, &message, &fields),
            Method::Register if self.extensions_known(now, flow, &message, &fields) => {
                self.handle_register(now, flow, &message, &fields);
            }
            Method::Register => {}
            Method::Message if self.extensions_known(now, flow, &message, &fields) => {
                self.handle_page(now, flow, message, &fields, key);
            }
            Method::Message => {}
            Method::Bye => self.answer_code(now, flow, &message, &fields, 481),
            Method::Other => self.answer_code(now, flow, &message, &fields, 501),
            Method::Prack
            | Method::Update
            | Method::Info
            | Method::Refer
            | Method::Subscribe
            | Method::Notify
            | Method::Publish => self.answer_code(now, flow, &message, &fields, 405),
        }
    }

    /// A request that a transaction knows: a retransmission, or the ACK of a refusal.
    fn handle_repeat(
        &mut self,
        now: Mono,
        index: usize,
        flow: Flow,
        method: Method,
        message: &Message,
        fields: &Fields,
    ) {
        let again = match &mut self.transactions[index].machine {
            Machine::InviteServer(m) if method == Method::Ack => {
                m.handle_ack(now);
                self.settle_transaction(index);
                // A 2xx is acknowledged with a new branch; peers that reuse the INVITE's are heard all the same.
                return self.handle_dialog_ack(message, fields);
            }
            Machine::InviteServer(m) => m.handle_retransmission(),
            Machine::Server(m) => m.handle_retransmission(),
            Machine::InviteClient(_) | Machine::Client(_) => None,
        };
        if let Some(bytes) = again {
            self.counters.retransmissions += 1;
            self.send(flow, bytes);
        }
    }

    fn handle_invite(&mut self, now: Mono, flow: Flow, message: Message, fields: Fields, key: Key) {
        let merged = merge_key(&self.keys, &message, &fields);
        let index = self.add_transaction(
            Machine::InviteServer(InviteServer::proceeding(flow.transport.is_reliable())),
            key,
            flow,
            None,
        );
        let tag = self.mint.token();
        let refusal = if self.invited.contains_key(&merged) { Some(482) } else { refusal_of(&message) };
        if let Some(code) = refusal {
            let bytes = self.refusal(&message, flow, code, &tag, None);
            return self.respond(now, index, code, bytes);
        }
        let sdp = offer_of(&message);
        let id = self.add_session(|generation| Session {
            generation,
            state: State::Invited { transaction: index, invite: Box::new(message.clone()), fields, tag },
            dialog: None,
            flow,
            ok: None,
            reoffer: None,
            ack: None,
            bye_wanted: None,
            forgotten: false,
            calling: None,
            merged: Some(merged),
            give_up_at: None,
            armed: Armed::default(),
        });
        self.transactions[index].session = Some(id);
        self.invited.insert(merged, id);
        self.unanswered.push_back(id);
        self.event(Event::Invited(Box::new(Invitation { session: id, flow, message, sdp })));
    }

    /// 100 for an INVITE that its user has heard of and has not answered at once (RFC 3261 17.2.1).
    pub(super) fn say_trying(&mut self, id: SessionId) {
        let Some(session) = self.session(id) else { return };
        let (index, request) = match (&session.state, &session.reoffer) {
            (State::Invited { transaction, invite, .. }, _) => (*transaction, invite),
            (_, Some(reoffer)) => (reoffer.transaction, &reoffer.request),
            _ => return,
        };
        let trying = Writer::response(request, 100, b"", session.flow.remote).finish();
        let unanswered = matches!(&self.transactions[index].machine, Machine::InviteServer(m) if m.is_unanswered());
        if unanswered {
            self.respond(self.clock, index, 100, trying);
        }
    }

    /// 180 or another provisional answer to an INVITE.
    pub fn ring(&mut self, now: Mono, id: SessionId, code: u16) {
        assert!((101..200).contains(&code), "a provisional code");
        let keys = self.keys;
        let Some(session) = self.session(id) else { return };
        let State::Invited { transaction, invite, fields, tag } = &session.state else { return };
        let (index, invite, tag, flow) = (*transaction, invite.clone(), tag.clone(), session.flow);
        // An early dialog begins: its caller may end it by BYE as well (RFC 3261 15).
        let dialog = Dialog::as_server(&invite, fields, tag.as_bytes(), flow);
        let key = dialog_key(&keys, &dialog.key);
        session.dialog = Some(dialog);
        self.by_dialog.insert(key, id);
        let mut w = Writer::response(&invite, code, tag.as_bytes(), flow.remote);
        w.copy(&invite, Name::RecordRoute);
        w.header(Name::Contact, self.contact(flow.transport));
        let bytes = w.finish();
        self.respond(now, index, code, bytes);
    }

    /// 200 with the SDP answer (or the offer, when the INVITE had none).
    pub fn accept(&mut self, now: Mono, id: SessionId, sdp: &[u8]) {
        let Some(session) = self.session(id) else { return };
        let State::Invited { .. } = session.state else { return };
        let State::Invited { transaction, invite, fields, tag } =
            std::mem::replace(&mut session.state, State::Established)
        else {
            return;
        };
        let flow = session.flow;
        let dialog = Dialog::as_server(&invite, &fields, tag.as_bytes(), flow);
        let bytes = self.ok_with_sdp(&invite, flow, tag.as_bytes(), sdp);
        self.by_dialog.insert(dialog_key(&self.keys, &dialog.key), id);
        let session = self.session(id).expect("the session was there a moment ago");
        session.dialog = Some(dialog);
        session.ok = Some(Box::new(PendingOk::new(now, fields.cseq, bytes.clone(), flow)));
        self.respond(now, transaction, 200, bytes);
        self.settle_session(id);
    }

    /// A final refusal of an INVITE that was not answered yet.
    pub fn reject(&mut self, now: Mono, id: SessionId, code: u16, reason: Option<&str>) {
        assert!((300..700).contains(&code), "a refusal");
        let Some(session) = self.session(id) else { return };
        let State::Invited { transaction, invite, tag, .. } = &session.state else { return };
        let (index, invite, tag, flow) = (*transaction, invite.clone(), tag.clone(), session.flow);
        let bytes = self.refusal(&invite, flow, code, &tag, reason);
        self.respond(now, index, code, bytes);
        self.remove_session(id);
    }

    /// 200 with the answer to a re-INVITE.
    pub fn answer_reoffer(&mut self, now: Mono, id: SessionId, sdp: &[u8]) {
        let Some((reoffer, flow)) = self.take_reoffer(id) else { return };
        let bytes = self.ok_with_sdp(&reoffer.request, flow, b"", sdp);
        let session = self.session(id).expect("the session was there a moment ago");
        session.ok = Some(Box::new(PendingOk::new(now, reoffer.cseq, bytes.clone(), flow)));
        self.respond(now, reoffer.transaction, 200, bytes);
        self.settle_session(id);
    }

    /// A re-INVITE that cannot be met; the session goes on as it was (RFC 3261 14.2).
    pub fn refuse_reoffer(&mut self, now: Mono, id: SessionId, code: u16) {
        let Some((reoffer, flow)) = self.take_reoffer(id) else { return };
        let bytes = self.refusal(&reoffer.request, flow, code, "", None);
        self.respond(now, reoffer.transaction, code, bytes);
    }

    fn take_reoffer(&mut self, id: SessionId) -> Option<(Reoffer, Flow)> {
        let session = self.session(id)?;
        Some((session.reoffer.take()?, session.flow))
    }

    fn ok_with_sdp(&self, request: &Message, flow: Flow, tag: &[u8], sdp: &[u8]) -> Bytes {
        let mut w = Writer::response(request, 200, tag, flow.remote);
        w.copy(request, Name::RecordRoute);
        w.header(Name::Contact, self.contact(flow.transport));
        w.header(Name::Allow, ALLOW);
        w.finish_with("application/sdp", sdp)
    }

    pub(super) fn refusal(&self, request: &Message, flow: Flow, code: u16, tag: &str, reason: Option<&str>) -> Bytes {
        let mut w = Writer::response(request, code, tag.as_bytes(), flow.remote);
        match code {
            405 | 501 => {
                w.header(Name::Allow, ALLOW);
            }
            406 => {
                w.header_fmt(Name::Warning, format_args!("399 {} \"only application/sdp\"", self.config.realm));
            }
            415 => {
                w.header(Name::Accept, "application/sdp, multipart/mixed, text/plain");
            }
            420 => {
                for name in [Name::Require, Name::ProxyRequire] {
                    for value in request.all(name) {
                        w.header(Name::Unsupported, value);
                    }
                }
            }
            503 => {
                w.header(Name::RetryAfter, "5");
            }
            _ => {}
        }
        if let Some(reason) = reason {
            w.header(Name::Reason, reason);
        }
        w.finish()
    }

    fn respond(&mut self, now: Mono, index: usize, code: u16, bytes: Bytes) {
        let transaction = &mut self.transactions[index];
        let flow = transaction.flow;
        let Machine::InviteServer(machine) = &mut transaction.machine else {
            unreachable!("only INVITE sessions respond through a transaction");
        };
        if machine.respond(now, code, &bytes) {
            self.send(flow, bytes);
        }
        self.settle_transaction(index);
    }

    fn handle_dialog_ack(&mut self, message: &Message, fields: &Fields) {
        let Some(id) = self.dialog_of(message, fields) else {
            self.counters.stray += 1;
            return;
        };
        let Some(session) = self.session(id) else { return };
        if session.ok.as_ref().is_none_or(|ok| ok.cseq != fields.cseq) {
            return;
        }
        session.ok = None;
        let bye = session.bye_wanted.take();
        let told = !session.forgotten;
        self.settle_session(id);
        if told {
            self.event(Event::Confirmed { session: id, sdp: offer_of(message) });
        }
        if let Some(reason) = bye {
            self.send_bye(id, &reason);
        }
    }

    fn handle_cancel(&mut self, now: Mono, flow: Flow, message: &Message, fields: &Fields) {
        let invite_key = request_key(&self.keys, message, fields, Method::Invite);
        let Some(&index) = self.by_key.get(&invite_key) else {
            return self.answer_code(now, flow, message, fields, 481);
        };
        self.answer_code(now, flow, message, fields, 200);
        let transaction = &self.transactions[index];
        let proceeding = matches!(&transaction.machine, Machine::InviteServer(m) if m.is_proceeding());
        let Some(id) = transaction.session.filter(|_| proceeding) else { return };
        let Some(session) = self.session(id) else { return };
        if let State::Invited { .. } = session.state {
            self.reject_cancelled(now, id);
        }
    }

    /// 487 for an INVITE that its caller has given up; the user hears of it.
    fn reject_cancelled(&mut self, now: Mono, id: SessionId) {
        self.reject(now, id, 487, None);
        self.event(Event::Ended { session: id, cause: EndCause::Cancelled });
    }

    fn handle_in_dialog(&mut self, now: Mono, flow: Flow, message: Message, fields: Fields, key: Key) {
        let Some(id) = self.dialog_of(&message, &fields) else {
            return self.answer_code(now, flow, &message, &fields, 481);
        };
        let Some(session) = self.session(id) else { return };
        session.flow = flow;
        let in_order = session.dialog.as_mut().is_some_and(|d| {
            d.flow = flow;
            d.take_remote_cseq(fields.cseq)
        });
        if !in_order {
            return self.answer_code(now, flow, &message, &fields, 500);
        }
        match fields.method {
            Method::Bye => {
                self.answer_code(now, flow, &message, &fields, 200);
                if self.session(id).is_some_and(|s| matches!(s.state, State::Invited { .. })) {
                    return self.reject_cancelled(now, id);
                }
                self.end_session(id, EndCause::RemoteBye);
            }
            Method::Invite => self.handle_reinvite(now, flow, id, message, fields, key),
            Method::Options => self.handle_options(now, flow, &message, &fields),
            Method::Info => self.answer_code(now, flow, &message, &fields, 200),
            Method::Other => self.answer_code(now, flow, &message, &fields, 501),
            Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Prack
            | Method::Update
            | Method::Message
            | Method::Refer
            | Method::Subscribe
            | Method::Notify
            | Method::Publish => self.answer_code(now, flow, &message, &fields, 405),
        }
    }

    fn handle_reinvite(&mut self, now: Mono, flow: Flow, id: SessionId, message: Message, fields: Fields, key: Key) {
        let machine = Machine::InviteServer(InviteServer::proceeding(flow.transport.is_reliable()));
        let index = self.add_transaction(machine, key, flow, None);
        let session = self.session(id).expect("found by its dialog");
        let busy = session.ok.is_some() || session.reoffer.is_some() || !matches!(session.state, State::Established);
        let refusal = if busy { Some(491) } else { refusal_of(&message) };
        if let Some(code) = refusal {
            let bytes = self.refusal(&message, flow, code, "", None);
            return self.respond(now, index, code, bytes);
        }
        if let Some(dialog) = &mut session.dialog {
            dialog.refresh_target(&message);
        }
        let sdp = offer_of(&message);
        session.reoffer = Some(Reoffer { transaction: index, request: Box::new(message.clone()), cseq: fields.cseq });
        self.unanswered.push_back(id);
        self.event(Event::Reoffer { session: id, sdp });
    }

    fn handle_options(&mut self, now: Mono, flow: Flow, message: &Message, fields: &Fields) {
        if !self.extensions_known(now, flow, message, fields) {
            return;
        }
        let code = if self.draining { 503 } else { 200 };
        let tag = self.mint.token();
        let mut w = Writer::response(message, code, tag.as_bytes(), flow.remote);
        if self.draining {
            w.header(Name::RetryAfter, "30");
        } else {
            w.header(Name::Contact, self.contact(flow.transport));
            w.header(Name::Allow, ALLOW);
            w.header(Name::Accept, "application/sdp, multipart/mixed");
        }
        let bytes = w.finish();
        self.answer_once(now, flow, message, fields, bytes);
    }

    /// 420 for anything required that we do not have (RFC 3261 8.2.2.3).
    fn extensions_known(&mut self, now: Mono, flow: Flow, message: &Message, fields: &Fields) -> bool {
        let known = requires_nothing(message);
        if !known {
            self.answer_code(now, flow, message, fields, 420);
        }
        known
    }

    pub(super) fn answer_code(&mut self, now: Mono, flow: Flow, message: &Message, fields: &Fields, code: u16) {
        if code >= 300 {
            self.counters.rejected += 1;
        }
        let tag = self.mint.token();
        let bytes = self.refusal(message, flow, code, &tag, None);
        self.answer_once(now, flow, message, fields, bytes);
    }

    /// Answers a request other than INVITE and remembers the answer for its repeats.
    pub(super) fn answer_once(&mut self, now: Mono, flow: Flow, message: &Message, fields: &Fields, bytes: Bytes) {
        let key = request_key(&self.keys, message, fields, fields.method);
        let machine = Server::completed(now, bytes.clone(), flow.transport.is_reliable());
        self.send(flow, bytes);
        self.add_transaction(Machine::Server(machine), key, flow, None);
    }

    fn dialog_of(&self, message: &Message, fields: &Fields) -> Option<SessionId> {
        let parts = [fields.call_id, fields.to_tag, fields.from_tag].map(|part| message.bytes(part));
        self.by_dialog.get(&self.keys.of(&parts)).copied()
    }

    pub(super) fn wake_session(&mut self, now: Mono, id: SessionId) {
        let Some(session) = self.session(id) else { return };
        if session.give_up_at.is_some_and(|at| at <= now) {
            if let State::Calling { transaction, .. } = session.state
                && let Machine::InviteClient(machine) = &mut self.transactions[transaction].machine
            {
                machine.terminate();
                self.settle_transaction(transaction);
            }
            self.remove_session(id);
            return;
        }
        let Some(ok) = &mut session.ok else { return };
        match ok.handle_timeout(now) {
            Some(repeat) => {
                let again = repeat.then(|| (ok.flow, ok.bytes.clone()));
                if let Some((flow, bytes)) = again {
                    self.counters.retransmissions += 1;
                    self.send(flow, bytes);
                }
                self.settle_session(id);
            }
            None => {
                session.ok = None;
                if !std::mem::replace(&mut session.forgotten, true) {
                    self.event(Event::Ended { session: id, cause: EndCause::NoAck });
                }
                self.send_bye(id, "SIP;cause=408;text=\"ACK never came\"");
            }
        }
    }
}

/// The first reason why an INVITE's headers cannot be served.
fn refusal_of(message: &Message) -> Option<u16> {
    if !requires_nothing(message) {
        return Some(420);
    }
    if message.get(Name::ContentEncoding).is_some_and(|v| !v.eq_ignore_ascii_case(b"identity")) {
        return Some(415);
    }
    if !message.body().is_empty() {
        let kind = message.get(Name::ContentType).unwrap_or_default();
        if !multipart::is_type(kind, "application/sdp") && !multipart::is_type(kind, "multipart/mixed") {
            return Some(415);
        }
        if multipart::is_type(kind, "multipart/mixed") && multipart::find(message, "application/sdp").is_none() {
            return Some(415);
        }
    }
    let mut accepts = message.all(Name::Accept).flat_map(token_list).peekable();
    let sdp = |a: &[u8]| ["application/sdp", "application/*", "*/*"].iter().any(|t| multipart::is_type(a, t));
    if accepts.peek().is_some() && !accepts.any(sdp) {
        return Some(406);
    }
    None
}

fn requires_nothing(message: &Message) -> bool {
    [Name::Require, Name::ProxyRequire].iter().all(|n| message.all(*n).flat_map(token_list).next().is_none())
}

/// The SDP in a message's body.
pub(super) fn offer_of(message: &Message) -> Option<Bytes> {
    multipart::find(message, "application/sdp")
}

fn merge_key(keys: &Keys, message: &Message, fields: &Fields) -> Key {
    keys.of(&[message.bytes(fields.call_id), message.bytes(fields.from_tag), &fields.cseq.to_be_bytes()])
}
