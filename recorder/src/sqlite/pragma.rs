//! Every setting that the store relies on, made and then read back. A pragma that is misspelt, compiled out or
//! overridden is silently ignored by SQLite; durability must not depend on that.

use super::db::{Access, Db, DbFile};
use crate::{Durability, Error};
use antiphon_history::planted;
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;

/// The oldest library that may be used: 3.51.3 mends a corruption of the write-ahead log under concurrent checkpoints.
const SQLITE_MIN: (i32, &str) = (3_051_003, "3.51.3 or later");

/// One setting: its name, the statement that makes it (none if it lies in the file), and what must be read back.
struct Setting {
    name: &'static str,
    make: Option<&'static str>,
    expect: &'static str,
}

const fn made(name: &'static str, make: &'static str, expect: &'static str) -> Setting {
    Setting { name, make: Some(make), expect }
}

const fn kept(name: &'static str, expect: &'static str) -> Setting {
    Setting { name, make: None, expect }
}

/// What lies in the file since it was created.
const IN_FILE: [Setting; 3] = [kept("journal_mode", "wal"), kept("auto_vacuum", "0"), kept("encoding", "UTF-8")];

const EVERYWHERE: [Setting; 8] = [
    made("trusted_schema", "PRAGMA trusted_schema = OFF", "0"),
    made("cell_size_check", "PRAGMA cell_size_check = ON", "1"),
    // A damaged file behind a memory map is a signal, not an error.
    made("mmap_size", "PRAGMA mmap_size = 0", "0"),
    // No copies of what users sent outside the folder.
    made("temp_store", "PRAGMA temp_store = MEMORY", "2"),
    // Only a dedicated thread moves the log into the file; a commit that did would be the slowest of all.
    made("wal_autocheckpoint", "PRAGMA wal_autocheckpoint = 0", "0"),
    // -1: the write-ahead log is never cut. Writing over it is twice as fast to sync as growing it.
    made("journal_size_limit", "PRAGMA journal_size_limit = -1", "-1"),
    made("foreign_keys", "PRAGMA foreign_keys = OFF", "0"),
    kept("busy_timeout", "1000"),
];

/// What makes a sync a sync. The last two matter on macOS only, where a plain fsync does not reach the disk.
const FULL: [Setting; 3] = [
    made("synchronous", "PRAGMA synchronous = FULL", "2"),
    made("fullfsync", "PRAGMA fullfsync = ON", "1"),
    made("checkpoint_fullfsync", "PRAGMA checkpoint_fullfsync = ON", "1"),
];

const NORMAL: [Setting; 1] = [made("synchronous", "PRAGMA synchronous = NORMAL", "1")];

/// 4 MiB: a batch adds at the ends of its tables and comes back to the rows of runs that go on.
const ARCHIVE_WRITER: [Setting; 1] = [made("cache_size", "PRAGMA cache_size = -4096", "-4096")];

const READER: [Setting; 1] = [made("query_only", "PRAGMA query_only = ON", "1")];

/// Refuses a library that is too old.
pub(super) fn check_library() -> Result<(), Error> {
    if rusqlite::version_number() >= SQLITE_MIN.0 {
        return Ok(());
    }
    Err(Error::Setting { what: "the library".into(), expected: SQLITE_MIN.1.into(), found: rusqlite::version().into() })
}

/// Makes and checks all settings of a connection.
pub(super) fn apply(db: &Db, access: Access) -> Result<(), Error> {
    db.conn
        .set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)
        .map_err(db.failed("making the connection defensive"))?;
    require(db, &IN_FILE)?;
    require(db, &EVERYWHERE)?;
    match access {
        Access::Peek | Access::Create => Ok(()),
        Access::Read => require(db, &READER),
        Access::Write(_) if planted!("log-not-synced") && db.file == DbFile::Log => require(db, &NORMAL),
        Access::Write(_) if planted!("archive-not-synced") && db.file == DbFile::Archive => require(db, &NORMAL),
        Access::Checkpoint | Access::Write(Durability::Full) => {
            require(db, &FULL)?;
            if db.file == DbFile::Archive { require(db, &ARCHIVE_WRITER) } else { Ok(()) }
        }
        Access::Write(Durability::Process) => require(db, &NORMAL),
    }
}

fn require(db: &Db, settings: &[Setting]) -> Result<(), Error> {
    for setting in settings {
        if let Some(make) = setting.make {
            db.conn.execute_batch(make).map_err(db.failed("making a setting"))?;
        }
        let found = read(db, setting.name)?;
        if found != setting.expect {
            let what = format!("{} of {}", setting.name, db.path.display());
            return Err(Error::Setting { what, expected: setting.expect.to_owned(), found });
        }
    }
    Ok(())
}

/// The page size of a file, in bytes.
pub(super) fn page_bytes(db: &Db) -> Result<u64, Error> {
    let failed = db.failed("reading a setting");
    let mut statement = db.conn.prepare_cached("PRAGMA page_size").map_err(&failed)?;
    statement.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned).map_err(&failed)
}

/// A pragma's value as text; "nothing" if SQLite does not know it.
pub(super) fn read(db: &Db, name: &str) -> Result<String, Error> {
    let mut found = "nothing".to_owned();
    let visit = |row: &rusqlite::Row<'_>| {
        found = match row.get_ref(0)? {
            ValueRef::Integer(value) => value.to_string(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        };
        Ok(())
    };
    db.conn.pragma_query(None, name, visit).map_err(db.failed("reading a setting"))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_setting_that_does_not_take_is_refused_by_name() {
        // In memory there is no write-ahead log, whatever is asked for; and nobody has the second one.
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let db = Db { conn, file: DbFile::Log, path: PathBuf::from("log.db") };
        for setting in
            [made("journal_mode", "PRAGMA journal_mode = WAL", "wal"), made("synchronos", "PRAGMA synchronos = 2", "2")]
        {
            let error = require(&db, &[setting]).unwrap_err();
            assert_eq!(error.code(), Some("A0011"), "{error}");
        }
        require(&db, &EVERYWHERE[..2]).unwrap();
    }
}
