use super::{Problem, VerifyReport};
use crate::Error;
use crate::fold::stored_payloads;
use crate::sqlite::db::{Db, uint};
use crate::sqlite::reader::{self, Columns};
use crate::sqlite::row;
use antiphon_history::{CatalogueRow, Digest, Record, RunKey};
use std::collections::BTreeSet;

/// Checks every run of the archive, and that no history is left without its run.
pub(super) fn check(archive: &Db, report: &mut VerifyReport) -> Result<(), Error> {
    let failed = archive.failed("reading the runs");
    let sql = "SELECT key, row, fingerprint, run_id, status, due_ms, needs_loading FROM run ORDER BY key";
    let mut statement = archive.conn.prepare(sql).map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(found) = rows.next().map_err(&failed)? {
        report.runs += 1;
        let run = RunKey(found.get::<_, i64>(0).and_then(uint).map_err(&failed)?);
        let kept = match found.get_ref(1).map_err(&failed)?.as_blob() {
            Ok(bytes) => row::decode(run, bytes),
            Err(error) => Err(Error::damaged_run(run, error.to_string())),
        };
        let kept = match kept {
            Ok(row) => Some(row),
            Err(Error::ArchiveDamaged { problem, .. }) => {
                report.problems.push(Problem::Row { run, problem });
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(row) = &kept
            && columns(found).ok() != Some(Columns::of(row))
        {
            let problem = "is not found by what it says".to_owned();
            report.problems.push(Problem::Row { run, problem });
        }
        check_run(archive, run, kept, report)?;
    }
    check_orphans(archive, report)
}

fn columns(row: &rusqlite::Row<'_>) -> Result<Columns, rusqlite::Error> {
    Ok(Columns {
        fingerprint: row.get(2)?,
        run_id: row.get(3)?,
        status: row.get(4)?,
        due_ms: row.get(5)?,
        needs_loading: row.get(6)?,
    })
}

fn check_run(archive: &Db, run: RunKey, kept: Option<CatalogueRow>, report: &mut VerifyReport) -> Result<(), Error> {
    let wrong = |problem: String, report: &mut VerifyReport| report.problems.push(Problem::Records { run, problem });
    let parts = match reader::parts(archive, run) {
        Ok(parts) => parts,
        Err(Error::ArchiveDamaged { problem, .. }) => {
            wrong(problem, report);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut folded: Option<CatalogueRow> = None;
    let mut number = 0;
    for (digest, packed) in parts {
        let mut named = BTreeSet::new();
        for bytes in packed.records() {
            number += 1;
            report.records += 1;
            let record = match Record::read(bytes) {
                Ok(record) if record.run == run => record,
                Ok(record) => {
                    wrong(format!("record {number} is of run {}", record.run.0), report);
                    return Ok(());
                }
                Err(error) => {
                    wrong(format!("record {number} cannot be read: {error}"), report);
                    return Ok(());
                }
            };
            named.extend(stored_payloads(&record));
            let next = match folded.take() {
                Some(mut row) => row.apply(&record, bytes).map(|()| row),
                None => CatalogueRow::begin(&record, bytes),
            };
            match next {
                Ok(row) => folded = Some(row),
                Err(error) => {
                    wrong(format!("record {number} does not fold: {error}"), report);
                    return Ok(());
                }
            }
        }
        if folded.as_ref().map(|row| row.tip) != Some(digest) {
            wrong(format!("its chain breaks before record {}", number + 1), report);
            return Ok(());
        }
        if named != packed.payloads().iter().copied().collect::<BTreeSet<Digest>>() {
            wrong(format!("the payloads named before record {} are not those listed", number + 1), report);
        }
        for digest in named {
            if reader::payload(archive, digest)?.is_none() {
                report.problems.push(Problem::PayloadMissing { run, digest });
            }
        }
    }
    match (kept, folded) {
        (Some(kept), Some(folded)) if kept != folded => {
            report.problems.push(Problem::Row { run, problem: "is not what its records fold to".to_owned() });
        }
        (_, None) => wrong("it has no records".to_owned(), report),
        _ => {}
    }
    Ok(())
}

fn check_orphans(archive: &Db, report: &mut VerifyReport) -> Result<(), Error> {
    let failed = archive.failed("looking for records without a run");
    let sql = "SELECT DISTINCT run FROM history WHERE run NOT IN (SELECT key FROM run)";
    let mut statement = archive.conn.prepare(sql).map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let run = RunKey(row.get::<_, i64>(0).and_then(uint).map_err(&failed)?);
        report.problems.push(Problem::Records { run, problem: "it has records but no row".to_owned() });
    }
    Ok(())
}
