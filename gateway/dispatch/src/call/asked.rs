//! Whoever is asked into the call by name: an agency, a duty room, an officer (items 2.49, 3.43, 3.48).
//!
//! Each rings by itself, beside the ladder and beside the others: whoever picks up ends nobody else's ringing, and a
//! second one that is asked cancels nothing of the first.

use std::time::Duration;

use codecs::record::{Role, TryResult};
use codecs::time::Mono;

use super::officers::{Bridged, PARTIES_MAX};
use super::{Call, Caller, Fact, Output, Target};
use crate::escalation::{Ladder, RING_AT_MOST};
use crate::{LegNo, ResponderId};

#[derive(Debug)]
struct Ringing {
    leg: LegNo,
    responder: ResponderId,
    role: Role,
    started: Mono,
}

#[derive(Debug, Default)]
pub(super) struct Asked {
    ringing: Vec<Ringing>,
    /// Asked before there was anybody on the line to talk to.
    early: Vec<(ResponderId, Role)>,
}

impl Asked {
    pub(super) fn len(&self) -> usize {
        self.ringing.len() + self.early.len()
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.ringing.iter().map(|r| r.started + RING_AT_MOST).min()
    }

    /// One that has rung long enough.
    pub(super) fn expired(&self, now: Mono) -> Option<LegNo> {
        self.ringing.iter().find(|r| r.started + RING_AT_MOST <= now).map(|r| r.leg)
    }

    /// Somebody of the police is being asked: nobody else is sought meanwhile.
    pub(super) fn police(&self) -> bool {
        let mut roles = self.ringing.iter().map(|r| r.role).chain(self.early.iter().map(|(_, role)| *role));
        roles.any(Role::is_police)
    }

    pub(super) fn has(&self, responder: ResponderId) -> bool {
        self.leg_of(responder).is_some() || self.early.iter().any(|(id, _)| *id == responder)
    }

    pub(super) fn leg_of(&self, responder: ResponderId) -> Option<LegNo> {
        self.ringing.iter().find(|r| r.responder == responder).map(|r| r.leg)
    }

    fn take(&mut self, leg: LegNo) -> Option<Ringing> {
        let at = self.ringing.iter().position(|r| r.leg == leg)?;
        Some(self.ringing.remove(at))
    }
}

impl Call {
    /// Somebody named is to come in. They are reserved already.
    pub(super) fn ask_in(&mut self, now: Mono, responder: ResponderId, role: Role) {
        if self.over || self.parties() >= PARTIES_MAX {
            let (leg, reason) = (self.new_leg(), TryResult::Superseded);
            self.fact(Fact::Tried { leg, responder, rung: role });
            self.fact(Fact::TryEnded { leg, responder, result: reason });
            return self.give_back(responder, reason, Duration::ZERO);
        }
        if self.caller != Caller::Connected {
            return self.asked.early.push((responder, role));
        }
        if role.is_police() {
            self.owe_officer(now);
        }
        let leg = self.new_leg();
        self.asked.ringing.push(Ringing { leg, responder, role, started: now });
        self.fact(Fact::Tried { leg, responder, rung: role });
        self.outputs.push_back(Output::StartLeg { leg, target: Target::Responder(responder), role });
    }

    /// There is somebody to talk to.
    pub(super) fn ring_the_early(&mut self, now: Mono) {
        for (responder, role) in std::mem::take(&mut self.asked.early) {
            self.ask_in(now, responder, role);
        }
    }

    /// Those in the conversation, and those who are asked into it.
    pub(super) fn parties(&self) -> usize {
        self.bridged.len() + self.asked.len()
    }

    /// Whether somebody may still come.
    pub(super) fn somebody_comes(&self) -> bool {
        self.asked.len() > 0 || self.ladder.as_ref().is_some_and(Ladder::is_trying)
    }

    /// `false`: nobody was asked on this leg.
    pub(super) fn asked_answered(&mut self, now: Mono, leg: LegNo) -> bool {
        let Some(Ringing { responder, role, started, .. }) = self.asked.take(leg) else { return false };
        if role.is_police() {
            (self.triage_at, self.wish) = (None, None);
        }
        self.fact(Fact::TryEnded { leg, responder, result: TryResult::Answered });
        self.bridged.push(Bridged::new(now, leg, responder, role, now.since(started)));
        self.outputs.push_back(Output::Join { leg, role });
        true
    }

    /// `false`: nobody was asked on this leg.
    pub(super) fn asked_failed(&mut self, now: Mono, leg: LegNo, result: TryResult) -> bool {
        let Some(Ringing { responder, started, .. }) = self.asked.take(leg) else { return false };
        self.fact(Fact::TryEnded { leg, responder, result });
        self.give_back(responder, result, now.since(started));
        if !self.asked.police() {
            self.grant_wish(now);
        }
        self.hold_for_a_seat(now);
        true
    }

    /// Somebody who was to ring later is not wanted any more.
    pub(super) fn drop_early(&mut self, responder: ResponderId) {
        if let Some(at) = self.asked.early.iter().position(|(id, _)| *id == responder) {
            self.asked.early.remove(at);
            self.give_back(responder, TryResult::Superseded, Duration::ZERO);
        }
    }

    pub(super) fn end_asked(&mut self, now: Mono) {
        let Asked { ringing, early } = std::mem::take(&mut self.asked);
        for r in ringing {
            self.outputs.push_back(Output::DropLeg { leg: r.leg });
            self.fact(Fact::TryEnded { leg: r.leg, responder: r.responder, result: TryResult::Superseded });
            self.give_back(r.responder, TryResult::Superseded, now.since(r.started));
        }
        for (responder, _) in early {
            self.give_back(responder, TryResult::Superseded, Duration::ZERO);
        }
    }

    fn give_back(&mut self, responder: ResponderId, result: TryResult, after: Duration) {
        self.outputs.push_back(Output::ReleaseResponder { responder, result, after });
    }
}
