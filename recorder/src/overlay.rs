//! A reader that shows a batch on top of another reader: how a snapshot sees what is durable but not yet archived.

use crate::fold::{Batch, FoldedRun};
use crate::{Error, Filter, Reader};
use antiphon_history::{
    Bytes, CatalogueRow, Digest, HistoryFile, RunId, RunKey, RunStatus, Timestamp, WorkflowKey, payload_digest, planted,
};
use std::collections::BTreeMap;

/// `below` must not move while this lives: it is a frozen archive, or one inside a read transaction.
pub(crate) struct Overlay {
    below: Box<dyn Reader>,
    batch: Batch,
}

impl Overlay {
    pub(crate) fn new(below: Box<dyn Reader>, batch: Batch) -> Overlay {
        Overlay { below, batch }
    }

    /// The runs of the batch.
    fn rows(&self) -> impl DoubleEndedIterator<Item = &CatalogueRow> {
        self.runs().map(|run| &run.row)
    }

    fn runs(&self) -> impl DoubleEndedIterator<Item = &FoldedRun> {
        self.batch.runs.iter().filter(|run| !run.row.key.is_entity())
    }

    /// Merges `below`'s list, from which everything that the batch has is taken out, with the batch's own.
    fn merge_due(
        &self,
        below: Vec<(Timestamp, RunKey)>,
        wanted: impl Fn(Timestamp) -> bool,
        limit: usize,
    ) -> Vec<(Timestamp, RunKey)> {
        let mut merged: Vec<_> = below.into_iter().filter(|(_, run)| self.batch.runs.get(*run).is_none()).collect();
        merged.extend(self.rows().filter_map(|row| row.due().filter(|due| wanted(*due)).map(|due| (due, row.key))));
        merged.sort_unstable();
        merged.truncate(limit);
        merged
    }

    /// Enough of `below` that `limit` rows remain when all that the batch has are taken out.
    fn limit_below(&self, limit: usize) -> usize {
        limit.saturating_add(self.batch.runs.len())
    }
}

impl Reader for Overlay {
    fn find(&mut self, workflow: &WorkflowKey) -> Result<Option<CatalogueRow>, Error> {
        let newest = self.rows().rev().find(|row| row.workflow == *workflow).cloned();
        let below = self.below.find(workflow)?;
        // A run of the batch replaces its own older row; otherwise the greater key is the newer run.
        Ok(match (newest, below) {
            (Some(ours), Some(below)) if below.key > ours.key => Some(below),
            (Some(ours), _) => Some(ours),
            (None, below) => below,
        })
    }

    fn row(&mut self, run: RunKey) -> Result<Option<CatalogueRow>, Error> {
        match self.batch.runs.get(run) {
            Some(folded) => Ok(Some(folded.row.clone())),
            None => self.below.row(run),
        }
    }

    fn row_by_id(&mut self, run: RunId) -> Result<Option<CatalogueRow>, Error> {
        let ours = self.rows().find(|row| row.run_id == run).cloned();
        if ours.is_some() { Ok(ours) } else { self.below.row_by_id(run) }
    }

    fn history(&mut self, run: RunKey) -> Result<Option<HistoryFile>, Error> {
        let below = self.below.history(run)?;
        let Some(FoldedRun { packed, .. }) = self.batch.runs.get(run) else { return Ok(below) };
        let mut history = below.unwrap_or_default();
        history.records.extend(packed.records().map(Bytes::from));
        for digest in packed.payloads() {
            if !history.payloads.contains_key(digest) {
                let bytes = match self.batch.payloads.get(digest) {
                    Some(bytes) => Some(bytes.clone()),
                    None => self.below.payload(*digest)?,
                };
                let bytes = bytes.ok_or_else(|| Error::damaged_run(run, format!("payload {digest:?} is missing")))?;
                history.payloads.insert(*digest, bytes);
            }
        }
        Ok(Some(history))
    }

    fn payload(&mut self, digest: Digest) -> Result<Option<Bytes>, Error> {
        match self.batch.payloads.get(&digest) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.below.payload(digest),
        }
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<CatalogueRow>, Error> {
        let below = self.below.list(&Filter { limit: self.limit_below(filter.limit), ..filter.clone() })?;
        let mut rows: Vec<_> = below.into_iter().filter(|row| self.batch.runs.get(row.key).is_none()).collect();
        rows.extend(self.rows().filter(|row| filter.matches(row)).cloned());
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.key));
        rows.truncate(filter.limit);
        Ok(rows)
    }

    fn count_by_status(&mut self) -> Result<BTreeMap<RunStatus, u64>, Error> {
        let mut counts = self.below.count_by_status()?;
        for run in self.runs() {
            if let Some(before) = run.before {
                take_one(&mut counts, &before);
            }
            add_one(&mut counts, run.row.status);
        }
        Ok(counts)
    }

    fn count_open_by_type(&mut self) -> Result<BTreeMap<String, u64>, Error> {
        let mut counts = self.below.count_open_by_type()?;
        for run in self.runs() {
            if run.before.is_some_and(|before| !before.is_closed()) {
                take_one(&mut counts, &run.row.workflow_type);
            }
            if !run.row.status.is_closed() {
                add_one(&mut counts, run.row.workflow_type.clone());
            }
        }
        Ok(counts)
    }

    fn needs_loading(&mut self) -> Result<Vec<RunKey>, Error> {
        let mut runs = self.below.needs_loading()?;
        runs.retain(|run| self.batch.runs.get(*run).is_none());
        runs.extend(self.rows().filter(|row| row.needs_loading()).map(|row| row.key));
        runs.sort_unstable();
        Ok(runs)
    }

    fn due_before(&mut self, at: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        let below = self.below.due_before(at, self.limit_below(limit))?;
        Ok(self.merge_due(below, |due| due <= at, limit))
    }

    fn due_after(&mut self, after: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        let below = self.below.due_after(after, self.limit_below(limit))?;
        Ok(self.merge_due(below, |due| due > after, limit))
    }

    fn entities(&mut self) -> Result<Vec<CatalogueRow>, Error> {
        let mut rows = self.below.entities()?;
        rows.retain(|row| self.batch.runs.get(row.key).is_none());
        rows.extend(self.batch.runs.iter().filter(|run| run.row.key.is_entity()).map(|run| run.row.clone()));
        rows.sort_unstable_by_key(|row| row.key);
        Ok(rows)
    }

    fn last_run_key(&mut self) -> Result<u64, Error> {
        let last = self.rows().next_back().map_or(0, |row| row.key.0);
        Ok(last.max(self.below.last_run_key()?))
    }
}

/// What is below may be counted wrongly, and then so is this; but it does not overflow.
fn add_one<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Checks what is about to be handed out as one run's history: the chain ends at the row's tip with the row's number
/// of records, and every payload is what its name says.
pub(crate) fn check_history(row: &CatalogueRow, history: &HistoryFile) -> Result<(), Error> {
    let is_chained = history.records.len() as u64 == row.records && history.tip() == row.tip;
    if !is_chained && !planted!("history-chain-not-checked") {
        return Err(Error::damaged_run(row.key, "its records are not those that its row was folded from"));
    }
    match history.payloads.iter().find(|(digest, bytes)| payload_digest(bytes) != **digest) {
        Some((digest, _)) if !planted!("payload-digest-not-checked") => {
            Err(Error::damaged_run(row.key, format!("payload {digest:?} has other bytes")))
        }
        _ => Ok(()),
    }
}
