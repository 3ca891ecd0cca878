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

use antiphon_history::{ActivityCall, ConversationKey, Name, Ordinal, RunKey};
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
    pub(crate) fn join(&mut self, spec: WorkerSpec) {
        self.workers.join(spec);
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
            self.workers.iter().any(|worker| worker.free() > 0 && choice::left_out(worker, lane).is_none())
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

    /// Whether a worker of this name is there.
    pub(crate) fn is_connected(&self, worker: &str) -> bool {
        self.workers.is_connected(worker)
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
