//! The configuration: TOML with file and line in every complaint, tables as CSV and GeoJSON beside it.

pub mod channel;
mod gives;
mod parse;
pub mod rules;
mod sink;
mod source;
mod storage;
mod tell;
mod value;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use codecs::sip::auth::Algorithm;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use parse::{parse, read};
pub use sink::Sink;
pub use source::Source;
pub use storage::{Storage, Tls};
pub use tell::tell;

use crate::net::crowd::Cap;

/// One thing wrong, where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub code: &'static str,
    pub at: At,
    pub what: String,
}

/// Where a problem stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum At {
    /// A whole file.
    File(PathBuf),
    /// A line of it, from 1.
    Line(PathBuf, usize),
    /// A key of the configuration, until its line is looked for: `channel.x.secret`.
    Key(String),
}

impl Problem {
    /// With its line, where it stands at a key.
    pub fn placed(self, source: Source<'_>) -> Problem {
        match self.at {
            At::Key(key) => Problem { at: source.place(&key), ..self },
            _ => self,
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            At::File(path) => path.display().fmt(f),
            At::Line(path, line) => write!(f, "{}:{line}", path.display()),
            At::Key(key) => f.write_str(key),
        }
    }
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which form of this file it is: 1.
    pub config_version: u32,
    pub city: City,
    pub node: Node,
    pub listen: Listen,
    #[serde(default)]
    pub trunk: BTreeMap<String, Trunk>,
    #[serde(default)]
    pub group: BTreeMap<String, Group>,
    #[serde(default)]
    pub unit: BTreeMap<String, Unit>,
    /// Who can be asked into a call and is not of the police, by the number that a call taker knows: 119, 120, a utility.
    #[serde(default)]
    pub agency: BTreeMap<String, Agency>,
    /// Those who are asked in together by one key, by what it is called: 警医消.
    #[serde(default)]
    pub linkage: BTreeMap<String, Linkage>,
    pub tables: Tables,
    #[serde(default)]
    pub answer: Answer,
    #[serde(default)]
    pub registrar: Registrar,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub storage: Storage,
    /// Without it API and hooks are plain HTTP: for the loopback, or behind something that ends TLS.
    pub tls: Option<Tls>,
    #[serde(default)]
    pub sink: BTreeMap<String, Sink>,
    #[serde(default)]
    pub channel: BTreeMap<String, channel::Channel>,
    /// Officers have what they are called to in writing too, and answer by a digit: those of them with a telephone number.
    pub orders: Option<Orders>,
    #[serde(default)]
    pub conversation: Conversation,
    /// Texts that a call taker sends by name.
    #[serde(default)]
    pub template: BTreeMap<String, String>,
    #[serde(default)]
    pub log: Log,
}

/// How long written reports are waited for and remembered.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Conversation {
    /// A further word within this time of the last belongs to the same alert.
    pub join_within: Span,
    /// Missing parts of a long message.
    pub parts_within: Span,
    /// A conversation in which nobody says anything is over.
    pub idle: Span,
}

impl Default for Conversation {
    fn default() -> Self {
        let patience = switchboard::Patience::default();
        Conversation {
            join_within: Span(patience.join_within),
            parts_within: Span(patience.parts_within),
            idle: Span(patience.idle),
        }
    }
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct City {
    /// What the city calls itself, for people.
    pub name: String,
    /// The 12-digit code of the reception unit; every alert number begins with it.
    pub unit: String,
    /// Digest realm and the host part of our SIP identity.
    #[serde(default = "default_realm")]
    pub realm: String,
}

/// How phones register.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Registrar {
    /// What every phone of the realm is offered.
    pub digest: Digest,
    /// The longest expiry granted: for so long a seat whose phone is gone may be believed to be there.
    pub max_expires: Span,
    /// Phones may stand behind a NAT: their media comes from where they register from, from a port still to be learnt.
    pub nat: bool,
}

impl Default for Registrar {
    fn default() -> Self {
        Registrar { digest: Digest::Both, max_expires: Span(Duration::from_secs(120)), nat: true }
    }
}

/// Algorithms by which a phone proves its secret.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Digest {
    /// MD5 and SHA-256, for phones that choose.
    Both,
    /// For phones that give up at the sight of anything else, such as baresip with the libre of Debian 12.
    Md5,
    Sha256,
}

impl Digest {
    pub fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Digest::Both => &[Algorithm::Md5, Algorithm::Sha256],
            Digest::Md5 => &[Algorithm::Md5],
            Digest::Sha256 => &[Algorithm::Sha256],
        }
    }
}

/// What the gateway is rated for. Descriptors and media ports for it are set aside before the first call.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls up at one time.
    pub calls: usize,
    /// Legs of a call.
    pub legs: usize,
    /// New calls a second.
    pub new_calls: u32,
    /// Messages a second (SIP MESSAGE, REGISTER, OPTIONS), of one source too.
    pub messages: u32,
    /// Connections of SIP over TCP, and of HTTP, each.
    pub connections: usize,
    /// The part of each of these that one trunk or one source may use, in percent.
    pub share: u8,
    /// Sources that may use all of it: proxies, load tools.
    pub whole: Vec<Network>,
    /// Megabytes of words and files that one sender may have stored in a day; 0: without a bound.
    pub stored_a_day_mb: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            calls: 600,
            legs: 3,
            new_calls: 100,
            messages: 5000,
            connections: 2000,
            share: 50,
            whole: Vec::new(),
            stored_a_day_mb: 256,
        }
    }
}

impl Limits {
    pub fn connections(&self) -> Cap {
        let whole = self.whole.iter().map(|network| network.0).collect();
        Cap { all: self.connections, share: self.part(self.connections), whole }
    }

    /// What one source may have of so many.
    pub fn part(&self, of: usize) -> usize {
        (of * usize::from(self.share)).div_ceil(100).max(1)
    }
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// One digit, different on every node of a city.
    pub digit: u8,
    /// Journal, recordings, read model, tokens; below the configuration unless it is absolute.
    pub data_dir: PathBuf,
    /// Threads that calls are spread over; all cores but one when absent.
    pub shards: Option<u16>,
    /// Each shard on a core of its own, everybody else on the rest.
    #[serde(default)]
    pub pin: bool,
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// UDP and TCP on one address.
    pub sip: SocketAddr,
    /// What Via and Contact say, when it is not `sip`; demanded where that is a wildcard.
    pub sip_advertise: Option<SocketAddr>,
    pub rtp: Rtp,
    /// The API, and webhooks where they have no listener of their own.
    pub http: SocketAddr,
    /// Webhooks on a listener of their own: what faces the Internet is then not what call takers hang on.
    pub hooks: Option<SocketAddr>,
    /// /metrics, /healthz, /readyz: for the NOC, never for the Internet.
    pub admin: SocketAddr,
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Rtp {
    /// Where media sockets are bound.
    pub address: IpAddr,
    /// First and last port, e.g. `20000-31999`.
    pub ports: PortRange,
    /// What SDP says, when it is not `address`.
    pub advertise: Option<IpAddr>,
    /// Ports that all legs share, for peers that send from the address that their SDP names; 0: a port a leg.
    #[serde(default)]
    pub shared: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRange {
    pub from: u16,
    pub to: u16,
}

impl PortRange {
    /// One of so many equal parts, each beginning at an even port.
    pub fn part(self, index: u16, parts: u16) -> PortRange {
        let first = u32::from(self.from).next_multiple_of(2);
        let pairs = (u32::from(self.to) + 1).saturating_sub(first) / 2 / u32::from(parts);
        let from = first + u32::from(index) * pairs * 2;
        // Without a pair the part is empty: it ends before it begins.
        PortRange { from: from.min(65_535) as u16, to: (from + pairs * 2).saturating_sub(1).min(65_535) as u16 }
    }
}

/// All cores but one, which is left to the disk, the channels and the sinks.
pub fn default_shards() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores - 1).clamp(1, usize::from(switchboard::route::SHARDS_MAX)) as u16
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// Addresses or networks that calls of this trunk come from; the longest prefix wins.
    pub sources: Vec<Network>,
    /// Whose seats answer its calls.
    pub group: String,
    #[serde(default = "default_channel")]
    pub channel: codecs::record::Channel,
    /// Where a caller is believed to be when nothing better is known.
    pub default_grid: Option<String>,
    /// Where outgoing calls go.
    pub outbound: Option<SocketAddr>,
    /// A called user answered by the attendant at once, for measuring.
    pub attendant_user: Option<String>,
    /// What its callers need of a taker, as in the seats' `skills`.
    pub skill: Option<String>,
    /// Its peers stand behind a NAT.
    #[serde(default)]
    pub nat: bool,
    /// Calls of it up at one time; its share of `limits` when absent.
    pub calls: Option<usize>,
    /// New calls of it a second; its share of `limits` when absent.
    pub new_calls: Option<u32>,
}

/// An address or a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network(pub IpNet);

#[derive(Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The group that answers when this one cannot in time.
    pub overflow: Option<String>,
    /// After a call a seat is left alone for so long.
    #[serde(default)]
    pub wrap_up: Span,
    /// Conversations of a class that have a place whatever waits above them.
    #[serde(default)]
    pub floor: Floor,
    /// A conversation without a first line after this goes to another seat.
    #[serde(default = "default_conversation_answers_within")]
    pub conversation_answers_within: Span,
}

#[derive(Deserialize, Serialize, JsonSchema, Clone, Copy, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Floor {
    /// For reports that speak of a danger to life.
    pub life_threat: u32,
    /// For those who must not be heard.
    pub silent: u32,
    /// For short messages.
    pub sms: u32,
    /// For everything else that is written.
    pub other: u32,
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// What people call it.
    pub name: String,
    /// The SIP user its duty room registers as.
    #[serde(default)]
    pub user: String,
    pub secret: Option<Secret>,
    /// Dialled when not registered: a `sip:` URI or digits.
    #[serde(default)]
    pub phone: String,
    /// The unit above it, by its code.
    pub superior: Option<String>,
    /// Calls that its duty room can be in at one time.
    #[serde(default = "lines")]
    pub lines: usize,
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// The channel by which they are written to, of short messages.
    pub channel: String,
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Agency {
    /// What people call it.
    pub name: String,
    /// The SIP user it registers as.
    #[serde(default)]
    pub user: String,
    pub secret: Option<Secret>,
    /// Dialled when not registered: a `sip:` URI or digits.
    #[serde(default)]
    pub phone: String,
    /// Calls that it can be in at one time.
    #[serde(default = "lines")]
    pub lines: usize,
}

fn lines() -> usize {
    4
}

#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Linkage {
    /// Agencies, units and officers, all rung at the same time.
    pub to: Vec<String>,
}

/// Files beside the configuration.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// Seats: `id,name,group,skills,kind,user,secret,max_threads`.
    pub seats: PathBuf,
    /// Officers: `police_no,name,phone,user,secret,grid_ids,unit,on_duty`.
    pub officers: PathBuf,
    /// Grids as GeoJSON polygons with `grid_id` and `unit`.
    pub grids: PathBuf,
    /// Telephone subscribers: `number,name,address,lon,lat`.
    pub subscribers: Option<PathBuf>,
    /// Words of danger, which raise a level: `word,level,category`, and `silent,by_sound` where they are wanted. They are
    /// found however they are spelt: in traditional characters, in full width, with blanks or marks between.
    pub keywords: Option<PathBuf>,
    /// Words that speak for a category: `word,category,percent`, and `by_sound`. Suggested, and never decided.
    pub clues: Option<PathBuf>,
    /// Characters that sound alike, for words that are found by their sound too: `sound,characters`.
    pub sounds: Option<PathBuf>,
    /// Kinds of incidents and whose they are: `code,name,handled_by,supervised_by`, the last two `city`, `county`,
    /// `station` or the code of a unit. Where it is there no triage names another code.
    pub categories: Option<PathBuf>,
    /// What came of an alert, as those who act report it: `code,name`. A step that reports back names one of them.
    pub result_codes: Option<PathBuf>,
    /// Who is told of an alert, in which order, what is expected of them by when: `[[rule]]`, and `[[case]]` to prove it.
    pub rules: Option<PathBuf>,
}

#[derive(Deserialize, Serialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// Heard by a chosen seat before it is connected; `0ms` turns it off.
    pub tone: Span,
    /// A seat that has not picked up by then is passed over.
    pub seat_answers_within: Span,
    /// Without a triage for so long an officer is called all the same.
    pub triage_grace: Span,
}

/// A secret by reference; literal text is for the demo only.
#[derive(Deserialize, JsonSchema, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Secret {
    File(PathBuf),
    Env(String),
    #[serde(skip)]
    Text(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// # Errors
    /// Says which file or variable is missing, never a value.
    pub fn resolve(&self, base: &Path) -> Result<String, String> {
        let (secret, of) = match self {
            Secret::File(path) => {
                let of = format!("secret file {}", path.display());
                let text = read_text(&base.join(path)).map_err(|e| format!("{of}: {e}"))?;
                (text.trim().to_owned(), of)
            }
            Secret::Env(name) => {
                let of = format!("environment variable {name}");
                (std::env::var(name).map_err(|_| format!("{of} is not set"))?, of)
            }
            Secret::Text(text) => (text.clone(), "the secret".to_owned()),
        };
        if secret.trim().is_empty() {
            Err(format!("{of} is empty: whoever knows nothing would prove it"))
        } else {
            Ok(secret)
        }
    }
}

/// The longest file that a configuration may consist of, in octets.
const FILE_MAX: u64 = 256 * 1024 * 1024;

/// A whole file of text, as configurations are made of: a regular one with an end.
///
/// # Errors
/// What the disk said, or why it is none.
pub fn read_text(path: &Path) -> Result<String, String> {
    let about = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !about.is_file() {
        return Err("is no regular file".to_owned());
    }
    if about.len() > FILE_MAX {
        return Err(format!("has {} octets; {FILE_MAX} may be", about.len()));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

#[derive(Deserialize, Serialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `auto`, `human` or `json`.
    pub format: String,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: "auto".into(), level: "info".into() }
    }
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            tone: Span(Duration::from_millis(300)),
            seat_answers_within: Span(Duration::from_secs(1)),
            triage_grace: Span(Duration::from_secs(12)),
        }
    }
}

/// A duration as text: `300ms`, `20s`, `5m`, `2h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span(pub Duration);

fn default_realm() -> String {
    "gateway".into()
}
fn default_channel() -> codecs::record::Channel {
    codecs::record::Channel::Voice110
}
fn default_conversation_answers_within() -> Span {
    Span(Duration::from_secs(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_example_says_of_limits_and_phones_is_what_holds_without_it() {
        let config = parse(Path::new("city.toml"), GOOD).expect("accepted");
        assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
        assert_eq!(format!("{:?}", config.registrar), format!("{:?}", Registrar::default()));
        assert_eq!(format!("{:?}", config.storage), format!("{:?}", Storage::default()));
        // What is commented out is sound as well.
        let all: String = GOOD
            .lines()
            .map(|l| l.strip_prefix("# ").filter(|l| is_entry(l)).unwrap_or(l))
            .fold(String::new(), |text, line| text + line + "\n");
        let tls = all.contains("\n[tls]") && all.contains("\nkeep_files") && all.contains("\nhooks");
        assert!(tls, "{all}");
        parse(Path::new("city.toml"), &all).expect("accepted");
    }

    /// A table or a key, and no sentence.
    fn is_entry(line: &str) -> bool {
        let key = line.split(['=', ']']).next().unwrap_or_default().trim().trim_start_matches('[');
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
    }

    #[test]
    fn a_port_range_is_cut_into_pairs_up_to_the_last_port_there_is() {
        let range = PortRange { from: 20_001, to: 65_535 };
        assert_eq!(range.part(0, 1), PortRange { from: 20_002, to: 65_535 });
        assert_eq!([range.part(0, 2).from, range.part(1, 2).from, range.part(1, 2).to], [20_002, 42_768, 65_533]);
        let few = PortRange { from: 40_000, to: 40_003 };
        assert_eq!(few.part(1, 2), PortRange { from: 40_002, to: 40_003 });
        assert!(few.part(2, 3).to < few.part(2, 3).from, "two pairs are not enough for three");
    }

    const GOOD: &str = include_str!("../../../deploy/example/city.toml");

    fn problems(from: &str, to: &str) -> Vec<Problem> {
        assert!(GOOD.contains(from), "the example has {from}");
        parse(Path::new("city.toml"), &GOOD.replacen(from, to, 1)).expect_err("refused")
    }

    #[test]
    fn the_example_is_accepted() {
        parse(Path::new("city.toml"), GOOD).expect("accepted");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let p = &problems("wrap_up", "wrap_upp")[0];
        let line = GOOD.lines().position(|l| l.contains("wrap_up")).expect("there") + 1;
        assert_eq!(p.at, At::Line("city.toml".into(), line));
        assert!(p.what.contains("did you mean `wrap_up`"), "{}", p.what);
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_the_reason() {
        for (from, to, what) in [
            ("\"20000-31999\"", "\"31999\"", "range"),
            ("\"20s\"", "\"20\"", "duration"),
            ("127.0.0.0/8", "127.0.0.0/40", "prefix"),
            ("127.0.0.0/8", "127.0.0.1/8", "host bits"),
            ("sip   = \"127.0.0.1:5060\"", "sip   = \"0.0.0.0:5060\"", "wildcard"),
            ("address = \"127.0.0.1\"", "address = \"0.0.0.0\"", "wildcard"),
            ("unit    = \"370400000000\"", "unit    = \"37\"", "12 digits"),
            ("group   = \"default\"", "group   = \"defalt\"", "does not exist"),
        ] {
            let p = problems(from, to);
            assert!(p[0].what.contains(what), "{from}: {}", p[0].what);
        }
    }

    #[test]
    fn a_secret_never_shows_itself() {
        assert_eq!(format!("{:?}", Secret::Text("whsec_x".into())), "Secret");
    }
}
