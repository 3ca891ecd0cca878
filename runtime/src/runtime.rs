use crate::inbox::{Inbox, Message};
use crate::shell::{Ending, Shell};
use crate::{Clock, Config, Handle, StartError, StoreSource, Worker};
use antiphon_engine::Programs;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

/// A running engine: owns its threads. Dropping it stops the engine as [`Runtime::stop`] does.
pub struct Runtime {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

impl Runtime {
    /// Opens the store, brings back the runs that need care and starts the threads. Blocks until that is done.
    ///
    /// Errors: [`StartError`]; the store is as it was.
    pub fn start(
        source: Arc<dyn StoreSource>,
        programs: Programs,
        workers: Vec<Arc<dyn Worker>>,
        clock: Arc<dyn Clock>,
        config: Config,
        allow_unknown_workflows: bool,
    ) -> Result<Runtime, StartError> {
        let inbox = Arc::new(Inbox::default());
        let full = Arc::new(AtomicBool::new(false));
        let ending = Ending::default();
        let handle = Handle {
            ending: ending.clone(),
            inbox: Arc::clone(&inbox),
            config,
            full: Arc::clone(&full),
            source: Arc::clone(&source),
            clock: Arc::clone(&clock),
        };
        let workers: BTreeMap<String, Arc<dyn Worker>> =
            workers.into_iter().map(|worker| (worker.spec().name, worker)).collect();
        let shell = Shell { source, programs, config, clock, inbox, full, ending, workers, allow_unknown_workflows };
        let (started, outcome) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("antiphon-partition".to_owned())
            .spawn(move || shell.run(started))
            .map_err(StartError::Thread)?;
        match outcome.recv() {
            Ok(Ok(())) => Ok(Runtime { handle, thread: Some(thread) }),
            Ok(Err(error)) => {
                // The thread is on its way out; the store's lock is free when it has ended.
                let _ = thread.join();
                Err(error)
            }
            Err(_) => Err(StartError::Thread(std::io::Error::other("the partition's thread ended before it began"))),
        }
    }

    /// How callers reach it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops taking requests, makes everything decided durable, folds it into the archive, writes the anchor and frees
    /// the store. Activities that run are stopped at their next await; at the next start their legs count as lost.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.handle.inbox.post(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.halt();
    }
}
