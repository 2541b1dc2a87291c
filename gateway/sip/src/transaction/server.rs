//! The non-INVITE server transaction (RFC 3261 17.2.2).
//!
//! We answer every such request at once, so the machine begins where its final response has gone out.

use bytes::Bytes;
use codecs::time::Mono;

use super::Wake;
use crate::timer::T1_64;

#[derive(Debug)]
pub struct Server {
    response: Bytes,
    /// Timer J; `None` once over.
    until: Option<Mono>,
}

impl Server {
    pub fn completed(now: Mono, response: Bytes, reliable: bool) -> Self {
        Server { response, until: (!reliable).then(|| now + T1_64) }
    }

    pub fn handle_retransmission(&self) -> Option<Bytes> {
        self.until.map(|_| self.response.clone())
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
    fn a_repeated_request_gets_the_same_response_for_32_seconds() {
        let mut t = Server::completed(Mono(0), Bytes::from_static(b"200"), false);
        assert_eq!(t.handle_retransmission().as_deref(), Some(&b"200"[..]));
        t.handle_timeout(Mono::from_millis(31_999));
        assert!(!t.is_over());
        t.handle_timeout(Mono::from_millis(32_000));
        assert!(t.is_over() && t.handle_retransmission().is_none());
    }
}
