//! Written reports: a message's whole way from the link's bytes into the journal and back.

use std::time::Duration;

use bench::hot::casebook;
use codecs::record::{Address, Form};
use codecs::sms::cmpp::Version;
use codecs::sms::{cmpp, smpp};
use codecs::time::{Mono, Wall};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sms::{Carrier, CarrierConfig, Line, LinkId, Output as LinkOutput, Protocol, Verdict};
use store::disk::Files;
use store::journal::{Config, Door as _, Journal};
use switchboard::{
    Body, Casebook, CasebookOutput, Clue, Incoming, Keyword, KeywordTable, RequestId, Sounds, Suggestions, ToCasebook,
};

const TEXT: &[u8] = &[0x67, 0x09, 0x4e, 0xba, 0x62, 0x53, 0x67, 0xb6];
const WALL: Wall = Wall(1_795_302_900_000_000_000);

/// A link that is up, its messages, and the bytes of the next group of them.
struct Way {
    protocol: Protocol,
    carrier: Carrier,
    casebook: Casebook,
    journal: Journal,
    next: u64,
}

impl Way {
    fn new(protocol: Protocol, dir: &std::path::Path) -> Way {
        let _ = std::fs::remove_dir_all(dir);
        let config = CarrierConfig {
            protocol: protocol.clone(),
            account: "901234".into(),
            secret: "s".into(),
            peer: Default::default(),
            number: "12110".into(),
            service: "POLICE".into(),
            links: 1,
            window: 1000,
            keep_alive: Duration::from_secs(180),
            answer_within: Duration::from_secs(60),
            tries: 3,
            rate: 0,
            dial_max: Duration::from_secs(1),
            require_proof: false,
            seed: 1,
        };
        let mut carrier = Carrier::new(config, Mono(1));
        carrier.handle_connected(Mono(1), WALL, LinkId(0));
        let mut hello = Vec::new();
        match protocol {
            Protocol::Smpp { .. } => {
                let bound = smpp::Pdu::BindResp { command: 9, system_id: b"x" };
                smpp::write(smpp::Header { status: 0, sequence: 2 }, &bound, &mut hello);
            }
            _ => {
                let resp = cmpp::Pdu::ConnectResp { status: 0, authenticator: [0; 16], version: 0x20 };
                cmpp::write(Version::V2, 1, &resp, &mut hello);
            }
        }
        carrier.handle_bytes(Mono(1), WALL, LinkId(0), &hello);
        let mut journal = Journal::shut(Files::shared(), dir, Config::of_node(1));
        journal.open(|_| {}).expect("a journal");
        Way { protocol, carrier, casebook: casebook(WALL), journal, next: 1 }
    }

    fn deliveries(&mut self, count: u64, out: &mut Vec<u8>) {
        for _ in 0..count {
            self.next += 1;
            let from = format!("139{:08}", self.next % 100_000_000);
            match self.protocol {
                Protocol::Smpp { .. } => {
                    let source = smpp::Address { ton: 0, npi: 1, digits: from.as_bytes() };
                    let message = smpp::Message { source, data_coding: 8, content: TEXT, ..Default::default() };
                    let header = smpp::Header { status: 0, sequence: self.next as u32 };
                    smpp::write(header, &smpp::Pdu::Deliver(message), out);
                }
                _ => {
                    let deliver = cmpp::Deliver {
                        msg_id: self.next,
                        destination: b"12110",
                        msg_fmt: 8,
                        source: from.as_bytes(),
                        content: TEXT,
                        ..Default::default()
                    };
                    cmpp::write(Version::V2, self.next as u32, &cmpp::Pdu::Deliver(deliver), out);
                }
            }
        }
    }

    /// One group: read, journalled, synced, acknowledged, and its receipts submitted.
    fn carry(&mut self, bytes: &[u8]) -> usize {
        let mut tokens = Vec::new();
        self.carrier.handle_bytes(Mono(2), WALL, LinkId(0), bytes);
        while let Some(output) = self.carrier.poll_output() {
            let LinkOutput::Deliver(token, d) = output else { continue };
            tokens.push(token);
            let message = Incoming {
                from: Address { channel: "sms".into(), user: d.from },
                message_id: d.message_id,
                session: d.is_named_by_content.then_some(0),
                is_ping: false,
                case: None,
                to: d.to,
                body: Body::Octets { alphabet: d.alphabet, octets: d.octets, segment: d.segment },
                forms: vec![Form::Text],
                attachments: Vec::new(),
                location: None,
                phone: None,
                silent: false,
            };
            let request = RequestId::of_delivery(0, tokens.len() as u64);
            self.casebook.handle(Mono(2), ToCasebook::Incoming { at: WALL, message: Box::new(message), request });
            self.journal_outputs(&mut tokens);
        }
        self.journal.commit().expect("a disk");
        self.casebook.handle_durable(self.journal.durable());
        self.journal_outputs(&mut tokens);
        std::iter::from_fn(|| self.carrier.poll_transmit()).map(|(_, bytes)| bytes.len()).sum()
    }

    fn journal_outputs(&mut self, tokens: &mut [sms::Token]) {
        while let Some(output) = self.casebook.poll_output() {
            match output {
                CasebookOutput::Append { at, event, .. } => {
                    self.journal.append(at, codecs::journal::Kind::Event, event.to_json());
                }
                CasebookOutput::Frame { at, kind, payload } => {
                    self.journal.append(at, kind, payload);
                }
                CasebookOutput::Reply(reply) => {
                    let (_, number) = reply.request.delivery().expect("a delivery waits");
                    self.carrier.acknowledge(tokens[number as usize - 1], Verdict::Accepted);
                }
                CasebookOutput::Outbound(o) => {
                    let line = Line { id: 1, to: o.to.user, text: o.body, urgent: false, notice: false };
                    self.carrier.submit(Mono(2), WALL, &line);
                }
                _ => {}
            }
        }
    }
}

/// Per message; the group's sync is in it.
fn through(c: &mut Criterion) {
    let mut group = c.benchmark_group("a message through the link into the journal, receipt out");
    group.sample_size(10);
    let smpp = Protocol::Smpp { system_type: String::new(), default_alphabet: codecs::sms::Alphabet::Gsm7 };
    for (name, protocol) in [("CMPP", Protocol::Cmpp(Version::V2)), ("SMPP", smpp)] {
        const GROUP: u64 = 256;
        group.throughput(Throughput::Elements(GROUP));
        let dir = std::env::temp_dir().join(format!("gw-bench-{name}-{}", std::process::id()));
        let way = std::cell::RefCell::new(Way::new(protocol.clone(), &dir));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter_batched(
                || {
                    // A window of receipts that nobody answers would fill: each group has its own link and casebook.
                    let mut way = way.borrow_mut();
                    let next = way.next;
                    *way = Way { next, ..Way::new(protocol.clone(), &dir) };
                    let mut bytes = Vec::new();
                    way.deliveries(GROUP, &mut bytes);
                    bytes
                },
                |bytes| way.borrow_mut().carry(&bytes),
                criterion::BatchSize::PerIteration,
            );
        });
        let _ = std::fs::remove_dir_all(&dir);
    }
    group.finish();
}

/// A text of 500 characters with 10,000 words of danger, a tenth of them by their sound, and as many that speak for
/// categories.
fn read(c: &mut Criterion) {
    let ideograph = |n: u32| char::from_u32(0x4E00 + n * 7919 % 0x5000).unwrap_or('一');
    let word = |n: u32| (0..2 + n % 3).map(|k| ideograph(n * 13 + k)).collect::<String>();
    let mut sounds = Sounds::default();
    (0..400).for_each(|n| sounds.add(&(0..8).map(|k| ideograph(n * 31 + k * 3)).collect::<String>()));
    let keyword = |n| Keyword { word: word(n), level: 2, by_sound: n % 10 == 0, ..Keyword::default() };
    let keywords = KeywordTable::new((0..10_000).map(keyword).collect(), &sounds).expect("a table");
    let clue = |n: u32| Clue { word: word(n + 7), category: "100700".into(), percent: 40, by_sound: false };
    let suggestions = Suggestions::new((0..10_000).map(clue).collect(), Default::default(), &sounds).expect("a table");
    let text: String = (0..500).map(|n| if n % 40 == 39 { '，' } else { ideograph(n * 3 + 5) }).collect();
    let mut group = c.benchmark_group("a text of 500 characters read with 10,000 words");
    group.bench_function("of danger", |b| b.iter(|| keywords.find(std::hint::black_box(&text)).len()));
    group.bench_function("for categories", |b| b.iter(|| suggestions.of(std::hint::black_box(&text)).len()));
    group.finish();
}

criterion_group!(benches, through, read);
criterion_main!(benches);
