use super::checkpoint::{WalCap, WalWord};
use super::db::{Db, digest, int, uint};
use crate::squeeze::{squeeze, unsqueeze};
use crate::{Error, ErrorKind, Guard, Log, Tip};
use antiphon_history::limits::SEGMENT_MAX_BYTES;
use antiphon_history::{Digest, Segment, Timestamp, planted};
use rusqlite::ErrorCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Old segments go with every eighth append, or when so many wait: those that lie together free whole pages, and a page
/// that is free is not written.
const PRUNE_EVERY: u64 = 8;
/// Most segments that go with one append: some 50 microseconds if they are small. With every eighth append four for each,
/// so that any backlog is caught up with.
const PRUNE_AT_ONCE: u64 = 32;

/// Most bytes of segments that one portion of the tail holds in memory.
const PORTION_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct SqliteLog {
    db: Db,
    tip: Tip,
    syncs: u64,
    /// The oldest segment that may still be there.
    oldest: u64,
    prune_through: u64,
    /// How far the archive durably is; written by the archive's thread.
    archived: Arc<AtomicU64>,
    wal: WalCap,
    /// A commit of unknown result has been seen: what the file holds is not what we think.
    broken: bool,
    _guard: Guard,
}

impl SqliteLog {
    pub(super) fn new(
        db: Db,
        tip: Tip,
        archived: Arc<AtomicU64>,
        word: WalWord,
        guard: Guard,
    ) -> Result<SqliteLog, Error> {
        let oldest = bounds(&db)?.map_or(tip.id + 1, |(oldest, _)| oldest);
        let wal = WalCap::new(&db, word)?;
        Ok(SqliteLog { db, tip, syncs: 0, oldest, prune_through: 0, archived, wal, broken: false, _guard: guard })
    }

    fn insert(&self, segment: &Segment, body: &[u8]) -> Result<(), Error> {
        let failed = self.db.failed("appending a segment");
        let sql = "INSERT INTO segment (id, at_ms, digest, body) VALUES (?1, ?2, ?3, ?4)";
        let mut statement = self.db.conn.prepare_cached(sql).map_err(&failed)?;
        match statement.execute((int(segment.id)?, segment.at.0, &segment.digest.0[..], body)) {
            Ok(_) => Ok(()),
            // The number is claimed inside the transaction: who comes second has lost the store, whatever locks say.
            Err(rusqlite::Error::SqliteFailure(failure, _)) if failure.code == ErrorCode::ConstraintViolation => {
                Err(Error::Fenced { segment: segment.id })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Deletes some old segments, if it is their time, and returns the oldest that remains.
    fn delete_some(&self) -> Result<u64, Error> {
        // What the archive does not durably have exists nowhere else.
        let mut through = self.prune_through.min(self.archived.load(Ordering::Acquire));
        if planted!("log-pruned-before-archived") {
            through = self.tip.id;
        }
        let waiting = (through + 1).saturating_sub(self.oldest);
        if waiting == 0 || (waiting < PRUNE_AT_ONCE && !(self.tip.id + 1).is_multiple_of(PRUNE_EVERY)) {
            return Ok(self.oldest);
        }
        let failed = self.db.failed("pruning the log");
        let last = through.min(self.oldest + PRUNE_AT_ONCE - 1);
        let mut statement =
            self.db.conn.prepare_cached("DELETE FROM segment WHERE id BETWEEN ?1 AND ?2").map_err(&failed)?;
        statement.execute((int(self.oldest)?, int(last)?)).map_err(&failed)?;
        Ok(last + 1)
    }
}

impl Log for SqliteLog {
    fn tip(&self) -> Tip {
        self.tip
    }

    fn append(&mut self, segment: &Segment) -> Result<(), Error> {
        if self.broken {
            let source = "an earlier commit had no known result".into();
            return Err(Error::Unknown { doing: "appending a segment", source });
        }
        self.tip.check_next(segment)?;
        self.wal.hold(&self.db)?;
        let body = squeeze(&segment.body);
        let oldest = self.db.write("appending a segment", |_| {
            // First, so that the new one finds room in pages that are free.
            let oldest = self.delete_some()?;
            self.insert(segment, &body)?;
            Ok(oldest)
        });
        match oldest {
            Ok(oldest) => {
                self.oldest = oldest;
                self.tip = Tip::of(segment);
                self.syncs += 1;
                self.wal.wrote(body.len());
                Ok(())
            }
            Err(error) if planted!("unknown-taken-as-applied") && error.kind() == ErrorKind::Unknown => {
                self.tip = Tip::of(segment);
                Ok(())
            }
            Err(error) => {
                // Full and Busy were rolled back and may be tried again. After anything else the file may hold the
                // segment although SQLite said that it failed: an error of a sync does not undo the write before it.
                self.broken = !matches!(error.kind(), ErrorKind::Full | ErrorKind::Busy);
                Err(error)
            }
        }
    }

    fn read_after(&mut self, after: u64, max_segments: usize) -> Result<Vec<Segment>, Error> {
        let segments = segments_after(&self.db, after, max_segments, usize::MAX)?;
        // What came before the oldest segment is known only to the archive.
        let mut previous = match (after, segments.first()) {
            (0, Some(first)) if first.id == 1 => Some(Tip::START),
            _ => digest_of(&self.db, after)?.map(|digest| Tip { id: after, digest, at: Timestamp(0) }),
        };
        for segment in &segments {
            if let Some(previous) = previous {
                check_link(previous, segment)?;
            }
            previous = Some(Tip::of(segment));
        }
        Ok(segments)
    }

    fn prune(&mut self, through: u64) {
        self.prune_through = self.prune_through.max(through);
    }

    fn syncs(&self) -> u64 {
        self.syncs
    }
}

/// Walks the segments that follow `from`, in portions, checking each link before `visit` gets it. Returns the tip.
///
/// Errors: [`Error::LogDamaged`] at the first missing or altered segment, and `visit`'s.
pub(super) fn walk_tail(
    log: &Db,
    from: Tip,
    visit: &mut dyn FnMut(&[Segment]) -> Result<(), Error>,
) -> Result<Tip, Error> {
    let mut tip = from;
    loop {
        let portion = segments_after(log, tip.id, usize::MAX, PORTION_BYTES)?;
        if portion.is_empty() {
            return Ok(tip);
        }
        for segment in &portion {
            check_link(tip, segment)?;
            tip = Tip::of(segment);
        }
        visit(&portion)?;
    }
}

fn check_link(previous: Tip, segment: &Segment) -> Result<(), Error> {
    let next = previous.id + 1;
    if segment.id != next {
        let problem = format!("segments {next} to {} are missing", segment.id - 1);
        return Err(Error::damaged_log(next, problem));
    }
    if !segment.follows(previous.digest) {
        return Err(Error::damaged_log(next, "its digest does not continue the chain"));
    }
    Ok(())
}

/// Segments with numbers above `after` in order, unchecked. At least one, if there is one, whatever its size.
pub(super) fn segments_after(
    log: &Db,
    after: u64,
    max_segments: usize,
    max_bytes: usize,
) -> Result<Vec<Segment>, Error> {
    let failed = log.failed("reading the log");
    let sql = "SELECT id, at_ms, digest, body FROM segment WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut statement = log.conn.prepare_cached(sql).map_err(&failed)?;
    let limit = i64::try_from(max_segments).unwrap_or(i64::MAX);
    let mut rows = statement.query((int(after)?, limit)).map_err(&failed)?;
    let (mut segments, mut bytes) = (Vec::new(), 0usize);
    while bytes < max_bytes {
        let Some(row) = rows.next().map_err(&failed)? else { break };
        let segment = read_segment(row).map_err(&failed)??;
        bytes = bytes.saturating_add(segment.body.len());
        segments.push(segment);
    }
    Ok(segments)
}

/// Two layers: what SQLite says, and what the bytes say.
fn read_segment(row: &rusqlite::Row<'_>) -> Result<Result<Segment, Error>, rusqlite::Error> {
    let (id, at, digest) = (uint(row.get(0)?)?, Timestamp(row.get(1)?), digest(row, 2)?);
    let body = unsqueeze(row.get_ref(3)?.as_blob()?, SEGMENT_MAX_BYTES);
    let unreadable = |error| Error::damaged_log(id, format!("its body cannot be read: {error}"));
    Ok(body.map(|body| Segment { id, at, digest, body: body.as_ref().into() }).map_err(unreadable))
}

/// The first and the last number in the log.
pub(super) fn bounds(log: &Db) -> Result<Option<(u64, u64)>, Error> {
    let failed = log.failed("reading the log");
    // Two look-ups: one query for both would walk the whole table.
    let first = log.conn.query_row("SELECT min(id) FROM segment", [], |row| row.get::<_, Option<i64>>(0));
    let last = log.conn.query_row("SELECT max(id) FROM segment", [], |row| row.get::<_, Option<i64>>(0));
    match (first.map_err(&failed)?, last.map_err(&failed)?) {
        (Some(first), Some(last)) => Ok(Some((uint(first).map_err(&failed)?, uint(last).map_err(&failed)?))),
        _ => Ok(None),
    }
}

/// The digest that the log has for a segment, if it still has the segment.
pub(super) fn digest_of(log: &Db, segment: u64) -> Result<Option<Digest>, Error> {
    use rusqlite::OptionalExtension;
    let failed = log.failed("reading the log");
    let mut statement = log.conn.prepare_cached("SELECT digest FROM segment WHERE id = ?1").map_err(&failed)?;
    statement.query_row([int(segment)?], |row| digest(row, 0)).optional().map_err(&failed)
}

#[cfg(test)]
mod tests {
    use super::super::db::{Access, DbFile};
    use super::super::folder::Folder;
    use super::super::{Options, open};
    use super::*;
    use crate::Durability;
    use crate::conformance::Sample;

    fn log_of(folder: &Folder) -> SqliteLog {
        let db = Db::open(folder, DbFile::Log, Access::Write(Durability::Full)).unwrap();
        SqliteLog::new(db, Tip::START, Arc::default(), WalWord::default(), Guard::new(())).unwrap()
    }

    fn created() -> (tempfile::TempDir, Folder) {
        let path = tempfile::tempdir().unwrap();
        drop(open(path.path(), &Options::default()).unwrap());
        let folder = Folder::existing(path.path()).unwrap();
        (path, folder)
    }

    #[test]
    fn a_full_file_refuses_a_segment_whole_and_goes_on_when_there_is_room() {
        let (_path, folder) = created();
        let mut log = log_of(&folder);
        let mut sample = Sample::new(61);
        log.db.conn.pragma_update(None, "max_page_count", 12).unwrap();
        let refused = loop {
            let segment = sample.segment(log.tip());
            if let Err(error) = log.append(&segment) {
                assert_eq!((error.kind(), error.code()), (ErrorKind::Full, Some("A0005")), "{error}");
                break segment;
            }
        };
        assert_eq!(log.tip().id + 1, refused.id);
        assert_eq!(log.append(&refused).unwrap_err().kind(), ErrorKind::Full);
        log.db.conn.pragma_update(None, "max_page_count", 1_000_000).unwrap();
        log.append(&refused).unwrap();
        assert_eq!(log.read_after(0, usize::MAX).unwrap().len() as u64, refused.id);
    }

    #[test]
    fn a_number_that_somebody_else_took_fences_the_writer_for_good() {
        let (_path, folder) = created();
        let (mut ours, mut theirs) = (log_of(&folder), log_of(&folder));
        let first = Sample::new(62).segment(Tip::START);
        theirs.append(&Sample::new(63).segment(Tip::START)).unwrap();
        assert_eq!(ours.append(&first).unwrap_err().kind(), ErrorKind::Fenced);
        assert_eq!(ours.append(&first).unwrap_err().kind(), ErrorKind::Unknown);
        assert_eq!(theirs.read_after(0, 9).unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_somebody_else_writes_is_busy_and_the_append_may_be_repeated() {
        let (_path, folder) = created();
        let mut log = log_of(&folder);
        let stranger = Db::open(&folder, DbFile::Log, Access::Write(Durability::Full)).unwrap();
        stranger.conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        // The wait itself is not what is tested, and a test does not wait.
        log.db.conn.busy_timeout(std::time::Duration::ZERO).unwrap();
        let segment = Sample::new(64).segment(Tip::START);
        let error = log.append(&segment).unwrap_err();
        assert_eq!((error.kind(), error.code(), error.retryable()), (ErrorKind::Busy, Some("A0010"), true));
        stranger.conn.execute_batch("ROLLBACK").unwrap();
        log.append(&segment).unwrap();
    }

    #[test]
    fn a_log_without_its_checkpointer_is_bounded_by_its_writer() {
        let (path, folder) = created();
        let db = Db::open(&folder, DbFile::Log, Access::Write(Durability::Process)).unwrap();
        let mut log = SqliteLog::new(db, Tip::START, Arc::default(), WalWord::default(), Guard::new(())).unwrap();
        let mut body = antiphon_history::SegmentBody::default();
        let mut noise = vec![0; 2_000_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        body.payloads.push((Digest::START, noise.into()));
        let body = body.to_bytes();
        for _ in 0..80 {
            let tip = log.tip();
            log.append(&Segment::seal(tip.digest, tip.id + 1, tip.at, body.clone())).unwrap();
        }
        let bytes = path.path().join("log.db-wal").metadata().unwrap().len();
        assert!(bytes > 64 * 1024 * 1024, "{bytes}: the cap was not reached, so nothing was tested");
        assert!(bytes < 80 * 1024 * 1024, "{bytes}");
    }
}
