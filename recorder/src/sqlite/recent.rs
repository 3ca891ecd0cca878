use crate::fold::FoldedRun;
use antiphon_history::{CatalogueRow, RunKey};
use std::collections::HashMap;

/// Rows of open runs as the last fold and the one before it left them, each with its last block: a run that goes on is in
/// the next batch again, and need not be read and decoded for it. Bounded by what two batches hold.
#[derive(Default)]
pub(super) struct RecentRows {
    last: HashMap<RunKey, (CatalogueRow, u64)>,
    before: HashMap<RunKey, (CatalogueRow, u64)>,
}

impl RecentRows {
    /// Takes a run's row out.
    pub(super) fn take(&mut self, run: RunKey) -> Option<(CatalogueRow, u64)> {
        self.last.remove(&run).or_else(|| self.before.remove(&run))
    }

    /// Keeps what a batch left behind instead of what the one before the last did.
    pub(super) fn keep(&mut self, runs: impl Iterator<Item = (FoldedRun, u64)>) {
        self.before = std::mem::take(&mut self.last);
        let open = runs.filter(|(run, _)| !run.row.status.is_closed());
        self.last = open.map(|(run, block)| (run.row.key, (run.row, block))).collect();
    }
}
