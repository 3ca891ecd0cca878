use super::db::{Db, int, uint};
use super::history::Blocks;
use super::names::{self, Names};
use super::row;
use super::schema::{self, Format};
use crate::overlay::check_history;
use crate::{Error, Filter, Reader};
use antiphon_history::{
    Bytes, CatalogueRow, Digest, HistoryFile, RunId, RunKey, RunStatus, Timestamp, WorkflowKey, payload_digest,
};
use rusqlite::{OptionalExtension, Params};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads the archive through a connection of its own. If that is inside a transaction, everything is of one picture.
pub(super) struct SqliteReader {
    db: Db,
    format: Format,
    names: Names,
    /// Up to which segment the archive had been written when the names were read.
    names_at: Option<u64>,
    /// Up to which segment it has been written now, told by its writer. A picture does not move.
    archived: Arc<AtomicU64>,
    blocks: Blocks,
}

/// What stands beside a row so that it can be found; all of it follows from the row.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Columns {
    pub(super) status: i64,
    pub(super) due_ms: Option<i64>,
    pub(super) needs_loading: i64,
}

impl Columns {
    pub(super) fn of(row: &CatalogueRow) -> Columns {
        Columns {
            status: row.status.code(),
            due_ms: row.due().map(|due| due.0),
            needs_loading: i64::from(row.needs_loading()),
        }
    }
}

impl SqliteReader {
    /// Of one picture: `db` is inside a transaction.
    pub(super) fn of_picture(db: Db) -> Result<SqliteReader, Error> {
        SqliteReader::new(db, Arc::default())
    }

    /// Beside the archive's writer, who stores in `archived` up to where it has committed. Reads all names: better now,
    /// at the opening, than when somebody waits for an answer.
    pub(super) fn beside_writer(db: Db, archived: Arc<AtomicU64>) -> Result<SqliteReader, Error> {
        let mut reader = SqliteReader::new(db, archived)?;
        reader.refresh_names()?;
        Ok(reader)
    }

    fn new(db: Db, archived: Arc<AtomicU64>) -> Result<SqliteReader, Error> {
        let format = schema::format(&db)?;
        let (names, blocks) = (Names::default(), Blocks::default());
        Ok(SqliteReader { db, format, names, names_at: None, archived, blocks })
    }

    /// Reads the names of runs that were archived since it was last called. Costs nothing if there are none.
    fn refresh_names(&mut self) -> Result<(), Error> {
        let Self { db, format, names, names_at, archived, .. } = self;
        let at = archived.load(Ordering::Acquire);
        if *names_at != Some(at) {
            db.read(|_| names.refresh(db, *format))?;
            *names_at = Some(at);
        }
        Ok(())
    }

    /// The newest run of a workflow id whose fingerprint others have too: nothing that is met by chance.
    fn find_among(&self, workflow: &WorkflowKey) -> Result<Option<CatalogueRow>, Error> {
        let mut runs = Vec::new();
        names::visit(&self.db, self.format, RunKey(0), &mut |run, name| {
            runs.extend((name.fingerprint == workflow.fingerprint()).then_some(run));
            Ok(())
        })?;
        for run in runs.into_iter().rev() {
            let found = row(&self.db, self.format, run)?.map(|(row, _)| row);
            if found.as_ref().is_some_and(|row| row.workflow == *workflow) {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Walks rows of (key, row) until `visit` says that it has enough.
    fn visit_rows(
        &self,
        sql: &'static str,
        params: impl Params,
        visit: &mut dyn FnMut(CatalogueRow) -> bool,
    ) -> Result<(), Error> {
        let failed = self.db.failed("reading runs");
        let mut statement = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        let mut rows = statement.query(params).map_err(&failed)?;
        while let Some(found) = rows.next().map_err(&failed)? {
            if !visit(decoded(found).map_err(&failed)??) {
                break;
            }
        }
        Ok(())
    }

    fn due(&self, sql: &'static str, than: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.values("reading due runs", sql, (than.0, limit), |row| {
            Ok((Timestamp(row.get(0)?), RunKey(uint(row.get(1)?)?)))
        })
    }

    fn values<T>(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: impl Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, Error> {
        let failed = self.db.failed(doing);
        let mut statement = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        let values = statement.query_map(params, read).map_err(&failed)?;
        values.collect::<Result<_, _>>().map_err(&failed)
    }

    fn tally(&self) -> Result<Vec<(String, RunStatus, u64)>, Error> {
        let sql = "SELECT workflow_type, status, runs FROM tally WHERE runs > 0";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, uint(row.get(2)?)?));
        let kept: Vec<(String, i64, u64)> = self.values("counting runs", sql, [], read)?;
        let known = |(workflow_type, code, runs)| {
            let status = RunStatus::ALL.into_iter().find(|status| status.code() == code);
            let status = status.ok_or_else(|| Error::damaged_archive(format!("no run has status {code}")))?;
            Ok((workflow_type, status, runs))
        };
        kept.into_iter().map(known).collect()
    }
}

impl Reader for SqliteReader {
    fn find(&mut self, workflow: &WorkflowKey) -> Result<Option<CatalogueRow>, Error> {
        self.refresh_names()?;
        let Some(run) = self.names.newest(workflow.fingerprint()) else { return Ok(None) };
        match row(&self.db, self.format, run)? {
            Some((row, _)) if row.workflow == *workflow => Ok(Some(row)),
            Some(_) => self.find_among(workflow),
            None => Err(Error::damaged_run(run, "it is named but has no catalogue row")),
        }
    }

    fn row(&mut self, run: RunKey) -> Result<Option<CatalogueRow>, Error> {
        Ok(row(&self.db, self.format, run)?.map(|(row, _)| row))
    }

    fn row_by_id(&mut self, run: RunId) -> Result<Option<CatalogueRow>, Error> {
        let mut runs = Vec::new();
        names::visit(&self.db, self.format, RunKey(0), &mut |key, name| {
            runs.extend((name.id_end == names::id_end(run)).then_some(key));
            Ok(())
        })?;
        for key in runs {
            let found = row(&self.db, self.format, key)?.map(|(row, _)| row);
            if found.as_ref().is_some_and(|row| row.run_id == run) {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn history(&mut self, run: RunKey) -> Result<Option<HistoryFile>, Error> {
        let Self { db, format, blocks, .. } = self;
        db.read(|_| {
            let Some((row, last)) = row(db, *format, run)? else { return Ok(None) };
            let mut history = HistoryFile::default();
            for packed in blocks.history(db, run, last)? {
                history.records.extend(packed.records().map(Bytes::from));
                for &digest in packed.payloads() {
                    let bytes = payload(db, digest)?;
                    let missing = || Error::damaged_run(run, format!("payload {digest:?} is missing"));
                    history.payloads.insert(digest, bytes.ok_or_else(missing)?);
                }
            }
            check_history(&row, &history)?;
            Ok(Some(history))
        })
    }

    fn payload(&mut self, digest: Digest) -> Result<Option<Bytes>, Error> {
        match payload(&self.db, digest)? {
            Some(bytes) if payload_digest(&bytes) != digest => {
                Err(Error::damaged_archive(format!("payload {digest:?} has other bytes")))
            }
            found => Ok(found),
        }
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<CatalogueRow>, Error> {
        let last = RunKey::of_entity(0);
        let before = int(filter.before_key.map_or(last, |key| key.min(last)).0).unwrap_or(i64::MAX);
        let mut rows = Vec::new();
        if filter.limit == 0 {
            return Ok(rows);
        }
        let mut visit = |row: CatalogueRow| {
            if filter.matches(&row) {
                rows.push(row);
            }
            rows.len() < filter.limit
        };
        match filter.status {
            // Most runs are completed, so that status has no index: walking by key finds them soon enough.
            None | Some(RunStatus::Completed) => {
                self.visit_rows("SELECT key, row FROM run WHERE key < ?1 ORDER BY key DESC", [before], &mut visit)?;
            }
            Some(status) => {
                let sql = "SELECT key, row FROM run WHERE status = ?1 AND status <> 3 AND key < ?2 ORDER BY key DESC";
                self.visit_rows(sql, (status.code(), before), &mut visit)?;
            }
        }
        Ok(rows)
    }

    fn count_by_status(&mut self) -> Result<BTreeMap<RunStatus, u64>, Error> {
        let mut counts = BTreeMap::new();
        self.tally()?.into_iter().for_each(|(_, status, runs)| add(counts.entry(status).or_default(), runs));
        Ok(counts)
    }

    fn count_open_by_type(&mut self) -> Result<BTreeMap<String, u64>, Error> {
        let mut counts = BTreeMap::new();
        let open = self.tally()?.into_iter().filter(|(_, status, _)| !status.is_closed());
        open.for_each(|(workflow_type, _, runs)| add(counts.entry(workflow_type).or_default(), runs));
        Ok(counts)
    }

    fn needs_loading(&mut self) -> Result<Vec<RunKey>, Error> {
        let sql = "SELECT key FROM run WHERE needs_loading = 1 ORDER BY key";
        self.values("reading runs to load", sql, [], |row| Ok(RunKey(uint(row.get(0)?)?)))
    }

    fn due_before(&mut self, at: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        let sql = "SELECT due_ms, key FROM run WHERE due_ms <= ?1 ORDER BY due_ms, key LIMIT ?2";
        self.due(sql, at, limit)
    }

    fn due_after(&mut self, after: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        let sql = "SELECT due_ms, key FROM run WHERE due_ms > ?1 ORDER BY due_ms, key LIMIT ?2";
        self.due(sql, after, limit)
    }

    fn last_run_key(&mut self) -> Result<u64, Error> {
        let failed = self.db.failed("reading the last run");
        last_run(&self.db).map_err(&failed)
    }

    fn entities(&mut self) -> Result<Vec<CatalogueRow>, Error> {
        let mut rows = Vec::new();
        let first = int(RunKey::of_entity(0).0).unwrap_or(i64::MAX);
        self.visit_rows("SELECT key, row FROM run WHERE key >= ?1 ORDER BY key", [first], &mut |row| {
            rows.push(row);
            true
        })?;
        Ok(rows)
    }
}

/// Counts are read from the file: `verify` finds wrong ones, and until then no sum of them may overflow.
fn add(count: &mut u64, runs: u64) {
    *count = count.saturating_add(runs);
}

/// The greatest key of a run; 0 if there is none.
pub(super) fn last_run(db: &Db) -> Result<u64, rusqlite::Error> {
    let sql = "SELECT max(key) FROM run WHERE key < ?1";
    let first = int(RunKey::of_entity(0).0).unwrap_or(i64::MAX);
    uint(db.conn.query_row(sql, [first], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(0))
}

/// A run's row, and the last block of its history.
pub(super) fn row(db: &Db, format: Format, run: RunKey) -> Result<Option<(CatalogueRow, u64)>, Error> {
    let failed = db.failed("reading a run");
    let sql = match format {
        Format::Parts => "SELECT key, row, 0 FROM run WHERE key = ?1",
        Format::Blocks => "SELECT key, row, block FROM run WHERE key = ?1",
    };
    let mut statement = db.conn.prepare_cached(sql).map_err(&failed)?;
    let read = |found: &rusqlite::Row<'_>| Ok((decoded(found)?, uint(found.get(2)?)?));
    let found = statement.query_row([int(run.0)?], read).optional().map_err(&failed)?;
    found.map(|(row, block)| Ok((row?, block))).transpose()
}

/// A payload's bytes, unchecked.
pub(super) fn payload(db: &Db, digest: Digest) -> Result<Option<Bytes>, Error> {
    let failed = db.failed("reading a payload");
    let mut statement = db.conn.prepare_cached("SELECT body FROM payload WHERE digest = ?1").map_err(&failed)?;
    let read = |row: &rusqlite::Row<'_>| Ok(Bytes::from(row.get_ref(0)?.as_blob()?));
    statement.query_row([&digest.0[..]], read).optional().map_err(&failed)
}

/// Decodes (key, row). Two layers: what SQLite says, and what the bytes say.
fn decoded(found: &rusqlite::Row<'_>) -> Result<Result<CatalogueRow, Error>, rusqlite::Error> {
    let key = RunKey(uint(found.get(0)?)?);
    Ok(row::decode(key, found.get_ref(1)?.as_blob()?))
}
