use crate::{ActivityCall, Digest, Name, Payload, RetryPolicy, RouteRequest, STANDALONE, Timestamp, activity, codec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// When a routine fires.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Schedule {
    /// Once. A moment in the past is due at once.
    #[serde(rename = "on")]
    Once {
        /// When.
        #[serde(rename = "t")]
        at: Timestamp,
    },
    /// Again and again, on a grid that nothing moves.
    #[serde(rename = "iv")]
    Interval {
        /// The distance of the grid's points in milliseconds, at least 1.
        #[serde(rename = "e")]
        every_ms: u64,
        /// Where the grid lies: its points are at `phase_ms + n × every_ms` since the Unix epoch. None: the first slot is the
        /// grid's origin.
        #[serde(rename = "ph", default, skip_serializing_if = "Option::is_none")]
        phase_ms: Option<u64>,
    },
    /// By the clocks on the wall of a time zone.
    #[serde(rename = "cn")]
    Cron {
        /// Five fields: minute, hour, day of the month, month, day of the week.
        #[serde(rename = "x")]
        expression: String,
        /// The zone's name in the IANA database, such as `Europe/Berlin` or `UTC`.
        #[serde(rename = "z")]
        zone: String,
    },
}

impl Schedule {
    /// The kind's stable name, for lists and filters.
    pub fn name(&self) -> &'static str {
        match self {
            Schedule::Once { .. } => "once",
            Schedule::Interval { .. } => "interval",
            Schedule::Cron { .. } => "cron",
        }
    }
}

/// What a slot does. Its run is an ordinary run of this store, under the workflow id `<id prefix>/<slot>`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RoutineTarget {
    /// Starts a workflow.
    #[serde(rename = "w")]
    Workflow {
        /// Which code.
        #[serde(rename = "t")]
        workflow_type: String,
        /// What stands before the slot in the workflow ids; the routine's id where it is empty.
        #[serde(rename = "p", default, skip_serializing_if = "String::is_empty")]
        id_prefix: String,
        /// With what.
        #[serde(rename = "i", default, skip_serializing_if = "Vec::is_empty")]
        input: Vec<Payload>,
    },
    /// Makes one activity call, as a run of its own that ends as the activity does.
    #[serde(rename = "a")]
    Activity {
        /// The call.
        #[serde(rename = "c")]
        call: Box<ActivityCall>,
        /// What stands before the slot in the workflow ids; the routine's id where it is empty.
        #[serde(rename = "p", default, skip_serializing_if = "String::is_empty")]
        id_prefix: String,
    },
}

impl RoutineTarget {
    /// The kind's stable name, for lists and filters.
    pub fn name(&self) -> &'static str {
        match self {
            RoutineTarget::Workflow { .. } => "workflow",
            RoutineTarget::Activity { .. } => "activity",
        }
    }

    /// The workflow type of its runs.
    pub fn workflow_type(&self) -> &str {
        match self {
            RoutineTarget::Workflow { workflow_type, .. } => workflow_type,
            RoutineTarget::Activity { .. } => STANDALONE,
        }
    }

    /// The input of its runs.
    pub fn input(&self) -> Vec<Payload> {
        match self {
            RoutineTarget::Workflow { input, .. } => input.clone(),
            RoutineTarget::Activity { call, .. } => call.to_standalone(),
        }
    }

    /// What was given to stand before the slot in the workflow ids.
    pub fn id_prefix(&self) -> &str {
        match self {
            RoutineTarget::Workflow { id_prefix, .. } | RoutineTarget::Activity { id_prefix, .. } => id_prefix,
        }
    }

    /// The same target with something else before the slot in the workflow ids.
    pub fn with_id_prefix(mut self, prefix: String) -> RoutineTarget {
        match &mut self {
            RoutineTarget::Workflow { id_prefix, .. } | RoutineTarget::Activity { id_prefix, .. } => {
                *id_prefix = prefix
            }
        }
        self
    }
}

/// What becomes of slots that fell due while nobody looked: the host slept, the engine was down, the routine was paused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum CatchUp {
    /// Each is carried out, the oldest first.
    #[serde(rename = "al")]
    All,
    /// The oldest is carried out and stands for all; it goes on with the first moment that is not past.
    #[default]
    #[serde(rename = "on")]
    One,
    /// None is carried out that is more than `late_ms` late.
    #[serde(rename = "sk")]
    Skip {
        /// What is not late yet, in milliseconds.
        #[serde(rename = "l")]
        late_ms: u64,
    },
}

/// What becomes of a slot that falls due while a run of the routine is open, or a slot waits for its next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Overlap {
    /// It is skipped.
    #[default]
    #[serde(rename = "sk")]
    Skip,
    /// It waits, if no other one waits; else it is skipped.
    #[serde(rename = "b1")]
    BufferOne,
    /// It waits behind the others, up to [`RoutineSpec::BUFFER_MAX`]; beyond that it is skipped.
    #[serde(rename = "ba")]
    BufferAll,
    /// The open runs are cancelled, and the slot starts when they have ended.
    #[serde(rename = "co")]
    CancelOther,
    /// The open runs are ended without their compensations, and the slot starts at once.
    #[serde(rename = "to")]
    TerminateOther,
    /// It starts beside the others, up to [`RoutineSpec::OPEN_MAX`]; beyond that it is skipped.
    #[serde(rename = "aa")]
    AllowAll,
}

impl Overlap {
    /// Every policy, in the order in which help texts name them.
    pub const ALL: [Overlap; 6] = [
        Overlap::Skip,
        Overlap::BufferOne,
        Overlap::BufferAll,
        Overlap::CancelOther,
        Overlap::TerminateOther,
        Overlap::AllowAll,
    ];

    /// The stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Overlap::Skip => "skip",
            Overlap::BufferOne => "buffer_one",
            Overlap::BufferAll => "buffer_all",
            Overlap::CancelOther => "cancel_other",
            Overlap::TerminateOther => "terminate_other",
            Overlap::AllowAll => "allow_all",
        }
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Overlap {
    type Err = String;
    fn from_str(text: &str) -> Result<Overlap, String> {
        Overlap::ALL.into_iter().find(|overlap| overlap.name() == text).ok_or_else(|| {
            let names: Vec<_> = Overlap::ALL.iter().map(|overlap| overlap.name()).collect();
            format!("{text:?} is not an overlap policy; use one of {}", names.join(", "))
        })
    }
}

/// Everything that a routine is, as somebody asked for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoutineSpec {
    /// When it fires.
    #[serde(rename = "s")]
    pub schedule: Schedule,
    /// What it does.
    #[serde(rename = "t")]
    pub target: RoutineTarget,
    /// What becomes of missed slots. A `once` knows none: it is carried out however late. Default: one.
    #[serde(rename = "cu", default, skip_serializing_if = "is_default")]
    pub catch_up: CatchUp,
    /// What becomes of slots that fall due while a run is open. Default: skip.
    #[serde(rename = "ov", default, skip_serializing_if = "is_default")]
    pub overlap: Overlap,
    /// A slot starts up to this many milliseconds later than planned, by a draw that follows from routine and slot alone.
    #[serde(rename = "j", default, skip_serializing_if = "is_default")]
    pub jitter_ms: u64,
    /// No slot lies before it. Default: the moment of creation.
    #[serde(rename = "sa", default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// No slot lies behind it. Default: none.
    #[serde(rename = "ea", default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Timestamp>,
    /// It is completed when it has carried out so many slots of its schedule. Default: none.
    #[serde(rename = "mr", default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<u64>,
    /// What follows a run that failed; the wait is counted from its end.
    #[serde(rename = "r", default, skip_serializing_if = "activity::is_default_retry")]
    pub retry: RetryPolicy,
    /// The asker's name for this creation, unique in the store: the same request again finds the same routine.
    #[serde(rename = "ik", default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Words for people and filters.
    #[serde(rename = "lb", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Begins paused, with this note. Default: no.
    #[serde(rename = "pa", default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// How the worker of its activity call is chosen: under what the call says itself, over what its queue says. Only with an
    /// activity as target. Default: nothing.
    #[serde(rename = "rq", default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<RouteRequest>>,
    /// The registered guard that must agree to its creation and to each change. Default: none.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Name>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl RoutineSpec {
    /// Most slots that wait for an open run.
    pub const BUFFER_MAX: usize = 100;
    /// Most slots of one routine that are open or wait for their next attempt.
    pub const OPEN_MAX: usize = 100;
    /// Most labels.
    pub const LABELS_MAX: usize = 32;
    /// Most bytes of the target's input: all routines of a store are in memory while the engine runs.
    pub const INPUT_MAX_BYTES: u64 = 8 * 1024;

    /// A routine with every default.
    pub fn new(schedule: Schedule, target: RoutineTarget) -> RoutineSpec {
        RoutineSpec {
            schedule,
            target,
            catch_up: CatchUp::default(),
            overlap: Overlap::default(),
            jitter_ms: 0,
            start_at: None,
            end_at: None,
            max_runs: None,
            retry: RetryPolicy::default(),
            idempotency_key: None,
            labels: BTreeMap::new(),
            paused: None,
            route: None,
            guard: None,
        }
    }

    /// How the worker of its call is chosen: by the call's own words over those of the routine. `None` where neither says
    /// anything, and for a workflow.
    pub fn route_of_call(&self) -> Option<RouteRequest> {
        let RoutineTarget::Activity { call, .. } = &self.target else { return None };
        match (call.options.route.as_deref(), self.route.as_deref()) {
            (Some(own), Some(lower)) => Some(own.over(lower)),
            (own, lower) => own.or(lower).cloned(),
        }
    }

    /// The input of its runs; a call in it has the route in force.
    pub fn input(&self) -> Vec<Payload> {
        match (&self.target, &self.route) {
            (RoutineTarget::Activity { call, .. }, Some(_)) => {
                let mut call = call.clone();
                call.options.route = self.route_of_call().map(Box::new);
                call.to_standalone()
            }
            (target, _) => target.input(),
        }
    }

    /// The digest of a request to create this, under this id if one is given: equal requests have equal ones.
    pub fn digest(&self, id: Option<&str>) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("antiphon 2026 routine request");
        hasher.update(id.map_or("", |id| id).as_bytes());
        // No id holds it, so that the id ends here.
        hasher.update(b"\0");
        let mut bytes = Vec::new();
        codec::write_event(&mut bytes, self);
        hasher.update(&bytes);
        Digest(*hasher.finalize().as_bytes())
    }

    /// What stands before the slot in the workflow ids of a routine of this id.
    pub fn id_prefix<'a>(&'a self, routine: &'a str) -> &'a str {
        match self.target.id_prefix() {
            "" => routine,
            prefix => prefix,
        }
    }
}
