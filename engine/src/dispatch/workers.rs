//! The connected workers and what each has under way.

use crate::router::{Offer, digest};
use antiphon_history::{ConversationKey, Health, Liveness, Name};
use std::collections::{BTreeMap, BTreeSet};

/// What a worker offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerSpec {
    /// Its durable name, unique among the connected workers.
    pub name: String,
    /// The task queues that it subscribes to.
    pub queues: BTreeSet<String>,
    /// The activities that it has code for.
    pub activities: BTreeSet<String>,
    /// The labels that it has.
    pub labels: BTreeSet<String>,
    /// Requests that it takes at once, at least 1.
    pub capacity: u32,
}

/// A connected worker, as `describe` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerView {
    /// What it offers.
    pub spec: WorkerSpec,
    /// Requests that it has now.
    pub in_flight: u32,
}

/// All connected workers, by name.
#[derive(Debug, Default)]
pub(super) struct Workers {
    by_name: BTreeMap<Name, Worker>,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: Name,
    pub(super) spec: WorkerSpec,
    /// Of its name and all that it offers, for the router.
    pub(super) digest: u64,
    /// It asks for its work; nothing is sent to it unasked.
    pub(super) pulls: bool,
    /// How well it is, as somebody said.
    pub(super) health: Health,
    /// Whether it is there.
    pub(super) liveness: Liveness,
    pub(super) in_flight: BTreeSet<(ConversationKey, u32)>,
}

impl Worker {
    /// Whether it is to get anything new.
    pub(super) fn takes_calls(&self) -> bool {
        self.liveness.takes_calls() && self.health.takes_calls()
    }

    /// Whether requests are sent to it unasked.
    pub(super) fn is_pushed_to(&self) -> bool {
        !self.pulls && self.takes_calls()
    }

    /// How many more requests it takes now.
    pub(super) fn free(&self) -> u32 {
        self.spec.capacity.saturating_sub(u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX))
    }
}

impl Workers {
    pub(super) fn join(&mut self, spec: WorkerSpec, pulls: bool) {
        let name = Name::from(spec.name.as_str());
        let offer = Offer { queues: &spec.queues, activities: &spec.activities, labels: &spec.labels };
        let digest = digest(&spec.name, offer, spec.capacity);
        let (health, liveness) = (Health::Healthy, Liveness::Live);
        let in_flight = BTreeSet::new();
        let worker = Worker { name: name.clone(), spec, digest, pulls, health, liveness, in_flight };
        self.by_name.insert(name, worker);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Worker> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Worker> {
        self.by_name.get_mut(name)
    }

    /// Removes a worker; returns the legs that it had.
    pub(super) fn leave(&mut self, name: &str) -> Vec<(ConversationKey, u32)> {
        self.by_name.remove(name).map(|worker| worker.in_flight.into_iter().collect()).unwrap_or_default()
    }

    /// By name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.by_name.values()
    }

    pub(super) fn views(&self) -> Vec<WorkerView> {
        let view = |worker: &Worker| WorkerView {
            spec: worker.spec.clone(),
            in_flight: u32::try_from(worker.in_flight.len()).unwrap_or(u32::MAX),
        };
        self.iter().map(view).collect()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.iter().map(|worker| worker.in_flight.len()).sum()
    }

    /// Takes one place of the worker for a leg.
    pub(super) fn place(&mut self, worker: &str, conversation: ConversationKey, leg: u32) {
        if let Some(worker) = self.by_name.get_mut(worker) {
            worker.in_flight.insert((conversation, leg));
        }
    }

    /// Gives the place of a leg back, whoever had it.
    pub(super) fn release(&mut self, conversation: ConversationKey, leg: u32) -> bool {
        self.by_name.values_mut().any(|worker| worker.in_flight.remove(&(conversation, leg)))
    }

    pub(super) fn holds(&self, worker: &str, conversation: ConversationKey, leg: u32) -> bool {
        self.by_name.get(worker).is_some_and(|worker| worker.in_flight.contains(&(conversation, leg)))
    }

    pub(super) fn within_capacity(&self) -> bool {
        self.iter().all(|worker| worker.in_flight.len() <= worker.spec.capacity as usize)
    }
}
