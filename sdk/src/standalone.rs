//! Activities without a workflow: one durable call under a key.

use crate::handle::{Antiphon, RequestError};
use crate::outcome::{decode_result, result_of};
use crate::{ActivityDefinition, Call, CallError};
use antiphon_engine::{IdReuse, RunOutcome, StartRequest, Target};
use antiphon_history::{ActivityOutcome, RunId, STANDALONE, WorkflowKey};
use antiphon_runtime::Handle;
use std::fmt;
use std::marker::PhantomData;

/// One standalone activity: a run whose workflow id is its key.
pub struct ActivityRun<D> {
    handle: Handle,
    workflow: WorkflowKey,
    run_id: RunId,
    existing: bool,
    definition: PhantomData<fn() -> D>,
}

impl<D> fmt::Debug for ActivityRun<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivityRun({})", self.workflow)
    }
}

/// How a standalone activity ended, if not with a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivityError<E: fmt::Display> {
    /// The call ended so.
    #[error("{0}")]
    Call(CallError<E>),
    /// The engine could not say.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Antiphon {
    /// Schedules one activity on its own: `app.schedule("bill-7", charge(7, 100)).await?`.
    ///
    /// The key is a workflow id: the same key and call again is the same activity, another call under it is a conflict and
    /// the first stands. All options of calls hold. Durable on return.
    pub async fn schedule<D: ActivityDefinition>(
        &self,
        key: impl Into<String>,
        call: Call<D>,
    ) -> Result<ActivityRun<D>, RequestError> {
        let workflow = WorkflowKey::new(key)?;
        let request = StartRequest {
            workflow: workflow.clone(),
            workflow_type: STANDALONE.to_owned(),
            input: call.into_parts()?.to_standalone(),
            id_reuse: IdReuse::Never,
            request_id: None,
        };
        let (run_id, existing) = self.handle().start(request).await?;
        Ok(ActivityRun { handle: self.handle().clone(), workflow, run_id, existing, definition: PhantomData })
    }
}

impl<D: ActivityDefinition> ActivityRun<D> {
    /// The key.
    pub fn key(&self) -> &str {
        &self.workflow.id
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Whether it was scheduled before.
    pub fn existed(&self) -> bool {
        self.existing
    }

    /// Waits for its end, which is durable on return. Cancel safe; may be asked any number of times.
    pub async fn result(&self) -> Result<D::Output, ActivityError<D::Error>> {
        let target = Target { workflow: self.workflow.clone(), run: Some(self.run_id) };
        let (_, outcome) = self.handle.wait(target).await.map_err(RequestError::from)?;
        let outcome = match outcome {
            RunOutcome::Completed { result } => {
                return decode_result(&result)
                    .map_err(|problem| ActivityError::Call(CallError::Refused(problem.into())));
            }
            RunOutcome::Failed { failure } => ActivityOutcome::from_standalone(&failure),
            RunOutcome::Cancelled { .. } | RunOutcome::Terminated { .. } => ActivityOutcome::Cancelled,
        };
        result_of::<D>(&outcome).map_err(ActivityError::Call)
    }

    /// Asks for it to be cancelled. The request is durable on return.
    pub async fn cancel(&self, reason: &str) -> Result<(), RequestError> {
        let target = Target { workflow: self.workflow.clone(), run: Some(self.run_id) };
        Ok(self.handle.cancel(target, reason.to_owned()).await?)
    }
}
