//! What a run waits for, and why: the answer to "why is it stuck", as data, as text, and through serde as JSON.

use antiphon_history::{Ordinal, RunStatus, Timestamp};
use serde::Serialize;
use std::fmt;

/// Why a run stands where it stands. Computed from the same state that decides, in an engine or on a read-only view.
///
/// Moments are milliseconds since the Unix epoch, by the engine's clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// The workflow id, with its namespace where that is not the default.
    pub workflow: String,
    /// The run.
    pub run_id: String,
    /// The workflow type.
    pub workflow_type: String,
    /// How the run stands.
    pub status: RunStatus,
    /// The moment for which this holds.
    pub at: Timestamp,
    /// What it waits for, activities first, at most [`WAITS_MAX`]. Empty if it has ended.
    pub waits: Vec<Wait>,
    /// How many more there are.
    pub more: usize,
}

/// Most waits of one explanation: a person reads it.
pub const WAITS_MAX: usize = 200;

/// One thing that a run waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Wait {
    /// An activity.
    Activity {
        /// Its place in the run.
        ordinal: Ordinal,
        /// The attempt under way.
        attempt: u32,
        /// Which activity.
        activity_type: String,
        /// On which task queue.
        queue: String,
        /// Why it has not ended.
        why: Why,
    },
    /// A moment.
    Timer {
        /// Its place in the run.
        ordinal: Ordinal,
        /// Which moment.
        until: Timestamp,
    },
    /// A signal, or a cancel: there is nothing else that could move it.
    Signal,
    /// Code that can follow its record.
    Code {
        /// What the code does otherwise, whole.
        report: String,
    },
}

/// Why an activity has not ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Why {
    /// It waits for a worker.
    Waiting {
        /// A short word for the reason, always the same for one kind of it.
        kind: String,
        /// The reason.
        reason: String,
        /// Since when a worker may take it.
        since: Timestamp,
    },
    /// It waits between two attempts or legs.
    BackingOff {
        /// Until then.
        until: Timestamp,
        /// What happened before.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// A worker has it.
    Running {
        /// Which.
        worker: String,
        /// How the worker stands: `live` if nothing is known against it.
        liveness: String,
        /// Which leg.
        leg: u32,
        /// Since when.
        since: Timestamp,
        /// When it, or its worker for it, last told of itself.
        heard_at: Timestamp,
        /// When its lease ends, if it has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        lease_until: Option<Timestamp>,
        /// The next deadline, if it has one, and which.
        #[serde(skip_serializing_if = "Option::is_none")]
        deadline: Option<(Timestamp, String)>,
    },
    /// Its attempts or losses are used up, and it is held until somebody retries or discards it.
    Held {
        /// Its number among the dead letters; none if the list has let go of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        letter: Option<u64>,
        /// What its workflow gets if it is discarded.
        outcome: String,
    },
    /// Its record ends in the middle of what always travels together. Loading it into an engine mends that.
    Damaged {
        /// Where its conversation stands.
        phase: String,
    },
}

impl Explanation {
    /// The whole of it as text, with moments as `moment` writes them.
    pub fn text(&self, moment: &dyn Fn(Timestamp) -> String) -> String {
        let mut text = format!("{} {} ({}) is {}", self.workflow_type, self.workflow, self.run_id, self.status);
        for wait in &self.waits {
            text.push_str("\n  ");
            text.push_str(&wait.text(moment));
        }
        if self.more > 0 {
            text.push_str(&format!("\n  and {} more", self.more));
        }
        text
    }
}

impl fmt::Display for Explanation {
    /// As [`Explanation::text`], with moments in milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&|at| at.0.to_string()))
    }
}

impl Wait {
    /// In one line, but for the report of a block.
    pub fn text(&self, moment: &dyn Fn(Timestamp) -> String) -> String {
        match self {
            Wait::Activity { ordinal, attempt, activity_type, queue, why } => {
                format!("activity {ordinal}.{attempt} {activity_type} on {queue} {}", why.text(moment))
            }
            Wait::Timer { ordinal, until } => format!("timer {ordinal} waits until {}", moment(*until)),
            Wait::Signal => "waits for a signal or a cancel; nothing else is under way".to_owned(),
            Wait::Code { report } => format!("waits for code that can follow its record: {report}"),
        }
    }
}

impl Why {
    fn text(&self, moment: &dyn Fn(Timestamp) -> String) -> String {
        match self {
            Why::Waiting { reason, since, .. } => format!("waits for a worker since {}: {reason}", moment(*since)),
            Why::BackingOff { until, after: Some(after) } => format!("waits until {}, after {after}", moment(*until)),
            Why::BackingOff { until, after: None } => format!("waits until {}", moment(*until)),
            Why::Running { worker, liveness, leg, since, heard_at, lease_until, deadline } => {
                let mut text = format!("runs on {worker} since {} as leg {leg}", moment(*since));
                if heard_at > since {
                    text.push_str(&format!(", heard of at {}", moment(*heard_at)));
                }
                if liveness != LIVE {
                    text.push_str(&format!("; the worker is {liveness}"));
                }
                if let Some(until) = lease_until {
                    text.push_str(&format!("; its lease ends at {}", moment(*until)));
                }
                if let Some((at, which)) = deadline {
                    text.push_str(&format!("; {which} passes at {}", moment(*at)));
                }
                text
            }
            Why::Held { letter: Some(letter), outcome } => {
                format!("is held as dead letter {letter} until somebody retries or discards it: {outcome}")
            }
            Why::Held { letter: None, outcome } => {
                format!("is held until somebody retries or discards it: {outcome}")
            }
            Why::Damaged { phase } => format!("ends on record where nothing ends, {phase}: load it to mend it"),
        }
    }
}

/// The liveness of a worker against which nothing is known.
pub(crate) const LIVE: &str = "live";
