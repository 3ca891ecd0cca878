//! One connection to one of the two files, and what its errors mean.

use super::folder::Folder;
use super::pragma;
use crate::{Durability, Error};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::PathBuf;
use std::time::Duration;

/// Which database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DbFile {
    Log,
    Archive,
}

impl DbFile {
    pub(super) fn name(self) -> &'static str {
        match self {
            DbFile::Log => "log.db",
            DbFile::Archive => "archive.db",
        }
    }

    /// `AntL` and `AntA`: tells our files from other people's, and from each other when they were swapped.
    pub(super) fn application_id(self) -> i32 {
        match self {
            DbFile::Log => 0x416e_744c,
            DbFile::Archive => 0x416e_7441,
        }
    }
}

/// What a connection may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Look at what a file says of itself, before anything is decided.
    Peek,
    /// Give a fresh file its tables.
    Create,
    /// Read only.
    Read,
    /// Write: one such connection per file.
    Write(Durability),
    /// Move the write-ahead log into the file.
    Checkpoint,
}

/// How long a statement waits for a lock that only strangers to the store could hold: our own connections never wait
/// for each other, since there is one writer per file and readers of a write-ahead log block nobody. Longer would stall
/// the engine, shorter would trip over a backup tool's moment.
const BUSY_MS: u64 = 1_000;

/// Statements kept prepared per connection; the reader has the most, about 20.
const STATEMENTS: usize = 32;

pub(super) struct Db {
    pub(super) conn: Connection,
    pub(super) file: DbFile,
    pub(super) path: PathBuf,
}

impl Db {
    /// Opens a file that exists and, unless it is only peeked at, makes and checks its settings.
    pub(super) fn open(folder: &Folder, file: DbFile, access: Access) -> Result<Db, Error> {
        let path = folder.file(file.name());
        let mode = match access {
            Access::Peek | Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Create | Access::Write(_) | Access::Checkpoint => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let conn = Connection::open_with_flags(&path, flags)
            .map_err(|error| classify(file, path.clone(), "opening a database", error))?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        let db = Db { conn, file, path };
        db.conn.busy_timeout(Duration::from_millis(BUSY_MS)).map_err(db.failed("setting the busy timeout"))?;
        // Without this SQLite plans a statement anew whenever a bound value could matter to the plan, which here is at
        // nearly every look-up; ours have one sensible plan each.
        db.conn
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(db.failed("fixing the query plans"))?;
        if !matches!(access, Access::Peek | Access::Create) {
            pragma::apply(&db, access)?;
        }
        Ok(db)
    }

    /// Says what a failure of SQLite means here.
    pub(super) fn failed(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> Error + use<> {
        let (file, path) = (self.file, self.path.clone());
        move |error| classify(file, path.clone(), doing, error)
    }

    /// Says that this file is not what was written.
    pub(super) fn damaged(&self, problem: String) -> Error {
        damaged(self.file, problem)
    }

    /// Runs `work` in one transaction that is committed at its end, or rolled back if it or the commit fails.
    pub(super) fn write<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // IMMEDIATE: a transaction that reads first and then wants to write is refused without waiting if another
        // wrote in between, whatever the busy timeout says.
        self.run("BEGIN IMMEDIATE").map_err(self.failed(doing))?;
        let result = work(&self.conn).and_then(|value| {
            self.run("COMMIT").map_err(self.failed(doing))?;
            Ok(value)
        });
        if result.is_err() && !self.conn.is_autocommit() {
            self.run("ROLLBACK").map_err(self.failed("rolling back"))?;
        }
        result
    }

    /// Runs `work` on one unchanging picture of the file. Inside an open transaction it sees that one's picture.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        if !self.conn.is_autocommit() {
            return work(&self.conn);
        }
        self.run("BEGIN").map_err(self.failed("reading"))?;
        let result = work(&self.conn);
        self.run("COMMIT").map_err(self.failed("reading"))?;
        result
    }

    /// Begins a read transaction that stays, and takes its picture now rather than at the first query.
    pub(super) fn pin(&self) -> Result<(), Error> {
        self.run("BEGIN").map_err(self.failed("reading"))?;
        let tables = self.conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
        tables.map(|_| ()).map_err(self.failed("reading"))
    }

    fn run(&self, sql: &str) -> Result<(), rusqlite::Error> {
        self.conn.prepare_cached(sql)?.execute([]).map(|_| ())
    }
}

fn damaged(file: DbFile, problem: String) -> Error {
    match file {
        DbFile::Log => Error::LogDamaged { segment: None, problem },
        DbFile::Archive => Error::damaged_archive(problem),
    }
}

fn classify(file: DbFile, path: PathBuf, doing: &'static str, error: rusqlite::Error) -> Error {
    use rusqlite::Error as E;
    let damaged = |problem| damaged(file, problem);
    let code = match &error {
        E::SqliteFailure(failure, _) => failure.code,
        // A value of a type that we never wrote there, or a row that must be there and is not.
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::InvalidColumnType(..)
        | E::Utf8Error(..)
        | E::QueryReturnedNoRows => return damaged(format!("{doing}: {error}")),
        _ => return Error::Unknown { doing, source: error.into() },
    };
    match code {
        ErrorCode::DiskFull => Error::Full { path, source: error.into() },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            Error::Busy { source: error.into() }
        }
        // Unknown is what SQLite says of SQL that does not fit the schema: somebody else's tables under our name.
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown | ErrorCode::TypeMismatch => {
            damaged(format!("{doing}: {error}"))
        }
        // A reader too needs its side files beside the database, and SQLite makes them where it can write.
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            Error::NotWritable { path, problem: error.to_string() }
        }
        _ => Error::Unknown { doing, source: error.into() },
    }
}

/// SQLite's integers are signed. Keys and numbers count from 1 and stay far below the border.
pub(super) fn int(value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::damaged_archive(format!("{value} is no number that was ever given out")))
}

/// The other way. A negative number was never written.
pub(super) fn uint(value: i64) -> Result<u64, rusqlite::Error> {
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, value))
}

/// A digest column.
pub(super) fn digest(row: &rusqlite::Row<'_>, column: usize) -> Result<antiphon_history::Digest, rusqlite::Error> {
    let bytes = row.get_ref(column)?.as_blob()?;
    antiphon_history::Digest::from_slice(bytes).ok_or_else(|| {
        let what = "a digest has 32 bytes".into();
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, what)
    })
}
