//! Where an activity stands and what was said about it, in words.

use crate::cli::output::{Paint, Style};
use crate::cli::time::duration;
use crate::cli::timeline::{Attempt, Timeline};
use antiphon_conversation::ActivityState;
use antiphon_history::{
    ActivityOutcome, Blocked, ConversationEvent, ConversationOutcome, Ordinal, Response, RunEvent, RunStatus, Timestamp,
};

impl Timeline {
    /// Why the run is blocked, and since when; `None` if it is not.
    pub(super) fn blocked(&self) -> Option<(Timestamp, &Blocked)> {
        let blocks = self.run_stream().filter_map(|(entry, event)| match event {
            RunEvent::Blocked(blocked) => Some((entry.at, blocked.as_ref())),
            _ => None,
        });
        if self.row.status == RunStatus::Blocked { blocks.last() } else { None }
    }

    /// How an activity stands, in one line: its end, or what it waits for.
    pub(super) fn standing(&self, ordinal: Ordinal, scheduled: Timestamp, style: &Style) -> (Paint, String) {
        let attempts = self.attempts_of(ordinal).count();
        let last = self.attempts_of(ordinal).last().map(|(_, attempt)| attempt);
        let worker = last.and_then(|attempt| self.worker_of(attempt));
        if let Some((at, outcome)) = self.resolved(ordinal) {
            let took = duration(at.since_ms(scheduled));
            let mut text = format!("{} in {took}", state_of(outcome));
            if let (ActivityOutcome::Completed { .. }, Some(worker)) = (outcome, worker) {
                text.push_str(&format!(" by {worker}"));
            }
            if attempts > 1 {
                text.push_str(&format!(", {attempts} attempts"));
            }
            let good = matches!(outcome, ActivityOutcome::Completed { .. });
            return (if good { Paint::Good } else { Paint::Warn }, text);
        }
        let Some(last) = last else { return (Paint::Name, "scheduled".to_owned()) };
        let fold = &last.fold;
        let text = match (last.state(), fold.leg(), fold.no_worker()) {
            (ActivityState::Started, Some(leg), _) => {
                let sent = leg.sent_at.map(|at| style.zone.date_time(at));
                match sent {
                    Some(sent) => format!("started: with {} since {sent}", leg.worker),
                    None => format!("started: {} is chosen, nothing is sent yet", leg.worker),
                }
            }
            (ActivityState::Scheduled, _, Some(reason)) => format!("scheduled: no worker takes it: {reason}"),
            (ActivityState::Scheduled, _, None) if fold.visible_at() > style.now => {
                format!("scheduled: waits until {}", style.zone.date_time(fold.visible_at()))
            }
            (ActivityState::Scheduled, _, None) => match fold.last_exit() {
                Some(exit) => format!("scheduled: waits for a worker; before, {exit}"),
                None => "scheduled: waits for a worker".to_owned(),
            },
            (ActivityState::Held, _, _) => {
                let outcome = fold.held().map(state_of).unwrap_or_default();
                format!("held as a dead letter until somebody retries or discards it: {outcome}")
            }
            (state, _, _) => state.to_string(),
        };
        (Paint::Name, text)
    }

    /// The worker that had the last leg of an attempt.
    pub(super) fn worker_of<'a>(&'a self, attempt: &'a Attempt) -> Option<&'a str> {
        self.events_of(attempt)
            .filter_map(|(_, event)| match event {
                ConversationEvent::WorkerSelected { worker, .. } => Some(worker.as_str()),
                _ => None,
            })
            .last()
    }
}

/// The end of an activity, with the reason where there is one.
fn state_of(outcome: &ActivityOutcome) -> String {
    match outcome {
        ActivityOutcome::Completed { .. } => ConversationOutcome::Completed.to_string(),
        other => other.to_string(),
    }
}

/// What was said, in words.
pub(super) fn told(event: &ConversationEvent, style: &Style) -> String {
    let later = |at: &Option<Timestamp>| at.map(|at| format!(", not before {}", style.zone.date_time(at)));
    match event {
        ConversationEvent::Scheduled { queue, visible_at, .. } => {
            format!("scheduled on queue {queue}{}", later(visible_at).unwrap_or_default())
        }
        ConversationEvent::WorkerSelected { leg, worker, why, lease_ms, .. } => {
            let Some(why) = why else {
                return match lease_ms {
                    Some(ms) => format!("leg {leg}: {worker} asked for it, lease {ms} ms"),
                    None => format!("leg {leg}: {worker} selected, the only one"),
                };
            };
            let mut text = format!(
                "leg {leg}: {worker} selected by {}, {} candidates, {} places free",
                why.policy, why.candidates, why.free
            );
            let left_out: Vec<_> = why.left_out.iter().map(|out| format!("{} ({})", out.worker, out.reason)).collect();
            if !left_out.is_empty() {
                text.push_str(&format!("; left out: {}", left_out.join(", ")));
            }
            text
        }
        ConversationEvent::Sent { leg } => format!("leg {leg}: sent"),
        ConversationEvent::Heartbeat { leg, details } => format!("leg {leg}: heartbeat {details}"),
        ConversationEvent::CancelSent { leg } => format!("leg {leg}: told to stop"),
        ConversationEvent::Received { leg, response } => match response {
            Response::Completed { len, .. } => format!("leg {leg}: answered, {len} bytes"),
            Response::Failed { message, retryable: true } => format!("leg {leg}: failed: {message}"),
            Response::Failed { message, retryable: false } => format!("leg {leg}: failed for good: {message}"),
        },
        ConversationEvent::Exited { leg, reason, details, visible_at } => {
            let progress = details.as_ref().map(|details| format!(", progress {details}")).unwrap_or_default();
            format!("leg {leg}: ended: {reason}{progress}{}", later(visible_at).unwrap_or_default())
        }
        ConversationEvent::NoWorker { reason } => format!("no worker: {reason}"),
        ConversationEvent::Held { outcome } => format!("held: {outcome}"),
        ConversationEvent::Closed { outcome } => format!("closed: {outcome}"),
    }
}
