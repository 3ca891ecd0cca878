//! Looking after the workers of an engine, and shutting down in order.

use crate::handle::{Antiphon, RequestError};
use antiphon_engine::{WorkerEntry, WorkersReply, WorkersRequest};
use antiphon_history::{GoneWorker, Health};
use antiphon_runtime::Handle;
use std::fmt;
use std::time::Duration;

/// The workers of an engine, for those who look after them.
pub struct Workers<'a>(&'a Handle);

impl fmt::Debug for Workers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workers")
    }
}

/// The workers that are there, and those that were there lately.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkersList {
    /// Who is there, by name.
    pub present: Vec<WorkerEntry>,
    /// Who is gone, the latest last; at most 256.
    pub gone: Vec<GoneWorker>,
}

impl Antiphon {
    /// The workers of this engine: `app.workers().list().await?`.
    pub fn workers(&self) -> Workers<'_> {
        Workers(self.handle())
    }

    /// Stops in order: gives out nothing new, lets activities of this process end for as long as `deadline`, gives the rest
    /// back, and stops as [`Antiphon::stop`] does. What was given back counts as no loss and goes out again at the next
    /// start; of an at-most-once call nobody can say then whether it ran, and it ends as lost.
    ///
    /// Workers that ask for their work keep what they have until their leases end; shut them down before.
    pub async fn shutdown(self, deadline: Duration) -> Result<(), RequestError> {
        let quiet = tokio::time::timeout(deadline, self.handle().workers(WorkersRequest::Quiesce)).await;
        let outcome = match quiet {
            Ok(quiet) => quiet,
            Err(_) => self.handle().workers(WorkersRequest::ReleaseAll).await,
        };
        self.stop();
        outcome.map(drop).map_err(RequestError::from)
    }
}

impl Workers<'_> {
    /// Lists them.
    pub async fn list(&self) -> Result<WorkersList, RequestError> {
        match self.0.workers(WorkersRequest::List).await? {
            WorkersReply::Workers { present, gone } => Ok(WorkersList { present, gone }),
            _ => Ok(WorkersList { present: Vec::new(), gone: Vec::new() }),
        }
    }

    /// Lets a worker finish what it has and get nothing new. Durable on return; said of a worker of this process it holds
    /// until that joins anew.
    pub async fn drain(&self, worker: &str, who: &str, why: &str) -> Result<(), RequestError> {
        let (worker, who, why) = (worker.to_owned(), who.to_owned(), why.to_owned());
        self.ask(WorkersRequest::Drain { worker, who, why }).await
    }

    /// Says how well a worker is: one that is unhealthy or down gets nothing new. Durable on return.
    pub async fn set_health(&self, worker: &str, health: Health, who: &str, why: &str) -> Result<(), RequestError> {
        let (worker, who, why) = (worker.to_owned(), who.to_owned(), why.to_owned());
        self.ask(WorkersRequest::SetHealth { worker, health, who, why }).await
    }

    async fn ask(&self, request: WorkersRequest) -> Result<(), RequestError> {
        Ok(self.0.workers(request).await.map(drop)?)
    }
}
