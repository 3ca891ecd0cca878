//! Opening as a check: what an engine finds must be what a reader saw, and damage must keep it from opening.

use crate::{Broken, Error, Invariant};
use antiphon_recorder::conformance::picture;
use antiphon_recorder::sqlite::{self, Options};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Copies the store, opens the copy for writing, and compares: the archive after the opening must show what archive and
/// log showed together before. The store itself is not touched.
pub fn check_rebuilt(store: &Path, scratch: &Path) -> Result<(), Error> {
    let copy = scratch.join("copy");
    copy_of(store, &copy)?;
    let broken = |how: String| Broken::new(Invariant::Rebuilt, how);
    let unreadable = |error: antiphon_recorder::Error| broken(error.to_string());
    let before = sqlite::snapshot(&copy).and_then(|mut reader| picture(reader.as_mut())).map_err(unreadable)?;
    let mut opened = sqlite::open(&copy, &Options::default()).map_err(unreadable)?;
    let after = picture(opened.reader.as_mut()).map_err(unreadable)?;
    drop(opened);
    if before != after {
        let runs = (before.rows.len(), after.rows.len());
        return Err(broken(format!("the archive shows {} runs, log and archive showed {}", runs.1, runs.0)).into());
    }
    let report = sqlite::verify(&copy).map_err(unreadable)?;
    if let Some(problem) = report.problems.first() {
        return Err(broken(format!("after opening: {problem}")).into());
    }
    fs::remove_dir_all(&copy).map_err(Error::io("removing a copy"))
}

/// Alters the last segment of a copy's log and opens it: that must be refused. False if the log has no segment above
/// the watermark, so that there is nothing to alter.
pub fn check_damage_is_refused(store: &Path, scratch: &Path) -> Result<bool, Error> {
    let copy = scratch.join("damaged");
    copy_of(store, &copy)?;
    let sql = |name: &str, text: &str| {
        let run = || rusqlite::Connection::open(copy.join(name))?.query_row(text, [], |row| row.get::<_, i64>(0));
        run().map_err(|error| Error::Garbled(error.to_string()))
    };
    let (tip, watermark) =
        (sql("log.db", "SELECT coalesce(max(id), 0) FROM segment")?, sql("archive.db", "SELECT segment FROM meta")?);
    if tip <= watermark {
        fs::remove_dir_all(&copy).map_err(Error::io("removing a copy"))?;
        return Ok(false);
    }
    // A digest of zeros continues no chain. Anchors may be older than this segment, so the chain alone can tell.
    let alter = "UPDATE segment SET digest = zeroblob(32) WHERE id = (SELECT max(id) FROM segment) RETURNING id";
    sql("log.db", alter)?;
    let opened = sqlite::open(&copy, &Options::default());
    let refused = opened.is_err();
    drop(opened);
    fs::remove_dir_all(&copy).map_err(Error::io("removing a copy"))?;
    if refused {
        return Ok(true);
    }
    Err(Broken::new(Invariant::Whole, format!("segment {tip} was altered, and the store opened")).into())
}

/// Copies a store that nobody has open.
pub fn copy_of(store: &Path, to: &Path) -> Result<(), Error> {
    let failed = || Error::io(format!("copying {}", store.display()));
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).map_err(failed())?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).map_err(failed())?;
    for entry in fs::read_dir(store).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        // Rebuilt by whoever opens the copy; a torn one would only be thrown away.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            let path = to.join(entry.file_name());
            fs::copy(entry.path(), &path).map_err(failed())?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed())?;
        }
    }
    Ok(())
}
