//! The connected workers and what each has under way.

use super::class::Class;
use super::slots::Slot;
use crate::router::{Offer, digest};
use antiphon_history::{Health, Liveness, Name};
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

/// A connected worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: Name,
    pub(super) spec: WorkerSpec,
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
        self.spec.capacity.saturating_sub(self.in_flight)
    }

    pub(super) fn view(&self) -> WorkerView {
        WorkerView { spec: self.spec.clone(), in_flight: self.in_flight }
    }
}

pub(super) fn digest_of(spec: &WorkerSpec) -> u64 {
    let offer = Offer { queues: &spec.queues, activities: &spec.activities, labels: &spec.labels };
    digest(&spec.name, offer, spec.capacity)
}

/// All connected workers, by name.
pub(super) type Workers = BTreeMap<Name, Worker>;
