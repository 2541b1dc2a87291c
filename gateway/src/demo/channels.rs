//! The demo's channels: one set whose platforms the script plays, one whose platforms load tools play.

use std::net::SocketAddr;
use std::time::Duration;

use codecs::chat::{qq, wechat};
use codecs::record::Channel;
use codecs::sms::Alphabet;
use codecs::sms::cmpp::Version;
use serde_json::{Value, json};
use sms::{CarrierConfig, Protocol};
use switchboard::{ChannelRule, GroupId, QuotaRule};

use crate::channel::{CarrierDevice, HttpDevice, Kind, QqDevice, Settings, WechatApp, WechatDevice, WeiboDevice};

pub(super) const ACCOUNT: &str = "901234";
pub(super) const SECRET: &str = "demo";
/// What the SGIP gateway logs in with at our listener.
pub(super) const PEER: (&str, &str) = ("unicom", "demo");
pub(super) const NUMBER: &str = "12110";
pub(super) const SGIP_NODE: u32 = 3_063_212_345;
pub(super) const WECHAT_APP: &str = "wx1234567890abcdef";
pub(super) const WECHAT_TOKEN: &str = "police110token";
pub(super) const WECHAT_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
pub(super) const QQ_SECRET: &str = "DG5g3B4j9X2KOErG";
pub(super) const WEIBO_SECRET: &str = "xyz123xyz";
pub(super) const HTTP_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Where the platforms of one set are.
#[derive(Clone, Copy)]
pub(super) struct Platforms {
    pub cmpp: SocketAddr,
    pub sgip: SocketAddr,
    /// Ours, for the SGIP gateway to connect to.
    pub sgip_listen: Option<SocketAddr>,
    pub smgp: SocketAddr,
    pub smpp: SocketAddr,
    /// WeChat, QQ, Weibo and the generic channel's receiver.
    pub web: SocketAddr,
}

impl Platforms {
    /// The script's: one operator by CMPP, and the web's platforms.
    pub(super) fn of_script(cmpp: SocketAddr, web: SocketAddr) -> Platforms {
        Platforms { cmpp, sgip: cmpp, sgip_listen: None, smgp: cmpp, smpp: cmpp, web }
    }

    /// The ports that load tools find in peers.json.
    pub(super) fn of_load(offset: u16) -> Platforms {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port.wrapping_add(offset)));
        Platforms {
            cmpp: at(17_890),
            sgip: at(18_801),
            sgip_listen: Some(at(18_802)),
            smgp: at(18_890),
            smpp: at(12_775),
            web: at(18_200),
        }
    }
}

fn carrier(protocol: Protocol, connect: SocketAddr, listen: Option<SocketAddr>, links: usize, window: usize) -> Kind {
    let config = CarrierConfig {
        protocol,
        account: ACCOUNT.into(),
        secret: SECRET.into(),
        peer: (PEER.0.into(), PEER.1.into()),
        number: NUMBER.into(),
        service: "POLICE".into(),
        links,
        window,
        keep_alive: Duration::from_secs(10),
        answer_within: Duration::from_secs(10),
        tries: 3,
        rate: 0,
        // Whoever comes to be the carrier is found within a second.
        dial_max: Duration::from_secs(1),
        require_proof: true,
        seed: u64::from_le_bytes(crate::clock::random()),
    };
    Kind::Carrier(Box::new(CarrierDevice { config, connect, listen }))
}

/// A set of channels: names begin with `prefix`; the script needs no more than one operator.
pub(super) fn set(prefix: &str, group: u32, grid: &str, p: Platforms) -> Vec<(ChannelRule, Settings)> {
    let api = format!("http://{}", p.web);
    let crypt = wechat::Crypt::new(WECHAT_TOKEN, WECHAT_KEY, WECHAT_APP).expect("the pack's key");
    let smpp = Protocol::Smpp { system_type: String::new(), default_alphabet: Alphabet::Gsm7 };
    let wechat = |app| {
        Kind::Wechat(WechatDevice {
            app_id: WECHAT_APP.into(),
            secret: SECRET.into(),
            token: WECHAT_TOKEN.into(),
            crypt: Some(crypt.clone()),
            app,
            api: api.clone(),
        })
    };
    let kinds = vec![
        ("cmpp", Channel::Sms12110, carrier(Protocol::Cmpp(Version::V2), p.cmpp, None, 2, 64)),
        ("sgip", Channel::Sms12110, carrier(Protocol::Sgip { node: SGIP_NODE }, p.sgip, p.sgip_listen, 1, 64)),
        ("smgp", Channel::Sms12110, carrier(Protocol::Smgp, p.smgp, None, 1, 64)),
        ("smpp", Channel::Sms12110, carrier(smpp, p.smpp, None, 2, 64)),
        ("wechat", Channel::Wechat, wechat(WechatApp::Account { template: None })),
        ("wecom", Channel::Wechat, wechat(WechatApp::WeCom { agent: 110 })),
        (
            "qq",
            Channel::Qq,
            Kind::Qq(QqDevice {
                app_id: "11111111".into(),
                secret: QQ_SECRET.into(),
                key: qq::Key::new(QQ_SECRET).expect("not empty"),
                api: api.clone(),
                token_api: api.clone(),
            }),
        ),
        (
            "weibo",
            Channel::Weibo,
            Kind::Weibo(WeiboDevice { secret: WEIBO_SECRET.into(), access_token: "demo".into(), api: api.clone() }),
        ),
        (
            "kiosk",
            Channel::Kiosk,
            Kind::Http(HttpDevice {
                secret: codecs::webhook::Secret::parse(HTTP_SECRET).expect("a secret"),
                send: Some(format!("{api}/kiosk")),
            }),
        ),
    ];
    let entry = |(kind, channel, device): (&str, Channel, Kind)| {
        let name = format!("{prefix}{kind}");
        let rule = ChannelRule {
            name: name.clone(),
            channel,
            group: GroupId(group),
            skills: 0,
            receipt: Some("【110】已收到，编号{no}，请保持联系".into()),
            default_grid: Some(grid.into()),
            user_is_phone: matches!(device, Kind::Carrier(_)),
            proves_phone: false,
            quota: QuotaRule::default(),
            has_template: false,
            is_fetched: false,
        };
        (rule, Settings { name, kind: device, rate: 0, media_hosts: vec![p.web.to_string()] })
    };
    let one_operator = p.sgip_listen.is_none();
    let wanted = |kind: &str| !one_operator || !matches!(kind, "sgip" | "smgp" | "smpp");
    kinds.into_iter().filter(|(kind, ..)| wanted(kind)).map(entry).collect()
}

/// Our own app, and the reporting page.
pub(super) fn app(name: &str, group: u32, grid: &str) -> (ChannelRule, Settings) {
    let (rule, settings) = sip(name, "", group, grid);
    let rule = ChannelRule { channel: Channel::App, user_is_phone: false, is_fetched: true, ..rule };
    (rule, Settings { kind: Kind::App, ..settings })
}

/// SIP MESSAGE on a trunk.
pub(super) fn sip(name: &str, trunk: &str, group: u32, grid: &str) -> (ChannelRule, Settings) {
    let rule = ChannelRule {
        name: name.into(),
        channel: Channel::SipMessage,
        group: GroupId(group),
        skills: 0,
        receipt: Some("【110】已收到，编号{no}，请保持联系".into()),
        default_grid: Some(grid.into()),
        user_is_phone: true,
        proves_phone: false,
        quota: QuotaRule::default(),
        has_template: false,
        is_fetched: false,
    };
    let kind = Kind::Sip { trunk: trunk.into() };
    (rule, Settings { name: name.into(), kind, rate: 0, media_hosts: Vec::new() })
}

/// What load tools need to know of the set that they play.
pub(super) fn peers(p: Platforms) -> Value {
    json!({
        "account": ACCOUNT,
        "secret": SECRET,
        "number": NUMBER,
        "cmpp": p.cmpp,
        "sgip": {"connect": p.sgip, "listen": p.sgip_listen, "peer_account": PEER.0, "peer_secret": PEER.1},
        "smgp": p.smgp,
        "smpp": p.smpp,
        "web": p.web,
        "wechat": {"app_id": WECHAT_APP, "token": WECHAT_TOKEN, "aes_key": WECHAT_KEY},
        "qq": {"secret": QQ_SECRET},
        "weibo": {"secret": WEIBO_SECRET},
        "kiosk": {"secret": HTTP_SECRET},
    })
}
