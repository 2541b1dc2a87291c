//! The gateway as the shell would hold it, minus the threads: shard, desk and casebook, and what passes between them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use codecs::geo::{Point, Polygon};
use codecs::record::{Channel, Role};
use codecs::sip::auth::{Algorithm, ha1};
use codecs::time::{Mono, Wall};
use sip::{Account, Binding, CallIds, Flow, Mint, Rules, Seed};
use switchboard::replay::Front;
use switchboard::route::{Route, Router};
use switchboard::{
    Casebook, CasebookConfig, ChannelRule, Desk, DeskConfig, Grid, GridMap, Group, GroupId, Keyword, KeywordTable, Own,
    Patience, Policy, QuotaRule, Responder, Seat, SerialBlock, Shard, ShardConfig, Sounds, Suggestions, ToShard, Trunk,
};

use crate::cast::{OFFICERS, PARTIES, SEATS, SELF};
use crate::clock;
use crate::phones::{REALM, SECRET, users};
use crate::rules::Rule;
use crate::writers::{CHANNELS, SILENT_WORD};

/// The longest registration that is granted; telephones refresh at half of it.
const EXPIRES: Duration = Duration::from_secs(120);
pub const PORTS: u16 = 120;
pub const UNIT: &str = "370400000000";

pub struct Gateway {
    pub router: Router,
    pub shards: Vec<Shard>,
    pub desk: Desk,
    pub casebook: Casebook,
}

fn grids() -> GridMap {
    let p = |lon: f64, lat: f64| Point { lon, lat };
    let ring = vec![p(117.0, 34.0), p(117.1, 34.0), p(117.1, 34.1), p(117.0, 34.1)];
    let grid = Grid::new("G".into(), "370402510000".into(), vec![Polygon { rings: vec![ring] }]);
    GridMap::new(vec![grid]).with_superiors([("370402510000".to_owned(), UNIT.to_owned())].into())
}

fn responders() -> Vec<Responder> {
    let one = |no: String, role, unit: &str, user: String| Responder {
        name: no.clone(),
        no,
        role,
        unit: unit.into(),
        grids: vec!["G".into()],
        user,
        phone: String::new(),
        on_duty: true,
        lines: 1,
    };
    let station = "370402510000";
    let mut all: Vec<Responder> =
        (0..OFFICERS).map(|n| one(format!("2{n:03}"), Role::Officer, station, format!("2{n:03}"))).collect();
    all.push(one(station.into(), Role::Unit, station, "u1".into()));
    all.push(one(UNIT.into(), Role::Superior, UNIT, "u2".into()));
    all
}

fn accounts() -> Vec<Account> {
    let account = |(user, _): (String, usize)| Account {
        ha1: vec![(Algorithm::Md5, ha1(Algorithm::Md5, &user, REALM, SECRET))],
        user,
        networks: Vec::new(),
    };
    users().map(account).collect()
}

fn casebook_config(grids: &Arc<GridMap>, (shards, luck): (u16, u32), broken: Option<Rule>) -> CasebookConfig {
    let keyword = |word: &str, level, silent| Keyword { word: word.into(), level, silent, ..Keyword::default() };
    let silence = broken != Some(Rule::Silence);
    let keywords =
        KeywordTable::new(vec![keyword("持刀", 2, false), keyword(SILENT_WORD, 1, silence)], &Sounds::default());
    let channel = |name: &str, channel, user_is_phone| ChannelRule {
        name: name.into(),
        channel,
        group: GroupId(0),
        skills: 0,
        receipt: Some("{no}".into()),
        default_grid: Some("G".into()),
        user_is_phone,
        proves_phone: false,
        quota: QuotaRule::default(),
        has_template: false,
        is_fetched: false,
    };
    CasebookConfig {
        rules: switchboard::Rules::default(),
        source: "/gw/sim/1".into(),
        unit: UNIT.into(),
        node: 1,
        shards,
        luck,
        suggestions: Suggestions::none(),
        keywords: keywords.expect("builds"),
        channels: vec![channel(CHANNELS[0], Channel::Sms12110, true), channel(CHANNELS[1], Channel::Wechat, false)],
        grids: Arc::clone(grids),
        subscribers: Arc::default(),
        patience: Patience {
            join_within: Duration::from_secs(60),
            parts_within: Duration::from_secs(20),
            idle: Duration::from_secs(15),
        },
        stored_a_day: None,
        orders: None,
    }
}

fn desk_config(grids: &Arc<GridMap>) -> DeskConfig {
    let seats = (0..SEATS)
        .map(|n| Seat {
            id: format!("1{n:03}"),
            name: String::new(),
            group: GroupId(0),
            preferred: false,
            skills: 0,
            max_threads: 2,
        })
        .collect();
    DeskConfig {
        groups: vec![Group {
            name: "g".into(),
            overflow: None,
            wrap_up: Duration::from_secs(1),
            floors: [0; 4],
            conversation_answers_within: Duration::from_secs(4),
        }],
        seats,
        seat_users: (0..SEATS).map(|n| format!("1{n:03}")).collect(),
        responders: responders(),
        grids: Arc::clone(grids),
        default_unit: UNIT.into(),
    }
}

fn trunk() -> Trunk {
    Trunk {
        name: "t".into(),
        sources: vec![PARTIES[0].ip().into()],
        nat: false,
        calls_max: 600,
        new_calls_max: 100,
        group: GroupId(0),
        channel: Channel::Voice110,
        default_grid: Some("G".into()),
        outbound: Some(PARTIES[0]),
        attendant_user: None,
        skills: 0,
        message_channel: None,
    }
}

impl Gateway {
    /// The shard that a media port belongs to.
    pub fn of_port(&mut self, port: u16) -> &mut Shard {
        let pairs = PORTS / self.shards.len() as u16;
        let last = self.shards.len() - 1;
        &mut self.shards[usize::from((port - 20_000) / 2 / pairs).min(last)]
    }

    /// Hands a message to whichever shards it is for.
    pub fn tell(&mut self, now: Mono, wall: Wall, message: &ToShard) {
        let to = message.route(self.shards.len() as u16);
        for (index, shard) in (0u16..).zip(&mut self.shards) {
            if to == Route::All || to == Route::To(index) {
                shard.handle_message(now, wall, message.clone());
            }
        }
    }

    /// A start, first or after a crash, as far as the journal's front tells.
    pub fn start((now, wall): (Mono, Wall), seed: Seed, shards: u16, front: &Front, broken: Option<Rule>) -> Gateway {
        let mut mint = Mint::new(seed);
        let call_ids = CallIds::new(&mint.seed(), 1);
        let router = Router::new(call_ids, &mint.seed(), shards);
        let grids = Arc::new(grids());
        let [a, b, c, d, ..] = mint.seed();
        let luck = u32::from_le_bytes([a, b, c, d]);
        let mut casebook = Casebook::new(casebook_config(&grids, (shards, luck), broken));
        let desk = Desk::new(desk_config(&grids));
        // Broken, it does not know its own media when somebody names it.
        let known = if broken == Some(Rule::OwnAddress) { IpAddr::from([10, 0, 0, 99]) } else { SELF.ip() };
        let mut shard = |index: u16| {
            let mut shard = Shard::new(ShardConfig {
                shard: index,
                shards,
                sip_address: SELF,
                rtp_address: SELF.ip(),
                own: Own { addresses: [known; 2], ports: (20_000, 20_999), sip_port: SELF.port() },
                phones_nat: false,
                shared_media: false,
                realm: REALM.into(),
                accounts: if index == 0 { accounts() } else { Vec::new() },
                registrar: Rules { digest: vec![Algorithm::Md5], max_expires: EXPIRES },
                seed: mint.seed(),
                call_ids,
                trunks: vec![trunk()],
                subscribers: Arc::default(),
                grids: Arc::clone(&grids),
                policy: Policy::default(),
                unit: UNIT.into(),
                node: 1,
                tone: vec![0xD5; 2400].into(),
                attendant: vec![0xD5; 8000].into(),
                serials: SerialBlock { from: 0, until: 0, date: 0 },
                luck,
            });
            let pairs = PORTS / shards;
            for n in 0..pairs {
                shard.grant_port(20_000 + (index * pairs + n) * 2);
            }
            shard
        };
        // Broken, it begins where the first start of the day did.
        let at = if broken == Some(Rule::SerialReservation) { clock::midnight(wall) } else { wall };
        casebook.take_front(at, front);
        for index in 0..shards {
            casebook.reserve(at, Some(index));
        }
        casebook.reserve(at, None);
        let mut shards: Vec<Shard> = (0..shards).map(&mut shard).collect();
        // Where phones were registered; broken, nobody remembers.
        for (user, kept) in front.bindings.iter().filter(|_| broken != Some(Rule::BindingsKept)) {
            let flow = Flow::udp(kept.remote);
            let binding = Binding { contact: kept.contact.clone().into_bytes(), flow, expires_at: now + EXPIRES };
            shards[0].restore_binding(now, user, binding);
        }
        Gateway { router, shards, desk, casebook }
    }

    /// Broken, the casebook's timers are looked at by nobody.
    pub fn next_timeout(&self, broken: Option<Rule>) -> Option<Mono> {
        let served = broken != Some(Rule::CasebookTimers);
        let casebook = self.casebook.poll_timeout().filter(|_| served).map(|t| t.0);
        let shards = self.shards.iter().filter_map(|s| s.poll_timeout()).map(|t| t.0);
        shards.chain(self.desk.poll_timeout().map(|t| t.0)).chain(casebook).min()
    }
}
