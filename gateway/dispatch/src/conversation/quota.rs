//! How often one may answer on a channel: platforms count replies a message of the user, within a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codecs::record::Address;
use codecs::time::Mono;

/// A platform's rule; the default forbids nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QuotaRule {
    /// Counted from the user's last message.
    pub within: Option<Duration>,
    pub replies: Option<u32>,
}

/// Why nothing more may be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spent {
    /// The user last wrote too long ago, or never.
    Window,
    /// All replies to their last message are used up.
    Count,
}

#[derive(Default)]
pub struct Quota {
    users: BTreeMap<Address, (Mono, u32)>,
    order: BTreeSet<(Mono, Address)>,
}

/// Users remembered; the oldest give way.
const USERS_MAX: usize = 100_000;

impl Quota {
    /// The user wrote: the count begins anew.
    pub fn heard(&mut self, at: Mono, from: &Address) {
        if let Some((old, _)) = self.users.insert(from.clone(), (at, 0)) {
            self.order.remove(&(old, from.clone()));
        }
        self.order.insert((at, from.clone()));
        if self.order.len() > USERS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.users.remove(&oldest);
        }
    }

    /// Whether one more reply may be sent.
    ///
    /// # Errors
    /// When the rule allows none.
    pub fn allows(&self, at: Mono, to: &Address, rule: QuotaRule) -> Result<(), Spent> {
        if rule == QuotaRule::default() {
            return Ok(());
        }
        let (last, used) = self.users.get(to).ok_or(Spent::Window)?;
        if rule.within.is_some_and(|within| *last + within <= at) {
            return Err(Spent::Window);
        }
        if rule.replies.is_some_and(|replies| *used >= replies) { Err(Spent::Count) } else { Ok(()) }
    }

    /// Counts one reply.
    ///
    /// # Errors
    /// When the rule allows none.
    pub fn take(&mut self, at: Mono, to: &Address, rule: QuotaRule) -> Result<(), Spent> {
        self.allows(at, to, rule)?;
        if let Some((_, used)) = self.users.get_mut(to) {
            *used += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_a_message_and_end_with_its_window() {
        let rule = QuotaRule { within: Some(Duration::from_nanos(100)), replies: Some(2) };
        let user = Address { channel: "wechat".into(), user: "o1".into() };
        let mut q = Quota::default();
        assert_eq!(q.take(Mono(0), &user, rule), Err(Spent::Window));
        q.heard(Mono(1), &user);
        assert_eq!([q.take(Mono(2), &user, rule), q.take(Mono(3), &user, rule)], [Ok(()), Ok(())]);
        assert_eq!(q.take(Mono(4), &user, rule), Err(Spent::Count));
        q.heard(Mono(5), &user);
        assert_eq!(q.take(Mono(104), &user, rule), Ok(()));
        assert_eq!(q.take(Mono(105), &user, rule), Err(Spent::Window));
        assert_eq!(q.take(Mono(900), &user, QuotaRule::default()), Ok(()));
    }
}
