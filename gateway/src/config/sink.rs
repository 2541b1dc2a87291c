//! `[sink.NAME]`: who is told of alerts, by which way, and what of them.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use codecs::webhook;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_postgres::config::SslMode;

use crate::sink::excerpt::Gives;
use crate::sink::nats::Nats;
use crate::sink::postgres::Postgres;
use crate::sink::spool::Spool;
use crate::sink::way::{To, Way};

use super::Secret;

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Its way; it has one of these.
    pub http: Option<HttpSink>,
    pub nats: Option<NatsSink>,
    pub postgres: Option<PostgresSink>,
    pub spool: Option<SpoolSink>,
    /// The target of the rules that this sink tells. It is given an alert from the revision on by which the rules tell it;
    /// a sink without a target is the house's own and is given every event.
    pub target: Option<String>,
    /// The unit whose this target is: of a complaint about it, or one above it, it is told nothing.
    pub unit: Option<String>,
    /// `whole`, or `masked`: without what tells who reports.
    #[serde(default)]
    pub gives: Gives,
    /// The parts of the record that it is given, `incident` or `incident.text`; none named: all.
    #[serde(default)]
    pub fields: Vec<String>,
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct HttpSink {
    /// Where events are POSTed, one CloudEvent a request.
    pub url: String,
    /// `whsec_…`, signs every delivery.
    pub secret: Secret,
    /// Tries before an event goes to the dead letters; the waits grow from 1 s to 60 s.
    #[serde(default = "default_tries")]
    pub tries: u32,
    /// Requests at once, each of another alert.
    #[serde(default = "default_at_once")]
    pub at_once: usize,
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct NatsSink {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`; several by commas.
    pub url: String,
    /// The JetStream stream that events come into, by `alert.v1.DISTRICT.STEP`; made where there is none.
    #[serde(default = "default_stream")]
    pub stream: String,
    /// Copies of a stream that is made.
    #[serde(default = "default_replicas")]
    pub replicas: usize,
    /// Who logs in.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// Certificates of the authorities to believe, PEM; with it TLS is demanded.
    pub ca: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct PostgresSink {
    /// `postgres://USER@HOST/DATABASE?sslmode=require`.
    pub url: String,
    pub password: Option<Secret>,
    /// Certificates of the authorities to believe, PEM; without it the public ones.
    pub ca: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct SpoolSink {
    /// Where files appear, of as many events as were due at once.
    pub dir: PathBuf,
    /// Files that may lie there uncollected; then events wait in the journal.
    #[serde(default = "default_most")]
    pub most: usize,
}

const NO_PASSWORD: &str = "a password stands in a file or a variable, and not in the address";

fn default_tries() -> u32 {
    20
}
fn default_at_once() -> usize {
    8
}
fn default_stream() -> String {
    "ALERTS".into()
}
fn default_replicas() -> usize {
    1
}
fn default_most() -> usize {
    100_000
}

impl Sink {
    /// What cannot be about its way: the key below `sink.NAME`, the code, and why.
    pub(super) fn mistakes(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut mistakes = Vec::new();
        let ways = [self.http.is_some(), self.nats.is_some(), self.postgres.is_some(), self.spool.is_some()];
        if ways.into_iter().filter(|is_there| *is_there).count() != 1 {
            mistakes.push(("", "GW-0256", "has one way: http, nats, postgres or spool".to_owned()));
        }
        if let Some(http) = &self.http {
            if !http.url.starts_with("http://") && !http.url.starts_with("https://") {
                mistakes.push(("http.url", "GW-0230", "an address begins with http:// or https://".into()));
            }
            let authority = http.url.split('/').nth(2).unwrap_or_default();
            if authority.contains('@') {
                mistakes.push(("http.url", "GW-0230", NO_PASSWORD.into()));
            }
            if !(1..=64).contains(&http.at_once) {
                mistakes.push(("http.at_once", "GW-0256", "1 to 64 requests are made at once".into()));
            }
        }
        if let Some(nats) = &self.nats {
            match nats.servers() {
                Err(error) => mistakes.push(("nats.url", "GW-0230", error)),
                Ok(servers) if servers.iter().any(|s| s.username().is_some() || s.password().is_some()) => {
                    mistakes.push(("nats.url", "GW-0230", NO_PASSWORD.into()));
                }
                Ok(_) => {}
            }
            let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if !(1..=5).contains(&nats.replicas) {
                mistakes.push(("nats.replicas", "GW-0256", "a stream has 1 to 5 copies".into()));
            }
            if nats.stream.is_empty() || nats.stream.len() > 64 || nats.stream.contains(odd) {
                mistakes.push(("nats.stream", "GW-0256", "a stream is named by letters, digits, - and _".into()));
            }
            if nats.user.is_some() != nats.password.is_some() {
                mistakes.push(("nats.user", "GW-0256", "who logs in has a user and a password".into()));
            }
        }
        if let Some(postgres) = &self.postgres
            && let Err(error) = postgres.config(None)
        {
            mistakes.push(("postgres.url", "GW-0230", error));
        }
        if let Some(spool) = &self.spool {
            if spool.most == 0 {
                mistakes.push(("spool.most", "GW-0256", "one file may lie there at least".into()));
            }
            if spool.dir.as_os_str().is_empty() {
                mistakes.push(("spool.dir", "GW-0256", "files appear in a directory".into()));
            }
        }
        mistakes
    }

    /// Tries before an event over which its receiver fails goes to the dead letters.
    pub fn tries(&self) -> u32 {
        self.http.as_ref().map_or_else(default_tries, |http| http.tries)
    }

    /// Its way, with its secrets.
    ///
    /// # Errors
    /// Which secret cannot be had, never a value.
    pub fn way(&self, base: &Path) -> Result<To, String> {
        if let Some(http) = &self.http {
            let secret = webhook::Secret::parse(&http.secret.resolve(base)?).map_err(|e| e.to_string())?;
            return Ok(To::Http { url: http.url.clone(), secret, at_once: http.at_once });
        }
        let below = |path: &Option<PathBuf>| path.as_ref().map(|path| base.join(path));
        if let Some(nats) = &self.nats {
            let password = nats.password.as_ref().map(|p| p.resolve(base)).transpose()?;
            let (stream, login) = (nats.stream.clone(), nats.user.clone().zip(password));
            let (servers, replicas, ca) = (nats.servers()?, nats.replicas, below(&nats.ca));
            return Ok(To::By(Way::Nats(Box::new(Nats { servers, stream, replicas, login, ca, jetstream: None }))));
        }
        if let Some(postgres) = &self.postgres {
            let password = postgres.password.as_ref().map(|p| p.resolve(base)).transpose()?;
            let (config, ca) = (postgres.config(password)?, below(&postgres.ca));
            return Ok(To::By(Way::Postgres(Box::new(Postgres { config, ca, connected: None }))));
        }
        let spool = self.spool.as_ref().ok_or("it has no way")?;
        Ok(To::By(Way::Spool(Spool { dir: base.join(&spool.dir), most: spool.most })))
    }
}

impl NatsSink {
    fn servers(&self) -> Result<Vec<async_nats::ServerAddr>, String> {
        let one = |url: &str| {
            let is_one = url.starts_with("nats://") || url.starts_with("tls://");
            let server = is_one.then(|| async_nats::ServerAddr::from_str(url).ok()).flatten();
            server.ok_or_else(|| "an address is nats://HOST:PORT or tls://HOST:PORT".to_owned())
        };
        self.url.split(',').map(|url| one(url.trim())).collect()
    }
}

impl PostgresSink {
    fn config(&self, password: Option<String>) -> Result<tokio_postgres::Config, String> {
        let is_one = self.url.starts_with("postgres://") || self.url.starts_with("postgresql://");
        let read = is_one.then(|| tokio_postgres::Config::from_str(&self.url));
        let mut config =
            read.ok_or_else(|| "an address is postgres://USER@HOST/DATABASE".to_owned())?.map_err(|e| e.to_string())?;
        if config.get_password().is_some() {
            return Err(NO_PASSWORD.into());
        }
        // Whoever names an authority wants to know whom they speak to.
        if self.ca.is_some() {
            match config.get_ssl_mode() {
                SslMode::Disable => return Err("with `ca` there is TLS, and the address turns it off".into()),
                _ => _ = config.ssl_mode(SslMode::Require),
            }
        }
        if let Some(password) = password {
            config.password(password);
        }
        config.application_name("gateway").connect_timeout(std::time::Duration::from_secs(5));
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that something is said about.
    fn told(toml: &str) -> Vec<String> {
        let sink: Sink = toml::from_str(toml).expect("as a sink is written");
        sink.mistakes().into_iter().map(|(key, code, _)| format!("{code} {key}")).collect()
    }

    #[test]
    fn a_sink_has_one_way_and_what_cannot_be_about_it_is_told_by_its_key() {
        let http = "[http]\nurl = \"http://127.0.0.1/\"\nsecret = { env = \"HOOK\" }\n";
        let spool = "[spool]\ndir = \"spool\"\n";
        assert!(told(http).is_empty() && told(spool).is_empty());
        assert!(told("[nats]\nurl = \"nats://a:4222, tls://b:4222\"").is_empty());
        assert!(told("[postgres]\nurl = \"postgres://gateway@db/alerts?sslmode=require\"").is_empty());
        assert_eq!(told("target = \"city\""), ["GW-0256 "]);
        assert_eq!(told(&format!("{http}{spool}")), ["GW-0256 "]);
        for (toml, wanted) in [
            (
                "[http]\nurl = \"ftp://a/\"\nsecret = { env = \"A\" }\nat_once = 0",
                &["GW-0230 http.url", "GW-0256 http.at_once"][..],
            ),
            ("[nats]\nurl = \"http://a:4222\"\nstream = \"a.b\"", &["GW-0230 nats.url", "GW-0256 nats.stream"]),
            ("[nats]\nurl = \"nats://a\"\nuser = \"me\"", &["GW-0256 nats.user"]),
            ("[nats]\nurl = \"nats://me:secret@a\"\nreplicas = 0", &["GW-0230 nats.url", "GW-0256 nats.replicas"]),
            ("[http]\nurl = \"http://me:secret@a/\"\nsecret = { env = \"A\" }", &["GW-0230 http.url"]),
            ("[postgres]\nurl = \"postgres://a@b/c?sslmode=disable\"\nca = \"ca.pem\"", &["GW-0230 postgres.url"]),
            ("[postgres]\nurl = \"mysql://a/b\"", &["GW-0230 postgres.url"]),
            ("[postgres]\nurl = \"postgres://a:secret@b/c\"", &["GW-0230 postgres.url"]),
            ("[spool]\ndir = \"a\"\nmost = 0", &["GW-0256 spool.most"]),
        ] {
            assert_eq!(told(toml), wanted, "{toml}");
        }
    }
}
