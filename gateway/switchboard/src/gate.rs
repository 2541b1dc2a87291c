//! What is served first when there is more than can be served: calls ahead of everything else, those who are known ahead
//! of strangers, and of strangers no more than is cheap. Looks at a message's first octets and at where it came from.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use bytes::Bytes;
use codecs::time::Mono;
use ipnet::IpNet;
use sip::Flow;

/// Messages of strangers that are looked at in a second: registering phones, scanners, whoever has the wrong address.
const STRANGERS: u32 = 2000;
/// Of them, those of one source.
const STRANGER: u32 = 200;
/// Sources that are told apart in a second.
const SOURCES: usize = 10_000;
/// What waits until the calls are served: of those who are known, and of strangers.
const KNOWN_WAIT: usize = 4096;
const STRANGERS_WAIT: usize = 512;
/// The longest message of a stranger.
const STRANGER_LEN: usize = 8 * 1024;

/// When a message is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    Now,
    /// It waits behind the calls.
    Later,
    Dropped,
}

/// What was not served, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// Strangers beyond what is looked at in a second.
    pub strangers: u64,
    /// There was no more room behind the calls.
    pub waiting: u64,
    /// A known source beyond its rate.
    pub rate: u64,
}

pub struct Gate {
    trunks: Vec<IpNet>,
    /// Sources of phones that have registered and of calls that are up.
    known: BTreeSet<IpAddr>,
    /// The second that these are of.
    second: u64,
    strangers: u32,
    by_stranger: HashMap<IpAddr, u32>,
    by_known: HashMap<IpAddr, u32>,
    /// Messages that begin something new, of one known source in a second.
    rate: u32,
    later: VecDeque<(Flow, Bytes)>,
    later_strangers: VecDeque<(Flow, Bytes)>,
    dropped: Dropped,
}

/// What a message's first octets say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A call, or something said in one: an answer, an ACK, a BYE.
    Call,
    /// Anything else: REGISTER, OPTIONS, MESSAGE, whatever they may be.
    Other,
    /// No SIP: a keep-alive, or rubbish.
    None,
}

fn kind(bytes: &[u8]) -> Kind {
    let text = &bytes[bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()..];
    let calls: [&[u8]; 7] = [b"INVITE ", b"ACK ", b"BYE ", b"CANCEL ", b"SIP/2.0 ", b"INFO ", b"PRACK "];
    if calls.iter().any(|method| text.starts_with(method)) {
        return Kind::Call;
    }
    if text.first().is_some_and(u8::is_ascii_uppercase) { Kind::Other } else { Kind::None }
}

impl Gate {
    /// `trunks`: where calls come from. `rate`: messages a second that one known source may begin, beside calls.
    pub fn new(trunks: Vec<IpNet>, rate: u32) -> Gate {
        Gate {
            trunks,
            known: BTreeSet::new(),
            second: 0,
            strangers: 0,
            by_stranger: HashMap::new(),
            by_known: HashMap::new(),
            rate,
            later: VecDeque::new(),
            later_strangers: VecDeque::new(),
            dropped: Dropped::default(),
        }
    }

    /// Who is in a call or registered now, besides the trunks.
    pub fn set_known(&mut self, known: BTreeSet<IpAddr>) {
        self.known = known;
    }

    /// Whether they are a trunk's, or those of somebody in a call or registered.
    pub fn is_known(&self, source: IpAddr) -> bool {
        self.known.contains(&source) || self.trunks.iter().any(|net| net.contains(&source))
    }

    /// How many of this source this second.
    fn count(&mut self, now: Mono, source: IpAddr, known: bool) -> u32 {
        let second = now.as_millis() / 1000;
        if second != self.second {
            (self.second, self.strangers) = (second, 0);
            self.by_stranger.clear();
            self.by_known.clear();
        }
        // Strangers never push out what is counted of those who are known.
        let sources = if known { &mut self.by_known } else { &mut self.by_stranger };
        if sources.len() >= SOURCES && !sources.contains_key(&source) {
            return u32::MAX;
        }
        let count = sources.entry(source).or_default();
        *count += 1;
        *count
    }

    /// Says when a message is served; what waits comes out of `next_later`.
    pub fn judge(&mut self, now: Mono, flow: Flow, bytes: &Bytes) -> Lane {
        let source = flow.remote.ip().to_canonical();
        let kind = kind(bytes);
        if self.is_known(source) {
            return match kind {
                Kind::Call => Lane::Now,
                Kind::None => Lane::Dropped,
                Kind::Other if self.count(now, source, true) > self.rate => {
                    self.dropped.rate += 1;
                    Lane::Dropped
                }
                Kind::Other => self.wait(flow, bytes, true),
            };
        }
        if kind == Kind::None || bytes.len() > STRANGER_LEN {
            self.dropped.strangers += 1;
            return Lane::Dropped;
        }
        let count = self.count(now, source, false);
        self.strangers += 1;
        if count > STRANGER || self.strangers > STRANGERS {
            self.dropped.strangers += 1;
            return Lane::Dropped;
        }
        self.wait(flow, bytes, false)
    }

    fn wait(&mut self, flow: Flow, bytes: &Bytes, known: bool) -> Lane {
        let (queue, most) = match known {
            true => (&mut self.later, KNOWN_WAIT),
            false => (&mut self.later_strangers, STRANGERS_WAIT),
        };
        if queue.len() >= most {
            self.dropped.waiting += 1;
            return Lane::Dropped;
        }
        queue.push_back((flow, bytes.clone()));
        Lane::Later
    }

    /// The next one behind the calls: those who are known first.
    pub fn next_later(&mut self) -> Option<(Flow, Bytes)> {
        self.later.pop_front().or_else(|| self.later_strangers.pop_front())
    }

    pub fn waiting(&self) -> usize {
        self.later.len() + self.later_strangers.len()
    }

    pub fn dropped(&self) -> Dropped {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(vec!["192.0.2.0/24".parse().expect("a network")], 100)
    }

    fn from(source: &str) -> Flow {
        Flow::udp(format!("{source}:5060").parse().expect("an address"))
    }

    fn say(gate: &mut Gate, source: &str, text: &'static str) -> Lane {
        gate.judge(Mono::from_millis(5_000), from(source), &Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn calls_of_trunks_come_first_and_whatever_else_they_ask_waits_behind_them() {
        let mut gate = gate();
        for text in ["INVITE sip:110@a SIP/2.0", "\r\nBYE sip:a SIP/2.0", "SIP/2.0 200 OK", "ACK sip:a SIP/2.0"] {
            assert_eq!(say(&mut gate, "192.0.2.1", text), Lane::Now, "{text}");
        }
        assert_eq!(say(&mut gate, "198.51.100.7", "REGISTER sip:a SIP/2.0"), Lane::Later);
        assert_eq!(say(&mut gate, "192.0.2.1", "OPTIONS sip:a SIP/2.0"), Lane::Later);
        let next = gate.next_later().expect("it waits");
        assert_eq!(next.0, from("192.0.2.1"), "those who are known first");
        assert_eq!(say(&mut gate, "192.0.2.1", "\r\n\r\n"), Lane::Dropped, "a keep-alive needs no answer over UDP");
    }

    #[test]
    fn of_strangers_no_more_is_looked_at_than_is_cheap_and_none_of_them_takes_it_all() {
        let mut gate = gate();
        let lanes: Vec<Lane> = (0..300).map(|_| say(&mut gate, "198.51.100.7", "INVITE sip:a SIP/2.0")).collect();
        assert_eq!(lanes.iter().filter(|l| **l == Lane::Later).count(), 200);
        assert_eq!(say(&mut gate, "198.51.100.8", "OPTIONS sip:a SIP/2.0"), Lane::Later, "another has its own share");
        while gate.next_later().is_some() {}
        for n in 0..20_000u32 {
            let source = format!("203.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
            let _ = gate.judge(Mono::from_millis(5_000), from(&source), &Bytes::from_static(b"OPTIONS sip:a SIP/2.0"));
        }
        assert!(gate.waiting() <= STRANGERS_WAIT);
        assert_eq!(say(&mut gate, "192.0.2.1", "INVITE sip:110@a SIP/2.0"), Lane::Now);
        assert_eq!(
            say(&mut gate, "192.0.2.1", "MESSAGE sip:110@a SIP/2.0"),
            Lane::Later,
            "trunks have a queue of their own"
        );
    }

    #[test]
    fn whoever_is_registered_or_in_a_call_is_no_stranger() {
        let mut gate = gate();
        assert_eq!(say(&mut gate, "198.51.100.7", "BYE sip:a SIP/2.0"), Lane::Later);
        gate.set_known(BTreeSet::from(["198.51.100.7".parse().expect("an address")]));
        assert_eq!(say(&mut gate, "198.51.100.7", "BYE sip:a SIP/2.0"), Lane::Now);
        let lanes: Vec<Lane> = (0..150).map(|_| say(&mut gate, "198.51.100.7", "REGISTER sip:a SIP/2.0")).collect();
        assert!(lanes[..90].iter().all(|l| *l == Lane::Later) && lanes[110..].iter().all(|l| *l == Lane::Dropped));
        assert!(gate.dropped().rate > 0);
    }
}
