//! What operators ask about task queues, and what they are told.

use crate::{Attempts, AttemptsAsk, By};
use antiphon_history::{IdError, Name, QueueSettings, QueueState};
use std::collections::BTreeMap;

/// What an operator asks about task queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueuesRequest {
    /// Gives a queue these settings in place of all that it had. Answered with [`QueuesReply::Done`] when that is durable.
    Set {
        /// The queue.
        queue: Name,
        /// The settings, as a whole.
        settings: Box<QueueSettings>,
        /// Who asks, and why.
        by: By,
    },
    /// Lets a queue give out nothing until it is resumed. What is under way goes on. Answered with [`QueuesReply::Done`]
    /// when that is durable; a queue that is paused stays so.
    Pause {
        /// The queue.
        queue: Name,
        /// Who asks, and why.
        by: By,
    },
    /// Lets a paused queue go on. Answered with [`QueuesReply::Done`] when that is durable.
    Resume {
        /// The queue.
        queue: Name,
        /// Who asks, and why.
        by: By,
    },
    /// Shows one queue. Writes nothing. Looks at every open activity: some milliseconds per 100,000. Answered with
    /// [`QueuesReply::Queues`], one entry.
    Describe {
        /// The queue.
        queue: Name,
    },
    /// Shows all queues that have settings or open activities, by name. Writes nothing. As dear as
    /// [`QueuesRequest::Describe`].
    List,
    /// Shows open attempts one by one. Writes nothing. Answered with [`QueuesReply::Attempts`].
    Attempts(Box<AttemptsAsk>),
}

impl QueuesRequest {
    pub(crate) fn check(&self) -> Result<(), IdError> {
        match self {
            QueuesRequest::Set { queue, .. }
            | QueuesRequest::Pause { queue, .. }
            | QueuesRequest::Resume { queue, .. }
            | QueuesRequest::Describe { queue } => IdError::check("task queue", queue),
            QueuesRequest::Attempts(ask) => {
                ask.queue.as_ref().map_or(Ok(()), |queue| IdError::check("task queue", queue))
            }
            QueuesRequest::List => Ok(()),
        }
    }
}

/// What an operator is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueuesReply {
    /// It is as asked, and durable.
    Done {
        /// Whether it was otherwise before.
        changed: bool,
    },
    /// The queues.
    Queues(Vec<QueueView>),
    /// The attempts.
    Attempts(Attempts),
}

/// One task queue, as people see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueView {
    /// Its name.
    pub queue: Name,
    /// What operators set.
    pub state: QueueState,
    /// What is in it.
    pub stats: QueueStats,
}

/// What is in a task queue now, folded from the open activities.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueueStats {
    /// Attempts that wait, those between two attempts included.
    pub waiting: u64,
    /// Attempts that a worker has.
    pub in_flight: u64,
    /// Activities that are held as dead letters.
    pub held: u64,
    /// For how long the attempt has waited that could be taken first, in milliseconds; `None` if none can be.
    pub oldest_ms: Option<u64>,
    /// How many of those that wait do so for which reason, by [`WaitReason::kind`](crate::WaitReason::kind); besides,
    /// [`BACKING_OFF`] and [`LEASE_ENDED`].
    pub reasons: BTreeMap<&'static str, u64>,
}

/// The reason of attempts that wait for their time, after a failed one.
pub const BACKING_OFF: &str = "backing_off";

/// The reason of attempts whose last leg has outlived its lease: its late answer counts until somebody takes its place.
pub const LEASE_ENDED: &str = "lease_ended";

impl QueueStats {
    /// Attempts that wait for their time, after a failed one.
    pub fn backing_off(&self) -> u64 {
        self.reasons.get(BACKING_OFF).copied().unwrap_or(0)
    }

    /// Attempts that a worker might take now.
    pub fn takeable(&self) -> u64 {
        self.waiting - self.backing_off()
    }
}
