//! Why an attempt waits, as data.

use super::Dispatch;
use super::limits::Hold;
use super::line::{Item, Standing};
use super::queue::{Lane, Queue};
use super::slots::Slot;
use super::workers::Worker;
use crate::BACKING_OFF;
use antiphon_history::{ActivityCall, Liveness, Name, Timestamp};
use std::collections::BTreeMap;
use std::fmt;

/// Why an attempt of an activity is not with a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WaitReason {
    /// It waits between two attempts or legs.
    BackingOff {
        /// Until then.
        until: Timestamp,
    },
    /// No connected worker subscribes to its task queue.
    NoSubscriber {
        /// The queue.
        queue: Name,
    },
    /// Workers subscribe to its task queue, but none has its activity.
    NoSuchActivity {
        /// The queue.
        queue: Name,
        /// The activity.
        activity_type: Name,
    },
    /// Workers have its activity, but none has all labels that it needs.
    MissingLabels {
        /// The queue.
        queue: Name,
        /// The labels that it needs.
        needs: Vec<String>,
        /// Those of them that no worker of the activity has. Empty if each is there, but not all at one worker.
        missing: Vec<String>,
    },
    /// The task queue is paused.
    QueuePaused {
        /// The queue.
        queue: Name,
    },
    /// The engine has just started, and counts what is under way before it gives out more of a limited queue.
    Starting {
        /// The queue.
        queue: Name,
    },
    /// As much of the task queue is in flight as may be.
    QueueFull {
        /// The queue.
        queue: Name,
        /// The limit.
        max: u32,
    },
    /// The rate of the task queue is used up.
    RateLimited {
        /// The queue.
        queue: Name,
        /// The next one may go then.
        until: Timestamp,
    },
    /// As many calls of its limit key are under way as may be, or older ones of it are before.
    KeyBusy {
        /// The key.
        key: Name,
        /// The limit.
        max: u32,
    },
    /// The workers that have a free place may not take it: they lost an earlier leg of it, or were not chosen.
    PassedOver {
        /// The worker that it waits for, if it is one.
        waits_for: Option<Name>,
    },
    /// Every worker that could take it is full, or takes nothing new.
    NoFreePlace {
        /// Workers that are full.
        full: u32,
        /// Workers that finish what they have and take nothing new.
        draining: u32,
        /// Workers of which nothing was heard for a while.
        suspect: u32,
        /// Workers that somebody said are unhealthy or down.
        unhealthy: u32,
        /// Workers that take work when they ask, and have not asked.
        not_asking: u32,
    },
    /// Nothing: a worker is free and its turn comes.
    Next,
}

impl WaitReason {
    /// A short word for counts and filters, always the same for one kind of reason.
    pub fn kind(&self) -> &'static str {
        match self {
            WaitReason::BackingOff { .. } => BACKING_OFF,
            WaitReason::NoSubscriber { .. } => "no_subscriber",
            WaitReason::NoSuchActivity { .. } => "no_such_activity",
            WaitReason::MissingLabels { .. } => "missing_labels",
            WaitReason::QueuePaused { .. } => "queue_paused",
            WaitReason::Starting { .. } => "starting",
            WaitReason::QueueFull { .. } => "queue_full",
            WaitReason::RateLimited { .. } => "rate_limited",
            WaitReason::KeyBusy { .. } => "key_busy",
            WaitReason::PassedOver { .. } => "passed_over",
            WaitReason::NoFreePlace { full: 0, suspect: 0, unhealthy: 0, not_asking: 0, .. } => "draining",
            WaitReason::NoFreePlace { full: 0, draining: 0, unhealthy: 0, not_asking: 0, .. } => "suspect",
            WaitReason::NoFreePlace { full: 0, draining: 0, suspect: 0, not_asking: 0, .. } => "unhealthy",
            WaitReason::NoFreePlace { full: 0, draining: 0, suspect: 0, unhealthy: 0, .. } => "not_asking",
            WaitReason::NoFreePlace { .. } => "full",
            WaitReason::Next => "next",
        }
    }

    /// Whether only another worker can help: none that is connected could ever take it.
    pub fn is_nobody(&self) -> bool {
        matches!(
            self,
            WaitReason::NoSubscriber { .. } | WaitReason::NoSuchActivity { .. } | WaitReason::MissingLabels { .. }
        )
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitReason::BackingOff { until } => write!(f, "it waits until {} before it is tried again", until.0),
            WaitReason::NoSubscriber { queue } => write!(f, "no worker subscribes to task queue {queue:?}"),
            WaitReason::NoSuchActivity { queue, activity_type } => {
                write!(f, "no worker of task queue {queue:?} has the activity {activity_type:?}")
            }
            WaitReason::MissingLabels { queue, needs, .. } => {
                write!(f, "no worker of task queue {queue:?} has all of the labels {}", needs.join(", "))
            }
            WaitReason::QueuePaused { queue } => write!(f, "task queue {queue:?} is paused"),
            WaitReason::Starting { queue } => {
                write!(f, "the engine has just started and counts what of task queue {queue:?} is under way")
            }
            WaitReason::QueueFull { queue, max } => {
                write!(f, "task queue {queue:?} has {max} in flight, which is its limit")
            }
            WaitReason::RateLimited { queue, until } => {
                write!(f, "task queue {queue:?} has used up its rate until {}", until.0)
            }
            WaitReason::KeyBusy { key, max } => {
                write!(f, "{max} calls of limit key {key:?} are under way or before it, which is the limit")
            }
            WaitReason::PassedOver { waits_for: Some(worker) } => write!(f, "it waits for worker {worker:?}"),
            WaitReason::PassedOver { waits_for: None } => f.write_str("no worker with a free place may take it"),
            WaitReason::NoFreePlace { full, draining, suspect, unhealthy, not_asking } => {
                f.write_str("no worker that could take it has a free place:")?;
                let counts = [
                    (full, "full"),
                    (draining, "draining"),
                    (suspect, "suspect"),
                    (unhealthy, "unhealthy"),
                    (not_asking, "not asking"),
                ];
                for (count, word) in counts.into_iter().filter(|(count, _)| **count > 0) {
                    write!(f, " {count} {word}")?;
                }
                Ok(())
            }
            WaitReason::Next => f.write_str("it is taken next"),
        }
    }
}

/// What was found for those that stand in the order, lane by lane, while nothing changes.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    of_lane: BTreeMap<(Slot<Queue>, Slot<Lane>), &'static str>,
}

impl Dispatch {
    /// The kind of the reason why an attempt waits; for many of them at one moment.
    pub(crate) fn kind_of_wait(
        &self,
        item: Item,
        call: &ActivityCall,
        now: Timestamp,
        known: &mut Reasons,
    ) -> &'static str {
        let found = || self.why_waiting(item, call, now).map_or("next", |why| why.kind());
        match self.line.places.get(&item) {
            Some(place) if place.standing == Standing::Ordered => {
                known.of_lane.entry((place.queue, place.lane)).or_insert_with(found)
            }
            _ => found(),
        }
    }

    /// Why no connected worker could ever take this call; `None` if one could, when it has a free place.
    pub(crate) fn nobody(&self, call: &ActivityCall) -> Option<WaitReason> {
        if self.line.is_served(call) {
            return None;
        }
        let of_queue = || self.workers.values().filter(|worker| worker.spec.queues.contains(&*call.queue));
        let having = || of_queue().filter(|worker| worker.spec.activities.contains(&*call.activity_type));
        let needs = &call.options.needs;
        let able = |worker: &Worker| needs.iter().all(|label| worker.spec.labels.contains(label));
        if having().any(able) {
            return None;
        }
        let queue = call.queue.clone();
        Some(if of_queue().next().is_none() {
            WaitReason::NoSubscriber { queue }
        } else if having().next().is_none() {
            WaitReason::NoSuchActivity { queue, activity_type: call.activity_type.clone() }
        } else {
            let nowhere = |label: &&String| !having().any(|worker| worker.spec.labels.contains(*label));
            let missing = needs.iter().filter(nowhere).cloned().collect();
            WaitReason::MissingLabels { queue, needs: needs.clone(), missing }
        })
    }

    /// Why an attempt that is in line has no worker; `None` if it is not in line.
    pub(crate) fn why_waiting(&self, item: Item, call: &ActivityCall, now: Timestamp) -> Option<WaitReason> {
        let place = self.line.places.get(&item)?;
        if let Some(nobody) = self.nobody(call) {
            return Some(nobody);
        }
        let queue = &self.line.queues[place.queue];
        let name = || queue.name.clone();
        match queue.hold(now, self.line.starting) {
            Some(Hold::Paused) => return Some(WaitReason::QueuePaused { queue: name() }),
            Some(Hold::Starting) => return Some(WaitReason::Starting { queue: name() }),
            Some(Hold::Full { max }) => return Some(WaitReason::QueueFull { queue: name(), max }),
            Some(Hold::Rate { until }) => return Some(WaitReason::RateLimited { queue: name(), until }),
            None => {}
        }
        if place.standing == Standing::KeyBusy
            && let Some(key) = &place.key
        {
            return Some(WaitReason::KeyBusy { key: key.clone(), max: queue.per_key_max().unwrap_or(u32::MAX) });
        }
        if place.standing == Standing::Aside {
            return Some(WaitReason::PassedOver { waits_for: place.waits_for.clone() });
        }
        let classes = self.line.classes_of(place);
        let (mut full, mut draining, mut suspect, mut unhealthy, mut not_asking) = (0, 0, 0, 0, 0);
        for worker in self.workers.values().filter(|worker| classes.contains(&worker.class)) {
            match worker.liveness {
                Liveness::Draining => draining += 1,
                Liveness::Live if !worker.takes_calls() => unhealthy += 1,
                Liveness::Live if worker.free() == 0 => full += 1,
                Liveness::Live if worker.pulls => not_asking += 1,
                Liveness::Live => return Some(WaitReason::Next),
                Liveness::Joining | Liveness::Suspect | Liveness::Gone => suspect += 1,
            }
        }
        Some(WaitReason::NoFreePlace { full, draining, suspect, unhealthy, not_asking })
    }
}
