//! The INVITE client transaction (RFC 3261 17.1.1, RFC 6026 7.2).
//!
//! Repeats the INVITE until anything answers, and tells which responses need an ACK. Builds no message itself.

use bytes::Bytes;
use codecs::time::Mono;
use std::time::Duration;

use super::{Verdict, Wake};
use crate::timer::{T1, T1_64};

#[derive(Debug)]
enum State {
    Calling {
        repeat: Option<(Mono, Duration)>,
        give_up_at: Mono,
    },
    Proceeding,
    /// A final response other than 2xx came; D absorbs its repeats.
    Completed {
        until: Mono,
    },
    /// A 2xx came; M lets further ones through to the transaction user.
    Accepted {
        until: Mono,
    },
    Terminated,
}

#[derive(Debug)]
pub struct InviteClient {
    state: State,
    /// What is sent again: the INVITE, after a refusal its ACK.
    again: Bytes,
    reliable: bool,
}

impl InviteClient {
    /// The request has just been sent.
    pub fn calling(now: Mono, request: Bytes, reliable: bool) -> Self {
        let repeat = (!reliable).then(|| (now + T1, T1));
        InviteClient { state: State::Calling { repeat, give_up_at: now + T1_64 }, again: request, reliable }
    }

    pub fn handle_response(&mut self, now: Mono, code: u16) -> Verdict {
        match (&self.state, code) {
            (State::Calling { .. } | State::Proceeding, 100..200) => {
                self.state = State::Proceeding;
                Verdict::Pass
            }
            (State::Calling { .. } | State::Proceeding, 200..300) => {
                self.state = State::Accepted { until: now + T1_64 };
                // Nothing of it will be sent or copied again, and it is kept for half a minute.
                self.again = Bytes::new();
                Verdict::Pass
            }
            (State::Calling { .. } | State::Proceeding, _) => {
                self.state = if self.reliable { State::Terminated } else { State::Completed { until: now + T1_64 } };
                Verdict::PassAndAck
            }
            (State::Accepted { .. }, 200..300) => Verdict::Pass,
            (State::Completed { .. }, 300..) => Verdict::Ack,
            (State::Accepted { .. } | State::Completed { .. } | State::Terminated, _) => Verdict::Absorb,
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) -> Wake {
        match &mut self.state {
            State::Calling { give_up_at, .. } if *give_up_at <= now => {
                self.state = State::Terminated;
                Wake::TimedOut
            }
            State::Calling { repeat: Some((at, interval)), .. } if *at <= now => {
                *interval *= 2;
                *at = now + *interval;
                Wake::Send(self.again.clone())
            }
            State::Completed { until } | State::Accepted { until } if *until <= now => {
                self.state = State::Terminated;
                Wake::Nothing
            }
            State::Calling { .. }
            | State::Proceeding
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated => Wake::Nothing,
        }
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        match &self.state {
            State::Calling { repeat: Some((at, _)), give_up_at } if at < give_up_at => Some((*at, "timer A")),
            State::Calling { give_up_at, .. } => Some((*give_up_at, "timer B")),
            State::Completed { until } => Some((*until, "timer D")),
            State::Accepted { until } => Some((*until, "timer M")),
            State::Proceeding | State::Terminated => None,
        }
    }

    /// Whether a CANCEL may go out: something provisional came, nothing final (RFC 3261 9.1).
    pub fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding)
    }

    /// The ACK of a refusal, which goes out with each repeat of it (RFC 3261 17.1.1.3).
    pub fn acknowledge(&mut self, ack: Bytes) {
        self.again = ack;
    }

    /// The ACK, once there has been a refusal.
    pub fn ack(&self) -> Option<&Bytes> {
        matches!(self.state, State::Completed { .. }).then_some(&self.again)
    }

    /// Gives the transaction up, when a CANCEL stayed without any final response for 64·T1.
    pub fn terminate(&mut self) {
        self.state = State::Terminated;
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn an_unanswered_invite_repeats_at_a_and_times_out_at_b() {
        let mut t = InviteClient::calling(at(0), Bytes::from_static(b"INVITE"), false);
        let mut sent = Vec::new();
        while let Some((when, _)) = t.poll_timeout() {
            match t.handle_timeout(when) {
                Wake::Send(_) => sent.push(when.as_millis()),
                Wake::TimedOut => assert_eq!(when.as_millis(), 32_000),
                Wake::Nothing => {}
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
    }

    #[test]
    fn a_refusal_is_acknowledged_each_time_and_passed_once() {
        let mut t = InviteClient::calling(at(0), Bytes::from_static(b"INVITE"), false);
        assert_eq!(t.handle_response(at(1), 180), Verdict::Pass);
        assert_eq!(t.poll_timeout(), None);
        assert_eq!(t.handle_response(at(2), 486), Verdict::PassAndAck);
        assert_eq!(t.handle_response(at(3), 486), Verdict::Ack);
        assert_eq!(t.handle_response(at(4), 200), Verdict::Absorb);
        t.handle_timeout(at(32_002));
        assert!(t.is_over());
    }

    #[test]
    fn repeated_2xx_reach_the_user_until_timer_m() {
        let mut t = InviteClient::calling(at(0), Bytes::from_static(b"INVITE"), false);
        assert_eq!(t.handle_response(at(1), 200), Verdict::Pass);
        assert_eq!(t.handle_response(at(500), 200), Verdict::Pass);
        assert_eq!(t.handle_response(at(501), 180), Verdict::Absorb);
        t.handle_timeout(at(32_001));
        assert!(t.is_over());
    }
}
