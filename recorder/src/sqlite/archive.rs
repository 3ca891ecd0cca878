use super::checkpoint::{WalCap, WalWord};
use super::db::{Db, int, uint};
use super::names::{self, Name};
use super::recent::RecentRows;
use super::{ledger, reader, row, schema};
use crate::block::BlockWriter;
use crate::fold::{self, Batch, FoldedRun};
use crate::{Archive, Error, ErrorKind, Guard, Watermark};
use antiphon_history::{RunKey, RunStatus, Segment, planted};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a row costs beside its blobs: columns, index entries, page overhead. Only for the write-ahead log's bound.
const ROW_BYTES: usize = 256;

pub(super) struct SqliteArchive {
    db: Db,
    watermark: Watermark,
    /// The number of the next block.
    next_block: u64,
    /// The greatest key of a run: a greater one is new, and costs no look-up.
    last_run: RunKey,
    /// Told to the log, which deletes nothing beyond it.
    archived: Arc<AtomicU64>,
    wal: WalCap,
    recent: RecentRows,
    broken: bool,
    _guard: Guard,
}

/// What a transaction left behind.
struct Written {
    bytes: usize,
    next_block: u64,
    /// The last block of each run, by its place in the batch.
    blocks: Vec<u64>,
}

impl SqliteArchive {
    pub(super) fn new(db: Db, archived: Arc<AtomicU64>, word: WalWord, guard: Guard) -> Result<SqliteArchive, Error> {
        let watermark = schema::watermark(&db)?;
        let failed = db.failed("reading what is last");
        let last = |sql| db.conn.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
        let last = |sql| last(sql).and_then(|last| uint(last.unwrap_or(0))).map_err(&failed);
        let next_block = last("SELECT max(id) FROM block")? + 1;
        let last_run = RunKey(reader::last_run(&db).map_err(&failed)?);
        archived.store(watermark.segment, Ordering::Release);
        let (wal, recent) = (WalCap::new(&db, word)?, RecentRows::default());
        Ok(SqliteArchive { db, watermark, next_block, last_run, archived, wal, recent, broken: false, _guard: guard })
    }

    /// `before` has the last block of each run that was there.
    fn write(&self, batch: &Batch, before: &HashMap<RunKey, u64>) -> Result<Written, Error> {
        if planted!("watermark-before-batch") {
            schema::set_watermark(&self.db, batch.watermark)?;
        }
        self.db.write("folding into the archive", |_| {
            // Fenced where the log is: inside the transaction.
            if schema::watermark(&self.db)? != self.watermark && !planted!("watermark-before-batch") {
                return Err(Error::Fenced { segment: self.watermark.segment + 1 });
            }
            let mut written = self.write_blocks(batch, before)?;
            written.bytes += self.write_rows(batch, &written.blocks)?;
            let mut tally: BTreeMap<(&str, RunStatus), i64> = BTreeMap::new();
            // Entities are neither counted nor named: whoever needs one needs all.
            let runs = || batch.runs.iter().filter(|run| !run.row.key.is_entity());
            for run in runs() {
                let workflow_type = run.row.workflow_type.as_str();
                if let Some(before) = run.before {
                    *tally.entry((workflow_type, before)).or_default() -= 1;
                }
                *tally.entry((workflow_type, run.row.status)).or_default() += 1;
            }
            let new = runs().filter(|run| run.before.is_none());
            written.bytes += names::add(&self.db, new.map(|run| (run.row.key, Name::of(&run.row))))?;
            self.write_tally(&tally)?;
            written.bytes += self.write_payloads(batch)?;
            ledger::append(&self.db, batch.watermark)?;
            schema::set_watermark(&self.db, batch.watermark)?;
            Ok(written)
        })
    }

    fn write_blocks(&self, batch: &Batch, before: &HashMap<RunKey, u64>) -> Result<Written, Error> {
        let failed = self.db.failed("writing a block");
        let sql = "INSERT INTO block (id, batch, through_segment, body) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        let (number, through) = (int(batch.watermark.batches)?, int(batch.watermark.segment)?);
        let mut bytes = 0;
        let keep = |id, body: &[u8]| {
            bytes += body.len();
            insert.execute((int(id)?, number, through, body)).map(|_| ()).map_err(&failed)
        };
        let mut writer = BlockWriter::new(self.next_block, keep);
        let mut blocks = vec![0; batch.runs.len()];
        for (place, run) in batch.runs.iter_placed() {
            let previous = before.get(&run.row.key).copied().unwrap_or(0);
            blocks[place] = writer.add(run.row.key, previous, run.records_before + 1, &run.packed)?;
        }
        let next_block = writer.finish()?;
        Ok(Written { bytes, next_block, blocks })
    }

    fn write_rows(&self, batch: &Batch, blocks: &[u64]) -> Result<usize, Error> {
        let failed = self.db.failed("writing a run");
        let sql = "INSERT INTO run (key, block, status, due_ms, needs_loading, row) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        let sql = "UPDATE run SET block = ?2, status = ?3, due_ms = ?4, needs_loading = ?5, row = ?6 WHERE key = ?1";
        let mut update = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        let mut bytes = 0;
        for (place, FoldedRun { before, row, .. }) in batch.runs.iter_placed() {
            let columns = reader::Columns::of(row);
            let encoded = row::encode(row);
            bytes += ROW_BYTES + encoded.len();
            let (key, block) = (int(row.key.0)?, int(blocks[place])?);
            let values = (key, block, columns.status, columns.due_ms, columns.needs_loading, &encoded[..]);
            let statement = if before.is_none() { &mut insert } else { &mut update };
            if statement.execute(values).map_err(&failed)? != 1 {
                return Err(Error::damaged_run(row.key, "its catalogue row is gone"));
            }
        }
        Ok(bytes)
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
        for (digest, body) in batch.payloads.iter().filter(|_| !planted!("payload-left-out")) {
            // The same bytes may come again under the same name, from any run.
            let sql = "INSERT OR IGNORE INTO payload (digest, body) VALUES (?1, ?2)";
            let mut insert = self.db.conn.prepare_cached(sql).map_err(&failed)?;
            insert.execute((&digest.0[..], &body[..])).map_err(&failed)?;
            bytes += body.len();
        }
        Ok(bytes)
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
        let mut before = HashMap::new();
        let mut load = |run| {
            let found = match recent.take(run) {
                Some(found) => Some(found),
                None if run > self.last_run && !run.is_entity() => None,
                None => reader::row(&self.db, schema::Format::Blocks, run)?,
            };
            Ok(found.map(|(row, block)| {
                before.insert(run, block);
                row
            }))
        };
        // One picture for all rows: SQLite's locks cost more than a look-up.
        let batch = self.db.read(|_| fold::fold(self.watermark, segments, &mut load))?;
        self.wal.hold(&self.db)?;
        match self.write(&batch, &before) {
            Ok(Written { bytes, next_block, blocks }) => {
                self.wal.wrote(bytes);
                self.watermark = batch.watermark;
                self.next_block = next_block;
                self.last_run = batch
                    .runs
                    .iter()
                    .rev()
                    .find(|run| !run.row.key.is_entity())
                    .map_or(self.last_run, |run| run.row.key.max(self.last_run));
                recent.keep(batch.runs.into_met().into_iter().zip(blocks));
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
