//! The keeper's thread: everything that follows durability and need not be fast.

use crate::Config;
use crate::backlog::{FOLD_BYTES, Intake};
use crate::inbox::{Inbox, Message};
use crate::sync::LOOK;
use crate::writer::Progress;
use antiphon_history::{Segment, planted};
use antiphon_recorder::{Anchor, Archive, Checkpoint, Error, Space, Tip};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// How often the files and the free space are looked at when nothing happens.
const IDLE: Duration = LOOK;

impl Keeper {
    /// Folds segments into the archive, writes the anchor, runs checkpoints, watches the files and the free space,
    /// until nobody can commit any more; then folds what is left and writes the anchor a last time.
    pub(crate) fn run(mut self, durable: &Intake, mut tip: Tip) {
        if let Err(error) = self.keep(durable, &mut tip) {
            self.inbox.post(Message::Failed(error));
        }
    }

    fn keep(&mut self, durable: &Intake, tip: &mut Tip) -> Result<(), Error> {
        let fold_every = Duration::from_millis(self.config.archive_every_ms);
        let anchor_every = Duration::from_millis(self.config.anchor_every_ms);
        let mut pending: Vec<Segment> = Vec::new();
        let (mut folded_at, mut anchored_at) = (Instant::now(), Instant::now());
        let mut anchored = tip.id;
        self.watch_space()?;
        loop {
            let left = |every: Duration, since: Instant| every.saturating_sub(since.elapsed());
            let idle = pending.is_empty() && anchored == tip.id;
            if idle {
                durable.wait(IDLE);
            } else {
                // What is not there has no time: a fold without segments, an anchor that stands where it should.
                let fold = (!pending.is_empty()).then(|| left(fold_every, folded_at));
                let anchor = (anchored != tip.id).then(|| left(anchor_every, anchored_at));
                durable.wait_for_batch(fold.into_iter().chain(anchor).min().unwrap_or(fold_every));
            }
            let over = !durable.take(&mut pending);
            if let Some(last) = pending.last() {
                *tip = Tip::of(last);
            }
            let full = pending.iter().map(|segment| segment.body.len()).sum::<usize>() >= FOLD_BYTES;
            if !pending.is_empty() && (over || full || folded_at.elapsed() >= fold_every) {
                self.archive.fold(&pending)?;
                pending.clear();
                folded_at = Instant::now();
                let through = self.archive.watermark().segment;
                // The fold is durable, so the log may let go of what it took over.
                self.progress.prunable.store(through, Ordering::Relaxed);
                self.inbox.post(Message::Archived { through });
                self.checkpoint.run_if_needed()?;
                self.watch_space()?;
            }
            if anchored != tip.id && (over || anchored_at.elapsed() >= anchor_every) {
                self.space.check_in_place()?;
                let ahead = Tip { id: tip.id + 1, ..*tip };
                let at = if planted!("anchor-ahead-of-log") { ahead } else { *tip };
                self.anchor.write(at, self.archive.watermark())?;
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
        self.space.check_in_place()?;
        let full = self.space.is_low()?;
        if self.full.swap(full, Ordering::Relaxed) && !full {
            self.space.restore_ballast()?;
        }
        Ok(())
    }
}
