//! What a world keeps its segments in: a light model, or a real store with its threads' work done inline.

use antiphon_history::{
    Bytes, CatalogueRow, Digest, Glance, HistoryFile, RunKey, SegmentParts, Timestamp, WorkflowKey,
};
use antiphon_recorder::Error;
use std::collections::BTreeMap;

/// Log and archive of one life.
pub(crate) trait Keep {
    /// Makes a segment durable.
    fn append(&mut self, body: &Bytes, at: Timestamp) -> Result<(), Error>;
    /// Folds everything durable into the archive; returns how far it is.
    fn fold(&mut self) -> Result<u64, Error>;
    /// The newest archived run of a workflow id.
    fn find(&mut self, workflow: &WorkflowKey) -> Result<Option<RunKey>, Error>;
    /// An archived history.
    fn history(&mut self, run: RunKey) -> Result<Option<HistoryFile>, Error>;
    /// The runs that a start must load.
    fn needs_loading(&mut self) -> Result<Vec<RunKey>, Error>;
    /// Runs whose earliest timer is due later than `after`.
    fn due_after(&mut self, after: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error>;
    /// The rows of all entities.
    fn entities(&mut self) -> Result<Vec<CatalogueRow>, Error>;
    /// The greatest run key.
    fn last_run(&mut self) -> Result<u64, Error>;
    /// The last segment's number and time.
    fn tip(&self) -> (u64, Timestamp);
    /// The process dies and the next one opens the store. `hard`: nothing was closed.
    fn reopen(&mut self, hard: bool) -> Result<(), Error>;
    /// Whether what readers see is what follows from these histories alone; what differs if not.
    fn compare(&mut self, histories: &BTreeMap<RunKey, HistoryFile>) -> Result<(), String>;
}

/// The model: what the store does, without its files, chain and portions.
#[derive(Default)]
pub(crate) struct Model {
    tail: Vec<Bytes>,
    tip: (u64, Timestamp),
    runs: BTreeMap<RunKey, Kept>,
    newest: BTreeMap<WorkflowKey, RunKey>,
    payloads: BTreeMap<Digest, Bytes>,
    glance: Glance,
}

struct Kept {
    row: CatalogueRow,
    records: Vec<Bytes>,
}

impl Model {
    fn fold_one(&mut self, body: &Bytes) -> Result<(), String> {
        let mut parts = SegmentParts::new(body).map_err(|error| error.to_string())?;
        while let Some(bytes) = parts.next_record().map_err(|error| error.to_string())? {
            self.glance.read(bytes).map_err(|error| error.to_string())?;
            let key = self.glance.run();
            if let Some(kept) = self.runs.get_mut(&key) {
                kept.row.apply_at_a_glance(&self.glance, bytes).map_err(|error| error.to_string())?;
                kept.records.push(bytes.into());
                continue;
            }
            let row = CatalogueRow::begin_at_a_glance(&self.glance, bytes).map_err(|error| error.to_string())?;
            self.newest.insert(row.workflow.clone(), key);
            self.runs.insert(key, Kept { row, records: vec![bytes.into()] });
        }
        while let Some((digest, bytes)) = parts.next_payload().map_err(|error| error.to_string())? {
            self.payloads.insert(digest, bytes.into());
        }
        Ok(())
    }
}

impl Keep for Model {
    fn append(&mut self, body: &Bytes, at: Timestamp) -> Result<(), Error> {
        self.tail.push(body.clone());
        self.tip = (self.tip.0 + 1, at);
        Ok(())
    }

    fn fold(&mut self) -> Result<u64, Error> {
        for body in std::mem::take(&mut self.tail) {
            self.fold_one(&body).map_err(|problem| Error::LogDamaged { segment: Some(self.tip.0), problem })?;
        }
        Ok(self.tip.0)
    }

    fn find(&mut self, workflow: &WorkflowKey) -> Result<Option<RunKey>, Error> {
        Ok(self.newest.get(workflow).copied())
    }

    fn history(&mut self, run: RunKey) -> Result<Option<HistoryFile>, Error> {
        let payloads = || self.payloads.clone();
        Ok(self.runs.get(&run).map(|kept| HistoryFile { records: kept.records.clone(), payloads: payloads() }))
    }

    fn needs_loading(&mut self) -> Result<Vec<RunKey>, Error> {
        Ok(self.runs.iter().filter(|(_, kept)| kept.row.needs_loading()).map(|(key, _)| *key).collect())
    }

    fn due_after(&mut self, after: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        let due = self.runs.iter().filter_map(|(key, kept)| Some((kept.row.due()?, *key)));
        let mut due: Vec<_> = due.filter(|(due, _)| *due > after).collect();
        due.sort_unstable();
        due.truncate(limit);
        Ok(due)
    }

    fn last_run(&mut self) -> Result<u64, Error> {
        Ok(self.runs.range(..RunKey::of_entity(0)).next_back().map_or(0, |(run, _)| run.0))
    }

    fn entities(&mut self) -> Result<Vec<CatalogueRow>, Error> {
        Ok(self.runs.range(RunKey::of_entity(0)..).map(|(_, kept)| kept.row.clone()).collect())
    }

    fn tip(&self) -> (u64, Timestamp) {
        self.tip
    }

    fn reopen(&mut self, _hard: bool) -> Result<(), Error> {
        self.fold().map(|_| ())
    }

    fn compare(&mut self, histories: &BTreeMap<RunKey, HistoryFile>) -> Result<(), String> {
        self.fold().map_err(|error| error.to_string())?;
        if !self.runs.keys().eq(histories.keys()) {
            return Err("other runs are archived than were recorded".to_owned());
        }
        for (key, kept) in &self.runs {
            let history = &histories[key];
            if kept.records != history.records || history.row().as_ref() != Ok(&kept.row) {
                return Err(format!("the archive of run {key:?} is not the fold of its records"));
            }
        }
        Ok(())
    }
}
