//! `loadtest calls` against a target that is no gateway: other peers of this crate, on real sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use loadtest::calls::{self, MediaMode, Plan};
use loadtest::clock::Clock;
use loadtest::{AgentId, Behaviour, Happening, Peers, Remote};

/// A target that answers everybody so, with the voice of this role.
struct Target {
    sip: SocketAddr,
    agent: AgentId,
    remote: Remote,
    thread: std::thread::JoinHandle<()>,
}

impl Target {
    fn start(behaviour: Behaviour, role: u8) -> Target {
        let mut peers = Peers::new(Clock::start()).expect("an epoll");
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let agent = peers.add_agent(IpAddr::V4(Ipv4Addr::LOCALHOST), nobody, role, behaviour).expect("a socket");
        let (sip, remote) = (peers.local(agent), peers.remote());
        Target { sip, agent, remote, thread: std::thread::spawn(move || peers.run()) }
    }

    /// Who was called, and how many calls are still up.
    fn end(self) -> (Vec<String>, usize) {
        let agent = self.agent;
        let seen = self.remote.ask(move |p| {
            let users = std::iter::from_fn(|| p.poll_happening()).filter_map(|(_, h)| match h {
                Happening::Called { user, .. } => Some(user),
                _ => None,
            });
            (users.collect(), p.legs_of(agent))
        });
        self.remote.ask(Peers::finish);
        self.thread.join().expect("the target's thread");
        seen.expect("the target is there")
    }

    fn plan(&self, legs: u8) -> Plan {
        Plan {
            rate: 20.0,
            duration: Duration::from_millis(250),
            hold: Duration::from_millis(300),
            legs,
            media: MediaMode::Probe,
            sip: self.sip,
            source: IpAddr::from([127, 0, 0, 3]),
            attendant: "110".into(),
            api: None,
            seats: (3001, 3004),
            officers: (4001, 4004),
            password: String::new(),
            foreign: None,
            patience: Duration::from_secs(1),
            jumping: false,
            watched: None,
        }
    }
}

const AT_ONCE: Behaviour = Behaviour::Answer { after: Duration::ZERO };

#[test]
fn a_target_that_sends_no_audio_has_its_calls_ended_and_counted() {
    let target = Target::start(Behaviour::Silent, 1);
    let report = calls::run(&target.plan(1)).expect("it runs");
    assert_eq!((report.placed, report.taken), (5, 5));
    assert_eq!(report.failed.get("no audio"), Some(&5), "{:?}", report.failed);
    assert!(!report.pass());
    assert_eq!(target.end(), (vec!["110".to_owned(); 5], 0));
}

#[test]
fn a_target_that_speaks_to_whoever_calls_user_110_passes_with_one_leg() {
    let target = Target::start(AT_ONCE, 1);
    let report = calls::run(&target.plan(1)).expect("it runs");
    assert!(report.pass(), "{:?}", report.thresholds);
    assert_eq!(target.end(), (vec!["110".to_owned(); 5], 0));
}

#[test]
fn a_200_with_another_voice_than_the_seats_is_no_humans_answer() {
    let target = Target::start(AT_ONCE, 2);
    let report = calls::run(&target.plan(2)).expect("it runs");
    assert_eq!((report.taken, report.answered), (5, 0), "a 200 and a voice, and nobody's whom a human would have");
    let crossed = |name: &str| report.thresholds.iter().any(|t| t.name == name && !t.pass);
    assert!(crossed("no human heard") && !crossed("without a 200"), "{:?}", report.thresholds);
    assert_eq!(target.end().1, 0);
}

#[test]
fn legs_of_a_number_are_counted_on_every_socket() {
    let clock = Clock::start();
    let mut peers = Peers::new(clock).expect("an epoll");
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let officer = peers.add_agent(local, nobody, 2, AT_ONCE).expect("a socket");
    let caller = peers.add_agent(local, peers.local(officer), 0, AT_ONCE).expect("a socket");
    let party = peers.call(caller, "13900000001", "110", 0).expect("placed");
    let mut until = |wanted: [usize; 3]| {
        let end = clock.now() + Duration::from_secs(5);
        while peers.legs_with(&["13900000001".into()]) != wanted {
            assert!(clock.now() < end, "{:?}", peers.legs_with(&["13900000001".into()]));
            peers.step(Duration::from_millis(5));
            if peers.poll_happening().is_some_and(|(_, h)| h == Happening::Answered { party }) {
                peers.hang_up(party);
            }
        }
        assert_eq!(peers.legs_with(&["13900000002".into()]), [0; 3], "of another number there is none");
    };
    until([1, 0, 1]);
    until([0; 3]);
}
