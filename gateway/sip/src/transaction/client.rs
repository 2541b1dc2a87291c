//! The non-INVITE client transaction (RFC 3261 17.1.2).

use bytes::Bytes;
use codecs::time::Mono;
use std::time::Duration;

use super::{Verdict, Wake};
use crate::timer::{T1, T1_64, T2, T4};

#[derive(Debug)]
enum State {
    /// Trying or Proceeding: repeats until a final response; after a provisional one every T2.
    Trying {
        repeat: Option<(Mono, Duration)>,
        give_up_at: Mono,
    },
    /// K absorbs repeats of the final response.
    Completed {
        until: Mono,
    },
    Terminated,
}

#[derive(Debug)]
pub struct Client {
    state: State,
    request: Bytes,
    reliable: bool,
}

impl Client {
    /// The request has just been sent.
    pub fn trying(now: Mono, request: Bytes, reliable: bool) -> Self {
        let repeat = (!reliable).then(|| (now + T1, T1));
        Client { state: State::Trying { repeat, give_up_at: now + T1_64 }, request, reliable }
    }

    pub fn handle_response(&mut self, now: Mono, code: u16) -> Verdict {
        match (&mut self.state, code) {
            (State::Trying { repeat, .. }, 100..200) => {
                if let Some((at, interval)) = repeat {
                    *interval = T2;
                    *at = now + T2;
                }
                Verdict::Pass
            }
            (State::Trying { .. }, _) => {
                self.state = if self.reliable { State::Terminated } else { State::Completed { until: now + T4 } };
                self.request = Bytes::new();
                Verdict::Pass
            }
            (State::Completed { .. } | State::Terminated, _) => Verdict::Absorb,
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) -> Wake {
        match &mut self.state {
            State::Trying { give_up_at, .. } if *give_up_at <= now => {
                self.state = State::Terminated;
                Wake::TimedOut
            }
            State::Trying { repeat: Some((at, interval)), .. } if *at <= now => {
                *interval = (*interval * 2).min(T2);
                *at = now + *interval;
                Wake::Send(self.request.clone())
            }
            State::Completed { until } if *until <= now => {
                self.state = State::Terminated;
                Wake::Nothing
            }
            State::Trying { .. } | State::Completed { .. } | State::Terminated => Wake::Nothing,
        }
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        match &self.state {
            State::Trying { repeat: Some((at, _)), give_up_at } if at < give_up_at => Some((*at, "timer E")),
            State::Trying { give_up_at, .. } => Some((*give_up_at, "timer F")),
            State::Completed { until } => Some((*until, "timer K")),
            State::Terminated => None,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanswered_request_repeats_at_e_and_times_out_at_f() {
        let mut t = Client::trying(Mono(0), Bytes::from_static(b"BYE"), false);
        let mut sent = Vec::new();
        while let Some((when, _)) = t.poll_timeout() {
            match t.handle_timeout(when) {
                Wake::Send(_) => sent.push(when.as_millis()),
                Wake::TimedOut => assert_eq!(when.as_millis(), 32_000),
                Wake::Nothing => {}
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    }

    #[test]
    fn the_final_response_is_passed_once() {
        let mut t = Client::trying(Mono(0), Bytes::from_static(b"BYE"), false);
        assert_eq!(t.handle_response(Mono(1), 200), Verdict::Pass);
        assert_eq!(t.handle_response(Mono(2), 200), Verdict::Absorb);
        assert_eq!(t.poll_timeout(), Some((Mono(1) + T4, "timer K")));
    }
}
