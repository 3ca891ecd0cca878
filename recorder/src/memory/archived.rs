use super::{MemoryStore, fold};
use crate::overlay::check_history;
use crate::{Error, Filter, Reader, Watermark};
use antiphon_history::{
    Bytes, CatalogueRow, Digest, HistoryFile, RunId, RunKey, RunStatus, Segment, Timestamp, WorkflowKey,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The archive's contents.
#[derive(Clone)]
pub(super) struct Archived {
    runs: BTreeMap<RunKey, ArchivedRun>,
    newest: BTreeMap<WorkflowKey, RunKey>,
    payloads: BTreeMap<Digest, Bytes>,
    pub(super) watermark: Watermark,
}

#[derive(Clone)]
struct ArchivedRun {
    row: CatalogueRow,
    records: Vec<Bytes>,
    payloads: Vec<Digest>,
}

impl Default for Archived {
    fn default() -> Archived {
        Archived {
            runs: BTreeMap::new(),
            newest: BTreeMap::new(),
            payloads: BTreeMap::new(),
            watermark: Watermark::START,
        }
    }
}

impl Archived {
    pub(super) fn row(&self, run: RunKey) -> Option<&CatalogueRow> {
        self.runs.get(&run).map(|run| &run.row)
    }

    pub(super) fn fold(&mut self, segments: &[Segment]) -> Result<Watermark, Error> {
        if segments.is_empty() {
            return Ok(self.watermark);
        }
        let batch = fold::fold(self.watermark, segments, &mut |run| Ok(self.row(run).cloned()))?;
        for folded in batch.runs.into_met() {
            let key = folded.row.key;
            if !key.is_entity() {
                let newest = self.newest.entry(folded.row.workflow.clone()).or_insert(key);
                *newest = key.max(*newest);
            }
            let run = self.runs.entry(key).or_insert_with(|| ArchivedRun {
                row: folded.row.clone(),
                records: Vec::new(),
                payloads: Vec::new(),
            });
            debug_assert_eq!(
                run.records.len() as u64,
                folded.records_before,
                "a batch begins where the last one ended"
            );
            run.row = folded.row;
            run.records.extend(folded.packed.records().map(Bytes::from));
            run.payloads.extend(folded.packed.payloads());
        }
        self.payloads.extend(batch.payloads);
        self.watermark = batch.watermark;
        Ok(self.watermark)
    }

    fn rows(&self) -> impl DoubleEndedIterator<Item = &CatalogueRow> {
        self.runs.range(..RunKey::of_entity(0)).map(|(_, run)| &run.row)
    }

    fn due(&self, wanted: impl Fn(Timestamp) -> bool, limit: usize) -> Vec<(Timestamp, RunKey)> {
        let mut due: Vec<_> =
            self.rows().filter_map(|row| row.due().filter(|due| wanted(*due)).map(|due| (due, row.key))).collect();
        due.sort_unstable();
        due.truncate(limit);
        due
    }

    fn history(&self, run: RunKey) -> Result<Option<HistoryFile>, Error> {
        let Some(found) = self.runs.get(&run) else { return Ok(None) };
        let mut history = HistoryFile { records: found.records.clone(), payloads: BTreeMap::new() };
        for digest in &found.payloads {
            let bytes = self.payloads.get(digest);
            let bytes = bytes.ok_or_else(|| Error::damaged_run(run, format!("payload {digest:?} is missing")))?;
            history.payloads.insert(*digest, bytes.clone());
        }
        check_history(&found.row, &history)?;
        Ok(Some(history))
    }
}

/// Reads the archive as it is at each call, or as it was at one moment.
pub(super) enum ArchivedReader {
    Live(MemoryStore),
    Frozen(Arc<Archived>),
}

impl ArchivedReader {
    pub(super) fn live(store: MemoryStore) -> ArchivedReader {
        ArchivedReader::Live(store)
    }

    pub(super) fn frozen(archive: Arc<Archived>) -> ArchivedReader {
        ArchivedReader::Frozen(archive)
    }

    fn archived(&self) -> Arc<Archived> {
        match self {
            ArchivedReader::Live(store) => Arc::clone(&store.lock().archive),
            ArchivedReader::Frozen(archive) => Arc::clone(archive),
        }
    }
}

impl Reader for ArchivedReader {
    fn find(&mut self, workflow: &WorkflowKey) -> Result<Option<CatalogueRow>, Error> {
        let archived = self.archived();
        Ok(archived.newest.get(workflow).and_then(|run| archived.row(*run)).cloned())
    }

    fn row(&mut self, run: RunKey) -> Result<Option<CatalogueRow>, Error> {
        Ok(self.archived().row(run).cloned())
    }

    fn row_by_id(&mut self, run: RunId) -> Result<Option<CatalogueRow>, Error> {
        Ok(self.archived().rows().find(|row| row.run_id == run).cloned())
    }

    fn history(&mut self, run: RunKey) -> Result<Option<HistoryFile>, Error> {
        self.archived().history(run)
    }

    fn payload(&mut self, digest: Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.archived().payloads.get(&digest).cloned())
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<CatalogueRow>, Error> {
        Ok(self.archived().rows().rev().filter(|row| filter.matches(row)).take(filter.limit).cloned().collect())
    }

    fn count_by_status(&mut self) -> Result<BTreeMap<RunStatus, u64>, Error> {
        let mut counts = BTreeMap::new();
        self.archived().rows().for_each(|row| *counts.entry(row.status).or_default() += 1);
        Ok(counts)
    }

    fn count_open_by_type(&mut self) -> Result<BTreeMap<String, u64>, Error> {
        let mut counts = BTreeMap::new();
        let archived = self.archived();
        let open = archived.rows().filter(|row| !row.status.is_closed());
        open.for_each(|row| *counts.entry(row.workflow_type.clone()).or_default() += 1);
        Ok(counts)
    }

    fn needs_loading(&mut self) -> Result<Vec<RunKey>, Error> {
        Ok(self.archived().rows().filter(|row| row.needs_loading()).map(|row| row.key).collect())
    }

    fn due_before(&mut self, at: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        Ok(self.archived().due(|due| due <= at, limit))
    }

    fn due_after(&mut self, after: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        Ok(self.archived().due(|due| due > after, limit))
    }

    fn last_run_key(&mut self) -> Result<u64, Error> {
        Ok(self.archived().rows().next_back().map_or(0, |row| row.key.0))
    }

    fn entities(&mut self) -> Result<Vec<CatalogueRow>, Error> {
        Ok(self.archived().runs.range(RunKey::of_entity(0)..).map(|(_, run)| run.row.clone()).collect())
    }
}
