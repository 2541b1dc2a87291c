//! Channels by which people write: their devices. What a message means is decided below; here are sockets, tokens
//! and signatures.

pub mod app;
mod carrier;
mod fetch;
mod web;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use codecs::chat::{qq, wechat};
use codecs::record::{Address, AlertNo, LineState};
use codecs::webhook::Secret as WebhookSecret;
use quick_cache::sync::Cache;
use store::disk::Disk;
use switchboard::{Approaching, Fetch, Outbound, OutgoingMessage, ToCasebook, ToShard};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::inbox;
use crate::inbox::casebook::Input;

pub use fetch::{Client, believing};

/// A configured channel: what its device needs.
pub enum Kind {
    Carrier(Box<CarrierDevice>),
    Wechat(WechatDevice),
    Qq(QqDevice),
    Weibo(WeiboDevice),
    Http(HttpDevice),
    /// Another agency, in CloudEvents.
    Agency(AgencyDevice),
    /// Our own app, over `/v1/app`.
    App,
    /// SIP MESSAGE over a trunk.
    Sip {
        trunk: String,
    },
}

pub struct CarrierDevice {
    pub config: sms::CarrierConfig,
    pub connect: SocketAddr,
    /// Where the carrier connects to us (SGIP).
    pub listen: Option<SocketAddr>,
}

pub struct WechatDevice {
    pub app_id: String,
    pub secret: String,
    pub token: String,
    /// With it, messages have to be encrypted.
    pub crypt: Option<wechat::Crypt>,
    pub app: WechatApp,
    pub api: String,
}

/// What differs between the platforms that share WeChat's callbacks.
pub enum WechatApp {
    /// Official account or mini-program; `template` is for whoever wrote too long ago.
    Account { template: Option<Template> },
    /// WeCom: its URL check is encrypted, its API another.
    WeCom { agent: u32 },
}

/// A template message of the platform: which, and the field that takes the line.
pub struct Template {
    pub id: String,
    pub field: String,
}

pub struct QqDevice {
    pub app_id: String,
    pub secret: String,
    pub key: qq::Key,
    pub api: String,
    pub token_api: String,
}

pub struct WeiboDevice {
    pub secret: String,
    pub access_token: String,
    pub api: String,
}

pub struct HttpDevice {
    pub secret: WebhookSecret,
    /// Lines of ours are POSTed there; none: the channel is one-way.
    pub send: Option<String>,
}

pub struct AgencyDevice {
    pub http: HttpDevice,
    /// Events a second that are taken, and as many more at once.
    pub takes: u32,
}

/// A channel before it is opened.
pub struct Settings {
    pub name: String,
    pub kind: Kind,
    /// Lines a second at most; 0: no limit.
    pub rate: u32,
    /// Hosts that attachments may be fetched from, besides the platform's own API.
    pub media_hosts: Vec<String>,
}

/// What a channel's task hears.
pub enum ToChannel {
    Outbound(Box<Outbound>),
    /// A delivery is durable, or cannot be taken now.
    Acknowledge {
        number: u64,
        durable: bool,
    },
    Fetch(Fetch),
    /// A line of ours is not to go, if it has not gone.
    Withdraw(String),
    /// An app is shown how an officer comes.
    Approach {
        user: String,
        no: AlertNo,
        news: Approaching,
    },
    Leave,
}

/// What one turn of the casebook has for the channels, handed over in one go: whoever is woken finds all of it.
#[derive(Default)]
pub struct Outbox(Vec<Vec<ToChannel>>);

impl Outbox {
    fn push(&mut self, channel: usize, message: ToChannel) {
        if self.0.len() <= channel {
            self.0.resize_with(channel + 1, Vec::new);
        }
        self.0[channel].push(message);
    }

    pub fn acknowledge(&mut self, channel: u16, number: u64, durable: bool) {
        self.push(channel.into(), ToChannel::Acknowledge { number, durable });
    }
}

/// What every channel's task shares.
#[derive(Clone)]
pub struct Shared {
    /// Tells the connections of this process from those of the one before.
    pub started: u64,
    pub clock: Clock,
    pub casebook: Sender<Input>,
    pub disk: Arc<dyn Disk>,
    pub data: PathBuf,
    pub client: Client,
    pub withdrawn: Withdrawn,
}

/// Lines that are not to go, if they have not gone; those of long ago give way.
#[derive(Clone)]
pub struct Withdrawn(Arc<Cache<String, ()>>);

const WITHDRAWN_MAX: usize = 10_000;

impl Default for Withdrawn {
    fn default() -> Withdrawn {
        Withdrawn(Arc::new(Cache::new(WITHDRAWN_MAX)))
    }
}

impl Withdrawn {
    fn has(&self, line: &str) -> bool {
        self.0.get(line).is_some()
    }
}

impl Shared {
    fn tell(&self, message: ToCasebook) {
        let _ = self.casebook.send(Input::Message(message));
    }

    pub fn line_state(&self, line: &str, state: LineState, why: &str) {
        self.tell(self.state_of(line, state, why));
    }

    fn state_of(&self, line: &str, state: LineState, why: &str) -> ToCasebook {
        let (at, line, why) = (self.clock.wall(), line.to_owned(), why.to_owned());
        ToCasebook::LineState { at, line, state, why }
    }

    fn tell_all(&self, messages: Vec<ToCasebook>) {
        let _ = self.casebook.send(Input::Messages(messages));
    }

    /// A line of ours was taken by its channel: the receipt's and the answer's time end here.
    fn taken(&self, outbound: &Outbound) {
        let seconds = (self.clock.wall().0 - outbound.arrived.0) as f64 / 1e9;
        let channel = outbound.to.channel.clone();
        if outbound.is_receipt {
            metrics::histogram!("gateway_text_receipt_seconds", "channel" => channel).record(seconds);
        } else if outbound.is_answer {
            metrics::histogram!("gateway_text_answer_seconds", "channel" => channel).record(seconds);
        }
    }
}

/// Every channel's door.
#[derive(Clone, Default)]
pub struct Channels {
    doors: Arc<BTreeMap<String, Door>>,
    by_number: Arc<Vec<mpsc::UnboundedSender<ToChannel>>>,
    shards: Option<inbox::Handle>,
    apps: Arc<BTreeMap<String, app::Door>>,
    /// Lines without an alert, for whoever asks what became of them.
    pub states: States,
    next_line: Arc<AtomicU64>,
    withdrawn: Withdrawn,
}

struct Door {
    number: usize,
    sender: mpsc::UnboundedSender<ToChannel>,
    kind: Arc<Kind>,
}

/// Remembered states of lines without an alert.
const STATES_MAX: usize = 100_000;

/// What became of lines without an alert, and why; those that nobody asks for give way.
#[derive(Clone)]
pub struct States(Arc<Cache<String, (LineState, String)>>);

impl Default for States {
    fn default() -> States {
        States(Arc::new(Cache::new(STATES_MAX)))
    }
}

impl States {
    pub fn get(&self, line: &str) -> Option<(LineState, String)> {
        self.0.get(line)
    }
}

impl Channels {
    /// Opens every channel on `runtime`.
    ///
    /// # Errors
    /// A taken port, by name.
    pub fn open(
        settings: Vec<Settings>,
        shared: &Shared,
        shards: inbox::Handle,
        runtime: &tokio::runtime::Runtime,
    ) -> anyhow::Result<Channels> {
        let (mut doors, mut by_number, mut apps) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for (number, channel) in settings.into_iter().enumerate() {
            let (sender, inbox) = mpsc::unbounded_channel();
            by_number.push(sender.clone());
            let name = channel.name.clone();
            let kind = Arc::new(channel.kind);
            match &*kind {
                Kind::Carrier(device) => {
                    let listen = device.listen.map(|address| {
                        let listener = std::net::TcpListener::bind(address);
                        let listener = listener.map_err(|e| crate::observe::procfs::port_taken(&name, address, &e))?;
                        listener.set_nonblocking(true)?;
                        anyhow::Ok(listener)
                    });
                    let listen = listen.transpose()?;
                    let task = carrier::Task::new(number as u16, &name, device, shared.clone(), inbox);
                    runtime.spawn(task.run(listen));
                }
                Kind::Sip { .. } => {}
                Kind::App => drop(apps.insert(name.clone(), app::open(&name, shared.clone(), inbox, runtime))),
                Kind::Wechat(_) | Kind::Qq(_) | Kind::Weibo(_) | Kind::Http(_) | Kind::Agency(_) => {
                    let web =
                        web::Web::new(&name, Arc::clone(&kind), channel.rate, channel.media_hosts, shared.clone());
                    runtime.spawn(web.run(inbox));
                }
            }
            doors.insert(name, Door { number, sender, kind });
        }
        Ok(Channels {
            doors: Arc::new(doors),
            by_number: Arc::new(by_number),
            shards: Some(shards),
            apps: Arc::new(apps),
            states: States::default(),
            next_line: Arc::default(),
            withdrawn: shared.withdrawn.clone(),
        })
    }

    /// Hands a line to its channel.
    pub fn send(&self, outbound: Box<Outbound>, outbox: &mut Outbox) {
        let Some(door) = self.doors.get(&outbound.to.channel) else { return };
        if let Kind::Sip { trunk } = &*door.kind {
            let Outbound { line, to, body, .. } = *outbound;
            let message = Box::new(OutgoingMessage { line, trunk: trunk.clone(), to: to.user, body });
            if let Some(shards) = &self.shards {
                shards.send(inbox::Input::Shard(ToShard::SendMessage(message)));
            }
            return;
        }
        outbox.push(door.number, ToChannel::Outbound(outbound));
    }

    /// A line is not to go, if it has not gone. What an app is owed it is shown when it comes, without a sound.
    pub fn withdraw(&self, channel: &str, line: String, outbox: &mut Outbox) {
        if let Some(door) = self.doors.get(channel) {
            // At once, whatever waits in front of the line.
            self.withdrawn.0.insert(line.clone(), ());
            outbox.push(door.number, ToChannel::Withdraw(line));
        }
    }

    /// Whoever is not there does not see it.
    pub fn approach(&self, to: Address, no: AlertNo, news: Approaching, outbox: &mut Outbox) {
        if let Some(door) = self.doors.get(&to.channel) {
            outbox.push(door.number, ToChannel::Approach { user: to.user, no, news });
        }
    }

    /// Hands everything over that has gathered.
    pub fn flush(&self, outbox: &mut Outbox) {
        for (sender, batch) in self.by_number.iter().zip(&mut outbox.0) {
            for message in batch.drain(..) {
                let _ = sender.send(message);
            }
        }
    }

    pub fn fetch(&self, fetch: Fetch) {
        if let Some(door) = self.doors.get(&fetch.channel) {
            let _ = door.sender.send(ToChannel::Fetch(fetch));
        }
    }

    pub fn leave(&self) {
        for sender in self.by_number.iter() {
            let _ = sender.send(ToChannel::Leave);
        }
    }

    /// Where apps come in: the channel that they name, or `app`, or the first of that kind.
    pub fn app(&self, name: Option<&str>) -> Option<&app::Door> {
        match name {
            Some(name) => self.apps.get(name),
            None => self.apps.get("app").or_else(|| self.apps.values().next()),
        }
    }

    pub fn kind(&self, name: &str) -> Option<&Arc<Kind>> {
        self.doors.get(name).map(|d| &d.kind)
    }

    /// A name for a line without an alert.
    pub fn line_name(&self) -> String {
        let tail = codecs::sip::auth::hex(&crate::clock::random::<8>());
        format!("out-{}-{tail}", self.next_line.fetch_add(1, Ordering::Relaxed))
    }

    pub fn note_state(&self, line: &str, state: LineState, why: &str) {
        if line.starts_with("out-") {
            self.states.0.insert(line.to_owned(), (state, why.to_owned()));
        }
    }
}
