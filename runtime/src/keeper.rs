//! The keeper's thread: everything that follows durability and need not be fast.

use crate::Config;
use crate::inbox::{Inbox, Message};
use crate::writer::Progress;
use antiphon_history::Segment;
use antiphon_recorder::{Anchor, Archive, Checkpoint, Error, Space, Tip};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

pub(crate) struct Keeper {
    pub(crate) archive: Box<dyn Archive>,
    pub(crate) anchor: Box<dyn Anchor>,
    pub(crate) checkpoint: Box<dyn Checkpoint>,
    pub(crate) space: Box<dyn Space>,
    pub(crate) config: Config,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) progress: Arc<Progress>,
    /// Set while the volume has too little free space for new runs.
    pub(crate) full: Arc<AtomicBool>,
}

/// Most bytes of segments folded in one transaction: bounds both its length and the memory of a backlog.
const FOLD_BYTES: usize = 8 * 1024 * 1024;

impl Keeper {
    /// Folds segments into the archive, writes the anchor, runs checkpoints and watches free space, until the writer is
    /// gone; then folds what is left and writes the anchor a last time.
    pub(crate) fn run(mut self, durable: &Receiver<Segment>, mut tip: Tip) {
        if let Err(error) = self.keep(durable, &mut tip) {
            self.inbox.post(Message::Failed(error));
        }
    }

    fn keep(&mut self, durable: &Receiver<Segment>, tip: &mut Tip) -> Result<(), Error> {
        let fold_every = Duration::from_millis(self.config.archive_every_ms);
        let anchor_every = Duration::from_millis(self.config.anchor_every_ms);
        let mut pending: Vec<Segment> = Vec::new();
        let mut pending_bytes = 0;
        let (mut folded_at, mut anchored_at) = (Instant::now(), Instant::now());
        let mut anchored = tip.id;
        self.watch_space()?;
        loop {
            let idle = pending.is_empty() && anchored == tip.id;
            let received = if idle {
                durable.recv_timeout(Duration::from_secs(1))
            } else {
                durable.recv_timeout(anchor_every.min(fold_every))
            };
            let over = matches!(received, Err(RecvTimeoutError::Disconnected));
            for segment in received.ok().into_iter().chain(durable.try_iter()) {
                *tip = Tip { id: segment.id, digest: segment.digest, at: segment.at };
                pending_bytes += segment.body.len();
                pending.push(segment);
                if pending_bytes >= FOLD_BYTES {
                    break;
                }
            }
            if !pending.is_empty() && (over || pending_bytes >= FOLD_BYTES || folded_at.elapsed() >= fold_every) {
                self.archive.fold(&pending)?;
                pending.clear();
                pending_bytes = 0;
                folded_at = Instant::now();
                let through = self.archive.watermark().segment;
                // The fold is durable, so the log may let go of what it took over.
                self.progress.prunable.store(through, Ordering::Relaxed);
                self.inbox.post(Message::Archived { through });
                self.checkpoint.run_if_needed()?;
                self.watch_space()?;
            }
            if anchored != tip.id && (over || anchored_at.elapsed() >= anchor_every) {
                self.anchor.write(*tip, self.archive.watermark())?;
                anchored = tip.id;
                anchored_at = Instant::now();
            }
            if idle {
                self.watch_space()?;
            }
            if over && pending.is_empty() {
                return Ok(());
            }
        }
    }

    fn watch_space(&mut self) -> Result<(), Error> {
        let full = self.space.is_low()?;
        if self.full.swap(full, Ordering::Relaxed) && !full {
            self.space.restore_ballast()?;
        }
        Ok(())
    }
}
