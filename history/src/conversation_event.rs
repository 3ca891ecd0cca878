use crate::{ActivityOutcome, Digest, Name, Payload, RouteReason, Timestamp, TokenHash};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What happened in one conversation: the recorded life of one attempt of one activity.
///
/// A success reads `Scheduled, WorkerSelected, Sent, Received, Closed`. The legal orders are the table in
/// `conversation/src/phase.rs`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ConversationEvent {
    /// The attempt waits for a worker.
    #[serde(rename = "sc")]
    Scheduled {
        /// Which activity.
        #[serde(rename = "t")]
        activity_type: Name,
        /// The task queue.
        #[serde(rename = "k")]
        queue: Name,
        /// Not before this moment (a retry that backs off). Absent: at once.
        #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
        visible_at: Option<Timestamp>,
    },
    /// A worker was chosen for a leg. Nothing was sent yet.
    #[serde(rename = "ws")]
    WorkerSelected {
        /// The leg, from 1.
        #[serde(rename = "l")]
        leg: u32,
        /// The worker's durable name.
        #[serde(rename = "w")]
        worker: Name,
        /// The hash of the token that answers for this leg must carry.
        #[serde(rename = "h")]
        token: TokenHash,
        /// Why this worker. Absent: it was the only one there.
        #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
        why: Option<Selection>,
        /// How long the worker has the leg after each word of its own, in milliseconds; then somebody else may have it.
        /// Absent: the engine holds the connection to the worker, whose end ends the leg.
        #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
        lease_ms: Option<u64>,
    },
    /// The request is about to leave. Written before the bytes do.
    #[serde(rename = "se")]
    Sent {
        /// The leg.
        #[serde(rename = "l")]
        leg: u32,
    },
    /// The worker told of its progress. A sample: most heartbeats are not written.
    #[serde(rename = "hb")]
    Heartbeat {
        /// The leg.
        #[serde(rename = "l")]
        leg: u32,
        /// What it told.
        #[serde(rename = "d")]
        details: Payload,
    },
    /// The worker was told to stop.
    #[serde(rename = "cs")]
    CancelSent {
        /// The leg.
        #[serde(rename = "l")]
        leg: u32,
    },
    /// The worker answered. Ends the leg.
    #[serde(rename = "re")]
    Received {
        /// The leg.
        #[serde(rename = "l")]
        leg: u32,
        /// What it answered.
        #[serde(rename = "x")]
        response: Response,
    },
    /// The leg ended without an answer.
    #[serde(rename = "ex")]
    Exited {
        /// The leg.
        #[serde(rename = "l")]
        leg: u32,
        /// How.
        #[serde(rename = "w")]
        reason: ExitReason,
        /// The last progress it told, for the next leg to go on from.
        #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
        details: Option<Payload>,
        /// The next leg is not selected before this moment. Absent: at once.
        #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
        visible_at: Option<Timestamp>,
    },
    /// No subscribed worker could take the attempt; written when the reason changes, not at every look.
    #[serde(rename = "nw")]
    NoWorker {
        /// Why none could.
        #[serde(rename = "w")]
        reason: String,
    },
    /// The attempts or losses are used up, and the call is to be held then: it waits as a dead letter for somebody who
    /// retries it (the conversation is closed and the next one opened) or discards it (the workflow gets the outcome).
    #[serde(rename = "he")]
    Held {
        /// What the workflow gets if it is discarded. Never a result.
        #[serde(rename = "x")]
        outcome: Box<ActivityOutcome>,
    },
    /// The conversation is over.
    #[serde(rename = "cl")]
    Closed {
        /// Its outcome.
        #[serde(rename = "x")]
        outcome: ConversationOutcome,
    },
}

impl ConversationEvent {
    /// The event's name, as documents and dumps print it.
    pub fn name(&self) -> &'static str {
        match self {
            ConversationEvent::Scheduled { .. } => "Scheduled",
            ConversationEvent::WorkerSelected { .. } => "WorkerSelected",
            ConversationEvent::Sent { .. } => "Sent",
            ConversationEvent::Heartbeat { .. } => "Heartbeat",
            ConversationEvent::CancelSent { .. } => "CancelSent",
            ConversationEvent::Received { .. } => "Received",
            ConversationEvent::Exited { .. } => "Exited",
            ConversationEvent::NoWorker { .. } => "NoWorker",
            ConversationEvent::Held { .. } => "Held",
            ConversationEvent::Closed { .. } => "Closed",
        }
    }

    /// Every payload in the event, for replacing them in place.
    pub fn payloads_mut(&mut self) -> &mut [Payload] {
        match self {
            ConversationEvent::Heartbeat { details, .. } => std::slice::from_mut(details),
            ConversationEvent::Exited { details, .. } => details.as_mut_slice(),
            ConversationEvent::Held { outcome } => outcome.payloads_mut(),
            _ => &mut [],
        }
    }

    /// Every payload in the event.
    pub fn payloads(&self) -> &[Payload] {
        match self {
            ConversationEvent::Heartbeat { details, .. } => std::slice::from_ref(details),
            ConversationEvent::Exited { details, .. } => details.as_slice(),
            ConversationEvent::Held { outcome } => outcome.payloads(),
            _ => &[],
        }
    }
}

/// Why a worker was chosen. Written only where there was something to decide.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Selection {
    /// The policy that decided.
    #[serde(rename = "p")]
    pub policy: String,
    /// How many workers subscribe to the queue.
    #[serde(rename = "c")]
    pub candidates: u32,
    /// Free places of the chosen worker before this request.
    #[serde(rename = "f")]
    pub free: u32,
    /// Who was left out and why, at most 16 names.
    #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What a route request added to the choice. Absent where there was none.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<RouteDecision>>,
}

/// What a route request added to a choice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RouteDecision {
    /// Why this worker and no other.
    #[serde(rename = "y")]
    pub reason: RouteReason,
    /// How many workers could have had the call, the chosen one included.
    #[serde(rename = "n")]
    pub eligible: u32,
    /// Who would have been next, in order, at most 16 names.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Name>,
    /// The key that binds calls to one worker.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Name>,
    /// The guard that agreed.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Name>,
    /// A digest of all that was known of the workers: two choices with the same one saw the same.
    #[serde(rename = "s")]
    pub snapshot: u64,
}

/// A worker that was not considered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// The worker's durable name.
    #[serde(rename = "w")]
    pub worker: String,
    /// Why.
    #[serde(rename = "y")]
    pub reason: LeftOutReason,
}

/// Why a worker was not considered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LeftOutReason {
    /// An earlier leg of this conversation was lost on it.
    #[serde(rename = "lost")]
    LostEarlierLeg,
    /// All its places are taken.
    #[serde(rename = "full")]
    Full,
    /// It has no code for this activity type.
    #[serde(rename = "type")]
    NoSuchActivity,
    /// It lacks a label that the call needs.
    #[serde(rename = "label")]
    MissingLabel,
    /// The route request excludes it.
    #[serde(rename = "excl")]
    Excluded,
    /// No list of the route request names it, and no others are to be taken.
    #[serde(rename = "list")]
    NotListed,
    /// It is unhealthy or down.
    #[serde(rename = "sick")]
    Unhealthy,
    /// It finishes what it has and takes nothing new.
    #[serde(rename = "drain")]
    Draining,
    /// It is joining, suspect or gone.
    #[serde(rename = "away")]
    Away,
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeftOutReason::LostEarlierLeg => "lost an earlier leg",
            LeftOutReason::Full => "full",
            LeftOutReason::NoSuchActivity => "has no such activity",
            LeftOutReason::MissingLabel => "lacks a needed label",
            LeftOutReason::Excluded => "excluded by the request",
            LeftOutReason::NotListed => "in no list of the request",
            LeftOutReason::Unhealthy => "unhealthy",
            LeftOutReason::Draining => "draining",
            LeftOutReason::Away => "away",
        })
    }
}

/// What a worker answered. The result itself stands in the run stream, in the same segment; here is its proof.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Response {
    /// The body returned a result.
    #[serde(rename = "ok")]
    Completed {
        /// Digest over the digests of the result's payloads.
        #[serde(rename = "h")]
        digest: Digest,
        /// Bytes of the result.
        #[serde(rename = "n")]
        len: u64,
    },
    /// The body returned an error.
    #[serde(rename = "er")]
    Failed {
        /// What the error says, at most 4 KiB.
        #[serde(rename = "m")]
        message: String,
        /// Whether the body's author allows another attempt.
        #[serde(rename = "r")]
        retryable: bool,
    },
}

/// How a leg ended without an answer. Reasons are data: each is handled by its own rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ExitReason {
    /// The worker left or died.
    #[serde(rename = "wx")]
    WorkerExit,
    /// The worker's process died, and it is known of what.
    #[serde(rename = "wd")]
    WorkerDied {
        /// Of what: an exit code, a signal, or why it was killed; at most 4 KiB.
        #[serde(rename = "m")]
        how: String,
    },
    /// The body panicked.
    #[serde(rename = "pn")]
    Panicked {
        /// The panic's message, at most 4 KiB.
        #[serde(rename = "m")]
        message: String,
    },
    /// A deadline of the running leg passed.
    #[serde(rename = "to")]
    TimedOut {
        /// Which one.
        #[serde(rename = "k")]
        kind: TimeoutKind,
    },
    /// The worker was told to stop, or the outcome is no longer wanted.
    #[serde(rename = "cx")]
    Cancelled,
    /// The engine that held the connection to the worker ended.
    #[serde(rename = "er")]
    EngineRestart,
    /// The worker's lease ended without a word, and somebody else took the leg's place or nobody may any more.
    #[serde(rename = "le")]
    LeaseExpired,
    /// The worker gave the leg back before it had begun or ended it.
    #[serde(rename = "rl")]
    Released,
    /// A repair ended it: its worker was gone for longer than anybody wanted to wait.
    #[serde(rename = "fo")]
    Forced,
    /// A repair ended it: nothing was heard of it for too long, although its worker is there.
    #[serde(rename = "rd")]
    Redriven,
}

impl ExitReason {
    /// Whether the leg was lost through no word of the activity: it costs a loss, not an attempt.
    pub fn is_loss(&self) -> bool {
        match self {
            ExitReason::EngineRestart if crate::planted!("engine-restart-costs-nothing") => false,
            ExitReason::WorkerExit
            | ExitReason::WorkerDied { .. }
            | ExitReason::Panicked { .. }
            | ExitReason::EngineRestart
            | ExitReason::LeaseExpired
            | ExitReason::Forced
            | ExitReason::Redriven => true,
            ExitReason::TimedOut { .. } | ExitReason::Cancelled | ExitReason::Released => false,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::WorkerExit => f.write_str("the worker left"),
            ExitReason::WorkerDied { how } => write!(f, "the worker died: {how}"),
            ExitReason::Panicked { message } => write!(f, "the activity panicked: {message}"),
            ExitReason::TimedOut { kind } => write!(f, "{kind} passed"),
            ExitReason::Cancelled => f.write_str("cancelled"),
            ExitReason::EngineRestart => f.write_str("the engine restarted"),
            ExitReason::LeaseExpired => f.write_str("the lease ended"),
            ExitReason::Released => f.write_str("given back"),
            ExitReason::Forced => f.write_str("the worker was gone for too long"),
            ExitReason::Redriven => f.write_str("nothing was heard of it for too long"),
        }
    }
}

/// The deadlines of an activity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum TimeoutKind {
    /// No worker took the attempt in time.
    #[serde(rename = "s2s")]
    ScheduleToStart,
    /// The attempt ran too long.
    #[serde(rename = "s2c")]
    StartToClose,
    /// All attempts together took too long.
    #[serde(rename = "tot")]
    ScheduleToClose,
    /// The running activity was silent too long.
    #[serde(rename = "hb")]
    Heartbeat,
}

impl fmt::Display for TimeoutKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimeoutKind::ScheduleToStart => "schedule-to-start",
            TimeoutKind::StartToClose => "start-to-close",
            TimeoutKind::ScheduleToClose => "schedule-to-close",
            TimeoutKind::Heartbeat => "heartbeat",
        })
    }
}

/// The outcome of one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ConversationOutcome {
    /// The body returned a result.
    #[serde(rename = "ok")]
    Completed,
    /// The body returned an error.
    #[serde(rename = "er")]
    Failed,
    /// A deadline passed.
    #[serde(rename = "to")]
    TimedOut,
    /// Nobody wanted the outcome any more.
    #[serde(rename = "cx")]
    Cancelled,
    /// Too many legs were lost.
    #[serde(rename = "lo")]
    Lost,
    /// No worker could ever take it.
    #[serde(rename = "nw")]
    NoWorker,
}

impl fmt::Display for ConversationOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConversationOutcome::Completed => "completed",
            ConversationOutcome::Failed => "failed",
            ConversationOutcome::TimedOut => "timed out",
            ConversationOutcome::Cancelled => "cancelled",
            ConversationOutcome::Lost => "lost",
            ConversationOutcome::NoWorker => "no worker",
        })
    }
}
