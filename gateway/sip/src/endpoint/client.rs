//! The client side: our INVITEs, their CANCEL, ACK and BYE, and the responses that come back.

use codecs::sip::{Fields, Message, Method, Name, Writer, split_commas};
use codecs::time::Mono;

use super::server::offer_of;
use super::{ALLOW, Endpoint, Event, Machine, client_key, dialog_key, expected};
use crate::dialog::{Dialog, Target};
use crate::flow::{Flow, Path};
use crate::session::{Calling, EndCause, Session, SessionId, State};
use crate::timer::T1_64;
use crate::transaction::{Client, InviteClient, Verdict};
use crate::wheel::Armed;

/// What an INVITE over UDP may be long, so that no network on the way cuts it in pieces.
const DATAGRAM_MAX: usize = 1300;

/// What an INVITE of ours says.
#[derive(Clone, Debug)]
pub struct OutgoingInvite {
    pub flow: Flow,
    /// The Request-URI.
    pub uri: Vec<u8>,
    /// From and To as name-addr, without tags.
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    pub sdp: Vec<u8>,
    /// A registered phone: everything goes back over the flow, whatever its Contact says.
    pub is_registered: bool,
    /// Further headers, by name as on the wire, what matters most in front: where the message would become too long for
    /// a datagram those at the end are left out.
    pub headers: Vec<(String, String)>,
}

impl Endpoint {
    /// Sends an INVITE; everything else about it comes as events.
    pub fn invite(&mut self, now: Mono, out: OutgoingInvite) -> SessionId {
        let branch = self.mint.branch();
        let tag = self.mint.token();
        let call_id = self.config.call_ids.mint(&mut self.mint, self.config.shard, &self.config.realm);
        let from = [&out.from[..], b";tag=", tag.as_bytes()].concat();
        let write = |headers: &[(String, String)]| {
            let mut w = Writer::request("INVITE", &out.uri);
            w.header(Name::Via, self.via(out.flow.transport, &branch));
            w.header(Name::MaxForwards, "70");
            w.header(Name::From, &from);
            w.header(Name::To, &out.to);
            w.header(Name::CallId, &call_id);
            w.header(Name::CSeq, "1 INVITE");
            w.header(Name::Contact, self.contact(out.flow.transport));
            w.header(Name::Allow, ALLOW);
            for (name, value) in headers {
                w.field(name, value);
            }
            w.finish_with("application/sdp", &out.sdp)
        };
        let mut headers = &out.headers[..];
        let mut bytes = write(headers);
        while bytes.len() > DATAGRAM_MAX && !out.flow.transport.is_reliable() && !headers.is_empty() {
            headers = &headers[..headers.len() - 1];
            bytes = write(headers);
        }
        let machine = InviteClient::calling(now, bytes.clone(), out.flow.transport.is_reliable());
        let index = self.add_transaction(
            Machine::InviteClient(machine),
            client_key(&self.keys, branch.as_bytes(), Method::Invite),
            Path::over(out.flow),
            None,
        );
        self.transactions[index].expects = Some(expected(&self.keys, call_id.as_bytes(), tag.as_bytes(), 1));
        let target = if out.is_registered { Target::Flow } else { Target::Named };
        let calling = Calling { uri: out.uri, from, to: out.to, call_id, branch, cseq: 1, target };
        let id = self.add_session(|generation| Session {
            generation,
            state: State::Calling { transaction: index, cancelled: false },
            dialog: None,
            flow: out.flow,
            ok: None,
            reoffer: None,
            ack: None,
            bye_wanted: None,
            forgotten: false,
            probing: false,
            calling: Some(Box::new(calling)),
            merged: None,
            give_up_at: None,
            armed: Armed::default(),
        });
        self.transactions[index].session = Some(id);
        self.send(Path::over(out.flow), bytes);
        id
    }

    /// Ends a session in whatever way its state asks for: 603 is not sent here, see `reject`. The user has said
    /// good-bye: no further event about it will come.
    pub fn hang_up(&mut self, now: Mono, id: SessionId, reason: &str) {
        self.clock = now;
        let Some(session) = self.session(id) else { return };
        session.forgotten = true;
        match &mut session.state {
            State::Invited { .. } => self.reject(now, id, 480, Some(reason).filter(|r| !r.is_empty())),
            State::Calling { cancelled, .. } => {
                *cancelled = true;
                self.send_cancel_if_due(now, id);
            }
            State::Established => {
                if session.ok.is_some() {
                    // Not before the ACK (RFC 3261 15); when it never comes, `wake_session` sends the BYE.
                    session.bye_wanted = Some(reason.to_owned());
                } else {
                    self.send_bye(id, reason);
                }
            }
        }
    }

    /// Asks whether they are still there, with OPTIONS in the dialog; when nobody answers the session ends as `Vanished`.
    pub fn probe(&mut self, now: Mono, id: SessionId) {
        self.clock = now;
        let own = self.config.address;
        // Whoever has not acknowledged yet is asked often enough by the 2xx.
        let askable = |s: &&mut Session| matches!(s.state, State::Established) && !s.probing && s.ok.is_none();
        let Some(session) = self.session(id).filter(askable) else { return };
        let Some(dialog) = &mut session.dialog else { return };
        session.probing = true;
        dialog.local_cseq += 1;
        let dialog = dialog.clone();
        let path = dialog.path(own);
        let branch = self.mint.branch();
        let via = self.via(path.flow.transport, &branch);
        let bytes = dialog.request(Method::Options, dialog.local_cseq, &via).finish();
        let machine = Client::trying(now, bytes.clone(), path.flow.transport.is_reliable());
        let key = client_key(&self.keys, branch.as_bytes(), Method::Options);
        let index = self.add_transaction(Machine::Client(machine), key, path, Some(id));
        let expects = expected(&self.keys, &dialog.key.call_id, &dialog.key.local_tag, dialog.local_cseq);
        self.transactions[index].expects = Some(expects);
        self.transactions[index].is_probe = true;
        self.send(path, bytes);
    }

    /// What a probe came to: 481 and 408 end the dialog (RFC 3261 12.2.1.2), anything else is a sign of life.
    fn probed(&mut self, id: SessionId, code: u16) {
        if let Some(session) = self.session(id) {
            session.probing = false;
        }
        if matches!(code, 408 | 481) {
            self.lose_session(id);
        }
    }

    /// They are not there any more. A BYE goes out all the same.
    pub(super) fn lose_session(&mut self, id: SessionId) {
        let Some(session) = self.session(id) else { return };
        let told = !std::mem::replace(&mut session.forgotten, true);
        if told {
            self.event(Event::Ended { session: id, cause: EndCause::Vanished });
        }
        self.send_bye(id, "SIP;cause=408;text=\"nobody there\"");
    }

    /// CANCEL goes out once anything provisional has come (RFC 3261 9.1).
    fn send_cancel_if_due(&mut self, now: Mono, id: SessionId) {
        let Some(session) = self.session(id) else { return };
        let State::Calling { transaction, cancelled: true } = session.state else { return };
        let flow = session.flow;
        let Machine::InviteClient(machine) = &self.transactions[transaction].machine else { return };
        if !machine.is_proceeding() {
            return;
        }
        let Some(calling) = self.session(id).and_then(|session| session.calling.as_ref()) else { return };
        let mut w = Writer::request("CANCEL", &calling.uri);
        let (branch, cseq) = (calling.branch.clone(), calling.cseq);
        let (from, to, call_id) = (calling.from.clone(), calling.to.clone(), calling.call_id.clone());
        w.header(Name::Via, self.via(flow.transport, &branch));
        w.header(Name::MaxForwards, "70");
        w.header(Name::From, from);
        w.header(Name::To, to);
        w.header(Name::CallId, call_id);
        w.header_fmt(Name::CSeq, format_args!("{cseq} CANCEL"));
        let bytes = w.finish();
        let key = client_key(&self.keys, branch.as_bytes(), Method::Cancel);
        if self.by_key.contains_key(&key) {
            return;
        }
        let machine = Client::trying(now, bytes.clone(), flow.transport.is_reliable());
        let expects = self.transactions[transaction].expects;
        let index = self.add_transaction(Machine::Client(machine), key, Path::over(flow), Some(id));
        self.transactions[index].expects = expects;
        self.send(Path::over(flow), bytes);
        if let Some(session) = self.session(id) {
            session.give_up_at = Some(now + T1_64);
        }
        self.settle_session(id);
    }

    /// BYE in the dialog; the session is gone for the user, its transaction sees the BYE through.
    pub(super) fn send_bye(&mut self, id: SessionId, reason: &str) {
        let Some(mut dialog) = self.session(id).and_then(|session| session.dialog.clone()) else { return };
        self.end_dialog(&mut dialog, reason);
        self.remove_session(id);
    }

    fn end_dialog(&mut self, dialog: &mut Dialog, reason: &str) {
        dialog.local_cseq += 1;
        let branch = self.mint.branch();
        let path = dialog.path(self.config.address);
        let mut w = dialog.request(Method::Bye, dialog.local_cseq, &self.via(path.flow.transport, &branch));
        if !reason.is_empty() {
            w.header(Name::Reason, reason);
        }
        let bytes = w.finish();
        // The transaction begins at the latest instant known to it: the send itself.
        let machine = Client::trying(self.clock, bytes.clone(), path.flow.transport.is_reliable());
        let key = client_key(&self.keys, branch.as_bytes(), Method::Bye);
        let index = self.add_transaction(Machine::Client(machine), key, path, None);
        self.transactions[index].expects =
            Some(expected(&self.keys, &dialog.key.call_id, &dialog.key.local_tag, dialog.local_cseq));
        self.send(path, bytes);
    }

    pub(super) fn handle_response(&mut self, now: Mono, flow: Flow, message: &Message, fields: &Fields) {
        // A response with more than one Via was not meant for us (RFC 3261 8.1.3.3).
        let vias = message.all(Name::Via).flat_map(split_commas).count();
        let key = client_key(&self.keys, message.bytes(fields.branch), fields.method);
        let Some(&index) = self.by_key.get(&key).filter(|_| vias == 1) else {
            self.counters.stray += 1;
            return;
        };
        // Only whoever was asked can answer, and only what they were asked.
        let said = expected(&self.keys, message.bytes(fields.call_id), message.bytes(fields.from_tag), fields.cseq);
        let transaction = &mut self.transactions[index];
        if transaction.expects != Some(said) || !transaction.path.flow.is_answered_by(flow) {
            self.counters.forged += 1;
            return;
        }
        let Some(code) = message.code() else { return };
        let session = transaction.session;
        match &mut transaction.machine {
            Machine::InviteClient(machine) => {
                let verdict = machine.handle_response(now, code);
                if let Some(id) = session {
                    self.handle_invite_response(now, flow, id, index, verdict, message, fields, code);
                }
                if self.transactions.contains(index) {
                    self.settle_transaction(index);
                }
            }
            Machine::Client(machine) => {
                let probe = transaction.is_probe && code >= 200;
                if machine.handle_response(now, code) == Verdict::Pass {
                    self.page_answered(index, code);
                    if let Some(id) = session.filter(|_| probe) {
                        self.probed(id, code);
                    }
                }
                self.settle_transaction(index);
            }
            Machine::InviteServer(_) | Machine::Server(_) => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one response with everything that was found out about it")]
    fn handle_invite_response(
        &mut self,
        now: Mono,
        flow: Flow,
        id: SessionId,
        index: usize,
        verdict: Verdict,
        message: &Message,
        fields: &Fields,
        code: u16,
    ) {
        if verdict == Verdict::PassAndAck {
            self.acknowledge_refusal(id, index, message);
        } else if let (Verdict::Ack, Machine::InviteClient(machine)) = (verdict, &self.transactions[index].machine)
            && let Some(ack) = machine.ack().cloned()
        {
            self.send(self.transactions[index].path, ack);
        }
        if matches!(verdict, Verdict::Ack | Verdict::Absorb) {
            return;
        }
        let Some(session) = self.session(id) else {
            // A 2xx for a session long gone: acknowledge and end it (RFC 3261 13.2.2.4).
            return self.refuse_late_answer(message, fields, code, flow);
        };
        match code {
            100 => self.send_cancel_if_due(now, id),
            101..200 => {
                if !session.forgotten {
                    self.event(Event::Progress { session: id, code, sdp: offer_of(message) });
                }
                self.send_cancel_if_due(now, id);
            }
            200..300 => self.handle_answer(id, message, fields, flow),
            _ => self.end_session(id, EndCause::Refused(code)),
        }
    }

    fn handle_answer(&mut self, id: SessionId, message: &Message, fields: &Fields, flow: Flow) {
        let own = self.config.address;
        let Some(session) = self.session(id) else { return };
        let remote_tag = message.bytes(fields.to_tag);
        if let Some(dialog) = &session.dialog {
            if dialog.key.remote_tag == remote_tag {
                // The same 2xx again: its ACK was lost.
                if let Some(ack) = session.ack.clone() {
                    let path = dialog.path(own);
                    self.send(path, ack);
                }
                return;
            }
            // Another branch of a fork answered too: one conversation is enough.
            return self.refuse_late_answer(message, fields, 200, flow);
        }
        let cancelled = matches!(session.state, State::Calling { cancelled: true, .. });
        let target = session.calling.as_ref().map_or(Target::Flow, |calling| calling.target);
        let dialog = Dialog::as_client(message, fields, flow, target);
        session.state = State::Established;
        session.calling = None;
        session.give_up_at = None;
        let path = dialog.path(own);
        let branch = self.mint.branch();
        let via = self.via(path.flow.transport, &branch);
        let ack = dialog.request(Method::Ack, fields.cseq, &via).finish();
        self.by_dialog.insert(dialog_key(&self.keys, &dialog.key), id);
        if let Some(session) = self.session(id) {
            session.dialog = Some(dialog);
            session.ack = Some(ack.clone());
        }
        self.send(path, ack);
        if cancelled {
            self.send_bye(id, "SIP;cause=487;text=\"answered after CANCEL\"");
        } else {
            self.event(Event::Answered { session: id, sdp: offer_of(message) });
        }
    }

    /// ACK and BYE for a 2xx that nobody waits for any more.
    fn refuse_late_answer(&mut self, message: &Message, fields: &Fields, code: u16, flow: Flow) {
        if !(200..300).contains(&code) {
            return;
        }
        let mut dialog = Dialog::as_client(message, fields, flow, Target::Flow);
        let branch = self.mint.branch();
        let path = dialog.path(self.config.address);
        let ack = dialog.request(Method::Ack, fields.cseq, &self.via(path.flow.transport, &branch)).finish();
        self.send(path, ack);
        self.end_dialog(&mut dialog, "");
    }

    /// The ACK to a final response other than 2xx belongs to the INVITE's transaction (RFC 3261 17.1.1.3).
    fn acknowledge_refusal(&mut self, id: SessionId, index: usize, response: &Message) {
        let path = self.transactions[index].path;
        let Some(calling) = self.session(id).and_then(|session| session.calling.take()) else { return };
        let mut w = Writer::request("ACK", &calling.uri);
        w.header(Name::Via, self.via(path.flow.transport, &calling.branch));
        w.header(Name::MaxForwards, "70");
        w.header(Name::From, &calling.from);
        w.copy(response, Name::To);
        w.header(Name::CallId, &calling.call_id);
        w.header_fmt(Name::CSeq, format_args!("{} ACK", calling.cseq));
        let ack = w.finish();
        if let Machine::InviteClient(machine) = &mut self.transactions[index].machine {
            machine.acknowledge(ack.clone());
        }
        self.send(path, ack);
    }
}
