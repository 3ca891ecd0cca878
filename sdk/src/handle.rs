use crate::outcome::{decode_result, error_of};
use crate::value::{EncodeError, encode};
use crate::{CallRefused, WorkflowCall, WorkflowDefinition};
use antiphon_engine::{By, IdReuse, RunOutcome, StartRequest, Target};
use antiphon_history::{CatalogueRow, HistoryFile, IdError, RunId, WorkflowKey};
use antiphon_recorder::memory::MemoryStore;
use antiphon_recorder::{Filter, Reader};
use antiphon_runtime::child::ChildPool;
use antiphon_runtime::{Clock, Handle, ManualClock, Runtime, Status};
use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A running engine. Dropping it stops it; what was acknowledged is durable and goes on at the next start.
pub struct Antiphon {
    runtime: Runtime,
    pub(crate) memory: Option<(MemoryStore, Arc<ManualClock>)>,
    /// Dropped after the engine: with it gone they are told to leave.
    _children: Vec<ChildPool>,
}

impl fmt::Debug for Antiphon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Antiphon")
    }
}

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request itself cannot be written.
    #[error(transparent)]
    Refused(#[from] CallRefused),
    /// The engine refused it, or could not take it.
    #[error(transparent)]
    Engine(#[from] antiphon_runtime::Error),
}

impl RequestError {
    /// Whether the same request may succeed later without anybody changing it.
    pub fn retryable(&self) -> bool {
        match self {
            RequestError::Refused(_) => false,
            RequestError::Engine(error) => error.retryable(),
        }
    }
}

impl From<IdError> for RequestError {
    fn from(error: IdError) -> RequestError {
        RequestError::Refused(error.into())
    }
}

impl From<EncodeError> for RequestError {
    fn from(error: EncodeError) -> RequestError {
        RequestError::Refused(error.into())
    }
}

/// How a run ended, if not with a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E: fmt::Display> {
    /// The workflow returned its error.
    #[error("the workflow failed: {0}")]
    Failed(E),
    /// The workflow failed with something that cannot be read as its error type: its message.
    #[error("the workflow failed: {message}")]
    FailedOtherwise {
        /// The recorded message.
        message: String,
    },
    /// The run was cancelled.
    #[error("the run was cancelled: {reason}")]
    Cancelled {
        /// Why.
        reason: String,
    },
    /// Somebody ended the run, and its code was not asked.
    #[error("the run was terminated: {reason}")]
    Terminated {
        /// Why.
        reason: String,
    },
    /// The result cannot be read as the workflow's output type.
    #[error(transparent)]
    Undecodable(#[from] crate::DecodeError),
    /// The engine could not say.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// How often one moment is looked at before time goes on.
const LOOKS: u32 = 256;

impl Antiphon {
    pub(crate) fn new(
        runtime: Runtime,
        memory: Option<(MemoryStore, Arc<ManualClock>)>,
        children: Vec<ChildPool>,
    ) -> Antiphon {
        Antiphon { runtime, memory, _children: children }
    }

    /// Starts a workflow under an id of your choice: `app.start("order-7", order(input)).await?`.
    ///
    /// The same id, type and input again is the same run; another input is a conflict. Durable on return.
    pub async fn start<D: WorkflowDefinition>(
        &self,
        id: impl Into<String>,
        call: WorkflowCall<D>,
    ) -> Result<RunHandle<D>, RequestError> {
        self.start_with(id, call, IdReuse::Never).await
    }

    /// Starts a workflow; `reuse` says what happens if a run that has ended has the id.
    pub async fn start_with<D: WorkflowDefinition>(
        &self,
        id: impl Into<String>,
        call: WorkflowCall<D>,
        id_reuse: IdReuse,
    ) -> Result<RunHandle<D>, RequestError> {
        let request = start_request(id, call, id_reuse)?;
        let workflow = request.workflow.clone();
        let (run_id, existing) = self.handle().start(request).await?;
        Ok(RunHandle {
            handle: self.handle().clone(),
            workflow,
            run_id: Some(run_id),
            existing,
            definition: PhantomData,
        })
    }

    /// Starts a workflow and waits for its result.
    pub async fn run<D: WorkflowDefinition>(
        &self,
        id: impl Into<String>,
        call: WorkflowCall<D>,
    ) -> Result<D::Output, RunError<D::Error>> {
        let request = start_request(id, call, IdReuse::Never)?;
        let (_, outcome) = self.handle().run(request).await.map_err(RequestError::from)?;
        result_of_run::<D>(outcome)
    }

    /// The handle of a run that was started earlier, perhaps by another process. No check that there is one is made:
    /// `app.get::<order>("order-7")?`.
    pub fn get<D: WorkflowDefinition>(&self, id: impl Into<String>) -> Result<RunHandle<D>, RequestError> {
        let workflow = WorkflowKey::new(id)?;
        let handle = self.handle().clone();
        Ok(RunHandle { handle, workflow, run_id: None, existing: true, definition: PhantomData })
    }

    /// Sends a signal to the newest run of a workflow id. Durable on return.
    pub async fn signal<T: Serialize>(&self, id: &str, name: &str, value: &T) -> Result<(), RequestError> {
        let target = Target { workflow: WorkflowKey::new(id)?, run: None };
        Ok(self.handle().signal(target, name.to_owned(), vec![encode(value)?], None).await?)
    }

    /// Asks for the newest run of a workflow id to be cancelled. The request is durable on return.
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<(), RequestError> {
        let target = Target { workflow: WorkflowKey::new(id)?, run: None };
        Ok(self.handle().cancel(target, reason.to_owned()).await?)
    }

    /// Ends the newest run of a workflow id at once, without asking its code: a blocked or waiting one, or one that does not
    /// heed a cancel. Nothing is compensated; its activities are told to stop, and what they answer changes nothing any more.
    ///
    /// The end is durable on return, and on record with who asked and why. Errors: A0021 if there is no run of that id, A0022
    /// if it has ended; nothing was written then.
    pub async fn terminate(&self, id: &str, who: &str, why: &str) -> Result<(), RequestError> {
        let target = Target { workflow: WorkflowKey::new(id)?, run: None };
        Ok(self.handle().terminate(target, By { who: who.to_owned(), why: why.to_owned() }).await?)
    }

    /// Lists runs, newest first. Reads the store: sees everything durable.
    pub fn list(&self, filter: &Filter) -> Result<Vec<CatalogueRow>, RequestError> {
        Ok(self.reader()?.list(filter).map_err(antiphon_runtime::Error::from)?)
    }

    /// The newest run of a workflow id, as lists show it; `None` if there is none.
    pub fn describe(&self, id: &str) -> Result<Option<CatalogueRow>, RequestError> {
        let workflow = WorkflowKey::new(id)?;
        Ok(self.reader()?.find(&workflow).map_err(antiphon_runtime::Error::from)?)
    }

    /// The whole record of the newest run of a workflow id; `None` if there is none.
    pub fn history(&self, id: &str) -> Result<Option<HistoryFile>, RequestError> {
        let workflow = WorkflowKey::new(id)?;
        let mut reader = self.reader()?;
        let Some(row) = reader.find(&workflow).map_err(antiphon_runtime::Error::from)? else { return Ok(None) };
        Ok(reader.history(row.key).map_err(antiphon_runtime::Error::from)?)
    }

    /// Counters, gauges and workers now.
    pub async fn status(&self) -> Result<Status, RequestError> {
        Ok(self.handle().status().await?)
    }

    /// Moves the clock of an engine for tests ahead and lets it notice. An engine on a real clock ignores it.
    pub async fn advance(&self, duration: Duration) -> Result<(), RequestError> {
        if let Some((_, clock)) = &self.memory {
            clock.advance_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        }
        self.handle().look();
        self.status().await.map(drop)
    }

    /// Lets time pass on the clock of an engine for tests, going from one due routine to the next, and waits at each for the
    /// activities under way. An engine on a real clock ignores it. It hangs if an activity never ends.
    pub async fn pass(&self, duration: Duration) -> Result<(), crate::RoutinesError> {
        let Some((_, clock)) = &self.memory else { return Ok(()) };
        let end = clock.now().plus_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let mut looks = 0;
        loop {
            let due = self.routines().next_due_at().await?;
            // Several slots of one moment take several looks; what is still due then waits for a caller.
            looks = if due.is_some_and(|due| due <= clock.now()) { looks + 1 } else { 0 };
            if looks == 0 || looks > LOOKS {
                if clock.now() >= end {
                    return Ok(());
                }
                let next = due.filter(|due| *due > clock.now() && *due < end).unwrap_or(end);
                clock.advance_ms(next.since_ms(clock.now()));
            }
            self.handle().look();
            // The engine lets time pass behind the messages of a look, so the first answer may come before it.
            self.handle().status().await?;
            while self.handle().status().await?.stats.in_flight > 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The untyped handle.
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Stops: takes no more requests, makes everything decided durable, frees the store. Blocks for the time that takes.
    /// Activities under way are stopped at their next await; their calls go on at the next start.
    pub fn stop(self) {
        self.runtime.stop();
    }

    fn reader(&self) -> Result<Box<dyn Reader>, RequestError> {
        Ok(self.handle().snapshot()?)
    }
}

fn start_request<D: WorkflowDefinition>(
    id: impl Into<String>,
    call: WorkflowCall<D>,
    id_reuse: IdReuse,
) -> Result<StartRequest, RequestError> {
    let workflow = WorkflowKey::new(id)?;
    let parts = call.into_parts()?;
    let workflow_type = parts.workflow_type.to_owned();
    Ok(StartRequest { workflow, workflow_type, input: parts.input, id_reuse, request_id: None })
}

fn result_of_run<D: WorkflowDefinition>(outcome: RunOutcome) -> Result<D::Output, RunError<D::Error>> {
    match outcome {
        RunOutcome::Completed { result } => Ok(decode_result(&result)?),
        RunOutcome::Failed { failure } => Err(match error_of(&failure) {
            Ok(error) => RunError::Failed(error),
            Err(_) => RunError::FailedOtherwise { message: failure.message },
        }),
        RunOutcome::Cancelled { reason } => Err(RunError::Cancelled { reason }),
        RunOutcome::Terminated { reason } => Err(RunError::Terminated { reason }),
    }
}

/// One run of a workflow.
pub struct RunHandle<D> {
    handle: Handle,
    workflow: WorkflowKey,
    run_id: Option<RunId>,
    existing: bool,
    definition: PhantomData<fn() -> D>,
}

impl<D> fmt::Debug for RunHandle<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunHandle({})", self.workflow)
    }
}

impl<D: WorkflowDefinition> RunHandle<D> {
    /// The user's id.
    pub fn workflow_id(&self) -> &str {
        &self.workflow.id
    }

    /// The engine's id, if this handle came from a start.
    pub fn run_id(&self) -> Option<RunId> {
        self.run_id
    }

    /// Whether the run existed before the start that gave this handle.
    pub fn existed(&self) -> bool {
        self.existing
    }

    /// Waits for the run to end. Its end is durable on return. Cancel safe; may be asked any number of times.
    pub async fn result(&self) -> Result<D::Output, RunError<D::Error>> {
        let (_, outcome) = self.handle.wait(self.target()).await.map_err(RequestError::from)?;
        result_of_run::<D>(outcome)
    }

    /// Sends the run a signal. Durable on return.
    pub async fn signal<T: Serialize>(&self, name: &str, value: &T) -> Result<(), RequestError> {
        Ok(self.handle.signal(self.target(), name.to_owned(), vec![encode(value)?], None).await?)
    }

    /// Sends the run a signal that counts once, however often it is sent with this request id.
    pub async fn signal_once<T: Serialize>(&self, name: &str, value: &T, request_id: &str) -> Result<(), RequestError> {
        let input = vec![encode(value)?];
        Ok(self.handle.signal(self.target(), name.to_owned(), input, Some(request_id.to_owned())).await?)
    }

    /// Asks for the run to be cancelled. The request is durable on return.
    pub async fn cancel(&self, reason: &str) -> Result<(), RequestError> {
        Ok(self.handle.cancel(self.target(), reason.to_owned()).await?)
    }

    /// Ends the run at once, as [`Antiphon::terminate`].
    pub async fn terminate(&self, who: &str, why: &str) -> Result<(), RequestError> {
        let by = By { who: who.to_owned(), why: why.to_owned() };
        Ok(self.handle.terminate(self.target(), by).await?)
    }

    fn target(&self) -> Target {
        Target { workflow: self.workflow.clone(), run: self.run_id }
    }
}
