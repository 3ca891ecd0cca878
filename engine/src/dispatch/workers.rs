//! The connected workers and what each has under way.

use super::class::Class;
use super::slots::Slot;
use crate::router::{Offer, digest};
use antiphon_history::{Health, Liveness, Name};
use std::collections::BTreeSet;

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

/// A connected worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: Name,
    /// Apart: a route request looks at every worker, and at this of one per class only.
    pub(super) spec: Box<WorkerSpec>,
    /// As the offer says.
    pub(super) capacity: u32,
    /// Of its name and all that it offers, for the router.
    pub(super) digest: u64,
    pub(super) class: Slot<Class>,
    /// Legs that have a place of it.
    pub(super) in_flight: u32,
    /// Legs that it had when it came: they may be more than its places.
    pub(super) carried: u32,
    /// Whether it is there.
    pub(super) liveness: Liveness,
    /// How well it is, as somebody said.
    pub(super) health: Health,
    /// It asks for its work; nothing is sent to it unasked.
    pub(super) pulls: bool,
    /// Its class counts it among those with a free place for what is sent unasked.
    pub(super) open: bool,
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

    /// How many more legs it has places for.
    pub(super) fn free(&self) -> u32 {
        self.capacity.saturating_sub(self.in_flight)
    }

    pub(super) fn view(&self) -> WorkerView {
        WorkerView { spec: (*self.spec).clone(), in_flight: self.in_flight }
    }
}

pub(super) fn digest_of(spec: &WorkerSpec) -> u64 {
    let offer = Offer { queues: &spec.queues, activities: &spec.activities, labels: &spec.labels };
    digest(&spec.name, offer, spec.capacity)
}

/// All connected workers, in the order of their names. In a row: a route request looks at every one of them, and they come
/// and go seldom.
#[derive(Debug, Default)]
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|known| known.name.as_str().cmp(name))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Worker> {
        Some(&self.0[self.find(name).ok()?])
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Worker> {
        let at = self.find(name).ok()?;
        Some(&mut self.0[at])
    }

    /// In place of the one of its name, if there is one.
    pub(super) fn insert(&mut self, worker: Worker) -> &mut Worker {
        let at = match self.find(&worker.name) {
            Ok(at) => {
                self.0[at] = worker;
                at
            }
            Err(at) => {
                self.0.insert(at, worker);
                at
            }
        };
        &mut self.0[at]
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Worker> {
        Some(self.0.remove(self.find(name).ok()?))
    }

    pub(super) fn values(&self) -> std::slice::Iter<'_, Worker> {
        self.0.iter()
    }
}
