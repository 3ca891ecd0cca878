use super::spec::{CatchUp, Overlap, RoutineSpec, RoutineTarget, Schedule};
use crate::{Name, RetryPolicy, RouteRequest, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A new value of a field, or none, or no change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Change<T> {
    /// As it was.
    #[default]
    #[serde(rename = "k")]
    Keep,
    /// None from now on.
    #[serde(rename = "c")]
    Clear,
    /// This from now on.
    #[serde(rename = "s")]
    Set(T),
}

impl<T: Clone> Change<T> {
    /// Whether nothing changes.
    pub fn is_keep(&self) -> bool {
        matches!(self, Change::Keep)
    }

    fn apply(&self, field: &mut Option<T>) {
        match self {
            Change::Keep => {}
            Change::Clear => *field = None,
            Change::Set(value) => *field = Some(value.clone()),
        }
    }
}

/// What an update changes, field by field and each as a whole. What is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutinePatch {
    /// When it fires. The next slot is computed anew.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What it does.
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    pub target: Option<RoutineTarget>,
    /// Missed slots.
    #[serde(rename = "cu", skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    /// Overlapping slots.
    #[serde(rename = "ov", skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Jitter in milliseconds.
    #[serde(rename = "j", skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u64>,
    /// The earliest slot. The next slot is computed anew.
    #[serde(rename = "sa", skip_serializing_if = "Change::is_keep")]
    pub start_at: Change<Timestamp>,
    /// The latest slot.
    #[serde(rename = "ea", skip_serializing_if = "Change::is_keep")]
    pub end_at: Change<Timestamp>,
    /// How many slots in all.
    #[serde(rename = "mr", skip_serializing_if = "Change::is_keep")]
    pub max_runs: Change<u64>,
    /// What follows a failure.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// All labels.
    #[serde(rename = "lb", skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// How the worker of its call is chosen.
    #[serde(rename = "rq", skip_serializing_if = "Change::is_keep")]
    pub route: Change<Box<RouteRequest>>,
    /// Who must agree to changes. The guard that there was is asked as well.
    #[serde(rename = "g", skip_serializing_if = "Change::is_keep")]
    pub guard: Change<Name>,
    /// The next slot, given by hand.
    #[serde(rename = "nx", skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

impl RoutinePatch {
    /// Changes a routine. Nothing is checked.
    pub fn apply(&self, spec: &mut RoutineSpec) {
        fn set<T: Clone>(from: &Option<T>, to: &mut T) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        set(&self.schedule, &mut spec.schedule);
        set(&self.target, &mut spec.target);
        set(&self.catch_up, &mut spec.catch_up);
        set(&self.overlap, &mut spec.overlap);
        set(&self.jitter_ms, &mut spec.jitter_ms);
        set(&self.retry, &mut spec.retry);
        set(&self.labels, &mut spec.labels);
        self.start_at.apply(&mut spec.start_at);
        self.end_at.apply(&mut spec.end_at);
        self.max_runs.apply(&mut spec.max_runs);
        self.route.apply(&mut spec.route);
        self.guard.apply(&mut spec.guard);
    }
}
