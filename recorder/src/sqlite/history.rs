//! One run's history out of the archive: its blocks, from the last back, and before them its parts.

use super::db::{self, Db, int, uint};
use crate::Error;
use crate::block;
use crate::pack::Packed;
use antiphon_history::{DecodeError, Digest, RunKey};
use rusqlite::OptionalExtension;

/// Blocks that are kept open: runs that are loaded together often lie together, but seldom in the order in which they are
/// asked for.
const KEPT_BLOCKS: usize = 16;
/// A block this large holds one run, or few: nothing is gained by keeping it.
const KEPT_MAX_BYTES: usize = 256 * 1024;

/// Blocks in the form in which they are read, with the last few that were opened, the latest at the end.
#[derive(Default)]
pub(super) struct Blocks {
    opened: Vec<(u64, Vec<u8>)>,
}

impl Blocks {
    /// A block, opened, for the sake of `run`; `None` if there is none with this number.
    fn open(&mut self, db: &Db, run: RunKey, number: u64) -> Result<Option<&[u8]>, Error> {
        if let Some(place) = self.opened.iter().position(|(opened, _)| *opened == number) {
            self.opened[place..].rotate_left(1);
        } else {
            let failed = db.failed("reading a history");
            let mut statement = db.conn.prepare_cached("SELECT body FROM block WHERE id = ?1").map_err(&failed)?;
            let read = |row: &rusqlite::Row<'_>| {
                let opened = block::open(row.get_ref(0)?.as_blob()?);
                Ok(opened.map(std::borrow::Cow::into_owned))
            };
            let found = statement.query_row([int(number)?], read).optional().map_err(&failed)?;
            let opened = found.transpose().map_err(|error| unreadable(run, number, &error))?;
            let Some(opened) = opened else { return Ok(None) };
            self.opened.retain(|(_, kept)| kept.len() <= KEPT_MAX_BYTES);
            if self.opened.len() == KEPT_BLOCKS {
                self.opened.remove(0);
            }
            self.opened.push((number, opened));
        }
        Ok(self.opened.last().map(|(_, opened)| &opened[..]))
    }

    /// All records of a run whose last block is `last`, in pieces.
    pub(super) fn history(&mut self, db: &Db, run: RunKey, last: u64) -> Result<Vec<Packed>, Error> {
        let mut pieces = Vec::new();
        let (mut number, mut first) = (last, None);
        while number != 0 {
            let damaged = |problem: &str| Error::damaged_run(run, format!("block {number} {problem}"));
            let opened = self.open(db, run, number)?.ok_or_else(|| damaged("is missing"))?;
            let entry = block::entry_of(opened, run).map_err(|error| unreadable(run, number, &error))?;
            let entry = entry.ok_or_else(|| damaged("has nothing of it"))?;
            let packed = entry.packed().map_err(|error| unreadable(run, number, &error))?;
            if first.is_some_and(|first| entry.first + packed.count() != first) {
                return Err(damaged("has other records than those before the next"));
            }
            // Numbers grow, so whatever the bytes say the walk ends.
            if entry.previous >= number {
                return Err(damaged("names a later block as the one before it"));
            }
            (number, first) = (entry.previous, Some(entry.first));
            pieces.push(packed);
        }
        if first != Some(1) {
            pieces.extend(parts(db, run, first)?.into_iter().rev().map(|(_, packed)| packed));
        }
        pieces.reverse();
        Ok(pieces)
    }
}

fn unreadable(run: RunKey, number: u64, error: &DecodeError) -> Error {
    Error::damaged_run(run, format!("block {number} cannot be read: {error}"))
}

/// The parts of a run's history in order, each with the run's tip after it: what an archive of the first format has of
/// it, up to the record before `end`, if that is known.
pub(super) fn parts(db: &Db, run: RunKey, end: Option<u64>) -> Result<Vec<(Digest, Packed)>, Error> {
    let failed = db.failed("reading a history");
    let sql = "SELECT part, digest, body FROM history WHERE run = ?1 ORDER BY part";
    let mut statement = db.conn.prepare_cached(sql).map_err(&failed)?;
    let mut rows = statement.query([int(run.0)?]).map_err(&failed)?;
    let (mut parts, mut next) = (Vec::new(), 1);
    while let Some(row) = rows.next().map_err(&failed)? {
        let part = row.get::<_, i64>(0).and_then(uint).map_err(&failed)?;
        if part != next {
            return Err(Error::damaged_run(run, gap(next, part)));
        }
        let body = row.get_ref(2).map_err(&failed)?.as_blob().map_err(|error| failed(error.into()))?;
        let packed = Packed::read_part(body)
            .map_err(|error| Error::damaged_run(run, format!("records from {part} on cannot be read: {error}")))?;
        next += packed.count();
        parts.push((db::digest(row, 1).map_err(&failed)?, packed));
    }
    match end {
        Some(end) if end != next => Err(Error::damaged_run(run, gap(next, end))),
        _ => Ok(parts),
    }
}

/// Record `next` should follow, and `found` does. A number that was never given out may be smaller, even zero.
fn gap(next: u64, found: u64) -> String {
    match found.checked_sub(1) {
        Some(last) if last >= next => format!("records {next} to {last} are missing"),
        _ => format!("record {found} follows where {next} is next"),
    }
}
