//! How a call chooses its worker, while its author is still choosing how.

use antiphon_history::{FallbackPolicy, Health, Name, RouteError, RouteForm, RoutePolicy, RouteRequest};

/// How a call wants its worker chosen, for `.route(..)` on a call and for the defaults of a queue.
///
/// ```
/// # use antiphon::Route;
/// let near = Route::preferred(["w2", "w3"]).fallback(["w1"]).excluding(["w4"]).only_listed();
/// let mine = Route::sticky("customer-7").requires("gpu");
/// ```
///
/// What is not said is taken from the queue's defaults. A contradiction becomes the outcome of the call, and then nothing
/// is recorded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "a route does nothing until a call has it: `charge(7).route(route)`"]
pub struct Route(RouteRequest);

fn names<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Vec<Name> {
    let mut once: Vec<Name> = Vec::new();
    for name in names {
        let name = Name::from(name.into());
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once
}

impl Route {
    fn by(policy: RoutePolicy) -> Route {
        Route(RouteRequest { policy: Some(policy), ..RouteRequest::default() })
    }

    /// This worker and no other. While it is not there, the call waits.
    pub fn to(worker: impl Into<String>) -> Route {
        Route(RouteRequest { worker: Some(worker.into().into()), ..RouteRequest::default() })
    }

    /// Calls of one key stay with one worker, as long as it may have them; then another takes the key over.
    pub fn sticky(key: impl Into<String>) -> Route {
        Route::by(RoutePolicy::Sticky).key(key)
    }

    /// Workers take turns, in the order of their names.
    pub fn round_robin() -> Route {
        Route::by(RoutePolicy::RoundRobin)
    }

    /// An attempt goes to another worker than the one before it, if there is another.
    pub fn failover() -> Route {
        Route::by(RoutePolicy::Failover)
    }

    /// Whoever has the smallest share of its places taken.
    pub fn least_loaded() -> Route {
        Route::by(RoutePolicy::LeastLoaded)
    }

    /// Whoever has most of the labels given by [`Route::prefers`].
    pub fn capability_first() -> Route {
        Route::by(RoutePolicy::CapabilityFirst)
    }

    /// These workers first, in this order; then those of [`Route::fallback`]; then the others.
    pub fn preferred<N: Into<String>>(workers: impl IntoIterator<Item = N>) -> Route {
        Route::by(RoutePolicy::PreferredThenFallback).prefer_workers(workers)
    }

    /// The route that the program registered under this name ([`Builder::custom_route`](crate::Builder::custom_route)).
    pub fn custom(name: impl Into<String>) -> Route {
        Route(RouteRequest { custom: Some(name.into().into()), ..RouteRequest::default() })
    }

    /// A route as people write it, in JSON: `{"policy": "sticky", "affinity_key": "customer-7"}`.
    ///
    /// Errors: [`RouteError`], naming the wrong field or word (A0035).
    pub fn from_json(json: &str) -> Result<Route, RouteError> {
        let form: RouteForm =
            serde_json::from_str(json).map_err(|problem| RouteError::Unreadable { problem: problem.to_string() })?;
        form.request().map(Route)
    }

    /// Puts these workers into the first tier, in this order.
    pub fn prefer_workers<N: Into<String>>(mut self, workers: impl IntoIterator<Item = N>) -> Route {
        self.0.preferred = names(workers);
        self
    }

    /// Puts these workers into the second tier, in this order.
    pub fn fallback<N: Into<String>>(mut self, workers: impl IntoIterator<Item = N>) -> Route {
        self.0.fallback = names(workers);
        self
    }

    /// Never these workers.
    pub fn excluding<N: Into<String>>(mut self, workers: impl IntoIterator<Item = N>) -> Route {
        self.0.excluded = names(workers);
        self
    }

    /// Nobody but the preferred and the fallback workers, however many others there are.
    pub fn only_listed(mut self) -> Route {
        self.0.fallback_policy = Some(FallbackPolicy::None);
        self
    }

    /// Asks for a worker with this label, besides all labels asked for before.
    pub fn requires(mut self, label: impl Into<String>) -> Route {
        self.0.require.push(label.into());
        self
    }

    /// Likes a worker with this label better than one without it.
    pub fn prefers(mut self, label: impl Into<String>) -> Route {
        self.0.prefer.push(label.into());
        self
    }

    /// The key that `sticky` goes by, and that is recorded with every choice.
    pub fn key(mut self, key: impl Into<String>) -> Route {
        self.0.affinity = Some(key.into().into());
        self
    }

    /// Counts this worker with this health, whatever it says of itself.
    pub fn health(mut self, worker: impl Into<String>, health: Health) -> Route {
        self.0.health.insert(worker.into().into(), health);
        self
    }

    /// The worker that failed before, for `failover`. Default: the worker of the attempt before.
    pub fn last_worker(mut self, worker: impl Into<String>) -> Route {
        self.0.last = Some(worker.into().into());
        self
    }

    /// Leaves the load out of account: workers in no list are ordered by name, listed ones by their list.
    pub fn ignore_load(mut self) -> Route {
        self.0.by_load = Some(false);
        self
    }

    /// Lets a registered guard refuse the choice ([`Builder::guard`](crate::Builder::guard)).
    pub fn guard(mut self, name: impl Into<String>) -> Route {
        self.0.guard = Some(name.into().into());
        self
    }

    /// The request as it is recorded.
    ///
    /// Errors: [`RouteError`], naming the field that cannot be (A0035).
    pub fn into_request(self) -> Result<RouteRequest, RouteError> {
        self.0.check()?;
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_says_what_is_recorded() {
        let route = Route::preferred(["w2", "w3", "w2"]).fallback(["w1"]).excluding(["w4"]).only_listed();
        let text = "preferred_then_fallback preferred=w2+w3 fallback=w1 excluded=w4 fallback_policy=none";
        assert_eq!(route.into_request().unwrap().to_string(), text);
        let route = Route::sticky("c7").requires("gpu").prefers("near").ignore_load().guard("night");
        let json = r#"{"policy": "sticky", "affinity_key": "c7", "require": "gpu", "prefer": ["near"],
                       "by_load": false, "guard": "night"}"#;
        assert_eq!(Route::from_json(json).unwrap(), route);
    }

    #[test]
    fn what_cannot_be_is_refused_when_the_route_is_used() {
        let refused = Route::to("w1").excluding(["w1"]).into_request().unwrap_err();
        assert!(refused.to_string().contains("field excluded"), "{refused}");
        assert!(Route::failover().last_worker("w1").into_request().is_ok());
        assert!(Route::round_robin().last_worker("w1").into_request().is_err());
        let unread = Route::from_json("[]").unwrap_err().to_string();
        assert!(unread.contains("JSON object") && unread.ends_with("[A0035]"), "{unread}");
    }
}
