use super::RouteError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a worker is picked among those that may have a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RoutePolicy {
    /// The worker that is named, and no other.
    #[serde(rename = "ex")]
    Explicit,
    /// The worker that had the last call of this key, while it may have this one; else the next in turn.
    #[serde(rename = "st")]
    Sticky,
    /// One after the other, by name.
    #[serde(rename = "rr")]
    RoundRobin,
    /// The first in order that is not the one that failed last; that one if it is alone.
    #[serde(rename = "fo")]
    Failover,
    /// Whoever has most of the preferred labels; then as `preferred_then_fallback`.
    #[serde(rename = "cf")]
    CapabilityFirst,
    /// The first in order: preferred workers, then fallback workers, then the others.
    #[serde(rename = "pf")]
    PreferredThenFallback,
    /// Whoever has the smallest share of its places taken, within the first tier that has somebody.
    #[serde(rename = "ll")]
    LeastLoaded,
    /// A route that the program registered under a name.
    #[serde(rename = "cu")]
    Custom,
}

/// Whether workers that no list of the request names may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum FallbackPolicy {
    /// No: if no listed worker can take the call, nobody gets it.
    #[serde(rename = "n")]
    None,
    /// Yes, after the listed ones.
    #[default]
    #[serde(rename = "a")]
    Available,
}

/// How well a worker is, by its own word or an operator's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Health {
    /// Nothing is known against it.
    #[default]
    #[serde(rename = "ok")]
    Healthy,
    /// It works, but is taken only where no healthy worker is in the same tier.
    #[serde(rename = "dg")]
    Degraded,
    /// It gets nothing.
    #[serde(rename = "un")]
    Unhealthy,
    /// It gets nothing.
    #[serde(rename = "dn")]
    Down,
}

/// Whether a worker is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Liveness {
    /// It has announced itself and cannot take calls yet.
    #[serde(rename = "jo")]
    Joining,
    /// It takes calls.
    #[default]
    #[serde(rename = "li")]
    Live,
    /// It has been silent for a while. It gets nothing until it speaks.
    #[serde(rename = "su")]
    Suspect,
    /// It finishes what it has and gets nothing new.
    #[serde(rename = "dr")]
    Draining,
    /// It is no longer there.
    #[serde(rename = "go")]
    Gone,
}

/// Why this worker and no other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RouteReason {
    /// The request names it.
    #[serde(rename = "ex")]
    Named,
    /// The first of the preferred workers.
    #[serde(rename = "pr")]
    Preferred,
    /// The first of the fallback workers, no preferred one being there.
    #[serde(rename = "fb")]
    Fallback,
    /// The first of the others.
    #[serde(rename = "fe")]
    FirstEligible,
    /// The least loaded of its tier.
    #[serde(rename = "ll")]
    LeastLoaded,
    /// The next in turn.
    #[serde(rename = "nt")]
    NextInTurn,
    /// It had the key before.
    #[serde(rename = "sk")]
    KeptKey,
    /// Nobody had the key before; it is this worker's now.
    #[serde(rename = "sb")]
    BoundKey,
    /// The worker that had the key may not have this call; the key is this worker's now.
    #[serde(rename = "sm")]
    MovedKey,
    /// The first that is not the one that failed last.
    #[serde(rename = "fo")]
    FailedOver,
    /// It failed last, but nobody else may have the call.
    #[serde(rename = "oc")]
    OnlyCandidate,
    /// It has most of the preferred labels.
    #[serde(rename = "ca")]
    MostLabels,
    /// A registered route chose it.
    #[serde(rename = "cu")]
    Custom,
}

impl fmt::Display for RouteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RouteReason::Named => "named by the request",
            RouteReason::Preferred => "first of the preferred",
            RouteReason::Fallback => "first of the fallback",
            RouteReason::FirstEligible => "first of those that no list names",
            RouteReason::LeastLoaded => "least loaded",
            RouteReason::NextInTurn => "next in turn",
            RouteReason::KeptKey => "had the key before",
            RouteReason::BoundKey => "has the key from now on",
            RouteReason::MovedKey => "takes the key over",
            RouteReason::FailedOver => "not the one that failed last",
            RouteReason::OnlyCandidate => "failed last, but is the only one",
            RouteReason::MostLabels => "has most of the preferred labels",
            RouteReason::Custom => "chosen by a registered route",
        })
    }
}

/// One spelling per value, for reading and for printing.
macro_rules! words {
    ($type:ident, $error:ident, { $($value:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of the documentation.
            pub const ALL: &[$type] = &[$($type::$value),+];

            /// The one word for it.
            pub fn word(self) -> &'static str {
                match self {
                    $($type::$value => $word),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }

        impl FromStr for $type {
            type Err = RouteError;
            fn from_str(word: &str) -> Result<$type, RouteError> {
                let known = $type::ALL.iter().find(|value| value.word() == word);
                known.copied().ok_or_else(|| RouteError::$error { word: word.chars().take(64).collect() })
            }
        }
    };
}

words!(RoutePolicy, UnknownPolicy, {
    Explicit = "explicit",
    Sticky = "sticky",
    RoundRobin = "round_robin",
    Failover = "failover",
    CapabilityFirst = "capability_first",
    PreferredThenFallback = "preferred_then_fallback",
    LeastLoaded = "least_loaded",
    Custom = "custom",
});

words!(FallbackPolicy, UnknownFallbackPolicy, { None = "none", Available = "available" });

words!(Health, UnknownHealth, {
    Healthy = "healthy",
    Degraded = "degraded",
    Unhealthy = "unhealthy",
    Down = "down",
});

words!(Liveness, UnknownLiveness, {
    Joining = "joining",
    Live = "live",
    Suspect = "suspect",
    Draining = "draining",
    Gone = "gone",
});

impl Health {
    /// Whether a worker of this health gets calls.
    pub fn takes_calls(self) -> bool {
        matches!(self, Health::Healthy | Health::Degraded)
    }
}

impl Liveness {
    /// Whether a worker in this state gets new calls.
    pub fn takes_calls(self) -> bool {
        self == Liveness::Live
    }
}

/// All words of a kind, for an error message.
pub(super) fn listed<T: fmt::Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
