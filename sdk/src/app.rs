use crate::activity_context::States;
use crate::child_worker::{self, ChildWorker};
use crate::handle::Antiphon;
use crate::pool::{self, Pool};
use crate::program::{TypedBody, TypedProgram};
use crate::{ActivityHandle, WorkflowHandle};
use antiphon_engine::{ProgramError, Programs, Thresholds};
use antiphon_history::IdError;
use antiphon_recorder::memory::MemoryStore;
use antiphon_recorder::sqlite::Options;
use antiphon_recorder::{Durability, Error as StoreError};
use antiphon_runtime::child::ChildPool;
use antiphon_runtime::{
    ActivityBody, Clock, Config, ManualClock, MemorySource, Runtime, SqliteFolder, StartError, StoreSource, SystemClock,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Puts an engine together: a store, the code, the values that activities share. Nothing happens before
/// [`start`](Builder::start).
#[must_use = "nothing happens before .start()"]
pub struct Builder {
    place: Place,
    pub(crate) programs: Programs,
    bodies: Vec<PendingBody>,
    children: Vec<ChildWorker>,
    states: States,
    pub(crate) faults: Vec<OpenError>,
    config: Config,
    options: Options,
    queues: BTreeSet<String>,
    labels: BTreeSet<String>,
    worker: String,
    capacity: u32,
    pub(crate) pools: Vec<Pool>,
    allow_unknown_workflows: bool,
    wait_for_lock: Duration,
}

/// A body waits for the shared values, which may be given after it.
pub(crate) type PendingBody = Box<dyn FnOnce(States) -> Arc<dyn ActivityBody> + Send>;

pub(crate) enum Place {
    Folder(PathBuf),
    Memory(MemoryStore, Arc<ManualClock>),
}

/// How often a lock that is waited for is looked at: soon enough for people, seldom enough for the machine.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// Why an engine did not start. The store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A0019. Two workflows have the same name.
    #[error(transparent)]
    Workflow(#[from] ProgramError),
    /// A0019. Two activities have the same name.
    #[error("two activities are named {name:?}: one at {first}, one at {second}; rename one of them [A0019]")]
    DuplicateActivity {
        /// The name.
        name: String,
        /// Where the first stands.
        first: String,
        /// Where the second stands.
        second: String,
    },
    /// A0012. A name cannot be used.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A0017. An option is impossible.
    #[error("{option}({value}) is impossible: {problem} [A0017]")]
    Option {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// Why it is impossible.
        problem: &'static str,
    },
    /// A0029. There is no tokio runtime to run activities on.
    #[error(
        "start() needs a tokio runtime to run activities on: call it inside #[tokio::main] or Runtime::block_on [A0029]"
    )]
    NoTokio,
    /// A0053. A worker process did not start.
    #[error(transparent)]
    ChildWorker(#[from] antiphon_runtime::child::ChildError),
    /// A0054. This is a worker process, and its engine does not keep to the protocol.
    #[error(transparent)]
    Link(#[from] antiphon_runtime::child::LinkError),
    /// A0055. This is a worker process, and the builder does not know whose.
    #[error(
        "this process was started to serve as child worker {name:?}, and this builder has none of that name (it has: \
         {known}); build the engine that has it first, see Antiphon::is_worker_process() [A0055]"
    )]
    UnknownChildWorker {
        /// The child worker's name.
        name: String,
        /// Those that the builder has.
        known: String,
    },
    /// The store or the runs in it. See the error's own code.
    #[error(transparent)]
    Start(#[from] antiphon_runtime::StartError),
}

impl Antiphon {
    /// Begins an engine on the store in `folder`, which is made if it is not there.
    pub fn open(folder: impl AsRef<Path>) -> Builder {
        Builder::new(Place::Folder(folder.as_ref().to_owned()))
    }

    /// Begins an engine on a store in memory with a clock that skips: for tests.
    ///
    /// The clock stands still; while a test waits for a run to end and nothing is under way, it jumps to the next
    /// timer, deadline or retry. Two days of sleep pass in microseconds.
    pub fn test() -> Builder {
        // Any fixed moment would do; this one is recognisable in dumps: 2026-01-01T00:00:00Z.
        let start = antiphon_history::Timestamp(1_767_225_600_000);
        Builder::new(Place::Memory(MemoryStore::new(*b"antiphon in test"), Arc::new(ManualClock::new(start))))
    }

    /// Whether this process was started by an engine as a worker process of its own; see [`ChildWorker`]. For what `main`
    /// should do once and not in every process.
    pub fn is_worker_process() -> bool {
        child_worker::own_name().is_some()
    }

    /// Begins an engine for tests on a store and a clock that an earlier one used: a restart.
    pub fn test_again(earlier: &Antiphon) -> Builder {
        match earlier.memory.clone() {
            Some((store, clock)) => Builder::new(Place::Memory(store, clock)),
            None => Antiphon::test(),
        }
    }
}

impl Builder {
    fn new(place: Place) -> Builder {
        Builder {
            place,
            programs: Programs::default(),
            bodies: Vec::new(),
            children: Vec::new(),
            states: States::default(),
            faults: Vec::new(),
            config: Config::default(),
            options: Options::default(),
            queues: BTreeSet::from(["default".to_owned()]),
            labels: BTreeSet::new(),
            worker: "local".to_owned(),
            capacity: 1_024,
            pools: Vec::new(),
            allow_unknown_workflows: false,
            wait_for_lock: Duration::ZERO,
        }
    }

    /// Registers a workflow: `.workflow(order)`.
    pub fn workflow<A, H: WorkflowHandle<A>>(mut self, handle: H) -> Builder {
        let _ = handle;
        if let Err(error) = self.programs.add(Arc::new(TypedProgram::<H::Definition>::new())) {
            self.faults.push(error.into());
        }
        self
    }

    /// Registers an activity: `.activity(charge)`.
    pub fn activity<A, H: ActivityHandle<A>>(mut self, handle: H) -> Builder {
        let _ = handle;
        self.bodies.push(Box::new(|states| Arc::new(TypedBody::<H::Definition>::new(states))));
        self
    }

    /// Serves activities in processes of their own: see [`ChildWorker`].
    pub fn child_worker(mut self, worker: ChildWorker) -> Builder {
        self.children.push(worker);
        self
    }

    /// Gives activities a shared value, found by its type: `act.state::<Gateway>()`.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Builder {
        self.states = self.states.with(value);
        self
    }

    /// Runs at most this many activities at once in this process. Default: 1,024.
    pub fn capacity(mut self, activities: u32) -> Builder {
        if activities == 0 {
            self.fault("capacity", "0", "no activity could ever run; give at least 1");
        }
        self.capacity = activities;
        self
    }

    /// Lets this process take activities from a further task queue, besides `default`.
    pub fn queue(mut self, name: impl Into<String>) -> Builder {
        let name = name.into();
        if let Err(error) = IdError::check("task queue", &name) {
            self.faults.push(error.into());
        }
        self.queues.insert(name);
        self
    }

    /// Gives this process a label that calls may ask for by `.needs(label)`.
    pub fn label(mut self, label: impl Into<String>) -> Builder {
        self.labels.insert(label.into());
        self
    }

    /// Names this process's worker in the record. Default: `local`.
    pub fn worker_name(mut self, name: impl Into<String>) -> Builder {
        let name = name.into();
        if let Err(error) = IdError::check("worker name", &name) {
            self.faults.push(error.into());
        }
        self.worker = name;
        self
    }

    /// What an acknowledgement survives. Default: [`Durability::Full`], a power cut.
    pub fn durability(mut self, durability: Durability) -> Builder {
        self.options.durability = durability;
        self
    }

    /// Refuses new runs while the store's volume has less free space than this. Default: 64 MiB. Runs that are under way,
    /// cancels and ends go on, with a ballast file to give up at the very brim.
    pub fn min_free_bytes(mut self, bytes: u64) -> Builder {
        self.options.min_free_bytes = bytes;
        self
    }

    /// Opens a store whose log is behind its anchor: accepts that acknowledged work is lost. See A0007.
    pub fn accept_loss(mut self) -> Builder {
        self.options.accept_loss = true;
        self
    }

    /// Opens a store on a network file system, where neither locks nor syncs can be relied on. See A0034.
    pub fn allow_network_volume(mut self) -> Builder {
        self.options.allow_network_volume = true;
        self
    }

    /// Starts although the store has open runs that this program has no code for; they are left blocked. See A0028.
    pub fn allow_unknown_workflows(mut self) -> Builder {
        self.allow_unknown_workflows = true;
        self
    }

    /// Waits at most this long for another engine to leave the folder, instead of being refused at once. Default: zero.
    ///
    /// For programs that are started again right after they were killed: the system takes a moment to let go of a dead
    /// process's lock.
    pub fn wait_for_lock(mut self, longest: Duration) -> Builder {
        self.wait_for_lock = longest;
        self
    }

    /// Lets this engine carry out due routines by itself. Default: somebody calls
    /// [`Routines::run_due`](crate::Routines::run_due). Given behind [`config`](Builder::config).
    pub fn run_routines(mut self) -> Builder {
        self.config.engine.run_routines = true;
        self
    }

    /// Lets this engine look for what is stuck every so often, and repair it. Default: somebody calls
    /// [`Repair::reconcile_once`](crate::Repair::reconcile_once). Choose thresholds that no honest activity passes in
    /// silence. Given behind [`config`](Builder::config).
    pub fn reconcile_every(mut self, period: Duration, thresholds: Thresholds) -> Builder {
        let ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        self.config.engine.reconcile_every_ms = Some(ms.max(1));
        self.config.engine.thresholds = thresholds;
        self
    }

    /// Replaces all bounds and waits.
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Opens the store, brings back what was under way and starts. Blocks for the time that takes.
    ///
    /// Errors: [`OpenError`], before anything is changed.
    ///
    /// In a worker process (see [`ChildWorker`]) nothing is opened: it serves, and the process ends in here.
    pub fn start(self) -> Result<Antiphon, OpenError> {
        let this = self.serve_if_worker()?;
        this.start_engine()
    }

    /// Serves in a worker process (see [`ChildWorker`]), which then ends in here; elsewhere gives the builder back at once.
    /// [`Builder::start`] begins with it; call it yourself if something stands between that a worker should not do.
    pub fn serve_if_worker(self) -> Result<Builder, OpenError> {
        match child_worker::own_name() {
            Some(name) => Err(child_worker::serve_as(name, self.children, self.states)),
            None => Ok(self),
        }
    }

    fn start_engine(self) -> Result<Antiphon, OpenError> {
        let tokio = tokio::runtime::Handle::try_current().map_err(|_| OpenError::NoTokio)?;
        let mut config = self.config;
        if matches!(self.place, Place::Memory(..)) && config.engine == Config::default().engine {
            // A clock that jumps makes everybody silent at once.
            config.engine.worker_silence_ms = 0;
        }
        let (programs, bodies) = Builder::code(self.programs, self.bodies, self.states.clone(), self.faults)?;
        let children = child_worker::start(self.children, &self.states)?;
        let first = Pool { name: self.worker, queues: self.queues, labels: self.labels, capacity: self.capacity };
        let mut workers = pool::workers(first, self.pools, &bodies, &tokio)?;
        workers.extend(children.iter().flat_map(ChildPool::workers));
        let (source, clock, memory): (Arc<dyn StoreSource>, Arc<dyn Clock>, _) = match self.place {
            Place::Folder(folder) => {
                (Arc::new(SqliteFolder::new(folder, self.options)), Arc::new(SystemClock::new()), None)
            }
            Place::Memory(store, clock) => {
                (Arc::new(MemorySource(store.clone())), Arc::clone(&clock) as Arc<dyn Clock>, Some((store, clock)))
            }
        };
        let give_up = Instant::now() + self.wait_for_lock;
        let runtime = loop {
            let (source, clock) = (Arc::clone(&source), Arc::clone(&clock));
            let allow = self.allow_unknown_workflows;
            match Runtime::start(source, programs.clone(), workers.clone(), clock, config, allow) {
                Err(StartError::Store(StoreError::OpenElsewhere { .. })) if Instant::now() < give_up => {
                    std::thread::park_timeout(LOCK_LOOK);
                }
                started => break started?,
            }
        };
        children.iter().for_each(|pool| pool.attach(runtime.handle()));
        Ok(Antiphon::new(runtime, memory, children))
    }

    /// The registered workflows alone, for replay and checks.
    pub fn programs(self) -> Result<Programs, OpenError> {
        Ok(Builder::code(self.programs, self.bodies, self.states, self.faults)?.0)
    }

    /// The folder that the engine would be opened on; `None` for one in memory.
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            Place::Memory(..) => None,
        }
    }

    fn code(
        programs: Programs,
        pending: Vec<PendingBody>,
        states: States,
        faults: Vec<OpenError>,
    ) -> Result<(Programs, Vec<Arc<dyn ActivityBody>>), OpenError> {
        if let Some(first) = faults.into_iter().next() {
            return Err(first);
        }
        Ok((programs, Builder::bodies(pending, states)?))
    }

    /// The code of activities, each name once.
    pub(crate) fn bodies(pending: Vec<PendingBody>, states: States) -> Result<Vec<Arc<dyn ActivityBody>>, OpenError> {
        let mut bodies: BTreeMap<String, Arc<dyn ActivityBody>> = BTreeMap::new();
        for body in pending {
            let body = body(states.clone());
            let name = body.name().to_owned();
            if let Some(first) = bodies.get(&name) {
                let (first, second) = (first.site(), body.site());
                return Err(OpenError::DuplicateActivity { name, first, second });
            }
            bodies.insert(name, body);
        }
        Ok(bodies.into_values().collect())
    }

    pub(crate) fn fault(&mut self, option: &'static str, value: impl Into<String>, problem: &'static str) {
        self.faults.push(OpenError::Option { option, value: value.into(), problem });
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Builder({:?}, {} activities)", self.programs, self.bodies.len())
    }
}
