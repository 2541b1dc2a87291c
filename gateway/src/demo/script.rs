//! The script: a knife, an officer who does not pick up, a caller who hangs up before the answer, ten at once.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use codecs::record::CloudEvent;
use loadtest::api::Api;
use loadtest::attention::hears;
use loadtest::clock::Clock;
use loadtest::receiver::Received;
use loadtest::{AgentId, Code, Happening, PartyKey, Peers, Remote};

use super::fraud::{self, Targets};
use super::text::Writers;
use super::{Out, checks, city, written};

const SECOND: Duration = Duration::from_secs(1);
/// Hangs up before the answer, and is called back.
pub(super) const ABANDONING_CALLER: &str = "13900139000";

/// The director's view of the stage: what has happened, and the API for what a call taker would press.
pub(super) struct Stage {
    trunk: AgentId,
    remote: Remote,
    clock: Clock,
    api: Api,
    seen: Vec<(Duration, Happening)>,
    /// Whoever has called.
    numbers: Vec<String>,
}

/// A call of the script.
struct Placed {
    party: PartyKey,
    number: String,
    index: u32,
    at: Duration,
}

impl Stage {
    pub(super) fn new(trunk: AgentId, remote: Remote, clock: Clock, http: SocketAddr, token: &str) -> Stage {
        Stage { trunk, remote, clock, api: Api::new(http, token), seen: Vec::new(), numbers: Vec::new() }
    }

    /// What a call taker would press.
    pub(super) fn request(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
        self.api.request(method, path, body).context("the API does not answer")
    }

    fn look(&mut self) {
        let fresh = self.remote.ask(|p: &mut Peers| std::iter::from_fn(|| p.poll_happening()).collect::<Vec<_>>());
        self.seen.extend(fresh.unwrap_or_default());
    }

    /// Waits until `found` finds something among all that has happened.
    fn wait<T>(&mut self, patience: Duration, found: impl Fn(&[(Duration, Happening)]) -> Option<T>) -> Option<T> {
        let end = self.clock.now() + patience;
        loop {
            self.look();
            if let Some(value) = found(&self.seen) {
                return Some(value);
            }
            if self.clock.now() >= end {
                return None;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    fn wait_until(&mut self, at: Duration) {
        while self.clock.now() < at {
            std::thread::park_timeout(at.saturating_sub(self.clock.now()));
        }
        self.look();
    }

    pub(super) fn wait_registered(&mut self, count: usize) -> anyhow::Result<()> {
        let all = |seen: &[(Duration, Happening)]| {
            (seen.iter().filter(|(_, h)| matches!(h, Happening::Registered { .. })).count() >= count).then_some(())
        };
        self.wait(SECOND * 10, all).context("the simulated seats and officers did not register within 10 s")
    }

    fn call(&mut self, number: &str, index: u32) -> anyhow::Result<Placed> {
        let (trunk, caller) = (self.trunk, number.to_owned());
        self.numbers.push(number.to_owned());
        let at = self.clock.now();
        let party = self.remote.ask(move |p: &mut Peers| p.call(trunk, &caller, "110", index));
        let party = party.context("the peers are gone")??;
        Ok(Placed { party, number: number.to_owned(), index, at })
    }

    fn hang_up(&mut self, party: PartyKey) {
        self.remote.ask(move |p: &mut Peers| p.hang_up(party));
    }

    fn answered_at(&mut self, call: &Placed, patience: Duration) -> Option<Duration> {
        let party = call.party;
        self.wait(patience, |seen| seen.iter().find(|(_, h)| *h == Happening::Answered { party }).map(|(at, _)| *at))
    }

    /// The phone of a kind that picked up for this caller: when, which leg, which user.
    fn picked_up(
        &mut self,
        number: &str,
        users: fn(&str) -> bool,
        patience: Duration,
    ) -> Option<(Duration, PartyKey, String)> {
        self.wait(patience, |seen| {
            seen.iter().rev().find_map(|(at, h)| match h {
                Happening::PickedUp { party, user, number: n } if n == number && users(user) => {
                    Some((*at, *party, user.clone()))
                }
                _ => None,
            })
        })
    }

    /// When a leg has first heard the voice of this role.
    fn heard_at(&mut self, party: PartyKey, role: u8, patience: Duration) -> Option<Duration> {
        let voice = Happening::Voice { party, role };
        self.wait(patience, |seen| seen.iter().find(|(_, h)| *h == voice).map(|(at, _)| *at))
    }

    /// Whether for so long each of these legs hears exactly the others, from a fifth of a second on.
    fn hear_each_other(&mut self, legs: &[PartyKey], call: u32, how_long: Duration) -> bool {
        let all = legs.to_vec();
        self.remote.ask(move |p: &mut Peers| {
            for (n, leg) in all.iter().enumerate() {
                let others: Vec<Code> =
                    (0..all.len()).filter(|m| *m != n).map(|m| Code { role: m as u8, call }).collect();
                if let Some((_, ear)) = p.ear(*leg) {
                    ear.attention.turn_to(&others, 1600);
                }
            }
        });
        let until = self.clock.now() + how_long;
        self.wait_until(until);
        let all = legs.to_vec();
        let faults = self.remote.ask(move |p: &mut Peers| {
            all.iter().filter(|leg| p.ear(**leg).is_none_or(|(_, ear)| ear.attention.tally().fault().is_some())).count()
        });
        faults == Some(0)
    }

    /// Whether a leg has lately heard exactly these voices.
    fn hears(&mut self, party: PartyKey, voices: Vec<Code>) -> bool {
        let listened = self.remote.ask(move |p: &mut Peers| p.ear(party).map(|(_, ear)| ear.samples()));
        let samples = listened.flatten().unwrap_or_default();
        hears(&samples[samples.len().saturating_sub(8000)..], &voices)
    }
}

fn is_seat(user: &str) -> bool {
    user.starts_with('1')
}
fn is_officer(user: &str) -> bool {
    user.starts_with('2') || user.starts_with('u')
}

/// The ✔ and ✗ so far.
pub(super) struct Ledger<'a> {
    out: &'a Out,
    clock: Clock,
    begun: Duration,
    checks: u32,
    failed: u32,
}

impl Ledger<'_> {
    pub(super) fn say(&self, text: &str) {
        let at = (self.clock.now() - self.begun).as_secs_f64();
        self.out.line(&format!("[{at:06.3}] {text}"), serde_json::json!({ "t": at, "text": text }));
    }

    pub(super) fn check(&mut self, name: &str, text: &str, held: bool) {
        self.checks += 1;
        self.failed += u32::from(!held);
        let at = (self.clock.now() - self.begun).as_secs_f64();
        let mark = if held { '✔' } else { '✗' };
        self.out.line(
            &format!("[{at:06.3}]   {mark} {text}"),
            serde_json::json!({ "t": at, "check": name, "held": held, "text": text }),
        );
    }
}

/// Plays the script. `Ok(true)`: every ✔ held.
pub(super) fn play(
    stage: &mut Stage,
    out: &Out,
    data: &Path,
    (received, targets): (&Received, &Targets),
    writers: &mut Writers,
    clock: Clock,
) -> anyhow::Result<bool> {
    let begun = clock.now();
    let mut ledger = Ledger { out, clock, begun, checks: 0, failed: 0 };
    // The second scene's ladder takes its time, so it is set off first and looked at in its turn.
    let ringing = stage.call(city::RINGING_CALLER, 9)?;
    ringing_begins(stage, &ringing)?;
    let knife = knife(stage, &mut ledger, data, received)?;
    let unanswered = unanswered_officer(stage, &mut ledger, &ringing)?;
    let given_up = abandoned(stage, &mut ledger, received)?;
    let fire = agencies(stage, &mut ledger, received)?;
    let mut scenes = vec![knife, unanswered, given_up, fire];
    scenes.extend(written::play(stage, &mut ledger, received, writers)?);
    if let Some(number) = fraud::play(stage, &mut ledger, (received, targets), writers) {
        written::end(stage, received, &number);
        scenes.push(number);
    }
    let crowd = ten_at_once(stage, &mut ledger)?;
    at_the_end(stage, &mut ledger, received, &scenes, &crowd);
    let held = ledger.failed == 0;
    let word = if held { "ok" } else { "failed" };
    out.line(
        &format!(
            "── 演示{}:{} ✔, {} ✗",
            if held { "完成" } else { "失败" },
            ledger.checks - ledger.failed,
            ledger.failed
        ),
        serde_json::json!({ "demo": word, "checks": ledger.checks, "failed": ledger.failed }),
    );
    Ok(held)
}

fn post(stage: &mut Stage, seat: &str, action: &str, body: &str) -> anyhow::Result<(u16, String)> {
    stage.api.request("POST", &format!("/v1/seats/{seat}/{action}"), body).context("the API does not answer")
}

fn knife(stage: &mut Stage, ledger: &mut Ledger<'_>, data: &Path, received: &Received) -> anyhow::Result<String> {
    ledger.say(&format!("☎ 群众 {} → 110  INVITE", masked(city::KNIFE_CALLER)));
    let call = stage.call(city::KNIFE_CALLER, 1)?;
    // Answered is who is heard: a human's voice came to the caller.
    let after = stage.heard_at(call.party, 1, SECOND * 4).map(|at| at - call.at);
    let text = format!("接警员应答 {},主叫听到其声音", seconds(after));
    ledger.check("answer", &text, after.is_some_and(|a| a <= SECOND * 3));
    let seat = stage.picked_up(&call.number, is_seat, SECOND);
    let (_, seat_leg, user) = seat.context("no seat picked up")?;
    let body = serde_json::json!({ "kind": "report", "text": "有人持刀" }).to_string();
    let (status, reply) = post(stage, &user, "triage", &body)?;
    ledger.say(&format!("座席 {user} 研判: 报警「有人持刀」 → {status}"));
    let number: serde_json::Value = serde_json::from_str(&reply).unwrap_or_default();
    let number = number["alert_no"].as_str().unwrap_or_default().to_owned();

    let officer = stage.picked_up(&call.number, is_officer, SECOND * 30);
    let officer_leg = officer.as_ref().map(|o| o.1);
    let after = officer_leg.and_then(|_| stage.heard_at(call.party, 2, SECOND * 5)).map(|at| at - call.at);
    let who = officer.as_ref().map_or("-", |o| o.2.as_str());
    let legs: Vec<PartyKey> = [Some(call.party), Some(seat_leg), officer_leg].into_iter().flatten().collect();
    let apart = stage.hear_each_other(&legs, call.index, Duration::from_millis(1600));
    let bridged = legs.len() == 3 && apart && after.is_some_and(|a| a <= SECOND * 30);
    ledger.check("bridge", &format!("三方:民警 {who} {},每方恰好听到另外两方", seconds(after)), bridged);

    stage.hang_up(call.party);
    let dir = data.join("recordings").join(&number);
    let written = stage.clock.now() + SECOND * 3;
    while !dir.join("manifest.json").exists() && stage.clock.now() < written {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let recorded = checks::recording(&dir, call.index);
    let text = recorded.as_ref().err().cloned().unwrap_or_else(|| "每轨只有自己的声音,混音三方俱全".into());
    ledger.check("record", &format!("录音 {}:{text}", dir.display()), recorded.is_ok());
    let warned = wait_events(stage, received, &number, |events| checks::has(events, "warning.keyword"));
    ledger.check("keyword", "关键词「持刀」预警已送达下游", warned);
    Ok(number)
}

/// The call taker of the second scene sends for an officer as soon as the seat talks.
fn ringing_begins(stage: &mut Stage, call: &Placed) -> anyhow::Result<()> {
    stage.answered_at(call, SECOND * 4).context("the second caller was not answered")?;
    let (_, _, user) = stage.picked_up(&call.number, is_seat, SECOND).context("no seat picked up")?;
    post(stage, &user, "three-way", "")?;
    Ok(())
}

fn unanswered_officer(stage: &mut Stage, ledger: &mut Ledger<'_>, call: &Placed) -> anyhow::Result<String> {
    ledger.say(&format!("☎ 群众 {}:网格民警不接电话", masked(&call.number)));
    let called = stage.wait(SECOND * 5, |seen| {
        seen.iter().find_map(|(_, h)| match h {
            Happening::Called { party, user, number, alert_no } if *number == call.number && is_officer(user) => {
                Some((*party, user.clone(), alert_no.clone()))
            }
            _ => None,
        })
    });
    let (first, user, number) = called.context("no officer was called")?;
    let officer = stage.picked_up(&call.number, is_officer, SECOND * 30);
    let after = officer.as_ref().map(|(at, ..)| *at - call.at);
    let who = officer.as_ref().map_or("-", |o| o.2.as_str());
    let other = officer.as_ref().is_some_and(|o| o.2 != user);
    ledger.check(
        "ladder",
        &format!("民警 {user} 未接,{who} 接听 {}", seconds(after)),
        other && after.is_some_and(|a| a <= SECOND * 30),
    );
    let cancelled = stage
        .wait(SECOND * 2, |seen| seen.iter().any(|(_, h)| *h == Happening::Cancelled { party: first }).then_some(()));
    ledger.check("cancel", &format!("民警 {user} 的振铃已取消"), cancelled.is_some());
    stage.hang_up(call.party);
    Ok(number)
}

fn abandoned(stage: &mut Stage, ledger: &mut Ledger<'_>, received: &Received) -> anyhow::Result<String> {
    const NUMBER: &str = ABANDONING_CALLER;
    ledger.say(&format!("☎ 群众 {}:未接即挂", masked(NUMBER)));
    let call = stage.call(NUMBER, 17)?;
    let at = call.at + Duration::from_millis(120);
    stage.wait_until(at);
    stage.hang_up(call.party);
    let party = call.party;
    let refused = stage.wait(SECOND * 2, |seen| {
        seen.iter().find_map(|(_, h)| match h {
            Happening::Refused { party: p, code } if *p == party => Some(*code),
            _ => None,
        })
    });
    ledger.check("cancelled", "487 送达主叫", refused == Some(487));
    let back = stage.wait(SECOND * 10, |seen| {
        seen.iter().find_map(|(at, h)| match h {
            Happening::PickedUp { party, user, .. } if user == NUMBER => Some((*at, *party)),
            _ => None,
        })
    });
    let heard = back.is_some_and(|(_, leg)| {
        let later = stage.clock.now() + Duration::from_millis(1300);
        stage.wait_until(later);
        stage.hears(leg, vec![Code { role: 1, call: 17 }])
    });
    let after = back.map(|(at, _)| at - call.at);
    ledger.check("callback", &format!("回拨 {},听到接警员", seconds(after)), heard);
    if let Some((_, leg)) = back {
        stage.hang_up(leg);
    }
    let mut number = String::new();
    let end = stage.clock.now() + SECOND * 3;
    while number.is_empty() && stage.clock.now() < end {
        let all = checks::by_alert(&received.all()).unwrap_or_default();
        let mine = all
            .into_iter()
            .find(|(_, events)| events[0].data.reporter.phone == NUMBER && checks::has(events, "abandoned"));
        number = mine.map(|(no, _)| no).unwrap_or_default();
        std::thread::park_timeout(Duration::from_millis(20));
    }
    ledger.check("numbered", &format!("未接来电有编号 …{}", tail(&number)), !number.is_empty());
    Ok(number)
}

/// One key rings fire brigade, ambulance and traffic police at the same time, and all of them are in the call.
fn agencies(stage: &mut Stage, ledger: &mut Ledger<'_>, received: &Received) -> anyhow::Result<String> {
    const NUMBER: &str = "06325550023";
    ledger.say(&format!("☎ 群众 {}:车祸起火,有人受伤", masked(NUMBER)));
    let call = stage.call(NUMBER, 11)?;
    stage.heard_at(call.party, 1, SECOND * 4).context("nobody answered")?;
    let (_, seat_leg, user) = stage.picked_up(NUMBER, is_seat, SECOND).context("no seat picked up")?;
    let asked = stage.clock.now();
    let (status, reply) = post(stage, &user, "transfer", &serde_json::json!({ "to": city::LINKAGE }).to_string())?;
    let number = serde_json::from_str::<serde_json::Value>(&reply).unwrap_or_default();
    let number = number["alert_no"].as_str().unwrap_or_default().to_owned();
    ledger.say(&format!("座席 {user} 一键联动「{}」 → {status}", city::LINKAGE));
    let mut legs = vec![call.party, seat_leg];
    let mut last = None;
    for (no, _) in city::AGENCIES {
        let user = format!("a{no}");
        let picked = stage.wait(SECOND * 5, |seen| {
            seen.iter().find_map(|(at, h)| match h {
                Happening::PickedUp { party, user: u, number: n } if *u == user && n == NUMBER => Some((*at, *party)),
                _ => None,
            })
        });
        legs.extend(picked.map(|(_, leg)| leg));
        last = picked.map(|(at, _)| at - asked);
    }
    let apart = legs.len() == 5 && stage.hear_each_other(&legs, call.index, Duration::from_millis(1600));
    let text = format!("119、120、122 同时振铃,{} 内全部入会,五方每方恰好听到另外四方", seconds(last));
    ledger.check("agencies", &text, apart && last.is_some_and(|l| l <= SECOND * 3));
    let told = wait_events(stage, received, &number, |events| {
        let connected = events.iter().filter(|e| e.kind.contains(".party_connected.")).count();
        connected == 3 && events.iter().all(|e| e.data.call.officer_ms.is_none())
    });
    ledger.check("parties", "三家各自入会均已记录,不算民警到场", told);
    stage.hang_up(call.party);
    Ok(number)
}

/// Ten callers on four seats and two of the reserve: six humans, four times the attendant, then humans for those.
fn ten_at_once(stage: &mut Stage, ledger: &mut Ledger<'_>) -> anyhow::Result<Vec<String>> {
    ledger.say("☎×10 同时呼入,4 席 + 2 备勤");
    let calls: Vec<Placed> =
        (0..10).map(|n| stage.call(&format!("1370000{n:04}"), 20 + n)).collect::<anyhow::Result<_>>()?;
    let answered: Vec<Option<Duration>> =
        calls.iter().map(|c| stage.answered_at(c, SECOND * 4).map(|at| at - c.at)).collect();
    let worst = answered.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
    ledger.check("surge", &format!("十路全部应答,最慢 {}", seconds(worst)), worst.is_some_and(|w| w <= SECOND * 3));
    let mut seated = Vec::new();
    for call in &calls {
        seated.push(stage.picked_up(&call.number, is_seat, Duration::ZERO).is_some());
    }
    let humans = seated.iter().filter(|s| **s).count();
    ledger.check("overflow", &format!("{humans} 路由接警员(含备勤)应答,{} 路先由应答机告知", 10 - humans), humans == 6);
    for (call, _) in calls.iter().zip(&seated).filter(|(_, s)| **s) {
        stage.hang_up(call.party);
    }
    let mut later = 0;
    for (call, _) in calls.iter().zip(&seated).filter(|(_, s)| !**s) {
        let human = stage.picked_up(&call.number, is_seat, SECOND * 4).is_some();
        later += usize::from(human);
    }
    let settle = stage.clock.now() + Duration::from_millis(1300);
    stage.wait_until(settle);
    let waiting: Vec<(PartyKey, u32)> =
        calls.iter().zip(&seated).filter(|(_, s)| !**s).map(|(c, _)| (c.party, c.index)).collect();
    let heard =
        waiting.iter().filter(|(party, index)| stage.hears(*party, vec![Code { role: 1, call: *index }])).count();
    ledger.check("place-in-line", &format!("其余 {later} 路随后接到接警员并听到其声音"), later == 4 && heard == 4);
    for (party, _) in waiting {
        stage.hang_up(party);
    }
    Ok(calls.into_iter().map(|c| c.number).collect())
}

/// Whether an alert's delivered events come to satisfy `wanted` within three seconds.
pub(super) fn wait_events(
    stage: &Stage,
    received: &Received,
    number: &str,
    wanted: impl Fn(&[CloudEvent]) -> bool,
) -> bool {
    wait_events_for(stage, received, number, SECOND * 3, wanted)
}

pub(super) fn wait_events_for(
    stage: &Stage,
    received: &Received,
    number: &str,
    patience: Duration,
    wanted: impl Fn(&[CloudEvent]) -> bool,
) -> bool {
    let end = stage.clock.now() + patience;
    loop {
        let all = checks::by_alert(&received.all()).unwrap_or_default();
        if all.get(number).is_some_and(|events| wanted(events)) {
            return true;
        }
        if stage.clock.now() >= end {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn at_the_end(stage: &mut Stage, ledger: &mut Ledger<'_>, received: &Received, scenes: &[String], crowd: &[String]) {
    let end = stage.clock.now() + SECOND * 5;
    let expected = scenes.len() + crowd.len();
    let mut verdict = Err("nothing came".to_owned());
    while stage.clock.now() < end {
        verdict = delivered(received, expected);
        if verdict.is_ok() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let text = verdict.clone().unwrap_or_else(|e| e);
    ledger.check("sink", &format!("下游:{text}"), verdict.is_ok());
    let breaches = checks::by_alert(&received.all()).unwrap_or_default();
    let breaches = breaches.values().filter(|e| checks::has(e, "deadline.breach")).count();
    ledger.check("breach", &format!("{breaches} 次超时各有一条 deadline.breach"), breaches == 5);
    nothing_left(stage, ledger);
}

/// On no socket, caller's, seat's or officer's, is a leg of the script left. Seats may talk to somebody from outside.
fn nothing_left(stage: &mut Stage, ledger: &mut Ledger<'_>) {
    let mut left = None;
    let end = stage.clock.now() + SECOND * 3;
    while left != Some([0; 3]) && stage.clock.now() < end {
        let numbers = stage.numbers.clone();
        left = stage.remote.ask(move |p: &mut Peers| p.legs_with(&numbers));
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let [callers, seats, officers] = left.unwrap_or_default();
    let text = format!("没有遗留通话:主叫 {callers}、接警员 {seats}、民警 {officers}");
    ledger.check("nothing-left", &text, left == Some([0; 3]));
}

/// Every alert closed, every revision once and in order.
fn delivered(received: &Received, expected: usize) -> Result<String, String> {
    let alerts = checks::by_alert(&received.all())?;
    if alerts.len() != expected {
        return Err(format!("{} 起警情,应为 {expected}", alerts.len()));
    }
    for events in alerts.values() {
        checks::chain(events)?;
        if !checks::has(events, "ended") {
            return Err(format!("…{} 未结束", tail(&events[0].subject)));
        }
    }
    let count: usize = alerts.values().map(Vec::len).sum();
    Ok(format!("{} 起警情 {count} 个修订,各一次,按序,签名与哈希链正确", alerts.len()))
}

pub(super) fn seconds(after: Option<Duration>) -> String {
    after.map_or("超时".into(), |a| format!("{:.2} s", a.as_secs_f64()))
}

fn masked(number: &str) -> String {
    format!("{}****{}", &number[..3], &number[number.len() - 4..])
}

fn tail(number: &str) -> &str {
    &number[number.len().saturating_sub(9)..]
}
