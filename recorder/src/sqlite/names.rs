//! By which names runs are found: a fingerprint of the workflow id and the end of the run id, in key order, many to a row.
//!
//! An index by fingerprint would take a new run to a random page, and a large store pays a page per run for that. Here
//! runs are added at the end, 16 bytes each, whatever the size of the store; who looks for a name reads all of them once
//! and keeps [`Names`].

use super::db::{Db, int, uint};
use super::schema::Format;
use crate::Error;
use antiphon_history::{CatalogueRow, RunId, RunKey};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// Runs to a row: 250 entries fit into one page.
const CHUNK_RUNS: u64 = 250;
const ENTRY_BYTES: usize = 16;
/// Where no run is.
const NOBODY: [u8; ENTRY_BYTES] = [0; ENTRY_BYTES];

/// What a run is found by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name {
    pub(super) fingerprint: u64,
    /// The last eight bytes of the run id.
    pub(super) id_end: [u8; 8],
}

impl Name {
    pub(super) fn of(row: &CatalogueRow) -> Name {
        Name { fingerprint: row.workflow.fingerprint(), id_end: id_end(row.run_id) }
    }

    fn to_entry(self) -> [u8; ENTRY_BYTES] {
        let mut entry = NOBODY;
        entry[..8].copy_from_slice(&self.fingerprint.to_le_bytes());
        entry[8..].copy_from_slice(&self.id_end);
        entry
    }

    fn of_entry(entry: &[u8]) -> Option<Name> {
        let (fingerprint, id_end) = entry.split_at_checked(8)?;
        let fingerprint = u64::from_le_bytes(fingerprint.try_into().ok()?);
        (entry != NOBODY).then_some(Name { fingerprint, id_end: id_end.try_into().ok()? })
    }
}

/// The part of a run id that stands among the names.
pub(super) fn id_end(id: RunId) -> [u8; 8] {
    let mut end = [0; 8];
    end.copy_from_slice(&id.0[8..]);
    end
}

/// Visits the names of all runs from `from` on, in key order.
pub(super) fn visit(
    db: &Db,
    format: Format,
    from: RunKey,
    visit: &mut dyn FnMut(RunKey, Name) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = db.failed("reading the names of runs");
    if format == Format::Parts {
        let sql = "SELECT key, fingerprint, run_id FROM run WHERE key >= ?1 ORDER BY key";
        let mut statement = db.conn.prepare_cached(sql).map_err(&failed)?;
        let mut rows = statement.query([int(from.0)?]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let key = row.get(0).and_then(uint).map_err(&failed)?;
            let (fingerprint, id) = (row.get::<_, i64>(1).map_err(&failed)?, row.get(2).map_err(&failed)?);
            visit(RunKey(key), Name { fingerprint: fingerprint.cast_unsigned(), id_end: id_end(RunId(id)) })?;
        }
        return Ok(());
    }
    let sql = "SELECT chunk, entries FROM name WHERE chunk >= ?1 ORDER BY chunk";
    let mut statement = db.conn.prepare_cached(sql).map_err(&failed)?;
    let mut rows = statement.query([int(from.0 / CHUNK_RUNS)?]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let chunk: u64 = row.get(0).and_then(uint).map_err(&failed)?;
        let entries = row.get_ref(1).map_err(&failed)?.as_blob().map_err(|error| failed(error.into()))?;
        // Keys are positive integers of SQLite's. A chunk beyond them was never written, and could not be counted through.
        let first = chunk.checked_mul(CHUNK_RUNS).filter(|first| *first < i64::MAX.cast_unsigned());
        let first = first.filter(|_| entries.len() <= CHUNK_RUNS as usize * ENTRY_BYTES);
        let first = first.ok_or_else(|| Error::damaged_archive(format!("the names of chunk {chunk} are too many")))?;
        for (key, entry) in (first..).zip(entries.chunks(ENTRY_BYTES)).filter(|(key, _)| *key >= from.0) {
            if let Some(name) = Name::of_entry(entry) {
                visit(RunKey(key), name)?;
            }
        }
    }
    Ok(())
}

/// Adds names to the archive, inside a transaction. Returns how many bytes it wrote.
pub(super) fn add(db: &Db, names: impl Iterator<Item = (RunKey, Name)>) -> Result<usize, Error> {
    let mut chunks: BTreeMap<u64, Vec<(usize, Name)>> = BTreeMap::new();
    for (run, name) in names {
        chunks.entry(run.0 / CHUNK_RUNS).or_default().push(((run.0 % CHUNK_RUNS) as usize, name));
    }
    let failed = db.failed("writing the names of runs");
    let mut read = db.conn.prepare_cached("SELECT entries FROM name WHERE chunk = ?1").map_err(&failed)?;
    let sql = "INSERT INTO name (chunk, entries) VALUES (?1, ?2)
        ON CONFLICT (chunk) DO UPDATE SET entries = excluded.entries";
    let mut write = db.conn.prepare_cached(sql).map_err(&failed)?;
    let mut bytes = 0;
    for (chunk, names) in chunks {
        use rusqlite::OptionalExtension;
        let found = read.query_row([int(chunk)?], |row| row.get::<_, Vec<u8>>(0)).optional().map_err(&failed)?;
        let mut entries = found.unwrap_or_default();
        for (place, name) in names {
            let end = (place + 1) * ENTRY_BYTES;
            entries.resize(end.max(entries.len()), 0);
            entries[end - ENTRY_BYTES..end].copy_from_slice(&name.to_entry());
        }
        bytes += entries.len();
        write.execute((int(chunk)?, entries)).map_err(&failed)?;
    }
    Ok(bytes)
}

/// The newest run by fingerprint, in memory: some 16 bytes for each, and up to an eighth more, or some megabytes.
#[derive(Default)]
pub(super) struct Names {
    sorted: Vec<(u64, RunKey)>,
    /// Added since they were sorted.
    recent: HashMap<u64, RunKey, BuildHasherDefault<Fingerprinted>>,
    /// Runs that were added, of which several may have one name.
    runs: u64,
    /// The first key that may not have been added.
    next: u64,
}

/// Fewer names than this are not worth sorting in: it is done while somebody waits, and takes milliseconds.
const SORT_MIN: usize = 200_000;

/// A fingerprint is a hash already.
#[derive(Default)]
struct Fingerprinted(u64);

impl Hasher for Fingerprinted {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

impl Names {
    /// Reads what has been added since it was last called.
    pub(super) fn refresh(&mut self, db: &Db, format: Format) -> Result<(), Error> {
        let failed = db.failed("counting runs");
        let mut statement = db.conn.prepare_cached("SELECT total(runs) FROM tally").map_err(&failed)?;
        let runs = statement.query_row([], |row| row.get::<_, f64>(0)).map_err(&failed)? as u64;
        if runs == self.runs {
            return Ok(());
        }
        self.read_on(db, format)?;
        if self.runs != runs {
            // Some were added before the last: nothing that an engine does, but nothing that is forbidden.
            *self = Names::default();
            self.read_on(db, format)?;
        }
        Ok(())
    }

    /// The newest run with this fingerprint.
    pub(super) fn newest(&self, fingerprint: u64) -> Option<RunKey> {
        let sorted = || self.sorted.binary_search_by_key(&fingerprint, |(found, _)| *found).ok();
        self.recent.get(&fingerprint).copied().or_else(|| sorted().map(|place| self.sorted[place].1))
    }

    fn read_on(&mut self, db: &Db, format: Format) -> Result<(), Error> {
        let mut new = Vec::new();
        visit(db, format, RunKey(self.next), &mut |run, name| {
            new.push((name.fingerprint, run));
            Ok(())
        })?;
        let Some((_, last)) = new.last() else { return Ok(()) };
        self.next = last.0 + 1;
        self.runs += new.len() as u64;
        if self.recent.len() + new.len() < SORT_MIN.max(self.sorted.len() / 8) {
            if self.recent.capacity() == 0 {
                // Memory that is not used is not taken; a table that grows is moved while somebody waits.
                self.recent.reserve(SORT_MIN);
            }
            self.recent.extend(new);
            return Ok(());
        }
        new.reserve_exact(self.recent.len());
        new.extend(self.recent.drain());
        new.sort_unstable();
        merge(&mut self.sorted, &new);
        // Of several runs with one name the last, which is the newest.
        self.sorted.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1;
            }
            same
        });
        Ok(())
    }
}

/// Merges what is in order into what is in order, from the end: no second copy of a list that may be large.
fn merge<T: Ord + Copy>(into: &mut Vec<T>, from: &[T]) {
    let mut left = into.len();
    into.reserve_exact(from.len());
    into.extend_from_slice(from);
    for (right, next) in from.iter().enumerate().rev() {
        while left > 0 && into[left - 1] > *next {
            left -= 1;
            into[left + right + 1] = into[left];
        }
        into[left + right] = *next;
    }
}

#[cfg(test)]
mod tests {
    use super::merge;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_is_sorting(mut into: Vec<u8>, mut from: Vec<u8>) {
            let mut all = [&into[..], &from[..]].concat();
            all.sort_unstable();
            into.sort_unstable();
            from.sort_unstable();
            merge(&mut into, &from);
            prop_assert_eq!(into, all);
        }
    }
}
