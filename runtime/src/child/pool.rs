use super::linked::Linked;
use super::minder::mind;
use super::settings::ChildSettings;
use crate::{Handle, Worker};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

/// Worker processes of one kind, each a worker of the engine. Dropping it tells them to leave and waits for their end.
#[derive(Debug)]
pub struct ChildPool {
    workers: Vec<Arc<Linked>>,
    threads: Vec<JoinHandle<()>>,
}

/// A0053. A worker process did not come to serve when its pool was started.
#[derive(Debug, thiserror::Error)]
#[error(
    "worker process {name} did not start: {how}; run {} by hand to see why, its error output is that of this process [A0053]",
    program.display()
)]
pub struct ChildError {
    /// The worker's name.
    pub name: String,
    /// What was started.
    pub program: PathBuf,
    /// What happened to it.
    pub how: String,
}

impl ChildPool {
    /// Starts the processes and waits until each has registered, at most `register_within_ms`.
    ///
    /// Give [`ChildPool::workers`] to the engine and then [`ChildPool::attach`] the engine to the pool. From then on a
    /// process that dies is reported and started again.
    ///
    /// Errors: [`ChildError`] of the first process that did not come; the others are told to leave.
    pub fn start(settings: ChildSettings) -> Result<ChildPool, ChildError> {
        let settings = Arc::new(settings);
        let mut pool = ChildPool { workers: Vec::new(), threads: Vec::new() };
        let mut starts = Vec::new();
        for number in 1..=settings.processes.max(1) {
            let worker = Arc::new(Linked::new(Arc::clone(&settings), number));
            let (first, started) = sync_channel(1);
            let minded = Arc::clone(&worker);
            let failed = |how: String| ChildError { name: worker.name(), program: settings.program.clone(), how };
            let thread = std::thread::Builder::new()
                .name("antiphon-minder".to_owned())
                .spawn(move || mind(&minded, first))
                .map_err(|error| failed(error.to_string()))?;
            pool.threads.push(thread);
            pool.workers.push(worker);
            starts.push(started);
        }
        for (started, worker) in starts.into_iter().zip(&pool.workers) {
            // A minder that says nothing has panicked.
            let silent = |_| ChildError {
                name: worker.name(),
                program: settings.program.clone(),
                how: "its thread ended before it began".to_owned(),
            };
            started.recv().map_err(silent)??;
        }
        Ok(pool)
    }

    /// The workers, for the start of an engine.
    pub fn workers(&self) -> Vec<Arc<dyn Worker>> {
        self.workers.iter().map(|worker| Arc::clone(worker) as Arc<dyn Worker>).collect()
    }

    /// Makes the engine known that the workers were given to.
    pub fn attach(&self, handle: &Handle) {
        self.workers.iter().for_each(|worker| worker.attach(&handle.inbox));
    }
}

impl Drop for ChildPool {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.stop());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
