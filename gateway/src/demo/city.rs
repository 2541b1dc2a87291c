//! The synthetic city: twelve districts, 432 grids, seats, officers, duty rooms, and the accounts of load tools.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use codecs::geo::{Point, Polygon};
use codecs::record::{Channel, Role};
use switchboard::{
    Category, Clue, Grid, GridMap, Group, GroupId, Keyword, Patience, Policy, RegistrarRules, Responder, Seat, Sounds,
    Subscriber, Suggestions, Trunk, UnitFor,
};

use super::channels::{self, Platforms};
use crate::city::{City, account, agency, room};
use crate::config::Digest;
use crate::net::crowd::Cap;

pub(super) const UNIT: &str = "370400000000";
pub(super) const REALM: &str = "gateway.demo";
pub(super) const PASSWORD: &str = "demo";
const DISTRICTS: u32 = 12;
const GRIDS_A_DISTRICT: u32 = 36;
/// Degrees of a grid's side: about two kilometres.
const SIDE: f64 = 0.02;
const WEST: f64 = 117.40;
const SOUTH: f64 = 34.70;
const FAMILY: [&str; 10] = ["王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴"];
const GIVEN: [&str; 10] = ["伟", "芳", "娜", "敏", "静", "强", "磊", "军", "洋", "勇"];

/// Where every outside caller of trunk `loopback` is believed to be; the spare officers stand there.
pub(super) const DEFAULT_GRID: &str = "370407-019";
/// The caller of the second scene lives here; its officers do not pick up.
pub(super) const RINGING_GRID: &str = "370404-010";
pub(super) const RINGING_CALLER: &str = "06325550010";
pub(super) const KNIFE_CALLER: &str = "06325550001";
const KNIFE_GRID: &str = "370403-005";

pub(super) fn station(district: u32) -> String {
    format!("{:06}510000", 370_402 + district)
}

fn grid_id(district: u32, n: u32) -> String {
    format!("{:06}-{:03}", 370_402 + district, n + 1)
}

fn name(n: u32) -> String {
    format!("{}{}", FAMILY[(n % 10) as usize], GIVEN[(n / 10 % 10) as usize])
}

fn grids() -> GridMap {
    let mut grids = Vec::new();
    for district in 0..DISTRICTS {
        for n in 0..GRIDS_A_DISTRICT {
            // Four districts by three, each of six grids by six.
            let x = WEST + SIDE * f64::from(district % 4 * 6 + n % 6);
            let y = SOUTH + SIDE * f64::from(district / 4 * 6 + n / 6);
            grids.push(Grid::new(grid_id(district, n), station(district), vec![square(x, y)]));
        }
    }
    grids.push(Grid::new("LOAD".into(), station(0), vec![square(WEST - 1.0, SOUTH)]));
    GridMap::new(grids).with_superiors((0..DISTRICTS).map(|d| (station(d), UNIT.to_owned())).collect())
}

fn square(x: f64, y: f64) -> Polygon {
    let p = |dx: f64, dy: f64| Point { lon: x + dx, lat: y + dy };
    Polygon { rings: vec![vec![p(0.0, 0.0), p(SIDE, 0.0), p(SIDE, SIDE), p(0.0, SIDE), p(0.0, 0.0)]] }
}

/// Officers 2001 to 2290, one or two a grid of the first grids of each district; 2291 to 2300 in the default grid;
/// 4001 to 4600 in grid LOAD.
fn responders() -> Vec<Responder> {
    let officer = |no: u32, grid: String, unit: String| Responder {
        no: no.to_string(),
        name: name(no),
        role: Role::Officer,
        unit,
        grids: vec![grid],
        user: no.to_string(),
        phone: String::new(),
        on_duty: true,
        lines: 1,
    };
    let mut all = Vec::new();
    let free = (0..DISTRICTS * GRIDS_A_DISTRICT).filter(|i| grid_id(i % DISTRICTS, i / DISTRICTS) != DEFAULT_GRID);
    for (n, i) in free.cycle().take(290).enumerate() {
        let district = i % DISTRICTS;
        all.push(officer(2001 + n as u32, grid_id(district, i / DISTRICTS), station(district)));
    }
    all.extend((2291..=2300).map(|no| officer(no, DEFAULT_GRID.into(), station(5))));
    all.extend((4001..=4600).map(|no| officer(no, "LOAD".into(), station(0))));
    for district in 0..DISTRICTS {
        let code = station(district);
        let called = format!("第{}派出所值班室", district + 1);
        all.push(room(&code, &called, &format!("u{code}"), "", UNIT));
    }
    all.push(room(UNIT, "市局指挥中心", &format!("u{UNIT}"), "", UNIT));
    all.extend(AGENCIES.map(|(no, name)| Responder { lines: 8, ..agency(no, name, &format!("a{no}"), "") }));
    all
}

/// Who is asked into calls together, by the linkage of the script.
pub(super) const AGENCIES: [(&str, &str); 3] = [("119", "消防救援"), ("120", "急救中心"), ("122", "交警")];
pub(super) const LINKAGE: &str = "警医消";

/// The officers of a grid.
pub(super) fn officers_of(responders: &[Responder], grid: &str) -> Vec<String> {
    responders.iter().filter(|r| r.grids.iter().any(|g| g == grid)).map(|r| r.user.clone()).collect()
}

fn subscribers(grids: &GridMap) -> BTreeMap<String, Subscriber> {
    let at = |grid: &str| grids.get(grid).map(|g| g.middle);
    [(KNIFE_CALLER, "赵敏", "城东路 8 号", KNIFE_GRID), (RINGING_CALLER, "孙丽", "解放街 21 号", RINGING_GRID)]
        .into_iter()
        .map(|(number, name, address, grid)| {
            (number.to_owned(), Subscriber { name: name.into(), address: address.into(), at: at(grid) })
        })
        .collect()
}

fn keywords() -> Vec<Keyword> {
    [
        ("杀人", 1, "100400"),
        ("持刀", 2, "100200"),
        ("绑架", 1, "101000"),
        ("爆炸", 1, "100800"),
        ("抢劫", 2, "100200"),
        ("跳楼", 2, "500100"),
        ("着火", 2, "400100"),
        ("诈骗", 3, "100700"),
    ]
    .into_iter()
    .map(|(word, level, category)| Keyword {
        word: word.into(),
        level,
        category: Some(category.into()),
        silent: word == "绑架",
        by_sound: false,
    })
    .collect()
}

/// Kinds of incidents, with the words that speak for them.
fn categories() -> BTreeMap<String, Category> {
    let whose = |name: &str, handled_by, supervised_by| Category { name: name.into(), handled_by, supervised_by };
    BTreeMap::from([
        ("100200".into(), whose("抢劫", UnitFor::Station, UnitFor::County)),
        ("100700".into(), whose("诈骗", UnitFor::Station, UnitFor::City)),
        ("200100".into(), whose("交通事故", UnitFor::Station, UnitFor::County)),
        ("400100".into(), whose("火灾", UnitFor::Station, UnitFor::County)),
    ])
}

fn suggestions() -> Suggestions {
    let clue = |(word, category, percent): (&str, &str, u8)| Clue {
        word: word.into(),
        category: category.into(),
        percent,
        by_sound: false,
    };
    let clues = [
        ("转账", "100700", 60),
        ("验证码", "100700", 70),
        ("客服", "100700", 40),
        ("刷单", "100700", 80),
        ("撞车", "200100", 80),
        ("追尾", "200100", 90),
        ("浓烟", "400100", 80),
    ];
    Suggestions::new(clues.map(clue).into(), categories(), &Sounds::default()).unwrap_or_else(|_| Suggestions::none())
}

/// Seats of the call takers.
fn seats() -> Vec<Seat> {
    let mut seats = Vec::new();
    let mut add = |from: u32, to: u32, group: u32, preferred: bool| {
        for id in from..=to {
            seats.push(Seat {
                id: id.to_string(),
                name: name(id),
                group: GroupId(group),
                preferred,
                skills: 0,
                max_threads: 4,
            });
        }
    };
    add(1001, 1060, 0, false);
    // Real phones come first.
    add(1061, 1064, 0, true);
    add(1101, 1104, 1, false);
    add(1201, 1202, 2, false);
    add(3001, 3600, 3, false);
    seats
}

/// The whole city with both sets of platforms; `outbound` is where its trunk `demo` takes outgoing calls.
pub(super) fn city(outbound: SocketAddr, script: Platforms, load: Platforms) -> City {
    let group = |name: &str, overflow: Option<u32>| Group {
        name: name.into(),
        overflow: overflow.map(GroupId),
        wrap_up: Duration::ZERO,
        floors: [0, 0, 1, 1],
        conversation_answers_within: Duration::from_secs(8),
    };
    let groups = vec![group("default", None), group("script", Some(2)), group("reserve", None), group("load", None)];
    let seats = seats();
    let seat_users: Vec<String> = seats.iter().map(|s| s.id.clone()).collect();
    let responders = responders();
    let users = seat_users.iter().chain(responders.iter().map(|r| &r.user));
    // MD5 alone, for the softphones that give up at the sight of anything else.
    let digest = Digest::Md5;
    let accounts = users.map(|u| account(u, REALM, PASSWORD, digest)).collect();
    let grids = grids();
    let source = |network: &str| vec![network.parse().expect("a network")];
    let trunk = |name: &str, sources, group, grid: &str, outbound| Trunk {
        name: name.into(),
        sources,
        group: GroupId(group),
        channel: Channel::Voice110,
        default_grid: Some(grid.into()),
        outbound,
        attendant_user: Some("bench".into()),
        skills: 0,
        message_channel: (name == "loopback").then(|| "ims".into()),
        nat: false,
        // A source in 127.0.0.0/8 may use the whole of what the demo is rated for, and load tools more.
        calls_max: 12_000,
        new_calls_max: 20_000,
    };
    let trunks = vec![
        trunk("loopback", source("127.0.0.0/8"), 0, DEFAULT_GRID, None),
        trunk("demo", source("127.0.0.10/32"), 1, KNIFE_GRID, Some(outbound)),
        trunk("load", source("127.0.0.3/32"), 3, "LOAD", None),
    ];
    let mut channels = channels::set("", 3, "LOAD", load);
    channels.extend(channels::set("script-", 1, KNIFE_GRID, script));
    channels.push(channels::sip("ims", "loopback", 0, DEFAULT_GRID));
    channels.push(channels::app("app", 0, DEFAULT_GRID));
    channels.push(channels::app("script-app", 1, KNIFE_GRID));
    channels.push(channels::app("load-app", 3, "LOAD"));
    let (channel_rules, devices) = channels.into_iter().unzip();
    let template = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
    let templates = [("where", "您在哪里?请发送位置。"), ("coming", "民警已出发,请注意安全。")].map(template).into();
    City {
        groups,
        seats,
        seat_users,
        responders,
        linkages: [(LINKAGE.to_owned(), AGENCIES.map(|(no, _)| no.to_owned()).into())].into(),
        default_unit: UNIT.into(),
        accounts,
        trunks,
        subscribers: Arc::new(subscribers(&grids)),
        grids: Arc::new(grids),
        keywords: keywords(),
        sounds: Sounds::default(),
        suggestions: suggestions(),
        categories: BTreeMap::new(),
        result_codes: BTreeMap::new(),
        rules: super::fraud::rules(),
        channel_rules,
        devices,
        patience: Patience::default(),
        templates,
        policy: Policy::default(),
        tone: Duration::from_millis(300),
        registrar: RegistrarRules { digest: digest.algorithms().to_vec(), ..RegistrarRules::default() },
        phones_nat: true,
        legs: 600 * 3,
        messages: 5000,
        connections: Cap { all: 2000, share: 2000, whole: Vec::new() },
        orders: None,
        stored_a_day: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_city_has_its_size_and_every_grid_finds_itself() {
        let load = Platforms::of_load(0);
        let address = "127.0.0.1:1".parse().expect("an address");
        let city = city(address, Platforms::of_script(address, address), load);
        assert!(city.grids.iter().count() > 400);
        for grid in city.grids.iter() {
            assert_eq!(city.grids.at(grid.middle).map(|g| &g.id), Some(&grid.id));
        }
        assert!(!officers_of(&city.responders, RINGING_GRID).is_empty());
        assert_eq!(officers_of(&city.responders, DEFAULT_GRID).len(), 10);
    }
}
