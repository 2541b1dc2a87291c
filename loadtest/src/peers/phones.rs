//! Phones at the registrar: the challenge answered, the registration kept up, leave taken.

use std::time::Duration;

use bytes::Bytes;
use codecs::sip::{Message, Name, NameAddr};

use super::{AgentId, Happening, Peers};
use crate::ua::{self, T1};

/// A phone of ours at the registrar.
pub(super) struct Phone {
    cseq: u32,
    state: Registration,
}

pub(super) enum Registration {
    /// What is repeated until it is answered, and when next. `tried`: challenges that were answered already.
    Asking {
        bytes: Bytes,
        again: Duration,
        tried: u32,
    },
    There {
        refresh_at: Duration,
    },
    /// Refused, or taken off.
    Off,
}

/// Challenges that are answered before a phone gives up.
const CHALLENGES: u32 = 3;
/// A registration is refreshed after this part of what was granted.
const REFRESH: f64 = 0.5;

impl Peers {
    /// Registers a phone; `Registered` follows.
    pub fn register(&mut self, agent: AgentId, user: &str, secret: &str) {
        self.agents[agent.0].secrets.insert(user.to_owned(), secret.to_owned());
        self.send_register(agent.0, user, 0, None);
    }

    /// Takes every phone off the registrar again, so that nobody calls what is no longer there; serves for at most
    /// `patience` until all are off.
    pub fn unregister_all(&mut self, patience: Duration) {
        self.expires_s = 0;
        for agent in 0..self.agents.len() {
            let users: Vec<String> = self.agents[agent].secrets.keys().cloned().collect();
            for (n, user) in users.iter().enumerate() {
                self.send_register(agent, user, 0, None);
                if n % 32 == 0 {
                    self.step(Duration::from_millis(2));
                }
            }
        }
        let end = self.clock.now() + patience;
        let asking = |peers: &Peers| peers.phones.values().any(|p| matches!(p.state, Registration::Asking { .. }));
        while asking(self) && self.clock.now() < end {
            self.step(Duration::from_millis(5));
        }
    }

    fn send_register(&mut self, agent: usize, user: &str, tried: u32, challenge: Option<&Message>) {
        let a = &self.agents[agent];
        let gateway = a.gateway;
        let cseq = self.phones.get(&(agent, user.to_owned())).map_or(1, |p| p.cseq + 1);
        let account = ua::Registering {
            local: a.local,
            peer: gateway,
            user,
            secret: a.secrets.get(user).map_or("", String::as_str),
            cseq,
            expires_s: self.expires_s,
            salt: self.salt,
        };
        let Some(bytes) = account.request(challenge) else { return };
        self.send(agent, gateway, &bytes);
        let again = self.clock.now() + T1;
        let state = Registration::Asking { bytes, again, tried };
        self.phones.insert((agent, user.to_owned()), Phone { cseq, state });
    }

    pub(super) fn handle_registered(&mut self, agent: usize, message: &Message, code: u16, cseq: u32) {
        let to = message.get(Name::To).and_then(NameAddr::parse).and_then(|n| n.uri().map(|u| u.number().to_vec()));
        let user = String::from_utf8_lossy(&to.unwrap_or_default()).into_owned();
        let (now, leaving) = (self.clock.now(), self.expires_s == 0);
        let Some(phone) = self.phones.get_mut(&(agent, user.clone())).filter(|p| p.cseq == cseq) else { return };
        let Registration::Asking { tried, .. } = phone.state else { return };
        match code {
            401 if tried < CHALLENGES => self.send_register(agent, &user, tried + 1, Some(message)),
            200 => {
                let granted = message.get(Name::Contact).and_then(NameAddr::parse);
                let granted = granted.and_then(|c| std::str::from_utf8(c.params.get("expires")?).ok()?.parse().ok());
                let refresh_at = now + Duration::from_secs(granted.unwrap_or(60)).mul_f64(REFRESH);
                phone.state = if leaving { Registration::Off } else { Registration::There { refresh_at } };
                self.happen(Happening::Registered { user });
            }
            _ => phone.state = Registration::Off,
        }
    }

    pub(super) fn wake_phones(&mut self, now: Duration) {
        let (mut again, mut refresh) = (Vec::new(), Vec::new());
        for ((agent, user), phone) in &mut self.phones {
            match &mut phone.state {
                Registration::Asking { bytes, again: at, .. } if *at <= now => {
                    *at = now + T1 * 2;
                    again.push((*agent, bytes.clone()));
                }
                Registration::There { refresh_at } if *refresh_at <= now => refresh.push((*agent, user.clone())),
                Registration::Asking { .. } | Registration::There { .. } | Registration::Off => {}
            }
        }
        for (agent, bytes) in again {
            self.send(agent, self.agents[agent].gateway, &bytes);
        }
        // In portions, so that no socket's buffer overflows.
        for (agent, user) in refresh.into_iter().take(64) {
            self.send_register(agent, &user, 0, None);
        }
    }
}
