//! How long it takes to find alerts among many by what is asked of them.

use std::path::Path;
use std::process::ExitCode;

use codecs::geo::Point;
use codecs::journal::Kind;
use codecs::record::AlertNo;
use codecs::time::Wall;
use hdrhistogram::Histogram;
use loadtest::clock::Clock;
use store::disk::Files;
use store::journal::{Config, Cursor, Door as _, Journal, Reader};
use store::read_model::{self, ReadModel, Wanted, Work};
use switchboard::{Features, Similar};

use crate::lab::Scratch;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Alerts that there are.
    #[arg(long, default_value_t = 20_000)]
    alerts: u32,
    /// The longest that a question may take, in milliseconds.
    #[arg(long, default_value_t = 50)]
    within_ms: u64,
    /// How often each is asked.
    #[arg(long, default_value_t = 200)]
    times: u32,
}

/// Alerts a day.
const A_DAY: u32 = 10_000;
const UNITS: u32 = 2_000;
const WORDS: [&str; 16] = [
    "有人持刀",
    "水管爆了",
    "楼下打架",
    "被骗转账",
    "车辆追尾",
    "小区噪音",
    "老人走失",
    "浓烟冒出",
    "门口占道",
    "路灯不亮",
    "聚众讨薪",
    "电梯困人",
    "手机被抢",
    "孩子落水",
    "燃气泄漏",
    "店铺被砸",
];

/// # Errors
/// When the alerts cannot be written or read.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let scratch = Scratch::new("asked")?;
    let clock = Clock::start();
    fill(&scratch.0, args.alerts)?;
    println!("{} alerts found by what they are about, after {:.0} s", args.alerts, clock.now().as_secs_f64());
    let mut slowest = 0;
    for (name, question) in QUESTIONS {
        let mut times: Histogram<u64> = Histogram::new(3)?;
        let mut found = 0;
        for n in 0..args.times {
            let wanted = Wanted { limit: 100, ..question(n.wrapping_mul(7919), args.alerts) };
            let before = clock.now();
            found += read_model::find(&scratch.0, &wanted)?.records.len();
            times.record((clock.now() - before).as_micros() as u64)?;
        }
        let (p50, p99) = (times.value_at_quantile(0.5), times.value_at_quantile(0.99));
        slowest = slowest.max(p99);
        println!("{name:<44} p50 {p50:>6} µs  p99 {p99:>6} µs  {found} found");
        anyhow::ensure!(found > 0, "{name}: nothing is found");
    }
    let (p50, p99, found) = alike(args.alerts.min(100_000), args.times)?;
    println!("{:<44} p50 {p50:>6} µs  p99 {p99:>6} µs  {found} found", "what may be the same event, all of one day");
    Ok(if slowest <= args.within_ms * 1000 { ExitCode::SUCCESS } else { ExitCode::from(99) })
}

type Question = fn(u32, u32) -> Wanted;

const QUESTIONS: [(&str, Question); 10] = [
    ("the newest", |_, _| Wanted::default()),
    ("by state", |_, _| Wanted { state: Some("ended".into()), ..Wanted::default() }),
    ("by owner", |n, _| Wanted { owner: Some(unit(n)), ..Wanted::default() }),
    ("by owner, state and level", |n, _| Wanted {
        owner: Some(unit(n)),
        state: Some("closed".into()),
        level_at_most: Some(2),
        ..Wanted::default()
    }),
    ("by county", |n, _| Wanted { place: Some(county(n)), ..Wanted::default() }),
    ("by number", |n, all| Wanted { number: Some(phone(n % all)), ..Wanted::default() }),
    ("by words", |n, _| Wanted { words: Some(WORDS[n as usize % 16].into()), ..Wanted::default() }),
    ("by two words of one day", |n, all| Wanted {
        words: Some(format!("{} {}", WORDS[n as usize % 16], WORDS[(n as usize + 5) % 16])),
        from: Some(format!("{}T00:00:00.000000+08:00", day(n % all).1)),
        to: Some(format!("{}T23:59:59.000000+08:00", day(n % all).1)),
        ..Wanted::default()
    }),
    ("what is late", |_, _| Wanted { overdue: true, work: Some(Work::NotBegun), ..Wanted::default() }),
    ("a rare category within an area", |n, _| Wanted {
        category: Some("9500".into()),
        area: county(n)[..6].into(),
        ..Wanted::default()
    }),
];

/// Among so many that came within a day: half-percentiles of a question in microseconds, and how many were found.
fn alike(alerts: u32, times: u32) -> anyhow::Result<(u64, u64, usize)> {
    let clock = Clock::start();
    let number = |n: u32| AlertNo::mint("370400000000", 20_261_130, 1, n + 1);
    let mut all = Similar::default();
    for n in 0..alerts {
        let text: Vec<char> = text(n).chars().collect();
        let pairs: Vec<String> = text.windows(2).map(|pair| pair.iter().collect()).collect();
        let at = |n: u32| f64::from(n % 1000) / 1000.0 * 0.3;
        let features = Features {
            numbers: vec![phone(n)],
            point: Some(Point { lon: 117.4 + at(n.wrapping_mul(7919)), lat: 34.7 + at(n.wrapping_mul(104_729)) }),
            arrived: Wall(i64::from(n) * 864_000_000),
            ..Features::default()
        };
        all.note(number(n), features.with_pairs(&pairs.join(" ")));
    }
    let (mut taken, mut found): (Histogram<u64>, usize) = (Histogram::new(3)?, 0);
    for n in 0..times {
        let before = clock.now();
        found += all.like(number(n.wrapping_mul(7919) % alerts)).len();
        taken.record((clock.now() - before).as_micros() as u64)?;
    }
    Ok((taken.value_at_quantile(0.5), taken.value_at_quantile(0.99), found))
}

fn text(n: u32) -> String {
    let words = |k: u32| WORDS[(n / k.max(1)) as usize % 16];
    format!("{}，{}，在第{}号楼附近，{}", words(1), words(16), n % 300, words(3))
}

fn unit(n: u32) -> String {
    format!("3704{:02}{:03}000", n % 12, n % UNITS / 12)
}

fn county(n: u32) -> String {
    format!("3704{:02}000000", n % 12)
}

fn phone(n: u32) -> String {
    format!("138{:08}", n / 3)
}

/// The day of an alert: as numbers have it, and as instants do.
fn day(n: u32) -> (u32, String) {
    let (month, day) = (n / A_DAY / 28 % 12 + 1, n / A_DAY % 28 + 1);
    let year = 2026 + n / A_DAY / 28 / 12;
    (year * 10_000 + month * 100 + day, format!("{year}-{month:02}-{day:02}"))
}

fn record(n: u32) -> (AlertNo, String) {
    let (date, day) = day(n);
    let no = AlertNo::mint("370400000000", date, 1, n % A_DAY + 1);
    let state = ["closed", "closed", "closed", "closed", "closed", "ended", "answered"][n as usize % 7];
    let category = ["100200", "100700", "200000", "300000", "500000"][n as usize % 5];
    let category = if n.is_multiple_of(997) { "950000" } else { category };
    let (late, level) = (n.is_multiple_of(500), n % 4 + 1);
    let text = text(n);
    let timers = if late { r#"[{"name":"T5","of":"city","due":"x","breach":true}]"# } else { "[]" };
    let json = format!(
        r#"{{"id":{{"alert_no":"{no}"}},"state":"{state}","reporter":{{"phone":"{}"}},"incident":{{"category":"{category}",
        "level":{level},"text":"{text}"}},"call":{{"t":{{"arrive":"{day}T08:{:02}:00.000000+08:00"}}}},
        "route":{{"owner":"{}","jurisdiction":["370400000000","{}","{}"]}},"fanout":[{{"sent":"x"}}],"timers":{timers}}}"#,
        phone(n),
        n % 60,
        unit(n),
        county(n),
        unit(n)
    );
    (no, json)
}

fn fill(data: &Path, alerts: u32) -> anyhow::Result<()> {
    let mut journal = Journal::shut(Files::shared(), &data.join("journal"), Config::of_node(1));
    journal.open(|_| {})?;
    for n in 0..alerts {
        let (no, record) = record(n);
        let event = format!(r#"{{"specversion":"1.0","id":"{no}:1","data":{record}}}"#);
        journal.append(Wall(0), Kind::Event, event.into_bytes());
        if n % 256 == 255 || n + 1 == alerts {
            journal.commit().map_err(|trouble| anyhow::anyhow!("{trouble}"))?;
        }
    }
    let mut model = ReadModel::open(data, 0)?;
    let mut reader = Reader::new(Files::shared(), &data.join("journal"), &Cursor::default());
    while model.apply(&mut reader, journal.last_sequence())? > 0 {}
    Ok(())
}
