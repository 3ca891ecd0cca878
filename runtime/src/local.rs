use crate::worker::{Responder, Worker};
use antiphon_conversation::{Answer, Request};
use antiphon_engine::WorkerSpec;
use antiphon_history::ConversationKey;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// A running body.
pub type BodyFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The code of one activity type.
pub trait ActivityBody: Send + Sync + 'static {
    /// The type's name, as recorded.
    fn name(&self) -> &str;

    /// Where the code stands, for error messages (`file:line`).
    fn site(&self) -> String;

    /// Carries out one leg.
    fn run(&self, task: Task) -> BodyFuture;
}

/// One leg, as a body sees it.
#[derive(Debug, Clone)]
pub struct Task {
    /// What to do.
    pub request: Request,
    /// The way back, for heartbeats. The answer is what the body's future returns.
    pub responder: Responder,
}

/// A worker in this process: bodies run as tokio tasks, a bounded number at once.
///
/// A body that panics costs a leg; one that aborts the process or overflows its stack takes the engine with it, unless the
/// pool is in a process of its own ([`crate::child`]).
pub struct LocalPool {
    spec: WorkerSpec,
    bodies: Arc<Bodies>,
    tokio: Handle,
    running: Arc<Running>,
}

type Bodies = BTreeMap<String, Arc<dyn ActivityBody>>;

/// Legs whose bodies have not ended; `None` for one whose task is about to be made.
type Running = Mutex<HashMap<(ConversationKey, u32), Option<AbortHandle>>>;

impl std::fmt::Debug for LocalPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LocalPool").field(&self.spec).finish()
    }
}

impl LocalPool {
    /// A pool named `name` that takes from `queues` and runs at most `capacity` bodies at once on `tokio`.
    pub fn new(
        name: impl Into<String>,
        queues: BTreeSet<String>,
        labels: BTreeSet<String>,
        capacity: u32,
        bodies: Vec<Arc<dyn ActivityBody>>,
        tokio: Handle,
    ) -> LocalPool {
        let bodies: Bodies = bodies.into_iter().map(|body| (body.name().to_owned(), body)).collect();
        let activities = bodies.keys().cloned().collect();
        let spec = WorkerSpec { name: name.into(), queues, activities, labels, capacity: capacity.max(1) };
        LocalPool { spec, bodies: Arc::new(bodies), tokio, running: Arc::default() }
    }
}

impl Worker for LocalPool {
    fn spec(&self) -> WorkerSpec {
        self.spec.clone()
    }

    fn send(&self, request: Request, responder: Responder) {
        self.send_all(vec![(request, responder)]);
    }

    fn send_all(&self, requests: Vec<(Request, Responder)>) {
        let mut running = lock(&self.running);
        running.extend(requests.iter().map(|(request, _)| ((request.conversation, request.leg), None)));
        drop(running);
        let bodies = Arc::clone(&self.bodies);
        let mut batch = Batch { requests: requests.into_iter(), running: Arc::clone(&self.running) };
        // One task from outside per batch; it makes the others from inside, where that costs a tenth.
        self.tokio.spawn(async move {
            for (request, responder) in batch.requests.by_ref() {
                begin(&bodies, &batch.running, request, responder);
            }
        });
    }

    fn cancel(&self, conversation: ConversationKey, leg: u32) {
        // Taken out of the lock first: aborting may drop the task here, and its report takes the lock. A leg whose task
        // is not made yet is forgotten, which keeps it from being made.
        let task = lock(&self.running).remove(&(conversation, leg)).flatten();
        if let Some(task) = task {
            task.abort();
        }
    }

    fn reset(&self) {
        let tasks = std::mem::take(&mut *lock(&self.running));
        tasks.into_values().flatten().for_each(|task| task.abort());
    }
}

/// Requests whose tasks are not made yet. If they never are, because the runtime shuts down, it answers for them.
struct Batch {
    requests: std::vec::IntoIter<(Request, Responder)>,
    running: Arc<Running>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        for (request, responder) in self.requests.by_ref() {
            lock(&self.running).remove(&(request.conversation, request.leg));
            responder.answer(Answer::Stopped);
        }
    }
}

/// Makes the task of a leg, unless the leg was cancelled before.
fn begin(bodies: &Bodies, running: &Arc<Running>, request: Request, responder: Responder) {
    let key = (request.conversation, request.leg);
    let report = Report { responder: responder.clone(), running: Arc::clone(running), key, answered: false };
    // Dropping the report answers for us: the leg was cancelled, or is not of our kind, which the engine never sends.
    let Some(body) = bodies.get(&*request.call.activity_type).cloned() else { return };
    if !lock(running).contains_key(&key) {
        return;
    }
    // Not under the lock: a runtime that is shutting down drops the task here, and its report takes the lock.
    let task = tokio::spawn(run(body, Task { request, responder }, report)).abort_handle();
    let wanted = lock(running).get_mut(&key).map(|entry| *entry = Some(task.clone())).is_some();
    if !wanted {
        // Cancelled meanwhile; or it has ended, which this does not change.
        task.abort();
    }
}

async fn run(body: Arc<dyn ActivityBody>, task: Task, mut report: Report) {
    let answer = match catch_unwind(AssertUnwindSafe(|| body.run(task))) {
        Ok(future) => Guarded(future).await,
        Err(panic) => panicked(panic.as_ref()),
    };
    report.answer(answer);
}

/// Polls a body and turns its panic into an answer.
pub(crate) struct Guarded(pub(crate) BodyFuture);

impl Future for Guarded {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(polled) => polled,
            Err(panic) => Poll::Ready(panicked(panic.as_ref())),
        }
    }
}

pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Answer {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    Answer::Panicked { message }
}

/// Answers exactly once, also when the task is aborted or its runtime goes away.
struct Report {
    responder: Responder,
    running: Arc<Running>,
    key: (ConversationKey, u32),
    answered: bool,
}

impl Report {
    fn answer(&mut self, answer: Answer) {
        self.answered = true;
        self.responder.answer(answer);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.key);
        if !self.answered {
            self.responder.answer(Answer::Stopped);
        }
    }
}

fn lock(running: &Running) -> std::sync::MutexGuard<'_, HashMap<(ConversationKey, u32), Option<AbortHandle>>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{Inbox, Message, Wanted};
    use antiphon_conversation::Token;
    use antiphon_history::{ActivityCall, Ordinal, RunId, RunKey, Site};
    use std::time::Duration;
    use tokio::runtime::Runtime;

    struct AtOnce;

    impl ActivityBody for AtOnce {
        fn name(&self) -> &str {
            "a"
        }

        fn site(&self) -> String {
            String::new()
        }

        fn run(&self, _task: Task) -> BodyFuture {
            Box::pin(std::future::ready(Answer::Completed { result: vec![] }))
        }
    }

    #[test]
    fn a_runtime_that_shuts_down_amid_a_batch_or_before_it_ends_and_every_leg_is_answered_once() {
        legs_are_answered(|tokio, pool, requests| {
            pool.send_all(requests);
            drop(tokio);
        });
        legs_are_answered(|tokio, pool, requests| {
            drop(tokio);
            pool.send_all(requests);
        });
    }

    fn legs_are_answered(shut_down: impl FnOnce(Runtime, LocalPool, Vec<(Request, Responder)>) + Send + 'static) {
        let inbox = Arc::new(Inbox::default());
        let (activity_type, queue) = ("a".into(), "default".into());
        let (options, site) = (Default::default(), Site::default());
        let call = Arc::new(ActivityCall { activity_type, queue, input: vec![], options, site });
        let request = |leg| {
            let conversation = ConversationKey { run: RunKey(1), ordinal: Ordinal(1), attempt: 1 };
            let call = Arc::clone(&call);
            let request =
                Request { conversation, leg, token: Token([1; 16]), run_id: RunId([0; 16]), call, details: None };
            let responder = Responder::new(Arc::clone(&inbox), &request);
            (request, responder)
        };
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let set = || BTreeSet::from(["default".to_owned()]);
        let pool = LocalPool::new("w", set(), set(), 1, vec![Arc::new(AtOnce)], tokio.handle().clone());
        let many = 30_000;
        let requests = (1..=many).map(request).collect();
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            shut_down(tokio, pool, requests);
            let _ = ended.send(());
        });
        end.recv_timeout(Duration::from_secs(60)).expect("the runtime ends");
        let mut messages = Vec::new();
        inbox.take(&mut messages, Wanted::All, Some(Duration::ZERO));
        let legs = messages.iter().map(|message| match message {
            Message::Answered { leg, .. } => *leg,
            _ => panic!("something else was said"),
        });
        let legs: BTreeSet<u32> = legs.collect();
        assert_eq!((messages.len(), legs.len()), (many as usize, many as usize));
    }
}
