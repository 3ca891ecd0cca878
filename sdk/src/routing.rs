//! What operators ask about the routing of a task queue.

use crate::{Antiphon, CallRefused, RequestError, Route};
use antiphon_engine::By;
use antiphon_engine::router::{Routed, RoutingReply, RoutingRequest};
use antiphon_history::{Name, RouteError, RoutingReset, RoutingState};

/// The routing of one task queue, by [`Antiphon::routing`].
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    app: &'a Antiphon,
    queue: &'a str,
}

impl Antiphon {
    /// The routing of a task queue: who has had the last turn, and which affinity keys are whose.
    pub fn routing<'a>(&'a self, queue: &'a str) -> Routing<'a> {
        Routing { app: self, queue }
    }
}

impl Routing<'_> {
    fn queue(&self) -> Name {
        self.queue.into()
    }

    async fn ask(&self, request: RoutingRequest) -> Result<RoutingReply, RequestError> {
        Ok(self.app.handle().routing(request).await?)
    }

    /// Cursors and affinity keys now. Empty if nothing was ever routed there.
    pub async fn describe(&self) -> Result<RoutingState, RequestError> {
        match self.ask(RoutingRequest::Describe { queue: self.queue() }).await? {
            RoutingReply::State(state) => Ok(state),
            // Each request has its own kind of reply.
            _ => Err(antiphon_runtime::Error::Unavailable.into()),
        }
    }

    /// Who would get a call of this activity now, and why, or why nobody would. Nothing is written and nothing moves.
    ///
    /// Errors: the outer one if the question cannot be; the inner one is the answer that nobody would.
    pub async fn would_choose(&self, activity: &str, route: Route) -> Result<Result<Routed, RouteError>, RequestError> {
        let route = route.into_request().map_err(CallRefused::from)?;
        let asked =
            RoutingRequest::Would { queue: self.queue(), activity_type: activity.into(), needs: Vec::new(), route };
        match self.ask(asked).await? {
            RoutingReply::Would(answer) => Ok(answer),
            _ => Err(antiphon_runtime::Error::Unavailable.into()),
        }
    }

    /// Remembers at most this many affinity keys (1 to 65,536; default 4,096), each for this long after its last use
    /// (at least 1 ms; default: until others need its place). Durable on return; in the audit.
    pub async fn set_affinities(
        &self,
        max: u32,
        ttl_ms: Option<u64>,
        who: &str,
        why: &str,
    ) -> Result<(), RequestError> {
        let by = By { who: who.to_owned(), why: why.to_owned() };
        self.ask(RoutingRequest::Set { queue: self.queue(), affinities_max: max, affinity_ttl_ms: ttl_ms, by })
            .await
            .map(drop)
    }

    /// Sets the route of calls on this queue that say nothing themselves: it lies below theirs, field by field, and a guard in
    /// it stays in force whatever they say. `None`: none from now on. Durable on return; in the audit.
    pub async fn set_default(&self, route: Option<Route>, who: &str, why: &str) -> Result<(), RequestError> {
        let by = By { who: who.to_owned(), why: why.to_owned() };
        let route = route.map(Route::into_request).transpose().map_err(CallRefused::from)?;
        self.ask(RoutingRequest::Default { queue: self.queue(), route, by }).await.map(drop)
    }

    /// Forgets cursors or affinity keys. Durable on return; in the audit.
    pub async fn reset(&self, what: RoutingReset, who: &str, why: &str) -> Result<(), RequestError> {
        let by = By { who: who.to_owned(), why: why.to_owned() };
        self.ask(RoutingRequest::Reset { queue: self.queue(), what, by }).await.map(drop)
    }
}
