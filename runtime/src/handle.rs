use crate::inbox::{Inbox, Message, Rejected};
use crate::shell::Ending;
use crate::{Clock, Config, Error, StoreSource};
use antiphon_engine::router::{RoutingReply, RoutingRequest};
use antiphon_engine::{
    By, QueuesReply, QueuesRequest, RepairReply, RepairRequest, Reply, RequestError, RoutinesReply, RoutinesRequest,
    RunOutcome, StartRequest, Stats, Target, WorkerView, WorkersReply, WorkersRequest,
};
use antiphon_history::{Payload, RunId};
use antiphon_recorder::Reader;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;

/// How callers reach a running engine. Cheap to clone; all clones reach the same one.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) config: Config,
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) ending: Ending,
    pub(crate) source: Arc<dyn StoreSource>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

/// How an engine stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// Counters and gauges of the partition.
    pub stats: Stats,
    /// The connected workers.
    pub workers: Vec<WorkerView>,
    /// Commits of the log since the store was opened: each is one sync.
    pub syncs: u64,
}

impl Handle {
    /// Starts a workflow, or finds the run that has its id. Returns the run's id and whether it existed before.
    ///
    /// Durable on return. Cancel safe: dropping the future may leave the run started; the same start finds it.
    pub async fn start(&self, request: StartRequest) -> Result<(RunId, bool), Error> {
        if self.full.load(Ordering::Relaxed) {
            return Err(Error::DiskFull);
        }
        match self.ask(|reply| Message::Start(request, reply)).await? {
            Reply::Started { run_id, existing } => Ok((run_id, existing)),
            other => Err(unexpected(other)),
        }
    }

    /// Starts a workflow, or finds the run that has its id, and waits for it to end. Its end is durable on return.
    ///
    /// Cancel safe as [`Handle::start`]. Errors: as [`Handle::start`] and [`Handle::wait`].
    pub async fn run(&self, request: StartRequest) -> Result<(RunId, RunOutcome), Error> {
        if self.full.load(Ordering::Relaxed) {
            return Err(Error::DiskFull);
        }
        ended(self.ask(|reply| Message::Run(request, reply)).await?)
    }

    /// Sends a signal to the newest run of a workflow id. Durable on return; with a request id it counts once however
    /// often it is sent.
    pub async fn signal(
        &self,
        target: Target,
        name: String,
        input: Vec<Payload>,
        request_id: Option<String>,
    ) -> Result<(), Error> {
        match self.ask(|reply| Message::Signal { target, name, input, request_id, reply }).await? {
            Reply::Accepted => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Asks for a run to be cancelled. The request is durable on return; the run ends some time later.
    pub async fn cancel(&self, target: Target, reason: String) -> Result<(), Error> {
        match self.ask(|reply| Message::Cancel { target, reason, reply }).await? {
            Reply::Accepted => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Ends a run at once, without asking its code: nothing is compensated, what it had open is closed. The end is durable on
    /// return, with who asked and why. Cancel safe: dropping the future may leave the run ended.
    ///
    /// Errors: [`Error::Refused`] if there is no such run, or it has ended; nothing was written then.
    pub async fn terminate(&self, target: Target, by: By) -> Result<(), Error> {
        match self.ask(|reply| Message::Terminate { target, by, reply }).await? {
            Reply::Accepted => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Waits for a run to end. Its end is durable on return. Cancel safe.
    ///
    /// Errors: [`Error::Blocked`] with the report, if this program's code cannot take the run further.
    pub async fn wait(&self, target: Target) -> Result<(RunId, RunOutcome), Error> {
        ended(self.ask(|reply| Message::Wait { target, reply }).await?)
    }

    /// Looks after what is stuck. What was done is durable on return.
    ///
    /// Errors: [`Error::Refused`] if there is nothing of the kind, or not any more; nothing was written then.
    pub async fn repair(&self, request: RepairRequest) -> Result<RepairReply, Error> {
        match self.ask(|reply| Message::Repair(Box::new(request), reply)).await? {
            Reply::Repair(reply) => Ok(*reply),
            other => Err(unexpected(other)),
        }
    }

    /// Asks something about routines. What follows from it is durable on return. A refusal is a reply too.
    ///
    /// Errors: [`Error::DiskFull`] if runs would be started and none are taken now.
    pub async fn routines(&self, request: RoutinesRequest) -> Result<RoutinesReply, Error> {
        let starts = matches!(request, RoutinesRequest::RunDue { .. } | RoutinesRequest::RunNow { .. });
        if starts && self.full.load(Ordering::Relaxed) {
            return Err(Error::DiskFull);
        }
        match self.ask(|reply| Message::Routines(Box::new(request), reply)).await? {
            Reply::Routines(reply) => Ok(*reply),
            other => Err(unexpected(other)),
        }
    }

    /// Asks something about workers: joining, claims, answers, health. What it changed is durable on return.
    ///
    /// Not cancel safe for claims: what was claimed for a caller that is gone is given back when that is noticed, at the
    /// latest when its lease ends. Errors: [`Error::Refused`] with the engine's own error, and as [`Handle::start`].
    pub async fn workers(&self, request: WorkersRequest) -> Result<WorkersReply, Error> {
        match self.ask(|reply| Message::Workers(Box::new(request), reply)).await? {
            Reply::Workers(reply) => Ok(reply),
            other => Err(unexpected(other)),
        }
    }

    /// Asks something about task queues. What was done is durable on return.
    ///
    /// Errors: [`Error::Refused`] if it cannot be; nothing was written then.
    pub async fn queues(&self, request: QueuesRequest) -> Result<QueuesReply, Error> {
        match self.ask(|reply| Message::Queues(Box::new(request), reply)).await? {
            Reply::Queues(reply) => Ok(*reply),
            other => Err(unexpected(other)),
        }
    }

    /// Asks for something about the routing of a task queue. What was done is durable on return.
    ///
    /// Errors: [`Error::Refused`] if it cannot be; nothing was written then.
    pub async fn routing(&self, request: RoutingRequest) -> Result<RoutingReply, Error> {
        match self.ask(|reply| Message::Routing(Box::new(request), reply)).await? {
            Reply::Routing(reply) => Ok(*reply),
            other => Err(unexpected(other)),
        }
    }

    /// As [`Handle::workers`], for who cannot wait for the answer.
    pub(crate) fn post_workers(&self, request: WorkersRequest) {
        let (reply, _) = oneshot::channel();
        self.inbox.post(Message::Workers(Box::new(request), reply));
    }

    /// Counters, gauges and workers now.
    pub async fn status(&self) -> Result<Status, Error> {
        let (reply, answer) = oneshot::channel();
        self.put(Message::Inspect(reply))?;
        let (stats, workers, syncs) = answer.await.map_err(|_| Error::Unavailable)?;
        Ok(Status { stats, workers, syncs })
    }

    /// A consistent read-only view of everything durable: archive and the log behind it.
    pub fn snapshot(&self) -> Result<Box<dyn Reader>, Error> {
        Ok(self.source.snapshot()?)
    }

    /// Makes the engine look at its clock again. Only a clock that was moved by hand needs it.
    pub fn look(&self) {
        self.inbox.post(Message::Look);
    }

    /// The engine's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Lets a worker join.
    pub fn join(&self, worker: Arc<dyn crate::Worker>) {
        self.inbox.post(Message::WorkerJoined(worker));
    }

    /// A worker is gone: its legs are lost.
    pub fn leave(&self, name: impl Into<String>) {
        self.inbox.post(Message::WorkerLeft { name: name.into() });
    }

    /// A worker's process died: its legs are lost, and the record says of what.
    pub fn died(&self, name: impl Into<String>, how: impl Into<String>) {
        self.inbox.post(Message::WorkerDied { name: name.into(), how: how.into() });
    }

    async fn ask(&self, message: impl FnOnce(oneshot::Sender<Reply>) -> Message) -> Result<Reply, Error> {
        let (reply, answer) = oneshot::channel();
        self.put(message(reply))?;
        match answer.await {
            Ok(Reply::Refused(error)) => Err(Error::Refused(error)),
            Ok(reply) => Ok(reply),
            // Dropped unanswered: the store failed, or the engine stopped, before the outcome was durable.
            Err(_) if self.inbox.is_closed() => Err(self.stopped()),
            Err(_) => Err(Error::Unavailable),
        }
    }

    fn stopped(&self) -> Error {
        self.ending.get().map_or(Error::Stopped, |cause| Error::Broken { cause })
    }

    fn put(&self, message: Message) -> Result<(), Error> {
        self.inbox.request(message, self.config.inbox_max, self.config.inbox_max_bytes).map_err(|rejected| {
            match rejected {
                Rejected::Closed => self.stopped(),
                Rejected::Full { waiting } => Error::Overloaded { waiting },
            }
        })
    }
}

fn ended(reply: Reply) -> Result<(RunId, RunOutcome), Error> {
    match reply {
        Reply::Ended { run_id, outcome } => Ok((run_id, outcome)),
        Reply::Blocked { run_id, reason } => Err(Error::Blocked { run_id, reason }),
        other => Err(unexpected(other)),
    }
}

/// The engine answers each request with its own kind of reply; anything else is a broken promise of ours.
fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Refused(error) => Error::Refused(error),
        _ => Error::Refused(RequestError::NotFound { workflow_id: String::new() }),
    }
}
