//! The non-INVITE server transaction (RFC 3261 17.2.2).
//!
//! Most requests are answered at once: the machine begins where the final response has gone out. A MESSAGE is answered
//! when its text is durable: until then its repeats are absorbed.

use bytes::Bytes;
use codecs::time::Mono;

use super::Wake;
use crate::timer::T1_64;

#[derive(Debug)]
pub struct Server {
    /// `None` while the answer is awaited.
    response: Option<Bytes>,
    reliable: bool,
    /// Timer J, or while the answer is awaited the time at which its client gives up; `None` once over.
    until: Option<Mono>,
}

impl Server {
    pub fn completed(now: Mono, response: Bytes, reliable: bool) -> Self {
        Server { response: Some(response), reliable, until: (!reliable).then(|| now + T1_64) }
    }

    /// The answer will come.
    pub fn trying(now: Mono, reliable: bool) -> Self {
        Server { response: None, reliable, until: Some(now + T1_64) }
    }

    /// The final response goes out.
    pub fn complete(&mut self, now: Mono, response: Bytes) {
        *self = Server::completed(now, response, self.reliable);
    }

    pub fn handle_retransmission(&self) -> Option<Bytes> {
        self.until.and_then(|_| self.response.clone())
    }

    pub fn handle_timeout(&mut self, now: Mono) -> Wake {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
        }
        Wake::Nothing
    }

    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        self.until.map(|until| (until, "timer J"))
    }

    pub fn is_over(&self) -> bool {
        self.until.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_answer_is_awaited_repeats_are_absorbed() {
        let mut t = Server::trying(Mono(0), false);
        assert_eq!(t.handle_retransmission(), None);
        t.complete(Mono::from_millis(5), Bytes::from_static(b"200"));
        assert_eq!(t.handle_retransmission().as_deref(), Some(&b"200"[..]));
        let mut given_up = Server::trying(Mono(0), false);
        given_up.handle_timeout(Mono::from_millis(32_000));
        assert!(given_up.is_over());
    }

    #[test]
    fn a_repeated_request_gets_the_same_response_for_32_seconds() {
        let mut t = Server::completed(Mono(0), Bytes::from_static(b"200"), false);
        assert_eq!(t.handle_retransmission().as_deref(), Some(&b"200"[..]));
        t.handle_timeout(Mono::from_millis(31_999));
        assert!(!t.is_over());
        t.handle_timeout(Mono::from_millis(32_000));
        assert!(t.is_over() && t.handle_retransmission().is_none());
    }
}
