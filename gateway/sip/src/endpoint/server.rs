//! The server side: requests in, INVITE sessions answered, requests inside a dialog.

use std::net::IpAddr;

use bytes::Bytes;
use codecs::sip::{Fields, Message, Method, Name, Writer, multipart, token_list};
use codecs::time::Mono;
use ipnet::IpNet;

use super::{ALLOW, Endpoint, Event, Invitation, Machine, dialog_key, request_key};
use crate::dialog::{Dialog, Turn};
use crate::flow::{Flow, Path};
use crate::key::{Key, Keys};
use crate::session::{EndCause, PendingOk, Reoffer, Session, SessionId, State};
use crate::transaction::{InviteServer, Server};
use crate::wheel::Armed;

impl Endpoint {
    pub(super) fn handle_request(&mut self, now: Mono, flow: Flow, message: Message, fields: Fields) {
        let lookup = if fields.method == Method::Ack { Method::Invite } else { fields.method };
        let key = request_key(&self.keys, &message, &fields, lookup);
        if let Some(&index) = self.by_key.get(&key) {
            return self.handle_repeat(now, index, flow, &message, &fields);
        }
        match fields.method {
            Method::Ack => self.handle_dialog_ack(flow, &message, &fields),
            Method::Cancel => self.handle_cancel(now, flow, &message, &fields),
            _ if !fields.to_tag.is_empty() => self.handle_in_dialog(now, flow, message, fields, key),
            Method::Invite => self.handle_invite(flow, message, fields, key),
            Method::Options => self.handle_options(flow, &message, &fields),
            Method::Register if self.extensions_known(flow, &message, &fields) => {
                self.handle_register(now, flow, &message, &fields, key);
            }
            Method::Register => {}
            Method::Message if !self.is_peer(flow.remote.ip()) => self.answer_code(flow, &message, &fields, 403),
            Method::Message if self.extensions_known(flow, &message, &fields) => {
                self.handle_page(now, flow, message, &fields, key);
            }
            Method::Message => {}
            Method::Bye => self.answer_code(flow, &message, &fields, 481),
            Method::Other => self.answer_code(flow, &message, &fields, 501),
            Method::Prack
            | Method::Update
            | Method::Info
            | Method::Refer
            | Method::Subscribe
            | Method::Notify
            | Method::Publish => self.answer_code(flow, &message, &fields, 405),
        }
    }

    /// A request that a transaction knows: a retransmission, or the ACK of a refusal.
    fn handle_repeat(&mut self, now: Mono, index: usize, flow: Flow, message: &Message, fields: &Fields) {
        let (path, method) = (self.transactions[index].path, fields.method);
        // Where the INVITE came from; where its answer went, when nobody remembers that.
        let session = self.transactions[index].session;
        let party = session.and_then(|id| self.session(id)).map_or(path.flow, |s| s.flow).remote.ip();
        if method == Method::Ack && !self.is_one_party(flow.remote.ip(), party) {
            self.counters.stray += 1;
            return;
        }
        let again = match &mut self.transactions[index].machine {
            Machine::InviteServer(m) if method == Method::Ack => {
                m.handle_ack(now);
                self.settle_transaction(index);
                // A 2xx is acknowledged with a new branch; peers that reuse the INVITE's are heard all the same.
                return self.handle_dialog_ack(flow, message, fields);
            }
            Machine::InviteServer(m) => m.handle_retransmission(),
            Machine::Server(m) => m.handle_retransmission(),
            Machine::InviteClient(_) | Machine::Client(_) => None,
        };
        if let Some(bytes) = again {
            self.counters.retransmissions += 1;
            self.send(path, bytes);
        }
    }

    fn handle_invite(&mut self, flow: Flow, message: Message, fields: Fields, key: Key) {
        if !self.is_peer(flow.remote.ip()) {
            self.counters.strangers += 1;
            return self.answer_code(flow, &message, &fields, 403);
        }
        let merged = merge_key(&self.keys, &message, &fields);
        if self.invited.contains_key(&merged) {
            return self.answer_code(flow, &message, &fields, 482);
        }
        if let Some((code, what)) = refusal_of(&message) {
            self.answer_code(flow, &message, &fields, code);
            return self.tell_refused(flow, message, code, what);
        }
        let machine = Machine::InviteServer(InviteServer::proceeding(flow.transport.is_reliable()));
        let index = self.add_transaction(machine, key, Path::of_answer(fields.reply, flow), None);
        let tag = self.mint.token();
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
            probing: false,
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
        let (index, request, flow) = match (&session.state, &session.reoffer) {
            (State::Invited { transaction, invite, .. }, _) => (*transaction, invite, session.flow),
            (_, Some(reoffer)) => (reoffer.transaction, &reoffer.request, reoffer.flow),
            _ => return,
        };
        let trying = Writer::response(request, 100, b"", flow.remote).finish();
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
        let path = self.transactions[transaction].path;
        self.by_dialog.insert(dialog_key(&self.keys, &dialog.key), id);
        if let Some(session) = self.session(id) {
            session.dialog = Some(dialog);
            session.ok = Some(Box::new(PendingOk::new(now, fields.cseq, bytes.clone(), path)));
        }
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
        let Some(reoffer) = self.session(id).and_then(|s| s.reoffer.take()) else { return };
        let bytes = self.ok_with_sdp(&reoffer.request, reoffer.flow, b"", sdp);
        let path = self.transactions[reoffer.transaction].path;
        if let Some(session) = self.session(id) {
            // Only what is taken moves the dialog.
            if let Some(dialog) = &mut session.dialog {
                dialog.refresh_target(&reoffer.request, reoffer.flow);
            }
            session.ok = Some(Box::new(PendingOk::new(now, reoffer.cseq, bytes.clone(), path)));
        }
        self.respond(now, reoffer.transaction, 200, bytes);
        self.settle_session(id);
    }

    /// A re-INVITE that cannot be met; the session goes on as it was (RFC 3261 14.2).
    pub fn refuse_reoffer(&mut self, now: Mono, id: SessionId, code: u16) {
        let Some(reoffer) = self.session(id).and_then(|s| s.reoffer.take()) else { return };
        let bytes = self.refusal(&reoffer.request, reoffer.flow, code, "", None);
        self.respond(now, reoffer.transaction, code, bytes);
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

    pub(super) fn respond(&mut self, now: Mono, index: usize, code: u16, bytes: Bytes) {
        let transaction = &mut self.transactions[index];
        let path = transaction.path;
        // Only INVITE sessions respond through a transaction.
        let Machine::InviteServer(machine) = &mut transaction.machine else { return };
        if machine.respond(now, code, &bytes) {
            self.send(path, bytes);
        }
        self.settle_transaction(index);
    }

    /// Whoever knows a dialog and is elsewhere neither confirms it nor answers an offer of ours.
    fn handle_dialog_ack(&mut self, flow: Flow, message: &Message, fields: &Fields) {
        let id = self.dialog_of(message, fields).filter(|id| self.is_where_the_party_is(*id, flow));
        let Some(id) = id else {
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
        // Whoever did not send the INVITE cannot take it back, whatever their Via says of where they are.
        let from = flow.remote.ip().to_canonical();
        let Some(index) = self.by_key.get(&invite_key).copied() else {
            return self.answer_code(flow, message, fields, 481);
        };
        let invited = self.transactions[index].session.and_then(|id| self.session(id)).map(|s| s.flow.remote.ip());
        if invited.is_some_and(|ip| ip.to_canonical() != from) {
            return self.answer_code(flow, message, fields, 481);
        }
        self.answer_code(flow, message, fields, 200);
        let transaction = &self.transactions[index];
        let proceeding = matches!(&transaction.machine, Machine::InviteServer(m) if m.is_proceeding());
        let Some(id) = transaction.session.filter(|_| proceeding) else { return };
        let Some(session) = self.session(id) else { return };
        if let State::Invited { .. } = session.state {
            self.reject_cancelled(now, id);
        }
    }

    /// Whether a request comes from where its dialog's party is; of a trunk, from any address of that very trunk.
    fn is_where_the_party_is(&mut self, id: SessionId, flow: Flow) -> bool {
        let party = self.session(id).map(|s| s.flow.remote.ip());
        party.is_some_and(|party| self.is_one_party(flow.remote.ip(), party))
    }

    fn is_one_party(&self, one: IpAddr, other: IpAddr) -> bool {
        let (one, other) = (one.to_canonical(), other.to_canonical());
        one == other || self.trunk_of(one).is_some_and(|trunk| self.trunk_of(other) == Some(trunk))
    }

    /// The trunk whose network fits an address best: one may lie within another's.
    fn trunk_of(&self, ip: IpAddr) -> Option<usize> {
        let fits = |trunk: &[IpNet]| trunk.iter().filter(|net| net.contains(&ip)).map(IpNet::prefix_len).max();
        let trunks = self.config.trunks.iter().enumerate().filter_map(|(n, trunk)| Some((fits(trunk)?, n)));
        trunks.max_by_key(|(prefix, n)| (*prefix, std::cmp::Reverse(*n))).map(|(_, n)| n)
    }

    /// 487 for an INVITE that its caller has given up; the user hears of it.
    fn reject_cancelled(&mut self, now: Mono, id: SessionId) {
        self.reject(now, id, 487, None);
        self.event(Event::Ended { session: id, cause: EndCause::Cancelled });
    }

    /// Nothing moves before the request is judged: it belongs to a dialog, and it is the next in it.
    fn handle_in_dialog(&mut self, now: Mono, flow: Flow, message: Message, fields: Fields, key: Key) {
        let Some(id) = self.dialog_of(&message, &fields) else {
            return self.answer_code(flow, &message, &fields, 481);
        };
        // Nobody acts for a party from elsewhere, whatever they know of its dialog.
        if !self.is_where_the_party_is(id, flow) {
            return self.answer_code(flow, &message, &fields, 481);
        }
        let turn = self.session(id).and_then(|s| s.dialog.as_mut()).map(|d| d.take_remote_cseq(fields.cseq));
        match (turn, fields.method) {
            (Some(Turn::Next), Method::Bye) => {
                self.answer_once(now, flow, &message, &fields, key, 200);
                if self.session(id).is_some_and(|s| matches!(s.state, State::Invited { .. })) {
                    return self.reject_cancelled(now, id);
                }
                self.end_session(id, EndCause::RemoteBye);
            }
            (Some(Turn::Next), Method::Invite) => self.handle_reinvite(now, flow, id, message, fields, key),
            // What changes nothing is answered as often as it is asked.
            (Some(Turn::Next | Turn::Again), Method::Options) => self.handle_options(flow, &message, &fields),
            (Some(Turn::Next | Turn::Again), Method::Info) => self.answer_code(flow, &message, &fields, 200),
            (Some(Turn::Next | Turn::Again), Method::Other) => self.answer_code(flow, &message, &fields, 501),
            (None | Some(Turn::Late), _) | (Some(Turn::Again), Method::Bye | Method::Invite) => {
                self.answer_code(flow, &message, &fields, 500);
            }
            (
                Some(Turn::Next | Turn::Again),
                Method::Ack
                | Method::Cancel
                | Method::Register
                | Method::Prack
                | Method::Update
                | Method::Message
                | Method::Refer
                | Method::Subscribe
                | Method::Notify
                | Method::Publish,
            ) => self.answer_code(flow, &message, &fields, 405),
        }
    }

    fn handle_reinvite(&mut self, now: Mono, flow: Flow, id: SessionId, message: Message, fields: Fields, key: Key) {
        let Some(session) = self.session(id) else { return };
        let busy = session.ok.is_some() || session.reoffer.is_some() || !matches!(session.state, State::Established);
        let refusal = if busy { Some(491) } else { refusal_of(&message).map(|(code, _)| code) };
        let machine = Machine::InviteServer(InviteServer::proceeding(flow.transport.is_reliable()));
        let index = self.add_transaction(machine, key, Path::of_answer(fields.reply, flow), None);
        if let Some(code) = refusal {
            let bytes = self.refusal(&message, flow, code, "", None);
            return self.respond(now, index, code, bytes);
        }
        let sdp = offer_of(&message);
        if let Some(session) = self.session(id) {
            let request = Box::new(message);
            session.reoffer = Some(Reoffer { transaction: index, request, cseq: fields.cseq, flow });
        }
        self.unanswered.push_back(id);
        self.event(Event::Reoffer { session: id, sdp });
    }

    fn handle_options(&mut self, flow: Flow, message: &Message, fields: &Fields) {
        if !self.extensions_known(flow, message, fields) {
            return;
        }
        let code = if self.draining { 503 } else { 200 };
        let tag = self.stateless_tag(message);
        let mut w = Writer::response(message, code, tag.as_bytes(), flow.remote);
        if self.draining {
            w.header(Name::RetryAfter, "30");
        } else if self.is_peer(flow.remote.ip()) {
            w.header(Name::Contact, self.contact(flow.transport));
            w.header(Name::Allow, ALLOW);
            w.header(Name::Accept, "application/sdp, multipart/mixed");
        }
        let bytes = w.finish();
        self.answer_statelessly(Path::of_answer(fields.reply, flow), flow, message, bytes);
    }

    /// 420 for anything required that we do not have (RFC 3261 8.2.2.3).
    fn extensions_known(&mut self, flow: Flow, message: &Message, fields: &Fields) -> bool {
        let known = required(message).next().is_none();
        if !known {
            self.answer_code(flow, message, fields, 420);
        }
        known
    }

    /// Answers a request and remembers nothing of it: its repeat is answered alike.
    pub(super) fn answer_code(&mut self, flow: Flow, message: &Message, fields: &Fields, code: u16) {
        if code >= 300 {
            self.counters.rejected += 1;
        }
        let tag = self.stateless_tag(message);
        let bytes = self.refusal(message, flow, code, &tag, None);
        self.answer_statelessly(Path::of_answer(fields.reply, flow), flow, message, bytes);
    }

    /// Answers a request that changes something, and gives its repeats the same answer.
    fn answer_once(&mut self, now: Mono, flow: Flow, message: &Message, fields: &Fields, key: Key, code: u16) {
        let tag = self.stateless_tag(message);
        let bytes = self.refusal(message, flow, code, &tag, None);
        self.remember_answer(now, flow, fields, key, bytes);
    }

    pub(super) fn remember_answer(&mut self, now: Mono, flow: Flow, fields: &Fields, key: Key, bytes: Bytes) {
        let path = Path::of_answer(fields.reply, flow);
        let machine = Server::completed(now, bytes.clone(), flow.transport.is_reliable());
        self.send(path, bytes);
        self.add_transaction(Machine::Server(machine), key, path, None);
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
                let again = repeat.then(|| (ok.path, ok.bytes.clone()));
                if let Some((path, bytes)) = again {
                    self.counters.retransmissions += 1;
                    self.send(path, bytes);
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

/// The first reason why an INVITE's headers cannot be served. Whoever is in danger and has a poor phone is answered:
/// extensions that it wants are left out, but for preconditions, without which it would wait for ever.
fn refusal_of(message: &Message) -> Option<(u16, &'static str)> {
    if required(message).any(|name| name.eq_ignore_ascii_case(b"precondition")) {
        return Some((420, "preconditions are required"));
    }
    if message.get(Name::ContentEncoding).is_some_and(|v| !v.eq_ignore_ascii_case(b"identity")) {
        return Some((415, "the body is encoded"));
    }
    if !message.body().is_empty() {
        let kind = message.get(Name::ContentType).unwrap_or_default();
        let has_sdp =
            multipart::is_type(kind, "application/sdp") || multipart::find(message, "application/sdp").is_some();
        // What may be passed over (RFC 5621 8.3) leaves an INVITE without an offer.
        let disposition = message.get_text("Content-Disposition").unwrap_or_default().to_ascii_lowercase();
        if !has_sdp && !disposition.windows(17).any(|w| w == b"handling=optional") {
            return Some((415, "no SDP in the body"));
        }
    }
    let mut accepts = message.all(Name::Accept).flat_map(token_list).peekable();
    let sdp = |a: &[u8]| ["application/sdp", "application/*", "*/*"].iter().any(|t| multipart::is_type(a, t));
    if accepts.peek().is_some() && !accepts.any(sdp) {
        return Some((406, "SDP is not accepted"));
    }
    None
}

/// What a request names as required.
fn required(message: &Message) -> impl Iterator<Item = &[u8]> {
    [Name::Require, Name::ProxyRequire].into_iter().flat_map(|n| message.all(n)).flat_map(token_list)
}

/// The SDP in a message's body.
pub(super) fn offer_of(message: &Message) -> Option<Bytes> {
    multipart::find(message, "application/sdp")
}

fn merge_key(keys: &Keys, message: &Message, fields: &Fields) -> Key {
    keys.of(&[message.bytes(fields.call_id), message.bytes(fields.from_tag), &fields.cseq.to_be_bytes()])
}
