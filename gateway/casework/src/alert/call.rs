//! The call section of the record: offered, answered, ended, and the legs in between.

use codecs::record::{AlertRecord, AnswerMode, Leg, Media, Role, SeatInfo, Stamp, State, Step, Validity};

use super::{LEGS_MAX, advance, bound, incident, mark};
use crate::deadline;
use crate::fact::CallFact;

/// Moves the record; the step to publish, if the fact makes a revision of its own.
pub(super) fn apply(record: &mut AlertRecord, at: Stamp, fact: &CallFact) -> Option<Step> {
    match fact {
        CallFact::Offered { leg, seat } => offered(record, at, *leg, seat),
        CallFact::SeatFailed { leg, why } => seat_failed(record, at, *leg, why),
        CallFact::TakenOver { leg, seat } => taken_over(record, at, *leg, seat),
        CallFact::Refused { code, reason } => refused(record, at, *code, reason),
        CallFact::AttendantAnswered => attendant_answered(record, at),
        CallFact::Answered { leg, seat, mode, after_ms } => answered(record, at, *leg, seat, *mode, *after_ms),
        CallFact::TwoWay => two_way(record, at),
        CallFact::Silent => silent(record),
        CallFact::LegEnded { leg, cause, .. } => leg_ended(record, at, *leg, cause),
        CallFact::Abandoned { .. } => abandoned(record),
        CallFact::CallingBack => calling_back(record),
        CallFact::Unreached => unreached(record),
        CallFact::Ended => ended(record, at),
        CallFact::Interrupted => interrupted(record, at),
        CallFact::Recorded { media } => recorded(record, media),
        CallFact::Listened => Some(Step::Listened),
    }
}

fn offered(record: &mut AlertRecord, at: Stamp, number: u32, seat: &SeatInfo) -> Option<Step> {
    record.call.t.ring.get_or_insert(at);
    record.call.seat = Some(seat.clone());
    add_leg(record, leg(number, Role::Taker, seat.no.clone(), at));
    advance(record, State::Offered);
    Some(Step::Offered)
}

fn seat_failed(record: &mut AlertRecord, at: Stamp, number: u32, why: &str) -> Option<Step> {
    end_leg(record, number, at, why);
    None
}

fn taken_over(record: &mut AlertRecord, at: Stamp, number: u32, seat: &SeatInfo) -> Option<Step> {
    record.call.seat = Some(seat.clone());
    take_leg(record, number, at);
    Some(Step::Updated)
}

fn refused(record: &mut AlertRecord, at: Stamp, code: u16, reason: &str) -> Option<Step> {
    mark(record, &format!("refused_{code}"));
    end_leg(record, 0, at, reason);
    record.call.t.end = Some(at);
    record.state = State::Abandoned;
    Some(Step::Abandoned)
}

fn attendant_answered(record: &mut AlertRecord, at: Stamp) -> Option<Step> {
    record.call.t.attendant = Some(at);
    record.call.mode = Some(AnswerMode::Attendant);
    answer_leg(record, 0, at);
    Some(Step::AttendantAnswered)
}

fn answered(
    record: &mut AlertRecord,
    at: Stamp,
    number: u32,
    seat: &SeatInfo,
    mode: AnswerMode,
    after_ms: u64,
) -> Option<Step> {
    record.call.seat = Some(seat.clone());
    // Whoever was answered in writing, and is called back, was answered then.
    if record.call.t.answer.is_none() {
        record.call.t.answer = Some(at);
        record.call.mode = Some(mode);
        record.call.answer_ms = Some(after_ms);
    }
    answer_leg(record, 0, at);
    take_leg(record, number, at);
    deadline::answered(record, at, after_ms);
    if record.source.validity == Validity::Abandoned {
        record.source.validity = Validity::Valid;
    }
    advance(record, State::Answered);
    incident::triaged_state(record);
    Some(Step::Answered)
}

fn two_way(record: &mut AlertRecord, at: Stamp) -> Option<Step> {
    record.call.t.two_way = Some(at);
    None
}

fn silent(record: &mut AlertRecord) -> Option<Step> {
    record.source.validity = Validity::Silent;
    None
}

fn leg_ended(record: &mut AlertRecord, at: Stamp, number: u32, cause: &str) -> Option<Step> {
    end_leg(record, number, at, cause);
    Some(Step::LegEnded)
}

fn abandoned(record: &mut AlertRecord) -> Option<Step> {
    record.source.validity = Validity::Abandoned;
    record.state = State::Abandoned;
    Some(Step::Abandoned)
}

fn calling_back(record: &mut AlertRecord) -> Option<Step> {
    record.state = State::Callback;
    record.call.call_backs += 1;
    // The alert has a call again, which a crash may cut off like the first.
    record.call.t.end = None;
    Some(Step::Callback)
}

fn unreached(record: &mut AlertRecord) -> Option<Step> {
    record.state = State::Unreached;
    Some(Step::Callback)
}

fn ended(record: &mut AlertRecord, at: Stamp) -> Option<Step> {
    end_call(record, at);
    if !matches!(record.state, State::Abandoned | State::Unreached) {
        record.state = State::Ended;
    }
    None
}

/// What a call-back bears of each end of the process that it saw. One that saw three is not made again: whoever answers
/// there may be what ends it.
const CUT_OFF: [&str; 3] = ["call_back_interrupted", "call_back_interrupted_again", "call_back_given_up"];

fn interrupted(record: &mut AlertRecord, at: Stamp) -> Option<Step> {
    // Nobody has spoken to them, and nobody will by this call.
    let unanswered = matches!(record.state, State::Arrived | State::Offered) && record.call.t.answer.is_none();
    let is_call_back = record.state == State::Callback || unanswered && record.call.call_backs > 0;
    if is_call_back && record.call.t.end.is_none() {
        let seen = CUT_OFF.iter().find(|cut| !record.marks.iter().any(|m| m == *cut));
        mark(record, seen.copied().unwrap_or(CUT_OFF[2]));
        if seen.is_none_or(|cut| *cut == CUT_OFF[2]) {
            record.state = State::Unreached;
        }
    }
    let waits = unanswered || matches!(record.state, State::Abandoned | State::Callback);
    let owed = waits && !record.reporter.phone.is_empty();
    if record.state != State::Unreached {
        // People may write on it, whatever became of its call, unless that was over as well.
        let is_over = record.reporter.channels.is_empty() || record.state == State::Ended;
        let is_over = if is_over { State::Ended } else { State::Reopened };
        record.state = if owed { State::Abandoned } else { is_over };
    }
    // Of a call that was over only the recording, or the call-back, was missing.
    let live = record.call.t.end.is_none();
    if live {
        mark(record, "interrupted_by_restart");
        end_call(record, at);
    }
    live.then_some(Step::Updated)
}

fn recorded(record: &mut AlertRecord, media: &[Media]) -> Option<Step> {
    record.media.extend(media.iter().cloned());
    // Where there was nothing to record, nothing was.
    (!media.is_empty()).then_some(Step::Recorded)
}

pub(super) fn leg(leg_id: u32, role: Role, party: String, start: Stamp) -> Leg {
    Leg { leg_id, role, party, start, answered: None, end: None, cause: None }
}

pub(super) fn add_leg(record: &mut AlertRecord, leg: Leg) {
    bound(&mut record.call.legs, LEGS_MAX);
    record.call.legs.push(leg);
}

pub(super) fn answer_leg(record: &mut AlertRecord, number: u32, at: Stamp) {
    if let Some(leg) = leg_that_is_up(record, number) {
        leg.answered.get_or_insert(at);
    }
}

pub(super) fn end_leg(record: &mut AlertRecord, number: u32, at: Stamp, cause: &str) {
    if let Some(leg) = leg_that_is_up(record, number) {
        leg.end = Some(at);
        leg.cause = Some(cause.to_owned());
    }
}

fn leg_that_is_up(record: &mut AlertRecord, number: u32) -> Option<&mut Leg> {
    record.call.legs.iter_mut().rev().find(|l| l.leg_id == number && l.end.is_none())
}

/// This taker's leg has the call; whoever else was asked is not needed.
fn take_leg(record: &mut AlertRecord, number: u32, at: Stamp) {
    for leg in record.call.legs.iter_mut().filter(|l| l.role == Role::Taker && l.end.is_none()) {
        if leg.leg_id == number {
            leg.answered.get_or_insert(at);
        } else {
            leg.end = Some(at);
            leg.cause = Some("superseded".into());
        }
    }
}

/// Every leg that is still up ends here.
fn end_call(record: &mut AlertRecord, at: Stamp) {
    record.call.t.end = Some(at);
    for leg in record.call.legs.iter_mut().filter(|l| l.end.is_none()) {
        leg.end = Some(at);
    }
}
