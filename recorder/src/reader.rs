use crate::Error;
use antiphon_history::{Bytes, CatalogueRow, Digest, HistoryFile, RunId, RunKey, RunStatus, Timestamp, WorkflowKey};
use std::collections::BTreeMap;

/// Which runs a list shows. What is absent does not restrict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// How they stand.
    pub status: Option<RunStatus>,
    /// Which code they run.
    pub workflow_type: Option<String>,
    /// How their workflow id begins.
    pub id_prefix: Option<String>,
    /// The namespace of their workflow id.
    pub namespace: Option<String>,
    /// Started at this moment or later.
    pub started_after: Option<Timestamp>,
    /// Started before this moment.
    pub started_before: Option<Timestamp>,
    /// Most rows to return. Default: 100, a page that a person reads.
    pub limit: usize,
    /// Older than this run: the last key of the page before.
    pub before_key: Option<RunKey>,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter {
            status: None,
            workflow_type: None,
            id_prefix: None,
            namespace: None,
            started_after: None,
            started_before: None,
            limit: 100,
            before_key: None,
        }
    }
}

impl Filter {
    /// Whether a list with this filter shows the run, its limit apart.
    pub fn matches(&self, row: &CatalogueRow) -> bool {
        !row.key.is_entity()
            && self.status.is_none_or(|status| row.status == status)
            && self.workflow_type.as_ref().is_none_or(|workflow_type| row.workflow_type == *workflow_type)
            && self.id_prefix.as_ref().is_none_or(|prefix| row.workflow.id.starts_with(prefix.as_str()))
            && self.namespace.as_ref().is_none_or(|namespace| row.workflow.namespace == *namespace)
            && self.started_after.is_none_or(|after| row.started_at >= after)
            && self.started_before.is_none_or(|before| row.started_at < before)
            && self.before_key.is_none_or(|key| row.key < key)
    }
}

/// Asks the archive, or a snapshot. Changes nothing; any number may exist, here and in other processes.
pub trait Reader: Send {
    /// The newest run of a workflow id. Cheap also for an id that no run has: every start of a new one asks.
    fn find(&mut self, workflow: &WorkflowKey) -> Result<Option<CatalogueRow>, Error>;

    /// A run by its integer.
    fn row(&mut self, run: RunKey) -> Result<Option<CatalogueRow>, Error>;

    /// A run by the name that the engine gave it.
    fn row_by_id(&mut self, run: RunId) -> Result<Option<CatalogueRow>, Error>;

    /// All records of a run, of all its streams, with the payloads that they name. The chain of the records and the
    /// digests of the payloads were checked.
    fn history(&mut self, run: RunKey) -> Result<Option<HistoryFile>, Error>;

    /// The bytes of a large payload; their digest was checked.
    fn payload(&mut self, digest: Digest) -> Result<Option<Bytes>, Error>;

    /// The runs that a filter lets through, newest first.
    fn list(&mut self, filter: &Filter) -> Result<Vec<CatalogueRow>, Error>;

    /// How many runs stand how. Statuses that no run has are absent.
    fn count_by_status(&mut self) -> Result<BTreeMap<RunStatus, u64>, Error>;

    /// How many open runs each workflow type has. Types without open runs are absent.
    fn count_open_by_type(&mut self) -> Result<BTreeMap<String, u64>, Error>;

    /// The runs that a start of the engine must load: those with open conversations, and the blocked; in key order.
    fn needs_loading(&mut self) -> Result<Vec<RunKey>, Error>;

    /// Runs whose earliest timer is due at `at` or earlier, earliest first.
    fn due_before(&mut self, at: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error>;

    /// Runs whose earliest timer is due later than `after`, earliest first.
    fn due_after(&mut self, after: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error>;

    /// The rows of all entities, in key order: what is known of task queues, routines and the like. No other question here
    /// but [`Reader::row`] and [`Reader::history`] tells of them.
    fn entities(&mut self) -> Result<Vec<CatalogueRow>, Error>;

    /// The greatest run key; 0 if there is no run.
    fn last_run_key(&mut self) -> Result<u64, Error>;

    /// The earliest moment later than `after` at which a run's earliest timer is due.
    fn next_due(&mut self, after: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok(self.due_after(after, 1)?.first().map(|(due, _)| *due))
    }

    /// The workflow types of all open runs, each once, in order.
    fn open_workflow_types(&mut self) -> Result<Vec<String>, Error> {
        Ok(self.count_open_by_type()?.into_keys().collect())
    }
}
