use antiphon_history::{ConversationEvent, ConversationOutcome};
use std::fmt;

/// Where a conversation stands. A leg is one worker's part in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// Nothing is written yet.
    #[default]
    New,
    /// It waits for a worker.
    Queued,
    /// A worker is chosen; nothing was sent.
    Selected,
    /// `Sent` is written: the body may or may not be running. After a crash nobody knows.
    InDoubt,
    /// The worker has answered.
    Answered,
    /// Its attempts or losses are used up; it waits for somebody who retries or discards it.
    Held,
    /// Over.
    Closed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::New => "new",
            Phase::Queued => "queued",
            Phase::Selected => "selected",
            Phase::InDoubt => "in doubt",
            Phase::Answered => "answered",
            Phase::Held => "held",
            Phase::Closed => "closed",
        })
    }
}

/// An event that cannot follow. It changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot follow in a conversation that is {phase} at leg {leg}")]
pub struct IllegalEvent {
    /// The phase before it.
    pub phase: Phase,
    /// The current or last leg, 0 before the first.
    pub leg: u32,
    /// The event's name.
    pub event: &'static str,
}

impl Phase {
    /// The phase after `event`, with `leg` the current or last leg before it (0 before the first).
    ///
    /// This is the whole table; every pair that is not in it is an error that names both sides.
    pub fn next(self, leg: u32, event: &ConversationEvent) -> Result<Phase, IllegalEvent> {
        use ConversationEvent as E;
        use ConversationOutcome as O;
        let next = match (self, event) {
            (Phase::New, E::Scheduled { .. }) => Phase::Queued,

            (Phase::Queued, E::NoWorker { .. }) => Phase::Queued,
            (Phase::Queued, E::WorkerSelected { leg: chosen, .. }) if *chosen == leg + 1 => Phase::Selected,
            // Without an answer a conversation can end in every way but with one.
            (Phase::Queued, E::Closed { outcome: O::TimedOut | O::Cancelled | O::Lost | O::NoWorker }) => Phase::Closed,

            (Phase::Selected, E::Sent { leg: sent }) if *sent == leg => Phase::InDoubt,
            (Phase::Selected, E::Exited { leg: ended, .. }) if *ended == leg => Phase::Queued,

            (Phase::InDoubt, E::Heartbeat { leg: told, .. } | E::CancelSent { leg: told }) if *told == leg => {
                Phase::InDoubt
            }
            // Received and Exited exclude each other within a leg: both leave the only phase that allows either.
            (Phase::InDoubt, E::Received { leg: answered, .. }) if *answered == leg => Phase::Answered,
            (Phase::InDoubt, E::Exited { leg: ended, .. }) if *ended == leg => Phase::Queued,

            (Phase::Answered, E::Closed { outcome: O::Completed | O::Failed }) => Phase::Closed,

            // Only what is bad news may be held: a result belongs to the workflow.
            (Phase::Answered | Phase::Queued, E::Held { outcome }) if outcome.may_be_held() => Phase::Held,
            (Phase::Held, E::Closed { outcome: O::Failed | O::TimedOut | O::Lost | O::Cancelled }) => Phase::Closed,

            _ => return Err(IllegalEvent { phase: self, leg, event: event.name() }),
        };
        Ok(next)
    }
}
