//! The checker: store, ledger and notes side by side, with nobody running.
//!
//! ```text
//!  store ──▶ its own verification ──▶ every run: numbers, one end, conversations in order
//!  notes ──▶ acknowledged, so it is there; there, so it was asked for
//!  ledger ─▶ begun, so Sent was durable; received, so it was returned
//!  before ─▶ what was durable then is the beginning of what is there now
//! ```

mod conversations;
mod rebuilt;
mod replays;
mod stream;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod told;

pub use rebuilt::{check_damage_is_refused, check_rebuilt, copy_of};

use crate::ledger::Ledger;
use crate::notes::Notes;
use crate::{Broken, Invariant, Random, Shape};
use antiphon::{CatalogueRow, Filter, Programs};
use antiphon_history::{Digest, HistoryFile, RunEvent, RunKey};
use antiphon_recorder::{Error as StoreError, Reader, sqlite};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use told::Run;

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The store; nobody has it open.
    pub store: &'a Path,
    /// The driver's.
    pub notes: &'a Notes,
    /// The bodies'.
    pub ledger: &'a Ledger,
}

/// Checks again and again, and remembers what was durable.
#[derive(Debug)]
pub struct Checker {
    programs: Programs,
    random: Random,
    /// Records and tip of every run at the last check.
    seen: BTreeMap<RunKey, (usize, Digest)>,
    /// What was looked at so far.
    pub looked: Looked,
}

/// How much was looked at.
#[derive(Clone, Copy, Default, Debug)]
pub struct Looked {
    /// Checks.
    pub checks: u64,
    /// Runs, counted in each check.
    pub runs: u64,
    /// Events of all streams, counted in each check.
    pub events: u64,
    /// Prefixes that were replayed.
    pub prefixes: u64,
}

impl Looked {
    /// Adds what another checker looked at.
    pub fn add(&mut self, other: Looked) {
        self.checks += other.checks;
        self.runs += other.runs;
        self.events += other.events;
        self.prefixes += other.prefixes;
    }
}

/// So many histories of each check are replayed at every prefix.
const REPLAYED: usize = 6;
/// Longer histories are left out of that: the work grows with the square.
const REPLAYED_EVENTS: u64 = 60;

impl Checker {
    /// Draws its samples from `random`.
    pub fn new(random: Random) -> Checker {
        Checker { programs: crate::flows::programs(), random, seen: BTreeMap::new(), looked: Looked::default() }
    }

    /// Checks everything. The first broken invariant is the answer.
    ///
    /// A store whose creation was interrupted has nothing to check, and may have acknowledged nothing.
    pub fn check(&mut self, evidence: Evidence<'_>) -> Result<(), Broken> {
        self.looked.checks += 1;
        let report = match sqlite::verify(evidence.store) {
            Ok(report) => report,
            Err(StoreError::Folder { .. }) if evidence.notes.acknowledgements == 0 && evidence.ledger.begun() == 0 => {
                return Ok(());
            }
            Err(error) => return Err(Broken::new(Invariant::Opens, error.to_string())),
        };
        if let Some(problem) = report.problems.first() {
            let how = format!("{} problems, the first: {problem}", report.problems.len());
            // What was acknowledged and is gone is the shorter story of the two.
            return Err(self.gone(evidence).unwrap_or_else(|| Broken::new(Invariant::Whole, how)));
        }
        let mut reader = sqlite::snapshot(evidence.store).map_err(unreadable)?;
        let rows = reader.list(&Filter { limit: usize::MAX, ..Filter::default() }).map_err(unreadable)?;
        check_ids(&rows, evidence.notes)?;
        let (mut sent, mut once) = (BTreeSet::new(), BTreeSet::new());
        for row in &rows {
            let history = reader.history(row.key).map_err(unreadable)?.unwrap_or_default();
            let run = self.check_run(row, &history, evidence, &mut once)?;
            sent.extend(conversations::check(&run, &row.run_id.to_string(), evidence.ledger)?);
        }
        conversations::check_ledger(evidence.ledger, &sent, &once)?;
        self.replay_some(&rows, reader.as_mut())
    }

    fn check_run(
        &mut self,
        row: &CatalogueRow,
        history: &HistoryFile,
        evidence: Evidence<'_>,
        once: &mut BTreeSet<(String, u32)>,
    ) -> Result<Run, Broken> {
        let run = Run::of(history)?;
        self.looked.runs += 1;
        self.looked.events += run.lines.len() as u64;
        stream::check(&run)?;
        if let Some(asked) = evidence.notes.runs().get(&row.workflow.id) {
            stream::check_asked(&run, asked)?;
            match asked.shape {
                Shape::Counted => stream::check_counted(&run, asked)?,
                Shape::Sequence | Shape::Fan => stream::check_nonces(&run)?,
                _ => {}
            }
        }
        let terminal = run.events.last().is_some_and(|(_, event)| event.is_terminal());
        if terminal != row.status.is_closed() {
            return Err(run.broken(Invariant::Rebuilt, format!("it is listed as {}", row.status)));
        }
        for (_, event) in &run.events {
            if let RunEvent::ActivityScheduled { ordinal, call } = event
                && call.options.at_most_once
            {
                once.insert((row.run_id.to_string(), ordinal.0));
            }
        }
        self.check_unchanged(row.key, history, &run)?;
        Ok(run)
    }

    /// What was read at the last check is the beginning of what is read now.
    fn check_unchanged(&mut self, key: RunKey, history: &HistoryFile, run: &Run) -> Result<(), Broken> {
        let (before, tip) = self.seen.get(&key).copied().unwrap_or((0, Digest::START));
        let mut now = Digest::START;
        for (number, record) in history.records.iter().enumerate() {
            now = Digest::of_record(now, record);
            if number + 1 == before && now != tip {
                return Err(run.broken(Invariant::AppendOnly, format!("its first {before} records were others before")));
            }
        }
        if history.records.len() < before {
            let how = format!("it had {before} records before and has {}", history.records.len());
            return Err(run.broken(Invariant::AppendOnly, how));
        }
        self.seen.insert(key, (history.records.len(), now));
        Ok(())
    }

    /// An acknowledged run that a damaged store no longer has.
    fn gone(&self, evidence: Evidence<'_>) -> Option<Broken> {
        let mut reader = sqlite::snapshot(evidence.store).ok()?;
        let rows = reader.list(&Filter { limit: usize::MAX, ..Filter::default() }).ok()?;
        check_ids(&rows, evidence.notes).err()
    }

    fn replay_some(&mut self, rows: &[CatalogueRow], reader: &mut dyn Reader) -> Result<(), Broken> {
        let short: Vec<_> = rows.iter().filter(|row| row.run_events <= REPLAYED_EVENTS).collect();
        for _ in 0..REPLAYED.min(short.len()) {
            let row = short[self.random.below(short.len() as u64) as usize];
            let history = reader.history(row.key).map_err(unreadable)?.unwrap_or_default();
            self.looked.prefixes += replays::check(&self.programs, &history)?;
        }
        Ok(())
    }
}

/// After a stop in good order the anchor stands where the log ends: a tail that is lost later would be missed.
pub fn check_anchor(store: &Path) -> Result<(), Broken> {
    let report = sqlite::verify(store).map_err(unreadable)?;
    let line = std::fs::read_to_string(store.join("head")).unwrap_or_default();
    let anchored = line.split(' ').nth(3).and_then(|segment| segment.parse::<u64>().ok());
    if anchored != Some(report.tip.id) {
        let how = format!("it stopped at segment {}, and its anchor stands at {anchored:?}", report.tip.id);
        return Err(Broken::new(Invariant::Whole, how));
    }
    Ok(())
}

/// What victims wrote when they panicked, if they did.
pub fn check_panics(errors: &Path) -> Result<(), Broken> {
    let said = std::fs::read_to_string(errors).unwrap_or_default();
    match said.contains("panicked") {
        false => Ok(()),
        true => Err(Broken::new(Invariant::NoPanic, said.chars().take(2_000).collect::<String>())),
    }
}

/// Acknowledged starts have their run, every id has one, and no run is there that nobody asked for.
fn check_ids(rows: &[CatalogueRow], notes: &Notes) -> Result<(), Broken> {
    let mut found = BTreeMap::new();
    for row in rows {
        if let Some(other) = found.insert(row.workflow.id.as_str(), row.run_id) {
            let how = format!("{} has the runs {other} and {}", row.workflow.id, row.run_id);
            return Err(Broken::new(Invariant::OneRun, how));
        }
        if !notes.runs().contains_key(&row.workflow.id) {
            return Err(Broken::new(Invariant::AllOrNothing, format!("nobody asked for {}", row.workflow.id)));
        }
    }
    let acknowledged = notes.runs().iter().filter(|(_, asked)| asked.started.is_some());
    let gone: Vec<&str> = acknowledged.map(|(id, _)| id.as_str()).filter(|id| !found.contains_key(id)).collect();
    match gone.first() {
        None => Ok(()),
        Some(first) => {
            let how = format!("{} acknowledged starts are gone, the first is {first}", gone.len());
            Err(Broken::new(Invariant::StartKept, how))
        }
    }
}

fn unreadable(error: StoreError) -> Broken {
    Broken::new(Invariant::Whole, error.to_string())
}
