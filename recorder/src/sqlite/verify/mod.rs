//! Checks everything there is to check, without changing anything, and lists what is wrong.
//!
//! ```text
//!  head ──▶ log: chain, bodies ──▶ fold above the watermark
//!                    │
//!  archive: rows, names ──▶ histories (chain, row = refold) and ledger ──▶ payloads, tally ──▶ anchor
//! ```

mod archive;
mod histories;
mod ledger;
mod log;
mod runs;

use super::anchor::{self, Standing};
use super::db::Db;
use super::folder::Folder;
use super::open::judge_found;
use super::schema::{self, Format};
use super::{pragma, snapshot};
use crate::{Error, ErrorKind, Tip, Watermark};
use antiphon_history::{Digest, RunKey, RunStatus};
use ledger::Ledger;
use std::path::Path;

/// What was looked at and what was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyReport {
    /// The store's id.
    pub store: [u8; 16],
    /// Where the log ends.
    pub tip: Tip,
    /// How far the archive is.
    pub watermark: Watermark,
    /// Segments that the log still has.
    pub segments: u64,
    /// Runs in the archive.
    pub runs: u64,
    /// Their records.
    pub records: u64,
    /// Large payloads.
    pub payloads: u64,
    /// Batches in the ledger.
    pub batches: u64,
    /// Everything that is wrong, in the order in which it was found. Empty: the store is whole.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// SQLite finds the structure of a file damaged.
    #[error("{file}: {problem}")]
    Structure {
        /// The file.
        file: &'static str,
        /// What SQLite says.
        problem: String,
    },
    /// Something could not be read to its end; what follows it was not looked at.
    #[error("{what} cannot be read: {problem}")]
    Unreadable {
        /// What.
        what: &'static str,
        /// Why.
        problem: String,
    },
    /// Segments that nobody has.
    #[error("segments {first} to {last} are missing")]
    SegmentsMissing {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A segment whose digest does not continue the chain.
    #[error("segment {segment} does not continue the chain")]
    SegmentChain {
        /// The segment.
        segment: u64,
    },
    /// A segment that cannot be decoded or folded.
    #[error("segment {segment}: {problem}")]
    Segment {
        /// The segment.
        segment: u64,
        /// What is wrong.
        problem: String,
    },
    /// A run whose catalogue row is unreadable or is not the fold of its records.
    #[error("run {}: its catalogue row {problem}", .run.0)]
    Row {
        /// The run.
        run: RunKey,
        /// What is wrong.
        problem: String,
    },
    /// A run whose records are missing, altered or unreadable.
    #[error("run {}: {problem}", .run.0)]
    Records {
        /// The run.
        run: RunKey,
        /// What is wrong.
        problem: String,
    },
    /// A payload that a run names and nobody has.
    #[error("run {}: payload {digest} is missing", .run.0)]
    PayloadMissing {
        /// The run.
        run: RunKey,
        /// Its name.
        digest: Digest,
    },
    /// A payload whose bytes are not what its name says.
    #[error("payload {digest} has other bytes than its name says")]
    PayloadBytes {
        /// Its name.
        digest: Digest,
    },
    /// The counts of runs are wrong.
    #[error("{kept} runs of {workflow_type:?} are counted as {status}, but there are {counted}")]
    Tally {
        /// The workflow type.
        workflow_type: String,
        /// The status.
        status: RunStatus,
        /// What is there.
        counted: i64,
        /// What the store says.
        kept: i64,
    },
    /// A block of histories that cannot be read, or is missing.
    #[error("block {block} of the archive: {problem}")]
    Block {
        /// The block.
        block: u64,
        /// What is wrong.
        problem: String,
    },
    /// A batch that the ledger does not vouch for.
    #[error("batch {batch} of the archive: {problem}")]
    Ledger {
        /// The batch.
        batch: u64,
        /// What is wrong.
        problem: String,
    },
    /// Segments that were durable once and are gone.
    #[error("{lost} segments are lost: the log ends at {tip}, the anchor says {anchored}")]
    Lost {
        /// How many.
        lost: u64,
        /// Where the log ends.
        tip: u64,
        /// Where it ended once.
        anchored: u64,
    },
    /// The anchor does not fit the store.
    #[error("{problem}")]
    Anchor {
        /// What is wrong.
        problem: String,
    },
}

/// Checks the store in `folder`: may run beside an engine, sees what is durable when it begins. Takes time and reads in
/// proportion to the store.
///
/// Checked: the structure of both files; the log's chain and that its tail folds; every run's record chain against its
/// row, the row against a new fold of the records, and what it is found by; payload digests; counts; the ledger from
/// its beginning; the anchor.
///
/// Errors: only those that keep it from looking at all, such as no store or a newer format. Damage is in the report.
pub fn verify(folder: &Path) -> Result<VerifyReport, Error> {
    pragma::check_library()?;
    let folder = Folder::existing(folder)?;
    // Before the log: an anchor that is written while we read is behind what we see, never ahead of it.
    let anchored = anchor::read(&folder);
    let (log, archive) = snapshot::pictures(&folder)?;
    let mut report = VerifyReport {
        store: schema::store_id(&archive)?,
        tip: Tip::START,
        watermark: schema::watermark(&archive)?,
        segments: 0,
        runs: 0,
        records: 0,
        payloads: 0,
        batches: 0,
        problems: Vec::new(),
    };
    report.tip = report.watermark.tip();
    for db in [&log, &archive] {
        let checked = structure(db, &mut report.problems);
        report.note("the structure of a file", checked)?;
    }
    let checked = log::check(&log, &archive, &mut report);
    report.note("the log", checked)?;
    let checked = check_histories(&archive, &mut report);
    report.note("a run", checked)?;
    let checked = archive::check_payloads(&archive, &mut report);
    report.note("a payload", checked)?;
    let checked = archive::check_tally(&archive, &mut report);
    report.note("the counts of runs", checked)?;
    check_anchor(&folder, anchored, (&log, &archive), &mut report)?;
    Ok(report)
}

/// Rows, then all records, then what no record told of.
fn check_histories(archive: &Db, report: &mut VerifyReport) -> Result<(), Error> {
    let format = schema::format(archive)?;
    let mut histories = runs::check(archive, format, report)?;
    histories.check_parts(archive, report)?;
    let mut ledger = Ledger::check_parts(archive, report)?;
    if format == Format::Blocks {
        histories.check_blocks(archive, &mut ledger, report)?;
    }
    ledger.finish(report);
    histories.finish(report);
    Ok(())
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    /// Damage that ends one check must not keep the others from being made; anything else ends all.
    fn note(&mut self, what: &'static str, checked: Result<(), Error>) -> Result<(), Error> {
        match checked {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.problems.push(Problem::Unreadable { what, problem: error.to_string() });
                Ok(())
            }
            checked => checked,
        }
    }
}

/// SQLite's own check: pages, order of keys, and indexes against tables.
fn structure(db: &Db, problems: &mut Vec<Problem>) -> Result<(), Error> {
    let failed = db.failed("checking a file");
    let mut statement = db.conn.prepare("PRAGMA integrity_check").map_err(&failed)?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0)).map_err(&failed)?;
    for line in lines {
        let line = line.map_err(&failed)?;
        if line != "ok" {
            problems.push(Problem::Structure { file: db.file.name(), problem: line });
        }
    }
    Ok(())
}

fn check_anchor(
    folder: &Folder,
    anchored: Result<Option<anchor::Anchored>, Error>,
    (log, archive): (&Db, &Db),
    report: &mut VerifyReport,
) -> Result<(), Error> {
    let segment_digest = |segment| super::log::digest_of(log, segment);
    let ledger_digest = |batch| super::ledger::digest_of(archive, batch);
    let standing = Standing {
        store: report.store,
        tip: report.tip,
        watermark: report.watermark,
        segment_digest: &segment_digest,
        ledger_digest: &ledger_digest,
    };
    let judged = anchored.and_then(|anchored| judge_found(folder, anchored, &standing));
    report.problems.extend(match judged {
        Ok(()) => None,
        Err(Error::Loss { lost, tip, anchored }) => Some(Problem::Lost { lost, tip, anchored }),
        Err(error) if error.kind() == ErrorKind::Corrupt => Some(Problem::Anchor { problem: error.to_string() }),
        Err(error) => return Err(error),
    });
    Ok(())
}
