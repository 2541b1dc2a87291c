//! The table of the fan-out: who is told of an alert, in which order, what is expected of them, and cases that prove it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use codecs::record::{Assessment, Channel, Flag, IncidentKind, Stamp, Validity};
use serde::Deserialize;
use switchboard::{Calendar, Matter, Rule, Rules, When};
use toml::Spanned;

use super::{At, Problem, Span};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<RuleRow>>,
    #[serde(default)]
    case: Vec<Spanned<CaseRow>>,
    major: Option<Spanned<MajorRow>>,
    calendar: Option<Spanned<CalendarRow>>,
}

/// Which days are worked on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CalendarRow {
    /// Days of the week without work: 1 Monday … 7 Sunday.
    weekend: Vec<u8>,
    holidays: Vec<String>,
    /// Worked on though they fall on a weekend.
    working: Vec<String>,
}

impl Default for CalendarRow {
    fn default() -> CalendarRow {
        CalendarRow { weekend: vec![6, 7], holidays: Vec::new(), working: Vec::new() }
    }
}

impl CalendarRow {
    fn calendar(&self) -> Result<Calendar, String> {
        if let Some(day) = self.weekend.iter().find(|day| !(1..=7).contains(*day)) {
            return Err(format!("calendar: weekend has day {day}; there are 1 Monday to 7 Sunday"));
        }
        let dates = |all: &[String]| all.iter().map(|text| date(text)).collect::<Result<BTreeSet<u32>, String>>();
        let (holidays, working) = (dates(&self.holidays)?, dates(&self.working)?);
        if let Some(both) = holidays.intersection(&working).next() {
            return Err(format!("calendar: {both} is a holiday and worked on"));
        }
        let weekend: BTreeSet<u8> = self.weekend.iter().copied().collect();
        if weekend.len() == 7 {
            return Err("calendar: the whole week is a weekend".into());
        }
        Ok(Calendar { weekend, holidays, working })
    }
}

/// `2026-10-01` as a number has it.
fn date(text: &str) -> Result<u32, String> {
    let is_date = Stamp::from_rfc3339(&format!("{text}T00:00:00+08:00")).filter(|_| text.len() == 10);
    is_date.map(|stamp| stamp.0.beijing_date()).ok_or_else(|| format!("calendar: `{text}` is no date like 2026-10-01"))
}

/// What is led as a major alert by itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MajorRow {
    level_at_most: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleRow {
    name: String,
    #[serde(default)]
    category: Vec<String>,
    #[serde(default)]
    kind: Vec<IncidentKind>,
    level_at_most: Option<u8>,
    #[serde(default)]
    flag: Vec<Flag>,
    #[serde(default)]
    channel: Vec<Channel>,
    #[serde(default)]
    untriaged: bool,
    /// While it is led as a major alert.
    #[serde(default)]
    major: bool,
    tell: Vec<Vec<String>>,
    first_within: Option<Span>,
    receipt_within: Option<Span>,
    /// Who has to sign; none named: all of them.
    #[serde(default)]
    signers: Vec<String>,
    sign_within: Option<Span>,
    instruct_within: Option<Span>,
    respond_within: Option<Span>,
    arrive_within: Option<Span>,
    feed_back_within: Option<Span>,
    /// Whole days of what can wait are working days, by `[calendar]`.
    #[serde(default)]
    working_days: bool,
}

/// What goes in, and who has to be told of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseRow {
    name: String,
    kind: Option<IncidentKind>,
    category: Option<String>,
    level: Option<u8>,
    #[serde(default)]
    flag: Vec<Flag>,
    #[serde(default = "by_telephone")]
    channel: Channel,
    #[serde(default)]
    validity: Validity,
    complaint_of: Option<String>,
    #[serde(default)]
    major: bool,
    told: Vec<Vec<String>>,
}

fn by_telephone() -> Channel {
    Channel::Voice110
}

/// Targets that sinks tell, with the units whose they are: their own, and those above it.
pub type Targets<'a> = BTreeMap<&'a str, Vec<String>>;

/// Reads the table. `targets`: what sinks there are to tell them.
pub fn read(file: &Path, targets: &Targets<'_>, problems: &mut Vec<Problem>) -> Rules {
    let text = match super::read_text(file) {
        Ok(text) => text,
        Err(error) => {
            let at = At::File(file.to_owned());
            problems.push(Problem { code: "GW-0103", at, what: error.to_string() });
            return Rules::default();
        }
    };
    let line = |at: usize| At::Line(file.to_owned(), super::source::line_of(&text, at));
    let rows: File = match toml::from_str(&text) {
        Ok(rows) => rows,
        Err(error) => {
            let at = line(error.span().map_or(0, |s| s.start));
            problems.push(Problem { code: "GW-0250", at, what: error.message().to_owned() });
            return Rules::default();
        }
    };
    let units = targets.iter().map(|(target, units)| ((*target).to_owned(), units.clone())).collect();
    if let Some(row) = rows.major.as_ref().filter(|row| !(1..=4).contains(&row.get_ref().level_at_most)) {
        let what = "major: level_at_most is 1 to 4".to_owned();
        problems.push(Problem { code: "GW-0250", at: line(row.span().start), what });
    }
    let major_at = rows.major.map(|row| row.into_inner().level_at_most);
    let calendar = rows.calendar.as_ref().map(|row| (row.span().start, row.get_ref().calendar()));
    let calendar = calendar.and_then(|(at, read)| match read {
        Ok(calendar) => Some(calendar),
        Err(what) => {
            problems.push(Problem { code: "GW-0250", at: line(at), what });
            None
        }
    });
    let mut rules = Rules { all: Vec::new(), units, major_at, calendar: calendar.unwrap_or_default() };
    let targets: &Vec<&str> = &targets.keys().copied().collect();
    for row in rows.rule {
        let at = row.span().start;
        let row = row.into_inner();
        for what in wrong(&row, targets, &rules) {
            let what = format!("rule `{}`: {what}", row.name);
            problems.push(Problem { code: "GW-0250", at: line(at), what });
        }
        rules.all.push(rule(row));
    }
    let told: BTreeSet<&String> = rules.all.iter().flat_map(|rule| rule.stages.iter().flatten()).collect();
    if told.len() > TARGETS_MAX {
        let what = format!("the rules tell {} targets; {TARGETS_MAX} have room in a record", told.len());
        problems.push(Problem { code: "GW-0250", at: line(0), what });
    }
    for case in rows.case {
        let at = case.span().start;
        if let Some(what) = case_wrong(case.get_ref()) {
            let what = format!("case `{}`: {what}", case.get_ref().name);
            problems.push(Problem { code: "GW-0251", at: line(at), what });
        }
        if let Some(what) = fails(&rules, case.get_ref()) {
            let what = format!("case `{}`: {what}", case.get_ref().name);
            problems.push(Problem { code: "GW-0251", at: line(at), what });
        }
    }
    rules
}

/// The most stages of a rule, and targets of all rules: a record has room for as many.
const STAGES_MAX: usize = 16;
const TARGETS_MAX: usize = 32;
/// Sooner than this nobody can do anything, and later than this nobody waits for it.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(90 * 24 * 3600);

/// What is wrong with a rule: all of it.
fn wrong(row: &RuleRow, targets: &[&str], before: &Rules) -> Vec<String> {
    let mut all = Vec::new();
    if row.name.trim().is_empty() || row.name.chars().count() > 64 {
        all.push("a name is 1 to 64 characters".into());
    }
    if before.all.iter().any(|rule| rule.name == row.name) {
        all.push("there is another of this name".into());
    }
    let is_begin = |c: &&String| (1..=6).contains(&c.len()) && c.bytes().all(|b| b.is_ascii_digit());
    let odd = row.category.iter().filter(|c| !is_begin(c));
    all.extend(odd.map(|c| format!("`{c}` is no category, nor how one begins: one to six digits")));
    if row.level_at_most.is_some_and(|l| !(1..=4).contains(&l)) {
        all.push("level_at_most is 1 to 4".into());
    }
    if row.channel.contains(&Channel::Test) {
        all.push("a test is told to nobody: channel `test` never holds".into());
    }
    if row.tell.is_empty() || row.tell.iter().any(Vec::is_empty) {
        all.push("`tell` has no target, or a stage without one".into());
    }
    if row.tell.len() > STAGES_MAX {
        all.push(format!("at most {STAGES_MAX} stages"));
    }
    let told: Vec<&String> = row.tell.iter().flatten().collect();
    let twice = told.iter().enumerate().filter(|(n, target)| told[..*n].contains(target));
    all.extend(twice.map(|(_, target)| format!("`{target}` is named twice: it is told once, by its first stage")));
    let known = if targets.is_empty() { "none".to_owned() } else { targets.join(", ") };
    let unknown = told.iter().filter(|target| !targets.contains(&target.as_str()));
    all.extend(unknown.map(|target| format!("no sink has the target `{target}`; there are: {known}")));
    let strangers = row.signers.iter().filter(|s| !told.contains(s));
    all.extend(strangers.map(|stranger| format!("`{stranger}` has to sign, and is not told")));
    times_wrong(row, &mut all);
    all
}

/// Times that cannot be kept, or that wait for what never comes.
fn times_wrong(row: &RuleRow, all: &mut Vec<String>) {
    let times = [
        ("first_within", row.first_within),
        ("receipt_within", row.receipt_within),
        ("sign_within", row.sign_within),
        ("instruct_within", row.instruct_within),
        ("respond_within", row.respond_within),
        ("arrive_within", row.arrive_within),
        ("feed_back_within", row.feed_back_within),
    ];
    let odd = times.iter().filter(|(_, t)| t.is_some_and(|t| !(SOONEST..=LATEST).contains(&t.0)));
    all.extend(odd.map(|(name, _)| format!("{name} is 100ms to 90d")));
    for (name, is_there, needs, has) in [
        ("signers", !row.signers.is_empty(), "sign_within", row.sign_within.is_some()),
        ("instruct_within", row.instruct_within.is_some(), "sign_within", row.sign_within.is_some()),
    ] {
        if is_there && !has {
            all.push(format!("{name} without {needs}: nobody has to sign"));
        }
    }
}

fn rule(row: RuleRow) -> Rule {
    let when = When {
        categories: row.category,
        kinds: row.kind,
        level_at_most: row.level_at_most,
        flags: row.flag,
        channels: row.channel,
        untriaged: row.untriaged,
        major: row.major,
    };
    let as_usual = Rule::new(&row.name, when, row.tell);
    let span = |span: Option<Span>| span.map(|s| s.0);
    Rule {
        first_within: span(row.first_within).unwrap_or(as_usual.first_within),
        receipt_within: span(row.receipt_within).unwrap_or(as_usual.receipt_within),
        signers: row.signers,
        sign_within: span(row.sign_within),
        instruct_within: span(row.instruct_within),
        respond_within: span(row.respond_within),
        arrive_within: span(row.arrive_within),
        feed_back_within: span(row.feed_back_within),
        working_days: row.working_days,
        ..as_usual
    }
}

/// What no triage could say.
fn case_wrong(case: &CaseRow) -> Option<&'static str> {
    let said = Assessment { category: case.category.clone(), level: case.level, ..Assessment::default() };
    said.fault()
}

/// How a case comes out otherwise than it says.
fn fails(rules: &Rules, case: &CaseRow) -> Option<String> {
    let matter = Matter {
        kind: case.kind,
        category: case.category.as_deref(),
        level: case.level,
        flags: &case.flag,
        channel: case.channel,
        validity: case.validity,
        complaint_of: case.complaint_of.as_deref(),
        major: case.major,
    };
    let mut told: Vec<Vec<&str>> = Vec::new();
    let mut last = 0;
    for planned in rules.plan(&matter) {
        if planned.order != last {
            told.push(Vec::new());
            last = planned.order;
        }
        if let Some(stage) = told.last_mut() {
            stage.push(planned.target);
        }
    }
    told.iter_mut().for_each(|stage| stage.sort_unstable());
    let mut wanted: Vec<Vec<&str>> = case.told.iter().map(|s| s.iter().map(String::as_str).collect()).collect();
    wanted.iter_mut().for_each(|stage| stage.sort_unstable());
    (told != wanted).then(|| format!("is told {told:?}, and not {wanted:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Rules, Vec<String>) {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("gw-rules-{}-{n}.toml", std::process::id()));
        std::fs::write(&file, text).expect("written");
        let mut problems = Vec::new();
        let station = vec!["370402510000".to_owned(), "370400000000".to_owned()];
        let targets = Targets::from([("anti_fraud", Vec::new()), ("city", station)]);
        let rules = read(&file, &targets, &mut problems);
        std::fs::remove_file(&file).expect("removed");
        let told = problems.iter().map(|p| match &p.at {
            At::Line(_, line) => format!("{line}: {} {}", p.code, p.what),
            At::File(_) | At::Key(_) => p.what.clone(),
        });
        (rules, told.collect())
    }

    #[test]
    fn a_table_is_read_and_its_cases_are_run() {
        let (rules, problems) = of("[[rule]]\nname = \"fraud\"\ncategory = [\"1009\"]\n\
             tell = [[\"anti_fraud\"], [\"city\"]]\nsign_within = \"30s\"\n\n\
             [[case]]\nname = \"right\"\nkind = \"report\"\ncategory = \"100901\"\n\
             told = [[\"anti_fraud\"], [\"city\"]]\n\n\
             [[case]]\nname = \"wrong\"\nkind = \"report\"\ncategory = \"100901\"\ntold = [[\"city\"]]\n");
        assert_eq!(rules.all[0].sign_within, Some(std::time::Duration::from_secs(30)));
        assert_eq!(rules.all[0].first_within, std::time::Duration::from_secs(1), "where nothing is said");
        let said = r#"13: GW-0251 case `wrong`: is told [["anti_fraud"], ["city"]], and not [["city"]]"#;
        assert_eq!(problems, [said]);
    }

    #[test]
    fn whoever_is_complained_of_and_whoever_is_below_them_is_told_nothing() {
        let rule =
            "[[rule]]\nname = \"complaint\"\nkind = [\"police_complaint\"]\ntell = [[\"city\"], [\"anti_fraud\"]]\n";
        let case = |of: &str, told: &str| {
            format!("[[case]]\nname = \"{of}\"\nkind = \"police_complaint\"\ncomplaint_of = \"{of}\"\ntold = {told}\n")
        };
        let (own, above) = (case("370402510000", "[[\"anti_fraud\"]]"), case("370400000000", "[[\"anti_fraud\"]]"));
        let other = case("370403510000", "[[\"city\"], [\"anti_fraud\"]]");
        assert_eq!(of(&format!("{rule}{own}{above}{other}")).1, Vec::<String>::new());
    }

    #[test]
    fn a_rule_of_major_alerts_holds_while_it_is_led_as_one() {
        let table = |level: u8| {
            format!(
                "[major]\nlevel_at_most = {level}\n\
                 [[rule]]\nname = \"all\"\ntell = [[\"city\"]]\n\
                 [[rule]]\nname = \"major\"\nmajor = true\ntell = [[\"anti_fraud\"]]\n\
                 [[case]]\nname = \"no\"\nkind = \"report\"\ntold = [[\"city\"]]\n\
                 [[case]]\nname = \"yes\"\nkind = \"report\"\nmajor = true\ntold = [[\"city\", \"anti_fraud\"]]\n"
            )
        };
        let (rules, problems) = of(&table(1));
        assert_eq!((rules.major_at, problems), (Some(1), Vec::new()));
        let problems = of(&table(9)).1;
        assert!(problems.len() == 1 && problems[0].contains("1 to 4"), "{problems:?}");
    }

    #[test]
    fn all_mistakes_of_a_rule_are_told_at_once_and_what_no_case_can_say_too() {
        let (_, problems) =
            of("[[rule]]\nname = \"\"\ntell = [[\"x\"], []]\nlevel_at_most = 9\nsign_within = \"0s\"\n\
             [[case]]\nname = \"c\"\nkind = \"report\"\nlevel = 9\ntold = []\n");
        assert!(problems.len() >= 5 && problems.iter().any(|p| p.contains("level is 1 to 4")), "{problems:#?}");
    }

    #[test]
    fn what_no_rule_can_mean_is_told_with_its_line() {
        for (text, what) in [
            ("name = \"a\"\ntell = [[\"nobody\"]]", "no sink has the target `nobody`; there are: anti_fraud, city"),
            ("name = \"a\"\ntell = []", "no target"),
            ("name = \"a\"\ntell = [[]]", "no target"),
            ("name = \"a\"\ntell = [[\"city\"]]\ncategory = [\"fraud\"]", "`fraud` is no category"),
            ("name = \"a\"\ntell = [[\"city\"]]\nlevel_at_most = 5", "level_at_most is 1 to 4"),
            (
                "name = \"a\"\ntell = [[\"city\"]]\nsigners = [\"station\"]\nsign_within = \"9s\"",
                "`station` has to sign, and is not told",
            ),
            ("name = \"a\"\ntell = [[\"city\"]]\nsign_within = \"soon\"", "soon"),
            ("name = \"a\"\ntell = [[\"city\"]]\n[[rule]]\nname = \"a\"\ntell = [[\"city\"]]", "another of this name"),
            ("name = \"a\"\ntell = [[\"city\"]]\nkind = [\"murder\"]", "murder"),
            ("name = \" \"\ntell = [[\"city\"]]", "1 to 64 characters"),
            ("name = \"a\"\ntell = [[\"city\"], [\"city\"]]", "named twice"),
            ("name = \"a\"\ntell = [[\"city\"]]\nfirst_within = \"0s\"", "first_within is 100ms to 90d"),
            ("name = \"a\"\ntell = [[\"city\"]]\nreceipt_within = \"99999h\"", "receipt_within is 100ms to 90d"),
            ("name = \"a\"\ntell = [[\"city\"]]\nsigners = [\"city\"]", "signers without sign_within"),
            ("name = \"a\"\ntell = [[\"city\"]]\nchannel = [\"test\"]", "never holds"),
        ] {
            let (_, problems) = of(&format!("[[rule]]\n{text}\n"));
            assert!(problems.len() == 1 && problems[0].contains(what), "{text}: {problems:?}");
        }
    }

    #[test]
    fn a_calendar_says_which_days_are_worked_on_and_what_it_cannot_mean_is_told_with_its_line() {
        let rule = "[[rule]]\nname = \"all\"\ntell = [[\"city\"]]\nfeed_back_within = \"5d\"\nworking_days = true\n";
        let (rules, problems) =
            of(&format!("{rule}[calendar]\nholidays = [\"2026-10-01\"]\nworking = [\"2026-10-10\"]\n"));
        assert_eq!(problems, Vec::<String>::new());
        assert!(rules.all[0].working_days && rules.calendar.weekend.contains(&7));
        assert!(rules.calendar.holidays.contains(&20_261_001) && rules.calendar.working.contains(&20_261_010));
        for (calendar, what) in [
            ("weekend = [0]", "1 Monday to 7 Sunday"),
            ("weekend = [1,2,3,4,5,6,7]", "whole week"),
            ("holidays = [\"1 October\"]", "no date like"),
            ("holidays = [\"2026-02-30\"]", "no date like"),
            ("holidays = [\"2026-10-01\"]\nworking = [\"2026-10-01\"]", "is a holiday and worked on"),
            ("holiday = []", "unknown field"),
        ] {
            let problems = of(&format!("{rule}[calendar]\n{calendar}\n")).1;
            assert!(problems.len() == 1 && problems[0].contains(what), "{calendar}: {problems:?}");
        }
    }
}
