//! `[channel.…]`: the ways by which people write, and what each needs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use codecs::chat::{qq, wechat};
use codecs::record::Channel as Recorded;
use codecs::sms::Alphabet;
use codecs::sms::cmpp::Version;
use schemars::JsonSchema;
use serde::Deserialize;
use sms::{CarrierConfig, Protocol};

use super::{At, Problem, Secret, Span};
use crate::channel::{
    AgencyDevice, CarrierDevice, HttpDevice, Kind, QqDevice, Template, WechatApp, WechatDevice, WeiboDevice,
};

/// One entry; which keys it needs depends on `kind`.
#[derive(Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Channel {
    /// `cmpp`, `sgip`, `smgp`, `smpp`, `wechat`, `wecom`, `qq`, `weibo`, `http`, `agency`, `app` or `sip`.
    pub kind: String,
    /// Whose seats read it.
    pub group: String,
    /// On the record; by the kind when absent.
    pub record: Option<Recorded>,
    /// The machine's receipt, `{no}` for the number; empty: none.
    pub receipt: Option<String>,
    /// Where a sender is believed to be when nothing better is known.
    pub default_grid: Option<String>,
    /// What its reporters need of a taker, as in the seats' `skills`.
    pub skill: Option<String>,
    /// It has made sure of the telephone numbers that its messages name; without it a number is only a claim, by which
    /// nothing is joined and nobody is written to.
    pub proves_phone: bool,
    /// Lines out a second at most; 0: no limit.
    pub rate: u32,
    /// Replies a message of the user, and within which time of it.
    pub replies: Option<u32>,
    /// How long after a message of the user the platform lets us answer; by the kind when absent.
    pub reply_within: Option<Span>,

    /// Carrier: where it listens, and where it connects to us (SGIP).
    pub connect: Option<SocketAddr>,
    /// SGIP: where the carrier connects to us to deliver.
    pub listen: Option<SocketAddr>,
    /// CMPP: `2.0` or `3.0`.
    pub version: Option<String>,
    /// What we log in as.
    pub account: String,
    pub secret: Option<Secret>,
    /// SGIP: what the carrier logs in with at our side.
    pub peer_account: String,
    pub peer_secret: Option<Secret>,
    /// Shown as the sender, e.g. 12110 or 12110531.
    pub number: String,
    /// CMPP and its kin: the code of the service.
    pub service: Option<String>,
    /// SGIP: our node number, 3, area code and enterprise code.
    pub node: Option<u32>,
    /// SMPP: the system type of the bind.
    pub system_type: Option<String>,
    /// SMPP: what `data_coding` 0 means there: `gsm7`, `latin1` or `ascii`.
    #[schemars(with = "Option<String>")]
    pub default_alphabet: Option<Alphabet>,
    /// Connections at one time.
    pub links: Option<usize>,
    /// Requests on a connection that wait for their answer.
    pub window: Option<usize>,
    /// On a silent connection the carrier is asked whether it is there.
    pub keep_alive: Option<Span>,
    /// A request without an answer is sent again after this.
    pub answer_within: Option<Span>,
    /// Times that a request is sent before the connection is given up.
    pub tries: Option<u32>,
    /// The longest wait between two attempts to connect.
    pub redial_max: Option<Span>,
    /// CMPP and SMGP: whether a carrier whose answer does not prove that it knows the secret is left again; it is,
    /// where nothing is said.
    pub require_proof: Option<bool>,

    /// WeChat: the template message for whoever wrote too long ago, and its field that takes the line.
    pub template: Option<String>,
    /// The field of that template.
    pub template_field: Option<String>,
    /// WeCom: the application's number.
    pub agent: Option<u32>,
    /// WeChat and WeCom: the callback's token and key.
    pub token: Option<Secret>,
    pub aes_key: Option<Secret>,
    /// The platform's API; QQ has another for tokens.
    pub api: Option<String>,
    /// QQ: the address that gives tokens.
    pub token_api: Option<String>,
    pub access_token: Option<Secret>,
    /// Hosts, besides the API's own, that files may be fetched from.
    pub media_hosts: Vec<String>,

    /// Generic: where lines of ours are POSTed.
    pub send: Option<String>,
    /// An agency: events a second that are taken, and as many more at once; 100 where nothing is said.
    pub takes: Option<u32>,
    /// SIP MESSAGE: whose callers write.
    pub trunk: Option<String>,
}

/// The most recent word of each vendor on its own limits; configuration overrules.
const WECHAT_REPLIES: (u32, Duration) = (5, Duration::from_secs(48 * 3600));
const QQ_REPLIES: (u32, Duration) = (5, Duration::from_secs(3600));
const WEIBO_REPLY_WITHIN: Duration = Duration::from_secs(48 * 3600);
/// Events of an agency a second.
const TAKES: u32 = 100;
const RECEIPT: &str = "【110】已收到，编号{no}，请保持联系";

impl Channel {
    pub fn recorded(&self) -> Recorded {
        self.record.unwrap_or(match self.kind.as_str() {
            "wechat" | "wecom" => Recorded::Wechat,
            "qq" => Recorded::Qq,
            "weibo" => Recorded::Weibo,
            "sip" => Recorded::SipMessage,
            "http" | "app" => Recorded::App,
            _ => Recorded::Sms12110,
        })
    }

    pub fn user_is_phone(&self) -> bool {
        matches!(self.kind.as_str(), "cmpp" | "sgip" | "smgp" | "smpp" | "sip")
    }

    /// The text of the receipt; by default there is one.
    pub fn receipt_text(&self) -> Option<String> {
        match self.receipt.as_deref() {
            // An agency has the number in the answer.
            None if self.kind == "agency" => None,
            Some("") => None,
            Some(text) => Some(text.to_owned()),
            None => Some(RECEIPT.to_owned()),
        }
    }

    pub fn quota(&self) -> switchboard::QuotaRule {
        let (replies, within) = match self.kind.as_str() {
            "wechat" | "wecom" => (Some(WECHAT_REPLIES.0), Some(WECHAT_REPLIES.1)),
            "qq" => (Some(QQ_REPLIES.0), Some(QQ_REPLIES.1)),
            "weibo" => (None, Some(WEIBO_REPLY_WITHIN)),
            _ => (None, None),
        };
        switchboard::QuotaRule { within: self.reply_within.map(|s| s.0).or(within), replies: self.replies.or(replies) }
    }

    /// The device, or everything that is wrong with the entry.
    ///
    /// # Errors
    /// `GW-0232` to `GW-0234`, each naming the key.
    pub fn device(&self, name: &str, base: &Path, seed: u64) -> Result<Kind, Vec<Problem>> {
        let mut entry = Entry { name, channel: self, base, problems: Vec::new() };
        let kind = match self.kind.as_str() {
            "cmpp" | "sgip" | "smgp" | "smpp" => entry.carrier(seed),
            "wechat" | "wecom" => entry.wechat(),
            "qq" => entry.qq(),
            "weibo" => entry.weibo(),
            "http" => entry.http().map(Kind::Http),
            "agency" => entry.agency(),
            "app" => Some(Kind::App),
            "sip" => entry.text("trunk", self.trunk.as_deref()).map(|trunk| Kind::Sip { trunk }),
            other => {
                entry.complain(
                    "GW-0232",
                    "kind",
                    format!(
                        "`{other}` is none of cmpp, sgip, smgp, smpp, wechat, wecom, qq, weibo, http, agency, app, sip"
                    ),
                );
                None
            }
        };
        match kind {
            Some(kind) if entry.problems.is_empty() => Ok(kind),
            _ => Err(entry.problems),
        }
    }
}

struct Entry<'a> {
    name: &'a str,
    channel: &'a Channel,
    base: &'a Path,
    problems: Vec<Problem>,
}

impl Entry<'_> {
    fn complain(&mut self, code: &'static str, key: &str, what: String) {
        self.problems.push(Problem { code, at: At::Key(format!("channel.{}.{key}", self.name)), what });
    }

    fn text(&mut self, key: &str, value: Option<&str>) -> Option<String> {
        match value.filter(|v| !v.is_empty()) {
            Some(value) => Some(value.to_owned()),
            None => {
                self.complain("GW-0233", key, format!("a channel of kind {} needs `{key}`", self.channel.kind));
                None
            }
        }
    }

    fn secret(&mut self, key: &str, secret: Option<&Secret>) -> Option<String> {
        let Some(secret) = secret else {
            self.complain("GW-0233", key, format!("a channel of kind {} needs `{key}`", self.channel.kind));
            return None;
        };
        secret.resolve(self.base).map_err(|what| self.complain("GW-0120", key, what)).ok()
    }

    fn carrier(&mut self, seed: u64) -> Option<Kind> {
        let c = self.channel;
        let protocol = match c.kind.as_str() {
            "cmpp" => match c.version.as_deref() {
                None | Some("2.0") => Protocol::Cmpp(Version::V2),
                Some("3.0") => Protocol::Cmpp(Version::V3),
                Some(other) => {
                    self.complain("GW-0234", "version", format!("CMPP `{other}` is unknown; there are 2.0 and 3.0"));
                    return None;
                }
            },
            "sgip" => Protocol::Sgip {
                node: c.node.or_else(|| {
                    self.complain(
                        "GW-0233",
                        "node",
                        "SGIP needs our node number: 3, area code, enterprise code".into(),
                    );
                    None
                })?,
            },
            "smgp" => Protocol::Smgp,
            _ => Protocol::Smpp {
                system_type: c.system_type.clone().unwrap_or_default(),
                default_alphabet: c.default_alphabet.unwrap_or(Alphabet::Gsm7),
            },
        };
        let longest = match c.kind.as_str() {
            "cmpp" => 6,
            "smgp" => 8,
            _ => 15,
        };
        if c.account.is_empty() || c.account.len() > longest {
            self.complain("GW-0234", "account", format!("1 to {longest} characters on {}", c.kind));
        }
        if c.number.is_empty() || c.number.len() > 20 || !c.number.bytes().all(|b| b.is_ascii_digit()) {
            self.complain("GW-0234", "number", "the service number is 1 to 20 digits".into());
        }
        let secret = self.secret("secret", c.secret.as_ref())?;
        let peer = match &c.peer_secret {
            Some(secret) => (c.peer_account.clone(), self.secret("peer_secret", Some(secret))?),
            None if c.listen.is_some() => {
                self.complain("GW-0233", "peer_secret", "whoever connects to us has to log in".into());
                return None;
            }
            None => (String::new(), String::new()),
        };
        let connect = c.connect.or_else(|| {
            self.complain("GW-0233", "connect", "the carrier's address and port".into());
            None
        })?;
        let span = |value: Option<Span>, default: u64| value.map_or(Duration::from_secs(default), |s| s.0);
        let smpp = c.kind == "smpp";
        let config = CarrierConfig {
            protocol,
            account: c.account.clone(),
            secret,
            peer,
            number: c.number.clone(),
            service: c.service.clone().unwrap_or_default(),
            links: c.links.unwrap_or(1).clamp(1, 32),
            window: c.window.unwrap_or(16).clamp(1, 1000),
            keep_alive: span(c.keep_alive, if smpp { 30 } else { 180 }),
            answer_within: span(c.answer_within, if smpp { 10 } else { 60 }),
            tries: c.tries.unwrap_or(3).max(1),
            rate: c.rate,
            require_proof: c.require_proof.unwrap_or(true),
            dial_max: span(c.redial_max, 30),
            seed,
        };
        Some(Kind::Carrier(Box::new(CarrierDevice { config, connect, listen: c.listen })))
    }

    fn api(&self, default: &str) -> String {
        self.channel.api.clone().unwrap_or_else(|| default.to_owned()).trim_end_matches('/').to_owned()
    }

    fn wechat(&mut self) -> Option<Kind> {
        let c = self.channel;
        let wecom = c.kind == "wecom";
        let app_id = self.text("account", Some(&c.account))?;
        let secret = self.secret("secret", c.secret.as_ref())?;
        let token = self.secret("token", c.token.as_ref())?;
        let crypt = match &c.aes_key {
            Some(key) => {
                let key = self.secret("aes_key", Some(key))?;
                match wechat::Crypt::new(&token, &key, &app_id) {
                    Ok(crypt) => Some(crypt),
                    Err(what) => {
                        self.complain("GW-0234", "aes_key", what.into());
                        return None;
                    }
                }
            }
            None if wecom => {
                self.complain("GW-0233", "aes_key", "WeCom always encrypts".into());
                return None;
            }
            None => None,
        };
        let api = self.api(if wecom { "https://qyapi.weixin.qq.com" } else { "https://api.weixin.qq.com" });
        let app = if wecom {
            let Some(agent) = c.agent else {
                self.complain("GW-0233", "agent", "WeCom wants the number of our application (agentid)".into());
                return None;
            };
            WechatApp::WeCom { agent }
        } else {
            let field = c.template_field.clone().unwrap_or_else(|| "content".into());
            WechatApp::Account { template: c.template.clone().map(|id| Template { id, field }) }
        };
        Some(Kind::Wechat(WechatDevice { app_id, secret, token, crypt, app, api }))
    }

    fn qq(&mut self) -> Option<Kind> {
        let c = self.channel;
        let app_id = self.text("account", Some(&c.account))?;
        let secret = self.secret("secret", c.secret.as_ref())?;
        let key = qq::Key::new(&secret).map_err(|what| self.complain("GW-0234", "secret", what.into())).ok()?;
        let token_api = c.token_api.clone().unwrap_or_else(|| "https://bots.qq.com".into());
        let token_api = token_api.trim_end_matches('/').to_owned();
        Some(Kind::Qq(QqDevice { app_id, secret, key, api: self.api("https://api.sgroup.qq.com"), token_api }))
    }

    fn weibo(&mut self) -> Option<Kind> {
        let secret = self.secret("secret", self.channel.secret.as_ref())?;
        let access_token = self.secret("access_token", self.channel.access_token.as_ref())?;
        Some(Kind::Weibo(WeiboDevice { secret, access_token, api: self.api("https://m.api.weibo.com") }))
    }

    /// Of an agency that is no 110, 119, 120, 122 or hotline nobody would know whose word it is.
    fn agency(&mut self) -> Option<Kind> {
        use Recorded::{Agency110, Agency119, Agency120, Agency122, Hotline12345, Transferred};
        let agencies = [Agency110, Agency119, Agency120, Agency122, Hotline12345, Transferred];
        if !self.channel.record.is_some_and(|record| agencies.contains(&record)) {
            let what = "is one of agency_110, agency_119, agency_120, agency_122, hotline_12345, transferred";
            self.complain("GW-0234", "record", what.into());
        }
        let takes = self.channel.takes.unwrap_or(TAKES);
        if takes == 0 {
            self.complain("GW-0234", "takes", "is at least 1".into());
        }
        self.http().map(|http| Kind::Agency(AgencyDevice { http, takes }))
    }

    fn http(&mut self) -> Option<HttpDevice> {
        let secret = self.secret("secret", self.channel.secret.as_ref())?;
        match codecs::webhook::Secret::parse(&secret) {
            Ok(secret) => Some(HttpDevice { secret, send: self.channel.send.clone() }),
            Err(what) => {
                self.complain("GW-0234", "secret", what.into());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<String> {
        let channel: Channel = toml::from_str(toml).expect("the keys are known");
        let found = channel.device("x", Path::new("."), 1).err().unwrap_or_default();
        found.iter().map(|p| format!("{} {}", p.code, p.at)).collect()
    }

    #[test]
    fn what_a_kind_needs_and_has_not_is_named() {
        assert_eq!(problems("kind = 'fax'\ngroup = 'g'"), ["GW-0232 channel.x.kind"]);
        assert_eq!(
            problems("kind = 'cmpp'\ngroup = 'g'\naccount = '1'\nnumber = '12110'"),
            ["GW-0233 channel.x.secret"]
        );
        let smpp = "kind = 'smpp'\ngroup = 'g'\naccount = '1'\nsecret = { env = 'PATH' }\nnumber = '1211x'";
        assert_eq!(problems(smpp), ["GW-0234 channel.x.number", "GW-0233 channel.x.connect"]);
        let wecom = "kind = 'wecom'\ngroup = 'g'\naccount = 'ww1'\nsecret = { env = 'PATH' }\ntoken = { env = 'PATH' }";
        assert_eq!(problems(wecom), ["GW-0233 channel.x.aes_key"]);
        assert_eq!(problems("kind = 'sip'\ngroup = 'g'"), ["GW-0233 channel.x.trunk"]);
        let version = "kind = 'cmpp'\ngroup = 'g'\nversion = '4.0'";
        assert_eq!(problems(version), ["GW-0234 channel.x.version"]);
        let secret = "kind = 'http'\ngroup = 'g'\nsecret = { env = 'NOT_SET_ANYWHERE' }";
        assert_eq!(problems(secret), ["GW-0120 channel.x.secret"]);
    }

    #[test]
    fn what_is_not_said_is_the_vendors_word() {
        let channel: Channel = toml::from_str("kind = 'qq'\ngroup = 'g'\nreplies = 3").expect("sound");
        assert_eq!((channel.recorded(), channel.user_is_phone()), (Recorded::Qq, false));
        assert_eq!(channel.quota().replies, Some(3));
        assert_eq!(channel.quota().within, Some(Duration::from_secs(3600)));
        assert!(channel.receipt_text().is_some_and(|t| t.contains("{no}")));
        let silent: Channel = toml::from_str("kind = 'cmpp'\ngroup = 'g'\nreceipt = ''").expect("sound");
        assert_eq!(silent.receipt_text(), None);
    }
}
