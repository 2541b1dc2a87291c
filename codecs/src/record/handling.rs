//! What is done about an alert: who is told, in which order and by when, and what they tell in turn.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Stamp;
use crate::geo::Point;

/// What is promised to every reporter, by when.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Promise {
    /// A human is heard, or a human's first line has been taken by its channel: T1.
    Answer,
    /// The officer of the nearest grid speaks with them: T2.
    Officer,
}

impl Promise {
    pub const ALL: [Promise; 2] = [Promise::Answer, Promise::Officer];

    /// From the first byte of the report.
    pub const fn within(self) -> Duration {
        match self {
            Promise::Answer => Duration::from_secs(3),
            Promise::Officer => Duration::from_secs(30),
        }
    }

    /// Its timer's name in the record and in events.
    pub const fn timer(self) -> &'static str {
        match self {
            Promise::Answer => "T1",
            Promise::Officer => "T2",
        }
    }
}

/// What is expected of a target once it was told, by when: the rule that chose it says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Limit {
    /// Its receipt: T3.
    Receipt,
    /// The receipt of whoever is told before all others: T4. Without it they are told all the same.
    FirstReceipt,
    /// 签收, from the push: T5.
    SignOff,
    /// 下达处置指令, from the signature: T6.
    Instruction,
    /// 应急响应, from the instruction: T7.
    Response,
    /// 到达现场, from the instruction: T8.
    Arrival,
    /// 反馈, from the push: T10.
    Feedback,
}

impl Limit {
    /// Whether it waits while its target is paused: what a receipt and a signature say is expected whatever happens.
    pub fn can_wait(self) -> bool {
        !matches!(self, Limit::Receipt | Limit::FirstReceipt | Limit::SignOff)
    }

    pub const ALL: [Limit; 7] = [
        Limit::Receipt,
        Limit::FirstReceipt,
        Limit::SignOff,
        Limit::Instruction,
        Limit::Response,
        Limit::Arrival,
        Limit::Feedback,
    ];

    /// Its timer's name in the record and in events.
    pub const fn timer(self) -> &'static str {
        match self {
            Limit::Receipt => "T3",
            Limit::FirstReceipt => "T4",
            Limit::SignOff => "T5",
            Limit::Instruction => "T6",
            Limit::Response => "T7",
            Limit::Arrival => "T8",
            Limit::Feedback => "T10",
        }
    }
}

/// A deadline of record.md section 4 and how it went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Timer {
    /// `T1`, `T2`, …
    pub name: String,
    /// The target that it is expected of; empty: ourselves.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub of: String,
    /// When it began; a target's has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Stamp>,
    pub due: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met_at: Option<Stamp>,
    /// Stopped since then, with a reason in `handling[]`; it goes on with what was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Stamp>,
    pub breach: bool,
}

impl Timer {
    /// None: one of a later version, or a target's.
    pub fn promise(&self) -> Option<Promise> {
        Promise::ALL.into_iter().find(|promise| promise.timer() == self.name)
    }

    /// How long a target took, where it has done by now what was expected of it at this very moment.
    pub fn took(&self, now: Stamp) -> Option<(Limit, Duration)> {
        let (limit, since) = (self.limit()?, self.since?);
        let took = self.met_at.filter(|met| *met == now)?.0.0 - since.0.0;
        Some((limit, Duration::from_nanos(u64::try_from(took).unwrap_or(0))))
    }

    /// None: one of a later version, or our own promise.
    pub fn limit(&self) -> Option<Limit> {
        Limit::ALL.into_iter().find(|limit| limit.timer() == self.name)
    }
}

/// Who did it, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Signature {
    /// Role and subject (`downstream:city`).
    pub by: String,
    pub at: Stamp,
}

/// 推送/签收/反馈: one target, and what came back from it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Push {
    pub target: String,
    /// 1 is told first; the next when each of these has sent its receipt, or has kept the others waiting too long.
    pub order: u8,
    /// The rule that chose it, and others that name it too.
    pub rule: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_rules: Vec<String>,
    /// Told from this moment on, and of every revision since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Stamp>,
    /// It has taken its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructed: Option<Signature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fed_back: Option<Signature>,
    /// Nothing more is expected of it: it refused, or somebody closed the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Signature>,
    /// Told of nothing from this moment on: it, or a unit above it, is complained of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Stamp>,
    /// The timers that it broke.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breach: Vec<String>,
}

impl Push {
    /// Every rule that names it.
    pub fn rules(&self) -> Vec<String> {
        std::iter::once(&self.rule).chain(&self.more_rules).cloned().collect()
    }
}

/// A step of those who act (record.md section 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HandlingStep {
    /// 推送.
    Pushed,
    /// 签收.
    Signed,
    /// 下达处置指令.
    Instructed,
    /// 接受指令.
    Accepted,
    /// 联系报警人.
    Contacted,
    /// 出警.
    Enroute,
    /// 到达.
    Arrived,
    /// 处置.
    Handled,
    /// 反馈.
    FedBack,
    /// 审核审批.
    Reviewed,
    /// 归档: by hand, with a reason.
    Closed,
    /// 退办: with a reason; another is to own it.
    Refused,
    /// Another unit owns it.
    HandedOver,
    /// 撤警: the reporter takes it back. Nothing ends by it.
    Withdrawn,
    /// 现场态势: how things stand, in the log of a major alert.
    Situation,
    /// 风险: what may come of it.
    Risk,
    /// 措施: what is done about it.
    Measure,
    /// 中止: what is expected of the target waits, with a reason.
    Paused,
    /// 恢复: it is expected again.
    Resumed,
    /// 落实到人: somebody by name is responsible.
    Assigned,
    /// 签批: whoever leads says what is to be done.
    Endorsed,
}

impl HandlingStep {
    /// Whether an alert has come further by it.
    pub fn is_progress(self) -> bool {
        self <= HandlingStep::Closed
    }
}

/// A step, with who took it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Handling {
    pub step: HandlingStep,
    pub at: Stamp,
    /// Role and subject (`officer:2001`).
    pub by: String,
    /// The target that it is a step of; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The unit that owns the alert from here on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// 警情处理结果代码, by the table that the city has loaded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub result_code: String,
    /// Where whoever took it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Point>,
}
