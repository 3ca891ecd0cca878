//! Why requests about workers change nothing.

use antiphon_history::{ConversationKey, IdError, Name};

/// Why a request about workers changed nothing. Each is counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkersError {
    /// A0043. The leg is not the worker's to speak of.
    #[error(
        "worker {worker:?} may not speak for leg {leg} of {conversation}: {fence}; drop that work and claim anew [A0043]"
    )]
    Fenced {
        /// Who spoke.
        worker: Name,
        /// Of which conversation.
        conversation: ConversationKey,
        /// Of which leg.
        leg: u32,
        /// Why it does not count.
        fence: Fence,
    },
    /// A0044. The attempt has ended otherwise.
    #[error("{conversation} has ended as {recorded}, not as {told}: the first answer stands [A0044]")]
    Conflicting {
        /// Which conversation.
        conversation: ConversationKey,
        /// What is on record.
        recorded: String,
        /// What was told now.
        told: String,
    },
    /// A0045. No worker of this name may ask for work.
    #[error("worker {worker:?} {problem} [A0045]")]
    NoSuchWorker {
        /// The name.
        worker: String,
        /// What is the matter, and what to do.
        problem: WorkerProblem,
    },
    /// A0046. There is nothing that could be answered.
    #[error("{conversation} takes no answer: {problem} [A0046]")]
    Over {
        /// Which conversation.
        conversation: ConversationKey,
        /// Why.
        problem: OverReason,
    },
    /// A0012. A name cannot be used.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A0017. A number in the request can mean nothing.
    #[error("{option}({value}) is impossible: {problem} [A0017]")]
    Option {
        /// The option.
        option: &'static str,
        /// What was given.
        value: u64,
        /// Why it is impossible, and what to give instead.
        problem: &'static str,
    },
    /// A0026. As many workers wait for work as are kept waiting.
    #[error("{waiting} workers wait for work, the most that are kept: ask again after a pause [A0026]")]
    TooManyWait {
        /// How many wait.
        waiting: usize,
    },
}

impl WorkersError {
    /// Whether a worker spoke for a leg that it may not speak for.
    pub(crate) fn is_fence(&self) -> bool {
        matches!(self, WorkersError::Fenced { .. } | WorkersError::Conflicting { .. } | WorkersError::Over { .. })
    }
}

/// Why a worker may not ask, or may not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkerProblem {
    /// It is not there.
    #[error("has not joined, or was silent for too long: join again")]
    Absent,
    /// Another life of it is there.
    #[error("was joined anew by another program under the same name: this one is no longer it")]
    Replaced,
    /// It gets nothing new.
    #[error("is draining: finish what it has, then leave")]
    Draining,
    /// Its work is sent to it.
    #[error("is sent its work and cannot ask for it: join as one that asks")]
    Pushed,
    /// It asks for a task queue that it did not join.
    #[error("has not joined all of the task queues that it asks for: name only its own")]
    ForeignQueue,
    /// Its name is that of a worker of the engine's own process, or its kind can only be one.
    #[error("is, or wants to be, a worker of the engine's own process: choose another name and kind")]
    OfEngine,
    /// No more may join.
    #[error("cannot join: as many workers are there as may be; let others leave first")]
    TooMany,
}

/// Why a worker's word for a leg does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fence {
    /// The leg has ended, or another leg has taken its place.
    #[error("the leg is over")]
    Stale,
    /// The lease has ended. The result may still be told as long as nobody else has the leg.
    #[error("its lease has ended")]
    Expired,
    /// The token is that of another leg, or the leg is another worker's.
    #[error("the leg or the token belongs to another")]
    Foreign,
    /// Nobody ever gave this token out.
    #[error("the token is wrong")]
    Forged,
    /// The conversation has moved on since the worker looked.
    #[error("it was to have {expected} events and has {found}")]
    Revision {
        /// Events that the worker knew of.
        expected: u64,
        /// Events that there are.
        found: u64,
    },
}

/// Why an attempt takes no answer any more, or never took one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverReason {
    /// There is no such activity.
    #[error("no such attempt was ever scheduled")]
    Unknown,
    /// The run has ended.
    #[error("its run has ended")]
    RunEnded,
    /// The attempt is closed, or the activity has its outcome.
    #[error("it is closed")]
    Closed,
}

/// Whether a number of a request can mean something: from 1 to `max`.
pub(crate) fn possible(option: &'static str, value: u64, max: u64) -> Result<(), WorkersError> {
    let problem = if value == 0 {
        "nothing could follow; give at least 1"
    } else if value > max {
        "that is more than is kept; give less"
    } else {
        return Ok(());
    };
    Err(WorkersError::Option { option, value, problem })
}
