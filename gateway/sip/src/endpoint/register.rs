//! REGISTER, the expiry of bindings, and connections that are gone.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use codecs::sip::{Fields, Message};
use codecs::time::Mono;

use super::{Endpoint, Event, Machine, Timer};
use crate::flow::{Flow, Path, Transport};
use crate::key::Key;
use crate::registrar::{Binding, Change};
use crate::session::{EndCause, SessionId, State};

impl Endpoint {
    /// Only the answer to whoever has proved who they are is remembered.
    pub(super) fn handle_register(&mut self, now: Mono, flow: Flow, request: &Message, fields: &Fields, key: Key) {
        let tag = self.stateless_tag(request);
        let judged = self.registrar.register(now, flow, request, fields, &tag);
        if judged.proved {
            self.remember_answer(now, flow, fields, key, judged.response);
        } else {
            self.send(Path::of_answer(fields.reply, flow), judged.response);
        }
        match judged.change {
            Change::None => return,
            Change::Registered { user, binding, refreshed } => {
                self.event(Event::Registered { user, binding, refreshed });
            }
            Change::Unregistered(user) => self.event(Event::Unregistered { user }),
        }
        self.arm_registrar();
    }

    /// Takes up a binding that held before a restart; its user is told as registered. `false`: nobody of that name.
    pub fn restore_binding(&mut self, user: &str, binding: Binding) -> bool {
        let known = self.registrar.restore(user, binding);
        self.arm_registrar();
        known
    }

    /// A binding from before a restart that leads nowhere.
    pub fn forget_binding(&mut self, user: &str) {
        if self.registrar.forget(user) {
            self.event(Event::Unregistered { user: user.to_owned() });
        }
        self.arm_registrar();
    }

    pub(super) fn wake_registrar(&mut self, now: Mono) {
        for user in self.registrar.expire(now) {
            self.event(Event::Unregistered { user });
        }
        self.arm_registrar();
    }

    /// Connections that carry a session or lead to a registered phone.
    pub fn connections(&self) -> BTreeSet<u32> {
        let sessions = self.sessions.iter().map(|(_, session)| session.flow.connection);
        sessions.chain(self.registrar.connections()).filter(|&connection| connection != 0).collect()
    }

    /// Where those are who are in a session or registered.
    pub fn correspondents(&self) -> impl Iterator<Item = IpAddr> {
        let sessions = self.sessions.iter().map(|(_, session)| session.flow.remote.ip());
        sessions.chain(self.registrar.sources()).map(|ip| ip.to_canonical())
    }

    /// A TCP connection has closed: its users are no longer registered.
    pub fn handle_closed(&mut self, connection: u32) {
        for user in self.registrar.drop_connection(connection) {
            self.event(Event::Unregistered { user });
        }
        self.arm_registrar();
    }

    /// What was to be sent over `connection` (0: one still to be made) could not be, nor over a new one to `remote`:
    /// calls that wait for an answer from there are over.
    pub fn handle_unreachable(&mut self, now: Mono, connection: u32, remote: SocketAddr) {
        self.clock = now;
        let leads_there = |path: &Path| {
            let to = path.reconnect.unwrap_or(path.flow.remote);
            path.flow.transport == Transport::Tcp && path.flow.connection == connection && to == remote
        };
        let lost: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| match &session.state {
                State::Established => session.ok.as_ref().is_some_and(|ok| leads_there(&ok.path)),
                State::Invited { transaction, .. } | State::Calling { transaction, .. } => {
                    leads_there(&self.transactions[*transaction].path)
                }
            })
            .map(|(index, session)| SessionId { index: index as u32, generation: session.generation })
            .collect();
        for id in lost {
            let transaction = match self.session(id).map(|session| &session.state) {
                Some(State::Calling { transaction, .. } | State::Invited { transaction, .. }) => Some(*transaction),
                Some(State::Established) | None => None,
            };
            if let Some(transaction) = transaction {
                match &mut self.transactions[transaction].machine {
                    Machine::InviteClient(machine) => machine.terminate(),
                    Machine::InviteServer(machine) => machine.terminate(),
                    Machine::Client(_) | Machine::Server(_) => {}
                }
                self.settle_transaction(transaction);
            }
            self.end_session(id, EndCause::Unreachable);
        }
    }

    fn arm_registrar(&mut self) {
        let wanted = self.registrar.deadline();
        self.timers.rearm(Timer::Registrar, &mut self.registrar_armed, wanted);
    }
}
