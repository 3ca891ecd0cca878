//! The ledger: a digest per batch, chained. The rows of long ago may go, because blocks tell what each batch moved and how
//! far it went; what remains is what an anchor can name.

use super::db::{Db, digest, int};
use crate::{Error, Watermark};
use antiphon_history::Digest;
use rusqlite::OptionalExtension;

/// Rows that are kept: half an hour of folds, 5 a second. An anchor is at most some folds behind.
const KEPT_ROWS: u64 = 8192;
/// Rows that go at once: each costs little, a page of them as much as one.
const DROPPED_ROWS: u64 = 1024;

/// Appends the row of the batch that leads to `watermark`, inside its transaction, and now and then drops old ones.
pub(super) fn append(archive: &Db, watermark: Watermark) -> Result<(), Error> {
    let failed = archive.failed("writing the ledger");
    let sql = "INSERT INTO ledger (batch, through_segment, digest) VALUES (?1, ?2, ?3)";
    let mut insert = archive.conn.prepare_cached(sql).map_err(&failed)?;
    let values = (int(watermark.batches)?, int(watermark.segment)?, &watermark.ledger.0[..]);
    insert.execute(values).map_err(&failed)?;
    if watermark.batches > KEPT_ROWS && watermark.batches.is_multiple_of(DROPPED_ROWS) {
        // What an archive of the first format wrote is in no block, so its rows stay.
        let sql = "DELETE FROM ledger WHERE batch <= ?1 AND batch >= (SELECT batch FROM block ORDER BY id LIMIT 1)";
        let mut delete = archive.conn.prepare_cached(sql).map_err(&failed)?;
        delete.execute([int(watermark.batches - KEPT_ROWS)?]).map_err(&failed)?;
    }
    Ok(())
}

/// The digest of a batch, if its row is kept.
pub(super) fn digest_of(archive: &Db, batch: u64) -> Result<Option<Digest>, Error> {
    let failed = archive.failed("reading the ledger");
    let mut statement = archive.conn.prepare_cached("SELECT digest FROM ledger WHERE batch = ?1").map_err(&failed)?;
    statement.query_row([int(batch)?], |row| digest(row, 0)).optional().map_err(&failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::db::{Access, DbFile};
    use super::super::folder::Folder;
    use super::super::{Options, open};
    use super::*;
    use crate::Durability;

    #[test]
    fn rows_of_long_ago_go_but_those_of_batches_without_blocks_stay() {
        let path = tempfile::tempdir().unwrap();
        drop(open(path.path(), &Options::default()).unwrap());
        let folder = Folder::existing(path.path()).unwrap();
        let archive = Db::open(&folder, DbFile::Archive, Access::Write(Durability::Full)).unwrap();
        archive.conn.execute_batch("INSERT INTO block VALUES (1, 100, 100, x'01')").unwrap();
        let last = KEPT_ROWS + 2 * DROPPED_ROWS;
        archive
            .write("a test", |_| {
                (1..=last).try_for_each(|batches| {
                    append(&archive, Watermark { batches, segment: batches, ..Watermark::START })
                })
            })
            .unwrap();
        let mut rows = archive.conn.prepare("SELECT batch FROM ledger ORDER BY batch").unwrap();
        let rows: Vec<u64> =
            rows.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|row| row.unwrap().cast_unsigned()).collect();
        assert_eq!(rows, (1..100).chain(2 * DROPPED_ROWS + 1..=last).collect::<Vec<u64>>());
        assert_eq!(digest_of(&archive, 99).unwrap(), Some(Digest::START));
        assert_eq!(digest_of(&archive, 100).unwrap(), None);
    }
}
