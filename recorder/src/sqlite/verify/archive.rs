use super::{Problem, VerifyReport};
use crate::Error;
use crate::sqlite::db::{Db, digest};
use antiphon_history::{RunStatus, payload_digest};
use std::collections::BTreeMap;

/// Checks that every payload is what its name says.
pub(super) fn check_payloads(archive: &Db, report: &mut VerifyReport) -> Result<(), Error> {
    let failed = archive.failed("reading the payloads");
    let mut statement = archive.conn.prepare("SELECT digest, body FROM payload").map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        report.payloads += 1;
        let name = digest(row, 0).map_err(&failed)?;
        let body = row.get_ref(1).map_err(&failed)?.as_blob().map_err(|error| failed(error.into()))?;
        if payload_digest(body) != name {
            report.problems.push(Problem::PayloadBytes { digest: name });
        }
    }
    Ok(())
}

/// Counts the runs again.
pub(super) fn check_tally(archive: &Db, report: &mut VerifyReport) -> Result<(), Error> {
    let failed = archive.failed("counting the runs");
    let mut counted: BTreeMap<(String, RunStatus), (i64, i64)> = BTreeMap::new();
    let mut statement = archive.conn.prepare("SELECT key, row FROM run").map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(found) = rows.next().map_err(&failed)? {
        let key = found.get::<_, i64>(0).and_then(crate::sqlite::db::uint).map_err(&failed)?;
        let bytes = found.get_ref(1).map_err(&failed)?.as_blob().map_err(|error| failed(error.into()))?;
        // An unreadable row was reported where runs are checked; it cannot be counted either.
        if let Ok(row) = crate::sqlite::row::decode(antiphon_history::RunKey(key), bytes)
            && !row.key.is_entity()
        {
            counted.entry((row.workflow_type, row.status)).or_default().0 += 1;
        }
    }
    let mut statement = archive.conn.prepare("SELECT workflow_type, status, runs FROM tally").map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let (workflow_type, code): (String, i64) =
            row.get(0).and_then(|name| Ok((name, row.get(1)?))).map_err(&failed)?;
        let Some(status) = RunStatus::ALL.into_iter().find(|status| status.code() == code) else {
            return Err(Error::damaged_archive(format!("no run has status {code}")));
        };
        counted.entry((workflow_type, status)).or_default().1 = row.get(2).map_err(&failed)?;
    }
    for ((workflow_type, status), (counted, kept)) in counted {
        if counted != kept {
            report.problems.push(Problem::Tally { workflow_type, status, counted, kept });
        }
    }
    Ok(())
}
