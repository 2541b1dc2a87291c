//! A sink: the events of the journal, in each alert's order, until its way has taken them.
//!
//! It has a thread of its own, since it waits for the disk. What is wrong with the way (nobody there, a secret that does
//! not fit, a page that is not found) is waited out, however long it takes. What is wrong with one event goes to the
//! dead letters, and later events of its alert with it.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use codecs::record::CloudEvent;
use futures_util::FutureExt as _;
use store::dead_letters::DeadLetters;
use store::disk::Disk;
use store::follow::{Due, Event, Follower};
use tokio::sync::watch;

use crate::inbox::casebook::Reached;
use crate::observe::health::Health;
use crate::thread::Saboteur;

use super::Standing;
use super::excerpt::Excerpt;
use super::receipts::{ForTarget, Receipts, for_target};
use super::way::{Outcome, Told, Way, step_of};

/// After the last event has become durable a sink has so long to take what is left.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Whoever says "at once" is asked again after this.
const WAIT_LEAST: Duration = Duration::from_millis(200);
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Tries after which a way that does not work is an alarm.
const ALARM: u32 = 5;

pub struct Sink {
    pub name: String,
    pub way: Way,
    /// Tries before an event over which the receiver fails goes to the dead letters.
    pub tries: u32,
    pub disk: Arc<dyn Disk>,
    pub data: PathBuf,
    pub durable: watch::Receiver<Reached>,
    pub health: Health,
    pub standing: Arc<Standing>,
    /// Of a sink that tells a target of the rules; none: it is given everything.
    pub receipts: Option<Receipts>,
    /// What it is given of each event.
    pub excerpt: Excerpt,
    pub saboteur: Option<Arc<dyn Saboteur>>,
}

impl Sink {
    /// Until the process ends; after a mistake of ours anew from its cursor.
    pub async fn run(mut self) {
        let Some(head) = Reached::head(&mut self.durable).await else { return };
        let mut durable = self.durable.clone();
        let ended = async {
            Reached::end(&mut durable).await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = self.follow_for_good(head) => {}
            // Whoever does not take the last of it now is told after the next start.
            () = ended => {}
        }
    }

    async fn follow_for_good(&mut self, head: u64) {
        while AssertUnwindSafe(self.follow(head)).catch_unwind().await.is_err() {
            metrics::counter!("gateway_thread_restarts_total", "thread" => "sink").increment(1);
            tracing::error!(sink = %self.name, "GW-1004 a sink has failed and begins anew");
            tokio::time::sleep(WAIT_FIRST).await;
        }
    }

    async fn follow(&mut self, head: u64) {
        let mut follower = Follower::open(&self.disk, &self.data, &self.name, head);
        let mut dead = DeadLetters::open(&super::dead_letters(&self.data, &self.name));
        if follower.was_ahead {
            metrics::counter!("gateway_sink_cursor_ahead_total", "sink" => self.name.clone()).increment(1);
            tracing::error!(sink = %self.name, "GW-3305 the cursor stood beyond the journal; it was set back to its end");
        }
        self.standing.has_told(follower.told());
        let mut stalled = false;
        let at_once = self.way.at_once();
        loop {
            metrics::gauge!("gateway_sink_deadletter", "sink" => self.name.clone()).set(dead.count() as f64);
            self.standing.has_dead(dead.count());
            let durable = self.durable.borrow_and_update().last;
            let missing = match follower.due(durable, at_once.events, at_once.apart) {
                Ok(Some(Due::Events(events))) => {
                    if std::mem::take(&mut stalled) {
                        self.health.well("sink-journal");
                    }
                    let last = events.last().map_or(0, |event| event.sequence);
                    self.take(events, &mut dead).await;
                    self.settle(&mut follower, last).await;
                    continue;
                }
                Ok(None) if self.receipts.as_mut().is_some_and(|r| !r.are_kept()) => {
                    self.keep_receipts(&mut follower).await;
                    continue;
                }
                Ok(None) => {
                    self.standing.has_told(follower.told());
                    tokio::select! {
                        changed = self.durable.changed() => if changed.is_err() { return },
                        () = self.standing.replay.notified() => self.replay_dead(&mut dead).await,
                    }
                    continue;
                }
                Ok(Some(Due::Damage(damage))) => damage.to_string(),
                Err(error) => error.to_string(),
            };
            if !stalled {
                tracing::error!(sink = %self.name, missing, "GW-3301 events are missing in the journal, or it cannot be read");
            }
            metrics::counter!("gateway_sink_errors_total", "sink" => self.name.clone()).increment(1);
            stalled = true;
            self.health.worse("sink-journal", "GW-3301", format!("{}: {missing}", self.name));
            tokio::time::sleep(WAIT_FIRST).await;
        }
    }

    /// All of them at once where that goes well; then whatever is left one by one.
    async fn take(&mut self, events: &[Event], dead: &mut DeadLetters) {
        let wanted: Vec<Option<ForTarget>> =
            events.iter().map(|e| self.receipts.as_ref().map(|r| for_target(&e.body, &r.target))).collect();
        let mut is_taken = self.take_at_once(events, &wanted, dead).await;
        for ((event, wanted), is_taken) in events.iter().zip(wanted).zip(&mut is_taken) {
            let is_wanted = wanted != Some(ForTarget::Nothing);
            let taken = is_wanted && (*is_taken || self.deliver(event, dead).await);
            if let (Some(ForTarget::First(no)), Some(receipts), true) = (wanted, &mut self.receipts, taken) {
                receipts.note(no);
            }
        }
    }

    /// Which of them its way took together.
    async fn take_at_once(&mut self, events: &[Event], wanted: &[Option<ForTarget>], dead: &DeadLetters) -> Vec<bool> {
        let mut is_taken = vec![false; events.len()];
        let goes = |(event, wanted): (&Event, &Option<ForTarget>)| {
            *wanted != Some(ForTarget::Nothing) && !dead.holds_back(&event.body) && !self.is_withheld(&event.body)
        };
        let together: Vec<usize> = (0..events.len()).filter(|&n| goes((&events[n], &wanted[n]))).collect();
        if together.len() < 2 || self.saboteur.is_some() {
            return is_taken;
        }
        let outcomes = self.attempt(&together.iter().map(|&n| &events[n]).collect::<Vec<_>>()).await;
        let mut taken = 0;
        for (n, outcome) in together.into_iter().zip(outcomes) {
            is_taken[n] = outcome == Outcome::Done;
            taken += u64::from(is_taken[n]);
        }
        metrics::counter!("gateway_sink_delivered_total", "sink" => self.name.clone()).increment(taken);
        is_taken
    }

    /// A receipt that is not durable yet leaves the cursor where it is.
    async fn settle(&mut self, follower: &mut Follower, sequence: u64) {
        let pending = self.durable.borrow().last.saturating_sub(sequence);
        metrics::gauge!("gateway_sink_pending", "sink" => self.name.clone()).set(pending as f64);
        self.standing.has_told(sequence);
        let (too_many, kept) = self.receipts.as_mut().map_or((false, true), |r| (r.are_too_many(), r.are_kept()));
        match (too_many, kept) {
            (_, true) => self.store_cursor(follower),
            (true, false) => self.keep_receipts(follower).await,
            (false, false) => follower.pass(),
        }
    }

    async fn keep_receipts(&mut self, follower: &mut Follower) {
        if let Some(receipts) = &mut self.receipts {
            receipts.keep().await;
        }
        self.store_cursor(follower);
    }

    fn store_cursor(&self, follower: &mut Follower) {
        if let Err(error) = follower.settle() {
            tracing::error!(sink = %self.name, %error, "GW-3302 the cursor cannot be stored; a restart will repeat events");
        }
    }

    /// Returns when the event was taken, or lies with the dead letters. `true`: it was taken.
    async fn deliver(&mut self, event: &Event, dead: &mut DeadLetters) -> bool {
        let body = &event.body;
        if self.saboteur.as_ref().is_some_and(|s| !s.lets_event(body)) {
            return false;
        }
        if dead.holds_back(body) && self.bury(body, dead, "an earlier one lies there") {
            return false;
        }
        let mut wait = WAIT_FIRST;
        let mut failures = 0;
        for attempt in 1u32.. {
            if self.is_withheld(body) {
                return false;
            }
            let (asked, why) = match self.attempt_one(event).await {
                Outcome::Done => {
                    metrics::counter!("gateway_sink_delivered_total", "sink" => self.name.clone()).increment(1);
                    self.standing.fails(None);
                    if attempt > ALARM {
                        self.health.well("sink");
                    }
                    return true;
                }
                Outcome::Later(asked, why) => (asked, why),
                Outcome::Failed(why) => {
                    failures += 1;
                    if failures >= self.tries && self.bury(body, dead, &why) {
                        return false;
                    }
                    (None, why)
                }
                Outcome::Never(why) => {
                    if self.bury(body, dead, &why) {
                        return false;
                    }
                    (None, why)
                }
            };
            metrics::counter!("gateway_sink_errors_total", "sink" => self.name.clone()).increment(1);
            self.standing.fails(Some(why.clone()));
            if attempt == 1 {
                tracing::warn!(sink = %self.name, why, "delivery failed, trying again");
            }
            if attempt == ALARM {
                tracing::error!(sink = %self.name, why, "GW-3306 a sink takes nothing; its events wait");
                self.health.worse("sink", "GW-3306", format!("{}: {why}", self.name));
            }
            let jittered = wait.mul_f64(0.5 + f64::from(crate::clock::random::<1>()[0]) / 256.0);
            tokio::time::sleep(asked.unwrap_or(jittered).clamp(WAIT_LEAST, WAIT_MAX)).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
        false
    }

    /// Whether its target is to be told nothing more of this alert, though it was when the event was made.
    fn is_withheld(&self, body: &[u8]) -> bool {
        let no = CloudEvent::parts(body).and_then(|(id, _)| Some(id.split_once(':')?.0)).unwrap_or_default();
        self.receipts.as_ref().is_some_and(|r| r.withheld.has(no, &r.target))
    }

    /// To the dead letters. `false`: the disk did not take it; the event must not be skipped then.
    fn bury(&self, body: &[u8], dead: &mut DeadLetters, why: &str) -> bool {
        let buried = dead.add(body).is_ok();
        if buried {
            // The way goes on without it.
            self.standing.fails(None);
            let id = CloudEvent::parts(body).map(|(id, _)| id).unwrap_or_default();
            tracing::error!(sink = %self.name, id, why, "GW-3303 an event went to the dead letters");
            metrics::counter!("gateway_sink_buried_total", "sink" => self.name.clone()).increment(1);
        }
        buried
    }

    /// Of each what it is given, on its way.
    async fn attempt(&mut self, events: &[&Event]) -> Vec<Outcome> {
        let excerpts: Vec<_> = events.iter().map(|e| self.excerpt.of(&e.body)).collect();
        let readable = events.iter().zip(&excerpts).filter_map(|(event, excerpt)| {
            // It is the whole event's, whatever of it leaves.
            let id = CloudEvent::parts(&event.body)?.0;
            Some(Told { sequence: event.sequence, id, step: step_of(&event.body), body: excerpt.as_deref().ok()? })
        });
        let told: Vec<Told<'_>> = readable.collect();
        if told.len() < events.len() {
            // One by one then: whichever it is goes to the dead letters, and the others their way.
            let never = || Outcome::Never("it is no event, or damaged".into());
            return events.iter().map(|_| never()).collect();
        }
        self.way.tell(&told).await
    }

    async fn attempt_one(&mut self, event: &Event) -> Outcome {
        self.attempt(&[event]).await.pop().unwrap_or_else(|| Outcome::Later(None, "it said nothing".into()))
    }

    async fn replay_dead(&mut self, dead: &mut DeadLetters) {
        let lines = match dead.take() {
            Ok(lines) => lines,
            Err(error) => return tracing::error!(sink = %self.name, %error, "GW-3304 the dead letters cannot be read"),
        };
        // Until all were tried, later events of their alerts wait behind them; and behind one that is refused again.
        let mut refused = BTreeSet::new();
        for line in lines {
            match line {
                Ok(body) => {
                    let event = Event::new(0, body);
                    if !self.try_again(&event, dead, refused.contains(&event.no)).await {
                        refused.insert(event.no);
                    }
                }
                Err(error) => {
                    return tracing::error!(sink = %self.name, %error, "GW-3304 the dead letters cannot be read");
                }
            }
        }
        dead.finish();
    }

    /// A dead letter: delivered, or put back, as it is when an earlier one of its alert was. `false`: it was put back.
    async fn try_again(&mut self, event: &Event, dead: &mut DeadLetters, is_behind: bool) -> bool {
        if self.is_withheld(&event.body) {
            return true;
        }
        let outcome = match is_behind {
            true => Outcome::Never("an earlier one lies there".into()),
            false => self.attempt_one(event).await,
        };
        let why = match outcome {
            Outcome::Done => {
                if let Some(receipts) = &mut self.receipts
                    && let ForTarget::First(no) = for_target(&event.body, &receipts.target)
                {
                    receipts.note(no);
                }
                metrics::counter!("gateway_sink_delivered_total", "sink" => self.name.clone()).increment(1);
                return true;
            }
            Outcome::Later(_, why) | Outcome::Failed(why) | Outcome::Never(why) => why,
        };
        while !self.bury(&event.body, dead, &why) {
            tokio::time::sleep(WAIT_FIRST).await;
        }
        false
    }
}
