//! Who does what: connected workers, waiting attempts, and the choice between them.

use antiphon_history::{
    ActivityCall, ConversationKey, LeftOut, LeftOutReason, Name, Ordinal, RunKey, Selection, planted,
};
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

/// Waiting attempts that the same workers could take.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Lane {
    queue: Name,
    activity_type: Name,
    needs: Vec<String>,
}

/// The connected workers and the attempts that wait for one. Derived from open conversations; dropped with the process.
#[derive(Debug, Default)]
pub(crate) struct Dispatch {
    workers: BTreeMap<Name, Worker>,
    /// Attempts that may be taken now, oldest first.
    lanes: BTreeMap<Lane, BTreeMap<u64, (RunKey, Ordinal)>>,
    places: BTreeMap<(RunKey, Ordinal), (Lane, u64)>,
    next_stamp: u64,
}

#[derive(Debug)]
struct Worker {
    name: Name,
    spec: WorkerSpec,
    in_flight: BTreeSet<(ConversationKey, u32)>,
}

impl Worker {
    fn free(&self) -> u32 {
        self.spec.capacity.saturating_sub(u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX))
    }
}

/// A choice that was made.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) worker: Name,
    pub(crate) why: Option<Selection>,
}

/// Most names in a recorded choice. More would make the record grow with the fleet; sixteen show the pattern.
const LEFT_OUT_MAX: usize = 16;

impl Dispatch {
    pub(crate) fn join(&mut self, spec: WorkerSpec) {
        let name = Name::from(spec.name.as_str());
        self.workers.insert(name.clone(), Worker { name, spec, in_flight: BTreeSet::new() });
    }

    /// Removes a worker; returns the legs that it had.
    pub(crate) fn leave(&mut self, name: &str) -> Vec<(ConversationKey, u32)> {
        self.workers.remove(name).map(|worker| worker.in_flight.into_iter().collect()).unwrap_or_default()
    }

    pub(crate) fn views(&self) -> Vec<WorkerView> {
        let view = |worker: &Worker| WorkerView {
            spec: worker.spec.clone(),
            in_flight: u32::try_from(worker.in_flight.len()).unwrap_or(u32::MAX),
        };
        self.workers.values().map(view).collect()
    }

    /// Puts an attempt in line.
    pub(crate) fn add(&mut self, run: RunKey, ordinal: Ordinal, call: &ActivityCall) {
        self.remove(run, ordinal);
        let mut needs = call.options.needs.clone();
        needs.sort();
        let lane = Lane { queue: call.queue.clone(), activity_type: call.activity_type.clone(), needs };
        self.next_stamp += 1;
        self.lanes.entry(lane.clone()).or_default().insert(self.next_stamp, (run, ordinal));
        self.places.insert((run, ordinal), (lane, self.next_stamp));
    }

    /// Takes an attempt out of line, if it is in one.
    pub(crate) fn remove(&mut self, run: RunKey, ordinal: Ordinal) {
        if let Some((lane, stamp)) = self.places.remove(&(run, ordinal))
            && let Some(line) = self.lanes.get_mut(&lane)
        {
            line.remove(&stamp);
            if line.is_empty() {
                self.lanes.remove(&lane);
            }
        }
    }

    /// Whether an attempt is in line.
    pub(crate) fn has(&self, run: RunKey, ordinal: Ordinal) -> bool {
        self.places.contains_key(&(run, ordinal))
    }

    /// How many attempts wait.
    pub(crate) fn waiting(&self) -> usize {
        self.places.len()
    }

    /// How many legs are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.workers.values().map(|worker| worker.in_flight.len()).sum()
    }

    /// The oldest attempt in line that some worker with a free place could take, oldest over all lanes first.
    ///
    /// Stamps at or below `after` are passed over: the caller has looked at them in this round already.
    pub(crate) fn next(&self, after: u64) -> Option<(u64, RunKey, Ordinal)> {
        let mut first: Option<(u64, RunKey, Ordinal)> = None;
        for (lane, line) in &self.lanes {
            let Some((stamp, (run, ordinal))) = line.range(after + 1..).next() else { continue };
            let older = first.is_none_or(|(known, _, _)| *stamp < known);
            if older && self.workers.values().any(|worker| worker.free() > 0 && left_out(worker, lane).is_none()) {
                first = Some((*stamp, *run, *ordinal));
            }
        }
        first
    }

    /// Why no connected worker could ever take this call; `None` if one could, when it has a free place.
    pub(crate) fn nobody(&self, call: &ActivityCall) -> Option<String> {
        let lane = Lane {
            queue: call.queue.clone(),
            activity_type: call.activity_type.clone(),
            needs: call.options.needs.clone(),
        };
        let subscribed = || self.workers.values().filter(|worker| worker.spec.queues.contains(&*lane.queue));
        if subscribed().any(|worker| left_out(worker, &lane).is_none()) {
            return None;
        }
        Some(if subscribed().next().is_none() {
            format!("no worker subscribes to task queue {:?}", lane.queue)
        } else if subscribed().any(|worker| worker.spec.activities.contains(&*lane.activity_type)) {
            format!("no worker of task queue {:?} has all of the labels {}", lane.queue, lane.needs.join(", "))
        } else {
            format!("no worker of task queue {:?} has the activity {:?}", lane.queue, lane.activity_type)
        })
    }

    /// Whether a worker that is not in `excluded` could take this call.
    pub(crate) fn somebody_else(&self, call: &ActivityCall, excluded: &[Name]) -> bool {
        let lane = Lane {
            queue: call.queue.clone(),
            activity_type: call.activity_type.clone(),
            needs: call.options.needs.clone(),
        };
        self.workers.values().any(|worker| left_out(worker, &lane).is_none() && !excluded.contains(&worker.name))
    }

    /// Chooses a worker for the attempt: filter, order by load, pick the first. Equal load: by name, so that the same
    /// state always gives the same choice.
    ///
    /// A worker that lost an earlier leg is left out as long as another could take the call, even if that one is full.
    pub(crate) fn choose(&self, run: RunKey, ordinal: Ordinal, excluded: &[Name]) -> Option<Choice> {
        let (lane, _) = self.places.get(&(run, ordinal))?;
        let subscribed: Vec<&Worker> =
            self.workers.values().filter(|worker| worker.spec.queues.contains(&*lane.queue)).collect();
        let able = |worker: &Worker| left_out(worker, lane).is_none();
        let lost = |worker: &Worker| excluded.contains(&worker.name) && !planted!("excluded-worker-chosen");
        let keep_out = subscribed.iter().any(|worker| able(worker) && !lost(worker));
        let mut left: Vec<LeftOut> = Vec::new();
        let mut best: Option<&Worker> = None;
        for worker in &subscribed {
            let reason = left_out(worker, lane)
                .or_else(|| (keep_out && lost(worker)).then_some(LeftOutReason::LostEarlierLeg))
                .or_else(|| (worker.free() == 0).then_some(LeftOutReason::Full));
            match reason {
                Some(reason) => left.push(LeftOut { worker: worker.spec.name.clone(), reason }),
                None if best.is_none_or(|best| worker.free() > best.free()) => best = Some(worker),
                None => {}
            }
        }
        let best = best?;
        left.truncate(LEFT_OUT_MAX);
        let why = (subscribed.len() > 1).then(|| Selection {
            policy: "least_loaded".to_owned(),
            candidates: u32::try_from(subscribed.len()).unwrap_or(u32::MAX),
            free: best.free(),
            left_out: left,
        });
        Some(Choice { worker: best.name.clone(), why })
    }

    /// Takes the attempt out of line and one place of the worker.
    pub(crate) fn place(&mut self, worker: &str, conversation: ConversationKey, leg: u32) {
        self.remove(conversation.run, conversation.ordinal);
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.in_flight.insert((conversation, leg));
        }
    }

    /// Gives the place of a leg back, whoever had it.
    pub(crate) fn release(&mut self, conversation: ConversationKey, leg: u32) -> bool {
        self.workers.values_mut().any(|worker| worker.in_flight.remove(&(conversation, leg)))
    }

    /// Whether the worker has the leg.
    pub(crate) fn holds(&self, worker: &str, conversation: ConversationKey, leg: u32) -> bool {
        self.workers.get(worker).is_some_and(|worker| worker.in_flight.contains(&(conversation, leg)))
    }

    /// Whether every worker keeps to its capacity.
    pub(crate) fn within_capacity(&self) -> bool {
        self.workers.values().all(|worker| worker.in_flight.len() <= worker.spec.capacity as usize)
    }
}

fn left_out(worker: &Worker, lane: &Lane) -> Option<LeftOutReason> {
    if !worker.spec.queues.contains(&*lane.queue) || !worker.spec.activities.contains(&*lane.activity_type) {
        Some(LeftOutReason::NoSuchActivity)
    } else if !lane.needs.iter().all(|label| worker.spec.labels.contains(label)) {
        Some(LeftOutReason::MissingLabel)
    } else {
        None
    }
}
