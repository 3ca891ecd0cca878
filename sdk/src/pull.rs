//! A worker in this process that asks for its work, instead of being sent it.

use crate::activity_context::States;
use crate::handle::{Antiphon, RequestError};
use crate::program::TypedBody;
use crate::{ActivityHandle, CallRefused, OptionError};
use antiphon_engine::{LEASE_MAX_MS, WAIT_MAX_MS};
use antiphon_history::IdError;
use antiphon_runtime::{ActivityBody, Handle, Puller, RunningPuller};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A worker that asks for its work under leases, as one in another process would. Nothing happens before
/// [`start`](PullWorker::start).
///
/// It claims, runs, tells that it is alive at a third of the lease, and answers. What it has survives a restart of the
/// engine; if it dies, its legs go to others when the leases end.
#[must_use = "nothing happens before .start()"]
pub struct PullWorker {
    handle: Handle,
    name: String,
    queues: BTreeSet<String>,
    labels: BTreeSet<String>,
    capacity: u32,
    bodies: Vec<PendingBody>,
    states: States,
    lease: Duration,
    wait: Duration,
    fault: Option<CallRefused>,
}

type PendingBody = Box<dyn FnOnce(States) -> Arc<dyn ActivityBody> + Send>;

/// A running [`PullWorker`]. Dropping it stops its bodies at their next await and gives nothing back;
/// [`shutdown`](PullWorkerHandle::shutdown) is the kinder way.
#[derive(Debug)]
pub struct PullWorkerHandle(RunningPuller);

impl fmt::Debug for PullWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PullWorker({}, {} activities)", self.name, self.bodies.len())
    }
}

impl Antiphon {
    /// Puts together a worker that asks this engine for work: `app.pull_worker("render-1").activity(render).start().await?`.
    ///
    /// Its name is its own: a second one under the same name takes the first one's place.
    pub fn pull_worker(&self, name: impl Into<String>) -> PullWorker {
        let name = name.into();
        let fault = IdError::check("worker name", &name).err().map(CallRefused::from);
        PullWorker {
            handle: self.handle().clone(),
            name,
            queues: BTreeSet::new(),
            labels: BTreeSet::new(),
            capacity: 1,
            bodies: Vec::new(),
            states: States::default(),
            lease: Duration::from_secs(30),
            wait: Duration::from_secs(30),
            fault,
        }
    }
}

impl PullWorker {
    /// Registers an activity: `.activity(render)`.
    pub fn activity<A, H: ActivityHandle<A>>(mut self, handle: H) -> PullWorker {
        let _ = handle;
        self.bodies.push(Box::new(|states| Arc::new(TypedBody::<H::Definition>::new(states))));
        self
    }

    /// Gives its activities a shared value, found by its type.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> PullWorker {
        self.states = self.states.with(value);
        self
    }

    /// Asks for work of this task queue. Several may be named; without any it is `default`.
    pub fn queue(mut self, name: impl Into<String>) -> PullWorker {
        let name = name.into();
        self.check("task queue", &name);
        self.queues.insert(name);
        self
    }

    /// Gives it a label that calls may ask for by `.needs(label)`.
    pub fn label(mut self, label: impl Into<String>) -> PullWorker {
        let label = label.into();
        self.check("label", &label);
        self.labels.insert(label);
        self
    }

    /// Has at most this many activities at once. Default: 1.
    pub fn capacity(mut self, activities: u32) -> PullWorker {
        if activities == 0 {
            self.impossible("capacity", "0", "no activity could ever run; give at least 1");
        }
        self.capacity = activities;
        self
    }

    /// How long each activity is its own without a word, which it sends at a third of that. Default: 30 s. Shorter: a dead
    /// worker is noticed sooner. Longer: it may be cut off for longer without losing what it does. At most a day.
    pub fn lease(mut self, lease: Duration) -> PullWorker {
        if lease < Duration::from_millis(1) {
            self.impossible("lease", format!("{lease:?}"), "it would end before it begins; give at least 1 ms");
        }
        if lease > Duration::from_millis(LEASE_MAX_MS) {
            self.impossible(
                "lease",
                format!("{lease:?}"),
                "what a dead worker has would wait so long; give at most a day",
            );
        }
        self.lease = lease;
        self
    }

    /// How long one request for work waits for some, at most 10 minutes. Default: 30 s.
    pub fn wait(mut self, wait: Duration) -> PullWorker {
        if wait > Duration::from_millis(WAIT_MAX_MS) {
            self.impossible("wait", format!("{wait:?}"), "asking is its sign of life; give at most 10 minutes");
        }
        self.wait = wait;
        self
    }

    /// Joins, and begins to ask for work. Its joining is durable on return. Needs a tokio runtime with time enabled.
    ///
    /// Errors: [`RequestError`], for an impossible option or if it may not join.
    pub async fn start(self) -> Result<PullWorkerHandle, RequestError> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let mut queues = self.queues;
        if queues.is_empty() {
            queues.insert("default".to_owned());
        }
        // The last of a name counts: here they are given in one chain, by one author.
        let bodies = self.bodies.into_iter().map(|body| body(self.states.clone()));
        let bodies: BTreeMap<String, Arc<dyn ActivityBody>> =
            bodies.map(|body| (body.name().to_owned(), body)).collect();
        let puller = Puller {
            name: self.name,
            queues,
            labels: self.labels,
            capacity: self.capacity,
            bodies: bodies.into_values().collect(),
            lease: self.lease,
            wait: self.wait,
        };
        Ok(PullWorkerHandle(puller.start(self.handle).await?))
    }

    fn check(&mut self, what: &'static str, name: &str) {
        if let Err(wrong) = IdError::check(what, name) {
            self.fault.get_or_insert(wrong.into());
        }
    }

    fn impossible(&mut self, option: &str, value: impl Into<String>, problem: &str) {
        let (option, value, problem) = (option.to_owned(), value.into(), problem.to_owned());
        self.fault.get_or_insert(OptionError { option, value, problem }.into());
    }
}

impl PullWorkerHandle {
    /// Its name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Takes nothing new, lets what it has end for as long as `deadline`, gives the rest back and leaves. What is given back
    /// goes to others at once and counts as no loss; of an at-most-once call nobody can say then whether it ran, and it ends
    /// as lost.
    ///
    /// Errors: why it had stopped before by itself.
    pub async fn shutdown(self, deadline: Duration) -> Result<(), RequestError> {
        Ok(self.0.shutdown(deadline).await?)
    }

    /// Waits until it stops by itself: the engine has stopped, or another took its name.
    pub async fn stopped(self) -> Result<(), RequestError> {
        Ok(self.0.stopped().await?)
    }
}
