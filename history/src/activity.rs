//! One activity: what was asked, under which rules, and how it ended.

use crate::{ConversationOutcome, Name, Payload, RouteRequest, TimeoutKind};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One activity as the workflow asked for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActivityCall {
    /// Which activity.
    #[serde(rename = "t")]
    pub activity_type: Name,
    /// The task queue that its workers subscribe to.
    #[serde(rename = "k", default = "default_queue", skip_serializing_if = "is_default_queue")]
    pub queue: Name,
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

fn default_queue() -> Name {
    DEFAULT_QUEUE.into()
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
    /// When its attempts or losses are used up it waits, as a dead letter, until somebody retries or discards it, instead
    /// of ending. Meanwhile none of its deadlines runs. Default: false.
    #[serde(rename = "ho", skip_serializing_if = "is_false")]
    pub hold: bool,
    /// Labels that a worker must have. Default: none.
    #[serde(rename = "nd", skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// How to choose the worker. Default: as the queue says, and if it says nothing, the least loaded.
    #[serde(rename = "rt", skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<RouteRequest>>,
    /// A short text for people. Default: none.
    #[serde(rename = "sum", skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// How urgent it is among what waits in its task queue, from 1, which goes first, to 5. Default: 3.
    #[serde(rename = "pr", skip_serializing_if = "is_default_priority")]
    pub priority: u8,
    /// On whose behalf it is asked for: among calls of one priority each key gets its share. Default: none, which is a
    /// key like any other.
    #[serde(rename = "fk", skip_serializing_if = "String::is_empty")]
    pub fairness_key: String,
    /// The share of its fairness key against the others, from 1 to [`FAIRNESS_WEIGHT_MAX`]. A weight that the queue's
    /// settings give to the key goes before. Default: 1.
    #[serde(rename = "fw", skip_serializing_if = "is_one")]
    pub fairness_weight: u32,
    /// Calls of one key are under way at most as many at once as the task queue's settings allow per key; with one they
    /// are done one after the other, in the order in which they were asked for. Default: none.
    #[serde(rename = "lk", skip_serializing_if = "String::is_empty")]
    pub limit_key: String,
}

/// The least urgent priority; the most urgent is 1.
pub const PRIORITY_MAX: u8 = 5;

/// The priority of calls that name none: room on either side.
const DEFAULT_PRIORITY: u8 = 3;

/// The largest weight of a fairness key. A larger one would leave the others as good as nothing.
pub const FAIRNESS_WEIGHT_MAX: u32 = 1_000;

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
            hold: false,
            needs: Vec::new(),
            route: None,
            summary: String::new(),
            priority: DEFAULT_PRIORITY,
            fairness_key: String::new(),
            fairness_weight: 1,
            limit_key: String::new(),
        }
    }
}

/// Five lost legs: enough to survive a rolling restart, few enough that a body that kills its worker is stopped.
const DEFAULT_MAX_LOSSES: u32 = 5;

fn is_default_losses(losses: &u32) -> bool {
    *losses == DEFAULT_MAX_LOSSES
}

fn is_default_priority(priority: &u8) -> bool {
    *priority == DEFAULT_PRIORITY
}

pub(crate) fn is_default_retry(retry: &RetryPolicy) -> bool {
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

impl ActivityOutcome {
    /// What the conversation of the last attempt ends as.
    pub fn closes_as(&self) -> ConversationOutcome {
        match self {
            ActivityOutcome::Completed { .. } => ConversationOutcome::Completed,
            ActivityOutcome::Failed { .. } => ConversationOutcome::Failed,
            ActivityOutcome::TimedOut { .. } => ConversationOutcome::TimedOut,
            ActivityOutcome::Cancelled => ConversationOutcome::Cancelled,
            ActivityOutcome::NoWorker { .. } => ConversationOutcome::NoWorker,
            ActivityOutcome::Lost { .. } => ConversationOutcome::Lost,
        }
    }

    /// Whether a call that ends so may be held as a dead letter: its attempts or losses are used up.
    pub fn may_be_held(&self) -> bool {
        matches!(self, ActivityOutcome::Failed { .. } | ActivityOutcome::TimedOut { .. } | ActivityOutcome::Lost { .. })
    }

    /// Every payload in the outcome.
    pub fn payloads(&self) -> &[Payload] {
        match self {
            ActivityOutcome::Completed { result } => result,
            ActivityOutcome::Failed { failure, .. } => failure.details.as_slice(),
            _ => &[],
        }
    }

    /// Every payload in the outcome, for replacing them in place.
    pub fn payloads_mut(&mut self) -> &mut [Payload] {
        match self {
            ActivityOutcome::Completed { result } => result,
            ActivityOutcome::Failed { failure, .. } => failure.details.as_mut_slice(),
            _ => &mut [],
        }
    }
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
pub struct Site(pub Name);

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
