//! The connected workers as the router sees them.

use super::Dispatch;
use super::workers::Worker;
use crate::router::{Ask, Offer, Routed, Routes, Seen, Snapshot, claim, filter, route};
use antiphon_history::{Name, RouteError};

impl Dispatch {
    /// Chooses a worker by a route request, among those to which calls are sent. Nothing moves.
    ///
    /// Errors: why nobody was chosen.
    pub(crate) fn route(&self, ask: &Ask<'_>, routes: &Routes) -> Result<Routed, RouteError> {
        route(ask, &self.snapshot(|worker| !worker.pulls), routes)
    }

    /// The choice of a worker that asks for the call itself. `None` if it is not to have it. Nothing moves.
    pub(crate) fn claim_routed(&self, ask: &Ask<'_>, worker: &Name) -> Option<Routed> {
        claim(ask, &self.snapshot(|_| true), worker)
    }

    /// Those who may have a call, by name, whether it is sent to them or they ask for it.
    ///
    /// Errors: why nobody may.
    pub(crate) fn somebody(&self, ask: &Ask<'_>) -> Result<Vec<Name>, RouteError> {
        let snapshot = self.snapshot(|_| true);
        let filtered = filter(ask, &snapshot)?;
        Ok(filtered.names(&snapshot))
    }

    fn snapshot(&self, with: impl Fn(&Worker) -> bool) -> Snapshot<'_> {
        let mut snapshot = Snapshot::default();
        for worker in self.workers.values().filter(|worker| with(worker)) {
            let spec = &worker.spec;
            let offer = Offer { queues: &spec.queues, activities: &spec.activities, labels: &spec.labels };
            // Pools of one program offer the same: what was looked at for one holds for the next.
            let known = snapshot.offers.iter().rposition(|known| *known == offer);
            let offer = known.unwrap_or_else(|| {
                snapshot.offers.push(offer);
                snapshot.offers.len() - 1
            });
            snapshot.workers.push(Seen {
                name: &worker.name,
                offer,
                capacity: spec.capacity,
                in_flight: Some(worker.in_flight),
                health: worker.health,
                liveness: worker.liveness,
                digest: worker.digest,
            });
        }
        snapshot
    }
}
