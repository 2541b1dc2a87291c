//! `loadtest messages`: an open loop of written reports by any channel, with takers of its own. Every accepted message
//! has to be in exactly one alert, have its receipt, and be answered by a human's line.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use codecs::chat::{qq, wechat};
use codecs::sms::cmpp::Version;
use codecs::webhook::Secret;
use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::sync::mpsc;

use super::apps::Apps;
use super::centre::{Centre, Protocol, Settings as CentreSettings};
use super::platform::{Hook, Keys, Platform, Sender};
use super::takers;
use super::{Happening, Outgoing};
use crate::api::Api;
use crate::calls::{Threshold, register};
use crate::clock::Clock;
use crate::peers::{Behaviour, Peers};

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Channel {
    Cmpp,
    Sgip,
    Smgp,
    Smpp,
    Wechat,
    Wecom,
    Qq,
    Weibo,
    Kiosk,
    /// An app a message, over a WebSocket of its own.
    App,
}

impl Channel {
    pub fn text(self) -> &'static str {
        match self {
            Channel::Cmpp => "cmpp",
            Channel::Sgip => "sgip",
            Channel::Smgp => "smgp",
            Channel::Smpp => "smpp",
            Channel::Wechat => "wechat",
            Channel::Wecom => "wecom",
            Channel::Qq => "qq",
            Channel::Weibo => "weibo",
            Channel::Kiosk => "kiosk",
            Channel::App => "app",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub channel: Channel,
    pub rate: f64,
    pub duration: Duration,
    pub seats: u32,
    pub threads: usize,
    pub think: Duration,
    /// Milliseconds within which 99 of 100 receipts have to be there.
    pub receipt_p99_ms: f64,
    /// Nobody answers: what is measured is the way in, and the receipt.
    pub unanswered: bool,
    pub http: SocketAddr,
    pub token: String,
    pub sip: SocketAddr,
    pub source: IpAddr,
    pub first_seat: u32,
    pub password: String,
    /// `channels` of peers.json.
    pub peers: Value,
    /// How long the last answers are waited for.
    pub patience: Duration,
    /// Whose CPU is measured.
    pub pid: Option<u32>,
}

pub struct Report {
    pub thresholds: Vec<Threshold>,
    pub sent: u64,
    pub acknowledged: u64,
    pub receipts: u64,
    pub answered: u64,
    /// Sent again by us because the gateway refused it or was away.
    pub repeated: u64,
    pub in_alerts: u64,
    pub doubled: u64,
    pub missing: u64,
    pub acknowledge: Histogram<u64>,
    pub receipt: Histogram<u64>,
    pub answer: Histogram<u64>,
    pub late_ms_max: u64,
    pub malformed: u64,
    /// CPU of the gateway a message, microseconds.
    pub cpu_us: Option<f64>,
}

impl Report {
    pub fn pass(&self) -> bool {
        self.thresholds.iter().all(|t| t.pass)
    }
}

const SAY: &str = "答: 已派民警";
const RECEIPT: &str = "【110】";

/// The user who writes message `id`.
fn user_of(channel: Channel, id: u64) -> String {
    match channel {
        Channel::Cmpp | Channel::Sgip | Channel::Smgp | Channel::Smpp => format!("139{:08}", id % 100_000_000),
        _ => format!("9{id:011}"),
    }
}

/// Where messages go in.
enum Door {
    Centre(Centre),
    Web { hooks: mpsc::UnboundedSender<(u64, Hook)>, keys: Box<Keys> },
    Apps(Apps),
}

/// What is known of one message.
#[derive(Clone, Copy, Default)]
struct Known {
    due: Duration,
    acknowledged: bool,
    receipt: bool,
    answered: bool,
}

/// Runs the plan.
///
/// # Errors
/// When a listener cannot be had, seats do not register, or the gateway does not connect.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    let clock = Clock::start();
    let mut peers = Peers::new(clock)?;
    let seats =
        peers.add_agent(IpAddr::V4(Ipv4Addr::LOCALHOST), plan.sip, 1, Behaviour::Answer { after: Duration::ZERO })?;
    if !plan.unanswered {
        register(&mut peers, seats, (plan.first_seat, plan.first_seat + plan.seats - 1), plan.seats, &plan.password)?;
    }
    let remote = peers.remote();
    let phones = std::thread::Builder::new().name("phones".into()).spawn(move || peers.run())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(drive(plan, clock));
    remote.ask(|p| p.unregister_all(Duration::from_secs(2)));
    remote.ask(Peers::finish);
    let _ = phones.join();
    report
}

fn listen(address: &Value, what: &str) -> anyhow::Result<std::net::TcpListener> {
    let address: SocketAddr = address.as_str().with_context(|| format!("peers.json has no {what}"))?.parse()?;
    std::net::TcpListener::bind(address).with_context(|| format!("{what} {address}"))
}

fn open(plan: &Plan, clock: Clock, tell: mpsc::UnboundedSender<Happening>) -> anyhow::Result<Door> {
    let p = &plan.peers;
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (protocol, address) = match plan.channel {
        Channel::Cmpp => (Protocol::Cmpp(Version::V2), &p["cmpp"]),
        Channel::Sgip => (Protocol::Sgip, &p["sgip"]["connect"]),
        Channel::Smgp => (Protocol::Smgp, &p["smgp"]),
        Channel::Smpp => (Protocol::Smpp, &p["smpp"]),
        Channel::App => return Ok(Door::Apps(Apps { gateway: plan.http, clock, tell })),
        Channel::Wechat | Channel::Wecom | Channel::Qq | Channel::Weibo | Channel::Kiosk => {
            Platform::open(listen(&p["web"], "web")?, clock, tell.clone())?;
            let crypt = wechat::Crypt::new(
                &text(&p["wechat"]["token"]),
                &text(&p["wechat"]["aes_key"]),
                &text(&p["wechat"]["app_id"]),
            );
            let keys = Keys {
                wechat: crypt.map_err(anyhow::Error::msg)?,
                qq: qq::Key::new(&text(&p["qq"]["secret"])).map_err(anyhow::Error::msg)?,
                weibo: text(&p["weibo"]["secret"]),
                generic: Secret::parse(&text(&p["kiosk"]["secret"])).map_err(anyhow::Error::msg)?,
            };
            return Ok(Door::Web { hooks: senders(plan.http, clock, &tell), keys: Box::new(keys) });
        }
    };
    let dial = (protocol == Protocol::Sgip).then(|| {
        let s = &p["sgip"];
        anyhow::Ok((text(&s["listen"]).parse()?, text(&s["peer_account"]), text(&s["peer_secret"])))
    });
    let settings = CentreSettings {
        protocol,
        listen: listen(address, plan.channel.text())?,
        secret: text(&p["secret"]),
        number: text(&p["number"]),
        dial: dial.transpose()?,
    };
    Ok(Door::Centre(Centre::open(settings, clock, tell)?))
}

/// Kept connections that send webhooks, and again what was not taken: as platforms do.
fn senders(
    gateway: SocketAddr,
    clock: Clock,
    tell: &mpsc::UnboundedSender<Happening>,
) -> mpsc::UnboundedSender<(u64, Hook)> {
    let (sender, work) = mpsc::unbounded_channel::<(u64, Hook)>();
    let work = std::sync::Arc::new(tokio::sync::Mutex::new(work));
    for _ in 0..64 {
        let (work, tell) = (std::sync::Arc::clone(&work), tell.clone());
        tokio::spawn(async move {
            let mut sender = Sender::new(gateway);
            loop {
                let Some((id, hook)) = work.lock().await.recv().await else { return };
                for _ in 0..40 {
                    let status = sender.send(&hook).await.map(|(status, _)| status);
                    let at = clock.now();
                    if let Ok(200) = status {
                        let _ = tell.send(Happening::Acknowledged { id, at });
                        break;
                    }
                    let _ = tell.send(Happening::Refused { id, at });
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            }
        });
    }
    sender
}

impl Door {
    fn send(&self, plan: &Plan, clock: Clock, id: u64, text: String) {
        let from = user_of(plan.channel, id);
        match self {
            Door::Centre(centre) => centre.deliver(Outgoing { id, from, text, part: None }),
            Door::Apps(apps) => apps.report(id, from, text),
            Door::Web { hooks, keys } => {
                let (name, wall) = (plan.channel.text(), clock.wall_s());
                let hook = match plan.channel {
                    Channel::Qq => keys.qq(name, &from, id, &text, wall),
                    Channel::Weibo => keys.weibo(name, &from, id, &text, wall),
                    Channel::Kiosk => keys.generic(name, &from, id, &text, wall),
                    _ => keys.wechat_text(name, &from, id, &text, wall),
                };
                let _ = hooks.send((id, hook));
            }
        }
    }
}

async fn drive(plan: &Plan, clock: Clock) -> anyhow::Result<Report> {
    let (tell, mut happenings) = mpsc::unbounded_channel();
    let door = open(plan, clock, tell)?;
    if !plan.unanswered {
        takers::start(&takers::Settings {
            http: plan.http,
            token: plan.token.clone(),
            seats: (plan.first_seat..plan.first_seat + plan.seats).map(|s| s.to_string()).collect(),
            threads: plan.threads,
            think: plan.think,
            say: SAY.into(),
            done: true,
        });
    }
    if let Door::Centre(centre) = &door {
        let end = clock.now() + Duration::from_secs(10);
        while centre.links() == 0 {
            ensure!(clock.now() < end, "the gateway did not connect within 10 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut run = Run::new(plan, clock)?;
    let before = plan.pid.and_then(crate::clock::cpu_seconds);
    run.place(&door, &mut happenings).await;
    run.wait(&mut happenings).await;
    if let (Some(before), Some(after)) = (before, plan.pid.and_then(crate::clock::cpu_seconds)) {
        run.report.cpu_us = Some((after - before) * 1e6 / run.report.sent.max(1) as f64);
    }
    if let Door::Centre(centre) = &door {
        run.report.malformed = centre.malformed();
    }
    run.judge().await
}

struct Run<'a> {
    plan: &'a Plan,
    clock: Clock,
    /// Tells this run's users from an earlier one's.
    base: u64,
    known: Vec<Known>,
    users: HashMap<String, usize>,
    report: Report,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, clock: Clock) -> anyhow::Result<Run<'a>> {
        let histogram = || Histogram::new_with_bounds(1, 120_000_000, 3).context("histogram");
        let report = Report {
            thresholds: Vec::new(),
            sent: 0,
            acknowledged: 0,
            receipts: 0,
            answered: 0,
            repeated: 0,
            in_alerts: 0,
            doubled: 0,
            missing: 0,
            acknowledge: histogram()?,
            receipt: histogram()?,
            answer: histogram()?,
            late_ms_max: 0,
            malformed: 0,
            cpu_us: None,
        };
        let base = clock.wall_s() as u64 % 100 * 1_000_000;
        Ok(Run { plan, clock, base, known: Vec::new(), users: HashMap::new(), report })
    }

    fn text(&self, n: usize) -> String {
        format!("L{}-{n} 有人打架", self.base)
    }

    async fn place(&mut self, door: &Door, happenings: &mut mpsc::UnboundedReceiver<Happening>) {
        let total = (self.plan.rate * self.plan.duration.as_secs_f64()).round() as usize;
        let begun = self.clock.now() + Duration::from_millis(20);
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                told.store(true, Ordering::Relaxed);
            }
        });
        for n in 0..total {
            // Interrupted: what was sent so far is judged.
            if enough.load(Ordering::Relaxed) {
                return;
            }
            let due = begun + Duration::from_secs_f64(n as f64 / self.plan.rate);
            while self.clock.now() < due {
                let wait = due.saturating_sub(self.clock.now());
                // Below the timer's resolution the loop gives way to the other tasks instead.
                if wait < Duration::from_millis(2) {
                    tokio::task::yield_now().await;
                    while let Ok(happening) = happenings.try_recv() {
                        self.learn(happening);
                    }
                } else if let Ok(Some(happening)) = tokio::time::timeout(wait, happenings.recv()).await {
                    self.learn(happening);
                }
            }
            let late = self.clock.now().saturating_sub(due).as_millis() as u64;
            self.report.late_ms_max = self.report.late_ms_max.max(late);
            let id = self.base + n as u64;
            self.users.insert(user_of(self.plan.channel, id), n);
            self.known.push(Known { due, ..Known::default() });
            door.send(self.plan, self.clock, id, self.text(n));
            self.report.sent += 1;
            // The peers' tasks share this thread.
            if n % 16 == 0 {
                tokio::task::yield_now().await;
                while let Ok(happening) = happenings.try_recv() {
                    self.learn(happening);
                }
            }
        }
    }

    async fn wait(&mut self, happenings: &mut mpsc::UnboundedReceiver<Happening>) {
        let end = self.clock.now() + self.plan.patience;
        while self.clock.now() < end && !self.is_done() {
            if let Ok(Some(happening)) = tokio::time::timeout(Duration::from_millis(50), happenings.recv()).await {
                self.learn(happening);
            }
        }
    }

    fn is_done(&self) -> bool {
        let r = &self.report;
        r.acknowledged == r.sent && r.receipts == r.sent && (self.plan.unanswered || r.answered == r.sent)
    }

    fn learn(&mut self, happening: Happening) {
        let micros = |at: Duration, due: Duration| (at.saturating_sub(due).as_micros() as u64).max(1);
        match happening {
            Happening::Acknowledged { id, at } => {
                let Some(known) = self.known.get_mut(id.wrapping_sub(self.base) as usize) else { return };
                if !std::mem::replace(&mut known.acknowledged, true) {
                    self.report.acknowledged += 1;
                    let _ = self.report.acknowledge.record(micros(at, known.due));
                }
            }
            Happening::Refused { .. } => self.report.repeated += 1,
            Happening::Line { to, text, at } => {
                let Some(n) = self.users.get(&to) else { return };
                let known = &mut self.known[*n];
                if text.starts_with(RECEIPT) {
                    if !std::mem::replace(&mut known.receipt, true) {
                        self.report.receipts += 1;
                        let _ = self.report.receipt.record(micros(at, known.due));
                    }
                } else if !std::mem::replace(&mut known.answered, true) {
                    self.report.answered += 1;
                    let _ = self.report.answer.record(micros(at, known.due));
                }
            }
        }
    }

    /// Reads every alert back: each accepted message in exactly one.
    async fn judge(mut self) -> anyhow::Result<Report> {
        let counts = self.alerts_of_messages().await?;
        for (known, count) in self.known.iter().zip(&counts) {
            match (known.acknowledged, count) {
                (_, 1) => self.report.in_alerts += 1,
                (true, 0) => self.report.missing += 1,
                (false, 0) => {}
                _ => self.report.doubled += 1,
            }
        }
        let r = &mut self.report;
        let share = |n: u64| if r.sent == 0 { 0.0 } else { n as f64 * 100.0 / r.sent as f64 };
        let mut all = vec![
            ("acknowledged %", share(r.acknowledged), 100.0, true),
            ("receipts %", share(r.receipts), 100.0, true),
            ("receipt p99 ms", r.receipt.value_at_quantile(0.99) as f64 / 1000.0, self.plan.receipt_p99_ms, false),
            ("messages lost", r.missing as f64, 0.0, false),
            ("messages doubled", r.doubled as f64, 0.0, false),
            ("PDUs malformed", r.malformed as f64, 0.0, false),
        ];
        if !self.plan.unanswered {
            all.push(("answered %", share(r.answered), 100.0, true));
            all.push(("first human line max ms", r.answer.max() as f64 / 1000.0, 3000.0, false));
        }
        r.thresholds = all
            .into_iter()
            .map(|(name, value, limit, at_least)| {
                let pass = if at_least { value >= limit } else { value <= limit };
                Threshold { name, limit, value, pass }
            })
            .collect();
        Ok(self.report)
    }

    async fn alerts_of_messages(&self) -> anyhow::Result<Vec<u32>> {
        let (http, token, tag) = (self.plan.http, self.plan.token.clone(), format!("L{}-", self.base));
        let (total, acknowledged) = (self.known.len(), self.report.acknowledged);
        let read = move || -> anyhow::Result<Vec<u32>> {
            let mut api = Api::new(http, &token);
            let mut last = Err(anyhow::anyhow!("the alerts were not read"));
            // The read model follows the journal and may be a moment behind; a gateway that is killed comes back.
            for _ in 0..60 {
                last = count_messages(&mut api, &tag, total);
                if last.as_ref().is_ok_and(|l| l.iter().filter(|c| **c > 0).count() as u64 >= acknowledged) {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(500));
            }
            last
        };
        tokio::task::spawn_blocking(read).await?
    }
}

fn count_messages(api: &mut Api, tag: &str, total: usize) -> anyhow::Result<Vec<u32>> {
    // A message by the alerts that it is in: an alert that changes while the pages are read comes twice.
    let mut found = std::collections::BTreeSet::new();
    let mut after = 0;
    loop {
        let (status, body) = api.request("GET", &format!("/v1/alerts?after={after}&limit=1000"), "")?;
        ensure!(status == 200, "list of alerts: {status} {body}");
        let page: Value = serde_json::from_str(&body)?;
        let alerts = page["alerts"].as_array().cloned().unwrap_or_default();
        for alert in &alerts {
            let joined = alert["id"]["related"].as_array().is_some_and(|r| r.iter().any(|r| r["kind"] == "duplicate"));
            for line in alert["text"].as_array().into_iter().flatten().filter(|l| l["dir"] == "in" && !joined) {
                let body = line["body"].as_str().unwrap_or_default();
                let Some(n) = body.strip_prefix(tag).and_then(|b| b.split(' ').next()?.parse::<usize>().ok()) else {
                    continue;
                };
                if n < total {
                    found.insert((n, alert["id"]["alert_no"].as_str().unwrap_or_default().to_owned()));
                }
            }
        }
        let next = page["next"].as_u64().unwrap_or(after);
        if alerts.is_empty() || next == after {
            let mut counts = vec![0; total];
            for (n, _) in found {
                counts[n] += 1;
            }
            return Ok(counts);
        }
        after = next;
    }
}

/// What a running demo says about its channels.
///
/// # Errors
/// When it says nothing.
pub fn channels_of(page: &Value) -> anyhow::Result<Value> {
    let channels = page["channels"].clone();
    if channels.is_null() {
        bail!("peers.json has no channels");
    }
    Ok(channels)
}
