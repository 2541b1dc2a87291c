//! The city as the machines want it: seats, officers, grids, subscribers, keywords, trunks, accounts.
//!
//! Made from a configuration and its tables, or synthesized for the demo.

mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codecs::geo::{self, Point, parse_geojson};
use codecs::record::Role;
use codecs::sip::auth::ha1;
use switchboard::{
    Account, Category, ChannelRule, Grid, GridMap, Group, GroupId, Keyword, Orders, Patience, Policy, RegistrarRules,
    Responder, Rules, Seat, Sounds, Subscriber, Suggestions, Trunk,
};

use crate::channel;
use crate::config::{At, Config, Digest, Problem, Sink, rules};
use crate::net::crowd::Cap;

pub struct City {
    pub groups: Vec<Group>,
    pub seats: Vec<Seat>,
    pub seat_users: Vec<String>,
    pub responders: Vec<Responder>,
    /// Those who are asked in together by one name.
    pub linkages: BTreeMap<String, Vec<String>>,
    pub grids: Arc<GridMap>,
    pub default_unit: String,
    pub accounts: Vec<Account>,
    pub trunks: Vec<Trunk>,
    pub subscribers: Arc<BTreeMap<String, Subscriber>>,
    pub keywords: Vec<Keyword>,
    /// Characters that sound alike, where it matters.
    pub sounds: Sounds,
    pub suggestions: Suggestions,
    /// The kinds of incidents, by code; none: any six digits are one.
    pub categories: BTreeMap<String, Category>,
    /// What came of an alert, by code; none: whoever reports back says what they like.
    pub result_codes: BTreeMap<String, String>,
    /// Who is told of an alert.
    pub rules: Rules,
    pub channel_rules: Vec<ChannelRule>,
    /// In the same order.
    pub devices: Vec<channel::Settings>,
    pub patience: Patience,
    pub templates: BTreeMap<String, String>,
    pub policy: Policy,
    /// How long a chosen seat's tone lasts; zero: none.
    pub tone: std::time::Duration,
    pub registrar: RegistrarRules,
    /// Phones that register may stand behind a NAT.
    pub phones_nat: bool,
    /// How officers have their orders in writing.
    pub orders: Option<Orders>,
    /// Octets that one sender may have stored in a day.
    pub stored_a_day: Option<u64>,
    /// Connections of one listener.
    pub connections: Cap,
    /// Legs of all calls of the rated load.
    pub legs: usize,
    /// Messages a second that one source may send, beside calls.
    pub messages: u32,
}

/// A phone's account, its secret hashed at once under each algorithm that the realm offers.
pub fn account(user: &str, realm: &str, secret: &str, digest: Digest) -> Account {
    let ha1 = digest.algorithms().iter().map(|a| (*a, ha1(*a, user, realm, secret))).collect();
    Account { user: user.to_owned(), ha1, networks: Vec::new() }
}

/// What every phone of the city proves its secret to.
struct Realm<'a> {
    name: &'a str,
    digest: Digest,
}

impl Realm<'_> {
    fn account(&self, user: &str, secret: &str) -> Account {
        account(user, self.name, secret, self.digest)
    }
}

/// A table beside the configuration: commas, one header line, quotes where a cell has commas of its own.
struct Table {
    file: PathBuf,
    columns: csv::StringRecord,
    rows: Vec<Row>,
}

/// A line of it, from 1.
struct Row {
    line: usize,
    cells: csv::StringRecord,
}

impl Table {
    fn parse(file: &Path, text: &str, wanted: &[&str], problems: &mut Vec<Problem>) -> Table {
        let file = file.to_owned();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = csv::ReaderBuilder::new()
            .flexible(true)
            .trim(csv::Trim::All)
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        let columns = lines.headers().cloned().unwrap_or_default();
        // Of one that cannot be read nothing else is told.
        let is_unread = problems.iter().any(|p| p.code == "GW-0103" && matches!(&p.at, At::File(f) if *f == file));
        for missing in wanted.iter().filter(|w| !is_unread && !columns.iter().any(|c| c == **w)) {
            let what = format!("column `{missing}` is missing");
            problems.push(Problem { code: "GW-0220", at: At::Line(file.clone(), 1), what });
        }
        let mut rows = Vec::new();
        for record in lines.records() {
            let line = |position: Option<&csv::Position>| position.map_or(1, |p| p.line() as usize);
            let (line, what) = match record {
                Ok(cells) if cells.len() == columns.len() => {
                    rows.push(Row { line: line(cells.position()), cells });
                    continue;
                }
                Ok(cells) => {
                    let what = format!("{} cells in a table of {} columns", cells.len(), columns.len());
                    (line(cells.position()), what)
                }
                Err(error) => (line(error.position()), error.to_string()),
            };
            problems.push(Problem { code: "GW-0221", at: At::Line(file.clone(), line), what });
        }
        Table { file, columns, rows }
    }

    fn cell<'r>(&self, row: &'r Row, column: &str) -> &'r str {
        self.columns.iter().position(|c| c == column).and_then(|i| row.cells.get(i)).unwrap_or_default()
    }

    /// `true` or `false`, nothing else: whoever writes another word means something that is not understood here.
    fn flag(&self, row: &Row, column: &str, p: &mut Vec<Problem>) -> bool {
        match self.cell(row, column) {
            "true" => true,
            "false" | "" => false,
            other => {
                p.push(self.problem(row, "GW-0237", format!("{column} `{other}` is neither true nor false")));
                false
            }
        }
    }

    /// What a row is called by: one name that may stand in a path, and not that of another row.
    fn names(&self, column: &str, p: &mut Vec<Problem>) {
        let mut seen = BTreeMap::new();
        for row in &self.rows {
            let name = self.cell(row, column);
            if name.is_empty() || name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
                p.push(self.problem(row, "GW-0239", format!("{column} {name:?} is no name")));
            } else if let Some(line) = seen.insert(name, row.line) {
                p.push(self.problem(row, "GW-0222", format!("{column} `{name}` stands in line {line} already")));
            }
        }
    }

    /// The account of a row's user, who has to have a secret.
    fn account(&self, row: &Row, realm: &Realm<'_>, p: &mut Vec<Problem>) -> Account {
        let (user, secret) = (self.cell(row, "user"), self.cell(row, "secret"));
        if secret.is_empty() {
            p.push(self.problem(row, "GW-0120", format!("user `{user}` has no secret")));
        }
        realm.account(user, secret)
    }

    fn problem(&self, row: &Row, code: &'static str, what: String) -> Problem {
        Problem { code, at: At::Line(self.file.clone(), row.line), what }
    }
}

fn read(path: &Path, problems: &mut Vec<Problem>) -> String {
    crate::config::read_text(path).unwrap_or_else(|what| {
        problems.push(Problem { code: "GW-0103", at: At::File(path.to_owned()), what });
        String::new()
    })
}

/// Reads every table that the configuration names.
///
/// # Errors
/// Everything wrong in any of them, with file and line.
pub fn load(config: &Config, base: &Path) -> Result<City, Vec<Problem>> {
    let mut problems = Vec::new();
    let p = &mut problems;
    let names = Groups(config.group.keys().map(String::as_str).collect());
    let mut accounts = Vec::new();
    let realm = &Realm { name: &config.city.realm, digest: config.registrar.digest };
    let mut skills = Skills::default();
    let (seats, seat_users) =
        seats(&base.join(&config.tables.seats), |name| names.id(name), realm, &mut accounts, &mut skills, p);
    let grids = grids(&base.join(&config.tables.grids), &config.unit, p);
    let mut responders = officers(&base.join(&config.tables.officers), &grids, realm, &mut accounts, p);
    responders.extend(rooms(config, base, realm, &mut accounts, p));
    let linkages = linkages(config, &responders, p);
    let telephones = responders.iter().filter(|r| r.role == Role::Officer).map(|r| (r.no.clone(), r.phone.clone()));
    let telephones: Vec<(String, String)> = telephones.collect();
    let trunks = trunks(config, &names, &grids, &mut skills, p);
    let subscribers = config.tables.subscribers.as_ref().map(|f| subscribers(&base.join(f), p)).unwrap_or_default();
    let codes = config.tables.result_codes.as_ref();
    let result_codes = codes.map(|f| self::result_codes(&base.join(f), p)).unwrap_or_default();
    let words::Words { keywords, sounds, suggestions, categories } = words::read(config, base, p);
    let chain = |unit: &String| grids.chain(unit).map(str::to_owned).collect();
    let units = |s: &Sink| s.unit.as_ref().map(chain).unwrap_or_default();
    let targets = config.sink.values().filter_map(|s| Some((s.target.as_deref()?, units(s)))).collect();
    let rules = config.tables.rules.as_ref().map(|f| rules::read(&base.join(f), &targets, p)).unwrap_or_default();
    let (channel_rules, devices) = channels(config, base, &names, &grids, &mut skills, p);
    if skills.0.len() > SKILLS_MAX {
        let what = format!("{} names of skills; {SKILLS_MAX} can be told apart", skills.0.len());
        p.push(Problem { code: "GW-0238", at: At::File(base.join(&config.tables.seats)), what });
    }
    let mut seen = BTreeSet::new();
    for twice in accounts.iter().filter(|a| !seen.insert(a.user.clone())) {
        let what = format!("SIP user `{}` is given out twice", twice.user);
        p.push(Problem { code: "GW-0222", at: At::Key("tables".into()), what });
    }
    let city = City {
        groups: groups(config, &names),
        seats,
        seat_users,
        responders,
        linkages,
        grids: Arc::new(grids),
        default_unit: config.city.unit.clone(),
        accounts,
        trunks,
        subscribers: Arc::new(subscribers),
        keywords,
        sounds,
        suggestions,
        categories,
        orders: config.orders.as_ref().map(|o| Orders::new(o.channel.clone(), telephones, result_codes.clone())),
        result_codes,
        rules,
        channel_rules,
        devices,
        patience: Patience {
            join_within: config.conversation.join_within.0,
            parts_within: config.conversation.parts_within.0,
            idle: config.conversation.idle.0,
        },
        templates: config.template.clone(),
        policy: policy(config),
        tone: config.answer.tone.0,
        registrar: RegistrarRules {
            digest: config.registrar.digest.algorithms().to_vec(),
            max_expires: config.registrar.max_expires.0,
        },
        phones_nat: config.registrar.nat,
        connections: config.limits.connections(),
        legs: config.limits.calls * config.limits.legs,
        messages: config.limits.messages,
        stored_a_day: Some(config.limits.stored_a_day_mb * 1024 * 1024).filter(|most| *most > 0),
    };
    if problems.is_empty() { Ok(city) } else { Err(problems) }
}

/// Names of groups, in the order of their numbers.
struct Groups<'a>(Vec<&'a str>);

impl Groups<'_> {
    fn id(&self, name: &str) -> Option<GroupId> {
        self.0.iter().position(|g| *g == name).map(|i| GroupId(i as u32))
    }
}

fn groups(config: &Config, names: &Groups<'_>) -> Vec<Group> {
    let group = |(name, g): (&String, &crate::config::Group)| Group {
        name: name.clone(),
        overflow: g.overflow.as_deref().and_then(|o| names.id(o)),
        wrap_up: g.wrap_up.0,
        floors: [g.floor.life_threat, g.floor.silent, g.floor.sms, g.floor.other],
        conversation_answers_within: g.conversation_answers_within.0,
    };
    config.group.iter().map(group).collect()
}

fn policy(config: &Config) -> Policy {
    Policy {
        tone: !config.answer.tone.0.is_zero(),
        seat_answers_within: config.answer.seat_answers_within.0,
        triage_grace: config.answer.triage_grace.0,
        ..Policy::default()
    }
}

/// The duty rooms of all units, and the agencies.
fn rooms(
    config: &Config,
    base: &Path,
    realm: &Realm<'_>,
    accounts: &mut Vec<Account>,
    p: &mut Vec<Problem>,
) -> Vec<Responder> {
    let mut rooms = Vec::new();
    let mut account = |key: String, user: &str, secret: &Option<crate::config::Secret>| {
        let Some(secret) = secret.as_ref().filter(|_| !user.is_empty()) else { return };
        match secret.resolve(base) {
            Ok(secret) => accounts.push(realm.account(user, &secret)),
            Err(what) => p.push(Problem { code: "GW-0120", at: At::Key(format!("{key}.secret")), what }),
        }
    };
    for (code, unit) in &config.unit {
        account(format!("unit.{code}"), &unit.user, &unit.secret);
        let room = room(code, &unit.name, &unit.user, &unit.phone, &config.city.unit);
        rooms.push(Responder { lines: unit.lines, ..room });
    }
    for (no, a) in &config.agency {
        account(format!("agency.{no}"), &a.user, &a.secret);
        rooms.push(Responder { lines: a.lines, ..agency(no, &a.name, &a.user, &a.phone) });
    }
    rooms
}

/// Each name of a linkage is somebody's, and no linkage is called as somebody is.
fn linkages(config: &Config, responders: &[Responder], p: &mut Vec<Problem>) -> BTreeMap<String, Vec<String>> {
    let known: BTreeSet<&str> = responders.iter().map(|r| &*r.no).collect();
    for agency in config.agency.keys() {
        if responders.iter().filter(|r| r.no == *agency).count() > 1 {
            let what = format!("agency.{agency}: an officer has this number");
            p.push(Problem { code: "GW-0254", at: At::Key(format!("agency.{agency}")), what });
        }
    }
    for (name, linkage) in &config.linkage {
        let at = || At::Key(format!("linkage.{name}"));
        if known.contains(name.as_str()) || linkage.to.is_empty() {
            let what = format!("linkage.{name}: nobody is in it, or somebody is called so");
            p.push(Problem { code: "GW-0254", at: at(), what });
        }
        for unknown in linkage.to.iter().filter(|to| !known.contains(to.as_str())) {
            let what = format!("linkage.{name}: `{unknown}` is no agency, unit or officer");
            p.push(Problem { code: "GW-0254", at: at(), what });
        }
    }
    config.linkage.iter().map(|(name, linkage)| (name.clone(), linkage.to.clone())).collect()
}

/// A default grid that is in no table is a mistake at its key.
fn check_grid(grids: &GridMap, grid: Option<&String>, table: &str, p: &mut Vec<Problem>) {
    if let Some(grid) = grid.filter(|g| grids.get(g).is_none()) {
        let what = format!("default_grid `{grid}` is not in the grid table");
        p.push(Problem { code: "GW-0213", at: At::Key(format!("{table}.default_grid")), what });
    }
}

fn trunks(
    config: &Config,
    names: &Groups<'_>,
    grids: &GridMap,
    skills: &mut Skills,
    p: &mut Vec<Problem>,
) -> Vec<Trunk> {
    let mut trunks = Vec::new();
    for (name, t) in &config.trunk {
        // A group that does not exist was complained of with its line.
        let Some(group) = names.id(&t.group) else { continue };
        check_grid(grids, t.default_grid.as_ref(), &format!("trunk.{name}"), p);
        let writes = |c: &&crate::config::channel::Channel| c.kind == "sip" && c.trunk.as_deref() == Some(name);
        trunks.push(Trunk {
            name: name.clone(),
            sources: t.sources.iter().map(|n| n.0).collect(),
            nat: t.nat,
            calls_max: t.calls.unwrap_or(config.limits.part(config.limits.calls)),
            new_calls_max: t.new_calls.unwrap_or(config.limits.part(config.limits.new_calls as usize) as u32),
            group,
            channel: t.channel,
            default_grid: t.default_grid.clone(),
            outbound: t.outbound,
            attendant_user: t.attendant_user.clone(),
            skills: skills.wanted(t.skill.as_ref(), &format!("trunk.{name}"), p),
            message_channel: config.channel.iter().find(|(_, c)| writes(c)).map(|(n, _)| n.clone()),
        });
    }
    trunks
}

/// Rules and devices, in the same order.
fn channels(
    config: &Config,
    base: &Path,
    names: &Groups<'_>,
    grids: &GridMap,
    skills: &mut Skills,
    p: &mut Vec<Problem>,
) -> (Vec<ChannelRule>, Vec<channel::Settings>) {
    let (mut rules, mut devices) = (Vec::new(), Vec::new());
    for (name, c) in &config.channel {
        check_grid(grids, c.default_grid.as_ref(), &format!("channel.{name}"), p);
        let seed = u64::from_le_bytes(crate::clock::random());
        let (kind, group) = match (c.device(name, base, seed), names.id(&c.group)) {
            (Ok(kind), Some(group)) => (kind, group),
            (Err(problems), _) => {
                p.extend(problems);
                continue;
            }
            (Ok(_), None) => continue,
        };
        rules.push(ChannelRule {
            name: name.clone(),
            channel: c.recorded(),
            group,
            skills: skills.wanted(c.skill.as_ref(), &format!("channel.{name}"), p),
            receipt: c.receipt_text(),
            default_grid: c.default_grid.clone(),
            user_is_phone: c.user_is_phone(),
            proves_phone: c.proves_phone,
            quota: c.quota(),
            has_template: c.template.is_some(),
            is_fetched: c.kind == "app",
        });
        devices.push(channel::Settings { name: name.clone(), kind, rate: c.rate, media_hosts: c.media_hosts.clone() });
    }
    (rules, devices)
}

/// Names of skills, each one bit.
#[derive(Default)]
struct Skills(Vec<String>);

/// The most names of skills in a city.
const SKILLS_MAX: usize = 32;

impl Skills {
    /// What somebody who comes in needs of a taker. The seats have been read: what none of them has is a mistake.
    fn wanted(&mut self, name: Option<&String>, table: &str, p: &mut Vec<Problem>) -> u32 {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return 0 };
        if !self.0.contains(name) {
            let what = format!("no seat has the skill `{name}`; there are: {}", self.0.join(", "));
            p.push(Problem { code: "GW-0243", at: At::Key(format!("{table}.skill")), what });
        }
        self.bit(name)
    }

    fn bit(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.0.iter().position(|s| s == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        1u32.checked_shl(at as u32).unwrap_or(0)
    }
}

/// A duty room on the ladder.
pub fn room(code: &str, name: &str, user: &str, phone: &str, city: &str) -> Responder {
    Responder {
        no: code.to_owned(),
        name: name.to_owned(),
        role: if code == city { Role::Superior } else { Role::Unit },
        unit: code.to_owned(),
        grids: Vec::new(),
        user: user.to_owned(),
        phone: phone.to_owned(),
        on_duty: true,
        lines: 1,
    }
}

/// Somebody who is asked into calls and is not of the police: on no ladder.
pub fn agency(no: &str, name: &str, user: &str, phone: &str) -> Responder {
    Responder { role: Role::Agency, unit: name.to_owned(), ..room(no, name, user, phone, "") }
}

fn seats(
    file: &Path,
    group_id: impl Fn(&str) -> Option<GroupId>,
    realm: &Realm<'_>,
    accounts: &mut Vec<Account>,
    skills: &mut Skills,
    p: &mut Vec<Problem>,
) -> (Vec<Seat>, Vec<String>) {
    let text = read(file, p);
    let table =
        Table::parse(file, &text, &["id", "name", "group", "skills", "kind", "user", "secret", "max_threads"], p);
    let (mut seats, mut users) = (Vec::new(), Vec::new());
    for row in &table.rows {
        let cell = |c| table.cell(row, c);
        let Some(group) = group_id(cell("group")) else {
            p.push(table.problem(
                row,
                "GW-0210",
                format!("group `{}` of seat {} does not exist", cell("group"), cell("id")),
            ));
            continue;
        };
        if cell("kind") != "sip" {
            p.push(table.problem(
                row,
                "GW-0223",
                format!("kind `{}` is unknown; this gateway knows sip", cell("kind")),
            ));
        }
        seats.push(Seat {
            id: cell("id").into(),
            name: cell("name").into(),
            group,
            preferred: cell("skills").split(' ').any(|s| s == "preferred"),
            skills: cell("skills").split(' ').filter(|s| *s != "preferred").fold(0, |bits, s| bits | skills.bit(s)),
            max_threads: threads(cell("max_threads")).unwrap_or_else(|| {
                let what = format!("max_threads `{}` is not 1 to 1000", cell("max_threads"));
                p.push(table.problem(row, "GW-0236", what));
                0
            }),
        });
        users.push(cell("user").to_owned());
        accounts.push(table.account(row, realm, p));
    }
    table.names("id", p);
    (seats, users)
}

/// How many conversations a seat may have at one time.
fn threads(cell: &str) -> Option<usize> {
    cell.parse().ok().filter(|n| (1..=1000).contains(n))
}

/// Corners of a grid's line; what two of its sides do is looked at for each pair.
const CORNERS_MAX: usize = 10_000;

fn grids(file: &Path, units: &BTreeMap<String, crate::config::Unit>, p: &mut Vec<Problem>) -> GridMap {
    let text = read(file, p);
    let features = parse_geojson(&text).unwrap_or_else(|what| {
        p.push(Problem { code: "GW-0224", at: At::File(file.to_owned()), what });
        Vec::new()
    });
    let (mut grids, mut seen) = (Vec::new(), BTreeSet::new());
    for (i, feature) in features.into_iter().enumerate() {
        let text = |key: &str| feature.properties.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let (id, unit) = (text("grid_id"), text("unit"));
        if id.is_empty() || !units.contains_key(&unit) {
            let what =
                format!("feature {i}: grid_id `{id}`, unit `{unit}`: both must be there, and the unit in [unit.…]");
            p.push(Problem { code: "GW-0225", at: At::File(file.to_owned()), what });
        }
        let rings = || feature.areas.iter().flat_map(|a| &a.rings);
        if let Some(ring) = rings().find(|ring| ring.len() > CORNERS_MAX) {
            let what = format!("feature {i}: grid_id `{id}`: a line of {} corners", ring.len());
            p.push(Problem { code: "GW-0244", at: At::File(file.to_owned()), what });
        } else if let Some(at) = rings().find_map(|ring| geo::crossing(ring)) {
            let what = format!("feature {i}: grid_id `{id}`: its line crosses itself near {} {}", at.lon, at.lat);
            p.push(Problem { code: "GW-0244", at: At::File(file.to_owned()), what });
        }
        if !seen.insert(id.clone()) {
            let what = format!("feature {i}: grid_id `{id}` stands in an earlier one already");
            p.push(Problem { code: "GW-0222", at: At::File(file.to_owned()), what });
        }
        grids.push(Grid::new(id, unit, feature.areas));
    }
    let superiors = units.iter().filter_map(|(code, unit)| Some((code.clone(), unit.superior.clone()?)));
    GridMap::new(grids).with_superiors(superiors.collect())
}

fn officers(
    file: &Path,
    grids: &GridMap,
    realm: &Realm<'_>,
    accounts: &mut Vec<Account>,
    p: &mut Vec<Problem>,
) -> Vec<Responder> {
    let text = read(file, p);
    let table =
        Table::parse(file, &text, &["police_no", "name", "phone", "user", "secret", "grid_ids", "unit", "on_duty"], p);
    let mut officers = Vec::new();
    for row in &table.rows {
        let cell = |c| table.cell(row, c);
        let own: Vec<String> = cell("grid_ids").split(' ').filter(|g| !g.is_empty()).map(str::to_owned).collect();
        for unknown in own.iter().filter(|g| grids.get(g).is_none()) {
            p.push(table.problem(
                row,
                "GW-0226",
                format!("grid `{unknown}` of officer {} does not exist", cell("police_no")),
            ));
        }
        if cell("user").is_empty() && cell("phone").is_empty() {
            p.push(table.problem(
                row,
                "GW-0227",
                format!("officer {} has neither a user nor a phone", cell("police_no")),
            ));
        }
        if !cell("user").is_empty() {
            accounts.push(table.account(row, realm, p));
        }
        officers.push(Responder {
            no: cell("police_no").into(),
            name: cell("name").into(),
            role: Role::Officer,
            unit: cell("unit").into(),
            grids: own,
            user: cell("user").into(),
            phone: cell("phone").into(),
            on_duty: table.flag(row, "on_duty", p),
            lines: 1,
        });
    }
    table.names("police_no", p);
    officers
}

fn subscribers(file: &Path, p: &mut Vec<Problem>) -> BTreeMap<String, Subscriber> {
    let text = read(file, p);
    let table = Table::parse(file, &text, &["number", "name", "address", "lon", "lat"], p);
    let mut all = BTreeMap::new();
    for row in &table.rows {
        let cell = |c| table.cell(row, c);
        let at = match (cell("lon").parse::<f64>(), cell("lat").parse::<f64>()) {
            (Ok(lon), Ok(lat)) if (Point { lon, lat }).is_sane() => Some(Point { lon, lat }),
            _ if cell("lon").is_empty() && cell("lat").is_empty() => None,
            _ => {
                p.push(table.problem(row, "GW-0228", "lon and lat are not degrees".into()));
                None
            }
        };
        all.insert(
            cell("number").to_owned(),
            Subscriber { name: cell("name").into(), address: cell("address").into(), at },
        );
    }
    all
}

fn result_codes(file: &Path, p: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let text = read(file, p);
    let table = Table::parse(file, &text, &["code", "name"], p);
    let mut all = BTreeMap::new();
    for row in &table.rows {
        let (code, name) = (table.cell(row, "code").to_owned(), table.cell(row, "name").to_owned());
        if code.is_empty() || code.chars().count() > 64 || name.is_empty() || all.insert(code, name).is_some() {
            p.push(table.problem(row, "GW-0246", "a result needs a code of its own and a name".into()));
        }
    }
    all
}
