use crate::{Ordinal, Payload, RunId, TimeoutKind, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What happened to a run. Replay reads these and nothing else.
///
/// The stored names are the `rename`s below; they are listed in `docs/history-format.md` and never change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RunEvent {
    /// Arrival: the run exists. Always the first event.
    #[serde(rename = "rs")]
    RunStarted(Box<RunStarted>),
    /// Arrival: the final outcome of an activity. Written once per activity.
    #[serde(rename = "ar")]
    ActivityResolved {
        /// The activity.
        #[serde(rename = "o")]
        ordinal: Ordinal,
        /// How it ended.
        #[serde(rename = "x")]
        outcome: ActivityOutcome,
    },
    /// Arrival: a timer is due.
    #[serde(rename = "tf")]
    TimerFired {
        /// The timer.
        #[serde(rename = "o")]
        ordinal: Ordinal,
    },
    /// Arrival: a message for the workflow. Kept until the workflow takes it.
    #[serde(rename = "sr")]
    SignalReceived {
        /// The name of the channel.
        #[serde(rename = "n")]
        name: String,
        /// What was sent.
        #[serde(rename = "i", default, skip_serializing_if = "Vec::is_empty")]
        input: Vec<Payload>,
        /// The sender's id for this request; a second one with the same id changes nothing.
        #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// Arrival: somebody asked for the run to be cancelled.
    #[serde(rename = "cr")]
    CancelRequested {
        /// Why, in the words of whoever asked.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },

    /// Command: the workflow asked for an activity.
    #[serde(rename = "as")]
    ActivityScheduled {
        /// The activity's place among the run's calls.
        #[serde(rename = "o")]
        ordinal: Ordinal,
        /// What to do, with what, under which rules.
        #[serde(rename = "c")]
        call: Box<ActivityCall>,
    },
    /// Command: the workflow no longer waits for an activity (a lost race, a cancelled run).
    #[serde(rename = "ac")]
    ActivityCancelled {
        /// The activity.
        #[serde(rename = "o")]
        ordinal: Ordinal,
    },
    /// Command: the workflow started to wait for a moment.
    #[serde(rename = "ts")]
    TimerStarted {
        /// The timer's place among the run's calls.
        #[serde(rename = "o")]
        ordinal: Ordinal,
        /// When it is due.
        #[serde(rename = "d")]
        due: Timestamp,
        /// Where the workflow asked.
        #[serde(rename = "s", default, skip_serializing_if = "Site::is_unknown")]
        site: Site,
    },
    /// Command: the workflow no longer waits for a timer.
    #[serde(rename = "tc")]
    TimerCancelled {
        /// The timer.
        #[serde(rename = "o")]
        ordinal: Ordinal,
    },
    /// Command: the workflow took a value from outside and wrote it down.
    #[serde(rename = "se")]
    SideEffectRecorded {
        /// The value's place among the run's calls.
        #[serde(rename = "o")]
        ordinal: Ordinal,
        /// The value.
        #[serde(rename = "v")]
        value: Payload,
        /// Where the workflow asked.
        #[serde(rename = "s", default, skip_serializing_if = "Site::is_unknown")]
        site: Site,
    },
    /// Command: the run took the new side of a code change.
    #[serde(rename = "pm")]
    PatchMarked {
        /// The name of the change.
        #[serde(rename = "n")]
        name: String,
    },
    /// Command: an activity that will run if the workflow fails or is cancelled, last pushed first.
    #[serde(rename = "cp")]
    CompensationPushed {
        /// Its place among the run's calls.
        #[serde(rename = "o")]
        ordinal: Ordinal,
        /// What to do then.
        #[serde(rename = "c")]
        call: Box<ActivityCall>,
    },
    /// Command: the workflow returned a result. Terminal.
    #[serde(rename = "rc")]
    RunCompleted {
        /// What it returned.
        #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
        result: Vec<Payload>,
    },
    /// Command: the workflow returned an error. Terminal.
    #[serde(rename = "rf")]
    RunFailed {
        /// What it returned.
        #[serde(rename = "f")]
        failure: Failure,
    },
    /// Command: the workflow was cancelled and its compensations have ended. Terminal.
    #[serde(rename = "rx")]
    RunCancelled {
        /// Why, as requested.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },

    /// Engine: the run cannot go on with this code. Arrivals are kept; nothing else is added until it can.
    #[serde(rename = "bl")]
    Blocked(Box<Blocked>),
    /// Engine: code that agrees with the record is back; the held arrivals are applied after this event.
    #[serde(rename = "ub")]
    Unblocked,
}

/// Whose word an event is. Every event has one, so nobody can add an event without deciding how it replays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The world spoke: replay hands it to the workflow.
    Arrival,
    /// The workflow asked: replay must see the same question.
    Command,
    /// The engine's own bookkeeping: folded, never shown to workflow code.
    Engine,
}

impl RunEvent {
    /// Whose word this event is.
    pub fn role(&self) -> Role {
        match self {
            RunEvent::RunStarted(_)
            | RunEvent::ActivityResolved { .. }
            | RunEvent::TimerFired { .. }
            | RunEvent::SignalReceived { .. }
            | RunEvent::CancelRequested { .. } => Role::Arrival,
            RunEvent::ActivityScheduled { .. }
            | RunEvent::ActivityCancelled { .. }
            | RunEvent::TimerStarted { .. }
            | RunEvent::TimerCancelled { .. }
            | RunEvent::SideEffectRecorded { .. }
            | RunEvent::PatchMarked { .. }
            | RunEvent::CompensationPushed { .. }
            | RunEvent::RunCompleted { .. }
            | RunEvent::RunFailed { .. }
            | RunEvent::RunCancelled { .. } => Role::Command,
            RunEvent::Blocked(_) | RunEvent::Unblocked => Role::Engine,
        }
    }

    /// Whether no event may follow.
    pub fn is_terminal(&self) -> bool {
        matches!(self, RunEvent::RunCompleted { .. } | RunEvent::RunFailed { .. } | RunEvent::RunCancelled { .. })
    }

    /// The event's name, as documents and dumps print it.
    pub fn name(&self) -> &'static str {
        match self {
            RunEvent::RunStarted(_) => "RunStarted",
            RunEvent::ActivityResolved { .. } => "ActivityResolved",
            RunEvent::TimerFired { .. } => "TimerFired",
            RunEvent::SignalReceived { .. } => "SignalReceived",
            RunEvent::CancelRequested { .. } => "CancelRequested",
            RunEvent::ActivityScheduled { .. } => "ActivityScheduled",
            RunEvent::ActivityCancelled { .. } => "ActivityCancelled",
            RunEvent::TimerStarted { .. } => "TimerStarted",
            RunEvent::TimerCancelled { .. } => "TimerCancelled",
            RunEvent::SideEffectRecorded { .. } => "SideEffectRecorded",
            RunEvent::PatchMarked { .. } => "PatchMarked",
            RunEvent::CompensationPushed { .. } => "CompensationPushed",
            RunEvent::RunCompleted { .. } => "RunCompleted",
            RunEvent::RunFailed { .. } => "RunFailed",
            RunEvent::RunCancelled { .. } => "RunCancelled",
            RunEvent::Blocked(_) => "Blocked",
            RunEvent::Unblocked => "Unblocked",
        }
    }

    /// Every payload in the event, in a fixed order.
    pub fn payloads(&self) -> Vec<&Payload> {
        match self {
            RunEvent::RunStarted(started) => started.input.iter().collect(),
            RunEvent::ActivityResolved { outcome, .. } => match outcome {
                ActivityOutcome::Completed { result } => result.iter().collect(),
                ActivityOutcome::Failed { failure, .. } => failure.details.iter().collect(),
                _ => Vec::new(),
            },
            RunEvent::SignalReceived { input, .. } => input.iter().collect(),
            RunEvent::ActivityScheduled { call, .. } | RunEvent::CompensationPushed { call, .. } => {
                call.input.iter().collect()
            }
            RunEvent::SideEffectRecorded { value, .. } => vec![value],
            RunEvent::RunCompleted { result } => result.iter().collect(),
            RunEvent::RunFailed { failure } => failure.details.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Every payload in the event, for replacing them in place.
    pub fn payloads_mut(&mut self) -> Vec<&mut Payload> {
        match self {
            RunEvent::RunStarted(started) => started.input.iter_mut().collect(),
            RunEvent::ActivityResolved { outcome, .. } => match outcome {
                ActivityOutcome::Completed { result } => result.iter_mut().collect(),
                ActivityOutcome::Failed { failure, .. } => failure.details.iter_mut().collect(),
                _ => Vec::new(),
            },
            RunEvent::SignalReceived { input, .. } => input.iter_mut().collect(),
            RunEvent::ActivityScheduled { call, .. } | RunEvent::CompensationPushed { call, .. } => {
                call.input.iter_mut().collect()
            }
            RunEvent::SideEffectRecorded { value, .. } => vec![value],
            RunEvent::RunCompleted { result } => result.iter_mut().collect(),
            RunEvent::RunFailed { failure } => failure.details.iter_mut().collect(),
            _ => Vec::new(),
        }
    }
}

/// What is known of a run from its first moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunStarted {
    /// The namespace of the workflow id.
    #[serde(rename = "ns")]
    pub namespace: String,
    /// The user's id.
    #[serde(rename = "id")]
    pub workflow_id: String,
    /// The engine's id.
    #[serde(rename = "run")]
    pub run_id: RunId,
    /// The workflow type: which code runs.
    #[serde(rename = "t")]
    pub workflow_type: String,
    /// The version of that code when the run began.
    #[serde(rename = "v")]
    pub version: u32,
    /// The arguments.
    #[serde(rename = "i", default, skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<Payload>,
    /// Which replay rules hold for this run for ever.
    #[serde(rename = "sem")]
    pub semantics: u32,
    /// Who runs the workflow code: `native` is this engine, polling futures of its own process.
    #[serde(rename = "drv")]
    pub driver: String,
    /// The starter's id for this request.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// One activity as the workflow asked for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActivityCall {
    /// Which activity.
    #[serde(rename = "t")]
    pub activity_type: String,
    /// The task queue that its workers subscribe to.
    #[serde(rename = "k", default = "default_queue", skip_serializing_if = "is_default_queue")]
    pub queue: String,
    /// The arguments.
    #[serde(rename = "i", default, skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<Payload>,
    /// The rules.
    #[serde(rename = "p", default, skip_serializing_if = "is_default_options")]
    pub options: ActivityOptions,
    /// Where the workflow asked.
    #[serde(rename = "s", default, skip_serializing_if = "Site::is_unknown")]
    pub site: Site,
}

/// The task queue of calls that name none.
pub(crate) const DEFAULT_QUEUE: &str = "default";

fn default_queue() -> String {
    DEFAULT_QUEUE.to_owned()
}

fn is_default_queue(queue: &str) -> bool {
    queue == DEFAULT_QUEUE
}

fn is_default_options(options: &ActivityOptions) -> bool {
    *options == ActivityOptions::default()
}

/// The rules of one activity call. Every default is written out here; an absent field means its default.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityOptions {
    /// Longest wait for a worker, per attempt, in milliseconds. Default: none, an activity waits until a worker comes.
    #[serde(rename = "s2s", skip_serializing_if = "Option::is_none")]
    pub schedule_to_start_ms: Option<u64>,
    /// Longest run of one attempt from the moment it was sent, in milliseconds. Default: none.
    #[serde(rename = "s2c", skip_serializing_if = "Option::is_none")]
    pub start_to_close_ms: Option<u64>,
    /// Longest time over all attempts and waits, in milliseconds. Default: none.
    #[serde(rename = "tot", skip_serializing_if = "Option::is_none")]
    pub schedule_to_close_ms: Option<u64>,
    /// Longest silence of a running activity, in milliseconds. Default: none.
    #[serde(rename = "hb", skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
    /// What follows an attempt that failed.
    #[serde(rename = "r", skip_serializing_if = "is_default_retry")]
    pub retry: RetryPolicy,
    /// Legs that may be lost (worker gone, panic, engine restart) before the activity ends as lost. Default: 5.
    #[serde(rename = "ml", skip_serializing_if = "is_default_losses")]
    pub max_losses: u32,
    /// Never run the body a second time: an unknown outcome ends the activity as lost. Default: false.
    #[serde(rename = "amo", skip_serializing_if = "is_false")]
    pub at_most_once: bool,
    /// End as `NoWorker` at once where no worker could ever take it, instead of waiting. Default: false.
    #[serde(rename = "ff", skip_serializing_if = "is_false")]
    pub fail_fast: bool,
    /// Labels that a worker must have. Default: none.
    #[serde(rename = "nd", skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// A short text for people. Default: none.
    #[serde(rename = "sum", skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

impl Default for ActivityOptions {
    fn default() -> ActivityOptions {
        ActivityOptions {
            schedule_to_start_ms: None,
            start_to_close_ms: None,
            schedule_to_close_ms: None,
            heartbeat_ms: None,
            retry: RetryPolicy::default(),
            max_losses: DEFAULT_MAX_LOSSES,
            at_most_once: false,
            fail_fast: false,
            needs: Vec::new(),
            summary: String::new(),
        }
    }
}

/// Five lost legs: enough to survive a rolling restart, few enough that a body that kills its worker is stopped.
const DEFAULT_MAX_LOSSES: u32 = 5;

fn is_default_losses(losses: &u32) -> bool {
    *losses == DEFAULT_MAX_LOSSES
}

fn is_default_retry(retry: &RetryPolicy) -> bool {
    *retry == RetryPolicy::default()
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What follows an attempt that failed: how often to try, and how long to wait in between.
///
/// The wait before attempt n+1 is `initial_ms × (factor_percent / 100)^(n-1)`, at most `max_ms`. No float, no jitter:
/// both would differ between machines or need a recorded draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1. Default: 1, no retry; a retry may repeat an effect, so the author asks for it.
    #[serde(rename = "n", skip_serializing_if = "is_one")]
    pub max_attempts: u32,
    /// The wait before the second attempt, in milliseconds. Default: 1,000.
    #[serde(rename = "i", skip_serializing_if = "is_second")]
    pub initial_ms: u64,
    /// Growth of the wait per attempt, in percent; 100 keeps it. Default: 200.
    #[serde(rename = "f", skip_serializing_if = "is_double")]
    pub factor_percent: u32,
    /// The longest wait, in milliseconds. Default: 60,000.
    #[serde(rename = "m", skip_serializing_if = "is_minute")]
    pub max_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy { max_attempts: 1, initial_ms: 1_000, factor_percent: 200, max_ms: 60_000 }
    }
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

fn is_second(value: &u64) -> bool {
    *value == 1_000
}

fn is_double(value: &u32) -> bool {
    *value == 200
}

fn is_minute(value: &u64) -> bool {
    *value == 60_000
}

/// How an activity ended, as the workflow sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ActivityOutcome {
    /// Its body returned a result.
    #[serde(rename = "ok")]
    Completed {
        /// What it returned.
        #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
        result: Vec<Payload>,
    },
    /// Its body returned an error, and no further attempt is allowed.
    #[serde(rename = "er")]
    Failed {
        /// The error of the last attempt.
        #[serde(rename = "f")]
        failure: Failure,
        /// Attempts made.
        #[serde(rename = "n")]
        attempts: u32,
    },
    /// A deadline passed, and no further attempt is allowed.
    #[serde(rename = "to")]
    TimedOut {
        /// Which deadline.
        #[serde(rename = "k")]
        kind: TimeoutKind,
        /// Attempts made.
        #[serde(rename = "n")]
        attempts: u32,
    },
    /// The workflow or an operator no longer wanted it.
    #[serde(rename = "cx")]
    Cancelled,
    /// No worker could ever take it, and the call was to fail fast.
    #[serde(rename = "nw")]
    NoWorker {
        /// Why none could.
        #[serde(rename = "w")]
        reason: String,
    },
    /// Its workers were lost too often, or once where it must not run twice. Its body may or may not have run.
    #[serde(rename = "lo")]
    Lost {
        /// Legs lost.
        #[serde(rename = "n")]
        losses: u32,
        /// What happened to the last one.
        #[serde(rename = "w")]
        reason: String,
    },
}

/// An error as it is written down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What the error says, at most 4 KiB.
    #[serde(rename = "m")]
    pub message: String,
    /// The error's type name, for people and filters.
    #[serde(rename = "t", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The typed error itself.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Payload>,
}

/// A place in the author's source, `file:line`. Never compared in replay: code may move.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Site(pub String);

impl Site {
    /// Whether no place is known.
    pub fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "unknown place" } else { &self.0 })
    }
}

/// Why a run cannot go on with the code it met.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Blocked {
    /// What happened.
    #[serde(rename = "w")]
    pub reason: BlockedReason,
    /// How many arrivals directly before this event the workflow has not taken in: the turn that broke, if it was new.
    #[serde(rename = "h", default, skip_serializing_if = "is_zero")]
    pub held: u32,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What stopped a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BlockedReason {
    /// The code asked something else than the record says.
    #[serde(rename = "dv")]
    Divergence(DivergenceReport),
    /// The workflow code panicked.
    #[serde(rename = "pn")]
    Panic {
        /// The panic's message.
        #[serde(rename = "m")]
        message: String,
        /// The last call that the workflow made before, as the nearest known place.
        #[serde(rename = "s", default, skip_serializing_if = "Site::is_unknown")]
        site: Site,
    },
    /// The workflow awaited something that is not Antiphon's.
    #[serde(rename = "fa")]
    ForeignAwait {
        /// The last call that the workflow made before, as the nearest known place.
        #[serde(rename = "s", default, skip_serializing_if = "Site::is_unknown")]
        after: Site,
    },
    /// The workflow kept waking itself without asking for anything.
    #[serde(rename = "sp")]
    Spinning {
        /// How often it was polled in the turn.
        #[serde(rename = "n")]
        polls: u32,
    },
    /// A recorded value cannot be read by this code.
    #[serde(rename = "un")]
    Undecodable {
        /// What could not be read, and why.
        #[serde(rename = "m")]
        message: String,
        /// Where the workflow asked for it.
        #[serde(rename = "s", default, skip_serializing_if = "Site::is_unknown")]
        site: Site,
    },
    /// This binary has no code for the workflow type.
    #[serde(rename = "uw")]
    UnknownWorkflow {
        /// The type.
        #[serde(rename = "t")]
        workflow_type: String,
    },
}

/// Where and how replay left the record: one report an author can act on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DivergenceReport {
    /// The sequence number of the recorded event where replay stood.
    #[serde(rename = "q")]
    pub seq: u64,
    /// The recorded call in one line, or why there is none.
    #[serde(rename = "r")]
    pub recorded: String,
    /// Where the recorded call was asked for, when it was recorded.
    #[serde(rename = "rs", default, skip_serializing_if = "Site::is_unknown")]
    pub recorded_site: Site,
    /// The attempted call in one line, or why there is none.
    #[serde(rename = "a")]
    pub attempted: String,
    /// Where the attempted call stands in today's code.
    #[serde(rename = "as", default, skip_serializing_if = "Site::is_unknown")]
    pub attempted_site: Site,
    /// The first field that differs, with both values.
    #[serde(rename = "f")]
    pub field: String,
    /// What will probably mend it.
    #[serde(rename = "fix")]
    pub repair: String,
}
