use crate::RoutinesReply;
use crate::queues::QueuesReply;
use crate::repair::{RepairError, RepairReply};
use crate::router::RoutingReply;
use crate::workers::WorkersReply;
use crate::workers_error::WorkersError;
use antiphon_conversation::Request;
use antiphon_history::{
    BlockedReason, ConversationKey, Failure, IdError, Name, Payload, QueueSettingsError, RouteError, RunId,
};

/// What the engine can do to the world. Valid once the segment of its batch is durable, in order.
#[derive(Debug)]
pub enum Effect {
    /// Send a request to a worker.
    Dispatch {
        /// The worker's name.
        worker: Name,
        /// The request.
        request: Box<Request>,
    },
    /// Tell a worker to stop a leg. Its answer no longer counts.
    CancelLeg {
        /// The worker's name.
        worker: Name,
        /// Which conversation.
        conversation: ConversationKey,
        /// Which leg.
        leg: u32,
    },
    /// Answer a caller.
    Reply {
        /// Which caller.
        to: ReplyTo,
        /// With what.
        reply: Reply,
    },
}

/// The number by which the caller of a request is known to whoever fed it in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReplyTo(pub u64);

/// An answer to a caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The run exists.
    Started {
        /// Its id.
        run_id: RunId,
        /// Whether it existed before this request.
        existing: bool,
    },
    /// The signal or the cancel request is recorded, or was before; the run that was to be terminated has ended.
    Accepted,
    /// The run has ended.
    Ended {
        /// Its id.
        run_id: RunId,
        /// How.
        outcome: RunOutcome,
    },
    /// The run cannot go on with this program's code. It has not ended: code that agrees with the record lets it go on.
    Blocked {
        /// Its id.
        run_id: RunId,
        /// Why.
        reason: Box<BlockedReason>,
    },
    /// What an operator asked of [`crate::Input::Repair`].
    Repair(Box<RepairReply>),
    /// What was asked about routines.
    Routines(Box<RoutinesReply>),
    /// What an operator asked of [`crate::Input::Queues`].
    Queues(Box<QueuesReply>),
    /// What an operator asked of [`crate::Input::Routing`].
    Routing(Box<RoutingReply>),
    /// The answer to a request about workers.
    Workers(WorkersReply),
    /// The request changed nothing.
    Refused(RequestError),
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunOutcome {
    /// The workflow returned a result.
    Completed {
        /// The result.
        result: Vec<Payload>,
    },
    /// The workflow returned an error.
    Failed {
        /// The error.
        failure: Failure,
    },
    /// The run was cancelled.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// Somebody ended the run, and its code was not asked.
    Terminated {
        /// Why.
        reason: String,
    },
}

/// Why a request changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A0012. A name cannot be used.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A0015. A payload is too large to be written.
    #[error(
        "a payload of {bytes} bytes is over the limit of {max}: keep the data elsewhere and pass a reference [A0015]"
    )]
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A0016. The input cannot be read by the workflow's code.
    #[error("workflow {workflow_type:?} cannot read its input: {problem} [A0016]")]
    Undecodable {
        /// The workflow type.
        workflow_type: String,
        /// What the code says.
        problem: String,
    },
    /// A0018. This process has no code for the workflow type.
    #[error(
        "there is no workflow {workflow_type:?} in this program; registered are: {known}. Register it before start() [A0018]"
    )]
    UnknownWorkflow {
        /// The workflow type.
        workflow_type: String,
        /// The types that there are.
        known: String,
    },
    /// A0020. The id belongs to another run.
    #[error(
        "workflow id {workflow_id:?} belongs to run {run_id} with another {what}: choose another id, or allow reuse [A0020]"
    )]
    Conflict {
        /// The id.
        workflow_id: String,
        /// The run that has it.
        run_id: RunId,
        /// What differs: the workflow type or the input.
        what: &'static str,
    },
    /// A0021. There is no such run.
    #[error("there is no run of workflow id {workflow_id:?} in this store [A0021]")]
    NotFound {
        /// The id.
        workflow_id: String,
    },
    /// A0022. The run has ended.
    #[error(
        "run {run_id} of {workflow_id:?} has ended: it takes no signals any more, and there is nothing to cancel or terminate [A0022]"
    )]
    AlreadyEnded {
        /// The id.
        workflow_id: String,
        /// The run.
        run_id: RunId,
    },
    /// A0023. The id has passed to another run than the one meant.
    #[error("workflow id {workflow_id:?} now belongs to run {found}, not to {expected}: look the run up again [A0023]")]
    OtherRun {
        /// The id.
        workflow_id: String,
        /// The run that has it.
        found: RunId,
        /// The run that was meant.
        expected: RunId,
    },
    /// A repair that cannot be made.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// A0035. A request about routing that cannot be.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A0047. The namespace belongs to the engine.
    #[error(
        "the namespace {namespace:?} belongs to the engine, like all that begin with \"antiphon.\": choose another [A0047]"
    )]
    Reserved {
        /// The namespace.
        namespace: String,
    },
    /// A0026. The runs with open activities hold as much as they may. Starts are taken again when some have ended.
    #[error("{runs} runs are under way, which is as much as is kept in memory: try again after a pause [A0026]")]
    Overloaded {
        /// How many are in memory.
        runs: usize,
    },
    /// A0039. Settings of a task queue that cannot be.
    #[error(transparent)]
    QueueSettings(#[from] QueueSettingsError),
    /// A0065. The queue takes in no more activities that are scheduled on their own. It does again when some have gone.
    #[error(
        "task queue {queue:?} has {waiting} waiting, and takes in more only below its limit of {max}: try again later [A0065]"
    )]
    QueueFull {
        /// The queue.
        queue: String,
        /// How many wait.
        waiting: usize,
        /// The limit.
        max: u32,
    },
    /// A request about workers changed nothing. See the error's own code.
    #[error(transparent)]
    Workers(#[from] WorkersError),
    /// A0032. Only in tests: time stands still, and a run waits for an activity that nobody can take.
    #[error(
        "nothing can happen any more: {workflow_id:?} waits for {call}, and {reason}; register the activity, or give the call a deadline [A0032]"
    )]
    Stuck {
        /// The run that waits.
        workflow_id: String,
        /// What it waits for.
        call: String,
        /// Why nobody can take it.
        reason: String,
    },
}
