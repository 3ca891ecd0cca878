//! Moving the write-ahead logs into their files: by another thread by size, by the writer only the last of it, or past a
//! hard cap.

use super::db::Db;
use super::pragma;
use crate::{Checkpoint, Error, Guard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of write-ahead log that are worth a checkpoint: several times what the log's file has, so that most pages are
/// written over before they are moved; small enough that a recovery after a crash stays short.
const WORTH_BYTES: u64 = 8 * 1024 * 1024;
/// Past this the writer stops to checkpoint itself: the thread that should has died or cannot keep up.
const CAP_BYTES: u64 = 64 * 1024 * 1024;
/// The writer looks at the true size only after it has written this much, since the look costs some microseconds.
const LOOK_BYTES: u64 = 8 * 1024 * 1024;
/// What is left for the writer to move: some pages in one sync.
const REST_BYTES: u64 = 256 * 1024;
/// How often the thread tries to leave no more than that. Each time what was written meanwhile is less.
const TRIES: u32 = 3;

/// Moves the write-ahead logs while their writers go on.
///
/// A log starts over only when all of it is in the file, and beside a busy writer there is always some more. So the thread
/// moves nearly all, and leaves word to the writer, which moves the rest between two commits.
pub(super) struct SqliteCheckpoint {
    databases: [(Db, WalWord); 2],
    _guard: Guard,
}

/// Word from the thread that checkpoints to a writer.
#[derive(Clone, Default)]
pub(super) struct WalWord(Arc<AtomicBool>);

impl SqliteCheckpoint {
    pub(super) fn new(databases: [(Db, WalWord); 2], guard: Guard) -> SqliteCheckpoint {
        SqliteCheckpoint { databases, _guard: guard }
    }
}

impl Checkpoint for SqliteCheckpoint {
    fn run_if_needed(&mut self) -> Result<(), Error> {
        for (db, word) in &self.databases {
            let page = pragma::page_bytes(db)?;
            let mut wal = Wal::look(db)?;
            if wal.frames * page <= WORTH_BYTES {
                continue;
            }
            for _ in 0..TRIES {
                if wal.waiting() * page <= REST_BYTES {
                    break;
                }
                wal = Wal::checkpoint(db)?;
            }
            word.0.store(wal.waiting() > 0, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The writer's own guard over its write-ahead log.
pub(super) struct WalCap {
    word: WalWord,
    page_bytes: u64,
    since_look: u64,
}

impl WalCap {
    /// For the writer of `db`.
    pub(super) fn new(db: &Db, word: WalWord) -> Result<WalCap, Error> {
        Ok(WalCap { word, page_bytes: pragma::page_bytes(db)?, since_look: 0 })
    }

    /// Called before a transaction, never inside one. While a reader holds an old picture the log cannot be emptied;
    /// then this comes again after some more megabytes instead of with every commit.
    pub(super) fn hold(&mut self, db: &Db) -> Result<(), Error> {
        if self.word.0.swap(false, Ordering::Relaxed) {
            return Wal::checkpoint(db).map(|_| ());
        }
        if self.since_look < LOOK_BYTES {
            return Ok(());
        }
        self.since_look = 0;
        match Wal::look(db)?.frames * self.page_bytes > CAP_BYTES {
            true => Wal::checkpoint_by_all_means(db),
            false => Ok(()),
        }
    }

    /// Notes about how much a transaction wrote: its data and some pages around them.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.since_look += bytes as u64 + 4 * self.page_bytes;
    }
}

/// A write-ahead log. Its length on disk says nothing: it is reused.
struct Wal {
    /// Pages in it.
    frames: u64,
    /// Pages of them that are in the file too.
    moved: u64,
}

impl Wal {
    fn look(db: &Db) -> Result<Wal, Error> {
        Wal::run(db, "PRAGMA wal_checkpoint(NOOP)")
    }

    /// Moves what can be moved without waiting for anybody. Commits go on meanwhile.
    fn checkpoint(db: &Db) -> Result<Wal, Error> {
        Wal::run(db, "PRAGMA wal_checkpoint(PASSIVE)")
    }

    /// As [`Wal::checkpoint`], but waits for the thread if that is in the middle of one and was kept from going on, as long
    /// as for any lock. Going on without it would let the log grow for as long as the machine is busy with others.
    fn checkpoint_by_all_means(db: &Db) -> Result<(), Error> {
        match Wal::checkpoint(db)?.frames {
            0 => Wal::run(db, "PRAGMA wal_checkpoint(FULL)").map(|_| ()),
            _ => Ok(()),
        }
    }

    fn waiting(&self) -> u64 {
        self.frames.saturating_sub(self.moved)
    }

    fn run(db: &Db, sql: &'static str) -> Result<Wal, Error> {
        let failed = db.failed("a checkpoint");
        let mut statement = db.conn.prepare_cached(sql).map_err(&failed)?;
        // -1 for both: there is no write-ahead log yet, or somebody else is at it.
        let frames = |count: i64| count.max(0).cast_unsigned();
        let read = |row: &rusqlite::Row<'_>| Ok(Wal { frames: frames(row.get(1)?), moved: frames(row.get(2)?) });
        statement.query_row([], read).map_err(&failed)
    }
}
