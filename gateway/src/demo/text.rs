//! The script's writers and takers: an operator's message centre, WeChat, QQ and Weibo, and two takers who answer.

use std::net::SocketAddr;
use std::time::Duration;

use codecs::chat::{qq, wechat};
use codecs::sms::cmpp::Version;
use codecs::webhook::Secret;
use loadtest::clock::Clock;
use loadtest::text::centre::{self, Centre, Protocol};
use loadtest::text::platform::{Hook, Keys, Platform, Sender};
use loadtest::text::{Happening, Outgoing, takers};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::channels;

/// Bound before the gateway starts, so that it finds its platforms at once.
pub(super) struct Listeners {
    pub cmpp: std::net::TcpListener,
    pub web: std::net::TcpListener,
}

impl Listeners {
    pub(super) fn bind() -> anyhow::Result<Listeners> {
        let bind = || std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        Ok(Listeners { cmpp: bind()?, web: bind()? })
    }
}

/// The stage's writing people, on a thread of their own.
pub(super) struct Writers {
    runtime: Runtime,
    centre: Centre,
    keys: Keys,
    gateway: SocketAddr,
    happenings: mpsc::UnboundedReceiver<Happening>,
    seen: Vec<Happening>,
    clock: Clock,
    next: u64,
}

impl Writers {
    pub(super) fn open(
        listeners: Listeners,
        gateway: SocketAddr,
        token: &str,
        clock: Clock,
    ) -> anyhow::Result<Writers> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("writers")
            .enable_all()
            .build()?;
        let (tell, happenings) = mpsc::unbounded_channel();
        let keys = Keys {
            wechat: wechat::Crypt::new(channels::WECHAT_TOKEN, channels::WECHAT_KEY, channels::WECHAT_APP)
                .map_err(anyhow::Error::msg)?,
            qq: qq::Key::new(channels::QQ_SECRET).map_err(anyhow::Error::msg)?,
            weibo: channels::WEIBO_SECRET.into(),
            generic: Secret::parse(channels::HTTP_SECRET).map_err(anyhow::Error::msg)?,
        };
        let settings = centre::Settings {
            protocol: Protocol::Cmpp(Version::V2),
            listen: listeners.cmpp,
            secret: channels::SECRET.into(),
            number: channels::NUMBER.into(),
            dial: None,
        };
        let centre = {
            let _inside = runtime.enter();
            Platform::open(listeners.web, clock, tell.clone())?;
            takers::start(&takers::Settings {
                http: gateway,
                token: token.to_owned(),
                seats: (1101..=1104).chain(1201..=1202).map(|s| s.to_string()).collect(),
                threads: 4,
                think: Duration::from_millis(400),
                say: "座席: 收到“{text}”，请注意安全".into(),
                done: false,
            });
            Centre::open(settings, clock, tell)?
        };
        Ok(Writers { runtime, centre, keys, gateway, happenings, seen: Vec::new(), clock, next: 1 })
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// A long message: its parts in the order given, by CMPP.
    pub(super) fn sms(&mut self, from: &str, parts: &[&str], order: &[u8]) {
        for number in order {
            let id = self.number();
            let text = parts[*number as usize - 1].to_owned();
            let part = (parts.len() > 1).then_some((77, parts.len() as u8, *number));
            self.centre.deliver(Outgoing { id, from: from.to_owned(), text, part });
        }
    }

    /// The answer to a webhook.
    fn hook(&self, hook: &Hook) -> (u16, String) {
        let mut sender = Sender::new(self.gateway);
        let answer = self.runtime.block_on(sender.send(hook));
        answer.map_or((0, String::new()), |(status, body)| (status, String::from_utf8_lossy(&body).into_owned()))
    }

    pub(super) fn wechat(&mut self, user: &str, content: &str) -> (u16, String) {
        let id = self.number();
        self.hook(&self.keys.wechat("script-wechat", user, id, content, self.clock.wall_s()))
    }

    pub(super) fn qq(&mut self, user: &str, text: &str) -> (u16, String) {
        let id = self.number();
        self.hook(&self.keys.qq("script-qq", user, id, text, self.clock.wall_s()))
    }

    pub(super) fn weibo(&mut self, user: &str, text: &str) -> (u16, String) {
        let id = self.number();
        self.hook(&self.keys.weibo("script-weibo", user, id, text, self.clock.wall_s()))
    }

    /// Waits for something that the platforms saw; whatever comes meanwhile is kept.
    pub(super) fn wait_for(&mut self, patience: Duration, wanted: impl Fn(&Happening) -> bool) -> Option<Happening> {
        let end = self.clock.now() + patience;
        loop {
            while let Ok(happening) = self.happenings.try_recv() {
                self.seen.push(happening);
            }
            if let Some(at) = self.seen.iter().position(&wanted) {
                return Some(self.seen.remove(at));
            }
            if self.clock.now() > end {
                return None;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// The next line to a user that begins so, and when it came.
    pub(super) fn line(&mut self, to: &str, begins: &str, patience: Duration) -> Option<(String, Duration)> {
        let found = self.wait_for(
            patience,
            |h| matches!(h, Happening::Line { to: t, text, .. } if t == to && text.starts_with(begins)),
        );
        match found {
            Some(Happening::Line { text, at, .. }) => Some((text, at)),
            _ => None,
        }
    }

    /// Whether any line has come for a user within this time.
    pub(super) fn is_written_to(&mut self, to: &str, within: Duration) -> bool {
        self.wait_for(within, |h| matches!(h, Happening::Line { to: t, .. } if t == to)).is_some()
    }

    pub(super) fn close(self) {
        self.runtime.shutdown_timeout(Duration::from_millis(100));
    }
}
