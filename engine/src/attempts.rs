//! Open attempts one by one, as whoever looks after a task queue sees them.

use antiphon_history::{ConversationKey, Name, RunId, Timestamp, WorkflowKey};
use std::fmt;

/// Most attempts in one answer, about 300 bytes each.
pub const ATTEMPTS_MAX: usize = 1_000;

/// Which open attempts are asked for. The default asks for all of them, as they stand now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttemptsAsk {
    /// Only those of this task queue.
    pub queue: Option<Name>,
    /// Only those that stand so.
    pub state: Option<AttemptState>,
    /// As they will stand at this moment if nothing happens until then: what will be waiting, whose lease will have ended.
    pub at: Option<Timestamp>,
    /// Only those behind this one: the last of the answer before.
    pub after: Option<ConversationKey>,
    /// At most so many, and never more than [`ATTEMPTS_MAX`].
    pub limit: usize,
}

/// How an open attempt stands at a moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AttemptState {
    /// A worker may take it.
    Waiting,
    /// It waits for its time, after a failed one.
    BackingOff,
    /// A worker has it.
    InFlight,
    /// A worker has it whose lease has ended: another may take it, and until one does this one may still answer.
    LeaseEnded,
    /// It is held as a dead letter.
    Held,
}

impl AttemptState {
    /// All of them.
    pub const ALL: [AttemptState; 5] = [
        AttemptState::Waiting,
        AttemptState::BackingOff,
        AttemptState::InFlight,
        AttemptState::LeaseEnded,
        AttemptState::Held,
    ];

    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            AttemptState::Waiting => "waiting",
            AttemptState::BackingOff => crate::BACKING_OFF,
            AttemptState::InFlight => "in_flight",
            AttemptState::LeaseEnded => crate::LEASE_ENDED,
            AttemptState::Held => "held",
        }
    }
}

impl fmt::Display for AttemptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An open attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptView {
    /// Which.
    pub conversation: ConversationKey,
    /// Whose: its run, as people know it.
    pub workflow: WorkflowKey,
    /// The id of that run.
    pub run_id: RunId,
    /// What is to be done.
    pub activity_type: Name,
    /// On which task queue.
    pub queue: Name,
    /// How it stands.
    pub state: AttemptState,
    /// Since when it may be taken, or will be; of one that a worker has, since when it has it.
    pub since: Timestamp,
    /// Who has it.
    pub worker: Option<Name>,
    /// Until when, if under a lease.
    pub lease_until: Option<Timestamp>,
    /// How urgent it is, from 1, which goes first, to 5.
    pub priority: u8,
    /// On whose behalf; empty: nobody's in particular.
    pub fairness_key: String,
    /// With which others it shares a limit; empty: with none.
    pub limit_key: String,
    /// Why no worker has it, of one that waits now: a word of [`WaitReason::kind`](crate::WaitReason::kind).
    pub why: Option<&'static str>,
}

/// Open attempts, in the order of their keys: by run, by place in the run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attempts {
    /// The attempts.
    pub attempts: Vec<AttemptView>,
    /// There are more: ask again behind the last.
    pub more: bool,
}
