use crate::{ActivityCall, ActivityOutcome, Blocked, Failure, Ordinal, Payload, RoutineSlot, RunId, Site, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What happened to a run. Replay reads these and nothing else.
///
/// The stored names are the `rename`s below; they are listed in `docs/history-format.md` and never change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RunEvent {
    /// Arrival: the run exists. Always the first event.
    #[serde(rename = "rs")]
    RunStarted(Arc<RunStarted>),
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
        call: Arc<ActivityCall>,
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
        call: Arc<ActivityCall>,
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

    /// Engine: somebody ended the run, and its code was not asked. What it had open is closed behind this. Terminal.
    #[serde(rename = "rt")]
    RunTerminated {
        /// Who, in their own words.
        #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
        who: String,
        /// Why.
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
            RunEvent::RunTerminated { .. } | RunEvent::Blocked(_) | RunEvent::Unblocked => Role::Engine,
        }
    }

    /// Whether no event may follow.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            RunEvent::RunCompleted { .. }
                | RunEvent::RunFailed { .. }
                | RunEvent::RunCancelled { .. }
                | RunEvent::RunTerminated { .. }
        )
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
            RunEvent::RunTerminated { .. } => "RunTerminated",
            RunEvent::Blocked(_) => "Blocked",
            RunEvent::Unblocked => "Unblocked",
        }
    }

    /// Every payload in the event, in a fixed order.
    pub fn payloads(&self) -> &[Payload] {
        match self {
            RunEvent::RunStarted(started) => &started.input,
            RunEvent::ActivityScheduled { call, .. } | RunEvent::CompensationPushed { call, .. } => &call.input,
            own => payloads_of!(own, as_slice, from_ref, &[]),
        }
    }

    /// Every payload in the event, in the same order, for replacing them in place.
    pub fn payloads_mut(&mut self) -> &mut [Payload] {
        match self {
            RunEvent::RunStarted(started) => &mut Arc::make_mut(started).input,
            RunEvent::ActivityScheduled { call, .. } | RunEvent::CompensationPushed { call, .. } => {
                &mut Arc::make_mut(call).input
            }
            own => payloads_of!(own, as_mut_slice, from_mut, &mut []),
        }
    }
}

/// The payloads that stand in the event itself, by shared or by exclusive reference: one list, so that the two cannot
/// differ.
macro_rules! payloads_of {
    ($event:expr, $slice:ident, $one:ident, $none:expr) => {
        match $event {
            RunEvent::ActivityResolved { outcome: ActivityOutcome::Completed { result }, .. } => result.$slice(),
            RunEvent::ActivityResolved { outcome: ActivityOutcome::Failed { failure, .. }, .. } => {
                failure.details.$slice()
            }
            RunEvent::SignalReceived { input, .. } => input.$slice(),
            RunEvent::SideEffectRecorded { value, .. } => std::slice::$one(value),
            RunEvent::RunCompleted { result } => result.$slice(),
            RunEvent::RunFailed { failure } => failure.details.$slice(),
            _ => $none,
        }
    };
}
use payloads_of;

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
    /// The slot of a routine that the run carries out. Boxed: few runs have one.
    #[serde(rename = "rt", default, skip_serializing_if = "Option::is_none")]
    pub routine: Option<Box<RoutineSlot>>,
}
