//! Moving the write-ahead logs into their files: by another thread by size, by the writer only past a hard cap.

use super::db::Db;
use crate::{Checkpoint, Error, Guard};

/// Bytes of write-ahead log that are worth a checkpoint: enough that one sync pays for a thousand pages, small enough
/// that a reader's look-up in the log's index and a recovery after a crash stay short.
const WORTH_BYTES: u64 = 4 * 1024 * 1024;
/// Past this the writer stops to checkpoint itself: the thread that should has died or cannot keep up.
const CAP_BYTES: u64 = 64 * 1024 * 1024;
/// The writer looks at the true size only after it has written this much, since the look costs some microseconds.
const LOOK_BYTES: u64 = 8 * 1024 * 1024;
/// Page size, as created.
const PAGE_BYTES: u64 = 4096;

pub(super) struct SqliteCheckpoint {
    pub(super) databases: [Db; 2],
    pub(super) _guard: Guard,
}

impl Checkpoint for SqliteCheckpoint {
    fn run_if_needed(&mut self) -> Result<(), Error> {
        for db in &self.databases {
            if waiting_bytes(db)? > WORTH_BYTES {
                checkpoint(db)?;
            }
        }
        Ok(())
    }
}

/// The writer's own guard over its write-ahead log.
#[derive(Default)]
pub(super) struct WalCap {
    since_look: u64,
}

impl WalCap {
    /// Called before a transaction, never inside one. While a reader holds an old picture the log cannot be emptied;
    /// then this comes again after some more megabytes instead of with every commit.
    pub(super) fn hold(&mut self, db: &Db) -> Result<(), Error> {
        if self.since_look < LOOK_BYTES {
            return Ok(());
        }
        self.since_look = 0;
        if waiting_bytes(db)? > CAP_BYTES { checkpoint(db) } else { Ok(()) }
    }

    /// Notes about how much a transaction wrote: its data and some pages around them.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.since_look += bytes as u64 + 4 * PAGE_BYTES;
    }
}

/// Bytes in the write-ahead log that are not yet in the file. The log's length on disk says nothing: it is reused.
pub(super) fn waiting_bytes(db: &Db) -> Result<u64, Error> {
    let (frames, moved) = wal_checkpoint(db, "PRAGMA wal_checkpoint(NOOP)")?;
    Ok(frames.saturating_sub(moved) * PAGE_BYTES)
}

/// Moves what can be moved without waiting for anybody. Commits go on meanwhile.
fn checkpoint(db: &Db) -> Result<(), Error> {
    wal_checkpoint(db, "PRAGMA wal_checkpoint(PASSIVE)").map(|_| ())
}

/// Pages in the write-ahead log, and pages of them that are in the file too.
fn wal_checkpoint(db: &Db, sql: &'static str) -> Result<(u64, u64), Error> {
    let failed = db.failed("a checkpoint");
    let mut statement = db.conn.prepare_cached(sql).map_err(&failed)?;
    // -1 for both: there is no write-ahead log yet.
    let frames = |count: i64| count.max(0).cast_unsigned();
    statement.query_row([], |row| Ok((frames(row.get(1)?), frames(row.get(2)?)))).map_err(&failed)
}
