//! What workers and their operators ask of the engine, and what they get: the pull side of dispatch.

use crate::dispatch::{WorkerSpec, WorkerView};
use antiphon_conversation::{Request, Token};
use antiphon_history::{
    ConversationKey, ConversationOutcome, Digest, Failure, GoneWorker, Health, HistoryFile, IdError, InstanceId,
    Liveness, Name, Payload, Response, Timestamp, TokenHash, WorkerKind,
};

/// A request of a worker that asks for its work, or of somebody who looks after workers. Answered when what it changed is
/// durable, with [`WorkersReply`] or with [`WorkersError`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkersRequest {
    /// A worker that is elsewhere is there from now on. One of its name that was there is gone; what that one has under a
    /// lease is its own until the lease ends. Answered with [`WorkersReply::Joined`].
    Join {
        /// What it offers. Its name is its own as long as it is there.
        spec: WorkerSpec,
        /// How it gets its work: [`WorkerKind::Pull`] or [`WorkerKind::Remote`].
        kind: WorkerKind,
        /// Which life of it; absent: the engine makes an id. The same again changes nothing.
        instance: Option<InstanceId>,
    },
    /// A worker is gone by its own will. What it has under a lease is its own until the lease ends.
    Leave {
        /// Its name.
        worker: String,
        /// Only if it is this life of it.
        instance: Option<InstanceId>,
        /// Why, for the record; at most 4 KiB.
        reason: String,
    },
    /// A worker says that it is there.
    Alive {
        /// Its name.
        worker: String,
        /// Only if it is this life of it.
        instance: Option<InstanceId>,
    },
    /// A worker is to get nothing new and to finish what it has.
    Drain {
        /// Its name.
        worker: String,
        /// Who says so.
        who: String,
        /// Why; may be empty.
        why: String,
    },
    /// Somebody says how well a worker is.
    SetHealth {
        /// Its name.
        worker: String,
        /// How well it is.
        health: Health,
        /// Who says so.
        who: String,
        /// Why; may be empty.
        why: String,
    },
    /// Lists the workers. Answered with [`WorkersReply::Workers`].
    List,
    /// Nothing new is given out from now on, until the engine starts anew. Answered when nothing is under way any more on
    /// workers of the engine's own process.
    Quiesce,
    /// Everything that is under way on workers of the engine's own process is given back, as by [`WorkersRequest::Release`].
    ReleaseAll,
    /// Takes up to `max` attempts that the worker may have, in the order of the line. Each is on record as selected and
    /// sent before the answer leaves. Answered with [`WorkersReply::Claimed`].
    Claim(ClaimRequest),
    /// The worker still has the leg: its lease counts from now on, over its length or over another.
    Heartbeat {
        /// Which leg.
        leg: LegRef,
        /// How far it is. Written now and then, as progress for a later leg.
        details: Option<Payload>,
        /// Another length for the lease, in milliseconds, at least 1. It holds until the engine restarts.
        lease_ms: Option<u64>,
    },
    /// The body returned a result.
    Complete {
        /// Which leg.
        leg: LegRef,
        /// What it returned.
        result: Vec<Payload>,
    },
    /// The body returned an error.
    Fail {
        /// Which leg.
        leg: LegRef,
        /// The error.
        failure: Failure,
        /// Whether the body's author allows another attempt.
        retryable: bool,
        /// When another attempt follows, not before so many milliseconds; absent: as the call's policy says.
        retry_after_ms: Option<u64>,
    },
    /// The worker gives the leg back: another worker may have it at once, and it counts as no loss. At-most-once calls end
    /// as lost, since nobody knows what the body did.
    Release {
        /// Which leg.
        leg: LegRef,
    },
}

/// Who asks for how much work, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimRequest {
    /// The worker's durable name.
    pub worker: String,
    /// Only if it is this life of it.
    pub instance: Option<InstanceId>,
    /// Only from these of its task queues; empty: from all.
    pub queues: Vec<String>,
    /// Most attempts to take, at least 1; never more than the worker has free places.
    pub max: u32,
    /// How long the worker has each without a further word, in milliseconds, at least 1.
    pub lease_ms: u64,
    /// How long to wait for work if there is none, in milliseconds; 0 answers at once.
    pub wait_ms: u64,
}

/// One leg, as its worker names it. Without the token nothing is changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegRef {
    /// The worker that has it.
    pub worker: Name,
    /// Which conversation.
    pub conversation: ConversationKey,
    /// Which leg of it.
    pub leg: u32,
    /// The leg's secret.
    pub token: Token,
    /// Only if the conversation has so many events: compare and set.
    pub revision: Option<u64>,
    /// What the store says of the attempt if it is over. Filled in by whoever feeds the engine, not by callers.
    pub past: Option<Past>,
}

/// One attempt that a worker has now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The worker.
    pub worker: Name,
    /// What to do.
    pub request: Request,
    /// When the lease ends, and at which moment it has ended.
    pub lease_until: Timestamp,
    /// The length of the lease, in milliseconds.
    pub lease_ms: u64,
    /// Grows with every leg of this activity: an outside system that remembers the largest can refuse what a worker sends
    /// that lost its lease long ago.
    pub fencing: u64,
    /// Events of the conversation so far, for [`LegRef::revision`].
    pub revision: u64,
}

impl Claim {
    /// How its worker names it.
    pub fn leg(&self) -> LegRef {
        LegRef {
            worker: self.worker.clone(),
            conversation: self.request.conversation,
            leg: self.request.leg,
            token: self.request.token,
            revision: None,
            past: None,
        }
    }
}

/// The answer to a [`WorkersRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkersReply {
    /// It is done.
    Done,
    /// What the worker has now besides what it had; empty if there was nothing for as long as it was ready to wait.
    Claimed(Vec<Claim>),
    /// The leg is the worker's until then.
    Held {
        /// When the lease ends.
        until: Timestamp,
    },
    /// The leg has ended as the worker said.
    Ended {
        /// It had ended so before: the request was a repeated one.
        repeated: bool,
    },
    /// The worker is there.
    Joined {
        /// Which life of it.
        instance: InstanceId,
    },
    /// The workers that are there, by name, and those that are gone, the latest last.
    Workers {
        /// Who is there.
        present: Vec<WorkerEntry>,
        /// Who was there lately.
        gone: Vec<GoneWorker>,
    },
}

/// A worker that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerEntry {
    /// What it offers, and how much it has.
    pub view: WorkerView,
    /// How it gets its work.
    pub kind: WorkerKind,
    /// Which life of it, where it is elsewhere.
    pub instance: Option<InstanceId>,
    /// How well it is.
    pub health: Health,
    /// Whether it is there.
    pub liveness: Liveness,
    /// When it joined.
    pub joined_at: Option<Timestamp>,
    /// When it last said something; absent for one of the engine's own process.
    pub heard_at: Option<Timestamp>,
}

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

/// What is known of a leg that was answered under a lease: enough to tell a repeated answer from another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnsweredLeg {
    /// Which leg.
    pub leg: u32,
    /// The hash of its token.
    pub token: TokenHash,
    /// What was answered.
    pub response: Response,
}

/// What the store says of an attempt that is not in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    /// The leg that was answered, if one was.
    pub answered: Option<AnsweredLeg>,
    /// How it was closed; `None` if no such attempt was ever scheduled.
    pub outcome: Option<ConversationOutcome>,
    /// Whether the run has ended.
    pub run_ended: bool,
}

impl Past {
    /// Looks an attempt up in the whole record of its run. Damaged records are passed over: an attempt that cannot be read
    /// is unknown.
    pub fn of(history: &HistoryFile, conversation: ConversationKey) -> Past {
        crate::recorded::past(history, conversation)
    }
}

/// What was answered, in one word and its proof.
pub(crate) fn told(response: &Response) -> String {
    match response {
        Response::Completed { digest, len } => format!("completed with {len} bytes {}", short(digest)),
        Response::Failed { message, .. } => format!("failed: {message}"),
    }
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(8).collect()
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
