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

    /// The classes say who offers the same, so no two offers are compared.
    fn snapshot(&self, with: impl Fn(&Worker) -> bool) -> Snapshot<'_> {
        let mut offers: Vec<Offer<'_>> = Vec::new();
        let mut of_class: Vec<Option<usize>> = vec![None; self.line.classes.all.bound()];
        let mut workers = Vec::with_capacity(self.workers.values().len());
        for worker in self.workers.values().filter(|worker| with(worker)) {
            let offer = *of_class[worker.class.index()].get_or_insert_with(|| {
                let offer = &self.line.classes.all[worker.class].offer;
                offers.push(Offer { queues: &offer.queues, activities: &offer.activities, labels: &offer.labels });
                offers.len() - 1
            });
            workers.push(Seen {
                name: &worker.name,
                offer,
                capacity: worker.capacity,
                in_flight: Some(worker.in_flight),
                health: worker.health,
                liveness: worker.liveness,
                digest: worker.digest,
            });
        }
        Snapshot { offers, workers }
    }
}
