//! Makes batches durable: one commit each, effects behind it.

use crate::backlog::Feed;
use crate::inbox::{Inbox, Message};
use crate::release::{self, Release};
use crate::sync::{Mutex, MutexGuard, mpsc::Receiver};
use antiphon_history::{Bytes, Segment, Timestamp, planted};
use antiphon_recorder::{Error, Log};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

/// One batch on its way to the log.
pub(crate) struct Work {
    /// An encoded [`antiphon_history::SegmentBody`].
    pub(crate) segment: Option<Bytes>,
    pub(crate) at: Timestamp,
    pub(crate) releases: Vec<Release>,
}

/// What the writer shares with the other threads of its partition.
#[derive(Default)]
pub(crate) struct Progress {
    /// The archive is durable up to this segment: the log may drop it.
    pub(crate) prunable: AtomicU64,
    /// Commits of the log since the store was opened.
    pub(crate) syncs: AtomicU64,
}

/// Why a batch could not be dealt with.
pub(crate) enum Halt {
    /// The commit failed. What the log holds now is unknown, and nothing of the batch has left.
    Failed(Error),
    /// The keeper is gone; it has posted why, or panicked.
    KeeperGone,
}

/// The log's only writer.
///
/// Two threads use it, never at once: its own, which commits while the partition's thread forms the next batch, and the
/// partition's, for batches so small that a hand-over would cost as much as it saves.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Mutex<State>>);

struct State {
    log: Box<dyn Log>,
    durable: Feed,
    inbox: Arc<Inbox>,
    progress: Arc<Progress>,
}

impl Writer {
    pub(crate) fn new(log: Box<dyn Log>, durable: Feed, inbox: Arc<Inbox>, progress: Arc<Progress>) -> Writer {
        Writer(Arc::new(Mutex::new(State { log, durable, inbox, progress })))
    }

    /// Commits a batch, then lets its effects go (invariant 1).
    pub(crate) fn write(&self, Work { segment, at, mut releases }: Work) -> Result<(), Halt> {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(body) = segment else {
            release::all(releases, &state.inbox);
            return Ok(());
        };
        let tip = state.log.tip();
        let segment = Segment::seal(tip.digest, tip.id + 1, at, body);
        state.log.prune(state.progress.prunable.load(Ordering::Relaxed));
        if planted!("acknowledge-before-durable") {
            release::all(std::mem::take(&mut releases), &state.inbox);
        }
        // On failure the batch's callers are told by their dropped senders, and everything is built again from what is
        // found on opening.
        let appended = state.log.append(&segment);
        if appended.is_err() && planted!("released-though-failed") {
            release::all(std::mem::take(&mut releases), &state.inbox);
        }
        appended.map_err(Halt::Failed)?;
        state.progress.syncs.store(state.log.syncs(), Ordering::Relaxed);
        release::all(releases, &state.inbox);
        // The keeper is behind by its bound: waiting here makes callers wait, which is the back-pressure we want.
        state.durable.push(segment).map_err(|_| Halt::KeeperGone)
    }

    /// The writer's thread: writes batches until the sender is gone or one fails.
    pub(crate) fn run(&self, work: &Receiver<Work>, inbox: &Inbox) {
        for work in work {
            match self.write(work) {
                Ok(()) => inbox.post(Message::Durable),
                Err(Halt::Failed(error)) => return inbox.post(Message::Failed(error)),
                Err(Halt::KeeperGone) => return,
            }
        }
    }

    // A thread that panicked while writing leaves the log's own state to say so: it refuses what it is not sure of.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
