//! Who does what: connected workers, waiting attempts, and the choice between them.
//!
//! | file | holds |
//! |---|---|
//! | `workers.rs` | the connected workers and what each has under way |
//! | `line.rs` | who waits, and who is next |
//! | `choice.rs` | which worker gets an attempt, and why the others do not |
//! | `routed.rs` | the same by a route request |

mod choice;
mod line;
mod routed;
mod workers;

use crate::WorkerProblem;
use antiphon_history::{ActivityCall, ConversationKey, Health, Liveness, Name, Ordinal, RunKey};
use line::{Lane, Line};
use workers::Workers;

pub(crate) use choice::Choice;
pub use workers::{WorkerSpec, WorkerView};

/// The connected workers and the attempts that wait for one. Derived from open conversations; dropped with the process.
#[derive(Debug, Default)]
pub(crate) struct Dispatch {
    workers: Workers,
    line: Line,
}

impl Dispatch {
    pub(crate) fn join(&mut self, spec: WorkerSpec, pulls: bool) {
        self.workers.join(spec, pulls);
    }

    /// From now on the worker gets nothing new; it keeps what it has.
    pub(crate) fn drain(&mut self, worker: &str) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.liveness = Liveness::Draining;
        }
    }

    /// Says whether the worker is there. One that drains goes on draining.
    pub(crate) fn set_liveness(&mut self, worker: &str, liveness: Liveness) {
        if let Some(worker) = self.workers.get_mut(worker).filter(|worker| worker.liveness != Liveness::Draining) {
            worker.liveness = liveness;
        }
    }

    /// Says how well the worker is.
    pub(crate) fn set_health(&mut self, worker: &str, health: Health) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.health = health;
        }
    }

    /// Whether a worker of this name is connected.
    pub(crate) fn has_worker(&self, worker: &str) -> bool {
        self.workers.get(worker).is_some()
    }

    /// Every leg that was sent to a worker unasked, with the worker.
    pub(crate) fn pushed_legs(&self) -> impl Iterator<Item = (Name, ConversationKey, u32)> {
        let pushed = self.workers.iter().filter(|worker| !worker.pulls);
        pushed.flat_map(|worker| worker.in_flight.iter().map(|(key, leg)| (worker.name.clone(), *key, *leg)))
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

    /// The first attempt in line that this worker could take from these of its queues (empty: all), if it has a free place.
    ///
    /// Stamps at or below `after` are passed over, as in [`Dispatch::next`].
    pub(crate) fn next_for(&self, worker: &str, queues: &[String], after: u64) -> Option<(u64, RunKey, Ordinal)> {
        let worker = self.workers.get(worker).filter(|worker| worker.free() > 0 && worker.takes_calls())?;
        let asked = |lane: &Lane| queues.is_empty() || queues.iter().any(|queue| **queue == *lane.queue);
        self.line.next(after, |lane| asked(lane) && choice::left_out(worker, lane).is_none())
    }

    /// The names of the workers that ask for their work.
    pub(crate) fn pullers(&self) -> impl Iterator<Item = &Name> {
        self.workers.iter().filter(|worker| worker.pulls).map(|worker| &worker.name)
    }

    /// The legs that a worker has.
    pub(crate) fn legs_of(&self, worker: &str) -> Vec<(ConversationKey, u32)> {
        self.workers.get(worker).map(|worker| worker.in_flight.iter().copied().collect()).unwrap_or_default()
    }

    /// Removes a worker; returns the legs that it had.
    pub(crate) fn leave(&mut self, name: &str) -> Vec<(ConversationKey, u32)> {
        self.workers.leave(name)
    }

    pub(crate) fn views(&self) -> Vec<WorkerView> {
        self.workers.views()
    }

    /// Puts an attempt in line.
    pub(crate) fn add(&mut self, run: RunKey, ordinal: Ordinal, call: &ActivityCall) {
        self.line.add(run, ordinal, call);
    }

    /// Takes an attempt out of line, if it is in one.
    pub(crate) fn remove(&mut self, run: RunKey, ordinal: Ordinal) {
        self.line.remove(run, ordinal);
    }

    /// Whether an attempt is in line.
    pub(crate) fn has(&self, run: RunKey, ordinal: Ordinal) -> bool {
        self.line.lane(run, ordinal).is_some()
    }

    /// How many attempts wait.
    pub(crate) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// How many legs are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.workers.in_flight()
    }

    /// The oldest attempt in line that some worker with a free place could take, oldest over all lanes first.
    ///
    /// Stamps at or below `after` are passed over: the caller has looked at them in this round already.
    pub(crate) fn next(&self, after: u64) -> Option<(u64, RunKey, Ordinal)> {
        self.line.next(after, |lane| {
            self.workers
                .iter()
                .any(|worker| worker.is_pushed_to() && worker.free() > 0 && choice::left_out(worker, lane).is_none())
        })
    }

    /// Why no connected worker could ever take this call; `None` if one could, when it has a free place.
    pub(crate) fn nobody(&self, call: &ActivityCall) -> Option<String> {
        choice::nobody(&self.workers, call)
    }

    /// Whether a worker that is not in `excluded` could take this call.
    pub(crate) fn somebody_else(&self, call: &ActivityCall, excluded: &[Name]) -> bool {
        let lane = Lane::of(call);
        self.workers.iter().any(|worker| choice::left_out(worker, &lane).is_none() && !excluded.contains(&worker.name))
    }

    /// Chooses a worker for the attempt.
    pub(crate) fn choose(&self, run: RunKey, ordinal: Ordinal, excluded: &[Name]) -> Option<Choice> {
        choice::choose(&self.workers, self.line.lane(run, ordinal)?, excluded)
    }

    /// Takes the attempt out of line and one place of the worker.
    pub(crate) fn place(&mut self, worker: &str, conversation: ConversationKey, leg: u32) {
        self.line.remove(conversation.run, conversation.ordinal);
        self.workers.place(worker, conversation, leg);
    }

    /// Notes a leg that the worker has from before, if it is there and has a place for it.
    pub(crate) fn take_back(&mut self, worker: &str, conversation: ConversationKey, leg: u32) {
        if self.workers.iter().any(|known| known.name == *worker && known.free() > 0) {
            self.workers.place(worker, conversation, leg);
        }
    }

    /// Gives the place of a leg back, whoever had it.
    pub(crate) fn release(&mut self, conversation: ConversationKey, leg: u32) -> bool {
        self.workers.release(conversation, leg)
    }

    /// Whether the worker has the leg.
    pub(crate) fn holds(&self, worker: &str, conversation: ConversationKey, leg: u32) -> bool {
        self.workers.holds(worker, conversation, leg)
    }

    /// Whether every worker keeps to its capacity.
    pub(crate) fn within_capacity(&self) -> bool {
        self.workers.within_capacity()
    }
}
