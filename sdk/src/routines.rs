use crate::{Antiphon, Routine};
use antiphon_engine::{RanSlot, RoutineError, RoutineFilter, RoutineView, RoutinesReply, RoutinesRequest};
use antiphon_history::{RoutinePatch, Timestamp};
use antiphon_runtime::Handle;

/// The routines of a store: durable jobs that start workflows by a schedule.
///
/// They are carried out by whoever calls [`run_due`](Routines::run_due), or by the engine itself, if it was started with
/// [`run_routines`](crate::Builder::run_routines).
#[derive(Clone, Debug)]
pub struct Routines {
    handle: Handle,
    who: String,
    why: String,
}

/// Why a request about routines did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutinesError {
    /// The workflow's call cannot be written.
    #[error(transparent)]
    Call(#[from] crate::CallRefused),
    /// The engine refused it; nothing was written.
    #[error(transparent)]
    Refused(#[from] RoutineError),
    /// The engine could not take it.
    #[error(transparent)]
    Engine(#[from] antiphon_runtime::Error),
}

impl RoutinesError {
    /// Whether the same request may succeed later without anybody changing it.
    pub fn retryable(&self) -> bool {
        match self {
            RoutinesError::Refused(error) => matches!(error, RoutineError::Busy { .. }),
            RoutinesError::Call(_) => false,
            RoutinesError::Engine(error) => error.retryable(),
        }
    }
}

impl Antiphon {
    /// The routines of this store.
    pub fn routines(&self) -> Routines {
        Routines { handle: self.handle().clone(), who: String::new(), why: String::new() }
    }
}

impl Routines {
    /// Says who asks, for the record.
    pub fn by(mut self, who: impl Into<String>) -> Routines {
        self.who = who.into();
        self
    }

    /// Says why, for the record.
    pub fn because(mut self, why: impl Into<String>) -> Routines {
        self.why = why.into();
        self
    }

    /// Makes a routine, or finds the one that the same request made before. Durable on return.
    ///
    /// Errors: A0048 for what cannot be, A0051 if its id or idempotency key belongs to another one.
    pub async fn create(&self, routine: Routine) -> Result<RoutineView, RoutinesError> {
        let (id, spec) = routine.into_parts()?;
        let (who, why) = (self.who.clone(), self.why.clone());
        self.one(RoutinesRequest::Create { id, spec: Box::new(spec), who, why }).await
    }

    /// Changes a routine that is active or paused. Errors: A0050 if it is busy or over.
    pub async fn update(&self, id: &str, patch: RoutinePatch) -> Result<RoutineView, RoutinesError> {
        let (id, who, why) = self.named(id);
        self.one(RoutinesRequest::Update { id, patch: Box::new(patch), who, why }).await
    }

    /// Lets it start nothing until it is resumed; open runs go on. A second time changes nothing.
    pub async fn pause(&self, id: &str, note: &str) -> Result<RoutineView, RoutinesError> {
        let (id, who, _) = self.named(id);
        self.one(RoutinesRequest::Pause { id, note: note.to_owned(), who }).await
    }

    /// Lets it go on. What it missed meanwhile goes by its catch-up policy.
    pub async fn resume(&self, id: &str) -> Result<RoutineView, RoutinesError> {
        let (id, who, why) = self.named(id);
        self.one(RoutinesRequest::Resume { id, who, why }).await
    }

    /// Ends it for good and asks its open runs to cancel. A second time changes nothing.
    pub async fn cancel(&self, id: &str) -> Result<RoutineView, RoutinesError> {
        let (id, who, why) = self.named(id);
        self.one(RoutinesRequest::Cancel { id, who, why }).await
    }

    /// How it stands now.
    pub async fn get(&self, id: &str) -> Result<RoutineView, RoutinesError> {
        self.one(RoutinesRequest::Get { id: id.to_owned() }).await
    }

    /// At most `limit` routines that fit, the latest changed first, and whether there are more. `after`: the last one of
    /// the page before.
    pub async fn list(
        &self,
        filter: RoutineFilter,
        after: Option<&RoutineView>,
        limit: usize,
    ) -> Result<(Vec<RoutineView>, bool), RoutinesError> {
        let after = after.map(|view| (view.state.updated_at, view.state.id.clone()));
        self.listed(RoutinesRequest::List { filter, after, limit }).await
    }

    /// At most `limit` routines that are due, the longest due first.
    pub async fn list_due(&self, limit: usize) -> Result<Vec<RoutineView>, RoutinesError> {
        Ok(self.listed(RoutinesRequest::ListDue { at: None, limit }).await?.0)
    }

    /// When the next routine is due; none if none is without a word from somebody. A host may sleep until then.
    pub async fn next_due_at(&self) -> Result<Option<Timestamp>, RoutinesError> {
        match self.ask(RoutinesRequest::NextDueAt).await? {
            RoutinesReply::NextDueAt(at) => Ok(at),
            other => Err(unexpected(other)),
        }
    }

    /// Carries out what is due, at most one slot of each of at most `limit` routines. Says what became of each slot: one
    /// that cannot be carried out keeps no other from it. What was started is durable on return.
    pub async fn run_due(&self, limit: usize) -> Result<Vec<RanSlot>, RoutinesError> {
        self.ran(RoutinesRequest::RunDue { now: None, limit }).await
    }

    /// Carries a routine out once, outside its schedule, which stays as it is. Errors: A0050 if a run of it is open, a
    /// slot waits for its next attempt, or it is cancelled.
    pub async fn run_now(&self, id: &str) -> Result<Vec<RanSlot>, RoutinesError> {
        let (id, who, why) = self.named(id);
        self.ran(RoutinesRequest::RunNow { id, who, why }).await
    }

    /// Carries out the slots of a time that is past, both ends included, one after another, as runs of their own.
    pub async fn backfill(&self, id: &str, from: Timestamp, to: Timestamp) -> Result<RoutineView, RoutinesError> {
        let (id, who, why) = self.named(id);
        self.one(RoutinesRequest::Backfill { id, from, to, who, why }).await
    }

    fn named(&self, id: &str) -> (String, String, String) {
        (id.to_owned(), self.who.clone(), self.why.clone())
    }

    async fn ask(&self, request: RoutinesRequest) -> Result<RoutinesReply, RoutinesError> {
        match self.handle.routines(request).await? {
            RoutinesReply::Refused(error) => Err(error.into()),
            reply => Ok(reply),
        }
    }

    async fn one(&self, request: RoutinesRequest) -> Result<RoutineView, RoutinesError> {
        match self.ask(request).await? {
            RoutinesReply::Routine { routine, .. } => Ok(*routine),
            other => Err(unexpected(other)),
        }
    }

    async fn listed(&self, request: RoutinesRequest) -> Result<(Vec<RoutineView>, bool), RoutinesError> {
        match self.ask(request).await? {
            RoutinesReply::Listed { routines, more } => Ok((routines, more)),
            other => Err(unexpected(other)),
        }
    }

    async fn ran(&self, request: RoutinesRequest) -> Result<Vec<RanSlot>, RoutinesError> {
        match self.ask(request).await? {
            RoutinesReply::Ran(slots) => Ok(slots),
            other => Err(unexpected(other)),
        }
    }
}

/// The engine answers each request with its own kind of reply; anything else is a broken promise of ours.
fn unexpected(reply: RoutinesReply) -> RoutinesError {
    match reply {
        RoutinesReply::Refused(error) => error.into(),
        _ => antiphon_runtime::Error::Unavailable.into(),
    }
}
