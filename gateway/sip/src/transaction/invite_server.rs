//! The INVITE server transaction (RFC 3261 17.2.1, RFC 6026 7.1).
//!
//! Turns one INVITE into its responses and absorbs retransmissions. Knows neither the dialog it may start nor the
//! transport that carries it. Repeating a 2xx is the session's business, not this machine's.

use bytes::Bytes;
use codecs::time::Mono;
use std::time::Duration;

use super::Wake;
use crate::timer::{T1, T1_64, T2, T4};

#[derive(Debug)]
enum State {
    Proceeding {
        last: Option<Bytes>,
    },
    /// A final response other than 2xx went out; G repeats it, H gives up waiting for the ACK.
    Completed {
        response: Bytes,
        repeat: Option<(Mono, Duration)>,
        give_up_at: Mono,
    },
    /// The ACK came; I absorbs its repeats.
    Confirmed {
        until: Mono,
    },
    /// A 2xx went out; L absorbs repeats of the INVITE.
    Accepted {
        until: Mono,
    },
    Terminated,
}

#[derive(Debug)]
pub struct InviteServer {
    state: State,
    reliable: bool,
}

impl InviteServer {
    pub fn proceeding(reliable: bool) -> Self {
        InviteServer { state: State::Proceeding { last: None }, reliable }
    }

    /// The INVITE came again: what to send again, if anything.
    pub fn handle_retransmission(&self) -> Option<Bytes> {
        match &self.state {
            State::Proceeding { last } => last.clone(),
            State::Completed { response, .. } => Some(response.clone()),
            State::Confirmed { .. } | State::Accepted { .. } | State::Terminated => None,
        }
    }

    /// The transaction user answered. `false`: too late, nothing may be sent.
    pub fn respond(&mut self, now: Mono, code: u16, response: &Bytes) -> bool {
        let State::Proceeding { last } = &mut self.state else {
            return false;
        };
        match code {
            100..200 => *last = Some(response.clone()),
            200..300 => self.state = State::Accepted { until: now + T1_64 },
            _ => {
                // Whoever has heard nothing of us goes on repeating the INVITE: each repeat gets the refusal again, and
                // nobody gets eleven for one.
                let heard = last.is_some();
                let repeat = (!self.reliable && heard).then(|| (now + T1, T1));
                self.state = State::Completed { response: response.clone(), repeat, give_up_at: now + T1_64 };
            }
        }
        true
    }

    /// An ACK for a final response other than 2xx.
    pub fn handle_ack(&mut self, now: Mono) {
        if let State::Completed { .. } = self.state {
            self.state = if self.reliable { State::Terminated } else { State::Confirmed { until: now + T4 } };
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) -> Wake {
        match &mut self.state {
            State::Completed { give_up_at, .. } if *give_up_at <= now => {
                self.state = State::Terminated;
                Wake::TimedOut
            }
            State::Completed { response, repeat: Some((at, interval)), .. } if *at <= now => {
                *interval = (*interval * 2).min(T2);
                *at = now + *interval;
                Wake::Send(response.clone())
            }
            State::Confirmed { until } | State::Accepted { until } if *until <= now => {
                self.state = State::Terminated;
                Wake::Nothing
            }
            State::Proceeding { .. }
            | State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => Wake::Nothing,
        }
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        match &self.state {
            State::Completed { repeat: Some((at, _)), give_up_at, .. } if at < give_up_at => Some((*at, "timer G")),
            State::Completed { give_up_at, .. } => Some((*give_up_at, "timer H")),
            State::Confirmed { until } => Some((*until, "timer I")),
            State::Accepted { until } => Some((*until, "timer L")),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Nobody can be answered any more (RFC 3261 17.2.4).
    pub fn terminate(&mut self) {
        self.state = State::Terminated;
    }

    /// Nothing has been sent, not even 100.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Proceeding { last: None })
    }

    pub fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Bytes = Bytes::from_static(b"486");
    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn a_retransmitted_invite_gets_the_same_response() {
        let mut t = InviteServer::proceeding(false);
        assert_eq!(t.handle_retransmission(), None);
        assert!(t.respond(at(0), 180, &Bytes::from_static(b"180")));
        assert_eq!(t.handle_retransmission().as_deref(), Some(&b"180"[..]));
        assert!(t.respond(at(1), 486, &NO));
        assert_eq!(t.handle_retransmission(), Some(NO));
    }

    #[test]
    fn an_unacknowledged_refusal_repeats_at_g_and_gives_up_at_h() {
        let mut t = InviteServer::proceeding(false);
        t.respond(at(0), 180, &Bytes::from_static(b"180"));
        t.respond(at(0), 486, &NO);
        let mut sent = Vec::new();
        while let Some((when, _)) = t.poll_timeout() {
            match t.handle_timeout(when) {
                Wake::Send(_) => sent.push(when.as_millis()),
                Wake::TimedOut => assert_eq!(when.as_millis(), 32_000),
                Wake::Nothing => {}
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert!(t.is_over());
    }

    #[test]
    fn after_a_2xx_repeats_of_the_invite_are_absorbed_for_32_seconds() {
        let mut t = InviteServer::proceeding(false);
        t.respond(at(0), 200, &Bytes::from_static(b"200"));
        assert_eq!(t.handle_retransmission(), None);
        assert!(!t.respond(at(1), 486, &NO), "answered once");
        assert_eq!(t.poll_timeout(), Some((at(32_000), "timer L")));
        assert_eq!(t.handle_timeout(at(32_000)), Wake::Nothing);
        assert!(t.is_over());
    }

    #[test]
    fn a_refusal_at_once_is_sent_once_for_each_invite_and_never_by_itself() {
        let mut t = InviteServer::proceeding(false);
        t.respond(at(0), 486, &NO);
        assert_eq!(t.poll_timeout(), Some((at(32_000), "timer H")));
        assert_eq!(t.handle_retransmission(), Some(NO));
    }

    #[test]
    fn over_tcp_the_ack_ends_it_at_once() {
        let mut t = InviteServer::proceeding(true);
        t.respond(at(0), 486, &NO);
        assert_eq!(t.poll_timeout(), Some((at(32_000), "timer H")));
        t.handle_ack(at(5));
        assert!(t.is_over());
    }
}
