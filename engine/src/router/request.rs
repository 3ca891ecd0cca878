use crate::By;
use crate::router::Routed;
use antiphon_history::{IdError, Name, RouteError, RouteRequest, RoutingReset, RoutingState};

/// What an operator asks of the routing of a task queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoutingRequest {
    /// Shows cursors and affinity keys. Writes nothing.
    Describe {
        /// The queue.
        queue: Name,
    },
    /// Says who would get a call now, and why. Writes nothing and moves nothing; guards are not asked.
    Would {
        /// The queue.
        queue: Name,
        /// The activity.
        activity_type: Name,
        /// The labels that the call needs.
        needs: Vec<String>,
        /// How it wants its worker chosen.
        route: RouteRequest,
    },
    /// Sets how many affinity keys are remembered, and for how long.
    Set {
        /// The queue.
        queue: Name,
        /// Most keys, 1 to 65,536.
        affinities_max: u32,
        /// How long a key is remembered after its last use, in milliseconds, at least 1; `None`: until others need its place.
        affinity_ttl_ms: Option<u64>,
        /// Who asks, and why.
        by: By,
    },
    /// Sets the route of calls that say nothing themselves: it lies below theirs, field by field.
    Default {
        /// The queue.
        queue: Name,
        /// The route; `None`: none from now on.
        route: Option<RouteRequest>,
        /// Who asks, and why.
        by: By,
    },
    /// Forgets cursors or keys.
    Reset {
        /// The queue.
        queue: Name,
        /// What.
        what: RoutingReset,
        /// Who asks, and why.
        by: By,
    },
}

impl RoutingRequest {
    /// The queue that is meant.
    pub fn queue(&self) -> &Name {
        match self {
            RoutingRequest::Describe { queue }
            | RoutingRequest::Would { queue, .. }
            | RoutingRequest::Set { queue, .. }
            | RoutingRequest::Default { queue, .. }
            | RoutingRequest::Reset { queue, .. } => queue,
        }
    }

    pub(crate) fn check(&self) -> Result<(), IdError> {
        IdError::check("task queue", self.queue())
    }
}

/// What an operator is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoutingReply {
    /// The cursors and keys. Empty if nothing was ever routed there.
    State(RoutingState),
    /// Who would get the call, or why nobody would.
    Would(Result<Routed, RouteError>),
    /// It is done, and durable.
    Done,
}
