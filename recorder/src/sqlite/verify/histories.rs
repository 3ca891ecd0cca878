//! Every run's records, in the order in which the archive has them: first the parts of its first format, then block by
//! block, each run taken up where an earlier block left it.

use super::ledger::Ledger;
use super::{Problem, VerifyReport};
use crate::Error;
use crate::block::{self, Entry};
use crate::fold::stored_payloads;
use crate::pack::Packed;
use crate::sqlite::db::{Db, int, uint};
use crate::sqlite::{history, reader, row};
use antiphon_history::{CatalogueRow, Digest, Record, RunKey};
use rusqlite::OptionalExtension;
use std::collections::{BTreeMap, BTreeSet};

/// Where the histories of all runs must end, and how far each has been read.
pub(super) struct Histories {
    /// In key order.
    places: Vec<Place>,
    /// Those that a later block goes on with. In memory only as long as that.
    open: BTreeMap<RunKey, Reading>,
}

/// Where a run's history must end.
pub(super) struct Place {
    run: RunKey,
    /// The last block; 0 if no block has any of it.
    block: u64,
    /// It was read to its end, or what is wrong with it was said.
    done: bool,
}

impl Place {
    pub(super) fn new(run: RunKey, block: u64) -> Place {
        Place { run, block, done: false }
    }
}

/// A run's records so far.
#[derive(Default)]
struct Reading {
    row: Option<CatalogueRow>,
    /// The block of the last.
    block: u64,
    /// The payloads that the records name, and those listed beside them.
    named: BTreeSet<Digest>,
    listed: BTreeSet<Digest>,
}

impl Reading {
    fn records(&self) -> u64 {
        self.row.as_ref().map_or(0, |row| row.records)
    }

    /// Folds some more records; says what is wrong with them.
    fn fold(&mut self, run: RunKey, packed: &Packed, report: &mut VerifyReport) -> Result<(), String> {
        for bytes in packed.records() {
            let number = self.records() + 1;
            report.records += 1;
            let record = Record::read(bytes).map_err(|error| format!("record {number} cannot be read: {error}"))?;
            if record.run != run {
                return Err(format!("record {number} is of run {}", record.run.0));
            }
            self.named.extend(stored_payloads(&record));
            let folded = match self.row.take() {
                Some(mut row) => row.apply(&record, bytes).map(|()| row),
                None => CatalogueRow::begin(&record, bytes),
            };
            self.row = Some(folded.map_err(|error| format!("record {number} does not fold: {error}"))?);
        }
        self.listed.extend(packed.payloads());
        Ok(())
    }
}

impl Histories {
    pub(super) fn new(places: Vec<Place>) -> Histories {
        Histories { places, open: BTreeMap::new() }
    }

    /// Reads the runs that have parts only. Those that blocks go on with are read when the first of these is reached.
    pub(super) fn check_parts(&mut self, archive: &Db, report: &mut VerifyReport) -> Result<(), Error> {
        for index in 0..self.places.len() {
            let Place { run, block: 0, .. } = self.places[index] else { continue };
            if let Some(reading) = self.parts(archive, run, None, report)? {
                self.end(archive, run, &reading, report)?;
            }
        }
        let failed = archive.failed("looking for records without a run");
        let mut statement = archive.conn.prepare("SELECT DISTINCT run FROM history").map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let run = RunKey(row.get::<_, i64>(0).and_then(uint).map_err(&failed)?);
            self.place(run, report);
        }
        Ok(())
    }

    /// Reads all blocks, and the ledger along with them.
    pub(super) fn check_blocks(
        &mut self,
        archive: &Db,
        ledger: &mut Ledger,
        report: &mut VerifyReport,
    ) -> Result<(), Error> {
        let failed = archive.failed("reading the blocks");
        let sql = "SELECT id, batch, through_segment, body FROM block ORDER BY id";
        let mut statement = archive.conn.prepare(sql).map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        let mut last = 0;
        while let Some(found) = rows.next().map_err(&failed)? {
            let number = |column| found.get::<_, i64>(column).and_then(uint).map_err(&failed);
            let id = number(0)?;
            let mut wrong = |problem: String| report.problems.push(Problem::Block { block: id, problem });
            if id != last + 1 {
                wrong("the blocks before it are missing".to_owned());
            }
            last = id;
            let body = found.get_ref(3).map_err(&failed)?.as_blob().map_err(|error| failed(error.into()))?;
            let opened = match block::open(body) {
                Ok(opened) => opened,
                Err(error) => {
                    wrong(format!("it cannot be read: {error}"));
                    continue;
                }
            };
            ledger.begin(number(1)?, number(2)?, report);
            for entry in block::entries(&opened) {
                match entry {
                    Ok(entry) => {
                        if let Some((run, tip)) = self.entry(archive, id, &entry, report)? {
                            ledger.moved(run, tip);
                        }
                    }
                    Err(error) => {
                        let problem = format!("it cannot be read to its end: {error}");
                        report.problems.push(Problem::Block { block: id, problem });
                    }
                }
            }
        }
        Ok(())
    }

    /// Says of every run that was not read to its end that it has none.
    pub(super) fn finish(self, report: &mut VerifyReport) {
        for place in self.places.into_iter().filter(|place| !place.done) {
            let records = self.open.get(&place.run).map_or(0, Reading::records);
            let problem = format!("its records behind {records} are missing");
            report.problems.push(Problem::Records { run: place.run, problem });
        }
    }

    /// Reads what a block has of a run. Returns its tip after that, unless something is wrong.
    fn entry(
        &mut self,
        archive: &Db,
        id: u64,
        entry: &Entry<'_>,
        report: &mut VerifyReport,
    ) -> Result<Option<(RunKey, Digest)>, Error> {
        let run = entry.run;
        let Some(last) = self.place(run, report).filter(|place| !place.done).map(|place| place.block) else {
            return Ok(None);
        };
        let mut reading = match self.open.remove(&run) {
            Some(reading) => reading,
            None if entry.first == 1 => Reading::default(),
            None => match self.parts(archive, run, Some(entry.first), report)? {
                Some(reading) => reading,
                None => return Ok(None),
            },
        };
        let folded = if (entry.previous, entry.first) == (reading.block, reading.records() + 1) {
            entry.packed().map_err(|error| format!("block {id} cannot be read: {error}"))
        } else {
            Err(format!("its records before {} in block {id} are missing", entry.first))
        };
        if let Err(problem) = folded.and_then(|packed| reading.fold(run, &packed, report)) {
            self.wrong(run, problem, report);
            return Ok(None);
        }
        reading.block = id;
        let tip = reading.row.as_ref().map_or(Digest::START, |row| row.tip);
        if last == id {
            self.end(archive, run, &reading, report)?;
        } else {
            self.open.insert(run, reading);
        }
        Ok(Some((run, tip)))
    }

    /// Reads a run's parts, which must end before the record `end`.
    fn parts(
        &mut self,
        archive: &Db,
        run: RunKey,
        end: Option<u64>,
        report: &mut VerifyReport,
    ) -> Result<Option<Reading>, Error> {
        let parts = match history::parts(archive, run, end) {
            Ok(parts) => parts,
            Err(Error::ArchiveDamaged { problem, .. }) => {
                self.wrong(run, problem, report);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut reading = Reading::default();
        for (digest, packed) in parts {
            let folded = reading.fold(run, &packed, report).and_then(|()| match &reading.row {
                Some(row) if row.tip == digest => Ok(()),
                _ => Err(format!("its chain breaks before record {}", reading.records() + 1)),
            });
            if let Err(problem) = folded {
                self.wrong(run, problem, report);
                return Ok(None);
            }
        }
        Ok(Some(reading))
    }

    /// Compares a history that was read to its end with the run's row, and looks for its payloads.
    fn end(&mut self, archive: &Db, run: RunKey, reading: &Reading, report: &mut VerifyReport) -> Result<(), Error> {
        if let Some(place) = self.place(run, report) {
            place.done = true;
        }
        let failed = archive.failed("reading a run");
        let mut statement = archive.conn.prepare_cached("SELECT row FROM run WHERE key = ?1").map_err(&failed)?;
        let kept = statement.query_row([int(run.0)?], |found| Ok(row::decode(run, found.get_ref(0)?.as_blob()?)));
        // An unreadable row was reported where rows are checked.
        let kept = kept.optional().map_err(&failed)?.and_then(Result::ok);
        match (kept, &reading.row) {
            (_, None) => {
                report.problems.push(Problem::Records { run, problem: "it has no records".to_owned() });
            }
            (Some(kept), Some(folded)) if kept != *folded => {
                report.problems.push(Problem::Row { run, problem: "is not what its records fold to".to_owned() });
            }
            _ => {}
        }
        if reading.named != reading.listed {
            let problem = "the payloads that its records name are not those listed".to_owned();
            report.problems.push(Problem::Records { run, problem });
        }
        for &digest in &reading.named {
            if reader::payload(archive, digest)?.is_none() {
                report.problems.push(Problem::PayloadMissing { run, digest });
            }
        }
        Ok(())
    }

    /// Says what is wrong with a run, of which nothing more is read.
    fn wrong(&mut self, run: RunKey, problem: String, report: &mut VerifyReport) {
        report.problems.push(Problem::Records { run, problem });
        if let Some(place) = self.place(run, report) {
            place.done = true;
        }
    }

    fn place(&mut self, run: RunKey, report: &mut VerifyReport) -> Option<&mut Place> {
        match self.places.binary_search_by_key(&run, |place| place.run) {
            Ok(index) => Some(&mut self.places[index]),
            Err(_) => {
                report.problems.push(Problem::Records { run, problem: "it has records but no row".to_owned() });
                None
            }
        }
    }
}
