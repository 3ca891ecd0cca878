use crate::{Error, Filter, Reader};
use antiphon_history::{CatalogueRow, HistoryFile, RunKey, RunStatus, Timestamp};
use std::collections::BTreeMap;

/// Everything that a reader has to tell. Two stores with equal pictures cannot be told apart by reading.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Picture {
    /// The rows of all entities, in key order.
    pub entities: Vec<CatalogueRow>,
    /// The rows of all runs, newest first.
    pub rows: Vec<CatalogueRow>,
    /// All histories.
    pub histories: BTreeMap<RunKey, HistoryFile>,
    /// Runs by status.
    pub by_status: BTreeMap<RunStatus, u64>,
    /// Open runs by type.
    pub open_by_type: BTreeMap<String, u64>,
    /// Runs that a start must load.
    pub needs_loading: Vec<RunKey>,
    /// All timers that are the next of their run.
    pub due: Vec<(Timestamp, RunKey)>,
    /// The greatest key.
    pub last_run_key: u64,
}

impl Picture {
    /// The picture that follows from the histories alone.
    pub fn of_histories(histories: &BTreeMap<RunKey, HistoryFile>) -> Picture {
        let mut picture = Picture { histories: histories.clone(), ..Picture::default() };
        for (key, history) in histories {
            let row = history.row().expect("the sample writes whole runs");
            if key.is_entity() {
                picture.entities.push(row);
                continue;
            }
            *picture.by_status.entry(row.status).or_default() += 1;
            if !row.status.is_closed() {
                *picture.open_by_type.entry(row.workflow_type.clone()).or_default() += 1;
            }
            if row.needs_loading() {
                picture.needs_loading.push(*key);
            }
            picture.due.extend(row.due().map(|due| (due, *key)));
            picture.last_run_key = key.0;
            picture.rows.insert(0, row);
        }
        picture.due.sort_unstable();
        picture
    }
}

/// Asks a reader for everything.
pub fn picture(reader: &mut dyn Reader) -> Result<Picture, Error> {
    let rows = reader.list(&Filter { limit: usize::MAX, ..Filter::default() })?;
    let entities = reader.entities()?;
    let mut histories = BTreeMap::new();
    for row in &entities {
        histories.extend(reader.history(row.key)?.map(|history| (row.key, history)));
        assert_eq!(reader.row(row.key)?.as_ref(), Some(row), "an entity is found by its key");
    }
    for row in &rows {
        histories.extend(reader.history(row.key)?.map(|history| (row.key, history)));
        assert_eq!(reader.row(row.key)?.as_ref(), Some(row), "a listed row is found by its key");
        assert_eq!(reader.row_by_id(row.run_id)?.as_ref(), Some(row), "a listed row is found by its run id");
        let newest = rows.iter().find(|other| other.workflow == row.workflow);
        assert_eq!(reader.find(&row.workflow)?.as_ref(), newest, "the newest row of an id is found by it");
    }
    Ok(Picture {
        entities,
        rows,
        histories,
        by_status: reader.count_by_status()?,
        open_by_type: reader.count_open_by_type()?,
        needs_loading: reader.needs_loading()?,
        due: reader.due_before(Timestamp(i64::MAX), usize::MAX)?,
        last_run_key: reader.last_run_key()?,
    })
}
