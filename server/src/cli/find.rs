use super::Error;
use super::output::clean;
use antiphon_history::{CatalogueRow, HistoryFile, RunId, WorkflowKey};
use antiphon_recorder::{Error as StoreError, Filter, Reader, sqlite};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Rows that are read at once while all rows are looked through: bounds the memory, not the answer.
const PAGE_ROWS: usize = 500;
/// Fewest characters that may stand for a run id; fewer are more likely a mistyped workflow id.
const PART_MIN_CHARS: usize = 6;
/// How many ids an error names.
const SHOWN_IDS: usize = 4;

/// Which store.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StoreArg {
    /// The store's folder
    #[arg(value_name = "STORE")]
    pub(super) store: PathBuf,
}

/// Which run of which store.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RunArg {
    /// The store's folder
    #[arg(value_name = "STORE")]
    pub(super) store: PathBuf,
    /// A workflow id (its newest run), a run id, or the beginning or end of one
    #[arg(value_name = "RUN")]
    pub(super) run: String,
    /// The namespace of the workflow id
    #[arg(long, value_name = "NAME", default_value = WorkflowKey::DEFAULT_NAMESPACE)]
    pub(super) namespace: String,
}

/// Opens a store for reading: everything durable now, and nothing later.
///
/// A store that lost something is shown as far as it goes, since that is what a person needs who wants to mend it; but
/// never without saying so.
pub(super) fn open(store: &Path) -> Result<Box<dyn Reader>, Error> {
    match sqlite::snapshot(store) {
        Err(lost @ (StoreError::Loss { .. } | StoreError::AnchorUnusable { .. })) => {
            let left = sqlite::snapshot_accepting_loss(store)?;
            // If stderr is gone there is nobody to tell.
            let _ = writeln!(
                std::io::stderr(),
                "warning: what follows is not all that there was: {}",
                clean(&lost.to_string())
            );
            Ok(left)
        }
        opened => Ok(opened?),
    }
}

impl RunArg {
    /// Finds the run and its whole history.
    pub(super) fn load(&self) -> Result<(CatalogueRow, HistoryFile), Error> {
        let mut reader = open(&self.store)?;
        let row = self.row(reader.as_mut())?;
        let history = history(reader.as_mut(), &row, &self.store)?;
        Ok((row, history))
    }

    /// Finds the run.
    pub(super) fn row(&self, reader: &mut dyn Reader) -> Result<CatalogueRow, Error> {
        let workflow = WorkflowKey { namespace: self.namespace.clone(), id: self.run.clone() };
        if let Some(row) = reader.find(&workflow)? {
            return Ok(row);
        }
        if let Ok(id) = self.run.parse::<RunId>()
            && let Some(row) = reader.row_by_id(id)?
        {
            return Ok(row);
        }
        // Lists print the key of another namespace as `namespace/id`.
        if let Some((namespace, id)) = self.run.split_once('/') {
            let workflow = WorkflowKey { namespace: namespace.to_owned(), id: id.to_owned() };
            if let Some(row) = reader.find(&workflow)? {
                return Ok(row);
            }
        }
        self.row_by_part(reader)?
            .ok_or_else(|| Error::NoSuchRun { store: self.store.display().to_string(), run: self.run.clone() })
    }

    /// Looks through all runs for one whose id begins or ends so. Ids of one minute begin alike, so lists print the end.
    fn row_by_part(&self, reader: &mut dyn Reader) -> Result<Option<CatalogueRow>, Error> {
        let part = self.run.to_ascii_lowercase();
        let may_be_part = part.len() >= PART_MIN_CHARS && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if !may_be_part {
            return Ok(None);
        }
        let (mut found, mut ids) = (None, Vec::new());
        each_row(reader, &Filter::default(), |_, row| {
            let id = row.run_id.to_string();
            if id.starts_with(&part) || id.ends_with(&part) {
                ids.push(id);
                found = Some(row);
            }
            Ok(ids.len() < SHOWN_IDS)
        })?;
        if ids.len() > 1 {
            return Err(Error::Ambiguous { part: self.run.clone(), ids });
        }
        Ok(found)
    }
}

/// The whole history of a run that a list or a look-up has found.
pub(super) fn history(reader: &mut dyn Reader, row: &CatalogueRow, store: &Path) -> Result<HistoryFile, Error> {
    reader
        .history(row.key)?
        .ok_or_else(|| Error::NoSuchRun { store: store.display().to_string(), run: row.run_id.to_string() })
}

/// Hands every row that the filter lets through to `look`, newest first, until it returns `false`.
pub(super) fn each_row(
    reader: &mut dyn Reader,
    filter: &Filter,
    mut look: impl FnMut(&mut dyn Reader, CatalogueRow) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut page = Filter { limit: PAGE_ROWS, ..filter.clone() };
    loop {
        let rows = reader.list(&page)?;
        let full = rows.len() >= PAGE_ROWS;
        for row in rows {
            page.before_key = Some(row.key);
            if !look(reader, row)? {
                return Ok(());
            }
        }
        if !full {
            return Ok(());
        }
    }
}

/// The end of a run id: what lists print, and what `RUN` takes. Its beginning is the time, alike for runs of a minute.
pub(super) fn short(id: RunId) -> String {
    let id = id.to_string();
    id[id.len() - 8..].to_owned()
}
