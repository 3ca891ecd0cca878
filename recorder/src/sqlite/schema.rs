//! The tables, and what a file says of itself.

use super::db::{Access, Db, DbFile, digest, int, uint};
use super::folder::Folder;
use super::{names, pragma, shape};
use crate::{Error, Watermark};
use antiphon_history::{RunKey, Timestamp, planted};

/// The format that this version writes and the newest that it reads (`user_version`). A minor grows without it: older
/// programs can go on with what they know.
const FORMAT_MAJOR: u32 = 3;
const FORMAT_MINOR: u32 = 0;

/// How a file of the store lays out what it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// 1: segments as they are; each run's new records of each batch as a row of `history`, and an index by fingerprint.
    Parts,
    /// 2: segments may be squeezed; new records of all runs in squeezed blocks, names in key order. What `history` has
    /// from before stays there. 3: the same, and there may be rows of entities, which an older program would take for runs.
    Blocks,
}

pub(super) const LOG: &str = "
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), store BLOB NOT NULL, format_minor INTEGER NOT NULL);
CREATE TABLE segment (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, digest BLOB NOT NULL, body BLOB NOT NULL);
";

pub(super) const ARCHIVE_META: &str = "
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1), store BLOB NOT NULL, format_minor INTEGER NOT NULL,
    segment INTEGER NOT NULL, digest BLOB NOT NULL, at_ms INTEGER NOT NULL, ledger BLOB NOT NULL, batches INTEGER NOT NULL
);
CREATE TABLE history (
    run INTEGER NOT NULL, part INTEGER NOT NULL, batch INTEGER NOT NULL, digest BLOB NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (run, part)
) WITHOUT ROWID;
CREATE TABLE payload (digest BLOB PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE tally (
    workflow_type TEXT NOT NULL, status INTEGER NOT NULL, runs INTEGER NOT NULL, PRIMARY KEY (workflow_type, status)
) WITHOUT ROWID;
CREATE TABLE ledger (batch INTEGER PRIMARY KEY, through_segment INTEGER NOT NULL, digest BLOB NOT NULL);
";

/// What a fold adds to grows at its end, whatever the size of the store. Few indexes, since each is paid in every batch:
/// three that hold only the runs that somebody looks for.
pub(super) const ARCHIVE_RUNS: &str = "
CREATE TABLE run (
    key INTEGER PRIMARY KEY, block INTEGER NOT NULL, status INTEGER NOT NULL, due_ms INTEGER,
    needs_loading INTEGER NOT NULL, row BLOB NOT NULL
);
CREATE TABLE name (chunk INTEGER PRIMARY KEY, entries BLOB NOT NULL);
CREATE TABLE block (
    id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, through_segment INTEGER NOT NULL, body BLOB NOT NULL
);
";
pub(super) const ARCHIVE_INDEXES: &str = "
CREATE INDEX run_status ON run (status) WHERE status <> 3;
CREATE INDEX run_due ON run (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX run_needs_loading ON run (needs_loading) WHERE needs_loading = 1;
";

/// What `create` sets.
const PAGE_BYTES: u64 = 4096;

/// What a file is, as far as it tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// Empty, or left behind by a creation that was interrupted.
    Fresh,
    /// Ours, of the store with this id.
    Store([u8; 16]),
}

/// Looks at a file without writing anything, not even to its side files.
///
/// Errors: [`Error::Folder`] if it is somebody else's, [`Error::NewerFormat`].
pub(super) fn peek(folder: &Folder, file: DbFile) -> Result<Found, Error> {
    match folder.file(file.name()).symlink_metadata() {
        // An empty file is one whose creation was interrupted. SQLite would open it, and make a side file for it.
        Ok(metadata) if metadata.len() > 0 && !is_half_created(folder, file, metadata.len()) => {}
        _ => return Ok(Found::Fresh),
    }
    let db = Db::open(folder, file, Access::Peek)?;
    let application = pragma::read(&db, "application_id")?;
    let tables = db.conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    let tables = tables.map_err(db.failed("looking at a database"))?;
    if application == "0" && tables == 0 {
        return Ok(Found::Fresh);
    }
    if application != file.application_id().to_string() {
        let problem = "it is a database of another program; name another folder".to_owned();
        return Err(Error::Folder { path: db.path.clone(), problem });
    }
    let found = pragma::read(&db, "user_version")?.parse::<u32>().unwrap_or(u32::MAX);
    if found > FORMAT_MAJOR {
        return Err(Error::NewerFormat { path: db.path.clone(), found, known: FORMAT_MAJOR });
    }
    // Before the first of its tables is read: a view in a table's place may do anything but end.
    shape::check(&db, format(&db)?)?;
    store_id(&db).map(Found::Store)
}

/// Whether the creation was interrupted between the first byte and the switch to a write-ahead log: the only time when
/// SQLite keeps a rollback journal beside our files, which only who may write can take back. The file then has one page
/// at most. The journal's end is durable before anything is acknowledged, since the folder is synced after a creation.
fn is_half_created(folder: &Folder, file: DbFile, length: u64) -> bool {
    let journal = folder.file(&format!("{}-journal", file.name()));
    !planted!("half-creation-refused")
        && length <= PAGE_BYTES
        && journal.symlink_metadata().is_ok_and(|journal| journal.len() > 0)
}

/// Gives a fresh file its tables and its settings for life.
pub(super) fn create(folder: &Folder, file: DbFile, store: [u8; 16]) -> Result<(), Error> {
    let db = Db::open(folder, file, Access::Create)?;
    let failed = db.failed("creating a database");
    // The page size must come before the first write, the journal mode before the tables.
    let settings = "PRAGMA page_size = 4096; PRAGMA auto_vacuum = NONE; PRAGMA encoding = 'UTF-8';";
    db.conn.execute_batch(settings).map_err(&failed)?;
    switch_to_wal(&db.conn).map_err(&failed)?;
    db.conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON;").map_err(&failed)?;
    db.write("creating a database", |conn| {
        let tables = match file {
            DbFile::Log => &[LOG][..],
            DbFile::Archive => &[ARCHIVE_META, ARCHIVE_RUNS, ARCHIVE_INDEXES],
        };
        tables.iter().try_for_each(|tables| conn.execute_batch(tables)).map_err(&failed)?;
        match file {
            DbFile::Log => conn.execute("INSERT INTO meta VALUES (1, ?1, ?2)", (store, FORMAT_MINOR)),
            DbFile::Archive => {
                let start = Watermark::START;
                conn.execute(
                    "INSERT INTO meta VALUES (1, ?1, ?2, 0, ?3, ?4, ?5, 0)",
                    (store, FORMAT_MINOR, start.digest.0, start.at.0, start.ledger.0),
                )
            }
        }
        .map_err(&failed)?;
        // Last, and in the same transaction: a file is ours when it is whole.
        conn.pragma_update(None, "application_id", file.application_id()).map_err(&failed)?;
        conn.pragma_update(None, "user_version", FORMAT_MAJOR).map_err(&failed)
    })
}

/// The switch is a commit of its own, which comes, and may fail, behind the row that tells of it: whoever takes the row and
/// goes does not hear of the failure, and makes a store in the wrong mode, which is refused for ever.
fn switch_to_wal(conn: &rusqlite::Connection) -> Result<(), rusqlite::Error> {
    let mut switch = conn.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = switch.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// How a file lays out what it has.
pub(super) fn format(db: &Db) -> Result<Format, Error> {
    match pragma::read(db, "user_version")?.as_str() {
        "1" => Ok(Format::Parts),
        "2" | "3" => Ok(Format::Blocks),
        other => Err(Error::Setting {
            what: format!("user_version of {}", db.path.display()),
            expected: format!("1 to {FORMAT_MAJOR}"),
            found: other.to_owned(),
        }),
    }
}

/// Brings a file of an older format to the one that this version writes. Rows of runs are copied and their names
/// collected; segments and parts of histories stay as they are.
pub(super) fn upgrade(db: &Db) -> Result<(), Error> {
    if pragma::read(db, "user_version")? == FORMAT_MAJOR.to_string() {
        return Ok(());
    }
    let lays_out_anew = format(db)? == Format::Parts;
    let failed = db.failed("bringing a database to a newer format");
    if planted!("upgraded-in-two-steps") {
        db.conn.pragma_update(None, "user_version", FORMAT_MAJOR).map_err(&failed)?;
    }
    db.write("bringing a database to a newer format", |conn| {
        if db.file == DbFile::Archive && lays_out_anew {
            let mut names = Vec::new();
            names::visit(db, Format::Parts, RunKey(0), &mut |run, name| {
                names.push((run, name));
                Ok(())
            })?;
            conn.execute_batch("ALTER TABLE run RENAME TO run_before").map_err(&failed)?;
            conn.execute_batch(ARCHIVE_RUNS).map_err(&failed)?;
            let sql = "INSERT INTO run (key, block, status, due_ms, needs_loading, row)
                SELECT key, 0, status, due_ms, needs_loading, row FROM run_before ORDER BY key";
            conn.execute_batch(sql).map_err(&failed)?;
            names::add(db, names.into_iter())?;
            conn.execute_batch("DROP TABLE run_before").map_err(&failed)?;
            conn.execute_batch(ARCHIVE_INDEXES).map_err(&failed)?;
        }
        conn.pragma_update(None, "user_version", FORMAT_MAJOR).map_err(&failed)
    })
}

/// The store that a file belongs to.
pub(super) fn store_id(db: &Db) -> Result<[u8; 16], Error> {
    db.conn
        .query_row("SELECT store FROM meta WHERE one = 1", [], |row| row.get::<_, [u8; 16]>(0))
        .map_err(db.failed("reading the store's id"))
}

/// How far the archive is.
pub(super) fn watermark(archive: &Db) -> Result<Watermark, Error> {
    let failed = archive.failed("reading the watermark");
    let mut statement = archive
        .conn
        .prepare_cached("SELECT segment, digest, at_ms, ledger, batches FROM meta WHERE one = 1")
        .map_err(&failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Watermark {
            segment: uint(row.get(0)?)?,
            digest: digest(row, 1)?,
            at: Timestamp(row.get(2)?),
            ledger: digest(row, 3)?,
            batches: uint(row.get(4)?)?,
        })
    };
    statement.query_row([], read).map_err(&failed)
}

/// Moves the watermark, inside a transaction.
pub(super) fn set_watermark(archive: &Db, to: Watermark) -> Result<(), Error> {
    let failed = archive.failed("moving the watermark");
    let mut statement = archive
        .conn
        .prepare_cached(
            "UPDATE meta SET segment = ?1, digest = ?2, at_ms = ?3, ledger = ?4, batches = ?5 WHERE one = 1",
        )
        .map_err(&failed)?;
    let values = (int(to.segment)?, to.digest.0, to.at.0, to.ledger.0, int(to.batches)?);
    statement.execute(values).map(|_| ()).map_err(&failed)
}
