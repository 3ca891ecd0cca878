//! Workers that offer the same form a class: who can take what is asked once per class, not once per worker.

use super::line::Group;
use super::slots::{Slot, Slots};
use super::workers::WorkerSpec;
use antiphon_history::Name;
use std::collections::{BTreeMap, BTreeSet};

/// What all workers of a class offer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Offer {
    pub(super) queues: BTreeSet<String>,
    pub(super) activities: BTreeSet<String>,
    pub(super) labels: BTreeSet<String>,
}

impl Offer {
    pub(super) fn of(spec: &WorkerSpec) -> Offer {
        Offer { queues: spec.queues.clone(), activities: spec.activities.clone(), labels: spec.labels.clone() }
    }

    /// Whether its workers can take an attempt that asks for this.
    pub(super) fn serves(&self, queue: &str, activity_type: &str, needs: &[String]) -> bool {
        self.queues.contains(queue)
            && self.activities.contains(activity_type)
            && needs.iter().all(|label| self.labels.contains(label))
    }
}

/// The connected workers of one offer.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) offer: Offer,
    /// How many are connected.
    pub(super) members: u32,
    /// How many of them have a place for a new leg.
    pub(super) open: u32,
    /// The groups of waiting attempts that they can take.
    pub(super) groups: Vec<Slot<Group>>,
}

/// All classes, by offer.
#[derive(Debug, Default)]
pub(super) struct Classes {
    pub(super) all: Slots<Class>,
    by_offer: BTreeMap<Offer, Slot<Class>>,
}

/// Most classes kept without a worker. A worker that comes back finds its class, and nothing has to be sorted anew.
const EMPTY_MAX: usize = 64;

impl Classes {
    /// Counts a worker in. The second value is the queues whose waiting attempts must be sorted anew: the class is new.
    pub(super) fn join(&mut self, spec: &WorkerSpec) -> (Slot<Class>, BTreeSet<String>) {
        let offer = Offer::of(spec);
        if let Some(&known) = self.by_offer.get(&offer) {
            self.all[known].members += 1;
            return (known, BTreeSet::new());
        }
        let mut touched = offer.queues.clone();
        let empty: Vec<Slot<Class>> = self.all.iter().filter(|(_, it)| it.members == 0).map(|(slot, _)| slot).collect();
        if empty.len() > EMPTY_MAX {
            for class in empty.into_iter().filter_map(|slot| self.all.remove(slot)) {
                self.by_offer.remove(&class.offer);
                touched.extend(class.offer.queues);
            }
        }
        let class = Class { offer: offer.clone(), members: 1, open: 0, groups: Vec::new() };
        let slot = self.all.insert(class);
        self.by_offer.insert(offer, slot);
        (slot, touched)
    }

    /// Counts a worker out. Its place must be closed before.
    pub(super) fn leave(&mut self, class: Slot<Class>) {
        self.all[class].members -= 1;
    }

    /// The classes that can take what is asked, by number.
    pub(super) fn serving(&self, queue: &Name, activity_type: &Name, needs: &[String]) -> Vec<Slot<Class>> {
        let serves = |class: &Class| class.offer.serves(queue, activity_type, needs);
        self.all.iter().filter(|(_, class)| serves(class)).map(|(slot, _)| slot).collect()
    }
}
