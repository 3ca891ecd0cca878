use crate::phase::{IllegalEvent, Phase};
use antiphon_history::{
    ActivityOutcome, ConversationEvent, ConversationOutcome, ExitReason, Name, Payload, Response, Timestamp, TokenHash,
    planted,
};
use std::fmt;

/// What is known of one attempt: the fold of its conversation stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conversation {
    phase: Phase,
    events: u64,
    scheduled_at: Timestamp,
    visible_at: Timestamp,
    leg: u32,
    current: Option<Leg>,
    losses: u32,
    last_exit: Option<ExitReason>,
    excluded: Vec<Name>,
    last_worker: Option<Name>,
    details: Option<Payload>,
    no_worker: Option<String>,
    response: Option<Response>,
    held: Option<Box<ActivityOutcome>>,
    outcome: Option<ConversationOutcome>,
}

/// The leg that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leg {
    /// Its number, from 1.
    pub number: u32,
    /// The worker that has it.
    pub worker: Name,
    /// What answers for it must carry.
    pub token: TokenHash,
    /// When it was sent; `None` while only selected.
    pub sent_at: Option<Timestamp>,
    /// When the worker last told of itself, by a heartbeat or by taking the request.
    pub heard_at: Timestamp,
    /// How long it has the leg from then on, in milliseconds; `None` while the engine holds the connection to it.
    pub lease_ms: Option<u64>,
}

impl Leg {
    /// The moment at which the lease ends, and at which it has ended; `None` without a lease.
    pub fn lease_until(&self) -> Option<Timestamp> {
        self.lease_ms.map(|ms| self.heard_at.plus_ms(ms))
    }

    /// Whether the lease has ended by `now`. From then on another worker may have the leg; until one takes it, this one
    /// may still answer, but no longer prolong.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        let early_ms = u64::from(planted!("lease-ends-early"));
        self.lease_until().is_some_and(|until| until <= now.plus_ms(early_ms))
    }
}

/// The activity as people see it. A projection of the conversation, never stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActivityState {
    /// It waits for a worker.
    Scheduled,
    /// A worker has it, or had it when we last knew.
    Started,
    /// It waits as a dead letter for somebody who retries or discards it.
    Held,
    /// It ended with this outcome.
    Ended(ConversationOutcome),
}

impl fmt::Display for ActivityState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActivityState::Scheduled => f.write_str("scheduled"),
            ActivityState::Started => f.write_str("started"),
            ActivityState::Held => f.write_str("held"),
            ActivityState::Ended(outcome) => outcome.fmt(f),
        }
    }
}

impl Conversation {
    /// The empty conversation of the attempt after this one. Progress goes over to it, so that a retry can go on from
    /// where the attempt before stood, and the last worker, so that it may go to another one.
    pub fn next_attempt(&self) -> Conversation {
        Conversation { details: self.details.clone(), last_worker: self.last_worker.clone(), ..Conversation::default() }
    }

    /// Folds the next event of the stream. After an error nothing has changed.
    ///
    /// `at` is the recorded time of the event.
    pub fn apply(&mut self, event: &ConversationEvent, at: Timestamp) -> Result<(), IllegalEvent> {
        self.phase = self.phase.next(self.leg, event)?;
        self.events += 1;
        match event {
            ConversationEvent::Scheduled { visible_at, .. } => {
                self.scheduled_at = at;
                self.visible_at = visible_at.unwrap_or(at);
            }
            ConversationEvent::WorkerSelected { leg, worker, token, lease_ms, .. } => {
                self.leg = *leg;
                self.no_worker = None;
                self.last_worker = Some(worker.clone());
                self.current = Some(Leg {
                    number: *leg,
                    worker: worker.clone(),
                    token: *token,
                    sent_at: None,
                    heard_at: at,
                    lease_ms: *lease_ms,
                });
            }
            ConversationEvent::Sent { .. } => {
                if let Some(leg) = &mut self.current {
                    leg.sent_at = Some(at);
                    leg.heard_at = at;
                }
            }
            ConversationEvent::Heartbeat { details, .. } => {
                self.heard(at);
                self.details = Some(details.clone());
            }
            ConversationEvent::CancelSent { .. } => {}
            ConversationEvent::Received { response, .. } => {
                self.current = None;
                self.response = Some(response.clone());
            }
            ConversationEvent::Exited { reason, details, visible_at, .. } => {
                self.visible_at = visible_at.unwrap_or(at);
                if let Some(details) = details {
                    self.details = Some(details.clone());
                }
                if reason.is_loss() {
                    self.losses += 1;
                }
                if let Some(leg) = self.current.take() {
                    self.exclude(leg.worker, reason);
                }
                self.last_exit = Some(reason.clone());
            }
            ConversationEvent::NoWorker { reason } => self.no_worker = Some(reason.clone()),
            ConversationEvent::Held { outcome } => self.held = Some(outcome.clone()),
            ConversationEvent::Closed { outcome } => self.outcome = Some(*outcome),
        }
        Ok(())
    }

    // An engine restart says nothing against the worker: with one local pool, excluding it would end every activity.
    fn exclude(&mut self, worker: Name, reason: &ExitReason) {
        let at_fault = matches!(
            reason,
            ExitReason::WorkerExit
                | ExitReason::WorkerDied { .. }
                | ExitReason::Panicked { .. }
                | ExitReason::LeaseExpired
                | ExitReason::Forced
                | ExitReason::Redriven
        );
        if at_fault && !self.excluded.contains(&worker) {
            self.excluded.push(worker);
        }
    }

    /// Notes that the worker is alive. Nothing is written; `at` moves the heartbeat deadline.
    pub fn heard(&mut self, at: Timestamp) {
        if let Some(leg) = &mut self.current {
            leg.heard_at = leg.heard_at.max(at);
        }
    }

    /// Gives the leg under way another length of lease, counted from `at`. Nothing is written: after a restart the length
    /// on record holds again. Without a lease nothing changes.
    pub fn extend(&mut self, lease_ms: u64, at: Timestamp) {
        if let Some(leg) = &mut self.current
            && leg.lease_ms.is_some()
        {
            leg.lease_ms = Some(lease_ms);
            leg.heard_at = leg.heard_at.max(at);
        }
    }

    /// Keeps the latest progress of the running leg, to be written with its exit. Nothing is written now.
    pub fn progress(&mut self, details: Payload) {
        if self.current.is_some() {
            self.details = Some(details);
        }
    }

    /// Where the conversation stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Events folded so far; the next one has this number plus one.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// When the attempt was scheduled.
    pub fn scheduled_at(&self) -> Timestamp {
        self.scheduled_at
    }

    /// Before this moment no worker is selected.
    pub fn visible_at(&self) -> Timestamp {
        self.visible_at
    }

    /// The leg that is under way.
    pub fn leg(&self) -> Option<&Leg> {
        self.current.as_ref()
    }

    /// The number that the next leg will have.
    pub fn next_leg(&self) -> u32 {
        self.leg + 1
    }

    /// Legs lost so far.
    pub fn losses(&self) -> u32 {
        self.losses
    }

    /// How the last leg ended, if one did without an answer.
    pub fn last_exit(&self) -> Option<&ExitReason> {
        self.last_exit.as_ref()
    }

    /// Workers that lost a leg of this conversation, in order of loss.
    pub fn excluded(&self) -> &[Name] {
        &self.excluded
    }

    /// The worker that was chosen last, in this attempt or the one before.
    pub fn last_worker(&self) -> Option<&Name> {
        self.last_worker.as_ref()
    }

    /// The latest progress that a worker told.
    pub fn details(&self) -> Option<&Payload> {
        self.details.as_ref()
    }

    /// Why no worker could take it when that was last looked at and written down.
    pub fn no_worker(&self) -> Option<&str> {
        self.no_worker.as_deref()
    }

    /// What the worker answered, if it did.
    pub fn response(&self) -> Option<&Response> {
        self.response.as_ref()
    }

    /// How the conversation ended, if it has.
    pub fn outcome(&self) -> Option<ConversationOutcome> {
        self.outcome
    }

    /// What the workflow gets if the call is discarded. `Some` once it was held, also when it is closed since.
    pub fn held(&self) -> Option<&ActivityOutcome> {
        self.held.as_deref()
    }

    /// The activity as people see it.
    pub fn state(&self) -> ActivityState {
        match (self.phase, self.outcome) {
            (_, Some(outcome)) => ActivityState::Ended(outcome),
            (Phase::New | Phase::Queued, None) => ActivityState::Scheduled,
            (Phase::Held, None) => ActivityState::Held,
            _ => match &self.response {
                Some(Response::Completed { .. }) => ActivityState::Ended(ConversationOutcome::Completed),
                Some(Response::Failed { .. }) => ActivityState::Ended(ConversationOutcome::Failed),
                None => ActivityState::Started,
            },
        }
    }
}
