//! Who is told of an alert, in which order, and what is expected of them: rules as data.
//!
//! A rule names what it is about and stages of targets. The targets of a stage are told at the same revision; the next
//! stage when each of them has sent its receipt, or has kept the others waiting for `first_within`.

use std::collections::BTreeMap;
use std::time::Duration;

use codecs::record::{AlertRecord, Channel, Flag, IncidentKind, Limit, Stamp, Validity};

use crate::calendar::Calendar;

/// What a rule is about. Every part that is named has to hold; a list holds if one of it does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct When {
    /// Categories by how they begin: `1009` is every kind of fraud.
    pub categories: Vec<String>,
    pub kinds: Vec<IncidentKind>,
    /// This level, or a graver one.
    pub level_at_most: Option<u8>,
    pub flags: Vec<Flag>,
    pub channels: Vec<Channel>,
    /// Before anybody has triaged it, by its keywords alone.
    pub untriaged: bool,
    /// While it is led as a major alert.
    pub major: bool,
}

/// What rules look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Matter<'a> {
    pub kind: Option<IncidentKind>,
    pub category: Option<&'a str>,
    pub level: Option<u8>,
    pub flags: &'a [Flag],
    pub channel: Channel,
    pub validity: Validity,
    pub complaint_of: Option<&'a str>,
    pub major: bool,
}

impl<'a> Matter<'a> {
    pub fn of(record: &'a AlertRecord) -> Matter<'a> {
        Matter {
            kind: record.incident.kind,
            category: record.incident.category.as_deref(),
            level: record.incident.level,
            flags: &record.reporter.flags,
            channel: record.source.channel,
            validity: record.source.validity,
            complaint_of: record.incident.complaint_of.as_deref(),
            major: record.incident.is_major(),
        }
    }
}

impl When {
    fn holds(&self, matter: &Matter<'_>) -> bool {
        let begins = |c: &str| self.categories.iter().any(|begin| c.starts_with(&**begin));
        (self.untriaged || matter.kind.is_some())
            && (!self.major || matter.major)
            && (self.categories.is_empty() || matter.category.is_some_and(begins))
            && (self.kinds.is_empty() || matter.kind.is_some_and(|k| self.kinds.contains(&k)))
            && self.level_at_most.is_none_or(|most| matter.level.is_some_and(|l| l <= most))
            && (self.flags.is_empty() || matter.flags.iter().any(|f| self.flags.contains(f)))
            && (self.channels.is_empty() || self.channels.contains(&matter.channel))
    }
}

/// Where a rule says nothing.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
const RECEIPT_WITHIN: Duration = Duration::from_secs(3);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    pub name: String,
    pub when: When,
    /// Targets by stages.
    pub stages: Vec<Vec<String>>,
    /// How long the receipt of a stage is waited for before the next is told: T4.
    pub first_within: Duration,
    /// The receipt of the last stage: T3.
    pub receipt_within: Duration,
    /// Who has to sign; none: all of them.
    pub signers: Vec<String>,
    /// 签收: T5. None: nobody has to.
    pub sign_within: Option<Duration>,
    /// 指令 of whoever signs: T6.
    pub instruct_within: Option<Duration>,
    /// 响应: T7.
    pub respond_within: Option<Duration>,
    /// 到达: T8.
    pub arrive_within: Option<Duration>,
    /// 反馈: T10.
    pub feed_back_within: Option<Duration>,
    /// Whole days of these times are working days.
    pub working_days: bool,
}

impl Rule {
    /// As record.md has it where a rule says nothing.
    pub fn new(name: &str, when: When, stages: Vec<Vec<String>>) -> Rule {
        Rule {
            name: name.to_owned(),
            when,
            stages,
            first_within: FIRST_WITHIN,
            receipt_within: RECEIPT_WITHIN,
            signers: Vec::new(),
            sign_within: None,
            instruct_within: None,
            respond_within: None,
            arrive_within: None,
            feed_back_within: None,
            working_days: false,
        }
    }

    fn within(&self, limit: Limit, target: &str) -> Option<Duration> {
        match limit {
            Limit::SignOff | Limit::Instruction
                if !self.signers.is_empty() && !self.signers.iter().any(|s| s == target) =>
            {
                None
            }
            Limit::FirstReceipt => Some(self.first_within),
            Limit::Receipt => Some(self.receipt_within),
            Limit::SignOff => self.sign_within,
            Limit::Instruction => self.instruct_within,
            Limit::Response => self.respond_within,
            Limit::Arrival => self.arrive_within,
            Limit::Feedback => self.feed_back_within,
        }
    }
}

/// A target that is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned<'a> {
    pub target: &'a str,
    /// From 1: the first stage of any rule that names it.
    pub order: u8,
    /// Every rule that names it: what any of them expects is expected.
    pub rules: Vec<&'a str>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    pub all: Vec<Rule>,
    /// Units whose a target is: its own, and those above it.
    pub units: BTreeMap<String, Vec<String>>,
    /// What is of this level, or graver, is led as a major alert.
    pub major_at: Option<u8>,
    pub calendar: Calendar,
}

impl Rules {
    /// Rules whose targets are of no unit.
    pub fn of(all: Vec<Rule>) -> Rules {
        Rules { all, ..Rules::default() }
    }

    /// By when it is expected of a target by these rules, from a moment on: the soonest that any of them says. A receipt
    /// is expected whatever has become of them.
    pub(crate) fn due(&self, rules: &[String], limit: Limit, target: &str, at: Stamp) -> Option<Stamp> {
        let named = self.all.iter().filter(|rule| rules.contains(&rule.name));
        let due = |rule: &Rule| {
            let within = rule.within(limit, target)?;
            let in_days = rule.working_days && limit.can_wait();
            Some(Stamp(if in_days { self.calendar.after(at.0, within) } else { at.0 + within }))
        };
        named.filter_map(due).min().or(match limit {
            Limit::FirstReceipt => Some(Stamp(at.0 + FIRST_WITHIN)),
            Limit::Receipt => Some(Stamp(at.0 + RECEIPT_WITHIN)),
            _ => None,
        })
    }

    /// The same time of the next working day, where these rules count in such.
    pub(crate) fn on_a_day(&self, rules: &[String], due: Stamp) -> Stamp {
        let in_days = self.all.iter().any(|rule| rule.working_days && rules.contains(&rule.name));
        if in_days { Stamp(self.calendar.or_next(due.0)) } else { due }
    }

    pub(crate) fn is_complained_of(&self, matter: &Matter<'_>, target: &str) -> bool {
        let theirs = self.units.get(target);
        matter.complaint_of.is_some_and(|unit| theirs.is_some_and(|all| all.iter().any(|u| u == unit)))
    }

    /// Everybody who is to be told, in their order; of a complaint nobody who is complained of, or is below them. Whom several rules name is told by the first stage of any of them. A
    /// test leaves the house for nobody.
    pub fn plan(&self, matter: &Matter<'_>) -> Vec<Planned<'_>> {
        let mut plan: Vec<Planned<'_>> = Vec::new();
        if matter.validity == Validity::Test || matter.channel == Channel::Test {
            return plan;
        }
        for rule in self.all.iter().filter(|rule| rule.when.holds(matter)) {
            for (order, stage) in (1u8..).zip(&rule.stages) {
                for target in stage.iter().filter(|target| !self.is_complained_of(matter, target)) {
                    match plan.iter_mut().find(|p| p.target == target) {
                        Some(known) => {
                            known.order = known.order.min(order);
                            if known.rules.last() != Some(&&*rule.name) {
                                known.rules.push(&rule.name);
                            }
                        }
                        None => plan.push(Planned { target, order, rules: vec![&rule.name] }),
                    }
                }
            }
        }
        plan.sort_by_key(|p| p.order);
        plan
    }
}
