use super::{Problem, VerifyReport};
use crate::Error;
use crate::sqlite::db::{Db, digest, uint};
use antiphon_history::{Digest, RunKey};
use std::collections::BTreeMap;

/// Computes the ledger again from its beginning: which runs each batch moved, and to which tips, stands in the history. The
/// batches of parts have their rows; those of blocks need none, and must be those that rows tell of where there are any.
pub(super) struct Ledger {
    /// The rows that are kept and were not compared yet.
    rows: BTreeMap<u64, Link>,
    previous: Link,
    /// The batch that is being read, and the runs that it moved so far.
    open: Option<(Link, BTreeMap<RunKey, Digest>)>,
}

/// One batch.
#[derive(Clone, Copy)]
struct Link {
    number: u64,
    through: u64,
    digest: Digest,
}

impl Ledger {
    /// Reads the rows, and checks the batches that `history` tells of.
    pub(super) fn check_parts(archive: &Db, report: &mut VerifyReport) -> Result<Ledger, Error> {
        let previous = Link { number: 0, through: 0, digest: Digest::START };
        let mut ledger = Ledger { rows: rows(archive)?, previous, open: None };
        let mut moved = moved(archive)?;
        // Batches without a run are in no part. Those of blocks have at least an empty block.
        let first_block = first_batch_of_blocks(archive)?;
        while let Some(row) = ledger.rows.first_entry().map(|row| *row.get())
            && row.number < first_block
        {
            ledger.begin(row.number, row.through, report);
            moved.remove(&row.number).unwrap_or_default().into_iter().for_each(|(run, tip)| ledger.moved(run, tip));
            ledger.close(report);
        }
        for batch in moved.into_keys() {
            wrong(batch, "there are records of it, but the ledger does not know it", report);
        }
        Ok(ledger)
    }

    /// A block of `batch` follows, which leads to segment `through`.
    pub(super) fn begin(&mut self, batch: u64, through: u64, report: &mut VerifyReport) {
        if self.open.as_ref().is_some_and(|(open, _)| open.number == batch) {
            return;
        }
        self.close(report);
        if batch != self.previous.number + 1 {
            wrong(batch, "the batches before it are missing", report);
        }
        if through <= self.previous.through {
            wrong(batch, "it goes no further than the batch before it", report);
        }
        self.open = Some((Link { number: batch, through, digest: Digest::START }, BTreeMap::new()));
    }

    /// The open batch moved `run` to `tip`.
    pub(super) fn moved(&mut self, run: RunKey, tip: Digest) {
        if let Some((_, moved)) = &mut self.open {
            moved.insert(run, tip);
        }
    }

    /// Nothing follows: the ledger must end where the watermark says.
    pub(super) fn finish(mut self, report: &mut VerifyReport) {
        self.close(report);
        for &batch in self.rows.keys() {
            wrong(batch, "the ledger knows it, but no block tells of it", report);
        }
        let (last, watermark) = (self.previous, report.watermark);
        if (last.number, last.through, last.digest) != (watermark.batches, watermark.segment, watermark.ledger) {
            wrong(last.number, "the ledger ends here, the watermark says otherwise", report);
        }
    }

    fn close(&mut self, report: &mut VerifyReport) {
        let Some((mut link, moved)) = self.open.take() else { return };
        report.batches += 1;
        let moved = moved.into_iter().map(|(run, tip)| (run.0, tip));
        link.digest = Digest::of_ledger(self.previous.digest, link.through, moved);
        if let Some(row) = self.rows.remove(&link.number) {
            if (row.through, row.digest) != (link.through, link.digest) {
                wrong(link.number, "its digest is not that of the runs that it moved", report);
            }
            // Going on from what is written shows later batches as what they are by themselves.
            link = row;
        }
        self.previous = link;
    }
}

fn wrong(batch: u64, problem: &str, report: &mut VerifyReport) {
    report.problems.push(Problem::Ledger { batch, problem: problem.to_owned() });
}

fn rows(archive: &Db) -> Result<BTreeMap<u64, Link>, Error> {
    let failed = archive.failed("reading the ledger");
    let sql = "SELECT batch, through_segment, digest FROM ledger ORDER BY batch";
    let mut statement = archive.conn.prepare(sql).map_err(&failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        let link = Link { number: uint(row.get(0)?)?, through: uint(row.get(1)?)?, digest: digest(row, 2)? };
        Ok((link.number, link))
    };
    let rows = statement.query_map([], read).map_err(&failed)?;
    rows.collect::<Result<_, _>>().map_err(&failed)
}

/// The first batch that has a block, or one behind all.
fn first_batch_of_blocks(archive: &Db) -> Result<u64, Error> {
    if super::schema::format(archive)? == super::schema::Format::Parts {
        return Ok(u64::MAX);
    }
    let failed = archive.failed("reading the blocks");
    let first = archive.conn.query_row("SELECT min(batch) FROM block", [], |row| row.get::<_, Option<i64>>(0));
    first.and_then(|first| first.map_or(Ok(u64::MAX), uint)).map_err(&failed)
}

/// Runs and tips by batch, as far as parts tell.
fn moved(archive: &Db) -> Result<BTreeMap<u64, Vec<(RunKey, Digest)>>, Error> {
    let failed = archive.failed("reading the history");
    let mut statement =
        archive.conn.prepare("SELECT batch, run, digest FROM history ORDER BY run, part").map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    let mut moved: BTreeMap<u64, Vec<(RunKey, Digest)>> = BTreeMap::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let number = |column| row.get::<_, i64>(column).and_then(uint).map_err(&failed);
        moved.entry(number(0)?).or_default().push((RunKey(number(1)?), digest(row, 2).map_err(&failed)?));
    }
    Ok(moved)
}
