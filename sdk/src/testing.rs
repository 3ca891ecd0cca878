//! Replay for `cargo test`: recorded histories against today's code, on a fresh thread each.

use crate::app::{Builder, OpenError};
use antiphon_engine::{Programs, Replayed, replay, replay_prefix};
use antiphon_history::{BlockedReason, HistoryFile, HistoryFileError};
use std::path::{Path, PathBuf};

/// Why a recorded history does not replay. Its text is the whole report, also where a test only unwraps it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The builder is at fault.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no sound history.
    #[error("{path}: {source}")]
    History {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HistoryFileError,
    },
    /// Today's code cannot follow the record.
    #[error("{path} does not replay on today's code{prefix}:\n{reason}", prefix = shown(.events))]
    Diverged {
        /// The file.
        path: PathBuf,
        /// How many events were replayed, if not all.
        events: Option<usize>,
        /// Where and why.
        reason: Box<BlockedReason>,
    },
}

impl std::fmt::Debug for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

fn shown(events: &Option<usize>) -> String {
    events.map(|events| format!(" (its first {events} events)")).unwrap_or_default()
}

impl Builder {
    /// Replays a history file against the registered workflows: `Antiphon::test().workflow(order).replay("order.history")?`.
    ///
    /// Nothing else is in reach: no worker, clock, random source or network. Errors: [`ReplayError`], whose text is the
    /// report.
    pub fn replay(self, file: impl AsRef<Path>) -> Result<Replayed, ReplayError> {
        let path = file.as_ref();
        let history = read(path)?;
        checked(path, None, on_fresh_thread(&self.programs()?, &history, None))
    }

    /// Replays every prefix of a history file, each on a fresh thread: finds code that depends on anything but the
    /// record (hash-map order, thread locals, the clock). The work grows with the square of the history's length.
    pub fn replay_every_prefix(self, file: impl AsRef<Path>) -> Result<Replayed, ReplayError> {
        let path = file.as_ref();
        let history = read(path)?;
        let programs = self.programs()?;
        let whole = checked(path, None, on_fresh_thread(&programs, &history, None))?;
        for events in 1..=whole.events {
            checked(path, Some(events), on_fresh_thread(&programs, &history, Some(events)))?;
        }
        Ok(whole)
    }
}

fn read(path: &Path) -> Result<HistoryFile, ReplayError> {
    let bytes = std::fs::read(path).map_err(|source| ReplayError::Io { path: path.to_owned(), source })?;
    HistoryFile::read(&bytes).map_err(|source| ReplayError::History { path: path.to_owned(), source })
}

/// A fresh thread has fresh thread locals, and with them other hash seeds: code that depends on them is found out.
fn on_fresh_thread(
    programs: &Programs,
    history: &HistoryFile,
    events: Option<usize>,
) -> Result<Replayed, HistoryFileError> {
    std::thread::scope(|scope| {
        let run = || match events {
            None => replay(programs, history),
            Some(events) => replay_prefix(programs, history, events),
        };
        scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn checked(
    path: &Path,
    events: Option<usize>,
    replayed: Result<Replayed, HistoryFileError>,
) -> Result<Replayed, ReplayError> {
    let path = path.to_owned();
    match replayed {
        Err(source) => Err(ReplayError::History { path, source }),
        // A run that is blocked on record may be blocked again by the same code; that is what the record says.
        Ok(Replayed { stopped: Some(reason), .. }) => {
            Err(ReplayError::Diverged { path, events, reason: Box::new(reason) })
        }
        Ok(replayed) => Ok(replayed),
    }
}
