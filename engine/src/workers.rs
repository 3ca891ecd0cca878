//! What workers and their operators ask of the engine, and what they get: the pull side of dispatch.

use crate::dispatch::{WorkerSpec, WorkerView};
use antiphon_conversation::{Request, Token};
use antiphon_history::{
    ConversationKey, ConversationOutcome, Digest, Failure, GoneWorker, Health, HistoryFile, InstanceId, Liveness, Name,
    Payload, Response, Timestamp, TokenHash, WorkerKind,
};

/// A request of a worker that asks for its work, or of somebody who looks after workers. Answered when what it changed is
/// durable, with [`WorkersReply`] or with [`WorkersError`](crate::WorkersError).
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
