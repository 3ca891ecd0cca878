//! A worker that asks for its work, in this process or any other that has a [`Handle`]: claim, run, heartbeat, answer.

use crate::local::{ActivityBody, Guarded, Task, panicked};
use crate::worker::Responder;
use crate::{Error, Handle};
use antiphon_conversation::Answer;
use antiphon_engine::{
    Claim, ClaimRequest, RequestError, WorkerProblem, WorkerSpec, WorkersError, WorkersReply, WorkersRequest,
};
use antiphon_history::{InstanceId, WorkerKind};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at};

/// What a worker that asks for its work is, and how it asks.
pub struct Puller {
    /// Its durable name.
    pub name: String,
    /// The task queues that it asks for.
    pub queues: BTreeSet<String>,
    /// The labels that it has.
    pub labels: BTreeSet<String>,
    /// Legs that it has at once, at least 1.
    pub capacity: u32,
    /// The code of its activities.
    pub bodies: Vec<Arc<dyn ActivityBody>>,
    /// How long it has each leg without a further word; it sends one at a third of that.
    pub lease: Duration,
    /// How long one request for work waits for some.
    pub wait: Duration,
}

/// A running one. Dropping it stops its bodies; their legs go to others when the leases end. [`RunningPuller::shutdown`] is
/// the kinder way.
#[derive(Debug)]
pub struct RunningPuller {
    name: String,
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<Result<(), Error>>,
}

/// Longest silence of a worker that has work, below the time after which it is taken for gone.
const BEAT_MAX: Duration = Duration::from_secs(15);

/// First wait before a request is repeated that the engine could not take; it doubles.
const AGAIN_FIRST: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_secs(2);

impl Puller {
    /// Joins and begins to ask for work. Needs a tokio runtime with time.
    ///
    /// Errors: [`Error::Refused`] if it may not join.
    pub async fn start(self, handle: Handle) -> Result<RunningPuller, Error> {
        let activities = self.bodies.iter().map(|body| body.name().to_owned()).collect();
        let bodies = self.bodies.into_iter().map(|body| (body.name().to_owned(), body)).collect();
        let capacity = self.capacity.max(1);
        let spec =
            WorkerSpec { name: self.name.clone(), queues: self.queues, activities, labels: self.labels, capacity };
        let instance = join(&handle, &spec, None).await?;
        let (stop, stopped) = watch::channel(None);
        let (lease_ms, wait_ms) = (millis(self.lease).max(1), millis(self.wait));
        let work = Work { handle, spec, instance, bodies, lease_ms, wait_ms, stopped };
        Ok(RunningPuller { name: self.name, stop, task: tokio::spawn(work.run()) })
    }
}

impl RunningPuller {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes nothing new, lets what it has end until `deadline` has passed, gives the rest back, and leaves. What is given
    /// back goes to others at once and is no loss; an at-most-once call of which nobody can say whether it ran ends as lost.
    ///
    /// Errors: why the worker had stopped before by itself.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<(), Error> {
        self.stop.send_replace(Some(Instant::now() + deadline));
        ended((&mut self.task).await)
    }

    /// Waits until it stops by itself: the engine has stopped, or another program took its name.
    pub async fn stopped(mut self) -> Result<(), Error> {
        ended((&mut self.task).await)
    }
}

impl Drop for RunningPuller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn ended(joined: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    // The task ends by returning; it is cancelled only with the runtime, which is an end like the engine's.
    joined.unwrap_or(Err(Error::Stopped))
}

struct Work {
    handle: Handle,
    spec: WorkerSpec,
    instance: InstanceId,
    bodies: BTreeMap<String, Arc<dyn ActivityBody>>,
    lease_ms: u64,
    wait_ms: u64,
    stopped: watch::Receiver<Option<Instant>>,
}

impl Work {
    async fn run(mut self) -> Result<(), Error> {
        let mut running: JoinSet<()> = JoinSet::new();
        let outcome = self.serve(&mut running).await;
        let deadline = *self.stopped.borrow();
        if let Some(deadline) = deadline {
            let all = async { while running.join_next().await.is_some() {} };
            // What is late gives its leg back when it is dropped.
            let _ = timeout_at(deadline, all).await;
        }
        running.abort_all();
        while running.join_next().await.is_some() {}
        let (worker, instance) = (self.spec.name.clone(), Some(self.instance));
        let leave = WorkersRequest::Leave { worker, instance, reason: "shut down".to_owned() };
        let _ = self.handle.workers(leave).await;
        outcome
    }

    /// Asks for work and begins it, until it is told to stop.
    async fn serve(&mut self, running: &mut JoinSet<()>) -> Result<(), Error> {
        let mut wait = AGAIN_FIRST;
        let mut stopped = self.stopped.clone();
        loop {
            while running.try_join_next().is_some() {}
            let has = u32::try_from(running.len()).unwrap_or(u32::MAX);
            let free = self.spec.capacity.saturating_sub(has);
            if free == 0 {
                tokio::select! {
                    _ = running.join_next() => continue,
                    () = told(&mut stopped) => return Ok(()),
                }
            }
            let asked = {
                let (handle, request) = (self.handle.clone(), self.claim(free));
                let mut asking = std::pin::pin!(async move { handle.workers(request).await });
                tokio::select! {
                    asked = &mut asking => asked,
                    () = told(&mut stopped) => {
                        // The request is not given up: work may be on its way, and would wait for its lease to end.
                        let (worker, who) = (self.spec.name.clone(), self.spec.name.clone());
                        let drain = WorkersRequest::Drain { worker, who, why: "shutting down".to_owned() };
                        let _ = self.handle.workers(drain).await;
                        if let Ok(WorkersReply::Claimed(claims)) = asking.await {
                            claims.into_iter().for_each(|claim| self.begin(claim, running));
                        }
                        return Ok(());
                    }
                }
            };
            match asked {
                Ok(WorkersReply::Claimed(claims)) if !claims.is_empty() => {
                    wait = AGAIN_FIRST;
                    claims.into_iter().for_each(|claim| self.begin(claim, running));
                }
                Err(error) if is_absent(&error) => {
                    self.instance = join(&self.handle, &self.spec, Some(self.instance)).await?;
                }
                Err(error) if !error.retryable() => return Err(error),
                // Nothing came, which an engine that shuts down says at once; or it could not take the request.
                _ => {
                    tokio::select! {
                        () = sleep(wait) => wait = (wait * 2).min(AGAIN_MAX),
                        () = told(&mut stopped) => return Ok(()),
                    }
                }
            }
        }
    }

    fn claim(&self, max: u32) -> WorkersRequest {
        WorkersRequest::Claim(ClaimRequest {
            worker: self.spec.name.clone(),
            instance: Some(self.instance),
            queues: Vec::new(),
            max,
            lease_ms: self.lease_ms,
            wait_ms: self.wait_ms,
        })
    }

    fn begin(&self, claim: Claim, running: &mut JoinSet<()>) {
        let body = self.bodies.get(&*claim.request.call.activity_type).cloned();
        let handle = self.handle.clone();
        running.spawn(async move {
            let leg = Leg { handle, claim, ended: false };
            // The engine never gives out what the worker has no code for.
            if let Some(body) = body {
                leg.run(body).await;
            }
        });
    }
}

/// Returns when the worker is told to stop, or when nobody can tell it any more.
async fn told(stopped: &mut watch::Receiver<Option<Instant>>) {
    let _ = stopped.wait_for(Option::is_some).await;
}

async fn join(handle: &Handle, spec: &WorkerSpec, instance: Option<InstanceId>) -> Result<InstanceId, Error> {
    let request = WorkersRequest::Join { spec: spec.clone(), kind: WorkerKind::Pull, instance };
    match handle.workers(request).await? {
        WorkersReply::Joined { instance } => Ok(instance),
        _ => Err(Error::Unavailable),
    }
}

fn is_absent(error: &Error) -> bool {
    let absent = WorkerProblem::Absent;
    matches!(error, Error::Refused(RequestError::Workers(WorkersError::NoSuchWorker { problem, .. })) if *problem == absent)
}

/// One leg under way. Dropped before its end it gives the leg back.
struct Leg {
    handle: Handle,
    claim: Claim,
    ended: bool,
}

impl Leg {
    async fn run(mut self, body: Arc<dyn ActivityBody>) {
        let request = self.claim.request.clone();
        let responder = Responder::new(Arc::clone(&self.handle.inbox), &request);
        let task = Task { request, responder: responder.clone() };
        let mut body = match catch_unwind(AssertUnwindSafe(|| body.run(task))) {
            Ok(future) => Guarded(future),
            Err(panic) => {
                self.ended = true;
                return responder.answer(panicked(panic.as_ref()));
            }
        };
        let every = (Duration::from_millis(self.claim.lease_ms) / 3).clamp(Duration::from_millis(1), BEAT_MAX);
        let mut beat = interval_at(Instant::now() + every, every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Beside the body, which goes on while the engine takes the word.
        let until_over = async {
            loop {
                beat.tick().await;
                let alive = WorkersRequest::Heartbeat { leg: self.claim.leg(), details: None, lease_ms: None };
                if matches!(self.handle.workers(alive).await, Err(error) if is_over(&error)) {
                    return;
                }
            }
        };
        let answer = tokio::select! {
            answer = &mut body => Some(answer),
            // Nobody waits for it any more, or somebody else has it.
            () = until_over => None,
        };
        let Some(answer) = answer else {
            self.ended = true;
            return;
        };
        let leg = self.claim.leg();
        let request = match answer {
            Answer::Completed { result } => WorkersRequest::Complete { leg, result },
            Answer::Failed { failure, retryable } => {
                WorkersRequest::Fail { leg, failure, retryable, retry_after_ms: None }
            }
            other => {
                self.ended = true;
                return responder.answer(other);
            }
        };
        self.tell(request).await;
        self.ended = true;
    }

    /// Tells how the leg ended, again and again while the engine cannot take it: the same answer counts once.
    async fn tell(&self, request: WorkersRequest) {
        let mut wait = AGAIN_FIRST;
        while let Err(error) = self.handle.workers(request.clone()).await {
            if !error.retryable() {
                return;
            }
            sleep(wait).await;
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }
}

fn is_over(error: &Error) -> bool {
    matches!(
        error,
        Error::Refused(RequestError::Workers(WorkersError::Fenced { .. } | WorkersError::Over { .. })) | Error::Stopped
    )
}

impl Drop for Leg {
    fn drop(&mut self) {
        if !self.ended {
            self.handle.post_workers(WorkersRequest::Release { leg: self.claim.leg() });
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
