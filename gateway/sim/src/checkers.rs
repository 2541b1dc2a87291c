//! What must hold: some of it at every instant, the rest when the world has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codecs::record::{AlertNo, AlertRecord, Role, State};
use codecs::time::Mono;

use crate::cast::SEATS;
use crate::clock::Written;
use crate::downstream::{Entry, Sink};
use crate::gateway::{Gateway, PORTS};
use crate::rules::Rule;

/// T1 and a little for the machine itself.
const ANSWER_WITHIN: Duration = Duration::from_millis(3001);

/// Calls that the gateway has read and not answered yet, by Call-ID.
#[derive(Default)]
pub(crate) struct Unanswered {
    since: BTreeMap<Vec<u8>, Mono>,
    seen: BTreeSet<Vec<u8>>,
    pub worst: Duration,
}

impl Unanswered {
    pub(crate) fn arrived(&mut self, now: Mono, call_id: &[u8]) {
        if self.seen.insert(call_id.to_vec()) {
            self.since.insert(call_id.to_vec(), now);
        }
    }
    pub(crate) fn finished(&mut self, now: Mono, call_id: &[u8]) {
        if let Some(at) = self.since.remove(call_id) {
            self.worst = self.worst.max(now.since(at));
        }
    }
    /// A crash forgets them; the carrier's repeats bring them in anew.
    pub(crate) fn forget(&mut self) {
        for id in std::mem::take(&mut self.since).into_keys() {
            self.seen.remove(&id);
        }
    }
    pub(crate) fn check(&self, now: Mono) -> Result<(), String> {
        match self.since.values().min() {
            Some(at) if now.since(*at) > ANSWER_WITHIN => Err(format!("a call of {at} is not answered at {now}")),
            _ => Ok(()),
        }
    }
}

/// At every instant: nobody waits while a seat is free.
pub(crate) fn nobody_waits_beside_a_free_seat(gateway: &Gateway) -> Result<(), String> {
    let g = gateway.desk.gauges();
    if g.waiting > 0 && g.seats_idle > 0 {
        Err(format!("{} wait while {} seats are free", g.waiting, g.seats_idle))
    } else {
        Ok(())
    }
}

/// After a start: whoever was registered before is offered calls at once.
pub(crate) fn registered_are_there(gateway: &Gateway, registered: usize) -> Result<(), String> {
    let g = gateway.desk.gauges();
    let there = g.seats_idle + g.seats_busy + g.seats_away;
    if there < registered {
        return Err(format!("{registered} seats are registered and {there} are there after a start"));
    }
    Ok(())
}

/// How long a caller may be with the machine while somebody could talk to them: longer than a few seats need to fail.
const UNHEARD_FOR: Duration = Duration::from_secs(20);

/// A caller who has heard nobody, and a seat that was free all that time.
#[derive(Default)]
pub(crate) struct Unheard {
    free_since: Option<Mono>,
}

impl Unheard {
    pub(crate) fn check(&mut self, now: Mono, seats_idle: usize, unheard_since: Option<Mono>) -> Result<(), String> {
        if seats_idle == 0 {
            self.free_since = None;
            return Ok(());
        }
        let free = *self.free_since.get_or_insert(now);
        match unheard_since {
            Some(at) if now.since(at.max(free)) > UNHEARD_FOR => {
                Err(format!("a caller answered at {at} has heard nobody at {now}, beside a free seat"))
            }
            _ => Ok(()),
        }
    }
}

/// At rest: no leg, port, timer, seat or officer is left behind.
pub(crate) fn nothing_left_behind(gateway: &Gateway) -> Result<(), String> {
    let ports = usize::from(PORTS) / gateway.shards.len();
    for (index, shard) in gateway.shards.iter().enumerate() {
        let c = shard.counts();
        if (c.calls, c.sessions, c.transactions, c.media_legs, c.rooms, c.ports_free) != (0, 0, 0, 0, 0, ports) {
            return Err(format!("left behind in shard {index}: {c:?}"));
        }
    }
    let g = gateway.desk.gauges();
    let conversations = g.conversations + g.conversations_waiting + gateway.casebook.counts().0;
    if g.seats_idle != SEATS as usize || g.officers_busy != 0 || g.waiting != 0 || conversations != 0 {
        return Err(format!("left behind: {g:?}"));
    }
    Ok(())
}

/// At rest: every durable event is at every sink, same bytes each time, each revision once and in order.
pub(crate) fn delivered(events: &[Entry], sink: &Sink, broken: Option<Rule>) -> Result<(), String> {
    // As they stand in the journal: whoever delivers makes nothing of them anew.
    let mut bodies: BTreeMap<&str, &[u8]> = events.iter().map(|e| (e.event.id.as_str(), &e.bytes[..])).collect();
    for (id, bytes) in &sink.got {
        if bodies.insert(id, bytes).is_some_and(|before| before != &bytes[..]) {
            return Err(format!("{id} was sent with different bytes"));
        }
    }
    // Of each alert in its order.
    let mut accepted: Vec<&str> = sink.accepted(broken).into_iter().map(|(id, _)| id.as_str()).collect();
    let mut written: Vec<&str> = events.iter().map(|e| e.event.id.as_str()).collect();
    for ids in [&mut accepted, &mut written] {
        ids.sort_by_key(|id| id.split_once(':').map_or(*id, |(no, _)| no));
    }
    if accepted != written {
        return Err(format!("a sink accepted {} events of {}", accepted.len(), written.len()));
    }
    Ok(())
}

/// Every revision of every alert: counted, sealed, chained; numbers sound and given once.
pub(crate) fn chained(events: &[Entry]) -> Result<BTreeMap<String, AlertRecord>, String> {
    let mut last: BTreeMap<String, AlertRecord> = BTreeMap::new();
    for entry in events {
        let data = &entry.event.data;
        let no = &data.id.alert_no;
        AlertNo::parse(no).ok_or_else(|| format!("{no} is no alert number"))?;
        let before = last.get(no);
        let (rev, hash) = before.map_or((0, String::new()), |b| (b.rev, b.hash.clone()));
        if data.rev != rev + 1 || data.prev_hash != hash {
            return Err(format!("{}: does not follow revision {rev}", entry.event.id));
        }
        if !data.is_sealed() {
            return Err(format!("{}: is not sealed", entry.event.id));
        }
        if before.is_some_and(|b| b.source.message_id != data.source.message_id) {
            return Err(format!("{no} was given to two reports"));
        }
        last.insert(no.clone(), AlertRecord::clone(data));
    }
    Ok(last)
}

/// At rest: every alert has come to its end, and whoever gave up before an answer has been called back.
pub(crate) fn ended(alerts: &BTreeMap<String, AlertRecord>) -> Result<(), String> {
    match alerts.values().find(|a| a.state != State::Closed) {
        Some(open) => Err(format!("{} stayed {:?}", open.id.alert_no, open.state)),
        None => Ok(()),
    }
}

/// Nobody is in two conversations at one time: by the world's time, whatever the gateway's clock said.
pub(crate) fn one_at_a_time(alerts: &BTreeMap<String, AlertRecord>, written: &Written) -> Result<(), String> {
    let mut busy: BTreeMap<&str, Vec<(Mono, Mono, &str)>> = BTreeMap::new();
    for (no, alert) in alerts {
        for leg in alert.call.legs.iter().filter(|l| l.role != Role::Reporter) {
            let (Some(from), Some(to)) = (leg.answered, leg.end) else { continue };
            let [from, to] = [from, to].map(|stamp| written.when(no, leg.leg_id, stamp));
            let unwritten = || format!("{no}: a stamp of leg {} was never written", leg.leg_id);
            let span = (from.ok_or_else(unwritten)?, to.ok_or_else(unwritten)?, no.as_str());
            busy.entry(&leg.party).or_default().push(span);
        }
    }
    for (who, mut spans) in busy {
        spans.sort();
        for pair in spans.windows(2) {
            if pair[1].0 < pair[0].1 {
                return Err(format!("{who} was in {} and {} at once", pair[0].2, pair[1].2));
            }
        }
    }
    Ok(())
}
