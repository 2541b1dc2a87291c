//! The dispatch section of the record: who was tried for the reporter, and who came.

use codecs::record::{AlertRecord, Dispatch, Stamp, State, Step, TryResult};

use super::call::{add_leg, answer_leg, end_leg, leg};
use super::{LEGS_MAX, advance, bound, mark, timers};

pub(super) fn wanted(record: &mut AlertRecord, at: Stamp) -> Option<Step> {
    let again = record.state == State::Bridging;
    record.call.t.bridge_ask.get_or_insert(at);
    timers::responder_wanted(record);
    advance(record, State::Bridging);
    (!again).then_some(Step::Bridging)
}

pub(super) fn tried(record: &mut AlertRecord, at: Stamp, number: u32, tried: Dispatch) -> Option<Step> {
    add_leg(record, leg(number, tried.role, tried.officer.clone(), at));
    bound(&mut record.dispatch, LEGS_MAX);
    record.dispatch.push(tried);
    Some(Step::Bridging)
}

pub(super) fn try_ended(
    record: &mut AlertRecord,
    at: Stamp,
    number: u32,
    officer: &str,
    result: TryResult,
) -> Option<Step> {
    if let Some(tried) = record.dispatch.iter_mut().rev().find(|d| d.officer == officer && d.result.is_none()) {
        tried.result = Some(result);
    }
    match result {
        TryResult::Answered => answer_leg(record, number, at),
        other => end_leg(record, number, at, &format!("{other:?}").to_lowercase()),
    }
    None
}

pub(super) fn bridged(record: &mut AlertRecord, at: Stamp, after_ms: u64) -> Option<Step> {
    record.call.t.bridge_ok = Some(at);
    record.call.officer_ms = Some(after_ms);
    timers::bridged(record, at, after_ms);
    advance(record, State::Bridged);
    Some(Step::Bridged)
}

pub(super) fn nobody_left(record: &mut AlertRecord) -> Option<Step> {
    mark(record, "no_officer_reached");
    Some(Step::Bridging)
}
