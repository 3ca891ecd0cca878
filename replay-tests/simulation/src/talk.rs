//! The automaton of one conversation: what may follow what, when, and how often. Written from the promises, not from the
//! engine's table, so that the two can disagree.

use crate::broken::{Broken, Checked};
use crate::jobs::{GONE_MS, SILENT_MS};
use antiphon_engine::WorkerSpec;
use antiphon_history::{
    ActivityCall, ActivityOutcome, ConversationEvent, ConversationOutcome, ExitReason, LeftOut, LeftOutReason, Name,
    Response, TimeoutKind, Timestamp, TokenHash,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The workers that were connected when the engine decided, where that is known.
pub(crate) type Connected<'a> = Option<&'a BTreeMap<String, Arc<WorkerSpec>>>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Queued,
    Selected,
    Sent,
    Answered,
    Held,
    Closed,
}

/// What the record says of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) phase: Phase,
    next_seq: u64,
    pub(crate) leg: u32,
    worker: Name,
    pub(crate) token: TokenHash,
    /// A repair ended a leg by force: the one thing that ends a lease before its time.
    pub(crate) forced: bool,
    /// The lease of the leg under way.
    pub(crate) lease_ms: Option<u64>,
    sent_at: Timestamp,
    pub(crate) visible_at: Timestamp,
    pub(crate) losses: u32,
    excluded: Vec<Name>,
    pub(crate) response: Option<Response>,
    pub(crate) outcome: Option<ConversationOutcome>,
    pub(crate) last_exit: Option<ExitReason>,
    /// What it would close as if it is given up.
    pub(crate) held_for: Option<ConversationOutcome>,
    /// A worker was left out because it had lost a leg.
    pub(crate) spared: bool,
}

fn wrong(what: &'static str, detail: String) -> Broken {
    Broken::new(4, what, detail)
}

/// Whether a leg that ended so was lost through no word of the activity.
pub(crate) fn is_loss(reason: &ExitReason) -> bool {
    is_at_fault(reason) || matches!(reason, ExitReason::EngineRestart)
}

/// Whether its worker is left out of the next legs.
fn is_at_fault(reason: &ExitReason) -> bool {
    matches!(
        reason,
        ExitReason::WorkerExit
            | ExitReason::WorkerDied { .. }
            | ExitReason::Panicked { .. }
            | ExitReason::LeaseExpired
            | ExitReason::Forced
            | ExitReason::Redriven
    )
}

impl Talk {
    /// The first event of an attempt.
    pub(crate) fn begin(event: &ConversationEvent, seq: u64, at: Timestamp) -> Checked<Talk> {
        let ConversationEvent::Scheduled { visible_at, .. } = event else {
            return Err(wrong("a conversation does not begin with Scheduled", event.name().to_owned()));
        };
        if seq != 1 {
            return Err(Broken::new(2, "an event has a wrong number", format!("Scheduled has number {seq}")));
        }
        Ok(Talk {
            phase: Phase::Queued,
            next_seq: 2,
            leg: 0,
            worker: Name::default(),
            token: TokenHash([0; 16]),
            forced: false,
            lease_ms: None,
            sent_at: at,
            visible_at: visible_at.unwrap_or(at),
            losses: 0,
            excluded: Vec::new(),
            response: None,
            outcome: None,
            last_exit: None,
            held_for: None,
            spared: false,
        })
    }

    /// Whether some worker lost an earlier leg.
    pub(crate) fn is_spoiled(&self) -> bool {
        !self.excluded.is_empty()
    }

    /// Who has the leg.
    pub(crate) fn worker(&self) -> &str {
        &self.worker
    }

    /// Whether this worker lost an earlier leg.
    pub(crate) fn lost_by(&self, worker: &str) -> bool {
        self.excluded.iter().any(|lost| lost == worker)
    }

    pub(crate) fn follow(
        &mut self,
        event: &ConversationEvent,
        seq: u64,
        at: Timestamp,
        call: &ActivityCall,
        connected: Connected<'_>,
        held_until: impl Fn(u32) -> Option<Timestamp>,
    ) -> Checked {
        use ConversationEvent as E;
        if seq != self.next_seq {
            let detail = format!("{} has number {seq}, expected {}", event.name(), self.next_seq);
            return Err(Broken::new(2, "an event has a wrong number", detail));
        }
        self.next_seq += 1;
        let options = &call.options;
        self.phase = match (self.phase, event) {
            (Phase::Queued, E::NoWorker { .. }) => Phase::Queued,
            (Phase::Queued, E::WorkerSelected { leg, worker, token, why, lease_ms }) if *leg == self.leg + 1 => {
                if at < self.visible_at {
                    return Err(wrong("a leg began before its wait was over", format!("leg {leg} at {}", at.0)));
                }
                if self.losses > options.max_losses || options.at_most_once && *leg > 1 {
                    return Err(wrong("a leg went out although its budget was used up", format!("leg {leg}")));
                }
                if lease_ms.is_none() {
                    self.check_choice(worker, call, connected)?;
                }
                self.lease_ms = *lease_ms;
                let lost_one = |left: &LeftOut| left.reason == LeftOutReason::LostEarlierLeg;
                self.spared |= why.as_ref().is_some_and(|why| why.left_out.iter().any(lost_one));
                (self.leg, self.worker, self.token) = (*leg, worker.clone(), *token);
                Phase::Selected
            }
            (Phase::Selected, E::Sent { leg }) if *leg == self.leg => {
                self.sent_at = at;
                Phase::Sent
            }
            (Phase::Sent, E::Heartbeat { leg, .. } | E::CancelSent { leg }) if *leg == self.leg => Phase::Sent,
            (Phase::Sent, E::Received { leg, response }) if *leg == self.leg => {
                self.response = Some(response.clone());
                Phase::Answered
            }
            (Phase::Sent, E::Exited { leg, reason, visible_at, .. }) if *leg == self.leg => {
                self.exited(reason, at, call, held_until(*leg))?;
                self.visible_at = visible_at.unwrap_or(at);
                Phase::Queued
            }
            (Phase::Answered, E::Closed { outcome }) => {
                let completed = matches!(self.response, Some(Response::Completed { .. }));
                let fits = match outcome {
                    ConversationOutcome::Completed => completed,
                    ConversationOutcome::Failed => !completed,
                    _ => false,
                };
                if !fits {
                    return Err(wrong("a conversation closed otherwise than it was answered", outcome.to_string()));
                }
                self.outcome = Some(*outcome);
                Phase::Closed
            }
            (Phase::Queued | Phase::Answered, E::Held { outcome }) => {
                self.held(outcome, call)?;
                Phase::Held
            }
            (Phase::Held, E::Closed { outcome }) => {
                let cancelled = *outcome == ConversationOutcome::Cancelled;
                if self.held_for != Some(*outcome) && !cancelled {
                    return Err(wrong(
                        "a held call closed as something else than it was held for",
                        outcome.to_string(),
                    ));
                }
                self.outcome = Some(*outcome);
                Phase::Closed
            }
            (Phase::Queued, E::Closed { outcome }) => {
                self.closed_unanswered(*outcome, call)?;
                Phase::Closed
            }
            (phase, event) => {
                let detail = format!("{} in a conversation that is {phase:?} at leg {}", event.name(), self.leg);
                return Err(wrong("a conversation's events are out of order", detail));
            }
        };
        Ok(())
    }

    fn exited(
        &mut self,
        reason: &ExitReason,
        at: Timestamp,
        call: &ActivityCall,
        held_until: Option<Timestamp>,
    ) -> Checked {
        let leased = match reason {
            ExitReason::LeaseExpired | ExitReason::Released => self.lease_ms.is_some(),
            ExitReason::WorkerExit | ExitReason::EngineRestart | ExitReason::Redriven => self.lease_ms.is_none(),
            _ => true,
        };
        if !leased {
            return Err(wrong("a leg ended as only one with, or only one without, a lease may", reason.to_string()));
        }
        // What its worker was told, or asked for itself, goes before the length on record.
        let until = held_until.or(self.lease_ms.map(|ms| self.sent_at.plus_ms(ms)));
        if *reason == ExitReason::LeaseExpired && until.is_some_and(|until| at < until) {
            let detail = format!("leg {} at {}, held until {until:?}", self.leg, at.0);
            return Err(wrong("a leg was taken away from a worker that had its lease", detail));
        }
        self.forced |= *reason == ExitReason::Forced;
        if is_loss(reason) {
            self.losses += 1;
        }
        if is_at_fault(reason) {
            self.excluded.push(self.worker.clone());
        }
        let allowed = match reason {
            ExitReason::TimedOut { kind: TimeoutKind::StartToClose } => call.options.start_to_close_ms,
            ExitReason::TimedOut { kind: TimeoutKind::Heartbeat } => call.options.heartbeat_ms,
            ExitReason::TimedOut { kind: TimeoutKind::ScheduleToStart } => {
                return Err(wrong("a leg that was sent ran into schedule-to-start", format!("leg {}", self.leg)));
            }
            // At the earliest: what its worker told meanwhile is not on record.
            ExitReason::Redriven => Some(SILENT_MS),
            ExitReason::Forced => Some(GONE_MS),
            _ => Some(0),
        };
        self.last_exit = Some(reason.clone());
        match allowed {
            Some(ms) if at >= self.sent_at.plus_ms(ms) => Ok(()),
            _ => Err(Broken::new(
                4,
                "a leg timed out early",
                format!("leg {} sent at {}: {reason}", self.leg, self.sent_at.0),
            )),
        }
    }

    fn closed_unanswered(&mut self, outcome: ConversationOutcome, call: &ActivityCall) -> Checked {
        let released = self.last_exit == Some(ExitReason::Released);
        let once = call.options.at_most_once && (self.losses > 0 || released);
        let over = self.losses > call.options.max_losses || once;
        let fits = match outcome {
            ConversationOutcome::Completed | ConversationOutcome::Failed => false,
            ConversationOutcome::Lost => over,
            ConversationOutcome::NoWorker => call.options.fail_fast,
            ConversationOutcome::TimedOut | ConversationOutcome::Cancelled => !over,
        };
        self.outcome = Some(outcome);
        let detail = format!("{outcome} after {} losses", self.losses);
        if fits { Ok(()) } else { Err(wrong("a conversation closed as nothing before it says", detail)) }
    }

    /// Only a call that asked for it is held, and only when its budget is used up.
    fn held(&mut self, outcome: &ActivityOutcome, call: &ActivityCall) -> Checked {
        let retryable = matches!(self.response, Some(Response::Failed { retryable: true, .. }));
        let over = self.losses > call.options.max_losses || call.options.at_most_once && self.losses > 0;
        let fits = match outcome {
            ActivityOutcome::Failed { .. } => self.phase == Phase::Answered && retryable,
            ActivityOutcome::Lost { .. } => self.phase == Phase::Queued && over,
            ActivityOutcome::TimedOut { .. } => self.phase == Phase::Queued && !over,
            _ => false,
        };
        self.held_for = Some(outcome.closes_as());
        if fits && call.options.hold {
            Ok(())
        } else {
            Err(wrong("a call was held without a cause", outcome.to_string()))
        }
    }

    /// A worker that lost a leg is left out as long as another could take the call.
    fn check_choice(&self, worker: &Name, call: &ActivityCall, connected: Connected<'_>) -> Checked {
        let Some(connected) = connected else { return Ok(()) };
        let able = |spec: &WorkerSpec| {
            spec.queues.contains(call.queue.as_str())
                && spec.activities.contains(call.activity_type.as_str())
                && call.options.needs.iter().all(|label| spec.labels.contains(label))
        };
        let fresh = |spec: &&Arc<WorkerSpec>| able(spec) && !self.excluded.iter().any(|lost| *lost == *spec.name);
        let chosen = connected.get(worker.as_str()).is_some_and(|spec| able(spec));
        if !chosen {
            return Err(wrong("a worker was chosen that cannot take the call", worker.to_string()));
        }
        if self.excluded.contains(worker) && connected.values().any(|spec| fresh(&spec)) {
            return Err(wrong(
                "a worker that lost a leg was chosen again although another was there",
                worker.to_string(),
            ));
        }
        Ok(())
    }
}
