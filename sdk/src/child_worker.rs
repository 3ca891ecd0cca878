//! Activities in processes of their own.

use crate::ActivityHandle;
use crate::activity_context::States;
use crate::app::{Builder, OpenError, PendingBody};
use crate::program::TypedBody;
use antiphon_history::IdError;
use antiphon_runtime::ActivityBody;
use antiphon_runtime::child::{ChildPool, ChildSettings, LinkError, Offer, SocketLink, finish, serve, worker_of};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Activities that run in processes of their own, so that a crash, an abort, a stack overflow or a memory kill costs a leg
/// and not the engine.
///
/// ```no_run
/// use antiphon::{ActivityContext, Antiphon, CallError, ChildWorker, Never, WorkflowContext, activity, workflow};
///
/// #[activity]
/// async fn render(_act: ActivityContext, scene: String) -> Result<String, Never> {
///     Ok(format!("{scene}.png")) // by a library that crashes now and then
/// }
///
/// #[workflow]
/// async fn film(ctx: WorkflowContext<'_>, scene: String) -> antiphon::Result<String, CallError<Never>> {
///     Ok(ctx.call(render(scene)).queue("video").await?)
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let renderers = ChildWorker::new("render").queue("video").activity(render).processes(2).capacity(4);
///     let app = Antiphon::open("data").workflow(film).child_worker(renderers).start()?;
///     println!("{}", app.run("scene-1", film("sunrise".to_owned())).await?);
///     Ok(())
/// }
/// ```
///
/// The processes are this program once more: `.start()` notices that it runs in one of them and serves there instead of
/// opening the store; it does not return. What `main` does before `.start()` is done by every process. Shared values given
/// by `.state(..)` are made in each.
///
/// A process that dies is started again, with growing waits; its legs are lost with the exit code or the signal on record,
/// and go to another process. When the engine ends, so do they.
#[must_use = "give it to a builder with .child_worker(..)"]
pub struct ChildWorker {
    settings: ChildSettings,
    /// What was chosen instead of `default`.
    queues: BTreeSet<String>,
    bodies: Vec<PendingBody>,
    faults: Vec<OpenError>,
}

impl std::fmt::Debug for ChildWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChildWorker({}, {} activities)", self.settings.name, self.bodies.len())
    }
}

impl ChildWorker {
    /// One process with one place, on the queue `default`. In the record its processes are the workers `name-1`, `name-2`
    /// and so on.
    pub fn new(name: impl Into<String>) -> ChildWorker {
        let mut settings = ChildSettings::new(name, this_program());
        settings.args = std::env::args_os().skip(1).collect();
        let mut worker = ChildWorker { settings, queues: BTreeSet::new(), bodies: Vec::new(), faults: Vec::new() };
        worker.check("worker name", &worker.settings.name.clone());
        worker
    }

    /// An activity that these processes serve. It is served nowhere else, unless it is registered there too.
    pub fn activity<A, H: ActivityHandle<A>>(mut self, handle: H) -> ChildWorker {
        let _ = handle;
        self.bodies.push(Box::new(|states| Arc::new(TypedBody::<H::Definition>::new(states))));
        self
    }

    /// Takes activities from this task queue. Default, if none is named: `default`.
    pub fn queue(mut self, name: impl Into<String>) -> ChildWorker {
        let name = name.into();
        self.check("task queue", &name);
        self.queues.insert(name);
        self
    }

    /// Gives the processes a label that calls may ask for by `.needs(label)`.
    pub fn label(mut self, label: impl Into<String>) -> ChildWorker {
        self.settings.labels.insert(label.into());
        self
    }

    /// So many processes. Default: 1.
    pub fn processes(mut self, count: u32) -> ChildWorker {
        if count == 0 {
            self.fault("processes", "0", "nobody would serve its activities; give at least 1");
        }
        self.settings.processes = count;
        self
    }

    /// So many activities at once in each process. Default: 1, so that a crash costs one leg.
    pub fn capacity(mut self, activities: u32) -> ChildWorker {
        if activities == 0 {
            self.fault("capacity", "0", "no activity could ever run; give at least 1");
        }
        self.settings.capacity = activities;
        self
    }

    /// Starts this command instead of the program that runs. Default: this program with its arguments.
    ///
    /// It must come to a builder with a child worker of the same name and activities.
    pub fn command(
        mut self,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> ChildWorker {
        self.settings.program = program.into();
        self.settings.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Gives the processes a variable, besides those of this process.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> ChildWorker {
        self.settings.env.push((name.into(), value.into()));
        self
    }

    /// Waits at most this long for a process to begin to serve. Default: 30 s.
    pub fn register_within(mut self, longest: Duration) -> ChildWorker {
        self.settings.register_within_ms = self.limit("register_within", longest);
        self
    }

    /// Asks a process this often whether it is there, and kills it if it says nothing for so long after. Default: every
    /// 5 s, 30 s.
    ///
    /// A process that computes answers; one that is frozen does not. A body that hangs is found by its call's deadlines.
    pub fn ping(mut self, every: Duration, within: Duration) -> ChildWorker {
        self.settings.ping_every_ms = self.limit("ping", every);
        self.settings.ping_within_ms = self.limit("ping", within);
        self
    }

    /// Kills a process in which a body does not end within this time of being told to stop (a deadline passed, the run was
    /// cancelled). Its other legs are lost too. Default: 30 s.
    pub fn stop_within(mut self, longest: Duration) -> ChildWorker {
        self.settings.stop_within_ms = Some(self.limit("stop_within", longest));
        self
    }

    /// When the engine stops, kills a process that has not ended within this time of being told to. Default: 5 s.
    pub fn drain_within(mut self, longest: Duration) -> ChildWorker {
        self.settings.drain_within_ms = self.limit("drain_within", longest);
        self
    }

    /// Waits this long before a process that died is started again; the wait doubles up to `longest` with every process
    /// that does not live as long as that. Default: 100 ms, 10 s.
    pub fn restart(mut self, first: Duration, longest: Duration) -> ChildWorker {
        self.settings.restart_first_ms = self.limit("restart", first);
        self.settings.restart_max_ms = self.limit("restart", longest).max(self.settings.restart_first_ms);
        self
    }

    fn limit(&mut self, option: &'static str, limit: Duration) -> u64 {
        if limit.as_millis() == 0 {
            self.fault(option, format!("{limit:?}"), "it would be over before it began; give at least 1 ms");
        }
        u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
    }

    fn check(&mut self, what: &'static str, name: &str) {
        if let Err(error) = IdError::check(what, name) {
            self.faults.push(error.into());
        }
    }

    fn fault(&mut self, option: &'static str, value: impl Into<String>, problem: &'static str) {
        self.faults.push(OpenError::Option { option, value: value.into(), problem });
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Everything that it is, with its code.
    fn finish(self, states: States) -> Result<(ChildSettings, Vec<Arc<dyn ActivityBody>>), OpenError> {
        let ChildWorker { mut settings, queues, bodies, faults } = self;
        if let Some(first) = faults.into_iter().next() {
            return Err(first);
        }
        let bodies = Builder::bodies(bodies, states)?;
        if bodies.is_empty() {
            let problem = "it has no activity, so nothing could ever be given to it; add one with .activity(..)";
            return Err(OpenError::Option { option: "child_worker", value: settings.name, problem });
        }
        if !queues.is_empty() {
            settings.queues = queues;
        }
        settings.activities = bodies.iter().map(|body| body.name().to_owned()).collect();
        Ok((settings, bodies))
    }
}

/// The program that runs. On Linux by a name that stays right when its file is replaced: engine and workers must be of
/// one build.
fn this_program() -> PathBuf {
    let name = PathBuf::from("/proc/self/exe");
    if name.exists() { name } else { std::env::current_exe().unwrap_or(name) }
}

/// Starts the processes of all child workers.
pub(crate) fn start(workers: Vec<ChildWorker>, states: &States) -> Result<Vec<ChildPool>, OpenError> {
    let mut pools = BTreeMap::new();
    for worker in workers {
        let (settings, _) = worker.finish(states.clone())?;
        let name = settings.name.clone();
        if pools.insert(name.clone(), settings).is_some() {
            let problem = "two child workers have this name; give each its own";
            return Err(OpenError::Option { option: "child_worker", value: name, problem });
        }
    }
    Ok(pools.into_values().map(ChildPool::start).collect::<Result<_, _>>()?)
}

/// In a worker process: serves its engine, and ends the process afterwards. Returns only if it cannot.
pub(crate) fn serve_as(name: &str, workers: Vec<ChildWorker>, states: States) -> OpenError {
    let known = workers.iter().map(ChildWorker::name).collect::<Vec<_>>().join(", ");
    let Some(worker) = workers.into_iter().find(|worker| worker.name() == name) else {
        return OpenError::UnknownChildWorker { name: name.to_owned(), known };
    };
    let (settings, bodies) = match worker.finish(states) {
        Ok(finished) => finished,
        Err(error) => return error,
    };
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("antiphon-bodies").build();
    let (link, tokio) = match (SocketLink::from_stdin(), tokio) {
        (Ok(link), Ok(tokio)) => (link, tokio),
        (Err(error), _) | (_, Err(error)) => return LinkError::Io(error).into(),
    };
    let ChildSettings { queues, labels, .. } = settings;
    match serve(&link, Offer { queues, labels, bodies }, tokio.handle().clone()) {
        Ok(served) => finish(served),
        Err(error) => {
            // Not waited for: a body may not end, and this may be inside of another runtime.
            tokio.shutdown_background();
            error.into()
        }
    }
}

/// Whose worker process this is, if it is one.
pub(crate) fn own_name() -> Option<&'static str> {
    worker_of()
}
