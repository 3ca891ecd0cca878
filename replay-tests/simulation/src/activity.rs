//! One activity, as the record tells of it: which attempts may follow, and what may come of it.

use crate::broken::{Broken, Checked};
use crate::interpret::value;
use crate::talk::{Phase, Talk};
use crate::told::{Given, Told, is_of};
use antiphon_history::{
    ActivityCall, ActivityOutcome, ConversationEvent, ConversationKey, ConversationOutcome, Ordinal, Response, RunKey,
    TimeoutKind, Timestamp,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One activity of a run.
pub(crate) struct ActivityBook {
    pub(crate) call: Arc<ActivityCall>,
    pub(crate) scheduled_at: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) talk: Option<Talk>,
    pub(crate) sent: u32,
    /// Attempts before somebody retried it: its budgets count anew.
    pub(crate) forgiven: u32,
    /// What was answered under a lease, by attempt and leg.
    pub(crate) responses: BTreeMap<(u32, u32), Response>,
    pub(crate) resolved: bool,
    pub(crate) withdrawn: bool,
}

impl ActivityBook {
    /// Whether another attempt may begin, now and with this wait.
    pub(crate) fn next_attempt(
        &self,
        conversation: ConversationKey,
        event: &ConversationEvent,
        at: Timestamp,
        told: &Told,
    ) -> Checked {
        let wrong = |what: &'static str| Err(Broken::new(4, what, conversation.to_string()));
        let options = &self.call.options;
        // A call that was withdrawn in the turn that asked for it still gets its conversation, which closes at once.
        if conversation.attempt != self.attempt + 1 || self.resolved || self.withdrawn && self.attempt > 0 {
            return wrong("an attempt began out of turn");
        }
        let Some(talk) = &self.talk else { return Ok(()) };
        if talk.held_for.is_some() && talk.phase == Phase::Closed {
            return match event {
                ConversationEvent::Scheduled { visible_at: None, .. } => Ok(()),
                _ => wrong("a held call that is retried waits"),
            };
        }
        let attempt = conversation.attempt - self.forgiven;
        if attempt > options.retry.max_attempts || options.at_most_once {
            return wrong("an attempt began although its budget was used up");
        }
        let again = match talk.outcome {
            Some(ConversationOutcome::Failed) => {
                matches!(talk.response, Some(Response::Failed { retryable: true, .. }))
            }
            outcome => outcome == Some(ConversationOutcome::TimedOut),
        };
        if talk.phase != Phase::Closed || !again {
            return wrong("an attempt began although the one before it gave no cause");
        }
        let growth = 1u64 << (attempt - 2);
        let wait = (options.retry.initial_ms * growth).min(options.retry.max_ms);
        let before = ConversationKey { attempt: self.attempt, ..conversation };
        // Its worker may have said how long.
        let asked = told.answers((before, talk.leg)).iter().filter_map(|given| match given {
            Given::Failed { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        });
        let waits: Vec<u64> = asked.chain([wait]).collect();
        match event {
            ConversationEvent::Scheduled { visible_at, .. }
                if waits.iter().any(|wait| visible_at.unwrap_or(at) == at.plus_ms(*wait)) =>
            {
                Ok(())
            }
            _ => wrong("an attempt does not wait as its policy says"),
        }
    }

    pub(crate) fn check_outcome(
        &self,
        outcome: &ActivityOutcome,
        at: Timestamp,
        (run, ordinal, told): (RunKey, Ordinal, &Told),
    ) -> Checked {
        let wrong = |what: &'static str| Err(Broken::new(4, what, format!("{ordinal}: {outcome:?}")));
        let Some(talk) = self.talk.as_ref().filter(|talk| talk.phase == Phase::Closed) else {
            return wrong("an activity was resolved before its conversation closed");
        };
        let given = told.answers((ConversationKey { run, ordinal, attempt: self.attempt }, talk.leg));
        let options = &self.call.options;
        let (closed, fits) = match outcome {
            ActivityOutcome::Completed { result } => {
                let recorded = talk.response.as_ref().is_some_and(|response| is_of(response, result));
                (ConversationOutcome::Completed, recorded && given.contains(&Given::Completed(value(result.first()))))
            }
            ActivityOutcome::Failed { failure, attempts } => {
                let told = value(failure.details.as_ref());
                let last = given.iter().any(|given| matches!(given, Given::Failed { code, .. } if *code == told));
                (ConversationOutcome::Failed, last && *attempts == self.attempt)
            }
            ActivityOutcome::TimedOut { kind, attempts } => {
                let since = match kind {
                    TimeoutKind::ScheduleToStart => options.schedule_to_start_ms.map(|ms| talk.visible_at.plus_ms(ms)),
                    TimeoutKind::ScheduleToClose => {
                        options.schedule_to_close_ms.map(|ms| self.scheduled_at.plus_ms(ms))
                    }
                    // Looked at when the leg ended.
                    TimeoutKind::StartToClose | TimeoutKind::Heartbeat => Some(at),
                };
                let late = since.is_some_and(|since| since <= at);
                (ConversationOutcome::TimedOut, late && *attempts == self.attempt)
            }
            ActivityOutcome::Lost { losses, .. } => (ConversationOutcome::Lost, *losses == talk.losses),
            ActivityOutcome::NoWorker { .. } => (ConversationOutcome::NoWorker, options.fail_fast),
            ActivityOutcome::Cancelled => return wrong("an activity was resolved as cancelled"),
        };
        if talk.outcome != Some(closed) || !fits {
            return wrong("an outcome is not what its conversation says");
        }
        Ok(())
    }
}
