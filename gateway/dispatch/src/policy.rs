//! The promises, as the machines count them. Asserted in `call`, checked in `sim`, measured by `loadtest`.

use std::time::Duration;

use codecs::record::Promise;

/// T1: every report answered by a human (每起報警求助均能在3秒內接聽).
pub const ANSWER_WITHIN: Duration = Promise::Answer.within();
/// T2: the officer's voice, counted from arrival (30秒內直接與處警民警通話).
pub const OFFICER_WITHIN: Duration = Promise::Officer.within();
/// A caller whom their taker has left to whoever rings waits so long by themselves; then a seat is wanted beside those.
pub(crate) const TRUST: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub struct Policy {
    /// The attendant answers this long before T1 runs out.
    pub attendant_lead: Duration,
    /// A seat that has not picked up after this is passed over.
    pub seat_answers_within: Duration,
    /// Whether a chosen seat hears the tone before it is connected.
    pub tone: bool,
    /// Without a triage the officer is called this long after arrival.
    pub triage_grace: Duration,
    /// A share is never shorter than this: a phone needs it to ring at all.
    pub try_at_least: Duration,
    /// Answered by the attendant at once, no seat asked: for measuring the gateway alone.
    pub attendant_only: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            attendant_lead: Duration::from_millis(100),
            seat_answers_within: Duration::from_secs(1),
            tone: true,
            triage_grace: Duration::from_secs(12),
            try_at_least: Duration::from_secs(4),
            attendant_only: false,
        }
    }
}
