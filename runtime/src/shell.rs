//! The partition's thread over all openings of its store: opens it, serves, and opens it again after a failure.

use crate::inbox::{Inbox, Message, Wanted};
use crate::session::{Left, Session};
use crate::{Clock, Config, StartError, StoreSource, Worker};
use antiphon_engine::Programs;
use antiphon_recorder::ErrorKind;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Everything that outlives a store: it is opened again after a failure.
pub(crate) struct Shell {
    pub(crate) source: Arc<dyn StoreSource>,
    pub(crate) programs: Programs,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) ending: Ending,
    pub(crate) workers: BTreeMap<String, Arc<dyn Worker>>,
    pub(crate) allow_unknown_workflows: bool,
}

/// Shuts the inbox when dropped. Dropping what is left in it tells its callers; from then on the closed inbox does.
struct Door(Arc<Inbox>);

impl Drop for Door {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

/// Why an engine ended by itself, for everybody who asks it something afterwards.
#[derive(Clone, Default)]
pub(crate) struct Ending(Arc<OnceLock<Arc<StartError>>>);

impl Ending {
    fn set(&self, error: StartError) {
        // The first cause is the one that counts.
        let _ = self.0.set(Arc::new(error));
    }

    pub(crate) fn get(&self) -> Option<Arc<StartError>> {
        self.0.get().cloned()
    }
}

impl Shell {
    /// Runs until it is stopped. `started` learns how the first opening went; later failures are retried, unless they
    /// say that the store is damaged or taken: then the thread ends and every request is told that the engine stopped.
    pub(crate) fn run(mut self, started: SyncSender<Result<(), StartError>>) {
        // However this thread ends, its door is shut behind it: callers are told instead of waiting for ever.
        let _door = Door(Arc::clone(&self.inbox));
        let mut started = Some(started);
        let first_wait_ms = self.config.reopen_first_ms;
        let mut wait_ms = first_wait_ms;
        loop {
            let failure = match Session::open(&mut self) {
                Ok(session) => {
                    wait_ms = first_wait_ms;
                    tracing::info!(target: "antiphon::store", "opened");
                    if let Some(started) = started.take() {
                        let _ = started.send(Ok(()));
                    }
                    match session.run() {
                        Left::Stopped => break,
                        Left::Failed(error) => Some(StartError::Store(error)),
                        Left::WriterGone => None,
                    }
                }
                Err(error) => {
                    if let Some(started) = started.take() {
                        let _ = started.send(Err(error));
                        break;
                    }
                    Some(error)
                }
            };
            match &failure {
                Some(error) => tracing::error!(target: "antiphon::store", error = %error, "failed"),
                None => tracing::error!(target: "antiphon::store", error = "its writer ended", "failed"),
            }
            match failure {
                Some(StartError::Store(error)) if error.kind() == ErrorKind::Full => self.source.release_ballast(),
                // Nothing that waiting could mend, and going on could do harm.
                Some(error) if is_final(&error) => {
                    self.ending.set(error);
                    break;
                }
                _ => {}
            }
            if self.refuse_for(wait_ms) {
                break;
            }
            wait_ms = (wait_ms * 2).min(self.config.reopen_max_ms);
        }
    }

    /// Waits before the store is opened again. Requests that come meanwhile are dropped, which tells their callers to
    /// repeat them. True if the wait ended because the engine is to stop.
    fn refuse_for(&mut self, wait_ms: u64) -> bool {
        let until = std::time::Instant::now() + Duration::from_millis(wait_ms);
        let mut messages = Vec::new();
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return false;
            }
            self.inbox.take(&mut messages, Wanted::All, Some(left));
            for message in messages.drain(..) {
                match message {
                    Message::Stop => return true,
                    Message::WorkerJoined(worker) => {
                        self.workers.insert(worker.spec().name, worker);
                    }
                    Message::WorkerLeft { name } | Message::WorkerDied { name, .. } => {
                        self.workers.remove(&name);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Whether a failure of a store that was open before stays, however often it is opened again.
fn is_final(error: &StartError) -> bool {
    match error {
        StartError::Store(error) => matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Fenced),
        StartError::Load(_) | StartError::MissingWorkflows { .. } => true,
        StartError::Thread(_) | StartError::Random(_) => false,
    }
}
