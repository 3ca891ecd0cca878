//! Replay for tests and for `check`: a recorded history against today's code, with nothing else in reach.

use crate::Config;
use crate::program::Programs;
use crate::recorded::Recorded;
use crate::run::{Frontier, Replayer, fold};
use antiphon_history::{BlockedReason, FoldError, HistoryFile, HistoryFileError, RunEvent, RunStatus};

/// What a replay found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replayed {
    /// Events of the run stream that were replayed.
    pub events: usize,
    /// How the run stands in the record.
    pub status: RunStatus,
    /// Why today's code cannot follow the record; `None` if it can.
    pub stopped: Option<BlockedReason>,
    /// What today's code would do next where the record was cut inside a turn. Always empty for a whole history.
    pub beyond: Vec<RunEvent>,
}

/// Replays a whole history. Touches no worker, router, clock, randomness or network: there are none in reach.
///
/// Errors: [`HistoryFileError`] if the history itself is damaged. Divergence is not an error but the answer.
pub fn replay(programs: &Programs, history: &HistoryFile) -> Result<Replayed, HistoryFileError> {
    replay_stream(programs, history, None)
}

/// Replays the first `events` events of the run stream. The cut may lie inside a turn; what the code asks beyond it is
/// returned, and must begin with what the record says next.
pub fn replay_prefix(programs: &Programs, history: &HistoryFile, events: usize) -> Result<Replayed, HistoryFileError> {
    replay_stream(programs, history, Some(events))
}

fn replay_stream(
    programs: &Programs,
    history: &HistoryFile,
    events: Option<usize>,
) -> Result<Replayed, HistoryFileError> {
    let recorded = Recorded::read(history)?;
    let status = fold(&recorded)
        .map_err(|error| FoldError::Illegal { run: recorded.key, event: error.event(), status: RunStatus::Running })?
        .status;
    let mut stream = recorded.run;
    let frontier = match events {
        Some(events) => {
            stream.truncate(events);
            Frontier::Anywhere
        }
        None => Frontier::TurnEnd,
    };
    let count = stream.len();
    Ok(match Replayer::run(stream, programs, &Config::default(), frontier) {
        Ok(replayer) => Replayed { events: count, status, stopped: None, beyond: replayer.beyond },
        Err(reason) => Replayed { events: count, status, stopped: Some(*reason), beyond: Vec::new() },
    })
}
