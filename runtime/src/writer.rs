//! The writer's thread: one commit per batch, effects behind it.

use crate::inbox::{Inbox, Message};
use crate::release::Release;
use antiphon_history::{Bytes, Segment, Timestamp};
use antiphon_recorder::Log;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

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

/// Writes batches until the sender is gone or a commit fails.
pub(crate) fn run(
    mut log: Box<dyn Log>,
    work: &Receiver<Work>,
    durable: &SyncSender<Segment>,
    inbox: &Arc<Inbox>,
    progress: &Progress,
) {
    for Work { segment, at, releases } in work {
        if let Some(body) = segment {
            let tip = log.tip();
            let segment = Segment::seal(tip.digest, tip.id + 1, at, body);
            log.prune(progress.prunable.load(Ordering::Relaxed));
            if let Err(error) = log.append(&segment) {
                // What the log holds now is unknown. The batch's callers are told so by their dropped senders, and
                // everything is built again from what is found on opening. Nothing of this batch leaves.
                return inbox.post(Message::Failed(error));
            }
            progress.syncs.store(log.syncs(), Ordering::Relaxed);
            releases.into_iter().for_each(|release| release.carry_out(inbox));
            inbox.post(Message::Durable);
            // The keeper is behind by its bound: waiting here makes callers wait, which is the back-pressure we want.
            if durable.send(segment).is_err() {
                return;
            }
        } else {
            releases.into_iter().for_each(|release| release.carry_out(inbox));
            inbox.post(Message::Durable);
        }
    }
}
