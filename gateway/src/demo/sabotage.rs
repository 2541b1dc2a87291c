//! What `demo --sabotage` breaks. Each rule takes one thing out of the gateway's own doing and is named after the ✔ that
//! must then fail; phones, receiver and files are left as they are, since those are who has to notice.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use codecs::audio::chunk::{Chunk, PIECE_HEAD, pieces};
use codecs::audio::g711::Law;
use codecs::sdp::Sdp;
use codecs::sip::Message;
use switchboard::{Fact, IncidentFact, ShardOutput, ToCasebook, track_name};

use crate::thread::Saboteur;

/// What is broken, by the name of the check that notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Rule {
    /// No audio is sent to officers
    Bridge,
    /// The recorder gets silence for an officer's voice
    Record,
    /// An event counts as delivered that was not sent
    Sink,
    /// Officers are not told that a call has ended
    NothingLeft,
    /// What a taker writes down gets lost on its way to the record
    Keyword,
    /// A caller who gives up gets no final answer
    Cancelled,
    /// An officer who does not pick up goes on ringing for seconds
    Cancel,
}

/// So often a CANCEL is not sent: with its repeats more than the two seconds that the script waits for it.
const NOT_CANCELLED: u32 = 3;

/// The demo's saboteur; it knows where the script's people are.
pub(super) struct Spoiler {
    pub rule: Rule,
    pub officers: SocketAddr,
    pub trunk: SocketAddr,
    /// Our media ports towards officers.
    ports: Mutex<BTreeSet<u16>>,
    cancels: AtomicU32,
}

impl Spoiler {
    pub(super) fn new(rule: Rule, officers: SocketAddr, trunk: SocketAddr) -> Spoiler {
        Spoiler { rule, officers, trunk, ports: Mutex::new(BTreeSet::new()), cancels: AtomicU32::new(0) }
    }

    fn lets_out(&self, to: SocketAddr, bytes: &bytes::Bytes) -> bool {
        let is = |begins: &str, whose: SocketAddr| to == whose && bytes.starts_with(begins.as_bytes());
        match self.rule {
            Rule::Bridge if is("INVITE ", self.officers) => {
                self.learn_port(bytes.clone());
                true
            }
            Rule::NothingLeft => !is("BYE ", self.officers),
            Rule::Cancelled => !is("SIP/2.0 487 ", self.trunk),
            Rule::Cancel if is("CANCEL ", self.officers) => {
                self.cancels.fetch_add(1, Ordering::Relaxed) >= NOT_CANCELLED
            }
            _ => true,
        }
    }

    /// The port at which we offer to hear an officer is the one that we speak from.
    fn learn_port(&self, invite: bytes::Bytes) {
        let Ok(message) = Message::frame(invite) else { return };
        let Ok(sdp) = Sdp::parse(message.body()) else { return };
        if let Ok(mut ports) = self.ports.lock() {
            ports.extend(sdp.media.iter().filter(|m| m.is_rtp_audio()).map(|m| m.port));
        }
    }
}

/// The officer's pieces of a chunk, without what the officer said.
fn silence_officer(chunk: &mut Chunk) {
    let mut at = 0;
    let found: Vec<(u8, usize)> = pieces(&chunk.bytes).map(|p| (p.track, p.samples.len())).collect();
    for (track, len) in found {
        at += PIECE_HEAD;
        if track_name(track) == "officer" {
            chunk.bytes[at..at + len].fill(Law::A.silence());
        }
        at += len;
    }
}

fn lose_words(message: &mut ToCasebook) {
    match message {
        ToCasebook::By { message, .. } => lose_words(message),
        ToCasebook::Fact { fact: Fact::Incident(IncidentFact::Triaged(said)), .. } => said.text = None,
        _ => {}
    }
}

impl Saboteur for Spoiler {
    fn lets(&self, output: &mut ShardOutput) -> bool {
        match (self.rule, output) {
            (_, ShardOutput::Send { flow, bytes, .. }) => return self.lets_out(flow.remote, bytes),
            (Rule::Record, ShardOutput::Chunk { chunk, .. }) => silence_officer(chunk),
            (Rule::Keyword, ShardOutput::Casebook(message)) => lose_words(message),
            _ => {}
        }
        true
    }

    fn lets_audio(&self, port: u16) -> bool {
        self.rule != Rule::Bridge || self.ports.lock().is_ok_and(|ports| !ports.contains(&port))
    }

    fn lets_event(&self, body: &[u8]) -> bool {
        let bridged = b".alert.bridged.v1";
        self.rule != Rule::Sink || !body.windows(bridged.len()).any(|w| w == bridged)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use clap::ValueEnum as _;

    use super::*;

    const OFFICERS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4000);
    const TRUNK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 10)), 4001);

    fn out(to: SocketAddr, text: &str) -> ShardOutput {
        ShardOutput::Send { flow: switchboard::Flow::udp(to), reconnect: None, bytes: text.to_owned().into() }
    }

    #[test]
    fn each_rule_takes_one_thing_away_and_leaves_the_rest() {
        let said = [
            (OFFICERS, "BYE sip:x SIP/2.0\r\n"),
            (OFFICERS, "CANCEL sip:x SIP/2.0\r\n"),
            (OFFICERS, "INVITE sip:x SIP/2.0\r\n"),
            (TRUNK, "BYE sip:x SIP/2.0\r\n"),
            (TRUNK, "SIP/2.0 487 Request Terminated\r\n"),
            (TRUNK, "SIP/2.0 200 OK\r\n"),
        ];
        let kept_back = |rule| -> Vec<usize> {
            let spoiler = Spoiler::new(rule, OFFICERS, TRUNK);
            (0..said.len()).filter(|n| !spoiler.lets(&mut out(said[*n].0, said[*n].1))).collect()
        };
        assert_eq!(kept_back(Rule::NothingLeft), [0]);
        assert_eq!(kept_back(Rule::Cancel), [1]);
        assert_eq!(kept_back(Rule::Cancelled), [4]);
        for rule in [Rule::Bridge, Rule::Record, Rule::Sink, Rule::Keyword] {
            assert!(kept_back(rule).is_empty(), "{rule:?}");
        }
    }

    #[test]
    fn an_officer_hears_nothing_from_the_port_that_was_offered_to_them() {
        let spoiler = Spoiler::new(Rule::Bridge, OFFICERS, TRUNK);
        let sdp =
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 20002 RTP/AVP 8\r\n";
        let invite = format!("INVITE sip:x SIP/2.0\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
        assert!(spoiler.lets_audio(20002));
        assert!(spoiler.lets(&mut out(OFFICERS, &invite)));
        assert!(!spoiler.lets_audio(20002) && spoiler.lets_audio(20004));
    }

    #[test]
    fn run_has_no_way_to_be_broken() {
        #[derive(clap::Parser)]
        struct Demo {
            #[command(flatten)]
            args: super::super::Args,
        }
        for rule in Rule::value_variants() {
            let name = rule.to_possible_value().expect("none is hidden");
            assert!(
                Demo::try_parse_from(["demo", "--sabotage", name.get_name()])
                    .is_ok_and(|d| d.args.sabotage == Some(*rule))
            );
        }
        let run = include_str!("../run.rs");
        assert!(run.contains("saboteur: None,") && run.matches("saboteur").count() == 1, "run hands over none");
        assert!(Rule::value_variants().len() >= 6);
    }
}
