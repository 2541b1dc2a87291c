//! The client side: our INVITEs, their CANCEL, ACK and BYE, and the responses that come back.

use bytes::Bytes;
use codecs::sip::{Fields, Message, Method, Name, Writer, split_commas};
use codecs::time::Mono;

use super::server::offer_of;
use super::{ALLOW, Endpoint, Event, Machine, client_key, dialog_key};
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::session::{Calling, EndCause, Session, SessionId, State};
use crate::timer::T1_64;
use crate::transaction::{Client, InviteClient, Verdict};
use crate::wheel::Armed;

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
    /// Further headers, by name as on the wire.
    pub headers: Vec<(String, String)>,
}

impl Endpoint {
    /// Sends an INVITE; everything else about it comes as events.
    pub fn invite(&mut self, now: Mono, out: OutgoingInvite) -> SessionId {
        let branch = self.mint.branch();
        let tag = self.mint.token();
        let call_id = self.mint.call_id(self.config.shard, &self.config.realm);
        let from = [&out.from[..], b";tag=", tag.as_bytes()].concat();
        let mut w = Writer::request("INVITE", &out.uri);
        w.header(Name::Via, self.via(out.flow.transport, &branch));
        w.header(Name::MaxForwards, "70");
        w.header(Name::From, &from);
        w.header(Name::To, &out.to);
        w.header(Name::CallId, &call_id);
        w.header(Name::CSeq, "1 INVITE");
        w.header(Name::Contact, self.contact(out.flow.transport));
        w.header(Name::Allow, ALLOW);
        for (name, value) in &out.headers {
            w.field(name, value);
        }
        let bytes = w.finish_with("application/sdp", &out.sdp);
        let machine = InviteClient::calling(now, bytes.clone(), out.flow.transport.is_reliable());
        let index = self.add_transaction(
            Machine::InviteClient(machine),
            client_key(&self.keys, branch.as_bytes(), Method::Invite),
            out.flow,
            None,
        );
        let calling = Calling { uri: out.uri, from, to: out.to, call_id, branch, cseq: 1 };
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
            calling: Some(Box::new(calling)),
            merged: None,
            give_up_at: None,
            armed: Armed::default(),
        });
        self.transactions[index].session = Some(id);
        self.send(out.flow, bytes);
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

    /// CANCEL goes out once anything provisional has come (RFC 3261 9.1).
    fn send_cancel_if_due(&mut self, now: Mono, id: SessionId) {
        let Some(session) = self.session(id) else { return };
        let State::Calling { transaction, cancelled: true } = session.state else { return };
        let flow = session.flow;
        let Machine::InviteClient(machine) = &self.transactions[transaction].machine else { return };
        if !machine.is_proceeding() {
            return;
        }
        let session = self.session(id).expect("found above");
        let calling = session.calling.as_ref().expect("a calling session keeps its INVITE");
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
        self.add_transaction(Machine::Client(machine), key, flow, Some(id));
        self.send(flow, bytes);
        if let Some(session) = self.session(id) {
            session.give_up_at = Some(now + T1_64);
        }
        self.settle_session(id);
    }

    /// BYE in the dialog; the session is gone for the user, its transaction sees the BYE through.
    pub(super) fn send_bye(&mut self, id: SessionId, reason: &str) {
        let branch = self.mint.branch();
        let Some(session) = self.session(id) else { return };
        let Some(dialog) = &mut session.dialog else { return };
        dialog.local_cseq += 1;
        let (cseq, flow) = (dialog.local_cseq, dialog.flow);
        let via = self.via(flow.transport, &branch);
        let Some(dialog) = self.session(id).and_then(|s| s.dialog.as_ref()) else { return };
        let mut w = dialog.request(Method::Bye, cseq, &via);
        if !reason.is_empty() {
            w.header(Name::Reason, reason);
        }
        let bytes = w.finish();
        // The transaction begins at the latest instant known to it: the send itself.
        let machine = Client::trying(self.clock, bytes.clone(), flow.transport.is_reliable());
        self.add_transaction(
            Machine::Client(machine),
            client_key(&self.keys, branch.as_bytes(), Method::Bye),
            flow,
            None,
        );
        self.send(flow, bytes);
        self.remove_session(id);
    }

    pub(super) fn handle_response(&mut self, now: Mono, flow: Flow, message: &Message, fields: &Fields) {
        // A response with more than one Via was not meant for us (RFC 3261 8.1.3.3).
        let vias = message.all(Name::Via).flat_map(split_commas).count();
        let key = client_key(&self.keys, message.bytes(fields.branch), fields.method);
        let Some(&index) = self.by_key.get(&key).filter(|_| vias == 1) else {
            self.counters.stray += 1;
            return;
        };
        let code = message.code().expect("a response has a code");
        let transaction = &mut self.transactions[index];
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
                if machine.handle_response(now, code) == Verdict::Pass {
                    self.page_answered(index, code);
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
        if matches!(verdict, Verdict::Ack | Verdict::PassAndAck) {
            let ack = self.ack_of_refusal(index, message);
            let flow = self.transactions[index].flow;
            self.send(flow, ack);
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
        let Some(session) = self.session(id) else { return };
        let remote_tag = message.bytes(fields.to_tag);
        if let Some(dialog) = &session.dialog {
            if dialog.key.remote_tag == remote_tag {
                // The same 2xx again: its ACK was lost.
                if let Some(ack) = session.ack.clone() {
                    let flow = dialog.flow;
                    self.send(flow, ack);
                }
                return;
            }
            // Another branch of a fork answered too: one conversation is enough.
            return self.refuse_late_answer(message, fields, 200, flow);
        }
        let cancelled = matches!(session.state, State::Calling { cancelled: true, .. });
        let dialog = Dialog::as_client(message, fields, flow);
        session.state = State::Established;
        session.calling = None;
        session.give_up_at = None;
        let branch = self.mint.branch();
        let via = self.via(flow.transport, &branch);
        let ack = dialog.request(Method::Ack, fields.cseq, &via).finish();
        self.by_dialog.insert(dialog_key(&self.keys, &dialog.key), id);
        let session = self.session(id).expect("found above");
        session.dialog = Some(dialog);
        session.ack = Some(ack.clone());
        self.send(flow, ack);
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
        let mut dialog = Dialog::as_client(message, fields, flow);
        let branch = self.mint.branch();
        let ack = dialog.request(Method::Ack, fields.cseq, &self.via(flow.transport, &branch)).finish();
        self.send(flow, ack);
        dialog.local_cseq += 1;
        let branch = self.mint.branch();
        let bye = dialog.request(Method::Bye, dialog.local_cseq, &self.via(flow.transport, &branch)).finish();
        let machine = Client::trying(self.clock, bye.clone(), flow.transport.is_reliable());
        self.add_transaction(
            Machine::Client(machine),
            client_key(&self.keys, branch.as_bytes(), Method::Bye),
            flow,
            None,
        );
        self.send(flow, bye);
    }

    /// The ACK to a final response other than 2xx belongs to the INVITE's transaction (RFC 3261 17.1.1.3).
    fn ack_of_refusal(&self, index: usize, response: &Message) -> Bytes {
        let transaction = &self.transactions[index];
        let Machine::InviteClient(machine) = &transaction.machine else {
            unreachable!("only an INVITE is acknowledged");
        };
        let invite = Message::frame(machine.request().clone()).expect("we wrote this INVITE");
        let mut w = Writer::request("ACK", invite.request_uri());
        w.copy(&invite, Name::Via);
        w.header(Name::MaxForwards, "70");
        w.copy(&invite, Name::From);
        w.copy(response, Name::To);
        w.copy(&invite, Name::CallId);
        w.header(Name::CSeq, "1 ACK");
        w.finish()
    }
}
