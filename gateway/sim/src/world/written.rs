//! Written reports in the world: the carrier's insistence, the takers' lines, and what the casebook says.

use codecs::journal::Kind;
use codecs::record::LineState;
use switchboard::{CasebookOutput, RequestId, SayRequest, ToCasebook, ToDesk};

use super::{Coming, FIRST_SAY, World};
use crate::rules::Rule;
use crate::writers::{Say, Writers};

impl World {
    /// A message that is not acknowledged comes again.
    pub(super) fn hand_over(&mut self, n: usize) {
        let again = self.chance.ms(1500, 2500);
        if self.writers.sent[n].acknowledged && self.writers.sent[n].times > 1 {
            return;
        }
        if !self.writers.sent[n].acknowledged {
            self.plan(again, Coming::Message { n });
        }
        let at = self.wall();
        let (message, request) = self.writers.incoming(n, self.broken);
        if let Some(gateway) = &mut self.gateway {
            gateway.casebook.handle(self.now, ToCasebook::Incoming { at, message: Box::new(message), request });
        }
        self.settle_casebook();
    }

    pub(super) fn say(&mut self, say: Say) {
        let at = self.wall();
        // A number of a taker's, so that it is told from a triage.
        self.next_request += 1;
        let request = RequestId(FIRST_SAY + self.next_request);
        let Say { seat, alert, done } = say;
        let silent =
            self.gateway.as_ref().and_then(|g| g.casebook.record(alert)).is_some_and(|r| r.reporter.safety.silent);
        let Some(gateway) = &mut self.gateway else { return };
        if silent {
            gateway.casebook.handle(self.now, ToCasebook::Done { at, no: alert, seat: seat.clone(), request });
        }
        let line = SayRequest {
            at,
            no: alert,
            seat,
            body: "收到".into(),
            channel: None,
            answers: None,
            done,
            despite_silence: false,
            request,
        };
        gateway.casebook.handle(self.now, ToCasebook::Say(Box::new(line)));
        self.settle_casebook();
    }

    pub(super) fn settle_casebook(&mut self) {
        while let Some(output) = self.gateway.as_mut().and_then(|g| g.casebook.poll_output()) {
            match output {
                CasebookOutput::Append { at, mut event } => {
                    self.tell(format_args!("journal {} {}", event.kind, event.id));
                    if self.broken == Some(Rule::Seal) && self.chance.percent(5) {
                        std::sync::Arc::make_mut(&mut event.data).incident.text.push('!');
                        event.sealed = codecs::record::SealedJson::default();
                    }
                    self.written.note(self.now, &event.data);
                    let frame = (at, Kind::Event, event.to_json());
                    self.storage.append(frame, self.broken, &mut self.chance);
                }
                CasebookOutput::Frame { at, kind, payload } => {
                    self.storage.append((at, kind, payload), self.broken, &mut self.chance);
                }
                CasebookOutput::Desk(ToDesk::CallBack(_)) if self.broken == Some(Rule::CallBack) => {}
                CasebookOutput::Desk(message) => self.tell_desk(message),
                CasebookOutput::Outbound(outbound) => {
                    self.reach("line to a writer");
                    let after = self.chance.ms(3, 200);
                    let state = if self.chance.percent(5) { LineState::Failed } else { LineState::Sent };
                    if state == LineState::Failed {
                        self.reach("line that got nowhere");
                    }
                    self.plan(after, Coming::LineFate { line: outbound.line.clone(), state });
                }
                CasebookOutput::Notice(notice) => self.noticed(notice),
                CasebookOutput::Standing { .. } => {}
                CasebookOutput::Fetch(_)
                | CasebookOutput::Counted { .. }
                | CasebookOutput::Withdraw { .. }
                | CasebookOutput::CalledTo { .. }
                | CasebookOutput::Approach { .. } => {}
                CasebookOutput::Reply(reply) if Writers::of(reply.request).is_some() => {
                    self.acknowledged(reply.request)
                }
                CasebookOutput::Reply(reply) if reply.request.0 >= FIRST_SAY => {
                    if let Ok(Some(no)) = reply.result {
                        self.said.push(no);
                    }
                }
                CasebookOutput::Reply(reply) => {
                    if let Ok(Some(no)) = reply.result {
                        self.reach("acknowledged");
                        self.acknowledged.push(no);
                    }
                }
                CasebookOutput::Shard(message) => {
                    let (now, wall) = (self.now, self.wall());
                    if let Some(gateway) = &mut self.gateway {
                        gateway.tell(now, wall, &message);
                    }
                }
            }
        }
        self.storage.end_batch();
        if self.broken == Some(Rule::SyncBeforeAcknowledgement)
            && let Some(gateway) = &mut self.gateway
        {
            gateway.casebook.handle_durable(u64::MAX);
            let replies: Vec<_> = std::iter::from_fn(|| gateway.casebook.poll_output()).collect();
            for output in replies {
                match output {
                    CasebookOutput::Reply(reply) if Writers::of(reply.request).is_some() => {
                        self.acknowledged(reply.request);
                    }
                    CasebookOutput::Reply(reply) => self.acknowledged.extend(reply.result.ok().flatten()),
                    _ => {}
                }
            }
        }
        if !self.storage.syncing && self.storage.waiting() > 0 && self.gateway.is_some() {
            self.storage.syncing = true;
            let slow = if self.chance.percent(3) { 3000 } else { 12 };
            let after = self.chance.ms(1, slow);
            self.plan(after, Coming::Synced);
        }
    }

    pub(super) fn acknowledged(&mut self, request: RequestId) {
        let n = Writers::of(request).expect("looked at by the caller");
        // An acknowledgement may be lost on its way: the message comes once more.
        if self.chance.percent(5) && self.broken != Some(Rule::SyncBeforeAcknowledgement) {
            return self.reach("acknowledgement lost");
        }
        self.reach("message acknowledged");
        self.writers.sent[n].acknowledged = true;
    }

    /// A taker reads what they were given, and answers most of it.
    pub(super) fn noticed(&mut self, notice: switchboard::Notice) {
        if notice.what != switchboard::News::Given || self.chance.percent(10) {
            return;
        }
        let after = self.chance.ms(200, 2000);
        let done = self.chance.percent(70);
        self.plan(after, Coming::Say(Say { seat: notice.seat, alert: notice.alert, done }));
    }
}
