//! The SIP endpoint between a trunk, a phone and a stranger.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use codecs::sip::auth::{Algorithm, ha1};
use codecs::sip::{Message, check_request, check_response};
use codecs::time::Mono;
use sip::{
    Account, CallIds, Config, Endpoint, Event, Flow, Mint, OutgoingInvite, OutgoingPage, Output, PageId, Rules,
    SessionId, Transport,
};

use crate::peer::{Peer, REALM, SECRET};
use crate::script::{number, steps};

const STEPS: usize = 64;
const SDP: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8\r\n";
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 5060);

fn at(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 5060)
}

struct World {
    endpoint: Endpoint,
    now: Mono,
    peer: Peer,
    invited: Option<SessionId>,
    calling: Option<SessionId>,
    /// The last session that ended: whatever is asked of it is asked too late.
    ended: Option<SessionId>,
    pages: Vec<PageId>,
    reoffered: Option<SessionId>,
}

/// Whatever comes, what we send is in order, an event comes once, and when all is over nothing is left.
pub(crate) fn run(data: &[u8]) {
    let mut mint = Mint::new([1; 32]);
    let account = Account {
        user: "1001".into(),
        ha1: vec![(Algorithm::Md5, ha1(Algorithm::Md5, "1001", REALM, SECRET))],
        networks: Vec::new(),
    };
    let endpoint = Endpoint::new(Config {
        address: HERE,
        realm: REALM.into(),
        accounts: vec![account],
        registrar: Rules { digest: vec![Algorithm::Md5], max_expires: Duration::from_secs(120) },
        peers: vec![at(1).ip().into()],
        trunks: Vec::new(),
        seed: mint.seed(),
        shard: 0,
        call_ids: CallIds::new(&mint.seed(), 1),
        first_page: 0,
    });
    let mut world = World {
        endpoint,
        now: Mono(1_000_000_000),
        peer: Peer::default(),
        invited: None,
        calling: None,
        ended: None,
        pages: Vec::new(),
        reoffered: None,
    };
    for (what, with) in steps(data, STEPS) {
        world.step(what, with);
        world.drain();
    }
    world.end();
}

impl World {
    fn step(&mut self, what: u8, with: &[u8]) {
        let now = self.now;
        let tcp = Flow { transport: Transport::Tcp, remote: at(1), connection: 1 };
        match what {
            b'M' => self.hear(Flow::udp(at(1)), with),
            b'T' => self.hear(tcp, with),
            b'S' => self.hear(Flow::udp(at(66)), with),
            b'R' => self.hear(Flow::udp(at(2)), with),
            b'b' => self.endpoint.handle_broken_stream(tcp, Bytes::copy_from_slice(with), "fuzz"),
            b'x' => self.endpoint.handle_closed(1),
            b'u' => self.endpoint.handle_unreachable(now, 1, at(1)),
            b't' => self.pass(Duration::from_millis(u64::from(number(with) % 200_000))),
            b'g' => self.of(self.invited, |e, id| e.ring(now, id, 180)),
            b'a' => self.of(self.invited, |e, id| e.accept(now, id, SDP)),
            b'r' => self.of(self.invited, |e, id| e.reject(now, id, 486, Some("fuzz"))),
            b'o' => self.of(self.invited.or(self.calling), |e, id| e.probe(now, id)),
            b'h' => self.of(self.calling.or(self.invited), |e, id| e.hang_up(now, id, "Q.850;cause=16")),
            b'z' => self.of(self.ended, |e, id| {
                e.accept(now, id, SDP);
                e.hang_up(now, id, "late");
            }),
            b'n' => self.of(self.reoffered, |e, id| e.answer_reoffer(now, id, SDP)),
            b'N' => self.of(self.reoffered, |e, id| e.refuse_reoffer(now, id, 488)),
            b'i' => self.invite(with),
            b'p' => {
                let out = OutgoingPage {
                    flow: Flow::udp(at(1)),
                    uri: b"sip:1@10.0.0.1".to_vec(),
                    from: b"<sip:110@sim>".to_vec(),
                    to: b"<sip:1@10.0.0.1>".to_vec(),
                    body: with.to_vec(),
                };
                self.endpoint.page(now, &out);
            }
            b'P' => {
                if let Some(page) = self.pages.pop() {
                    self.endpoint.answer_page(now, page, 200);
                }
            }
            _ => {}
        }
    }

    fn hear(&mut self, flow: Flow, script: &[u8]) {
        let bytes = self.peer.fill(script);
        self.endpoint.handle_message(self.now, flow, Bytes::from(bytes));
    }

    fn of(&mut self, session: Option<SessionId>, act: impl FnOnce(&mut Endpoint, SessionId)) {
        if let Some(id) = session {
            act(&mut self.endpoint, id);
        }
    }

    fn invite(&mut self, with: &[u8]) {
        let contact = self.endpoint.binding("1001").map(|b| (b.flow, b.contact.clone()));
        let (flow, uri) = contact.unwrap_or((Flow::udp(at(1)), b"sip:1@10.0.0.1".to_vec()));
        let out = OutgoingInvite {
            flow,
            to: [b"<", &uri[..], b">"].concat(),
            uri,
            from: b"<sip:110@sim>".to_vec(),
            sdp: SDP.to_vec(),
            is_registered: true,
            headers: vec![("Subject".into(), String::from_utf8_lossy(with).into_owned())],
        };
        self.calling = Some(self.endpoint.invite(self.now, out));
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        // Every wait of the machines is longer than a millisecond.
        for _ in 0..100_000 {
            let Some((at, _)) = self.endpoint.poll_timeout().filter(|(at, _)| *at <= until) else { break };
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = self.now.max(until);
        self.endpoint.handle_timeout(self.now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send { bytes, .. } => {
                    let message = Message::frame(bytes.clone()).expect("what we send can be framed");
                    let checked = if message.is_request() { check_request(&message) } else { check_response(&message) };
                    // An answer to what is malformed says again what it can.
                    if checked.is_err() {
                        assert!(message.code().is_some_and(|c| c >= 400), "{}", String::from_utf8_lossy(&bytes));
                    }
                    self.peer.hear(&message);
                }
                Output::Close { .. } => {}
                Output::Event(event) => self.note(event),
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Invited(invitation) => self.invited = Some(invitation.session),
            Event::Reoffer { session, .. } => self.reoffered = Some(session),
            Event::Paged { page, .. } => self.pages.push(page),
            Event::Ended { session, .. } => {
                assert_ne!(self.ended, Some(session), "a session ends once");
                self.ended = Some(session);
                self.invited = self.invited.filter(|s| *s != session);
                self.calling = self.calling.filter(|s| *s != session);
            }
            _ => {}
        }
    }

    /// Everybody hangs up and a few minutes pass: nothing is left.
    fn end(&mut self) {
        for _ in 0..STEPS {
            let now = self.now;
            if let Some(id) = self.invited.take() {
                self.endpoint.reject(now, id, 480, None);
                self.endpoint.hang_up(now, id, "end");
            }
            if let Some(id) = self.calling.take() {
                self.endpoint.hang_up(now, id, "end");
            }
            if let Some(id) = self.reoffered.take() {
                self.endpoint.refuse_reoffer(now, id, 488);
                self.endpoint.hang_up(now, id, "end");
            }
            if let Some(page) = self.pages.pop() {
                self.endpoint.answer_page(now, page, 480);
            }
            self.drain();
        }
        self.pass(Duration::from_secs(600));
        self.drain();
        let (_, transactions, _) = self.endpoint.population();
        assert_eq!(transactions, 0, "transactions outlive everybody");
    }
}
