use super::{Problem, VerifyReport};
use crate::Error;
use crate::sqlite::db::{Db, digest, uint};
use antiphon_history::Digest;
use std::collections::BTreeMap;

/// One ledger row.
struct Batch {
    number: u64,
    through: u64,
    digest: Digest,
}

/// Computes the ledger again from its beginning: which runs each batch moved, and to which tips, stands in the history.
pub(super) fn check(archive: &Db, report: &mut VerifyReport) -> Result<(), Error> {
    let batches = batches(archive)?;
    let mut moved = moved(archive)?;
    let mut previous = Batch { number: 0, through: 0, digest: Digest::START };
    for batch in batches {
        report.batches += 1;
        let mut wrong = |problem: &str| {
            report.problems.push(Problem::Ledger { batch: batch.number, problem: problem.to_owned() });
        };
        if batch.number != previous.number + 1 {
            wrong("the batches before it are missing");
        }
        if batch.through <= previous.through {
            wrong("it goes no further than the batch before it");
        }
        let runs = moved.remove(&batch.number).unwrap_or_default();
        if Digest::of_ledger(previous.digest, batch.through, runs) != batch.digest {
            wrong("its digest is not that of the runs that it moved");
        }
        // Going on from what is written shows later batches as what they are by themselves.
        previous = batch;
    }
    for batch in moved.into_keys() {
        let problem = "there are records of it, but the ledger does not know it".to_owned();
        report.problems.push(Problem::Ledger { batch, problem });
    }
    let watermark = report.watermark;
    let last = (previous.number, previous.through, previous.digest);
    if last != (watermark.batches, watermark.segment, watermark.ledger) {
        let problem = "the ledger ends here, the watermark says otherwise".to_owned();
        report.problems.push(Problem::Ledger { batch: previous.number, problem });
    }
    Ok(())
}

fn batches(archive: &Db) -> Result<Vec<Batch>, Error> {
    let failed = archive.failed("reading the ledger");
    let sql = "SELECT batch, through_segment, digest FROM ledger ORDER BY batch";
    let mut statement = archive.conn.prepare(sql).map_err(&failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Batch { number: uint(row.get(0)?)?, through: uint(row.get(1)?)?, digest: digest(row, 2)? })
    };
    let rows = statement.query_map([], read).map_err(&failed)?;
    rows.collect::<Result<_, _>>().map_err(&failed)
}

/// Runs and tips by batch, in key order. Some 50 bytes per history row in memory.
fn moved(archive: &Db) -> Result<BTreeMap<u64, Vec<(u64, Digest)>>, Error> {
    let failed = archive.failed("reading the history");
    let mut statement =
        archive.conn.prepare("SELECT batch, run, digest FROM history ORDER BY run, part").map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    let mut moved: BTreeMap<u64, Vec<(u64, Digest)>> = BTreeMap::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let number = |column| row.get::<_, i64>(column).and_then(uint).map_err(&failed);
        moved.entry(number(0)?).or_default().push((number(1)?, digest(row, 2).map_err(&failed)?));
    }
    Ok(moved)
}
