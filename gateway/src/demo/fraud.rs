//! The script's fraud: the anti-fraud centre hears of it before anybody else, the city signs in time, the station late.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use codecs::record::{CloudEvent, Push};
use codecs::webhook::Secret;
use loadtest::app::{App, device};
use loadtest::receiver::{self, Received};
use serde_json::json;
use switchboard::{Rule, Rules, When};

use super::script::{Ledger, Stage, wait_events};
use super::text::Writers;
use crate::assembly::SinkSettings;
use crate::sink::excerpt::Excerpt;
use crate::sink::way::To;

const SECOND: Duration = Duration::from_secs(1);
const FRAUD: &str = "100700";
const ANTI_FRAUD: &str = "anti_fraud";
const CITY: &str = "city";
const STATION: &str = "station";

/// Fraud is told to the anti-fraud centre first; both others have to sign, in a tenth of the usual time.
pub(super) fn rules() -> Rules {
    let when = When { categories: vec![FRAUD.into()], ..When::default() };
    let stages = vec![vec![ANTI_FRAUD.to_owned()], vec![CITY.to_owned(), STATION.to_owned()]];
    let signers = stages[1].clone();
    Rules::of(vec![Rule { signers, sign_within: Some(SECOND * 3), ..Rule::new("telecom fraud", when, stages) }])
}

/// What each target has received.
pub(super) struct Targets(BTreeMap<&'static str, Received>);

impl Targets {
    /// A system for each target, and the sinks that tell them.
    pub(super) fn open(data: &Path, secret: &Secret) -> anyhow::Result<(Targets, Vec<SinkSettings>)> {
        let (mut targets, mut sinks) = (BTreeMap::new(), Vec::new());
        for target in [ANTI_FRAUD, CITY, STATION] {
            let file = data.join("sink").join(format!("{target}.ndjson"));
            let (address, received) = receiver::start(super::local(0), secret.clone(), &file)?;
            targets.insert(target, received);
            let (name, target) = (target.to_owned(), Some(target.to_owned()));
            let to = To::Http { url: format!("http://{address}/"), secret: secret.clone(), at_once: 8 };
            sinks.push(SinkSettings { name, to, tries: 20, target, excerpt: Excerpt::default() });
        }
        Ok((Targets(targets), sinks))
    }

    /// The first event of an alert that a target was given.
    fn first(&self, target: &str, number: &str) -> Option<CloudEvent> {
        let events = self.0.get(target)?.all();
        let mut events = events.iter().filter_map(|(_, body)| CloudEvent::parse(body).ok());
        events.find(|event| event.subject == number)
    }
}

/// Plays the scene; the number of its alert.
pub(super) fn play(
    stage: &mut Stage,
    ledger: &mut Ledger<'_>,
    (received, targets): (&Received, &Targets),
    writers: &Writers,
) -> Option<String> {
    ledger.say("✉ 市民 App：「刚给骗子转了 12500 元」→ 电信诈骗，反诈中心优先");
    let told = act(stage, ledger, (received, targets), writers);
    if let Err(error) = &told {
        ledger.check("fraud-first", &format!("{error:#}"), false);
    }
    told.ok()
}

fn act(
    stage: &mut Stage,
    ledger: &mut Ledger<'_>,
    (received, targets): (&Received, &Targets),
    writers: &Writers,
) -> anyhow::Result<String> {
    let gateway = writers.gateway();
    let (mut app, _) = App::open(gateway, "script-app", &device(gateway)?, None)?;
    app.report("report.create", "demo-fraud", &json!({"text": "刚给骗子转了12500元"}))?;
    let created = app.expect("report.created")?;
    let number = created["d"]["report_id"].as_str().context("a number")?.to_owned();
    while app.expect("chat.msg")?["d"]["kind"] == "receipt" {}
    app.acknowledge()?;
    let said = json!({"kind": "report", "category": FRAUD, "level": 3, "fraud":
        {"account": "6222020200012345678", "bank": "示例银行", "amount": "12500.00"}});
    let (status, body) = stage.request("POST", &format!("/v1/alerts/{number}/triage"), &said.to_string())?;
    ensure!(status == 200, "triage: {status} {body}");
    let is_told = |events: &[CloudEvent]| {
        events.last().is_some_and(|e| e.data.fanout.len() == 3 && e.data.fanout.iter().all(|p| p.ack.is_some()))
    };
    ensure!(wait_events(stage, received, &number, is_told), "not every target has sent its receipt");
    let at_city = targets.first(CITY, &number).context("the city was told nothing")?;
    let first = targets.first(ANTI_FRAUD, &number).context("the anti-fraud centre was told nothing")?;
    let of = |target: &str| at_city.data.fanout.iter().find(|p| p.target == target);
    let receipt = of(ANTI_FRAUD).and_then(|p: &Push| p.ack);
    let is_first = receipt.is_some() && receipt <= of(CITY).and_then(|p| p.sent) && first.data.rev < at_city.data.rev;
    let at_station = targets.first(STATION, &number).context("the station was told nothing")?;
    let has_account = first.data.incident.fraud.as_ref().is_some_and(|f| f.account.is_some());
    let together = at_city.data.rev == at_station.data.rev;
    let text = "反诈中心先收到(含账号)并回执，随后市局与派出所同一修订";
    ledger.check("fraud-first", text, is_first && has_account && together);

    stage.request(
        "POST",
        &format!("/v1/alerts/{number}/steps"),
        &json!({"step": "signed", "target": CITY}).to_string(),
    )?;
    let late = |events: &[CloudEvent]| {
        let breaches = events.iter().filter(|e| e.deadline.as_deref() == Some("T5"));
        breaches.map(|e| e.target.as_deref()).eq([Some(STATION)])
    };
    let is_late = super::script::wait_events_for(stage, received, &number, SECOND * 6, late);
    ledger.check("sign-off", "市局按时签收；派出所逾期未签，T5 点名告警", is_late);
    stage.request(
        "POST",
        &format!("/v1/alerts/{number}/steps"),
        &json!({"step": "signed", "target": STATION}).to_string(),
    )?;
    Ok(number)
}
