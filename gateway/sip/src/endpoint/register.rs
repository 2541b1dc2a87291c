//! REGISTER and the expiry of bindings.

use codecs::sip::{Fields, Message};
use codecs::time::Mono;

use super::{Endpoint, Event, Timer};
use crate::flow::Flow;
use crate::registrar::Change;

impl Endpoint {
    pub(super) fn handle_register(&mut self, now: Mono, flow: Flow, request: &Message, fields: &Fields) {
        let tag = self.mint.token();
        let (response, change) = self.registrar.register(now, flow, request, fields, &tag);
        self.answer_once(now, flow, request, fields, response);
        match change {
            Change::None => {}
            Change::Registered(user, binding) => self.event(Event::Registered { user, binding }),
            Change::Unregistered(user) => self.event(Event::Unregistered { user }),
        }
        self.arm_registrar();
    }

    pub(super) fn wake_registrar(&mut self, now: Mono) {
        for user in self.registrar.expire(now) {
            self.event(Event::Unregistered { user });
        }
        self.arm_registrar();
    }

    /// A TCP connection has closed: its users are no longer registered.
    pub fn handle_closed(&mut self, connection: u32) {
        for user in self.registrar.drop_connection(connection) {
            self.event(Event::Unregistered { user });
        }
        self.arm_registrar();
    }

    fn arm_registrar(&mut self) {
        let wanted = self.registrar.deadline();
        self.timers.rearm(Timer::Registrar, &mut self.registrar_armed, wanted);
    }
}
