use super::words::listed;
use super::{FallbackPolicy, Health, Liveness, RoutePolicy};
use crate::{LeftOutReason, Name};
use std::fmt;

/// Why no worker was chosen.
///
/// The kinds that say something of the workers ([`RouteError::may_pass`]) are no end: workers come and go, and the call
/// waits for them unless it is to fail fast.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    /// A0035. The policy's word is not one of ours.
    #[error("{word:?} is no routing policy; there are: {} [A0035]", listed(RoutePolicy::ALL))]
    UnknownPolicy {
        /// The word, at most 64 characters of it.
        word: String,
    },
    /// A0035. The fallback policy's word is not one of ours.
    #[error("{word:?} is no fallback policy; there are: {} [A0035]", listed(FallbackPolicy::ALL))]
    UnknownFallbackPolicy {
        /// The word, at most 64 characters of it.
        word: String,
    },
    /// A0035. The health's word is not one of ours.
    #[error("{word:?} is no health; there are: {} [A0035]", listed(Health::ALL))]
    UnknownHealth {
        /// The word, at most 64 characters of it.
        word: String,
    },
    /// A0035. The liveness's word is not one of ours.
    #[error("{word:?} is no state of a worker; there are: {} [A0035]", listed(Liveness::ALL))]
    UnknownLiveness {
        /// The word, at most 64 characters of it.
        word: String,
    },
    /// A0035. A field of the written form that a request does not have.
    #[error("a route request has no field {field:?}; there are: {} [A0035]", super::form::FIELDS.join(", "))]
    UnknownField {
        /// The field, at most 64 characters of it.
        field: String,
    },
    /// A0035. A field with a value that it cannot have.
    #[error("the field {field} of a route request cannot be: {problem} [A0035]")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A0035. The text is no JSON object at all.
    #[error("a route request is a JSON object: {problem} [A0035]")]
    Unreadable {
        /// What the reader says.
        problem: String,
    },
    /// A0035. Two fields that do not go together.
    #[error("the field {field} of a route request contradicts another: {problem} [A0035]")]
    Contradiction {
        /// The field that had better be left out.
        field: &'static str,
        /// Why.
        problem: String,
    },
    /// A0035. The policy is `sticky`, and there is nothing to stick to.
    #[error("the policy sticky needs an affinity_key: calls of one key stay with one worker [A0035]")]
    StickyWithoutKey,
    /// A0036. The request names a worker that is not there.
    #[error("worker {worker:?} is not connected; {online} others are [A0036]")]
    UnknownWorker {
        /// The worker that the request names.
        worker: Name,
        /// Workers that are there.
        online: u32,
    },
    /// A0036. The request names a worker that may not have this call. It is not redirected to another.
    #[error("worker {worker:?} may not have this call: {reason} [A0036]")]
    NotEligible {
        /// The worker that the request names.
        worker: Name,
        /// Why it may not.
        reason: LeftOutReason,
    },
    /// A0036. No worker at all has this label: it may be misspelt.
    #[error("no worker that is there has the label {label:?} [A0036]")]
    UnknownLabel {
        /// The label.
        label: String,
    },
    /// A0036. Workers with these labels are there, but none of those that may have the call has them all.
    #[error("no worker that may have this call has all of the labels {} [A0036]", labels.join(", "))]
    NoCapability {
        /// What the call needs.
        labels: Vec<String>,
    },
    /// A0036. Nobody is left after the filters.
    #[error("no worker is left for this call: {0} [A0036]")]
    NoneAvailable(NoneAvailable),
    /// A0037. The guard refused the choice.
    #[error("guard {guard:?} refused worker {worker:?}: {reason} [A0037]")]
    Denied {
        /// The guard.
        guard: Name,
        /// The worker that it refused.
        worker: Name,
        /// Its reason, at most 4 KiB.
        reason: String,
    },
    /// A0037. The guard that must agree is not in this program. Nobody else may agree for it.
    #[error("there is no guard {guard:?} in this program, so nothing that it guards is sent [A0037]")]
    UnknownGuard {
        /// The guard.
        guard: Name,
    },
    /// A0038. The route that must choose is not in this program.
    #[error("there is no route {custom:?} in this program [A0038]")]
    UnknownCustom {
        /// The route.
        custom: Name,
    },
    /// A0038. The registered route did not choose one of the candidates.
    #[error("route {custom:?} made no choice that can be: {problem} [A0038]")]
    CustomFailed {
        /// The route.
        custom: Name,
        /// It panicked, or named a worker that is no candidate. At most 4 KiB.
        problem: String,
    },
}

impl RouteError {
    /// Whether other workers, or the same ones a little later, could make the same request possible.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            RouteError::UnknownWorker { .. }
                | RouteError::NotEligible { .. }
                | RouteError::UnknownLabel { .. }
                | RouteError::NoCapability { .. }
                | RouteError::NoneAvailable(_)
        )
    }

    /// Whether a guard stands behind it.
    pub fn is_denied(&self) -> bool {
        matches!(self, RouteError::Denied { .. } | RouteError::UnknownGuard { .. })
    }

    /// Whether workers are there that could take the call, and all their places are taken.
    pub fn is_full(&self) -> bool {
        match self {
            RouteError::NotEligible { reason, .. } => *reason == LeftOutReason::Full,
            RouteError::NoneAvailable(counts) => counts.full > 0,
            _ => false,
        }
    }
}

/// Where the workers were lost on the way to a choice, each counted at the first filter that stopped it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoneAvailable {
    /// Workers that are there, of any queue.
    pub online: u32,
    /// Those that subscribe to the queue and have the activity and all labels.
    pub matching: u32,
    /// Of the matching: excluded by the request, by a lost leg, or outside its lists.
    pub excluded: u32,
    /// Of the matching: joining, suspect, draining or gone.
    pub absent: u32,
    /// Of the matching: unhealthy or down.
    pub unhealthy: u32,
    /// Of the matching: all places taken.
    pub full: u32,
}

impl fmt::Display for NoneAvailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoneAvailable { online, matching, excluded, absent, unhealthy, full } = self;
        write!(f, "{online} online, {matching} matching")?;
        for (count, what) in [(excluded, "excluded"), (absent, "absent"), (unhealthy, "unhealthy"), (full, "full")] {
            if *count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
