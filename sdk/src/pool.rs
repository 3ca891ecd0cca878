//! Several pools in one process, and what takes part in choosing between them.

use crate::app::{Builder, OpenError};
use antiphon_engine::RoutineAsk;
use antiphon_engine::router::{CustomAsk, GuardAsk};
use antiphon_history::{IdError, Name};
use antiphon_runtime::{ActivityBody, LocalPool, Worker};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A pool of places in this process, for [`Builder::pool`](crate::Builder::pool): one worker in the record.
///
/// ```
/// # use antiphon::Pool;
/// let gpu = Pool::named("gpu-1").queue("render").label("gpu").capacity(2);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a pool does nothing until an engine has it: `.pool(pool)`"]
pub struct Pool {
    pub(crate) name: String,
    pub(crate) queues: BTreeSet<String>,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) capacity: u32,
}

impl Pool {
    /// A pool with this durable name, on the queue `default`, with 1,024 places and no labels.
    pub fn named(name: impl Into<String>) -> Pool {
        let queues = BTreeSet::from(["default".to_owned()]);
        Pool { name: name.into(), queues, labels: BTreeSet::new(), capacity: 1_024 }
    }

    /// Takes activities from a further task queue, besides `default`.
    pub fn queue(mut self, name: impl Into<String>) -> Pool {
        self.queues.insert(name.into());
        self
    }

    /// Has a label that calls may ask for.
    pub fn label(mut self, label: impl Into<String>) -> Pool {
        self.labels.insert(label.into());
        self
    }

    /// Runs at most this many activities at once, at least 1.
    pub fn capacity(mut self, activities: u32) -> Pool {
        self.capacity = activities;
        self
    }

    /// What cannot be about it.
    pub(crate) fn fault(&self) -> Option<OpenError> {
        if self.capacity == 0 {
            let problem = "no activity could ever run; give at least 1";
            return Some(OpenError::Option { option: "capacity", value: "0".to_owned(), problem });
        }
        let names = [("worker name", &self.name)].into_iter();
        let names = names.chain(self.queues.iter().map(|queue| ("task queue", queue)));
        let mut names = names.chain(self.labels.iter().map(|label| ("label", label)));
        names.find_map(|(what, name)| IdError::check(what, name).err()).map(OpenError::from)
    }
}

/// The pools of a process as workers.
///
/// Errors: two have the same name.
pub(crate) fn workers(
    first: Pool,
    further: Vec<Pool>,
    bodies: &[Arc<dyn ActivityBody>],
    tokio: &tokio::runtime::Handle,
) -> Result<Vec<Arc<dyn Worker>>, OpenError> {
    let mut names = BTreeSet::new();
    let worker = |Pool { name, queues, labels, capacity }| {
        if !names.insert(name.clone()) {
            let problem = "another pool of this process has this name; a name is one worker's";
            return Err(OpenError::Option { option: "pool", value: name, problem });
        }
        let pool = LocalPool::new(name, queues, labels, capacity, bodies.to_vec(), tokio.clone());
        Ok(Arc::new(pool) as Arc<dyn Worker>)
    };
    std::iter::once(first).chain(further).map(worker).collect()
}

impl Builder {
    /// Adds a further pool of this process, with a name, queues, labels and places of its own. It has code for every
    /// activity that is registered here.
    pub fn pool(mut self, pool: Pool) -> Builder {
        self.faults.extend(pool.fault());
        self.pools.push(pool);
        self
    }

    /// Registers a route that calls may name by [`Route::custom`](crate::Route::custom). It is given the workers that may
    /// have a call, best first, and names one of them, or none, which means to wait. It is never asked in replay.
    pub fn custom_route(
        mut self,
        name: impl Into<String>,
        route: impl Fn(&CustomAsk<'_>) -> Option<Name> + Send + Sync + 'static,
    ) -> Builder {
        let name = name.into();
        if !self.programs.routes.add_custom(name.as_str(), Arc::new(route)) {
            self.fault("custom_route", name, "another route has this name; rename one of them");
        }
        self
    }

    /// Registers a guard that routines may name ([`Routine::guard`](crate::Routine::guard)): an error with a reason refuses
    /// their creation or change. It is asked by the engine's own thread, which waits for it.
    pub fn routine_guard(
        mut self,
        name: impl Into<String>,
        guard: impl Fn(&RoutineAsk<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Builder {
        let name = name.into();
        if !self.programs.routine_guards.add(name.as_str(), Arc::new(guard)) {
            self.fault("routine_guard", name, "another guard of routines has this name; rename one of them");
        }
        self
    }

    /// Registers a guard that calls and queues may name: an error with a reason refuses the chosen worker, and the call
    /// ends with that reason. It is never asked in replay.
    pub fn guard(
        mut self,
        name: impl Into<String>,
        guard: impl Fn(&GuardAsk<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Builder {
        let name = name.into();
        if !self.programs.routes.add_guard(name.as_str(), Arc::new(guard)) {
            self.fault("guard", name, "another guard has this name; rename one of them");
        }
        self
    }
}
