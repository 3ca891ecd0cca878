use super::checkpoint::WalCap;
use super::db::{Db, int};
use super::{reader, row, schema};
use crate::fold::{self, Batch, FoldedRun};
use crate::{Archive, Error, ErrorKind, Guard, Watermark};
use antiphon_history::{CatalogueRow, RunKey, RunStatus, Segment};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a row costs beside its blobs: columns, index entries, page overhead. Only for the write-ahead log's bound.
const ROW_BYTES: usize = 512;

pub(super) struct SqliteArchive {
    db: Db,
    watermark: Watermark,
    /// Told to the log, which deletes nothing beyond it.
    archived: Arc<AtomicU64>,
    wal: WalCap,
    broken: bool,
    recent: RecentRows,
    _guard: Guard,
}

/// Rows of open runs as the last fold and the one before it left them: a run that goes on is in the next batch again, and
/// need not be read and decoded for it. Bounded by what two batches hold.
#[derive(Default)]
struct RecentRows {
    last: HashMap<RunKey, CatalogueRow>,
    before: HashMap<RunKey, CatalogueRow>,
}

impl RecentRows {
    fn take(&mut self, run: RunKey) -> Option<CatalogueRow> {
        self.last.remove(&run).or_else(|| self.before.remove(&run))
    }

    fn keep(&mut self, batch: Batch) {
        self.before = std::mem::take(&mut self.last);
        let rows = batch.runs.into_unordered().into_iter().map(|run| run.row);
        self.last = rows.filter(|row| !row.status.is_closed()).map(|row| (row.key, row)).collect();
    }
}

impl SqliteArchive {
    pub(super) fn new(db: Db, archived: Arc<AtomicU64>, guard: Guard) -> Result<SqliteArchive, Error> {
        let watermark = schema::watermark(&db)?;
        archived.store(watermark.segment, Ordering::Release);
        Ok(SqliteArchive {
            db,
            watermark,
            archived,
            wal: WalCap::default(),
            broken: false,
            recent: RecentRows::default(),
            _guard: guard,
        })
    }

    fn write(&self, batch: &Batch) -> Result<usize, Error> {
        self.db.write("folding into the archive", |_| {
            // Fenced where the log is: inside the transaction.
            if schema::watermark(&self.db)? != self.watermark {
                return Err(Error::Fenced { segment: self.watermark.segment + 1 });
            }
            let mut bytes = 0;
            let mut tally: BTreeMap<(&str, RunStatus), i64> = BTreeMap::new();
            for run in batch.runs.iter() {
                bytes += ROW_BYTES + self.write_run(run, batch.watermark.batches)?;
                let workflow_type = run.row.workflow_type.as_str();
                if let Some(before) = run.before {
                    *tally.entry((workflow_type, before)).or_default() -= 1;
                }
                *tally.entry((workflow_type, run.row.status)).or_default() += 1;
            }
            self.write_tally(&tally)?;
            bytes += self.write_payloads(batch)?;
            self.write_ledger(batch.watermark)?;
            schema::set_watermark(&self.db, batch.watermark)?;
            Ok(bytes)
        })
    }

    fn write_run(&self, run: &FoldedRun, batch: u64) -> Result<usize, Error> {
        let key = run.row.key;
        let failed = self.db.failed("writing a run");
        let sql = "INSERT INTO run (key, fingerprint, run_id, status, due_ms, needs_loading, row)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT (key) DO UPDATE SET status = excluded.status, due_ms = excluded.due_ms,
                needs_loading = excluded.needs_loading, row = excluded.row";
        let mut upsert = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        let columns = reader::Columns::of(&run.row);
        let encoded = row::encode(&run.row);
        let values = (
            int(key.0)?,
            columns.fingerprint,
            columns.run_id,
            columns.status,
            columns.due_ms,
            columns.needs_loading,
            &encoded[..],
        );
        upsert.execute(values).map_err(&failed)?;
        let sql = "INSERT INTO history (run, part, batch, digest, body) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        let packed = run.packed.to_bytes();
        // A part is called by its first record's number, so a missing one shows as a gap.
        let values = (int(key.0)?, int(run.records_before + 1)?, int(batch)?, &run.row.tip.0[..], &packed[..]);
        insert.execute(values).map_err(&failed)?;
        Ok(encoded.len() + packed.len())
    }

    fn write_tally(&self, tally: &BTreeMap<(&str, RunStatus), i64>) -> Result<(), Error> {
        let failed = self.db.failed("counting runs");
        let sql = "INSERT INTO tally (workflow_type, status, runs) VALUES (?1, ?2, ?3)
            ON CONFLICT (workflow_type, status) DO UPDATE SET runs = runs + excluded.runs";
        let mut add = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        for ((workflow_type, status), change) in tally.iter().filter(|(_, change)| **change != 0) {
            add.execute((workflow_type, status.code(), change)).map_err(&failed)?;
        }
        Ok(())
    }

    fn write_payloads(&self, batch: &Batch) -> Result<usize, Error> {
        let failed = self.db.failed("writing a payload");
        let mut bytes = 0;
        for (digest, body) in &batch.payloads {
            // The same bytes may come again under the same name, from any run.
            let sql = "INSERT OR IGNORE INTO payload (digest, body) VALUES (?1, ?2)";
            let mut insert = self.db.conn.prepare_cached(sql).map_err(&failed)?;
            insert.execute((&digest.0[..], &body[..])).map_err(&failed)?;
            bytes += body.len();
        }
        Ok(bytes)
    }

    fn write_ledger(&self, watermark: Watermark) -> Result<(), Error> {
        let failed = self.db.failed("writing the ledger");
        let sql = "INSERT INTO ledger (batch, through_segment, digest) VALUES (?1, ?2, ?3)";
        let mut insert = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        let values = (int(watermark.batches)?, int(watermark.segment)?, &watermark.ledger.0[..]);
        insert.execute(values).map(|_| ()).map_err(&failed)
    }
}

impl Archive for SqliteArchive {
    fn watermark(&self) -> Watermark {
        self.watermark
    }

    fn fold(&mut self, segments: &[Segment]) -> Result<Watermark, Error> {
        if self.broken {
            let source = "an earlier commit had no known result".into();
            return Err(Error::Unknown { doing: "folding into the archive", source });
        }
        if segments.is_empty() {
            return Ok(self.watermark);
        }
        // Taken out, so that after an error nothing is left of which the file may not have the same.
        let mut recent = std::mem::take(&mut self.recent);
        let batch = fold::fold(self.watermark, segments, &mut |run| match recent.take(run) {
            Some(row) => Ok(Some(row)),
            None => reader::row(&self.db, run),
        })?;
        self.wal.hold(&self.db)?;
        match self.write(&batch) {
            Ok(bytes) => {
                self.wal.wrote(bytes);
                self.watermark = batch.watermark;
                recent.keep(batch);
                self.recent = recent;
                // The commit was synced, so what the log holds up to here is held twice.
                self.archived.store(self.watermark.segment, Ordering::Release);
                Ok(self.watermark)
            }
            Err(error) => {
                self.broken = !matches!(error.kind(), ErrorKind::Full | ErrorKind::Busy);
                Err(error)
            }
        }
    }
}
