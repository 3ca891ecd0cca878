//! Who does what: connected workers, waiting attempts, and the choice between them.
//!
//! | file | holds |
//! |---|---|
//! | `workers.rs` | the connected workers |
//! | `class.rs` | workers that offer the same |
//! | `line.rs`, `order.rs`, `groups.rs` | who waits, and who is next |
//! | `aside.rs` | those who are passed over, and what has them looked at again |
//! | `queue.rs` | one task queue, with its rules and its lanes |
//! | `fair.rs` | the fair order between the fairness keys of a queue |
//! | `keys.rs` | limit keys: how many calls of one are under way |
//! | `limits.rs` | what holds a whole queue back |
//! | `choice.rs` | which worker gets an attempt, and why the others do not |
//! | `routed.rs` | the same by a route request |
//! | `why.rs` | why an attempt waits |
//! | `slots.rs` | numbers instead of names |

mod aside;
mod choice;
mod class;
mod fair;
mod groups;
mod keys;
mod limits;
mod line;
mod order;
mod queue;
mod routed;
mod slots;
mod why;
mod workers;

#[cfg(test)]
mod tests;

use crate::WorkerProblem;
use antiphon_history::{ActivityCall, ConversationKey, Health, Liveness, Name, Ordinal, RunKey, Timestamp, planted};
use class::Class;
use line::{Group, Line};
use queue::Queue;
use slots::Slot;
use std::collections::BTreeMap;
use workers::{Worker, Workers};

pub(crate) use choice::Choice;
pub(crate) use limits::{Rate, Rules};
pub(crate) use why::Reasons;
pub use why::WaitReason;
pub use workers::{WorkerSpec, WorkerView};

/// Workers of one kind offer the same. Means something while one of them is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Kind(Slot<Class>);

/// The connected workers and the attempts that wait for one. Derived from open conversations; dropped with the process.
#[derive(Debug, Default)]
pub(crate) struct Dispatch {
    workers: Workers,
    line: Line,
    /// Legs that have a place at a worker.
    legs: BTreeMap<(ConversationKey, u32), Leg>,
    /// Workers with a free place for which some stand aside in a group, and how many of those are to be looked at again.
    stirred: BTreeMap<(Slot<Group>, Name), usize>,
}

#[derive(Debug)]
struct Leg {
    worker: Name,
    queue: Slot<Queue>,
    key: Option<Name>,
}

impl Dispatch {
    /// A worker is connected from now on. Legs that are known to be with one of its name take up its places.
    pub(crate) fn join(&mut self, spec: WorkerSpec, pulls: bool) {
        let name = Name::from(spec.name.as_str());
        let digest = workers::digest_of(&spec);
        let class = self.line.join(&spec);
        let in_flight = self.legs.values().filter(|leg| leg.worker == name).count();
        let worker = Worker {
            name,
            digest,
            class,
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            carried: u32::try_from(in_flight).unwrap_or(u32::MAX),
            capacity: spec.capacity,
            liveness: Liveness::Live,
            health: Health::Healthy,
            pulls,
            open: false,
            spec: Box::new(spec),
        };
        self.line.news.all = true;
        self.workers.insert(worker).changed(&mut self.line, &mut self.stirred);
    }

    /// Removes a worker; returns the legs that it had, for each of which [`Dispatch::release`] is to be called when it no
    /// longer counts.
    pub(crate) fn leave(&mut self, name: &str) -> Vec<(ConversationKey, u32)> {
        if let Some(worker) = self.workers.remove(name) {
            if worker.open {
                self.line.shut(worker.class);
            }
            self.line.classes.leave(worker.class);
            // Others may be chosen now that could not be while it was there.
            self.stir_all();
        }
        self.stirred.retain(|(_, worker), _| &**worker != name);
        self.legs_of(name)
    }

    /// From now on the worker gets nothing new; it keeps what it has.
    pub(crate) fn drain(&mut self, worker: &str) {
        if planted!("drained-worker-chosen") {
            return;
        }
        self.change(worker, |worker| worker.liveness = Liveness::Draining);
    }

    /// Says whether the worker is there. One that drains goes on draining.
    pub(crate) fn set_liveness(&mut self, worker: &str, liveness: Liveness) {
        self.change(worker, |worker| {
            if worker.liveness != Liveness::Draining {
                worker.liveness = liveness;
            }
        });
    }

    /// Says how well the worker is.
    pub(crate) fn set_health(&mut self, worker: &str, health: Health) {
        self.change(worker, |worker| worker.health = health);
    }

    /// Every leg that was sent to a worker unasked, with the worker.
    pub(crate) fn pushed_legs(&self) -> impl Iterator<Item = (Name, ConversationKey, u32)> {
        let pushed = |worker: &Name| self.workers.get(worker).is_some_and(|worker| !worker.pulls);
        let legs = self.legs.iter().filter(move |(_, leg)| pushed(&leg.worker));
        legs.map(|((conversation, number), leg)| (leg.worker.clone(), *conversation, *number))
    }

    /// The name of a worker that may ask for work from these of its queues; what is wrong if it may not.
    pub(crate) fn puller(&self, worker: &str, queues: &[String]) -> Result<Name, WorkerProblem> {
        match self.workers.get(worker) {
            None => Err(WorkerProblem::Absent),
            Some(known) if !known.pulls => Err(WorkerProblem::Pushed),
            Some(known) if known.liveness == Liveness::Draining => Err(WorkerProblem::Draining),
            Some(known) if !queues.iter().all(|queue| known.spec.queues.contains(queue)) => {
                Err(WorkerProblem::ForeignQueue)
            }
            Some(known) => Ok(known.name.clone()),
        }
    }

    /// What kind of worker it is, if it is there.
    pub(crate) fn kind(&self, worker: &str) -> Option<Kind> {
        self.workers.get(worker).map(|worker| Kind(worker.class))
    }

    /// Whether anything is in the order, or stands aside, that workers of this kind could take, on whichever of their queues.
    pub(crate) fn has_work_for(&mut self, kind: Kind, now: Timestamp) -> bool {
        self.line.next_for(kind.0, &[], now).is_some() || !self.line.aside_of(kind.0).is_empty()
    }

    /// The names of the workers that ask for their work.
    pub(crate) fn pullers(&self) -> impl Iterator<Item = &Name> {
        self.workers.values().filter(|worker| worker.pulls).map(|worker| &worker.name)
    }

    /// The legs that a worker has.
    pub(crate) fn legs_of(&self, worker: &str) -> Vec<(ConversationKey, u32)> {
        self.legs.iter().filter(|(_, leg)| &*leg.worker == worker).map(|(key, _)| *key).collect()
    }

    pub(crate) fn views(&self) -> Vec<WorkerView> {
        self.workers.values().map(Worker::view).collect()
    }

    /// Puts an attempt in line that may be taken since then.
    pub(crate) fn add(&mut self, run: RunKey, ordinal: Ordinal, call: &ActivityCall, since: Timestamp) {
        self.line.add((run, ordinal), call, since);
    }

    /// The activity is over, or nobody may take it any more: takes it out of line, if it is in one, and frees its part of
    /// a limit key.
    pub(crate) fn over(&mut self, run: RunKey, ordinal: Ordinal, call: &ActivityCall) {
        self.line.over((run, ordinal), call);
    }

    /// Takes an attempt out of line, if it is in one.
    pub(crate) fn remove(&mut self, run: RunKey, ordinal: Ordinal) {
        self.line.remove((run, ordinal));
    }

    /// An activity that was under way before a restart: it has its part of its limit key, though it may have to wait.
    pub(crate) fn hold_key(&mut self, run: RunKey, ordinal: Ordinal, call: &ActivityCall) {
        if !call.options.limit_key.is_empty() {
            self.line.hold((run, ordinal), call);
        }
    }

    /// Whether an attempt is in line.
    pub(crate) fn has(&self, run: RunKey, ordinal: Ordinal) -> bool {
        self.line.places.contains_key(&(run, ordinal))
    }

    /// Whether an attempt is in line and some connected worker could take it, when it has a free place.
    pub(crate) fn is_served(&self, run: RunKey, ordinal: Ordinal) -> bool {
        let place = self.line.places.get(&(run, ordinal));
        place.is_some_and(|place| self.line.has_members(self.line.classes_of(place)))
    }

    /// How many attempts wait.
    pub(crate) fn waiting(&self) -> usize {
        self.line.waiting()
    }

    /// How many legs are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.legs.len()
    }

    /// Whom to serve next: the first in line that some worker with a free place could take. One that cannot be placed must
    /// be [set aside](Dispatch::set_aside), or it comes again.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<(RunKey, Ordinal)> {
        loop {
            if let Some(item) = self.line.next(now) {
                return Some(item);
            }
            // None of those who were looked at again was placed: the next ones, as long as the worker has a place.
            let mut stirred = self.stirred.first_entry()?;
            let (group, worker) = stirred.key().clone();
            let has_place = self.workers.get(&worker).is_some_and(|worker| worker.open);
            let looked_at = if has_place { self.line.bring_some_back(group, &worker) } else { 0 };
            let left = stirred.get().saturating_sub(looked_at);
            *stirred.get_mut() = left;
            if looked_at == 0 || left == 0 {
                stirred.remove();
            }
        }
    }

    /// Whom this worker should serve next from these of its queues (empty: all), if it has a free place.
    pub(crate) fn next_for(&mut self, worker: &str, queues: &[String], now: Timestamp) -> Option<(RunKey, Ordinal)> {
        let worker = self.workers.get(worker).filter(|worker| worker.free() > 0 && worker.takes_calls())?;
        self.line.next_for(worker.class, queues, now)
    }

    /// When something in line must be looked at again without a word from anybody.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.line.next_due()
    }

    /// Whether a worker that is not in `excluded` could take this call.
    pub(crate) fn somebody_else(&self, call: &ActivityCall, excluded: &[Name]) -> bool {
        let takes = |worker: &Worker| worker.liveness != Liveness::Draining && choice::left_out(worker, call).is_none();
        self.workers.values().any(|worker| takes(worker) && !excluded.contains(&worker.name))
    }

    /// Chooses a worker for a call.
    pub(crate) fn choose(&self, call: &ActivityCall, excluded: &[Name]) -> Option<Choice> {
        choice::choose(&self.workers, call, excluded)
    }

    /// Takes the attempt out of line and one place of the worker. A worker that is not connected has no places; the leg is
    /// known to be with it all the same.
    pub(crate) fn place(
        &mut self,
        worker: &Name,
        conversation: ConversationKey,
        leg: u32,
        call: &ActivityCall,
        now: Timestamp,
    ) {
        let queue = self.line.place((conversation.run, conversation.ordinal), call, now);
        let key = (!call.options.limit_key.is_empty()).then(|| Name::from(call.options.limit_key.as_str()));
        self.legs.insert((conversation, leg), Leg { worker: worker.clone(), queue, key });
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.in_flight += 1;
            mark(worker, &mut self.line);
        }
    }

    /// Notes a leg that a worker has from before, whether or not it is connected and has a place for it.
    pub(crate) fn take_back(
        &mut self,
        worker: &Name,
        conversation: ConversationKey,
        leg: u32,
        call: &ActivityCall,
        now: Timestamp,
    ) {
        self.place(worker, conversation, leg, call, now);
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.carried = worker.carried.max(worker.in_flight);
        }
    }

    /// Gives the place of a leg back, whoever had it. False if it has none.
    pub(crate) fn release(&mut self, conversation: ConversationKey, leg: u32, now: Timestamp) -> bool {
        let Some(Leg { worker, queue, key }) = self.legs.remove(&(conversation, leg)) else { return false };
        self.line.release((conversation.run, conversation.ordinal), queue, key.as_ref(), now);
        if let Some(known) = self.workers.get_mut(&worker) {
            known.in_flight -= 1;
            if known.pulls {
                self.line.news.freed.insert(worker);
            } else {
                known.changed(&mut self.line, &mut self.stirred);
            }
        }
        true
    }

    /// Whether a worker of this name is connected.
    pub(crate) fn has_worker(&self, worker: &str) -> bool {
        self.workers.get(worker).is_some()
    }

    /// Whether the worker has the leg.
    pub(crate) fn holds(&self, worker: &str, conversation: ConversationKey, leg: u32) -> bool {
        self.legs.get(&(conversation, leg)).is_some_and(|leg| &*leg.worker == worker)
    }

    /// Whether every worker keeps to its capacity.
    pub(crate) fn within_capacity(&self) -> bool {
        self.workers.values().all(|worker| worker.in_flight <= worker.capacity.max(worker.carried))
    }

    /// How many wait in a queue that takes in no standalone call now, and its limit.
    pub(crate) fn brim(&self, queue: &str) -> Option<(usize, u32)> {
        let queue = &self.line.queues[self.line.find(queue)?];
        let max = queue.rules()?.waiting_max?;
        (queue.waiting >= max as usize).then_some((queue.waiting, max))
    }

    /// Gives a queue other rules.
    pub(crate) fn set_rules(&mut self, queue: &Name, rules: Rules, now: Timestamp) {
        self.line.set_rules(queue, rules, now);
    }

    /// Whether the engine has just started: then queues with rules give out nothing, because what is under way is not yet
    /// known. False if that is so already.
    pub(crate) fn set_starting(&mut self, starting: bool, now: Timestamp) -> bool {
        let changed = self.line.starting != starting;
        self.line.set_starting(starting, now);
        changed
    }

    fn change(&mut self, worker: &str, change: impl FnOnce(&mut Worker)) {
        let Some(known) = self.workers.get_mut(worker) else { return };
        let before = (known.liveness, known.health);
        change(known);
        if before == (known.liveness, known.health) {
            return;
        }
        self.line.news.all = true;
        known.changed(&mut self.line, &mut self.stirred);
        if !known.pulls && !known.is_pushed_to() {
            // What waited for it, or was not given to others because of it, another may have now.
            self.line.bring_back_for(known.class);
        }
    }
}

impl Worker {
    /// It is not what it was, or has a place more: some of those that stand aside may go to it.
    fn changed(&mut self, line: &mut Line, stirred: &mut BTreeMap<(Slot<Group>, Name), usize>) {
        mark(self, line);
        if line.aside > 0 && self.open {
            for (group, count) in line.aside_of(self.class) {
                let left = count - line.bring_some_back(group, &self.name);
                if left > 0 {
                    stirred.insert((group, self.name.clone()), left);
                }
            }
        }
    }
}

/// Brings the class of a worker in line with its free places.
fn mark(worker: &mut Worker, line: &mut Line) {
    let open = worker.is_pushed_to() && worker.free() > 0;
    if open != worker.open {
        worker.open = open;
        if open {
            line.open(worker.class);
        } else {
            line.shut(worker.class);
        }
    }
}
