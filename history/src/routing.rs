//! How a call wants its worker chosen: the request that people write and the words of the recorded decision.
//!
//! | file | holds |
//! |---|---|
//! | `routing.rs` | the request as it is stored, its overlay and its contradictions |
//! | `routing/words.rs` | policies, health, liveness, reasons, each with its one spelling |
//! | `routing/form.rs` | the request as people write it in JSON |
//! | `routing/error.rs` | everything that can be wrong with a request or with the workers that are there |

mod error;
mod form;
#[cfg(test)]
mod tests;
mod words;

use crate::{IdError, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

pub use error::{NoneAvailable, RouteError};
pub use form::RouteForm;
pub use words::{FallbackPolicy, Health, Liveness, RoutePolicy, RouteReason};

/// Most names or labels in one list of a request: a request is recorded with each call that carries it.
pub const ROUTE_LIST_MAX: usize = 64;

/// How a call wants its worker chosen. Every field may be absent; an absent one is taken from the layer below
/// ([`RouteRequest::over`]) and at last has the default that is named here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteRequest {
    /// How to pick. Default: `explicit` where a worker is named, `custom` where a custom route is, else
    /// `preferred_then_fallback`.
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    pub policy: Option<RoutePolicy>,
    /// The one worker that may have the call; only with `explicit`.
    #[serde(rename = "w", skip_serializing_if = "Option::is_none")]
    pub worker: Option<Name>,
    /// The registered route that picks; only with `custom`.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    pub custom: Option<Name>,
    /// The first tier, in this order. Default: empty.
    #[serde(rename = "f", skip_serializing_if = "Vec::is_empty")]
    pub preferred: Vec<Name>,
    /// The second tier, in this order. Default: empty.
    #[serde(rename = "b", skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Name>,
    /// Workers that must not have the call. Default: none.
    #[serde(rename = "x", skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Name>,
    /// Whether workers that no list names make a third tier. Default: `available`.
    #[serde(rename = "fp", skip_serializing_if = "Option::is_none")]
    pub fallback_policy: Option<FallbackPolicy>,
    /// Labels that a worker must have, beside those that the call needs. Default: none.
    #[serde(rename = "r", skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<String>,
    /// Labels that count in favour of a worker, by their number. Default: none.
    #[serde(rename = "l", skip_serializing_if = "Vec::is_empty")]
    pub prefer: Vec<String>,
    /// Calls of one key stay with one worker; `sticky` needs it.
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Name>,
    /// The health that these workers count with, whatever they tell of themselves. Default: as known.
    #[serde(rename = "h", skip_serializing_if = "BTreeMap::is_empty")]
    pub health: BTreeMap<Name, Health>,
    /// The worker that failed before; only with `failover`. Default: the worker of the attempt before.
    #[serde(rename = "z", skip_serializing_if = "Option::is_none")]
    pub last: Option<Name>,
    /// Whether the load orders workers within a tier, where no list orders them. Default: true.
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    pub by_load: Option<bool>,
    /// The registered guard that must agree to the choice. Default: none.
    #[serde(rename = "g", skip_serializing_if = "Option::is_none")]
    pub guard: Option<Name>,
}

impl RouteRequest {
    /// The policy in force.
    pub fn policy(&self) -> RoutePolicy {
        self.policy.unwrap_or(match (&self.worker, &self.custom) {
            (Some(_), _) => RoutePolicy::Explicit,
            (None, Some(_)) => RoutePolicy::Custom,
            (None, None) => RoutePolicy::PreferredThenFallback,
        })
    }

    /// Whether workers that no list names may be taken.
    pub fn takes_remaining(&self) -> bool {
        self.fallback_policy.unwrap_or_default() == FallbackPolicy::Available
    }

    /// Whether the load orders workers.
    pub fn is_by_load(&self) -> bool {
        self.by_load.unwrap_or(true)
    }

    /// This request laid over the defaults of a lower layer: a field that is set here wins.
    ///
    /// The order is activity over routine over queue. Two fields are not laid over singly. Policy, worker, custom route
    /// and last worker say together how to pick, so a layer that names one of them names all: else a worker named here
    /// would meet the policy of the queue and contradict it; for the same reason a worker named here makes the lists of the
    /// queue void, and lists here a worker that the queue names. And a guard of the lower layer stays in force: whoever is
    /// guarded must not be able to choose another guard.
    pub fn over(&self, lower: &RouteRequest) -> RouteRequest {
        let lists = !self.preferred.is_empty() || !self.fallback.is_empty();
        let picks = self.policy.is_some()
            || self.worker.is_some()
            || self.custom.is_some()
            || self.last.is_some()
            || (lists && lower.worker.is_some());
        let pick = if picks { self } else { lower };
        fn list<T: Clone>(upper: &[T], lower: &[T]) -> Vec<T> {
            if upper.is_empty() { lower.to_vec() } else { upper.to_vec() }
        }
        RouteRequest {
            policy: pick.policy,
            worker: pick.worker.clone(),
            custom: pick.custom.clone(),
            last: pick.last.clone(),
            preferred: if self.worker.is_some() { Vec::new() } else { list(&self.preferred, &lower.preferred) },
            fallback: if self.worker.is_some() { Vec::new() } else { list(&self.fallback, &lower.fallback) },
            excluded: list(&self.excluded, &lower.excluded),
            fallback_policy: self.fallback_policy.or(lower.fallback_policy),
            require: list(&self.require, &lower.require),
            prefer: list(&self.prefer, &lower.prefer),
            affinity: self.affinity.clone().or_else(|| lower.affinity.clone()),
            health: if self.health.is_empty() { lower.health.clone() } else { self.health.clone() },
            by_load: self.by_load.or(lower.by_load),
            guard: lower.guard.clone().or_else(|| self.guard.clone()),
        }
    }

    /// Whose cursor the request moves: the policy and, if anything else narrows the choice, eight digits that stand for it.
    /// Requests of one class take turns together. Workers that come and go, keys and guards do not change the class.
    pub fn class(&self, needs: &[String]) -> Name {
        let policy = self.policy();
        let lists = [&self.preferred, &self.fallback, &self.excluded].iter().all(|list| list.is_empty());
        let labels = [&self.require[..], &self.prefer, needs].iter().all(|labels| labels.is_empty());
        if lists && labels && self.takes_remaining() && self.is_by_load() {
            return policy.word().into();
        }
        let narrowed =
            RouteRequest { affinity: None, guard: None, last: None, health: BTreeMap::new(), ..self.clone() };
        let digest = blake3::hash(format!("{narrowed} needs={}", needs.join("+")).as_bytes());
        let [a, b, c, d, ..] = *digest.as_bytes();
        format!("{policy}#{:08x}", u32::from_be_bytes([a, b, c, d])).into()
    }

    /// Whether the request can be: names that can be used, lists within their bound, nothing that contradicts.
    ///
    /// Errors: the first that is wrong, by the name of its field.
    pub fn check(&self) -> Result<(), RouteError> {
        let single = [
            ("worker", &self.worker),
            ("custom", &self.custom),
            ("affinity_key", &self.affinity),
            ("last_worker", &self.last),
            ("guard", &self.guard),
        ];
        for (field, name) in single {
            name.iter().try_for_each(|name| usable(field, name))?;
        }
        let names = [("preferred", &self.preferred), ("fallback", &self.fallback), ("excluded", &self.excluded)];
        for (field, list) in names {
            bounded(field, list.len())?;
            list.iter().try_for_each(|name| usable(field, name))?;
        }
        for (field, list) in [("require", &self.require), ("prefer", &self.prefer)] {
            bounded(field, list.len())?;
            list.iter().try_for_each(|label| usable(field, label))?;
        }
        bounded("health", self.health.len())?;
        self.health.keys().try_for_each(|name| usable("health", name))?;
        self.contradictions()
    }

    fn contradictions(&self) -> Result<(), RouteError> {
        let policy = self.policy();
        let refuse = |field, why: &str| Err(RouteError::Contradiction { field, problem: why.to_owned() });
        let only_with = |field, wanted: RoutePolicy| {
            refuse(field, &format!("it goes with the policy {wanted} alone, and the policy is {policy}"))
        };
        if self.worker.is_some() && policy != RoutePolicy::Explicit {
            return only_with("worker", RoutePolicy::Explicit);
        }
        if self.custom.is_some() && policy != RoutePolicy::Custom {
            return only_with("custom", RoutePolicy::Custom);
        }
        if self.custom.is_none() && policy == RoutePolicy::Custom {
            return refuse("policy", "custom needs the name of the registered route, in the field custom");
        }
        if self.last.is_some() && policy != RoutePolicy::Failover {
            return only_with("last_worker", RoutePolicy::Failover);
        }
        if self.affinity.is_none() && policy == RoutePolicy::Sticky {
            return Err(RouteError::StickyWithoutKey);
        }
        if let Some(worker) = &self.worker {
            if self.excluded.contains(worker) {
                return refuse("excluded", &format!("it holds {worker}, the one worker that may have the call"));
            }
            if !self.preferred.is_empty() || !self.fallback.is_empty() {
                return refuse("worker", "one worker is named, so lists of preferred or fallback workers say nothing");
            }
        }
        Ok(())
    }
}

fn usable(field: &'static str, name: &str) -> Result<(), RouteError> {
    IdError::check(field, name).map_err(|problem| RouteError::Field { field, problem: problem.to_string() })
}

fn bounded(field: &'static str, entries: usize) -> Result<(), RouteError> {
    if entries <= ROUTE_LIST_MAX {
        return Ok(());
    }
    let problem = format!("it has {entries} entries, and at most {ROUTE_LIST_MAX} are taken: use labels instead");
    Err(RouteError::Field { field, problem })
}

impl fmt::Display for RouteRequest {
    /// The policy, then every field that is set, as `field=value` with a space between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.policy())?;
        let single = [
            ("worker", &self.worker),
            ("custom", &self.custom),
            ("key", &self.affinity),
            ("last", &self.last),
            ("guard", &self.guard),
        ];
        for (field, name) in single {
            if let Some(name) = name {
                write!(f, " {field}={name}")?;
            }
        }
        for (field, names) in
            [("preferred", &self.preferred), ("fallback", &self.fallback), ("excluded", &self.excluded)]
        {
            if !names.is_empty() {
                write!(f, " {field}={}", names.iter().map(Name::as_str).collect::<Vec<_>>().join("+"))?;
            }
        }
        for (field, labels) in [("require", &self.require), ("prefer", &self.prefer)] {
            if !labels.is_empty() {
                write!(f, " {field}={}", labels.join("+"))?;
            }
        }
        for (worker, health) in &self.health {
            write!(f, " health.{worker}={health}")?;
        }
        if !self.takes_remaining() {
            f.write_str(" fallback_policy=none")?;
        }
        if !self.is_by_load() {
            f.write_str(" by_load=false")?;
        }
        Ok(())
    }
}
