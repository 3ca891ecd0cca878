use super::histories::{Histories, Place};
use super::{Problem, VerifyReport};
use crate::Error;
use crate::sqlite::db::{Db, uint};
use crate::sqlite::names::{self, Name};
use crate::sqlite::reader::Columns;
use crate::sqlite::row;
use crate::sqlite::schema::Format;
use antiphon_history::{CatalogueRow, RunKey};

/// Checks every run's row and what it is found by, and returns where each run's history must end. 24 bytes for each run
/// in memory.
pub(super) fn check(archive: &Db, format: Format, report: &mut VerifyReport) -> Result<Histories, Error> {
    let mut names = Vec::new();
    names::visit(archive, format, RunKey(0), &mut |run, name| {
        names.push((run, name));
        Ok(())
    })?;
    let mut names = names.into_iter().peekable();
    let mut places = Vec::new();
    let failed = archive.failed("reading the runs");
    let sql = match format {
        Format::Parts => "SELECT key, row, status, due_ms, needs_loading, 0 FROM run ORDER BY key",
        Format::Blocks => "SELECT key, row, status, due_ms, needs_loading, block FROM run ORDER BY key",
    };
    let mut statement = archive.conn.prepare(sql).map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(found) = rows.next().map_err(&failed)? {
        let run = RunKey(found.get::<_, i64>(0).and_then(uint).map_err(&failed)?);
        report.runs += u64::from(!run.is_entity());
        let block = found.get::<_, i64>(5).and_then(uint).map_err(&failed)?;
        while let Some((nobody, _)) = names.next_if(|(named, _)| *named < run) {
            report.problems.push(nameless(nobody));
        }
        let named = names.next_if(|(named, _)| *named == run).map(|(_, name)| name);
        if let Some(kept) = kept_row(run, found, report)?
            && (columns(found).ok(), named) != (Some(Columns::of(&kept)), (!run.is_entity()).then(|| Name::of(&kept)))
        {
            let problem = "is not found by what it says".to_owned();
            report.problems.push(Problem::Row { run, problem });
        }
        places.push(Place::new(run, block));
    }
    report.problems.extend(names.map(|(nobody, _)| nameless(nobody)));
    Ok(Histories::new(places))
}

fn nameless(run: RunKey) -> Problem {
    Problem::Row { run, problem: "is missing, though the run has a name".to_owned() }
}

/// Decodes (key, row, …); an unreadable row is reported.
fn kept_row(run: RunKey, found: &rusqlite::Row<'_>, report: &mut VerifyReport) -> Result<Option<CatalogueRow>, Error> {
    let kept = match found.get_ref_unwrap(1).as_blob() {
        Ok(bytes) => row::decode(run, bytes),
        Err(error) => Err(Error::damaged_run(run, error.to_string())),
    };
    match kept {
        Ok(row) => Ok(Some(row)),
        Err(Error::ArchiveDamaged { problem, .. }) => {
            let problem = problem.trim_start_matches("its catalogue row ").to_owned();
            report.problems.push(Problem::Row { run, problem });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn columns(row: &rusqlite::Row<'_>) -> Result<Columns, rusqlite::Error> {
    Ok(Columns { status: row.get(2)?, due_ms: row.get(3)?, needs_loading: row.get(4)? })
}
