//! Routes of calls and of queues, and operators who set them, and say how well workers are.

use crate::broken::{Broken, Checked};
use crate::program::{LABEL, queue_name};
use crate::pullers::Asked;
use crate::rules::by;
use crate::world::World;
use antiphon_engine::router::RoutingRequest;
use antiphon_engine::{Input, WorkersRequest};
use antiphon_history::{ActivityCall, FallbackPolicy, Health, RoutePolicy, RouteRequest, WorkerOffer};

/// How many routes there are, the lack of one included.
pub(crate) const ROUTES: u8 = 8;

/// A route by its number; 0: none. The healer is in every list, and in none of those that keep somebody out: what waits for
/// nobody else can go in the end.
pub(crate) fn route(number: u8) -> Option<Box<RouteRequest>> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let base = RouteRequest::default();
    let request = match number % ROUTES {
        0 => return None,
        1 => RouteRequest { policy: Some(RoutePolicy::RoundRobin), ..base },
        2 => RouteRequest {
            preferred: names(&["w1", "p0", "healer"]),
            fallback: names(&["w0"]),
            fallback_policy: Some(FallbackPolicy::None),
            ..base
        },
        3 => RouteRequest { worker: Some("healer".into()), ..base },
        4 => RouteRequest { excluded: names(&["w0", "p1"]), ..base },
        5 => RouteRequest { policy: Some(RoutePolicy::LeastLoaded), require: vec![LABEL.to_owned()], ..base },
        6 => RouteRequest { policy: Some(RoutePolicy::Failover), excluded: names(&["p0"]), ..base },
        _ => RouteRequest { policy: Some(RoutePolicy::Sticky), affinity: Some("red".into()), ..base },
    };
    Some(Box::new(request))
}

/// Whether a worker may have a call by a route.
pub(crate) fn allows(request: &RouteRequest, worker: &str, offer: &WorkerOffer) -> Checked {
    let wrong = |what: &'static str| Err(Broken::new(4, what, worker.to_owned()));
    if request.excluded.iter().any(|name| &**name == worker) {
        return wrong("a worker was chosen that its route excludes");
    }
    if request.worker.as_ref().is_some_and(|named| &**named != worker) {
        return wrong("a worker was chosen although its route names another");
    }
    let mut listed = request.preferred.iter().chain(&request.fallback);
    let must = !request.takes_remaining() && request.worker.is_none() && request.affinity.is_none();
    if must && !listed.any(|name| &**name == worker) {
        return wrong("a worker was chosen that its route does not list");
    }
    if !request.require.iter().all(|label| offer.labels.contains(label)) {
        return wrong("a worker was chosen without a label that its route requires");
    }
    Ok(())
}

/// Whether a worker of this offer can take a call at all.
pub(crate) fn serves(offer: &WorkerOffer, call: &ActivityCall) -> bool {
    offer.queues.contains(call.queue.as_str())
        && offer.activities.contains(call.activity_type.as_str())
        && call.options.needs.iter().all(|label| offer.labels.contains(label))
}

impl World<'_> {
    /// Somebody says how calls of a queue go that say nothing.
    pub(crate) fn route_default(&mut self, a: u32, b: u32) -> Checked {
        let to = self.callers.number();
        self.operators.insert(to);
        let queue = queue_name((a % 2) as u8).into();
        let route = route((b % 3 * (b >> 2)) as u8).map(|route| *route);
        self.step(Input::Routing(Box::new(RoutingRequest::Default { queue, route, by: by(to) }), to))
    }

    /// Somebody says how well a worker is, or lets it finish and take nothing new.
    pub(crate) fn health_set(&mut self, a: u32, b: u32) -> Checked {
        let worker = format!("{}{}", if a.is_multiple_of(2) { "w" } else { "p" }, (a >> 1) % self.plan.workers);
        let (who, why) = ("ada".to_owned(), String::new());
        let health =
            [Health::Healthy, Health::Healthy, Health::Degraded, Health::Unhealthy, Health::Down][b as usize % 5];
        let request = match (b >> 3) % 6 {
            0 => WorkersRequest::Drain { worker, who, why },
            _ => WorkersRequest::SetHealth { worker, health, who, why },
        };
        self.asks_for_work(request, Asked::Other)
    }
}
