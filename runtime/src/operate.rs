//! One request of an operator on a store that no engine has open: how a queue is paused at night.

use crate::{Clock, StoreSource};
use antiphon_engine::{Config, Operation, OperationError, Origin, Partition, Programs, Reply};
use antiphon_history::Segment;
use antiphon_recorder::{Error as StoreError, Store, Tip};

/// What came of an operation.
#[derive(Debug)]
pub struct Operated {
    /// The engine's answer.
    pub reply: Reply,
    /// Whether something was written. If not, it was so before, or it was only asked for.
    pub written: bool,
}

/// Why an operation was not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperateError {
    /// The engine refused it. Nothing was written.
    #[error(transparent)]
    Refused(#[from] OperationError),
    /// The store cannot be opened or written. What is not on record was not done; see the error's own code.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A0062. It is recorded and durable, and the archive does not have it yet.
    #[error(
        "it is recorded and holds, but the archive could not take it over: {source}; whoever opens the store next makes up for it [A0062]"
    )]
    Recorded {
        /// Why not.
        source: StoreError,
    },
}

/// Carries out one operation on a store and closes it again. What follows from it is durable, archived and anchored on
/// return; nothing else is written, however long anything has been due.
///
/// Entities are in memory: queues, workers, routing, routines, dead letters, audit. No run is, but the one that is to be
/// terminated; what would change another is refused. `programs` is the workflow code at hand, against which new routines
/// are checked; it may be empty.
///
/// Errors: [`OperateError::Refused`], with nothing written; those of opening a store that exists, so
/// [`OpenElsewhere`](antiphon_recorder::Error::OpenElsewhere) while an engine has it; those of a commit; [`OperateError::Recorded`].
pub fn operate(
    source: &dyn StoreSource,
    clock: &dyn Clock,
    programs: Programs,
    operation: Operation,
) -> Result<Operated, OperateError> {
    // Opening creates what is missing. A mistyped name must not become a store.
    drop(source.snapshot()?);
    let Store { id, mut log, mut archive, mut reader, mut anchor, space, checkpoint, guard } = source.open()?;
    let tip = log.tip();
    let now = clock.now().max(tip.at);
    // No token is made here, so nobody can gain by knowing the secret.
    let origin = Origin { store_id: id, secret: [0; 32], last_segment: tip.id, last_run: reader.last_run_key()?, now };
    let mut partition = Partition::new(Config::default(), programs, origin);
    #[cfg(feature = "cron")]
    {
        partition = partition.with_calendar(std::sync::Arc::new(crate::WallCalendar::default()));
    }
    for row in reader.entities()? {
        partition.load_entity(&row);
    }
    if let Operation::Terminate { target, .. } = &operation
        && let Some(row) = reader.find(&target.workflow)?
        && let Some(history) = reader.history(row.key)?
    {
        partition.bring_in_to_end(&history).map_err(|error| StoreError::damaged_run(row.key, error.to_string()))?;
    }
    let reply = partition.operate(operation, now)?;
    let batch = partition.take();
    let written = batch.segment.is_some();
    if let Some(body) = batch.segment {
        let segment = Segment::seal(tip.digest, tip.id + 1, batch.at, body);
        log.append(&segment)?;
        archive
            .fold(std::slice::from_ref(&segment))
            .and_then(|watermark| {
                // An anchor vouches for the files that stand in the store's place.
                space.check_in_place()?;
                anchor.write(Tip::of(&segment), watermark)
            })
            .map_err(|source| OperateError::Recorded { source })?;
    }
    // SQLite removes a write-ahead log with the last connection to it, and the store must be ours until then.
    drop((reader, log, checkpoint, archive, anchor, space));
    drop(guard);
    Ok(Operated { reply, written })
}
