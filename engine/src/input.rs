use crate::RoutinesRequest;
use crate::dispatch::WorkerSpec;
use crate::effect::ReplyTo;
use crate::queues::QueuesRequest;
use crate::repair::{By, RepairRequest};
use crate::router::RoutingRequest;
use crate::workers::WorkersRequest;
use antiphon_conversation::{Answer, Token};
use antiphon_history::{ConversationKey, Payload, RunId, WorkflowKey};

/// Everything that can wake the engine.
#[derive(Debug)]
pub enum Input {
    /// Somebody asks for a workflow to run. Answered when the start is durable.
    Start(StartRequest, ReplyTo),
    /// Somebody asks for a workflow to run and waits for its end: a start and a wait with one answer. Answered when the end
    /// is durable, or when the run is blocked.
    Run(StartRequest, ReplyTo),
    /// Somebody sends a message to a run. Answered when it is durable.
    Signal {
        /// For whom.
        target: Target,
        /// The channel's name.
        name: String,
        /// What is sent.
        input: Vec<Payload>,
        /// The sender's id for this request; a repeated one changes nothing.
        request_id: Option<String>,
        /// Who wants to know.
        reply: ReplyTo,
    },
    /// Somebody asks for a run to be cancelled. Answered when the request is durable.
    Cancel {
        /// Which run.
        target: Target,
        /// Why, for the record.
        reason: String,
        /// Who wants to know.
        reply: ReplyTo,
    },
    /// Somebody ends a run at once. Answered when the end is durable. A run that is not in memory must have been brought in
    /// by [`Partition::bring_in_to_end`](crate::Partition::bring_in_to_end): its code is not asked, and need not be there.
    Terminate {
        /// Which run.
        target: Target,
        /// Who, and why, for the record.
        by: By,
        /// Who wants to know.
        reply: ReplyTo,
    },
    /// Somebody waits for the end of a run. Answered when the end is durable, or when the run is blocked.
    Wait {
        /// Which run.
        target: Target,
        /// Who wants to know.
        reply: ReplyTo,
    },
    /// An operator looks after what is stuck. Answered when what was done is durable.
    Repair(Box<RepairRequest>, ReplyTo),
    /// An operator asks about task queues. Answered when what was done is durable.
    Queues(Box<QueuesRequest>, ReplyTo),
    /// An operator asks for something about the routing of a queue. Answered when it is durable.
    Routing(Box<RoutingRequest>, ReplyTo),
    /// Somebody no longer waits for an answer.
    Forget(ReplyTo),
    /// A worker can take requests from now on. If one of its name is there already, that one is gone and its legs are lost.
    WorkerJoined(WorkerSpec),
    /// A worker is gone; its legs are lost.
    WorkerLeft {
        /// Its name.
        name: String,
    },
    /// A worker's process died; its legs are lost, and the record says of what.
    WorkerDied {
        /// Its name.
        name: String,
        /// Of what: an exit code, a signal, or why it was killed.
        how: String,
    },
    /// A worker that asks for its work, or somebody who looks after workers, wants something.
    Workers(WorkersRequest, ReplyTo),
    /// A worker has ended a leg.
    Answered {
        /// Which conversation.
        conversation: ConversationKey,
        /// Which leg.
        leg: u32,
        /// The leg's secret.
        token: Token,
        /// What it says.
        answer: Answer,
    },
    /// A worker tells that it is alive, and how far it is.
    Heartbeat {
        /// Which conversation.
        conversation: ConversationKey,
        /// Which leg.
        leg: u32,
        /// The leg's secret.
        token: Token,
        /// How far it is.
        details: Option<Payload>,
    },
    /// The archive has taken over all segments up to this one.
    Archived {
        /// The watermark.
        through: u64,
    },
    /// Somebody asks something about routines. Answered when what follows is durable. What
    /// [`Partition::needs_of_request`](crate::Partition::needs_of_request) names must have been brought into memory.
    Routines(RoutinesRequest, ReplyTo),
    /// Time has passed.
    Tick,
}

/// Which run is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The user's id.
    pub workflow: WorkflowKey,
    /// Only if this is the run that has it now.
    pub run: Option<RunId>,
}

/// A workflow to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartRequest {
    /// The user's id for it.
    pub workflow: WorkflowKey,
    /// Which code.
    pub workflow_type: String,
    /// With what.
    pub input: Vec<Payload>,
    /// What a finished run of the same id means.
    pub id_reuse: IdReuse,
    /// The starter's id for this request, for the record.
    pub request_id: Option<String>,
}

/// What a start may do when its workflow id belongs to a run that has ended. (An open run always keeps its id.)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IdReuse {
    /// The id stays with its run: the same type and input answer with that run, others are a conflict.
    #[default]
    Never,
    /// A run that failed, was cancelled or terminated gives its id to a new run; a completed one keeps it.
    AfterFailure,
    /// Every ended run gives its id to a new run.
    Always,
}
