//! By which channel a line can go to somebody, and by which other one when it did not reach them.

use codecs::record::Address;
use codecs::time::Mono;

use super::quota::{Quota, QuotaRule};

/// A channel by which people can be written to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outlet {
    pub name: String,
    pub quota: QuotaRule,
    /// Once the quota is spent a line still goes, as the platform's template message.
    pub has_template: bool,
    pub is_sms: bool,
}

/// How a line may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Plain,
    /// As the platform's template message: its quota is spent.
    Template,
    /// The platform allows no further line to this user now.
    Spent,
    /// There is no such channel.
    Nowhere,
}

/// Somebody whom a line did not reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreached<'a> {
    /// The channels that these words were tried by.
    pub tried: Vec<&'a str>,
    /// Where they have written from.
    pub writes_by: Vec<Address>,
    /// The telephone number that is theirs for certain.
    pub phone: Option<String>,
    /// A message in the wrong moment gives them away: they are never written to unasked.
    pub is_silent: bool,
}

/// The channels, and what may still be sent by each.
pub(super) struct Outlets {
    all: Vec<Outlet>,
    quota: Quota,
}

impl Outlets {
    pub(super) fn new(all: Vec<Outlet>) -> Outlets {
        Outlets { all, quota: Quota::default() }
    }

    fn of(&self, name: &str) -> Option<&Outlet> {
        self.all.iter().find(|outlet| outlet.name == name)
    }

    /// They have written: what may be sent to them is counted from now. A channel without a quota needs no count.
    pub(super) fn heard(&mut self, now: Mono, from: &Address) {
        if self.of(&from.channel).is_some_and(|outlet| outlet.quota != QuotaRule::default()) {
            self.quota.heard(now, from);
        }
    }

    /// Counts a line to `to`.
    pub(super) fn take(&mut self, now: Mono, to: &Address) -> Way {
        let Some(outlet) = self.of(&to.channel) else { return Way::Nowhere };
        let (rule, has_template) = (outlet.quota, outlet.has_template);
        match self.quota.take(now, to, rule) {
            Ok(()) => Way::Plain,
            Err(_) if has_template => Way::Template,
            Err(_) => Way::Spent,
        }
    }

    /// Where else they can be written to: by a channel that they wrote by, or by SMS to their mobile telephone.
    pub(super) fn other_way(&self, now: Mono, unreached: &Unreached<'_>) -> Option<Address> {
        if unreached.is_silent {
            return None;
        }
        let mobile = unreached.phone.as_ref().filter(|phone| phone.len() == 11 && phone.starts_with('1'));
        let by_sms = mobile.into_iter().flat_map(|mobile| {
            let sms = self.all.iter().filter(|outlet| outlet.is_sms);
            sms.map(|outlet| Address { channel: outlet.name.clone(), user: mobile.clone() })
        });
        let ways = unreached.writes_by.iter().cloned().chain(by_sms);
        let mut untried = ways.filter(|to| !unreached.tried.contains(&to.channel.as_str()));
        untried.find(|to| {
            let outlet = self.of(&to.channel);
            outlet.is_some_and(|o| o.has_template || self.quota.allows(now, to, o.quota).is_ok())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outlets() -> Outlets {
        let once = QuotaRule { within: Some(Duration::from_secs(60)), replies: Some(1) };
        let outlet =
            |name: &str, quota, has_template, is_sms| Outlet { name: name.into(), quota, has_template, is_sms };
        Outlets::new(vec![
            outlet("wechat", once, true, false),
            outlet("weibo", once, false, false),
            outlet("cmcc", QuotaRule::default(), false, true),
        ])
    }

    fn address(channel: &str) -> Address {
        Address { channel: channel.into(), user: "u".into() }
    }

    #[test]
    fn a_spent_quota_leaves_the_template_where_there_is_one() {
        let mut outlets = outlets();
        let ways = |outlets: &mut Outlets, channel| [0, 1].map(|_| outlets.take(Mono(1), &address(channel)));
        outlets.heard(Mono(0), &address("wechat"));
        outlets.heard(Mono(0), &address("weibo"));
        assert_eq!(ways(&mut outlets, "wechat"), [Way::Plain, Way::Template]);
        assert_eq!(ways(&mut outlets, "weibo"), [Way::Plain, Way::Spent]);
        assert_eq!(ways(&mut outlets, "cmcc"), [Way::Plain, Way::Plain]);
        assert_eq!(ways(&mut outlets, "qq"), [Way::Nowhere, Way::Nowhere]);
    }

    #[test]
    fn the_other_way_is_one_that_was_not_tried_and_is_allowed_and_never_one_to_the_silent() {
        let mut outlets = outlets();
        let (weibo, wechat) = (address("weibo"), address("wechat"));
        outlets.heard(Mono(0), &weibo);
        let mut unreached = Unreached {
            tried: vec!["wechat"],
            writes_by: vec![wechat.clone(), weibo.clone()],
            phone: Some("13800138000".into()),
            is_silent: false,
        };
        assert_eq!(outlets.other_way(Mono(1), &unreached), Some(weibo.clone()));
        assert_eq!(outlets.take(Mono(1), &weibo), Way::Plain);
        let sms = Address { channel: "cmcc".into(), user: "13800138000".into() };
        assert_eq!(outlets.other_way(Mono(2), &unreached), Some(sms), "Weibo allows no further one");
        unreached.phone = Some("06325551234".into());
        assert_eq!(outlets.other_way(Mono(2), &unreached), None, "no SMS to a fixed telephone");
        (unreached.tried, unreached.is_silent) = (vec![], true);
        assert_eq!(outlets.other_way(Mono(2), &unreached), None);
    }
}
