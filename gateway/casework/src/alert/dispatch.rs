//! The dispatch section of the record: who was tried for the reporter, and who came.

use std::time::Duration;

use codecs::record::{AlertRecord, Dispatch, Promise, Stamp, State, Step, TryResult};

use super::call::{add_leg, answer_leg, end_leg, leg};
use super::{LEGS_MAX, advance, bound, mark};
use crate::deadline;
use crate::fact::DispatchFact;

/// Moves the record; the step to publish, if the fact makes a revision of its own.
pub(super) fn apply(record: &mut AlertRecord, at: Stamp, fact: DispatchFact) -> Option<Step> {
    match fact {
        DispatchFact::ResponderWanted { waited, .. } => wanted(record, at, waited),
        DispatchFact::Tried { leg, unit, officer, role, reason } => tried(
            record,
            at,
            leg,
            Dispatch { unit, officer, role, reason, tried_at: at, result: None, bridged_at: None },
        ),
        DispatchFact::TryEnded { leg, officer, result } => try_ended(record, at, leg, &officer, result),
        DispatchFact::Bridged { officer, after_ms } => bridged(record, at, &officer, after_ms),
        DispatchFact::AskedIn => Some(Step::PartyCalled),
        DispatchFact::Missed { unit, officer, role, result } => {
            let reason = "asked for by the call taker".into();
            let missed = Dispatch { unit, officer, role, reason, tried_at: at, result: Some(result), bridged_at: None };
            bound(&mut record.dispatch, LEGS_MAX);
            record.dispatch.push(missed);
            None
        }
        DispatchFact::NobodyLeft => nobody_left(record),
    }
}

fn wanted(record: &mut AlertRecord, at: Stamp, waited: Duration) -> Option<Step> {
    let again = record.state == State::Bridging;
    record.call.t.bridge_ask.get_or_insert(at);
    deadline::responder_wanted(record, at, waited);
    advance(record, State::Bridging);
    (!again).then_some(Step::Bridging)
}

fn tried(record: &mut AlertRecord, at: Stamp, number: u32, tried: Dispatch) -> Option<Step> {
    let is_police = tried.role.is_police();
    add_leg(record, leg(number, tried.role, tried.officer.clone(), at));
    bound(&mut record.dispatch, LEGS_MAX);
    record.dispatch.push(tried);
    // Of agencies it is told once, of all that were asked in together.
    is_police.then_some(Step::Bridging)
}

fn try_ended(record: &mut AlertRecord, at: Stamp, number: u32, officer: &str, result: TryResult) -> Option<Step> {
    if let Some(tried) = record.dispatch.iter_mut().rev().find(|d| d.officer == officer && d.result.is_none()) {
        tried.result = Some(result);
    }
    match result {
        TryResult::Answered => answer_leg(record, number, at),
        other => end_leg(record, number, at, &format!("{other:?}").to_lowercase()),
    }
    None
}

fn bridged(record: &mut AlertRecord, at: Stamp, officer: &str, after_ms: u64) -> Option<Step> {
    let is_in = |d: &&mut Dispatch| d.officer == officer && matches!(d.result, None | Some(TryResult::Answered));
    let who = record.dispatch.iter_mut().rev().find(is_in);
    if let Some(who) = who {
        who.bridged_at.get_or_insert(at);
        if !who.role.is_police() {
            return Some(Step::PartyConnected);
        }
    }
    // The first one keeps the promise, whoever comes besides.
    let is_owed = record.timers.iter().any(|t| t.promise() == Some(Promise::Officer) && t.met_at.is_none());
    if is_owed || record.call.officer_ms.is_none() {
        record.call.t.bridge_ok = Some(at);
        record.call.officer_ms = Some(after_ms);
        deadline::bridged(record, at, after_ms);
    }
    advance(record, State::Bridged);
    Some(Step::Bridged)
}

fn nobody_left(record: &mut AlertRecord) -> Option<Step> {
    mark(record, "no_officer_reached");
    Some(Step::Bridging)
}
