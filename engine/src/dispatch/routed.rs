//! The connected workers as the router sees them.

use super::Dispatch;
use crate::router::{Ask, Offer, Routed, Routes, Seen, Snapshot, filter, route};
use antiphon_history::{Name, RouteError};

impl Dispatch {
    /// Chooses a worker by a route request. Nothing moves.
    ///
    /// Errors: why nobody was chosen.
    pub(crate) fn route(&self, ask: &Ask<'_>, routes: &Routes) -> Result<Routed, RouteError> {
        route(ask, &self.snapshot(), routes)
    }

    /// Those who may have a call, by name.
    ///
    /// Errors: why nobody may.
    pub(crate) fn somebody(&self, ask: &Ask<'_>) -> Result<Vec<Name>, RouteError> {
        let snapshot = self.snapshot();
        let filtered = filter(ask, &snapshot)?;
        Ok(filtered.names(&snapshot))
    }

    fn snapshot(&self) -> Snapshot<'_> {
        let mut snapshot = Snapshot::default();
        // Those that ask for their work are not chosen.
        for worker in self.workers.iter().filter(|worker| !worker.pulls) {
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
                in_flight: Some(spec.capacity - worker.free()),
                health: worker.health,
                liveness: worker.liveness,
                digest: worker.digest,
            });
        }
        snapshot
    }
}
