use crate::glance::{Glance, Mark};
use crate::{
    BlockedReason, Digest, Entity, EntityEvent, EntityName, IllegalEntityEvent, Ordinal, Record, RunId, RunKey, Stream,
    Timestamp, WorkflowKey,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a run stands. Follows from its events; never stored beside them except as the fold's result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It is going on, or waits for something.
    Running,
    /// It cannot go on with the code it met; see the block's report.
    Blocked,
    /// It returned a result.
    Completed,
    /// It returned an error.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Somebody ended it, and its code was not asked.
    Terminated,
}

impl RunStatus {
    /// Every status, in the order in which lists show them.
    pub const ALL: [RunStatus; 6] = [
        RunStatus::Running,
        RunStatus::Blocked,
        RunStatus::Completed,
        RunStatus::Failed,
        RunStatus::Cancelled,
        RunStatus::Terminated,
    ];

    /// Whether no event may follow.
    pub fn is_closed(self) -> bool {
        match self {
            RunStatus::Running | RunStatus::Blocked => false,
            RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled | RunStatus::Terminated => true,
        }
    }

    /// The stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::Blocked => "blocked",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
            RunStatus::Terminated => "terminated",
        }
    }

    /// The stable number by which stores index it.
    pub fn code(self) -> i64 {
        match self {
            RunStatus::Running => 1,
            RunStatus::Blocked => 2,
            RunStatus::Completed => 3,
            RunStatus::Failed => 4,
            RunStatus::Cancelled => 5,
            RunStatus::Terminated => 6,
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for RunStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<RunStatus, String> {
        RunStatus::ALL.into_iter().find(|status| status.name() == text).ok_or_else(|| {
            let names: Vec<_> = RunStatus::ALL.iter().map(|status| status.name()).collect();
            format!("{text:?} is not a status; use one of {}", names.join(", "))
        })
    }
}

/// A timer that has been started and neither fired nor cancelled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PendingTimer {
    /// When it is due.
    pub due: Timestamp,
    /// Which it is.
    pub ordinal: Ordinal,
}

/// What lists show of a run, and what tells a restart which runs need care: the fold of the run's records.
///
/// The archive keeps one per run. It is derived: folding the same records again gives the same row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CatalogueRow {
    /// The run's integer in its partition.
    pub key: RunKey,
    /// The user's name for it.
    pub workflow: WorkflowKey,
    /// The engine's name for it.
    pub run_id: RunId,
    /// Which code runs.
    pub workflow_type: String,
    /// How it stands.
    pub status: RunStatus,
    /// When it started.
    pub started_at: Timestamp,
    /// When its last event was written.
    pub updated_at: Timestamp,
    /// Events of the run stream; the next one has this number plus one.
    pub run_events: u64,
    /// Records of all its streams.
    pub records: u64,
    /// The digest of the last record.
    pub tip: Digest,
    /// Activities scheduled so far.
    pub activities: u64,
    /// Conversations that are not closed. With one or more the run is loaded at every start.
    pub open_conversations: u64,
    /// Timers that run, in order of their ordinals.
    pub timers: Vec<PendingTimer>,
    /// Why it is blocked, in one line. Empty if it is not.
    pub blocked: String,
    /// What is known of an entity; absent for a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<Box<Entity>>,
}

/// A record that cannot follow what was folded before. The store is damaged or the record is foreign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The first record of a run does not begin with `RunStarted`.
    #[error("run {run:?} does not begin with RunStarted")]
    NoStart {
        /// The run.
        run: RunKey,
    },
    /// A sequence number was skipped or repeated.
    #[error("run {run:?}: expected event {expected} of the run stream, found {found}")]
    Gap {
        /// The run.
        run: RunKey,
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// An event follows the end of the run, or starts it twice.
    #[error("run {run:?}: {event} cannot follow when the run is {status}")]
    Illegal {
        /// The run.
        run: RunKey,
        /// The event.
        event: &'static str,
        /// The status before it.
        status: RunStatus,
    },
    /// An event cannot follow in an entity's stream.
    #[error(transparent)]
    Entity(#[from] IllegalEntityEvent),
}

impl CatalogueRow {
    /// Folds a run's first record.
    ///
    /// `bytes` are the record's own, for the digest. Errors: [`FoldError::NoStart`].
    pub fn begin(record: &Record, bytes: &[u8]) -> Result<CatalogueRow, FoldError> {
        CatalogueRow::begin_at_a_glance(&Glance::of(record), bytes)
    }

    /// Folds the next record. Errors: as [`CatalogueRow::apply_at_a_glance`].
    pub fn apply(&mut self, record: &Record, bytes: &[u8]) -> Result<(), FoldError> {
        self.apply_at_a_glance(&Glance::of(record), bytes)
    }

    /// As [`CatalogueRow::begin`], for a record that was only glanced at.
    pub fn begin_at_a_glance(glance: &Glance, bytes: &[u8]) -> Result<CatalogueRow, FoldError> {
        if glance.run.is_entity() {
            return CatalogueRow::begin_entity(glance, bytes);
        }
        let (Stream::Run, Some(Mark::Started(started))) = (glance.stream, glance.marks.first()) else {
            return Err(FoldError::NoStart { run: glance.run });
        };
        let workflow = WorkflowKey { namespace: started.namespace.clone(), id: started.workflow_id.clone() };
        let (run_id, workflow_type) = (started.run_id, started.workflow_type.clone());
        CatalogueRow::new(glance, workflow, run_id, workflow_type, None).begun(glance, bytes)
    }

    fn begin_entity(glance: &Glance, bytes: &[u8]) -> Result<CatalogueRow, FoldError> {
        let Some(EntityEvent::Opened { name }) = glance.marks.first().and_then(Mark::entity) else {
            return Err(FoldError::NoStart { run: glance.run });
        };
        let namespace = || EntityName::NAMESPACE.to_owned();
        let workflow = WorkflowKey { namespace: namespace(), id: name.to_string() };
        let entity = Some(Box::new(Entity::new(name.clone())));
        CatalogueRow::new(glance, workflow, RunId([0; 16]), namespace(), entity).begun(glance, bytes)
    }

    /// The row of a stream of which nothing is folded yet.
    fn new(
        glance: &Glance,
        workflow: WorkflowKey,
        run_id: RunId,
        workflow_type: String,
        entity: Option<Box<Entity>>,
    ) -> CatalogueRow {
        CatalogueRow {
            key: glance.run,
            workflow,
            run_id,
            workflow_type,
            status: RunStatus::Running,
            started_at: glance.at,
            updated_at: glance.at,
            run_events: 0,
            records: 0,
            tip: Digest::START,
            activities: 0,
            open_conversations: 0,
            timers: Vec::new(),
            blocked: String::new(),
            entity,
        }
    }

    fn begun(mut self, glance: &Glance, bytes: &[u8]) -> Result<CatalogueRow, FoldError> {
        self.apply_at_a_glance(glance, bytes)?;
        Ok(self)
    }

    /// As [`CatalogueRow::apply`], for a record that was only glanced at. After an error the row of a run is as before; that
    /// of an entity may hold some of the record's events, and is of no use.
    pub fn apply_at_a_glance(&mut self, glance: &Glance, bytes: &[u8]) -> Result<(), FoldError> {
        if let Some(entity) = &mut self.entity {
            if glance.first_seq != self.run_events + 1 {
                return Err(FoldError::Gap { run: self.key, expected: self.run_events + 1, found: glance.first_seq });
            }
            for (mark, seq) in glance.marks.iter().zip(glance.first_seq..) {
                // The first event made the entity.
                if let Some(event) = mark.entity().filter(|_| seq > 1) {
                    entity.apply(event, glance.at)?;
                }
            }
            self.run_events += glance.marks.len() as u64;
        } else if glance.stream == Stream::Run {
            self.check(glance)?;
            self.run_events += glance.marks.len() as u64;
        }
        glance.marks.iter().for_each(|mark| self.apply_mark(mark));
        self.updated_at = glance.at;
        self.records += 1;
        self.tip = Digest::of_record(self.tip, bytes);
        Ok(())
    }

    /// Whether these events of the run stream can follow. Looked at before any is folded, so that nothing is half done.
    fn check(&self, glance: &Glance) -> Result<(), FoldError> {
        if glance.first_seq != self.run_events + 1 {
            return Err(FoldError::Gap { run: self.key, expected: self.run_events + 1, found: glance.first_seq });
        }
        let mut closed = self.status.is_closed();
        for (mark, seq) in glance.marks.iter().zip(glance.first_seq..) {
            let starts = matches!(mark, Mark::Started(_));
            if closed || starts != (seq == 1) {
                return Err(FoldError::Illegal { run: self.key, event: mark.name(), status: self.status });
            }
            closed = matches!(mark, Mark::Ended { .. });
        }
        Ok(())
    }

    /// The earliest moment at which a timer of the run is due.
    pub fn due(&self) -> Option<Timestamp> {
        if self.status.is_closed() { None } else { self.timers.iter().map(|timer| timer.due).min() }
    }

    /// Whether a start of the engine must load the run, rather than wait for a message or a timer.
    pub fn needs_loading(&self) -> bool {
        !self.status.is_closed() && (self.open_conversations > 0 || self.status == RunStatus::Blocked)
    }

    fn apply_mark(&mut self, mark: &Mark) {
        match mark {
            Mark::ActivityScheduled => self.activities += 1,
            Mark::TimerStarted(timer) => self.timers.push(*timer),
            Mark::TimerEnded { ordinal, .. } => self.timers.retain(|timer| timer.ordinal != *ordinal),
            Mark::Blocked { headline } => {
                self.status = RunStatus::Blocked;
                self.blocked.clone_from(headline);
            }
            Mark::Unblocked => {
                self.status = RunStatus::Running;
                self.blocked.clear();
            }
            Mark::Ended { status, .. } => {
                self.status = *status;
                self.timers.clear();
                self.blocked.clear();
            }
            Mark::ConversationOpened => self.open_conversations += 1,
            Mark::ConversationClosed => self.open_conversations = self.open_conversations.saturating_sub(1),
            Mark::Started(_) | Mark::Entity(_) | Mark::Passed(_) => {}
        }
    }
}

impl BlockedReason {
    /// The reason in one line.
    pub fn headline(&self) -> String {
        match self {
            BlockedReason::Divergence(report) => {
                format!(
                    "diverged at event {}: recorded {}, attempted {}",
                    report.seq, report.recorded, report.attempted
                )
            }
            BlockedReason::Panic { message, site } => format!("panicked, after the call at {site}: {message}"),
            BlockedReason::ForeignAwait { after } => {
                format!("awaits something that is not Antiphon's, after the call at {after}")
            }
            BlockedReason::Spinning { polls } => format!("woke itself {polls} times in one turn"),
            BlockedReason::Undecodable { message, site } => {
                format!("cannot read a recorded value at {site}: {message}")
            }
            BlockedReason::Oversized { bytes, max } => {
                format!(
                    "asks for {bytes} bytes of work at once, over the limit of {max}: ask for less before each await"
                )
            }
            BlockedReason::UnknownWorkflow { workflow_type } => {
                format!("this program has no workflow {workflow_type:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Events, RunEvent, RunStarted, Site};
    use std::sync::Arc;

    fn record(first_seq: u64, events: Vec<RunEvent>) -> Record {
        Record { run: RunKey(1), first_seq, at: Timestamp(first_seq as i64), events: Events::Run(events) }
    }

    fn started() -> RunEvent {
        RunEvent::RunStarted(Arc::new(RunStarted {
            namespace: "default".into(),
            workflow_id: "w".into(),
            run_id: RunId([7; 16]),
            workflow_type: "t".into(),
            version: 1,
            input: vec![],
            semantics: 1,
            driver: "native".into(),
            request_id: None,
            routine: None,
        }))
    }

    fn timer(ordinal: u32, due: i64) -> RunEvent {
        RunEvent::TimerStarted { ordinal: Ordinal(ordinal), due: Timestamp(due), site: Site::default() }
    }

    fn fold(records: &[Record]) -> Result<CatalogueRow, FoldError> {
        let mut row = CatalogueRow::begin(&records[0], &records[0].to_bytes())?;
        for record in &records[1..] {
            row.apply(record, &record.to_bytes())?;
        }
        Ok(row)
    }

    #[test]
    fn the_earliest_pending_timer_is_due_and_a_closed_run_has_none() {
        let open = vec![
            record(1, vec![started(), timer(1, 90), timer(2, 50), timer(3, 70)]),
            record(5, vec![RunEvent::TimerFired { ordinal: Ordinal(2) }]),
        ];
        assert_eq!(fold(&open).unwrap().due(), Some(Timestamp(70)));
        let mut closed = open;
        closed.push(record(6, vec![RunEvent::RunCompleted { result: vec![] }]));
        let row = fold(&closed).unwrap();
        assert_eq!((row.status, row.due(), row.run_events), (RunStatus::Completed, None, 6));
    }

    #[test]
    fn gaps_second_starts_and_events_after_the_end_are_refused_and_change_nothing() {
        let first = record(1, vec![started(), RunEvent::RunCompleted { result: vec![] }]);
        let mut row = fold(std::slice::from_ref(&first)).unwrap();
        let before = row.clone();
        for wrong in [record(4, vec![timer(1, 1)]), record(3, vec![timer(1, 1)]), record(3, vec![started()])] {
            assert!(row.apply(&wrong, &wrong.to_bytes()).is_err());
            assert_eq!(row, before);
        }
        assert!(matches!(fold(&[record(1, vec![timer(1, 1)])]), Err(FoldError::NoStart { .. })));
    }
}
