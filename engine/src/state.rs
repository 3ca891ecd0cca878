use crate::ordinals::Ordinals;
use antiphon_conversation::{Conversation, Deadline, IllegalEvent, Leg, Phase};
use antiphon_history::{
    ActivityCall, BlockedReason, ConversationEvent, ConversationKey, Failure, Ordinal, Payload, RunEvent, RunKey,
    RunStarted, RunStatus, Timestamp, WorkflowKey, planted,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the records of one run say: the fold of its run stream and of its open conversations.
///
/// Everything the run waits for is computed from here; nothing is kept beside it.
#[derive(Clone, Debug)]
pub(crate) struct RunState {
    pub(crate) key: RunKey,
    pub(crate) started: Arc<RunStarted>,
    pub(crate) status: RunStatus,
    /// The sequence number of the next event of the run stream.
    pub(crate) next_seq: u64,
    /// Activities whose conversation is not closed, or whose outcome the run stream does not hold yet.
    pub(crate) activities: Ordinals<Box<Activity>>,
    pub(crate) timers: Ordinals<Timestamp>,
    /// Request ids of signals, so that a repeated request changes nothing.
    /// About what the open activities hold in memory.
    open_bytes: usize,
    pub(crate) signal_ids: BTreeSet<String>,
    pub(crate) cancel_requested: bool,
    /// Why the run is blocked, while it is.
    pub(crate) blocked: Option<Box<BlockedReason>>,
    pub(crate) outcome: Option<Box<Outcome>>,
}

/// How a closed run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Completed(Vec<Payload>),
    Failed(Failure),
    Cancelled(String),
    Terminated(String),
}

/// One activity that is not over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Activity {
    pub(crate) call: Arc<ActivityCall>,
    pub(crate) scheduled_at: Timestamp,
    pub(crate) attempt: u32,
    /// Attempts made before somebody retried it last: they do not count against the policy.
    pub(crate) attempts_forgiven: u32,
    pub(crate) conversation: Conversation,
    /// The workflow no longer waits for it.
    pub(crate) withdrawn: bool,
    /// When a heartbeat's details were last written.
    pub(crate) progress_recorded_at: Timestamp,
    /// The entry in the partition's deadline index, so that it can be taken out again.
    pub(crate) indexed: Option<(Timestamp, Deadline)>,
}

impl Activity {
    /// Whether the loss of the leg under way would end it.
    pub(crate) fn is_over_if_lost(&self) -> bool {
        let options = &self.call.options;
        let once = options.at_most_once && !planted!("at-most-once-sent-again");
        let most = options.max_losses.saturating_sub(u32::from(planted!("one-loss-too-few")));
        once || self.conversation.losses() + 1 > most
    }

    /// Whether taking it up may give an outcome at once: by the loss of the leg under way, or because it has one already.
    /// A leg under a lease is not lost with the engine.
    pub(crate) fn may_end_now(&self) -> bool {
        if matches!(self.conversation.phase(), Phase::New | Phase::Answered | Phase::Closed) {
            return true;
        }
        let held_here = |leg: &Leg| leg.lease_ms.is_none();
        self.conversation.leg().is_some_and(held_here) && (self.is_over_if_lost() || self.call.options.fail_fast)
    }

    /// Whether a worker may take it now: it waits and its wait is over, or the lease of its leg has ended.
    pub(crate) fn may_be_taken(&self, now: Timestamp) -> bool {
        match self.conversation.phase() {
            Phase::Queued => self.conversation.visible_at() <= now,
            Phase::InDoubt => self.conversation.leg().is_some_and(|leg| leg.is_expired(now)),
            _ => false,
        }
    }
}

/// A record that does not follow from what was folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("{event} is written after the run ended")]
    AfterEnd { event: &'static str },
    #[error("{event} names activity {ordinal}, which is not open")]
    NoActivity { event: &'static str, ordinal: Ordinal },
    #[error("conversation {ordinal}.{attempt}: {source}")]
    Conversation { ordinal: Ordinal, attempt: u32, source: IllegalEvent },
}

impl StateError {
    /// The event that does not follow.
    pub(crate) fn event(&self) -> &'static str {
        match self {
            StateError::AfterEnd { event } | StateError::NoActivity { event, .. } => event,
            StateError::Conversation { source, .. } => source.event,
        }
    }
}

/// What a run and its code take besides its input, and an open activity besides its arguments: estimates for the bound.
const RUN_BYTES: usize = 1536;
const ACTIVITY_BYTES: usize = 1024;

fn payload_bytes(payloads: &[Payload]) -> usize {
    payloads.iter().map(|payload| payload.len() as usize).sum()
}

fn activity_bytes(call: &ActivityCall) -> usize {
    ACTIVITY_BYTES + payload_bytes(&call.input)
}

impl RunState {
    pub(crate) fn new(key: RunKey, started: Arc<RunStarted>) -> RunState {
        RunState {
            key,
            started,
            status: RunStatus::Running,
            next_seq: 1,
            activities: Ordinals::default(),
            timers: Ordinals::default(),
            open_bytes: 0,
            signal_ids: BTreeSet::new(),
            cancel_requested: false,
            blocked: None,
            outcome: None,
        }
    }

    pub(crate) fn workflow(&self) -> WorkflowKey {
        WorkflowKey { namespace: self.started.namespace.clone(), id: self.started.workflow_id.clone() }
    }

    pub(crate) fn is_of(&self, workflow: &WorkflowKey) -> bool {
        self.started.workflow_id == workflow.id && self.started.namespace == workflow.namespace
    }

    pub(crate) fn conversation_key(&self, ordinal: Ordinal) -> Option<ConversationKey> {
        let attempt = self.activities.get(ordinal)?.attempt;
        Some(ConversationKey { run: self.key, ordinal, attempt })
    }

    /// About how many bytes the run holds in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        RUN_BYTES + payload_bytes(&self.started.input) + self.open_bytes
    }

    /// Folds the next event of the run stream. After an error nothing has changed.
    pub(crate) fn apply_run(&mut self, event: &RunEvent, at: Timestamp) -> Result<(), StateError> {
        if self.status.is_closed() {
            return Err(StateError::AfterEnd { event: event.name() });
        }
        match event {
            RunEvent::RunStarted(_) | RunEvent::PatchMarked { .. } => {}
            RunEvent::SideEffectRecorded { .. } | RunEvent::CompensationPushed { .. } => {}
            RunEvent::ActivityScheduled { ordinal, call } => {
                let activity = Activity {
                    call: Arc::clone(call),
                    scheduled_at: at,
                    attempt: 0,
                    attempts_forgiven: 0,
                    conversation: Conversation::default(),
                    withdrawn: false,
                    progress_recorded_at: Timestamp(i64::MIN),
                    indexed: None,
                };
                self.open_bytes += activity_bytes(call);
                self.activities.insert(*ordinal, Box::new(activity));
            }
            RunEvent::ActivityResolved { ordinal, .. } => {
                self.remove(*ordinal).ok_or(StateError::NoActivity { event: event.name(), ordinal: *ordinal })?;
            }
            RunEvent::ActivityCancelled { ordinal } => {
                if let Some(activity) = self.activities.get_mut(*ordinal) {
                    activity.withdrawn = true;
                }
            }
            RunEvent::TimerStarted { ordinal, due, .. } => {
                self.timers.insert(*ordinal, *due);
            }
            RunEvent::TimerFired { ordinal } | RunEvent::TimerCancelled { ordinal } => {
                self.timers.remove(*ordinal);
            }
            RunEvent::SignalReceived { .. } if planted!("signal-id-forgotten") => {}
            RunEvent::SignalReceived { request_id, .. } => self.signal_ids.extend(request_id.clone()),
            RunEvent::CancelRequested { .. } => self.cancel_requested = true,
            RunEvent::Blocked(blocked) => {
                self.status = RunStatus::Blocked;
                self.blocked = Some(Box::new(blocked.reason.clone()));
            }
            RunEvent::Unblocked => {
                self.status = RunStatus::Running;
                self.blocked = None;
            }
            RunEvent::RunCompleted { result } => {
                self.close(RunStatus::Completed, Outcome::Completed(result.clone()));
            }
            RunEvent::RunFailed { failure } => self.close(RunStatus::Failed, Outcome::Failed(failure.clone())),
            RunEvent::RunCancelled { reason } => {
                self.close(RunStatus::Cancelled, Outcome::Cancelled(reason.clone()));
            }
            RunEvent::RunTerminated { reason, .. } => {
                self.close(RunStatus::Terminated, Outcome::Terminated(reason.clone()));
            }
        }
        self.next_seq += 1;
        Ok(())
    }

    fn close(&mut self, status: RunStatus, outcome: Outcome) {
        self.status = status;
        self.outcome = Some(Box::new(outcome));
        self.timers.clear();
        self.blocked = None;
    }

    /// Folds the next event of a conversation. After an error nothing has changed.
    pub(crate) fn apply_conversation(
        &mut self,
        ordinal: Ordinal,
        attempt: u32,
        event: &ConversationEvent,
        at: Timestamp,
    ) -> Result<(), StateError> {
        let name = event.name();
        let activity = self.activities.get_mut(ordinal).ok_or(StateError::NoActivity { event: name, ordinal })?;
        if attempt == activity.attempt + 1 && matches!(event, ConversationEvent::Scheduled { .. }) {
            if activity.conversation.held().is_some() {
                // Somebody retried it: fresh budgets, for time as well.
                activity.attempts_forgiven = activity.attempt;
                activity.scheduled_at = at;
            }
            activity.attempt = attempt;
            activity.conversation = activity.conversation.next_attempt();
        } else if attempt != activity.attempt {
            return Err(StateError::NoActivity { event: name, ordinal });
        }
        activity.conversation.apply(event, at).map_err(|source| StateError::Conversation {
            ordinal,
            attempt,
            source,
        })?;
        let unwanted = activity.withdrawn || self.status.is_closed();
        if unwanted && matches!(event, ConversationEvent::Closed { .. }) {
            self.remove(ordinal);
        }
        Ok(())
    }

    fn remove(&mut self, ordinal: Ordinal) -> Option<Box<Activity>> {
        let activity = self.activities.remove(ordinal)?;
        self.open_bytes -= activity_bytes(&activity.call);
        Some(activity)
    }

    /// Whether the run waits for nothing that the engine itself holds: it may be let go of. What is held as a dead letter
    /// waits for a person.
    pub(crate) fn is_parked(&self) -> bool {
        self.status == RunStatus::Running
            && (self.activities.is_empty()
                || self.activities.iter().all(|(_, activity)| activity.conversation.phase() == Phase::Held))
    }
}
