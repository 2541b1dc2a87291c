//! An operator's message centre: listens (SGIP: also dials), logs the gateway in, delivers through a window, sends
//! again what was not acknowledged on a link that broke, answers and reports what is submitted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codecs::sms::frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

pub use super::wire::Protocol;
use super::wire::{Asked, REPORT};
use super::{Happening, Outgoing};
use crate::clock::Clock;

/// Messages unacknowledged on one link.
const WINDOW: usize = 64;

#[derive(Clone)]
pub struct Centre {
    shared: Arc<Shared>,
}

struct Shared {
    protocol: Protocol,
    secret: String,
    number: String,
    clock: Clock,
    tell: mpsc::UnboundedSender<Happening>,
    queue: Mutex<VecDeque<Outgoing>>,
    ready: Notify,
    serial: AtomicU64,
    links: AtomicUsize,
    /// Long lines of the gateway's whose parts are not all here.
    parts: Mutex<HashMap<(String, u16), BTreeMap<u8, String>>>,
    /// PDUs of the gateway's that could not be read.
    pub malformed: AtomicU64,
}

/// What a centre needs to know.
pub struct Settings {
    pub protocol: Protocol,
    pub listen: std::net::TcpListener,
    pub secret: String,
    pub number: String,
    /// SGIP: the gateway's listener, and our login there.
    pub dial: Option<(SocketAddr, String, String)>,
}

impl Centre {
    /// Opens the centre on the current runtime.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn open(settings: Settings, clock: Clock, tell: mpsc::UnboundedSender<Happening>) -> std::io::Result<Centre> {
        settings.listen.set_nonblocking(true)?;
        let listener = TcpListener::from_std(settings.listen)?;
        let shared = Arc::new(Shared {
            protocol: settings.protocol,
            secret: settings.secret,
            number: settings.number,
            clock,
            tell,
            queue: Mutex::default(),
            ready: Notify::new(),
            serial: AtomicU64::new(1),
            links: AtomicUsize::new(0),
            parts: Mutex::default(),
            malformed: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // SGIP delivers over the link that we open.
                let delivers = accepting.protocol != Protocol::Sgip;
                tokio::spawn(serve(Arc::clone(&accepting), stream, delivers, Vec::new()));
            }
        });
        if let Some((to, name, password)) = settings.dial {
            let dialling = Arc::clone(&shared);
            tokio::spawn(async move {
                loop {
                    if let Ok(stream) = TcpStream::connect(to).await {
                        let mut hello = Vec::new();
                        dialling.protocol.bind(&name, &password, &mut hello);
                        serve(Arc::clone(&dialling), stream, true, hello).await;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            });
        }
        Ok(Centre { shared })
    }

    /// Queues a message of a user.
    pub fn deliver(&self, message: Outgoing) {
        self.shared.queue.lock().expect("no holder panics").push_back(message);
        self.shared.ready.notify_one();
    }

    /// Links over which messages can go.
    pub fn links(&self) -> usize {
        self.shared.links.load(Ordering::Relaxed)
    }

    pub fn malformed(&self) -> u64 {
        self.shared.malformed.load(Ordering::Relaxed)
    }
}

/// A centre by itself, until stdin ends: for other peoples' clients and for trying things out.
///
/// # Errors
/// When the address cannot be had.
pub fn alone(protocol: Protocol, listen: SocketAddr, secret: String, number: String) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let (tell, mut happenings) = mpsc::unbounded_channel();
        let listen = std::net::TcpListener::bind(listen)?;
        println!("{}", serde_json::json!({"listening": listen.local_addr()?.to_string()}));
        let settings = Settings { protocol, listen, secret, number, dial: None };
        let centre = Centre::open(settings, Clock::start(), tell)?;
        let (lines, mut read) = mpsc::unbounded_channel::<String>();
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        })?;
        let mut id = 0;
        loop {
            tokio::select! {
                line = read.recv() => {
                    let Some(line) = line else { return Ok(()) };
                    let Some((from, text)) = line.split_once('\t') else { continue };
                    id += 1;
                    centre.deliver(Outgoing { id, from: from.to_owned(), text: text.to_owned(), part: None });
                }
                Some(happening) = happenings.recv() => println!("{}", match happening {
                    Happening::Acknowledged { id, .. } => serde_json::json!({"acknowledged": id}),
                    Happening::Refused { id, .. } => serde_json::json!({"refused": id}),
                    Happening::Line { to, text, .. } => serde_json::json!({"to": to, "text": text}),
                }),
            }
        }
    })
}

struct Link {
    shared: Arc<Shared>,
    sequence: u32,
    unacknowledged: BTreeMap<u32, Outgoing>,
    out: Vec<u8>,
    up: bool,
    delivers: bool,
}

async fn serve(shared: Arc<Shared>, mut stream: TcpStream, delivers: bool, hello: Vec<u8>) {
    let _ = stream.set_nodelay(true);
    // On the link that we open, our login is answered rather than given.
    let up = !hello.is_empty();
    let mut link = Link { shared, sequence: 0, unacknowledged: BTreeMap::new(), out: hello, up: false, delivers };
    if up {
        link.come_up();
    }
    let (mut incoming, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        link.fill();
        if !link.out.is_empty() {
            if stream.write_all(&link.out).await.is_err() {
                break;
            }
            link.out.clear();
        }
        let shared = Arc::clone(&link.shared);
        let wants = link.up && link.delivers && link.unacknowledged.len() < WINDOW;
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(len) => {
                    incoming.extend_from_slice(&buffer[..len]);
                    if !link.take_frames(&mut incoming) {
                        break;
                    }
                }
            },
            () = shared.ready.notified(), if wants => {}
        }
    }
    link.give_back();
}

impl Link {
    fn come_up(&mut self) {
        self.up = true;
        if self.delivers {
            self.shared.links.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Messages from the queue into the window.
    fn fill(&mut self) {
        if !self.up || !self.delivers {
            return;
        }
        let mut queue = self.shared.queue.lock().expect("no holder panics");
        while self.unacknowledged.len() < WINDOW
            && let Some(message) = queue.pop_front()
        {
            self.sequence = (self.sequence + 1) % REPORT;
            let sequence = if self.shared.protocol == Protocol::Sgip { message.id as u32 } else { self.sequence };
            self.shared.protocol.deliver(&self.shared.number, sequence, &message, &mut self.out);
            self.unacknowledged.insert(sequence, message);
        }
        if !queue.is_empty() {
            // Another link may have room.
            self.shared.ready.notify_one();
        }
    }

    fn take_frames(&mut self, incoming: &mut Vec<u8>) -> bool {
        let (least, most) = self.shared.protocol.limits();
        let mut at = 0;
        loop {
            match frame(&incoming[at..], least, most) {
                Ok(Some(len)) => {
                    let serial = self.shared.serial.fetch_add(1, Ordering::Relaxed);
                    match self.shared.protocol.read(&incoming[at..at + len], &self.shared.secret, serial) {
                        Ok(asked) => self.answer(asked),
                        Err(_) => {
                            self.shared.malformed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    at += len;
                }
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        incoming.drain(..at);
        true
    }

    fn answer(&mut self, asked: Asked) {
        let at = self.shared.clock.now();
        match asked {
            Asked::Login(answer) => {
                self.out.extend(answer);
                self.come_up();
            }
            Asked::Answer { sequence, taken } => {
                if let Some(message) = self.unacknowledged.remove(&sequence) {
                    let id = message.id;
                    if taken {
                        let _ = self.shared.tell.send(Happening::Acknowledged { id, at });
                    } else {
                        let _ = self.shared.tell.send(Happening::Refused { id, at });
                        // A centre keeps what it was told to keep.
                        self.shared.queue.lock().expect("no holder panics").push_back(message);
                    }
                }
            }
            Asked::Submit { to, part, text, answer, report } => {
                self.out.extend(answer);
                self.out.extend(report);
                if let Some(text) = self.whole(&to, part, text) {
                    let _ = self.shared.tell.send(Happening::Line { to, text, at });
                }
            }
            Asked::Other(answer) => self.out.extend(answer),
            Asked::Nothing => {}
        }
    }

    fn whole(&self, to: &str, part: Option<codecs::sms::Segment>, text: String) -> Option<String> {
        let Some(part) = part else { return Some(text) };
        let mut all = self.shared.parts.lock().expect("no holder panics");
        let key = (to.to_owned(), part.reference);
        let parts = all.entry(key.clone()).or_default();
        parts.insert(part.number, text);
        if parts.len() < part.total as usize {
            return None;
        }
        all.remove(&key).map(|parts| parts.into_values().collect())
    }

    /// The link is gone: what was not acknowledged is sent again, first.
    fn give_back(&mut self) {
        if self.up && self.delivers {
            self.shared.links.fetch_sub(1, Ordering::Relaxed);
        }
        let mut queue = self.shared.queue.lock().expect("no holder panics");
        for (_, message) in std::mem::take(&mut self.unacknowledged).into_iter().rev() {
            queue.push_front(message);
        }
        self.shared.ready.notify_one();
    }
}
